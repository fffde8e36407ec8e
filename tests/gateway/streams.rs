//! What a stream may hold, what its shards are seen to do, and that they are changed from the dashboard's API.

use serde_json::Value;
use serde_json::json;

use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;
use crate::live::json_lines;
use crate::live::tidegate;

const MIB: u64 = 1024 * 1024;
const RULES: &str = "
CREATE RULE small AS SELECT * FROM 'small' DO STREAM small KEY 'k' ON ERROR DO STREAM errors KEY 'e';
CREATE RULE rolling AS SELECT * FROM 'rolling' DO STREAM rolling KEY 'k';
CREATE RULE told AS SELECT * FROM '$events/stream/+/full' DO STREAM events KEY stream;
";
const ROOM: &str = "
[stream.small]
shards = 1
size_max = \"16 MiB\"
[stream.rolling]
size_max = \"16 MiB\"
full = \"drop_oldest\"
";

fn metric(gateway: &Gateway, line: &str) -> u64 {
    let (_, text) = gateway.get("/metrics");
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn reshard(gateway: &Gateway, stream: &str, change: &Value) -> (u16, Value) {
    let url = format!("{}/api/streams/{stream}/reshard", gateway.http);
    let (status, body) = http("POST", &url, Some(&change.to_string()));
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// The numbers of the shards that take records.
fn open_shards(detail: &Value) -> Vec<&str> {
    let shards = detail["shard_list"].as_array().expect("shards").iter();
    let open = shards.filter(|shard| shard["closed"].is_null());
    open.filter_map(|shard| shard["shard"].as_str()?.strip_prefix("shardId-00000000000")).collect()
}

#[test]
fn a_full_stream_refuses_or_drops_and_says_so() {
    let site = Site::with_rules(RULES);
    site.write("tidegate.toml", ROOM);
    let gateway = site.start();
    let output = python("kinesis.py").args(["fill", "--endpoint", &gateway.http]).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let full = "Stream small under account 000000000000 is full: it may hold 16777216 bytes.";
    let code = "ProvisionedThroughputExceededException";
    let small = json!({"stored": 16, "refused": [[code, full]], "one": code});
    let rolling = json!({"stored": 32, "refused": [], "one": null});
    assert_eq!(seen, json!({"small": small, "rolling": rolling}));
    assert_eq!(metric(&gateway, "tidegate_stream_refused_records_total{stream=\"small\"}"), 17);

    // A rule's record goes the way of every action that fails.
    gateway.publish("small", r#"{"n":1}"#);
    let faults = "tidegate_rule_faults_total{rule=\"small\",code=\"stream_full\"}";
    assert_eq!(metric(&gateway, faults), 1);
    let errors = site.stream_data("errors");
    assert_eq!(errors[0]["failures"][0]["failedAction"], "stream", "{errors:?}");
    assert_eq!(gateway.get_json("/api/streams/small")["records"], 16);
    let url = format!("{}/api/streams/small/records", gateway.http);
    let (status, body) = http("POST", &url, Some(r#"{"partition_key":"k","data":1}"#));
    assert_eq!(status, 503, "{body}");

    // The other one keeps within its room, and takes what comes.
    let dropped = "tidegate_stream_dropped_records_total{stream=\"rolling\"}";
    let detail = eventually("the oldest records go", || {
        let detail = gateway.get_json("/api/streams/rolling");
        (detail["bytes"].as_u64()? <= 16 * MIB).then_some(detail)
    });
    assert_eq!((&detail["full"], &detail["size_max"]), (&json!("drop_oldest"), &json!(16 * MIB)));
    let left = detail["records"].as_u64().expect("records");
    assert!(left >= 14, "no more than a block and a 64th beyond: {detail}");
    eventually("what was dropped is counted", || {
        (metric(&gateway, dropped) == 33 - left).then_some(())
    });
    gateway.publish("rolling", r#"{"n":1}"#);
    let events = eventually("both are told", || {
        let events = site.stream_data("events");
        (events.len() >= 2).then_some(events)
    });
    let policies: Vec<_> =
        events.iter().map(|event| (&event["stream"], &event["policy"])).collect();
    assert!(policies.contains(&(&json!("small"), &json!("refuse"))), "{events:?}");
    assert!(policies.contains(&(&json!("rolling"), &json!("drop_oldest"))), "{events:?}");

    // It is as full after a restart as before.
    gateway.kill();
    let gateway = site.start();
    gateway.publish("small", r#"{"n":2}"#);
    assert_eq!(metric(&gateway, faults), 1, "counted anew");
    gateway.kill();
    let verified = tidegate().args(["stream", "verify", "--data"]).arg(site.path("data")).output();
    let verified = verified.expect("it runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn shards_are_counted_shown_and_changed() {
    let site = Site::with_rules("CREATE RULE all AS SELECT * FROM 'in/+' DO STREAM s KEY topic();");
    let gateway = site.start();
    for n in 0..10 {
        gateway.publish(&format!("in/{n}"), r#"{"n":1}"#);
    }
    let detail = gateway.get_json("/api/streams/s");
    assert_eq!((&detail["mode"], &detail["shards_total"]), (&json!("on_demand"), &json!(2)));
    let shards = detail["shard_list"].as_array().expect("shards");
    let sum = |name: &str| shards.iter().filter_map(|shard| shard[name].as_u64()).sum::<u64>();
    assert_eq!((sum("in_records"), sum("records"), sum("out_records")), (10, 10, 0));
    assert_eq!((sum("in_bytes"), sum("bytes")), (110, 110));
    for shard in shards {
        let name = shard["shard"].as_str().expect("a name");
        let of = |what: &str| {
            metric(&gateway, &format!("tidegate_stream_{what}{{stream=\"s\",shard=\"{name}\"}}"))
        };
        assert_eq!(json!(of("shard_size_records")), shard["records"]);
        let line = format!(
            "tidegate_stream_shard_records_total{{stream=\"s\",shard=\"{name}\",direction=\"in\"}}"
        );
        assert_eq!(json!(metric(&gateway, &line)), shard["in_records"]);
    }

    let (status, detail) =
        reshard(&gateway, "s", &json!({"split": {"shard": "shardId-000000000000"}}));
    assert_eq!((status, open_shards(&detail)), (200, vec!["1", "2", "3"]), "{detail}");
    let halves = &detail["shard_list"];
    assert_eq!(halves[3]["starting_hash_key"], json!((1_u128 << 126).to_string()), "{detail}");
    let pair = json!({"merge": {"shards": ["shardId-000000000003", "shardId-000000000002"]}});
    let (status, detail) = reshard(&gateway, "s", &pair);
    assert_eq!((status, open_shards(&detail)), (200, vec!["1", "4"]), "{detail}");
    let (status, detail) = reshard(&gateway, "s", &json!({"count": {"shards": 4}}));
    assert_eq!((status, open_shards(&detail).len()), (200, 4), "{detail}");
    for (change, expected) in [
        (json!({"count": {"shards": 40}}), "there are 4 shards; it may be half to double of that"),
        (json!({"split": {"shard": "x"}}), "'x' is no shard: shardId-000000000000"),
        (json!({"split": {"shard": "99"}}), "the stream has no shardId-000000000099"),
        (json!({"split": {"shard": "0"}}), "shardId-000000000000 is closed"),
        (
            json!({"split": {"shard": "5", "at": "-1"}}),
            "'-1' is no hash key: a decimal below 2^128",
        ),
        (json!({"melt": {}}), "unknown variant `melt`"),
    ] {
        let (status, body) = reshard(&gateway, "s", &change);
        assert_eq!(status, 400, "{body}");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(reshard(&gateway, "t", &json!({"count": {"shards": 2}})).0, 404);

    // The command has what the gateway counts while one runs, and what is stored without.
    let describe = || {
        let mut command = tidegate();
        command.args(["stream", "describe", "s", "--format", "json", "--data"]);
        let output = command.arg(site.path("data")).output().expect("it runs");
        json_lines(&output.stdout).remove(0)
    };
    assert_eq!(describe()["shards"][1]["in_records"], shards[1]["in_records"]);
    gateway.kill();
    assert_eq!(describe()["shards"][1]["in_records"], Value::Null);
    assert_eq!(describe()["shards"][1]["records"], shards[1]["records"]);
}
