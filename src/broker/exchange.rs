//! What all connections share: subscriptions, retained messages, sessions, metrics; and the fan-out
//! from a publisher to its subscribers.
//!
//! Fan-out never waits: a subscriber whose queue is full misses the message, which is counted.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::watch;

use super::Change;
use super::ClientEvent;
use super::Intake;
use super::Kept;
use super::Lane;
use super::message::Delivery;
use super::message::Message;
use super::metrics::BrokerMetrics;
use super::metrics::Dropped;
use super::outbox::Content;
use super::restore::Store;
use super::retained::Full;
use super::retained::Retained;
use super::session::Control;
use super::session::Offered;
use super::session::Order;
use super::session::QueueBounds;
use super::session::Session;
use super::sessions::Sessions;
use super::statistics::Statistics;
use super::subscriptions::Group;
use super::subscriptions::Recipient;
use super::subscriptions::Route;
use super::subscriptions::Subscriptions;
use crate::access::Access;
use crate::access::Arrivals;
use crate::clock::Clock;
use crate::config::MqttConfig;
use crate::config::RateConfig;
use crate::limits::RETAINED_BYTES_MAX;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::session::Ledger;
use crate::session::Parcel;
use crate::session::Removal;
use crate::topic::Reserved;

/// The parts that connections share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) config: MqttConfig,
    pub(crate) clock: Clock,
    pub(crate) access: Arc<Access>,
    pub(crate) rate: RateConfig,
    pub(crate) arrivals: Arrivals,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) retained: Retained,
    pub(crate) sessions: Sessions,
    /// What sessions that survive are done with.
    pub(crate) ledger: Arc<Ledger>,
    /// Where messages of absent clients are; `None` of a broker without a database.
    pub(crate) store: Option<Store>,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) statistics: Statistics,
    /// The number of the next connection; see [`Exchange::next_version_number`].
    version_number: AtomicU64,
    /// Who is told what happens to sessions that no connection is at hand of. Given when the broker runs;
    /// weak, because it knows us.
    told: OnceLock<Weak<dyn Intake>>,
    /// The store has had no room for a message, and has not had plenty since.
    is_store_full: AtomicBool,
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

/// Who may come in, and how fast.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Who, and what each may do.
    pub access: Arc<Access>,
    /// `[rate]`
    pub rate: RateConfig,
}

impl Guard {
    /// Lets everybody in, as fast as they come.
    pub fn open(clock: Clock) -> Guard {
        Guard { access: Arc::new(Access::open(clock)), rate: RateConfig::default() }
    }
}

/// Subscribers to be woken at the end of a batch: woken at its first message, they would write each
/// message by itself.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    connections: SmallVec<[Arc<Control>; 8]>,
    /// Messages queued since the last wake.
    queued: i64,
    /// Messages for sessions that survive, to be part of the publisher's commit.
    pub(crate) parcels: Vec<Arc<Parcel>>,
}

/// Whether a message may be sent to subscribers before it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// It may, with QoS 1: its publisher has sent it.
    AtOnce,
    /// It may not.
    AfterCommit,
}

/// What a message that a rule makes has come to before its commit.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Sessions that have it.
    served: SmallVec<[u64; 4]>,
    /// Shared subscriptions of which a member has it.
    groups: SmallVec<[Arc<Group>; 2]>,
}

impl Exchange {
    pub(crate) fn new(
        config: &MqttConfig,
        clock: Clock,
        guard: Guard,
        store: Option<Store>,
    ) -> Self {
        let Guard { access, rate } = guard;
        let bounds = QueueBounds {
            messages_max: config.session_queue_max,
            bytes_max: config.session_queue_bytes_max,
            kept_bytes_max: config.sessions_bytes_max,
        };
        let ledger: Arc<Ledger> = Arc::default();
        let mut metrics = BrokerMetrics::default();
        metrics.kept_bytes = ledger.gauge().clone();
        Exchange {
            config: config.clone(),
            clock,
            access,
            arrivals: Arrivals::new(&rate),
            rate,
            subscriptions: Subscriptions::default(),
            retained: Retained::new(config.retained_max, RETAINED_BYTES_MAX),
            sessions: Sessions::new(bounds),
            ledger,
            store,
            metrics,
            statistics: Statistics::new(clock.now()),
            version_number: AtomicU64::new(
                u64::try_from(clock.now().as_millis()).unwrap_or_default(),
            ),
            told: OnceLock::new(),
            is_store_full: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            open: AtomicUsize::new(0),
        }
    }

    /// Tells `intake` what happens from now on.
    pub(crate) fn tell(&self, intake: &Arc<dyn Intake>) {
        // A broker runs once.
        self.told.set(Arc::downgrade(intake)).ok();
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
        let mut content = Content::default();
        for to in &route.recipients {
            self.offer(to, &message, Timing::AtOnce, &mut content, wakes);
        }
        for group in &route.groups {
            self.offer_to_group(&message, group, Timing::AtOnce, &mut content, wakes);
        }
    }

    fn offer(
        &self,
        to: &Recipient,
        message: &Arc<Message>,
        timing: Timing,
        content: &mut Content,
        wakes: &mut Wakes,
    ) {
        let publish = &message.publish;
        let delivery = Delivery {
            message: Arc::clone(message),
            qos: publish.qos.min(to.qos),
            retain: publish.retain && to.retain_as_published,
            subscription_ids: to.ids.clone(),
            group: None,
            accounted: true,
            parcel: None,
            is_held: timing == Timing::AfterCommit,
            maybe_sent: false,
        };
        match to.session.offer(delivery, content, &self.ledger) {
            Offered::Queued(connection, parcel) => wakes.add(connection, parcel),
            Offered::Refused(reason) => self.drop_message(&to.session, reason),
        }
    }

    /// Sends a message to one member of a shared subscription: the next in turn that takes it.
    pub(crate) fn offer_to_group(
        &self,
        message: &Arc<Message>,
        group: &Arc<Group>,
        timing: Timing,
        content: &mut Content,
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
                parcel: None,
                is_held: timing == Timing::AfterCommit,
                maybe_sent: false,
            };
            match member.session.offer(delivery, content, &self.ledger) {
                Offered::Queued(connection, parcel) => {
                    wakes.add(connection, parcel);
                    return;
                }
                Offered::Refused(reason) => refused = Some((member, reason)),
            }
        }
        if let Some((member, reason)) = refused {
            self.drop_message(&member.session, reason);
        }
    }

    /// Hands a publish to its subscribers, the retained store and the rules; or answers why the one rule
    /// it is for cannot have it.
    pub(crate) fn accept(
        &self,
        mut publish: Publish,
        route: Option<&Route>,
        lane: &mut dyn Lane,
        wakes: &mut Wakes,
    ) -> Result<(), Dropped> {
        publish.retain = publish.retain && self.retain(&publish, lane);
        if let Some(route) = route {
            self.fan_out(&publish, route, wakes);
        }
        for parcel in wakes.parcels.drain(..) {
            lane.keep(Kept::Message(parcel));
        }
        lane.take(publish).map_err(|_| Dropped::UnknownRule)
    }

    /// Before the commit of a message that a rule makes: queues it for the sessions that survive, to be sent when it is
    /// on disk. `wakes` gets what is to be part of that commit.
    pub(crate) fn stage(&self, publish: &Publish, wakes: &mut Wakes) -> Staged {
        let mut staged = Staged::default();
        if publish.qos == QoS::AtMostOnce {
            return staged;
        }
        let Some(route) = self.subscriptions.route(publish.topic.as_str(), None).1 else {
            return staged;
        };
        let message = Message::new(publish);
        let mut content = Content::default();
        let survives = |to: &&Recipient| to.session.is_kept() && to.qos != QoS::AtMostOnce;
        for to in route.recipients.iter().filter(survives) {
            self.offer(to, &message, Timing::AfterCommit, &mut content, wakes);
            staged.served.push(to.session.key);
        }
        for group in &route.groups {
            if group.next_in_turn().is_some_and(|member| member.session.is_kept()) {
                self.offer_to_group(&message, group, Timing::AfterCommit, &mut content, wakes);
                staged.groups.push(Arc::clone(group));
            }
        }
        staged
    }

    /// After the commit: the same message for everybody who does not have it.
    pub(crate) fn publish_staged(&self, publish: &Publish, staged: &Staged) {
        let Some(route) = self.subscriptions.route(publish.topic.as_str(), None).1 else { return };
        let message = Message::new(publish);
        let (mut content, mut wakes) = (Content::default(), Wakes::default());
        for to in &route.recipients {
            if !staged.served.contains(&to.session.key) {
                self.offer(to, &message, Timing::AtOnce, &mut content, &mut wakes);
            }
        }
        for group in &route.groups {
            if !staged.groups.iter().any(|served| Arc::ptr_eq(served, group)) {
                self.offer_to_group(&message, group, Timing::AtOnce, &mut content, &mut wakes);
            }
        }
        // Sessions that have come to survive since: theirs is the next commit.
        self.ledger.add_parcels(&mut wakes.parcels);
        self.wake(&mut wakes);
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
        let is_news = match reason {
            Dropped::QueueFull => !session.is_full.swap(true, Ordering::Relaxed),
            Dropped::StoreFull => !self.is_store_full.swap(true, Ordering::Relaxed),
            _ => false,
        };
        if is_news {
            self.tell_full(session, reason);
        }
    }

    /// Says that messages for a session find no room: once, until there is plenty.
    fn tell_full(&self, session: &Session, reason: Dropped) {
        match reason {
            Dropped::StoreFull => self.metrics.store_full.set(1),
            _ => self.metrics.sessions_full.inc(),
        };
        let (queued, bytes) = (session.queued(), session.stored_bytes());
        let reason = reason.label();
        tracing::warn!(
            client_id = %session.client_id, reason, queued, bytes,
            "no room for messages of a session; told once until there is plenty"
        );
        if let Some(intake) = self.told.get().and_then(Weak::upgrade) {
            intake.tell(&|| ClientEvent {
                at: self.clock.now(),
                client_id: Arc::clone(&session.client_id),
                session_id: None,
                change: Change::Full { reason, queued, bytes },
            });
        }
    }

    /// Something has gone from a session's queue.
    pub(crate) fn relieve(&self, session: &Session) {
        if session.is_full.load(Ordering::Relaxed)
            && session.has_plenty_of_room()
            && session.is_full.swap(false, Ordering::Relaxed)
        {
            self.metrics.sessions_full.dec();
        }
    }

    /// Something may have gone from the store.
    pub(crate) fn relieve_store(&self) {
        let plenty = self.config.sessions_bytes_max / 10 * 9;
        if self.ledger.bytes() <= plenty && self.is_store_full.swap(false, Ordering::Relaxed) {
            self.metrics.store_full.set(0);
        }
    }

    /// Keeps a message with the RETAIN flag, unless it is for one rule and has no subscribers. Answers
    /// whether it was kept: it is to be committed then. One that finds no room still ends what was kept for its
    /// topic [MQTT-3.3.1-7, 5: MQTT-3.3.1-5]: an old value is not told from the newest.
    fn retain(&self, publish: &Publish, lane: &mut dyn Lane) -> bool {
        if matches!(Reserved::of(publish.topic.as_str()), Some(Reserved::Ingest { .. })) {
            return false;
        }
        let is_kept = self.count_full(self.retained.set(publish));
        if is_kept {
            self.settle_without_journal(publish);
        } else if self.retained.has(&publish.topic) {
            let removal = Publish { payload: Bytes::new(), properties: None, ..publish.clone() };
            // What removes takes no room.
            if self.retained.set(&removal).is_ok() {
                self.settle_without_journal(&removal);
                lane.keep(Kept::Removal(removal));
            }
        }
        self.count_retained();
        is_kept
    }

    /// A retained message of a broker without a journal: nobody says that it is on disk.
    fn settle_without_journal(&self, publish: &Publish) {
        if self.store.is_none() {
            self.retained.settle(publish);
        }
    }

    /// A message of an earlier run.
    pub(crate) fn restore_retained(&self, publish: &Publish) {
        if self.count_full(self.retained.set(publish)) {
            self.retained.settle(publish);
        }
        self.count_retained();
    }

    /// Whether there is room for a message with the RETAIN flag that a rule makes: it is to be committed
    /// then.
    pub(crate) fn reserve_retained(&self, publish: &Publish) -> bool {
        self.count_full(self.retained.reserve(publish))
    }

    /// A retained message is on disk.
    pub(crate) fn settle_retained(&self, publish: &Publish) {
        self.retained.settle(publish);
        self.count_retained();
    }

    fn count_full(&self, kept: Result<(), Full>) -> bool {
        if kept.is_err() {
            self.metrics.count_dropped(Dropped::RetainedFull);
        }
        kept.is_ok()
    }

    pub(crate) fn count_retained(&self) {
        self.metrics.retained.set(i64::try_from(self.retained.len()).unwrap_or(i64::MAX));
    }

    /// A message is done with: its row goes, if it has one, with one of the next commits.
    pub(crate) fn finish(&self, parcel: &Parcel, removals: &mut Vec<Removal>) {
        self.ledger.note_gone(parcel.bytes);
        removals.extend(parcel.finish());
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

impl Wakes {
    fn add(&mut self, connection: Option<Arc<Control>>, parcel: Option<Arc<Parcel>>) {
        self.queued += 1;
        self.connections.extend(connection);
        self.parcels.extend(parcel);
    }
}
