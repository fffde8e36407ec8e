//! The functions against a naive reading of them, with restarts anywhere and any order within LATENESS.

use std::collections::BTreeMap;
use std::mem;

use bytes::Bytes;
use compact_str::CompactString;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::engine::Evaluation;
use crate::engine::FaultCode;
use crate::engine::Leap;
use crate::engine::Observed;
use crate::engine::RuleIndex;
use crate::engine::hold::Progress;
use crate::engine::rows::KeyChange;
use crate::engine::rows::Restored;
use crate::engine::rows::WaitingRow;
use crate::limits::HISTORY_BYTES_MAX;
use crate::limits::HISTORY_VALUE_BYTES_MAX;
use crate::limits::KEYS_FORGOTTEN_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::rule::set;
use crate::rule::set::Source;
use crate::rule::set::Targets;
use crate::rule::table::NoFiles;
use crate::topic::TopicName;

fn engine(select: &str) -> Engine {
    let text = format!("CREATE RULE r AS {select} DO LOG ON ERROR DO LOG;");
    let source = Source { path: "test.rule".into(), content: Ok(text.into_bytes()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
    Engine::new(checked.rules, "000000000000")
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A rule, its table, and the rows that a disk would have.
struct Bench {
    engine: Engine,
    table: HistoryTable,
    keys_max: usize,
    evaluation: Evaluation,
    out: Recollections,
    states: BTreeMap<CompactString, Bytes>,
    /// The row without a rule.
    left_out: Option<Bytes>,
    waiting: BTreeMap<(CompactString, u64), Bytes>,
    /// Outputs and faults, in order.
    said: Vec<String>,
}

impl Bench {
    fn new(select: &str) -> Bench {
        Bench::with_keys(select, 100)
    }

    fn with_keys(select: &str, keys_max: usize) -> Bench {
        let engine = engine(select);
        Bench {
            table: HistoryTable::new(engine.remembering(keys_max)),
            engine,
            keys_max,
            evaluation: Evaluation::default(),
            out: Recollections::default(),
            states: BTreeMap::new(),
            left_out: None,
            waiting: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    fn hear(&mut self, topic: &str, payload: &str, now: i64) -> &mut Self {
        self.pass(now);
        let publish = Publish {
            topic: TopicName::parse(topic).unwrap(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: QoS::AtLeastOnce,
            retain: false,
            received_at: at(now),
            origin: Origin::internal(),
            properties: None,
            hops: 0,
        };
        let plan = self.engine.plan(&publish.topic);
        self.engine.evaluate(&plan, &publish, &mut self.evaluation);
        for observed in mem::take(&mut self.evaluation.observations) {
            match observed {
                Observed::Message(recall) => self.table.observe(recall, &mut self.out),
                other => panic!("{other:?}"),
            }
        }
        self.settle();
        self
    }

    /// From deadline to deadline, as the writer does.
    fn pass(&mut self, now: i64) {
        while let Some(due) = self.table.next_deadline().filter(|due| *due <= at(now)) {
            assert_eq!(self.table.advance(due, &mut self.out), Progress::Done);
            self.settle();
        }
        assert_eq!(self.table.advance(at(now), &mut self.out), Progress::Done);
    }

    fn settle(&mut self) {
        for recalled in self.out.recalled.drain(..) {
            self.engine.judge(&recalled, &mut self.evaluation);
        }
        let outputs = self.evaluation.hits.drain(..);
        self.said
            .extend(outputs.map(|hit| String::from_utf8(hit.output.bytes().to_vec()).unwrap()));
        let faults = self.out.faults.drain(..).chain(self.evaluation.faults.drain(..));
        let refused = self.out.refused.drain(..).map(|refused| refused.fault);
        self.said.extend(faults.chain(refused).map(|fault| fault.code.as_str().to_owned()));
    }

    fn commit(&mut self) {
        let mut changes = Vec::new();
        self.table.take_changes(&mut changes);
        for KeyChange { rule, key, state, waiting } in changes {
            if rule.is_empty() {
                self.left_out = state;
                continue;
            }
            for change in waiting {
                let row = (key.clone(), change.turn);
                match change.message {
                    Some(message) => self.waiting.insert(row, message),
                    None => self.waiting.remove(&row),
                };
            }
            match state {
                Some(state) => self.states.insert(key, state),
                None => self.states.remove(&key),
            };
        }
    }

    fn restart(&mut self, alive_until: i64, now: i64) -> Restored {
        self.commit();
        self.table = HistoryTable::new(self.engine.remembering(self.keys_max));
        let left_out = self.left_out.iter().map(|state| ("", "", &state[..]));
        let rows = self.states.iter().map(|(key, state)| ("r", key.as_str(), &state[..]));
        let rows = left_out.chain(rows);
        let waiting = self.waiting.iter().map(|((key, turn), message)| WaitingRow {
            rule: "r",
            key,
            turn: *turn,
            message,
        });
        self.table.restore(rows, waiting, at(alive_until), at(now))
    }

    fn said(&mut self) -> Vec<String> {
        mem::take(&mut self.said)
    }

    fn counts(&self) -> HistoryCounts {
        self.table.counts(RuleIndex(0)).unwrap()
    }
}

#[test]
fn lag_delta_and_had_changed_answer_of_the_messages_before() {
    let mut bench = Bench::new(
        "SELECT lag(x) AS a, lag(x, 2, 'none') AS b, delta(x) AS d, had_changed(x, y) AS c FROM 't'",
    );
    for payload in [
        r#"{"x":1}"#,
        r#"{"x":4}"#,
        // Neither is there: nothing is remembered, nothing has changed.
        r#"{"z":0}"#,
        r#"{"y":null}"#,
        r#"{"x":4.0,"y":null}"#,
        // Text is a value, and less than nothing.
        r#"{"x":"warm"}"#,
        r#"{"x":10}"#,
    ] {
        bench.hear("t", payload, 0);
    }
    assert_eq!(
        bench.said(),
        [
            r#"{"b":"none","c":true}"#,
            r#"{"a":1,"b":"none","d":3,"c":true}"#,
            r#"{"a":4,"b":1,"c":false}"#,
            r#"{"a":4,"b":1,"c":true}"#,
            r#"{"a":4,"b":1,"d":0,"c":false}"#,
            r#"{"a":4,"b":4,"c":true}"#,
            r#"{"a":"warm","b":4,"d":6,"c":true}"#,
        ]
    );
}

#[test]
fn every_message_is_remembered_whatever_where_makes_of_it() {
    let mut bench = Bench::new("SELECT x, lag(x) AS before FROM 't' WHERE x > 10");
    for payload in [r#"{"x":3}"#, r#"{"x":11}"#, r#"{"x":4}"#, r#"{"x":12}"#] {
        bench.hear("t", payload, 0);
    }
    assert_eq!(bench.said(), [r#"{"x":11,"before":3}"#, r#"{"x":12,"before":4}"#]);
}

#[test]
fn the_key_is_the_topic_or_what_over_says() {
    let select = "SELECT id FROM 't/+' WHERE had_changed(s)";
    let messages = [
        ("t/1", r#"{"id":1,"s":"on"}"#),
        ("t/2", r#"{"id":1,"s":"on"}"#),
        ("t/1", r#"{"id":2,"s":"on"}"#),
        ("t/1", r#"{"id":1,"s":"off"}"#),
    ];
    let play = |select: &str| {
        let mut bench = Bench::new(select);
        for (topic, payload) in messages {
            bench.hear(topic, payload, 0);
        }
        bench.said()
    };
    assert_eq!(play(select), [r#"{"id":1}"#, r#"{"id":1}"#, r#"{"id":1}"#]);
    let over = select.replace("(s)", "(s) OVER (PARTITION BY id)");
    assert_eq!(play(&over), [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1}"#]);
}

#[test]
fn a_key_over_the_bound_is_refused_and_none_is_dropped() {
    let mut bench = Bench::with_keys("SELECT lag(x) AS a FROM 't/+'", 2);
    for topic in ["t/1", "t/2", "t/3", "t/1"] {
        bench.hear(topic, r#"{"x":1}"#, 0);
    }
    // What remembers nothing takes no place.
    bench.hear("t/4", "{}", 0);
    assert_eq!(bench.said(), ["{}", "{}", "history_full", r#"{"a":1}"#, "{}"]);
    assert_eq!((bench.counts().keys, bench.counts().refused), (2, 1));
}

#[test]
fn a_value_too_long_to_be_remembered_is_a_fault() {
    let mut bench = Bench::new("SELECT lag(x) AS a FROM 't'");
    let long = "m".repeat(HISTORY_VALUE_BYTES_MAX);
    bench.hear("t", &format!(r#"{{"x":"{long}"}}"#), 0).hear("t", r#"{"x":1}"#, 0);
    assert_eq!(bench.said(), [FaultCode::HistoryValueTooLarge.as_str(), "{}"]);
}

#[test]
fn a_rule_remembers_a_bounded_number_of_bytes() {
    let mut bench = Bench::new("SELECT lag(x) AS a FROM 't/+'");
    bench.hear("t/1", r#"{"x":10}"#, 0);
    assert_eq!(bench.counts().bytes, 2);
    // What other keys remember.
    let others = |bench: &mut Bench, bytes: usize| {
        bench.table.rules.get_mut(RuleIndex(0)).unwrap().counts.bytes = bytes;
    };
    others(&mut bench, HISTORY_BYTES_MAX - 1);
    bench.hear("t/2", r#"{"x":1}"#, 0).hear("t/3", r#"{"x":1}"#, 0).hear("t/1", r#"{"x":99}"#, 0);
    assert_eq!(bench.said(), ["{}", "{}", "history_full", r#"{"a":10}"#]);
    assert_eq!(bench.counts().bytes, HISTORY_BYTES_MAX);
    bench.hear("t/1", r#"{"x":100}"#, 0).hear("t/1", r#"{"x":5}"#, 0);
    assert_eq!(bench.said(), ["history_full", r#"{"a":99}"#], "a key has no room for more either");
}

#[test]
fn what_does_not_change_is_not_written_again() {
    let mut bench = Bench::new("SELECT had_changed(x) AS c FROM 't'");
    let mut changes = Vec::new();
    bench.hear("t", r#"{"x":1}"#, 0);
    bench.table.take_changes(&mut changes);
    bench.hear("t", r#"{"x":1}"#, 1).hear("t", r#"{"y":1}"#, 2);
    bench.table.take_changes(&mut changes);
    assert_eq!(changes.len(), 1);
    assert_eq!(bench.counts().bytes, 1);
}

#[test]
fn late_ones_change_nothing_and_idle_time_moves_the_watermark() {
    let select = "SELECT x, lag(x) AS a FROM 't' TIMESTAMP BY ts LATENESS 10 ms";
    let mut bench = Bench::new(select);
    let reading = |x: i64, ts: i64| format!(r#"{{"x":{x},"ts":{ts}}}"#);
    bench.hear("t", &reading(1, 100), 1000).hear("t", &reading(2, 98), 1001);
    assert!(bench.said().is_empty(), "both wait");
    assert_eq!(bench.counts().event.waiting, 2);
    bench.hear("t", &reading(3, 120), 1002);
    assert_eq!(bench.said(), [r#"{"x":2}"#, r#"{"x":1,"a":2}"#]);
    bench.hear("t", &reading(4, 99), 1003);
    assert_eq!(bench.said(), ["late_record"]);
    bench.pass(1011);
    assert!(bench.said().is_empty());
    bench.pass(1012);
    assert_eq!(bench.said(), [r#"{"x":3,"a":1}"#]);
    assert_eq!((bench.counts().event.waiting, bench.counts().event.late), (0, 1));
    bench.hear("t", r#"{"x":5}"#, 1013);
    assert_eq!(bench.said(), ["event_time_invalid"]);
}

#[test]
fn what_downtime_and_steps_are_left_out_is_one_row_however_many_keys_there_are() {
    let select = "SELECT x, lag(x) AS a FROM 't/+' TIMESTAMP BY ts LATENESS 10 ms";
    let mut bench = Bench::new(select);
    for key in ["t/1", "t/2", "t/3"] {
        bench.hear(key, r#"{"x":1,"ts":100}"#, 1000);
    }
    bench.restart(1004, 5000);
    assert!(bench.table.has_changes(), "it is to be on disk before a newer sign of life");
    let mut changes = Vec::new();
    bench.table.take_changes(&mut changes);
    let rows: Vec<&str> = changes.iter().map(|change| &*change.rule).collect();
    assert_eq!(rows, [""]);
    bench.left_out = changes.remove(0).state;
    // A row that was written between an outage and a step leaves out what came since.
    bench.hear("t/2", r#"{"x":2,"ts":104}"#, 5001);
    bench.commit();
    bench.table.leap(Leap { from: at(5002), to: at(9000) });
    bench.restart(9001, 9500);
    // Six milliseconds were left when it was killed first, and three have passed since then.
    bench.pass(9502);
    assert_eq!(bench.said(), Vec::<String>::new());
    bench.pass(9503);
    assert_eq!(bench.said(), [r#"{"x":1}"#, r#"{"x":1}"#]);
    bench.pass(9600);
    assert_eq!(bench.said(), [r#"{"x":1}"#, r#"{"x":2,"a":1}"#]);
}

#[test]
fn downtime_before_the_last_start_is_no_silence_either() {
    let mut bench = Bench::new("SELECT lag(n) AS before FROM 'm/+'");
    bench.hear("m/a", r#"{"n":1}"#, 0);
    bench.restart(10, AGE);
    bench.restart(AGE + 10, 3 * AGE);
    bench.hear("m/a", r#"{"n":2}"#, 3 * AGE + AGE / 2);
    assert_eq!(bench.said(), ["{}", r#"{"before":1}"#]);
}

#[test]
fn another_rule_under_the_name_starts_afresh() {
    let mut bench = Bench::new("SELECT lag(x) AS a FROM 't'");
    bench.hear("t", r#"{"x":1}"#, 0);
    bench.commit();
    // SELECT, WHERE and the actions are no part of what is remembered.
    bench.engine = engine("SELECT x, lag(x) AS before FROM 't' WHERE x > 0");
    bench.table.rebuild(bench.engine.remembering(100), at(1));
    bench.hear("t", r#"{"x":2}"#, 1);
    bench.engine = engine("SELECT lag(x) AS a, lag(y) AS b FROM 't'");
    bench.table.rebuild(bench.engine.remembering(100), at(2));
    bench.hear("t", r#"{"x":3}"#, 2);
    assert_eq!(bench.said(), ["{}", r#"{"x":2,"before":1}"#, "{}"]);
    bench.engine = engine("SELECT x FROM 't'");
    bench.table.rebuild(bench.engine.remembering(100), at(3));
    bench.commit();
    assert!(bench.states.is_empty(), "its rows go with it");
    let restored = bench.restart(3, 4);
    assert_eq!((restored.kept, restored.ended), (0, 0));
}

#[test]
fn rows_of_another_rule_or_that_cannot_be_read_are_left_out() {
    let mut bench = Bench::new("SELECT lag(x) AS a FROM 't/+'");
    bench.hear("t/1", r#"{"x":1}"#, 0).hear("t/2", r#"{"x":1}"#, 0);
    bench.commit();
    let torn = bench.states.values().next().unwrap();
    for length in 0..torn.len() {
        assert!(encoding::decode(&torn[..length]).is_err(), "{length}");
    }
    let torn = torn.slice(1..);
    *bench.states.values_mut().next().unwrap() = torn;
    let restored = bench.restart(0, 1);
    assert_eq!((restored.kept, restored.ended, restored.rejected), (1, 0, 1));
    bench.engine = engine("SELECT lag(y) AS a FROM 't/+'");
    let restored = bench.restart(1, 2);
    assert_eq!((restored.kept, restored.ended, restored.rejected), (0, 1, 1));
    bench.commit();
    assert_eq!(bench.states.len(), 1, "what ended is taken off, what cannot be read stays");
}

#[test]
fn waiting_messages_of_a_rule_that_ends_have_their_turn_before() {
    let mut bench = Bench::new("SELECT x, lag(x) AS a FROM 't' TIMESTAMP BY ts LATENESS 1 HOUR");
    bench.hear("t", r#"{"x":2,"ts":2}"#, 0).hear("t", r#"{"x":1,"ts":1}"#, 0);
    bench.commit();
    assert_eq!(bench.waiting.len(), 2);
    bench.table.release(|_, _| true, &mut bench.out);
    assert!(bench.out.is_empty(), "it goes on");
    bench.table.release(|_, _| false, &mut bench.out);
    bench.settle();
    assert_eq!(bench.said(), [r#"{"x":1}"#, r#"{"x":2,"a":1}"#]);
    bench.table.rebuild([], at(1));
    bench.commit();
    assert!(bench.waiting.is_empty() && bench.states.is_empty());
}

/// Key, x, y, and whether a commit and a restart come before it.
type Beat = (usize, Option<i64>, Option<&'static str>, bool, bool);

fn beats() -> impl Strategy<Value = Vec<Beat>> {
    let x = prop::option::weighted(0.8, 0..4_i64);
    let y = prop::option::weighted(0.6, prop::sample::select(vec!["a", "b"]));
    let restart = prop::bool::weighted(0.15);
    prop::collection::vec((0..3_usize, x, y, any::<bool>(), restart), 0..60)
}

const SELECT: &str =
    "SELECT n, lag(x) AS one, lag(x, 3) AS three, lag(x, 2, -1) AS two, delta(x) AS d,
    had_changed(y) AS y, had_changed(x, y) AS xy FROM 't/+'";

fn payload(n: usize, beat: &Beat, ts: i64) -> String {
    let mut members = vec![format!(r#""n":{n},"ts":{ts}"#)];
    members.extend(beat.1.map(|x| format!(r#""x":{x}"#)));
    members.extend(beat.2.map(|y| format!(r#""y":"{y}""#)));
    format!("{{{}}}", members.join(","))
}

/// What must be said of `order`, the places of the beats in the order in which they are judged: every
/// answer from all messages before, as the manual has it.
fn expect(beats: &[Beat], order: &[usize]) -> Vec<String> {
    let mut said = Vec::new();
    for (turn, place) in order.iter().enumerate() {
        let (key, x, y, ..) = beats[*place];
        let before = order[..turn].iter().map(|earlier| beats[*earlier]);
        let before: Vec<Beat> = before.filter(|earlier| earlier.0 == key).collect();
        let xs: Vec<i64> = before.iter().filter_map(|earlier| earlier.1).collect();
        let ys: Vec<&str> = before.iter().filter_map(|earlier| earlier.2).collect();
        let back = |n: usize| xs.len().checked_sub(n).map(|at| xs[at]);
        let mut members = vec![format!(r#""n":{place}"#)];
        members.extend(back(1).map(|x| format!(r#""one":{x}"#)));
        members.extend(back(3).map(|x| format!(r#""three":{x}"#)));
        members.push(format!(r#""two":{}"#, back(2).unwrap_or(-1)));
        members.extend(x.zip(back(1)).map(|(now, before)| format!(r#""d":{}"#, now - before)));
        let y_changed = y.is_some_and(|y| ys.last() != Some(&y));
        let x_changed = x.is_some_and(|x| xs.last() != Some(&x));
        members.push(format!(r#""y":{y_changed},"xy":{}"#, x_changed || y_changed));
        said.push(format!("{{{}}}", members.join(",")));
    }
    said
}

proptest! {
    #[test]
    fn the_table_answers_what_a_naive_reading_does(beats in beats()) {
        let mut bench = Bench::new(SELECT);
        let mut now = 0;
        for (place, beat) in beats.iter().enumerate() {
            now += 1;
            if beat.3 {
                bench.commit();
            }
            if beat.4 {
                bench.restart(now, now + 7);
                now += 7;
            }
            bench.hear(&format!("t/{}", beat.0), &payload(place, beat, now), now);
        }
        let order: Vec<usize> = (0..beats.len()).collect();
        prop_assert_eq!(bench.said(), expect(&beats, &order));
        let keys = &bench.table.rules.get(RuleIndex(0)).unwrap().keys;
        let counted: usize = keys
            .numbers()
            .map(|number| bench.table.keys.get(number).unwrap().values.bytes())
            .sum();
        prop_assert_eq!(bench.counts().bytes, counted);
    }

    /// Any order of arrival within LATENESS gives the answers of the order of event times, key by key,
    /// wherever the gateway is killed.
    #[test]
    fn arrival_within_lateness_does_not_matter(
        beats in beats(), late in prop::collection::vec(0..=20_i64, 60), steps in prop::collection::vec(0..4_i64, 60),
    ) {
        // Event times go up; each message arrives up to LATENESS after its time.
        let mut times = Vec::new();
        let mut time = 1_000;
        for step in &steps[..beats.len()] {
            time += step;
            times.push(time);
        }
        let mut arrivals: Vec<usize> = (0..beats.len()).collect();
        arrivals.sort_by_key(|place| (times[*place] + late[*place], *place));
        let mut bench = Bench::new(&format!("{SELECT} TIMESTAMP BY ts LATENESS 20 ms"));
        let mut outage = 0;
        let mut now = 0;
        for place in &arrivals {
            let beat = &beats[*place];
            now = times[*place] + late[*place] + outage;
            if beat.3 {
                bench.pass(now);
                bench.commit();
            }
            if beat.4 {
                bench.pass(now);
                bench.restart(now, now + 500);
                outage += 500;
                now += 500;
            }
            bench.hear(&format!("t/{}", beat.0), &payload(*place, beat, times[*place]), now);
        }
        bench.pass(now + 100);
        // Of one time, as they arrived.
        let mut order = arrivals.clone();
        order.sort_by_key(|place| times[*place]);
        let said = bench.said();
        let of_key = |lines: &[String], key: usize| -> Vec<String> {
            let place = |line: &String| -> usize {
                let rest = line.strip_prefix(r#"{"n":"#).unwrap();
                rest.split([',', '}']).next().unwrap().parse().unwrap()
            };
            lines.iter().filter(|line| beats[place(line)].0 == key).cloned().collect()
        };
        let expected = expect(&beats, &order);
        for key in 0..3 {
            prop_assert_eq!(of_key(&said, key), of_key(&expected, key), "key {}", key);
        }
        prop_assert_eq!((bench.counts().event.waiting, bench.counts().event.waiting_bytes), (0, 0));
        bench.commit();
        prop_assert!(bench.waiting.is_empty());
    }
}

/// The age of keys when nothing else is said, ms.
const AGE: i64 = 30 * 24 * 3600 * 1000;

#[test]
fn a_key_that_was_silent_for_its_age_is_forgotten_with_its_row() {
    let mut bench = Bench::new("SELECT lag(n) AS before FROM 'm/+'");
    bench.hear("m/a", r#"{"n":1}"#, 0).hear("m/b", r#"{"n":7}"#, AGE - 1);
    bench.commit();
    bench.hear("m/a", r#"{"n":2}"#, AGE - 1).hear("m/a", r#"{"n":3}"#, 2 * AGE - 1);
    assert_eq!(bench.said(), ["{}", "{}", r#"{"before":1}"#, "{}"], "the other side of the bound");
    bench.commit();
    let keys: Vec<&CompactString> = bench.states.keys().collect();
    assert_eq!(keys, ["[\"m/a\"]"], "the silent one is off the disk, though it did not come back");
    let counts = bench.counts();
    assert_eq!((counts.keys, counts.bytes, counts.forgotten), (1, 1, 2));
}

#[test]
fn a_key_that_says_nothing_new_is_as_old_after_a_restart_and_downtime_is_no_silence() {
    let mut bench = Bench::new("SELECT n, had_changed(n) AS changed FROM 'm/+'");
    for now in (0..AGE).step_by(usize::try_from(AGE / 40).unwrap()) {
        bench.hear("m/a", r#"{"n":1}"#, now);
        bench.commit();
    }
    bench.said();
    // A year without the gateway, then nearly the age in silence.
    let back = 13 * AGE;
    bench.restart(AGE, back);
    bench.hear("m/a", r#"{"n":1}"#, back + AGE - AGE / 8);
    assert_eq!(bench.said(), [r#"{"n":1,"changed":false}"#]);
    bench.restart(back + AGE, back + AGE);
    bench.hear("m/a", r#"{"n":1}"#, back + 2 * AGE);
    assert_eq!(bench.said(), [r#"{"n":1,"changed":true}"#]);
}

#[test]
fn what_waits_for_its_turn_keeps_a_silent_key() {
    let mut bench =
        Bench::new("SELECT lag(n) AS before FROM 'm/+' TIMESTAMP BY ts SECONDS LATENESS 366 DAYS");
    bench.hear("m/a", r#"{"n":1,"ts":1}"#, 0).hear("m/b", r#"{"n":1,"ts":1}"#, 2 * AGE);
    bench.commit();
    assert_eq!((bench.counts().keys, bench.counts().forgotten, bench.waiting.len()), (2, 0, 2));
}

#[test]
fn very_many_silent_keys_are_forgotten_over_several_messages() {
    let keys = KEYS_FORGOTTEN_MAX + KEYS_FORGOTTEN_MAX / 2;
    let mut bench = Bench::with_keys("SELECT lag(n) AS before FROM 'm/+'", 10 * KEYS_FORGOTTEN_MAX);
    for key in 0..keys {
        bench.hear(&format!("m/{key}"), r#"{"n":1}"#, 0);
    }
    for left in [keys - KEYS_FORGOTTEN_MAX, 0] {
        bench.hear("m/new", r#"{"n":1}"#, AGE);
        assert_eq!(bench.counts().keys, left + 1);
    }
}
