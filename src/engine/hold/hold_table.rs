//! The table itself: observations and time in, episodes and changed rows out.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Episode;
use crate::engine::EpisodeEvent;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::HoldFacts;
use crate::engine::Observation;
use crate::engine::RuleIndex;
use crate::engine::Truth;
use crate::engine::hold::encoding;
use crate::engine::hold::message;
use crate::engine::hold::message::Message;
use crate::engine::hold::state::Phase;
use crate::engine::hold::state::State;
use crate::engine::hold::state::Step;
use crate::engine::hold::state::Terms;
use crate::engine::hold::timer::Alarm;
use crate::engine::hold::timer::TimerQueue;
use crate::limits::HOLD_ADVANCE_EPISODES_MAX;
use crate::limits::HOLD_MESSAGE_BYTES_MAX;
use crate::publish::Publish;
use crate::rule::ast::When;

/// A map this sparse gives memory back.
const SPARSE: usize = 8;
/// Maps up to this capacity are left alone.
const SMALL_MAP: usize = 64;

/// A rule with WHEN, as the table needs it.
#[derive(Clone, Copy, Debug)]
pub struct WatchedRule<'a> {
    /// Its place in the running engine.
    pub index: RuleIndex,
    /// Its name: the identity of its state across restarts and reloads.
    pub name: &'a Arc<str>,
    /// The clause.
    pub when: &'a When,
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
    /// Keys that were refused.
    pub faults: Vec<Fault>,
}

impl Transitions {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty() && self.orphans.is_empty() && self.faults.is_empty()
    }

    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.episodes.clear();
        self.orphans.clear();
        self.faults.clear();
    }
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

/// A row to write: the last state of a key that changed since the rows were taken before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// Rule name.
    pub rule: Arc<str>,
    /// Key, as in [`Observation`].
    pub key: CompactString,
    /// Encoded state; `None` removes the row.
    pub state: Option<Bytes>,
}

/// Figures of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldCounts {
    /// Observations whose condition was UNKNOWN.
    pub unknown: u64,
    /// TRUE messages passed over because the rule watches, or keeps, as much as it may.
    pub refused: u64,
    /// Keys pending now.
    pub pending: usize,
    /// Keys firing now.
    pub firing: usize,
    /// Bytes of the messages that are kept.
    pub message_bytes: usize,
}

/// Whether [`HoldTable::advance`] got to the end.
#[must_use = "timers that are due wait until advance is called again"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every timer due has run.
    Done,
    /// [`HOLD_ADVANCE_EPISODES_MAX`] episodes are out; call again.
    More,
}

/// A key that is watched.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: Arc<str>,
    pub(super) state: State,
    pub(super) message: Message,
    pub(super) alarm: Alarm,
    /// Listed in [`HoldTable::changed`].
    pub(super) changed: bool,
    /// Has a row on disk.
    pub(super) stored: bool,
}

/// A rule and its keys.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) index: RuleIndex,
    pub(super) name: Arc<str>,
    pub(super) terms: Terms,
    pub(super) fingerprint: u64,
    pub(super) keys_max: usize,
    /// Boxed: the map grows by moving pointers, and a key that ends gives its memory back.
    pub(super) keys: HashMap<Arc<str>, Box<Key>, foldhash::fast::RandomState>,
    pub(super) counts: HoldCounts,
}

/// All state of all WHEN clauses.
#[derive(Debug)]
pub struct HoldTable {
    /// By [`RuleIndex`]; `None` for rules without WHEN.
    pub(super) rules: Vec<Option<Rule>>,
    pub(super) timers: TimerQueue,
    /// The latest time seen.
    pub(super) now: Timestamp,
    /// Keys to be written, each once.
    pub(super) changed: Vec<(RuleIndex, Arc<str>)>,
    /// Rows to be removed whose rule is gone: rule, key.
    pub(super) orphaned: Vec<(Arc<str>, Arc<str>)>,
    buffer: BytesMut,
}

impl HoldTable {
    /// A table with no keys.
    pub fn new<'a>(rules: impl IntoIterator<Item = WatchedRule<'a>>) -> Self {
        let mut table = HoldTable {
            rules: Vec::new(),
            timers: TimerQueue::default(),
            now: Timestamp::from_millis(i64::MIN),
            changed: Vec::new(),
            orphaned: Vec::new(),
            buffer: BytesMut::new(),
        };
        table.install(rules);
        table
    }

    pub(super) fn install<'a>(&mut self, rules: impl IntoIterator<Item = WatchedRule<'a>>) {
        self.rules.clear();
        for watched in rules {
            let place = place(watched.index);
            if self.rules.len() <= place {
                self.rules.resize_with(place + 1, || None);
            }
            let rule = Rule {
                index: watched.index,
                name: Arc::clone(watched.name),
                terms: Terms::of(watched.when),
                fingerprint: watched.fingerprint,
                keys_max: watched.keys_max,
                keys: HashMap::default(),
                counts: HoldCounts::default(),
            };
            self.rules[place] = Some(rule);
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
        let Observation { rule, key: text, condition, clear, publish, .. } = observation;
        let Rule { index, terms, keys_max, keys, counts, .. } = self
            .rules
            .get_mut(place(rule))
            .and_then(Option::as_mut)
            .expect("observations are made by the engine whose rules the table holds");
        if condition == Truth::Unknown {
            counts.unknown += 1;
        }
        let mut known = keys.get_mut(text.as_str());
        if condition == Truth::True {
            let publish = message_of(&publish);
            let is_active = known.as_ref().is_some_and(|key| key.state.is_active());
            let held = known.as_ref().map_or(0, |key| key.message.bytes());
            let bytes = counts.message_bytes - held + message::bytes_of(publish);
            let limit = if !is_active && counts.pending + counts.firing >= *keys_max {
                format!("watches {keys_max} keys already")
            } else if bytes > HOLD_MESSAGE_BYTES_MAX {
                format!("would keep more than {HOLD_MESSAGE_BYTES_MAX} bytes of messages")
            } else {
                String::new()
            };
            if !limit.is_empty() {
                counts.refused += 1;
                let message = format!("the rule {limit}; the message of key {text} is passed over");
                return out.faults.push(Fault { rule, code: FaultCode::HoldKeysFull, message });
            }
            counts.message_bytes = bytes;
            if let Some(key) = &mut known {
                key.message.replace(publish);
            }
        }
        let key = match known {
            Some(key) => key,
            None if condition == Truth::True => {
                let key: Arc<str> = Arc::from(text.as_str());
                let new = Key::new(Arc::clone(&key), Message::of(message_of(&publish)));
                keys.entry(key).or_insert(new)
            }
            None => return,
        };
        let before = key.state.phase;
        let step = if condition == Truth::True {
            key.state.observe_true(terms, at)
        } else {
            key.state.observe_other(terms, condition, clear, at)
        };
        counts.moved(before, key.state.phase);
        key.settle(*index, terms, &mut self.timers, at);
        key.report(*index, step, at, out);
        if step != Step::Same {
            key.mark(*index, &mut self.changed);
        }
    }

    /// Runs the timers due at or before `now`, in the order of their times; those of one instant in
    /// the order in which they were set. Stops early when that gave
    /// [`HOLD_ADVANCE_EPISODES_MAX`] episodes, so that the caller can deal with them first.
    pub fn advance(&mut self, now: Timestamp, out: &mut Transitions) -> Progress {
        let full = out.episodes.len() + HOLD_ADVANCE_EPISODES_MAX;
        while let Some(entry) = self.timers.pop_due(now) {
            let rule = self.rules.get_mut(place(entry.rule)).and_then(Option::as_mut);
            let Some(Rule { index, terms, keys, counts, .. }) = rule else {
                self.timers.claim(entry, None);
                continue;
            };
            let mut key = keys.get_mut(&entry.key);
            let claimed = self.timers.claim(entry, key.as_mut().map(|key| &mut key.alarm));
            let (Some(deadline), Some(key)) = (claimed, key) else { continue };
            let at = deadline.time();
            self.now = self.now.max(at);
            let before = key.state.phase;
            let step = key.state.run(terms, at);
            counts.moved(before, key.state.phase);
            key.settle(*index, terms, &mut self.timers, at);
            key.report(*index, step, at, out);
            key.mark(*index, &mut self.changed);
            if out.episodes.len() >= full {
                return Progress::More;
            }
        }
        self.now = self.now.max(now);
        Progress::Done
    }

    /// When [`HoldTable::advance`] is wanted next. May be early, never late: a timer that has been
    /// put off, or whose key is gone, is noticed when it comes up.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.next_wake()
    }

    /// Hands over the last state of every key that changed since the last call: one row a key,
    /// however many messages it saw. Removed rows of rules that are gone come first.
    pub fn take_changes(&mut self, out: &mut Vec<KeyChange>) {
        self.drain_changes(Some(out));
    }

    /// As [`HoldTable::take_changes`], for callers without a disk: nothing is encoded.
    pub fn forget_changes(&mut self) {
        self.drain_changes(None);
    }

    fn drain_changes(&mut self, mut out: Option<&mut Vec<KeyChange>>) {
        for (rule, key) in self.orphaned.drain(..) {
            if let Some(out) = &mut out {
                out.push(KeyChange { rule, key: CompactString::from(&*key), state: None });
            }
        }
        for (index, text) in self.changed.drain(..) {
            let rule = self.rules.get_mut(place(index)).and_then(Option::as_mut);
            let Some(Rule { name, fingerprint, keys, counts, .. }) = rule else { continue };
            let Some(key) = keys.get_mut(&text) else { continue };
            key.changed = false;
            let was_stored = key.stored;
            let state = if key.state.is_active() {
                key.stored = out.is_some();
                out.is_some().then(|| {
                    encoding::encode(&mut self.buffer, *fingerprint, &key.state, &key.message)
                })
            } else {
                counts.message_bytes -= key.message.bytes();
                keys.remove(&text);
                give_back(keys);
                None
            };
            // A key that came and went between two calls has no row, and needs none removed.
            if let Some(out) = out.as_mut().filter(|_| state.is_some() || was_stored) {
                let key = CompactString::from(&*text);
                out.push(KeyChange { rule: Arc::clone(name), key, state });
            }
        }
        if self.timers.wants_sweep() {
            self.timers.sweep(|index, text| {
                let rule = self.rules.get(place(index))?.as_ref()?;
                rule.keys.get(text).map(|key| &key.alarm)
            });
        }
    }

    /// Figures of a rule; `None` for one without WHEN.
    pub fn counts(&self, rule: RuleIndex) -> Option<HoldCounts> {
        self.rules.get(place(rule))?.as_ref().map(|rule| rule.counts)
    }
}

impl HoldCounts {
    pub(super) fn moved(&mut self, before: Phase, after: Phase) {
        match before {
            Phase::Inactive => {}
            Phase::Pending => self.pending -= 1,
            Phase::Firing { .. } => self.firing -= 1,
        }
        match after {
            Phase::Inactive => {}
            Phase::Pending => self.pending += 1,
            Phase::Firing { .. } => self.firing += 1,
        }
    }
}

impl Key {
    pub(super) fn new(text: Arc<str>, message: Message) -> Box<Self> {
        Box::new(Key {
            text,
            state: State::inactive(),
            message,
            alarm: Alarm::default(),
            changed: false,
            stored: false,
        })
    }

    /// Sets the timer that the state wants, not before `floor`.
    pub(super) fn settle(
        &mut self,
        rule: RuleIndex,
        terms: &Terms,
        timers: &mut TimerQueue,
        floor: Timestamp,
    ) {
        if self.state.is_active() {
            let deadline = self.state.deadline(terms).map(|deadline| deadline.not_before(floor));
            timers.arm(&mut self.alarm, deadline, rule, &self.text);
        } else {
            timers.cancel(&mut self.alarm);
        }
    }

    /// Lists the key as changed.
    pub(super) fn mark(&mut self, rule: RuleIndex, changed: &mut Vec<(RuleIndex, Arc<str>)>) {
        if !self.changed {
            self.changed = true;
            changed.push((rule, Arc::clone(&self.text)));
        }
    }

    pub(super) fn facts(&self, fired_at: Timestamp) -> HoldFacts {
        HoldFacts {
            key: Arc::clone(&self.text),
            since: self.state.since,
            fired_at,
            samples: self.state.samples,
        }
    }

    /// Makes the record of a step, where it is worth one.
    fn report(&self, rule: RuleIndex, step: Step, at: Timestamp, out: &mut Transitions) {
        let (event, fired_at) = match (step, self.state.phase) {
            (Step::Fired, Phase::Firing { fired_at, .. }) => (EpisodeEvent::Firing, fired_at),
            (Step::Cleared { fired_at, reason }, _) => (EpisodeEvent::Cleared(reason), fired_at),
            (Step::Same | Step::Moved | Step::Fired, _) => return,
        };
        let facts = self.facts(fired_at);
        out.episodes.push(Episode { rule, event, at, facts, publish: self.message.to_publish() });
    }
}

/// The place of a rule in a vector by [`RuleIndex`].
pub(super) fn place(index: RuleIndex) -> usize {
    usize::try_from(index.0).expect("usize has at least 32 bits on every supported platform")
}

fn message_of(publish: &Option<Publish>) -> &Publish {
    publish.as_ref().expect("the engine keeps the message of every TRUE observation")
}

/// Gives memory back after a flood of keys has gone.
fn give_back<V>(keys: &mut HashMap<Arc<str>, V, foldhash::fast::RandomState>) {
    if keys.capacity() > SMALL_MAP && keys.len() < keys.capacity() / SPARSE {
        keys.shrink_to(keys.len() * 2);
    }
}
