//! Sessions on disk: what a client may find again after its connection, or the gateway, has ended
//! (MQTT 5, section 4.1).
//!
//! The broker has the sessions in memory and decides; here is what it has the journal write, and what it reads
//! back. A [`Change`] is about the session itself (its expiry, subscriptions, will, identifiers of QoS 2). A
//! [`Parcel`] is one message for one session. Both travel in the [journal](crate::journal)'s batch with the effects of
//! the publish that caused them, so that its acknowledgement waits for them too. What a subscriber is done with goes
//! to the [`Ledger`], and from there into whatever is committed next.
//!
//! Written, and when:
//!
//! | what | before |
//! |---|---|
//! | a session, its will, the end of the one before | CONNACK |
//! | a subscription, or its end | SUBACK, UNSUBACK |
//! | a QoS 1 or 2 message for a session | the publisher's PUBACK or PUBREC |
//! | the same, QoS 2 | its PUBLISH to the subscriber |
//! | that a subscriber has a QoS 2 message (PUBREC) | PUBREL |
//! | that it is done with (PUBACK, PUBCOMP) | nothing: with one of the next commits |
//! | the identifier of a received QoS 2 message | PUBREC, and with all that the message caused |
//! | its release (PUBREL) | PUBCOMP |
//! | the end of a connection | nothing |
//!
//! A crash between two of these repeats a QoS 1 message at worst. A QoS 2 message keeps its packet identifier, which
//! follows from its number in the session, and is not sent before the row that has this number is on disk.
//!
//! Tables: `session`, `session_subscription`, `session_received`, `session_queue` (a message of a session, in the order of its
//! number) and `session_body` (the content of a message that several sessions wait for; that of a message for one
//! stands in its row).
//!
//! Start reading at [`Parcel`], then [`Appender`], then the rest of `table.rs`.

mod ledger;
mod parcel;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;
use crate::storage::Storage;
use crate::storage::StorageError;

pub use ledger::Ledger;
pub use parcel::Body;
pub use parcel::Owner;
pub use parcel::Parcel;
pub use parcel::Removal;
pub use parcel::Terms;
pub use table::Appender;
pub(crate) use table::SCHEMA;

/// What is to be known of a session beside its messages.
#[derive(Clone, Debug)]
pub enum Change {
    /// A connection has the session: from here on it is there, as `Facts` say.
    Connected(Box<Facts>),
    /// The connection has ended and the session stays.
    Parked {
        /// Which.
        session: u64,
        /// When.
        at: Timestamp,
        /// How long it stays.
        expiry: Duration,
        /// Messages up to this number may have been sent.
        sent_until: u64,
        /// Whether the will is still to come.
        keeps_will: bool,
    },
    /// The will has been published, or is not to be.
    WillDone(u64),
    /// The session has ended, with everything that it had.
    Ended(u64),
    /// A subscription, in place of an older one with the same filter.
    Subscribed {
        /// Which session.
        session: u64,
        /// The subscription.
        subscription: SavedSubscription,
    },
    /// The end of a subscription.
    Unsubscribed {
        /// Which session.
        session: u64,
        /// The filter, as subscribed.
        filter: Arc<str>,
    },
    /// A QoS 2 message of the client has come.
    Received {
        /// Which session.
        session: u64,
        /// Its packet identifier.
        packet_id: u16,
    },
    /// The client has released it.
    Completed {
        /// Which session.
        session: u64,
        /// Its packet identifier.
        packet_id: u16,
    },
    /// The client has a QoS 2 message: only its PUBREL is to be sent again.
    Released(Arc<Parcel>),
    /// A message that has gone elsewhere.
    Removed(Removal),
}

/// A session as its connection makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number: unique among those on disk and those in memory.
    pub session: u64,
    /// Client identifier.
    pub client_id: Arc<str>,
    /// What events call it.
    pub session_id: Uuid,
    /// Protocol level: 4 or 5.
    pub level: u8,
    /// How long it outlives the connection.
    pub expiry: Duration,
    /// Begin of the connection.
    pub connected_at: Timestamp,
    /// Where from.
    pub address: SocketAddr,
    /// The will.
    pub will: Option<SavedWill>,
}

/// A will on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedWill {
    /// From the end of the connection.
    pub delay: Duration,
    /// What is published; its origin is the client's.
    pub publish: Publish,
}

/// A subscription on disk (MQTT 5, section 3.8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSubscription {
    /// As subscribed, with `$share/GROUP/`.
    pub filter: Arc<str>,
    /// The highest that it is sent.
    pub qos: QoS,
    /// Not the client's own messages.
    pub no_local: bool,
    /// The RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// Subscription identifier.
    pub id: Option<u32>,
}

/// A session as the last run left it.
#[derive(Debug)]
pub struct Saved {
    /// As its last connection made it.
    pub facts: Facts,
    /// End of that connection; `None` when it was there when the gateway ended.
    pub parked_at: Option<Timestamp>,
    /// Messages below this number may have been sent.
    pub sent_until: u64,
    /// What it subscribes to.
    pub subscriptions: Vec<SavedSubscription>,
    /// QoS 2 identifiers received and not released.
    pub received: Vec<u16>,
    /// Messages that wait.
    pub backlog: Backlog,
}

/// Messages of a session on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub messages: usize,
    /// Bytes, as the broker counts them.
    pub bytes: usize,
    /// The first one's number.
    pub from: u64,
    /// The number after the last one's.
    pub until: u64,
}

/// Everything that [`load`] finds.
#[derive(Debug, Default)]
pub struct SavedSessions {
    /// By number.
    pub sessions: Vec<Saved>,
    /// Numbers of sessions that are gone, but for messages: to be [ended](Change::Ended).
    pub remains: Vec<u64>,
    /// The first number that is free.
    pub next: u64,
}

/// A message read back.
#[derive(Debug)]
pub struct Fetched {
    /// Its place.
    pub parcel: Arc<Parcel>,
    /// The message; `None` when only its PUBREL is left.
    pub message: Option<Publish>,
}

/// Some messages of a session, in order.
#[derive(Debug, Default)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Fetched>,
    /// The number to go on from; `None` when these were the last.
    pub next: Option<u64>,
    /// Rows that cannot be read: told, and to be removed.
    pub damaged: Vec<Removal>,
}

/// Why sessions could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection.
    #[error("cannot open the database for the sessions")]
    Open(#[from] StorageError),
    /// SQLite failed.
    #[error("cannot read the sessions")]
    Read(#[from] SqliteError),
    /// The journal did not make a change.
    #[error("the messages of a session were not removed")]
    Remove(#[from] ExecuteError),
}

/// Reads the sessions, at the start. What is damaged is told and left out.
pub fn load(storage: &Storage) -> Result<SavedSessions, SessionError> {
    Ok(table::load(storage.reader()?.sqlite())?)
}

/// Reads messages of sessions. A call blocks for as long as SQLite takes: not for async code.
#[derive(Debug)]
pub struct Reader {
    /// One page at a time: a page takes a fraction of a millisecond.
    connection: Mutex<ReadConnection>,
}

impl Reader {
    /// Reads over `connection`.
    pub fn new(connection: ReadConnection) -> Reader {
        Reader { connection: Mutex::new(connection) }
    }

    /// The messages of a session from number `from` to below `until`, as many as
    /// [`limits::SESSION_PAGE_MAX`](crate::limits::SESSION_PAGE_MAX) and
    /// [`limits::SESSION_PAGE_BYTES_MAX`](crate::limits::SESSION_PAGE_BYTES_MAX) allow, one at least.
    pub fn page(
        &self,
        owner: &Arc<dyn Owner>,
        session: u64,
        from: u64,
        until: u64,
    ) -> Result<Page, SessionError> {
        Ok(table::page(self.connection.lock().sqlite(), owner, session, from, until)?)
    }
}

/// At a start: the connections of the last run have ended by `now` at the latest, and what is left of sessions
/// that are gone goes.
pub(crate) async fn begin(
    executor: &Executor,
    remains: Vec<u64>,
    now: Timestamp,
) -> Result<(), SessionError> {
    Ok(executor.execute(move |tx| table::begin(tx, &remains, now)).await?)
}

/// Removes the messages of a session below number `until` that came before `before`; how many, and
/// their bytes.
pub(crate) async fn remove_old(
    executor: &Executor,
    session: u64,
    until: u64,
    before: Timestamp,
) -> Result<(usize, usize), SessionError> {
    Ok(executor.execute(move |tx| table::remove_old(tx, session, until, before)).await?)
}
