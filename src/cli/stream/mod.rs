//! `tidegate stream`: look into the shard streams, and put a record into one.
//!
//! Looking opens the database read-only, so it works beside a running gateway and without one. A put
//! needs the one write connection: it goes to the gateway's HTTP API when one runs (the lock file
//! says where), and straight into the database when none does.

mod put;
mod tail;

use std::io::Write;
use std::time::Duration;

use clap::Args;
use clap::Subcommand;
use serde_json::json;

use super::Outcome;
use super::data_folder::DataArgs;
use super::data_folder::ListFormat;
use crate::stream::Reader;
use crate::stream::Shard;
use crate::stream::StreamSummary;
pub(super) use put::NoStage;

const EXAMPLES: &str = "\
Examples:
  tidegate stream list
  tidegate stream tail alerts                         new records as they come
  tidegate stream tail alerts --from trim-horizon --no-follow | jq .data
  tidegate stream tail alerts --from 2026-05-01T06:00:00Z
  tidegate stream put alerts --key sensor-7 '{\"temperature\":31}'";

/// Look into the shard streams, or put a record into one
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct StreamArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Describe(DescribeArgs),
    Put(put::PutArgs),
    Tail(tail::TailArgs),
}

/// All streams and what is in them
#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    data: DataArgs,
    /// How to write the answer
    #[arg(long, value_enum, default_value = "text")]
    format: ListFormat,
}

/// The shards of a stream and what is in them
#[derive(Args, Debug)]
struct DescribeArgs {
    /// Name of the stream
    name: String,
    #[command(flatten)]
    data: DataArgs,
    /// How to write the answer
    #[arg(long, value_enum, default_value = "text")]
    format: ListFormat,
}

fn reader(data: &DataArgs) -> anyhow::Result<Reader> {
    Ok(Reader::new(data.peek()?))
}

/// Runs the command.
pub(super) fn run(args: &StreamArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::List(args) => list(args, answer),
        Command::Describe(args) => describe(args, answer),
        Command::Put(args) => put::run(args, answer),
        Command::Tail(args) => tail::run(args, answer),
    }
}

fn list(args: &ListArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let streams = reader(&args.data)?.streams()?;
    if args.format == ListFormat::Json {
        let streams: Vec<_> = streams.iter().map(summary_json).collect();
        writeln!(answer, "{}", json!({ "streams": streams }))?;
        return Ok(Outcome::Done);
    }
    if streams.is_empty() {
        writeln!(answer, "no streams yet: a rule's STREAM action makes the one it names")?;
        return Ok(Outcome::Done);
    }
    let width = streams.iter().map(|stream| stream.name.len()).max().unwrap_or(0).max(4);
    writeln!(
        answer,
        "{:width$}  {:>6}  {:>12}  {:>14}  {:>9}  NEWEST",
        "NAME", "SHARDS", "RECORDS", "BYTES", "RETENTION"
    )?;
    for stream in &streams {
        writeln!(
            answer,
            "{:width$}  {:>6}  {:>12}  {:>14}  {:>9}  {}",
            stream.name,
            stream.shards,
            stream.records,
            stream.bytes,
            format_retention(stream.retention),
            stream.last_at.map(|at| at.to_string()).unwrap_or_default()
        )?;
    }
    Ok(Outcome::Done)
}

fn describe(args: &DescribeArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let reader = reader(&args.data)?;
    let shards = reader.shards(&args.name)?;
    let streams = reader.streams()?;
    let consumers = reader.consumers(&args.name)?;
    let lags = consumers.iter().map(|consumer| reader.lag(consumer));
    let lags: Vec<u64> = lags.collect::<Result<_, _>>()?;
    let summary = streams.iter().find(|stream| stream.name == args.name);
    if args.format == ListFormat::Json {
        let shards: Vec<_> = shards.iter().map(shard_json).collect();
        let mut stream = summary.map(summary_json).unwrap_or_default();
        stream["shards"] = json!(shards);
        let consumers = consumers.iter().zip(&lags);
        let consumers =
            consumers.map(|(consumer, lag)| json!({ "rule": &*consumer.name, "lag_records": lag }));
        stream["consumers"] = consumers.collect();
        writeln!(answer, "{stream}")?;
        return Ok(Outcome::Done);
    }
    if let Some(stream) = summary {
        writeln!(
            answer,
            "{}: kept {}, made {}",
            stream.name,
            format_retention(stream.retention),
            stream.created_at
        )?;
    }
    writeln!(
        answer,
        "{:20}  {:>12}  {:>14}  {:24}  HASH KEYS",
        "SHARD", "RECORDS", "BYTES", "NEWEST"
    )?;
    for shard in &shards {
        writeln!(
            answer,
            "{:20}  {:>12}  {:>14}  {:24}  {} to {}",
            shard.id.to_string(),
            shard.records,
            shard.bytes,
            shard.last_at.map(|at| at.to_string()).unwrap_or_default(),
            shard.range.start,
            shard.range.end
        )?;
    }
    for (consumer, lag) in consumers.iter().zip(&lags) {
        writeln!(answer, "read by rule {}: {lag} records behind", consumer.name)?;
    }
    Ok(Outcome::Done)
}

fn format_retention(retention: Duration) -> String {
    let hours = retention.as_secs() / 3600;
    if hours.is_multiple_of(24) && hours > 24 {
        format!("{} d", hours / 24)
    } else {
        format!("{hours} h")
    }
}

fn summary_json(stream: &StreamSummary) -> serde_json::Value {
    json!({
        "name": stream.name,
        "shards": stream.shards,
        "retention_seconds": stream.retention.as_secs(),
        "created_at": stream.created_at.as_millis(),
        "records": stream.records,
        "bytes": stream.bytes,
        "newest_at": stream.last_at.map(|at| at.as_millis()),
    })
}

fn shard_json(shard: &Shard) -> serde_json::Value {
    // Hash keys and sequence numbers are decimals in quotes: JSON readers round long numbers.
    json!({
        "shard": shard.id.to_string(),
        "starting_hash_key": shard.range.start.to_string(),
        "ending_hash_key": shard.range.end.to_string(),
        "records": shard.records,
        "bytes": shard.bytes,
        "oldest_sequence_number": shard.first.map(|number| number.to_string()),
        "newest_sequence_number": shard.last.map(|number| number.to_string()),
        "newest_at": shard.last_at.map(|at| at.as_millis()),
    })
}

#[cfg(test)]
mod tests;
