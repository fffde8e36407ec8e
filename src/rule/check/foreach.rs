//! FOREACH: what it runs over, and where its element is known.

use super::super::ast::Action;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Foreach;
use super::super::ast::Select;
use super::super::ast::Spanned;
use super::expression::Scope;
use super::strict;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// Checks the clause beside the others of `select`.
pub(super) fn clause<'e>(each: &'e Foreach, select: &Select, scope: &mut Scope<'e, '_>) {
    if scope.language.strict {
        let advice = "SELECT VALUE (SELECT … FROM array), and batchMode in the action";
        strict::refuse(scope, "FOREACH", each.span.clone(), advice);
    }
    scope.expression(&each.array);
    if !may_be_array(&each.array) {
        scope.found.push(
            Diagnostic::warning(Code::FOREACH, "there are never any elements")
                .at(each.array.span.clone(), "this is never an array")
                .help("name a field that holds an array, as in FOREACH readings AS r"),
        );
    }
    if let Some(join) = select.joins.iter().find(|join| join.row_name() == each.alias.node) {
        scope.found.push(
            Diagnostic::error(Code::FOREACH, "an element and a row have the same name")
                .at(each.alias.span.clone(), "the element")
                .also(join.span.clone(), "the row")
                .help("give one of them another name with AS"),
        );
    }
}

fn may_be_array(expr: &Expr) -> bool {
    !matches!(
        expr.kind,
        ExprKind::Literal(_)
            | ExprKind::Binary { .. }
            | ExprKind::Unary { .. }
            | ExprKind::Is { .. }
    )
}

/// ON ERROR speaks of the message: which element failed is not known there.
pub(super) fn on_error(each: &Foreach, actions: &[Spanned<Action>], found: &mut Vec<Diagnostic>) {
    for action in actions {
        action.node.for_each_expr(&mut |expr| no_element(expr, &each.alias.node, found));
    }
}

fn no_element(expr: &Expr, alias: &str, found: &mut Vec<Diagnostic>) {
    if matches!(&expr.kind, ExprKind::Path { root, .. } if root == alias) {
        found.push(
            Diagnostic::error(Code::FOREACH, format!("{alias} is not known in ON ERROR"))
                .at(expr.span.clone(), "an element of FOREACH")
                .help("ON ERROR sees the whole message"),
        );
    }
    expr.for_each_child(&mut |child| no_element(child, alias, found));
}
