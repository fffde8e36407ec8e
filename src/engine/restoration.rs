//! Taking over what an earlier process left on disk: the same for all tables of keys.
//!
//! A table [`Remembers`]: it reads one row at a time, and says whether its key goes on. [`Restoring`] brings
//! the rows, and what each table would do alike: rows beside those of keys, counts, and the time in which
//! nothing ran. Clocks leave that time out. How much they have left out, all in all, is one row ([`Ledger`]), and
//! each row of a key says how much of it the key knew of when it was written. So a restart writes one row, and
//! not those of a million keys.
//!
//! The ledger's row and the newest sign of life must reach the disk together, or the row first; otherwise
//! a second crash would count the first downtime.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::engine::Leap;
use crate::engine::RuleIndex;
use crate::engine::hold::RowError;
use crate::engine::hold::encoding;
use crate::engine::rows::KeyChange;
use crate::engine::rows::Restored;
use crate::engine::rows::StoredKey;
use crate::engine::rows::WaitingRow;
use crate::engine::waiting::Queue;
use crate::engine::waiting::Waiting;
use crate::topic::TopicName;

/// Time that clocks leave out, all in all, ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Downtime, which COUNT does not leave out.
    pub(super) outages: i64,
    /// Steps of the clock, which all leave out; those back over a restart are negative.
    pub(super) steps: i64,
}

impl LeftOut {
    /// Of a process that begins at `now`, after one that was alive until then. Where the wall clock went
    /// back, nobody's clock does.
    fn of_outage(alive_until: Timestamp, now: Timestamp) -> LeftOut {
        match now.as_millis().saturating_sub(alive_until.as_millis()) {
            outage @ 0.. => LeftOut { outages: outage, steps: 0 },
            step => LeftOut { outages: 0, steps: step },
        }
    }

    /// What a clock still has to leave out that has left out `before`.
    fn since(self, before: LeftOut, counts_downtime: bool) -> i64 {
        let outages = self.outages.saturating_sub(before.outages);
        let steps = self.steps.saturating_sub(before.steps);
        if counts_downtime { steps } else { outages.saturating_add(steps) }
    }
}

/// What all clocks of a table have left out, and its row: one without a rule.
#[derive(Debug)]
pub(crate) struct Ledger {
    total: LeftOut,
    /// Whether the row is to be written.
    is_new: bool,
    /// Layout of the row; it begins with that.
    version: u8,
    /// Key of the row, which tells it from that of another table.
    key: &'static str,
}

impl Ledger {
    /// Nothing has been left out.
    pub(super) fn new(version: u8, key: &'static str) -> Self {
        Ledger { total: LeftOut::default(), is_new: false, version, key }
    }

    /// What the row of a key that is written now knows of.
    pub(super) fn total(&self) -> LeftOut {
        self.total
    }

    /// A step of the clock, which the clocks of all keys leave out.
    pub(super) fn leap(&mut self, leap: Leap) {
        self.add(LeftOut { outages: 0, steps: leap.millis() });
    }

    fn add(&mut self, more: LeftOut) {
        self.total.outages = self.total.outages.saturating_add(more.outages);
        self.total.steps = self.total.steps.saturating_add(more.steps);
        self.is_new |= more != LeftOut::default();
    }

    /// Whether there is a row to write.
    pub(super) fn has_change(&self) -> bool {
        self.is_new
    }

    /// Its row, if it is to be written; nothing is encoded where there is no disk.
    pub(super) fn take_change(&mut self, buffer: Option<&mut BytesMut>) -> Option<KeyChange> {
        let is_new = std::mem::take(&mut self.is_new);
        let buffer = buffer.filter(|_| is_new)?;
        let state = Some(encoding::encode_left_out(buffer, self.version, self.total));
        let (rule, key) = (Arc::from(""), CompactString::const_new(self.key));
        Some(KeyChange { rule, key, state, waiting: Vec::new() })
    }

    fn read(&mut self, row: &[u8]) -> Result<LeftOut, RowError> {
        let total = encoding::decode_left_out(row, self.version);
        match total {
            Ok(total) => self.total = total,
            // It is written anew, with the rows of all keys.
            Err(_) => self.is_new = true,
        }
        total
    }
}

/// A table whose keys outlive a process.
pub(crate) trait Remembers {
    /// What it has to say of keys that end.
    type Out;

    /// Where the rule of each name is.
    fn places(&self) -> HashMap<Arc<str>, RuleIndex>;

    /// What its clocks have left out.
    fn ledger(&mut self) -> &mut Ledger;

    /// Rows to be removed whose rule or key is gone.
    fn orphaned(&mut self) -> &mut Vec<KeyChange>;

    /// An earlier process was alive until `alive_until`; it is `now` now.
    fn wake(&mut self, alive_until: Timestamp, now: Timestamp);

    /// All keys have been taken over; `restored` tells what came of them.
    fn settle(&mut self, _restored: &Restored) {}

    /// Takes over the row of a key; answers whether the key goes on.
    fn take_over(
        &mut self,
        saved: SavedRow<'_>,
        outage: &mut Outage,
        out: &mut Self::Out,
    ) -> Result<bool, RowError>;
}

/// The row of a key, and those beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SavedRow<'a> {
    pub(super) rule: &'a str,
    pub(super) key: &'a str,
    pub(super) state: &'a [u8],
    pub(super) beside: &'a [WaitingRow<'a>],
    /// Where the rule of that name is, if there is one.
    pub(super) index: Option<RuleIndex>,
}

/// The time in which nothing ran, and what was found after it.
#[derive(Debug)]
pub(crate) struct Outage {
    /// The last instant at which the earlier process is known to have lived.
    pub(super) alive_until: Timestamp,
    pub(super) now: Timestamp,
    /// What clocks leave out of it.
    more: LeftOut,
    /// What they had left out before; `None` when that row could not be read.
    before: Option<LeftOut>,
    /// Whether a clock that leaves anything out has been taken over.
    has_clocks: bool,
    /// Of the last row that has one.
    pub(super) topic: Option<TopicName>,
    pub(super) restored: Restored,
}

impl Outage {
    /// What a clock has to leave out yet, ms, if its row `knew` so much of it. Where it is not known what has
    /// been left out since, each row speaks for itself ([`Outage::is_ledger_lost`]).
    pub(super) fn left_out_since(&mut self, knew: LeftOut, counts_downtime: bool) -> i64 {
        self.has_clocks = true;
        let before = self.before.unwrap_or(knew).since(knew, counts_downtime);
        before.saturating_add(self.more.since(LeftOut::default(), counts_downtime))
    }

    /// Whether what was left out before could not be read; then the rows of all clocks are written anew.
    pub(super) fn is_ledger_lost(&self) -> bool {
        self.before.is_none()
    }

    /// Puts a stored message back into the queue of its key.
    pub(super) fn put_back<T: Waiting>(
        &mut self,
        queue: &mut Queue<T>,
        row: &WaitingRow<'_>,
        decode: impl FnOnce(&[u8]) -> Result<(Timestamp, T), RowError>,
    ) {
        if let Err(error) = queue.put_back(row.turn, decode(row.message)) {
            self.restored.reject(row.rule, row.key, error);
        }
    }
}

/// A table that takes over what an earlier process left, key by key: a million of them need not be in
/// memory at once. The rows without a rule come first.
#[derive(Debug)]
pub(crate) struct Restoring<'t, T> {
    table: &'t mut T,
    places: HashMap<Arc<str>, RuleIndex>,
    outage: Outage,
}

impl<'t, T: Remembers> Restoring<'t, T> {
    pub(super) fn new(table: &'t mut T, alive_until: Timestamp, now: Timestamp) -> Self {
        table.wake(alive_until, now);
        let outage = Outage {
            alive_until,
            now,
            more: LeftOut::of_outage(alive_until, now),
            before: Some(table.ledger().total()),
            has_clocks: false,
            topic: None,
            restored: Restored::default(),
        };
        Restoring { places: table.places(), table, outage }
    }

    /// Takes what is stored of a key.
    pub(crate) fn key(&mut self, stored: StoredKey<'_>, out: &mut T::Out) {
        let Self { table, places, outage } = self;
        let StoredKey { rule, key, state, beside } = stored;
        let Some(state) = state else {
            // Without the row of the key there is no telling what they mean.
            let turns = beside.iter().map(|row| row.turn);
            table.orphaned().push(KeyChange::removed(rule, key, turns));
            return outage.restored.reject(rule, key, RowError::Field("key"));
        };
        if rule.is_empty() {
            let read = table.ledger().read(state);
            outage.before = read.ok();
            return read
                .err()
                .into_iter()
                .for_each(|error| outage.restored.reject(rule, key, error));
        }
        let saved = SavedRow { rule, key, state, beside, index: places.get(rule).copied() };
        match table.take_over(saved, outage, out) {
            Ok(true) => outage.restored.kept += 1,
            Ok(false) => outage.restored.ended += 1,
            Err(error) => outage.restored.reject(rule, key, error),
        }
    }

    /// Leaves a row of a key alone.
    pub(super) fn reject(&mut self, stored: StoredKey<'_>, error: RowError) {
        self.outage.restored.reject(stored.rule, stored.key, error);
    }

    /// There are no more keys.
    pub(crate) fn finish(self) -> Restored {
        let Restoring { table, outage, .. } = self;
        if outage.has_clocks {
            table.ledger().add(outage.more);
        }
        table.settle(&outage.restored);
        outage.restored
    }
}
