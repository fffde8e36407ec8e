//! What tables of keys have on disk: a row a key, and rows beside it of what waits or is gathered, so that a
//! batch writes what is new. They go out as [`KeyChange`]s; `restoration` takes them back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::engine::hold::RowError;
use crate::limits::HOLD_REJECTED_ROWS_SHOWN;

/// A row to write: the last state of a key that changed since the rows were taken before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// Rule name; empty for the row of what all clocks leave out.
    pub rule: Arc<str>,
    /// Key, as in [`Observation`](crate::engine::Observation).
    pub key: CompactString,
    /// Encoded state; `None` removes the row.
    pub state: Option<Bytes>,
    /// Rows beside it: messages of the key that wait for their turn in event time, parts of its windows.
    pub waiting: Vec<WaitingChange>,
}

impl KeyChange {
    /// Takes the row of a key off the disk, and those of these turns beside it.
    pub(super) fn removed(
        rule: &str,
        key: impl Into<CompactString>,
        turns: impl IntoIterator<Item = u64>,
    ) -> KeyChange {
        let gone = |turn| WaitingChange { turn, message: None };
        let waiting = turns.into_iter().map(gone).collect();
        KeyChange { rule: Arc::from(rule), key: key.into(), state: None, waiting }
    }

    /// What its rows hold, bytes.
    pub fn bytes(&self) -> usize {
        let waiting = self.waiting.iter().map(|row| row.message.as_ref().map_or(0, Bytes::len));
        self.state.as_ref().map_or(0, Bytes::len) + waiting.sum::<usize>()
    }
}

/// A row beside that of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingChange {
    /// Tells it from the others of its key; never used twice while the key lives.
    pub turn: u64,
    /// Encoded message; `None` removes the row.
    pub message: Option<Bytes>,
}

/// A stored row beside that of a key.
#[derive(Clone, Copy, Debug)]
pub struct WaitingRow<'a> {
    /// Rule name.
    pub rule: &'a str,
    /// Key.
    pub key: &'a str,
    /// As in [`WaitingChange`].
    pub turn: u64,
    /// Encoded message.
    pub message: &'a [u8],
}

/// All that is stored of a key.
#[derive(Clone, Copy, Debug)]
pub struct StoredKey<'a> {
    /// Rule name; empty for the row of what all clocks leave out.
    pub rule: &'a str,
    /// Key.
    pub key: &'a str,
    /// Its row; `None` where only rows beside it are left.
    pub state: Option<&'a [u8]>,
    /// The rows beside it, by turn.
    pub beside: &'a [WaitingRow<'a>],
}

/// Brings rows in memory together, key by key, and calls `visit` with each, in order.
pub(super) fn for_each_key<'a>(
    states: impl IntoIterator<Item = (&'a str, &'a str, &'a [u8])>,
    beside: impl IntoIterator<Item = WaitingRow<'a>>,
    mut visit: impl FnMut(StoredKey<'_>),
) {
    let mut keys: BTreeMap<_, (Option<&[u8]>, Vec<WaitingRow<'_>>)> = BTreeMap::new();
    for (rule, key, state) in states {
        keys.entry((rule, key)).or_default().0 = Some(state);
    }
    for row in beside {
        keys.entry((row.rule, row.key)).or_default().1.push(row);
    }
    for ((rule, key), (state, beside)) in keys {
        visit(StoredKey { rule, key, state, beside: &beside });
    }
}

/// A stored row that was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    /// Rule name of the row.
    pub rule: String,
    /// Key of the row.
    pub key: String,
    /// What is wrong with it.
    pub error: RowError,
}

/// What a table found on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Rows whose key goes on.
    pub kept: usize,
    /// Rows that ended: reset by ON RESTART, rule changed or gone.
    pub ended: usize,
    /// Rows that could not be read. They stay on disk until their key is written again.
    pub rejected: usize,
    /// The first [`HOLD_REJECTED_ROWS_SHOWN`] of those.
    pub rejected_rows: Vec<RejectedRow>,
}

impl Restored {
    /// Adds what another table found.
    pub(super) fn add(&mut self, mut other: Restored) {
        self.kept += other.kept;
        self.ended += other.ended;
        self.rejected += other.rejected;
        self.rejected_rows.append(&mut other.rejected_rows);
        self.rejected_rows.truncate(HOLD_REJECTED_ROWS_SHOWN);
    }

    pub(super) fn reject(&mut self, rule: &str, key: &str, error: RowError) {
        self.rejected += 1;
        if self.rejected_rows.len() < HOLD_REJECTED_ROWS_SHOWN {
            let (rule, key) = (rule.to_owned(), key.to_owned());
            self.rejected_rows.push(RejectedRow { rule, key, error });
        }
    }
}
