//! Records from outside the rules, on their way into one stream: through the journal's queue, so that one commit
//! carries those of every client.

use bytes::Bytes;
use compact_str::CompactString;
use parking_lot::Mutex;
use std::sync::Arc;

use crate::clock::Timestamp;

use super::NewRecord;
use super::NoRoom;
use super::ShardId;
use super::Stored;
use super::hash_partition_key;

/// A record of a [`Put`].
#[derive(Clone, Debug)]
pub struct PutRecord {
    partition_key: CompactString,
    hash_key: Option<u128>,
    data: Bytes,
    /// Picks the shard. Computed where the record comes in: the writer has one thread.
    pub(super) hash: u128,
}

impl PutRecord {
    /// `partition_key` has 1 to 256 characters.
    pub fn new(partition_key: CompactString, hash_key: Option<u128>, data: Bytes) -> PutRecord {
        let hash = hash_key.unwrap_or_else(|| hash_partition_key(&partition_key));
        PutRecord { partition_key, hash_key, data, hash }
    }

    /// Bytes of data and key.
    pub fn payload_bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }

    pub(super) fn as_new(&self, at: Timestamp) -> NewRecord<'_> {
        let PutRecord { partition_key, hash_key, data, hash: _ } = self;
        NewRecord { partition_key, hash_key: *hash_key, data, at, hops: 0 }
    }
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutResult {
    /// It is stored.
    Stored(Stored),
    /// Its shard has taken as much as it may in a second.
    Throttled(ShardId),
    /// The stream holds as much as it may.
    NoRoom(NoRoom),
}

/// Why none of the records was looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutRefused {
    /// There is no such stream.
    #[error("there is no such stream")]
    UnknownStream,
    /// The stream is encrypted, and the configuration does not have its key.
    #[error(
        "its records are encrypted with the key '{key_id}', which the configuration does not have"
    )]
    NoKey {
        /// The key's id, as the stream has it.
        key_id: Arc<str>,
    },
    /// A record is larger than the stream takes.
    #[error("record {place} is larger than {bytes_max} bytes with its partition key")]
    RecordTooLarge {
        /// Which one, from 0.
        place: usize,
        /// The stream's bound, bytes of data and key.
        bytes_max: usize,
    },
}

/// What became of all records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Of each, in order.
    pub results: Vec<PutResult>,
    /// Whether those that are stored are encrypted.
    pub is_encrypted: bool,
}

type Outcome = Result<PutOutcome, PutRefused>;

/// Records for one stream, in order. Shared by whoever waits for them and the journal's writer, which alone sets the
/// outcome; it is final when the submission that carries it is acknowledged.
#[derive(Debug)]
pub struct Put {
    stream: Arc<str>,
    at: Timestamp,
    records: Vec<PutRecord>,
    /// Of the last attempt to commit.
    outcome: Mutex<Option<Outcome>>,
}

impl Put {
    /// Records that have arrived at `at`.
    pub fn new(stream: Arc<str>, at: Timestamp, records: Vec<PutRecord>) -> Put {
        Put { stream, at, records, outcome: Mutex::default() }
    }

    /// Their stream.
    pub fn stream(&self) -> &Arc<str> {
        &self.stream
    }

    /// When they have arrived.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The records.
    pub fn records(&self) -> &[PutRecord] {
        &self.records
    }

    /// Bytes of all data and keys.
    pub fn payload_bytes(&self) -> usize {
        self.records.iter().map(PutRecord::payload_bytes).sum()
    }

    /// What became of the records; `None` before the commit.
    pub fn take_outcome(&self) -> Option<Outcome> {
        self.outcome.lock().take()
    }

    /// What an attempt that failed had decided.
    pub(super) fn take_decided(&self) -> Option<Vec<PutResult>> {
        let outcome = self.outcome.lock().take()?;
        outcome.ok().map(|outcome| outcome.results)
    }

    pub(super) fn end(&self, outcome: Outcome) {
        *self.outcome.lock() = Some(outcome);
    }
}
