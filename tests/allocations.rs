//! A message that no rule wants allocates nothing: neither with few rules, which are evaluated one by
//! one, nor with many, which are indexed.

use std::sync::Arc;

use bytes::Bytes;

use tidegate::clock::Timestamp;
use tidegate::engine::Engine;
use tidegate::engine::Evaluation;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::Rule;
use tidegate::rule::ast::SqlVersion;
use tidegate::rule::table::NoFiles;
use tidegate::rule::table::Tables;
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
