//! What the Kinesis API counts. Labels are bounded: operations and error types are those of the source.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    operation: &'static str,
    error: &'static str,
}

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// The API's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KinesisMetrics {
    requests: Family<Answered, Counter>,
    seconds: Family<[(&'static str, &'static str); 1], Histogram>,
    records: Labelled,
    bytes: Labelled,
    throttled: Labelled,
    /// Records that a reader was led past because their block is damaged.
    pub(super) damaged_blocks: Counter,
    /// Subscriptions open now.
    pub(super) subscriptions: Gauge,
    /// Data of PutMetricData.
    pub(super) metric_data: Counter,
}

/// Which way records go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    In,
    Out,
}

impl Way {
    fn label(self) -> [(&'static str, &'static str); 1] {
        match self {
            Way::In => [("direction", "in")],
            Way::Out => [("direction", "out")],
        }
    }
}

impl Default for KinesisMetrics {
    fn default() -> Self {
        KinesisMetrics {
            requests: Family::default(),
            // 0.5 ms to 4 s.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 14))
            }),
            records: Family::default(),
            bytes: Family::default(),
            throttled: Family::default(),
            damaged_blocks: Counter::default(),
            subscriptions: Gauge::default(),
            metric_data: Counter::default(),
        }
    }
}

impl KinesisMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let m = self.clone();
        registry.register(
            "kinesis_requests",
            "Requests of the Kinesis API, by operation and error type (none: answered)",
            m.requests,
        );
        registry.register_with_unit(
            "kinesis_request",
            "Time from a request's head to its answer's, by operation",
            Unit::Seconds,
            m.seconds,
        );
        registry.register("kinesis_records", "Records put (in) and read (out)", m.records);
        registry.register_with_unit(
            "kinesis_record",
            "Bytes of data and keys of records put (in) and read (out)",
            Unit::Bytes,
            m.bytes,
        );
        registry.register(
            "kinesis_throttled",
            "Records (in) and reads (out) refused by the limits of a provisioned shard",
            m.throttled,
        );
        registry.register(
            "kinesis_damaged_blocks",
            "Blocks that cannot be read and that readers were led past",
            m.damaged_blocks,
        );
        registry.register(
            "kinesis_subscriptions",
            "Subscriptions of SubscribeToShard open now",
            m.subscriptions,
        );
        registry.register(
            "kinesis_metric_data",
            "Data that consumers have sent with PutMetricData; they are not kept",
            m.metric_data,
        );
    }

    pub(super) fn count(&self, operation: &'static str, error: &'static str, took: Duration) {
        self.requests.get_or_create(&Answered { operation, error }).inc();
        self.seconds.get_or_create(&[("operation", operation)]).observe(took.as_secs_f64());
    }

    pub(super) fn count_records(&self, way: Way, records: usize, bytes: usize) {
        self.records.get_or_create(&way.label()).inc_by(records as u64);
        self.bytes.get_or_create(&way.label()).inc_by(bytes as u64);
    }

    pub(super) fn count_throttled(&self, way: Way, count: usize) {
        if count > 0 {
            self.throttled.get_or_create(&way.label()).inc_by(count as u64);
        }
    }
}
