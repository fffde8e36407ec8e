//! Records made up by templates, and the stream commands over the Kinesis API.

use std::collections::BTreeSet;
use std::process::Command;
use std::process::Output;

use serde_json::Value;
use serde_json::json;

use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::json_lines;
use crate::live::tidegate;

const RULES: &str =
    "CREATE RULE seen AS SELECT n, topic(2) AS place FROM 'lab/+/t' DO STREAM seen KEY 'k';";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn generate(site: &Site, words: &[&str]) -> Output {
    let mut command = tidegate();
    without_keys(&mut command, site)
        .arg("generate")
        .args(words)
        .arg("--data")
        .arg(site.path("data"));
    command.output().expect("it runs")
}

/// Whatever keys there are where the tests run are none of theirs.
fn without_keys<'c>(command: &'c mut Command, site: &Site) -> &'c mut Command {
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    command.env_remove("AWS_SHARED_CREDENTIALS_FILE").env_remove("AWS_CONFIG_FILE");
    command.env("HOME", site.path(""))
}

#[test]
fn as_many_records_as_are_wanted_come_into_a_stream_or_a_delivery() {
    let site = Site::with_rules(RULES);
    site.write(
        "tidegate.toml",
        "[stream.made]\nshards = 2\n[delivery.made]\nbuffer_interval = \"1s\"\n",
    );
    let _gateway = site.start();
    let template = "{\"n\": {{sequence}}, \"temp\": {{random.number(20,40)}}}";
    let words =
        ["--template", template, "--to", "stream:made", "--rate", "5000", "--count", "1500"];
    let output = generate(&site, &words);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("1500 acknowledged in "), "{}", text(&output.stdout));
    let records = site.records("made");
    let numbers: BTreeSet<u64> =
        records.iter().filter_map(|record| record["data"]["n"].as_u64()).collect();
    assert_eq!((records.len(), numbers.len()), (1500, 1500));
    assert!(records.iter().all(|record| {
        record["data"]["temp"].as_u64().is_some_and(|temp| (20..=40).contains(&temp))
    }));
    let shards: BTreeSet<&str> =
        records.iter().filter_map(|record| record["shard"].as_str()).collect();
    assert_eq!(shards.len(), 2, "partition keys differ");

    let words = ["--template", template, "--to", "firehose:made", "--rate", "5000"];
    let output = generate(&site, &[&words[..], &["--count", "700"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("700 acknowledged in "), "{}", text(&output.stdout));
    let numbers = eventually("the records are in files", || {
        let delivered = site.delivered("made");
        let numbers = delivered.iter().filter_map(|record| record["n"].as_u64());
        Some(numbers.collect::<BTreeSet<u64>>()).filter(|numbers| numbers.len() == 700)
    });
    assert_eq!(numbers.last(), Some(&700));
    assert_eq!(site.delivered("made").len(), 700, "each once");

    let output = generate(&site, &["--template", "x", "--to", "firehose:none", "--count", "1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("ResourceNotFoundException"), "{}", text(&output.stderr));
    let output = generate(&site, &["--template", "x", "--to", "stream:none", "--count", "1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("ResourceNotFoundException"), "{}", text(&output.stderr));
    let output = generate(&site, &["--template", "{{random.nmber}}", "--to", "stream:made"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("did you mean 'random.number'?"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn messages_go_over_mqtt_for_as_long_as_is_wanted() {
    let site = Site::with_rules(RULES);
    let gateway = site.start();
    let broker = format!("mqtt://{}", gateway.mqtt);
    let to = "mqtt:lab/{{random.number(1,3)}}/t";
    let words = ["--template", "{\"n\": {{sequence}}}", "--to", to, "--broker", &broker];
    let output = generate(&site, &[&words[..], &["--count", "200", "--rate", "1000"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("200 acknowledged in "), "{}", text(&output.stdout));
    let seen = site.stream_data("seen");
    let numbers: BTreeSet<u64> = seen.iter().filter_map(|record| record["n"].as_u64()).collect();
    let places: BTreeSet<String> = seen.iter().map(|record| record["place"].to_string()).collect();
    assert_eq!((seen.len(), numbers.len(), places.len()), (200, 200, 3));
    let output = generate(&site, &[&words[..], &["--for", "300ms"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(site.stream_data("seen").len() > 200);
}

/// A stream command over the API, with an access key if one is given.
fn stream(gateway: &Gateway, site: &Site, key: Option<[&str; 2]>, words: &[&str]) -> Output {
    let mut command = tidegate();
    without_keys(&mut command, site).arg("stream").args(words);
    if let Some([id, secret]) = key {
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    }
    command.args(["--endpoint", &gateway.http]).output().expect("it runs")
}

#[test]
fn stream_commands_speak_to_an_endpoint_and_sign() {
    let site = Site::with_rules(RULES);
    site.write(
        "tidegate.toml",
        "[secret.line]\nvalue = \"s3cret/+key\"\n\n[access_key.AKIDEXAMPLE]\nsecret = \"line\"\n",
    );
    let gateway = site.start();
    let right = Some(["AKIDEXAMPLE", "s3cret/+key"]);
    let json = |words: &[&str]| -> Vec<Value> {
        let output = stream(&gateway, &site, right, words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        json_lines(&output.stdout)
    };
    let placed = json(&["put", "seen", "--key", "a", "--hash-key", "5", "{\"n\":1}"]).remove(0);
    assert_eq!(placed["shard"], "shardId-000000000000");
    json(&["put", "seen", "--key", "b", "no json"]);
    let listed = json(&["list", "--format", "json"]).remove(0);
    let expected = json!({
        "name": "seen", "shards": 2, "retention_seconds": 86_400, "mode": "ON_DEMAND",
        "status": "ACTIVE",
    });
    assert_eq!(listed["streams"], json!([expected]));
    let described = json(&["describe", "seen", "--format", "json"]).remove(0);
    assert_eq!(described["shards"][1]["shard"], "shardId-000000000001");
    assert_eq!(described["shards"][1]["is_closed"], false);
    let tail = ["tail", "seen", "--from", "trim-horizon", "--no-follow"];
    let mut lines = json(&tail);
    lines.sort_by_key(|line| line["partition_key"].to_string());
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["data"], &lines[0]["shard"]), (&json!({"n": 1}), &placed["shard"]));
    assert_eq!(lines[0]["sequence_number"], placed["sequence_number"]);
    assert_eq!(lines[1]["data_base64"], "bm8ganNvbg==");
    assert_eq!(site.records("seen").len(), 2, "the same from the data folder");

    for (key, expected) in [
        (Some(["AKIDEXAMPLE", "wrong"]), "InvalidSignatureException"),
        (None, "MissingAuthenticationTokenException"),
    ] {
        let output = stream(&gateway, &site, key, &["list"]);
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    let output = stream(&gateway, &site, right, &["tail", "none"]);
    assert!(text(&output.stderr).contains("ResourceNotFoundException"), "{}", text(&output.stderr));
}
