//! MessagePack, item by item (the format's specification of 2017, with timestamps).
//!
//! Timestamps (extension -1) become epoch milliseconds, as all times of the language; of any other
//! extension the bytes are taken.

use std::borrow::Cow;

use jiff::Timestamp;

use super::DecodeError;
use super::binary;
use super::binary::Item;
use super::cbor::milliseconds;

/// The extension type of timestamps.
const TIMESTAMP: i8 = -1;

/// Reads a payload.
pub(super) struct Reader<'p> {
    payload: &'p [u8],
    position: usize,
}

impl<'p> Reader<'p> {
    pub(super) fn new(payload: &'p [u8]) -> Self {
        Reader { payload, position: 0 }
    }

    fn take(&mut self, length: usize) -> Result<&'p [u8], DecodeError> {
        let rest = self.payload.get(self.position..).unwrap_or_default();
        let (taken, _) = rest.split_at_checked(length).ok_or_else(ended)?;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let rest = self.payload.get(self.position..).unwrap_or_default();
        let taken = rest.first_chunk().ok_or_else(ended)?;
        self.position += N;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A length of 32 bits; one that no address reaches is beyond the payload too.
    fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.u32()?).map_err(|_| ended())
    }

    fn text(&mut self, length: usize) -> Result<Item<'p>, DecodeError> {
        let at = self.position;
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Item::Text(Cow::Borrowed(text))),
            Err(_) => {
                Err(DecodeError::Malformed(format!("a text that is not UTF-8, at byte {at}")))
            }
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Item<'p>, DecodeError> {
        self.take(length).map(|bytes| Item::Bytes(Cow::Borrowed(bytes)))
    }

    /// An extension of so many bytes behind its type.
    fn extension(&mut self, length: usize) -> Result<Item<'p>, DecodeError> {
        let kind = i8::from_be_bytes(self.array()?);
        let bytes = self.take(length)?;
        if kind != TIMESTAMP {
            return Ok(Item::Bytes(Cow::Borrowed(bytes)));
        }
        let time = match bytes {
            [a, b, c, d] => Some((i64::from(u32::from_be_bytes([*a, *b, *c, *d])), 0)),
            [nanoseconds @ .., a, b, c, d] if nanoseconds.len() == 4 => {
                // Nanoseconds in the upper 30 bits, seconds in the lower 34.
                let upper = big_endian(nanoseconds);
                let lower = u64::from(u32::from_be_bytes([*a, *b, *c, *d]));
                let seconds = (upper & 3) << 32 | lower;
                i64::try_from(seconds).ok().zip(i32::try_from(upper >> 2).ok())
            }
            [a, b, c, d, seconds @ ..] if seconds.len() == 8 => {
                let nanoseconds = u32::from_be_bytes([*a, *b, *c, *d]);
                Some(big_endian(seconds).cast_signed()).zip(i32::try_from(nanoseconds).ok())
            }
            _ => None,
        };
        // Not to be represented: before the year -9999, after 9999, or more than a second of
        // nanoseconds.
        let time = time.filter(|(_, nanoseconds)| *nanoseconds < 1_000_000_000);
        let time =
            time.and_then(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).ok());
        Ok(Item::Number(time.and_then(milliseconds)))
    }
}

impl<'p> binary::Read<'p> for Reader<'p> {
    fn item(&mut self) -> Result<Item<'p>, DecodeError> {
        let at = self.position;
        let code = self.u8()?;
        Ok(match code {
            0x00..=0x7f => Item::Int(i128::from(code)),
            0x80..=0x8f => Item::Map(Some(u64::from(code & 0x0f))),
            0x90..=0x9f => Item::Array(Some(u64::from(code & 0x0f))),
            0xa0..=0xbf => self.text(usize::from(code & 0x1f))?,
            0xc0 => Item::Null,
            0xc1 => {
                let problem = format!("byte 0xc1, which begins no item, at byte {at}");
                return Err(DecodeError::Malformed(problem));
            }
            0xc2 => Item::Bool(false),
            0xc3 => Item::Bool(true),
            0xc4 => self.u8().and_then(|n| self.bytes(n.into()))?,
            0xc5 => self.u16().and_then(|n| self.bytes(n.into()))?,
            0xc6 => self.length().and_then(|n| self.bytes(n))?,
            0xc7 => self.u8().and_then(|n| self.extension(n.into()))?,
            0xc8 => self.u16().and_then(|n| self.extension(n.into()))?,
            0xc9 => self.length().and_then(|n| self.extension(n))?,
            0xca => Item::Single(f32::from_be_bytes(self.array()?)),
            0xcb => Item::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Item::Int(self.u8()?.into()),
            0xcd => Item::Int(self.u16()?.into()),
            0xce => Item::Int(self.u32()?.into()),
            0xcf => Item::Int(u64::from_be_bytes(self.array()?).into()),
            0xd0 => Item::Int(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Item::Int(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Item::Int(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Item::Int(i64::from_be_bytes(self.array()?).into()),
            0xd4..=0xd8 => self.extension(1 << (code - 0xd4))?,
            0xd9 => self.u8().and_then(|n| self.text(n.into()))?,
            0xda => self.u16().and_then(|n| self.text(n.into()))?,
            0xdb => self.length().and_then(|n| self.text(n))?,
            0xdc => Item::Array(Some(self.u16()?.into())),
            0xdd => Item::Array(Some(self.u32()?.into())),
            0xde => Item::Map(Some(self.u16()?.into())),
            0xdf => Item::Map(Some(self.u32()?.into())),
            0xe0..=0xff => Item::Int(i8::from_be_bytes([code]).into()),
        })
    }

    /// Every length is known.
    fn ends(&mut self) -> Result<bool, DecodeError> {
        Ok(true)
    }

    fn position(&self) -> usize {
        self.position
    }

    fn rest(&self) -> usize {
        self.payload.len().saturating_sub(self.position)
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn ended() -> DecodeError {
    DecodeError::Malformed("the payload ends within a value".to_owned())
}
