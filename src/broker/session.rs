//! A client's session: what outlives its connection (MQTT 5, section 4.1).
//!
//! Two halves. The [`Outbox`](super::outbox) takes messages from publishers: a bounded queue behind a short lock, so
//! that a slow subscriber costs a publisher nothing but a refusal. [`SessionState`] is the rest; the
//! connection owns it through an asynchronous lock's guard for as long as it lives, and a successor
//! waits for that guard, so a taken-over session is never in two hands.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::inflight::InFlight;
use super::message::Message;
use super::metrics::Dropped;
use super::outbox::Outbox;
use super::packet::Version;
use super::retained::Walk;
use super::subscriptions::SubscriptionFilter;
use crate::clock::Timestamp;
use crate::peer::Certificate;
use crate::peer::Transport;
use crate::publish::QoS;
use crate::session::Parcel;

/// What somebody else wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Order {
    #[error("another connection goes on with the session")]
    TakenOver,
    #[error("another connection starts the session afresh")]
    TakenOverClean,
    #[error("the gateway is shutting down")]
    ShutDown,
    /// An administrator wants the client to go. Nobody goes on with its session, so any later order
    /// takes its place.
    #[error("an administrator ended the connection")]
    Kicked,
}

const KICKED: u8 = 4;

/// How a connection is reached: by publishers with deliveries, by a successor or the listener with
/// an order. A parked session's caretaker holds the last connection's.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) notify: Notify,
    /// 0: none; the first order stays, but for [`Order::Kicked`].
    order: AtomicU8,
}

impl Control {
    pub(crate) fn give(&self, order: Order) {
        let value = match order {
            Order::TakenOver => 1,
            Order::TakenOverClean => 2,
            Order::ShutDown => 3,
            Order::Kicked => KICKED,
        };
        let replaced = self.order.fetch_update(Ordering::AcqRel, Ordering::Acquire, |order| {
            (order == 0 || (order == KICKED && value != KICKED)).then_some(value)
        });
        if replaced.is_ok() {
            self.notify.notify_one();
        }
    }

    /// The connection has gone as it was told; its session waits for whoever comes.
    pub(crate) fn obey_kick(&self) {
        self.order.compare_exchange(KICKED, 0, Ordering::AcqRel, Ordering::Acquire).ok();
    }

    pub(crate) fn order(&self) -> Option<Order> {
        match self.order.load(Ordering::Acquire) {
            1 => Some(Order::TakenOver),
            2 => Some(Order::TakenOverClean),
            3 => Some(Order::ShutDown),
            KICKED => Some(Order::Kicked),
            _ => None,
        }
    }
}

/// Bounds of a session's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueBounds {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
    /// Of all sessions that survive, together.
    pub(crate) kept_bytes_max: usize,
}

/// What became of an offered message.
#[derive(Debug)]
pub(crate) enum Offered {
    /// Queued. The connection must be woken, best after the whole batch; the parcel is to be part of the commit
    /// that the publisher waits for.
    Queued(Option<Arc<Control>>, Option<Arc<Parcel>>),
    Refused(Dropped),
}

/// What the API shows of a session.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// The name that was proved, and how.
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) login: &'static str,
    pub(crate) version: Version,
    pub(crate) since: Timestamp,
}

impl Contact {
    /// Of a connection of which no more is known.
    pub(crate) fn bare(
        address: std::net::SocketAddr,
        version: Version,
        since: Timestamp,
    ) -> Contact {
        let (certificate, principal) = (None, None);
        let (transport, login) = (Transport::Tcp, "unknown");
        Contact { address, transport, certificate, principal, login, version, since }
    }
}

/// Messages that passed, for the API. Added to once a batch.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Filters subscribed to, as sent. Taken by SUBSCRIBE, UNSUBSCRIBE and the API only.
    pub(crate) filters: Mutex<BTreeSet<Arc<str>>>,
}

/// A client's session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Unique in this process and in the database.
    pub(crate) key: u64,
    pub(crate) client_id: Arc<str>,
    pub(crate) traffic: Traffic,
    pub(super) bounds: QueueBounds,
    pub(super) outbox: Mutex<Outbox>,
    /// Whether it survives: its messages are to be on disk. Written by the connection that has the state.
    pub(super) is_kept: AtomicBool,
    /// Whether somebody is to be told when a message is on disk. Written under the outbox's lock.
    pub(super) watches_store: AtomicBool,
    /// Its queue was full, and has not been half empty since. Written by whoever finds it so.
    pub(super) is_full: AtomicBool,
    contact: Mutex<Option<Contact>>,
    state: Arc<tokio::sync::Mutex<SessionState>>,
}

/// A run of retained messages on their way to a new subscription.
#[derive(Debug)]
pub(crate) struct RetainedRun {
    /// Found, in the order they go out.
    pub(crate) messages: std::vec::IntoIter<Arc<Message>>,
    /// Where more are found.
    pub(crate) walk: Walk,
    /// Without what the client published itself.
    pub(crate) no_local: bool,
    pub(crate) qos: QoS,
    pub(crate) subscription_ids: Option<Arc<[u32]>>,
}

/// The half of a session that only its connection touches.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    /// Given with its first connection.
    pub(crate) id: Option<Uuid>,
    /// The last connection left something that a new one may go on with.
    pub(crate) resumable: bool,
    /// It has a row in the database.
    pub(crate) is_on_disk: bool,
    /// By the filter's text as subscribed.
    pub(crate) filters: HashMap<Arc<str>, SubscriptionFilter, foldhash::fast::RandomState>,
    /// QoS 2 identifiers received and not released.
    pub(crate) unreleased: HashSet<u16, foldhash::fast::RandomState>,
    pub(crate) inflight: InFlight,
    pub(crate) retained: VecDeque<RetainedRun>,
}

/// The right to a session's state.
pub(crate) type StateGuard = OwnedMutexGuard<SessionState>;

impl Session {
    pub(crate) fn new(key: u64, client_id: Arc<str>, bounds: QueueBounds) -> Self {
        Session {
            key,
            client_id,
            traffic: Traffic::default(),
            bounds,
            outbox: Mutex::default(),
            is_kept: AtomicBool::new(false),
            watches_store: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            contact: Mutex::default(),
            state: Arc::default(),
        }
    }

    /// Waits until no connection has the state.
    pub(crate) async fn state(&self) -> StateGuard {
        Arc::clone(&self.state).lock_owned().await
    }

    pub(crate) fn contact(&self) -> Option<Contact> {
        self.contact.lock().clone()
    }

    /// The session of an earlier run, parked: nobody has its state yet.
    pub(crate) fn restore(&self, contact: Contact, prepare: impl FnOnce(&mut SessionState)) {
        *self.contact.lock() = Some(contact);
        let mut state = self.state.try_lock().expect("nobody knows the session yet");
        prepare(&mut state);
    }

    /// Its state, if no connection has it.
    pub(crate) fn try_state(&self) -> Option<StateGuard> {
        Arc::clone(&self.state).try_lock_owned().ok()
    }

    /// A connection begins; it looks at the queue without being woken.
    pub(crate) fn attach(&self, control: Arc<Control>, contact: Contact) {
        *self.contact.lock() = Some(contact);
        self.connect(control);
    }
}
