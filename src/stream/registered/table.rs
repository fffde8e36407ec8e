//! The tables of registered consumers.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::Transaction;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::limits;
use crate::stream::Refused;
use crate::stream::Tag;
use crate::stream::lineage::Outcome;
use crate::stream::lineage::live;

use super::ConsumerName;
use super::Registered;

/// Joined the schema with enhanced fan-out.
pub(crate) const SCHEMA: &str = "
CREATE TABLE stream_registered (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES stream (id),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (stream, name)
) STRICT;
CREATE TABLE stream_registered_tag (
    consumer INTEGER NOT NULL REFERENCES stream_registered (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (consumer, key)
) STRICT, WITHOUT ROWID;
";

fn read(row: &Row<'_>) -> rusqlite::Result<Registered> {
    Ok(Registered {
        row: row.get(0)?,
        name: row.get(1)?,
        created_at: Timestamp::from_millis(row.get(2)?),
    })
}

pub(super) fn find(
    connection: &Connection,
    stream: i64,
    consumer: &str,
) -> rusqlite::Result<Option<Registered>> {
    connection
        .prepare_cached(
            "SELECT id, name, created_at FROM stream_registered WHERE stream = ?1 AND name = ?2",
        )?
        .query_row(params![stream, consumer], read)
        .optional()
}

pub(super) fn list(
    connection: &Connection,
    stream: i64,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Registered>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT id, name, created_at FROM stream_registered WHERE stream = ?1 AND name > ?2
             ORDER BY name LIMIT ?3",
        )?
        .query_map(params![stream, after.unwrap_or_default(), limit], read)?
        .collect()
}

pub(in crate::stream) fn count(connection: &Connection, stream: i64) -> rusqlite::Result<u64> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM stream_registered WHERE stream = ?1")?
        .query_row([stream], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(super) fn tags(connection: &Connection, consumer: i64) -> rusqlite::Result<Vec<Tag>> {
    connection
        .prepare_cached(
            "SELECT key, value FROM stream_registered_tag WHERE consumer = ?1 ORDER BY key",
        )?
        .query_map([consumer], |row| Ok(Tag { key: row.get(0)?, value: row.get(1)? }))?
        .collect()
}

/// The consumer that a name means.
fn named(connection: &Connection, name: &ConsumerName) -> Outcome<Registered> {
    let stream = match live(connection, &name.stream)? {
        Ok(stream) => stream,
        Err(refused) => return Ok(Err(refused)),
    };
    let is_meant =
        |found: &Registered| name.created_secs.is_none_or(|secs| secs == found.created_secs());
    let found = find(connection, stream.row, &name.consumer)?.filter(is_meant);
    Ok(found.ok_or_else(|| Refused::NoConsumer(name.consumer.clone())))
}

pub(super) fn register(
    transaction: &Transaction<'_>,
    stream: &str,
    consumer: &str,
    tags: &[Tag],
    now: Timestamp,
) -> Outcome<Registered> {
    let stream = match live(transaction, stream)? {
        Ok(stream) => stream,
        Err(refused) => return Ok(Err(refused)),
    };
    if find(transaction, stream.row, consumer)?.is_some() {
        return Ok(Err(Refused::Registered(consumer.to_owned())));
    }
    if count(transaction, stream.row)? >= limits::STREAM_CONSUMERS_MAX {
        return Ok(Err(Refused::Consumers));
    }
    let registered = transaction
        .prepare_cached(
            "INSERT INTO stream_registered (stream, name, created_at) VALUES (?1, ?2, ?3)
             RETURNING id, name, created_at",
        )?
        .query_row(params![stream.row, consumer, now.as_millis()], read)?;
    insert_tags(transaction, registered.row, tags)?;
    Ok(Ok(registered))
}

pub(super) fn deregister(transaction: &Transaction<'_>, name: &ConsumerName) -> Outcome<()> {
    let found = match named(transaction, name)? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    transaction
        .prepare_cached("DELETE FROM stream_registered_tag WHERE consumer = ?1")?
        .execute([found.row])?;
    transaction
        .prepare_cached("DELETE FROM stream_registered WHERE id = ?1")?
        .execute([found.row])?;
    Ok(Ok(()))
}

/// Ends all consumers of a stream.
pub(in crate::stream) fn end_all(transaction: &Connection, stream: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM stream_registered_tag
             WHERE consumer IN (SELECT id FROM stream_registered WHERE stream = ?1)",
        )?
        .execute([stream])?;
    transaction
        .prepare_cached("DELETE FROM stream_registered WHERE stream = ?1")?
        .execute([stream])?;
    Ok(())
}

pub(super) fn tag(transaction: &Transaction<'_>, name: &ConsumerName, tags: &[Tag]) -> Outcome<()> {
    let found = match named(transaction, name)? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    let known = self::tags(transaction, found.row)?;
    let is_new = |tag: &&Tag| !known.iter().any(|known| known.key == tag.key);
    if known.len() + tags.iter().filter(is_new).count() > limits::STREAM_TAGS_MAX {
        return Ok(Err(Refused::Tags));
    }
    insert_tags(transaction, found.row, tags)?;
    Ok(Ok(()))
}

fn insert_tags(transaction: &Connection, consumer: i64, tags: &[Tag]) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO stream_registered_tag VALUES (?1, ?2, ?3)")?;
    for tag in tags {
        insert.execute(params![consumer, tag.key, tag.value])?;
    }
    Ok(())
}

pub(super) fn untag(
    transaction: &Transaction<'_>,
    name: &ConsumerName,
    keys: &[String],
) -> Outcome<()> {
    let found = match named(transaction, name)? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut delete = transaction
        .prepare_cached("DELETE FROM stream_registered_tag WHERE consumer = ?1 AND key = ?2")?;
    for key in keys {
        delete.execute(params![found.row, key])?;
    }
    Ok(Ok(()))
}
