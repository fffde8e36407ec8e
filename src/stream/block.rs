//! A block: the records that one commit adds to one shard, as one blob.
//!
//! ```text
//! version, count, base time, then each record:
//!     partition key, what it has, [explicit hash key], [hops], time minus base time, data
//! ```
//!
//! in the framing of [`crate::storage::frame`], whose checksum covers all of it. An encrypted block has version 3 and, behind
//! it, the same fields as [`crate::storage::cipher`] seals them: bound to their stream, shard and block number.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::limits;
use crate::storage::cipher::NoKey;
use crate::storage::cipher::NotOpened;
use crate::storage::cipher::Opener;
use crate::storage::cipher::Sealer;
use crate::storage::frame::CHECKSUM_BYTES;
use crate::storage::frame::Damaged;
use crate::storage::frame::FrameReader;
use crate::storage::frame::FrameWriter;

use super::NewRecord;
use super::ShardId;
use super::sequence::BLOCK_RECORDS_MAX;

/// Written by this build. In version 1 no record has hops.
const VERSION: u8 = 2;
/// What is behind it is encrypted.
const ENCRYPTED: u8 = 3;
/// What a record has, as bits.
const HAS_HASH_KEY: u8 = 1;
const HAS_HOPS: u8 = 2;

/// A record as a block holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockRecord {
    pub(super) partition_key: CompactString,
    pub(super) hash_key: Option<u128>,
    pub(super) hops: u8,
    pub(super) at: Timestamp,
    pub(super) data: Bytes,
}

/// Where a block is: what an encrypted one is bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockPlace<'a> {
    pub(super) stream: &'a str,
    pub(super) shard: ShardId,
    /// Seconds since the epoch.
    pub(super) shard_made: u64,
    pub(super) block: u64,
}

impl BlockPlace<'_> {
    /// The name comes last, because it alone has no fixed length.
    fn associated(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.stream.len());
        bytes.extend_from_slice(&self.shard.0.to_be_bytes());
        bytes.extend_from_slice(&self.shard_made.to_be_bytes());
        bytes.extend_from_slice(&self.block.to_be_bytes());
        bytes.extend_from_slice(self.stream.as_bytes());
        bytes
    }
}

/// Collects records until they are written.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    records: FrameWriter,
    whole: FrameWriter,
    encrypted: FrameWriter,
    count: usize,
    /// Bytes of the data and partition keys.
    payload_bytes: usize,
    base_at: Timestamp,
    peak_at: Option<Timestamp>,
}

impl BlockWriter {
    pub(super) fn push(&mut self, record: &NewRecord<'_>) {
        if self.count == 0 {
            self.base_at = record.at;
        }
        self.records.put_bytes(record.partition_key.as_bytes());
        let has_hash_key = if record.hash_key.is_some() { HAS_HASH_KEY } else { 0 };
        let has_hops = if record.hops > 0 { HAS_HOPS } else { 0 };
        self.records.put_u8(has_hash_key | has_hops);
        if let Some(hash_key) = record.hash_key {
            self.records.put_u128(hash_key);
        }
        if record.hops > 0 {
            self.records.put_u8(record.hops);
        }
        self.records.put_signed(record.at.as_millis().wrapping_sub(self.base_at.as_millis()));
        self.records.put_bytes(record.data);
        self.count += 1;
        self.payload_bytes += record.payload_bytes();
        self.peak_at = self.peak_at.max(Some(record.at));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next record belongs into a block of its own.
    pub(super) fn is_full(&self) -> bool {
        self.count >= BLOCK_RECORDS_MAX || self.records.len() >= limits::BLOCK_BYTES_MAX
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The latest time among the records.
    pub(super) fn peak_at(&self) -> Option<Timestamp> {
        self.peak_at
    }

    fn join(&mut self) {
        self.whole.clear();
        self.whole.put_u8(VERSION);
        self.whole.put_varint(self.count as u64);
        self.whole.put_signed(self.base_at.as_millis());
        self.whole.put_fields(&self.records);
    }

    /// The blob.
    pub(super) fn seal(&mut self) -> &[u8] {
        self.join();
        self.whole.seal()
    }

    /// The blob, encrypted with the key of a name.
    pub(super) fn encrypt(
        &mut self,
        sealer: &mut Sealer,
        key: &Arc<str>,
        place: BlockPlace<'_>,
    ) -> Result<&[u8], NoKey> {
        self.join();
        self.encrypted.clear();
        self.encrypted.put_u8(ENCRYPTED);
        let associated = place.associated();
        sealer.seal(key, &associated, self.whole.fields(), &mut self.encrypted)?;
        Ok(self.encrypted.seal())
    }

    /// Begins the next block; keeps the memory of an ordinary one only.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.whole.clear();
        self.encrypted.clear();
        self.count = 0;
        self.payload_bytes = 0;
        self.peak_at = None;
    }
}

/// Whether a blob says that it is encrypted. Looks no further.
pub(super) fn is_encrypted(blob: &[u8]) -> bool {
    blob.get(CHECKSUM_BYTES) == Some(&ENCRYPTED)
}

/// Checks the checksum and the head of a blob; one that is encrypted is decrypted into `clear`.
pub(super) fn open<'a>(
    blob: &'a [u8],
    opener: &Opener,
    place: BlockPlace<'_>,
    clear: &'a mut Vec<u8>,
) -> Result<BlockReader<'a>, NotOpened> {
    let mut fields = FrameReader::open(blob)?;
    if is_encrypted(blob) {
        fields.read_u8()?;
        *clear = opener.open(&mut fields, &place.associated())?;
        fields = FrameReader::of_fields(clear);
    }
    Ok(BlockReader::begin(fields)?)
}

/// Reads a block's records in order.
pub(super) struct BlockReader<'a> {
    fields: FrameReader<'a>,
    left: u64,
    base_at: i64,
}

impl<'a> BlockReader<'a> {
    fn begin(mut fields: FrameReader<'a>) -> Result<Self, Damaged> {
        if !(1..=VERSION).contains(&fields.read_u8()?) {
            return Err(Damaged("an unknown version of the form"));
        }
        let left = fields.read_varint()?;
        let base_at = fields.read_signed()?;
        Ok(BlockReader { fields, left, base_at })
    }

    /// Whether nothing is behind what has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.fields.is_at_end()
    }

    fn read(&mut self) -> Result<BlockRecord, Damaged> {
        let partition_key = CompactString::from(self.fields.read_str()?);
        let has = self.fields.read_u8()?;
        let hash_key = match has & HAS_HASH_KEY {
            0 => None,
            _ => Some(self.fields.read_u128()?),
        };
        let hops = if has & HAS_HOPS == 0 { 0 } else { self.fields.read_u8()? };
        let at = Timestamp::from_millis(self.base_at.wrapping_add(self.fields.read_signed()?));
        let data = Bytes::copy_from_slice(self.fields.read_bytes()?);
        Ok(BlockRecord { partition_key, hash_key, hops, at, data })
    }
}

impl Iterator for BlockReader<'_> {
    type Item = Result<BlockRecord, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = self.read();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}
