//! PUBLISH, the hot packet: read without a copy of the payload, written straight into the
//! connection's buffer.

use std::ops::Range;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use super::Version;
use super::Violation;
use super::fields::Fields;
use super::fields::put_bytes;
use super::fields::put_varint;
use super::fields::varint_len;
use super::frame::Header;
use super::property;
use super::property::Place;
use super::property::Value;
use crate::publish::PublishProperties;
use crate::publish::QoS;

/// A PUBLISH as it stands in its frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Incoming<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// 0 with QoS 0.
    pub(crate) packet_id: u16,
    /// Not checked: whoever knows the topic already need not look at it again.
    pub(crate) topic: &'a [u8],
    pub(crate) alias: Option<u16>,
    pub(crate) properties: Option<PublishProperties>,
    /// Where the payload is in the frame.
    pub(crate) payload: Range<usize>,
}

/// Reads a PUBLISH. `frame` is the whole packet.
pub(crate) fn read<'a>(
    header: Header,
    frame: &'a [u8],
    version: Version,
) -> Result<Incoming<'a>, Violation> {
    let mut fields = Fields::new(frame);
    fields.take(header.header_len)?;
    let qos = QoS::from_bits((header.flags >> 1) & 0b11).ok_or(Violation::Malformed("QoS 3"))?;
    let topic = fields.bytes()?;
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { fields.packet_id()? };
    let (alias, properties) = match version {
        Version::V311 => (None, None),
        Version::V5 => read_properties(fields.section()?)?,
    };
    Ok(Incoming {
        dup: header.flags & 0b1000 != 0,
        qos,
        retain: header.flags & 1 != 0,
        packet_id,
        topic,
        alias,
        properties,
        payload: frame.len() - fields.len()..frame.len(),
    })
}

fn read_properties(
    section: Fields<'_>,
) -> Result<(Option<u16>, Option<PublishProperties>), Violation> {
    if section.is_empty() {
        return Ok((None, None));
    }
    let mut alias = None;
    let mut found = PublishProperties::default();
    property::walk(section, Place::Publish, |id, value| match (id, value) {
        (property::TOPIC_ALIAS, Value::Two(n)) => alias = Some(n),
        (property::PAYLOAD_FORMAT, Value::Byte(n)) => found.payload_format = Some(n),
        (property::MESSAGE_EXPIRY, Value::Four(n)) => found.message_expiry = Some(n),
        (property::CONTENT_TYPE, Value::Text(s)) => found.content_type = Some(s.to_owned()),
        (property::RESPONSE_TOPIC, Value::Text(s)) => found.response_topic = Some(s.to_owned()),
        (property::CORRELATION_DATA, Value::Binary(b)) => {
            found.correlation_data = Some(Bytes::copy_from_slice(b));
        }
        (property::USER_PROPERTY, Value::Pair(name, value)) => {
            found.user_properties.push((name.to_owned(), value.to_owned()));
        }
        _ => {}
    })?;
    let properties = (found != PublishProperties::default()).then_some(found);
    Ok((alias, properties))
}

/// Encodes the properties that are the same for every subscriber: all but the expiry, which shrinks,
/// and the subscription identifiers. What a rule made too long for MQTT's two-byte length is left out.
pub(crate) fn encode_properties(properties: &PublishProperties) -> Bytes {
    let mut out = BytesMut::new();
    if let Some(format) = properties.payload_format {
        out.put_u8(property::PAYLOAD_FORMAT);
        out.put_u8(format);
    }
    let single = [
        (property::CONTENT_TYPE, properties.content_type.as_ref().map(String::as_bytes)),
        (property::RESPONSE_TOPIC, properties.response_topic.as_ref().map(String::as_bytes)),
        (property::CORRELATION_DATA, properties.correlation_data.as_deref()),
    ];
    let fits = |bytes: &[u8]| bytes.len() <= usize::from(u16::MAX);
    for (id, bytes) in single {
        if let Some(bytes) = bytes.filter(|bytes| fits(bytes)) {
            out.put_u8(id);
            put_bytes(&mut out, bytes);
        }
    }
    for (name, value) in &properties.user_properties {
        if !fits(name.as_bytes()) || !fits(value.as_bytes()) {
            continue;
        }
        out.put_u8(property::USER_PROPERTY);
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    out.freeze()
}

/// A PUBLISH to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Ignored with QoS 0.
    pub(crate) packet_id: u16,
    /// Empty when the alias stands for it.
    pub(crate) topic: &'a str,
    /// MQTT 5 only.
    pub(crate) alias: Option<u16>,
    /// From [`encode_properties`]; left out for 3.1.1.
    pub(crate) properties: &'a [u8],
    /// What is left of the message expiry interval, seconds.
    pub(crate) expiry: Option<u32>,
    pub(crate) subscription_ids: &'a [u32],
    pub(crate) payload: &'a [u8],
}

impl Outgoing<'_> {
    fn properties_len(&self) -> usize {
        let ids: usize = self.subscription_ids.iter().map(|id| 1 + varint_len(wide(*id))).sum();
        let alias = self.alias.map_or(0, |_| 3);
        self.properties.len() + alias + self.expiry.map_or(0, |_| 5) + ids
    }

    fn remaining(&self, version: Version) -> usize {
        let id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = match version {
            Version::V311 => 0,
            Version::V5 => varint_len(self.properties_len()) + self.properties_len(),
        };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    /// Bytes of the whole packet.
    pub(crate) fn frame_len(&self, version: Version) -> usize {
        let remaining = self.remaining(version);
        1 + varint_len(remaining) + remaining
    }

    /// Appends the packet to `out`.
    pub(crate) fn write(&self, version: Version, out: &mut BytesMut) {
        let remaining = self.remaining(version);
        out.reserve(5 + remaining);
        let flags = (u8::from(self.dup) << 3) | ((self.qos as u8) << 1) | u8::from(self.retain);
        out.put_u8(0x30 | flags);
        put_varint(out, remaining);
        put_bytes(out, self.topic.as_bytes());
        if self.qos != QoS::AtMostOnce {
            out.put_u16(self.packet_id);
        }
        if version == Version::V5 {
            put_varint(out, self.properties_len());
            out.put_slice(self.properties);
            if let Some(alias) = self.alias {
                out.put_u8(property::TOPIC_ALIAS);
                out.put_u16(alias);
            }
            if let Some(seconds) = self.expiry {
                out.put_u8(property::MESSAGE_EXPIRY);
                out.put_u32(seconds);
            }
            for id in self.subscription_ids {
                out.put_u8(property::SUBSCRIPTION_ID);
                put_varint(out, wide(*id));
            }
        }
        out.put_slice(self.payload);
    }
}

/// A subscription identifier as the number its varint is made of.
fn wide(id: u32) -> usize {
    usize::try_from(id).expect("usize has at least 32 bits on every platform with tokio")
}
