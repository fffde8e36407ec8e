//! The table of hits.

use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::limits;
use crate::storage::frame::Damaged;
use crate::storage::frame::FrameReader;
use crate::storage::frame::FrameWriter;

use super::Hit;
use super::HitLogError;
use super::HitQuery;
use super::NewHit;

/// Version 1.
pub(crate) const SCHEMA: &str = "
CREATE TABLE hit_block (
    last_id INTEGER PRIMARY KEY,
    hit_count INTEGER NOT NULL,
    hits BLOB NOT NULL
) STRICT;
";

const VERSION: u8 = 1;
/// Old blocks are deleted when this part of the configured number has come on top.
const SLACK_DIVISOR: i64 = 8;

/// Adds the hits of a commit. Remembers the last id; must be told to [`Recorder::forget`] when the
/// transaction failed.
pub(crate) struct Recorder {
    hits_max: i64,
    place: Option<Place>,
    block: FrameWriter,
}

#[derive(Clone, Copy)]
struct Place {
    last_id: i64,
    /// The id up to which blocks have been deleted.
    deleted_to: i64,
}

impl Recorder {
    /// Keeps the newest `hits_max` hits; with 0 none.
    pub(crate) fn new(hits_max: usize) -> Recorder {
        let hits_max = i64::try_from(hits_max).unwrap_or(i64::MAX);
        Recorder { hits_max, place: None, block: FrameWriter::default() }
    }

    /// Writes the newest of `hits`, which come in order.
    pub(crate) fn append<'a>(
        &mut self,
        transaction: &Connection,
        hits: impl ExactSizeIterator<Item = NewHit<'a>>,
    ) -> rusqlite::Result<()> {
        let count_max = usize::try_from(self.hits_max).unwrap_or(usize::MAX);
        let kept = hits.len().min(limits::HITS_PER_COMMIT_MAX).min(count_max);
        if kept == 0 {
            return Ok(());
        }
        let skipped = hits.len() - kept;
        self.block.clear();
        self.block.put_u8(VERSION);
        for hit in hits.skip(skipped) {
            encode(&hit, &mut self.block);
        }
        let mut place = match self.place {
            Some(place) => place,
            None => load_place(transaction)?,
        };
        let count = i64::try_from(kept).unwrap_or(i64::MAX);
        place.last_id += count;
        transaction
            .prepare_cached("INSERT INTO hit_block VALUES (?1, ?2, ?3)")?
            .execute(params![place.last_id, count, self.block.seal()])?;
        let horizon = place.last_id.saturating_sub(self.hits_max);
        if horizon - place.deleted_to > self.hits_max / SLACK_DIVISOR {
            transaction
                .prepare_cached("DELETE FROM hit_block WHERE last_id <= ?1")?
                .execute([horizon])?;
            place.deleted_to = horizon;
        }
        self.place = Some(place);
        Ok(())
    }

    /// Drops what is remembered; the table is read anew.
    pub(crate) fn forget(&mut self) {
        self.place = None;
    }
}

fn load_place(connection: &Connection) -> rusqlite::Result<Place> {
    connection
        .prepare_cached("SELECT ifnull(max(last_id), 0), ifnull(min(last_id), 0) FROM hit_block")?
        .query_row([], |row| Ok(Place { last_id: row.get(0)?, deleted_to: row.get(1)? }))
}

pub(super) fn newest(
    connection: &Connection,
    query: &HitQuery<'_>,
    count_max: usize,
) -> Result<Vec<Hit>, HitLogError> {
    // The block that holds the hit before `before` may end after it.
    let mut select = connection.prepare_cached(
        "SELECT last_id, hit_count, hits FROM hit_block
         WHERE last_id - hit_count + 1 < ?1 AND last_id > ?2 ORDER BY last_id DESC",
    )?;
    let limit = |id: Option<u64>, none| id.map_or(none, |id| i64::try_from(id).unwrap_or(i64::MAX));
    let (before, after) = (limit(query.before, i64::MAX), limit(query.after, 0));
    let mut rows = select.query([before, after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (last, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        let blob = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let hits = decode(last - count + 1, blob)
            .map_err(|source| HitLogError::Damaged { last, source })?;
        let wanted = hits.into_iter().rev().filter(|hit| {
            query.before.is_none_or(|before| hit.id < before)
                && query.after.is_none_or(|after| hit.id > after)
                && query.rule.is_none_or(|rule| hit.rule == rule)
        });
        found.extend(wanted.take(count_max - found.len()));
        if found.len() >= count_max {
            break;
        }
    }
    Ok(found)
}

fn encode(hit: &NewHit<'_>, out: &mut FrameWriter) {
    out.put_signed(hit.at.as_millis());
    for text in [hit.rule, hit.event, hit.topic] {
        out.put_bytes(text.as_bytes());
    }
    for text in [hit.reason, hit.client_id, hit.key] {
        out.put_u8(u8::from(text.is_some()));
        out.put_bytes(text.unwrap_or_default().as_bytes());
    }
    out.put_varint(hit.output.len() as u64);
    out.put_bytes(&hit.output[..hit.output.len().min(limits::HIT_OUTPUT_BYTES_MAX)]);
}

fn decode(first_id: i64, blob: &[u8]) -> Result<Vec<Hit>, Damaged> {
    let mut fields = FrameReader::open(blob)?;
    if fields.read_u8()? != VERSION {
        return Err(Damaged("an unknown version of the form"));
    }
    let mut hits = Vec::new();
    let mut id = first_id.unsigned_abs();
    while !fields.is_at_end() {
        let at = Timestamp::from_millis(fields.read_signed()?);
        let [rule, event, topic] = [fields.read_str()?, fields.read_str()?, fields.read_str()?];
        let mut optional = || -> Result<Option<String>, Damaged> {
            let is_there = fields.read_u8()? != 0;
            let text = fields.read_str()?;
            Ok(is_there.then(|| text.to_owned()))
        };
        let (reason, client_id, key) = (optional()?, optional()?, optional()?);
        let output_bytes = fields.read_varint()?;
        hits.push(Hit {
            id,
            at,
            rule: rule.to_owned(),
            event: event.to_owned(),
            reason,
            topic: topic.to_owned(),
            client_id,
            key,
            output: Bytes::copy_from_slice(fields.read_bytes()?),
            output_bytes,
        });
        id += 1;
    }
    Ok(hits)
}

#[cfg(test)]
mod tests {
    use crate::hit_log::HitLog;
    use crate::storage::Storage;

    use super::*;

    fn hit<'a>(rule: &'a str, at: i64, output: &'a [u8]) -> NewHit<'a> {
        NewHit {
            at: Timestamp::from_millis(at),
            rule,
            event: "match",
            reason: None,
            topic: "a/b",
            client_id: Some("sensor"),
            key: None,
            output,
        }
    }

    /// Ten commits of three hits, `a` and `b` in turn.
    fn filled(hits_max: usize) -> (tempfile::TempDir, HitLog) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let mut recorder = Recorder::new(hits_max);
        for commit in 0..10 {
            let transaction = writer.transaction().unwrap();
            let hits: Vec<_> = (0..3)
                .map(|n| hit(if (commit + n) % 2 == 0 { "a" } else { "b" }, commit * 3 + n, b"{}"))
                .collect();
            recorder.append(&transaction, hits.into_iter()).unwrap();
            transaction.commit().unwrap();
            // As after a failed transaction: the next commit reads its place from the table.
            recorder.forget();
        }
        let log = HitLog::new(storage.reader().unwrap());
        (folder, log)
    }

    fn ids(log: &HitLog, query: &HitQuery<'_>, count_max: usize) -> Vec<u64> {
        log.newest(query, count_max).unwrap().iter().map(|hit| hit.id).collect()
    }

    #[test]
    fn hits_come_newest_first_and_page_by_page() {
        let (_folder, log) = filled(100);
        assert_eq!(ids(&log, &HitQuery::default(), 4), [30, 29, 28, 27]);
        let next = HitQuery { before: Some(27), ..HitQuery::default() };
        assert_eq!(ids(&log, &next, 4), [26, 25, 24, 23]);
        let last = HitQuery { before: Some(3), ..HitQuery::default() };
        assert_eq!(ids(&log, &last, 4), [2, 1]);
        let new = HitQuery { after: Some(28), ..HitQuery::default() };
        assert_eq!(ids(&log, &new, 10), [30, 29]);
        let of_a = HitQuery { rule: Some("a"), ..HitQuery::default() };
        let hits = log.newest(&of_a, 100).unwrap();
        assert_eq!(hits.len(), 15);
        assert!(hits.iter().all(|hit| hit.rule == "a"));
        assert_eq!(hits[0].client_id.as_deref(), Some("sensor"));
        assert_eq!(hits[0].key, None);
    }

    #[test]
    fn old_blocks_go_and_the_newest_hits_stay() {
        let (_folder, log) = filled(8);
        let kept = ids(&log, &HitQuery::default(), 100);
        assert_eq!(kept[..8], [30, 29, 28, 27, 26, 25, 24, 23]);
        assert!(kept.len() <= 8 + 1 + 3, "an eighth and a block may stay on top: {kept:?}");
        let (_folder, log) = filled(0);
        assert!(ids(&log, &HitQuery::default(), 100).is_empty());
    }

    #[test]
    fn many_hits_of_a_commit_and_long_outputs_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let (mut writer, _jobs) = storage.take_writer().unwrap();
        let transaction = writer.transaction().unwrap();
        let output = vec![b'x'; limits::HIT_OUTPUT_BYTES_MAX + 1];
        let many = limits::HITS_PER_COMMIT_MAX + 5;
        let hits: Vec<_> = (0..many).map(|n| hit("a", n.try_into().unwrap(), &output)).collect();
        Recorder::new(10_000).append(&transaction, hits.into_iter()).unwrap();
        transaction.commit().unwrap();
        let log = HitLog::new(storage.reader().unwrap());
        let hits = log.newest(&HitQuery::default(), 10_000).unwrap();
        assert_eq!(hits.len(), limits::HITS_PER_COMMIT_MAX);
        assert_eq!(hits[0].at.as_millis(), i64::try_from(many).unwrap() - 1);
        assert_eq!(hits[0].output.len(), limits::HIT_OUTPUT_BYTES_MAX);
        assert_eq!(hits[0].output_bytes, output.len() as u64);
    }
}
