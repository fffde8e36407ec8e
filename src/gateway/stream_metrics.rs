//! Streams and their shards on `/metrics`.
//!
//! Labels are bounded: the first [`METRIC_STREAMS_MAX`] streams in order of their names, and up to
//! [`METRIC_SHARDS_MAX`] shards of each; a stream of more has one line for all, whose `shard` is `all`. Closed shards are
//! left out, so the counters of a shard end with it. What a stream holds is read from the disk at each scrape.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::limits::METRIC_SHARDS_MAX;
use crate::limits::METRIC_STREAMS_MAX;
use crate::retry::describe;
use crate::stream::Amount;
use crate::stream::Meter;
use crate::stream::Reader;
use crate::stream::Shard;
use crate::stream::StreamError;
use crate::stream::StreamMeter;

/// Shows them.
pub(super) struct StreamMetrics {
    reader: Mutex<Reader>,
    meter: Arc<Meter>,
    clock: Clock,
}

impl fmt::Debug for StreamMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamMetrics").finish_non_exhaustive()
    }
}

/// A shard, or all of a stream.
struct ShardLine {
    stream: Arc<str>,
    shard: String,
    came_in: Amount,
    given: Amount,
    throttled: (u64, u64),
    iterator_age: Option<Duration>,
    records: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
}

struct StreamLine {
    name: Arc<str>,
    retention: Duration,
    meter: Arc<StreamMeter>,
}

#[derive(Default)]
struct Lines {
    streams: Vec<StreamLine>,
    shards: Vec<ShardLine>,
    left_out: u64,
}

impl StreamMetrics {
    /// Reads over `reader`, which blocks for as long as the disk takes.
    pub(super) fn new(reader: Reader, meter: Arc<Meter>, clock: Clock) -> StreamMetrics {
        StreamMetrics { reader: Mutex::new(reader), meter, clock }
    }

    fn lines(&self) -> Result<Lines, StreamError> {
        let (reader, now) = (self.reader.lock(), self.clock.now());
        let mut lines = Lines { left_out: reader.count()?, ..Lines::default() };
        for stream in reader.describe_after(None, METRIC_STREAMS_MAX)? {
            if stream.is_deleting {
                continue;
            }
            lines.left_out = lines.left_out.saturating_sub(1);
            // It may have been deleted meanwhile.
            let Ok(mut shards) = reader.shards(&stream.name) else { continue };
            shards.retain(|shard| shard.closed_at.is_none());
            let (name, meter) = (Arc::from(&*stream.name), self.meter.stream(&stream.name));
            let of_shards = shards.iter().map(|shard| shard_line(&name, &meter, shard, now));
            if shards.len() > METRIC_SHARDS_MAX {
                lines.shards.extend(of_shards.reduce(together));
            } else {
                lines.shards.extend(of_shards);
            }
            lines.streams.push(StreamLine { name, retention: stream.retention, meter });
        }
        Ok(lines)
    }
}

fn shard_line(stream: &Arc<str>, meter: &StreamMeter, shard: &Shard, now: Timestamp) -> ShardLine {
    let counted = meter.shard(shard.id);
    ShardLine {
        stream: Arc::clone(stream),
        shard: shard.id.to_string(),
        came_in: counted.came_in(),
        given: counted.given(),
        throttled: counted.throttled(),
        iterator_age: counted.iterator_age(now),
        records: shard.records,
        bytes: shard.bytes,
        oldest: shard.first_at,
    }
}

fn together(one: ShardLine, other: ShardLine) -> ShardLine {
    let sum = |one: Amount, other: Amount| Amount {
        records: one.records + other.records,
        bytes: one.bytes + other.bytes,
    };
    ShardLine {
        shard: "all".to_owned(),
        came_in: sum(one.came_in, other.came_in),
        given: sum(one.given, other.given),
        throttled: (one.throttled.0 + other.throttled.0, one.throttled.1 + other.throttled.1),
        iterator_age: one.iterator_age.max(other.iterator_age),
        records: one.records + other.records,
        bytes: one.bytes + other.bytes,
        oldest: one.oldest.into_iter().chain(other.oldest).min(),
        ..one
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

impl Collector for StreamMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lines = self.lines().unwrap_or_else(|error| {
            tracing::error!(error = %describe(&error), "the streams cannot be read for the metrics");
            Lines::default()
        });
        encode_traffic(&mut encoder, &lines.shards)?;
        encode_contents(&mut encoder, &lines.shards)?;
        encode_streams(&mut encoder, &lines.streams)?;
        let help = "Streams that are not among these lines because there are too many.";
        let left_out =
            encoder.encode_descriptor("stream_lines_left_out", help, None, MetricType::Gauge)?;
        gauge(lines.left_out).encode(left_out)
    }
}

fn encode_traffic(encoder: &mut DescriptorEncoder<'_>, lines: &[ShardLine]) -> fmt::Result {
    let mut encode = |name, help, value: fn(&ShardLine) -> (u64, u64)| {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for line in lines {
            let (came_in, given) = value(line);
            for (direction, count) in [("in", came_in), ("out", given)] {
                let labels =
                    [("stream", &*line.stream), ("shard", &*line.shard), ("direction", direction)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    };
    encode(
        "stream_shard_records",
        "Records stored (in), and given to readers of the Kinesis API (out).",
        |line| (line.came_in.records, line.given.records),
    )?;
    encode("stream_shard_bytes", "Bytes of data and keys of those.", |line| {
        (line.came_in.bytes, line.given.bytes)
    })?;
    encode(
        "stream_shard_throttled",
        "Records (in) and reads (out) refused by the limits of a provisioned shard.",
        |line| line.throttled,
    )
}

fn encode_contents(encoder: &mut DescriptorEncoder<'_>, lines: &[ShardLine]) -> fmt::Result {
    let mut encode = |name, help, value: fn(&ShardLine) -> Option<u64>| {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for line in lines {
            let Some(value) = value(line) else { continue };
            let labels = [("stream", &*line.stream), ("shard", &*line.shard)];
            gauge(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    };
    encode("stream_shard_size_bytes", "Bytes of data and keys that a shard holds.", |line| {
        Some(line.bytes)
    })?;
    encode("stream_shard_size_records", "Records that a shard holds.", |line| Some(line.records))?;
    encode(
        "stream_shard_oldest_timestamp_seconds",
        "Arrival of the oldest record that a shard holds, since the epoch.",
        |line| line.oldest.map(|at| at.as_millis().unsigned_abs() / 1000),
    )?;
    encode(
        "stream_shard_iterator_age_milliseconds",
        "How far the furthest reader of the last minute or two was behind.",
        |line| line.iterator_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    )
}

fn encode_streams(encoder: &mut DescriptorEncoder<'_>, lines: &[StreamLine]) -> fmt::Result {
    let mut encode = |name, help, kind: MetricType, value: fn(&StreamLine) -> Option<u64>| {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for line in lines {
            let Some(value) = value(line) else { continue };
            let labels = [("stream", &*line.name)];
            match kind {
                MetricType::Counter => {
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
                _ => gauge(value).encode(family.encode_family(&labels)?)?,
            }
        }
        Ok(())
    };
    let (counter, is_gauge) = (MetricType::Counter, MetricType::Gauge);
    encode("stream_retention_seconds", "How long records are kept.", is_gauge, |line| {
        Some(line.retention.as_secs())
    })?;
    encode(
        "stream_size_max_bytes",
        "Bytes of data and keys that a stream may hold.",
        is_gauge,
        |line| line.meter.room().map(|room| room.bytes_max),
    )?;
    encode(
        "stream_refused_records",
        "Records refused because the stream was full.",
        counter,
        |line| Some(line.meter.refused().records),
    )?;
    encode("stream_refused_bytes", "Bytes of data and keys of those.", counter, |line| {
        Some(line.meter.refused().bytes)
    })?;
    encode(
        "stream_dropped_records",
        "Records dropped because the stream was full.",
        counter,
        |line| Some(line.meter.dropped().records),
    )?;
    encode("stream_dropped_bytes", "Bytes of data and keys of those.", counter, |line| {
        Some(line.meter.dropped().bytes)
    })?;
    encode(
        "stream_locked",
        "Records and puts refused, and reads failed, because the configuration lacks the stream's key.",
        counter,
        |line| Some(line.meter.locked()),
    )
}
