//! `tidegate stream put`: one record into a stream.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::super::configuration::ConfigArgs;
use super::super::data_folder::DataArgs;
use super::Outcome;
use crate::cli::gateway_api;
use crate::cli::kinesis_api::EndpointArgs;
use crate::cli::kinesis_api::KinesisApi;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::JournalConfig;
use crate::engine::Leap;
use crate::engine::hold::Progress;
use crate::journal::Batch;
use crate::journal::Journal;
use crate::journal::Stage;
use crate::limits;
use crate::storage::LockHolder;
use crate::storage::Storage;
use crate::storage::StorageError;
use crate::stream;
use crate::stream::NewRecord;

/// Put a record into a stream
#[derive(Args, Debug)]
pub(super) struct PutArgs {
    /// Name of the stream
    name: String,
    /// Partition key: picks the shard
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Explicit hash key, a decimal below 2^128: picks the shard instead
    #[arg(long, value_name = "HASH")]
    hash_key: Option<u128>,
    /// The record; read from standard input, as it is, when not given
    record: Option<String>,
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &PutArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let record = match &args.record {
        Some(text) => text.clone().into_bytes(),
        None => read_stdin()?,
    };
    let runtime = super::super::runtime()?;
    if let Some(url) = &args.endpoint.endpoint {
        let api = KinesisApi::at(url.clone())?;
        let put = super::remote::put(&api, &args.name, &args.key, args.hash_key, &record);
        let (shard, sequence_number) = runtime.block_on(put)?;
        writeln!(answer, "{}", json!({ "shard": shard, "sequence_number": sequence_number }))?;
        return Ok(Outcome::Done);
    }
    let (shard, sequence_number) =
        match Storage::open_with(&args.data.data, super::keys(&args.data, &args.config)?) {
            Ok(storage) => runtime.block_on(put_directly(&storage, args, &record))?,
            Err(StorageError::InUse {
                holder: Some(LockHolder { http: Some(http), .. }), ..
            }) => runtime.block_on(put_over_http(http, args, &record))?,
            Err(error) => return Err(error.into()),
        };
    writeln!(answer, "{}", json!({ "shard": shard, "sequence_number": sequence_number }))?;
    Ok(Outcome::Done)
}

/// Reads one byte more than a record may have, so that a longer one is refused and not cut.
fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut record = Vec::new();
    std::io::stdin()
        .take(limits::RECORD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut record)
        .context("cannot read the record from standard input")?;
    Ok(record)
}

/// A journal without messages: only its transactions are wanted.
pub(in crate::cli) struct NoStage;

impl Stage for NoStage {
    type Work = ();
    const IS_GATEWAY: bool = false;

    fn apply(&mut self, _at: Timestamp, (): (), _batch: &mut Batch) {}

    fn is_timeless(&self, (): &()) -> bool {
        true
    }

    fn advance(&mut self, _now: Timestamp, _batch: &mut Batch) -> Progress {
        Progress::Done
    }

    fn leap(&mut self, _leap: Leap, _batch: &mut Batch) {}

    fn seal(&mut self, _batch: &mut Batch) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn committed(&mut self, _batch: &Batch) {}
}

async fn put_directly(
    storage: &Storage,
    args: &PutArgs,
    data: &[u8],
) -> anyhow::Result<(String, String)> {
    let clock = Clock::start();
    let journal = Journal::start(storage, NoStage, &JournalConfig::default(), clock)?;
    let record = NewRecord {
        partition_key: &args.key,
        hash_key: args.hash_key,
        data,
        at: clock.now(),
        hops: 0,
    };
    let stored = stream::put(&storage.executor(), &args.name, record).await;
    let closed = journal.shutdown().await;
    let stored = stored?;
    closed?;
    Ok((stored.shard.to_string(), stored.sequence_number.to_string()))
}

async fn put_over_http(
    http: SocketAddr,
    args: &PutArgs,
    record: &[u8],
) -> anyhow::Result<(String, String)> {
    let path = ["api", "streams", &args.name, "records"];
    let body = request_body(args, record);
    let gateway = gateway_api::Gateway::at(http, &args.data.data);
    let answer = gateway.ask(reqwest::Method::POST, &path, Some(&body)).await?;
    match (answer["shard"].as_str(), answer["sequence_number"].as_str()) {
        (Some(shard), Some(number)) => Ok((shard.to_owned(), number.to_owned())),
        _ => bail!("the gateway at http://{http} answered something else than a record's place"),
    }
}

/// The body; always base64, which gives the record's bytes back exactly.
fn request_body(args: &PutArgs, record: &[u8]) -> Value {
    let mut body = json!({ "partition_key": args.key, "data_base64": STANDARD.encode(record) });
    if let Some(hash_key) = args.hash_key {
        body["hash_key"] = json!(hash_key.to_string());
    }
    body
}
