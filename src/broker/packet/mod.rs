//! MQTT packets: framing, strict checks, the hot packets, and the fence round rumqttd's codec.
//!
//! [`frame`] cuts bytes into frames and refuses wrong fixed headers. PUBLISH, PUBACK, PUBREC, PUBREL
//! and PUBCOMP are read and written by [`publish`] and [`ack`]; what only a server says is written by
//! [`answer`]. What else a client says goes through [`codec`], which lets rumqttd decode a frame only
//! after [`strict`] accepted every byte of it, since rumqttd's readers are lax and have `unreachable!`
//! arms.
//! Whatever is wrong ends in a [`Violation`], never in a panic, and costs one connection.

pub(crate) mod ack;
pub(crate) mod answer;
pub(crate) mod codec;
pub(crate) mod fields;
pub(crate) mod frame;
pub(crate) mod property;
pub(crate) mod publish;
mod strict;
#[cfg(test)]
mod tests;

use crate::topic::TopicError;

/// The protocol spoken on a connection, from CONNECT's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Level 4.
    V311,
    /// Level 5.
    V5,
}

impl Version {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        }
    }
}

/// What a client did against the protocol. Ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// Bytes that are no packet.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// A packet that must not come here or now.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// Larger than the maximum packet size.
    #[error("packet exceeds the maximum packet size")]
    TooLarge,
    /// Not a topic to publish to.
    #[error("topic name is not valid: {0}")]
    TopicName(TopicError),
    /// Zero, over the announced maximum, or never set.
    #[error("topic alias is not valid")]
    TopicAlias,
    /// More unacknowledged publishes than announced.
    #[error("receive maximum exceeded")]
    ReceiveMaximum,
}

impl Violation {
    /// The MQTT 5 reason code (MQTT 5, section 2.4).
    pub(crate) fn reason_code(self) -> u8 {
        match self {
            Violation::Malformed(_) => 0x81,
            Violation::Protocol(_) => 0x82,
            Violation::TopicName(_) => 0x90,
            Violation::ReceiveMaximum => 0x93,
            Violation::TopicAlias => 0x94,
            Violation::TooLarge => 0x95,
        }
    }

    /// The metric's label; one of a handful.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Violation::Malformed(_) => "malformed",
            Violation::Protocol(_) => "protocol_error",
            Violation::TopicName(_) => "topic_name",
            Violation::ReceiveMaximum => "receive_maximum",
            Violation::TopicAlias => "topic_alias",
            Violation::TooLarge => "too_large",
        }
    }
}

/// MQTT control packet types a server can receive or send (MQTT 5, section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl Kind {
    /// How many there are, with the reserved 0: the size of a table indexed by kind.
    pub(crate) const COUNT: usize = 16;

    pub(crate) fn from_bits(bits: u8) -> Option<Kind> {
        Some(match bits {
            1 => Kind::Connect,
            2 => Kind::ConnAck,
            3 => Kind::Publish,
            4 => Kind::PubAck,
            5 => Kind::PubRec,
            6 => Kind::PubRel,
            7 => Kind::PubComp,
            8 => Kind::Subscribe,
            9 => Kind::SubAck,
            10 => Kind::Unsubscribe,
            11 => Kind::UnsubAck,
            12 => Kind::PingReq,
            13 => Kind::PingResp,
            14 => Kind::Disconnect,
            15 => Kind::Auth,
            _ => return None,
        })
    }

    /// Whether a client may send it.
    pub(crate) fn is_from_client(self) -> bool {
        !matches!(self, Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp)
    }

    /// Whether this server sends it.
    pub(crate) fn is_from_server(self) -> bool {
        !matches!(
            self,
            Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::PingReq | Kind::Auth
        )
    }

    /// The metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Kind::Connect => "connect",
            Kind::ConnAck => "connack",
            Kind::Publish => "publish",
            Kind::PubAck => "puback",
            Kind::PubRec => "pubrec",
            Kind::PubRel => "pubrel",
            Kind::PubComp => "pubcomp",
            Kind::Subscribe => "subscribe",
            Kind::SubAck => "suback",
            Kind::Unsubscribe => "unsubscribe",
            Kind::UnsubAck => "unsuback",
            Kind::PingReq => "pingreq",
            Kind::PingResp => "pingresp",
            Kind::Disconnect => "disconnect",
            Kind::Auth => "auth",
        }
    }
}
