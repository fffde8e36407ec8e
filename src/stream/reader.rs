//! Reading records in order, from any point, a bounded page at a time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::storage::ReadConnection;
use crate::storage::cipher::NoKey;
use crate::storage::cipher::NotOpened;

use super::Record;
use super::Shard;
use super::ShardEntry;
use super::ShardId;
use super::StreamError;
use super::StreamSummary;
use super::block;
use super::block::BlockPlace;
use super::block::BlockRecord;
use super::sequence::Position;
use super::sequence::SequenceNumber;
use super::table;
use super::unknown;

/// Where reading begins (Kinesis: `ShardIteratorType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record stored.
    TrimHorizon,
    /// After the newest record stored.
    Latest,
    /// So many records before the end.
    Newest(u64),
    /// This record, or the next one when retention has taken it.
    AtSequence(SequenceNumber),
    /// The record after this one.
    AfterSequence(SequenceNumber),
    /// The first record that arrived then or later; after the newest one when none has.
    AtTimestamp(Timestamp),
}

/// A place in a shard; does not age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(super) row: i64,
    pub(super) made: u64,
    pub(super) shard: ShardId,
    pub(super) next: Position,
}

impl Cursor {
    /// The shard it reads.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Goes on behind a block that cannot be read.
    pub fn skip_block(&mut self, block: u64) {
        self.next = self.next.max(Position::new(block + 1, 0));
    }

    /// The same place in a form that outlives the process.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark { shard: self.shard, made: self.made, next: self.next }
    }
}

/// A place in a stream as text can carry it ([`crate::stream::ShardEntry::resume`]). Forged ones are no danger: they
/// are compared with the shard, and every position is a place to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    pub(super) shard: ShardId,
    pub(super) made: u64,
    pub(super) next: Position,
}

impl Bookmark {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        SequenceNumber::new(self.made, self.next, self.shard).to_bytes()
    }

    /// A place from its bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Bookmark {
        let number = SequenceNumber::from_bytes(bytes);
        let (shard, made) = (number.shard(), number.shard_made());
        Bookmark { shard, made, next: number.position() }
    }

    /// The shard it is in.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The number after which reading goes on here; a record need not have it (Kinesis:
    /// `ContinuationSequenceNumber`).
    pub fn continuation(&self) -> SequenceNumber {
        SequenceNumber::new(self.made, self.next.previous(), self.shard)
    }
}

/// What one call reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub records: Vec<Record>,
    /// How much later the newest record of the shard arrived than the last of these; zero when they
    /// reach the end (Kinesis: `MillisBehindLatest`).
    pub behind: Duration,
    /// Whether a bound ended it.
    pub is_cut: bool,
}

impl Page {
    /// Bytes of all data and keys.
    pub fn payload_bytes(&self) -> usize {
        self.records.iter().map(|record| record.data.len() + record.partition_key.len()).sum()
    }
}

/// Reads streams. A call blocks for as long as SQLite takes: not for async code.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: ReadConnection,
}

impl Reader {
    /// Reads over `connection`.
    pub fn new(connection: ReadConnection) -> Reader {
        Reader { connection }
    }

    /// All streams with what is in them, in order of their names.
    pub fn streams(&self) -> Result<Vec<StreamSummary>, StreamError> {
        Ok(table::list(self.connection.sqlite())?)
    }

    /// The shards of a stream, in order of their numbers.
    pub fn shards(&self, stream: &str) -> Result<Vec<Shard>, StreamError> {
        match table::shards(self.connection.sqlite(), stream)? {
            Some(shards) => Ok(shards),
            None => Err(unknown(stream, &table::names(self.connection.sqlite())?)),
        }
    }

    /// A number that changes when something has been committed since it was last read.
    pub fn version(&self) -> Result<i64, StreamError> {
        Ok(table::data_version(self.connection.sqlite())?)
    }

    /// The cursor of a shard at `start`.
    pub fn cursor(&self, shard: &Shard, start: StartAt) -> Result<Cursor, StreamError> {
        let (row, made, shard) = (shard.row, shard.made, shard.id);
        self.seek(Cursor { row, made, shard, next: Position::new(0, 0) }, start)
    }

    /// The same of a shard in a list.
    pub fn cursor_in(&self, shard: &ShardEntry, start: StartAt) -> Result<Cursor, StreamError> {
        let (row, made, shard) = (shard.row, shard.made, shard.id);
        self.seek(Cursor { row, made, shard, next: Position::new(0, 0) }, start)
    }

    /// Moves a cursor from the beginning of its shard.
    fn seek(&self, from: Cursor, start: StartAt) -> Result<Cursor, StreamError> {
        let next = match start {
            StartAt::TrimHorizon => from.next,
            StartAt::Latest => self.tip(from.row)?,
            StartAt::Newest(count) => {
                let found = table::find_last(self.connection.sqlite(), from.row, count)?;
                found.map_or_else(|| self.tip(from.row), Ok)?
            }
            StartAt::AtSequence(number) => checked(&from, number)?,
            StartAt::AfterSequence(number) => checked(&from, number)?.next(),
            StartAt::AtTimestamp(at) => self.find_time(&from, at)?,
        };
        Ok(Cursor { next, ..from })
    }

    /// Reads on from `cursor` and moves it: at most `records_max` records, and no further record once
    /// `bytes_max` bytes of data and keys are reached. An empty page means the end, for now.
    pub fn read(
        &self,
        cursor: &mut Cursor,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StreamError> {
        self.read_until(cursor, table::NO_BLOCK, records_max, bytes_max)
    }

    /// The same up to the end of a block.
    pub(super) fn read_until(
        &self,
        cursor: &mut Cursor,
        last_block: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StreamError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut is_cut = false;
        let from = cursor.next;
        let mut next = cursor.next;
        let sqlite = self.connection.sqlite();
        let read =
            table::for_each_block(sqlite, cursor.row, from.block(), last_block, |block, blob| {
                self.for_each_record(cursor, block, blob, |position, record, is_encrypted| {
                    if position < from {
                        return;
                    }
                    let is_full = !records.is_empty() && bytes >= bytes_max;
                    if records.len() >= records_max || is_full {
                        is_cut = true;
                        return;
                    }
                    bytes += record.data.len() + record.partition_key.len();
                    next = position.next();
                    records.push(Record {
                        sequence_number: SequenceNumber::new(cursor.made, position, cursor.shard),
                        partition_key: record.partition_key,
                        hash_key: record.hash_key,
                        hops: record.hops,
                        at: record.at,
                        is_encrypted,
                        data: record.data,
                    });
                })?;
                Ok::<_, StreamError>(!is_cut)
            });
        match read {
            Ok(()) => {}
            // What is before it comes first; the next call begins with it.
            Err(StreamError::Damaged { .. } | StreamError::NoKey { .. }) if !records.is_empty() => {
                is_cut = true;
            }
            Err(error) => return Err(error),
        }
        cursor.next = next;
        let newest = if is_cut { table::newest_at(sqlite, cursor.row)? } else { None };
        let behind = newest.zip(records.last()).map(|(newest, last)| newest.since(last.at));
        Ok(Page { records, behind: behind.unwrap_or_default(), is_cut })
    }

    fn tip(&self, shard_row: i64) -> Result<Position, StreamError> {
        let block = table::next_block(self.connection.sqlite(), shard_row)?;
        Ok(Position::new(block, 0))
    }

    fn find_time(&self, shard: &Cursor, at: Timestamp) -> Result<Position, StreamError> {
        let sqlite = self.connection.sqlite();
        let Some(from) = table::find_time(sqlite, shard.row, at)? else {
            return self.tip(shard.row);
        };
        let mut found = None;
        table::for_each_block(sqlite, shard.row, from, table::NO_BLOCK, |block, blob| {
            self.for_each_record(shard, block, blob, |position, record, _| {
                if found.is_none() && record.at >= at {
                    found = Some(position);
                }
            })?;
            Ok::<_, StreamError>(found.is_none())
        })?;
        match found {
            Some(position) => Ok(position),
            // Retention has taken the block in the meantime.
            None => self.tip(shard.row),
        }
    }
}

impl Reader {
    /// Shows the records of a block, and whether it is encrypted.
    fn for_each_record(
        &self,
        cursor: &Cursor,
        block: u64,
        blob: &[u8],
        mut visit: impl FnMut(Position, BlockRecord, bool),
    ) -> Result<(), StreamError> {
        let (shard, shard_made) = (cursor.shard, cursor.made);
        let damaged = |source| StreamError::Damaged { shard, block, source };
        let is_encrypted = block::is_encrypted(blob);
        let stream = match is_encrypted {
            true => table::stream_of(self.connection.sqlite(), cursor.row)?.unwrap_or_default(),
            false => String::new(),
        };
        let place = BlockPlace { stream: &stream, shard, shard_made, block };
        let mut clear = Vec::new();
        let opened = block::open(blob, self.connection.opener(), place, &mut clear);
        let records = opened.map_err(|why| match why {
            NotOpened::NoKey(NoKey(key)) => StreamError::NoKey { shard, block, key },
            NotOpened::Damaged(source) => damaged(source),
        })?;
        for (index, record) in (0..=u16::MAX).zip(records) {
            visit(Position::new(block, index), record.map_err(damaged)?, is_encrypted);
        }
        Ok(())
    }

    /// The streams that are or have been encrypted: name, the id of the last key, and whether they are.
    pub fn encrypted(&self) -> Result<Vec<(String, String, bool)>, StreamError> {
        Ok(table::encrypted(self.connection.sqlite())?)
    }
}

/// The position of `number`, which must be of `shard`.
fn checked(shard: &Cursor, number: SequenceNumber) -> Result<Position, StreamError> {
    if number.shard() != shard.shard || number.shard_made() != shard.made {
        return Err(StreamError::ForeignSequence { number, shard: shard.shard });
    }
    Ok(number.position())
}
