//! Tables of leases: as much of DynamoDB as consumers of streams keep their leases and checkpoints in.
//!
//! KCL, lifion-kinesis and their like share the shards of a stream by conditional writes to a table. [`Tables`] has those
//! tables: items of named [`value`]s under a key of one or two attributes, written under a [`expression::Condition`]
//! and found by key, by [`Tables::query`] or by [`Tables::scan`]. [`parse`] reads the expressions of requests.
//!
//! Each write is one job of the journal's writer: it reads the item, judges the condition and writes in one
//! transaction, so of two that want the same lease one gets it, and what was answered is on disk. Reads see every
//! write that was answered.
//!
//! Bounds: [`limits::LEASE_TABLES_MAX`] tables of [`limits::LEASE_ITEMS_MAX`] items and
//! [`limits::LEASE_TABLE_BYTES_MAX`] bytes. It is no database for anything else: no transactions over
//! items, no streams, and an index is a search through its table.
//!
//! Tables: `lease_table` (a table, its definition as JSON, what is in it) and `lease_item` (table, key → item as
//! JSON).

pub mod expression;
pub mod parse;
mod table;
#[cfg(test)]
mod tests;
pub mod value;
mod verify;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::limits;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

use expression::Action;
use expression::Condition;
use expression::Path;
use value::Item;
use value::Value;

pub(crate) use table::SCHEMA;
pub use verify::verify;

/// An attribute of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// Its type: `S`, `N` or `B`.
    pub kind: String,
}

/// The attributes that items are found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `HASH`
    pub hash: KeyAttribute,
    /// `RANGE`
    pub range: Option<KeyAttribute>,
}

/// A second way to find items (`GlobalSecondaryIndex`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: Key,
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`; kept and described.
    pub projection: String,
    /// What `INCLUDE` includes.
    pub included: Vec<String>,
}

/// A table as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// What its items are found by.
    pub key: Key,
    /// Other ways.
    pub indexes: Vec<Index>,
    /// By name.
    pub tags: Vec<(String, String)>,
    /// The attribute of UpdateTimeToLive. It is kept; items do not expire.
    pub expires_by: Option<String>,
    /// Whether it may not be deleted.
    pub is_protected: bool,
}

/// A table as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// As it was asked for.
    pub definition: Definition,
    /// When it was made.
    pub created_at: Timestamp,
    /// Items in it.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why nothing was changed or found.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// No table has this name.
    #[error("Requested resource not found: Table: {0} not found")]
    Unknown(String),
    /// One has it.
    #[error("Table already exists: {0}")]
    Exists(String),
    /// There would be more than [`limits::LEASE_TABLES_MAX`].
    #[error("there are {} tables, as many as there may be", limits::LEASE_TABLES_MAX)]
    Tables,
    /// The table would have more than [`limits::LEASE_ITEMS_MAX`] items or [`limits::LEASE_TABLE_BYTES_MAX`] bytes.
    #[error(
        "a table of leases has at most {} items and {} bytes",
        limits::LEASE_ITEMS_MAX,
        limits::LEASE_TABLE_BYTES_MAX
    )]
    Full,
    /// The request does not fit the table.
    #[error("{0}")]
    Invalid(String),
    /// The condition does not hold.
    #[error("The conditional request failed")]
    Failed,
}

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// SQLite failed.
    #[error("cannot read a table of leases")]
    Sqlite(#[from] SqliteError),
    /// The journal did not store it.
    #[error("the change was not stored")]
    NotStored(#[from] ExecuteError),
}

/// What is done to an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// All of it is replaced.
    Put(Item),
    /// Parts of it are changed; made when it is not there.
    Update(Vec<Action>),
    /// It goes.
    Delete,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Its table.
    pub table: String,
    /// The key attributes; for a put any item that has them.
    pub key: Item,
    /// What must hold of the item before.
    pub condition: Option<Condition>,
    /// What is done then.
    pub change: Change,
}

/// An item before and after a write; empty where there was or is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Before.
    pub before: Item,
    /// After.
    pub after: Item,
}

/// What a scan or a query is to find.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Its table.
    pub table: String,
    /// One of its indexes.
    pub index: Option<String>,
    /// Items are looked at in the order of their keys behind this one.
    pub after: Option<Item>,
    /// So many are looked at.
    pub limit: usize,
    /// Which of those are answered.
    pub filter: Option<Condition>,
    /// Parts of them; all when empty.
    pub projection: Vec<Path>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// In order.
    pub items: Vec<Item>,
    /// How many were looked at.
    pub scanned: usize,
    /// The key behind which it goes on, when there may be more.
    pub last: Option<Item>,
}

type Answer<T> = Result<Result<T, Refused>, LeaseError>;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tables {
    executor: Executor,
    /// Reads are short, and of tables that fit in memory: one at a time.
    reader: Arc<Mutex<ReadConnection>>,
    clock: Clock,
}

impl Tables {
    /// Tables that are written by jobs of `executor` and read over `reader`.
    pub fn new(executor: Executor, reader: ReadConnection, clock: Clock) -> Tables {
        Tables { executor, reader: Arc::new(Mutex::new(reader)), clock }
    }

    /// Makes a table. It is there when this is answered.
    pub async fn create(&self, definition: Definition) -> Answer<Described> {
        let now = self.clock.now();
        Ok(self.executor.execute(move |tx| table::create(tx, &definition, now)).await?)
    }

    /// Deletes a table with its items; answers what it was.
    pub async fn delete(&self, name: String) -> Answer<Described> {
        Ok(self.executor.execute(move |tx| table::delete(tx, &name)).await?)
    }

    /// Changes a table's definition.
    pub async fn alter(
        &self,
        name: String,
        change: impl Fn(&mut Definition) -> Result<(), Refused> + Send + 'static,
    ) -> Answer<Described> {
        Ok(self.executor.execute(move |tx| table::alter(tx, &name, &change)).await?)
    }

    /// Makes writes, each for itself, in one commit; the first that is refused refuses them all.
    pub async fn write(&self, writes: Vec<Write>) -> Answer<Vec<Written>> {
        Ok(self.executor.execute(move |tx| table::write(tx, &writes)).await?)
    }

    /// A table.
    pub async fn describe(&self, name: String) -> Answer<Described> {
        self.read(move |reader| table::describe(reader.sqlite(), &name)).await
    }

    /// So many names of tables behind `after`, in order.
    pub async fn names(&self, after: String, limit: usize) -> Answer<Vec<String>> {
        self.read(move |reader| table::names(reader.sqlite(), &after, limit).map(Ok)).await
    }

    /// The items of keys; empty where there is none.
    pub async fn get(&self, table: String, keys: Vec<Item>) -> Answer<Vec<Item>> {
        self.read(move |reader| table::get(reader.sqlite(), &table, &keys)).await
    }

    /// Looks at the items of a table in the order of their keys: those of one of several parts, when it says which.
    pub async fn scan(&self, search: Search, part: Option<Part>) -> Answer<Found> {
        self.read(move |reader| table::scan(reader.sqlite(), &search, part)).await
    }

    /// Looks at the items of one hash key, in the order of their range keys.
    pub async fn query(&self, search: Search, keys: Condition, order: Order) -> Answer<Found> {
        self.read(move |reader| table::query(reader.sqlite(), &search, &keys, order)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadConnection) -> Result<Result<T, Refused>, SqliteError> + Send + 'static,
    ) -> Answer<T> {
        let reader = Arc::clone(&self.reader);
        let done = tokio::task::spawn_blocking(move || work(&reader.lock()));
        match done.await {
            Ok(answer) => Ok(answer?),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(ExecuteError::Closed.into()),
        }
    }
}

/// A part of a scan that several share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 0.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

/// Which way a query goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the lowest range key.
    Ascending,
    /// From the highest.
    Descending,
}

impl Key {
    /// Its attributes.
    pub fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.hash).chain(&self.range)
    }

    /// The attributes of this key that an item has; `None` when it lacks one, or has it in another type.
    pub fn of(&self, item: &Item) -> Option<Item> {
        self.attributes()
            .map(|attribute| {
                let value = item.get(&attribute.name)?;
                let is_right = value.kind() == attribute.kind;
                is_right.then(|| (attribute.name.clone(), value.clone()))
            })
            .collect()
    }

    /// What is wrong with an item whose key this is to be, in DynamoDB's words.
    fn fault_of(&self, item: &Item) -> Option<String> {
        self.attributes().find_map(|KeyAttribute { name, kind }| match item.get(name) {
            None => Some(format!(
                "One or more parameter values were invalid: Missing the key {name} in the item"
            )),
            Some(value) if value.kind() != kind => Some(format!(
                "One or more parameter values were invalid: Type mismatch for key {name} expected: \
                 {kind} actual: {}",
                value.kind()
            )),
            Some(value) if is_empty(value) => Some(format!(
                "One or more parameter values are not valid. The AttributeValue for a key attribute \
                 cannot contain an empty string value. Key: {name}"
            )),
            Some(value) if value.size() > limits::LEASE_KEY_BYTES_MAX => Some(format!(
                "One or more parameter values were invalid: Size of key {name} has exceeded the \
                 maximum size limit of {} bytes",
                limits::LEASE_KEY_BYTES_MAX
            )),
            Some(_) => None,
        })
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        _ => false,
    }
}
