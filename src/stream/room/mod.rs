//! Keeping streams within their room: the oldest records of those that are over it are dropped, a little at a time.
//!
//! Dropping takes whole blocks, from all shards of the stream the oldest first, until a sixty-fourth of the room is free; each
//! job has the bounds of retention's, so commits run between them however much is over. What is dropped is noted as retention notes
//! what it takes: numbers go on, readers go on at the oldest record that is left, and rules that read the stream count what they
//! missed.
//!
//! A stream that refuses takes records again when retention has made room; that is looked at a second after something was
//! refused.

mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::WhenFull;
use crate::storage::ExecuteError;
use crate::storage::Executor;

use super::meter::Amount;
use super::meter::Meter;
use super::meter::Room;
use super::meter::StreamMeter;

/// Between two looks at a stream that refuses.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two tellings of one stream.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What a stream had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// When it was noticed.
    pub at: Timestamp,
    /// The stream's room.
    pub room: Room,
    /// Refused or dropped since it was told last.
    pub lost: Amount,
}

/// Who is told of streams that are full.
pub trait OverflowSink: Send + Sync {
    /// At most once a minute of each stream.
    fn overflowed(&self, stream: &Arc<str>, overflow: &Overflow);
}

/// Learns what the streams with a room hold. To be done before anything comes in.
pub async fn take_stock(executor: &Executor, meter: &Arc<Meter>) -> Result<(), ExecuteError> {
    if !meter.has_rooms() {
        return Ok(());
    }
    let known = Arc::clone(meter);
    let held = executor
        .execute(move |transaction| table::held(transaction, |name| known.room(name).is_some()));
    for (name, bytes) in held.await? {
        meter.set_held(&meter.stream(&name), bytes);
    }
    Ok(())
}

/// Keeps streams within their room until the journal closes.
pub async fn keep_room(
    executor: Executor,
    meter: Arc<Meter>,
    clock: Clock,
    sink: Arc<dyn OverflowSink>,
) {
    let mut told: HashMap<Arc<str>, Told> = HashMap::new();
    loop {
        meter.overflowed().await;
        let met = meter.met();
        if told.len() > met.len() {
            told.clear();
        }
        for (name, stream) in met {
            let Some(room) = stream.room() else { continue };
            let told = told.entry(Arc::clone(&name)).or_default();
            if !told.has_news(&stream) {
                continue;
            }
            match keep_one(&executor, &meter, &name, &stream, room).await {
                Ok(()) => {}
                Err(ExecuteError::Closed) => return,
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(stream = %name, error = %error, source, "a stream cannot be kept within its room");
                }
            }
            told.tell(&*sink, &name, &stream, room, clock.now());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn keep_one(
    executor: &Executor,
    meter: &Meter,
    name: &Arc<str>,
    stream: &StreamMeter,
    room: Room,
) -> Result<(), ExecuteError> {
    match room.when_full {
        WhenFull::Refuse => {
            let wanted = Arc::clone(name);
            let held = executor.execute(move |tx| table::held(tx, |name| *name == *wanted));
            let held = held.await?;
            meter.set_held(stream, held.first().map_or(0, |(_, bytes)| *bytes));
        }
        WhenFull::DropOldest => {
            while stream.is_over() {
                let (wanted, target) = (Arc::clone(name), room.bytes_max - room.bytes_max / 64);
                let dropped = executor.execute(move |tx| table::drop_oldest(tx, &wanted, target));
                let dropped = dropped.await?;
                stream.drop(dropped.lost);
                meter.set_held(stream, dropped.held);
                if dropped.is_done {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What has been told of a stream.
#[derive(Debug, Default)]
struct Told {
    at: Option<Timestamp>,
    lost: Amount,
    /// What had been refused when it was looked at last.
    refused: Amount,
}

impl Told {
    /// Whether there is something to do or to tell: it is over its room, has refused something since the last look, or
    /// has lost what has not been told.
    fn has_news(&mut self, stream: &StreamMeter) -> bool {
        let refused = stream.refused();
        let has_refused = std::mem::replace(&mut self.refused, refused) != refused;
        has_refused || stream.is_over() || stream.dropped().records > self.lost.records
    }

    fn tell(
        &mut self,
        sink: &dyn OverflowSink,
        name: &Arc<str>,
        stream: &StreamMeter,
        room: Room,
        at: Timestamp,
    ) {
        let total = match room.when_full {
            WhenFull::Refuse => stream.refused(),
            WhenFull::DropOldest => stream.dropped(),
        };
        let lost = Amount {
            records: total.records - self.lost.records,
            bytes: total.bytes - self.lost.bytes,
        };
        if lost.records == 0 || self.at.is_some_and(|told| at.since(told) < TELL_EVERY) {
            return;
        }
        (self.at, self.lost) = (Some(at), total);
        sink.overflowed(name, &Overflow { at, room, lost });
    }
}
