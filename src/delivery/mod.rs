//! Delivery buffers: entries collect in the database and leave as files, by size and by age.
//!
//! The model is Firehose's. In: [`Appender`], driven by the journal's writer, adds the entries of a
//! commit to each delivery as one block and announces them in [`Backlogs`]. Out: one worker a
//! delivery writes files of JSON lines (see [`object`] for names and lines) as soon as
//! `buffer_bytes` wait or the oldest entry is `buffer_interval` old, whichever is first.
//!
//! Tables (SQL in [`table`]):
//!
//! | table | a row is | key |
//! |---|---|---|
//! | `delivery` | a delivery, and how far it has come (the floor) | name |
//! | `delivery_block` | the entries one commit added | delivery's row × 2^43 + block number |
//! | `delivery_batch` | the batch that may be on its way | delivery |
//!
//! Blocks are numbered without gaps and carry running totals, so what waits is known without
//! counting, and a batch's end is found by binary search.
//!
//! # Crash story
//!
//! A batch's bounds are committed before anything of it is written, and name its file. So:
//!
//! - a crash before that: the entries wait, as if nothing had begun;
//! - between that and the file's rename: the same entries are written to the same name again;
//! - between the rename and the end of the batch: the same file is written over with the same bytes;
//! - the end of the batch is one small transaction that moves the floor; blocks below it are
//!   deleted bit by bit, now or after the next batch.
//!
//! Each entry is therefore in exactly one file. The exception: who changes `directory` while a batch
//! is unfinished may find that batch in the old directory as well.
//!
//! An [`Outbox`] keeps its messages in the same tables, and nobody makes files of them.
//!
//! A delivery whose directory is missing, full or read-only tries again with growing waits; its
//! backlog grows in the database meanwhile, and neither the journal nor another delivery waits for
//! it. On shutdown nothing is flushed: what waits is on disk already, and goes on after the start,
//! also when rules and configuration do not name the delivery any more.

mod backlog;
mod block;
mod metrics;
mod object;
mod outbox;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::DeliveryConfig;
use crate::retry::Failure;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

pub use backlog::Backlogs;
pub use metrics::DeliveryMetrics;
pub use outbox::Entry;
pub use outbox::Outbox;
pub use outbox::PREFIX as OUTBOX_PREFIX;
pub use outbox::Page;
pub use outbox::Waiting;
pub use table::Appender;
pub(crate) use table::SCHEMA;

use worker::Progress;
use worker::STOP_GRACE;
use worker::Tools;
use worker::Worker;

/// Why deliveries cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The configured ones could not be recorded.
    #[error("cannot record the configured deliveries")]
    Declare(#[from] ExecuteError),
    /// The tables could not be read.
    #[error("cannot read the tables of deliveries")]
    Read(#[from] SqliteError),
}

/// One delivery as it stands.
#[derive(Clone, Debug)]
pub struct DeliveryStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where its files go.
    pub directory: PathBuf,
    /// Flushed when this many bytes wait.
    pub buffer_bytes: usize,
    /// Flushed when the oldest entry is this old.
    pub buffer_interval: Duration,
    /// Entries that wait.
    pub buffered_records: u64,
    /// Bytes of their data.
    pub buffered_bytes: u64,
    /// Arrival of the oldest that waits.
    pub oldest: Option<Timestamp>,
    /// Records delivered since the start.
    pub records: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Files written since the start.
    pub files: u64,
    /// The newest of them.
    pub last_file: Option<PathBuf>,
    /// Failed flushes since the start.
    pub failures: u64,
    /// Failed flushes since the last good one; 0 when all is well.
    pub failures_in_row: u32,
    /// The newest of them.
    pub last_error: Option<Failure>,
}

/// Is told when a delivery begins to fail.
pub trait FailureSink: std::fmt::Debug + Send + Sync + 'static {
    /// A batch of `delivery` could not be written; it is tried again, and not told of again before a
    /// batch was written. Never waits.
    fn failed(&self, delivery: &Arc<str>, at: Timestamp, error: &str);
}

/// What deliveries work with.
#[derive(Debug)]
pub struct DeliverySetup {
    /// To the journal's writer, which must be running.
    pub executor: Executor,
    /// A connection of their own.
    pub reader: ReadConnection,
    /// Shared with the journal's [`Appender`].
    pub backlogs: Arc<Backlogs>,
    /// `[delivery.NAME]`; others have the defaults.
    pub config: BTreeMap<String, DeliveryConfig>,
    /// Files without a configured directory go to `delivery/NAME` in here.
    pub data_dir: PathBuf,
    /// The process's clock.
    pub clock: Clock,
    /// Is told of failures.
    pub failures: Arc<dyn FailureSink>,
    /// Registered by the caller.
    pub metrics: DeliveryMetrics,
}

type Workers = Arc<Mutex<BTreeMap<Arc<str>, Worker>>>;

/// All deliveries at work.
#[derive(Debug)]
pub struct Deliveries {
    /// Written by the supervisor, read for the status.
    workers: Workers,
    stop: watch::Sender<bool>,
    abort: Arc<AtomicBool>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Deliveries {
    /// Makes the configured deliveries, finds what waits from earlier runs, and sets to work.
    pub async fn start(setup: DeliverySetup) -> Result<Deliveries, DeliveryError> {
        let DeliverySetup {
            executor,
            reader,
            backlogs,
            config,
            data_dir,
            clock,
            failures,
            metrics,
        } = setup;
        let names: Vec<Arc<str>> = config.keys().map(|name| Arc::from(name.as_str())).collect();
        let now = clock.now();
        executor.execute(move |tx| table::declare(tx, &names, now)).await?;
        for (name, row) in table::list(reader.sqlite())? {
            let mut found = table::load_extent(reader.sqlite(), row)?;
            found.oldest = found.oldest.map(|oldest| oldest.min(now));
            backlogs.register(&name, row, found);
        }
        let (stop, stopped) = watch::channel(false);
        let abort = Arc::new(AtomicBool::new(false));
        let tools = Tools {
            executor,
            reader: Arc::new(Mutex::new(reader)),
            clock,
            failures,
            stop: stopped,
            abort: Arc::clone(&abort),
        };
        let workers = Workers::default();
        let mut supervisor = Supervisor {
            tools,
            backlogs,
            config,
            data_dir,
            metrics,
            workers: Arc::clone(&workers),
            tasks: JoinSet::new(),
        };
        supervisor.start_missing();
        let supervisor = Mutex::new(Some(tokio::spawn(supervisor.run())));
        Ok(Deliveries { workers, stop, abort, supervisor })
    }

    /// All deliveries, by name. Answers from memory.
    pub fn status(&self) -> Vec<DeliveryStatus> {
        self.workers.lock().values().map(to_status).collect()
    }

    /// Stops before the journal does. A file under way is finished if that is quick, else given up;
    /// its batch goes on after the next start.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let Some(mut supervisor) = self.supervisor.lock().take() else { return };
        if timeout(STOP_GRACE, &mut supervisor).await.is_err() {
            self.abort.store(true, Ordering::Relaxed);
            // A file system that does not answer must not keep the gateway from ending.
            if timeout(STOP_GRACE, &mut supervisor).await.is_err() {
                supervisor.abort();
                tracing::warn!(
                    "a delivery's directory does not answer; its batch is left unfinished"
                );
            }
        }
    }
}

fn to_status(worker: &Worker) -> DeliveryStatus {
    let extent = worker.backlog.extent();
    let progress = worker.progress.lock();
    DeliveryStatus {
        name: Arc::clone(&worker.backlog.name),
        directory: worker.directory.clone(),
        buffer_bytes: worker.config.buffer_bytes,
        buffer_interval: worker.config.buffer_interval,
        buffered_records: extent.records(),
        buffered_bytes: extent.bytes(),
        oldest: extent.oldest,
        records: worker.metrics.records.get(),
        bytes: worker.metrics.record_bytes.get(),
        files: worker.metrics.files.get(),
        last_file: progress.last_file.clone(),
        failures: worker.metrics.failures.get(),
        failures_in_row: progress.failures_in_row,
        last_error: progress.last_error.clone(),
    }
}

/// Starts a worker for every delivery that appears.
struct Supervisor {
    tools: Tools,
    backlogs: Arc<Backlogs>,
    config: BTreeMap<String, DeliveryConfig>,
    data_dir: PathBuf,
    metrics: DeliveryMetrics,
    workers: Workers,
    tasks: JoinSet<()>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut stop = self.tools.stop.clone();
        loop {
            tokio::select! {
                biased;
                // An error means that the sender is gone, and with it the gateway.
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.backlogs.added() => self.start_missing(),
                Some(ended) = self.tasks.join_next() => note_end(&ended),
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            note_end(&ended);
        }
    }

    fn start_missing(&mut self) {
        let mut workers = self.workers.lock();
        for backlog in self.backlogs.list() {
            if workers.contains_key(&backlog.name) || outbox::is_outbox(&backlog.name) {
                continue;
            }
            let name = Arc::clone(&backlog.name);
            let config = self.config.get(&*name).cloned().unwrap_or_default();
            let worker = Worker {
                tools: self.tools.clone(),
                directory: directory_of(&name, &config, &self.data_dir),
                config,
                metrics: self.metrics.of(&name),
                progress: Arc::new(Mutex::new(Progress::default())),
                backlog,
            };
            self.tasks.spawn(worker.clone().run());
            workers.insert(name, worker);
        }
    }
}

/// A worker ends early only by a bug or because the journal has ended; then its backlog waits for the
/// next start.
fn note_end(ended: &Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a delivery's worker panicked");
    }
}

fn directory_of(name: &str, config: &DeliveryConfig, data_dir: &Path) -> PathBuf {
    match &config.directory {
        Some(directory) => directory.clone(),
        None => data_dir.join("delivery").join(&*object::to_path_part(name)),
    }
}
