//! One group of a rule: its open windows.
//!
//! Messages go in, closed windows come out. Nothing here knows a clock: [`Group::hear`] takes a message
//! in, [`Group::catch_up`] does what is due up to an instant of the rule's time, and [`Group::deadline`]
//! names the instant of the gateway's clock at which there is something to do if nothing more is heard.
//! In event time the rule's time is the group's watermark, otherwise it is the receive time.
//!
//! Windows of TUMBLE, HOP and SESSION take messages in any order. SLIDE and COUNT take them in the order
//! of their times: with TIMESTAMP BY those wait until the watermark has passed them.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::clock::Timestamp;
use crate::engine::ClosedWindow;
use crate::engine::Contribution;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::RuleIndex;
use crate::engine::WindowFacts;
use crate::engine::event_time::Position;
use crate::engine::event_time::Reorder;
use crate::engine::event_time::Watermark;
use crate::engine::event_time::shifted;
use crate::engine::hold::PassedOver;
use crate::engine::hold::Transitions;
use crate::engine::rows::WaitingChange;
use crate::engine::window::cell::Full;
use crate::engine::window::encoding;
use crate::engine::window::encoding::Part;
use crate::engine::window::pane::Pane;
use crate::engine::window::pane::Sample;
use crate::engine::window::pane::Slide;
use crate::engine::window::panes::Panes;
use crate::engine::window::spec::Shape;
use crate::engine::window::spec::WindowSpec;
use crate::engine::window::spec::first_end;
use crate::engine::window::spec::floor;
use crate::engine::window::spec::last_end;
use crate::engine::window::window_table::WindowCounts;
use crate::limits::EVENT_KEY_REST;
use crate::limits::WINDOW_PANES_PER_GROUP_MAX;
use crate::limits::WINDOW_PANES_PER_RULE_MAX;
use crate::limits::WINDOW_VALUE_BYTES_MAX;
use crate::topic::TopicName;

/// What of the table and of the rule a group works with.
pub(super) struct Desk<'a> {
    pub(super) rule: RuleIndex,
    pub(super) spec: &'a WindowSpec,
    pub(super) lateness: Duration,
    /// By the gateway's clock.
    pub(super) now: Timestamp,
    pub(super) counts: &'a mut WindowCounts,
}

/// What a group has that takes messages in the order of their times.
#[derive(Debug, Default)]
struct InOrder {
    /// With TIMESTAMP BY: what the watermark has not passed.
    waiting: Reorder<Sample>,
    slide: Slide,
    /// Messages whose row is old, or not there yet.
    old_samples: Vec<Position>,
}

/// The windows of one group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) text: Arc<str>,
    /// Of the last message.
    pub(super) topic: TopicName,
    /// Where the rule has TIMESTAMP BY.
    pub(super) watermark: Option<Watermark>,
    /// Windows that end by then are closed, or never were.
    pub(super) closed: Timestamp,
    /// Messages taken in: the order of those of one time, and the numbers of rows.
    pub(super) turns: u64,
    panes: Panes,
    /// Of SLIDE and COUNT.
    in_order: Option<Box<InOrder>>,
    /// Bytes of all these.
    bytes: usize,
    /// What the rule's counts have of this group.
    counted: Option<(usize, usize)>,
    /// Panes whose row is old.
    old_panes: Vec<Timestamp>,
    /// Rows of what is gone.
    gone: Vec<u64>,
    /// When the table looks at it next.
    pub(super) alarm: Option<Timestamp>,
    /// The watermark is forgotten as soon as its row is off the disk.
    is_over: bool,
    /// Listed as changed.
    pub(super) is_changed: bool,
    /// Has a row on disk.
    pub(super) is_stored: bool,
}

impl Group {
    pub(super) fn new(text: Arc<str>, topic: TopicName) -> Self {
        Group {
            text,
            topic,
            watermark: None,
            closed: Timestamp::from_millis(i64::MIN),
            turns: 0,
            panes: Panes::default(),
            in_order: None,
            bytes: 0,
            counted: None,
            old_panes: Vec::new(),
            gone: Vec::new(),
            alarm: None,
            is_over: false,
            is_changed: false,
            is_stored: false,
        }
    }

    /// Open windows, panes and kept messages.
    fn parts(&self) -> usize {
        let kept = |kept: &InOrder| kept.waiting.len() + kept.slide.samples.len();
        self.panes.len() + self.in_order.as_deref().map_or(0, kept)
    }

    /// Whether it has to be kept.
    pub(super) fn lives(&self) -> bool {
        self.parts() > 0 || (self.watermark.is_some() && !self.is_over)
    }

    /// Takes a message in, and closes what its time closes.
    pub(super) fn hear(
        &mut self,
        contribution: Contribution,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        let time = contribution.event_at.unwrap_or(desk.now);
        if let Some(event) = contribution.event_at {
            let first = Watermark::new(event, desk.now, desk.lateness);
            if self.is_over {
                (self.watermark, self.is_over) = (None, false);
                self.closed = Timestamp::from_millis(i64::MIN);
            }
            let watermark = *self.watermark.get_or_insert(first);
            if self.is_late(event, watermark.passed, desk.spec.shape) {
                desk.counts.late += 1;
                let message = format!(
                    "late record: its time {event} is before {}, the watermark of group {}, and its \
                     window is closed",
                    watermark.passed, self.text
                );
                pass_over(contribution, FaultCode::LateRecord, message, out);
                return;
            }
            if let Some(watermark) = &mut self.watermark {
                watermark.hear(event, desk.now, desk.lateness);
            }
        }
        if let Some(why) = self.no_room(time, desk) {
            desk.counts.refused += 1;
            let message = format!("{why}; the message of group {} is passed over", self.text);
            pass_over(contribution, FaultCode::WindowsFull, message, out);
        } else {
            let Contribution { values, publish, .. } = contribution;
            let position = Position { event: time, turn: self.turns };
            self.turns += 1;
            self.topic = publish.topic;
            let (hops, is_counted) = (publish.hops, false);
            self.take(Sample { position, values, hops, is_counted, is_stored: false }, desk, out);
        }
        if let Some(watermark) = self.watermark {
            self.catch_up(watermark.passed, desk, out);
        }
    }

    /// Whether all windows of a message of this time are closed.
    fn is_late(&self, event: Timestamp, passed: Timestamp, shape: Shape) -> bool {
        match shape {
            Shape::Hop { size, every, pane } => {
                last_end(floor(event, pane), (size, every)) <= passed
            }
            Shape::Session { gap } => {
                shifted(event, gap) <= passed && self.sessions_near(event, gap).next().is_none()
            }
            Shape::Slide { .. } | Shape::Count { .. } => event < passed,
        }
    }

    /// The sessions that a message of this time belongs to.
    fn sessions_near(&self, time: Timestamp, gap: i64) -> impl Iterator<Item = Timestamp> {
        let before = self.panes.range(Timestamp::from_millis(i64::MIN)..shifted(time, gap));
        let near = before.filter(move |pane| time < shifted(pane.last, gap));
        near.map(|pane| pane.start)
    }

    /// Why a message of this time cannot be taken in, if it cannot.
    fn no_room(&self, time: Timestamp, desk: &Desk<'_>) -> Option<String> {
        let has_pane = match desk.spec.shape {
            Shape::Hop { pane, .. } => self.panes.contains(floor(time, pane)),
            Shape::Session { gap } => self.sessions_near(time, gap).next().is_some(),
            Shape::Count { .. } => self.watermark.is_none() && !self.panes.is_empty(),
            Shape::Slide { .. } => false,
        };
        if !has_pane && self.parts() >= WINDOW_PANES_PER_GROUP_MAX {
            Some(format!("a group has at most {WINDOW_PANES_PER_GROUP_MAX} open windows"))
        } else if !has_pane && desk.counts.parts >= WINDOW_PANES_PER_RULE_MAX {
            Some(format!("a rule has at most {WINDOW_PANES_PER_RULE_MAX} open windows"))
        } else if desk.counts.bytes >= WINDOW_VALUE_BYTES_MAX {
            Some(format!("the rule's windows keep {WINDOW_VALUE_BYTES_MAX} bytes already"))
        } else {
            None
        }
    }

    fn take(&mut self, sample: Sample, desk: &mut Desk<'_>, out: &mut Transitions) {
        let time = sample.position.event;
        match desk.spec.shape {
            Shape::Hop { pane, .. } => self.gather(floor(time, pane), &sample, desk, out),
            Shape::Session { gap } => {
                let start = self.join_sessions(time, gap, desk, out);
                self.gather(start, &sample, desk, out);
            }
            Shape::Slide { .. } | Shape::Count { .. } if self.watermark.is_some() => {
                let bytes = sample.bytes();
                self.bytes += bytes;
                let kept = self.in_order.get_or_insert_default();
                kept.old_samples.push(sample.position);
                kept.waiting.put_back(sample.position, sample, bytes);
            }
            Shape::Slide { .. } | Shape::Count { .. } => {
                self.bytes += sample.bytes();
                self.take_in_order(sample, desk, out);
            }
        }
    }

    /// Adds a message to the pane that begins at `start`.
    fn gather(
        &mut self,
        start: Timestamp,
        sample: &Sample,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        let pane =
            self.panes.get_or_make(start, || Pane::new(sample.position.turn, start, desk.spec));
        let before = if pane.messages == 0 { 0 } else { pane.bytes() };
        let added = pane.add(sample, desk.spec);
        self.bytes = self.bytes + pane.bytes() - before;
        if !std::mem::replace(&mut pane.is_changed, true) {
            self.old_panes.push(start);
        }
        self.tell_full(added, desk, out);
    }

    /// Makes one session of those that a message of this time belongs to; where it begins.
    fn join_sessions(
        &mut self,
        time: Timestamp,
        gap: i64,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) -> Timestamp {
        let near: Vec<Timestamp> = self.sessions_near(time, gap).collect();
        let Some((first, others)) = near.split_first() else { return time };
        let mut joined = Ok(());
        for start in others {
            let Some(other) = self.remove_pane(*start) else { continue };
            if let Some(pane) = self.panes.get_mut(*first) {
                let before = pane.bytes();
                joined = joined.and(pane.merge(&other));
                self.bytes = self.bytes + pane.bytes() - before;
            }
        }
        self.tell_full(joined, desk, out);
        let start = time.min(*first);
        // A pane stands under the time at which it begins.
        if start != *first
            && let Some(mut pane) = self.panes.remove(*first)
        {
            pane.start = start;
            pane.is_changed = true;
            self.old_panes.push(start);
            self.panes.insert(pane);
        }
        start
    }

    fn remove_pane(&mut self, start: Timestamp) -> Option<Box<Pane>> {
        let pane = self.panes.remove(start)?;
        self.bytes -= pane.bytes();
        if pane.is_stored {
            self.gone.push(pane.id);
        }
        Some(pane)
    }

    fn tell_full(&self, added: Result<(), Full>, desk: &Desk<'_>, out: &mut Transitions) {
        if added == Err(Full) {
            let message =
                format!("a value of group {} is left out: its aggregate is full", self.text);
            out.faults.push(Fault { rule: desk.rule, code: FaultCode::AggregateFull, message });
        }
    }

    /// Does what is due up to `bound` in the rule's time, in order.
    pub(super) fn catch_up(
        &mut self,
        bound: Timestamp,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        while let Some(time) = self.next_closing(desk.spec.shape).filter(|time| *time <= bound) {
            if let Some(watermark) = &mut self.watermark {
                watermark.pass(time);
            }
            match desk.spec.shape {
                Shape::Hop { size, every, .. } => self.close_hop(time, size, every, desk, out),
                Shape::Session { gap } => self.close_session(time, gap, desk, out),
                Shape::Slide { .. } | Shape::Count { .. } => {
                    let kept = self.in_order.as_mut();
                    let Some((_, sample)) = kept.and_then(|kept| kept.waiting.pop()) else { break };
                    self.take_in_order(sample, desk, out);
                }
            }
        }
        if let Shape::Slide { size } = desk.spec.shape {
            self.let_go(shifted(bound, size.saturating_neg()), desk.spec);
        }
        if let Some(watermark) = self.watermark {
            self.closed = self.closed.max(watermark.passed);
            self.is_over = self.parts() == 0 && watermark.newest + EVENT_KEY_REST <= bound;
        }
    }

    /// The next instant of the rule's time at which a window closes, or a message's turn comes.
    fn next_closing(&self, shape: Shape) -> Option<Timestamp> {
        match shape {
            Shape::Hop { size, every, pane } => {
                let first = self.panes.first()?;
                Some(first_end(first.start, self.closed, (size, every, pane)))
            }
            Shape::Session { gap } => self.panes.iter().map(|pane| shifted(pane.last, gap)).min(),
            Shape::Slide { .. } | Shape::Count { .. } => self.in_order.as_ref()?.waiting.first(),
        }
    }

    fn close_hop(
        &mut self,
        end: Timestamp,
        size: i64,
        every: i64,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        self.closed = end;
        let start = shifted(end, size.saturating_neg());
        let mut window = Pane::new(0, start, desk.spec);
        let mut merged = Ok(());
        for pane in self.panes.range(start..end) {
            merged = merged.and(window.merge(pane));
        }
        self.tell_full(merged, desk, out);
        while let Some(first) = self.panes.first().map(|pane| pane.start)
            && last_end(first, (size, every)) <= end
        {
            self.remove_pane(first);
        }
        self.tell(&window, start, end, desk, out);
    }

    fn close_session(
        &mut self,
        end: Timestamp,
        gap: i64,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        let ended = self.panes.iter().find(|pane| shifted(pane.last, gap) == end);
        let Some(start) = ended.map(|pane| pane.start) else { return };
        if let Some(pane) = self.remove_pane(start) {
            self.tell(&pane, pane.first, end, desk, out);
        }
    }

    /// A message of SLIDE or COUNT whose turn has come.
    fn take_in_order(&mut self, sample: Sample, desk: &mut Desk<'_>, out: &mut Transitions) {
        let time = sample.position.event;
        match desk.spec.shape {
            Shape::Slide { size } => {
                let start = shifted(time, size.saturating_neg());
                self.let_go(start, desk.spec);
                let kept = self.in_order.get_or_insert_default();
                kept.old_samples.push(sample.position);
                let sample = Sample { is_counted: true, ..sample };
                let added = kept.slide.push(sample, desk.spec);
                let (window, gathered) = kept.slide.gathered(desk.spec);
                self.tell_full(added, desk, out);
                self.tell_full(gathered, desk, out);
                self.tell(&window, start, time, desk, out);
            }
            Shape::Count { messages } => {
                self.forget(&sample);
                // There is one pane, whatever its time.
                self.gather(Timestamp::EPOCH, &sample, desk, out);
                if self.panes.iter().any(|pane| pane.messages >= messages)
                    && let Some(pane) = self.remove_pane(Timestamp::EPOCH)
                {
                    self.tell(&pane, pane.first, pane.last, desk, out);
                }
            }
            Shape::Hop { .. } | Shape::Session { .. } => {}
        }
    }

    /// Lets messages go that a SLIDE window from `start` on does not have.
    fn let_go(&mut self, start: Timestamp, spec: &WindowSpec) {
        while let Some(sample) = self.in_order.as_mut().and_then(|kept| kept.slide.pop(start, spec))
        {
            self.forget(&sample);
        }
    }

    fn forget(&mut self, sample: &Sample) {
        self.bytes -= sample.bytes();
        if sample.is_stored {
            self.gone.push(sample.position.turn);
        }
    }

    fn tell(
        &self,
        window: &Pane,
        start: Timestamp,
        end: Timestamp,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        // What lies between panes may have been passed over.
        if window.messages == 0 {
            return;
        }
        desk.counts.closed += 1;
        let (key, messages) = (Arc::clone(&self.text), window.messages);
        out.windows.push(ClosedWindow {
            rule: desk.rule,
            facts: WindowFacts { key, start, end, messages },
            values: window.values(desk.spec),
            decided_at: desk.now,
            topic: self.topic.clone(),
            hops: window.hops,
        });
    }

    /// When, by the gateway's clock, there is something to do if nothing more is heard.
    pub(super) fn deadline(&self, desk: &Desk<'_>) -> Option<Timestamp> {
        let closing = self.next_closing(desk.spec.shape);
        let letting_go = || match desk.spec.shape {
            Shape::Slide { size } => {
                let newest = self.in_order.as_ref()?.slide.samples.back()?;
                Some(shifted(newest.position.event, size))
            }
            _ => None,
        };
        let next = closing.or_else(letting_go);
        let Some(watermark) = self.watermark else { return next };
        let rest = (self.parts() == 0 && !self.is_over).then(|| watermark.newest + EVENT_KEY_REST);
        Some(watermark.reaches(next.or(rest)?, desk.lateness))
    }

    /// What the rule's time is when the gateway's clock reads `now`.
    pub(super) fn time(&self, now: Timestamp, lateness: Duration) -> Timestamp {
        self.watermark.map_or(now, |watermark| watermark.at(now, lateness))
    }

    /// Brings the rule's counts up to date.
    pub(super) fn count(&mut self, counts: &mut WindowCounts) {
        let now = self.lives().then(|| (self.parts(), self.bytes));
        let (parts, bytes) = self.counted.unwrap_or_default();
        let (parts_now, bytes_now) = now.unwrap_or_default();
        counts.groups =
            counts.groups + usize::from(now.is_some()) - usize::from(self.counted.is_some());
        counts.parts = counts.parts + parts_now - parts;
        counts.bytes = counts.bytes + bytes_now - bytes;
        self.counted = now;
    }

    /// When the last message came of a group whose windows only messages end; `None` for any other.
    pub(super) fn heard(&self, shape: Shape) -> Option<Timestamp> {
        match (shape, self.watermark) {
            (Shape::Count { .. }, Some(watermark)) => Some(watermark.heard_at),
            (Shape::Count { .. }, None) => self.panes.iter().map(|pane| pane.last).max(),
            _ => None,
        }
    }

    /// It is in no rule's counts any more.
    pub(super) fn leave_counts(&mut self, counts: &mut WindowCounts) {
        if let Some((parts, bytes)) = self.counted.take() {
            counts.groups -= 1;
            counts.parts -= parts;
            counts.bytes -= bytes;
        }
    }

    /// It belongs to another rule's counts from here on.
    pub(super) fn count_anew(&mut self) {
        self.counted = None;
    }

    /// How many windows, panes and messages it has, to be told when they are discarded.
    pub(super) fn discarded(mut self) -> (usize, Vec<WaitingChange>) {
        let parts = self.parts();
        let stored = self.panes.iter().filter(|pane| pane.is_stored).map(|pane| pane.id);
        let mut gone: Vec<u64> = stored.collect();
        gone.append(&mut self.gone);
        if let Some(mut kept) = self.in_order {
            let samples = kept.slide.samples.iter().filter(|sample| sample.is_stored);
            gone.extend(samples.map(|sample| sample.position.turn));
            while let Some((position, sample)) = kept.waiting.pop() {
                gone.extend(sample.is_stored.then_some(position.turn));
            }
        }
        let gone = gone.into_iter().map(|turn| WaitingChange { turn, message: None });
        (parts, gone.collect())
    }

    /// Leaves downtime, or a step of the clock, out of the idle advance of the watermark.
    pub(super) fn leave_out(&mut self, millis: i64) {
        if let Some(watermark) = &mut self.watermark {
            watermark.leave_out(millis);
        }
    }

    /// By receive time: takes everything later than `now` as of `now`, as of the clock that was ahead of
    /// it before a restart. Answers whether there was anything.
    pub(super) fn set_back(&mut self, now: Timestamp, spec: &WindowSpec) -> bool {
        let was_ahead = self.closed > now;
        self.closed = self.closed.min(now);
        let ahead: Vec<Timestamp> =
            self.panes.iter().filter(|pane| pane.last > now).map(|pane| pane.start).collect();
        for start in &ahead {
            let Some(mut pane) = self.panes.remove(*start) else { continue };
            pane.set_back(now);
            pane.start = match spec.shape {
                Shape::Hop { pane, .. } => floor(now, pane).min(*start),
                _ => now.min(*start),
            };
            self.old_panes.push(pane.start);
            match self.panes.get_mut(pane.start) {
                None => {
                    pane.is_changed = true;
                    self.panes.insert(pane);
                }
                Some(kept) => {
                    let before = pane.bytes() + kept.bytes();
                    // What an aggregate has no room for counts in the others.
                    kept.merge(&pane).ok();
                    kept.is_changed = true;
                    self.bytes = self.bytes + kept.bytes() - before;
                    self.gone.extend(pane.is_stored.then_some(pane.id));
                }
            }
        }
        let mut has_moved = false;
        if let Some(kept) = &mut self.in_order {
            let moved = kept.slide.set_back(now, spec);
            has_moved = !moved.is_empty();
            kept.old_samples.extend(moved);
        }
        was_ahead || has_moved || !ahead.is_empty()
    }

    /// Takes a part back from its row.
    pub(super) fn put_back(&mut self, part: Part, spec: &WindowSpec) {
        match part {
            Part::Pane(pane) => {
                self.bytes += pane.bytes();
                self.panes.insert(Box::new(pane));
            }
            Part::Sample(sample) => {
                let bytes = sample.bytes();
                self.bytes += bytes;
                let kept = self.in_order.get_or_insert_default();
                if sample.is_counted {
                    // What has no room has been told of before.
                    kept.slide.push(sample, spec).ok();
                } else {
                    kept.waiting.put_back(sample.position, sample, bytes);
                }
            }
        }
    }

    /// Rows of parts that could not be read.
    pub(super) fn lose(&mut self, mut turns: Vec<u64>) {
        self.gone.append(&mut turns);
    }

    /// The rows of its parts that changed since the last call, encoded into `buffer`; none where there
    /// is no disk.
    pub(super) fn take_changes(&mut self, buffer: Option<&mut BytesMut>) -> Vec<WaitingChange> {
        let Some(buffer) = buffer else {
            self.gone.clear();
            if let Some(kept) = &mut self.in_order {
                kept.old_samples.clear();
            }
            for start in self.old_panes.drain(..) {
                if let Some(pane) = self.panes.get_mut(start) {
                    pane.is_changed = false;
                }
            }
            return Vec::new();
        };
        let gone = self.gone.drain(..).map(|turn| WaitingChange { turn, message: None });
        let mut changes: Vec<WaitingChange> = gone.collect();
        for start in self.old_panes.drain(..) {
            let Some(pane) = self.panes.get_mut(start).filter(|pane| pane.is_changed) else {
                continue;
            };
            (pane.is_changed, pane.is_stored) = (false, true);
            let message = Some(encoding::encode_pane(buffer, pane));
            changes.push(WaitingChange { turn: pane.id, message });
        }
        let Some(InOrder { waiting, slide, old_samples }) = self.in_order.as_deref_mut() else {
            return changes;
        };
        for position in old_samples.drain(..) {
            let place = slide.samples.binary_search_by_key(&position, |sample| sample.position);
            let sample = match place {
                Ok(place) => slide.samples.get_mut(place),
                Err(_) => waiting.get_mut(position),
            };
            if let Some(sample) = sample {
                sample.is_stored = true;
                let message = Some(encoding::encode_sample(buffer, sample));
                changes.push(WaitingChange { turn: position.turn, message });
            }
        }
        changes
    }
}

/// Hands a message over to ON ERROR.
pub(super) fn pass_over(
    contribution: Contribution,
    code: FaultCode,
    message: String,
    out: &mut Transitions,
) {
    let Contribution { rule, publish, .. } = contribution;
    let fault = Fault { rule, code, message };
    out.passed_over.push(PassedOver { fault, publish, clause: "group_by" });
}
