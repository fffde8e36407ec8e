//! AWS's documented substitution templates, row by row, in every field that takes one.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure")]

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tidegate::clock::Timestamp;
use tidegate::engine::Engine;
use tidegate::engine::Evaluation;
use tidegate::engine::PreparedAction;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;
use tidegate::topic::TopicName;

fn rows() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/templates.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn message(row: &Value) -> Publish {
    let client_id = row["client_id"].as_str().map(Arc::from);
    Publish {
        topic: TopicName::parse(row["topic"].as_str().unwrap()).unwrap(),
        payload: Bytes::copy_from_slice(row["payload"].as_str().unwrap().as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(row["now_ms"].as_i64().unwrap_or_default()),
        origin: Arc::new(tidegate::publish::Origin { client_id, ..(*Origin::internal()).clone() }),
        properties: None,
        hops: 0,
    }
}

/// What `action` becomes over the row's message; `None` for a fault.
fn prepared(row: &Value, action: &str) -> Option<PreparedAction> {
    let topic = row["topic"].as_str().unwrap();
    let select = match row["sql"].as_str() {
        Some(sql) => sql.to_owned(),
        None => format!("SELECT * FROM '{topic}'"),
    };
    let rule = format!("CREATE RULE r AS {select} DO {action};");
    let source = Source { path: PathBuf::from("t.rule"), content: Ok(rule.clone().into_bytes()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    assert!(!checked.has_errors(), "{rule}: {:?}", checked.diagnostics);
    let engine = Engine::new(checked.rules, "123456789012");
    let publish = message(row);
    let mut evaluation = Evaluation::default();
    engine.evaluate(&engine.plan(&publish.topic), &publish, &mut evaluation);
    assert_eq!(evaluation.hits.len(), 1, "{rule}");
    evaluation.hits.remove(0).actions.remove(0).ok()
}

#[test]
fn every_documented_template_renders_in_every_field() {
    let rows = rows();
    assert_eq!(rows.len(), 12);
    let mut rendered = 0;
    for row in &rows {
        let id = row["id"].as_str().unwrap();
        let expected = row["expect"].as_str().unwrap();
        let template = row["template"].as_str().unwrap().replace('\'', "''");
        let topic = prepared(row, &format!("REPUBLISH '{template}'"));
        let Some(PreparedAction::Republish { topic, .. }) = topic else {
            panic!("{id}: no topic: {topic:?}");
        };
        assert_eq!(topic.as_str(), expected, "{id}");
        if template.starts_with("$$") {
            // Only a republish topic takes the doubled sign as one.
            continue;
        }
        let text = prepared(row, &format!("LOG '{template}'"));
        assert_eq!(text, Some(PreparedAction::Log { text: expected.to_owned() }), "{id}");
        let header = format!("REPUBLISH 'x' HEADERS (content_type = '{template}')");
        let Some(PreparedAction::Republish { properties: Some(properties), .. }) =
            prepared(row, &header)
        else {
            panic!("{id}: no header");
        };
        assert_eq!(properties.content_type.as_deref(), Some(expected), "{id}");
        if expected.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            rendered += 1;
            for action in ["STREAM", "DELIVER", "INVOKE"] {
                let name = match prepared(row, &format!("{action} '{template}'")) {
                    Some(PreparedAction::Stream { stream: name, .. })
                    | Some(PreparedAction::Deliver { delivery: name, .. })
                    | Some(PreparedAction::Invoke { hook: name, .. }) => name,
                    other => panic!("{id}: {action} became {other:?}"),
                };
                assert_eq!(&*name, expected, "{id} {action}");
            }
        }
    }
    assert!(rendered >= 6, "{rendered} rows are names of targets too");
}
