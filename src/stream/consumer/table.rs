//! The tables of consumers.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::config::StreamConfig;
use crate::stream::ShardId;
use crate::stream::sequence::Position;
use crate::stream::table;

use super::Advance;
use super::Consumer;
use super::ConsumerSpec;
use super::ConsumerStart;
use super::Place;

/// Joined the schema with FROM STREAM.
pub(crate) const SCHEMA: &str = "
CREATE TABLE stream_consumer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    stream INTEGER NOT NULL REFERENCES stream (id),
    start TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE stream_position (
    consumer INTEGER NOT NULL REFERENCES stream_consumer (id),
    shard INTEGER NOT NULL REFERENCES stream_shard (id),
    position INTEGER NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (consumer, shard)
) STRICT, WITHOUT ROWID;
";

/// Makes `specs` the consumers there are: one that is there and declared as it began keeps its place,
/// others that read begin, and those that are not declared end. Everything that the transaction
/// has appended so far must have been written.
pub(crate) fn settle(
    transaction: &Connection,
    specs: &[ConsumerSpec],
    now: Timestamp,
) -> rusqlite::Result<()> {
    let declared: HashMap<&str, &ConsumerSpec> =
        specs.iter().map(|spec| (&*spec.name, spec)).collect();
    let mut kept = HashSet::new();
    let mut ended = Vec::new();
    {
        let mut select = transaction.prepare_cached(
            "SELECT consumer.id, consumer.name, stream.name, consumer.start
             FROM stream_consumer AS consumer JOIN stream ON stream.id = consumer.stream",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(1)?.as_str()?;
            let (stream, start) = (row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?);
            match declared.get(name) {
                Some(spec) if *spec.stream == *stream && spec.start.to_string() == start => {
                    kept.insert(&*spec.name);
                }
                _ => ended.push(row.get::<_, i64>(0)?),
            }
        }
    }
    for id in ended {
        transaction
            .prepare_cached("DELETE FROM stream_position WHERE consumer = ?1")?
            .execute([id])?;
        transaction.prepare_cached("DELETE FROM stream_consumer WHERE id = ?1")?.execute([id])?;
    }
    for spec in specs.iter().filter(|spec| spec.reads && !kept.contains(&*spec.name)) {
        begin(transaction, spec, now)?;
    }
    Ok(())
}

fn begin(transaction: &Connection, spec: &ConsumerSpec, now: Timestamp) -> rusqlite::Result<()> {
    let stream = match table::find_stream(transaction, &spec.stream)? {
        Some(stream) => stream,
        None => table::create(transaction, &spec.stream, &StreamConfig::default(), now)?,
    };
    let consumer: i64 = transaction
        .prepare_cached(
            "INSERT INTO stream_consumer (name, stream, start, created_at)
             VALUES (?1, ?2, ?3, ?4) RETURNING id",
        )?
        .query_row(params![spec.name, stream, spec.start.to_string(), now.as_millis()], |row| {
            row.get(0)
        })?;
    let mut select = transaction.prepare_cached("SELECT id FROM stream_shard WHERE stream = ?1")?;
    let shards: Vec<i64> =
        select.query_map([stream], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut insert =
        transaction.prepare_cached("INSERT INTO stream_position VALUES (?1, ?2, ?3, ?4)")?;
    for shard in shards {
        let (position, records) = match spec.start {
            ConsumerStart::TrimHorizon => table::trim_horizon(transaction, shard)?,
            ConsumerStart::Latest => table::tip(transaction, shard)?,
            ConsumerStart::AtTimestamp(at) => match table::first_since(transaction, shard, at)? {
                Some(found) => found,
                None => table::tip(transaction, shard)?,
            },
        };
        insert.execute(params![consumer, shard, position.to_column(), records])?;
    }
    Ok(())
}

/// Moves a consumer; one that has ended is not moved.
pub(crate) fn advance(transaction: &Connection, advance: &Advance) -> rusqlite::Result<()> {
    let Advance { consumer, place } = advance;
    transaction
        .prepare_cached(
            "UPDATE stream_position SET position = ?3, records = ?4
             WHERE consumer = ?1 AND shard = ?2",
        )?
        .execute(params![
            consumer,
            place.shard_row,
            place.next.to_column(),
            i64::try_from(place.records).unwrap_or(i64::MAX)
        ])?;
    Ok(())
}

/// The consumers of a stream, in the order in which they began.
pub(super) fn load(connection: &Connection, stream: &str) -> rusqlite::Result<Vec<Consumer>> {
    let mut select = connection.prepare_cached(
        "SELECT consumer.id, consumer.name, consumer.start, shard.id, shard.number,
             shard.created_at, place.position, place.records, shard.parent, shard.adjacent_parent
         FROM stream JOIN stream_consumer AS consumer ON consumer.stream = stream.id
         JOIN stream_position AS place ON place.consumer = consumer.id
         JOIN stream_shard AS shard ON shard.id = place.shard
         WHERE stream.name = ?1 ORDER BY consumer.id, shard.number",
    )?;
    let mut rows = select.query([stream])?;
    let mut consumers: Vec<Consumer> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if consumers.last().is_none_or(|last| last.id != id) {
            let start = row.get_ref(2)?.as_str()?;
            let millis = start.strip_prefix("AT_TIMESTAMP ").and_then(|at| at.parse().ok());
            consumers.push(Consumer {
                name: Arc::from(row.get_ref(1)?.as_str()?),
                not_before: millis.map(Timestamp::from_millis),
                places: Vec::new(),
                id,
            });
        }
        let place = Place {
            shard_row: row.get(3)?,
            shard: ShardId(row.get(4)?),
            made: table::seconds_of(row.get(5)?),
            next: Position::from_column(row.get(6)?),
            records: row.get::<_, i64>(7)?.unsigned_abs(),
            parents: [row.get(8)?, row.get(9)?].map(|parent: Option<u32>| parent.map(ShardId)),
        };
        if let Some(consumer) = consumers.last_mut() {
            consumer.places.push(place);
        }
    }
    Ok(consumers)
}

/// How far a shard has come, and what retention has taken of it.
pub(super) struct ShardState {
    /// The last block taken.
    pub(super) floor_block: u64,
    /// Records taken.
    pub(super) floor_records: u64,
    /// The last block.
    pub(super) block: u64,
    /// Records ever written.
    pub(super) records: u64,
    /// Time of the newest record.
    pub(super) newest_at: Option<Timestamp>,
}

/// Records of a shard up to the end of a block; `None` when the block is gone.
pub(super) fn records_until(
    connection: &Connection,
    shard_row: i64,
    block: u64,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT records_total FROM stream_block WHERE id = ?1")?
        .query_row([table::block_id(shard_row, block)], |row| row.get::<_, i64>(0))
        .optional()
        .map(|total| total.map(i64::unsigned_abs))
}

pub(super) fn state_of(connection: &Connection, shard_row: i64) -> rusqlite::Result<ShardState> {
    let floor = table::load_floor(connection, shard_row)?;
    let tail = table::load_tail(connection, shard_row)?;
    Ok(ShardState {
        floor_block: floor.block,
        floor_records: floor.records(),
        block: tail.block,
        records: tail.records(),
        newest_at: tail.peak_at(),
    })
}
