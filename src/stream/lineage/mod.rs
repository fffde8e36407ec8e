//! Which streams and shards there are: made, split, merged, ended, described.
//!
//! [`Lineage`] changes them; each change is one job of the journal's writer, so it stands at one point of the commit
//! order: what was committed before is in the shards there were, what comes after in those there are then.
//! Splitting or merging closes shards and opens others that take over their hash keys. A closed shard keeps its
//! records until retention has taken them, and goes with the last of them. Every sequence number of a child is above
//! all of its parents'.
//!
//! A stream that is deleted gives its name back at once, and its records in pieces ([`clear`]), so that no
//! commit waits for them; a restart in between goes on with it. Until then it is [`Described`] as deleting.

mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::limits;
use crate::storage::ExecuteError;
use crate::storage::Executor;

use super::Bookmark;
use super::Cursor;
use super::HashRange;
use super::Reader;
use super::SequenceNumber;
use super::ShardId;
use super::StreamError;
use super::check_name;
use super::sequence::Position;

pub(crate) use table::LINEAGE_SCHEMA;
pub(crate) use table::MONITORING_SCHEMA;
pub(in crate::stream) use table::Outcome;
pub(in crate::stream) use table::clear as clear_piece;
#[cfg(test)]
pub(in crate::stream) use table::create as create_now;
#[cfg(test)]
pub(in crate::stream) use table::delete as delete_now;
#[cfg(test)]
pub(in crate::stream) use table::encrypt as encrypt_now;
pub(in crate::stream) use table::expire_shard;
pub(in crate::stream) use table::live;

/// A stream to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStream {
    /// Its name.
    pub name: String,
    /// Shards that it begins with, one at least.
    pub shards: u32,
    /// Whether what is put and read is held to the limits of a shard (Kinesis: `PROVISIONED`).
    pub is_limited: bool,
    /// The largest record with its key, bytes.
    pub record_bytes_max: usize,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A tag of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name, unique in the stream.
    pub key: String,
    /// May be empty.
    pub value: String,
}

/// A stream as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How long records are kept.
    pub retention: Duration,
    /// See [`NewStream::is_limited`].
    pub is_limited: bool,
    /// The largest record with its key, bytes.
    pub record_bytes_max: usize,
    /// The id of the key that its records are encrypted with, as it was given; `None` when they are not.
    pub key_id: Option<String>,
    /// Whether it has been deleted, and its records are going.
    pub is_deleting: bool,
    /// Which metrics of its shards are wanted.
    pub shard_metrics: ShardMetrics,
    /// Shards that take records.
    pub shards_open: u64,
    pub(super) row: i64,
}

/// A shard as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardEntry {
    /// Its number.
    pub id: ShardId,
    /// The hash keys it takes, or took.
    pub range: HashRange,
    /// The shards it took them over from.
    pub parents: [Option<ShardId>; 2],
    /// Since when it takes records.
    pub opened_at: Timestamp,
    /// Since when it does not any more.
    pub closed_at: Option<Timestamp>,
    /// Below all of its records'.
    pub first: SequenceNumber,
    /// Above all of its records', once it is closed.
    pub last: Option<SequenceNumber>,
    pub(super) row: i64,
    pub(super) made: u64,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No stream has this name.
    #[error("there is no such stream")]
    Unknown,
    /// One has it already.
    #[error("there is a stream of this name")]
    Exists,
    /// One had it, and its records are still going.
    #[error("a stream of this name is being deleted")]
    Deleting,
    /// A rule reads it.
    #[error("the rule {0} reads it")]
    Read(String),
    /// There would be more than [`limits::STREAMS_MAX`].
    #[error("there are {} streams, as many as there may be", limits::STREAMS_MAX)]
    Streams,
    /// There would be more than [`limits::SHARDS_MAX`] open, or [`limits::SHARDS_KEPT_MAX`] in all.
    #[error(
        "there may be {} open shards, and {} with those that are closed and kept",
        limits::SHARDS_MAX,
        limits::SHARDS_KEPT_MAX
    )]
    Shards,
    /// The stream has no such shard.
    #[error("the stream has no {0}")]
    UnknownShard(ShardId),
    /// It takes no records any more.
    #[error("{0} is closed")]
    Closed(ShardId),
    /// The hash key is not inside of the shard's, or at its ends.
    #[error("the hash key is not inside of those of {0}")]
    Outside(ShardId),
    /// The first does not end where the second begins.
    #[error("{0} and {1} are not adjacent")]
    Apart(ShardId, ShardId),
    /// The stream scales itself (Kinesis: `ON_DEMAND`).
    #[error("the stream is in on-demand mode")]
    OnDemand,
    /// Not between half and double of what there is.
    #[error("there are {0} shards; it may be half to double of that")]
    Scale(u64),
    /// On the other side of what is asked for.
    #[error("records are kept for {0:?}")]
    Retention(Duration),
    /// A registered consumer of the stream has this name.
    #[error("the stream has a consumer {0}")]
    Registered(String),
    /// The stream has no such registered consumer.
    #[error("the stream has no consumer {0}")]
    NoConsumer(String),
    /// There would be more than [`limits::STREAM_CONSUMERS_MAX`].
    #[error("a stream has at most {} consumers", limits::STREAM_CONSUMERS_MAX)]
    Consumers,
    /// It has so many registered consumers.
    #[error("the stream has {0} consumers")]
    Consumed(u64),
    /// There would be more than [`limits::STREAM_TAGS_MAX`].
    #[error("a stream has at most {} tags", limits::STREAM_TAGS_MAX)]
    Tags,
}

/// Which way a retention is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// To the same or more.
    Longer,
    /// To the same or less.
    Shorter,
}

/// Metrics of each shard that somebody wants (Kinesis: `ShardLevelMetrics`): a set of [`ShardMetrics::NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardMetrics(u8);

impl ShardMetrics {
    /// All there are, by the names of the API.
    pub const NAMES: [&'static str; 7] = [
        "IncomingBytes",
        "IncomingRecords",
        "OutgoingBytes",
        "OutgoingRecords",
        "WriteProvisionedThroughputExceeded",
        "ReadProvisionedThroughputExceeded",
        "IteratorAgeMilliseconds",
    ];

    /// Those of a name: one, or `ALL`.
    pub fn named(name: &str) -> Option<ShardMetrics> {
        if name == "ALL" {
            return Some(ShardMetrics((1 << Self::NAMES.len()) - 1));
        }
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        Some(ShardMetrics(1 << place))
    }

    /// These and others.
    #[must_use]
    pub fn with(self, others: ShardMetrics) -> ShardMetrics {
        ShardMetrics(self.0 | others.0)
    }

    /// These without others.
    #[must_use]
    pub fn without(self, others: ShardMetrics) -> ShardMetrics {
        ShardMetrics(self.0 & !others.0)
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let is_in = move |place: &usize| self.0 & (1 << place) != 0;
        (0..Self::NAMES.len()).filter(is_in).map(|place| Self::NAMES[place])
    }

    fn to_column(self) -> i64 {
        self.0.into()
    }

    fn from_column(column: i64) -> ShardMetrics {
        ShardMetrics(u8::try_from(column).unwrap_or_default())
    }
}

/// Which stream may be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// One without registered consumers.
    Unread,
    /// Any; its consumers end with it.
    WithConsumers,
}

/// Who asks for a change of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// A program, to which an on-demand stream has shards that are not its to change.
    Api,
    /// Somebody who runs the gateway.
    Operator,
}

type Answer<T> = Result<Result<T, Refused>, ExecuteError>;

/// Changes streams and shards. Answers when that is on disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lineage {
    pub(super) executor: Executor,
    pub(super) clock: Clock,
    asker: Asker,
}

impl Lineage {
    /// Changes them by jobs of `executor`, as Kinesis allows it.
    pub fn new(executor: Executor, clock: Clock) -> Lineage {
        Lineage { executor, clock, asker: Asker::Api }
    }

    /// The same for an operator, who may split and merge on-demand streams too.
    pub fn of_operator(executor: Executor, clock: Clock) -> Lineage {
        Lineage { executor, clock, asker: Asker::Operator }
    }

    /// Makes a stream.
    ///
    /// # Panics
    /// The name is none ([`check_name`]).
    pub async fn create(&self, new: NewStream) -> Answer<()> {
        assert!(check_name(&new.name).is_ok(), "names are checked where they come in");
        let now = self.clock.now();
        self.executor.execute(move |transaction| table::create(transaction, &new, now)).await
    }

    /// Ends a stream: nothing finds it any more. Its records go in the background.
    pub async fn delete(&self, name: String, ending: Ending) -> Answer<()> {
        let ended = self.executor.execute(move |tx| table::delete(tx, &name, ending)).await?;
        if ended.is_ok() {
            let executor = self.executor.clone();
            // What a stop interrupts, retention goes on with after the next start.
            tokio::spawn(async move {
                if let Err(error) = clear(&executor).await {
                    tracing::debug!(%error, "the records of a deleted stream are still there");
                }
            });
        }
        Ok(ended)
    }

    /// Closes a shard and opens two: the second takes the hash keys from `at` on.
    pub async fn split(&self, name: String, shard: ShardId, at: u128) -> Answer<()> {
        let (asker, now) = (self.asker, self.clock.now());
        self.executor.execute(move |tx| table::split(tx, asker, &name, shard, at, now)).await
    }

    /// Closes two shards, the second of which begins where the first ends, and opens one.
    pub async fn merge(&self, name: String, first: ShardId, second: ShardId) -> Answer<()> {
        let (asker, now) = (self.asker, self.clock.now());
        self.executor.execute(move |tx| table::merge(tx, asker, &name, first, second, now)).await
    }

    /// Splits and merges until there are `target` shards of the same size; answers how many there were.
    pub async fn reshape(&self, name: String, target: u32) -> Answer<u64> {
        let (asker, now) = (self.asker, self.clock.now());
        self.executor.execute(move |tx| table::reshape(tx, asker, &name, target, now)).await
    }

    /// Keeps records for `retention` from now on.
    pub async fn keep(&self, name: String, retention: Duration, change: Change) -> Answer<()> {
        self.executor.execute(move |tx| table::keep(tx, &name, retention, change)).await
    }

    /// Holds the stream to the limits of shards, or does not.
    pub async fn limit(&self, name: String, is_limited: bool) -> Answer<()> {
        self.executor.execute(move |tx| table::limit(tx, &name, is_limited)).await
    }

    /// Takes records of at most `bytes_max` from now on.
    pub async fn size(&self, name: String, bytes_max: usize) -> Answer<()> {
        self.executor.execute(move |tx| table::size(tx, &name, bytes_max)).await
    }

    /// Encrypts records with the key of this id from now on, or does not. Whether there is such a key is for the caller
    /// to know.
    pub async fn encrypt(&self, name: String, key_id: Option<String>) -> Answer<()> {
        self.executor.execute(move |tx| table::encrypt(tx, &name, key_id.as_deref())).await
    }

    /// Wants the metrics of each shard that `change` makes of those that were wanted; answers these and those.
    pub async fn monitor(
        &self,
        name: String,
        change: impl Fn(ShardMetrics) -> ShardMetrics + Send + 'static,
    ) -> Answer<[ShardMetrics; 2]> {
        self.executor.execute(move |tx| table::monitor(tx, &name, &change)).await
    }

    /// Adds tags, or replaces their values.
    pub async fn tag(&self, name: String, tags: Vec<Tag>) -> Answer<()> {
        self.executor.execute(move |tx| table::tag(tx, &name, &tags)).await
    }

    /// Takes tags away; those that are not there are passed over.
    pub async fn untag(&self, name: String, keys: Vec<String>) -> Answer<()> {
        self.executor.execute(move |tx| table::untag(tx, &name, &keys)).await
    }
}

/// Deletes what deleted streams have left, in jobs of milliseconds.
pub async fn clear(executor: &Executor) -> Result<(), ExecuteError> {
    while executor.execute(table::clear).await? {}
    Ok(())
}

impl Reader {
    /// A stream of this name, one that is being deleted included.
    pub fn describe(&self, name: &str) -> Result<Option<Described>, StreamError> {
        Ok(table::describe(self.connection.sqlite(), name)?)
    }

    /// So many streams behind `after`, those that are being deleted included, in order of their names.
    pub fn describe_after(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Described>, StreamError> {
        Ok(table::describe_after(self.connection.sqlite(), after, limit)?)
    }

    /// How many streams there are.
    pub fn count(&self) -> Result<u64, StreamError> {
        Ok(table::count(self.connection.sqlite())?)
    }

    /// How many shards of all streams take records, and how many streams have no limits.
    pub fn counts(&self) -> Result<(u64, u64), StreamError> {
        Ok(table::counts(self.connection.sqlite())?)
    }

    /// All shards of a stream that are kept, in order of their numbers.
    pub fn shard_entries(&self, stream: &Described) -> Result<Vec<ShardEntry>, StreamError> {
        Ok(table::entries(self.connection.sqlite(), stream.row)?)
    }

    /// One of them.
    pub fn shard_entry(
        &self,
        stream: &Described,
        shard: ShardId,
    ) -> Result<Option<ShardEntry>, StreamError> {
        Ok(table::entry(self.connection.sqlite(), stream.row, shard)?)
    }

    /// The shards that took over the hash keys of a closed one.
    pub fn children(
        &self,
        stream: &Described,
        shard: ShardId,
    ) -> Result<Vec<ShardEntry>, StreamError> {
        Ok(table::children(self.connection.sqlite(), stream.row, shard)?)
    }

    /// The tags of a stream, by their keys.
    pub fn tags(&self, stream: &Described) -> Result<Vec<Tag>, StreamError> {
        Ok(table::tags(self.connection.sqlite(), stream.row)?)
    }

    /// A number that changes when shards of the stream come or go; 0 when there is no such stream.
    pub fn shape(&self, stream: &str) -> Result<i64, StreamError> {
        Ok(table::shape(self.connection.sqlite(), stream)?)
    }
}

impl Described {
    /// Whether it was made in the second of `at`: programs may have the time in whole seconds.
    pub fn is_created_in_second_of(&self, at: Timestamp) -> bool {
        self.created_at.as_millis().div_euclid(1000) == at.as_millis().div_euclid(1000)
    }
}

impl ShardEntry {
    /// The cursor at a place of this shard; `None` when the place is another shard's.
    pub fn resume(&self, bookmark: Bookmark) -> Option<Cursor> {
        let Bookmark { shard, made, next } = bookmark;
        let is_mine = shard == self.id && made == self.made;
        is_mine.then_some(Cursor { row: self.row, made, shard, next })
    }

    /// The place behind all records of a closed shard.
    fn end(closed_block: u64) -> Position {
        Position::new(closed_block + 1, 0)
    }
}
