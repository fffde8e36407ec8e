//! The table itself: contributions and time in, closed windows and changed rows out.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Contribution;
use crate::engine::FaultCode;
use crate::engine::RuleIndex;
use crate::engine::by_rule::ByRule;
use crate::engine::hold::Progress;
use crate::engine::hold::Transitions;
use crate::engine::key_index::is_sparse;
use crate::engine::restoration::Ledger;
use crate::engine::rows::KeyChange;
use crate::engine::stateful::KeyBounds;
use crate::engine::window::encoding;
use crate::engine::window::group::Desk;
use crate::engine::window::group::Group;
use crate::engine::window::group::pass_over;
use crate::engine::window::spec::WindowSpec;
use crate::limits::HOLD_ADVANCE_EPISODES_MAX;
use crate::limits::KEY_AGE_LOOKS;
use crate::limits::KEYS_FORGOTTEN_MAX;
use crate::limits::STATE_CHANGES_KEPT;

/// A rule with GROUP BY, as the table needs it.
#[derive(Clone, Debug)]
pub struct WindowedRule<'a> {
    /// Its place in the running engine.
    pub index: RuleIndex,
    /// Its name: the identity of its state across restarts and reloads.
    pub name: &'a Arc<str>,
    /// Its windows.
    pub spec: Arc<WindowSpec>,
    /// LATENESS; nothing where the rule has no TIMESTAMP BY.
    pub lateness: Duration,
    /// Changes when the keys, the windows, the aggregates, the filter or the time do.
    pub fingerprint: u64,
    /// Groups it may have at once, and for how long a silent one.
    pub bounds: KeyBounds,
}

/// Figures of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// Groups now.
    pub groups: usize,
    /// Open windows now; of HOP panes, of SLIDE messages.
    pub parts: usize,
    /// Bytes of those.
    pub bytes: usize,
    /// Windows that have closed.
    pub closed: u64,
    /// Groups forgotten because they had been silent for too long.
    pub forgotten: u64,
    /// Messages that came too late in event time.
    pub late: u64,
    /// Messages that found no room.
    pub refused: u64,
    /// Windows thrown away because their rule changed.
    pub discarded: u64,
}

type Groups = HashMap<Arc<str>, Box<Group>, foldhash::fast::RandomState>;

/// A rule and its groups.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) index: RuleIndex,
    pub(super) name: Arc<str>,
    pub(super) spec: Arc<WindowSpec>,
    pub(super) lateness: Duration,
    pub(super) fingerprint: u64,
    bounds: KeyBounds,
    /// When silent groups are looked for next.
    next_look: Timestamp,
    pub(super) groups: Groups,
    pub(super) counts: WindowCounts,
}

/// All windows of all rules with GROUP BY.
#[derive(Debug)]
pub struct WindowTable {
    /// Those with GROUP BY.
    pub(super) rules: ByRule<Rule>,
    /// When groups have something to do: of one instant in the order of rules, then of keys.
    pub(super) alarms: BTreeSet<(Timestamp, RuleIndex, Arc<str>)>,
    /// The latest time seen.
    pub(super) now: Timestamp,
    /// What the idle advance of all watermarks leaves out.
    pub(super) ledger: Ledger,
    /// Groups to be written, each once.
    pub(super) changed: Vec<(RuleIndex, Arc<str>)>,
    /// Rows to be removed whose rule or group is gone.
    pub(super) orphaned: Vec<KeyChange>,
    pub(super) buffer: BytesMut,
}

/// The row of what watermarks leave out stands beside that of the conditions' clocks.
const LEDGER_KEY: &str = "window";

impl WindowTable {
    /// A table with no groups.
    pub fn new<'a>(rules: impl IntoIterator<Item = WindowedRule<'a>>) -> Self {
        let mut table = WindowTable {
            rules: ByRule::default(),
            alarms: BTreeSet::new(),
            now: Timestamp::from_millis(i64::MIN),
            ledger: Ledger::new(encoding::VERSION, LEDGER_KEY),
            changed: Vec::new(),
            orphaned: Vec::new(),
            buffer: BytesMut::new(),
        };
        table.install(rules);
        table
    }

    pub(super) fn install<'a>(&mut self, rules: impl IntoIterator<Item = WindowedRule<'a>>) {
        self.rules = ByRule::default();
        for rule in rules {
            let WindowedRule { index, name, spec, lateness, fingerprint, bounds } = rule;
            let (name, groups) = (Arc::clone(name), Groups::default());
            let (counts, next_look) = (WindowCounts::default(), self.now);
            let rule = Rule {
                index,
                name,
                spec,
                lateness,
                fingerprint,
                bounds,
                next_look,
                groups,
                counts,
            };
            self.rules.insert(index, rule);
        }
    }

    /// Takes in what a message adds. Windows that end at or before its time close first; a time before
    /// the latest one seen is taken as that one. A contribution of a rule without GROUP BY is none.
    pub fn observe(&mut self, contribution: Contribution, out: &mut Transitions) {
        let at = contribution.at.max(self.now);
        while self.advance(at, out) == Progress::More {}
        let index = contribution.rule;
        self.forget_silent(index, &contribution.key, at, out);
        let Some(rule) = self.rules.get_mut(index) else { return };
        let text = contribution.key.as_str();
        if !rule.groups.contains_key(text) {
            if rule.counts.groups >= rule.bounds.keys_max {
                rule.counts.refused += 1;
                let message = format!(
                    "the rule has {} groups already; the message of group {text} is passed over",
                    rule.bounds.keys_max
                );
                return pass_over(contribution, FaultCode::WindowsFull, message, out);
            }
            let text: Arc<str> = Arc::from(text);
            let group = Group::new(Arc::clone(&text), contribution.publish.topic.clone());
            rule.groups.insert(text, Box::new(group));
        }
        let Rule { spec, lateness, groups, counts, .. } = rule;
        let Some(group) = groups.get_mut(text) else { return };
        let mut desk = Desk { rule: index, spec, lateness: *lateness, now: at, counts };
        group.hear(contribution, &mut desk, out);
        group.count(desk.counts);
        arm(&mut self.alarms, group, &desk, at);
        mark(&mut self.changed, group, index);
    }

    /// Forgets the group of a message that comes, if nothing ends its window but messages and it has been
    /// silent for too long; and, now and then, the other such groups of the rule.
    fn forget_silent(
        &mut self,
        index: RuleIndex,
        text: &str,
        now: Timestamp,
        out: &mut Transitions,
    ) {
        let Some(rule) = self.rules.get_mut(index) else { return };
        let (age, shape) = (rule.bounds.age, rule.spec.shape);
        let is_silent = |group: &Group| group.heard(shape).is_some_and(|heard| heard + age <= now);
        let first = rule.groups.get(text).filter(|group| is_silent(group));
        let mut silent: Vec<Arc<str>> =
            first.map(|group| Arc::clone(&group.text)).into_iter().collect();
        if now >= rule.next_look {
            let others =
                rule.groups.values().filter(|group| &*group.text != text && is_silent(group));
            let others = others.map(|group| Arc::clone(&group.text));
            silent.extend(others.take(KEYS_FORGOTTEN_MAX));
            // What is left over is for the next message.
            let is_done = silent.len() < KEYS_FORGOTTEN_MAX;
            rule.next_look = if is_done { now + age / KEY_AGE_LOOKS } else { now };
        }
        silent.sort_unstable();
        rule.counts.forgotten += silent.len() as u64;
        for text in silent {
            self.discard(index, &text, out);
        }
    }

    /// Throws a group away, with its open window.
    fn discard(&mut self, index: RuleIndex, text: &str, out: &mut Transitions) {
        let Some(rule) = self.rules.get_mut(index) else { return };
        let Some(mut group) = remove(&mut rule.groups, text) else { return };
        group.leave_counts(&mut rule.counts);
        let (name, key) = (Arc::clone(&rule.name), CompactString::from(text));
        let (alarm, is_stored) = (group.alarm, group.is_stored);
        if let Some(at) = alarm {
            self.alarms.remove(&(at, index, Arc::clone(&group.text)));
        }
        let (parts, waiting) = group.discarded();
        self.tell_discarded(Some(index), &key, parts, "the group was silent for too long", out);
        if is_stored {
            self.orphaned.push(KeyChange { rule: name, key, state: None, waiting });
        }
    }

    /// Closes the windows that end at or before `now`, by their ends and of one end by their keys.
    /// Stops early when there are [`HOLD_ADVANCE_EPISODES_MAX`], so that the caller can deal with them
    /// first.
    pub fn advance(&mut self, now: Timestamp, out: &mut Transitions) -> Progress {
        let full = out.windows.len() + HOLD_ADVANCE_EPISODES_MAX;
        while self.alarms.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((at, index, text)) = self.alarms.pop_first() else { break };
            self.now = self.now.max(at);
            let now = self.now;
            let Some(rule) = self.rules.get_mut(index) else {
                continue;
            };
            let Rule { spec, lateness, groups, counts, .. } = rule;
            let Some(group) = groups.get_mut(&text) else { continue };
            group.alarm = None;
            let mut desk = Desk { rule: index, spec, lateness: *lateness, now, counts };
            let bound = group.time(now, desk.lateness);
            group.catch_up(bound, &mut desk, out);
            group.count(desk.counts);
            arm(&mut self.alarms, group, &desk, now);
            mark(&mut self.changed, group, index);
            if out.windows.len() >= full {
                return Progress::More;
            }
        }
        self.now = self.now.max(now);
        Progress::Done
    }

    /// When [`WindowTable::advance`] is wanted next. May be early, never late.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(at, ..)| *at)
    }

    /// Whether there are changes to take.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty() || !self.orphaned.is_empty() || self.ledger.has_change()
    }

    /// Hands over the rows to be removed of groups that are gone.
    pub fn take_orphaned(&mut self, out: &mut Vec<KeyChange>) {
        out.append(&mut self.orphaned);
    }

    /// Hands over what changed since the last call: a row a group, and one for each changed part.
    pub fn take_changes(&mut self, out: &mut Vec<KeyChange>) {
        self.drain_changes(Some(out));
    }

    /// As [`WindowTable::take_changes`], for callers without a disk: nothing is encoded.
    pub fn forget_changes(&mut self) {
        self.orphaned.clear();
        self.drain_changes(None);
    }

    fn drain_changes(&mut self, mut out: Option<&mut Vec<KeyChange>>) {
        let ledger = self.ledger.take_change(out.is_some().then_some(&mut self.buffer));
        if let Some(out) = &mut out {
            out.extend(ledger);
        }
        let left_out = self.ledger.total();
        for (index, text) in self.changed.drain(..) {
            let rule = self.rules.get_mut(index);
            let Some(Rule { name, fingerprint, groups, .. }) = rule else { continue };
            let Some(group) = groups.get_mut(&text) else { continue };
            group.is_changed = false;
            let waiting = group.take_changes(out.is_some().then_some(&mut self.buffer));
            let was_stored = group.is_stored;
            let state = if group.lives() {
                group.is_stored = out.is_some();
                out.is_some().then(|| {
                    encoding::encode_group(&mut self.buffer, *fingerprint, left_out, group)
                })
            } else {
                if let Some(at) = group.alarm {
                    self.alarms.remove(&(at, index, Arc::clone(&text)));
                }
                remove(groups, &text);
                None
            };
            // A group that came and went between two calls has no row, and needs none removed.
            if let Some(out) = out.as_mut().filter(|_| state.is_some() || was_stored) {
                let key = CompactString::from(&*text);
                out.push(KeyChange { rule: Arc::clone(name), key, state, waiting });
            }
        }
        self.changed.shrink_to(STATE_CHANGES_KEPT);
    }

    /// Figures of a rule; `None` for one without GROUP BY.
    pub fn counts(&self, rule: RuleIndex) -> Option<WindowCounts> {
        self.rules.get(rule).map(|rule| rule.counts)
    }
}

/// Takes a group out; gives memory back after a flood of groups has gone.
fn remove(groups: &mut Groups, text: &str) -> Option<Box<Group>> {
    let group = groups.remove(text);
    if is_sparse(groups.len(), groups.capacity()) {
        groups.shrink_to(groups.len() * 2);
    }
    group
}

/// Lists the group as changed.
pub(super) fn mark(changed: &mut Vec<(RuleIndex, Arc<str>)>, group: &mut Group, rule: RuleIndex) {
    if !std::mem::replace(&mut group.is_changed, true) {
        changed.push((rule, Arc::clone(&group.text)));
    }
}

/// Sets when the group is looked at next, not before `floor`. A later time than the one set is left
/// to be found when that comes up: a session moves with every message.
pub(super) fn arm(
    alarms: &mut BTreeSet<(Timestamp, RuleIndex, Arc<str>)>,
    group: &mut Group,
    desk: &Desk<'_>,
    floor: Timestamp,
) {
    let wanted = group.deadline(desk).map(|at| at.max(floor));
    let (Some(at), true) =
        (wanted, wanted.is_some_and(|at| group.alarm.is_none_or(|set| at < set)))
    else {
        return;
    };
    if let Some(set) = group.alarm.replace(at) {
        alarms.remove(&(set, desk.rule, Arc::clone(&group.text)));
    }
    alarms.insert((at, desk.rule, Arc::clone(&group.text)));
}
