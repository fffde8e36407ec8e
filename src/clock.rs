//! Time: [`Timestamp`], and the only reader of a clock.
//!
//! Everything below the gateway takes `now` as an argument, so that recorded telemetry, tests and
//! production run the same code. [`Clock`] follows the wall clock forward and never goes back; what
//! is measured in [`Clock::steady`] no step of the wall clock moves, nor do NTP slew and daylight
//! saving.

use std::fmt;
use std::ops::Add;
use std::ops::Sub;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The wall clock has been set when it is ahead of the gateway's by this: less is what reading two
/// clocks one after the other, or a leap second smeared, can give.
const CLOCK_STEP_MIN: Duration = Duration::from_secs(1);

/// How often the two clocks are read to tie one to the other. A thread that is held up between its two
/// readings would leave the gateway's clock behind by as much until the next start; that it is held up
/// within a microsecond's work each of eight times does not happen.
const TIES: usize = 8;

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

/// The process's clock: the wall clock, except that it never goes back.
///
/// Under it is the monotonic clock, tied to the wall clock at the start; the *lead* is how far the
/// wall clock has been set forward since. A forward step of at least [`CLOCK_STEP_MIN`] is seen by
/// the next reading and followed from then on. A backward step is not: the time goes on from where it
/// was, until the next start. A laptop or virtual machine that slept steps forward when it wakes: the
/// monotonic clock stood still. Copies share the lead.
///
/// Whoever measures durations takes [`Clock::steady`], which no step moves.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    anchored_at: Timestamp,
    /// Milliseconds; only grows. Written by [`Clock::follow`] alone.
    lead: &'static AtomicI64,
}

impl Clock {
    /// Ties the monotonic clock to the wall clock. For the life of the process: what copies share is
    /// never given back.
    pub fn start() -> Self {
        let mut closest = Tie::read();
        for _ in 1..TIES {
            let tie = Tie::read();
            if tie.apart < closest.apart {
                closest = tie;
            }
        }
        let Tie { anchor, anchored_at, .. } = closest;
        Clock { anchor, anchored_at, lead: Box::leak(Box::default()) }
    }

    /// The current time. It never goes back, but may jump forward.
    pub fn now(&self) -> Timestamp {
        // In this order: a thread that is held up in between sees the wall clock late, never ahead.
        let wall = read_wall();
        self.follow(wall, self.steady())
    }

    /// The time by both clocks, and the lead moved where the wall clock has been set forward.
    fn follow(&self, wall: Timestamp, steady: Timestamp) -> Timestamp {
        let lead = self.lead();
        let now = steady + lead;
        if wall.since(now) < CLOCK_STEP_MIN {
            return now;
        }
        let ahead = i64::try_from(wall.since(steady).as_millis()).unwrap_or(i64::MAX);
        let lead = self.lead.fetch_max(ahead, Ordering::AcqRel).max(ahead);
        steady + Duration::from_millis(lead.unsigned_abs())
    }

    /// How far the wall clock has been set forward since the start, as far as anybody has seen.
    pub fn lead(&self) -> Duration {
        Duration::from_millis(self.lead.load(Ordering::Acquire).unsigned_abs())
    }

    /// How far the wall clock has been set back behind [`Clock::now`]; zero below [`CLOCK_STEP_MIN`].
    pub fn behind(&self) -> Duration {
        // In this order: a thread that is held up in between sees less than there is.
        let now = self.now();
        let behind = now.since(read_wall());
        if behind < CLOCK_STEP_MIN { Duration::ZERO } else { behind }
    }

    /// The time as if the wall clock had never been set: durations are measured in it.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn steady(&self) -> Timestamp {
        self.anchored_at + Instant::now().duration_since(self.anchor)
    }

    /// A point on the monotonic clock, for measuring how long something took.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn instant() -> Instant {
        Instant::now()
    }

    /// The instant at which [`Clock::now`] will read `at` unless the clock is set; now when that has
    /// passed.
    pub fn instant_at(&self, at: Timestamp) -> Instant {
        self.instant_at_steady(at - self.lead())
    }

    /// The instant at which [`Clock::steady`] will read `at`; now when that has passed.
    pub fn instant_at_steady(&self, at: Timestamp) -> Instant {
        self.anchor + at.since(self.anchored_at)
    }

    /// Sets the wall clock forward, as this clock sees it.
    #[cfg(test)]
    pub fn step(&self, by: Duration) {
        self.follow(self.now() + by, self.steady());
    }
}

/// One reading of both clocks.
struct Tie {
    /// The monotonic clock when the wall clock read exactly `anchored_at`.
    anchor: Instant,
    anchored_at: Timestamp,
    /// The time between the two readings: by so much at most is one wrong about the other.
    apart: Duration,
}

impl Tie {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    fn read() -> Tie {
        let before = Instant::now();
        let wall = since_epoch();
        let apart = before.elapsed();
        // A timestamp has whole milliseconds: the anchor is where the one of `wall` began.
        let begun = Duration::from_nanos(u64::from(wall.subsec_nanos() % 1_000_000));
        let anchor = before.checked_sub(begun).unwrap_or(before);
        Tie { anchor, anchored_at: Timestamp::EPOCH + wall, apart }
    }
}

/// The wall clock, zero before 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

fn read_wall() -> Timestamp {
    Timestamp::EPOCH + since_epoch()
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

    #[test]
    fn clocks_started_on_a_busy_machine_read_the_wall_clock() {
        // More threads than cores: many are held up between their two readings.
        let threads: Vec<_> = (0..16)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..2_000 {
                        let clock = Clock::start();
                        let before = read_wall();
                        let read = clock.steady();
                        let after = read_wall();
                        // One more is the rounding of three readings.
                        let slack = Duration::from_millis(1);
                        assert!(
                            read + slack >= before,
                            "{} behind",
                            before.since(read).as_millis()
                        );
                        assert!(read <= after + slack, "{} ahead", read.since(after).as_millis());
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a clock read the wall clock");
        }
    }

    #[test]
    fn the_clock_follows_the_wall_forward_and_never_back() {
        let clock = Clock::start();
        let at = Timestamp::from_millis;
        assert_eq!(clock.follow(at(1_999), at(1_000)), at(1_000), "as much may be drift");
        assert_eq!(clock.follow(at(2_000), at(1_000)), at(2_000));
        assert_eq!(clock.lead(), Duration::from_secs(1));
        assert_eq!(clock.follow(at(5), at(1_010)), at(2_010), "set back");
        assert_eq!(clock.follow(at(2_015), at(1_015)), at(2_015), "set right again");
        assert_eq!(clock.follow(at(9_000), at(1_020)), at(9_000));
        let copy = clock;
        assert_eq!(copy.follow(at(0), at(1_021)), at(9_001), "copies share the lead");
    }

    #[test]
    fn no_step_moves_the_steady_time() {
        let clock = Clock::start();
        let (steady, now) = (clock.steady(), clock.now());
        clock.step(Duration::from_secs(3600));
        assert!(clock.now() >= now + Duration::from_secs(3600));
        assert!(clock.steady() < steady + Duration::from_secs(60));
        let until = clock.instant_at(clock.now() + Duration::from_secs(10));
        assert!(until.duration_since(Clock::instant()) <= Duration::from_secs(10));
        assert!(
            clock.behind() >= Duration::from_secs(3599),
            "it is ahead of the real wall clock now"
        );
    }
}
