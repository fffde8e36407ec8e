//! Delivery buffers: entries collect in the database and leave as files, by size and by age.
//!
//! The model is Firehose's. In: [`Accounts`] says which partition a record belongs to and whether there is
//! room; [`Appender`], driven by the journal's writer, adds the entries of a
//! commit to each buffer as one block and announces them in [`Backlogs`]. Out: one worker a
//! buffer writes files (see [`layout`] for names, [`form`] for records, [`columnar`] for Parquet, [`packing`] for compression) as soon as
//! `buffer_bytes` wait, the oldest entry is `buffer_interval` old, or a flush is asked for.
//!
//! A delivery has one buffer, or one for each partition that has something to deliver, and one for what
//! could not be delivered ([`buffer_name`]). All are the same to the tables (SQL in [`table`]):
//!
//! | table | a row is | key |
//! |---|---|---|
//! | `delivery` | a buffer, and how far it has come (the floor) | name |
//! | `delivery_block` | the entries one commit added | buffer's row × 2^43 + block number |
//! | `delivery_batch` | the batch that may be on its way | buffer |
//! | `delivery_made` | a delivery that a program has made ([`made`]) | name |
//! | `delivery_retired` | the highest entry id of the buffers of partitions that were taken away | one row |
//!
//! Blocks are numbered without gaps and carry running totals, so what waits is known without
//! counting, and a batch's end is found by binary search. The buffer of a partition goes when nothing has
//! waited in it for [`crate::limits::DELIVERY_PARTITION_IDLE`]; its task asks the writer, which looks once more, and in the same
//! step makes the appender forget it.
//!
//! # Crash story
//!
//! A batch's bounds, the name of its file and its form are committed before anything of it is written. So:
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
//! A stop writes what waits, unless that takes long or `flush_on_stop` is off: it
//! is on disk already, and goes on after the start, also when rules and configuration do not name the
//! delivery any more.

mod account;
mod backlog;
mod batch_file;
mod block;
mod buffer_name;
mod columnar;
mod failed_record;
mod fields;
mod form;
mod layout;
mod made;
mod metrics;
mod object;
mod outbox;
mod packing;
mod put;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::limits;
use crate::retry::Failure;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

pub use account::Accounts;
pub use account::DeliveryFull;
pub use backlog::Backlogs;
pub use buffer_name::delivery_of;
pub use made::MadeDeliveries;
pub use made::MadeDelivery;
pub use made::NotMade;
pub use metrics::DeliveryMetrics;
pub use outbox::Entry;
pub use outbox::Outbox;
pub use outbox::PREFIX as OUTBOX_PREFIX;
pub use outbox::Page;
pub use outbox::Waiting;
pub use put::DeliveryPut;
pub use table::Appender;
pub(crate) use table::FORM_SCHEMA;
pub(crate) use table::MADE_SCHEMA;
pub(crate) use table::PARTITION_SCHEMA;
pub(crate) use table::SCHEMA;
pub use table::load_made;

use backlog::Backlog;
use worker::STOP_GRACE;
use worker::Shared;
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
    /// Buffers it has: partitions, and one of errors, as far as something waits or has lately.
    pub buffers: usize,
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

/// Why a flush that was asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushFailure {
    /// There is no such delivery.
    #[error("there is no such delivery")]
    Unknown,
    /// A batch could not be written; it is tried again.
    #[error("a batch could not be delivered, and is tried again: {0}")]
    Failed(String),
    /// It is still under way.
    #[error("the flush takes longer than {:?}; it goes on", limits::DELIVERY_FLUSH_WAIT)]
    TakesLong,
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
    /// The settings of deliveries. Shared with whoever asks whether there is room.
    pub accounts: Arc<Accounts>,
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
    backlogs: Arc<Backlogs>,
    accounts: Arc<Accounts>,
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
            accounts,
            data_dir,
            clock,
            failures,
            metrics,
        } = setup;
        backlogs.keep_accounts(Arc::clone(&accounts));
        let names: Vec<Arc<str>> = accounts.declared().into_iter().map(Arc::from).collect();
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
            backlogs: Arc::clone(&backlogs),
            stop: stopped,
            abort: Arc::clone(&abort),
        };
        let workers = Workers::default();
        let (all, settings) = (Arc::clone(&backlogs), Arc::clone(&accounts));
        let mut supervisor = Supervisor {
            tools,
            backlogs,
            accounts,
            data_dir,
            metrics,
            workers: Arc::clone(&workers),
            shared: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        supervisor.start_missing();
        let supervisor = Mutex::new(Some(tokio::spawn(supervisor.run())));
        Ok(Deliveries { backlogs: all, accounts: settings, workers, stop, abort, supervisor })
    }

    /// All deliveries, by name. Answers from memory.
    pub fn status(&self) -> Vec<DeliveryStatus> {
        let mut all: Vec<DeliveryStatus> = Vec::new();
        // The buffers of a delivery stand side by side: their names begin with its name and a character
        // before all that names have.
        for worker in self.workers.lock().values() {
            match all.last_mut().filter(|last| last.name == worker.delivery.name) {
                Some(last) => add_buffer(last, worker),
                None => all.push(to_status(worker)),
            }
        }
        all
    }

    /// Writes what waits in `name` now, in all its partitions; answers when it is delivered.
    ///
    /// # Errors
    /// There is no such delivery, a batch failed (it is tried again), or it takes long (it goes on).
    pub async fn flush(&self, name: &str) -> Result<(), FlushFailure> {
        // Not of the workers: that of a partition that has just come may not have begun.
        let buffers = self.buffers(|delivery| delivery == name);
        if buffers.is_empty() {
            return Err(FlushFailure::Unknown);
        }
        let flushed = try_join_all(buffers.iter().map(|buffer| buffer.flush()));
        match timeout(limits::DELIVERY_FLUSH_WAIT, flushed).await {
            Ok(flushed) => flushed.map(drop).map_err(FlushFailure::Failed),
            Err(_) => Err(FlushFailure::TakesLong),
        }
    }

    /// A delivery has other settings.
    fn settings_changed(&self, name: &str) {
        for buffer in self.buffers(|delivery| delivery == name) {
            buffer.settings_changed();
        }
    }

    /// A delivery has been deleted: its buffers go, in which nothing waits.
    fn end(&self, name: &str) {
        let has_buffers = !self.buffers(|delivery| delivery == name).is_empty();
        self.accounts.end(name, has_buffers);
        self.settings_changed(name);
    }

    /// The buffers of the deliveries that are `wanted`, by their names.
    fn buffers(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Backlog>> {
        let mut buffers = self.backlogs.list();
        buffers.retain(|buffer| {
            let delivery = buffer_name::delivery_of(&buffer.name);
            !outbox::is_outbox(delivery) && wanted(delivery)
        });
        buffers
    }

    /// Stops before the journal does, and before that writes what waits where that is wanted. A file under
    /// way is finished if that is quick, else given up; its batch goes on after the next start.
    pub async fn shutdown(&self) {
        let is_wanted = |name: &str| self.accounts.settings(name).flush_on_stop;
        let buffers = self.buffers(is_wanted);
        // One that fails is told of by its worker, and holds up nobody.
        let flushed = join_all(buffers.iter().map(|buffer| buffer.flush()));
        if timeout(limits::DELIVERY_STOP_FLUSH, flushed).await.is_err() {
            tracing::warn!(
                "not all that waits could be delivered before the stop; it goes on after"
            );
        }
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
    let delivery = &worker.delivery;
    let config = delivery.config();
    let mut status = DeliveryStatus {
        name: Arc::clone(&delivery.name),
        directory: delivery.directory(&config),
        buffer_bytes: config.buffer_bytes,
        buffer_interval: config.buffer_interval,
        buffers: 0,
        buffered_records: 0,
        buffered_bytes: 0,
        oldest: None,
        records: delivery.metrics.records.get(),
        bytes: delivery.metrics.record_bytes.get(),
        files: delivery.metrics.files.get(),
        last_file: delivery.last_file.lock().clone(),
        failures: delivery.metrics.failures.get(),
        failures_in_row: 0,
        last_error: delivery.last_error.lock().clone(),
    };
    add_buffer(&mut status, worker);
    status
}

fn add_buffer(status: &mut DeliveryStatus, worker: &Worker) {
    let extent = worker.backlog.extent();
    status.buffers += 1;
    status.buffered_records += extent.records();
    status.buffered_bytes += extent.bytes();
    status.oldest = status.oldest.into_iter().chain(extent.oldest).min();
    status.failures_in_row = status.failures_in_row.max(worker.backlog.failures_in_row());
}

/// Starts a worker for every delivery that appears.
struct Supervisor {
    tools: Tools,
    backlogs: Arc<Backlogs>,
    accounts: Arc<Accounts>,
    data_dir: PathBuf,
    metrics: DeliveryMetrics,
    workers: Workers,
    /// By delivery; as many as rules and configuration name.
    shared: BTreeMap<Arc<str>, Arc<Shared>>,
    tasks: JoinSet<Arc<Backlog>>,
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
                Some(ended) = self.tasks.join_next() => self.note_end(ended),
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.note_end(ended);
        }
    }

    /// The worker of a partition ends with it. Another ends early only by a bug or because the journal has
    /// ended; then its backlog waits for the next start.
    fn note_end(&mut self, ended: Result<Arc<Backlog>, JoinError>) {
        match ended {
            Ok(backlog) if *self.tools.stop.borrow() => drop(backlog),
            Ok(backlog) => {
                let mut workers = self.workers.lock();
                let is_its = |worker: &Worker| Arc::ptr_eq(&worker.backlog, &backlog);
                // One that came back at once has a worker of its own by now.
                if workers.get(&backlog.name).is_some_and(is_its) {
                    workers.remove(&backlog.name);
                }
                let delivery = buffer_name::delivery_of(&backlog.name);
                let is_left = workers.values().any(|worker| *worker.delivery.name == *delivery);
                if !is_left && self.accounts.is_over(delivery) {
                    self.shared.remove(delivery);
                    self.metrics.forget(delivery);
                }
            }
            Err(error) => tracing::error!(error = %error, "a delivery's worker panicked"),
        }
    }

    fn start_missing(&mut self) {
        for backlog in self.backlogs.list() {
            let is_same = |worker: &Worker| Arc::ptr_eq(&worker.backlog, &backlog);
            let is_there = self.workers.lock().get(&backlog.name).is_some_and(is_same);
            if is_there || outbox::is_outbox(&backlog.name) {
                continue;
            }
            let delivery = self.delivery(buffer_name::delivery_of(&backlog.name));
            let worker = Worker::new(self.tools.clone(), delivery, Arc::clone(&backlog));
            let task = worker.clone().run();
            self.workers.lock().insert(Arc::clone(&backlog.name), worker);
            self.tasks.spawn(async move {
                task.await;
                backlog
            });
        }
    }

    fn delivery(&mut self, name: &str) -> Arc<Shared> {
        if let Some(shared) = self.shared.get(name) {
            return Arc::clone(shared);
        }
        let name: Arc<str> = Arc::from(name);
        let folder = self.data_dir.join("delivery").join(&*layout::to_path_part(&name));
        let (accounts, metrics) = (Arc::clone(&self.accounts), self.metrics.of(&name));
        let shared = Arc::new(Shared::new(Arc::clone(&name), accounts, folder, metrics));
        self.shared.insert(name, Arc::clone(&shared));
        shared
    }
}
