//! The table of retained messages.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::storage::frame::Damaged;
use crate::storage::frame::FrameReader;
use crate::storage::frame::FrameWriter;
use crate::storage::message;
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

/// Version 7: when a message expires, in milliseconds since the epoch.
pub(crate) const EXPIRY_SCHEMA: &str = "
ALTER TABLE retained ADD COLUMN expires_at INTEGER;
CREATE INDEX retained_expiry ON retained (expires_at) WHERE expires_at IS NOT NULL;
";

/// Saves `publish` as its topic's retained message; an empty payload removes the topic's.
pub(crate) fn save(transaction: &Connection, publish: &Publish) -> rusqlite::Result<()> {
    let topic = publish.topic.as_str();
    if publish.payload.is_empty() {
        transaction.prepare_cached("DELETE FROM retained WHERE topic = ?1")?.execute([topic])?;
        return Ok(());
    }
    let expiry = publish.properties.as_deref().and_then(|properties| properties.message_expiry);
    let expires_at = expiry
        .map(|seconds| (publish.received_at + Duration::from_secs(u64::from(seconds))).as_millis());
    let mut blob = FrameWriter::default();
    message::encode(publish, &mut blob);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO retained VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![topic, publish.received_at.as_millis(), blob.seal(), expires_at])?;
    Ok(())
}

/// Removes the messages that have expired by `now`.
pub(super) fn remove_expired(tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM retained WHERE expires_at <= ?1")?.execute([now.as_millis()])?;
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
            .and_then(|topic| message::decode(topic, at, &mut FrameReader::open(blob)?))
            .map(|publish| Publish { retain: true, ..publish });
        match message {
            Ok(message) => messages.push(message),
            // One row is not to keep the gateway from starting.
            Err(Damaged(error)) => {
                tracing::error!(
                    topic,
                    error,
                    "a retained message that cannot be read is passed over"
                );
            }
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use crate::publish::Origin;
    use crate::publish::PublishProperties;
    use crate::publish::QoS;
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
    fn what_has_expired_goes_and_its_topic_may_have_another() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (writer, _jobs) = storage.take_writer().unwrap();
        let expiring = |topic, at| {
            let properties = PublishProperties { message_expiry: Some(10), ..Default::default() };
            Publish { properties: Some(Arc::new(properties)), ..publish(topic, b"x", at) }
        };
        for message in [expiring("a", 0), expiring("b", 0), publish("c", b"x", 0), expiring("b", 1)]
        {
            save(&writer, &message).unwrap();
        }
        let topics = || -> Vec<String> {
            let all = super::super::load(&storage, 10).unwrap();
            all.iter().map(|message| message.topic.to_string()).collect()
        };
        remove_expired(&writer, Timestamp::from_millis(9_999)).unwrap();
        assert_eq!(topics().len(), 3);
        remove_expired(&writer, Timestamp::from_millis(10_000)).unwrap();
        assert_eq!(topics(), ["b", "c"]);
        remove_expired(&writer, Timestamp::from_millis(10_001)).unwrap();
        assert_eq!(topics(), ["c"]);
    }

    #[test]
    fn a_damaged_row_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (writer, _jobs) = storage.take_writer().unwrap();
        writer.execute("INSERT INTO retained VALUES ('a/b', 9, x'0011223344', NULL)", []).unwrap();
        save(&writer, &publish("c", b"y", 4)).unwrap();
        assert_eq!(super::super::load(&storage, 10).unwrap(), [publish("c", b"y", 4)]);
    }
}
