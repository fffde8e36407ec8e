//! Trying again: how long to wait first, and what there is to say about the last failure.
//!
//! Waits are exponential with full jitter: the n-th is drawn evenly from zero to `first` × 2^(n-1), at
//! most `max`. Drawing from the whole range spreads the retries of many callers better than adding a
//! little noise to a common schedule does (AWS Architecture Blog, "Exponential backoff and jitter").

use std::error::Error;
use std::time::Duration;

use crate::clock::Timestamp;

/// A schedule of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait after any failure.
    pub max: Duration,
}

impl Backoff {
    /// The longest wait after `failures` failures in a row; zero after none.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// A wait after `failures` failures in a row.
    pub fn wait(&self, failures: u32) -> Duration {
        self.ceiling(failures).mul_f64(rand::random())
    }
}

/// Something that went wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// What, with its causes.
    pub message: String,
}

/// An error and all its causes, in one line.
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The arrival of what has waited longest, for a gauge: seconds since the epoch, 0 when nothing waits.
pub fn to_unix_seconds(oldest: Option<Timestamp>) -> i64 {
    oldest.map_or(0, |at| at.as_millis() / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Backoff =
        Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

    #[test]
    fn ceiling_doubles_up_to_the_maximum() {
        let seconds: Vec<u64> =
            (0..9).map(|failures| SCHEDULE.ceiling(failures).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(SCHEDULE.ceiling(u32::MAX), SCHEDULE.max);
    }

    #[test]
    fn wait_stays_under_the_ceiling_and_spreads() {
        let waits: Vec<Duration> = (0..200).map(|_| SCHEDULE.wait(4)).collect();
        assert!(waits.iter().all(|wait| *wait <= SCHEDULE.ceiling(4)));
        let early = waits.iter().filter(|wait| **wait < SCHEDULE.ceiling(4) / 2).count();
        assert!((50..150).contains(&early), "{early} of 200 in the first half");
    }
}
