//! Where made-up records go.

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
use crate::cli::kinesis_api::Service;
use crate::cli::replay::BrokerAddress;
use crate::cli::replay::Fleet;
use crate::cli::replay::Tally as FleetTally;
use crate::clock::Timestamp;
use crate::limits::FIREHOSE_BATCH_BYTES_MAX;
use crate::limits::FIREHOSE_BATCH_RECORDS_MAX;
use crate::limits::KINESIS_BATCH_BYTES_MAX;
use crate::limits::KINESIS_BATCH_RECORDS_MAX;
use crate::publish::QoS;
use crate::recording::RecordedPublish;
use crate::topic::TopicName;

/// Requests to an API under way at once.
const REQUESTS_MAX: usize = 4;
/// How often what is throttled is sent again, and the pause before the first time; then twice as long each time.
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
    Api(ApiTarget),
    Mqtt { fleet: Fleet, sent: u64 },
}

/// What takes batches of records behind an API.
#[derive(Clone, Debug)]
enum Taker {
    /// A stream.
    Stream(Arc<str>),
    /// A delivery, behind Firehose's API.
    Delivery(Arc<str>),
}

impl Taker {
    /// The most records and bytes of a batch.
    fn batch_max(&self) -> (usize, usize) {
        match self {
            Taker::Stream(_) => (KINESIS_BATCH_RECORDS_MAX, KINESIS_BATCH_BYTES_MAX),
            Taker::Delivery(_) => (FIREHOSE_BATCH_RECORDS_MAX, FIREHOSE_BATCH_BYTES_MAX),
        }
    }

    /// Puts a batch; answers which of its records are stored.
    async fn put(&self, api: &KinesisApi, batch: &[Made]) -> anyhow::Result<Vec<bool>> {
        let entry = |made: &Made| match self {
            Taker::Stream(_) => {
                json!({"Data": STANDARD.encode(&made.data), "PartitionKey": made.place})
            }
            Taker::Delivery(_) => json!({"Data": STANDARD.encode(&made.data)}),
        };
        let records: Vec<Value> = batch.iter().map(entry).collect();
        let (operation, request, results, stored) = match self {
            Taker::Stream(name) => {
                let request = json!({"StreamName": **name, "Records": records});
                ("PutRecords", request, "Records", "SequenceNumber")
            }
            Taker::Delivery(name) => {
                let request = json!({"DeliveryStreamName": **name, "Records": records});
                ("PutRecordBatch", request, "RequestResponses", "RecordId")
            }
        };
        let answer = api.call(operation, &request).await?;
        let results = answer[results].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(results.iter().map(|result| result[stored].is_string()).collect())
    }
}

/// A stream or a delivery behind an API.
pub(super) struct ApiTarget {
    api: KinesisApi,
    taker: Taker,
    tally: Arc<Tally>,
    /// Not handed over yet.
    batch: Vec<Made>,
    bytes: usize,
    requests: JoinSet<anyhow::Result<()>>,
}

impl Target {
    /// A stream.
    pub(super) fn stream(api: KinesisApi, stream: &str, tally: Arc<Tally>) -> Target {
        Target::of(api, Taker::Stream(stream.into()), tally)
    }

    /// A delivery.
    pub(super) fn delivery(api: KinesisApi, delivery: &str, tally: Arc<Tally>) -> Target {
        Target::of(api.of(Service::Firehose), Taker::Delivery(delivery.into()), tally)
    }

    fn of(api: KinesisApi, taker: Taker, tally: Arc<Tally>) -> Target {
        let (batch, requests) = (Vec::new(), JoinSet::new());
        Target::Api(ApiTarget { api, taker, tally, batch, bytes: 0, requests })
    }

    /// A broker.
    pub(super) fn mqtt(broker: &BrokerAddress, tally: Arc<Tally>) -> Target {
        let fleet = Fleet::new(broker.clone(), QoS::AtLeastOnce, Arc::clone(&tally.fleet));
        Target::Mqtt { fleet, sent: 0 }
    }

    /// Takes a record; waits while too many are under way.
    pub(super) async fn send(&mut self, made: Made) -> anyhow::Result<()> {
        match self {
            Target::Api(target) => target.send(made).await,
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
            Target::Api(target) => target.flush().await,
            Target::Mqtt { .. } => Ok(()),
        }
    }

    /// Waits until everything is acknowledged.
    pub(super) async fn land(self) -> anyhow::Result<()> {
        match self {
            Target::Api(mut target) => {
                target.flush().await?;
                while let Some(ended) = target.requests.join_next().await {
                    ended??;
                }
                Ok(())
            }
            Target::Mqtt { fleet, .. } => Ok(fleet.land().await?),
        }
    }
}

impl ApiTarget {
    async fn send(&mut self, made: Made) -> anyhow::Result<()> {
        let bytes = made.data.len() + made.place.len();
        let (records_max, bytes_max) = self.taker.batch_max();
        if self.batch.len() >= records_max || self.bytes + bytes > bytes_max {
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
        let batch = std::mem::take(&mut self.batch);
        let (api, taker) = (self.api.clone(), self.taker.clone());
        self.requests.spawn(put(api, taker, Arc::clone(&self.tally), batch));
        Ok(())
    }
}

/// Puts records, and those that are throttled again, until all are stored or it has been tried often enough.
async fn put(
    api: KinesisApi,
    taker: Taker,
    tally: Arc<Tally>,
    batch: Vec<Made>,
) -> anyhow::Result<()> {
    let mut left = batch;
    let mut pause = PAUSE;
    for _ in 0..ATTEMPTS_MAX {
        let stored = taker.put(&api, &left).await?;
        let is_stored = |n: usize| stored.get(n).copied().unwrap_or_default();
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
