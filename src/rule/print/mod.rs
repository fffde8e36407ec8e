//! Expressions and statements as text. Printing and parsing again gives the same tree.
//!
//! Parentheses stand only where the grammar needs them. Names that the grammar reads as something
//! else where a value may start are written in back quotes. Statements, laid out over lines, are in
//! `statement`, payload formats in `format`.

mod format;
mod statement;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fmt::Formatter;

use super::ast::BinaryOp;
use super::ast::CastTarget;
use super::ast::Expr;
use super::ast::ExprKind;
use super::ast::IsWhat;
use super::ast::Projection;
use super::ast::Segment;
use super::ast::SelectItem;
use super::ast::Subquery;
use super::ast::UnaryOp;
use crate::value::Value;
use crate::value::json;

/// How tightly an expression holds together: a weaker one inside a tighter place gets parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Negation,
    Member,
}

/// Words that a value does not start with, or that say something else there.
const QUOTED_ROOTS: &[&str] = &[
    "and", "as", "between", "case", "do", "else", "end", "false", "from", "hold", "in", "is",
    "like", "not", "null", "or", "select", "then", "true", "value", "when", "where", "window",
];

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write(self, Level::Or, f)
    }
}

/// The language's own name of a type.
fn cast_type(target: CastTarget) -> &'static str {
    match target {
        CastTarget::String => "String",
        CastTarget::Int => "Int",
        CastTarget::Decimal => "Decimal",
        CastTarget::Bool => "Boolean",
    }
}

fn level(expr: &Expr) -> Level {
    match &expr.kind {
        ExprKind::Binary { op, .. } => operator(*op).1,
        ExprKind::Unary { op: UnaryOp::Not, .. } => Level::Not,
        ExprKind::Unary { op: UnaryOp::Negate, .. } => Level::Negation,
        ExprKind::Literal(Value::Number(number)) if number.signum() < 0 => Level::Negation,
        ExprKind::In { .. }
        | ExprKind::Between { .. }
        | ExprKind::Like { .. }
        | ExprKind::Is { .. } => Level::Comparison,
        ExprKind::Literal(_)
        | ExprKind::Path { .. }
        | ExprKind::Variable(_)
        | ExprKind::Hold(_)
        | ExprKind::Window(_)
        | ExprKind::Star
        | ExprKind::Array(_)
        | ExprKind::Object(_)
        | ExprKind::Member { .. }
        | ExprKind::Case { .. }
        | ExprKind::Call { .. }
        | ExprKind::Over { .. }
        | ExprKind::Cast { .. }
        | ExprKind::Subquery(_)
        | ExprKind::Exists(_) => Level::Member,
    }
}

/// Its sign, its level, and the level of its right side (the left side may be of its own).
fn operator(op: BinaryOp) -> (&'static str, Level, Level) {
    match op {
        BinaryOp::Or => ("OR", Level::Or, Level::And),
        BinaryOp::And => ("AND", Level::And, Level::Not),
        BinaryOp::Equal => ("=", Level::Comparison, Level::Sum),
        BinaryOp::NotEqual => ("<>", Level::Comparison, Level::Sum),
        BinaryOp::Less => ("<", Level::Comparison, Level::Sum),
        BinaryOp::LessOrEqual => ("<=", Level::Comparison, Level::Sum),
        BinaryOp::Greater => (">", Level::Comparison, Level::Sum),
        BinaryOp::GreaterOrEqual => (">=", Level::Comparison, Level::Sum),
        BinaryOp::Add => ("+", Level::Sum, Level::Product),
        BinaryOp::Subtract => ("-", Level::Sum, Level::Product),
        BinaryOp::Multiply => ("*", Level::Product, Level::Negation),
        BinaryOp::Divide => ("/", Level::Product, Level::Negation),
        BinaryOp::Remainder => ("%", Level::Product, Level::Negation),
    }
}

/// Writes `expr` where at least `place` is needed.
fn write(expr: &Expr, place: Level, f: &mut Formatter<'_>) -> fmt::Result {
    if level(expr) < place {
        return write!(f, "({expr})");
    }
    match &expr.kind {
        ExprKind::Literal(value) => literal(value, f),
        ExprKind::Path { root, segments } => {
            let is_quoted = QUOTED_ROOTS.iter().any(|word| word.eq_ignore_ascii_case(root));
            if is_quoted {
                back_quoted(root, f)?
            } else {
                name(root, f)?
            }
            steps(segments, f)
        }
        ExprKind::Variable(name) => write!(f, "@{name}"),
        ExprKind::Hold(field) => write!(f, "hold.{}", field.as_str()),
        ExprKind::Window(field) => write!(f, "window.{}", field.as_str()),
        ExprKind::Star => f.write_str("*"),
        ExprKind::Array(items) => {
            f.write_str("[")?;
            list(items, f)?;
            f.write_str("]")
        }
        ExprKind::Object(entries) => object(entries, f),
        ExprKind::Member { base, segments } => {
            match base.kind {
                // Without parentheses their steps would run together; digits would meet a point.
                ExprKind::Path { .. }
                | ExprKind::Member { .. }
                | ExprKind::Literal(Value::Number(_)) => write!(f, "({base})")?,
                _ => write(base, Level::Member, f)?,
            }
            steps(segments, f)
        }
        ExprKind::Unary { op, operand } => prefixed(*op, operand, f),
        ExprKind::Binary { op, left, right } => {
            let (sign, left_place, right_place) = operator(*op);
            write(left, left_place, f)?;
            write!(f, " {sign} ")?;
            write(right, right_place, f)
        }
        ExprKind::In { .. }
        | ExprKind::Between { .. }
        | ExprKind::Like { .. }
        | ExprKind::Is { .. } => comparison(&expr.kind, f),
        ExprKind::Case { .. } => case(&expr.kind, f),
        ExprKind::Call { name, args } => {
            write!(f, "{}(", name.node)?;
            list(args, f)?;
            f.write_str(")")
        }
        ExprKind::Over { call, partition_by } => {
            write!(f, "{call} OVER (PARTITION BY ")?;
            list(partition_by, f)?;
            f.write_str(")")
        }
        ExprKind::Cast { value, target } => {
            write!(f, "cast({value} AS {})", cast_type(*target))
        }
        ExprKind::Subquery(query) => subquery(query, f),
        ExprKind::Exists(query) => {
            f.write_str("EXISTS ")?;
            subquery(query, f)
        }
    }
}

fn prefixed(op: UnaryOp, operand: &Expr, f: &mut Formatter<'_>) -> fmt::Result {
    match (op, &operand.kind) {
        (UnaryOp::Not, _) => {
            f.write_str("NOT ")?;
            write(operand, Level::Not, f)
        }
        // `-5` is a literal of its own.
        (UnaryOp::Negate, ExprKind::Literal(Value::Number(_))) => write!(f, "-({operand})"),
        (UnaryOp::Negate, _) => {
            f.write_str("-")?;
            write(operand, Level::Member, f)
        }
    }
}

fn case(kind: &ExprKind, f: &mut Formatter<'_>) -> fmt::Result {
    let ExprKind::Case { operand, branches, otherwise } = kind else {
        unreachable!("only CASE comes here")
    };
    f.write_str("CASE")?;
    if let Some(operand) = operand {
        write!(f, " {operand}")?;
    }
    for (when, then) in branches {
        write!(f, " WHEN {when} THEN {then}")?;
    }
    if let Some(otherwise) = otherwise {
        write!(f, " ELSE {otherwise}")?;
    }
    f.write_str(" END")
}

fn comparison(kind: &ExprKind, f: &mut Formatter<'_>) -> fmt::Result {
    let not = |negated: &bool| if *negated { "NOT " } else { "" };
    match kind {
        ExprKind::In { needle, haystack, negated } => {
            write(needle, Level::Comparison, f)?;
            write!(f, " {}IN ", not(negated))?;
            // An opening parenthesis behind IN begins a list or a query; it must close at the end.
            let text = haystack.to_string();
            let is_list = text.starts_with('(') && !text.starts_with("(SELECT ");
            if is_list || level(haystack) < Level::Sum {
                write!(f, "({text})")
            } else {
                f.write_str(&text)
            }
        }
        ExprKind::Between { value, low, high, negated } => {
            write(value, Level::Comparison, f)?;
            write!(f, " {}BETWEEN ", not(negated))?;
            write(low, Level::Sum, f)?;
            f.write_str(" AND ")?;
            write(high, Level::Sum, f)
        }
        ExprKind::Like { value, pattern, negated } => {
            write(value, Level::Comparison, f)?;
            write!(f, " {}LIKE ", not(negated))?;
            write(pattern, Level::Sum, f)
        }
        ExprKind::Is { value, what, negated } => {
            write(value, Level::Comparison, f)?;
            let what = match what {
                IsWhat::Null => "NULL",
                IsWhat::Undefined => "UNDEFINED",
            };
            write!(f, " IS {}{what}", not(negated))
        }
        _ => unreachable!("only the four comparisons that are words come here"),
    }
}

fn literal(value: &Value, f: &mut Formatter<'_>) -> fmt::Result {
    match value {
        Value::Undefined => f.write_str("undefined"),
        Value::Null => f.write_str("NULL"),
        Value::Bool(value) => write!(f, "{value}"),
        Value::Number(number) => write!(f, "{number}"),
        Value::String(text) => quoted(text, f),
        // The parser makes no literals of these; what they print as still parses.
        Value::Array(_) | Value::Object(_) => {
            f.write_str(&json::text(value, crate::value::Whole::AsWritten))
        }
    }
}

fn quoted(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "'{}'", text.replace('\'', "''"))
}

fn back_quoted(name: &str, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "`{}`", name.replace('`', "``"))
}

fn name(name: &str, f: &mut Formatter<'_>) -> fmt::Result {
    let mut bytes = name.bytes();
    let is_plain = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_plain { f.write_str(name) } else { back_quoted(name, f) }
}

fn steps(segments: &[Segment], f: &mut Formatter<'_>) -> fmt::Result {
    for segment in segments {
        match segment {
            Segment::Name(step) => {
                f.write_str(".")?;
                name(step, f)?;
            }
            Segment::Index(index) => write!(f, "[{index}]")?,
        }
    }
    Ok(())
}

fn list(items: &[Expr], f: &mut Formatter<'_>) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    Ok(())
}

fn object(entries: &[(String, Expr)], f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("{")?;
    for (index, (key, value)) in entries.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        quoted(key, f)?;
        write!(f, ": {value}")?;
    }
    f.write_str("}")
}

fn subquery(query: &Subquery, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("(SELECT ")?;
    match &query.projection {
        Projection::Value(expr) => write!(f, "VALUE {expr}")?,
        Projection::Items(items) => {
            for (index, item) in items.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                select_item(item, f)?;
            }
        }
    }
    write!(f, " FROM {}", query.source)?;
    if let Some(alias) = &query.alias {
        f.write_str(" AS ")?;
        name(alias, f)?;
    }
    if let Some(filter) = &query.filter {
        write!(f, " WHERE {filter}")?;
    }
    f.write_str(")")
}

fn select_item(item: &SelectItem, f: &mut Formatter<'_>) -> fmt::Result {
    match item {
        SelectItem::Star(_) => f.write_str("*"),
        SelectItem::Spread(expr) => {
            write(expr, Level::Member, f)?;
            f.write_str(".*")
        }
        SelectItem::Expr { expr, alias } => {
            write!(f, "{expr}")?;
            for (index, part) in alias.iter().flat_map(|alias| &alias.node).enumerate() {
                f.write_str(if index == 0 { " AS " } else { "." })?;
                name(part, f)?;
            }
            Ok(())
        }
    }
}
