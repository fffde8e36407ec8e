//! A key's last TRUE message, kept in as little memory as it needs.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::topic::TopicName;

/// A spare buffer larger than this many times its payload is given back.
const SLACK: usize = 2;

/// An own copy of a [`Publish`]. Bytes of the packet are copied, because a slice of the socket's read
/// buffer would keep the whole buffer alive for as long as the episode lasts; the buffer is reused, so
/// that a steady stream of TRUE messages allocates nothing. What is shared by design (topic, origin)
/// stays shared.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: TopicName,
    pub(super) payload: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) hops: u8,
    pub(super) received_at: Timestamp,
    pub(super) origin: Arc<Origin>,
    pub(super) properties: Option<Arc<PublishProperties>>,
}

impl Message {
    pub(super) fn of(publish: &Publish) -> Self {
        Message {
            topic: publish.topic.clone(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            hops: publish.hops,
            received_at: publish.received_at,
            origin: Arc::clone(&publish.origin),
            properties: publish.properties.as_ref().map(unpinned),
        }
    }

    /// Takes the place of the message before.
    fn replace(&mut self, publish: &Publish) {
        if self.topic != publish.topic {
            self.topic = publish.topic.clone();
        }
        self.payload.clear();
        self.payload.extend_from_slice(&publish.payload);
        if self.payload.capacity() / SLACK > self.payload.len() {
            self.payload.shrink_to_fit();
        }
        if !Arc::ptr_eq(&self.origin, &publish.origin) {
            self.origin = Arc::clone(&publish.origin);
        }
        self.qos = publish.qos;
        self.retain = publish.retain;
        self.hops = publish.hops;
        self.received_at = publish.received_at;
        self.properties = publish.properties.as_ref().map(unpinned);
    }

    /// Bytes it takes beside its fixed part: payload and properties.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + self.properties.as_deref().map_or(0, properties_bytes)
    }

    pub(super) fn to_publish(&self) -> Publish {
        Publish {
            topic: self.topic.clone(),
            payload: Bytes::copy_from_slice(&self.payload),
            qos: self.qos,
            retain: self.retain,
            received_at: self.received_at,
            origin: Arc::clone(&self.origin),
            properties: self.properties.clone(),
            hops: self.hops,
        }
    }
}

/// A TRUE message on its way to be kept.
#[derive(Debug)]
pub(super) enum Fresh<'a> {
    /// As it came.
    Publish(&'a Publish),
    /// Out of the buffer in which it waited.
    Kept(Message),
}

impl Fresh<'_> {
    /// What [`Message::bytes`] will be for it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Fresh::Publish(publish) => {
                publish.payload.len() + publish.properties.as_deref().map_or(0, properties_bytes)
            }
            Fresh::Kept(message) => message.bytes(),
        }
    }

    /// Takes the place of the message before.
    pub(super) fn replace(self, before: &mut Option<Message>) {
        match (self, before) {
            (Fresh::Publish(publish), Some(before)) => before.replace(publish),
            (Fresh::Publish(publish), before) => *before = Some(Message::of(publish)),
            (Fresh::Kept(message), before) => *before = Some(message),
        }
    }
}

fn properties_bytes(properties: &PublishProperties) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let pairs = properties.user_properties.iter();
    text(&properties.content_type)
        + text(&properties.response_topic)
        + properties.correlation_data.as_ref().map_or(0, Bytes::len)
        + pairs
            .map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len())
            .sum::<usize>()
}

/// Correlation data is a slice of the packet; everything else is owned already.
fn unpinned(properties: &Arc<PublishProperties>) -> Arc<PublishProperties> {
    match &properties.correlation_data {
        None => Arc::clone(properties),
        Some(correlation) => Arc::new(PublishProperties {
            correlation_data: Some(Bytes::copy_from_slice(correlation)),
            ..PublishProperties::clone(properties)
        }),
    }
}
