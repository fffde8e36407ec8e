//! One SQLite transaction a batch: effects, state changes, hits; then the acknowledgements.
//!
//! The writer is one thread. It takes [`Submission`]s from a bounded queue, lets the [`Stage`] (the
//! gateway's stateful half: hold table and actions) turn them into a [`Batch`], commits it, and then
//! releases the acks and tells the stage. A lone submission is committed at once; under load a
//! commit carries all that arrived during the last one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::publish::Publish;

/// Something that must be on disk before the message that caused it is acknowledged.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A record of a shard stream.
    Stream {
        /// Stream name; created with defaults when it does not exist.
        stream: Arc<str>,
        /// Partition key: its MD5 picks the shard.
        partition_key: CompactString,
        /// Explicit hash key: picks the shard instead.
        hash_key: Option<u128>,
        /// The record.
        data: Bytes,
        /// Arrival time.
        at: Timestamp,
    },
    /// An entry of a delivery buffer.
    Deliver {
        /// Delivery name.
        delivery: Arc<str>,
        /// The record.
        data: Bytes,
        /// Arrival time.
        at: Timestamp,
    },
    /// A call of a hook.
    Invoke {
        /// Hook name.
        hook: Arc<str>,
        /// Rule that calls.
        rule: Arc<str>,
        /// Request body.
        payload: Bytes,
        /// Arrival time.
        at: Timestamp,
    },
    /// A retained message; an empty payload removes it.
    Retain(Publish),
}

/// A changed key of the hold table.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// Rule name.
    pub rule: Arc<str>,
    /// Key, as in [`crate::engine::Observation`].
    pub key: CompactString,
    /// Encoded state; `None` when the key is inactive again.
    pub state: Option<Bytes>,
}

/// A hit as the dashboard shows it.
#[derive(Clone, Debug)]
pub struct HitRecord {
    /// When.
    pub at: Timestamp,
    /// Rule name.
    pub rule: Arc<str>,
    /// `match`, `firing`, `cleared`.
    pub event: &'static str,
    /// Topic of the message it speaks of.
    pub topic: Arc<str>,
    /// Client id, where there is one.
    pub client_id: Option<Arc<str>>,
    /// Key of the episode as JSON text.
    pub key: Option<Arc<str>>,
    /// The output.
    pub output: Bytes,
}

/// What one commit writes.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order.
    pub effects: Vec<Effect>,
    /// Last state of each changed key.
    pub states: Vec<StateChange>,
    /// In order.
    pub hits: Vec<HitRecord>,
}

impl Batch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.states.is_empty() && self.hits.is_empty()
    }

    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.effects.clear();
        self.states.clear();
        self.hits.clear();
    }
}

/// Where a connection learns that its batches are on disk. Shared by the connection (reads, waits)
/// and the writer (advances).
#[derive(Debug, Default)]
pub struct AckSlot {
    /// Highest ticket committed. Written by the journal's writer only; tickets of a slot are submitted in order.
    committed: AtomicU64,
    changed: tokio::sync::Notify,
}

impl AckSlot {
    /// The highest committed ticket.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Waits for the next advance; check [`AckSlot::committed`] after it. A wake-up between two calls is not lost.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Says that everything up to `ticket` is on disk.
    pub fn advance(&self, ticket: u64) {
        self.committed.fetch_max(ticket, Ordering::Release);
        self.changed.notify_one();
    }
}

/// One connection's batch on its way to the writer.
#[derive(Debug)]
pub struct Submission<W> {
    /// Receive time of its last message.
    pub at: Timestamp,
    /// What the stage turns into effects.
    pub work: W,
    /// Released after the commit.
    pub ack: Option<(Arc<AckSlot>, u64)>,
}

/// The stateful half of the gateway, run by the writer in commit order.
pub trait Stage: Send + 'static {
    /// What a submission carries.
    type Work: Send + 'static;

    /// Turns one submission into effects. Timers due at or before `at` have been run.
    fn apply(&mut self, at: Timestamp, work: Self::Work, batch: &mut Batch);

    /// Runs the timers that are due at or before `now`.
    fn advance(&mut self, now: Timestamp, batch: &mut Batch);

    /// Called once before a commit: adds what is written once a batch, however many submissions it
    /// carries (the last state of each changed key).
    fn seal(&mut self, batch: &mut Batch);

    /// When [`Stage::advance`] has something to do next.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// The batch is on disk. Called before the acks are released.
    fn committed(&mut self, batch: &Batch);
}
