//! The writer's thread.
//!
//! A round: wait for submissions, jobs, the stage's next deadline or the next sign of life; gather a
//! little longer under a load that nobody waits for; apply; commit; tell. Timers that are due all at
//! once are spread over as many rounds as they need. The thread has a small
//! runtime of its own, only to wait on several things at once; SQLite blocks it, and nothing else
//! runs on it.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::JournalConfig;
use crate::engine::Leap;
use crate::engine::hold::Progress;
use crate::limits;
use crate::retry::Backoff;
use crate::retry::describe;
use crate::storage::Job;
use crate::storage::JobQueue;
use crate::storage::SqliteError;
use crate::storage::Storage;
use crate::storage::checkpointer::Checkpointer;

use super::AckSlot;
use super::Batch;
use super::JournalError;
use super::JournalMetrics;
use super::Queued;
use super::Stage;
use super::Stall;
use super::StateChange;
use super::Submission;
use super::table::Tables;
use super::table::Targets;

/// While something is pending, a restart learns to within this when the gateway ended.
const ALIVE_PERIOD: Duration = Duration::from_secs(1);
/// Pauses after failed commits, at their ceiling: nobody else retries on the same disk.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(2) };
/// Failed attempts after which a shutdown is not held up any longer.
const SHUTDOWN_ATTEMPTS: u32 = 3;
/// The checkpointer is asked to look after this much has been written.
const WAKE_BYTES: usize = 2 * 1024 * 1024;
/// What a commit adds to the log beside its rows: inner nodes of the tables.
const COMMIT_OVERHEAD_BYTES: usize = 32 * 1024;
/// What a changed row adds to the log beside its payload: a page, where no other changed row is on it.
const ROW_OVERHEAD_BYTES: usize = 4096;

/// What the thread starts with.
pub(super) struct Start<'a, S: Stage> {
    pub(super) storage: &'a Storage,
    pub(super) stage: S,
    pub(super) config: &'a JournalConfig,
    pub(super) targets: Targets,
    pub(super) clock: Clock,
    pub(super) submissions: mpsc::Receiver<Queued<S::Work>>,
    pub(super) awaited: Arc<Notify>,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) stall: watch::Sender<Option<Stall>>,
    pub(super) metrics: JournalMetrics,
}

/// Starts the thread; the answer arrives when it has ended.
pub(super) fn start<S: Stage>(
    start: Start<'_, S>,
) -> Result<oneshot::Receiver<Result<(), JournalError>>, JournalError> {
    let second = start.storage.open_checkpointer()?;
    let (connection, jobs) =
        start.storage.take_writer().expect("a storage's writer is taken once, by its only journal");
    let checkpointer = Checkpointer::start(second, start.metrics.checkpoints.clone())
        .map_err(JournalError::Thread)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(JournalError::Thread)?;
    let writer = Writer {
        began: start.clock.now(),
        alive_at: start.clock.now(),
        lead: start.clock.lead(),
        stage: start.stage,
        clock: start.clock,
        tables: Tables::new(connection, start.config.hits_max, start.targets, S::IS_GATEWAY),
        inlet: Inlet {
            submissions: start.submissions,
            awaited: start.awaited,
            jobs,
            closing: start.closing,
            has_submissions: true,
            has_jobs: true,
        },
        checkpointer,
        stall: start.stall,
        metrics: start.metrics,
        received: Vec::new(),
        queue: VecDeque::new(),
        is_burst: false,
        jobs: Vec::new(),
        batch: Batch::default(),
        batch_bytes: 0,
        held_bytes: 0,
        rows_changed: 0,
        applied: 0,
        acks: Vec::new(),
        gather: start.config.gather,
        gather_from: None,
        unchecked_bytes: 0,
    };
    let (end, ended) = oneshot::channel();
    thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            // Nobody waits when the journal was dropped; the writer has logged what went wrong.
            drop(end.send(writer.run(&runtime)));
        })
        .map_err(JournalError::Thread)?;
    Ok(ended)
}

/// Where work comes in.
struct Inlet<W> {
    submissions: mpsc::Receiver<Queued<W>>,
    /// Rung when a submission came that somebody waits for.
    awaited: Arc<Notify>,
    jobs: JobQueue,
    closing: watch::Receiver<bool>,
    /// Whether submissions can still come.
    has_submissions: bool,
    /// Whether jobs can still come.
    has_jobs: bool,
}

impl<W> Inlet<W> {
    fn is_open(&self) -> bool {
        self.has_submissions || self.has_jobs
    }

    /// Whether shutdown has begun: asked for, or the journal was dropped.
    fn is_closing(&self) -> bool {
        *self.closing.borrow() || self.closing.has_changed().is_err()
    }

    /// Waits until there is something, or `until`. Takes all that is there, up to a commit's bound.
    async fn wait(
        &mut self,
        until: Option<Instant>,
        submissions: &mut Vec<Queued<W>>,
        jobs: &mut Vec<Box<dyn Job>>,
    ) {
        let is_closing = self.is_closing();
        if is_closing {
            self.submissions.close();
            self.jobs.close();
        }
        let timer = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            count = self.submissions.recv_many(submissions, limits::JOURNAL_BATCH_MAX),
                if self.has_submissions => self.has_submissions = count > 0,
            count = self.jobs.recv_many(jobs, limits::JOURNAL_JOBS_MAX),
                if self.has_jobs => self.has_jobs = count > 0,
            () = timer => {}
            _ = self.closing.changed(), if !is_closing => {}
        }
        self.take_rest(submissions, jobs);
    }

    /// Lets unawaited submissions queue until `until`, or until something comes that cannot wait,
    /// without waking up for each of them. Takes all that is there then.
    async fn gather(
        &mut self,
        until: Instant,
        submissions: &mut Vec<Queued<W>>,
        jobs: &mut Vec<Box<dyn Job>>,
    ) {
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            // May be from before: then this commit gathers nothing, and no harm is done.
            () = self.awaited.notified() => {}
            count = self.jobs.recv_many(jobs, limits::JOURNAL_JOBS_MAX),
                if self.has_jobs => self.has_jobs = count > 0,
            _ = self.closing.changed() => {}
        }
        self.take_rest(submissions, jobs);
    }

    /// What else is there joins the same commit.
    fn take_rest(&mut self, submissions: &mut Vec<Queued<W>>, jobs: &mut Vec<Box<dyn Job>>) {
        while submissions.len() < limits::JOURNAL_BATCH_MAX
            && let Ok(submission) = self.submissions.try_recv()
        {
            submissions.push(submission);
        }
        self.take_jobs(jobs);
    }

    fn take_jobs(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        while jobs.len() < limits::JOURNAL_JOBS_MAX
            && let Ok(job) = self.jobs.try_recv()
        {
            jobs.push(job);
        }
    }
}

struct Writer<S: Stage> {
    stage: S,
    clock: Clock,
    tables: Tables,
    inlet: Inlet<S::Work>,
    checkpointer: Checkpointer,
    stall: watch::Sender<Option<Stall>>,
    metrics: JournalMetrics,
    received: Vec<Queued<S::Work>>,
    /// Received, and left over when a commit was closed for its size, or while timers that are due run.
    queue: VecDeque<Queued<S::Work>>,
    /// Whether more timers are due than the commit being made could run.
    is_burst: bool,
    /// Part of the commit being made.
    jobs: Vec<Box<dyn Job>>,
    /// What the commit being made writes.
    batch: Batch,
    batch_bytes: usize,
    /// What its submissions held, or turned into where that is more, bytes.
    held_bytes: usize,
    /// Rows changed when the checkpointer's account was last drawn up.
    rows_changed: u64,
    /// Submissions in the commit being made.
    applied: usize,
    /// Released after the commit being made.
    acks: Vec<(Arc<AckSlot>, u64)>,
    /// See [`JournalConfig::gather`].
    gather: Duration,
    /// When the last commit began, if it carried several submissions and nobody waited for any.
    gather_from: Option<Instant>,
    /// When the writer started.
    began: Timestamp,
    /// When the last sign of life was written.
    alive_at: Timestamp,
    /// How far the wall clock has been set forward, as far as the stage has followed.
    lead: Duration,
    /// Written since the checkpointer was last asked to look.
    unchecked_bytes: usize,
}

impl<S: Stage> Writer<S> {
    fn run(mut self, runtime: &Runtime) -> Result<(), JournalError> {
        let ended = loop {
            if self.queue.is_empty() {
                if !self.inlet.is_open() {
                    break Ok(());
                }
                let until = self.next_wake();
                runtime.block_on(self.inlet.wait(until, &mut self.received, &mut self.jobs));
                if let Some(until) = self.gather_until() {
                    let (received, jobs) = (&mut self.received, &mut self.jobs);
                    runtime.block_on(self.inlet.gather(until, received, jobs));
                }
                self.queue.extend(self.received.drain(..));
            } else if self.is_burst && self.queue.len() < limits::JOURNAL_BATCH_MAX {
                // Who comes now may overtake who waits for the timers.
                self.inlet.take_rest(&mut self.received, &mut self.jobs);
                self.queue.extend(self.received.drain(..));
            } else {
                self.inlet.take_jobs(&mut self.jobs);
            }
            self.apply();
            if let Err(error) = runtime.block_on(self.commit()) {
                break Err(error);
            }
        };
        self.checkpointer.stop();
        if let Err(error) = self.tables.close() {
            // Everything is in the log; the next start reads it from there.
            tracing::warn!(error = %error, "the last checkpoint failed");
        }
        ended
    }

    /// When to stop waiting although nothing comes.
    fn next_wake(&self) -> Option<Instant> {
        let deadline = self.stage.next_deadline()?;
        Some(self.clock.instant_at(deadline.min(self.alive_at + ALIVE_PERIOD)))
    }

    /// How long the commit to be made may gather; `None` when it is to be made now. A lone submission
    /// is: the last commit began long ago, or carried few.
    fn gather_until(&self) -> Option<Instant> {
        let until = self.gather_from? + self.gather;
        let is_awaited = |queued: &Queued<S::Work>| queued.submission.ack.is_some();
        let is_urgent = self.received.is_empty()
            || self.received.len() >= limits::JOURNAL_BATCH_MAX
            || !self.jobs.is_empty()
            || self.inlet.is_closing()
            || self.received.iter().any(is_awaited);
        let until = self.next_wake().map_or(until, |wake| wake.min(until));
        (!is_urgent && until > Clock::instant()).then_some(until)
    }

    /// Runs the stage over what was received, up to the bounds of a commit. In a burst of timers, what
    /// does not depend on them goes on; what does stays in the queue, and so does what is behind it of the
    /// same sender.
    fn apply(&mut self) {
        let mut timers = Progress::Done;
        self.stage.tell_time(self.now());
        while self.has_room()
            && let Some(Queued { submission, .. }) = self.queue.front()
        {
            let at = submission.at;
            if timers == Progress::Done {
                self.follow(self.clock.lead());
                timers = self.advance(at);
            }
            let is_next = |next: &mut Queued<S::Work>| {
                timers == Progress::Done || self.stage.is_timeless(&next.submission.work)
            };
            let Some(next) = self.queue.pop_front_if(is_next) else {
                self.overtake();
                break;
            };
            self.apply_one(next);
        }
        self.is_burst = timers == Progress::More;
        if self.queue.is_empty() && timers == Progress::Done {
            self.clock.now();
            self.follow(self.clock.lead());
            // What is left over is due when this commit is made.
            let _left = self.advance(self.now());
        }
        self.stage.seal(&mut self.batch);
    }

    fn apply_one(&mut self, queued: Queued<S::Work>) {
        let Queued { submission: Submission { at, work, ack, bytes }, room } = queued;
        let known = (self.batch.effects.len(), self.batch.hits.len());
        self.stage.apply(at, work, &mut self.batch);
        self.held_bytes += bytes.max(self.weigh(known));
        self.acks.extend(ack);
        self.applied += 1;
        drop(room);
    }

    /// In a burst of timers, for which the head of the queue waits: applies what does not depend on them. No
    /// submission overtakes one of its own sender. Senders are told apart by their slots; one that has none
    /// may be anybody's, so nothing overtakes it.
    fn overtake(&mut self) {
        let mut waiting = VecDeque::with_capacity(self.queue.len());
        let mut senders = HashSet::new();
        let mut overtaken = 0;
        while let Some(queued) = self.queue.pop_front() {
            let Submission { work, ack, .. } = &queued.submission;
            let Some(sender) = ack.as_ref().map(|(slot, _)| Arc::as_ptr(slot)) else {
                waiting.push_back(queued);
                break;
            };
            let has_room = overtaken == 0 || self.has_room();
            if has_room && !senders.contains(&sender) && self.stage.is_timeless(work) {
                self.apply_one(queued);
                overtaken += 1;
            } else {
                senders.insert(sender);
                waiting.push_back(queued);
            }
        }
        waiting.append(&mut self.queue);
        self.queue = waiting;
    }

    /// The time by the clock as far as the stage has followed it: no row of a commit, and no sign of
    /// life in it, is from behind a step that its states do not know.
    fn now(&self) -> Timestamp {
        self.clock.steady() + self.lead
    }

    /// Has the stage follow the clock when that has been set forward.
    fn follow(&mut self, lead: Duration) {
        if lead <= self.lead {
            return;
        }
        let from = self.now();
        let by = lead - mem::replace(&mut self.lead, lead);
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(by_ms, "the clock has been set forward; durations leave that out");
        self.alive_at = self.alive_at + by;
        self.stage.leap(Leap { from, to: from + by }, &mut self.batch);
    }

    fn has_room(&self) -> bool {
        self.applied < limits::JOURNAL_BATCH_MAX
            && self.held_bytes < limits::JOURNAL_BATCH_BYTES_MAX
    }

    /// Counts the bytes of the effects behind the first `known`; answers those of what they and the hits
    /// behind the first `known` hold.
    fn weigh(&mut self, known: (usize, usize)) -> usize {
        let effects = self.batch.effects[known.0..].iter();
        let effects: usize = effects.map(super::Effect::payload_bytes).sum();
        let hits: usize = self.batch.hits[known.1..].iter().map(|hit| hit.output.len()).sum();
        self.batch_bytes += effects;
        effects + hits
    }

    /// Runs the timers due at `now`, as far as there is time and room for them in this commit.
    fn advance(&mut self, now: Timestamp) -> Progress {
        let Some(due) = self.stage.next_deadline().filter(|deadline| *deadline <= now) else {
            return Progress::Done;
        };
        // What was due before the start is no lag.
        let late = self.now().since(due.max(self.began));
        self.metrics.timers_late.observe(late.as_secs_f64());
        let began = Clock::instant();
        loop {
            let known = (self.batch.effects.len(), self.batch.hits.len());
            let progress = self.stage.advance(now, &mut self.batch);
            self.held_bytes += self.weigh(known);
            let is_over = began.elapsed() >= limits::JOURNAL_TIMERS_TIME || !self.has_room();
            if progress == Progress::Done || is_over {
                return progress;
            }
        }
    }

    /// Makes the commit, however long it takes, and tells everybody.
    async fn commit(&mut self) -> Result<(), JournalError> {
        self.show_queued();
        let began = Clock::instant();
        let is_crowded = self.applied >= limits::JOURNAL_GATHER_MIN && self.acks.is_empty();
        self.gather_from = is_crowded.then_some(began);
        if !self.batch.is_empty() || !self.jobs.is_empty() {
            self.commit_batch().await?;
        } else if self.is_sign_of_life_due() {
            self.save_alive();
        }
        if self.applied > 0 || !self.batch.is_empty() {
            self.stage.committed(&self.batch);
        }
        for (slot, ticket) in self.acks.drain(..) {
            slot.advance(ticket);
        }
        for job in self.jobs.drain(..) {
            job.finish(None);
        }
        self.batch.clear();
        (self.batch_bytes, self.held_bytes) = (0, 0);
        self.applied = 0;
        Ok(())
    }

    fn show_queued(&self) {
        let queued = self.queue.len() + self.inlet.submissions.len();
        self.metrics.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }

    fn is_sign_of_life_due(&self) -> bool {
        self.stage.next_deadline().is_some() && self.now() >= self.alive_at + ALIVE_PERIOD
    }

    fn save_alive(&mut self) {
        let now = self.now();
        self.alive_at = now;
        if let Err(error) = self.tables.save_alive(now) {
            // Nobody waits for it; a commit that fails the same way says so loudly.
            self.metrics.failures.inc();
            tracing::debug!(error = %error, "the sign of life was not written");
        }
    }

    async fn commit_batch(&mut self) -> Result<(), JournalError> {
        let mut failures = 0_u32;
        let mut attempts_closing = 0;
        let started = loop {
            let started = Clock::instant();
            let now = self.now();
            match self.tables.commit(&self.batch, &mut self.jobs, now) {
                Ok(()) => {
                    self.alive_at = now;
                    break started;
                }
                Err(error) => self.note_failure(&error, now),
            }
            if self.inlet.is_closing() {
                attempts_closing += 1;
            }
            if attempts_closing >= SHUTDOWN_ATTEMPTS {
                return Err(self.give_up());
            }
            failures = failures.saturating_add(1);
            let is_closing = self.inlet.is_closing();
            tokio::select! {
                () = tokio::time::sleep(RETRY.ceiling(failures)) => {}
                _ = self.inlet.closing.changed(), if !is_closing => {}
            }
        };
        self.note_success(started.elapsed());
        Ok(())
    }

    fn note_failure(&self, error: &SqliteError, now: Timestamp) {
        self.metrics.failures.inc();
        self.show_queued();
        if self.stall.borrow().is_some() {
            return;
        }
        self.metrics.stalled.set(1);
        tracing::error!(
            error = describe(error),
            "the journal cannot commit; nothing is acknowledged until it can"
        );
        self.stall.send_replace(Some(Stall { since: now, reason: error.to_string() }));
    }

    fn note_success(&mut self, took: Duration) {
        let is_stalled = self.stall.borrow().is_some();
        if is_stalled && let Some(stall) = self.stall.send_replace(None) {
            self.metrics.stalled.set(0);
            tracing::info!(since = %stall.since, "the journal commits again");
        }
        self.metrics.observe_commit(took);
        #[expect(clippy::cast_precision_loss, reason = "at most JOURNAL_BATCH_MAX")]
        self.metrics.submissions.observe(self.applied as f64);
        self.metrics.bytes.inc_by(self.batch_bytes as u64);
        self.unchecked_bytes += self.log_bytes();
        if self.unchecked_bytes >= WAKE_BYTES {
            self.unchecked_bytes = 0;
            self.checkpointer.wake();
        }
    }

    /// What the commit added to the log, at most about: all of it may have been state, or of jobs.
    fn log_bytes(&mut self) -> usize {
        let rows = self.tables.rows_changed();
        let changed = rows - mem::replace(&mut self.rows_changed, rows);
        let changed = usize::try_from(changed).unwrap_or(usize::MAX);
        let states = self.batch.states.iter().map(StateChange::bytes).sum::<usize>();
        let hits = self.batch.hits.iter().map(|hit| hit.output.len()).sum::<usize>();
        let payload = self.batch_bytes + states + hits;
        changed.saturating_mul(ROW_OVERHEAD_BYTES).saturating_add(payload + COMMIT_OVERHEAD_BYTES)
    }

    /// What is left at a shutdown that the disk does not let finish.
    fn give_up(&mut self) -> JournalError {
        let queued = self.queue.len() + self.inlet.submissions.len();
        let reason = self.stall.borrow().as_ref().map(|stall| stall.reason.clone());
        JournalError::Unwritten {
            submissions: self.applied + queued,
            reason: reason.unwrap_or_default(),
        }
    }
}
