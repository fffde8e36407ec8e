//! QoS 1 and 2 messages sent to a subscriber and not yet done with.
//!
//! A ring in the order of sending. Packet identifiers are given in sequence, so an acknowledgement's
//! place in the ring is its distance from the first, whatever the order in which they come. It
//! belongs to the session: after a reconnect what is in it is sent again, in order, before anything
//! new (MQTT 5, section 4.4).

use std::collections::VecDeque;

use super::message::Delivery;
use super::packet::Violation;
use crate::publish::QoS;

/// Packet identifiers go from 1 to 65,535.
const IDS: usize = 65_535;

/// What a message waits for.
#[derive(Debug)]
enum Stage {
    /// PUBACK or PUBREC, by its QoS.
    Received(Delivery),
    /// PUBCOMP.
    Completed,
    /// Nothing: it stands between others that wait.
    Done,
}

/// The messages in flight to one subscriber.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Packet identifier of the front, less one.
    first: usize,
    ring: VecDeque<Stage>,
    /// Place of the next message to be sent again; the ring's length when there is none.
    resend_at: usize,
    /// Place from which PUBREL is to be sent again; the ring's length when there is none.
    release_at: usize,
    /// Sent on this connection, and not done.
    outstanding: usize,
}

impl InFlight {
    /// Messages that the subscriber has on this connection and has not answered.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// A new connection has begun.
    pub(crate) fn reconnect(&mut self) {
        self.resend_at = 0;
        self.release_at = 0;
        self.outstanding = 0;
    }

    /// The next message of the last connection whose PUBREL has to go out again. All of them go before
    /// the messages: a closed window holds those back, and must not hold back these.
    pub(crate) fn next_release(&mut self) -> Option<u16> {
        while let Some(stage) = self.ring.get(self.release_at) {
            let at = self.release_at;
            self.release_at += 1;
            if matches!(stage, Stage::Completed) {
                self.outstanding += 1;
                return Some(self.id_of(at));
            }
        }
        None
    }

    /// The next message of the last connection that has to go out again.
    pub(crate) fn next_resend(&mut self) -> Option<(u16, &Delivery)> {
        while matches!(self.ring.get(self.resend_at), Some(Stage::Completed | Stage::Done)) {
            self.resend_at += 1;
        }
        let at = self.resend_at;
        if !matches!(self.ring.get(at), Some(Stage::Received(_))) {
            return None;
        }
        self.resend_at += 1;
        self.outstanding += 1;
        let id = self.id_of(at);
        match self.ring.get(at) {
            Some(Stage::Received(delivery)) => Some((id, delivery)),
            _ => None,
        }
    }

    /// Whether all of the last connection has been sent again.
    pub(crate) fn is_resent(&self) -> bool {
        self.resend_at >= self.ring.len() && self.release_at >= self.ring.len()
    }

    /// Whether [`InFlight::push`] has a packet identifier left.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.len() < IDS - 1
    }

    /// The packet identifier that the next [`InFlight::push`] will take.
    pub(crate) fn next_id(&self) -> u16 {
        self.id_of(self.ring.len())
    }

    /// Takes a message that is sent now; everything older has been resent.
    pub(crate) fn push(&mut self, delivery: Delivery) -> u16 {
        assert!(self.has_room() && self.is_resent(), "the caller asks first");
        let id = self.next_id();
        self.ring.push_back(Stage::Received(delivery));
        self.resend_at = self.ring.len();
        self.release_at = self.ring.len();
        self.outstanding += 1;
        id
    }

    /// PUBACK. Answers the message it ends, if it was there.
    pub(crate) fn puback(&mut self, id: u16) -> Result<Option<Delivery>, Violation> {
        match self.stage_mut(id) {
            Some(Stage::Received(delivery)) if delivery.qos == QoS::ExactlyOnce => {
                Err(Violation::Protocol("PUBACK for a QoS 2 message"))
            }
            Some(Stage::Received(_)) => Ok(self.finish(id)),
            _ => Ok(None),
        }
    }

    /// PUBREC that accepts. Answers whether the identifier is known, and the message it hands over.
    pub(crate) fn pubrec(&mut self, id: u16) -> Result<(bool, Option<Delivery>), Violation> {
        let Some(at) = self.place_of(id) else { return Ok((false, None)) };
        let Some(stage) = self.ring.get_mut(at) else { return Ok((false, None)) };
        match stage {
            Stage::Received(delivery) if delivery.qos == QoS::ExactlyOnce => {
                if at >= self.resend_at && at < self.release_at {
                    // Answered late for the last connection: its PUBREL is sent on this one.
                    self.outstanding += 1;
                }
                match std::mem::replace(stage, Stage::Completed) {
                    Stage::Received(delivery) => Ok((true, Some(delivery))),
                    Stage::Completed | Stage::Done => Ok((true, None)),
                }
            }
            Stage::Received(_) => Err(Violation::Protocol("PUBREC for a QoS 1 message")),
            Stage::Completed => Ok((true, None)),
            Stage::Done => Ok((false, None)),
        }
    }

    /// PUBCOMP, or a PUBREC that refuses: the message is done with.
    pub(crate) fn finish(&mut self, id: u16) -> Option<Delivery> {
        let at = self.place_of(id)?;
        let stage = std::mem::replace(self.ring.get_mut(at)?, Stage::Done);
        let is_sent = match stage {
            Stage::Received(_) => at < self.resend_at,
            Stage::Completed => at < self.release_at,
            Stage::Done => false,
        };
        if is_sent {
            self.outstanding -= 1;
        }
        while matches!(self.ring.front(), Some(Stage::Done)) {
            self.ring.pop_front();
            self.first = (self.first + 1) % IDS;
            self.resend_at = self.resend_at.saturating_sub(1);
            self.release_at = self.release_at.saturating_sub(1);
        }
        match stage {
            Stage::Received(delivery) => Some(delivery),
            Stage::Completed | Stage::Done => None,
        }
    }

    /// Gives up all of it: the session ends.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Delivery> + use<> {
        let ring = std::mem::take(self).ring;
        ring.into_iter().filter_map(|stage| match stage {
            Stage::Received(delivery) => Some(delivery),
            Stage::Completed | Stage::Done => None,
        })
    }

    fn stage_mut(&mut self, id: u16) -> Option<&mut Stage> {
        let at = self.place_of(id)?;
        self.ring.get_mut(at)
    }

    fn place_of(&self, id: u16) -> Option<usize> {
        let place = (usize::from(id).checked_sub(1)? + IDS - self.first) % IDS;
        (place < self.ring.len()).then_some(place)
    }

    fn id_of(&self, place: usize) -> u16 {
        let zero_based = (self.first + place) % IDS;
        u16::try_from(zero_based + 1).expect("a remainder of 65,535 plus one fits 16 bits")
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
        for _ in 0..IDS - 2 {
            let id = flight.push(delivery(QoS::AtLeastOnce));
            assert_ne!(id, stuck);
            assert!(flight.puback(id).unwrap().is_some());
        }
        assert!(!flight.has_room() && flight.outstanding() == 1);
        assert!(flight.puback(stuck).unwrap().is_some());
        assert!(flight.has_room() && flight.outstanding() == 0);
        let ids: Vec<u16> = (0..4).map(|_| flight.push(delivery(QoS::AtLeastOnce))).collect();
        assert_eq!(ids, [65_535, 1, 2, 3]);
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
        assert!(flight.finish(third).is_none());
        assert_eq!(flight.outstanding(), 2);
        assert!(flight.finish(second).is_none());
        assert!(matches!(flight.pubrec(second), Ok((false, None))));
    }
}
