//! Streams that are split, merged, filled, read and reopened, against a model that remembers what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::storage::Storage;
use crate::stream::Appender;
use crate::stream::Put;
use crate::stream::PutRecord;
use crate::stream::PutRefused;
use crate::stream::PutResult;
use crate::stream::StartAt;
use crate::stream::Stored;
use crate::stream::hash_partition_key;
use crate::stream::retention;

use super::*;

const NAME: &str = "s";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Some day.
const T: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const KEYS: [&str; 6] = ["a", "b", "sensor-7", "ü", "0e:9c:00:4c:1c:51", "z"];

#[derive(Clone, Debug)]
enum Step {
    /// Puts of one commit: keys by place, and explicit hash keys.
    Commit(Vec<Vec<(usize, Option<u128>)>>),
    /// The same, made again after it failed.
    FailedCommit(Vec<Vec<(usize, Option<u128>)>>),
    /// The nth open shard, at a part of its range.
    Split(prop::sample::Index, u8),
    /// The nth open shard with its neighbour.
    Merge(prop::sample::Index),
    /// To so many.
    Reshape(u32),
    /// The clock moves by so many hours, also back.
    Clock(i64),
    /// What is older than a day goes.
    Trim,
    /// The process ends and starts again.
    Reopen,
}

fn puts() -> impl Strategy<Value = Vec<Vec<(usize, Option<u128>)>>> {
    let record = (0..KEYS.len(), prop::option::weighted(0.3, any::<u128>()));
    prop::collection::vec(prop::collection::vec(record, 1..6), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => puts().prop_map(Step::Commit),
        1 => puts().prop_map(Step::FailedCommit),
        2 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(n, at)| Step::Split(n, at)),
        2 => any::<prop::sample::Index>().prop_map(Step::Merge),
        1 => (1_u32..9).prop_map(Step::Reshape),
        2 => (-3_i64..30).prop_map(Step::Clock),
        2 => Just(Step::Trim),
        1 => Just(Step::Reopen),
    ]
}

/// An acknowledged record.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    at: Timestamp,
    hash: u128,
    number: SequenceNumber,
    data: u64,
}

struct World {
    folder: TempDir,
    storage: Storage,
    writer: Connection,
    appender: Appender,
    now: Timestamp,
    /// Of the next record.
    data: u64,
    /// By shard, in order. Those that retention may have taken included.
    model: BTreeMap<ShardId, Vec<Kept>>,
    /// What was put, in the order in which it was acknowledged, by partition key.
    order: BTreeMap<u128, Vec<u64>>,
}

impl World {
    fn new(shards: u32, is_limited: bool) -> World {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let transaction = writer.transaction().unwrap();
        let new = NewStream {
            name: NAME.to_owned(),
            shards,
            is_limited,
            record_bytes_max: 1024,
            tags: Vec::new(),
        };
        assert_eq!(table::create(&transaction, &new, T).unwrap(), Ok(()));
        transaction.commit().unwrap();
        let (appender, model, order) = Default::default();
        World { folder, storage, writer, appender, now: T, data: 0, model, order }
    }

    fn reader(&self) -> Reader {
        Reader::new(Storage::peek(self.folder.path()).unwrap())
    }

    fn described(&self) -> Described {
        self.reader().describe(NAME).unwrap().unwrap()
    }

    fn entries(&self) -> Vec<ShardEntry> {
        self.reader().shard_entries(&self.described()).unwrap()
    }

    fn open(&self) -> Vec<ShardEntry> {
        let mut open = self.entries();
        open.retain(|entry| entry.closed_at.is_none());
        open.sort_by_key(|entry| entry.range.start);
        open
    }

    /// Does something with the tables as a job of the writer does.
    fn job<T>(&mut self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> T) -> T {
        let transaction = self.writer.transaction().unwrap();
        let answer = work(&transaction);
        transaction.commit().unwrap();
        self.appender.forget();
        answer
    }

    fn commit(&mut self, puts: &[Vec<(usize, Option<u128>)>], fails: bool) {
        let mut made = Vec::new();
        for records in puts {
            let record = |(key, hash): &(usize, Option<u128>)| {
                self.data += 1;
                let data = Bytes::copy_from_slice(&self.data.to_be_bytes());
                PutRecord::new(KEYS[*key].into(), *hash, data)
            };
            let records = records.iter().map(record).collect();
            made.push(Put::new(Arc::from(NAME), self.now, records));
        }
        if fails {
            let transaction = self.writer.transaction().unwrap();
            made.iter().for_each(|put| self.appender.put(&transaction, put).unwrap());
            self.appender.flush(&transaction).unwrap();
            transaction.rollback().unwrap();
            self.appender.forget();
        }
        let transaction = self.writer.transaction().unwrap();
        made.iter().for_each(|put| self.appender.put(&transaction, put).unwrap());
        self.appender.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        for put in &made {
            let results = put.take_outcome().unwrap().unwrap().results;
            assert_eq!(results.len(), put.records().len());
            for (record, result) in put.records().iter().zip(results) {
                let PutResult::Stored(Stored { shard, sequence_number: number }) = result else {
                    panic!("six records are below every limit");
                };
                let new = record.as_new(self.now);
                let hash = new.hash_key.unwrap_or_else(|| hash_partition_key(new.partition_key));
                let data = u64::from_be_bytes(new.data.try_into().unwrap());
                self.model.entry(shard).or_default().push(Kept {
                    at: self.now,
                    hash,
                    number,
                    data,
                });
                self.order.entry(hash).or_default().push(data);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        let (now, open) = (self.now, self.open());
        match step {
            Step::Commit(puts) => self.commit(puts, false),
            Step::FailedCommit(puts) => self.commit(puts, true),
            Step::Split(which, part) => {
                let entry = which.get(&open);
                let width = entry.range.end - entry.range.start;
                let at = entry.range.start + width / 256 * u128::from(*part);
                let fits = at > entry.range.start.saturating_add(1) && at < entry.range.end;
                let split =
                    self.job(|tx| table::split(tx, Asker::Api, NAME, entry.id, at, now).unwrap());
                let expected = if fits { Ok(()) } else { Err(Refused::Outside(entry.id)) };
                assert_eq!(split, expected);
                let again =
                    self.job(|tx| table::split(tx, Asker::Api, NAME, entry.id, at, now).unwrap());
                let closed = Err(Refused::Closed(entry.id));
                assert_eq!(again, if fits { closed } else { Err(Refused::Outside(entry.id)) });
            }
            Step::Merge(_) if open.len() < 2 => {}
            Step::Merge(which) => {
                let pair = &open[which.index(open.len() - 1)..];
                let (first, second) = (pair[0].id, pair[1].id);
                let apart =
                    self.job(|tx| table::merge(tx, Asker::Api, NAME, second, first, now).unwrap());
                assert_eq!(apart, Err(Refused::Apart(second, first)));
                let merged =
                    self.job(|tx| table::merge(tx, Asker::Api, NAME, first, second, now).unwrap());
                assert_eq!(merged, Ok(()));
            }
            Step::Reshape(target) => {
                let before = open.len() as u64;
                let reshaped =
                    self.job(|tx| table::reshape(tx, Asker::Api, NAME, *target, now).unwrap());
                let fits = u64::from(*target) <= 2 * before && u64::from(*target) * 2 >= before;
                assert_eq!(reshaped, if fits { Ok(before) } else { Err(Refused::Scale(before)) });
                if fits {
                    let even: Vec<HashRange> =
                        crate::stream::shard::split_evenly(*target).collect();
                    let ranges: Vec<HashRange> = self.open().iter().map(|e| e.range).collect();
                    assert_eq!(ranges, even);
                }
            }
            Step::Clock(hours) => {
                self.now = T.max(
                    now + HOUR * u32::try_from(hours.max(&0) * 2).unwrap()
                        - HOUR * u32::try_from((-hours).max(0)).unwrap(),
                );
            }
            Step::Trim => {
                self.job(|tx| while retention::trim(tx, |_| Some(now - DAY)).unwrap() {});
            }
            Step::Reopen => {
                let elsewhere = tempfile::tempdir().unwrap();
                let storage = Storage::open(elsewhere.path()).unwrap();
                let (writer, _jobs) = storage.take_writer().unwrap();
                drop(std::mem::replace(&mut self.writer, writer));
                drop(std::mem::replace(&mut self.storage, storage));
                self.storage = Storage::open(self.folder.path()).unwrap();
                self.writer = self.storage.take_writer().unwrap().0;
                self.appender.forget();
            }
        }
    }

    /// Reads every shard in every way there is and compares it with the model.
    fn check(&self, page: usize) {
        let (reader, entries) = (self.reader(), self.entries());
        let open = self.open();
        assert_eq!(open.first().map(|entry| entry.range.start), Some(0));
        assert_eq!(open.last().map(|entry| entry.range.end), Some(u128::MAX));
        let meet = |two: &[ShardEntry]| two[0].range.end + 1 == two[1].range.start;
        assert!(open.windows(2).all(meet), "every hash key has one open shard");
        assert_eq!(self.described().shards_open, open.len() as u64);
        let mut read: BTreeMap<ShardId, Vec<u64>> = BTreeMap::new();
        for entry in &entries {
            self.check_family(entry, &entries);
            let all = self.read(&reader, entry, StartAt::TrimHorizon, page);
            let known = self.model.get(&entry.id).cloned().unwrap_or_default();
            assert!(known.ends_with(&all), "all but the oldest, which retention takes");
            let kept = known.len() - all.len();
            let is_old = |kept: &Kept| kept.at < self.now_max() - DAY;
            assert!(known[..kept].iter().all(is_old), "nothing went before its time");
            for (place, record) in all.iter().enumerate() {
                assert!(entry.first < record.number);
                assert!(entry.last.is_none_or(|last| record.number < last));
                assert!((entry.range.start..=entry.range.end).contains(&record.hash));
                let after = StartAt::AfterSequence(record.number);
                assert_eq!(self.read(&reader, entry, after, page), all[place + 1..]);
                let at = StartAt::AtSequence(record.number);
                assert_eq!(self.read(&reader, entry, at, page), all[place..]);
            }
            // A number of a record that is gone is still a place to go on from.
            if let Some(gone) = known[..kept].last() {
                let after = StartAt::AfterSequence(gone.number);
                assert_eq!(self.read(&reader, entry, after, page), all);
            }
            assert!(self.read(&reader, entry, StartAt::Latest, page).is_empty());
            read.insert(entry.id, all.iter().map(|record| record.data).collect());
        }
        let gone = self.model.keys().filter(|shard| !read.contains_key(shard));
        for shard in gone {
            let is_old = |kept: &Kept| kept.at < self.now_max() - DAY;
            assert!(self.model[shard].iter().all(is_old), "{shard} went with its last record");
        }
        self.check_order(&entries);
    }

    /// The latest time there was: retention has run at no later one.
    fn now_max(&self) -> Timestamp {
        self.model.values().flatten().map(|kept| kept.at).fold(self.now, Timestamp::max)
    }

    fn check_family(&self, entry: &ShardEntry, entries: &[ShardEntry]) {
        for parent in entry.parents.iter().flatten() {
            assert!(*parent < entry.id);
            let Some(parent) = entries.iter().find(|other| other.id == *parent) else { continue };
            assert!(parent.closed_at.is_some() && parent.opened_at <= entry.opened_at);
            assert!(parent.last.unwrap() < entry.first, "numbers grow over a reshard");
            let described = self.described();
            let children = self.reader().children(&described, parent.id).unwrap();
            assert!(children.contains(entry));
            let (start, end) = (parent.range.start, parent.range.end);
            assert!(children.iter().any(|child| child.range.start <= start));
            assert!(children.iter().any(|child| child.range.end >= end));
        }
        assert_eq!(entry.closed_at.is_some(), entry.last.is_some());
    }

    /// Records of one hash key stand in the order in which they were acknowledged, over all its shards: by number.
    fn check_order(&self, entries: &[ShardEntry]) {
        let kept = |entry: &ShardEntry| self.model.get(&entry.id).cloned().unwrap_or_default();
        let mut records: Vec<Kept> = entries.iter().flat_map(kept).collect();
        records.sort_by_key(|record| record.number);
        assert!(records.windows(2).all(|two| two[0].number != two[1].number), "unique");
        for (hash, order) in &self.order {
            let of_key = records.iter().filter(|record| record.hash == *hash);
            let by_number: Vec<u64> = of_key.map(|record| record.data).collect();
            assert!(order.ends_with(&by_number), "{order:?} {by_number:?}");
        }
    }

    fn read(&self, reader: &Reader, entry: &ShardEntry, start: StartAt, page: usize) -> Vec<Kept> {
        let mut cursor = reader.cursor_in(entry, start).unwrap();
        let mut all = Vec::new();
        loop {
            let read = reader.read(&mut cursor, page, usize::MAX).unwrap();
            // As an iterator that is given away and brought back.
            let bookmark = Bookmark::from_bytes(cursor.bookmark().to_bytes());
            assert_eq!(entry.resume(bookmark), Some(cursor));
            let kept = |record: crate::stream::Record| Kept {
                at: record.at,
                hash: record.hash_key.unwrap_or_else(|| hash_partition_key(&record.partition_key)),
                number: record.sequence_number,
                data: u64::from_be_bytes((*record.data).try_into().unwrap()),
            };
            let is_over = read.records.is_empty();
            all.extend(read.records.into_iter().map(kept));
            if is_over {
                return all;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_stream_that_is_resharded_loses_nothing_and_keeps_its_order(
        shards in 1_u32..5,
        steps in prop::collection::vec(step(), 1..24),
        page in 1_usize..5,
    ) {
        let mut world = World::new(shards, true);
        for step in &steps {
            world.take(step);
            world.check(page);
        }
    }
}

#[test]
fn limits_throttle_each_record_for_itself_and_decide_once() {
    let mut world = World::new(1, true);
    let records = |count, data: &'static [u8]| {
        let record = || PutRecord::new("k".into(), None, Bytes::from_static(data));
        Put::new(Arc::from(NAME), T, (0..count).map(|_| record()).collect())
    };
    let stored = |put: &Put| {
        let results = put.take_outcome().unwrap().unwrap().results;
        results.iter().filter(|result| matches!(result, PutResult::Stored(_))).count()
    };
    let (first, second) = (records(700, b""), records(700, b""));
    // The first attempt to commit fails; the second decides the same.
    for _ in 0..2 {
        let transaction = world.writer.transaction().unwrap();
        world.appender.put(&transaction, &first).unwrap();
        world.appender.put(&transaction, &second).unwrap();
        world.appender.flush(&transaction).unwrap();
        world.appender.forget();
    }
    assert_eq!((stored(&first), stored(&second)), (700, 300));
    let large = records(1, &[0; 1024]);
    let unknown = Put::new(Arc::from("t"), T, Vec::new());
    let transaction = world.writer.transaction().unwrap();
    world.appender.put(&transaction, &large).unwrap();
    world.appender.put(&transaction, &unknown).unwrap();
    let refused = PutRefused::RecordTooLarge { place: 0, bytes_max: 1024 };
    assert_eq!(large.take_outcome(), Some(Err(refused)), "the key counts, too");
    assert_eq!(unknown.take_outcome(), Some(Err(PutRefused::UnknownStream)));
    drop(transaction);
    // Without limits nothing is throttled.
    world.job(|tx| table::limit(tx, NAME, false).unwrap().unwrap());
    let third = records(1500, b"");
    let transaction = world.writer.transaction().unwrap();
    world.appender.put(&transaction, &third).unwrap();
    assert_eq!(stored(&third), 1500);
    drop(transaction);
    let on_demand = world.job(|tx| table::reshape(tx, Asker::Api, NAME, 2, T).unwrap());
    assert_eq!(on_demand, Err(Refused::OnDemand));
    let by_hand = world.job(|tx| table::reshape(tx, Asker::Operator, NAME, 2, T).unwrap());
    assert!(by_hand.is_ok(), "{by_hand:?}");
}

#[test]
fn a_deleted_stream_gives_its_name_back_and_its_records_go_in_pieces() {
    let mut world = World::new(2, true);
    world.commit(&[vec![(0, None), (1, None)]], false);
    let tag = |key: &str| Tag { key: key.to_owned(), value: String::new() };
    assert_eq!(world.job(|tx| table::tag(tx, NAME, &[tag("a"), tag("b")]).unwrap()), Ok(()));
    assert_eq!(world.reader().tags(&world.described()).unwrap(), [tag("a"), tag("b")]);
    let many: Vec<Tag> = (0..limits::STREAM_TAGS_MAX).map(|n| tag(&n.to_string())).collect();
    assert_eq!(world.job(|tx| table::tag(tx, NAME, &many).unwrap()), Err(Refused::Tags));
    assert_eq!(world.job(|tx| table::untag(tx, NAME, &["a".to_owned()]).unwrap()), Ok(()));

    assert_eq!(world.job(|tx| table::delete(tx, NAME, Ending::Unread).unwrap()), Ok(()));
    assert!(world.described().is_deleting);
    assert_eq!(
        world.job(|tx| table::delete(tx, NAME, Ending::Unread).unwrap()),
        Err(Refused::Deleting)
    );
    let listed = world.reader().describe_after(None, 10).unwrap();
    assert_eq!(listed.iter().map(|stream| &*stream.name).collect::<Vec<_>>(), [NAME]);
    assert!(world.reader().streams().unwrap().is_empty());
    let new = NewStream {
        name: NAME.to_owned(),
        shards: 1,
        is_limited: true,
        record_bytes_max: 1024,
        tags: Vec::new(),
    };
    assert_eq!(world.job(|tx| table::create(tx, &new, T).unwrap()), Err(Refused::Deleting));
    // A rule that names it goes on with a new one all the same.
    let record =
        crate::stream::NewRecord { partition_key: "k", hash_key: None, data: b"x", at: T, hops: 0 };
    let transaction = world.writer.transaction().unwrap();
    world.appender.push(&transaction, &Arc::from(NAME), &record).unwrap();
    world.appender.flush(&transaction).unwrap();
    transaction.commit().unwrap();
    assert!(!world.described().is_deleting);
    let mut pieces = 0;
    while world.job(|tx| table::clear(tx).unwrap()) {
        pieces += 1;
    }
    assert!(pieces >= 3, "records, shards, the stream: {pieces}");
    let rows = |world: &World, table: &str| -> i64 {
        let count = format!("SELECT count(*) FROM {table}");
        world.writer.query_row(&count, [], |row| row.get(0)).unwrap()
    };
    let left = ["stream", "stream_tag", "stream_block"].map(|table| rows(&world, table));
    assert_eq!(left, [1, 0, 1], "only the new one's");
}

#[test]
fn a_retention_goes_the_way_that_was_asked_for() {
    let mut world = World::new(1, true);
    let mut keep =
        |hours: u32, change| world.job(|tx| table::keep(tx, NAME, HOUR * hours, change).unwrap());
    assert_eq!(keep(48, Change::Longer), Ok(()));
    assert_eq!(keep(47, Change::Longer), Err(Refused::Retention(2 * DAY)));
    assert_eq!(keep(49, Change::Shorter), Err(Refused::Retention(2 * DAY)));
    assert_eq!(keep(24, Change::Shorter), Ok(()));
    assert_eq!(world.described().retention, DAY);
    assert_eq!(
        world.job(|tx| table::keep(tx, "none", DAY, Change::Longer).unwrap()),
        Err(Refused::Unknown)
    );
}

#[test]
fn a_database_of_before_has_streams_without_limits_and_shards_without_parents() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(crate::stream::SCHEMA).unwrap();
    connection
        .execute_batch(
            "INSERT INTO stream VALUES (5, 'old', 86400000, 1000);
             INSERT INTO stream_shard (stream, number, hash_start, hash_end, created_at)
             VALUES (5, 0, zeroblob(16), zeroblob(16), 1000), (5, 1, zeroblob(16), zeroblob(16), 1000);",
        )
        .unwrap();
    connection.execute_batch(LINEAGE_SCHEMA).unwrap();
    connection.execute_batch(MONITORING_SCHEMA).unwrap();
    connection.execute_batch(crate::stream::ENCRYPTION_SCHEMA).unwrap();
    let found = table::describe(&connection, "old").unwrap().unwrap();
    assert!(!found.is_limited && !found.is_deleting && found.key_id.is_none());
    assert_eq!((found.shards_open, found.record_bytes_max), (2, limits::RECORD_BYTES_MAX));
    let entries = table::entries(&connection, 5).unwrap();
    assert!(entries.iter().all(|e| e.parents == [None, None] && e.closed_at.is_none()));
    assert_eq!(entries[1].opened_at, Timestamp::from_millis(1000));
    let made: i64 =
        connection.query_row("SELECT shards_made FROM stream", [], |row| row.get(0)).unwrap();
    assert_eq!(made, 2);
}
