//! Event time: what a message says of its own time, and what that is worth when messages come late
//! and out of order.
//!
//! Nothing here knows of rules or conditions. [`read`] makes a [`Timestamp`] of a value.
//! [`Watermark`] is one key's idea of how far its time has come; [`Reorder`] keeps what is ahead of
//! it, in order. Whoever uses them asks [`Watermark::is_late`], lets the message move the watermark
//! with [`Watermark::hear`], puts it into the buffer and takes out what the watermark has passed.
//!
//! The watermark is `newest - lateness`, where `newest` is the greatest event time heard. When nothing
//! newer comes it goes on with the arrival clock: [`Watermark::at`] adds the time that has passed
//! since `newest` arrived. That idle advance makes nothing late by itself. Only what has been decided
//! on the strength of it does ([`Watermark::pass`]), because that cannot be taken back; so a message
//! in order is never refused for a hiccup of its network.
//!
//! An event time is never compared with a clock here: the arrival clock is used for differences only.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::rule::ast::TimeUnit;
use crate::value::Number;
use crate::value::Rounding;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;

/// Bytes of a value shown when it is no time.
const EXCERPT_BYTES: usize = 64;

/// A value as a time: a number of `unit`s since the epoch, or RFC 3339 text. Cut to the millisecond;
/// `None` for anything else and for times before 1970.
pub(super) fn read(value: &Value, unit: TimeUnit) -> Option<Timestamp> {
    let millis = match value {
        Value::Number(number) => {
            let millis = match unit {
                TimeUnit::Seconds => number.checked_mul(Number::Int(1000))?,
                TimeUnit::Milliseconds => *number,
                TimeUnit::Microseconds => number.checked_div(Number::Int(1000))?,
                TimeUnit::Nanoseconds => number.checked_div(Number::Int(1_000_000))?,
            };
            millis.to_i64(Rounding::Floor)?
        }
        Value::String(text) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
        Value::Undefined | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return None;
        }
    };
    (millis >= 0).then(|| Timestamp::from_millis(millis))
}

/// The beginning of a value, for people.
pub(super) fn excerpt(value: &Value) -> String {
    let mut text = Vec::new();
    match json::write(&mut text, value, Whole::AsInt, EXCERPT_BYTES) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => format!("a value of more than {EXCERPT_BYTES} bytes"),
    }
}

/// That time, so many milliseconds later.
pub(super) fn shifted(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_add(millis))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How far the time of one key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermark {
    /// The greatest event time heard.
    pub(super) newest: Timestamp,
    /// When it arrived, by the arrival clock.
    pub(super) heard_at: Timestamp,
    /// Nothing before this is taken any more. Never goes back.
    pub(super) passed: Timestamp,
}

impl Watermark {
    /// The watermark of a key whose first message is of `event` and arrives at `at`.
    pub(super) fn new(event: Timestamp, at: Timestamp, lateness: Duration) -> Self {
        Watermark { newest: event, heard_at: at, passed: event - lateness }
    }

    /// Whether a message of this time comes too late to be put in its place.
    pub(super) fn is_late(&self, event: Timestamp) -> bool {
        event < self.passed
    }

    /// A message of time `event` arrives at `at`.
    pub(super) fn hear(&mut self, event: Timestamp, at: Timestamp, lateness: Duration) {
        if event > self.newest {
            self.newest = event;
            self.heard_at = at;
        }
        self.pass(self.newest - lateness);
    }

    /// Something has been decided as of `event`: what is older is late from now on.
    pub(super) fn pass(&mut self, event: Timestamp) {
        self.passed = self.passed.max(event);
    }

    /// The watermark when the arrival clock reads `now`.
    pub(super) fn at(&self, now: Timestamp, lateness: Duration) -> Timestamp {
        self.passed.max(self.newest + now.since(self.heard_at) - lateness)
    }

    /// What the arrival clock reads when the watermark reaches `event` if nothing more is heard.
    pub(super) fn reaches(&self, event: Timestamp, lateness: Duration) -> Timestamp {
        let ahead = event.as_millis().saturating_sub(self.newest.as_millis());
        shifted(self.heard_at, ahead.saturating_add(millis(lateness)).max(0))
    }

    /// Leaves `millis` of the arrival clock out of the idle time.
    pub(super) fn leave_out(&mut self, millis: i64) {
        self.heard_at = shifted(self.heard_at, millis);
    }
}

/// Something that waits for its time.
#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: usize,
}

/// Where something stands in a [`Reorder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Its event time.
    pub(super) event: Timestamp,
    /// Its turn among those of one event time; never used twice in one buffer.
    pub(super) turn: u64,
}

/// What is ahead of the watermark, in order of event time, then of arrival.
#[derive(Debug)]
pub(super) struct Reorder<T> {
    waiting: BTreeMap<Position, Waiting<T>>,
    turns: u64,
    bytes: usize,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Reorder { waiting: BTreeMap::new(), turns: 0, bytes: 0 }
    }
}

impl<T> Reorder<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of those, as they were given.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts `item` in its place, behind those of the same time.
    pub(super) fn insert(&mut self, event: Timestamp, item: T, bytes: usize) -> Position {
        let position = Position { event, turn: self.turns };
        self.put_back(position, item, bytes);
        position
    }

    /// Puts `item` where it was before a restart.
    pub(super) fn put_back(&mut self, position: Position, item: T, bytes: usize) {
        self.turns = self.turns.max(position.turn.saturating_add(1));
        self.bytes += bytes;
        if let Some(before) = self.waiting.insert(position, Waiting { item, bytes }) {
            self.bytes -= before.bytes;
        }
    }

    /// The event time of the next one.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|(position, _)| position.event)
    }

    /// What waits at `position`.
    pub(super) fn get_mut(&mut self, position: Position) -> Option<&mut T> {
        self.waiting.get_mut(&position).map(|waiting| &mut waiting.item)
    }

    /// Takes the next one out.
    pub(super) fn pop(&mut self) -> Option<(Position, T)> {
        let (position, waiting) = self.waiting.pop_first()?;
        self.bytes -= waiting.bytes;
        Some((position, waiting.item))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn of(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn numbers_are_read_in_their_unit_and_text_as_rfc_3339() {
        let number = |text: &str, unit| read(&Value::Number(Number::parse(text).unwrap()), unit);
        let expected = Some(at(1_700_000_000_123));
        assert_eq!(number("1700000000123", TimeUnit::Milliseconds), expected);
        assert_eq!(number("1700000000123.9", TimeUnit::Milliseconds), expected);
        assert_eq!(number("1700000000.1239", TimeUnit::Seconds), expected);
        assert_eq!(number("1700000000123999", TimeUnit::Microseconds), expected);
        assert_eq!(number("1700000000123999999", TimeUnit::Nanoseconds), expected);
        assert_eq!(number("1.7E9", TimeUnit::Seconds), Some(at(1_700_000_000_000)));
        assert_eq!(number("-1", TimeUnit::Seconds), None);
        assert_eq!(number("1E30", TimeUnit::Seconds), None);
        let text = |text: &str| read(&Value::string(text), TimeUnit::Seconds);
        assert_eq!(text("2023-11-14T22:13:20.123Z"), expected);
        assert_eq!(text("2023-11-14T23:13:20.1239+01:00"), expected);
        for wrong in ["", "1700000000", "2023-11-14", "2023-11-14T22:13:20", "1969-12-31T23:00:00Z"]
        {
            assert_eq!(text(wrong), None, "{wrong}");
        }
        for wrong in [Value::Undefined, Value::Null, Value::Bool(true), Value::array(vec![])] {
            assert_eq!(read(&wrong, TimeUnit::Milliseconds), None);
        }
    }

    #[test]
    fn the_watermark_trails_the_newest_and_goes_on_when_idle() {
        let mut mark = Watermark::new(at(1000), at(7), of(100));
        assert_eq!(mark.at(at(7), of(100)), at(900));
        assert_eq!(mark.at(at(27), of(100)), at(920));
        assert_eq!(mark.reaches(at(920), of(100)), at(27));
        assert!(!mark.is_late(at(900)) && mark.is_late(at(899)));
        mark.hear(at(1500), at(40), of(100));
        assert_eq!((mark.newest, mark.passed), (at(1500), at(1400)));
        mark.hear(at(1450), at(90), of(100));
        assert_eq!((mark.newest, mark.heard_at), (at(1500), at(40)), "an older one moves nothing");
    }

    #[test]
    fn idle_time_makes_nothing_late_until_something_is_decided() {
        let mut mark = Watermark::new(at(1000), at(0), Duration::ZERO);
        assert!(!mark.is_late(at(1001)), "whatever the clock says");
        assert_eq!(mark.at(at(500), Duration::ZERO), at(1500));
        mark.pass(at(1200));
        assert!(mark.is_late(at(1199)) && !mark.is_late(at(1200)));
        mark.leave_out(300);
        assert_eq!(mark.at(at(500), Duration::ZERO), at(1200));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_sorted_and_of_one_time_in_order_of_arrival(
            events in prop::collection::vec(0..20_i64, 0..50),
        ) {
            let mut buffer = Reorder::default();
            for (place, event) in events.iter().enumerate() {
                buffer.insert(at(*event), place, 3);
            }
            prop_assert_eq!((buffer.len(), buffer.bytes()), (events.len(), 3 * events.len()));
            let mut expected: Vec<(i64, usize)> = events.iter().copied().zip(0..).collect();
            expected.sort();
            let mut told = Vec::new();
            while let Some(first) = buffer.first() {
                let (position, place) = buffer.pop().unwrap();
                prop_assert_eq!(first, position.event);
                told.push((position.event.as_millis(), place));
            }
            prop_assert_eq!(told, expected);
            prop_assert_eq!(buffer.bytes(), 0);
        }

        /// `reaches` is the first instant at which `at` is there.
        #[test]
        fn the_watermark_reaches_a_time_when_it_says(
            newest in 0..1000_i64, heard in 0..1000_i64, lateness in 0..100_u64, event in 0..3000_i64,
        ) {
            let mark = Watermark::new(at(newest), at(heard), of(lateness));
            let when = mark.reaches(at(event), of(lateness));
            prop_assert!(mark.at(when, of(lateness)) >= at(event));
            if when > mark.heard_at {
                prop_assert!(mark.at(when - of(1), of(lateness)) < at(event));
            }
        }
    }
}
