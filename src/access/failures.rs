//! Which addresses have failed to log in too often, and have to wait.
//!
//! A bucket for each user name tried from an address, and a larger one for the address. A failure takes
//! one from both, and what was taken comes back over [`WINDOW`]. While one of the two is empty, who comes from that
//! address (with that name) is refused unheard. IPv6 addresses count by their network of 64 bits, which one machine
//! has as a whole. The table is bounded: when it is full, those that have nearly recovered are forgotten.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::rate::network;
use crate::clock::Timestamp;
use crate::limits::FAILURES_TRACKED_MAX;

/// How long an empty bucket takes to be full again.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// User names that may each fail as often as allowed before their address is refused as a whole.
const NAMES_PER_ADDRESS: f64 = 10.0;

#[derive(Debug)]
struct Bucket {
    /// Failures not yet forgiven.
    failures: f64,
    at: Timestamp,
}

/// The addresses that failed.
#[derive(Debug)]
pub(super) struct Failures {
    failures_max: f64,
    /// By address, and by address and name, both hashed: names are the sender's to choose the length of.
    buckets: Mutex<HashMap<u64, Bucket, foldhash::fast::RandomState>>,
    hasher: RandomState,
}

impl Failures {
    /// So many failures of a name, in the time of [`WINDOW`], are let pass.
    pub(super) fn new(failures_max: u32) -> Failures {
        Failures {
            failures_max: f64::from(failures_max),
            buckets: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Whether who comes from there with that name has to wait.
    pub(super) fn is_blocked(&self, address: IpAddr, name: Option<&str>, now: Timestamp) -> bool {
        let buckets = self.buckets.lock();
        self.keys(address, name).into_iter().any(|(key, max)| {
            buckets.get(&key).is_some_and(|bucket| bucket.left(max, now) > max - 1.0)
        })
    }

    /// Counts a failure.
    pub(super) fn note(&self, address: IpAddr, name: Option<&str>, now: Timestamp) {
        let keys = self.keys(address, name);
        let mut buckets = self.buckets.lock();
        if buckets.len() + keys.len() > FAILURES_TRACKED_MAX {
            let recovered = self.failures_max / 2.0;
            buckets.retain(|_, bucket| bucket.left(self.failures_max, now) > recovered);
            if buckets.len() + keys.len() > FAILURES_TRACKED_MAX {
                buckets.clear();
            }
        }
        for (key, max) in keys {
            let bucket = buckets.entry(key).or_insert(Bucket { failures: 0.0, at: now });
            bucket.failures = (bucket.left(max, now) + 1.0).min(max);
            bucket.at = now;
        }
    }

    fn keys(&self, address: IpAddr, name: Option<&str>) -> [(u64, f64); 2] {
        let network = network(address);
        [
            (self.hasher.hash_one((0_u8, network, name)), self.failures_max),
            (self.hasher.hash_one((1_u8, network)), self.failures_max * NAMES_PER_ADDRESS),
        ]
    }
}

impl Bucket {
    fn left(&self, max: f64, now: Timestamp) -> f64 {
        let forgiven = now.since(self.at).as_secs_f64() / WINDOW.as_secs_f64() * max;
        (self.failures - forgiven).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_name_that_fails_too_often_waits_and_others_do_not() {
        let failures = Failures::new(3);
        let now = Timestamp::EPOCH;
        for _ in 0..3 {
            assert!(!failures.is_blocked(HERE, Some("a"), now));
            failures.note(HERE, Some("a"), now);
        }
        assert!(failures.is_blocked(HERE, Some("a"), now));
        assert!(!failures.is_blocked(HERE, Some("b"), now));
        assert!(!failures.is_blocked(THERE, Some("a"), now));
        assert!(failures.is_blocked(HERE, Some("a"), now + Duration::from_secs(19)));
        assert!(!failures.is_blocked(HERE, Some("a"), now + Duration::from_secs(21)));
    }

    #[test]
    fn an_address_that_tries_many_names_waits_as_a_whole() {
        let failures = Failures::new(3);
        let now = Timestamp::EPOCH;
        let network: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        for n in 0..30 {
            failures.note(network, Some(&n.to_string()), now);
        }
        assert!(failures.is_blocked(network, Some("new"), now));
        assert!(failures.is_blocked(neighbour, None, now));
        assert!(!failures.is_blocked(HERE, Some("new"), now));
    }

    #[test]
    fn the_table_is_bounded() {
        let failures = Failures::new(1);
        for n in 0..u32::try_from(FAILURES_TRACKED_MAX).unwrap() + 1000 {
            failures.note(IpAddr::from(n.to_be_bytes()), None, Timestamp::EPOCH);
        }
        assert!(failures.buckets.lock().len() <= FAILURES_TRACKED_MAX);
    }
}
