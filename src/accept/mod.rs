//! Listening sockets: what the MQTT and the HTTP side share.
//!
//! An [`Acceptor`] is a socket that is never given up. A [`Door`] is a listener as it is configured:
//! an acceptor, what is spoken behind it, how many may be in, its TLS, and what it counts. [`attend()`] lets
//! connections in at one, [`show_out`] ends those of all of them.

mod acceptor;
mod attend;
mod door;
mod metrics;
mod wire;

pub(crate) use acceptor::Acceptor;
pub(crate) use attend::attend;
pub(crate) use attend::show_out;
pub(crate) use door::Door;
pub use door::DoorError;
pub(crate) use door::DoorStatus;
pub(crate) use metrics::ListenerMetrics;
pub(crate) use wire::Wire;
