//! What the journal counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::storage::checkpointer::CheckpointMetrics;

/// Counters of the writer and the checkpoints. Clones share them.
#[derive(Clone, Debug)]
pub struct JournalMetrics {
    pub(super) commits: Counter,
    pub(super) commit_seconds: Histogram,
    /// The newest commit, nanoseconds; 0 before the first.
    pub(super) last_commit: Arc<AtomicU64>,
    pub(super) submissions: Histogram,
    pub(super) bytes: Counter,
    pub(super) queued: Gauge,
    pub(super) timers_late: Histogram,
    pub(super) failures: Counter,
    pub(super) stalled: Gauge,
    pub(super) checkpoints: CheckpointMetrics,
}

impl Default for JournalMetrics {
    fn default() -> Self {
        let seconds =
            [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
        let counts = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];
        JournalMetrics {
            commits: Counter::default(),
            commit_seconds: Histogram::new(seconds),
            last_commit: Arc::default(),
            submissions: Histogram::new(counts),
            bytes: Counter::default(),
            queued: Gauge::default(),
            timers_late: Histogram::new(seconds),
            failures: Counter::default(),
            stalled: Gauge::default(),
            checkpoints: CheckpointMetrics::default(),
        }
    }
}

impl JournalMetrics {
    /// Transactions committed.
    pub fn commit_count(&self) -> u64 {
        self.commits.get()
    }

    /// How long the newest commit took; `None` before the first.
    pub fn last_commit(&self) -> Option<Duration> {
        let nanos = self.last_commit.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    pub(super) fn observe_commit(&self, took: Duration) {
        self.commits.inc();
        self.commit_seconds.observe(took.as_secs_f64());
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last_commit.store(nanos, Ordering::Relaxed);
    }

    /// Adds all of them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "journal_commits",
            "Transactions committed and synced",
            self.commits.clone(),
        );
        registry.register_with_unit(
            "journal_commit",
            "Time of a commit, without waiting out a stall",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register(
            "journal_commit_submissions",
            "Submissions carried by a commit",
            self.submissions.clone(),
        );
        registry.register_with_unit(
            "journal_payload",
            "Records, entries, calls and retained messages committed",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "journal_queued_submissions",
            "Submissions waiting for the writer",
            self.queued.clone(),
        );
        registry.register_with_unit(
            "journal_timers_late",
            "How late the earliest of the timers due was when they were run",
            Unit::Seconds,
            self.timers_late.clone(),
        );
        registry.register(
            "journal_commit_failures",
            "Commits that failed and were tried again",
            self.failures.clone(),
        );
        registry.register(
            "journal_stalled",
            "1 while commits fail and nothing is acknowledged",
            self.stalled.clone(),
        );
        registry.register_with_unit(
            "journal_checkpoint",
            "Time of copying the log into the database",
            Unit::Seconds,
            self.checkpoints.seconds.clone(),
        );
        registry.register(
            "journal_checkpoint_failures",
            "Checkpoints that failed",
            self.checkpoints.failures.clone(),
        );
        registry.register_with_unit(
            "journal_log",
            "Length of the log after the last checkpoint",
            Unit::Bytes,
            self.checkpoints.log_bytes.clone(),
        );
    }
}
