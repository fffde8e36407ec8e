//! What a rule does, as it was compiled.
//!
//! An [`Explanation`] is read off the [`Program`] that evaluates messages: fields are those that the
//! decoder is asked for, and operations the nodes of code that are left after constants have been
//! computed. Only the words of a clause come from its text.
//!
//! The cost is a count and no time: how many operations one message takes at most. AND, OR and CASE
//! stop early, so most messages take fewer; a constant takes none. What stands in a nested query or
//! behind FOREACH is counted apart, because it is done for each element.

use std::time::Duration;

use super::Engine;
use super::RuleIndex;
use super::code::ActionCode;
use super::code::Code;
use super::code::HeaderCode;
use super::code::HeaderText;
use super::code::Item;
use super::code::Part;
use super::code::Projected;
use super::code::Subquery;
use super::code::Target;
use super::code::Text;
use super::compile::Program;
use super::hold;
use super::window;
use crate::limits::HOLD_KEY_BYTES_MAX;
use crate::limits::HOLD_MESSAGE_BYTES_MAX;
use crate::limits::WINDOW_VALUE_BYTES_MAX;
use crate::rule::Rule;
use crate::rule::analytic::Analytic;
use crate::rule::ast::Action;
use crate::rule::ast::Expr;
use crate::rule::ast::GroupBy;
use crate::rule::ast::Projection;
use crate::rule::ast::Spanned;
use crate::rule::ast::When;
use crate::rule::function::Function;
use crate::rule::table::RowSource;
use crate::rule::target::TargetKind;
use crate::topic::TopicName;

/// The plan of one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The payload format, `JSON`.
    pub format: String,
    /// The fields that a payload is decoded for; `*` is all of it.
    pub fields: Vec<String>,
    /// Whether the whole payload is made a value when a clause asks for it.
    pub whole_payload: bool,
    /// What is done, in the order in which a message meets it; a stage without steps is left out.
    pub stages: Vec<Stage>,
    /// What is remembered; `None` for a rule that judges each message by itself.
    pub state: Option<Remembered>,
}

/// What a rule remembers.
#[derive(Clone, Debug, PartialEq)]
pub enum Remembered {
    /// With WHEN.
    Condition(HoldPlan),
    /// With GROUP BY.
    Windows(WindowPlan),
}

/// What GROUP BY remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowPlan {
    /// The clause as it is written, a line each.
    pub clause: String,
    /// The expressions of the key; none is one group.
    pub key: Vec<String>,
    /// Whether the times are the devices', with TIMESTAMP BY.
    pub event_time: bool,
    /// LATENESS.
    pub lateness: Duration,
    /// Memory of an open window, bytes, beside the values that it keeps.
    pub window_bytes: usize,
    /// The text of a key, bytes at most.
    pub key_text_bytes_max: usize,
    /// The values that all windows keep, bytes at most.
    pub value_bytes_max: usize,
}

/// What is done at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// When.
    pub moment: Moment,
    /// What, in order.
    pub steps: Vec<Step>,
}

/// When a stage runs, and with it where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A message on one of the rule's topics has come.
    Message,
    /// It has its turn among those of its key; rules with analytic functions.
    Turn,
    /// It matches; rules without WHEN and GROUP BY.
    Match,
    /// As [`Moment::Match`], of a message that has had its turn.
    TurnMatch,
    /// A window has closed.
    Window,
    /// An episode begins, or REPEAT EVERY comes round.
    Firing,
    /// An episode ends.
    Cleared,
    /// An action has failed.
    Failure,
}

impl Moment {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Moment::Message => "message",
            Moment::Turn => "turn",
            Moment::Match | Moment::TurnMatch => "match",
            Moment::Window => "window",
            Moment::Firing => "firing",
            Moment::Cleared => "cleared",
            Moment::Failure => "failure",
        }
    }

    /// Whose thread does the work: that of whatever brought the message (a connection's task, or the
    /// writer where an episode republished it), or the journal's writer.
    pub fn runs_on(self) -> &'static str {
        match self {
            Moment::Message | Moment::Match => "connection",
            Moment::Turn
            | Moment::TurnMatch
            | Moment::Window
            | Moment::Firing
            | Moment::Cleared => "writer",
            Moment::Failure => "where the action failed",
        }
    }
}

/// A clause or an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The clause as it is written, on one line: `WHERE voltage > 2.2`.
    pub clause: String,
    /// What the compiled clause works with that its text does not say.
    pub note: Option<String>,
    /// Where an action goes.
    pub target: Option<Destination>,
    /// What it takes at most.
    pub cost: Cost,
}

/// The target of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `stream`, `delivery`, `hook`, `table`, `topic` or `log`.
    pub kind: &'static str,
    /// Its name; `None` where each message completes it.
    pub name: Option<String>,
}

/// Counts of operations, at most, for one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nodes of compiled code: reads, comparisons, arithmetic, calls, objects made.
    pub operations: usize,
    /// As [`Cost::operations`], done for each element of a nested query or of FOREACH.
    pub operations_each: usize,
    /// Of all of these, calls of functions.
    pub calls: usize,
    /// Of the calls, those that search with a regular expression.
    pub regexes: usize,
    /// Rows looked up in tables.
    pub lookups: usize,
}

impl Cost {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Cost) -> Cost {
        Cost {
            operations: self.operations + other.operations,
            operations_each: self.operations_each + other.operations_each,
            calls: self.calls + other.calls,
            regexes: self.regexes + other.regexes,
            lookups: self.lookups + other.lookups,
        }
    }
}

/// What WHEN remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldPlan {
    /// The clause as it is written, a line each.
    pub clause: String,
    /// `NO DATA`.
    pub is_absence: bool,
    /// The expressions of PARTITION BY; none is the topic.
    pub key: Vec<String>,
    /// How long the condition must hold.
    pub hold_for: Duration,
    /// Whether the times are the devices', with TIMESTAMP BY.
    pub event_time: bool,
    /// LATENESS.
    pub lateness: Duration,
    /// Memory of a key, bytes, beside its text and its last TRUE message ([`hold::KEY_BYTES`]).
    pub key_bytes: usize,
    /// The text of a key, bytes at most.
    pub key_text_bytes_max: usize,
    /// The last TRUE messages of all keys together, bytes at most.
    pub message_bytes_max: usize,
}

impl Explanation {
    /// The cost of a stage; nothing where the rule has none.
    pub fn cost(&self, moment: Moment) -> Cost {
        let of = self.stages.iter().filter(|stage| stage.moment == moment);
        let steps = of.flat_map(|stage| &stage.steps);
        steps.fold(Cost::default(), |sum, step| sum.plus(step.cost))
    }
}

impl Engine {
    /// The plan of a rule; `None` where there is no such rule.
    pub fn explain(&self, rule: RuleIndex) -> Option<Explanation> {
        let program = &self.compiled(rule)?.program;
        let mut explanation = explanation(self.rule(rule)?, program);
        let steps = explanation.stages.iter_mut().flat_map(|stage| &mut stage.steps);
        if let Some(filter) = steps.into_iter().find(|step| step.clause.starts_with("WHERE ")) {
            filter.note = self.found_by(rule);
        }
        Some(explanation)
    }

    /// How a topic of `rule` finds it among the others, where that is not one after the other.
    fn found_by(&self, rule: RuleIndex) -> Option<String> {
        let select = &self.rule(rule)?.definition.select;
        let fields = &self.compiled(rule)?.program.fields;
        select.from.iter().find_map(|filter| {
            // Any level will do: wildcards stand for all of them.
            let levels = filter.node.as_str().split('/').map(|level| match level {
                "+" | "#" => "x",
                level => level,
            });
            let topic = TopicName::parse(&levels.collect::<Vec<_>>().join("/")).ok()?;
            let (field, rules) = self.plan_of(&self.reached(&topic)).found_by(rule)?;
            let field = field_name(fields.get(field)?);
            Some(format!("one of {rules} rules of a topic that are found by the value of {field}"))
        })
    }
}

fn explanation(rule: &Rule, program: &Program) -> Explanation {
    let select = &rule.definition.select;
    let format = select.format.as_ref().map_or("JSON".to_owned(), |f| f.node.to_string());
    let mut stages = vec![Stage { moment: Moment::Message, steps: message_steps(rule, program) }];
    let conditions = condition_steps(rule, program);
    match (&program.lookbacks, stages.first_mut()) {
        (None, Some(message)) => message.steps.extend(conditions),
        _ => stages.push(Stage { moment: Moment::Turn, steps: conditions }),
    }
    let definition = &rule.definition;
    let decided = match (&program.watch, &program.gather, &program.lookbacks) {
        (Some(_), ..) => Moment::Firing,
        (None, Some(_), _) => Moment::Window,
        (None, None, Some(_)) => Moment::TurnMatch,
        (None, None, None) => Moment::Match,
    };
    for (moment, actions, codes) in [
        (decided, &definition.actions, &program.actions),
        (Moment::Cleared, &definition.on_cleared, &program.on_cleared),
        (Moment::Failure, &definition.on_error, &program.on_error),
    ] {
        let each = program.foreach.is_some() && moment == Moment::Match;
        // ON ERROR sends a document of the gateway's making.
        let selects = moment == decided || (moment == Moment::Cleared && !actions.is_empty());
        let made = selects.then(|| select_step(&select.projection, program, moment, each));
        let having = having_step(rule, program).filter(|_| moment == Moment::Window);
        let sent = actions.iter().zip(codes).map(|(action, code)| action_step(action, code, each));
        let steps: Vec<Step> = having.into_iter().chain(made).chain(sent).collect();
        stages.push(Stage { moment, steps });
    }
    stages.retain(|stage| !stage.steps.is_empty());
    Explanation {
        format,
        fields: program.fields.iter().map(|path| field_name(path)).collect(),
        whole_payload: reads_whole_payload(program),
        stages,
        state: remembered(rule, program),
    }
}

fn field_name(path: &[compact_str::CompactString]) -> String {
    if path.is_empty() { "*".to_owned() } else { path.join(".") }
}

/// What is done with each message of the rule's topics, in the order of evaluation.
fn message_steps(rule: &Rule, program: &Program) -> Vec<Step> {
    let select = &rule.definition.select;
    let each = program.foreach.is_some();
    let mut steps = Vec::new();
    if let (Some(clause), Some(array)) = (&select.foreach, &program.foreach) {
        let text = format!("FOREACH {} AS {}", clause.array, clause.alias.node);
        steps.push(Step::new(text, Cost::of(array, false)));
    }
    for ((name, value), code) in select.sets.iter().zip(&program.variables) {
        let step = Step::new(format!("SET @{} = {value}", name.node), Cost::of(code, each));
        steps.push(Step { note: Some("computed when it is first read".to_owned()), ..step });
    }
    for (join, code) in select.joins.iter().zip(&program.joins) {
        let mut cost = Cost { lookups: 1, ..Cost::default() };
        code.key.iter().for_each(|key| cost.add(key, each));
        let note = Some(match &code.source {
            RowSource::Reference(table) => {
                format!("{} rows by {}, in memory", table.len(), table.key().join(", "))
            }
            RowSource::Latest(_) => "the last values that UPSERT has put".to_owned(),
        });
        steps.push(Step { note, ..Step::new(join.to_string(), cost) });
    }
    if program.lookbacks.is_some() {
        steps.extend(time_step(rule, program));
    }
    if let (Some(lookbacks), Some(analytic)) = (&program.lookbacks, Analytic::of(&rule.definition))
    {
        let mut cost = Cost::default();
        lookbacks.values.iter().chain(&lookbacks.partition_by).for_each(|c| cost.add(c, each));
        let values = analytic.calls.iter().flat_map(|call| call.values);
        let values: Vec<String> = values.map(ToString::to_string).collect();
        let key = key_text(analytic.partition_by);
        steps.push(Step::new(format!("remember {} of {key}", values.join(", ")), cost));
    }
    steps
}

fn time_step(rule: &Rule, program: &Program) -> Option<Step> {
    let (clause, time) = (rule.definition.select.timestamp.as_ref()?, program.timestamp.as_ref()?);
    Some(Step::new(clause.to_string(), Cost::of(&time.value, false)))
}

/// What decides of a message.
fn condition_steps(rule: &Rule, program: &Program) -> Vec<Step> {
    let select = &rule.definition.select;
    let each = program.foreach.is_some();
    let mut steps = Vec::new();
    if let (Some(text), Some(code)) = (&select.filter, &program.filter) {
        steps.push(Step::new(format!("WHERE {text}"), Cost::of(code, each)));
    }
    if program.lookbacks.is_none() {
        steps.extend(time_step(rule, program));
    }
    if let (Some(group), Some(gather)) = (&select.group, &program.gather) {
        let mut cost = Cost::default();
        gather.keys.iter().chain(&gather.inputs).for_each(|code| cost.add(code, each));
        let aggregates = gather.spec.cells.len();
        let plural = if aggregates == 1 { "" } else { "s" };
        let note = Some(format!("the key, and what {aggregates} aggregate{plural} take"));
        let clause = GroupBy { having: None, ..group.clone() }.to_string();
        steps.push(Step { note, ..Step::new(clause.trim().to_owned(), cost) });
    }
    if let (Some(when), Some(watch)) = (&select.when, &program.watch) {
        let condition =
            when.condition.expr().map_or("NO DATA".to_owned(), |condition| condition.to_string());
        steps.push(Step::new(format!("WHEN {condition}"), Cost::of(&watch.condition, each)));
        if let (Some(text), Some(code)) = (&when.clear_when, &watch.clear) {
            steps.push(Step::new(format!("CLEAR WHEN {text}"), Cost::of(code, each)));
        }
        let mut cost = Cost::default();
        watch.partition_by.iter().for_each(|key| cost.add(key, each));
        steps.push(Step::new(format!("PARTITION BY {}", key_text(&when.partition_by)), cost));
    }
    steps
}

fn key_text(partition_by: &[Expr]) -> String {
    match partition_by {
        [] => "the topic".to_owned(),
        keys => keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn select_step(projection: &Projection, program: &Program, moment: Moment, each: bool) -> Step {
    let mut cost = Cost::default();
    cost.add_projected(&program.projection, each);
    let note = match moment {
        Moment::Match => None,
        Moment::TurnMatch => Some("over the message, decoded again".to_owned()),
        Moment::Window => Some("over the aggregates of the window".to_owned()),
        _ => Some("over the last TRUE message, decoded again".to_owned()),
    };
    Step { note, ..Step::new(projection.to_string(), cost) }
}

fn action_step(action: &Spanned<Action>, code: &ActionCode, each: bool) -> Step {
    let mut cost = Cost::default();
    cost.add_action(code, each);
    let target = match TargetKind::of(&action.node) {
        Some((kind, name)) => {
            Destination { kind: kind.as_str(), name: name.node.fixed().map(str::to_owned) }
        }
        None => match &action.node {
            Action::Republish { topic, .. } => {
                Destination { kind: "topic", name: topic.node.as_literal() }
            }
            _ => Destination { kind: "log", name: Some("log".to_owned()) },
        },
    };
    Step { target: Some(target), ..Step::new(action.node.to_string(), cost) }
}

fn having_step(rule: &Rule, program: &Program) -> Option<Step> {
    let text = rule.definition.select.group.as_ref()?.having.as_ref()?;
    let code = program.gather.as_ref()?.having.as_ref()?;
    Some(Step::new(format!("HAVING {text}"), Cost::of(code, false)))
}

fn remembered(rule: &Rule, program: &Program) -> Option<Remembered> {
    let select = &rule.definition.select;
    if let Some(when) = &select.when {
        return Some(Remembered::Condition(hold_plan(rule, when)));
    }
    let (group, gather) = select.group.as_ref().zip(program.gather.as_ref())?;
    let timestamp = select.timestamp.as_ref();
    Some(Remembered::Windows(WindowPlan {
        clause: group.to_string(),
        key: group.keys.iter().map(ToString::to_string).collect(),
        event_time: timestamp.is_some(),
        lateness: timestamp.map_or(Duration::ZERO, |clause| clause.lateness),
        window_bytes: window::pane_bytes(&gather.spec),
        key_text_bytes_max: HOLD_KEY_BYTES_MAX,
        value_bytes_max: WINDOW_VALUE_BYTES_MAX,
    }))
}

fn hold_plan(rule: &Rule, when: &When) -> HoldPlan {
    let timestamp = rule.definition.select.timestamp.as_ref();
    HoldPlan {
        clause: when.to_string(),
        is_absence: when.condition.expr().is_none(),
        key: when.partition_by.iter().map(ToString::to_string).collect(),
        hold_for: when.hold_for.node,
        event_time: timestamp.is_some(),
        lateness: timestamp.map_or(Duration::ZERO, |clause| clause.lateness),
        key_bytes: hold::KEY_BYTES,
        key_text_bytes_max: HOLD_KEY_BYTES_MAX,
        message_bytes_max: HOLD_MESSAGE_BYTES_MAX,
    }
}

impl Step {
    fn new(clause: String, cost: Cost) -> Step {
        Step { clause, note: None, target: None, cost }
    }
}

/// Whether some clause asks for `*` as a value.
fn reads_whole_payload(program: &Program) -> bool {
    let mut reads = matches!(program.projection, Projected::Whole);
    let mut look = |code: &Code| code.visit(&mut |code, _| reads |= matches!(code, Code::Payload));
    program.codes(&mut look);
    reads
}

impl Program {
    /// Calls `look` with each expression of the program that is inside no other.
    fn codes<'c>(&'c self, look: &mut dyn FnMut(&'c Code)) {
        self.variables.iter().for_each(&mut *look);
        self.foreach.iter().for_each(&mut *look);
        self.timestamp.iter().for_each(|time| look(&time.value));
        self.joins.iter().flat_map(|join| &join.key).for_each(&mut *look);
        if let Some(lookbacks) = &self.lookbacks {
            lookbacks.values.iter().chain(&lookbacks.partition_by).for_each(&mut *look);
        }
        self.filter.iter().for_each(&mut *look);
        self.projection.codes(look);
        if let Some(watch) = &self.watch {
            look(&watch.condition);
            watch.clear.iter().chain(&watch.partition_by).for_each(&mut *look);
        }
        if let Some(gather) = &self.gather {
            let codes = gather.keys.iter().chain(&gather.inputs).chain(&gather.having);
            codes.for_each(&mut *look);
        }
        let lists = [&self.actions, &self.on_cleared, &self.on_error];
        lists.into_iter().flatten().for_each(|action| action.codes(look));
    }
}

impl Projected {
    fn codes<'c>(&'c self, look: &mut dyn FnMut(&'c Code)) {
        match self {
            Projected::Whole | Projected::Bytes => {}
            Projected::Columns(columns) => columns.iter().for_each(|(_, code)| look(code)),
            Projected::Items(items) => items.iter().for_each(|item| match item {
                Item::Spread(code) | Item::Named(_, code) => look(code),
            }),
            Projected::Value(code) => look(code),
        }
    }
}

impl ActionCode {
    fn codes<'c>(&'c self, look: &mut dyn FnMut(&'c Code)) {
        match self {
            ActionCode::Stream { stream, key, hash_key, batch: _ } => {
                stream.codes(look);
                key.iter().chain(hash_key).for_each(look);
            }
            ActionCode::Deliver { delivery, batch: _ } => delivery.codes(look),
            ActionCode::Invoke { hook } => hook.codes(look),
            ActionCode::Republish { topic, headers, qos: _, retain: _ } => {
                topic.codes(look);
                headers.iter().for_each(|header| header.codes(look));
            }
            ActionCode::Upsert { table, key } => {
                table.codes(look);
                key.iter().for_each(look);
            }
            ActionCode::Log { text } => text.iter().for_each(|text| text.codes(look)),
        }
    }
}

impl Target {
    fn codes<'c>(&'c self, look: &mut dyn FnMut(&'c Code)) {
        match self {
            Target::Fixed(_) => {}
            Target::Dynamic(text) => text.codes(look),
        }
    }
}

impl HeaderText {
    fn codes<'c>(&'c self, look: &mut dyn FnMut(&'c Code)) {
        if let HeaderCode::User(name) = &self.name {
            name.codes(look);
        }
        self.value.codes(look);
    }
}

impl Text {
    fn codes<'c>(&'c self, look: &mut dyn FnMut(&'c Code)) {
        self.0.iter().for_each(|part| match part {
            Part::Literal(_) => {}
            Part::Code(code) => look(code),
        });
    }
}

impl Code {
    /// Calls `look` with this node and all below it, and whether it is done for each element of a
    /// nested query.
    fn visit<'c>(&'c self, look: &mut dyn FnMut(&'c Code, bool)) {
        self.visit_in(false, look);
    }

    fn visit_in<'c>(&'c self, each: bool, look: &mut dyn FnMut(&'c Code, bool)) {
        look(self, each);
        let mut below = |code: &'c Code| code.visit_in(each, look);
        match self {
            Code::Constant(_)
            | Code::Field { .. }
            | Code::Element { .. }
            | Code::Joined { .. }
            | Code::JoinedKey { .. }
            | Code::Each { .. }
            | Code::Variable(_)
            | Code::Hold(_)
            | Code::Key(_)
            | Code::Aggregate(_)
            | Code::Window(_)
            | Code::Payload
            | Code::EncodedPayload => {}
            Code::Array(codes)
            | Code::And(codes)
            | Code::Or(codes)
            | Code::LookUp { key: codes, .. }
            | Code::Call { arguments: codes, .. }
            | Code::Context { arguments: codes, .. }
            | Code::Prepared { arguments: codes, .. } => codes.iter().for_each(below),
            Code::Secret { key, .. } => key.iter().for_each(|code| below(code)),
            Code::Object(members) => members.iter().for_each(|(_, code)| below(code)),
            Code::Earlier { otherwise, .. } => below(otherwise),
            Code::Member { of: code, .. }
            | Code::Lambda { argument: code, .. }
            | Code::Not(code)
            | Code::Negate(code)
            | Code::Is { value: code, .. }
            | Code::DecodeProto { value: code, .. }
            | Code::Cast { value: code, .. } => below(code),
            Code::Compare { sides, .. }
            | Code::Arithmetic { sides, .. }
            | Code::In { sides, .. }
            | Code::Like { sides, .. } => sides.iter().for_each(below),
            Code::Between { parts, .. } => parts.iter().for_each(below),
            Code::Case { operand, branches, otherwise } => {
                operand.iter().for_each(|code| below(code));
                branches.iter().flat_map(|(when, then)| [when, then]).for_each(&mut below);
                below(otherwise);
            }
            Code::Subquery(query) | Code::Exists(query) => query.visit_in(each, look),
        }
    }
}

impl Subquery {
    fn visit_in<'c>(&'c self, each: bool, look: &mut dyn FnMut(&'c Code, bool)) {
        self.source.visit_in(each, look);
        let mut below = |code: &'c Code| code.visit_in(true, look);
        self.filter.iter().for_each(&mut below);
        self.projection.codes(&mut below);
    }
}

impl Cost {
    fn of(code: &Code, each: bool) -> Cost {
        let mut cost = Cost::default();
        cost.add(code, each);
        cost
    }

    /// Counts an expression; `each` where the whole of it is done for each element.
    fn add(&mut self, code: &Code, each: bool) {
        code.visit(&mut |code, inside| self.count(code, each || inside));
    }

    fn add_projected(&mut self, projection: &Projected, each: bool) {
        if let Projected::Whole | Projected::Bytes = projection {
            *(if each { &mut self.operations_each } else { &mut self.operations }) += 1;
        }
        projection.codes(&mut |code| self.add(code, each));
    }

    fn add_action(&mut self, action: &ActionCode, each: bool) {
        action.codes(&mut |code| self.add(code, each));
    }

    fn count(&mut self, code: &Code, each: bool) {
        let (is_call, is_regex) = match code {
            Code::Constant(_) => return,
            Code::Call { function, .. } => (true, is_regex(*function)),
            Code::Context { .. }
            | Code::DecodeProto { .. }
            | Code::Lambda { .. }
            | Code::LookUp { .. }
            | Code::Secret { .. } => (true, false),
            Code::Prepared { call, .. } => (true, call.is_search()),
            _ => (false, false),
        };
        *(if each { &mut self.operations_each } else { &mut self.operations }) += 1;
        self.calls += usize::from(is_call);
        self.regexes += usize::from(is_regex);
        self.lookups += usize::from(matches!(code, Code::LookUp { .. }));
    }
}

fn is_regex(function: Function) -> bool {
    matches!(function, Function::RegexpMatches | Function::RegexpReplace | Function::RegexpSubstr)
}
