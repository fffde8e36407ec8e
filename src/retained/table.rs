//! The table of retained messages.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::storage::frame::Damaged;
use crate::storage::frame::FrameReader;
use crate::storage::frame::FrameWriter;
use crate::topic::TopicName;

use super::RetainedError;

/// Version 1.
pub(crate) const SCHEMA: &str = "
CREATE TABLE retained (
    topic TEXT NOT NULL UNIQUE,
    received_at INTEGER NOT NULL,
    message BLOB NOT NULL
) STRICT;
";

const VERSION: u8 = 1;

/// Saves `publish` as its topic's retained message; an empty payload removes the topic's.
pub(crate) fn save(transaction: &Connection, publish: &Publish) -> rusqlite::Result<()> {
    let topic = publish.topic.as_str();
    if publish.payload.is_empty() {
        transaction.prepare_cached("DELETE FROM retained WHERE topic = ?1")?.execute([topic])?;
        return Ok(());
    }
    let mut message = FrameWriter::default();
    encode(publish, &mut message);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO retained VALUES (?1, ?2, ?3)")?
        .execute(params![topic, publish.received_at.as_millis(), message.seal()])?;
    Ok(())
}

pub(super) fn load(
    connection: &Connection,
    count_max: usize,
) -> Result<Vec<Publish>, RetainedError> {
    let mut select = connection.prepare(
        "SELECT topic, received_at, message FROM retained ORDER BY received_at DESC LIMIT ?1",
    )?;
    let mut rows = select.query([i64::try_from(count_max).unwrap_or(i64::MAX)])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let topic: String = row.get(0)?;
        let at = Timestamp::from_millis(row.get(1)?);
        let blob = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let message = TopicName::parse(&topic)
            .map_err(|_| Damaged("its topic is not a topic name"))
            .and_then(|topic| decode(topic, at, blob));
        messages.push(message.map_err(|source| RetainedError::Damaged { topic, source })?);
    }
    Ok(messages)
}

/// An optional field: 0, or 1 and its bytes.
fn put_optional(out: &mut FrameWriter, field: Option<&[u8]>) {
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

fn read_optional_text(fields: &mut FrameReader<'_>) -> Result<Option<String>, Damaged> {
    let Some(bytes) = read_optional(fields)? else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| Damaged("text is not UTF-8"))?;
    Ok(Some(text.to_owned()))
}

fn encode(publish: &Publish, out: &mut FrameWriter) {
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

fn decode(topic: TopicName, received_at: Timestamp, blob: &[u8]) -> Result<Publish, Damaged> {
    let mut fields = FrameReader::open(blob)?;
    if fields.read_u8()? != VERSION {
        return Err(Damaged("an unknown version of the form"));
    }
    let qos = QoS::from_bits(fields.read_u8()?).ok_or(Damaged("an unknown quality of service"))?;
    let payload = Bytes::copy_from_slice(fields.read_bytes()?);
    let properties = match fields.read_u8()? {
        0 => None,
        _ => Some(Arc::new(decode_properties(&mut fields)?)),
    };
    Ok(Publish {
        topic,
        payload,
        qos,
        retain: true,
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

#[cfg(test)]
mod tests {
    use crate::storage::Storage;

    use super::*;

    fn publish(topic: &str, payload: &'static [u8], at: i64) -> Publish {
        Publish {
            topic: TopicName::parse(topic).unwrap(),
            payload: Bytes::from_static(payload),
            qos: QoS::AtLeastOnce,
            retain: true,
            received_at: Timestamp::from_millis(at),
            origin: Origin::internal(),
            properties: None,
            hops: 0,
        }
    }

    #[test]
    fn the_last_message_of_each_topic_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let transaction = writer.transaction().unwrap();
        let mut full = publish("a/b", b"new", 3);
        full.properties = Some(Arc::new(PublishProperties {
            payload_format: Some(1),
            message_expiry: Some(3600),
            content_type: Some("text/plain".to_owned()),
            response_topic: None,
            correlation_data: Some(Bytes::from_static(b"\0\x01")),
            user_properties: vec![("k".to_owned(), "v".to_owned()); 2],
        }));
        for message in
            [&publish("a/b", b"old", 1), &publish("gone", b"x", 2), &full, &publish("c", b"y", 4)]
        {
            save(&transaction, message).unwrap();
        }
        save(&transaction, &publish("gone", b"", 5)).unwrap();
        transaction.commit().unwrap();
        let all = super::super::load(&storage, 10).unwrap();
        assert_eq!(all, [publish("c", b"y", 4), full]);
        assert_eq!(super::super::load(&storage, 1).unwrap(), [publish("c", b"y", 4)]);
    }

    #[test]
    fn a_damaged_row_names_its_topic() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (writer, _jobs) = storage.take_writer().unwrap();
        writer.execute("INSERT INTO retained VALUES ('a/b', 1, x'0011223344')", []).unwrap();
        let error = super::super::load(&storage, 10).unwrap_err();
        assert_eq!(error.to_string(), "the retained message of 'a/b' cannot be read");
    }
}
