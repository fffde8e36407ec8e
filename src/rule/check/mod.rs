//! What can be proved of a rule before anything runs.
//!
//! In: the tree of one statement and its text. Out: diagnostics, everything at once. A rule without
//! an error here compiles and evaluates without a failure of its own. Expressions are judged in
//! `expression` (names, arity, versions, strict AWS, variables, `hold.…`), conditions that are never
//! true in `never`, operands and arguments of a type that never does in `types`, literals that are
//! patterns in `pattern`, what AWS does not have in `strict`, actions in `action` and `header`, GROUP BY in
//! `group`, joins
//! in `join`, functions for services of AWS in `service`, FOREACH in `foreach`, what FROM says of
//! messages and records in `source`, columns taken for fields in `alias`, functions that look back in `analytic`, FOR
//! EACH ROW OF in `each_row`. What only the set of all rules can tell (names, targets, loops between
//! rules) is judged in [`super::set`].

mod action;
mod alias;
mod analytic;
mod each_row;
mod expression;
mod foreach;
mod format;
mod group;
mod header;
mod join;
mod never;
mod pattern;
mod service;
mod source;
mod strict;
mod types;

use super::analytic::Analytic;
use super::ast::CreateRule;
use super::ast::ExprKind;
use super::ast::Select;
use super::ast::Spanned;
use super::ast::SqlVersion;
use super::ast::TimestampBy;
use super::ast::When;
use super::grouping::Place;
use super::set::Targets;
use super::table::Tables;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest_after;
use crate::limits::VARIABLE_NAME_CHARS_MAX;
use crate::limits::VARIABLES_MAX;
use analytic::Earlier;
use analytic::Unknown;
use expression::HoldUse;
use expression::Scope;
use group::Closed;

/// Why `aws_lambda()` is refused, and what to do instead.
const NO_CALLS_OVER_TIME: &str = "a rule that remembers is judged by the one writer of the journal, which \
    waits for nobody: call in a rule that does not, REPUBLISH the answer, and watch that";
const NO_CALLS_OVER_STREAMS: &str = "records are judged a page at a time: call in the rule that writes the stream, or INVOKE the hook";
const NO_CALLS_IN_ERROR_ACTIONS: &str =
    "AWS has no such calls in error actions either: INVOKE the hook";
const NO_CALLS_ALONE: &str = "a statement by itself is evaluated without a gateway that would call: \
    put it into a rule";

/// What a rule may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Language {
    /// The SQL version that functions are looked up under.
    pub(super) version: SqlVersion,
    /// Nothing beyond AWS.
    pub(super) strict: bool,
}

/// What there is beside a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'c> {
    pub(super) tables: &'c Tables,
    pub(super) targets: &'c Targets,
}

/// Checks a statement whose places are in `file`.
pub(super) fn create_rule(
    rule: &CreateRule,
    file: &str,
    context: Context<'_>,
    found: &mut Vec<Diagnostic>,
) {
    let language =
        Language { version: rule.strict.unwrap_or_default(), strict: rule.strict.is_some() };
    let mut scope = Scope::new(language, file, context, found);
    scope.looks_back = Analytic::of(rule).is_some();
    let has_when = rule.select.when.is_some();
    scope.no_calls = match &rule.select.stream {
        Some(_) => Some(NO_CALLS_OVER_STREAMS),
        None => {
            let remembers = has_when || scope.looks_back || rule.select.group.is_some();
            remembers.then_some(NO_CALLS_OVER_TIME)
        }
    };
    select(&rule.select, &mut scope);
    scope.hold = if has_when { HoldUse::Known } else { HoldUse::Absent };
    scope.earlier_behind(has_when, rule.select.group.is_some());
    scope.closed = Closed::of(&rule.select, Place::BehindSelect);
    action::list(&rule.actions, &mut scope);
    scope.closed = None;
    action::list(&rule.on_cleared, &mut scope);
    scope.no_calls = Some(NO_CALLS_IN_ERROR_ACTIONS);
    scope.without_earlier(Unknown::OnError, |scope| action::list(&rule.on_error, scope));
    if let Some(group) = &rule.select.group {
        group::how_many(group, &mut scope);
    }
    analytic::whole(&rule.select, |visit| rule.for_each_expr(visit), found);
    format::fields_of_bytes(rule, found);
    alias::uses(rule, found);
    if let Some(each) = &rule.select.foreach {
        foreach::on_error(each, &rule.on_error, found);
    }
    if let (false, Some(first)) = (has_when, rule.on_cleared.first()) {
        found.push(
            Diagnostic::error(Code::CLEARED_WITHOUT_WHEN, "nothing is ever cleared in this rule")
                .at(first.span.clone(), "never runs")
                .help("ON CLEARED belongs to a rule with WHEN … FOR …"),
        );
    }
    if rule.select.from.is_empty() && rule.select.stream.is_none() {
        let name = &rule.name.node;
        found.push(
            Diagnostic::note(Code::NO_FROM, "the rule has no FROM")
                .at(rule.name.span.clone(), "")
                .help(format!("it sees what is published to $aws/rules/{name}/… only")),
        );
    }
}

/// Checks a SELECT that stands alone in `text`.
pub(super) fn bare_select(
    statement: &Select,
    version: SqlVersion,
    text: &str,
    tables: &Tables,
    found: &mut Vec<Diagnostic>,
) {
    let (language, targets) = (Language { version, strict: false }, Targets::default());
    let context = Context { tables, targets: &targets };
    let mut scope = Scope::new(language, text, context, found);
    scope.no_calls = Some(NO_CALLS_ALONE);
    select(statement, &mut scope);
    analytic::whole(statement, |visit| statement.for_each_expr(visit), found);
}

fn select<'e>(select: &'e Select, scope: &mut Scope<'e, '_>) {
    let has_when = select.when.is_some();
    scope.has_group = select.group.is_some();
    scope.hold = if has_when { HoldUse::NotYet } else { HoldUse::Absent };
    scope.not_joined_yet = &select.joins;
    source::stream(select, scope);
    if select.foreach.is_some() {
        scope.earlier = Earlier::Unknown(Unknown::Foreach);
    }
    for (variable, value) in &select.sets {
        scope.expression(value);
        declare(variable, scope);
        scope.declare_lookback(&variable.node, value);
    }
    if let (true, [_, second, ..]) = (scope.language.strict, select.from.as_slice()) {
        let advice = "one rule for each filter, or a wider filter and WHERE topic(2) IN ['a', 'b']";
        strict::refuse(scope, "several topic filters", second.span.clone(), advice);
    }
    if scope.language.strict {
        strict::comments(select.span.clone(), scope);
    }
    if let Some(each) = &select.foreach {
        foreach::clause(each, select, scope);
    }
    source::filters(select, scope.found);
    if let Some(clause) = &select.timestamp {
        timestamp_by(clause, has_when || scope.has_group, scope);
    }
    scope.without_earlier(Unknown::Source, |scope| join::clauses(&select.joins, scope));
    if let (true, Some(format)) = (scope.language.strict, &select.format) {
        let advice = "payloads are JSON; decode(encode(*, 'base64'), 'base64') reads others";
        strict::refuse(scope, "payload format behind FROM", format.span.clone(), advice);
    }
    if let Some(filter) = &select.filter {
        scope.expression(filter);
        scope.has_condition(filter);
    }
    if let Some(clause) = &select.when {
        if scope.language.strict {
            let advice = "a rule sees one message at a time and remembers nothing";
            strict::refuse(scope, "WHEN", clause.span.clone(), advice);
        }
        when(clause, scope);
        if let Some(table) = &clause.each_row {
            each_row::clause(table, clause, select, scope);
        }
    }
    if let Some(clause) = &select.group {
        group::clause(clause, select, scope);
    }
    never::conditions(
        [select.filter.as_ref(), select.when.as_ref().and_then(|when| when.condition.expr())],
        scope.found,
    );
    scope.hold = if has_when { HoldUse::Known } else { HoldUse::Absent };
    scope.earlier_behind(has_when, scope.has_group);
    scope.closed = Closed::of(select, Place::Select);
    scope.projection(&select.projection);
    scope.closed = Closed::of(select, Place::BehindSelect);
    if let Some(having) = select.group.as_ref().and_then(|group| group.having.as_ref()) {
        scope.expression(having);
        scope.has_condition(having);
    }
    scope.closed = None;
}

fn timestamp_by<'e>(clause: &'e TimestampBy, is_over_time: bool, scope: &mut Scope<'e, '_>) {
    if scope.language.strict {
        let advice = "a message's time is when it came";
        strict::refuse(scope, "TIMESTAMP BY", clause.span.clone(), advice);
    }
    scope.without_earlier(Unknown::Source, |scope| scope.expression(&clause.expr));
    let is_no_time = match &clause.expr.kind {
        // Undefined stands where an error was told.
        ExprKind::Literal(value) => !value.is_undefined(),
        ExprKind::Array(_) | ExprKind::Object(_) | ExprKind::Star => true,
        _ => false,
    };
    if is_no_time {
        scope.found.push(
            Diagnostic::error(Code::EVENT_TIME, "this is not the time of a message")
                .at(clause.expr.span.clone(), "")
                .help("name the field that holds it, as in TIMESTAMP BY ts SECONDS"),
        );
    } else if !is_over_time && !scope.looks_back && !scope.language.strict {
        scope.found.push(
            Diagnostic::warning(
                Code::EVENT_TIME,
                "without WHEN or GROUP BY the time of a message changes nothing",
            )
            .at(clause.span.clone(), "has no effect")
            .help("every message is judged by itself here; take the clause out, or add WHEN … or GROUP BY …"),
        );
    }
}

fn when<'e>(when: &'e When, scope: &mut Scope<'e, '_>) {
    if let Some(condition) = when.condition.expr() {
        scope.expression(condition);
        scope.has_condition(condition);
    }
    scope.without_earlier(Unknown::Source, |scope| {
        when.partition_by.iter().for_each(|expr| scope.expression(expr));
    });
    if let Some(clear) = &when.clear_when {
        scope.expression(clear);
        scope.has_condition(clear);
        never::conditions([Some(clear), None], scope.found);
    }
}

/// `SET @v`: from here on `@v` is known.
fn declare<'e>(variable: &'e Spanned<String>, scope: &mut Scope<'e, '_>) {
    let name = variable.node.as_str();
    let mut refuse = |message: String, help: &str| {
        let wrong = Diagnostic::error(Code::VARIABLE, message);
        scope.found.push(wrong.at(variable.span.clone(), "").help(help));
    };
    if name.chars().count() > VARIABLE_NAME_CHARS_MAX {
        let message = format!("a variable's name has at most {VARIABLE_NAME_CHARS_MAX} characters");
        refuse(message, "give it a shorter name");
    }
    if scope.variables.contains(&name) {
        refuse(
            format!("@{name} is assigned twice"),
            "a variable keeps its value; use another name",
        );
    } else if scope.variables.len() == VARIABLES_MAX {
        refuse(format!("a statement has at most {VARIABLES_MAX} variables"), "split the rule");
    }
    scope.variables.push(name);
}

/// "did you mean …?", or `otherwise`, for a finding of a file that has `found` already.
pub(super) fn suggestion<'c>(
    found: usize,
    word: &str,
    known: impl IntoIterator<Item = &'c str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    nearest_after(found, word, known).map_or_else(otherwise, |near| format!("did you mean {near}?"))
}
