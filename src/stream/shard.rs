//! Shards: which hash keys each one takes, and which one a record goes to.

use std::fmt;

use md5::Digest;
use md5::Md5;

/// Number of a shard in its stream; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    /// As Kinesis writes it: `shardId-000000000003`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

/// The hash keys a shard takes, both ends included (Kinesis: `HashKeyRange`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    /// Lowest.
    pub start: u128,
    /// Highest.
    pub end: u128,
}

/// Splits all hash keys evenly among `shards`, in order, as Kinesis does at CreateStream: the last
/// shard also takes what the division leaves over.
pub(super) fn split_evenly(shards: u32) -> impl Iterator<Item = HashRange> {
    assert!(shards > 0, "a stream has at least one shard");
    let count = u128::from(shards);
    // 2^128 / count, without the 129th bit.
    let width = if count == 1 { u128::MAX } else { (u128::MAX - count + 1) / count + 1 };
    (0..count).map(move |place| {
        let start = place * width;
        let end = if place == count - 1 { u128::MAX } else { start + (width - 1) };
        HashRange { start, end }
    })
}

/// The hash key of a partition key: its MD5 as a big-endian number (Kinesis, "Partition Key").
pub fn hash_partition_key(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

/// The place in `starts`, the ascending lowest hash keys of all shards, of the one that takes `hash`.
pub(super) fn find(starts: &[u128], hash: u128) -> usize {
    starts.partition_point(|start| *start <= hash).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The device ids of a recorded day, and the shard each is in for a number of shards: computed
    /// independently from the definition.
    const DEVICES: [(&str, [usize; 7]); 3] = [
        ("0e:9c:00:4c:1c:51", [0, 1, 1, 2, 2, 4, 8]),
        ("5e:44:3b:f3:79:c8", [0, 0, 0, 1, 1, 2, 4]),
        ("f3:6b:f4:34:c0:17", [0, 0, 1, 1, 1, 2, 5]),
    ];

    #[test]
    fn partition_keys_go_where_kinesis_puts_them() {
        for (place, shards) in [1, 2, 3, 4, 5, 8, 16].into_iter().enumerate() {
            let starts: Vec<u128> = split_evenly(shards).map(|range| range.start).collect();
            for (device, expected) in DEVICES {
                let found = find(&starts, hash_partition_key(device));
                assert_eq!(found, expected[place], "{device} among {shards}");
            }
        }
    }

    #[test]
    fn ranges_cover_every_hash_key_once() {
        for shards in [1, 2, 3, 5, 7, 16, 1000] {
            let ranges: Vec<HashRange> = split_evenly(shards).collect();
            assert_eq!(ranges.len(), usize::try_from(shards).unwrap());
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, u128::MAX);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end + 1, pair[1].start);
            }
            let starts: Vec<u128> = ranges.iter().map(|range| range.start).collect();
            for (place, range) in ranges.iter().enumerate() {
                assert_eq!((find(&starts, range.start), find(&starts, range.end)), (place, place));
            }
        }
    }

    #[test]
    fn four_shards_have_the_ranges_of_the_kinesis_documentation() {
        let starts: Vec<String> = split_evenly(4).map(|range| range.start.to_string()).collect();
        assert_eq!(
            starts,
            [
                "0",
                "85070591730234615865843651857942052864",
                "170141183460469231731687303715884105728",
                "255211775190703847597530955573826158592",
            ]
        );
    }
}
