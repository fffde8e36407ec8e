//! What is allocated, counted: resident memory would show the allocator's habits too.
//!
//! A message that no rule wants allocates nothing: neither with few rules, which are evaluated one by
//! one, nor with many, which are indexed. A key that is watched takes little, and when it ends, nothing of it
//! is left.

use std::sync::Arc;

use bytes::Bytes;

use tidegate::clock::Timestamp;
use tidegate::config::Config;
use tidegate::engine::Engine;
use tidegate::engine::Evaluation;
use tidegate::engine::Observed;
use tidegate::engine::Plan;
use tidegate::engine::RuleIndex;
use tidegate::engine::hold::KEY_BYTES;
use tidegate::engine::hold::Progress;
use tidegate::engine::hold::Transitions;
use tidegate::engine::rows::KeyChange;
use tidegate::engine::stateful::StateTable;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::Rule;
use tidegate::rule::ast::SqlVersion;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::table::NoFiles;
use tidegate::rule::table::Tables;
use tidegate::rule_files;
use tidegate::topic::TopicName;

const PAYLOAD: &str = r#"{"id":7,"t":21.75,"text":"ok","long":"a text that is stored outside of its value","list":[1,{"a":2}],"n":{"v":-1e3},"none":null}"#;

fn rule(format: &str, condition: &str) -> Arc<Rule> {
    let sql = format!("SELECT * FROM 'lab/+' {format} WHERE {condition}");
    let (version, tables) = (SqlVersion::default(), Arc::new(Tables::default()));
    Arc::new(Rule::from_select("r", &sql, version, &tables, &mut NoFiles).expect("a sound rule"))
}

fn publish(payload: &[u8]) -> Publish {
    Publish {
        topic: TopicName::parse("lab/7").expect("a topic name"),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(1),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    }
}

/// What the third message of its kind allocates; the ones before have filled what is kept.
fn allocations(rules: Vec<Arc<Rule>>, payload: &[u8]) -> u64 {
    let engine = Engine::new(rules, "1");
    let publish = publish(payload);
    let plan = engine.plan(&publish.topic);
    let mut out = Evaluation::default();
    let mut evaluate = || {
        engine.evaluate(&plan, &publish, &mut out);
        assert_eq!((out.hits.len(), out.faults.len()), (0, 0));
        out.unknown.clear();
        out.unknown_together.clear();
    };
    evaluate();
    evaluate();
    allocation_counter::measure(evaluate).count_total
}

/// False of [`PAYLOAD`], or UNKNOWN.
const CONDITIONS: &[&str] = &[
    "t > 22",
    "t >= 21.750000000000000001",
    "22 < t",
    "t BETWEEN 30 AND 40",
    "t = 21",
    "id IN [1, 2, 3, 'x']",
    "text = 'bad'",
    "text IN ['bad', 'worse']",
    "text <> 'ok'",
    "text LIKE 'b%'",
    "text > 3",
    "NOT text = 'ok'",
    "n.v > 0",
    "none > 1",
    "none IS NOT NULL",
    "missing > 1",
    "missing = 'x' AND t > 20",
    "t > 20 AND id = 7 AND text = 'ok' AND n.v > 5",
    "t > 22 OR id > 7 OR text = 'bad'",
];

#[test]
fn a_message_that_matches_no_comparison_allocates_nothing() {
    for condition in CONDITIONS {
        let allocated = allocations(vec![rule("", condition)], PAYLOAD.as_bytes());
        assert_eq!(allocated, 0, "{condition}");
    }
    let all = CONDITIONS.iter().map(|condition| rule("", condition)).collect();
    assert_eq!(allocations(all, PAYLOAD.as_bytes()), 0, "all together");
}

#[test]
fn nor_with_a_thousand_rules_on_its_topic() {
    for condition in [
        "t > 2{}",
        "t BETWEEN 3{} AND 4{}",
        "text = 'bad{}'",
        "id IN [1{}, 'x']",
        "gone > {}",
        "gone > {} AND id = 1{}",
    ] {
        let rules = (0..1000).map(|i| rule("", &condition.replace("{}", &format!("{}", i + 100))));
        assert_eq!(allocations(rules.collect(), PAYLOAD.as_bytes()), 0, "{condition}");
    }
}

#[test]
fn nor_in_the_binary_formats() {
    let value: serde_json::Value = serde_json::from_str(PAYLOAD).expect("JSON");
    let mut cbor = Vec::new();
    ciborium::into_writer(&value, &mut cbor).expect("written into memory");
    let msgpack = rmp_serde::to_vec(&value).expect("written into memory");
    for (format, payload) in [("AS CBOR", cbor), ("AS MSGPACK", msgpack)] {
        for condition in CONDITIONS {
            let allocated = allocations(vec![rule(format, condition)], &payload);
            assert_eq!(allocated, 0, "{format} {condition}");
        }
    }
}

#[test]
fn the_counter_counts() {
    let long = allocations(vec![rule("", "long = 'x'")], PAYLOAD.as_bytes());
    assert!(long > 0, "a long text is made to be compared");
}

/// Keys of a flood.
const KEYS: u32 = 50_000;
/// What may be left behind by all of them together, bytes: buffers of the usual size.
const LEFT: i64 = 1 << 18;
const _: () = assert!(LEFT < KEYS as i64 * 8, "less than a pointer for each");
const HOUR_MS: i64 = 3_600_000;

/// A rule's state, fed as the journal's writer feeds it.
struct Watch {
    engine: Engine,
    states: StateTable,
    evaluation: Evaluation,
    transitions: Transitions,
    plan: Arc<Plan>,
}

impl Watch {
    fn new(clauses: &str) -> Self {
        let text = format!("CREATE RULE r AS SELECT {clauses} DO LOG;");
        let source = Source { path: "test.rule".into(), content: Ok(text.into_bytes()) };
        let checked = set::check(&[source], &rule_files::targets(&Config::default()), &mut NoFiles);
        assert!(!checked.has_errors(), "{clauses}");
        let engine = Engine::new(checked.rules, "1");
        Watch {
            states: StateTable::new(engine.stateful(KEYS as usize)),
            plan: engine.plan(&TopicName::parse("lab/7").expect("a topic name")),
            engine,
            evaluation: Evaluation::default(),
            transitions: Transitions::default(),
        }
    }

    /// A message of each key at `at`, which is its event time too.
    fn all_say(&mut self, t: i64, at: i64) {
        for key in 0..KEYS {
            let text = format!(r#"{{"id":{key},"t":{t},"ts":{at}}}"#);
            let received_at = Timestamp::from_millis(at);
            let publish = Publish { received_at, ..publish(text.as_bytes()) };
            self.engine.evaluate(&self.plan, &publish, &mut self.evaluation);
            for observed in self.evaluation.observations.drain(..) {
                match observed {
                    Observed::Condition(seen) => self.states.observe(seen, &mut self.transitions),
                    Observed::Contribution(seen) => self.states.gather(seen, &mut self.transitions),
                    Observed::Message(_) => unreachable!("nothing looks back"),
                }
            }
            if key % 1000 == 999 {
                self.commit();
            }
        }
    }

    fn pass(&mut self, until: i64) {
        let until = Timestamp::from_millis(until);
        while self.states.advance(until, &mut self.transitions) == Progress::More {
            self.commit();
        }
        self.commit();
    }

    fn commit(&mut self) {
        let mut rows: Vec<KeyChange> = Vec::new();
        self.states.take_changes(&mut rows);
        drop(rows);
        assert!(self.transitions.faults.is_empty(), "{:?}", self.transitions.faults);
        self.transitions.clear();
    }

    fn keys(&self) -> usize {
        let rule = RuleIndex(0);
        let held = self.states.hold_counts(rule);
        let held = held.map_or(0, |counts| counts.counting + counts.pending + counts.firing);
        held + self.states.window_counts(rule).map_or(0, |counts| counts.groups)
    }
}

/// Ends all keys of a flood, where time alone does not.
type End = fn(&mut Watch);

/// What each key of a flood takes, bytes, and what all of them leave when they have ended, by `end`.
fn flood(clauses: &str, end: impl FnOnce(&mut Watch)) -> (i64, i64) {
    let mut watch = Watch::new(clauses);
    // What is kept for the next message is there before.
    watch.pass(0);
    let held = allocation_counter::measure(|| watch.all_say(31, 0)).bytes_current;
    assert_eq!(watch.keys(), KEYS as usize, "{clauses}");
    let gone = allocation_counter::measure(|| {
        end(&mut watch);
        watch.pass(HOUR_MS * 3);
    });
    assert_eq!(watch.keys(), 0, "{clauses}");
    (held / i64::from(KEYS), held + gone.bytes_current)
}

#[test]
fn a_flood_of_keys_that_has_ended_leaves_nothing() {
    let by_false = |watch: &mut Watch| watch.all_say(20, 1000);
    let by_time = |_: &mut Watch| ();
    let cases: [(&str, End); 8] = [
        ("id FROM 'lab/+' WHEN t > 30 FOR 1 DAY PARTITION BY id", by_false),
        ("id FROM 'lab/+' WHEN t > 30 FOR 0 SECONDS PARTITION BY id", by_false),
        ("id FROM 'lab/+' WHEN t > 30 FOR 1 SECOND PARTITION BY id MAX GAP 1 MINUTE", by_time),
        ("id FROM 'lab/+' WHEN t > 30 AT LEAST 2 TIMES WITHIN 1 HOUR PARTITION BY id", by_time),
        ("id FROM 'lab/+' TIMESTAMP BY ts WHEN t > 30 FOR 1 DAY PARTITION BY id", by_false),
        ("count(*) AS n FROM 'lab/+' GROUP BY id, TUMBLE(1 MINUTE)", by_time),
        ("avg(t) AS mean FROM 'lab/+' GROUP BY id, SESSION(1 MINUTE)", by_time),
        ("collect(t) AS all FROM 'lab/+' GROUP BY id, HOP(10 MINUTES, 1 MINUTE)", by_time),
    ];
    for (clauses, end) in cases {
        let (each, left) = flood(clauses, end);
        println!("{clauses}: {each} bytes a key, {left} left of all");
        assert!(left < LEFT, "{clauses}: {left} bytes of {KEYS} keys are left");
    }
}

/// What a group takes with one open window, beside the text of its key, bytes.
const GROUP_BYTES: i64 = 650;

#[test]
fn a_group_takes_as_little_as_is_said() {
    for columns in
        ["count(*) AS n", "avg(t) AS mean, min(t) AS least, max(t) AS most", "stddev(t) AS spread"]
    {
        for window in ["TUMBLE(1 MINUTE)", "SESSION(1 MINUTE)"] {
            let (each, _) = flood(&format!("{columns} FROM 'lab/+' GROUP BY id, {window}"), |_| ());
            println!("{columns} {window}: {each} bytes a group");
            assert!(each <= GROUP_BYTES, "{columns} {window}: {each} bytes a group");
        }
    }
}

#[test]
fn a_watched_key_takes_as_little_as_is_said() {
    let message = r#"{"id":12345,"t":31,"ts":0}"#.len() + "lab/7".len();
    for clauses in [
        "id FROM 'lab/+' WHEN t > 30 FOR 1 DAY PARTITION BY id",
        "id FROM 'lab/+' WHEN t > 30 FOR 0 SECONDS PARTITION BY id CLEAR FOR 1 MINUTE KEEP 1 HOUR",
        "id FROM 'lab/+' WHEN t > 30 FOR 1 DAY PARTITION BY id MAX GAP 1 HOUR REPEAT EVERY 1 HOUR",
    ] {
        let (each, _) = flood(clauses, |watch| {
            watch.all_say(20, 1000);
            watch.pass(2 * HOUR_MS);
        });
        let own = each - i64::try_from(message).expect("a short message");
        assert!(own <= i64::try_from(KEY_BYTES).expect("few"), "{clauses}: {own} bytes a key");
    }
}
