//! One connection to another broker, by rumqttc, in one set of words for both versions of MQTT.
//!
//! A link is used for one connection and thrown away: rumqttc's own way of reconnecting is not used.
//! What was found in rumqttc 0.25, and is the reason (`tests` shows what can be seen in its state):
//!
//! - After a reconnect it sends what was not acknowledged again, from memory: nothing after a crash,
//!   twice with an outbox. An outbox sends it here.
//! - QoS 2 does not survive a reconnect. It forgets the packet ids it has received and takes the
//!   broker's PUBREL for them as an error, so the connection fails again and again; and PUBCOMP leaves
//!   before the application has seen PUBREL. So QoS 1 is the highest in either direction.
//! - A future of `poll` that is dropped in the middle of a write loses the packet. So it is kept in a
//!   stream that goes on where it was.
//! - Requests (acknowledgements too) are not read while as many publishes are in flight as may be. So
//!   one less than that is sent.
//! - The event of a publish with a topic alias has no topic. So the broker is allowed none.
//! - A packet larger than the broker takes ends the connection, and again after the next connect. So
//!   what is too large is left out before it is sent.
//! - Each request is a write of its own; there is no way to send acknowledgements together.

#[cfg(test)]
mod tests;
mod v4;
mod v5;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;

use crate::config::LinkConfig;
use crate::config::MqttProtocol;
use crate::config::UpstreamUrl;
use crate::publish::PublishProperties;
use crate::publish::QoS;

/// Requests handed to rumqttc and not written yet.
const REQUESTS_MAX: usize = 64;
/// How long a connection may take to come to be, and a flush, seconds.
const NETWORK_TIMEOUT_SECONDS: u64 = 10;

/// The connection failed, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct LinkError(pub(super) String);

/// What the broker says of itself when it accepts the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Welcome {
    /// It has kept the session.
    pub(super) is_session_present: bool,
    /// The largest packet it takes, bytes.
    pub(super) packet_bytes_max: Option<u32>,
    /// Messages that it takes ahead of their acknowledgement.
    pub(super) receive_maximum: Option<u16>,
    /// It has no shared subscriptions.
    pub(super) lacks_shared: bool,
    /// It has subscription identifiers.
    pub(super) has_subscription_ids: bool,
    /// It keeps no retained messages.
    pub(super) lacks_retain: bool,
}

/// A publish of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// To be acknowledged with; `None` for QoS 0.
    pub(super) ack: Option<Ack>,
    pub(super) properties: PublishProperties,
    /// Of the subscriptions that it came by.
    pub(super) subscription_ids: Vec<u32>,
}

/// What acknowledges a publish of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack(u16);

/// What the broker made of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has it.
    Taken,
    /// It will never take it.
    Refused(&'static str),
    /// It may take it later.
    NotNow(&'static str),
}

/// What happens on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// It stands. Comes first.
    Welcome(Welcome),
    /// The broker published.
    Received(Received),
    /// The next publish of ours is written; with the id of its acknowledgement unless it is QoS 0.
    Sent(Option<u16>),
    /// A publish of ours is acknowledged.
    Answered(u16, Verdict),
    /// The next subscribing or unsubscribing is written.
    Asked(u16),
    /// A subscription is granted, or refused with this reason.
    Subscribed(u16, Option<&'static str>),
    /// A subscription is given up.
    Unsubscribed(u16),
    /// Our DISCONNECT is written.
    Disconnected,
    /// Nothing of interest.
    Quiet,
}

/// What happens on a connection, in order; ends with the first error.
pub(super) type Signals = Pin<Box<dyn Stream<Item = Result<Signal, LinkError>> + Send>>;

/// A message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    /// [`QoS::ExactlyOnce`] is sent as [`QoS::AtLeastOnce`].
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Of MQTT 5; 3.1.1 has none.
    pub(super) properties: PublishProperties,
}

/// A subscription to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// With `$share/GROUP/` before it when shared.
    pub(super) filter: String,
    pub(super) qos: QoS,
    /// MQTT 5: the identifier that messages carry; 0 is none.
    pub(super) id: u32,
    /// MQTT 5: what this client publishes does not come back.
    pub(super) is_no_local: bool,
    /// MQTT 5: messages keep their RETAIN flag, and a new subscription gets the stored ones; otherwise it
    /// gets none of them.
    pub(super) wants_retained: bool,
}

/// Whether rumqttc took a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It did.
    Taken,
    /// [`REQUESTS_MAX`] wait: later.
    Full,
}

/// Where to connect, and as whom.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: UpstreamUrl,
    pub(super) client_id: String,
    pub(super) password: String,
    pub(super) config: LinkConfig,
    /// For `mqtts`.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

impl Target {
    /// Publishes in flight, by rumqttc's count; one less is sent.
    fn inflight_limit(&self) -> u16 {
        self.config.inflight_max.saturating_add(1)
    }

    fn packet_bytes_max(&self) -> u32 {
        u32::try_from(self.config.packet_bytes_max).unwrap_or(u32::MAX)
    }

    fn session_expiry_seconds(&self) -> u32 {
        u32::try_from(self.config.session_expiry.as_secs()).unwrap_or(u32::MAX)
    }

    fn keep_alive(&self) -> Duration {
        self.config.keep_alive
    }

    fn transport(&self) -> rumqttc::Transport {
        match &self.tls {
            Some(tls) => rumqttc::Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(
                Arc::clone(tls),
            )),
            None => rumqttc::Transport::tcp(),
        }
    }
}

/// Sends requests. They are written while the [`Signals`] are polled.
pub(super) enum Requests {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// Connects as soon as the signals are polled.
pub(super) fn connect(target: &Target) -> (Requests, Signals) {
    match target.config.protocol {
        MqttProtocol::V311 => v4::connect(target),
        MqttProtocol::V5 => v5::connect(target),
    }
}

impl Requests {
    /// Publishes.
    pub(super) fn publish(&self, message: Message) -> Asked {
        match self {
            Requests::V4(client) => v4::publish(client, message),
            Requests::V5(client) => v5::publish(client, message),
        }
    }

    /// Acknowledges.
    pub(super) fn acknowledge(&self, ack: Ack) -> Asked {
        match self {
            Requests::V4(client) => v4::acknowledge(client, ack.0),
            Requests::V5(client) => v5::acknowledge(client, ack.0),
        }
    }

    /// Subscribes.
    pub(super) fn subscribe(&self, subscription: &Subscription) -> Asked {
        match self {
            Requests::V4(client) => v4::subscribe(client, subscription),
            Requests::V5(client) => v5::subscribe(client, subscription),
        }
    }

    /// Gives a subscription up.
    pub(super) fn unsubscribe(&self, filter: &str) -> Asked {
        match self {
            Requests::V4(client) => asked(client.try_unsubscribe(filter)),
            Requests::V5(client) => asked(client.try_unsubscribe(filter)),
        }
    }

    /// Takes leave in order.
    pub(super) fn disconnect(&self) -> Asked {
        match self {
            Requests::V4(client) => asked(client.try_disconnect()),
            Requests::V5(client) => asked(client.try_disconnect()),
        }
    }
}

/// A request is refused when the queue is full, and when the connection has ended; the signals tell the
/// latter.
fn asked<E>(result: Result<(), E>) -> Asked {
    if result.is_ok() { Asked::Taken } else { Asked::Full }
}
