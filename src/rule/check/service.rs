//! Calls of functions that ask a service at AWS: what they ask here must be there.
//!
//! A table, a secret or a hook is found when rules are loaded, so its name is a literal. Roles are
//! taken and mean nothing here.

use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Spanned;
use super::super::function::Function;
use super::super::schema::literal;
use super::super::service;
use super::super::set;
use super::super::table::RowSource;
use super::expression::Scope;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::value::Value;

/// Checks what the call of a function for a service names. A call with a wrong number of arguments has been
/// told of.
pub(super) fn call(function: Function, args: &[Expr], call: &Expr, scope: &mut Scope<'_, '_>) {
    match (function, args) {
        (Function::GetThingShadow, [_, _] | [_, _, _]) => shadow(call, scope),
        (Function::GetDynamodb, [table, rest @ ..]) => row(table, rest, call, scope),
        (Function::AwsLambda, [name, _]) => lambda(name, call, scope),
        (Function::GetSecret, [id, kind, _] | [id, kind, _, _]) => secret(id, kind, scope),
        _ => {}
    }
}

/// The text of an argument that must be a literal.
fn literal_of<'e>(arg: &'e Expr, what: &str, scope: &mut Scope<'_, '_>) -> Option<&'e str> {
    // Undefined stands where an error was told.
    if literal(arg).is_none() && !matches!(arg.kind, ExprKind::Literal(Value::Undefined)) {
        scope.found.push(
            Diagnostic::error(Code::SERVICE_CALL, format!("{what} is not known ahead"))
                .at(arg.span.clone(), "not a text in quotes")
                .help("rules are checked against what there is before they run: name it literally"),
        );
    }
    literal(arg)
}

/// A hook that is called must be declared, and somebody must be able to wait for its answer.
fn lambda(name: &Expr, call: &Expr, scope: &mut Scope<'_, '_>) {
    if let Some(why) = scope.no_calls {
        scope.found.push(
            Diagnostic::error(Code::CALL_PLACE, "nobody can wait for an answer here")
                .at(call.span.clone(), "")
                .help(why),
        );
        return;
    }
    let Some(text) = literal_of(name, "the hook", scope) else { return };
    let undeclared = set::hook(service::function_name(text), &name.span, scope.context.targets);
    scope.found.extend(undeclared);
}

/// A thing's shadow is a row of one table.
fn shadow(call: &Expr, scope: &mut Scope<'_, '_>) {
    let tables = scope.context.tables;
    let name = Spanned { node: tables.shadows().to_owned(), span: call.span.clone() };
    // The command has no configuration that would say which table it is.
    if scope.context.targets.is_open && tables.get(&name.node).is_none() {
        return;
    }
    let Err(mut wrong) = tables.find(&name) else { return };
    if wrong.code == Code::UNKNOWN_TABLE {
        wrong.help = Some(format!(
            "a shadow is the row of its thing: let a rule write it, DO UPSERT {} KEY thing; or name \
             the table in tidegate.toml: shadow.table",
            name.node
        ));
    }
    scope.found.push(wrong);
}

/// `get_dynamodb(table, key, value[, sort key, value], role)`
fn row(table: &Expr, rest: &[Expr], call: &Expr, scope: &mut Scope<'_, '_>) {
    let columns: &[&Expr] = match rest {
        [hash, _, _] => &[hash],
        [hash, _, range, _, _] => &[hash, range],
        _ => {
            if rest.len() == 4 {
                scope.found.push(
                    Diagnostic::warning(Code::ARITY, "a sort key comes with its value")
                        .at(call.span.clone(), "always Undefined"),
                );
            }
            return;
        }
    };
    let Some(name) = literal_of(table, "the table", scope) else { return };
    let name = Spanned { node: name.to_owned(), span: table.span.clone() };
    let source = match scope.context.tables.find(&name) {
        Ok(source) => source,
        Err(unknown) => {
            scope.found.push(unknown);
            return;
        }
    };
    // A table that UPSERT writes has one key, whatever its columns are called.
    let Some(RowSource::Reference(table)) = source else { return };
    let mut given = Vec::new();
    for column in columns {
        given.extend(literal_of(column, "the key", scope));
    }
    let is_key = |column: &&str| table.key().iter().any(|known| known == column);
    if given.len() < columns.len() || (given.iter().all(is_key) && given.len() == table.key().len())
    {
        return;
    }
    let key: Vec<&str> = table.key().iter().map(|column| column.as_str()).collect();
    let message = format!("this is not the key of {}", table.name());
    let help = match key.len() {
        1 | 2 => format!("its key is {}", key.join(", ")),
        _ => format!("its key is {}: read it with JOIN", key.join(", ")),
    };
    let place = columns.iter().find(|column| literal(column).is_some_and(|c| !is_key(&c)));
    let span = place.map_or_else(|| call.span.clone(), |column| column.span.clone());
    let wrong = Diagnostic::error(Code::SERVICE_CALL, message);
    scope.found.push(wrong.at(span, "").help(help));
}

/// `get_secret(id, type, [key,] role)`
fn secret(id: &Expr, kind: &Expr, scope: &mut Scope<'_, '_>) {
    if let Some(text) = literal_of(kind, "the type of the secret", scope)
        && text != service::SECRET_STRING
    {
        let message = format!("there are no secrets of type {text}");
        let wrong = Diagnostic::error(Code::SERVICE_CALL, message);
        let help = format!("configured secrets are texts: '{}'", service::SECRET_STRING);
        scope.found.push(wrong.at(kind.span.clone(), "").help(help));
    }
    let Some(text) = literal_of(id, "the secret", scope) else { return };
    let targets = scope.context.targets;
    let is_declared = |name: &str| targets.is_open || targets.secrets.contains(name);
    if service::secret_names(text).any(is_declared) {
        return;
    }
    let name = service::secret_names(text).last().unwrap_or(text);
    let declare = format!("declare it in tidegate.toml: [secret.{name}] with env = \"NAME\"");
    let help = match nearest(name, targets.secrets.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}? Or {declare}"),
        None => declare,
    };
    scope.found.push(
        Diagnostic::error(Code::UNDECLARED_SECRET, format!("no secret {name} is declared"))
            .at(id.span.clone(), "")
            .help(help),
    );
}
