//! The tables of streams and shards as they come and go: SQL.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::Transaction;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::config::StreamConfig;
use crate::limits;
use crate::stream::HashRange;
use crate::stream::SequenceNumber;
use crate::stream::ShardId;
use crate::stream::registered;
use crate::stream::sequence::Position;
use crate::stream::shard::split_evenly;
use crate::stream::table;

use super::Asker;
use super::Change;
use super::Described;
use super::Ending;
use super::NewStream;
use super::Refused;
use super::ShardEntry;
use super::ShardMetrics;
use super::Tag;

/// Joined the schema with the Kinesis API. `shards_made` are the numbers given out; `shape` counts changes of the
/// shards; `was_named` is the name of a stream that has been deleted: its `name` is then one that no stream can
/// have. `opened_at` is the clock's; a shard's `created_at`, which its sequence numbers begin with, may be
/// a little later so that it is above its parents'.
pub(crate) const LINEAGE_SCHEMA: &str = "
ALTER TABLE stream ADD COLUMN is_limited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN record_bytes_max INTEGER NOT NULL DEFAULT 1048576;
ALTER TABLE stream ADD COLUMN shards_made INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN shape INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN was_named TEXT;
ALTER TABLE stream_shard ADD COLUMN opened_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream_shard ADD COLUMN closed_at INTEGER;
ALTER TABLE stream_shard ADD COLUMN closed_block INTEGER;
ALTER TABLE stream_shard ADD COLUMN parent INTEGER;
ALTER TABLE stream_shard ADD COLUMN adjacent_parent INTEGER;
UPDATE stream SET shards_made = (
    SELECT coalesce(max(number) + 1, 0) FROM stream_shard WHERE stream_shard.stream = stream.id
);
UPDATE stream_shard SET opened_at = created_at;
CREATE TABLE stream_tag (
    stream INTEGER NOT NULL REFERENCES stream (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (stream, key)
) STRICT, WITHOUT ROWID;
";

/// Joined the schema with shard-level metrics: which are wanted, as bits.
pub(crate) const MONITORING_SCHEMA: &str =
    "ALTER TABLE stream ADD COLUMN shard_metrics INTEGER NOT NULL DEFAULT 0;";

const ENTRIES: &str =
    "SELECT id, number, created_at, hash_start, hash_end, parent, adjacent_parent,
    opened_at, closed_at, closed_block FROM stream_shard WHERE stream = ?1";

const DESCRIBED: &str =
    "SELECT id, coalesce(was_named, name), created_at, retention_ms, is_limited,
    record_bytes_max, was_named IS NOT NULL,
    (SELECT count(*) FROM stream_shard WHERE stream = stream.id AND closed_at IS NULL),
    shard_metrics, iif(is_encrypted, key_id, NULL)
    FROM stream";

/// What a change answers, or why nothing is changed.
pub(in crate::stream) type Outcome<T> = rusqlite::Result<Result<T, Refused>>;

/// Goes on with what was found, or answers why nothing is changed: `?` is for what SQLite says.
macro_rules! or_refuse {
    ($found:expr) => {
        match $found? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        }
    };
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<ShardEntry> {
    let (id, made) = (ShardId(row.get(1)?), table::seconds_of(row.get(2)?));
    let closed_block: Option<i64> = row.get(9)?;
    let end = closed_block.map(|block| ShardEntry::end(block.unsigned_abs()));
    Ok(ShardEntry {
        id,
        range: HashRange { start: table::read_hash(row, 3)?, end: table::read_hash(row, 4)? },
        parents: [row.get(5)?, row.get(6)?].map(|parent: Option<u32>| parent.map(ShardId)),
        opened_at: Timestamp::from_millis(row.get(7)?),
        closed_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_millis),
        first: SequenceNumber::new(made, Position::new(0, 0), id),
        last: end.map(|end| SequenceNumber::new(made, end, id)),
        row: row.get(0)?,
        made,
    })
}

fn read_described(row: &Row<'_>) -> rusqlite::Result<Described> {
    Ok(Described {
        row: row.get(0)?,
        name: row.get(1)?,
        created_at: Timestamp::from_millis(row.get(2)?),
        retention: Duration::from_millis(row.get::<_, i64>(3)?.unsigned_abs()),
        is_limited: row.get(4)?,
        record_bytes_max: usize::try_from(row.get::<_, i64>(5)?).unwrap_or(usize::MAX),
        is_deleting: row.get(6)?,
        shards_open: row.get::<_, i64>(7)?.unsigned_abs(),
        shard_metrics: ShardMetrics::from_column(row.get(8)?),
        key_id: row.get(9)?,
    })
}

pub(super) fn describe(connection: &Connection, name: &str) -> rusqlite::Result<Option<Described>> {
    let live = connection
        .prepare_cached(&format!("{DESCRIBED} WHERE name = ?1"))?
        .query_row([name], read_described)
        .optional()?;
    if live.is_some() {
        return Ok(live.filter(|stream| !stream.is_deleting));
    }
    connection
        .prepare_cached(&format!("{DESCRIBED} WHERE was_named = ?1 LIMIT 1"))?
        .query_row([name], read_described)
        .optional()
}

pub(super) fn describe_after(
    connection: &Connection,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Described>> {
    let mut select = connection.prepare_cached(&format!(
        "{DESCRIBED} WHERE coalesce(was_named, name) > ?1
         GROUP BY coalesce(was_named, name) ORDER BY coalesce(was_named, name) LIMIT ?2"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    select.query_map(params![after.unwrap_or_default(), limit], read_described)?.collect()
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM stream WHERE was_named IS NULL")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
}

pub(super) fn counts(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let shards: i64 = connection
        .prepare_cached("SELECT count(*) FROM stream_shard WHERE closed_at IS NULL")?
        .query_row([], |row| row.get(0))?;
    let streams: i64 = connection
        .prepare_cached("SELECT count(*) FROM stream WHERE is_limited = 0 AND was_named IS NULL")?
        .query_row([], |row| row.get(0))?;
    Ok((shards.unsigned_abs(), streams.unsigned_abs()))
}

pub(super) fn shape(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let shape = connection
        .prepare_cached("SELECT shape FROM stream WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(shape.unwrap_or_default())
}

pub(super) fn entries(connection: &Connection, stream: i64) -> rusqlite::Result<Vec<ShardEntry>> {
    connection
        .prepare_cached(&format!("{ENTRIES} ORDER BY number"))?
        .query_map([stream], read_entry)?
        .collect()
}

pub(super) fn entry(
    connection: &Connection,
    stream: i64,
    shard: ShardId,
) -> rusqlite::Result<Option<ShardEntry>> {
    connection
        .prepare_cached(&format!("{ENTRIES} AND number = ?2"))?
        .query_row(params![stream, shard.0], read_entry)
        .optional()
}

pub(super) fn children(
    connection: &Connection,
    stream: i64,
    shard: ShardId,
) -> rusqlite::Result<Vec<ShardEntry>> {
    connection
        .prepare_cached(&format!(
            "{ENTRIES} AND number > ?2 AND (parent = ?2 OR adjacent_parent = ?2) ORDER BY number"
        ))?
        .query_map(params![stream, shard.0], read_entry)?
        .collect()
}

pub(super) fn tags(connection: &Connection, stream: i64) -> rusqlite::Result<Vec<Tag>> {
    connection
        .prepare_cached("SELECT key, value FROM stream_tag WHERE stream = ?1 ORDER BY key")?
        .query_map([stream], |row| Ok(Tag { key: row.get(0)?, value: row.get(1)? }))?
        .collect()
}

/// A stream that can be changed.
pub(in crate::stream) fn live(connection: &Connection, name: &str) -> Outcome<Described> {
    Ok(match describe(connection, name)? {
        Some(stream) if stream.is_deleting => Err(Refused::Deleting),
        Some(stream) => Ok(stream),
        None => Err(Refused::Unknown),
    })
}

/// Whether so many more shards can be opened. A change that closes as many first needs room for both.
fn has_room(connection: &Connection, open: u64, made: u64) -> rusqlite::Result<bool> {
    let (kept, live): (i64, i64) = connection
        .prepare_cached("SELECT count(*), count(*) - count(closed_at) FROM stream_shard")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(live.unsigned_abs() + open <= limits::SHARDS_MAX
        && kept.unsigned_abs() + made <= limits::SHARDS_KEPT_MAX)
}

pub(in crate::stream) fn create(
    transaction: &Transaction<'_>,
    new: &NewStream,
    now: Timestamp,
) -> Outcome<()> {
    match describe(transaction, &new.name)? {
        Some(stream) if stream.is_deleting => return Ok(Err(Refused::Deleting)),
        Some(_) => return Ok(Err(Refused::Exists)),
        None => {}
    }
    let streams: i64 = transaction
        .prepare_cached("SELECT count(*) FROM stream")?
        .query_row([], |row| row.get(0))?;
    if streams.unsigned_abs() >= limits::STREAMS_MAX {
        return Ok(Err(Refused::Streams));
    }
    if !has_room(transaction, new.shards.into(), new.shards.into())? {
        return Ok(Err(Refused::Shards));
    }
    let config = StreamConfig { shards: new.shards, ..StreamConfig::default() };
    let id = table::create(transaction, &new.name, &config, now)?;
    transaction
        .prepare_cached("UPDATE stream SET is_limited = ?2, record_bytes_max = ?3 WHERE id = ?1")?
        .execute(params![
            id,
            new.is_limited,
            i64::try_from(new.record_bytes_max).unwrap_or(i64::MAX)
        ])?;
    insert_tags(transaction, id, &new.tags)?;
    Ok(Ok(()))
}

pub(in crate::stream) fn delete(
    transaction: &Transaction<'_>,
    name: &str,
    ending: Ending,
) -> Outcome<()> {
    let stream = or_refuse!(live(transaction, name));
    let reader: Option<String> = transaction
        .prepare_cached("SELECT name FROM stream_consumer WHERE stream = ?1 LIMIT 1")?
        .query_row([stream.row], |row| row.get(0))
        .optional()?;
    if let Some(rule) = reader {
        return Ok(Err(Refused::Read(rule)));
    }
    let consumers = registered::count(transaction, stream.row)?;
    if ending == Ending::Unread && consumers > 0 {
        return Ok(Err(Refused::Consumed(consumers)));
    }
    registered::end_all(transaction, stream.row)?;
    // No name of a stream has a dollar sign.
    transaction
        .prepare_cached("UPDATE stream SET was_named = name, name = '$' || id WHERE id = ?1")?
        .execute([stream.row])?;
    Ok(Ok(()))
}

/// Deletes a piece of what deleted streams have left; answers whether there may be more.
pub(in crate::stream) fn clear(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let stream: Option<i64> = transaction
        .prepare_cached("SELECT id FROM stream WHERE was_named IS NOT NULL LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(stream) = stream else { return Ok(false) };
    let shard: Option<i64> = transaction
        .prepare_cached("SELECT id FROM stream_shard WHERE stream = ?1 LIMIT 1")?
        .query_row([stream], |row| row.get(0))
        .optional()?;
    let Some(shard) = shard else {
        transaction
            .prepare_cached("DELETE FROM stream_tag WHERE stream = ?1")?
            .execute([stream])?;
        transaction.prepare_cached("DELETE FROM stream WHERE id = ?1")?.execute([stream])?;
        return Ok(true);
    };
    let (first, last) = table::block_ids(shard);
    let most = i64::try_from(limits::RETENTION_BLOCKS_MAX).unwrap_or(i64::MAX);
    // Up to so many bytes, and one block at least.
    let until: Option<i64> = transaction
        .prepare_cached(
            "SELECT max(id) FROM (
                SELECT id, bytes_total, min(bytes_total) OVER () AS least FROM (
                    SELECT id, bytes_total FROM stream_block WHERE id BETWEEN ?1 AND ?2
                    ORDER BY id LIMIT ?3
                )
             ) WHERE bytes_total - least <= ?4",
        )?
        .query_row([first, last, most, limits::RETENTION_BYTES_MAX], |row| row.get(0))?;
    match until {
        Some(until) => transaction
            .prepare_cached("DELETE FROM stream_block WHERE id BETWEEN ?1 AND ?2")?
            .execute([first, until])?,
        None => transaction
            .prepare_cached("DELETE FROM stream_shard WHERE id = ?1")?
            .execute([shard])?,
    };
    Ok(true)
}

/// Removes a closed shard that has no records any more, with the places of those who read it.
pub(in crate::stream) fn expire_shard(
    transaction: &Connection,
    shard_row: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM stream_position WHERE shard = ?1")?
        .execute([shard_row])?;
    transaction
        .prepare_cached(
            "UPDATE stream SET shape = shape + 1
             WHERE id = (SELECT stream FROM stream_shard WHERE id = ?1)",
        )?
        .execute([shard_row])?;
    transaction.prepare_cached("DELETE FROM stream_shard WHERE id = ?1")?.execute([shard_row])?;
    Ok(())
}

/// A stream whose shards can be changed.
fn scalable(connection: &Connection, asker: Asker, name: &str) -> Outcome<Described> {
    Ok(live(connection, name)?.and_then(|stream| {
        match stream.is_limited || asker == Asker::Operator {
            true => Ok(stream),
            false => Err(Refused::OnDemand),
        }
    }))
}

/// A shard of it that takes records.
fn open_entry(connection: &Connection, stream: &Described, shard: ShardId) -> Outcome<ShardEntry> {
    Ok(match entry(connection, stream.row, shard)? {
        Some(entry) if entry.closed_at.is_some() => Err(Refused::Closed(shard)),
        Some(entry) => Ok(entry),
        None => Err(Refused::UnknownShard(shard)),
    })
}

pub(super) fn split(
    transaction: &Transaction<'_>,
    asker: Asker,
    name: &str,
    shard: ShardId,
    at: u128,
    now: Timestamp,
) -> Outcome<()> {
    let stream = or_refuse!(scalable(transaction, asker, name));
    let entry = or_refuse!(open_entry(transaction, &stream, shard));
    // As recorded of Kinesis: not the first two hash keys, and not the last.
    if at <= entry.range.start.saturating_add(1) || at >= entry.range.end {
        return Ok(Err(Refused::Outside(shard)));
    }
    if !has_room(transaction, 1, 2)? {
        return Ok(Err(Refused::Shards));
    }
    cut(transaction, stream.row, &entry, at, now)?;
    Ok(Ok(()))
}

pub(super) fn merge(
    transaction: &Transaction<'_>,
    asker: Asker,
    name: &str,
    first: ShardId,
    second: ShardId,
    now: Timestamp,
) -> Outcome<()> {
    let stream = or_refuse!(scalable(transaction, asker, name));
    let mut pair = Vec::with_capacity(2);
    for shard in [first, second] {
        pair.push(or_refuse!(open_entry(transaction, &stream, shard)));
    }
    if pair[0].range.end.checked_add(1) != Some(pair[1].range.start) {
        return Ok(Err(Refused::Apart(first, second)));
    }
    if !has_room(transaction, 0, 1)? {
        return Ok(Err(Refused::Shards));
    }
    join(transaction, stream.row, &pair[0], &pair[1], now)?;
    Ok(Ok(()))
}

pub(super) fn reshape(
    transaction: &Transaction<'_>,
    asker: Asker,
    name: &str,
    target: u32,
    now: Timestamp,
) -> Outcome<u64> {
    let stream = or_refuse!(scalable(transaction, asker, name));
    let (before, after) = (stream.shards_open, u64::from(target));
    if after > before * 2 || after < before.div_ceil(2) {
        return Ok(Err(Refused::Scale(before)));
    }
    // Each boundary of the old and the new shards may cost a cut, which makes two, and a join.
    if !has_room(transaction, after.saturating_sub(before), 3 * (before + after))? {
        return Ok(Err(Refused::Shards));
    }
    let targets: Vec<HashRange> = split_evenly(target).collect();
    let mut open = entries(transaction, stream.row)?;
    open.retain(|entry| entry.closed_at.is_none());
    open.sort_by_key(|entry| entry.range.start);
    let mut pieces = Vec::with_capacity(open.len() + targets.len());
    let mut starts = targets.iter().map(|range| range.start).skip(1).peekable();
    for entry in open {
        let mut rest = entry;
        while let Some(start) = starts.next_if(|start| *start <= rest.range.end) {
            if start > rest.range.start {
                let (left, right) = cut(transaction, stream.row, &rest, start, now)?;
                pieces.push(left);
                rest = right;
            }
        }
        pieces.push(rest);
    }
    let mut pieces = pieces.into_iter();
    for target in targets {
        let Some(mut whole) = pieces.next() else { break };
        while whole.range.end < target.end
            && let Some(next) = pieces.next()
        {
            whole = join(transaction, stream.row, &whole, &next, now)?;
        }
    }
    Ok(Ok(before))
}

fn cut(
    transaction: &Connection,
    stream: i64,
    entry: &ShardEntry,
    at: u128,
    now: Timestamp,
) -> rusqlite::Result<(ShardEntry, ShardEntry)> {
    close(transaction, entry, now)?;
    let parents = [Some(entry), None];
    let left = HashRange { start: entry.range.start, end: at - 1 };
    let right = HashRange { start: at, end: entry.range.end };
    Ok((
        open(transaction, stream, left, parents, now)?,
        open(transaction, stream, right, parents, now)?,
    ))
}

fn join(
    transaction: &Connection,
    stream: i64,
    first: &ShardEntry,
    second: &ShardEntry,
    now: Timestamp,
) -> rusqlite::Result<ShardEntry> {
    close(transaction, first, now)?;
    close(transaction, second, now)?;
    let range = HashRange { start: first.range.start, end: second.range.end };
    open(transaction, stream, range, [Some(first), Some(second)], now)
}

fn close(transaction: &Connection, entry: &ShardEntry, now: Timestamp) -> rusqlite::Result<()> {
    let tail = table::load_tail(transaction, entry.row)?;
    transaction
        .prepare_cached("UPDATE stream_shard SET closed_at = ?2, closed_block = ?3 WHERE id = ?1")?
        .execute(params![
            entry.row,
            now.max(entry.opened_at).as_millis(),
            i64::try_from(tail.block).unwrap_or(table::BLOCK_MASK)
        ])?;
    Ok(())
}

/// Opens a shard with the next number. Whoever reads the stream is to read it from its beginning.
fn open(
    transaction: &Connection,
    stream: i64,
    range: HashRange,
    parents: [Option<&ShardEntry>; 2],
    now: Timestamp,
) -> rusqlite::Result<ShardEntry> {
    let number: u32 = transaction
        .prepare_cached(
            "UPDATE stream SET shards_made = shards_made + 1, shape = shape + 1 WHERE id = ?1
             RETURNING shards_made - 1",
        )?
        .query_row([stream], |row| row.get(0))?;
    let all = || parents.iter().flatten();
    let opened_at = all().map(|parent| parent.opened_at).fold(now, Timestamp::max);
    // In whole seconds later than the parents', so that every number is above theirs.
    let least = all().map(|parent| parent.made + 1).max().unwrap_or(0);
    let least = i64::try_from(least.saturating_mul(1000)).unwrap_or(i64::MAX);
    let made_at = opened_at.as_millis().max(least);
    let [parent, adjacent] = parents.map(|parent| parent.map(|parent| parent.id.0));
    let (start, end) = (range.start.to_be_bytes(), range.end.to_be_bytes());
    let row: i64 = transaction
        .prepare_cached(
            "INSERT INTO stream_shard (stream, number, hash_start, hash_end, created_at, opened_at,
                 parent, adjacent_parent)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
        )?
        .query_row(
            params![stream, number, start, end, made_at, opened_at.as_millis(), parent, adjacent],
            |row| row.get(0),
        )?;
    transaction
        .prepare_cached(
            "INSERT INTO stream_position
             SELECT id, ?2, ?3, 0 FROM stream_consumer WHERE stream = ?1",
        )?
        .execute(params![stream, row, Position::new(1, 0).to_column()])?;
    let (id, made) = (ShardId(number), table::seconds_of(made_at));
    Ok(ShardEntry {
        id,
        range,
        parents: [parent, adjacent].map(|parent| parent.map(ShardId)),
        opened_at,
        closed_at: None,
        first: SequenceNumber::new(made, Position::new(0, 0), id),
        last: None,
        row,
        made,
    })
}

pub(super) fn keep(
    transaction: &Transaction<'_>,
    name: &str,
    retention: Duration,
    change: Change,
) -> Outcome<()> {
    let stream = or_refuse!(live(transaction, name));
    let is_right = match change {
        Change::Longer => retention >= stream.retention,
        Change::Shorter => retention <= stream.retention,
    };
    if !is_right {
        return Ok(Err(Refused::Retention(stream.retention)));
    }
    transaction
        .prepare_cached("UPDATE stream SET retention_ms = ?2 WHERE id = ?1")?
        .execute(params![stream.row, table::to_millis(retention)])?;
    Ok(Ok(()))
}

pub(super) fn limit(transaction: &Transaction<'_>, name: &str, is_limited: bool) -> Outcome<()> {
    let stream = or_refuse!(live(transaction, name));
    transaction
        .prepare_cached("UPDATE stream SET is_limited = ?2 WHERE id = ?1")?
        .execute(params![stream.row, is_limited])?;
    Ok(Ok(()))
}

pub(super) fn size(transaction: &Transaction<'_>, name: &str, bytes_max: usize) -> Outcome<()> {
    let stream = or_refuse!(live(transaction, name));
    transaction
        .prepare_cached("UPDATE stream SET record_bytes_max = ?2 WHERE id = ?1")?
        .execute(params![stream.row, i64::try_from(bytes_max).unwrap_or(i64::MAX)])?;
    Ok(Ok(()))
}

/// The key of before is kept, so that it is known that there may be records under one.
pub(in crate::stream) fn encrypt(
    transaction: &Transaction<'_>,
    name: &str,
    key_id: Option<&str>,
) -> Outcome<()> {
    let stream = or_refuse!(live(transaction, name));
    transaction
        .prepare_cached(
            "UPDATE stream SET is_encrypted = ?2 IS NOT NULL, key_id = coalesce(?2, key_id)
             WHERE id = ?1",
        )?
        .execute(params![stream.row, key_id])?;
    Ok(Ok(()))
}

pub(super) fn monitor(
    transaction: &Transaction<'_>,
    name: &str,
    change: &impl Fn(ShardMetrics) -> ShardMetrics,
) -> Outcome<[ShardMetrics; 2]> {
    let stream = or_refuse!(live(transaction, name));
    let wanted = change(stream.shard_metrics);
    transaction
        .prepare_cached("UPDATE stream SET shard_metrics = ?2 WHERE id = ?1")?
        .execute(params![stream.row, wanted.to_column()])?;
    Ok(Ok([stream.shard_metrics, wanted]))
}

pub(super) fn tag(transaction: &Transaction<'_>, name: &str, tags: &[Tag]) -> Outcome<()> {
    let stream = or_refuse!(live(transaction, name));
    let known = self::tags(transaction, stream.row)?;
    let is_new = |tag: &&Tag| !known.iter().any(|known| known.key == tag.key);
    if known.len() + tags.iter().filter(is_new).count() > limits::STREAM_TAGS_MAX {
        return Ok(Err(Refused::Tags));
    }
    insert_tags(transaction, stream.row, tags)?;
    Ok(Ok(()))
}

fn insert_tags(transaction: &Connection, stream: i64, tags: &[Tag]) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO stream_tag VALUES (?1, ?2, ?3)")?;
    for tag in tags {
        insert.execute(params![stream, tag.key, tag.value])?;
    }
    Ok(())
}

pub(super) fn untag(transaction: &Transaction<'_>, name: &str, keys: &[String]) -> Outcome<()> {
    let stream = or_refuse!(live(transaction, name));
    let mut delete =
        transaction.prepare_cached("DELETE FROM stream_tag WHERE stream = ?1 AND key = ?2")?;
    for key in keys {
        delete.execute(params![stream.row, key])?;
    }
    Ok(Ok(()))
}
