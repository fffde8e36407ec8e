//! Windows that outlive a rule set: a restart reads rows, a reload takes groups over from memory.
//!
//! A group of a rule whose fingerprint is the same goes on. The open windows of any other are thrown
//! away, counted: half a window of the old rule is no window of the new one.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Leap;
use crate::engine::RuleIndex;
use crate::engine::hold::KeyChange;
use crate::engine::hold::Restored;
use crate::engine::hold::Transitions;
use crate::engine::hold::WaitingChange;
use crate::engine::hold::WaitingRow;
use crate::engine::hold::encoding::RowError;
use crate::engine::hold::restore::WaitingRows;
use crate::engine::hold::restore::by_key;
use crate::engine::window::encoding;
use crate::engine::window::group::Desk;
use crate::engine::window::group::Group;
use crate::engine::window::window_table::Rule;
use crate::engine::window::window_table::WindowTable;
use crate::engine::window::window_table::WindowedRule;
use crate::engine::window::window_table::arm;
use crate::engine::window::window_table::mark;

/// Why most windows are thrown away.
const RULE_CHANGED: &str = "the rule has changed";

impl WindowTable {
    /// Takes over what an earlier process left, as [`crate::engine::hold::HoldTable::restore`] does.
    /// Windows that ended while nothing ran close in the next [`WindowTable::advance`]; in event time
    /// the downtime is left out of the idle advance of the watermark. By receive time nothing can have
    /// come after `now`: what is of a later time, because the clock was ahead, is taken as of `now`.
    pub fn restore<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
        parts: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
        out: &mut Transitions,
    ) -> Restored {
        let mut restoring = self.restoring(parts, alive_until, now);
        for (rule, key, state) in rows {
            restoring.row(rule, key, state, out);
        }
        restoring.finish()
    }

    /// As [`WindowTable::restore`], row by row.
    pub fn restoring<'a>(
        &mut self,
        parts: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
    ) -> Restoring<'_, 'a> {
        self.now = self.now.max(alive_until.min(now));
        Restoring {
            places: self.places(),
            table: self,
            parts: by_key(parts),
            outage: now.as_millis().saturating_sub(alive_until.as_millis()),
            now,
            restored: Restored::default(),
        }
    }

    /// Goes over to another rule set. Call [`WindowTable::advance`] to `now` before it.
    pub fn rebuild<'a>(
        &mut self,
        rules: impl IntoIterator<Item = WindowedRule<'a>>,
        now: Timestamp,
        out: &mut Transitions,
    ) {
        let now = now.max(self.now);
        self.now = now;
        let old: Vec<Rule> = self.rules.drain(..).flatten().collect();
        self.alarms.clear();
        self.changed.clear();
        self.install(rules);
        let places = self.places();
        for rule in old {
            let known = places.get(&*rule.name).copied();
            if let Some(new) = known.and_then(|index| self.rule_mut(index)) {
                let before = rule.counts;
                new.counts.closed = before.closed;
                new.counts.forgotten = before.forgotten;
                new.counts.late = before.late;
                new.counts.refused = before.refused;
                new.counts.discarded = before.discarded;
            }
            let same = known.and_then(|index| self.rule_mut(index));
            let heir = same.filter(|new| new.fingerprint == rule.fingerprint).map(|new| new.index);
            for mut group in rule.groups.into_values() {
                if let Some(index) = heir {
                    group.count_anew();
                    group.alarm = None;
                    let was_changed = std::mem::take(&mut group.is_changed);
                    self.adopt(index, group, now, was_changed);
                    continue;
                }
                let (is_stored, key) = (group.is_stored, CompactString::from(&*group.text));
                let (parts, waiting) = group.discarded();
                self.tell_discarded(known, &key, parts, RULE_CHANGED, out);
                if is_stored {
                    let rule = Arc::clone(&rule.name);
                    self.orphaned.push(KeyChange { rule, key, state: None, waiting });
                }
            }
        }
    }

    /// Follows a step of the clock. In event time the idle advance of watermarks leaves it out; by
    /// receive time what ends before its end closes in the next [`WindowTable::advance`]. Call that to
    /// where it leaps from before it.
    pub fn leap(&mut self, leap: Leap) {
        self.now = self.now.max(leap.to);
        self.alarms.clear();
        let Self { rules, alarms, changed, now, .. } = self;
        for rule in rules.iter_mut().flatten() {
            let Rule { index, spec, lateness, groups, counts, .. } = rule;
            for group in groups.values_mut() {
                group.alarm = None;
                if group.leave_out(leap.millis()) {
                    mark(changed, group, *index);
                }
                let desk = Desk { rule: *index, spec, lateness: *lateness, now: *now, counts };
                arm(alarms, group, &desk, *now);
            }
        }
    }

    fn places(&self) -> HashMap<Arc<str>, RuleIndex> {
        self.rules.iter().flatten().map(|rule| (Arc::clone(&rule.name), rule.index)).collect()
    }

    fn adopt(&mut self, index: RuleIndex, mut group: Box<Group>, floor: Timestamp, changed: bool) {
        let now = self.now;
        let place = usize::try_from(index.0).unwrap_or(usize::MAX);
        let Some(rule) = self.rules.get_mut(place).and_then(Option::as_mut) else { return };
        let Rule { spec, lateness, groups, counts, .. } = rule;
        let desk = Desk { rule: index, spec, lateness: *lateness, now, counts };
        group.count(desk.counts);
        arm(&mut self.alarms, &mut group, &desk, floor);
        if changed || !group.lives() {
            mark(&mut self.changed, &mut group, index);
        }
        groups.insert(Arc::clone(&group.text), group);
    }

    /// The row of a group that does not go on.
    fn forget(
        &mut self,
        rule: &str,
        key: &str,
        parts: &[WaitingRow<'_>],
        known: Option<RuleIndex>,
        out: &mut Transitions,
    ) {
        self.tell_discarded(known, key, parts.len(), RULE_CHANGED, out);
        let gone = parts.iter().map(|part| WaitingChange { turn: part.turn, message: None });
        let (rule, waiting) = (Arc::from(rule), gone.collect());
        self.orphaned.push(KeyChange { rule, key: key.into(), state: None, waiting });
    }

    /// Rows of parts that mean nothing. Their group, where there is one, is written again.
    fn forget_parts(&mut self, rule: &str, key: &str, turns: Vec<u64>) {
        if turns.is_empty() {
            return;
        }
        let place = self.places().get(rule).and_then(|index| usize::try_from(index.0).ok());
        if let Some(of) = place.and_then(|place| self.rules.get_mut(place)?.as_mut())
            && let Some(group) = of.groups.get_mut(key)
        {
            let index = of.index;
            group.lose(turns);
            mark(&mut self.changed, group, index);
            return;
        }
        let gone = turns.into_iter().map(|turn| WaitingChange { turn, message: None });
        let (rule, waiting) = (Arc::from(rule), gone.collect());
        self.orphaned.push(KeyChange { rule, key: key.into(), state: None, waiting });
    }

    pub(super) fn tell_discarded(
        &mut self,
        rule: Option<RuleIndex>,
        key: &str,
        parts: usize,
        why: &str,
        out: &mut Transitions,
    ) {
        let Some(of) = rule.and_then(|rule| self.rule_mut(rule)).filter(|_| parts > 0) else {
            return;
        };
        of.counts.discarded += parts as u64;
        let message = format!("{why}; what group {key} had gathered is discarded");
        let (rule, code) = (of.index, FaultCode::WindowDiscarded);
        out.faults.push(Fault { rule, code, message });
    }
}

/// A table that takes over what an earlier process left; see [`WindowTable::restore`].
#[derive(Debug)]
pub struct Restoring<'t, 'a> {
    table: &'t mut WindowTable,
    places: HashMap<Arc<str>, RuleIndex>,
    parts: WaitingRows<'a>,
    /// How long nothing ran, ms. Negative when the wall clock went back.
    outage: i64,
    now: Timestamp,
    restored: Restored,
}

impl Restoring<'_, '_> {
    /// Takes the row of a group.
    pub fn row(&mut self, rule: &str, key: &str, state: &[u8], out: &mut Transitions) {
        let row = match encoding::decode_group(state) {
            Ok(row) => row,
            Err(error) => return self.restored.reject(rule, key, error),
        };
        let parts = self.parts.remove(&(rule.into(), key.into())).unwrap_or_default();
        let known = self.places.get(rule).copied();
        let same = known.and_then(|index| self.table.rule_mut(index));
        let Some(of) = same.filter(|of| of.fingerprint == row.fingerprint) else {
            self.restored.ended += 1;
            return self.table.forget(rule, key, &parts, known, out);
        };
        let mut group = Group::new(Arc::from(key), row.topic);
        (group.watermark, group.closed, group.turns) = (row.watermark, row.closed, row.turns);
        group.is_stored = true;
        let (mut lost, mut read) = (Vec::new(), Vec::new());
        for part in &parts {
            match encoding::decode_part(part.message, part.turn, &of.spec) {
                Ok(part) => read.push(part),
                Err(error) => {
                    self.restored.reject(rule, key, error);
                    lost.push(part.turn);
                }
            }
        }
        // A window that slides takes its messages in their order.
        read.sort_by_key(encoding::Part::position);
        read.into_iter().for_each(|part| group.put_back(part, &of.spec));
        self.restored.kept += 1;
        let index = of.index;
        let has_changed = match group.watermark {
            Some(_) => group.leave_out(self.outage),
            None => group.set_back(self.now, &of.spec),
        };
        self.table.adopt(index, Box::new(group), self.now, has_changed);
        self.table.forget_parts(rule, key, lost);
    }

    /// There are no more rows.
    pub fn finish(mut self) -> Restored {
        // Without their group there is no telling what they mean.
        for ((rule, key), parts) in self.parts {
            self.restored.reject(&rule, &key, RowError::Field("key"));
            let turns = parts.iter().map(|part| part.turn).collect();
            self.table.forget_parts(&rule, &key, turns);
        }
        self.restored
    }
}
