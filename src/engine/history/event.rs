//! Event time: messages of a key wait for the key's watermark, and are remembered in its order.

use std::sync::Arc;

use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Recall;
use crate::engine::event_time::Position;
use crate::engine::event_time::Reorder;
use crate::engine::event_time::Watermark;
use crate::engine::history::encoding;
use crate::engine::history::history_table::Desk;
use crate::engine::history::history_table::HistoryCounts;
use crate::engine::history::history_table::Key;
use crate::engine::history::history_table::Recollections;
use crate::engine::history::history_table::Refused;
use crate::engine::hold::WaitingChange;
use crate::engine::message::Message;
use crate::engine::timer::Deadline;
use crate::limits::EVENT_WAITING_BYTES_MAX;
use crate::limits::EVENT_WAITING_BYTES_PER_KEY_MAX;
use crate::limits::EVENT_WAITING_MAX;
use crate::limits::EVENT_WAITING_PER_KEY_MAX;

/// A message that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    /// As in [`Recall`].
    pub(super) values: Box<[CompactString]>,
    pub(super) message: Message,
    /// Has a row on disk.
    pub(super) stored: bool,
}

impl Waiting {
    /// Memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let values = self.values.iter().map(|value| size_of::<CompactString>() + value.len());
        size_of::<Waiting>() + self.message.bytes() + values.sum::<usize>()
    }
}

/// A key's side of event time.
#[derive(Debug)]
pub(super) struct EventSide {
    pub(super) watermark: Watermark,
    pub(super) waiting: Reorder<Waiting>,
    /// Where messages were put since rows were last taken.
    added: Vec<Position>,
    /// Rows of messages that wait no longer.
    pub(super) unstored: Vec<u64>,
}

impl EventSide {
    pub(super) fn new(watermark: Watermark) -> Self {
        let (added, unstored) = (Vec::new(), Vec::new());
        EventSide { watermark, waiting: Reorder::default(), added, unstored }
    }

    fn is_over_bounds(&self, counts: &HistoryCounts) -> bool {
        self.waiting.len() > EVENT_WAITING_PER_KEY_MAX
            || self.waiting.bytes() > EVENT_WAITING_BYTES_PER_KEY_MAX
            || counts.waiting > EVENT_WAITING_MAX
            || counts.waiting_bytes > EVENT_WAITING_BYTES_MAX
    }
}

impl Key {
    /// Takes a message of event time `event` in, and remembers what the watermark has passed then.
    pub(super) fn hear_in_event_time(
        &mut self,
        recall: Recall,
        event: Timestamp,
        desk: &mut Desk<'_>,
        out: &mut Recollections,
    ) {
        let first = Watermark::new(event, desk.now, desk.lateness);
        let side = self.event.get_or_insert_with(|| Box::new(EventSide::new(first)));
        if side.watermark.is_late(event) {
            desk.counts.late += 1;
            out.refused.push(late(&self.text, recall, event, side.watermark.passed));
            return;
        }
        side.watermark.hear(event, desk.now, desk.lateness);
        let passed = side.watermark.passed;
        desk.mark(self);
        let Recall { values, publish, .. } = recall;
        if event <= passed {
            self.catch_up(event, desk, out);
            self.take_turn(values, publish, Some(event), desk, out);
        } else {
            let message = Message::of(&publish);
            self.wait(event, Waiting { values, message, stored: false }, desk, out);
        }
        self.catch_up(passed, desk, out);
        self.settle(desk);
    }

    /// Puts a message where it belongs, and gives the oldest ones their turn early when too many wait.
    fn wait(
        &mut self,
        event: Timestamp,
        message: Waiting,
        desk: &mut Desk<'_>,
        out: &mut Recollections,
    ) {
        let Some(side) = &mut self.event else { return };
        let bytes = message.bytes();
        desk.counts.waiting += 1;
        desk.counts.waiting_bytes += bytes;
        let position = side.waiting.insert(event, message, bytes);
        side.added.push(position);
        while let Some(side) = self.event.as_deref().filter(|side| side.is_over_bounds(desk.counts))
            && let Some(oldest) = side.waiting.first()
        {
            desk.counts.early += 1;
            out.faults.push(Fault {
                rule: desk.rule,
                code: FaultCode::EventBufferFull,
                message: format!(
                    "too many messages wait for the watermark; that of key {} goes on to {oldest}",
                    self.text
                ),
            });
            self.catch_up(oldest, desk, out);
        }
    }

    /// Gives the messages up to `bound`, in event time, their turn.
    pub(super) fn catch_up(
        &mut self,
        bound: Timestamp,
        desk: &mut Desk<'_>,
        out: &mut Recollections,
    ) {
        while let Some(side) = &mut self.event
            && side.waiting.first().is_some_and(|event| event <= bound)
            && let Some((position, waiting)) = side.waiting.pop()
        {
            if waiting.stored {
                side.unstored.push(position.turn);
            }
            desk.counts.waiting -= 1;
            desk.counts.waiting_bytes -= waiting.bytes();
            side.watermark.pass(position.event);
            desk.mark(self);
            let publish = waiting.message.to_publish();
            self.take_turn(waiting.values, publish, Some(position.event), desk, out);
        }
    }

    /// Sets the timer that the key wants: when the watermark reaches the next message if nothing more is
    /// heard.
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>) {
        let deadline = self.event.as_ref().and_then(|side| {
            let next = side.waiting.first()?;
            Some(Deadline::at(side.watermark.reaches(next, desk.lateness)).not_before(desk.now))
        });
        match deadline {
            None => desk.timers.cancel(&mut self.alarm),
            deadline => {
                let rule = desk.rule;
                desk.timers.arm(&mut self.alarm, deadline, || (rule, Arc::clone(&self.text)));
            }
        }
    }

    /// Takes the key over an outage, and answers whether that changed it: unless downtime counts, the
    /// idle advance of the watermark leaves it out.
    pub(super) fn resume(
        &mut self,
        counts_downtime: bool,
        alive_until: Timestamp,
        now: Timestamp,
    ) -> bool {
        let outage = now.as_millis().saturating_sub(alive_until.as_millis());
        let Some(side) = &mut self.event else { return false };
        if outage == 0 || (counts_downtime && outage > 0) {
            return false;
        }
        side.watermark.leave_out(outage);
        true
    }

    /// Nothing waits any more: the rule is gone, or remembers something else.
    pub(super) fn give_up_waiting(&mut self) {
        let Some(side) = &mut self.event else { return };
        while let Some((position, waiting)) = side.waiting.pop() {
            if waiting.stored {
                side.unstored.push(position.turn);
            }
        }
        side.added.clear();
    }

    /// The rows of waiting messages that changed since the last call, encoded into `buffer`; none
    /// where there is no disk.
    pub(super) fn take_waiting_changes(
        &mut self,
        buffer: Option<&mut BytesMut>,
    ) -> Vec<WaitingChange> {
        let Some(side) = &mut self.event else { return Vec::new() };
        let Some(buffer) = buffer else {
            side.unstored.clear();
            side.added.clear();
            return Vec::new();
        };
        let removed = side.unstored.drain(..).map(|turn| WaitingChange { turn, message: None });
        let mut changes: Vec<WaitingChange> = removed.collect();
        for position in side.added.drain(..) {
            if let Some(waiting) = side.waiting.get_mut(position) {
                waiting.stored = true;
                let message = Some(encoding::encode_waiting(buffer, position.event, waiting));
                changes.push(WaitingChange { turn: position.turn, message });
            }
        }
        changes
    }
}

fn late(key: &str, recall: Recall, event: Timestamp, watermark: Timestamp) -> Refused {
    let message =
        format!("late record: its time {event} is before {watermark}, the watermark of key {key}");
    let fault = Fault { rule: recall.rule, code: FaultCode::LateRecord, message };
    Refused { fault, publish: recall.publish }
}
