//! FROM filters under the gateway's own topics that no message will ever match.

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::rule::ast::Select;
use crate::topic::EVENT_FILTERS;
use crate::topic::Reserved;

/// Warns of each filter of `select` that no event's topic matches, or that asks for Basic Ingest.
pub(super) fn filters(select: &Select, found: &mut Vec<Diagnostic>) {
    for filter in &select.from {
        let text = filter.node.as_str();
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
