//! Frames of `application/vnd.amazon.eventstream`, in which SubscribeToShard answers.
//!
//! ```text
//! u32 length of all, u32 length of the headers, u32 CRC-32 of those eight bytes,
//! headers: u8 length of the name, name, 7 (a text), u16 length of the value, value,
//! payload, u32 CRC-32 of all before it
//! ```
//!
//! Big-endian throughout (Smithy, "Amazon Event Stream Specification"). Only what a server says is here: events and
//! errors, whose headers are texts.

use bytes::Bytes;

use super::shape::Format;

/// A header's value is a text.
const TEXT: u8 = 7;
/// Lengths and the checksum of the lengths.
const PRELUDE_BYTES: usize = 12;
const SUM_BYTES: usize = 4;

/// An event of a kind that the API's model has.
pub(super) fn event(kind: &str, format: Format, payload: &[u8]) -> Bytes {
    frame(
        &[(":message-type", "event"), (":event-type", kind), (":content-type", format.plain())],
        payload,
    )
}

/// An error of the model, the last that a client hears.
pub(super) fn exception(kind: &str, format: Format, payload: &[u8]) -> Bytes {
    frame(
        &[
            (":message-type", "exception"),
            (":exception-type", kind),
            (":content-type", format.plain()),
        ],
        payload,
    )
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let header_bytes: usize =
        headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let length = PRELUDE_BYTES + header_bytes + payload.len() + SUM_BYTES;
    let mut bytes = Vec::with_capacity(length);
    // Events are bounded far below four gigabytes.
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(u32::try_from(header_bytes).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    for (name, value) in headers {
        bytes.push(u8::try_from(name.len()).expect("names are ours and short"));
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(TEXT);
        let length = u16::try_from(value.len()).expect("values are ours and short");
        bytes.extend(length.to_be_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_the_specification_has_it() {
        let frame = event("initial-response", Format::Json, b"{}");
        let sum = |bytes: &[u8]| crc32fast::hash(bytes).to_be_bytes();
        assert_eq!(frame[..4], u32::try_from(frame.len()).unwrap().to_be_bytes());
        assert_eq!(frame[8..12], sum(&frame[..8]));
        assert_eq!(frame[frame.len() - 4..], sum(&frame[..frame.len() - 4]));
        let headers = b"\x0d:message-type\x07\x00\x05event\
            \x0b:event-type\x07\x00\x10initial-response\
            \x0d:content-type\x07\x00\x10application/json";
        assert_eq!(frame[4..8], u32::try_from(headers.len()).unwrap().to_be_bytes());
        assert_eq!(&frame[12..12 + headers.len()], headers);
        assert_eq!(&frame[12 + headers.len()..frame.len() - 4], b"{}");
        let error = exception("InternalFailureException", Format::Cbor, b"\xa0");
        let text = String::from_utf8_lossy(&error).into_owned();
        assert!(text.contains(":exception-type\u{7}\0\u{18}InternalFailureException"), "{text}");
        assert!(text.contains("application/cbor"), "{text}");
    }

    /// From the specification's own test vectors: no headers, the payload `{'foo':'bar'}`.
    #[test]
    fn the_known_frame_is_the_same() {
        let expected = [
            0x00, 0x00, 0x00, 0x1d, 0x00, 0x00, 0x00, 0x00, 0xfd, 0x52, 0x8c, 0x5a, 0x7b, 0x27,
            0x66, 0x6f, 0x6f, 0x27, 0x3a, 0x27, 0x62, 0x61, 0x72, 0x27, 0x7d, 0xc3, 0x65, 0x39,
            0x36,
        ];
        assert_eq!(frame(&[], b"{'foo':'bar'}")[..], expected);
    }
}
