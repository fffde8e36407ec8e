//! All sessions by client identifier: claimed by a new connection, parked when it ends, ended when
//! nobody comes back in time.
//!
//! Each session has one current [`Control`]: of its connection, or of the caretaker that waits for
//! the end of a parked one. A claim puts another in its place and gives the old one the order to go,
//! under the map's lock, so a session is ended only by whoever is still current.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::exchange::Exchange;
use super::exchange::Wakes;
use super::message::Delivery;
use super::session::Control;
use super::session::Order;
use super::session::QueueBounds;
use super::session::Session;
use super::session::SessionState;
use crate::limits::SESSIONS_MAX;

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    current: Arc<Control>,
}

#[derive(Debug, Default)]
struct Map {
    by_client_id: HashMap<Arc<str>, Entry, foldhash::fast::RandomState>,
    next_key: u64,
}

/// The registry of sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    bounds: QueueBounds,
    map: Mutex<Map>,
}

/// There are [`SESSIONS_MAX`] sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Sessions {
    pub(crate) fn new(bounds: QueueBounds) -> Self {
        Sessions { bounds, map: Mutex::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.lock().by_client_id.len()
    }

    /// Makes `control` the current one of the client's session; who was it before is told to go.
    pub(crate) fn claim(
        &self,
        client_id: &Arc<str>,
        control: &Arc<Control>,
        order: Order,
    ) -> Result<Arc<Session>, TooMany> {
        let mut map = self.map.lock();
        if let Some(entry) = map.by_client_id.get_mut(client_id) {
            let before = std::mem::replace(&mut entry.current, Arc::clone(control));
            before.give(order);
            return Ok(Arc::clone(&entry.session));
        }
        if map.by_client_id.len() >= SESSIONS_MAX {
            return Err(TooMany);
        }
        map.next_key += 1;
        let session = Arc::new(Session::new(map.next_key, Arc::clone(client_id), self.bounds));
        let entry = Entry { session: Arc::clone(&session), current: Arc::clone(control) };
        map.by_client_id.insert(Arc::clone(client_id), entry);
        Ok(session)
    }

    /// Forgets the session if `control` is still its current one. Answers whether it was.
    pub(crate) fn forget(&self, session: &Session, control: &Arc<Control>) -> bool {
        let mut map = self.map.lock();
        let is_current = map
            .by_client_id
            .get(&session.client_id)
            .is_some_and(|entry| Arc::ptr_eq(&entry.current, control));
        if is_current {
            map.by_client_id.remove(&session.client_id);
        }
        is_current
    }

    /// Gives an order to every current control.
    pub(crate) fn order_all(&self, order: Order) {
        for entry in self.map.lock().by_client_id.values() {
            entry.current.give(order);
        }
    }

    /// Wakes every current control, without an order.
    pub(crate) fn wake_all(&self) {
        for entry in self.map.lock().by_client_id.values() {
            entry.current.notify.notify_one();
        }
    }

    /// All sessions, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.map.lock().by_client_id.values().map(|entry| Arc::clone(&entry.session)).collect()
    }
}

impl Exchange {
    /// Empties a session: subscriptions, queue, everything in flight. What it had by a shared
    /// subscription goes to another member, except QoS 2 messages that it may have seen (MQTT 5,
    /// section 4.8.2).
    pub(crate) fn clear(&self, session: &Session, state: &mut SessionState) {
        let filters = std::mem::take(&mut state.filters);
        for filter in filters.values() {
            self.subscriptions.unsubscribe(filter, session.key);
        }
        self.metrics.subscriptions.dec_by(i64::try_from(filters.len()).unwrap_or(i64::MAX));
        session.traffic.filters.lock().clear();
        let queued = session.drain();
        self.metrics.queued.dec_by(i64::try_from(queued.len()).unwrap_or(i64::MAX));
        let seen = |delivery: &Delivery| delivery.qos == crate::publish::QoS::ExactlyOnce;
        let in_flight = state.inflight.drain().filter(|delivery| !seen(delivery));
        let mut wakes = Wakes::default();
        for delivery in in_flight.chain(queued) {
            if let Some(group) = &delivery.group {
                self.offer_to_group(&delivery.message, group, &mut wakes);
            }
        }
        self.wake(&mut wakes);
        *state = SessionState::default();
    }
}
