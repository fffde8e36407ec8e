//! What a shard may take or give in a second: the limits of provisioned streams.
//!
//! An allowance refills continuously up to what one second gives (Kinesis, "Quotas and limits"). A record larger
//! than a second's bytes goes through when the allowance is full, and what follows waits until that is
//! made up for.

use std::time::Duration;

use crate::clock::Timestamp;

/// Records that a shard takes in a second.
const RECORDS_IN: f64 = 1000.0;
/// Bytes of data and keys that it takes.
const BYTES_IN: f64 = 1_048_576.0;
/// Places that it gives (`GetShardIterator`).
const PLACES_OUT: f64 = 5.0;
/// Reads that it answers.
const READS_OUT: f64 = 5.0;
/// Bytes of data and keys that it gives.
const BYTES_OUT: f64 = 2.0 * BYTES_IN;

/// What is left of a second.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    calls_max: f64,
    bytes_max: f64,
    calls: f64,
    /// Negative after something larger than a second's bytes.
    bytes: f64,
    at: Option<Timestamp>,
}

impl Allowance {
    /// 1,000 records and 1 MiB a second.
    pub fn to_write() -> Allowance {
        Allowance::full(RECORDS_IN, BYTES_IN)
    }

    /// 5 reads and 2 MiB a second.
    pub fn to_read() -> Allowance {
        Allowance::full(READS_OUT, BYTES_OUT)
    }

    /// 5 places a second.
    pub fn to_place() -> Allowance {
        Allowance::full(PLACES_OUT, BYTES_OUT)
    }

    /// 2 MiB a second in any number of calls: what one consumer is pushed of a shard.
    pub fn to_push() -> Allowance {
        Allowance::full(f64::MAX, BYTES_OUT)
    }

    fn full(calls_max: f64, bytes_max: f64) -> Allowance {
        Allowance { calls_max, bytes_max, calls: calls_max, bytes: bytes_max, at: None }
    }

    /// Takes one call and `bytes`, if there is as much left at `now`.
    pub fn take(&mut self, bytes: usize, now: Timestamp) -> bool {
        self.refill(now);
        #[expect(clippy::cast_precision_loss, reason = "records are far below 2^52 bytes")]
        let bytes = bytes as f64;
        // A little tolerance: what refills is rounded.
        let is_left = self.calls >= 1.0 - 1e-6 && self.bytes >= bytes.min(self.bytes_max) - 1e-3;
        if is_left {
            self.calls -= 1.0;
            self.bytes -= bytes;
        }
        is_left
    }

    /// Takes one call whose bytes are known only later ([`Allowance::spend`]), if anything is left at `now`.
    pub fn begin(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        let is_left = self.calls >= 1.0 - 1e-6 && self.bytes > 0.0;
        if is_left {
            self.calls -= 1.0;
        }
        is_left
    }

    /// Takes the bytes of a call that has begun.
    pub fn spend(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "pages are far below 2^52 bytes")]
        let bytes = bytes as f64;
        self.bytes -= bytes;
    }

    /// How long after `now` something is left, if nothing is taken before.
    pub fn wait(&mut self, now: Timestamp) -> Duration {
        self.refill(now);
        let missing = (-self.bytes / self.bytes_max).max(0.0);
        let is_over = self.bytes <= 0.0;
        // A timestamp has milliseconds: one more, so that as much has come by then.
        Duration::from_secs_f64(missing) + Duration::from_millis(u64::from(is_over))
    }

    /// Whether it is as full as at the start at `now`, so that it need not be remembered.
    pub fn is_full(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        self.calls >= self.calls_max && self.bytes >= self.bytes_max
    }

    fn refill(&mut self, now: Timestamp) {
        let seconds = self.at.map_or(0.0, |at| now.since(at).as_secs_f64());
        self.calls = (self.calls + seconds * self.calls_max).min(self.calls_max);
        self.bytes = (self.bytes + seconds * self.bytes_max).min(self.bytes_max);
        self.at = self.at.max(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    /// How many of so many small records are admitted at a time.
    fn admitted(rate: &mut Allowance, count: usize, millis: i64) -> usize {
        (0..count).filter(|_| rate.take(10, at(millis))).count()
    }

    #[test]
    fn a_thousand_records_a_second_are_taken() {
        let mut rate = Allowance::to_write();
        assert_eq!(admitted(&mut rate, 1500, 0), 1000);
        assert_eq!(admitted(&mut rate, 1500, 500), 500);
        assert_eq!(admitted(&mut rate, 1500, 500), 0);
        assert_eq!(admitted(&mut rate, 1500, 60_000), 1000, "no more than a second is saved up");
        assert_eq!(admitted(&mut rate, 1500, 10), 0, "a clock that is set back gives nothing");
    }

    #[test]
    fn a_mebibyte_a_second_is_taken_and_a_larger_record_is_made_up_for() {
        let mut rate = Allowance::to_write();
        assert!(rate.take(600_000, at(0)) && !rate.take(600_000, at(0)));
        assert!(rate.take(600_000, at(200)));
        let mut rate = Allowance::to_write();
        assert!(rate.take(4 << 20, at(0)), "4 MiB at once when nothing was taken");
        assert!(!rate.take(1, at(2900)));
        assert!(rate.take(1, at(3100)));
    }

    #[test]
    fn two_mebibytes_a_second_are_pushed() {
        let mut rate = Allowance::to_push();
        let (mut millis, mut pushed) = (0, 0_usize);
        while millis < 10_000 {
            let wait = rate.wait(at(millis));
            if wait.is_zero() {
                rate.spend(100_000);
                pushed += 100_000;
            }
            millis += i64::try_from(wait.as_millis()).unwrap();
        }
        // Ten seconds' worth, and the second that was saved up.
        let expected = 11 * (2 << 20);
        assert!((expected - 200_000..expected + 200_000).contains(&pushed), "{pushed}");
    }

    #[test]
    fn five_reads_a_second_are_answered_and_large_pages_fewer() {
        let mut rate = Allowance::to_read();
        assert_eq!((0..9).filter(|_| rate.begin(at(0))).count(), 5);
        assert!(rate.begin(at(200)) && !rate.begin(at(200)));
        assert!(!rate.is_full(at(300)) && rate.is_full(at(1300)));
        // 10 MiB are five seconds' worth.
        assert!(rate.begin(at(2000)));
        rate.spend(10 << 20);
        assert!(!rate.begin(at(5900)) && rate.begin(at(6100)));
    }
}
