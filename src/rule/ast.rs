//! The syntax tree of a rule file, as `parse` makes it and `check` approves it.
//!
//! Spans are byte ranges into the file. The tree is what the engine compiles; nothing in it is
//! evaluated here. `Display` of an expression prints text that parses back to the same tree.

mod action;
mod expression;
mod format;
mod source;
mod window;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use action::Action;
pub use action::Header;
pub use action::HeaderName;
pub use action::Template;
pub use action::TemplatePart;
pub use expression::BinaryOp;
pub use expression::CastTarget;
pub use expression::Expr;
pub use expression::ExprKind;
pub use expression::HoldField;
pub use expression::IsWhat;
pub use expression::Segment;
pub use expression::Subquery;
pub use expression::UnaryOp;
pub use format::CsvColumn;
pub use format::CsvFormat;
pub use format::Format;
pub use format::TextPattern;
pub use source::StreamSource;
pub use source::StreamStart;
pub use window::GroupBy;
pub use window::Window;
pub use window::WindowField;

use crate::topic::TopicFilter;

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
    /// `FROM 'filter', …`; empty for rules over a stream and for Basic Ingest rules.
    pub from: Vec<Spanned<TopicFilter>>,
    /// `FROM STREAM name …`.
    pub stream: Option<StreamSource>,
    /// `AS format` behind FROM; `None` is JSON.
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
    /// `GROUP BY …`: the rule speaks of windows, not of messages.
    pub group: Option<GroupBy>,
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
    /// `AT LEAST`; `None` means that each message's own truth counts.
    pub at_least: Option<AtLeast>,
    /// `PARTITION BY`; empty means the concrete topic, or the partition key of a record.
    pub partition_by: Vec<Expr>,
    /// `FOR EACH ROW OF table`: keys that NO DATA watches before they are heard of.
    pub each_row: Option<Spanned<String>>,
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

/// `AT LEAST n TIMES WITHIN d`: true while so many TRUE messages lie within the last `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtLeast {
    /// How many, from 1 to [`crate::limits::HOLD_TIMES_MAX`].
    pub times: u32,
    /// Within how long; both ends belong to it.
    pub within: Duration,
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

impl CreateRule {
    /// The actions of DO, ON CLEARED and ON ERROR.
    pub fn all_actions(&self) -> impl Iterator<Item = &Spanned<Action>> {
        self.actions.iter().chain(&self.on_cleared).chain(&self.on_error)
    }

    /// Calls `visit` with each expression of the rule that is inside no other.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        self.select.for_each_expr(visit);
        for action in self.actions.iter().chain(&self.on_cleared).chain(&self.on_error) {
            action.node.for_each_expr(visit);
        }
    }
}

impl Select {
    /// Calls `visit` with each expression of the statement that is inside no other.
    pub fn for_each_expr<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        self.sets.iter().for_each(|(_, value)| visit(value));
        self.projection.for_each_expr(visit);
        self.timestamp.iter().for_each(|clause| visit(&clause.expr));
        self.joins.iter().for_each(|join| visit(&join.on));
        self.filter.iter().for_each(&mut *visit);
        if let Some(when) = &self.when {
            when.condition.expr().into_iter().for_each(&mut *visit);
            when.clear_when.iter().chain(&when.partition_by).for_each(&mut *visit);
        }
        if let Some(group) = &self.group {
            group.keys.iter().chain(&group.having).for_each(&mut *visit);
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
