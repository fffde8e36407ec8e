//! DescribeStream, DescribeStreamSummary, DescribeLimits, ListStreams and ListShards.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use super::Kinesis;
use super::answer;
use super::answer::ModeDetails;
use super::answer::Shard;
use super::encryption::KMS;
use super::fault::Fault;
use super::fault::Findings;
use super::shape::Ignored;
use super::shape::Integer;
use super::shape::Text;
use super::shape::Time;
use super::shape::structure;
use super::target::checked_name;
use super::target::live;
use super::target::no_stream;
use super::target::shard_id;
use super::target::stream_name;
use super::token::NextPage;
use crate::clock::Timestamp;
use crate::limits::KINESIS_LISTED_DEFAULT;
use crate::limits::KINESIS_SHARDS_LISTED_MAX;
use crate::limits::SHARDS_MAX;
use crate::limits::STREAMS_MAX;
use crate::stream::Described;
use crate::stream::ShardEntry;
use crate::stream::ShardId;

/// Asks for at most so many, in every list.
const LIMIT_MAX: i64 = 10_000;
/// What begins a next token of ListStreams.
const STREAMS: &str = "streams";
/// The same of ListShards.
const SHARDS: &str = "shards";

const FILTERS: [&str; 6] = [
    "AFTER_SHARD_ID",
    "AT_TRIM_HORIZON",
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
];

/// A request for a stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    limit: Option<Integer>,
    exclusive_start_shard_id: Option<Text>,
}

/// DescribeStream's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamAnswer {
    stream_description: Description,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(flatten)]
    facts: Facts,
    shards: Vec<Shard>,
    has_more_shards: bool,
    enhanced_monitoring: [Monitoring; 1],
}

/// What both descriptions have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Facts {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: ModeDetails,
    retention_period_hours: u64,
    stream_creation_timestamp: answer::Time,
    encryption_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Monitoring {
    shard_level_metrics: Vec<&'static str>,
}

impl Monitoring {
    fn of(stream: &Described) -> [Monitoring; 1] {
        [Monitoring { shard_level_metrics: stream.shard_metrics.names().collect() }]
    }
}

/// DescribeStreamSummary's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SummaryAnswer {
    stream_description_summary: Summary,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    #[serde(flatten)]
    facts: Facts,
    open_shard_count: u64,
    consumer_count: u64,
    enhanced_monitoring: [Monitoring; 1],
}

impl Facts {
    fn of(kinesis: &Kinesis, stream: &Described) -> Facts {
        Facts {
            stream_arn: kinesis.arn_of(&stream.name),
            stream_name: stream.name.clone(),
            stream_status: status(stream),
            stream_mode_details: ModeDetails::of(stream.is_limited),
            retention_period_hours: stream.retention.as_secs() / 3600,
            stream_creation_timestamp: answer::Time(stream.created_at),
            encryption_type: if stream.key_id.is_some() { KMS } else { "NONE" },
            key_id: stream.key_id.clone(),
            max_record_size: stream.record_bytes_max / 1024,
        }
    }
}

fn status(stream: &Described) -> &'static str {
    if stream.is_deleting { "DELETING" } else { "ACTIVE" }
}

/// Answers a stream with its shards.
pub(super) async fn stream(
    kinesis: &Arc<Kinesis>,
    request: StreamRequest,
) -> Result<StreamAnswer, Fault> {
    let mut findings = Findings::default();
    let limit = request.limit.map(|limit| limit.0);
    findings.range(limit, "limit", 1, LIMIT_MAX);
    findings.shard_id(request.exclusive_start_shard_id.as_ref(), "exclusiveStartShardId");
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let after = after_shard(request.exclusive_start_shard_id)?;
    let limit = page_size(limit, KINESIS_LISTED_DEFAULT);
    let this = Arc::clone(kinesis);
    let read = kinesis.pool.read(move |reader| {
        let found = reader.describe(&name)?.ok_or_else(|| this.no_stream(&name))?;
        let mut shards = reader.shard_entries(&found)?;
        shards.retain(|shard| after.is_none_or(|after| shard.id > after));
        let has_more_shards = shards.len() > limit;
        shards.truncate(limit);
        Ok(StreamAnswer {
            stream_description: Description {
                facts: Facts::of(&this, &found),
                shards: shards.iter().map(Shard::of).collect(),
                has_more_shards,
                enhanced_monitoring: Monitoring::of(&found),
            },
        })
    });
    read.await
}

/// Answers a stream without its shards.
pub(super) async fn summary(
    kinesis: &Arc<Kinesis>,
    request: StreamRequest,
) -> Result<SummaryAnswer, Fault> {
    let name = checked_name(Findings::default(), request.stream_name, request.stream_arn)?;
    let this = Arc::clone(kinesis);
    let read = kinesis.pool.read(move |reader| {
        let found = reader.describe(&name)?.ok_or_else(|| this.no_stream(&name))?;
        Ok(SummaryAnswer {
            stream_description_summary: Summary {
                facts: Facts::of(&this, &found),
                open_shard_count: found.shards_open,
                consumer_count: reader.registered_count(&found)?,
                enhanced_monitoring: Monitoring::of(&found),
            },
        })
    });
    read.await
}

/// DescribeLimits' answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LimitsAnswer {
    shard_limit: u64,
    open_shard_count: u64,
    on_demand_stream_count: u64,
    on_demand_stream_count_limit: u64,
}

/// Answers how many shards and streams there are and may be.
pub(super) async fn limits(kinesis: &Arc<Kinesis>, _: Ignored) -> Result<LimitsAnswer, Fault> {
    let (open_shard_count, on_demand_stream_count) =
        kinesis.pool.read(|reader| Ok(reader.counts()?)).await?;
    Ok(LimitsAnswer {
        shard_limit: SHARDS_MAX,
        open_shard_count,
        on_demand_stream_count,
        on_demand_stream_count_limit: STREAMS_MAX,
    })
}

/// ListStreams' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamsRequest {
    limit: Option<Integer>,
    exclusive_start_stream_name: Option<Text>,
    next_token: Option<Text>,
}

/// ListStreams' answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamsAnswer {
    stream_names: Vec<String>,
    has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    stream_summaries: Vec<Listed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: ModeDetails,
    stream_creation_timestamp: answer::Time,
}

/// Answers the names of all streams, a page at a time.
pub(super) async fn streams(
    kinesis: &Arc<Kinesis>,
    request: StreamsRequest,
) -> Result<StreamsAnswer, Fault> {
    let mut findings = Findings::default();
    let limit = request.limit.map(|limit| limit.0);
    findings.range(limit, "limit", 1, LIMIT_MAX);
    let after = request.exclusive_start_stream_name;
    findings.length(after.as_ref().map(|name| &*name.0), "exclusiveStartStreamName", 1, 128);
    findings.finish()?;
    let now = kinesis.clock.now();
    let after = match (request.next_token, after) {
        (Some(_), Some(_)) => {
            let message = "NextToken and ExclusiveStartStreamName cannot both be given.";
            return Err(Fault::invalid(message));
        }
        (Some(Text(token)), None) => {
            let page = NextPage::parse(&token, now)?;
            let is_mine = page.of == STREAMS;
            Some(is_mine.then_some(page.after).ok_or(Fault::invalid("Invalid NextToken."))?)
        }
        (None, after) => after.map(|after| after.0),
    };
    let limit = page_size(limit, KINESIS_LISTED_DEFAULT);
    let read = kinesis.pool.read(move |reader| {
        // One more tells whether there is a next page.
        Ok(reader.describe_after(after.as_deref(), limit + 1)?)
    });
    let mut found = read.await?;
    let has_more_streams = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more_streams);
    let next = last.map(|last| NextPage { of: STREAMS.to_owned(), after: last.name.clone() });
    let listed = |stream: &Described| Listed {
        stream_arn: kinesis.arn_of(&stream.name),
        stream_name: stream.name.clone(),
        stream_status: status(stream),
        stream_mode_details: ModeDetails::of(stream.is_limited),
        stream_creation_timestamp: answer::Time(stream.created_at),
    };
    Ok(StreamsAnswer {
        stream_names: found.iter().map(|stream| stream.name.clone()).collect(),
        has_more_streams,
        next_token: next.map(|next| next.issue(now)),
        stream_summaries: found.iter().map(listed).collect(),
    })
}

/// ListShards' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardsRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    next_token: Option<Text>,
    exclusive_start_shard_id: Option<Text>,
    max_results: Option<Integer>,
    stream_creation_timestamp: Option<Time>,
    #[serde(default, deserialize_with = "structure")]
    shard_filter: Option<FilterRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterRequest {
    #[serde(rename = "Type")]
    kind: Option<Text>,
    shard_id: Option<Text>,
    timestamp: Option<Time>,
}

/// ListShards' answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardsAnswer {
    shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Which shards are listed (`ShardFilter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    All,
    After(ShardId),
    /// Those that nothing kept is before.
    AtTrimHorizon,
    AtLatest,
    AtTimestamp(Timestamp),
    FromTimestamp(Timestamp),
}

impl Filter {
    fn of(request: Option<FilterRequest>) -> Result<Filter, Fault> {
        let Some(FilterRequest { kind, shard_id: shard, timestamp }) = request else {
            return Ok(Filter::All);
        };
        let mut findings = Findings::default();
        findings.needs(kind.as_ref(), "shardFilter.type");
        findings.word(kind.as_ref().map(|kind| &*kind.0), "shardFilter.type", &FILTERS);
        findings.shard_id(shard.as_ref(), "shardFilter.shardId");
        findings.finish()?;
        let kind = kind.map(|kind| kind.0).unwrap_or_default();
        let time = || {
            let message = format!("Timestamp must be given with a shard filter of type {kind}.");
            timestamp.map(|time| time.0).ok_or(Fault::invalid(message))
        };
        Ok(match &*kind {
            "AFTER_SHARD_ID" => {
                let message = "ShardId must be given with a shard filter of type AFTER_SHARD_ID.";
                Filter::After(after_shard(shard)?.ok_or(Fault::invalid(message))?)
            }
            "AT_TRIM_HORIZON" => Filter::AtTrimHorizon,
            "AT_LATEST" => Filter::AtLatest,
            "AT_TIMESTAMP" => Filter::AtTimestamp(time()?),
            "FROM_TIMESTAMP" => Filter::FromTimestamp(time()?),
            _ => Filter::All,
        })
    }

    /// As a next token carries it.
    fn spelled(self) -> String {
        match self {
            Filter::All => "all".to_owned(),
            Filter::After(shard) => format!("after {}", shard.0),
            Filter::AtTrimHorizon => "horizon".to_owned(),
            Filter::AtLatest => "latest".to_owned(),
            Filter::AtTimestamp(at) => format!("at {}", at.as_millis()),
            Filter::FromTimestamp(at) => format!("from {}", at.as_millis()),
        }
    }

    fn parse(text: &str) -> Option<Filter> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let time = || rest.parse().ok().map(Timestamp::from_millis);
        match word {
            "all" => Some(Filter::All),
            "after" => rest.parse().ok().map(|shard| Filter::After(ShardId(shard))),
            "horizon" => Some(Filter::AtTrimHorizon),
            "latest" => Some(Filter::AtLatest),
            "at" => time().map(Filter::AtTimestamp),
            "from" => time().map(Filter::FromTimestamp),
            _ => None,
        }
    }

    fn apply(self, shards: &mut Vec<ShardEntry>) {
        match self {
            Filter::All => {}
            Filter::After(after) => shards.retain(|shard| shard.id > after),
            Filter::AtTrimHorizon => {
                let kept: HashSet<ShardId> = shards.iter().map(|shard| shard.id).collect();
                shards.retain(|shard| !shard.parents.iter().flatten().any(|p| kept.contains(p)));
            }
            Filter::AtLatest => shards.retain(|shard| shard.closed_at.is_none()),
            Filter::AtTimestamp(at) => shards.retain(|shard| {
                shard.opened_at <= at && shard.closed_at.is_none_or(|closed| closed > at)
            }),
            Filter::FromTimestamp(at) => {
                shards.retain(|shard| shard.closed_at.is_none_or(|closed| closed >= at));
            }
        }
    }
}

/// Which shards a request asks for.
struct Asked {
    stream: String,
    filter: Filter,
    after: Option<ShardId>,
    created_at: Option<Timestamp>,
}

impl Asked {
    fn of(request: ShardsRequest, now: Timestamp) -> Result<Asked, Fault> {
        let Some(Text(token)) = request.next_token else {
            return Ok(Asked {
                stream: stream_name(request.stream_name, request.stream_arn)?,
                filter: Filter::of(request.shard_filter)?,
                after: after_shard(request.exclusive_start_shard_id)?,
                created_at: request.stream_creation_timestamp.map(|time| time.0),
            });
        };
        let is_named = request.stream_name.is_some() || request.stream_arn.is_some();
        let named = is_named.then(|| stream_name(request.stream_name, request.stream_arn));
        let named = named.transpose()?;
        let invalid = || Fault::invalid("Invalid NextToken.");
        let page = NextPage::parse(&token, now)?;
        let mut parts = page.of.splitn(3, ' ');
        let (Some(SHARDS), Some(stream), Some(filter)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        // boto3's pages say the name again.
        if named.is_some_and(|named| named != stream) {
            let message = "NextToken and StreamName cannot be provided together.";
            return Err(Fault::invalid(message));
        }
        Ok(Asked {
            stream: stream.to_owned(),
            filter: Filter::parse(filter).ok_or_else(invalid)?,
            after: Some(ShardId(page.after.parse().map_err(|_| invalid())?)),
            created_at: None,
        })
    }
}

/// Answers the shards of a stream, a page at a time.
pub(super) async fn shards(
    kinesis: &Arc<Kinesis>,
    request: ShardsRequest,
) -> Result<ShardsAnswer, Fault> {
    let mut findings = Findings::default();
    let limit = request.max_results.as_ref().map(|limit| limit.0);
    findings.range(limit, "maxResults", 1, LIMIT_MAX);
    findings.shard_id(request.exclusive_start_shard_id.as_ref(), "exclusiveStartShardId");
    findings.stream_name(request.stream_name.as_ref());
    findings.arn(request.stream_arn.as_ref(), "streamARN");
    findings.finish()?;
    let now = kinesis.clock.now();
    let Asked { stream, filter, after, created_at } = Asked::of(request, now)?;
    let limit = page_size(limit, KINESIS_SHARDS_LISTED_MAX).min(KINESIS_SHARDS_LISTED_MAX);
    let account = kinesis.account_id.clone();
    let read = kinesis.pool.read(move |reader| {
        let found = live(reader, &stream, &account)?;
        if created_at.is_some_and(|at| !found.is_created_in_second_of(at)) {
            return Err(no_stream(&stream, &account));
        }
        let mut shards = reader.shard_entries(&found)?;
        filter.apply(&mut shards);
        shards.retain(|shard| after.is_none_or(|after| shard.id > after));
        let has_more = shards.len() > limit;
        shards.truncate(limit);
        let next = shards.last().filter(|_| has_more).map(|last| NextPage {
            of: format!("{SHARDS} {stream} {}", filter.spelled()),
            after: last.id.0.to_string(),
        });
        Ok(ShardsAnswer {
            shards: shards.iter().map(Shard::of).collect(),
            next_token: next.map(|next| next.issue(now)),
        })
    });
    read.await
}

/// How many members a page has.
pub(super) fn page_size(asked: Option<i64>, default: usize) -> usize {
    asked.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default)
}

fn after_shard(shard: Option<Text>) -> Result<Option<ShardId>, Fault> {
    let Some(Text(shard)) = shard else { return Ok(None) };
    let invalid = || Fault::invalid(format!("ShardId {shard} is not a shard's."));
    shard_id(&shard).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_read_back_from_next_tokens() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        for filter in [
            Filter::All,
            Filter::After(ShardId(7)),
            Filter::AtTrimHorizon,
            Filter::AtLatest,
            Filter::AtTimestamp(at),
            Filter::FromTimestamp(at),
        ] {
            assert_eq!(Filter::parse(&filter.spelled()), Some(filter));
        }
        for wrong in ["", "after x", "at", "none"] {
            assert_eq!(Filter::parse(wrong), None, "{wrong}");
        }
    }
}
