//! The last value of each key: what `UPSERT table KEY expr` keeps, such as each device's latest state.
//!
//! A table is a set of keys, each with the value that was put last and when; nothing older is kept. It
//! is written in the journal's transaction, in commit order, so of two messages for one key the one
//! committed later stays, and what a device has been acknowledged is there after a crash. There is
//! nothing to declare: a table is there as soon as it has a key.
//!
//! [`Keys`] bounds how many keys and bytes a table may have. It is owned by the journal's stage, which
//! sees every change before it is committed, so what is too much is refused exactly and without a lock.
//! [`Reader`] reads over a connection of its own, and [`Mirror`] holds the tables that rules read; both
//! show what has been committed.
//!
//! Start reading at [`Keys::admit`], then `table.rs`, then `mirror.rs`.

mod keys;
mod mirror;
mod table;

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;
use crate::storage::Storage;
use crate::storage::StorageError;

pub use keys::Bounds;
pub use keys::Full;
pub use keys::Keys;
pub use mirror::Mirror;
pub use mirror::View;
pub(crate) use table::SCHEMA;
pub(crate) use table::forget;
pub(crate) use table::save;

/// What the journal's stage has of the tables.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What each table has room for.
    pub keys: Keys,
    /// The tables that rules read; told of each commit.
    pub mirror: Arc<Mirror>,
}

impl Kept {
    /// Nothing is kept yet.
    pub fn new(bounds: Bounds) -> Kept {
        Kept { keys: Keys::new(bounds), mirror: Arc::default() }
    }
}

/// A value to keep.
#[derive(Clone, Debug)]
pub struct Upsert {
    /// Table name.
    pub table: Arc<str>,
    /// Key, as text.
    pub key: CompactString,
    /// The value.
    pub value: Bytes,
    /// Arrival time.
    pub at: Timestamp,
    /// The rule that puts it.
    pub rule: Arc<str>,
    /// The message, for the rule's ON ERROR should the key be refused; `None` where the action is one
    /// of ON ERROR, whose own failures go no further.
    pub publish: Option<Publish>,
}

/// A key and its last value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// When the message came that put the value.
    pub at: Timestamp,
    /// The value.
    pub value: Bytes,
}

/// What is in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSummary {
    /// Table name.
    pub name: String,
    /// How many keys it has.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Arrival of the newest value.
    pub newest_at: Timestamp,
}

/// Why tables could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LatestError {
    /// No table of that name has a key.
    #[error("there is no table '{0}': UPSERT makes one with its first key")]
    Unknown(String),
    /// The table has no such key.
    #[error("the table '{table}' has no key '{key}'")]
    UnknownKey {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// SQLite refused.
    #[error("the tables of latest values cannot be read")]
    Sqlite(#[from] SqliteError),
    /// The journal did not delete the key.
    #[error("the key was not deleted")]
    Delete(#[from] ExecuteError),
    /// The database could not be opened.
    #[error("the tables of latest values cannot be read")]
    Storage(#[from] StorageError),
}

/// Reads tables. A call blocks for as long as SQLite takes: not for async code.
#[derive(Debug)]
pub struct Reader {
    connection: ReadConnection,
}

impl Reader {
    /// Reads over `connection`.
    pub fn new(connection: ReadConnection) -> Reader {
        Reader { connection }
    }

    /// All tables with what is in them, by name.
    pub fn tables(&self) -> Result<Vec<TableSummary>, LatestError> {
        Ok(table::list(self.connection.sqlite())?)
    }

    /// The last value of a key.
    pub fn get(&self, table: &str, key: &str) -> Result<Entry, LatestError> {
        if let Some(entry) = table::get(self.connection.sqlite(), table, key)? {
            return Ok(entry);
        }
        self.exists(table)?;
        Err(LatestError::UnknownKey { table: table.to_owned(), key: key.to_owned() })
    }

    /// Keys behind `after` in the order of their bytes, at most `limit`, and as many as fit
    /// `bytes_max` bytes of values (one at least).
    pub fn page(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LatestError> {
        self.exists(table)?;
        Ok(table::page(self.connection.sqlite(), table, after, limit, bytes_max)?)
    }

    fn exists(&self, table: &str) -> Result<(), LatestError> {
        if table::exists(self.connection.sqlite(), table)? {
            return Ok(());
        }
        Err(LatestError::Unknown(table.to_owned()))
    }
}

/// Deletes a key; whether it was there. For data on which no gateway runs: a running one has [`Keys`],
/// and deletes through its stage.
pub async fn delete(executor: &Executor, table: &str, key: &str) -> Result<bool, LatestError> {
    let (table, key) = (table.to_owned(), key.to_owned());
    Ok(executor.execute(move |transaction| table::forget(transaction, &table, &key)).await?)
}

/// The tables that are on disk, within `bounds` from here on.
pub fn load(storage: &Storage, bounds: Bounds) -> Result<Kept, LatestError> {
    let connection = storage.reader()?;
    let mut kept = Kept::new(bounds);
    let mut note = |table: &str, key: &str, size| kept.keys.note(table, key, size);
    table::for_each_key(connection.sqlite(), &mut note)?;
    Ok(kept)
}

#[cfg(test)]
mod tests;
