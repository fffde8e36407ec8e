//! Steps of the wall clock, which the receive time follows forward.
//!
//! A step is no time that has passed: every duration leaves it out, as ON RESTART PAUSE leaves downtime
//! out, whatever the rule's own ON RESTART says. Only windows by receive time stand on the clock itself:
//! those whose end it leaps over have ended.

use crate::clock::Timestamp;

/// The receive time goes from one instant to a later one, and nothing happens in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leap {
    /// What the clock read before the step.
    pub from: Timestamp,
    /// What it reads after it; not before `from`.
    pub to: Timestamp,
}

impl Leap {
    /// How far, milliseconds.
    pub(super) fn millis(self) -> i64 {
        self.to.as_millis().saturating_sub(self.from.as_millis())
    }
}
