//! All sessions by client identifier: claimed by a new connection, parked when it ends, ended when
//! nobody comes back in time.
//!
//! Each session has one current [`Control`]: of its connection, or of the caretaker that waits for
//! the end of a parked one. A claim puts another in its place and gives the old one the order to go,
//! under the map's lock, so a session is ended only by whoever is still current.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::IntakeClosed;
use super::Kept;
use super::Lane;
use super::exchange::Exchange;
use super::exchange::Timing;
use super::exchange::Wakes;
use super::inflight::Finished;
use super::message::Delivery;
use super::message::Message;
use super::message::Waiting;
use super::outbox::Content;
use super::session::Control;
use super::session::Order;
use super::session::QueueBounds;
use super::session::Session;
use super::session::SessionState;
use super::subscriptions::SubscriptionFilter;
use crate::limits::SESSIONS_MAX;
use crate::publish::QoS;
use crate::session::Backlog;
use crate::session::Change;
use crate::session::Fetched;

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

    /// Has the client's connection end. Answers whether there is one.
    pub(crate) fn kick(&self, client_id: &str) -> bool {
        let map = self.map.lock();
        let Some(entry) = map.by_client_id.get(client_id) else { return false };
        let is_connected = entry.session.is_connected();
        if is_connected {
            entry.current.give(Order::Kicked);
        }
        is_connected
    }

    /// Wakes every current control, without an order.
    pub(crate) fn wake_all(&self) {
        for entry in self.map.lock().by_client_id.values() {
            entry.current.notify.notify_one();
        }
    }

    /// Numbers below this one belong to sessions of earlier runs.
    pub(crate) fn number_from(&self, next: u64) {
        let mut map = self.map.lock();
        map.next_key = map.next_key.max(next);
    }

    /// A session of an earlier run, and the control that it is parked under.
    pub(crate) fn restore(&self, key: u64, client_id: &Arc<str>) -> (Arc<Session>, Arc<Control>) {
        let session = Arc::new(Session::new(key, Arc::clone(client_id), self.bounds));
        let control = Arc::new(Control::default());
        let entry = Entry { session: Arc::clone(&session), current: Arc::clone(&control) };
        self.map.lock().by_client_id.insert(Arc::clone(client_id), entry);
        (session, control)
    }

    /// All sessions, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.map.lock().by_client_id.values().map(|entry| Arc::clone(&entry.session)).collect()
    }
}

impl Exchange {
    /// Empties a session: subscriptions, queue, everything in flight. What it had by a shared
    /// subscription goes to another member, except QoS 2 messages that it may have seen (MQTT 5,
    /// section 4.8.2). `lane` gets what that changes on disk, if the session is there.
    pub(crate) async fn clear(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        lane: &mut dyn Lane,
    ) -> Result<(), IntakeClosed> {
        let filters = std::mem::take(&mut state.filters);
        for filter in filters.values() {
            self.subscriptions.unsubscribe(filter, session.key);
        }
        self.metrics.subscriptions.dec_by(i64::try_from(filters.len()).unwrap_or(i64::MAX));
        session.traffic.filters.lock().clear();
        let sent_until = session.sent_until();
        let (queued, backlog) = session.drain();
        self.relieve(session);
        let gone = queued.len() + backlog.messages;
        self.metrics.queued.dec_by(i64::try_from(gone).unwrap_or(i64::MAX));
        let mut wakes = Wakes::default();
        for finished in state.inflight.drain() {
            let waiting = match finished {
                Finished::Message(delivery) => {
                    let is_seen = delivery.qos == QoS::ExactlyOnce;
                    self.hand_over(Waiting::Message(delivery), is_seen, &mut wakes);
                    continue;
                }
                Finished::Release(Some(parcel)) => Waiting::Release(parcel),
                Finished::Release(None) => continue,
            };
            self.hand_over(waiting, true, &mut wakes);
        }
        if backlog.messages > 0 {
            let is_shared = filters.values().any(SubscriptionFilter::is_shared);
            self.hand_over_backlog(session, backlog, is_shared.then_some(sent_until), lane).await?;
        }
        for waiting in queued {
            self.hand_over(waiting, false, &mut wakes);
        }
        self.wake(&mut wakes);
        if state.is_on_disk {
            for parcel in wakes.parcels.drain(..) {
                lane.keep(Kept::Message(parcel));
            }
            lane.keep(Kept::Change(Change::Ended(session.key)));
        }
        // Nobody waits for a message that was not on disk before.
        self.ledger.add_parcels(&mut wakes.parcels);
        *state = SessionState::default();
        Ok(())
    }

    /// Gives a message of a session that ends to another member of its shared subscription, unless the client may have
    /// seen it. Its row goes with the session's.
    fn hand_over(&self, waiting: Waiting, is_seen: bool, wakes: &mut Wakes) {
        let (delivery, parcel) = match waiting {
            Waiting::Message(delivery) => (Some(delivery.clone()), delivery.parcel),
            Waiting::Release(parcel) => (None, Some(parcel)),
        };
        if let Some(parcel) = parcel {
            // Whatever is on disk of it goes with the session.
            self.finish(&parcel, &mut Vec::new());
        }
        let maybe_seen =
            |delivery: &Delivery| delivery.maybe_sent && delivery.qos == QoS::ExactlyOnce;
        let unseen = delivery.filter(|delivery| !is_seen && !maybe_seen(delivery));
        let Some(delivery) = unseen else { return };
        if let Some(group) = &delivery.group {
            let mut content = Content::default();
            let timing = Timing::AtOnce;
            self.offer_to_group(&delivery.message, group, timing, &mut content, wakes);
        }
    }

    /// The same for what is on disk only: what came by a shared subscription is read, page by page, and given to another
    /// member in the commit that removes it here. QoS 2 messages below `sent_until` may have been seen.
    async fn hand_over_backlog(
        &self,
        session: &Arc<Session>,
        backlog: Backlog,
        sent_until: Option<u64>,
        lane: &mut dyn Lane,
    ) -> Result<(), IntakeClosed> {
        self.ledger.note_gone(backlog.bytes);
        let (Some(sent_until), Some(store)) = (sent_until, &self.store) else { return Ok(()) };
        let mut next = Some(backlog.from);
        while let Some(from) = next {
            let page = store.page(session, from, backlog.until).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(client_id = %session.client_id, %error, "messages of a shared subscription are lost");
                    return Ok(());
                }
            };
            next = page.next;
            let mut wakes = Wakes::default();
            for Fetched { parcel, message } in page.messages {
                let group = parcel.terms.share.as_ref();
                let group = group.and_then(|share| self.subscriptions.group(share));
                let is_seen = parcel.terms.qos == QoS::ExactlyOnce && parcel.number < sent_until;
                let (Some(group), Some(publish), false) = (group, message, is_seen) else {
                    continue;
                };
                lane.keep(Kept::Change(Change::Removed(parcel.removal())));
                let (message, mut content) = (Message::new(&publish), Content::default());
                self.offer_to_group(&message, &group, Timing::AtOnce, &mut content, &mut wakes);
            }
            self.wake(&mut wakes);
            for parcel in wakes.parcels.drain(..) {
                lane.keep(Kept::Message(parcel));
            }
            // Page by page: the batch must not hold all of it.
            lane.submit(None).await?;
        }
        Ok(())
    }
}
