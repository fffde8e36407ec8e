//! Subscriptions whose time is over, without a gateway around them.

use http_body_util::BodyExt;

use super::*;
use crate::clock::Timestamp;
use crate::delivery::Accounts;
use crate::delivery::Deliveries;
use crate::delivery::DeliveryMetrics;
use crate::delivery::DeliveryPut;
use crate::delivery::DeliverySetup;
use crate::delivery::FailureSink;
use crate::delivery::MadeDeliveries;
use crate::kinesis::AccessKeys;
use crate::kinesis::Intake;
use crate::kinesis::KinesisMetrics;
use crate::kinesis::NotPut;
use crate::kinesis::Setup;
use crate::kinesis::shape::parse;
use crate::lease::Tables;
use crate::limits::RECORD_BYTES_MAX;
use crate::storage::Job;
use crate::storage::Storage;
use crate::stream::Arrivals;
use crate::stream::Lineage;
use crate::stream::NewStream;
use crate::stream::Put;

#[derive(Debug)]
struct NoIntake;

impl Intake for NoIntake {
    fn put(&self, _: Arc<Put>) -> Pin<Box<dyn Future<Output = Result<(), NotPut>> + Send + '_>> {
        Box::pin(async { Err(NotPut::Refused("nothing is put here".to_owned())) })
    }

    fn deliver(
        &self,
        _: Arc<DeliveryPut>,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotPut>> + Send + '_>> {
        Box::pin(async { Err(NotPut::Refused("nothing is put here".to_owned())) })
    }

    fn named_by(&self, _: &str) -> Option<String> {
        None
    }
}

impl FailureSink for NoIntake {
    fn failed(&self, _: &Arc<str>, _: Timestamp, _: &str) {}
}

async fn no_deliveries(storage: &Storage, clock: Clock) -> Arc<MadeDeliveries> {
    let accounts: Arc<Accounts> = Arc::default();
    let deliveries = Deliveries::start(DeliverySetup {
        executor: storage.executor(),
        reader: storage.reader().unwrap(),
        backlogs: Arc::default(),
        accounts: Arc::clone(&accounts),
        data_dir: storage.folder().to_owned(),
        clock,
        failures: Arc::new(NoIntake),
        metrics: DeliveryMetrics::default(),
    });
    let deliveries = Arc::new(deliveries.await.unwrap());
    MadeDeliveries::new(storage.executor(), clock, accounts, deliveries, Vec::new())
}

/// Makes the jobs of a storage on a thread, each in a transaction of its own.
fn write_jobs(storage: &Storage) {
    let (mut connection, mut jobs) = storage.take_writer().unwrap();
    std::thread::spawn(move || {
        while let Some(mut job) = jobs.blocking_recv() {
            let transaction = connection.transaction().unwrap();
            let refused = job.run(&transaction).err();
            transaction.commit().unwrap();
            Job::finish(job, refused);
        }
    });
}

#[tokio::test]
async fn a_subscription_ends_when_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    write_jobs(&storage);
    let clock = Clock::start();
    let lineage = Lineage::new(storage.executor(), clock);
    let new = NewStream {
        name: "s".to_owned(),
        shards: 1,
        is_limited: true,
        record_bytes_max: RECORD_BYTES_MAX,
        tags: Vec::new(),
    };
    lineage.create(new).await.unwrap().unwrap();
    let consumer = lineage.register("s".to_owned(), "c".to_owned(), Vec::new()).await;
    let (_stop, stopped) = watch::channel(false);
    let kinesis = Arc::new(Kinesis::new(Setup {
        intake: Arc::new(NoIntake),
        leases: Tables::new(storage.executor(), storage.reader().unwrap(), clock),
        lineage,
        made: no_deliveries(&storage, clock).await,
        buckets: folder.path().to_owned(),
        readers: vec![Reader::new(storage.reader().unwrap())],
        clock,
        account_id: "000000000000".to_owned(),
        region: "us-east-1".to_owned(),
        keys: AccessKeys::default(),
        keyring: Arc::default(),
        arrivals: Arc::new(Arrivals::default()),
        stopped,
        subscription_life: Duration::from_millis(200),
        body_timeout: Duration::from_secs(60),
        metrics: KinesisMetrics::default(),
        meter: Arc::default(),
    }));
    let arn = kinesis.consumer_arn_of("s", &consumer.unwrap().unwrap());
    let request = serde_json::json!({
        "ConsumerARN": arn, "ShardId": "0", "StartingPosition": {"Type": "LATEST"},
    });
    let subscribe = || {
        let request = parse(Format::Json, request.to_string().as_bytes()).unwrap();
        shard(&kinesis, Format::Json, request)
    };
    // Twice: one that is over is in nobody's way.
    for _ in 0..2 {
        let Ok(Answer::Events(body)) = subscribe().await else { panic!("events are answered") };
        let second = subscribe().await.unwrap_err();
        assert_eq!(second.kind, "ResourceInUseException");
        assert_eq!(kinesis.metrics.subscriptions.get(), 1);
        let said = body.collect().await.unwrap().to_bytes();
        assert_eq!(said, event_stream::event("initial-response", Format::Json, b"{}"));
        assert_eq!(kinesis.metrics.subscriptions.get(), 0);
    }
}
