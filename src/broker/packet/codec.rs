//! What a client says and is not hot, by rumqttd's codecs: CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT.
//!
//! rumqttd is named only here. A frame reaches it whole and after [`super::strict`] found it right;
//! its readers still have `unreachable!` arms, so a last fence catches a panic and makes it cost one
//! connection, not the task's runtime.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use rumqttd::protocol::ConnectProperties;
use rumqttd::protocol::LastWillProperties;
use rumqttd::protocol::Packet;
use rumqttd::protocol::Protocol;
use rumqttd::protocol::QoS as CodecQoS;
use rumqttd::protocol::RetainForwardRule;
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
    /// Topic aliases that the client takes.
    pub(crate) topic_alias_max: u16,
    /// Whether the client wants to know why something fails.
    pub(crate) problem_information: bool,
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
        topic_alias_max,
        request_problem_info,
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
        topic_alias_max: topic_alias_max.unwrap_or(0),
        problem_information: request_problem_info != Some(0),
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
            // Only a normal disconnection takes the will back (MQTT 5, section 3.1.2.5).
            with_will: body.first().is_some_and(|reason| *reason != 0),
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

fn to_qos(qos: CodecQoS) -> QoS {
    match qos {
        CodecQoS::AtMostOnce => QoS::AtMostOnce,
        CodecQoS::AtLeastOnce => QoS::AtLeastOnce,
        CodecQoS::ExactlyOnce => QoS::ExactlyOnce,
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
