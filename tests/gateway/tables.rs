//! Tables over a live gateway and in the commands: reference tables, and those that UPSERT keeps.

use std::fs;

use serde_json::Value;
use serde_json::json;

use crate::clients::Publisher;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;
use crate::live::json_lines;
use crate::live::tidegate;

const RULES: &str = "
CREATE TABLE motes FROM 'tables/motes.csv' KEY moteid;
CREATE RULE hot AS
  SELECT moteid, motes.room FROM 'lab/+/telemetry'
  JOIN motes ON motes.moteid = moteid
  WHERE temperature > motes.limit
DO STREAM alerts KEY motes.room;
";

fn site(table: &str) -> Site {
    let site = Site::with_rules(RULES);
    fs::create_dir(site.path("rules/tables")).expect("a folder for tables");
    site.write("rules/tables/motes.csv", table);
    site
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_published_message_meets_its_row() {
    let site = site("moteid,room,limit\n7,kitchen,30\n8,attic,50\n");
    let gateway = site.start();
    for mote in [7, 8, 9] {
        let payload = json!({"moteid": mote, "temperature": 40});
        gateway.publish(&format!("lab/{mote}/telemetry"), &payload.to_string());
    }
    let records = site.records("alerts");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["partition_key"], json!("kitchen"));
    assert_eq!(site.stream_data("alerts"), [json!({"moteid": 7, "room": "kitchen"})]);
    let (_, metrics) = gateway.get("/metrics");
    assert!(metrics.contains("rule_topic_matches_total{rule=\"hot\"} 3"), "{metrics}");
    assert!(metrics.contains("rule_hits_total{rule=\"hot\"} 1"), "{metrics}");
    let faults = metrics.lines().find(|line| line.contains("rule_faults_total{rule=\"hot\""));
    assert!(faults.is_none_or(|line| line.ends_with(" 0")), "no row is no fault: {faults:?}");
}

#[test]
fn a_changed_table_is_read_again_and_a_wrong_one_is_not() {
    let rows = |limit: &str| format!("moteid,room,limit\n7,kitchen,{limit}\n");
    let site = site(&rows("50"));
    let gateway = site.start();
    let set = || gateway.get_json("/api/overview")["rule_set"].take();
    let hits = |temperature: u32| {
        let payload = json!({"moteid": 7, "temperature": temperature});
        gateway.publish("lab/7/telemetry", &payload.to_string());
        site.stream_data("alerts").len()
    };
    assert_eq!(hits(40), 0);
    site.write("rules/tables/motes.csv", &rows("30"));
    eventually("the new rows", || (set()["generation"] == 2).then_some(()));
    assert_eq!(hits(40), 1, "the rule is the same, its rows are not");
    site.write("rules/tables/motes.csv", "moteid,room,limit\n7,kitchen\n");
    eventually("the wrong rows are told", || (set()["stale"]["errors"] == 1).then_some(()));
    assert_eq!(hits(40), 2, "the rows that were right stay");
    let finding = &set()["stale"];
    assert!(finding.to_string().contains("motes.csv"), "{finding}");
}

#[test]
fn a_wrong_row_keeps_the_gateway_from_starting_and_check_shows_it() {
    let site = site("moteid,room,limit\n7,kitchen,30\n7,attic\n");
    let checked = tidegate().arg("check").arg(site.path("rules")).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(1));
    let report = text(&checked.stderr);
    assert!(report.contains("motes.csv:3:1"), "{report}");
    assert!(report.contains("the row has 2 cells, the header names 3 columns"), "{report}");
    let run = site.run_command().output().expect("it runs");
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
}

#[test]
fn eval_joins_the_tables_of_a_rule_set() {
    let site = site("moteid,room,limit\n7,kitchen,30\n");
    let evaluated = tidegate()
        .arg("eval")
        .args(["--sql", "SELECT m.room FROM 'x' JOIN motes AS m ON m.moteid = id"])
        .args(["--payload", r#"{"id":7}"#])
        .arg("--rules")
        .arg(site.path("rules"))
        .output()
        .expect("it runs");
    assert_eq!(text(&evaluated.stdout), "{\"result\":{\"room\":\"kitchen\"}}\n");
}

const LATEST: &str = "
CREATE RULE latest AS SELECT temperature FROM 'lab/+/telemetry' DO UPSERT latest KEY moteid
ON ERROR DO STREAM refused KEY topic();
";

fn publish(gateway: &Gateway, mote: u32, temperature: u32) {
    let payload = json!({"moteid": mote, "temperature": temperature});
    gateway.publish(&format!("lab/{mote}/telemetry"), &payload.to_string());
}

/// The lines of `tidegate table WORDS`, and its exit code.
fn table(site: &Site, words: &[&str]) -> (Vec<Value>, Option<i32>) {
    let data = site.path("data");
    let output = tidegate().arg("table").args(words).arg("--data").arg(data).output();
    let output = output.expect("it runs");
    (json_lines(&output.stdout), output.status.code())
}

#[test]
fn the_last_value_of_each_key_is_kept_over_kills() {
    let site = Site::with_rules(LATEST);
    let mut gateway = site.start();
    for round in 0..5 {
        for mote in [7, 8] {
            publish(&gateway, mote, 20 + round);
        }
        gateway.kill();
        // Acknowledged, so it is there: read without a gateway.
        let (lines, _) = table(&site, &["dump", "latest"]);
        let seen: Vec<_> = lines.iter().map(|l| (l["key"].clone(), l["data"].clone())).collect();
        let value = json!({"temperature": 20 + round});
        assert_eq!(seen, [(json!("7"), value.clone()), (json!("8"), value)]);
        gateway = site.start();
    }
    let (lines, _) = table(&site, &["get", "latest", "7"]);
    assert_eq!(lines[0]["data"], json!({"temperature": 24}), "beside a running gateway too");
    let listed = gateway.get_json("/api/tables");
    assert_eq!(
        (&listed["tables"][0]["name"], &listed["tables"][0]["keys"]),
        (&json!("latest"), &json!(2))
    );
    let entry = gateway.get_json("/api/tables/latest/8");
    assert_eq!(entry["data"], json!({"temperature": 24}));
}

#[test]
fn a_key_too_many_goes_to_on_error_and_a_deleted_one_makes_room() {
    let site = Site::with_rules(LATEST);
    site.write("tidegate.toml", "[rules]\ntable_keys_max = 2\n");
    let gateway = site.start();
    for mote in [1, 2, 3, 1] {
        publish(&gateway, mote, mote);
    }
    let keys = |site: &Site| -> Vec<Value> {
        table(site, &["dump", "latest"]).0.iter().map(|line| line["key"].clone()).collect()
    };
    assert_eq!(keys(&site), [json!("1"), json!("2")]);
    let refused = site.stream_data("refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["failures"][0]["failedAction"], json!("upsert"));
    assert_eq!(refused[0]["failures"][0]["failedResource"], json!("latest"));
    assert_eq!(refused[0]["topic"], json!("lab/3/telemetry"));
    let (_, metrics) = gateway.get("/metrics");
    let counted = "rule_faults_total{rule=\"latest\",code=\"table_full\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    assert_eq!(table(&site, &["delete", "latest", "1"]), (Vec::new(), Some(0)), "by the gateway");
    assert_eq!(table(&site, &["delete", "latest", "1"]).1, Some(3), "it is gone");
    publish(&gateway, 3, 3);
    assert_eq!(keys(&site), [json!("2"), json!("3")], "there was room again");

    assert!(gateway.terminate().0.success());
    assert_eq!(table(&site, &["delete", "latest", "2"]).1, Some(0), "without a gateway");
    assert_eq!(table(&site, &["delete", "latest", "2"]).1, Some(3));
    let gateway = site.start();
    publish(&gateway, 4, 4);
    publish(&gateway, 5, 5);
    assert_eq!(keys(&site), [json!("3"), json!("4")], "keys are counted anew at a start");
    assert_eq!(site.stream_data("refused").len(), 2);
}

/// A device's mode is kept by one rule and joined by another.
const JOINED: &str = "
CREATE RULE modes AS SELECT mode FROM 'lab/+/mode' DO UPSERT modes KEY topic(2);
CREATE RULE seen AS
  SELECT n, modes.mode FROM 'lab/+/telemetry' LEFT JOIN modes ON modes.key = topic(2)
DO STREAM seen KEY topic(2);
";

#[test]
fn what_was_acknowledged_is_joined_by_every_later_message_also_after_a_kill() {
    let site = Site::with_rules(JOINED);
    let mut gateway = site.start();
    let mut expected = Vec::new();
    for (n, mode) in ["day", "night", "off"].into_iter().enumerate() {
        gateway.publish("lab/7/mode", &json!({ "mode": mode }).to_string());
        if n == 1 {
            gateway.kill();
            gateway = site.start();
        }
        // Another connection than the one that has the acknowledgement.
        gateway.publish("lab/7/telemetry", &json!({ "n": n }).to_string());
        expected.push(json!({"n": n, "mode": mode}));
    }
    gateway.publish("lab/8/telemetry", r#"{"n":9}"#);
    expected.push(json!({"n": 9}));
    assert_eq!(table(&site, &["delete", "modes", "7"]).1, Some(0), "by the gateway");
    gateway.publish("lab/7/telemetry", r#"{"n":10}"#);
    expected.push(json!({"n": 10}));
    assert_eq!(site.stream_data("seen"), expected);
}

#[test]
fn a_reload_joins_a_table_that_no_rule_has_read_while_it_is_written() {
    let write = "CREATE RULE last AS SELECT n FROM 'in/+' DO UPSERT last KEY topic(2);";
    let read =
        "CREATE RULE seen AS SELECT last.n, last.key FROM 'out/+' JOIN last ON last.key = topic(2)
                DO STREAM seen KEY topic(2);";
    let site = Site::with_rules(write);
    site.write("tidegate.toml", "[rules]\nwatch = false\n");
    let gateway = site.start();
    gateway.publish("in/old", r#"{"n":-1}"#);
    let writer = Publisher::start(gateway.mqtt.port(), "in/new", &site.path("acked"));
    eventually("acknowledgements", || (writer.acked().len() > 100).then_some(()));
    site.write("rules/test.rule", &format!("{write}{read}"));
    let (status, report) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert_eq!(status, 200, "{report}");
    gateway.publish("out/old", "{}");
    writer.stop();
    gateway.publish("out/new", "{}");
    let last = table(&site, &["get", "last", "new"]).0[0]["data"]["n"].clone();
    assert!(last.as_u64().is_some_and(|last| last >= 100), "{last}");
    let expected = [json!({"n": -1, "key": "old"}), json!({"n": last, "key": "new"})];
    assert_eq!(site.stream_data("seen"), expected);
}

#[test]
fn a_value_too_many_bytes_goes_to_on_error_and_the_last_one_stays() {
    let rules = "CREATE RULE keep AS SELECT v FROM 'k/+' DO UPSERT t KEY topic(2)
                 ON ERROR DO STREAM refused KEY topic();";
    let site = Site::with_rules(rules);
    site.write("tidegate.toml", "[rules]\ntable_bytes_max = \"1 MiB\"\n");
    let gateway = site.start();
    let large = json!({"v": "x".repeat(60_000)}).to_string();
    for key in 0..18 {
        gateway.publish(&format!("k/{key:02}"), &large);
    }
    let keys = table(&site, &["dump", "t"]).0.len();
    assert_eq!(keys, 17, "17 values of 60,008 bytes are less than 1 MiB, 18 are more");
    let refused = site.stream_data("refused");
    assert_eq!(refused.len(), 1);
    let message = &refused[0]["failures"][0]["errorMessage"];
    assert_eq!(*message, json!("table 't' would have more than 1048576 bytes"));
    gateway.publish("k/00", r#"{"v":1}"#);
    gateway.publish("k/17", &large);
    assert_eq!(table(&site, &["dump", "t"]).0.len(), 18, "there is room where one has shrunk");
}

#[test]
fn simulate_keeps_the_table_in_virtual_time() {
    let site = Site::with_rules(JOINED);
    let line = |t: u32, topic: &str, payload: Value| {
        json!({"t": t, "topic": topic, "payload": payload}).to_string() + "\n"
    };
    let recording = [
        line(1000, "lab/7/telemetry", json!({"n": 1})),
        line(2000, "lab/7/mode", json!({"mode": "day"})),
        line(3000, "lab/7/telemetry", json!({"n": 2})),
    ];
    site.write("recording.ndjson", &recording.concat());
    let simulated = tidegate()
        .arg("simulate")
        .args(["--format", "ndjson", "--rules"])
        .arg(site.path("rules"))
        .arg("--input")
        .arg(site.path("recording.ndjson"))
        .output()
        .expect("it runs");
    let outputs: Vec<Value> = json_lines(&simulated.stdout)
        .into_iter()
        .filter(|hit| hit["rule"] == json!("seen"))
        .map(|hit| hit["output"].clone())
        .collect();
    let expected = [json!({"n": 1}), json!({"n": 2, "mode": "day"})];
    assert_eq!(outputs, expected, "{}", text(&simulated.stderr));
}
