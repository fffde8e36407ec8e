//! The rules that run, and how one set takes over from another.
//!
//! [`Rules`] is a whole set, immutable: compiled, with its counters. [`RunningRules`] is the place
//! where the set that runs is found. A connection looks there once a batch and judges the whole batch
//! by what it found; so no message is judged half by one set and half by another, and one that was
//! read after a reload was answered is judged by the new set. Looking takes neither a lock nor a
//! shared reference count.
//!
//! Only the journal's stage puts another set there (`Work::Replace`), between two batches of its
//! queue: the conditions over time change at one point of the commit order. Batches that were judged
//! by the old set and come to the stage behind that point carry their set with them; `stage` says
//! what becomes of them.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::Guard;
use tokio::sync::watch;

use crate::api::plan::PlanSettings;
use crate::api::plan::RulePlan;
use crate::checkpoint::SavedSwitch;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::RuleIndex;
use crate::engine::history::RememberingRule;
use crate::engine::stateful::KeyBounds;
use crate::engine::stateful::StatefulRule;
use crate::rule::Rule;
use crate::rule::ast::StreamStart;
use crate::stream::ConsumerSpec;
use crate::stream::ConsumerStart;
use crate::stream::Meter;
use crate::topic::TopicFilter;
use crate::topic::TopicName;

use super::plans::Plans;
use super::plans::SharedPlan;
use super::switches;
use super::tally::Tallies;

/// The set of a batch; keeps it alive while the batch is judged.
pub(super) type HeldRules = Guard<Arc<Rules>>;

/// A rule set as it runs, and what it counts.
#[derive(Debug)]
pub(super) struct Rules {
    /// Grows by one with each set that takes over; from 1.
    pub(super) generation: u64,
    /// Compiled.
    pub(super) engine: Engine,
    /// Counted; rules of the same name share their counters with the set before. Readers go through
    /// [`Rules::counted`].
    pub(super) tallies: Tallies,
    /// What counts the records of streams, and knows how much each may hold. The same for every set.
    pub(super) meter: Arc<Meter>,
    plans: Plans,
    places: HashMap<Arc<str>, RuleIndex, foldhash::fast::RandomState>,
    /// What each rule with WHEN or GROUP BY remembers, by [`RuleIndex`]; `None` for the others.
    fingerprints: Vec<Option<u64>>,
    key_bounds: KeyBounds,
    /// What `explain` says of targets.
    settings: PlanSettings,
    /// The rules that read streams, disabled ones too, as consumers.
    consumers: Arc<[ConsumerSpec]>,
    /// The rules that are enabled or disabled by hand.
    switches: Arc<[SavedSwitch]>,
}

impl Rules {
    /// A compiled rule set that follows the one `before`.
    pub(super) fn new(engine: Engine, config: &Config, before: Option<&Rules>) -> Rules {
        let rules = engine.rules();
        let bounds = &config.rules;
        let key_bounds = KeyBounds { keys_max: bounds.hold_keys_max, age: bounds.key_age };
        let mut fingerprints = vec![None; rules.len()];
        for rule in engine.stateful(key_bounds) {
            fingerprints[rule.index().0 as usize] = Some(rule.fingerprint());
        }
        let places = (0..).zip(rules).map(|(at, rule)| (Arc::clone(rule.name()), RuleIndex(at)));
        Rules {
            generation: before.map_or(1, |before| before.generation + 1),
            tallies: Tallies::new(rules, before.map(Rules::counted)),
            meter: match before {
                Some(before) => Arc::clone(&before.meter),
                None => Arc::new(Meter::new(&config.stream_room, &config.streams)),
            },
            plans: Plans::default(),
            places: places.collect(),
            fingerprints,
            key_bounds,
            settings: PlanSettings::of(config),
            consumers: rules.iter().filter_map(|rule| consumer(rule)).collect(),
            switches: switches::of(rules),
            engine,
        }
    }

    /// The plan of a topic.
    pub(super) fn plan(&self, topic: &TopicName) -> Arc<SharedPlan> {
        self.plan_of(self.engine.reached(topic))
    }

    /// The plan of `rules`, in their order.
    pub(super) fn plan_of(&self, rules: Vec<RuleIndex>) -> Arc<SharedPlan> {
        self.plans.get(rules, &self.tallies, |rules| self.engine.plan_of(rules))
    }

    /// The counters, with all that has been counted by now.
    pub(super) fn counted(&self) -> &Tallies {
        self.plans.fold(&self.tallies);
        &self.tallies
    }

    /// The rules, by [`RuleIndex`], disabled ones too.
    pub(super) fn list(&self) -> &[Arc<Rule>] {
        self.engine.rules()
    }

    /// Where the rule of this name stands.
    pub(super) fn place(&self, name: &str) -> Option<RuleIndex> {
        self.places.get(name).copied()
    }

    /// What the rule of this name was compiled to.
    pub(super) fn explain(&self, name: &str) -> Option<RulePlan> {
        RulePlan::of(&self.engine, self.place(name)?, &self.settings)
    }

    /// The rules that read streams, disabled ones too, as consumers.
    pub(super) fn consumers(&self) -> &Arc<[ConsumerSpec]> {
        &self.consumers
    }

    /// The rules that are enabled or disabled by hand, against their texts.
    pub(super) fn switches(&self) -> &Arc<[SavedSwitch]> {
        &self.switches
    }

    /// Whether `rule` reads a stream, and runs.
    pub(super) fn reads(&self, rule: RuleIndex) -> bool {
        let rule = self.list().get(rule.0 as usize);
        rule.is_some_and(|rule| rule.source().is_some() && !rule.is_disabled())
    }

    /// The streams that rules read; a name may come twice.
    pub(super) fn read_streams(&self) -> impl Iterator<Item = Arc<str>> {
        let reading = self.consumers.iter().filter(|consumer| consumer.reads);
        reading.map(|consumer| Arc::clone(&consumer.stream))
    }

    /// The topics that rules read from clients, of rules that run.
    pub(super) fn topic_filters(&self) -> BTreeSet<TopicFilter> {
        let running = self.list().iter().filter(|rule| !rule.is_disabled());
        let filters = running.flat_map(|rule| &rule.definition.select.from);
        let filters = filters.map(|filter| filter.node.clone());
        // What the gateway says of itself comes from nowhere else.
        filters.filter(|filter| !filter.as_str().starts_with('$')).collect()
    }

    /// The rules with WHEN or GROUP BY.
    pub(super) fn stateful(&self) -> impl Iterator<Item = StatefulRule<'_>> {
        (0..).map(RuleIndex).zip(self.list()).filter_map(|(at, _)| self.stateful_rule(at))
    }

    /// One of them; `None` for a rule that has neither or is disabled.
    pub(super) fn stateful_rule(&self, rule: RuleIndex) -> Option<StatefulRule<'_>> {
        let fingerprint = (*self.fingerprints.get(rule.0 as usize)?)?;
        self.engine.stateful_as(rule, fingerprint, self.key_bounds)
    }

    /// The rules with analytic functions.
    pub(super) fn remembering(&self) -> impl Iterator<Item = RememberingRule<'_>> {
        self.engine.remembering(self.key_bounds)
    }

    /// One of them; `None` for a rule that has none or is disabled.
    pub(super) fn remembering_rule(&self, rule: RuleIndex) -> Option<RememberingRule<'_>> {
        self.engine.remembering_rule(rule, self.key_bounds)
    }

    /// The rule of that name, if it remembers what one with this fingerprint did.
    pub(super) fn remembers(&self, name: &str, fingerprint: u64) -> Option<RuleIndex> {
        let rule = self.remembering_rule(self.place(name)?)?;
        (rule.fingerprint == fingerprint).then_some(rule.index)
    }

    /// The rule of this set that goes on with what `rule` of `other` remembered: the one of the same
    /// name, if it remembers the same.
    pub(super) fn heir(&self, other: &Rules, rule: RuleIndex) -> Option<RuleIndex> {
        let theirs = other.stateful_rule(rule)?;
        let ours = self.stateful_rule(self.place(theirs.name())?)?;
        (ours.fingerprint() == theirs.fingerprint()).then_some(ours.index())
    }
}

impl Drop for Rules {
    /// Rules of the same name in the set that runs now go on with what the last batches have counted.
    fn drop(&mut self) {
        self.plans.fold(&self.tallies);
    }
}

/// The consumer that a rule with FROM STREAM is.
fn consumer(rule: &Rule) -> Option<ConsumerSpec> {
    let source = rule.source()?;
    Some(ConsumerSpec {
        name: Arc::clone(rule.name()),
        stream: Arc::from(source.name.node.as_str()),
        start: match source.start {
            StreamStart::Latest => ConsumerStart::Latest,
            StreamStart::TrimHorizon => ConsumerStart::TrimHorizon,
            StreamStart::Timestamp(at) => ConsumerStart::AtTimestamp(at),
        },
        reads: !rule.is_disabled(),
    })
}

/// Where the running set is found. Written by the journal's stage, read by everybody.
#[derive(Debug)]
pub(super) struct RunningRules {
    current: ArcSwap<Rules>,
    /// The last set whose takeover is on disk.
    settled: watch::Sender<Arc<Rules>>,
}

impl RunningRules {
    /// Starts with `rules`.
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        let (settled, _) = watch::channel(Arc::clone(&rules));
        RunningRules { current: ArcSwap::new(rules), settled }
    }

    /// The running set, for as long as a batch takes.
    pub(super) fn hold(&self) -> HeldRules {
        self.current.load()
    }

    /// The running set, to keep.
    pub(super) fn get(&self) -> Arc<Rules> {
        self.current.load_full()
    }

    /// Puts another set in its place; for the journal's stage only.
    pub(super) fn replace(&self, rules: Arc<Rules>) {
        self.current.store(rules);
    }
    /// Says that the takeover of the running set is on disk; for the journal's stage only.
    pub(super) fn settle(&self) {
        self.settled.send_replace(self.get());
    }

    /// The last set whose takeover is on disk, and when another one is.
    pub(super) fn settled(&self) -> watch::Receiver<Arc<Rules>> {
        self.settled.subscribe()
    }
}
