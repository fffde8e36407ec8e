//! One pass of messages through the rules: evaluate, carry out, and follow what is republished.
//!
//! Both halves of the gateway run the same pass: a connection's lane over what it read, and the
//! journal's stage over what an episode republished. A pass ends when nothing is left to evaluate; the
//! hop limit bounds it. What it leaves is in [`Pass::outcome`] and [`Pass::observations`].

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use crate::action;
use crate::action::Outcome;
use crate::clock::Timestamp;
use crate::engine::ActionFailure;
use crate::engine::Engine;
use crate::engine::Evaluation;
use crate::engine::Hit;
use crate::engine::Observation;
use crate::engine::Plan;
use crate::engine::Truth;
use crate::engine::hold::LateRecord;
use crate::limits;
use crate::publish::Publish;
use crate::topic::TopicName;

use super::tally::Tallies;

/// The rules as they run, and what they count.
#[derive(Debug)]
pub(super) struct Rules {
    /// Compiled.
    pub(super) engine: Engine,
    /// Counted.
    pub(super) tallies: Tallies,
}

/// Evaluates messages for one owner: a connection, or the journal's stage.
pub(super) struct Pass {
    rules: Arc<Rules>,
    plans: HashMap<TopicName, Arc<Plan>, foldhash::fast::RandomState>,
    evaluation: Evaluation,
    /// How many of `outcome.republished` have been evaluated.
    followed: usize,
    /// Effects, hit log lines and republished messages of the messages taken since it was last emptied.
    pub(super) outcome: Outcome,
    /// Inputs for the hold table, in order.
    pub(super) observations: Vec<Observation>,
}

impl Pass {
    /// A pass over `rules` with nothing in it.
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Pass {
            rules,
            plans: HashMap::default(),
            evaluation: Evaluation::default(),
            followed: 0,
            outcome: Outcome::default(),
            observations: Vec::new(),
        }
    }

    /// The rules it evaluates.
    pub(super) fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Whether the messages taken so far left nothing to commit.
    pub(super) fn is_settled(&self) -> bool {
        self.outcome.effects.is_empty()
            && self.outcome.hits.is_empty()
            && self.outcome.republished.is_empty()
            && self.observations.is_empty()
    }

    /// Whether any rule sees what is published to `topic`.
    pub(super) fn reaches_a_rule(&mut self, topic: &TopicName) -> bool {
        !self.plan(topic).is_empty()
    }

    /// Evaluates `publish`, and then everything it makes rules republish.
    pub(super) fn take(&mut self, publish: &Publish) {
        self.evaluate(publish);
        self.finish(publish.received_at);
    }

    /// Carries out one hit of the hold table, and evaluates everything it makes rules republish.
    pub(super) fn take_hit(&mut self, hit: Hit) {
        let at = hit.decided_at;
        action::carry_out(&self.rules.engine, hit, &mut self.outcome);
        self.finish(at);
    }

    /// Counts a message that came too late, and runs its rule's ON ERROR over it.
    pub(super) fn take_late(&mut self, record: LateRecord) {
        let LateRecord { fault, publish } = record;
        let at = publish.received_at;
        let failure = ActionFailure {
            failed_action: "when".to_owned(),
            failed_resource: String::new(),
            error_message: fault.message.clone(),
        };
        let Rules { engine, .. } = &*self.rules;
        action::report(engine, fault.rule, &publish, at, &[failure], &mut self.outcome);
        self.outcome.faults.push(fault);
        self.finish(at);
    }

    /// Carries an event through the rules, as if it had been republished: subscribers get it after the
    /// commit.
    pub(super) fn announce(&mut self, event: Publish) {
        let at = event.received_at;
        self.outcome.republished.push(event);
        self.finish(at);
    }

    /// Hands over the outcome and starts an empty one.
    pub(super) fn take_outcome(&mut self) -> Outcome {
        self.followed = 0;
        mem::take(&mut self.outcome)
    }

    /// Evaluates what was republished since, and counts; to be called after the outcome was added to
    /// by hand.
    pub(super) fn finish(&mut self, at: Timestamp) {
        while let Some(message) = self.outcome.republished.get(self.followed) {
            let message = message.clone();
            self.followed += 1;
            self.evaluate(&message);
        }
        self.rules.tallies.count_outcome(&mut self.outcome, at);
    }

    fn evaluate(&mut self, publish: &Publish) {
        let plan = self.plan(&publish.topic);
        if plan.is_empty() {
            return;
        }
        let Rules { engine, tallies } = &*self.rules;
        let evaluation = &mut self.evaluation;
        engine.evaluate(&plan, publish, evaluation);
        tallies.add_runs(&evaluation.topic_matches, |tally| &tally.topic_matches);
        tallies.add_runs(&evaluation.unknown, |tally| &tally.unknown);
        evaluation.topic_matches.clear();
        evaluation.unknown.clear();
        tallies.count_faults(&mut evaluation.faults, publish.received_at);
        for observation in &evaluation.observations {
            if observation.condition == Truth::Unknown {
                tallies.rule(observation.rule).unknown.inc();
            }
        }
        self.observations.append(&mut evaluation.observations);
        for hit in evaluation.hits.drain(..) {
            action::carry_out(engine, hit, &mut self.outcome);
        }
    }

    fn plan(&mut self, topic: &TopicName) -> Arc<Plan> {
        if let Some(plan) = self.plans.get(topic) {
            return Arc::clone(plan);
        }
        if self.plans.len() >= limits::TOPIC_CACHE_MAX {
            self.plans.clear();
        }
        let plan = self.rules.engine.plan(topic);
        self.plans.insert(topic.clone(), Arc::clone(&plan));
        plan
    }
}
