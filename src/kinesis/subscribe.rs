//! SubscribeToShard: the records of a shard, pushed to a registered consumer as they arrive.
//!
//! The answer is a stream of events that lasts five minutes: first one that says nothing, then records
//! as they are there, and when none are, every [`KINESIS_HEARTBEAT`] an event without records. At the end of a
//! closed shard an event names its children. Whatever goes wrong on the way is the last event, an error of the API.
//!
//! A [`Subscription`] is polled by the connection that sends it, and makes an event when the last has been taken: a
//! client that does not read costs one event in memory and no thread. In provisioned mode events
//! wait for the 2 MiB a second of a consumer and shard. What it reads is bounded as a page of GetRecords is; what
//! all events hold is bounded by [`crate::limits::KINESIS_EVENTS_BYTES_MAX`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio::time::sleep;

use super::Kinesis;
use super::ROOM_UNIT_BYTES;
use super::answer;
use super::answer::ChildShard;
use super::answer::Spelled;
use super::event_stream;
use super::fault::Fault;
use super::fault::Findings;
use super::fault::shortened;
use super::metrics::Way;
use super::read::RecordAnswer;
use super::read::START_TYPES;
use super::read::behind;
use super::read::foreign;
use super::read::start_at;
use super::shape::Format;
use super::shape::Text;
use super::shape::Time;
use super::shape::structure;
use super::subscriptions::Claim;
use super::subscriptions::Seat;
use super::target::consumer_in_arn;
use super::target::live;
use super::target::shard_id;
use super::wire::Answer;
use crate::clock::Clock;
use crate::limits::KINESIS_EVENT_BYTES_MAX;
use crate::limits::KINESIS_EVENT_RECORDS_MAX;
use crate::limits::KINESIS_HEARTBEAT;
use crate::stream::Allowance;
use crate::stream::Bookmark;
use crate::stream::ConsumerName;
use crate::stream::Described;
use crate::stream::Reader;
use crate::stream::SequenceNumber;
use crate::stream::ShardEntry;

/// Bytes of an event beside its records' data and keys, for each record, about.
const RECORD_OVERHEAD_BYTES: usize = 256;

/// SubscribeToShard's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SubscribeRequest {
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<Text>,
    shard_id: Option<Text>,
    #[serde(default, deserialize_with = "structure")]
    starting_position: Option<PositionRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PositionRequest {
    #[serde(rename = "Type")]
    kind: Option<Text>,
    sequence_number: Option<Text>,
    timestamp: Option<Time>,
}

/// `SubscribeToShardEvent`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    records: Vec<RecordAnswer>,
    /// Not at the end of a shard: there is nothing to go on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_sequence_number: Option<Spelled<SequenceNumber>>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    child_shards: Vec<ChildShard>,
}

#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Serialize)]
struct Error<'a> {
    message: &'a str,
}

/// Where a subscription begins.
struct Beginning {
    consumer: ConsumerName,
    place: Bookmark,
    record_bytes_max: usize,
}

/// Subscribes a consumer to a shard.
pub(super) async fn shard(
    kinesis: &Arc<Kinesis>,
    format: Format,
    request: SubscribeRequest,
) -> Result<Answer, Fault> {
    let mut findings = Findings::default();
    let SubscribeRequest { consumer_arn: arn, shard_id: shard, starting_position: start } = request;
    findings.needs(arn.as_ref(), "consumerARN");
    findings.consumer_arn(arn.as_ref());
    findings.needs(shard.as_ref(), "shardId");
    findings.shard_id(shard.as_ref(), "shardId");
    findings.needs(start.as_ref(), "startingPosition");
    if let Some(PositionRequest { kind, sequence_number, .. }) = &start {
        findings.needs(kind.as_ref(), "startingPosition.type");
        let kind = kind.as_ref().map(|kind| &*kind.0);
        findings.word(kind, "startingPosition.type", &START_TYPES);
        findings.sequence_number(sequence_number.as_ref(), "startingPosition.sequenceNumber");
    }
    findings.finish()?;
    let (Some(Text(arn)), Some(Text(shard)), Some(start)) = (arn, shard, start) else {
        return Err(Fault::invalid("A member is missing."));
    };
    let consumer = consumer_in_arn(&arn).ok_or(Fault::invalid("Invalid ConsumerARN."))?;
    let turn = Arc::clone(&kinesis.subscription_turns).try_acquire_owned().map_err(|_| {
        Fault::too_many("As many subscriptions are open as there may be. Try again later.")
    })?;
    // Before the place is looked up: what comes after it rings.
    let arrived = kinesis.arrivals.listen(&consumer.stream);
    let this = Arc::clone(kinesis);
    let found = kinesis.pool.read(move |reader| this.begin(reader, consumer, &shard, start));
    let Beginning { consumer, place, record_bytes_max } = found.await?;
    let seat = Seat {
        stream: consumer.stream.clone(),
        consumer: consumer.consumer.clone(),
        shard: place.shard(),
    };
    let claim = kinesis.subscriptions.claim(seat, Clock::instant());
    let claim = claim.ok_or_else(|| kinesis.taken(&consumer, place))?;
    kinesis.metrics.subscriptions.inc();
    let subscription = Subscription {
        kinesis: Arc::clone(kinesis),
        format,
        consumer,
        place,
        record_bytes_max,
        phase: Phase::Opening,
        pace: None,
        claim,
        arrived,
        stopped: kinesis.stopped.clone(),
        life: Box::pin(sleep(kinesis.subscription_life)),
        heartbeat: Box::pin(sleep(KINESIS_HEARTBEAT)),
        room: None,
        _turn: turn,
    };
    Ok(Answer::Events(subscription.into_body()))
}

impl Kinesis {
    fn begin(
        &self,
        reader: &Reader,
        consumer: ConsumerName,
        shard: &str,
        start: PositionRequest,
    ) -> Result<Beginning, Fault> {
        self.consumer(reader, &consumer)?;
        let (stream, account) = (&consumer.stream, &self.account_id);
        let described = live(reader, stream, account)?;
        let of = format!("in stream {stream} under account {account}");
        let found = match shard_id(shard) {
            Some(id) => reader.shard_entry(&described, id)?,
            None => None,
        };
        let Some(entry) = found else {
            let shard = shortened(shard);
            return Err(Fault::not_found(format!("Shard {shard} {of} does not exist")));
        };
        let PositionRequest { kind, sequence_number, timestamp } = start;
        let kind = kind.map(|kind| kind.0).unwrap_or_default();
        let number = sequence_number.map(|number| number.0);
        let call = format!("SubscribeToShard on shard {shard} {of}");
        let start = start_at(&kind, number, timestamp, self.clock.now(), &call)?;
        let cursor = reader.cursor_in(&entry, start);
        let cursor = cursor.map_err(|error| foreign(error, &call))?;
        let record_bytes_max = described.record_bytes_max;
        Ok(Beginning { place: cursor.bookmark(), consumer, record_bytes_max })
    }

    /// What is said to the one of two that does not get the shard.
    fn taken(&self, consumer: &ConsumerName, place: Bookmark) -> Fault {
        let ConsumerName { stream, consumer, .. } = consumer;
        Fault::in_use(format!(
            "Another active subscription exists for this consumer: {}:{stream}:{}:{consumer}",
            self.account_id,
            place.shard()
        ))
    }
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is sent yet.
    Opening,
    Reading,
    /// The last event is sent.
    Over,
}

/// One answer that goes on.
struct Subscription {
    kinesis: Arc<Kinesis>,
    format: Format,
    consumer: ConsumerName,
    /// What comes next.
    place: Bookmark,
    /// The largest record of the stream, as it was at the last event.
    record_bytes_max: usize,
    phase: Phase,
    /// What is left of this second; `None` before the first read.
    pace: Option<Allowance>,
    claim: Claim,
    arrived: watch::Receiver<()>,
    stopped: watch::Receiver<bool>,
    life: Pin<Box<Sleep>>,
    /// Until the next event without records.
    heartbeat: Pin<Box<Sleep>>,
    /// That of the event that was given last; hyper asks for the next when it is on its way.
    room: Option<OwnedSemaphorePermit>,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.kinesis.metrics.subscriptions.dec();
    }
}

/// What a read has found.
struct Found {
    frame: Bytes,
    place: Bookmark,
    records: usize,
    bytes: usize,
    is_limited: bool,
    record_bytes_max: usize,
    /// The shard ends here.
    is_over: bool,
    /// There may be more behind it.
    is_cut: bool,
    room: OwnedSemaphorePermit,
}

/// What ends a subscription from outside.
enum Ended {
    /// Its time is over, or the gateway stops: who comes again goes on.
    Quietly,
    /// Another one has taken the shard.
    TakenOver,
}

impl Subscription {
    fn into_body(self) -> Body {
        let events = futures_util::stream::unfold(self, |mut subscription| async move {
            let frame = subscription.next().await?;
            Some((Ok::<_, Infallible>(frame), subscription))
        });
        Body::from_stream(events)
    }

    /// The next event, when there is one; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        self.room = None;
        match self.phase {
            Phase::Opening => {
                self.phase = Phase::Reading;
                let payload = answer::write(self.format, &Nothing {});
                Some(event_stream::event("initial-response", self.format, &payload))
            }
            Phase::Reading => self.read_on().await,
            Phase::Over => None,
        }
    }

    /// Waits for records, or until it is time to say that there are none.
    async fn read_on(&mut self) -> Option<Bytes> {
        loop {
            self.arrived.mark_unchanged();
            let now = self.kinesis.clock.now();
            let wait = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.wait(now));
            if let Some(ended) = self.pause(wait).await {
                return self.end(ended);
            }
            let found = match self.read().await {
                Ok(found) => found,
                Err(fault) => return Some(self.fail(&fault)),
            };
            (self.place, self.record_bytes_max) = (found.place, found.record_bytes_max);
            if found.is_limited {
                self.pace.get_or_insert_with(Allowance::to_push).spend(found.bytes);
            } else {
                self.pace = None;
            }
            let is_due = found.records > 0 || found.is_over || self.heartbeat.is_elapsed();
            if is_due {
                self.heartbeat.set(sleep(KINESIS_HEARTBEAT));
                self.kinesis.metrics.count_records(Way::Out, found.records, found.bytes);
                self.room = Some(found.room);
                if found.is_over {
                    self.phase = Phase::Over;
                }
                return Some(found.frame);
            }
            drop(found.room);
            // A page of damaged blocks has no records, and there may be some behind it.
            if !found.is_cut
                && let Some(ended) = self.wait_for_more().await
            {
                return self.end(ended);
            }
        }
    }

    /// Waits until something may have come, or a heartbeat is due.
    async fn wait_for_more(&mut self) -> Option<Ended> {
        tokio::select! {
            biased;
            ended = ended(&mut self.life, &mut self.claim, &mut self.stopped) => Some(ended),
            changed = self.arrived.changed() => {
                // The other end is kept for as long as anybody listens.
                drop(changed);
                None
            }
            () = &mut self.heartbeat => None,
        }
    }

    /// Waits for so long, none included, unless it is to end.
    async fn pause(&mut self, wait: Duration) -> Option<Ended> {
        let pause = async {
            if !wait.is_zero() {
                sleep(wait).await;
            }
        };
        tokio::select! {
            biased;
            ended = ended(&mut self.life, &mut self.claim, &mut self.stopped) => Some(ended),
            () = pause => None,
        }
    }

    /// Makes the event behind the place.
    async fn read(&self) -> Result<Found, Fault> {
        // As much as it may grow to: base64 makes four bytes of three.
        let most = (self.record_bytes_max + KINESIS_EVENT_BYTES_MAX) * 4 / 3
            + KINESIS_EVENT_RECORDS_MAX * RECORD_OVERHEAD_BYTES;
        let units = u32::try_from(most / ROOM_UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.kinesis.event_room).acquire_many_owned(units).await;
        let room = room.map_err(|_| Fault::unavailable("the gateway is stopping"))?;
        let (this, format) = (Arc::clone(&self.kinesis), self.format);
        let (consumer, place) = (self.consumer.clone(), self.place);
        let work = move |reader: &Reader| this.event(reader, format, &consumer, place, room);
        self.kinesis.pool.read(work).await
    }

    fn end(&mut self, ended: Ended) -> Option<Bytes> {
        match ended {
            Ended::Quietly => {
                self.phase = Phase::Over;
                None
            }
            Ended::TakenOver => {
                let fault = self.kinesis.taken(&self.consumer, self.place);
                Some(self.fail(&fault))
            }
        }
    }

    /// The last event: what went wrong.
    fn fail(&mut self, fault: &Fault) -> Bytes {
        self.phase = Phase::Over;
        // The model of the stream has one error for what is not the caller's.
        let kind =
            if fault.status.is_server_error() { "InternalFailureException" } else { fault.kind };
        let payload = answer::write(self.format, &Error { message: &fault.message });
        event_stream::exception(kind, self.format, &payload)
    }
}

async fn ended(
    life: &mut Pin<Box<Sleep>>,
    claim: &mut Claim,
    stopped: &mut watch::Receiver<bool>,
) -> Ended {
    tokio::select! {
        () = life => Ended::Quietly,
        () = claim.lost() => Ended::TakenOver,
        // The sender being gone is a stop, too.
        _ = stopped.wait_for(|stop| *stop) => Ended::Quietly,
    }
}

impl Kinesis {
    fn event(
        &self,
        reader: &Reader,
        format: Format,
        consumer: &ConsumerName,
        place: Bookmark,
        mut room: OwnedSemaphorePermit,
    ) -> Result<Found, Fault> {
        self.consumer(reader, consumer)?;
        let stream = &*consumer.stream;
        let described = live(reader, stream, &self.account_id)?;
        let entry: Option<ShardEntry> = reader.shard_entry(&described, place.shard())?;
        let cursor = entry.as_ref().and_then(|entry| entry.resume(place));
        let (Some(entry), Some(cursor)) = (entry, cursor) else {
            let (shard, account) = (place.shard(), &self.account_id);
            return Err(Fault::not_found(format!(
                "Shard {shard} in stream {stream} under account {account} does not exist"
            )));
        };
        let bounds = (KINESIS_EVENT_RECORDS_MAX, KINESIS_EVENT_BYTES_MAX);
        let (page, cursor) = self.page(reader, stream, cursor, bounds)?;
        let bytes = page.payload_bytes();
        self.meter_given(stream, entry.id, &page, self.clock.now());
        let is_over = entry.closed_at.is_some() && !page.is_cut;
        let child_shards = match is_over {
            true => reader.children(&described, entry.id)?.iter().map(ChildShard::of).collect(),
            false => Vec::new(),
        };
        let (records, is_cut, place) = (page.records.len(), page.is_cut, cursor.bookmark());
        let event = Event {
            millis_behind_latest: behind(&page, self.clock.now()),
            records: page.records.into_iter().map(RecordAnswer::of).collect(),
            continuation_sequence_number: (!is_over).then(|| Spelled(place.continuation())),
            child_shards,
        };
        let payload = answer::write(format, &event);
        let frame = event_stream::event("SubscribeToShardEvent", format, &payload);
        let needed = frame.len() / ROOM_UNIT_BYTES + 1;
        drop(room.split(room.num_permits().saturating_sub(needed)));
        let Described { is_limited, record_bytes_max, .. } = described;
        Ok(Found {
            frame,
            place,
            records,
            bytes,
            is_limited,
            record_bytes_max,
            is_over,
            is_cut,
            room,
        })
    }
}

#[cfg(test)]
mod tests;
