//! Consumers: who reads a stream record by record, and how far it has come.
//!
//! A consumer is declared by name with its stream and where to begin ([`ConsumerSpec`]). [`settle`]
//! makes the declared consumers the ones there are; it joins a transaction of the journal's writer, so
//! that LATEST is a place in the order of the commits. [`Reader::consumers`] says where each stands, and
//! [`Reader::read_on`] reads what is behind a place, over the shards of the stream in the order of
//! arrival. The consumer's owner judges the records, moves the places with [`pass`], and commits each
//! [`Advance`] together with what the records caused: nothing is lost and nothing is done twice,
//! whatever the process dies of.
//!
//! Tables: `stream_consumer` (a consumer; its id is never given again, so that an advance on its way to
//! the disk cannot move a later consumer of the same name) and `stream_position` (consumer, shard → the
//! next position, and how many records of the shard are before it, by which the lag and what retention
//! took unread are counted).

mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::STREAM_TURN_DAMAGED_MAX;
use crate::storage::Executor;
use crate::storage::frame::Damaged;

use super::Cursor;
use super::Page;
use super::Reader;
use super::Record;
use super::ShardId;
use super::StreamError;
use super::sequence::Position;

pub(crate) use table::SCHEMA;
pub(crate) use table::advance;
pub(crate) use table::settle;

/// Where a consumer that is new begins (Kinesis: `InitialPositionInStream`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerStart {
    /// The oldest record stored.
    TrimHorizon,
    /// Behind the newest record stored.
    Latest,
    /// Records that arrived then or later. Others are passed over wherever they stand.
    AtTimestamp(Timestamp),
}

impl fmt::Display for ConsumerStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsumerStart::TrimHorizon => f.write_str("TRIM_HORIZON"),
            ConsumerStart::Latest => f.write_str("LATEST"),
            ConsumerStart::AtTimestamp(at) => write!(f, "AT_TIMESTAMP {}", at.as_millis()),
        }
    }
}

/// A consumer as its owner declares it. One that is declared with another stream or start is another
/// consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// Its name, unique.
    pub name: Arc<str>,
    /// The stream; made with the defaults when it is not there.
    pub stream: Arc<str>,
    /// Where it begins.
    pub start: ConsumerStart,
    /// Whether it begins now. One that has begun keeps its place while it does not read.
    pub reads: bool,
}

/// A consumer that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Arc<str>,
    /// Records that arrived earlier are none of its.
    pub not_before: Option<Timestamp>,
    /// Where it stands in each shard, in order of their numbers.
    pub places: Vec<Place>,
    id: i64,
}

impl Consumer {
    /// What makes the consumer stand at `place` once it is committed.
    pub fn advance(&self, place: &Place) -> Advance {
        Advance { consumer: self.id, place: *place }
    }
}

/// Where a consumer stands in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    shard_row: i64,
    made: u64,
    shard: ShardId,
    next: Position,
    /// Records of the shard before `next`, those that retention took included.
    records: u64,
    /// The shards whose records come before all of these.
    parents: [Option<ShardId>; 2],
}

/// A consumer's step from one place to another, for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    consumer: i64,
    place: Place,
}

/// Makes `specs` the consumers there are, as [`settle`] does.
pub async fn declare_consumers(
    executor: &Executor,
    specs: Arc<[ConsumerSpec]>,
    now: Timestamp,
) -> Result<(), StreamError> {
    Ok(executor.execute(move |transaction| table::settle(transaction, &specs, now)).await?)
}

/// Moves the place of `record`'s shard behind it.
pub fn pass(places: &mut [Place], record: &Record) {
    let shard = record.sequence_number.shard();
    if let Some(place) = places.iter_mut().find(|place| place.shard == shard) {
        place.next = record.sequence_number.position().next();
        place.records += 1;
    }
}

/// Where the shards of a stream ended at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends(Vec<u64>);

/// A block that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedBlock {
    /// Its shard.
    pub shard: ShardId,
    /// Its number.
    pub block: u64,
    /// Its records that had not been read before.
    pub records: u64,
    /// What is wrong with it.
    pub damage: Damaged,
}

/// What [`Reader::read_on`] found behind a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the order of the shards' records, and between shards in that of arrival.
    pub records: Vec<Record>,
    /// Records that retention took before they were read; the places have been moved over them.
    pub skipped: u64,
    /// Blocks that cannot be read; the places have been moved over them. At most
    /// [`STREAM_TURN_DAMAGED_MAX`].
    pub damaged: Vec<DamagedBlock>,
    /// Whether there are more behind these.
    pub is_cut: bool,
    /// Records behind the places, these included.
    pub behind: u64,
    /// How much later the newest record of the stream arrived than the first of these (Kinesis:
    /// `MillisBehindLatest`).
    pub behind_time: Duration,
}

impl Reader {
    /// The consumers of a stream, in the order in which they began.
    pub fn consumers(&self, stream: &str) -> Result<Vec<Consumer>, StreamError> {
        Ok(table::load(self.connection.sqlite(), stream)?)
    }

    /// How many records are behind the places of `consumer`.
    pub fn lag(&self, consumer: &Consumer) -> Result<u64, StreamError> {
        let of_shard = |place: &Place| {
            let state = table::state_of(self.connection.sqlite(), place.shard_row)?;
            Ok(state.records.saturating_sub(place.records.max(state.floor_records)))
        };
        consumer.places.iter().map(of_shard).sum()
    }

    /// Where the shards of `places` end now. Consumers that read on to the same ends meet there.
    pub fn ends(&self, places: &[Place]) -> Result<Ends, StreamError> {
        let end =
            |place: &Place| Ok(table::state_of(self.connection.sqlite(), place.shard_row)?.block);
        places.iter().map(end).collect::<Result<_, StreamError>>().map(Ends)
    }

    /// Reads about `records_max` records and `bytes_max` bytes of data and keys between `places` and
    /// `ends`, which are of the same shards. Moves the places over what retention has taken and what is
    /// damaged, and over nothing else.
    pub fn read_on(
        &self,
        places: &mut [Place],
        ends: &Ends,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Found, StreamError> {
        let mut found = Found::default();
        let shards = places.len().max(1);
        let (records_max, bytes_max) = (records_max.div_ceil(shards), bytes_max / shards);
        let mut read = Vec::new();
        // Up to this every shard has been read.
        let mut horizon: Option<Timestamp> = None;
        let mut newest: Option<Timestamp> = None;
        let mut unread = Vec::new();
        for (place, end) in places.iter_mut().zip(&ends.0) {
            let state = table::state_of(self.connection.sqlite(), place.shard_row)?;
            found.skipped += place.leave_trimmed(state.floor_block, state.floor_records);
            found.behind += state.records.saturating_sub(place.records);
            newest = newest.max(state.newest_at);
            // Parents have lower numbers, so they come first.
            if place.parents.iter().flatten().any(|parent| unread.contains(parent)) {
                unread.push(place.shard);
                found.is_cut = true;
                continue;
            }
            if place.records < state.records {
                unread.push(place.shard);
            }
            let Some(page) = self.read_place(place, *end, (records_max, bytes_max), &mut found)?
            else {
                // Its next record may be older than any of the others.
                found.is_cut = true;
                horizon = Some(Timestamp::from_millis(i64::MIN));
                continue;
            };
            // A record counts as arrived no earlier than those before it in its shard.
            let mut arrived = Timestamp::from_millis(i64::MIN);
            for record in page.records {
                arrived = arrived.max(record.at);
                read.push((arrived, record));
            }
            if page.is_cut {
                found.is_cut = true;
                horizon = Some(horizon.map_or(arrived, |horizon| horizon.min(arrived)));
            }
        }
        if let Some(horizon) = horizon {
            read.retain(|(arrived, _)| *arrived <= horizon);
        }
        // Stable: a shard's records keep their order.
        read.sort_by_key(|(arrived, _)| *arrived);
        let first = read.first().map(|(_, record)| record.at);
        found.behind_time =
            newest.zip(first).map(|(newest, first)| newest.since(first)).unwrap_or_default();
        found.records = read.into_iter().map(|(_, record)| record).collect();
        Ok(found)
    }
}

impl Reader {
    /// The page behind a place, which moves over damaged blocks; `None` when they were more than one call
    /// is to move over.
    fn read_place(
        &self,
        place: &mut Place,
        end: u64,
        (records_max, bytes_max): (usize, usize),
        found: &mut Found,
    ) -> Result<Option<Page>, StreamError> {
        loop {
            let Place { shard_row: row, made, shard, next, .. } = *place;
            let mut cursor = Cursor { row, made, shard, next };
            let read = self.read_until(&mut cursor, end, records_max, bytes_max);
            let Err(StreamError::Damaged { block, source: damage, .. }) = read else {
                return read.map(Some);
            };
            let before = place.records;
            // Retention may have taken it meanwhile; then that is told of at the next call.
            let total = table::records_until(self.connection.sqlite(), row, block)?;
            let Some(total) = total else { return Ok(None) };
            place.next = Position::new(block + 1, 0);
            place.records = total.max(before);
            let records = place.records - before;
            found.behind = found.behind.saturating_sub(records);
            found.damaged.push(DamagedBlock { shard, block, records, damage });
            if found.damaged.len() >= STREAM_TURN_DAMAGED_MAX {
                return Ok(None);
            }
        }
    }
}

impl Place {
    /// Moves it over the blocks up to `floor_block`, which retention has taken with `floor_records`
    /// records before their end; answers how many of those were not read.
    fn leave_trimmed(&mut self, floor_block: u64, floor_records: u64) -> u64 {
        if self.next.block() > floor_block {
            return 0;
        }
        let skipped = floor_records.saturating_sub(self.records);
        self.next = Position::new(floor_block + 1, 0);
        self.records += skipped;
        skipped
    }
}
