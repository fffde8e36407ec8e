//! One delivery at work: waits for size or age, fixes a batch, writes it, moves the floor.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use crate::clock::Clock;
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

use super::FailureSink;
use super::backlog::Backlog;
use super::backlog::Extent;
use super::block::read_block;
use super::metrics::OneDelivery;
use super::object::ObjectError;
use super::object::ObjectWriter;
use super::object::name_object;
use super::object::push_line;
use super::table;
use super::table::Batch;

const RETRY: Backoff =
    Backoff { first: limits::DELIVERY_RETRY_FIRST, max: limits::DELIVERY_RETRY_MAX };

/// Why a batch is not delivered yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlushError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("cannot read the buffer")]
    Read(#[from] SqliteError),
    #[error("cannot record the batch")]
    Record(#[from] ExecuteError),
    #[error("the gateway stops")]
    Stopped,
    #[error("writing the batch panicked")]
    Panicked,
}

/// What the worker tells about itself.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) last_file: Option<PathBuf>,
    pub(super) last_error: Option<Failure>,
    /// Failed flushes since the last good one.
    pub(super) failures_in_row: u32,
}

/// What all workers share.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) executor: Executor,
    /// Locked for one short read at a time, on blocking threads only.
    pub(super) reader: Arc<Mutex<ReadConnection>>,
    pub(super) clock: Clock,
    pub(super) failures: Arc<dyn FailureSink>,
    /// Becomes true when the gateway stops.
    pub(super) stop: watch::Receiver<bool>,
    /// Set when stopping has taken too long: a file under way is given up.
    pub(super) abort: Arc<AtomicBool>,
}

/// One delivery.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) tools: Tools,
    pub(super) backlog: Arc<Backlog>,
    pub(super) config: DeliveryConfig,
    pub(super) directory: PathBuf,
    pub(super) metrics: OneDelivery,
    pub(super) progress: Arc<Mutex<Progress>>,
}

/// A written file.
pub(super) struct Written {
    path: PathBuf,
    file_bytes: u64,
    records: u64,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Due,
    Stop,
}

impl Worker {
    /// Runs until the gateway stops. What is not delivered then stays in the database.
    pub(super) async fn run(self) {
        if let Err(error) = self.trim().await {
            // What is left below the floor takes room, and nothing else; the next batch tries again.
            tracing::warn!(delivery = %self.backlog.name, error = %error, "trimming failed");
        }
        let mut failures = 0;
        while self.wait(failures).await == Wake::Due {
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

    /// Waits until there is something to do: after a failure for the time of the schedule, else for
    /// size or age.
    async fn wait(&self, failures: u32) -> Wake {
        let mut stop = self.tools.stop.clone();
        let due = async {
            if failures > 0 {
                self.wait_to_retry(failures).await;
            } else {
                self.wait_until_due().await;
            }
        };
        tokio::select! {
            biased;
            // An error means that the sender is gone, and with it the gateway.
            _ = stop.wait_for(|stop| *stop) => Wake::Stop,
            () = due => Wake::Due,
        }
    }

    async fn wait_to_retry(&self, failures: u32) {
        let mut retry = pin!(sleep(RETRY.wait(failures)));
        loop {
            self.show();
            tokio::select! {
                () = &mut retry => return,
                () = self.backlog.changed() => {}
            }
        }
    }

    async fn wait_until_due(&self) {
        let buffer_bytes = self.config.buffer_bytes as u64;
        loop {
            let extent = self.show();
            if extent.records() > 0 && extent.bytes() >= buffer_bytes {
                return;
            }
            let Some(oldest) = extent.oldest else {
                self.backlog.changed().await;
                continue;
            };
            let due = self.tools.clock.instant_at(oldest + self.config.buffer_interval);
            tokio::select! {
                () = sleep_until(Instant::from_std(due)) => return,
                () = self.backlog.changed() => {}
            }
        }
    }

    /// Sets the gauges to what waits, which is the answer.
    fn show(&self) -> Extent {
        let extent = self.backlog.extent();
        self.metrics.buffered_records.set(to_gauge(extent.records()));
        self.metrics.buffered_bytes.set(to_gauge(extent.bytes()));
        self.metrics.oldest.set(to_unix_seconds(extent.oldest));
        extent
    }

    /// Delivers one batch: the one that was fixed before, or a new one.
    pub(super) async fn flush(&self) -> Result<(), FlushError> {
        let Some(batch) = self.fix_batch().await? else { return Ok(()) };
        let written = self.on_disk(Self::write_object, batch.clone()).await?;
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
        let bytes_max = i64::try_from(self.config.buffer_bytes).unwrap_or(i64::MAX);
        let last = table::find_bound(connection, row, extent, bytes_max)?;
        let object = name_object(
            &self.backlog.name,
            oldest,
            extent.floor.entry + 1,
            last.entry,
            self.config.compression,
        );
        Ok(Some((Batch { last, object }, false)))
    }

    /// Writes the whole file. Reads a part of the batch at a time: neither the memory nor a read
    /// transaction grows with it.
    pub(super) fn write_object(&self, batch: Batch) -> Result<Written, FlushError> {
        let mut file = ObjectWriter::create(&self.directory, &batch.object)?;
        let mut records = 0;
        let mut lines = Vec::new();
        let mut block = self.backlog.extent().floor.block;
        while block < batch.last.block {
            if self.tools.abort.load(Ordering::Relaxed) {
                return Err(FlushError::Stopped);
            }
            lines.clear();
            let mut blocks = Vec::new();
            block = table::read_blocks(
                self.tools.reader.lock().sqlite(),
                self.backlog.row,
                block,
                batch.last.block,
                |number, blob| blocks.push((number, blob.to_vec())),
            )?;
            for (number, blob) in blocks {
                let read = read_block(&blob, |data| {
                    records += 1;
                    push_line(&mut lines, data);
                });
                if let Err(damage) = read {
                    self.metrics.damaged_blocks.inc();
                    tracing::error!(
                        delivery = %self.backlog.name, block = number, error = %damage,
                        "a block of a delivery buffer cannot be read; its records are lost"
                    );
                }
            }
            file.write(&lines)?;
        }
        let (path, file_bytes) = file.finish()?;
        Ok(Written { path, file_bytes, records })
    }

    fn note_delivered(&self, batch: &Batch, written: Written) {
        let Written { path, file_bytes, records } = written;
        let floor = self.backlog.extent().floor;
        tracing::info!(
            delivery = %self.backlog.name, path = %path.display(), records, file_bytes,
            "delivered a file"
        );
        self.metrics.files.inc();
        self.metrics.records.inc_by(records);
        self.metrics.record_bytes.inc_by((batch.last.bytes - floor.bytes).unsigned_abs());
        let mut progress = self.progress.lock();
        progress.last_file = Some(path);
        progress.failures_in_row = 0;
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
            delivery = %self.backlog.name, failures, error = message,
            "a batch could not be delivered; it is tried again"
        );
        self.metrics.failures.inc();
        let at = self.tools.clock.now();
        if failures == 1 {
            self.tools.failures.failed(&self.backlog.name, at, &message);
        }
        let mut progress = self.progress.lock();
        progress.failures_in_row = failures;
        progress.last_error = Some(Failure { at, message });
    }
}

fn to_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How long a file under way may take to be finished when the gateway stops.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);
