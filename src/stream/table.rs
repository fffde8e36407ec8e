//! The tables of streams: SQL.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::config::StreamConfig;

use super::Difference;
use super::HashRange;
use super::Shard;
use super::ShardId;
use super::StreamSummary;
use super::sequence::Position;
use super::sequence::SequenceNumber;
use super::shard::split_evenly;

/// Version 1. `floor_…` is what retention has taken, so that numbers and totals go on from there.
pub(crate) const SCHEMA: &str = "
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    retention_ms INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE stream_shard (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES stream (id),
    number INTEGER NOT NULL,
    hash_start BLOB NOT NULL,
    hash_end BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    floor_block INTEGER NOT NULL DEFAULT 0,
    floor_records INTEGER NOT NULL DEFAULT 0,
    floor_bytes INTEGER NOT NULL DEFAULT 0,
    floor_peak_at INTEGER,
    UNIQUE (stream, number)
) STRICT;
CREATE TABLE stream_block (
    id INTEGER PRIMARY KEY,
    record_count INTEGER NOT NULL,
    records_total INTEGER NOT NULL,
    bytes_total INTEGER NOT NULL,
    peak_at INTEGER NOT NULL,
    records BLOB NOT NULL
) STRICT;
";

/// Joined the schema with encryption: whether what is written is encrypted, and the id of the key that was asked for
/// last.
pub(crate) const ENCRYPTION_SCHEMA: &str = "
ALTER TABLE stream ADD COLUMN is_encrypted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN key_id TEXT;
";

/// The id of the key that records of a stream are encrypted with, if they are.
pub(super) const KEY_ID: &str = "iif(stream.is_encrypted, stream.key_id, NULL)";

/// The low bits of a block's row id are its number, those above it the shard's row.
const BLOCK_BITS: u32 = 40;
pub(super) const BLOCK_MASK: i64 = (1 << BLOCK_BITS) - 1;

/// The row ids of a shard's blocks, both ends included.
pub(super) fn block_ids(shard_row: i64) -> (i64, i64) {
    (shard_row << BLOCK_BITS, shard_row << BLOCK_BITS | BLOCK_MASK)
}

pub(super) fn block_id(shard_row: i64, block: u64) -> i64 {
    shard_row << BLOCK_BITS | i64::try_from(block).unwrap_or(BLOCK_MASK).min(BLOCK_MASK)
}

fn block_number(id: i64) -> u64 {
    (id & BLOCK_MASK).unsigned_abs()
}

/// How far a shard has come: its last block, or what retention left of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    /// Number of the last block; 0 before the first.
    pub(super) block: u64,
    /// Records ever written.
    pub(super) records: i64,
    /// Bytes of data and keys ever written.
    pub(super) bytes: i64,
    /// Latest time of any record.
    pub(super) peak_at: Option<i64>,
}

impl Tail {
    /// Records ever written.
    pub(super) fn records(&self) -> u64 {
        self.records.unsigned_abs()
    }

    /// Latest time of any record.
    pub(super) fn peak_at(&self) -> Option<Timestamp> {
        self.peak_at.map(Timestamp::from_millis)
    }

    /// Goes on from `SELECT block, records, bytes, peak_at`.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Tail> {
        let block: i64 = row.get(0)?;
        Ok(Tail {
            block: block_number(block),
            records: row.get(1)?,
            bytes: row.get(2)?,
            peak_at: row.get(3)?,
        })
    }
}

pub(super) fn load_tail(connection: &Connection, shard_row: i64) -> rusqlite::Result<Tail> {
    let (first, last) = block_ids(shard_row);
    let written = connection
        .prepare_cached(
            "SELECT id, records_total, bytes_total, peak_at FROM stream_block
             WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row([first, last], Tail::read)
        .optional()?;
    match written {
        Some(tail) => Ok(tail),
        None => load_floor(connection, shard_row),
    }
}

pub(super) fn load_floor(connection: &Connection, shard_row: i64) -> rusqlite::Result<Tail> {
    let floor = connection
        .prepare_cached(
            "SELECT floor_block, floor_records, floor_bytes, floor_peak_at FROM stream_shard
             WHERE id = ?1",
        )?
        .query_row([shard_row], Tail::read)
        .optional()?;
    // A shard that is gone has nothing: whoever stood in it is at its end.
    Ok(floor.unwrap_or_default())
}

pub(super) fn read_hash(row: &Row<'_>, column: usize) -> rusqlite::Result<u128> {
    row.get::<_, [u8; 16]>(column).map(u128::from_be_bytes)
}

pub(super) fn seconds_of(millis: i64) -> u64 {
    u64::try_from(millis / 1000).unwrap_or(0)
}

/// Bytes of data and keys that a stream holds.
pub(super) fn held(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let mut held = 0;
    for row in shard_rows(connection, name)? {
        let (tail, floor) = (load_tail(connection, row)?, load_floor(connection, row)?);
        held += (tail.bytes - floor.bytes).unsigned_abs();
    }
    Ok(held)
}

/// The rows of a stream's shards, closed ones included.
pub(super) fn shard_rows(connection: &Connection, name: &str) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached(
            "SELECT id FROM stream_shard WHERE stream = (SELECT id FROM stream WHERE name = ?1)",
        )?
        .query_map([name], |row| row.get(0))?
        .collect()
}

pub(super) fn find_stream(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM stream WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(super) fn create(
    transaction: &Connection,
    name: &str,
    config: &StreamConfig,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let id = transaction
        .prepare_cached(
            "INSERT INTO stream (name, retention_ms, created_at, shards_made)
             VALUES (?1, ?2, ?3, ?4) RETURNING id",
        )?
        .query_row(
            params![name, to_millis(config.retention), now.as_millis(), config.shards.max(1)],
            |row| row.get(0),
        )?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO stream_shard (stream, number, hash_start, hash_end, created_at, opened_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
    )?;
    for (number, range) in split_evenly(config.shards.max(1)).enumerate() {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let (start, end) = (range.start.to_be_bytes(), range.end.to_be_bytes());
        insert.execute(params![id, number, start, end, now.as_millis()])?;
    }
    Ok(id)
}

pub(super) fn to_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Makes and adjusts streams, as [`super::declare`] says.
pub(super) fn declare(
    transaction: &Connection,
    streams: &[(String, Option<StreamConfig>)],
    now: Timestamp,
) -> rusqlite::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (name, config) in streams {
        let found = transaction
            .prepare_cached("SELECT id, retention_ms FROM stream WHERE name = ?1")?
            .query_row([name], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let Some((id, retention_ms)) = found else {
            create(transaction, name, &config.clone().unwrap_or_default(), now)?;
            continue;
        };
        // What nobody declares is as it was declared before.
        let Some(config) = config else { continue };
        let before = Duration::from_millis(retention_ms.unsigned_abs());
        if config.retention < before {
            let (stream, now) = (name.clone(), config.retention);
            differences.push(Difference::ShorterRetention { stream, before, now });
        }
        transaction
            .prepare_cached("UPDATE stream SET retention_ms = ?2 WHERE id = ?1")?
            .execute(params![id, to_millis(config.retention)])?;
        let shards: u32 = transaction
            .prepare_cached(
                "SELECT count(*) FROM stream_shard WHERE stream = ?1 AND closed_at IS NULL",
            )?
            .query_row([id], |row| row.get(0))?;
        if shards != config.shards {
            let (stream, declared) = (name.clone(), config.shards);
            differences.push(Difference::OtherShards { stream, kept: shards, declared });
        }
    }
    Ok(differences)
}

/// All stream names, in order.
pub(super) fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT name FROM stream WHERE was_named IS NULL ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Name, retention and creation of each stream, with its row, in order of the names.
fn definitions(connection: &Connection) -> rusqlite::Result<Vec<(i64, StreamSummary)>> {
    connection
        .prepare_cached(
            "SELECT id, name, retention_ms, created_at FROM stream
             WHERE was_named IS NULL ORDER BY name",
        )?
        .query_map([], |row| {
            let summary = StreamSummary {
                name: row.get(1)?,
                shards: 0,
                retention: Duration::from_millis(row.get::<_, i64>(2)?.unsigned_abs()),
                created_at: Timestamp::from_millis(row.get(3)?),
                records: 0,
                bytes: 0,
                first_at: None,
                last_at: None,
            };
            Ok((row.get(0)?, summary))
        })?
        .collect()
}

/// All streams with what is in them, in order of their names.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<StreamSummary>> {
    // One snapshot, so that totals and floors belong together.
    let snapshot = connection.unchecked_transaction()?;
    let mut streams = Vec::new();
    for (id, mut summary) in definitions(&snapshot)? {
        for shard in load_shards(&snapshot, id)? {
            summary.shards += usize::from(shard.closed_at.is_none());
            summary.records += shard.records;
            summary.bytes += shard.bytes;
            summary.first_at = summary.first_at.into_iter().chain(shard.first_at).min();
            summary.last_at = summary.last_at.max(shard.last_at);
        }
        streams.push(summary);
    }
    Ok(streams)
}

/// The shards of a stream, in order of their numbers; `None` when there is no such stream.
pub(super) fn shards(connection: &Connection, name: &str) -> rusqlite::Result<Option<Vec<Shard>>> {
    let snapshot = connection.unchecked_transaction()?;
    match find_stream(&snapshot, name)? {
        Some(id) => load_shards(&snapshot, id).map(Some),
        None => Ok(None),
    }
}

fn load_shards(connection: &Connection, stream: i64) -> rusqlite::Result<Vec<Shard>> {
    let mut select = connection.prepare_cached(
        "SELECT id, number, created_at, hash_start, hash_end, parent, adjacent_parent, closed_at
         FROM stream_shard WHERE stream = ?1 ORDER BY number",
    )?;
    let mut rows = select.query([stream])?;
    let mut shards = Vec::new();
    while let Some(row) = rows.next()? {
        let (shard_row, id) = (row.get(0)?, ShardId(row.get(1)?));
        let made = seconds_of(row.get(2)?);
        let (tail, floor) = (load_tail(connection, shard_row)?, load_floor(connection, shard_row)?);
        let number = |position| SequenceNumber::new(made, position, id);
        let ends = load_ends(connection, shard_row)?;
        shards.push(Shard {
            id,
            range: HashRange { start: read_hash(row, 3)?, end: read_hash(row, 4)? },
            records: (tail.records - floor.records).unsigned_abs(),
            bytes: (tail.bytes - floor.bytes).unsigned_abs(),
            first: ends.map(|(first, _)| number(first)),
            last: ends.map(|(_, last)| number(last)),
            first_at: match ends {
                Some((first, _)) => Some(peak_of(connection, shard_row, first.block())?),
                None => None,
            },
            last_at: ends.and(tail.peak_at).map(Timestamp::from_millis),
            parents: [row.get(5)?, row.get(6)?].map(|parent: Option<u32>| parent.map(ShardId)),
            closed_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
            row: shard_row,
            made,
        });
    }
    Ok(shards)
}

/// Positions of the first and the last record stored.
fn load_ends(
    connection: &Connection,
    shard_row: i64,
) -> rusqlite::Result<Option<(Position, Position)>> {
    let (first, last) = block_ids(shard_row);
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(id) FROM stream_block WHERE id BETWEEN ?1 AND ?2")?
        .query_row([first, last], |row| row.get(0))?;
    let newest = connection
        .prepare_cached(
            "SELECT id, record_count FROM stream_block WHERE id BETWEEN ?1 AND ?2
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([first, last], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    Ok(oldest.zip(newest).map(|(oldest, (newest, count))| {
        let index = u16::try_from(count - 1).unwrap_or(u16::MAX);
        (Position::new(block_number(oldest), 0), Position::new(block_number(newest), index))
    }))
}

/// The latest time of any record up to and including a block's.
fn peak_of(connection: &Connection, shard_row: i64, block: u64) -> rusqlite::Result<Timestamp> {
    connection
        .prepare_cached("SELECT peak_at FROM stream_block WHERE id = ?1")?
        .query_row([block_id(shard_row, block)], |row| row.get(0))
        .map(Timestamp::from_millis)
}

/// The position from which on a shard has `count` records, or all it has when that is fewer;
/// `None` when it has none.
pub(super) fn find_last(
    connection: &Connection,
    shard_row: i64,
    count: u64,
) -> rusqlite::Result<Option<Position>> {
    let (first, last) = block_ids(shard_row);
    let mut select = connection.prepare_cached(
        "SELECT id, record_count FROM stream_block WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC",
    )?;
    let mut rows = select.query([first, last])?;
    let (mut missing, mut found) = (count, None);
    while let Some(row) = rows.next()? {
        let (id, records) = (row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs());
        let skipped = u16::try_from(records.saturating_sub(missing)).unwrap_or(u16::MAX);
        found = Some(Position::new(block_number(id), skipped));
        missing = missing.saturating_sub(records);
        if missing == 0 {
            break;
        }
    }
    Ok(found)
}

/// The number that the next block of a shard will get.
pub(super) fn next_block(connection: &Connection, shard_row: i64) -> rusqlite::Result<u64> {
    load_tail(connection, shard_row).map(|tail| tail.block + 1)
}

/// The latest time of any record a shard has had.
pub(super) fn newest_at(
    connection: &Connection,
    shard_row: i64,
) -> rusqlite::Result<Option<Timestamp>> {
    Ok(load_tail(connection, shard_row)?.peak_at.map(Timestamp::from_millis))
}

/// The first block whose records reach `at` or later. The running latest time grows with the block
/// number, and block numbers have no gaps after the oldest, so this is a binary search.
pub(super) fn find_time(
    connection: &Connection,
    shard_row: i64,
    at: Timestamp,
) -> rusqlite::Result<Option<u64>> {
    let snapshot = connection.unchecked_transaction()?;
    search_time(&snapshot, shard_row, at)
}

/// [`find_time`] inside of a transaction.
pub(super) fn search_time(
    transaction: &Connection,
    shard_row: i64,
    at: Timestamp,
) -> rusqlite::Result<Option<u64>> {
    let Some((first, last)) = load_ends(transaction, shard_row)? else { return Ok(None) };
    let (mut low, mut high) = (first.block(), last.block() + 1);
    let mut select =
        transaction.prepare_cached("SELECT peak_at FROM stream_block WHERE id = ?1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let peak: i64 = select.query_row([block_id(shard_row, middle)], |row| row.get(0))?;
        if peak >= at.as_millis() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok((low <= last.block()).then_some(low))
}

/// Where the oldest record of a shard stands, and how many there were before it.
pub(super) fn trim_horizon(
    transaction: &Connection,
    shard_row: i64,
) -> rusqlite::Result<(Position, i64)> {
    let floor = load_floor(transaction, shard_row)?;
    Ok((Position::new(floor.block + 1, 0), floor.records))
}

/// Where the next record of a shard will stand, and how many there are before it.
pub(super) fn tip(transaction: &Connection, shard_row: i64) -> rusqlite::Result<(Position, i64)> {
    let tail = load_tail(transaction, shard_row)?;
    Ok((Position::new(tail.block + 1, 0), tail.records))
}

/// Where the first block begins whose records reach `at` or later, and how many records there are
/// before it.
pub(super) fn first_since(
    transaction: &Connection,
    shard_row: i64,
    at: Timestamp,
) -> rusqlite::Result<Option<(Position, i64)>> {
    let Some(block) = search_time(transaction, shard_row, at)? else { return Ok(None) };
    let before = transaction
        .prepare_cached("SELECT records_total - record_count FROM stream_block WHERE id = ?1")?
        .query_row([block_id(shard_row, block)], |row| row.get(0))?;
    Ok(Some((Position::new(block, 0), before)))
}

/// The name of the stream that a shard belongs to.
pub(super) fn stream_of(
    connection: &Connection,
    shard_row: i64,
) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "SELECT coalesce(was_named, name) FROM stream
             WHERE id = (SELECT stream FROM stream_shard WHERE id = ?1)",
        )?
        .query_row([shard_row], |row| row.get(0))
        .optional()
}

/// The streams that are, or have been, encrypted: name, the last key's id, and whether they are.
pub(super) fn encrypted(connection: &Connection) -> rusqlite::Result<Vec<(String, String, bool)>> {
    connection
        .prepare_cached(
            "SELECT name, key_id, is_encrypted FROM stream
             WHERE key_id IS NOT NULL AND was_named IS NULL ORDER BY name",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// A block number that no shard reaches.
pub(super) const NO_BLOCK: u64 = BLOCK_MASK.unsigned_abs();

/// Shows the blocks of a shard from number `from` to number `to`, in order, until `visit` has enough.
pub(super) fn for_each_block<E: From<rusqlite::Error>>(
    connection: &Connection,
    shard_row: i64,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, &[u8]) -> Result<bool, E>,
) -> Result<(), E> {
    let mut select = connection.prepare_cached(
        "SELECT id, records FROM stream_block WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = select.query([block_id(shard_row, from), block_id(shard_row, to)])?;
    while let Some(row) = rows.next()? {
        let number = block_number(row.get(0)?);
        let blob = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        if !visit(number, blob)? {
            break;
        }
    }
    Ok(())
}

/// Changes when another connection has committed (`PRAGMA data_version`).
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}
