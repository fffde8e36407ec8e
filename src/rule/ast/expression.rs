//! Expressions: what is evaluated against a message.

use super::Projection;
use super::Span;
use super::Spanned;
use super::WindowField;
use crate::value::Value;

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
    /// `window.start` and its like; only where GROUP BY stands.
    Window(WindowField),
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
    /// `call OVER (PARTITION BY key, …)`.
    Over {
        /// The call.
        call: Box<Expr>,
        /// What the messages that it looks back on have in common.
        partition_by: Vec<Expr>,
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

impl Expr {
    /// Calls `visit` with each expression directly inside this one, nested queries included.
    pub fn for_each_child<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match &self.kind {
            ExprKind::Literal(_)
            | ExprKind::Path { .. }
            | ExprKind::Variable(_)
            | ExprKind::Hold(_)
            | ExprKind::Window(_)
            | ExprKind::Star => {}
            ExprKind::Array(items) | ExprKind::Call { args: items, .. } => {
                items.iter().for_each(visit);
            }
            ExprKind::Object(entries) => entries.iter().for_each(|(_, value)| visit(value)),
            ExprKind::Member { base: inner, .. }
            | ExprKind::Unary { operand: inner, .. }
            | ExprKind::Is { value: inner, .. }
            | ExprKind::Cast { value: inner, .. } => visit(inner),
            ExprKind::Over { call, partition_by } => {
                visit(call);
                partition_by.iter().for_each(visit);
            }
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
