//! FROM: filters under the gateway's own topics that no message will ever match, and what a rule can
//! know of a record of a stream and of a message on a topic.

use super::expression::Scope;
use super::strict;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::rule::ast::Select;
use crate::rule::ast::Spanned;
use crate::rule::function::Function;
use crate::topic::EVENT_FILTERS;
use crate::topic::Reserved;

/// Warns of each filter of `select` that no event's topic matches, that asks for Basic Ingest, or that takes
/// `*` for a wildcard.
pub(super) fn filters(select: &Select, found: &mut Vec<Diagnostic>) {
    for filter in &select.from {
        let text = filter.node.as_str();
        if text.split('/').any(|level| level == "*") {
            found.push(
                Diagnostic::warning(Code::TOPIC, "`*` is no wildcard of topics")
                    .at(filter.span.clone(), "matches a level that is called *")
                    .help("one level is `+`, all levels below are `#`"),
            );
        }
        let (message, help) = match Reserved::of(text) {
            Some(Reserved::Event) if !EVENT_FILTERS.iter().any(|e| filter.node.overlaps(e)) => {
                let near = nearest(text, EVENT_FILTERS);
                let help = match near {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("there are: {}", EVENT_FILTERS.join(", ")),
                };
                ("no event has a topic that this matches", help)
            }
            Some(Reserved::Ingest { rule, .. }) => {
                let help =
                    format!("what is published there goes to the rule {rule} whatever its FROM");
                ("no rule sees this by its FROM", help)
            }
            _ => continue,
        };
        let warning = Diagnostic::warning(Code::NO_EVENT, message);
        found.push(warning.at(filter.span.clone(), "matches nothing").help(help));
    }
}

/// FROM STREAM: what is known from here on.
pub(super) fn stream(select: &Select, scope: &mut Scope<'_, '_>) {
    scope.reads_stream = select.stream.is_some();
    if let (true, Some(stream)) = (scope.language.strict, &select.stream) {
        let advice = "a rule listens to topics; REPUBLISH in the place of the stream";
        strict::refuse(scope, "FROM STREAM", stream.span.clone(), advice);
    }
}

/// A function that asks the message for what it does not have.
pub(super) fn function(name: &Spanned<String>, function: Function, scope: &mut Scope<'_, '_>) {
    let called = &name.node;
    let found = if function.is_of_record() && !scope.reads_stream {
        Diagnostic::error(Code::RECORD_FUNCTION, format!("{called} is of a record of a stream"))
            .at(name.span.clone(), "there is none")
            .help("it belongs to a rule with FROM STREAM name")
    } else if function.is_of_publish() && scope.reads_stream {
        Diagnostic::warning(Code::TOPIC_FUNCTION, format!("{called} is of a published message"))
            .at(name.span.clone(), "always Undefined over a stream")
            .help("let the rule that fills the stream write it into the record")
    } else {
        return;
    };
    scope.found.push(found);
}
