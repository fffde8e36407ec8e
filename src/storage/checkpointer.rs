//! Copies the log into the database, away from the commits.
//!
//! A checkpoint syncs the database file, which takes tens of milliseconds once much has changed. On
//! the writer's connection every device would wait for it; here only the disk is shared. Two kinds:
//!
//! - a *passive* one copies what it can while the writer goes on appending;
//! - under a load without a pause the log never becomes wholly copied, and so is never begun anew.
//!   When it has grown past [`limits::WAL_RESTART_BYTES`], a passive checkpoint is followed at once by
//!   one that holds the writer off while it copies the little that has come since. Readers could make
//!   that wait long, so it gives up after [`RESTART_WAIT`], and the next round tries again.

use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use rusqlite::Connection;

use crate::clock::Clock;
use crate::limits;

/// How long commits may be held off for a reader that keeps the log from being begun anew.
const RESTART_WAIT: Duration = Duration::from_millis(50);

/// What checkpoints cost.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointMetrics {
    /// Time a checkpoint took.
    pub(crate) seconds: Histogram,
    /// Checkpoints that failed.
    pub(crate) failures: Counter,
    /// The log's length after the last one, bytes.
    pub(crate) log_bytes: Gauge,
}

impl Default for CheckpointMetrics {
    fn default() -> Self {
        let bounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
        CheckpointMetrics {
            seconds: Histogram::new(bounds),
            failures: Counter::default(),
            log_bytes: Gauge::default(),
        }
    }
}

/// The thread and the way to wake it.
pub(crate) struct Checkpointer {
    wake: mpsc::SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread on a connection of its own.
    pub(crate) fn start(
        connection: Connection,
        metrics: CheckpointMetrics,
    ) -> std::io::Result<Checkpointer> {
        let (wake, woken) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("checkpointer".to_owned())
            .spawn(move || run(&connection, &woken, &metrics))?;
        Ok(Checkpointer { wake, thread })
    }

    /// Says that the log has grown. Never waits.
    pub(crate) fn wake(&self) {
        // A full queue means that it is already to be woken, a closed one that it has ended.
        self.wake.try_send(()).ok();
    }

    /// Ends the thread, after the checkpoint it may be in.
    pub(crate) fn stop(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn run(connection: &Connection, woken: &mpsc::Receiver<()>, metrics: &CheckpointMetrics) {
    while woken.recv().is_ok() {
        let started = Clock::instant();
        match relieve(connection) {
            Ok(Some(log_bytes)) => {
                metrics.seconds.observe(started.elapsed().as_secs_f64());
                metrics.log_bytes.set(log_bytes);
            }
            Ok(None) => {}
            Err(error) => {
                // Nothing is lost: the log keeps what it has, and the next round tries again.
                metrics.failures.inc();
                tracing::warn!(error = %error, "a checkpoint failed");
            }
        }
    }
}

/// Checkpoints when there is enough to copy; answers the log's length, bytes, when it did.
fn relieve(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let (log, copied) = checkpoint(connection, "NOOP")?;
    if (log - copied) * page < limits::WAL_CHECKPOINT_BYTES {
        return Ok(None);
    }
    let (log, _) = checkpoint(connection, "PASSIVE")?;
    if log * page < limits::WAL_RESTART_BYTES {
        return Ok(Some(log * page));
    }
    connection.busy_timeout(RESTART_WAIT)?;
    let (log, _) = checkpoint(connection, "RESTART")?;
    Ok(Some(log * page))
}

/// Runs one checkpoint; answers the frames in the log and how many of them are in the database.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&sql, [], |row| Ok((row.get(1)?, row.get(2)?)))
}

/// Copies the whole log and empties its file: the last thing before the writer closes.
pub(crate) fn truncate(connection: &Connection) -> rusqlite::Result<()> {
    checkpoint(connection, "TRUNCATE").map(|_| ())
}
