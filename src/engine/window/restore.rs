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
use crate::engine::hold::RowError;
use crate::engine::hold::Transitions;
use crate::engine::restoration::Ledger;
use crate::engine::restoration::Outage;
use crate::engine::restoration::Remembers;
use crate::engine::restoration::SavedRow;
use crate::engine::rows::KeyChange;
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
    /// Goes over to another rule set. Call [`WindowTable::advance`] to `now` before it.
    pub fn rebuild<'a>(
        &mut self,
        rules: impl IntoIterator<Item = WindowedRule<'a>>,
        now: Timestamp,
        out: &mut Transitions,
    ) {
        let now = now.max(self.now);
        self.now = now;
        let old = self.rules.take();
        self.alarms.clear();
        self.changed.clear();
        self.install(rules);
        let places = self.places();
        for rule in old {
            let known = places.get(&*rule.name).copied();
            if let Some(new) = known.and_then(|index| self.rules.get_mut(index)) {
                let before = rule.counts;
                new.counts.closed = before.closed;
                new.counts.forgotten = before.forgotten;
                new.counts.late = before.late;
                new.counts.refused = before.refused;
                new.counts.discarded = before.discarded;
            }
            let same = known.and_then(|index| self.rules.get_mut(index));
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
        let Self { rules, alarms, now, ledger, .. } = self;
        if rules.iter().any(|rule| !rule.groups.is_empty()) {
            ledger.leap(leap);
        }
        for rule in rules.iter_mut() {
            let Rule { index, spec, lateness, groups, counts, .. } = rule;
            for group in groups.values_mut() {
                group.alarm = None;
                group.leave_out(leap.millis());
                let desk = Desk { rule: *index, spec, lateness: *lateness, now: *now, counts };
                arm(alarms, group, &desk, *now);
            }
        }
    }

    fn adopt(&mut self, index: RuleIndex, mut group: Box<Group>, floor: Timestamp, changed: bool) {
        let now = self.now;
        let Some(rule) = self.rules.get_mut(index) else { return };
        let Rule { spec, lateness, groups, counts, .. } = rule;
        let desk = Desk { rule: index, spec, lateness: *lateness, now, counts };
        group.count(desk.counts);
        arm(&mut self.alarms, &mut group, &desk, floor);
        if changed || !group.lives() {
            mark(&mut self.changed, &mut group, index);
        }
        groups.insert(Arc::clone(&group.text), group);
    }

    pub(super) fn tell_discarded(
        &mut self,
        rule: Option<RuleIndex>,
        key: &str,
        parts: usize,
        why: &str,
        out: &mut Transitions,
    ) {
        let Some(of) = rule.and_then(|rule| self.rules.get_mut(rule)).filter(|_| parts > 0) else {
            return;
        };
        of.counts.discarded += parts as u64;
        let message = format!("{why}; what group {key} had gathered is discarded");
        let (rule, code) = (of.index, FaultCode::WindowDiscarded);
        out.faults.push(Fault { rule, code, message });
    }
}

/// Windows that ended while nothing ran close in the next [`WindowTable::advance`]; in event time the
/// downtime is left out of the idle advance of the watermark. By receive time nothing can have come after
/// `now`: what is of a later time, because the clock was ahead, is taken as of `now`.
impl Remembers for WindowTable {
    type Out = Transitions;

    fn places(&self) -> HashMap<Arc<str>, RuleIndex> {
        self.rules.places(|rule| (&rule.name, rule.index))
    }

    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn orphaned(&mut self) -> &mut Vec<KeyChange> {
        &mut self.orphaned
    }

    fn wake(&mut self, alive_until: Timestamp, now: Timestamp) {
        self.now = self.now.max(alive_until.min(now));
    }

    fn take_over(
        &mut self,
        saved: SavedRow<'_>,
        outage: &mut Outage,
        out: &mut Transitions,
    ) -> Result<bool, RowError> {
        let row = encoding::decode_group(saved.state, &mut outage.topic)?;
        let SavedRow { rule, key, beside: parts, index: known, .. } = saved;
        let same = known.and_then(|index| self.rules.get_mut(index));
        let Some(of) = same.filter(|of| of.fingerprint == row.fingerprint) else {
            self.tell_discarded(known, key, parts.len(), RULE_CHANGED, out);
            let turns = parts.iter().map(|part| part.turn);
            self.orphaned.push(KeyChange::removed(rule, key, turns));
            return Ok(false);
        };
        let mut group = Group::new(Arc::from(key), row.topic);
        (group.closed, group.turns) = (row.closed, row.turns);
        group.is_stored = true;
        let (mut lost, mut read) = (Vec::new(), Vec::new());
        for part in parts {
            match encoding::decode_part(part.message, part.turn, &of.spec) {
                Ok(part) => read.push(part),
                Err(error) => {
                    outage.restored.reject(rule, key, error);
                    lost.push(part.turn);
                }
            }
        }
        // A window that slides takes its messages in their order.
        read.sort_by_key(encoding::Part::position);
        read.into_iter().for_each(|part| group.put_back(part, &of.spec));
        let mut has_changed = !lost.is_empty();
        group.lose(lost);
        if let Some((watermark, knew)) = row.watermark {
            group.watermark = Some(watermark);
            group.leave_out(outage.left_out_since(knew, false));
            has_changed |= outage.is_ledger_lost();
        } else {
            has_changed |= group.set_back(outage.now, &of.spec);
        }
        let index = of.index;
        self.adopt(index, Box::new(group), outage.now, has_changed);
        Ok(true)
    }
}
