//! Who comes in: clients are let through the doors within their limits, and shown out in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Intake;
use super::Lane;
use super::connection;
use super::connection::Admission;
use super::connection::Arrival;
use super::exchange::Exchange;
use super::exchange::Guard;
use super::exchange::Staged;
use super::exchange::Wakes;
use super::message::Message;
use super::metrics::BrokerMetrics;
use super::metrics::Dropped;
use super::packet::Version;
use super::restore::Restored;
use super::restore::Store;
use super::session::Session;
use super::transport;
use super::transport::Layered;
use super::transport::Stage;
use crate::accept;
use crate::accept::Acceptor;
use crate::accept::Door;
use crate::accept::DoorError;
use crate::accept::ListenerMetrics;
use crate::access::Access;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::ListenerConfig;
use crate::config::MqttConfig;
use crate::config::Protocol;
use crate::limits::CLIENT_SUBSCRIPTIONS_SHOWN;
use crate::limits::REFUSALS_MAX;
use crate::limits::WEBSOCKET_MESSAGE_BYTES_MIN;
use crate::peer::Certificate;
use crate::peer::Peer;
use crate::peer::Transport;
use crate::publish::Publish;
use crate::session;
use crate::session::Ledger;
use crate::session::Parcel;
use crate::session::SavedSessions;
use crate::session::SessionError;
use crate::storage::Executor;
use crate::tls::Gate;
use crate::topic::TopicName;

/// A broker whose doors are open, ready to [`Broker::run`].
#[derive(Debug)]
pub struct Broker {
    doors: Vec<(Acceptor, Arc<Door>)>,
    exchange: Arc<Exchange>,
    /// Sessions of the last run that nobody looks after yet.
    restored: Vec<Restored>,
}

/// What the last run has left for a broker.
#[derive(Debug, Default)]
pub struct Remains {
    /// Retained messages.
    pub retained: Vec<Publish>,
    /// Sessions.
    pub sessions: SavedSessions,
    /// Where their messages are read; without one, sessions are in memory only.
    pub store: Option<session::Reader>,
}

/// What other parts do with a running broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    exchange: Arc<Exchange>,
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The payload is not the UTF-8 that it promises.
    PayloadFormat,
    /// Only the gateway publishes there.
    ReservedTopic,
    /// No running rule has the name in the topic.
    UnknownRule,
}

/// A message that sessions which survive have been given before its commit.
#[derive(Debug, Default)]
pub struct StagedPublish(Staged);

/// A client as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientStatus {
    /// Its identifier.
    pub client_id: Arc<str>,
    /// The name it has proved.
    pub principal: Option<Arc<str>>,
    /// How: `users`, `certificate`, `jwt`, `hook`, `anonymous`.
    pub login: &'static str,
    /// What its bytes travel in.
    pub transport: Transport,
    /// The certificate it has shown.
    pub certificate: Option<Arc<Certificate>>,
    /// Of its last connection.
    pub address: SocketAddr,
    /// `3.1.1` or `5`.
    pub version: Version,
    /// Begin of its last connection.
    pub since: Timestamp,
    /// Whether that connection still is.
    pub is_connected: bool,
    /// Filters it subscribes to, the first [`CLIENT_SUBSCRIPTIONS_SHOWN`] in order.
    pub subscriptions: Vec<Arc<str>>,
    /// How many it subscribes to in all.
    pub subscriptions_total: usize,
    /// PUBLISH packets it sent in this session.
    pub received: u64,
    /// PUBLISH packets it was sent in this session.
    pub sent: u64,
    /// Messages that wait for it.
    pub queued: usize,
}

impl Broker {
    /// A broker of its own on `config.listen` (port 0 picks one), as tests and benchmarks want it. `guard`
    /// decides who may come in.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub async fn bind(
        config: &MqttConfig,
        clock: Clock,
        guard: Guard,
        remains: Remains,
    ) -> Result<Broker, DoorError> {
        let listener = ListenerConfig::of_mqtt(config);
        let opened = Door::open("mqtt", &listener, &ListenerMetrics::default(), clock).await?;
        Ok(Broker::new(config, vec![opened], clock, guard, remains))
    }

    /// The address of the first door.
    ///
    /// # Panics
    /// There is none.
    pub fn local_addr(&self) -> SocketAddr {
        self.doors.first().expect("a broker has a door").1.address
    }

    /// A broker behind `doors`, that goes on with what the last run has left. Clients wait
    /// in the system's backlog until [`Broker::run`].
    pub(crate) fn new(
        config: &MqttConfig,
        doors: Vec<(Acceptor, Arc<Door>)>,
        clock: Clock,
        guard: Guard,
        remains: Remains,
    ) -> Broker {
        let Remains { retained, sessions, store } = remains;
        let exchange = Arc::new(Exchange::new(config, clock, guard, store.map(Store::new)));
        let connections_max = i64::try_from(config.connections_max).unwrap_or(i64::MAX);
        exchange.metrics.connections_max.set(connections_max);
        for publish in &retained {
            exchange.restore_retained(publish);
        }
        exchange.sessions.number_from(sessions.next);
        let restore = |saved| exchange.restore(saved, clock.now());
        let restored = sessions.sessions.into_iter().map(restore).collect();
        exchange.count_sessions();
        Broker { doors, exchange, restored }
    }

    /// A handle for the rest of the gateway.
    pub fn handle(&self) -> BrokerHandle {
        BrokerHandle { exchange: Arc::clone(&self.exchange) }
    }

    /// Serves clients until [`BrokerHandle::shutdown`]; then lets connections get their
    /// acknowledgements out until `patience`, first polled then, ends, and cuts those that are left.
    /// `intake` gets every publish.
    pub async fn run(self, intake: Arc<dyn Intake>, patience: impl Future<Output = ()>) {
        let Broker { doors, exchange, restored } = self;
        exchange.tell(&intake);
        for session in restored {
            connection::look_after(&exchange, &intake, session);
        }
        let gate = Gate::default();
        let mut attended = JoinSet::new();
        for (acceptor, door) in doors {
            let entry = Entry {
                exchange: Arc::clone(&exchange),
                intake: Arc::clone(&intake),
                door,
                gate: gate.clone(),
            };
            attended.spawn(entry.attend(acceptor));
        }
        if attended.is_empty() {
            exchange.closed().await;
        }
        let connections = accept::show_out(attended, patience, reap).await;
        if connections > 0 {
            tracing::warn!(connections, "connections cut at shutdown");
        }
    }
}

/// A door and what is behind it.
#[derive(Clone)]
struct Entry {
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    door: Arc<Door>,
    /// What all doors' TLS handshakes pass.
    gate: Gate,
}

impl Entry {
    /// Lets clients in until the broker closes; answers the connections that there still are.
    async fn attend(self, acceptor: Acceptor) -> JoinSet<()> {
        let admit = |socket, address, connections: &mut JoinSet<()>| {
            self.admit(socket, address, connections);
        };
        accept::attend(acceptor, self.exchange.closed(), admit, reap).await
    }

    /// Starts a connection's task, or closes the socket when there are too many even to be refused.
    fn admit(&self, socket: TcpStream, address: SocketAddr, connections: &mut JoinSet<()>) {
        let now = self.exchange.clock.now();
        if let Err(bound) = self.exchange.arrivals.admit(address.ip(), now) {
            self.exchange.metrics.count_refused(bound);
            return;
        }
        let place = Door::enter(&self.door);
        let open = Exchange::open(&self.exchange);
        let is_within = |spare| {
            place.before < self.door.config.connections_max + spare
                && open.before < self.exchange.config.connections_max + spare
        };
        let admission = if is_within(0) {
            Admission::Open
        } else if is_within(REFUSALS_MAX) {
            Admission::OverLimit
        } else {
            self.exchange.metrics.count_refused("connections_max");
            return;
        };
        let limit = self.exchange.config.connect_timeout;
        let arrival = Arrival {
            peer: Peer::anonymous(address, Arc::clone(&self.door.name), Transport::Tcp),
            admission,
            deadline: Instant::from_std(Clock::instant() + limit),
        };
        let entry = self.clone();
        // Two kinds of task, so that neither is as large as the larger of both.
        if self.door.config.protocol == Protocol::Mqtt {
            connections.spawn(async move {
                let Entry { exchange, intake, .. } = entry;
                connection::run(exchange, intake, socket, arrival, Arc::default()).await;
                drop((place, open));
            });
        } else {
            connections.spawn(async move {
                entry.serve_layered(socket, arrival).await;
                drop((place, open));
            });
        }
    }

    async fn serve_layered(self, socket: TcpStream, mut arrival: Arrival) {
        // Boxed: what a handshake takes is given back after it.
        let Some(layered) = Box::pin(self.arrive(socket, &mut arrival)).await else { return };
        let Entry { exchange, intake, .. } = self;
        connection::run_layered(exchange, intake, layered, arrival, Arc::default()).await;
    }

    /// What is layered over TCP, made within the connection's time and before the broker closes.
    async fn arrive(&self, socket: TcpStream, arrival: &mut Arrival) -> Option<Layered> {
        let (peer, stage) = (&mut arrival.peer, Mutex::new(Stage::Tls));
        let message_bytes_max = self.exchange.config.packet_bytes_max;
        let message_bytes_max = message_bytes_max.max(WEBSOCKET_MESSAGE_BYTES_MIN);
        let arriving =
            transport::arrive(&self.door, socket, peer, &self.gate, message_bytes_max, &stage);
        tokio::select! {
            arrived = tokio::time::timeout_at(arrival.deadline, arriving) => match arrived {
                Ok(stream) => stream,
                Err(_) => {
                    stage.lock().count_timeout(&self.door);
                    None
                }
            },
            () = self.exchange.closed() => None,
        }
    }
}

/// A connection's task ended; a panic in it is our bug, and has cost that connection only.
fn reap(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

impl BrokerHandle {
    /// Queues a message that no client sent for the sessions that survive; `parcels` gets what is to be part of its commit.
    /// Never blocks: called by the journal's writer. [`BrokerHandle::publish_staged`] is to follow.
    pub fn stage(&self, publish: &Publish, parcels: &mut Vec<Arc<Parcel>>) -> StagedPublish {
        let mut wakes = Wakes::default();
        let staged = self.exchange.stage(publish, &mut wakes);
        parcels.append(&mut wakes.parcels);
        self.exchange.wake(&mut wakes);
        StagedPublish(staged)
    }

    /// Sends a message that has been staged to its other subscribers. Never blocks: called by the
    /// journal's writer after the commit.
    pub fn publish_staged(&self, publish: &Publish, staged: &StagedPublish) {
        self.exchange.publish_staged(publish, &staged.0);
    }

    /// Sends a message that no client sent to its subscribers. Never blocks.
    /// What sessions need of it on disk is part of one of the next commits.
    pub fn publish(&self, publish: &Publish) {
        self.exchange.publish_staged(publish, &Staged::default());
    }

    /// Whether a message with the RETAIN flag that no client sent has room; counted if not. Never blocks.
    /// [`BrokerHandle::settle_retained`] is to follow when it has.
    pub fn reserve_retained(&self, publish: &Publish) -> bool {
        self.exchange.reserve_retained(publish)
    }

    /// A retained message is on disk: it is seen, and is the one of its topic unless another is on its way
    /// there. Never blocks.
    pub fn settle_retained(&self, publish: &Publish) {
        self.exchange.settle_retained(publish);
    }

    /// What sessions that survive have for one of the next commits.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.exchange.ledger
    }

    /// Forgets retained messages that have expired. To be called now and then.
    pub fn forget_expired(&self) {
        self.exchange.retained.forget_expired(self.exchange.clock.now());
        self.exchange.count_retained();
    }

    /// Removes messages that absent clients have left for longer than they may. To be called now and then.
    ///
    /// # Errors
    /// The journal is closed, or SQLite refused.
    pub async fn remove_old(&self, executor: &Executor) -> Result<(), SessionError> {
        self.exchange.remove_old(executor).await
    }

    /// Hands a client's message that no connection brought to its subscribers, the retained store and
    /// `lane`, whose batch the caller submits.
    pub(crate) fn take_in(&self, publish: Publish, lane: &mut dyn Lane) -> Result<(), Refused> {
        let exchange = &*self.exchange;
        let refused = |reason| {
            exchange.metrics.count_dropped(reason);
            match reason {
                Dropped::PayloadFormat => Refused::PayloadFormat,
                Dropped::ReservedTopic => Refused::ReservedTopic,
                _ => Refused::UnknownRule,
            }
        };
        if let Some(reason) = Exchange::refuse(&publish) {
            return Err(refused(reason));
        }
        let (_, route) = exchange.subscriptions.route(publish.topic.as_str(), None);
        let mut wakes = Wakes::default();
        let accepted = exchange.accept(publish, route.as_deref(), lane, &mut wakes);
        exchange.wake(&mut wakes);
        accepted.map_err(refused)
    }

    /// Who may come in, and what each may do.
    pub(crate) fn access(&self) -> &Access {
        &self.exchange.access
    }

    /// The retained message of a topic.
    pub(crate) fn retained(&self, topic: &TopicName) -> Option<Publish> {
        let message = self.exchange.retained.get(topic, self.exchange.clock.now())?;
        Some(message.publish.clone())
    }

    /// Retained messages of ordinary topics behind `after`, in order, at most `limit`.
    pub(crate) fn retained_after(&self, after: Option<&str>, limit: usize) -> Vec<Publish> {
        let messages = self.exchange.retained.after(after, limit, self.exchange.clock.now());
        messages.iter().map(|message| message.publish.clone()).collect()
    }

    /// Whether anybody subscribes to what may be an event's topic (`$events/…`, `$aws/…`).
    pub fn hears_events(&self) -> bool {
        self.exchange.subscriptions.hears_events()
    }

    /// Whether anybody subscribes to `topic`.
    pub fn hears(&self, topic: &TopicName) -> bool {
        self.exchange.subscriptions.route(topic.as_str(), None).1.is_some()
    }

    /// Has every connection look again at what its client may do: users or access rules have changed.
    pub fn recheck(&self) {
        self.exchange.sessions.wake_all();
    }

    /// Whether anybody subscribes to what may be a statistic's topic (`$SYS/…`).
    pub fn hears_statistics(&self) -> bool {
        self.exchange.subscriptions.hears_statistics()
    }

    /// From one publication of the statistics to the next; `None` when there is none.
    pub fn statistics_interval(&self) -> Option<Duration> {
        Some(self.exchange.config.statistics_interval).filter(|interval| !interval.is_zero())
    }

    /// Brings the load averages of the statistics up to date. Answers when.
    pub fn sample_statistics(&self) -> Timestamp {
        self.exchange.sample_statistics()
    }

    /// The statistics of the moment (`$SYS/…`), as messages to be published. They are retained only for
    /// those who subscribe: published with RETAIN, they would be kept, and sent beside the values of the
    /// moment.
    pub fn statistics(&self) -> Vec<Publish> {
        let live = |message: &Arc<Message>| Publish { retain: false, ..message.publish.clone() };
        self.exchange.statistics().iter().map(live).collect()
    }

    /// Disconnects a client, which may come back at once. Answers whether it was connected.
    pub fn kick(&self, client_id: &str) -> bool {
        self.exchange.sessions.kick(client_id)
    }

    /// Begins the shutdown; [`Broker::run`] returns when it is done.
    pub fn shutdown(&self) {
        self.exchange.close();
    }

    /// The metrics, to be registered once.
    pub fn metrics(&self) -> &BrokerMetrics {
        &self.exchange.metrics
    }

    /// Connected clients.
    pub fn client_count(&self) -> usize {
        usize::try_from(self.exchange.metrics.connections.get()).unwrap_or(0)
    }

    /// Sessions, connected or parked.
    pub fn session_count(&self) -> usize {
        self.exchange.sessions.len()
    }

    /// Retained messages.
    pub fn retained_count(&self) -> usize {
        self.exchange.retained.len()
    }

    /// All clients with a session, by identifier.
    pub fn clients(&self) -> Vec<ClientStatus> {
        let sessions = self.exchange.sessions.all();
        let mut clients: Vec<ClientStatus> =
            sessions.iter().filter_map(|session| status(session)).collect();
        clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        clients
    }
}

/// `None` while its first CONNECT is not through.
fn status(session: &Session) -> Option<ClientStatus> {
    let contact = session.contact()?;
    let filters = session.traffic.filters.lock();
    Some(ClientStatus {
        client_id: Arc::clone(&session.client_id),
        principal: contact.principal,
        login: contact.login,
        transport: contact.transport,
        certificate: contact.certificate,
        address: contact.address,
        version: contact.version,
        since: contact.since,
        is_connected: session.is_connected(),
        subscriptions: filters.iter().take(CLIENT_SUBSCRIPTIONS_SHOWN).map(Arc::clone).collect(),
        subscriptions_total: filters.len(),
        received: session.traffic.received.load(Ordering::Relaxed),
        sent: session.traffic.sent.load(Ordering::Relaxed),
        queued: session.queued(),
    })
}
