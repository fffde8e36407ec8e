//! FOR EACH ROW OF: whether the rows of the table can be watched.

use super::super::ast::Condition;
use super::super::ast::Format;
use super::super::ast::Select;
use super::super::ast::Spanned;
use super::super::ast::When;
use super::super::table::RowSource;
use super::expression::Scope;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// Checks the clause, which names `table`.
pub(super) fn clause(
    table: &Spanned<String>,
    when: &When,
    select: &Select,
    scope: &mut Scope<'_, '_>,
) {
    let tables = scope.context.tables;
    let mut refuse = |message: String, help: String| {
        let wrong = Diagnostic::error(Code::EACH_ROW, message);
        scope.found.push(wrong.at(table.span.clone(), "").help(help));
    };
    if !matches!(when.condition, Condition::NoData) {
        let help =
            "a row is no message, so no condition can be true of it: WHEN NO DATA FOR 10 MINUTES";
        refuse("FOR EACH ROW OF belongs to NO DATA".to_owned(), help.to_owned());
    }
    if select.foreach.is_some() {
        let help = "republish each element, and let a second rule watch for silence";
        refuse("a row is no element of FOREACH".to_owned(), help.to_owned());
    }
    if select.timestamp.is_some() {
        let help = "take TIMESTAMP BY out: silence is then measured by the time of receipt";
        refuse("a row has no time of its own".to_owned(), help.to_owned());
    }
    if select.format.as_ref().is_some_and(|format| format.node != Format::Json) {
        let help = "in the record of a key that never said anything the row stands for the message, as JSON";
        refuse("rows are watched beside messages in JSON only".to_owned(), help.to_owned());
    }
    match tables.find(table) {
        Err(unknown) => scope.found.push(unknown),
        Ok(None) => {}
        Ok(Some(RowSource::Latest(_))) => {
            let help =
                "name a table of CREATE TABLE: it says who is there, whatever has been heard";
            refuse(format!("{} is a table that UPSERT writes", table.node), help.to_owned());
        }
        Ok(Some(RowSource::Reference(rows))) => {
            let (given, wanted) = (when.partition_by.len(), rows.key().len());
            if given != wanted {
                let columns: Vec<&str> = rows.key().iter().map(|column| column.as_str()).collect();
                let help = format!(
                    "give a value for each key column of {}: PARTITION BY {}",
                    table.node,
                    columns.join(", ")
                );
                refuse("PARTITION BY does not say which row a message is of".to_owned(), help);
            }
        }
    }
}
