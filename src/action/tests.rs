//! What hits become, and what happens to those that cannot be carried out.

use std::path::PathBuf;

use bytes::Bytes;

use super::*;
use crate::engine::Evaluation;
use crate::rule::set;
use crate::rule::table::NoFiles;

fn engine(rules: &str) -> Engine {
    let content = Ok(rules.as_bytes().to_vec());
    let source = set::Source { path: PathBuf::from("test.rule"), content };
    let mut targets = set::Targets::default();
    targets.hooks.insert("pager".to_owned());
    let checked = set::check(&[source], &targets, &mut NoFiles);
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
    Engine::new(checked.rules, "000000000000")
}

fn message(topic: &str, payload: &str, hops: u8) -> Publish {
    Publish {
        topic: TopicName::parse(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(1_000),
        origin: Origin::internal(),
        properties: None,
        hops,
    }
}

fn outcome(rules: &str, message: &Publish) -> Outcome {
    let engine = engine(rules);
    let mut evaluation = Evaluation::default();
    engine.evaluate(&engine.plan(&message.topic), message, &mut evaluation);
    let mut outcome = Outcome::default();
    for hit in evaluation.hits {
        carry_out(&engine, &Meter::default(), hit, &mut outcome);
    }
    outcome
}

fn stored(outcome: &Outcome) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let one = |effect: &Effect| match effect {
        Effect::Stream { stream, partition_key, data, .. } => {
            format!("stream {stream} {partition_key} {}", text(data))
        }
        Effect::Deliver { delivery, data, .. } => format!("deliver {delivery} {}", text(data)),
        Effect::Invoke { hook, rule, payload, .. } => {
            format!("invoke {hook} {rule} {}", text(payload))
        }
        Effect::Upsert(upsert) => {
            let has_message = upsert.publish.is_some();
            let value = text(&upsert.value);
            format!("upsert {} {} {value} {} {has_message}", upsert.table, upsert.key, upsert.rule)
        }
        Effect::Forget { table, key } => format!("forget {table} {key}"),
        Effect::Put(_)
        | Effect::Advance(_)
        | Effect::Consumers(_)
        | Effect::Keep(_)
        | Effect::Retain(_)
        | Effect::Session(_)
        | Effect::Switches(_) => format!("{effect:?}"),
    };
    outcome.effects.iter().map(one).collect()
}

#[test]
fn every_action_of_a_hit_is_an_effect_in_the_rules_order() {
    let rules = "CREATE RULE r AS SELECT n FROM 'a' DO STREAM s KEY n, DELIVER d, INVOKE pager,
                 REPUBLISH 'b/${n}' QOS 1 RETAIN;";
    let outcome = outcome(rules, &message("a", r#"{"n":1}"#, 0));
    let expected = [r#"stream s 1 {"n":1}"#, r#"deliver d {"n":1}"#, r#"invoke pager r {"n":1}"#];
    assert_eq!(stored(&outcome), expected);
    let republished = &outcome.republished[0];
    assert_eq!((republished.topic.as_str(), republished.hops), ("b/1", 1));
    assert_eq!((republished.qos, republished.retain), (QoS::AtLeastOnce, true));
    assert_eq!((outcome.hits.len(), outcome.faults.len()), (1, 0));
    assert_eq!(outcome.hits[0].event, "match");
}

#[test]
fn an_array_with_batch_is_a_record_an_element() {
    let rules = "CREATE RULE r AS SELECT VALUE v FROM 'a' DO STREAM s KEY 'k' BATCH;";
    let outcome = outcome(rules, &message("a", r#"{"v":[1,2]}"#, 0));
    assert_eq!(stored(&outcome), ["stream s k 1", "stream s k 2"]);
}

#[test]
fn what_cannot_be_carried_out_goes_to_on_error_and_the_rest_is_carried_out() {
    let rules = "CREATE RULE r AS SELECT n FROM 'a' DO STREAM s KEY missing, DELIVER d
                 ON ERROR DO STREAM errors KEY 'e';";
    let outcome = outcome(rules, &message("a", r#"{"n":1}"#, 0));
    let stored = stored(&outcome);
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert_eq!(stored[0], r#"deliver d {"n":1}"#);
    let document = stored[1].strip_prefix("stream errors e ").unwrap();
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!((&document["ruleName"], &document["topic"]), (&"r".into(), &"a".into()));
    assert_eq!(document["failures"][0]["failedAction"], "stream");
    assert_eq!(document["failures"][0]["failedResource"], "s");
    assert_eq!(outcome.faults.len(), 1);
}

#[test]
fn an_upsert_carries_the_message_for_on_error_and_one_of_on_error_does_not() {
    let rules = "CREATE RULE r AS SELECT n FROM 'a' DO UPSERT latest KEY n, UPSERT by_topic,
                 STREAM s KEY missing ON ERROR DO UPSERT errors KEY 'e';";
    let stored = stored(&outcome(rules, &message("a", r#"{"n":1}"#, 0)));
    assert_eq!(stored[0], r#"upsert latest 1 {"n":1} r true"#);
    assert_eq!(stored[1], r#"upsert by_topic a {"n":1} r true"#);
    assert!(stored[2].starts_with("upsert errors e {") && stored[2].ends_with(" r false"));
}

#[test]
fn a_value_over_the_limit_of_a_table_is_refused_and_goes_to_on_error() {
    let rules = "CREATE RULE r AS SELECT a FROM 'a' DO UPSERT t KEY 'k' ON ERROR DO DELIVER d;";
    let put = |bytes: usize| {
        let text = "x".repeat(bytes - r#"{"a":""}"#.len());
        outcome(rules, &message("a", &format!(r#"{{"a":"{text}"}}"#), 0))
    };
    let within = put(limits::TABLE_VALUE_BYTES_MAX);
    assert_eq!((within.faults.len(), stored(&within).len()), (0, 1));
    let beyond = put(limits::TABLE_VALUE_BYTES_MAX + 1);
    assert_eq!(beyond.faults[0].code, FaultCode::OutputTooLarge);
    assert!(matches!(&beyond.effects[..], [Effect::Deliver { .. }]));
}

#[test]
fn a_failing_on_error_action_is_counted_and_goes_no_further() {
    let rules = "CREATE RULE r AS SELECT n FROM 'a' DO STREAM s KEY missing
                 ON ERROR DO STREAM errors KEY missing;";
    let outcome = outcome(rules, &message("a", r#"{"n":1}"#, 0));
    assert_eq!(stored(&outcome), [""; 0]);
    assert_eq!(outcome.faults.len(), 2);
}

#[test]
fn the_last_hop_is_carried_out_and_the_next_is_cut() {
    let rules = "CREATE RULE r AS SELECT * FROM 'a' DO REPUBLISH '${to}';";
    let payload = r#"{"to":"b"}"#;
    let last = outcome(rules, &message("a", payload, limits::HOPS_MAX - 1));
    assert_eq!(last.republished.len(), 1);
    let cut = outcome(rules, &message("a", payload, limits::HOPS_MAX));
    assert_eq!(cut.republished.len(), 0);
    assert_eq!(cut.faults[0].code, FaultCode::HopsExceeded);
}

#[test]
fn a_record_over_the_limit_is_refused_with_its_size() {
    let rules = "CREATE RULE r AS SELECT a, a AS b, a AS c FROM 'a' DO STREAM s KEY 'k';";
    let half = "x".repeat(limits::RECORD_BYTES_MAX / 2);
    let outcome = outcome(rules, &message("a", &format!(r#"{{"a":"{half}"}}"#), 0));
    assert_eq!(stored(&outcome), [""; 0]);
    assert_eq!(outcome.hits.len(), 0, "the engine makes no hit of it");
}

#[test]
fn a_report_that_comes_later_runs_on_error_alone() {
    let engine = engine(
        "CREATE RULE r AS SELECT n FROM 'a' DO INVOKE pager ON ERROR DO DELIVER dead;
         CREATE RULE quiet AS SELECT n FROM 'a' DO INVOKE pager;",
    );
    let failure = ActionFailure {
        failed_action: "invoke".to_owned(),
        failed_resource: "pager".to_owned(),
        error_message: "503".to_owned(),
    };
    let about = message("a", "{}", 0);
    let mut outcome = Outcome::default();
    for rule in [RuleIndex(0), RuleIndex(1)] {
        let failures = std::slice::from_ref(&failure);
        report(&engine, &Meter::default(), rule, &about, about.received_at, failures, &mut outcome);
    }
    let stored = stored(&outcome);
    assert_eq!(stored.len(), 1, "a rule without ON ERROR does nothing: {stored:?}");
    assert!(stored[0].starts_with("deliver dead {") && stored[0].contains("503"), "{stored:?}");
}
