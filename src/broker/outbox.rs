//! The queue of a session: what publishers offer, and what its connection takes.
//!
//! Of a session that survives, every QoS 1 and 2 message gets a number and a [`Parcel`], which the publisher's commit
//! writes. While the client is away, messages that are on disk leave memory; what is left is a
//! [`Backlog`]: a range of numbers. So the queue has up to three parts, in order: in memory, on disk, in memory
//! behind that. A connection that has taken the first reads the second in pages ([`Taken::Page`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;

use super::inflight::KEPT_IDS;
use super::message::Delivery;
use super::message::Waiting;
use super::metrics::Dropped;
use super::session::Control;
use super::session::Offered;
use super::session::Session;
use crate::publish::QoS;
use crate::session::Backlog;
use crate::session::Body;
use crate::session::Ledger;
use crate::session::Owner;
use crate::session::Parcel;
use crate::session::Terms;

/// Messages queued for a session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Waiting>,
    /// Behind the queue.
    disk: Backlog,
    /// Behind what is on disk; empty while nothing is.
    tail: VecDeque<Waiting>,
    /// Of the queue, the disk, the tail and of what is in flight.
    bytes: usize,
    /// The number of the next message that is kept.
    next_number: u64,
    /// Messages below this number may have been sent before the last restart.
    sent_until: u64,
    /// The connection; `None` while the session is parked.
    connection: Option<Arc<Control>>,
    /// The connection has been woken and has not yet emptied the queue since.
    signalled: bool,
    /// The connection waits for the front to be on disk.
    awaits_store: bool,
}

/// What [`Session::take`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing; whoever adds something wakes the connection.
    All,
    /// Something that has to wait, or did not fit.
    Part,
    /// Messages on disk with numbers from the first to below the second, to be [refilled](Session::refill).
    Page(u64, u64),
}

/// How much [`Session::take`] may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Bytes, about.
    pub(crate) bytes: usize,
    /// Messages with QoS 1 or 2 that the client takes.
    pub(crate) window: usize,
    /// Kept messages below this number.
    pub(crate) numbers_below: u64,
}

impl Outbox {
    fn len(&self) -> usize {
        self.queue.len() + self.disk.messages + self.tail.len()
    }

    /// Sends messages that are on disk out of memory: of a session that nobody is connected to.
    fn evict(&mut self) {
        if self.connection.is_some() {
            return;
        }
        if self.disk.messages > 0 {
            // Read from there, or gone there before.
            for parcel in self.queue.drain(..).rev().filter_map(|waiting| waiting.stored().cloned())
            {
                self.disk.from = parcel.number;
                self.disk.messages += 1;
                self.disk.bytes += parcel.bytes;
            }
        } else {
            self.tail = std::mem::take(&mut self.queue);
        }
        while let Some(parcel) = self.tail.front().and_then(Waiting::stored) {
            if self.disk.messages == 0 {
                self.disk.from = parcel.number;
            }
            self.disk.until = parcel.number + 1;
            self.disk.messages += 1;
            self.disk.bytes += parcel.bytes;
            self.tail.pop_front();
        }
        if self.disk.messages == 0 {
            self.queue = std::mem::take(&mut self.tail);
        }
        for part in [&mut self.queue, &mut self.tail] {
            if part.capacity() > 2 * part.len() {
                part.shrink_to_fit();
            }
        }
    }
}

/// The content that the kept messages of one publish have in common.
#[derive(Debug, Default)]
pub(crate) struct Content(Option<Arc<Body>>);

impl Session {
    /// Whether a connection takes what is queued.
    pub(crate) fn is_connected(&self) -> bool {
        self.outbox.lock().connection.is_some()
    }

    /// Messages waiting.
    pub(crate) fn queued(&self) -> usize {
        self.outbox.lock().len()
    }

    /// Bytes of messages waiting and in flight.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.outbox.lock().bytes
    }

    /// Whether half of what may wait could be added.
    pub(crate) fn has_plenty_of_room(&self) -> bool {
        let outbox = self.outbox.lock();
        outbox.len() <= self.bounds.messages_max / 2 && outbox.bytes <= self.bounds.bytes_max / 2
    }

    /// Messages that wait on disk only.
    pub(crate) fn backlog(&self) -> Backlog {
        self.outbox.lock().disk
    }

    /// Whether its messages survive.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Acquire)
    }

    /// From here on its messages survive, or do not.
    pub(crate) fn keep(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Ordering::Release);
    }

    /// What an earlier run has left on disk; of it, messages below `sent_until` may have been sent.
    pub(crate) fn restore_backlog(&self, backlog: Backlog, sent_until: u64) {
        let mut outbox = self.outbox.lock();
        outbox.bytes = backlog.bytes;
        outbox.next_number = backlog.until;
        outbox.sent_until = sent_until;
        outbox.disk = backlog;
        self.watches_store.store(true, Ordering::SeqCst);
    }

    pub(super) fn connect(&self, control: Arc<Control>) {
        let mut outbox = self.outbox.lock();
        outbox.connection = Some(control);
        outbox.signalled = true;
        self.watches_store.store(false, Ordering::SeqCst);
    }

    /// The connection ends, and gives back the bytes of `finished` messages; from now on only QoS 1
    /// and 2 are queued. Answers how many messages of QoS 0 were dropped, and the number below which kept messages
    /// may have been sent, when they have been up to `sent_until` now.
    pub(crate) fn detach(&self, finished: usize, sent_until: u64) -> (usize, u64) {
        let mut outbox = self.outbox.lock();
        outbox.connection = None;
        outbox.awaits_store = false;
        outbox.bytes = outbox.bytes.saturating_sub(finished);
        let before = outbox.len();
        if self.is_kept() {
            // They would stand between the messages that go to the disk.
            let (mut queue, mut tail) =
                (std::mem::take(&mut outbox.queue), std::mem::take(&mut outbox.tail));
            for part in [&mut queue, &mut tail] {
                part.retain(|waiting| match waiting {
                    Waiting::Message(delivery) if delivery.qos == QoS::AtMostOnce => {
                        outbox.bytes = outbox.bytes.saturating_sub(delivery.message.bytes());
                        false
                    }
                    _ => true,
                });
            }
            (outbox.queue, outbox.tail) = (queue, tail);
            self.watches_store.store(true, Ordering::SeqCst);
            outbox.evict();
        }
        (before - outbox.len(), outbox.sent_until.max(sent_until))
    }

    /// As [`Session::detach`], for a connection of which nothing else is known any more; nothing, when another
    /// has taken its place. Answers how many messages of QoS 0 were dropped.
    pub(crate) fn cut(&self, control: &Arc<Control>) -> usize {
        let connection = self.outbox.lock().connection.clone();
        match connection.is_some_and(|connection| Arc::ptr_eq(&connection, control)) {
            true => self.detach(0, 0).0,
            false => 0,
        }
    }

    /// Queues a message, or gives it back with the reason.
    pub(crate) fn offer(
        self: &Arc<Self>,
        mut delivery: Delivery,
        content: &mut Content,
        ledger: &Ledger,
    ) -> Offered {
        let bytes = delivery.message.bytes();
        let mut outbox = self.outbox.lock();
        if outbox.connection.is_none() && delivery.qos == QoS::AtMostOnce {
            return Offered::Refused(Dropped::Offline);
        }
        let full = outbox.len() >= self.bounds.messages_max
            || (outbox.bytes > 0 && outbox.bytes + bytes > self.bounds.bytes_max);
        if full {
            return Offered::Refused(Dropped::QueueFull);
        }
        let mut parcel = None;
        if delivery.qos != QoS::AtMostOnce && self.is_kept() {
            if ledger.bytes() + bytes > self.bounds.kept_bytes_max {
                return Offered::Refused(Dropped::StoreFull);
            }
            ledger.note_kept(bytes);
            let number = outbox.next_number;
            outbox.next_number += 1;
            let body = content.0.get_or_insert_with(|| Body::new(delivery.message.publish.clone()));
            let owner: Arc<dyn Owner> = Arc::clone(self) as _;
            let made =
                Parcel::new(owner, self.key, number, bytes, terms(&delivery), Arc::clone(body));
            delivery.parcel = Some(Arc::clone(&made));
            delivery.is_held |= delivery.qos == QoS::ExactlyOnce;
            parcel = Some(made);
        }
        outbox.bytes += bytes;
        let behind_disk = outbox.disk.messages > 0;
        let part = if behind_disk { &mut outbox.tail } else { &mut outbox.queue };
        part.push_back(Waiting::Message(delivery));
        if outbox.signalled {
            return Offered::Queued(None, parcel);
        }
        outbox.signalled = outbox.connection.is_some();
        Offered::Queued(outbox.connection.clone(), parcel)
    }

    /// Moves what there is `room` for into `taken`, and gives back the bytes of `finished` messages. Until a call has
    /// answered [`Taken::All`], nobody wakes the connection for more.
    pub(crate) fn take(
        &self,
        taken: &mut VecDeque<Waiting>,
        mut room: Room,
        finished: &mut usize,
    ) -> Taken {
        let mut outbox = self.outbox.lock();
        outbox.bytes = outbox.bytes.saturating_sub(std::mem::take(finished));
        while room.bytes > 0 {
            match outbox.queue.front() {
                None => break,
                Some(Waiting::Message(head)) if head.qos == QoS::AtMostOnce => {
                    outbox.bytes = outbox.bytes.saturating_sub(head.message.bytes());
                }
                // In order: QoS 0 behind it waits too.
                Some(_) if room.window == 0 => return Taken::Part,
                Some(head) if number(head).is_some_and(|number| number >= room.numbers_below) => {
                    return Taken::Part;
                }
                Some(Waiting::Message(head)) if self.is_withheld(head) => {
                    outbox.awaits_store = true;
                    return Taken::Part;
                }
                Some(_) => room.window -= 1,
            }
            let Some(waiting) = outbox.queue.pop_front() else { break };
            if let Some(number) = number(&waiting) {
                // Behind it, as in flight.
                room.numbers_below = room.numbers_below.min(number + KEPT_IDS - 1);
            }
            match &waiting {
                Waiting::Message(delivery) => {
                    room.bytes = room.bytes.saturating_sub(delivery.message.bytes());
                }
                Waiting::Release(parcel) => {
                    outbox.bytes = outbox.bytes.saturating_sub(parcel.bytes);
                }
            }
            taken.push_back(waiting);
        }
        if outbox.queue.is_empty() && outbox.queue.capacity() > 1024 {
            outbox.queue = VecDeque::new();
        }
        if !outbox.queue.is_empty() {
            return Taken::Part;
        }
        if outbox.disk.messages > 0 {
            return Taken::Page(outbox.disk.from, outbox.disk.until);
        }
        outbox.signalled = false;
        Taken::All
    }

    /// Puts what was taken and not sent back in front of the queue.
    pub(crate) fn give_back(&self, taken: &mut VecDeque<Waiting>) {
        let mut outbox = self.outbox.lock();
        while let Some(waiting) = taken.pop_back() {
            outbox.bytes += match &waiting {
                Waiting::Message(delivery) if delivery.qos == QoS::AtMostOnce => {
                    delivery.message.bytes()
                }
                // Still counted: it would be until it is acknowledged.
                Waiting::Message(_) => 0,
                Waiting::Release(parcel) => parcel.bytes,
            };
            outbox.queue.push_front(waiting);
        }
    }

    /// Whether a message has to wait for its commit; from then on [`Owner::stored`] looks.
    fn is_withheld(&self, delivery: &Delivery) -> bool {
        if !delivery.awaits_store() {
            return false;
        }
        self.watches_store.store(true, Ordering::SeqCst);
        // The writer marks it first and looks at the flag then: one of us sees the other.
        fence(Ordering::SeqCst);
        delivery.awaits_store()
    }

    /// Messages of so many bytes that were read from the backlog do not come into the queue.
    pub(crate) fn note_taken_back(&self, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.bytes = outbox.bytes.saturating_sub(bytes);
    }

    /// Puts what is wanted of a page of `read` messages of the backlog into the queue; `next` is where the following page begins. Answers the bytes
    /// of messages that were not there any more.
    pub(crate) fn refill(
        &self,
        page: Vec<Waiting>,
        read: usize,
        bytes: usize,
        next: Option<u64>,
    ) -> usize {
        let mut outbox = self.outbox.lock();
        let disk = &mut outbox.disk;
        disk.messages = disk.messages.saturating_sub(read);
        disk.bytes = disk.bytes.saturating_sub(bytes);
        let mut lost = 0;
        match next {
            Some(next) => {
                disk.from = next;
                disk.messages = disk.messages.max(1);
            }
            None => lost = std::mem::take(disk).bytes,
        }
        outbox.bytes = outbox.bytes.saturating_sub(lost);
        outbox.queue.extend(page);
        if next.is_none() {
            let tail = std::mem::take(&mut outbox.tail);
            outbox.queue.extend(tail);
        }
        lost
    }

    /// Messages below this number may have been sent before the last restart.
    pub(crate) fn sent_until(&self) -> u64 {
        self.outbox.lock().sent_until
    }

    /// So many messages of the backlog, and bytes, have been removed.
    pub(crate) fn note_removed(&self, messages: usize, bytes: usize) {
        let mut outbox = self.outbox.lock();
        outbox.bytes = outbox.bytes.saturating_sub(bytes);
        let disk = &mut outbox.disk;
        disk.messages = disk.messages.saturating_sub(messages);
        disk.bytes = disk.bytes.saturating_sub(bytes);
        if disk.messages == 0 {
            *disk = Backlog::default();
            let tail = std::mem::take(&mut outbox.tail);
            outbox.queue.extend(tail);
        }
    }

    /// Keeps of the messages in memory those whose topic `is_wanted`; answers how many it forgot, and what of them is
    /// kept on disk.
    pub(crate) fn retain_queued(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> (usize, Vec<Arc<Parcel>>) {
        let mut outbox = self.outbox.lock();
        let Outbox { queue, tail, bytes, .. } = &mut *outbox;
        let (mut forgotten, mut parcels) = (0, Vec::new());
        for part in [queue, tail] {
            part.retain(|waiting| {
                let Waiting::Message(delivery) = waiting else { return true };
                let is_kept = is_wanted(delivery.message.publish.topic.as_str());
                if !is_kept {
                    *bytes = bytes.saturating_sub(delivery.message.bytes());
                    forgotten += 1;
                    parcels.extend(delivery.parcel.clone());
                }
                is_kept
            });
        }
        (forgotten, parcels)
    }

    /// Empties the queue: the session ends. Answers what was in memory, and what was on disk.
    pub(crate) fn drain(&self) -> (Vec<Waiting>, Backlog) {
        let mut outbox = self.outbox.lock();
        outbox.bytes = 0;
        outbox.sent_until = 0;
        let mut all = Vec::from(std::mem::take(&mut outbox.queue));
        all.extend(std::mem::take(&mut outbox.tail));
        (all, std::mem::take(&mut outbox.disk))
    }
}

impl Owner for Session {
    fn stored(&self) {
        fence(Ordering::SeqCst);
        if !self.watches_store.load(Ordering::SeqCst) {
            return;
        }
        let mut outbox = self.outbox.lock();
        if let Some(connection) = outbox.connection.clone() {
            if std::mem::take(&mut outbox.awaits_store) {
                connection.notify.notify_one();
            }
            self.watches_store.store(false, Ordering::SeqCst);
        } else if self.is_kept() {
            outbox.evict();
        }
    }
}

fn number(waiting: &Waiting) -> Option<u64> {
    match waiting {
        Waiting::Message(delivery) => delivery.parcel.as_ref().map(|parcel| parcel.number),
        Waiting::Release(parcel) => Some(parcel.number),
    }
}

fn terms(delivery: &Delivery) -> Terms {
    Terms {
        qos: delivery.qos,
        retain: delivery.retain,
        subscription_ids: delivery.subscription_ids.clone(),
        share: delivery.group.as_ref().map(|group| Arc::clone(group.filter())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::samples::delivery;
    use crate::broker::packet::Version;
    use crate::broker::session::Contact;
    use crate::broker::session::QueueBounds;
    use crate::clock::Timestamp;

    fn session(messages_max: usize, bytes_max: usize) -> Arc<Session> {
        let bounds = QueueBounds { messages_max, bytes_max, kept_bytes_max: usize::MAX };
        Arc::new(Session::new(1, Arc::from("c"), bounds))
    }

    fn offer(session: &Arc<Session>, qos: QoS) -> Offered {
        session.offer(delivery(qos), &mut Content::default(), &Ledger::default())
    }

    fn attach(session: &Session) {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let contact = Contact::bare(address, Version::V5, Timestamp::EPOCH);
        session.attach(Arc::default(), contact);
    }

    fn take(session: &Session, budget: usize, window: usize) -> (usize, bool) {
        let mut taken = VecDeque::new();
        let room = Room { bytes: budget, window, numbers_below: u64::MAX };
        let left = session.take(&mut taken, room, &mut 0);
        (taken.len(), left == Taken::All)
    }

    #[test]
    fn the_queue_is_bounded_by_messages_and_by_bytes_in_flight_too() {
        let few = session(2, usize::MAX);
        for _ in 0..2 {
            assert!(matches!(offer(&few, QoS::AtLeastOnce), Offered::Queued(None, _)));
        }
        let refused = offer(&few, QoS::AtLeastOnce);
        assert!(matches!(refused, Offered::Refused(Dropped::QueueFull)));

        let bytes = delivery(QoS::AtLeastOnce).message.bytes();
        let small = session(100, 2 * bytes);
        attach(&small);
        for _ in 0..2 {
            assert!(matches!(offer(&small, QoS::AtLeastOnce), Offered::Queued(..)));
        }
        assert_eq!(take(&small, usize::MAX, 9), (2, true));
        // Taken, not acknowledged: it still holds the memory.
        let refused = offer(&small, QoS::AtLeastOnce);
        assert!(matches!(refused, Offered::Refused(Dropped::QueueFull)));
        let no_room = Room { bytes: 0, window: 0, numbers_below: 0 };
        small.take(&mut VecDeque::new(), no_room, &mut bytes.clone());
        assert!(matches!(offer(&small, QoS::AtLeastOnce), Offered::Queued(..)));
    }

    #[test]
    fn a_closed_window_holds_back_what_is_behind_it() {
        let session = session(100, usize::MAX);
        attach(&session);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce] {
            offer(&session, qos);
        }
        assert_eq!(take(&session, usize::MAX, 0), (1, false));
        assert_eq!(take(&session, 1, 1), (1, false));
        assert_eq!(take(&session, usize::MAX, 0), (1, true));
    }

    #[test]
    fn a_connection_is_woken_once_until_it_has_emptied_the_queue() {
        let session = session(100, usize::MAX);
        attach(&session);
        let is_woken = || matches!(offer(&session, QoS::AtMostOnce), Offered::Queued(Some(_), _));
        assert!(!is_woken(), "a new connection looks by itself");
        assert_eq!(take(&session, usize::MAX, 9), (1, true));
        assert!(is_woken());
        assert!(!is_woken());
        assert_eq!(take(&session, 1, 9), (1, false));
        assert!(!is_woken());
        assert_eq!(take(&session, usize::MAX, 9), (2, true));
        assert!(is_woken());
    }

    #[test]
    fn what_is_given_back_comes_again_in_its_order_and_counts_as_before() {
        let session = session(100, usize::MAX);
        attach(&session);
        let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce];
        for qos in all {
            offer(&session, qos);
        }
        let bytes = session.stored_bytes();
        let mut taken = VecDeque::new();
        let room = Room { bytes: usize::MAX, window: 9, numbers_below: u64::MAX };
        session.take(&mut taken, room, &mut 0);
        session.give_back(&mut taken);
        assert_eq!((session.queued(), session.stored_bytes(), taken.len()), (4, bytes, 0));
        session.take(&mut taken, room, &mut 0);
        let order: Vec<QoS> = taken
            .iter()
            .map(|waiting| match waiting {
                Waiting::Message(delivery) => delivery.qos,
                Waiting::Release(_) => panic!("there is none"),
            })
            .collect();
        assert_eq!(order, all);
    }

    #[test]
    fn a_parked_session_takes_no_qos_0() {
        let session = session(100, usize::MAX);
        let refused = offer(&session, QoS::AtMostOnce);
        assert!(matches!(refused, Offered::Refused(Dropped::Offline)));
    }
}
