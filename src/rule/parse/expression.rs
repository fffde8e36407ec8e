//! Expressions, nested queries and SELECT lists.
//!
//! `depth` is the level of the node being built in the tree of its expression. It is known before
//! the node's children are built, so a tree deeper than the bound never exists.

use pest::iterators::Pair;

use super::super::ast::BinaryOp;
use super::super::ast::CastTarget;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::HoldField;
use super::super::ast::IsWhat;
use super::super::ast::Projection;
use super::super::ast::Segment;
use super::super::ast::SelectItem;
use super::super::ast::Span;
use super::super::ast::Spanned;
use super::super::ast::Subquery;
use super::super::ast::UnaryOp;
use super::super::ast::WindowField;

use super::Builder;
use super::Rule;
use super::children;
use super::only;
use super::quoted::name;
use super::quoted::unquote;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest_after;
use crate::limits::EXPRESSION_DEPTH_MAX;
use crate::value::Number;
use crate::value::Value;

const CAST_TYPES: &[(&str, CastTarget)] = &[
    ("String", CastTarget::String),
    ("Nvarchar", CastTarget::String),
    ("Text", CastTarget::String),
    ("Ntext", CastTarget::String),
    ("Varchar", CastTarget::String),
    ("Int", CastTarget::Int),
    ("Integer", CastTarget::Int),
    ("Decimal", CastTarget::Decimal),
    ("Double", CastTarget::Decimal),
    ("Bool", CastTarget::Bool),
    ("Boolean", CastTarget::Bool),
];

impl Builder<'_> {
    /// An expression, or a nested query that stands without parentheses.
    pub(super) fn argument(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        if pair.as_rule() == Rule::subquery {
            let span = self.span(&pair);
            let subquery = self.subquery(pair, depth + 1);
            return Expr { kind: ExprKind::Subquery(Box::new(subquery)), span };
        }
        self.expression(pair, depth)
    }

    /// Any level of the expression grammar.
    pub(super) fn expression(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        match pair.as_rule() {
            Rule::expression | Rule::conjunction | Rule::sum | Rule::product => {
                self.chain(pair, depth)
            }
            Rule::negation | Rule::factor => self.prefixed(pair, depth),
            Rule::comparison => self.comparison(pair, depth),
            Rule::member => self.member(pair, depth),
            _ => self.primary(pair, depth),
        }
    }

    /// Whether `levels` more still fit; notes it when not.
    fn fits(&mut self, depth: usize, levels: usize, span: &Span) -> bool {
        if depth + levels <= EXPRESSION_DEPTH_MAX {
            return true;
        }
        let own = self.found.get(self.own_from..).unwrap_or_default();
        let is_told = own.iter().any(|found| found.code == Code::NESTING);
        if !is_told {
            self.found.push(
                Diagnostic::error(
                    Code::NESTING,
                    format!("the expression is more than {EXPRESSION_DEPTH_MAX} operators deep"),
                )
                .at(span.clone(), "")
                .help("use IN (…) for many alternatives, or compute parts with SET @name = …"),
            );
        }
        false
    }

    /// `a op b op c`, grouped from the left.
    fn chain(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        let rule = pair.as_rule();
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let operators = inner.len() / 2;
        if !self.fits(depth, operators, &span) {
            return placeholder(span);
        }
        let first = inner.next().expect("a chain has a first operand");
        let mut left = self.expression(first, depth + operators);
        let mut level = depth + operators;
        while let (Some(operator), Some(operand)) = (inner.next(), inner.next()) {
            let op = match (rule, operator.as_str()) {
                (Rule::expression, _) => BinaryOp::Or,
                (Rule::conjunction, _) => BinaryOp::And,
                (_, "+") => BinaryOp::Add,
                (_, "-") => BinaryOp::Subtract,
                (_, "*") => BinaryOp::Multiply,
                (_, "/") => BinaryOp::Divide,
                (_, _) => BinaryOp::Remainder,
            };
            let right = self.expression(operand, level);
            left = binary(op, left, right);
            level -= 1;
        }
        left
    }

    /// `NOT NOT x`, `--x`.
    fn prefixed(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        let span = self.span(&pair);
        let op = if pair.as_rule() == Rule::negation { UnaryOp::Not } else { UnaryOp::Negate };
        let mut inner: Vec<Pair<'_, Rule>> = pair.into_inner().collect();
        let operand = inner.pop().expect("a prefixed value has a value");
        if !self.fits(depth, inner.len(), &span) {
            return placeholder(span);
        }
        // `-5` is a literal; `-(5)` and `- -5` negate one.
        let literal = match op {
            UnaryOp::Negate => number_alone(&operand),
            UnaryOp::Not => None,
        };
        let mut expr = match (literal, inner.pop()) {
            (Some(text), Some(minus)) => {
                let span = self.span(&minus).start..self.span(&operand).end;
                Expr { kind: self.number(&format!("-{text}"), &span), span }
            }
            (_, minus) => {
                inner.extend(minus);
                self.expression(operand, depth + inner.len())
            }
        };
        while let Some(prefix) = inner.pop() {
            let span = self.span(&prefix).start..expr.span.end;
            expr = Expr { kind: ExprKind::Unary { op, operand: Box::new(expr) }, span };
        }
        expr
    }

    /// `a < b`, `a NOT IN b` and their like, grouped from the left.
    fn comparison(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let first = inner.next().expect("a comparison has a left side");
        let tails: Vec<Pair<'_, Rule>> = inner.collect();
        let levels = tails.iter().filter(|tail| tail.as_rule() != Rule::sum).count();
        if !self.fits(depth, levels, &span) {
            return placeholder(span);
        }
        let mut level = depth + levels;
        let mut left = self.expression(first, level);
        let mut tails = tails.into_iter();
        while let Some(tail) = tails.next() {
            left = match tail.as_rule() {
                Rule::compare_op => {
                    let op = match tail.as_str() {
                        "=" => BinaryOp::Equal,
                        "<" => BinaryOp::Less,
                        "<=" => BinaryOp::LessOrEqual,
                        ">" => BinaryOp::Greater,
                        ">=" => BinaryOp::GreaterOrEqual,
                        _ => BinaryOp::NotEqual,
                    };
                    let right = tails.next().expect("an operator has a right side");
                    let right = self.expression(right, level);
                    binary(op, left, right)
                }
                _ => self.tail(left, tail, level),
            };
            level -= 1;
        }
        left
    }

    /// `[NOT] IN …`, `[NOT] BETWEEN …`, `[NOT] LIKE …`, `IS [NOT] …`.
    fn tail(&mut self, left: Expr, tail: Pair<'_, Rule>, depth: usize) -> Expr {
        let rule = tail.as_rule();
        let span = left.span.start..self.span(&tail).end;
        let value = Box::new(left);
        let negated = tail.clone().into_inner().any(|word| word.as_rule() == Rule::k_not);
        let is_null = tail.clone().into_inner().any(|word| word.as_rule() == Rule::k_null);
        let mut operands = children(tail);
        let mut next = |builder: &mut Self| {
            let operand = operands.next().expect("the grammar gives this operator its operands");
            match operand.as_rule() {
                Rule::in_list => builder.in_list(operand, depth),
                _ => builder.expression(operand, depth),
            }
        };
        let kind = match rule {
            Rule::in_tail => {
                ExprKind::In { needle: value, haystack: Box::new(next(self)), negated }
            }
            Rule::between_tail => ExprKind::Between {
                value,
                low: Box::new(next(self)),
                high: Box::new(next(self)),
                negated,
            },
            Rule::like_tail => ExprKind::Like { value, pattern: Box::new(next(self)), negated },
            _ => {
                let what = if is_null { IsWhat::Null } else { IsWhat::Undefined };
                ExprKind::Is { value, what, negated }
            }
        };
        Expr { kind, span }
    }

    /// `(a, b)` behind IN is an array. `(a)` is one too when `a` is a literal; otherwise the
    /// parentheses only group, so that AWS's `x IN (readings)` looks into `readings`.
    fn in_list(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        let span = self.span(&pair);
        let mut items: Vec<Expr> =
            children(pair).map(|item| self.expression(item, depth + 1)).collect();
        let is_group = match items.as_slice() {
            [only] => !matches!(only.kind, ExprKind::Literal(_)),
            _ => false,
        };
        match items.pop() {
            Some(only) if is_group => Expr { kind: only.kind, span },
            last => {
                items.extend(last);
                Expr { kind: ExprKind::Array(items), span }
            }
        }
    }

    /// A primary and the steps behind it.
    fn member(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let first = inner.next().expect("a member begins with a value");
        let mut segments = Vec::with_capacity(inner.len());
        for step in inner {
            segments.push(match step.as_rule() {
                Rule::index => self.index(step),
                _ => Segment::Name(name(step.as_str())),
            });
        }
        if first.as_rule() == Rule::path {
            return Expr { kind: self.path(first.as_str(), segments, &span), span };
        }
        if segments.is_empty() {
            return self.primary(first, depth);
        }
        if !self.fits(depth, 1, &span) {
            return placeholder(span);
        }
        let base = Box::new(self.primary(first, depth + 1));
        Expr { kind: ExprKind::Member { base, segments }, span }
    }

    fn index(&mut self, step: Pair<'_, Rule>) -> Segment {
        let span = self.span(&step);
        let digits = only(step);
        match digits.as_str().parse::<u32>().map(usize::try_from) {
            Ok(Ok(index)) => Segment::Index(index),
            Ok(Err(_)) | Err(_) => {
                self.found.push(
                    Diagnostic::error(Code::NUMBER, "no array is that long")
                        .at(span, "")
                        .help(format!("an index is at most {}", u32::MAX)),
                );
                Segment::Index(0)
            }
        }
    }

    /// A path, or the field of that name of the hold or the window.
    fn path(&mut self, root: &str, mut segments: Vec<Segment>, span: &Span) -> ExprKind {
        if self.holds
            && root.eq_ignore_ascii_case("hold")
            && let Some(Segment::Name(field)) = segments.first()
        {
            if let Some(field) = HoldField::parse(field) {
                segments.remove(0);
                if segments.is_empty() {
                    return ExprKind::Hold(field);
                }
                let base = Box::new(Expr { kind: ExprKind::Hold(field), span: span.clone() });
                return ExprKind::Member { base, segments };
            }
            let names = HoldField::ALL.map(HoldField::as_str);
            let help = match nearest_after(self.found.len(), field, names) {
                Some(near) => format!("did you mean hold.{near}?"),
                None => format!(
                    "a hold has {}; a field of the payload that is called hold is written `hold`",
                    names.join(", ")
                ),
            };
            self.found.push(
                Diagnostic::error(Code::HOLD, format!("a hold has no {field}"))
                    .at(span.clone(), "")
                    .help(help),
            );
        }
        if self.windows
            && root.eq_ignore_ascii_case("window")
            && let Some(Segment::Name(field)) = segments.first()
            && let Some(field) = WindowField::parse(field)
        {
            segments.remove(0);
            if segments.is_empty() {
                return ExprKind::Window(field);
            }
            let base = Box::new(Expr { kind: ExprKind::Window(field), span: span.clone() });
            return ExprKind::Member { base, segments };
        }
        ExprKind::Path { root: name(root), segments }
    }

    fn primary(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Expr {
        let span = self.span(&pair);
        if !self.fits(depth, 1, &span) {
            return placeholder(span);
        }
        let kind = match pair.as_rule() {
            Rule::number => self.number(pair.as_str(), &span),
            Rule::string => ExprKind::Literal(Value::string(unquote(pair.as_str()).0)),
            Rule::k_null => ExprKind::Literal(Value::Null),
            Rule::k_true => ExprKind::Literal(Value::Bool(true)),
            Rule::k_false => ExprKind::Literal(Value::Bool(false)),
            Rule::variable => ExprKind::Variable(pair.as_str().trim_start_matches('@').to_owned()),
            Rule::star => ExprKind::Star,
            Rule::array => {
                ExprKind::Array(children(pair).map(|i| self.expression(i, depth + 1)).collect())
            }
            Rule::object => {
                ExprKind::Object(children(pair).map(|entry| self.entry(entry, depth + 1)).collect())
            }
            // Parentheses are no node, but the mark under the expression includes them.
            Rule::group => self.argument(only(pair), depth).kind,
            Rule::case => self.case(pair, depth + 1),
            Rule::exists => ExprKind::Exists(Box::new(self.subquery(only(pair), depth + 1))),
            Rule::cast => self.cast(pair, depth + 1),
            Rule::call => self.call(pair, depth + 1),
            Rule::path => self.path(pair.as_str(), Vec::new(), &span),
            other => unreachable!("{other:?} is no primary"),
        };
        Expr { kind, span }
    }

    fn number(&mut self, text: &str, span: &Span) -> ExprKind {
        match Number::parse(text) {
            Some(number) => ExprKind::Literal(Value::Number(number)),
            None => {
                self.found.push(
                    Diagnostic::error(Code::NUMBER, "the number is out of range")
                        .at(span.clone(), "")
                        .help("numbers reach to ±9.99E999"),
                );
                ExprKind::Literal(Value::Undefined)
            }
        }
    }

    fn entry(&mut self, pair: Pair<'_, Rule>, depth: usize) -> (String, Expr) {
        let mut parts = children(pair);
        let key = parts.next().expect("an entry has a key");
        let value = parts.next().expect("an entry has a value");
        (unquote(key.as_str()).0, self.expression(value, depth))
    }

    fn case(&mut self, pair: Pair<'_, Rule>, depth: usize) -> ExprKind {
        let mut operand = None;
        let mut branches = Vec::new();
        let mut otherwise = None;
        for part in children(pair) {
            let rule = part.as_rule();
            let mut exprs = children(part);
            let first = exprs.next().expect("each part of a CASE has a value");
            let first = self.expression(first, depth);
            match (rule, exprs.next()) {
                (Rule::operand, _) => operand = Some(Box::new(first)),
                (_, Some(then)) => branches.push((first, self.expression(then, depth))),
                (_, None) => otherwise = Some(Box::new(first)),
            }
        }
        ExprKind::Case { operand, branches, otherwise }
    }

    fn cast(&mut self, pair: Pair<'_, Rule>, depth: usize) -> ExprKind {
        let mut parts = children(pair);
        let value = parts.next().expect("a cast has a value");
        let target = parts.next().expect("a cast has a type");
        let value = Box::new(self.expression(value, depth));
        ExprKind::Cast { value, target: self.cast_type(&target) }
    }

    /// The type of that name.
    pub(super) fn cast_type(&mut self, pair: &Pair<'_, Rule>) -> CastTarget {
        let written = pair.as_str();
        let known = CAST_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(written));
        known.map(|(_, target)| *target).unwrap_or_else(|| {
            let names = CAST_TYPES.iter().map(|(name, _)| *name);
            let help = match nearest_after(self.found.len(), written, names) {
                Some(near) => format!("did you mean {near}?"),
                None => "the types are String, Int, Decimal and Boolean".to_owned(),
            };
            self.found.push(
                Diagnostic::error(Code::UNKNOWN_WORD, format!("there is no type {written}"))
                    .at(self.offsets.span(pair.as_span().start()..pair.as_span().end()), "")
                    .help(help),
            );
            CastTarget::String
        })
    }

    /// `name(args)`, perhaps with OVER, which is a node around it.
    fn call(&mut self, pair: Pair<'_, Rule>, depth: usize) -> ExprKind {
        let span = self.span(&pair);
        let mut parts: Vec<Pair<'_, Rule>> = children(pair).collect();
        let over = parts.pop_if(|last| last.as_rule() == Rule::over);
        let depth = depth + usize::from(over.is_some());
        if over.is_some() && !self.fits(depth, 1, &span) {
            return placeholder(span).kind;
        }
        let mut parts = parts.into_iter();
        let function = parts.next().expect("a call has a name");
        let name = Spanned { node: function.as_str().to_owned(), span: self.span(&function) };
        let args = parts.map(|argument| self.argument(argument, depth)).collect();
        let call = ExprKind::Call { name, args };
        let Some(over) = over else { return call };
        let call = Box::new(Expr { kind: call, span: span.start..self.span(&over).start });
        let keys = children(only(over));
        ExprKind::Over { call, partition_by: keys.map(|key| self.expression(key, depth)).collect() }
    }

    fn subquery(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Subquery {
        let mut parts = children(pair);
        let projection = parts.next().expect("a nested query has a projection");
        let source = parts.next().expect("a nested query has a source");
        let projection = self.projection(projection, depth);
        let source = self.expression(source, depth);
        let mut subquery = Subquery { projection, source, alias: None, filter: None };
        for part in parts {
            match part.as_rule() {
                Rule::source_alias => subquery.alias = Some(name(only(part).as_str())),
                _ => subquery.filter = Some(self.expression(only(part), depth)),
            }
        }
        subquery
    }

    /// `VALUE expr`, or items.
    pub(super) fn projection(&mut self, pair: Pair<'_, Rule>, depth: usize) -> Projection {
        let mut parts = children(pair);
        let Some(first) = parts.next() else { return Projection::Items(Vec::new()) };
        if first.as_rule() == Rule::value_marker {
            let value = parts.next().expect("VALUE has a value");
            return Projection::Value(self.expression(value, depth));
        }
        let mut items = vec![self.item(first, depth)];
        items.extend(parts.map(|item| self.item(item, depth)));
        Projection::Items(items)
    }

    fn item(&mut self, pair: Pair<'_, Rule>, depth: usize) -> SelectItem {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let value = parts.next().expect("an item has a value");
        let expr = self.expression(value, depth);
        let Some(behind) = parts.next() else {
            return match expr.kind {
                ExprKind::Star => SelectItem::Star(span),
                _ => SelectItem::Expr { expr, alias: None },
            };
        };
        if behind.as_rule() == Rule::spread {
            if !is_spreadable(&expr.kind) {
                let place = self.span(&behind);
                self.found.push(
                    Diagnostic::error(Code::SYNTAX, "`.*` takes the members of one object")
                        .at(place, "")
                        .also(expr.span.clone(), "this is computed")
                        .help("name the members"),
                );
            }
            return SelectItem::Spread(expr);
        }
        let path = only(behind);
        let span = self.span(&path);
        let alias = children(path).map(|part| name(part.as_str())).collect();
        SelectItem::Expr { expr, alias: Some(Spanned { node: alias, span }) }
    }
}

/// Whether `.*` behind it can only mean the members of the whole.
fn is_spreadable(kind: &ExprKind) -> bool {
    !matches!(
        kind,
        ExprKind::Unary { .. }
            | ExprKind::Binary { .. }
            | ExprKind::In { .. }
            | ExprKind::Between { .. }
            | ExprKind::Like { .. }
            | ExprKind::Is { .. }
    )
}

/// The digits of a factor that is nothing but a number.
fn number_alone(member: &Pair<'_, Rule>) -> Option<String> {
    let mut inner = member.clone().into_inner();
    let number = inner.next().filter(|first| first.as_rule() == Rule::number)?;
    inner.next().is_none().then(|| number.as_str().to_owned())
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    let span = left.span.start..right.span.end;
    Expr { kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, span }
}

/// Stands where an error was noted; the statement is not kept.
fn placeholder(span: Span) -> Expr {
    Expr { kind: ExprKind::Literal(Value::Undefined), span }
}
