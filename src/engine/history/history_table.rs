//! The table itself: messages and time in, remembered messages and changed rows out.

use std::collections::HashMap;
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
use crate::engine::history::encoding;
use crate::engine::history::event::EventSide;
use crate::engine::history::values::Questions;
use crate::engine::history::values::Values;
use crate::engine::hold::KeyChange;
use crate::engine::hold::Progress;
use crate::engine::timer::Alarm;
use crate::engine::timer::TimerQueue;
use crate::limits::HISTORY_ADVANCE_MAX;
use crate::limits::HISTORY_BYTES_MAX;
use crate::publish::Publish;
use crate::rule::analytic::Lookback;
use crate::value::Whole;

/// Timers of keys, by rule and text.
pub(super) type Timers = TimerQueue<(RuleIndex, Arc<str>)>;

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
    /// Keys it may remember.
    pub keys_max: usize,
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
    /// Messages refused because the rule remembers as much as it may.
    pub refused: u64,
    /// Messages that came too late in event time.
    pub late: u64,
    /// Times that messages had their turn early because too many waited.
    pub early: u64,
    /// Messages waiting for their turn now.
    pub waiting: usize,
    /// Bytes of those.
    pub waiting_bytes: usize,
}

/// A key that is remembered.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: Arc<str>,
    pub(super) values: Values,
    /// Where the rule has TIMESTAMP BY: from its first message on.
    pub(super) event: Option<Box<EventSide>>,
    pub(super) alarm: Alarm,
    /// Listed in [`HistoryTable::changed`].
    pub(super) changed: bool,
    /// Has a row on disk.
    pub(super) stored: bool,
}

pub(super) type Keys = HashMap<Arc<str>, Box<Key>, foldhash::fast::RandomState>;

/// A rule and its keys.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) index: RuleIndex,
    pub(super) name: Arc<str>,
    pub(super) questions: Questions,
    pub(super) lateness: Duration,
    pub(super) counts_downtime: bool,
    pub(super) fingerprint: u64,
    keys_max: usize,
    pub(super) keys: Keys,
    pub(super) counts: HistoryCounts,
}

/// What all keys of all rules with analytic functions remember. Owned by one thread; see the module's
/// documentation.
#[derive(Debug)]
pub struct HistoryTable {
    /// By [`RuleIndex`]; `None` for rules that look back on nothing.
    pub(super) rules: Vec<Option<Rule>>,
    pub(super) timers: Timers,
    /// Keys whose rows are out of date.
    pub(super) changed: Vec<(RuleIndex, Arc<str>)>,
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
            rules: Vec::new(),
            timers: TimerQueue::default(),
            changed: Vec::new(),
            orphaned: Vec::new(),
            now: Timestamp::EPOCH,
            buffer: BytesMut::new(),
        };
        table.install(rules);
        table
    }

    pub(super) fn install<'a>(&mut self, rules: impl IntoIterator<Item = RememberingRule<'a>>) {
        self.rules.clear();
        for remembering in rules {
            let place = place(remembering.index);
            if self.rules.len() <= place {
                self.rules.resize_with(place + 1, || None);
            }
            let questions = Questions { calls: remembering.calls.into(), whole: remembering.whole };
            self.rules[place] = Some(Rule {
                index: remembering.index,
                name: Arc::clone(remembering.name),
                questions,
                lateness: remembering.lateness,
                counts_downtime: remembering.counts_downtime,
                fingerprint: remembering.fingerprint,
                keys_max: remembering.keys_max,
                keys: HashMap::default(),
                counts: HistoryCounts::default(),
            });
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
        let rule = self
            .rules
            .get_mut(place(recall.rule))
            .and_then(Option::as_mut)
            .expect("messages are recalled by the engine whose rules the table holds");
        let (mut desk, keys) = rule.desk(&mut self.timers, &mut self.changed, at);
        let text = recall.key.as_str();
        let known = keys.len();
        let is_remembered = recall.values.iter().any(|value| !value.is_empty());
        match keys.get_mut(text) {
            Some(key) => key.hear(recall, &mut desk, out),
            // There is nothing that this key would remember of it.
            None if !is_remembered && recall.event_at.is_none() => {
                Key::new(Arc::from(text), desk.questions.nothing()).hear(recall, &mut desk, out);
            }
            None if known >= desk.keys_max => {
                let why = format!("remembers {} keys already", desk.keys_max);
                desk.refuse(recall, &why, out);
            }
            None => {
                let text: Arc<str> = Arc::from(text);
                let nothing = desk.questions.nothing();
                let mut key = Box::new(Key::new(Arc::clone(&text), nothing));
                key.hear(recall, &mut desk, out);
                if !key.values.is_empty() || key.event.is_some() {
                    desk.counts.keys += 1;
                    keys.insert(text, key);
                }
            }
        }
    }

    /// Gives messages their turn that the clock has reached. Stops early when that gave
    /// [`HISTORY_ADVANCE_MAX`] of them, so that the caller can deal with them first.
    pub fn advance(&mut self, now: Timestamp, out: &mut Recollections) -> Progress {
        let full = out.recalled.len() + HISTORY_ADVANCE_MAX;
        while let Some(entry) = self.timers.pop_due(now) {
            let (rule, text) = entry.key.clone();
            let Some(rule) = self.rules.get_mut(place(rule)).and_then(Option::as_mut) else {
                self.timers.claim(entry, None);
                continue;
            };
            let (mut desk, keys) = rule.desk(&mut self.timers, &mut self.changed, self.now);
            let mut key = keys.get_mut(&text);
            let claimed = desk.timers.claim(entry, key.as_mut().map(|key| &mut key.alarm));
            let (Some(deadline), Some(key)) = (claimed, key) else { continue };
            let at = deadline.time();
            desk.now = desk.now.max(at);
            if let Some(side) = &key.event {
                let bound = side.watermark.at(at, desk.lateness);
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
        let Self { rules, timers, changed, now, .. } = self;
        let ending = rules.iter_mut().flatten().filter(|r| !goes_on(&r.name, r.fingerprint));
        for rule in ending {
            let (mut desk, keys) = rule.desk(timers, changed, *now);
            for key in keys.values_mut() {
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
        if let Some(out) = &mut out {
            out.append(&mut self.orphaned);
        }
        self.orphaned.clear();
        for (index, text) in self.changed.drain(..) {
            let rule = self.rules.get_mut(place(index)).and_then(Option::as_mut);
            let Some(Rule { name, fingerprint, keys, .. }) = rule else { continue };
            let Some(key) = keys.get_mut(&text) else { continue };
            key.changed = false;
            let waiting = key.take_waiting_changes(out.is_some().then_some(&mut self.buffer));
            let Some(out) = &mut out else { continue };
            key.stored = true;
            let watermark = key.event.as_ref().map(|side| &side.watermark);
            let state =
                Some(encoding::encode(&mut self.buffer, *fingerprint, watermark, &key.values));
            let key = CompactString::from(&*text);
            out.push(KeyChange { rule: Arc::clone(name), key, state, waiting });
        }
        if self.timers.wants_sweep() {
            self.timers.sweep(|(index, text)| {
                let rule = self.rules.get(place(*index))?.as_ref()?;
                rule.keys.get(text).map(|key| &key.alarm)
            });
        }
    }

    /// Figures of a rule; `None` for one that looks back on nothing.
    pub fn counts(&self, rule: RuleIndex) -> Option<HistoryCounts> {
        self.rules.get(place(rule))?.as_ref().map(|rule| rule.counts)
    }
}

impl Rule {
    /// What its keys work with, and the keys.
    pub(super) fn desk<'a>(
        &'a mut self,
        timers: &'a mut Timers,
        changed: &'a mut Vec<(RuleIndex, Arc<str>)>,
        now: Timestamp,
    ) -> (Desk<'a>, &'a mut Keys) {
        let Rule { index, questions, lateness, keys_max, keys, counts, .. } = self;
        let (rule, lateness, keys_max) = (*index, *lateness, *keys_max);
        (Desk { rule, questions, lateness, keys_max, counts, timers, changed, now }, keys)
    }
}

/// What of the table and of the rule a key works with.
pub(super) struct Desk<'a> {
    pub(super) rule: RuleIndex,
    questions: &'a Questions,
    pub(super) lateness: Duration,
    keys_max: usize,
    pub(super) counts: &'a mut HistoryCounts,
    pub(super) timers: &'a mut Timers,
    changed: &'a mut Vec<(RuleIndex, Arc<str>)>,
    /// By the gateway's clock.
    pub(super) now: Timestamp,
}

impl Desk<'_> {
    /// Lists the key as changed.
    pub(super) fn mark(&mut self, key: &mut Key) {
        if !key.changed {
            key.changed = true;
            self.changed.push((self.rule, Arc::clone(&key.text)));
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

impl Key {
    pub(super) fn new(text: Arc<str>, values: Values) -> Self {
        Key { text, values, event: None, alarm: Alarm::default(), changed: false, stored: false }
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
            let text = Arc::clone(&self.text);
            return desk.refuse_message(&text, publish, &why, out);
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

/// The place of a rule in a vector by [`RuleIndex`].
pub(super) fn place(index: RuleIndex) -> usize {
    usize::try_from(index.0).expect("usize has at least 32 bits on every supported platform")
}
