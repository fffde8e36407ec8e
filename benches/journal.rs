//! What durability costs: the figures behind `docs/storage.md`.
//!
//! `layout/…` compares layouts and page sizes in bare SQLite: records of 200 bytes, two shards, WAL,
//! `synchronous=FULL`; a row a record against one blob a (shard, commit), found by its rowid or by an
//! index. `journal/…` is the whole writer: submissions in, acknowledgements out. Before them, printed
//! as they are: how long commits take while the log is checkpointed, in bare SQLite and by the writer.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;
use rusqlite::Connection;
use rusqlite::params;
use tidegate::clock::Clock;
use tidegate::clock::Timestamp;
use tidegate::config::JournalConfig;
use tidegate::engine::Leap;
use tidegate::engine::hold::Progress;
use tidegate::journal::AckSlot;
use tidegate::journal::Batch;
use tidegate::journal::Effect;
use tidegate::journal::Journal;
use tidegate::journal::Stage;
use tidegate::journal::Submission;
use tidegate::journal::Submitter;
use tidegate::storage::Storage;
use tokio::runtime::Runtime;

const RECORD_BYTES: usize = 200;
const SHARDS: i64 = 2;

#[derive(Clone, Copy)]
enum Layout {
    /// `(shard, sequence)` is the key of a row per record.
    Row,
    /// One blob a (shard, commit); the rowid is `shard << 40 | block`.
    Block,
    /// One blob a (shard, commit), appended at the table's end, and an index `(shard, block)`.
    IndexedBlock,
}

struct Table {
    connection: Connection,
    layout: Layout,
    next: i64,
    record: Vec<u8>,
    block: Vec<u8>,
}

impl Table {
    fn create(folder: &Path, layout: Layout, page_bytes: u32, autocheckpoint: u32) -> Table {
        let connection = Connection::open(folder.join("bench.db")).expect("opens");
        connection
            .execute_batch(&format!(
                "PRAGMA page_size = {page_bytes};
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA wal_autocheckpoint = {autocheckpoint};
                 CREATE TABLE row (shard INTEGER, sequence INTEGER, key TEXT, at INTEGER, data BLOB,
                     PRIMARY KEY (shard, sequence)) WITHOUT ROWID;
                 CREATE TABLE block (id INTEGER PRIMARY KEY, shard INTEGER, block INTEGER,
                     at INTEGER, records BLOB);"
            ))
            .expect("schema");
        if matches!(layout, Layout::IndexedBlock) {
            connection
                .execute_batch("CREATE UNIQUE INDEX block_place ON block (shard, block)")
                .expect("index");
        }
        Table { connection, layout, next: 0, record: vec![b'x'; RECORD_BYTES], block: Vec::new() }
    }

    fn commit(&mut self, records: usize) {
        self.next += 1;
        let transaction = self.connection.transaction().expect("begins");
        match self.layout {
            Layout::Row => {
                let sql = "INSERT INTO row VALUES (?1, ?2, ?3, ?4, ?5)";
                let mut insert = transaction.prepare_cached(sql).expect("prepares");
                for _ in 0..records {
                    self.next += 1;
                    let row = params![self.next % SHARDS, self.next, "device-17", 0, self.record];
                    insert.execute(row).expect("inserts");
                }
            }
            Layout::Block | Layout::IndexedBlock => {
                let sql = "INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5)";
                let mut insert = transaction.prepare_cached(sql).expect("prepares");
                // A lone record goes to each shard in turn.
                let shards =
                    if records == 1 { self.next % 2..self.next % 2 + 1 } else { 0..SHARDS };
                for shard in shards {
                    self.block.clear();
                    for _ in 0..records.div_ceil(2) {
                        self.block.extend_from_slice(b"device-17");
                        self.block.extend_from_slice(&self.record);
                    }
                    let id = match self.layout {
                        Layout::Block => shard << 40 | self.next,
                        _ => self.next * SHARDS + shard,
                    };
                    let row = params![id, shard, self.next, 0, self.block];
                    insert.execute(row).expect("inserts");
                }
            }
        }
        transaction.commit().expect("commits");
    }
}

fn layouts(c: &mut Criterion) {
    for page_bytes in [4096, 16384] {
        let mut group = c.benchmark_group(format!("layout/page_{page_bytes}"));
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        group.warm_up_time(Duration::from_millis(300));
        for (name, layout) in [
            ("row", Layout::Row),
            ("block", Layout::Block),
            ("indexed_block", Layout::IndexedBlock),
        ] {
            for records in [1_u32, 10, 100, 1000] {
                let folder = tempfile::tempdir_in("target").expect("temp folder");
                let every_64_mb = 64_000_000 / page_bytes;
                let mut table = Table::create(folder.path(), layout, page_bytes, every_64_mb);
                group.throughput(Throughput::Elements(records.into()));
                let records = usize::try_from(records).expect("fits");
                group.bench_function(BenchmarkId::new(name, records), |b| {
                    b.iter(|| table.commit(records));
                });
            }
        }
        group.finish();
    }
}

/// Work is a number of records for stream `bench`.
struct Records {
    stream: Arc<str>,
    record: Bytes,
}

impl Stage for Records {
    type Work = usize;

    fn apply(&mut self, at: Timestamp, work: usize, batch: &mut Batch) {
        batch.effects.extend((0..work).map(|n| Effect::Stream {
            stream: Arc::clone(&self.stream),
            partition_key: CompactString::const_new(["device-17", "device-18"][n % 2]),
            hash_key: None,
            data: self.record.clone(),
            at,
            hops: 0,
        }));
    }

    fn is_timeless(&self, _work: &usize) -> bool {
        true
    }

    fn advance(&mut self, _now: Timestamp, _batch: &mut Batch) -> Progress {
        Progress::Done
    }

    fn leap(&mut self, _leap: Leap, _batch: &mut Batch) {}

    fn seal(&mut self, _batch: &mut Batch) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn committed(&mut self, _batch: &Batch) {}
}

/// A journal, and one client of it that waits for each acknowledgement.
struct Client {
    runtime: Runtime,
    journal: Journal<usize>,
    submitter: Submitter<usize>,
    slot: Arc<AckSlot>,
    clock: Clock,
    ticket: u64,
}

impl Client {
    fn start(storage: &Storage) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let record = Bytes::from(vec![b'x'; RECORD_BYTES]);
        let stage = Records { stream: Arc::from("bench"), record };
        let clock = Clock::start();
        let config = JournalConfig::default();
        let journal = Journal::start(storage, stage, &config, clock).expect("starts");
        let submitter = journal.submitter();
        Client { runtime, journal, submitter, slot: Arc::default(), clock, ticket: 0 }
    }

    fn commit(&mut self, records: usize) {
        self.ticket += 1;
        let ack = Some((Arc::clone(&self.slot), self.ticket));
        let submission = Submission { at: self.clock.now(), work: records, bytes: 0, ack };
        self.runtime.block_on(async {
            self.submitter.submit(submission).await.expect("is open");
            while self.slot.committed() < self.ticket {
                self.slot.changed().await;
            }
        });
    }
}

fn journals(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(300));
    for records in [1_u32, 10, 100, 1000] {
        let folder = tempfile::tempdir_in("target").expect("temp folder");
        let storage = Storage::open(folder.path()).expect("opens");
        let mut client = Client::start(&storage);
        group.throughput(Throughput::Elements(records.into()));
        let records = usize::try_from(records).expect("fits");
        group.bench_function(BenchmarkId::new("submit_to_ack", records), |b| {
            b.iter(|| client.commit(records));
        });
        client.runtime.block_on(client.journal.shutdown()).expect("shuts down");
    }
    group.finish();
}

/// Commits of 100 records, one after the other: how long each took, and the log they leave.
fn latencies(name: &str, log: &Path, mut commit: impl FnMut()) {
    let mut took: Vec<Duration> = (0..10_000)
        .map(|_| {
            let started = Clock::instant();
            commit();
            started.elapsed()
        })
        .collect();
    let total: Duration = took.iter().sum();
    took.sort_unstable();
    let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1000];
    let log = log.metadata().map_or(0, |file| file.len()) / 1_000_000;
    println!(
        "{name}: p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, max {:.2?}, {:.0} records/s, log {log} MB",
        at(500),
        at(990),
        at(999),
        at(1000),
        1_000_000.0 / total.as_secs_f64()
    );
}

fn checkpoints() {
    println!("10000 commits of 100 records:");
    for (name, page_bytes, autocheckpoint) in [
        ("SQLite, 4 KiB pages, the writer checkpoints each 4 MB", 4096, 1000),
        ("SQLite, 4 KiB pages, the writer checkpoints each 64 MB", 4096, 16_000),
        ("SQLite, 16 KiB pages, the writer checkpoints each 64 MB", 16384, 4000),
        ("SQLite, 4 KiB pages, no checkpoint", 4096, 0),
    ] {
        let folder = tempfile::tempdir_in("target").expect("temp folder");
        let mut table = Table::create(folder.path(), Layout::Block, page_bytes, autocheckpoint);
        latencies(name, &folder.path().join("bench.db-wal"), || table.commit(100));
    }
    let folder = tempfile::tempdir_in("target").expect("temp folder");
    let storage = Storage::open(folder.path()).expect("opens");
    let mut client = Client::start(&storage);
    let log = folder.path().join("tidegate.db-wal");
    latencies("journal, submission to acknowledgement", &log, || client.commit(100));
    client.runtime.block_on(client.journal.shutdown()).expect("shuts down");
}

fn main() {
    checkpoints();
    let mut criterion = Criterion::default().configure_from_args();
    layouts(&mut criterion);
    journals(&mut criterion);
    criterion.final_summary();
}
