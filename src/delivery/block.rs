//! A block: the entries that one commit adds to one delivery, as one blob.
//!
//! ```text
//! version, count, then each entry's data
//! ```
//!
//! in the framing of [`crate::storage::frame`], whose checksum covers all of it. Blocks,
//! because a row an entry makes the commit that devices wait for longer (`docs/storage.md`).

use crate::limits;
use crate::storage::frame::Damaged;
use crate::storage::frame::FrameReader;
use crate::storage::frame::FrameWriter;

const VERSION: u8 = 1;

/// Collects entries until they are written.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    entries: FrameWriter,
    whole: FrameWriter,
    count: u32,
    data_bytes: i64,
}

impl BlockWriter {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.entries.put_bytes(data);
        self.count += 1;
        self.data_bytes += i64::try_from(data.len()).unwrap_or(i64::MAX);
    }

    /// Whether the next entry belongs into a block of its own.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= limits::BLOCK_BYTES_MAX
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the data, without the framing.
    pub(super) fn data_bytes(&self) -> i64 {
        self.data_bytes
    }

    /// The blob.
    pub(super) fn seal(&mut self) -> &[u8] {
        self.whole.clear();
        self.whole.put_u8(VERSION);
        self.whole.put_varint(u64::from(self.count));
        self.whole.put_fields(&self.entries);
        self.whole.seal()
    }

    /// Begins the next block.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.count = 0;
        self.data_bytes = 0;
    }
}

/// Calls `take` with each entry's data, in order. Entries are given out only when the whole block is
/// sound.
pub(super) fn read_block(blob: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), Damaged> {
    let mut fields = FrameReader::open(blob)?;
    if fields.read_u8()? != VERSION {
        return Err(Damaged("an unknown version of the form"));
    }
    let count = fields.read_varint()?;
    let mut ahead = fields.clone();
    for _ in 0..count {
        ahead.read_bytes()?;
    }
    if !ahead.is_at_end() {
        return Err(Damaged("more entries than it says"));
    }
    for _ in 0..count {
        take(fields.read_bytes()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_come_back_in_order(first: Vec<Vec<u8>>, second: Vec<Vec<u8>>) {
            let mut writer = BlockWriter::default();
            for entries in [first, second] {
                for entry in &entries {
                    writer.push(entry);
                }
                prop_assert_eq!(writer.count() as usize, entries.len());
                let mut read = Vec::new();
                prop_assert_eq!(read_block(writer.seal(), |data| read.push(data.to_vec())), Ok(()));
                prop_assert_eq!(read, entries);
                writer.clear();
                prop_assert_eq!(writer.count(), 0);
            }
        }
    }

    #[test]
    fn a_damaged_block_gives_out_nothing() {
        let mut writer = BlockWriter::default();
        writer.push(b"one");
        writer.push(b"two");
        let mut blob = writer.seal().to_vec();
        let last = blob.len() - 1;
        blob[last] ^= 1;
        let mut taken = 0;
        assert!(read_block(&blob, |_| taken += 1).is_err());
        assert_eq!(taken, 0);
    }
}
