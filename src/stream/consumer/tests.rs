//! A consumer against the plainest model: every record of every shard, in order, each once.

use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::config::StreamConfig;
use crate::limits::STREAM_TURN_DAMAGED_MAX;
use crate::storage::Storage;
use crate::stream::Appender;
use crate::stream::NewRecord;
use crate::stream::retention::trim;
use crate::stream::table as streams;

use super::*;

const RETENTION: Duration = Duration::from_millis(500);

struct World {
    _folder: TempDir,
    reader: Reader,
    writer: Connection,
    appender: Appender,
    /// Number of the next record.
    next: u32,
}

impl World {
    fn new(shards: u32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let transaction = writer.transaction().unwrap();
        let config = StreamConfig { shards, retention: RETENTION, ..StreamConfig::default() };
        let declared = [("s".to_owned(), Some(config))];
        streams::declare(&transaction, &declared, Timestamp::EPOCH).unwrap();
        transaction.commit().unwrap();
        let reader = Reader::new(storage.reader().unwrap());
        World { _folder: folder, reader, writer, appender: Appender::default(), next: 0 }
    }

    /// One commit of a record for each of these times.
    fn append(&mut self, times: &[i64]) {
        let transaction = self.writer.transaction().unwrap();
        for at in times {
            let (key, data) = (format!("key {}", self.next % 7), self.next.to_string());
            let at = Timestamp::from_millis(*at);
            let record = NewRecord {
                partition_key: &key,
                hash_key: None,
                data: data.as_bytes(),
                at,
                hops: 0,
            };
            self.appender.push(&transaction, &Arc::from("s"), &record).unwrap();
            self.next += 1;
        }
        self.appender.flush(&transaction).unwrap();
        transaction.commit().unwrap();
    }

    fn trim(&mut self, now: i64) {
        let transaction = self.writer.transaction().unwrap();
        let now = Timestamp::from_millis(now);
        while trim(&transaction, |retention| Some(now - retention)).unwrap() {}
        transaction.commit().unwrap();
        self.appender.forget();
    }

    fn settle(&mut self, specs: &[ConsumerSpec]) {
        let transaction = self.writer.transaction().unwrap();
        settle(&transaction, specs, Timestamp::EPOCH).unwrap();
        transaction.commit().unwrap();
    }

    fn commit(&mut self, consumer: &Consumer, places: &[Place]) {
        let transaction = self.writer.transaction().unwrap();
        for place in places {
            advance(&transaction, &consumer.advance(place)).unwrap();
        }
        transaction.commit().unwrap();
    }

    fn consumer(&self) -> Consumer {
        self.reader.consumers("s").unwrap().remove(0)
    }

    /// The numbers that a consumer reads from where it stands, at most `page` at a time, and how many
    /// it skips.
    fn read(&mut self, page: usize) -> (Vec<u32>, u64) {
        let (mut numbers, mut skipped) = (Vec::new(), 0);
        loop {
            let consumer = self.consumer();
            let mut places = consumer.places.clone();
            let ends = self.reader.ends(&places).unwrap();
            let found = self.reader.read_on(&mut places, &ends, page, usize::MAX).unwrap();
            assert!(found.is_cut || found.behind == found.records.len() as u64);
            skipped += found.skipped;
            for record in &found.records {
                pass(&mut places, record);
                numbers.push(number(record));
            }
            self.commit(&consumer, &places);
            if !found.is_cut {
                assert_eq!(self.consumer().places, places);
                return (numbers, skipped);
            }
            assert!(!found.records.is_empty(), "a page that is cut holds something");
        }
    }
}

fn number(record: &Record) -> u32 {
    std::str::from_utf8(&record.data).unwrap().parse().unwrap()
}

fn spec(start: ConsumerStart) -> ConsumerSpec {
    ConsumerSpec { name: Arc::from("c"), stream: Arc::from("s"), start, reads: true }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<i64>),
    Read,
    Trim(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec(0_i64..2000, 1..9).prop_map(Step::Append),
        3 => Just(Step::Read),
        1 => (0_i64..3000).prop_map(Step::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_record_is_read_once_or_counted_as_skipped(
        shards in 1_u32..5,
        steps in prop::collection::vec(step(), 1..20),
        page in 1_usize..9,
    ) {
        let mut world = World::new(shards);
        world.settle(&[spec(ConsumerStart::TrimHorizon)]);
        let (mut read, mut skipped) = (Vec::new(), 0);
        for step in steps.iter().chain([&Step::Read]) {
            match step {
                Step::Append(times) => world.append(times),
                Step::Trim(now) => world.trim(*now),
                Step::Read => {
                    let (mut numbers, left_out) = world.read(page);
                    read.append(&mut numbers);
                    skipped += left_out;
                }
            }
        }
        prop_assert_eq!(read.len() as u64 + skipped, u64::from(world.next));
        // A key is in one shard: its records come in their order, and none comes twice.
        for key in 0..7 {
            let of_key: Vec<u32> = read.iter().copied().filter(|n| n % 7 == key).collect();
            prop_assert!(of_key.is_sorted_by(|a, b| a < b), "{:?}", of_key);
        }
    }
}

#[test]
fn shards_are_read_in_the_order_of_arrival() {
    let mut world = World::new(4);
    world.settle(&[spec(ConsumerStart::TrimHorizon)]);
    world.append(&(0..200).collect::<Vec<i64>>());
    assert_eq!(world.read(20), ((0..200).collect(), 0));
}

#[test]
fn a_damaged_block_costs_its_own_records_alone() {
    let mut world = World::new(1);
    world.settle(&[spec(ConsumerStart::TrimHorizon)]);
    for _ in 0..40 {
        world.append(&[100, 100]);
    }
    // More in a row than one call moves over, and one at the end.
    let torn = "id & 0xffffffffff BETWEEN 3 AND 30 OR id & 0xffffffffff = 40";
    let sql = format!("UPDATE stream_block SET records = x'00010203040506' WHERE {torn}");
    world.writer.execute(&sql, []).unwrap();
    let (mut numbers, mut lost, mut calls) = (Vec::new(), 0, 0);
    let mut places = world.consumer().places;
    loop {
        let ends = world.reader.ends(&places).unwrap();
        let found = world.reader.read_on(&mut places, &ends, 100, usize::MAX).unwrap();
        calls += 1;
        assert!(found.damaged.len() <= STREAM_TURN_DAMAGED_MAX);
        lost += found.damaged.iter().map(|block| block.records).sum::<u64>();
        for record in &found.records {
            pass(&mut places, record);
            numbers.push(number(record));
        }
        let consumer = world.consumer();
        world.commit(&consumer, &places);
        let behind = 80 - u64::try_from(numbers.len()).unwrap() - lost;
        assert_eq!(world.reader.lag(&world.consumer()).unwrap(), behind, "the lag is honest");
        if !found.is_cut {
            break;
        }
    }
    let expected: Vec<u32> = (0..4).chain(60..78).collect();
    assert_eq!((numbers, lost), (expected, 58));
    assert!(calls <= 5, "{calls}");
}

#[test]
fn a_consumer_begins_where_it_is_declared_to_and_keeps_its_place() {
    let nothing: [u32; 0] = [];
    let read = |world: &mut World, spec: ConsumerSpec| {
        world.settle(&[spec]);
        world.read(3).0
    };
    let mut world = World::new(1);
    world.append(&[100, 200]);
    assert_eq!(read(&mut world, spec(ConsumerStart::Latest)), nothing);
    world.append(&[300, 150]);
    assert_eq!(read(&mut world, spec(ConsumerStart::Latest)), [2, 3]);
    assert_eq!(read(&mut world, spec(ConsumerStart::TrimHorizon)), [0, 1, 2, 3]);
    assert_eq!(read(&mut world, spec(ConsumerStart::TrimHorizon)), nothing);
    let since = |at| spec(ConsumerStart::AtTimestamp(Timestamp::from_millis(at)));
    assert_eq!(
        read(&mut world, since(201)),
        [2, 3],
        "from the block that has the first such record"
    );
    assert_eq!(world.consumer().not_before, Some(Timestamp::from_millis(201)));
    assert_eq!(read(&mut world, since(5000)), nothing);
    world.append(&[400]);

    let asleep = ConsumerSpec { reads: false, ..since(5000) };
    world.settle(std::slice::from_ref(&asleep));
    assert_eq!(world.read(3).0, [4], "it keeps its place");
    world.settle(&[]);
    assert_eq!(world.reader.consumers("s").unwrap(), []);
    world.settle(&[asleep]);
    assert_eq!(world.reader.consumers("s").unwrap(), [], "and begins when it reads");
}

#[test]
fn a_step_of_a_consumer_that_has_ended_moves_none_of_its_name() {
    let mut world = World::new(1);
    world.append(&[100, 200]);
    world.settle(&[spec(ConsumerStart::TrimHorizon)]);
    let before = world.consumer();
    world.read(9);
    let end = world.consumer().places;
    world.settle(&[]);
    world.settle(&[spec(ConsumerStart::TrimHorizon)]);
    world.commit(&before, &end);
    assert_eq!(world.read(9).0, [0, 1]);
}

#[test]
fn a_consumer_of_a_stream_that_is_not_there_makes_it() {
    let mut world = World::new(1);
    let other = ConsumerSpec { stream: Arc::from("other"), ..spec(ConsumerStart::Latest) };
    world.settle(&[other]);
    assert_eq!(world.reader.shards("other").unwrap().len(), 2);
    assert_eq!(world.reader.consumers("other").unwrap()[0].places.len(), 2);
}
