//! GROUP BY: its windows, and what SELECT, HAVING and the actions may name once a window is closed.

use std::time::Duration;

use super::super::aggregate;
use super::super::aggregate::Aggregate;
use super::super::aggregate::AggregateSpec;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::GroupBy;
use super::super::ast::Projection;
use super::super::ast::Select;
use super::super::ast::SelectItem;
use super::super::ast::Spanned;
use super::super::ast::Window;
use super::super::function::Function;
use super::super::function::lookup;
use super::super::grouping::Grouping;
use super::super::grouping::Meaning;
use super::super::grouping::Place;
use super::expression::Scope;
use super::strict;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::AGGREGATES_MAX;
use crate::limits::WINDOW_PANES_MAX;
use crate::value::Number;
use crate::value::Value;

/// The group of a rule whose window is closed, where an expression stands.
pub(super) struct Closed<'e> {
    grouping: Grouping<'e>,
    pub(super) place: Place,
}

impl<'e> Closed<'e> {
    /// From here on `select` speaks of windows.
    pub(super) fn of(select: &'e Select, place: Place) -> Option<Self> {
        Grouping::of(select).map(|grouping| Closed { grouping, place })
    }
}

/// Checks the clause beside the others of `select`.
pub(super) fn clause<'e>(group: &'e GroupBy, select: &'e Select, scope: &mut Scope<'e, '_>) {
    if scope.language.strict {
        let advice = "a rule sees one message at a time and remembers nothing";
        strict::refuse(scope, "GROUP BY", group.span.clone(), advice);
    }
    if let Some(when) = &select.when {
        scope.found.push(
            Diagnostic::error(Code::GROUP_CLAUSE, "a rule watches a condition or gathers windows")
                .at(group.span.clone(), "windows")
                .also(when.span.clone(), "a condition over time")
                .help("let this rule republish its windows, and a second one watch them"),
        );
    }
    if let Window::Hop { size, every } = group.window.node {
        hop(size, every, &group.window, scope);
    }
    for key in &group.keys {
        scope.expression(key);
        if matches!(key.kind, ExprKind::Literal(_)) {
            scope.found.push(
                Diagnostic::warning(Code::WINDOW, "this key is the same for every message")
                    .at(key.span.clone(), "")
                    .help("name a field that tells groups apart, or leave it out"),
            );
        }
    }
    if let Some(star) = star(&select.projection) {
        scope.found.push(
            Diagnostic::error(Code::NOT_GROUPED, "a window has no payload")
                .at(star, "many messages")
                .help("name the columns, as in last(temperature) AS temperature; collect(*) takes all"),
        );
    }
}

/// Counts the aggregates of a rule, at the last of whose expressions this is called.
pub(super) fn how_many(group: &GroupBy, scope: &mut Scope<'_, '_>) {
    if scope.aggregates > AGGREGATES_MAX {
        scope.found.push(
            Diagnostic::error(Code::AGGREGATE, format!("{} aggregates", scope.aggregates))
                .at(group.span.clone(), format!("{AGGREGATES_MAX} are allowed"))
                .help("split the rule"),
        );
    }
}

fn star(projection: &Projection) -> Option<super::super::ast::Span> {
    let Projection::Items(items) = projection else { return None };
    items.iter().find_map(|item| match item {
        SelectItem::Star(span) => Some(span.clone()),
        SelectItem::Spread(_) | SelectItem::Expr { .. } => None,
    })
}

fn hop(size: Duration, every: Duration, window: &Spanned<Window>, scope: &mut Scope<'_, '_>) {
    // Zero stands where an error was told.
    if size.is_zero() || every.is_zero() {
        return;
    }
    let pane = Window::pane(size, every);
    let wrong = if every > size {
        Diagnostic::error(Code::WINDOW, "what comes between these windows belongs to none")
            .help("the second duration is the distance of the windows, at most their size")
    } else if size.as_millis() / pane.as_millis().max(1) > u128::from(WINDOW_PANES_MAX) {
        Diagnostic::error(Code::WINDOW, "too many of these windows overlap")
            .help(format!("size and distance must have a common part of size / {WINDOW_PANES_MAX}"))
    } else {
        return;
    };
    scope.found.push(wrong.at(window.span.clone(), ""));
}

/// Judges `expr` as what a closed window has; whether its parts need no more judging.
pub(super) fn expression<'e>(expr: &'e Expr, scope: &mut Scope<'e, '_>) -> bool {
    let Some(closed) = &scope.closed else { return false };
    match closed.grouping.meaning(expr, closed.place) {
        Meaning::Key(_) | Meaning::Column(..) => true,
        Meaning::Aggregate(spec, args) => {
            call(spec, args, expr, scope);
            true
        }
        Meaning::Parts => {
            let what = match &expr.kind {
                ExprKind::Path { .. } => expr.to_string(),
                ExprKind::Variable(name) => format!("@{name}"),
                ExprKind::Star => "*".to_owned(),
                ExprKind::Call { name, .. } if is_of_message(&name.node) => {
                    format!("{}()", name.node)
                }
                _ => return false,
            };
            not_grouped(&what, expr, scope);
            true
        }
    }
}

fn not_grouped(what: &str, expr: &Expr, scope: &mut Scope<'_, '_>) {
    let help = match &expr.kind {
        ExprKind::Star => "name the columns; collect(*) takes all messages".to_owned(),
        _ => format!("group by it, or take first({expr}) or last({expr})"),
    };
    scope.found.push(
        Diagnostic::error(Code::NOT_GROUPED, format!("{what} differs from message to message"))
            .at(expr.span.clone(), "neither a key nor an aggregate")
            .help(help),
    );
}

/// Whether a function asks the message, of which there is none when a window closes.
fn is_of_message(name: &str) -> bool {
    lookup(name).is_some_and(|spec| {
        matches!(
            spec.function,
            Function::ClientId
                | Function::GetMqttProperty
                | Function::GetUserProperties
                | Function::PartitionKey
                | Function::Principal
                | Function::SequenceNumber
                | Function::ShardId
                | Function::SourceIp
                | Function::Topic
                | Function::TraceId
        )
    })
}

fn call<'e>(spec: &AggregateSpec, args: &'e [Expr], expr: &Expr, scope: &mut Scope<'e, '_>) {
    scope.aggregates += 1;
    if args.len() != spec.args {
        let takes = if spec.args == 1 { "1 argument" } else { "2 arguments" };
        let message = format!("{} takes {takes}, not {}", spec.name, args.len());
        scope.found.push(
            Diagnostic::error(Code::AGGREGATE, message).at(expr.span.clone(), "").help(match spec
                .aggregate
            {
                Aggregate::Percentile => "as in percentile(latency, 95)",
                Aggregate::Count => "count(*) counts messages, count(x) those that have x",
                _ => "name what it is taken of",
            }),
        );
    }
    if let (Aggregate::Percentile, Some(rank)) = (spec.aggregate, args.get(1)) {
        percentile_rank(rank, scope);
    }
    if let Some(of @ Expr { kind: ExprKind::Star, .. }) = args.first()
        && !matches!(
            spec.aggregate,
            Aggregate::Count | Aggregate::First | Aggregate::Last | Aggregate::Collect
        )
    {
        scope.found.push(
            Diagnostic::error(Code::AGGREGATE, format!("{} is taken of a value", spec.name))
                .at(of.span.clone(), "the whole payload")
                .help(format!("name a field, as in {}(temperature)", spec.name)),
        );
    }
    // Inside, each message is there.
    let closed = scope.closed.take();
    scope.over_each_message(|scope| args.iter().for_each(|arg| scope.expression(arg)));
    scope.closed = closed;
}

fn percentile_rank(rank: &Expr, scope: &mut Scope<'_, '_>) {
    let hundred = Number::Int(100);
    let number = match &rank.kind {
        ExprKind::Literal(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let wrong = match number {
        Some(number) if number.signum() > 0 && number < Number::Int(1) => Diagnostic::warning(
            Code::AGGREGATE,
            format!("percentile {number} is nearly the least value"),
        )
        .help("percentiles count to 100: write 95, not 0.95"),
        Some(number) if number.signum() >= 0 && number <= hundred => return,
        _ => Diagnostic::error(Code::AGGREGATE, "this is no percentile")
            .help("write a number from 0 to 100, as in percentile(latency, 95)"),
    };
    scope.found.push(wrong.at(rank.span.clone(), ""));
}

/// Says why an aggregate cannot stand where only one message is looked at; `None` for other names.
pub(super) fn misplaced(name: &Spanned<String>, scope: &Scope<'_, '_>) -> Option<Diagnostic> {
    let spec = aggregate::lookup(&name.node)?;
    let wrong = if scope.has_group {
        Diagnostic::error(Code::AGGREGATE, format!("{} is known when a window closes", spec.name))
            .help("write it in SELECT, HAVING or an action, and not inside another aggregate")
    } else {
        Diagnostic::error(Code::AGGREGATE, format!("{} needs several messages", spec.name))
            .help("say which ones, as in GROUP BY topic(2), TUMBLE(1 MINUTE)")
    };
    Some(wrong.at(name.span.clone(), ""))
}
