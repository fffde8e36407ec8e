//! The stateful half: run by the journal's writer, in commit order, on its one thread.
//!
//! It owns the hold table, so a condition's state changes in the same order and in the same
//! transaction as what it causes; no lock is needed and no two threads can disagree. Timers due at or
//! before a message's time run before the message. After the commit it sends on what was republished
//! and says that there are hits to look at.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use tokio::sync::oneshot;

use crate::action;
use crate::action::Outcome;
use crate::clock::Timestamp;
use crate::engine::ActionFailure;
use crate::engine::Cleared;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Hit;
use crate::engine::Observation;
use crate::engine::RuleIndex;
use crate::engine::hold::HoldTable;
use crate::engine::hold::HoldView;
use crate::engine::hold::KeyChange;
use crate::engine::hold::Orphan;
use crate::engine::hold::Progress;
use crate::engine::hold::Transitions;
use crate::journal::Batch;
use crate::journal::Effect;
use crate::journal::HitRecord;
use crate::journal::Stage;
use crate::journal::StateChange;
use crate::latest::Keys;
use crate::latest::Upsert;
use crate::publish::Publish;
use crate::topic::TopicName;

use super::events;
use super::pass::Pass;

/// What comes to the stage through the journal's queue.
#[derive(Debug)]
pub(super) enum Work {
    /// A connection's batch, evaluated.
    Messages {
        /// Effects, hit log lines, republished messages.
        outcome: Outcome,
        /// Inputs for the hold table, in order.
        observations: Vec<Observation>,
    },
    /// Somebody deletes a key of a table of latest values.
    Forget {
        /// The table.
        table: Arc<str>,
        /// The key.
        key: CompactString,
        /// Whether it was there; nobody may be waiting any more.
        answer: oneshot::Sender<bool>,
    },
    /// Somebody wants to see the keys of a rule.
    View {
        /// The rule.
        rule: RuleIndex,
        /// At most so many pending and so many firing keys.
        limit: usize,
        /// Where the answer goes; nobody may be waiting any more.
        answer: oneshot::Sender<HoldView>,
    },
}

impl Work {
    /// Memory it holds, about, bytes.
    pub(super) fn bytes(&self) -> usize {
        let Work::Messages { outcome, observations } = self else { return 0 };
        let kept = |effect: &Effect| match effect {
            Effect::Upsert(upsert) => upsert.publish.as_ref().map_or(0, |p| p.payload.len()),
            _ => 0,
        };
        let held = |effect: &Effect| effect.payload_bytes() + kept(effect);
        let effects = outcome.effects.iter().map(held).sum::<usize>();
        let hits = outcome.hits.iter().map(|hit| hit.output.len()).sum::<usize>();
        let republished = outcome.republished.iter().map(|message| message.payload.len());
        let observed = observations.iter().filter_map(|seen| seen.publish.as_ref());
        effects
            + hits
            + republished.sum::<usize>()
            + observed.map(|message| message.payload.len()).sum::<usize>()
            + size_of_val(&*outcome.effects)
            + size_of_val(&*outcome.hits)
            + size_of_val(&**observations)
    }
}

/// What the rest of the gateway does once a batch is on disk. Called on the writer's thread: must not
/// block.
pub(super) trait AfterCommit: Send + 'static {
    /// A republished message goes to the subscribers.
    fn publish(&mut self, message: Publish);

    /// There are new hits in the log.
    fn hits_logged(&mut self);

    /// Whether a subscriber may listen to events.
    fn hears_events(&self) -> bool {
        false
    }

    /// Whether a subscriber listens to `topic`.
    fn hears(&self, _topic: &TopicName) -> bool {
        false
    }
}

/// The journal's stage: the hold table, and what happens after a commit.
pub(super) struct GatewayStage<A> {
    pass: Pass,
    hold: HoldTable,
    /// The keys of the tables of latest values: a key too many is refused here.
    keys: Keys,
    transitions: Transitions,
    changes: Vec<KeyChange>,
    /// Goes to subscribers once the batch is on disk.
    outgoing: Vec<Publish>,
    after: A,
}

impl<A: AfterCommit> GatewayStage<A> {
    /// A stage over tables that may have been restored; `transitions` are what restoring the hold
    /// table gave and become part of the first batch.
    pub(super) fn new(
        pass: Pass,
        hold: HoldTable,
        keys: Keys,
        transitions: Transitions,
        after: A,
    ) -> Self {
        let (changes, outgoing) = (Vec::new(), Vec::new());
        GatewayStage { pass, hold, keys, transitions, changes, outgoing, after }
    }

    /// The keys of the tables of latest values.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Feeds observations, and what their episodes republish, until nothing is left.
    fn observe(&mut self, observations: Vec<Observation>, batch: &mut Batch) {
        for observation in observations {
            self.hold.observe(observation, &mut self.transitions);
            self.settle(batch);
        }
    }

    /// Turns the table's transitions into effects. What an episode republishes may itself be observed
    /// by a rule with WHEN; the hop limit ends that.
    fn settle(&mut self, batch: &mut Batch) {
        while !self.transitions.is_empty() {
            let now = self.transitions.episodes.last().map(|episode| episode.decided_at);
            for orphan in self.transitions.orphans.drain(..) {
                batch.hits.push(removed(orphan));
            }
            let mut faults = mem::take(&mut self.transitions.faults);
            for episode in self.transitions.episodes.drain(..) {
                match self.pass.rules().engine.complete(&episode) {
                    Ok(hit) => {
                        let event = event_of(&mut self.pass, &self.after, &hit);
                        self.pass.take_hit(hit);
                        match event {
                            Ok(Some(event)) => self.pass.announce(event),
                            Ok(None) => {}
                            Err(fault) => faults.push(fault),
                        }
                    }
                    Err(fault) => faults.push(fault),
                }
            }
            self.count(faults, now);
            for record in self.transitions.late.drain(..) {
                self.pass.take_late(record);
            }
            let outcome = self.pass.take_outcome();
            self.accept(outcome, batch);
            for observation in mem::take(&mut self.pass.observations) {
                self.hold.observe(observation, &mut self.transitions);
            }
        }
    }

    fn count(&self, mut faults: Vec<Fault>, at: Option<Timestamp>) {
        let at = at.unwrap_or(Timestamp::EPOCH);
        self.pass.rules().tallies.count_faults(&mut faults, at);
    }

    /// Takes an outcome into the batch. What ON ERROR makes of a key that is refused is taken too; it
    /// may leave observations in the pass.
    fn accept(&mut self, outcome: Outcome, batch: &mut Batch) {
        let mut next = outcome;
        loop {
            let Outcome { effects, hits, republished, .. } = next;
            for effect in effects {
                match effect {
                    Effect::Upsert(upsert) if !self.keys.admit(&upsert.table, &upsert.key) => {
                        self.refuse(&upsert);
                    }
                    effect => batch.effects.push(effect),
                }
            }
            batch.hits.extend(hits);
            self.outgoing.extend(republished);
            next = self.pass.take_outcome();
            if next.effects.is_empty() && next.hits.is_empty() && next.republished.is_empty() {
                return;
            }
        }
    }

    /// The table has as many keys as it may: counted, and told to the rule's ON ERROR. An action of ON
    /// ERROR is only counted, and what it republishes has a hop less, so this ends.
    fn refuse(&mut self, upsert: &Upsert) {
        let rules = Arc::clone(self.pass.rules());
        let place = rules.engine.rules().iter().position(|rule| *rule.name() == upsert.rule);
        // A rule that is gone counts nothing and has no ON ERROR.
        let Some(rule) = place.and_then(|place| u32::try_from(place).ok()).map(RuleIndex) else {
            return;
        };
        let (keys_max, table) = (self.keys.keys_max(), &upsert.table);
        let message = format!("table '{table}' has {keys_max} keys, as many as it may");
        let outcome = &mut self.pass.outcome;
        if let Some(publish) = &upsert.publish {
            let failure = ActionFailure {
                failed_action: "upsert".to_owned(),
                failed_resource: table.to_string(),
                error_message: message.clone(),
            };
            action::report(&rules.engine, rule, publish, upsert.at, &[failure], outcome);
        }
        outcome.faults.push(Fault { rule, code: FaultCode::TableFull, message });
        self.pass.finish(upsert.at);
    }
}

impl<A: AfterCommit> Stage for GatewayStage<A> {
    type Work = Work;

    fn apply(&mut self, at: Timestamp, work: Work, batch: &mut Batch) {
        match work {
            Work::Messages { outcome, observations } => {
                self.accept(outcome, batch);
                self.observe(observations, batch);
                let caused = mem::take(&mut self.pass.observations);
                self.observe(caused, batch);
            }
            Work::Forget { table, key, answer } => {
                let was_there = self.keys.remove(&table, &key);
                if was_there {
                    batch.effects.push(Effect::Forget { table, key });
                }
                // Whoever asked may have gone away.
                answer.send(was_there).ok();
            }
            Work::View { rule, limit, answer } => {
                self.advance(at, batch);
                // Whoever asked may have gone away.
                drop(answer.send(self.hold.view(rule, limit)));
            }
        }
    }

    fn advance(&mut self, now: Timestamp, batch: &mut Batch) {
        loop {
            let progress = self.hold.advance(now, &mut self.transitions);
            self.settle(batch);
            if progress == Progress::Done {
                return;
            }
        }
    }

    fn seal(&mut self, batch: &mut Batch) {
        self.hold.take_changes(&mut self.changes);
        batch.states.extend(self.changes.drain(..).map(|change| StateChange {
            rule: change.rule,
            key: change.key,
            state: change.state,
            waiting: change.waiting,
        }));
        self.pass.rules().tallies.show_holds(&self.hold);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        if self.transitions.is_empty() { self.hold.next_deadline() } else { Some(Timestamp::EPOCH) }
    }

    fn committed(&mut self, batch: &Batch) {
        for message in self.outgoing.drain(..) {
            self.after.publish(message);
        }
        if !batch.hits.is_empty() {
            self.after.hits_logged();
        }
    }
}

/// The event of an episode, if anybody listens to it.
fn event_of<A: AfterCommit>(
    pass: &mut Pass,
    after: &A,
    hit: &Hit,
) -> Result<Option<Publish>, Fault> {
    let rules = Arc::clone(pass.rules());
    if !rules.engine.hears_events() && !after.hears_events() {
        return Ok(None);
    }
    let is_heard = |topic: &TopicName| pass.reaches_a_rule(topic) || after.hears(topic);
    events::of_episode(&rules.engine, hit, is_heard)
}

/// The hit log's line for an episode whose rule is gone: there is no SELECT left to evaluate.
fn removed(orphan: Orphan) -> HitRecord {
    HitRecord {
        at: orphan.at,
        rule: orphan.rule,
        event: "cleared",
        reason: Some(Cleared::RuleRemoved.as_str()),
        topic: Arc::clone(orphan.publish.topic.as_arc()),
        client_id: orphan.publish.origin.client_id.clone(),
        key: Some(orphan.facts.key),
        output: Bytes::from_static(br#"{"reason":"rule_removed"}"#),
    }
}
