//! What happens to clients, as the rest of the gateway is told.
//!
//! An event is made only when somebody listens: [`Intake::tell`] asks for it then. Its words are those of
//! AWS IoT's lifecycle events (developer guide, "Lifecycle events"); what topic and document it becomes
//! is the gateway's business.

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::Intake;
use super::session::Session;
use super::session::SessionState;
use crate::clock::Timestamp;

/// Something happened to a client.
#[derive(Clone, Debug)]
pub struct ClientEvent {
    /// When.
    pub at: Timestamp,
    /// Whom.
    pub client_id: Arc<str>,
    /// The same as long as the session lasts; of a connection that failed its own. `None` where it is not at hand.
    pub session_id: Option<Uuid>,
    /// What.
    pub change: Change,
}

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// The user name that the client gave.
    pub principal: Option<Arc<str>>,
    /// Where it connects from.
    pub address: IpAddr,
    /// Grows with every connection, also over restarts: tells which of two events was later.
    pub version_number: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Change {
    /// A connection began.
    Connected {
        /// Of it.
        connection: Arc<ConnectionFacts>,
        /// Whether it goes on with an older session.
        session_present: bool,
    },
    /// A connection ended.
    Disconnected {
        /// Of it.
        connection: Arc<ConnectionFacts>,
        /// AWS's word for why, such as `CONNECTION_LOST`.
        reason: &'static str,
    },
    /// A CONNECT was refused.
    ConnectFailed {
        /// The name that was proved, where it came to that.
        principal: Option<Arc<str>>,
        /// Where it came from.
        address: IpAddr,
        /// The label of `mqtt_connections_refused`.
        reason: &'static str,
        /// Whether that was for who the client is, or what it asked for.
        is_unauthorized: bool,
    },
    /// Subscriptions were granted.
    Subscribed {
        /// Of the connection.
        connection: Arc<ConnectionFacts>,
        /// The filters, as asked for.
        topics: Vec<String>,
    },
    /// Subscriptions were given up.
    Unsubscribed {
        /// Of the connection.
        connection: Arc<ConnectionFacts>,
        /// The filters.
        topics: Vec<String>,
    },
    /// Another connection with the same identifier went on with the session, or ended it.
    TakenOver,
    /// A session has had no room for a message, for the first time since it had plenty.
    Full {
        /// `queue_full`, or `store_full` for what all sessions have on disk together.
        reason: &'static str,
        /// Messages that wait in it.
        queued: usize,
        /// Bytes of them and of what is in flight.
        bytes: usize,
    },
    /// A session with subscriptions or waiting messages is gone.
    Lost {
        /// `expired` or `clean_start`.
        reason: &'static str,
        /// Subscriptions that it had.
        subscriptions: usize,
        /// Messages that waited in it.
        queued: usize,
    },
}

/// AWS's word for a disconnection by the client.
pub const BY_CLIENT: &str = "CLIENT_INITIATED_DISCONNECT";

/// Says that what a session holds is about to be thrown away. An empty one is no loss.
pub(crate) fn tell_lost(
    intake: &Arc<dyn Intake>,
    session: &Session,
    state: &SessionState,
    at: Timestamp,
    reason: &'static str,
) {
    let (subscriptions, queued) = (state.filters.len(), session.queued());
    let session_id = state.id.filter(|_| subscriptions + queued > 0);
    if session_id.is_none() {
        return;
    }
    intake.tell(&|| ClientEvent {
        at,
        client_id: Arc::clone(&session.client_id),
        session_id,
        change: Change::Lost { reason, subscriptions, queued },
    });
}
