//! Plans of topics, one for each set of rules that some topic reaches, shared by all connections.
//!
//! A thousand devices on a thousand topics that reach the same rules have one plan between them: its
//! memory, and one counter for all its rules where each rule would have one to add to. [`Plans::fold`]
//! moves what was counted to the counters of the rules, before anybody reads those. The lock is taken
//! for the first message of a connection on a topic and by readers of counters, never between.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::engine::Plan;
use crate::engine::RuleIndex;
use crate::limits::PLANS_SHARED_MAX;

use super::tally::Tallies;

/// A plan, and what its messages have counted since the last fold.
#[derive(Debug)]
pub(super) struct SharedPlan {
    pub(super) plan: Plan,
    /// Messages on topics of the plan.
    messages: AtomicU64,
    /// Messages that left each of [`Plan::together`] UNKNOWN.
    unknown: Box<[AtomicU64]>,
}

impl SharedPlan {
    fn new(plan: Plan) -> Self {
        let unknown = plan.together().iter().map(|_| AtomicU64::new(0)).collect();
        SharedPlan { plan, messages: AtomicU64::new(0), unknown }
    }

    /// Counts a message on a topic of the plan, and the groups of rules that it left UNKNOWN.
    pub(super) fn count(&self, unknown_together: &[u32]) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        for group in unknown_together {
            if let Some(count) = self.unknown.get(*group as usize) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn fold(&self, tallies: &Tallies) {
        let messages = self.messages.swap(0, Ordering::Relaxed);
        if messages > 0 {
            for rule in self.plan.rules() {
                tallies.rule(rule).topic_matches.inc_by(messages);
            }
        }
        for (count, rules) in self.unknown.iter().zip(self.plan.together()) {
            let messages = count.swap(0, Ordering::Relaxed);
            if messages > 0 {
                for rule in rules {
                    tallies.rule(*rule).unknown.inc_by(messages);
                }
            }
        }
    }
}

/// The plans of one rule set that have been asked for.
#[derive(Debug, Default)]
pub(super) struct Plans {
    made: Mutex<HashMap<Box<[RuleIndex]>, Arc<SharedPlan>, foldhash::fast::RandomState>>,
}

impl Plans {
    /// The plan of the topics that reach `rules`; made where there is none.
    pub(super) fn get(
        &self,
        rules: Vec<RuleIndex>,
        tallies: &Tallies,
        make: impl FnOnce(&[RuleIndex]) -> Plan,
    ) -> Arc<SharedPlan> {
        if let Some(known) = self.made.lock().get(&*rules) {
            return Arc::clone(known);
        }
        // Not under the lock: a plan of 10,000 rules takes milliseconds.
        let plan = Arc::new(SharedPlan::new(make(&rules)));
        let mut made = self.made.lock();
        if made.len() >= PLANS_SHARED_MAX {
            made.retain(|_, plan| {
                // Under the lock nobody can take one that nobody holds.
                let is_held = Arc::get_mut(plan).is_none();
                plan.fold(tallies);
                is_held
            });
        }
        Arc::clone(made.entry(rules.into()).or_insert(plan))
    }

    /// Moves what was counted to the counters of the rules.
    pub(super) fn fold(&self, tallies: &Tallies) {
        for plan in self.made.lock().values() {
            plan.fold(tallies);
        }
    }
}
