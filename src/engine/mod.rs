//! Publish in, hits out. Pure: no I/O, no clock, no runtime.
//!
//! Two halves, joined by data:
//!
//! - [`Engine`] is the compiled rule set, immutable and shared. [`Engine::evaluate`] runs on the
//!   connection's own task: it decodes the payload once, joins, tests WHERE, and answers [`Hit`]s of rules
//!   without WHEN and [`Observation`]s for rules with one. A rule with analytic functions (`lag` and its
//!   like) only says what is to be remembered of the message, a [`Recall`].
//! - `history::HistoryTable` is what such rules remember. It answers [`Recalled`] messages, and
//!   [`Engine::judge`] does for them what is left: WHERE, and then a hit or an observation.
//! - `hold::HoldTable` is the state of all WHEN clauses. Both tables are owned by the journal's writer, so
//!   state changes happen in commit order and need no lock. It turns observations and the passing of
//!   time into [`Episode`]s, which [`Engine::complete`] turns into hits. `window::WindowTable` does the same
//!   for GROUP BY: [`Contribution`]s into [`ClosedWindow`]s. [`stateful::StateTable`] is both.
//!
//! A rule's text has become a [`Program`](compile) without names; the rules of a topic share one
//! [`Plan`], and those of one payload format one [projection](mod@decode) of the payload. Faults are values: a rule that fails
//! stops neither the message nor the other rules.
//!
//! Start reading at [`Engine::evaluate`], then `evaluate.rs`.

mod by_rule;
mod call;
mod code;
mod compile;
mod decode;
mod evaluate;
mod event_time;
mod explain;
mod fold;
mod function;
mod gather;
mod headers;
pub mod history;
mod hit;
pub mod hold;
#[cfg(test)]
mod join_tests;
mod judge;
mod key_index;
mod latest;
mod leap;
mod message;
mod operators;
mod output;
mod plan;
mod predicate_index;
pub(crate) mod restoration;
pub mod rows;
mod secrets;
mod slab;
pub mod stateful;
#[cfg(test)]
mod tests;
mod timer;
mod topic_index;
mod waiting;
pub mod window;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use call::Replay;
use compile::Program;
use decode::Buffers;
use decode::DecodeError;
use decode::Decoder;
use decode::Slot;
use evaluate::Frame;
use evaluate::Hold;
use evaluate::Message;
use evaluate::Surroundings;
use history::RememberingRule;
use judge::evaluate_rule;
use judge::fault;
use judge::hold_key;
use judge::judge_one;
use judge::last_element;
use judge::of_episode;
use operators::Budget;
use plan::Entry;
use plan::Source;
use predicate_index::Visits;
use stateful::KeyBounds;
use topic_index::TopicIndex;

pub use call::Call;
pub use call::Conversation;
pub use explain::Cost;
pub use explain::Destination;
pub use explain::Explanation;
pub use explain::HoldPlan;
pub use explain::Moment;
pub use explain::Remembered;
pub use explain::Stage;
pub use explain::Step;
pub use explain::WindowPlan;
pub use hit::Cleared;
pub use hit::ClosedWindow;
pub use hit::Contribution;
pub use hit::Episode;
pub use hit::EpisodeEvent;
pub use hit::Evaluation;
pub use hit::Fault;
pub use hit::FaultCode;
pub use hit::Hit;
pub use hit::HitEvent;
pub use hit::HoldFacts;
pub use hit::Observation;
pub use hit::Observed;
pub use hit::Output;
pub use hit::PreparedAction;
pub use hit::Recall;
pub use hit::Recalled;
pub use hit::RuleIndex;
pub use hit::Truth;
pub use hit::WindowFacts;
pub use latest::LatestValues;
pub use leap::Leap;
pub use plan::Plan;
pub use secrets::Secrets;

use crate::publish::Publish;
use crate::rule::Rule;
use crate::rule::ast::OnRestart;
use crate::rule::ast::When;
use crate::rule::target::Known;
use crate::topic::TopicName;
use crate::topic::may_hear_events;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json;

/// The running rules, compiled. Immutable: a reload makes another one.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Arc<Rule>>,
    compiled: Vec<Compiled>,
    index: TopicIndex,
    account_id: String,
    known: Option<Known>,
    /// `None` while there are no tables that UPSERT writes.
    latest: Option<Arc<dyn LatestValues>>,
    /// `None` where there are no secrets to tell.
    secrets: Option<Secrets>,
}

/// A rule's program, and its plan when it is alone: for episodes and error actions, which look at
/// one message for one rule.
#[derive(Debug)]
struct Compiled {
    program: Program,
    alone: Plan,
}

/// An action that failed, for the error document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionFailure {
    /// What was attempted, such as `stream`.
    pub failed_action: String,
    /// On what: the name of the stream, hook or delivery.
    pub failed_resource: String,
    /// Why not.
    pub error_message: String,
}

/// What ON ERROR sends on.
#[derive(Clone, Debug)]
pub struct ErrorReport {
    /// The error document.
    pub output: Output,
    /// The actions of ON ERROR, prepared; their templates see the original message.
    pub actions: SmallVec<[Result<PreparedAction, Fault>; 2]>,
}

thread_local! {
    /// Buffers of [`Engine::evaluate`]: a message that no rule matches allocates nothing.
    static BUFFERS: RefCell<(Buffers, Visits)> = RefCell::default();
}

impl Engine {
    /// Compiles checked rules. `account_id` is what `accountid()` answers.
    pub fn new(rules: Vec<Arc<Rule>>, account_id: &str) -> Engine {
        let compile = |(at, rule): (u32, &Arc<Rule>)| {
            let program = compile::compile(rule);
            let alone = Plan::new(std::iter::once((RuleIndex(at), &program)));
            Compiled { program, alone }
        };
        Engine {
            compiled: (0..).zip(&rules).map(compile).collect(),
            index: TopicIndex::new(&rules),
            account_id: account_id.to_owned(),
            known: None,
            latest: None,
            secrets: None,
            rules,
        }
    }

    /// The engine with the targets that dynamic names may come to. Without, as in a simulation, any
    /// name will do.
    #[must_use]
    pub fn with_targets(self, known: Known) -> Engine {
        Engine { known: Some(known), ..self }
    }

    /// The engine with the tables that UPSERT writes. Without, they are empty.
    #[must_use]
    pub fn with_latest(self, latest: Arc<dyn LatestValues>) -> Engine {
        Engine { latest: Some(latest), ..self }
    }

    /// The engine with what `get_secret()` answers. Without, that is Undefined.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Engine {
        Engine { secrets: Some(secrets), ..self }
    }

    /// The tables that UPSERT writes and enabled rules read.
    pub fn latest_tables(&self) -> BTreeSet<Arc<str>> {
        let enabled = self.compiled.iter().zip(&self.rules);
        let enabled = enabled.filter(|(_, rule)| !rule.is_disabled());
        enabled.flat_map(|(compiled, _)| compiled.program.latest.iter().cloned()).collect()
    }

    /// Whether an enabled rule may listen to events (`$events/…`, `$aws/…`).
    pub fn hears_events(&self) -> bool {
        self.index.hears_events()
    }

    /// Whether an enabled rule may listen to statistics (`$SYS/…`).
    pub fn hears_statistics(&self) -> bool {
        self.index.hears_statistics()
    }

    /// Whether `rule` itself may listen to events.
    pub fn hears_events_itself(&self, rule: RuleIndex) -> bool {
        let from = self.rule(rule).map(|rule| &rule.definition.select.from);
        from.is_some_and(|from| from.iter().any(|f| may_hear_events(f.node.as_str())))
    }

    /// The rules, by [`RuleIndex`].
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The WHEN clause of a rule; `None` where it has none, or where there is no such rule.
    pub fn hold_spec(&self, rule: RuleIndex) -> Option<&When> {
        self.rule(rule)?.definition.select.when.as_ref()
    }

    /// The plan of a topic. Callers keep it for the next message on the topic.
    pub fn plan(&self, topic: &TopicName) -> Arc<Plan> {
        Arc::new(self.plan_of(&self.reached(topic)))
    }

    /// Which enabled rules `topic` reaches, in their order.
    pub fn reached(&self, topic: &TopicName) -> Vec<RuleIndex> {
        self.index.rules(topic.as_str())
    }

    /// The plan of all topics that reach exactly `rules`, or of the records of a stream that they read.
    pub fn plan_of(&self, rules: &[RuleIndex]) -> Plan {
        let program = |rule: &RuleIndex| Some((*rule, &self.compiled(*rule)?.program));
        Plan::new(rules.iter().filter_map(program))
    }

    /// The next call of each rule of `plan` whose answer `conversation` does not have. None are left when
    /// the message can be evaluated.
    pub fn next_calls(
        &self,
        plan: &Plan,
        publish: &Publish,
        conversation: &mut Conversation,
    ) -> Vec<Call> {
        let mut calls = Vec::new();
        if !plan.makes_calls() {
            return calls;
        }
        let (mut buffers, visits) = BUFFERS.take();
        let mut made = Evaluation::default();
        for source in &plan.sources {
            let decoded = source.decode(&publish.payload, &mut buffers);
            let message = self.message(publish, &buffers.slots);
            let is_caller = |entry: &&Entry| {
                self.compiled(entry.rule).is_some_and(|compiled| compiled.program.makes_calls)
            };
            for entry in source.entries.iter().filter(is_caller) {
                let replay = conversation.begin(entry.rule);
                replay.rewind();
                self.evaluate_entry(source, entry, &decoded, &message, Some(replay), &mut made);
                calls.extend(replay.missing(entry.rule));
            }
        }
        BUFFERS.set((buffers, visits));
        calls
    }

    /// Evaluates the rules of `plan`, which must be this engine's for the topic of `publish`; results
    /// are added to `out`. Nobody calls: `aws_lambda()` is a fault.
    pub fn evaluate(&self, plan: &Plan, publish: &Publish, out: &mut Evaluation) {
        self.evaluate_with(plan, publish, &Conversation::default(), out);
    }

    /// The same, with the answers that [`Engine::next_calls`] has asked for.
    pub fn evaluate_with(
        &self,
        plan: &Plan,
        publish: &Publish,
        conversation: &Conversation,
        out: &mut Evaluation,
    ) {
        if plan.is_empty() {
            return;
        }
        let (mut buffers, mut visits) = BUFFERS.take();
        for source in &plan.sources {
            let decoded = source.decode(&publish.payload, &mut buffers);
            let slots = &buffers.slots;
            let message = self.message(publish, slots);
            match &source.index {
                Some(index) if decoded.is_ok() => {
                    index.visit(slots, &publish.payload, &mut visits, &mut out.unknown_together);
                    for entry in visits.iter().filter_map(|place| source.entries.get(place)) {
                        let replay = conversation.of(entry.rule);
                        self.evaluate_entry(source, entry, &decoded, &message, replay, out);
                    }
                }
                _ => {
                    for entry in &source.entries {
                        let replay = conversation.of(entry.rule);
                        self.evaluate_entry(source, entry, &decoded, &message, replay, out);
                    }
                }
            }
        }
        BUFFERS.set((buffers, visits));
    }

    fn evaluate_entry(
        &self,
        source: &Source,
        entry: &Entry,
        decoded: &Result<(), DecodeError>,
        message: &Message<'_>,
        replay: Option<&Replay>,
        out: &mut Evaluation,
    ) {
        let Some(Compiled { program, .. }) = self.compiled(entry.rule) else { return };
        let mut readable = true;
        if let Err(error) = decoded
            && !program.fields.is_empty()
        {
            readable = false;
            out.faults.push(fault(entry.rule, source.decoder.fault(error)));
            // AWS goes on with fields that are Undefined. Who says which format it is wants no match
            // of anything else.
            if source.decoder != Decoder::Json {
                return;
            }
        }
        let (budget, mute) = (Budget::default(), Replay::mute());
        let frame = Frame::new(message, program, &entry.slots, None, &budget);
        if !program.makes_calls {
            return evaluate_rule(entry.rule, &frame, readable, out);
        }
        let replay = replay.unwrap_or(&mute);
        replay.rewind();
        evaluate_rule(entry.rule, &frame.with_replay(replay), readable, out);
        let faults = replay.take_faults().into_iter();
        out.faults.extend(faults.map(|refusal| fault(entry.rule, refusal)));
    }

    /// Judges a message that the history table has given its turn; results are added to `out`.
    pub fn judge(&self, recalled: &Recalled, out: &mut Evaluation) {
        let Recalled { rule, publish, earlier, .. } = recalled;
        let Some(Compiled { program, alone }) = self.compiled(*rule) else { return };
        let entry =
            alone.sources.first().and_then(|source| Some((source, source.entries.first()?)));
        let Some((source, entry)) = entry else { return };
        let mut buffers = Buffers::default();
        let budget = Budget::default();
        let lookbacks = program.lookbacks.as_ref();
        if let (Some(filter), true) =
            (&program.filter, lookbacks.is_some_and(|found| found.filter_is_alone))
        {
            let message = self.message(publish, &[]);
            let frame = Frame::new(&message, program, &entry.slots, None, &budget);
            if frame.with_earlier(earlier).condition(filter) == Truth::False {
                return;
            }
        }
        // A payload that does not decode has been counted when it came.
        let readable = source.decode(&publish.payload, &mut buffers).is_ok();
        let message = self.message(publish, &buffers.slots);
        let frame = Frame::new(&message, program, &entry.slots, None, &budget);
        judge_one(*rule, &frame.with_earlier(earlier), readable, Some(recalled), out);
    }

    /// What the history table needs to know of the rules with analytic functions, each within `bounds`.
    pub fn remembering(
        &self,
        bounds: impl Into<KeyBounds>,
    ) -> impl Iterator<Item = RememberingRule<'_>> {
        let bounds = bounds.into();
        let rules = (0..).map(RuleIndex).zip(&self.rules);
        rules.filter_map(move |(rule, _)| self.remembering_rule(rule, bounds))
    }

    /// One of them; `None` for a rule without such functions, and for one that is disabled.
    pub fn remembering_rule(
        &self,
        rule: RuleIndex,
        bounds: KeyBounds,
    ) -> Option<RememberingRule<'_>> {
        let Compiled { program, .. } = self.compiled(rule)?;
        let found = self.rule(rule).filter(|found| !found.is_disabled())?;
        let lookbacks = program.lookbacks.as_ref()?;
        let select = &found.definition.select;
        Some(RememberingRule {
            index: rule,
            name: found.name(),
            calls: &lookbacks.calls,
            whole: program.whole,
            lateness: select.timestamp.as_ref().map_or(Duration::ZERO, |clause| clause.lateness),
            counts_downtime: select
                .when
                .as_ref()
                .is_some_and(|when| when.on_restart == OnRestart::Count),
            fingerprint: lookbacks.fingerprint,
            bounds,
        })
    }

    /// Makes a hit of an event of the hold table: SELECT and the actions (or those of ON CLEARED) over
    /// the episode's last TRUE message, or with FOREACH over its element there.
    pub fn complete(&self, episode: &Episode) -> Result<Hit, Fault> {
        let facts = &episode.facts;
        let reason = match episode.event {
            EpisodeEvent::Firing => None,
            EpisodeEvent::Cleared(cleared) => Some(cleared),
        };
        let hold = Hold {
            key: hold_key(&facts.key),
            since: facts.since,
            fired_at: facts.fired_at,
            samples: facts.samples,
            at: episode.at,
            reason: reason.map(Cleared::as_str),
        };
        let event = match reason {
            None => HitEvent::Firing(facts.clone()),
            Some(cleared) => HitEvent::Cleared(facts.clone(), cleared),
        };
        let element = self
            .alone(episode.rule, &episode.publish, None, |frame| last_element(frame, &facts.key));
        let made = self.alone(episode.rule, &episode.publish, Some(&hold), |frame| {
            of_episode(frame, element.flatten(), |frame| {
                let actions = match reason {
                    None => &frame.program.actions,
                    Some(_) => &frame.program.on_cleared,
                };
                let made = output::make(frame, actions).map_err(|r| fault(episode.rule, r))?;
                let actions = output::prepare(frame, actions, &made, |r| fault(episode.rule, r));
                Ok((made.output, actions))
            })
        });
        let (output, actions) = made.unwrap_or_else(|| Err(unknown_rule(episode.rule)))?;
        Ok(Hit {
            rule: episode.rule,
            event,
            at: episode.at,
            decided_at: episode.decided_at,
            publish: episode.publish.clone(),
            output,
            actions,
        })
    }

    /// Prepares ON ERROR after actions of `rule` over `publish` have failed. `None` where the rule has
    /// no such clause (AWS IoT developer guide, "Error handling (error action)").
    pub fn error_actions(
        &self,
        rule: RuleIndex,
        publish: &Publish,
        failures: &[ActionFailure],
    ) -> Option<ErrorReport> {
        self.alone(rule, publish, None, |frame| {
            let actions = &frame.program.on_error;
            if actions.is_empty() {
                return None;
            }
            let document = self.error_document(rule, frame.message, failures);
            let text = json::text(&document, Whole::AsInt).into_bytes();
            let made = output::Made::document(text);
            let actions = output::prepare(frame, actions, &made, |r| fault(rule, r));
            Some(ErrorReport { output: made.output, actions })
        })?
    }

    fn error_document(
        &self,
        rule: RuleIndex,
        message: &Message<'_>,
        failures: &[ActionFailure],
    ) -> Value {
        let publish = message.publish;
        let failure = |failure: &ActionFailure| {
            Value::object(vec![
                ("failedAction".into(), Value::string(&failure.failed_action)),
                ("failedResource".into(), Value::string(&failure.failed_resource)),
                ("errorMessage".into(), Value::string(&failure.error_message)),
            ])
        };
        let name = self.rule(rule).map_or("", |rule| rule.name());
        let client = publish.origin.client_id.as_deref().unwrap_or("n/a");
        let payload = base64::Engine::encode(&STANDARD, &publish.payload);
        Value::object(vec![
            ("ruleName".into(), Value::string(name)),
            ("topic".into(), Value::string(message.topic)),
            ("cloudwatchTraceId".into(), Value::string(function::trace_id(publish).to_string())),
            ("clientId".into(), Value::string(client)),
            ("base64OriginalPayload".into(), Value::string(payload)),
            ("failures".into(), Value::array(failures.iter().map(failure).collect())),
        ])
    }

    /// One rule over one message, outside the plan of its topic. `None` where there is no such rule.
    fn alone<T>(
        &self,
        rule: RuleIndex,
        publish: &Publish,
        hold: Option<&Hold>,
        run: impl FnOnce(&Frame<'_>) -> T,
    ) -> Option<T> {
        let Compiled { program, alone } = self.compiled(rule)?;
        let source = alone.sources.first()?;
        let entry = source.entries.first()?;
        let mut buffers = Buffers::default();
        // A payload that does not decode has been counted when it came; its fields are Undefined.
        source.decode(&publish.payload, &mut buffers).unwrap_or_default();
        let message = self.message(publish, &buffers.slots);
        let budget = Budget::default();
        Some(run(&Frame::new(&message, program, &entry.slots, hold, &budget)))
    }

    fn message<'m>(&'m self, publish: &'m Publish, slots: &'m [Slot]) -> Message<'m> {
        let surroundings = Surroundings {
            account_id: &self.account_id,
            known: self.known.as_ref(),
            latest: self.latest.as_deref(),
            secrets: self.secrets.as_ref(),
        };
        Message::new(publish, surroundings, slots)
    }

    fn rule(&self, rule: RuleIndex) -> Option<&Arc<Rule>> {
        self.rules.get(usize::try_from(rule.0).ok()?)
    }

    fn compiled(&self, rule: RuleIndex) -> Option<&Compiled> {
        self.compiled.get(usize::try_from(rule.0).ok()?)
    }
}

fn unknown_rule(rule: RuleIndex) -> Fault {
    fault(rule, (FaultCode::HoldKeyInvalid, "the rule is no longer loaded".to_owned()))
}
