//! The streams as the gateway runs them: which there are to be, that they keep within their room, and what the API
//! shows and changes of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::api::SourceError;
use crate::api::streams::Reshard;
use crate::api::streams::ShardView;
use crate::api::streams::StreamDetail;
use crate::api::streams::StreamReader;
use crate::api::view;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::StreamConfig;
use crate::config::WhenFull;
use crate::limits;
use crate::storage::Executor;
use crate::stream;
use crate::stream::Difference;
use crate::stream::HashRange;
use crate::stream::Lineage;
use crate::stream::Meter;
use crate::stream::Overflow;
use crate::stream::OverflowSink;
use crate::stream::Reader;
use crate::stream::Refused;
use crate::stream::Shard;
use crate::stream::ShardId;
use crate::stream::StreamError;
use crate::stream::StreamMeter;
use crate::stream::StreamSummary;

use super::Parts;
use super::events::Events;
use super::rules::Rules;
use super::rules::RunningRules;
use super::view::GatewayView;
use super::view::read;

/// Streams by name; `None` for one that only rules name.
pub(super) type Declared = BTreeMap<String, Option<StreamConfig>>;

/// Makes streams that are not there; one that is keeps the shards it has, and what was declared of it
/// before where nothing is now.
pub(super) async fn declare_streams(
    executor: &Executor,
    wanted: Declared,
    clock: Clock,
) -> anyhow::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    for difference in stream::declare(executor, wanted.into_iter().collect(), clock.now()).await? {
        match difference {
            Difference::ShorterRetention { stream, before, now } => tracing::warn!(
                %stream, before_s = before.as_secs(), now_s = now.as_secs(),
                "the configuration shortens the retention of the stream; older records are deleted"
            ),
            Difference::OtherShards { stream, kept, declared } => tracing::warn!(
                %stream, kept, declared,
                "the stream keeps the number of shards it was made with; the configured one differs"
            ),
        }
    }
    Ok(())
}

/// The streams that configuration or rules name, with what the configuration declares of them.
pub(super) fn first_streams(config: &Config, rules: &Rules) -> Declared {
    let declared = config.streams.iter().map(|(name, stream)| (name.clone(), Some(stream.clone())));
    let mut streams: Declared = declared.collect();
    for name in named_streams(rules) {
        streams.entry(name.to_owned()).or_default();
    }
    streams
}

/// The streams that rules write or read.
pub(super) fn named_streams(rules: &Rules) -> BTreeSet<&str> {
    let rules = rules.list().iter();
    let read =
        rules.clone().filter_map(|rule| rule.source()).map(|source| source.name.node.as_str());
    rules.flat_map(|rule| rule.streams()).chain(read).collect()
}

impl Parts<'_> {
    /// Keeps streams within their room, on a task of its own that ends with the journal.
    pub(super) fn keep_streams(&self, running: &RunningRules) -> JoinHandle<()> {
        let (executor, meter) = (self.storage.executor(), Arc::clone(&running.hold().meter));
        let sink = Arc::new(self.events.clone());
        tokio::spawn(stream::keep_room(executor, meter, self.clock, sink))
    }
}

impl OverflowSink for Events {
    fn overflowed(&self, stream: &Arc<str>, overflow: &Overflow) {
        let (room, lost) = (overflow.room, overflow.lost);
        let policy = word(room.when_full);
        tracing::warn!(
            stream = %stream, policy, size_max = room.bytes_max, records = lost.records, bytes = lost.bytes,
            "a stream is full; so much was refused or dropped since this was told last"
        );
        self.stream_full(stream, policy, overflow);
    }
}

/// As the configuration has it.
pub(super) fn word(when_full: WhenFull) -> &'static str {
    match when_full {
        WhenFull::Refuse => "refuse",
        WhenFull::DropOldest => "drop_oldest",
    }
}

/// A stream as lists have it.
pub(super) fn stream_view(stream: StreamSummary) -> view::StreamView {
    view::StreamView {
        name: view::Text::from(stream.name.as_str()),
        shards: u32::try_from(stream.shards).unwrap_or(u32::MAX),
        kept: view::Kept {
            records: stream.records,
            bytes: stream.bytes,
            oldest: stream.first_at.map(Into::into),
            newest: stream.last_at.map(Into::into),
        },
        retention: stream.retention,
    }
}

impl GatewayView {
    /// A stream with its shards.
    pub(super) async fn stream_detail(&self, name: &str) -> Result<StreamDetail, SourceError> {
        let (reader, meter) = (Arc::clone(&self.streams), Arc::clone(&self.running.hold().meter));
        let (name, now) = (name.to_owned(), self.clock.now());
        read(move || detail(&reader, &meter, &name, now)).await
    }

    /// Gives a stream other shards.
    pub(super) async fn reshard_stream(
        &self,
        name: &str,
        change: Reshard,
    ) -> Result<StreamDetail, SourceError> {
        let lineage = Lineage::of_operator(self.executor.clone(), self.clock);
        let words = format!("{change:?}");
        let stream = name.to_owned();
        let changed = match change {
            Reshard::Split { shard, at } => {
                let shard = shard_id(&shard)?;
                let at = match at {
                    Some(at) => at.parse().map_err(|_| {
                        SourceError::Refused(format!(
                            "'{at}' is no hash key: a decimal below 2^128"
                        ))
                    })?,
                    None => middle_of(self.range_of(name, shard).await?),
                };
                lineage.split(stream, shard, at).await
            }
            Reshard::Merge { shards: [one, other] } => {
                let (one, other) = (shard_id(&one)?, shard_id(&other)?);
                let is_first =
                    self.range_of(name, one).await?.start < self.range_of(name, other).await?.start;
                let (first, second) = if is_first { (one, other) } else { (other, one) };
                lineage.merge(stream, first, second).await
            }
            Reshard::Count { shards } => {
                lineage.reshape(stream, shards).await.map(|ok| ok.map(drop))
            }
        };
        match changed {
            Ok(Ok(())) => {}
            Ok(Err(Refused::Unknown)) => return Err(SourceError::Unknown),
            Ok(Err(refused)) => return Err(SourceError::Refused(refused.to_string())),
            Err(error) => return Err(SourceError::from(StreamError::from(error))),
        }
        tracing::info!(stream = name, change = %words, "the shards of a stream are changed by an operator");
        self.stream_detail(name).await
    }

    async fn range_of(&self, name: &str, shard: ShardId) -> Result<HashRange, SourceError> {
        let (reader, name) = (Arc::clone(&self.streams), name.to_owned());
        read(move || {
            let shards = reader.lock().shards(&name)?;
            let found = shards.into_iter().find(|found| found.id == shard);
            found
                .map(|found| found.range)
                .ok_or_else(|| SourceError::Refused(Refused::UnknownShard(shard).to_string()))
        })
        .await
    }
}

/// `shardId-000000000003`, or its number alone.
fn shard_id(text: &str) -> Result<ShardId, SourceError> {
    let number = text.strip_prefix("shardId-").unwrap_or(text);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_number);
    let no_shard = || SourceError::Refused(format!("'{text}' is no shard: shardId-000000000000"));
    number.map(ShardId).ok_or_else(no_shard)
}

/// Where a shard is split into halves.
fn middle_of(range: HashRange) -> u128 {
    range.start + (range.end - range.start) / 2 + 1
}

fn detail(
    reader: &Mutex<Reader>,
    meter: &Meter,
    name: &str,
    now: Timestamp,
) -> Result<StreamDetail, StreamError> {
    let reader = reader.lock();
    let shards = reader.shards(name)?;
    let described = reader.describe(name)?;
    let consumers = reader.consumers(name)?;
    let mut readers = Vec::with_capacity(consumers.len());
    for consumer in &consumers {
        let rule = view::Text::from(&*consumer.name);
        readers.push(StreamReader { rule, lag_records: reader.lag(consumer)? });
    }
    let of_stream = meter.stream(name);
    let room = of_stream.room();
    let open = shards.iter().filter(|shard| shard.closed_at.is_none()).count();
    let summary = StreamSummary {
        name: name.to_owned(),
        shards: open,
        retention: described.as_ref().map(|stream| stream.retention).unwrap_or_default(),
        created_at: described.as_ref().map_or(Timestamp::EPOCH, |stream| stream.created_at),
        records: shards.iter().map(|shard| shard.records).sum(),
        bytes: shards.iter().map(|shard| shard.bytes).sum(),
        first_at: shards.iter().filter_map(|shard| shard.first_at).min(),
        last_at: shards.iter().filter_map(|shard| shard.last_at).max(),
    };
    Ok(StreamDetail {
        stream: stream_view(summary),
        mode: match described.is_some_and(|stream| stream.is_limited) {
            true => "provisioned",
            false => "on_demand",
        },
        size_max: room.map(|room| room.bytes_max),
        full: room.map(|room| word(room.when_full)),
        refused_records: of_stream.refused().records,
        dropped_records: of_stream.dropped().records,
        shards_total: shards.len() as u64,
        shard_list: shards
            .iter()
            .take(limits::SHARDS_SHOWN_MAX)
            .map(|shard| shard_view(shard, &of_stream, now))
            .collect(),
        readers,
    })
}

fn shard_view(shard: &Shard, stream: &StreamMeter, now: Timestamp) -> ShardView {
    let meter = stream.shard(shard.id);
    let (came_in, given) = (meter.came_in(), meter.given());
    let (throttled_in, throttled_out) = meter.throttled();
    ShardView {
        shard: shard.id.to_string(),
        starting_hash_key: shard.range.start.to_string(),
        ending_hash_key: shard.range.end.to_string(),
        parents: shard.parents.iter().flatten().map(ToString::to_string).collect(),
        closed: shard.closed_at.map(Into::into),
        kept: view::Kept {
            records: shard.records,
            bytes: shard.bytes,
            oldest: shard.first_at.map(Into::into),
            newest: shard.last_at.map(Into::into),
        },
        in_records: came_in.records,
        in_bytes: came_in.bytes,
        out_records: given.records,
        out_bytes: given.bytes,
        throttled_in,
        throttled_out,
        iterator_age: meter.iterator_age(now),
    }
}
