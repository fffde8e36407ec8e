//! What the Kinesis API needs of the gateway: a way into the journal, and who names a stream.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::delivery::Deliveries;
use crate::delivery::DeliveryPut;
use crate::journal::AckSlot;
use crate::journal::JournalHealth;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::kinesis;
use crate::kinesis::AccessKeys;
use crate::kinesis::Intake;
use crate::kinesis::KinesisMetrics;
use crate::kinesis::NotPut;
use crate::lease;
use crate::limits;
use crate::stream;
use crate::stream::Lineage;
use crate::stream::Put;

use super::Parts;
use super::encryption::lock_streams;
use super::intake::Ways;
use super::rules::RunningRules;
use super::secrets;
use super::stage::Work;
use super::stream_metrics::StreamMetrics;
use super::streams::named_streams;

/// Memory of a record beside its data and key, about, bytes.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// The way of records from outside the rules.
struct StreamIntake {
    journal: Submitter<Work>,
    health: JournalHealth,
    running: Arc<RunningRules>,
    declared: BTreeSet<String>,
}

impl StreamIntake {
    /// Hands work to the journal, of so many records and bytes that have arrived at `at`, and answers when it is on disk.
    async fn submit(
        &self,
        at: Timestamp,
        work: Work,
        records: usize,
        bytes: usize,
    ) -> Result<(), NotPut> {
        if let Some(stall) = self.health.stall() {
            let reason = format!("no commit since {}: {}", stall.since, stall.reason);
            return Err(NotPut::Refused(reason));
        }
        let slot = Arc::new(AckSlot::default());
        let bytes = bytes + records * RECORD_OVERHEAD_BYTES;
        let ack = Some((Arc::clone(&slot), 1));
        let submission = Submission { at, work, bytes, ack };
        let submitted = async {
            let closed = || NotPut::Refused("the gateway is stopping".to_owned());
            self.journal.submit(submission).await.map_err(|_| closed())?;
            while slot.committed() < 1 {
                tokio::select! {
                    () = slot.changed() => {}
                    // What it had taken before may have been committed all the same.
                    () = self.journal.closed() => {
                        return if slot.committed() < 1 { Err(NotPut::Unsettled) } else { Ok(()) };
                    }
                }
            }
            Ok(())
        };
        tokio::time::timeout(limits::API_COMMIT_MAX, submitted)
            .await
            .unwrap_or(Err(NotPut::Unsettled))
    }
}

impl Intake for StreamIntake {
    fn put(&self, put: Arc<Put>) -> Pin<Box<dyn Future<Output = Result<(), NotPut>> + Send + '_>> {
        let (at, records, bytes) = (put.at(), put.records().len(), put.payload_bytes());
        Box::pin(self.submit(at, Work::Put(put), records, bytes))
    }

    fn deliver(
        &self,
        put: Arc<DeliveryPut>,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotPut>> + Send + '_>> {
        let (at, records, bytes) = (put.at(), put.count(), put.payload_bytes());
        Box::pin(self.submit(at, Work::Deliver(put), records, bytes))
    }

    fn named_by(&self, stream: &str) -> Option<String> {
        if self.declared.contains(stream) {
            return Some("the configuration".to_owned());
        }
        named_streams(&self.running.get()).contains(stream).then(|| "a rule".to_owned())
    }
}

impl Parts<'_> {
    /// The routes of the Kinesis API, and the deliveries that it is for as well.
    pub(super) async fn kinesis(
        &self,
        running: &Arc<RunningRules>,
        stopped: &watch::Receiver<bool>,
        ways: &Ways,
        registry: &mut Registry,
    ) -> anyhow::Result<(Router, Arc<Deliveries>)> {
        let (deliveries, made) =
            self.start_deliveries(Arc::clone(&ways.accounts), registry).await?;
        let Parts { storage, journal, config, clock, .. } = *self;
        let metrics = KinesisMetrics::default();
        metrics.register(registry);
        let meter = Arc::clone(&running.hold().meter);
        let reader = stream::Reader::new(storage.reader()?);
        lock_streams(&reader, storage.keys(), &meter)?;
        registry.register_collector(Box::new(StreamMetrics::new(
            reader,
            Arc::clone(&meter),
            clock,
        )));
        let mut keys = Vec::new();
        for (id, key) in &config.access_keys {
            let secret = config.secrets.get(&key.secret);
            let secret = secret.with_context(|| format!("the access key {id} has no secret"))?;
            keys.push((id.clone(), secrets::read_one(&key.secret, secret)?));
        }
        let mut readers = Vec::with_capacity(limits::KINESIS_READERS);
        for _ in 0..limits::KINESIS_READERS {
            readers.push(stream::Reader::new(storage.reader()?));
        }
        let intake = StreamIntake {
            journal: journal.submitter(),
            health: journal.health(),
            running: Arc::clone(running),
            declared: config.streams.keys().cloned().collect(),
        };
        let router = kinesis::router(kinesis::Setup {
            intake: Arc::new(intake),
            lineage: Lineage::new(storage.executor(), clock),
            made,
            buckets: config.buckets(),
            leases: lease::Tables::new(storage.executor(), storage.reader()?, clock),
            readers,
            clock,
            account_id: config.account_id.clone(),
            region: config.region.clone(),
            keys: AccessKeys::new(keys),
            keyring: Arc::clone(storage.keys()),
            arrivals: journal.arrivals(),
            stopped: stopped.clone(),
            subscription_life: limits::KINESIS_SUBSCRIPTION_LIFE,
            body_timeout: config.http.body_timeout,
            metrics,
            meter,
        });
        Ok((router, deliveries))
    }
}
