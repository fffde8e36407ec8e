//! The gateway's decisions in virtual time: the engine and the hold table, with the times of the
//! recorded lines for a clock, and nobody to carry anything out.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::io::Write;
use std::mem;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::record;
use super::summary::Summary;
use crate::clock::Timestamp;
use crate::config::StreamConfig;
use crate::engine::Engine;
use crate::engine::Evaluation;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Hit;
use crate::engine::HitEvent;
use crate::engine::Observed;
use crate::engine::Plan;
use crate::engine::PreparedAction;
use crate::engine::RuleIndex;
use crate::engine::history::HistoryTable;
use crate::engine::history::Recollections;
use crate::engine::hold::Progress;
use crate::engine::hold::Transitions;
use crate::engine::stateful::StateTable;
use crate::gateway::Arrived;
use crate::gateway::VirtualStreams;
use crate::latest::Bounds;
use crate::latest::Kept;
use crate::limits::HOLD_KEYS_MAX;
use crate::limits::TABLE_BYTES_MAX;
use crate::limits::TABLE_KEYS_MAX;
use crate::limits::TOPIC_CACHE_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::recording::MalformedLine;
use crate::recording::RecordedPublish;
use crate::recording::read_line;
use crate::stream::NewRecord;
use crate::topic::TopicName;

/// Messages after which the table may forget which keys have changed.
const FORGET_EVERY: u64 = 4096;

/// What has come of the messages so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) matches: u64,
    pub(super) firing: u64,
    pub(super) cleared: u64,
    pub(super) windows: u64,
    /// How often, and what the first one said.
    pub(super) faults: BTreeMap<(RuleIndex, FaultCode), (u64, String)>,
}

impl Tally {
    fn count_fault(&mut self, fault: Fault) {
        let seen = self.faults.entry((fault.rule, fault.code)).or_insert((0, fault.message));
        seen.0 += 1;
    }
}

/// Writes hits down, and keeps what their actions put for other rules.
#[derive(Debug)]
struct Scribe {
    tally: Tally,
    kept: Kept,
    streams: VirtualStreams,
    /// Where a table is wanted: filled instead of writing records.
    summary: Option<Summary>,
    line: Vec<u8>,
}

impl Scribe {
    fn tell(&mut self, engine: &Engine, hit: Hit, answer: &mut dyn Write) -> io::Result<()> {
        match hit.event {
            HitEvent::Match => self.tally.matches += 1,
            HitEvent::Firing(_) => self.tally.firing += 1,
            HitEvent::Cleared(..) => self.tally.cleared += 1,
            HitEvent::Window(_) => self.tally.windows += 1,
        }
        self.line.clear();
        match &mut self.summary {
            Some(summary) => summary.add(&hit),
            None => record::append(&mut self.line, name(engine, hit.rule), &hit),
        }
        // Nothing else is carried out, but what could not have been is told.
        let (at, hops) = (hit.decided_at, hit.publish.hops.saturating_add(1));
        for action in hit.actions {
            match action {
                Ok(PreparedAction::Stream { stream, key, hash_key, records }) => {
                    for data in &records {
                        let record = NewRecord { partition_key: &key, hash_key, data, at, hops };
                        self.streams.write(&stream, &record);
                    }
                }
                Ok(PreparedAction::Upsert { table, key, value }) => {
                    let admitted = self.kept.keys.admit(&table, &key, value.len());
                    match admitted {
                        Ok(()) => self.kept.mirror.put(&table, &key, &value),
                        Err(_) => self.tally.count_fault(Fault {
                            rule: hit.rule,
                            code: FaultCode::TableFull,
                            message: format!("table '{table}' is full"),
                        }),
                    }
                }
                Ok(_) => {}
                Err(fault) => self.tally.count_fault(fault),
            }
        }
        answer.write_all(&self.line)
    }
}

/// Rules over a recording.
pub(super) struct Simulation {
    engine: Engine,
    table: StateTable,
    history: HistoryTable,
    scribe: Scribe,
    /// Topics of one recording are few and come again; all are forgotten when there are too many.
    plans: HashMap<TopicName, Arc<Plan>, RandomState>,
    /// By the rules that read a stream together.
    stream_plans: HashMap<Arc<[RuleIndex]>, Arc<Plan>, RandomState>,
    origins: HashMap<Arc<str>, Arc<Origin>, RandomState>,
    anonymous: Arc<Origin>,
    /// Whether a rule reads the tables that actions write.
    reads_tables: bool,
    evaluation: Evaluation,
    transitions: Transitions,
    recollections: Recollections,
}

impl Simulation {
    /// Nothing has happened yet.
    pub(super) fn new(engine: Engine) -> Self {
        let bounds = Bounds { keys_max: TABLE_KEYS_MAX, bytes_max: TABLE_BYTES_MAX };
        let kept = Kept::new(bounds);
        let engine_tables = engine.latest_tables();
        let view = kept.mirror.view(engine_tables.clone(), None);
        // Without a disk there is nothing that cannot be read.
        let engine = engine.with_latest(Arc::new(view.unwrap_or_default()));
        let shards_of = |_: &str| StreamConfig::default().shards;
        let streams = VirtualStreams::new(engine.rules(), shards_of, VirtualStreams::default());
        let tally = Tally::default();
        Simulation {
            table: StateTable::new(engine.stateful(HOLD_KEYS_MAX)),
            history: HistoryTable::new(engine.remembering(HOLD_KEYS_MAX)),
            engine,
            scribe: Scribe { tally, kept, streams, summary: None, line: Vec::new() },
            plans: HashMap::default(),
            stream_plans: HashMap::default(),
            origins: HashMap::default(),
            anonymous: Origin::internal(),
            reads_tables: !engine_tables.is_empty(),
            evaluation: Evaluation::default(),
            transitions: Transitions::default(),
            recollections: Recollections::default(),
        }
    }

    /// Hits go into a table instead of being written as records.
    pub(super) fn add_up(&mut self) {
        self.scribe.summary = Some(Summary::default());
    }

    /// Runs the timers due by the time of a line, then the line. Answers what is wrong with a line that
    /// turns out to be none: it has taken no part.
    pub(super) fn step(
        &mut self,
        recorded: RecordedPublish,
        answer: &mut dyn Write,
    ) -> io::Result<Result<(), MalformedLine>> {
        let plan = self.plan(&recorded.topic);
        let (publish, is_evaluated) = match self.glance(&plan, recorded) {
            Ok(seen) => seen,
            Err(malformed) => return Ok(Err(malformed)),
        };
        if self.scribe.tally.messages == 0 {
            // The recording begins: what is listed is watched from here on.
            let rules = self.engine.stateful(HOLD_KEYS_MAX);
            self.table.list_rows(rules, publish.received_at, &mut self.transitions);
        }
        self.advance(publish.received_at, answer)?;
        self.scribe.tally.messages += 1;
        if !is_evaluated {
            self.engine.evaluate(&plan, &publish, &mut self.evaluation);
        }
        self.take_evaluation(answer)?;
        self.tell(answer)?;
        self.read_streams(answer)?;
        if self.scribe.tally.messages.is_multiple_of(FORGET_EVERY) {
            self.table.forget_changes();
            self.history.forget_changes();
        }
        Ok(Ok(()))
    }

    /// Reads a line that has not been read yet. Where nothing comes before it, and its rules read its payload
    /// anyway, they tell whether that is JSON: then the line is evaluated already.
    fn glance(
        &mut self,
        plan: &Plan,
        mut recorded: RecordedPublish,
    ) -> Result<(Publish, bool), MalformedLine> {
        let (t, line) = (recorded.t, recorded.line);
        let is_first = self.scribe.tally.messages == 0 || self.reads_tables;
        let comes_next = !is_first && self.next_deadline().is_none_or(|due| due > t);
        let unread = match recorded.unread.take() {
            Some(unread) if comes_next && plan.reads_json() => unread,
            Some(unread) => return Ok((self.publish(read_line(&unread, line)?), false)),
            None => return Ok((self.publish(recorded), false)),
        };
        let publish = self.publish(recorded);
        self.engine.evaluate(plan, &publish, &mut self.evaluation);
        if self.evaluation.faults.is_empty() {
            return Ok((publish, true));
        }
        self.evaluation.clear();
        Ok((self.publish(read_line(&unread, line)?), false))
    }

    fn plan(&mut self, topic: &TopicName) -> Arc<Plan> {
        if self.plans.len() >= TOPIC_CACHE_MAX && !self.plans.contains_key(topic) {
            self.plans.clear();
        }
        match self.plans.get(topic) {
            Some(plan) => Arc::clone(plan),
            None => {
                let plan = self.engine.plan(topic);
                Arc::clone(self.plans.entry(topic.clone()).or_insert(plan))
            }
        }
    }

    /// When the tables have something to do next.
    fn next_deadline(&self) -> Option<Timestamp> {
        self.history.next_deadline().into_iter().chain(self.table.next_deadline()).min()
    }

    /// Has the rules that read streams judge what was written to them, until nothing is left: the hop
    /// limit ends it.
    fn read_streams(&mut self, answer: &mut dyn Write) -> io::Result<()> {
        while let Some(arrived) = self.scribe.streams.read() {
            for arrived in arrived {
                match arrived {
                    Arrived::Judged { rules, publish } => {
                        let plans = &mut self.stream_plans;
                        let plan = plans
                            .entry(rules)
                            .or_insert_with_key(|rules| Arc::new(self.engine.plan_of(rules)));
                        let plan = Arc::clone(plan);
                        self.evaluate(&plan, &publish, answer)?;
                    }
                    Arrived::Cut(faults) => {
                        faults.into_iter().for_each(|fault| self.scribe.tally.count_fault(fault));
                    }
                }
            }
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        plan: &Plan,
        publish: &Publish,
        answer: &mut dyn Write,
    ) -> io::Result<()> {
        self.engine.evaluate(plan, publish, &mut self.evaluation);
        self.take_evaluation(answer)?;
        self.tell(answer)
    }

    /// Tells what was decided, and gives the tables what is for them.
    fn take_evaluation(&mut self, answer: &mut dyn Write) -> io::Result<()> {
        for hit in self.evaluation.hits.drain(..) {
            self.scribe.tell(&self.engine, hit, answer)?;
        }
        for fault in self.evaluation.faults.drain(..) {
            self.scribe.tally.count_fault(fault);
        }
        for observed in self.evaluation.observations.drain(..) {
            match observed {
                Observed::Condition(seen) => self.table.observe(seen, &mut self.transitions),
                Observed::Contribution(added) => self.table.gather(added, &mut self.transitions),
                Observed::Message(recall) => self.history.observe(recall, &mut self.recollections),
            }
        }
        self.evaluation.unknown.clear();
        self.evaluation.unknown_together.clear();
        Ok(())
    }

    /// Runs the timers due by `to`, after the last line.
    pub(super) fn end(&mut self, to: Timestamp, answer: &mut dyn Write) -> io::Result<()> {
        self.advance(to, answer)
    }

    /// Writes the table, where one is wanted; the recording ended at `end`.
    pub(super) fn write_table(&mut self, end: Timestamp, answer: &mut dyn Write) -> io::Result<()> {
        let Some(summary) = self.scribe.summary.take() else { return Ok(()) };
        let troubles = |rule| {
            let unknown = self.table.hold_counts(rule).map_or(0, |counts| counts.unknown);
            let faults = self.scribe.tally.faults.iter().filter(|((of, _), _)| *of == rule);
            (unknown, faults.map(|(_, (count, _))| count).sum())
        };
        summary.write(&self.engine, end, troubles, answer)
    }

    /// What has come of the lines so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.scribe.tally
    }

    /// A rule's name.
    pub(super) fn name(&self, rule: RuleIndex) -> &str {
        name(&self.engine, rule)
    }

    /// How many messages left the condition of a rule UNKNOWN.
    pub(super) fn unknown(&self) -> impl Iterator<Item = (&str, u64)> {
        (0_u32..).zip(self.engine.rules()).filter_map(|(place, rule)| {
            let counts = self.table.hold_counts(RuleIndex(place))?;
            (counts.unknown > 0).then_some((&**rule.name(), counts.unknown))
        })
    }

    fn advance(&mut self, now: Timestamp, answer: &mut dyn Write) -> io::Result<()> {
        if self.next_deadline().is_none_or(|due| due > now) {
            return Ok(());
        }
        // As in the gateway's stage: what the histories give may be watched.
        loop {
            let progress = self.history.advance(now, &mut self.recollections);
            self.tell(answer)?;
            if progress == Progress::Done {
                break;
            }
        }
        loop {
            let progress = self.table.advance(now, &mut self.transitions);
            self.tell(answer)?;
            self.read_streams(answer)?;
            if progress == Progress::Done {
                return Ok(());
            }
        }
    }

    /// Writes out what the tables have said.
    fn tell(&mut self, answer: &mut dyn Write) -> io::Result<()> {
        if self.recollections.is_empty() && self.transitions.is_empty() {
            return Ok(());
        }
        let Recollections { refused, faults, .. } = &mut self.recollections;
        for fault in faults.drain(..).chain(refused.drain(..).map(|refused| refused.fault)) {
            self.scribe.tally.count_fault(fault);
        }
        for recalled in mem::take(&mut self.recollections.recalled) {
            self.engine.judge(&recalled, &mut self.evaluation);
            self.take_evaluation(answer)?;
        }
        let passed_over = self.transitions.passed_over.drain(..).map(|record| record.fault);
        for fault in self.transitions.faults.drain(..).chain(passed_over) {
            self.scribe.tally.count_fault(fault);
        }
        for episode in self.transitions.episodes.drain(..) {
            match self.engine.complete(&episode) {
                Ok(hit) => self.scribe.tell(&self.engine, hit, answer)?,
                Err(fault) => self.scribe.tally.count_fault(fault),
            }
        }
        for closed in self.transitions.windows.drain(..) {
            match self.engine.complete_window(&closed) {
                Ok(hit) => hit.map_or(Ok(()), |hit| self.scribe.tell(&self.engine, hit, answer))?,
                Err(fault) => self.scribe.tally.count_fault(fault),
            }
        }
        Ok(())
    }

    fn publish(&mut self, recorded: RecordedPublish) -> Publish {
        let origin = match recorded.client_id {
            None => Arc::clone(&self.anonymous),
            Some(client_id) => {
                if self.origins.len() >= TOPIC_CACHE_MAX && !self.origins.contains_key(&client_id) {
                    self.origins.clear();
                }
                let known = self.origins.entry(client_id).or_insert_with_key(|client_id| {
                    let client_id = Some(Arc::clone(client_id));
                    Arc::new(Origin { client_id, principal: None, source_ip: None, record: None })
                });
                Arc::clone(known)
            }
        };
        Publish {
            topic: recorded.topic,
            payload: recorded.payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            received_at: recorded.t,
            origin,
            properties: None,
            hops: 0,
        }
    }
}

fn name(engine: &Engine, rule: RuleIndex) -> &str {
    let place = usize::try_from(rule.0).expect("usize has at least 32 bits");
    let rule = engine.rules().get(place).expect("an engine speaks of its own rules");
    rule.name()
}
