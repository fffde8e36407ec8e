//! The journal with a stage that stores what it is given.

mod burst;
mod crash;
mod gather;
mod stall;

use std::path::Path;
use std::sync::mpsc as std_mpsc;

use crate::storage::Executor;
use crate::stream::Reader;
use crate::stream::StartAt;

use super::*;

/// Each piece of work is a record of stream `s`; the empty one causes nothing.
struct EchoStage {
    /// What each committed batch carried.
    committed: std_mpsc::Sender<Vec<Bytes>>,
    /// Fires a record `tick` once.
    deadline: Option<Timestamp>,
}

fn record(data: Bytes, at: Timestamp) -> Effect {
    Effect::Stream {
        stream: Arc::from("s"),
        partition_key: CompactString::from("key"),
        hash_key: None,
        data,
        at,
        hops: 0,
    }
}

impl Stage for EchoStage {
    type Work = Bytes;

    fn apply(&mut self, at: Timestamp, work: Bytes, batch: &mut Batch) {
        if !work.is_empty() {
            batch.effects.push(record(work, at));
        }
    }

    fn is_timeless(&self, _work: &Bytes) -> bool {
        false
    }

    fn advance(&mut self, now: Timestamp, batch: &mut Batch) -> Progress {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            batch.effects.push(record(Bytes::from_static(b"tick"), now));
        }
        Progress::Done
    }

    fn leap(&mut self, leap: Leap, _batch: &mut Batch) {
        self.deadline = self.deadline.map(|deadline| deadline + leap.to.since(leap.from));
    }

    fn seal(&mut self, _batch: &mut Batch) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    fn committed(&mut self, batch: &Batch) {
        let data = batch.effects.iter().map(|effect| match effect {
            Effect::Stream { data, .. } => data.clone(),
            other => panic!("the stage makes records only: {other:?}"),
        });
        self.committed.send(data.collect()).ok();
    }
}

struct Running {
    journal: Journal<Bytes>,
    executor: Executor,
    clock: Clock,
    committed: std_mpsc::Receiver<Vec<Bytes>>,
}

fn start(folder: &Path, deadline: Option<Timestamp>) -> (Storage, Running) {
    let storage = Storage::open(folder).unwrap();
    let running = start_on(&storage, deadline);
    (storage, running)
}

fn start_on(storage: &Storage, deadline: Option<Timestamp>) -> Running {
    start_with(storage, deadline, &JournalConfig::default())
}

fn start_with(storage: &Storage, deadline: Option<Timestamp>, config: &JournalConfig) -> Running {
    let (sender, committed) = std_mpsc::channel();
    let stage = EchoStage { committed: sender, deadline };
    let clock = Clock::start();
    let journal = Journal::start(storage, stage, config, clock).unwrap();
    Running { journal, executor: storage.executor(), clock, committed }
}

impl Running {
    async fn submit(&self, data: &str, ack: Option<(&Arc<AckSlot>, u64)>) {
        let ack = ack.map(|(slot, ticket)| (Arc::clone(slot), ticket));
        let work = Bytes::copy_from_slice(data.as_bytes());
        let submission = Submission { at: self.clock.now(), bytes: work.len(), work, ack };
        self.journal.submitter().submit(submission).await.unwrap();
    }
}

/// All records of `s` in order; its only key is in one shard.
fn stored(folder: &Path) -> Vec<String> {
    let reader = Reader::new(Storage::peek(folder).unwrap());
    let mut all = Vec::new();
    for shard in reader.shards("s").unwrap() {
        let mut cursor = reader.cursor(&shard, StartAt::TrimHorizon).unwrap();
        loop {
            let page = reader.read(&mut cursor, 1000, usize::MAX).unwrap();
            if page.records.is_empty() {
                break;
            }
            let text = |data: &Bytes| String::from_utf8(data.to_vec()).unwrap();
            all.extend(page.records.iter().map(|record| text(&record.data)));
        }
    }
    all
}

async fn reached(slot: &AckSlot, ticket: u64) {
    while slot.committed() < ticket {
        slot.changed().await;
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_stored_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_storage, running) = start(folder.path(), None);
    let slot = Arc::new(AckSlot::default());
    let mut expected = Vec::new();
    for ticket in 1..=200 {
        running.submit(&ticket.to_string(), Some((&slot, ticket))).await;
        expected.push(ticket.to_string());
        if ticket % 50 == 0 {
            reached(&slot, ticket).await;
            assert_eq!(stored(folder.path()), expected);
        }
    }
    running.journal.shutdown().await.unwrap();
    let told: Vec<Bytes> = running.committed.into_iter().flatten().collect();
    assert_eq!(told.len(), expected.len());
}

#[tokio::test]
async fn work_without_effects_is_acknowledged_without_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (_storage, running) = start(folder.path(), None);
    let slot = Arc::new(AckSlot::default());
    running.submit("", Some((&slot, 7))).await;
    reached(&slot, 7).await;
    assert_eq!(running.committed.recv().unwrap(), Vec::<Bytes>::new());
    assert_eq!(running.journal.metrics().commits.get(), 0);
}

#[tokio::test]
async fn shutdown_commits_everything_submitted_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_storage, running) = start(folder.path(), None);
    for n in 0..1000 {
        running.submit(&n.to_string(), None).await;
    }
    let submitter = running.journal.submitter();
    running.journal.shutdown().await.unwrap();
    assert_eq!(stored(folder.path()).len(), 1000);
    assert!(submitter.is_closed());
    let late = Submission { at: Timestamp::EPOCH, work: Bytes::new(), bytes: 0, ack: None };
    assert_eq!(submitter.submit(late).await, Err(JournalClosed));
    let log = folder.path().join("tidegate.db-wal");
    assert_eq!(log.metadata().map_or(0, |file| file.len()), 0, "the log is copied and emptied");
}

#[tokio::test]
async fn a_deadline_passes_without_a_submission() {
    let folder = tempfile::tempdir().unwrap();
    let deadline = Clock::start().now() + std::time::Duration::from_millis(30);
    let (storage, running) = start(folder.path(), Some(deadline));
    let batch = tokio::task::spawn_blocking(move || running.committed.recv().unwrap());
    assert_eq!(batch.await.unwrap(), [Bytes::from_static(b"tick")]);
    let alive = crate::checkpoint::load(&storage).unwrap().alive_until.unwrap();
    assert!(alive >= deadline);
}

#[tokio::test]
async fn the_stage_follows_a_clock_that_is_set_forward() {
    let folder = tempfile::tempdir().unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let deadline = Clock::start().now() + hour;
    let (storage, running) = start(folder.path(), Some(deadline));
    running.clock.step(2 * hour);
    let slot = Arc::new(AckSlot::default());
    running.submit("first", Some((&slot, 1))).await;
    reached(&slot, 1).await;
    // A deadline is an hour away before and after; it has not passed.
    assert_eq!(running.committed.recv().unwrap(), ["first"]);
    let alive = crate::checkpoint::load(&storage).unwrap().alive_until.unwrap();
    assert!(alive >= deadline + hour, "the sign of life is by the new time");
    running.clock.step(2 * hour);
    running.submit("second", Some((&slot, 2))).await;
    reached(&slot, 2).await;
    assert_eq!(running.committed.recv().unwrap(), ["second"]);
    running.journal.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_sign_of_life_is_written_while_something_is_pending() {
    let folder = tempfile::tempdir().unwrap();
    let start_of_test = Clock::start().now();
    let far = start_of_test + std::time::Duration::from_secs(3600);
    let (storage, running) = start(folder.path(), Some(far));
    let reader = Reader::new(storage.reader().unwrap());
    let before = reader.version().unwrap();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
    while reader.version().unwrap() == before {
        tick.tick().await;
    }
    let alive = crate::checkpoint::load(&storage).unwrap().alive_until.unwrap();
    assert!(alive > start_of_test);
    assert_eq!(running.journal.metrics().commits.get(), 0, "no synced commit is made for it");
}

#[tokio::test]
async fn a_refused_job_leaves_no_trace_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (_storage, running) = start(folder.path(), None);
    let slot = Arc::new(AckSlot::default());
    running.submit("before", Some((&slot, 1))).await;
    reached(&slot, 1).await;
    let good = running.executor.execute(|transaction| {
        transaction.execute("INSERT INTO alive VALUES (1, 5) ON CONFLICT DO NOTHING", [])?;
        transaction.query_row("SELECT count(*) FROM stream", [], |row| row.get::<_, i64>(0))
    });
    let bad = running.executor.execute(|transaction| {
        transaction.execute("DELETE FROM stream", [])?;
        transaction.execute("INSERT INTO alive VALUES (2, 5)", [])
    });
    let (good, bad) = tokio::join!(good, bad);
    assert_eq!(good.unwrap(), 1, "a job sees what was acknowledged before it");
    assert!(matches!(bad, Err(crate::storage::ExecuteError::Failed(_))));
    running.submit("after", None).await;
    running.journal.shutdown().await.unwrap();
    assert_eq!(stored(folder.path()), ["before", "after"]);
    let late = running.executor.execute(|_| Ok(())).await;
    assert!(matches!(late, Err(crate::storage::ExecuteError::Closed)));
}

#[tokio::test]
async fn what_jobs_write_is_copied_out_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (_storage, running) = start(folder.path(), None);
    let metrics = running.journal.metrics().checkpoints.clone();
    // Each takes four megabytes of the log, and has no payload.
    for _ in 0..10 {
        let fill = running.executor.execute(|transaction| {
            let sql = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 1000)
                INSERT INTO hold_waiting SELECT 'r', 'k' || random() || n, n, zeroblob(3900) FROM n";
            transaction.execute(sql, [])
        });
        assert_eq!(fill.await.unwrap(), 1000);
    }
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
    while metrics.log_bytes.get() == 0 {
        looks.tick().await;
    }
    running.journal.shutdown().await.unwrap();
}

#[tokio::test]
async fn expired_records_are_deleted_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, running) = start(folder.path(), None);
    let config = crate::config::StreamConfig {
        shards: 1,
        retention: std::time::Duration::from_secs(3600),
        ..crate::config::StreamConfig::default()
    };
    let now = running.clock.now();
    let streams = vec![("s".to_owned(), Some(config))];
    crate::stream::declare(&running.executor, streams, now).await.unwrap();
    let has_run = [(now - std::time::Duration::from_secs(3 * 3600)).as_millis(), now.as_millis()];
    let known = running.executor.execute(move |transaction| {
        transaction.execute("INSERT INTO stream_run VALUES (1, ?1, ?2)", has_run)
    });
    known.await.unwrap();
    let two_hours_ago = now - std::time::Duration::from_secs(7200);
    for (data, at) in [("old", two_hours_ago), ("new", now)] {
        let work = Bytes::from_static(data.as_bytes());
        let slot = Arc::new(AckSlot::default());
        let ack = Some((Arc::clone(&slot), 1));
        let submission = Submission { at, bytes: work.len(), work, ack };
        running.journal.submitter().submit(submission).await.unwrap();
        reached(&slot, 1).await;
    }
    let reader = Reader::new(storage.reader().unwrap());
    assert_eq!(reader.streams().unwrap()[0].records, 2);
    let retain = tokio::spawn(crate::stream::retain(running.executor.clone(), running.clock));
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
    while reader.streams().unwrap()[0].records > 1 {
        looks.tick().await;
    }
    assert_eq!(stored(folder.path()), ["new"]);
    running.journal.shutdown().await.unwrap();
    assert!(!retain.is_finished(), "it looks again in a minute, and ends then");
    retain.abort();
}
