//! `$SYS/…`: what the gateway counts.

use serde_json::json;

use super::wire::*;
use super::*;
use crate::live::eventually;

fn client(gateway: &Gateway) -> Client {
    Client::connect(gateway, &Connect::new(V5, &unique()))
}

fn text(message: &Publish) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&message.topic), text(&message.payload))
}

/// The statistics as a new subscription gets them, by topic.
fn statistics(gateway: &Gateway) -> std::collections::BTreeMap<String, String> {
    client(gateway).retained("$SYS/#").iter().map(text).collect()
}

#[test]
fn a_new_subscription_gets_the_statistics_of_the_moment() {
    let gateway = gateway();
    // What a connection counts is counted at the end of its batch.
    let found = eventually("a packet is counted", || {
        let found = statistics(&gateway);
        let counted = |name: &str| found.get(name).is_some_and(|value| value != "0");
        let both = counted("$SYS/broker/messages/sent") && counted("$SYS/broker/messages/received");
        both.then_some(found)
    });
    assert_eq!(found.len(), 18 + 8 * 3, "{found:?}");
    let number = |name: &str| -> f64 {
        let value = found.get(&format!("$SYS/broker/{name}")).unwrap_or_else(|| panic!("{name}"));
        value.parse().unwrap_or_else(|_| panic!("{name} is a number: {value}"))
    };
    let version = &found["$SYS/broker/version"];
    assert!(version.starts_with("tidegate "), "{version}");
    for at_least_one in [
        "clients/connected",
        "clients/total",
        "clients/maximum",
        "messages/received",
        "messages/sent",
        "bytes/received",
        "bytes/sent",
        "subscriptions/count",
    ] {
        assert!(number(at_least_one) >= 1.0, "{at_least_one}");
    }
    for any in [
        "uptime",
        "clients/disconnected",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "shared_subscriptions/count",
        "retained messages/count",
        "store/messages/count",
        "store/messages/bytes",
        "load/messages/received/1min",
        "load/bytes/sent/5min",
        "load/connections/15min",
    ] {
        assert!(number(any) >= 0.0, "{any}");
    }
}

#[test]
fn who_stays_subscribed_gets_them_again_and_nobody_else_may_publish_them() {
    let gateway = gateway();
    let mut watcher = client(&gateway);
    watcher.subscribe("$SYS/broker/uptime", 0);
    // The interval may end while the subscription is made: then a live one is ahead of the kept one.
    let first = [watcher.message(), watcher.message()];
    assert_eq!(first.iter().filter(|message| message.retain).count(), 1, "{first:?}");
    let mut forger = client(&gateway);
    let forged = Publish::new("$SYS/broker/uptime", 1, 1, b"forged").retained();
    forger.send(&forged.bytes(V5));
    assert_eq!(verdict(&forger.recv()).1, 0x87);
    for _ in 0..2 {
        let live = watcher.message();
        assert!(!live.retain && live.payload != b"forged", "{live:?}");
    }
    // What was published is not kept: a subscription gets the values of the moment, once.
    assert_eq!(client(&gateway).retained("$SYS/broker/uptime").len(), 1);
    let mut everything = client(&gateway);
    for filter in ["+/broker/uptime", "#"] {
        let topics: Vec<String> = everything.retained(filter).iter().map(|m| text(m).0).collect();
        assert!(topics.iter().all(|topic| !topic.starts_with('$')), "{topics:?}");
    }
}

#[test]
fn rules_may_listen_to_statistics_and_not_publish_them() {
    let site = Site::with_rules(
        "CREATE RULE load AS SELECT topic() AS topic FROM '$SYS/broker/clients/+' DO STREAM loads KEY 'k';
         CREATE RULE forger AS SELECT * FROM 'forge' DO REPUBLISH '$$SYS/broker/${n}'
           ON ERROR DO STREAM errors KEY 'k';",
    );
    site.write("tidegate.toml", "[mqtt]\nstatistics_interval = \"100ms\"\n");
    let gateway = site.start();
    let seen = eventually("the rule has seen each", || {
        let mut seen = site.stream_data("loads");
        seen.sort_by_key(ToString::to_string);
        seen.dedup();
        (seen.len() == 4).then_some(seen)
    });
    let expected = ["connected", "disconnected", "maximum", "total"]
        .map(|name| json!({"topic": format!("$SYS/broker/clients/{name}")}));
    assert_eq!(seen, expected);
    gateway.publish("forge", r#"{"n":"x"}"#);
    let errors = site.stream_data("errors");
    let message = errors[0]["failures"][0]["errorMessage"].to_string();
    assert!(message.contains("reserved for the gateway's own"), "{errors:?}");
}

#[test]
fn statistics_may_be_turned_off() {
    let site = Site::with_rules("CREATE RULE r AS SELECT * FROM 'x' DO STREAM s KEY 'k';");
    site.write("tidegate.toml", "[mqtt]\nstatistics_interval = \"0s\"\n");
    let gateway = site.start();
    let mut client = client(&gateway);
    client.subscribe("$SYS/#", 0);
    client.expect_nothing();
}
