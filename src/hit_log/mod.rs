//! The newest hits, for the dashboard: a bounded record, not an archive.
//!
//! The journal's writer adds the hits of a commit as one block; of a commit with more than
//! [`crate::limits::HITS_PER_COMMIT_MAX`] only the newest are kept, and of a long output only the
//! beginning. What has to be complete goes to a stream; what has to be exact is a counter.
//! [`HitLog`] reads, newest first.
//!
//! Table: `hit_block` (id of the block's last hit → hits of one commit). Ids count every hit that is
//! kept and only grow. Blocks go when newer ones hold the configured number of hits; this is done in
//! steps of an eighth of it, so most commits delete nothing.

mod table;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;
use crate::storage::frame::Damaged;

pub(crate) use table::Recorder;
pub(crate) use table::SCHEMA;

/// Why hits cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HitLogError {
    /// SQLite failed.
    #[error("cannot read the hit log")]
    Sqlite(#[from] SqliteError),
    /// A block cannot be decoded.
    #[error("the hits up to {last} cannot be read")]
    Damaged {
        /// Id of the block's last hit.
        last: i64,
        /// What is wrong with it.
        source: Damaged,
    },
}

/// A hit on its way in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewHit<'a> {
    pub(crate) at: Timestamp,
    pub(crate) rule: &'a str,
    pub(crate) event: &'a str,
    pub(crate) reason: Option<&'a str>,
    pub(crate) topic: &'a str,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) output: &'a [u8],
}

/// A stored hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Grows from hit to hit.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Rule name.
    pub rule: String,
    /// `match`, `firing`, `cleared`, `window`.
    pub event: String,
    /// Why the episode ended, of `cleared`.
    pub reason: Option<String>,
    /// Topic of the message it speaks of.
    pub topic: String,
    /// Client id, where there is one.
    pub client_id: Option<String>,
    /// Key of the episode as JSON text.
    pub key: Option<String>,
    /// The output, or its beginning.
    pub output: Bytes,
    /// Length of the whole output, bytes.
    pub output_bytes: u64,
}

/// Which hits to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct HitQuery<'a> {
    /// Only this rule's.
    pub rule: Option<&'a str>,
    /// Only hits with a smaller id: the page after one that ended with this id.
    pub before: Option<u64>,
    /// Only hits with a greater id.
    pub after: Option<u64>,
}

/// Reads the hit log. A call blocks: not for async code.
#[derive(Debug)]
pub struct HitLog {
    connection: ReadConnection,
}

impl HitLog {
    /// Reads over `connection`.
    pub fn new(connection: ReadConnection) -> HitLog {
        HitLog { connection }
    }

    /// The newest hits that `query` asks for, at most `count_max`, newest first.
    pub fn newest(&self, query: &HitQuery<'_>, count_max: usize) -> Result<Vec<Hit>, HitLogError> {
        table::newest(self.connection.sqlite(), query, count_max)
    }
}
