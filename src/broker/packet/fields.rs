//! A bounds-checked cursor over the fields of a packet (MQTT 5, section 1.5), and their writing.

use bytes::BufMut;
use bytes::BytesMut;

use super::Violation;

/// Largest value of a variable byte integer.
pub(crate) const VARINT_MAX: usize = 268_435_455;

const SHORT: Violation = Violation::Malformed("a field reaches past the end of the packet");

/// What is left to read of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Violation> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(SHORT)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        let (first, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*head))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Violation> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// A variable byte integer in the fewest bytes (MQTT 5, section 1.5.5).
    pub(crate) fn varint(&mut self) -> Result<u32, Violation> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(Violation::Malformed("a length is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(Violation::Malformed("a length has more than four bytes"))
    }

    /// Binary data with its two-byte length.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Violation> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string: valid, and without NUL (MQTT 5, section 1.5.4).
    pub(crate) fn string(&mut self) -> Result<&'a str, Violation> {
        let text = std::str::from_utf8(self.bytes()?)
            .map_err(|_| Violation::Malformed("a string is not UTF-8"))?;
        if text.bytes().any(|b| b == 0) {
            return Err(Violation::Malformed("a string contains NUL"));
        }
        Ok(text)
    }

    /// A packet identifier; 0 is none.
    pub(crate) fn packet_id(&mut self) -> Result<u16, Violation> {
        match self.u16()? {
            0 => Err(Violation::Protocol("packet identifier 0")),
            id => Ok(id),
        }
    }

    /// A property section: its length and that many bytes, as a cursor of their own.
    pub(crate) fn section(&mut self) -> Result<Fields<'a>, Violation> {
        let len = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
        Ok(Fields::new(self.take(len)?))
    }

    /// Refuses bytes after the last field.
    pub(crate) fn end(&self) -> Result<(), Violation> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Violation::Malformed("bytes after the last field"))
        }
    }
}

/// Bytes that `value` takes as a variable byte integer.
pub(crate) fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer; `value` is at most [`VARINT_MAX`].
pub(crate) fn put_varint(out: &mut BytesMut, mut value: usize) {
    assert!(value <= VARINT_MAX, "packets are bounded far below the protocol's maximum");
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits fit a byte");
        value >>= 7;
        if value == 0 {
            out.put_u8(low);
            return;
        }
        out.put_u8(low | 0x80);
    }
}

/// Writes a string or binary field. What does not fit the two-byte length was never accepted.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let len =
        u16::try_from(bytes.len()).expect("a field read from a packet has at most 65,535 bytes");
    out.put_u16(len);
    out.put_slice(bytes);
}
