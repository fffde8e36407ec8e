//! Topics that mean something to the gateway: Basic Ingest.

use serde_json::json;

use crate::broker::Connect;
use crate::broker::PINGREQ;
use crate::broker::PINGRESP;
use crate::broker::publish;
use crate::broker::subscribe;
use crate::broker::v4;
use crate::broker::v5;
use crate::hardship::Device;
use crate::hardship::metric;
use crate::hardship::puback;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

fn dropped(gateway: &Gateway, reason: &str) -> f64 {
    metric(gateway, &format!(r#"tidegate_mqtt_messages_dropped_total{{reason="{reason}"}}"#))
}

/// Type, packet identifier and reason of an acknowledgement of MQTT 5; what is left out is success.
fn verdict(ack: &[u8]) -> (u8, u8, u8) {
    (ack[0], ack[3], ack.get(4).copied().unwrap_or(0))
}

#[test]
fn basic_ingest_reaches_the_one_rule_it_names_and_nobody_else() {
    let site = Site::with_rules(
        "CREATE RULE plant AS SELECT n, topic() AS topic, topic(2) AS place FROM 'plant/#'
           DO STREAM plants KEY 'k';
         CREATE RULE direct AS SELECT n, topic() AS topic DO STREAM direct KEY 'k';
         CREATE RULE other AS SELECT * FROM 'plant/#', '#', '$aws/#', '+/+/+/#'
           WHERE NOT isUndefined(n) DO STREAM other KEY 'k';
         CREATE RULE on_ward AS SELECT n FROM 'onward' DO REPUBLISH '$$aws/rules/direct/by/${n}' RETAIN;",
    );
    let gateway = site.start();
    let mut watcher = Device::connect(&gateway, v4("watcher"));
    for filter in ["#", "plant/#", "$aws/+/+/plant/#", "$aws/rules/#"] {
        watcher.send(&subscribe(None, filter, 0));
        assert_eq!(watcher.recv(), [0x90, 3, 0, 1, 0], "{filter}");
    }
    gateway.publish("$aws/rules/plant/plant/7", r#"{"n":1}"#);
    gateway.publish("$aws/rules/plant/elsewhere", r#"{"n":2}"#);
    let mut device = Device::connect(&gateway, v4("device"));
    device.publish_acked("$aws/rules/direct", 1, r#"{"n":3}"#);
    // Retained, QoS 1: there is nobody to retain it for.
    device.send(&publish(0b0011, "$aws/rules/direct/a", 2, None, br#"{"n":4}"#));
    assert_eq!(device.recv(), puback(2));
    device.publish_acked("onward", 3, r#"{"n":5}"#);
    assert_eq!(
        site.stream_data("plants"),
        [json!({"n": 1, "topic": "plant/7", "place": "7"}), json!({"n": 2, "topic": "elsewhere"}),]
    );
    assert_eq!(
        site.stream_data("direct"),
        [
            json!({"n": 3, "topic": ""}),
            json!({"n": 4, "topic": "a"}),
            json!({"n": 5, "topic": "by/5"}),
        ]
    );
    assert_eq!(site.stream_data("other"), [json!({"n": 5})], "what was published as usual");
    assert_eq!(watcher.recv(), publish(0, "onward", 0, None, br#"{"n":5}"#));
    watcher.send(&PINGREQ);
    assert_eq!(watcher.recv(), PINGRESP, "nothing else came");
    assert!(metric(&gateway, "tidegate_mqtt_retained_messages") < 1.0);
    let late = Device::connect(&gateway, v4("late")).subscribed_hears("$aws/rules/#");
    assert_eq!(late, PINGRESP, "and nothing is retained");
}

#[test]
fn basic_ingest_of_a_rule_that_there_is_not_is_refused_and_counted() {
    let site = Site::with_rules(
        "CREATE RULE asleep DISABLED AS SELECT * DO STREAM kept KEY 'k';
         CREATE RULE awake AS SELECT * DO STREAM kept KEY 'k';",
    );
    let gateway = site.start();
    let mut new = Device::connect(&gateway, v5("new"));
    for (id, rule) in [(1, "nobody"), (2, "asleep"), (3, "")] {
        let topic = format!("$aws/rules/{rule}/x");
        new.send(&publish(0b0010, &topic, id.into(), Some(b""), b"{}"));
        assert_eq!(verdict(&new.recv()), (0x40, id, 0x90), "{topic}");
    }
    // A refused QoS 2 message is over with its PUBREC, so its identifier is free again.
    for topic in ["$aws/rules/nobody/x", "$aws/rules/awake/x"] {
        new.send(&publish(0b0100, topic, 4, Some(b""), br#"{"qos":2}"#));
        let reason = if topic.contains("nobody") { 0x90 } else { 0 };
        assert_eq!(verdict(&new.recv()), (0x50, 4, reason), "{topic}");
    }
    let mut old = Device::connect(&gateway, v4("old"));
    old.publish_acked("$aws/rules/nobody/x", 1, "{}");
    old.send(&publish(0, "$aws/rules/nobody/x", 0, None, b"{}"));
    old.publish_acked("$aws/rules/awake/x", 2, r#"{"n":1}"#);
    let will = Some((&b""[..], "$aws/rules/nobody/will", &b"{}"[..]));
    drop(Device::connect(&gateway, Connect { will, ..v4("mortal") }));
    eventually("all are counted", || (dropped(&gateway, "unknown_rule") >= 7.0).then_some(()));
    assert_eq!(site.stream_data("kept"), [json!({"qos": 2}), json!({"n": 1})]);
}

#[test]
fn a_will_by_basic_ingest_reaches_its_rule() {
    let site = Site::with_rules(
        "CREATE RULE gone AS SELECT clientid() AS id, topic() AS topic DO STREAM wills KEY 'k';",
    );
    let gateway = site.start();
    let will = Some((&b""[..], "$aws/rules/gone/last/words", &b"{}"[..]));
    drop(Device::connect(&gateway, Connect { will, ..v4("mortal") }));
    let wills = eventually("the will is in the stream", || {
        Some(site.stream_data("wills")).filter(|wills| !wills.is_empty())
    });
    assert_eq!(wills, [json!({"id": "mortal", "topic": "last/words"})]);
}

#[test]
fn nobody_but_the_gateway_speaks_on_its_own_topics() {
    let site = Site::with_rules(
        "CREATE RULE forged AS SELECT * FROM '$events/forged/#', '$aws/events/forged/#'
           DO STREAM forged KEY 'k';
         CREATE RULE forger AS SELECT * FROM 'forge' DO REPUBLISH '$$events/forged/${n}'
           ON ERROR DO STREAM errors KEY 'k';",
    );
    let gateway = site.start();
    let mut watcher = Device::connect(&gateway, v4("watcher"));
    for filter in ["$events/forged/#", "$aws/events/forged/#"] {
        watcher.send(&subscribe(None, filter, 0));
        assert_eq!(watcher.recv(), [0x90, 3, 0, 1, 0], "{filter}");
    }
    let mut new = Device::connect(&gateway, v5("new"));
    for (id, topic) in [(1, "$events/forged/x"), (2, "$aws/events/forged/x")] {
        new.send(&publish(0b0011, topic, id.into(), Some(b""), b"{}"));
        assert_eq!(verdict(&new.recv()), (0x40, id, 0x87), "{topic}");
    }
    let mut old = Device::connect(&gateway, v4("old"));
    old.publish_acked("$events/forged/x", 1, "{}");
    old.publish_acked("forge", 2, r#"{"n":1}"#);
    let will = Some((&b""[..], "$events/forged/will", &b"{}"[..]));
    drop(Device::connect(&gateway, Connect { will, ..v4("mortal") }));
    eventually("all are counted", || (dropped(&gateway, "reserved_topic") >= 4.0).then_some(()));
    let errors = site.stream_data("errors");
    let message = errors[0]["failures"][0]["errorMessage"].to_string();
    assert!(message.contains("reserved for the gateway's own events"), "{errors:?}");
    watcher.send(&PINGREQ);
    assert_eq!(watcher.recv(), PINGRESP, "nothing came");
    assert_eq!(site.stream_data("forged"), Vec::<serde_json::Value>::new());
    assert!(metric(&gateway, "tidegate_mqtt_retained_messages") < 1.0);
}
