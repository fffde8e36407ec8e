//! Joins: their tables, their ON, and the columns that the rule names.

use super::super::ast::Expr;
use super::super::ast::Join;
use super::super::ast::Segment;
use super::super::table::HasColumn;
use super::super::table::RowSource;
use super::expression::Scope;
use super::strict;
use super::suggestion;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::JOINS_MAX;

/// Checks the joins in order; behind each, its row is known.
pub(super) fn clauses<'e>(joins: &'e [Join], scope: &mut Scope<'e, '_>) {
    if let Some(surplus) = joins.get(JOINS_MAX) {
        scope.found.push(
            Diagnostic::error(Code::JOIN, format!("a statement has at most {JOINS_MAX} joins"))
                .at(surplus.span.clone(), "the first too many"),
        );
    }
    let mut rest = joins;
    while let Some((join, later)) = rest.split_first() {
        scope.not_joined_yet = rest;
        if scope.language.strict {
            let advice = "get_dynamodb() in the place of the row";
            strict::refuse(scope, "JOIN", join.span.clone(), advice);
        }
        let table = match scope.context.tables.find(&join.table) {
            Ok(table) => table,
            Err(unknown) => {
                scope.found.push(unknown);
                None
            }
        };
        on(join, table.as_ref(), scope);
        if scope.rows.iter().any(|(name, _)| *name == join.row_name()) {
            let message = format!("two rows are called {}", join.row_name());
            scope.found.push(
                Diagnostic::error(Code::JOIN, message)
                    .at(join.span.clone(), "the second")
                    .help(format!("give it a name of its own: JOIN {} AS other", join.table.node)),
            );
        }
        scope.rows.push((join.row_name(), table));
        rest = later;
    }
    scope.not_joined_yet = rest;
}

/// ON says the key of the table, and nothing else.
fn on<'e>(join: &'e Join, table: Option<&RowSource>, scope: &mut Scope<'e, '_>) {
    let Some(table) = table else { return };
    if let Some(key) = join.key(table.key()) {
        key.into_iter().for_each(|value| scope.expression(value));
        return;
    }
    let row = join.row_name();
    let key: Vec<String> = table.key().iter().map(|column| format!("{row}.{column} = …")).collect();
    scope.found.push(
        Diagnostic::error(Code::JOIN, format!("ON does not say the key of {}", join.table.node))
            .at(join.on.span.clone(), "")
            .help(format!("write ON {}: a row is found by its key alone", key.join(" AND "))),
    );
}

/// A path that begins with the name of a row is one of its columns.
pub(super) fn column(expr: &Expr, root: &str, segments: &[Segment], scope: &mut Scope<'_, '_>) {
    if scope.is_alias(root) {
        return;
    }
    if scope.not_joined_yet.iter().any(|join| join.row_name() == root) {
        scope.found.push(
            Diagnostic::error(Code::JOIN, format!("the row {root} is not there yet"))
                .at(expr.span.clone(), "evaluated before it is joined")
                .help("SET sees the message alone; ON sees it and the rows joined before"),
        );
        return;
    }
    let row = scope.rows.iter().find(|(name, _)| *name == root);
    // A table that UPSERT writes has whatever columns are written.
    let Some((_, Some(RowSource::Reference(table)))) = row else { return };
    let Some(Segment::Name(name)) = segments.first() else { return };
    let message = format!("the table {} has no column {name}", table.name());
    let wrong = match table.has_column(name) {
        HasColumn::Yes => return,
        HasColumn::No => Diagnostic::error(Code::COLUMN, message),
        HasColumn::NotYet => Diagnostic::warning(Code::COLUMN, format!("{message} now")),
    };
    let known = || {
        let known: Vec<&str> = table.columns().iter().take(12).map(|c| c.as_str()).collect();
        format!(
            "it has {}; a field of the message of that name is *.{root}.{name}",
            known.join(", ")
        )
    };
    let columns = table.columns().iter().map(|column| column.as_str());
    let help = suggestion(scope.found.len(), name, columns, known);
    scope.found.push(wrong.at(expr.span.clone(), "").help(help));
}
