//! The way in: messages of the other broker go through a [`Lane`] as those of a local connection do, and
//! are acknowledged, in their order, when the journal has committed what they caused.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::BrokerHandle;
use crate::broker::Intake;
use crate::broker::IntakeClosed;
use crate::broker::Lane;
use crate::broker::Submitted;
use crate::clock::Clock;
use crate::journal::AckSlot;
use crate::limits;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::topic::TopicName;

use super::cover::Cover;
use super::echo::Echoes;
use super::link::Ack;
use super::link::Asked;
use super::link::Received;
use super::link::Requests;
use super::mark::Mark;
use super::mark::Seen;
use super::metrics::OneUpstream;
use super::metrics::Skipped;
use super::route::Mapped;
use super::route::Routes;

/// Where messages go that come in.
#[derive(Clone)]
pub(super) enum Inward {
    /// To the rules.
    Rules,
    /// To the embedded broker's subscribers and the rules, under other names.
    Bridge(Routes, BrokerHandle),
}

/// Takes messages in over one connection.
pub(super) struct Receiver {
    inward: Inward,
    lane: Box<dyn Lane>,
    slot: Arc<AckSlot>,
    origin: Arc<Origin>,
    clock: Clock,
    metrics: OneUpstream,
    mark: Mark,
    /// Of the last batch that somebody waits for.
    ticket: u64,
    has_taken: bool,
    batch_messages: usize,
    batch_bytes: usize,
    /// Of the current batch.
    acks: Vec<Ack>,
    /// Wait for the commit of their ticket, in order.
    uncommitted: VecDeque<(u64, Ack)>,
    /// Committed, not handed over.
    ready: VecDeque<Ack>,
}

impl Receiver {
    /// Of the connection `name`.
    pub(super) fn new(
        name: &Arc<str>,
        inward: Inward,
        intake: &dyn Intake,
        clock: Clock,
        metrics: OneUpstream,
        mark: Mark,
    ) -> Receiver {
        let (slot, origin) = (Arc::new(AckSlot::default()), Origin::internal());
        Receiver {
            inward,
            lane: intake.upstream_lane(name, Arc::clone(&slot)),
            slot,
            origin,
            clock,
            metrics,
            mark,
            ticket: 0,
            has_taken: false,
            batch_messages: 0,
            batch_bytes: 0,
            acks: Vec::new(),
            uncommitted: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// Takes a message into the current batch, or passes over it; either way it is acknowledged in its turn.
    pub(super) fn take(&mut self, received: Received, cover: &Cover, echoes: Option<&mut Echoes>) {
        self.metrics.received.inc();
        self.batch_messages += 1;
        self.batch_bytes += received.payload.len() + received.topic.len();
        self.acks.extend(received.ack);
        match self.judge(received, cover, echoes) {
            Ok(publish) => {
                let taken = match &self.inward {
                    Inward::Rules => self.lane.take(publish).is_ok(),
                    Inward::Bridge(_, broker) => broker.take_in(publish, &mut *self.lane).is_ok(),
                };
                match taken {
                    true => self.has_taken = true,
                    false => self.metrics.count_skipped(Skipped::Topic),
                }
            }
            Err(reason) => self.metrics.count_skipped(reason),
        }
    }

    fn judge(
        &self,
        received: Received,
        cover: &Cover,
        echoes: Option<&mut Echoes>,
    ) -> Result<Publish, Skipped> {
        let Received { topic, payload, qos, retain, mut properties, subscription_ids, .. } =
            received;
        let topic = std::str::from_utf8(&topic).ok().and_then(|text| TopicName::parse(text).ok());
        let topic = topic.ok_or(Skipped::Topic)?;
        let is_bridge = matches!(self.inward, Inward::Bridge(..));
        // Without Retain As Published a message has the flag only when it was stored before the subscription.
        if retain && !is_bridge {
            return Err(Skipped::Retained);
        }
        if !cover.is_first(topic.as_str(), &subscription_ids) {
            return Err(Skipped::Overlap);
        }
        let now = self.clock.now();
        let hops = match self.mark.take(&mut properties.user_properties) {
            Seen::New(hops) => hops,
            Seen::Ours => return Err(Skipped::Echo),
            Seen::TooOften => return Err(Skipped::Loop),
        };
        if echoes.is_some_and(|echoes| echoes.is_echo(topic.as_str(), &payload, now)) {
            return Err(Skipped::Echo);
        }
        let topic = match &self.inward {
            Inward::Rules => topic,
            Inward::Bridge(routes, _) => match routes.map(topic.as_str()) {
                Mapped::To(topic, _) => TopicName::parse(&topic).map_err(|_| Skipped::Topic)?,
                Mapped::Nowhere | Mapped::Invalid => return Err(Skipped::Topic),
            },
        };
        let properties = Some(properties).filter(|p| *p != PublishProperties::default());
        Ok(Publish {
            topic,
            payload,
            qos,
            retain,
            received_at: now,
            origin: Arc::clone(&self.origin),
            properties: properties.map(Arc::new),
            hops,
        })
    }

    /// Whether the batch is large enough.
    pub(super) fn is_batch_full(&self) -> bool {
        self.batch_messages >= limits::UPSTREAM_BATCH_MAX
            || self.batch_bytes >= limits::UPSTREAM_BATCH_BYTES_MAX
    }

    /// Ends the batch; waits while the journal's queue is full.
    ///
    /// # Errors
    /// The gateway stops.
    pub(super) async fn end_batch(&mut self) -> Result<(), IntakeClosed> {
        if self.batch_messages == 0 {
            return Ok(());
        }
        (self.batch_messages, self.batch_bytes) = (0, 0);
        let mut submitted = Submitted::Settled;
        if std::mem::take(&mut self.has_taken) {
            let ticket = (!self.acks.is_empty()).then_some(self.ticket + 1);
            self.ticket = ticket.unwrap_or(self.ticket);
            submitted = self.lane.submit(ticket).await?;
        }
        let ticket = match submitted {
            Submitted::Pending => Some(self.ticket),
            // After what is still due before it.
            Submitted::Settled => self.uncommitted.back().map(|(ticket, _)| *ticket),
        };
        match ticket {
            Some(ticket) => self.uncommitted.extend(self.acks.drain(..).map(|ack| (ticket, ack))),
            None => self.ready.extend(self.acks.drain(..)),
        }
        Ok(())
    }

    /// Waits for the next commit that releases acknowledgements.
    pub(super) async fn committed(&mut self) {
        if self.uncommitted.is_empty() {
            return std::future::pending().await;
        }
        self.slot.changed().await;
    }

    /// Hands over the acknowledgements that are due.
    pub(super) fn acknowledge(&mut self, requests: &Requests) {
        let committed = self.slot.committed();
        while let Some((_, ack)) = self.uncommitted.pop_front_if(|(due, _)| *due <= committed) {
            self.ready.push_back(ack);
        }
        while let Some(ack) = self.ready.front() {
            if requests.acknowledge(*ack) == Asked::Full {
                break;
            }
            self.ready.pop_front();
        }
        let waiting = self.uncommitted.len() + self.ready.len();
        self.metrics.acks_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Whether so many wait for their commit that no more should be read.
    pub(super) fn is_paused(&self, receive_maximum: u16) -> bool {
        self.uncommitted.len() >= usize::from(receive_maximum)
    }

    /// Whether every message taken is committed, and its acknowledgement handed over.
    pub(super) fn is_done(&self) -> bool {
        self.uncommitted.is_empty() && self.ready.is_empty()
    }
}
