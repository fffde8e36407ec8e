//! What streams take in, give and hold while the gateway runs, in memory.
//!
//! One [`Meter`] for all streams, shared by the journal's writer (what was committed, what was refused), the rules'
//! actions (whether there is room), whoever serves readers (what was given), and those who show it. Counters begin at
//! nothing with each start.
//!
//! **Room.** A stream may have a [`Room`]: so many bytes of data and keys. With [`WhenFull::Refuse`] a record that finds
//! none is refused where it comes in: of a rule in [`Meter::admit`], by what was committed last, and so to within what
//! the journal's queue holds; of a program by the writer, exactly. With [`WhenFull::DropOldest`] nothing is refused, and
//! [`super::keep_room`] drops the oldest records, behind the commit that went over.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::config::RoomConfig;
use crate::config::StreamConfig;
use crate::config::WhenFull;
use crate::limits;

use super::ShardId;

type Hasher = foldhash::fast::RandomState;

/// How long the age of what a reader was given is shown.
const AGE_SHOWN: Duration = Duration::from_secs(60);

/// How much a stream may hold, and what happens when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of data and keys.
    pub bytes_max: u64,
    /// What becomes of records beyond.
    pub when_full: WhenFull,
}

/// A stream has no room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it may hold {bytes_max} bytes, and has no room for more")]
pub struct NoRoom {
    /// How many bytes it may hold.
    pub bytes_max: u64,
}

/// Why a stream takes no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It is full.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It is encrypted, and the configuration does not have the key of this id.
    #[error("its records are encrypted with the key '{0}', which the configuration does not have")]
    NoKey(Arc<str>),
}

/// Records and the bytes of their data and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub records: u64,
    /// Bytes of data and keys.
    pub bytes: u64,
}

/// Records and bytes as they are counted.
#[derive(Debug, Default)]
struct Counter {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn add(&self, amount: Amount) {
        self.records.fetch_add(amount.records, Relaxed);
        self.bytes.fetch_add(amount.bytes, Relaxed);
    }

    fn get(&self) -> Amount {
        Amount { records: self.records.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

/// All streams.
#[derive(Debug, Default)]
pub struct Meter {
    /// Of streams that have none of their own.
    room: Option<Room>,
    rooms: BTreeMap<String, Option<Room>>,
    streams: RwLock<HashMap<Arc<str>, Arc<StreamMeter>, Hasher>>,
    /// Rung when a stream is over its room, or has refused something.
    overflowed: Notify,
    /// Streams that are encrypted, by the id of a key that the configuration does not have.
    locked: RwLock<BTreeMap<String, Arc<str>>>,
    /// Whether there are any: asked with every record.
    has_locked: AtomicBool,
}

impl Meter {
    /// A meter of streams as they are configured.
    pub fn new(defaults: &RoomConfig, streams: &BTreeMap<String, StreamConfig>) -> Meter {
        let room = |size_max: Option<usize>, when_full| {
            size_max.map(|size| Room { bytes_max: size as u64, when_full })
        };
        let own = |stream: &StreamConfig| {
            room(stream.size_max.or(defaults.size_max), stream.full.unwrap_or(defaults.full))
        };
        Meter {
            room: room(defaults.size_max, defaults.full),
            rooms: streams.iter().map(|(name, stream)| (name.clone(), own(stream))).collect(),
            ..Meter::default()
        }
    }

    /// How much a stream may hold.
    pub fn room(&self, stream: &str) -> Option<Room> {
        self.rooms.get(stream).copied().unwrap_or(self.room)
    }

    /// Whether any stream may have a room.
    pub fn has_rooms(&self) -> bool {
        self.room.is_some() || self.rooms.values().any(Option::is_some)
    }

    /// Whether a record of so many bytes may go into a stream; one that may not is counted as refused.
    ///
    /// # Errors
    /// The stream refuses what is over its room, and this is; or its key is missing.
    pub fn admit(&self, stream: &str, bytes: usize) -> Result<(), NotAdmitted> {
        if self.has_locked.load(Relaxed)
            && let Some(key_id) = self.locked.read().get(stream).map(Arc::clone)
        {
            self.refuse_locked(&self.stream(stream));
            return Err(NotAdmitted::NoKey(key_id));
        }
        if !self.has_rooms() {
            return Ok(());
        }
        match self.room(stream) {
            Some(Room { bytes_max, when_full: WhenFull::Refuse }) => {
                // One that nobody has met holds nothing, or is none.
                let Some(meter) = self.streams.read().get(stream).map(Arc::clone) else {
                    return Ok(());
                };
                if meter.held() + bytes as u64 <= bytes_max {
                    return Ok(());
                }
                self.refuse(&meter, bytes);
                Err(NotAdmitted::NoRoom(NoRoom { bytes_max }))
            }
            _ => Ok(()),
        }
    }

    /// The stream takes nothing: it is encrypted, and the configuration does not have the key of this id.
    pub fn lock(&self, stream: &str, key_id: &str) {
        self.locked.write().insert(stream.to_owned(), Arc::from(key_id));
        self.has_locked.store(true, Relaxed);
    }

    /// The stream has another key now, or none, or is gone.
    pub fn unlock(&self, stream: &str) {
        let mut locked = self.locked.write();
        locked.remove(stream);
        self.has_locked.store(!locked.is_empty(), Relaxed);
    }

    /// A record was refused, or a block not read, for want of its key.
    pub fn refuse_locked(&self, stream: &StreamMeter) {
        stream.locked.fetch_add(1, Relaxed);
    }

    /// A record was refused for want of room.
    pub(super) fn refuse(&self, stream: &StreamMeter, bytes: usize) {
        stream.refused.add(Amount { records: 1, bytes: bytes as u64 });
        self.overflowed.notify_one();
    }

    /// The meter of a stream, which may be new.
    pub fn stream(&self, stream: &str) -> Arc<StreamMeter> {
        if let Some(meter) = self.streams.read().get(stream) {
            return Arc::clone(meter);
        }
        let mut streams = self.streams.write();
        if streams.len() >= limits::STREAMS_METERED_MAX {
            // Streams that came and went. Those that are there come again with their next record; those with a room
            // go last, because until then nobody knows what they hold.
            streams.retain(|_, meter| meter.room.is_some());
            if streams.len() >= limits::STREAMS_METERED_MAX {
                streams.clear();
            }
        }
        let fresh = || Arc::new(StreamMeter { room: self.room(stream), ..StreamMeter::default() });
        Arc::clone(streams.entry(Arc::from(stream)).or_insert_with(fresh))
    }

    /// A record of so many bytes was stored otherwise than through the journal's queue.
    pub fn add(&self, stream: &str, shard: ShardId, bytes: usize) {
        self.stream(stream).shard(shard).add(Amount { records: 1, bytes: bytes as u64 });
    }

    /// All that have been met.
    pub(super) fn met(&self) -> Vec<(Arc<str>, Arc<StreamMeter>)> {
        let streams = self.streams.read();
        streams.iter().map(|(name, meter)| (Arc::clone(name), Arc::clone(meter))).collect()
    }

    /// What a stream holds is known anew.
    pub(super) fn set_held(&self, stream: &StreamMeter, bytes: u64) {
        stream.held.store(bytes, Relaxed);
        if stream.is_over() {
            self.overflowed.notify_one();
        }
    }

    /// Waits until a stream is over its room, or has refused something. A ring between two calls is not lost.
    pub(super) async fn overflowed(&self) {
        self.overflowed.notified().await;
    }
}

/// One stream.
#[derive(Debug, Default)]
pub struct StreamMeter {
    room: Option<Room>,
    /// Bytes of data and keys. Written by the journal's writer, and by [`super::keep_room`] when nothing comes in.
    held: AtomicU64,
    refused: Counter,
    dropped: Counter,
    locked: AtomicU64,
    shards: RwLock<BTreeMap<u32, Arc<ShardMeter>>>,
}

impl StreamMeter {
    /// How much it may hold.
    pub fn room(&self) -> Option<Room> {
        self.room
    }

    /// Bytes of data and keys that it holds, as far as that is known: a stream without a room is not asked.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Refused for want of room.
    pub fn refused(&self) -> Amount {
        self.refused.get()
    }

    /// Dropped to make room.
    pub fn dropped(&self) -> Amount {
        self.dropped.get()
    }

    /// How often its key was missing.
    pub fn locked(&self) -> u64 {
        self.locked.load(Relaxed)
    }

    /// Whether the oldest records are to be dropped.
    pub(super) fn is_over(&self) -> bool {
        self.room.is_some_and(|room| {
            room.when_full == WhenFull::DropOldest && self.held() > room.bytes_max
        })
    }

    pub(super) fn drop(&self, amount: Amount) {
        self.dropped.add(amount);
    }

    /// One of its shards.
    pub fn shard(&self, shard: ShardId) -> Arc<ShardMeter> {
        if let Some(meter) = self.shards.read().get(&shard.0) {
            return Arc::clone(meter);
        }
        let mut shards = self.shards.write();
        if shards.len() >= limits::SHARDS_METERED_MAX {
            // The oldest ones, which have been closed the longest.
            shards.pop_first();
        }
        Arc::clone(shards.entry(shard.0).or_default())
    }
}

/// One shard.
#[derive(Debug, Default)]
pub struct ShardMeter {
    came_in: Counter,
    given: Counter,
    throttled_in: AtomicU64,
    throttled_out: AtomicU64,
    ages: Mutex<Ages>,
}

/// How far behind readers were, in this span of [`AGE_SHOWN`] and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Ages {
    span: u64,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Ages {
    fn turn_to(&mut self, span: u64) {
        if span != self.span {
            self.before = self.now.take().filter(|_| span == self.span + 1);
            self.span = span;
        }
    }
}

fn span_of(now: Timestamp) -> u64 {
    now.as_millis().unsigned_abs() / (AGE_SHOWN.as_secs() * 1000)
}

impl ShardMeter {
    /// Committed.
    pub fn came_in(&self) -> Amount {
        self.came_in.get()
    }

    /// Given to readers.
    pub fn given(&self) -> Amount {
        self.given.get()
    }

    /// Records refused, and reads refused, by the limits of the shard.
    pub fn throttled(&self) -> (u64, u64) {
        (self.throttled_in.load(Relaxed), self.throttled_out.load(Relaxed))
    }

    /// How long ago the last record of a page had arrived that a reader was given, the longest within the last minute or two;
    /// zero for pages that reached the end (Kinesis: `GetRecords.IteratorAgeMilliseconds`). `None` when nobody read.
    pub fn iterator_age(&self, now: Timestamp) -> Option<Duration> {
        let mut ages = *self.ages.lock();
        ages.turn_to(span_of(now));
        ages.now.max(ages.before)
    }

    pub(super) fn add(&self, amount: Amount) {
        self.came_in.add(amount);
    }

    pub(super) fn throttle(&self) {
        self.throttled_in.fetch_add(1, Relaxed);
    }

    /// A reader has been given a page, and stands so far behind.
    pub fn give(&self, amount: Amount, behind: Duration, now: Timestamp) {
        self.given.add(amount);
        let mut ages = self.ages.lock();
        ages.turn_to(span_of(now));
        ages.now = ages.now.max(Some(behind));
    }

    /// A read was refused by the limits of the shard.
    pub fn throttle_read(&self) {
        self.throttled_out.fetch_add(1, Relaxed);
    }
}
