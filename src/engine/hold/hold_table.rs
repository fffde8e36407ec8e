//! The table itself: observations and time in, episodes and changed rows out.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::ClosedWindow;
use crate::engine::Episode;
use crate::engine::EpisodeEvent;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::HoldFacts;
use crate::engine::Observation;
use crate::engine::RuleIndex;
use crate::engine::Truth;
use crate::engine::by_rule::ByRule;
use crate::engine::hold::encoding;
use crate::engine::hold::event::EventSide;
use crate::engine::hold::state::Phase;
use crate::engine::hold::state::State;
use crate::engine::hold::state::Step;
use crate::engine::hold::state::Terms;
use crate::engine::key_index::KeyIndex;
use crate::engine::key_index::Keyed;
use crate::engine::message::Fresh;
use crate::engine::message::Message;
use crate::engine::restoration::Ledger;
use crate::engine::rows::KeyChange;
use crate::engine::slab::Slab;
use crate::engine::timer::Alarm;
use crate::engine::timer::TimerQueue;
use crate::engine::waiting::EventCounts;
use crate::limits::HOLD_ADVANCE_EPISODES_MAX;
use crate::limits::HOLD_ADVANCE_TIMERS_MAX;
use crate::limits::HOLD_MESSAGE_BYTES_MAX;
use crate::limits::STATE_CHANGES_KEPT;
use crate::publish::Publish;
use crate::rule::ast::When;
use crate::rule::table::Table;

/// A rule with WHEN, as the table needs it.
#[derive(Clone, Copy, Debug)]
pub struct WatchedRule<'a> {
    /// Its place in the running engine.
    pub index: RuleIndex,
    /// Its name: the identity of its state across restarts and reloads.
    pub name: &'a Arc<str>,
    /// The clause.
    pub when: &'a When,
    /// LATENESS; none where the history table has put the messages in order.
    pub lateness: Duration,
    /// FOR EACH ROW OF: the table.
    pub listed: Option<&'a Arc<Table>>,
    /// Changes when the condition, the key, the filter or the time does.
    pub fingerprint: u64,
    /// Keys it may watch at once.
    pub keys_max: usize,
}

/// What the table has to say. Reused between batches.
#[derive(Debug, Default)]
pub struct Transitions {
    /// Firing and cleared records, in the order of their times.
    pub episodes: Vec<Episode>,
    /// Firing keys whose rule is gone.
    pub orphans: Vec<Orphan>,
    /// Keys that were refused; messages judged before their turn.
    pub faults: Vec<Fault>,
    /// Windows that have closed, in the order of their ends.
    pub windows: Vec<ClosedWindow>,
    /// Messages that came after their key's watermark had passed them, or found no room.
    pub passed_over: Vec<PassedOver>,
}

impl Transitions {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
            && self.orphans.is_empty()
            && self.faults.is_empty()
            && self.windows.is_empty()
            && self.passed_over.is_empty()
    }

    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.episodes.clear();
        self.orphans.clear();
        self.faults.clear();
        self.windows.clear();
        self.passed_over.clear();
    }
}

/// A message that changed nothing because it came too late, or found no room. Not among
/// [`Transitions::faults`].
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// What to count, and to say.
    pub fault: Fault,
    /// The message, for ON ERROR.
    pub publish: Publish,
    /// The clause, as the error document names it.
    pub clause: &'static str,
}

/// An episode that ends because its rule is no longer there: [`crate::engine::Cleared::RuleRemoved`]. A rule by
/// name, because a [`RuleIndex`] speaks of the running rule set only.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// Name of the rule that was.
    pub rule: Arc<str>,
    /// When the rule set without it took over.
    pub at: Timestamp,
    /// Key, since, fired_at, samples.
    pub facts: HoldFacts,
    /// The last TRUE message.
    pub publish: Publish,
}

/// Figures of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldCounts {
    /// Observations whose condition was UNKNOWN.
    pub unknown: u64,
    /// TRUE messages passed over because the rule watches, or keeps, as much as it may.
    pub refused: u64,
    /// Repetitions passed over because a later one was due already.
    pub missed: u64,
    /// Keys on their way to AT LEAST now.
    pub counting: usize,
    /// Keys pending now.
    pub pending: usize,
    /// Keys firing now.
    pub firing: usize,
    /// Bytes of the messages that are kept, and of the times that AT LEAST keeps.
    pub message_bytes: usize,
    /// Of TIMESTAMP BY.
    pub event: EventCounts,
}

/// Whether [`HoldTable::advance`] got to the end.
#[must_use = "timers that are due wait until advance is called again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every timer due has run.
    Done,
    /// [`HOLD_ADVANCE_EPISODES_MAX`] episodes are out, or [`HOLD_ADVANCE_TIMERS_MAX`] timers have run; call
    /// again.
    More,
}

impl Progress {
    /// Done when both are.
    pub fn and(self, other: Progress) -> Progress {
        if self == Progress::Done { other } else { self }
    }
}

/// A key that is watched. There may be millions: whatever most of them lack is boxed.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: CompactString,
    pub(super) state: State,
    /// The last TRUE message; there while records speak of it.
    pub(super) message: Option<Message>,
    /// Where the rule has TIMESTAMP BY: from its first message on.
    pub(super) event: Option<Box<EventSide>>,
    pub(super) alarm: Alarm,
    pub(super) rule: RuleIndex,
    /// Listed in [`HoldTable::changed`].
    pub(super) changed: bool,
    /// Has a row on disk.
    pub(super) stored: bool,
    /// Is a row of the table of FOR EACH ROW OF.
    pub(super) listed: bool,
}

/// A rule and its keys.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) index: RuleIndex,
    pub(super) name: Arc<str>,
    pub(super) terms: Terms,
    /// LATENESS; nothing where the rule has no TIMESTAMP BY.
    pub(super) lateness: Duration,
    pub(super) fingerprint: u64,
    pub(super) keys_max: usize,
    pub(super) keys: KeyIndex,
    pub(super) counts: HoldCounts,
}

/// All state of all WHEN clauses.
#[derive(Debug)]
pub struct HoldTable {
    /// Those with WHEN.
    pub(super) rules: ByRule<Rule>,
    /// Those of all rules.
    pub(super) keys: Slab<Key>,
    pub(super) timers: TimerQueue,
    /// The latest time seen.
    pub(super) now: Timestamp,
    /// What the clock reads, where it is known to be ahead of what is told.
    pub(super) present: Timestamp,
    /// What the clocks of all keys leave out.
    pub(super) ledger: Ledger,
    /// Keys to be written, each once.
    pub(super) changed: Vec<u32>,
    /// Rows to be removed whose rule or key is gone.
    pub(super) orphaned: Vec<KeyChange>,
    /// Rules whose rows are all to be removed before any is written.
    pub(super) emptied: Vec<Arc<str>>,
    /// Keys that have started over while the state of before is taken over, by rule: their rows are to be removed.
    pub(super) started_over: Vec<(RuleIndex, Vec<CompactString>)>,
    pub(super) buffer: BytesMut,
}

impl HoldTable {
    /// A table with no keys.
    pub fn new<'a>(rules: impl IntoIterator<Item = WatchedRule<'a>>) -> Self {
        let mut table = HoldTable {
            rules: ByRule::default(),
            keys: Slab::default(),
            timers: TimerQueue::default(),
            now: Timestamp::from_millis(i64::MIN),
            present: Timestamp::from_millis(i64::MIN),
            ledger: Ledger::new(encoding::VERSION, ""),
            changed: Vec::new(),
            orphaned: Vec::new(),
            emptied: Vec::new(),
            started_over: Vec::new(),
            buffer: BytesMut::new(),
        };
        table.install(rules);
        table
    }

    pub(super) fn install<'a>(&mut self, rules: impl IntoIterator<Item = WatchedRule<'a>>) {
        self.rules = ByRule::default();
        for watched in rules {
            let rule = Rule {
                index: watched.index,
                name: Arc::clone(watched.name),
                terms: Terms::of(watched.when),
                lateness: watched.lateness,
                fingerprint: watched.fingerprint,
                keys_max: watched.keys_max,
                keys: KeyIndex::default(),
                counts: HoldCounts::default(),
            };
            self.rules.insert(watched.index, rule);
        }
    }

    /// Takes in what a rule saw in a message. Timers due at or before its time run first; a time
    /// before the latest one seen is taken as that one.
    ///
    /// # Panics
    /// When the observation is not of a rule this table was made for.
    pub fn observe(&mut self, observation: Observation, out: &mut Transitions) {
        let at = observation.at.max(self.now);
        while self.advance(at, out) == Progress::More {}
        let rule = self
            .rules
            .get_mut(observation.rule)
            .expect("observations are made by the engine whose rules the table holds");
        if observation.condition == Truth::Unknown {
            rule.counts.unknown += 1;
        }
        let is_timed = observation.event_at.is_some();
        let text = observation.key.as_str();
        let number = match rule.keys.find(text, &self.keys) {
            Some(number) => number,
            None if is_timed || observation.condition == Truth::True => {
                let watched = if is_timed { rule.keys.len() } else { rule.counts.active() };
                if watched >= rule.keys_max {
                    let mut desk = rule.desk(0, &mut self.timers, &mut self.changed, at);
                    return desk.refuse(text, &desk.too_many_keys(), out);
                }
                let key = Key::new(observation.rule, observation.key.clone());
                rule.keys.insert(key, &mut self.keys)
            }
            None => return,
        };
        let Some(key) = self.keys.get_mut(number) else { return };
        let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, at);
        if let Some(event) = observation.event_at {
            return key.hear_in_event_time(observation, event, &mut desk, out);
        }
        let Observation { condition, clear, publish, .. } = observation;
        let message = publish.as_ref().map(Fresh::Publish);
        let step = key.hear(condition, clear, message, at, &mut desk, out);
        key.settle(&mut desk, at);
        if step != Step::Same {
            desk.mark(key);
        }
    }

    /// Says what the clock reads. What is told and due may be behind it, because whoever tells it has stood
    /// still; a repetition that is overdue by a period then is passed over. Without, none is: time is
    /// what is told.
    pub fn tell_time(&mut self, present: Timestamp) {
        self.present = self.present.max(present);
    }

    /// Runs the timers due at or before `now`, in the order of their times; those of one instant in
    /// the order in which they were set. Stops early when that gave
    /// [`HOLD_ADVANCE_EPISODES_MAX`] episodes, or has run [`HOLD_ADVANCE_TIMERS_MAX`], so that the caller can
    /// deal with what there is first.
    pub fn advance(&mut self, now: Timestamp, out: &mut Transitions) -> Progress {
        let full = out.episodes.len() + HOLD_ADVANCE_EPISODES_MAX;
        let mut left = HOLD_ADVANCE_TIMERS_MAX;
        while left > 0
            && let Some(entry) = self.timers.pop_due(now)
        {
            left -= 1;
            let number = entry.key();
            let mut key = self.keys.get_mut(number);
            let claimed = self.timers.claim(entry, key.as_mut().map(|key| &mut key.alarm));
            let (Some(deadline), Some(key)) = (claimed, key) else { continue };
            let rule = self.rules.get_mut(key.rule);
            let rule = rule.expect("a key goes before its rule does");
            let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, self.now);
            let at = deadline.time();
            desk.now = desk.now.max(at);
            match &key.event {
                Some(side) => {
                    let bound = deadline.moved_to(side.queue.watermark.at(at, desk.lateness));
                    key.catch_up(bound, &mut desk, out);
                }
                None => match key.state.skip_missed(desk.terms, now, self.present) {
                    0 => key.run(desk.terms, at, &mut desk, out),
                    missed => desk.counts.missed += missed,
                },
            }
            key.settle(&mut desk, at);
            desk.mark(key);
            self.now = desk.now;
            if out.episodes.len() >= full {
                return Progress::More;
            }
        }
        if left == 0 {
            return Progress::More;
        }
        self.now = self.now.max(now);
        Progress::Done
    }

    /// Puts a key among those of its rule; answers its number.
    pub(super) fn put(&mut self, key: Key) -> Option<u32> {
        let rule = self.rules.get_mut(key.rule)?;
        Some(rule.keys.insert(key, &mut self.keys))
    }

    /// When [`HoldTable::advance`] is wanted next. May be early, never late: a timer that has been
    /// put off, or whose key is gone, is noticed when it comes up.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.next_wake()
    }

    /// Whether there are changes to take.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
            || !self.orphaned.is_empty()
            || !self.emptied.is_empty()
            || self.ledger.has_change()
    }

    /// Hands over the rules whose rows are all to be removed before any is written: so many of their keys
    /// have started over that this is less work than to remove them one by one. Keys that go on are among the
    /// changes.
    pub fn take_emptied(&mut self) -> impl Iterator<Item = Arc<str>> {
        self.emptied.drain(..)
    }

    /// Hands over the last state of every key that changed since the last call: one row a key,
    /// however many messages it saw. Removed rows of rules that are gone come first, then the row without rule
    /// and key, if there is one.
    pub fn take_changes(&mut self, out: &mut Vec<KeyChange>) {
        self.drain_changes(Some(out));
    }

    /// As [`HoldTable::take_changes`], for callers without a disk: nothing is encoded.
    pub fn forget_changes(&mut self) {
        self.drain_changes(None);
    }

    fn drain_changes(&mut self, mut out: Option<&mut Vec<KeyChange>>) {
        let ledger = self.ledger.take_change(out.is_some().then_some(&mut self.buffer));
        if let Some(out) = &mut out {
            out.append(&mut self.orphaned);
            out.extend(ledger);
        }
        self.orphaned.clear();
        self.emptied.clear();
        let left_out = self.ledger.total();
        for number in self.changed.drain(..) {
            let Some(key) = self.keys.get_mut(number) else { continue };
            let rule = self.rules.get_mut(key.rule);
            let Some(Rule { name, fingerprint, keys, counts, .. }) = rule else { continue };
            key.changed = false;
            if !key.state.has_record() {
                let bytes = key.kept_bytes();
                key.message = None;
                counts.kept(bytes, key.kept_bytes());
            }
            let buffer = out.is_some().then_some(&mut self.buffer);
            let waiting = key.event.as_mut().map(|side| side.queue.take_changes(buffer));
            let waiting = waiting.unwrap_or_default();
            let was_stored = key.stored;
            let (text, state) = if key.lives() {
                key.stored = out.is_some();
                let row = || {
                    (
                        key.text.clone(),
                        encoding::encode(&mut self.buffer, *fingerprint, left_out, key),
                    )
                };
                out.is_some().then(row).unzip()
            } else {
                (keys.remove(number, &mut self.keys).map(|key| key.text), None)
            };
            // A key that came and went between two calls has no row, and needs none removed.
            let out = out.as_mut().filter(|_| state.is_some() || was_stored);
            if let (Some(out), Some(key)) = (out, text) {
                out.push(KeyChange { rule: Arc::clone(name), key, state, waiting });
            }
        }
        self.changed.shrink_to(STATE_CHANGES_KEPT);
        if self.timers.wants_sweep() {
            self.timers.sweep(|number| self.keys.get(number).map(|key| &key.alarm));
        }
    }

    /// Figures of a rule; `None` for one without WHEN.
    pub fn counts(&self, rule: RuleIndex) -> Option<HoldCounts> {
        self.rules.get(rule).map(|rule| rule.counts)
    }
}

impl HoldCounts {
    /// Keys that neither rest nor are gone.
    pub(super) fn active(&self) -> usize {
        self.counting + self.pending + self.firing
    }

    /// What a key keeps has changed.
    pub(super) fn kept(&mut self, before: usize, after: usize) {
        self.message_bytes = self.message_bytes - before + after;
    }

    pub(super) fn moved(&mut self, before: Phase, after: Phase) {
        match before {
            Phase::Inactive => {}
            Phase::Counting => self.counting -= 1,
            Phase::Pending { .. } => self.pending -= 1,
            Phase::Firing { .. } => self.firing -= 1,
        }
        match after {
            Phase::Inactive => {}
            Phase::Counting => self.counting += 1,
            Phase::Pending { .. } => self.pending += 1,
            Phase::Firing { .. } => self.firing += 1,
        }
    }
}

impl Rule {
    /// What the key of that number works with.
    pub(super) fn desk<'a>(
        &'a mut self,
        key: u32,
        timers: &'a mut TimerQueue,
        changed: &'a mut Vec<u32>,
        now: Timestamp,
    ) -> Desk<'a> {
        let Rule { index, terms, lateness, keys_max, counts, .. } = self;
        let (lateness, keys_max) = (*lateness, *keys_max);
        Desk { rule: *index, key, terms, lateness, keys_max, counts, timers, changed, now }
    }
}

/// What of the table and of the rule a key works with.
pub(super) struct Desk<'a> {
    pub(super) rule: RuleIndex,
    key: u32,
    pub(super) terms: &'a Terms,
    pub(super) lateness: Duration,
    pub(super) keys_max: usize,
    pub(super) counts: &'a mut HoldCounts,
    timers: &'a mut TimerQueue,
    changed: &'a mut Vec<u32>,
    /// By the gateway's clock.
    pub(super) now: Timestamp,
}

impl Desk<'_> {
    /// Lists the key as changed.
    pub(super) fn mark(&mut self, key: &mut Key) {
        if !key.changed {
            key.changed = true;
            self.changed.push(self.key);
        }
    }

    pub(super) fn too_many_keys(&self) -> String {
        format!("watches {} keys already", self.keys_max)
    }

    /// Passes a message over.
    fn refuse(&mut self, key: &str, why: &str, out: &mut Transitions) {
        self.counts.refused += 1;
        let message = format!("the rule {why}; the message of key {key} is passed over");
        out.faults.push(Fault { rule: self.rule, code: FaultCode::HoldKeysFull, message });
    }

    /// Why a TRUE message cannot be kept, if it cannot.
    fn refusal(&self, key: &Key, message: &Fresh<'_>) -> Option<String> {
        let bytes = self.counts.message_bytes - key.message_bytes() + message.bytes();
        let times = self.terms.at_least.map_or(0, |_| size_of::<Timestamp>());
        let bytes = bytes + times;
        if !key.state.is_active() && self.counts.active() >= self.keys_max {
            Some(self.too_many_keys())
        } else if bytes > HOLD_MESSAGE_BYTES_MAX {
            Some(format!("would keep more than {HOLD_MESSAGE_BYTES_MAX} bytes of messages"))
        } else {
            None
        }
    }
}

impl Keyed for Key {
    fn text(&self) -> &str {
        &self.text
    }

    fn alarm(&self) -> &Alarm {
        &self.alarm
    }
}

impl Key {
    pub(super) fn new(rule: RuleIndex, text: CompactString) -> Self {
        Key {
            text,
            state: State::inactive(),
            message: None,
            event: None,
            alarm: Alarm::default(),
            rule,
            changed: false,
            stored: false,
            listed: false,
        }
    }

    fn message_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, Message::bytes)
    }

    /// Bytes of what it keeps of its messages.
    pub(super) fn kept_bytes(&self) -> usize {
        self.message_bytes() + self.state.recent.as_ref().map_or(0, |recent| recent.bytes())
    }

    /// A message, at `at` in the rule's time. `message` is there when the condition is TRUE.
    pub(super) fn hear(
        &mut self,
        condition: Truth,
        clear: Option<Truth>,
        message: Option<Fresh<'_>>,
        at: Timestamp,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) -> Step {
        let (before, bytes) = (self.state.phase, self.kept_bytes());
        let step = if condition == Truth::True {
            let message = message.expect("the engine keeps the message of every TRUE observation");
            if let Some(why) = desk.refusal(self, &message) {
                if !self.lives() {
                    // A key made for this message goes again.
                    desk.mark(self);
                }
                desk.refuse(&self.text, &why, out);
                return Step::Same;
            }
            // The record of a silence speaks of the message before it.
            let ended = self.state.end_silence(desk.terms, at);
            self.report(ended, at, desk, out);
            let step = self.state.observe_true(desk.terms, clear, at);
            // Before enough have come nothing speaks of a message; what ends an episode does.
            if self.state.has_record() || matches!(step, Step::Cleared { .. }) {
                message.replace(&mut self.message);
            }
            step
        } else {
            self.state.observe_other(desk.terms, condition, clear, at)
        };
        desk.counts.moved(before, self.state.phase);
        desk.counts.kept(bytes, self.kept_bytes());
        self.report(step, at, desk, out);
        step
    }

    /// Runs the timer that is due at `at` in the rule's time.
    pub(super) fn run(
        &mut self,
        terms: &Terms,
        at: Timestamp,
        desk: &mut Desk<'_>,
        out: &mut Transitions,
    ) {
        let (before, bytes) = (self.state.phase, self.kept_bytes());
        let step = self.state.run(terms, at);
        desk.counts.moved(before, self.state.phase);
        desk.counts.kept(bytes, self.kept_bytes());
        self.report(step, at, desk, out);
    }

    /// Sets the timer that the key wants, not before `floor`.
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>, floor: Timestamp) {
        let deadline = match &self.event {
            Some(side) => side.deadline(desk, &self.state),
            None if self.state.is_active() => self.state.deadline(desk.terms),
            None => None,
        };
        match deadline.map(|deadline| deadline.not_before(floor)) {
            None if !self.lives() => desk.timers.cancel(&mut self.alarm),
            deadline => desk.timers.arm(&mut self.alarm, deadline, desk.key),
        }
    }

    pub(super) fn facts(&self, fired_at: Timestamp) -> HoldFacts {
        HoldFacts {
            key: Arc::from(self.text.as_str()),
            since: self.state.since,
            fired_at,
            samples: self.state.samples,
        }
    }

    /// Makes the record of a step, where it is worth one.
    fn report(&self, step: Step, at: Timestamp, desk: &Desk<'_>, out: &mut Transitions) {
        let (event, fired_at) = match (step, self.state.phase) {
            (Step::Fired, Phase::Firing { fired_at, .. }) => (EpisodeEvent::Firing, fired_at),
            (Step::Cleared { fired_at, reason }, _) => (EpisodeEvent::Cleared(reason), fired_at),
            (Step::Same | Step::Moved | Step::Fired, _) => return,
        };
        // Without event time the two clocks are one, and a timer that runs late keeps its own time.
        let decided_at = if self.event.is_some() { desk.now } else { at };
        out.episodes.push(self.episode(desk.rule, event, fired_at, at, decided_at));
    }

    /// What there is to say of the key's episode.
    pub(super) fn episode(
        &self,
        rule: RuleIndex,
        event: EpisodeEvent,
        fired_at: Timestamp,
        at: Timestamp,
        decided_at: Timestamp,
    ) -> Episode {
        let facts = self.facts(fired_at);
        Episode { rule, event, at, decided_at, facts, publish: self.last_true() }
    }

    /// The message that its records speak of.
    pub(super) fn last_true(&self) -> Publish {
        let message = self.message.as_ref();
        message.expect("a key that pends or fires has seen a TRUE message").to_publish()
    }
}
