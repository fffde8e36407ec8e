//! Topics that mean something to the gateway itself.
//!
//! `$aws/rules/NAME/TOPIC` reaches one rule and nobody else (AWS IoT developer guide, "Basic Ingest").
//! `$events/…` and `$aws/events/…` are what the gateway says of itself: anybody may listen, and nobody
//! else may speak.

/// What a reserved topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved<'t> {
    /// For one rule.
    Ingest {
        /// The rule's name.
        rule: &'t str,
        /// The topic as that rule sees it; empty when there is nothing behind the name.
        topic: &'t str,
    },
    /// The gateway's own.
    Event,
}

impl<'t> Reserved<'t> {
    /// What `topic` is reserved for, if it is.
    pub fn of(topic: &'t str) -> Option<Reserved<'t>> {
        let name = topic.strip_prefix('$')?;
        if let Some(rest) = name.strip_prefix("aws/rules/") {
            let (rule, topic) = rest.split_once('/').unwrap_or((rest, ""));
            return Some(Reserved::Ingest { rule, topic });
        }
        let is_event = name.starts_with("events/") || name.starts_with("aws/events/");
        is_event.then_some(Reserved::Event)
    }
}

/// Whether `filter` may match topics of events: its first level is theirs, which no wildcard matches.
pub fn may_hear_events(filter: &str) -> bool {
    filter.starts_with("$events/") || filter.starts_with("$aws/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_topics_are_told_from_others() {
        for (topic, rule, rest) in [
            ("$aws/rules/r/a/b", "r", "a/b"),
            ("$aws/rules/r/", "r", ""),
            ("$aws/rules/r", "r", ""),
            ("$aws/rules//a", "", "a"),
        ] {
            assert_eq!(
                Reserved::of(topic),
                Some(Reserved::Ingest { rule, topic: rest }),
                "{topic}"
            );
        }
        for topic in ["$events/x", "$events/", "$aws/events/presence/connected/c"] {
            assert_eq!(Reserved::of(topic), Some(Reserved::Event), "{topic}");
        }
        for topic in
            ["a", "events/x", "aws/rules/r/a", "$events", "$aws/rules", "$aws/things/t", "$"]
        {
            assert_eq!(Reserved::of(topic), None, "{topic}");
        }
    }
}
