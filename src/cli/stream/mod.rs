//! `tidegate stream`: look into the shard streams, check them, and put a record into one.
//!
//! Looking opens the database read-only, so it works beside a running gateway and without one. A put
//! needs the one write connection: it goes to the gateway's HTTP API when one runs (the lock file
//! says where), and straight into the database when none does.

mod put;
mod tail;
mod verify;

use std::io::Write;
use std::time::Duration;

use clap::Args;
use clap::Subcommand;
use serde_json::json;

use super::Outcome;
use super::data_folder::DataArgs;
use super::listing::Column;
use super::listing::Format;
use super::listing::ListArgs;
use super::listing::write_columns;
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
  tidegate stream put alerts --key sensor-7 '{\"temperature\":31}'
  tidegate stream verify                              whether all that is stored is whole";

/// Look into the shard streams, check them, or put a record into one
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct StreamArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All streams and what is in them
    List(ListArgs),
    Describe(DescribeArgs),
    Put(put::PutArgs),
    Tail(tail::TailArgs),
    Verify(verify::VerifyArgs),
}

/// The shards of a stream and what is in them
#[derive(Args, Debug)]
struct DescribeArgs {
    /// Name of the stream
    name: String,
    #[command(flatten)]
    list: ListArgs,
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
        Command::Verify(args) => verify::run(args, answer),
    }
}

fn list(args: &ListArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let streams = reader(&args.data)?.streams()?;
    if args.format == Format::Json {
        let streams: Vec<_> = streams.iter().map(summary_json).collect();
        writeln!(answer, "{}", json!({ "streams": streams }))?;
        return Ok(Outcome::Done);
    }
    if streams.is_empty() {
        writeln!(answer, "no streams yet: a rule's STREAM action makes the one it names")?;
        return Ok(Outcome::Done);
    }
    let row = |stream: &StreamSummary| {
        let newest = stream.last_at.map(|at| at.to_string());
        let StreamSummary { name, shards, records, bytes, .. } = stream;
        let numbers = [*shards as u64, *records, *bytes].map(|number| number.to_string());
        let [shards, records, bytes] = numbers;
        let retention = format_retention(stream.retention);
        [name.clone(), shards, records, bytes, retention, newest.unwrap_or_default()]
    };
    let rows: Vec<[String; 6]> = streams.iter().map(row).collect();
    let columns = [
        Column::Left("NAME"),
        Column::Right("SHARDS"),
        Column::Right("RECORDS"),
        Column::Right("BYTES"),
        Column::Right("RETENTION"),
        Column::Left("NEWEST"),
    ];
    write_columns(answer, columns, &rows)?;
    Ok(Outcome::Done)
}

fn describe(args: &DescribeArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let reader = reader(&args.list.data)?;
    let shards = reader.shards(&args.name)?;
    let streams = reader.streams()?;
    let consumers = reader.consumers(&args.name)?;
    let lags = consumers.iter().map(|consumer| reader.lag(consumer));
    let lags: Vec<u64> = lags.collect::<Result<_, _>>()?;
    let summary = streams.iter().find(|stream| stream.name == args.name);
    if args.list.format == Format::Json {
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
    let row = |shard: &Shard| {
        let newest = shard.last_at.map(|at| at.to_string()).unwrap_or_default();
        let [records, bytes] = [shard.records, shard.bytes].map(|number| number.to_string());
        let closed = if shard.closed_at.is_some() { ", closed" } else { "" };
        let keys = format!("{} to {}{closed}", shard.range.start, shard.range.end);
        [shard.id.to_string(), records, bytes, newest, keys]
    };
    let rows: Vec<[String; 5]> = shards.iter().map(row).collect();
    let columns = [
        Column::Left("SHARD"),
        Column::Right("RECORDS"),
        Column::Right("BYTES"),
        Column::Left("NEWEST"),
        Column::Left("HASH KEYS"),
    ];
    write_columns(answer, columns, &rows)?;
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
        "parent_shards":
            shard.parents.iter().flatten().map(ToString::to_string).collect::<Vec<_>>(),
        "closed_at": shard.closed_at.map(|at| at.as_millis()),
    })
}

#[cfg(test)]
mod tests;
