//! One SQLite transaction a batch: effects, state changes, hits; then the acknowledgements.
//!
//! The writer ([`writer`]) is one thread. It takes [`Submission`]s from a bounded queue, lets the
//! [`Stage`] (the gateway's stateful half: hold table and actions) turn them into a [`Batch`], commits
//! it, and then tells the stage and releases the acks. A lone submission is committed at once; under
//! load a commit carries all that arrived during the last one; one that no acknowledgement waits for
//! (QoS 0 only) may gather a little longer ([`JournalConfig::gather`]), which saves the disk and the
//! cores a flush each time. Jobs of other parts (retention,
//! deliveries, hooks) join the same transactions through [`crate::storage::Executor`].
//!
//! In: [`Journal::start`], then [`Submitter::submit`]. Out: rows in the tables of each noun
//! ([`table`]), [`Stage::committed`], [`AckSlot::advance`].
//!
//! Invariants:
//! - An ack is released only when everything its submission caused is on disk and synced.
//! - Submissions of one queue are applied and committed in the order in which they were submitted.
//! - Very many timers that are due at once are run in pieces of [`limits::JOURNAL_TIMERS_TIME`], with a commit
//!   after each. Submissions that do not depend on timers are applied in between; the first that does waits,
//!   and those behind it.
//! - The stage runs once for each submission. When a transaction fails (the disk is full, an I/O
//!   error), the same batch is written again, after a pause, until it succeeds; meanwhile nothing is
//!   acknowledged, the queue fills, and the sockets are not read. [`JournalHealth`] says so.
//! - [`Journal::shutdown`] commits everything that was submitted before it.
//!
//! `tokio`'s paused clock does not wait for this thread: tests that use it must not have a journal.

#[cfg(test)]
pub(crate) mod effect_stage;
mod metrics;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use compact_str::CompactString;

use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::checkpoint::Part;
use crate::checkpoint::SavedSwitch;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::JournalConfig;
use crate::delivery;
use crate::engine::Leap;
use crate::engine::hold::Progress;
use crate::engine::rows::KeyChange;
use crate::lambda;
use crate::latest::Upsert;
use crate::limits;
use crate::publish::Publish;
use crate::session;
use crate::session::Parcel;
use crate::session::Removal;
use crate::storage::Storage;
use crate::storage::StorageError;
use crate::stream;
use crate::stream::Arrivals;
use crate::stream::ConsumerSpec;

pub use metrics::JournalMetrics;

use table::Targets;

/// The queue's bytes are shared out in units of this.
const ROOM_UNIT_BYTES: usize = 1024;
/// So many units there are.
const ROOM_UNITS: usize = limits::JOURNAL_QUEUE_BYTES_MAX / ROOM_UNIT_BYTES;

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
        /// How many REPUBLISH and STREAM actions it has passed.
        hops: u8,
    },
    /// Records from outside the rules for one stream, which must exist.
    Put(Arc<stream::Put>),
    /// An entry of a delivery buffer.
    Deliver {
        /// Name of the delivery, or of the buffer of one of its partitions.
        delivery: Arc<str>,
        /// The record.
        data: Bytes,
        /// Arrival time.
        at: Timestamp,
        /// Whose it is, where that is a rule's.
        sent_by: Option<Arc<SentBy>>,
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
        /// How many REPUBLISH and STREAM actions the message that causes it has passed.
        hops: u8,
        /// Whether the rule's ON ERROR actions run if it is given up.
        for_error: bool,
    },
    /// A retained message; an empty payload removes it.
    Retain(Publish),
    /// The last value of a key.
    Upsert(Box<Upsert>),
    /// A key that goes, with its value.
    Forget {
        /// Table name.
        table: Arc<str>,
        /// Key.
        key: CompactString,
    },
    /// A consumer of a stream has come so far.
    Advance(stream::Advance),
    /// A message for a session that survives.
    Keep(Arc<Parcel>),
    /// What else is to be known of such a session.
    Session(session::Change),
    /// The consumers of streams from here on: in the order of the effects, so that one that begins at
    /// the end gets all that comes behind this.
    Consumers(Arc<[ConsumerSpec]>),
    /// The rules that are enabled or disabled by hand, all of them.
    Switches(Arc<[SavedSwitch]>),
}

/// The rule that an effect comes from, for when there is no room for it.
#[derive(Clone, Debug)]
pub struct SentBy {
    /// Rule name.
    pub rule: Arc<str>,
    /// What its ON ERROR runs over; `None`: it does not, as for an effect of ON ERROR itself.
    pub publish: Option<Publish>,
}

impl Effect {
    /// Bytes of what is to be stored, without what the tables add.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Effect::Stream { partition_key, data, .. } => partition_key.len() + data.len(),
            Effect::Put(put) => put.payload_bytes(),
            Effect::Deliver { data, .. } => data.len(),
            Effect::Invoke { payload, .. } => payload.len(),
            Effect::Retain(publish) => publish.topic.as_str().len() + publish.payload.len(),
            Effect::Upsert(upsert) => upsert.key.len() + upsert.value.len(),
            Effect::Forget { key, .. } => key.len(),
            Effect::Keep(parcel) => parcel.bytes,
            Effect::Advance(_)
            | Effect::Consumers(_)
            | Effect::Session(_)
            | Effect::Switches(_) => 0,
        }
    }
}

/// A change of what rules remember.
#[derive(Clone, Debug)]
pub enum StateChange {
    /// Rows of a key.
    Key {
        /// Whose state it is.
        part: Part,
        /// What has changed.
        change: KeyChange,
    },
    /// The rows of all keys of a rule are removed, those beside them are not. Keys that go on follow.
    Empty {
        /// Whose state it is.
        part: Part,
        /// Rule name.
        rule: Arc<str>,
    },
}

impl StateChange {
    /// What its rows hold, bytes.
    pub fn bytes(&self) -> usize {
        match self {
            StateChange::Key { change, .. } => change.bytes(),
            StateChange::Empty { .. } => 0,
        }
    }
}

/// A hit as the dashboard shows it.
#[derive(Clone, Debug)]
pub struct HitRecord {
    /// When.
    pub at: Timestamp,
    /// Rule name.
    pub rule: Arc<str>,
    /// `match`, `firing`, `cleared`, `window`.
    pub event: &'static str,
    /// Why the episode ended, of `cleared`.
    pub reason: Option<&'static str>,
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
    /// Messages that sessions are done with.
    pub removals: Vec<Removal>,
}

impl Batch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
            && self.states.is_empty()
            && self.hits.is_empty()
            && self.removals.is_empty()
    }

    /// Forgets all, keeps the memory of a usual one.
    pub fn clear(&mut self) {
        self.effects.clear();
        self.states.clear();
        self.states.shrink_to(limits::STATE_CHANGES_KEPT);
        self.hits.clear();
        self.removals.clear();
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
    /// Receive time of its first message: timers due by then run before it.
    pub at: Timestamp,
    /// What the stage turns into effects.
    pub work: W,
    /// Memory that the work holds, about, bytes.
    pub bytes: usize,
    /// Released after the commit. `None`: nobody waits, so the commit may gather more first.
    pub ack: Option<(Arc<AckSlot>, u64)>,
}

/// A submission in the queue, and its share of the queue's bytes until it is applied.
#[derive(Debug)]
struct Queued<W> {
    submission: Submission<W>,
    room: OwnedSemaphorePermit,
}

/// The stateful half of the gateway, run by the writer in commit order.
pub trait Stage: Send + 'static {
    /// What a submission carries.
    type Work: Send + 'static;
    /// Whether commits are signs of life of the gateway. Not those of a command that only changes a
    /// table of a gateway that is down: its downtime goes on.
    const IS_GATEWAY: bool = true;

    /// What counts the records of streams, and knows how much each may hold.
    fn meter(&self) -> Arc<stream::Meter> {
        Arc::default()
    }

    /// Turns one submission into effects. Timers due at or before `at` have been run, unless the work is
    /// [timeless](Stage::is_timeless).
    fn apply(&mut self, at: Timestamp, work: Self::Work, batch: &mut Batch);

    /// Whether `work` comes to the same before and after timers that are due: it may be applied, and
    /// acknowledged, in the middle of a burst of them.
    fn is_timeless(&self, work: &Self::Work) -> bool;

    /// Says what the clock reads, before anything of a commit. What is submitted and due may be behind it:
    /// the writer may have stood still.
    fn tell_time(&mut self, _present: Timestamp) {}

    /// Runs timers that are due at or before `now`, in the order of time: all of them, or a piece whose
    /// size is bounded.
    fn advance(&mut self, now: Timestamp, batch: &mut Batch) -> Progress;

    /// The clock jumps. Runs the timers that are due at or before `leap.from` first.
    fn leap(&mut self, leap: Leap, batch: &mut Batch);

    /// Called once before a commit: adds what is written once a batch, however many submissions it
    /// carries (the last state of each changed key).
    fn seal(&mut self, batch: &mut Batch);

    /// When [`Stage::advance`] has something to do next.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// The batch is on disk. Called before the acks are released; also when the submissions caused
    /// nothing to store and the batch is empty.
    fn committed(&mut self, batch: &Batch);
}

/// The journal takes no more submissions: it is shutting down, or its writer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal is closed")]
pub struct JournalClosed;

/// Why the journal does not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No second connection.
    #[error("the journal cannot open its connections")]
    Storage(#[from] StorageError),
    /// No thread or timer.
    #[error("the journal's threads cannot be started")]
    Thread(#[source] std::io::Error),
    /// At shutdown the database still could not be written. None of it was acknowledged.
    #[error("{submissions} submissions could not be written before the shutdown: {reason}")]
    Unwritten {
        /// How many.
        submissions: usize,
        /// What the last attempt said.
        reason: String,
    },
    /// The writer's thread ended by itself: a bug, which its log line names.
    #[error("the journal's writer panicked")]
    Panicked,
}

/// Why nothing is being committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Since when.
    pub since: Timestamp,
    /// What SQLite says.
    pub reason: String,
}

/// Whether commits succeed. Written by the journal's writer, read by readiness and the dashboard.
#[derive(Clone, Debug)]
pub struct JournalHealth {
    stall: watch::Receiver<Option<Stall>>,
}

impl JournalHealth {
    /// The stall under way, if there is one: the gateway is then not ready.
    pub fn stall(&self) -> Option<Stall> {
        self.stall.borrow().clone()
    }

    /// Waits for a stall, if there is none under way; for ever once the writer has ended.
    pub async fn stalled(mut self) -> Stall {
        loop {
            if let Some(stall) = self.stall() {
                return stall;
            }
            self.changed().await;
        }
    }

    /// Waits until a stall begins or ends; for ever once the writer has ended.
    pub async fn changed(&mut self) {
        if self.stall.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Where submissions go in. Cheap to clone.
#[derive(Debug)]
pub struct Submitter<W> {
    queue: mpsc::Sender<Queued<W>>,
    /// Rung for a submission with an ack: ends the writer's gathering.
    awaited: Arc<Notify>,
    /// Kibibytes that may still be queued.
    room: Arc<Semaphore>,
}

impl<W> Clone for Submitter<W> {
    fn clone(&self) -> Self {
        let (queue, awaited) = (self.queue.clone(), Arc::clone(&self.awaited));
        Submitter { queue, awaited, room: Arc::clone(&self.room) }
    }
}

impl<W> Submitter<W> {
    /// Queues a submission; waits while [`limits::JOURNAL_QUEUE_MAX`] are queued or
    /// [`limits::JOURNAL_QUEUE_BYTES_MAX`] are held by them. What was taken in is committed even if
    /// the journal is shut down.
    pub async fn submit(&self, submission: Submission<W>) -> Result<(), JournalClosed> {
        // One that is larger than the queue goes in alone.
        let share = (submission.bytes / ROOM_UNIT_BYTES + 1).min(ROOM_UNITS);
        let share = u32::try_from(share).expect("the units of the queue are counted in 32 bits");
        let room = Arc::clone(&self.room).acquire_many_owned(share).await;
        let room = room.map_err(|_| JournalClosed)?;
        let is_awaited = submission.ack.is_some();
        self.queue.send(Queued { submission, room }).await.map_err(|_| JournalClosed)?;
        if is_awaited {
            self.awaited.notify_one();
        }
        Ok(())
    }

    /// Ends when the journal takes no more: it was shut down, or its writer has ended.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Whether the journal takes no more: it was shut down, or its writer has ended.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

/// The running journal. Dropping it shuts it down without waiting.
#[derive(Debug)]
pub struct Journal<W> {
    submitter: Submitter<W>,
    health: JournalHealth,
    metrics: JournalMetrics,
    targets: Targets,
    closing: watch::Sender<bool>,
    ended: oneshot::Receiver<Result<(), JournalError>>,
}

impl<W: Send + 'static> Journal<W> {
    /// Starts the writer on the write connection of `storage`, which it keeps: one journal a storage.
    pub fn start<S: Stage<Work = W>>(
        storage: &Storage,
        stage: S,
        config: &JournalConfig,
        clock: Clock,
    ) -> Result<Journal<W>, JournalError> {
        let (queue, submissions) = mpsc::channel(limits::JOURNAL_QUEUE_MAX);
        let (closing, is_closing) = watch::channel(false);
        let (stall, health) = watch::channel(None);
        let metrics = JournalMetrics::default();
        let keys = Arc::clone(storage.keys());
        let targets = Targets { meter: stage.meter(), keys, ..Targets::default() };
        let awaited = Arc::new(Notify::new());
        let ended = writer::start(writer::Start {
            storage,
            stage,
            config,
            targets: targets.clone(),
            clock,
            submissions,
            awaited: Arc::clone(&awaited),
            closing: is_closing,
            stall,
            metrics: metrics.clone(),
        })?;
        let submitter = Submitter { queue, awaited, room: Arc::new(Semaphore::new(ROOM_UNITS)) };
        let health = JournalHealth { stall: health };
        Ok(Journal { submitter, health, metrics, targets, closing, ended })
    }

    /// Where submissions go in.
    pub fn submitter(&self) -> Submitter<W> {
        self.submitter.clone()
    }

    /// Whether commits succeed.
    pub fn health(&self) -> JournalHealth {
        self.health.clone()
    }

    /// Where it announces what it adds to deliveries.
    pub fn delivery_backlogs(&self) -> Arc<delivery::Backlogs> {
        Arc::clone(&self.targets.deliveries)
    }

    /// Where it announces what it adds to streams.
    pub fn arrivals(&self) -> Arc<Arrivals> {
        Arc::clone(&self.targets.streams)
    }

    /// Where it announces what it adds to hooks.
    pub fn hook_backlogs(&self) -> Arc<lambda::Backlogs> {
        Arc::clone(&self.targets.hooks)
    }

    /// What it counts.
    pub fn metrics(&self) -> &JournalMetrics {
        &self.metrics
    }

    /// Takes no more submissions and jobs, commits all that are queued, and brings the database file
    /// up to date. Does not wait for a disk that stays full: what is left then was not acknowledged.
    pub async fn shutdown(self) -> Result<(), JournalError> {
        // The writer may have ended; then there is nobody to be told.
        self.closing.send(true).ok();
        self.ended.await.unwrap_or(Err(JournalError::Panicked))
    }
}
