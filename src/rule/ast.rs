//! The syntax tree of a rule file, as `parse` makes it and `check` approves it.
//!
//! Spans are byte ranges into the file. The tree is what the engine compiles; nothing in it is
//! evaluated here. `Display` of an expression prints text that parses back to the same tree.

mod format;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use format::CsvColumn;
pub use format::CsvFormat;
pub use format::Format;
pub use format::TextPattern;

use super::target::TargetName;
use crate::publish::QoS;
use crate::topic::TopicFilter;
use crate::value::Value;

/// Byte range in the rule file.
pub type Span = Range<usize>;

/// A node and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The node.
    pub node: T,
    /// Where it stands.
    pub span: Span,
}

/// A rule's name: letters, digits, underscore (AWS IoT: `ruleName`), at most 128 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(pub Arc<str>);

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// AWS IoT SQL versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SqlVersion {
    /// The original: `10.0` stays a Decimal.
    V2015_10_08,
    /// The default here: whole numbers are Int.
    #[default]
    V2016_03_23,
}

/// `CREATE RULE …;`
#[derive(Clone, Debug)]
pub struct CreateRule {
    /// Its name, unique in the rule set.
    pub name: Spanned<RuleName>,
    /// `AWS 'version'`: nothing beyond AWS is accepted.
    pub strict: Option<SqlVersion>,
    /// `DESCRIPTION '…'`.
    pub description: Option<String>,
    /// `DISABLED`: checked, but not run.
    pub disabled: bool,
    /// The statement after AS.
    pub select: Select,
    /// `DO …`.
    pub actions: Vec<Spanned<Action>>,
    /// `ON CLEARED DO …`.
    pub on_cleared: Vec<Spanned<Action>>,
    /// `ON ERROR DO …`.
    pub on_error: Vec<Spanned<Action>>,
    /// The whole statement.
    pub span: Span,
}

/// `CREATE TABLE name FROM 'file' KEY column, …;`
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// Its name, unique in the rule set.
    pub name: Spanned<String>,
    /// The file that holds its rows, from the folder of the rule file.
    pub file: Spanned<String>,
    /// The columns that tell its rows apart.
    pub key: Vec<Spanned<String>>,
    /// The whole statement.
    pub span: Span,
}

/// `[LEFT] JOIN table [AS alias] ON …`: a row of a reference table beside the message.
#[derive(Clone, Debug)]
pub struct Join {
    /// Whether a message without a row goes on without one.
    pub kind: JoinKind,
    /// The table.
    pub table: Spanned<String>,
    /// What its row is called in this rule.
    pub alias: Option<String>,
    /// What must be equal to find the row.
    pub on: Expr,
    /// The clause.
    pub span: Span,
}

/// What a join does where there is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// `JOIN`: the rule does not match.
    Inner,
    /// `LEFT JOIN`: the columns are Undefined.
    Left,
}

/// The top-level SELECT.
#[derive(Clone, Debug)]
pub struct Select {
    /// `SET @v = expr, …`, in order.
    pub sets: Vec<(Spanned<String>, Expr)>,
    /// What goes out.
    pub projection: Projection,
    /// `FROM 'filter', …`; empty only for Basic Ingest rules.
    pub from: Vec<Spanned<TopicFilter>>,
    /// `AS format` behind the filters; `None` is JSON.
    pub format: Option<Spanned<Format>>,
    /// `FOREACH array AS name`.
    pub foreach: Option<Foreach>,
    /// `TIMESTAMP BY`; `None` means the receive time.
    pub timestamp: Option<TimestampBy>,
    /// `JOIN table ON …`, in order.
    pub joins: Vec<Join>,
    /// `WHERE`.
    pub filter: Option<Expr>,
    /// `WHEN … FOR …`.
    pub when: Option<When>,
    /// From SELECT (or SET) to the end of the last clause.
    pub span: Span,
}

/// `TIMESTAMP BY expr [unit] [LATENESS d]`: the time of a message is a value in it.
#[derive(Clone, Debug)]
pub struct TimestampBy {
    /// The time: a number of `unit`s since the epoch, or RFC 3339 text.
    pub expr: Expr,
    /// What a number counts.
    pub unit: TimeUnit,
    /// How much older than the newest one a message may be and still be put in its place.
    pub lateness: Duration,
    /// The clause.
    pub span: Span,
}

/// What a number that is a time counts, from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// SECONDS, also with a fraction.
    Seconds,
    /// MILLISECONDS, when nothing is said.
    #[default]
    Milliseconds,
    /// MICROSECONDS.
    Microseconds,
    /// NANOSECONDS.
    Nanoseconds,
}

/// `FOREACH array AS name`: the rule runs once for each element.
#[derive(Clone, Debug)]
pub struct Foreach {
    /// What it runs over: an array, or an object as one element.
    pub array: Expr,
    /// The name of the element.
    pub alias: Spanned<String>,
    /// The clause.
    pub span: Span,
}

/// `SELECT …` or `SELECT VALUE …`.
#[derive(Clone, Debug)]
pub enum Projection {
    /// An object, from its items in order; later keys win.
    Items(Vec<SelectItem>),
    /// The value itself.
    Value(Expr),
}

/// One item of a SELECT list.
#[derive(Clone, Debug)]
pub enum SelectItem {
    /// `*`: the payload's members (or the raw payload when it stands alone).
    Star(Span),
    /// `path.*`: the members of an object.
    Spread(Expr),
    /// `expr [AS a.b]`; without AS the key is the path's last segment or the function's name.
    Expr {
        /// What to evaluate.
        expr: Expr,
        /// `AS a.b.c` as its parts.
        alias: Option<Spanned<Vec<String>>>,
    },
}

/// What WHEN watches.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Whether this is true of each message.
    Expr(Expr),
    /// `NO DATA`: whether there is a message at all.
    NoData,
}

impl Condition {
    /// The expression, where it is one.
    pub fn expr(&self) -> Option<&Expr> {
        match self {
            Condition::Expr(expr) => Some(expr),
            Condition::NoData => None,
        }
    }
}

/// `WHEN condition FOR duration …`.
#[derive(Clone, Debug)]
pub struct When {
    /// What must stay true.
    pub condition: Condition,
    /// `FOR`; zero fires on the first TRUE.
    pub hold_for: Spanned<Duration>,
    /// `PARTITION BY`; empty means the concrete topic.
    pub partition_by: Vec<Expr>,
    /// `CLEAR WHEN`; `None` means NOT condition.
    pub clear_when: Option<Expr>,
    /// `CLEAR FOR` (also the FOR of CLEAR WHEN); zero clears at once.
    pub clear_for: Duration,
    /// `KEEP`: stays firing this long after it would clear.
    pub keep: Duration,
    /// `MAX GAP`.
    pub max_gap: Option<MaxGap>,
    /// `REPEAT EVERY`.
    pub repeat_every: Option<Duration>,
    /// `ON RESTART`.
    pub on_restart: OnRestart,
    /// The clause.
    pub span: Span,
}

/// `MAX GAP d [RESET | HOLD]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxGap {
    /// Longest silence between two known messages of a key.
    pub limit: Duration,
    /// Whether a firing key stays firing over a longer one (HOLD) or is cleared (RESET).
    pub hold: bool,
}

/// What downtime does to a pending clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRestart {
    /// Downtime is left out.
    #[default]
    Pause,
    /// Downtime counts.
    Count,
    /// Pending keys start over.
    Reset,
}

/// Where a match goes.
#[derive(Clone, Debug)]
pub enum Action {
    /// `STREAM name KEY expr [HASH KEY expr]`.
    Stream {
        /// Stream name.
        name: Spanned<TargetName>,
        /// Partition key; `None` means the concrete topic.
        key: Option<Expr>,
        /// Explicit hash key, a decimal below 2^128.
        hash_key: Option<Expr>,
        /// `BATCH`: an array result is a record an element.
        batch: bool,
    },
    /// `DELIVER name [BATCH]`.
    Deliver {
        /// Delivery name.
        name: Spanned<TargetName>,
        /// `BATCH`.
        batch: bool,
    },
    /// `INVOKE name`.
    Invoke {
        /// Hook name.
        name: Spanned<TargetName>,
    },
    /// `REPUBLISH 'topic' [QOS n] [RETAIN] [HEADERS (…)]`.
    Republish {
        /// Topic with `${…}`; a leading `$$` stands for `$`.
        topic: Spanned<Template>,
        /// Quality of service; 0 when not said.
        qos: QoS,
        /// Retain flag.
        retain: bool,
        /// MQTT 5 properties of the new message, in their order.
        headers: Vec<Header>,
    },
    /// `UPSERT table [KEY expr]`: keeps the last value of the key.
    Upsert {
        /// Table name.
        name: Spanned<TargetName>,
        /// The key; `None` means the concrete topic.
        key: Option<Expr>,
    },
    /// `LOG ['text']`: a line on the gateway's log.
    Log {
        /// Text with `${…}`; the output when absent.
        text: Option<Spanned<Template>>,
    },
}

/// One of HEADERS: an MQTT 5 property of a republished message (MQTT 5, section 3.3.2.3; AWS IoT:
/// `headers` of the republish action).
#[derive(Clone, Debug)]
pub struct Header {
    /// Which one.
    pub name: Spanned<HeaderName>,
    /// Its value.
    pub value: Spanned<Template>,
}

/// Which property a [`Header`] sets.
#[derive(Clone, Debug)]
pub enum HeaderName {
    /// `content_type`
    ContentType,
    /// `correlation_data`, in base64.
    CorrelationData,
    /// `message_expiry`, whole seconds.
    MessageExpiry,
    /// `payload_format`: `UNSPECIFIED_BYTES` or `UTF8_DATA`.
    PayloadFormat,
    /// `response_topic`
    ResponseTopic,
    /// `USER 'name'`; names may repeat.
    User(Template),
}

impl HeaderName {
    /// Those that are words, as they are written.
    pub const WORDS: [(&'static str, HeaderName); 5] = [
        ("content_type", HeaderName::ContentType),
        ("correlation_data", HeaderName::CorrelationData),
        ("message_expiry", HeaderName::MessageExpiry),
        ("payload_format", HeaderName::PayloadFormat),
        ("response_topic", HeaderName::ResponseTopic),
    ];

    /// The header that `word` names, in any case.
    pub fn parse(word: &str) -> Option<HeaderName> {
        let known = HeaderName::WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        known.map(|(_, name)| name.clone())
    }
}

/// Text with `${expr}` in it.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its parts in order.
    pub parts: Vec<TemplatePart>,
}

/// A part of a [`Template`].
#[derive(Clone, Debug)]
pub enum TemplatePart {
    /// Kept as it is.
    Text(String),
    /// Evaluated against the original message.
    Expr(Expr),
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// `.name`
    Name(String),
    /// `[n]`, zero-based.
    Index(usize),
}

/// Kinds of expression.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// Number, string, true, false, NULL.
    Literal(Value),
    /// `a.b[0].c`: a field of the message, or of the element inside a sub-query, or `alias.x`.
    Path {
        /// First name.
        root: String,
        /// The rest.
        segments: Vec<Segment>,
    },
    /// `@v`.
    Variable(String),
    /// `hold.since` and its like; only where WHEN stands.
    Hold(HoldField),
    /// `*`: the whole payload.
    Star,
    /// `[a, b]`.
    Array(Vec<Expr>),
    /// `{'k': v}`.
    Object(Vec<(String, Expr)>),
    /// `expr.a[0]` where `expr` is not a path.
    Member {
        /// What it is taken from.
        base: Box<Expr>,
        /// The steps.
        segments: Vec<Segment>,
    },
    /// `NOT x`, `-x`.
    Unary {
        /// Which.
        op: UnaryOp,
        /// Its operand.
        operand: Box<Expr>,
    },
    /// `a + b` and its like.
    Binary {
        /// Which.
        op: BinaryOp,
        /// Left side.
        left: Box<Expr>,
        /// Right side.
        right: Box<Expr>,
    },
    /// `x [NOT] IN array`.
    In {
        /// The element.
        needle: Box<Expr>,
        /// The array.
        haystack: Box<Expr>,
        /// NOT IN.
        negated: bool,
    },
    /// `x [NOT] BETWEEN a AND b`.
    Between {
        /// The value.
        value: Box<Expr>,
        /// Lower bound, inclusive.
        low: Box<Expr>,
        /// Upper bound, inclusive.
        high: Box<Expr>,
        /// NOT BETWEEN.
        negated: bool,
    },
    /// `x [NOT] LIKE 'pattern'`: `%` any text, `_` one character.
    Like {
        /// The value.
        value: Box<Expr>,
        /// The pattern.
        pattern: Box<Expr>,
        /// NOT LIKE.
        negated: bool,
    },
    /// `x IS [NOT] NULL`, `x IS [NOT] UNDEFINED`.
    Is {
        /// The value.
        value: Box<Expr>,
        /// What it is compared with.
        what: IsWhat,
        /// IS NOT.
        negated: bool,
    },
    /// `CASE v WHEN t THEN r … [ELSE e] END`; without `v` each WHEN is a condition.
    Case {
        /// The value compared; `None` in the searched form.
        operand: Option<Box<Expr>>,
        /// WHEN, THEN.
        branches: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
    },
    /// `name(args)`; the name as written, looked up in `rule::function` without regard to case.
    Call {
        /// Function name.
        name: Spanned<String>,
        /// Its arguments.
        args: Vec<Expr>,
    },
    /// `cast(x AS type)`.
    Cast {
        /// The value.
        value: Box<Expr>,
        /// The type.
        target: CastTarget,
    },
    /// `(SELECT … FROM … [WHERE …])`.
    Subquery(Box<Subquery>),
    /// `EXISTS (SELECT …)`.
    Exists(Box<Subquery>),
}

/// `hold.…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldField {
    /// The key: one value, or an array of several.
    Key,
    /// When the condition became true, epoch ms.
    Since,
    /// When it fired, epoch ms.
    FiredAt,
    /// TRUE messages so far.
    Samples,
    /// From `since` to the event, ms.
    DurationMs,
    /// Why it cleared; Undefined in the firing record.
    Reason,
}

impl HoldField {
    /// All of them.
    pub const ALL: [HoldField; 6] = [
        HoldField::Key,
        HoldField::Since,
        HoldField::FiredAt,
        HoldField::Samples,
        HoldField::DurationMs,
        HoldField::Reason,
    ];

    /// The name behind `hold.`.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldField::Key => "key",
            HoldField::Since => "since",
            HoldField::FiredAt => "fired_at",
            HoldField::Samples => "samples",
            HoldField::DurationMs => "duration_ms",
            HoldField::Reason => "reason",
        }
    }

    /// The field of that name, in any case.
    pub fn parse(name: &str) -> Option<HoldField> {
        HoldField::ALL.into_iter().find(|field| field.as_str().eq_ignore_ascii_case(name))
    }
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// NOT
    Not,
    /// -
    Negate,
}

/// Infix operators, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// OR
    Or,
    /// AND
    And,
    /// =
    Equal,
    /// <>, !=
    NotEqual,
    /// <
    Less,
    /// <=
    LessOrEqual,
    /// >
    Greater,
    /// >=
    GreaterOrEqual,
    /// +
    Add,
    /// -
    Subtract,
    /// *
    Multiply,
    /// /
    Divide,
    /// %
    Remainder,
}

/// Right side of IS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsWhat {
    /// NULL
    Null,
    /// UNDEFINED
    Undefined,
}

/// Target of a cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastTarget {
    /// String, Nvarchar, Text, Ntext, Varchar.
    String,
    /// Int, Integer.
    Int,
    /// Decimal, Double.
    Decimal,
    /// Bool, Boolean.
    Bool,
}

/// A nested query.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What each element becomes.
    pub projection: Projection,
    /// What it runs over: an array, or an object as one element.
    pub source: Expr,
    /// `AS alias`.
    pub alias: Option<String>,
    /// WHERE.
    pub filter: Option<Expr>,
}

impl CreateRule {
    /// The actions of DO, ON CLEARED and ON ERROR.
    pub fn all_actions(&self) -> impl Iterator<Item = &Spanned<Action>> {
        self.actions.iter().chain(&self.on_cleared).chain(&self.on_error)
    }
}

impl Expr {
    /// Calls `visit` with each expression directly inside this one, nested queries included.
    pub fn for_each_child<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match &self.kind {
            ExprKind::Literal(_)
            | ExprKind::Path { .. }
            | ExprKind::Variable(_)
            | ExprKind::Hold(_)
            | ExprKind::Star => {}
            ExprKind::Array(items) | ExprKind::Call { args: items, .. } => {
                items.iter().for_each(visit);
            }
            ExprKind::Object(entries) => entries.iter().for_each(|(_, value)| visit(value)),
            ExprKind::Member { base: inner, .. }
            | ExprKind::Unary { operand: inner, .. }
            | ExprKind::Is { value: inner, .. }
            | ExprKind::Cast { value: inner, .. } => visit(inner),
            ExprKind::Binary { left, right, .. }
            | ExprKind::In { needle: left, haystack: right, .. }
            | ExprKind::Like { value: left, pattern: right, .. } => {
                visit(left);
                visit(right);
            }
            ExprKind::Between { value, low, high, .. } => {
                visit(value);
                visit(low);
                visit(high);
            }
            ExprKind::Case { operand, branches, otherwise } => {
                operand.iter().for_each(|operand| visit(operand));
                for (when, then) in branches {
                    visit(when);
                    visit(then);
                }
                otherwise.iter().for_each(|otherwise| visit(otherwise));
            }
            ExprKind::Subquery(query) | ExprKind::Exists(query) => {
                query.projection.for_each_expr(visit);
                visit(&query.source);
                query.filter.iter().for_each(visit);
            }
        }
    }
}

impl CreateRule {
    /// Calls `visit` with each expression of the rule that is inside no other.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        let select = &self.select;
        select.sets.iter().for_each(|(_, value)| visit(value));
        select.projection.for_each_expr(visit);
        select.timestamp.iter().for_each(|clause| visit(&clause.expr));
        select.joins.iter().for_each(|join| visit(&join.on));
        select.filter.iter().for_each(&mut *visit);
        if let Some(when) = &select.when {
            when.condition.expr().into_iter().for_each(&mut *visit);
            when.clear_when.iter().chain(&when.partition_by).for_each(&mut *visit);
        }
        for action in self.actions.iter().chain(&self.on_cleared).chain(&self.on_error) {
            action.node.for_each_expr(visit);
        }
    }
}

impl Projection {
    /// Calls `visit` with the expression of each item that has one.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match self {
            Projection::Value(expr) => visit(expr),
            Projection::Items(items) => {
                for item in items {
                    match item {
                        SelectItem::Star(_) => {}
                        SelectItem::Spread(expr) | SelectItem::Expr { expr, .. } => visit(expr),
                    }
                }
            }
        }
    }
}

impl Action {
    /// Calls `visit` with each expression of the action, in templates too.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match self {
            Action::Stream { name, key, hash_key, .. } => {
                name.node.for_each_expr(visit);
                key.iter().chain(hash_key).for_each(visit);
            }
            Action::Deliver { name, .. } | Action::Invoke { name } => {
                name.node.for_each_expr(visit);
            }
            Action::Upsert { name, key } => {
                name.node.for_each_expr(visit);
                key.iter().for_each(visit);
            }
            Action::Log { text: None } => {}
            Action::Republish { topic, headers, .. } => {
                topic.node.for_each_expr(visit);
                for Header { name, value } in headers {
                    if let HeaderName::User(name) = &name.node {
                        name.for_each_expr(visit);
                    }
                    value.node.for_each_expr(visit);
                }
            }
            Action::Log { text: Some(text) } => text.node.for_each_expr(visit),
        }
    }
}

impl Template {
    /// Calls `visit` with the expression of each `${…}`.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        for part in &self.parts {
            match part {
                TemplatePart::Text(_) => {}
                TemplatePart::Expr(expr) => visit(expr),
            }
        }
    }

    /// The text, if nothing in it depends on the message.
    pub fn as_literal(&self) -> Option<String> {
        let mut literal = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => literal.push_str(text),
                TemplatePart::Expr(_) => return None,
            }
        }
        Some(literal)
    }
}
