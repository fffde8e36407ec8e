//! QoS 1 and 2 messages sent to a subscriber and not yet done with.
//!
//! Two rings in the order of sending, each with packet identifiers of its own. Identifiers are given in sequence, so an
//! acknowledgement's place in its ring is its distance from the first, whatever the order in which they come. It
//! belongs to the session: after a reconnect what is in it is sent again, in order, before anything
//! new (MQTT 5, section 4.4).
//!
//! A message that is on disk has a number in its session, and its packet identifier follows from that: so it has the same one
//! when the gateway has been killed, without a commit at each sending. Everything else takes the next identifier
//! of the other ring.

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::Delivery;
use super::packet::Violation;
use crate::publish::QoS;
use crate::session::Parcel;

/// Packet identifiers of messages that are not on disk: from 1 on.
const PASSING_IDS: u64 = 16_384;
/// Those of messages on disk: behind them, up to 65,535.
pub(crate) const KEPT_IDS: u64 = 65_535 - PASSING_IDS;

/// What a message waits for.
#[derive(Debug)]
enum Stage {
    /// PUBACK or PUBREC, by its QoS.
    Received(Delivery),
    /// PUBCOMP.
    Completed(Option<Arc<Parcel>>),
    /// Nothing: it stands between others that wait.
    Done,
}

/// A message done with, or what was left of it.
#[derive(Debug)]
pub(crate) enum Finished {
    Message(Delivery),
    Release(Option<Arc<Parcel>>),
}

#[derive(Debug)]
struct Slot {
    stage: Stage,
    /// Grows with each sending, over both rings.
    turn: u64,
}

#[derive(Debug)]
struct Ring {
    /// Its packet identifiers begin behind this one,
    before: u64,
    /// and are so many.
    ids: u64,
    /// Number of the front.
    first: u64,
    slots: VecDeque<Slot>,
    /// Place of the next message to be sent again; the ring's length when there is none.
    resend_at: usize,
    /// Place from which PUBREL is to be sent again; the ring's length when there is none.
    release_at: usize,
}

impl Ring {
    fn new(before: u64, ids: u64) -> Ring {
        Ring { before, ids, first: 0, slots: VecDeque::new(), resend_at: 0, release_at: 0 }
    }

    fn next_number(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The number from which on there is no packet identifier left.
    fn end(&self) -> u64 {
        if self.slots.is_empty() { u64::MAX } else { self.first + self.ids - 1 }
    }

    fn id_of(&self, number: u64) -> u16 {
        let id = self.before + 1 + number % self.ids;
        u16::try_from(id).expect("both rings' identifiers fit 16 bits")
    }

    fn owns(&self, id: u16) -> bool {
        (self.before + 1..=self.before + self.ids).contains(&u64::from(id))
    }

    fn place_of(&self, id: u16) -> Option<usize> {
        let offset = u64::from(id).checked_sub(self.before + 1)?;
        let distance = (offset + self.ids - self.first % self.ids) % self.ids;
        usize::try_from(distance).ok().filter(|place| *place < self.slots.len())
    }

    /// Adds what is sent now as `number`; numbers left out are done with.
    fn push(&mut self, number: u64, stage: Stage, turn: u64) -> u16 {
        assert!(number >= self.next_number() || self.slots.is_empty(), "numbers grow");
        assert!(number < self.end(), "the caller asks first");
        if self.slots.is_empty() {
            self.first = number;
        }
        while self.next_number() < number {
            self.slots.push_back(Slot { stage: Stage::Done, turn });
        }
        self.slots.push_back(Slot { stage, turn });
        self.resend_at = self.slots.len();
        self.release_at = self.slots.len();
        self.id_of(number)
    }

    /// The turn of the next message to be sent again.
    fn next_turn(&mut self) -> Option<u64> {
        while let Some(Slot { stage: Stage::Done | Stage::Completed(_), .. }) =
            self.slots.get(self.resend_at)
        {
            self.resend_at += 1;
        }
        self.slots.get(self.resend_at).map(|slot| slot.turn)
    }

    /// The next message whose PUBREL is to be sent again.
    fn next_release(&mut self) -> Option<u16> {
        while let Some(slot) = self.slots.get(self.release_at) {
            let at = self.release_at;
            self.release_at += 1;
            if matches!(slot.stage, Stage::Completed(_)) {
                return Some(self.id_of(self.first + at as u64));
            }
        }
        None
    }

    fn is_resent(&self) -> bool {
        self.resend_at >= self.slots.len() && self.release_at >= self.slots.len()
    }

    fn pop_done(&mut self) {
        while let Some(Slot { stage: Stage::Done, .. }) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
            self.resend_at = self.resend_at.saturating_sub(1);
            self.release_at = self.release_at.saturating_sub(1);
        }
    }
}

/// The messages in flight to one subscriber.
#[derive(Debug)]
pub(crate) struct InFlight {
    passing: Ring,
    kept: Ring,
    next_turn: u64,
    /// Sent on this connection, and not done.
    outstanding: usize,
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight {
            passing: Ring::new(0, PASSING_IDS),
            kept: Ring::new(PASSING_IDS, KEPT_IDS),
            next_turn: 0,
            outstanding: 0,
        }
    }
}

impl InFlight {
    /// Messages that the subscriber has on this connection and has not answered.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// A new connection has begun.
    pub(crate) fn reconnect(&mut self) {
        for ring in [&mut self.passing, &mut self.kept] {
            ring.resend_at = 0;
            ring.release_at = 0;
        }
        self.outstanding = 0;
    }

    /// The next message of the last connection whose PUBREL has to go out again. All of them go before
    /// the messages: a closed window holds those back, and must not hold back these.
    pub(crate) fn next_release(&mut self) -> Option<u16> {
        let released = self.passing.next_release().or_else(|| self.kept.next_release())?;
        self.outstanding += 1;
        Some(released)
    }

    /// The next message of the last connection that has to go out again.
    pub(crate) fn next_resend(&mut self) -> Option<(u16, &Delivery)> {
        let ring = match (self.passing.next_turn(), self.kept.next_turn()) {
            (None, None) => return None,
            (Some(passing), Some(kept)) if passing < kept => &mut self.passing,
            (Some(_), None) => &mut self.passing,
            (_, Some(_)) => &mut self.kept,
        };
        let at = ring.resend_at;
        let id = ring.id_of(ring.first + at as u64);
        ring.resend_at += 1;
        match &ring.slots.get(at)?.stage {
            Stage::Received(delivery) => {
                self.outstanding += 1;
                Some((id, delivery))
            }
            Stage::Completed(_) | Stage::Done => None,
        }
    }

    /// Whether all of the last connection has been sent again.
    pub(crate) fn is_resent(&self) -> bool {
        self.passing.is_resent() && self.kept.is_resent()
    }

    /// How many messages that are not on disk [`InFlight::push`] has packet identifiers for. What is
    /// done with behind one that is not holds its own.
    pub(crate) fn room(&self) -> usize {
        let left = self.passing.end() - self.passing.next_number();
        usize::try_from(left.min(PASSING_IDS - 1)).expect("a packet identifier is small")
    }

    /// The number from which on a message on disk has no packet identifier yet.
    pub(crate) fn kept_end(&self) -> u64 {
        self.kept.end()
    }

    /// The packet identifier that [`InFlight::push`] will give to `delivery`.
    pub(crate) fn id_for(&self, delivery: &Delivery) -> u16 {
        match &delivery.parcel {
            Some(parcel) => self.kept.id_of(parcel.number),
            None => self.passing.id_of(self.passing.next_number()),
        }
    }

    /// Takes a message that is sent now; everything older has been resent.
    pub(crate) fn push(&mut self, delivery: Delivery) -> u16 {
        let number = delivery.parcel.as_ref().map(|parcel| parcel.number);
        self.send(number, Stage::Received(delivery))
    }

    /// Takes a message that the subscriber had from an earlier run, and whose PUBREL is sent now.
    pub(crate) fn push_release(&mut self, parcel: Arc<Parcel>) -> u16 {
        self.send(Some(parcel.number), Stage::Completed(Some(parcel)))
    }

    fn send(&mut self, number: Option<u64>, stage: Stage) -> u16 {
        assert!(self.is_resent(), "what is older goes first");
        self.next_turn += 1;
        self.outstanding += 1;
        match number {
            Some(number) => self.kept.push(number, stage, self.next_turn),
            None => self.passing.push(self.passing.next_number(), stage, self.next_turn),
        }
    }

    /// PUBACK. Answers the message it ends, if it was there.
    pub(crate) fn puback(&mut self, id: u16) -> Result<Option<Delivery>, Violation> {
        match self.stage_mut(id) {
            Some(Stage::Received(delivery)) if delivery.qos == QoS::ExactlyOnce => {
                Err(Violation::Protocol("PUBACK for a QoS 2 message"))
            }
            Some(Stage::Received(_)) => Ok(self.finish(id).and_then(|finished| match finished {
                Finished::Message(delivery) => Some(delivery),
                Finished::Release(_) => None,
            })),
            _ => Ok(None),
        }
    }

    /// PUBREC that accepts. Answers whether the identifier is known, and the message it hands over.
    pub(crate) fn pubrec(&mut self, id: u16) -> Result<(bool, Option<Delivery>), Violation> {
        let Some(ring) = self.ring_of(id) else { return Ok((false, None)) };
        let Some(at) = ring.place_of(id) else { return Ok((false, None)) };
        // Answered late for the last connection: its PUBREL is sent on this one.
        let is_late = at >= ring.resend_at && at < ring.release_at;
        let Some(slot) = ring.slots.get_mut(at) else { return Ok((false, None)) };
        let stage = &mut slot.stage;
        let handed = match stage {
            Stage::Received(delivery) if delivery.qos == QoS::ExactlyOnce => {
                let parcel = delivery.parcel.clone();
                match std::mem::replace(stage, Stage::Completed(parcel)) {
                    Stage::Received(delivery) => Some(delivery),
                    Stage::Completed(_) | Stage::Done => None,
                }
            }
            Stage::Received(_) => return Err(Violation::Protocol("PUBREC for a QoS 1 message")),
            Stage::Completed(_) => None,
            Stage::Done => return Ok((false, None)),
        };
        self.outstanding += usize::from(is_late && handed.is_some());
        Ok((true, handed))
    }

    /// PUBCOMP. Answers what it ends, if it was there. Without PUBREC before it the message is not acknowledged
    /// [MQTT-4.3.3-3].
    pub(crate) fn pubcomp(&mut self, id: u16) -> Result<Option<Finished>, Violation> {
        match self.stage_mut(id) {
            Some(Stage::Received(_)) => {
                Err(Violation::Protocol("PUBCOMP for a message that is not released"))
            }
            _ => Ok(self.finish(id)),
        }
    }

    /// PUBREC that refuses. Answers the message it ends, if it was there.
    pub(crate) fn pubrec_refuses(&mut self, id: u16) -> Result<Option<Finished>, Violation> {
        match self.stage_mut(id) {
            Some(Stage::Received(delivery)) if delivery.qos != QoS::ExactlyOnce => {
                Err(Violation::Protocol("PUBREC for a QoS 1 message"))
            }
            _ => Ok(self.finish(id)),
        }
    }

    /// A message is done with.
    pub(crate) fn finish(&mut self, id: u16) -> Option<Finished> {
        let ring = self.ring_of(id)?;
        let at = ring.place_of(id)?;
        let stage = std::mem::replace(&mut ring.slots.get_mut(at)?.stage, Stage::Done);
        let is_sent = match stage {
            Stage::Received(_) => at < ring.resend_at,
            Stage::Completed(_) => at < ring.release_at,
            Stage::Done => false,
        };
        ring.pop_done();
        if is_sent {
            self.outstanding -= 1;
        }
        match stage {
            Stage::Received(delivery) => Some(Finished::Message(delivery)),
            Stage::Completed(parcel) => Some(Finished::Release(parcel)),
            Stage::Done => None,
        }
    }

    /// The number below which every message on disk has been sent at some time.
    pub(crate) fn kept_next(&self) -> u64 {
        self.kept.next_number()
    }

    /// Gives up all of it: the session ends.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Finished> + use<> {
        let InFlight { passing, kept, .. } = std::mem::take(self);
        passing.slots.into_iter().chain(kept.slots).filter_map(|slot| match slot.stage {
            Stage::Received(delivery) => Some(Finished::Message(delivery)),
            Stage::Completed(parcel) => Some(Finished::Release(parcel)),
            Stage::Done => None,
        })
    }

    fn stage_mut(&mut self, id: u16) -> Option<&mut Stage> {
        let ring = self.ring_of(id)?;
        let at = ring.place_of(id)?;
        ring.slots.get_mut(at).map(|slot| &mut slot.stage)
    }

    fn ring_of(&mut self, id: u16) -> Option<&mut Ring> {
        [&mut self.passing, &mut self.kept].into_iter().find(|ring| ring.owns(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::samples::delivery;

    #[test]
    fn ids_go_round_and_are_never_given_twice_at_once() {
        let mut flight = InFlight::default();
        let stuck = flight.push(delivery(QoS::AtLeastOnce));
        let left = |done: u64| usize::try_from(PASSING_IDS - 2 - done).unwrap();
        for done in 0..PASSING_IDS - 2 {
            assert_eq!(flight.room(), left(done), "what is done with behind it holds its own");
            let id = flight.push(delivery(QoS::AtLeastOnce));
            assert_ne!(id, stuck);
            assert!(flight.puback(id).unwrap().is_some());
        }
        assert_eq!((flight.room(), flight.outstanding()), (0, 1));
        assert!(flight.puback(stuck).unwrap().is_some());
        assert_eq!((flight.room(), flight.outstanding()), (left(0) + 1, 0));
        let ids: Vec<u16> = (0..4).map(|_| flight.push(delivery(QoS::AtLeastOnce))).collect();
        assert_eq!(ids, [16_384, 1, 2, 3]);
    }

    #[test]
    fn acks_may_come_in_any_order_and_only_once() {
        let mut flight = InFlight::default();
        let ids: Vec<u16> = (0..3).map(|_| flight.push(delivery(QoS::AtLeastOnce))).collect();
        for id in [ids[2], ids[0], ids[1]] {
            assert!(flight.puback(id).unwrap().is_some());
            assert!(flight.puback(id).unwrap().is_none());
        }
        assert_eq!(flight.outstanding(), 0);
        assert!(flight.puback(9).unwrap().is_none());
    }

    #[test]
    fn reconnect_sends_again_what_is_open_in_order() {
        let mut flight = InFlight::default();
        let first = flight.push(delivery(QoS::AtLeastOnce));
        let second = flight.push(delivery(QoS::ExactlyOnce));
        let third = flight.push(delivery(QoS::ExactlyOnce));
        assert!(matches!(flight.pubrec(second), Ok((true, Some(_)))));
        assert!(flight.pubrec(first).is_err());
        flight.reconnect();
        assert!(!flight.is_resent());
        assert_eq!(flight.next_release(), Some(second), "PUBREL comes first, whatever the window");
        assert_eq!(flight.next_release(), None);
        assert_eq!(flight.next_resend().map(|(id, _)| id), Some(first));
        // Of the last connection, late: its PUBREL is the answer, and it is not sent again.
        assert_eq!(flight.outstanding(), 2);
        assert!(matches!(flight.pubrec(third), Ok((true, Some(_)))));
        assert_eq!(flight.outstanding(), 3);
        assert!(flight.next_resend().is_none() && flight.is_resent());
        assert!(matches!(flight.finish(third), Some(Finished::Release(None))));
        assert_eq!(flight.outstanding(), 2);
        assert!(matches!(flight.finish(second), Some(Finished::Release(None))));
        assert!(matches!(flight.pubrec(second), Ok((false, None))));
    }
}
