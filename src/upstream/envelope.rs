//! A message as an outbox keeps it.
//!
//! ```text
//! version, what it has, QoS and RETAIN, hops, topic, [expiry], [properties], payload
//! ```
//!
//! in the framing of [`crate::storage::frame`].

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::storage::frame::Damaged;
use crate::storage::frame::FrameReader;
use crate::storage::frame::FrameWriter;

const VERSION: u8 = 1;
const QOS_BITS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const HAS_EXPIRY: u8 = 1 << 3;
const HAS_PROPERTIES: u8 = 1 << 4;
const HAS_FORMAT: u8 = 1;
const HAS_TYPE: u8 = 1 << 1;
const HAS_RESPONSE: u8 = 1 << 2;
const HAS_CORRELATION: u8 = 1 << 3;

/// What an outbox keeps of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// As the other broker will see it.
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) hops: u8,
    /// When nobody wants it any more.
    pub(super) expires_at: Option<Timestamp>,
    /// Without `message_expiry`.
    pub(super) properties: PublishProperties,
}

impl Envelope {
    /// `publish` on its way to `topic`.
    pub(super) fn of(publish: &Publish, topic: Arc<str>, qos: QoS) -> Envelope {
        let mut properties = publish.properties.as_deref().cloned().unwrap_or_default();
        let expiry = properties.message_expiry.take();
        let expires_at = expiry.map(|seconds| {
            publish.received_at + std::time::Duration::from_secs(u64::from(seconds))
        });
        Envelope {
            topic,
            payload: publish.payload.clone(),
            qos: publish.qos.min(qos),
            retain: publish.retain,
            hops: publish.hops,
            expires_at,
            properties,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut frame = FrameWriter::default();
        let has_properties = self.properties != PublishProperties::default();
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        frame.put_u8(VERSION);
        frame.put_u8(
            self.qos as u8
                | flag(self.retain, RETAIN)
                | flag(self.expires_at.is_some(), HAS_EXPIRY)
                | flag(has_properties, HAS_PROPERTIES),
        );
        frame.put_u8(self.hops);
        frame.put_bytes(self.topic.as_bytes());
        if let Some(at) = self.expires_at {
            frame.put_signed(at.as_millis());
        }
        if has_properties {
            put_properties(&mut frame, &self.properties);
        }
        frame.put_bytes(&self.payload);
        Bytes::copy_from_slice(frame.seal())
    }

    pub(super) fn decode(entry: &[u8]) -> Result<Envelope, Damaged> {
        let mut frame = FrameReader::open(entry)?;
        if frame.read_u8()? != VERSION {
            return Err(Damaged("an unknown version of the form"));
        }
        let flags = frame.read_u8()?;
        let qos = QoS::from_bits(flags & QOS_BITS).ok_or(Damaged("no such QoS"))?;
        let hops = frame.read_u8()?;
        let topic = Arc::from(frame.read_str()?);
        let expires_at = match flags & HAS_EXPIRY {
            0 => None,
            _ => Some(Timestamp::from_millis(frame.read_signed()?)),
        };
        let properties = match flags & HAS_PROPERTIES {
            0 => PublishProperties::default(),
            _ => read_properties(&mut frame)?,
        };
        let payload = Bytes::copy_from_slice(frame.read_bytes()?);
        let retain = flags & RETAIN != 0;
        Ok(Envelope { topic, payload, qos, retain, hops, expires_at, properties })
    }
}

fn put_properties(frame: &mut FrameWriter, properties: &PublishProperties) {
    let PublishProperties {
        payload_format,
        message_expiry: _,
        content_type,
        response_topic,
        correlation_data,
        user_properties,
    } = properties;
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    frame.put_u8(
        flag(payload_format.is_some(), HAS_FORMAT)
            | flag(content_type.is_some(), HAS_TYPE)
            | flag(response_topic.is_some(), HAS_RESPONSE)
            | flag(correlation_data.is_some(), HAS_CORRELATION),
    );
    if let Some(format) = payload_format {
        frame.put_u8(*format);
    }
    for text in [content_type, response_topic].into_iter().flatten() {
        frame.put_bytes(text.as_bytes());
    }
    if let Some(correlation) = correlation_data {
        frame.put_bytes(correlation);
    }
    frame.put_varint(user_properties.len() as u64);
    for (name, value) in user_properties {
        frame.put_bytes(name.as_bytes());
        frame.put_bytes(value.as_bytes());
    }
}

fn read_properties(frame: &mut FrameReader<'_>) -> Result<PublishProperties, Damaged> {
    let has = frame.read_u8()?;
    let mut properties = PublishProperties::default();
    if has & HAS_FORMAT != 0 {
        properties.payload_format = Some(frame.read_u8()?);
    }
    if has & HAS_TYPE != 0 {
        properties.content_type = Some(frame.read_str()?.to_owned());
    }
    if has & HAS_RESPONSE != 0 {
        properties.response_topic = Some(frame.read_str()?.to_owned());
    }
    if has & HAS_CORRELATION != 0 {
        properties.correlation_data = Some(Bytes::copy_from_slice(frame.read_bytes()?));
    }
    for _ in 0..frame.read_varint()? {
        let name = frame.read_str()?.to_owned();
        properties.user_properties.push((name, frame.read_str()?.to_owned()));
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(
            topic in "[a-z/]{1,20}", payload: Vec<u8>, qos in 0..3_u8, retain: bool, hops: u8,
            expires: Option<i64>, payload_format: Option<u8>, content_type: Option<String>,
            response_topic: Option<String>, correlation: Option<Vec<u8>>,
            user_properties: Vec<(String, String)>,
        ) {
            let envelope = Envelope {
                topic: topic.into(),
                payload: payload.into(),
                qos: QoS::from_bits(qos).unwrap(),
                retain,
                hops,
                expires_at: expires.map(Timestamp::from_millis),
                properties: PublishProperties {
                    payload_format,
                    message_expiry: None,
                    content_type,
                    response_topic,
                    correlation_data: correlation.map(Bytes::from),
                    user_properties,
                },
            };
            prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            drop(Envelope::decode(&bytes));
            let mut frame = FrameWriter::default();
            for byte in bytes {
                frame.put_u8(byte);
            }
            drop(Envelope::decode(frame.seal()));
        }
    }
}
