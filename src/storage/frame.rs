//! Framing of what a commit stores as one blob: a checksum, then fields back to back.
//!
//! ```text
//! blob    = crc32 (little endian, of everything after it), fields
//! varint  = 7 bits a byte, lowest first, the high bit says that more follow
//! signed  = varint of the zigzag form
//! bytes   = varint length, bytes
//! ```
//!
//! A reader never trusts a length: whatever does not fit is [`Damaged`], never a panic and never an
//! allocation of a claimed size.

use flate2::Crc;

/// Bytes before the first field.
pub(crate) const CHECKSUM_BYTES: usize = 4;
/// A `u64` has at most this many varint bytes.
const VARINT_BYTES_MAX: u32 = 10;

/// A stored blob does not have the form it was written in: bit rot, or a foreign hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored block is damaged: {0}")]
pub struct Damaged(pub(crate) &'static str);

/// Writes fields; reusable.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    bytes: Vec<u8>,
}

impl Default for FrameWriter {
    fn default() -> Self {
        FrameWriter { bytes: vec![0; CHECKSUM_BYTES] }
    }
}

impl FrameWriter {
    /// Forgets all fields, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(CHECKSUM_BYTES);
    }

    /// Bytes of the fields so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - CHECKSUM_BYTES
    }

    /// Adds one byte.
    pub(crate) fn put_u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Adds a number.
    pub(crate) fn put_varint(&mut self, mut value: u64) {
        loop {
            let low = (value & 0x7f).to_le_bytes()[0];
            value >>= 7;
            if value == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }

    /// Adds a number that may be negative.
    pub(crate) fn put_signed(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Adds sixteen bytes as they are.
    pub(crate) fn put_u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Adds bytes with their length.
    pub(crate) fn put_bytes(&mut self, value: &[u8]) {
        self.put_varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// The fields so far.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.bytes[CHECKSUM_BYTES..]
    }

    /// Adds all fields of `other`.
    pub(crate) fn put_fields(&mut self, other: &FrameWriter) {
        self.bytes.extend_from_slice(other.fields());
    }

    /// The blob, with its checksum. Fields can still be added after it; seal again then.
    pub(crate) fn seal(&mut self) -> &[u8] {
        let crc = checksum(self.fields());
        self.bytes[..CHECKSUM_BYTES].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// Reads fields in the order they were written.
#[derive(Clone, Debug)]
pub(crate) struct FrameReader<'a> {
    rest: &'a [u8],
}

impl<'a> FrameReader<'a> {
    /// Checks the checksum of `blob`.
    pub(crate) fn open(blob: &'a [u8]) -> Result<Self, Damaged> {
        let (crc, rest) = blob
            .split_first_chunk::<CHECKSUM_BYTES>()
            .ok_or(Damaged("shorter than its checksum"))?;
        if u32::from_le_bytes(*crc) != checksum(rest) {
            return Err(Damaged("the checksum does not match"));
        }
        Ok(FrameReader { rest })
    }

    /// Reads fields that have no checksum, because something else vouches for them.
    pub(crate) fn of_fields(fields: &'a [u8]) -> Self {
        FrameReader { rest: fields }
    }

    /// Whether every field has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads one byte.
    pub(crate) fn read_u8(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.rest.split_first().ok_or(Damaged("a field is missing"))?;
        self.rest = rest;
        Ok(*first)
    }

    /// Reads a number.
    pub(crate) fn read_varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for place in 0..VARINT_BYTES_MAX {
            let byte = self.read_u8()?;
            let bits = u64::from(byte & 0x7f);
            if place == VARINT_BYTES_MAX - 1 && bits > 1 {
                break;
            }
            value |= bits << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged("a number has too many bits"))
    }

    /// Reads a number that may be negative.
    pub(crate) fn read_signed(&mut self) -> Result<i64, Damaged> {
        let raw = self.read_varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// Reads sixteen bytes.
    pub(crate) fn read_u128(&mut self) -> Result<u128, Damaged> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(Damaged("a field is missing"))?;
        self.rest = rest;
        Ok(u128::from_le_bytes(*value))
    }

    /// Reads bytes with their length.
    pub(crate) fn read_bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(self.read_varint()?).unwrap_or(usize::MAX);
        let (value, rest) =
            self.rest.split_at_checked(length).ok_or(Damaged("a length reaches past the end"))?;
        self.rest = rest;
        Ok(value)
    }

    /// Reads text with its length.
    pub(crate) fn read_str(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.read_bytes()?).map_err(|_| Damaged("text is not UTF-8"))
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_read_back_as_written(a: u64, b: i64, c: u128, d: Vec<u8>, e: String, f: u8) {
            let mut writer = FrameWriter::default();
            for _ in 0..2 {
                writer.clear();
                writer.put_varint(a);
                writer.put_signed(b);
                writer.put_u128(c);
                writer.put_bytes(&d);
                writer.put_bytes(e.as_bytes());
                writer.put_u8(f);
            }
            let blob = writer.seal().to_vec();
            let mut reader = FrameReader::open(&blob).unwrap();
            prop_assert_eq!(reader.read_varint(), Ok(a));
            prop_assert_eq!(reader.read_signed(), Ok(b));
            prop_assert_eq!(reader.read_u128(), Ok(c));
            prop_assert_eq!(reader.read_bytes(), Ok(d.as_slice()));
            prop_assert_eq!(reader.read_str(), Ok(e.as_str()));
            prop_assert_eq!(reader.read_u8(), Ok(f));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn every_flipped_bit_is_noticed(data: Vec<u8>, place: prop::sample::Index, bit in 0..8) {
            let mut writer = FrameWriter::default();
            writer.put_bytes(&data);
            let mut blob = writer.seal().to_vec();
            let place = place.index(blob.len());
            blob[place] ^= 1_u8 << bit;
            prop_assert!(FrameReader::open(&blob).is_err());
        }

        #[test]
        fn any_fields_are_read_without_a_panic(fields: Vec<u8>) {
            let mut blob = checksum(&fields).to_le_bytes().to_vec();
            blob.extend_from_slice(&fields);
            let mut reader = FrameReader::open(&blob).unwrap();
            while !reader.is_at_end() && reader.read_bytes().is_ok() {}
            let mut reader = FrameReader::open(&blob).unwrap();
            while !reader.is_at_end() && reader.read_signed().is_ok() {}
        }
    }
}
