//! The MQTT protocol edge.
//!
//! What it hands publishes to is an [`Intake`]; the gateway provides it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::journal::AckSlot;
use crate::publish::Origin;
use crate::publish::Publish;

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

/// Takes publishes in, on behalf of the rules.
pub trait Intake: Send + Sync + 'static {
    /// Opens a connection's lane. `slot` is where its commits are announced.
    fn lane(&self, origin: Arc<Origin>, slot: Arc<AckSlot>) -> Box<dyn Lane>;
}

/// One connection's way in: keeps its topic cache and its current batch.
pub trait Lane: Send {
    /// Takes one publish into the current batch: rules are evaluated here and now, on the caller's task.
    fn take(&mut self, publish: Publish);

    /// Ends the batch, to be acknowledged as `ticket`. Waits while the journal's queue is full.
    fn submit(
        &mut self,
        ticket: u64,
    ) -> Pin<Box<dyn Future<Output = Result<Submitted, IntakeClosed>> + Send + '_>>;
}
