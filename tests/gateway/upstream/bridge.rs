//! Bridges from the embedded broker.

use serde_json::Value;

use super::Subscriber;
use super::brokers::Broker;
use super::brokers::Kind;
use super::metric;
use crate::clients::Publisher;
use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::Site;
use crate::live::eventually;

const KEEP: &str = "CREATE RULE all AS SELECT id FROM '#' DO STREAM kept KEY topic();";

/// A site with a bridge to the broker on `port`.
fn bridged(port: u16, rules: &str, settings: &str) -> Site {
    let site = Site::with_rules(rules);
    site.write(
        "tidegate.toml",
        &format!("[bridge.up]\nurl = \"mqtt://127.0.0.1:{port}\"\n{settings}\n"),
    );
    site
}

fn topic(filter: &str, direction: &str, more: &str) -> String {
    format!(
        "[bridge.up.topic.{direction}]\nfilter = \"{filter}\"\ndirection = \"{direction}\"\n{more}\n"
    )
}

fn connected(gateway: &Gateway) {
    eventually("it is connected", || (metric(gateway, "connected") == 1).then_some(()));
}

fn ids(messages: &[Value]) -> Vec<String> {
    let id = |message: &Value| message["payload"]["id"].as_str().map(str::to_owned);
    messages.iter().filter_map(id).collect()
}

/// Each id once, at its first coming.
fn first_comings(ids: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect()
}

fn an_outage_loses_nothing(kind: Kind, settings: &str) {
    let mut broker = Broker::start(kind);
    let out = topic("load/#", "out", "remote_prefix = \"edge/\"");
    let site = bridged(broker.port, KEEP, &format!("{settings}\n{out}"));
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    connected(&gateway);
    let from = site.path("there.jsonl");
    let subscriber = Subscriber::start(broker.port, "edge/#", from, &["--session-expiry", "600"]);
    broker.stop();
    let publisher = Publisher::start(port, "load/a", &site.path("acked.txt"));
    let mut before = 0;
    for _ in 0..5 {
        before = eventually("more messages are acknowledged", || {
            let acked = publisher.acked().len();
            (acked >= before + 100).then_some(acked)
        });
        gateway.kill();
        gateway = site.start_on(port);
    }
    let acked = publisher.stop();
    eventually("all of it waits", || {
        (metric(&gateway, "backlog_messages") >= acked.len() as u64).then_some(())
    });
    broker.begin();
    eventually("all of it has been sent", || {
        (metric(&gateway, "backlog_messages") == 0).then_some(())
    });
    let came = eventually("all of it has come", || {
        let came = ids(&subscriber.messages());
        acked.iter().all(|id| came.contains(id)).then_some(came)
    });
    let came = first_comings(&came);
    let order = |id: &String| {
        id.rsplit_once('-').and_then(|(_, n)| n.parse::<u64>().ok()).expect("a number")
    };
    assert!(came.iter().map(order).is_sorted(), "in the order of publishing");
    assert_eq!(subscriber.messages()[0]["topic"], "edge/load/a");
}

#[test]
fn an_outage_of_mosquitto_loses_nothing() {
    an_outage_loses_nothing(Kind::Mosquitto, "");
}

#[test]
fn an_outage_of_nats_loses_nothing() {
    an_outage_loses_nothing(Kind::Nats, "protocol = \"3.1.1\"");
}

#[test]
fn messages_go_both_ways_under_their_prefixes_and_not_round() {
    for protocol in ["5", "3.1.1"] {
        let broker = Broker::start(Kind::Mosquitto);
        let both = topic("t/#", "both", "local_prefix = \"here/\"\nremote_prefix = \"there/\"");
        let site = bridged(broker.port, KEEP, &format!("protocol = \"{protocol}\"\n{both}"));
        let gateway = site.start();
        eventually("it has subscribed", || (metric(&gateway, "subscriptions") == 1).then_some(()));
        let remote = Subscriber::start(broker.port, "#", site.path("remote.jsonl"), &[]);
        let local = Subscriber::start(gateway.mqtt.port(), "#", site.path("local.jsonl"), &[]);
        gateway.publish("here/t/1", r#"{"id":"a"}"#);
        gateway.publish("elsewhere", r#"{"id":"b"}"#);
        broker.publish("there/t/2", r#"{"id":"c"}"#);
        broker.publish("t/2", r#"{"id":"d"}"#);
        eventually("it has come", || {
            ids(&local.messages()).contains(&"c".to_owned()).then_some(())
        });
        eventually("it has gone", || {
            ids(&remote.messages()).contains(&"a".to_owned()).then_some(())
        });
        // Behind anything that would still go round.
        gateway.publish("here/t/1", r#"{"id":"y"}"#);
        broker.publish("there/t/2", r#"{"id":"z"}"#);
        let there = eventually("the last has gone", || {
            let messages = remote.messages();
            let ids = ids(&messages);
            (ids.contains(&"y".to_owned()) && ids.contains(&"z".to_owned())).then_some(messages)
        });
        let here = eventually("the last has come", || {
            let messages = local.messages();
            ids(&messages).contains(&"z".to_owned()).then_some(messages)
        });
        let sorted = |messages: &[Value]| {
            let mut ids = ids(messages);
            ids.sort();
            ids.join("")
        };
        assert_eq!(
            (sorted(&there).as_str(), sorted(&here).as_str()),
            ("acdyz", "abcyz"),
            "{protocol}"
        );
        let topic_of = |messages: &[Value], id: &str| {
            messages.iter().find(|m| m["payload"]["id"] == id).map(|m| m["topic"].clone())
        };
        assert_eq!(topic_of(&there, "a"), Some("there/t/1".into()));
        assert_eq!(topic_of(&here, "c"), Some("here/t/2".into()));
        let kept = site.stream_data("kept");
        assert_eq!(kept.iter().filter(|record| record["id"] == "c").count(), 1, "rules see it");
    }
}

#[test]
fn retained_messages_stay_retained_over_a_bridge() {
    let broker = Broker::start(Kind::Mosquitto);
    broker.publish_with(&["-q", "1", "-r", "-t", "cmd/mode", "-m", "eco"]);
    let topics = [topic("state/#", "out", ""), topic("cmd/#", "in", "")].concat();
    let site = bridged(broker.port, KEEP, &topics);
    let gateway = site.start();
    connected(&gateway);
    let output = gateway
        .mosquitto("mosquitto_pub")
        .args(["-q", "1", "-r", "-t", "state/x", "-m", "on"])
        .output();
    assert!(output.expect("it runs").status.success());
    let read = |mut client: std::process::Command, topic: &str| {
        let seconds = PATIENCE.as_secs().to_string();
        let output = client
            .args(["--retained-only", "-C", "1", "-W", &seconds, "-t", topic])
            .output()
            .expect("mosquitto_sub is installed by tests/clients/install");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    eventually("it has gone", || (metric(&gateway, "forwarded_total") == 1).then_some(()));
    assert_eq!(read(broker.mosquitto("mosquitto_sub"), "state/x"), "on");
    eventually("it has come", || (metric(&gateway, "received_total") == 1).then_some(()));
    assert_eq!(read(gateway.mosquitto("mosquitto_sub"), "cmd/mode"), "eco");
}

#[test]
fn a_backlog_keeps_to_its_bound_and_drops_the_oldest() {
    let mut broker = Broker::start(Kind::Mosquitto);
    let settings = format!("backlog_bytes_max = \"1 MiB\"\n{}", topic("load/#", "out", ""));
    let site = bridged(broker.port, "CREATE RULE r AS SELECT * FROM 'x' DO LOG 'x';", &settings);
    let gateway = site.start();
    connected(&gateway);
    let from = site.path("there.jsonl");
    let subscriber = Subscriber::start(broker.port, "load/#", from, &["--session-expiry", "600"]);
    broker.stop();
    let payload = "x".repeat(20_000);
    let count = 150;
    for n in 0..count {
        gateway.publish("load/a", &format!(r#"{{"id":"{n}","x":"{payload}"}}"#));
    }
    eventually("the oldest are dropped", || {
        (metric(&gateway, "dropped_total") > 0 && metric(&gateway, "backlog_bytes") <= 1 << 20)
            .then_some(())
    });
    let waiting = eventually("all are accounted for", || {
        let waiting = metric(&gateway, "backlog_messages");
        (metric(&gateway, "dropped_total") + waiting == count).then_some(waiting)
    });
    broker.begin();
    let last = (count - 1).to_string();
    let came = eventually("the newest have come", || {
        let came = first_comings(&ids(&subscriber.messages()));
        came.contains(&last).then_some(came)
    });
    assert!(!came.contains(&"0".to_owned()), "{came:?}");
    assert!(came.len() as u64 <= waiting, "{} of {waiting}", came.len());
}
