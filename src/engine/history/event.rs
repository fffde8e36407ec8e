//! Event time: messages of a key wait for the key's watermark, and are remembered in its order.

use bytes::Bytes;
use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Recall;
use crate::engine::event_time::Watermark;
use crate::engine::history::encoding;
use crate::engine::history::history_table::Desk;
use crate::engine::history::history_table::Key;
use crate::engine::history::history_table::Recollections;
use crate::engine::history::history_table::Refused;
use crate::engine::message::Message;
use crate::engine::timer::Deadline;
use crate::engine::waiting::Queue;
use crate::engine::waiting::Waiting;

/// A message that waits for its turn.
#[derive(Debug)]
pub(super) struct WaitingMessage {
    /// As in [`Recall`].
    pub(super) values: Box<[CompactString]>,
    pub(super) message: Message,
}

impl Waiting for WaitingMessage {
    fn bytes(&self) -> usize {
        let values = self.values.iter().map(|value| size_of::<CompactString>() + value.len());
        size_of::<WaitingMessage>() + self.message.bytes() + values.sum::<usize>()
    }

    fn encode(&self, event: Timestamp, buffer: &mut BytesMut) -> Bytes {
        encoding::encode_waiting(buffer, event, self)
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
        let queue = self.event.get_or_insert_with(|| Box::new(Queue::new(first)));
        let (counts, who) = (&mut desk.counts.event, (desk.rule, &*self.text));
        let passed = match queue.hear(event, desk.now, desk.lateness, counts, who) {
            Ok(passed) => passed,
            Err(fault) => return out.refused.push(Refused { fault, publish: recall.publish }),
        };
        desk.mark(self);
        let Recall { values, publish, .. } = recall;
        if event <= passed {
            self.catch_up(event, desk, out);
            self.take_turn(values, publish, Some(event), desk, out);
        } else {
            let message = Message::of(&publish);
            self.wait(event, WaitingMessage { values, message }, desk, out);
        }
        self.catch_up(passed, desk, out);
        self.settle(desk);
    }

    /// Puts a message where it belongs, and gives the oldest ones their turn early when too many wait.
    fn wait(
        &mut self,
        event: Timestamp,
        message: WaitingMessage,
        desk: &mut Desk<'_>,
        out: &mut Recollections,
    ) {
        let Some(queue) = &mut self.event else { return };
        queue.insert(event, message, &mut desk.counts.event);
        while let Some(queue) = &self.event
            && let Some((oldest, fault)) =
                queue.overflow(&mut desk.counts.event, (desk.rule, &self.text))
        {
            out.faults.push(fault);
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
        while let Some(queue) = &mut self.event
            && queue.first().is_some_and(|event| event <= bound)
            && let Some((event, waiting)) = queue.pop(&mut desk.counts.event)
        {
            queue.watermark.pass(event);
            desk.mark(self);
            let publish = waiting.message.to_publish();
            self.take_turn(waiting.values, publish, Some(event), desk, out);
        }
    }

    /// Sets the timer that the key wants: when the watermark reaches the next message if nothing more is
    /// heard.
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>) {
        let deadline = self.event.as_ref().and_then(|queue| {
            let reached = queue.watermark.reaches(queue.first()?, desk.lateness);
            Some(Deadline::at(reached).not_before(desk.now))
        });
        match deadline {
            None => desk.timers.cancel(&mut self.alarm),
            deadline => desk.timers.arm(&mut self.alarm, deadline, desk.key),
        }
    }

    /// The idle advance of the watermark leaves so many milliseconds out.
    pub(super) fn leave_out(&mut self, millis: i64) {
        if let Some(queue) = &mut self.event {
            queue.watermark.leave_out(millis);
        }
    }
}
