//! Any bytes in any payload format: read through rules that want all of it and parts of it, without a
//! panic, and what is called JSON is JSON.
//!
//! The first byte picks the format, the rest is the payload.

#![no_main]

use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tidegate::clock::Timestamp;
use tidegate::diagnostic::Diagnostic;
use tidegate::engine::Engine;
use tidegate::engine::Evaluation;
use tidegate::engine::Output;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::Rule;
use tidegate::rule::ast::SqlVersion;
use tidegate::rule::set::Source;
use tidegate::rule::table::NamedFiles;
use tidegate::topic::TopicName;

const FORMATS: [&str; 10] = [
    "JSON",
    "CBOR",
    "MSGPACK",
    "CSV (a, b, c)",
    "CSV HEADER ROWS",
    "CSV (a String, b Int, c Decimal, d Boolean) DELIMITER ';' ROWS",
    "TEXT MATCHING '(?<a>[^ ]+)( (?<b>.*))?'",
    "BYTES",
    "SPARKPLUG",
    "PROTOBUF 'lab.desc' MESSAGE 'lab.Reading'",
];
const STATEMENTS: [&str; 3] =
    ["*", "a, a.b, b.c[0] AS d, rows, values, mote_id, inner.at", "VALUE [a, *]"];

/// Every file is the descriptor set of the cases.
struct Lab;

impl NamedFiles for Lab {
    fn read(&mut self, _by: &Path, name: &str, _max: usize) -> Result<Source, Diagnostic> {
        let content = Ok(include_bytes!("../../tests/cases/lab.desc").to_vec());
        Ok(Source { path: name.into(), content })
    }
}

static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| FORMATS.iter().map(engine).collect());

fn engine(format: &&str) -> Engine {
    let rules = STATEMENTS.iter().map(|select| {
        let sql = format!("SELECT {select} FROM 'x' AS {format}");
        let (version, tables) = (SqlVersion::default(), Arc::default());
        let rule = Rule::from_select("r", &sql, version, &tables, &mut Lab);
        Arc::new(rule.expect("a sound statement"))
    });
    Engine::new(rules.collect(), "000000000000")
}

fuzz_target!(|bytes: &[u8]| {
    let Some((format, payload)) = bytes.split_first() else { return };
    let engine = &ENGINES[usize::from(*format) % FORMATS.len()];
    let publish = Publish {
        topic: TopicName::parse("x").expect("a topic name"),
        payload: payload.to_vec().into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(1_700_000_000_000),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    };
    let mut evaluation = Evaluation::default();
    engine.evaluate(&engine.plan(&publish.topic), &publish, &mut evaluation);
    for hit in &evaluation.hits {
        if let Output::Json(text) = &hit.output {
            let read = serde_json::from_slice::<&RawValue>(text);
            assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(text));
        }
    }
});
