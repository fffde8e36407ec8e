//! How fast is too fast: token buckets for clients and addresses.
//!
//! A bucket holds a second's worth, and may be overdrawn by one message; then nothing more is taken until
//! it is level again. So a client that sends in bursts is not slowed down while its average keeps to the
//! rate, and a message larger than a second's worth passes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::config::RateConfig;
use crate::limits::RATES_TRACKED_MAX;

/// Tokens that come back with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// A second's worth.
    rate: f64,
    left: f64,
    at: Timestamp,
}

impl Bucket {
    fn new(rate: u64, now: Timestamp) -> Bucket {
        // A rate that this rounds is one that no machine reaches.
        let rate = rate as f64;
        Bucket { rate, left: rate, at: now }
    }

    fn refill(&mut self, now: Timestamp) {
        let come = now.since(self.at).as_secs_f64() * self.rate;
        self.left = (self.left + come).min(self.rate);
        self.at = now;
    }

    /// Takes what is asked for; answers when the bucket is level again if it is overdrawn.
    fn take(&mut self, tokens: f64, now: Timestamp) -> Option<Timestamp> {
        self.refill(now);
        self.left -= tokens;
        // Rounded up to the clock's milliseconds.
        (self.left < 0.0).then(|| {
            let wait = Duration::from_secs_f64(-self.left / self.rate);
            now + wait + Duration::from_millis(1)
        })
    }
}

/// What a client went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// `rate.publishes_max`
    Publishes,
    /// `rate.bytes_max`
    Bytes,
}

impl Over {
    /// The metrics' label.
    pub fn label(self) -> &'static str {
        match self {
            Over::Publishes => "publishes",
            Over::Bytes => "bytes",
        }
    }
}

/// How fast one client publishes.
#[derive(Clone, Debug)]
pub struct Pace {
    publishes: Option<Bucket>,
    bytes: Option<Bucket>,
    until: Option<Timestamp>,
    has_been_over: bool,
}

impl Pace {
    /// `None` when there is no bound.
    pub fn new(config: &RateConfig, now: Timestamp) -> Option<Box<Pace>> {
        let bucket = |max: u64| (max > 0).then(|| Bucket::new(max, now));
        let (publishes, bytes) = (bucket(config.publishes_max), bucket(config.bytes_max as u64));
        let is_bound = publishes.is_some() || bytes.is_some();
        is_bound.then(|| Box::new(Pace { publishes, bytes, until: None, has_been_over: false }))
    }

    /// Counts a PUBLISH of `bytes`. Answers what is over its bound now, if anything.
    pub fn count(&mut self, bytes: usize, now: Timestamp) -> Option<Over> {
        let bytes = bytes as f64;
        let mut over = None;
        for (bucket, tokens, which) in
            [(&mut self.publishes, 1.0, Over::Publishes), (&mut self.bytes, bytes, Over::Bytes)]
        {
            if let Some(until) = bucket.as_mut().and_then(|bucket| bucket.take(tokens, now)) {
                self.until = self.until.max(Some(until));
                over = Some(which);
            }
        }
        over
    }

    /// Until when nothing more is taken.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Goes on, if it is time.
    pub fn resume(&mut self, now: Timestamp) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
    }

    /// Whether this is the first time that the client is over a bound.
    pub fn is_first(&mut self) -> bool {
        !std::mem::replace(&mut self.has_been_over, true)
    }
}

/// How fast clients connect.
#[derive(Debug)]
pub struct Arrivals {
    config: RateConfig,
    all: Mutex<Option<Bucket>>,
    by_address: Mutex<HashMap<IpAddr, Bucket, foldhash::fast::RandomState>>,
}

impl Arrivals {
    /// Nobody has come yet.
    pub fn new(config: &RateConfig) -> Arrivals {
        Arrivals { config: config.clone(), all: Mutex::default(), by_address: Mutex::default() }
    }

    /// Whether one more may come from there. One that may not costs nothing.
    ///
    /// # Errors
    /// The label of the bound that it is over.
    pub fn admit(&self, address: IpAddr, now: Timestamp) -> Result<(), &'static str> {
        let RateConfig { connects_max, connects_per_address_max, .. } = self.config;
        let take = |bucket: &mut Bucket| {
            bucket.refill(now);
            let is_fine = bucket.left >= 1.0;
            if is_fine {
                bucket.left -= 1.0;
            }
            is_fine
        };
        if connects_per_address_max > 0 {
            let mut buckets = self.by_address.lock();
            if buckets.len() >= RATES_TRACKED_MAX {
                // Those that are full again have nothing to be remembered for.
                buckets.retain(|_, bucket| {
                    bucket.refill(now);
                    bucket.left < bucket.rate
                });
                if buckets.len() >= RATES_TRACKED_MAX {
                    buckets.clear();
                }
            }
            let bucket = || Bucket::new(connects_per_address_max, now);
            if !take(buckets.entry(network(address)).or_insert_with(bucket)) {
                return Err("connect_rate_of_address");
            }
        }
        if connects_max > 0 {
            let mut all = self.all.lock();
            if !take(all.get_or_insert_with(|| Bucket::new(connects_max, now))) {
                return Err("connect_rate");
            }
        }
        Ok(())
    }
}

/// What one machine has: an IPv4 address, or a network of 64 bits.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn a_client_has_a_second_in_hand_and_then_its_rate() {
        assert!(Pace::new(&RateConfig::default(), at(0)).is_none());
        let config = RateConfig { publishes_max: 10, bytes_max: 1000, ..RateConfig::default() };
        let mut pace = Pace::new(&config, at(0)).unwrap();
        for _ in 0..10 {
            assert_eq!(pace.count(10, at(0)), None);
        }
        assert_eq!(pace.count(10, at(0)), Some(Over::Publishes));
        assert_eq!(pace.until(), Some(at(101)));
        assert!(pace.is_first() && !pace.is_first());
        pace.resume(at(100));
        assert!(pace.until().is_some());
        pace.resume(at(101));
        assert_eq!(pace.until(), None);
        assert_eq!(pace.count(5000, at(2000)), Some(Over::Bytes), "a large one passes, overdrawn");
        assert_eq!(pace.until(), Some(at(2000 + 4000 + 1)));
    }

    #[test]
    fn over_time_no_more_than_the_rate_gets_through() {
        let config = RateConfig { publishes_max: 50, ..RateConfig::default() };
        let mut pace = Pace::new(&config, at(0)).unwrap();
        let mut passed = 0;
        for ms in 0..10_000 {
            pace.resume(at(ms));
            while pace.until().is_none() {
                pace.count(1, at(ms));
                passed += 1;
            }
        }
        assert!((540..=552).contains(&passed), "{passed}: a second's worth, and ten seconds");
    }

    #[test]
    fn connections_are_bounded_by_address_and_in_all() {
        let config =
            RateConfig { connects_max: 5, connects_per_address_max: 2, ..RateConfig::default() };
        let arrivals = Arrivals::new(&config);
        let from = |last: u8, ms| arrivals.admit(IpAddr::from([10, 0, 0, last]), at(ms));
        assert_eq!([from(1, 0), from(1, 0)], [Ok(()), Ok(())]);
        assert_eq!(from(1, 0), Err("connect_rate_of_address"));
        assert_eq!([from(2, 0), from(2, 0), from(3, 0)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(from(4, 0), Err("connect_rate"));
        assert_eq!(from(1, 500), Ok(()));
        for n in 0..u32::try_from(RATES_TRACKED_MAX).unwrap() + 10 {
            arrivals.admit(IpAddr::from(n.to_be_bytes()), at(500)).ok();
        }
        assert!(arrivals.by_address.lock().len() <= RATES_TRACKED_MAX);
    }
}
