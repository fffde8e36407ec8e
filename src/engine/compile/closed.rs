//! GROUP BY: what is gathered of a message, and what is evaluated over a window that has closed.

use std::sync::Arc;

use super::Compiler;
use crate::engine::code::ActionCode;
use crate::engine::code::Code;
use crate::engine::code::Gather;
use crate::engine::window::WindowSpec;
use crate::engine::window::spec::CellSpec;
use crate::engine::window::spec::Shape;
use crate::rule::ast::CreateRule;
use crate::rule::ast::Expr;
use crate::rule::grouping;
use crate::rule::grouping::AggregateCall;
use crate::rule::grouping::Grouping;
use crate::rule::grouping::Meaning;
use crate::rule::grouping::Place;
use crate::value::Value;

/// What a closed window has.
pub(super) struct Closed<'r> {
    grouping: Grouping<'r>,
    place: Place,
    /// The aggregates by their numbers.
    aggregates: Vec<AggregateCall<'r>>,
}

impl<'r> Compiler<'r> {
    /// GROUP BY without HAVING. What is compiled behind it is evaluated over closed windows.
    pub(super) fn gather(&mut self, rule: &'r CreateRule) -> Option<Gather> {
        let grouping = Grouping::of(&rule.select)?;
        let group = grouping.group;
        let aggregates = grouping::aggregates(rule);
        let mut taken: Vec<(String, Code)> = Vec::new();
        let mut cells = Vec::new();
        for call in &aggregates {
            let input = call.of.map(|of| {
                let text = of.to_string();
                taken.iter().position(|(known, _)| *known == text).unwrap_or_else(|| {
                    let code = self.expr(of);
                    taken.push((text, code));
                    taken.len() - 1
                })
            });
            cells.push(CellSpec { aggregate: call.aggregate, rank: call.rank, input });
        }
        let spec = WindowSpec { shape: Shape::of(&group.window.node), cells: cells.into() };
        let gather = Gather {
            keys: self.exprs(&group.keys),
            inputs: taken.into_iter().map(|(_, code)| code).collect(),
            spec: Arc::new(spec),
            having: None,
        };
        self.closed = Some(Closed { grouping, place: Place::Select, aggregates });
        Some(gather)
    }

    /// HAVING and DO. What is compiled behind them sees a message again.
    pub(super) fn behind_select(
        &mut self,
        gather: Option<Gather>,
        rule: &'r CreateRule,
    ) -> (Option<Gather>, Box<[ActionCode]>) {
        if let Some(closed) = &mut self.closed {
            closed.place = Place::BehindSelect;
        }
        let having = rule.select.group.as_ref().and_then(|group| group.having.as_ref());
        let having = having.map(|having| self.expr(having));
        let actions = self.actions(&rule.actions);
        self.closed = None;
        (gather.map(|gather| Gather { having, ..gather }), actions)
    }

    /// The code of what a closed window has; `None` for what its parts make.
    pub(super) fn of_window(&mut self, expr: &Expr) -> Option<Code> {
        let closed = self.closed.as_ref().filter(|_| self.scopes.is_empty())?;
        match closed.grouping.meaning(expr, closed.place) {
            Meaning::Key(key) => Some(Code::Key(key)),
            Meaning::Aggregate(spec, args) => {
                let text = AggregateCall::new(spec, args).text;
                let number = closed.aggregates.iter().position(|call| call.text == text);
                Some(number.map_or(Code::Constant(Value::Undefined), Code::Aggregate))
            }
            Meaning::Column(column, steps) => {
                let place = closed.place;
                self.set_place(Place::Select);
                let of = self.expr(column);
                self.set_place(place);
                Some(match steps {
                    [] => of,
                    steps => Code::Member { of: Box::new(of), steps: steps.into() },
                })
            }
            Meaning::Parts => None,
        }
    }

    fn set_place(&mut self, place: Place) {
        if let Some(closed) = &mut self.closed {
            closed.place = place;
        }
    }
}
