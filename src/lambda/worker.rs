//! One hook at work: reads calls ahead, starts attempts, records what came of them.
//!
//! Attempts start in the order of call numbers among the calls that are due; with a concurrency above
//! one they overlap. A call that waits for its next attempt does so in the table, and holds back no
//! other. While the destination as a whole fails (no connection, no answer in time, 429, 502, 503, 504)
//! the hook pauses with growing waits and sends one call at a time, so that an outage does not use up
//! the attempts of everything that waits.
//!
//! Outcomes are recorded by one job at a time, each with all that came meanwhile. A call leaves memory
//! when its outcome is on disk; what is not recorded in a crash is called again, under the same id.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::HookConfig;
use crate::limits;
use crate::retry::Backoff;
use crate::retry::Failure;
use crate::retry::describe;
use crate::retry::to_unix_seconds;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

use super::backlog::Backlog;
use super::backlog::Backlogs;
use super::client::HookClient;
use super::client::Reply;
use super::client::Request;
use super::metrics::OneHook;
use super::table;
use super::table::Call;
use super::table::DueRetries;
use super::table::HookRow;
use super::table::Outcome;
use super::table::Recorded;
use super::table::RetryPlace;

/// How long attempts under way may take to end when the gateway stops.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);
/// Pause after the tables could not be read or written.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What the worker tells about itself.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) oldest: Option<Timestamp>,
    pub(super) last_error: Option<Failure>,
    pub(super) last_latency: Option<Duration>,
    /// Nothing is sent before, because the destination fails as a whole.
    pub(super) paused_until: Option<Timestamp>,
}

/// What all workers share.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) executor: Executor,
    /// Locked for one short read at a time, on blocking threads only.
    pub(super) reader: Arc<Mutex<ReadConnection>>,
    pub(super) backlogs: Arc<Backlogs>,
    pub(super) clock: Clock,
    /// Becomes true when the gateway stops.
    pub(super) stop: watch::Receiver<bool>,
}

/// What a worker is made of.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) tools: Tools,
    pub(super) backlog: Arc<Backlog>,
    pub(super) config: HookConfig,
    pub(super) client: HookClient,
    pub(super) metrics: OneHook,
    pub(super) progress: Arc<Mutex<Progress>>,
}

/// An attempt that has ended.
struct Ended {
    number: i64,
    reply: Reply,
    took: Duration,
}

type Outcomes = BTreeMap<i64, Outcome>;

/// One hook at work.
pub(super) struct Worker {
    hook: Hook,
    /// Calls in memory: due, under way, or waiting for their outcome to be recorded.
    held: BTreeMap<i64, Call>,
    held_bytes: usize,
    /// Of those, the ones to be sent now.
    due: BTreeSet<i64>,
    attempts: JoinSet<Ended>,
    /// Number of the last call read that had not been tried.
    cursor: i64,
    /// Retries up to here have been read.
    retried: RetryPlace,
    /// When there may be a retry to be read.
    retry_at: Option<Timestamp>,
    /// Arrival of the oldest call that has not left, as it was last read.
    oldest: Option<Timestamp>,
    /// Calls have left since.
    is_oldest_stale: bool,
    /// To be recorded; a later outcome of a call replaces an earlier one.
    outcomes: Outcomes,
    /// One job at most.
    recording: JoinSet<(Outcomes, Result<Recorded, ExecuteError>)>,
    /// Tables are not touched before.
    store_retry_at: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    /// Pauses in a row.
    outages: u32,
    /// A timer has fired for this time, whatever the coarser clock says.
    reached: Timestamp,
}

/// Whether the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

impl Worker {
    pub(super) fn new(hook: Hook) -> Self {
        Worker {
            hook,
            held: BTreeMap::new(),
            held_bytes: 0,
            due: BTreeSet::new(),
            attempts: JoinSet::new(),
            cursor: 0,
            retried: RetryPlace::START,
            retry_at: Some(Timestamp::EPOCH),
            oldest: None,
            is_oldest_stale: true,
            outcomes: Outcomes::new(),
            recording: JoinSet::new(),
            store_retry_at: None,
            paused_until: None,
            outages: 0,
            reached: Timestamp::EPOCH,
        }
    }

    /// Runs until the gateway stops or the journal has ended.
    pub(super) async fn run(mut self) {
        let mut stop = self.hook.tools.stop.clone();
        loop {
            if self.store_retry_at.is_some_and(|at| at <= self.now()) {
                self.store_retry_at = None;
            }
            self.read_ahead().await;
            self.start_attempts();
            self.start_recording();
            self.show();
            let wake_at = self.next_wake();
            let clock = self.hook.tools.clock;
            let next = tokio::select! {
                biased;
                // An error means that the sender is gone, and with it the gateway.
                _ = stop.wait_for(|stop| *stop) => Next::Stop,
                Some(ended) = self.attempts.join_next() => {
                    self.take_reply(ended.ok());
                    Next::Go
                }
                Some(recorded) = self.recording.join_next() => self.take_recorded(recorded.ok()),
                () = self.hook.backlog.changed() => Next::Go,
                at = wake(&clock, wake_at) => {
                    self.reached = at;
                    Next::Go
                }
            };
            if next == Next::Stop {
                break;
            }
        }
        if timeout(STOP_GRACE, self.finish()).await.is_err() {
            tracing::debug!(hook = %self.hook.backlog.name, "calls under way are made again later");
        }
    }

    /// Lets attempts end, and records what came of them.
    async fn finish(&mut self) {
        while let Some(ended) = self.attempts.join_next().await {
            self.take_reply(ended.ok());
        }
        loop {
            self.start_recording();
            let Some(recorded) = self.recording.join_next().await else { return };
            if self.take_recorded(recorded.ok()) == Next::Stop || self.store_retry_at.is_some() {
                return;
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.hook.tools.clock.now().max(self.reached)
    }

    /// Whether the tables may be touched.
    fn is_store_back(&self) -> bool {
        self.store_retry_at.is_none()
    }

    fn note_store_failure(&mut self, error: &dyn std::error::Error) {
        let message = describe(error);
        tracing::warn!(hook = %self.hook.backlog.name, error = message, "a hook's tables fail");
        self.store_retry_at = Some(self.now() + STORE_RETRY);
    }

    /// Reads calls while there is room: all whose next attempt is due, and new ones while there are too
    /// few to be sent.
    async fn read_ahead(&mut self) {
        if let Some(before) = self.hook.backlog.take_rewind() {
            self.cursor = self.cursor.min(before);
        }
        while self.has_room() && self.retry_at.is_some_and(|at| at <= self.now()) {
            self.read_retries().await;
        }
        while self.due.len() < self.hook.config.concurrency
            && self.has_room()
            && self.cursor < self.hook.backlog.extent().last
        {
            self.read_new().await;
        }
        self.read_oldest().await;
    }

    fn has_room(&self) -> bool {
        self.held.len() + limits::HOOK_PAGE_MAX <= limits::HOOK_CALLS_HELD_MAX
            && self.held_bytes < limits::HOOK_CALL_BYTES_HELD_MAX
            && self.is_store_back()
    }

    async fn read_retries(&mut self) {
        let (behind, until) = (self.retried, self.now());
        let room = limits::HOOK_CALL_BYTES_HELD_MAX - self.held_bytes;
        let read = move |reader: &ReadConnection, row| {
            table::read_retries(reader.sqlite(), row, behind, until, room)
        };
        match self.read(read).await {
            Ok(DueRetries { calls, then_at }) => {
                self.retried = calls.last().map_or(behind, |(place, _)| *place);
                self.retry_at = then_at;
                calls.into_iter().for_each(|(_, call)| self.hold(call));
            }
            Err(error) => self.note_store_failure(&error),
        }
    }

    async fn read_new(&mut self) {
        let (cursor, room) = (self.cursor, limits::HOOK_CALL_BYTES_HELD_MAX - self.held_bytes);
        // What is committed after this is behind it, and not missed when the page is empty.
        let last = self.hook.backlog.extent().last;
        let read = move |reader: &ReadConnection, row| {
            table::read_calls(reader.sqlite(), row, cursor, room)
        };
        match self.read(read).await {
            Ok(calls) => {
                self.cursor = calls.last().map_or(last, |call| call.number);
                calls.into_iter().for_each(|call| self.hold(call));
            }
            Err(error) => self.note_store_failure(&error),
        }
    }

    async fn read_oldest(&mut self) {
        if self.hook.backlog.extent().pending() == 0 {
            self.oldest = None;
        } else if (self.is_oldest_stale || self.oldest.is_none()) && self.is_store_back() {
            match self.read(|reader, row| table::read_oldest(reader.sqlite(), row)).await {
                Ok(oldest) => (self.oldest, self.is_oldest_stale) = (oldest, false),
                Err(error) => self.note_store_failure(&error),
            }
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadConnection, HookRow) -> Result<T, SqliteError> + Send + 'static,
    ) -> Result<T, SqliteError> {
        let (reader, row) = (Arc::clone(&self.hook.tools.reader), self.hook.backlog.row);
        spawn_blocking(move || read(&reader.lock(), row))
            .await
            .expect("reading calls does not panic")
    }

    /// Takes a call that is due into memory. It is there already when it was read again: after a replay,
    /// or as a retry whose outcome is not recorded yet.
    fn hold(&mut self, call: Call) {
        if self.held.contains_key(&call.number) {
            return;
        }
        self.due.insert(call.number);
        self.held_bytes += call.payload.len();
        self.held.insert(call.number, call);
    }

    fn start_attempts(&mut self) {
        let now = self.now();
        if self.paused_until.is_some_and(|until| until > now) {
            return;
        }
        self.paused_until = None;
        let concurrency = if self.outages > 0 { 1 } else { self.hook.config.concurrency };
        while self.attempts.len() < concurrency
            && let Some(number) = self.due.pop_first()
        {
            self.start_attempt(number, now);
        }
    }

    fn start_attempt(&mut self, number: i64, now: Timestamp) {
        let call = self.held.get_mut(&number).expect("a call that is due is held");
        call.attempts = call.attempts.saturating_add(1);
        let Hook { backlog, client, .. } = &self.hook;
        let request = Request {
            rule: Arc::clone(&call.rule),
            call_id: format!("{}-{}", backlog.name, backlog.row.base + number),
            attempt: call.attempts,
            payload: call.payload.clone(),
        };
        let client = client.clone();
        self.attempts.spawn(async move {
            let started = Clock::instant();
            let reply = client.call(request, now).await;
            Ended { number, reply, took: started.elapsed() }
        });
    }

    /// `None` when the attempt panicked; its call then waits for the next start of the gateway.
    fn take_reply(&mut self, ended: Option<Ended>) {
        let Some(Ended { number, reply, took }) = ended else {
            tracing::error!(hook = %self.hook.backlog.name, "an attempt panicked");
            return;
        };
        self.hook.metrics.attempt_seconds.observe(took.as_secs_f64());
        self.hook.progress.lock().last_latency = Some(took);
        let attempts = self.held.get(&number).map_or(0, |call| call.attempts);
        let outcome = match reply {
            Reply::Accepted => {
                self.outages = 0;
                self.hook.metrics.succeeded.inc();
                Outcome::Done
            }
            Reply::Rejected { error } => {
                self.outages = 0;
                self.give_up(attempts, error)
            }
            Reply::Retry { error, retry_after, is_outage } => {
                self.note_outage(is_outage, retry_after);
                if attempts >= self.hook.config.attempts {
                    self.give_up(attempts, error)
                } else {
                    self.try_later(attempts, error, retry_after)
                }
            }
        };
        self.outcomes.insert(number, outcome);
    }

    /// Pauses when the destination fails as a whole. Attempts that began before the pause do not
    /// lengthen it, unless the receiver says how long it is.
    fn note_outage(&mut self, is_outage: bool, retry_after: Option<Duration>) {
        if !is_outage {
            self.outages = 0;
            return;
        }
        let now = self.now();
        let mut wait = retry_after.unwrap_or_default();
        if self.paused_until.is_none_or(|until| until <= now) {
            self.outages = self.outages.saturating_add(1);
            wait = wait.max(self.backoff().wait(self.outages));
        }
        self.paused_until = self.paused_until.max(Some(now + wait));
    }

    fn backoff(&self) -> Backoff {
        Backoff { first: self.hook.config.backoff, max: self.hook.config.backoff_max }
    }

    fn try_later(&self, attempts: u32, error: String, retry_after: Option<Duration>) -> Outcome {
        self.note_error(&error);
        let wait = self.backoff().wait(attempts).max(retry_after.unwrap_or_default());
        Outcome::Retry { attempts, next_at: self.now() + wait, error }
    }

    fn give_up(&mut self, attempts: u32, error: String) -> Outcome {
        self.note_error(&error);
        self.hook.metrics.dead.inc();
        tracing::warn!(hook = %self.hook.backlog.name, attempts, error, "a call is given up");
        Outcome::Dead { attempts, died_at: self.now(), error }
    }

    fn note_error(&self, error: &str) {
        self.hook.metrics.failed_attempts.inc();
        let failure = Failure { at: self.now(), message: error.to_owned() };
        self.hook.progress.lock().last_error = Some(failure);
    }

    fn start_recording(&mut self) {
        if self.outcomes.is_empty() || !self.recording.is_empty() || !self.is_store_back() {
            return;
        }
        let later = self
            .outcomes
            .keys()
            .nth(limits::HOOK_PAGE_MAX)
            .copied()
            .map(|first| self.outcomes.split_off(&first))
            .unwrap_or_default();
        let outcomes = std::mem::replace(&mut self.outcomes, later);
        let executor = self.hook.tools.executor.clone();
        let row = self.hook.backlog.row;
        self.recording.spawn(async move {
            let list: Vec<_> = outcomes.clone().into_iter().collect();
            let recorded = executor.execute(move |tx| table::record(tx, row, &list)).await;
            (outcomes, recorded)
        });
    }

    fn take_recorded(&mut self, ended: Option<(Outcomes, Result<Recorded, ExecuteError>)>) -> Next {
        let (outcomes, recorded) = ended.expect("waiting for a job does not panic");
        match recorded {
            Ok(recorded) => {
                self.hook.backlog.shrink(recorded);
                if recorded.letters > 0 {
                    self.hook.tools.backlogs.note_letters();
                }
                self.is_oldest_stale |= recorded.left > 0;
                for (number, outcome) in outcomes {
                    if let Some(call) = self.held.remove(&number) {
                        self.held_bytes -= call.payload.len();
                    }
                    if let Outcome::Retry { next_at, .. } = outcome {
                        self.note_retry(RetryPlace { next_at, number });
                    }
                }
                Next::Go
            }
            Err(ExecuteError::Closed) => Next::Stop,
            Err(error) => {
                self.note_store_failure(&error);
                for (number, outcome) in outcomes {
                    self.outcomes.entry(number).or_insert(outcome);
                }
                Next::Go
            }
        }
    }

    /// A retry is in the table.
    fn note_retry(&mut self, place: RetryPlace) {
        let before = RetryPlace { number: place.number - 1, ..place };
        self.retried = self.retried.min(before);
        self.retry_at = Some(self.retry_at.map_or(place.next_at, |at| at.min(place.next_at)));
    }

    /// When there is something to do although nothing ends and nothing comes.
    fn next_wake(&self) -> Option<Timestamp> {
        // Without room, what waits is read when something has gone.
        let waiting = if self.has_room() { self.retry_at } else { None };
        let is_idle = self.due.is_empty();
        let sending = match self.paused_until {
            // A pause matters when there is something to send behind it.
            Some(until) if is_idle => waiting.map(|at| at.max(until)),
            Some(until) => Some(until),
            None => waiting,
        };
        [sending, self.store_retry_at].into_iter().flatten().min()
    }

    fn show(&self) {
        let extent = self.hook.backlog.extent();
        self.hook.metrics.pending.set(i64::try_from(extent.pending()).unwrap_or(i64::MAX));
        self.hook.metrics.in_flight.set(i64::try_from(self.attempts.len()).unwrap_or(i64::MAX));
        let refused = &self.hook.metrics.refused;
        refused.inc_by(self.hook.backlog.refused().saturating_sub(refused.get()));
        let mut progress = self.hook.progress.lock();
        progress.oldest = self.oldest;
        self.hook.metrics.oldest.set(to_unix_seconds(progress.oldest));
        progress.paused_until = self.paused_until;
    }
}

/// Sleeps until `at`, which is the answer; for ever when there is none.
async fn wake(clock: &Clock, at: Option<Timestamp>) -> Timestamp {
    match at {
        Some(at) => {
            sleep_until(Instant::from_std(clock.instant_at(at))).await;
            at
        }
        None => std::future::pending().await,
    }
}
