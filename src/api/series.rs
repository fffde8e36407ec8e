//! Rates over time: [`RateRing`] counts events into seconds and minutes; [`SeriesView`] is what
//! the chart draws.
//!
//! Pure: `now` comes in. The gateway keeps one ring for messages, one for hits and one for each rule,
//! adds to them where it counts, and reads them for [`super::Source::series`].

use std::sync::Arc;

use serde::Serialize;

use crate::api::view::Millis;
use crate::api::view::Text;
use crate::clock::Timestamp;
use crate::limits::SERIES_MINUTES;
use crate::limits::SERIES_RULES_MAX;
use crate::limits::SERIES_SECONDS;

/// How finely, and how far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesSpan {
    /// This many whole seconds, at most [`SERIES_SECONDS`].
    Seconds(usize),
    /// This many whole minutes, at most [`SERIES_MINUTES`].
    Minutes(usize),
}

impl SeriesSpan {
    /// Five minutes, second by second.
    pub const SECONDS: SeriesSpan = SeriesSpan::Seconds(SERIES_SECONDS);
    /// A day, minute by minute.
    pub const MINUTES: SeriesSpan = SeriesSpan::Minutes(SERIES_MINUTES);

    fn step_ms(self) -> i64 {
        match self {
            SeriesSpan::Seconds(_) => 1000,
            SeriesSpan::Minutes(_) => 60_000,
        }
    }

    fn steps(self) -> usize {
        match self {
            SeriesSpan::Seconds(steps) => steps.min(SERIES_SECONDS),
            SeriesSpan::Minutes(steps) => steps.min(SERIES_MINUTES),
        }
    }

    /// Start of the oldest step shown at `now`; the step that `now` is in is not shown, for it is
    /// not over.
    pub fn start(self, now: Timestamp) -> Timestamp {
        let first = now.as_millis().div_euclid(self.step_ms()) - steps_i64(self.steps());
        Timestamp::from_millis(first * self.step_ms())
    }
}

/// Events a second of the last five minutes and a minute of the last day: 7 KB.
#[derive(Clone, Debug)]
pub struct RateRing {
    seconds: Ring<SERIES_SECONDS>,
    minutes: Ring<SERIES_MINUTES>,
}

impl Default for RateRing {
    fn default() -> Self {
        RateRing { seconds: Ring::new(), minutes: Ring::new() }
    }
}

impl RateRing {
    /// Counts `events` at `at`. Late ones are counted where they belong; those from before the ring's
    /// memory are left out of it.
    pub fn add(&mut self, at: Timestamp, events: u64) {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.seconds.add(at.as_millis().div_euclid(1000), events);
        self.minutes.add(at.as_millis().div_euclid(60_000), events);
    }

    /// Counts of the whole steps before `now`, oldest first; the first begins at
    /// [`SeriesSpan::start`].
    pub fn counts(&self, span: SeriesSpan, now: Timestamp) -> Vec<u32> {
        let step = now.as_millis().div_euclid(span.step_ms());
        match span {
            SeriesSpan::Seconds(_) => self.seconds.before(step, span.steps()),
            SeriesSpan::Minutes(_) => self.minutes.before(step, span.steps()),
        }
    }
}

/// The last `N` completed steps and the one under way.
#[derive(Clone, Debug)]
struct Ring<const N: usize> {
    /// Step `s` is at `s mod (N + 1)`; the extra slot is the step under way.
    slots: Vec<u32>,
    /// The newest step that has been added to.
    newest: i64,
}

impl<const N: usize> Ring<N> {
    const SLOTS: i64 = steps_i64(N) + 1;

    fn new() -> Self {
        Ring { slots: vec![0; N + 1], newest: i64::MIN / 2 }
    }

    fn slot(step: i64) -> usize {
        usize::try_from(step.rem_euclid(Self::SLOTS)).expect("a remainder is below the length")
    }

    fn add(&mut self, step: i64, events: u32) {
        if step > self.newest {
            let stale = (step - self.newest).min(Self::SLOTS);
            for passed in (step - stale + 1)..=step {
                self.slots[Self::slot(passed)] = 0;
            }
            self.newest = step;
        } else if self.newest - step >= Self::SLOTS {
            return;
        }
        let slot = &mut self.slots[Self::slot(step)];
        *slot = slot.saturating_add(events);
    }

    fn before(&self, step: i64, steps: usize) -> Vec<u32> {
        ((step - steps_i64(steps))..step)
            .map(|at| {
                let kept = at <= self.newest && self.newest - at < Self::SLOTS;
                if kept { self.slots[Self::slot(at)] } else { 0 }
            })
            .collect()
    }
}

const fn steps_i64(steps: usize) -> i64 {
    assert!(steps <= SERIES_MINUTES, "the longest ring is a day of minutes");
    #[expect(clippy::cast_possible_wrap, reason = "at most 1440")]
    let steps = steps as i64;
    steps
}

/// Rates over time, all rules apart.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesView {
    /// Start of the oldest step.
    pub start: Millis,
    /// Length of a step.
    pub step_ms: i64,
    /// Messages taken in, a step.
    pub messages: Vec<u32>,
    /// Hits of all rules, a step.
    pub hits: Vec<u32>,
    /// Hits of each rule, a step.
    pub rules: Vec<RuleSeries>,
}

/// One rule's part of a [`SeriesView`].
#[derive(Clone, Debug, Serialize)]
pub struct RuleSeries {
    /// Rule name.
    pub rule: Text,
    /// Hits a step.
    pub hits: Vec<u32>,
}

impl SeriesView {
    /// From the rings of the gateway.
    pub fn of<'a>(
        span: SeriesSpan,
        now: Timestamp,
        messages: &RateRing,
        hits: &RateRing,
        rules: impl IntoIterator<Item = (Arc<str>, &'a RateRing)>,
    ) -> Self {
        let rules = rules
            .into_iter()
            .map(|(rule, ring)| RuleSeries { rule: rule.into(), hits: ring.counts(span, now) })
            .collect();
        SeriesView {
            start: span.start(now).into(),
            step_ms: span.step_ms(),
            messages: messages.counts(span, now),
            hits: hits.counts(span, now),
            rules,
        }
    }

    /// Keeps the rules with most hits, at most [`SERIES_RULES_MAX`], most first; rules without any
    /// are left out. What the others add up to is [`SeriesView::hits`] less those kept.
    pub(super) fn keep_busiest(&mut self) {
        let sum = |series: &RuleSeries| series.hits.iter().map(|n| u64::from(*n)).sum::<u64>();
        self.rules.retain(|series| sum(series) > 0);
        self.rules
            .sort_by_cached_key(|series| (std::cmp::Reverse(sum(series)), series.rule.clone()));
        self.rules.truncate(SERIES_RULES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn the_second_under_way_is_not_shown() {
        let mut ring = RateRing::default();
        ring.add(at(10_000), 3);
        ring.add(at(10_999), 1);
        ring.add(at(11_000), 7);
        assert_eq!(ring.counts(SeriesSpan::Seconds(2), at(11_500)), [0, 4]);
        assert_eq!(SeriesSpan::Seconds(2).start(at(11_500)), at(9_000));
        assert_eq!(ring.counts(SeriesSpan::Seconds(2), at(12_000)), [4, 7]);
    }

    #[test]
    fn silence_is_zeros_and_a_late_event_finds_its_second() {
        let mut ring = RateRing::default();
        ring.add(at(1_000), 5);
        ring.add(at(10_000_000), 1);
        assert_eq!(ring.counts(SeriesSpan::SECONDS, at(10_001_000)).iter().sum::<u32>(), 1);
        ring.add(at(9_998_000), 2);
        ring.add(at(1_000), 9);
        assert_eq!(ring.counts(SeriesSpan::Seconds(3), at(10_001_000)), [2, 0, 1]);
        assert_eq!(ring.counts(SeriesSpan::SECONDS, at(99_000_000)).iter().sum::<u32>(), 0);
    }

    #[test]
    fn only_the_busiest_rules_are_kept() {
        let rings: Vec<RateRing> = (0..60)
            .map(|n| {
                let mut ring = RateRing::default();
                ring.add(at(5_000), n);
                ring
            })
            .collect();
        let named = rings.iter().enumerate().map(|(n, ring)| (Arc::from(format!("r{n}")), ring));
        let mut view =
            SeriesView::of(SeriesSpan::Seconds(3), at(6_000), &rings[0], &rings[1], named);
        view.keep_busiest();
        assert_eq!(view.rules.len(), SERIES_RULES_MAX);
        assert_eq!(&*view.rules[0].rule, "r59");
        assert_eq!(view.hits, [0, 0, 1]);
    }

    proptest! {
        #[test]
        fn a_ring_agrees_with_a_map(
            steps in proptest::collection::vec((-400_000_i64..90_000_000, 0_u64..5), 1..60),
            later in 0_i64..400_000,
        ) {
            let mut ring = RateRing::default();
            let mut seconds: BTreeMap<i64, u64> = BTreeMap::new();
            let mut newest = i64::MIN / 2;
            for (ms, events) in &steps {
                ring.add(at(*ms), *events);
                let second = ms.div_euclid(1000);
                if newest - second <= i64::try_from(SERIES_SECONDS).unwrap() {
                    *seconds.entry(second).or_default() += events;
                }
                newest = newest.max(second);
            }
            let now = at(newest * 1000 + later);
            let shown = ring.counts(SeriesSpan::SECONDS, now);
            let start = SeriesSpan::SECONDS.start(now).as_millis() / 1000;
            for (offset, count) in shown.iter().enumerate() {
                let second = start + i64::try_from(offset).unwrap();
                let expected = seconds.get(&second).copied().unwrap_or(0);
                prop_assert_eq!(u64::from(*count), expected, "second {}", second);
            }
        }
    }
}
