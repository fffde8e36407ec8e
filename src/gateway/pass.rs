//! One pass of messages through the rules: evaluate, carry out, and follow what is republished.
//!
//! Both halves of the gateway run the same pass: a connection's lane over what it read, a turn of a
//! stream over its records, and the journal's stage over what an episode republished. A pass ends when nothing is left to evaluate; the
//! hop limit bounds it. What it leaves is in [`Pass::outcome`] and [`Pass::observations`].
//!
//! A rule with `aws_lambda()` waits for answers. A pass whose owner can wait keeps the messages that reach
//! one, and those that come behind, until [`Pass::settle`]; the journal's writer waits for nobody, and
//! there such a call is a fault (`call_unavailable`).
//!
//! The rules are given with each message: whoever owns the pass decides for how long one set is used.

use std::any::Any;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use crate::action;
use crate::action::Outcome;
use crate::clock::Timestamp;
use crate::engine::ActionFailure;
use crate::engine::Conversation;
use crate::engine::Evaluation;
use crate::engine::Fault;
use crate::engine::Hit;
use crate::engine::Observed;
use crate::engine::Recalled;
use crate::engine::Truth;
use crate::engine::hold::PassedOver;
use crate::lambda::Caller;
use crate::limits;
use crate::publish::Publish;
use crate::topic::TopicName;

use super::plans::SharedPlan;
use super::rules::Rules;

/// Evaluates messages for one owner: a connection, or the journal's stage.
#[derive(Default)]
pub(super) struct Pass {
    /// Of the rules that the plans belong to.
    generation: u64,
    plans: HashMap<TopicName, Arc<SharedPlan>, foldhash::fast::RandomState>,
    evaluation: Evaluation,
    /// Whether the owner will [settle](Pass::settle) what must wait for an answer.
    settles: bool,
    /// Messages that reach a rule which calls, and those behind them, in order.
    waiting: VecDeque<(Publish, Conversation)>,
    /// How many of `outcome.republished` have been evaluated.
    followed: usize,
    /// Effects, hit log lines and republished messages of the messages taken since it was last emptied.
    pub(super) outcome: Outcome,
    /// Inputs for the stateful half, in order.
    pub(super) observations: Vec<Observed>,
    /// A panic in the middle of judging, as no input is known to cause.
    #[cfg(test)]
    pub(super) poison: Option<fn(&SharedPlan, &Publish) -> bool>,
}

/// How much a pass held.
struct Mark {
    effects: usize,
    hits: usize,
    republished: usize,
    followed: usize,
    observations: usize,
}

impl Pass {
    /// A pass whose owner calls [`Pass::settle`] before it looks at the outcome.
    pub(super) fn settling() -> Pass {
        Pass { settles: true, ..Pass::default() }
    }

    /// Whether the messages taken so far left nothing to commit.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
            && self.outcome.effects.is_empty()
            && self.outcome.hits.is_empty()
            && self.outcome.republished.is_empty()
            && self.observations.is_empty()
    }

    /// Whether any rule sees what is published to `topic`.
    pub(super) fn reaches_a_rule(&mut self, rules: &Rules, topic: &TopicName) -> bool {
        !self.plan(rules, topic).plan.is_empty()
    }

    /// Evaluates `publish`, and then everything it makes rules republish.
    pub(super) fn take(&mut self, rules: &Rules, publish: &Publish) {
        self.evaluate(rules, publish);
        self.finish(rules, publish.received_at);
    }

    /// Evaluates the rules of `plan` over a record of the stream that they read, and then everything it
    /// makes rules republish.
    pub(super) fn take_record(&mut self, rules: &Rules, plan: &SharedPlan, record: &Publish) {
        self.judge(rules, plan, record, &Conversation::default());
        self.finish(rules, record.received_at);
    }

    /// Does `work` on the pass; when it panics, says what with and leaves the pass as it was. What has been
    /// counted by then stays counted.
    pub(super) fn attempt(&mut self, work: impl FnOnce(&mut Pass)) -> Result<(), String> {
        let before = Mark {
            effects: self.outcome.effects.len(),
            hits: self.outcome.hits.len(),
            republished: self.outcome.republished.len(),
            followed: self.followed,
            observations: self.observations.len(),
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        done.map_err(|panic| {
            self.undo(&before);
            words_of(&*panic)
        })
    }

    fn undo(&mut self, before: &Mark) {
        self.evaluation = Evaluation::default();
        self.waiting.clear();
        self.followed = before.followed;
        self.outcome.effects.truncate(before.effects);
        self.outcome.hits.truncate(before.hits);
        self.outcome.republished.truncate(before.republished);
        // These are counted, and gone, whenever a pass has finished.
        self.outcome.faults.clear();
        self.outcome.carried_out.clear();
        self.observations.truncate(before.observations);
    }

    /// Carries out one hit of the hold table, and evaluates everything it makes rules republish.
    pub(super) fn take_hit(&mut self, rules: &Rules, hit: Hit) {
        let at = hit.decided_at;
        action::carry_out(&rules.engine, &rules.meter, hit, &mut self.outcome);
        self.finish(rules, at);
    }

    /// Judges a message that the history table has given its turn, and evaluates everything it makes
    /// rules republish.
    pub(super) fn take_recalled(&mut self, rules: &Rules, recalled: &Recalled) {
        rules.engine.judge(recalled, &mut self.evaluation);
        self.count(rules, recalled.at);
        self.finish(rules, recalled.at);
    }

    /// Counts a message that a table passed over, and runs its rule's ON ERROR over it.
    pub(super) fn take_passed_over(&mut self, rules: &Rules, record: PassedOver) {
        self.take_refused(rules, record.clause, record.fault, &record.publish);
    }

    /// Counts a message that `clause` of its rule does not take, and runs ON ERROR over it.
    pub(super) fn take_refused(
        &mut self,
        rules: &Rules,
        clause: &str,
        fault: Fault,
        publish: &Publish,
    ) {
        let at = publish.received_at;
        let failure = ActionFailure {
            failed_action: clause.to_owned(),
            failed_resource: String::new(),
            error_message: fault.message.clone(),
        };
        action::report(
            &rules.engine,
            &rules.meter,
            fault.rule,
            publish,
            at,
            &[failure],
            &mut self.outcome,
        );
        self.outcome.faults.push(fault);
        self.finish(rules, at);
    }

    /// Carries an event through the rules, as if it had been republished: subscribers get it after the
    /// commit.
    pub(super) fn announce(&mut self, rules: &Rules, event: Publish) {
        let at = event.received_at;
        self.outcome.republished.push(event);
        self.finish(rules, at);
    }

    /// Makes the calls that messages wait for, and evaluates those messages. Calls of different messages
    /// and rules overlap; those of one rule over one message follow one another. What is evaluated
    /// is evaluated in the order in which it was taken.
    pub(super) async fn settle(&mut self, rules: &Rules, caller: &Caller) {
        while !self.waiting.is_empty() {
            let mut waiting = mem::take(&mut self.waiting);
            loop {
                let mut calls = Vec::new();
                for (place, (publish, conversation)) in waiting.iter_mut().enumerate() {
                    let shared = self.plan(rules, &publish.topic);
                    let next = rules.engine.next_calls(&shared.plan, publish, conversation);
                    calls.extend(next.into_iter().map(|call| (place, call)));
                }
                if calls.is_empty() {
                    break;
                }
                let asked = calls.into_iter().map(|(place, call)| async move {
                    let rule = rules.list()[call.rule.0 as usize].name();
                    let answer = caller.call(&call.hook, rule, call.payload.clone()).await;
                    (place, call, answer)
                });
                let mut answers = stream::iter(asked).buffer_unordered(limits::CALLS_AT_ONCE_MAX);
                while let Some((place, call, answer)) = answers.next().await {
                    if let Some((_, conversation)) = waiting.get_mut(place) {
                        conversation.answer(&call, answer);
                    }
                }
            }
            for (publish, conversation) in waiting {
                let shared = self.plan(rules, &publish.topic);
                self.judge(rules, &shared, &publish, &conversation);
                // What it republishes may wait in turn; it is settled in the next round.
                self.finish(rules, publish.received_at);
            }
        }
    }

    /// Hands over the outcome and starts an empty one.
    pub(super) fn take_outcome(&mut self) -> Outcome {
        self.followed = 0;
        mem::take(&mut self.outcome)
    }

    /// Evaluates what was republished since, and counts; to be called after the outcome was added to
    /// by hand.
    pub(super) fn finish(&mut self, rules: &Rules, at: Timestamp) {
        while let Some(message) = self.outcome.republished.get(self.followed) {
            let message = message.clone();
            self.followed += 1;
            self.evaluate(rules, &message);
        }
        rules.tallies.count_outcome(&mut self.outcome, at);
    }

    fn evaluate(&mut self, rules: &Rules, publish: &Publish) {
        let shared = self.plan(rules, &publish.topic);
        if shared.plan.is_empty() {
            return;
        }
        if !self.waiting.is_empty() || (self.settles && shared.plan.makes_calls()) {
            self.waiting.push_back((publish.clone(), Conversation::default()));
            return;
        }
        self.judge(rules, &shared, publish, &Conversation::default());
    }

    fn judge(
        &mut self,
        rules: &Rules,
        shared: &SharedPlan,
        publish: &Publish,
        conversation: &Conversation,
    ) {
        #[cfg(test)]
        assert!(!self.poison.is_some_and(|is_poison| is_poison(shared, publish)), "poison");
        let evaluation = &mut self.evaluation;
        rules.engine.evaluate_with(&shared.plan, publish, conversation, evaluation);
        shared.count(&evaluation.unknown_together);
        evaluation.unknown_together.clear();
        self.count(rules, publish.received_at);
    }

    /// Counts what was evaluated, and carries out its hits.
    fn count(&mut self, rules: &Rules, at: Timestamp) {
        let Rules { engine, tallies, meter, .. } = rules;
        let evaluation = &mut self.evaluation;
        tallies.add_runs(&evaluation.unknown, |tally| &tally.unknown);
        evaluation.unknown.clear();
        tallies.count_faults(&mut evaluation.faults, at);
        for observed in &evaluation.observations {
            if let Observed::Condition(observation) = observed
                && observation.condition == Truth::Unknown
            {
                tallies.rule(observation.rule).unknown.inc();
            }
        }
        self.observations.append(&mut evaluation.observations);
        for hit in evaluation.hits.drain(..) {
            action::carry_out(engine, meter, hit, &mut self.outcome);
        }
    }

    fn plan(&mut self, rules: &Rules, topic: &TopicName) -> Arc<SharedPlan> {
        if self.generation != rules.generation {
            self.generation = rules.generation;
            self.plans.clear();
        }
        if let Some(plan) = self.plans.get(topic) {
            return Arc::clone(plan);
        }
        if self.plans.len() >= limits::TOPIC_CACHE_MAX {
            self.plans.clear();
        }
        let plan = rules.plan(topic);
        self.plans.insert(topic.clone(), Arc::clone(&plan));
        plan
    }
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
