//! Checking what is stored of streams: everything that can be seen without changing anything.
//!
//! [`Reader::verify`] walks over the streams, shard by shard and a page of blocks at a time, and tells each
//! [`Finding`] as it comes. It works beside a running gateway: each page is a snapshot of its own, so that the log
//! is not kept from being begun anew for longer than a page takes, and what retention takes meanwhile is no finding.
//!
//! What is checked stands at [`Aspect`]. A block that is damaged is told once, and the check goes on behind it with
//! what its row says; where SQLite itself cannot read on, the rest of the shard is told as not checked.
//!
//! Start reading at [`Reader::verify`]; [`lineage`] has what shards are to each other, [`table`] the SQL.

mod lineage;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::limits;
use crate::storage::cipher::NoKey;
use crate::storage::cipher::NotOpened;

use super::Reader;
use super::ShardId;
use super::StreamError;
use super::block;
use super::block::BlockPlace;
use super::block::BlockRecord;
use super::sequence::BLOCK_RECORDS_MAX;
use super::sequence::Position;
use super::shard::hash_partition_key;
use super::table::Tail;
use super::table::names;
use super::unknown;

use table::BlockRow;
use table::ShardRow;
use table::StreamRow;

/// Records outlive their retention by a minute of running, and by the time that deleting takes. Later than this is told.
const LATE: Duration = Duration::from_secs(10 * 60);

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// SQLite's own check, and rows that SQLite cannot read or that belong to nothing.
    Database,
    /// A block: its checksum, that it is what was encrypted there, its form, its count of records, their keys and sizes.
    Block,
    /// Block numbers without gaps from what retention has left, so that sequence numbers rise; and the running
    /// totals of records, bytes and time.
    Sequence,
    /// A record's hash key is within its shard's.
    HashKey,
    /// Shards: open ones take each hash key once, parents are closed before their children begin, numbers of
    /// children are above their parents', nothing is behind the end of a closed shard.
    Lineage,
    /// Nothing is kept for longer than the stream says.
    Retention,
    /// Readers stand at a place that there is, or was.
    Checkpoint,
    /// Registered consumers have names, and are not too many.
    Consumer,
    /// Items of the lease tables can be read, have the key they are stored under, and are as many as is counted.
    Lease,
    /// A block is encrypted with a key that is not there, so that it cannot be checked.
    Key,
}

impl Aspect {
    /// As commands write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Aspect::Database => "database",
            Aspect::Block => "block",
            Aspect::Sequence => "sequence",
            Aspect::HashKey => "hash_key",
            Aspect::Lineage => "lineage",
            Aspect::Retention => "retention",
            Aspect::Checkpoint => "checkpoint",
            Aspect::Consumer => "consumer",
            Aspect::Lease => "lease",
            Aspect::Key => "key",
        }
    }

    /// Whether it says that something is damaged. What is late goes by itself, and behind a missing key nobody knows.
    pub fn is_damage(self) -> bool {
        !matches!(self, Aspect::Retention | Aspect::Key)
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub aspect: Aspect,
    /// The stream.
    pub stream: Option<String>,
    /// The shard.
    pub shard: Option<ShardId>,
    /// The block's number.
    pub block: Option<u64>,
    /// The record's place in the block, from 0.
    pub record: Option<u64>,
    /// What is wrong, as a clause.
    pub message: String,
}

impl fmt::Display for Finding {
    /// `alerts, shardId-000000000000, block 17, record 3: the reason`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = [
            self.stream.clone(),
            self.shard.map(|shard| shard.to_string()),
            self.block.map(|block| format!("block {block}")),
            self.record.map(|record| format!("record {record}")),
        ];
        let place: Vec<String> = place.into_iter().flatten().collect();
        let place = if place.is_empty() { "database".to_owned() } else { place.join(", ") };
        write!(f, "{place}: {}", self.message)
    }
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Streams.
    pub streams: u64,
    /// Their shards, closed ones included.
    pub shards: u64,
    /// Blocks, damaged ones included.
    pub blocks: u64,
    /// Records that were decoded.
    pub records: u64,
    /// Bytes of the blocks.
    pub bytes: u64,
}

/// Who is told.
pub trait Watch {
    /// Something is wrong.
    fn found(&mut self, finding: Finding);
    /// So much has been looked at.
    fn read(&mut self, verified: &Verified);
}

impl Reader {
    /// Checks all streams, or one.
    ///
    /// # Errors
    /// There is no such stream, or SQLite fails otherwise than over damage.
    pub fn verify(
        &self,
        name: Option<&str>,
        watch: &mut dyn Watch,
    ) -> Result<Verified, StreamError> {
        let mut check = Check { reader: self, watch, verified: Verified::default() };
        let streams = table::streams(self.connection.sqlite(), name)?;
        if let Some(name) = name
            && streams.is_empty()
        {
            return Err(unknown(name, &names(self.connection.sqlite())?));
        }
        for stream in &streams {
            check.stream(stream)?;
        }
        if name.is_none() {
            for message in table::strays(self.connection.sqlite())? {
                check.tell(Place::default(), Aspect::Database, message);
            }
        }
        Ok(check.verified)
    }

    /// What SQLite finds wrong with the database as a whole: its pages, its indexes, its rows. Reads all of it, in
    /// one snapshot; answers at most a hundred findings.
    ///
    /// # Errors
    /// SQLite fails otherwise than over damage.
    pub fn check_database(&self) -> Result<Vec<Finding>, StreamError> {
        let wrong = match table::integrity(self.connection.sqlite()) {
            Ok(wrong) => wrong,
            Err(error) if table::is_damage(&error) => vec![error.to_string()],
            Err(error) => return Err(error.into()),
        };
        let finding = |message| Place::default().finding(Aspect::Database, message);
        Ok(wrong.into_iter().map(finding).collect())
    }

    /// Bytes of data and keys that [`Reader::verify`] will look at, about.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn stored_bytes(&self, name: Option<&str>) -> Result<u64, StreamError> {
        let is_asked = |stream: &&super::StreamSummary| name.is_none_or(|name| name == stream.name);
        Ok(self.streams()?.iter().filter(is_asked).map(|stream| stream.bytes).sum())
    }
}

/// Where a finding is.
#[derive(Clone, Copy, Debug, Default)]
struct Place<'a> {
    stream: Option<&'a str>,
    shard: Option<ShardId>,
    block: Option<u64>,
    record: Option<u64>,
}

impl Place<'_> {
    fn finding(&self, aspect: Aspect, message: String) -> Finding {
        Finding {
            aspect,
            stream: self.stream.map(str::to_owned),
            shard: self.shard,
            block: self.block,
            record: self.record,
            message,
        }
    }
}

struct Check<'a> {
    reader: &'a Reader,
    watch: &'a mut dyn Watch,
    verified: Verified,
}

impl Check<'_> {
    fn tell(&mut self, place: Place<'_>, aspect: Aspect, message: impl Into<String>) {
        self.watch.found(place.finding(aspect, message.into()));
    }

    fn stream(&mut self, stream: &StreamRow) -> Result<(), StreamError> {
        self.verified.streams += 1;
        let place = Place { stream: Some(&stream.name), ..Place::default() };
        let sqlite = self.reader.connection.sqlite();
        let (shards, positions) = match table::shape(sqlite, stream) {
            Ok(shape) => shape,
            Err(error) if table::is_damage(&error) => {
                self.tell(place, Aspect::Database, format!("its shards cannot be read: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for (shard, message) in lineage::check(stream, &shards) {
            self.tell(Place { shard, ..place }, Aspect::Lineage, message);
        }
        for (shard, message) in positions {
            self.tell(Place { shard, ..place }, Aspect::Checkpoint, message);
        }
        match table::misregistered(sqlite, stream) {
            Ok(told) => {
                told.into_iter().for_each(|message| self.tell(place, Aspect::Consumer, message));
            }
            Err(error) if table::is_damage(&error) => {
                let message = format!("its registered consumers cannot be read: {error}");
                self.tell(place, Aspect::Database, message);
            }
            Err(error) => return Err(error.into()),
        }
        for shard in &shards {
            self.verified.shards += 1;
            self.shard(stream, shard)?;
        }
        Ok(())
    }

    /// All blocks of a shard, a page at a time.
    fn shard(&mut self, stream: &StreamRow, shard: &ShardRow) -> Result<(), StreamError> {
        let place = Place { stream: Some(&stream.name), shard: Some(shard.id), ..Place::default() };
        let mut walk = Walk { before: shard.floor, is_first: true };
        loop {
            let next = walk.before.block + 1;
            let reader = self.reader;
            let read = table::page(reader.connection.sqlite(), shard.row, next, |page| {
                if page.floor.block > walk.before.block {
                    // Retention has been here meanwhile.
                    walk.before = page.floor;
                }
                self.block(place, stream, shard, &mut walk, page.block);
            });
            match read {
                Ok(true) => self.watch.read(&self.verified),
                Ok(false) => return Ok(()),
                Err(error) if table::is_damage(&error) => {
                    let block = Some(walk.before.block + 1);
                    let message = format!(
                        "SQLite cannot read it, and the rest of the shard was not checked: {error}"
                    );
                    self.tell(Place { block, ..place }, Aspect::Database, message);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn block(
        &mut self,
        place: Place<'_>,
        stream: &StreamRow,
        shard: &ShardRow,
        walk: &mut Walk,
        row: &BlockRow<'_>,
    ) {
        let place = Place { block: Some(row.tail.block), ..place };
        self.verified.blocks += 1;
        self.verified.bytes += row.blob.len() as u64;
        let before = std::mem::replace(&mut walk.before, row.tail);
        if row.tail.block != before.block + 1 {
            let missing = match row.tail.block - before.block - 1 {
                1 => format!("block {} is missing before it", before.block + 1),
                count => {
                    format!("{count} blocks from {} on are missing before it", before.block + 1)
                }
            };
            self.tell(place, Aspect::Sequence, missing);
        } else if let Some(message) = row.follows(&before) {
            self.tell(place, Aspect::Sequence, message);
        }
        if shard.closed_block.is_some_and(|last| row.tail.block > last) {
            self.tell(place, Aspect::Lineage, "it is behind the end of a closed shard");
        }
        if std::mem::take(&mut walk.is_first)
            && let Some(horizon) = stream.horizon
            && row.tail.peak_at().is_some_and(|newest| newest + LATE < horizon)
        {
            let message = "its records are older than the stream keeps them; a gateway deletes \
                           them within minutes of running";
            self.tell(place, Aspect::Retention, message);
        }
        let bytes_added = (row.tail.bytes - before.bytes).unsigned_abs();
        let is_next = row.tail.block == before.block + 1;
        self.records(place, shard, row, is_next.then_some(bytes_added));
    }

    /// What is in the blob of a block, which has added so many bytes to the shard as far as that is known.
    fn records(
        &mut self,
        place: Place<'_>,
        shard: &ShardRow,
        row: &BlockRow<'_>,
        bytes_added: Option<u64>,
    ) {
        let at = BlockPlace {
            stream: place.stream.unwrap_or_default(),
            shard: shard.id,
            shard_made: shard.made,
            block: row.tail.block,
        };
        let mut clear = Vec::new();
        let opener = self.reader.connection.opener();
        let mut reader = match block::open(row.blob, opener, at, &mut clear) {
            Ok(reader) => reader,
            Err(NotOpened::Damaged(damage)) => return self.tell(place, Aspect::Block, damage.0),
            Err(NotOpened::NoKey(NoKey(key))) => {
                let message = format!("it is encrypted with the key '{key}', which is not there");
                return self.tell(place, Aspect::Key, message);
            }
        };
        let (mut count, mut bytes) = (0_u64, 0);
        for record in &mut reader {
            let place = Place { record: Some(count), ..place };
            let record = match record {
                Ok(record) => record,
                Err(damage) => return self.tell(place, Aspect::Block, damage.0),
            };
            bytes += (record.partition_key.len() + record.data.len()) as u64;
            count += 1;
            if let Some((aspect, message)) = wrong_with(shard, &record) {
                self.tell(place, aspect, message);
            }
        }
        self.verified.records += count;
        if !reader.is_at_end() {
            self.tell(place, Aspect::Block, "there is more behind its last record");
        }
        if count != row.count {
            let message = format!("it has {count} records, and its row says {}", row.count);
            self.tell(place, Aspect::Block, message);
        }
        if count == 0 || count > BLOCK_RECORDS_MAX as u64 {
            let message = format!("{count} records cannot have sequence numbers in one block");
            self.tell(place, Aspect::Sequence, message);
        }
        if let Some(bytes_added) = bytes_added
            && bytes != bytes_added
        {
            let message =
                format!("it has {bytes} bytes of data and keys, and the totals {bytes_added}");
            self.tell(place, Aspect::Sequence, message);
        }
    }
}

/// How far a shard has been walked.
struct Walk {
    before: Tail,
    is_first: bool,
}

fn wrong_with(shard: &ShardRow, record: &BlockRecord) -> Option<(Aspect, String)> {
    let chars = record.partition_key.chars().count();
    if chars == 0 || chars > limits::PARTITION_KEY_CHARS_MAX {
        return Some((Aspect::Block, format!("its partition key has {chars} characters")));
    }
    let bytes = record.partition_key.len() + record.data.len();
    if bytes > limits::STREAM_RECORD_BYTES_MAX + limits::PARTITION_KEY_CHARS_MAX * 4 {
        return Some((Aspect::Block, format!("it has {bytes} bytes")));
    }
    let hash = record.hash_key.unwrap_or_else(|| hash_partition_key(&record.partition_key));
    if hash < shard.range.start || hash > shard.range.end {
        let key = &record.partition_key;
        let message = format!("its hash key {hash} (of '{key}') is not one of the shard's");
        return Some((Aspect::HashKey, message));
    }
    None
}

/// Says what is wrong with a place in a shard, if something is.
fn misplaced(
    position: Position,
    records: u64,
    floor: &Tail,
    tail: &Tail,
    block: Option<(u64, u64)>,
) -> Option<String> {
    let (at, index) = (position.block(), position.index());
    if at > tail.block + 1 || (at == tail.block + 1 && index > 0) {
        return Some(format!("stands at block {at}, and the last one is {}", tail.block));
    }
    if at <= floor.block {
        // It is told of what it missed when it reads on.
        let is_ahead = records > floor.records();
        return is_ahead.then(|| {
            format!(
                "has counted {records} records up to block {at}, and there were {}",
                floor.records()
            )
        });
    }
    let expected = match block {
        None if at == tail.block + 1 => tail.records(),
        None => return Some(format!("stands at block {at}, which is not there")),
        Some((_, count)) if index > count => {
            return Some(format!("stands at record {index} of block {at}, which has {count}"));
        }
        Some((before, _)) => before + index,
    };
    (records != expected)
        .then(|| format!("has counted {records} records up to its place, and there are {expected}"))
}
