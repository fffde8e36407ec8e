//! Firehose's API, spoken by boto3 and the AWS CLI: delivery streams whose buckets are folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

use crate::clients::answer;
use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;

/// Kills in the loop.
const KILLS: usize = 8;

const CONFIG: &str = "[delivery]\nroot = \"s3\"\n[delivery.declared]\nbuffer_interval = \"15m\"\n";

fn boto3(gateway: &Gateway, what: &str) -> Value {
    answer(python("firehose.py").args([what, "--endpoint", &gateway.http]))
}

fn flush(gateway: &Gateway, delivery: &str) {
    let path = format!("{}/api/deliveries/{delivery}/flush", gateway.http);
    assert_eq!(http("POST", &path, None).0, 204, "{delivery}");
}

/// The lines of all files below a folder, whatever they are compressed with.
fn lines(site: &Site, folder: &str) -> Vec<String> {
    let mut lines = Vec::new();
    // A name with a dot is that of a file that is being written.
    let is_whole = |file: &PathBuf| {
        file.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    };
    for file in site.files_below(folder).into_iter().filter(is_whole) {
        let packing = if file.extension().is_some_and(|end| end == "gz") { "gzip" } else { "none" };
        let output = python("unpack.py").arg(packing).arg(&file).output().expect("python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

fn site() -> Site {
    let site = Site::with_rules("CREATE RULE one AS SELECT * FROM 'x' DO DELIVER declared;");
    site.write("tidegate.toml", CONFIG);
    site
}

#[test]
fn boto3_makes_puts_into_changes_and_deletes_delivery_streams() {
    let site = site();
    let gateway = site.start();
    let mut seen = boto3(&gateway, "daily");
    let refused = seen["refused"].take();
    let account = "account 000000000000";
    let expected = json!({
        "put": ["arn:aws:firehose:us-east-1:000000000000:deliverystream/clicks", 501, 0, false],
        "described": [
            "ACTIVE", "1", "DirectPut", true, "destinationId-000000000001",
            {"SizeInMBs": 1, "IntervalInSeconds": 1}, "UNCOMPRESSED", "arn:aws:s3:::lake",
            "clicks/!{timestamp:yyyy}/",
        ],
        "stale": [
            "ConcurrentModificationException", 400, "The version of Firehose clicks is 2.",
        ],
        "updated": ["2", "GZIP", "gz/", 1],
        "listed": [
            {"DeliveryStreamNames": ["b", "c"], "HasMoreDeliveryStreams": true},
            ["clicks", "declared"],
            false,
        ],
        "tags": [[{"Key": "stage", "Value": "b"}], true],
        "refused": null,
    });
    assert_eq!(seen, expected);
    let not_found = format!("Firehose none under {account} not found.");
    assert_eq!(refused["unknown"], json!(["ResourceNotFoundException", 400, not_found]));
    let kinds = [
        ("exists", "ResourceInUseException"),
        ("declared", "ResourceInUseException"),
        ("large", "ValidationException"),
        ("many", "ValidationException"),
        ("heavy", "InvalidArgumentException"),
        ("name", "ValidationException"),
        ("endpoint", "InvalidArgumentException"),
        ("interval", "InvalidArgumentException"),
        ("encryption", "InvalidArgumentException"),
        ("stream", "InvalidArgumentException"),
    ];
    for (what, kind) in kinds {
        assert_eq!((&refused[what][0], &refused[what][1]), (&json!(kind), &json!(400)), "{what}");
    }
    assert_eq!(refused["largest"], json!(null));

    // What was made is there after a kill, and what was answered as well.
    gateway.kill();
    let gateway = site.start();
    flush(&gateway, "clicks");
    let mut clicks = lines(&site, "s3/lake");
    clicks.retain(|line| !line.starts_with("xxx"));
    let mut expected: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    expected.push("first".to_owned());
    clicks.sort_unstable();
    expected.sort_unstable();
    assert_eq!(clicks, expected);
    flush(&gateway, "declared");
    assert_eq!(site.delivered("declared"), [json!({"by": "boto3"})]);

    let gone = boto3(&gateway, "delete");
    assert_eq!(gone[0], "ResourceNotFoundException");
    let listed = || {
        let list = aws(&gateway, &["list-delivery-streams"]);
        (list["DeliveryStreamNames"] == json!(["b", "c", "declared"])).then_some(())
    };
    eventually("the deleted one is gone", listed);
    eventually("nothing is left of it", || {
        (!gateway.get("/metrics").1.contains("delivery=\"clicks\"")).then_some(())
    });
}

fn aws(gateway: &Gateway, arguments: &[&str]) -> Value {
    let aws = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/bin/aws");
    let mut command = Command::new(&aws);
    command
        .args(["--endpoint-url", &gateway.http, "--region", "eu-central-1", "--output", "json"])
        .arg("firehose")
        .args(arguments)
        .envs([("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")])
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.output().expect("tests/clients/install has installed the AWS CLI");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {err}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[test]
fn the_aws_command_line_makes_and_fills_a_delivery_stream() {
    let site = site();
    let gateway = site.start();
    let bucket = "RoleARN=arn:aws:iam::000000000000:role/r,BucketARN=arn:aws:s3:::cli-bucket,\
                  BufferingHints={SizeInMBs=1,IntervalInSeconds=1}";
    let name = ["--delivery-stream-name", "cli"];
    let destination = ["--extended-s3-destination-configuration", bucket];
    let made = aws(&gateway, &[&["create-delivery-stream"], &name[..], &destination].concat());
    assert_eq!(
        made["DeliveryStreamARN"],
        "arn:aws:firehose:us-east-1:000000000000:deliverystream/cli"
    );
    // AWS CLI 1 takes a blob as it is.
    let record = ["--record", r#"{"Data":"hello"}"#];
    let put = aws(&gateway, &[&["put-record"], &name[..], &record].concat());
    assert!(put["RecordId"].is_string(), "{put}");
    // Nobody flushes: the interval of a second is honoured.
    let file = eventually("the interval has passed", || {
        site.files_below("s3/cli-bucket").into_iter().find(|file| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cli-"))
        })
    });
    assert_eq!(std::fs::read_to_string(file).expect("text"), "hello");
    let described = aws(&gateway, &[&["describe-delivery-stream"], &name[..]].concat());
    assert_eq!(described["DeliveryStreamDescription"]["DeliveryStreamStatus"], "ACTIVE");
}

#[test]
fn partitions_and_parquet_are_made_as_programs_ask() {
    let site = site();
    let gateway = site.start();
    assert_eq!(boto3(&gateway, "partitioned"), json!([0, 0]));
    flush(&gateway, "rooms");
    flush(&gateway, "tables");
    assert_eq!(lines(&site, "s3/rooms/room=a"), [r#"{"room":"a","n":1}"#, r#"{"room":"a","n":3}"#]);
    assert_eq!(lines(&site, "s3/rooms/room=b"), [r#"{"room":"b","n":2.5}"#]);
    let errors = lines(&site, "s3/rooms/errors/processing-failed");
    assert!(errors.len() == 1 && errors[0].contains("no partition key 'room'"), "{errors:?}");
    let files = site.files_below("s3/tables");
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    let seen = answer(python("parquet_file.py").arg(file));
    let rows = json!([
        {"room": "a", "n": 1.0}, {"room": "b", "n": 2.5}, {"room": "a", "n": 3.0},
        {"room": null, "n": null},
    ]);
    assert_eq!((&seen["duckdb"]["rows"], &seen["pyarrow"]["rows"]), (&rows, &rows));
    assert_eq!(seen["pyarrow"]["codecs"], json!(["GZIP"]));
}

#[test]
fn what_firehose_has_answered_is_in_one_file_over_kills() {
    let site = site();
    let mut gateway = site.start();
    boto3(&gateway, "make");
    let port = gateway.http.rsplit(':').next().and_then(|port| port.parse().ok());
    let port: u16 = port.expect("the address ends with a port");
    let acked_file = site.path("acked.txt");
    let mut putter = python("firehose.py")
        .args(["load", "--endpoint", &gateway.http, "--out"])
        .arg(&acked_file)
        .stdout(Stdio::null())
        .spawn()
        .expect("python runs");
    let acked = || -> Vec<String> {
        let text = std::fs::read_to_string(&acked_file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let mut before = 0;
    for _ in 0..KILLS {
        before = eventually("more records are acknowledged", || {
            let count = acked().len();
            (count >= before + 400).then_some(count)
        });
        gateway.kill();
        gateway = site.start_on_http(port);
    }
    putter.kill().expect("it still runs");
    putter.wait().expect("it has ended");
    flush(&gateway, "load");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines(&site, "s3/load") {
        let record: Value = serde_json::from_str(&line).expect("a record");
        *counts.entry(record["id"].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let acked = acked();
    let missing: Vec<_> = acked.iter().filter(|id| !counts.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {}: {missing:?}", missing.len(), acked.len());
    assert!(acked.len() >= KILLS * 400, "{} acknowledged", acked.len());
}
