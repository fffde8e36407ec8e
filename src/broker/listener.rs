//! The listening socket: accepts within the limit, and shuts down in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::net::TcpListener;
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
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::MqttConfig;
use crate::limits::CLIENT_SUBSCRIPTIONS_SHOWN;
use crate::limits::REFUSALS_MAX;
use crate::limits::TCP_KEEPALIVE;
use crate::publish::Publish;

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
    listener: TcpListener,
    address: SocketAddr,
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
        let fails = |source| BrokerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fails)?;
        let address = listener.local_addr().map_err(fails)?;
        let exchange = Exchange::new(config, clock);
        for publish in &retained {
            exchange.retain(publish);
        }
        Ok(Broker { listener, address, exchange: Arc::new(exchange) })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle for the rest of the gateway.
    pub fn handle(&self) -> BrokerHandle {
        BrokerHandle { exchange: Arc::clone(&self.exchange) }
    }

    /// Serves clients until [`BrokerHandle::shutdown`]; then gives connections `grace` to get their
    /// acknowledgements out, and cuts those that are left. `intake` gets every publish.
    pub async fn run(self, intake: Arc<dyn Intake>, grace: Duration) {
        let Broker { listener, exchange, .. } = self;
        let mut connections = JoinSet::new();
        let closed = exchange.closed();
        let mut closed = std::pin::pin!(closed);
        let mut is_short = false;
        loop {
            tokio::select! {
                () = closed.as_mut() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        is_short = false;
                        admit(&exchange, &intake, stream, address, &mut connections);
                    }
                    Err(error) => refused_by_system(&error, &mut is_short).await,
                },
                Some(ended) = connections.join_next() => reap(ended),
            }
        }
        drop(listener);
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                reap(ended);
            }
        };
        if tokio::time::timeout(grace, drained).await.is_err() {
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
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE / 10);
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        tracing::debug!(%address, %error, "socket options not set: the client is gone already");
        return;
    }
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

/// `accept` fails for one peer (it is gone) or for want of file descriptors: then wait, or the loop
/// spins. Said once until a connection is accepted again: it may last for as long as clients stay.
async fn refused_by_system(error: &io::Error, is_short: &mut bool) {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        tracing::debug!(%error, "a client left before it was accepted");
        return;
    }
    if !std::mem::replace(is_short, true) {
        tracing::warn!(%error, "cannot accept connections; they wait until it is possible");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

impl BrokerHandle {
    /// Sends a message that no client sent to its subscribers, and keeps it when its RETAIN flag is
    /// set. Never blocks: called by the journal's writer after the commit.
    pub fn publish(&self, publish: &Publish) {
        self.exchange.publish(publish);
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
