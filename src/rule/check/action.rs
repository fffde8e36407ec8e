//! Actions: how many, and what of their targets is known without the set of rules.

use super::super::ast::Action;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Spanned;
use super::super::ast::Template;
use super::super::ast::TemplatePart;
use super::expression::Scope;
use super::header;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::ACTIONS_MAX;
use crate::limits::PARTITION_KEY_CHARS_MAX;
use crate::topic::Reserved;
use crate::topic::TopicError;
use crate::topic::TopicName;
use crate::value::Whole;

pub(super) fn list<'e>(actions: &'e [Spanned<Action>], scope: &mut Scope<'e, '_>) {
    if let Some(surplus) = actions.get(ACTIONS_MAX) {
        scope.found.push(
            Diagnostic::error(
                Code::ACTIONS,
                format!("{} actions, {ACTIONS_MAX} are allowed", actions.len()),
            )
            .at(surplus.span.clone(), "the first too many")
            .help("split the rule, or let another rule republish"),
        );
    }
    for action in actions {
        action.node.for_each_expr(&mut |expr| scope.expression(expr));
        match &action.node {
            Action::Stream { key, hash_key, .. } => {
                key.iter().for_each(|key| partition_key(key, scope));
                hash_key.iter().for_each(|key| explicit_hash(key, scope));
            }
            Action::Republish { topic, headers, .. } => {
                republish_topic(topic, scope);
                header::list(headers, scope);
            }
            Action::Deliver { .. }
            | Action::Invoke { .. }
            | Action::Upsert { .. }
            | Action::Log { .. } => {}
        }
    }
}

/// The text of a literal; `None` when the message decides.
fn literal_text(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Literal(value) => {
            Some(value.text(Whole::AsInt).map(String::from).unwrap_or_default())
        }
        _ => None,
    }
}

fn partition_key(key: &Expr, scope: &mut Scope<'_, '_>) {
    let Some(text) = literal_text(key) else { return };
    if !(1..=PARTITION_KEY_CHARS_MAX).contains(&text.chars().count()) {
        scope.found.push(
            Diagnostic::error(
                Code::NAME,
                format!("a partition key has 1 to {PARTITION_KEY_CHARS_MAX} characters"),
            )
            .at(key.span.clone(), "")
            .help("use a field that tells devices apart, as in KEY moteid"),
        );
    }
}

/// A decimal below 2^128 (Kinesis: `ExplicitHashKey`).
fn explicit_hash(key: &Expr, scope: &mut Scope<'_, '_>) {
    let Some(text) = literal_text(key) else { return };
    if text.parse::<u128>().is_err() || text.starts_with('+') {
        scope.found.push(
            Diagnostic::error(Code::NUMBER, "a hash key is a whole number from 0 to 2^128 - 1")
                .at(key.span.clone(), "")
                .help("leave HASH KEY out and KEY alone picks the shard"),
        );
    }
}

fn republish_topic(topic: &Spanned<Template>, scope: &mut Scope<'_, '_>) {
    let template = &topic.node;
    let wrong = match template.as_literal() {
        Some(literal) => TopicName::parse(&literal).err(),
        None => template.parts.iter().find_map(|part| match part {
            TemplatePart::Text(text) if text.contains(['+', '#']) => {
                Some(TopicError::WildcardInName)
            }
            TemplatePart::Text(_) | TemplatePart::Expr(_) => None,
        }),
    };
    if let Some(reason) = wrong {
        scope.found.push(
            Diagnostic::error(Code::TOPIC, "this is not a topic")
                .at(topic.span.clone(), reason.to_string())
                .help("as in 'alerts/${moteid}'"),
        );
        return;
    }
    // What is completed behind a slash stays below it.
    let begin = template.parts.first().and_then(|part| match part {
        TemplatePart::Text(text) => {
            Some(text.strip_prefix('$').filter(|t| t.starts_with('$')).unwrap_or(text))
        }
        TemplatePart::Expr(_) => None,
    });
    if begin.and_then(Reserved::of).is_some_and(Reserved::is_own) {
        scope.found.push(
            Diagnostic::warning(Code::TOPIC, "only the gateway publishes there")
                .at(topic.span.clone(), "a fault (`topic_invalid`) each time")
                .help("republish to a topic of your own"),
        );
    }
}
