//! Stops, kills and starts: with load, with other rules, with retained messages.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tidegate::clock::Clock;

use crate::broker::publish;
use crate::broker::subscribe;
use crate::broker::v4;
use crate::clients::Publisher;
use crate::hardship::Device;
use crate::hardship::puback;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::tidegate;

/// What operators' tools wait for before they kill.
const STOP_MAX: Duration = Duration::from_secs(15);

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() {
    let site =
        Site::with_rules("CREATE RULE all AS SELECT id FROM 'load/+' DO STREAM kept KEY id;");
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let publisher = Publisher::start(port, "load/a", &site.path("acked.txt"));
    for round in 1..=2 {
        eventually("messages are acknowledged", || {
            (publisher.acked().len() >= round * 500).then_some(())
        });
        let begun = Clock::instant();
        let (status, log) = gateway.terminate();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(begun.elapsed() < STOP_MAX, "{:?}", begun.elapsed());
        assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
        gateway = site.start_on(port);
    }
    let acked: BTreeSet<String> = publisher.stop().into_iter().collect();
    let kept = site.stream_data("kept");
    let kept: BTreeSet<&str> = kept.iter().filter_map(|record| record["id"].as_str()).collect();
    assert!(acked.len() >= 1000);
    let missing: Vec<_> = acked.iter().filter(|id| !kept.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn hot_above(degrees: u32) -> String {
    format!(
        "CREATE RULE hot AS
           SELECT id, hold.reason AS reason FROM 'lab/+' WHEN temperature > {degrees} FOR 1 SECOND
           PARTITION BY id
         DO STREAM alerts KEY id
         ON CLEARED DO STREAM cleared KEY id;"
    )
}

/// A gateway with one key of `hot` firing.
fn firing(site: &Site) -> Gateway {
    let gateway = site.start();
    gateway.publish("lab/7", r#"{"id":7,"temperature":40}"#);
    eventually("the condition fires", || (site.stream_data("alerts").len() == 1).then_some(()));
    gateway
}

#[test]
fn a_changed_condition_clears_what_was_firing_and_begins_anew() {
    let site = Site::with_rules(&hot_above(30));
    firing(&site).kill();
    site.write("rules/test.rule", &hot_above(35));
    let gateway = site.start();
    let cleared = eventually("a cleared record", || {
        let cleared = site.stream_data("cleared");
        (!cleared.is_empty()).then_some(cleared)
    });
    assert_eq!(cleared, [json!({"id": 7, "reason": "rule_changed"})]);
    gateway.publish("lab/7", r#"{"id":7,"temperature":40}"#);
    eventually("it fires anew", || (site.stream_data("alerts").len() == 2).then_some(()));
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    let gateway = site.start();
    gateway.publish("lab/7", r#"{"id":7,"temperature":20}"#);
    let reasons: Vec<Value> =
        site.stream_data("cleared").iter().map(|data| data["reason"].clone()).collect();
    assert_eq!(reasons, [json!("rule_changed"), json!("false")]);
}

#[test]
fn a_removed_rule_ends_what_was_firing_in_the_hit_log() {
    let site = Site::with_rules(&hot_above(30));
    let (status, log) = firing(&site).terminate();
    assert!(status.success(), "{log}");
    site.write("rules/test.rule", "CREATE RULE other AS SELECT * FROM 'x' DO STREAM s KEY 'k';");
    let ends = |gateway: &Gateway| -> Vec<Value> {
        let hits = gateway.get_json("/api/hits");
        let hits = hits["hits"].as_array().expect("hits").clone();
        hits.into_iter().filter(|hit| hit["event"] == "cleared").collect()
    };
    let gateway = site.start();
    let found =
        eventually("a hit says so", || Some(ends(&gateway)).filter(|hits| !hits.is_empty()));
    assert_eq!(found[0]["rule"], "hot");
    assert!(found[0].to_string().contains("rule_removed"), "{found:?}");
    gateway.kill();
    let gateway = site.start();
    gateway.publish("x", "{}");
    assert_eq!(ends(&gateway).len(), 1, "it is told once");
    assert!(site.stream_data("cleared").is_empty(), "there is no rule whose action it could be");
}

#[test]
fn what_waits_in_a_delivery_that_nothing_names_any_more_is_delivered() {
    let site = Site::with_rules("CREATE RULE all AS SELECT * FROM 'x' DO DELIVER lake;");
    site.write(
        "tidegate.toml",
        "[delivery.lake]\nbuffer_bytes = \"64 MiB\"\nbuffer_interval = \"900s\"\n",
    );
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    // More than the default buffer takes, which is what counts once nothing is configured.
    let record = format!(r#"{{"filler":"{}"}}"#, "x".repeat(200_000));
    for id in 1..=40 {
        device.publish_acked("x", id, &record);
    }
    gateway.kill();
    assert!(site.delivered("lake").is_empty());
    fs::remove_file(site.path("tidegate.toml")).expect("the file is there");
    site.write("rules/test.rule", "CREATE RULE other AS SELECT * FROM 'y' DO STREAM s KEY 'k';");
    let gateway = site.start();
    eventually("a file of the delivery", || (site.delivered("lake").len() >= 25).then_some(()));
    drop(gateway);
}

/// What a new subscriber of `keep/#` is sent at once.
fn retained(gateway: &Gateway) -> Vec<Vec<u8>> {
    let mut device = Device::connect(gateway, v4("reader"));
    device.send(&subscribe(None, "keep/#", 0));
    assert_eq!(device.recv(), [0x90, 3, 0, 1, 0]);
    device.send(&publish(0, "keep/end", 0, None, b"end"));
    let end = publish(0, "keep/end", 0, None, b"end");
    std::iter::from_fn(|| Some(device.recv()).filter(|packet| *packet != end)).collect()
}

#[test]
fn a_retained_message_outlives_a_kill_and_an_empty_one_ends_it() {
    const RETAINED_QOS_1: u8 = 0b0011;
    let site = Site::with_rules("CREATE RULE r AS SELECT * FROM 'x' DO STREAM s KEY 'k';");
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    let long = "x".repeat(100_000);
    let (short, long) = (&b"on"[..], long.as_bytes());
    for (id, topic, payload) in [(1, "keep/a", short), (2, "keep/b", long), (3, "keep/ü", short)] {
        device.send(&publish(RETAINED_QOS_1, topic, id, None, payload));
        assert_eq!(device.recv(), puback(id));
    }
    gateway.kill();
    let gateway = site.start();
    let mut found = retained(&gateway);
    found.sort();
    let mut expected = vec![
        publish(1, "keep/a", 0, None, short),
        publish(1, "keep/b", 0, None, long),
        publish(1, "keep/ü", 0, None, short),
    ];
    expected.sort();
    assert!(found == expected, "{} messages", found.len());
    let mut device = Device::connect(&gateway, v4("device"));
    for (id, topic) in [(1, "keep/a"), (2, "keep/b")] {
        device.send(&publish(RETAINED_QOS_1, topic, id, None, b""));
        assert_eq!(device.recv(), puback(id));
    }
    let left = [publish(1, "keep/ü", 0, None, short)];
    assert_eq!(retained(&gateway), left);
    gateway.kill();
    let gateway = site.start();
    assert_eq!(retained(&gateway), left);
    // The kill comes right behind the acknowledgement.
    let mut device = Device::connect(&gateway, v4("device"));
    device.send(&publish(RETAINED_QOS_1, "keep/ü", 4, None, b""));
    assert_eq!(device.recv(), puback(4));
    gateway.kill();
    let gateway = site.start();
    assert_eq!(retained(&gateway), [[0; 0]; 0], "gone");
    gateway.kill();
    assert_eq!(retained(&site.start()), [[0; 0]; 0], "and it stays so");
}

#[test]
fn two_gateways_on_one_machine_know_nothing_of_each_other() {
    let rules = "CREATE RULE all AS SELECT n FROM 'x' DO STREAM s KEY 'k';";
    let (one, two) = (Site::with_rules(rules), Site::with_rules(rules));
    let (first, second) = (one.start(), two.start());
    first.publish("x", r#"{"n":1}"#);
    second.publish("x", r#"{"n":2}"#);
    assert_eq!(one.stream_data("s"), [json!({"n": 1})]);
    assert_eq!(two.stream_data("s"), [json!({"n": 2})]);
    let third = Site::with_rules(rules);
    let http = first.http.trim_start_matches("http://");
    let mut command = tidegate();
    command.current_dir(third.path("")).args(["run", "--mqtt", "127.0.0.1:0", "--http", http]);
    let output = command.output().expect("tidegate runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains(&format!("cannot listen for http on {http}")), "{text}");
    assert!(text.contains("in use"), "{text}");
}
