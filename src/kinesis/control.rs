//! What makes, changes and ends streams and shards.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use super::Kinesis;
use super::fault::Fault;
use super::fault::Findings;
use super::shape::Flag;
use super::shape::Integer;
use super::shape::Text;
use super::shape::Texts;
use super::shape::structure;
use super::tags::checked_tags;
use super::target::checked_name;
use super::target::shard_id;
use super::target::stream_name;
use crate::limits::KINESIS_ON_DEMAND_SHARDS;
use crate::limits::RECORD_BYTES_MAX;
use crate::limits::SHARDS_MAX;
use crate::limits::STREAM_RECORD_BYTES_MAX;
use crate::stream::Change;
use crate::stream::Ending;
use crate::stream::NewStream;
use crate::stream::Refused;
use crate::stream::ShardId;

const HOUR: Duration = Duration::from_secs(3600);
const RETENTION_HOURS_MIN: i64 = 24;
const RETENTION_HOURS_MAX: i64 = 365 * 24;
const MODES: [&str; 2] = ["PROVISIONED", "ON_DEMAND"];
const KIB: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModeRequest {
    stream_mode: Option<Text>,
}

/// CreateStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateRequest {
    stream_name: Option<Text>,
    shard_count: Option<Integer>,
    #[serde(default, deserialize_with = "structure")]
    stream_mode_details: Option<ModeRequest>,
    tags: Option<Texts>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: Option<Integer>,
}

/// Makes a stream. It is there, and ACTIVE, when this is answered.
pub(super) async fn create(kinesis: &Arc<Kinesis>, request: CreateRequest) -> Result<(), Fault> {
    let mut findings = Findings::default();
    findings.needs(request.stream_name.as_ref(), "streamName");
    findings.stream_name(request.stream_name.as_ref());
    let count = request.shard_count.map(|count| count.0);
    findings.range(count, "shardCount", 1, i64::from(i32::MAX));
    let size = request.max_record_size.map(|size| size.0);
    findings.range(size, "maxRecordSizeInKiB", kib(RECORD_BYTES_MAX), kib(STREAM_RECORD_BYTES_MAX));
    let mode = request.stream_mode_details.as_ref();
    check_mode(&mut findings, mode);
    let tags = checked_tags(&mut findings, request.tags.as_ref());
    let mode = mode.and_then(|mode| mode.stream_mode.as_ref());
    let is_limited = mode.is_none_or(|mode| mode.0 == "PROVISIONED");
    if is_limited {
        findings.needs(count.as_ref(), "shardCount");
    }
    findings.finish()?;
    let name = stream_name(request.stream_name, None)?;
    let shards = match (is_limited, count) {
        (true, count) => u32::try_from(count.unwrap_or(1)).unwrap_or(u32::MAX),
        (false, None) => KINESIS_ON_DEMAND_SHARDS,
        (false, Some(_)) => {
            let message = "Request is invalid. ShardCount cannot be given with the On-Demand mode.";
            return Err(Fault::new("ValidationException", message));
        }
    };
    if u64::from(shards) > SHARDS_MAX {
        return Err(kinesis.refuse(&name, Refused::Shards));
    }
    let record_bytes_max = size.and_then(|size| usize::try_from(size).ok());
    let record_bytes_max = record_bytes_max.map_or(RECORD_BYTES_MAX, |size| size * KIB);
    let new = NewStream { name: name.clone(), shards, is_limited, record_bytes_max, tags };
    kinesis.lineage.create(new).await?.map_err(|refused| kinesis.refuse(&name, refused))
}

fn kib(bytes: usize) -> i64 {
    i64::try_from(bytes / KIB).unwrap_or(i64::MAX)
}

fn check_mode(findings: &mut Findings, mode: Option<&ModeRequest>) {
    let Some(ModeRequest { stream_mode }) = mode else { return };
    findings.needs(stream_mode.as_ref(), "streamModeDetails.streamMode");
    let word = stream_mode.as_ref().map(|mode| &*mode.0);
    findings.word(word, "streamModeDetails.streamMode", &MODES);
}

/// DeleteStream's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    enforce_consumer_deletion: Option<Flag>,
}

/// Ends a stream that neither a rule nor the configuration names: they would make it anew.
pub(super) async fn delete(kinesis: &Arc<Kinesis>, request: DeleteRequest) -> Result<(), Fault> {
    let name = checked_name(Findings::default(), request.stream_name, request.stream_arn)?;
    if let Some(who) = kinesis.intake.named_by(&name) {
        return Err(Fault::in_use(format!(
            "Stream {name} under account {} is named by {who}.",
            kinesis.account_id
        )));
    }
    let ending = match request.enforce_consumer_deletion {
        Some(Flag(true)) => Ending::WithConsumers,
        _ => Ending::Unread,
    };
    let ended = kinesis.lineage.delete(name.clone(), ending).await?;
    ended.map_err(|refused| kinesis.refuse(&name, refused))?;
    kinesis.meter.unlock(&name);
    Ok(())
}

/// IncreaseStreamRetentionPeriod's and DecreaseStreamRetentionPeriod's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RetentionRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    retention_period_hours: Option<Integer>,
}

/// Keeps records for longer.
pub(super) async fn increase_retention(
    kinesis: &Arc<Kinesis>,
    request: RetentionRequest,
) -> Result<(), Fault> {
    keep(kinesis, request, Change::Longer).await
}

/// Keeps records for less time.
pub(super) async fn decrease_retention(
    kinesis: &Arc<Kinesis>,
    request: RetentionRequest,
) -> Result<(), Fault> {
    keep(kinesis, request, Change::Shorter).await
}

async fn keep(kinesis: &Kinesis, request: RetentionRequest, change: Change) -> Result<(), Fault> {
    let mut findings = Findings::default();
    findings.needs(request.retention_period_hours.as_ref(), "retentionPeriodHours");
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let hours = request.retention_period_hours.map_or(0, |hours| hours.0);
    if hours < RETENTION_HOURS_MIN {
        return Err(Fault::invalid(format!(
            "Minimum allowed retention period is {RETENTION_HOURS_MIN} hours. Requested retention \
             period ({hours} hours) is too short."
        )));
    }
    if hours > RETENTION_HOURS_MAX {
        return Err(Fault::invalid(format!(
            "Maximum allowed retention period is {RETENTION_HOURS_MAX} hours. Requested retention \
             period ({hours} hours) is too long."
        )));
    }
    let retention = HOUR * u32::try_from(hours).unwrap_or(u32::MAX);
    let kept = kinesis.lineage.keep(name.clone(), retention, change).await?;
    kept.map_err(|refused| match (refused, change) {
        (Refused::Retention(existing), Change::Longer) => Fault::invalid(format!(
            "Requested retention period ({hours} hours) for stream {name} can not be shorter than \
             existing retention period ({} hours). Use DecreaseRetentionPeriod API.",
            existing.as_secs() / 3600
        )),
        (Refused::Retention(existing), Change::Shorter) => Fault::invalid(format!(
            "Requested retention period ({hours} hours) for stream {name} can not be longer than \
             existing retention period ({} hours). Use IncreaseRetentionPeriod API.",
            existing.as_secs() / 3600
        )),
        (refused, _) => kinesis.refuse(&name, refused),
    })
}

/// SplitShard's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SplitRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    shard_to_split: Option<Text>,
    new_starting_hash_key: Option<Text>,
}

/// Closes a shard and opens two.
pub(super) async fn split(kinesis: &Arc<Kinesis>, request: SplitRequest) -> Result<(), Fault> {
    let mut findings = Findings::default();
    let (shard, key) = (request.shard_to_split, request.new_starting_hash_key);
    findings.needs(key.as_ref(), "newStartingHashKey");
    findings.hash_key(key.as_ref(), "newStartingHashKey");
    findings.needs(shard.as_ref(), "shardToSplit");
    findings.shard_id(shard.as_ref(), "shardToSplit");
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let shard = known_shard(kinesis, &name, shard)?;
    let key = key.map(|key| key.0).unwrap_or_default();
    // A number of 39 digits may be above all hash keys: as much outside as the last one.
    let at = key.parse().unwrap_or(u128::MAX);
    let split = kinesis.lineage.split(name.clone(), shard, at).await?;
    split.map_err(|refused| kinesis.refuse(&name, refused))
}

/// MergeShards' request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MergeRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    shard_to_merge: Option<Text>,
    adjacent_shard_to_merge: Option<Text>,
}

/// Closes two adjacent shards and opens one.
pub(super) async fn merge(kinesis: &Arc<Kinesis>, request: MergeRequest) -> Result<(), Fault> {
    let mut findings = Findings::default();
    let (first, second) = (request.shard_to_merge, request.adjacent_shard_to_merge);
    findings.needs(first.as_ref(), "shardToMerge");
    findings.shard_id(first.as_ref(), "shardToMerge");
    findings.needs(second.as_ref(), "adjacentShardToMerge");
    findings.shard_id(second.as_ref(), "adjacentShardToMerge");
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let first = known_shard(kinesis, &name, first)?;
    let second = known_shard(kinesis, &name, second)?;
    let merged = kinesis.lineage.merge(name.clone(), first, second).await?;
    merged.map_err(|refused| kinesis.refuse(&name, refused))
}

fn known_shard(kinesis: &Kinesis, stream: &str, shard: Option<Text>) -> Result<ShardId, Fault> {
    let shard = shard.map(|shard| shard.0).unwrap_or_default();
    shard_id(&shard).ok_or_else(|| {
        let account = &kinesis.account_id;
        Fault::not_found(format!(
            "Could not find shard {shard} in stream {stream} under account {account}."
        ))
    })
}

/// UpdateShardCount's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CountRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    target_shard_count: Option<Integer>,
    scaling_type: Option<Text>,
}

/// UpdateShardCount's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CountAnswer {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    current_shard_count: u64,
    target_shard_count: i64,
}

/// Splits and merges until there are so many shards of the same size.
pub(super) async fn shard_count(
    kinesis: &Arc<Kinesis>,
    request: CountRequest,
) -> Result<CountAnswer, Fault> {
    let mut findings = Findings::default();
    let target = request.target_shard_count.map(|target| target.0);
    findings.needs(target.as_ref(), "targetShardCount");
    findings.range(target, "targetShardCount", 1, i64::from(i32::MAX));
    findings.needs(request.scaling_type.as_ref(), "scalingType");
    let scaling = request.scaling_type.as_ref().map(|scaling| &*scaling.0);
    findings.word(scaling, "scalingType", &["UNIFORM_SCALING"]);
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let target = target.unwrap_or(1);
    let count = u32::try_from(target).unwrap_or(u32::MAX);
    if u64::from(count) > SHARDS_MAX {
        return Err(kinesis.refuse(&name, Refused::Shards));
    }
    let before = kinesis.lineage.reshape(name.clone(), count).await?;
    let before = before.map_err(|refused| match refused {
        Refused::Scale(open) => {
            let (way, bound) = match u64::from(count) > open {
                true => ("up over", "double"),
                false => ("down below", "half"),
            };
            Fault::invalid(format!(
                "UpdateShardCount cannot scale {way} {bound} your current open shard count. Current \
                 open shard count: {open} Target shard count: {target}"
            ))
        }
        refused => kinesis.refuse(&name, refused),
    })?;
    Ok(CountAnswer {
        stream_arn: kinesis.arn_of(&name),
        stream_name: name,
        current_shard_count: before,
        target_shard_count: target,
    })
}

/// UpdateStreamMode's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamModeRequest {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    #[serde(default, deserialize_with = "structure")]
    stream_mode_details: Option<ModeRequest>,
}

/// Holds a stream to the limits of shards, or does not.
pub(super) async fn mode(kinesis: &Arc<Kinesis>, request: StreamModeRequest) -> Result<(), Fault> {
    let mut findings = Findings::default();
    findings.needs(request.stream_arn.as_ref(), "streamARN");
    findings.needs(request.stream_mode_details.as_ref(), "streamModeDetails");
    check_mode(&mut findings, request.stream_mode_details.as_ref());
    let name = checked_name(findings, None, request.stream_arn)?;
    let mode = request.stream_mode_details.and_then(|mode| mode.stream_mode);
    let is_limited = mode.is_some_and(|mode| mode.0 == "PROVISIONED");
    let limited = kinesis.lineage.limit(name.clone(), is_limited).await?;
    limited.map_err(|refused| kinesis.refuse(&name, refused))
}

/// UpdateMaxRecordSize's request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecordSizeRequest {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: Option<Integer>,
}

/// Takes records of another size at most.
pub(super) async fn max_record_size(
    kinesis: &Arc<Kinesis>,
    request: RecordSizeRequest,
) -> Result<(), Fault> {
    let mut findings = Findings::default();
    let size = request.max_record_size.map(|size| size.0);
    findings.needs(size.as_ref(), "maxRecordSizeInKiB");
    findings.range(size, "maxRecordSizeInKiB", kib(RECORD_BYTES_MAX), kib(STREAM_RECORD_BYTES_MAX));
    let name = checked_name(findings, None, request.stream_arn)?;
    let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
    let sized = kinesis.lineage.size(name.clone(), size * KIB).await?;
    sized.map_err(|refused| kinesis.refuse(&name, refused))
}
