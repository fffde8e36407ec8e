//! Messages of a key that wait for the key's watermark, whatever the rule makes of them then.
//!
//! A [`Queue`] is a key's side of event time: its [`Watermark`], the messages ahead of it in their order, and
//! which of their rows on disk are old. Whoever owns it asks [`Queue::hear`] for each message, lets it
//! [wait](Queue::insert) if the watermark has not passed it, takes it [out](Queue::pop) in its turn, and
//! after each batch the [changed rows](Queue::take_changes).

use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::RuleIndex;
use crate::engine::event_time::Position;
use crate::engine::event_time::Reorder;
use crate::engine::event_time::Watermark;
use crate::engine::rows::WaitingChange;
use crate::limits::EVENT_WAITING_BYTES_MAX;
use crate::limits::EVENT_WAITING_BYTES_PER_KEY_MAX;
use crate::limits::EVENT_WAITING_MAX;
use crate::limits::EVENT_WAITING_PER_KEY_MAX;

/// What event time counts of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Messages that came too late.
    pub late: u64,
    /// Times that messages had their turn early because too many waited.
    pub early: u64,
    /// Messages waiting for their turn now.
    pub waiting: usize,
    /// Bytes of those.
    pub waiting_bytes: usize,
}

/// Something that waits.
pub(super) trait Waiting {
    /// Memory it takes, about.
    fn bytes(&self) -> usize;

    /// Appends its row to `buffer`, and splits it off.
    fn encode(&self, event: Timestamp, buffer: &mut BytesMut) -> Bytes;
}

/// A message, and whether it has a row on disk.
#[derive(Debug)]
struct Place<T> {
    message: T,
    is_stored: bool,
}

/// A key's side of event time.
#[derive(Debug)]
pub(super) struct Queue<T> {
    pub(super) watermark: Watermark,
    waiting: Reorder<Place<T>>,
    /// Where messages were put since rows were last taken.
    added: Vec<Position>,
    /// Rows of messages that wait no longer.
    unstored: Vec<u64>,
}

impl<T: Waiting> Queue<T> {
    /// Nothing waits yet.
    pub(super) fn new(watermark: Watermark) -> Self {
        let (added, unstored) = (Vec::new(), Vec::new());
        Queue { watermark, waiting: Reorder::default(), added, unstored }
    }

    /// A message of time `event` comes at `now`. Answers how far the watermark has passed, or a fault if
    /// the message is late; `key` is what the fault names.
    pub(super) fn hear(
        &mut self,
        event: Timestamp,
        now: Timestamp,
        lateness: Duration,
        counts: &mut EventCounts,
        (rule, key): (RuleIndex, &str),
    ) -> Result<Timestamp, Fault> {
        if self.watermark.is_late(event) {
            counts.late += 1;
            let passed = self.watermark.passed;
            let message = format!(
                "late record: its time {event} is before {passed}, the watermark of key {key}"
            );
            return Err(Fault { rule, code: FaultCode::LateRecord, message });
        }
        self.watermark.hear(event, now, lateness);
        Ok(self.watermark.passed)
    }

    /// Puts a message where it belongs.
    pub(super) fn insert(&mut self, event: Timestamp, message: T, counts: &mut EventCounts) {
        let bytes = message.bytes();
        counts.waiting += 1;
        counts.waiting_bytes += bytes;
        let position = self.waiting.insert(event, Place { message, is_stored: false }, bytes);
        self.added.push(position);
    }

    /// The time to which messages must have their turn early because too many wait, and what to say of
    /// it; `None` while there is room.
    pub(super) fn overflow(
        &self,
        counts: &mut EventCounts,
        (rule, key): (RuleIndex, &str),
    ) -> Option<(Timestamp, Fault)> {
        let is_full = self.waiting.len() > EVENT_WAITING_PER_KEY_MAX
            || self.waiting.bytes() > EVENT_WAITING_BYTES_PER_KEY_MAX
            || counts.waiting > EVENT_WAITING_MAX
            || counts.waiting_bytes > EVENT_WAITING_BYTES_MAX;
        let oldest = self.first().filter(|_| is_full)?;
        counts.early += 1;
        let message = format!(
            "too many messages wait for the watermark; that of key {key} goes on to {oldest}"
        );
        Some((oldest, Fault { rule, code: FaultCode::EventBufferFull, message }))
    }

    /// The event time of the next one.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.waiting.first()
    }

    /// Takes the next one out.
    pub(super) fn pop(&mut self, counts: &mut EventCounts) -> Option<(Timestamp, T)> {
        let (event, message) = self.take()?;
        counts.waiting -= 1;
        counts.waiting_bytes -= message.bytes();
        Some((event, message))
    }

    fn take(&mut self) -> Option<(Timestamp, T)> {
        let (position, Place { message, is_stored }) = self.waiting.pop()?;
        if is_stored {
            self.unstored.push(position.turn);
        }
        Some((position.event, message))
    }

    /// Nothing waits any more: the rule is gone, or is another now. It is in no rule's counts.
    pub(super) fn give_up(&mut self) {
        while self.take().is_some() {}
        self.added.clear();
    }

    /// Puts a message where it was before a restart; one that could not be read loses its row.
    pub(super) fn put_back<E>(
        &mut self,
        turn: u64,
        row: Result<(Timestamp, T), E>,
    ) -> Result<(), E> {
        match row {
            Ok((event, message)) => {
                let bytes = message.bytes();
                let place = Place { message, is_stored: true };
                self.waiting.put_back(Position { event, turn }, place, bytes);
                Ok(())
            }
            Err(error) => {
                self.unstored.push(turn);
                Err(error)
            }
        }
    }

    /// Whether there are rows to remove.
    pub(super) fn has_old_rows(&self) -> bool {
        !self.unstored.is_empty()
    }

    /// Adds what waits to the counts of a rule that has taken the key over.
    pub(super) fn count(&self, counts: &mut EventCounts) {
        counts.waiting += self.waiting.len();
        counts.waiting_bytes += self.waiting.bytes();
    }

    /// The rows that changed since the last call, encoded into `buffer`; none where there is no disk.
    pub(super) fn take_changes(&mut self, buffer: Option<&mut BytesMut>) -> Vec<WaitingChange> {
        let removed = self.unstored.drain(..).map(|turn| WaitingChange { turn, message: None });
        let Some(buffer) = buffer else {
            drop(removed);
            self.added.clear();
            return Vec::new();
        };
        let mut changes: Vec<WaitingChange> = removed.collect();
        for position in self.added.drain(..) {
            if let Some(place) = self.waiting.get_mut(position) {
                place.is_stored = true;
                let message = Some(place.message.encode(position.event, buffer));
                changes.push(WaitingChange { turn: position.turn, message });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes.
    struct Message(usize);

    impl Waiting for Message {
        fn bytes(&self) -> usize {
            self.0
        }

        fn encode(&self, _event: Timestamp, buffer: &mut BytesMut) -> Bytes {
            buffer.split().freeze()
        }
    }

    /// How often a key with these messages is moved on, if the other keys of its rule have `others` waiting.
    fn early(messages: impl IntoIterator<Item = usize>, others: EventCounts) -> u64 {
        let at = Timestamp::from_millis;
        let mut queue = Queue::new(Watermark::new(at(0), at(0), Duration::ZERO));
        let mut counts = others;
        for (event, bytes) in (0..).zip(messages) {
            queue.insert(at(event), Message(bytes), &mut counts);
            if let Some((oldest, fault)) = queue.overflow(&mut counts, (RuleIndex(0), "k")) {
                assert_eq!(fault.code, FaultCode::EventBufferFull);
                assert_eq!(Some(oldest), queue.first(), "the oldest has its turn");
                queue.pop(&mut counts);
            }
        }
        counts.early
    }

    #[test]
    fn as_many_messages_and_bytes_may_wait_as_the_bounds_say_and_not_one_more() {
        let alone = EventCounts::default();
        let messages = |count: usize| std::iter::repeat_n(0, count);
        assert_eq!(early(messages(EVENT_WAITING_PER_KEY_MAX), alone), 0);
        assert_eq!(early(messages(EVENT_WAITING_PER_KEY_MAX + 1), alone), 1);
        assert_eq!(early([EVENT_WAITING_BYTES_PER_KEY_MAX - 1, 1], alone), 0);
        assert_eq!(early([EVENT_WAITING_BYTES_PER_KEY_MAX, 1], alone), 1);
        let others = |waiting: usize| EventCounts { waiting, ..alone };
        assert_eq!(early([0], others(EVENT_WAITING_MAX - 1)), 0);
        assert_eq!(early([0], others(EVENT_WAITING_MAX)), 1);
        let others = |waiting_bytes: usize| EventCounts { waiting_bytes, ..alone };
        assert_eq!(early([1], others(EVENT_WAITING_BYTES_MAX - 1)), 0);
        assert_eq!(early([1], others(EVENT_WAITING_BYTES_MAX)), 1);
    }
}
