//! Shard streams: ordered, durable, readable from any point until retention ends.
//!
//! A stream has shards, each of which takes a range of hash keys; a record's partition key, hashed
//! with MD5, picks its shard (Kinesis Data Streams has the same model and words). In a shard records
//! keep the order in which they were committed, and each has a [`SequenceNumber`] that only grows.
//!
//! In: [`append::Appender`], driven by the journal's writer, adds the records of a commit as one
//! [`block`] a shard: those of rules, and each [`Put`] from outside. [`put()`] adds a single record where no
//! gateway runs. Out: a [`Reader`] on a connection of its own, from a [`StartAt`]; a [`Bookmark`] is a
//! place that can be given away. [`retain`] deletes blocks that are older than the
//! stream's retention. [`consumer`] keeps how far each rule that reads a stream has come; [`Arrivals`]
//! wakes it. [`lineage`] makes, splits, merges and ends streams and shards, and says what there is; [`registered`]
//! knows the consumers that are pushed records.
//! [`verify`] checks all of it. [`meter`] counts, and knows how much each stream may hold; [`room`] keeps it to that.
//!
//! Tables (SQL in [`table`]):
//!
//! | table | a row is | key |
//! |---|---|---|
//! | `stream` | a stream: name, retention, mode, the largest record | name |
//! | `stream_tag` | a tag of a stream | stream, key |
//! | `stream_shard` | a shard: range of hash keys, parents, when it was closed, and what retention has taken from it | stream, number |
//! | `stream_block` | the records one commit added to one shard | shard's row × 2^40 + block number |
//! | `stream_consumer` | who reads a stream record by record | name |
//! | `stream_position` | how far a consumer has come in a shard | consumer, shard |
//! | `stream_registered` | a consumer that may be pushed records | stream, name |
//! | `stream_registered_tag` | a tag of one | consumer, key |
//! | `stream_run` | a span of time in which the gateway ran: what retention counts | number |
//!
//! Block numbers count up in each shard, so a position (block number, place in the block) is found by
//! the table's key alone; there is no index to write. Each block carries the running totals of its
//! shard, so counts need the last block only, and the running latest time, which makes looking for a
//! time a binary search even if the clock was set back.
//!
//! **Encryption.** A stream may have a key (Kinesis: `StartStreamEncryption`). Its blocks are then encrypted by
//! [`crate::storage::cipher`] before they are written, each bound to its place, with the name of its key beside it. Where the key
//! is missing nothing is written, and reading ends before the block.
//!
//! Crash story: a block is in the journal's transaction, whole or not at all. The next block number
//! is that of the last block, or what retention remembered when it took that; no counter can lag.

mod allowance;
mod append;
mod arrivals;
mod block;
mod consumer;
mod lineage;
mod memory;
mod meter;
mod put;
mod reader;
mod registered;
mod retention;
mod room;
mod sequence;
mod shard;
mod table;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::config::StreamConfig;
use crate::diagnostic::nearest;
use crate::diagnostic::suggestion;
use crate::limits;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::SqliteError;
use crate::storage::frame::Damaged;

use append::Appended;

pub use allowance::Allowance;
pub(crate) use append::Appender;
pub use arrivals::Arrivals;
pub use consumer::Advance;
pub use consumer::Consumer;
pub use consumer::ConsumerSpec;
pub use consumer::ConsumerStart;
pub use consumer::DamagedBlock;
pub use consumer::Ends;
pub use consumer::Found;
pub use consumer::Place;
pub(crate) use consumer::SCHEMA as CONSUMER_SCHEMA;
pub(crate) use consumer::advance;
pub use consumer::declare_consumers;
pub use consumer::pass;
pub(crate) use consumer::settle;
pub use lineage::Change;
pub use lineage::Described;
pub use lineage::Ending;
pub(crate) use lineage::LINEAGE_SCHEMA;
pub use lineage::Lineage;
pub(crate) use lineage::MONITORING_SCHEMA;
pub use lineage::NewStream;
pub use lineage::Refused;
pub use lineage::ShardEntry;
pub use lineage::ShardMetrics;
pub use lineage::Tag;
pub use lineage::clear;
pub use memory::MemoryStream;
pub use meter::Amount;
pub use meter::Meter;
pub use meter::NoRoom;
pub use meter::NotAdmitted;
pub use meter::Room;
pub use meter::ShardMeter;
pub use meter::StreamMeter;
pub use put::Put;
pub use put::PutOutcome;
pub use put::PutRecord;
pub use put::PutRefused;
pub use put::PutResult;
pub use reader::Bookmark;
pub use reader::Cursor;
pub use reader::Page;
pub use reader::Reader;
pub use reader::StartAt;
pub use registered::ConsumerName;
pub use registered::Registered;
pub(crate) use registered::SCHEMA as REGISTERED_SCHEMA;
pub(crate) use retention::SCHEMA as RUN_SCHEMA;
pub use retention::retain;
pub use room::Overflow;
pub use room::OverflowSink;
pub use room::keep_room;
pub use room::take_stock;
pub use sequence::SequenceNumber;
pub use sequence::SequenceNumberError;
pub use shard::HashRange;
pub use shard::ShardId;
pub use shard::hash_partition_key;
pub(crate) use table::ENCRYPTION_SCHEMA;
pub(crate) use table::SCHEMA;
pub use verify::Aspect;
pub use verify::Finding;
pub use verify::Verified;
pub use verify::Watch;

/// Why a stream cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No stream has this name.
    #[error("there is no stream '{name}'{}", suggestion(near.as_deref()))]
    Unknown {
        /// The name asked for.
        name: String,
        /// One that is near.
        near: Option<String>,
    },
    /// A name that no stream can have.
    #[error("'{0}' is not a stream name: 1 to 128 letters, digits, '_', '-' and '.'")]
    BadName(String),
    /// A partition key must have 1 to 256 characters.
    #[error("a partition key has 1 to 256 characters, this one has {0}")]
    PartitionKey(usize),
    /// Data and partition key are too large together.
    #[error("a record has at most 1 MiB with its partition key, this one has {0} bytes")]
    RecordTooLarge(usize),
    /// The number belongs to another shard.
    #[error("sequence number {number} is not one of {shard}")]
    ForeignSequence {
        /// The number.
        number: SequenceNumber,
        /// The shard it was used on.
        shard: ShardId,
    },
    /// A block cannot be decoded.
    #[error("{shard}: block {block} cannot be read")]
    Damaged {
        /// The shard.
        shard: ShardId,
        /// Number of the block.
        block: u64,
        /// What is wrong with it.
        source: Damaged,
    },
    /// A block is encrypted, and its key is not there.
    #[error(
        "{shard}: block {block} is encrypted with the key '{key}', which the configuration does not have"
    )]
    NoKey {
        /// The shard.
        shard: ShardId,
        /// Number of the block.
        block: u64,
        /// The key's name.
        key: String,
    },
    /// The stream is encrypted, and its key is not there.
    #[error(
        "records of the stream are encrypted with the key '{0}', which the configuration does not have"
    )]
    Locked(Arc<str>),
    /// SQLite failed.
    #[error("cannot read the stream's tables")]
    Sqlite(#[from] SqliteError),
    /// The journal did not store it.
    #[error("the record was not stored")]
    NotStored(#[from] ExecuteError),
}

/// A record on its way in.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Picks the shard; 1 to 256 characters.
    pub partition_key: &'a str,
    /// Picks the shard instead.
    pub hash_key: Option<u128>,
    /// The record; with the key at most [`limits::RECORD_BYTES_MAX`].
    pub data: &'a [u8],
    /// Arrival time.
    pub at: Timestamp,
    /// How many REPUBLISH and STREAM actions it has passed; 0 from outside of the rules.
    pub hops: u8,
}

impl NewRecord<'_> {
    fn payload_bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }

    fn hash(&self) -> u128 {
        self.hash_key.unwrap_or_else(|| hash_partition_key(self.partition_key))
    }

    /// Checks the bounds of key and size. Effects of rules have been checked before they get here.
    fn check(&self) -> Result<(), StreamError> {
        let chars = self.partition_key.chars().count();
        if chars == 0 || chars > limits::PARTITION_KEY_CHARS_MAX {
            return Err(StreamError::PartitionKey(chars));
        }
        if self.payload_bytes() > limits::RECORD_BYTES_MAX {
            return Err(StreamError::RecordTooLarge(self.payload_bytes()));
        }
        Ok(())
    }
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub sequence_number: SequenceNumber,
    /// As given.
    pub partition_key: CompactString,
    /// As given.
    pub hash_key: Option<u128>,
    /// How many REPUBLISH and STREAM actions it has passed.
    pub hops: u8,
    /// Arrival time.
    pub at: Timestamp,
    /// Whether it is encrypted on disk.
    pub is_encrypted: bool,
    /// The record.
    pub data: Bytes,
}

/// A stream in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name.
    pub name: String,
    /// Number of shards.
    pub shards: usize,
    /// How long records are kept.
    pub retention: Duration,
    /// When it was made.
    pub created_at: Timestamp,
    /// Records stored now.
    pub records: u64,
    /// Bytes of their data and keys.
    pub bytes: u64,
    /// Time of the oldest record stored, to within its block.
    pub first_at: Option<Timestamp>,
    /// Time of the newest record, the latest if the clock was set back.
    pub last_at: Option<Timestamp>,
}

/// A shard and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number.
    pub id: ShardId,
    /// The hash keys it takes.
    pub range: HashRange,
    /// Records stored now.
    pub records: u64,
    /// Bytes of their data and keys.
    pub bytes: u64,
    /// The oldest record stored.
    pub first: Option<SequenceNumber>,
    /// The newest record stored.
    pub last: Option<SequenceNumber>,
    /// Time of the oldest record stored, to within its block.
    pub first_at: Option<Timestamp>,
    /// Time of the newest record, the latest if the clock was set back.
    pub last_at: Option<Timestamp>,
    /// The shards that it took the hash keys of, when it was split off or merged.
    pub parents: [Option<ShardId>; 2],
    /// When it was closed: it takes no records any more.
    pub closed_at: Option<Timestamp>,
    /// Its row in `stream_shard`.
    row: i64,
    /// Seconds since the epoch; part of its sequence numbers.
    made: u64,
}

/// What a put answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it went.
    pub shard: ShardId,
    /// Its place there.
    pub sequence_number: SequenceNumber,
}

/// Checks that `name` can be a stream's name (Kinesis: `[a-zA-Z0-9_.-]`, 1 to 128).
pub fn check_name(name: &str) -> Result<(), StreamError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > limits::TARGET_NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(StreamError::BadName(name.to_owned()));
    }
    Ok(())
}

/// What a stream is declared with and was not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Records are kept for less time from now on.
    ShorterRetention {
        /// Its name.
        stream: String,
        /// How long they were kept.
        before: Duration,
        /// How long they are.
        now: Duration,
    },
    /// A stream keeps the number of shards it was made with.
    OtherShards {
        /// Its name.
        stream: String,
        /// How many it has.
        kept: u32,
        /// How many are declared.
        declared: u32,
    },
}

/// Makes the streams that are not there, and sets the retention of those that are and that `streams`
/// has a declaration of; one that is only named stays as it is. Answers what an operator may not have
/// meant.
pub async fn declare(
    executor: &Executor,
    streams: Vec<(String, Option<StreamConfig>)>,
    now: Timestamp,
) -> Result<Vec<Difference>, StreamError> {
    for (name, _) in &streams {
        check_name(name)?;
    }
    Ok(executor.execute(move |transaction| table::declare(transaction, &streams, now)).await?)
}

/// Adds one record to an existing stream; answers when it is on disk.
pub async fn put(
    executor: &Executor,
    stream: &str,
    record: NewRecord<'_>,
) -> Result<Stored, StreamError> {
    record.check()?;
    let name = stream.to_owned();
    let key = CompactString::from(record.partition_key);
    let data = Bytes::copy_from_slice(record.data);
    let (hash_key, at, hops) = (record.hash_key, record.at, record.hops);
    let keys = Arc::clone(executor.keys());
    executor
        .execute(move |transaction| {
            let record = NewRecord { partition_key: &key, hash_key, data: &data, at, hops };
            match append::append_one(transaction, &name, &record, &keys)? {
                Appended::Stored(stored) => Ok(Ok(stored)),
                Appended::NoStream => Ok(Err(unknown(&name, &table::names(transaction)?))),
                Appended::NoKey(key_id) => Ok(Err(StreamError::Locked(key_id))),
            }
        })
        .await?
}

/// The error for a name that no stream has.
fn unknown(name: &str, known: &[String]) -> StreamError {
    // The comparison takes time in the product of the lengths, and the name may come from outside.
    let known = if name.len() > limits::TARGET_NAME_BYTES_MAX { &[] } else { known };
    let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    StreamError::Unknown { name: name.to_owned(), near }
}
