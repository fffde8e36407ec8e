//! `tidegate stream`: look into the shard streams, check them, and put a record into one.
//!
//! With `--endpoint` list, describe, put and tail go to a Kinesis API instead ([`remote`]).
//!
//! Looking opens the database read-only, so it works beside a running gateway and without one. A put
//! needs the one write connection: it goes to the gateway's HTTP API when one runs (the lock file
//! says where), and straight into the database when none does.

mod put;
mod remote;
mod tail;
mod verify;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use super::Outcome;
use super::configuration;
use super::configuration::ConfigArgs;
use super::data_folder::DataArgs;
use super::gateway_api::Gateway;
use super::kinesis_api::EndpointArgs;
use super::kinesis_api::KinesisApi;
use super::listing::Column;
use super::listing::Format;
use super::listing::ListArgs;
use super::listing::write_columns;
use super::report;
use crate::gateway::keyring;
use crate::storage::Keyring;
use crate::storage::LockHolder;
use crate::storage::Storage;
use crate::storage::StorageError;
use crate::stream::Reader;
use crate::stream::Shard;
use crate::stream::StreamSummary;
pub(super) use put::NoStage;

/// What a gateway counts of a shard.
const COUNTED: [&str; 7] = [
    "in_records",
    "in_bytes",
    "out_records",
    "out_bytes",
    "throttled_in",
    "throttled_out",
    "iterator_age_ms",
];

const EXAMPLES: &str = "\
Examples:
  tidegate stream list
  tidegate stream tail alerts                         new records as they come
  tidegate stream tail alerts --from trim-horizon --no-follow | jq .data
  tidegate stream tail alerts --from 2026-05-01T06:00:00Z
  tidegate stream put alerts --key sensor-7 '{\"temperature\":31}'
  tidegate stream tail alerts --endpoint https://kinesis.eu-central-1.amazonaws.com
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
    List(StreamListArgs),
    Describe(DescribeArgs),
    Put(put::PutArgs),
    Tail(tail::TailArgs),
    Verify(verify::VerifyArgs),
}

/// All streams and what is in them
#[derive(Args, Debug)]
struct StreamListArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

/// The shards of a stream and what is in them
#[derive(Args, Debug)]
struct DescribeArgs {
    /// Name of the stream
    name: String,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

fn reader(data: &DataArgs) -> anyhow::Result<Reader> {
    Ok(Reader::new(data.peek()?))
}

/// What encrypted records are read and written with. The configuration is looked at only when a stream is or was
/// encrypted.
fn keys(data: &DataArgs, config: &ConfigArgs) -> anyhow::Result<Arc<Keyring>> {
    let connection = match Storage::peek(&data.data) {
        Ok(connection) => connection,
        // Whoever opens it makes it, or brings it up to date: no stream of it is encrypted.
        Err(StorageError::Missing(_) | StorageError::OlderSchema { .. }) => {
            return Ok(Arc::default());
        }
        Err(error) => return Err(error.into()),
    };
    // Damaged tables may not say it, and verify is to look at them.
    if Reader::new(connection).encrypted().is_ok_and(|streams| streams.is_empty()) {
        return Ok(Arc::default());
    }
    match configuration::load(config.path())? {
        Some(config) => Ok(keyring(&config)?),
        None => anyhow::bail!("a stream is encrypted, and the configuration with its key is wrong"),
    }
}

/// A reader that decrypts.
fn decrypting(data: &DataArgs, config: &ConfigArgs) -> anyhow::Result<Reader> {
    Ok(Reader::new(data.peek()?.with_keys(keys(data, config)?)))
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

fn list(args: &StreamListArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let StreamListArgs { list: args, endpoint } = args;
    if let Some(url) = &endpoint.endpoint {
        let api = KinesisApi::at(url.clone())?;
        return super::runtime()?.block_on(remote::list(&api, args.format, answer));
    }
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
    if let Some(url) = &args.endpoint.endpoint {
        let (api, format) = (KinesisApi::at(url.clone())?, args.list.format);
        return super::runtime()?.block_on(remote::describe(&api, &args.name, format, answer));
    }
    let reader = reader(&args.list.data)?;
    let shards = reader.shards(&args.name)?;
    let streams = reader.streams()?;
    let consumers = reader.consumers(&args.name)?;
    let lags = consumers.iter().map(|consumer| reader.lag(consumer));
    let lags: Vec<u64> = lags.collect::<Result<_, _>>()?;
    let summary = streams.iter().find(|stream| stream.name == args.name);
    let key_id = reader.describe(&args.name)?.and_then(|stream| stream.key_id);
    let counted = Counted::of(&args.list.data, &args.name);
    if args.list.format == Format::Json {
        let shards: Vec<_> = shards.iter().map(|shard| shard_json(shard, &counted)).collect();
        let mut stream = summary.map(summary_json).unwrap_or_default();
        stream["shards"] = json!(shards);
        stream["key_id"] = json!(key_id);
        let consumers = consumers.iter().zip(&lags);
        let consumers =
            consumers.map(|(consumer, lag)| json!({ "rule": &*consumer.name, "lag_records": lag }));
        stream["consumers"] = consumers.collect();
        writeln!(answer, "{stream}")?;
        return Ok(Outcome::Done);
    }
    if let Some(stream) = summary {
        let encrypted = key_id.map(|key_id| format!(", encrypted with {key_id}"));
        writeln!(
            answer,
            "{}: kept {}, made {}{}",
            stream.name,
            format_retention(stream.retention),
            stream.created_at,
            encrypted.unwrap_or_default()
        )?;
    }
    write_shards(answer, &shards, &counted)?;
    for (consumer, lag) in consumers.iter().zip(&lags) {
        writeln!(answer, "read by rule {}: {lag} records behind", consumer.name)?;
    }
    Ok(Outcome::Done)
}

fn write_shards(
    answer: &mut dyn Write,
    shards: &[Shard],
    counted: &Counted,
) -> std::io::Result<()> {
    let row = |shard: &Shard| {
        let time =
            |at: Option<crate::clock::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        let [records, bytes] = [shard.records, shard.bytes].map(|number| number.to_string());
        let closed = if shard.closed_at.is_some() { ", closed" } else { "" };
        let keys = format!("{} to {}{closed}", shard.range.start, shard.range.end);
        let count = |name| counted.number(shard, name).map(|count| count.to_string());
        let [came_in, given] =
            ["in_records", "out_records"].map(|name| count(name).unwrap_or_default());
        let throttled = ["throttled_in", "throttled_out"].map(|name| counted.number(shard, name));
        let throttled = throttled.into_iter().flatten().reduce(|one, other| one + other);
        let throttled = throttled.map(|count| count.to_string()).unwrap_or_default();
        let age = counted.number(shard, "iterator_age_ms").map(|ms| format!("{ms} ms"));
        let (oldest, newest, age) =
            (time(shard.first_at), time(shard.last_at), age.unwrap_or_default());
        [shard.id.to_string(), records, bytes, came_in, given, throttled, age, oldest, newest, keys]
    };
    let rows: Vec<[String; 10]> = shards.iter().map(row).collect();
    let columns = [
        Column::Left("SHARD"),
        Column::Right("RECORDS"),
        Column::Right("BYTES"),
        Column::Right("IN"),
        Column::Right("OUT"),
        Column::Right("THROTTLED"),
        Column::Right("AGE"),
        Column::Left("OLDEST"),
        Column::Left("NEWEST"),
        Column::Left("HASH KEYS"),
    ];
    if counted.is_known() {
        return write_columns(answer, columns, &rows);
    }
    // Without a gateway nothing is counted.
    let [shard, records, bytes, _, _, _, _, oldest, newest, keys] = columns;
    let rows = rows.into_iter().map(|[shard, records, bytes, _, _, _, _, oldest, newest, keys]| {
        [shard, records, bytes, oldest, newest, keys]
    });
    let rows: Vec<[String; 6]> = rows.collect();
    write_columns(answer, [shard, records, bytes, oldest, newest, keys], &rows)
}

/// What a running gateway has counted of a stream's shards since its start.
struct Counted(Option<Value>);

impl Counted {
    /// Asks the gateway that runs on the data folder, if one does.
    fn of(data: &DataArgs, stream: &str) -> Counted {
        let Ok(Some(LockHolder { http: Some(http), .. })) = Storage::holder(&data.data) else {
            return Counted(None);
        };
        let asked = super::runtime().and_then(|runtime| {
            let gateway = Gateway::at(http, &data.data);
            runtime.block_on(gateway.ask(Method::GET, &["api", "streams", stream], None))
        });
        match asked {
            Ok(detail) => Counted(Some(detail)),
            Err(error) => {
                report::tell(&format!("tidegate: without what the gateway counts: {error:#}"));
                Counted(None)
            }
        }
    }

    fn is_known(&self) -> bool {
        self.0.is_some()
    }

    fn number(&self, shard: &Shard, name: &str) -> Option<u64> {
        let shards = self.0.as_ref()?["shard_list"].as_array()?;
        let id = shard.id.to_string();
        let found = shards.iter().find(|found| found["shard"] == id.as_str())?;
        found[name].as_u64()
    }
}

fn format_retention(retention: Duration) -> String {
    let hours = retention.as_secs() / 3600;
    if hours.is_multiple_of(24) && hours > 24 {
        format!("{} d", hours / 24)
    } else {
        format!("{hours} h")
    }
}

fn summary_json(stream: &StreamSummary) -> Value {
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

fn shard_json(shard: &Shard, counted: &Counted) -> Value {
    // Hash keys and sequence numbers are decimals in quotes: JSON readers round long numbers.
    let mut value = json!({
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
        "oldest_at": shard.first_at.map(|at| at.as_millis()),
    });
    for name in COUNTED {
        value[name] = json!(counted.number(shard, name));
    }
    value
}

#[cfg(test)]
mod tests;
