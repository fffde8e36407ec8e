//! State that outlives a rule set: a restart reads rows, a reload takes the keys over from memory.
//!
//! Both come to [`HoldTable::adopt`]: a key of a rule that is still the same goes on, one of a changed
//! rule ends with `rule_changed`, one of a rule that is gone ends with `rule_removed`.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Cleared;
use crate::engine::EpisodeEvent;
use crate::engine::Leap;
use crate::engine::RuleIndex;
use crate::engine::hold::encoding;
use crate::engine::hold::encoding::EventRow;
use crate::engine::hold::encoding::RowError;
use crate::engine::hold::event::EventSide;
use crate::engine::hold::hold_table::HoldTable;
use crate::engine::hold::hold_table::Key;
use crate::engine::hold::hold_table::Orphan;
use crate::engine::hold::hold_table::Rule;
use crate::engine::hold::hold_table::Transitions;
use crate::engine::hold::hold_table::WatchedRule;
use crate::engine::hold::state::Phase;
use crate::engine::hold::state::State;
use crate::engine::key_index::sort_by_turn;
use crate::engine::restoration::Ledger;
use crate::engine::restoration::Outage;
use crate::engine::restoration::Remembers;
#[cfg(test)]
use crate::engine::restoration::Restoring;
use crate::engine::restoration::SavedRow;
use crate::engine::rows::KeyChange;
use crate::engine::rows::Restored;
#[cfg(test)]
use crate::engine::rows::WaitingRow;
#[cfg(test)]
use crate::engine::rows::for_each_key;
use crate::engine::timer::Alarm;
use crate::engine::timer::TimerQueue;

/// Rows that are removed one by one rather than with all others of their rule.
const EMPTIED_MIN: usize = 1_000;

/// Why a key ends when rules change, and from which rule it comes.
struct Heritage<'a> {
    rule: &'a str,
    fingerprint: u64,
    /// When the new rule set took over.
    at: Timestamp,
    /// No timer of the key runs before this.
    floor: Timestamp,
}

impl HoldTable {
    /// Takes over what an earlier process left: rows of (rule name, key, state), the messages that
    /// waited in event time, the last instant at which that process is known to have lived, and the
    /// time now. Clocks go on as each rule's ON RESTART says. Timers that are due run in the next
    /// [`HoldTable::advance`].
    #[cfg(test)]
    pub(super) fn restore<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
        waiting: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
        out: &mut Transitions,
    ) -> Restored {
        let mut restoring = Restoring::new(self, alive_until, now);
        for_each_key(rows, waiting, |stored| restoring.key(stored, out));
        restoring.finish()
    }

    /// Goes over to another rule set. Call [`HoldTable::advance`] to `now` before it. Keys of rules
    /// with the same name and fingerprint are kept (new durations apply at once); other firing keys
    /// end in `out`.
    pub fn rebuild<'a>(
        &mut self,
        rules: impl IntoIterator<Item = WatchedRule<'a>>,
        now: Timestamp,
        out: &mut Transitions,
    ) {
        let rules: Vec<WatchedRule<'_>> = rules.into_iter().collect();
        let now = now.max(self.now);
        self.now = now;
        let old = self.rules.take();
        self.timers = TimerQueue::default();
        self.changed.clear();
        self.install(rules.iter().copied());
        let places = self.places();
        for rule in &old {
            if let Some(new) = self.rule_mut(places.get(&*rule.name).copied()) {
                new.counts.unknown = rule.counts.unknown;
                new.counts.refused = rule.counts.refused;
                new.counts.missed = rule.counts.missed;
                new.counts.event.late = rule.counts.event.late;
                new.counts.event.early = rule.counts.event.early;
            }
        }
        let mut keys = std::mem::take(&mut self.keys);
        let numbers = old.iter().enumerate();
        let numbers =
            numbers.flat_map(|(place, rule)| rule.keys.numbers().map(move |key| (place, key)));
        let mut numbers: Vec<(usize, u32)> = numbers.collect();
        sort_by_turn(&mut numbers, &keys, |(_, number)| *number);
        for (place, number) in numbers {
            let Some(mut key) = keys.remove(number) else { continue };
            let rule = &old[place];
            let heir = places.get(&*rule.name).copied();
            // What it has left out since its row was written, it has left out as the old rule said.
            let is_heir_other =
                |heir: &Rule| heir.terms.counts_downtime() != rule.terms.counts_downtime();
            key.changed |= self.rule_mut(heir).is_some_and(|heir| is_heir_other(heir));
            let heritage =
                Heritage { rule: &rule.name, fingerprint: rule.fingerprint, at: now, floor: now };
            key.alarm = Alarm::default();
            self.adopt(key, heir, &heritage, out);
        }
        self.list_rows(rules, now, out);
    }

    /// Follows a step of the clock: every key's clock leaves it out. Call [`HoldTable::advance`] to
    /// where it leaps from before it. Observations from before the step count as of its end.
    pub fn leap(&mut self, leap: Leap) {
        self.now = self.now.max(leap.to);
        self.timers = TimerQueue::default();
        let Self { rules, keys, timers, changed, now, ledger, .. } = self;
        let mut numbers: Vec<u32> = rules.iter().flat_map(|rule| rule.keys.numbers()).collect();
        if !numbers.is_empty() {
            ledger.leap(leap);
        }
        sort_by_turn(&mut numbers, keys, |number| *number);
        for number in numbers {
            let Some(key) = keys.get_mut(number) else { continue };
            let Some(rule) = rules.get_mut(key.rule) else { continue };
            let mut desk = rule.desk(number, timers, changed, *now);
            key.alarm = Alarm::default();
            key.leap(desk.terms, leap.millis());
            key.settle(&mut desk, *now);
        }
    }

    fn rule_mut(&mut self, index: Option<RuleIndex>) -> Option<&mut Rule> {
        self.rules.get_mut(index?)
    }

    /// Nothing is left of a key but its row.
    fn start_over(&mut self, rule: RuleIndex, text: CompactString) {
        match self.started_over.last_mut().filter(|(of, _)| *of == rule) {
            Some((_, keys)) => keys.push(text),
            None => self.started_over.push((rule, vec![text])),
        }
    }

    /// Gives a key to the rule at `index`, or ends it. Answers whether it lives on.
    fn adopt(
        &mut self,
        mut key: Key,
        index: Option<RuleIndex>,
        from: &Heritage<'_>,
        out: &mut Transitions,
    ) -> bool {
        let fired_at = match key.state.phase {
            Phase::Firing { fired_at, .. } => Some(fired_at),
            Phase::Inactive | Phase::Counting | Phase::Pending { .. } => None,
        };
        let Some(rule) = index.and_then(|index| self.rules.get_mut(index)) else {
            if let Some(fired_at) = fired_at {
                out.orphans.push(Orphan {
                    rule: Arc::from(from.rule),
                    at: from.at,
                    facts: key.facts(fired_at),
                    publish: key.last_true(),
                });
            }
            key.give_up_event_time();
            let waiting =
                key.event.as_mut().map(|side| side.queue.take_changes(Some(&mut self.buffer)));
            let waiting = waiting.unwrap_or_default();
            if key.stored {
                let (rule, key) = (Arc::from(from.rule), key.text);
                self.orphaned.push(KeyChange { rule, key, state: None, waiting });
            }
            return false;
        };
        if rule.fingerprint != from.fingerprint && key.lives() {
            if let Some(fired_at) = fired_at {
                let event = EpisodeEvent::Cleared(Cleared::RuleChanged);
                out.episodes.push(key.episode(rule.index, event, fired_at, from.at, from.at));
            }
            key.state = State::inactive();
            key.give_up_event_time();
            key.changed = true;
        }
        // An inactive key stays until its row is taken off the disk.
        let lives = key.lives();
        key.rule = rule.index;
        let is_changed = std::mem::take(&mut key.changed);
        let Some(number) = self.put(key) else { return false };
        let rule = index.and_then(|index| self.rules.get_mut(index));
        let (Some(rule), Some(key)) = (rule, self.keys.get_mut(number)) else { return false };
        let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, self.now);
        if is_changed {
            desk.mark(key);
        }
        desk.counts.moved(Phase::Inactive, key.state.phase);
        desk.counts.kept(0, key.kept_bytes());
        if let Some(side) = &key.event {
            side.queue.count(&mut desk.counts.event);
        }
        key.settle(&mut desk, from.floor);
        lives
    }
}

impl Remembers for HoldTable {
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
        self.tell_time(now);
    }

    fn settle(&mut self, restored: &Restored) {
        for (rule, started_over) in std::mem::take(&mut self.started_over) {
            let Some(rule) = self.rules.get(rule) else { continue };
            // What cannot be read is left alone.
            if restored.rejected == 0 && started_over.len() > EMPTIED_MIN.max(rule.keys.len()) {
                self.emptied.push(Arc::clone(&rule.name));
                for number in rule.keys.numbers() {
                    let Some(key) = self.keys.get_mut(number) else { continue };
                    if !std::mem::replace(&mut key.changed, true) {
                        self.changed.push(number);
                    }
                }
                continue;
            }
            let removed = started_over.into_iter().map(|key| {
                let (rule, waiting) = (Arc::clone(&rule.name), Vec::new());
                KeyChange { rule, key, state: None, waiting }
            });
            self.orphaned.extend(removed);
        }
    }

    fn take_over(
        &mut self,
        saved: SavedRow<'_>,
        outage: &mut Outage,
        out: &mut Transitions,
    ) -> Result<bool, RowError> {
        let row = encoding::decode(saved.state)?;
        let SavedRow { rule: name, key: text, beside: messages, index, .. } = saved;
        let mut key = Key::new(index.unwrap_or(RuleIndex(0)), CompactString::from(text));
        key.state = row.state;
        key.message = row.message;
        key.stored = true;
        key.listed = row.listed;
        if let Some(EventRow { watermark, judged }) = row.event {
            let mut side = EventSide::new(watermark, judged);
            for message in messages {
                outage.put_back(&mut side.queue, message, encoding::decode_waiting);
            }
            key.event = Some(Box::new(side));
        }
        let now = outage.now;
        let mut floor = now;
        let same = self.rule_mut(index).filter(|rule| rule.fingerprint == row.fingerprint);
        if let Some(rule) = same {
            let millis = outage.left_out_since(row.left_out, rule.terms.counts_downtime());
            let is_reset = key.resume(&rule.terms, rule.lateness, millis, now);
            if is_reset && !key.lives() && messages.is_empty() {
                let index = rule.index;
                self.start_over(index, key.text);
                return Ok(false);
            }
            // Marked as changed once it has its place.
            key.changed = is_reset || outage.is_ledger_lost();
            if rule.terms.counts_downtime() {
                floor = outage.alive_until.min(now);
            }
        }
        let heritage = Heritage { rule: name, fingerprint: row.fingerprint, at: now, floor };
        Ok(self.adopt(key, index, &heritage, out))
    }
}
