//! EnableEnhancedMonitoring and DisableEnhancedMonitoring.
//!
//! What is wanted is kept and described. It switches nothing: what the gateway counts is on `/metrics`, always.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use super::Kinesis;
use super::fault::Fault;
use super::fault::Findings;
use super::shape::List;
use super::shape::Text;
use super::target::checked_name;
use crate::stream::ShardMetrics;

/// Names of a request: each metric, and all.
const NAMES_MAX: usize = 7;

/// The request of both.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MonitorRequest {
    stream_name: Option<Text>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<Text>,
    shard_level_metrics: Option<List<Text>>,
}

/// The answer of both.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MonitorAnswer {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    current_shard_level_metrics: Vec<&'static str>,
    desired_shard_level_metrics: Vec<&'static str>,
}

/// Wants metrics of each shard.
pub(super) async fn enable(
    kinesis: &Arc<Kinesis>,
    request: MonitorRequest,
) -> Result<MonitorAnswer, Fault> {
    change(kinesis, request, ShardMetrics::with).await
}

/// Wants them no more.
pub(super) async fn disable(
    kinesis: &Arc<Kinesis>,
    request: MonitorRequest,
) -> Result<MonitorAnswer, Fault> {
    change(kinesis, request, ShardMetrics::without).await
}

async fn change(
    kinesis: &Kinesis,
    request: MonitorRequest,
    change: fn(ShardMetrics, ShardMetrics) -> ShardMetrics,
) -> Result<MonitorAnswer, Fault> {
    let mut findings = Findings::default();
    let named = checked_metrics(&mut findings, request.shard_level_metrics.as_ref());
    let name = checked_name(findings, request.stream_name, request.stream_arn)?;
    let changed =
        kinesis.lineage.monitor(name.clone(), move |before| change(before, named)).await?;
    let [before, wanted] = changed.map_err(|refused| kinesis.refuse(&name, refused))?;
    Ok(MonitorAnswer {
        stream_arn: kinesis.arn_of(&name),
        stream_name: name,
        current_shard_level_metrics: before.names().collect(),
        desired_shard_level_metrics: wanted.names().collect(),
    })
}

fn checked_metrics(findings: &mut Findings, names: Option<&List<Text>>) -> ShardMetrics {
    findings.needs(names, "shardLevelMetrics");
    let Some(List { items, count }) = names else { return ShardMetrics::default() };
    if !(1..=NAMES_MAX).contains(count) {
        let side = match *count {
            0 => "greater than or equal to 1".to_owned(),
            _ => format!("less than or equal to {NAMES_MAX}"),
        };
        let value = format!("[{count} metrics]");
        findings.add(Some(&value), "shardLevelMetrics", &format!("have length {side}"));
    }
    let mut named = ShardMetrics::default();
    for (place, Text(name)) in items.iter().take(NAMES_MAX).enumerate() {
        let member = format!("shardLevelMetrics.{}.member", place + 1);
        let words = [&ShardMetrics::NAMES[..], &["ALL"]].concat();
        findings.word(Some(name), &member, &words);
        named = named.with(ShardMetrics::named(name).unwrap_or_default());
    }
    named
}
