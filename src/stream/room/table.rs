//! The tables of streams, as far as their room goes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;

use rusqlite::Connection;
use rusqlite::OptionalExtension;

use crate::limits;
use crate::stream::meter::Amount;
use crate::stream::retention;
use crate::stream::table;
use crate::stream::table::Tail;

/// What one job has dropped.
pub(super) struct Dropped {
    pub(super) lost: Amount,
    /// Bytes of data and keys that are left.
    pub(super) held: u64,
    /// Whether there is nothing more to drop.
    pub(super) is_done: bool,
}

/// Bytes of data and keys of the streams that are asked for.
pub(super) fn held(
    connection: &Connection,
    is_asked: impl Fn(&str) -> bool,
) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for name in table::names(connection)?.into_iter().filter(|name| is_asked(name)) {
        let bytes = table::held(connection, &name)?;
        found.push((name, bytes));
    }
    Ok(found)
}

/// The next block of a shard: by the latest time up to it, so that the oldest goes first.
type Head = Reverse<(Option<i64>, i64, u64)>;

/// Drops the oldest blocks of a stream until it holds `target` bytes, up to the bounds of retention.
pub(super) fn drop_oldest(
    transaction: &Connection,
    name: &str,
    target: u64,
) -> rusqlite::Result<Dropped> {
    let mut shards = HashMap::new();
    let mut heads: BinaryHeap<Head> = BinaryHeap::new();
    let mut held = 0;
    for row in table::shard_rows(transaction, name)? {
        let floor = table::load_floor(transaction, row)?;
        held += (table::load_tail(transaction, row)?.bytes - floor.bytes).unsigned_abs();
        if let Some(next) = block_after(transaction, row, floor.block)? {
            heads.push(Reverse((next.peak_at, row, next.block)));
            shards.insert(row, (floor, next));
        }
    }
    let mut dropped = Dropped { lost: Amount::default(), held, is_done: true };
    let mut cut: HashMap<i64, Tail> = HashMap::new();
    let mut blocks = 0;
    while dropped.held > target
        && let Some(Reverse((_, row, _))) = heads.pop()
        && let Some((before, block)) = shards.remove(&row)
    {
        let bytes = (block.bytes - before.bytes).unsigned_abs();
        dropped.held = dropped.held.saturating_sub(bytes);
        dropped.lost.bytes += bytes;
        dropped.lost.records += block.records() - before.records();
        cut.insert(row, block);
        if let Some(next) = block_after(transaction, row, block.block)? {
            heads.push(Reverse((next.peak_at, row, next.block)));
            shards.insert(row, (block, next));
        }
        blocks += 1;
        let lost = i64::try_from(dropped.lost.bytes).unwrap_or(i64::MAX);
        if blocks >= limits::RETENTION_BLOCKS_MAX || lost >= limits::RETENTION_BYTES_MAX {
            dropped.is_done = dropped.held <= target;
            break;
        }
    }
    for (row, until) in cut {
        retention::take_until(transaction, row, &until)?;
    }
    Ok(dropped)
}

fn block_after(
    transaction: &Connection,
    shard_row: i64,
    block: u64,
) -> rusqlite::Result<Option<Tail>> {
    let (_, last) = table::block_ids(shard_row);
    transaction
        .prepare_cached(
            "SELECT id, records_total, bytes_total, peak_at FROM stream_block
             WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1",
        )?
        .query_row([table::block_id(shard_row, block) + 1, last], Tail::read)
        .optional()
}
