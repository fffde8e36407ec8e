//! Adding records, and what the writer remembers between commits.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::clock::Timestamp;
use crate::config::StreamConfig;
use crate::config::WhenFull;
use crate::limits;
use crate::storage::Keyring;
use crate::storage::cipher::NoKey;
use crate::storage::cipher::Sealer;
use crate::stream::Arrivals;
use crate::stream::NewRecord;
use crate::stream::NoRoom;
use crate::stream::Put;
use crate::stream::PutOutcome;
use crate::stream::PutRecord;
use crate::stream::PutRefused;
use crate::stream::PutResult;
use crate::stream::ShardId;
use crate::stream::Stored;
use crate::stream::allowance::Allowance;
use crate::stream::block::BlockPlace;
use crate::stream::block::BlockWriter;
use crate::stream::meter::Amount;
use crate::stream::meter::Meter;
use crate::stream::meter::Room;
use crate::stream::meter::ShardMeter;
use crate::stream::meter::StreamMeter;
use crate::stream::sequence::Position;
use crate::stream::sequence::SequenceNumber;
use crate::stream::shard::find;
use crate::stream::table::KEY_ID;
use crate::stream::table::Tail;
use crate::stream::table::block_id;
use crate::stream::table::create;
use crate::stream::table::find_stream;
use crate::stream::table::held;
use crate::stream::table::load_tail;
use crate::stream::table::read_hash;
use crate::stream::table::seconds_of;

struct OpenShard {
    row: i64,
    id: ShardId,
    made: u64,
    tail: Tail,
    block: BlockWriter,
    /// Pushed and not committed yet.
    added: Amount,
    meter: Arc<ShardMeter>,
}

impl OpenShard {
    /// The sequence number that the next record gets.
    fn next_number(&self) -> SequenceNumber {
        let index = u16::try_from(self.block.count()).expect("a full block is written first");
        SequenceNumber::new(self.made, Position::new(self.tail.block + 1, index), self.id)
    }
}

/// How the blocks of a stream are written.
#[derive(Clone)]
enum Protection {
    Clear,
    /// Encrypted with the key of this name.
    Key(Arc<str>),
    /// Not at all: this is its key's id, and the configuration does not have it.
    NoKey(Arc<str>),
}

impl Protection {
    /// Of a stream with this key id, if it is encrypted.
    fn of(key_id: Option<Arc<str>>, keys: &Keyring) -> Protection {
        match key_id {
            None => Protection::Clear,
            Some(key_id) => match keys.find(&key_id) {
                Some(name) => Protection::Key(Arc::clone(name)),
                None => Protection::NoKey(key_id),
            },
        }
    }
}

struct OpenStream {
    name: Arc<str>,
    protection: Protection,
    /// Whether what is put is held to the limits of a shard.
    is_limited: bool,
    record_bytes_max: usize,
    /// Lowest hash key of each shard that takes records, ascending.
    starts: Vec<u128>,
    shards: Vec<OpenShard>,
    /// Bytes of data and keys, those included that are not committed yet; 0 of a stream without a room.
    held: u64,
    meter: Arc<StreamMeter>,
}

impl OpenStream {
    /// Why it does not take so many bytes more.
    fn refuses(&self, bytes: usize) -> Option<NoRoom> {
        match self.meter.room() {
            Some(Room { bytes_max, when_full: WhenFull::Refuse })
                if self.held + bytes as u64 > bytes_max =>
            {
                Some(NoRoom { bytes_max })
            }
            _ => None,
        }
    }
}

/// Adds the records of a commit. Remembers where each shard stands, so a commit reads nothing; must
/// be told to [`Appender::forget`] when the transaction failed or somebody else wrote these tables.
#[derive(Default)]
pub(crate) struct Appender {
    streams: Vec<OpenStream>,
    by_name: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    /// Shards with records that are not written yet, by place.
    touched: Vec<(usize, usize)>,
    /// Shards with records that are written and not committed yet, by place.
    written: Vec<(usize, usize)>,
    arrivals: Arc<Arrivals>,
    meter: Arc<Meter>,
    /// What shards with limits have taken lately, by their rows. Not of the tables, so it is not
    /// forgotten with them.
    rates: HashMap<i64, Allowance, foldhash::fast::RandomState>,
    /// Counts on for as long as the process lives.
    sealer: Sealer,
}

impl Appender {
    /// An appender that tells `arrivals` and `meter` what it has committed, keeps what is put within the
    /// rooms of `meter`, and encrypts with `keys`.
    pub(crate) fn new(arrivals: Arc<Arrivals>, meter: Arc<Meter>, keys: Arc<Keyring>) -> Appender {
        Appender { arrivals, meter, sealer: Sealer::new(keys), ..Appender::default() }
    }

    /// Takes `record` into the current commit. A stream that is not there is made with the defaults.
    pub(crate) fn push(
        &mut self,
        transaction: &Connection,
        stream: &Arc<str>,
        record: &NewRecord<'_>,
    ) -> rusqlite::Result<()> {
        let place = match self.place(transaction, stream)? {
            Some(place) => place,
            None => {
                create(transaction, stream, &StreamConfig::default(), record.at)?;
                self.open(transaction, stream)?
            }
        };
        let open = &self.streams[place];
        if let Protection::NoKey(key_id) = &open.protection {
            // Actions ask the meter before; this is what was on its way then.
            self.meter.lock(stream, key_id);
            self.meter.refuse_locked(&open.meter);
            tracing::error!(%stream, %key_id, "a record is not stored: its stream's key is missing");
            return Ok(());
        }
        let number = find(&open.starts, record.hash());
        self.append(transaction, (place, number), record)?;
        Ok(())
    }

    /// Takes the records of `put` into the current commit, those that the limits of their shards admit.
    /// The put has the outcome; it counts when the commit is made.
    pub(crate) fn put(&mut self, transaction: &Connection, put: &Put) -> rusqlite::Result<()> {
        let Some(place) = self.place(transaction, put.stream())? else {
            put.end(Err(PutRefused::UnknownStream));
            return Ok(());
        };
        let (is_limited, bytes_max) =
            (self.streams[place].is_limited, self.streams[place].record_bytes_max);
        if let Protection::NoKey(key_id) = &self.streams[place].protection {
            self.meter.refuse_locked(&self.streams[place].meter);
            put.end(Err(PutRefused::NoKey { key_id: Arc::clone(key_id) }));
            return Ok(());
        }
        let too_large = |record: &PutRecord| record.payload_bytes() > bytes_max;
        if let Some(place) = put.records().iter().position(too_large) {
            put.end(Err(PutRefused::RecordTooLarge { place, bytes_max }));
            return Ok(());
        }
        // A commit that is made again decides the same as before.
        let decided = put.take_decided();
        let mut outcome = Vec::with_capacity(put.records().len());
        for (n, record) in put.records().iter().enumerate() {
            let number = find(&self.streams[place].starts, record.hash);
            let before = decided.as_ref().and_then(|decided| decided.get(n)).copied();
            let refused = match before {
                Some(PutResult::Stored(_)) => None,
                Some(refused) => Some(refused),
                None => self.refusal((place, number), record, is_limited, put.at()),
            };
            outcome.push(match refused {
                Some(refused) => refused,
                None => {
                    let record = record.as_new(put.at());
                    PutResult::Stored(self.append(transaction, (place, number), &record)?)
                }
            });
        }
        put.end(Ok(PutOutcome {
            results: outcome,
            is_encrypted: matches!(self.streams[place].protection, Protection::Key(_)),
        }));
        Ok(())
    }

    /// Why a record that is put is not taken; counted here, once.
    fn refusal(
        &mut self,
        at: (usize, usize),
        record: &PutRecord,
        is_limited: bool,
        now: Timestamp,
    ) -> Option<PutResult> {
        let stream = &self.streams[at.0];
        let (shard, bytes) = (&stream.shards[at.1], record.payload_bytes());
        if let Some(no_room) = stream.refuses(bytes) {
            self.meter.refuse(&stream.meter, bytes);
            return Some(PutResult::NoRoom(no_room));
        }
        if is_limited {
            let rate = self.rates.entry(shard.row).or_insert_with(Allowance::to_write);
            if !rate.take(bytes, now) {
                shard.meter.throttle();
                return Some(PutResult::Throttled(shard.id));
            }
        }
        None
    }

    fn append(
        &mut self,
        transaction: &Connection,
        at: (usize, usize),
        record: &NewRecord<'_>,
    ) -> rusqlite::Result<Stored> {
        let OpenStream { name, protection, shards, held, .. } = &mut self.streams[at.0];
        let shard = &mut shards[at.1];
        if shard.block.is_empty() {
            self.touched.push(at);
        } else if shard.block.is_full() {
            write_block(transaction, (name, protection), &mut self.sealer, shard)?;
        }
        let sequence_number = shard.next_number();
        shard.block.push(record);
        let bytes = record.payload_bytes() as u64;
        *held += bytes;
        shard.added.records += 1;
        shard.added.bytes += bytes;
        Ok(Stored { shard: shard.id, sequence_number })
    }

    /// Writes what was pushed.
    pub(crate) fn flush(&mut self, transaction: &Connection) -> rusqlite::Result<()> {
        for (stream, shard) in mem::take(&mut self.touched) {
            let OpenStream { name, protection, shards, .. } = &mut self.streams[stream];
            let shard_at = &mut shards[shard];
            write_block(transaction, (name, protection), &mut self.sealer, shard_at)?;
            self.written.push((stream, shard));
        }
        Ok(())
    }

    /// What was written is on disk: tells whoever waits for it.
    pub(crate) fn committed(&mut self) {
        if self.written.is_empty() {
            return;
        }
        for (stream, shard) in &self.written {
            let stream = &mut self.streams[*stream];
            let shard = &mut stream.shards[*shard];
            shard.meter.add(mem::take(&mut shard.added));
            if stream.meter.room().is_some() {
                self.meter.set_held(&stream.meter, stream.held);
            }
        }
        let streams = &self.streams;
        self.arrivals.ring(self.written.drain(..).map(|(stream, _)| &streams[stream].name));
    }

    /// The same for whatever others may have written in the transaction.
    pub(crate) fn committed_by_others(&self) {
        self.arrivals.ring_all();
    }

    /// Drops what is remembered and what was pushed; the tables are read anew.
    pub(crate) fn forget(&mut self) {
        let mut rates = mem::take(&mut self.rates);
        if rates.len() > limits::SHARD_RATES_MAX {
            rates.clear();
        }
        let (arrivals, meter) = (Arc::clone(&self.arrivals), Arc::clone(&self.meter));
        let sealer = mem::take(&mut self.sealer);
        *self = Appender { arrivals, meter, rates, sealer, ..Appender::default() };
    }

    /// Where a stream is remembered; `None` when there is none of this name.
    fn place(
        &mut self,
        transaction: &Connection,
        name: &Arc<str>,
    ) -> rusqlite::Result<Option<usize>> {
        if let Some(place) = self.by_name.get(name) {
            return Ok(Some(*place));
        }
        match find_stream(transaction, name)? {
            Some(_) => self.open(transaction, name).map(Some),
            None => Ok(None),
        }
    }

    /// Remembers a stream that there is.
    fn open(&mut self, transaction: &Connection, name: &Arc<str>) -> rusqlite::Result<usize> {
        let meter = self.meter.stream(name);
        let held = match meter.room() {
            Some(_) => held(transaction, name)?,
            None => 0,
        };
        let (id, mut open) = transaction
            .prepare_cached(&format!(
                "SELECT id, is_limited, record_bytes_max, {KEY_ID} FROM stream WHERE name = ?1"
            ))?
            .query_row([name], |row| {
                let open = OpenStream {
                    name: Arc::clone(name),
                    protection: Protection::of(row.get(3)?, self.sealer.keyring()),
                    is_limited: row.get(1)?,
                    record_bytes_max: usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX),
                    starts: Vec::new(),
                    shards: Vec::new(),
                    held,
                    meter: Arc::clone(&meter),
                };
                Ok((row.get::<_, i64>(0)?, open))
            })?;
        let mut select = transaction.prepare_cached(
            "SELECT id, hash_start, number, created_at FROM stream_shard
             WHERE stream = ?1 AND closed_at IS NULL ORDER BY hash_start",
        )?;
        let mut rows = select.query([id])?;
        while let Some(row) = rows.next()? {
            let (shard_row, id) = (row.get(0)?, ShardId(row.get(2)?));
            open.starts.push(read_hash(row, 1)?);
            open.shards.push(OpenShard {
                row: shard_row,
                id,
                made: seconds_of(row.get(3)?),
                tail: load_tail(transaction, shard_row)?,
                block: BlockWriter::default(),
                added: Amount::default(),
                meter: meter.shard(id),
            });
        }
        let place = self.streams.len();
        self.streams.push(open);
        self.by_name.insert(Arc::clone(name), place);
        Ok(place)
    }
}

fn write_block(
    transaction: &Connection,
    (stream, protection): (&str, &Protection),
    sealer: &mut Sealer,
    shard: &mut OpenShard,
) -> rusqlite::Result<()> {
    let block = &mut shard.block;
    let count = i64::try_from(block.count()).unwrap_or(i64::MAX);
    let tail = Tail {
        block: shard.tail.block + 1,
        records: shard.tail.records + count,
        bytes: shard.tail.bytes + i64::try_from(block.payload_bytes()).unwrap_or(i64::MAX),
        peak_at: shard.tail.peak_at.max(block.peak_at().map(Timestamp::as_millis)),
    };
    let blob = match protection {
        Protection::Key(key) => {
            let (shard, shard_made) = (shard.id, shard.made);
            let place = BlockPlace { stream, shard, shard_made, block: tail.block };
            block.encrypt(sealer, key, place).map_err(unsealed)?
        }
        Protection::Clear => block.seal(),
        Protection::NoKey(key) => return Err(unsealed(NoKey(key.to_string()))),
    };
    transaction
        .prepare_cached("INSERT INTO stream_block VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            block_id(shard.row, tail.block),
            count,
            tail.records,
            tail.bytes,
            tail.peak_at,
            blob
        ])?;
    shard.tail = tail;
    block.clear();
    Ok(())
}

/// Nothing is written in clear for want of a key. Records are refused before it comes to this.
fn unsealed(NoKey(key): NoKey) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(format!("there is no key '{key}'").into())
}

/// What became of a record.
pub(in crate::stream) enum Appended {
    Stored(Stored),
    /// There is no such stream.
    NoStream,
    /// The stream is encrypted, and the key of this id is not there.
    NoKey(Arc<str>),
}

/// Adds one record as a block of its own.
pub(in crate::stream) fn append_one(
    transaction: &Connection,
    stream: &str,
    record: &NewRecord<'_>,
    keys: &Arc<Keyring>,
) -> rusqlite::Result<Appended> {
    let hash = record.hash().to_be_bytes();
    let found = transaction
        .prepare_cached(&format!(
            "SELECT shard.id, shard.number, shard.created_at, {KEY_ID} FROM stream_shard AS shard
                 JOIN stream ON stream.id = shard.stream
                 WHERE stream.name = ?1 AND shard.hash_start <= ?2 AND shard.hash_end >= ?2
                     AND shard.closed_at IS NULL"
        ))?
        .query_row(params![stream, hash], |row| {
            let (id, made) = (ShardId(row.get(1)?), seconds_of(row.get(2)?));
            Ok((row.get(0)?, id, made, row.get::<_, Option<Arc<str>>>(3)?))
        })
        .optional()?;
    let Some((row, shard, made, key_id)) = found else { return Ok(Appended::NoStream) };
    let protection = Protection::of(key_id, keys);
    if let Protection::NoKey(key_id) = protection {
        return Ok(Appended::NoKey(key_id));
    }
    let tail = load_tail(transaction, row)?;
    let mut open = OpenShard {
        row,
        id: shard,
        made,
        tail,
        block: BlockWriter::default(),
        added: Amount::default(),
        meter: Arc::default(),
    };
    let sequence_number = open.next_number();
    open.block.push(record);
    let mut sealer = Sealer::new(Arc::clone(keys));
    write_block(transaction, (stream, &protection), &mut sealer, &mut open)?;
    Ok(Appended::Stored(Stored { shard, sequence_number }))
}
