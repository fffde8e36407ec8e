//! Rows as a verification reads them.

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::limits;
use crate::stream::HashRange;
use crate::stream::ShardId;
use crate::stream::check_name;
use crate::stream::retention;
use crate::stream::sequence::Position;
use crate::stream::table;
use crate::stream::table::Tail;

use super::misplaced;

/// Bytes of blocks that are read in one snapshot, and one block more.
const PAGE_BYTES: usize = 16 * 1024 * 1024;
/// What SQLite tells of at most, of the database as a whole.
const TOLD_MAX: u32 = 100;

pub(super) struct StreamRow {
    pub(super) row: i64,
    pub(super) name: String,
    pub(super) shards_made: u32,
    /// What was written before this is to be deleted.
    pub(super) horizon: Option<Timestamp>,
}

pub(super) struct ShardRow {
    pub(super) row: i64,
    pub(super) id: ShardId,
    pub(super) made: u64,
    pub(super) range: HashRange,
    pub(super) parents: [Option<ShardId>; 2],
    pub(super) opened_at: i64,
    pub(super) closed_at: Option<i64>,
    pub(super) closed_block: Option<u64>,
    pub(super) floor: Tail,
    pub(super) tail: Tail,
}

/// A block as its row has it.
pub(super) struct BlockRow<'a> {
    pub(super) tail: Tail,
    pub(super) count: u64,
    pub(super) blob: &'a [u8],
}

impl BlockRow<'_> {
    /// What is wrong with its running values behind those of the block before it.
    pub(super) fn follows(&self, before: &Tail) -> Option<String> {
        let records = before.records() + self.count;
        if self.tail.records() != records {
            let told = self.tail.records();
            return Some(format!("the shard's records go on at {told}, and there are {records}"));
        }
        if self.tail.bytes < before.bytes {
            return Some("the shard's bytes go down".to_owned());
        }
        if self.tail.peak_at < before.peak_at {
            return Some("the shard's latest time goes down".to_owned());
        }
        None
    }
}

/// A block in a page, and what retention had taken then.
pub(super) struct PageRow<'a, 'b> {
    pub(super) floor: Tail,
    pub(super) block: &'a BlockRow<'b>,
}

/// Whether an error says that what is on disk is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure
        ),
        // A column of another type or length than the schema gives it.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => true,
        _ => false,
    }
}

/// All streams, or those of a name; not those that are being deleted.
pub(super) fn streams(
    connection: &Connection,
    name: Option<&str>,
) -> rusqlite::Result<Vec<StreamRow>> {
    let snapshot = connection.unchecked_transaction()?;
    let mut select = snapshot.prepare_cached(
        "SELECT id, name, shards_made, retention_ms FROM stream
         WHERE was_named IS NULL AND (?1 IS NULL OR name = ?1) ORDER BY name",
    )?;
    let mut rows = select.query([name])?;
    let mut streams = Vec::new();
    while let Some(row) = rows.next()? {
        let kept = std::time::Duration::from_millis(row.get::<_, i64>(3)?.unsigned_abs());
        streams.push(StreamRow {
            row: row.get(0)?,
            name: row.get(1)?,
            shards_made: row.get(2)?,
            horizon: retention::kept_since(&snapshot, kept)?,
        });
    }
    Ok(streams)
}

/// The shards of a stream in the order of their numbers, and what is wrong with the places of its readers.
#[expect(clippy::type_complexity, reason = "two lists that belong to one snapshot")]
pub(super) fn shape(
    connection: &Connection,
    stream: &StreamRow,
) -> rusqlite::Result<(Vec<ShardRow>, Vec<(Option<ShardId>, String)>)> {
    let snapshot = connection.unchecked_transaction()?;
    let mut select = snapshot.prepare_cached(
        "SELECT id, number, created_at, hash_start, hash_end, parent, adjacent_parent, opened_at,
             closed_at, closed_block
         FROM stream_shard WHERE stream = ?1 ORDER BY number",
    )?;
    let mut rows = select.query([stream.row])?;
    let mut shards = Vec::new();
    while let Some(row) = rows.next()? {
        let shard_row = row.get(0)?;
        let closed_block: Option<i64> = row.get(9)?;
        shards.push(ShardRow {
            row: shard_row,
            id: ShardId(row.get(1)?),
            made: table::seconds_of(row.get(2)?),
            range: HashRange { start: table::read_hash(row, 3)?, end: table::read_hash(row, 4)? },
            parents: [row.get(5)?, row.get(6)?].map(|parent: Option<u32>| parent.map(ShardId)),
            opened_at: row.get(7)?,
            closed_at: row.get(8)?,
            closed_block: closed_block.map(i64::unsigned_abs),
            floor: table::load_floor(&snapshot, shard_row)?,
            tail: table::load_tail(&snapshot, shard_row)?,
        });
    }
    drop(rows);
    let wrong = misplaced_readers(&snapshot, stream, &shards)?;
    Ok((shards, wrong))
}

/// What is wrong with the registered consumers of a stream.
pub(super) fn misregistered(
    connection: &Connection,
    stream: &StreamRow,
) -> rusqlite::Result<Vec<String>> {
    let mut select = connection
        .prepare_cached("SELECT name, created_at FROM stream_registered WHERE stream = ?1")?;
    let mut rows = select.query([stream.row])?;
    let (mut told, mut count) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (name, created_at): (String, i64) = (row.get(0)?, row.get(1)?);
        count += 1;
        if check_name(&name).is_err() {
            told.push(format!("{name:?} is no name of a registered consumer"));
        }
        if created_at < 0 {
            told.push(format!("the registered consumer {name} was made before 1970"));
        }
    }
    if count > limits::STREAM_CONSUMERS_MAX {
        let most = limits::STREAM_CONSUMERS_MAX;
        told.push(format!("it has {count} registered consumers, and at most {most} are taken"));
    }
    Ok(told)
}

fn misplaced_readers(
    snapshot: &Connection,
    stream: &StreamRow,
    shards: &[ShardRow],
) -> rusqlite::Result<Vec<(Option<ShardId>, String)>> {
    let mut readers =
        snapshot.prepare_cached("SELECT id, name FROM stream_consumer WHERE stream = ?1")?;
    let readers: Vec<(i64, String)> = readers
        .query_map([stream.row], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut place = snapshot.prepare_cached(
        "SELECT position, records FROM stream_position WHERE consumer = ?1 AND shard = ?2",
    )?;
    let mut wrong = Vec::new();
    for (consumer, name) in &readers {
        for shard in shards {
            let found = place
                .query_row(params![consumer, shard.row], |row| {
                    Ok((Position::from_column(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
                })
                .optional()?;
            let message = match found {
                None => Some("has no place in it".to_owned()),
                Some((position, records)) => {
                    let block = counts_of(snapshot, shard.row, position.block())?;
                    misplaced(position, records, &shard.floor, &shard.tail, block)
                }
            };
            wrong.extend(message.map(|message| (Some(shard.id), format!("rule {name} {message}"))));
        }
    }
    Ok(wrong)
}

/// How many records there are before a block, and in it.
fn counts_of(
    snapshot: &Connection,
    shard_row: i64,
    block: u64,
) -> rusqlite::Result<Option<(u64, u64)>> {
    snapshot
        .prepare_cached(
            "SELECT records_total - record_count, record_count FROM stream_block WHERE id = ?1",
        )?
        .query_row([table::block_id(shard_row, block)], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
        })
        .optional()
}

/// Shows a page of blocks from number `from` on; answers whether there may be more.
pub(super) fn page(
    connection: &Connection,
    shard_row: i64,
    from: u64,
    mut visit: impl FnMut(&PageRow<'_, '_>),
) -> rusqlite::Result<bool> {
    let snapshot = connection.unchecked_transaction()?;
    let floor = table::load_floor(&snapshot, shard_row)?;
    let (_, last) = table::block_ids(shard_row);
    let mut select = snapshot.prepare_cached(
        "SELECT id, records_total, bytes_total, peak_at, record_count, records FROM stream_block
         WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = select.query([table::block_id(shard_row, from), last])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let blob = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
        let count = row.get::<_, i64>(4)?.unsigned_abs();
        let block = BlockRow { tail: Tail::read(row)?, count, blob };
        visit(&PageRow { floor, block: &block });
        bytes += blob.len();
        if bytes >= PAGE_BYTES {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What `PRAGMA integrity_check` says, if it is not `ok`.
pub(super) fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare(&format!("PRAGMA integrity_check({TOLD_MAX})"))?;
    let told = select.query_map([], |row| row.get::<_, String>(0))?;
    let told: Vec<String> = told.collect::<Result<_, _>>()?;
    Ok(told.into_iter().filter(|line| line != "ok").collect())
}

/// Rows that belong to nothing.
pub(super) fn strays(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let snapshot = connection.unchecked_transaction()?;
    let mut told = Vec::new();
    let mut known = snapshot.prepare_cached("SELECT id FROM stream_shard ORDER BY id")?;
    let known: Vec<i64> = known.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut between =
        snapshot.prepare_cached("SELECT count(*) FROM stream_block WHERE id BETWEEN ?1 AND ?2")?;
    let mut from = i64::MIN;
    for row in known.iter().copied().map(Some).chain([None]) {
        let until = row.map_or(i64::MAX, |row| table::block_ids(row).0 - 1);
        let count: i64 = between.query_row([from, until], |row| row.get(0))?;
        if count > 0 {
            told.push(format!("{count} blocks belong to no shard"));
        }
        from = row.map_or(i64::MAX, |row| table::block_ids(row).1.saturating_add(1));
    }
    for (what, sql) in [
        (
            "shards belong to no stream",
            "SELECT count(*) FROM stream_shard WHERE stream NOT IN (SELECT id FROM stream)",
        ),
        (
            "consumers are registered with no stream",
            "SELECT count(*) FROM stream_registered WHERE stream NOT IN (SELECT id FROM stream)",
        ),
        (
            "tags belong to no registered consumer, or to no stream",
            "SELECT (SELECT count(*) FROM stream_registered_tag
                 WHERE consumer NOT IN (SELECT id FROM stream_registered))
             + (SELECT count(*) FROM stream_tag WHERE stream NOT IN (SELECT id FROM stream))",
        ),
        (
            "places of readers belong to no reader, or to no shard",
            "SELECT count(*) FROM stream_position
             WHERE consumer NOT IN (SELECT id FROM stream_consumer)
                 OR shard NOT IN (SELECT id FROM stream_shard)",
        ),
    ] {
        let count: i64 = snapshot.query_row(sql, [], |row| row.get(0))?;
        if count > 0 {
            told.push(format!("{count} {what}"));
        }
    }
    Ok(told)
}
