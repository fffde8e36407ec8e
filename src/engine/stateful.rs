//! All that rules remember: the conditions of WHEN and the windows of GROUP BY, as one table.
//!
//! [`StateTable`] is what the journal's writer owns, and whatever rehearses it. What a message was seen
//! to say goes to the table of its rule; time passes for both in one order; rows are told apart by what
//! they are. A rule has a clause of one kind at most, so the two never share a row.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::Contribution;
use crate::engine::Engine;
use crate::engine::Leap;
use crate::engine::Observation;
use crate::engine::RuleIndex;
use crate::engine::hold::HoldCounts;
use crate::engine::hold::HoldTable;
use crate::engine::hold::HoldView;
use crate::engine::hold::Progress;
use crate::engine::hold::RowError;
use crate::engine::hold::Transitions;
use crate::engine::hold::WatchedRule;
use crate::engine::hold::fingerprint;
use crate::engine::hold::lateness;
use crate::engine::restoration::Restoring;
use crate::engine::rows::KeyChange;
use crate::engine::rows::Restored;
use crate::engine::rows::StoredKey;
use crate::engine::rows::WaitingRow;
use crate::engine::rows::for_each_key;
use crate::engine::window::WindowCounts;
use crate::engine::window::WindowTable;
use crate::engine::window::WindowedRule;
use crate::engine::window::is_of_window;
use crate::limits::KEY_AGE;
use crate::rule::Rule;

/// How much one rule may remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBounds {
    /// Keys, or groups, at once.
    pub keys_max: usize,
    /// Silence after which a key is forgotten that nothing else would end.
    pub age: Duration,
}

impl From<usize> for KeyBounds {
    fn from(keys_max: usize) -> Self {
        KeyBounds { keys_max, age: KEY_AGE }
    }
}

/// A rule that remembers.
#[derive(Clone, Debug)]
pub enum StatefulRule<'a> {
    /// With WHEN.
    Watched(WatchedRule<'a>),
    /// With GROUP BY.
    Windowed(WindowedRule<'a>),
}

impl<'a> StatefulRule<'a> {
    /// Its place in the running engine.
    pub fn index(&self) -> RuleIndex {
        match self {
            StatefulRule::Watched(rule) => rule.index,
            StatefulRule::Windowed(rule) => rule.index,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'a Arc<str> {
        match self {
            StatefulRule::Watched(rule) => rule.name,
            StatefulRule::Windowed(rule) => rule.name,
        }
    }

    /// Changes with what its state means.
    pub fn fingerprint(&self) -> u64 {
        match self {
            StatefulRule::Watched(rule) => rule.fingerprint,
            StatefulRule::Windowed(rule) => rule.fingerprint,
        }
    }
}

impl Engine {
    /// The enabled rules that remember, within `bounds`.
    pub fn stateful(&self, bounds: impl Into<KeyBounds>) -> impl Iterator<Item = StatefulRule<'_>> {
        let bounds = bounds.into();
        let rules = (0..).map(RuleIndex).zip(self.rules());
        rules.filter_map(move |(index, rule)| self.stateful_as(index, fingerprint(rule), bounds))
    }

    /// One of them, with its fingerprint known.
    pub fn stateful_as(
        &self,
        index: RuleIndex,
        fingerprint: u64,
        bounds: KeyBounds,
    ) -> Option<StatefulRule<'_>> {
        let rule: &Rule = self.rule(index)?;
        let (name, lateness, listed) = (rule.name(), lateness(rule), rule.listed());
        if rule.is_disabled() {
            return None;
        }
        if let Some(when) = self.hold_spec(index) {
            let keys_max = bounds.keys_max;
            let rule = WatchedRule { index, name, when, lateness, listed, fingerprint, keys_max };
            return Some(StatefulRule::Watched(rule));
        }
        let gather = self.compiled(index)?.program.gather.as_ref()?;
        Some(StatefulRule::Windowed(WindowedRule {
            index,
            name,
            spec: Arc::clone(&gather.spec),
            lateness,
            fingerprint,
            bounds,
        }))
    }
}

/// All state of all rules.
#[derive(Debug)]
pub struct StateTable {
    hold: HoldTable,
    pub(super) windows: WindowTable,
}

fn parted<'a>(
    rules: impl IntoIterator<Item = StatefulRule<'a>>,
) -> (Vec<WatchedRule<'a>>, Vec<WindowedRule<'a>>) {
    let (mut watched, mut windowed) = (Vec::new(), Vec::new());
    for rule in rules {
        match rule {
            StatefulRule::Watched(rule) => watched.push(rule),
            StatefulRule::Windowed(rule) => windowed.push(rule),
        }
    }
    (watched, windowed)
}

impl StateTable {
    /// A table that remembers nothing yet.
    pub fn new<'a>(rules: impl IntoIterator<Item = StatefulRule<'a>>) -> Self {
        let (watched, windowed) = parted(rules);
        StateTable { hold: HoldTable::new(watched), windows: WindowTable::new(windowed) }
    }

    /// Takes in what a rule with WHEN saw in a message. Whatever is due at or before its time comes
    /// first.
    pub fn observe(&mut self, observation: Observation, out: &mut Transitions) {
        while self.advance(observation.at, out) == Progress::More {}
        self.hold.observe(observation, out);
    }

    /// As [`StateTable::observe`], for a rule with GROUP BY.
    pub fn gather(&mut self, contribution: Contribution, out: &mut Transitions) {
        while self.advance(contribution.at, out) == Progress::More {}
        self.windows.observe(contribution, out);
    }

    /// Says what the clock reads, as [`HoldTable::tell_time`] has it.
    pub fn tell_time(&mut self, present: Timestamp) {
        self.hold.tell_time(present);
    }

    /// Does what is due at or before `now`, in the order of time; at one instant conditions come before
    /// windows. Stops early so that the caller can deal with what there is in that order.
    pub fn advance(&mut self, now: Timestamp, out: &mut Transitions) -> Progress {
        let is_due = |at: &Timestamp| *at <= now;
        let hold = self.hold.next_deadline().filter(is_due);
        let windows = self.windows.next_deadline().filter(is_due);
        let Some((hold, windows)) = hold.zip(windows) else {
            let progress = self.hold.advance(now, out);
            return self.windows.advance(now, out).and(progress);
        };
        // The one that is first goes on to where the other one is; then the caller has its turn.
        let progress = match hold <= windows {
            true => self.hold.advance(windows, out),
            false => self.windows.advance(hold, out),
        };
        progress.and(Progress::More)
    }

    /// When [`StateTable::advance`] is wanted next. May be early, never late.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.hold.next_deadline().into_iter().chain(self.windows.next_deadline()).min()
    }

    /// Hands over the rows that changed since the last call. Rows of rules that are gone come first: a
    /// rule that now remembers something else may have a row of the same key.
    pub fn take_changes(&mut self, out: &mut Vec<KeyChange>) {
        self.windows.take_orphaned(out);
        self.hold.take_changes(out);
        self.windows.take_changes(out);
    }

    /// The rules whose rows are all to be removed; changes taken after this have those that stay.
    pub fn take_emptied(&mut self) -> impl Iterator<Item = Arc<str>> {
        self.hold.take_emptied()
    }

    /// As [`StateTable::take_changes`], for callers without a disk: nothing is encoded.
    pub fn forget_changes(&mut self) {
        self.hold.forget_changes();
        self.windows.forget_changes();
    }

    /// Takes over what an earlier process left: rows of (rule name, key, state), the rows beside them, the
    /// last instant at which that process is known to have lived, and the time now. What is due happens
    /// in the next [`StateTable::advance`].
    pub fn restore<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
        parts: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
        out: &mut Transitions,
    ) -> Restored {
        let mut restoring = self.restoring(alive_until, now);
        for_each_key(rows, parts, |stored| restoring.key(stored, out));
        restoring.finish()
    }

    /// As [`StateTable::restore`], key by key: those without a rule first.
    pub fn restoring(&mut self, alive_until: Timestamp, now: Timestamp) -> StateRestoring<'_> {
        StateRestoring {
            hold: Restoring::new(&mut self.hold, alive_until, now),
            windows: Restoring::new(&mut self.windows, alive_until, now),
        }
    }

    /// Watches the rows of the tables that `rules` list, as [`HoldTable::list_rows`] says.
    pub fn list_rows<'a>(
        &mut self,
        rules: impl IntoIterator<Item = StatefulRule<'a>>,
        now: Timestamp,
        out: &mut Transitions,
    ) {
        self.hold.list_rows(parted(rules).0, now, out);
    }

    /// Whether there are changes to take.
    pub fn has_changes(&self) -> bool {
        self.hold.has_changes() || self.windows.has_changes()
    }

    /// Goes over to another rule set. Call [`StateTable::advance`] to `now` before it.
    pub fn rebuild<'a>(
        &mut self,
        rules: impl IntoIterator<Item = StatefulRule<'a>>,
        now: Timestamp,
        out: &mut Transitions,
    ) {
        let (watched, windowed) = parted(rules);
        self.hold.rebuild(watched, now, out);
        self.windows.rebuild(windowed, now, out);
    }

    /// Follows a step of the clock, as [`HoldTable::leap`] and [`WindowTable::leap`] say. Call
    /// [`StateTable::advance`] to where it leaps from before it.
    pub fn leap(&mut self, leap: Leap) {
        self.hold.leap(leap);
        self.windows.leap(leap);
    }

    /// Figures of a rule's conditions; `None` for one without WHEN.
    pub fn hold_counts(&self, rule: RuleIndex) -> Option<HoldCounts> {
        self.hold.counts(rule)
    }

    /// Figures of a rule's windows; `None` for one without GROUP BY.
    pub fn window_counts(&self, rule: RuleIndex) -> Option<WindowCounts> {
        self.windows.counts(rule)
    }

    /// The keys worth looking at of a rule with WHEN, as [`HoldTable::view`] has them.
    pub fn view(&self, rule: RuleIndex, limit: usize) -> HoldView {
        self.hold.view(rule, limit)
    }
}

/// A table that takes over what an earlier process left; see [`StateTable::restore`].
#[derive(Debug)]
pub struct StateRestoring<'t> {
    hold: Restoring<'t, HoldTable>,
    windows: Restoring<'t, WindowTable>,
}

impl StateRestoring<'_> {
    /// Takes what is stored of a key.
    pub fn key(&mut self, stored: StoredKey<'_>, out: &mut Transitions) {
        let is_windowed = match stored.state {
            Some(state) => is_of_window(state),
            None => stored.beside.iter().any(|row| is_of_window(row.message)),
        };
        if stored.beside.iter().all(|row| is_of_window(row.message) == is_windowed) {
            return self.give(is_windowed, stored, out);
        }
        // No rule has both: a row of the other kind is damaged, or was put there by somebody else.
        let is_own = |row: &&WaitingRow<'_>| is_of_window(row.message) == is_windowed;
        let own: Vec<_> = stored.beside.iter().filter(is_own).copied().collect();
        for _ in own.len()..stored.beside.len() {
            self.hold.reject(stored, RowError::Field("version"));
        }
        self.give(is_windowed, StoredKey { beside: &own, ..stored }, out);
    }

    fn give(&mut self, is_windowed: bool, stored: StoredKey<'_>, out: &mut Transitions) {
        if is_windowed {
            self.windows.key(stored, out);
        } else {
            self.hold.key(stored, out);
        }
    }

    /// There are no more keys.
    pub fn finish(self) -> Restored {
        let mut restored = self.hold.finish();
        restored.add(self.windows.finish());
        restored
    }
}
