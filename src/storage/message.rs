//! An application message as fields of a stored blob: what subscribers get of it.
//!
//! Who published it is not kept: subscribers are not told. The topic and the time it came are kept by
//! whoever stores it, in a column or in fields of its own.

use std::sync::Arc;

use bytes::Bytes;

use super::frame::Damaged;
use super::frame::FrameReader;
use super::frame::FrameWriter;
use crate::clock::Timestamp;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::topic::TopicName;

const VERSION: u8 = 1;

/// An optional field: 0, or 1 and its bytes.
pub(crate) fn put_optional(out: &mut FrameWriter, field: Option<&[u8]>) {
    match field {
        Some(bytes) => {
            out.put_u8(1);
            out.put_bytes(bytes);
        }
        None => out.put_u8(0),
    }
}

fn read_optional<'a>(fields: &mut FrameReader<'a>) -> Result<Option<&'a [u8]>, Damaged> {
    match fields.read_u8()? {
        0 => Ok(None),
        _ => fields.read_bytes().map(Some),
    }
}

/// Reads what [`put_optional`] has written, as text.
pub(crate) fn read_optional_text(fields: &mut FrameReader<'_>) -> Result<Option<String>, Damaged> {
    let Some(bytes) = read_optional(fields)? else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| Damaged("text is not UTF-8"))?;
    Ok(Some(text.to_owned()))
}

/// Adds a message, but for its topic and time.
pub(crate) fn encode(publish: &Publish, out: &mut FrameWriter) {
    out.put_u8(VERSION);
    out.put_u8(publish.qos as u8);
    out.put_bytes(&publish.payload);
    let Some(properties) = publish.properties.as_deref() else {
        out.put_u8(0);
        return;
    };
    out.put_u8(1);
    put_optional(out, properties.payload_format.as_ref().map(std::slice::from_ref));
    let expiry = properties.message_expiry.map(u32::to_le_bytes);
    put_optional(out, expiry.as_ref().map(<[u8; 4]>::as_slice));
    put_optional(out, properties.content_type.as_deref().map(str::as_bytes));
    put_optional(out, properties.response_topic.as_deref().map(str::as_bytes));
    put_optional(out, properties.correlation_data.as_deref());
    out.put_varint(properties.user_properties.len() as u64);
    for (name, value) in &properties.user_properties {
        out.put_bytes(name.as_bytes());
        out.put_bytes(value.as_bytes());
    }
}

/// Reads what [`encode`] has written, as a message to `topic` that came at `received_at`. The RETAIN flag
/// is not set.
pub(crate) fn decode(
    topic: TopicName,
    received_at: Timestamp,
    fields: &mut FrameReader<'_>,
) -> Result<Publish, Damaged> {
    if fields.read_u8()? != VERSION {
        return Err(Damaged("an unknown version of the form"));
    }
    let qos = QoS::from_bits(fields.read_u8()?).ok_or(Damaged("an unknown quality of service"))?;
    let payload = Bytes::copy_from_slice(fields.read_bytes()?);
    let properties = match fields.read_u8()? {
        0 => None,
        _ => Some(Arc::new(decode_properties(fields)?)),
    };
    Ok(Publish {
        topic,
        payload,
        qos,
        retain: false,
        received_at,
        origin: Origin::internal(),
        properties,
        hops: 0,
    })
}

fn decode_properties(fields: &mut FrameReader<'_>) -> Result<PublishProperties, Damaged> {
    let payload_format = read_optional(fields)?.and_then(|bytes| bytes.first().copied());
    let message_expiry = match read_optional(fields)? {
        Some(bytes) => {
            let bytes = bytes.try_into().map_err(|_| Damaged("an expiry is not four bytes"))?;
            Some(u32::from_le_bytes(bytes))
        }
        None => None,
    };
    let content_type = read_optional_text(fields)?;
    let response_topic = read_optional_text(fields)?;
    let correlation_data = read_optional(fields)?.map(Bytes::copy_from_slice);
    let mut user_properties = Vec::new();
    for _ in 0..fields.read_varint()? {
        let name = fields.read_str()?.to_owned();
        user_properties.push((name, fields.read_str()?.to_owned()));
    }
    Ok(PublishProperties {
        payload_format,
        message_expiry,
        content_type,
        response_topic,
        correlation_data,
        user_properties,
    })
}
