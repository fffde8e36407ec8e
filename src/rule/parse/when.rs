//! `WHEN … FOR …` and its clauses.

use std::time::Duration;

use pest::iterators::Pair;

use super::super::ast::AtLeast;
use super::super::ast::Condition;
use super::super::ast::Expr;
use super::super::ast::MaxGap;
use super::super::ast::OnRestart;
use super::super::ast::Spanned;
use super::super::ast::When;
use super::Builder;
use super::Rule;
use super::children;
use super::duration::Zero;
use super::only;
use super::statement::once;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::HOLD_TIMES_MAX;

/// The clauses that have been seen.
#[derive(Default)]
struct Clauses {
    hold_for: Option<Spanned<Duration>>,
    at_least: Option<AtLeast>,
    partition_by: Option<Vec<Expr>>,
    each_row: Option<Spanned<String>>,
    clear_when: Option<Expr>,
    clear_for: Option<Duration>,
    keep: Option<Duration>,
    max_gap: Option<MaxGap>,
    repeat_every: Option<Duration>,
    on_restart: Option<OnRestart>,
}

impl Builder<'_> {
    /// `WHEN … FOR …` and its options.
    pub(super) fn when(&mut self, pair: Pair<'_, Rule>) -> When {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let watched = parts.next().expect("WHEN has a condition");
        let watched_at = self.span(&watched);
        let (condition, hold_for) = self.condition(watched);
        let mut clauses = Clauses { hold_for, ..Clauses::default() };
        for part in parts {
            if let (Condition::NoData, Some(clause)) = (&condition, of_conditions(part.as_rule())) {
                self.found.push(
                    Diagnostic::error(Code::NO_DATA, format!("NO DATA has no {clause}"))
                        .at(self.span(&part), "")
                        .help("silence begins with the key's last message and ends with the next"),
                );
            }
            self.when_clause(part, &mut clauses);
        }
        // Without FOR the first TRUE fires: an edge trigger.
        let at_once = || Spanned { node: Duration::ZERO, span: watched_at };
        When {
            condition,
            hold_for: clauses.hold_for.unwrap_or_else(at_once),
            at_least: clauses.at_least,
            partition_by: clauses.partition_by.unwrap_or_default(),
            each_row: clauses.each_row,
            clear_when: clauses.clear_when,
            clear_for: clauses.clear_for.unwrap_or_default(),
            keep: clauses.keep.unwrap_or_default(),
            max_gap: clauses.max_gap,
            repeat_every: clauses.repeat_every,
            on_restart: clauses.on_restart.unwrap_or_default(),
            span,
        }
    }

    fn when_clause(&mut self, part: Pair<'_, Rule>, clauses: &mut Clauses) {
        let place = self.span(&part);
        match part.as_rule() {
            Rule::hold_for => {
                let duration = self.hold_for(part);
                once(&mut clauses.hold_for, duration, "FOR", place, self.found);
            }
            Rule::at_least => {
                let mut inner = children(part);
                let counted = self.at_least(&mut inner);
                once(&mut clauses.at_least, counted, "AT LEAST", place, self.found);
                if let Some(part) = inner.next() {
                    self.when_clause(part, clauses);
                }
            }
            Rule::partition_by => {
                let exprs = children(part).map(|expr| self.expression(expr, 0)).collect();
                once(&mut clauses.partition_by, exprs, "PARTITION BY", place, self.found);
            }
            Rule::each_row => {
                let table = self.table_name(&only(part));
                once(&mut clauses.each_row, table, "FOR EACH ROW OF", place, self.found);
            }
            Rule::clear_when => {
                let mut inner = children(part);
                let cleared = inner.next().expect("CLEAR WHEN has a condition");
                let cleared = self.expression(cleared, 0);
                once(&mut clauses.clear_when, cleared, "CLEAR WHEN", place.clone(), self.found);
                if let Some(duration) = inner.next() {
                    let duration = self.duration(only(duration), Zero::Allowed);
                    once(&mut clauses.clear_for, duration, "CLEAR … FOR", place, self.found);
                }
            }
            Rule::clear_for => {
                let duration = self.duration(only(part), Zero::Allowed);
                once(&mut clauses.clear_for, duration, "CLEAR … FOR", place, self.found);
            }
            Rule::keep => {
                let duration = self.duration(only(part), Zero::Allowed);
                once(&mut clauses.keep, duration, "KEEP", place, self.found);
            }
            Rule::max_gap => {
                let gap = self.max_gap(part);
                once(&mut clauses.max_gap, gap, "MAX GAP", place, self.found);
            }
            Rule::repeat_every => {
                let duration = self.duration(only(part), Zero::Refused);
                once(&mut clauses.repeat_every, duration, "REPEAT EVERY", place, self.found);
            }
            _ => {
                let mode = restart_mode(part);
                once(&mut clauses.on_restart, mode, "ON RESTART", place, self.found);
            }
        }
    }

    /// What WHEN watches, and for how long as far as that stands with it.
    fn condition(&mut self, pair: Pair<'_, Rule>) -> (Condition, Option<Spanned<Duration>>) {
        if pair.as_rule() == Rule::no_data {
            let duration = only(pair);
            let span = self.span(&duration);
            let node = self.duration(duration, Zero::Refused);
            return (Condition::NoData, Some(Spanned { node, span }));
        }
        (Condition::Expr(self.expression(pair, 0)), None)
    }

    /// `FOR d`
    fn hold_for(&mut self, pair: Pair<'_, Rule>) -> Spanned<Duration> {
        let duration = only(pair);
        let span = self.span(&duration);
        Spanned { node: self.duration(duration, Zero::Allowed), span }
    }

    /// `AT LEAST n TIMES WITHIN d`
    fn at_least<'t>(&mut self, parts: &mut impl Iterator<Item = Pair<'t, Rule>>) -> AtLeast {
        let written = parts.next().expect("AT LEAST has a number");
        let times = written.as_str().parse().ok().filter(|n| (1..=HOLD_TIMES_MAX).contains(n));
        if times.is_none() {
            self.found.push(
                Diagnostic::error(Code::AT_LEAST, "AT LEAST does not count to this number")
                    .at(self.span(&written), "")
                    .help(format!("it counts from 1 to {HOLD_TIMES_MAX} times")),
            );
        }
        let within = parts.next().expect("AT LEAST has a duration");
        AtLeast { times: times.unwrap_or(1), within: self.duration(within, Zero::Refused) }
    }

    fn max_gap(&mut self, pair: Pair<'_, Rule>) -> MaxGap {
        let mut parts = children(pair);
        let duration = parts.next().expect("MAX GAP has a duration");
        let limit = self.duration(duration, Zero::Refused);
        let hold = parts.next().is_some_and(|mode| mode.as_str().eq_ignore_ascii_case("hold"));
        MaxGap { limit, hold }
    }
}

/// The clauses that say how a condition of messages goes on or ends.
fn of_conditions(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::at_least => "AT LEAST",
        Rule::clear_when => "CLEAR WHEN",
        Rule::clear_for => "CLEAR FOR",
        Rule::keep => "KEEP",
        Rule::max_gap => "MAX GAP",
        _ => return None,
    })
}

fn restart_mode(pair: Pair<'_, Rule>) -> OnRestart {
    match only(pair).as_str().to_ascii_uppercase().as_str() {
        "COUNT" => OnRestart::Count,
        "RESET" => OnRestart::Reset,
        _ => OnRestart::Pause,
    }
}
