//! What is remembered outlives a rule set: a restart reads rows, a reload takes the keys over from
//! memory. Keys of a rule that still remembers the same go on; the others are forgotten.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Leap;
use crate::engine::RuleIndex;
use crate::engine::event_time::shifted;
use crate::engine::history::encoding;
use crate::engine::history::encoding::Row;
use crate::engine::history::history_table::HistoryTable;
use crate::engine::history::history_table::Key;
use crate::engine::history::history_table::RememberingRule;
use crate::engine::history::history_table::Rule;
use crate::engine::history::values::Questions;
use crate::engine::history::values::Series;
use crate::engine::history::values::Values;
use crate::engine::hold::RowError;
use crate::engine::restoration::Ledger;
use crate::engine::restoration::Outage;
use crate::engine::restoration::Remembers;
use crate::engine::restoration::Restoring;
use crate::engine::restoration::SavedRow;
use crate::engine::rows::KeyChange;
use crate::engine::rows::Restored;
use crate::engine::rows::WaitingRow;
use crate::engine::rows::for_each_key;
use crate::engine::timer::Alarm;
use crate::engine::timer::TimerQueue;
use crate::engine::waiting::Queue;
use crate::limits::KEY_AGE_LOOKS;

impl HistoryTable {
    /// Takes over what an earlier process left, key by key; the row without a rule comes first.
    pub(crate) fn restoring(
        &mut self,
        alive_until: Timestamp,
        now: Timestamp,
    ) -> Restoring<'_, HistoryTable> {
        Restoring::new(self, alive_until, now)
    }

    /// The same of rows in memory: those of keys, and the messages that waited.
    pub fn restore<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
        waiting: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
    ) -> Restored {
        let mut restoring = self.restoring(alive_until, now);
        for_each_key(rows, waiting, |stored| restoring.key(stored, &mut ()));
        restoring.finish()
    }

    /// Goes over to another rule set. Call [`HistoryTable::release`] before it. Rules of the same name
    /// and fingerprint keep their keys.
    pub fn rebuild<'a>(
        &mut self,
        rules: impl IntoIterator<Item = RememberingRule<'a>>,
        now: Timestamp,
    ) {
        self.now = self.now.max(now);
        let old = self.rules.take();
        self.timers = TimerQueue::default();
        self.changed.clear();
        self.install(rules);
        for before in old {
            let mut heir = self.rules.iter_mut().find(|rule| rule.name == before.name);
            if let Some(rule) = &mut heir {
                rule.counts.forgotten = before.counts.forgotten;
            }
            match heir.filter(|rule| rule.fingerprint == before.fingerprint) {
                Some(rule) => {
                    rule.counts = before.counts;
                    rule.keys = before.keys;
                    for number in rule.keys.numbers_by_turn(&self.keys) {
                        let Some(key) = self.keys.get_mut(number) else { continue };
                        key.rule = rule.index;
                        key.alarm = Alarm::default();
                        let mut desk =
                            rule.desk(number, &mut self.timers, &mut self.changed, self.now);
                        if mem::take(&mut key.changed) {
                            desk.mark(key);
                        }
                        key.settle(&mut desk);
                    }
                }
                None => self.forget(before),
            }
        }
    }

    /// Follows a step of the clock, which the idle advance of watermarks leaves out. Call
    /// [`HistoryTable::advance`] to where it leaps from before it.
    pub fn leap(&mut self, leap: Leap) {
        self.now = self.now.max(leap.to);
        self.timers = TimerQueue::default();
        let Self { rules, keys, timers, changed, now, ledger, .. } = self;
        if rules.iter().any(|rule| rule.keys.len() > 0) {
            ledger.leap(leap);
        }
        for rule in rules.iter_mut() {
            for number in rule.keys.numbers_by_turn(keys) {
                let Some(key) = keys.get_mut(number) else { continue };
                let mut desk = rule.desk(number, timers, changed, *now);
                key.alarm = Alarm::default();
                // The step is no silence.
                key.heard = key.heard + leap.to.since(leap.from);
                key.leave_out(leap.millis());
                key.settle(&mut desk);
            }
        }
    }

    /// The keys of a rule that is gone, or remembers something else.
    fn forget(&mut self, mut rule: Rule) {
        let numbers: Vec<u32> = rule.keys.numbers().collect();
        for number in numbers {
            let Some(mut key) = rule.keys.remove(number, &mut self.keys) else { continue };
            let waiting = key.event.as_mut().map(|queue| {
                queue.give_up();
                queue.take_changes(Some(&mut self.buffer))
            });
            let waiting = waiting.unwrap_or_default();
            if key.stored {
                let (rule, key) = (Arc::clone(&rule.name), key.text);
                self.orphaned.push(KeyChange { rule, key, state: None, waiting });
            }
        }
    }
}

impl Remembers for HistoryTable {
    type Out = ();

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
        (): &mut (),
    ) -> Result<bool, RowError> {
        let row = encoding::decode(saved.state)?;
        let messages = saved.beside;
        let same = saved.index.and_then(|index| self.rules.get_mut(index));
        let same = same.filter(|rule| rule.fingerprint == row.fingerprint);
        let kept = same.and_then(|rule| {
            let values = read(&rule.questions, &row)?;
            Some((rule, values))
        });
        let Some((rule, values)) = kept else {
            let turns = messages.iter().map(|message| message.turn);
            self.orphaned.push(KeyChange::removed(saved.rule, saved.key, turns));
            return Ok(false);
        };
        let mut key = Key::new(rule.index, CompactString::from(saved.key), values);
        key.stored = true;
        key.heard_on_disk = row.heard.unwrap_or(outage.now);
        // What the row does not know yet counts in the key's favour, and so does all downtime.
        let look = rule.bounds.age / KEY_AGE_LOOKS;
        let silent_from =
            shifted(key.heard_on_disk + look, outage.left_out_since(row.left_out, false));
        key.heard = silent_from.min(outage.now);
        if let Some(watermark) = row.watermark {
            let mut queue = Queue::new(watermark);
            for message in messages {
                outage.put_back(&mut queue, message, encoding::decode_waiting);
            }
            key.event = Some(Box::new(queue));
        }
        key.leave_out(outage.left_out_since(row.left_out, rule.counts_downtime));
        let number = rule.insert(key, &mut self.keys);
        let Some(key) = self.keys.get_mut(number) else { return Ok(true) };
        let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, self.now);
        if outage.is_ledger_lost() || key.event.as_ref().is_some_and(|queue| queue.has_old_rows()) {
            desk.mark(key);
        }
        desk.counts.bytes += key.values.bytes();
        if let Some(queue) = &key.event {
            queue.count(&mut desk.counts.event);
        }
        key.settle(&mut desk);
        Ok(true)
    }
}

/// The values of a row; `None` where they are not those that the rule remembers.
fn read(questions: &Questions, row: &Row) -> Option<Values> {
    let depths: Vec<usize> = questions.depths().collect();
    let fits = depths.len() == row.values.len();
    let series = row.values.iter().zip(&depths);
    let series = series.map(|(values, depth)| Series::of(values.iter().cloned(), *depth));
    fits.then(|| Values(series.collect()))
}
