use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::limits::ARRAY_GROWTH_MAX;
use crate::limits::FOREACH_ELEMENTS_MAX;
use crate::limits::HEADERS_BYTES_MAX;
use crate::limits::HOLD_KEY_BYTES_MAX;
use crate::limits::HOPS_MAX;
use crate::publish::Origin;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::rule::ast::SqlVersion;
use crate::rule::parse::parse_file;
use crate::rule::schema::Schemas;
use crate::rule::set::Targets;
use crate::value::json_reader;

pub(super) fn engine(text: &str) -> Engine {
    let parsed = parse_file(text);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let rule = |definition| {
        Arc::new(Rule {
            definition: Arc::new(definition),
            version: SqlVersion::default(),
            tables: Arc::default(),
            text: text.to_owned(),
            file: None,
            line: 1,
            switch: None,
            schemas: Schemas::default(),
        })
    };
    Engine::new(parsed.rules.into_iter().map(rule).collect(), "123")
}

pub(super) fn publish(topic: &str, payload: &str) -> Publish {
    Publish {
        topic: TopicName::parse(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(1000),
        origin: Arc::new(Origin {
            client_id: Some("dev".into()),
            principal: None,
            source_ip: None,
            record: None,
        }),
        properties: None,
        hops: 0,
    }
}

fn evaluate(engine: &Engine, publish: &Publish) -> Evaluation {
    let mut out = Evaluation::default();
    engine.evaluate(&engine.plan(&publish.topic), publish, &mut out);
    out
}

/// The one hit of a message.
fn hit(rule: &str, topic: &str, payload: &str) -> Hit {
    let mut out = evaluate(&engine(rule), &publish(topic, payload));
    assert_eq!((out.hits.len(), &out.faults), (1, &Vec::new()));
    out.hits.remove(0)
}

/// What the first action of a rule becomes: shown as text, or the code of its fault.
#[track_caller]
fn check_action(action: &str, payload: &str, expected: &str) {
    let rule = format!("CREATE RULE r AS SELECT x FROM 'a/#' DO {action};");
    let hit = hit(&rule, "a/b", payload);
    let shown = match &hit.actions[0] {
        Ok(PreparedAction::Stream { key, hash_key, records, .. }) => {
            format!("{key} {hash_key:?} {}", shown_records(records))
        }
        Ok(PreparedAction::Deliver { records, .. }) => shown_records(records),
        Ok(PreparedAction::Invoke { hook, payload }) => {
            format!("{hook} {}", String::from_utf8_lossy(payload))
        }
        Ok(PreparedAction::Republish { properties: Some(properties), .. }) => {
            format!("{properties:?}")
        }
        Ok(PreparedAction::Republish { topic, qos, retain, .. }) => {
            format!("{topic} {qos:?} {retain}")
        }
        Ok(PreparedAction::Upsert { table, key, value }) => {
            format!("{table} {key} {}", String::from_utf8_lossy(value))
        }
        Ok(PreparedAction::Log { text }) => text.clone(),
        Err(fault) => fault.code.as_str().to_owned(),
    };
    assert_eq!(shown, expected, "{action}");
}

fn shown_records(records: &[Bytes]) -> String {
    let texts = records.iter().map(|record| String::from_utf8_lossy(record).into_owned());
    texts.collect::<Vec<_>>().join("|")
}

#[test]
fn actions_see_the_message_and_not_the_aliases() {
    check_action("STREAM s KEY id", r#"{"id":7,"x":1}"#, r#"7 None {"x":1}"#);
    check_action("UPSERT t KEY id", r#"{"id":7,"x":1}"#, r#"t 7 {"x":1}"#);
    check_action("UPSERT t", r#"{"x":1}"#, r#"t a/b {"x":1}"#);
    check_action("STREAM s", r#"{"x":1}"#, r#"a/b None {"x":1}"#);
    check_action(
        "STREAM s KEY id HASH KEY h",
        r#"{"id":"k","h":"340282366920938463463374607431768211455"}"#,
        &format!("k Some({}) {{}}", u128::MAX),
    );
    check_action("DELIVER d", r#"{"x":[1]}"#, r#"{"x":[1]}"#);
    check_action("INVOKE h", r#"{"x":1.50}"#, r#"h {"x":1.5}"#);
    check_action(
        "REPUBLISH 'out/${id}/${topic(2)}' QOS 1 RETAIN",
        r#"{"id":7}"#,
        "out/7/b AtLeastOnce true",
    );
    check_action(
        "REPUBLISH '$$aws/things/${id}'",
        r#"{"id":"t"}"#,
        "$aws/things/t AtMostOnce false",
    );
    check_action("LOG 'x is ${x}, ${x * 2.0}'", r#"{"x":3}"#, "x is 3, 6");
    check_action("LOG", r#"{"x":3}"#, r#"{"x":3}"#);
}

#[test]
fn headers_become_properties_of_the_new_message() {
    let headers = |payload: &str, headers: &str, expected: &str| {
        check_action(&format!("REPUBLISH 'out' HEADERS ({headers})"), payload, expected);
    };
    let every = PublishProperties {
        payload_format: Some(1),
        message_expiry: Some(60),
        content_type: Some("application/json".to_owned()),
        response_topic: Some("answers/7".to_owned()),
        correlation_data: Some(Bytes::from_static(b"7")),
        user_properties: vec![("k7".to_owned(), "b".to_owned()), ("k7".to_owned(), "7".to_owned())],
    };
    headers(
        r#"{"id":7}"#,
        "payload_format = 'UTF8_DATA', message_expiry = 60, content_type = 'application/json', \
         response_topic = 'answers/${id}', correlation_data = '${encode(id, ''base64'')}', \
         USER 'k${id}' = '${topic(2)}', USER 'k${id}' = '${id}'",
        &format!("{every:?}"),
    );
    headers("{}", "message_expiry = '${id}'", "template_undefined");
    for (id, header) in [
        ("-1", "message_expiry = '${id}'"),
        ("\"a/#\"", "response_topic = '${id}'"),
        ("\"?\"", "correlation_data = '${id}'"),
        ("\"UTF-8\"", "payload_format = '${id}'"),
        ("\"a\\u0000b\"", "USER 'a' = '${id}'"),
        (&format!("\"{}\"", "x".repeat(HEADERS_BYTES_MAX + 1)), "USER 'a' = '${id}'"),
    ] {
        headers(&format!(r#"{{"id":{id}}}"#), header, "header_invalid");
    }
}

#[test]
fn a_dynamic_name_reaches_what_exists_and_makes_nothing() {
    let rules = "CREATE RULE named AS SELECT a FROM 'x' DO STREAM 'by-room-lab', DELIVER lake;
                 CREATE RULE r AS SELECT a FROM 'a' DO STREAM 'by-room-${a}', DELIVER '${a}', \
                 INVOKE '${a}';";
    let targets = Targets { hooks: ["lab".to_owned()].into(), ..Targets::default() };
    let engine = engine(rules);
    let known = Known::new(&targets, engine.rules());
    let engine = engine.with_targets(known);
    let reached = |payload: &str| {
        let out = evaluate(&engine, &publish("a", payload));
        let shown = |action: &Result<PreparedAction, Fault>| match action {
            Ok(PreparedAction::Stream { stream: name, .. })
            | Ok(PreparedAction::Deliver { delivery: name, .. })
            | Ok(PreparedAction::Invoke { hook: name, .. }) => name.to_string(),
            Ok(other) => panic!("{other:?} has no name"),
            Err(fault) => fault.code.as_str().to_owned(),
        };
        out.hits[0].actions.iter().map(shown).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(reached(r#"{"a":"lab"}"#), "by-room-lab target_unknown lab");
    assert_eq!(reached(r#"{"a":"lake"}"#), "target_unknown lake target_unknown");
    assert_eq!(reached("{}"), "template_undefined template_undefined template_undefined");
}

#[test]
fn an_action_that_cannot_be_prepared_is_a_fault_of_its_own() {
    check_action("STREAM s KEY id", "{}", "template_undefined");
    check_action("STREAM s KEY id", r#"{"id":null}"#, "template_undefined");
    check_action("STREAM s KEY id", r#"{"id":""}"#, "partition_key_invalid");
    let long = format!(r#"{{"id":"{}"}}"#, "k".repeat(257));
    check_action("STREAM s KEY id", &long, "partition_key_invalid");
    check_action("UPSERT t KEY id", "{}", "template_undefined");
    check_action("UPSERT t KEY id", r#"{"id":""}"#, "table_key_invalid");
    let long = format!(r#"{{"id":"{}"}}"#, "k".repeat(1025));
    check_action("UPSERT t KEY id", &long, "table_key_invalid");
    for hash_key in
        [r#""-1""#, r#""+1""#, "1.5", r#""""#, r#""340282366920938463463374607431768211456""#]
    {
        let payload = format!(r#"{{"h":{hash_key}}}"#);
        check_action("STREAM s KEY 'k' HASH KEY h", &payload, "hash_key_invalid");
    }
    check_action("REPUBLISH 'out/${id}'", r##"{"id":"a/#"}"##, "topic_invalid");
    check_action("REPUBLISH 'out/${id}'", "{}", "template_undefined");
    let rule = "CREATE RULE r AS SELECT x FROM 'a' DO STREAM s KEY id, DELIVER d;";
    let hit = hit(rule, "a", "{}");
    assert!(hit.actions[0].is_err() && hit.actions[1].is_ok(), "one fault does not stop the other");
}

#[test]
fn a_message_that_was_republished_too_often_is_not_republished_again() {
    let engine = engine("CREATE RULE r AS SELECT * FROM 'a' DO REPUBLISH 'b', DELIVER d;");
    let message = Publish { hops: HOPS_MAX, ..publish("a", "{}") };
    let out = evaluate(&engine, &message);
    let faults: Vec<_> =
        out.hits[0].actions.iter().map(|a| a.as_ref().err().map(|f| f.code)).collect();
    assert_eq!(faults, [Some(FaultCode::HopsExceeded), None]);
}

#[test]
fn a_batch_is_a_record_an_element() {
    let rule = "CREATE RULE r AS SELECT VALUE x FROM 'a' DO STREAM s KEY 'k' BATCH;";
    for (payload, expected) in [
        (r#"{"x":[{"a":1},2]}"#, r#"{"a":1}|2"#),
        (r#"{"x":{"a":1}}"#, r#"{"a":1}"#),
        (r#"{"x":[]}"#, ""),
    ] {
        let hit = hit(rule, "a", payload);
        let Ok(PreparedAction::Stream { records, .. }) = &hit.actions[0] else {
            panic!("a stream action was prepared: {:?}", hit.actions[0]);
        };
        assert_eq!(shown_records(records), expected);
    }
}

/// The outputs of a rule over one message, or the code of its fault.
fn outputs(rule: &str, payload: &str) -> String {
    let out = evaluate(&engine(rule), &publish("a", payload));
    let outputs = out.hits.iter().map(|hit| String::from_utf8_lossy(hit.output.bytes()));
    let faults = out.faults.iter().map(|fault| fault.code.as_str().into());
    let unknown = out.unknown.iter().map(|_| "unknown".into());
    outputs.chain(faults).chain(unknown).collect::<Vec<_>>().join(" ")
}

#[test]
fn foreach_makes_one_output_an_element() {
    let rule = "CREATE RULE r AS SET @f = r.t * 2 SELECT id, r.n, @f AS f FROM 'a' \
                FOREACH readings AS r WHERE r.t > 1 DO STREAM s KEY r.n, LOG;";
    let payload = r#"{"id":7,"readings":[{"n":"x","t":1},{"n":"y","t":2},{"n":"z","t":3}]}"#;
    assert_eq!(outputs(rule, payload), r#"{"id":7,"n":"y","f":4} {"id":7,"n":"z","f":6}"#);
    let out = evaluate(&engine(rule), &publish("a", payload));
    let keys = out.hits.iter().map(|hit| match &hit.actions[0] {
        Ok(PreparedAction::Stream { key, .. }) => key.to_string(),
        other => panic!("a stream action was prepared: {other:?}"),
    });
    assert_eq!(keys.collect::<Vec<_>>(), ["y", "z"]);
}

#[test]
fn foreach_runs_over_an_object_once_and_over_nothing_else() {
    let rule = |array: &str| {
        format!("CREATE RULE r AS SELECT VALUE r FROM 'a' FOREACH {array} AS r DO LOG;")
    };
    assert_eq!(outputs(&rule("v"), r#"{"v":{"a":1}}"#), r#"{"a":1}"#);
    assert_eq!(outputs(&rule("v"), r#"{"v":[]}"#), "");
    assert_eq!(outputs(&rule("v"), r#"{"v":[1,[2],null]}"#), "1 [2] null");
    for payload in ["{}", r#"{"v":3}"#, r#"{"v":null}"#, r#"{"v":"[1]"}"#] {
        assert_eq!(outputs(&rule("v"), payload), "unknown", "{payload}");
    }
    assert_eq!(
        outputs(&rule("(SELECT VALUE x FROM v WHERE x > 1)"), r#"{"v":[{"x":1},{"x":2}]}"#),
        "2"
    );
    assert_eq!(outputs(&rule("v"), "no json"), "payload_not_json unknown");
    let inner = "CREATE RULE r AS SELECT VALUE (SELECT VALUE [r.k, x] FROM r.vs) FROM 'a' \
                 FOREACH v AS r DO LOG;";
    assert_eq!(outputs(inner, r#"{"v":[{"k":1,"vs":[{"x":2},{"x":3}]}]}"#), "[[1,2],[1,3]]");
}

#[test]
fn foreach_is_bounded_in_elements_and_in_bytes() {
    let rule = "CREATE RULE r AS SELECT *, r AS r FROM 'a' FOREACH v AS r DO LOG;";
    let many = |count: usize, padding: usize| {
        format!(r#"{{"v":[{}],"p":"{}"}}"#, vec!["1"; count].join(","), "x".repeat(padding))
    };
    assert_eq!(outputs(rule, &many(FOREACH_ELEMENTS_MAX + 1, 0)), "array_too_large");
    assert_eq!(outputs(rule, &many(1000, 100_000)), "output_too_large", "none of the elements");
    let nested = "CREATE RULE r AS SELECT VALUE (SELECT x FROM v) FROM 'a' FOREACH v AS r DO LOG;";
    assert_eq!(outputs(nested, &many(1000, 0)), "array_too_large", "one budget for all elements");
}

#[test]
fn what_one_message_costs_is_bounded() {
    let select = |value: &str| {
        format!(
            "CREATE RULE r AS SET @p = p, @arr = arr SELECT (SELECT VALUE {value} FROM arr) AS r
             FROM 'a' DO LOG;"
        )
    };
    let texts = |text: &dyn Fn(usize) -> String, count: usize| {
        let elements: Vec<String> =
            (0..count).map(|n| format!(r#"{{"v":"{}"}}"#, text(n))).collect();
        format!(r#"{{"arr":[{}],"p":"{}"}}"#, elements.join(","), "y".repeat(200_000))
    };
    let slow = |_| "xxxxxxxxxxxxxxx!".to_owned();
    let searched = select("regexp_matches(v, '(?:(?=x)x+)+y')");
    assert_eq!(outputs(&searched, &texts(&slow, 9_000)), "regex_too_costly");
    let foreach = "CREATE RULE r AS SELECT regexp_matches(e.v, '(?:(?=x)x+)+y') AS m FROM 'a'
                   FOREACH arr AS e DO LOG;";
    assert_eq!(outputs(foreach, &texts(&slow, 9_000)), "regex_too_costly");
    let compiled = select("regexp_matches('x', v)");
    assert_eq!(outputs(&compiled, &texts(&|n| format!("a{n}"), 1_000)), "regex_too_costly");
    let built = select("replace(v, 'x', substring(@p, 0, 20000))");
    assert_eq!(outputs(&built, &texts(&slow, 1_000)), "output_too_large");
    let read = select("indexof(@p, 'z')");
    assert_eq!(outputs(&read, &texts(&slow, 1_000)), "evaluation_too_costly");
    let compared = select("7 IN @arr");
    assert_eq!(outputs(&compared, &texts(&slow, 20_000)), "evaluation_too_costly");
    // What a sensor sends is far from it.
    let usual = select("regexp_matches(v, '^(?=.*[0-9])[a-z0-9]+$')");
    let found = outputs(&usual, &texts(&|n| format!("mote{n}"), 5_000));
    assert!(found.starts_with(r#"{"r":[true,true"#), "{found}");
}

#[test]
fn rules_of_one_topic_share_a_plan_and_disabled_ones_have_none() {
    let engine = engine(
        "CREATE RULE one AS SELECT a FROM 'x/+', 'x/#' DO LOG;
         CREATE RULE off DISABLED AS SELECT a FROM 'x/#' DO LOG;
         CREATE RULE two AS SELECT b FROM '#' WHERE a > 1 DO LOG;
         CREATE RULE away AS SELECT b FROM 'y' DO LOG;",
    );
    let plan = engine.plan(&TopicName::parse("x/1").unwrap());
    assert_eq!((plan.len(), plan.is_empty()), (2, false));
    assert!(engine.plan(&TopicName::parse("$SYS/x").unwrap()).is_empty());
    let out = evaluate(&engine, &publish("x/1", r#"{"a":2,"b":3}"#));
    let outputs: Vec<_> = out.hits.iter().map(|h| (h.rule.0, h.output.bytes().as_ref())).collect();
    assert_eq!(outputs, [(0, br#"{"a":2}"#.as_ref()), (2, br#"{"b":3}"#.as_ref())]);
    assert_eq!(plan.rules().collect::<Vec<_>>(), [RuleIndex(0), RuleIndex(2)]);
}

#[test]
fn an_unreadable_payload_is_a_fault_of_the_rules_that_need_it() {
    let engine = engine(
        "CREATE RULE all AS SELECT * FROM 'x' DO LOG;
         CREATE RULE field AS SELECT * FROM 'x' WHERE a > 1 DO LOG;
         CREATE RULE watch AS SELECT * FROM 'x' WHEN a > 1 FOR 1 SECOND DO LOG;",
    );
    for (payload, code) in [
        (r#"{"a":2,"b":}"#.to_owned(), FaultCode::PayloadNotJson),
        ("[".repeat(500), FaultCode::PayloadTooDeep),
    ] {
        let out = evaluate(&engine, &publish("x", &payload));
        let faults: Vec<_> = out.faults.iter().map(|f| (f.rule.0, f.code)).collect();
        assert_eq!(faults, [(1, code), (2, code)]);
        assert_eq!(out.hits.len(), 1, "SELECT * passes bytes on");
        assert_eq!(out.hits[0].output, Output::Raw(Bytes::from(payload)));
        assert_eq!(out.unknown, [RuleIndex(1)]);
        assert!(out.observations.is_empty());
    }
}

/// `{"a":2}` in three formats, and rules that read each of them as something else too.
#[test]
fn rules_of_one_topic_may_read_it_in_different_formats() {
    let engine = engine(
        "CREATE RULE json AS SELECT a FROM 'x' WHERE a > 1 DO LOG;
         CREATE RULE cbor AS SELECT a FROM 'x' AS CBOR WHERE a > 1 DO LOG;
         CREATE RULE msgpack AS SELECT * FROM 'x' AS MSGPACK DO LOG;
         CREATE RULE csv AS SELECT b FROM 'x' AS CSV (b) DO LOG;
         CREATE RULE same AS SELECT c FROM 'x' AS CSV (b) DO LOG;
         CREATE RULE text AS SELECT v FROM 'x' AS TEXT MATCHING '(?<v>[0-9])' DO LOG;
         CREATE RULE bytes AS SELECT * FROM 'x' AS BYTES DO LOG;",
    );
    let plan = engine.plan(&TopicName::parse("x").unwrap());
    assert_eq!((plan.len(), plan.sources.len()), (7, 6), "two rules share their CSV");
    for (payload, hits, faults) in [
        (
            br#"{"a":2}"#.as_slice(),
            vec![
                (0, r#"{"a":2}"#),
                (3, r#"{"b":"{\"a\":2}"}"#),
                (4, "{}"),
                (5, r#"{"v":2}"#),
                (6, r#"{"a":2}"#),
            ],
            vec!["1 payload_not_cbor", "2 payload_not_msgpack"],
        ),
        (
            b"\xa1aa\x02",
            vec![(1, r#"{"a":2}"#), (6, "\u{fffd}aa\u{2}")],
            vec![
                "0 payload_not_json",
                "2 payload_not_msgpack",
                "3 payload_not_csv",
                "4 payload_not_csv",
                "5 payload_not_text",
            ],
        ),
    ] {
        let message = Publish { payload: Bytes::from_static(payload), ..publish("x", "") };
        let out = evaluate(&engine, &message);
        let found: Vec<(u32, String)> = out
            .hits
            .iter()
            .map(|hit| (hit.rule.0, String::from_utf8_lossy(hit.output.bytes()).into_owned()))
            .collect();
        let hits: Vec<(u32, String)> = hits.into_iter().map(|(r, o)| (r, o.to_owned())).collect();
        assert_eq!(found, hits);
        let told = out.faults.iter().map(|f| format!("{} {}", f.rule.0, f.code.as_str()));
        assert_eq!(told.collect::<Vec<_>>(), faults);
    }
}

#[test]
fn a_held_message_is_decoded_again_when_its_rule_fires() {
    let rule = "CREATE RULE hot AS SELECT t, hold.samples AS n FROM 'x' AS CBOR
                  WHEN t > 30 FOR 1 MINUTE PARTITION BY id DO LOG;";
    let engine = engine(rule);
    let payload = Bytes::from_static(b"\xa2at\x18\x20bid\xa1aa\x07");
    let message = Publish { payload, ..publish("x", "") };
    let out = evaluate(&engine, &message);
    assert_eq!(out.observations[0].condition().key, r#"[{"a":7}]"#);
    assert_eq!(out.observations[0].condition().condition, Truth::True);
    let facts = HoldFacts {
        key: "[7]".into(),
        since: message.received_at,
        fired_at: message.received_at,
        samples: 3,
    };
    let (rule, event, at) = (RuleIndex(0), EpisodeEvent::Firing, message.received_at);
    let episode = Episode { rule, event, at, decided_at: at, facts, publish: message };
    let hit = engine.complete(&episode).unwrap();
    assert_eq!(hit.output.bytes().as_ref(), br#"{"t":32,"n":3}"#);
}

#[test]
fn watched_conditions_become_observations() {
    let engine = engine(
        "CREATE RULE hot AS SELECT t FROM 'lab/+' WHERE v > 2
           WHEN t > 30 FOR 5 MINUTES PARTITION BY id, room CLEAR WHEN t < 28 DO LOG;
         CREATE RULE plain AS SELECT t FROM 'lab/+' WHEN t > 30 FOR 5 MINUTES DO LOG;",
    );
    let seen = |payload: &str| {
        let out = evaluate(&engine, &publish("lab/7", payload));
        assert!(out.hits.is_empty());
        let shown = |o: &Observation| {
            format!(
                "{} {} {:?} {:?} {}",
                o.rule.0,
                o.key,
                o.condition,
                o.clear,
                o.publish.is_some()
            )
        };
        let faults = out.faults.iter().map(|f| format!("{} {}", f.rule.0, f.code.as_str()));
        out.observations
            .iter()
            .map(Observed::condition)
            .map(shown)
            .chain(faults)
            .collect::<Vec<_>>()
    };
    let hot = seen(r#"{"v":3,"t":31,"id":7,"room":"a\"b"}"#);
    assert_eq!(hot[0], r#"0 [7,"a\"b"] True Some(False) true"#);
    assert_eq!(hot[1], r#"1 ["lab/7"] True None true"#);
    let cool = seen(r#"{"v":3,"t":20,"id":1.0,"room":null}"#);
    assert_eq!(cool[0], "0 [1,null] False Some(True) false");
    let unknown = seen(r#"{"v":3,"id":7,"room":1}"#);
    assert_eq!(unknown[0], "0 [7,1] Unknown Some(Unknown) false");
    assert_eq!(seen(r#"{"v":3,"t":31,"id":7}"#)[1], "0 hold_key_invalid");
    let long = format!(r#"{{"v":3,"t":31,"id":7,"room":"{}"}}"#, "r".repeat(HOLD_KEY_BYTES_MAX));
    assert_eq!(seen(&long)[1], "0 hold_key_invalid");
    assert_eq!(seen(r#"{"v":1,"t":31}"#).len(), 1, "WHERE keeps a message from the condition");
}

#[test]
fn an_episode_becomes_a_hit_over_its_last_true_message() {
    let engine = engine(
        "CREATE RULE hot AS SELECT t, hold.key AS key, hold.since AS since, hold.fired_at AS fired,
             hold.samples AS n, hold.duration_ms AS ms, hold.reason AS why FROM 'lab/+'
           WHEN t > 30 FOR 5 MINUTES PARTITION BY id
         DO STREAM alerts KEY id ON CLEARED DO LOG 'over: ${hold.reason} after ${hold.duration_ms}';",
    );
    let facts = HoldFacts {
        key: Arc::from("[7]"),
        since: Timestamp::from_millis(1000),
        fired_at: Timestamp::from_millis(301_000),
        samples: 4,
    };
    let episode = |event, at| Episode {
        rule: RuleIndex(0),
        event,
        at: Timestamp::from_millis(at),
        decided_at: Timestamp::from_millis(at),
        facts: facts.clone(),
        publish: publish("lab/7", r#"{"t":31,"id":7}"#),
    };
    let fired = engine.complete(&episode(EpisodeEvent::Firing, 301_000)).unwrap();
    assert_eq!(
        fired.output.bytes(),
        r#"{"t":31,"key":7,"since":1000,"fired":301000,"n":4,"ms":300000}"#
    );
    assert_eq!(fired.event, HitEvent::Firing(facts.clone()));
    assert!(matches!(&fired.actions[0], Ok(PreparedAction::Stream { key, .. }) if key == "7"));
    let cleared = EpisodeEvent::Cleared(Cleared::ClearWhen);
    let cleared = engine.complete(&episode(cleared, 400_000)).unwrap();
    assert_eq!(cleared.actions.len(), 1);
    let Ok(PreparedAction::Log { text }) = &cleared.actions[0] else { panic!("{cleared:?}") };
    assert_eq!(text, "over: clear_when after 399000");
    let when = engine.hold_spec(RuleIndex(0)).unwrap();
    assert_eq!(when.hold_for.node, Duration::from_secs(300));
    assert!(engine.hold_spec(RuleIndex(1)).is_none());
}

#[test]
fn the_error_document_names_rule_message_and_failures() {
    let engine = engine(
        "CREATE RULE r AS SELECT * FROM 'a/+' DO INVOKE h ON ERROR DO DELIVER dead, LOG '${topic(2)}';
         CREATE RULE none AS SELECT * FROM 'a/+' DO INVOKE h;",
    );
    let message = publish("a/b", "hi");
    let failure = ActionFailure {
        failed_action: "invoke".to_owned(),
        failed_resource: "h".to_owned(),
        error_message: "timed out".to_owned(),
    };
    let report =
        engine.error_actions(RuleIndex(0), &message, std::slice::from_ref(&failure)).unwrap();
    let document: serde_json::Value = serde_json::from_slice(report.output.bytes()).unwrap();
    let trace_id = document["cloudwatchTraceId"].clone();
    assert_eq!(trace_id.as_str().map(str::len), Some(36));
    assert_eq!(
        document,
        serde_json::json!({
            "ruleName": "r", "topic": "a/b", "cloudwatchTraceId": trace_id, "clientId": "dev",
            "base64OriginalPayload": "aGk=",
            "failures": [{"failedAction": "invoke", "failedResource": "h", "errorMessage": "timed out"}],
        })
    );
    assert!(matches!(&report.actions[1], Ok(PreparedAction::Log { text }) if text == "b"));
    assert!(engine.error_actions(RuleIndex(1), &message, &[failure]).is_none());
}

#[test]
fn what_a_rule_builds_is_bounded() {
    let items = ARRAY_GROWTH_MAX / 2 + 1;
    let array = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(items - 1));
    let twice = "CREATE RULE r AS SELECT (SELECT VALUE x FROM a AS x) AS b, (SELECT VALUE x FROM a AS x) AS c FROM 't' DO LOG;";
    let out = evaluate(&engine(twice), &publish("t", &array));
    assert_eq!(out.faults[0].code, FaultCode::ArrayTooLarge);
    assert!(out.hits.is_empty());
    let doubling = "CREATE RULE r AS SET @a = s + s, @b = @a + @a, @c = @b + @b SELECT @c AS c FROM 't' DO LOG;";
    let text = format!(r#"{{"s":"{}"}}"#, "x".repeat(200_000));
    let out = evaluate(&engine(doubling), &publish("t", &text));
    assert_eq!(out.faults[0].code, FaultCode::OutputTooLarge);
    let star = "CREATE RULE r AS SELECT *, a AS b FROM 't' DO LOG;";
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(600_000));
    let out = evaluate(&engine(star), &publish("t", &long));
    assert_eq!(out.faults[0].code, FaultCode::OutputTooLarge);
}

#[test]
fn a_path_deeper_than_any_payload_reads_nothing() {
    let rule =
        format!("CREATE RULE r AS SELECT a{} AS x, 1 AS one FROM 't' DO LOG;", ".a".repeat(4000));
    let hit = hit(&rule, "t", r#"{"a":{"a":{"a":1}}}"#);
    assert_eq!(hit.output.bytes(), r#"{"one":1}"#);
}

#[test]
fn a_trace_is_the_same_for_every_rule_of_a_message() {
    let engine = engine(
        "CREATE RULE a AS SELECT traceid() AS id FROM 't' DO LOG;
         CREATE RULE b AS SELECT traceid() AS id FROM 't' DO LOG;",
    );
    let out = evaluate(&engine, &publish("t", "{}"));
    assert_eq!(out.hits[0].output, out.hits[1].output);
}

/// Every kind of expression over fields that a random payload may have.
const EVERYTHING: &str = "
    CREATE RULE everything AS
      SET @v = a + b
      SELECT *, a.b.c[0] AS x.y, b.*, @v AS v, [a, {'k': b}] AS l, -c AS neg,
        CASE a WHEN 1 THEN b ELSE c END AS k, cast(a AS Int) AS i, cast(b AS String) AS s,
        (SELECT *, e.a AS z FROM a AS e WHERE e.b > 1) AS q, EXISTS (SELECT * FROM b) AS ex,
        concat(a, b, c) AS cc, get(a, b) AS g, substring(a, b, c) AS ss, trunc(a, b) AS tr,
        lpad(a, b) AS lp, replace(a, b, c) AS rp, regexp_replace(a, b, c) AS rr,
        parse_time(a, b, c) AS pt, time_to_epoch(a, b) AS te, decode(a, 'base64') AS de,
        encode(*, 'base64') AS en, transform('enrichArray', a, b) AS en2, power(a, b) AS pw,
        chr(a) AS ch, topic(a) AS tp, indexof(a, b) AS ix, upper(a) AS up, bitand(a, b) AS bb
      FROM '#'
      WHERE NOT (a = b AND c < 3) OR a IN [1, 2] OR b LIKE a OR c BETWEEN a AND b OR a IS NULL
            OR a + b * c / 2 % 7 > 0 OR true
    DO STREAM s KEY a, REPUBLISH 'x/${b}', LOG '${c}'
    ON ERROR DO STREAM s KEY b, LOG '${a}';";

/// What a rule in event time makes of a message received at 5000 s: the time, or the fault.
fn event_time(clause: &str, payload: &str) -> Result<i64, &'static str> {
    let engine = engine(&format!(
        "CREATE RULE r AS SELECT * FROM 't' TIMESTAMP BY {clause} WHEN v > 1 FOR 1 SECOND DO LOG;"
    ));
    let mut message = publish("t", payload);
    message.received_at = Timestamp::from_millis(5_000_000);
    let mut out = Evaluation::default();
    engine.evaluate(&engine.plan(&message.topic), &message, &mut out);
    match (&out.observations[..], &out.faults[..], &out.unknown[..]) {
        ([seen], [], []) => {
            let seen = seen.condition();
            assert!(seen.publish.is_some(), "a late one goes to ON ERROR, whatever the condition");
            Ok(seen.event_at.unwrap().as_millis())
        }
        ([], [fault], [RuleIndex(0)]) => Err(fault.code.as_str()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_time_of_a_message_is_what_timestamp_by_says() {
    assert_eq!(event_time("ts", r#"{"ts":1234,"v":2}"#), Ok(1234));
    assert_eq!(event_time("ts SECONDS LATENESS 1 MINUTE", r#"{"ts":12.3456,"v":0}"#), Ok(12_345));
    assert_eq!(event_time("ts MICROSECONDS", r#"{"ts":12345678,"v":"x"}"#), Ok(12_345));
    assert_eq!(event_time("a.b + 1", r#"{"a":{"b":7},"v":2}"#), Ok(8));
    assert_eq!(event_time("ts SECONDS", r#"{"ts":"1970-01-01T01:00:01+01:00"}"#), Ok(1000));
    assert_eq!(event_time("timestamp()", r#"{"v":2}"#), Ok(5_000_000));
}

#[test]
fn a_message_without_a_time_is_unknown_and_counted() {
    for payload in
        [r#"{"v":2}"#, r#"{"ts":null}"#, r#"{"ts":true}"#, r#"{"ts":"soon"}"#, r#"{"ts":-1}"#]
    {
        assert_eq!(event_time("ts", payload), Err("event_time_invalid"), "{payload}");
    }
    assert_eq!(event_time("ts SECONDS", r#"{"ts":8600}"#), Ok(8_600_000));
    assert_eq!(event_time("ts SECONDS", r#"{"ts":8600.001}"#), Err("event_time_future"));
}

proptest! {
    #[test]
    fn no_payload_makes_evaluation_panic(
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "\\{\"a\":[-0-9.eE]{1,6},\"b\":(\"[a-z$\\\\\\\\d(+]{0,5}\"|\\[(1,)?\\{\"a\":1,\"b\":2\\}\\]|-?[0-9]{1,20}),\"c\":(null|true|\"yyyy\"|9e999)\\}".prop_map(String::into_bytes),
        ],
        topic in "[a-z/]{1,10}",
    ) {
        static ENGINE: LazyLock<Engine> = LazyLock::new(|| engine(EVERYTHING));
        let message = Publish { payload: Bytes::from(payload), ..publish(&topic, "") };
        let out = evaluate(&ENGINE, &message);
        for hit in &out.hits {
            // Not serde_json: it takes no number beyond a double.
            prop_assert!(json_reader::parse(hit.output.bytes(), Whole::AsWritten).is_ok());
        }
        let facts = HoldFacts {
            key: "[7]".into(),
            since: Timestamp::from_millis(1),
            fired_at: Timestamp::from_millis(2),
            samples: 3,
        };
        let (rule, at) = (RuleIndex(0), facts.fired_at);
        for event in [EpisodeEvent::Firing, EpisodeEvent::Cleared(Cleared::Gap)] {
            let (facts, publish) = (facts.clone(), message.clone());
            let episode = Episode { rule, event, at, decided_at: at, facts, publish };
            if let Ok(hit) = ENGINE.complete(&episode) {
                prop_assert!(json_reader::parse(hit.output.bytes(), Whole::AsWritten).is_ok());
            }
        }
        prop_assert!(ENGINE.error_actions(rule, &message, &[]).is_some());
    }
}
