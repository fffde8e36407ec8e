//! The tables of saved state.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::clock::Timestamp;

use super::Saved;
use super::SavedMessage;
use super::SavedState;

/// Version 1.
pub(crate) const SCHEMA: &str = "
CREATE TABLE hold_state (
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (rule, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE alive (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    until INTEGER NOT NULL
) STRICT;
";

/// Version 2: messages that wait for their turn in event time.
pub(crate) const WAITING_SCHEMA: &str = "
CREATE TABLE hold_waiting (
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    turn INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (rule, key, turn)
) STRICT, WITHOUT ROWID;
";

/// Saves the state of a key; `None` when it is inactive again.
pub(crate) fn save_state(
    transaction: &Connection,
    rule: &str,
    key: &str,
    state: Option<&[u8]>,
) -> rusqlite::Result<()> {
    match state {
        Some(state) => transaction
            .prepare_cached("INSERT OR REPLACE INTO hold_state VALUES (?1, ?2, ?3)")?
            .execute(params![rule, key, state])?,
        None => transaction
            .prepare_cached("DELETE FROM hold_state WHERE rule = ?1 AND key = ?2")?
            .execute([rule, key])?,
    };
    Ok(())
}

/// Saves a message that waits; `None` when it does so no longer.
pub(crate) fn save_waiting(
    transaction: &Connection,
    rule: &str,
    key: &str,
    turn: u64,
    message: Option<&[u8]>,
) -> rusqlite::Result<()> {
    // Turns are counted from nought, one a message: they do not come near 2^63.
    let turn = i64::try_from(turn).unwrap_or(i64::MAX);
    match message {
        Some(message) => transaction
            .prepare_cached("INSERT OR REPLACE INTO hold_waiting VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![rule, key, turn, message])?,
        None => transaction
            .prepare_cached("DELETE FROM hold_waiting WHERE rule = ?1 AND key = ?2 AND turn = ?3")?
            .execute(params![rule, key, turn])?,
    };
    Ok(())
}

/// Notes that the gateway is running at `now`.
pub(crate) fn save_alive(transaction: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO alive VALUES (1, ?1)")?
        .execute([now.as_millis()])?;
    Ok(())
}

pub(super) fn load(connection: &Connection) -> rusqlite::Result<Saved> {
    let alive_until = connection
        .query_row("SELECT until FROM alive", [], |row| row.get(0))
        .optional()?
        .map(Timestamp::from_millis);
    let mut select =
        connection.prepare("SELECT rule, key, state FROM hold_state ORDER BY rule, key")?;
    let mut rows = select.query([])?;
    let mut states: Vec<SavedState> = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str()?;
        let rule = match states.last() {
            Some(previous) if *previous.rule == *name => Arc::clone(&previous.rule),
            _ => Arc::from(name),
        };
        let key = CompactString::from(row.get_ref(1)?.as_str()?);
        states.push(SavedState { rule, key, state: Bytes::from(row.get::<_, Vec<u8>>(2)?) });
    }
    Ok(Saved { alive_until, states, waiting: load_waiting(connection)? })
}

fn load_waiting(connection: &Connection) -> rusqlite::Result<Vec<SavedMessage>> {
    let mut select = connection
        .prepare("SELECT rule, key, turn, message FROM hold_waiting ORDER BY rule, key, turn")?;
    let rows = select.query_map([], |row| {
        Ok(SavedMessage {
            rule: Arc::from(row.get_ref(0)?.as_str()?),
            key: CompactString::from(row.get_ref(1)?.as_str()?),
            turn: u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
            message: Bytes::from(row.get::<_, Vec<u8>>(3)?),
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use crate::storage::Storage;

    use super::*;

    #[test]
    fn the_last_state_of_each_key_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        assert_eq!(super::super::load(&storage).unwrap(), Saved::default());
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let transaction = writer.transaction().unwrap();
        save_state(&transaction, "hot", "[7]", Some(b"pending")).unwrap();
        save_state(&transaction, "hot", "[8]", Some(b"pending")).unwrap();
        save_state(&transaction, "cold", "[7]", Some(b"held")).unwrap();
        save_state(&transaction, "hot", "[7]", Some(b"held")).unwrap();
        save_state(&transaction, "hot", "[8]", None).unwrap();
        save_alive(&transaction, Timestamp::from_millis(5)).unwrap();
        save_alive(&transaction, Timestamp::from_millis(9)).unwrap();
        transaction.commit().unwrap();
        let saved = super::super::load(&storage).unwrap();
        assert_eq!(saved.alive_until, Some(Timestamp::from_millis(9)));
        let states: Vec<_> = saved
            .states
            .iter()
            .map(|saved| (&*saved.rule, saved.key.as_str(), &*saved.state))
            .collect();
        assert_eq!(states, [("cold", "[7]", &b"held"[..]), ("hot", "[7]", &b"held"[..])]);
    }

    #[test]
    fn messages_that_wait_come_back_until_they_wait_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let transaction = writer.transaction().unwrap();
        for (key, turn) in [("[7]", 11), ("[8]", 3), ("[7]", 2)] {
            save_waiting(&transaction, "hot", key, turn, Some(&[u8::try_from(turn).unwrap()]))
                .unwrap();
        }
        save_waiting(&transaction, "hot", "[8]", 3, None).unwrap();
        transaction.commit().unwrap();
        let saved = super::super::load(&storage).unwrap();
        let waiting: Vec<_> = saved
            .waiting
            .iter()
            .map(|saved| (&*saved.rule, saved.key.as_str(), saved.turn, &*saved.message))
            .collect();
        assert_eq!(waiting, [("hot", "[7]", 2, &[2][..]), ("hot", "[7]", 11, &[11][..])]);
    }
}
