//! One key's state machine: Inactive (→ counting) → Pending → Firing (→ clearing, keeping) → Inactive.
//!
//! [`State`] knows neither its key nor its message nor the timer queue: truth values and times go
//! in, a [`Step`] comes out, and [`State::deadline`] names the next instant at which it wants to be
//! run. Every clock is kept as the instant it started from, never as the instant it ends, so that an
//! edited duration applies at once.
//!
//! With AT LEAST it is the count that is true or false, and a message only adds to it: the count comes
//! true with a message ([`Recent::has`]) and lapses by a timer, which then does what a FALSE message
//! does elsewhere.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::Cleared;
use crate::engine::Truth;
use crate::engine::event_time::shifted;
use crate::engine::hold::recent::Recent;
use crate::engine::timer::Deadline;
use crate::rule::ast::AtLeast;
use crate::rule::ast::Condition;
use crate::rule::ast::MaxGap;
use crate::rule::ast::OnRestart;
use crate::rule::ast::When;

/// The durations of a WHEN clause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) hold_for: Duration,
    pub(super) at_least: Option<AtLeast>,
    /// Whether there is a CLEAR WHEN.
    pub(super) has_clear_when: bool,
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
        let has_clear_when = when.clear_when.is_some();
        let reason = if has_clear_when { Cleared::ClearWhen } else { Cleared::False };
        Terms {
            hold_for: when.hold_for.node,
            at_least: when.at_least,
            has_clear_when,
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
    /// AT LEAST: there have been TRUE messages, not enough of them.
    Counting,
    /// The condition is true, not yet for long enough.
    Pending {
        /// Downtime left out of its clock, ms. Negative when the wall clock had gone back.
        excluded: i64,
    },
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// When the condition became true.
    pub(super) since: Timestamp,
    /// The last message whose truth was known (moved by downtime that is left out).
    pub(super) last_known: Timestamp,
    /// TRUE messages of the episode.
    pub(super) samples: u64,
    /// AT LEAST: the times of the latest TRUE messages. There while they count.
    pub(super) recent: Option<Box<Recent>>,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Fire,
    Repeat,
    Clear,
    Unkeep,
    /// AT LEAST: the count is no longer reached.
    Lapse,
    Gap,
}

impl State {
    /// A key of which nothing is known.
    pub(super) fn inactive() -> Self {
        State {
            phase: Phase::Inactive,
            since: Timestamp::EPOCH,
            last_known: Timestamp::EPOCH,
            samples: 0,
            recent: None,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.phase != Phase::Inactive
    }

    pub(super) fn is_firing(&self) -> bool {
        matches!(self.phase, Phase::Firing { .. })
    }

    /// Whether its records would speak of a message.
    pub(super) fn has_record(&self) -> bool {
        matches!(self.phase, Phase::Pending { .. } | Phase::Firing { .. })
    }

    /// A message with a TRUE condition. It comes before CLEAR WHEN: a message for which both are
    /// true keeps the episode alive.
    pub(super) fn observe_true(
        &mut self,
        terms: &Terms,
        clear: Option<Truth>,
        at: Timestamp,
    ) -> Step {
        if let Some(at_least) = terms.at_least {
            return self.count(terms, at_least, clear, at);
        }
        self.samples = self.samples.saturating_add(1);
        self.last_known = at;
        match &mut self.phase {
            Phase::Inactive | Phase::Counting => self.begin(terms, 1, at),
            Phase::Pending { excluded } => {
                if terms.is_absence {
                    (self.since, *excluded) = (at, 0);
                }
                Step::Moved
            }
            Phase::Firing { ending, .. } => {
                *ending = Ending::No;
                Step::Moved
            }
        }
    }

    /// The condition becomes true with a message, which is the last of `samples`.
    fn begin(&mut self, terms: &Terms, samples: u64, at: Timestamp) -> Step {
        (self.since, self.samples) = (at, samples);
        self.phase = Phase::Pending { excluded: 0 };
        if terms.hold_for.is_zero() { self.fire(at) } else { Step::Moved }
    }

    /// A TRUE message under AT LEAST. One that leaves too few behind it is to a firing key what a
    /// FALSE one is: CLEAR WHEN decides.
    fn count(
        &mut self,
        terms: &Terms,
        at_least: AtLeast,
        clear: Option<Truth>,
        at: Timestamp,
    ) -> Step {
        self.last_known = at;
        let recent = self.recent.get_or_insert_default();
        recent.add(at, &at_least);
        let (is_reached, count) = (recent.has(&at_least), recent.count());
        self.samples = self.samples.saturating_add(1);
        match &mut self.phase {
            Phase::Inactive | Phase::Counting if is_reached => self.begin(terms, count, at),
            Phase::Inactive | Phase::Counting => {
                self.phase = Phase::Counting;
                Step::Moved
            }
            Phase::Pending { .. } => Step::Moved,
            Phase::Firing { ending, .. } if is_reached => {
                *ending = Ending::No;
                Step::Moved
            }
            Phase::Firing { .. } => {
                let step = self.apply_clear(terms, clear.unwrap_or(Truth::Unknown), at);
                if step == Step::Same { Step::Moved } else { step }
            }
        }
    }

    /// Silence is watched from `at` on, before anything has been heard.
    pub(super) fn expect(&mut self, at: Timestamp) {
        *self = State { since: at, last_known: at, ..State::inactive() };
        self.phase = Phase::Pending { excluded: 0 };
    }

    /// A message ends a silence that has fired; [`State::observe_true`] starts the next one.
    pub(super) fn end_silence(&mut self, terms: &Terms, at: Timestamp) -> Step {
        match self.phase {
            Phase::Firing { fired_at, .. } if terms.is_absence => {
                self.end(terms, fired_at, Cleared::Data, at)
            }
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
            Phase::Counting | Phase::Pending { .. } if is_false && terms.at_least.is_some() => {
                self.last_known = at;
                if terms.max_gap.is_some() { Step::Moved } else { Step::Same }
            }
            Phase::Pending { .. } if is_false => {
                self.phase = Phase::Inactive;
                Step::Moved
            }
            Phase::Counting | Phase::Pending { .. } => Step::Same,
            Phase::Firing { .. } => {
                let clearing = match clear {
                    None if is_false && terms.at_least.is_none() => Truth::True,
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
        let excluded = match self.phase {
            Phase::Pending { excluded } => excluded,
            Phase::Inactive | Phase::Counting | Phase::Firing { .. } => 0,
        };
        shifted(self.since + terms.hold_for, excluded)
    }

    /// The earliest deadline. Of those at one instant a record comes before the end of its episode, and
    /// silence comes last, because its limit may be reached but not exceeded.
    fn next_cause(&self, terms: &Terms) -> Option<(Deadline, Cause)> {
        let gap = |firing| {
            let limit = terms.gap(firing)?;
            Some((Deadline::past(self.last_known + limit), Cause::Gap))
        };
        let lapse = || {
            let lapses = self.recent.as_ref()?.lapses(&terms.at_least?)?;
            Some((Deadline::past(lapses), Cause::Lapse))
        };
        let candidates = match self.phase {
            Phase::Inactive => [None, None, None],
            Phase::Counting => {
                let ends = || self.recent.as_ref()?.ends(&terms.at_least?);
                [ends().map(|ends| (Deadline::past(ends), Cause::Lapse)), gap(false), None]
            }
            Phase::Pending { .. } => {
                let fire = (Deadline::at(self.fire_due(terms)), Cause::Fire);
                [Some(fire), lapse(), gap(false)]
            }
            Phase::Firing { repeated_at, ending, .. } => {
                let repeat = terms
                    .repeat_every
                    .map(|every| (Deadline::at(repeated_at + every), Cause::Repeat));
                match ending {
                    Ending::No if terms.has_clear_when => [repeat, gap(true), None],
                    Ending::No => [repeat, lapse(), gap(true)],
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
            (Cause::Lapse, _) => self.lapse(terms, at),
            (
                Cause::Unkeep,
                &mut Phase::Firing { fired_at, ending: Ending::Keeping { reason, .. }, .. },
            ) => self.end(terms, fired_at, reason, at),
            (Cause::Gap | Cause::Repeat | Cause::Unkeep, _) => {
                self.start_over();
                Step::Moved
            }
        }
    }

    /// Nothing is watched any more, and nothing has been counted.
    pub(super) fn start_over(&mut self) {
        (self.phase, self.recent) = (Phase::Inactive, None);
    }

    /// The count was reached up to and including `at`, and is not any more.
    fn lapse(&mut self, terms: &Terms, at: Timestamp) -> Step {
        if let (Some(recent), Some(at_least)) = (&mut self.recent, terms.at_least) {
            recent.forget_up_to(at, &at_least);
        }
        if self.is_firing() {
            return self.apply_clear(terms, Truth::True, at);
        }
        self.count_on(terms, at);
        Step::Moved
    }

    /// Back to counting, with the TRUE messages that still count at `at`.
    fn count_on(&mut self, terms: &Terms, at: Timestamp) {
        let (Some(recent), Some(at_least)) = (&mut self.recent, terms.at_least) else {
            return self.start_over();
        };
        recent.forget_before(at, &at_least);
        // A gap that HOLD held while the key fired counts for what comes after.
        let is_silent = terms.gap(false).is_some_and(|limit| self.last_known + limit < at);
        if recent.count() == 0 || is_silent {
            self.start_over()
        } else {
            self.phase = Phase::Counting
        }
    }

    fn fire(&mut self, at: Timestamp) -> Step {
        self.phase = Phase::Firing { fired_at: at, repeated_at: at, ending: Ending::No };
        Step::Fired
    }

    fn end_or_keep(&mut self, terms: &Terms, reason: Cleared, at: Timestamp) -> Step {
        let Phase::Firing { fired_at, ending, .. } = &mut self.phase else { return Step::Same };
        let fired_at = *fired_at;
        *ending = Ending::Keeping { since: at, reason };
        if reason != Cleared::False {
            // What ends the episode before the count lapses ends the count.
            self.recent = None;
        }
        if terms.keep.is_zero() { self.end(terms, fired_at, reason, at) } else { Step::Moved }
    }

    fn end(&mut self, terms: &Terms, fired_at: Timestamp, reason: Cleared, at: Timestamp) -> Step {
        self.count_on(terms, at);
        Step::Cleared { fired_at, reason }
    }

    /// Takes the key over a restart as ON RESTART says, its clocks leaving out `millis`. Answers whether the
    /// key starts over; that its clocks leave time out is known without its row.
    ///
    /// ON RESTART RESET is about pending keys; the clocks of a firing one pause, since forgetting a
    /// FALSE that has been seen could leave it firing for ever. What of its repetitions was missed is found
    /// when they are due, as after any standstill ([`State::skip_missed`]).
    pub(super) fn resume(&mut self, terms: &Terms, millis: i64) -> bool {
        let starts_over = terms.on_restart == OnRestart::Reset && !self.is_firing();
        if starts_over {
            self.start_over();
        } else {
            self.shift(terms, millis);
        }
        starts_over
    }

    /// Leaves so many milliseconds out of every clock.
    pub(super) fn shift(&mut self, terms: &Terms, millis: i64) {
        if terms.max_gap.is_some() {
            self.last_known = shifted(self.last_known, millis);
        }
        if let Some(recent) = &mut self.recent {
            recent.shift(millis);
        }
        match &mut self.phase {
            Phase::Inactive | Phase::Counting => {}
            Phase::Pending { excluded } => *excluded = excluded.saturating_add(millis),
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

    /// Passes over the repetitions due before `now`; answers how many there were.
    pub(super) fn skip_repeats(&mut self, terms: &Terms, now: Timestamp) -> u64 {
        let Phase::Firing { repeated_at, .. } = &mut self.phase else { return 0 };
        let Some(every) = terms.repeat_every else { return 0 };
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        let behind = now.as_millis().saturating_sub(repeated_at.as_millis());
        // The last one due before `now`; one due exactly now is still to come.
        let missed = behind.saturating_sub(1).max(0) / every;
        *repeated_at = shifted(*repeated_at, missed.saturating_mul(every));
        missed.unsigned_abs()
    }

    /// Where a repetition is next: passes over those due at or before `until`, and before anything else of
    /// the key, for which the next one is due at `present` too; answers how many there were. A reminder is
    /// worth something while it is news, so of several that come at once only the last is made.
    pub(super) fn skip_missed(
        &mut self,
        terms: &Terms,
        until: Timestamp,
        present: Timestamp,
    ) -> u64 {
        let Some((_, Cause::Repeat)) = self.next_cause(terms) else { return 0 };
        let every = terms.repeat_every.unwrap_or_default();
        let others = Terms { repeat_every: None, ..*terms };
        let end = self.deadline(&others).map_or(until, Deadline::time);
        self.skip_repeats(terms, shifted(until.min(end).min(present - every), 1))
    }
}
