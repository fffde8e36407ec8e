//! The tables of hooks: SQL, and what the writer remembers between commits.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::limits;
use crate::storage::OpenRows;

use super::DeadLetter;
use super::backlog::Backlog;
use super::backlog::Backlogs;
use super::backlog::Extent;

/// Version 1. Calls and letters are numbered from 1 in each hook; `base` plus a call's number is its
/// id for receivers. `last_call` is the highest number among those that have left.
pub(crate) const SCHEMA: &str = "
CREATE TABLE hook (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    base INTEGER NOT NULL,
    last_call INTEGER NOT NULL DEFAULT 0,
    calls_left INTEGER NOT NULL DEFAULT 0,
    last_letter INTEGER NOT NULL DEFAULT 0,
    reported_letter INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE hook_call (
    id INTEGER PRIMARY KEY,
    rule TEXT NOT NULL,
    payload BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE hook_retry (
    call INTEGER PRIMARY KEY,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    error TEXT NOT NULL
) STRICT;
CREATE TABLE hook_dead_letter (
    id INTEGER PRIMARY KEY,
    call INTEGER NOT NULL,
    rule TEXT NOT NULL,
    payload BLOB NOT NULL,
    at INTEGER NOT NULL,
    died_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL
) STRICT;
";
/// Version 8: what a call's dead letter may lead to, and the order in which retries are due.
pub(crate) const LETTERS_SCHEMA: &str = "
ALTER TABLE hook_call ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hook_call ADD COLUMN for_error INTEGER NOT NULL DEFAULT 1;
ALTER TABLE hook_dead_letter ADD COLUMN hops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hook_dead_letter ADD COLUMN for_error INTEGER NOT NULL DEFAULT 1;
CREATE INDEX hook_retry_due ON hook_retry (call >> 43, next_at, call);
";

/// The low bits of a call's or letter's row id are its number, those above it the hook's row: ten
/// thousand calls a second for 28 years.
const NUMBER_BITS: u32 = 43;
const NUMBER_MASK: i64 = (1 << NUMBER_BITS) - 1;
const _: () = assert!(NUMBER_BITS == 43, "the shift in the SQL of hook_retry is NUMBER_BITS");
/// What is said of a call that was refused because too many wait.
const BACKLOG_FULL: &str = "too many calls of the hook wait already";

/// A hook's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HookRow {
    id: i64,
    /// Added to a call's number it gives the id that receivers see.
    pub(super) base: i64,
}

impl HookRow {
    fn row_id(self, number: i64) -> i64 {
        self.id << NUMBER_BITS | number.clamp(0, NUMBER_MASK)
    }

    /// First and last row id behind `number`.
    fn after(self, number: i64) -> (i64, i64) {
        (self.row_id(number + 1), self.row_id(NUMBER_MASK))
    }
}

/// A call that a commit adds; see [`crate::journal::Effect::Invoke`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewCall<'a> {
    pub(crate) rule: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) at: Timestamp,
    pub(crate) hops: u8,
    pub(crate) for_error: bool,
}

/// A stored call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: i64,
    pub(super) rule: Arc<str>,
    pub(super) payload: Bytes,
    /// When the message came that caused it.
    pub(super) at: Timestamp,
    /// Attempts made.
    pub(super) attempts: u32,
}

/// A place in the order in which retries are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RetryPlace {
    pub(super) next_at: Timestamp,
    pub(super) number: i64,
}

impl RetryPlace {
    /// Before all that there can be.
    pub(super) const START: RetryPlace =
        RetryPlace { next_at: Timestamp::from_millis(i64::MIN), number: 0 };
}

/// Retries that are due.
#[derive(Debug, Default)]
pub(super) struct DueRetries {
    /// With the place of each.
    pub(super) calls: Vec<(RetryPlace, Call)>,
    /// When the first retry behind them is due.
    pub(super) then_at: Option<Timestamp>,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The destination has it.
    Done,
    /// It is to be tried again.
    Retry { attempts: u32, next_at: Timestamp, error: String },
    /// It is given up.
    Dead { attempts: u32, died_at: Timestamp, error: String },
}

/// What recording outcomes has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Calls that left.
    pub(super) left: i64,
    /// Letters added.
    pub(super) letters: i64,
    /// Old letters deleted for them.
    pub(super) pruned: i64,
}

struct OpenHook {
    name: Arc<str>,
    row: HookRow,
    /// As of this transaction.
    last: i64,
    /// Refused in this transaction.
    refused: Recorded,
    backlog: Arc<Backlog>,
}

/// Adds the calls of a commit. After each transaction it must be told how that ended.
pub struct Appender {
    backlogs: Arc<Backlogs>,
    open: OpenRows<OpenHook>,
    backlog_max: u64,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("hooks", &self.open.len()).finish_non_exhaustive()
    }
}

impl Appender {
    /// Announces what it commits in `backlogs`.
    pub fn new(backlogs: Arc<Backlogs>) -> Self {
        Self::with_backlog_max(backlogs, limits::HOOK_BACKLOG_MAX)
    }

    /// With another bound than [`limits::HOOK_BACKLOG_MAX`].
    pub(super) fn with_backlog_max(backlogs: Arc<Backlogs>, backlog_max: u64) -> Self {
        Appender { backlogs, open: OpenRows::default(), backlog_max }
    }

    /// Takes a call into the current transaction. When too many wait, it becomes a dead letter there.
    pub(crate) fn push(
        &mut self,
        transaction: &Connection,
        hook: &Arc<str>,
        call: &NewCall<'_>,
    ) -> rusqlite::Result<()> {
        let NewCall { rule, payload, at, hops, for_error } = *call;
        let backlogs = &self.backlogs;
        let open = self.open.touch(hook, || OpenHook::open(transaction, backlogs, hook, at))?;
        let at = at.as_millis();
        let left = open.backlog.extent().left + open.refused.left;
        let is_full = u64::try_from(open.last - left).unwrap_or(0) >= self.backlog_max;
        open.last += 1;
        let id = open.row.row_id(open.last);
        if is_full {
            let letter = next_letter(transaction, open.row)?;
            transaction
                .prepare_cached(
                    "INSERT INTO hook_dead_letter VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, ?6, ?7, ?8)",
                )?
                .execute(params![
                    letter,
                    open.last,
                    rule,
                    payload,
                    at,
                    BACKLOG_FULL,
                    hops,
                    for_error
                ])?;
            open.refused.left += 1;
            open.refused.letters += 1;
            return Ok(());
        }
        transaction
            .prepare_cached("INSERT INTO hook_call VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![id, rule, payload, at, hops, for_error])?;
        Ok(())
    }

    /// Finishes what was pushed.
    pub(crate) fn flush(&mut self, transaction: &Connection) -> rusqlite::Result<()> {
        self.open.each_touched(|open| {
            if open.refused.left > 0 {
                note_left(transaction, open.row, open.refused.left, open.last)?;
                open.refused.pruned = prune_letters(transaction, open.row)?;
            }
            Ok(())
        })
    }

    /// The transaction is on disk: the workers learn of what it added.
    pub(crate) fn committed(&mut self) {
        let backlogs = &self.backlogs;
        self.open.take_touched(|open| {
            // Hooks may have been started meanwhile, with a backlog of their own making.
            open.backlog = backlogs.register(&open.name, &open.backlog);
            let refused = mem::take(&mut open.refused);
            open.backlog.grow(open.last, refused);
            if refused.letters > 0 {
                backlogs.note_letters();
            }
        });
    }

    /// The transaction was undone: the tables are read anew.
    pub(crate) fn forget(&mut self) {
        self.open.forget();
    }
}

impl OpenHook {
    fn open(
        transaction: &Connection,
        backlogs: &Backlogs,
        name: &Arc<str>,
        now: Timestamp,
    ) -> rusqlite::Result<OpenHook> {
        let row = find_or_create(transaction, name, now)?;
        let extent = load_extent(transaction, row)?;
        // Not announced before the commit.
        let backlog = backlogs
            .find(name)
            .unwrap_or_else(|| Arc::new(Backlog::new(Arc::clone(name), row, extent)));
        let (name, refused) = (Arc::clone(name), Recorded::default());
        Ok(OpenHook { name, row, last: extent.last, refused, backlog })
    }
}

/// Call ids begin at the microsecond of creation: a database that was made anew never uses an id
/// again that a receiver may remember.
fn find_or_create(
    connection: &Connection,
    name: &str,
    now: Timestamp,
) -> rusqlite::Result<HookRow> {
    let found = connection
        .prepare_cached("SELECT id, base FROM hook WHERE name = ?1")?
        .query_row([name], |row| read_hook(row, 0))
        .optional()?;
    if let Some(row) = found {
        return Ok(row);
    }
    connection
        .prepare_cached("INSERT INTO hook (name, base) VALUES (?1, ?2) RETURNING id, base")?
        .query_row(params![name, now.as_millis().saturating_mul(1000)], |row| read_hook(row, 0))
}

fn read_hook(row: &Row<'_>, column: usize) -> rusqlite::Result<HookRow> {
    Ok(HookRow { id: row.get(column)?, base: row.get(column + 1)? })
}

/// Makes the hooks that are not there. No retry of one waits until later than `retry_max` from now: the
/// wall clock may have been set back between two runs.
pub(super) fn declare(
    transaction: &Connection,
    hooks: &[(Arc<str>, Duration)],
    now: Timestamp,
) -> rusqlite::Result<()> {
    for (name, retry_max) in hooks {
        let row = find_or_create(transaction, name, now)?;
        transaction
            .prepare_cached(
                "UPDATE hook_retry SET next_at = ?2 WHERE call >> 43 = ?1 AND next_at > ?2",
            )?
            .execute([row.id, (now + *retry_max).as_millis()])?;
    }
    Ok(())
}

/// All hooks, by name.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<(Arc<str>, HookRow)>> {
    connection
        .prepare_cached("SELECT name, id, base FROM hook ORDER BY name")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?.into(), read_hook(row, 1)?)))?
        .collect()
}

/// How far a hook has come.
pub(super) fn load_extent(connection: &Connection, row: HookRow) -> rusqlite::Result<Extent> {
    let (first, last) = row.after(0);
    let waiting: Option<i64> = connection
        .prepare_cached(
            "SELECT id & ?3 FROM hook_call WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row([first, last, NUMBER_MASK], |row| row.get(0))
        .optional()?;
    let letters = connection
        .prepare_cached("SELECT count(*) FROM hook_dead_letter WHERE id BETWEEN ?1 AND ?2")?
        .query_row([first, last], |row| row.get(0))?;
    connection.prepare_cached("SELECT last_call, calls_left FROM hook WHERE id = ?1")?.query_row(
        [row.id],
        |row| {
            let last: i64 = row.get(0)?;
            Ok(Extent { last: last.max(waiting.unwrap_or(0)), left: row.get(1)?, letters })
        },
    )
}

/// Arrival of the oldest call that has not left.
pub(super) fn read_oldest(
    connection: &Connection,
    row: HookRow,
) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .prepare_cached("SELECT at FROM hook_call WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1")?
        .query_row(<[i64; 2]>::from(row.after(0)), |found| found.get(0))
        .optional()
        .map(|at| at.map(Timestamp::from_millis))
}

/// Reads retries behind `behind` that are due at `until`, in order of their times, as many as
/// [`read_calls`] would.
pub(super) fn read_retries(
    connection: &Connection,
    row: HookRow,
    behind: RetryPlace,
    until: Timestamp,
    bytes_max: usize,
) -> rusqlite::Result<DueRetries> {
    let mut select = connection.prepare_cached(
        "SELECT id & ?4, rule, payload, at, attempts, next_at
         FROM hook_retry JOIN hook_call ON id = call
         WHERE call >> 43 = ?1 AND (next_at, call) > (?2, ?3) ORDER BY next_at, call LIMIT ?5",
    )?;
    let page = i64::try_from(limits::HOOK_PAGE_MAX).unwrap_or(i64::MAX);
    let (next_at, call) = (behind.next_at.as_millis(), row.row_id(behind.number));
    let mut rows = select.query([row.id, next_at, call, NUMBER_MASK, page + 1])?;
    let mut due = DueRetries::default();
    let mut bytes = 0;
    while let Some(found) = rows.next()? {
        let next_at = Timestamp::from_millis(found.get(5)?);
        if next_at > until || bytes >= bytes_max || due.calls.len() == limits::HOOK_PAGE_MAX {
            due.then_at = Some(next_at);
            break;
        }
        let call = read_call(found)?;
        bytes += call.payload.len();
        due.calls.push((RetryPlace { next_at, number: call.number }, call));
    }
    Ok(due)
}

/// Of the columns number, rule, payload, at, attempts.
fn read_call(row: &Row<'_>) -> rusqlite::Result<Call> {
    Ok(Call {
        number: row.get(0)?,
        rule: row.get_ref(1)?.as_str()?.into(),
        payload: Bytes::copy_from_slice(row.get_ref(2)?.as_blob()?),
        at: Timestamp::from_millis(row.get(3)?),
        attempts: row.get(4)?,
    })
}

/// Reads calls behind the number `after` that have not been tried, in order, until `bytes_max` bytes
/// of payload or [`limits::HOOK_PAGE_MAX`] calls are there.
pub(super) fn read_calls(
    connection: &Connection,
    row: HookRow,
    after: i64,
    bytes_max: usize,
) -> rusqlite::Result<Vec<Call>> {
    let (first, last) = row.after(after);
    let mut select = connection.prepare_cached(
        "SELECT id & ?3, rule, payload, at, 0 FROM hook_call
         WHERE id BETWEEN ?1 AND ?2 AND NOT EXISTS (SELECT 1 FROM hook_retry WHERE call = id)
         ORDER BY id LIMIT ?4",
    )?;
    let page = i64::try_from(limits::HOOK_PAGE_MAX).unwrap_or(i64::MAX);
    let mut rows = select.query([first, last, NUMBER_MASK, page])?;
    let mut calls = Vec::new();
    let mut bytes = 0;
    while bytes < bytes_max
        && let Some(row) = rows.next()?
    {
        let call = read_call(row)?;
        bytes += call.payload.len();
        calls.push(call);
    }
    Ok(calls)
}

/// Records what became of calls.
pub(super) fn record(
    transaction: &Connection,
    row: HookRow,
    outcomes: &[(i64, Outcome)],
) -> rusqlite::Result<Recorded> {
    let mut recorded = Recorded::default();
    let mut last = 0;
    for (number, outcome) in outcomes {
        let call = row.row_id(*number);
        match outcome {
            Outcome::Retry { attempts, next_at, error } => {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO hook_retry VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![call, attempts, next_at.as_millis(), error])?;
                continue;
            }
            Outcome::Dead { attempts, died_at, error } => {
                let letter = next_letter(transaction, row)?;
                let added = transaction
                    .prepare_cached(
                        "INSERT INTO hook_dead_letter
                         SELECT ?2, ?3, rule, payload, at, ?4, ?5, ?6, hops, for_error
                         FROM hook_call WHERE id = ?1",
                    )?
                    .execute(params![call, letter, number, died_at.as_millis(), attempts, error])?;
                recorded.letters += i64::try_from(added).unwrap_or(0);
            }
            Outcome::Done => {}
        }
        let left =
            transaction.prepare_cached("DELETE FROM hook_call WHERE id = ?1")?.execute([call])?;
        transaction.prepare_cached("DELETE FROM hook_retry WHERE call = ?1")?.execute([call])?;
        recorded.left += i64::try_from(left).unwrap_or(0);
        last = last.max(*number);
    }
    if recorded.left > 0 {
        note_left(transaction, row, recorded.left, last)?;
    }
    if recorded.letters > 0 {
        recorded.pruned = prune_letters(transaction, row)?;
    }
    Ok(recorded)
}

/// The row id of the next dead letter.
fn next_letter(transaction: &Connection, row: HookRow) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "UPDATE hook SET last_letter = last_letter + 1 WHERE id = ?1 RETURNING last_letter",
        )?
        .query_row([row.id], |found| found.get(0))
        .map(|number| row.row_id(number))
}

fn note_left(transaction: &Connection, row: HookRow, left: i64, last: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE hook SET calls_left = calls_left + ?2, last_call = max(last_call, ?3)
             WHERE id = ?1",
        )?
        .execute([row.id, left, last])?;
    Ok(())
}

/// Deletes the letters that are too many; numbers have no gaps but those of replayed letters.
fn prune_letters(transaction: &Connection, row: HookRow) -> rusqlite::Result<i64> {
    let newest: i64 = transaction
        .prepare_cached("SELECT last_letter FROM hook WHERE id = ?1")?
        .query_row([row.id], |row| row.get(0))?;
    let kept = i64::try_from(limits::HOOK_DEAD_LETTERS_MAX).unwrap_or(i64::MAX);
    let pruned = transaction
        .prepare_cached("DELETE FROM hook_dead_letter WHERE id BETWEEN ?1 AND ?2")?
        .execute([row.row_id(0), row.row_id(newest - kept)])?;
    Ok(i64::try_from(pruned).unwrap_or(0))
}

const LETTER_COLUMNS: &str =
    "id & 8796093022207, call, rule, payload, at, died_at, attempts, error, hops, for_error";
const _: () =
    assert!(NUMBER_MASK == 8_796_093_022_207, "the mask in LETTER_COLUMNS is NUMBER_MASK");

fn read_letter(row: &Row<'_>, hook: HookRow) -> rusqlite::Result<DeadLetter> {
    let number: i64 = row.get(0)?;
    let call: i64 = row.get(1)?;
    Ok(DeadLetter {
        id: number.unsigned_abs(),
        call: (hook.base + call).unsigned_abs(),
        rule: row.get_ref(2)?.as_str()?.into(),
        payload: Bytes::copy_from_slice(row.get_ref(3)?.as_blob()?),
        at: Timestamp::from_millis(row.get(4)?),
        died_at: Timestamp::from_millis(row.get(5)?),
        attempts: row.get(6)?,
        error: row.get(7)?,
        hops: row.get(8)?,
        for_error: row.get(9)?,
    })
}

/// Dead letters, newest first, older than `before`.
pub(super) fn read_letters(
    connection: &Connection,
    row: HookRow,
    before: Option<u64>,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let before = before.and_then(|before| i64::try_from(before).ok());
    let last = before.map_or(NUMBER_MASK, |before| (before - 1).max(0));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!(
            "SELECT {LETTER_COLUMNS} FROM hook_dead_letter WHERE id BETWEEN ?1 AND ?2
             ORDER BY id DESC LIMIT ?3"
        ))?
        .query_map([row.row_id(1), row.row_id(last), limit], |found| read_letter(found, row))?
        .collect()
}

/// Dead letters that ON ERROR has not seen, oldest first, at most [`limits::HOOK_REPORTED_MAX`].
pub(super) fn read_unreported(
    connection: &Connection,
    row: HookRow,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let reported = connection
        .prepare_cached("SELECT reported_letter FROM hook WHERE id = ?1")?
        .query_row([row.id], |row| row.get(0))?;
    let (first, last) = row.after(reported);
    let limit = i64::try_from(limits::HOOK_REPORTED_MAX).unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!(
            "SELECT {LETTER_COLUMNS} FROM hook_dead_letter WHERE id BETWEEN ?1 AND ?2
             ORDER BY id LIMIT ?3"
        ))?
        .query_map([first, last, limit], |found| read_letter(found, row))?
        .collect()
}

/// ON ERROR has seen the letters up to `letter`.
pub(super) fn note_reported(
    transaction: &Connection,
    row: HookRow,
    letter: u64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE hook SET reported_letter = ?2 WHERE id = ?1")?
        .execute([row.id, i64::try_from(letter).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Makes dead letters up to `until`, oldest first and at most [`limits::HOOK_PAGE_MAX`], calls
/// again, under their old ids and with all attempts before them. Answers how many, and the lowest
/// call number.
pub(super) fn replay(
    transaction: &Connection,
    row: HookRow,
    until: u64,
) -> rusqlite::Result<Option<(i64, i64)>> {
    let page = i64::try_from(limits::HOOK_PAGE_MAX).unwrap_or(i64::MAX);
    let until = row.row_id(i64::try_from(until).unwrap_or(NUMBER_MASK));
    let letters: Vec<(i64, i64)> = transaction
        .prepare_cached(
            "SELECT id, call FROM hook_dead_letter WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
        )?
        .query_map([row.row_id(1), until, page], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (letter, call) in &letters {
        transaction
            .prepare_cached(
                "INSERT INTO hook_call SELECT ?2, rule, payload, at, hops, for_error
                 FROM hook_dead_letter WHERE id = ?1",
            )?
            .execute([*letter, row.row_id(*call)])?;
        transaction
            .prepare_cached("DELETE FROM hook_dead_letter WHERE id = ?1")?
            .execute([*letter])?;
    }
    let count = i64::try_from(letters.len()).unwrap_or(0);
    note_left(transaction, row, -count, 0)?;
    Ok(letters.iter().map(|(_, call)| *call).min().map(|lowest| (count, lowest)))
}

/// Makes every waiting call due.
#[cfg(test)]
pub(super) fn make_due(transaction: &Connection) -> rusqlite::Result<usize> {
    transaction.execute("UPDATE hook_retry SET next_at = 0", [])
}
