//! The way into a connection: frames from the socket, publishes to the lane and to subscribers, one
//! batch a read.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;

use super::Client;
use super::Close;
use super::gathering::Gathering;
use super::gathering::LowWater;
use super::outlet::Outlet;
use super::outlet::PendingAck;
use super::request;
use crate::access::Pace;
use crate::access::Permissions;
use crate::broker::Kept;
use crate::broker::Lane;
use crate::broker::Submitted;
use crate::broker::exchange::Exchange;
use crate::broker::exchange::Wakes;
use crate::broker::inflight::Finished;
use crate::broker::metrics::Dropped;
use crate::broker::metrics::PacketCounts;
use crate::broker::packet::Kind;
use crate::broker::packet::Version;
use crate::broker::packet::Violation;
use crate::broker::packet::ack;
use crate::broker::packet::ack::Ack;
use crate::broker::packet::codec;
use crate::broker::packet::frame::Header;
use crate::broker::packet::frame::parse_header;
use crate::broker::packet::publish;
use crate::broker::session::SessionState;
use crate::broker::topics::Topics;
use crate::clock::Timestamp;
use crate::config::Overrun;
use crate::limits::READ_BUFFER_MAX;
use crate::limits::READ_BUFFER_MIN;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::session::Change;

/// PINGRESP.
const PINGRESP: [u8; 2] = [0xd0, 0];

/// Reads from the client.
pub(super) struct Inlet {
    lane: Box<dyn Lane>,
    topics: Topics,
    permissions: Permissions,
    /// How fast the client may publish; `None` when there is no bound.
    pace: Option<Box<Pace>>,
    /// Read, not yet cut into frames.
    buffer: BytesMut,
    /// Whole frames that wait for their turn.
    frames: Bytes,
    /// How much to make room for at a read: doubled when a read fills it, halved when it leaves most
    /// of it empty.
    read_size: usize,
    last_read: Timestamp,
    gathering: Gathering,
    /// Of the last batch that the lane was given.
    ticket: u64,
    /// The lane has publishes of the current batch, or something that a session keeps.
    has_taken: bool,
    /// Acknowledgements of the current batch.
    acks: Vec<PendingAck>,
    wakes: Wakes,
    received: PacketCounts,
}

impl Inlet {
    /// `unread` is what came with CONNECT.
    /// `ticket` is the last that `lane` has been given.
    pub(super) fn new(
        lane: Box<dyn Lane>,
        ticket: u64,
        permissions: Permissions,
        unread: BytesMut,
        client: &Client,
    ) -> Self {
        let mut received = PacketCounts::default();
        received[Kind::Connect as usize] = 1;
        Inlet {
            lane,
            topics: Topics::default(),
            permissions,
            pace: Pace::new(&client.exchange.rate, client.exchange.clock.now()),
            buffer: unread,
            frames: Bytes::new(),
            read_size: READ_BUFFER_MIN,
            last_read: Timestamp::EPOCH,
            gathering: Gathering::new(),
            ticket,
            has_taken: false,
            acks: Vec::new(),
            wakes: Wakes::default(),
            received,
        }
    }

    /// Gives the lane back: what is behind the last batch.
    pub(super) fn into_lane(self) -> Box<dyn Lane> {
        self.lane
    }

    /// When the last bytes were handled.
    pub(super) fn last_read(&self) -> Timestamp {
        self.last_read
    }

    /// When the access rules or users have changed: what the client may do from now on. One that has a
    /// subscription that it may not have any more loses it, and its connection with it: the protocol has
    /// no other word for that.
    pub(super) fn recheck(
        &mut self,
        client: &Client,
        state: &mut SessionState,
    ) -> Result<(), Close> {
        let access = &client.exchange.access;
        if access.version() == self.permissions.version() {
            return Ok(());
        }
        let version = access.version();
        let permissions = access.permissions(&client.identity, &client.session.client_id);
        let is_known = permissions.is_some();
        self.permissions = permissions.unwrap_or_else(|| Permissions::none(version));
        let may_stay = client.is_assigned || self.permissions.may_connect();
        if !is_known || !may_stay {
            return Err(Close::NotAuthorized);
        }
        let (exchange, session) = (&client.exchange, &client.session);
        let forbidden = request::forget_forbidden(exchange, session, state, &self.permissions);
        if forbidden.is_empty() {
            return Ok(());
        }
        if session.is_kept() {
            for filter in forbidden {
                // Submitted with the end of the connection.
                let session = session.key;
                self.lane.keep(Kept::Change(Change::Unsubscribed { session, filter }));
            }
        }
        Err(Close::NotAuthorized)
    }

    /// Whether the client may publish to a topic, as far as is known.
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        self.permissions.may_publish(topic)
    }

    /// Before a read is waited for: adapts the socket to what its client sends.
    pub(super) fn adapt(&mut self, socket: &impl LowWater) {
        self.gathering.adapt(socket, self.last_read);
    }

    /// When a socket that gathers is to be read whatever it has.
    pub(super) fn gathered_by(&self) -> Option<Timestamp> {
        self.gathering.due(self.last_read)
    }

    /// Lets the socket be read with whatever it has.
    pub(super) fn stop_gathering(&mut self, socket: &impl LowWater) {
        self.gathering.release(socket);
    }

    /// Whether the buffer is larger than an idle connection's.
    pub(super) fn is_grown(&self) -> bool {
        self.buffer.capacity() > READ_BUFFER_MIN && self.buffer.is_empty()
    }

    /// Gives memory back after a burst.
    pub(super) fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.read_size = READ_BUFFER_MIN;
        }
        self.acks.shrink_to_fit();
        self.topics.rest();
    }

    /// Too much of this client waits: acknowledgements for their commit, or bytes for its socket.
    fn is_paused(&self, client: &Client, outlet: &Outlet) -> bool {
        let limit = usize::from(client.exchange.config.receive_maximum);
        let pending = outlet.pending_acks() + self.acks.len();
        let acks_max = match client.version {
            Version::V311 => limit,
            // Its own violation comes first, at `limit`; this bounds repeats of a QoS 2 publish.
            Version::V5 => limit.saturating_mul(2),
        };
        pending >= acks_max || outlet.is_full() || self.paced_until().is_some()
    }

    /// When a client that was too fast is read again.
    pub(super) fn paced_until(&self) -> Option<Timestamp> {
        self.pace.as_ref().and_then(|pace| pace.until())
    }

    /// Goes on with a client that was too fast, if it is time.
    pub(super) fn go_on(&mut self, now: Timestamp) {
        if let Some(pace) = &mut self.pace {
            pace.resume(now);
        }
    }

    /// Counts a PUBLISH of `bytes` where the client's pace is bounded.
    fn keep_pace(&mut self, client: &Client, bytes: usize, now: Timestamp) -> Result<(), Close> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let Some(over) = pace.count(bytes, now) else { return Ok(()) };
        client.exchange.metrics.count_rate_limited(over);
        if pace.is_first() {
            tracing::warn!(
                client_id = %client.session.client_id,
                by = over.label(),
                "the client publishes faster than it may, and is held back; told once a connection"
            );
        }
        match client.exchange.rate.over {
            Overrun::Wait => Ok(()),
            Overrun::Disconnect => Err(Close::TooFast),
        }
    }

    /// Whether frames wait and none of the reasons to pause does.
    pub(super) fn can_go_on(&self, client: &Client, outlet: &Outlet) -> bool {
        !self.frames.is_empty() && !self.is_paused(client, outlet)
    }

    /// Whether the socket is to be read.
    pub(super) fn wants_to_read(&self, outlet: &Outlet) -> bool {
        self.frames.is_empty() && !outlet.is_full() && self.paced_until().is_none()
    }

    /// Reads once. Nothing is lost when the future is dropped.
    pub(super) async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> Result<(), Close> {
        self.buffer.reserve(self.read_size);
        let room = self.buffer.capacity() - self.buffer.len();
        let n = reader.read_buf(&mut self.buffer).await?;
        if n == 0 {
            return Err(Close::Gone);
        }
        if n == room {
            self.read_size = (self.read_size * 2).min(READ_BUFFER_MAX);
        } else if n < self.read_size / 8 {
            self.read_size = (self.read_size / 2).max(READ_BUFFER_MIN);
        }
        Ok(())
    }

    /// Handles what has been read, batch by batch, until there is no whole frame or a pause.
    pub(super) async fn turn<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        outlet: &mut Outlet,
        writer: &mut W,
    ) -> Result<(), Close> {
        while !self.frames.is_empty() || self.cut(client)? {
            if self.is_paused(client, outlet) {
                return Ok(());
            }
            let now = client.exchange.clock.now();
            self.last_read = client.exchange.clock.steady();
            let handled = self.handle_frames(client, state, outlet, now);
            // What was taken before a violation counts: its batch ends like any other.
            self.end_batch(client, state, outlet, writer).await?;
            handled?;
        }
        Ok(())
    }

    /// Moves the whole frames at the front of the buffer to `frames`. A bad header behind good ones
    /// is found at the next call, when it is the first.
    fn cut(&mut self, client: &Client) -> Result<bool, Violation> {
        let packet_max = client.exchange.config.packet_bytes_max;
        let mut whole = 0;
        while let Some(rest) = self.buffer.get(whole..) {
            match parse_header(rest, packet_max) {
                Ok(Some(header)) if header.frame_len() <= rest.len() => whole += header.frame_len(),
                Err(violation) if whole == 0 => return Err(violation),
                Ok(_) | Err(_) => break,
            }
        }
        if whole == 0 {
            return Ok(false);
        }
        client.exchange.metrics.bytes_received.inc_by(u64::try_from(whole).unwrap_or(u64::MAX));
        self.frames = self.buffer.split_to(whole).freeze();
        Ok(true)
    }

    fn handle_frames(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        outlet: &mut Outlet,
        now: Timestamp,
    ) -> Result<(), Close> {
        let packet_max = client.exchange.config.packet_bytes_max;
        while !self.is_paused(client, outlet) {
            let Some(header) = parse_header(&self.frames, packet_max)? else { return Ok(()) };
            let frame = self.frames.split_to(header.frame_len());
            self.received[header.kind as usize] += 1;
            if header.kind == Kind::Publish {
                self.publish(client, state, outlet, header, &frame, now)?;
                self.keep_pace(client, frame.len(), now)?;
            } else {
                self.gathering.note_awaited();
                self.handle(client, state, outlet, header, &frame)?;
            }
        }
        Ok(())
    }

    fn publish(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        outlet: &mut Outlet,
        header: Header,
        frame: &Bytes,
        now: Timestamp,
    ) -> Result<(), Close> {
        let exchange = &*client.exchange;
        let incoming = publish::read(header, frame, client.version)?;
        let topic = self.topics.resolve(
            incoming.topic,
            incoming.alias,
            client.session.key,
            &self.permissions,
            exchange,
        )?;
        let packet_id = incoming.packet_id;
        let payload = frame.slice(incoming.payload);
        self.gathering.count(frame.len());
        let kind = match incoming.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Kind::PubAck),
            QoS::ExactlyOnce => Some(Kind::PubRec),
        };
        if let Some(kind) = kind {
            self.gathering.note_awaited();
            let ack = Ack { packet_id, reason: ack::SUCCESS };
            if kind == Kind::PubRec && state.unreleased.contains(&packet_id) {
                self.acks.push(PendingAck::Ack(kind, ack));
                return Ok(());
            }
            let limit = usize::from(exchange.config.receive_maximum);
            if client.version == Version::V5 && outlet.unanswered() >= limit {
                return Err(Close::Violation(Violation::ReceiveMaximum));
            }
            outlet.count_unanswered();
        }
        let publish = Publish {
            topic: topic.name.clone(),
            payload,
            qos: incoming.qos,
            retain: incoming.retain,
            received_at: now,
            origin: Arc::clone(&client.origin),
            properties: incoming.properties.map(Arc::new),
            hops: 0,
        };
        let accepted = match Exchange::refuse(&publish) {
            _ if !topic.is_allowed => Err(Dropped::NotAuthorized),
            Some(reason) => Err(reason),
            None => {
                let route = topic.route.as_deref();
                exchange.accept(publish, route, &mut *self.lane, &mut self.wakes)
            }
        };
        match accepted {
            Ok(()) => {
                self.has_taken = true;
                if incoming.qos == QoS::ExactlyOnce {
                    state.unreleased.insert(packet_id);
                    if client.session.is_kept() {
                        let session = client.session.key;
                        let received = Change::Received { session, packet_id };
                        self.lane.keep(Kept::Change(received));
                    }
                }
            }
            Err(reason) => exchange.metrics.count_dropped(reason),
        }
        if let Some(kind) = kind {
            let reason = accepted.err().map_or(ack::SUCCESS, refusal_code);
            self.acks.push(PendingAck::Ack(kind, Ack { packet_id, reason }));
        }
        Ok(())
    }

    fn handle(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        outlet: &mut Outlet,
        header: Header,
        frame: &Bytes,
    ) -> Result<(), Close> {
        let body = frame.get(header.header_len..).unwrap_or_default();
        match header.kind {
            Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
                let ack = ack::read(header.kind, body, client.version)?;
                Ok(self.acknowledge(client, state, outlet, header.kind, ack)?)
            }
            Kind::PingReq if body.is_empty() => {
                outlet.answer(Kind::PingResp).extend_from_slice(&PINGRESP);
                Ok(())
            }
            Kind::PingReq => Err(Violation::Malformed("PINGREQ with a body").into()),
            Kind::Subscribe | Kind::Unsubscribe | Kind::Disconnect => {
                let request = codec::read_request(header, frame, client.version)?;
                let answer = request::handle(client, state, request, &self.permissions)?;
                if answer.changes.is_empty() {
                    outlet.answer(answer.kind).extend_from_slice(&answer.packet);
                    return Ok(());
                }
                for change in answer.changes {
                    self.keep(change);
                }
                self.acks.push(PendingAck::Answer(answer.kind, answer.packet.freeze()));
                Ok(())
            }
            Kind::Connect => Err(Violation::Protocol("a second CONNECT").into()),
            Kind::Auth => Err(Violation::Protocol("AUTH without a method").into()),
            Kind::Publish | Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => {
                Err(Violation::Protocol("this packet must not come here").into())
            }
        }
    }

    /// What the client says of messages it got, and PUBREL of one it sent.
    fn acknowledge(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        outlet: &mut Outlet,
        kind: Kind,
        Ack { packet_id, reason }: Ack,
    ) -> Result<(), Violation> {
        match kind {
            Kind::PubAck => {
                let delivery = state.inflight.puback(packet_id)?;
                outlet.finish(client, delivery.map(Finished::Message));
            }
            Kind::PubRec if reason >= 0x80 => {
                let finished = state.inflight.pubrec_refuses(packet_id)?;
                outlet.finish(client, finished);
            }
            Kind::PubRec => {
                let (is_known, delivery) = state.inflight.pubrec(packet_id)?;
                let reason = if is_known { ack::SUCCESS } else { ack::PACKET_ID_NOT_FOUND };
                let parcel = delivery.and_then(|delivery| {
                    outlet.hand_over(&delivery);
                    delivery.parcel
                });
                let released = parcel.map(Change::Released);
                self.answer(client, outlet, Kind::PubRel, Ack { packet_id, reason }, released);
            }
            Kind::PubRel => {
                let is_known = state.unreleased.remove(&packet_id);
                let reason = if is_known { ack::SUCCESS } else { ack::PACKET_ID_NOT_FOUND };
                let session = client.session.key;
                let is_kept = is_known && client.session.is_kept();
                let completed = is_kept.then_some(Change::Completed { session, packet_id });
                self.answer(client, outlet, Kind::PubComp, Ack { packet_id, reason }, completed);
            }
            _ => {
                let finished = state.inflight.pubcomp(packet_id)?;
                outlet.finish(client, finished);
            }
        }
        Ok(())
    }

    /// Answers at once, or when `change` is on disk.
    fn answer(
        &mut self,
        client: &Client,
        outlet: &mut Outlet,
        kind: Kind,
        ack: Ack,
        change: Option<Change>,
    ) {
        match change {
            None => outlet.reply(client, kind, ack),
            Some(change) => {
                self.keep(change);
                self.acks.push(PendingAck::Ack(kind, ack));
            }
        }
    }

    /// After a panic in the middle of a batch: what was taken before counts, as subscribers may have it already
    /// and wait for its commit. What cannot be handed over, or was lost while it was, is as if it had not come:
    /// nothing of it is acknowledged, and the client sends it again.
    pub(super) async fn rescue(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        outlet: &mut Outlet,
    ) {
        client.exchange.ledger.add_parcels(&mut self.wakes.parcels);
        client.exchange.wake(&mut self.wakes);
        let ticket = self.ticket + 1;
        let submitting = AssertUnwindSafe(self.lane.submit(Some(ticket))).catch_unwind();
        match submitting.await {
            Ok(Ok(submitted)) if self.has_taken => {
                let ticket = (submitted == Submitted::Pending).then_some(ticket);
                outlet.push_acks(&mut self.acks, ticket);
            }
            _ => {
                for pending in self.acks.drain(..) {
                    if let PendingAck::Ack(Kind::PubRec, ack) = pending {
                        state.unreleased.remove(&ack.packet_id);
                    }
                }
            }
        }
    }

    fn keep(&mut self, change: Change) {
        self.has_taken = true;
        self.lane.keep(Kept::Change(change));
    }

    /// Hands the batch over and waits while the journal's queue is full; what goes out to the client
    /// goes on meanwhile.
    async fn end_batch<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        outlet: &mut Outlet,
        writer: &mut W,
    ) -> Result<(), Close> {
        client.exchange.wake(&mut self.wakes);
        outlet.settle(client);
        let publishes = u64::from(self.received[Kind::Publish as usize]);
        client.session.traffic.received.fetch_add(publishes, Ordering::Relaxed);
        client.exchange.metrics.count_received(&mut self.received);
        if !self.has_taken {
            outlet.push_acks(&mut self.acks, None);
            return Ok(());
        }
        self.has_taken = false;
        // QoS 0 alone: nobody waits for the commit.
        let ticket = (!self.acks.is_empty()).then_some(self.ticket + 1);
        self.ticket = ticket.unwrap_or(self.ticket);
        let mut closed = None;
        let submitted = {
            let mut submit = self.lane.submit(ticket);
            loop {
                tokio::select! {
                    biased;
                    submitted = &mut submit => break submitted,
                    // The batch goes in even if the client is gone meanwhile.
                    stepped = outlet.step(client, state, writer), if closed.is_none() => {
                        closed = stepped.err();
                    }
                }
            }
        };
        // Keep-alive does not run while the batch waits: the client may well have sent.
        self.last_read = client.exchange.clock.steady();
        match submitted {
            Ok(Submitted::Settled) => outlet.push_acks(&mut self.acks, None),
            Ok(Submitted::Pending) => outlet.push_acks(&mut self.acks, ticket),
            Err(_) => return Err(Close::IntakeClosed),
        }
        closed.map_or(Ok(()), Err)
    }
}

/// What the acknowledgement of a refused publish says.
fn refusal_code(reason: Dropped) -> u8 {
    match reason {
        Dropped::PayloadFormat => ack::PAYLOAD_FORMAT_INVALID,
        Dropped::ReservedTopic | Dropped::NotAuthorized => ack::NOT_AUTHORIZED,
        _ => ack::TOPIC_NAME_INVALID,
    }
}
