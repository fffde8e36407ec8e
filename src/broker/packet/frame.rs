//! Cuts the byte stream into frames by the fixed header (MQTT 5, section 2.1).
//!
//! A wrong type, wrong flags or a length over the maximum is refused from the header alone, before
//! the rest of the packet is waited for.

use super::Kind;
use super::Violation;
use super::fields::VARINT_MAX;

/// The fixed header of a packet from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The low four bits of the first byte; only PUBLISH's mean anything.
    pub(crate) flags: u8,
    /// Bytes of the fixed header itself.
    pub(crate) header_len: usize,
    /// Bytes after it.
    pub(crate) remaining: usize,
}

impl Header {
    /// Bytes of the whole packet.
    pub(crate) fn frame_len(&self) -> usize {
        self.header_len + self.remaining
    }
}

/// Reads the fixed header at the start of `bytes`; `None` when it is not all there yet. `packet_max`
/// bounds the whole packet.
pub(crate) fn parse_header(bytes: &[u8], packet_max: usize) -> Result<Option<Header>, Violation> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let (kind, flags) = check_first(*first)?;
    let mut remaining = 0_usize;
    for (i, byte) in rest.iter().take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if *byte == 0 && i > 0 {
                return Err(Violation::Malformed("a length is not in its shortest form"));
            }
            let header = Header { kind, flags, header_len: i + 2, remaining };
            if header.frame_len() > packet_max {
                return Err(Violation::TooLarge);
            }
            return Ok(Some(header));
        }
    }
    if rest.len() >= 4 {
        return Err(Violation::Malformed("a length has more than four bytes"));
    }
    debug_assert!(remaining <= VARINT_MAX);
    Ok(None)
}

/// Type and flags of the first byte, as a client may send them.
fn check_first(first: u8) -> Result<(Kind, u8), Violation> {
    let flags = first & 0x0f;
    let kind =
        Kind::from_bits(first >> 4).ok_or(Violation::Malformed("packet type 0 is reserved"))?;
    let wanted = match kind {
        Kind::Publish => {
            if flags & 0b0110 == 0b0110 {
                return Err(Violation::Malformed("QoS 3"));
            }
            if flags & 0b1110 == 0b1000 {
                return Err(Violation::Malformed("DUP with QoS 0"));
            }
            flags
        }
        Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe => 0b0010,
        Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => {
            return Err(Violation::Protocol("a packet only servers send"));
        }
        Kind::Connect
        | Kind::PubAck
        | Kind::PubRec
        | Kind::PubComp
        | Kind::PingReq
        | Kind::Disconnect
        | Kind::Auth => 0,
    };
    if flags != wanted {
        return Err(Violation::Malformed("reserved flags of the fixed header"));
    }
    Ok((kind, flags))
}
