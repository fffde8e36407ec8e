//! A client's session: what outlives its connection (MQTT 5, section 4.1).
//!
//! Two halves. The [`Outbox`] takes messages from publishers: a bounded queue behind a short lock, so
//! that a slow subscriber costs a publisher nothing but a refusal. [`SessionState`] is the rest; the
//! connection owns it through an asynchronous lock's guard for as long as it lives, and a successor
//! waits for that guard, so a taken-over session is never in two hands.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::inflight::InFlight;
use super::message::Delivery;
use super::message::Message;
use super::metrics::Dropped;
use super::packet::Version;
use super::subscriptions::SubscriptionFilter;
use crate::clock::Timestamp;
use crate::publish::QoS;

/// What somebody else wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Order {
    #[error("another connection goes on with the session")]
    TakenOver,
    #[error("another connection starts the session afresh")]
    TakenOverClean,
    #[error("the gateway is shutting down")]
    ShutDown,
}

/// How a connection is reached: by publishers with deliveries, by a successor or the listener with
/// an order. A parked session's caretaker holds the last connection's.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) notify: Notify,
    /// 0: none; the first order stays.
    order: AtomicU8,
}

impl Control {
    pub(crate) fn give(&self, order: Order) {
        let value = match order {
            Order::TakenOver => 1,
            Order::TakenOverClean => 2,
            Order::ShutDown => 3,
        };
        if self.order.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.notify.notify_one();
        }
    }

    pub(crate) fn order(&self) -> Option<Order> {
        match self.order.load(Ordering::Acquire) {
            1 => Some(Order::TakenOver),
            2 => Some(Order::TakenOverClean),
            3 => Some(Order::ShutDown),
            _ => None,
        }
    }
}

/// Messages queued for a session.
#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<Delivery>,
    /// Of the queue and of what is in flight.
    bytes: usize,
    /// The connection; `None` while the session is parked.
    connection: Option<Arc<Control>>,
    /// The connection has been woken and has not yet emptied the queue since.
    signalled: bool,
}

/// Bounds of a session's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueBounds {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
}

/// What became of an offered message.
#[derive(Debug)]
pub(crate) enum Offered {
    /// Queued. Whoever is given here must be woken, best after the whole batch.
    Queued(Option<Arc<Control>>),
    Refused(Dropped),
}

/// What the API shows of a session.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) version: Version,
    pub(crate) since: Timestamp,
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
    /// Unique in this process.
    pub(crate) key: u64,
    pub(crate) client_id: Arc<str>,
    pub(crate) traffic: Traffic,
    bounds: QueueBounds,
    outbox: Mutex<Outbox>,
    contact: Mutex<Option<Contact>>,
    state: Arc<tokio::sync::Mutex<SessionState>>,
}

/// A run of retained messages on their way to a new subscription.
#[derive(Debug)]
pub(crate) struct RetainedRun {
    pub(crate) messages: std::vec::IntoIter<Arc<Message>>,
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

    /// Whether a connection takes what is queued.
    pub(crate) fn is_connected(&self) -> bool {
        self.outbox.lock().connection.is_some()
    }

    /// Messages waiting.
    pub(crate) fn queued(&self) -> usize {
        self.outbox.lock().queue.len()
    }

    /// Bytes of messages waiting and in flight.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.outbox.lock().bytes
    }

    /// A connection begins; it looks at the queue without being woken.
    pub(crate) fn attach(&self, control: Arc<Control>, contact: Contact) {
        *self.contact.lock() = Some(contact);
        let mut outbox = self.outbox.lock();
        outbox.connection = Some(control);
        outbox.signalled = true;
    }

    /// The connection ends, and gives back the bytes of `finished` messages; from now on only QoS 1
    /// and 2 are queued.
    pub(crate) fn detach(&self, finished: usize) {
        let mut outbox = self.outbox.lock();
        outbox.connection = None;
        outbox.bytes = outbox.bytes.saturating_sub(finished);
    }

    /// Queues a message, or gives it back with the reason.
    pub(crate) fn offer(&self, delivery: Delivery) -> Offered {
        let bytes = delivery.message.bytes();
        let mut outbox = self.outbox.lock();
        if outbox.connection.is_none() && delivery.qos == QoS::AtMostOnce {
            return Offered::Refused(Dropped::Offline);
        }
        let full = outbox.queue.len() >= self.bounds.messages_max
            || (outbox.bytes > 0 && outbox.bytes + bytes > self.bounds.bytes_max);
        if full {
            return Offered::Refused(Dropped::QueueFull);
        }
        outbox.bytes += bytes;
        outbox.queue.push_back(delivery);
        if outbox.signalled {
            return Offered::Queued(None);
        }
        outbox.signalled = outbox.connection.is_some();
        Offered::Queued(outbox.connection.clone())
    }

    /// Moves messages of about `budget` bytes into `taken`, of them at most `window` with QoS 1 or 2,
    /// and gives back the bytes of `finished` messages. Answers whether the queue is empty now; until
    /// a call found it so, nobody wakes the connection for more.
    pub(crate) fn take(
        &self,
        taken: &mut Vec<Delivery>,
        mut budget: usize,
        mut window: usize,
        finished: &mut usize,
    ) -> bool {
        let mut outbox = self.outbox.lock();
        outbox.bytes = outbox.bytes.saturating_sub(std::mem::take(finished));
        while budget > 0 {
            match outbox.queue.front() {
                None => break,
                Some(head) if head.qos == QoS::AtMostOnce => {
                    outbox.bytes = outbox.bytes.saturating_sub(head.message.bytes());
                }
                // In order: QoS 0 behind it waits too.
                Some(_) if window == 0 => return false,
                Some(_) => window -= 1,
            }
            let Some(delivery) = outbox.queue.pop_front() else { break };
            budget = budget.saturating_sub(delivery.message.bytes());
            taken.push(delivery);
        }
        outbox.signalled = !outbox.queue.is_empty();
        if outbox.queue.is_empty() && outbox.queue.capacity() > 1024 {
            outbox.queue = VecDeque::new();
        }
        outbox.queue.is_empty()
    }

    /// Keeps of the queue the messages whose topic `is_wanted`; answers how many it forgot.
    pub(crate) fn retain_queued(&self, is_wanted: impl Fn(&str) -> bool) -> usize {
        let mut outbox = self.outbox.lock();
        let Outbox { queue, bytes, .. } = &mut *outbox;
        let before = queue.len();
        queue.retain(|delivery| {
            let is_kept = is_wanted(delivery.message.publish.topic.as_str());
            if !is_kept {
                *bytes = bytes.saturating_sub(delivery.message.bytes());
            }
            is_kept
        });
        before - queue.len()
    }

    /// Empties the queue: the session ends.
    pub(crate) fn drain(&self) -> VecDeque<Delivery> {
        let mut outbox = self.outbox.lock();
        outbox.bytes = 0;
        std::mem::take(&mut outbox.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::samples::delivery;

    fn session(messages_max: usize, bytes_max: usize) -> Session {
        Session::new(1, Arc::from("c"), QueueBounds { messages_max, bytes_max })
    }

    fn attach(session: &Session) {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let contact = Contact { address, version: Version::V5, since: Timestamp::EPOCH };
        session.attach(Arc::default(), contact);
    }

    fn take(session: &Session, budget: usize, window: usize) -> (usize, bool) {
        let mut taken = Vec::new();
        let is_empty = session.take(&mut taken, budget, window, &mut 0);
        (taken.len(), is_empty)
    }

    #[test]
    fn the_queue_is_bounded_by_messages_and_by_bytes_in_flight_too() {
        let few = session(2, usize::MAX);
        for _ in 0..2 {
            assert!(matches!(few.offer(delivery(QoS::AtLeastOnce)), Offered::Queued(None)));
        }
        let refused = few.offer(delivery(QoS::AtLeastOnce));
        assert!(matches!(refused, Offered::Refused(Dropped::QueueFull)));

        let bytes = delivery(QoS::AtLeastOnce).message.bytes();
        let small = session(100, 2 * bytes);
        attach(&small);
        for _ in 0..2 {
            assert!(matches!(small.offer(delivery(QoS::AtLeastOnce)), Offered::Queued(_)));
        }
        assert_eq!(take(&small, usize::MAX, 9), (2, true));
        // Taken, not acknowledged: it still holds the memory.
        let refused = small.offer(delivery(QoS::AtLeastOnce));
        assert!(matches!(refused, Offered::Refused(Dropped::QueueFull)));
        small.take(&mut Vec::new(), 0, 0, &mut bytes.clone());
        assert!(matches!(small.offer(delivery(QoS::AtLeastOnce)), Offered::Queued(_)));
    }

    #[test]
    fn a_closed_window_holds_back_what_is_behind_it() {
        let session = session(100, usize::MAX);
        attach(&session);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce] {
            session.offer(delivery(qos));
        }
        assert_eq!(take(&session, usize::MAX, 0), (1, false));
        assert_eq!(take(&session, 1, 1), (1, false));
        assert_eq!(take(&session, usize::MAX, 0), (1, true));
    }

    #[test]
    fn a_connection_is_woken_once_until_it_has_emptied_the_queue() {
        let session = session(100, usize::MAX);
        attach(&session);
        let is_woken =
            || matches!(session.offer(delivery(QoS::AtMostOnce)), Offered::Queued(Some(_)));
        assert!(!is_woken(), "a new connection looks by itself");
        assert_eq!(take(&session, usize::MAX, 9), (1, true));
        assert!(is_woken());
        assert!(!is_woken());
        assert_eq!(take(&session, 1, 9), (1, false));
        assert!(!is_woken());
        assert_eq!(take(&session, usize::MAX, 9), (2, true));
        assert!(is_woken());
    }

    #[test]
    fn a_parked_session_takes_no_qos_0() {
        let session = session(100, usize::MAX);
        let refused = session.offer(delivery(QoS::AtMostOnce));
        assert!(matches!(refused, Offered::Refused(Dropped::Offline)));
    }
}
