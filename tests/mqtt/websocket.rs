//! MQTT over WebSocket: frames and packets. What is no WebSocket at all is in `tests/gateway/transport`.

use super::wire::*;
use super::*;
use crate::transport::websocket::BINARY;
use crate::transport::websocket::CLOSE;
use crate::transport::websocket::Raw;

/// Text, and a frame that continues no message.
const TEXT: u8 = 0x81;
const CONTINUES: u8 = 0x80;
/// A binary frame that is not the last of its message.
const BEGINS: u8 = 0x02;

/// A client behind its CONNACK.
fn connected(gateway: &Gateway, level: u8) -> Raw {
    let mut raw = Raw::upgraded(gateway);
    raw.frame(BINARY, &Connect::new(level, &unique()).bytes());
    let (opcode, connack) = raw.recv();
    assert_eq!((opcode, connack[0], connack[3]), (BINARY, 0x20, 0), "{connack:02x?}");
    raw
}

/// What comes in messages, until there are so many bytes; each is binary.
fn bytes(raw: &mut Raw, count: usize) -> Vec<u8> {
    let mut found = Vec::new();
    while found.len() < count {
        let (opcode, payload) = raw.recv();
        assert_eq!(opcode, BINARY, "{payload:02x?}");
        found.extend(payload);
    }
    found
}

/// MQTT 5: [MQTT-6.0.0-1]
/// MQTT 3.1.1: [MQTT-6.0.0-1]
#[test]
fn what_is_no_binary_frame_ends_the_connection() {
    let gateway = gateway();
    for level in BOTH {
        for (first, payload, code) in
            [(TEXT, &b"text"[..], 1003_u16), (CONTINUES, &PINGREQ[..], 1002), (TEXT, b"", 1003)]
        {
            let mut raw = connected(&gateway, level);
            raw.frame(BINARY, &PINGREQ);
            assert_eq!(bytes(&mut raw, 2), PINGRESP, "binary ones are answered by binary ones");
            raw.frame(first, payload);
            let (opcode, told) = raw.recv();
            assert_eq!((opcode, &told[..2]), (CLOSE, &code.to_be_bytes()[..]), "{first:02x}");
            assert!(raw.rest().is_empty());
        }
    }
}

/// MQTT 5: [MQTT-6.0.0-2]
/// MQTT 3.1.1: [MQTT-6.0.0-2]
#[test]
fn packets_need_not_be_aligned_on_frames() {
    let gateway = gateway();
    for level in BOTH {
        let mut raw = Raw::upgraded(&gateway);
        let publish = |id| Publish::new("ws/a", 1, id, b"x").bytes(level);
        let all =
            [Connect::new(level, &unique()).bytes(), publish(1), publish(2), PINGREQ.to_vec()]
                .concat();
        // Two frames cut at every byte; one for each byte; one message of many frames; all in one.
        for cut in [1, all.len() / 3, all.len() - 1] {
            let (front, back) = all.split_at(cut);
            raw.frame(BINARY, front);
            raw.frame(BINARY, back);
            is_answered(&mut raw);
            raw = Raw::upgraded(&gateway);
        }
        for byte in &all {
            raw.frame(BINARY, &[*byte]);
        }
        is_answered(&mut raw);
        let mut raw = Raw::upgraded(&gateway);
        let (last, first) = all.split_last().expect("bytes");
        raw.frame(BEGINS, &[]);
        for byte in first {
            raw.frame(0, &[*byte]);
        }
        raw.frame(CONTINUES, &[*last]);
        is_answered(&mut raw);
        let mut raw = Raw::upgraded(&gateway);
        raw.frame(BINARY, &all);
        is_answered(&mut raw);
    }
}

/// CONNACK, two PUBACKs and PINGRESP have come.
#[track_caller]
fn is_answered(raw: &mut Raw) {
    let (opcode, connack) = raw.recv();
    assert_eq!((opcode, connack[0]), (BINARY, 0x20), "{connack:02x?}");
    let length = usize::from(connack[1]) + 2;
    let mut rest = connack.get(length..).unwrap_or_default().to_vec();
    if rest.len() < 10 {
        rest.extend(bytes(raw, 10 - rest.len()));
    }
    // PINGRESP waits for nothing, so it may come before what waits for a commit.
    let mut packets: Vec<&[u8]> = Vec::new();
    let mut left = rest.as_slice();
    while let [_, length, ..] = left {
        let (packet, behind) = left.split_at(usize::from(*length) + 2);
        packets.push(packet);
        left = behind;
    }
    packets.sort_unstable();
    assert_eq!(packets, [&ack(PUBACK, 1)[..], &ack(PUBACK, 2), &PINGRESP]);
}

/// MQTT 5: [MQTT-6.0.0-4]
/// MQTT 3.1.1: [MQTT-6.0.0-4]
#[test]
fn the_server_selects_the_subprotocol_mqtt() {
    let gateway = gateway();
    for offered in ["mqtt", "chat, mqtt", "mqttv3.1, mqtt"] {
        let mut raw = Raw::open(&gateway);
        let offer = [("Sec-WebSocket-Protocol", offered)];
        raw.send(crate::transport::websocket::request("/mqtt", &offer).as_bytes());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{offered}: {head}");
        assert!(head.contains("\r\nsec-websocket-protocol: mqtt\r\n"), "{offered}: {head}");
    }
}
