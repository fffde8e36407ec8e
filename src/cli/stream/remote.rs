//! The same commands over streams behind a Kinesis API: Amazon's, another gateway's, or a mock's.
//!
//! What is printed has the words of the commands over a data folder, as far as the API says it: it counts no records.
//! A tail prints each shard's records in order, a round of pages after the other, a second apart, as the limits of a shard
//! want it; children come when their parent has been read to its end.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::Outcome;
use super::tail::Line;
use super::tail::write_line;
use crate::cli::kinesis_api::KinesisApi;
use crate::cli::kinesis_api::Refused;
use crate::cli::listing::Column;
use crate::cli::listing::Format;
use crate::cli::listing::write_columns;
use crate::stream::StartAt;

/// Between two rounds of reads.
const ROUND: Duration = Duration::from_secs(1);
/// Streams and shards that are listed, so that an endpoint that never ends its pages ends nothing here.
const PAGES_MAX: usize = 1000;

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// All pages of a list: `operation` with `request`, whose answers have `list` and a token.
async fn pages(
    api: &KinesisApi,
    operation: &str,
    request: Value,
    list: &str,
) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut request = request;
    for _ in 0..PAGES_MAX {
        let answer = api.call(operation, &request).await?;
        found.extend(answer[list].as_array().cloned().unwrap_or_default());
        match &answer["NextToken"] {
            // The token says all that the request had.
            Value::String(token) => request = json!({ "NextToken": token }),
            _ => break,
        }
    }
    Ok(found)
}

async fn summary(api: &KinesisApi, name: &str) -> anyhow::Result<Value> {
    let answer = api.call("DescribeStreamSummary", &json!({ "StreamName": name })).await?;
    let stream = &answer["StreamDescriptionSummary"];
    Ok(json!({
        "name": stream["StreamName"],
        "shards": stream["OpenShardCount"],
        "retention_seconds": stream["RetentionPeriodHours"].as_u64().map(|hours| hours * 3600),
        "mode": stream["StreamModeDetails"]["StreamMode"],
        "status": stream["StreamStatus"],
    }))
}

/// All streams.
pub(super) async fn list(
    api: &KinesisApi,
    format: Format,
    answer: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let mut streams = Vec::new();
    for name in pages(api, "ListStreams", json!({}), "StreamNames").await? {
        streams.push(summary(api, &text(&name)).await?);
    }
    if format == Format::Json {
        writeln!(answer, "{}", json!({ "streams": streams }))?;
        return Ok(Outcome::Done);
    }
    let row = |stream: &Value| {
        let hours = stream["retention_seconds"].as_u64().unwrap_or_default() / 3600;
        let [name, shards, mode, status] =
            ["name", "shards", "mode", "status"].map(|field| text(&stream[field]));
        [name, shards, format!("{hours} h"), mode, status]
    };
    let rows: Vec<[String; 5]> = streams.iter().map(row).collect();
    let columns = [
        Column::Left("NAME"),
        Column::Right("SHARDS"),
        Column::Right("RETENTION"),
        Column::Left("MODE"),
        Column::Left("STATUS"),
    ];
    write_columns(answer, columns, &rows)?;
    Ok(Outcome::Done)
}

/// A stream and its shards.
pub(super) async fn describe(
    api: &KinesisApi,
    name: &str,
    format: Format,
    answer: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let mut stream = summary(api, name).await?;
    let shards = pages(api, "ListShards", json!({ "StreamName": name }), "Shards").await?;
    let shard = |shard: &Value| {
        let parents = [&shard["ParentShardId"], &shard["AdjacentParentShardId"]];
        let parents: Vec<&Value> =
            parents.into_iter().filter(|parent| parent.is_string()).collect();
        json!({
            "shard": shard["ShardId"],
            "starting_hash_key": shard["HashKeyRange"]["StartingHashKey"],
            "ending_hash_key": shard["HashKeyRange"]["EndingHashKey"],
            "parent_shards": parents,
            "is_closed": shard["SequenceNumberRange"]["EndingSequenceNumber"].is_string(),
        })
    };
    let shards: Vec<Value> = shards.iter().map(shard).collect();
    if format == Format::Json {
        stream["shards"] = json!(shards);
        writeln!(answer, "{stream}")?;
        return Ok(Outcome::Done);
    }
    let hours = stream["retention_seconds"].as_u64().unwrap_or_default() / 3600;
    let [mode, status] = ["mode", "status"].map(|field| text(&stream[field]));
    writeln!(answer, "{name}: kept {hours} h, {mode}, {status}")?;
    let row = |shard: &Value| {
        let closed = if shard["is_closed"] == true { ", closed" } else { "" };
        let [start, end] =
            ["starting_hash_key", "ending_hash_key"].map(|field| text(&shard[field]));
        [text(&shard["shard"]), format!("{start} to {end}{closed}")]
    };
    let rows: Vec<[String; 2]> = shards.iter().map(row).collect();
    write_columns(answer, [Column::Left("SHARD"), Column::Left("HASH KEYS")], &rows)?;
    Ok(Outcome::Done)
}

/// Puts a record; answers its shard and sequence number.
pub(super) async fn put(
    api: &KinesisApi,
    name: &str,
    key: &str,
    hash_key: Option<u128>,
    record: &[u8],
) -> anyhow::Result<(String, String)> {
    let mut request =
        json!({ "StreamName": name, "PartitionKey": key, "Data": STANDARD.encode(record) });
    if let Some(hash_key) = hash_key {
        request["ExplicitHashKey"] = json!(hash_key.to_string());
    }
    let answer = api.call("PutRecord", &request).await?;
    Ok((text(&answer["ShardId"]), text(&answer["SequenceNumber"])))
}

/// A shard that is read.
struct Place {
    shard: String,
    iterator: Option<String>,
    /// The last record that was printed.
    last: Option<String>,
}

/// Prints records as they come.
pub(super) async fn tail(
    api: &KinesisApi,
    name: &str,
    start: StartAt,
    follows: bool,
    answer: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let shards = pages(api, "ListShards", json!({ "StreamName": name }), "Shards").await?;
    let mut places = Vec::new();
    for shard in shards {
        let is_child = shard["ParentShardId"].is_string() && start == StartAt::TrimHorizon;
        let shard = text(&shard["ShardId"]);
        // A child is read behind its parent, if that is there.
        if is_child {
            continue;
        }
        let iterator = iterator(api, name, &shard, start).await?;
        places.push(Place { shard, iterator, last: None });
    }
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(Outcome::Interrupted),
            _ = rounds.tick() => {}
        }
        let (mut is_behind, mut children) = (false, Vec::new());
        for place in &mut places {
            let more = read(api, name, place, &mut children, answer).await?;
            is_behind |= more;
        }
        answer.flush()?;
        places.retain(|place| place.iterator.is_some());
        is_behind |= !children.is_empty();
        for shard in children {
            if places.iter().all(|place| place.shard != shard) {
                let iterator = iterator(api, name, &shard, StartAt::TrimHorizon).await?;
                places.push(Place { shard, iterator, last: None });
            }
        }
        if places.is_empty() || (!follows && !is_behind) {
            return Ok(Outcome::Done);
        }
    }
}

async fn iterator(
    api: &KinesisApi,
    name: &str,
    shard: &str,
    start: StartAt,
) -> anyhow::Result<Option<String>> {
    let mut request = json!({ "StreamName": name, "ShardId": shard });
    match start {
        StartAt::TrimHorizon => request["ShardIteratorType"] = json!("TRIM_HORIZON"),
        StartAt::AtTimestamp(at) => {
            request["ShardIteratorType"] = json!("AT_TIMESTAMP");
            // Exact to the millisecond until the year 10000.
            request["Timestamp"] = json!(at.as_millis() as f64 / 1000.0);
        }
        _ => request["ShardIteratorType"] = json!("LATEST"),
    }
    let answer = api.call("GetShardIterator", &request).await?;
    Ok(answer["ShardIterator"].as_str().map(str::to_owned))
}

/// Prints a page of a shard; answers whether there is more.
async fn read(
    api: &KinesisApi,
    name: &str,
    place: &mut Place,
    children: &mut Vec<String>,
    answer: &mut dyn Write,
) -> anyhow::Result<bool> {
    let Some(at) = &place.iterator else { return Ok(false) };
    let page = match api.call("GetRecords", &json!({ "ShardIterator": at })).await {
        Ok(page) => page,
        Err(error) => {
            return match error.downcast_ref::<Refused>().map(|refused| &*refused.kind) {
                Some("ExpiredIteratorException") => {
                    let mut request = json!({ "StreamName": name, "ShardId": place.shard });
                    match &place.last {
                        Some(last) => {
                            request["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
                            request["StartingSequenceNumber"] = json!(last);
                        }
                        None => request["ShardIteratorType"] = json!("LATEST"),
                    }
                    let again = api.call("GetShardIterator", &request).await?;
                    place.iterator = again["ShardIterator"].as_str().map(str::to_owned);
                    Ok(true)
                }
                // Come back at the next round.
                Some(
                    "ProvisionedThroughputExceededException"
                    | "LimitExceededException"
                    | "ServiceUnavailable"
                    | "InternalFailure",
                ) => Ok(true),
                _ => Err(error),
            };
        }
    };
    let records = page["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
    for record in records {
        let number = text(&record["SequenceNumber"]);
        let data = STANDARD.decode(text(&record["Data"])).context("a record is no base64")?;
        let seconds = record["ApproximateArrivalTimestamp"].as_f64().unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a time that is near")]
        let t = (seconds * 1000.0).round() as i64;
        let key = text(&record["PartitionKey"]);
        let line = Line { sequence_number: &number, partition_key: &key, shard: &place.shard, t };
        write_line(&line, &data, answer)?;
        place.last = Some(number);
    }
    children.extend(
        page["ChildShards"].as_array().into_iter().flatten().map(|child| text(&child["ShardId"])),
    );
    place.iterator = page["NextShardIterator"].as_str().map(str::to_owned);
    let is_at_end = page["MillisBehindLatest"].as_u64() == Some(0);
    Ok(place.iterator.is_some() && !(is_at_end && records.is_empty()))
}
