//! The tables of deliveries: SQL, and what the writer remembers between commits.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::limits;
use crate::storage::OpenRows;

use super::backlog::Backlog;
use super::backlog::Backlogs;
use super::backlog::Extent;
use super::backlog::Point;
use super::block::BlockWriter;
use super::form::Form;
use super::made::MadeDelivery;

/// Version 1. Everything up to `floor_…` has been delivered. The row of `delivery_batch` is a batch
/// that may be on its way; it ends at `last_…`, and begins behind the floor.
pub(crate) const SCHEMA: &str = "
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    floor_block INTEGER NOT NULL,
    floor_entry INTEGER NOT NULL,
    floor_bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE delivery_block (
    id INTEGER PRIMARY KEY,
    last_entry INTEGER NOT NULL,
    bytes_total INTEGER NOT NULL,
    oldest_at INTEGER NOT NULL,
    entries BLOB NOT NULL
) STRICT;
CREATE TABLE delivery_batch (
    delivery INTEGER PRIMARY KEY REFERENCES delivery (id),
    last_block INTEGER NOT NULL,
    last_entry INTEGER NOT NULL,
    last_bytes INTEGER NOT NULL,
    object TEXT NOT NULL
) STRICT;
";

/// Version 13. The highest entry id of a buffer that was taken away, so that one made
/// anew never takes the names of its files.
pub(crate) const PARTITION_SCHEMA: &str = "
CREATE TABLE delivery_retired (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_entry INTEGER NOT NULL
) STRICT;
";

/// Version 14. What the file of a batch is like inside, and the file of those of its records that cannot be
/// in it. Empty: the batch was fixed before there was a choice.
pub(crate) const FORM_SCHEMA: &str = "
ALTER TABLE delivery_batch ADD COLUMN form TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery_batch ADD COLUMN error_object TEXT NOT NULL DEFAULT '';
";

/// Version 16. Deliveries of programs: what they asked for as JSON, and tags as a JSON object.
pub(crate) const MADE_SCHEMA: &str = "
CREATE TABLE delivery_made (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    is_ending INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    destination TEXT NOT NULL,
    tags TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The low bits of a block's row id are its number, those above it the delivery's row: a hundred
/// years at two thousand commits a second.
const BLOCK_BITS: u32 = 43;
const BLOCK_MASK: i64 = (1 << BLOCK_BITS) - 1;

/// A delivery's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeliveryRow(i64);

impl DeliveryRow {
    fn block_id(self, block: i64) -> i64 {
        self.0 << BLOCK_BITS | block.clamp(0, BLOCK_MASK)
    }
}

/// A batch with fixed bounds: everything from the floor to `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) last: Point,
    /// Name of the file it becomes, under the delivery's directory.
    pub(super) object: String,
    /// What it is like inside.
    pub(super) form: Form,
    /// Name of the file of records that cannot be in it.
    pub(super) error_object: String,
}

struct OpenDelivery {
    name: Arc<str>,
    row: DeliveryRow,
    /// Where it stands with what this transaction has written.
    tail: Point,
    /// Arrival of the oldest entry written in this transaction.
    oldest: Option<Timestamp>,
    block: BlockWriter,
    /// Arrival of the oldest entry in `block`.
    block_oldest: Option<Timestamp>,
    /// `None` until the first commit: a delivery of a failed transaction is not announced.
    backlog: Option<Arc<Backlog>>,
    /// As found in the tables when it was opened.
    found: Extent,
}

/// Adds the entries of a commit. Remembers where each delivery stands, so a commit reads nothing.
/// After each transaction it must be told how that ended.
pub struct Appender {
    backlogs: Arc<Backlogs>,
    open: OpenRows<OpenDelivery>,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("deliveries", &self.open.len()).finish_non_exhaustive()
    }
}

impl Appender {
    /// Announces what it commits in `backlogs`.
    pub fn new(backlogs: Arc<Backlogs>) -> Self {
        Appender { backlogs, open: OpenRows::default() }
    }

    /// Takes an entry into the current transaction. A delivery that is not there is made.
    pub(crate) fn push(
        &mut self,
        transaction: &Connection,
        delivery: &Arc<str>,
        data: &[u8],
        at: Timestamp,
    ) -> rusqlite::Result<()> {
        let open = self.open.touch(delivery, || OpenDelivery::open(transaction, delivery, at))?;
        if open.block.is_full() {
            write_block(transaction, open)?;
        }
        open.block.push(data);
        open.block_oldest = Some(open.block_oldest.map_or(at, |oldest| oldest.min(at)));
        Ok(())
    }

    /// Writes what was pushed.
    pub(crate) fn flush(&mut self, transaction: &Connection) -> rusqlite::Result<()> {
        self.open.each_touched(|open| write_block(transaction, open))
    }

    /// The transaction is on disk: the workers learn of what it added.
    pub(crate) fn committed(&mut self) {
        let backlogs = &self.backlogs;
        self.open.take_touched(|open| {
            let Some(oldest) = open.oldest.take() else { return };
            let backlog = open
                .backlog
                .get_or_insert_with(|| backlogs.register(&open.name, open.row, open.found));
            backlog.grow(open.tail, oldest);
        });
        // Their rows are gone: what is remembered of them must not be written to.
        if self.backlogs.take_away_retired() {
            self.open.forget();
        }
    }

    /// The transaction was undone: the tables are read anew.
    pub(crate) fn forget(&mut self) {
        self.backlogs.keep_retired();
        self.open.forget();
    }
}

impl OpenDelivery {
    fn open(
        transaction: &Connection,
        name: &Arc<str>,
        now: Timestamp,
    ) -> rusqlite::Result<OpenDelivery> {
        let row = find_or_create(transaction, name, now)?;
        let found = load_extent(transaction, row)?;
        Ok(OpenDelivery {
            name: Arc::clone(name),
            row,
            tail: found.tail,
            oldest: None,
            block: BlockWriter::default(),
            block_oldest: None,
            backlog: None,
            found,
        })
    }
}

fn write_block(transaction: &Connection, open: &mut OpenDelivery) -> rusqlite::Result<()> {
    let Some(oldest) = open.block_oldest.take() else { return Ok(()) };
    let tail = Point {
        block: open.tail.block + 1,
        entry: open.tail.entry + i64::from(open.block.count()),
        bytes: open.tail.bytes + open.block.data_bytes(),
    };
    transaction.prepare_cached("INSERT INTO delivery_block VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
        params![
            open.row.block_id(tail.block),
            tail.entry,
            tail.bytes,
            oldest.as_millis(),
            open.block.seal()
        ],
    )?;
    open.tail = tail;
    open.oldest = Some(open.oldest.map_or(oldest, |earlier| earlier.min(oldest)));
    open.block.clear();
    Ok(())
}

/// Entry ids begin at the microsecond of creation: the files of a database that was made anew never
/// take the names of older files in the same directory. They begin behind those of any buffer that was
/// taken away, whatever the clock says.
fn find_or_create(
    connection: &Connection,
    name: &str,
    now: Timestamp,
) -> rusqlite::Result<DeliveryRow> {
    let found = connection
        .prepare_cached("SELECT id FROM delivery WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(DeliveryRow(id));
    }
    connection
        .prepare_cached(
            "INSERT INTO delivery (name, floor_block, floor_entry, floor_bytes)
             VALUES (?1, 0, max(?2, coalesce((SELECT last_entry FROM delivery_retired), 0)), 0)
             RETURNING id",
        )?
        .query_row(params![name, now.as_millis().saturating_mul(1000)], |row| row.get(0))
        .map(DeliveryRow)
}

/// Makes the deliveries that are not there.
pub(super) fn declare(
    transaction: &Connection,
    names: &[Arc<str>],
    now: Timestamp,
) -> rusqlite::Result<()> {
    names.iter().try_for_each(|name| find_or_create(transaction, name, now).map(drop))
}

/// All deliveries, by name.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<(Arc<str>, DeliveryRow)>> {
    connection
        .prepare_cached("SELECT name, id FROM delivery ORDER BY name")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?.into(), DeliveryRow(row.get(1)?))))?
        .collect()
}

/// What waits: from the floor to the last block.
pub(super) fn load_extent(connection: &Connection, row: DeliveryRow) -> rusqlite::Result<Extent> {
    let floor = connection
        .prepare_cached("SELECT floor_block, floor_entry, floor_bytes FROM delivery WHERE id = ?1")?
        .query_row([row.0], |row| read_point(row, 0))?;
    let tail = connection
        .prepare_cached(
            "SELECT id & ?3, last_entry, bytes_total FROM delivery_block
             WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row(
            params![row.block_id(floor.block + 1), row.block_id(BLOCK_MASK), BLOCK_MASK],
            |row| read_point(row, 0),
        )
        .optional()?
        .unwrap_or(floor);
    let oldest = oldest_after(connection, row, floor)?;
    Ok(Extent { floor, tail, oldest })
}

fn read_point(row: &Row<'_>, column: usize) -> rusqlite::Result<Point> {
    Ok(Point { block: row.get(column)?, entry: row.get(column + 1)?, bytes: row.get(column + 2)? })
}

/// Arrival of the oldest entry of the first block behind `floor`.
pub(super) fn oldest_after(
    connection: &Connection,
    row: DeliveryRow,
    floor: Point,
) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .prepare_cached("SELECT oldest_at FROM delivery_block WHERE id = ?1")?
        .query_row([row.block_id(floor.block + 1)], |row| row.get(0).map(Timestamp::from_millis))
        .optional()
}

/// The first block with which the entries behind `floor` reach `bytes_max` bytes, or the last one.
/// Blocks are numbered without gaps and carry running totals, so this is a binary search.
pub(super) fn find_bound(
    connection: &Connection,
    row: DeliveryRow,
    extent: Extent,
    bytes_max: i64,
) -> rusqlite::Result<Point> {
    let Extent { floor, tail, .. } = extent;
    let (mut low, mut high) = (floor.block + 1, tail);
    while low < high.block {
        let middle = point_at(connection, row, low + (high.block - low) / 2)?;
        if middle.bytes - floor.bytes >= bytes_max {
            high = middle;
        } else {
            low = middle.block + 1;
        }
    }
    Ok(high)
}

/// The last block of `extent` whose entries came before `cutoff`, or its floor. Blocks stand in the order of
/// their commits, which is that of arrival but for milliseconds, so this is a binary search.
pub(super) fn last_before(
    connection: &Connection,
    row: DeliveryRow,
    extent: Extent,
    cutoff: Timestamp,
) -> rusqlite::Result<i64> {
    let (mut low, mut high) = (extent.floor.block, extent.tail.block);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        let before = Point { block: middle - 1, ..extent.floor };
        match oldest_after(connection, row, before)? {
            Some(oldest) if oldest < cutoff => low = middle,
            _ => high = middle - 1,
        }
    }
    Ok(low)
}

/// Where block `block` ends.
pub(super) fn point_at(
    connection: &Connection,
    row: DeliveryRow,
    block: i64,
) -> rusqlite::Result<Point> {
    connection
        .prepare_cached("SELECT last_entry, bytes_total FROM delivery_block WHERE id = ?1")?
        .query_row([row.block_id(block)], |row| {
            Ok(Point { block, entry: row.get(0)?, bytes: row.get(1)? })
        })
}

/// Reads blocks behind `after` up to `last` until [`limits::DELIVERY_READ_BYTES_MAX`] bytes of them
/// are there; hands out number, arrival of the oldest entry and blob, answers the number of the last one read.
pub(super) fn read_blocks(
    connection: &Connection,
    row: DeliveryRow,
    after: i64,
    last: i64,
    mut take: impl FnMut(i64, Timestamp, &[u8]),
) -> rusqlite::Result<i64> {
    let mut select = connection.prepare_cached(
        "SELECT id & ?3, entries, oldest_at FROM delivery_block WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows =
        select.query(params![row.block_id(after + 1), row.block_id(last), BLOCK_MASK])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let block = row.get(0)?;
        let blob = row.get_ref(1)?.as_blob()?;
        take(block, Timestamp::from_millis(row.get(2)?), blob);
        bytes += blob.len();
        if bytes >= limits::DELIVERY_READ_BYTES_MAX {
            return Ok(block);
        }
    }
    Ok(last)
}

/// The batch that was fixed and not finished.
pub(super) fn load_batch(
    connection: &Connection,
    row: DeliveryRow,
) -> rusqlite::Result<Option<Batch>> {
    connection
        .prepare_cached(
            "SELECT last_block, last_entry, last_bytes, object, form, error_object
             FROM delivery_batch WHERE delivery = ?1",
        )?
        .query_row([row.0], |row| {
            let (object, form): (String, String) = (row.get(3)?, row.get(4)?);
            let form = Form::from_text(&form).unwrap_or_else(|| Form::named(&object));
            Ok(Batch { last: read_point(row, 0)?, object, form, error_object: row.get(5)? })
        })
        .optional()
}

/// Fixes the bounds of a batch, before anything of it is written.
pub(super) fn fix(
    transaction: &Connection,
    row: DeliveryRow,
    batch: &Batch,
) -> rusqlite::Result<()> {
    let Batch { last, object, form, error_object } = batch;
    transaction
        .prepare_cached("INSERT INTO delivery_batch VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
        row.0,
        last.block,
        last.entry,
        last.bytes,
        object,
        form.to_text(),
        error_object
    ])?;
    Ok(())
}

/// The batch is where it belongs: its entries are delivered in this moment. Their rows go in
/// [`trim`]; freeing a large batch takes longer than a commit should.
pub(super) fn finish(
    transaction: &Connection,
    row: DeliveryRow,
    last: Point,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM delivery_batch WHERE delivery = ?1")?
        .execute([row.0])?;
    transaction
        .prepare_cached(
            "UPDATE delivery SET floor_block = ?2, floor_entry = ?3, floor_bytes = ?4 WHERE id = ?1",
        )?
        .execute(params![row.0, last.block, last.entry, last.bytes])?;
    Ok(())
}

/// Deletes blocks up to the floor, [`limits::RETENTION_BYTES_MAX`] bytes and
/// [`limits::RETENTION_BLOCKS_MAX`] at most; answers whether there are more.
pub(super) fn trim(transaction: &Connection, row: DeliveryRow) -> rusqlite::Result<bool> {
    let floor: i64 = transaction
        .prepare_cached("SELECT floor_block FROM delivery WHERE id = ?1")?
        .query_row([row.0], |row| row.get(0))?;
    let mut until: Option<i64> = None;
    {
        let mut select = transaction.prepare_cached(
            "SELECT id, bytes_total FROM delivery_block WHERE id BETWEEN ?1 AND ?2 ORDER BY id
             LIMIT ?3",
        )?;
        let blocks_max = i64::try_from(limits::RETENTION_BLOCKS_MAX).unwrap_or(i64::MAX);
        let mut rows = select.query(params![row.block_id(0), row.block_id(floor), blocks_max])?;
        let mut base = None;
        while let Some(row) = rows.next()? {
            let total: i64 = row.get(1)?;
            until = Some(row.get(0)?);
            if total - *base.get_or_insert(total) >= limits::RETENTION_BYTES_MAX {
                break;
            }
        }
    }
    let Some(until) = until else { return Ok(false) };
    transaction
        .prepare_cached("DELETE FROM delivery_block WHERE id BETWEEN ?1 AND ?2")?
        .execute::<[i64; 2]>([row.block_id(0), until])?;
    Ok(until < row.block_id(floor))
}

/// Takes a buffer away, if nothing waits in it and nothing of it is on its way; answers whether it did.
pub(super) fn retire(transaction: &Connection, row: DeliveryRow) -> rusqlite::Result<bool> {
    let is_in_use: bool = transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM delivery_block WHERE id BETWEEN ?1 AND ?2)
                 OR EXISTS (SELECT 1 FROM delivery_batch WHERE delivery = ?3)",
        )?
        .query_row([row.block_id(0), row.block_id(BLOCK_MASK), row.0], |row| row.get(0))?;
    if is_in_use {
        return Ok(false);
    }
    transaction
        .prepare_cached(
            "INSERT INTO delivery_retired SELECT 1, floor_entry FROM delivery WHERE id = ?1
             ON CONFLICT (id) DO UPDATE SET last_entry = max(last_entry, excluded.last_entry)",
        )?
        .execute([row.0])?;
    transaction.prepare_cached("DELETE FROM delivery WHERE id = ?1")?.execute([row.0])?;
    Ok(true)
}

/// The deliveries that programs have made, by name.
///
/// # Errors
/// What SQLite says.
pub fn load_made(connection: &Connection) -> rusqlite::Result<Vec<MadeDelivery>> {
    connection
        .prepare_cached(
            "SELECT name, version, is_ending, created_at, updated_at, destination, tags
             FROM delivery_made ORDER BY name",
        )?
        .query_map([], |row| {
            let tags: String = row.get(6)?;
            Ok(MadeDelivery {
                name: row.get(0)?,
                version: row.get(1)?,
                is_ending: row.get(2)?,
                created_at: Timestamp::from_millis(row.get(3)?),
                updated_at: Timestamp::from_millis(row.get(4)?),
                destination: row.get(5)?,
                tags: serde_json::from_str(&tags).unwrap_or_default(),
            })
        })?
        .collect()
}

/// Writes one of them.
pub(super) fn store_made(transaction: &Connection, made: &MadeDelivery) -> rusqlite::Result<()> {
    let tags = serde_json::to_string(&made.tags).expect("texts are JSON");
    transaction
        .prepare_cached("INSERT OR REPLACE INTO delivery_made VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            made.name,
            made.version,
            made.is_ending,
            made.created_at.as_millis(),
            made.updated_at.as_millis(),
            made.destination,
            tags
        ])
        .map(drop)
}

/// Deletes one of them.
pub(super) fn delete_made(transaction: &Connection, name: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM delivery_made WHERE name = ?1")?
        .execute([name])
        .map(drop)
}

/// Breaks the blob of a block.
#[cfg(test)]
pub(super) fn damage_block(
    transaction: &Connection,
    row: DeliveryRow,
    block: i64,
) -> rusqlite::Result<usize> {
    transaction.execute(
        "UPDATE delivery_block SET entries = CAST(x'00' || entries AS BLOB) WHERE id = ?1",
        [row.block_id(block)],
    )
}

/// Blocks of all deliveries.
#[cfg(test)]
pub(super) fn count_blocks(transaction: &Connection) -> rusqlite::Result<i64> {
    transaction.query_row("SELECT count(*) FROM delivery_block", [], |row| row.get(0))
}
