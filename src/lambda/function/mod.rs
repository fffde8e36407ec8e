//! Functions: processes of our own that speak AWS Lambda's Runtime API, and are called instead of a URL.
//!
//! A function written for Lambda runs here with nothing changed: the gateway starts the configured command (Python
//! with `awslambdaric`, say, or any `bootstrap` executable), and its runtime client fetches events from
//! the [`runtime_api`] that the [`Instance`] serves on loopback.
//!
//! An instance has one invocation at a time. There are as many as calls overlap, at most `concurrency`;
//! one that has nothing to do stays warm for `idle_max`, and `instances_min` stay always. An instance
//! that crashes, or has no answer in time, is ended with all that it started, and another takes its
//! place; one that cannot start is not tried again at once. All of it is gone when the gateway stops;
//! when the gateway is killed, runtime clients find nobody to ask and end themselves.

mod instance;
mod log;
mod runtime_api;

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::config::FunctionConfig;
use crate::config::HookConfig;
use crate::limits;
use crate::retry::Backoff;

use super::client::Request;
use super::metrics::FunctionMetrics;
use instance::Failed;
use instance::Instance;

/// How often instances that nobody needs are looked for.
const TEND_PERIOD: Duration = Duration::from_secs(1);

/// What is known of a function besides its configuration.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// Its hook's name.
    pub(super) name: Arc<str>,
    /// Its ARN has it.
    pub(super) account_id: String,
    /// The same, and what SDKs inside of it take for their region unless its configuration says something else.
    pub(super) region: String,
    /// Deadlines are told in its time.
    pub(super) clock: Clock,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InvokeError {
    /// In the function's own words, or of what became of its process.
    Failed(String),
    /// No instance can be had.
    NotStarted(String),
}

/// All instances of a function.
#[derive(Clone, Debug)]
pub(super) struct Function(Arc<Fleet>);

#[derive(Debug)]
struct Fleet {
    named: Named,
    config: FunctionConfig,
    /// For one invocation.
    timeout: Duration,
    /// A turn for each invocation under way.
    turns: Semaphore,
    idle: Mutex<Vec<Idle>>,
    starts: Mutex<Starts>,
    is_stopped: AtomicBool,
    metrics: FunctionMetrics,
}

/// An instance that has nothing to do.
#[derive(Debug)]
struct Idle {
    instance: Instance,
    since: Instant,
}

/// How the last starts went.
#[derive(Debug, Default)]
struct Starts {
    failures: u32,
    /// Why the last one failed, and when another may be tried.
    failed: Option<(String, Instant)>,
}

impl Function {
    /// A function of `config`, called as `hook` says. Starts nothing before the first call unless
    /// `instances_min` does.
    pub(super) fn new(
        named: Named,
        config: &FunctionConfig,
        hook: &HookConfig,
        metrics: FunctionMetrics,
    ) -> Function {
        Function(Arc::new(Fleet {
            named,
            config: config.clone(),
            timeout: hook.timeout,
            turns: Semaphore::new(hook.concurrency),
            idle: Mutex::default(),
            starts: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            metrics,
        }))
    }

    /// Keeps the fleet as large as it is to be, until it is stopped.
    pub(super) fn tend(&self) {
        tokio::spawn(tend(Arc::downgrade(&self.0)));
    }

    /// The program, as it may be shown.
    pub(super) fn program(&self) -> &str {
        self.0.config.command.first().map_or("", String::as_str)
    }

    /// What the function answers to `event`. An invocation that nobody waits for any more goes on.
    pub(super) async fn invoke(&self, event: Request) -> Result<Bytes, InvokeError> {
        let fleet = Arc::clone(&self.0);
        let invoked = tokio::spawn(async move { fleet.invoke(event).await });
        let panicked = |_| Err(InvokeError::Failed("the invocation panicked".to_owned()));
        invoked.await.unwrap_or_else(panicked)
    }

    /// Ends all instances; none is started from now on.
    pub(super) fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::Release);
        self.0.idle.lock().clear();
    }
}

impl Fleet {
    async fn invoke(&self, event: Request) -> Result<Bytes, InvokeError> {
        // Only closing it would be an error, and nobody does.
        let _turn = self.turns.acquire().await;
        loop {
            let (mut instance, was_idle) = match self.take_idle() {
                Some(instance) => (instance, true),
                None => (self.start().await.map_err(InvokeError::NotStarted)?, false),
            };
            match instance.invoke(event.clone(), self.timeout).await {
                Ok(answer) => {
                    self.rest(instance);
                    return Ok(answer);
                }
                Err(Failed::Function(said)) => {
                    self.rest(instance);
                    return Err(InvokeError::Failed(said));
                }
                // It ended while it rested, only nobody had seen it yet: its end is not the event's.
                Err(Failed::Untaken(_)) if was_idle => self.count_crash(),
                Err(Failed::Process(said) | Failed::Untaken(said)) => {
                    self.count_crash();
                    return Err(InvokeError::Failed(said));
                }
            }
        }
    }

    fn count_crash(&self) {
        self.metrics.crashed.inc();
    }

    fn take_idle(&self) -> Option<Instance> {
        let mut idle = self.idle.lock();
        while let Some(Idle { mut instance, .. }) = idle.pop() {
            if instance.is_alive() {
                return Some(instance);
            }
            self.count_crash();
        }
        None
    }

    fn rest(&self, instance: Instance) {
        let mut idle = self.idle.lock();
        // Looked at under the lock: whoever stops empties the list after.
        if !self.is_stopped.load(Ordering::Acquire) {
            idle.push(Idle { instance, since: Clock::instant() });
        }
    }

    async fn start(&self) -> Result<Instance, String> {
        if self.is_stopped.load(Ordering::Acquire) {
            return Err("the gateway is shutting down".to_owned());
        }
        if let Some((why, until)) = &self.starts.lock().failed
            && *until > Clock::instant()
        {
            return Err(why.clone());
        }
        match Instance::start(&self.named, &self.config, &self.metrics).await {
            Ok(instance) => {
                *self.starts.lock() = Starts::default();
                Ok(instance)
            }
            Err(why) => {
                self.metrics.not_started.inc();
                tracing::warn!(hook = %self.named.name, error = why, "a function did not start");
                let mut starts = self.starts.lock();
                starts.failures = starts.failures.saturating_add(1);
                let backoff = Backoff {
                    first: limits::FUNCTION_START_BACKOFF,
                    max: limits::FUNCTION_START_BACKOFF_MAX,
                };
                let wait = backoff.ceiling(starts.failures);
                starts.failed = Some((why.clone(), Clock::instant() + wait));
                Err(why)
            }
        }
    }

    /// Ends who has rested too long, and starts who is to be there.
    async fn keep_size(&self) {
        let now = Clock::instant();
        let mut ended = Vec::new();
        {
            let mut idle = self.idle.lock();
            let mut spare = self.running().saturating_sub(self.config.instances_min);
            // The longest resting is in front.
            while let Some(front) = idle.first_mut() {
                let is_old = spare > 0 && now.duration_since(front.since) >= self.config.idle_max;
                if !is_old && front.instance.is_alive() {
                    break;
                }
                spare = spare.saturating_sub(1);
                ended.push(idle.remove(0));
            }
        }
        drop(ended);
        while self.running() < self.config.instances_min {
            let Ok(instance) = self.start().await else { return };
            self.rest(instance);
        }
    }

    fn running(&self) -> usize {
        usize::try_from(self.metrics.instances.get()).unwrap_or_default()
    }
}

async fn tend(fleet: Weak<Fleet>) {
    while let Some(fleet) =
        fleet.upgrade().filter(|fleet| !fleet.is_stopped.load(Ordering::Acquire))
    {
        fleet.keep_size().await;
        drop(fleet);
        sleep(TEND_PERIOD).await;
    }
}
