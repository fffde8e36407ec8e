//! A message on its way to subscribers, and one subscriber's share of it.

use std::sync::Arc;

use bytes::Bytes;

use super::packet::publish::encode_properties;
use super::subscriptions::Group;
use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::session::Parcel;

/// Bookkeeping of a queued message beside its text and payload, bytes, roughly.
const OVERHEAD: usize = 96;

/// A message that somebody gets; shared by all who do.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) publish: Publish,
    /// MQTT 5 properties, encoded once for all.
    pub(crate) properties: Bytes,
}

/// Its expiry interval has passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired;

impl Message {
    /// Takes the payload out of the publisher's read buffer: a queued message must not keep the other
    /// messages of its batch alive.
    pub(crate) fn new(publish: &Publish) -> Arc<Message> {
        let properties = publish.properties.as_deref().map(encode_properties).unwrap_or_default();
        let payload = Bytes::copy_from_slice(&publish.payload);
        Arc::new(Message { publish: Publish { payload, ..publish.clone() }, properties })
    }

    /// What it costs to keep.
    pub(crate) fn bytes(&self) -> usize {
        let publish = &self.publish;
        OVERHEAD + publish.topic.as_str().len() + publish.payload.len() + self.properties.len()
    }

    /// What is left of the expiry interval, seconds; `None` when it has none (MQTT 5, section 3.3.2.3.3).
    pub(crate) fn expiry_left(&self, now: Timestamp) -> Result<Option<u32>, Expired> {
        let Some(seconds) = self.publish.properties.as_ref().and_then(|p| p.message_expiry) else {
            return Ok(None);
        };
        let waited = now.since(self.publish.received_at).as_secs();
        match u64::from(seconds).checked_sub(waited) {
            Some(left @ 1..) => Ok(u32::try_from(left).ok()),
            Some(0) if seconds == 0 && waited == 0 => Ok(Some(0)),
            Some(0) | None => Err(Expired),
        }
    }
}

/// One message for one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    /// The smaller of the publisher's and the subscription's.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Of every subscription that matched; `None` when none has one.
    pub(crate) subscription_ids: Option<Arc<[u32]>>,
    /// The shared subscription it came by: where it goes when this session ends.
    pub(crate) group: Option<Arc<Group>>,
    /// Counts against the session's bound: it came through the queue.
    pub(crate) accounted: bool,
    /// Its place on disk, for a session that survives.
    pub(crate) parcel: Option<Arc<Parcel>>,
    /// Not to be sent before it is on disk: with QoS 2, which must not be sent anew after a crash, and what a rule
    /// makes of a message that is not acknowledged yet.
    pub(crate) is_held: bool,
    /// May have been sent before the last restart.
    pub(crate) maybe_sent: bool,
}

impl Delivery {
    /// Whether it has to wait for its commit.
    pub(crate) fn awaits_store(&self) -> bool {
        self.is_held && self.parcel.as_ref().is_some_and(|parcel| !parcel.is_stored())
    }
}

/// What waits for a session.
#[derive(Debug)]
pub(crate) enum Waiting {
    Message(Delivery),
    /// The PUBREL of a message that the client has had from an earlier run.
    Release(Arc<Parcel>),
}

impl Waiting {
    /// Its place on disk, if it has one there.
    pub(crate) fn stored(&self) -> Option<&Arc<Parcel>> {
        let parcel = match self {
            Waiting::Message(delivery) => delivery.parcel.as_ref()?,
            Waiting::Release(parcel) => parcel,
        };
        parcel.is_stored().then_some(parcel)
    }
}

#[cfg(test)]
pub(super) mod samples {
    //! Messages for the tests of this module's neighbours.

    use super::*;
    use crate::publish::Origin;
    use crate::topic::TopicName;

    pub(crate) fn publish(topic: &str, qos: QoS) -> Publish {
        Publish {
            topic: TopicName::parse(topic).expect("a topic"),
            payload: Bytes::from_static(b"payload"),
            qos,
            retain: false,
            received_at: Timestamp::EPOCH,
            origin: Origin::internal(),
            properties: None,
            hops: 0,
        }
    }

    pub(crate) fn delivery(qos: QoS) -> Delivery {
        let message = Message::new(&publish("t", qos));
        Delivery {
            message,
            qos,
            retain: false,
            subscription_ids: None,
            group: None,
            accounted: true,
            parcel: None,
            is_held: false,
            maybe_sent: false,
        }
    }
}
