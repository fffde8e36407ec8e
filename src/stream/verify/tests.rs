use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use super::Finding;
use super::Verified;
use super::Watch;
use crate::clock::Timestamp;
use crate::config::StreamConfig;
use crate::storage::KEY_BYTES;
use crate::storage::Keyring;
use crate::storage::Storage;
use crate::stream::Appender;
use crate::stream::ConsumerSpec;
use crate::stream::ConsumerStart;
use crate::stream::NewRecord;
use crate::stream::Reader;
use crate::stream::settle;
use crate::stream::table;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

#[derive(Default)]
struct Seen(Vec<Finding>);

impl Watch for Seen {
    fn found(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    fn read(&mut self, _verified: &Verified) {}
}

/// A stream `s` of two shards with twenty commits of three records, which rule `r` reads.
struct World {
    storage: Storage,
    writer: Connection,
    _folder: TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (writer, _jobs) = storage.take_writer().unwrap();
        let config = StreamConfig { shards: 2, retention: 24 * HOUR, ..StreamConfig::default() };
        let now = Timestamp::from_millis(1_000_000);
        table::declare(&writer, &[("s".to_owned(), Some(config))], now).unwrap();
        let spec = ConsumerSpec {
            name: "r".into(),
            stream: "s".into(),
            start: ConsumerStart::TrimHorizon,
            reads: true,
        };
        settle(&writer, &[spec], now).unwrap();
        let mut world = World { storage, writer, _folder: folder };
        world.append(1_000_000);
        world
    }

    fn append(&mut self, at: i64) {
        let mut appender = Appender::new(Arc::default(), Arc::default(), keyring());
        for commit in 0..20_i64 {
            let transaction = self.writer.transaction().unwrap();
            for key in ["a", "b", "c"] {
                let at = Timestamp::from_millis(at + commit);
                let record = NewRecord {
                    partition_key: key,
                    hash_key: None,
                    data: b"{\"n\":1}",
                    at,
                    hops: 0,
                };
                appender.push(&transaction, &Arc::from("s"), &record).unwrap();
            }
            appender.flush(&transaction).unwrap();
            transaction.commit().unwrap();
        }
    }

    fn verify(&self) -> (Verified, Vec<Finding>) {
        self.verify_with(keyring())
    }

    fn verify_with(&self, keys: Arc<Keyring>) -> (Verified, Vec<Finding>) {
        let mut seen = Seen::default();
        let reader = Reader::new(self.storage.reader().unwrap().with_keys(keys));
        let verified = reader.verify(None, &mut seen).unwrap();
        (verified, seen.0)
    }

    /// What is told when `sql` has been run over what was whole.
    #[track_caller]
    fn after(sql: &str) -> Vec<String> {
        let world = World::new();
        assert_eq!(world.verify().1, [], "whole before");
        world.writer.execute_batch(sql).unwrap();
        let mut told: Vec<String> = world.verify().1.iter().map(ToString::to_string).collect();
        told.dedup();
        told
    }
}

fn keyring() -> Arc<Keyring> {
    let mut keys = Keyring::default();
    keys.add("one", &[], [1; KEY_BYTES]);
    Arc::new(keys)
}

#[test]
fn encrypted_blocks_are_authentic_where_they_stand_or_told() {
    let encrypted = || {
        let mut world = World::new();
        let sql = "UPDATE stream SET is_encrypted = 1, key_id = 'one'";
        world.writer.execute_batch(sql).unwrap();
        world.append(2_000_000);
        world
    };
    let world = encrypted();
    assert_eq!(world.verify().1, []);
    // Without the key the rows are checked, and what is in them is not.
    let (verified, found) = world.verify_with(Arc::default());
    assert_eq!((verified.blocks, verified.records, found.len()), (80, 60, 40));
    let first = found.first().unwrap();
    assert_eq!(
        (first.to_string().as_str(), first.aspect.is_damage()),
        (
            "s, shardId-000000000000, block 21: it is encrypted with the key 'one', which is not there",
            false
        )
    );
    let not_here = "it is not what was encrypted here";
    // Another block of the same shard and size, one of another stream's name, one of another shard's number.
    for (sql, at) in [
        (
            "UPDATE stream_block SET records = (
                 SELECT records FROM stream_block WHERE id = (2 << 40) + 31
             ) WHERE id = (2 << 40) + 30",
            30,
        ),
        ("UPDATE stream SET name = 't'", 21),
        ("UPDATE stream_shard SET created_at = created_at + 1000 WHERE number = 1", 21),
    ] {
        let world = encrypted();
        world.writer.execute_batch(sql).unwrap();
        let found = world.verify().1;
        let of_shard_1 = |finding: &&Finding| finding.shard.is_some_and(|shard| shard.0 == 1);
        let told: Vec<_> = found
            .iter()
            .filter(of_shard_1)
            .filter(|finding| finding.message == not_here)
            .filter_map(|finding| finding.block)
            .collect();
        assert_eq!(told.first(), Some(&at), "{sql}: {found:?}");
        assert!(found.iter().all(|finding| finding.aspect.is_damage()));
    }
}

/// The blocks of shard 1, to which `b` goes, so that each has one record.
const IN_1: &str = "id BETWEEN (2 << 40) AND (3 << 40) - 1";

#[test]
fn what_is_whole_is_counted() {
    let (verified, found) = World::new().verify();
    assert_eq!(found, []);
    let Verified { streams, shards, blocks, records, bytes } = verified;
    assert_eq!((streams, shards, blocks, records), (1, 2, 40, 60));
    assert!(bytes > 60 * 8, "{bytes}");
}

#[test]
fn every_flipped_byte_of_a_block_is_told_with_its_place() {
    let world = World::new();
    let id: i64 = (2 << 40) + 7;
    let blob = |writer: &Connection| -> Vec<u8> {
        writer
            .query_row("SELECT records FROM stream_block WHERE id = ?1", [id], |row| row.get(0))
            .unwrap()
    };
    let whole = blob(&world.writer);
    let write = |bytes: &[u8]| {
        let sql = "UPDATE stream_block SET records = ?2 WHERE id = ?1";
        world.writer.execute(sql, rusqlite::params![id, bytes]).unwrap();
    };
    let place = "s, shardId-000000000001, block 7: ";
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        write(&damaged);
        let told: Vec<String> = world.verify().1.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("{place}the checksum does not match")], "byte {byte}");
    }
    write(&whole[..whole.len() - 1]);
    assert_eq!(world.verify().1.len(), 1);
    write(&[]);
    let told = world.verify().1[0].to_string();
    assert_eq!(told, format!("{place}shorter than its checksum"));
    write(&whole);
    assert_eq!(world.verify().1, []);
}

#[test]
fn what_is_missing_or_miscounted_is_told() {
    let told = World::after(&format!("DELETE FROM stream_block WHERE {IN_1} AND id & 255 = 5"));
    assert_eq!(told, ["s, shardId-000000000001, block 6: block 5 is missing before it"]);
    let told = World::after(&format!("DELETE FROM stream_block WHERE {IN_1} AND id & 255 < 4"));
    assert_eq!(
        told,
        [
            "s, shardId-000000000001: rule r stands at block 1, which is not there",
            "s, shardId-000000000001, block 4: 3 blocks from 1 on are missing before it",
        ]
    );
    let told = World::after(&format!(
        "UPDATE stream_block SET record_count = 2 WHERE {IN_1} AND id & 255 = 5"
    ));
    assert!(
        told[0].ends_with("block 5: the shard's records go on at 5, and there are 6"),
        "{told:?}"
    );
    assert!(told[1].ends_with("block 5: it has 1 records, and its row says 2"), "{told:?}");
    let told = World::after(&format!(
        "UPDATE stream_block SET bytes_total = bytes_total + 1 WHERE {IN_1} AND id & 255 >= 5"
    ));
    assert_eq!(
        told,
        ["s, shardId-000000000001, block 5: it has 8 bytes of data and keys, and the totals 9"]
    );
    let told =
        World::after(&format!("UPDATE stream_block SET peak_at = 5 WHERE {IN_1} AND id & 255 = 5"));
    assert_eq!(told, ["s, shardId-000000000001, block 5: the shard's latest time goes down"]);
}

#[test]
fn a_record_in_another_shard_is_told() {
    let told = World::after(
        "UPDATE stream_shard SET hash_start = (SELECT hash_end FROM stream_shard WHERE id = 1)
         WHERE id = 2; UPDATE stream_shard SET hash_end = zeroblob(16) WHERE id = 1",
    );
    assert!(told[0].contains("the hash keys of shardId-000000000000 and"), "{told:?}");
    let of_key = |line: &&String| line.contains("block 3, record 0: its hash key");
    assert_eq!(told.iter().filter(of_key).count(), 1, "{told:?}");
}

#[test]
fn shards_that_cannot_be_are_told() {
    for (sql, expected) in [
        (
            "UPDATE stream_shard SET closed_at = 1, closed_block = 20 WHERE id = 2",
            vec!["s: its open shards do not take all hash keys"],
        ),
        (
            "UPDATE stream_shard SET parent = 0 WHERE id = 2",
            vec!["s, shardId-000000000001: its parent shardId-000000000000 is open"],
        ),
        (
            "UPDATE stream_shard SET parent = 1 WHERE id = 1",
            vec!["s, shardId-000000000000: it is older than its parent shardId-000000000001"],
        ),
        (
            "UPDATE stream SET shards_made = 1",
            vec!["s, shardId-000000000001: its number was never given out: 1 were"],
        ),
        (
            "UPDATE stream_shard SET closed_block = 20 WHERE id = 1",
            vec![
                "s, shardId-000000000000: it is closed without an end, or has an end without being closed",
            ],
        ),
    ] {
        assert_eq!(World::after(sql), expected, "{sql}");
    }
    let told = World::after(
        "UPDATE stream_shard SET closed_at = 1, closed_block = 18 WHERE id = 1;
         UPDATE stream_shard SET hash_start = zeroblob(16), opened_at = 0, parent = 0 WHERE id = 2",
    );
    assert_eq!(
        told[0],
        "s, shardId-000000000001: it was opened before its parent shardId-000000000000 was closed"
    );
    let behind = "s, shardId-000000000000, block 19: it is behind the end of a closed shard";
    assert!(told.iter().any(|line| line == behind), "{told:?}");
}

#[test]
fn readers_that_stand_nowhere_are_told() {
    let set = |to: &str| World::after(&format!("UPDATE stream_position SET {to} WHERE shard = 2"));
    let place = "s, shardId-000000000001: rule r ";
    assert_eq!(
        set("position = 40 << 16"),
        [format!("{place}stands at block 40, and the last one is 20")]
    );
    assert_eq!(
        set("position = (5 << 16) + 2, records = 5"),
        [format!("{place}stands at record 2 of block 5, which has 1")]
    );
    assert_eq!(
        set("position = 5 << 16, records = 9"),
        [format!("{place}has counted 9 records up to its place, and there are 4")]
    );
    assert_eq!(set("position = 21 << 16, records = 20"), [""; 0]);
    assert_eq!(
        World::after("DELETE FROM stream_position WHERE shard = 2"),
        [format!("{place}has no place in it")]
    );
    assert_eq!(
        World::after("PRAGMA foreign_keys = 0; DELETE FROM stream_consumer"),
        ["database: 2 places of readers belong to no reader, or to no shard"]
    );
}

#[test]
fn registered_consumers_that_cannot_be_are_told() {
    let insert =
        "PRAGMA foreign_keys = 0; INSERT INTO stream_registered (stream, name, created_at)";
    assert_eq!(World::after(&format!("{insert} VALUES (1, 'ok', 0)")), [""; 0]);
    assert_eq!(
        World::after(&format!("{insert} VALUES (1, 'a b', 0), (1, 'c', -1)")),
        [
            "s: \"a b\" is no name of a registered consumer",
            "s: the registered consumer c was made before 1970",
        ]
    );
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 21)";
    assert_eq!(
        World::after(&format!(
            "PRAGMA foreign_keys = 0; {many}
             INSERT INTO stream_registered (stream, name, created_at) SELECT 1, 'c' || n, 0 FROM n"
        )),
        ["s: it has 21 registered consumers, and at most 20 are taken"]
    );
    assert_eq!(
        World::after(&format!(
            "{insert} VALUES (7, 'c', 0); INSERT INTO stream_registered_tag VALUES (9, 'k', 'v')"
        )),
        [
            "database: 1 consumers are registered with no stream",
            "database: 1 tags belong to no registered consumer, or to no stream",
        ]
    );
}

#[test]
fn rows_that_belong_to_nothing_are_told() {
    assert_eq!(
        World::after(
            "DELETE FROM stream_position; DELETE FROM stream_consumer; \
                      DELETE FROM stream_shard; DELETE FROM stream"
        ),
        ["database: 40 blocks belong to no shard"]
    );
}

#[test]
fn what_is_kept_for_too_long_is_no_damage() {
    let mut world = World::new();
    let sql = "INSERT INTO stream_run VALUES (1, 1000000, 1000000 + 48 * 3600000)";
    world.writer.execute(sql, []).unwrap();
    let (_, found) = world.verify();
    let shards: BTreeSet<_> = found.iter().map(|finding| finding.shard).collect();
    assert_eq!((found.len(), shards.len()), (2, 2), "told once a shard");
    assert!(found.iter().all(|finding| !finding.aspect.is_damage()));
    // What retention leaves behind is whole.
    let transaction = world.writer.transaction().unwrap();
    let horizon = Timestamp::from_millis(1_000_010);
    assert!(!crate::stream::retention::trim(&transaction, |_| Some(horizon)).unwrap());
    transaction.commit().unwrap();
    let (verified, _) = world.verify();
    assert_eq!((verified.blocks, verified.records), (20, 30));
    assert!(world.verify().1.iter().all(|finding| !finding.aspect.is_damage()));
    world.append(1_000_000);
    assert_eq!(world.verify().0.blocks, 60);
    assert!(world.verify().1.iter().all(|finding| !finding.aspect.is_damage()));
}
