//! The way out: what waits in the outbox is published, in order, many at once, and what the other broker
//! has acknowledged leaves the outbox.
//!
//! A message counts as sent when it and all before it are acknowledged. After a reconnect the sender goes
//! on there; after a crash behind the last block of which the disk says so. What is sent twice by
//! that is what MQTT's QoS 1 allows.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::delivery::Entry;
use crate::delivery::Outbox;
use crate::publish::QoS;
use crate::storage::SqliteError;

use super::cover::Cover;
use super::echo::Echoes;
use super::envelope::Envelope;
use super::link::Asked;
use super::link::Message;
use super::link::Requests;
use super::link::Verdict;
use super::link::Welcome;
use super::mark::Mark;
use super::metrics::Lost;
use super::metrics::OneUpstream;

/// What a packet has beside topic, payload and properties' own bytes, at most.
const PACKET_OVERHEAD_BYTES: usize = 64;

/// How far an outbox has been emptied, over all connections of a run. Written by the connection, read by
/// who brings it to the disk.
#[derive(Debug, Default)]
pub(super) struct Passed {
    place: Mutex<Place>,
}

/// A place between two entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// All of this block and those before have left.
    block: i64,
    /// And so many of the next.
    entries: u32,
}

impl Passed {
    /// The last block of which all messages have left.
    pub(super) fn block(&self) -> i64 {
        self.place.lock().block
    }
}

/// A message under way.
#[derive(Debug)]
struct Slot {
    /// Where the outbox stands once this and all before are done.
    then: Place,
    is_done: bool,
}

/// Publishes from an outbox over one connection.
#[derive(Debug)]
pub(super) struct Sender {
    outbox: Outbox,
    passed: Arc<Passed>,
    clock: Clock,
    metrics: OneUpstream,
    mark: Mark,
    /// Read and not handed over, in order.
    page: VecDeque<Entry>,
    /// The last block read.
    read_block: i64,
    /// Under way, in order; the first has number `first`.
    slots: VecDeque<Slot>,
    first: u64,
    /// Handed over and not written yet, by number.
    unwritten: VecDeque<u64>,
    /// Written, by packet id.
    unanswered: HashMap<u16, u64>,
    /// Messages that may be under way.
    window: usize,
    packet_bytes_max: Option<usize>,
    keeps_retain: bool,
    pace: Pace,
}

/// Why the connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The outbox cannot be read.
    #[error("the outbox cannot be read")]
    Outbox(#[from] SqliteError),
    /// The other broker takes no messages now.
    #[error("the broker takes no messages: {0}")]
    NotNow(&'static str),
}

impl Sender {
    /// Goes on where the last connection has come to.
    pub(super) fn new(
        outbox: Outbox,
        passed: Arc<Passed>,
        clock: Clock,
        metrics: OneUpstream,
        mark: Mark,
        rate_max: u32,
    ) -> Sender {
        let block = passed.place.lock().block.max(outbox.waiting().passed);
        Sender {
            outbox,
            passed,
            clock,
            metrics,
            mark,
            page: VecDeque::new(),
            read_block: block,
            slots: VecDeque::new(),
            first: 0,
            unwritten: VecDeque::new(),
            unanswered: HashMap::new(),
            window: 0,
            packet_bytes_max: None,
            keeps_retain: true,
            pace: Pace::new(rate_max, clock.now()),
        }
    }

    /// The connection stands: messages may be sent, at most `inflight_max` at once.
    pub(super) fn begin(&mut self, welcome: &Welcome, inflight_max: u16) {
        // One less than the other side takes, because rumqttc writes nothing else at the limit.
        let theirs = welcome.receive_maximum.map_or(u16::MAX, |most| most.saturating_sub(1).max(1));
        self.window = usize::from(inflight_max.min(theirs));
        self.packet_bytes_max = welcome.packet_bytes_max.map(|most| most as usize);
        self.keeps_retain = !welcome.lacks_retain;
    }

    /// Waits until there may be more to send.
    pub(super) async fn changed(&self) {
        if self.window == 0 || self.slots.len() >= self.window {
            return std::future::pending().await;
        }
        if let Some(wait) = self.pace.wait(self.clock.now()) {
            return tokio::time::sleep(wait).await;
        }
        self.outbox.changed().await;
    }

    /// Hands over what may be sent now. `echoes` expects what will come back, by the filters that are
    /// subscribed to.
    ///
    /// # Errors
    /// The outbox cannot be read.
    pub(super) async fn proceed(
        &mut self,
        requests: &Requests,
        mut echoes: Option<(&mut Echoes, &Cover)>,
    ) -> Result<(), SendError> {
        while self.slots.len() < self.window {
            if self.page.is_empty() && !self.read_on().await? {
                break;
            }
            let now = self.clock.now();
            if self.pace.wait(now).is_some() {
                break;
            }
            let Some(entry) = self.page.front() else { break };
            let Some(envelope) = self.open(entry, now) else {
                // It goes no further, but those before it come first.
                self.hold(true);
                self.settle();
                continue;
            };
            let message = self.to_message(envelope, now);
            let comes_back = echoes
                .as_mut()
                .filter(|(_, cover)| cover.has(&message.topic))
                .map(|(echoes, _)| (echoes, Arc::clone(&message.topic), message.payload.clone()));
            if requests.publish(message) == Asked::Full {
                break;
            }
            if let Some((echoes, topic, payload)) = comes_back {
                echoes.expect(&topic, &payload, now);
            }
            self.pace.count(now);
            let number = self.first + self.slots.len() as u64;
            self.unwritten.push_back(number);
            self.hold(false);
        }
        self.settle();
        self.metrics.in_flight.set(i64::try_from(self.slots.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// The next message is written; one of QoS 0 is thereby done.
    pub(super) fn note_written(&mut self, packet_id: Option<u16>) {
        let Some(number) = self.unwritten.pop_front() else { return };
        match packet_id {
            Some(packet_id) => drop(self.unanswered.insert(packet_id, number)),
            None => self.finish(number),
        }
    }

    /// A message is acknowledged, or refused.
    ///
    /// # Errors
    /// It is to be sent again, later.
    pub(super) fn note_answer(
        &mut self,
        packet_id: u16,
        verdict: Verdict,
    ) -> Result<(), SendError> {
        match verdict {
            Verdict::Taken => {}
            Verdict::Refused(reason) => {
                tracing::warn!(reason, "the other broker refuses a message; it is dropped");
                self.metrics.count_lost(Lost::Refused, 1);
            }
            Verdict::NotNow(reason) => return Err(SendError::NotNow(reason)),
        }
        if let Some(number) = self.unanswered.remove(&packet_id) {
            if verdict == Verdict::Taken {
                self.metrics.forwarded.inc();
            }
            self.finish_answered(number);
        }
        Ok(())
    }

    fn finish(&mut self, number: u64) {
        self.metrics.forwarded.inc();
        self.finish_answered(number);
    }

    fn finish_answered(&mut self, number: u64) {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(slot) = place.and_then(|place| self.slots.get_mut(place)) {
            slot.is_done = true;
        }
        self.settle();
    }

    /// Lets go of what is done at the front.
    fn settle(&mut self) {
        let mut reached = None;
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.is_done) {
            self.first += 1;
            reached = Some(slot.then);
        }
        if let Some(place) = reached {
            *self.passed.place.lock() = place;
        }
    }

    /// Takes the next entry out of the page, as one under way or as one that is done.
    fn hold(&mut self, is_done: bool) {
        let Some(Entry { block, index, is_last, .. }) = self.page.pop_front() else { return };
        let then = match is_last {
            true => Place { block, entries: 0 },
            false => Place { block: block - 1, entries: index + 1 },
        };
        self.slots.push_back(Slot { then, is_done });
    }

    /// Reads the next page; answers whether there is something in it.
    async fn read_on(&mut self) -> Result<bool, SqliteError> {
        while self.outbox.waiting().last > self.read_block {
            let page = self.outbox.read(self.read_block).await?;
            self.metrics.count_lost(Lost::Damaged, page.damaged);
            self.read_block = page.last_block;
            let place = *self.passed.place.lock();
            let is_left = |entry: &Entry| {
                entry.block > place.block + 1
                    || (entry.block == place.block + 1 && entry.index >= place.entries)
            };
            self.page.extend(page.entries.into_iter().filter(is_left));
            if !self.page.is_empty() {
                return Ok(true);
            }
            if self.slots.is_empty() {
                // Nothing of these blocks is left: the damaged ones must not be read for ever.
                let mut place = self.passed.place.lock();
                *place = (*place).max(Place { block: self.read_block, entries: 0 });
            }
        }
        Ok(false)
    }

    /// The message of an entry, if it can and may still be sent.
    fn open(&self, entry: &Entry, now: Timestamp) -> Option<Envelope> {
        let envelope = match Envelope::decode(&entry.data) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::error!(%error, "a message of an outbox cannot be read; it is lost");
                self.metrics.count_lost(Lost::Damaged, 1);
                return None;
            }
        };
        if envelope.expires_at.is_some_and(|at| at <= now) {
            self.metrics.count_lost(Lost::Expired, 1);
            return None;
        }
        let bytes = entry.data.len() + PACKET_OVERHEAD_BYTES + self.mark.bytes();
        if self.packet_bytes_max.is_some_and(|most| bytes > most) {
            tracing::warn!(
                topic = %envelope.topic, bytes,
                "a message is larger than the other broker takes; it is dropped"
            );
            self.metrics.count_lost(Lost::TooLarge, 1);
            return None;
        }
        Some(envelope)
    }

    fn to_message(&self, envelope: Envelope, now: Timestamp) -> Message {
        let Envelope { topic, payload, qos, retain, hops, expires_at, mut properties } = envelope;
        properties.message_expiry = expires_at.map(|at| {
            // At least one: it has not expired yet.
            let left = at.since(now).as_millis().div_ceil(1000);
            u32::try_from(left).unwrap_or(u32::MAX)
        });
        self.mark.put(&mut properties.user_properties, hops);
        let qos = qos.min(QoS::AtLeastOnce);
        Message { topic, payload, qos, retain: retain && self.keeps_retain, properties }
    }
}

/// At most so many messages a second, a tenth of them at once.
#[derive(Debug)]
struct Pace {
    rate: f64,
    allowance: f64,
    at: Timestamp,
}

impl Pace {
    fn new(rate_max: u32, now: Timestamp) -> Pace {
        Pace { rate: f64::from(rate_max), allowance: 0.0, at: now }
    }

    /// How long to wait before the next; `None` when it may go now.
    fn wait(&self, now: Timestamp) -> Option<std::time::Duration> {
        let allowed = self.allowed(now);
        if self.rate == 0.0 || allowed >= 1.0 {
            return None;
        }
        let missing = (1.0 - allowed) / self.rate;
        Some(std::time::Duration::from_secs_f64(missing.max(0.001)))
    }

    fn allowed(&self, now: Timestamp) -> f64 {
        let most = (self.rate / 10.0).max(1.0);
        (self.allowance + now.since(self.at).as_secs_f64() * self.rate).min(most)
    }

    fn count(&mut self, now: Timestamp) {
        self.allowance = self.allowed(now) - 1.0;
        self.at = now;
    }
}
