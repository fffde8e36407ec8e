//! PINGREQ, DISCONNECT, AUTH, and what ends a connection (MQTT 5, sections 3.12 to 3.15 and 4.13).

use super::wire::*;
use super::*;

fn client(gateway: &Gateway, level: u8) -> Client {
    Client::connect(gateway, &Connect::new(level, &unique()))
}

/// MQTT 5: [MQTT-3.12.4-1].
/// MQTT 3.1.1: [MQTT-3.12.4-1].
#[test]
fn a_ping_is_answered() {
    let gateway = gateway();
    for level in BOTH {
        let mut client = client(&gateway, level);
        client.send(&PINGREQ.repeat(100));
        (0..100).for_each(|_| client.expect(&PINGRESP));
        client.send(&[0xc0, 1, 0]);
        client.expect_cut(0x81);
    }
}

/// MQTT 5: [MQTT-3.14.0-1].
#[test]
fn nothing_is_said_before_connack() {
    let gateway = gateway();
    for packet in
        [&[0x00, 0][..], &PINGREQ, &[0x10, 0xff, 0xff, 0xff, 0xff], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut client = Client::open(&gateway, V5);
        client.send(packet);
        client.expect_end();
    }
}

/// MQTT 5: [MQTT-3.14.2-1], [MQTT-3.14.2-2], [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-4.13.1-1],
/// MQTT 5: [MQTT-4.13.2-1].
/// MQTT 3.1.1: [MQTT-4.8.0-1].
#[test]
fn a_violation_ends_its_own_connection_with_the_reason_as_the_last_word() {
    let gateway = gateway();
    let property = |property: &[u8]| Publish::new("a", 0, 0, b"").with(property).bytes(V5);
    // `expect_cut` sees that DISCONNECT has no more than a reason string, and is followed by the end.
    let of_both = [
        (vec![0x20, 2, 0, 0], 0x82),
        (vec![0x90, 3, 0, 1, 0], 0x82),
        (vec![0xb0, 2, 0, 1], 0x82),
        (PINGRESP.to_vec(), 0x82),
        (vec![0x30, 1, 0], 0x81),
        (vec![0x40, 1, 0], 0x81),
        (frame(0x30, &[0xff; 200 * 1024]), 0x95),
        // What follows is not handled any more.
        ([frame(0x62, &[0, 1, 0, 0, 9]), PINGREQ.repeat(9)].concat(), 0x81),
    ];
    for level in BOTH {
        let mut bystander = client(&gateway, level);
        for (packet, reason) in &of_both {
            let mut client = client(&gateway, level);
            client.try_send(packet);
            client.expect_cut(*reason);
        }
        bystander.settle();
    }
    let of_5 = [
        // A property twice; one of another packet; one that there is not; a flag of 2.
        (property(&[[PAYLOAD_FORMAT, 1], [PAYLOAD_FORMAT, 1]].concat()), 0x82),
        (property(&four(SESSION_EXPIRY, 1)), 0x81),
        (property(&[0x7f, 0]), 0x81),
        (property(&[PAYLOAD_FORMAT, 2]), 0x82),
        (frame(0x30, &[0, 1, b'a', 9]), 0x81),
        // A DISCONNECT only servers send.
        (vec![0xe0, 1, 0x8e], 0x82),
        (frame(0xe0, &[&[0, 4][..], &text(0x1c, b"x")].concat()), 0x81),
    ];
    for (packet, reason) in of_5 {
        let mut client = client(&gateway, V5);
        client.send(&packet);
        client.expect_cut(reason);
    }
}

/// MQTT 5: [MQTT-4.12.0-6].
#[test]
fn auth_out_of_its_place_is_a_protocol_error() {
    let gateway = gateway();
    let method = text(AUTHENTICATION_METHOD, b"m");
    let with_method = |reason| frame(0xf0, &[&[reason, 4][..], &method].concat());
    for packet in [frame(0xf0, &[]), frame(0xf0, &[0x19]), with_method(0x18), with_method(0x19)] {
        let mut client = client(&gateway, V5);
        assert_eq!(client.told(AUTHENTICATION_METHOD), None);
        client.send(&packet);
        client.expect_cut(0x82);
    }
    let mut old = client(&gateway, V4);
    old.send(&frame(0xf0, &[0x19]));
    old.expect_end();
}

/// MQTT 3.1.1: [MQTT-3.14.1-1].
#[test]
fn disconnect_of_3_1_1_has_nothing_behind_its_header() {
    let gateway = gateway();
    let topic = unique();
    let mut watcher = client(&gateway, V4);
    watcher.subscribe(&topic, 0);
    let will = Will::new(&topic);
    let mut client = Client::connect(&gateway, &Connect::new(V4, &unique()).will(will));
    client.send(&[0xe0, 1, 0]);
    client.expect_end();
    watcher.hears(&Publish::new(&topic, 0, 0, b"gone"));
}

/// MQTT 5: [MQTT-4.2.0-1].
/// MQTT 3.1.1: [MQTT-7.0.0-2], [MQTT-7.1.1-1].
#[test]
fn a_packet_may_come_in_any_pieces() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut client = Client::open(&gateway, level);
        client.id.clone_from(&topic);
        let script = [
            Connect::new(level, &topic).bytes(),
            subscribe(level, 1, &[(&topic, 0)]),
            Publish::new(&topic, 0, 0, &[b'x'; 200]).bytes(level),
            PINGREQ.to_vec(),
        ];
        for piece in script.concat().chunks(1) {
            client.send(piece);
        }
        client.welcomed();
        assert_eq!(client.recv()[0], 0x90);
        let mut packets = [client.recv(), client.recv()];
        packets.sort();
        assert_eq!(packets[0], Publish::new(&topic, 0, 0, &[b'x'; 200]).bytes(level));
        assert_eq!(packets[1], PINGRESP);
    }
}
