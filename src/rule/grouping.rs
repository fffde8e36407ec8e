//! What an expression means in a rule with GROUP BY once a window is closed.
//!
//! There is no message then. What is left are the keys of the group, the aggregates and the bounds of
//! the window; HAVING and the actions also know the columns of SELECT by their aliases. `check` refuses
//! everything else with the help of this, and the engine compiles by it.

use std::collections::BTreeMap;

use super::aggregate;
use super::aggregate::Aggregate;
use super::aggregate::AggregateSpec;
use super::ast::CreateRule;
use super::ast::Expr;
use super::ast::ExprKind;
use super::ast::GroupBy;
use super::ast::Projection;
use super::ast::Segment;
use super::ast::Select;
use super::ast::SelectItem;
use crate::value::Number;

/// The group of a rule: its keys and the names of its columns.
#[derive(Debug)]
pub(crate) struct Grouping<'r> {
    pub(crate) group: &'r GroupBy,
    /// The keys as text: two expressions that print alike are the same.
    keys: Vec<String>,
    aliases: Vec<(&'r [String], &'r Expr)>,
}

/// What an expression means.
#[derive(Debug)]
pub(crate) enum Meaning<'r> {
    /// The key of that number.
    Key(usize),
    /// An aggregate over its arguments.
    Aggregate(&'static AggregateSpec, &'r [Expr]),
    /// A column of SELECT, and what is taken from it.
    Column(&'r Expr, &'r [Segment]),
    /// Whatever its parts make of it.
    Parts,
}

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// SELECT: its columns do not know one another.
    Select,
    /// HAVING, DO.
    BehindSelect,
}

impl<'r> Grouping<'r> {
    /// The group of a rule with GROUP BY.
    pub(crate) fn of(select: &'r Select) -> Option<Self> {
        let group = select.group.as_ref()?;
        let items = match &select.projection {
            Projection::Items(items) => items.as_slice(),
            Projection::Value(_) => &[],
        };
        let alias = |item: &'r SelectItem| match item {
            SelectItem::Expr { expr, alias: Some(alias) } => Some((alias.node.as_slice(), expr)),
            _ => None,
        };
        Some(Grouping {
            group,
            keys: group.keys.iter().map(ToString::to_string).collect(),
            aliases: items.iter().filter_map(alias).collect(),
        })
    }

    /// What `expr` means at `place`, outside of nested queries.
    pub(crate) fn meaning(&self, expr: &'r Expr, place: Place) -> Meaning<'r> {
        if !self.keys.is_empty() {
            let text = expr.to_string();
            if let Some(key) = self.keys.iter().position(|key| *key == text) {
                return Meaning::Key(key);
            }
        }
        match &expr.kind {
            ExprKind::Call { name, args } => match aggregate::lookup(&name.node) {
                Some(spec) => Meaning::Aggregate(spec, args),
                None => Meaning::Parts,
            },
            ExprKind::Path { root, segments } if place == Place::BehindSelect => {
                let column = |alias: &[String]| column(alias, root, segments);
                let found = self.aliases.iter().rev();
                let mut found = found.filter_map(|(alias, expr)| Some((*expr, column(alias)?)));
                found.next().map_or(Meaning::Parts, |(expr, rest)| Meaning::Column(expr, rest))
            }
            _ => Meaning::Parts,
        }
    }
}

/// An aggregate of a rule. Two that are written alike are one.
#[derive(Clone, Debug)]
pub(crate) struct AggregateCall<'r> {
    pub(crate) aggregate: Aggregate,
    /// Of `percentile`.
    pub(crate) rank: Number,
    /// What it is taken of; `None` counts messages.
    pub(crate) of: Option<&'r Expr>,
    /// What tells it from others.
    pub(crate) text: String,
}

impl<'r> AggregateCall<'r> {
    pub(crate) fn new(spec: &AggregateSpec, args: &'r [Expr]) -> Self {
        let rank = args.get(1).and_then(|rank| match &rank.kind {
            ExprKind::Literal(value) => value.to_number(),
            _ => None,
        });
        let rank = rank.unwrap_or(Number::Int(50));
        let counts_messages =
            |of: &&Expr| spec.aggregate == Aggregate::Count && matches!(of.kind, ExprKind::Star);
        let of = args.first().filter(|of| !counts_messages(of));
        let shown = of.map(ToString::to_string).unwrap_or_default();
        let text = format!("{:?}({shown}, {rank})", spec.aggregate);
        AggregateCall { aggregate: spec.aggregate, rank, of, text }
    }
}

/// The aggregates of a rule, each once, in an order that the order of its columns does not change.
pub(crate) fn aggregates(rule: &CreateRule) -> Vec<AggregateCall<'_>> {
    let mut found = BTreeMap::new();
    let Some(grouping) = Grouping::of(&rule.select) else { return Vec::new() };
    rule.select.projection.for_each_expr(&mut |expr| {
        grouping.collect(expr, Place::Select, &mut found);
    });
    let having = grouping.group.having.iter();
    having.for_each(|expr| grouping.collect(expr, Place::BehindSelect, &mut found));
    for action in &rule.actions {
        action.node.for_each_expr(&mut |expr| {
            grouping.collect(expr, Place::BehindSelect, &mut found);
        });
    }
    found.into_values().collect()
}

impl<'r> Grouping<'r> {
    fn collect(
        &self,
        expr: &'r Expr,
        place: Place,
        found: &mut BTreeMap<String, AggregateCall<'r>>,
    ) {
        match self.meaning(expr, place) {
            Meaning::Key(_) => {}
            Meaning::Aggregate(spec, args) => {
                let call = AggregateCall::new(spec, args);
                found.entry(call.text.clone()).or_insert(call);
            }
            Meaning::Column(expr, _) => self.collect(expr, Place::Select, found),
            Meaning::Parts => match &expr.kind {
                // Inside, names are those of the element.
                ExprKind::Subquery(query) | ExprKind::Exists(query) => {
                    self.collect(&query.source, place, found);
                }
                _ => expr.for_each_child(&mut |child| self.collect(child, place, found)),
            },
        }
    }
}

/// What is left of a path when it begins with `alias`.
fn column<'r>(alias: &[String], root: &str, segments: &'r [Segment]) -> Option<&'r [Segment]> {
    let (first, rest) = alias.split_first()?;
    let (named, left) = segments.split_at_checked(rest.len())?;
    let is_named = |(name, segment): (&String, &Segment)| match segment {
        Segment::Name(other) => name == other,
        Segment::Index(_) => false,
    };
    (first == root && rest.iter().zip(named).all(is_named)).then_some(left)
}
