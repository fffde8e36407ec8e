//! Hooks: calls collect in the database and are made, with retries and dead letters: over HTTP, or to a
//! [`function`] that runs beside the gateway.
//!
//! In: [`Appender`], driven by the journal's writer, adds the calls of a commit and announces them in
//! [`Backlogs`]. Out: one worker a hook ([`worker`]) sends `POST` requests. A request carries the
//! output of the rule as its body, and
//!
//! - `Content-Type`: `application/json`, or `application/octet-stream` when the output is none;
//! - `X-Tidegate-Rule`: the rule's name;
//! - `X-Tidegate-Call-Id`: the same in all attempts of a call, and in no other call;
//! - `X-Tidegate-Attempt`: 1, 2, …;
//! - the configured headers.
//!
//! Promise: each call is made until its destination answers 2xx, at least once. A crash can repeat
//! one, so a receiver that must not act twice remembers call ids. What cannot be delivered ([`client`]
//! says when) becomes a dead letter, with the last error; so does a call that comes while
//! [`crate::limits::HOOK_BACKLOG_MAX`] others wait. Dead letters are reported to [`DeadLetterSink`]
//! for the rule's ON ERROR actions, listed, and can be sent again ([`Hooks::replay`]).
//!
//! Tables (SQL in [`table`]):
//!
//! | table | a row is | key |
//! |---|---|---|
//! | `hook` | a hook, and how far it has come | name |
//! | `hook_call` | a call that waits or is under way | hook's row × 2^43 + call number |
//! | `hook_retry` | the failed attempts of such a call | the call's key |
//! | `hook_dead_letter` | a call that was given up | hook's row × 2^43 + letter number |
//!
//! A rule may also wait for an answer, with `aws_lambda()`: such a call is none of these ([`Caller`]).
//!
//! Here a row a call, not a block a commit: each call ends by itself.
//!
//! Calls of a hook that the configuration does not name any more wait until it does again.

mod backlog;
mod caller;
mod client;
mod function;
mod metrics;
mod reporter;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::HookConfig;
use crate::limits;
use crate::retry::Failure;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

pub use backlog::Backlogs;
pub use caller::Caller;
pub use caller::Owner;
pub use client::ClientError;
pub use metrics::HookMetrics;
pub use reporter::DeadLetterSink;
pub use table::Appender;
pub(crate) use table::LETTERS_SCHEMA;
pub(crate) use table::NewCall;
pub(crate) use table::SCHEMA;

use backlog::Backlog;
use client::HookClient;
use worker::Hook;
use worker::Progress;
use worker::STOP_GRACE;
use worker::Tools;
use worker::Worker;

/// Why hooks cannot start, or cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The configuration of one cannot be used.
    #[error("hook '{name}'")]
    Client {
        /// Which.
        name: String,
        /// Why.
        source: ClientError,
    },
    /// The change was not stored.
    #[error("cannot change the tables of hooks")]
    Record(#[from] ExecuteError),
    /// The tables could not be read.
    #[error("cannot read the tables of hooks")]
    Read(#[from] SqliteError),
    /// No hook has this name.
    #[error("there is no hook '{0}'")]
    Unknown(String),
}

/// A call that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Grows in each hook.
    pub id: u64,
    /// What receivers saw behind the hook's name in `X-Tidegate-Call-Id`.
    pub call: u64,
    /// Rule that called.
    pub rule: Arc<str>,
    /// Request body.
    pub payload: Bytes,
    /// When the message came that caused the call.
    pub at: Timestamp,
    /// When it was given up.
    pub died_at: Timestamp,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last one failed, or why there was none.
    pub error: String,
    /// How many REPUBLISH and STREAM actions the message that caused the call had passed.
    pub hops: u8,
    /// Whether the rule's ON ERROR actions run: not after a call that they made themselves.
    pub for_error: bool,
}

/// One hook as it stands.
#[derive(Clone, Debug)]
pub struct HookStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What is called: scheme, host and port, or a program; `None` when the configuration does not name it.
    pub url: Option<String>,
    /// Calls that wait or are under way.
    pub pending: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Arrival of the oldest pending call.
    pub oldest: Option<Timestamp>,
    /// Calls that succeeded since the start.
    pub succeeded: u64,
    /// Attempts that failed since the start.
    pub failed_attempts: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Calls refused since the start because too many waited.
    pub refused: u64,
    /// The newest failed attempt.
    pub last_error: Option<Failure>,
    /// How long the newest attempt took.
    pub last_latency: Option<Duration>,
    /// Nothing is sent before, because the destination fails as a whole.
    pub paused_until: Option<Timestamp>,
}

/// What hooks work with.
pub struct HookSetup {
    /// To the journal's writer, which must be running.
    pub executor: Executor,
    /// A connection of their own.
    pub reader: ReadConnection,
    /// Shared with the journal's [`Appender`].
    pub backlogs: Arc<Backlogs>,
    /// What calls them.
    pub caller: Arc<Caller>,
    /// Runs ON ERROR.
    pub sink: Arc<dyn DeadLetterSink>,
    /// The process's clock.
    pub clock: Clock,
    /// Registered by the caller.
    pub metrics: HookMetrics,
}

/// All hooks at work.
#[derive(Debug)]
pub struct Hooks {
    hooks: BTreeMap<Arc<str>, Hook>,
    tools: Tools,
    caller: Arc<Caller>,
    stop: watch::Sender<bool>,
    workers: tokio::sync::Mutex<JoinSet<()>>,
    reporter: JoinHandle<()>,
}

impl Hooks {
    /// Finds what waits from earlier runs, and sets to work.
    pub async fn start(setup: HookSetup) -> Result<Hooks, HookError> {
        let HookSetup { executor, reader, backlogs, caller, sink, clock, metrics } = setup;
        let to_declared = |(name, config, _): (&str, &HookConfig, &HookClient)| {
            (Arc::from(name), retry_max(config))
        };
        let declared: Vec<(Arc<str>, Duration)> = caller.hooks().map(to_declared).collect();
        let now = clock.now();
        executor.execute(move |tx| table::declare(tx, &declared, now)).await?;
        for (name, row) in table::list(reader.sqlite())? {
            let extent = table::load_extent(reader.sqlite(), row)?;
            backlogs.register(&name, &Arc::new(Backlog::new(Arc::clone(&name), row, extent)));
        }
        let (stop, stopped) = watch::channel(false);
        let reader = Arc::new(Mutex::new(reader));
        let tools = Tools { executor, reader, backlogs, clock, stop: stopped };
        let mut hooks = BTreeMap::new();
        let mut workers = JoinSet::new();
        for (name, config, client) in caller.hooks() {
            // All have been declared.
            let Some(backlog) = tools.backlogs.find(name) else { continue };
            let name = Arc::clone(&backlog.name);
            let hook = Hook {
                tools: tools.clone(),
                config: config.clone(),
                client: client.clone(),
                metrics: metrics.of(&name),
                progress: Arc::new(Mutex::new(Progress::default())),
                backlog,
            };
            workers.spawn(Worker::new(hook.clone()).run());
            hooks.insert(name, hook);
        }
        caller.tend();
        let reporter = tokio::spawn(reporter::run(tools.clone(), sink));
        let workers = tokio::sync::Mutex::new(workers);
        Ok(Hooks { hooks, tools, caller, stop, workers, reporter })
    }

    /// All hooks, by name. Answers from memory.
    pub fn status(&self) -> Vec<HookStatus> {
        let backlogs = self.tools.backlogs.list();
        backlogs.iter().map(|backlog| to_status(backlog, self.hooks.get(&backlog.name))).collect()
    }

    /// Dead letters of `hook`, newest first, with ids below `before`, at most `limit`.
    pub async fn dead_letters(
        &self,
        hook: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, HookError> {
        let row = self.find(hook)?.row;
        let reader = Arc::clone(&self.tools.reader);
        let read = move || table::read_letters(reader.lock().sqlite(), row, before, limit);
        Ok(spawn_blocking(read).await.expect("reading dead letters does not panic")?)
    }

    /// Sends the dead letters of `hook` with ids up to `until` again, each under its old call id and
    /// with all its attempts; answers how many.
    pub async fn replay(&self, hook: &str, until: u64) -> Result<u64, HookError> {
        let backlog = self.find(hook)?;
        let row = backlog.row;
        let mut replayed = 0;
        while let Some((count, lowest)) =
            self.tools.executor.execute(move |tx| table::replay(tx, row, until)).await?
        {
            backlog.revive(count, lowest);
            replayed += count.unsigned_abs();
        }
        Ok(replayed)
    }

    /// Stops before the journal does. Attempts under way may end if that is quick; the others are
    /// made again after the next start.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        self.reporter.abort();
        let mut workers = self.workers.lock().await;
        let ended = async {
            while let Some(ended) = workers.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(error = %error, "a hook's worker panicked");
                }
            }
        };
        // Workers keep to the grace themselves; twice of it means that the journal does not answer.
        if timeout(STOP_GRACE * 2, ended).await.is_err() {
            workers.abort_all();
        }
        self.caller.stop();
    }

    fn find(&self, hook: &str) -> Result<Arc<Backlog>, HookError> {
        self.tools.backlogs.find(hook).ok_or_else(|| HookError::Unknown(hook.to_owned()))
    }
}

/// The longest that a call waits for its next attempt.
fn retry_max(config: &HookConfig) -> Duration {
    config.backoff_max.max(limits::HOOK_RETRY_AFTER_MAX)
}

fn to_status(backlog: &Backlog, hook: Option<&Hook>) -> HookStatus {
    let extent = backlog.extent();
    let mut status = HookStatus {
        name: Arc::clone(&backlog.name),
        url: None,
        pending: extent.pending(),
        in_flight: 0,
        oldest: None,
        succeeded: 0,
        failed_attempts: 0,
        dead_letters: extent.letters.unsigned_abs(),
        refused: backlog.refused(),
        last_error: None,
        last_latency: None,
        paused_until: None,
    };
    if let Some(hook) = hook {
        let progress = hook.progress.lock();
        status.url = Some(hook.client.shown());
        status.in_flight = hook.metrics.in_flight.get().unsigned_abs();
        status.oldest = progress.oldest;
        status.succeeded = hook.metrics.succeeded.get();
        status.failed_attempts = hook.metrics.failed_attempts.get();
        status.last_error.clone_from(&progress.last_error);
        status.last_latency = progress.last_latency;
        status.paused_until = progress.paused_until;
    }
    status
}
