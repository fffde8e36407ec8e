//! Columns of SELECT that are taken for fields elsewhere: WHERE, WHEN and actions see the message.
//!
//! The message may well have a field of that name, so this is a note. It is the first trap of AWS IoT SQL.

use std::collections::BTreeMap;

use super::super::ast::CreateRule;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Projection;
use super::super::ast::Select;
use super::super::ast::SelectItem;
use super::super::ast::Span;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// Notes the first use of each column of SELECT outside of it.
pub(super) fn uses(rule: &CreateRule, found: &mut Vec<Diagnostic>) {
    // Windows know their columns in HAVING and actions.
    if rule.select.group.is_some() {
        return;
    }
    let mut columns = columns(&rule.select);
    if columns.is_empty() {
        return;
    }
    let mut note = |expr: &Expr| {
        note_fields(expr, &mut columns, found);
    };
    rule.select.filter.iter().for_each(&mut note);
    if let Some(when) = &rule.select.when {
        when.condition.expr().into_iter().for_each(&mut note);
        when.clear_when.iter().chain(&when.partition_by).for_each(&mut note);
    }
    for action in rule.all_actions() {
        action.node.for_each_expr(&mut note);
    }
}

/// The names that AS gives, and no field, row or element has as far as the SELECT says.
fn columns(select: &Select) -> BTreeMap<&str, Span> {
    let Projection::Items(items) = &select.projection else { return BTreeMap::new() };
    let named = items.iter().filter_map(|item| match item {
        SelectItem::Expr { alias: Some(alias), .. } => match alias.node.as_slice() {
            [name] => Some((name.as_str(), alias.span.clone())),
            _ => None,
        },
        _ => None,
    });
    let mut columns: BTreeMap<&str, Span> = named.collect();
    select.joins.iter().for_each(|join| {
        columns.remove(join.row_name());
    });
    if let Some(each) = &select.foreach {
        columns.remove(each.alias.node.as_str());
    }
    if !columns.is_empty() {
        select.projection.for_each_expr(&mut |expr| remove_fields(expr, &mut columns));
    }
    columns
}

/// `SELECT round(t) AS t` speaks of a field t.
fn remove_fields(expr: &Expr, columns: &mut BTreeMap<&str, Span>) {
    if let ExprKind::Path { root, .. } = &expr.kind {
        columns.remove(root.as_str());
    }
    expr.for_each_child(&mut |child| remove_fields(child, columns));
}

fn note_fields(expr: &Expr, columns: &mut BTreeMap<&str, Span>, found: &mut Vec<Diagnostic>) {
    match &expr.kind {
        ExprKind::Path { root, .. } => {
            let Some(column) = columns.remove(root.as_str()) else { return };
            found.push(
                Diagnostic::note(Code::COLUMN_NAME, format!("{root} is a field of the message here"))
                    .at(expr.span.clone(), "and not the column")
                    .also(column, "the column of that name")
                    .help(format!(
                        "where the message has no such field, compute it before: SET @{root} = … SELECT …"
                    )),
            );
        }
        // Inside, a name is a member of the element.
        ExprKind::Subquery(query) | ExprKind::Exists(query) => {
            note_fields(&query.source, columns, found);
        }
        _ => expr.for_each_child(&mut |child| note_fields(child, columns, found)),
    }
}
