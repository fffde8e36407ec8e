//! PUBACK, PUBREC, PUBREL and PUBCOMP: two bytes, and with MQTT 5 a reason (MQTT 5, sections 3.4-3.7).

use bytes::BufMut;
use bytes::BytesMut;

use super::Kind;
use super::Version;
use super::Violation;
use super::answer::Terms;
use super::answer::section;
use super::fields::Fields;
use super::fields::put_varint;
use super::property;
use super::property::Place;

/// Success.
pub(crate) const SUCCESS: u8 = 0x00;
/// PUBACK, PUBREC: accepted, but nobody subscribes.
pub(crate) const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
/// PUBACK, PUBREC: nobody but the gateway may publish there.
pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
/// PUBACK, PUBREC: the topic names a rule that there is not.
pub(crate) const TOPIC_NAME_INVALID: u8 = 0x90;
/// PUBREL, PUBCOMP: no such packet identifier.
pub(crate) const PACKET_ID_NOT_FOUND: u8 = 0x92;
/// PUBACK, PUBREC: the payload is not what its format indicator promises.
pub(crate) const PAYLOAD_FORMAT_INVALID: u8 = 0x99;

/// An acknowledgement from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) packet_id: u16,
    pub(crate) reason: u8,
}

/// Reads the part after the fixed header.
pub(crate) fn read(kind: Kind, body: &[u8], version: Version) -> Result<Ack, Violation> {
    let mut fields = Fields::new(body);
    let packet_id = fields.packet_id()?;
    let mut reason = SUCCESS;
    if version == Version::V5 && !fields.is_empty() {
        reason = fields.u8()?;
        if !is_reason(kind, reason) {
            return Err(Violation::Malformed("not a reason code of this packet"));
        }
        if !fields.is_empty() {
            property::walk(fields.section()?, Place::Ack, |_, _| {})?;
        }
    }
    fields.end()?;
    Ok(Ack { packet_id, reason })
}

fn is_reason(kind: Kind, reason: u8) -> bool {
    match kind {
        Kind::PubRel | Kind::PubComp => matches!(reason, SUCCESS | PACKET_ID_NOT_FOUND),
        _ => matches!(
            reason,
            SUCCESS | NO_MATCHING_SUBSCRIBERS | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
        ),
    }
}

/// Why a publish was refused, in words.
fn explain(reason: u8) -> Option<&'static str> {
    match reason {
        NOT_AUTHORIZED => Some("not authorized to publish there"),
        TOPIC_NAME_INVALID => Some("no running rule has the name that the topic gives"),
        PAYLOAD_FORMAT_INVALID => Some("the payload is not the UTF-8 that it is said to be"),
        _ => None,
    }
}

/// Appends an acknowledgement; 3.1.1 has no place for the reason.
pub(crate) fn write(kind: Kind, ack: Ack, terms: Terms, out: &mut BytesMut) {
    let flags = if kind == Kind::PubRel { 0b0010 } else { 0 };
    let first = ((kind as u8) << 4) | flags;
    let [high, low] = ack.packet_id.to_be_bytes();
    if terms.version == Version::V311 || ack.reason == SUCCESS {
        out.put_slice(&[first, 2, high, low]);
        return;
    }
    let properties = terms.problem_string(3, explain(ack.reason));
    if properties.is_empty() {
        out.put_slice(&[first, 3, high, low, ack.reason]);
        return;
    }
    let properties = section(properties);
    out.put_u8(first);
    put_varint(out, 3 + properties.len());
    out.put_slice(&[high, low, ack.reason]);
    out.put_slice(&properties);
}
