//! Time: [`Timestamp`], and the only reader of a clock.
//!
//! Everything below the gateway takes `now` as an argument, so that recorded telemetry, tests and
//! production run the same code. [`Clock`] anchors the monotonic clock to the wall clock once, at
//! start: steps of the wall clock, NTP slew and daylight saving move no duration.

use std::fmt;
use std::ops::Add;
use std::ops::Sub;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// Milliseconds since the Unix epoch, UTC. Saturates instead of overflowing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The epoch itself.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// As milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, rhs: Duration) -> Timestamp {
        let millis = i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, rhs: Duration) -> Timestamp {
        let millis = i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with milliseconds, or the bare number where the calendar ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The process's clock: monotonic, anchored to the wall clock once.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    anchored_at: Timestamp,
}

impl Clock {
    /// Reads the wall clock once; later steps of it are not followed.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn start() -> Self {
        let wall =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { anchor: Instant::now(), anchored_at: Timestamp::EPOCH + wall }
    }

    /// The current time; never goes back.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn now(&self) -> Timestamp {
        self.anchored_at + Instant::now().duration_since(self.anchor)
    }

    /// A point on the monotonic clock, for measuring how long something took.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn instant() -> Instant {
        Instant::now()
    }

    /// The instant at which [`Clock::now`] will read `at`; now when that has passed.
    pub fn instant_at(&self, at: Timestamp) -> Instant {
        self.anchor + at.since(self.anchored_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_saturates_at_both_ends() {
        let far = Timestamp::from_millis(i64::MAX) + Duration::from_secs(1);
        assert_eq!(far.as_millis(), i64::MAX);
        let early = Timestamp::from_millis(i64::MIN) - Duration::from_secs(1);
        assert_eq!(early.as_millis(), i64::MIN);
        assert_eq!(Timestamp::EPOCH.since(far), Duration::ZERO);
    }

    #[test]
    fn timestamp_prints_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_millis(1_594_598_424_502).to_string(),
            "2020-07-13T00:00:24.502Z"
        );
    }
}
