//! The table itself: messages and time in, remembered messages and changed rows out.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Recall;
use crate::engine::Recalled;
use crate::engine::RuleIndex;
use crate::engine::by_rule::ByRule;
use crate::engine::history::encoding;
use crate::engine::history::event::WaitingMessage;
use crate::engine::history::values::Questions;
use crate::engine::history::values::Values;
use crate::engine::hold::Progress;
use crate::engine::key_index::KeyIndex;
use crate::engine::key_index::Keyed;
use crate::engine::restoration::Ledger;
use crate::engine::rows::KeyChange;
use crate::engine::slab::Slab;
use crate::engine::stateful::KeyBounds;
use crate::engine::timer::Alarm;
use crate::engine::timer::TimerQueue;
use crate::engine::waiting::EventCounts;
use crate::engine::waiting::Queue;
use crate::limits::HISTORY_ADVANCE_MAX;
use crate::limits::HISTORY_BYTES_MAX;
use crate::limits::KEY_AGE_LOOKS;
use crate::limits::KEYS_FORGOTTEN_MAX;
use crate::limits::STATE_CHANGES_KEPT;
use crate::publish::Publish;
use crate::rule::analytic::Lookback;
use crate::value::Whole;

/// A rule with analytic functions, as the table needs it.
#[derive(Clone, Debug)]
pub struct RememberingRule<'a> {
    /// Its place in the running engine.
    pub index: RuleIndex,
    /// Its name: the identity of what it remembers across restarts and reloads.
    pub name: &'a Arc<str>,
    /// The calls, as the engine numbers them.
    pub calls: &'a [Lookback],
    /// How it reads numbers.
    pub whole: Whole,
    /// LATENESS.
    pub lateness: Duration,
    /// ON RESTART COUNT: a watermark goes on while the gateway is down.
    pub counts_downtime: bool,
    /// Changes when what is remembered does, or of what messages.
    pub fingerprint: u64,
    /// Keys it may remember, and for how long a silent one.
    pub bounds: KeyBounds,
}

/// What the table has to say. Reused between batches.
#[derive(Debug, Default)]
pub struct Recollections {
    /// Messages whose turn has come, in the order of their turns.
    pub recalled: Vec<Recalled>,
    /// Messages that are not remembered, and so not judged.
    pub refused: Vec<Refused>,
    /// Messages that had their turn before it.
    pub faults: Vec<Fault>,
}

impl Recollections {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.recalled.is_empty() && self.refused.is_empty() && self.faults.is_empty()
    }
}

/// A message that the table does not take.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What to count, and to say. Not among [`Recollections::faults`].
    pub fault: Fault,
    /// The message, for ON ERROR.
    pub publish: Publish,
}

/// Figures of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryCounts {
    /// Keys remembered now.
    pub keys: usize,
    /// Bytes of their values.
    pub bytes: usize,
    /// Keys forgotten because they had been silent for too long.
    pub forgotten: u64,
    /// Messages refused because the rule remembers as much as it may.
    pub refused: u64,
    /// Of TIMESTAMP BY.
    pub event: EventCounts,
}

/// A key that is remembered.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) rule: RuleIndex,
    pub(super) text: CompactString,
    pub(super) values: Values,
    /// Where the rule has TIMESTAMP BY: from its first message on.
    pub(super) event: Option<Box<Queue<WaitingMessage>>>,
    pub(super) alarm: Alarm,
    /// When its last message came, by the gateway's clock; after a restart perhaps a look later.
    pub(super) heard: Timestamp,
    /// The same as its row has it.
    pub(super) heard_on_disk: Timestamp,
    /// Listed in [`HistoryTable::changed`].
    pub(super) changed: bool,
    /// Has a row on disk.
    pub(super) stored: bool,
}

/// A rule and its keys.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) index: RuleIndex,
    pub(super) name: Arc<str>,
    pub(super) questions: Questions,
    pub(super) lateness: Duration,
    pub(super) counts_downtime: bool,
    pub(super) fingerprint: u64,
    pub(super) bounds: KeyBounds,
    /// When silent keys are looked for next.
    next_look: Timestamp,
    pub(super) keys: KeyIndex,
    pub(super) counts: HistoryCounts,
}

/// What all keys of all rules with analytic functions remember. Owned by one thread; see the module's
/// documentation.
#[derive(Debug)]
pub struct HistoryTable {
    /// Those that look back on something.
    pub(super) rules: ByRule<Rule>,
    /// Those of all rules.
    pub(super) keys: Slab<Key>,
    pub(super) timers: TimerQueue,
    /// Keys whose rows are out of date.
    pub(super) changed: Vec<u32>,
    /// What the clocks of all keys leave out.
    pub(super) ledger: Ledger,
    /// Rows of rules that are gone.
    pub(super) orphaned: Vec<KeyChange>,
    /// The latest time seen.
    pub(super) now: Timestamp,
    pub(super) buffer: BytesMut,
}

impl HistoryTable {
    /// A table in which nothing is remembered.
    pub fn new<'a>(rules: impl IntoIterator<Item = RememberingRule<'a>>) -> Self {
        let mut table = HistoryTable {
            rules: ByRule::default(),
            keys: Slab::default(),
            timers: TimerQueue::default(),
            changed: Vec::new(),
            ledger: Ledger::new(encoding::VERSION, ""),
            orphaned: Vec::new(),
            now: Timestamp::EPOCH,
            buffer: BytesMut::new(),
        };
        table.install(rules);
        table
    }

    pub(super) fn install<'a>(&mut self, rules: impl IntoIterator<Item = RememberingRule<'a>>) {
        self.rules = ByRule::default();
        for remembering in rules {
            let questions = Questions { calls: remembering.calls.into(), whole: remembering.whole };
            let rule = Rule {
                index: remembering.index,
                name: Arc::clone(remembering.name),
                questions,
                lateness: remembering.lateness,
                counts_downtime: remembering.counts_downtime,
                fingerprint: remembering.fingerprint,
                bounds: remembering.bounds,
                next_look: self.now,
                keys: KeyIndex::default(),
                counts: HistoryCounts::default(),
            };
            self.rules.insert(remembering.index, rule);
        }
    }

    /// Takes in a message of a rule. What is due at or before its time has its turn first; a time before
    /// the latest one seen is taken as that one.
    ///
    /// # Panics
    /// When the message is not of a rule this table was made for.
    pub fn observe(&mut self, recall: Recall, out: &mut Recollections) {
        let at = recall.at.max(self.now);
        while self.advance(at, out) == Progress::More {}
        self.forget_silent(recall.rule, &recall.key, at);
        let rule = self
            .rules
            .get_mut(recall.rule)
            .expect("messages are recalled by the engine whose rules the table holds");
        let text = recall.key.as_str();
        let found = rule.keys.find(text, &self.keys);
        let is_remembered = recall.values.iter().any(|value| !value.is_empty());
        let number = match found {
            Some(number) => number,
            None if rule.keys.len() < rule.bounds.keys_max
                || !(is_remembered || recall.event_at.is_some()) =>
            {
                let key = Key::new(recall.rule, recall.key.clone(), rule.questions.nothing());
                rule.insert(key, &mut self.keys)
            }
            None => {
                let why = format!("remembers {} keys already", rule.bounds.keys_max);
                let mut desk = rule.desk(0, &mut self.timers, &mut self.changed, at);
                return desk.refuse(recall, &why, out);
            }
        };
        let Some(key) = self.keys.get_mut(number) else { return };
        let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, at);
        key.heard = at;
        let every = desk.bounds.age / KEY_AGE_LOOKS;
        if key.stored && at.since(key.heard_on_disk) >= every {
            desk.mark(key);
        }
        key.hear(recall, &mut desk, out);
        if found.is_none() && key.values.is_empty() && key.event.is_none() {
            // There is nothing that this key would remember of it.
            self.remove(number);
        }
    }

    /// Forgets the key of a message that comes, if it has been silent for too long; and, now and then, the
    /// other silent keys of the rule, with their rows.
    fn forget_silent(&mut self, index: RuleIndex, text: &str, now: Timestamp) {
        let Some(rule) = self.rules.get_mut(index) else { return };
        let age = rule.bounds.age;
        let is_silent =
            |number: &u32| self.keys.get(*number).is_some_and(|key| key.is_silent(age, now));
        let first = rule.keys.find(text, &self.keys);
        let mut silent: Vec<u32> = first.into_iter().filter(is_silent).collect();
        if now >= rule.next_look {
            let others = rule.keys.numbers().filter(|number| Some(*number) != first);
            silent.extend(others.filter(is_silent).take(KEYS_FORGOTTEN_MAX));
            // What is left over is for the next message.
            let is_done = silent.len() < KEYS_FORGOTTEN_MAX;
            rule.next_look = if is_done { now + age / KEY_AGE_LOOKS } else { now };
        }
        let name = Arc::clone(&rule.name);
        rule.counts.forgotten += silent.len() as u64;
        for number in silent {
            let Some(Key { text, event, stored: true, .. }) = self.remove(number) else { continue };
            let waiting = event.map(|mut queue| queue.take_changes(Some(&mut self.buffer)));
            let waiting = waiting.unwrap_or_default();
            self.orphaned.push(KeyChange {
                rule: Arc::clone(&name),
                key: text,
                state: None,
                waiting,
            });
        }
    }

    /// Takes a key out of the table, and out of its rule's counts.
    pub(super) fn remove(&mut self, number: u32) -> Option<Key> {
        let index = self.keys.get(number)?.rule;
        let Rule { keys, counts, .. } = self.rules.get_mut(index)?;
        let mut key = keys.remove(number, &mut self.keys)?;
        self.timers.cancel(&mut key.alarm);
        counts.keys = keys.len();
        counts.bytes -= key.values.bytes();
        Some(key)
    }

    /// Gives messages their turn that the clock has reached. Stops early when that gave
    /// [`HISTORY_ADVANCE_MAX`] of them, so that the caller can deal with them first.
    pub fn advance(&mut self, now: Timestamp, out: &mut Recollections) -> Progress {
        let full = out.recalled.len() + HISTORY_ADVANCE_MAX;
        while let Some(entry) = self.timers.pop_due(now) {
            let number = entry.key();
            let mut key = self.keys.get_mut(number);
            let claimed = self.timers.claim(entry, key.as_mut().map(|key| &mut key.alarm));
            let (Some(deadline), Some(key)) = (claimed, key) else { continue };
            let rule = self.rules.get_mut(key.rule);
            let rule = rule.expect("a key goes before its rule does");
            let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, self.now);
            let at = deadline.time();
            desk.now = desk.now.max(at);
            if let Some(queue) = &key.event {
                let bound = queue.watermark.at(at, desk.lateness);
                key.catch_up(bound, &mut desk, out);
            }
            key.settle(&mut desk);
            self.now = desk.now;
            if out.recalled.len() >= full {
                return Progress::More;
            }
        }
        self.now = self.now.max(now);
        Progress::Done
    }

    /// Gives every waiting message of rules that do not `go_on` its turn: the rule that took it is to
    /// judge it while it is still there.
    pub fn release(&mut self, goes_on: impl Fn(&str, u64) -> bool, out: &mut Recollections) {
        let Self { rules, keys, timers, changed, now, .. } = self;
        let ending = rules.iter_mut().filter(|r| !goes_on(&r.name, r.fingerprint));
        for rule in ending {
            let mut numbers: Vec<u32> = rule.keys.numbers().collect();
            numbers.sort_by_cached_key(|number| keys.get(*number).map(|key| key.text.clone()));
            for number in numbers {
                let Some(key) = keys.get_mut(number) else { continue };
                let mut desk = rule.desk(number, timers, changed, *now);
                key.catch_up(Timestamp::from_millis(i64::MAX), &mut desk, out);
                key.settle(&mut desk);
            }
        }
    }

    /// The latest time seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When [`HistoryTable::advance`] is wanted next. May be early, never late.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.next_wake()
    }

    /// Whether there are changes to take.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty() || !self.orphaned.is_empty() || self.ledger.has_change()
    }

    /// Hands over the row of every key that changed since the last call, those of rules that are gone
    /// first.
    pub fn take_changes(&mut self, out: &mut Vec<KeyChange>) {
        self.drain_changes(Some(out));
    }

    /// As [`HistoryTable::take_changes`], for callers without a disk: nothing is encoded.
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
        let left_out = self.ledger.total();
        for number in self.changed.drain(..) {
            let Some(key) = self.keys.get_mut(number) else { continue };
            let rule = self.rules.get_mut(key.rule);
            let Some(Rule { name, fingerprint, .. }) = rule else { continue };
            key.changed = false;
            let buffer = out.is_some().then_some(&mut self.buffer);
            let waiting = key.event.as_mut().map(|queue| queue.take_changes(buffer));
            let waiting = waiting.unwrap_or_default();
            let Some(out) = &mut out else { continue };
            (key.stored, key.heard_on_disk) = (true, key.heard);
            let watermark = key.event.as_ref().map(|queue| &queue.watermark);
            let state = Some(encoding::encode(
                &mut self.buffer,
                *fingerprint,
                (key.heard, left_out),
                watermark,
                &key.values,
            ));
            out.push(KeyChange { rule: Arc::clone(name), key: key.text.clone(), state, waiting });
        }
        self.changed.shrink_to(STATE_CHANGES_KEPT);
        if self.timers.wants_sweep() {
            self.timers.sweep(|number| self.keys.get(number).map(|key| &key.alarm));
        }
    }

    /// Figures of a rule; `None` for one that looks back on nothing.
    pub fn counts(&self, rule: RuleIndex) -> Option<HistoryCounts> {
        self.rules.get(rule).map(|rule| rule.counts)
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
        let Rule { index, questions, lateness, bounds, counts, .. } = self;
        let (rule, lateness, bounds) = (*index, *lateness, *bounds);
        Desk { rule, key, questions, lateness, bounds, counts, timers, changed, now }
    }

    /// Gives a key its place; answers its number.
    pub(super) fn insert(&mut self, key: Key, all: &mut Slab<Key>) -> u32 {
        let number = self.keys.insert(key, all);
        self.counts.keys = self.keys.len();
        number
    }
}

/// What of the table and of the rule a key works with.
pub(super) struct Desk<'a> {
    pub(super) rule: RuleIndex,
    pub(super) key: u32,
    questions: &'a Questions,
    pub(super) lateness: Duration,
    bounds: KeyBounds,
    pub(super) counts: &'a mut HistoryCounts,
    pub(super) timers: &'a mut TimerQueue,
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

    fn refuse(&mut self, recall: Recall, why: &str, out: &mut Recollections) {
        let Recall { key, publish, .. } = recall;
        self.refuse_message(&key, publish, why, out);
    }

    fn refuse_message(&mut self, key: &str, publish: Publish, why: &str, out: &mut Recollections) {
        self.counts.refused += 1;
        let message = format!("the rule {why}; the message of key {key} is passed over");
        let fault = Fault { rule: self.rule, code: FaultCode::HistoryFull, message };
        out.refused.push(Refused { fault, publish });
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
    pub(super) fn new(rule: RuleIndex, text: CompactString, values: Values) -> Self {
        let (heard, heard_on_disk) = (Timestamp::EPOCH, Timestamp::EPOCH);
        let (event, alarm) = (None, Alarm::default());
        let (changed, stored) = (false, false);
        Key { rule, text, values, event, alarm, heard, heard_on_disk, changed, stored }
    }

    /// Whether it has been silent for `age`, and nothing of it waits.
    fn is_silent(&self, age: Duration, now: Timestamp) -> bool {
        let waits = self.event.as_ref().is_some_and(|queue| queue.first().is_some());
        !waits && self.heard + age <= now
    }

    fn hear(&mut self, recall: Recall, desk: &mut Desk<'_>, out: &mut Recollections) {
        match recall.event_at {
            Some(event) => self.hear_in_event_time(recall, event, desk, out),
            None => self.take_turn(recall.values, recall.publish, None, desk, out),
        }
    }

    /// A message whose turn has come: answered, and remembered.
    pub(super) fn take_turn(
        &mut self,
        values: Box<[CompactString]>,
        publish: Publish,
        event_at: Option<Timestamp>,
        desk: &mut Desk<'_>,
        out: &mut Recollections,
    ) {
        let change = desk.questions.change(&self.values, &values);
        let bytes = desk.counts.bytes + change.coming - change.going;
        if bytes > HISTORY_BYTES_MAX {
            let why = format!("would remember more than {HISTORY_BYTES_MAX} bytes");
            return desk.refuse_message(&self.text, publish, &why, out);
        }
        let earlier = desk.questions.answers(&self.values, &values);
        // Without event time the two clocks are one.
        let at = if event_at.is_some() { desk.now } else { publish.received_at };
        out.recalled.push(Recalled { rule: desk.rule, at, event_at, publish, earlier });
        if change.is_new {
            desk.questions.remember(&mut self.values, values);
            desk.counts.bytes = bytes;
            desk.mark(self);
        }
    }
}
