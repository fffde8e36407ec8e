//! A message as few bytes: how a key keeps it, in memory and in its row.
//!
//! Flags, hops, receive time; topic, client, principal and address as far as there are any, each text
//! behind its length in as many bytes as that needs; the record that it is, if it is one; the MQTT 5
//! properties, if any; then the payload to the end.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BufMut;
use bytes::Bytes;

use crate::engine::hold::encoding;
use crate::engine::hold::encoding::Reader;
use crate::engine::hold::encoding::RowError;
use crate::limits::HOPS_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::publish::StreamRecord;
use crate::topic::TopicName;

/// The two lowest bits are the QoS.
const QOS: u8 = 3;
const RETAIN: u8 = 1 << 2;
const CLIENT: u8 = 1 << 3;
const PRINCIPAL: u8 = 1 << 4;
const IP_V4: u8 = 1 << 5;
const IP_V6: u8 = 1 << 6;
const PROPERTIES: u8 = 1 << 7;
/// Beside the hops, which are few: it is a record of a stream.
const RECORD: u8 = 1 << 7;
const _: () = assert!(HOPS_MAX < RECORD, "the two fit one byte");
/// Flags, hops, receive time.
const HEAD_BYTES: usize = 1 + 1 + 8;
/// What of a length stands in one byte; the highest bit says that more follows.
const LENGTH_BITS: u32 = 7;

/// Bytes that [`put`] will write.
pub(in crate::engine) fn length(publish: &Publish) -> usize {
    let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text_length(text));
    let origin = &publish.origin;
    let ip = origin.source_ip.map_or(0, |ip| if ip.is_ipv4() { 4 } else { 16 });
    HEAD_BYTES
        + text_length(publish.topic.as_str())
        + text(&origin.client_id)
        + text(&origin.principal)
        + ip
        + origin.record.as_ref().map_or(0, |record| {
            text_length(&record.shard_id)
                + text_length(&record.sequence_number)
                + text_length(&record.partition_key)
                + size_of::<i64>()
        })
        + publish.properties.as_deref().map_or(0, encoding::properties_length)
        + publish.payload.len()
}

/// Writes a message.
pub(in crate::engine) fn put(buffer: &mut impl BufMut, publish: &Publish) {
    let origin = &publish.origin;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    buffer.put_u8(
        publish.qos as u8
            | flag(publish.retain, RETAIN)
            | flag(origin.client_id.is_some(), CLIENT)
            | flag(origin.principal.is_some(), PRINCIPAL)
            | flag(origin.source_ip.is_some_and(|ip| ip.is_ipv4()), IP_V4)
            | flag(origin.source_ip.is_some_and(|ip| ip.is_ipv6()), IP_V6)
            | flag(publish.properties.is_some(), PROPERTIES),
    );
    buffer.put_u8(publish.hops & !RECORD | flag(origin.record.is_some(), RECORD));
    buffer.put_i64_le(publish.received_at.as_millis());
    put_text(buffer, publish.topic.as_str());
    origin.client_id.iter().chain(&origin.principal).for_each(|text| put_text(buffer, text));
    match origin.source_ip {
        Some(IpAddr::V4(ip)) => buffer.put_slice(&ip.octets()),
        Some(IpAddr::V6(ip)) => buffer.put_slice(&ip.octets()),
        None => {}
    }
    if let Some(record) = &origin.record {
        put_text(buffer, &record.shard_id);
        put_text(buffer, &record.sequence_number);
        put_text(buffer, &record.partition_key);
        buffer.put_i64_le(record.arrived_at.as_millis());
    }
    if let Some(properties) = &publish.properties {
        encoding::put_properties(buffer, properties);
    }
    buffer.put_slice(&publish.payload);
}

/// Bytes that a text takes with its length.
fn text_length(text: &str) -> usize {
    let bits = usize::BITS - text.len().leading_zeros();
    bits.div_ceil(LENGTH_BITS).max(1) as usize + text.len()
}

fn put_text(buffer: &mut impl BufMut, text: &str) {
    let mut left = text.len();
    while left >> LENGTH_BITS > 0 {
        buffer.put_u8(left.to_le_bytes()[0] | 1 << LENGTH_BITS);
        left >>= LENGTH_BITS;
    }
    buffer.put_u8(left.to_le_bytes()[0]);
    buffer.put_slice(text.as_bytes());
}

/// Reads a message.
pub(in crate::engine) fn read(bytes: &[u8]) -> Result<Publish, RowError> {
    let mut reader = Reader::new(bytes);
    let flags = reader.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let qos = QoS::from_bits(flags & QOS).ok_or(RowError::Field("qos"))?;
    let (hops, received_at) = (reader.u8()?, reader.time()?);
    let is_record = hops & RECORD != 0;
    let topic = TopicName::parse(text(&mut reader, "topic")?);
    let topic = topic.map_err(|_| RowError::Field("topic"))?;
    let mut shared =
        |flag: u8, field| has(flag).then(|| text(&mut reader, field).map(Arc::from)).transpose();
    let client_id = shared(CLIENT, "client id")?;
    let principal = shared(PRINCIPAL, "principal")?;
    let source_ip = match (has(IP_V4), has(IP_V6)) {
        (false, false) => None,
        (true, false) => Some(IpAddr::from(reader.array::<4>()?)),
        (false, true) => Some(IpAddr::from(reader.array::<16>()?)),
        (true, true) => return Err(RowError::Field("address")),
    };
    let record = is_record.then(|| record(&mut reader)).transpose()?;
    let properties = has(PROPERTIES).then(|| reader.properties().map(Arc::new)).transpose()?;
    let origin = Arc::new(Origin { client_id, principal, source_ip, record });
    Ok(Publish {
        topic,
        payload: Bytes::copy_from_slice(reader.rest()),
        qos,
        retain: has(RETAIN),
        received_at,
        origin,
        properties,
        hops: hops & !RECORD,
    })
}

fn record(reader: &mut Reader<'_>) -> Result<StreamRecord, RowError> {
    Ok(StreamRecord {
        shard_id: Arc::from(text(reader, "shard")?),
        sequence_number: text(reader, "sequence number")?.into(),
        partition_key: text(reader, "partition key")?.into(),
        arrived_at: reader.time()?,
    })
}

fn text<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a str, RowError> {
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = reader.u8()?;
        let more = byte >> LENGTH_BITS > 0;
        let bits = usize::from(byte & !(1 << LENGTH_BITS));
        length |= bits.checked_shl(shift).ok_or(RowError::Length)?;
        shift += LENGTH_BITS;
        if !more {
            break;
        }
    }
    std::str::from_utf8(reader.take(length)?).map_err(|_| RowError::Field(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (length, bytes) in [(0, 1), (1, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3)] {
            let long = "x".repeat(length);
            let mut buffer = Vec::new();
            put_text(&mut buffer, &long);
            assert_eq!((buffer.len(), text_length(&long)), (bytes + length, bytes + length));
            assert_eq!(text(&mut Reader::new(&buffer), "text"), Ok(&*long));
        }
        let endless = [0xff; 20];
        assert_eq!(text(&mut Reader::new(&endless), "text"), Err(RowError::Length));
    }
}
