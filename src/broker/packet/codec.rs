//! The packets that are not hot, by rumqttd's codecs: CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT in,
//! CONNACK, SUBACK, UNSUBACK, DISCONNECT out.
//!
//! rumqttd is named only here. A frame reaches it whole and after [`super::strict`] found it right;
//! its readers still have `unreachable!` arms, so a last fence catches a panic and makes it cost one
//! connection, not the task's runtime.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use rumqttd::protocol::ConnAck;
use rumqttd::protocol::ConnAckProperties;
use rumqttd::protocol::ConnectProperties;
use rumqttd::protocol::ConnectReturnCode;
use rumqttd::protocol::LastWillProperties;
use rumqttd::protocol::Packet;
use rumqttd::protocol::Protocol;
use rumqttd::protocol::QoS as CodecQoS;
use rumqttd::protocol::RetainForwardRule;
use rumqttd::protocol::SubAck;
use rumqttd::protocol::SubscribeReasonCode;
use rumqttd::protocol::UnsubAck;
use rumqttd::protocol::UnsubAckReason;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;

pub(crate) use super::strict::ConnectRefusal;

use super::Version;
use super::Violation;
use super::fields::put_varint;
use super::frame::Header;
use super::strict;
use crate::publish::PublishProperties;
use crate::publish::QoS;

/// A CONNECT, both versions alike.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    /// Seconds; 0 is none.
    pub(crate) keep_alive: u16,
    /// Seconds; MQTT 5 only.
    pub(crate) session_expiry: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Password>,
    /// Whether enhanced authentication is asked for.
    pub(crate) authentication: bool,
    pub(crate) will: Option<LastWill>,
}

/// A password as it came; shown nowhere.
#[derive(PartialEq, Eq)]
pub(crate) struct Password(pub(crate) Bytes);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// The will of a CONNECT.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LastWill {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Seconds.
    pub(crate) delay: u32,
    pub(crate) properties: Option<PublishProperties>,
}

/// When retained messages are sent at SUBSCRIBE (MQTT 5, section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    Always,
    IfNew,
    Never,
}

/// One filter of a SUBSCRIBE; its text is not checked as a filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: RetainHandling,
}

/// A packet of the slow path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe { packet_id: u16, subscription_id: Option<u32>, wanted: Vec<Wanted> },
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    Disconnect { with_will: bool, session_expiry: Option<u32> },
}

/// Outcome of a CONNECT.
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
    Busy,
    Quota,
    ShuttingDown,
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
}

/// Per-filter outcome of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    QoS(QoS),
    InvalidFilter,
    NotAuthorized,
    Quota,
}

/// Decodes a CONNECT frame.
pub(crate) fn read_connect(header: Header, frame: &Bytes) -> Result<Connect, ConnectRefusal> {
    let body = frame.get(header.header_len..).unwrap_or_default();
    let shape = strict::check_connect(body)?;
    let cut = without_password(body, shape.password_at);
    // Behind the two bytes of its length.
    let password = shape.password_at.and_then(|at| body.get(at + 2..)).map(Bytes::copy_from_slice);
    let packet =
        decode(shape.version, &cut).map_err(|v| ConnectRefusal::Violation(shape.version, v))?;
    let Packet::Connect(connect, properties, will, will_properties, login) = packet else {
        return Err(ConnectRefusal::Violation(shape.version, NOT_DECODED));
    };
    let ConnectProperties {
        session_expiry_interval,
        receive_maximum,
        max_packet_size,
        authentication_method,
        ..
    } = properties.unwrap_or(ConnectProperties {
        session_expiry_interval: None,
        receive_maximum: None,
        max_packet_size: None,
        topic_alias_max: None,
        request_response_info: None,
        request_problem_info: None,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    });
    Ok(Connect {
        version: shape.version,
        client_id: connect.client_id,
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        session_expiry: session_expiry_interval,
        receive_maximum,
        packet_bytes_max: max_packet_size,
        user_name: login.map(|login| login.username).filter(|name| !name.is_empty()),
        password: password.map(Password),
        authentication: authentication_method.is_some(),
        will: will.map(|will| LastWill {
            topic: String::from_utf8_lossy(&will.topic).into_owned(),
            payload: Bytes::copy_from_slice(&will.message),
            qos: to_qos(will.qos),
            retain: will.retain,
            delay: will_properties.as_ref().and_then(|p| p.delay_interval).unwrap_or(0),
            properties: will_properties.map(to_publish_properties),
        }),
    })
}

/// The frame without its last field: passwords are binary data, which rumqttd insists on reading as
/// UTF-8.
fn without_password(body: &[u8], password_at: Option<usize>) -> Bytes {
    const FLAGS_AT: usize = 7;
    let kept = password_at.and_then(|at| body.get(..at)).unwrap_or(body);
    let mut frame = BytesMut::with_capacity(kept.len() + 5);
    frame.put_u8(0x10);
    put_varint(&mut frame, kept.len());
    let start = frame.len();
    frame.put_slice(kept);
    if let (Some(_), Some(flags)) = (password_at, frame.get_mut(start + FLAGS_AT)) {
        *flags &= !0x40;
    }
    frame.freeze()
}

/// Decodes SUBSCRIBE, UNSUBSCRIBE or DISCONNECT.
pub(crate) fn read_request(
    header: Header,
    frame: &Bytes,
    version: Version,
) -> Result<Request, Violation> {
    use super::Kind;
    let body = frame.get(header.header_len..).unwrap_or_default();
    let mut whole = frame.clone();
    match header.kind {
        Kind::Subscribe => strict::check_subscribe(body, version)?,
        Kind::Unsubscribe => strict::check_unsubscribe(body, version)?,
        Kind::Disconnect => {
            strict::check_disconnect(body, version)?;
            if let [reason] = body {
                // A reason without properties is legal, but rumqttd wants their length.
                whole = Bytes::copy_from_slice(&[0xe0, 2, *reason, 0]);
            }
        }
        _ => return Err(Violation::Protocol("this packet must not come here")),
    }
    Ok(match decode(version, &whole)? {
        Packet::Subscribe(subscribe, properties) => Request::Subscribe {
            packet_id: subscribe.pkid,
            subscription_id: properties.and_then(|p| p.id).and_then(|id| u32::try_from(id).ok()),
            wanted: subscribe.filters.into_iter().map(to_wanted).collect(),
        },
        Packet::Unsubscribe(unsubscribe, _) => {
            Request::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.filters }
        }
        Packet::Disconnect(_, properties) => Request::Disconnect {
            with_will: body.first() == Some(&0x04),
            session_expiry: properties.and_then(|p| p.session_expiry_interval),
        },
        _ => return Err(NOT_DECODED),
    })
}

const NOT_DECODED: Violation = Violation::Malformed("the codec could not read the packet");

fn decode(version: Version, frame: &Bytes) -> Result<Packet, Violation> {
    let mut stream = BytesMut::from(frame.as_ref());
    let max = frame.len();
    // Unwind safety: the codec gets a copy that is dropped, and keeps no state.
    let read = catch_unwind(AssertUnwindSafe(|| match version {
        Version::V311 => V4.read_mut(&mut stream, max),
        Version::V5 => V5.read_mut(&mut stream, max),
    }));
    match read {
        Ok(Ok(packet)) => Ok(packet),
        Ok(Err(_)) | Err(_) => Err(NOT_DECODED),
    }
}

/// Appends a CONNACK that lets the client in.
pub(crate) fn write_welcome(welcome: &Welcome<'_>, version: Version, out: &mut BytesMut) {
    let connack =
        ConnAck { session_present: welcome.session_present, code: ConnectReturnCode::Success };
    let properties = (version == Version::V5).then(|| ConnAckProperties {
        session_expiry_interval: welcome.session_expiry,
        receive_max: Some(welcome.receive_maximum),
        max_packet_size: Some(welcome.packet_bytes_max),
        assigned_client_identifier: welcome.assigned_client_id.map(str::to_owned),
        topic_alias_max: Some(welcome.topic_alias_max),
        ..ConnAckProperties::default()
    });
    encode(version, Packet::ConnAck(connack, properties), out);
}

/// Appends a CONNACK that does not.
pub(crate) fn write_refusal(refusal: Refusal, version: Version, out: &mut BytesMut) {
    let code = match version {
        Version::V5 => match refusal {
            Refusal::Violation(Violation::Malformed(_)) => ConnectReturnCode::MalformedPacket,
            Refusal::Violation(Violation::TopicName(_)) => ConnectReturnCode::TopicNameInvalid,
            Refusal::Violation(Violation::TooLarge) => ConnectReturnCode::PacketTooLarge,
            Refusal::Violation(_) => ConnectReturnCode::ProtocolError,
            Refusal::Version => ConnectReturnCode::UnsupportedProtocolVersion,
            Refusal::ClientId => ConnectReturnCode::ClientIdentifierNotValid,
            Refusal::Authentication => ConnectReturnCode::BadAuthenticationMethod,
            Refusal::Credentials => ConnectReturnCode::BadUserNamePassword,
            Refusal::NotAuthorized => ConnectReturnCode::NotAuthorized,
            Refusal::Rate => ConnectReturnCode::ConnectionRateExceeded,
            Refusal::Busy => ConnectReturnCode::ServerBusy,
            Refusal::Quota => ConnectReturnCode::QuotaExceeded,
            Refusal::ShuttingDown => ConnectReturnCode::ServerUnavailable,
        },
        Version::V311 => match refusal {
            // 3.1.1 closes without a word on what it has no code for.
            Refusal::Violation(_) => return,
            Refusal::Version => ConnectReturnCode::RefusedProtocolVersion,
            Refusal::ClientId => ConnectReturnCode::ClientIdentifierNotValid,
            Refusal::Authentication | Refusal::NotAuthorized => ConnectReturnCode::NotAuthorized,
            Refusal::Credentials => ConnectReturnCode::BadUserNamePassword,
            Refusal::Rate | Refusal::Busy | Refusal::Quota | Refusal::ShuttingDown => {
                ConnectReturnCode::ServiceUnavailable
            }
        },
    };
    // The same words whatever was wrong: an attacker learns nothing from them.
    let reason_string = match refusal {
        Refusal::Credentials | Refusal::NotAuthorized => Some("not authorized"),
        Refusal::Rate => Some("too many attempts"),
        _ => None,
    };
    let properties = reason_string.filter(|_| version == Version::V5).map(|text| {
        ConnAckProperties { reason_string: Some(text.to_owned()), ..ConnAckProperties::default() }
    });
    encode(version, Packet::ConnAck(ConnAck { session_present: false, code }, properties), out);
}

/// Appends a SUBACK.
pub(crate) fn write_suback(
    packet_id: u16,
    granted: &[Granted],
    version: Version,
    out: &mut BytesMut,
) {
    let code = |granted: &Granted| match (granted, version) {
        (Granted::QoS(qos), _) => SubscribeReasonCode::Success(from_qos(*qos)),
        (_, Version::V311) => SubscribeReasonCode::Failure,
        (Granted::InvalidFilter, Version::V5) => SubscribeReasonCode::TopicFilterInvalid,
        (Granted::NotAuthorized, Version::V5) => SubscribeReasonCode::NotAuthorized,
        (Granted::Quota, Version::V5) => SubscribeReasonCode::QuotaExceeded,
    };
    let return_codes = granted.iter().map(code).collect();
    encode(version, Packet::SubAck(SubAck { pkid: packet_id, return_codes }, None), out);
}

/// Appends an UNSUBACK; `found` says of each filter whether there was such a subscription.
pub(crate) fn write_unsuback(packet_id: u16, found: &[bool], version: Version, out: &mut BytesMut) {
    let reason = |found: &bool| match found {
        true => UnsubAckReason::Success,
        false => UnsubAckReason::NoSubscriptionExisted,
    };
    let unsuback = UnsubAck { pkid: packet_id, reasons: found.iter().map(reason).collect() };
    encode(version, Packet::UnsubAck(unsuback, None), out);
}

/// Appends a DISCONNECT, with a reason in words where there is one; only MQTT 5 servers send it. By hand:
/// rumqttd's enum has no way from a number.
pub(crate) fn write_disconnect(reason_code: u8, words: &str, out: &mut BytesMut) {
    const REASON_STRING: u8 = 0x1f;
    let (Ok(length), false) = (u8::try_from(words.len()), words.is_empty()) else {
        return out.put_slice(&[0xe0, 1, reason_code]);
    };
    let properties = 3 + usize::from(length);
    out.put_u8(0xe0);
    put_varint(out, 2 + properties);
    out.put_u8(reason_code);
    put_varint(out, properties);
    out.put_slice(&[REASON_STRING, 0, length]);
    out.put_slice(words.as_bytes());
}

fn encode(version: Version, packet: Packet, out: &mut BytesMut) {
    let written = match version {
        Version::V311 => V4.write(packet, out),
        Version::V5 => V5.write(packet, out),
    };
    assert!(written.is_ok(), "the packets written here are far below the protocol's maximum");
}

fn to_qos(qos: CodecQoS) -> QoS {
    match qos {
        CodecQoS::AtMostOnce => QoS::AtMostOnce,
        CodecQoS::AtLeastOnce => QoS::AtLeastOnce,
        CodecQoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn from_qos(qos: QoS) -> CodecQoS {
    match qos {
        QoS::AtMostOnce => CodecQoS::AtMostOnce,
        QoS::AtLeastOnce => CodecQoS::AtLeastOnce,
        QoS::ExactlyOnce => CodecQoS::ExactlyOnce,
    }
}

fn to_wanted(filter: rumqttd::protocol::Filter) -> Wanted {
    Wanted {
        filter: filter.path,
        qos: to_qos(filter.qos),
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain_handling: match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            RetainForwardRule::OnNewSubscribe => RetainHandling::IfNew,
            RetainForwardRule::Never => RetainHandling::Never,
        },
    }
}

fn to_publish_properties(will: LastWillProperties) -> PublishProperties {
    PublishProperties {
        payload_format: will.payload_format_indicator,
        message_expiry: will.message_expiry_interval,
        content_type: will.content_type,
        response_topic: will.response_topic,
        correlation_data: will.correlation_data,
        user_properties: will.user_properties,
    }
}
