//! One message as it entered: topic, payload, who sent it and when.
//!
//! Made by the broker from a PUBLISH packet, by the engine's callers from recorded lines, by `action`
//! for a REPUBLISH, and by the gateway from a record of a stream that a rule reads. Cloning is cheap: every part is shared.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::clock::Timestamp;
use crate::topic::TopicName;

/// MQTT quality of service (MQTT 5, section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// At most once: no acknowledgement.
    #[default]
    AtMostOnce = 0,
    /// At least once: PUBACK.
    AtLeastOnce = 1,
    /// Exactly once: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// From the two bits of a packet; `None` for 3, which is malformed.
    pub fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// Where a message came from: fixed for the life of a connection and shared by all its messages; of a
/// record of a stream its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// MQTT client identifier; `None` when the message did not come over MQTT (`clientid()` is then `"n/a"`).
    pub client_id: Option<Arc<str>>,
    /// Authenticated name: user or certificate subject (`principal()`).
    pub principal: Option<Arc<str>>,
    /// Address the message came from (`sourceip()`).
    pub source_ip: Option<IpAddr>,
    /// The record that the message is, for a rule that reads a stream.
    pub record: Option<StreamRecord>,
}

/// What a rule can know of a record of a shard stream beside its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// The shard, as the API writes it (`shard_id()`).
    pub shard_id: Arc<str>,
    /// Its place in the stream, decimal (`sequence_number()`).
    pub sequence_number: CompactString,
    /// As given (`partition_key()`).
    pub partition_key: CompactString,
    /// Arrival in the stream (`timestamp()`). [`Publish::received_at`] is when the rule took it from there.
    pub arrived_at: Timestamp,
}

impl Origin {
    /// A message that no client sent: republished by a rule, or recorded without a client.
    pub fn internal() -> Arc<Origin> {
        Arc::new(Origin { client_id: None, principal: None, source_ip: None, record: None })
    }
}

/// The MQTT 5 properties of a PUBLISH that reach rules and subscribers (MQTT 5, section 3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Payload format indicator: `Some(1)` promises UTF-8.
    pub payload_format: Option<u8>,
    /// Message expiry interval, seconds.
    pub message_expiry: Option<u32>,
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// Topic for a response.
    pub response_topic: Option<String>,
    /// Correlates a response with its request.
    pub correlation_data: Option<Bytes>,
    /// User properties in their order; names may repeat.
    pub user_properties: Vec<(String, String)>,
}

/// One application message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Concrete topic, never with wildcards.
    pub topic: TopicName,
    /// Payload bytes; at most the configured packet size.
    pub payload: Bytes,
    /// Quality of service it was published with.
    pub qos: QoS,
    /// The RETAIN flag of the packet.
    pub retain: bool,
    /// When the gateway read it from the socket (or the recorded line's `t`).
    pub received_at: Timestamp,
    /// Who sent it.
    pub origin: Arc<Origin>,
    /// MQTT 5 properties; `None` when there are none.
    pub properties: Option<Arc<PublishProperties>>,
    /// How many REPUBLISH and STREAM actions it has passed; bounded by [`crate::limits::HOPS_MAX`].
    pub hops: u8,
}
