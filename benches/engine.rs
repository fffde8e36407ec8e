//! The engine's hot path: a message that has been read, against compiled rules.
//!
//! `cargo bench --bench engine`. Times are per message, with the plan of its topic at hand, as a
//! connection has it; `plan` is what the first message on a topic costs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;

use tidegate::clock::Timestamp;
use tidegate::config::Config;
use tidegate::engine::Contribution;
use tidegate::engine::Engine;
use tidegate::engine::Evaluation;
use tidegate::engine::Observed;
use tidegate::engine::hold::Transitions;
use tidegate::engine::stateful::StateTable;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::Rule;
use tidegate::rule::ast::SqlVersion;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::table::NoFiles;
use tidegate::rule_files;
use tidegate::topic::TopicName;

/// 145 bytes, as a small sensor sends it.
const SMALL: &str = r#"{"moteid":7,"temperature":21.75,"humidity":43.2,"light":118,"voltage":2.68,"status":"ok","seq":184467,"fw":"1.4.2","ts":1700000000123,"alarm":0}"#;

/// About 2 KB: the same, and a block of readings that no rule names.
fn large() -> String {
    let readings: Vec<String> =
        (0..60).map(|i| format!(r#"{{"n":"ch{i}","v":{}.{i},"u":"Cel"}}"#, i * 3)).collect();
    format!(r#"{},"readings":[{}]}}"#, SMALL.trim_end_matches('}'), readings.join(","))
}

fn rule(name: &str, sql: &str) -> Arc<Rule> {
    Arc::new(
        Rule::from_select(name, sql, SqlVersion::V2016_03_23, &Arc::default(), &mut NoFiles)
            .expect("the statement is sound"),
    )
}

fn publish(topic: &str, payload: &str) -> Publish {
    publish_bytes(topic, payload.as_bytes())
}

fn publish_bytes(topic: &str, payload: &[u8]) -> Publish {
    Publish {
        topic: TopicName::parse(topic).expect("a topic name"),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(1_700_000_000_123),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    }
}

/// Evaluates one message over and over; `hits` is what each time must give.
fn evaluate(bencher: &mut criterion::Bencher<'_>, engine: &Engine, publish: &Publish, hits: usize) {
    let plan = engine.plan(&publish.topic);
    let mut out = Evaluation::default();
    engine.evaluate(&plan, publish, &mut out);
    assert_eq!((out.hits.len(), out.faults.len()), (hits, 0));
    bencher.iter(|| {
        out.hits.clear();
        out.unknown.clear();
        out.unknown_together.clear();
        engine.evaluate(black_box(&plan), black_box(publish), &mut out);
    });
}

/// `terms` true terms and a false one at the end, so that every term is looked at.
fn condition(terms: usize) -> String {
    let known = [
        "temperature > 20",
        "humidity < 60.5",
        "status = 'ok'",
        "light >= 100",
        "voltage > 2.5",
        "moteid = 7",
        "fw = '1.4.2'",
        "seq > 1000",
        "ts > 1600000000000",
    ];
    let mut condition: Vec<&str> = known.iter().copied().take(terms - 1).collect();
    condition.push("alarm > 0");
    condition.join(" AND ")
}

fn conditions(c: &mut Criterion) {
    let mut group = c.benchmark_group("where");
    for (size, payload) in [("145B", SMALL.to_owned()), ("2KB", large())] {
        for terms in [1, 2, 3, 10] {
            let sql = format!("SELECT * FROM 'lab/+/telemetry' WHERE {}", condition(terms));
            let engine = Engine::new(vec![rule("bench", &sql)], "1");
            let publish = publish("lab/7/telemetry", &payload);
            let id = BenchmarkId::new(format!("{terms}_terms"), size);
            group.bench_function(id, |b| evaluate(b, &engine, &publish, 0));
        }
    }
    group.finish();
}

/// The message of `where/2_terms` in the other formats that are walked.
fn formats(c: &mut Criterion) {
    let mut group = c.benchmark_group("formats");
    for (size, payload) in [("145B", SMALL.to_owned()), ("2KB", large())] {
        let value: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
        let mut cbor = Vec::new();
        ciborium::into_writer(&value, &mut cbor).expect("written into memory");
        let msgpack = rmp_serde::to_vec(&value).expect("written into memory");
        let encoded = [
            ("json", "", payload.into_bytes()),
            ("cbor", "AS CBOR", cbor),
            ("msgpack", "AS MSGPACK", msgpack),
        ];
        for (name, clause, payload) in encoded {
            let condition = condition(2);
            let sql = format!("SELECT * FROM 'lab/+/telemetry' {clause} WHERE {condition}");
            let engine = Engine::new(vec![rule("bench", &sql)], "1");
            let publish = publish_bytes("lab/7/telemetry", &payload);
            let id = BenchmarkId::new(format!("{name}/2_terms"), size);
            group.bench_function(id, |b| evaluate(b, &engine, &publish, 0));
        }
    }
    group.finish();
}

fn matches(c: &mut Criterion) {
    let mut group = c.benchmark_group("match");
    for (name, select) in [
        ("star", "*"),
        ("projection", "moteid AS id, temperature, topic(2) AS mote"),
        ("arithmetic", "temperature * 1.8 + 32 AS fahrenheit, round(voltage) AS v"),
    ] {
        let sql = format!("SELECT {select} FROM 'lab/+/telemetry' WHERE temperature > 20");
        let engine = Engine::new(vec![rule("bench", &sql)], "1");
        let publish = publish("lab/7/telemetry", SMALL);
        group.bench_function(name, |b| evaluate(b, &engine, &publish, 1));
    }
    group.finish();
}

fn many_rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    for count in [1, 100, 10_000] {
        let rules = (0..count).map(|i| {
            let condition = "temperature > 30 AND voltage > 2";
            rule(&format!("r{i}"), &format!("SELECT * FROM 'lab/{i}/telemetry' WHERE {condition}"))
        });
        let engine = Engine::new(rules.collect(), "1");
        let publish = publish("lab/0/telemetry", SMALL);
        let id = BenchmarkId::new("distinct_topics", count);
        group.bench_function(id, |b| evaluate(b, &engine, &publish, 0));
        let id = BenchmarkId::new("plan", count);
        group.bench_function(id, |b| b.iter(|| engine.plan(black_box(&publish.topic))));
    }
    group.finish();
}

/// Many rules on one topic with differing thresholds on one field, of which the message reaches none.
/// NOT keeps a term out of the index and says the same: the rules of `plain` are all evaluated.
fn thresholds(c: &mut Criterion) {
    let mut group = c.benchmark_group("thresholds");
    for count in [2, 4, 8, 16, 1000] {
        for (name, not_above) in [("indexed", "temperature > "), ("plain", "NOT temperature <= ")] {
            let rules = (0..count).map(|i| {
                let sql = format!("SELECT * FROM 'lab/+/telemetry' WHERE {not_above}{}", i + 22);
                rule(&format!("r{i}"), &sql)
            });
            let engine = Engine::new(rules.collect(), "1");
            for (found, payload) in
                [("none", SMALL.to_owned()), ("missing", SMALL.replace("temperature", "t"))]
            {
                let publish = publish("lab/0/telemetry", &payload);
                let id = BenchmarkId::new(format!("{name}/{found}"), count);
                group.bench_function(id, |b| evaluate(b, &engine, &publish, 0));
            }
        }
    }
    for (name, condition) in
        [("band", "temperature BETWEEN {} AND {}"), ("equal", "moteid = {} AND light > {}")]
    {
        let rules = (0..1000).map(|i: u32| {
            let condition = condition.replacen("{}", &(i + 30).to_string(), 1);
            let condition = condition.replacen("{}", &(i + 31).to_string(), 1);
            rule(&format!("r{i}"), &format!("SELECT * FROM 'lab/+/telemetry' WHERE {condition}"))
        });
        let engine = Engine::new(rules.collect(), "1");
        let publish = publish("lab/0/telemetry", SMALL);
        group.bench_function(BenchmarkId::new(name, 1000), |b| evaluate(b, &engine, &publish, 0));
    }
    group.finish();
}

/// A rule as the gateway reads it from a file.
fn rule_file(text: &str) -> Vec<Arc<Rule>> {
    let source = Source { path: "bench.rule".into(), content: Ok(text.as_bytes().to_vec()) };
    let targets = rule_files::targets(&Config::default());
    let checked = set::check(&[source], &targets, &mut NoFiles);
    assert!(!checked.has_errors(), "the rule is sound");
    checked.rules
}

/// A message of a rule with windows, gathered: decoded, its group found, added to the aggregates. The windows
/// that its time closes are part of it; what becomes of their records is not.
fn windows(c: &mut Criterion) {
    let mut group = c.benchmark_group("windows");
    for (name, window) in [
        ("tumble", "TUMBLE(1 MINUTE)"),
        ("hop", "HOP(1 MINUTE, 10 SECONDS)"),
        ("session", "SESSION(1 HOUR)"),
        ("count", "COUNT(100)"),
        ("slide", "SLIDE(100 MILLISECONDS)"),
    ] {
        for groups in [1_usize, 10_000] {
            let select = "SELECT moteid, avg(temperature) AS mean FROM 'lab/+/telemetry'";
            let text = format!("CREATE RULE w AS {select} GROUP BY moteid, {window} DO LOG;");
            let engine = Engine::new(rule_file(&text), "1");
            let mut table = StateTable::new(engine.stateful(groups));
            let messages: Vec<Publish> = (0..groups)
                .map(|mote| SMALL.replace("\"moteid\":7", &format!("\"moteid\":{mote}")))
                .map(|payload| publish("lab/7/telemetry", &payload))
                .collect();
            let plan = engine.plan(&messages[0].topic);
            let (mut out, mut transitions) = (Evaluation::default(), Transitions::default());
            let (mut count, mut closed) = (0_usize, 0_usize);
            let id = BenchmarkId::new(name, groups);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let message = &messages[count % groups];
                    // A thousand messages a second.
                    let now = Timestamp::from_millis(1_700_000_000_000 + count as i64);
                    count += 1;
                    engine.evaluate(&plan, message, &mut out);
                    for observed in out.observations.drain(..) {
                        let Observed::Contribution(added) = observed else { continue };
                        table.gather(Contribution { at: now, ..added }, &mut transitions);
                    }
                    closed += transitions.windows.len();
                    transitions.clear();
                    if count.is_multiple_of(1000) {
                        table.forget_changes();
                    }
                });
            });
            assert!(closed > 0 || groups > 1 || name == "session", "{name}: windows close");
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = conditions, formats, matches, many_rules, thresholds, windows
}
criterion_main!(benches);
