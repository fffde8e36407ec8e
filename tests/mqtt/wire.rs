//! Packets as bytes, and a client that speaks them over a socket.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

use super::V4;
use super::V5;
use crate::live::Gateway;
use crate::live::PATIENCE;

pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const PINGRESP: [u8; 2] = [0xd0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];
pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;

/// Properties by their identifiers.
pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
pub(super) const CONTENT_TYPE: u8 = 0x03;
pub(super) const RESPONSE_TOPIC: u8 = 0x08;
pub(super) const CORRELATION_DATA: u8 = 0x09;
pub(super) const SUBSCRIPTION_ID: u8 = 0x0b;
pub(super) const SESSION_EXPIRY: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(super) const RESPONSE_INFORMATION: u8 = 0x1a;
pub(super) const REASON_STRING: u8 = 0x1f;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(super) const TOPIC_ALIAS: u8 = 0x23;
pub(super) const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// A string or binary field with its length.
pub(super) fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len()).expect("a field").to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

/// A variable byte integer.
pub(super) fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value % 128).expect("seven bits");
        value /= 128;
        out.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return out;
        }
    }
}

/// A packet with its fixed header.
pub(super) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &varint(body.len())[..], body].concat()
}

/// A section of properties, for MQTT 5 only.
fn section(level: u8, properties: &[u8]) -> Vec<u8> {
    if level == V5 { [varint(properties.len()), properties.to_vec()].concat() } else { Vec::new() }
}

/// A property that is a string or binary data.
pub(super) fn text(id: u8, value: &[u8]) -> Vec<u8> {
    [vec![id], field(value)].concat()
}

/// A property of two bytes.
pub(super) fn two(id: u8, value: u16) -> Vec<u8> {
    [&[id], &value.to_be_bytes()[..]].concat()
}

/// A property of four bytes.
pub(super) fn four(id: u8, value: u32) -> Vec<u8> {
    [&[id], &value.to_be_bytes()[..]].concat()
}

/// A User Property.
pub(super) fn pair(name: &str, value: &str) -> Vec<u8> {
    [vec![USER_PROPERTY], field(name.as_bytes()), field(value.as_bytes())].concat()
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: Vec<u8>,
}

impl Will {
    pub(super) fn new(topic: &str) -> Will {
        let topic = topic.to_owned();
        Will { topic, payload: b"gone".to_vec(), qos: 0, retain: false, properties: Vec::new() }
    }
}

/// A CONNECT to be made.
#[derive(Clone, Debug)]
pub(super) struct Connect {
    pub(super) level: u8,
    pub(super) id: String,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) properties: Vec<u8>,
    pub(super) will: Option<Will>,
    pub(super) user: Option<Vec<u8>>,
    pub(super) password: Option<Vec<u8>>,
}

impl Connect {
    /// Clean, without a keep-alive.
    pub(super) fn new(level: u8, id: &str) -> Connect {
        Connect {
            level,
            id: id.to_owned(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user: None,
            password: None,
        }
    }

    /// With a session that lasts, for a minute in MQTT 5.
    pub(super) fn lasting(level: u8, id: &str) -> Connect {
        let connect = Connect { clean: false, ..Connect::new(level, id) };
        if level == V5 { connect.with(&four(SESSION_EXPIRY, 60)) } else { connect }
    }

    pub(super) fn with(mut self, property: &[u8]) -> Connect {
        self.properties.extend(property);
        self
    }

    pub(super) fn will(self, will: Will) -> Connect {
        Connect { will: Some(will), ..self }
    }

    pub(super) fn flags(&self) -> u8 {
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5));
        (u8::from(self.user.is_some()) << 7)
            | (u8::from(self.password.is_some()) << 6)
            | will
            | (u8::from(self.clean) << 1)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes_with_flags(self.flags())
    }

    /// With other flags than those that fit.
    pub(super) fn bytes_with_flags(&self, flags: u8) -> Vec<u8> {
        let mut body = field(b"MQTT");
        body.extend([self.level, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(section(self.level, &self.properties));
        body.extend(field(self.id.as_bytes()));
        if let Some(will) = &self.will {
            body.extend(section(self.level, &will.properties));
            body.extend(field(will.topic.as_bytes()));
            body.extend(field(&will.payload));
        }
        for bytes in self.user.iter().chain(&self.password) {
            body.extend(field(bytes));
        }
        frame(0x10, &body)
    }
}

/// A PUBLISH, to be made or as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) topic: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    /// 0 with QoS 0.
    pub(super) id: u16,
    /// In their order, with their values as they stand in the packet.
    pub(super) properties: Vec<(u8, Vec<u8>)>,
}

impl Publish {
    pub(super) fn new(topic: &str, qos: u8, id: u16, payload: &[u8]) -> Publish {
        Publish {
            topic: topic.as_bytes().to_vec(),
            payload: payload.to_vec(),
            qos,
            retain: false,
            dup: false,
            id,
            properties: Vec::new(),
        }
    }

    pub(super) fn retained(self) -> Publish {
        Publish { retain: true, ..self }
    }

    pub(super) fn again(self) -> Publish {
        Publish { dup: true, ..self }
    }

    /// With a property as its bytes.
    pub(super) fn with(mut self, property: &[u8]) -> Publish {
        self.properties.push((property[0], property[1..].to_vec()));
        self
    }

    pub(super) fn bytes(&self, level: u8) -> Vec<u8> {
        let mut body = field(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        let properties: Vec<u8> =
            self.properties.iter().flat_map(|(id, value)| [&[*id], &value[..]].concat()).collect();
        body.extend(section(level, &properties));
        body.extend(&self.payload);
        let flags = (u8::from(self.dup) << 3) | (self.qos << 1) | u8::from(self.retain);
        frame(0x30 | flags, &body)
    }

    /// The values of one property.
    pub(super) fn all(&self, id: u8) -> Vec<&[u8]> {
        self.properties.iter().filter(|(i, _)| *i == id).map(|(_, v)| v.as_slice()).collect()
    }

    pub(super) fn read(packet: &[u8], level: u8) -> Publish {
        let (first, body) = split(packet);
        let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, mut rest) = body[2..].split_at(topic_len);
        let qos = (first >> 1) & 3;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = Vec::new();
        if level == V5 {
            let (found, behind) = properties_of(rest);
            (properties, rest) = (found, behind);
        }
        Publish {
            topic: topic.to_vec(),
            payload: rest.to_vec(),
            qos,
            retain: first & 1 != 0,
            dup: first & 8 != 0,
            id,
            properties,
        }
    }
}

/// The first byte of a packet, and what comes after its fixed header.
pub(super) fn split(packet: &[u8]) -> (u8, &[u8]) {
    let length = packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    (packet[0], &packet[1 + length..])
}

/// The properties at the front of `bytes`, and what is behind them.
pub(super) fn properties_of(bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, &[u8]) {
    let (length, used) = read_varint(bytes);
    let (mut section, behind) = bytes[used..].split_at(length);
    let mut found = Vec::new();
    while let Some((id, value)) = section.split_first() {
        let string = |at: usize| 2 + usize::from(u16::from_be_bytes([value[at], value[at + 1]]));
        let length = match *id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x21 | 0x22 | 0x23 => 2,
            0x02 | 0x11 | 0x18 | 0x27 => 4,
            0x0b => read_varint(value).1,
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => string(0),
            0x26 => string(0) + string(string(0)),
            other => panic!("there is no property {other:#x}: {section:02x?}"),
        };
        let (value, rest) = value.split_at(length);
        found.push((*id, value.to_vec()));
        section = rest;
    }
    (found, behind)
}

fn read_varint(bytes: &[u8]) -> (usize, usize) {
    let used = bytes.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let value =
        bytes[..used].iter().rev().fold(0, |value, byte| value * 128 + usize::from(byte & 0x7f));
    (value, used)
}

/// SUBSCRIBE of filters with their options.
pub(super) fn subscribe(level: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(level, id, &[], filters)
}

/// The same with properties.
pub(super) fn subscribe_with(
    level: u8,
    id: u16,
    properties: &[u8],
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(section(level, properties));
    for (filter, options) in filters {
        body.extend(field(filter.as_bytes()));
        body.push(*options);
    }
    frame(0x82, &body)
}

pub(super) fn unsubscribe(level: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(section(level, &[]));
    for filter in filters {
        body.extend(field(filter.as_bytes()));
    }
    frame(0xa2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP that says success.
pub(super) fn ack(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

/// The same of MQTT 5 with a reason.
pub(super) fn ack_because(first: u8, id: u16, reason: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    frame(first, &[high, low, reason])
}

/// Packet identifier, reason and properties of an acknowledgement of MQTT 5.
pub(super) fn verdict(packet: &[u8]) -> (u16, u8, Vec<(u8, Vec<u8>)>) {
    let (_, body) = split(packet);
    let id = u16::from_be_bytes([body[0], body[1]]);
    let properties = if body.len() > 3 { properties_of(&body[3..]).0 } else { Vec::new() };
    (id, body.get(2).copied().unwrap_or(0), properties)
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
    pub(super) level: u8,
    pub(super) id: String,
    /// What CONNACK said.
    pub(super) session_present: bool,
    pub(super) welcome: Vec<(u8, Vec<u8>)>,
}

impl Client {
    /// A socket on which nothing was said yet.
    pub(super) fn open(gateway: &Gateway, level: u8) -> Client {
        let socket = TcpStream::connect(gateway.mqtt).expect("the listener accepts");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("a TCP socket");
        Client {
            socket,
            unread: Vec::new(),
            level,
            id: String::new(),
            session_present: false,
            welcome: Vec::new(),
        }
    }

    /// A client that was let in.
    #[track_caller]
    pub(super) fn connect(gateway: &Gateway, connect: &Connect) -> Client {
        let mut client = Client::open(gateway, connect.level);
        client.id.clone_from(&connect.id);
        client.send(&connect.bytes());
        client.welcomed();
        client
    }

    /// Reads the CONNACK that lets the client in.
    #[track_caller]
    pub(super) fn welcomed(&mut self) {
        let connack = self.recv();
        assert!(!connack.is_empty(), "closed without CONNACK");
        let (first, body) = split(&connack);
        assert_eq!((first, body[1]), (0x20, 0), "let in: {connack:02x?}");
        assert!(body[0] < 2, "the reserved flags of CONNACK are 0: {connack:02x?}");
        self.session_present = body[0] == 1;
        if self.level == V5 {
            self.welcome = properties_of(&body[2..]).0;
        } else {
            assert_eq!(body.len(), 2, "{connack:02x?}");
        }
    }

    /// The value of a property of CONNACK.
    pub(super) fn told(&self, id: u8) -> Option<&[u8]> {
        self.welcome.iter().find(|(i, _)| *i == id).map(|(_, value)| value.as_slice())
    }

    #[track_caller]
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the gateway reads");
    }

    /// Sends what the gateway may well not read to its end.
    pub(super) fn try_send(&mut self, bytes: &[u8]) {
        drop(self.socket.write_all(bytes));
    }

    /// Ends the connection without a word.
    pub(super) fn vanish(self) {
        drop(self.socket);
    }

    /// DISCONNECT, and waits until the gateway has taken note of it.
    #[track_caller]
    pub(super) fn leave(mut self) {
        self.send(&DISCONNECT);
        self.expect_end();
    }

    /// The next packet; empty when the connection has ended.
    #[track_caller]
    pub(super) fn recv(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = whole(&self.unread) {
                let rest = self.unread.split_off(length);
                return std::mem::replace(&mut self.unread, rest);
            }
            let mut bytes = [0; 16 * 1024];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Vec::new(),
                Ok(n) => self.unread.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("no packet within {PATIENCE:?}; unread: {:02x?}", self.unread)
                }
                Err(_) => return Vec::new(),
            }
        }
    }

    #[track_caller]
    pub(super) fn expect(&mut self, packet: &[u8]) {
        assert_eq!(self.recv(), packet, "{} hears", self.id);
    }

    /// The next packet is a message.
    #[track_caller]
    pub(super) fn message(&mut self) -> Publish {
        let packet = self.recv();
        assert_eq!(packet.first().map(|first| first >> 4), Some(3), "a PUBLISH: {packet:02x?}");
        Publish::read(&packet, self.level)
    }

    /// The next packet is this message; packet identifier and properties are left out of the comparison.
    #[track_caller]
    pub(super) fn hears(&mut self, expected: &Publish) -> Publish {
        let found = self.message();
        let bare = |message: &Publish| Publish { id: 0, properties: Vec::new(), ..message.clone() };
        assert_eq!(bare(&found), bare(expected), "{} hears", self.id);
        assert_eq!(found.qos == 0, found.id == 0, "an identifier with QoS 1 and 2 only: {found:?}");
        found
    }

    /// The connection has ended.
    #[track_caller]
    pub(super) fn expect_end(&mut self) {
        assert_eq!(self.recv(), Vec::<u8>::new(), "{}: the connection has ended", self.id);
    }

    /// The gateway ends the connection: with DISCONNECT and this reason for MQTT 5, silently before.
    #[track_caller]
    pub(super) fn expect_cut(&mut self, reason: u8) {
        if self.level == V5 {
            let packet = self.recv();
            assert_eq!(packet.first(), Some(&0xe0), "DISCONNECT: {packet:02x?}");
            let (_, body) = split(&packet);
            assert_eq!(body[0], reason, "reason {:#x}, not {reason:#x}: {packet:02x?}", body[0]);
            if body.len() > 1 {
                let (properties, _) = properties_of(&body[1..]);
                assert!(
                    properties.iter().all(|(id, _)| *id == REASON_STRING),
                    "what a server may say: {properties:02x?}"
                );
            }
        }
        self.expect_end();
    }

    /// Subscribes, and sees the QoS granted that was asked for.
    #[track_caller]
    pub(super) fn subscribe(&mut self, filter: &str, options: u8) {
        self.subscribe_with(&[], filter, options);
    }

    #[track_caller]
    pub(super) fn subscribe_with(&mut self, properties: &[u8], filter: &str, options: u8) {
        self.send(&subscribe_with(self.level, 0x5b5b, properties, &[(filter, options)]));
        let suback = self.recv();
        let (first, body) = split(&suback);
        assert_eq!((first, &body[..2]), (0x90, &[0x5b, 0x5b][..]), "SUBACK: {suback:02x?}");
        assert_eq!(body.last(), Some(&(options & 3)), "{filter} is granted: {suback:02x?}");
    }

    /// Publishes, and goes through with its acknowledgements.
    #[track_caller]
    pub(super) fn publish(&mut self, message: &Publish) {
        self.send(&message.bytes(self.level));
        match message.qos {
            0 => {}
            1 => self.expect_ack(PUBACK, message.id),
            _ => {
                self.expect_ack(PUBREC, message.id);
                self.send(&ack(PUBREL, message.id));
                self.expect_ack(PUBCOMP, message.id);
            }
        }
    }

    #[track_caller]
    pub(super) fn expect_ack(&mut self, first: u8, id: u16) {
        self.expect(&ack(first, id));
    }

    /// The gateway has handled everything that was sent so far.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        self.send(&PINGREQ);
        self.expect(&PINGRESP);
    }

    /// The retained messages that a new subscription gets: what comes before a message of its own.
    #[track_caller]
    pub(super) fn retained(&mut self, filter: &str) -> Vec<Publish> {
        let end = format!("end/{}", self.id);
        self.send(&subscribe(self.level, 1, &[(filter, 0), (&end, 0)]));
        assert!(self.recv().ends_with(&[0, 0]), "{filter} is granted");
        self.publish(&Publish::new(&end, 0, 0, b"end"));
        let mut found = Vec::new();
        loop {
            let message = self.message();
            if message.topic == end.as_bytes() {
                return found;
            }
            found.extend(Some(message).filter(|message| message.retain));
        }
    }

    /// Nothing else is on its way to this client: a message that it sends itself now comes next.
    #[track_caller]
    pub(super) fn expect_nothing(&mut self) {
        let topic = format!("end/{}", self.id);
        self.subscribe(&topic, 0);
        let end = Publish::new(&topic, 0, 0, b"end");
        self.publish(&end);
        self.hears(&end);
        self.send(&unsubscribe(self.level, 0x5c5c, &[&topic]));
        assert_eq!(self.recv().first(), Some(&0xb0), "UNSUBACK");
    }
}

/// The length of the packet at the front, if it is all there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let header = bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0)?;
    let (length, used) = read_varint(&bytes[1..header + 2]);
    (bytes.len() > length + used).then_some(1 + used + length)
}

/// The reason code or return code of the CONNACK that refuses `connect`, whose connection then ends;
/// `None` when there is no CONNACK.
#[track_caller]
pub(super) fn refusal(gateway: &Gateway, level: u8, connect: &[u8]) -> Option<u8> {
    let mut client = Client::open(gateway, level);
    client.try_send(connect);
    let packet = client.recv();
    if packet.is_empty() {
        return None;
    }
    let (first, body) = split(&packet);
    assert_eq!((first, body[0]), (0x20, 0), "CONNACK without a session: {packet:02x?}");
    assert_eq!(body.len() == 2, level == V4, "{packet:02x?}");
    assert_ne!(body[1], 0, "it is refused: {packet:02x?}");
    client.expect_end();
    Some(body[1])
}
