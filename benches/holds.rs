//! Conditions over time with very many keys: what a key takes, a burst of timers, a start.
//!
//! `cargo bench --bench holds`. Memory is what the process has resident, with the gateway's allocator, before
//! and after; nothing is left out but what is printed beside it: the texts of the keys and the messages. It
//! fails when a key takes more than [`KEY_BYTES`], when more than [`LEFT_BYTES`] stay behind, when
//! [`BURST`] timers of one instant take longer than [`BURST_TIME`], or a start longer than [`START_TIME`].

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::env;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use tidegate::checkpoint;
use tidegate::clock::Clock;
use tidegate::clock::Timestamp;
use tidegate::config::Config;
use tidegate::engine::Engine;
use tidegate::engine::Observation;
use tidegate::engine::RuleIndex;
use tidegate::engine::Truth;
use tidegate::engine::hold::HoldTable;
use tidegate::engine::hold::KEY_BYTES;
use tidegate::engine::hold::Progress;
use tidegate::engine::hold::Transitions;
use tidegate::engine::hold::WatchedRule;
use tidegate::engine::hold::fingerprint;
use tidegate::engine::hold::lateness;
use tidegate::engine::rows::KeyChange;
use tidegate::engine::stateful::StateTable;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::Rule;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::table::NoFiles;
use tidegate::rule_files;
use tidegate::storage::Storage;
use tidegate::topic::TopicName;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u32 = 1_000_000;
const BURST: u32 = 100_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
const PAGE_BYTES: usize = 4096;
/// What of a key may stay resident when all have ended, bytes: the index of the rule, and what the allocator
/// keeps to itself.
const LEFT_BYTES: f64 = 8.0;
/// How long the table is in use after all keys have ended, before it is weighed: mimalloc gives pages back a
/// second after they have become free. What the table itself keeps is counted by `--test allocations`.
const GOES_ON: Duration = Duration::from_millis(2500);
/// The longest start with [`KEYS`] on disk.
const START_TIME: Duration = Duration::from_secs(2);
const BURST_TIME: Duration = Duration::from_secs(1);

fn rules(when: &str) -> Vec<Arc<Rule>> {
    let text = format!("CREATE RULE hot AS SELECT t FROM 'lab/+' WHEN {when} DO LOG;");
    let source = Source { path: "bench.rule".into(), content: Ok(text.into_bytes()) };
    let checked = set::check(&[source], &rule_files::targets(&Config::default()), &mut NoFiles);
    assert!(!checked.has_errors(), "the rule is sound");
    checked.rules
}

fn watched(rules: &[Arc<Rule>], keys_max: usize) -> impl Iterator<Item = WatchedRule<'_>> {
    rules.iter().filter_map(move |rule| {
        Some(WatchedRule {
            index: RuleIndex(0),
            name: rule.name(),
            when: rule.definition.select.when.as_ref()?,
            lateness: lateness(rule),
            listed: rule.listed(),
            fingerprint: fingerprint(rule),
            keys_max,
        })
    })
}

fn observe(table: &mut HoldTable, key: u32, condition: Truth, at: i64, out: &mut Transitions) {
    let publish = (condition == Truth::True).then(|| Publish {
        topic: TopicName::parse(&format!("lab/{key:07}")).expect("a topic"),
        payload: Bytes::from(format!(r#"{{"moteid":{key:07},"t":31.25}}"#)),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(at),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    });
    let observation = Observation {
        rule: RuleIndex(0),
        key: CompactString::from(format!("[{key:07}]")),
        condition,
        clear: None,
        at: Timestamp::from_millis(at),
        event_at: None,
        publish,
    };
    table.observe(observation, out);
}

/// What the process has in memory, bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number of pages") * PAGE_BYTES
}

/// Rows as they go to the disk.
fn commit(table: &mut HoldTable) -> Vec<KeyChange> {
    let mut changes = Vec::new();
    table.take_changes(&mut changes);
    changes
}

fn memory(when: &str) {
    let rules = rules(when);
    let mut table = HoldTable::new(watched(&rules, KEYS as usize));
    let mut out = Transitions::default();
    let before = resident();
    let started = Clock::instant();
    for key in 0..KEYS {
        observe(&mut table, key, Truth::True, i64::from(key / 1000), &mut out);
        if key % 1000 == 999 {
            drop(commit(&mut table));
            out.clear();
        }
    }
    let each = |bytes: usize| bytes as f64 / f64::from(KEYS);
    let text = format!("[{:07}]", 0).len();
    let kept = table.counts(RuleIndex(0)).expect("the rule").message_bytes;
    let held = resident() - before;
    let took = started.elapsed();
    let own = each(held) - text as f64 - each(kept);
    println!(
        "{when}: {:.0} bytes a key; without its text ({text}) and message ({:.0}): {own:.0}; made in {took:?}",
        each(held),
        each(kept),
    );
    assert!(own <= KEY_BYTES as f64, "a key takes {own:.0} bytes, more than {KEY_BYTES}");
    for key in 0..KEYS {
        observe(&mut table, key, Truth::False, 2000, &mut out);
        if key % 1000 == 999 {
            drop(commit(&mut table));
            out.clear();
        }
    }
    // The gateway goes on: the allocator gives pages back some time after they have become free.
    let ended = Clock::instant();
    while ended.elapsed() < GOES_ON {
        for condition in [Truth::True, Truth::False] {
            observe(&mut table, 0, condition, 2000, &mut out);
            drop(commit(&mut table));
            out.clear();
        }
    }
    let left = each(resident().saturating_sub(before));
    println!("  after all have ended: {left:.1} bytes a key");
    assert!(left <= LEFT_BYTES, "{left:.1} bytes a key stay behind, more than {LEFT_BYTES}");
}

fn burst() {
    let rules = rules("t > 30 FOR 1 DAY");
    let mut table = HoldTable::new(watched(&rules, BURST as usize));
    let mut out = Transitions::default();
    for key in 0..BURST {
        observe(&mut table, key, Truth::True, 0, &mut out);
    }
    drop(commit(&mut table));
    let (mut calls, mut longest, mut fired) = (0, Duration::ZERO, 0);
    let started = Clock::instant();
    loop {
        let began = Clock::instant();
        let progress = table.advance(Timestamp::from_millis(DAY_MS), &mut out);
        longest = longest.max(began.elapsed());
        calls += 1;
        for episode in out.episodes.drain(..) {
            assert_eq!(*episode.facts.key, *format!("[{fired:07}]"), "in order");
            fired += 1;
        }
        drop(commit(&mut table));
        if progress == Progress::Done {
            break;
        }
    }
    let took = started.elapsed();
    assert!(took <= BURST_TIME, "{fired} timers of one instant took {took:?}");
    println!(
        "{fired} timers of one millisecond: {took:?} in {calls} pieces, the longest {longest:?}"
    );
}

fn start() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = rules("t > 30 FOR 1 DAY");
    let mut table = HoldTable::new(watched(&rules, KEYS as usize));
    let mut out = Transitions::default();
    for key in 0..KEYS {
        observe(&mut table, key, Truth::True, 0, &mut out);
    }
    let rows = commit(&mut table);
    drop(table);
    drop(Storage::open(folder.path()).expect("opens"));
    let mut database =
        rusqlite::Connection::open(folder.path().join("tidegate.db")).expect("opens");
    let transaction = database.transaction().expect("begins");
    for KeyChange { rule, key, state, .. } in rows {
        let row = rusqlite::params![&*rule, key.as_str(), state.as_deref()];
        let mut insert = transaction
            .prepare_cached("INSERT INTO hold_state VALUES (?1, ?2, ?3)")
            .expect("the table is there");
        insert.execute(row).expect("a row");
    }
    transaction.execute("INSERT INTO alive VALUES (1, 1)", []).expect("a row");
    transaction.commit().expect("commits");
    database.close().expect("closes");

    let started = Clock::instant();
    let storage = Storage::open(folder.path()).expect("opens");
    let saved = checkpoint::load(&storage).expect("reads");
    let engine = Engine::new(rules, "");
    let mut table = StateTable::new(engine.stateful(KEYS as usize));
    let now = Timestamp::from_millis(1);
    let mut restoring = table.restoring(saved.alive_until.expect("a row"), now);
    saved
        .for_each_key(checkpoint::Part::Hold, |stored| restoring.key(stored, &mut out))
        .expect("reads");
    let restored = restoring.finish();
    let took = started.elapsed();
    println!("a start with {} keys on disk: {took:?}", restored.kept);
    assert!(took <= START_TIME, "a start took {took:?}");
}

/// The conditions whose keys are weighed. Each has a process of its own: what one gives back, the next
/// would be given again.
const WEIGHED: [&str; 3] =
    ["t > 30 FOR 1 DAY", "t > 30 FOR 0 SECONDS", "t > 30 FOR 1 DAY MAX GAP 1 HOUR"];
/// Says which of them a process is for.
const CHILD: &str = "TIDEGATE_BENCH_WEIGHED";

fn main() {
    let asked = env::var(CHILD).ok();
    if let Some(when) = WEIGHED.iter().find(|when| asked.as_deref() == Some(**when)) {
        return memory(when);
    }
    let program = env::current_exe().expect("this program");
    for when in WEIGHED {
        let status = Command::new(&program).env(CHILD, when).status().expect("a second process");
        assert!(status.success(), "{when}");
    }
    burst();
    start();
}
