//! One buffer at work: waits for size, age or a flush, fixes a batch, writes it, moves the floor.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::DeliveryConfig;
use crate::limits;
use crate::retry::Backoff;
use crate::retry::Failure;
use crate::retry::describe;
use crate::retry::to_unix_seconds;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

use super::Accounts;
use super::FailureSink;
use super::backlog::Backlog;
use super::backlog::Backlogs;
use super::backlog::Extent;
use super::batch_file::Written;
use super::buffer_name;
use super::failed_record::FORMAT_FAILED;
use super::failed_record::PROCESSING_FAILED;
use super::form::Form;
use super::layout;
use super::metrics::OneDelivery;
use super::object::ObjectError;
use super::table;
use super::table::Batch;
use super::table::DeliveryRow;

const RETRY: Backoff =
    Backoff { first: limits::DELIVERY_RETRY_FIRST, max: limits::DELIVERY_RETRY_MAX };

/// Why a batch is not delivered yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlushError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("cannot encode the batch")]
    Encode(#[from] std::io::Error),
    #[error("cannot read the buffer")]
    Read(#[from] SqliteError),
    #[error("cannot record the batch")]
    Record(#[from] ExecuteError),
    #[error("the gateway stops")]
    Stopped,
    #[error("writing the batch panicked")]
    Panicked,
}

/// What the buffers of a delivery have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    accounts: Arc<Accounts>,
    /// Where its files go that have no configured directory.
    folder: PathBuf,
    pub(super) metrics: OneDelivery,
    /// The newest file.
    pub(super) last_file: Mutex<Option<PathBuf>>,
    /// The newest failure.
    pub(super) last_error: Mutex<Option<Failure>>,
    /// One for each file that may be written at once.
    pub(super) files: Semaphore,
    /// Arrival of the oldest record of each buffer, with the buffer's row.
    oldest: Mutex<BTreeSet<(Timestamp, DeliveryRow)>>,
}

impl Shared {
    pub(super) fn new(
        name: Arc<str>,
        accounts: Arc<Accounts>,
        folder: PathBuf,
        metrics: OneDelivery,
    ) -> Shared {
        let (last_file, last_error, oldest) = Default::default();
        let files = Semaphore::new(limits::DELIVERY_FILES_MAX);
        Shared { name, accounts, folder, metrics, last_file, last_error, files, oldest }
    }

    /// Its settings as they are now.
    pub(super) fn config(&self) -> Arc<DeliveryConfig> {
        self.accounts.settings(&self.name)
    }

    /// Whether it has been deleted.
    fn is_over(&self) -> bool {
        self.accounts.is_over(&self.name)
    }

    /// Where its files go.
    pub(super) fn directory(&self, config: &DeliveryConfig) -> PathBuf {
        config.directory.clone().unwrap_or_else(|| self.folder.clone())
    }
}

/// What all workers share.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) executor: Executor,
    /// Locked for one short read at a time, on blocking threads only.
    pub(super) reader: Arc<Mutex<ReadConnection>>,
    pub(super) clock: Clock,
    pub(super) failures: Arc<dyn FailureSink>,
    /// Told when a buffer is taken away.
    pub(super) backlogs: Arc<Backlogs>,
    /// Becomes true when the gateway stops.
    pub(super) stop: watch::Receiver<bool>,
    /// Set when stopping has taken too long: a file under way is given up.
    pub(super) abort: Arc<AtomicBool>,
}

/// One buffer: a delivery, or one of its partitions.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) tools: Tools,
    pub(super) delivery: Arc<Shared>,
    pub(super) backlog: Arc<Backlog>,
    /// What the gauges of the delivery have of this buffer.
    shown: Arc<Mutex<Extent>>,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Due,
    /// Nothing has waited for a while.
    Idle,
    Stop,
}

impl Worker {
    pub(super) fn new(tools: Tools, delivery: Arc<Shared>, backlog: Arc<Backlog>) -> Worker {
        Worker { tools, delivery, backlog, shown: Arc::default() }
    }

    /// Runs until the gateway stops. What is not delivered then stays in the database.
    pub(super) async fn run(self) {
        if let Err(error) = self.trim().await {
            // What is left below the floor takes room, and nothing else; the next batch tries again.
            tracing::warn!(delivery = %self.delivery.name, error = %error, "trimming failed");
        }
        let mut failures = 0;
        loop {
            match self.wait(failures).await {
                Wake::Stop => return,
                Wake::Idle if self.retire().await => return,
                Wake::Idle => continue,
                Wake::Due => {}
            }
            match self.flush().await {
                Ok(()) => failures = 0,
                Err(FlushError::Record(ExecuteError::Closed) | FlushError::Stopped) => return,
                Err(error) => {
                    failures += 1;
                    self.note_failure(&error, failures);
                }
            }
        }
    }

    /// Takes the buffer of a partition away, in which nothing waits; answers whether it is gone.
    async fn retire(&self) -> bool {
        let (row, backlogs) = (self.backlog.row, Arc::clone(&self.tools.backlogs));
        let name = Arc::clone(&self.backlog.name);
        let retired = self.tools.executor.execute(move |tx| {
            let is_gone = table::retire(tx, row)?;
            if is_gone {
                backlogs.retire(&name);
            }
            Ok(is_gone)
        });
        match retired.await {
            Ok(is_gone) => is_gone,
            Err(error) => {
                // It is only kept for longer.
                tracing::warn!(delivery = %self.delivery.name, %error, "a partition stays");
                false
            }
        }
    }

    /// Waits until there is something to do: after a failure for the time of the schedule, else for
    /// size or age.
    async fn wait(&self, failures: u32) -> Wake {
        let mut stop = self.tools.stop.clone();
        let due = async {
            match failures {
                0 => self.wait_until_due().await,
                _ => self.wait_to_retry(failures).await,
            }
        };
        tokio::select! {
            biased;
            // An error means that the sender is gone, and with it the gateway.
            _ = stop.wait_for(|stop| *stop) => Wake::Stop,
            wake = due => wake,
        }
    }

    async fn wait_to_retry(&self, failures: u32) -> Wake {
        let mut retry = pin!(sleep(RETRY.wait(failures)));
        let was_asked = self.backlog.is_asked();
        loop {
            self.show();
            if self.backlog.is_asked() && !was_asked {
                return Wake::Due;
            }
            tokio::select! {
                () = &mut retry => return Wake::Due,
                () = self.backlog.changed() => {}
            }
        }
    }

    async fn wait_until_due(&self) -> Wake {
        loop {
            let config = self.delivery.config();
            let extent = self.show();
            let is_full = extent.bytes() >= config.buffer_bytes as u64;
            if extent.records() > 0 && (is_full || self.backlog.is_asked()) {
                return Wake::Due;
            }
            let (until, then) = match extent.oldest {
                Some(oldest) => {
                    let due = self.tools.clock.instant_at(oldest + config.buffer_interval);
                    (Some(due), Wake::Due)
                }
                None if buffer_name::is_partition(&self.backlog.name)
                    || self.delivery.is_over() =>
                {
                    (Some(Clock::instant() + limits::DELIVERY_PARTITION_IDLE), Wake::Idle)
                }
                None => (None, Wake::Idle),
            };
            let due = async {
                match until {
                    Some(until) => sleep_until(Instant::from_std(until)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return then,
                () = self.backlog.changed() => {}
            }
        }
    }

    /// Brings the delivery's gauges to what waits, which is the answer.
    fn show(&self) -> Extent {
        let extent = self.backlog.extent();
        let mut shown = self.shown.lock();
        let metrics = &self.delivery.metrics;
        let change = |now, before| to_gauge(now) - to_gauge(before);
        metrics.buffered_records.inc_by(change(extent.records(), shown.records()));
        metrics.buffered_bytes.inc_by(change(extent.bytes(), shown.bytes()));
        let mut oldest = self.delivery.oldest.lock();
        if let Some(before) = shown.oldest {
            oldest.remove(&(before, self.backlog.row));
        }
        if let Some(now) = extent.oldest {
            oldest.insert((now, self.backlog.row));
        }
        metrics.oldest.set(to_unix_seconds(oldest.first().map(|(oldest, _)| *oldest)));
        *shown = extent;
        extent
    }

    /// Delivers one batch: the one that was fixed before, or a new one.
    pub(super) async fn flush(&self) -> Result<(), FlushError> {
        let Some(batch) = self.fix_batch().await? else { return Ok(()) };
        let room = self.delivery.files.acquire().await;
        let written = self.on_disk(Self::write_object, batch.clone()).await?;
        drop(room);
        let (row, last) = (self.backlog.row, batch.last);
        self.tools.executor.execute(move |tx| table::finish(tx, row, last)).await?;
        self.note_delivered(&batch, written);
        if self.backlog.raise_floor(last) {
            self.on_disk(Self::find_oldest, ()).await?;
        }
        Ok(self.trim().await?)
    }

    /// Deletes what is delivered, step by step, so that messages do not wait behind it.
    async fn trim(&self) -> Result<(), ExecuteError> {
        let row = self.backlog.row;
        while self.tools.executor.execute(move |tx| table::trim(tx, row)).await? {}
        Ok(())
    }

    /// Runs `work` where blocking is allowed.
    async fn on_disk<I, T>(
        &self,
        work: fn(&Worker, I) -> Result<T, FlushError>,
        input: I,
    ) -> Result<T, FlushError>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let worker = self.clone();
        spawn_blocking(move || work(&worker, input)).await.unwrap_or(Err(FlushError::Panicked))
    }

    /// The unfinished batch, or a new one, its bounds on disk. `None` when nothing waits.
    pub(super) async fn fix_batch(&self) -> Result<Option<Batch>, FlushError> {
        let (batch, is_fixed) = match self.on_disk(Self::plan_batch, ()).await? {
            Some(plan) => plan,
            None => return Ok(None),
        };
        if !is_fixed {
            let (row, fixed) = (self.backlog.row, batch.clone());
            self.tools.executor.execute(move |tx| table::fix(tx, row, &fixed)).await?;
        }
        Ok(Some(batch))
    }

    /// The batch to deliver next, and whether its bounds are on disk already. Asking the table each
    /// time covers a restart as well as a commit whose answer was lost.
    fn plan_batch(&self, (): ()) -> Result<Option<(Batch, bool)>, FlushError> {
        let row = self.backlog.row;
        let extent = self.backlog.extent();
        let reader = self.tools.reader.lock();
        let connection = reader.sqlite();
        if let Some(batch) = table::load_batch(connection, row)? {
            return Ok(Some((batch, true)));
        }
        let Some(oldest) = table::oldest_after(connection, row, extent.floor)? else {
            return Ok(None);
        };
        let config = &*self.delivery.config();
        let bytes_max = i64::try_from(config.buffer_bytes).unwrap_or(i64::MAX);
        let last = table::find_bound(connection, row, extent, bytes_max)?;
        let buffer = &self.backlog.name;
        let (first, last_entry) = (extent.floor.entry + 1, last.entry);
        let range = layout::Range { buffer, oldest, first, last: last_entry };
        let (object, form) = if buffer_name::is_errors(buffer) {
            (range.error_object(config, PROCESSING_FAILED), Form::lines())
        } else {
            let form = Form::of(config);
            (range.object(config, &form.suffix()), form)
        };
        let error_object = range.error_object(config, FORMAT_FAILED);
        Ok(Some((Batch { last, object, form, error_object }, false)))
    }

    fn note_delivered(&self, batch: &Batch, written: Written) {
        let Written { path, file_bytes, files, records, failed } = written;
        let floor = self.backlog.extent().floor;
        tracing::info!(
            delivery = %self.delivery.name, path = %path.display(), records, failed, file_bytes,
            "delivered a file"
        );
        self.delivery.metrics.files.inc_by(files);
        let (records, failed) = match buffer_name::is_errors(&self.backlog.name) {
            true => (0, records),
            false => (records, failed),
        };
        self.delivery.metrics.records.inc_by(records);
        self.delivery.metrics.failed_records.inc_by(failed);
        self.delivery.metrics.record_bytes.inc_by((batch.last.bytes - floor.bytes).unsigned_abs());
        *self.delivery.last_file.lock() = Some(path);
    }

    /// Learns the age of what waits now. An arrival in the future (the wall clock was set back
    /// between two runs) counts as now, or it would wait for longer than the interval.
    fn find_oldest(&self, (): ()) -> Result<(), FlushError> {
        let floor = self.backlog.extent().floor;
        let oldest =
            table::oldest_after(self.tools.reader.lock().sqlite(), self.backlog.row, floor)?;
        if let Some(oldest) = oldest {
            self.backlog.set_oldest(oldest.min(self.tools.clock.now()));
        }
        Ok(())
    }

    fn note_failure(&self, error: &FlushError, failures: u32) {
        let message = describe(error);
        tracing::warn!(
            delivery = %self.delivery.name, failures, error = message,
            "a batch could not be delivered; it is tried again"
        );
        self.delivery.metrics.failures.inc();
        let at = self.tools.clock.now();
        if failures == 1 {
            self.tools.failures.failed(&self.delivery.name, at, &message);
        }
        self.backlog.note_failed(&message);
        *self.delivery.last_error.lock() = Some(Failure { at, message });
    }
}

fn to_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How long a file under way may take to be finished when the gateway stops.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);
