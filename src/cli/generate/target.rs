//! Where made-up records go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cli::kinesis_api::KinesisApi;
use crate::cli::replay::BrokerAddress;
use crate::cli::replay::Fleet;
use crate::cli::replay::Tally as FleetTally;
use crate::clock::Timestamp;
use crate::limits::KINESIS_BATCH_BYTES_MAX;
use crate::limits::KINESIS_BATCH_RECORDS_MAX;
use crate::publish::QoS;
use crate::recording::RecordedPublish;
use crate::topic::TopicName;

/// Requests to a stream under way at once.
const REQUESTS_MAX: usize = 4;
/// How often what a stream throttles is sent again, and the pause before the first time; then twice as long each time.
const ATTEMPTS_MAX: u32 = 8;
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that MQTT messages take turns over.
const CONNECTIONS: u64 = 4;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// Partition key, or topic.
    pub(super) place: String,
    /// The record.
    pub(super) data: String,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Records that were acknowledged.
    pub(super) stored: Arc<AtomicU64>,
    /// Records that were throttled and sent again, each time.
    pub(super) throttled: AtomicU64,
    /// Records that were given up.
    pub(super) lost: AtomicU64,
    /// Of MQTT: what the connections count.
    fleet: Arc<FleetTally>,
}

impl Tally {
    /// A line for while it goes on.
    pub(super) fn so_far(&self) -> String {
        self.stored.fetch_max(self.fleet.acknowledged.load(Relaxed), Relaxed);
        let throttled = self.throttled.load(Relaxed);
        let stored = self.stored.load(Relaxed);
        match throttled {
            0 => format!("{stored} acknowledged"),
            _ => format!("{stored} acknowledged, {throttled} throttled"),
        }
    }

    /// One line about all of it.
    pub(super) fn summary(&self, seconds: f64) -> String {
        let so_far = self.so_far();
        // Exact below 2^53.
        let rate = self.stored.load(Relaxed) as f64 / seconds.max(1e-3);
        let lost = match self.lost.load(Relaxed) {
            0 => String::new(),
            lost => format!(", {lost} given up"),
        };
        format!("{so_far}{lost} in {seconds:.1} s ({rate:.0}/s)")
    }
}

/// Takes records.
pub(super) enum Target {
    Stream(StreamTarget),
    Mqtt { fleet: Fleet, sent: u64 },
}

/// A stream behind the Kinesis API.
pub(super) struct StreamTarget {
    api: KinesisApi,
    stream: Arc<str>,
    tally: Arc<Tally>,
    /// Not handed over yet.
    batch: Vec<Made>,
    bytes: usize,
    requests: JoinSet<anyhow::Result<()>>,
}

impl Target {
    /// A stream.
    pub(super) fn stream(api: KinesisApi, stream: &str, tally: Arc<Tally>) -> Target {
        let (batch, requests) = (Vec::new(), JoinSet::new());
        Target::Stream(StreamTarget {
            api,
            stream: stream.into(),
            tally,
            batch,
            bytes: 0,
            requests,
        })
    }

    /// A broker.
    pub(super) fn mqtt(broker: &BrokerAddress, tally: Arc<Tally>) -> Target {
        let fleet = Fleet::new(broker.clone(), QoS::AtLeastOnce, Arc::clone(&tally.fleet));
        Target::Mqtt { fleet, sent: 0 }
    }

    /// Takes a record; waits while too many are under way.
    pub(super) async fn send(&mut self, made: Made) -> anyhow::Result<()> {
        match self {
            Target::Stream(stream) => stream.send(made).await,
            Target::Mqtt { fleet, sent } => {
                *sent += 1;
                let topic = TopicName::parse(&made.place)
                    .map_err(|error| anyhow::anyhow!("'{}' is no topic: {error}", made.place))?;
                let client_id =
                    format!("tidegate-generate-{}-{}", std::process::id(), *sent % CONNECTIONS);
                let publish = RecordedPublish {
                    line: *sent,
                    t: Timestamp::EPOCH,
                    topic,
                    payload: Bytes::from(made.data),
                    client_id: Some(client_id.into()),
                    unread: None,
                };
                Ok(fleet.publish(publish).await?)
            }
        }
    }

    /// Hands over what was taken.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Target::Stream(stream) => stream.flush().await,
            Target::Mqtt { .. } => Ok(()),
        }
    }

    /// Waits until everything is acknowledged.
    pub(super) async fn land(self) -> anyhow::Result<()> {
        match self {
            Target::Stream(mut stream) => {
                stream.flush().await?;
                while let Some(ended) = stream.requests.join_next().await {
                    ended??;
                }
                Ok(())
            }
            Target::Mqtt { fleet, .. } => Ok(fleet.land().await?),
        }
    }
}

impl StreamTarget {
    async fn send(&mut self, made: Made) -> anyhow::Result<()> {
        let bytes = made.data.len() + made.place.len();
        if self.batch.len() >= KINESIS_BATCH_RECORDS_MAX
            || self.bytes + bytes > KINESIS_BATCH_BYTES_MAX
        {
            self.flush().await?;
        }
        self.bytes += bytes;
        self.batch.push(made);
        Ok(())
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        while self.requests.len() >= REQUESTS_MAX
            && let Some(ended) = self.requests.join_next().await
        {
            ended??;
        }
        while let Some(ended) = self.requests.try_join_next() {
            ended??;
        }
        self.bytes = 0;
        let batch = VecDeque::from(std::mem::take(&mut self.batch));
        let (api, stream, tally) =
            (self.api.clone(), Arc::clone(&self.stream), Arc::clone(&self.tally));
        self.requests.spawn(put(api, stream, tally, batch));
        Ok(())
    }
}

/// Puts records, and those that are throttled again, until all are stored or it has been tried often enough.
async fn put(
    api: KinesisApi,
    stream: Arc<str>,
    tally: Arc<Tally>,
    batch: VecDeque<Made>,
) -> anyhow::Result<()> {
    let mut left = Vec::from(batch);
    let mut pause = PAUSE;
    for _ in 0..ATTEMPTS_MAX {
        let entry =
            |made: &Made| json!({"Data": STANDARD.encode(&made.data), "PartitionKey": made.place});
        let entries: Vec<Value> = left.iter().map(entry).collect();
        let answer =
            api.call("PutRecords", &json!({"StreamName": *stream, "Records": entries})).await?;
        let results = answer["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_stored =
            |n: usize| results.get(n).is_some_and(|result| result["SequenceNumber"].is_string());
        let before = left.len();
        left = left
            .into_iter()
            .enumerate()
            .filter(|(n, _)| !is_stored(*n))
            .map(|(_, made)| made)
            .collect();
        tally.stored.fetch_add((before - left.len()) as u64, Relaxed);
        if left.is_empty() {
            return Ok(());
        }
        tally.throttled.fetch_add(left.len() as u64, Relaxed);
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    tally.lost.fetch_add(left.len() as u64, Relaxed);
    Ok(())
}
