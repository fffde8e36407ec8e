use std::time::Duration;

use super::Run;
use super::Runs;
use crate::clock::Timestamp;
use crate::limits;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Some day.
const T: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What looks once a minute leave, from `from` on for `length`.
fn run(runs: &mut Runs, from: Timestamp, length: Duration) -> Timestamp {
    let mut now = from;
    while now <= from + length {
        runs.note(now, DAY);
        now = now + MINUTE;
    }
    from + length
}

#[test]
fn nothing_expires_before_the_gateway_has_run_for_so_long() {
    let mut runs = Runs::default();
    let now = run(&mut runs, T, DAY - MINUTE);
    assert_eq!(runs.horizon(DAY), None);
    let now = run(&mut runs, now + MINUTE, HOUR);
    assert_eq!(runs.horizon(DAY), Some(now - DAY));
    assert_eq!(runs.0.len(), 1, "one run without a gap");
}

#[test]
fn a_clock_that_was_behind_and_is_right_at_the_next_start_makes_nothing_old() {
    let mut runs = Runs::default();
    run(&mut runs, T - 40 * DAY, 10 * MINUTE);
    let now = run(&mut runs, T, 23 * HOUR);
    assert_eq!(runs.horizon(DAY), None, "the gateway has run for 23 hours and ten minutes");
    run(&mut runs, now + MINUTE, 50 * MINUTE);
    // One minute of the ten has been kept for a day.
    let kept = T - 40 * DAY + MINUTE;
    assert_eq!(runs.horizon(DAY - MINUTE), Some(kept + MINUTE));
    assert_eq!(runs.horizon(DAY), Some(kept));
}

#[test]
fn a_step_of_a_running_clock_makes_nothing_old() {
    let mut runs = Runs::default();
    let before = run(&mut runs, T, HOUR);
    run(&mut runs, before + 40 * DAY, HOUR);
    assert_eq!(runs.horizon(2 * HOUR), Some(T));
    assert_eq!(runs.horizon(90 * MINUTE), Some(T + 30 * MINUTE));
}

#[test]
fn a_clock_that_was_ahead_and_is_set_back_makes_nothing_old() {
    let mut runs = Runs::default();
    run(&mut runs, T + 20 * DAY, 3 * HOUR);
    run(&mut runs, T, HOUR);
    // Two hours ago the clock said T + 20 days; what is of today must not go with that.
    assert_eq!(runs.horizon(2 * HOUR), Some(T));
    assert_eq!(runs.horizon(HOUR - MINUTE), Some(T + MINUTE));
}

#[test]
fn the_runs_are_bounded_and_the_long_gaps_are_kept() {
    let mut runs = Runs::default();
    let mut now = run(&mut runs, T - 400 * DAY, MINUTE) + 400 * DAY;
    let mut rows = std::collections::BTreeMap::new();
    for _ in 0..limits::RETENTION_RUNS_MAX + 10 {
        let change = runs.note(now, 365 * DAY);
        for gone in change.gone {
            rows.remove(&gone);
        }
        rows.extend(change.written.into_iter().map(|run| (run.id, run)));
        now = now + 10 * MINUTE;
    }
    assert_eq!(runs.0.len(), limits::RETENTION_RUNS_MAX);
    let stored: Vec<Run> = rows.into_values().collect();
    assert_eq!(stored[..], runs.0[1..], "the rows follow");
    assert_eq!(runs.0[0].ended_at, T - 400 * DAY + MINUTE, "the long gap is still one");
    // What no retention looks back on is forgotten.
    let gone = runs.note(now + MINUTE, Duration::ZERO).gone;
    assert_eq!((gone.len(), runs.0.len()), (limits::RETENTION_RUNS_MAX, 1));
}
