//! What goes over the wire after a kill, byte by byte.

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

/// Session Expiry Interval of an hour.
const HOUR: &[u8] = &[0x11, 0, 0, 0x0e, 0x10];
/// The first packet identifier of messages on disk.
const FIRST: u16 = 16_385;

fn site() -> Site {
    Site::with_rules("CREATE RULE all AS SELECT * FROM 'in/#' DO STREAM kept KEY topic();")
}

fn kept(id: &str) -> Connect<'_> {
    Connect { clean: false, properties: HOUR, ..v5(id) }
}

/// Connects and answers whether there was a session.
fn connect(gateway: &Gateway, connect: Connect<'_>) -> (Device, bool) {
    let mut device = Device::open(gateway);
    device.send(&connect.encode());
    let connack = device.recv();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "connected: {connack:?}");
    (device, connack[2] == 1)
}

/// The same with a will of QoS 1.
fn connect_with_will(gateway: &Gateway, connect: Connect<'_>) -> Device {
    let mut packet = connect.encode();
    // Header and protocol name, then level, then flags.
    packet[9] |= 0b0000_1000;
    let mut device = Device::open(gateway);
    device.send(&packet);
    let connack = device.recv();
    assert_eq!((connack[0], connack[3]), (0x20, 0), "connected: {connack:?}");
    device
}

fn ack(kind: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![kind, 2, high, low]
}

fn expect(device: &mut Device, bytes: &[u8]) {
    assert_eq!(device.recv(), bytes);
}

fn expect_silence(device: &mut Device) {
    device.send(&PINGREQ);
    expect(device, &PINGRESP);
}

fn subscribed(device: &mut Device, properties: Option<&[u8]>, filter: &str, options: u8) {
    device.send(&subscribe(properties, filter, options));
    let suback = device.recv();
    assert_eq!((suback[0], suback.last()), (0x90, Some(&(options & 3))), "{suback:?}");
}

/// Waits until so many messages wait or are in flight on disk: bytes of messages that sessions keep.
fn settles(gateway: &Gateway, what: &str, is_so: impl Fn(f64) -> bool) {
    eventually(what, || is_so(metric(gateway, "tidegate_mqtt_kept_messages_bytes")).then_some(()));
}

#[test]
fn what_was_in_flight_comes_again_with_its_identifier_and_its_stage() {
    let site = site();
    let gateway = site.start();
    let (mut to, present) = connect(&gateway, Connect { clean: false, ..v4("to") });
    assert!(!present);
    subscribed(&mut to, None, "a", 2);
    let (mut from, _) = connect(&gateway, v4("from"));
    for (n, flags) in [(1, 0b0010), (2, 0b0100), (3, 0b0100), (4, 0b0010)] {
        from.send(&publish(flags, "a", n, None, &n.to_be_bytes()));
        expect(&mut from, &ack(if flags == 0b0010 { 0x40 } else { 0x50 }, n));
    }
    let sent = |n: u16, flags: u8| publish(flags, "a", FIRST + n - 1, None, &n.to_be_bytes());
    for (n, flags) in [(1, 0b0010), (2, 0b0100), (3, 0b0100), (4, 0b0010)] {
        expect(&mut to, &sent(n, flags));
    }
    // The second is released: its PUBREL comes when that is on disk.
    to.send(&ack(0x50, FIRST + 1));
    expect(&mut to, &ack(0x62, FIRST + 1));
    gateway.kill();
    let gateway = site.start();
    let (mut to, present) = connect(&gateway, Connect { clean: false, ..v4("to") });
    assert!(present);
    expect(&mut to, &sent(1, 0b1010));
    expect(&mut to, &ack(0x62, FIRST + 1));
    expect(&mut to, &sent(3, 0b1100));
    expect(&mut to, &sent(4, 0b1010));
    // Another kill changes nothing.
    gateway.kill();
    let gateway = site.start();
    let (mut to, _) = connect(&gateway, Connect { clean: false, ..v4("to") });
    for packet in [sent(1, 0b1010), ack(0x62, FIRST + 1), sent(3, 0b1100), sent(4, 0b1010)] {
        expect(&mut to, &packet);
    }
    to.send(
        &[puback(FIRST), ack(0x70, FIRST + 1), ack(0x50, FIRST + 2), puback(FIRST + 3)].concat(),
    );
    expect(&mut to, &ack(0x62, FIRST + 2));
    to.send(&ack(0x70, FIRST + 2));
    expect_silence(&mut to);
    settles(&gateway, "nothing is kept", |bytes| bytes == 0.0);
    let (status, _) = gateway.terminate();
    assert!(status.success());
    let gateway = site.start();
    let (mut to, present) = connect(&gateway, Connect { clean: false, ..v4("to") });
    assert!(present);
    expect_silence(&mut to);
}

#[test]
fn a_session_is_taken_over_right_after_a_restart() {
    let site = site();
    let gateway = site.start();
    let (mut to, _) = connect(&gateway, kept("to"));
    subscribed(&mut to, Some(&[]), "a", 2);
    let (mut from, _) = connect(&gateway, v4("from"));
    from.send(&publish(0b0100, "a", 1, None, b"x"));
    expect(&mut from, &ack(0x50, 1));
    expect(&mut to, &publish(0b0100, "a", FIRST, Some(&[]), b"x"));
    gateway.kill();
    let gateway = site.start();
    let (mut first, present) = connect(&gateway, kept("to"));
    assert!(present);
    expect(&mut first, &publish(0b1100, "a", FIRST, Some(&[]), b"x"));
    let (mut second, present) = connect(&gateway, kept("to"));
    assert!(present);
    let farewell = first.recv();
    assert_eq!((farewell[0], farewell[2]), (0xe0, 0x8e), "session taken over: {farewell:?}");
    expect(&mut second, &publish(0b1100, "a", FIRST, Some(&[]), b"x"));
    second.send(&ack(0x50, FIRST));
    expect(&mut second, &ack(0x62, FIRST));
    second.send(&ack(0x70, FIRST));
    expect_silence(&mut second);
}

#[test]
fn a_qos_2_publish_repeated_after_a_kill_is_judged_and_sent_once() {
    let site = site();
    let gateway = site.start();
    let (mut to, _) = connect(&gateway, kept("to"));
    subscribed(&mut to, Some(&[]), "in/#", 1);
    let (mut from, _) = connect(&gateway, kept("from"));
    from.send(&publish(0b0100, "in/a", 7, Some(&[]), b"{}"));
    expect(&mut from, &ack(0x50, 7));
    gateway.kill();
    let gateway = site.start();
    let (mut from, present) = connect(&gateway, kept("from"));
    assert!(present);
    from.send(&publish(0b1100, "in/a", 7, Some(&[]), b"{}"));
    expect(&mut from, &ack(0x50, 7));
    from.send(&ack(0x62, 7));
    expect(&mut from, &ack(0x70, 7));
    // The release is on disk, too: the next message with this identifier is a new one.
    gateway.kill();
    let gateway = site.start();
    let (mut from, _) = connect(&gateway, kept("from"));
    from.send(&publish(0b0100, "in/a", 7, Some(&[]), b"[]"));
    expect(&mut from, &ack(0x50, 7));
    assert_eq!(site.stream_data("kept").len(), 2);
    let (mut to, _) = connect(&gateway, kept("to"));
    expect(&mut to, &publish(0b1010, "in/a", FIRST, Some(&[]), b"{}"));
    expect(&mut to, &publish(0b0010, "in/a", FIRST + 1, Some(&[]), b"[]"));
    expect_silence(&mut to);
}

#[test]
fn subscriptions_come_back_with_their_options() {
    let site = site();
    let gateway = site.start();
    let (mut client, _) = connect(&gateway, kept("c"));
    // No local; retain as published with an identifier; and one that is given up.
    subscribed(&mut client, Some(&[]), "own/#", 0b0000_0101);
    subscribed(&mut client, Some(&[0x0b, 9]), "kept", 0b0000_1001);
    subscribed(&mut client, Some(&[]), "gone", 1);
    client.send(&[0xa2, 9, 0, 2, 0, 0, 4, b'g', b'o', b'n', b'e']);
    assert_eq!(client.recv(), [0xb0, 4, 0, 2, 0, 0]);
    gateway.kill();
    let gateway = site.start();
    let (mut client, present) = connect(&gateway, kept("c"));
    assert!(present);
    client.send(&publish(0b0010, "own/a", 1, Some(&[]), b"mine"));
    expect(&mut client, &puback(1));
    let (mut other, _) = connect(&gateway, v4("other"));
    other.publish_acked("gone", 1, "x");
    other.publish_acked("own/a", 2, "other's");
    other.send(&publish(0b0011, "kept", 3, None, b"r"));
    expect(&mut client, &publish(0b0010, "own/a", FIRST, Some(&[]), b"other's"));
    expect(&mut client, &publish(0b0011, "kept", FIRST + 1, Some(&[0x0b, 9]), b"r"));
    // Once a clean start has been answered, nothing of it comes back.
    let (_client, present) = connect(&gateway, Connect { clean: true, ..kept("c") });
    assert!(!present);
    gateway.kill();
    let gateway = site.start();
    let (mut client, present) = connect(&gateway, kept("c"));
    assert!(present, "of the clean start");
    let (mut other, _) = connect(&gateway, v4("other"));
    other.publish_acked("own/a", 1, "x");
    expect_silence(&mut client);
}

#[test]
fn a_session_expires_while_the_gateway_is_away() {
    let site = site();
    let gateway = site.start();
    let second: &[u8] = &[0x11, 0, 0, 0, 1];
    let (mut short, _) = connect(&gateway, Connect { properties: second, ..kept("short") });
    subscribed(&mut short, Some(&[]), "a", 1);
    short.send(&[0xe0, 0]);
    let (mut long, _) = connect(&gateway, kept("long"));
    subscribed(&mut long, Some(&[]), "a", 1);
    let (mut from, _) = connect(&gateway, v4("from"));
    // In the order of commits: once this is acknowledged, the end of the other's connection is on disk.
    assert_eq!(short.recv(), Vec::<u8>::new());
    from.publish_acked("a", 1, "x");
    gateway.kill();
    let gateway = eventually("a second has passed", || {
        let gateway = site.start();
        let clients = gateway.get_json("/api/clients");
        let names: Vec<_> = clients["clients"].as_array().into_iter().flatten().collect();
        let is_gone = names.iter().all(|client| client["client_id"] != "short");
        is_gone.then_some(gateway)
    });
    let (_, present) = connect(&gateway, kept("short"));
    assert!(!present);
    let (_, present) = connect(&gateway, kept("long"));
    assert!(present);
}

#[test]
fn a_message_expires_while_the_gateway_is_away_and_what_is_left_is_sent_on() {
    let site = site();
    let gateway = site.start();
    let (mut to, _) = connect(&gateway, kept("to"));
    subscribed(&mut to, Some(&[]), "a", 1);
    to.send(&[0xe0, 0]);
    let (mut from, _) = connect(&gateway, v5("from"));
    from.send(&publish(0b0010, "a", 1, Some(&[0x02, 0, 0, 0, 1]), b"short"));
    expect(&mut from, &ack(0x40, 1));
    from.send(&publish(0b0010, "a", 2, Some(&[0x02, 0, 0, 0, 100]), b"long"));
    expect(&mut from, &ack(0x40, 2));
    // Published later: when this has died, so has the first.
    from.send(&publish(0b0011, "clock", 3, Some(&[0x02, 0, 0, 0, 1]), b"x"));
    expect(&mut from, &ack(0x40, 3));
    gateway.kill();
    let gateway = site.start();
    eventually("the first has expired", || {
        let mut probe = Device::connect(&gateway, v4("probe"));
        (probe.subscribed_hears("clock") == PINGRESP).then_some(())
    });
    let (mut to, present) = connect(&gateway, kept("to"));
    assert!(present);
    let left = to.recv();
    let seconds = left[left.len() - 5];
    assert!((50..100).contains(&seconds), "{seconds} s of 100 are left");
    let dup = left[0] & 0b1000;
    let interval = [0x02, 0, 0, 0, seconds];
    assert_eq!(left, publish(0b0010 | dup, "a", FIRST + 1, Some(&interval), b"long"));
}

#[test]
fn the_will_of_a_killed_connection_is_published_at_the_restart() {
    let site = site();
    let gateway = site.start();
    let (mut watcher, _) = connect(&gateway, kept("watcher"));
    subscribed(&mut watcher, Some(&[]), "will/#", 1);
    let delayed = [0x18, 0, 0, 0, 1];
    let hour = [0x18, 0, 0, 0x0e, 0x10];
    let with = |id, properties, topic| Connect {
        will: Some((properties, topic, b"{}".as_slice())),
        ..kept(id)
    };
    let _now = connect_with_will(&gateway, with("now", &[], "will/now"));
    let clean = Connect { properties: &[], ..with("clean", &delayed, "will/clean") };
    let _clean = connect_with_will(&gateway, clean);
    let _back = connect_with_will(&gateway, with("back", &hour, "will/back"));
    let _later = connect_with_will(&gateway, with("later", &delayed, "will/later"));
    let mut polite = connect_with_will(&gateway, with("polite", &[], "will/polite"));
    polite.send(&[0xe0, 0]);
    assert_eq!(polite.recv(), Vec::<u8>::new());
    // In the order of commits: the end of the polite one is on disk with it.
    let (mut from, _) = connect(&gateway, v4("from"));
    from.send(&publish(0b0010, "in/a", 1, None, b"{}"));
    expect(&mut from, &puback(1));
    gateway.kill();
    let gateway = site.start();
    let (_back, present) = connect(&gateway, Connect { will: None, ..kept("back") });
    assert!(present);
    let (mut watcher, _) = connect(&gateway, kept("watcher"));
    let mut topics = Vec::new();
    for _ in 0..3 {
        let packet = watcher.recv();
        let topic = packet[4..4 + usize::from(packet[3])].to_vec();
        topics.push(String::from_utf8(topic).expect("a topic"));
        let at = 4 + usize::from(packet[3]);
        watcher.send(&[0x40, 2, packet[at], packet[at + 1]]);
    }
    topics.sort();
    assert_eq!(topics, ["will/clean", "will/later", "will/now"]);
    expect_silence(&mut watcher);
    // Who subscribes may hear of them before that is on disk.
    eventually("that they are published is on disk, and that one is taken back", || {
        let left: i64 = site.on_disk("SELECT count(*) FROM session WHERE will IS NOT NULL");
        (left == 0).then_some(())
    });
    // They are not published again.
    gateway.kill();
    let gateway = site.start();
    let (mut watcher, _) = connect(&gateway, kept("watcher"));
    let (mut from, _) = connect(&gateway, v4("from"));
    from.publish_acked("will/last", 1, "x");
    // One whose PUBACK was not on disk at the kill may come again, marked as such.
    let next = loop {
        let packet = watcher.recv();
        if packet[0] & 0b1000 == 0 {
            break packet;
        }
    };
    assert!(next.ends_with(b"x"), "{next:?}");
}

#[test]
fn the_bounds_of_sessions_refuse_what_is_newest() {
    let site = site();
    site.write(
        "tidegate.toml",
        "[mqtt]\nsession_queue_max = 4\nsession_queue_bytes_max = \"256 KiB\"\nsessions_bytes_max = \"256 KiB\"\n",
    );
    let gateway = site.start();
    for id in ["one", "two", "three"] {
        let (mut client, _) = connect(&gateway, kept(id));
        subscribed(&mut client, Some(&[]), if id == "one" { "few" } else { "large" }, 1);
        client.send(&[0xe0, 0]);
        assert_eq!(client.recv(), Vec::<u8>::new());
    }
    let (mut from, _) = connect(&gateway, v4("from"));
    for n in 1..=6 {
        from.publish_acked("few", n, "x");
    }
    let dropped = |reason: &str| {
        let series = format!("tidegate_mqtt_messages_dropped_total{{reason=\"{reason}\"}}");
        metric(&gateway, &series)
    };
    assert_eq!(dropped("queue_full"), 2.0);
    // Each counts about 100 KB for each of two: the third finds the store full.
    let large = "x".repeat(100_000);
    from.publish_acked("large", 7, &large);
    assert_eq!(dropped("store_full"), 0.0);
    from.publish_acked("large", 8, &large);
    assert_eq!(dropped("store_full"), 2.0);
    let (mut one, _) = connect(&gateway, kept("one"));
    for n in 0..4 {
        expect(&mut one, &publish(0b0010, "few", FIRST + n, Some(&[]), b"x"));
        one.send(&puback(FIRST + n));
    }
    expect_silence(&mut one);
    from.publish_acked("few", 9, "y");
    expect(&mut one, &publish(0b0010, "few", FIRST + 4, Some(&[]), b"y"));
}

#[test]
fn what_a_rule_republishes_is_kept_with_its_cause() {
    let site = Site::with_rules(
        "CREATE RULE again AS SELECT * FROM 'in/#' DO REPUBLISH 'out/again' QOS 1;",
    );
    let gateway = site.start();
    let (mut to, _) = connect(&gateway, kept("to"));
    subscribed(&mut to, Some(&[]), "out/#", 1);
    to.send(&[0xe0, 0]);
    assert_eq!(to.recv(), Vec::<u8>::new());
    let (mut from, _) = connect(&gateway, v4("from"));
    from.publish_acked("in/a", 1, r#"{"n":1}"#);
    gateway.kill();
    let gateway = site.start();
    let (mut to, present) = connect(&gateway, kept("to"));
    assert!(present);
    let packet = to.recv();
    assert!(packet.ends_with(br#"{"n":1}"#), "{packet:?}");
    expect_silence(&mut to);
}

#[test]
fn a_shared_message_is_stored_for_one_member_and_passes_to_another_at_its_end() {
    let site = site();
    let gateway = site.start();
    let second: &[u8] = &[0x11, 0, 0, 0, 1];
    for (id, properties) in [("short", second), ("long", HOUR)] {
        let (mut member, _) = connect(&gateway, Connect { properties, ..kept(id) });
        subscribed(&mut member, Some(&[]), "$share/g/a", 1);
        forgotten(&mut member);
    }
    // Both are away: they take turns.
    let (mut from, _) = connect(&gateway, v4("from"));
    for n in 1..=10 {
        from.publish_acked("a", n, &n.to_string());
    }
    gateway.kill();
    let gateway = site.start();
    let (mut long, _) = connect(&gateway, kept("long"));
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let packet = long.recv();
        let (id, payload) = (&packet[5..7], String::from_utf8(packet[8..].to_vec()));
        long.send(&[0x40, 2, id[0], id[1]]);
        seen.push(payload.expect("a number").parse::<u16>().expect("a number"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    expect_silence(&mut long);
}

/// Disconnects and waits for the end.
fn forgotten(member: &mut Device) {
    member.send(&[0xe0, 0]);
    while !member.recv().is_empty() {}
}
