//! The tables of retention: SQL.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::Transaction;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::limits;
use crate::stream::lineage;
use crate::stream::table::BLOCK_MASK;
use crate::stream::table::Tail;
use crate::stream::table::block_id;
use crate::stream::table::block_ids;
use crate::stream::table::load_floor;
use crate::stream::table::load_tail;
use crate::stream::table::search_time;

use super::Change;
use super::Run;
use super::Runs;

/// Version 6.
pub(crate) const SCHEMA: &str = "
CREATE TABLE stream_run (
    id INTEGER PRIMARY KEY,
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL
) STRICT;
";

/// One job of retention; answers whether there may be more to do.
pub(super) fn turn(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<bool> {
    let mut runs = load_runs(transaction)?;
    let change = runs.note(now, longest_retention(transaction)?);
    save_runs(transaction, &change)?;
    if set_back(transaction, now)? || lineage::clear_piece(transaction)? {
        return Ok(true);
    }
    trim(transaction, |retention| runs.horizon(retention))
}

fn load_runs(connection: &Connection) -> rusqlite::Result<Runs> {
    let mut select =
        connection.prepare_cached("SELECT id, began_at, ended_at FROM stream_run ORDER BY id")?;
    let runs = select.query_map([], |row| {
        Ok(Run {
            id: row.get(0)?,
            began_at: Timestamp::from_millis(row.get(1)?),
            ended_at: Timestamp::from_millis(row.get(2)?),
        })
    })?;
    Ok(Runs(runs.collect::<rusqlite::Result<_>>()?))
}

fn save_runs(transaction: &Connection, change: &Change) -> rusqlite::Result<()> {
    let mut write =
        transaction.prepare_cached("INSERT OR REPLACE INTO stream_run VALUES (?1, ?2, ?3)")?;
    for run in &change.written {
        write.execute([run.id, run.began_at.as_millis(), run.ended_at.as_millis()])?;
    }
    let mut delete = transaction.prepare_cached("DELETE FROM stream_run WHERE id = ?1")?;
    for id in &change.gone {
        delete.execute([id])?;
    }
    Ok(())
}

/// What was written before this has been kept for `retention`, as the last look saw it; `None` when nothing has.
pub(in crate::stream) fn kept_since(
    connection: &Connection,
    retention: Duration,
) -> rusqlite::Result<Option<Timestamp>> {
    Ok(load_runs(connection)?.horizon(retention))
}

/// The longest retention of any stream.
fn longest_retention(connection: &Connection) -> rusqlite::Result<Duration> {
    let longest: Option<i64> = connection
        .prepare_cached("SELECT max(retention_ms) FROM stream")?
        .query_row([], |row| row.get(0))?;
    Ok(Duration::from_millis(longest.unwrap_or_default().unsigned_abs()))
}

/// Takes the latest times that are later than `now` for `now`, up to the bounds of [`trim`]: the clock was
/// ahead in an earlier run. Answers whether there may be more of them.
///
/// From the oldest on, so that the latest times of a shard never go down on the way.
pub(in crate::stream) fn set_back(
    transaction: &Connection,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached("UPDATE stream_shard SET closed_at = ?1 WHERE closed_at > ?1")?
        .execute([now.as_millis()])?;
    let mut select = transaction.prepare_cached("SELECT id FROM stream_shard ORDER BY id")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let shard_row: i64 = row.get(0)?;
        let is_ahead = |tail: Tail| tail.peak_at > Some(now.as_millis());
        if is_ahead(load_floor(transaction, shard_row)?) {
            transaction
                .prepare_cached("UPDATE stream_shard SET floor_peak_at = ?2 WHERE id = ?1")?
                .execute([shard_row, now.as_millis()])?;
        }
        if is_ahead(load_tail(transaction, shard_row)?)
            && set_back_shard(transaction, shard_row, now)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn set_back_shard(
    transaction: &Connection,
    shard_row: i64,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let after = now + Duration::from_millis(1);
    let Some(first) = search_time(transaction, shard_row, after)? else { return Ok(false) };
    let (first, (_, last)) = (block_id(shard_row, first), block_ids(shard_row));
    let mut select = transaction.prepare_cached(
        "SELECT id, bytes_total FROM stream_block WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
    )?;
    let most = i64::try_from(limits::RETENTION_BLOCKS_MAX).unwrap_or(i64::MAX);
    let mut rows = select.query([first, last, most])?;
    let (mut until, mut count, mut from_bytes) = (first, 0, None);
    let mut at_bound = false;
    while let Some(row) = rows.next()? {
        let bytes: i64 = row.get(1)?;
        until = row.get(0)?;
        count += 1;
        at_bound = bytes - *from_bytes.get_or_insert(bytes) >= limits::RETENTION_BYTES_MAX
            || count >= limits::RETENTION_BLOCKS_MAX;
        if at_bound {
            break;
        }
    }
    drop(rows);
    transaction
        .prepare_cached("UPDATE stream_block SET peak_at = ?3 WHERE id BETWEEN ?1 AND ?2")?
        .execute([first, until, now.as_millis()])?;
    Ok(at_bound)
}

/// Deletes blocks whose records are all older than what `horizon` says of their stream's retention, up
/// to a bound of [`limits::RETENTION_BLOCKS_MAX`] and [`limits::RETENTION_BYTES_MAX`]; answers whether
/// there may be more to delete. A shard that was closed as long ago and is empty goes, too.
pub(in crate::stream) fn trim(
    transaction: &Connection,
    horizon: impl Fn(Duration) -> Option<Timestamp>,
) -> rusqlite::Result<bool> {
    let mut select = transaction.prepare_cached(
        "SELECT shard.id, stream.retention_ms, shard.closed_at FROM stream_shard AS shard
         JOIN stream ON stream.id = shard.stream WHERE stream.was_named IS NULL ORDER BY shard.id",
    )?;
    let mut rows = select.query([])?;
    let mut expired = Vec::new();
    while let Some(row) = rows.next()? {
        let shard_row = row.get(0)?;
        let retention = Duration::from_millis(row.get::<_, i64>(1)?.unsigned_abs());
        let closed_at: Option<i64> = row.get(2)?;
        let Some(horizon) = horizon(retention) else { continue };
        if trim_shard(transaction, shard_row, horizon)? {
            return Ok(true);
        }
        // All of its records are from before it was closed, so it is empty.
        if closed_at.is_some_and(|closed_at| closed_at < horizon.as_millis())
            && is_empty(transaction, shard_row)?
        {
            expired.push(shard_row);
        }
    }
    drop(rows);
    for shard_row in expired {
        lineage::expire_shard(transaction, shard_row)?;
    }
    Ok(false)
}

fn is_empty(transaction: &Connection, shard_row: i64) -> rusqlite::Result<bool> {
    let (first, last) = block_ids(shard_row);
    transaction
        .prepare_cached("SELECT 1 FROM stream_block WHERE id BETWEEN ?1 AND ?2")?
        .exists([first, last])
        .map(|exists| !exists)
}

/// Deletes from one shard what is older than `horizon`; answers whether it reached a bound.
fn trim_shard(
    transaction: &Connection,
    shard_row: i64,
    horizon: Timestamp,
) -> rusqlite::Result<bool> {
    let floor = load_floor(transaction, shard_row)?;
    let (first, last) = block_ids(shard_row);
    let mut expired = None;
    let mut at_bound = false;
    {
        let mut select = transaction.prepare_cached(
            "SELECT id, records_total, bytes_total, peak_at FROM stream_block
             WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        )?;
        let mut rows = select.query([first, last])?;
        let mut blocks = 0;
        while let Some(row) = rows.next()? {
            let tail = Tail::read(row)?;
            if tail.peak_at >= Some(horizon.as_millis()) {
                break;
            }
            expired = Some(tail);
            blocks += 1;
            at_bound = blocks >= limits::RETENTION_BLOCKS_MAX
                || tail.bytes - floor.bytes >= limits::RETENTION_BYTES_MAX;
            if at_bound {
                break;
            }
        }
    }
    let Some(expired) = expired else { return Ok(false) };
    take_until(transaction, shard_row, &expired)?;
    Ok(at_bound)
}

/// Deletes the blocks of a shard up to and including `until`, and notes what they were.
pub(in crate::stream) fn take_until(
    transaction: &Connection,
    shard_row: i64,
    until: &Tail,
) -> rusqlite::Result<()> {
    let (first, _) = block_ids(shard_row);
    transaction
        .prepare_cached("DELETE FROM stream_block WHERE id BETWEEN ?1 AND ?2")?
        .execute([first, block_id(shard_row, until.block)])?;
    transaction
        .prepare_cached(
            "UPDATE stream_shard SET floor_block = ?2, floor_records = ?3, floor_bytes = ?4,
             floor_peak_at = ?5 WHERE id = ?1",
        )?
        .execute(params![
            shard_row,
            i64::try_from(until.block).unwrap_or(BLOCK_MASK),
            until.records,
            until.bytes,
            until.peak_at
        ])?;
    Ok(())
}
