//! Any timeline gives what the oracle says: in order, shuffled within LATENESS, and with a restart
//! after every message.

use proptest::prelude::*;
use serde_json::Value;

use super::Bench;
use super::oracle;
use super::oracle::Heard;
use super::oracle::Plan;
use super::oracle::Told;

/// Longer than any window, so that each of them closes.
const LONG: i64 = 1_000_000;
/// How long nothing runs at a restart, ms; longer than anything waits.
const DOWNTIME: i64 = 3_600_000;
const LATENESS: i64 = 40;

fn plan() -> impl Strategy<Value = Plan> {
    prop_oneof![
        (1..60_i64).prop_map(|size| Plan::Hop(size, size)),
        (1..60_i64, 1..30_i64).prop_map(|(every, more)| Plan::Hop(every + more, every)),
        (1..60_i64).prop_map(Plan::Slide),
        (1..60_i64).prop_map(Plan::Session),
        (1..6_usize).prop_map(Plan::Count),
    ]
}

fn timeline() -> impl Strategy<Value = Vec<Heard>> {
    let heard = (0..25_i64, 0..3_u8, proptest::option::of(-40..40_i32));
    proptest::collection::vec(heard, 1..25).prop_map(|steps| {
        let mut time = 1000;
        let step = |(step, key, value)| {
            time += step;
            Heard { time, key, value }
        };
        steps.into_iter().map(step).collect()
    })
}

fn clause(plan: Plan) -> String {
    match plan {
        Plan::Hop(size, every) if size == every => format!("TUMBLE({size} ms)"),
        Plan::Hop(size, every) => format!("HOP({size} ms, {every} ms)"),
        Plan::Slide(size) => format!("SLIDE({size} ms)"),
        Plan::Session(gap) => format!("SESSION({gap} ms)"),
        Plan::Count(count) => format!("COUNT({count})"),
    }
}

/// `heavy` asks for aggregates that SLIDE gathers anew for each message.
fn rule(plan: Plan, is_timed: bool, heavy: bool) -> String {
    let timed =
        if is_timed { format!("TIMESTAMP BY ts LATENESS {LATENESS} ms") } else { String::new() };
    let heavy =
        if heavy { ", collect(v) AS all, count_distinct(v) AS d, median(v) AS m" } else { "" };
    format!(
        "CREATE RULE r AS SELECT k, window.start AS s, window.end AS e, count(*) AS n, count(v) AS c,
           sum(v) AS sum, avg(v) AS avg, min(v) AS least, max(v) AS most, first(v) AS first,
           last(v) AS last, stddev(v) AS sd, var_pop(v) AS vp {heavy}
         FROM 'm/+' {timed} GROUP BY k, {} DO LOG;",
        clause(plan)
    )
}

fn payload(heard: &Heard) -> String {
    let value = heard.value.map_or(String::new(), |v| {
        format!(r#","v":{}{}.{}"#, if v < 0 { "-" } else { "" }, v.abs() / 10, v.abs() % 10)
    });
    format!(r#"{{"k":{},"ts":{}{value}}}"#, heard.key, heard.time)
}

fn is_near(found: &Value, wanted: Option<f64>) -> bool {
    match (found.as_f64(), wanted) {
        (Some(found), Some(wanted)) => (found - wanted).abs() < 1e-9,
        (found, wanted) => found == wanted,
    }
}

/// What is told of a window, against what its messages say.
fn check(record: &Value, told: &Told, heavy: bool) {
    let values: Vec<f64> = told.values.iter().flatten().map(|v| f64::from(*v) / 10.0).collect();
    let count = values.len() as f64;
    let some = |value: f64| (!values.is_empty()).then_some(value);
    let sum: f64 = values.iter().sum();
    let mean = sum / count;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let fits = |name: &str, wanted: Option<f64>| {
        assert!(is_near(&record[name], wanted), "{name} of {told:?}: {record} {wanted:?}");
    };
    fits("n", Some(told.values.len() as f64));
    fits("c", Some(count));
    fits("sum", some(sum));
    fits("avg", some(mean));
    fits("least", sorted.first().copied());
    fits("most", sorted.last().copied());
    fits("first", values.first().copied());
    fits("last", values.last().copied());
    fits("sd", (count > 1.0).then(|| (squares / (count - 1.0)).sqrt()));
    fits("vp", some(squares / count));
    if heavy {
        let all: Vec<f64> =
            record["all"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert_eq!(all, values, "{record}");
        let (low, high) =
            (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2));
        fits("m", low.zip(high).map(|(low, high)| (low + high) / 2.0));
        sorted.dedup();
        fits("d", Some(sorted.len() as f64));
    }
}

fn compare(lines: &[String], plan: Plan, heard: &[Heard], heavy: bool) {
    let mut records: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap())
        .collect();
    // Of one key the order in which they were told stays.
    records.sort_by_key(|record| record["k"].as_u64());
    let wanted = oracle::records(plan, heard);
    let place = |record: &Value| {
        let number = |name: &str| record[name].as_i64().unwrap();
        (number("k"), number("s"), number("e"))
    };
    let found: Vec<_> = records.iter().map(place).collect();
    let expected: Vec<_> = wanted.iter().map(|t| (i64::from(t.key), t.start, t.end)).collect();
    assert_eq!(found, expected, "{plan:?} {heard:?}");
    records.iter().zip(&wanted).for_each(|(record, told)| check(record, told, heavy));
}

/// Receive time; `restart_after` says behind which message the process is another one.
fn run(plan: Plan, heard: &[Heard], heavy: bool, restart_after: impl Fn(usize) -> bool) {
    let mut bench = Bench::new(&rule(plan, false, heavy));
    for (place, message) in heard.iter().enumerate() {
        bench.publish(message.time, &payload(message));
        if restart_after(place) {
            let restored = bench.restart(message.time, message.time);
            assert_eq!((restored.ended, restored.rejected), (0, 0));
        }
    }
    bench.advance(LONG);
    let told = bench.told();
    if let Plan::Hop(..) = plan {
        let ends: Vec<i64> =
            told.iter().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
        assert!(ends.is_sorted(), "{told:?}");
    }
    compare(&told, plan, heard, heavy);
    assert!(bench.faults.is_empty(), "{:?}", bench.faults);
    if !matches!(plan, Plan::Count(_)) {
        assert!(bench.rows.is_empty() && bench.parts.is_empty(), "nothing is left on disk");
    }
}

/// Event time: all arrive at one instant but for the downtime of restarts, in the order that `delays` (at most LATENESS) make of them.
fn run_timed(plan: Plan, heard: &[Heard], delays: &[i64], restarts: bool) {
    let mut arriving: Vec<(i64, Heard)> =
        heard.iter().zip(delays.iter().cycle()).map(|(h, delay)| (h.time + delay, *h)).collect();
    arriving.sort_by_key(|(arrival, _)| *arrival);
    let mut bench = Bench::new(&rule(plan, true, true));
    let mut now = 0;
    for (_, message) in &arriving {
        bench.publish(now, &payload(message));
        if restarts {
            // However long it was down, the watermark has not gone on meanwhile.
            let back = now + DOWNTIME;
            let restored = bench.restart(now, back);
            assert_eq!((restored.ended, restored.rejected), (0, 0));
            now = back;
        }
    }
    bench.advance(now + LONG);
    // Those of one time keep the order in which they came.
    let mut in_order: Vec<Heard> = arriving.iter().map(|(_, message)| *message).collect();
    in_order.sort_by_key(|message| message.time);
    compare(&bench.told(), plan, &in_order, true);
    assert!(bench.faults.is_empty(), "{:?}", bench.faults);
}

proptest! {
    #[test]
    fn any_timeline_gives_the_windows_of_the_definition(
        plan in plan(), heard in timeline(), heavy in any::<bool>(),
    ) {
        run(plan, &heard, heavy, |_| false);
    }

}

proptest! {
    // Each case has as many runs as messages.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_restart_after_every_message_changes_nothing(
        plan in plan(), heard in timeline(), heavy in any::<bool>(),
    ) {
        run(plan, &heard, heavy, |_| true);
        for place in 0..heard.len() {
            run(plan, &heard, heavy, |at| at == place);
        }
    }
}

proptest! {
    #[test]
    fn the_order_of_arrival_within_lateness_changes_nothing(
        plan in plan(),
        heard in timeline(),
        delays in proptest::collection::vec(0..=LATENESS, 1..25),
        restarts in any::<bool>(),
    ) {
        run_timed(plan, &heard, &delays, restarts);
    }
}
