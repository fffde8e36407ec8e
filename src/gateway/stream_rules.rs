//! Rules that read streams: the stateless half over records instead of publishes.
//!
//! [`StreamRules`] is one task. It waits for records (the journal rings after each commit that adds some)
//! or for another rule set, and runs a turn of each stream that has something: on a blocking thread the
//! records behind the checkpoints are read and judged, a bounded number at a time; what they caused
//! goes to the journal's queue together with the checkpoints moved behind them, and the turn ends when
//! that is committed. So a record's outputs, the state it changed and the checkpoint are on disk together
//! or not at all, a queue that is full slows the reading and not the devices, and a stream waits for
//! nobody but itself.
//!
//! Rules that stand at the same place of a stream read it together: a record is decoded once for all of
//! them. One that begins later, or has been disabled for a while, reads alone until it has caught up.
//!
//! A panic while a record is judged costs that record, of the rule that panicked: it is counted, logged and
//! handed to the rule's ON ERROR, and the checkpoint moves on. Tried again, it would panic again.
//!
//! A turn begins with the rule set whose takeover is on disk, and loads the places when that is
//! another one than in the turn before. A batch that comes to the journal's stage behind a takeover is
//! accepted as one of a connection is; the checkpoint of a rule that is gone or begins anew by then has
//! another id and is not moved.

use std::collections::HashMap;
use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::RuleIndex;
use crate::journal::AckSlot;
use crate::journal::Effect;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::limits::HOPS_MAX;
use crate::limits::STREAM_TURN_BYTES_MAX;
use crate::limits::STREAM_TURN_OUTPUT_BYTES_MAX;
use crate::limits::STREAM_TURN_RECORDS_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::publish::StreamRecord;
use crate::retry::Backoff;
use crate::retry::describe;
use crate::stream;
use crate::stream::Arrivals;
use crate::stream::Consumer;
use crate::stream::DamagedBlock;
use crate::stream::Ends;
use crate::stream::Place;
use crate::stream::Record;
use crate::stream::SequenceNumber;
use crate::stream::StreamError;
use crate::topic::TopicName;

use super::pass::Pass;
use super::plans::SharedPlan;
use super::rules::Rules;
use super::rules::RunningRules;
use super::stage::Work;
use super::tally::Tallies;

/// Pauses after a stream could not be read.
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(30) };

/// What the task works with.
pub(super) struct StreamSetup {
    pub(super) running: Arc<RunningRules>,
    pub(super) journal: Submitter<Work>,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) reader: stream::Reader,
    pub(super) clock: Clock,
}

struct Shared {
    journal: Submitter<Work>,
    /// Read by one turn at a time, for a page.
    reader: Mutex<stream::Reader>,
    clock: Clock,
}

/// The task that reads streams for the rules.
pub(super) struct StreamRules {
    running: Arc<RunningRules>,
    arrivals: Arc<Arrivals>,
    shared: Arc<Shared>,
    /// Streams that are read and that no turn works on.
    idle: HashMap<Arc<str>, Reading>,
    /// Streams that a turn works on.
    busy: HashSet<Arc<str>>,
    /// Streams that have something to read.
    due: HashSet<Arc<str>>,
    turns: JoinSet<(Reading, Next)>,
}

/// What comes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing is left to read.
    Wait,
    /// There is more.
    GoOn,
    /// The journal takes nothing more.
    End,
}

impl StreamRules {
    /// A task that has to be [run](StreamRules::run).
    pub(super) fn new(setup: StreamSetup) -> StreamRules {
        let StreamSetup { running, journal, arrivals, reader, clock } = setup;
        StreamRules {
            running,
            arrivals,
            shared: Arc::new(Shared { journal, reader: Mutex::new(reader), clock }),
            idle: HashMap::new(),
            busy: HashSet::new(),
            due: HashSet::new(),
            turns: JoinSet::new(),
        }
    }

    /// Reads until `stopped`, then lets the turns end.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let arrivals = Arc::clone(&self.arrivals);
        let mut settled = self.running.settled();
        let mut rules = Arc::clone(&settled.borrow_and_update());
        arrivals.watch(rules.read_streams());
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                changed = settled.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    rules = Arc::clone(&settled.borrow_and_update());
                    arrivals.watch(rules.read_streams());
                }
                streams = arrivals.take() => self.due.extend(streams),
                Some(ended) = self.turns.join_next() => {
                    if self.take_back(ended) == Next::End {
                        break;
                    }
                }
            }
            self.start_turns(&rules);
        }
        while self.turns.join_next().await.is_some() {}
    }

    /// Takes the stream of a turn back.
    fn take_back(&mut self, ended: Result<(Reading, Next), JoinError>) -> Next {
        let (reading, next) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // It stays busy: what it had submitted may still be committed, so nobody knows where
                // it stands.
                let error = describe(&error);
                tracing::error!(error, "the rules read a stream no further; restart the gateway");
                return Next::Wait;
            }
        };
        let stream = Arc::clone(&reading.stream);
        self.busy.remove(&stream);
        if next == Next::GoOn {
            self.due.insert(Arc::clone(&stream));
        }
        if !reading.groups.is_empty() {
            self.idle.insert(stream, reading);
        }
        next
    }

    fn start_turns(&mut self, rules: &Arc<Rules>) {
        let ready: Vec<Arc<str>> = self.due.difference(&self.busy).cloned().collect();
        for stream in ready {
            self.due.remove(&stream);
            let reading = self.idle.remove(&stream);
            let Some(reading) = reading.or_else(|| Reading::new(&stream)) else { continue };
            self.busy.insert(stream);
            self.turns.spawn(turn(reading, Arc::clone(rules), Arc::clone(&self.shared)));
        }
    }
}

/// A stream as it is read for the rules.
struct Reading {
    stream: Arc<str>,
    /// What its records have for a topic, in the hit log and in error documents.
    topic: TopicName,
    /// Of the rules that the groups belong to; 0 when the places must be loaded.
    generation: u64,
    /// Of the stream's shards, whose places are known.
    shape: i64,
    groups: Vec<Group>,
    pass: Pass,
    slot: Arc<AckSlot>,
    /// Of the last submission.
    ticket: u64,
    /// How often it could not be read, in a row.
    failures: u32,
}

/// Rules that stand at the same place.
struct Group {
    members: Vec<Member>,
    plan: Arc<SharedPlan>,
    not_before: Option<Timestamp>,
    places: Vec<Place>,
}

struct Member {
    rule: RuleIndex,
    consumer: Consumer,
}

/// One turn of a stream; ends when everything it has submitted is committed.
async fn turn(reading: Reading, rules: Arc<Rules>, shared: Arc<Shared>) -> (Reading, Next) {
    let (mut reading, answer) = read_and_submit(reading, &rules, &shared).await;
    match answer {
        Ok(is_cut) => {
            reading.failures = 0;
            reading.join_groups(&rules);
            (reading, if is_cut { Next::GoOn } else { Next::Wait })
        }
        Err(Interrupted::Closed) => (reading, Next::End),
        Err(Interrupted::Unreadable(error)) => {
            // Places may have been moved that are not committed.
            reading.generation = 0;
            reading.failures = reading.failures.saturating_add(1);
            let stream = &reading.stream;
            if matches!(error, StreamError::NoKey { .. }) {
                rules.meter.refuse_locked(&rules.meter.stream(stream));
            }
            let error = describe(&error);
            tracing::error!(%stream, error, "a stream cannot be read for the rules; trying again");
            tokio::select! {
                () = tokio::time::sleep(RETRY.wait(reading.failures)) => (reading, Next::GoOn),
                () = shared.journal.closed() => (reading, Next::End),
            }
        }
    }
}

/// Why a turn ended early.
#[derive(Debug)]
enum Interrupted {
    /// The journal takes nothing more.
    Closed,
    /// The stream could not be read.
    Unreadable(StreamError),
}

/// Answers whether there is more to read.
async fn read_and_submit(
    reading: Reading,
    rules: &Arc<Rules>,
    shared: &Arc<Shared>,
) -> (Reading, Result<bool, Interrupted>) {
    let setup = (Arc::clone(rules), Arc::clone(shared));
    let (mut reading, ends) =
        blocking(reading, move |reading| reading.load(&setup.0, &setup.1.reader.lock())).await;
    let ends = match ends {
        Ok(ends) => ends,
        Err(error) => return (reading, Err(Interrupted::Unreadable(error))),
    };
    let (mut is_cut, mut failed) = (false, None);
    for group in 0..reading.groups.len() {
        let (setup, ends) = ((Arc::clone(rules), Arc::clone(shared)), ends.clone());
        let judged;
        (reading, judged) =
            blocking(reading, move |reading| reading.judge(group, &ends, &setup.0, &setup.1)).await;
        match judged {
            Ok(Judged { submission, is_cut: more }) => {
                is_cut |= more;
                if let Some(submission) = submission
                    && shared.journal.submit(submission).await.is_err()
                {
                    return (reading, Err(Interrupted::Closed));
                }
            }
            // The other groups go on: they stand elsewhere.
            Err(error) => failed = Some(error),
        }
    }
    // Also when the places are loaded anew: what was submitted is to be in them.
    while reading.slot.committed() < reading.ticket {
        tokio::select! {
            () = reading.slot.changed() => {}
            () = shared.journal.closed() => return (reading, Err(Interrupted::Closed)),
        }
    }
    let answer = failed.map_or(Ok(is_cut), |error| Err(Interrupted::Unreadable(error)));
    (reading, answer)
}

/// Does `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    reading: Reading,
    work: impl FnOnce(&mut Reading) -> T + Send + 'static,
) -> (Reading, T) {
    let mut reading = reading;
    let done = tokio::task::spawn_blocking(move || {
        let answer = work(&mut reading);
        (reading, answer)
    });
    match done.await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is ending, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

/// What a group has made of a page.
struct Judged {
    submission: Option<Submission<Work>>,
    /// Whether there is more to read.
    is_cut: bool,
}

impl Reading {
    /// `None` where the name can be none of a stream.
    fn new(stream: &Arc<str>) -> Option<Reading> {
        Some(Reading {
            stream: Arc::clone(stream),
            topic: topic_of(stream)?,
            generation: 0,
            shape: 0,
            groups: Vec::new(),
            pass: Pass::default(),
            slot: Arc::default(),
            ticket: 0,
            failures: 0,
        })
    }

    /// Finds out where the rules stand if that is not known, and where the stream ends.
    fn load(&mut self, rules: &Rules, reader: &stream::Reader) -> Result<Ends, StreamError> {
        let shape = reader.shape(&self.stream)?;
        if self.generation != rules.generation || self.shape != shape {
            self.groups.clear();
            for consumer in reader.consumers(&self.stream)? {
                // A rule that is disabled keeps its place and reads nothing.
                let rule = rules.place(&consumer.name).filter(|rule| rules.reads(*rule));
                let Some(rule) = rule else { continue };
                let (not_before, places) = (consumer.not_before, consumer.places.clone());
                let plan = rules.plan_of(vec![rule]);
                self.groups.push(Group {
                    members: vec![Member { rule, consumer }],
                    plan,
                    not_before,
                    places,
                });
            }
            (self.generation, self.shape) = (rules.generation, shape);
            self.join_groups(rules);
        }
        match self.groups.first() {
            Some(group) => reader.ends(&group.places),
            None => Ok(Ends::default()),
        }
    }

    /// Makes one group of those that have met.
    fn join_groups(&mut self, rules: &Rules) {
        let mut joined: Vec<Group> = Vec::with_capacity(self.groups.len());
        for mut group in self.groups.drain(..) {
            let met = joined
                .iter_mut()
                .find(|other| other.places == group.places && other.not_before == group.not_before);
            match met {
                Some(other) => other.members.append(&mut group.members),
                None => joined.push(group),
            }
        }
        for group in joined.iter_mut().filter(|group| group.plan.plan.len() < group.members.len()) {
            group.members.sort_unstable_by_key(|member| member.rule);
            group.plan = rules.plan_of(group.members.iter().map(|member| member.rule).collect());
        }
        self.groups = joined;
    }

    /// Judges a page of the records behind a group.
    fn judge(
        &mut self,
        group: usize,
        ends: &Ends,
        rules: &Arc<Rules>,
        shared: &Shared,
    ) -> Result<Judged, StreamError> {
        let Some(group) = self.groups.get_mut(group) else {
            return Ok(Judged { submission: None, is_cut: false });
        };
        let (records_max, bytes_max) = (STREAM_TURN_RECORDS_MAX, STREAM_TURN_BYTES_MAX);
        let before = group.places.clone();
        let reader = shared.reader.lock();
        let found = reader.read_on(&mut group.places, ends, records_max, bytes_max)?;
        drop(reader);
        let now = shared.clock.now();
        if found.skipped > 0 {
            group.tell_skipped(&self.stream, found.skipped, &rules.tallies);
        }
        for block in &found.damaged {
            group.tell_damaged(&self.stream, block, &rules.tallies);
        }
        let mut behind = found.behind;
        let judge = Judge { stream: &self.stream, topic: &self.topic, rules, now };
        let mut is_cut = found.is_cut;
        let mut output_bytes = 0;
        for record in found.records {
            if output_bytes >= STREAM_TURN_OUTPUT_BYTES_MAX {
                is_cut = true;
                break;
            }
            stream::pass(&mut group.places, &record);
            behind = behind.saturating_sub(1);
            if group.not_before.is_some_and(|start| record.at < start) {
                continue;
            }
            output_bytes += judge.record(record, &group.plan, &mut self.pass);
        }
        let lag_time = if behind == 0 { Duration::ZERO } else { found.behind_time };
        for member in &group.members {
            rules.tallies.rule(member.rule).show_lag(behind, lag_time);
        }
        if group.places == before {
            return Ok(Judged { submission: None, is_cut });
        }
        let mut outcome = self.pass.take_outcome();
        for (place, _) in group.places.iter().zip(&before).filter(|(now, before)| now != before) {
            let advance = |member: &Member| Effect::Advance(member.consumer.advance(place));
            outcome.effects.extend(group.members.iter().map(advance));
        }
        let observations = mem::take(&mut self.pass.observations);
        let work = Work::Messages { rules: Arc::clone(rules), outcome, observations };
        self.ticket += 1;
        let ack = Some((Arc::clone(&self.slot), self.ticket));
        let submission = Submission { at: now, bytes: work.bytes(), work, ack };
        Ok(Judged { submission: Some(submission), is_cut })
    }
}

impl Group {
    fn tell_damaged(&self, stream: &str, damaged: &DamagedBlock, tallies: &Tallies) {
        let DamagedBlock { shard, block, records, damage } = damaged;
        for member in &self.members {
            tallies.rule(member.rule).damaged.inc_by(*records);
        }
        tracing::error!(
            stream, %shard, block, records, rules = self.members.len(), error = %damage,
            "a block of a stream cannot be read; the rules go on behind it"
        );
    }

    fn tell_skipped(&self, stream: &str, records: u64, tallies: &Tallies) {
        for Member { rule, consumer } in &self.members {
            tallies.rule(*rule).skipped.inc_by(records);
            let rule = &consumer.name;
            tracing::warn!(
                %rule, stream, records,
                "retention took records before the rule had read them; it goes on behind them"
            );
        }
    }
}

/// What the records of a page are judged with.
struct Judge<'a> {
    stream: &'a Arc<str>,
    topic: &'a TopicName,
    rules: &'a Rules,
    now: Timestamp,
}

impl Judge<'_> {
    /// Has the rules of `plan` judge a record; answers about how many bytes it caused.
    fn record(&self, record: Record, plan: &SharedPlan, pass: &mut Pass) -> usize {
        if record.hops > HOPS_MAX {
            pass.outcome.faults.extend(hops_exceeded(self.stream, plan.plan.rules()));
            pass.finish(self.rules, self.now);
            return 0;
        }
        let known = pass.outcome.effects.len();
        let sequence_number = record.sequence_number;
        let publish = to_publish(record, self.topic, self.now);
        if pass.attempt(|pass| pass.take_record(self.rules, plan, &publish)).is_err() {
            for rule in plan.plan.rules() {
                self.alone(rule, sequence_number, &publish, pass);
            }
        }
        let effects = pass.outcome.effects.get(known..).unwrap_or_default();
        effects.iter().map(Effect::payload_bytes).sum()
    }

    /// Has one rule judge a record over which the rules of its group have panicked, this one or another.
    fn alone(&self, rule: RuleIndex, at: SequenceNumber, publish: &Publish, pass: &mut Pass) {
        let plan = self.rules.plan_of(vec![rule]);
        let judged = pass.attempt(|pass| pass.take_record(self.rules, &plan, publish));
        let Err(words) = judged else { return };
        let (stream, name) = (self.stream, self.rules.list()[rule.0 as usize].name());
        tracing::error!(
            rule = %name, %stream, sequence_number = %at, error = words,
            "a rule panicked over a record; the record is passed over"
        );
        let message = format!("the rule panicked over record {at} of stream {stream}: {words}");
        let fault = Fault { rule, code: FaultCode::Panicked, message };
        let told = fault.clone();
        if pass.attempt(|pass| pass.take_refused(self.rules, "rule", told, publish)).is_err() {
            // Its ON ERROR panics too; there is nobody left to tell.
            pass.outcome.faults.push(fault);
            pass.finish(self.rules, self.now);
        }
    }
}

/// What stands for the topic of a stream's records, in the hit log and in error documents; `None` where
/// the name can be none of a stream.
pub(super) fn topic_of(stream: &str) -> Option<TopicName> {
    TopicName::parse(&format!("$stream/{stream}")).ok()
}

/// The faults of rules for a record that has passed too many actions.
pub(super) fn hops_exceeded(
    stream: &str,
    rules: impl Iterator<Item = RuleIndex>,
) -> impl Iterator<Item = Fault> {
    let message = format!(
        "a record of stream {stream} has passed more than {HOPS_MAX} actions; it is cut to end a loop"
    );
    let code = FaultCode::HopsExceeded;
    rules.map(move |rule| Fault { rule, code, message: message.clone() })
}

/// A record as the rules see it.
pub(super) fn to_publish(record: Record, topic: &TopicName, now: Timestamp) -> Publish {
    let Record { sequence_number, partition_key, hops, at, data, .. } = record;
    let record = StreamRecord {
        shard_id: Arc::from(sequence_number.shard().to_string()),
        sequence_number: sequence_number.to_string().into(),
        partition_key,
        arrived_at: at,
    };
    Publish {
        topic: topic.clone(),
        payload: data,
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: now,
        origin: Arc::new(Origin { record: Some(record), ..Origin::clone(&Origin::internal()) }),
        properties: None,
        hops,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::config::Config;
    use crate::engine::Engine;
    use crate::rule::set;
    use crate::rule::set::Source;
    use crate::rule::set::Targets;
    use crate::rule::table::NoFiles;
    use crate::stream::SequenceNumber;

    use super::*;

    const RULES: &str = "
CREATE RULE a AS SELECT n FROM STREAM raw DO STREAM out KEY 'a' ON ERROR DO STREAM errors KEY 'a';
CREATE RULE b AS SELECT n FROM STREAM raw DO STREAM out KEY 'b' ON ERROR DO STREAM errors KEY 'b';
CREATE RULE c AS SELECT n FROM STREAM raw DO STREAM out KEY 'c' ON ERROR DO STREAM errors KEY 'c';
";

    fn rules() -> Rules {
        let source = Source { path: "test.rule".into(), content: Ok(RULES.as_bytes().to_vec()) };
        let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
        assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
        let config = Config::default();
        Rules::new(Engine::new(checked.rules, &config.account_id), &config, None)
    }

    /// What two records, the second of which is poison, cause: (stream, partition key, data), and how
    /// often each rule has panicked.
    fn judged(poison: fn(&SharedPlan, &Publish) -> bool) -> (Vec<[String; 3]>, [u64; 3]) {
        let (rules, stream) = (rules(), Arc::from("raw"));
        let topic = topic_of(&stream).unwrap();
        let now = Timestamp::from_millis(7);
        let judge = Judge { stream: &stream, topic: &topic, rules: &rules, now };
        let all = [0, 1, 2].map(RuleIndex);
        let plan = rules.plan_of(all.to_vec());
        let mut pass = Pass::default();
        pass.poison = Some(poison);
        for n in [1, 666, 3] {
            let record = Record {
                sequence_number: "7".parse::<SequenceNumber>().unwrap(),
                partition_key: "k".into(),
                hash_key: None,
                hops: 0,
                at: now,
                is_encrypted: false,
                data: Bytes::from(format!(r#"{{"n":{n}}}"#)),
            };
            judge.record(record, &plan, &mut pass);
        }
        let record = |effect: Effect| match effect {
            Effect::Stream { stream, partition_key, data, .. } => [
                stream.to_string(),
                partition_key.to_string(),
                String::from_utf8(data.to_vec()).unwrap(),
            ],
            other => panic!("records only: {other:?}"),
        };
        let effects = pass.take_outcome().effects.into_iter().map(record).collect();
        let panics = all.map(|rule| {
            let mut codes = rules.counted().rule(rule).faults_by_code();
            codes.find(|(code, _)| *code == "panicked").map_or(0, |(_, count)| count)
        });
        (effects, panics)
    }

    fn is_poison(publish: &Publish) -> bool {
        publish.payload.ends_with(b"666}")
    }

    #[test]
    fn a_panic_costs_a_record_of_the_rule_that_panics() {
        let (effects, panics) = judged(|plan, publish| {
            is_poison(publish) && plan.plan.rules().any(|rule| rule == RuleIndex(1))
        });
        assert_eq!(panics, [0, 1, 0]);
        let told =
            |n: u32, key: &str| ["out".to_owned(), key.to_owned(), format!(r#"{{"n":{n}}}"#)];
        let (errors, out): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|[stream, ..]| stream == "errors");
        let expected = [
            told(1, "a"),
            told(1, "b"),
            told(1, "c"),
            told(666, "a"),
            told(666, "c"),
            told(3, "a"),
            told(3, "b"),
            told(3, "c"),
        ];
        assert_eq!(out, expected);
        let [[_, key, document]] = &errors[..] else { panic!("one error: {errors:?}") };
        assert_eq!(key, "b");
        assert!(document.contains("record 7 of stream raw") && document.contains("poison"));
        assert!(document.contains("eyJuIjo2NjZ9"), "the record itself: {document}");
    }

    #[test]
    fn a_record_over_which_every_rule_panics_is_passed_over() {
        let (effects, panics) = judged(|_, publish| is_poison(publish));
        assert_eq!(panics, [1, 1, 1]);
        let count = |wanted: &str| effects.iter().filter(|[stream, ..]| stream == wanted).count();
        assert_eq!((count("out"), count("errors")), (6, 3));
    }
}
