//! The gateway's two halves in virtual time: what a rule set does, without sockets and disk.
//!
//! A [`Rehearsal`] runs the [`Pass`] of a connection and the [`GatewayStage`] of the journal's writer,
//! the very code that runs in production, over messages and times that the caller gives. What would be
//! committed comes back as [`Seen`]; the rows of the tables are kept as the disk would keep them, so
//! that a restart goes the way of a real one.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use parking_lot::Mutex;

use crate::checkpoint::Part;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::RuleIndex;
use crate::engine::history::HistoryTable;
use crate::engine::hold::Progress;
use crate::engine::hold::Transitions;
use crate::engine::rows::KeyChange;
use crate::engine::rows::WaitingChange;
use crate::engine::rows::WaitingRow;
use crate::engine::stateful::StateTable;
use crate::journal::Batch;
use crate::journal::Effect;
use crate::journal::HitRecord;
use crate::journal::Stage;
use crate::journal::StateChange;
use crate::latest::Kept;
use crate::limits::SCENARIO_EVENTS_MAX as SEEN_MAX;
use crate::publish::Publish;
use crate::rule::Rule;
use crate::stream::NewRecord;

use super::pass::Pass;
use super::rules::Rules;
use super::rules::RunningRules;
use super::stage::AfterCommit;
use super::stage::GatewayStage;
use super::stage::Remembered;
use super::stage::Work;
use super::table_bounds;
use super::virtual_streams::Arrived;
use super::virtual_streams::VirtualStreams;

/// Something that a rule set did.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A line of the hit log.
    Hit(HitRecord),
    /// A record of a stream or delivery, or a call of a hook.
    Effect(Effect),
    /// A message for the subscribers, after it has passed the rules again.
    Republished(Publish),
    /// A fault of a rule, by its code.
    Fault {
        /// When.
        at: Timestamp,
        /// Rule name.
        rule: Arc<str>,
        /// As in the counters.
        code: &'static str,
    },
    /// A message whose WHERE or WHEN was neither true nor false.
    Unknown {
        /// When.
        at: Timestamp,
        /// Rule name.
        rule: Arc<str>,
    },
}

/// What went to subscribers with the last commit; written by the stage, emptied after each commit.
#[derive(Clone, Default)]
struct Outgoing(Arc<Mutex<Vec<Publish>>>);

impl AfterCommit for Outgoing {
    fn publish(&mut self, message: Publish) {
        self.0.lock().push(message);
    }

    fn hits_logged(&mut self) {}
}

/// What a rule's counters said when they were last read.
#[derive(Clone, Debug, Default)]
struct Counted {
    unknown: u64,
    faults: BTreeMap<&'static str, u64>,
}

/// The rows of one table.
#[derive(Default)]
struct Rows {
    states: BTreeMap<(Arc<str>, CompactString), Bytes>,
    /// Messages that wait in event time, by rule, key and turn.
    waiting: BTreeMap<(Arc<str>, CompactString, u64), Bytes>,
}

impl Rows {
    fn write(&mut self, change: KeyChange) {
        for WaitingChange { turn, message } in change.waiting {
            let row = (Arc::clone(&change.rule), change.key.clone(), turn);
            match message {
                Some(message) => self.waiting.insert(row, message),
                None => self.waiting.remove(&row),
            };
        }
        let row = (change.rule, change.key);
        match change.state {
            Some(state) => self.states.insert(row, state),
            None => self.states.remove(&row),
        };
    }

    fn states(&self) -> impl Iterator<Item = (&str, &str, &[u8])> {
        self.states.iter().map(|((rule, key), state)| (&**rule, key.as_str(), &state[..]))
    }

    fn waiting(&self) -> impl Iterator<Item = WaitingRow<'_>> {
        let rows = self.waiting.iter();
        rows.map(|((rule, key, turn), message)| WaitingRow { rule, key, turn: *turn, message })
    }
}

/// A rule set under virtual time. Times must not go back; an earlier one is taken as the latest.
pub struct Rehearsal {
    rules: Arc<Rules>,
    pass: Pass,
    stage: GatewayStage<Outgoing>,
    outgoing: Outgoing,
    /// What the disk would have.
    rows: BTreeMap<Part, Rows>,
    counted: Vec<Counted>,
    /// What rules write for others to read.
    streams: VirtualStreams,
    batch: Batch,
    now: Timestamp,
    seen: Vec<Seen>,
}

impl Rehearsal {
    /// Checked rules at time `now`, with nothing remembered.
    pub fn new(rules: Vec<Arc<Rule>>, config: &Config, now: Timestamp) -> Self {
        let kept = Kept::new(table_bounds(config));
        let engine = Engine::new(rules, &config.account_id);
        let view = kept.mirror.view(engine.latest_tables(), None);
        // Without a disk there is nothing that cannot be read.
        let engine = engine.with_latest(Arc::new(view.unwrap_or_default()));
        let rules = Arc::new(Rules::new(engine, config, None));
        let mut states = StateTable::new(rules.stateful());
        let mut transitions = Transitions::default();
        states.list_rows(rules.stateful(), now, &mut transitions);
        let history = HistoryTable::new(rules.remembering());
        let remembered = Remembered { states, history, kept, transitions };
        let outgoing = Outgoing::default();
        let stage = stage_over(&rules, remembered, &outgoing);
        Rehearsal {
            pass: Pass::default(),
            counted: vec![Counted::default(); rules.list().len()],
            streams: streams_of(&rules, config, VirtualStreams::default()),
            rules,
            stage,
            outgoing,
            rows: BTreeMap::new(),
            batch: Batch::default(),
            now,
            seen: Vec::new(),
        }
    }

    /// Runs the timers due by the message's time, then the message.
    pub fn publish(&mut self, publish: &Publish) {
        self.advance(publish.received_at);
        self.pass.take(&self.rules, publish);
        self.submit();
        self.read_streams();
    }

    /// Runs the timers due by `at`; then somebody puts a record into a stream.
    pub fn put(&mut self, stream: &str, partition_key: &str, data: &[u8], at: Timestamp) {
        self.advance(at);
        let record = NewRecord { partition_key, hash_key: None, data, at: self.now, hops: 0 };
        self.streams.write(&Arc::from(stream), &record);
        self.read_streams();
    }

    /// Has the stage apply what the pass holds, and commits.
    fn submit(&mut self) {
        if !self.pass.is_settled() {
            let work = Work::Messages {
                rules: Arc::clone(&self.rules),
                outcome: self.pass.take_outcome(),
                observations: mem::take(&mut self.pass.observations),
            };
            self.stage.apply(self.now, work, &mut self.batch);
        }
        self.commit();
    }

    /// Has the rules that read streams judge what was written to them, until nothing is left.
    fn read_streams(&mut self) {
        while self.seen.len() <= SEEN_MAX
            && let Some(arrived) = self.streams.read()
        {
            for arrived in arrived {
                match arrived {
                    Arrived::Judged { rules, publish } => {
                        let plan = self.rules.plan_of(rules.to_vec());
                        self.pass.take_record(&self.rules, &plan, &publish);
                    }
                    Arrived::Cut(faults) => {
                        self.pass.outcome.faults.extend(faults);
                        self.pass.finish(&self.rules, self.now);
                    }
                }
            }
            self.submit();
        }
    }

    /// Runs the timers due by `to`, each at its own time, as the writer does that sleeps until the next.
    /// It stops early where more than [`SCENARIO_EVENTS_MAX`](crate::limits::SCENARIO_EVENTS_MAX) things have been seen and not been taken.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some(due) = self.stage.next_deadline().filter(|due| *due <= to) {
            if self.seen.len() > SEEN_MAX {
                break;
            }
            self.now = self.now.max(due);
            while self.stage.advance(self.now, &mut self.batch) == Progress::More {}
            self.commit();
            self.read_streams();
        }
        self.now = self.now.max(to);
    }

    /// Ends at `at`, as `kill -9` does, and is there again at `back` with what was on disk.
    pub fn restart(&mut self, at: Timestamp, back: Timestamp) {
        self.advance(at);
        let (alive_until, now) = (self.now, back.max(self.now));
        let mut states = StateTable::new(self.rules.stateful());
        let mut transitions = Transitions::default();
        let rows = self.rows.entry(Part::Hold).or_default();
        states.restore(rows.states(), rows.waiting(), alive_until, now, &mut transitions);
        states.list_rows(self.rules.stateful(), now, &mut transitions);
        let mut history = HistoryTable::new(self.rules.remembering());
        let rows = self.rows.entry(Part::History).or_default();
        history.restore(rows.states(), rows.waiting(), alive_until, now);
        // The disk has the tables as they were committed, and here each step is.
        let kept = self.stage.kept().clone();
        let remembered = Remembered { states, history, kept, transitions };
        self.stage = stage_over(&self.rules, remembered, &self.outgoing);
        self.pass = Pass::default();
        self.advance(now);
        self.commit();
        self.read_streams();
    }

    /// Another rule set takes over at `at`, as a reload does: the timers due by then run under the old
    /// one, and conditions that are the same go on.
    pub fn reload(&mut self, rules: Vec<Arc<Rule>>, config: &Config, at: Timestamp) {
        self.advance(at);
        let engine = Engine::new(rules, &config.account_id);
        let rules = Arc::new(Rules::new(engine, config, Some(&self.rules)));
        self.stage.apply(self.now, Work::Replace(Arc::clone(&rules)), &mut self.batch);
        self.commit();
        self.streams = streams_of(&rules, config, mem::take(&mut self.streams));
        self.rules = rules;
        self.read_streams();
        // Rules of the same name go on with their counters.
        let tallies = &self.rules.tallies;
        let counted = (0..).zip(self.rules.list()).map(|(place, _)| {
            let tally = tallies.rule(RuleIndex(place));
            Counted { unknown: tally.unknown.get(), faults: tally.faults_by_code().collect() }
        });
        self.counted = counted.collect();
    }

    /// What has been seen since this was last asked, in the order in which it happened.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        mem::take(&mut self.seen)
    }

    fn commit(&mut self) {
        self.stage.seal(&mut self.batch);
        for change in self.batch.states.drain(..) {
            match change {
                StateChange::Key { part, change } => {
                    self.rows.entry(part).or_default().write(change);
                }
                StateChange::Empty { part, rule } => {
                    let rows = self.rows.entry(part).or_default();
                    rows.states.retain(|(of, _), _| *of != rule);
                }
            }
        }
        self.stage.committed(&self.batch);
        self.seen.extend(self.batch.hits.drain(..).map(Seen::Hit));
        for effect in self.batch.effects.drain(..) {
            match &effect {
                // A retained message is seen as the message that it is.
                Effect::Retain(_) => continue,
                Effect::Stream { stream, partition_key, hash_key, data, at, hops } => {
                    let (hash_key, at, hops) = (*hash_key, *at, *hops);
                    let record = NewRecord { partition_key, hash_key, data, at, hops };
                    self.streams.write(stream, &record);
                }
                _ => {}
            }
            self.seen.push(Seen::Effect(effect));
        }
        self.seen.extend(self.outgoing.0.lock().drain(..).map(Seen::Republished));
        self.count();
    }

    /// Turns what the counters grew by into what was seen.
    fn count(&mut self) {
        let tallies = self.rules.counted();
        let at = self.now;
        for ((place, rule), counted) in (0..).zip(self.rules.list()).zip(&mut self.counted) {
            let tally = tallies.rule(RuleIndex(place));
            for _ in counted.unknown..tally.unknown.get() {
                self.seen.push(Seen::Unknown { at, rule: Arc::clone(rule.name()) });
            }
            counted.unknown = tally.unknown.get();
            if tally.faults.get() == counted.faults.values().sum::<u64>() {
                continue;
            }
            for (code, count) in tally.faults_by_code() {
                let before = counted.faults.insert(code, count).unwrap_or(0);
                for _ in before..count {
                    self.seen.push(Seen::Fault { at, rule: Arc::clone(rule.name()), code });
                }
            }
        }
    }
}

fn stage_over(
    rules: &Arc<Rules>,
    remembered: Remembered,
    outgoing: &Outgoing,
) -> GatewayStage<Outgoing> {
    let running = Arc::new(RunningRules::new(Arc::clone(rules)));
    GatewayStage::new(running, remembered, outgoing.clone())
}

/// The streams that `rules` read, going on from those `before`.
fn streams_of(rules: &Rules, config: &Config, before: VirtualStreams) -> VirtualStreams {
    let shards_of = |name: &str| config.streams.get(name).cloned().unwrap_or_default().shards;
    VirtualStreams::new(rules.list(), shards_of, before)
}
