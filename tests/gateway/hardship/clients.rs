//! Clients that fall silent, do not read, come twice or in crowds.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

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
use crate::hardship::resident_bytes;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

const KEEP: &str = "CREATE RULE keep AS SELECT n FROM 'x' DO STREAM kept KEY 'k';";

/// Subscribes with MQTT 3.1.1 and sees it granted.
fn subscribed(gateway: &Gateway, id: &str, filter: &str, qos: u8) -> Device {
    let mut device = Device::connect(gateway, v4(id));
    device.send(&subscribe(None, filter, qos));
    assert_eq!(device.recv(), [0x90, 3, 0, 1, qos], "{filter} is granted");
    device
}

#[test]
fn a_subscriber_that_never_reads_costs_others_nothing_and_memory_is_bounded() {
    const MESSAGES: u16 = 50_000;
    const WINDOW: u16 = 500;
    let site = Site::with_rules(KEEP);
    let gateway = site.start();
    let sleeper = subscribed(&gateway, "sleeper", "load/#", 1);
    let mut reader = subscribed(&gateway, "reader", "load/#", 0);
    let mut publisher = Device::connect(&gateway, v4("publisher"));
    let before = resident_bytes(&gateway);
    let payload = "x".repeat(1024);
    for first in (1..=MESSAGES).step_by(usize::from(WINDOW)) {
        for id in first..first + WINDOW {
            publisher.publish("load/a", id, &payload);
        }
        for id in first..first + WINDOW {
            assert_eq!(publisher.recv(), puback(id));
        }
        // The reader keeps up, so it must get every message.
        for _ in first..first + WINDOW {
            assert_eq!(reader.recv()[0] & 0xf0, 0x30, "a PUBLISH");
        }
    }
    let grown = resident_bytes(&gateway).saturating_sub(before);
    assert!(grown < 64 << 20, "the sleeper's queue is bounded: {grown} bytes more");
    let dropped = metric(&gateway, r#"tidegate_mqtt_messages_dropped_total{reason="queue_full"}"#);
    assert!(dropped > 0.0, "what the sleeper misses is counted");
    gateway.publish("x", r#"{"n":1}"#);
    assert_eq!(site.stream_data("kept"), [json!({"n": 1})]);
    drop(sleeper);
}

#[test]
fn a_connection_without_a_connect_is_closed() {
    let site = Site::with_rules(KEEP);
    site.write("tidegate.toml", "[mqtt]\nconnect_timeout = \"1s\"\n");
    let gateway = site.start();
    let mut silent = Device::open(&gateway);
    let mut halfway = Device::open(&gateway);
    halfway.send(&v4("halfway").encode()[..9]);
    assert!(silent.recv().is_empty(), "closed");
    assert!(halfway.recv().is_empty(), "closed");
    let refused =
        metric(&gateway, r#"tidegate_mqtt_connections_refused_total{reason="connect_timeout"}"#);
    assert!((refused - 2.0).abs() < f64::EPSILON, "{refused}");
}

#[test]
fn a_silent_client_is_cut_and_its_will_passes_the_rules() {
    let site = Site::with_rules(
        "CREATE RULE gone AS SELECT * FROM 'gone/+' DO STREAM wills KEY topic();
         CREATE RULE offline AS SELECT id, hold.samples AS n FROM 'gone/+'
           WHEN id = 'silent' FOR 200 MILLISECONDS DO STREAM offline KEY topic();
         CREATE RULE lost AS SELECT clientId AS id
           FROM '$events/client/+/disconnected', '$events/client/+/connected'
           WHEN eventType = 'disconnected' FOR 200 MILLISECONDS PARTITION BY clientId
         DO STREAM offline KEY topic();",
    );
    let gateway = site.start();
    let mut watcher = subscribed(&gateway, "watcher", "gone/+", 0);
    let mut patient = Device::connect(&gateway, v4("patient"));
    let will = Some((&b""[..], "gone/silent", &br#"{"id":"silent"}"#[..]));
    let mut silent = Device::connect(&gateway, Connect { keep_alive: 1, will, ..v4("silent") });
    assert!(silent.recv().is_empty(), "cut");
    assert_eq!(watcher.recv(), publish(0, "gone/silent", 0, None, br#"{"id":"silent"}"#));
    assert_eq!(
        eventually("the will is in the stream", || {
            let wills = site.stream_data("wills");
            (!wills.is_empty()).then_some(wills)
        }),
        [json!({"id": "silent"})]
    );
    // Conditions over time hear the will, and the event, like any other message.
    let mut offline = eventually("the client stays away", || {
        Some(site.stream_data("offline")).filter(|told| told.len() >= 2)
    });
    offline.sort_by_key(|record| record["n"].is_null());
    assert_eq!(offline, [json!({"id": "silent", "n": 1}), json!({"id": "silent"})]);
    patient.send(&PINGREQ);
    assert_eq!(patient.recv(), PINGRESP, "keep-alive 0 is none");
}

#[test]
fn a_redelivered_or_retained_message_neither_starts_a_clock_over_nor_fires_twice() {
    const RETAINED_QOS_1: u8 = 0b0011;
    const DUP: u8 = 0b1000;
    const QOS_2: u8 = 0b0100;
    let site = Site::with_rules(
        "CREATE RULE heard AS SELECT timestamp() AS at FROM 'lab/+' DO STREAM heard KEY 'k';
         CREATE RULE hot AS SELECT hold.since AS since, hold.samples AS n FROM 'lab/+'
           WHEN t > 30 FOR 1 SECOND DO STREAM hot KEY 'k';",
    );
    let hot = br#"{"t":31}"#;
    let gateway = site.start();
    let mut mote = Device::connect(&gateway, v4("mote"));
    mote.send(&publish(RETAINED_QOS_1, "lab/1", 1, None, hot));
    assert_eq!(mote.recv(), puback(1));
    gateway.kill();
    let gateway = site.start();
    // The retained message is there for whoever subscribes; the rules have heard it.
    for reader in ["reader", "another"] {
        let mut reader = Device::connect(&gateway, v4(reader));
        reader.send(&subscribe(None, "lab/#", 0));
        assert_eq!(reader.recv(), [0x90, 3, 0, 1, 0]);
        assert_eq!(reader.recv(), publish(1, "lab/1", 0, None, hot));
    }
    // With QoS 1 a message may come twice; with QoS 2 it is one message however often it is sent.
    let mut mote = Device::connect(&gateway, v4("mote"));
    mote.send(&publish(RETAINED_QOS_1 | DUP, "lab/1", 1, None, hot));
    assert_eq!(mote.recv(), puback(1));
    for flags in [QOS_2, QOS_2 | DUP] {
        mote.send(&publish(flags, "lab/1", 2, None, hot));
        assert_eq!(mote.recv(), [0x50, 2, 0, 2]);
    }
    let fired =
        eventually("it fires", || Some(site.stream_data("hot")).filter(|told| !told.is_empty()));
    let heard = site.stream_data("heard");
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert_eq!(fired, [json!({"since": heard[0]["at"], "n": 3})]);
    mote.send(&publish(QOS_2 | DUP, "lab/1", 2, None, hot));
    assert_eq!(mote.recv(), [0x50, 2, 0, 2]);
    mote.publish_acked("lab/1", 3, r#"{"t":31}"#);
    assert_eq!(site.stream_data("hot").len(), 1);
}

#[test]
fn the_newest_of_many_connections_with_one_identifier_stays() {
    let site = Site::with_rules(KEEP);
    let gateway = site.start();
    let mut last = Device::connect(&gateway, v5("twin"));
    for _ in 0..50 {
        let next = Device::connect(&gateway, v5("twin"));
        let goodbye = last.recv();
        assert_eq!(goodbye.get(..3), Some(&[0xe0, goodbye[1], 0x8e][..]), "{goodbye:02x?}");
        assert!(last.recv().is_empty(), "closed");
        last = next;
    }
    // All at once: whoever is last, exactly one is left.
    let crowd: Vec<_> = (0..50)
        .map(|_| {
            let mut device = Device::open(&gateway);
            device.send(&v4("twin").encode());
            device
        })
        .collect();
    eventually("one connection is left", || {
        let clients = metric(&gateway, "tidegate_mqtt_connections");
        let sessions = metric(&gateway, "tidegate_mqtt_sessions");
        (clients + sessions <= 2.0).then_some(())
    });
    let alive = crowd
        .into_iter()
        .filter_map(|mut device| {
            drop(device.socket.write_all(&PINGREQ));
            std::iter::from_fn(|| Some(device.recv()).filter(|packet| !packet.is_empty()))
                .any(|packet| packet == PINGRESP)
                .then_some(device)
        })
        .count();
    assert_eq!(alive, 1);
}

#[test]
fn connections_over_the_limit_are_told_and_the_others_are_served() {
    let site = Site::with_rules(KEEP);
    site.write("tidegate.toml", "[mqtt]\nconnections_max = 100\n");
    let gateway = site.start();
    let mut inside: Vec<Device> =
        (0..100).map(|n| Device::connect(&gateway, v4(&format!("in-{n}")))).collect();
    let mut told = 0;
    for n in 0..100 {
        let id = format!("over-{n}");
        let mut device = Device::open(&gateway);
        // Those over even what can be told are closed, perhaps before they have spoken.
        drop(device.socket.write_all(&v5(&id).encode()));
        let answer = device.recv();
        if !answer.is_empty() {
            assert_eq!((answer[0], answer[3]), (0x20, 0x97), "quota exceeded: {answer:02x?}");
            told += 1;
        }
        assert!(
            device.recv_within(Duration::from_millis(1)).is_none_or(|packet| packet.is_empty())
        );
    }
    assert!(told > 0);
    let refused =
        metric(&gateway, r#"tidegate_mqtt_connections_refused_total{reason="connections_max"}"#);
    assert!((refused - 100.0).abs() < f64::EPSILON, "{refused}");
    for device in &mut inside {
        device.publish_acked("x", 1, r#"{"n":1}"#);
    }
    assert_eq!(site.stream_data("kept").len(), 100);
    drop(inside);
    eventually("there is room again", || {
        let mut device = Device::open(&gateway);
        drop(device.socket.write_all(&v4("late").encode()));
        (device.recv() == [0x20, 2, 0, 0]).then_some(())
    });
}

#[test]
fn clients_wait_while_the_system_gives_no_descriptors_and_those_inside_are_served() {
    let site = Site::with_rules(KEEP);
    let gateway = site.start();
    let mut inside = Device::connect(&gateway, v4("inside"));
    inside.publish_acked("x", 1, r#"{"n":1}"#);
    // Taken away behind the gateway's back: it has not counted on it.
    let open = fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("procfs").count();
    limit_open_files(&gateway, open + 20);
    let mut crowd: Vec<Device> = (0..90)
        .map(|n| {
            let mut device = Device::open(&gateway);
            device.send(&v4(&format!("crowd-{n}")).encode());
            device
        })
        .collect();
    assert_eq!(crowd[0].recv(), [0x20, 2, 0, 0]);
    inside.publish_acked("x", 2, r#"{"n":2}"#);
    let mut last = crowd.pop().expect("the last of the crowd");
    drop(crowd);
    assert_eq!(last.recv(), [0x20, 2, 0, 0], "it is served when there is room");
    assert_eq!(site.stream_data("kept"), [json!({"n": 1}), json!({"n": 2})]);
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    // Those that left make room one by one, so the shortage may end and begin a few times.
    let warnings = log.matches("cannot accept connections").count();
    assert!((1..10).contains(&warnings), "{log}");
}

/// Lowers what a running gateway may open.
fn limit_open_files(gateway: &Gateway, files: usize) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &gateway.pid().to_string(), &format!("--nofile={files}")]);
    let output = prlimit.output().expect("util-linux is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_largest_packet_passes_and_one_byte_more_does_not() {
    let site = Site::with_rules(
        "CREATE RULE size AS SELECT length(f) AS bytes FROM 'x' DO STREAM sizes KEY 'k';",
    );
    site.write("tidegate.toml", "[mqtt]\npacket_bytes_max = \"4 KiB\"\n");
    let gateway = site.start();
    let packet = |len: usize, properties: Option<&[u8]>| {
        let empty = publish(0b0010, "x", 1, properties, br#"{"f":""}"#);
        // The remaining length takes a second byte.
        let filler = "x".repeat(len - empty.len() - 1);
        let packet =
            publish(0b0010, "x", 1, properties, format!(r#"{{"f":"{filler}"}}"#).as_bytes());
        assert_eq!(packet.len(), len);
        packet
    };
    let mut old = Device::connect(&gateway, v4("old"));
    old.send(&packet(4096, None));
    assert_eq!(old.recv(), puback(1));
    old.send(&packet(4097, None));
    assert!(old.recv().is_empty(), "closed");
    let mut new = Device::connect(&gateway, v5("new"));
    new.send(&packet(4096, Some(b"")));
    assert_eq!(new.recv()[..4], [0x40, 2, 0, 1]);
    new.send(&packet(4097, Some(b"")));
    let goodbye = new.recv();
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x95), "packet too large");
    assert_eq!(site.stream_data("sizes").len(), 2);
}

#[test]
fn topics_of_any_script_pass_and_dollar_topics_are_not_caught_by_wildcards() {
    let site = Site::with_rules(
        "CREATE RULE all AS SELECT topic() AS topic FROM '#' DO STREAM seen KEY topic();
         CREATE RULE dollar AS SELECT topic() AS topic FROM '$own/+' DO STREAM dollars KEY 'k';
         CREATE RULE place AS SELECT topic(2) AS place FROM 'wetter/+/気温' DO STREAM places KEY topic(2);",
    );
    let gateway = site.start();
    let mut all = subscribed(&gateway, "all", "#", 0);
    let mut device = Device::connect(&gateway, v4("device"));
    device.publish_acked("$own/x", 1, "{}");
    device.publish_acked("$SYS/broker/uptime", 2, "{}");
    device.publish_acked("wetter/Zürich 🌡/気温", 3, "{}");
    assert_eq!(site.stream_data("seen"), [json!({"topic": "wetter/Zürich 🌡/気温"})]);
    assert_eq!(site.stream_data("dollars"), [json!({"topic": "$own/x"})]);
    assert_eq!(site.stream_data("places"), [json!({"place": "Zürich 🌡"})]);
    assert_eq!(all.recv(), publish(0, "wetter/Zürich 🌡/気温", 0, None, b"{}"));
}
