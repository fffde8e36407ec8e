//! The stateful half: run by the journal's writer, in commit order, on its one thread.
//!
//! It owns the hold table, so a condition's state changes in the same order and in the same
//! transaction as what it causes; no lock is needed and no two threads can disagree. Timers due at or
//! before a message's time run before the message. After the commit it sends on what was republished
//! and says that there are hits to look at.
//!
//! Another rule set takes over here, between two batches ([`Work::Replace`]): the hold table goes over
//! to it and, in the same moment, connections find it. A batch that was judged by the set before and
//! comes later carries that set. Its effects stand. What it observed for a rule that still watches
//! the same goes on under the new set; what it observed for another rule is played to its end under
//! the old one, on a key that starts afresh, as if it had come just before the change.

use std::collections::VecDeque;
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
use crate::latest::Full;
use crate::latest::Kept;
use crate::latest::Upsert;
use crate::publish::Publish;
use crate::topic::TopicName;

use super::events;
use super::pass::Pass;
use super::rules::Rules;
use super::rules::RunningRules;

/// What comes to the stage through the journal's queue.
#[derive(Debug)]
pub(super) enum Work {
    /// A connection's batch, evaluated.
    Messages {
        /// The rules that judged it.
        rules: Arc<Rules>,
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
    /// Another rule set takes over.
    Replace(Arc<Rules>),
    /// Somebody wants to see the keys of a rule.
    View {
        /// Its name.
        rule: Arc<str>,
        /// At most so many pending and so many firing keys.
        limit: usize,
        /// Where the answer goes; nobody may be waiting any more.
        answer: oneshot::Sender<HoldView>,
    },
}

impl Work {
    /// Memory it holds, about, bytes.
    pub(super) fn bytes(&self) -> usize {
        let Work::Messages { outcome, observations, .. } = self else { return 0 };
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
    /// Those that the hold table watches.
    rules: Arc<Rules>,
    /// Where connections find them.
    running: Arc<RunningRules>,
    episodes: Episodes<A>,
    changes: Vec<KeyChange>,
    /// Whether a takeover is part of the batch.
    has_taken_over: bool,
}

/// The hold table, and what its transitions become.
struct Episodes<A> {
    pass: Pass,
    hold: HoldTable,
    /// The tables of latest values: what is too much for one is refused here.
    kept: Kept,
    transitions: Transitions,
    /// Goes to subscribers once the batch is on disk.
    outgoing: Vec<Publish>,
    after: A,
}

impl<A: AfterCommit> GatewayStage<A> {
    /// A stage over the tables of the `running` rules, which may have been restored; `transitions` are
    /// what restoring the hold table gave and become part of the first batch.
    pub(super) fn new(
        running: Arc<RunningRules>,
        hold: HoldTable,
        kept: Kept,
        transitions: Transitions,
        after: A,
    ) -> Self {
        let (pass, outgoing) = (Pass::default(), Vec::new());
        let episodes = Episodes { pass, hold, kept, transitions, outgoing, after };
        let (rules, changes) = (running.get(), Vec::new());
        GatewayStage { rules, running, episodes, changes, has_taken_over: false }
    }

    /// The tables of latest values.
    pub(super) fn kept(&self) -> &Kept {
        &self.episodes.kept
    }

    fn replace(&mut self, at: Timestamp, rules: Arc<Rules>, batch: &mut Batch) {
        // What is due by now belongs to the rules before.
        self.advance(at, batch);
        self.episodes.hold.rebuild(rules.watched(), at, &mut self.episodes.transitions);
        rules.tallies.forget_holds();
        self.running.replace(Arc::clone(&rules));
        let before = mem::replace(&mut self.rules, rules);
        self.has_taken_over = true;
        if before.consumers() != self.rules.consumers() {
            // Before anything that the new rules cause: one that begins at the end gets all of it.
            batch.effects.push(Effect::Consumers(Arc::clone(self.rules.consumers())));
        }
        self.episodes.settle(&self.rules, batch);
    }
}

impl<A: AfterCommit> Episodes<A> {
    /// Feeds observations of the running rules, and what their episodes republish, until nothing is
    /// left.
    fn observe(&mut self, rules: &Rules, observations: Vec<Observation>, batch: &mut Batch) {
        for observation in observations {
            self.hold.observe(observation, &mut self.transitions);
            self.settle(rules, batch);
        }
    }

    /// The same for observations under rules that have been replaced since.
    fn observe_late(
        &mut self,
        rules: &Rules,
        old: &Rules,
        observations: Vec<Observation>,
        batch: &mut Batch,
    ) {
        let mut late = VecDeque::from(observations);
        while let Some(observation) = late.pop_front() {
            if let Some(rule) = rules.heir(old, observation.rule) {
                self.observe(rules, vec![Observation { rule, ..observation }], batch);
                continue;
            }
            let Some(watched) = old.watched_rule(observation.rule) else { continue };
            let successor = rules.place(watched.name).and_then(|rule| rules.watched_rule(rule));
            let at = observation.at;
            let mut alone = HoldTable::new([watched]);
            alone.observe(observation, &mut self.transitions);
            late.extend(self.complete(old, batch));
            alone.rebuild(successor, at, &mut self.transitions);
            self.settle(rules, batch);
        }
    }

    /// Turns the table's transitions into effects. What an episode republishes may itself be observed
    /// by a rule with WHEN; the hop limit ends that.
    fn settle(&mut self, rules: &Rules, batch: &mut Batch) {
        while !self.transitions.is_empty() {
            for observation in self.complete(rules, batch) {
                self.hold.observe(observation, &mut self.transitions);
            }
        }
    }

    /// Turns the transitions there are into effects; answers what was observed on the way.
    fn complete(&mut self, rules: &Rules, batch: &mut Batch) -> Vec<Observation> {
        let now = self.transitions.episodes.last().map(|episode| episode.decided_at);
        for orphan in self.transitions.orphans.drain(..) {
            batch.hits.push(ended(rules, orphan));
        }
        let mut faults = mem::take(&mut self.transitions.faults);
        for episode in self.transitions.episodes.drain(..) {
            match rules.engine.complete(&episode) {
                Ok(hit) => {
                    let event = event_of(rules, &mut self.pass, &self.after, &hit);
                    self.pass.take_hit(rules, hit);
                    match event {
                        Ok(Some(event)) => self.pass.announce(rules, event),
                        Ok(None) => {}
                        Err(fault) => faults.push(fault),
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        rules.tallies.count_faults(&mut faults, now.unwrap_or(Timestamp::EPOCH));
        for record in self.transitions.late.drain(..) {
            self.pass.take_late(rules, record);
        }
        let outcome = self.pass.take_outcome();
        self.accept(rules, outcome, batch);
        mem::take(&mut self.pass.observations)
    }

    /// Takes an outcome into the batch. What ON ERROR makes of a key that is refused is taken too; it
    /// may leave observations in the pass.
    fn accept(&mut self, rules: &Rules, outcome: Outcome, batch: &mut Batch) {
        let mut next = outcome;
        loop {
            let Outcome { effects, hits, republished, .. } = next;
            for effect in effects {
                if let Effect::Upsert(upsert) = &effect {
                    let Upsert { table, key, value, .. } = &**upsert;
                    if let Err(full) = self.kept.keys.admit(table, key, value.len()) {
                        self.refuse(rules, upsert, full);
                        continue;
                    }
                }
                batch.effects.push(effect);
            }
            batch.hits.extend(hits);
            self.outgoing.extend(republished);
            next = self.pass.take_outcome();
            if next.effects.is_empty() && next.hits.is_empty() && next.republished.is_empty() {
                return;
            }
        }
    }

    /// The table has no room for a value: counted, and told to the rule's ON ERROR. An action of ON
    /// ERROR is only counted, and what it republishes has a hop less, so this ends.
    fn refuse(&mut self, rules: &Rules, upsert: &Upsert, full: Full) {
        // A rule that is gone counts nothing and has no ON ERROR.
        let Some(rule) = rules.place(&upsert.rule) else { return };
        let (bounds, table) = (self.kept.keys.bounds(), &upsert.table);
        let message = match full {
            Full::Keys => {
                format!("table '{table}' has {} keys, as many as it may", bounds.keys_max)
            }
            Full::Bytes => {
                format!("table '{table}' would have more than {} bytes", bounds.bytes_max)
            }
        };
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
        self.pass.finish(rules, upsert.at);
    }
}

impl<A: AfterCommit> Stage for GatewayStage<A> {
    type Work = Work;

    fn apply(&mut self, at: Timestamp, work: Work, batch: &mut Batch) {
        match work {
            Work::Messages { rules, outcome, observations } => {
                self.episodes.accept(&rules, outcome, batch);
                // ON ERROR of a key that was refused may have been observed too.
                let mut observations = observations;
                observations.append(&mut self.episodes.pass.observations);
                if Arc::ptr_eq(&rules, &self.rules) {
                    self.episodes.observe(&self.rules, observations, batch);
                } else {
                    self.episodes.observe_late(&self.rules, &rules, observations, batch);
                }
            }
            Work::Forget { table, key, answer } => {
                let was_there = self.episodes.kept.keys.remove(&table, &key);
                if was_there {
                    batch.effects.push(Effect::Forget { table, key });
                }
                // Whoever asked may have gone away.
                answer.send(was_there).ok();
            }
            Work::Replace(rules) => self.replace(at, rules, batch),
            Work::View { rule, limit, answer } => {
                self.advance(at, batch);
                let keys = self.rules.place(&rule).map(|rule| self.episodes.hold.view(rule, limit));
                // Whoever asked may have gone away.
                drop(answer.send(keys.unwrap_or_default()));
            }
        }
    }

    fn advance(&mut self, now: Timestamp, batch: &mut Batch) {
        loop {
            let progress = self.episodes.hold.advance(now, &mut self.episodes.transitions);
            self.episodes.settle(&self.rules, batch);
            if progress == Progress::Done {
                return;
            }
        }
    }

    fn seal(&mut self, batch: &mut Batch) {
        self.episodes.hold.take_changes(&mut self.changes);
        batch.states.extend(self.changes.drain(..).map(|change| StateChange {
            rule: change.rule,
            key: change.key,
            state: change.state,
            waiting: change.waiting,
        }));
        self.rules.tallies.show_holds(&self.episodes.hold);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        if self.episodes.transitions.is_empty() {
            self.episodes.hold.next_deadline()
        } else {
            Some(Timestamp::EPOCH)
        }
    }

    fn committed(&mut self, batch: &Batch) {
        self.episodes.kept.mirror.commit(&batch.effects);
        for message in self.episodes.outgoing.drain(..) {
            self.episodes.after.publish(message);
        }
        if !batch.hits.is_empty() {
            self.episodes.after.hits_logged();
        }
        if mem::take(&mut self.has_taken_over) {
            self.running.settle();
        }
    }
}

/// The event of an episode, if anybody listens to it.
fn event_of<A: AfterCommit>(
    rules: &Rules,
    pass: &mut Pass,
    after: &A,
    hit: &Hit,
) -> Result<Option<Publish>, Fault> {
    if !rules.engine.hears_events() && !after.hears_events() {
        return Ok(None);
    }
    let is_heard = |topic: &TopicName| pass.reaches_a_rule(rules, topic) || after.hears(topic);
    events::of_episode(&rules.engine, hit, is_heard)
}

/// The hit log's line for an episode whose rule no longer watches: there is no SELECT left that would
/// speak of it. A rule that is still there has been disabled, or has lost its WHEN.
fn ended(rules: &Rules, orphan: Orphan) -> HitRecord {
    let reason = match rules.place(&orphan.rule) {
        Some(_) => Cleared::RuleChanged,
        None => Cleared::RuleRemoved,
    };
    HitRecord {
        at: orphan.at,
        rule: orphan.rule,
        event: "cleared",
        reason: Some(reason.as_str()),
        topic: Arc::clone(orphan.publish.topic.as_arc()),
        client_id: orphan.publish.origin.client_id.clone(),
        key: Some(orphan.facts.key),
        output: Bytes::from(format!(r#"{{"reason":"{}"}}"#, reason.as_str())),
    }
}
