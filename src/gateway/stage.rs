//! The stateful half: run by the journal's writer, in commit order, on its one thread.
//!
//! It owns the hold table, so a condition's state changes in the same order and in the same
//! transaction as what it causes; no lock is needed and no two threads can disagree. Timers due at or
//! before a message's time run before the message. After the commit it sends on what was republished
//! and says that there are hits to look at.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::action::Outcome;
use crate::clock::Timestamp;
use crate::engine::Cleared;
use crate::engine::Fault;
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
        let effects = outcome.effects.iter().map(Effect::payload_bytes).sum::<usize>();
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
    transitions: Transitions,
    changes: Vec<KeyChange>,
    /// Goes to subscribers once the batch is on disk.
    outgoing: Vec<Publish>,
    after: A,
}

impl<A: AfterCommit> GatewayStage<A> {
    /// A stage over a table that may have been restored; `transitions` are what restoring it gave and
    /// become part of the first batch.
    pub(super) fn new(pass: Pass, hold: HoldTable, transitions: Transitions, after: A) -> Self {
        GatewayStage { pass, hold, transitions, changes: Vec::new(), outgoing: Vec::new(), after }
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
            let observations = mem::take(&mut self.pass.observations);
            self.accept(outcome, batch);
            for observation in observations {
                self.hold.observe(observation, &mut self.transitions);
            }
        }
    }

    fn count(&self, mut faults: Vec<Fault>, at: Option<Timestamp>) {
        let at = at.unwrap_or(Timestamp::EPOCH);
        self.pass.rules().tallies.count_faults(&mut faults, at);
    }

    fn accept(&mut self, outcome: Outcome, batch: &mut Batch) {
        let Outcome { effects, hits, republished, .. } = outcome;
        batch.effects.extend(effects);
        batch.hits.extend(hits);
        self.outgoing.extend(republished);
    }
}

impl<A: AfterCommit> Stage for GatewayStage<A> {
    type Work = Work;

    fn apply(&mut self, at: Timestamp, work: Work, batch: &mut Batch) {
        match work {
            Work::Messages { outcome, observations } => {
                self.accept(outcome, batch);
                self.observe(observations, batch);
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
