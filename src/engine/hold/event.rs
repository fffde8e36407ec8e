//! Event time: messages of a key wait for the key's watermark, and its timers run on it.
//!
//! [`EventSide`] is what a key has beside its [`State`] when its rule has
//! TIMESTAMP BY. The state knows nothing of it: it is shown messages and times in order, as ever.
//! [`Key::hear_in_event_time`] takes a message in, [`Key::catch_up`] does what the watermark has
//! passed, and the key's one alarm is set to the moment (of the arrival clock) at which the watermark
//! reaches what the key waits for next.

use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use crate::clock::Timestamp;
use crate::engine::Observation;
use crate::engine::Truth;
use crate::engine::event_time::Watermark;
use crate::engine::hold::encoding;
use crate::engine::hold::hold_table::Desk;
use crate::engine::hold::hold_table::Key;
use crate::engine::hold::hold_table::PassedOver;
use crate::engine::hold::hold_table::Transitions;
use crate::engine::hold::state::Phase;
use crate::engine::hold::state::State;
use crate::engine::hold::state::Terms;
use crate::engine::message::Fresh;
use crate::engine::message::Message;
use crate::engine::timer::Deadline;
use crate::engine::waiting::Queue;
use crate::engine::waiting::Waiting;
use crate::limits::EVENT_KEY_REST;
use crate::limits::EVENT_REPEATS_MAX;
use crate::rule::ast::OnRestart;

/// A message that waits for its turn.
#[derive(Debug)]
pub(super) struct WaitingMessage {
    pub(super) condition: Truth,
    pub(super) clear: Option<Truth>,
    /// Kept when the condition is TRUE.
    pub(super) message: Option<Message>,
}

impl Waiting for WaitingMessage {
    fn bytes(&self) -> usize {
        size_of::<WaitingMessage>() + self.message.as_ref().map_or(0, Message::bytes)
    }

    fn encode(&self, event: Timestamp, buffer: &mut BytesMut) -> Bytes {
        encoding::encode_waiting(buffer, event, self)
    }
}

/// A key's side of event time.
#[derive(Debug)]
pub(super) struct EventSide {
    pub(super) queue: Queue<WaitingMessage>,
    /// Everything due by then has been done. Nothing is dated before it.
    caught_up: Timestamp,
    /// Event time of the last known message that was judged.
    pub(super) judged: Timestamp,
    /// The key is forgotten as soon as its row is off the disk.
    pub(super) is_over: bool,
}

impl EventSide {
    pub(super) fn new(watermark: Watermark, judged: Timestamp) -> Self {
        EventSide {
            caught_up: watermark.passed,
            queue: Queue::new(watermark),
            judged,
            is_over: false,
        }
    }

    /// The key's first message, or the first after it was given up.
    fn begin(&mut self, watermark: Watermark) {
        self.queue.watermark = watermark;
        self.caught_up = watermark.passed;
        self.judged = watermark.passed;
        self.is_over = false;
    }

    /// `terms`, without REPEAT EVERY once a silence has had its share of repetitions. Silence is
    /// measured in event time, so that the order of arrival changes nothing.
    fn terms(&self, terms: &Terms, state: &State) -> Terms {
        let is_exhausted = match (terms.repeat_every, state.phase) {
            (Some(every), Phase::Firing { repeated_at, .. }) => {
                repeated_at + every > self.judged + every.saturating_mul(EVENT_REPEATS_MAX)
            }
            _ => false,
        };
        Terms { repeat_every: terms.repeat_every.filter(|_| !is_exhausted), ..*terms }
    }

    /// The next timer of the state, in event time.
    fn timer(&self, terms: &Terms, state: &State) -> Option<Deadline> {
        let deadline = state.deadline(&self.terms(terms, state))?;
        // After a reload a shorter duration may be over already: now is as early as it can fire.
        Some(deadline.not_before(self.caught_up))
    }

    /// The time, by the arrival clock, at which [`Key::catch_up`] has something to do if nothing
    /// more is heard.
    pub(super) fn deadline(&self, desk: &Desk<'_>, state: &State) -> Option<Deadline> {
        let timer = self.timer(desk.terms, state);
        let message = self.queue.first().map(Deadline::at);
        let rest = (!state.is_active())
            .then(|| Deadline::at(self.queue.watermark.newest + EVENT_KEY_REST));
        let next = timer.into_iter().chain(message).min().or(rest.filter(|_| !self.is_over))?;
        Some(next.moved_to(self.queue.watermark.reaches(next.time(), desk.lateness)))
    }
}

/// Whether a message can change anything but the watermark.
fn is_known(condition: Truth, clear: Option<Truth>) -> bool {
    condition != Truth::Unknown || clear.is_some_and(|clear| clear != Truth::Unknown)
}

impl Key {
    /// Takes a message of event time `event` in, and does what the watermark has passed then.
    pub(super) fn hear_in_event_time(
        &mut self,
        observation: Observation,
        event: Timestamp,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        let first = Watermark::new(event, desk.now, desk.lateness);
        let side = self.event.get_or_insert_with(|| Box::new(EventSide::new(first, first.passed)));
        if side.is_over {
            side.begin(first);
        }
        let (counts, who) = (&mut desk.counts.event, (desk.rule, &*self.text));
        let passed = match side.queue.hear(event, desk.now, desk.lateness, counts, who) {
            Ok(passed) => passed,
            Err(fault) => {
                let over = |publish| PassedOver { fault, publish, clause: "when" };
                return out.passed_over.extend(observation.publish.map(over));
            }
        };
        desk.mark(self);
        let Observation { condition, clear, publish, .. } = observation;
        if !is_known(condition, clear) {
            // It has moved the watermark, which is all that it can do.
        } else if event <= passed {
            self.catch_up(Deadline::at(event), desk, out);
            self.judge(event, condition, clear, publish.as_ref().map(Fresh::Publish), desk, out);
        } else {
            let message = publish.filter(|_| condition == Truth::True);
            let message = message.as_ref().map(Message::of);
            let waiting = WaitingMessage { condition, clear, message };
            self.wait(event, waiting, desk, out);
        }
        self.catch_up(Deadline::at(passed), desk, out);
        self.settle(desk, desk.now);
    }

    /// Puts a message where it belongs, and judges the oldest ones early when too many wait.
    fn wait(
        &mut self,
        event: Timestamp,
        message: WaitingMessage,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        let Some(side) = &mut self.event else { return };
        side.queue.insert(event, message, &mut desk.counts.event);
        while let Some(side) = &self.event
            && let Some((oldest, fault)) =
                side.queue.overflow(&mut desk.counts.event, (desk.rule, &self.text))
        {
            out.faults.push(fault);
            self.catch_up(Deadline::at(oldest), desk, out);
        }
    }

    /// Runs timers and judges messages up to `bound`, an instant in event time, in their order: a timer
    /// due at or before a message's time runs before it.
    pub(super) fn catch_up(&mut self, bound: Deadline, desk: &mut Desk<'_>, out: &mut Transitions) {
        while let Some(side) = &mut self.event {
            let timer = side.timer(desk.terms, &self.state).filter(|timer| *timer <= bound);
            let message = side.queue.first().filter(|event| *event <= bound.time());
            match (timer, message) {
                (Some(timer), message) if message.is_none_or(|event| timer.is_due(event)) => {
                    let terms = side.terms(desk.terms, &self.state);
                    side.queue.watermark.pass(timer.wake());
                    self.run(&terms, timer.time(), desk, out);
                }
                (_, Some(_)) => {
                    let Some((event, message)) = side.queue.pop(&mut desk.counts.event) else {
                        break;
                    };
                    let WaitingMessage { condition, clear, message, .. } = message;
                    self.judge(event, condition, clear, message.map(Fresh::Kept), desk, out);
                }
                (_, None) => break,
            }
            desk.mark(self);
        }
        let Some(side) = &mut self.event else { return };
        side.caught_up = side.caught_up.max(bound.time().min(side.queue.watermark.passed));
        if !self.state.is_active()
            && side.queue.first().is_none()
            && side.queue.watermark.newest + EVENT_KEY_REST <= bound.time()
        {
            side.is_over = true;
            desk.mark(self);
        }
    }

    /// A known message whose turn has come.
    fn judge(
        &mut self,
        event: Timestamp,
        condition: Truth,
        clear: Option<Truth>,
        message: Option<Fresh<'_>>,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        if let Some(side) = &mut self.event {
            side.queue.watermark.pass(event);
            let repeats = side.terms(desk.terms, &self.state).repeat_every;
            if repeats != desk.terms.repeat_every {
                self.state.skip_repeats(desk.terms, event);
            }
            side.judged = event;
        }
        self.hear(condition, clear, message, event, desk, out);
    }

    /// Takes the key over a restart, its clocks leaving out `millis`, and answers whether its row is to be
    /// written.
    ///
    /// In event time its clocks are those of its messages; only the idle advance of the watermark leaves
    /// anything out.
    pub(super) fn resume(
        &mut self,
        terms: &Terms,
        lateness: Duration,
        millis: i64,
        now: Timestamp,
    ) -> bool {
        let Some(side) = &mut self.event else { return self.state.resume(terms, millis) };
        let before = self.state.clone();
        if terms.on_restart == OnRestart::Reset && !self.state.is_firing() {
            self.state.start_over();
        }
        side.queue.watermark.leave_out(millis);
        if terms.counts_downtime() {
            self.state.skip_repeats(terms, side.queue.watermark.at(now, lateness));
        }
        self.state != before
    }

    /// Leaves a step of the clock out.
    pub(super) fn leap(&mut self, terms: &Terms, millis: i64) {
        match &mut self.event {
            Some(side) => side.queue.watermark.leave_out(millis),
            None => self.state.shift(terms, millis),
        }
    }

    /// The key of a rule that is gone, or watches something else now: nothing waits any more. It is in
    /// no rule's counts.
    pub(super) fn give_up_event_time(&mut self) {
        let Some(side) = &mut self.event else { return };
        side.queue.give_up();
        side.is_over = true;
    }

    /// Whether the key has to be kept.
    pub(super) fn lives(&self) -> bool {
        self.state.is_active() || self.event.as_ref().is_some_and(|side| !side.is_over)
    }
}
