use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use proptest::prelude::*;
use rumqttd::protocol::Packet;
use rumqttd::protocol::Protocol;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;

use super::Kind;
use super::Version;
use super::Violation;
use super::ack;
use super::ack::Ack;
use super::answer;
use super::answer::Granted;
use super::answer::Refusal;
use super::answer::Terms;
use super::codec;
use super::codec::ConnectRefusal;
use super::codec::Request;
use super::fields::Fields;
use super::fields::put_varint;
use super::fields::varint_len;
use super::frame::Header;
use super::frame::parse_header;
use super::publish;
use super::publish::Outgoing;
use crate::publish::PublishProperties;
use crate::publish::QoS;

const MAX: usize = 1 << 20;

fn header(frame: &[u8]) -> Header {
    parse_header(frame, MAX).unwrap().expect("a whole header")
}

/// Everything a connection does with a frame, whatever is in it.
fn read_any(frame: &Bytes, version: Version) -> Result<(), Violation> {
    let Some(header) = parse_header(frame, MAX)? else { return Ok(()) };
    if frame.len() < header.frame_len() {
        return Ok(());
    }
    let frame = frame.slice(..header.frame_len());
    let body = &frame[header.header_len..];
    match header.kind {
        Kind::Publish => publish::read(header, &frame, version).map(|_| ()),
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => {
            ack::read(header.kind, body, version).map(|_| ())
        }
        Kind::Connect => match codec::read_connect(header, &frame) {
            Ok(_) | Err(ConnectRefusal::Level(_)) => Ok(()),
            Err(ConnectRefusal::Violation(_, v)) => Err(v),
        },
        _ => codec::read_request(header, &frame, version).map(|_| ()),
    }
}

#[track_caller]
fn refused(frame: &[u8], version: Version, reason: u8) {
    let frame = Bytes::copy_from_slice(frame);
    let got = read_any(&frame, version).expect_err("the packet is wrong");
    assert_eq!(got.reason_code(), reason, "{got}");
}

#[test]
fn fixed_header_is_refused_before_the_rest_arrives() {
    refused(&[0x00, 0], Version::V311, 0x81);
    refused(&[0x36, 0], Version::V311, 0x81);
    refused(&[0x38, 0], Version::V311, 0x81);
    refused(&[0x80, 0], Version::V311, 0x81);
    refused(&[0x60, 2, 0, 1], Version::V5, 0x81);
    refused(&[0x20, 2, 0, 0], Version::V5, 0x82);
    refused(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], Version::V5, 0x81);
    refused(&[0x30, 0x80, 0x00], Version::V5, 0x81);
    refused(&[0x30, 0xff, 0xff, 0x7f], Version::V5, 0x95);
}

#[test]
fn wrong_fields_are_refused_with_their_reason() {
    let v5 = Version::V5;
    // Packet identifier 0 in PUBLISH, PUBACK, SUBSCRIBE.
    refused(&[0x32, 6, 0, 1, b'a', 0, 0, 0], v5, 0x82);
    refused(&[0x40, 2, 0, 0], v5, 0x82);
    refused(&[0x82, 6, 0, 0, 0, 0, 0, 0], v5, 0x82);
    // Topic alias 0, twice the same property, a property of another packet, an unknown one.
    refused(&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 0], v5, 0x94);
    refused(&[0x30, 8, 0, 1, b'a', 4, 0x01, 0, 0x01, 0], v5, 0x82);
    refused(&[0x30, 9, 0, 1, b'a', 5, 0x11, 0, 0, 0, 1], v5, 0x81);
    refused(&[0x30, 6, 0, 1, b'a', 2, 0x7f, 0], v5, 0x81);
    // Subscription identifier 0, and one in a client's PUBLISH.
    refused(&[0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, b'a', 0], v5, 0x82);
    refused(&[0x30, 6, 0, 1, b'a', 2, 0x0b, 1], v5, 0x81);
    // Payload format 2, property length past the end.
    refused(&[0x30, 6, 0, 1, b'a', 2, 0x01, 2], v5, 0x82);
    refused(&[0x30, 4, 0, 1, b'a', 9], v5, 0x81);
    // Reserved options, QoS 3, retain handling 3, No Local on a shared subscription.
    refused(&[0x82, 6, 0, 1, 0, 1, b'a', 4], Version::V311, 0x81);
    refused(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x40], v5, 0x81);
    refused(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 3], v5, 0x82);
    refused(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], v5, 0x82);
    refused(
        &[0x82, 16, 0, 1, 0, 0, 10, b'$', b's', b'h', b'a', b'r', b'e', b'/', b'g', b'/', b'a', 4],
        v5,
        0x82,
    );
    // No filter, a filter that is not UTF-8, one with NUL.
    refused(&[0x82, 3, 0, 1, 0], v5, 0x82);
    refused(&[0xa2, 3, 0, 1, 0], v5, 0x82);
    refused(&[0x82, 7, 0, 1, 0, 0, 1, 0xff, 0], v5, 0x81);
    refused(&[0x82, 7, 0, 1, 0, 0, 1, 0, 0], v5, 0x81);
    // Bytes behind the last field; an unknown reason.
    refused(&[0x40, 3, 0, 1, 0], Version::V311, 0x81);
    refused(&[0xe0, 1, 0], Version::V311, 0x81);
    refused(&[0x40, 3, 0, 1, 0x05], v5, 0x81);
    refused(&[0xe0, 1, 0x8e], v5, 0x82);
    refused(&[0xf0, 0], v5, 0x82);
}

#[test]
fn disconnect_may_end_after_its_reason() {
    let frame = Bytes::from_static(&[0xe0, 1, 4]);
    assert_eq!(
        codec::read_request(header(&frame), &frame, Version::V5),
        Ok(Request::Disconnect { with_will: true, session_expiry: None })
    );
}

#[test]
fn connect_passwords_may_be_any_bytes() {
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c\0\x02id\0\x02me\0\x02".to_vec();
    body.extend([0xff, 0xfe]);
    let mut frame = vec![0x10, u8::try_from(body.len()).unwrap()];
    frame.extend(body);
    let frame = Bytes::from(frame);
    let connect = codec::read_connect(header(&frame), &frame).unwrap();
    assert_eq!((connect.client_id.as_str(), connect.user_name.as_deref()), ("id", Some("me")));
    assert_eq!((connect.keep_alive, connect.clean_start), (60, true));
}

#[test]
fn connect_of_another_level_is_told_apart_from_a_broken_one() {
    let level = |bytes: &'static [u8]| {
        let frame = Bytes::from_static(bytes);
        codec::read_connect(header(&frame), &frame).expect_err("refused")
    };
    assert_eq!(level(b"\x10\x0c\0\x06MQIsdp\x03\x02\0\x3c"), ConnectRefusal::Level(3));
    assert_eq!(level(b"\x10\x0a\0\x04MQTT\x06\x02\0\x3c"), ConnectRefusal::Level(6));
    assert!(matches!(
        level(b"\x10\x0c\0\x04MQTT\x04\x03\0\x3c\0\0"),
        ConnectRefusal::Violation(Version::V311, Violation::Malformed(_))
    ));
    assert!(matches!(
        level(b"\x10\x0c\0\x04MQTT\x04\x3a\0\x3c\0\0"),
        ConnectRefusal::Violation(Version::V311, Violation::Malformed(_))
    ));
}

/// As long as the client takes, and as told as that allows.
#[test]
fn reasons_are_given_where_they_are_wanted_and_fit() {
    let terms = |packet_bytes_max, problem_information| Terms {
        version: Version::V5,
        packet_bytes_max,
        problem_information,
    };
    let refused = Ack { packet_id: 7, reason: ack::NOT_AUTHORIZED };
    let written = |terms| {
        let (mut puback, mut suback) = (BytesMut::new(), BytesMut::new());
        let (mut disconnect, mut connack) = (BytesMut::new(), BytesMut::new());
        ack::write(Kind::PubAck, refused, terms, &mut puback);
        answer::write_suback(7, &[Granted::Quota], terms, &mut suback).expect("it fits");
        answer::write_disconnect(0x82, "protocol error", terms, &mut disconnect);
        answer::write_refusal(Refusal::Quota, terms, &mut connack);
        [puback, suback, disconnect, connack].map(|packet| packet.len())
    };
    let [puback, suback, disconnect, connack] = written(terms(1000, true));
    assert!(puback > 30 && suback > 30 && connack > 30, "{puback} {suback} {connack}");
    assert_eq!(disconnect, 3 + 1 + 3 + 14);
    assert_eq!(written(terms(1000, false)), [5, 6, disconnect, connack]);
    assert_eq!(written(terms(disconnect, true)), [5, 6, disconnect, 5]);
    assert_eq!(written(terms(disconnect - 1, true)), [5, 6, 3, 5]);
    let mut out = BytesMut::new();
    let many = [Granted::QoS(QoS::AtMostOnce); 10];
    assert!(answer::write_suback(7, &many, terms(14, true), &mut out).is_err());
    assert!(answer::write_unsuback(7, &[true; 10], terms(14, true), &mut out).is_err());
    assert!(out.is_empty());
}

/// Read, or refused with a reason that a DISCONNECT can carry.
fn is_verdict(result: Result<(), Violation>) -> bool {
    result.map_or_else(|violation| violation.reason_code() >= 0x80, |()| true)
}

fn text() -> impl Strategy<Value = String> {
    "[a-zä/]{1,12}"
}

fn properties() -> impl Strategy<Value = PublishProperties> {
    (
        proptest::option::of(0_u8..2),
        proptest::option::of(any::<u32>()),
        proptest::option::of(text()),
        proptest::option::of(text()),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        proptest::collection::vec((text(), text()), 0..3),
    )
        .prop_map(
            |(payload_format, message_expiry, content_type, response_topic, data, pairs)| {
                PublishProperties {
                    payload_format,
                    message_expiry,
                    content_type,
                    response_topic,
                    correlation_data: data.map(Bytes::from),
                    user_properties: pairs,
                }
            },
        )
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(
        first in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..60),
        v5 in any::<bool>(),
    ) {
        let mut frame = BytesMut::from(&[first][..]);
        put_varint(&mut frame, body.len());
        frame.put_slice(&body);
        let version = if v5 { Version::V5 } else { Version::V311 };
        prop_assert!(is_verdict(read_any(&frame.freeze(), version)));
        prop_assert!(is_verdict(parse_header(&body, MAX).map(|_| ())));
    }

    #[test]
    fn a_changed_byte_of_a_good_connect_never_panics(at in 0_usize..60, to in any::<u8>()) {
        let mut frame = b"\x10\x37\0\x04MQTT\x05\xee\0\x3c\x05\x11\0\0\0\x09\0\x02id\x0a\x18\0\0\0\x01\x02\0\0\0\x05\0\x03w/t\0\x03bye\0\x02me\0\x02pw\0\0\0\0\0\0".to_vec();
        frame.truncate(57);
        if let Some(byte) = frame.get_mut(at) {
            *byte = to;
        }
        prop_assert!(is_verdict(read_any(&Bytes::from(frame), Version::V5)));
    }

    #[test]
    fn publish_survives_the_round_trip_and_rumqttd_reads_the_same(
        topic in text(),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        qos in 0_u8..3,
        retain in any::<bool>(),
        dup in any::<bool>(),
        packet_id in 1_u16..,
        found in properties(),
        v5 in any::<bool>(),
    ) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        let qos = QoS::from_bits(qos).unwrap();
        let common = publish::encode_properties(&found);
        let outgoing = Outgoing {
            dup: dup && qos != QoS::AtMostOnce,
            qos,
            retain,
            packet_id,
            topic: &topic,
            alias: None,
            properties: &common,
            expiry: found.message_expiry,
            subscription_ids: &[],
            payload: &payload,
        };
        let mut out = BytesMut::new();
        outgoing.write(version, &mut out);
        prop_assert_eq!(out.len(), outgoing.frame_len(version));
        let read = publish::read(header(&out), &out, version).unwrap();
        prop_assert_eq!(read.topic, topic.as_bytes());
        prop_assert_eq!(&out[read.payload.clone()], payload.as_slice());
        prop_assert_eq!((read.qos, read.retain, read.dup), (qos, retain, outgoing.dup));
        prop_assert_eq!(read.packet_id, if qos == QoS::AtMostOnce { 0 } else { packet_id });
        let expected = (v5 && found != PublishProperties::default()).then_some(found.clone());
        prop_assert_eq!(read.properties, expected);

        let mut copy = out.clone();
        let theirs = match version {
            Version::V311 => V4.read_mut(&mut copy, MAX),
            Version::V5 => V5.read_mut(&mut copy, MAX),
        };
        let Ok(Packet::Publish(theirs, their_properties)) = theirs else {
            return Err(TestCaseError::fail("rumqttd does not read it as a PUBLISH"));
        };
        prop_assert_eq!(&theirs.topic[..], topic.as_bytes());
        prop_assert_eq!(&theirs.payload[..], payload.as_slice());
        let mut back = BytesMut::new();
        let packet = Packet::Publish(theirs, their_properties);
        match version {
            Version::V311 => V4.write(packet, &mut back).unwrap(),
            Version::V5 => V5.write(packet, &mut back).unwrap(),
        };
        let again = publish::read(header(&back), &back, version).unwrap();
        let first = publish::read(header(&out), &out, version).unwrap();
        prop_assert_eq!(again.properties, first.properties);
        prop_assert_eq!(again.packet_id, first.packet_id);
    }

    #[test]
    fn acks_survive_the_round_trip(kind in 4_u8..8, packet_id in 1_u16.., v5 in any::<bool>()) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        let kind = Kind::from_bits(kind).unwrap();
        let reason = match kind {
            _ if !v5 => ack::SUCCESS,
            Kind::PubRel | Kind::PubComp => ack::PACKET_ID_NOT_FOUND,
            _ => ack::PAYLOAD_FORMAT_INVALID,
        };
        let mut out = BytesMut::new();
        ack::write(kind, Ack { packet_id, reason }, Terms::unbounded(version), &mut out);
        let header = header(&out);
        prop_assert_eq!((header.kind, header.frame_len()), (kind, out.len()));
        let read = ack::read(kind, &out[header.header_len..], version);
        prop_assert_eq!(read, Ok(Ack { packet_id, reason }));
    }

    #[test]
    fn varints_survive_the_round_trip(value in 0_usize..=super::fields::VARINT_MAX) {
        let mut out = BytesMut::new();
        put_varint(&mut out, value);
        prop_assert_eq!(out.len(), varint_len(value));
        prop_assert_eq!(Fields::new(&out).varint().map(|v| v as usize), Ok(value));
    }
}
