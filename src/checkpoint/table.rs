//! The tables of saved state.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::engine::rows::KeyChange;
use crate::engine::rows::WaitingChange;

use super::Part;
use super::SavedMessage;
use super::SavedSwitch;

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

/// Version 5: what keys remember of earlier messages, and messages that wait to be remembered.
pub(crate) const HISTORY_SCHEMA: &str = "
CREATE TABLE history_state (
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (rule, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE history_waiting (
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    turn INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (rule, key, turn)
) STRICT, WITHOUT ROWID;
";

/// Version 9: rules that are enabled or disabled by hand.
pub(crate) const SWITCH_SCHEMA: &str = "
CREATE TABLE rule_switch (
    rule TEXT NOT NULL PRIMARY KEY,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Makes `switches` all there are.
pub(crate) fn save_switches(
    transaction: &Connection,
    switches: &[SavedSwitch],
) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM rule_switch")?.execute([])?;
    let mut insert = transaction.prepare_cached("INSERT INTO rule_switch VALUES (?1, ?2, ?3)")?;
    for SavedSwitch { rule, is_on, at } in switches {
        insert.execute(params![&**rule, is_on, at.as_millis()])?;
    }
    Ok(())
}

/// All switches, by rule.
pub(super) fn switches(connection: &Connection) -> rusqlite::Result<Vec<SavedSwitch>> {
    let mut select =
        connection.prepare("SELECT rule, enabled, at FROM rule_switch ORDER BY rule")?;
    let switches = select.query_map([], |row| {
        Ok(SavedSwitch {
            rule: Arc::from(row.get_ref(0)?.as_str()?),
            is_on: row.get(1)?,
            at: Timestamp::from_millis(row.get(2)?),
        })
    })?;
    switches.collect()
}

/// The statements over the two tables of a [`Part`].
struct Statements {
    save: &'static str,
    remove: &'static str,
    save_waiting: &'static str,
    remove_waiting: &'static str,
    load: &'static str,
    load_waiting: &'static str,
}

impl Part {
    fn statements(self) -> &'static Statements {
        match self {
            Part::Hold => &Statements {
                save: "INSERT OR REPLACE INTO hold_state VALUES (?1, ?2, ?3)",
                remove: "DELETE FROM hold_state WHERE rule = ?1 AND key = ?2",
                save_waiting: "INSERT OR REPLACE INTO hold_waiting VALUES (?1, ?2, ?3, ?4)",
                remove_waiting: "DELETE FROM hold_waiting WHERE rule = ?1 AND key = ?2 AND turn = ?3",
                load: "SELECT rule, key, state FROM hold_state ORDER BY rule, key",
                load_waiting: "SELECT rule, key, turn, message FROM hold_waiting
                    ORDER BY rule, key, turn",
            },
            Part::History => &Statements {
                save: "INSERT OR REPLACE INTO history_state VALUES (?1, ?2, ?3)",
                remove: "DELETE FROM history_state WHERE rule = ?1 AND key = ?2",
                save_waiting: "INSERT OR REPLACE INTO history_waiting VALUES (?1, ?2, ?3, ?4)",
                remove_waiting: "DELETE FROM history_waiting
                    WHERE rule = ?1 AND key = ?2 AND turn = ?3",
                load: "SELECT rule, key, state FROM history_state ORDER BY rule, key",
                load_waiting: "SELECT rule, key, turn, message FROM history_waiting
                    ORDER BY rule, key, turn",
            },
        }
    }
}

/// Saves what a key has come to: its state, and the messages of it that wait.
pub(crate) fn save(
    transaction: &Connection,
    part: Part,
    change: &KeyChange,
) -> rusqlite::Result<()> {
    let (rule, key) = (&*change.rule, change.key.as_str());
    let sql = part.statements();
    match &change.state {
        Some(state) => {
            transaction.prepare_cached(sql.save)?.execute(params![rule, key, &state[..]])?
        }
        None => transaction.prepare_cached(sql.remove)?.execute([rule, key])?,
    };
    for WaitingChange { turn, message } in &change.waiting {
        // Turns are counted from nought, one a message: they do not come near 2^63.
        let turn = i64::try_from(*turn).unwrap_or(i64::MAX);
        match message {
            Some(message) => transaction.prepare_cached(sql.save_waiting)?.execute(params![
                rule,
                key,
                turn,
                &message[..]
            ])?,
            None => {
                transaction.prepare_cached(sql.remove_waiting)?.execute(params![rule, key, turn])?
            }
        };
    }
    Ok(())
}

/// Notes that the gateway is running at `now`.
pub(crate) fn save_alive(transaction: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO alive VALUES (1, ?1)")?
        .execute([now.as_millis()])?;
    Ok(())
}

pub(super) fn alive_until(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let until = connection.query_row("SELECT until FROM alive", [], |row| row.get(0)).optional()?;
    Ok(until.map(Timestamp::from_millis))
}

/// Without copying: what SQLite has in its pages is shown.
pub(super) fn for_each_state(
    connection: &Connection,
    part: Part,
    mut visit: impl FnMut(&str, &str, &[u8]),
) -> rusqlite::Result<()> {
    let mut select = connection.prepare(part.statements().load)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (rule, key, state) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
        visit(rule.as_str()?, key.as_str()?, state.as_blob()?);
    }
    Ok(())
}

pub(super) fn waiting(connection: &Connection, part: Part) -> rusqlite::Result<Vec<SavedMessage>> {
    let mut select = connection.prepare(part.statements().load_waiting)?;
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
    use crate::checkpoint::Saved;
    use crate::checkpoint::load;
    use crate::storage::Storage;

    use super::*;

    fn change(rule: &str, key: &str, state: Option<&'static [u8]>) -> KeyChange {
        let (state, waiting) = (state.map(Bytes::from_static), Vec::new());
        KeyChange { rule: rule.into(), key: key.into(), state, waiting }
    }

    fn states(saved: &Saved, part: Part) -> Vec<(String, String, Vec<u8>)> {
        let mut states = Vec::new();
        let note = |rule: &str, key: &str, state: &[u8]| {
            states.push((rule.to_owned(), key.to_owned(), state.to_vec()));
        };
        saved.for_each_state(part, note).unwrap();
        states
    }

    #[test]
    fn the_last_state_of_each_key_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let saved = load(&storage).unwrap();
        assert_eq!((saved.alive_until, states(&saved, Part::Hold)), (None, Vec::new()));
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let transaction = writer.transaction().unwrap();
        for (rule, key, state) in [
            ("hot", "[7]", Some(&b"pending"[..])),
            ("hot", "[8]", Some(b"pending")),
            ("cold", "[7]", Some(b"held")),
            ("hot", "[7]", Some(b"held")),
            ("hot", "[8]", None),
        ] {
            save(&transaction, Part::Hold, &change(rule, key, state)).unwrap();
        }
        save(&transaction, Part::History, &change("hot", "[7]", Some(b"21.5"))).unwrap();
        save_alive(&transaction, Timestamp::from_millis(5)).unwrap();
        save_alive(&transaction, Timestamp::from_millis(9)).unwrap();
        transaction.commit().unwrap();
        let saved = load(&storage).unwrap();
        assert_eq!(saved.alive_until, Some(Timestamp::from_millis(9)));
        let row = |rule: &str, state: &[u8]| (rule.to_owned(), "[7]".to_owned(), state.to_vec());
        assert_eq!(states(&saved, Part::Hold), [row("cold", b"held"), row("hot", b"held")]);
        assert_eq!(states(&saved, Part::History), [row("hot", b"21.5")]);
    }

    #[test]
    fn messages_that_wait_come_back_until_they_wait_no_longer() {
        for part in [Part::Hold, Part::History] {
            let folder = tempfile::tempdir().unwrap();
            let storage = Storage::open(folder.path()).unwrap();
            let (mut writer, _jobs) = storage.take_writer().unwrap();
            let transaction = writer.transaction().unwrap();
            let wait = |key: &str, turn: u64, message: Option<Vec<u8>>| {
                let waiting = vec![WaitingChange { turn, message: message.map(Bytes::from) }];
                let change = KeyChange { waiting, ..change("hot", key, Some(b"")) };
                save(&transaction, part, &change).unwrap();
            };
            wait("[7]", 11, Some(vec![11]));
            wait("[8]", 3, Some(vec![3]));
            wait("[7]", 2, Some(vec![2]));
            wait("[8]", 3, None);
            transaction.commit().unwrap();
            let saved = load(&storage).unwrap();
            let saved = saved.waiting(part).unwrap();
            let waiting: Vec<_> = saved
                .iter()
                .map(|saved| (&*saved.rule, saved.key.as_str(), saved.turn, &*saved.message))
                .collect();
            assert_eq!(waiting, [("hot", "[7]", 2, &[2][..]), ("hot", "[7]", 11, &[11][..])]);
        }
    }
}
