//! The listening socket: accepts within the limit, and shuts down in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::task::JoinError;
use tokio::task::JoinSet;

use super::Intake;
use super::connection;
use super::connection::Admission;
use super::exchange::Exchange;
use super::metrics::BrokerMetrics;
use super::packet::Version;
use super::session::Control;
use super::session::Session;
use crate::accept::Acceptor;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::MqttConfig;
use crate::limits::CLIENT_SUBSCRIPTIONS_SHOWN;
use crate::limits::REFUSALS_MAX;
use crate::publish::Publish;
use crate::topic::TopicName;

/// The broker could not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen for MQTT on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// A listening MQTT broker, ready to [`Broker::run`].
#[derive(Debug)]
pub struct Broker {
    acceptor: Acceptor,
    exchange: Arc<Exchange>,
}

/// What other parts do with a running broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    exchange: Arc<Exchange>,
}

/// A client as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientStatus {
    /// Its identifier.
    pub client_id: Arc<str>,
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
    /// Listens on `config.listen` (port 0 picks one) and takes `retained` as the retained messages of
    /// the last run. Clients wait in the system's backlog until [`Broker::run`].
    pub async fn bind(
        config: &MqttConfig,
        clock: Clock,
        retained: Vec<Publish>,
    ) -> Result<Broker, BrokerError> {
        let address = config.listen;
        let acceptor = Acceptor::bind(address, "MQTT").await;
        let acceptor = acceptor.map_err(|source| BrokerError::Listen { address, source })?;
        let exchange = Exchange::new(config, clock);
        let connections_max = i64::try_from(config.connections_max).unwrap_or(i64::MAX);
        exchange.metrics.connections_max.set(connections_max);
        for publish in &retained {
            exchange.retain(publish);
        }
        Ok(Broker { acceptor, exchange: Arc::new(exchange) })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.acceptor.local_addr()
    }

    /// A handle for the rest of the gateway.
    pub fn handle(&self) -> BrokerHandle {
        BrokerHandle { exchange: Arc::clone(&self.exchange) }
    }

    /// Serves clients until [`BrokerHandle::shutdown`]; then lets connections get their
    /// acknowledgements out until `patience`, first polled then, ends, and cuts those that are left.
    /// `intake` gets every publish.
    pub async fn run(self, intake: Arc<dyn Intake>, patience: impl Future<Output = ()>) {
        let Broker { mut acceptor, exchange } = self;
        let mut connections = JoinSet::new();
        let closed = exchange.closed();
        let mut closed = std::pin::pin!(closed);
        loop {
            tokio::select! {
                () = closed.as_mut() => break,
                (stream, address) = acceptor.accept() => {
                    admit(&exchange, &intake, stream, address, &mut connections);
                }
                Some(ended) = connections.join_next() => reap(ended),
            }
        }
        drop(acceptor);
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                reap(ended);
            }
        };
        let is_drained = tokio::select! {
            () = drained => true,
            () = patience => false,
        };
        if !is_drained {
            tracing::warn!(connections = connections.len(), "connections cut at shutdown");
            connections.shutdown().await;
        }
    }
}

/// Starts a connection's task, or closes the socket when there are too many even to be refused.
fn admit(
    exchange: &Arc<Exchange>,
    intake: &Arc<dyn Intake>,
    stream: TcpStream,
    address: SocketAddr,
    connections: &mut JoinSet<()>,
) {
    let limit = exchange.config.connections_max;
    let admission = match connections.len() {
        n if n < limit => Admission::Open,
        n if n < limit + REFUSALS_MAX => Admission::OverLimit,
        _ => {
            exchange.metrics.count_refused("connections_max");
            return;
        }
    };
    let (exchange, intake) = (Arc::clone(exchange), Arc::clone(intake));
    let control = Arc::new(Control::default());
    connections.spawn(connection::run(exchange, intake, stream, address, control, admission));
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
    /// Sends a message that no client sent to its subscribers, and keeps it when its RETAIN flag is
    /// set. Never blocks: called by the journal's writer after the commit.
    pub fn publish(&self, publish: &Publish) {
        self.exchange.publish(publish);
    }

    /// Whether anybody subscribes to what may be an event's topic (`$events/…`, `$aws/…`).
    pub fn hears_events(&self) -> bool {
        self.exchange.subscriptions.hears_events()
    }

    /// Whether anybody subscribes to `topic`.
    pub fn hears(&self, topic: &TopicName) -> bool {
        self.exchange.subscriptions.route(topic.as_str(), None).1.is_some()
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
