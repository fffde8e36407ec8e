//! What a rule is compiled to: a tree without names, where every field is a number.

use std::sync::Arc;

use compact_str::CompactString;

use super::function::Native;
use super::function::Prepared;
use super::window::WindowSpec;
use crate::publish::QoS;
use crate::rule::analytic::Lookback;
use crate::rule::ast::BinaryOp;
use crate::rule::ast::CastTarget;
use crate::rule::ast::HoldField;
use crate::rule::ast::IsWhat;
use crate::rule::ast::JoinKind;
use crate::rule::ast::Segment;
use crate::rule::ast::TimeUnit;
use crate::rule::ast::WindowField;
use crate::rule::function::Function;
use crate::rule::schema::Schema;
use crate::rule::table::RowSource;
use crate::value::Value;

/// The steps of a path below a value.
pub(super) type Steps = Box<[Segment]>;

/// An expression.
#[derive(Debug)]
pub(super) enum Code {
    /// A literal, or what constants gave.
    Constant(Value),
    /// A field of the message, by its number in the rule, and what is taken from it.
    Field { field: usize, steps: Steps },
    /// What is taken from the element of a sub-query, `depth` sub-queries outwards.
    Element { depth: usize, steps: Steps },
    /// What is taken from a joined row, by the number of its join.
    Joined { join: usize, steps: Steps },
    /// The key of a joined row of a table that UPSERT writes.
    JoinedKey { join: usize },
    /// What is taken from the element of FOREACH.
    Each { steps: Steps },
    /// `@v`, by its number.
    Variable(usize),
    /// `hold.…`
    Hold(HoldField),
    /// What an analytic function answers, by the number of its call, and what stands where nothing
    /// that early is remembered.
    Earlier { call: usize, otherwise: Box<Code> },
    /// A key of the group, by its number.
    Key(usize),
    /// An aggregate of the window, by its number.
    Aggregate(usize),
    /// `window.…`
    Window(WindowField),
    /// `*` of JSON: the whole payload.
    Payload,
    /// `[a, b]`
    Array(Box<[Code]>),
    /// `{'k': v}`
    Object(Box<[(CompactString, Code)]>),
    /// What is taken from another expression.
    Member { of: Box<Code>, steps: Steps },
    /// `NOT x`
    Not(Box<Code>),
    /// `-x`
    Negate(Box<Code>),
    /// `a AND b AND c`
    And(Box<[Code]>),
    /// `a OR b OR c`
    Or(Box<[Code]>),
    /// `a < b` and its like.
    Compare { op: BinaryOp, sides: Box<[Code; 2]> },
    /// `a + b` and its like.
    Arithmetic { op: BinaryOp, sides: Box<[Code; 2]> },
    /// `x [NOT] IN array`: needle, haystack.
    In { sides: Box<[Code; 2]>, negated: bool },
    /// `x [NOT] BETWEEN low AND high`
    Between { parts: Box<[Code; 3]>, negated: bool },
    /// `x [NOT] LIKE pattern`
    Like { sides: Box<[Code; 2]>, negated: bool },
    /// `x IS [NOT] NULL`
    Is { value: Box<Code>, what: IsWhat, negated: bool },
    /// `CASE v WHEN …`; the searched form without an operand.
    Case { operand: Option<Box<Code>>, branches: Box<[(Code, Code)]>, otherwise: Box<Code> },
    /// A function of its arguments alone.
    Call { function: Function, native: Native, arguments: Box<[Code]> },
    /// A function of the message or the gateway.
    Context { function: Function, arguments: Box<[Code]> },
    /// A function one of whose arguments is a program: compiled with the rule. The other arguments.
    Prepared { call: Box<Prepared>, arguments: Box<[Code]> },
    /// `encode(*, 'base64')`, and `*` of BYTES: the payload's bytes, whatever they are.
    EncodedPayload,
    /// `decode(x, 'proto', …)` with its type known.
    DecodeProto { value: Box<Code>, schema: Schema },
    /// A row of a table: `get_thing_shadow()`, `get_dynamodb()`.
    LookUp { source: RowSource, key: Box<[Code]> },
    /// `get_secret()`: what may be its name, the likeliest first, and the key in its JSON.
    Secret { names: Box<[Box<str>]>, key: Option<Box<Code>> },
    /// `aws_lambda(hook, argument)`
    Lambda { hook: Arc<str>, argument: Box<Code> },
    /// `cast(x AS type)`
    Cast { value: Box<Code>, target: CastTarget },
    /// `(SELECT …)`
    Subquery(Box<Subquery>),
    /// `EXISTS (SELECT …)`
    Exists(Box<Subquery>),
}

impl Code {
    /// Whether evaluating it takes nothing of the [`Budget`](super::operators::Budget).
    pub(super) fn cannot_fault(&self) -> bool {
        match self {
            Code::Constant(_) | Code::Field { .. } => true,
            Code::Not(of) | Code::Is { value: of, .. } => of.cannot_fault(),
            Code::And(terms) | Code::Or(terms) => terms.iter().all(Code::cannot_fault),
            Code::Compare { sides, .. } | Code::In { sides, .. } | Code::Like { sides, .. } => {
                sides.iter().all(Code::cannot_fault)
            }
            Code::Between { parts, .. } => parts.iter().all(Code::cannot_fault),
            _ => false,
        }
    }
}

/// The time of a message.
#[derive(Debug)]
pub(super) struct TimeCode {
    pub(super) value: Code,
    /// What a number counts.
    pub(super) unit: TimeUnit,
}

/// A nested query.
#[derive(Debug)]
pub(super) struct Subquery {
    /// What it runs over.
    pub(super) source: Code,
    /// WHERE, in the scope of an element.
    pub(super) filter: Option<Code>,
    /// What each element becomes, in the same scope.
    pub(super) projection: Projected,
}

/// What SELECT makes.
#[derive(Debug)]
pub(super) enum Projected {
    /// `SELECT *` alone: the value as it is.
    Whole,
    /// `SELECT *` alone over BYTES: the payload as it came.
    Bytes,
    /// Plain columns with different names: written without building an object first.
    Columns(Box<[(CompactString, Code)]>),
    /// Anything else with keys: stars, spreads, nested aliases, repeated names.
    Items(Box<[Item]>),
    /// `SELECT VALUE x`.
    Value(Code),
}

/// One item of [`Projected::Items`].
#[derive(Debug)]
pub(super) enum Item {
    /// The members of an object: `*`, `path.*`.
    Spread(Code),
    /// One key, possibly nested.
    Named(Box<[CompactString]>, Code),
}

/// `[LEFT] JOIN table ON …`
#[derive(Debug)]
pub(super) struct Join {
    /// Where the row is.
    pub(super) source: RowSource,
    /// The values of the table's key columns, over the message, variables and rows joined before.
    pub(super) key: Box<[Code]>,
    /// Whether a message without a row goes on.
    pub(super) kind: JoinKind,
}

/// A WHEN clause.
#[derive(Debug)]
pub(super) struct Watch {
    /// What must stay true.
    pub(super) condition: Code,
    /// NO DATA: any message counts, whatever is in it.
    pub(super) is_absence: bool,
    /// CLEAR WHEN.
    pub(super) clear: Option<Code>,
    /// PARTITION BY; empty is the topic.
    pub(super) partition_by: Box<[Code]>,
}

/// The analytic functions of a rule.
#[derive(Debug)]
pub(super) struct Lookbacks {
    /// Changes when what is remembered does, or of what messages.
    pub(super) fingerprint: u64,
    /// The calls, by number.
    pub(super) calls: Box<[Lookback]>,
    /// What they are given with each message, one call after the other.
    pub(super) values: Box<[Code]>,
    /// OVER (PARTITION BY …); empty is the topic.
    pub(super) partition_by: Box<[Code]>,
    /// WHERE asks nothing else of the message: it is judged before the payload is decoded again.
    pub(super) filter_is_alone: bool,
}

/// A GROUP BY clause.
#[derive(Debug)]
pub(super) struct Gather {
    /// What messages of a group have in common.
    pub(super) keys: Box<[Code]>,
    /// What the aggregates are taken of.
    pub(super) inputs: Box<[Code]>,
    /// The windows and their aggregates.
    pub(super) spec: Arc<WindowSpec>,
    /// HAVING.
    pub(super) having: Option<Code>,
}

/// Text with expressions in it.
#[derive(Debug)]
pub(super) struct Text(pub(super) Box<[Part]>);

/// A part of a [`Text`].
#[derive(Debug)]
pub(super) enum Part {
    /// Kept.
    Literal(Box<str>),
    /// Evaluated.
    Code(Code),
}

/// The name of a target.
#[derive(Debug)]
pub(super) enum Target {
    /// Known when the rule was compiled.
    Fixed(Arc<str>),
    /// Completed by the message.
    Dynamic(Text),
}

/// One of HEADERS.
#[derive(Debug)]
pub(super) struct HeaderText {
    pub(super) name: HeaderCode,
    pub(super) value: Text,
}

/// What a [`HeaderText`] sets.
#[derive(Debug)]
pub(super) enum HeaderCode {
    ContentType,
    CorrelationData,
    MessageExpiry,
    PayloadFormat,
    ResponseTopic,
    /// A user property of that name.
    User(Text),
}

/// An action before its expressions are evaluated.
#[derive(Debug)]
pub(super) enum ActionCode {
    /// STREAM
    Stream { stream: Target, key: Option<Code>, hash_key: Option<Code>, batch: bool },
    /// DELIVER
    Deliver { delivery: Target, batch: bool },
    /// INVOKE
    Invoke { hook: Target },
    /// REPUBLISH
    Republish { topic: Text, qos: QoS, retain: bool, headers: Box<[HeaderText]> },
    /// UPSERT
    Upsert { table: Target, key: Option<Code> },
    /// LOG
    Log { text: Option<Text> },
}

impl ActionCode {
    /// Whether an array result becomes a record an element.
    pub(super) fn is_batch(&self) -> bool {
        matches!(
            self,
            ActionCode::Stream { batch: true, .. } | ActionCode::Deliver { batch: true, .. }
        )
    }
}
