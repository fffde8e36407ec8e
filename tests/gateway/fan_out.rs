//! Enhanced fan-out: registered consumers that are pushed records, by boto3 over HTTP/1.1, the SDK for JavaScript
//! over HTTP/2, and by hand where those do not go.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::clients::answer;
use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

const KEPT: &str = "CREATE RULE kept AS SELECT id FROM 'load/#' DO STREAM kept KEY id;";
const ACCOUNT: &str = "account 000000000000";

fn boto3(gateway: &Gateway, what: &str) -> Value {
    answer(python("fan_out.py").args([what, "--endpoint", &gateway.http]))
}

fn subscriptions(gateway: &Gateway) -> Option<String> {
    let (_, text) = gateway.get("/metrics");
    let found = text.lines().find_map(|line| line.strip_prefix("tidegate_kinesis_subscriptions "));
    found.map(str::to_owned)
}

#[test]
fn consumers_are_registered_listed_tagged_and_ended() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let expected = json!({
        "arn": true,
        "status": ["CREATING", "ACTIVE"],
        "same": [true, true],
        "of": true,
        "listed": true,
        "tags": [{"Key": "more", "Value": "1"}],
        "count": 18,
        "refused": {
            "one_more": ["LimitExceededException", 400],
            "twice": [
                "ResourceInUseException", 400,
                format!("Consumer c00 under stream fan already exists for {ACCOUNT}."),
            ],
            "gone": [
                "ResourceNotFoundException", 400,
                format!("Consumer c00 under stream fan not found for {ACCOUNT}."),
            ],
            "kept": ["ResourceInUseException", 400],
        },
        "both": "InvalidArgumentException",
    });
    assert_eq!(boto3(&gateway, "consumers"), expected);
}

#[test]
fn boto3_is_pushed_records_from_every_kind_of_place() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let expected = json!({
        "seen": {
            "TRIM_HORIZON": ["0", "1", "2", "3", "4", "5"],
            "AT_SEQUENCE_NUMBER": ["4", "5"],
            "AFTER_SEQUENCE_NUMBER": ["5"],
            "AT_TIMESTAMP": ["3", "4", "5"],
        },
        "live": ["6"],
        "behind": 0,
        "goes_on": true,
        "quiet": [[], true],
        "latest": ["7"],
        "refused": {
            "consumer": ["ResourceNotFoundException", 400],
            "shard": ["ResourceNotFoundException", 400],
            "number": ["InvalidArgumentException", 400],
            "type": ["ValidationException", 400],
        },
    });
    assert_eq!(boto3(&gateway, "positions"), expected);
    eventually("who has left is noticed", || (subscriptions(&gateway)? == "0").then_some(()));
}

#[test]
fn a_consumer_survives_a_kill_and_goes_on() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let before = boto3(&gateway, "stays");
    gateway.kill();
    let gateway = site.start();
    let mut again = python("fan_out.py");
    again.args(["comes_back", "--endpoint", &gateway.http]);
    again.args(["--from", before["from"].as_str().expect("a number")]);
    let expected = json!({"arn": before["arn"], "data": ["3", "4"]});
    assert_eq!(answer(&mut again), expected);
}

#[test]
fn the_end_of_a_shard_names_its_children() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let parents = json!(["shardId-000000000000"]);
    let expected = json!({"parent": true, "ends": [false, [parents, parents]], "children": true});
    assert_eq!(boto3(&gateway, "family"), expected);
}

#[test]
fn a_shard_has_one_subscription_of_a_consumer() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let taken = "Another active subscription exists for this consumer: \
                 000000000000:fan:shardId-000000000000:c";
    let expected = json!({
        "soon": ["ResourceInUseException", 400, taken],
        "lost": ["ResourceInUseException", taken],
        "ended": "ResourceNotFoundException",
        "deleted": "ResourceNotFoundException",
    });
    assert_eq!(boto3(&gateway, "taken_over"), expected);
}

#[test]
fn a_provisioned_shard_pushes_two_mebibytes_a_second() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    assert_eq!(boto3(&gateway, "paced"), json!({"slow": true}));
}

#[test]
fn the_sdk_for_javascript_subscribes_over_http_2() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/fan_out.mjs");
    let seen = answer(Command::new("node").arg(program).arg(&gateway.http));
    let expected = json!({
        "data": ["0", "1", "2", "3", "4"],
        "goesOn": true,
        "behind": 0,
        "arrived": true,
        "refused": "ResourceNotFoundException",
        "handler": "NodeHttp2Handler",
    });
    assert_eq!(seen, expected);
}

#[test]
fn a_subscriber_that_does_not_read_holds_nobody_up_and_a_stop_ends_all() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    // Its answer is left unread, megabytes behind; others put and read on meanwhile.
    let seen = boto3(&gateway, "unread");
    assert_eq!(seen, json!({"open": true, "read": 40, "cbor": [true, "k"]}));
    eventually("who has left is noticed", || (subscriptions(&gateway)? == "0").then_some(()));
    // Those that wait for records end with the gateway, and do not delay it.
    let waiting = python("fan_out.py")
        .args(["waits", "--endpoint", &gateway.http])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python runs");
    eventually("it is subscribed", || (subscriptions(&gateway)? == "1").then_some(()));
    let (status, err) = gateway.terminate();
    assert!(status.success(), "{err}");
    let ended = waiting.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(said.starts_with(r#"{"ended": "#), "{said}");
}
