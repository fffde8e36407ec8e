//! What listeners count, each under its name.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use std::sync::Arc;

use super::Door;

type ByListener<M> = Family<[(&'static str, String); 1], M>;
type ByListenerAndWord = Family<[(&'static str, String); 2], Counter>;

/// The listeners' metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerMetrics {
    connections: ByListener<Gauge>,
    connections_max: ByListener<Gauge>,
    accepted: ByListener<Counter>,
    handshakes: ByListener<Counter>,
    failed: ByListenerAndWord,
    refused: ByListenerAndWord,
    reloads: ByListenerAndWord,
}

/// The ones of one listener that every connection changes.
#[derive(Clone, Debug)]
pub(super) struct DoorCounts {
    pub(super) connections: Gauge,
    pub(super) accepted: Counter,
    pub(super) handshakes: Counter,
}

impl ListenerMetrics {
    /// Registers all of them, and the expiry of the `doors`' certificates.
    pub(crate) fn register(&self, doors: &[Arc<Door>], registry: &mut Registry) {
        let m = self.clone();
        registry.register("listener_connections", "Open connections by listener", m.connections);
        registry.register(
            "listener_connections_max",
            "Connections that a listener takes",
            m.connections_max,
        );
        registry.register(
            "listener_connections_accepted",
            "Connections accepted by listener",
            m.accepted,
        );
        registry.register("tls_handshakes", "TLS handshakes done by listener", m.handshakes);
        registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that came to nothing, by listener and reason",
            m.failed,
        );
        registry.register(
            "websocket_refused",
            "Requests that were not upgraded to WebSocket, by listener and reason",
            m.refused,
        );
        registry.register(
            "tls_certificate_reloads",
            "Certificates read again, by listener and result",
            m.reloads,
        );
        registry.register_collector(Box::new(Expiry(doors.to_vec())));
    }

    pub(super) fn of(&self, listener: &str, connections_max: usize) -> DoorCounts {
        let labels = [("listener", listener.to_owned())];
        let max = i64::try_from(connections_max).unwrap_or(i64::MAX);
        self.connections_max.get_or_create(&labels).set(max);
        DoorCounts {
            connections: self.connections.get_or_create_owned(&labels),
            accepted: self.accepted.get_or_create_owned(&labels),
            handshakes: self.handshakes.get_or_create_owned(&labels),
        }
    }

    pub(super) fn count_failed(&self, listener: &str, reason: &'static str) {
        count(&self.failed, listener, "reason", reason);
    }

    pub(super) fn count_refused(&self, listener: &str, reason: &'static str) {
        count(&self.refused, listener, "reason", reason);
    }

    /// A certificate was read again: `applied`, `unchanged` or `failed`.
    pub(crate) fn count_reload(&self, listener: &str, result: &'static str) {
        count(&self.reloads, listener, "result", result);
    }
}

fn count(family: &ByListenerAndWord, listener: &str, name: &'static str, word: &'static str) {
    family.get_or_create(&[("listener", listener.to_owned()), (name, word.to_owned())]).inc();
}

/// When certificates expire, asked for at each scrape.
#[derive(Debug)]
struct Expiry(Vec<Arc<Door>>);

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.0.iter().all(|door| door.tls.is_none()) {
            return Ok(());
        }
        let family = ConstGauge::new(0_i64);
        let mut metric = encoder.encode_descriptor(
            "tls_certificate_expiry_timestamp",
            "When a listener's certificate expires, Unix time",
            Some(&Unit::Seconds),
            family.metric_type(),
        )?;
        for door in &self.0 {
            let Some(tls) = &door.tls else { continue };
            let labels = [("listener", door.name.to_string())];
            let seconds = tls.expires_at().as_millis() / 1000;
            ConstGauge::new(seconds).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
