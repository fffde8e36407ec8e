//! The tables of saved state.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Rows;
use rusqlite::Statement;
use rusqlite::params;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::engine::rows::KeyChange;
use crate::engine::rows::StoredKey;
use crate::engine::rows::WaitingChange;
use crate::engine::rows::WaitingRow;

use super::Part;
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
    empty: &'static str,
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
                empty: "DELETE FROM hold_state WHERE rule = ?1",
                save_waiting: "INSERT OR REPLACE INTO hold_waiting VALUES (?1, ?2, ?3, ?4)",
                remove_waiting: "DELETE FROM hold_waiting WHERE rule = ?1 AND key = ?2 AND turn = ?3",
                load: "SELECT rule, key, state FROM hold_state ORDER BY rule, key",
                load_waiting: "SELECT rule, key, turn, message FROM hold_waiting
                    ORDER BY rule, key, turn",
            },
            Part::History => &Statements {
                save: "INSERT OR REPLACE INTO history_state VALUES (?1, ?2, ?3)",
                remove: "DELETE FROM history_state WHERE rule = ?1 AND key = ?2",
                empty: "DELETE FROM history_state WHERE rule = ?1",
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

/// Removes the rows of all keys of a rule; those beside them stay.
pub(crate) fn empty(transaction: &Connection, part: Part, rule: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached(part.statements().empty)?.execute([rule])?;
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

/// Shows each key with its row and those beside it, in order of rule and key. Both tables are read once and side by
/// side. What SQLite has in its pages of a row is shown without copying; the rows beside it are copied.
pub(super) fn for_each_key(
    connection: &Connection,
    part: Part,
    mut visit: impl FnMut(StoredKey<'_>),
) -> rusqlite::Result<()> {
    let sql = part.statements();
    let mut beside = connection.prepare(sql.load_waiting)?;
    let mut beside = Beside::begin(&mut beside)?;
    let mut select = connection.prepare(sql.load)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (rule, key, state) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
        let (rule, key, state) = (rule.as_str()?, key.as_str()?, state.as_blob()?);
        beside.leave_behind(Some((rule, key)), &mut visit)?;
        beside.show((rule, key), Some(state), &mut visit)?;
    }
    beside.leave_behind(None, &mut visit)
}

/// The rows beside those of keys, read in their order.
struct Beside<'s> {
    rows: Rows<'s>,
    next: Option<NextRow>,
    /// The rows of the key that is shown: their turns, and where in `messages` each ends.
    turns: Vec<(u64, usize)>,
    messages: Vec<u8>,
}

/// The row that is read next, copied: the one before it is still being looked at.
#[derive(Default)]
struct NextRow {
    rule: String,
    key: String,
    turn: u64,
    message: Vec<u8>,
}

impl NextRow {
    fn name(&self) -> (&str, &str) {
        (&self.rule, &self.key)
    }
}

impl<'s> Beside<'s> {
    fn begin(select: &'s mut Statement<'_>) -> rusqlite::Result<Beside<'s>> {
        let (turns, messages) = Default::default();
        let next = Some(NextRow::default());
        let mut beside = Beside { rows: select.query([])?, next, turns, messages };
        beside.step()?;
        Ok(beside)
    }

    fn step(&mut self) -> rusqlite::Result<()> {
        let Some(row) = self.rows.next()? else {
            self.next = None;
            return Ok(());
        };
        if let Some(next) = &mut self.next {
            row.get_ref(0)?.as_str()?.clone_into(&mut next.rule);
            row.get_ref(1)?.as_str()?.clone_into(&mut next.key);
            next.turn = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
            row.get_ref(3)?.as_blob()?.clone_into(&mut next.message);
        }
        Ok(())
    }

    /// Shows those that stand before a key, or all that are left: their keys have no row.
    fn leave_behind(
        &mut self,
        before: Option<(&str, &str)>,
        visit: &mut impl FnMut(StoredKey<'_>),
    ) -> rusqlite::Result<()> {
        let is_before = |next: &NextRow| before.is_none_or(|name| next.name() < name);
        while let Some(next) = self.next.as_ref().filter(|next| is_before(next)) {
            let (rule, key) = (next.rule.clone(), next.key.clone());
            self.show((&rule, &key), None, visit)?;
        }
        Ok(())
    }

    /// Shows a key with its rows, which are the next ones if it has any.
    fn show(
        &mut self,
        (rule, key): (&str, &str),
        state: Option<&[u8]>,
        visit: &mut impl FnMut(StoredKey<'_>),
    ) -> rusqlite::Result<()> {
        self.turns.clear();
        self.messages.clear();
        while let Some(next) = self.next.as_ref().filter(|next| next.name() == (rule, key)) {
            self.messages.extend_from_slice(&next.message);
            self.turns.push((next.turn, self.messages.len()));
            self.step()?;
        }
        let mut begin = 0;
        let rows = self.turns.iter().map(|&(turn, end)| {
            let message = &self.messages[begin..end];
            begin = end;
            WaitingRow { rule, key, turn, message }
        });
        let beside: SmallVec<[WaitingRow<'_>; 4]> = rows.collect();
        visit(StoredKey { rule, key, state, beside: &beside });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::checkpoint::Saved;
    use crate::checkpoint::load;
    use crate::storage::Storage;

    use super::*;

    fn change(rule: &str, key: &str, state: Option<&'static [u8]>) -> KeyChange {
        let (state, waiting) = (state.map(Bytes::from_static), Vec::new());
        KeyChange { rule: rule.into(), key: key.into(), state, waiting }
    }

    /// Each key with its row and the turns and messages of those beside it.
    type Stored = (String, String, Option<Vec<u8>>, Vec<(u64, Vec<u8>)>);

    fn stored(saved: &Saved, part: Part) -> Vec<Stored> {
        let mut keys = Vec::new();
        let note = |key: StoredKey<'_>| {
            let beside = key.beside.iter().map(|row| {
                assert_eq!((row.rule, row.key), (key.rule, key.key));
                (row.turn, row.message.to_vec())
            });
            let state = key.state.map(<[u8]>::to_vec);
            keys.push((key.rule.to_owned(), key.key.to_owned(), state, beside.collect()));
        };
        saved.for_each_key(part, note).unwrap();
        keys
    }

    #[test]
    fn the_last_state_of_each_key_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let saved = load(&storage).unwrap();
        assert_eq!((saved.alive_until, stored(&saved, Part::Hold)), (None, Vec::new()));
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
        save(&transaction, Part::Hold, &change("over", "[1]", Some(b"pending"))).unwrap();
        empty(&transaction, Part::Hold, "over").unwrap();
        save_alive(&transaction, Timestamp::from_millis(5)).unwrap();
        save_alive(&transaction, Timestamp::from_millis(9)).unwrap();
        transaction.commit().unwrap();
        let saved = load(&storage).unwrap();
        assert_eq!(saved.alive_until, Some(Timestamp::from_millis(9)));
        let row = |rule: &str, state: &[u8]| -> Stored {
            (rule.to_owned(), "[7]".to_owned(), Some(state.to_vec()), Vec::new())
        };
        assert_eq!(stored(&saved, Part::Hold), [row("cold", b"held"), row("hot", b"held")]);
        assert_eq!(stored(&saved, Part::History), [row("hot", b"21.5")]);
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
            wait("[7]", 2, Some(vec![2, 2]));
            wait("[8]", 3, None);
            wait("[5]", 1, Some(Vec::new()));
            wait("[9]", 4, Some(vec![4]));
            // Rows whose key has none are shown as such, wherever they stand.
            for lost in ["[5]", "[9]"] {
                save(&transaction, part, &change("hot", lost, None)).unwrap();
            }
            save(&transaction, part, &change("", "total", Some(b"1"))).unwrap();
            transaction.commit().unwrap();
            let saved = load(&storage).unwrap();
            let key =
                |rule: &str, key: &str, state: Option<&[u8]>, beside: &[(u64, &[u8])]| -> Stored {
                    let beside = beside.iter().map(|(turn, message)| (*turn, message.to_vec()));
                    (rule.into(), key.into(), state.map(<[u8]>::to_vec), beside.collect())
                };
            let expected = [
                key("", "total", Some(b"1"), &[]),
                key("hot", "[5]", None, &[(1, b"")]),
                key("hot", "[7]", Some(b""), &[(2, &[2, 2]), (11, &[11])]),
                key("hot", "[8]", Some(b""), &[]),
                key("hot", "[9]", None, &[(4, &[4])]),
            ];
            assert_eq!(stored(&saved, part), expected);
        }
    }
}
