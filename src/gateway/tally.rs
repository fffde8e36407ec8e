//! What each rule has done: the counters behind `/metrics` and the dashboard.
//!
//! Written by the connections' lanes and by the journal's stage, once a batch; read by anybody. The
//! words are AWS IoT's where AWS has the metric (`TopicMatch`, `ParseError`), and ours for what AWS
//! does not count: a condition that was not decided, and each kind of fault.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::action::Outcome;
use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::engine::Fault;
use crate::engine::RuleIndex;
use crate::engine::hold::HoldTable;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    rule: String,
    code: &'static str,
}

/// The counters of one rule.
#[derive(Debug)]
pub(super) struct RuleTally {
    /// Messages whose topic matched FROM.
    pub(super) topic_matches: Counter,
    /// Hits: matches, firings and clearings.
    pub(super) hits: Counter,
    /// Messages whose WHERE or WHEN was neither true nor false.
    pub(super) unknown: Counter,
    /// Faults of any kind.
    pub(super) faults: Counter,
    /// Keys on their way to firing. Written by the journal's stage.
    pub(super) pending: Gauge,
    /// Keys firing. Written by the journal's stage.
    pub(super) firing: Gauge,
    /// Messages waiting for their turn in event time. Written by the journal's stage.
    pub(super) waiting: Gauge,
    /// When the last hit was, epoch ms; `i64::MIN` before the first. Written by whoever makes a hit.
    last_hit: AtomicI64,
    /// The newest fault's text. Taken only when there is a fault.
    last_fault: Mutex<Option<(Timestamp, Fault)>>,
}

impl RuleTally {
    /// When the last hit was.
    pub(super) fn last_hit(&self) -> Option<Timestamp> {
        let millis = self.last_hit.load(Ordering::Relaxed);
        (millis != i64::MIN).then(|| Timestamp::from_millis(millis))
    }

    /// The newest fault and when it was.
    pub(super) fn last_fault(&self) -> Option<(Timestamp, Fault)> {
        self.last_fault.lock().clone()
    }
}

/// The counters of all rules, by [`RuleIndex`].
#[derive(Debug)]
pub(super) struct Tallies {
    names: Vec<Arc<str>>,
    rules: Vec<RuleTally>,
    faults: Family<FaultLabel, Counter>,
}

impl Tallies {
    /// Counters for the rules of `engine`, registered for `/metrics`.
    pub(super) fn new(engine: &Engine, registry: &mut Registry) -> Self {
        let topic_matches = Family::<RuleLabel, Counter>::default();
        let hits = Family::<RuleLabel, Counter>::default();
        let unknown = Family::<RuleLabel, Counter>::default();
        let faults = Family::<FaultLabel, Counter>::default();
        let pending = Family::<RuleLabel, Gauge>::default();
        let firing = Family::<RuleLabel, Gauge>::default();
        let waiting = Family::<RuleLabel, Gauge>::default();
        registry.register(
            "rule_topic_matches",
            "Messages whose topic matched FROM",
            topic_matches.clone(),
        );
        registry.register("rule_hits", "Matches, firings and clearings", hits.clone());
        registry.register(
            "rule_unknown",
            "Messages whose condition was neither true nor false",
            unknown.clone(),
        );
        registry.register("rule_keys_pending", "Keys on their way to firing", pending.clone());
        registry.register("rule_keys_firing", "Keys firing", firing.clone());
        registry.register(
            "rule_messages_waiting",
            "Messages waiting for their turn in event time",
            waiting.clone(),
        );
        registry.register("rule_faults", "Evaluation and action faults", faults.clone());
        let names: Vec<Arc<str>> =
            engine.rules().iter().map(|rule| Arc::clone(rule.name())).collect();
        let rules = names
            .iter()
            .map(|name| {
                let label = RuleLabel { rule: name.to_string() };
                RuleTally {
                    topic_matches: topic_matches.get_or_create(&label).clone(),
                    hits: hits.get_or_create(&label).clone(),
                    unknown: unknown.get_or_create(&label).clone(),
                    faults: Counter::default(),
                    pending: pending.get_or_create(&label).clone(),
                    firing: firing.get_or_create(&label).clone(),
                    waiting: waiting.get_or_create(&label).clone(),
                    last_hit: AtomicI64::new(i64::MIN),
                    last_fault: Mutex::new(None),
                }
            })
            .collect();
        Tallies { names, rules, faults }
    }

    /// The counters of one rule.
    pub(super) fn rule(&self, rule: RuleIndex) -> &RuleTally {
        &self.rules[rule.0 as usize]
    }

    /// The counters of all rules, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RuleTally> {
        self.rules.iter()
    }

    /// Shows how many keys the table holds.
    pub(super) fn show_holds(&self, hold: &HoldTable) {
        for (position, tally) in self.rules.iter().enumerate() {
            let index = RuleIndex(u32::try_from(position).expect("rules are counted in 32 bits"));
            if let Some(counts) = hold.counts(index) {
                tally.pending.set(gauge(counts.pending));
                tally.firing.set(gauge(counts.firing));
                tally.waiting.set(gauge(counts.waiting));
            }
        }
    }

    /// Faults of `rule` by code, those that happened.
    pub(super) fn faults_by_code(&self, rule: RuleIndex) -> Vec<(&'static str, u64)> {
        let name = &self.names[rule.0 as usize];
        crate::engine::FaultCode::ALL
            .iter()
            .filter_map(|code| {
                let label = FaultLabel { rule: name.to_string(), code: code.as_str() };
                let count = self.faults.get(&label)?.get();
                (count > 0).then_some((code.as_str(), count))
            })
            .collect()
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
            let tally = self.rule(fault.rule);
            tally.faults.inc();
            let label = FaultLabel {
                rule: self.names[fault.rule.0 as usize].to_string(),
                code: fault.code.as_str(),
            };
            self.faults.get_or_create(&label).inc();
            tracing::debug!(rule = %label.rule, code = label.code, "{}", fault.message);
            *tally.last_fault.lock() = Some((at, fault));
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
