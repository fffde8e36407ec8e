//! The MQTT protocol edge: both versions over TCP, TLS and WebSocket, sessions, fan-out, retained messages, wills.
//!
//! A task per connection ([`connection`]) reads a batch of packets ([`packet`]), hands each PUBLISH to
//! its [`Lane`] (the rules) and to the subscribers ([`exchange`], [`subscriptions`]), and acknowledges
//! when the journal has committed the batch's ticket. Subscribers are reached through their session's
//! bounded queue ([`session`]); nobody ever waits for one.
//!
//! Fan-out is our own, not rumqttd's router: that one panics on some topics, knows no `$` topics,
//! loses messages of slow readers, and gives no memory back. rumqttd supplies packet codecs only
//! (`packet/codec.rs`). `benches/fanout.rs` compares the two.
//!
//! Promises: PUBACK and PUBREC only after the commit, in PUBLISH order. A malformed packet costs its
//! own connection. Every queue and buffer is bounded, by the configuration or by `limits`.

mod connection;
mod exchange;
mod inflight;
mod lifecycle;
mod listener;
mod message;
mod metrics;
mod outbox;
mod packet;
mod restore;
mod retained;
mod session;
mod sessions;
mod statistics;
mod subscriptions;
mod topics;
mod transport;
mod upgrade;
mod websocket;
mod will;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use exchange::Guard;
pub use lifecycle::BY_CLIENT;
pub use lifecycle::Change;
pub use lifecycle::ClientEvent;
pub use lifecycle::ConnectionFacts;
pub use listener::Broker;
pub use listener::BrokerHandle;
pub use listener::ClientStatus;
pub(crate) use listener::Refused;
pub use listener::Remains;
pub use listener::StagedPublish;
pub use metrics::BrokerMetrics;
pub use packet::Version;

pub use crate::accept::DoorError;
use crate::journal::AckSlot;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::session as session_store;
use crate::session::Parcel;

/// Whether a batch has to wait for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// No rule wants any of it: acknowledge now (after what is still pending before it).
    Settled,
    /// Acknowledge when the slot reaches the ticket.
    Pending,
}

/// The gateway is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway takes no more messages")]
pub struct IntakeClosed;

/// No running rule has the name that the topic gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no running rule has the name that the topic gives")]
pub struct UnknownRule;

/// Something that the broker needs on disk.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A message for a session.
    Message(Arc<Parcel>),
    /// What else is to be known of a session.
    Change(session_store::Change),
    /// A retained message without a payload: it ends the one of its topic.
    Removal(Publish),
}

/// Takes publishes in, on behalf of the rules.
pub trait Intake: Send + Sync + 'static {
    /// Opens a connection's lane. `slot` is where its commits are announced.
    fn lane(&self, origin: Arc<Origin>, slot: Arc<AckSlot>) -> Box<dyn Lane>;

    /// The same for the connection `upstream` to another broker, whose messages nobody here has sent.
    fn upstream_lane(&self, upstream: &Arc<str>, slot: Arc<AckSlot>) -> Box<dyn Lane> {
        let _ = upstream;
        self.lane(Origin::internal(), slot)
    }

    /// Something happened to a client; `event` is asked what, if anybody listens. Never waits.
    fn tell(&self, event: &dyn Fn() -> ClientEvent);
}

/// One connection's way in: keeps its topic cache and its current batch.
pub trait Lane: Send {
    /// Takes one publish into the current batch: rules are evaluated here and now, on the caller's task.
    ///
    /// # Errors
    /// It was published to a rule that there is not (`$aws/rules/NAME/…`); it was not taken.
    fn take(&mut self, publish: Publish) -> Result<(), UnknownRule>;

    /// Adds what sessions that survive have to keep, and what is retained no more, to the current batch: it is
    /// committed with it, also if nothing else is. A broker that was bound without a [store](Remains::store) keeps
    /// nothing.
    fn keep(&mut self, _kept: Kept) {}

    /// Ends the batch, to be acknowledged as `ticket`; without one nobody waits for its commit. Waits
    /// while the journal's queue is full.
    fn submit(
        &mut self,
        ticket: Option<u64>,
    ) -> Pin<Box<dyn Future<Output = Result<Submitted, IntakeClosed>> + Send + '_>>;
}

/// An intake without rules: nothing waits for a commit, and nothing is told. For a broker of its own, as
/// benchmarks and the fuzzer want it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRules;

impl Intake for NoRules {
    fn lane(&self, _: Arc<Origin>, _: Arc<AckSlot>) -> Box<dyn Lane> {
        Box::new(NoRules)
    }

    fn tell(&self, _: &dyn Fn() -> ClientEvent) {}
}

impl Lane for NoRules {
    fn take(&mut self, _: Publish) -> Result<(), UnknownRule> {
        Ok(())
    }

    fn submit(
        &mut self,
        _: Option<u64>,
    ) -> Pin<Box<dyn Future<Output = Result<Submitted, IntakeClosed>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(Submitted::Settled)))
    }
}
