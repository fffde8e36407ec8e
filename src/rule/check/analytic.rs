//! Functions that look back on earlier messages: where those are known, how far back, of which key.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::analytic::AnalyticCall;
use super::super::analytic::are_same;
use super::super::analytic::is_analytic;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Select;
use super::super::ast::Spanned;
use super::super::function::Function;
use super::super::function::lookup;
use super::expression::Scope;
use super::strict;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::HISTORY_VALUES_MAX;
use crate::value::Number;
use crate::value::Value;

/// Whether earlier messages are known where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// They are.
    Known,
    /// Inside a nested query: a variable that looks back may be used, the functions may not.
    InQuery,
    /// They are not.
    Unknown(Unknown),
}

/// Why they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The clause decides which messages there are, or which key they have.
    Source,
    /// The rule has FOREACH.
    Foreach,
    /// Evaluated when a condition fires, over a message of long ago.
    Firing,
    /// Evaluated when a window closes, over no message; inside an aggregate each message is there.
    Closing,
    /// In ON ERROR.
    OnError,
    /// Inside another of these functions.
    Nested,
}

impl Unknown {
    fn label(self) -> &'static str {
        match self {
            Unknown::Source => "decides which messages are looked back on",
            Unknown::Foreach => "in a rule with FOREACH",
            Unknown::Firing => "evaluated when the condition fires",
            Unknown::Closing => "evaluated when the window closes",
            Unknown::OnError => "ON ERROR sees one message alone",
            Unknown::Nested => "inside a function that looks back itself",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Unknown::Source => "use it in SET, SELECT, WHERE, WHEN and the actions",
            Unknown::Foreach => "republish each element, and let a second rule look back",
            Unknown::Firing => {
                "with WHEN, use it in the conditions; to show it, have a rule before this one put it into \
                 the message (SELECT *, delta(t) AS change FROM … REPUBLISH) and watch what that republishes"
            }
            Unknown::Closing => {
                "with GROUP BY, use it in WHERE and in aggregates, as in max(delta(t))"
            }
            Unknown::OnError => "use it in SET, SELECT, WHERE, WHEN and the other actions",
            Unknown::Nested => "republish the inner result, and let a second rule look back on it",
        }
    }
}

impl<'e, 'd> Scope<'e, 'd> {
    /// Judges what stands where earlier messages are not known.
    pub(super) fn without_earlier(&mut self, why: Unknown, judge: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.earlier, Earlier::Unknown(why));
        judge(self);
        self.earlier = before;
    }

    /// What comes from here on is evaluated later than the message came, in a rule with WHEN or GROUP BY.
    pub(super) fn earlier_behind(&mut self, has_when: bool, has_group: bool) {
        if has_group {
            self.earlier = Earlier::Unknown(Unknown::Closing);
        } else if has_when {
            self.earlier = Earlier::Unknown(Unknown::Firing);
        }
    }

    /// Judges what is evaluated over each message that a window gathers.
    pub(super) fn over_each_message(&mut self, judge: impl FnOnce(&mut Self)) {
        let before = self.earlier;
        if before == Earlier::Unknown(Unknown::Closing) {
            self.earlier = Earlier::Known;
        }
        judge(self);
        self.earlier = before;
    }

    /// Judges a nested query.
    pub(super) fn in_query(&mut self, judge: impl FnOnce(&mut Self)) {
        let before = self.earlier;
        if before == Earlier::Known {
            self.earlier = Earlier::InQuery;
        }
        judge(self);
        self.earlier = before;
    }

    /// Notes a variable whose value looks back, itself or through another one.
    pub(super) fn declare_lookback(&mut self, name: &'e str, value: &Expr) {
        if looks_back(value, &self.lookbacks) {
            self.lookbacks.push(name);
        }
    }
}

fn looks_back(expr: &Expr, variables: &[&str]) -> bool {
    let mut found = match &expr.kind {
        ExprKind::Call { name, .. } => is_analytic(&name.node),
        ExprKind::Variable(name) => variables.contains(&name.as_str()),
        _ => false,
    };
    expr.for_each_child(&mut |child| found = found || looks_back(child, variables));
    found
}

/// A call of one of these functions.
pub(super) fn call(name: &Spanned<String>, args: &[Expr], scope: &mut Scope<'_, '_>) {
    let written = name.node.to_ascii_lowercase();
    if scope.language.strict {
        let advice = "a rule sees one message at a time and remembers nothing";
        strict::refuse(scope, &format!("function {written}"), name.span.clone(), advice);
    }
    let message = format!("{written} looks back on earlier messages, which are not known here");
    let misplaced = |label: &str, help: &str| {
        Diagnostic::error(Code::ANALYTIC_PLACE, message).at(name.span.clone(), label).help(help)
    };
    match scope.earlier {
        Earlier::Known => {}
        Earlier::InQuery => scope.found.push(misplaced(
            "inside a nested query",
            &format!("compute it before: SET @v = {written}(…) SELECT …, and use @v in the query"),
        )),
        Earlier::Unknown(why) => scope.found.push(misplaced(why.label(), why.help())),
    }
    let is_lag = lookup(&name.node).is_some_and(|spec| spec.function == Function::Lag);
    if let (true, Some(back)) = (is_lag, args.get(1))
        && !is_reach(back)
    {
        scope.found.push(
            Diagnostic::error(Code::LAG, "how far lag looks back is not understood")
                .at(back.span.clone(), format!("not a whole number from 1 to {HISTORY_VALUES_MAX}"))
                .help("memory is bounded ahead: write it as a number, as in lag(temperature, 3)"),
        );
    }
}

fn is_reach(back: &Expr) -> bool {
    let within = |number: i64| usize::try_from(number).is_ok_and(|n| n <= HISTORY_VALUES_MAX);
    matches!(&back.kind,
        ExprKind::Literal(Value::Number(Number::Int(number))) if *number > 0 && within(*number))
}

/// A variable that looks back stands where the functions may, and in nested queries.
pub(super) fn variable(name: &str, expr: &Expr, scope: &mut Scope<'_, '_>) {
    if let Earlier::Unknown(why) = scope.earlier
        && scope.lookbacks.contains(&name)
    {
        let message = format!("@{name} looks back on earlier messages, which are not known here");
        scope.found.push(
            Diagnostic::error(Code::ANALYTIC_PLACE, message)
                .at(expr.span.clone(), why.label())
                .help(why.help()),
        );
    }
}

/// OVER stands behind these functions only.
pub(super) fn over(call: &Expr, expr: &Expr, scope: &mut Scope<'_, '_>) {
    if let ExprKind::Call { name, .. } = &call.kind
        && lookup(&name.node).is_some()
        && !is_analytic(&name.node)
    {
        scope.found.push(
            Diagnostic::error(Code::OVER, format!("{} looks back on nothing", name.node))
                .at(call.span.end..expr.span.end, "has no meaning here")
                .help("OVER belongs to lag, delta and had_changed"),
        );
    }
}

/// A call and the key that it names; `None` is the one that it has without OVER.
type Keyed<'e> = (&'e Expr, Option<&'e [Expr]>);

/// What concerns all of them together: one key, and how much it remembers.
pub(super) fn whole<'e>(
    select: &'e Select,
    each: impl FnOnce(&mut dyn FnMut(&'e Expr)),
    found: &mut Vec<Diagnostic>,
) {
    let mut calls = Vec::new();
    each(&mut |expr| collect(expr, &mut calls));
    let usual = select.when.as_ref().map(|when| when.partition_by.as_slice()).unwrap_or_default();
    let Some((first, key)) = calls.first() else { return };
    let key = key.unwrap_or(usual);
    let differs = |(_, other): &&Keyed<'e>| !are_same(key, other.unwrap_or(usual));
    if let Some((other, _)) = calls.iter().find(differs) {
        found.push(
            Diagnostic::error(Code::OVER, "a rule looks back on the messages of one key")
                .at(other.span.clone(), "another key")
                .also(first.span.clone(), "the first")
                .help("give all of them the same OVER (PARTITION BY …), or make two rules"),
        );
    }
    let mut remembered = HashSet::new();
    let mut values = 0;
    for (expr, _) in &calls {
        let ExprKind::Call { name, args } = &expr.kind else { continue };
        let Some(call) = AnalyticCall::new(&name.node, args) else { continue };
        let depth = call.lookback.depth();
        // One that alone looks back too far has been told of.
        if depth > HISTORY_VALUES_MAX || !remembered.insert(Arc::clone(call.identity())) {
            continue;
        }
        values += depth * call.lookback.arguments();
        if values > HISTORY_VALUES_MAX {
            let message = format!("{values} values a key, {HISTORY_VALUES_MAX} are allowed");
            found.push(
                Diagnostic::error(Code::LAG, message)
                    .at(expr.span.clone(), "the first too many")
                    .help("look back less far, or split the rule"),
            );
            return;
        }
    }
}

fn collect<'e>(expr: &'e Expr, calls: &mut Vec<Keyed<'e>>) {
    match &expr.kind {
        ExprKind::Over { call, partition_by } if is_call(call) => {
            calls.push((call, Some(partition_by)));
            call.for_each_child(&mut |child| collect(child, calls));
            partition_by.iter().for_each(|key| collect(key, calls));
        }
        _ => {
            if is_call(expr) {
                calls.push((expr, None));
            }
            expr.for_each_child(&mut |child| collect(child, calls));
        }
    }
}

fn is_call(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Call { name, .. } if is_analytic(&name.node))
}
