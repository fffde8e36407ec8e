//! The way out of a connection: acknowledgements after the commit, messages for the client.

use std::collections::VecDeque;
use std::future::Future;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncWrite;

use super::Client;
use super::Close;
use super::aliases::Aliases;
use super::aliases::Naming;
use crate::broker::inflight::Finished;
use crate::broker::message::Delivery;
use crate::broker::message::Waiting;
use crate::broker::metrics::Dropped;
use crate::broker::metrics::PacketCounts;
use crate::broker::outbox::Room;
use crate::broker::outbox::Taken;
use crate::broker::packet::Kind;
use crate::broker::packet::ack;
use crate::broker::packet::ack::Ack;
use crate::broker::packet::publish::Outgoing;
use crate::broker::session::Order;
use crate::broker::session::SessionState;
use crate::clock::Timestamp;
use crate::journal::AckSlot;
use crate::limits::WRITE_BUFFER_HIGH;
use crate::publish::QoS;
use crate::session::Page;
use crate::session::Removal;
use crate::session::SessionError;

/// An answer that waits for its batch's commit.
#[derive(Clone, Debug)]
pub(super) enum PendingAck {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Kind, Ack),
    /// SUBACK or UNSUBACK, encoded.
    Answer(Kind, Bytes),
}

type PageRead = Pin<Box<dyn Future<Output = Result<Page, SessionError>> + Send>>;

/// Begins to read messages of the client's session.
fn read_page(client: &Client, from: u64, until: u64) -> Option<PageRead> {
    let store = client.exchange.store.clone()?;
    let session = Arc::clone(&client.session);
    Some(Box::pin(async move { store.page(&session, from, until).await }))
}

/// Writes to the client.
pub(super) struct Outlet {
    /// Encoded, not yet taken by the socket.
    out: BytesMut,
    slot: Arc<AckSlot>,
    /// In PUBLISH order, with the ticket that releases each.
    acks: VecDeque<(u64, PendingAck)>,
    /// Of the last acknowledgement that had to wait.
    last_ticket: u64,
    /// QoS 1 and 2 publishes of the client that are not done with (MQTT 5, section 4.9).
    unanswered: usize,
    /// The session's queue may have something.
    backlog: bool,
    /// The buffer was full before everything that may go out was encoded.
    cut_short: bool,
    /// Of the session's queue, not yet encoded.
    taken: VecDeque<Waiting>,
    /// Messages of the session that are being read from disk.
    page: Option<PageRead>,
    /// Rows of messages done with, to be handed to the ledger.
    removals: Vec<Removal>,
    /// Bytes of messages done with, to be given back to the session's bound.
    finished: usize,
    sent: PacketCounts,
    written: u64,
    /// The transport has taken bytes that its socket may not have (TLS, WebSocket).
    unflushed: bool,
    /// A step through the retained messages was made, and more is to be done.
    walks: bool,
    aliases: Aliases,
}

impl Outlet {
    /// `welcome` is what goes out first; the client takes `aliases_max` topic aliases.
    pub(super) fn new(slot: Arc<AckSlot>, welcome: BytesMut, aliases_max: u16) -> Self {
        let mut sent = PacketCounts::default();
        sent[Kind::ConnAck as usize] = 1;
        Outlet {
            out: welcome,
            slot,
            acks: VecDeque::new(),
            last_ticket: 0,
            unanswered: 0,
            backlog: true,
            cut_short: false,
            taken: VecDeque::new(),
            page: None,
            removals: Vec::new(),
            finished: 0,
            sent,
            written: 0,
            unflushed: false,
            walks: false,
            aliases: Aliases::new(aliases_max),
        }
    }

    /// Whether the client has to take something before more is made for it.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= WRITE_BUFFER_HIGH
    }

    /// Whether bytes wait for the socket.
    pub(super) fn is_waiting(&self) -> bool {
        !self.out.is_empty() || self.unflushed
    }

    /// Bytes that the socket took so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Acknowledgements that wait.
    pub(super) fn pending_acks(&self) -> usize {
        self.acks.len()
    }

    /// Whether a PUBREC waits for its commit.
    pub(super) fn awaits_pubrec(&self) -> bool {
        self.acks.iter().any(|(_, pending)| matches!(pending, PendingAck::Ack(Kind::PubRec, _)))
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    pub(super) fn finished(&self) -> usize {
        self.finished
    }

    /// A QoS 1 or 2 publish came.
    pub(super) fn count_unanswered(&mut self) {
        self.unanswered += 1;
    }

    /// Room for an answer of the slow path, to be encoded in place.
    pub(super) fn answer(&mut self, kind: Kind) -> &mut BytesMut {
        self.sent[kind as usize] += 1;
        &mut self.out
    }

    /// Answers an acknowledgement of the client at once: PUBREL or PUBCOMP.
    pub(super) fn reply(&mut self, client: &Client, kind: Kind, ack: Ack) {
        if kind == Kind::PubComp {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.sent[kind as usize] += 1;
        ack::write(kind, ack, client.terms, &mut self.out);
    }

    /// A message in flight is done with.
    pub(super) fn finish(&mut self, client: &Client, finished: Option<Finished>) {
        let parcel = match finished {
            None => return,
            Some(Finished::Release(parcel)) => parcel,
            Some(Finished::Message(delivery)) => {
                self.hand_over(&delivery);
                delivery.parcel
            }
        };
        if let Some(parcel) = parcel {
            client.exchange.finish(&parcel, &mut self.removals);
        }
    }

    /// The client has a message: it no longer counts against the session's bound.
    pub(super) fn hand_over(&mut self, delivery: &Delivery) {
        if delivery.accounted {
            self.finished += delivery.message.bytes();
        }
    }

    /// Hands the rows of messages done with to the ledger.
    pub(super) fn settle(&mut self, client: &Client) {
        client.exchange.ledger.add(&mut self.removals);
    }

    /// Queues the acknowledgements of a batch: `ticket` releases them; without one, nothing wants the
    /// batch and they go out after what is pending.
    pub(super) fn push_acks(&mut self, acks: &mut Vec<PendingAck>, ticket: Option<u64>) {
        if let (Some(ticket), false) = (ticket, acks.is_empty()) {
            self.last_ticket = ticket;
        }
        self.acks.extend(acks.drain(..).map(|ack| (self.last_ticket, ack)));
    }

    /// Encodes and writes what may go out, without waiting, until there is no more or the socket takes
    /// no more.
    pub(super) fn pump<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        writer: &mut W,
    ) -> Result<(), Close> {
        loop {
            self.cut_short = false;
            self.advance(client, state);
            self.flush(client, writer)?;
            // Nobody wakes us for a rest that only our own buffer's bound held back.
            if !self.cut_short || !self.out.is_empty() {
                return Ok(());
            }
        }
    }

    /// Encodes released acknowledgements, what the last connection left unanswered, retained messages
    /// of new subscriptions, the session's queue; as far as the buffer's bound allows.
    fn advance(&mut self, client: &Client, state: &mut SessionState) {
        self.release_acks(client);
        if state.inflight.is_resent() && state.retained.is_empty() && !self.backlog {
            return;
        }
        let now = client.exchange.clock.now();
        self.resend(client, state, now);
        if state.inflight.is_resent() {
            self.send_retained(client, state, now);
            self.send_queued(client, state, now);
        }
        self.cut_short = self.is_full();
    }

    /// Encodes the acknowledgements that are committed.
    pub(super) fn release_acks(&mut self, client: &Client) {
        if self.acks.is_empty() {
            return;
        }
        let committed = self.slot.committed();
        while let Some((_, pending)) = self.acks.pop_front_if(|(ticket, _)| *ticket <= committed) {
            match pending {
                PendingAck::Ack(kind, ack) => {
                    // A PUBREC that accepts is answered by PUBREL; PUBREL is of the other direction.
                    let is_last = matches!(kind, Kind::PubAck | Kind::PubComp);
                    if is_last || (kind == Kind::PubRec && ack.reason >= 0x80) {
                        self.unanswered = self.unanswered.saturating_sub(1);
                    }
                    self.sent[kind as usize] += 1;
                    ack::write(kind, ack, client.terms, &mut self.out);
                }
                PendingAck::Answer(kind, bytes) => {
                    self.answer(kind).extend_from_slice(&bytes);
                }
            }
        }
    }

    fn has_window(client: &Client, state: &SessionState) -> bool {
        state.inflight.outstanding() < client.window && state.inflight.room() > 0
    }

    /// First every PUBREL, which no window holds back (MQTT 5, section 4.9), then the messages.
    fn resend(&mut self, client: &Client, state: &mut SessionState, now: Timestamp) {
        while !self.is_full()
            && let Some(packet_id) = state.inflight.next_release()
        {
            self.reply(client, Kind::PubRel, Ack { packet_id, reason: ack::SUCCESS });
        }
        while !self.is_full() && state.inflight.outstanding() < client.window {
            let Some((id, delivery)) = state.inflight.next_resend() else { return };
            if let Err(reason) = self.write(client, delivery, id, true, now) {
                client.exchange.metrics.count_dropped(reason);
                let gone = state.inflight.finish(id);
                self.finish(client, gone);
            }
        }
    }

    fn send_retained(&mut self, client: &Client, state: &mut SessionState, now: Timestamp) {
        while !self.is_full() {
            let Some(run) = state.retained.front_mut() else { return };
            if run.qos != QoS::AtMostOnce && !Self::has_window(client, state) {
                return;
            }
            let Some(run) = state.retained.front_mut() else { return };
            let Some(message) = run.messages.next() else {
                match client.exchange.retained.take_step(&mut run.walk, now) {
                    None => {
                        drop(state.retained.pop_front());
                        if state.retained.is_empty() {
                            // A client subscribes when it comes, and then waits.
                            state.retained = VecDeque::new();
                        }
                    }
                    Some(mut found) => {
                        if run.no_local {
                            let own = Some(&client.session.client_id);
                            found.retain(|found| found.publish.origin.client_id.as_ref() != own);
                        }
                        run.messages = found.into_iter();
                        if !run.walk.is_done() {
                            // Other connections come first.
                            self.walks = true;
                            return;
                        }
                    }
                }
                continue;
            };
            let delivery = Delivery {
                qos: message.publish.qos.min(run.qos),
                message,
                retain: true,
                subscription_ids: run.subscription_ids.clone(),
                group: None,
                accounted: false,
                parcel: None,
                is_held: false,
                maybe_sent: false,
            };
            self.send(client, state, delivery, now);
        }
    }

    fn send_queued(&mut self, client: &Client, state: &mut SessionState, now: Timestamp) {
        while self.backlog && self.page.is_none() && !self.is_full() {
            let window = client.window.saturating_sub(state.inflight.outstanding());
            let window = window.min(state.inflight.room());
            let numbers_below = state.inflight.kept_end();
            let bytes = WRITE_BUFFER_HIGH - self.out.len();
            let room = Room { bytes, window, numbers_below };
            let left = client.session.take(&mut self.taken, room, &mut self.finished);
            self.backlog = left != Taken::All;
            let count = self.taken.len();
            client.exchange.relieve(&client.session);
            client.exchange.metrics.queued.dec_by(i64::try_from(count).unwrap_or(i64::MAX));
            while let Some(waiting) = self.taken.pop_front() {
                match waiting {
                    Waiting::Message(delivery) => self.send(client, state, delivery, now),
                    Waiting::Release(parcel) => {
                        let packet_id = state.inflight.push_release(parcel);
                        self.reply(client, Kind::PubRel, Ack { packet_id, reason: ack::SUCCESS });
                    }
                }
            }
            match left {
                Taken::Page(from, until) => {
                    self.page = read_page(client, from, until);
                    break;
                }
                _ if count == 0 => break,
                _ => {}
            }
        }
    }

    /// After a panic: what was taken of the session's queue and not encoded goes back to it.
    pub(super) fn rescue(&mut self, client: &Client) {
        let count = i64::try_from(self.taken.len()).unwrap_or(i64::MAX);
        client.exchange.metrics.queued.inc_by(count);
        client.session.give_back(&mut self.taken);
    }

    fn send(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        delivery: Delivery,
        now: Timestamp,
    ) {
        let id = state.inflight.id_for(&delivery);
        let written = self.write(client, &delivery, id, delivery.maybe_sent, now);
        if let Err(reason) = written {
            client.exchange.metrics.count_dropped(reason);
        }
        if delivery.qos == QoS::AtMostOnce {
            return;
        }
        match written {
            Ok(()) => {
                state.inflight.push(delivery);
            }
            Err(_) => self.finish(client, Some(Finished::Message(delivery))),
        }
    }

    /// Encodes a message. A panic there, as no message is known to cause, costs this one only.
    fn write(
        &mut self,
        client: &Client,
        delivery: &Delivery,
        packet_id: u16,
        dup: bool,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let before = self.out.len();
        let encoding = || self.encode(client, delivery, packet_id, dup, now);
        catch_unwind(AssertUnwindSafe(encoding)).unwrap_or_else(|_| {
            self.out.truncate(before);
            let (client_id, topic) = (&client.session.client_id, &delivery.message.publish.topic);
            tracing::error!(%client_id, %topic, "a message could not be encoded: a panic");
            Err(Dropped::Unencodable)
        })
    }

    fn encode(
        &mut self,
        client: &Client,
        delivery: &Delivery,
        packet_id: u16,
        dup: bool,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let message = &delivery.message;
        let expiry = match message.expiry_left(now) {
            Ok(left) => left,
            // What was sent once is sent again however late (MQTT 5, section 4.3.3).
            Err(_) if dup => Some(0),
            Err(_) => return Err(Dropped::Expired),
        };
        let age = now.since(message.publish.received_at);
        if delivery.parcel.is_some() && !dup && age > client.exchange.config.session_message_age_max
        {
            return Err(Dropped::TooOld);
        }
        let naming = self.aliases.name(&message.publish.topic);
        let mut outgoing = Outgoing {
            dup: dup && delivery.qos != QoS::AtMostOnce,
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id,
            topic: message.publish.topic.as_str(),
            alias: None,
            properties: &message.properties,
            expiry,
            subscription_ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
            payload: &message.publish.payload,
        };
        let fits = |outgoing: &Outgoing<'_>| {
            outgoing.frame_len(client.version) <= client.terms.packet_bytes_max
        };
        let mut given = None;
        match naming {
            Naming::Known(alias) => (outgoing.topic, outgoing.alias) = ("", Some(alias)),
            Naming::New { alias, at } => {
                outgoing.alias = Some(alias);
                given = fits(&outgoing).then_some(at);
                outgoing.alias = given.map(|_| alias);
            }
            Naming::Plain => {}
        }
        if !fits(&outgoing) {
            return Err(Dropped::TooLarge);
        }
        outgoing.write(client.version, &mut self.out);
        if let Some(at) = given {
            self.aliases.give(at, &message.publish.topic);
        }
        self.sent[Kind::Publish as usize] += 1;
        Ok(())
    }

    /// Writes what the socket takes now, without waiting.
    fn flush<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        writer: &mut W,
    ) -> Result<(), Close> {
        // Nobody is woken by this attempt: whoever waits for the socket polls it again.
        let mut context = Context::from_waker(Waker::noop());
        match self.poll_write(client, writer, &mut context) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Close>> {
        while !self.out.is_empty() {
            match Pin::new(&mut *writer).poll_write(context, &self.out) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Close::Gone)),
                Poll::Ready(Ok(n)) => self.wrote(client, n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Close::from(error))),
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut *writer).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Room in the socket, or messages from disk.
    fn poll_progress<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Close>> {
        if let Some(page) = &mut self.page
            && let Poll::Ready(read) = page.as_mut().poll(context)
        {
            self.page = None;
            return Poll::Ready(match read {
                Ok(page) => {
                    client.exchange.refill(&client.session, page);
                    Ok(())
                }
                Err(error) => {
                    let client_id = &client.session.client_id;
                    tracing::error!(%client_id, %error, "queued messages cannot be read");
                    Err(Close::Unreadable)
                }
            });
        }
        match self.is_waiting() {
            true => self.poll_write(client, writer, context),
            false => Poll::Pending,
        }
    }

    fn wrote(&mut self, client: &Client, n: usize) {
        self.out.advance(n);
        let bytes = u64::try_from(n).unwrap_or(u64::MAX);
        self.written += bytes;
        self.unflushed = true;
        let metrics = &client.exchange.metrics;
        metrics.bytes_sent.inc_by(bytes);
        let publishes = u64::from(self.sent[Kind::Publish as usize]);
        client.session.traffic.sent.fetch_add(publishes, Ordering::Relaxed);
        metrics.count_sent(&mut self.sent);
    }

    /// Waits for something that lets the outlet go on: a commit, a message, room in the socket; or an
    /// order, which ends the connection. Nothing is lost when the future is dropped.
    pub(super) async fn step<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        state: &mut SessionState,
        writer: &mut W,
    ) -> Result<(), Close> {
        let awaits_commit = !self.acks.is_empty();
        let awaits_more = self.is_waiting() || self.page.is_some();
        let walks = std::mem::take(&mut self.walks);
        let slot = Arc::clone(&self.slot);
        tokio::select! {
            () = tokio::task::yield_now(), if walks => {}
            () = slot.changed(), if awaits_commit => {}
            () = client.control.notify.notified() => self.backlog = true,
            done = poll_fn(|cx| self.poll_progress(client, writer, cx)), if awaits_more => done?,
        }
        match client.control.order() {
            Some(Order::Kicked) => return Err(Close::Kicked),
            Some(order) => return Err(Close::Ordered(order)),
            None => {}
        }
        self.pump(client, state, writer)
    }

    /// Waits until every acknowledgement is committed, and leaves them encoded.
    pub(super) async fn commit_all(&mut self, client: &Client) {
        self.release_acks(client);
        while !self.acks.is_empty() {
            self.slot.changed().await;
            self.release_acks(client);
        }
    }

    /// Waits until the socket took everything.
    pub(super) async fn flush_all<W: AsyncWrite + Unpin>(
        &mut self,
        client: &Client,
        writer: &mut W,
    ) -> Result<(), Close> {
        poll_fn(|cx| self.poll_write(client, writer, cx)).await
    }

    /// Gives memory back after a burst.
    pub(super) fn rest(&mut self) {
        if self.out.is_empty() {
            self.out = BytesMut::new();
            self.taken = VecDeque::new();
        }
        self.acks.shrink_to_fit();
    }
}
