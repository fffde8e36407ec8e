//! Retained messages on disk: the last one of each topic that was published with RETAIN
//! (MQTT 5, section 3.3.1.3).
//!
//! The journal's writer saves and removes them in the transaction of the publish that did so;
//! [`load`] gives them back at the start. The broker bounds how many there are.
//!
//! Table: `retained` (topic → message). Who published is not kept: subscribers are not told.

mod table;

use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::SqliteError;
use crate::storage::Storage;
use crate::storage::StorageError;

pub(crate) use table::EXPIRY_SCHEMA;
pub(crate) use table::SCHEMA;
pub(crate) use table::save;

/// Why the retained messages cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RetainedError {
    /// No connection.
    #[error("cannot open the database for the retained messages")]
    Open(#[from] StorageError),
    /// SQLite failed.
    #[error("cannot read the retained messages")]
    Read(#[from] SqliteError),
    /// The journal did not remove what has expired.
    #[error("expired retained messages were not removed")]
    Remove(#[from] ExecuteError),
}

/// Removes the messages that have expired by `now` (MQTT 5, section 3.3.2.3.3).
pub async fn remove_expired(executor: &Executor, now: Timestamp) -> Result<(), RetainedError> {
    Ok(executor.execute(move |tx| table::remove_expired(tx, now)).await?)
}

/// Reads the retained messages, the most recently published `count_max` of them; at the start.
pub fn load(storage: &Storage, count_max: usize) -> Result<Vec<Publish>, RetainedError> {
    table::load(storage.reader()?.sqlite(), count_max)
}
