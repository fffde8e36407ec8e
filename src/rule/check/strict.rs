//! Strict AWS: what a rule with `AWS 'version'` may not use, and how AWS IoT SQL says it instead.

use super::super::ast::BinaryOp;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::IsWhat;
use super::super::ast::Segment;
use super::super::ast::Span;
use super::expression::Scope;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::value::Value;

/// Longest advice that repeats the rule's own words, characters.
const ADVICE_CHARS_MAX: usize = 160;

/// Refuses `expr` where AWS has no such expression; its parts are judged by themselves.
pub(super) fn expression(expr: &Expr, scope: &mut Scope<'_, '_>) {
    let text = scope.text(expr);
    let (what, instead) = match &expr.kind {
        ExprKind::Path { root, segments } if needs_get(segments) || text.contains('`') => {
            let what = match needs_get(segments) {
                true => "index in brackets",
                false => "name in back quotes",
            };
            (what, aws_path(root, segments))
        }
        ExprKind::Member { base, segments } if matches!(base.kind, ExprKind::Star) => {
            let path = match segments.split_first() {
                Some((Segment::Name(root), rest)) => aws_path(root, rest),
                _ => segments.iter().fold("*".to_owned(), step),
            };
            ("member of `*`", path)
        }
        ExprKind::Member { base, segments } if needs_get(segments) => {
            ("index in brackets", segments.iter().fold(base.to_string(), step))
        }
        ExprKind::Between { value, low, high, negated } => {
            let advice = match negated {
                false => format!("{value} >= {low} AND {value} <= {high}"),
                true => format!("({value} < {low} OR {value} > {high})"),
            };
            ("BETWEEN", advice)
        }
        ExprKind::Like { value, pattern, negated } => {
            let matched = aws_like(value, pattern);
            ("LIKE", if *negated { format!("NOT {matched}") } else { matched })
        }
        ExprKind::Is { value, what, negated } => {
            let function = match what {
                IsWhat::Null => "isNull",
                IsWhat::Undefined => "isUndefined",
            };
            ("IS", format!("{function}({value}) = {}", !negated))
        }
        ExprKind::In { needle, haystack, negated: true } => {
            ("NOT IN", format!("NOT ({needle} IN {haystack})"))
        }
        ExprKind::In { needle, haystack, negated: false }
            if matches!(haystack.kind, ExprKind::Array(_))
                && scope.text(haystack).starts_with('(') =>
        {
            ("list in round brackets", format!("{needle} IN {haystack}"))
        }
        ExprKind::Case { operand: None, branches, .. } => {
            let condition = branches.first().map(|(when, _)| when.to_string());
            let condition = condition.unwrap_or_default();
            ("CASE without a value behind it", format!("CASE {condition} WHEN true THEN … END"))
        }
        ExprKind::Binary { op: BinaryOp::NotEqual, left, right } => {
            let between = scope.between(left, right);
            if !between.contains("!=") {
                return;
            }
            ("operator `!=`", format!("{left} <> {right}"))
        }
        _ => return,
    };
    refuse(scope, what, expr.span.clone(), &instead);
}

/// Refuses the first comment inside of a statement that stands at `span`.
pub(super) fn comments(span: Span, scope: &mut Scope<'_, '_>) {
    let text = scope.written(span.clone());
    let mut quote = None;
    for (at, sign) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        match quote {
            Some(open) if open == sign => quote = None,
            Some(_) => {}
            None if matches!(sign, '\'' | '"' | '`') => quote = Some(sign),
            None if rest.starts_with("--") || rest.starts_with("/*") => {
                let place = span.start + at..span.start + at + 2;
                refuse(scope, "comments", place, "the description of the rule, or its name");
                return;
            }
            None => {}
        }
    }
}

/// Tells that AWS has no `what`, and how it says it.
pub(super) fn refuse(scope: &mut Scope<'_, '_>, what: &str, span: Span, instead: &str) {
    let help = match instead.chars().count() {
        0..=ADVICE_CHARS_MAX => {
            format!("in AWS: {instead}; or drop AWS '…' behind the rule's name")
        }
        _ => "write it another way, or drop AWS '…' behind the rule's name".to_owned(),
    };
    scope.found.push(
        Diagnostic::error(Code::STRICT, format!("AWS IoT SQL has no {what}"))
            .at(span, "beyond AWS")
            .help(help),
    );
}

fn needs_get(segments: &[Segment]) -> bool {
    segments.iter().any(|segment| matches!(segment, Segment::Index(_)))
}

/// Whether AWS reads `name` behind a point.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A path with get() where AWS has no other way.
fn aws_path(root: &str, segments: &[Segment]) -> String {
    let first = match is_plain(root) {
        true => root.to_owned(),
        false => format!("get(*, {})", quoted(root)),
    };
    segments.iter().fold(first, step)
}

fn step(path: String, segment: &Segment) -> String {
    match segment {
        Segment::Index(index) => format!("get({path}, {index})"),
        Segment::Name(name) if is_plain(name) => format!("{path}.{name}"),
        Segment::Name(name) => format!("get({path}, {})", quoted(name)),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A function that asks the same as LIKE.
fn aws_like(value: &Expr, pattern: &Expr) -> String {
    let ExprKind::Literal(Value::String(pattern)) = &pattern.kind else {
        return format!("regexp_matches({value}, …)");
    };
    let inner = pattern.trim_matches('%');
    if !inner.contains(['%', '_']) && !inner.is_empty() {
        let text = quoted(inner);
        match (pattern.starts_with('%'), pattern.ends_with('%')) {
            (false, true) => return format!("startswith({value}, {text})"),
            (true, false) => return format!("endswith({value}, {text})"),
            (true, true) => return format!("indexof({value}, {text}) >= 0"),
            (false, false) => return format!("{value} = {text}"),
        }
    }
    let mut expression = String::from("(?s)^");
    for character in pattern.chars() {
        match character {
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push_str("\\z");
    format!("regexp_matches({value}, {})", quoted(&expression))
}
