use std::fs;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use crate::config::Compression;
use crate::config::DeliveryConfig;
use crate::journal::Effect;
use crate::journal::effect_stage::EffectJournal;

use super::*;

/// Noon of a day in 2026.
const ARRIVAL: Timestamp = Timestamp::from_millis(1_767_268_800_000);
const FOLDER: &str = "2026/01/01/12";

fn entry(delivery: &str, data: impl Into<Vec<u8>>) -> Effect {
    let data = Bytes::from(data.into());
    Effect::Deliver { delivery: delivery.into(), data, at: ARRIVAL, sent_by: None }
}

/// Never due by itself.
fn patient() -> DeliveryConfig {
    DeliveryConfig {
        buffer_bytes: usize::MAX,
        buffer_interval: Duration::from_secs(1_000_000_000),
        flush_on_stop: false,
        ..DeliveryConfig::default()
    }
}

/// Due at once.
fn eager() -> DeliveryConfig {
    DeliveryConfig { buffer_interval: Duration::ZERO, ..DeliveryConfig::default() }
}

#[derive(Debug)]
struct Unheard;

impl FailureSink for Unheard {
    fn failed(&self, _: &Arc<str>, _: Timestamp, _: &str) {}
}

async fn start(journal: &EffectJournal, config: &[(&str, DeliveryConfig)]) -> Deliveries {
    let config: BTreeMap<String, DeliveryConfig> =
        config.iter().map(|(name, one)| ((*name).to_owned(), one.clone())).collect();
    Deliveries::start(DeliverySetup {
        executor: journal.storage.executor(),
        reader: journal.storage.reader().unwrap(),
        backlogs: journal.journal.delivery_backlogs(),
        accounts: Arc::new(Accounts::new(&config)),
        data_dir: journal.storage.folder().to_owned(),
        clock: journal.clock,
        failures: Arc::new(Unheard),
        metrics: DeliveryMetrics::default(),
    })
    .await
    .unwrap()
}

/// Looks at the status until `is_so`; a test that never gets there fails after ten seconds.
async fn eventually(deliveries: &Deliveries, is_so: impl Fn(&[DeliveryStatus]) -> bool) {
    let look = async {
        while !is_so(&deliveries.status()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), look).await.expect("the expected status is reached");
}

fn worker(deliveries: &Deliveries, name: &str) -> Worker {
    deliveries.workers.lock().get(name).unwrap().clone()
}

/// All files below `root` with their content, by path.
fn files(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop().filter(|folder| folder.exists()) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), read(&path));
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    let raw = fs::read(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(raw.as_slice()).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(raw).unwrap();
    }
    text
}

#[tokio::test]
async fn entries_become_a_file_named_by_its_range() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    let deliveries = start(&journal, &[("alerts", patient())]).await;
    journal.commit(vec![entry("alerts", "{\"a\":1}"), entry("other", "0")]).await;
    journal.commit(vec![entry("alerts", "{\"a\":2}"), entry("alerts", "{\"a\":3}")]).await;
    let worker = worker(&deliveries, "alerts");
    let first = worker.backlog.extent().floor.entry + 1;
    worker.flush().await.unwrap();

    let last = first + 2;
    let path = folder.path().join(format!("delivery/alerts/{FOLDER}/alerts-{first}-{last}.jsonl"));
    assert_eq!(read(&path), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    let status = deliveries.status().swap_remove(0);
    assert_eq!((status.files, status.records, status.bytes), (1, 3, 21));
    assert_eq!((status.buffered_records, status.buffered_bytes, status.oldest), (0, 0, None));
    assert_eq!(status.last_file, Some(path));

    journal.commit(vec![entry("alerts", "4")]).await;
    worker.flush().await.unwrap();
    let path =
        folder.path().join(format!("delivery/alerts/{FOLDER}/alerts-{0}-{0}.jsonl", last + 1));
    assert_eq!(read(&path), "4\n");
    worker.flush().await.expect("nothing waits, nothing is written");
    assert_eq!(files(&folder.path().join("delivery/alerts")).len(), 2);
}

#[test]
fn metrics_are_named_with_their_units() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = DeliveryMetrics::default();
    metrics.register(&mut registry);
    let one = metrics.of(&"a".into());
    one.record_bytes.inc_by(7);
    one.oldest.set(9);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "delivery_record_bytes_total{delivery=\"a\"} 7",
        "delivery_oldest_record_timestamp_seconds{delivery=\"a\"} 9",
        "delivery_files_total{delivery=\"a\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn a_delivery_nobody_declared_is_made_when_its_first_entry_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    let deliveries = start(&journal, &[]).await;
    assert!(deliveries.status().is_empty());
    journal.commit(vec![entry("surprise", "1")]).await;
    eventually(&deliveries, |all| all.len() == 1 && all[0].buffered_records == 1).await;
    let status = deliveries.status().swap_remove(0);
    assert_eq!(status.buffer_interval, DeliveryConfig::default().buffer_interval);
    assert_eq!(status.directory, folder.path().join("delivery/surprise"));
}

#[tokio::test]
async fn age_makes_a_batch_due() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    let deliveries = start(&journal, &[("a", eager())]).await;
    journal.commit(vec![entry("a", "1")]).await;
    eventually(&deliveries, |all| all[0].files == 1).await;
    journal.commit(vec![entry("a", "2")]).await;
    eventually(&deliveries, |all| all[0].files == 2).await;
}

#[tokio::test]
async fn size_makes_a_batch_due_and_bounds_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    let config = DeliveryConfig { buffer_bytes: 100, ..patient() };
    let deliveries = start(&journal, &[("a", config.clone())]).await;
    journal.commit(vec![entry("a", "1".repeat(60))]).await;
    journal.commit(vec![entry("a", "2".repeat(60))]).await;
    eventually(&deliveries, |all| all[0].files == 1).await;
    deliveries.shutdown().await;

    // What piled up while nobody flushed leaves in files of the size asked for.
    for _ in 0..5 {
        journal.commit(vec![entry("a", "3".repeat(60))]).await;
    }
    let deliveries = start(&journal, &[("a", config)]).await;
    eventually(&deliveries, |all| all[0].files == 2 && all[0].buffered_records == 1).await;
    let lines: Vec<usize> =
        files(&folder.path().join("delivery")).values().map(|text| text.lines().count()).collect();
    assert_eq!(lines, [2, 2, 2]);
}

#[tokio::test]
async fn gzip_is_readable_and_named_so() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    let directory = Some(elsewhere.path().join("in/here"));
    let config = DeliveryConfig { compression: Compression::Gzip, directory, ..eager() };
    let deliveries = start(&journal, &[("a", config)]).await;
    journal.commit(vec![entry("a", "{}"), entry("a", [0xff])]).await;
    eventually(&deliveries, |all| all[0].files == 1).await;
    let files = files(elsewhere.path());
    let (path, text) = files.first_key_value().unwrap();
    assert!(path.to_string_lossy().ends_with(".jsonl.gz"), "{}", path.display());
    assert_eq!(text, "{}\n{\"data_base64\":\"/w==\"}\n");
}

#[tokio::test]
async fn an_unusable_directory_is_tried_again_and_costs_no_other_delivery_anything() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, b"a file where the directory should be").unwrap();
    let mut journal = EffectJournal::open(&folder.path().join("data"));
    let bad = DeliveryConfig { directory: Some(blocked.clone()), ..eager() };
    let deliveries = start(&journal, &[("bad", bad), ("good", eager())]).await;
    journal.commit(vec![entry("bad", "1"), entry("good", "2")]).await;
    eventually(&deliveries, |all| all[0].failures > 0 && all[1].files == 1).await;
    let status = deliveries.status().swap_remove(0);
    assert_eq!((status.buffered_records, status.buffered_bytes), (1, 1));
    assert_eq!(status.oldest, Some(ARRIVAL));
    assert!(status.failures_in_row > 0);
    let message = status.last_error.unwrap().message;
    assert!(message.contains("blocked") && message.contains(": "), "{message}");

    fs::remove_file(&blocked).unwrap();
    eventually(&deliveries, |all| all[0].files == 1).await;
    let status = deliveries.status().swap_remove(0);
    assert_eq!((status.buffered_records, status.failures_in_row), (0, 0));
    assert_eq!(files(&blocked).into_values().collect::<Vec<_>>(), ["1\n"]);
}

#[tokio::test]
async fn a_delivery_that_is_no_longer_configured_is_still_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    journal.commit(vec![entry("gone", "1")]).await;
    journal.close().await;

    let journal = EffectJournal::open(folder.path());
    let deliveries = start(&journal, &[]).await;
    assert_eq!(deliveries.status()[0].oldest, Some(ARRIVAL));
    eventually(&deliveries, |all| all[0].files == 1).await;
}

#[tokio::test]
async fn a_damaged_block_costs_only_its_own_entries() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    let deliveries = start(&journal, &[("a", patient())]).await;
    for data in ["1", "2", "3"] {
        journal.commit(vec![entry("a", data)]).await;
    }
    let worker = worker(&deliveries, "a");
    let row = worker.backlog.row;
    worker.tools.executor.execute(move |tx| table::damage_block(tx, row, 2)).await.unwrap();
    worker.flush().await.unwrap();
    let files = files(&folder.path().join("delivery"));
    assert_eq!(files.into_values().collect::<Vec<_>>(), ["1\n3\n"]);
    assert_eq!(worker.delivery.metrics.damaged_blocks.get(), 1);
    assert_eq!(worker.delivery.metrics.records.get(), 2);
}

#[tokio::test]
async fn a_large_batch_is_trimmed_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = EffectJournal::open(folder.path());
    let deliveries = start(&journal, &[("a", patient())]).await;
    let large = format!("\"{}\"", "x".repeat(700_000));
    for _ in 0..6 {
        journal.commit((0..6).map(|_| entry("a", large.clone())).collect()).await;
    }
    let worker = worker(&deliveries, "a");
    worker.flush().await.unwrap();
    let left = worker.tools.executor.execute(|tx| table::count_blocks(tx)).await.unwrap();
    assert_eq!(left, 0);
    let files = files(&folder.path().join("delivery"));
    assert_eq!(files.values().map(|text| text.lines().count()).collect::<Vec<_>>(), [36]);
}

/// Where a run of the gateway ends.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A commit of so many entries.
    Append(u8),
    Flush,
    CrashAfterFix,
    CrashWhileWriting,
    CrashAfterRename,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5_u8).prop_map(Step::Append),
        2 => Just(Step::Flush),
        1 => Just(Step::CrashAfterFix),
        1 => Just(Step::CrashWhileWriting),
        1 => Just(Step::CrashAfterRename),
        1 => Just(Step::Restart),
    ]
}

async fn every_entry_is_in_one_file(steps: Vec<Step>, compression: Compression) {
    let folder = tempfile::tempdir().unwrap();
    let config = DeliveryConfig { compression, ..patient() };
    let mut expected = Vec::new();
    let mut journal = EffectJournal::open(folder.path());
    let mut deliveries = start(&journal, &[("a", config.clone())]).await;
    for step in steps.into_iter().chain([Step::Flush, Step::Flush]) {
        let worker = worker(&deliveries, "a");
        match step {
            Step::Append(count) => {
                let first = expected.len();
                expected.extend((first..first + usize::from(count)).map(|entry| entry.to_string()));
                let entries = expected[first..].iter().map(|data| entry("a", data.as_str()));
                journal.commit(entries.collect()).await;
                continue;
            }
            Step::Flush => {
                worker.flush().await.unwrap();
                continue;
            }
            Step::CrashAfterFix => drop(worker.fix_batch().await.unwrap()),
            Step::CrashWhileWriting => {
                if let Some(batch) = worker.fix_batch().await.unwrap() {
                    let directory = &worker.delivery.directory(&config);
                    let mut file = object::ObjectWriter::create(
                        directory,
                        &batch.object,
                        batch.form.packing(),
                    )
                    .unwrap();
                    file.write(&[b'x'; 100_000]).unwrap();
                    // Its temporary file stays.
                    std::mem::forget(file);
                }
            }
            Step::CrashAfterRename => {
                if let Some(batch) = worker.fix_batch().await.unwrap() {
                    drop(worker.write_object(batch).unwrap());
                }
            }
            Step::Restart => {}
        }
        deliveries.shutdown().await;
        drop((deliveries, worker));
        journal.close().await;
        journal = EffectJournal::open(folder.path());
        deliveries = start(&journal, &[("a", config.clone())]).await;
    }
    // Ids have the same number of digits, so paths are in order.
    let delivered: String = files(&folder.path().join("delivery")).into_values().collect();
    assert_eq!(delivered.lines().collect::<Vec<_>>(), expected);
    assert_eq!(deliveries.status()[0].buffered_records, 0);
    deliveries.shutdown().await;
    drop(deliveries);
    journal.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn crashes_neither_lose_nor_double_entries(
        steps in prop::collection::vec(step(), 1..14),
        is_compressed: bool,
    ) {
        let compression =
            if is_compressed { Compression::Gzip } else { Compression::None };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(every_entry_is_in_one_file(steps, compression));
    }
}
