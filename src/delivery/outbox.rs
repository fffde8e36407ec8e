//! An outbox: a delivery buffer whose entries leave one by one instead of as files.
//!
//! A bridge to another broker empties it. Its name begins with [`PREFIX`], which no delivery of the
//! configuration can have, so no worker writes files of it. The journal's [`super::Appender`] fills it as
//! it does every buffer: in the commit that the publisher's acknowledgement waits for.
//!
//! Entries are read block by block and in order; the owner says up to which block all have left
//! ([`Outbox::pass`]), and after a crash goes on behind that. [`Outbox::shed`] drops the oldest blocks when
//! there are too many or they are too old.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

use super::DeliveryError;
use super::backlog::Backlog;
use super::backlog::Backlogs;
use super::backlog::Point;
use super::block::read_block;
use super::table;

/// What the names of outboxes begin with.
pub const PREFIX: char = '$';

/// An entry of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The block it is in.
    pub block: i64,
    /// Its place in the block, from 0.
    pub index: u32,
    /// Whether the block has no entry behind it.
    pub is_last: bool,
    /// As it was put in.
    pub data: Bytes,
}

/// What one read of an outbox found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub entries: Vec<Entry>,
    /// The last block that was read.
    pub last_block: i64,
    /// Blocks that could not be decoded; their entries are lost.
    pub damaged: u64,
}

/// What waits in an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Entries.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Arrival of the oldest.
    pub oldest: Option<Timestamp>,
    /// The last block of which all entries have left.
    pub passed: i64,
    /// The last block there is.
    pub last: i64,
}

/// One outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    backlog: Arc<Backlog>,
    executor: Executor,
    reader: Arc<Mutex<ReadConnection>>,
    clock: Clock,
}

impl Outbox {
    /// The outbox `name`, which is made if it is not there.
    ///
    /// # Errors
    /// Its row could not be written or read.
    pub async fn open(
        name: Arc<str>,
        executor: Executor,
        reader: Arc<Mutex<ReadConnection>>,
        backlogs: &Backlogs,
        clock: Clock,
    ) -> Result<Outbox, DeliveryError> {
        let (now, names) = (clock.now(), [Arc::clone(&name)]);
        executor.execute(move |tx| table::declare(tx, &names, now)).await?;
        let found = {
            let reader = reader.lock();
            let rows = table::list(reader.sqlite())?;
            let row = rows.into_iter().find(|(known, _)| *known == name);
            let (_, row) = row.expect("it was declared in a transaction that is on disk");
            (row, table::load_extent(reader.sqlite(), row)?)
        };
        let backlog = backlogs.register(&name, found.0, found.1);
        Ok(Outbox { backlog, executor, reader, clock })
    }

    /// What waits. Answers from memory.
    pub fn waiting(&self) -> Waiting {
        let extent = self.backlog.extent();
        Waiting {
            entries: extent.records(),
            bytes: extent.bytes(),
            oldest: extent.oldest,
            passed: extent.floor.block,
            last: extent.tail.block,
        }
    }

    /// Waits for the next commit that adds something; one caller at a time. A wake-up between two
    /// calls is not lost.
    pub async fn changed(&self) {
        self.backlog.changed().await;
    }

    /// Reads whole blocks behind block `after`, a few MiB at most and one block at least.
    ///
    /// # Errors
    /// The table could not be read.
    pub async fn read(&self, after: i64) -> Result<Page, SqliteError> {
        let this = self.clone();
        let read = move || this.read_now(after);
        spawn_blocking(read).await.expect("reading an outbox does not panic")
    }

    fn read_now(&self, after: i64) -> Result<Page, SqliteError> {
        let extent = self.backlog.extent();
        let after = after.max(extent.floor.block);
        let mut page = Page { last_block: after, ..Page::default() };
        if after >= extent.tail.block {
            return Ok(page);
        }
        let mut blocks = Vec::new();
        let take = |number, _, blob: &[u8]| blocks.push((number, blob.to_vec()));
        let reader = self.reader.lock();
        page.last_block =
            table::read_blocks(reader.sqlite(), self.backlog.row, after, extent.tail.block, take)?;
        drop(reader);
        for (block, blob) in blocks {
            let first = page.entries.len();
            let mut index = 0;
            let read = read_block(&blob, |data| {
                let data = Bytes::copy_from_slice(data);
                page.entries.push(Entry { block, index, is_last: false, data });
                index += 1;
            });
            if let Err(damage) = read {
                page.damaged += 1;
                tracing::error!(
                    outbox = %self.backlog.name, block, error = %damage,
                    "a block of an outbox cannot be read; its messages are lost"
                );
            }
            if let Some(last) = page.entries.get_mut(first..).and_then(<[Entry]>::last_mut) {
                last.is_last = true;
            }
        }
        Ok(page)
    }

    /// All entries up to block `last` have left. On disk when this answers; their rows are freed then.
    ///
    /// # Errors
    /// The journal did not write it; it can be said again.
    pub async fn pass(&self, last: i64) -> Result<(), ExecuteError> {
        let extent = self.backlog.extent();
        let last = last.min(extent.tail.block);
        if last <= extent.floor.block {
            return Ok(());
        }
        self.raise_to(last).await.map(drop)
    }

    /// Drops the oldest blocks until at most `bytes_max` bytes wait and none came before `age_max` ago;
    /// answers how many entries went.
    ///
    /// # Errors
    /// The table could not be read, or the journal did not write it.
    pub async fn shed(&self, bytes_max: u64, age_max: Duration) -> Result<u64, DeliveryError> {
        let waiting = self.waiting();
        let cutoff = self.clock.now().as_millis();
        let age = i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX);
        let cutoff = Timestamp::from_millis(cutoff.saturating_sub(age));
        let is_old = waiting.oldest.is_some_and(|oldest| oldest < cutoff);
        if waiting.bytes <= bytes_max && !is_old {
            return Ok(0);
        }
        let this = self.clone();
        let find = move || this.find_excess(bytes_max, cutoff);
        let until = spawn_blocking(find).await.expect("looking at an outbox does not panic")?;
        let before = self.backlog.extent().floor;
        if until <= before.block {
            return Ok(0);
        }
        let floor = self.raise_to(until).await?;
        Ok(u64::try_from(floor.entry - before.entry).unwrap_or(0))
    }

    /// The last block that is too much, or the floor.
    fn find_excess(&self, bytes_max: u64, cutoff: Timestamp) -> Result<i64, SqliteError> {
        let (extent, row) = (self.backlog.extent(), self.backlog.row);
        let reader = self.reader.lock();
        let mut until = extent.floor.block;
        if let Some(excess) = extent.bytes().checked_sub(bytes_max).filter(|excess| *excess > 0) {
            let excess = i64::try_from(excess).unwrap_or(i64::MAX);
            until = table::find_bound(reader.sqlite(), row, extent, excess)?.block;
        }
        until = until.max(table::last_before(reader.sqlite(), row, extent, cutoff)?);
        Ok(until)
    }

    async fn raise_to(&self, last: i64) -> Result<Point, ExecuteError> {
        let row = self.backlog.row;
        let floor = self
            .executor
            .execute(move |tx| {
                let floor = table::point_at(tx, row, last)?;
                table::finish(tx, row, floor)?;
                Ok(floor)
            })
            .await?;
        if self.backlog.raise_floor(floor) {
            let oldest = self.oldest(floor).await.map_err(ExecuteError::Failed)?;
            if let Some(oldest) = oldest {
                self.backlog.set_oldest(oldest.min(self.clock.now()));
            }
        }
        while self.executor.execute(move |tx| table::trim(tx, row)).await? {}
        Ok(floor)
    }

    async fn oldest(&self, floor: Point) -> Result<Option<Timestamp>, SqliteError> {
        let this = self.clone();
        let find =
            move || table::oldest_after(this.reader.lock().sqlite(), this.backlog.row, floor);
        spawn_blocking(find).await.expect("looking at an outbox does not panic")
    }
}

/// Whether a buffer of this name is an outbox.
pub(super) fn is_outbox(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Effect;
    use crate::journal::effect_stage::EffectJournal;

    const NAME: &str = "$x";

    async fn open(journal: &EffectJournal) -> Outbox {
        let reader = Arc::new(Mutex::new(journal.storage.reader().unwrap()));
        let backlogs = journal.journal.delivery_backlogs();
        let executor = journal.storage.executor();
        Outbox::open(NAME.into(), executor, reader, &backlogs, journal.clock).await.unwrap()
    }

    async fn commit(journal: &mut EffectJournal, at: Timestamp, entries: &[&str]) {
        let effect = |data: &&str| Effect::Deliver {
            delivery: NAME.into(),
            data: Bytes::copy_from_slice(data.as_bytes()),
            at,
            sent_by: None,
        };
        journal.commit(entries.iter().map(effect).collect()).await;
    }

    async fn texts(outbox: &Outbox, after: i64) -> Vec<String> {
        let page = outbox.read(after).await.unwrap();
        let text = |entry: &Entry| String::from_utf8(entry.data.to_vec()).unwrap();
        page.entries.iter().map(text).collect()
    }

    #[tokio::test]
    async fn entries_are_there_in_order_until_they_have_passed_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = EffectJournal::open(folder.path());
        let outbox = open(&journal).await;
        let now = journal.clock.now();
        commit(&mut journal, now, &["a", "b"]).await;
        commit(&mut journal, now, &["c"]).await;
        let page = outbox.read(0).await.unwrap();
        let places: Vec<_> =
            page.entries.iter().map(|entry| (entry.block, entry.index, entry.is_last)).collect();
        assert_eq!(places, [(1, 0, false), (1, 1, true), (2, 0, true)]);
        assert_eq!(texts(&outbox, 1).await, ["c"]);
        outbox.pass(1).await.unwrap();
        outbox.pass(0).await.unwrap();
        assert_eq!((outbox.waiting().entries, outbox.waiting().passed), (1, 1));
        drop(outbox);
        journal.close().await;

        let mut journal = EffectJournal::open(folder.path());
        let outbox = open(&journal).await;
        assert_eq!(texts(&outbox, 0).await, ["c"]);
        outbox.pass(99).await.unwrap();
        assert_eq!(outbox.waiting().entries, 0, "never beyond what there is");
        commit(&mut journal, now, &["d"]).await;
        assert_eq!(texts(&outbox, 0).await, ["d"]);
        journal.close().await;
    }

    #[tokio::test]
    async fn too_much_and_too_old_goes_the_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = EffectJournal::open(folder.path());
        let outbox = open(&journal).await;
        let now = journal.clock.now();
        let day = Duration::from_secs(24 * 3600);
        for age in [3, 2, 1, 0] {
            commit(&mut journal, now - day * age, &["12345", "67890"]).await;
        }
        assert_eq!(outbox.shed(40, day * 9).await.unwrap(), 0, "all fits");
        assert_eq!(outbox.shed(39, day * 9).await.unwrap(), 2, "whole blocks go");
        assert_eq!(outbox.waiting().bytes, 30);
        assert_eq!(outbox.shed(1000, day + day / 2).await.unwrap(), 2);
        assert_eq!(outbox.waiting().oldest, Some(now - day));
        assert_eq!(outbox.shed(1000, day / 2).await.unwrap(), 2);
        assert_eq!(texts(&outbox, 0).await.len(), 2);
        journal.close().await;
    }

    #[tokio::test]
    async fn a_damaged_block_is_told_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = EffectJournal::open(folder.path());
        let outbox = open(&journal).await;
        let now = journal.clock.now();
        for text in ["a", "b", "c"] {
            commit(&mut journal, now, &[text]).await;
        }
        let row = outbox.backlog.row;
        let executor = journal.storage.executor();
        executor.execute(move |tx| table::damage_block(tx, row, 2)).await.unwrap();
        let page = outbox.read(0).await.unwrap();
        assert_eq!((page.entries.len(), page.damaged, page.last_block), (2, 1, 3));
        journal.close().await;
    }
}
