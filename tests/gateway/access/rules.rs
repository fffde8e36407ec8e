//! Access rules: what may be published and subscribed to, and what happens when they change.

use serde_json::json;

use super::Staying;
use super::answers;
use super::passwd;
use super::site;
use crate::hardship::metric;

const ALICE: [&str; 4] = ["--user", "alice", "--password", "x"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ALICE[..], more].concat()
}

#[test]
fn publishes_that_are_not_allowed_are_refused_and_counted() {
    let site = site(
        "[acl]\nrules = [\"deny publish any own/%c/locked\", \"allow publish user alice own/%c/# $aws/rules/seen/own/#\"]",
    );
    passwd(&site, "alice", "x", &[]);
    let gateway = site.start();
    let topics =
        ["own/c1/a", "own/c1/locked", "own/c2/a", "$aws/rules/seen/own/1", "$aws/rules/seen/b"];
    let publish: Vec<&str> = topics.iter().flat_map(|topic| ["--publish", topic]).collect();
    for qos in ["1", "2"] {
        let told = answers(&gateway, &with(&[&["--qos", qos], &publish[..]].concat()));
        let codes: Vec<_> = topics.iter().map(|topic| told["puback"][topic].clone()).collect();
        // paho goes on with PUBREL when a PUBREC refuses, and is told that there is no such packet.
        let refused = if qos == "1" { 0x87 } else { 0x92 };
        assert_eq!(codes, [0, refused, refused, 0, refused], "QoS {qos}");
        // 3.1.1 has no word for it: acknowledged, and dropped [MQTT-3.3.5-2].
        let old =
            answers(&gateway, &with(&[&["--protocol", "4", "--qos", qos], &publish[..]].concat()));
        assert!(topics.iter().all(|topic| old["puback"][topic] == 0), "{old}");
    }
    let kept: Vec<_> = site.stream_data("seen").iter().map(|data| data["topic"].clone()).collect();
    assert_eq!(kept, ["own/c1/a", "own/1"].repeat(4));
    let dropped =
        metric(&gateway, r#"tidegate_mqtt_messages_dropped_total{reason="not_authorized"}"#);
    assert!((dropped - 12.0).abs() < 0.1, "{dropped}");
    for (client, code) in [("c1", 0), ("c2", 0x87)] {
        let told = answers(&gateway, &with(&["--client-id", client, "--will", "own/c1/will"]));
        assert_eq!(told["connack"], code, "a will is published too: {client}");
    }
}

#[test]
fn a_subscription_gets_all_that_is_allowed_and_nothing_more() {
    let site = site(
        "[acl]\nrules = [\"deny subscribe any plant/secret/#\", \"allow subscribe group ops plant/# $events/client/+/connected\"]",
    );
    passwd(&site, "alice", "x", &["--group", "ops"]);
    passwd(&site, "bob", "x", &[]);
    let gateway = site.start();
    let filters = [
        ("plant/7", 1),
        ("plant/7/#", 1),
        ("$share/g/plant/7/+", 1),
        ("$events/client/+/connected", 1),
        ("#", 0x87),
        ("+/7", 0x87),
        ("plant/#", 0x87),
        ("plant/+", 0x87),
        ("plant/secret", 0x87),
        ("$share/g/#", 0x87),
        ("$events/#", 0x87),
        ("$SYS/#", 0x87),
    ];
    let subscribe: Vec<&str> = filters.iter().flat_map(|(f, _)| ["--subscribe", f]).collect();
    let told = answers(&gateway, &with(&subscribe));
    for (filter, code) in filters {
        assert_eq!(told["suback"][filter], code, "{filter}");
    }
    let bob = ["--user", "bob", "--password", "x", "--protocol", "4", "--subscribe", "plant/7"];
    assert_eq!(answers(&gateway, &bob)["suback"]["plant/7"], 0x80, "3.1.1's failure");
    assert!((metric(&gateway, "tidegate_mqtt_subscriptions_refused_total") - 9.0).abs() < 0.1);
}

#[test]
fn a_client_identifier_cannot_widen_a_rule() {
    let site = site("[acl]\nrules = [\"allow both any own/%c/#\"]");
    passwd(&site, "alice", "x", &[]);
    let gateway = site.start();
    for client in ["+", "#", "a/b", "c1/#"] {
        let told = answers(
            &gateway,
            &with(&[
                "--client-id",
                client,
                "--subscribe",
                "own/#",
                "--subscribe",
                "own/c1/#",
                "--subscribe",
                "own/a/b/#",
                "--publish",
                "own/c1/x",
                "--publish",
                "own/a/b",
            ]),
        );
        assert_eq!(told["suback"], json!({"own/#": 0x87, "own/c1/#": 0x87, "own/a/b/#": 0x87}));
        assert_eq!(told["puback"], json!({"own/c1/x": 0x87, "own/a/b": 0x87}), "{client}");
    }
}

#[test]
fn changed_rules_hold_for_live_connections_and_kept_sessions() {
    let site = site("[acl]\nfile = \"acl\"");
    passwd(&site, "alice", "x", &[]);
    site.write("acl", "allow both user alice a/# b/#\n");
    let gateway = site.start();
    // One that only publishes stays; one with a forbidden subscription is told to go.
    let (mut publisher, _) = Staying::start(
        &gateway,
        &with(&["--client-id", "p", "--subscribe", "b/own", "--messages", "1"]),
    );
    let keeps = with(&["--client-id", "s", "--keep", "--subscribe", "a/#", "--subscribe", "b/#"]);
    let (mut subscriber, told) = Staying::start(&gateway, &keeps);
    assert_eq!(told["suback"], json!({"a/#": 1, "b/#": 1}));
    let parked =
        with(&["--client-id", "parked", "--keep", "--subscribe", "a/#", "--subscribe", "b/x"]);
    assert_eq!(answers(&gateway, &parked)["connack"], 0);
    assert_eq!(
        answers(&gateway, &with(&["--publish", "a/queued", "--publish", "b/x"]))["connack"],
        0
    );

    site.write("acl", "allow both user alice b/#\n");
    assert_eq!(subscriber.next(), json!({"message": "a/queued"}));
    assert_eq!(subscriber.next(), json!({"message": "b/x"}));
    assert_eq!(subscriber.next(), json!({"disconnect": 0x87}));
    let told = answers(
        &gateway,
        &with(&["--publish", "a/new", "--publish", "b/own", "--subscribe", "a/#"]),
    );
    assert_eq!(told["puback"], json!({"a/new": 0x87, "b/own": 0}));
    assert_eq!(told["suback"], json!({"a/#": 0x87}));
    assert_eq!(publisher.next(), json!({"message": "b/own"}), "it was never cut");

    // The kept sessions have only what is allowed left, and of what waited only that.
    let (mut parked, _) = Staying::start(&gateway, &with(&["--client-id", "parked", "--keep"]));
    assert_eq!(parked.next(), json!({"message": "b/x"}));
    let (_subscriber, _) = Staying::start(&gateway, &with(&["--client-id", "s", "--keep"]));
    let clients = gateway.get_json("/api/clients");
    let of = |id: &str| {
        let all = clients["clients"].as_array().expect("a list");
        all.iter().find(|client| client["client_id"] == id).expect("listed")["subscriptions"]
            .clone()
    };
    assert_eq!((of("parked"), of("s")), (json!(["b/x"]), json!(["b/#"])));

    site.write("acl", "allow both user alice b/#\nallow nonsense\n");
    crate::live::eventually("the wrong file is noticed", || {
        (metric(&gateway, "tidegate_access_stale") > 0.5).then_some(())
    });
    assert_eq!(answers(&gateway, &with(&["--publish", "b/own"]))["puback"], json!({"b/own": 0}));
}
