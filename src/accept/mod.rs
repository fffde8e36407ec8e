//! Listening sockets: what the MQTT and the HTTP side share.
//!
//! An [`Acceptor`] is a socket that is never given up. A [`Door`] is a listener as it is configured:
//! an acceptor, what is spoken behind it, how many may be in, its TLS, and what it counts.

mod acceptor;
mod door;
mod metrics;
mod wire;

pub(crate) use acceptor::Acceptor;
pub(crate) use door::Door;
pub use door::DoorError;
pub(crate) use door::DoorStatus;
pub(crate) use metrics::ListenerMetrics;
pub(crate) use wire::Wire;
