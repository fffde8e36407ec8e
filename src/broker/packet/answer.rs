//! What only a server says: CONNACK, SUBACK, UNSUBACK, DISCONNECT; and what a client takes of it.
//!
//! MQTT 5 lets a server say why it refuses (Reason String), where the client wants to know and its
//! Maximum Packet Size has room. [`Terms`] keeps both.

use bytes::BufMut;
use bytes::BytesMut;

use super::Version;
use super::Violation;
use super::fields::VARINT_MAX;
use super::fields::put_bytes;
use super::fields::put_varint;
use super::fields::varint_len;
use super::property;
use crate::publish::QoS;

/// What a client takes of a server (MQTT 5, sections 3.1.2.11.4 and 3.1.2.11.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) version: Version,
    /// The largest packet.
    pub(crate) packet_bytes_max: usize,
    /// Whether reasons may be given in other packets than CONNACK and DISCONNECT.
    pub(crate) problem_information: bool,
}

impl Terms {
    /// Of a client that set no bounds, or whose CONNECT could not be read.
    pub(crate) fn unbounded(version: Version) -> Terms {
        Terms { version, packet_bytes_max: VARINT_MAX, problem_information: true }
    }

    /// Properties with a Reason String if a packet with `rest` other bytes of its remaining length has
    /// room for it; with none otherwise.
    fn reason_string(self, rest: usize, why: Option<&str>) -> BytesMut {
        let mut properties = BytesMut::new();
        if let Some(why) = why.filter(|why| why.len() <= usize::from(u16::MAX)) {
            let length = 3 + why.len();
            let remaining = rest + varint_len(length) + length;
            if 1 + varint_len(remaining) + remaining <= self.packet_bytes_max {
                properties.put_u8(property::REASON_STRING);
                put_bytes(&mut properties, why.as_bytes());
            }
        }
        properties
    }

    /// The same for a packet that has it only where problem information is wanted.
    pub(super) fn problem_string(self, rest: usize, why: Option<&str>) -> BytesMut {
        self.reason_string(rest, why.filter(|_| self.problem_information))
    }
}

/// Outcome of a CONNECT that is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Violation(Violation),
    Version,
    ClientId,
    Authentication,
    /// Wrong user name or password.
    Credentials,
    NotAuthorized,
    /// Too many attempts.
    Rate,
    /// CONNACK is larger than the client's Maximum Packet Size.
    TooLarge,
    Busy,
    Quota,
    ShuttingDown,
}

impl Refusal {
    /// The CONNACK's reason code (MQTT 5, section 3.2.2.2).
    fn reason_code(self) -> u8 {
        match self {
            Refusal::Violation(violation) => violation.reason_code(),
            Refusal::Version => 0x84,
            Refusal::ClientId => 0x85,
            Refusal::Authentication => 0x8c,
            Refusal::Credentials => 0x86,
            Refusal::NotAuthorized => 0x87,
            Refusal::Rate => 0x9f,
            Refusal::TooLarge => 0x95,
            Refusal::Busy => 0x89,
            Refusal::Quota => 0x97,
            Refusal::ShuttingDown => 0x88,
        }
    }

    /// The CONNACK's return code (MQTT 3.1.1, section 3.2.2.3); `None` for what it has no code for: then
    /// the connection is closed without a word.
    fn return_code(self) -> Option<u8> {
        match self {
            Refusal::Violation(_) | Refusal::TooLarge => None,
            Refusal::Version => Some(1),
            Refusal::ClientId => Some(2),
            Refusal::Rate | Refusal::Busy | Refusal::Quota | Refusal::ShuttingDown => Some(3),
            Refusal::Credentials => Some(4),
            Refusal::Authentication | Refusal::NotAuthorized => Some(5),
        }
    }

    fn words(self) -> String {
        match self {
            Refusal::Violation(violation) => violation.to_string(),
            Refusal::Version => "the protocol versions here are 3.1.1 and 5".to_owned(),
            Refusal::ClientId => "the client identifier is not accepted".to_owned(),
            Refusal::Authentication => "enhanced authentication is not supported".to_owned(),
            // The same words whatever was wrong: an attacker learns nothing from them.
            Refusal::Credentials | Refusal::NotAuthorized => "not authorized".to_owned(),
            Refusal::Rate => "too many attempts".to_owned(),
            Refusal::TooLarge => "CONNACK exceeds the client's maximum packet size".to_owned(),
            Refusal::Busy => "the session is busy; try again".to_owned(),
            Refusal::Quota => "there is no room for another client".to_owned(),
            Refusal::ShuttingDown => "the gateway is shutting down".to_owned(),
        }
    }
}

/// What the server tells of itself in CONNACK; MQTT 5 only, but for `session_present`.
#[derive(Debug)]
pub(crate) struct Welcome<'a> {
    pub(crate) session_present: bool,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: u32,
    pub(crate) topic_alias_max: u16,
    pub(crate) assigned_client_id: Option<&'a str>,
    /// Seconds, when it is not what the client asked for.
    pub(crate) session_expiry: Option<u32>,
    /// Seconds, when it is not what the client asked for.
    pub(crate) keep_alive: Option<u16>,
}

/// Per-filter outcome of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    QoS(QoS),
    InvalidFilter,
    NotAuthorized,
    Quota,
}

impl Granted {
    fn code(self, version: Version) -> u8 {
        match (self, version) {
            (Granted::QoS(qos), _) => qos as u8,
            (_, Version::V311) => 0x80,
            (Granted::InvalidFilter, Version::V5) => 0x8f,
            (Granted::NotAuthorized, Version::V5) => 0x87,
            (Granted::Quota, Version::V5) => 0x97,
        }
    }

    fn words(self) -> Option<&'static str> {
        match self {
            Granted::QoS(_) => None,
            Granted::InvalidFilter => Some("not a topic filter"),
            Granted::NotAuthorized => Some("not authorized to subscribe to that"),
            Granted::Quota => Some("the session has as many subscriptions as it may have"),
        }
    }
}

/// An answer larger than the client's Maximum Packet Size; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoesNotFit;

/// Appends a CONNACK that lets the client in.
pub(crate) fn write_welcome(welcome: &Welcome<'_>, version: Version, out: &mut BytesMut) {
    let fixed = [u8::from(welcome.session_present), 0];
    if version == Version::V311 {
        return put_packet(0x20, &[&fixed], out);
    }
    let mut properties = BytesMut::new();
    if let Some(seconds) = welcome.session_expiry {
        properties.put_u8(property::SESSION_EXPIRY);
        properties.put_u32(seconds);
    }
    properties.put_u8(property::RECEIVE_MAXIMUM);
    properties.put_u16(welcome.receive_maximum);
    properties.put_u8(property::MAXIMUM_PACKET_SIZE);
    properties.put_u32(welcome.packet_bytes_max);
    properties.put_u8(property::TOPIC_ALIAS_MAXIMUM);
    properties.put_u16(welcome.topic_alias_max);
    if let Some(client_id) = welcome.assigned_client_id {
        properties.put_u8(property::ASSIGNED_CLIENT_ID);
        put_bytes(&mut properties, client_id.as_bytes());
    }
    if let Some(seconds) = welcome.keep_alive {
        properties.put_u8(property::SERVER_KEEP_ALIVE);
        properties.put_u16(seconds);
    }
    put_packet(0x20, &[&fixed, &section(properties)], out);
}

/// Appends a CONNACK that does not; nothing where 3.1.1 has no word for it, or the client no room.
pub(crate) fn write_refusal(refusal: Refusal, terms: Terms, out: &mut BytesMut) {
    match terms.version {
        Version::V311 => {
            if let Some(code) = refusal.return_code() {
                put_packet(0x20, &[&[0, code]], out);
            }
        }
        Version::V5 if terms.packet_bytes_max < 5 => {}
        Version::V5 => {
            let properties = terms.reason_string(2, Some(&refusal.words()));
            put_packet(0x20, &[&[0, refusal.reason_code()], &section(properties)], out);
        }
    }
}

/// Appends a SUBACK.
pub(crate) fn write_suback(
    packet_id: u16,
    granted: &[Granted],
    terms: Terms,
    out: &mut BytesMut,
) -> Result<(), DoesNotFit> {
    let codes: Vec<u8> = granted.iter().map(|one| one.code(terms.version)).collect();
    let why = granted.iter().find_map(|one| one.words());
    write_codes(0x90, packet_id, &codes, why, terms, out)
}

/// Appends an UNSUBACK; `found` says of each filter whether there was such a subscription.
pub(crate) fn write_unsuback(
    packet_id: u16,
    found: &[bool],
    terms: Terms,
    out: &mut BytesMut,
) -> Result<(), DoesNotFit> {
    let codes: Vec<u8> = match terms.version {
        Version::V311 => Vec::new(),
        Version::V5 => found.iter().map(|found| if *found { 0x00 } else { 0x11 }).collect(),
    };
    write_codes(0xb0, packet_id, &codes, None, terms, out)
}

fn write_codes(
    first: u8,
    packet_id: u16,
    codes: &[u8],
    why: Option<&str>,
    terms: Terms,
    out: &mut BytesMut,
) -> Result<(), DoesNotFit> {
    let rest = 2 + codes.len();
    let properties = match terms.version {
        Version::V311 => BytesMut::new(),
        Version::V5 => section(terms.problem_string(rest, why)),
    };
    let remaining = rest + properties.len();
    if 1 + varint_len(remaining) + remaining > terms.packet_bytes_max {
        return Err(DoesNotFit);
    }
    put_packet(first, &[&packet_id.to_be_bytes(), &properties, codes], out);
    Ok(())
}

/// Appends a DISCONNECT; only MQTT 5 servers send it.
pub(crate) fn write_disconnect(reason_code: u8, why: &str, terms: Terms, out: &mut BytesMut) {
    let properties = terms.reason_string(1, Some(why));
    if properties.is_empty() {
        put_packet(0xe0, &[&[reason_code]], out);
    } else {
        put_packet(0xe0, &[&[reason_code], &section(properties)], out);
    }
}

/// Properties with their length before them.
pub(super) fn section(properties: BytesMut) -> BytesMut {
    let mut section = BytesMut::with_capacity(properties.len() + 2);
    put_varint(&mut section, properties.len());
    section.put_slice(&properties);
    section
}

fn put_packet(first: u8, parts: &[&[u8]], out: &mut BytesMut) {
    out.put_u8(first);
    put_varint(out, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.put_slice(part);
    }
}
