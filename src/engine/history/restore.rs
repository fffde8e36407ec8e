//! What is remembered outlives a rule set: a restart reads rows, a reload takes the keys over from
//! memory. Keys of a rule that still remembers the same go on; the others are forgotten.

use std::mem;
use std::sync::Arc;

use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Leap;
use crate::engine::event_time::Position;
use crate::engine::history::encoding;
use crate::engine::history::encoding::Row;
use crate::engine::history::event::EventSide;
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
            let Self { rules, timers, changed, .. } = self;
            let same = rules
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
            let mut key = Box::new(Key::new(Arc::from(text), values));
            key.stored = true;
            if let Some(watermark) = row.watermark {
                let mut side = EventSide::new(watermark);
                for message in messages {
                    put_back(&mut restored, &mut side, &message);
                }
                key.event = Some(Box::new(side));
            }
            let is_moved = key.resume(rule.counts_downtime, alive_until, now);
            let (mut desk, keys) = rule.desk(timers, changed, self.now);
            let is_changed = is_moved || key.event.as_ref().is_some_and(|s| !s.unstored.is_empty());
            if is_changed {
                desk.mark(&mut key);
            }
            desk.counts.keys += 1;
            desk.counts.bytes += key.values.bytes();
            if let Some(side) = &key.event {
                desk.counts.waiting += side.waiting.len();
                desk.counts.waiting_bytes += side.waiting.bytes();
            }
            key.settle(&mut desk);
            keys.insert(Arc::clone(&key.text), key);
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
        for mut before in old {
            let Self { rules, timers, changed, .. } = self;
            let heir = rules.iter_mut().flatten().find(|rule| rule.name == before.name);
            match heir {
                Some(rule) if rule.fingerprint == before.fingerprint => {
                    rule.counts = before.counts;
                    let (mut desk, keys) = rule.desk(timers, changed, self.now);
                    *keys = mem::take(&mut before.keys);
                    for key in keys.values_mut() {
                        key.alarm = Alarm::default();
                        if mem::take(&mut key.changed) {
                            desk.mark(key);
                        }
                        key.settle(&mut desk);
                    }
                }
                _ => self.forget(before),
            }
        }
    }

    /// Follows a step of the clock, which the idle advance of watermarks leaves out. Call
    /// [`HistoryTable::advance`] to where it leaps from before it.
    pub fn leap(&mut self, leap: Leap) {
        self.now = self.now.max(leap.to);
        self.timers = TimerQueue::default();
        let Self { rules, timers, changed, now, .. } = self;
        for rule in rules.iter_mut().flatten() {
            let (mut desk, keys) = rule.desk(timers, changed, *now);
            for key in keys.values_mut() {
                key.alarm = Alarm::default();
                if key.resume(false, leap.from, leap.to) {
                    desk.mark(key);
                }
                key.settle(&mut desk);
            }
        }
    }

    /// The keys of a rule that is gone, or remembers something else.
    fn forget(&mut self, rule: Rule) {
        for (text, mut key) in rule.keys {
            key.give_up_waiting();
            let waiting = key.take_waiting_changes(Some(&mut self.buffer));
            if key.stored {
                let (rule, key) = (Arc::clone(&rule.name), CompactString::from(&*text));
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

fn put_back(restored: &mut Restored, side: &mut EventSide, row: &WaitingRow<'_>) {
    match encoding::decode_waiting(row.message) {
        Ok((event, message)) => {
            let bytes = message.bytes();
            side.waiting.put_back(Position { event, turn: row.turn }, message, bytes);
        }
        Err(error) => {
            side.unstored.push(row.turn);
            restored.reject(row.rule, row.key, error);
        }
    }
}
