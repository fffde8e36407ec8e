use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::engine::Engine;
use crate::engine::Evaluation;
use crate::engine::Plan;
use crate::engine::tests::engine;
use crate::engine::tests::publish;
use crate::publish::Publish;

fn many(conditions: impl IntoIterator<Item = String>) -> Engine {
    let mut text = String::new();
    for (at, condition) in conditions.into_iter().enumerate() {
        writeln!(text, "CREATE RULE r{at} AS SELECT a FROM 'x' {condition} DO LOG;").unwrap();
    }
    engine(&text)
}

/// The rules that a message visits.
fn visited(plan: &Plan, engine: &Engine, publish: &Publish) -> Vec<u32> {
    let [source] = &plan.sources[..] else { panic!("one format") };
    let mut buffers = super::super::decode::Buffers::default();
    source.decode(&publish.payload, &mut buffers).unwrap();
    let mut visits = Visits::default();
    let index = source.index.as_ref().expect("there is an index");
    index.visit(&buffers.slots, &publish.payload, &mut visits, &mut Vec::new());
    assert!(engine.rules().len() >= visits.iter().count());
    visits.iter().map(|entry| source.entries[entry].rule.0).collect()
}

#[track_caller]
fn check_visits(engine: &Engine, payload: &str, expected: &[u32]) {
    let publish = publish("x", payload);
    assert_eq!(visited(&engine.plan(&publish.topic), engine, &publish), expected, "{payload}");
}

#[test]
fn a_message_visits_the_rules_whose_threshold_it_has_passed() {
    let engine = many((0..1000).map(|i| format!("WHERE t > {i}.5")));
    check_visits(&engine, r#"{"t":3}"#, &[0, 1, 2]);
    check_visits(&engine, r#"{"t":3.5}"#, &[0, 1, 2]);
    check_visits(&engine, r#"{"t":"3.50000000000000000000000000000001"}"#, &[0, 1, 2, 3]);
    check_visits(&engine, r#"{"t":-1}"#, &[]);
    check_visits(&engine, r#"{"t":null}"#, &[]);
    check_visits(&engine, "[1]", &[]);
    let bands = (0..1000).map(|i| match i % 4 {
        0 => format!("WHERE t BETWEEN {i} AND {}", i + 1),
        1 => format!("WHERE {i} <= t AND t < {}", i + 1),
        2 => format!("WHERE t > {i} AND a = 1 AND t <= {}", i + 2),
        _ => format!("WHERE t <= {i}"),
    });
    let engine = many(bands);
    check_visits(&engine, r#"{"t":995}"#, &[994, 995, 999]);
    check_visits(&engine, r#"{"t":996}"#, &[994, 996, 999]);
}

#[test]
fn equal_constants_are_found_by_their_hash() {
    let conditions = (0..1000).map(|i| match i % 4 {
        0 => format!("WHERE id = {i}"),
        1 => format!("WHERE 'mote-{i}' = id AND a > 1"),
        2 => format!("WHERE id IN [{i}, 'mote-{}']", i - 1),
        _ => format!("WHERE status = 'ok' AND id = {i}.0"),
    });
    let engine = many(conditions);
    check_visits(&engine, r#"{"id":8}"#, &[8]);
    check_visits(&engine, r#"{"id":8.0}"#, &[8]);
    check_visits(&engine, r#"{"id":"8"}"#, &[]);
    check_visits(&engine, r#"{"id":"mote-9"}"#, &[9, 10]);
    check_visits(&engine, r#"{"id":11}"#, &[11]);
    // UNKNOWN AND a > 1 may be false: those are looked at.
    let publish = publish("x", "{}");
    let plan = engine.plan(&publish.topic);
    assert_eq!(visited(&plan, &engine, &publish).len(), 500);
    assert_eq!(plan.together().iter().map(|rules| rules.len()).collect::<Vec<_>>(), [500]);
}

#[test]
fn what_is_no_plain_comparison_is_always_visited() {
    let shy = [
        "",
        "WHERE NOT t > 1",
        "WHERE t <> 1",
        "WHERE t > u",
        "WHERE t NOT IN [1]",
        "WHERE t NOT BETWEEN 1 AND 2",
        "WHERE t > 1 OR u > 1",
        "WHERE t[0] > 1",
        "WHERE t > 'warm'",
        "WHERE t = [1]",
        "WHERE rpad('x', u) = 'x' AND t > 100",
        "FOREACH v AS e WHERE t > 100",
    ];
    let thresholds = (0..20).map(|i| format!("WHERE t > {}", i + 100));
    let engine = many(shy.iter().map(|s| (*s).to_owned()).chain(thresholds));
    check_visits(&engine, r#"{"t":1}"#, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    let harmless = (0..20).map(|i| format!("WHERE NOT u IS NULL AND v LIKE 'a%' AND t > {i}"));
    check_visits(&many(harmless), r#"{"t":1}"#, &[0]);
}

#[test]
fn the_most_telling_term_of_a_rule_is_the_one_indexed() {
    let engine = many((0..100).map(|i| format!("WHERE status = 'ok' AND t > {i}")));
    check_visits(&engine, r#"{"status":"ok","t":2}"#, &[0, 1]);
    let engine = many((0..100).map(|i| format!("WHERE t > 20 AND id = {i}")));
    check_visits(&engine, r#"{"t":30,"id":7}"#, &[7]);
}

#[test]
fn few_rules_are_looked_at_one_by_one() {
    let few = PREDICATE_INDEX_MIN - 1;
    let engine = many((0..few).map(|i| format!("WHERE t > {i}")));
    let plan = engine.plan(&publish("x", "").topic);
    assert!(plan.sources[0].index.is_none());
}

/// All that evaluating gave, with the rules of groups named.
fn told(engine: &Engine, plan: &Plan, publish: &Publish) -> String {
    let mut out = Evaluation::default();
    engine.evaluate(plan, publish, &mut out);
    let together = out.unknown_together.iter().flat_map(|group| &plan.together()[*group as usize]);
    let mut unknown: Vec<u32> = out.unknown.iter().chain(together).map(|rule| rule.0).collect();
    unknown.sort_unstable();
    let Evaluation { hits, observations, faults, .. } = out;
    format!("{hits:?}\n{observations:?}\n{faults:?}\n{unknown:?}")
}

fn constant() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "0",
        "1",
        "-1",
        "2",
        "3",
        "2.0",
        "2.5",
        "-0.5",
        "1E3",
        "9223372036854775807",
        "2.000000000000000000000000000000001",
        "123456789012345678901234567890.5",
        "'2'",
        "'2.5'",
        "'on'",
        "'off'",
        "''",
        "'a string of more than twenty-four bytes'",
        "true",
        "null",
    ])
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "a", "a", "b", "c.d"])
}

fn term() -> impl Strategy<Value = String> {
    let op = prop::sample::select(vec!["<", "<=", ">", ">=", "=", "<>"]);
    let shy = prop::sample::select(vec![
        "a IS NULL",
        "b LIKE 'o%'",
        "NOT a > 2",
        "a > b",
        "flag",
        "lpad('x', b * 1000000, 'x') = 'x'",
        "(a > 1 OR b = 2)",
        "concat(a, b) <> 'x'",
        "a BETWEEN b AND 3",
        "a IN b",
    ]);
    prop_oneof![
        4 => (field(), op.clone(), constant()).prop_map(|(f, op, c)| format!("{f} {op} {c}")),
        1 => (constant(), op, field()).prop_map(|(c, op, f)| format!("{c} {op} {f}")),
        1 => (field(), constant(), constant())
            .prop_map(|(f, low, high)| format!("{f} BETWEEN {low} AND {high}")),
        1 => (field(), prop::collection::vec(constant(), 0..4))
            .prop_map(|(f, list)| format!("{f} IN [{}]", list.join(", "))),
        1 => shy.prop_map(str::to_owned),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let clause = prop::sample::select(vec![
        "FROM 'x'",
        "FROM 'x'",
        "FROM 'x'",
        "FROM 'x' AS CBOR",
        "FROM 'x' FOREACH e AS e",
    ]);
    let when = prop::sample::select(vec![
        "",
        "",
        " WHEN b > 1 FOR 1 SECOND",
        " WHEN NO DATA FOR 1 SECOND",
    ]);
    let filter = prop::collection::vec(term(), 0..4);
    (clause, filter, when).prop_map(|(clause, terms, when)| {
        let filter =
            if terms.is_empty() { String::new() } else { format!("WHERE {}", terms.join(" AND ")) };
        format!("SELECT a, b {clause} {filter}{when}")
    })
}

fn payload() -> impl Strategy<Value = String> {
    let value = || {
        prop::sample::select(vec![
            "",
            "0",
            "1",
            "2",
            "2.0",
            "2.5",
            "-1",
            "-0.5",
            "3",
            "1e3",
            "9e999",
            "2.000000000000000000000000000000001",
            "9223372036854775808",
            "\"2\"",
            "\"2.5\"",
            "\"on\"",
            "\"off\"",
            "\"\"",
            "\"a string of more than twenty-four bytes\"",
            "\"2.5 \"",
            "true",
            "false",
            "null",
            "[2]",
            "{\"d\":2}",
            "[1,\"on\"]",
        ])
    };
    let whole = (value(), value(), value(), value()).prop_map(|(a, b, c, e)| {
        let members = [("a", a), ("b", b), ("c", c), ("e", e), ("flag", "true")];
        let members = members.iter().filter(|(_, value)| !value.is_empty());
        let members: Vec<_> = members.map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    });
    prop_oneof![20 => whole, 1 => Just("[2]".to_owned()), 1 => Just("{\"a\":".to_owned())]
}

proptest! {
    #[test]
    fn an_index_changes_nothing_but_the_work(
        rules in prop::collection::vec(rule(), 1..60),
        payloads in prop::collection::vec(payload(), 1..8),
    ) {
        let mut text = String::new();
        for (at, rule) in rules.iter().enumerate() {
            writeln!(text, "CREATE RULE r{at} AS {rule} DO LOG;").unwrap();
        }
        let engine = engine(&text);
        let rules: Vec<_> = (0..).map(RuleIndex).take(rules.len()).collect();
        let (indexed, mut plain) = (engine.plan_of(&rules), engine.plan_of(&rules));
        plain.sources.iter_mut().for_each(|source| source.index = None);
        for payload in payloads {
            let publish = publish("x", &payload);
            prop_assert_eq!(told(&engine, &indexed, &publish), told(&engine, &plain, &publish), "{}", payload);
        }
    }
}
