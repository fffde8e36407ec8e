//! What a rule does and where, for programs and as a tree for people.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Formatter;

use serde::Serialize;

use crate::config::Compression;
use crate::config::Config;
use crate::config::DeliveryConfig;
use crate::config::Destination;
use crate::config::Format;
use crate::config::HookConfig;
use crate::config::StreamConfig;
use crate::diagnostic::render::counted;
use crate::engine::Cost;
use crate::engine::Engine;
use crate::engine::HoldPlan;
use crate::engine::Moment;
use crate::engine::Remembered;
use crate::engine::RuleIndex;
use crate::engine::Step;
use crate::engine::WindowPlan;
use crate::rule::Rule;

/// The plan of a rule, read off what it was compiled to. `Display` draws it as a tree.
#[derive(Clone, Debug, Serialize)]
pub struct RulePlan {
    /// Its name.
    pub rule: String,
    /// Its file and line; left out for a rule that is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Checked, and not run.
    pub disabled: bool,
    /// The SQL version it is evaluated under.
    pub sql_version: String,
    /// Topic filters; none for a rule that only Basic Ingest reaches.
    pub topics: Vec<String>,
    /// The stream of FROM STREAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What is decoded of a payload.
    pub decodes: DecodePlan,
    /// What is done, in the order in which a message meets it.
    pub stages: Vec<StagePlan>,
    /// What is remembered; left out for a rule that judges each message by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StatePlan>,
    /// What the decision over one message takes at most.
    pub cost_of_message: CostPlan,
    /// What an output and its actions take at most.
    pub cost_of_output: CostPlan,
}

/// What is decoded of a payload.
#[derive(Clone, Debug, Serialize)]
pub struct DecodePlan {
    /// `JSON`, or what stands behind FROM.
    pub format: String,
    /// Paths; `*` is all of it.
    pub fields: Vec<String>,
    /// Whether all of it is made a value when a clause asks for it.
    pub whole_payload: bool,
}

/// What is done at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct StagePlan {
    /// `message`, `match`, `window`, `firing`, `cleared` or `failure`.
    pub moment: &'static str,
    /// `connection` (its task), `writer` (the journal's), or `where the action failed`.
    pub runs_on: &'static str,
    /// In order.
    pub steps: Vec<StepPlan>,
}

/// A clause or an action.
#[derive(Clone, Debug, Serialize)]
pub struct StepPlan {
    /// As it is written, on one line.
    pub clause: String,
    /// What its text does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of an action: `stream`, `delivery`, `hook`, `table`, `topic` or `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_kind: Option<&'static str>,
    /// Its name; left out where each message completes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How that target is set up, in the words of the configuration; left out for topics and the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// What it takes at most.
    #[serde(flatten)]
    pub cost: CostPlan,
}

/// What is remembered from message to message.
#[derive(Clone, Debug, Serialize)]
pub struct StatePlan {
    /// `condition`, `absence` for NO DATA, or `windows`.
    pub kind: &'static str,
    /// The expressions of the key; none is the topic, and with GROUP BY one group.
    pub key: Vec<String>,
    /// Keys that may be watched at once (`rules.hold_keys_max`).
    pub keys_max: usize,
    /// Memory of a key, bytes, beside its text and its last TRUE message; of windows that of one.
    pub key_bytes: usize,
    /// The text of a key, bytes at most.
    pub key_text_bytes_max: usize,
    /// The last TRUE messages of all keys together, or the values that windows keep, bytes at most.
    pub message_bytes_max: usize,
    /// How long the condition must hold; left out for windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u128>,
    /// LATENESS; left out for a rule without TIMESTAMP BY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness_ms: Option<u128>,
    /// The clause, its lines joined.
    pub clause: String,
}

/// What the configuration says of what rules name.
#[derive(Clone, Debug, Default)]
pub struct PlanSettings {
    /// `rules.hold_keys_max`
    pub keys_max: usize,
    streams: BTreeMap<String, StreamConfig>,
    deliveries: BTreeMap<String, DeliveryConfig>,
    /// Without headers and the query of the URL, which may be secrets.
    hooks: BTreeMap<String, String>,
}

impl PlanSettings {
    /// Those of `config`.
    pub fn of(config: &Config) -> PlanSettings {
        let hook = |(name, hook): (&String, &HookConfig)| {
            let what = match &hook.destination {
                Destination::Url(whole) => {
                    let url = whole.split(['?', '#']).next().unwrap_or_default();
                    let cut = if url.len() < whole.len() { "?…" } else { "" };
                    format!("{url}{cut}")
                }
                Destination::Function(function) => {
                    let program = function.command.first().map_or("", String::as_str);
                    format!("a function run by {program}")
                }
            };
            let (timeout, attempts) = (hook.timeout.as_millis(), hook.attempts);
            (name.clone(), format!("{what}, {attempts} attempts of at most {timeout} ms"))
        };
        PlanSettings {
            keys_max: config.rules.hold_keys_max,
            streams: config.streams.clone(),
            deliveries: config.deliveries.clone(),
            hooks: config.hooks.iter().map(hook).collect(),
        }
    }

    fn of_target(&self, kind: &str, name: &str) -> Option<String> {
        let defaults = |is_declared: bool| if is_declared { "" } else { "; defaults" };
        match kind {
            "stream" => {
                let declared = self.streams.get(name);
                let stream = declared.cloned().unwrap_or_default();
                let (shards, hours) = (stream.shards, stream.retention.as_secs() / 3600);
                let end = defaults(declared.is_some());
                Some(format!("{}, {hours} h{end}", counted(shards, "shard")))
            }
            "delivery" => {
                let declared = self.deliveries.get(name);
                let delivery = declared.cloned().unwrap_or_default();
                let mib = delivery.buffer_bytes / (1024 * 1024);
                let seconds = delivery.buffer_interval.as_secs();
                let mut text = format!("flushed at {mib} MiB or after {seconds} s");
                if delivery.format != Format::Jsonl {
                    text.push_str(", ");
                    text.push_str(delivery.format.name());
                }
                if delivery.compression != Compression::None {
                    text.push_str(", ");
                    text.push_str(delivery.compression.name());
                }
                text.push_str(defaults(declared.is_some()));
                Some(text)
            }
            "hook" => {
                let declared = self.hooks.get(name).cloned();
                Some(declared.unwrap_or_else(|| "not declared".to_owned()))
            }
            _ => None,
        }
    }
}

/// Counts of operations, at most.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CostPlan {
    /// Nodes of compiled code.
    pub operations: usize,
    /// The same, done for each element of a nested query or of FOREACH.
    pub operations_each: usize,
    /// Of all of these, calls of functions.
    pub calls: usize,
    /// Of the calls, searches with regular expressions.
    pub regexes: usize,
    /// Rows looked up in reference tables.
    pub lookups: usize,
}

impl RulePlan {
    /// The plan of a rule of `engine` under `settings`; `None` where there is no such rule.
    pub fn of(engine: &Engine, index: RuleIndex, settings: &PlanSettings) -> Option<RulePlan> {
        let rule = engine.rules().get(usize::try_from(index.0).ok()?)?;
        let plan = engine.explain(index)?;
        let cost = |moment| plan.cost(moment);
        let output = cost(Moment::Match).plus(cost(Moment::TurnMatch)).plus(cost(Moment::Firing));
        let output = output.plus(cost(Moment::Window));
        Some(RulePlan {
            rule: rule.name().to_string(),
            place: place(rule),
            disabled: rule.is_disabled(),
            sql_version: rule.version.to_string(),
            topics: rule.definition.select.from.iter().map(|f| f.node.to_string()).collect(),
            stream: rule.source().map(|source| source.name.node.clone()),
            cost_of_message: CostPlan::of(cost(Moment::Message).plus(cost(Moment::Turn))),
            cost_of_output: CostPlan::of(output),
            decodes: DecodePlan {
                format: plan.format,
                fields: plan.fields,
                whole_payload: plan.whole_payload,
            },
            stages: plan
                .stages
                .into_iter()
                .map(|stage| StagePlan {
                    moment: stage.moment.as_str(),
                    runs_on: stage.moment.runs_on(),
                    steps: stage
                        .steps
                        .into_iter()
                        .map(|step| StepPlan::of(step, settings))
                        .collect(),
                })
                .collect(),
            state: plan.state.map(|state| StatePlan::of(state, settings.keys_max)),
        })
    }
}

fn place(rule: &Rule) -> Option<String> {
    Some(format!("{}:{}", rule.file.as_deref()?.display(), rule.line))
}

impl StepPlan {
    fn of(step: Step, settings: &PlanSettings) -> StepPlan {
        let (target_kind, target) = match step.target {
            Some(target) => (Some(target.kind), target.name),
            None => (None, None),
        };
        let cost = CostPlan::of(step.cost);
        let set_up = target_kind.zip(target.as_deref());
        let set_up = set_up.and_then(|(kind, name)| settings.of_target(kind, name));
        StepPlan {
            clause: step.clause,
            note: step.note,
            target_kind,
            target,
            settings: set_up,
            cost,
        }
    }
}

impl StatePlan {
    fn of(state: Remembered, keys_max: usize) -> StatePlan {
        match state {
            Remembered::Condition(state) => StatePlan::of_condition(state, keys_max),
            Remembered::Windows(state) => StatePlan::of_windows(state, keys_max),
        }
    }

    fn of_windows(state: WindowPlan, keys_max: usize) -> StatePlan {
        StatePlan {
            kind: "windows",
            key: state.key,
            keys_max,
            key_bytes: state.window_bytes,
            key_text_bytes_max: state.key_text_bytes_max,
            message_bytes_max: state.value_bytes_max,
            for_ms: None,
            lateness_ms: state.event_time.then_some(state.lateness.as_millis()),
            clause: one_line(&state.clause),
        }
    }

    fn of_condition(state: HoldPlan, keys_max: usize) -> StatePlan {
        StatePlan {
            kind: if state.is_absence { "absence" } else { "condition" },
            key: state.key,
            keys_max,
            key_bytes: state.key_bytes,
            key_text_bytes_max: state.key_text_bytes_max,
            message_bytes_max: state.message_bytes_max,
            for_ms: Some(state.hold_for.as_millis()),
            lateness_ms: state.event_time.then_some(state.lateness.as_millis()),
            clause: one_line(&state.clause),
        }
    }
}

fn one_line(clause: &str) -> String {
    clause.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl CostPlan {
    fn of(cost: Cost) -> CostPlan {
        let Cost { operations, operations_each, calls, regexes, lookups } = cost;
        CostPlan { operations, operations_each, calls, regexes, lookups }
    }
}

/// A line of the tree and the lines below it.
struct Branch {
    text: String,
    below: Vec<Branch>,
}

impl Branch {
    fn leaf(text: impl Into<String>) -> Branch {
        Branch { text: text.into(), below: Vec::new() }
    }

    fn write(&self, lead: &str, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, branch) in self.below.iter().enumerate() {
            let is_last = at + 1 == self.below.len();
            let (mark, deeper) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            write!(f, "\n{lead}{mark}{}", branch.text)?;
            branch.write(&format!("{lead}{deeper}"), f)?;
        }
        Ok(())
    }
}

impl fmt::Display for RulePlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        if let Some(place) = &self.place {
            write!(f, "  {place}")?;
        }
        if self.disabled {
            f.write_str("  (disabled: it is not run)")?;
        }
        let mut below = vec![Branch::leaf(self.topics_line()), Branch::leaf(self.decodes.line())];
        for stage in &self.stages {
            below.push(stage.branch());
            if let (Some(state), "message") = (&self.state, stage.moment) {
                below.push(state.branch());
            }
        }
        below.push(Branch {
            text: "cost, at most".to_owned(),
            below: vec![
                Branch::leaf(format!("a message: {}", self.cost_of_message)),
                Branch::leaf(format!("an output and its actions: {}", self.cost_of_output)),
            ],
        });
        Branch { text: String::new(), below }.write("", f)
    }
}

impl RulePlan {
    fn topics_line(&self) -> String {
        match (self.topics.as_slice(), &self.stream) {
            (_, Some(stream)) => format!("stream: {stream}"),
            ([], None) => format!("topics: only $aws/rules/{}/…", self.rule),
            (topics, None) => format!("topics: {}", topics.join(", ")),
        }
    }
}

impl DecodePlan {
    fn line(&self) -> String {
        let DecodePlan { format, fields, whole_payload } = self;
        let fields = match (fields.as_slice(), whole_payload) {
            ([], false) => "nothing of the payload".to_owned(),
            ([], true) => "all of the payload, when it is read".to_owned(),
            (fields, false) => fields.join(", "),
            (fields, true) => format!("{}; all of the payload, when it is read", fields.join(", ")),
        };
        format!("decodes {format}: {fields}")
    }
}

impl StagePlan {
    fn branch(&self) -> Branch {
        let moment = match self.moment {
            "message" => "each message",
            "turn" => "its turn among those of its key",
            "match" => "a match",
            "window" => "a window closes",
            "firing" => "it fires",
            "cleared" => "it is cleared",
            _ => "an action fails",
        };
        let place = match self.runs_on {
            "connection" => "on the connection's task",
            "writer" => "on the journal's writer",
            place => place,
        };
        let step = |step: &StepPlan| {
            let notes = step.settings.iter().chain(&step.note);
            let note: String = notes.map(|note| format!("  ({note})")).collect();
            let cost =
                if step.cost.is_nothing() { String::new() } else { format!("  [{}]", step.cost) };
            Branch::leaf(format!("{}{note}{cost}", step.clause))
        };
        Branch { text: format!("{moment}, {place}"), below: self.steps.iter().map(step).collect() }
    }
}

impl StatePlan {
    fn branch(&self) -> Branch {
        let kind = match self.kind {
            "absence" => "the last message of each key",
            "windows" => "the open windows of each group",
            _ => "one condition a key",
        };
        let is_windows = self.kind == "windows";
        let key = match self.key.as_slice() {
            [] if is_windows => "none, one group".to_owned(),
            [] => "the topic".to_owned(),
            key => key.join(", "),
        };
        let mib = self.message_bytes_max / (1024 * 1024);
        let (bytes, text) = (self.key_bytes, self.key_text_bytes_max);
        let memory = if is_windows {
            format!(
                "memory: about {bytes} bytes an open window, the text of its key (at most {text} \
                 bytes) and the values it keeps (all of them at most {mib} MiB)"
            )
        } else {
            format!(
                "memory: about {bytes} bytes a key, its text (at most {text} bytes) and its last \
                 TRUE message (all of them at most {mib} MiB)"
            )
        };
        Branch {
            text: format!("state, on the journal's writer: {kind}"),
            below: vec![
                Branch::leaf(&*self.clause),
                Branch::leaf(format!("key: {key}; at most {} keys", self.keys_max)),
                Branch::leaf(memory),
            ],
        }
    }
}

impl CostPlan {
    fn is_nothing(&self) -> bool {
        let CostPlan { operations, operations_each, calls: _, regexes: _, lookups } = self;
        operations + operations_each + lookups == 0
    }
}

impl fmt::Display for CostPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("nothing");
        }
        let parts = [
            (self.operations, "operation", ""),
            (self.operations_each, "operation", " an element"),
            (self.calls, "call", ""),
            (self.regexes, "regular expression", ""),
            (self.lookups, "row", ""),
        ];
        let mut is_first = true;
        for (count, what, behind) in parts.into_iter().filter(|(count, ..)| *count > 0) {
            let plural = if count == 1 { "" } else { "s" };
            let comma = if is_first { "" } else { ", " };
            write!(f, "{comma}{count} {what}{plural}{behind}")?;
            is_first = false;
        }
        Ok(())
    }
}
