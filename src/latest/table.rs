//! The table of latest values: SQL.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use bytes::Bytes;

use crate::clock::Timestamp;

use super::Entry;
use super::TableSummary;
use super::Upsert;

/// Version 3.
pub(crate) const SCHEMA: &str = "
CREATE TABLE latest (
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (name, key)
) STRICT;
";

/// Puts a key's value in the place of its last one.
pub(crate) fn save(transaction: &Connection, upsert: &Upsert) -> rusqlite::Result<()> {
    let Upsert { table, key, value, at, .. } = upsert;
    transaction
        .prepare_cached(
            "INSERT INTO latest VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET at = excluded.at, value = excluded.value",
        )?
        .execute(params![&**table, key.as_str(), at.as_millis(), &value[..]])?;
    Ok(())
}

/// Deletes a key; whether it was there.
pub(crate) fn forget(transaction: &Connection, table: &str, key: &str) -> rusqlite::Result<bool> {
    let deleted = transaction
        .prepare_cached("DELETE FROM latest WHERE name = ?1 AND key = ?2")?
        .execute([table, key])?;
    Ok(deleted > 0)
}

pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<TableSummary>> {
    let count = |row: &Row<'_>, column| -> rusqlite::Result<u64> {
        Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
    };
    connection
        .prepare_cached(
            "SELECT name, count(*), sum(length(CAST(key AS BLOB)) + length(value)), max(at)
             FROM latest GROUP BY name ORDER BY name",
        )?
        .query_map([], |row| {
            Ok(TableSummary {
                name: row.get(0)?,
                keys: count(row, 1)?,
                bytes: count(row, 2)?,
                newest_at: Timestamp::from_millis(row.get(3)?),
            })
        })?
        .collect()
}

pub(super) fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM latest WHERE name = ?1)")?
        .query_row([table], |row| row.get(0))
}

pub(super) fn get(
    connection: &Connection,
    table: &str,
    key: &str,
) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached("SELECT key, at, value FROM latest WHERE name = ?1 AND key = ?2")?
        .query_row([table, key], read_entry)
        .optional()
}

pub(super) fn page(
    connection: &Connection,
    table: &str,
    after: Option<&str>,
    limit: usize,
    bytes_max: usize,
) -> rusqlite::Result<Vec<Entry>> {
    // No key is empty, so all of them are behind the empty one.
    let mut select = connection.prepare_cached(
        "SELECT key, at, value FROM latest WHERE name = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![table, after.unwrap_or_default(), limit])?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let entry = read_entry(row)?;
        bytes += entry.value.len();
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) fn for_each_key(
    connection: &Connection,
    mut visit: impl FnMut(&str, &str, usize),
) -> rusqlite::Result<()> {
    let mut select = connection.prepare("SELECT name, key, length(value) FROM latest")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let size = usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX);
        visit(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, size);
    }
    Ok(())
}

/// All of a table, as one moment has it.
pub(super) fn for_each_value(
    connection: &Connection,
    table: &str,
    mut visit: impl FnMut(&str, &[u8]),
) -> rusqlite::Result<()> {
    let mut select = connection.prepare("SELECT key, value FROM latest WHERE name = ?1")?;
    let mut rows = select.query([table])?;
    while let Some(row) = rows.next()? {
        visit(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_blob()?);
    }
    Ok(())
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get(0)?,
        at: Timestamp::from_millis(row.get(1)?),
        value: Bytes::from(row.get::<_, Vec<u8>>(2)?),
    })
}
