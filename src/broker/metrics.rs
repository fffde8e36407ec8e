//! What the broker counts. Connections add to it once a batch.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use super::packet::Kind;
use crate::access::Over;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Why a message reached a subscriber, the retained store or its rule not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The session's queue is full.
    QueueFull,
    /// The messages of all sessions that survive take as much of the disk as they may.
    StoreFull,
    /// It waited longer than a message may.
    TooOld,
    /// It waited on disk, and none of the session's subscriptions matches its topic any more.
    Unsubscribed,
    /// QoS 0 for a session without a connection.
    Offline,
    /// Its expiry interval passed while it waited.
    Expired,
    /// Larger than the client's maximum packet size.
    TooLarge,
    /// Our bug: encoding it panicked.
    Unencodable,
    /// Not retained: the store is full.
    RetainedFull,
    /// Refused: the payload is not the UTF-8 that its format indicator promises.
    PayloadFormat,
    /// Refused: only the gateway publishes there.
    ReservedTopic,
    /// Refused: its sender may not publish there.
    NotAuthorized,
    /// Refused: `$aws/rules/NAME/…`, and no running rule has that name.
    UnknownRule,
}

impl Dropped {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Dropped::QueueFull => "queue_full",
            Dropped::StoreFull => "store_full",
            Dropped::TooOld => "too_old",
            Dropped::Unsubscribed => "unsubscribed",
            Dropped::Offline => "offline",
            Dropped::Expired => "expired",
            Dropped::TooLarge => "too_large",
            Dropped::Unencodable => "unencodable",
            Dropped::RetainedFull => "retained_full",
            Dropped::PayloadFormat => "payload_format",
            Dropped::ReservedTopic => "reserved_topic",
            Dropped::NotAuthorized => "not_authorized",
            Dropped::UnknownRule => "unknown_rule",
        }
    }
}

/// Packets of each kind that passed in one batch.
pub(crate) type PacketCounts = [u32; Kind::COUNT];

/// The broker's metrics.
#[derive(Clone, Debug)]
pub struct BrokerMetrics {
    pub(crate) connections: Gauge,
    pub(crate) connections_max: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) retained: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) kept_bytes: Gauge,
    /// Sessions that had no room for a message and have not had plenty since.
    pub(crate) sessions_full: Gauge,
    /// 1 while the disk has no room for more messages of sessions.
    pub(crate) store_full: Gauge,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    packets_received: Labelled,
    packets_sent: Labelled,
    closed: Labelled,
    refused: Labelled,
    violations: Labelled,
    dropped: Labelled,
    pub(crate) subscriptions_refused: Counter,
    /// Of all reasons.
    dropped_in_all: Counter,
    /// The most connections that there were at once. Written when a connection begins.
    pub(crate) connections_seen: Arc<AtomicI64>,
    rate_limited: Labelled,
    /// The families' counters by kind, so that a batch takes no lock of a family.
    received_by_kind: [Counter; Kind::COUNT],
    sent_by_kind: [Counter; Kind::COUNT],
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        let packets_received = Labelled::default();
        let packets_sent = Labelled::default();
        let by_kind = |family: &Labelled, sends: fn(Kind) -> bool| {
            std::array::from_fn(|i| {
                match u8::try_from(i).ok().and_then(Kind::from_bits).filter(|kind| sends(*kind)) {
                    Some(kind) => family.get_or_create_owned(&[("type", kind.label())]),
                    None => Counter::default(),
                }
            })
        };
        BrokerMetrics {
            connections: Gauge::default(),
            connections_max: Gauge::default(),
            sessions: Gauge::default(),
            subscriptions: Gauge::default(),
            retained: Gauge::default(),
            queued: Gauge::default(),
            kept_bytes: Gauge::default(),
            sessions_full: Gauge::default(),
            store_full: Gauge::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            received_by_kind: by_kind(&packets_received, Kind::is_from_client),
            sent_by_kind: by_kind(&packets_sent, Kind::is_from_server),
            packets_received,
            packets_sent,
            closed: Labelled::default(),
            refused: Labelled::default(),
            violations: Labelled::default(),
            dropped: Labelled::default(),
            subscriptions_refused: Counter::default(),
            dropped_in_all: Counter::default(),
            connections_seen: Arc::default(),
            rate_limited: Labelled::default(),
        }
    }
}

impl BrokerMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let m = self.clone();
        registry.register("mqtt_connections", "Connected clients", m.connections);
        registry.register(
            "mqtt_connections_max",
            "MQTT connections that may be open: as configured, or as open files allow",
            m.connections_max,
        );
        registry.register("mqtt_sessions", "Sessions, connected or parked", m.sessions);
        registry.register("mqtt_subscriptions", "Subscriptions of all sessions", m.subscriptions);
        registry.register("mqtt_retained_messages", "Retained messages", m.retained);
        registry.register("mqtt_queued_messages", "Messages queued for subscribers", m.queued);
        registry.register_with_unit(
            "mqtt_kept_messages",
            "Bytes of messages that sessions keep on disk",
            Unit::Bytes,
            m.kept_bytes,
        );
        registry.register(
            "mqtt_sessions_full",
            "Sessions whose queue was full, until half of it is free",
            m.sessions_full,
        );
        registry.register(
            "mqtt_store_full",
            "Whether messages are refused because those of all sessions take what they may of the disk",
            m.store_full,
        );
        registry.register_with_unit(
            "mqtt_received",
            "Bytes read from clients",
            Unit::Bytes,
            m.bytes_received,
        );
        registry.register_with_unit(
            "mqtt_sent",
            "Bytes written to clients",
            Unit::Bytes,
            m.bytes_sent,
        );
        registry.register(
            "mqtt_packets_received",
            "Packets from clients by type",
            m.packets_received,
        );
        registry.register("mqtt_packets_sent", "Packets to clients by type", m.packets_sent);
        registry.register("mqtt_connections_closed", "Ended connections by reason", m.closed);
        registry.register("mqtt_connections_refused", "Refused connections by reason", m.refused);
        registry.register(
            "mqtt_protocol_violations",
            "Connections ended for breaking the protocol, by reason",
            m.violations,
        );
        registry.register(
            "mqtt_messages_dropped",
            "Messages that a subscriber, the retained store or a rule did not get, by reason",
            m.dropped,
        );
        registry.register(
            "mqtt_subscriptions_refused",
            "Subscriptions that their client may not have",
            m.subscriptions_refused,
        );
        registry.register(
            "mqtt_rate_limited",
            "Times that a client was held back for publishing too fast, by the bound it was over",
            m.rate_limited,
        );
    }

    /// PUBLISH packets taken in.
    pub fn publishes_received(&self) -> u64 {
        self.received_by_kind[Kind::Publish as usize].get()
    }

    /// PUBLISH packets sent.
    pub(crate) fn publishes_sent(&self) -> u64 {
        self.sent_by_kind[Kind::Publish as usize].get()
    }

    /// Connections that were let in.
    pub(crate) fn connects(&self) -> u64 {
        self.received_by_kind[Kind::Connect as usize].get()
    }

    /// Packets of every kind from clients.
    pub(crate) fn all_received(&self) -> u64 {
        self.received_by_kind.iter().map(Counter::get).sum()
    }

    /// Packets of every kind to clients.
    pub(crate) fn all_sent(&self) -> u64 {
        self.sent_by_kind.iter().map(Counter::get).sum()
    }

    /// Messages dropped for whatever reason.
    pub(crate) fn all_dropped(&self) -> u64 {
        self.dropped_in_all.get()
    }

    /// A connection begins.
    pub(crate) fn count_connection(&self) {
        let before = self.connections.inc();
        self.connections_seen.fetch_max(before + 1, Ordering::Relaxed);
    }

    pub(crate) fn count_received(&self, counts: &mut PacketCounts) {
        add(&self.received_by_kind, counts);
    }

    pub(crate) fn count_sent(&self, counts: &mut PacketCounts) {
        add(&self.sent_by_kind, counts);
    }

    pub(crate) fn count_closed(&self, reason: &'static str) {
        self.closed.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn count_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn count_rate_limited(&self, by: Over) {
        self.rate_limited.get_or_create(&[("by", by.label())]).inc();
    }

    pub(crate) fn count_violation(&self, reason: &'static str) {
        self.violations.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn count_dropped(&self, reason: Dropped) {
        self.count_all_dropped(reason, 1);
    }

    /// So many messages were, for one reason.
    pub(crate) fn count_all_dropped(&self, reason: Dropped, messages: usize) {
        if messages > 0 {
            let messages = u64::try_from(messages).unwrap_or(u64::MAX);
            self.dropped.get_or_create(&[("reason", reason.label())]).inc_by(messages);
            self.dropped_in_all.inc_by(messages);
        }
    }
}

fn add(counters: &[Counter; Kind::COUNT], counts: &mut PacketCounts) {
    for (counter, count) in counters.iter().zip(counts.iter_mut()).filter(|(_, n)| **n > 0) {
        counter.inc_by(u64::from(std::mem::take(count)));
    }
}
