//! Payload formats: devices that encode with other people's libraries, and the documentation's examples.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tidegate::cli::eval::run_batch;

use crate::clients::python;
use crate::live::Site;

const RULES: &str = r"
CREATE RULE json AS SELECT *, topic(2) AS format FROM 'dev/json' WHERE celsius > 30 DO STREAM s;
CREATE RULE cbor AS SELECT *, topic(2) AS format FROM 'dev/cbor' AS CBOR WHERE celsius > 30
DO STREAM s;
CREATE RULE msgpack AS SELECT *, topic(2) AS format FROM 'dev/msgpack' AS MSGPACK WHERE celsius > 30
DO STREAM s;
CREATE RULE csv AS SELECT *, topic(2) AS format FROM 'dev/csv' AS CSV DELIMITER ';' HEADER
WHERE celsius > 30 DO STREAM s;
CREATE RULE text AS SELECT id, celsius, topic(2) AS format FROM 'dev/text'
AS TEXT MATCHING '^(?<id>\w+) reports (?<celsius>\S+)' WHERE celsius > 30 DO STREAM s;
CREATE RULE protobuf AS SELECT *, topic(2) AS format FROM 'dev/protobuf'
AS PROTOBUF 'types/lab.desc' MESSAGE 'lab.Reading' WHERE celsius > 30 DO STREAM s;
CREATE RULE decoded AS
SET @reading = decode(encode(*, 'base64'), 'proto', 'types', 'lab.desc', 'lab', 'Reading')
SELECT @reading.mote_id AS id, @reading.state AS state, topic(2) AS format FROM 'dev/decoded'
WHERE @reading.celsius > 30 DO STREAM s;
CREATE RULE sparkplug AS SELECT seq, values, topic(2) AS format FROM 'dev/sparkplug' AS SPARKPLUG
WHERE values.celsius > 30 DO STREAM s;
CREATE RULE bytes AS SELECT * AS raw, topic(2) AS format FROM 'dev/bytes' AS BYTES DO STREAM s;
";

#[test]
fn a_device_may_encode_as_it_likes() {
    let site = Site::with_rules(RULES);
    fs::create_dir(site.path("rules/types")).expect("a folder");
    let types = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/lab.desc");
    fs::copy(types, site.path("rules/types/lab.desc")).expect("copied");
    let gateway = site.start();
    let port = gateway.mqtt.port().to_string();
    let status = python("formats.py").args(["--port", &port, "--prefix", "dev"]).status();
    assert!(status.expect("python runs").success());

    let reading = |format: &str| {
        let mut reading = json!({
            "id": "m7",
            "celsius": 31.5,
            "tags": ["a", {"b": null}],
            "count": 9_223_372_036_854_775_808_u64,
            "format": format,
        });
        if format != "json" {
            reading["raw"] = json!("AQL/");
            reading["at"] = json!(1_706_933_106_789_i64);
        }
        reading
    };
    let mut found = site.stream_data("s");
    found.sort_by_key(|record| record["format"].to_string());
    assert_eq!(
        found,
        [
            json!({"raw": "AJ+Slg==", "format": "bytes"}),
            reading("cbor"),
            json!({"id": "m7", "celsius": 31.5, "format": "csv"}),
            json!({"id": "m7", "state": "LOW_BATTERY", "format": "decoded"}),
            reading("json"),
            reading("msgpack"),
            json!({
                "mote_id": "m7", "celsius": 31.5, "state": "LOW_BATTERY", "raw": "", "axes": [],
                "samples": [], "limits": {}, "names": {}, "at": 1_706_933_106_789_i64,
                "serial": 9_223_372_036_854_775_808_u64, "alarm": false, "format": "protobuf",
            }),
            json!({
                "seq": 7,
                "values": {"celsius": 31.5, "offset": -5, "9": true},
                "format": "sparkplug",
            }),
            json!({"id": "m7", "celsius": 31.5, "format": "text"}),
        ]
    );
    let rules = gateway.get_json("/api/rules").to_string();
    for format in ["cbor", "msgpack", "protobuf", "sparkplug", "csv", "text"] {
        assert!(rules.contains(&format!("payload_not_{format}")), "{format} in {rules}");
    }
}

/// The three lines of each example block: statement, payload, output.
fn examples(manual: &str) -> Vec<[&str; 3]> {
    let blocks = manual.split("\n```eval\n").skip(1);
    let lines = blocks.map(|block| block.split("\n```").next().unwrap_or_default().lines());
    lines
        .map(|lines| {
            let lines: Vec<&str> = lines.collect();
            lines.try_into().expect("an example has three lines")
        })
        .collect()
}

/// A JSON text is the payload's text, anything else its bytes in hexadecimal digits.
fn payload(line: &str) -> Vec<u8> {
    if let Ok(text) = serde_json::from_str::<String>(line) {
        return text.into_bytes();
    }
    let digits: Vec<u8> = line.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect()
}

#[test]
fn the_examples_of_the_documentation_give_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/language.md");
    let manual = fs::read_to_string(path).expect("the manual");
    let examples = examples(&manual);
    assert!(examples.len() >= 6, "the examples are where this test looks for them");
    for [sql, line, expected] in examples {
        let request = json!({"sql": sql, "payload_base64": STANDARD.encode(payload(line))});
        let mut answer = Vec::new();
        let request = request.to_string();
        let ran = run_batch(&Arc::default(), request.as_bytes(), &mut answer);
        ran.expect("written into memory");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let expected: Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(answer["result"], expected, "{sql}: {answer}");
    }
}
