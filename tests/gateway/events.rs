//! Events: what the gateway says of itself, to rules and to subscribers.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;
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

const DISCONNECT: [u8; 2] = [0xe0, 0];

/// The records of a stream once there are `count`.
fn records(site: &Site, stream: &str, count: usize) -> Vec<Value> {
    let records = eventually("the events are in the stream", || {
        Some(site.stream_data(stream)).filter(|records| records.len() >= count)
    });
    assert_eq!(records.len(), count, "{records:?}");
    records
}

/// Topic and document of the next message of a subscriber at QoS 0.
fn heard(device: &mut Device) -> (String, Value) {
    let packet = device.recv();
    assert_eq!(packet[0], 0x30, "a PUBLISH at QoS 0: {packet:02x?}");
    let header = packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 2;
    let (length, rest) = packet[header..].split_at(2);
    let (topic, payload) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
    let document = serde_json::from_slice(payload).expect("JSON");
    (String::from_utf8_lossy(topic).into_owned(), document)
}

fn names(document: &Value) -> Vec<&str> {
    document.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_rule_of_aws_sees_clients_come_and_go() {
    let site = Site::with_rules(
        "CREATE RULE presence AS SELECT * FROM '$aws/events/presence/+/mote-7' DO STREAM presence KEY 'k';
         CREATE RULE subscriptions AS SELECT * FROM '$aws/events/subscriptions/#' DO STREAM subscriptions KEY 'k';
         CREATE RULE all AS SELECT * FROM '#', '+/events/#' DO STREAM all KEY 'k';",
    );
    let gateway = site.start();
    let mut mote = Device::connect(&gateway, v5("mote-7"));
    mote.send(&subscribe(Some(b""), "lab/+", 1));
    assert_eq!(mote.recv()[0], 0x90);
    mote.send(&[0xa2, 10, 0, 2, 0, 0, 5, b'l', b'a', b'b', b'/', b'+']);
    assert_eq!(mote.recv()[0], 0xb0);
    mote.send(&DISCONNECT);
    let presence = records(&site, "presence", 2);
    let (connected, disconnected) = (&presence[0], &presence[1]);
    let known = ["clientId", "eventType", "ipAddress", "sessionIdentifier"];
    assert_eq!(
        names(connected),
        [&known[..], &["sessionPresent", "timestamp", "versionNumber"]].concat()
    );
    assert_eq!(connected["clientId"], "mote-7");
    assert_eq!(connected["eventType"], "connected");
    assert_eq!(connected["ipAddress"], "127.0.0.1");
    assert_eq!(connected["sessionPresent"], false);
    assert!(connected["timestamp"].as_i64().is_some_and(|at| at > 1_600_000_000_000));
    assert_eq!(disconnected["eventType"], "disconnected");
    assert_eq!(disconnected["clientInitiatedDisconnect"], true);
    assert_eq!(disconnected["disconnectReason"], "CLIENT_INITIATED_DISCONNECT");
    for same in ["sessionIdentifier", "versionNumber"] {
        assert_eq!(connected[same], disconnected[same], "{same}");
    }
    let subscriptions = records(&site, "subscriptions", 2);
    assert_eq!(subscriptions[0]["eventType"], "subscribed");
    assert_eq!(subscriptions[1]["eventType"], "unsubscribed");
    assert_eq!(subscriptions[0]["topics"], json!(["lab/+"]));
    assert_eq!(subscriptions[1]["topics"], json!(["lab/+"]));
    assert_eq!(site.stream_data("all"), Vec::<Value>::new(), "no wildcard begins with $");
}

#[test]
fn every_way_to_go_has_its_reason_and_versions_grow() {
    let site = Site::with_rules(
        "CREATE RULE gone AS
           SELECT clientId, disconnectReason AS reason, clientInitiatedDisconnect AS own,
                  versionNumber AS version, topic() AS topic
           FROM '$events/client/+/disconnected' DO STREAM gone KEY 'k';
         CREATE RULE taken AS SELECT clientId FROM '$events/session/+/taken_over' DO STREAM taken KEY 'k';",
    );
    let gateway = site.start();
    let mut expected = Vec::new();
    let mut check = |id: &str, level: &str, reason: &str| {
        expected.push((
            id.to_owned(),
            format!("$events/client/{level}/disconnected"),
            reason.to_owned(),
        ));
        let gone = records(&site, "gone", expected.len());
        let found: Vec<_> = gone
            .iter()
            .map(|one| {
                ["clientId", "topic", "reason"]
                    .map(|name| one[name].as_str().expect("a text").to_owned())
            })
            .map(|[id, topic, reason]| (id, topic, reason))
            .collect();
        assert_eq!(found, expected);
        let own = gone.last().map(|one| one["own"] == json!(true));
        assert_eq!(own, Some(reason == "CLIENT_INITIATED_DISCONNECT"));
        let versions: Vec<_> = gone.iter().map(|one| one["version"].as_u64()).collect();
        assert!(versions.is_sorted(), "{versions:?}");
    };
    drop(Device::connect(&gateway, v4("lost/a+b#%")));
    check("lost/a+b#%", "lost%2Fa%2Bb%23%25", "CONNECTION_LOST");
    let mut silent = Device::connect(&gateway, Connect { keep_alive: 1, ..v4("silent") });
    assert!(silent.recv().is_empty(), "cut");
    check("silent", "silent", "MQTT_KEEP_ALIVE_TIMEOUT");
    let mut bad = Device::connect(&gateway, v4("bad"));
    bad.send(&[0xf0, 0]);
    check("bad", "bad", "CLIENT_ERROR");
    let first = Device::connect(&gateway, v4("twin"));
    let second = Device::connect(&gateway, v4("twin"));
    check("twin", "twin", "DUPLICATE_CLIENTID");
    assert_eq!(records(&site, "taken", 1), [json!({"clientId": "twin"})]);
    drop(first);
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    check("twin", "twin", "SERVER_INITIATED_DISCONNECT");
    drop(second);
}

#[test]
fn subscribers_hear_events_and_a_session_that_is_lost() {
    let site = Site::with_rules("CREATE RULE idle AS SELECT * FROM 'x' DO LOG;");
    let gateway = site.start();
    let mut watcher = Device::connect(&gateway, v4("watcher"));
    for filter in ["$events/client/other/#", "$events/session/#", "$share/g/$aws/events/#"] {
        watcher.send(&subscribe(None, filter, 0));
        let mut next = watcher.recv();
        while next[0] == 0x30 {
            next = watcher.recv();
        }
        assert_eq!(next, [0x90, 3, 0, 1, 0], "{filter}");
    }
    let mut unheard = |expected: &[&str]| {
        let mut topics = Vec::new();
        while topics.len() < expected.len() {
            let (topic, document) = heard(&mut watcher);
            if document["clientId"] != "watcher" {
                topics.push(topic);
            }
        }
        topics.sort_unstable();
        assert_eq!(topics, expected);
    };
    let mut other = Device::connect(&gateway, Connect { clean: false, ..v4("other") });
    unheard(&["$aws/events/presence/connected/other", "$events/client/other/connected"]);
    other.send(&subscribe(None, "lab/#", 1));
    assert_eq!(other.recv(), [0x90, 3, 0, 1, 1]);
    unheard(&["$aws/events/subscriptions/subscribed/other", "$events/client/other/subscribed"]);
    other.send(&DISCONNECT);
    assert!(other.recv().is_empty());
    unheard(&["$aws/events/presence/disconnected/other", "$events/client/other/disconnected"]);
    gateway.publish("lab/1", "{}");
    drop(Device::connect(&gateway, v4("other")));
    let mut lost = None;
    while lost.is_none() {
        let (topic, document) = heard(&mut watcher);
        lost = (topic == "$events/session/other/lost").then_some(document);
    }
    let lost = lost.expect("found");
    assert_eq!(
        (&lost["reason"], &lost["subscriptions"], &lost["queued"]),
        (&json!("clean_start"), &json!(1), &json!(1))
    );
}

#[test]
fn a_session_without_room_says_so_once_until_it_has_plenty() {
    let site = Site::with_rules(
        "CREATE RULE full AS SELECT clientId, reason, queued, topic() AS topic FROM '$events/session/+/full'
         DO STREAM full KEY 'k';",
    );
    site.write("tidegate.toml", "[mqtt]\nsession_queue_max = 4\n");
    let gateway = site.start();
    let lasting = Connect { clean: false, ..v4("sleeper") };
    let mut sleeper = Device::connect(&gateway, lasting);
    sleeper.send(&subscribe(None, "a", 1));
    assert_eq!(sleeper.recv()[0], 0x90);
    sleeper.send(&DISCONNECT);
    assert!(sleeper.recv().is_empty());
    let full_sessions = || metric(&gateway, "tidegate_mqtt_sessions_full");
    let mut sender = Device::connect(&gateway, v4("sender"));
    let mut publish_to_it = |count: u16| {
        for n in 1..=count {
            sender.send(&publish(0b0010, "a", n, None, b"x"));
            assert_eq!(sender.recv(), puback(n));
        }
    };
    publish_to_it(4);
    assert!(full_sessions() < 0.5, "full to the brim, and nothing is lost yet");
    publish_to_it(3);
    let told = json!({"clientId": "sleeper", "reason": "queue_full", "queued": 4,
                      "topic": "$events/session/sleeper/full"});
    assert_eq!(records(&site, "full", 1).first(), Some(&told));
    assert!((full_sessions() - 1.0).abs() < 0.1);
    let dropped = metric(&gateway, r#"tidegate_mqtt_messages_dropped_total{reason="queue_full"}"#);
    assert!((dropped - 3.0).abs() < 0.1, "{dropped}");

    let mut sleeper = Device::connect(&gateway, lasting);
    for _ in 0..4 {
        assert_eq!(sleeper.recv()[0] >> 4, 3);
    }
    assert!(full_sessions() < 0.5, "there is plenty of room");
    // None of them is acknowledged: they are in flight, and the queue has its room.
    sleeper.send(&DISCONNECT);
    assert!(sleeper.recv().is_empty());
    publish_to_it(8);
    assert_eq!(records(&site, "full", 2)[1]["reason"], "queue_full");
    // With the session its alarm ends.
    let mut fresh = Device::connect(&gateway, v4("sleeper"));
    fresh.send(&PINGREQ);
    assert_eq!(fresh.recv(), PINGRESP);
    assert!(full_sessions() < 0.5);
}

#[test]
fn episodes_are_events_and_no_rule_hears_itself_for_ever() {
    let site = Site::with_rules(
        "CREATE RULE hot AS SELECT t, 12345678901234567890 AS exact FROM 'lab/+' WHEN t > 30 FOR 1 SECOND
           DO LOG 'hot';
         CREATE RULE told AS SELECT ruleName, eventType, reason, key, output, topic, clientId, topic() AS own
           FROM '$events/rule/hot/+' DO STREAM told KEY 'k';
         CREATE RULE echo AS SELECT eventType FROM 'start', '$events/rule/echo/firing'
           WHEN go = true OR eventType = 'firing' FOR 1 SECOND PARTITION BY timestamp
           DO STREAM echoes KEY 'k';",
    );
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    let mut watcher = Device::connect(&gateway, v4("watcher"));
    watcher.send(&subscribe(None, "$events/rule/hot/#", 0));
    assert_eq!(watcher.recv(), [0x90, 3, 0, 1, 0]);
    device.publish_acked("start", 1, r#"{"go":true,"timestamp":1}"#);
    device.publish_acked("lab/a", 2, r#"{"t":31}"#);
    let (topic, document) = heard(&mut watcher);
    assert_eq!((topic.as_str(), &document["samples"]), ("$events/rule/hot/firing", &json!(1)));
    device.publish_acked("lab/a", 3, r#"{"t":30}"#);
    assert_eq!(heard(&mut watcher).0, "$events/rule/hot/cleared");
    let told = records(&site, "told", 2);
    assert_eq!(
        told[0],
        json!({
            "ruleName": "hot", "eventType": "firing", "key": ["lab/a"], "topic": "lab/a",
            "clientId": "device", "output": {"t": 31, "exact": 12_345_678_901_234_567_890_u64},
            "own": "$events/rule/hot/firing",
        })
    );
    assert_eq!((&told[1]["eventType"], &told[1]["reason"]), (&json!("cleared"), &json!("false")));
    eventually("the rule that hears itself is cut", || {
        gateway.get_json("/api/rules").to_string().contains("hops_exceeded").then_some(())
    });
    assert_eq!(site.stream_data("echoes").len(), 1 + 4, "the message and four events");
}

/// An address that nobody listens on.
fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn a_hook_that_gives_up_and_a_delivery_that_fails_are_events() {
    let site = Site::with_rules(
        "CREATE RULE work AS SELECT n FROM 'x' DO INVOKE pager, DELIVER lake;
         CREATE RULE hooks AS SELECT * FROM '$events/hook/+/failed' DO STREAM hooks KEY 'k', INVOKE pager;
         CREATE RULE deliveries AS SELECT * FROM '$events/delivery/+/failed' DO STREAM lakes KEY 'k', DELIVER lake;",
    );
    site.write(
        "tidegate.toml",
        &format!(
            "[hook.pager]\nurl = \"http://127.0.0.1:{}/\"\nattempts = 1\nbackoff = \"10ms\"\n\
             [delivery.lake]\nbuffer_interval = \"0s\"\n",
            dead_port()
        ),
    );
    fs::create_dir_all(site.path("data/delivery")).expect("a folder");
    site.write("data/delivery/lake", "a file where the folder should be");
    let gateway = site.start();
    gateway.publish("x", r#"{"n":7}"#);
    let hooks = records(&site, "hooks", 1);
    assert_eq!((&hooks[0]["hook"], &hooks[0]["ruleName"]), (&json!("pager"), &json!("work")));
    assert_eq!(hooks[0]["base64OriginalPayload"], "eyJuIjo3fQ==");
    let lakes = records(&site, "lakes", 1);
    assert_eq!((&lakes[0]["delivery"], &lakes[0]["eventType"]), (&json!("lake"), &json!("failed")));
    assert!(lakes[0]["error"].as_str().is_some_and(|error| error.contains("lake")), "{lakes:?}");
    // The call that the event's rule makes fails too, and is no event.
    eventually("the second call is given up", || {
        (dead_letters(&gateway, "pager") == 2).then_some(())
    });
    gateway.publish("x", r#"{"n":8}"#);
    let hooks = records(&site, "hooks", 2);
    assert_eq!(hooks[1]["base64OriginalPayload"], "eyJuIjo4fQ==");
    assert_eq!(site.stream_data("lakes").len(), 1, "once until a batch is written");
}

#[test]
fn hooks_that_fail_and_rules_that_are_told_of_it_come_to_an_end() {
    let site = Site::with_rules(
        "CREATE RULE call AS SELECT n FROM 'alarms' DO INVOKE pager;
         CREATE RULE told AS SELECT 1 AS n FROM '$events/hook/pager/failed' DO REPUBLISH 'alarms';
         CREATE RULE work AS SELECT n FROM 'work' DO INVOKE main ON ERROR DO INVOKE oncall;",
    );
    let hook = |name: &str| {
        let port = dead_port();
        format!(
            "[hook.{name}]\nurl = \"http://127.0.0.1:{port}/\"\nattempts = 1\nbackoff = \"10ms\"\n"
        )
    };
    site.write("tidegate.toml", &["pager", "main", "oncall"].map(hook).concat());
    let gateway = site.start();
    gateway.publish("alarms", r#"{"n":0}"#);
    eventually("the loop of two rules is cut", || {
        gateway.get_json("/api/rules").to_string().contains("hops_exceeded").then_some(())
    });
    // Hops 0, 2 and 4; each event between them is a hop too.
    assert_eq!(dead_letters(&gateway, "pager"), 3);
    gateway.publish("work", r#"{"n":1}"#);
    gateway.publish("work", r#"{"n":2}"#);
    // They are reported in order: had ON ERROR run for the first, its call would come before the last.
    eventually("the calls of ON ERROR are given up", || {
        (dead_letters(&gateway, "oncall") == 2).then_some(())
    });
    gateway.publish("work", r#"{"n":3}"#);
    eventually("a third", || (dead_letters(&gateway, "oncall") >= 3).then_some(()));
    assert_eq!((dead_letters(&gateway, "main"), dead_letters(&gateway, "oncall")), (3, 3));
}

fn dead_letters(gateway: &Gateway, hook: &str) -> usize {
    let answer = gateway.get_json(&format!("/api/hooks/{hook}/dead-letters"));
    answer["dead_letters"].as_array().map_or(0, Vec::len)
}

#[test]
fn qos_1_subscribers_get_events_with_qos_1() {
    let site = Site::with_rules("CREATE RULE idle AS SELECT * FROM 'x' DO LOG;");
    let gateway = site.start();
    let mut watcher = Device::connect(&gateway, v4("watcher"));
    watcher.send(&subscribe(None, "$events/client/late/connected", 1));
    assert_eq!(watcher.recv(), [0x90, 3, 0, 1, 1]);
    let mut late = Device::connect(&gateway, v4("late"));
    let event = watcher.recv();
    assert_eq!(event[0] & 0xf6, 0x32, "{event:02x?}");
    watcher.send(&puback(1));
    late.send(&publish(0, "$events/client/late/connected", 0, None, b"{}"));
    late.send(&PINGREQ);
    assert_eq!(late.recv(), PINGRESP);
    watcher.send(&PINGREQ);
    assert_eq!(watcher.recv(), PINGRESP, "nobody else speaks there");
}
