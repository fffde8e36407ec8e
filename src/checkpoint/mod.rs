//! What rules remember, saved with what it caused and restored at the start.
//!
//! The journal's writer saves the last state of each key that changed in a commit, and up to when the
//! gateway is known to have been alive; [`load`] gives all of it back. What the bytes of a state mean
//! is the engine's business.
//!
//! Tables: `hold_state` (rule, key → state), `hold_waiting` (rule, key, turn → a message that was
//! acknowledged and waits for its turn in event time), the same two of `history_…`, `alive` (one row),
//! and `rule_switch` (a rule that somebody enabled or disabled against its text). Crash story: a state is in the same
//! transaction as the effects of the transition that led to it, so after a restart an episode is
//! neither forgotten nor reported twice.

mod table;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::rows::StoredKey;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;
use crate::storage::Storage;
use crate::storage::StorageError;

pub(crate) use table::HISTORY_SCHEMA;
pub(crate) use table::SCHEMA;
pub(crate) use table::SWITCH_SCHEMA;
pub(crate) use table::WAITING_SCHEMA;
pub(crate) use table::empty;
pub(crate) use table::save;
pub(crate) use table::save_alive;
pub(crate) use table::save_switches;

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

/// A rule that somebody enabled or disabled, against its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSwitch {
    /// Rule name.
    pub rule: Arc<str>,
    /// Whether the rule is to run.
    pub is_on: bool,
    /// When.
    pub at: Timestamp,
}

/// What was saved. There may be much of it: keys are read one by one.
#[derive(Debug)]
pub struct Saved {
    connection: ReadConnection,
    /// The gateway was running at this time; it ended within a second after it if anything was
    /// pending. `None` on the first start.
    pub alive_until: Option<Timestamp>,
}

/// Looks at what was saved; at the start, before the journal takes over.
pub fn load(storage: &Storage) -> Result<Saved, CheckpointError> {
    let connection = storage.reader()?;
    let alive_until = table::alive_until(connection.sqlite())?;
    Ok(Saved { connection, alive_until })
}

/// Makes `switches` all there are: what the last run has left may speak of rules that are gone.
pub async fn declare_switches(
    executor: &Executor,
    switches: Arc<[SavedSwitch]>,
) -> Result<(), ExecuteError> {
    executor.execute(move |transaction| table::save_switches(transaction, &switches)).await
}

impl Saved {
    /// The rules that are enabled or disabled by hand, by name.
    pub fn switches(&self) -> Result<Vec<SavedSwitch>, CheckpointError> {
        Ok(table::switches(self.connection.sqlite())?)
    }

    /// Calls `visit` with all that is stored of each key, in order of rule and key.
    pub fn for_each_key(
        &self,
        part: Part,
        visit: impl FnMut(StoredKey<'_>),
    ) -> Result<(), CheckpointError> {
        Ok(table::for_each_key(self.connection.sqlite(), part, visit)?)
    }
}
