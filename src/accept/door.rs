//! A listener as it is configured, and how many are in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Acceptor;
use super::metrics::DoorCounts;
use super::metrics::ListenerMetrics;
use crate::clock::Clock;
use crate::config::ListenerConfig;
use crate::tls::Keeper;
use crate::tls::TlsStatus;

/// A listener. Shared by its accepting task, its connections and the API.
#[derive(Debug)]
pub(crate) struct Door {
    /// `mqtt`, `http`, or the NAME of `[listener.NAME]`.
    pub(crate) name: Arc<str>,
    pub(crate) config: ListenerConfig,
    /// The address in use.
    pub(crate) address: SocketAddr,
    /// Of a protocol with TLS.
    pub(crate) tls: Option<Keeper>,
    counts: DoorCounts,
    metrics: ListenerMetrics,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen for {protocol} on {address}")]
    Listen {
        /// What would have been spoken.
        protocol: &'static str,
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Its certificate cannot be used.
    #[error("listener {name} has no certificate")]
    Certificate {
        /// Of `[listener.NAME]`.
        name: Arc<str>,
        /// What is wrong with its files.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A connection's place behind a door, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    door: Arc<Door>,
    /// Places that were taken before it.
    pub(crate) before: usize,
}

/// A listener as the API shows it.
#[derive(Clone, Debug)]
pub(crate) struct DoorStatus {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) connections_max: usize,
    pub(crate) tls: Option<TlsStatus>,
}

impl Door {
    /// Reads the listener's certificate and listens on its address (port 0 picks one). Clients wait in
    /// the system's backlog until the acceptor is asked.
    ///
    /// # Errors
    /// The certificate cannot be used; the address is taken, not ours, or not allowed.
    pub(crate) async fn open(
        name: &str,
        config: &ListenerConfig,
        metrics: &ListenerMetrics,
        clock: Clock,
    ) -> Result<(Acceptor, Arc<Door>), DoorError> {
        let name: Arc<str> = Arc::from(name);
        let protocol = config.protocol.as_str();
        let keeper = config.tls.as_ref().map(|tls| Keeper::open(tls, config.protocol, clock.now()));
        let tls = keeper.transpose().map_err(|source| DoorError::Certificate {
            name: Arc::clone(&name),
            source: Box::new(source),
        })?;
        let bound = Acceptor::bind(config.listen, protocol).await;
        let acceptor = bound.map_err(|source| {
            let address = config.listen;
            DoorError::Listen { protocol, address, source }
        })?;
        let door = Door {
            counts: metrics.of(&name, config.connections_max),
            metrics: metrics.clone(),
            config: config.clone(),
            address: acceptor.local_addr(),
            name,
            tls,
        };
        Ok((acceptor, Arc::new(door)))
    }

    /// A place for a connection that has come, whether or not it is within the limit.
    pub(crate) fn enter(door: &Arc<Door>) -> Place {
        door.counts.accepted.inc();
        let before = usize::try_from(door.counts.connections.inc()).unwrap_or(0);
        Place { door: Arc::clone(door), before }
    }

    /// A TLS handshake was done.
    pub(crate) fn count_handshake(&self) {
        self.counts.handshakes.inc();
    }

    /// A TLS handshake came to nothing.
    pub(crate) fn count_failed(&self, reason: &'static str) {
        self.metrics.count_failed(&self.name, reason);
    }

    /// A request was not upgraded to WebSocket.
    pub(crate) fn count_refused(&self, reason: &'static str) {
        self.metrics.count_refused(&self.name, reason);
    }

    /// For the API.
    pub(crate) fn status(&self) -> DoorStatus {
        DoorStatus {
            name: Arc::clone(&self.name),
            protocol: self.config.protocol.as_str(),
            address: self.address,
            connections: usize::try_from(self.counts.connections.get()).unwrap_or(0),
            connections_max: self.config.connections_max,
            tls: self.tls.as_ref().map(Keeper::status),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.counts.connections.dec();
    }
}
