//! What packets are made of: strings, lengths, flags, packet identifiers, properties (MQTT 5, chapters 1
//! and 2).

use super::wire::*;
use super::*;

/// Texts that are not well-formed UTF-8: a stray byte, an overlong encoding, a surrogate, a cut sequence.
const ILL_FORMED: [&[u8]; 4] = [b"a\xffb", b"a\xc0\x80", b"a\xed\xa0\x80", b"a\xe2\x82"];

/// Every packet of a connected client with `text` as a string in it.
fn with_string(level: u8, text: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    packets.push(Publish { topic: text.to_vec(), ..Publish::new("", 1, 7, b"") }.bytes(level));
    let properties = if level == V5 { &[0][..] } else { &[] };
    packets.push(frame(0x82, &[&[0, 7], properties, &field(text), &[0]].concat()));
    packets.push(frame(0xa2, &[&[0, 7], properties, &field(text)].concat()));
    if level == V5 {
        let good = || Publish::new("t", 1, 7, b"");
        for id in [RESPONSE_TOPIC, CONTENT_TYPE] {
            packets.push(good().with(&super::wire::text(id, text)).bytes(level));
        }
        let name = [vec![USER_PROPERTY], field(text), field(b"v")].concat();
        let value = [vec![USER_PROPERTY], field(b"n"), field(text)].concat();
        packets.extend([name, value].map(|property| good().with(&property).bytes(level)));
    }
    packets
}

/// Every CONNECT with `text` as a string in it.
fn connects_with_string(level: u8, text: &[u8]) -> Vec<Vec<u8>> {
    let connect = Connect::new(level, "string");
    let with_will = connect.clone().will(Will::new("xxx"));
    let mut found = vec![Connect { user: Some(text.to_vec()), ..connect.clone() }.bytes()];
    for (bytes, place) in [(connect.bytes(), &b"string"[..]), (with_will.bytes(), b"xxx")] {
        // The same packet with the text in the place of one as long.
        let mut padded = text.to_vec();
        padded.resize(place.len(), b'a');
        if place.len() >= text.len() {
            let at = bytes.windows(place.len()).position(|w| w == place).expect("it is there");
            let mut changed = bytes.clone();
            changed.splice(at..at + place.len(), padded);
            found.push(changed);
        }
    }
    found
}

fn are_refused(text: &[u8]) {
    let gateway = gateway();
    for level in BOTH {
        for packet in with_string(level, text) {
            let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
            client.send(&packet);
            client.expect_cut(0x81);
        }
        for connect in connects_with_string(level, text) {
            let expected = (level == V5).then_some(0x81);
            assert_eq!(refusal(&gateway, level, &connect), expected, "{connect:02x?}");
        }
    }
}

/// MQTT 5: [MQTT-1.5.4-1], [MQTT-1.5.7-1], [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12], [MQTT-3.3.2-1],
/// MQTT 5: [MQTT-3.3.2-13], [MQTT-3.3.2-19], [MQTT-3.8.3-1], [MQTT-3.10.3-1].
/// MQTT 3.1.1: [MQTT-1.5.3-1], [MQTT-3.1.3-4], [MQTT-3.1.3-10], [MQTT-3.1.3-11], [MQTT-3.3.2-1],
/// MQTT 3.1.1: [MQTT-3.8.3-1], [MQTT-3.10.3-1].
#[test]
fn a_string_that_is_not_utf_8_ends_the_connection() {
    for text in ILL_FORMED {
        are_refused(text);
    }
}

/// MQTT 5: [MQTT-1.5.4-2], [MQTT-4.7.3-2].
/// MQTT 3.1.1: [MQTT-1.5.3-2], [MQTT-4.7.3-2].
#[test]
fn a_string_with_nul_ends_the_connection() {
    are_refused(b"a\0b");
}

/// MQTT 5: [MQTT-1.5.4-3], [MQTT-4.7.3-4].
/// MQTT 3.1.1: [MQTT-1.5.3-3], [MQTT-4.7.3-4].
#[test]
fn no_character_of_a_topic_is_dropped_or_replaced() {
    let gateway = gateway();
    for level in BOTH {
        let name = unique();
        let mut client = Client::connect(&gateway, &Connect::new(level, &name));
        // A byte order mark, é in one character, é in two, a private character, case.
        let topics = [
            name.clone(),
            format!("\u{feff}{name}"),
            format!("{name}/\u{e9}"),
            format!("{name}/e\u{301}"),
            format!("{name}/\u{e000}"),
            format!("{name}/E\u{301}"),
        ];
        for subscribed in &topics {
            client.subscribe(subscribed, 0);
            for topic in &topics {
                client.publish(&Publish::new(topic, 0, 0, b"x"));
            }
            client.hears(&Publish::new(subscribed, 0, 0, b"x"));
            client.send(&unsubscribe(level, 1, &[subscribed]));
            assert_eq!(client.recv()[0], 0xb0);
        }
        client.expect_nothing();
    }
}

/// MQTT 5: [MQTT-1.5.5-1].
#[test]
fn a_length_in_more_bytes_than_it_needs_is_malformed() {
    let gateway = gateway();
    let packets: [&[u8]; 4] = [
        &[0xc0, 0x80, 0x00],
        &[0x30, 0x84, 0x00, 0, 1, b'a', 0],
        // The length of the properties; a subscription identifier.
        &[0x30, 5, 0, 1, b'a', 0x80, 0x00],
        &[0x82, 10, 0, 1, 3, SUBSCRIPTION_ID, 0x81, 0x00, 0, 1, b'a', 0],
    ];
    for packet in packets {
        let mut client = Client::connect(&gateway, &Connect::new(V5, &unique()));
        client.send(packet);
        client.expect_cut(0x81);
    }
}

/// MQTT 5: [MQTT-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1], [MQTT-3.15.1-1].
/// MQTT 3.1.1: [MQTT-2.2.2-1], [MQTT-2.2.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1],
/// MQTT 3.1.1: [MQTT-3.14.1-1].
#[test]
fn reserved_flags_of_the_fixed_header_end_the_connection() {
    let gateway = gateway();
    for level in BOTH {
        let good = [
            ack(PUBACK, 1),
            ack(PUBREC, 1),
            ack(PUBREL, 1),
            ack(PUBCOMP, 1),
            subscribe(level, 1, &[("a", 0)]),
            unsubscribe(level, 1, &["a"]),
            PINGREQ.to_vec(),
            DISCONNECT.to_vec(),
            frame(0xf0, &[0x19]),
        ];
        for packet in good {
            for flag in [1, 2, 4, 8] {
                let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
                let mut wrong = packet.clone();
                wrong[0] ^= flag;
                client.send(&wrong);
                client.expect_cut(0x81);
            }
        }
        let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
        client.send(&[0x00, 0]);
        client.expect_cut(0x81);
    }
}

/// MQTT 5: [MQTT-2.2.1-2].
/// MQTT 3.1.1: [MQTT-2.3.1-5].
#[test]
fn a_message_with_qos_0_has_no_packet_identifier() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut client = Client::connect(&gateway, &Connect::new(level, &topic));
        client.subscribe(&topic, 0);
        for qos in [0, 1, 2] {
            client.send(&Publish::new(&topic, qos, 5, b"x").bytes(level));
            let expected = Publish::new(&topic, 0, 0, b"x").bytes(level);
            let found = client.recv();
            if found != expected {
                assert_eq!(found[0] & 0xc0, 0x40, "PUBACK or PUBREC: {found:02x?}");
                client.expect(&expected);
            } else if qos > 0 {
                assert_eq!(client.recv()[0] & 0xc0, 0x40);
            }
        }
    }
}

/// MQTT 5: [MQTT-2.2.1-3].
/// MQTT 3.1.1: [MQTT-2.3.1-1].
#[test]
fn packet_identifier_0_ends_the_connection() {
    let gateway = gateway();
    for level in BOTH {
        let packets = [
            Publish::new("a", 1, 0, b"").bytes(level),
            Publish::new("a", 2, 0, b"").bytes(level),
            subscribe(level, 0, &[("a", 0)]),
            unsubscribe(level, 0, &["a"]),
            ack(PUBACK, 0),
            ack(PUBREL, 0),
        ];
        for packet in packets {
            let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
            client.send(&packet);
            client.expect_cut(0x82);
        }
    }
}

/// MQTT 5: [MQTT-2.2.1-5], [MQTT-2.2.1-6], [MQTT-3.8.4-2], [MQTT-3.10.4-5].
/// MQTT 3.1.1: [MQTT-2.3.1-6], [MQTT-2.3.1-7], [MQTT-3.8.4-2], [MQTT-3.10.4-4].
#[test]
fn an_acknowledgement_has_the_identifier_of_what_it_acknowledges() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut client = Client::connect(&gateway, &Connect::new(level, &topic));
        for id in [1, 0x1234, 0xff, 0xff00, u16::MAX] {
            client.publish(&Publish::new(&topic, 1, id, b""));
            client.publish(&Publish::new(&topic, 2, id, b""));
            client.send(&subscribe(level, id, &[("nobody/publishes/there", 0)]));
            let suback = client.recv();
            assert_eq!((suback[0], &suback[2..4]), (0x90, &id.to_be_bytes()[..]));
            client.send(&unsubscribe(level, id, &["nobody/publishes/there"]));
            let unsuback = client.recv();
            assert_eq!((unsuback[0], &unsuback[2..4]), (0xb0, &id.to_be_bytes()[..]));
        }
    }
}

/// MQTT 5: [MQTT-2.2.2-1].
#[test]
fn a_packet_without_properties_says_so() {
    let gateway = gateway();
    let topic = unique();
    let mut client = Client::connect(&gateway, &Connect::new(V5, &topic));
    client.send(&subscribe(V5, 1, &[(&topic, 0)]));
    client.expect(&[0x90, 4, 0, 1, 0, 0]);
    client.publish(&Publish::new(&topic, 0, 0, b"x"));
    client.expect(&Publish::new(&topic, 0, 0, b"x").bytes(V5));
    client.send(&unsubscribe(V5, 2, &[&topic]));
    client.expect(&[0xb0, 4, 0, 2, 0, 0]);
    // And a client has to.
    client.send(&[0x82, 6, 0, 1, 0, 1, b'a', 0]);
    client.expect_cut(0x81);
}
