//! What deliveries count.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

/// One label: the delivery. As many as rules and configuration name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DeliveryLabel {
    delivery: String,
}

/// Counters and gauges of all deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliveryMetrics {
    records: Family<DeliveryLabel, Counter>,
    record_bytes: Family<DeliveryLabel, Counter>,
    failed_records: Family<DeliveryLabel, Counter>,
    files: Family<DeliveryLabel, Counter>,
    failures: Family<DeliveryLabel, Counter>,
    damaged_blocks: Family<DeliveryLabel, Counter>,
    buffered_records: Family<DeliveryLabel, Gauge>,
    buffered_bytes: Family<DeliveryLabel, Gauge>,
    oldest: Family<DeliveryLabel, Gauge>,
}

/// The metrics of one delivery.
#[derive(Clone, Debug)]
pub(super) struct OneDelivery {
    pub(super) records: Counter,
    pub(super) record_bytes: Counter,
    pub(super) failed_records: Counter,
    pub(super) files: Counter,
    pub(super) failures: Counter,
    pub(super) damaged_blocks: Counter,
    pub(super) buffered_records: Gauge,
    pub(super) buffered_bytes: Gauge,
    pub(super) oldest: Gauge,
}

impl DeliveryMetrics {
    /// Adds all to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("delivery");
        registry.register("records", "Records written to files", self.records.clone());
        registry.register_with_unit(
            "record",
            "Bytes of records written to files, before compression",
            Unit::Bytes,
            self.record_bytes.clone(),
        );
        registry.register(
            "failed_records",
            "Records written to the error output",
            self.failed_records.clone(),
        );
        registry.register("files", "Files written", self.files.clone());
        registry.register(
            "failures",
            "Batches that could not be written and are tried again",
            self.failures.clone(),
        );
        registry.register(
            "damaged_blocks",
            "Stored blocks that could not be read and were left out",
            self.damaged_blocks.clone(),
        );
        registry.register("buffered_records", "Records that wait", self.buffered_records.clone());
        registry.register_with_unit(
            "buffered",
            "Bytes of records that wait",
            Unit::Bytes,
            self.buffered_bytes.clone(),
        );
        registry.register_with_unit(
            "oldest_record_timestamp",
            "Arrival of the record that waits longest, since the epoch; 0 when none waits",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    /// A delivery is gone: nothing of it is shown any more.
    pub(super) fn forget(&self, delivery: &str) {
        let label = DeliveryLabel { delivery: delivery.to_owned() };
        self.records.remove(&label);
        self.record_bytes.remove(&label);
        self.failed_records.remove(&label);
        self.files.remove(&label);
        self.failures.remove(&label);
        self.damaged_blocks.remove(&label);
        self.buffered_records.remove(&label);
        self.buffered_bytes.remove(&label);
        self.oldest.remove(&label);
    }

    pub(super) fn of(&self, delivery: &Arc<str>) -> OneDelivery {
        let label = DeliveryLabel { delivery: delivery.to_string() };
        OneDelivery {
            records: self.records.get_or_create_owned(&label),
            record_bytes: self.record_bytes.get_or_create_owned(&label),
            failed_records: self.failed_records.get_or_create_owned(&label),
            files: self.files.get_or_create_owned(&label),
            failures: self.failures.get_or_create_owned(&label),
            damaged_blocks: self.damaged_blocks.get_or_create_owned(&label),
            buffered_records: self.buffered_records.get_or_create_owned(&label),
            buffered_bytes: self.buffered_bytes.get_or_create_owned(&label),
            oldest: self.oldest.get_or_create_owned(&label),
        }
    }
}
