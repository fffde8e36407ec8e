//! What a commit costs: the layouts and settings that `docs/storage.md` decides between.
//!
//! `layout/…`: records of 200 bytes, two shards, WAL, `synchronous=FULL`; one row a record against
//! one framed block a (shard, commit), keyed by its rowid or found by an index.
//! `checkpoint`: commit latency while the log is checkpointed by the writer or by a second thread.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;
use rusqlite::Connection;
use rusqlite::params;
use tidegate::clock::Clock;

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
        let transaction = self.connection.transaction().expect("begins");
        match self.layout {
            Layout::Row => {
                let mut insert = transaction
                    .prepare_cached("INSERT INTO row VALUES (?1, ?2, ?3, ?4, ?5)")
                    .expect("prepares");
                for _ in 0..records {
                    self.next += 1;
                    let row = params![self.next % SHARDS, self.next, "device-17", 0, self.record];
                    insert.execute(row).expect("inserts");
                }
            }
            Layout::Block | Layout::IndexedBlock => {
                let sql = "INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5)";
                let mut insert = transaction.prepare_cached(sql).expect("prepares");
                self.next += 1;
                for shard in 0..SHARDS.min(i64::try_from(records).unwrap_or(SHARDS)) {
                    // A lone record goes to each shard in turn.
                    let shard = if records == 1 { self.next % SHARDS } else { shard };
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
            for records in [1, 10, 100, 1000] {
                let folder = tempfile::tempdir_in("target").expect("temp folder");
                let mut table =
                    Table::create(folder.path(), layout, page_bytes, 64_000_000 / page_bytes);
                group.throughput(Throughput::Elements(records));
                let records = usize::try_from(records).expect("fits");
                group.bench_function(BenchmarkId::new(name, records), |b| {
                    b.iter(|| table.commit(records));
                });
            }
        }
        group.finish();
    }
}

/// Commits of 100 records, 6,000 of them: how long each took.
fn checkpoints() {
    println!("checkpoint policy: p50, p99, p99.9, max of 6000 commits of 100 records, and the log");
    for (name, autocheckpoint, thread) in [
        ("writer, every 1000 pages", 1000, false),
        ("writer, every 64 MB", 3906, false),
        ("own thread, passive", 0, true),
    ] {
        let folder = tempfile::tempdir_in("target").expect("temp folder");
        let mut table = Table::create(folder.path(), Layout::Block, 16384, autocheckpoint);
        let done = AtomicBool::new(false);
        let mut took = Vec::new();
        std::thread::scope(|scope| {
            if thread {
                let second = Connection::open(folder.path().join("bench.db")).expect("opens");
                let done = &done;
                scope.spawn(move || passive_checkpoints(&second, done));
            }
            for _ in 0..6000 {
                let started = Clock::instant();
                table.commit(100);
                took.push(started.elapsed());
            }
            done.store(true, Ordering::Release);
        });
        took.sort_unstable();
        let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1000];
        let log = folder.path().join("bench.db-wal").metadata().map_or(0, |file| file.len());
        println!(
            "{name}: {:?} {:?} {:?} {:?}, log {} MB",
            at(500),
            at(990),
            at(999),
            at(1000),
            log / 1_000_000
        );
    }
}

/// What the second thread does all day.
fn passive_checkpoints(connection: &Connection, done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        let frames = |mode: &str| {
            connection
                .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                    Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
                })
                .expect("checkpoints")
        };
        if frames("NOOP") > 1000 {
            frames("PASSIVE");
        } else {
            std::thread::yield_now();
        }
    }
}

fn main() {
    checkpoints();
    let mut criterion = Criterion::default().configure_from_args();
    layouts(&mut criterion);
    criterion.final_summary();
}
