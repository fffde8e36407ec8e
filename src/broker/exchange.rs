//! What all connections share: subscriptions, retained messages, sessions, metrics; and the fan-out
//! from a publisher to its subscribers.
//!
//! Fan-out never waits: a subscriber whose queue is full misses the message, which is counted.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use tokio::sync::watch;

use super::message::Delivery;
use super::message::Message;
use super::metrics::BrokerMetrics;
use super::metrics::Dropped;
use super::retained::Retained;
use super::session::Control;
use super::session::Offered;
use super::session::Order;
use super::session::QueueBounds;
use super::session::Session;
use super::sessions::Sessions;
use super::statistics::Statistics;
use super::subscriptions::Group;
use super::subscriptions::Route;
use super::subscriptions::Subscriptions;
use crate::access::Access;
use crate::clock::Clock;
use crate::config::MqttConfig;
use crate::publish::Publish;
use crate::topic::Reserved;

/// The parts that connections share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) config: MqttConfig,
    pub(crate) clock: Clock,
    pub(crate) access: Arc<Access>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) retained: Retained,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) statistics: Statistics,
    /// The number of the next connection; see [`Exchange::next_version_number`].
    version_number: AtomicU64,
    /// Whether the broker is shutting down.
    closing: watch::Sender<bool>,
    /// Connections behind all doors, those that are being refused too.
    open: AtomicUsize,
}

/// A connection among all that are open; one less when it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    exchange: Arc<Exchange>,
    /// How many there were before it.
    pub(crate) before: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.exchange.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Subscribers to be woken at the end of a batch: woken at its first message, they would write each
/// message by itself.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    connections: SmallVec<[Arc<Control>; 8]>,
    /// Messages queued since the last wake.
    queued: i64,
}

impl Exchange {
    pub(crate) fn new(config: &MqttConfig, clock: Clock, access: Arc<Access>) -> Self {
        let bounds = QueueBounds {
            messages_max: config.session_queue_max,
            bytes_max: config.session_queue_bytes_max,
        };
        Exchange {
            config: config.clone(),
            clock,
            access,
            subscriptions: Subscriptions::default(),
            retained: Retained::new(config.retained_max),
            sessions: Sessions::new(bounds),
            metrics: BrokerMetrics::default(),
            statistics: Statistics::new(clock.now()),
            version_number: AtomicU64::new(
                u64::try_from(clock.now().as_millis()).unwrap_or_default(),
            ),
            closing: watch::Sender::new(false),
            open: AtomicUsize::new(0),
        }
    }

    /// One more connection.
    pub(crate) fn open(exchange: &Arc<Exchange>) -> Open {
        let before = exchange.open.fetch_add(1, Ordering::Relaxed);
        Open { exchange: Arc::clone(exchange), before }
    }

    /// Shuts down: no connection comes to be from now on, and those that are get the order to go.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
        self.sessions.order_all(Order::ShutDown);
    }

    /// A number for a new connection that no earlier one has. It begins with the time of the start in
    /// milliseconds, so it also grows over a restart (unless there were a thousand a second).
    pub(crate) fn next_version_number(&self) -> u64 {
        self.version_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits for [`Exchange::close`].
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        closing.wait_for(|closing| *closing).await.expect("the sender is in `self`");
    }

    pub(crate) fn count_sessions(&self) {
        self.metrics.sessions.set(i64::try_from(self.sessions.len()).unwrap_or(i64::MAX));
    }

    /// Sends a message to everybody on its route.
    pub(crate) fn fan_out(&self, publish: &Publish, route: &Route, wakes: &mut Wakes) {
        let message = Message::new(publish);
        for to in &route.recipients {
            let delivery = Delivery {
                message: Arc::clone(&message),
                qos: publish.qos.min(to.qos),
                retain: publish.retain && to.retain_as_published,
                subscription_ids: to.ids.clone(),
                group: None,
                accounted: true,
            };
            match to.session.offer(delivery) {
                Offered::Queued(connection) => wakes.add(connection),
                Offered::Refused(reason) => self.drop_message(&to.session, reason),
            }
        }
        for group in &route.groups {
            self.offer_to_group(&message, group, wakes);
        }
    }

    /// Sends a message to one member of a shared subscription: the next in turn that takes it.
    pub(crate) fn offer_to_group(
        &self,
        message: &Arc<Message>,
        group: &Arc<Group>,
        wakes: &mut Wakes,
    ) {
        let mut refused = None;
        for member in group.in_turn() {
            let delivery = Delivery {
                message: Arc::clone(message),
                qos: message.publish.qos.min(member.qos),
                retain: message.publish.retain && member.retain_as_published,
                subscription_ids: member.id.map(|id| Arc::from([id].as_slice())),
                group: Some(Arc::clone(group)),
                accounted: true,
            };
            match member.session.offer(delivery) {
                Offered::Queued(connection) => {
                    wakes.add(connection);
                    return;
                }
                Offered::Refused(reason) => refused = Some((member, reason)),
            }
        }
        if let Some((member, reason)) = refused {
            self.drop_message(&member.session, reason);
        }
    }

    /// Why a client's publish is refused, if it is, before anybody sees it.
    pub(crate) fn refuse(publish: &Publish) -> Option<Dropped> {
        let promises_text =
            publish.properties.as_ref().is_some_and(|p| p.payload_format == Some(1));
        if promises_text && std::str::from_utf8(&publish.payload).is_err() {
            return Some(Dropped::PayloadFormat);
        }
        let reserved = Reserved::of(publish.topic.as_str());
        reserved.is_some_and(Reserved::is_own).then_some(Dropped::ReservedTopic)
    }

    fn drop_message(&self, session: &Session, reason: Dropped) {
        self.metrics.count_dropped(reason);
        tracing::debug!(client_id = %session.client_id, ?reason, "message dropped for a subscriber");
    }

    /// Keeps a message with the RETAIN flag, unless it is for one rule and has no subscribers. Answers
    /// whether it was kept.
    pub(crate) fn retain(&self, publish: &Publish) -> bool {
        if matches!(Reserved::of(publish.topic.as_str()), Some(Reserved::Ingest { .. })) {
            return false;
        }
        let kept = self.retained.set(publish).is_ok();
        if !kept {
            self.metrics.count_dropped(Dropped::RetainedFull);
        }
        self.metrics.retained.set(i64::try_from(self.retained.len()).unwrap_or(i64::MAX));
        kept
    }

    /// A message that no connection sent: to subscribers and into the retained store. `publisher` is the
    /// key of the session whose will it is.
    pub(crate) fn publish(&self, publish: &Publish, publisher: Option<u64>) {
        if publish.retain && !is_statistic(publish) {
            self.retain(publish);
        }
        if let (_, Some(route)) = self.subscriptions.route(publish.topic.as_str(), publisher) {
            let mut wakes = Wakes::default();
            self.fan_out(publish, &route, &mut wakes);
            self.wake(&mut wakes);
        }
    }

    /// Wakes the subscribers of a batch.
    pub(crate) fn wake(&self, wakes: &mut Wakes) {
        if wakes.queued > 0 {
            self.metrics.queued.inc_by(std::mem::take(&mut wakes.queued));
        }
        for connection in wakes.connections.drain(..) {
            connection.notify.notify_one();
        }
    }
}

/// Statistics are made anew for each subscription.
fn is_statistic(publish: &Publish) -> bool {
    Reserved::of(publish.topic.as_str()) == Some(Reserved::Statistic)
}

impl Wakes {
    fn add(&mut self, connection: Option<Arc<Control>>) {
        self.queued += 1;
        self.connections.extend(connection);
    }
}
