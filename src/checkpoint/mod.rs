//! What rules remember, saved with what it caused and restored at the start.
//!
//! The journal's writer saves the last state of each key that changed in a commit, and up to when the
//! gateway is known to have been alive; [`load`] reads all of it back. What the bytes of a state mean
//! is the engine's business.
//!
//! Tables: `hold_state` (rule, key → state), `hold_waiting` (rule, key, turn → a message that was
//! acknowledged and waits for its turn in event time), the same two of `history_…` and `alive` (one row). Crash story: a state is in the same
//! transaction as the effects of the transition that led to it, so after a restart an episode is
//! neither forgotten nor reported twice.

mod table;

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::storage::SqliteError;
use crate::storage::Storage;
use crate::storage::StorageError;

pub(crate) use table::HISTORY_SCHEMA;
pub(crate) use table::SCHEMA;
pub(crate) use table::WAITING_SCHEMA;
pub(crate) use table::save;
pub(crate) use table::save_alive;

/// Why the saved state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// No connection.
    #[error("cannot open the database for the saved state of rules")]
    Open(#[from] StorageError),
    /// SQLite failed.
    #[error("cannot read the saved state of rules")]
    Read(#[from] SqliteError),
}

/// Whose state it is: each has its own two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The hold table's.
    Hold,
    /// The history table's.
    History,
}

/// A key as it was last saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// Rule name.
    pub rule: Arc<str>,
    /// Key.
    pub key: CompactString,
    /// Encoded state.
    pub state: Bytes,
}

/// A message that waited for its turn in event time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMessage {
    /// Rule name.
    pub rule: Arc<str>,
    /// Key.
    pub key: CompactString,
    /// Tells it from the others of its key.
    pub turn: u64,
    /// Encoded message.
    pub message: Bytes,
}

/// All that was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The gateway was running at this time; it ended within a second after it if anything was
    /// pending. `None` on the first start.
    pub alive_until: Option<Timestamp>,
    /// Of the hold table.
    pub hold: SavedPart,
    /// Of the history table.
    pub history: SavedPart,
}

/// What was saved of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedPart {
    /// In order of rule and key; a rule's are consecutive and share its name.
    pub states: Vec<SavedState>,
    /// In order of rule, key and turn.
    pub waiting: Vec<SavedMessage>,
}

/// Reads what was saved; at the start, before the journal takes over.
pub fn load(storage: &Storage) -> Result<Saved, CheckpointError> {
    Ok(table::load(storage.reader()?.sqlite())?)
}
