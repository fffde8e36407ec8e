//! External broker mode.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;

use super::Subscriber;
use super::brokers::Broker;
use super::brokers::Kind;
use super::brokers::free_port;
use super::metric;
use super::site;
use super::start;
use super::subscribed;
use crate::clients::Publisher;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

const KEEP: &str = "CREATE RULE all AS SELECT id FROM 'load/+' DO STREAM kept KEY id;";
const LINKS: &str =
    "CREATE RULE links AS SELECT * FROM '$events/upstream/+/+' DO STREAM links KEY 'k';";
/// Kills in the loop.
const KILLS: usize = 8;

fn ids(site: &Site) -> BTreeSet<String> {
    let kept = site.stream_data("kept");
    kept.iter().map(|record| record["id"].as_str().expect("an id").to_owned()).collect()
}

/// Waits until every id that the broker has acknowledged is in one of the sites' streams.
fn all_kept(acked: &BTreeSet<String>, sites: &[&Site]) {
    eventually("everything acknowledged is kept", || {
        let kept: BTreeSet<String> = sites.iter().flat_map(|site| ids(site)).collect();
        let missing = acked.difference(&kept).count();
        (missing == 0).then_some(())
    });
}

fn kills_lose_nothing(kind: Kind, settings: &str) {
    let broker = Broker::start(kind);
    let site = site(broker.port, KEEP, settings);
    let mut gateway = start(&site);
    subscribed(&gateway, 1);
    let publisher = Publisher::start(broker.port, "load/a", &site.path("acked.txt"));
    let mut before = 0;
    for _ in 0..KILLS {
        before = eventually("more messages are kept", || {
            let kept = site.records("kept").len();
            (kept >= before + 20).then_some(kept)
        });
        gateway.kill();
        gateway = start(&site);
    }
    subscribed(&gateway, 1);
    let acked: BTreeSet<String> = publisher.stop().into_iter().collect();
    assert!(acked.len() >= KILLS * 20, "{} acknowledged", acked.len());
    all_kept(&acked, &[&site]);
}

#[test]
fn no_message_of_mosquitto_is_lost_over_kills() {
    kills_lose_nothing(Kind::Mosquitto, "");
}

#[test]
fn no_message_of_mosquitto_is_lost_over_kills_with_mqtt_3() {
    kills_lose_nothing(Kind::Mosquitto, "protocol = \"3.1.1\"");
}

#[test]
fn no_message_of_nats_is_lost_over_kills() {
    kills_lose_nothing(Kind::Nats, "protocol = \"3.1.1\"");
}

#[test]
fn two_gateways_split_the_messages_and_one_that_dies_loses_none() {
    let broker = Broker::start(Kind::Mosquitto);
    let sites = [0, 1].map(|_| site(broker.port, KEEP, "share = \"edge\""));
    let [first, second] = &sites;
    let (mut one, two) = (start(first), start(second));
    subscribed(&one, 1);
    subscribed(&two, 1);
    let publisher = Publisher::start(broker.port, "load/a", &first.path("acked.txt"));
    for kills in 1..=3 {
        eventually("both keep messages", || {
            let counts = [first, second].map(|site| site.records("kept").len());
            (counts.iter().all(|count| *count >= 40 * kills)).then_some(())
        });
        one.kill();
        one = start(first);
        subscribed(&one, 1);
    }
    let acked: BTreeSet<String> = publisher.stop().into_iter().collect();
    all_kept(&acked, &[first, second]);
    let both: Vec<String> = ids(first).intersection(&ids(second)).cloned().collect();
    // What was on its way to the one that died may be given to either.
    assert!(both.len() < acked.len() / 4, "{} of {} came to both", both.len(), acked.len());
}

#[test]
fn a_broker_that_is_away_is_waited_for_and_found_again() {
    let port = free_port();
    let site = site(port, KEEP, "");
    site.write("rules/links.rule", LINKS);
    let gateway = start(&site);
    assert_eq!(gateway.get("/readyz").0, 200, "it serves what it can");
    eventually("it has tried", || (metric(&gateway, "failures_total") > 0).then_some(()));
    assert_eq!(metric(&gateway, "connected"), 0);

    let mut broker = Broker::start_on(Kind::Mosquitto, port, "");
    subscribed(&gateway, 1);
    broker.publish("load/a", r#"{"id":"1"}"#);
    eventually("it comes", || (ids(&site).len() == 1).then_some(()));

    broker.stop();
    eventually("it is noticed", || (metric(&gateway, "connected") == 0).then_some(()));
    broker.begin();
    subscribed(&gateway, 1);
    broker.publish("load/a", r#"{"id":"2"}"#);
    eventually("it comes", || (ids(&site).len() == 2).then_some(()));
    let links = eventually("the events are in the stream", || {
        Some(site.stream_data("links")).filter(|links| links.len() >= 3)
    });
    let words: Vec<&str> = links.iter().filter_map(|link| link["eventType"].as_str()).collect();
    assert_eq!(words, ["connected", "disconnected", "connected"], "a try that fails is none");
    for link in &links {
        assert_eq!(link["upstream"], "external");
        assert_eq!(link["url"], format!("mqtt://127.0.0.1:{port}"));
        assert_eq!(link["error"].is_string(), link["eventType"] == "disconnected", "{link}");
    }
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
}

const REPUBLISH: &str = "
CREATE RULE hot AS SELECT id, 'hot' AS state FROM 'lab/+' WHERE t > 30 DO REPUBLISH 'alarms/lab';
CREATE RULE open AS SELECT id, 'open' AS state FROM 'door/+' WHEN t > 0 FOR 5 SECONDS
  DO REPUBLISH 'alarms/door';
CREATE RULE alarms AS SELECT id FROM 'alarms/#' DO STREAM alarms KEY id;
";

/// What rules republish is published once, and judged once although the gateway subscribes to it; what is
/// committed while the broker is away is published when it is back, also after a kill.
fn what_rules_republish_goes_out(kind: Kind, settings: &str) {
    let mut broker = Broker::start(kind);
    let site = site(broker.port, REPUBLISH, settings);
    let gateway = start(&site);
    subscribed(&gateway, 3);
    let out = site.path("alarms.jsonl");
    let subscriber = Subscriber::start(broker.port, "alarms/#", out, &["--session-expiry", "600"]);
    let came = |id: i64| {
        eventually("it is published", || {
            let messages = subscriber.messages();
            messages.iter().any(|message| message["payload"]["id"] == id).then_some(messages)
        })
    };
    broker.publish("lab/1", r#"{"id":1,"t":31}"#);
    broker.publish("lab/1", r#"{"id":2,"t":29}"#);
    let first = came(1);
    assert_eq!(first[0]["payload"], json!({"id": 1, "state": "hot"}));
    assert_eq!(first[0]["topic"], "alarms/lab");

    broker.publish("door/1", r#"{"id":3,"t":1}"#);
    eventually("it pends", || {
        let (_, text) = gateway.get("/metrics");
        text.contains("\ntidegate_rule_keys_pending{rule=\"open\"} 1\n").then_some(())
    });
    broker.stop();
    let waiting = |gateway: &Gateway| metric(gateway, "backlog_messages");
    eventually("it is committed", || (waiting(&gateway) == 1).then_some(()));
    gateway.kill();
    let gateway = start(&site);
    eventually("it still waits", || (waiting(&gateway) == 1).then_some(()));
    broker.begin();
    came(3);
    broker.publish("lab/1", r#"{"id":4,"t":32}"#);
    let all = came(4);
    let ids: Vec<&Value> = all.iter().map(|message| &message["payload"]["id"]).collect();
    assert_eq!(ids, [1, 3, 4], "each is published once");
    // Had copies come back and been judged, they would be before this one.
    broker.publish("alarms/x", r#"{"id":5}"#);
    let judged = eventually("the last is judged", || {
        let alarms = site.stream_data("alarms");
        alarms.iter().any(|alarm| alarm["id"] == 5).then_some(alarms)
    });
    let judged: BTreeSet<i64> = judged.iter().filter_map(|alarm| alarm["id"].as_i64()).collect();
    assert_eq!(judged, [1, 3, 4, 5].into(), "{judged:?}");
    assert_eq!(site.records("alarms").len(), 4, "each is judged once");
    eventually("nothing waits", || (waiting(&gateway) == 0).then_some(()));
}

#[test]
fn what_rules_republish_goes_to_mosquitto() {
    what_rules_republish_goes_out(Kind::Mosquitto, "");
}

#[test]
fn what_rules_republish_goes_to_mosquitto_with_mqtt_3() {
    what_rules_republish_goes_out(Kind::Mosquitto, "protocol = \"3.1.1\"");
}

#[test]
fn what_rules_republish_goes_to_nats() {
    what_rules_republish_goes_out(Kind::Nats, "protocol = \"3.1.1\"");
}

#[test]
fn what_rules_republish_to_their_own_shared_group_is_judged_once() {
    what_rules_republish_goes_out(Kind::Mosquitto, "share = \"edge\"");
}

#[test]
fn a_reload_changes_what_is_subscribed_to() {
    let broker = Broker::start(Kind::Mosquitto);
    let site = site(broker.port, KEEP, "");
    let gateway = start(&site);
    subscribed(&gateway, 1);
    broker.publish("load/a", r#"{"id":"1"}"#);
    eventually("it comes", || ids(&site).contains("1").then_some(()));
    let other = "CREATE RULE all AS SELECT id FROM 'other/#', 'third' DO STREAM kept KEY id;";
    site.write("rules/test.rule", other);
    let (code, body) =
        crate::live::http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert_eq!(code, 200, "{body}");
    subscribed(&gateway, 2);
    let received = metric(&gateway, "received_total");
    broker.publish("load/a", r#"{"id":"2"}"#);
    broker.publish("other/a/b", r#"{"id":"3"}"#);
    eventually("it comes", || ids(&site).contains("3").then_some(()));
    assert_eq!(ids(&site), ["1".to_owned(), "3".to_owned()].into());
    assert_eq!(metric(&gateway, "received_total"), received + 1, "the old filter is given up");

    // Rules that change while the gateway is away.
    gateway.kill();
    site.write("rules/test.rule", KEEP);
    let gateway = start(&site);
    subscribed(&gateway, 1);
    broker.publish("other/a/b", r#"{"id":"4"}"#);
    broker.publish("load/a", r#"{"id":"5"}"#);
    eventually("it comes", || ids(&site).contains("5").then_some(()));
    assert_eq!(metric(&gateway, "received_total"), 1, "the old filters are given up");
}

#[test]
fn overlapping_filters_give_each_message_once() {
    for settings in ["", "protocol = \"3.1.1\"", "share = \"edge\""] {
        let broker = Broker::start(Kind::Mosquitto);
        let rules = "
            CREATE RULE a AS SELECT id FROM 'a/+/c', 'a/#' DO STREAM kept KEY id;
            CREATE RULE b AS SELECT id FROM '+/b/+' DO STREAM others KEY id;";
        let site = site(broker.port, rules, settings);
        let gateway = start(&site);
        subscribed(&gateway, if settings.contains("3.1.1") { 1 } else { 2 });
        for (topic, id) in [("a/b/c", 1), ("a/x", 2), ("x/b/c", 3), ("a/b/c", 4)] {
            broker.publish(topic, &format!(r#"{{"id":{id}}}"#));
        }
        eventually("all have come", || (site.records("others").len() >= 3).then_some(()));
        broker.publish("a/last", r#"{"id":9}"#);
        let kept = eventually("the last has come", || {
            let kept = site.stream_data("kept");
            kept.iter().any(|record| record["id"] == 9).then_some(kept)
        });
        let mut kept: Vec<i64> = kept.iter().filter_map(|record| record["id"].as_i64()).collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 2, 4, 9], "{settings}");
        assert_eq!(site.records("others").len(), 3, "{settings}");
    }
}
