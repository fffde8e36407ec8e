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
use crate::engine::hold::encoding::LeftOut;
use crate::engine::hold::encoding::RowError;
use crate::engine::hold::event::EventSide;
use crate::engine::hold::hold_table::HoldTable;
use crate::engine::hold::hold_table::Key;
use crate::engine::hold::hold_table::KeyChange;
use crate::engine::hold::hold_table::Orphan;
use crate::engine::hold::hold_table::Rule;
use crate::engine::hold::hold_table::Transitions;
use crate::engine::hold::hold_table::WaitingChange;
use crate::engine::hold::hold_table::WatchedRule;
use crate::engine::hold::hold_table::place;
use crate::engine::hold::state::Phase;
use crate::engine::hold::state::State;
use crate::engine::key_index::sort_by_turn;
use crate::engine::timer::Alarm;
use crate::engine::timer::TimerQueue;
use crate::engine::waiting::Queue;
use crate::engine::waiting::Waiting;
use crate::limits::HOLD_REJECTED_ROWS_SHOWN;

/// A stored row that was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    /// Rule name of the row.
    pub rule: String,
    /// Key of the row.
    pub key: String,
    /// What is wrong with it.
    pub error: RowError,
}

/// What [`HoldTable::restore`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Rows whose key is watched again.
    pub kept: usize,
    /// Rows that ended: reset by ON RESTART, rule changed or gone.
    pub ended: usize,
    /// Rows that could not be read. They stay on disk until their key is written again.
    pub rejected: usize,
    /// The first [`HOLD_REJECTED_ROWS_SHOWN`] of those.
    pub rejected_rows: Vec<RejectedRow>,
}

/// A stored message that waits for its turn in event time.
#[derive(Clone, Copy, Debug)]
pub struct WaitingRow<'a> {
    /// Rule name.
    pub rule: &'a str,
    /// Key.
    pub key: &'a str,
    /// As in [`super::WaitingChange`].
    pub turn: u64,
    /// Encoded message.
    pub message: &'a [u8],
}

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
    /// time now. Clocks go on as each rule's ON
    /// RESTART says. Timers that are due run in the next [`HoldTable::advance`].
    ///
    /// What clocks leave out is a changed row, one for all keys: the rows from [`HoldTable::take_changes`] must be
    /// on disk before, or together with, a newer `alive_until`; otherwise a second crash would count
    /// the first downtime. That row, the one without rule and key, must be the first of `rows`.
    ///
    /// An `alive_until` after `now` (the wall clock went back) moves clocks back by the difference.
    pub fn restore<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
        waiting: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
        out: &mut Transitions,
    ) -> Restored {
        let mut restoring = self.restoring(waiting, alive_until, now);
        for (rule, key, state) in rows {
            restoring.row(rule, key, state, out);
        }
        restoring.finish()
    }

    /// As [`HoldTable::restore`], row by row: those of a million keys need not be in memory at once.
    pub fn restoring<'a>(
        &mut self,
        waiting: impl IntoIterator<Item = WaitingRow<'a>>,
        alive_until: Timestamp,
        now: Timestamp,
    ) -> Restoring<'_, 'a> {
        self.now = self.now.max(alive_until.min(now));
        self.tell_time(now);
        let outage = now.as_millis().saturating_sub(alive_until.as_millis());
        // The wall clock went back: nobody's clock does.
        let more = match outage {
            0.. => LeftOut { outages: outage, steps: 0 },
            _ => LeftOut { outages: 0, steps: outage },
        };
        Restoring {
            places: self.places(),
            table: self,
            waiting: by_key(waiting),
            more,
            is_damaged: false,
            alive_until,
            now,
            restored: Restored::default(),
        }
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
        let old: Vec<Rule> = self.rules.drain(..).flatten().collect();
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
        self.leave_out(LeftOut { outages: 0, steps: leap.millis() });
        let Self { rules, keys, timers, changed, now, .. } = self;
        let all = rules.iter().flatten().flat_map(|rule| rule.keys.numbers());
        let mut numbers: Vec<u32> = all.collect();
        sort_by_turn(&mut numbers, keys, |number| *number);
        for number in numbers {
            let Some(key) = keys.get_mut(number) else { continue };
            let Some(rule) = rules.get_mut(place(key.rule)).and_then(Option::as_mut) else {
                continue;
            };
            let mut desk = rule.desk(number, timers, changed, *now);
            key.alarm = Alarm::default();
            key.leap(desk.terms, leap.millis());
            key.settle(&mut desk, *now);
        }
    }

    /// Notes what the clocks of all keys leave out.
    fn leave_out(&mut self, more: LeftOut) {
        self.left_out.outages = self.left_out.outages.saturating_add(more.outages);
        self.left_out.steps = self.left_out.steps.saturating_add(more.steps);
        self.is_left_out_new |= more != LeftOut::default();
    }

    fn places(&self) -> HashMap<Arc<str>, RuleIndex> {
        self.rules.iter().flatten().map(|rule| (Arc::clone(&rule.name), rule.index)).collect()
    }

    fn rule_mut(&mut self, index: Option<RuleIndex>) -> Option<&mut Rule> {
        self.rules.get_mut(place(index?))?.as_mut()
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
        let place = index.map(place);
        let Some(rule) = place.and_then(|place| self.rules.get_mut(place)?.as_mut()) else {
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
        let rule = place.and_then(|place| self.rules.get_mut(place)?.as_mut());
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

/// A table that takes over what an earlier process left; see [`HoldTable::restore`].
#[derive(Debug)]
pub struct Restoring<'t, 'a> {
    table: &'t mut HoldTable,
    places: HashMap<Arc<str>, RuleIndex>,
    waiting: WaitingRows<'a>,
    /// What this restart leaves out.
    more: LeftOut,
    /// Whether the row that says what was left out before could not be read.
    is_damaged: bool,
    alive_until: Timestamp,
    now: Timestamp,
    restored: Restored,
}

impl Restoring<'_, '_> {
    /// Takes a row.
    pub fn row(&mut self, rule: &str, key: &str, state: &[u8], out: &mut Transitions) {
        if rule.is_empty() {
            match encoding::decode_left_out(state) {
                Ok(left_out) => self.table.left_out = left_out,
                Err(error) => {
                    self.is_damaged = true;
                    self.restored.reject(rule, key, error);
                }
            }
            return;
        }
        let row = match encoding::decode(state) {
            Ok(row) => row,
            Err(error) => return self.restored.reject(rule, key, error),
        };
        let (alive_until, now) = (self.alive_until, self.now);
        let messages = match self.waiting.is_empty() {
            true => Vec::new(),
            false => self.waiting.remove(&(rule.into(), key.into())).unwrap_or_default(),
        };
        let index = self.places.get(rule).copied();
        let mut key = Key::new(index.unwrap_or(RuleIndex(0)), CompactString::from(key));
        key.state = row.state;
        key.message = row.message;
        key.stored = true;
        key.listed = row.listed;
        if let Some(EventRow { watermark, judged }) = row.event {
            let mut side = EventSide::new(watermark, judged);
            for message in messages {
                self.restored.put_back(&mut side.queue, &message, encoding::decode_waiting);
            }
            key.event = Some(Box::new(side));
        }
        let mut floor = now;
        // Where it is not known what has been left out since, each row speaks for itself, and is written anew.
        let is_damaged = self.is_damaged;
        let before = if is_damaged { row.left_out } else { self.table.left_out };
        let more = self.more;
        let same = self.table.rule_mut(index).filter(|rule| rule.fingerprint == row.fingerprint);
        if let Some(rule) = same {
            let counts = rule.terms.counts_downtime();
            let millis = before.since(row.left_out, counts);
            let millis = millis.saturating_add(more.since(LeftOut::default(), counts));
            // Marked as changed once it has its place.
            key.changed = key.resume(&rule.terms, rule.lateness, millis, now) || is_damaged;
            if rule.terms.counts_downtime() {
                floor = alive_until.min(now);
            }
        }
        let heritage = Heritage { rule, fingerprint: row.fingerprint, at: now, floor };
        if self.table.adopt(key, index, &heritage, out) {
            self.restored.kept += 1;
        } else {
            self.restored.ended += 1;
        }
    }

    /// There are no more rows.
    pub fn finish(mut self) -> Restored {
        if self.restored.kept > 0 {
            self.table.leave_out(self.more);
        }
        // Their keys could not be read: without a watermark there is no telling what they mean.
        for ((rule, key), messages) in self.waiting {
            self.restored.reject(&rule, &key, RowError::Field("key"));
            let gone =
                |message: WaitingRow<'_>| WaitingChange { turn: message.turn, message: None };
            self.table.orphaned.push(KeyChange {
                rule: Arc::from(&*rule),
                key,
                state: None,
                waiting: messages.into_iter().map(gone).collect(),
            });
        }
        self.restored
    }
}

/// The waiting messages of each rule and key.
pub(in crate::engine) type WaitingRows<'a> =
    HashMap<(CompactString, CompactString), Vec<WaitingRow<'a>>>;

pub(in crate::engine) fn by_key<'a>(
    rows: impl IntoIterator<Item = WaitingRow<'a>>,
) -> WaitingRows<'a> {
    let mut by_key = WaitingRows::new();
    for row in rows {
        by_key.entry((row.rule.into(), row.key.into())).or_default().push(row);
    }
    by_key
}

impl Restored {
    /// Puts a stored message back into the queue of its key.
    pub(in crate::engine) fn put_back<T: Waiting>(
        &mut self,
        queue: &mut Queue<T>,
        row: &WaitingRow<'_>,
        decode: impl FnOnce(&[u8]) -> Result<(Timestamp, T), RowError>,
    ) {
        if let Err(error) = queue.put_back(row.turn, decode(row.message)) {
            self.reject(row.rule, row.key, error);
        }
    }

    /// Adds what another table found.
    pub(in crate::engine) fn add(&mut self, mut other: Restored) {
        self.kept += other.kept;
        self.ended += other.ended;
        self.rejected += other.rejected;
        self.rejected_rows.append(&mut other.rejected_rows);
        self.rejected_rows.truncate(HOLD_REJECTED_ROWS_SHOWN);
    }

    pub(in crate::engine) fn reject(&mut self, rule: &str, key: &str, error: RowError) {
        self.rejected += 1;
        if self.rejected_rows.len() < HOLD_REJECTED_ROWS_SHOWN {
            let (rule, key) = (rule.to_owned(), key.to_owned());
            self.rejected_rows.push(RejectedRow { rule, key, error });
        }
    }
}
