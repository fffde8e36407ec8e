//! Kinesis Data Streams' API, spoken by the clients that programs use: boto3, the AWS CLI, the SDKs for JavaScript
//! and for Rust.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

use crate::clients::answer;
use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::transport::site as certified;

/// Kills in the loop.
const KILLS: usize = 8;

const KEPT: &str = "CREATE RULE kept AS SELECT id FROM 'load/#' DO STREAM kept KEY id;";

fn boto3(gateway: &Gateway, what: &str) -> Value {
    answer(python("kinesis.py").args([what, "--endpoint", &gateway.http]))
}

fn metric(gateway: &Gateway, line: &str) -> u64 {
    let (_, text) = gateway.get("/metrics");
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    found.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[test]
fn boto3_puts_and_reads_with_every_kind_of_iterator() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let seen = boto3(&gateway, "data_plane");
    let expected = json!({
        "shards": 4,
        "failed": 0,
        "read": true,
        "grows": true,
        "data": ["first", "04ff"],
        "key": true,
        "at": true,
        "after": true,
        "time": true,
        "latest": [],
        "empty": [[], true],
        "page": [2, true],
        "arrived": true,
    });
    assert_eq!(seen, expected);
    assert_eq!(metric(&gateway, "tidegate_kinesis_records_total{direction=\"in\"} "), 6);
    let put = "tidegate_kinesis_requests_total{operation=\"PutRecords\",error=\"none\"} ";
    assert_eq!(metric(&gateway, put), 1);
    // Acknowledged is committed.
    gateway.kill();
    assert_eq!(site.records("data").len(), 6);
}

#[test]
fn boto3_makes_changes_describes_and_deletes_streams() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let seen = boto3(&gateway, "control_plane");
    let account = "under account 000000000000";
    let expected = json!({
        "listed": ["c0", "c1", "c2", "kept"],
        "arn": "arn:aws:kinesis:us-east-1:000000000000:stream/c0",
        "retention": 48,
        "status": "ACTIVE",
        "tags": [[{"Key": "b", "Value": ""}], true],
        "large": "shardId-000000000000",
        "watched": [
            7,
            [
                "IncomingRecords", "OutgoingRecords", "WriteProvisionedThroughputExceeded",
                "ReadProvisionedThroughputExceeded", "IteratorAgeMilliseconds",
            ],
            true,
        ],
        "mode": "ON_DEMAND",
        "size": 2048,
        "open": 1,
        // Two of the rule's stream.
        "counted": 5,
        "refused": {
            "unknown": [
                "ResourceNotFoundException", 400, format!("Stream none {account} not found."),
            ],
            "named": [
                "ResourceInUseException", 400, format!("Stream kept {account} is named by a rule."),
            ],
            "short": [
                "InvalidArgumentException", 400,
                "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) \
                 is too short.",
            ],
            "on_demand": [
                "ValidationException", 400,
                format!("Request is invalid. Stream kept {account} is in On-Demand mode."),
            ],
            "number": [
                "InvalidArgumentException", 400,
                format!(
                    "StartingSequenceNumber 0 used in GetShardIterator on shard 0 in stream kept {account} \
                     is invalid because it did not come from this stream."
                ),
            ],
            "iterator": [
                "ResourceNotFoundException", 400,
                format!("Shard shardId-000000000099 in stream kept {account} does not exist"),
            ],
            "future": "InvalidArgumentException",
            "metric": ["ValidationException", 400],
            "policy": [
                "UnsupportedOperationException", 400,
                "This gateway has no resource policies. Who may use streams is said by its access keys: \
                 [access_key.ID] in the configuration.",
            ],
            "too_large": ["ValidationException", 400],
        },
    });
    assert_eq!(seen, expected);
    // What was made and deleted is gone from the tables as well.
    eventually("the records of deleted streams are gone", || {
        gateway.get_json("/api/streams").to_string().contains("\"kept\"").then_some(())
    });
}

#[test]
fn shards_that_are_split_and_merged_keep_every_record_in_order() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let seen = boto3(&gateway, "reshard");
    let expected = json!({
        "roots": 1,
        "count": 24,
        "in_order": true,
        // The two open shards, and the closed ones with their children.
        "ends": [[false, 0], [false, 0], [true, 1], [true, 1], [true, 2], [true, 2]],
        "listed": ["0", "1", "2", "3", "4", "5"],
        "after": 2,
        "again": [
            "ResourceInUseException", 400,
            "Shard shardId-000000000000 in stream family under account 000000000000 has already been \
             merged or split, and thus is not eligible for merging or splitting.",
        ],
        "apart": "InvalidArgumentException",
        "too_many":
            "UpdateShardCount cannot scale up over double your current open shard count. Current open \
             shard count: 2 Target shard count: 5",
    });
    assert_eq!(seen, expected);
    // The shards are the same after a kill.
    let describe = || {
        let output = crate::live::tidegate()
            .args(["stream", "describe", "family", "--format", "json", "--data"])
            .arg(site.path("data"))
            .output()
            .expect("tidegate runs");
        let described: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut shards = described["shards"].clone();
        for shard in shards.as_array_mut().into_iter().flatten() {
            // What is counted begins anew with each start.
            let counted = ["in_", "out_", "throttled_", "iterator_age"];
            let is_counted = |name: &String| counted.iter().any(|begin| name.starts_with(begin));
            shard.as_object_mut().expect("a shard").retain(|name, _| !is_counted(name));
        }
        shards
    };
    let before = describe();
    assert_eq!(before.as_array().map(Vec::len), Some(6));
    assert_eq!(before[1]["parent_shards"], json!(["shardId-000000000000"]));
    gateway.kill();
    let gateway = site.start();
    assert_eq!(describe(), before);
    drop(gateway);
}

#[test]
fn a_rule_that_reads_a_stream_reads_parents_before_children() {
    let site = Site::with_rules(
        "CREATE RULE follow AS SELECT n, k FROM STREAM parted STARTING AT TRIM_HORIZON
         DO STREAM followed KEY 'x';",
    );
    let gateway = site.start();
    let put = boto3(&gateway, "reshard_often");
    let count = put["count"].as_u64().expect("a number");
    let followed = eventually("the rule has read everything", || {
        let followed = site.stream_data("followed");
        (followed.len() as u64 >= count).then_some(followed)
    });
    assert_eq!(followed.len() as u64, count, "each record once");
    assert!(put["shards"].as_u64() > Some(20), "{put}");
    for key in 0..5 {
        let of_key = followed.iter().filter(|record| record["k"] == json!(key));
        let numbers: Vec<u64> = of_key.filter_map(|record| record["n"].as_u64()).collect();
        assert!(numbers.is_sorted() && numbers.len() as u64 == count / 5, "{key}: {numbers:?}");
    }
    drop(gateway);
}

#[test]
fn the_limits_of_a_provisioned_shard_throttle_and_say_so() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let seen = boto3(&gateway, "limits");
    let says =
        "Rate exceeded for shard shardId-000000000000 in stream slow under account 000000000000.";
    let throughput = "ProvisionedThroughputExceededException";
    let expected = json!({
        "first": 0,
        "failed": true,
        "says": [[throughput, says]],
        "reads": [null, [throughput]],
        "iterators": [throughput, 400, says],
    });
    assert_eq!(seen, expected);
    assert!(metric(&gateway, "tidegate_kinesis_throttled_total{direction=\"in\"} ") > 0);
    assert!(metric(&gateway, "tidegate_kinesis_throttled_total{direction=\"out\"} ") > 0);
}

#[test]
fn the_aws_command_line_works_unmodified() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let aws = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/bin/aws");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&aws);
        command
            .args(["--endpoint-url", &gateway.http, "--region", "eu-central-1", "--output", "json"])
            .args(["kinesis"])
            .args(arguments)
            .envs([("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")])
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let output = command.output().expect("tests/clients/install has installed the AWS CLI");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {err}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    run(&["create-stream", "--stream-name", "cli", "--shard-count", "1"]);
    run(&["wait", "stream-exists", "--stream-name", "cli"]);
    let put = ["put-record", "--stream-name", "cli", "--partition-key", "k", "--data", "hello"];
    let stored = run(&put);
    assert_eq!(stored["ShardId"], "shardId-000000000000");
    let place =
        ["get-shard-iterator", "--stream-name", "cli", "--shard-id", "shardId-000000000000"];
    let iterator = run(&[&place[..], &["--shard-iterator-type", "TRIM_HORIZON"]].concat());
    let iterator = iterator["ShardIterator"].as_str().expect("an iterator");
    let page = run(&["get-records", "--shard-iterator", iterator]);
    assert_eq!(page["Records"][0]["Data"], "aGVsbG8=");
    assert_eq!(page["Records"][0]["SequenceNumber"], stored["SequenceNumber"]);
    assert_eq!(run(&["list-streams"])["StreamNames"], json!(["cli", "kept"]));
}

#[test]
fn the_sdk_for_javascript_works_over_http_2() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/kinesis.mjs");
    let seen = answer(Command::new("node").arg(program).arg(&gateway.http));
    let expected = json!({
        "failed": [0, 0, 0, 0],
        "read": 200,
        "refused": "ResourceNotFoundException",
        "handler": "NodeHttp2Handler",
    });
    assert_eq!(seen, expected);
}

/// What the program over the SDK for Rust sees of a gateway.
fn sdk_for_rust(arguments: &[&str]) {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients-rust/debug/kinesis-client");
    assert!(program.exists(), "run tests/clients/install first");
    let expected = json!({
        "failed": 0,
        "in_order": true,
        "arrived": true,
        "refused": "true: Stream none under account 000000000000 not found.",
        "pushed": ["0", "1", "2", "3", "4"],
        "goes_on": true,
    });
    assert_eq!(answer(Command::new(program).args(arguments)), expected);
}

#[test]
fn the_sdk_for_rust_puts_reads_and_is_pushed_records() {
    let site = Site::with_rules(KEPT);
    sdk_for_rust(&[&site.start().http]);
}

#[test]
fn the_sdk_for_rust_does_it_all_over_one_connection_of_http_2() {
    let site = certified(KEPT);
    let listener = "[listener.data]\nprotocol = \"https\"\nlisten = \"127.0.0.1:0\"\n\
                    certificate = \"certs/server.pem\"\nkey = \"certs/server.key\"\n";
    site.write("tidegate.toml", listener);
    let gateway = site.start();
    let endpoint = format!("https://localhost:{}", gateway.port_of("data"));
    let authority = site.path("certs/ca.pem");
    sdk_for_rust(&[&endpoint, authority.to_str().expect("UTF-8")]);
    // Records are put while the answer with the events goes on: over HTTP/1.1 that takes a second connection.
    let accepted = "tidegate_listener_connections_accepted_total{listener=\"data\"} ";
    assert_eq!(metric(&gateway, accepted), 1);
}

#[test]
fn cbor_gzip_and_what_is_wrong_get_aws_answers() {
    let site = Site::with_rules(KEPT);
    let gateway = site.start();
    let seen = answer(python("kinesis_wire.py").args(["--endpoint", &gateway.http]));
    let finding = |n: usize, findings: &[&str]| {
        let errors = if n == 1 { "error" } else { "errors" };
        format!("{n} validation {errors} detected: {}", findings.join("; "))
    };
    let constraint = |value: &str, member: &str, constraint: &str| {
        format!(
            "Value {value} at '{member}' failed to satisfy constraint: Member must {constraint}"
        )
    };
    let null = |member: &str| constraint("null", member, "not be null");
    let serialization = |message: &str| json!([400, "SerializationException", message]);
    let validation = |message: String| json!([400, "ValidationException", message]);
    let types = "satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, \
                 AT_SEQUENCE_NUMBER, TRIM_HORIZON]";
    let expected = json!({
        "created": [200, null],
        "record": ["00ff", "k", true],
        "time": true,
        "cbor_error": [400, "ResourceNotFoundException"],
        "cbor_broken": "SerializationException",
        "gzip": 1,
        "chunks": 200,
        "wrong": {
            "operation":
                [400, "UnknownOperationException", "There is no operation 'Kinesis_20131202.None'."],
            "content_type": [404, "UnknownOperationException"],
            "syntax": serialization(""),
            "list": serialization("Start of list found where not expected"),
            "entry": serialization("Start of list found where not expected"),
            "filter": serialization("Start of list found where not expected"),
            "empty": serialization(""),
            "type": serialization("NUMBER_VALUE can not be converted to a String"),
            "base64": [400, "SerializationException"],
            "required": validation(finding(2, &[&null("data"), &null("partitionKey")])),
            "name": validation(finding(1, &[&constraint(
                "'a b'", "streamName", "satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
            )])),
            "hash_key": [400, "InvalidArgumentException"],
            "iterator_type":
                validation(finding(1, &[&constraint("'SOON'", "shardIteratorType", types)])),
            "limit": ["ValidationException", finding(1, &[&constraint(
                "'0'", "limit", "have value greater than or equal to 1",
            )])],
            "records": validation(finding(1, &[&constraint(
                "'[501 records]'", "records", "have length less than or equal to 500",
            )])),
            "batch": ["InvalidArgumentException", "Records size exceeds 10 MB limit"],
            "gzip": serialization("The body is not gzip."),
            "bomb": [413, "RequestEntityTooLargeException"],
            "origin": 403,
            "body": [413, "RequestEntityTooLargeException"],
        },
    });
    assert_eq!(seen, expected);
}

#[test]
fn with_access_keys_every_request_must_be_signed_with_one() {
    let site = Site::with_rules(KEPT);
    let text =
        "[secret.line]\nvalue = \"s3cret/+key\"\n\n[access_key.AKIDEXAMPLE]\nsecret = \"line\"\n";
    site.write("tidegate.toml", text);
    let gateway = site.start();
    let arguments = ["signed", "--endpoint", &gateway.http, "--secret", "s3cret/+key"];
    let seen = answer(python("kinesis.py").args(arguments));
    assert!(seen["put"].as_str().is_some_and(|shard| shard.starts_with("shardId-")), "{seen}");
    assert_eq!(seen["right"], json!(["kept"]));
    assert_eq!(seen["secret"], json!(["InvalidSignatureException", 400]));
    let token = "The security token included in the request is invalid.";
    assert_eq!(seen["key"], json!(["UnrecognizedClientException", 400, token]));
    let none = "Missing Authentication Token";
    assert_eq!(seen["none"], json!(["MissingAuthenticationTokenException", 400, none]));
}

#[test]
fn no_record_that_was_answered_is_lost_over_kills_during_puts() {
    let site = Site::with_rules(KEPT);
    let mut gateway = site.start();
    let port = gateway.http.rsplit(':').next().and_then(|port| port.parse().ok());
    let port: u16 = port.expect("the address ends with a port");
    let acked_file = site.path("acked.txt");
    let mut putter = python("kinesis.py")
        .args(["put_on", "--endpoint", &gateway.http, "--out"])
        .arg(&acked_file)
        .stdout(Stdio::null())
        .spawn()
        .expect("python runs");
    let acked = || -> BTreeSet<String> {
        let text = std::fs::read_to_string(&acked_file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let mut before = 0;
    for _ in 0..KILLS {
        before = eventually("more records are acknowledged", || {
            let count = acked().len();
            (count >= before + 200).then_some(count)
        });
        gateway.kill();
        gateway = site.start_on_http(port);
    }
    putter.kill().expect("it still runs");
    putter.wait().expect("it has ended");
    let acked = acked();
    let kept = site.stream_data("kept");
    let kept: BTreeSet<String> =
        kept.iter().map(|record| record["id"].as_str().expect("an id").to_owned()).collect();
    let missing: Vec<&String> = acked.difference(&kept).collect();
    assert!(missing.is_empty(), "{} of {}: {missing:?}", missing.len(), acked.len());
    assert!(acked.len() >= KILLS * 200, "{} acknowledged", acked.len());
    drop(gateway);
}
