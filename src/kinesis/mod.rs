//! Kinesis Data Streams' API over the gateway's streams.
//!
//! In: `POST /` on the HTTP side, an operation in `X-Amz-Target: Kinesis_20131202.NAME`, AWS JSON 1.1 or its
//! CBOR twin ([`wire`]). Out: answers and errors as AWS's servers give them, so that boto3, the AWS CLI and the
//! SDKs work with nothing changed but the endpoint. `docs/kinesis.md` has the table of operations and what
//! differs.
//!
//! Writing goes through [`Intake`]: the records of every client join the journal's next commit, and are answered
//! when that is on disk. Reading takes one of a few connections ([`Pool`]). What changes streams and shards is
//! [`crate::stream::Lineage`]'s. Iterators and next tokens say all themselves ([`token`]); nothing is kept for a
//! client between two requests but what provisioned shards have given in the last second. [`subscribe`] pushes records
//! to consumers that are registered, in an answer that goes on for minutes.
//!
//! The same route has what consumers need besides: [`dynamo`] is the API of the lease tables, [`metric_data`] takes
//! their metrics; and [`firehose`], the API of deliveries. [`protocol`] tells them apart.
//!
//! Invariants: at most [`KINESIS_REQUESTS_MAX`] requests are under way; what their bodies and answers hold is
//! bounded by [`KINESIS_BYTES_MAX`]; every answer is bounded by the API's own limits; a request that cannot be
//! read, is not signed, or breaks a constraint changes nothing.
//!
//! Start reading at [`wire`], then [`operation`].

mod answer;
mod control;
mod describe;
mod dynamo;
mod encryption;
mod event_stream;
mod fan_out;
mod fault;
mod firehose;
mod metric_data;
mod metrics;
mod monitor;
mod operation;
mod operations;
mod pool;
mod protocol;
mod put;
mod read;
mod refused;
mod shape;
mod signature;
mod subscribe;
mod subscriptions;
mod tags;
mod target;
mod token;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::delivery::Accounts;
use crate::delivery::DeliveryPut;
use crate::delivery::MadeDeliveries;
use crate::delivery::MadeDelivery;
use crate::lease::Tables;
use crate::limits::KINESIS_BYTES_MAX;
use crate::limits::KINESIS_EVENTS_BYTES_MAX;
use crate::limits::KINESIS_REQUESTS_MAX;
use crate::limits::KINESIS_SUBSCRIPTIONS_MAX;
use crate::storage::Keyring;
use crate::stream::Allowance;
use crate::stream::Arrivals;
use crate::stream::Lineage;
use crate::stream::Meter;
use crate::stream::Put;
use crate::stream::Reader;
use crate::stream::ShardId;

pub use metrics::KinesisMetrics;
pub use signature::AccessKeys;
pub use signature::Signer;
pub(crate) use wire::router;

use operation::Operation;
use pool::Pool;
use protocol::Protocol;
use shape::Format;
use subscriptions::Subscriptions;
use token::NextPage;
use token::ShardIterator;

/// The queue's bytes are shared out in units of this.
const ROOM_UNIT_BYTES: usize = 1024;

/// Reads what a client may send as the API does, and forgets it: a request of the operation that the first byte
/// picks, an iterator, a next token. Answers whether it is a request. For fuzzing: no bytes may make it panic.
pub fn probe(bytes: &[u8]) -> bool {
    let Some((first, body)) = bytes.split_first() else { return false };
    let format = if first % 2 == 0 { Format::Json } else { Format::Cbor };
    let operations = Operation::ALL;
    let operation = operations[usize::from(first / 2) % operations.len()];
    let now = Timestamp::EPOCH;
    if let Ok(text) = std::str::from_utf8(body) {
        drop(ShardIterator::parse(text, now));
        drop(NextPage::parse(text, now));
    }
    dynamo::probe(body);
    firehose::probe(body);
    drop(metric_data::count(Protocol::Query, body));
    drop(metric_data::count(Protocol::Rpc, body));
    operation.reads(format, body).is_ok()
}

/// Gives the deliveries that programs have made the settings that they asked for, buckets being folders in `buckets`.
pub fn restore_deliveries(made: &[MadeDelivery], accounts: &Accounts, buckets: &Path) {
    for MadeDelivery { name, destination, .. } in made {
        if accounts.is_declared(name) {
            tracing::warn!(delivery = %name, "a program has made this delivery; the configuration is followed");
            continue;
        }
        let members = serde_json::from_str(destination).unwrap_or_default();
        match firehose::destination::settings(&members, buckets) {
            Ok(config) => accounts.set(name, config),
            // It was read when it was made; its records go to the folder of its name.
            Err(reason) => {
                tracing::error!(delivery = %name, reason, "a delivery's settings are lost")
            }
        }
    }
}

/// Why records are not known to be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPut {
    /// They were not taken: the journal is stalled or closed.
    #[error("{0}")]
    Refused(String),
    /// They are not committed yet, and may still be.
    #[error("the records were not committed in time; they may be later")]
    Unsettled,
}

/// What the gateway does for the API.
pub trait Intake: Send + Sync + 'static {
    /// Hands records to the journal, and answers when the commit that has them is on disk.
    fn put(&self, put: Arc<Put>) -> Pin<Box<dyn Future<Output = Result<(), NotPut>> + Send + '_>>;

    /// The same for a delivery.
    fn deliver(
        &self,
        put: Arc<DeliveryPut>,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotPut>> + Send + '_>>;

    /// Who names the stream, so that it cannot be deleted: the configuration, or a rule.
    fn named_by(&self, stream: &str) -> Option<String>;
}

/// What the API is made of.
pub struct Setup {
    /// Where records go.
    pub intake: Arc<dyn Intake>,
    /// What changes streams and shards.
    pub lineage: Lineage,
    /// Deliveries that programs make.
    pub made: Arc<MadeDeliveries>,
    /// The folder of the folders that stand for buckets.
    pub buckets: PathBuf,
    /// What consumers share the shards by.
    pub leases: Tables,
    /// Connections of its own, one at least.
    pub readers: Vec<Reader>,
    /// The gateway's time.
    pub clock: Clock,
    /// What ARNs have for an account: twelve digits.
    pub account_id: String,
    /// What ARNs have for a region.
    pub region: String,
    /// What requests may be signed with.
    pub keys: AccessKeys,
    /// What records may be encrypted with.
    pub keyring: Arc<Keyring>,
    /// Who rings when records have come.
    pub arrivals: Arc<Arrivals>,
    /// Turns true when the gateway stops: what would go on for minutes ends then.
    pub stopped: watch::Receiver<bool>,
    /// How long a subscription lasts.
    pub subscription_life: Duration,
    /// From a request's head to the end of its body.
    pub body_timeout: Duration,
    /// What it counts.
    pub metrics: KinesisMetrics,
    /// What is counted of each shard.
    pub meter: Arc<Meter>,
}

/// The API.
pub(crate) struct Kinesis {
    intake: Arc<dyn Intake>,
    lineage: Lineage,
    made: Arc<MadeDeliveries>,
    buckets: PathBuf,
    leases: Tables,
    pool: Pool,
    clock: Clock,
    account_id: String,
    region: String,
    keys: AccessKeys,
    keyring: Arc<Keyring>,
    arrivals: Arc<Arrivals>,
    stopped: watch::Receiver<bool>,
    subscription_life: Duration,
    body_timeout: Duration,
    metrics: KinesisMetrics,
    subscriptions: Subscriptions,
    /// Subscriptions that may be begun.
    subscription_turns: Arc<Semaphore>,
    /// Kibibytes that their events may still take.
    event_room: Arc<Semaphore>,
    meter: Arc<Meter>,
    /// Requests that may be begun.
    requests: Arc<Semaphore>,
    /// Kibibytes that bodies and answers may still take.
    room: Arc<Semaphore>,
    /// What shards with limits have given lately, by stream and number. Written by reads of such shards
    /// only.
    given: Mutex<HashMap<(String, ShardId), Given, foldhash::fast::RandomState>>,
}

/// What is left of a second of what a shard with limits gives.
struct Given {
    pages: Allowance,
    places: Allowance,
}

impl Kinesis {
    pub(crate) fn new(setup: Setup) -> Kinesis {
        Kinesis {
            intake: setup.intake,
            lineage: setup.lineage,
            made: setup.made,
            buckets: setup.buckets,
            leases: setup.leases,
            pool: Pool::new(setup.readers),
            clock: setup.clock,
            account_id: setup.account_id,
            region: setup.region,
            keys: setup.keys,
            keyring: setup.keyring,
            arrivals: setup.arrivals,
            stopped: setup.stopped,
            subscription_life: setup.subscription_life,
            subscriptions: Subscriptions::default(),
            subscription_turns: Arc::new(Semaphore::new(KINESIS_SUBSCRIPTIONS_MAX)),
            event_room: Arc::new(Semaphore::new(KINESIS_EVENTS_BYTES_MAX / ROOM_UNIT_BYTES)),
            body_timeout: setup.body_timeout,
            metrics: setup.metrics,
            meter: setup.meter,
            requests: Arc::new(Semaphore::new(KINESIS_REQUESTS_MAX)),
            room: Arc::new(Semaphore::new(KINESIS_BYTES_MAX / ROOM_UNIT_BYTES)),
            given: Mutex::default(),
        }
    }
}

impl fmt::Debug for Kinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinesis").field("keys", &self.keys).finish_non_exhaustive()
    }
}
