//! The stateful half: run by the journal's writer, in commit order, on its one thread.
//!
//! It owns the hold table and the history table, so the state of a rule changes in the same order and in the
//! same transaction as what it causes; no lock is needed and no two threads can disagree. Timers due at or
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
use crate::checkpoint::Part;
use crate::clock::Timestamp;
use crate::delivery;
use crate::delivery::DeliveryFull;
use crate::engine::ActionFailure;
use crate::engine::Cleared;
use crate::engine::Contribution;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Hit;
use crate::engine::Leap;
use crate::engine::Observation;
use crate::engine::Observed;
use crate::engine::Recall;
use crate::engine::RuleIndex;
use crate::engine::history::HistoryTable;
use crate::engine::history::Recollections;
use crate::engine::history::Refused;
use crate::engine::hold::HoldView;
use crate::engine::hold::Orphan;
use crate::engine::hold::Progress;
use crate::engine::hold::Transitions;
use crate::engine::rows::KeyChange;
use crate::engine::stateful::StateTable;
use crate::journal::Batch;
use crate::journal::Effect;
use crate::journal::HitRecord;
use crate::journal::SentBy;
use crate::journal::Stage;
use crate::journal::StateChange;
use crate::latest::Full;
use crate::latest::Kept;
use crate::latest::Upsert;
use crate::limits::STATE_CHANGES_KEPT;
use crate::publish::Publish;
use crate::session::Removal;
use crate::stream;
use crate::topic::TopicName;

use super::events;
use super::intake::Ways;
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
        /// Inputs for the tables, in order.
        observations: Vec<Observed>,
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
    /// Records from outside the rules; whoever put them waits for the acknowledgement.
    Put(Arc<stream::Put>),
    /// The same for a delivery.
    Deliver(Arc<delivery::DeliveryPut>),
    /// What sessions have for the next commit is to be written though nothing else is.
    Settle,
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
        let observed = observations.iter().filter_map(Observed::publish);
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
    /// A message that is republished, before its commit: what sessions that survive need of it is added to `effects`.
    /// [`AfterCommit::publish`] follows for each, in the same order.
    fn stage(&mut self, _message: &Publish, _effects: &mut Vec<Effect>) {}

    /// A republished message goes to the subscribers.
    fn publish(&mut self, message: Publish);

    /// Whether a message that is republished with RETAIN may be kept. [`AfterCommit::retained`] follows.
    fn may_retain(&mut self, _message: &Publish) -> bool {
        true
    }

    /// A retained message is on disk.
    fn retained(&mut self, _message: &Publish) {}

    /// What sessions that survive have for this commit, which nobody waits for.
    fn settle(&mut self, _batch: &mut Batch) {}

    /// A message that was to be removed by a commit that has been made is to be removed by the next.
    fn remove(&mut self, _removals: &mut Vec<Removal>) {}

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

/// What rules remember: new, or as the last run left it.
pub(super) struct Remembered {
    /// Conditions over time, and windows.
    pub(super) states: StateTable,
    /// Earlier values of keys.
    pub(super) history: HistoryTable,
    /// The tables of latest values.
    pub(super) kept: Kept,
    /// What restoring the hold table gave; becomes part of the first batch.
    pub(super) transitions: Transitions,
}

/// The journal's stage: what rules remember, and what happens after a commit.
pub(super) struct GatewayStage<A> {
    /// Those whose state it is.
    rules: Arc<Rules>,
    /// Where connections find them.
    running: Arc<RunningRules>,
    episodes: Episodes<A>,
    changes: Vec<KeyChange>,
    /// Whether a takeover is part of the batch.
    has_taken_over: bool,
    /// Whether what sessions have is part of the batch even if nothing else is.
    settles: bool,
}

/// What rules remember, and what comes of it.
struct Episodes<A> {
    pass: Pass,
    states: StateTable,
    history: HistoryTable,
    /// The tables of latest values: what is too much for one is refused here.
    kept: Kept,
    transitions: Transitions,
    recollections: Recollections,
    /// Goes to subscribers once the batch is on disk.
    outgoing: Vec<Publish>,
    /// What goes to other brokers is part of the batch; what is too much for a delivery is refused here.
    ways: Ways,
    after: A,
}

impl<A: AfterCommit> GatewayStage<A> {
    /// A stage over what the `running` rules remember.
    pub(super) fn new(running: Arc<RunningRules>, remembered: Remembered, after: A) -> Self {
        let Remembered { states, history, kept, transitions } = remembered;
        let (pass, outgoing) = (Pass::default(), Vec::new());
        let (recollections, ways) = Default::default();
        let episodes = Episodes {
            pass,
            states,
            history,
            kept,
            transitions,
            recollections,
            outgoing,
            ways,
            after,
        };
        let (rules, changes) = (running.get(), Vec::new());
        GatewayStage { rules, running, episodes, changes, has_taken_over: false, settles: false }
    }

    /// Sends on to other brokers what rules republish, and keeps the books of deliveries.
    pub(super) fn with_ways(mut self, ways: &Ways) -> Self {
        self.episodes.ways = ways.clone();
        self
    }

    /// The tables of latest values.
    pub(super) fn kept(&self) -> &Kept {
        &self.episodes.kept
    }

    fn replace(&mut self, at: Timestamp, rules: Arc<Rules>, batch: &mut Batch) {
        // What is due by now belongs to the rules before.
        while self.advance(at, batch) == Progress::More {}
        let Episodes { history, recollections, .. } = &mut self.episodes;
        history.release(|name, of| rules.remembers(name, of).is_some(), recollections);
        self.episodes.settle(&self.rules, batch);
        self.episodes.history.rebuild(rules.remembering(), at);
        self.episodes.states.rebuild(rules.stateful(), at, &mut self.episodes.transitions);
        rules.tallies.forget_state();
        self.running.replace(Arc::clone(&rules));
        let before = mem::replace(&mut self.rules, rules);
        self.has_taken_over = true;
        if before.consumers() != self.rules.consumers() {
            // Before anything that the new rules cause: one that begins at the end gets all of it.
            batch.effects.push(Effect::Consumers(Arc::clone(self.rules.consumers())));
        }
        if before.switches() != self.rules.switches() {
            batch.effects.push(Effect::Switches(Arc::clone(self.rules.switches())));
        }
        self.episodes.settle(&self.rules, batch);
    }
}

impl<A: AfterCommit> Episodes<A> {
    /// Feeds observations of the running rules, and what their episodes republish, until nothing is
    /// left.
    fn observe(&mut self, rules: &Rules, observations: Vec<Observed>, batch: &mut Batch) {
        for observed in observations {
            self.hear(observed);
            self.settle(rules, batch);
        }
    }

    /// Gives an input to the table that it is for.
    fn hear(&mut self, observed: Observed) {
        match observed {
            Observed::Condition(seen) => self.states.observe(seen, &mut self.transitions),
            Observed::Contribution(added) => self.states.gather(added, &mut self.transitions),
            Observed::Message(recall) => self.history.observe(recall, &mut self.recollections),
        }
    }

    /// The same for observations under rules that have been replaced since.
    fn observe_late(
        &mut self,
        rules: &Rules,
        old: &Rules,
        observations: Vec<Observed>,
        batch: &mut Batch,
    ) {
        let mut late = VecDeque::from(observations);
        while let Some(observed) = late.pop_front() {
            let (rule, at) = match &observed {
                Observed::Condition(seen) => (seen.rule, seen.at),
                Observed::Contribution(added) => (added.rule, added.at),
                Observed::Message(recall) => {
                    late.extend(self.recall_late(rules, old, recall.clone(), batch));
                    continue;
                }
            };
            if let Some(rule) = rules.heir(old, rule) {
                self.observe(rules, vec![of_rule(observed, rule)], batch);
                continue;
            }
            let Some(stateful) = old.stateful_rule(rule) else { continue };
            let successor = rules.place(stateful.name());
            let successor = successor.and_then(|rule| rules.stateful_rule(rule));
            let mut alone = StateTable::new([stateful]);
            mem::swap(&mut alone, &mut self.states);
            self.hear(observed);
            mem::swap(&mut alone, &mut self.states);
            late.extend(self.complete(old, batch));
            alone.rebuild(successor, at, &mut self.transitions);
            self.settle(rules, batch);
        }
    }

    /// A message for the history of a rule under rules that have been replaced since. The rule that
    /// remembers the same takes it; otherwise it is judged under the old one, on a key that starts
    /// afresh. Answers what was observed then.
    fn recall_late(
        &mut self,
        rules: &Rules,
        old: &Rules,
        recall: Recall,
        batch: &mut Batch,
    ) -> Vec<Observed> {
        let Some(remembering) = old.remembering_rule(recall.rule) else { return Vec::new() };
        if let Some(rule) = rules.remembers(remembering.name, remembering.fingerprint) {
            self.observe(rules, vec![Observed::Message(Recall { rule, ..recall })], batch);
            return Vec::new();
        }
        let mut alone = HistoryTable::new([remembering]);
        alone.observe(recall, &mut self.recollections);
        alone.release(|_, _| false, &mut self.recollections);
        self.complete(old, batch)
    }

    /// Turns what the tables say into effects. What an episode republishes may itself be observed
    /// by a rule with WHEN; the hop limit ends that.
    fn settle(&mut self, rules: &Rules, batch: &mut Batch) {
        while !self.transitions.is_empty() || !self.recollections.is_empty() {
            for observed in self.complete(rules, batch) {
                self.hear(observed);
            }
        }
    }

    /// Turns what there is into effects; answers what was observed on the way.
    fn complete(&mut self, rules: &Rules, batch: &mut Batch) -> Vec<Observed> {
        let episodes = self.transitions.episodes.iter().map(|episode| episode.decided_at);
        let windows = self.transitions.windows.iter().map(|closed| closed.decided_at);
        let now = episodes.chain(windows).max();
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
        for closed in self.transitions.windows.drain(..) {
            match rules.engine.complete_window(&closed) {
                Ok(Some(hit)) => self.pass.take_hit(rules, hit),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        rules.tallies.count_faults(&mut faults, now.unwrap_or(Timestamp::EPOCH));
        for record in self.transitions.passed_over.drain(..) {
            self.pass.take_passed_over(rules, record);
        }
        self.recall(rules);
        let outcome = self.pass.take_outcome();
        self.accept(rules, outcome, batch);
        mem::take(&mut self.pass.observations)
    }

    /// Judges the messages that the history table has given their turn.
    fn recall(&mut self, rules: &Rules) {
        let Recollections { recalled, refused, faults } = &mut self.recollections;
        for recalled in recalled.drain(..) {
            self.pass.take_recalled(rules, &recalled);
        }
        for Refused { fault, publish } in refused.drain(..) {
            self.pass.take_refused(rules, "history", fault, &publish);
        }
        rules.tallies.count_faults(faults, self.history.now());
    }

    /// Takes an outcome into the batch. What ON ERROR makes of a key that is refused is taken too; it
    /// may leave observations in the pass.
    fn accept(&mut self, rules: &Rules, outcome: Outcome, batch: &mut Batch) {
        let mut next = outcome;
        loop {
            let Outcome { mut effects, hits, republished, .. } = next;
            // What did not come by a connection has not been put into its partition yet.
            self.ways.accounts.route(&mut effects);
            for mut effect in effects {
                if let Effect::Deliver { delivery, data, at, sent_by } = &mut effect
                    && let Err(full) = self.ways.accounts.admit(delivery, data, *at)
                {
                    self.refuse_delivery(rules, sent_by.as_deref(), delivery, *at, full);
                    continue;
                }
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
            for mut message in republished {
                message.retain = message.retain && self.after.may_retain(&message);
                if message.retain {
                    batch.effects.push(Effect::Retain(message.clone()));
                }
                self.ways.exits.take_republished(&message, &mut batch.effects);
                self.after.stage(&message, &mut batch.effects);
                self.outgoing.push(message);
            }
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
        let failure = ("upsert", &**table, message);
        self.tell(rules, rule, upsert.publish.as_ref(), upsert.at, FaultCode::TableFull, failure);
    }

    /// The delivery has no room for a record: counted, and told to the rule's ON ERROR.
    fn refuse_delivery(
        &mut self,
        rules: &Rules,
        sent_by: Option<&SentBy>,
        delivery: &str,
        at: Timestamp,
        full: DeliveryFull,
    ) {
        // A rule that is gone counts nothing and has no ON ERROR.
        let Some(sent_by) = sent_by else { return };
        let Some(rule) = rules.place(&sent_by.rule) else { return };
        let delivery = delivery::delivery_of(delivery);
        let message =
            format!("{} bytes wait in delivery '{delivery}', as many as may", full.bytes_max);
        let failure = ("deliver", delivery, message);
        self.tell(rules, rule, sent_by.publish.as_ref(), at, FaultCode::DeliveryFull, failure);
    }

    /// Counts a failure (action, target, message) of `rule`, and runs its ON ERROR over `publish`.
    fn tell(
        &mut self,
        rules: &Rules,
        rule: RuleIndex,
        publish: Option<&Publish>,
        at: Timestamp,
        code: FaultCode,
        (action, target, message): (&str, &str, String),
    ) {
        let outcome = &mut self.pass.outcome;
        if let Some(publish) = publish {
            let failure = ActionFailure {
                failed_action: action.to_owned(),
                failed_resource: target.to_owned(),
                error_message: message.clone(),
            };
            action::report(&rules.engine, &rules.meter, rule, publish, at, &[failure], outcome);
        }
        outcome.faults.push(Fault { rule, code, message });
        self.pass.finish(rules, at);
    }
}

impl<A: AfterCommit> Stage for GatewayStage<A> {
    type Work = Work;

    fn meter(&self) -> Arc<stream::Meter> {
        Arc::clone(&self.rules.meter)
    }

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
            Work::Put(put) => batch.effects.push(Effect::Put(put)),
            Work::Deliver(put) => batch.effects.extend(put.admit(&self.episodes.ways.accounts)),
            Work::Settle => self.settles = true,
            Work::Replace(rules) => self.replace(at, rules, batch),
            Work::View { rule, limit, answer } => {
                let keys =
                    self.rules.place(&rule).map(|rule| self.episodes.states.view(rule, limit));
                // Whoever asked may have gone away.
                drop(answer.send(keys.unwrap_or_default()));
            }
        }
    }

    fn tell_time(&mut self, present: Timestamp) {
        self.episodes.states.tell_time(present);
    }

    fn is_timeless(&self, work: &Work) -> bool {
        match work {
            Work::Messages { observations, .. } => observations.is_empty(),
            Work::Put(_)
            | Work::Deliver(_)
            | Work::Forget { .. }
            | Work::View { .. }
            | Work::Settle => true,
            Work::Replace(_) => false,
        }
    }

    fn advance(&mut self, now: Timestamp, batch: &mut Batch) -> Progress {
        let Episodes { history, recollections, .. } = &mut self.episodes;
        // First, because what it gives may be watched: the hold table runs its own timers before each.
        let progress = history.advance(now, recollections);
        self.episodes.settle(&self.rules, batch);
        if progress == Progress::More {
            return progress;
        }
        let progress = self.episodes.states.advance(now, &mut self.episodes.transitions);
        self.episodes.settle(&self.rules, batch);
        progress
    }

    fn leap(&mut self, leap: Leap, batch: &mut Batch) {
        // Also where no timer is due: the tables note how far they have come.
        while self.advance(leap.from, batch) == Progress::More {}
        self.episodes.history.leap(leap);
        self.episodes.states.leap(leap);
    }

    fn seal(&mut self, batch: &mut Batch) {
        let Episodes { states, history, .. } = &mut self.episodes;
        let changed = |part| move |change: KeyChange| StateChange::Key { part, change };
        let part = Part::Hold;
        batch.states.extend(states.take_emptied().map(|rule| StateChange::Empty { part, rule }));
        states.take_changes(&mut self.changes);
        batch.states.extend(self.changes.drain(..).map(changed(Part::Hold)));
        history.take_changes(&mut self.changes);
        batch.states.extend(self.changes.drain(..).map(changed(Part::History)));
        self.changes.shrink_to(STATE_CHANGES_KEPT);
        self.rules.tallies.show_state(states, history);
        // What a subscriber has acknowledged already need not be written any more.
        batch.effects.retain(|effect| !matches!(effect, Effect::Keep(parcel) if parcel.is_done()));
        if mem::take(&mut self.settles) || !batch.is_empty() {
            self.episodes.after.settle(batch);
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let Episodes { states, history, transitions, recollections, .. } = &self.episodes;
        // What restoring the tables gave and changed is to be on disk before anything depends on it.
        let has_changes = states.has_changes() || history.has_changes();
        if transitions.is_empty() && recollections.is_empty() && !has_changes {
            states.next_deadline().into_iter().chain(history.next_deadline()).min()
        } else {
            Some(Timestamp::EPOCH)
        }
    }

    fn committed(&mut self, batch: &Batch) {
        self.episodes.kept.mirror.commit(&batch.effects);
        let mut removals = Vec::new();
        for effect in &batch.effects {
            match effect {
                Effect::Keep(parcel) => removals.extend(parcel.end_writing()),
                Effect::Retain(publish) => self.episodes.after.retained(publish),
                _ => {}
            }
        }
        if !removals.is_empty() {
            self.episodes.after.remove(&mut removals);
        }
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

/// The same, of the rule at another place.
fn of_rule(observed: Observed, rule: RuleIndex) -> Observed {
    match observed {
        Observed::Condition(seen) => Observed::Condition(Observation { rule, ..seen }),
        Observed::Contribution(added) => Observed::Contribution(Contribution { rule, ..added }),
        Observed::Message(recall) => Observed::Message(Recall { rule, ..recall }),
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
