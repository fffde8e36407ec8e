//! Registered consumers of streams: who may be pushed records (Kinesis: enhanced fan-out).
//!
//! [`Lineage`] registers and ends them, a [`Reader`] finds them. A consumer belongs to one stream and is named
//! uniquely there; registered again under the same name it is another one, told apart by when that was. What it
//! has read is not kept: who subscribes says where to begin. They have nothing to do with the rules that read a
//! stream ([`super::consumer`]).
//!
//! Tables: `stream_registered` (a consumer) and `stream_registered_tag` (a tag of one). They go with their
//! stream, in the transaction that deletes it.

mod table;
#[cfg(test)]
mod tests;

use crate::clock::Timestamp;
use crate::storage::ExecuteError;

use super::Described;
use super::Lineage;
use super::Reader;
use super::Refused;
use super::StreamError;
use super::Tag;

pub(crate) use table::SCHEMA;
pub(in crate::stream) use table::count;
pub(in crate::stream) use table::end_all;

/// A consumer that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name, unique in its stream.
    pub name: String,
    /// When it was registered; its ARN has the seconds.
    pub created_at: Timestamp,
    row: i64,
}

/// Which consumer is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerName {
    /// Its stream.
    pub stream: String,
    /// Its name there.
    pub consumer: String,
    /// When it was registered, seconds since the epoch; `None` means whichever has the name.
    pub created_secs: Option<i64>,
}

impl Registered {
    /// When it was registered, seconds since the epoch.
    pub fn created_secs(&self) -> i64 {
        self.created_at.as_millis().div_euclid(1000)
    }
}

type Answer<T> = Result<Result<T, Refused>, ExecuteError>;

impl Lineage {
    /// Registers a consumer of a stream.
    pub async fn register(
        &self,
        stream: String,
        consumer: String,
        tags: Vec<Tag>,
    ) -> Answer<Registered> {
        let now = self.clock.now();
        self.executor.execute(move |tx| table::register(tx, &stream, &consumer, &tags, now)).await
    }

    /// Ends a consumer.
    pub async fn deregister(&self, name: ConsumerName) -> Answer<()> {
        self.executor.execute(move |tx| table::deregister(tx, &name)).await
    }

    /// Adds tags to a consumer, or replaces their values.
    pub async fn tag_consumer(&self, name: ConsumerName, tags: Vec<Tag>) -> Answer<()> {
        self.executor.execute(move |tx| table::tag(tx, &name, &tags)).await
    }

    /// Takes tags from a consumer; those that are not there are passed over.
    pub async fn untag_consumer(&self, name: ConsumerName, keys: Vec<String>) -> Answer<()> {
        self.executor.execute(move |tx| table::untag(tx, &name, &keys)).await
    }
}

impl Reader {
    /// A consumer of a stream.
    pub fn registered(
        &self,
        stream: &Described,
        consumer: &str,
    ) -> Result<Option<Registered>, StreamError> {
        Ok(table::find(self.connection.sqlite(), stream.row, consumer)?)
    }

    /// So many consumers of a stream behind `after`, in order of their names.
    pub fn registered_after(
        &self,
        stream: &Described,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Registered>, StreamError> {
        Ok(table::list(self.connection.sqlite(), stream.row, after, limit)?)
    }

    /// How many consumers a stream has.
    pub fn registered_count(&self, stream: &Described) -> Result<u64, StreamError> {
        Ok(table::count(self.connection.sqlite(), stream.row)?)
    }

    /// The tags of a consumer, by their keys.
    pub fn registered_tags(&self, consumer: &Registered) -> Result<Vec<Tag>, StreamError> {
        Ok(table::tags(self.connection.sqlite(), consumer.row)?)
    }
}
