//! What is remembered outlives a rule set: a restart reads rows, a reload takes the keys over from
//! memory. Keys of a rule that still remembers the same go on; the others are forgotten.

use std::mem;
use std::sync::Arc;

use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Leap;
use crate::engine::history::encoding;
use crate::engine::history::encoding::Row;
use crate::engine::history::history_table::HistoryTable;
use crate::engine::history::history_table::Key;
use crate::engine::history::history_table::RememberingRule;
use crate::engine::history::history_table::Rule;
use crate::engine::history::values::Questions;
use crate::engine::history::values::Series;
use crate::engine::history::values::Values;
use crate::engine::hold::KeyChange;
use crate::engine::hold::Restored;
use crate::engine::hold::RowError;
use crate::engine::hold::WaitingChange;
use crate::engine::hold::WaitingRow;
use crate::engine::hold::restore::by_key;
use crate::engine::timer::Alarm;
use crate::engine::timer::TimerQueue;
use crate::engine::waiting::Queue;
use crate::limits::KEY_AGE_LOOKS;

impl HistoryTable {
    /// Takes over what an earlier process left, as [`HoldTable::restore`] does.
    ///
    /// [`HoldTable::restore`]: crate::engine::hold::HoldTable::restore
    pub fn restore<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
        waiting: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
    ) -> Restored {
        self.now = self.now.max(alive_until.min(now));
        let mut restored = Restored::default();
        let mut waiting = by_key(waiting);
        for (name, text, state) in rows {
            let row = match encoding::decode(state) {
                Ok(row) => row,
                Err(error) => {
                    restored.reject(name, text, error);
                    continue;
                }
            };
            let messages = waiting.remove(&(name.into(), text.into())).unwrap_or_default();
            let same = self
                .rules
                .iter_mut()
                .flatten()
                .find(|rule| *rule.name == *name && rule.fingerprint == row.fingerprint);
            let kept = same.and_then(|rule| {
                let values = read(&rule.questions, &row)?;
                Some((rule, values))
            });
            let Some((rule, values)) = kept else {
                restored.ended += 1;
                self.orphan(name, text, &messages);
                continue;
            };
            let mut key = Key::new(rule.index, CompactString::from(text), values);
            key.stored = true;
            key.heard_on_disk = row.heard.unwrap_or(now);
            // What the row does not know yet counts in the key's favour, and so does the outage.
            let look = rule.bounds.age / KEY_AGE_LOOKS;
            let outage = now.since(alive_until);
            key.heard = ((key.heard_on_disk + look).min(alive_until) + outage).min(now);
            if let Some(watermark) = row.watermark {
                let mut queue = Queue::new(watermark);
                for message in messages {
                    restored.put_back(&mut queue, &message, encoding::decode_waiting);
                }
                key.event = Some(Box::new(queue));
            }
            let is_moved = key.resume(rule.counts_downtime, alive_until, now);
            let number = rule.insert(key, &mut self.keys);
            let Some(key) = self.keys.get_mut(number) else { continue };
            let mut desk = rule.desk(number, &mut self.timers, &mut self.changed, self.now);
            let is_changed =
                is_moved || key.event.as_ref().is_some_and(|queue| queue.has_old_rows());
            if is_changed {
                desk.mark(key);
            }
            desk.counts.bytes += key.values.bytes();
            if let Some(queue) = &key.event {
                queue.count(&mut desk.counts.event);
            }
            key.settle(&mut desk);
            restored.kept += 1;
        }
        // Their keys could not be read: without a watermark there is no telling what they mean.
        for ((name, text), messages) in waiting {
            restored.reject(&name, &text, RowError::Field("key"));
            self.orphan(&name, &text, &messages);
        }
        restored
    }

    /// Takes rows of a key off the disk.
    fn orphan(&mut self, rule: &str, key: &str, messages: &[WaitingRow<'_>]) {
        let gone = |message: &WaitingRow<'_>| WaitingChange { turn: message.turn, message: None };
        self.orphaned.push(KeyChange {
            rule: Arc::from(rule),
            key: CompactString::from(key),
            state: None,
            waiting: messages.iter().map(gone).collect(),
        });
    }

    /// Goes over to another rule set. Call [`HistoryTable::release`] before it. Rules of the same name
    /// and fingerprint keep their keys.
    pub fn rebuild<'a>(
        &mut self,
        rules: impl IntoIterator<Item = RememberingRule<'a>>,
        now: Timestamp,
    ) {
        self.now = self.now.max(now);
        let old: Vec<Rule> = self.rules.drain(..).flatten().collect();
        self.timers = TimerQueue::default();
        self.changed.clear();
        self.install(rules);
        for before in old {
            let mut heir = self.rules.iter_mut().flatten().find(|rule| rule.name == before.name);
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
        let Self { rules, keys, timers, changed, now, .. } = self;
        for rule in rules.iter_mut().flatten() {
            for number in rule.keys.numbers_by_turn(keys) {
                let Some(key) = keys.get_mut(number) else { continue };
                let mut desk = rule.desk(number, timers, changed, *now);
                key.alarm = Alarm::default();
                // The step is no silence.
                key.heard = key.heard + leap.to.since(leap.from);
                if key.resume(false, leap.from, leap.to) {
                    desk.mark(key);
                }
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

/// The values of a row; `None` where they are not those that the rule remembers.
fn read(questions: &Questions, row: &Row) -> Option<Values> {
    let depths: Vec<usize> = questions.depths().collect();
    let fits = depths.len() == row.values.len();
    let series = row.values.iter().zip(&depths);
    let series = series.map(|(values, depth)| Series::of(values.iter().cloned(), *depth));
    fits.then(|| Values(series.collect()))
}
