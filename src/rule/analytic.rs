//! Analytic functions: `lag`, `delta` and `had_changed`, which look back on earlier messages of a key.
//!
//! [`Analytic::of`] finds them in a statement, each once however often it is written, and the one key
//! that they share: OVER (PARTITION BY …), else PARTITION BY of WHEN, else the topic (no expressions).
//! The engine numbers the calls in this order. Where they may stand is judged in `check::analytic`.

use std::collections::HashSet;
use std::sync::Arc;

use super::ast::CreateRule;
use super::ast::Expr;
use super::ast::ExprKind;
use super::function::Function;
use super::function::Purity;
use super::function::lookup;
use crate::value::Number;
use crate::value::Value;

/// What a call asks of the earlier messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookback {
    /// `lag(x, n)`: the n-th earlier value.
    Lag(usize),
    /// `delta(x)`: this number less the one before.
    Delta,
    /// `had_changed(x, …)`: whether one of so many values is another than before.
    HadChanged(usize),
}

impl Lookback {
    /// How many values the call is given with each message.
    pub fn arguments(self) -> usize {
        match self {
            Lookback::Lag(_) | Lookback::Delta => 1,
            Lookback::HadChanged(values) => values,
        }
    }

    /// How many earlier values of each it needs.
    pub fn depth(self) -> usize {
        match self {
            Lookback::Lag(back) => back,
            Lookback::Delta | Lookback::HadChanged(_) => 1,
        }
    }
}

/// A call of an analytic function.
#[derive(Clone, Debug)]
pub struct AnalyticCall<'e> {
    /// What it asks.
    pub lookback: Lookback,
    /// What is remembered; not the other arguments of `lag`.
    pub values: &'e [Expr],
    /// The same as one text, made once: thousands of calls are compared.
    identity: Arc<str>,
}

impl<'e> AnalyticCall<'e> {
    /// The call that `name(args)` is. `None` for other functions, and for arguments that are refused
    /// or always Undefined.
    pub fn new(name: &str, args: &'e [Expr]) -> Option<AnalyticCall<'e>> {
        let spec = lookup(name).filter(|spec| spec.purity == Purity::Analytic)?;
        if !(spec.args_min..=spec.args_max).contains(&args.len()) {
            return None;
        }
        let (lookback, values) = match spec.function {
            Function::Lag => (Lookback::Lag(reach(args.get(1))?), args.get(..1)?),
            Function::Delta => (Lookback::Delta, args),
            _ => (Lookback::HadChanged(args.len()), args),
        };
        let text: Vec<String> = values.iter().map(ToString::to_string).collect();
        let identity = format!("{lookback:?} {}", text.join(", ")).into();
        Some(AnalyticCall { lookback, values, identity })
    }

    /// A text that two calls share when they remember the same and ask the same.
    pub fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// Whether both remember the same and ask the same.
    pub fn is_same(&self, other: &AnalyticCall<'_>) -> bool {
        self.identity == other.identity
    }
}

/// The second argument of `lag`: how far back. `None` for what is no whole number from 1.
fn reach(back: Option<&Expr>) -> Option<usize> {
    match back.map(|back| &back.kind) {
        None => Some(1),
        Some(ExprKind::Literal(Value::Number(Number::Int(back)))) => {
            usize::try_from(*back).ok().filter(|back| *back > 0)
        }
        Some(_) => None,
    }
}

/// Whether two lists of expressions say the same, however they are spaced.
pub fn are_same(left: &[Expr], right: &[Expr]) -> bool {
    let text = |expr: &Expr| expr.to_string();
    left.len() == right.len() && left.iter().map(text).eq(right.iter().map(text))
}

/// Whether `name` is one of these functions.
pub fn is_analytic(name: &str) -> bool {
    lookup(name).is_some_and(|spec| spec.purity == Purity::Analytic)
}

/// The analytic functions of a rule.
#[derive(Clone, Debug)]
pub struct Analytic<'e> {
    /// Each once, in the order of the statement.
    pub calls: Vec<AnalyticCall<'e>>,
    /// Their key; empty is the topic.
    pub partition_by: &'e [Expr],
}

impl<'e> Analytic<'e> {
    /// Those of `rule`; `None` where it has none.
    pub fn of(rule: &'e CreateRule) -> Option<Analytic<'e>> {
        let when = rule.select.when.as_ref();
        let mut found = Found { calls: Vec::new(), known: HashSet::new(), over: None };
        rule.for_each_expr(&mut |expr| found.look(expr));
        let Found { calls, over, .. } = found;
        let partition_by =
            over.or(when.map(|when| when.partition_by.as_slice())).unwrap_or_default();
        (!calls.is_empty()).then_some(Analytic { calls, partition_by })
    }
}

struct Found<'e> {
    calls: Vec<AnalyticCall<'e>>,
    /// Their identities.
    known: HashSet<Arc<str>>,
    over: Option<&'e [Expr]>,
}

impl<'e> Found<'e> {
    fn look(&mut self, expr: &'e Expr) {
        match &expr.kind {
            ExprKind::Call { name, args } => {
                let call = AnalyticCall::new(&name.node, args);
                let fresh = call.filter(|call| self.known.insert(Arc::clone(call.identity())));
                self.calls.extend(fresh);
            }
            ExprKind::Over { partition_by, .. } => {
                self.over = self.over.or(Some(partition_by));
            }
            _ => {}
        }
        expr.for_each_child(&mut |child| self.look(child));
    }
}
