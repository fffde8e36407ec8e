//! Streams against the plainest model: a `Vec` of records a shard.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::storage::KEY_BYTES;
use crate::storage::Keyring;
use crate::storage::Storage;

use super::*;

const RETENTION: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
struct Input {
    key: String,
    hash_key: Option<u128>,
    at: i64,
    data: Vec<u8>,
    hops: u8,
}

#[derive(Clone, Debug)]
enum Step {
    /// One commit of the writer.
    Commit(Vec<Input>),
    /// A commit that fails and is made again.
    FailedCommit(Vec<Input>),
    /// A record put by a job, in the writer's transaction.
    Put(Input),
    /// Retention at this time.
    Trim(i64),
    /// The process ends and starts again.
    Reopen,
    /// Another key from now on, or none.
    Encrypt(Option<&'static str>),
}

fn input() -> impl Strategy<Value = Input> {
    let key = prop::sample::select(vec!["a", "b", "sensor-7", "ü", "0e:9c:00:4c:1c:51"]);
    let hash_key = prop::option::weighted(0.3, any::<u128>());
    let data = prop::collection::vec(any::<u8>(), 0..40);
    (key, hash_key, 0_i64..2000, data, 0_u8..3).prop_map(|(key, hash_key, at, data, hops)| Input {
        key: key.to_owned(),
        hash_key,
        at,
        data,
        hops,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(input(), 1..6).prop_map(Step::Commit),
        1 => prop::collection::vec(input(), 1..6).prop_map(Step::FailedCommit),
        2 => input().prop_map(Step::Put),
        2 => (0_i64..3000).prop_map(Step::Trim),
        1 => Just(Step::Reopen),
        2 => prop::sample::select(vec![None, Some("one"), Some("alias/two")]).prop_map(Step::Encrypt),
    ]
}

/// A shard as the model has it: each block's records, oldest first.
#[derive(Default)]
struct ModelShard {
    blocks: Vec<Vec<Input>>,
}

impl ModelShard {
    fn records(&self) -> Vec<&Input> {
        self.blocks.iter().flatten().collect()
    }
}

struct World {
    folder: TempDir,
    storage: Storage,
    writer: Connection,
    appender: Appender,
    ranges: Vec<HashRange>,
    model: Vec<ModelShard>,
    /// Latest time ever in each shard.
    peaks: Vec<Vec<i64>>,
    /// The greatest sequence number ever seen in each shard.
    last_seen: Vec<Option<SequenceNumber>>,
    keys: Arc<Keyring>,
}

fn keyring() -> Arc<Keyring> {
    let mut keys = Keyring::default();
    keys.add("one", &[], [1; KEY_BYTES]);
    keys.add("two", &["alias/two".to_owned()], [2; KEY_BYTES]);
    Arc::new(keys)
}

fn open(folder: &Path) -> (Storage, Connection) {
    let storage = Storage::open(folder).unwrap();
    let (writer, _jobs) = storage.take_writer().unwrap();
    (storage, writer)
}

impl World {
    fn new(shards: u32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let (storage, mut writer) = open(folder.path());
        let transaction = writer.transaction().unwrap();
        let config = StreamConfig { shards, retention: RETENTION, ..StreamConfig::default() };
        let streams = [("s".to_owned(), Some(config))];
        let now = Timestamp::from_millis(1000);
        assert!(table::declare(&transaction, &streams, now).unwrap().is_empty());
        transaction.commit().unwrap();
        let ranges: Vec<HashRange> = shard::split_evenly(shards).collect();
        let keys = keyring();
        World {
            folder,
            storage,
            writer,
            appender: Appender::new(Arc::default(), Arc::default(), Arc::clone(&keys)),
            keys,
            model: ranges.iter().map(|_| ModelShard::default()).collect(),
            peaks: vec![Vec::new(); ranges.len()],
            last_seen: vec![None; ranges.len()],
            ranges,
        }
    }

    fn shard_of(&self, input: &Input) -> usize {
        let hash = input.hash_key.unwrap_or_else(|| hash_partition_key(&input.key));
        self.ranges.iter().position(|range| (range.start..=range.end).contains(&hash)).unwrap()
    }

    fn append(&mut self, inputs: &[Input], is_committed: bool) {
        let transaction = self.writer.transaction().unwrap();
        let name = Arc::from("s");
        for input in inputs {
            self.appender.push(&transaction, &name, &new_record(input)).unwrap();
        }
        self.appender.flush(&transaction).unwrap();
        if is_committed {
            transaction.commit().unwrap();
        } else {
            transaction.rollback().unwrap();
            self.appender.forget();
        }
    }

    fn remember(&mut self, inputs: &[Input]) {
        for number in 0..self.model.len() {
            let mine = |input: &&Input| self.shard_of(input) == number;
            let block: Vec<Input> = inputs.iter().filter(mine).cloned().collect();
            if block.is_empty() {
                continue;
            }
            let peak = block.iter().map(|input| input.at).max().unwrap();
            let before = self.peaks[number].last().copied().unwrap_or(i64::MIN);
            self.peaks[number].push(peak.max(before));
            self.model[number].blocks.push(block);
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Commit(inputs) => {
                self.append(inputs, true);
                self.remember(inputs);
            }
            Step::FailedCommit(inputs) => {
                self.append(inputs, false);
                self.append(inputs, true);
                self.remember(inputs);
            }
            Step::Put(input) => {
                let transaction = self.writer.transaction().unwrap();
                let record = new_record(input);
                let appended = append::append_one(&transaction, "s", &record, &self.keys);
                let Appended::Stored(stored) = appended.unwrap() else {
                    panic!("there is the stream, and its key");
                };
                transaction.commit().unwrap();
                self.appender.forget();
                self.remember(std::slice::from_ref(input));
                let shard = usize::try_from(stored.shard.0).unwrap();
                assert_eq!(shard, self.shard_of(input));
                let shards = self.reader().shards("s").unwrap();
                assert_eq!(shards[shard].last, Some(stored.sequence_number));
            }
            Step::Trim(now) => self.trim(Timestamp::from_millis(*now)),
            Step::Reopen => {
                let elsewhere = tempfile::tempdir().unwrap();
                let (storage, writer) = open(elsewhere.path());
                drop(std::mem::replace(&mut self.writer, writer));
                drop(std::mem::replace(&mut self.storage, storage));
                (self.storage, self.writer) = open(self.folder.path());
                self.appender =
                    Appender::new(Arc::default(), Arc::default(), Arc::clone(&self.keys));
            }
            Step::Encrypt(key_id) => {
                let transaction = self.writer.transaction().unwrap();
                lineage::encrypt_now(&transaction, "s", *key_id).unwrap().unwrap();
                transaction.commit().unwrap();
                self.appender.forget();
            }
        }
    }

    fn trim(&mut self, now: Timestamp) {
        let transaction = self.writer.transaction().unwrap();
        while retention::trim(&transaction, |retention| Some(now - retention)).unwrap() {}
        transaction.commit().unwrap();
        let horizon = (now - RETENTION).as_millis();
        for (shard, peaks) in self.model.iter_mut().zip(&mut self.peaks) {
            let kept = shard.blocks.len();
            let first = peaks.len() - kept;
            let expired = peaks[first..].iter().take_while(|peak| **peak < horizon).count();
            shard.blocks.drain(..expired);
        }
    }

    fn reader(&self) -> Reader {
        self.reader_with(&self.keys)
    }

    fn reader_with(&self, keys: &Arc<Keyring>) -> Reader {
        let connection = Storage::peek(self.folder.path()).unwrap();
        Reader::new(connection.with_keys(Arc::clone(keys)))
    }

    /// Compares every way of reading with the model.
    fn check(&mut self, page: usize, time: i64) {
        let reader = self.reader();
        let shards = reader.shards("s").unwrap();
        assert_eq!(shards.len(), self.model.len());
        for (number, shard) in shards.iter().enumerate() {
            let expected = self.model[number].records();
            let all = read_all(&reader, shard, StartAt::TrimHorizon, page);
            assert_same(&all, &expected);
            assert_eq!(shard.records, expected.len() as u64);
            let bytes: usize =
                expected.iter().map(|input| input.key.len() + input.data.len()).sum();
            assert_eq!(shard.bytes, bytes as u64);
            assert_eq!(shard.first, all.first().map(|record| record.sequence_number));
            assert_eq!(shard.last, all.last().map(|record| record.sequence_number));
            assert!(all.windows(2).all(|two| two[0].sequence_number < two[1].sequence_number));
            let last = all.last().map(|record| record.sequence_number);
            assert!(last.is_none() || last >= self.last_seen[number], "numbers only grow");
            self.last_seen[number] = last.max(self.last_seen[number]);

            assert!(read_all(&reader, shard, StartAt::Latest, page).is_empty());
            let from = expected.iter().position(|input| input.at >= time);
            let since = StartAt::AtTimestamp(Timestamp::from_millis(time));
            assert_same(
                &read_all(&reader, shard, since, page),
                &expected[from.unwrap_or(expected.len())..],
            );
            for (place, record) in all.iter().enumerate() {
                assert_eq!(record.sequence_number.shard(), shard.id);
                let at = StartAt::AtSequence(record.sequence_number);
                assert_same(&read_all(&reader, shard, at, page), &expected[place..]);
                let after = StartAt::AfterSequence(record.sequence_number);
                assert_same(&read_all(&reader, shard, after, page), &expected[place + 1..]);
            }
        }
        let summary = &reader.streams().unwrap()[0];
        let records: usize = self.model.iter().map(|shard| shard.records().len()).sum();
        assert_eq!((summary.name.as_str(), summary.records), ("s", records as u64));
    }
}

fn new_record(input: &Input) -> NewRecord<'_> {
    NewRecord {
        partition_key: &input.key,
        hash_key: input.hash_key,
        data: &input.data,
        at: Timestamp::from_millis(input.at),
        hops: input.hops,
    }
}

fn read_all(reader: &Reader, shard: &Shard, start: StartAt, page: usize) -> Vec<Record> {
    let mut cursor = reader.cursor(shard, start).unwrap();
    let mut all = Vec::new();
    loop {
        let read = reader.read(&mut cursor, page, usize::MAX).unwrap();
        assert!(read.records.len() <= page);
        if read.records.is_empty() {
            assert_eq!(read.behind, Duration::ZERO);
            return all;
        }
        all.extend(read.records);
    }
}

#[track_caller]
fn assert_same(found: &[Record], expected: &[&Input]) {
    let found: Vec<_> = found
        .iter()
        .map(|record| {
            (
                &*record.partition_key,
                record.hash_key,
                record.at.as_millis(),
                record.hops,
                &*record.data,
            )
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|input| (&*input.key, input.hash_key, input.at, input.hops, &*input.data))
        .collect();
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_stream_is_a_vec_a_shard(
        shards in 1_u32..5,
        steps in prop::collection::vec(step(), 1..16),
        page in 1_usize..5,
        time in 0_i64..2200,
    ) {
        let mut world = World::new(shards);
        for step in &steps {
            world.take(step);
            world.check(page, time);
        }
    }
}

#[test]
fn numbers_go_on_after_retention_took_everything() {
    let mut world = World::new(1);
    let input = Input { key: "a".to_owned(), hash_key: None, at: 100, data: vec![1], hops: 0 };
    world.take(&Step::Commit(vec![input.clone()]));
    let first = world.reader().shards("s").unwrap()[0].last;
    world.take(&Step::Trim(5000));
    assert_eq!(world.reader().shards("s").unwrap()[0].records, 0);
    world.take(&Step::Reopen);
    world.take(&Step::Commit(vec![input]));
    let shard = &world.reader().shards("s").unwrap()[0];
    assert!(shard.last > first);
    assert_eq!((shard.records, shard.bytes), (1, 2));
    // The number of a record that is gone is still a place to start from.
    let reader = world.reader();
    let all = read_all(&reader, shard, StartAt::AtSequence(first.unwrap()), 10);
    assert_eq!(all.len(), 1);
}

#[test]
fn a_page_ends_at_its_bytes_and_tells_how_far_behind_it_is() {
    let mut world = World::new(1);
    let input = |at| Input { key: "a".to_owned(), hash_key: None, at, data: vec![0; 99], hops: 0 };
    world.take(&Step::Commit(vec![input(100), input(200), input(700)]));
    let reader = world.reader();
    let shard = &reader.shards("s").unwrap()[0];
    let mut cursor = reader.cursor(shard, StartAt::TrimHorizon).unwrap();
    let page = reader.read(&mut cursor, 10, 101).unwrap();
    assert_eq!((page.records.len(), page.behind), (2, Duration::from_millis(500)));
    let page = reader.read(&mut cursor, 10, 0).unwrap();
    assert_eq!((page.records.len(), page.behind), (1, Duration::ZERO), "one record at least");
}

#[test]
fn records_under_a_key_that_is_gone_wait_and_the_others_are_read() {
    let mut world = World::new(1);
    let input = |at| Input { key: "a".to_owned(), hash_key: None, at, data: vec![9; 9], hops: 0 };
    for (at, key_id) in [(100, None), (200, Some("one")), (300, Some("alias/two"))] {
        world.take(&Step::Encrypt(key_id));
        world.take(&Step::Commit(vec![input(at)]));
    }
    world.check(1, 150);
    let encrypted: Vec<bool> = {
        let reader = world.reader();
        let shard = &reader.shards("s").unwrap()[0];
        let all = read_all(&reader, shard, StartAt::TrimHorizon, 10);
        all.iter().map(|record| record.is_encrypted).collect()
    };
    assert_eq!(encrypted, [false, true, true]);
    let mut fewer = Keyring::default();
    fewer.add("one", &[], [1; KEY_BYTES]);
    let fewer = Arc::new(fewer);
    let reader = world.reader_with(&fewer);
    let shard = &reader.shards("s").unwrap()[0];
    let mut cursor = reader.cursor(shard, StartAt::TrimHorizon).unwrap();
    assert_eq!(
        reader.read(&mut cursor, 10, usize::MAX).unwrap().records.len(),
        2,
        "what is before"
    );
    let missing = |read: Result<Page, StreamError>| match read {
        Err(StreamError::NoKey { block: 3, key, .. }) => assert_eq!(key, "two"),
        other => panic!("{other:?}"),
    };
    missing(reader.read(&mut cursor, 10, usize::MAX));
    missing(reader.read(&mut cursor, 10, usize::MAX));
    // Nothing is written in clear instead.
    let transaction = world.writer.transaction().unwrap();
    let mut appender = Appender::new(Arc::default(), Arc::default(), Arc::clone(&fewer));
    let put = Put::new(
        "s".into(),
        Timestamp::EPOCH,
        vec![PutRecord::new("a".into(), None, Bytes::new())],
    );
    appender.put(&transaction, &put).unwrap();
    let late = input(400);
    appender.push(&transaction, &"s".into(), &new_record(&late)).unwrap();
    appender.flush(&transaction).unwrap();
    let refused = put.take_outcome().unwrap();
    assert_eq!(refused, Err(PutRefused::NoKey { key_id: "alias/two".into() }));
    let one = append::append_one(&transaction, "s", &new_record(&late), &fewer).unwrap();
    assert!(matches!(one, Appended::NoKey(key_id) if &*key_id == "alias/two"));
    transaction.commit().unwrap();
    assert_eq!(world.reader().shards("s").unwrap()[0].records, 3);
}

#[test]
fn large_commits_are_several_blocks() {
    let mut world = World::new(1);
    let data = vec![7; limits::RECORD_BYTES_MAX / 2];
    let inputs: Vec<Input> = (0..7)
        .map(|at| Input { key: "a".to_owned(), hash_key: None, at, data: data.clone(), hops: 0 })
        .collect();
    world.append(&inputs, true);
    let reader = world.reader();
    let shard = &reader.shards("s").unwrap()[0];
    let all = read_all(&reader, shard, StartAt::TrimHorizon, 3);
    assert_same(&all, &inputs.iter().collect::<Vec<_>>());
    let blocks = all.last().unwrap().sequence_number.position().block();
    assert_eq!(blocks, 4, "two records fill a block");
}

#[test]
fn a_damaged_block_is_an_error_that_names_it() {
    let mut world = World::new(1);
    let input = Input { key: "a".to_owned(), hash_key: None, at: 100, data: vec![1], hops: 0 };
    world.take(&Step::Commit(vec![input]));
    world.writer.execute("UPDATE stream_block SET records = x'00010203040506'", []).unwrap();
    let reader = world.reader();
    let shard = &reader.shards("s").unwrap()[0];
    let mut cursor = reader.cursor(shard, StartAt::TrimHorizon).unwrap();
    let error = reader.read(&mut cursor, 10, 100).unwrap_err();
    assert_eq!(error.to_string(), "shardId-000000000000: block 1 cannot be read");
}

#[test]
fn unknown_names_are_told_a_near_one() {
    let world = World::new(1);
    let mut writer = world.writer;
    let transaction = writer.transaction().unwrap();
    let streams = [("alerts".to_owned(), None)];
    table::declare(&transaction, &streams, Timestamp::EPOCH).unwrap();
    transaction.commit().unwrap();
    let reader = Reader::new(Storage::peek(world.folder.path()).unwrap());
    let text = |name: &str| reader.shards(name).unwrap_err().to_string();
    assert_eq!(text("alert"), "there is no stream 'alert'; did you mean 'alerts'?");
    assert_eq!(text("other"), "there is no stream 'other'");
}

#[test]
fn a_stream_keeps_its_shards_and_takes_a_new_retention() {
    let mut world = World::new(2);
    let transaction = world.writer.transaction().unwrap();
    let declare = |config| {
        let streams = [("s".to_owned(), config)];
        table::declare(&transaction, &streams, Timestamp::EPOCH).unwrap()
    };
    let stream = || "s".to_owned();
    let shards = Difference::OtherShards { stream: stream(), kept: 2, declared: 3 };
    let config = |retention| Some(StreamConfig { shards: 3, retention, ..StreamConfig::default() });
    assert_eq!(declare(config(RETENTION * 3)), std::slice::from_ref(&shards));
    let (before, now) = (RETENTION * 3, RETENTION * 2);
    let shorter = Difference::ShorterRetention { stream: stream(), before, now };
    assert_eq!(declare(config(RETENTION * 2)), [shorter, shards]);
    // A stream that only a rule names keeps what was declared.
    assert_eq!(declare(None), []);
    transaction.commit().unwrap();
    let summary = &world.reader().streams().unwrap()[0];
    assert_eq!((summary.shards, summary.retention), (2, RETENTION * 2));
}

#[test]
fn times_of_a_clock_that_was_ahead_are_taken_for_the_present() {
    let mut world = World::new(1);
    let input = |at| Input { key: "a".to_owned(), hash_key: None, at, data: vec![1], hops: 0 };
    for at in [100, 5_000, 5_100] {
        world.take(&Step::Commit(vec![input(at)]));
    }
    let set_back = |world: &mut World, now| {
        let transaction = world.writer.transaction().unwrap();
        while retention::set_back(&transaction, Timestamp::from_millis(now)).unwrap() {}
        transaction.commit().unwrap();
        world.appender.forget();
    };
    set_back(&mut world, 200);
    world.take(&Step::Commit(vec![input(210), input(220)]));
    let first_since = |world: &World, at| {
        let (reader, at) = (world.reader(), StartAt::AtTimestamp(Timestamp::from_millis(at)));
        let shard = &reader.shards("s").unwrap()[0];
        read_all(&reader, shard, at, 10).first().map(|record| record.at.as_millis())
    };
    assert_eq!(first_since(&world, 201), Some(210), "not what was ahead");
    assert_eq!(first_since(&world, 215), Some(220));
    let shard = |world: &World| world.reader().shards("s").unwrap().remove(0);
    assert_eq!(shard(&world).last_at, Some(Timestamp::from_millis(220)));
    // Retention takes them with their neighbours.
    world.model.clear();
    world.trim(Timestamp::from_millis(205) + RETENTION);
    assert_eq!(shard(&world).records, 2);
    world.trim(Timestamp::from_millis(225) + RETENTION);
    assert_eq!(shard(&world).records, 0);
    // Nothing is left of a later time either where a shard is empty.
    world.take(&Step::Commit(vec![input(9_000)]));
    world.trim(Timestamp::from_millis(9_001) + RETENTION);
    set_back(&mut world, 300);
    world.take(&Step::Commit(vec![input(310)]));
    assert_eq!(shard(&world).last_at, Some(Timestamp::from_millis(310)));
}

#[test]
fn records_and_names_out_of_bounds_are_refused() {
    let record = |key, data| NewRecord {
        partition_key: key,
        hash_key: None,
        data,
        at: Timestamp::EPOCH,
        hops: 0,
    };
    let longest = "ü".repeat(256);
    let long = "ü".repeat(257);
    let large = vec![0; limits::RECORD_BYTES_MAX];
    assert!(record(&longest, &[]).check().is_ok());
    assert!(matches!(record(&long, &[]).check(), Err(StreamError::PartitionKey(257))));
    assert!(matches!(record("", &[]).check(), Err(StreamError::PartitionKey(0))));
    assert!(record("k", &large[1..]).check().is_ok());
    assert!(matches!(record("k", &large).check(), Err(StreamError::RecordTooLarge(1_048_577))));
    assert!(check_name("a.b-C_9").is_ok());
    for name in ["", "a b", "ä", &"x".repeat(129)] {
        assert!(matches!(check_name(name), Err(StreamError::BadName(_))), "{name}");
    }
}
