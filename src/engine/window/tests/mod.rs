//! Rules with GROUP BY over timelines: cases, then any timeline against the oracle.

mod oracle;
mod properties;
mod reload;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::engine::Evaluation;
use crate::engine::Leap;
use crate::engine::Observed;
use crate::engine::RuleIndex;
use crate::engine::hold::Progress;
use crate::engine::hold::Transitions;
use crate::engine::rows::KeyChange;
use crate::engine::rows::WaitingRow;
use crate::engine::stateful::StateTable;
use crate::engine::window::window_table::WindowCounts;
use crate::limits::WINDOW_PANES_PER_GROUP_MAX;
use crate::limits::WINDOW_PANES_PER_RULE_MAX;
use crate::limits::WINDOW_VALUE_BYTES_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::rule::set;
use crate::rule::set::Source;
use crate::rule::set::Targets;
use crate::rule::table::NoFiles;
use crate::topic::TopicName;

const GROUPS_MAX: usize = 5;

fn at(time: i64) -> Timestamp {
    Timestamp::from_millis(time)
}

fn engine(text: &str) -> Engine {
    let content = Ok(text.as_bytes().to_vec());
    let source = Source { path: "test.rule".into(), content };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    assert!(!checked.has_errors(), "{text}: {:?}", checked.diagnostics);
    Engine::new(checked.rules, "")
}

fn message(time: i64, payload: &str) -> Publish {
    Publish {
        topic: TopicName::parse("m/1").unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: at(time),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    }
}

/// An engine, its state and the disk under it.
struct Bench {
    engine: Engine,
    table: StateTable,
    out: Transitions,
    rows: BTreeMap<(Arc<str>, String), Bytes>,
    parts: BTreeMap<(Arc<str>, String, u64), Bytes>,
    /// What windows gave, `end output`.
    told: Vec<String>,
    /// Fault codes.
    faults: Vec<&'static str>,
}

impl Bench {
    fn new(text: &str) -> Self {
        let engine = engine(text);
        Bench {
            table: StateTable::new(engine.stateful(GROUPS_MAX)),
            engine,
            out: Transitions::default(),
            rows: BTreeMap::new(),
            parts: BTreeMap::new(),
            told: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn publish(&mut self, time: i64, payload: &str) {
        let message = message(time, payload);
        let mut evaluation = Evaluation::default();
        let plan = self.engine.plan(&message.topic);
        self.engine.evaluate(&plan, &message, &mut evaluation);
        self.faults.extend(evaluation.faults.iter().map(|fault| fault.code.as_str()));
        self.advance(time);
        for observed in evaluation.observations {
            match observed {
                Observed::Condition(seen) => self.table.observe(seen, &mut self.out),
                Observed::Contribution(added) => self.table.gather(added, &mut self.out),
                Observed::Message(recall) => panic!("{recall:?}: no rule here looks back"),
            }
        }
        self.commit();
    }

    fn advance(&mut self, time: i64) {
        while self.table.advance(at(time), &mut self.out) == Progress::More {}
        self.commit();
    }

    fn commit(&mut self) {
        for closed in self.out.windows.drain(..) {
            match self.engine.complete_window(&closed) {
                Ok(None) => {}
                Ok(Some(hit)) => {
                    let output = String::from_utf8(hit.output.bytes().to_vec()).unwrap();
                    self.told.push(format!("{} {output}", hit.at.as_millis()));
                }
                Err(fault) => self.faults.push(fault.code.as_str()),
            }
        }
        let passed_over = self.out.passed_over.drain(..).map(|record| record.fault);
        let faults = self.out.faults.drain(..).chain(passed_over);
        self.faults.extend(faults.map(|fault| fault.code.as_str()));
        let mut changes: Vec<KeyChange> = Vec::new();
        self.table.take_changes(&mut changes);
        for change in changes {
            for part in change.waiting {
                let row = (Arc::clone(&change.rule), change.key.to_string(), part.turn);
                match part.message {
                    Some(part) => drop(self.parts.insert(row, part)),
                    None => assert!(self.parts.remove(&row).is_some(), "{row:?} was never written"),
                }
            }
            let row = (change.rule, change.key.to_string());
            match change.state {
                Some(state) => drop(self.rows.insert(row, state)),
                None => assert!(self.rows.remove(&row).is_some(), "{row:?} was never written"),
            }
        }
    }

    /// Ends at `alive_until` as `kill -9` does, and is there again at `now` with what is on disk.
    fn restart(&mut self, alive_until: i64, now: i64) -> crate::engine::rows::Restored {
        let mut table = StateTable::new(self.engine.stateful(GROUPS_MAX));
        let rows = self.rows.iter().map(|((rule, key), row)| (&**rule, key.as_str(), &row[..]));
        let parts = self.parts.iter().map(|((rule, key, turn), row)| WaitingRow {
            rule,
            key,
            turn: *turn,
            message: row,
        });
        let restored = table.restore(rows, parts, at(alive_until), at(now), &mut self.out);
        self.table = table;
        self.commit();
        restored
    }

    fn counts(&mut self) -> &mut WindowCounts {
        &mut self.table.windows.rules.get_mut(RuleIndex(0)).unwrap().counts
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn rule(clause: &str) -> String {
    format!(
        "CREATE RULE r AS SELECT k, count(*) AS n, sum(v) AS sum, window.start AS at
           FROM 'm/+' GROUP BY k, {clause} DO LOG;"
    )
}

fn payload(key: &str, value: &str) -> String {
    format!(r#"{{"k":"{key}","v":{value}}}"#)
}

#[test]
fn a_tumbling_window_closes_at_its_end_without_a_message() {
    let mut bench = Bench::new(&rule("TUMBLE(10 SECONDS)"));
    bench.publish(12_000, &payload("a", "1.5"));
    bench.publish(19_999, &payload("a", "2"));
    bench.advance(19_999);
    assert!(bench.told().is_empty());
    bench.advance(20_000);
    assert_eq!(bench.told(), [r#"20000 {"k":"a","n":2,"sum":3.5,"at":10000}"#]);
    // A message at the end is of the next one; windows without messages are not told of.
    bench.publish(50_000, &payload("a", "4"));
    bench.advance(90_000);
    assert_eq!(bench.told(), [r#"60000 {"k":"a","n":1,"sum":4,"at":50000}"#]);
    assert!(bench.rows.is_empty() && bench.parts.is_empty(), "an empty group leaves nothing");
}

#[test]
fn windows_of_one_end_come_in_the_order_of_their_keys() {
    let mut bench = Bench::new(&rule("TUMBLE(10 SECONDS)"));
    for key in ["c", "a", "b"] {
        bench.publish(1, &payload(key, "1"));
    }
    bench.advance(10_000);
    let told = bench.told();
    assert!(told.len() == 3 && told.is_sorted(), "{told:?}");
}

#[test]
fn values_that_are_none_are_passed_over() {
    let mut bench = Bench::new(
        "CREATE RULE r AS SELECT count(*) AS n, count(v) AS c, sum(v) AS sum, avg(v) AS avg,
           min(v) AS least, first(v) AS first, collect(v) AS all, count_distinct(v) AS d,
           stddev(v) AS s, median(v) AS m
           FROM 'm/+' GROUP BY TUMBLE(1 SECOND) DO LOG;",
    );
    bench.publish(1, "{}");
    bench.publish(2, r#"{"v":null}"#);
    bench.advance(1000);
    let nothing = r#"1000 {"n":2,"c":0,"sum":null,"avg":null,"least":null,"first":null,"all":[],"d":0,"s":null,"m":null}"#;
    assert_eq!(bench.told(), [nothing]);
    bench.publish(1001, r#"{"v":"on"}"#);
    bench.publish(1002, r#"{"v":"7"}"#);
    bench.advance(2000);
    let strings = r#"2000 {"n":2,"c":2,"sum":7,"avg":7,"least":7,"first":"on","all":["on","7"],"d":2,"s":null,"m":7}"#;
    assert_eq!(bench.told(), [strings]);
}

#[test]
fn having_and_actions_know_the_columns_by_name() {
    let mut bench = Bench::new(
        "CREATE RULE r AS SELECT avg(v) AS stats.mean, k FROM 'm/+' GROUP BY k, TUMBLE(1 SECOND)
           HAVING stats.mean > 2 AND count(*) < 3 DO STREAM s KEY k, LOG '${k} ${stats.mean}';",
    );
    for (key, values) in [("a", "1"), ("b", "3")] {
        bench.publish(1, &payload(key, values));
    }
    while bench.table.advance(at(1000), &mut bench.out) == Progress::More {}
    let windows = std::mem::take(&mut bench.out.windows);
    let hits: Vec<_> =
        windows.iter().filter_map(|w| bench.engine.complete_window(w).unwrap()).collect();
    let [hit] = &hits[..] else { panic!("{hits:?}") };
    assert_eq!(&hit.output.bytes()[..], br#"{"stats":{"mean":3},"k":"b"}"#);
    let actions = format!("{:?}", hit.actions);
    assert!(actions.contains(r#"key: "b""#) && actions.contains("b 3"), "{actions}");
}

#[test]
fn a_late_message_is_one_whose_windows_are_all_closed() {
    let mut bench = Bench::new(
        "CREATE RULE r AS SELECT count(*) AS n, window.start AS at FROM 'm/+'
           TIMESTAMP BY ts LATENESS 2 SECONDS GROUP BY TUMBLE(10 SECONDS) DO LOG;",
    );
    let send = |bench: &mut Bench, ts: i64| bench.publish(0, &format!(r#"{{"ts":{ts}}}"#));
    send(&mut bench, 9_000);
    send(&mut bench, 11_999);
    // Older than LATENESS, but its window is open.
    send(&mut bench, 100);
    assert!(bench.told().is_empty() && bench.faults.is_empty());
    send(&mut bench, 12_000);
    assert_eq!(bench.told(), [r#"10000 {"n":2,"at":0}"#]);
    send(&mut bench, 9_999);
    assert_eq!(bench.faults, ["late_record"]);
    // On silence the watermark goes on with the clock.
    bench.advance(9_999);
    assert!(bench.told().is_empty());
    bench.advance(10_000);
    assert_eq!(bench.told(), [r#"20000 {"n":2,"at":10000}"#]);
}

#[test]
fn a_group_too_many_is_refused_and_the_others_go_on() {
    let mut bench = Bench::new(&rule("TUMBLE(10 SECONDS)"));
    for key in ["a", "b", "c", "d", "e", "f", "a"] {
        bench.publish(1, &payload(key, "1"));
    }
    assert_eq!(bench.faults, ["windows_full"]);
    bench.advance(10_000);
    let told = bench.told();
    assert_eq!(told.len(), GROUPS_MAX);
    assert!(told[0].contains(r#""n":2"#), "{told:?}");
}

#[test]
fn open_windows_and_what_they_keep_are_bounded() {
    let opens = "CREATE RULE r AS SELECT count(*) AS n, last(v) AS v FROM 'm/+'
                   TIMESTAMP BY ts SECONDS LATENESS 1 DAY GROUP BY k, TUMBLE(1 SECOND) DO LOG;";
    let send = |bench: &mut Bench, key: &str, ts: usize| {
        bench.publish(20_000_000, &format!(r#"{{"k":"{key}","ts":{ts},"v":"on"}}"#));
    };
    let mut bench = Bench::new(opens);
    for ts in 1..=WINDOW_PANES_PER_GROUP_MAX {
        send(&mut bench, "a", ts);
    }
    assert_eq!(bench.faults, [""; 0], "as many windows as a group may have");
    assert_eq!(bench.counts().parts, WINDOW_PANES_PER_GROUP_MAX);
    assert!(bench.counts().bytes > 0, "the values are counted");
    send(&mut bench, "a", WINDOW_PANES_PER_GROUP_MAX + 1);
    send(&mut bench, "a", 1);
    send(&mut bench, "b", 1);
    assert_eq!(bench.faults, ["windows_full"], "a window too many, and none else");

    // What the other groups of the rule have.
    bench.faults.clear();
    bench.counts().parts = WINDOW_PANES_PER_RULE_MAX - 1;
    for ts in [2, 2, 3] {
        send(&mut bench, "b", ts);
    }
    assert_eq!(bench.faults, ["windows_full"], "the last one fits, and what it gathers");
    bench.faults.clear();
    bench.counts().parts = 0;
    bench.counts().bytes = WINDOW_VALUE_BYTES_MAX - 1;
    for ts in [4, 5] {
        send(&mut bench, "b", ts);
    }
    assert_eq!(bench.faults, ["windows_full"], "a value is taken while there is any room");
}

#[test]
fn collect_and_count_distinct_are_bounded() {
    let mut bench = Bench::new(
        "CREATE RULE r AS SELECT collect(v) AS all, count_distinct(v) AS d, count(*) AS n
           FROM 'm/+' GROUP BY TUMBLE(1 SECOND) DO LOG;",
    );
    for value in 0..1002 {
        bench.publish(1, &payload("a", &value.to_string()));
    }
    assert_eq!(bench.faults, ["aggregate_full"; 2]);
    bench.advance(1000);
    let told = bench.told().remove(0);
    assert!(told.ends_with(r#"999],"d":1000,"n":1002}"#), "{told}");
}

#[test]
fn many_values_keep_percentiles_within_half_a_percent() {
    let mut bench = Bench::new(
        "CREATE RULE r AS SELECT percentile(v, 90) AS p, median(v) AS m, percentile(v, 0) AS least
           FROM 'm/+' GROUP BY HOP(2 SECONDS, 1 SECOND) DO LOG;",
    );
    for turn in 1..=2000_i64 {
        // All from 10 to 20000, in no order, over two panes.
        let value = turn * 7 % 2001 * 10;
        let time = if turn > 1000 { 1000 } else { 0 };
        bench.publish(time, &payload("a", &value.to_string()));
        if turn == 700 || turn == 1000 {
            bench.restart(0, 0);
        }
    }
    bench.advance(10_000);
    let told = bench.told();
    assert_eq!(told.len(), 3, "{told:?}");
    let (_, both) = told[1].split_once(' ').unwrap();
    let window: serde_json::Value = serde_json::from_str(both).unwrap();
    for (name, wanted) in [("p", 18_001.0), ("m", 10_005.0), ("least", 10.0)] {
        let found = window[name].as_f64().unwrap();
        assert!((found / wanted - 1.0).abs() < 0.006, "{name}: {found}, not {wanted}");
    }
}

#[test]
fn an_outage_closes_what_ended_meanwhile_once() {
    for clause in ["TUMBLE(10 SECONDS)", "SESSION(5 SECONDS)"] {
        let mut bench = Bench::new(&rule(clause));
        bench.publish(4_000, &payload("a", "1"));
        let restored = bench.restart(4_500, 60_000);
        assert_eq!((restored.kept, restored.ended, restored.rejected), (1, 0, 0));
        bench.advance(60_000);
        let told = bench.told();
        assert_eq!(told.len(), 1, "{clause}: {told:?}");
        bench.restart(61_000, 62_000);
        bench.advance(90_000);
        assert!(bench.told().is_empty());
    }
}

#[test]
fn a_clock_that_was_ahead_before_a_restart_costs_no_window() {
    let columns = "k, count(*) AS n, last(v) AS last, collect(v) AS all";
    for clause in
        ["TUMBLE(2 SECONDS)", "HOP(2 SECONDS, 1 SECOND)", "SESSION(2 SECONDS)", "SLIDE(2 SECONDS)"]
    {
        let text =
            format!("CREATE RULE r AS SELECT {columns} FROM 'm/+' GROUP BY k, {clause} DO LOG;");
        let mut bench = Bench::new(&text);
        // Some windows are closed and some open when it is set back by a minute and a half.
        for (place, time) in [100_000, 101_500, 102_500, 102_900].into_iter().enumerate() {
            bench.publish(time, &payload("a", &place.to_string()));
        }
        bench.told();
        bench.restart(103_000, 10_100);
        bench.publish(10_200, &payload("a", "7"));
        bench.publish(10_300, &payload("a", "8"));
        bench.advance(20_000);
        let told = bench.told();
        let expected = match clause {
            "TUMBLE(2 SECONDS)" => vec![r#"12000 {"k":"a","n":4,"last":8,"all":[2,3,7,8]}"#],
            "HOP(2 SECONDS, 1 SECOND)" => vec![
                r#"11000 {"k":"a","n":5,"last":8,"all":[1,2,3,7,8]}"#,
                r#"12000 {"k":"a","n":5,"last":8,"all":[1,2,3,7,8]}"#,
            ],
            "SESSION(2 SECONDS)" => vec![r#"12300 {"k":"a","n":6,"last":8,"all":[0,1,2,3,7,8]}"#],
            _ => vec![
                r#"10200 {"k":"a","n":4,"last":7,"all":[1,2,3,7]}"#,
                r#"10300 {"k":"a","n":5,"last":8,"all":[1,2,3,7,8]}"#,
            ],
        };
        assert_eq!(told, expected, "{clause}");
        assert!(bench.parts.is_empty(), "{clause}: {:?}", bench.parts);
        // The next ones are told of as ever.
        bench.publish(30_000, &payload("a", "9"));
        bench.advance(40_000);
        assert!(!bench.told().is_empty(), "{clause}");
    }
}

#[test]
fn a_step_of_the_clock_closes_what_it_leaps_over() {
    let mut bench = Bench::new(&rule("TUMBLE(10 SECONDS)"));
    bench.publish(12_000, &payload("a", "1"));
    bench.table.leap(Leap { from: at(13_000), to: at(100_000) });
    bench.advance(100_000);
    assert_eq!(bench.told(), [r#"20000 {"k":"a","n":1,"sum":1,"at":10000}"#]);
    // One that was on its way counts as of the end of the step.
    bench.publish(12_999, &payload("a", "2"));
    bench.advance(110_000);
    assert_eq!(bench.told(), [r#"110000 {"k":"a","n":1,"sum":2,"at":100000}"#]);
    let clause = "TUMBLE(10 SECONDS)";
    let text = rule(clause)
        .replace("FROM 'm/+'", "FROM 'm/+' TIMESTAMP BY t MILLISECONDS LATENESS 5 SECONDS");
    let mut bench = Bench::new(&text);
    bench.publish(1_000, r#"{"k":"a","v":1,"t":9000}"#);
    bench.table.leap(Leap { from: at(2_000), to: at(100_000) });
    // The watermark is at 4 s, and has gone on for one second: six are left to the window's end.
    bench.advance(103_999);
    assert!(bench.told().is_empty(), "the idle advance leaves the step out");
    bench.advance(104_999);
    assert!(bench.told().is_empty(), "the idle advance leaves the step out");
    bench.advance(105_000);
    assert_eq!(bench.told(), [r#"10000 {"k":"a","n":1,"sum":1,"at":0}"#]);
}

#[test]
fn what_watermarks_leave_out_is_one_row_however_many_groups_there_are() {
    let text = rule("TUMBLE(10 SECONDS)")
        .replace("FROM 'm/+'", "FROM 'm/+' TIMESTAMP BY t MILLISECONDS LATENESS 5 SECONDS");
    let mut bench = Bench::new(&text);
    for key in ["a", "b", "c"] {
        bench.publish(1_000, &format!(r#"{{"k":"{key}","v":1,"t":9000}}"#));
    }
    // The windows end when the watermarks have gone on for six seconds: one before the outage, two between it and
    // the step, and all but a millisecond before the next outage.
    let before = bench.rows.clone();
    bench.restart(2_000, 50_000);
    bench.table.leap(Leap { from: at(52_000), to: at(60_000) });
    bench.commit();
    let changed: Vec<&str> = bench
        .rows
        .iter()
        .filter(|(row, state)| before.get(*row) != Some(*state))
        .map(|((_, key), _)| key.as_str())
        .collect();
    assert_eq!(changed, ["window"]);
    bench.publish(60_000, r#"{"k":"b","v":1,"t":9500}"#);
    bench.restart(62_999, 99_999);
    bench.advance(99_999);
    assert!(bench.told().is_empty());
    bench.advance(100_000);
    let told =
        [r#"10000 {"k":"a","n":1,"sum":1,"at":0}"#, r#"10000 {"k":"c","n":1,"sum":1,"at":0}"#];
    assert_eq!(bench.told(), told);
    // The clock of `b` began again with its message.
    bench.advance(102_499);
    assert!(bench.told().is_empty());
    bench.advance(102_500);
    assert_eq!(bench.told(), [r#"10000 {"k":"b","n":2,"sum":2,"at":0}"#]);
}

#[test]
fn a_row_of_the_layout_before_is_read() {
    let text = rule("TUMBLE(10 SECONDS)")
        .replace("FROM 'm/+'", "FROM 'm/+' TIMESTAMP BY t MILLISECONDS LATENESS 5 SECONDS");
    let mut bench = Bench::new(&text);
    bench.publish(1_000, r#"{"k":"a","v":1,"t":9000}"#);
    let row = bench.rows.values_mut().next().unwrap();
    *row = super::encoding::in_layout_1(row);
    let restored = bench.restart(2_000, 50_000);
    assert_eq!((restored.kept, restored.rejected), (1, 0));
    bench.advance(54_999);
    assert!(bench.told().is_empty());
    bench.advance(55_000);
    assert_eq!(bench.told(), [r#"10000 {"k":"a","n":1,"sum":1,"at":0}"#]);
}

#[test]
fn a_row_that_cannot_be_read_costs_its_window_alone() {
    let mut bench = Bench::new(&rule("TUMBLE(10 SECONDS)"));
    bench.publish(1, &payload("a", "1"));
    bench.publish(1, &payload("b", "1"));
    let part = bench.parts.values_mut().next().unwrap();
    let mut torn = part.to_vec();
    torn[3] ^= 1;
    *part = Bytes::from(torn);
    let restored = bench.restart(2, 3);
    assert_eq!((restored.kept, restored.rejected), (2, 1));
    bench.publish(5, &payload("a", "7"));
    bench.advance(10_000);
    assert_eq!(
        bench.told(),
        [r#"10000 {"k":"a","n":1,"sum":7,"at":0}"#, r#"10000 {"k":"b","n":1,"sum":1,"at":0}"#]
    );
    assert!(bench.parts.is_empty(), "{:?}", bench.parts);
}

#[test]
fn a_row_of_a_condition_beside_a_group_is_left_alone() {
    let mut bench = Bench::new(&rule("TUMBLE(10 SECONDS)"));
    bench.publish(1, &payload("a", "1"));
    let (rule, key, _) = bench.parts.keys().next().unwrap().clone();
    bench.parts.insert((rule, key, 999), Bytes::from_static(b"\x01"));
    for _ in 0..2 {
        let restored = bench.restart(2, 3);
        assert_eq!((restored.kept, restored.rejected), (1, 1));
    }
    bench.publish(5, &payload("a", "7"));
    bench.advance(10_000);
    assert_eq!(bench.told(), [r#"10000 {"k":"a","n":2,"sum":8,"at":0}"#]);
    assert_eq!(bench.parts.len(), 1, "{:?}", bench.parts);
}

#[test]
fn foreach_adds_each_element_and_a_key_that_is_undefined_is_null() {
    let mut bench = Bench::new(
        "CREATE RULE r AS SELECT r.id AS id, sum(r.v) AS sum FROM 'm/+' FOREACH all AS r
           GROUP BY r.id, TUMBLE(1 SECOND) DO LOG;",
    );
    bench.publish(1, r#"{"all":[{"id":7,"v":1},{"v":5},{"id":7,"v":2}]}"#);
    bench.advance(1000);
    assert_eq!(bench.told(), [r#"1000 {"id":7,"sum":3}"#, r#"1000 {"id":null,"sum":5}"#]);
}

#[test]
fn a_window_that_republishes_hands_its_hops_on() {
    let engine = engine(
        "CREATE RULE r AS SELECT count(*) AS n FROM 'm/+' GROUP BY COUNT(2)
           DO REPUBLISH 'n/all';",
    );
    let mut table = StateTable::new(engine.stateful(GROUPS_MAX));
    let mut out = Transitions::default();
    for hops in [3, 1] {
        let message = Publish { hops, ..message(1, "{}") };
        let mut evaluation = Evaluation::default();
        engine.evaluate(&engine.plan(&message.topic), &message, &mut evaluation);
        let Observed::Contribution(added) = evaluation.observations.remove(0) else {
            panic!("GROUP BY gathers")
        };
        table.gather(added, &mut out);
    }
    assert_eq!(out.windows[0].hops, 3);
}
