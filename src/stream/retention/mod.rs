//! Deleting what has passed its stream's retention, a little at a time.
//!
//! Retention counts the time in which the gateway has run, and not what the clock says of it: a record
//! is deleted when the gateway has been seen to run for so long since. A clock that was weeks behind at
//! the start and is set right, or is right at the next start, makes no record old; nor does a year in a
//! drawer. Nothing comes in while nothing runs, so the room that a stream takes is bounded all the same.
//!
//! Table (SQL in [`table`]): `stream_run`, a row for each run without a gap of [`RUN_GAP_MAX`], of
//! which the last is moved on with every look.
//!
//! A clock that was ahead leaves records behind that are not over for as long. [`table::set_back`] takes
//! their times for the present one as soon as the clock is found to be behind them.

mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::limits;
use crate::storage::ExecuteError;
use crate::storage::Executor;

pub(crate) use table::SCHEMA;
pub(in crate::stream) use table::kept_since;
#[cfg(test)]
pub(in crate::stream) use table::set_back;
pub(in crate::stream) use table::take_until;
#[cfg(test)]
pub(in crate::stream) use table::trim;

/// How often streams are looked at: records outlive their retention by at most this.
const PERIOD: Duration = Duration::from_secs(60);
/// What passes between two looks has been seen to pass if it is no more than this. A 288th of the
/// shortest retention: neither a step of the clock nor a pause below it matters.
const RUN_GAP_MAX: Duration = Duration::from_secs(5 * 60);

/// Trims all streams once a minute until the journal closes. Each deletion is a short job of its own,
/// so commits run between them however much has expired.
pub async fn retain(executor: Executor, clock: Clock) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match look(&executor, &clock).await {
            Ok(()) => {}
            Err(ExecuteError::Closed) => return,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(error = %error, source, "expired records could not be deleted");
            }
        }
    }
}

async fn look(executor: &Executor, clock: &Clock) -> Result<(), ExecuteError> {
    loop {
        let now = clock.now();
        if !executor.execute(move |transaction| table::turn(transaction, now)).await? {
            return Ok(());
        }
    }
}

/// A span of time in which the gateway ran, by its clock of then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Its row; later runs have higher ones.
    id: i64,
    began_at: Timestamp,
    ended_at: Timestamp,
}

/// Rows to be written and to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    written: Vec<Run>,
    gone: Vec<i64>,
}

/// The runs that retention looks back on, the oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Runs(Vec<Run>);

impl Runs {
    /// The gateway runs at `now`. Forgets the runs that even the `longest` retention does not look back
    /// on. Of more than [`limits::RETENTION_RUNS_MAX`], the shortest pauses count as time that passed.
    fn note(&mut self, now: Timestamp, longest: Duration) -> Change {
        match self.0.last_mut() {
            Some(run) if now.since(run.ended_at).max(run.ended_at.since(now)) <= RUN_GAP_MAX => {
                run.ended_at = run.ended_at.max(now);
            }
            last => {
                let id = last.map_or(1, |run| run.id + 1);
                self.0.push(Run { id, began_at: now, ended_at: now });
            }
        }
        let mut left = longest;
        let needed = self.0.iter().rev().take_while(|run| {
            let is_needed = !left.is_zero();
            left = left.saturating_sub(run.ended_at.since(run.began_at));
            is_needed
        });
        let needed = needed.count().max(1);
        let gone = self.0.drain(..self.0.len() - needed).map(|run| run.id).collect();
        let mut change = Change { written: Vec::new(), gone };
        while self.0.len() > limits::RETENTION_RUNS_MAX {
            let pauses = self.0.windows(2).enumerate();
            let shortest = pauses
                .filter(|(_, two)| two[0].ended_at <= two[1].began_at)
                .min_by_key(|(_, two)| two[1].began_at.since(two[0].ended_at));
            let place = shortest.map(|(place, _)| place);
            let older = self.0.remove(place.unwrap_or_default());
            if let Some(newer) = place.and_then(|place| self.0.get_mut(place)) {
                newer.began_at = older.began_at;
                change.written.push(*newer);
            }
            change.gone.push(older.id);
        }
        change.written.extend(self.0.last());
        change
    }

    /// What was written before this has been kept for `retention`; `None` when nothing has.
    fn horizon(&self, retention: Duration) -> Option<Timestamp> {
        let mut left = retention;
        let mut later = Timestamp::from_millis(i64::MAX);
        for run in self.0.iter().rev() {
            let length = run.ended_at.since(run.began_at);
            if left <= length {
                // Where the clock was set back, what came after it has earlier times.
                return Some((run.ended_at - left).min(later));
            }
            left -= length;
            later = later.min(run.began_at);
        }
        None
    }
}
