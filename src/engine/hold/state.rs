//! One key's state machine: Inactive → Pending → Firing (→ clearing, keeping) → Inactive.
//!
//! [`State`] knows neither its key nor its message nor the timer queue: truth values and times go
//! in, a [`Step`] comes out, and [`State::deadline`] names the next instant at which it wants to be
//! run. Every clock is kept as the instant it started from, never as the instant it ends, so that an
//! edited duration applies at once.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::Cleared;
use crate::engine::Truth;
use crate::engine::hold::timer::Deadline;
use crate::rule::ast::Condition;
use crate::rule::ast::MaxGap;
use crate::rule::ast::OnRestart;
use crate::rule::ast::When;

/// The durations of a WHEN clause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) hold_for: Duration,
    pub(super) clear_for: Duration,
    pub(super) keep: Duration,
    pub(super) max_gap: Option<MaxGap>,
    pub(super) repeat_every: Option<Duration>,
    pub(super) on_restart: OnRestart,
    /// Why an episode ends when nothing special happens.
    pub(super) reason: Cleared,
    /// NO DATA: each message starts the clock over, and ends an episode.
    pub(super) is_absence: bool,
}

impl Terms {
    pub(super) fn of(when: &When) -> Self {
        let reason = if when.clear_when.is_some() { Cleared::ClearWhen } else { Cleared::False };
        Terms {
            hold_for: when.hold_for.node,
            clear_for: when.clear_for,
            keep: when.keep,
            max_gap: when.max_gap,
            // A period of nothing would repeat forever within one instant.
            repeat_every: when.repeat_every.filter(|every| !every.is_zero()),
            on_restart: when.on_restart,
            reason,
            is_absence: matches!(when.condition, Condition::NoData),
        }
    }

    /// Whether time that passed while the gateway was down passed for the rule too.
    pub(super) fn counts_downtime(&self) -> bool {
        self.on_restart == OnRestart::Count
    }

    /// The silence after which a pending (or, `firing`) key is given up.
    fn gap(&self, firing: bool) -> Option<Duration> {
        self.max_gap.filter(|gap| !(firing && gap.hold)).map(|gap| gap.limit)
    }
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is watched; the key only waits to be taken off the disk.
    Inactive,
    /// The condition is true, not yet for long enough.
    Pending,
    /// It has fired and not been cleared.
    Firing {
        /// When it fired.
        fired_at: Timestamp,
        /// When the last record went out: `fired_at`, or the last repetition.
        repeated_at: Timestamp,
        /// Whether its end has begun.
        ending: Ending,
    },
}

/// How near a firing key is to being cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is not.
    No,
    /// CLEAR FOR runs.
    Clearing {
        /// Since when it could clear.
        since: Timestamp,
    },
    /// KEEP runs: it would have been cleared, and is kept.
    Keeping {
        /// Since when.
        since: Timestamp,
        /// What would have cleared it.
        reason: Cleared,
    },
}

/// What a message or a timer did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing that matters after a restart.
    Same,
    /// The state changed; nobody has to be told.
    Moved,
    /// It fires, or repeats.
    Fired,
    /// Its episode ends.
    Cleared {
        /// When the episode had fired.
        fired_at: Timestamp,
        /// Why it ends.
        reason: Cleared,
    },
}

/// The clocks and counts of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// When the condition became true.
    pub(super) since: Timestamp,
    /// Downtime left out of the pending clock, ms. Negative when the wall clock had gone back.
    pub(super) excluded: i64,
    /// The last message whose truth was known (moved by downtime that is left out).
    pub(super) last_known: Timestamp,
    /// TRUE messages of the episode.
    pub(super) samples: u64,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Fire,
    Repeat,
    Clear,
    Unkeep,
    Gap,
}

pub(super) fn shifted(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_add(millis))
}

impl State {
    /// A key of which nothing is known.
    pub(super) fn inactive() -> Self {
        State {
            phase: Phase::Inactive,
            since: Timestamp::EPOCH,
            excluded: 0,
            last_known: Timestamp::EPOCH,
            samples: 0,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.phase != Phase::Inactive
    }

    /// A message with a TRUE condition. It comes before CLEAR WHEN: a message for which both are
    /// true keeps the episode alive.
    pub(super) fn observe_true(&mut self, terms: &Terms, at: Timestamp) -> Step {
        self.samples = self.samples.saturating_add(1);
        self.last_known = at;
        match &mut self.phase {
            Phase::Inactive => {
                *self = State { since: at, excluded: 0, last_known: at, samples: 1, ..*self };
                self.phase = Phase::Pending;
                if terms.hold_for.is_zero() { self.fire(at) } else { Step::Moved }
            }
            Phase::Pending => {
                if terms.is_absence {
                    (self.since, self.excluded) = (at, 0);
                }
                Step::Moved
            }
            Phase::Firing { ending, .. } => {
                *ending = Ending::No;
                Step::Moved
            }
        }
    }

    /// A message ends a silence that has fired; [`State::observe_true`] starts the next one.
    pub(super) fn end_silence(&mut self, terms: &Terms) -> Step {
        match self.phase {
            Phase::Firing { fired_at, .. } if terms.is_absence => self.end(fired_at, Cleared::Data),
            _ => Step::Same,
        }
    }

    /// A message whose condition is FALSE or UNKNOWN.
    pub(super) fn observe_other(
        &mut self,
        terms: &Terms,
        condition: Truth,
        clear: Option<Truth>,
        at: Timestamp,
    ) -> Step {
        let is_false = condition == Truth::False;
        match self.phase {
            Phase::Inactive => Step::Same,
            Phase::Pending if is_false => {
                self.phase = Phase::Inactive;
                Step::Moved
            }
            Phase::Pending => Step::Same,
            Phase::Firing { .. } => {
                let clearing = match clear {
                    None if is_false => Truth::True,
                    None => Truth::Unknown,
                    Some(truth) => truth,
                };
                if !is_false && clearing == Truth::Unknown {
                    return Step::Same;
                }
                self.last_known = at;
                let step = self.apply_clear(terms, clearing, at);
                // The time of the last known message matters only where silence is measured.
                if step == Step::Same && terms.max_gap.is_some() { Step::Moved } else { step }
            }
        }
    }

    fn apply_clear(&mut self, terms: &Terms, clearing: Truth, at: Timestamp) -> Step {
        let Phase::Firing { ending, .. } = &mut self.phase else { return Step::Same };
        match (clearing, *ending) {
            (Truth::True, Ending::No) if terms.clear_for.is_zero() => {
                self.end_or_keep(terms, terms.reason, at)
            }
            (Truth::True, Ending::No) => {
                *ending = Ending::Clearing { since: at };
                Step::Moved
            }
            (Truth::False, Ending::Clearing { .. }) => {
                *ending = Ending::No;
                Step::Moved
            }
            _ => Step::Same,
        }
    }

    /// When the key wants to be run next.
    pub(super) fn deadline(&self, terms: &Terms) -> Option<Deadline> {
        self.next_cause(terms).map(|(deadline, _)| deadline)
    }

    /// When a pending key will fire if nothing else happens.
    pub(super) fn fire_due(&self, terms: &Terms) -> Timestamp {
        shifted(self.since + terms.hold_for, self.excluded)
    }

    /// The earliest deadline. Of those at one instant a record comes before the end of its episode, and
    /// silence comes last, because its limit may be reached but not exceeded.
    fn next_cause(&self, terms: &Terms) -> Option<(Deadline, Cause)> {
        let gap = |firing| {
            let limit = terms.gap(firing)?;
            Some((Deadline::past(self.last_known + limit), Cause::Gap))
        };
        let candidates = match self.phase {
            Phase::Inactive => [None, None, None],
            Phase::Pending => {
                [Some((Deadline::at(self.fire_due(terms)), Cause::Fire)), gap(false), None]
            }
            Phase::Firing { repeated_at, ending, .. } => {
                let repeat = terms
                    .repeat_every
                    .map(|every| (Deadline::at(repeated_at + every), Cause::Repeat));
                match ending {
                    Ending::No => [repeat, gap(true), None],
                    Ending::Clearing { since } => {
                        let clear = (Deadline::at(since + terms.clear_for), Cause::Clear);
                        [repeat, Some(clear), gap(true)]
                    }
                    Ending::Keeping { since, .. } => {
                        [repeat, Some((Deadline::at(since + terms.keep), Cause::Unkeep)), None]
                    }
                }
            }
        };
        // `min_by_key` keeps the first of equals.
        candidates.into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }

    /// Runs what [`State::deadline`] stands for at `at`.
    pub(super) fn run(&mut self, terms: &Terms, at: Timestamp) -> Step {
        let Some((_, cause)) = self.next_cause(terms) else { return Step::Same };
        match (cause, &mut self.phase) {
            (Cause::Fire, _) => self.fire(at),
            (Cause::Repeat, Phase::Firing { repeated_at, .. }) => {
                *repeated_at = at;
                Step::Fired
            }
            (Cause::Gap, Phase::Firing { .. }) => self.end_or_keep(terms, Cleared::Gap, at),
            (Cause::Clear, _) => self.end_or_keep(terms, terms.reason, at),
            (
                Cause::Unkeep,
                &mut Phase::Firing { fired_at, ending: Ending::Keeping { reason, .. }, .. },
            ) => self.end(fired_at, reason),
            (Cause::Gap | Cause::Repeat | Cause::Unkeep, _) => {
                self.phase = Phase::Inactive;
                Step::Moved
            }
        }
    }

    fn fire(&mut self, at: Timestamp) -> Step {
        self.phase = Phase::Firing { fired_at: at, repeated_at: at, ending: Ending::No };
        Step::Fired
    }

    fn end_or_keep(&mut self, terms: &Terms, reason: Cleared, at: Timestamp) -> Step {
        let Phase::Firing { fired_at, ending, .. } = &mut self.phase else { return Step::Same };
        if terms.keep.is_zero() {
            let fired_at = *fired_at;
            return self.end(fired_at, reason);
        }
        *ending = Ending::Keeping { since: at, reason };
        Step::Moved
    }

    fn end(&mut self, fired_at: Timestamp, reason: Cleared) -> Step {
        self.phase = Phase::Inactive;
        Step::Cleared { fired_at, reason }
    }

    /// Takes the key over an outage as ON RESTART says, and answers whether that changed it.
    ///
    /// ON RESTART RESET is about pending keys; the clocks of a firing one pause, since forgetting a
    /// FALSE that has been seen could leave it firing for ever. A repetition missed while down is
    /// never made up for.
    pub(super) fn resume(&mut self, terms: &Terms, alive_until: Timestamp, now: Timestamp) -> bool {
        let before = *self;
        let outage = now.as_millis().saturating_sub(alive_until.as_millis());
        if self.phase == Phase::Pending && terms.on_restart == OnRestart::Reset {
            self.phase = Phase::Inactive;
        } else if terms.counts_downtime() && outage >= 0 {
            self.skip_repeats(terms, now);
        } else {
            self.shift(terms, outage);
        }
        *self != before
    }

    fn shift(&mut self, terms: &Terms, millis: i64) {
        if terms.max_gap.is_some() {
            self.last_known = shifted(self.last_known, millis);
        }
        match &mut self.phase {
            Phase::Inactive => {}
            Phase::Pending => self.excluded = self.excluded.saturating_add(millis),
            Phase::Firing { repeated_at, ending, .. } => {
                if terms.repeat_every.is_some() {
                    *repeated_at = shifted(*repeated_at, millis);
                }
                match ending {
                    Ending::No => {}
                    Ending::Clearing { since } | Ending::Keeping { since, .. } => {
                        *since = shifted(*since, millis);
                    }
                }
            }
        }
    }

    /// Passes over the repetitions due before `now`.
    pub(super) fn skip_repeats(&mut self, terms: &Terms, now: Timestamp) {
        let Phase::Firing { repeated_at, .. } = &mut self.phase else { return };
        let Some(every) = terms.repeat_every else { return };
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        let behind = now.as_millis().saturating_sub(repeated_at.as_millis());
        // The last one due before `now`; one due exactly now is still to come.
        let missed = behind.saturating_sub(1).max(0) / every;
        *repeated_at = shifted(*repeated_at, missed.saturating_mul(every));
    }
}
