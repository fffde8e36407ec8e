//! Sequence numbers: where a record stands, as consumers see it.

use std::fmt;
use std::str::FromStr;

use super::shard::ShardId;

const SHARD_BITS: u32 = 32;
const POSITION_BITS: u32 = 56;
/// A block's records are numbered in this many bits.
const INDEX_BITS: u32 = 16;

/// Records in one block.
pub(super) const BLOCK_RECORDS_MAX: usize = 1 << INDEX_BITS;
/// Block numbers of a shard are below this: 34 years at a thousand commits a second.
pub(super) const BLOCKS_MAX: u64 = 1 << (POSITION_BITS - INDEX_BITS);

/// A record's place in its shard: the block's number and the place in the block. Later records have
/// greater positions; not every position has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position(u64);

impl Position {
    /// Record `index` of block `block`.
    pub(super) fn new(block: u64, index: u16) -> Position {
        assert!(block < BLOCKS_MAX, "block numbers are given out one by one and end at the limit");
        Position(block << INDEX_BITS | u64::from(index))
    }

    /// Number of the block.
    pub(super) fn block(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    /// Place in the block.
    pub(super) fn index(self) -> u64 {
        self.0 & ((1 << INDEX_BITS) - 1)
    }

    /// As a database column has it.
    pub(super) fn to_column(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// See [`Position::to_column`].
    pub(super) fn from_column(column: i64) -> Position {
        Position(column.unsigned_abs())
    }

    /// The position before; the first has none and answers itself.
    pub(super) fn previous(self) -> Position {
        Position(self.0.saturating_sub(1))
    }

    /// The next position.
    pub(super) fn next(self) -> Position {
        Position(self.0.saturating_add(1))
    }
}

/// Where a record stands in its stream: unique in the stream, growing in each shard, over restarts
/// and whatever the clock does. Consumers treat it as an opaque decimal, as with Kinesis.
///
/// ```text
/// 40 bits  when the shard was made, seconds since the epoch: a shard split off later continues
///          above its parent
/// 56 bits  position in the shard
/// 32 bits  the shard
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(u128);

/// The text is not a sequence number: a decimal below 2^128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sequence number is a decimal number below 2^128")]
pub struct SequenceNumberError;

impl SequenceNumber {
    pub(super) fn new(shard_made: u64, position: Position, shard: ShardId) -> SequenceNumber {
        let made = u128::from(shard_made) << (POSITION_BITS + SHARD_BITS);
        SequenceNumber(made | u128::from(position.0) << SHARD_BITS | u128::from(shard.0))
    }

    /// The shard the record is in.
    pub fn shard(self) -> ShardId {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        ShardId(u32::from_le_bytes([a, b, c, d]))
    }

    /// When the shard it is in was made, seconds since the epoch.
    pub(super) fn shard_made(self) -> u64 {
        u64::try_from(self.0 >> (POSITION_BITS + SHARD_BITS)).unwrap_or(u64::MAX)
    }

    /// As bytes, the highest first: their order is the numbers'.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// See [`SequenceNumber::to_bytes`].
    pub(super) fn from_bytes(bytes: [u8; 16]) -> SequenceNumber {
        SequenceNumber(u128::from_be_bytes(bytes))
    }

    pub(super) fn position(self) -> Position {
        let position = (self.0 >> SHARD_BITS) & ((1 << POSITION_BITS) - 1);
        Position(u64::try_from(position).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SequenceNumber {
    type Err = SequenceNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SequenceNumberError);
        }
        text.parse().map(SequenceNumber).map_err(|_| SequenceNumberError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_and_text_read_back(
            made in 0..1_u64 << 40, block in 0..BLOCKS_MAX, index: u16, shard: u32,
        ) {
            let position = Position::new(block, index);
            let number = SequenceNumber::new(made, position, ShardId(shard));
            prop_assert_eq!(number.shard(), ShardId(shard));
            prop_assert_eq!(number.position(), position);
            prop_assert_eq!(number.shard_made(), made);
            prop_assert_eq!(position.block(), block);
            prop_assert_eq!(number.to_string().parse(), Ok(number));
            prop_assert!(SequenceNumber::new(made, position.next(), ShardId(shard)) > number);
        }
    }

    #[test]
    fn only_decimals_are_sequence_numbers() {
        for text in ["", "+1", "-1", "1.0", " 1", "x", "340282366920938463463374607431768211456"] {
            assert_eq!(text.parse::<SequenceNumber>(), Err(SequenceNumberError), "{text}");
        }
    }
}
