//! What consumers of streams need beside the streams: a table of leases, and somebody who takes their metrics. Spoken by
//! boto3, and by lifion-kinesis, which shares a stream by such a table against the gateway alone.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::clients::answer;
use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;

const KEPT: &str = "CREATE RULE kept AS SELECT id FROM 'load/#' DO STREAM kept KEY id;";

fn boto3(gateway: &Gateway, what: &str) -> Value {
    answer(python("leases.py").args([what, "--endpoint", &gateway.http]))
}

#[test]
fn the_calls_of_kcl_get_dynamodb_s_answers() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let expected = json!({
        "absent": [
            "ResourceNotFoundException", 400, "Requested resource not found: Table: app not found",
        ],
        "twice": ["ResourceInUseException", 400],
        "second": ["ConditionalCheckFailedException", 400, "The conditional request failed"],
        "taken": ["worker-1", "1"],
        "lost": ["ConditionalCheckFailedException", 400],
        "mine": ["0", "1", "3", "5"],
        "scanned": [7, 7, true],
        "table": ["ACTIVE", 2, [{"AttributeName": "leaseKey", "KeyType": "HASH"}]],
        "index": "ACTIVE",
        "tags": [{"Key": "app", "Value": "test"}],
        "expires": "ENABLED",
        "gone": ["123", "1"],
        "after": null,
        "tables": ["app"],
        "refused": {
            "key": [
                "ValidationException", 400, "The provided key element does not match the schema",
            ],
            "expression": [
                "ValidationException", 400,
                "Invalid UpdateExpression: Syntax error; token: <EOF>",
            ],
            "unused": ["ValidationException", 400],
        },
    });
    assert_eq!(boto3(&gateway, "kcl"), expected);
}

#[test]
fn a_lease_that_many_want_is_given_once_and_survives_a_kill() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    assert_eq!(boto3(&gateway, "race"), json!({"won": true}));
    gateway.kill();
    let gateway = site.start();
    assert_eq!(boto3(&gateway, "kept"), json!({"counter": "80"}));
}

#[test]
fn metrics_are_taken_and_counted() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    assert_eq!(boto3(&gateway, "metrics"), json!({"status": 200}));
    let form = "Action=PutMetricData&Version=2010-08-01&Namespace=app\
                &MetricData.member.1.MetricName=a&MetricData.member.1.Value=1\
                &MetricData.member.2.MetricName=b&MetricData.member.2.Value=2";
    let output =
        Command::new("curl").args(["-sS", "-d", form, &gateway.http]).output().expect("curl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("<PutMetricDataResponse"), "{said}");
    let wrong = Command::new("curl")
        .args(["-sS", "-d", "Action=GetMetricData", &gateway.http])
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert!(said.contains("<Code>InvalidAction</Code>"), "{said}");
    let (_, text) = gateway.get("/metrics");
    let counted = text.lines().find(|line| line.starts_with("tidegate_kinesis_metric_data_total "));
    assert_eq!(counted, Some("tidegate_kinesis_metric_data_total 505"));
}

#[test]
fn lifion_kinesis_shares_a_stream_by_leases() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/lifion.cjs");
    let seen = answer(Command::new("node").arg(program).arg(&gateway.http));
    // The second goes on where the first has stopped.
    assert_eq!(seen, json!({"first": 50, "second": 30, "all": 80}));
}

#[test]
fn lifion_kinesis_is_pushed_records() {
    let site = Site::with_rules(KEPT);
    site.write("tidegate.toml", "[http]\nhosts = [\"kinesis.eu-central-1.amazonaws.com\"]\n");
    let gateway = site.start();
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/lifion_fan_out.cjs");
    let seen = answer(Command::new("node").arg(program).arg(&gateway.http));
    assert_eq!(seen, json!([0, 1, 2, 3, 4, 5]));
}
