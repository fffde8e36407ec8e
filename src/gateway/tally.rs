//! What each rule has done: the counters behind `/metrics` and the dashboard.
//!
//! Written by the connections' lanes and by the journal's stage, once a batch; read by anybody. The
//! words are AWS IoT's where AWS has the metric (`TopicMatch`, `ParseError`), and ours for what AWS
//! does not count: a condition that was not decided, and each kind of fault.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::action::Outcome;
use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::RuleIndex;
use crate::engine::history::HistoryTable;
use crate::engine::stateful::StateTable;
use crate::rule::Rule;

use super::rules::Rules;
use super::rules::RunningRules;

/// The counters of one rule. A rule keeps them over reloads, for as long as there is one of its name.
#[derive(Debug)]
pub(super) struct RuleTally {
    name: Arc<str>,
    /// Messages whose topic matched FROM. Counted by plan first, as part of `unknown` is:
    /// [`Plans`](super::plans::Plans).
    pub(super) topic_matches: Counter,
    /// Hits: matches, firings, clearings and windows.
    pub(super) hits: Counter,
    /// Messages whose WHERE or WHEN was neither true nor false.
    pub(super) unknown: Counter,
    /// Faults of any kind.
    pub(super) faults: Counter,
    /// Faults by code, in the order of [`FaultCode::ALL`].
    faults_by_code: Box<[Counter]>,
    /// Keys on their way to firing. Written by the journal's stage.
    pub(super) pending: Gauge,
    /// Keys firing. Written by the journal's stage.
    pub(super) firing: Gauge,
    /// Messages waiting for their turn in event time. Written by the journal's stage.
    pub(super) waiting: Gauge,
    /// Keys whose earlier values are remembered. Written by the journal's stage.
    pub(super) remembered: Gauge,
    /// Keys forgotten because they were silent for too long. Written by the journal's stage.
    pub(super) forgotten: Counter,
    /// Repetitions passed over because a later one was due already. Written by the journal's stage.
    pub(super) missed: Counter,
    /// Records behind the checkpoint of a rule that reads a stream, and how much later the newest of
    /// them arrived than the next. Written by the stream's turns.
    pub(super) lag_records: Gauge,
    pub(super) lag_seconds: Gauge<f64, AtomicU64>,
    /// Records that retention took before the rule had read them.
    pub(super) skipped: Counter,
    /// Records of damaged blocks, which the rule has gone over.
    pub(super) damaged: Counter,
    /// Groups of windows. Written by the journal's stage.
    pub(super) groups: Gauge,
    /// Open windows. Written by the journal's stage.
    pub(super) windows: Gauge,
    /// When the last hit was, epoch ms; `i64::MIN` before the first. Written by whoever makes a hit.
    last_hit: AtomicI64,
    /// The newest fault's text. Taken only when there is a fault.
    last_fault: Mutex<Option<(Timestamp, Fault)>>,
}

impl RuleTally {
    fn new(name: &Arc<str>) -> Self {
        RuleTally {
            name: Arc::clone(name),
            topic_matches: Counter::default(),
            hits: Counter::default(),
            unknown: Counter::default(),
            faults: Counter::default(),
            faults_by_code: FaultCode::ALL.iter().map(|_| Counter::default()).collect(),
            pending: Gauge::default(),
            firing: Gauge::default(),
            waiting: Gauge::default(),
            remembered: Gauge::default(),
            forgotten: Counter::default(),
            missed: Counter::default(),
            lag_records: Gauge::default(),
            lag_seconds: Gauge::default(),
            skipped: Counter::default(),
            damaged: Counter::default(),
            groups: Gauge::default(),
            windows: Gauge::default(),
            last_hit: AtomicI64::new(i64::MIN),
            last_fault: Mutex::new(None),
        }
    }

    /// Notes how far a rule is behind its stream.
    pub(super) fn show_lag(&self, records: u64, time: Duration) {
        self.lag_records.set(i64::try_from(records).unwrap_or(i64::MAX));
        self.lag_seconds.set(time.as_secs_f64());
    }

    /// When the last hit was.
    pub(super) fn last_hit(&self) -> Option<Timestamp> {
        let millis = self.last_hit.load(Ordering::Relaxed);
        (millis != i64::MIN).then(|| Timestamp::from_millis(millis))
    }

    /// The newest fault and when it was.
    pub(super) fn last_fault(&self) -> Option<(Timestamp, Fault)> {
        self.last_fault.lock().clone()
    }

    /// Faults by code, those that happened.
    pub(super) fn faults_by_code(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = FaultCode::ALL.iter().zip(&self.faults_by_code);
        counts.map(|(code, count)| (code.as_str(), count.get())).filter(|(_, count)| *count > 0)
    }

    fn count_fault(&self, fault: Fault, at: Timestamp) {
        self.faults.inc();
        let place = FaultCode::ALL.iter().position(|code| *code == fault.code);
        if let Some(count) = place.and_then(|place| self.faults_by_code.get(place)) {
            count.inc();
        }
        tracing::debug!(rule = %self.name, code = fault.code.as_str(), "{}", fault.message);
        *self.last_fault.lock() = Some((at, fault));
    }
}

/// Sums over rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Hits.
    pub(super) hits: u64,
    /// Conditions that were not decided.
    pub(super) unknown: u64,
    /// Faults.
    pub(super) faults: u64,
}

impl Sums {
    fn add<'t>(&mut self, tallies: impl IntoIterator<Item = &'t Arc<RuleTally>>) {
        for tally in tallies {
            self.hits += tally.hits.get();
            self.unknown += tally.unknown.get();
            self.faults += tally.faults.get();
        }
    }
}

/// The counters of all rules, by [`RuleIndex`].
#[derive(Debug)]
pub(super) struct Tallies {
    rules: Vec<Arc<RuleTally>>,
    /// Of the rules that the last reload removed: a batch that was judged before it may still count.
    removed: Vec<Arc<RuleTally>>,
    /// Of the rules that earlier ones removed.
    gone: Sums,
}

impl Tallies {
    /// Counters for `rules`; those of a name that was there `before` go on counting.
    pub(super) fn new(rules: &[Arc<Rule>], before: Option<&Tallies>) -> Self {
        let mut gone = before.map_or(Sums::default(), |before| before.gone);
        gone.add(before.iter().flat_map(|before| &before.removed));
        let mut known: HashMap<&str, &Arc<RuleTally>> = before
            .iter()
            .flat_map(|before| &before.rules)
            .map(|tally| (&*tally.name, tally))
            .collect();
        let tally = |rule: &Arc<Rule>| match known.remove(&**rule.name()) {
            Some(tally) => Arc::clone(tally),
            None => Arc::new(RuleTally::new(rule.name())),
        };
        let rules = rules.iter().map(tally).collect();
        Tallies { rules, removed: known.into_values().cloned().collect(), gone }
    }

    /// Sums since the start, over the rules that are gone, too.
    pub(super) fn sums(&self) -> Sums {
        let mut sums = self.gone;
        sums.add(self.rules.iter().chain(&self.removed));
        sums
    }

    /// The counters of one rule.
    pub(super) fn rule(&self, rule: RuleIndex) -> &RuleTally {
        &self.rules[rule.0 as usize]
    }

    /// The counters of all rules, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RuleTally> {
        self.rules.iter().map(Arc::as_ref)
    }

    /// Shows how many keys and windows the tables hold.
    pub(super) fn show_state(&self, states: &StateTable, history: &HistoryTable) {
        for (position, tally) in self.rules.iter().enumerate() {
            let index = RuleIndex(u32::try_from(position).expect("rules are counted in 32 bits"));
            let mut forgotten = 0;
            if let Some(counts) = states.window_counts(index) {
                forgotten += counts.forgotten;
                tally.groups.set(gauge(counts.groups));
                tally.windows.set(gauge(counts.parts));
            }
            let held = states.hold_counts(index);
            if let Some(counts) = held {
                tally.pending.set(gauge(counts.pending));
                tally.firing.set(gauge(counts.firing));
                tally.waiting.set(gauge(counts.event.waiting));
                tally.missed.inc_by(counts.missed.saturating_sub(tally.missed.get()));
            }
            if let Some(counts) = history.counts(index) {
                let held = held.map_or(0, |counts| counts.event.waiting);
                tally.waiting.set(gauge(held + counts.event.waiting));
                tally.remembered.set(gauge(counts.keys));
                forgotten += counts.forgotten;
            }
            tally.forgotten.inc_by(forgotten.saturating_sub(tally.forgotten.get()));
        }
    }

    /// Shows no keys: a rule may have lost its WHEN or GROUP BY, or look back on nothing any more.
    pub(super) fn forget_state(&self) {
        for tally in &self.rules {
            tally.pending.set(0);
            tally.firing.set(0);
            tally.waiting.set(0);
            tally.remembered.set(0);
            tally.groups.set(0);
            tally.windows.set(0);
        }
    }

    /// Counts a run of equal or differing rule indexes; neighbours that are equal cost one add.
    pub(super) fn add_runs(&self, rules: &[RuleIndex], counter: impl Fn(&RuleTally) -> &Counter) {
        for run in rules.chunk_by(|a, b| a == b) {
            counter(self.rule(run[0])).inc_by(run.len() as u64);
        }
    }

    /// Counts what carrying out hits gave; faults are drained.
    pub(super) fn count_outcome(&self, outcome: &mut Outcome, at: Timestamp) {
        self.add_runs(&outcome.carried_out, |tally| &tally.hits);
        for run in outcome.carried_out.chunk_by(|a, b| a == b) {
            self.rule(run[0]).last_hit.fetch_max(at.as_millis(), Ordering::Relaxed);
        }
        outcome.carried_out.clear();
        self.count_faults(&mut outcome.faults, at);
    }

    /// Counts and drains `faults`; the last of each rule is kept to be shown.
    pub(super) fn count_faults(&self, faults: &mut Vec<Fault>, at: Timestamp) {
        for fault in faults.drain(..) {
            self.rule(fault.rule).count_fault(fault, at);
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The counters of the running rules for `/metrics`. Read when asked, so that the series of a rule that
/// is removed vanish with it.
#[derive(Debug)]
pub(super) struct RuleMetrics {
    running: Arc<RunningRules>,
}

impl RuleMetrics {
    /// Over whatever runs.
    pub(super) fn new(running: Arc<RunningRules>) -> Self {
        RuleMetrics { running }
    }
}

impl Collector for RuleMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let running = self.running.get();
        let tallies = running.counted();
        let mut encode = |name, help, metric: fn(&RuleTally) -> &dyn EncodeMetric, kind| {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for tally in tallies.iter() {
                metric(tally).encode(family.encode_family(&[("rule", &*tally.name)])?)?;
            }
            Ok(())
        };
        let counter = MetricType::Counter;
        encode(
            "rule_topic_matches",
            "Messages whose topic matched FROM.",
            |tally| &tally.topic_matches,
            counter,
        )?;
        encode(
            "rule_hits",
            "Matches, firings, clearings and windows.",
            |tally| &tally.hits,
            counter,
        )?;
        encode(
            "rule_unknown",
            "Messages whose condition was neither true nor false.",
            |tally| &tally.unknown,
            counter,
        )?;
        encode(
            "rule_keys_forgotten",
            "Keys forgotten because they were silent for too long.",
            |tally| &tally.forgotten,
            counter,
        )?;
        encode(
            "rule_repeats_missed",
            "Repetitions passed over because a later one was due already.",
            |tally| &tally.missed,
            counter,
        )?;
        let gauge = MetricType::Gauge;
        encode("rule_keys_pending", "Keys on their way to firing.", |tally| &tally.pending, gauge)?;
        encode("rule_keys_firing", "Keys firing.", |tally| &tally.firing, gauge)?;
        encode(
            "rule_messages_waiting",
            "Messages waiting for their turn in event time.",
            |tally| &tally.waiting,
            gauge,
        )?;
        encode("rule_groups", "Groups of a rule with GROUP BY.", |tally| &tally.groups, gauge)?;
        encode(
            "rule_windows_open",
            "Open windows; of HOP its panes, of SLIDE the messages kept.",
            |tally| &tally.windows,
            gauge,
        )?;
        encode(
            "rule_keys_remembered",
            "Keys whose earlier values are remembered.",
            |tally| &tally.remembered,
            gauge,
        )?;
        encode_streams(&mut encoder, &running, tallies)?;
        encode_faults(&mut encoder, tallies)
    }
}

fn encode_faults(encoder: &mut DescriptorEncoder<'_>, tallies: &Tallies) -> fmt::Result {
    let (help, kind) = ("Evaluation and action faults.", MetricType::Counter);
    let mut family = encoder.encode_descriptor("rule_faults", help, None, kind)?;
    for tally in tallies.iter() {
        for (code, count) in tally.faults_by_code() {
            let label = [("rule", &*tally.name), ("code", code)];
            ConstCounter::new(count).encode(family.encode_family(&label)?)?;
        }
    }
    Ok(())
}

/// How far the rules that read streams have come.
fn encode_streams(
    encoder: &mut DescriptorEncoder<'_>,
    running: &Rules,
    tallies: &Tallies,
) -> fmt::Result {
    let mut encode = |name, help, metric: fn(&RuleTally) -> &dyn EncodeMetric, kind| {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (tally, rule) in tallies.iter().zip(running.list()) {
            let source = rule.source().filter(|_| !rule.is_disabled());
            let Some(source) = source else { continue };
            let labels = [("rule", &*tally.name), ("stream", source.name.node.as_str())];
            metric(tally).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    };
    encode(
        "rule_stream_lag_records",
        "Records that a rule has still to read of its stream.",
        |tally| &tally.lag_records,
        MetricType::Gauge,
    )?;
    encode(
        "rule_stream_lag_seconds",
        "How much later the newest record of the stream arrived than the next one that the rule reads.",
        |tally| &tally.lag_seconds,
        MetricType::Gauge,
    )?;
    encode(
        "rule_stream_skipped_records",
        "Records that retention took before the rule had read them.",
        |tally| &tally.skipped,
        MetricType::Counter,
    )?;
    encode(
        "rule_stream_damaged_records",
        "Records in damaged blocks of the stream, which the rule has gone over.",
        |tally| &tally.damaged,
        MetricType::Counter,
    )
}
