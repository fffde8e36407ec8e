//! Payload formats: what a format cannot give.

use super::super::ast::CreateRule;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Format;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// Tells of fields that a rule names of a payload that is not decoded.
pub(super) fn fields_of_bytes(rule: &CreateRule, found: &mut Vec<Diagnostic>) {
    let select = &rule.select;
    let is_row = |root: &str| select.joins.iter().any(|join| join.row_name() == root);
    if select.format.as_ref().is_some_and(|format| format.node == Format::Bytes) {
        rule.for_each_expr(&mut |expr| tell_fields(expr, &is_row, found));
    }
}

fn tell_fields(expr: &Expr, is_row: &impl Fn(&str) -> bool, found: &mut Vec<Diagnostic>) {
    match &expr.kind {
        // Of a joined row.
        ExprKind::Path { root, .. } if is_row(root) => {}
        ExprKind::Path { root, .. } => found.push(
            Diagnostic::warning(Code::FORMAT, format!("BYTES have no field {root}"))
                .at(expr.span.clone(), "always Undefined")
                .help("say which format the payload has, as in AS CBOR; `*` is all of the bytes"),
        ),
        // Inside, a name is a member of the element.
        ExprKind::Subquery(query) | ExprKind::Exists(query) => {
            tell_fields(&query.source, is_row, found);
        }
        _ => expr.for_each_child(&mut |child| tell_fields(child, is_row, found)),
    }
}
