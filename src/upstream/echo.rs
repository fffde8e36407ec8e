//! Knows again what the gateway itself has published, when the broker sends it back.
//!
//! MQTT 5 has better means: No Local, and a user property that says by whom a message went
//! (`super::mark`). With 3.1.1 a message is known by its topic and payload alone: each one sent is
//! expected back once, for [`limits::UPSTREAM_ECHO_WAIT`], if the gateway subscribes to its topic. Of equal
//! messages it makes no difference which is passed over.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limits;

/// What was sent and has not come back.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    hasher: RandomState,
    /// When each was sent, for every time it is expected.
    expected: HashMap<u64, SmallVec<[Timestamp; 1]>, RandomState>,
    /// In the order of sending, with those that have come back since.
    sent: VecDeque<(Timestamp, u64)>,
}

impl Echoes {
    /// The message has been sent, and will come back.
    pub(super) fn expect(&mut self, topic: &str, payload: &[u8], now: Timestamp) {
        self.forget_old(now);
        if self.sent.len() >= limits::UPSTREAM_ECHOES_MAX
            && let Some((at, oldest)) = self.sent.pop_front()
        {
            self.forget(oldest, at);
        }
        let key = self.key(topic, payload);
        self.expected.entry(key).or_default().push(now);
        self.sent.push_back((now, key));
    }

    /// Whether the message is one of those; it is then expected once less.
    pub(super) fn is_echo(&mut self, topic: &str, payload: &[u8], now: Timestamp) -> bool {
        self.forget_old(now);
        if self.expected.is_empty() {
            return false;
        }
        let Entry::Occupied(mut times) = self.expected.entry(self.key(topic, payload)) else {
            return false;
        };
        times.get_mut().remove(0);
        if times.get().is_empty() {
            times.remove();
        }
        true
    }

    fn key(&self, topic: &str, payload: &[u8]) -> u64 {
        self.hasher.hash_one((topic, payload))
    }

    /// What was sent at `at` is not expected any more, if it has not come back.
    fn forget(&mut self, key: u64, at: Timestamp) {
        let Entry::Occupied(mut times) = self.expected.entry(key) else { return };
        times.get_mut().retain(|sent| *sent > at);
        if times.get().is_empty() {
            times.remove();
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.sent.front().copied()
            && now.since(at) > limits::UPSTREAM_ECHO_WAIT
        {
            self.sent.pop_front();
            self.forget(key, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::EPOCH + std::time::Duration::from_millis(millis)
    }

    #[test]
    fn each_message_sent_is_known_again_once() {
        let mut echoes = Echoes::default();
        assert!(!echoes.is_echo("t", b"1", at(0)));
        for _ in 0..2 {
            echoes.expect("t", b"1", at(0));
        }
        assert!(!echoes.is_echo("t", b"2", at(1)) && !echoes.is_echo("u", b"1", at(1)));
        assert!(echoes.is_echo("t", b"1", at(1)) && echoes.is_echo("t", b"1", at(2)));
        assert!(!echoes.is_echo("t", b"1", at(3)), "a third one is somebody else's");
    }

    #[test]
    fn what_does_not_come_back_is_forgotten() {
        let mut echoes = Echoes::default();
        let late = at(1) + limits::UPSTREAM_ECHO_WAIT;
        echoes.expect("t", b"1", at(0));
        echoes.expect("t", b"1", at(1));
        assert!(echoes.is_echo("t", b"1", late) && !echoes.is_echo("t", b"1", late));
        for n in 0..=limits::UPSTREAM_ECHOES_MAX {
            echoes.expect("t", &n.to_le_bytes(), late);
        }
        assert!(!echoes.is_echo("t", &0_usize.to_le_bytes(), late), "more than there may be");
        assert!(echoes.is_echo("t", &1_usize.to_le_bytes(), late));
        assert!(echoes.sent.len() <= limits::UPSTREAM_ECHOES_MAX);
    }
}
