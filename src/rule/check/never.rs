//! Conditions that no message fulfils: `temp > 5 AND temp < 3`, `state = 'on' AND state = 'off'`.
//!
//! Only comparisons of one field with literals that are joined by AND are judged, and each branch of
//! an OR for itself. What is told is certain; what is not told may still be never true.

use super::super::ast::BinaryOp;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Segment;
use super::super::ast::Span;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::value::Number;
use crate::value::Value;

/// A field of the message or a variable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field<'e> {
    Path(&'e str, &'e [Segment]),
    Variable(&'e str),
}

/// The end of a range.
#[derive(Clone, Copy)]
struct Bound<'e> {
    at: Number,
    is_inclusive: bool,
    span: &'e Span,
}

/// What the terms so far leave of a field.
struct Remaining<'e> {
    field: Field<'e>,
    low: Option<Bound<'e>>,
    high: Option<Bound<'e>>,
    text: Option<(&'e str, &'e Span)>,
}

/// Judges conditions that must hold together.
pub(super) fn conditions(joined: [Option<&Expr>; 2], found: &mut Vec<Diagnostic>) {
    let mut terms = Vec::new();
    for condition in joined.into_iter().flatten() {
        flatten(condition, BinaryOp::And, &mut terms);
    }
    if let Some((first, second)) = contradiction(&terms) {
        found.push(
            Diagnostic::warning(Code::NEVER_TRUE, "the condition is never true")
                .at(second.clone(), "excludes the other")
                .also(first.clone(), "the other")
                .help("join them with OR if either may hold"),
        );
        return;
    }
    for term in terms {
        let mut branches = Vec::new();
        flatten(term, BinaryOp::Or, &mut branches);
        if branches.len() > 1 {
            branches.into_iter().for_each(|branch| conditions([Some(branch), None], found));
        }
    }
}

/// The operands of a chain of `op`.
fn flatten<'e>(expr: &'e Expr, op: BinaryOp, terms: &mut Vec<&'e Expr>) {
    match &expr.kind {
        ExprKind::Binary { op: found, left, right } if *found == op => {
            flatten(left, op, terms);
            flatten(right, op, terms);
        }
        _ => terms.push(expr),
    }
}

/// Two terms that exclude each other.
fn contradiction<'e>(terms: &[&'e Expr]) -> Option<(&'e Span, &'e Span)> {
    let mut fields: Vec<Remaining<'e>> = Vec::new();
    for term in terms {
        let Some((field, limits)) = limits(term) else { continue };
        let position = fields.iter().position(|known| known.field == field);
        let position = position.unwrap_or_else(|| {
            fields.push(Remaining { field, low: None, high: None, text: None });
            fields.len() - 1
        });
        let known = fields.get_mut(position)?;
        for limit in limits.into_iter().flatten() {
            if let Some(other) = known.exclude(limit, &term.span) {
                return Some((other, &term.span));
            }
        }
    }
    None
}

enum Limit<'e> {
    Low(Number, bool),
    High(Number, bool),
    Text(&'e str),
}

/// What a term says of one field.
fn limits(term: &Expr) -> Option<(Field<'_>, [Option<Limit<'_>>; 2])> {
    match &term.kind {
        ExprKind::Binary { op, left, right } => {
            let (field, literal, op) = match (field(left), field(right)) {
                (Some(field), None) => (field, literal(right)?, *op),
                (None, Some(field)) => (field, literal(left)?, mirrored(*op)),
                _ => return None,
            };
            if let (BinaryOp::Equal, Value::String(text)) = (op, literal) {
                return Some((field, [Some(Limit::Text(text)), None]));
            }
            // `=` compares a text with a number as unequal, the other operators convert it.
            let number = match (op, literal) {
                (BinaryOp::Equal, Value::Number(number)) => *number,
                (BinaryOp::Equal, _) => return None,
                (_, other) => other.to_number()?,
            };
            Some((
                field,
                match op {
                    BinaryOp::Less => [Some(Limit::High(number, false)), None],
                    BinaryOp::LessOrEqual => [Some(Limit::High(number, true)), None],
                    BinaryOp::Greater => [Some(Limit::Low(number, false)), None],
                    BinaryOp::GreaterOrEqual => [Some(Limit::Low(number, true)), None],
                    BinaryOp::Equal => {
                        [Some(Limit::Low(number, true)), Some(Limit::High(number, true))]
                    }
                    _ => return None,
                },
            ))
        }
        ExprKind::Between { value, low, high, negated: false } => {
            let limits = [
                literal(low).and_then(Value::to_number).map(|low| Limit::Low(low, true)),
                literal(high).and_then(Value::to_number).map(|high| Limit::High(high, true)),
            ];
            Some((field(value)?, limits))
        }
        _ => None,
    }
}

fn field(expr: &Expr) -> Option<Field<'_>> {
    match &expr.kind {
        ExprKind::Path { root, segments } => Some(Field::Path(root, segments)),
        ExprKind::Variable(name) => Some(Field::Variable(name)),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&Value> {
    match &expr.kind {
        ExprKind::Literal(value) => Some(value),
        _ => None,
    }
}

/// `5 < x` as `x > 5`.
fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
        other => other,
    }
}

impl<'e> Remaining<'e> {
    /// Narrows the field by `limit`; the place of the term that leaves nothing with it, if there is one.
    fn exclude(&mut self, limit: Limit<'e>, span: &'e Span) -> Option<&'e Span> {
        match limit {
            Limit::Text(text) => {
                let (known, place) = *self.text.get_or_insert((text, span));
                (known != text).then_some(place)
            }
            Limit::Low(at, is_inclusive) => {
                let bound = Bound { at, is_inclusive, span };
                if self.low.is_none_or(|low| low.at < at || (low.at == at && !is_inclusive)) {
                    self.low = Some(bound);
                }
                self.high.filter(|high| is_empty(&bound, high)).map(|high| high.span)
            }
            Limit::High(at, is_inclusive) => {
                let bound = Bound { at, is_inclusive, span };
                if self.high.is_none_or(|high| high.at > at || (high.at == at && !is_inclusive)) {
                    self.high = Some(bound);
                }
                self.low.filter(|low| is_empty(low, &bound)).map(|low| low.span)
            }
        }
    }
}

fn is_empty(low: &Bound<'_>, high: &Bound<'_>) -> bool {
    low.at > high.at || (low.at == high.at && !(low.is_inclusive && high.is_inclusive))
}
