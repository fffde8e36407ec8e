//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5, sections 3.8 to 3.11).

use super::wire::*;
use super::*;

fn client(gateway: &Gateway, level: u8) -> Client {
    Client::connect(gateway, &Connect::new(level, &unique()))
}

/// The codes of a SUBACK or UNSUBACK.
fn codes(packet: &[u8], level: u8) -> &[u8] {
    let (_, body) = split(packet);
    if level == V5 { properties_of(&body[2..]).1 } else { &body[2..] }
}

/// MQTT 5: [MQTT-3.8.4-1], [MQTT-3.8.4-5], [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-3.9.3-2].
/// MQTT 3.1.1: [MQTT-3.8.3-2], [MQTT-3.8.4-1], [MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1],
/// MQTT 3.1.1: [MQTT-3.9.3-2].
#[test]
fn each_filter_of_a_subscribe_has_its_code_in_one_suback() {
    let gateway = gateway();
    for level in BOTH {
        let name = unique();
        let mut to = client(&gateway, level);
        let filters =
            [format!("{name}/#"), "a#".into(), format!("{name}/+"), "+a/b".into(), name.clone()];
        let wanted: Vec<(&str, u8)> =
            filters.iter().map(String::as_str).zip([2, 2, 0, 1, 1]).collect();
        to.send(&subscribe(level, 77, &wanted));
        let suback = to.recv();
        let failed = if level == V5 { 0x8f } else { 0x80 };
        assert_eq!(codes(&suback, level), [2, failed, 0, failed, 1]);
        // As if they had come one by one: those that were granted are there.
        let mut from = client(&gateway, level);
        from.publish(&Publish::new(&name, 2, 1, b"x"));
        to.hears(&Publish::new(&name, 2, 0, b"x"));
    }
}

/// MQTT 5: [MQTT-3.8.3-2], [MQTT-3.10.3-2].
/// MQTT 3.1.1: [MQTT-3.8.3-3], [MQTT-3.10.3-2].
#[test]
fn a_subscribe_or_unsubscribe_without_a_filter_ends_the_connection() {
    let gateway = gateway();
    for level in BOTH {
        for packet in [subscribe(level, 1, &[]), unsubscribe(level, 1, &[])] {
            let mut client = client(&gateway, level);
            client.send(&packet);
            client.expect_cut(0x82);
        }
    }
}

/// MQTT 5: [MQTT-3.8.3-5].
/// MQTT 3.1.1: [MQTT-3.8.3-4].
#[test]
fn reserved_bits_of_a_subscription_end_the_connection() {
    let gateway = gateway();
    let cut = |level, options, reason| {
        let mut client = client(&gateway, level);
        client.send(&subscribe(level, 1, &[("a", 0), ("b", options)]));
        client.expect_cut(reason);
    };
    for options in [0x40, 0x80, 0xc1] {
        cut(V5, options, 0x81);
    }
    for options in [0x03, 0x30] {
        cut(V5, options, 0x82);
    }
    for options in [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
        cut(V4, options, 0x81);
    }
}

/// MQTT 5: [MQTT-3.8.4-3], [MQTT-3.8.4-4].
/// MQTT 3.1.1: [MQTT-3.8.4-3].
#[test]
fn a_subscription_with_the_same_filter_replaces_the_older() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let (mut to, mut from) = (client(&gateway, level), client(&gateway, level));
        from.publish(&Publish::new(&topic, 0, 0, b"kept").retained());
        from.settle();
        for qos in [2, 0, 1] {
            to.subscribe(&topic, qos);
            to.hears(&Publish::new(&topic, 0, 0, b"kept").retained());
            from.publish(&Publish::new(&topic, 2, 1, b"x"));
            let found = to.hears(&Publish::new(&topic, qos, 0, b"x"));
            if qos == 1 {
                to.send(&ack(PUBACK, found.id));
            }
        }
        to.expect_nothing();
        // Nothing is lost meanwhile: one publishes without a pause, one subscribes again and again.
        let all: Vec<Publish> =
            (0..500_u16).map(|n| Publish::new(&topic, 0, 0, &n.to_be_bytes())).collect();
        let bytes: Vec<u8> = all.iter().flat_map(|one| one.bytes(level)).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| from.send(&bytes));
            for _ in 0..50 {
                to.send(&subscribe(level, 9, &[(&topic, 0)]));
            }
        });
        let mut live = Vec::new();
        while live.len() < all.len() {
            let packet = to.recv();
            if packet[0] == 0x30 {
                live.push(packet);
            }
        }
        let expected: Vec<Vec<u8>> = all.iter().map(|one| one.bytes(level)).collect();
        assert!(live == expected, "each message once, in order");
    }
}

/// MQTT 5: [MQTT-3.8.4-8].
/// MQTT 3.1.1: [MQTT-3.8.4-6].
#[test]
fn a_message_has_the_smaller_qos_of_publish_and_subscription() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let (mut to, mut from) = (client(&gateway, level), client(&gateway, level));
        for granted in [0, 1, 2] {
            to.subscribe(&topic, granted);
            for qos in [0, 1, 2] {
                from.publish(&Publish::new(&topic, qos, 1, b"x"));
                to.hears(&Publish::new(&topic, qos.min(granted), 0, b"x"));
            }
        }
    }
}

/// MQTT 5: [MQTT-3.8.3-3].
#[test]
fn no_local_spares_a_client_its_own_messages() {
    let gateway = gateway();
    let (name, topic) = (unique(), unique());
    let mut one = Client::connect(&gateway, &Connect::new(V5, &name));
    let mut other = client(&gateway, V5);
    one.subscribe(&topic, 0b100);
    one.publish(&Publish::new(&topic, 0, 0, b"own"));
    one.publish(&Publish::new(&topic, 1, 1, b"own, retained").retained());
    other.publish(&Publish::new(&topic, 0, 0, b"other"));
    one.hears(&Publish::new(&topic, 0, 0, b"other"));
    // Nor when it subscribes, nor by a later connection under its name.
    one.subscribe(&topic, 0b100);
    one.expect_nothing();
    let mut again = Client::connect(&gateway, &Connect::new(V5, &name));
    again.subscribe(&topic, 0b100);
    again.expect_nothing();
    again.subscribe(&topic, 0);
    again.hears(&Publish::new(&topic, 0, 0, b"own, retained").retained());
    again.publish(&Publish::new(&topic, 0, 0, b"own"));
    again.hears(&Publish::new(&topic, 0, 0, b"own"));
}

/// MQTT 5: [MQTT-3.8.3-4].
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let gateway = gateway();
    let mut client = client(&gateway, V5);
    client.send(&subscribe(V5, 1, &[("$share/g/a", 0b100)]));
    client.expect_cut(0x82);
}

/// MQTT 5: [MQTT-3.10.4-1], [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6], [MQTT-3.11.3-1],
/// MQTT 5: [MQTT-3.11.3-2].
/// MQTT 3.1.1: [MQTT-3.10.4-1], [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6].
#[test]
fn unsubscribe_ends_exactly_the_subscriptions_it_names() {
    let gateway = gateway();
    for level in BOTH {
        let name = unique();
        let mut to = client(&gateway, level);
        let (hash, plus) = (format!("{name}/#"), format!("{name}/+"));
        to.subscribe(&hash, 0);
        to.subscribe(&plus, 0);
        let named =
            [format!("{name}/a"), plus, format!("{name}/"), name.to_uppercase(), "a#".into()];
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        to.send(&unsubscribe(level, 300, &named));
        let unsuback = to.recv();
        assert_eq!((unsuback[0], &unsuback[2..4]), (0xb0, &300_u16.to_be_bytes()[..]));
        let expected = if level == V5 { &[0x11, 0, 0x11, 0x11, 0x11][..] } else { &[] };
        assert_eq!(codes(&unsuback, level), expected);
        let message = Publish::new(&format!("{name}/a"), 0, 0, b"x");
        to.publish(&message);
        to.hears(&message);
        to.send(&unsubscribe(level, 301, &[&hash]));
        assert_eq!(to.recv()[0], 0xb0);
        to.publish(&message);
        to.expect_nothing();
    }
}

/// MQTT 5: [MQTT-3.10.4-2], [MQTT-3.10.4-3].
/// MQTT 3.1.1: [MQTT-3.10.4-2], [MQTT-3.10.4-3].
#[test]
fn what_is_under_way_is_completed_after_unsubscribe() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let mut to = Client::connect(&gateway, &Connect::lasting(level, &name));
        to.subscribe(&topic, 2);
        let mut from = client(&gateway, level);
        from.publish(&Publish::new(&topic, 1, 1, b"1"));
        from.publish(&Publish::new(&topic, 2, 2, b"2"));
        let first = to.hears(&Publish::new(&topic, 1, 0, b"1")).id;
        let second = to.hears(&Publish::new(&topic, 2, 0, b"2")).id;
        to.send(&unsubscribe(level, 9, &[&topic]));
        assert_eq!(to.recv()[0], 0xb0);
        from.publish(&Publish::new(&topic, 1, 1, b"3"));
        to.send(&ack(PUBREC, second));
        to.expect_ack(PUBREL, second);
        to.vanish();
        let mut to = Client::connect(&gateway, &Connect::lasting(level, &name));
        to.expect_ack(PUBREL, second);
        let again = to.hears(&Publish::new(&topic, 1, 0, b"1").again());
        assert_eq!(again.id, first);
        to.send(&[ack(PUBACK, first), ack(PUBCOMP, second)].concat());
        to.expect_nothing();
    }
}
