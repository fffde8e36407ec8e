use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::config::RoomConfig;
use crate::config::StreamConfig;
use crate::journal::Effect;
use crate::journal::effect_stage::EffectJournal;
use crate::storage::Storage;
use crate::stream::Appender;
use crate::stream::NewRecord;
use crate::stream::Reader;
use crate::stream::Verified;
use crate::stream::Watch;
use crate::stream::table as tables;

const T: i64 = 1_700_000_000_000;

fn record(key: &str, data: &'static [u8], at: i64) -> Effect {
    Effect::Stream {
        stream: "s".into(),
        partition_key: key.into(),
        hash_key: None,
        data: bytes::Bytes::from_static(data),
        at: Timestamp::from_millis(at),
        hops: 0,
    }
}

fn write(writer: &mut Connection, commits: &[Vec<(u8, i64)>]) {
    let mut appender = Appender::default();
    for commit in commits {
        let transaction = writer.transaction().unwrap();
        for (key, at) in commit {
            let key = key.to_string();
            let at = Timestamp::from_millis(*at);
            let record =
                NewRecord { partition_key: &key, hash_key: None, data: &[b'x'; 99], at, hops: 0 };
            appender.push(&transaction, &Arc::from("s"), &record).unwrap();
        }
        appender.flush(&transaction).unwrap();
        transaction.commit().unwrap();
    }
}

struct Nothing;

impl Watch for Nothing {
    fn found(&mut self, finding: crate::stream::Finding) {
        panic!("{finding}");
    }

    fn read(&mut self, _: &Verified) {}
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of every shard a tail is left, no more is dropped than a block beyond the target, and nothing
    /// that is left is older than what was dropped of another shard.
    #[test]
    fn the_oldest_go_until_the_rest_fits(
        commits in prop::collection::vec(prop::collection::vec((0..9_u8, 0..1000_i64), 1..4), 1..30),
        target in 0..5000_u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let config = StreamConfig { shards: 3, ..StreamConfig::default() };
        let now = Timestamp::from_millis(T);
        tables::declare(&writer, &[("s".to_owned(), Some(config))], now).unwrap();
        write(&mut writer, &commits);
        let before = tables::held(&writer, "s").unwrap();
        let transaction = writer.transaction().unwrap();
        let dropped = table::drop_oldest(&transaction, "s", target).unwrap();
        transaction.commit().unwrap();
        let after = tables::held(&writer, "s").unwrap();
        prop_assert_eq!(after, dropped.held);
        prop_assert_eq!(before - after, dropped.lost.bytes);
        prop_assert!(dropped.is_done);
        prop_assert!(after <= target);
        // A block has at most three records of some hundred bytes.
        prop_assert!(before <= target || after + 3 * 102 > target, "{before} {after} {target}");
        let reader = Reader::new(storage.reader().unwrap());
        let verified = reader.verify(None, &mut Nothing).unwrap();
        let all: usize = commits.iter().map(Vec::len).sum();
        prop_assert_eq!(verified.records + dropped.lost.records, all as u64);
    }
}

#[test]
fn a_job_drops_no_more_than_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let (mut writer, _jobs) = storage.take_writer().unwrap();
    tables::declare(&writer, &[("s".to_owned(), None)], Timestamp::from_millis(T)).unwrap();
    let commits: Vec<Vec<(u8, i64)>> = (0..1500).map(|n| vec![(7, n)]).collect();
    write(&mut writer, &commits);
    let dropped = table::drop_oldest(&writer, "s", 0).unwrap();
    assert_eq!((dropped.lost.records, dropped.is_done), (1000, false));
    let dropped = table::drop_oldest(&writer, "s", 0).unwrap();
    assert_eq!((dropped.lost.records, dropped.held, dropped.is_done), (500, 0, true));
}

#[derive(Default)]
struct Heard(Mutex<Vec<(Arc<str>, Overflow)>>, tokio::sync::Notify);

impl OverflowSink for Heard {
    fn overflowed(&self, stream: &Arc<str>, overflow: &Overflow) {
        self.0.lock().push((Arc::clone(stream), *overflow));
        self.1.notify_one();
    }
}

/// A room of 1,000 bytes in a journal whose stage does not meter: the test plays the appender's part.
async fn full(when_full: WhenFull) -> (EffectJournal, Arc<Meter>, Arc<Heard>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    for n in 0..20 {
        journal.commit(vec![record("a", &[b'x'; 99], T + n)]).await;
    }
    let defaults = RoomConfig { size_max: Some(1000), full: when_full };
    let meter = Arc::new(Meter::new(&defaults, &Default::default()));
    let heard = Arc::new(Heard::default());
    take_stock(&journal.storage.executor(), &meter).await.unwrap();
    assert_eq!(meter.stream("s").held(), 2000);
    let (executor, sink) = (journal.storage.executor(), Arc::clone(&heard));
    tokio::spawn(keep_room(executor, Arc::clone(&meter), journal.clock, sink));
    (journal, meter, heard, folder)
}

#[tokio::test]
async fn a_stream_that_is_over_its_room_loses_its_oldest_records_and_says_so() {
    let (journal, meter, heard, _folder) = full(WhenFull::DropOldest).await;
    heard.1.notified().await;
    let stream = meter.stream("s");
    assert_eq!(stream.dropped(), Amount { records: 11, bytes: 1100 });
    assert_eq!(stream.held(), 900);
    let told = heard.0.lock().clone();
    assert_eq!(&*told[0].0, "s");
    assert_eq!(told[0].1.lost, Amount { records: 11, bytes: 1100 });
    let reader = Reader::new(journal.storage.reader().unwrap());
    let shard = reader.shards("s").unwrap().into_iter().find(|shard| shard.records > 0).unwrap();
    assert_eq!((shard.records, shard.first_at), (9, Some(Timestamp::from_millis(T + 11))));
    let mut cursor = reader.cursor(&shard, crate::stream::StartAt::TrimHorizon).unwrap();
    let page = reader.read(&mut cursor, 1, 1000).unwrap();
    assert_eq!(page.records[0].at, Timestamp::from_millis(T + 11));
    assert_eq!(page.behind, Duration::from_millis(8), "counted from what is left");
    journal.close().await;
}

#[tokio::test]
async fn a_stream_that_refuses_is_looked_at_again_when_it_has() {
    let (journal, meter, heard, _folder) = full(WhenFull::Refuse).await;
    let stream = meter.stream("s");
    // As if retention had made room meanwhile.
    let executor = journal.storage.executor();
    executor.execute(|tx| table::drop_oldest(tx, "s", 0).map(drop)).await.unwrap();
    assert!(meter.admit("s", 1).is_err(), "nobody has looked");
    heard.1.notified().await;
    assert_eq!(stream.held(), 0);
    assert!(meter.admit("s", 1000).is_ok());
    assert_eq!(heard.0.lock()[0].1.lost, Amount { records: 1, bytes: 1 });
    journal.close().await;
}
