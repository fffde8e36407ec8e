//! Rules that a serverless function has as its events: AWS SAM's `IoTRule`.
//!
//! `AWS::Serverless::Function` makes a rule of each event of that type, called after the function and the
//! event, whose one action calls the function. Events of other types are not the rules' business.
//! Specification: AWS SAM Developer Guide, `IoTRule`, and "Generated CloudFormation resources".

use super::super::ast::Action;
use super::super::ast::Span;
use super::super::ast::Spanned;
use super::super::parse::embedded;
use super::super::parse::embedded::Offsets;
use super::Document;
use super::File;
use super::Form;
use super::node::Member;
use super::template::member;
use super::template::text_of;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// The type of resource.
pub(super) const FUNCTION_TYPE: &str = "AWS::Serverless::Function";
/// The type of event that is a rule.
const EVENT_TYPE: &str = "IoTRule";
/// What such an event has.
pub(super) const EVENT: [&str; 2] = ["sql", "awsIotSqlVersion"];

impl File {
    /// The rules among the events of a function. Answers whether there is one.
    pub(super) fn function(&mut self, form: Form<'_>, function: &Member<'_>) -> bool {
        let events = member(function.value, "Properties").and_then(|all| member(all, "Events"));
        let mut has_rule = false;
        for event in events.and_then(|events| events.members()).unwrap_or_default() {
            let kind = member(event.value, "Type").and_then(text_of);
            if kind.is_none_or(|kind| kind != EVENT_TYPE) {
                continue;
            }
            has_rule = true;
            let Some(rule) = member(event.value, "Properties") else {
                let message = format!("{} of {} has no Properties", event.key, function.key);
                let wrong = Diagnostic::error(Code::DOCUMENT, message)
                    .at(event.key_span.clone(), "")
                    .help("AWS SAM asks for Properties with a Sql here");
                self.parsed.diagnostics.push(wrong);
                continue;
            };
            let name = form.template.name_of(&function.key).unwrap_or(&function.key);
            let call = call(name, &function.key_span, &mut self.parsed.diagnostics);
            let node = format!("{}{}", function.key, event.key);
            let fallback = Spanned { node, span: event.key_span.clone() };
            self.rule(form, Document { name: None, fallback, rule, call: Some(call) });
        }
        has_rule
    }
}

/// The action that calls the function `name`.
fn call(name: &str, span: &Span, found: &mut Vec<Diagnostic>) -> Spanned<Action> {
    let node = embedded::target(name, &Offsets::at(span.start), span, found);
    let name = Spanned { node, span: span.clone() };
    Spanned { node: Action::Invoke { name }, span: span.clone() }
}
