//! What connections to other brokers count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

/// One label: the connection. As many as the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: String,
}

/// The same with a reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    upstream: String,
    reason: &'static str,
}

/// Counters and gauges of all connections to other brokers.
#[derive(Clone, Debug, Default)]
pub struct UpstreamMetrics {
    connected: Family<UpstreamLabel, Gauge>,
    connects: Family<UpstreamLabel, Counter>,
    failures: Family<UpstreamLabel, Counter>,
    received: Family<UpstreamLabel, Counter>,
    skipped: Family<ReasonLabel, Counter>,
    acks_waiting: Family<UpstreamLabel, Gauge>,
    subscriptions: Family<UpstreamLabel, Gauge>,
    refused_subscriptions: Family<UpstreamLabel, Gauge>,
    forwarded: Family<UpstreamLabel, Counter>,
    dropped: Family<ReasonLabel, Counter>,
    in_flight: Family<UpstreamLabel, Gauge>,
    backlog_messages: Family<UpstreamLabel, Gauge>,
    backlog_bytes: Family<UpstreamLabel, Gauge>,
    backlog_oldest: Family<UpstreamLabel, Gauge>,
}

/// Why a message of the other broker is acknowledged and not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// What the gateway itself had sent.
    Echo,
    /// A copy by another subscription.
    Overlap,
    /// Stored before the subscription: rules see what is published from then on.
    Retained,
    /// A topic that is none, or none of those subscribed to.
    Topic,
    /// It has gone through too many gateways.
    Loop,
}

impl Skipped {
    fn as_str(self) -> &'static str {
        match self {
            Skipped::Echo => "echo",
            Skipped::Overlap => "overlap",
            Skipped::Retained => "retained",
            Skipped::Topic => "topic",
            Skipped::Loop => "loop",
        }
    }
}

/// Why a message that was to be sent is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The backlog was too large or it was too old.
    Backlog,
    /// Its message expiry has passed.
    Expired,
    /// The other broker takes no packet of its size.
    TooLarge,
    /// The other broker refuses it for good.
    Refused,
    /// It cannot be read from the disk.
    Damaged,
    /// What its topic would be called there is no topic.
    Topic,
}

impl Lost {
    fn as_str(self) -> &'static str {
        match self {
            Lost::Backlog => "backlog",
            Lost::Expired => "expired",
            Lost::TooLarge => "too_large",
            Lost::Refused => "refused",
            Lost::Damaged => "damaged",
            Lost::Topic => "topic",
        }
    }
}

/// The metrics of one connection.
#[derive(Clone, Debug)]
pub(super) struct OneUpstream {
    all: UpstreamMetrics,
    name: String,
    pub(super) connected: Gauge,
    pub(super) connects: Counter,
    pub(super) failures: Counter,
    pub(super) received: Counter,
    pub(super) acks_waiting: Gauge,
    pub(super) subscriptions: Gauge,
    pub(super) refused_subscriptions: Gauge,
    pub(super) forwarded: Counter,
    pub(super) in_flight: Gauge,
    pub(super) backlog_messages: Gauge,
    pub(super) backlog_bytes: Gauge,
    pub(super) backlog_oldest: Gauge,
}

impl OneUpstream {
    pub(super) fn count_skipped(&self, reason: Skipped) {
        self.all.skipped.get_or_create(&self.reason(reason.as_str())).inc();
    }

    pub(super) fn count_lost(&self, reason: Lost, messages: u64) {
        self.all.dropped.get_or_create(&self.reason(reason.as_str())).inc_by(messages);
    }

    /// Messages lost for any reason since the start.
    pub(super) fn lost(&self) -> u64 {
        [Lost::Backlog, Lost::Expired, Lost::TooLarge, Lost::Refused, Lost::Damaged, Lost::Topic]
            .into_iter()
            .map(|reason| self.all.dropped.get_or_create(&self.reason(reason.as_str())).get())
            .sum()
    }

    fn reason(&self, reason: &'static str) -> ReasonLabel {
        ReasonLabel { upstream: self.name.clone(), reason }
    }
}

impl UpstreamMetrics {
    /// Adds all to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("upstream");
        registry.register("connected", "1 while connected", self.connected.clone());
        registry.register("connects", "Connections that came to be", self.connects.clone());
        registry.register(
            "failures",
            "Connections that ended or did not come to be",
            self.failures.clone(),
        );
        registry.register("received", "Messages of the other broker", self.received.clone());
        registry.register(
            "skipped",
            "Messages of the other broker that were acknowledged and not taken, by reason",
            self.skipped.clone(),
        );
        registry.register(
            "acks_waiting",
            "Messages of the other broker that wait for their commit",
            self.acks_waiting.clone(),
        );
        registry.register("subscriptions", "Subscriptions granted", self.subscriptions.clone());
        registry.register(
            "refused_subscriptions",
            "Subscriptions refused",
            self.refused_subscriptions.clone(),
        );
        registry.register(
            "forwarded",
            "Messages that the other broker has acknowledged",
            self.forwarded.clone(),
        );
        registry.register("dropped", "Messages not sent, by reason", self.dropped.clone());
        registry.register(
            "in_flight",
            "Messages sent and not acknowledged yet",
            self.in_flight.clone(),
        );
        registry.register(
            "backlog_messages",
            "Messages stored to be sent",
            self.backlog_messages.clone(),
        );
        registry.register_with_unit(
            "backlog",
            "Bytes of messages stored to be sent",
            Unit::Bytes,
            self.backlog_bytes.clone(),
        );
        registry.register_with_unit(
            "backlog_oldest_timestamp",
            "Arrival of the message that waits longest, since the epoch; 0 when none waits",
            Unit::Seconds,
            self.backlog_oldest.clone(),
        );
    }

    pub(super) fn of(&self, name: &str) -> OneUpstream {
        let label = UpstreamLabel { upstream: name.to_owned() };
        OneUpstream {
            all: self.clone(),
            name: name.to_owned(),
            connected: self.connected.get_or_create_owned(&label),
            connects: self.connects.get_or_create_owned(&label),
            failures: self.failures.get_or_create_owned(&label),
            received: self.received.get_or_create_owned(&label),
            acks_waiting: self.acks_waiting.get_or_create_owned(&label),
            subscriptions: self.subscriptions.get_or_create_owned(&label),
            refused_subscriptions: self.refused_subscriptions.get_or_create_owned(&label),
            forwarded: self.forwarded.get_or_create_owned(&label),
            in_flight: self.in_flight.get_or_create_owned(&label),
            backlog_messages: self.backlog_messages.get_or_create_owned(&label),
            backlog_bytes: self.backlog_bytes.get_or_create_owned(&label),
            backlog_oldest: self.backlog_oldest.get_or_create_owned(&label),
        }
    }
}
