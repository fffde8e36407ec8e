//! Topics that mean something to the gateway itself.
//!
//! `$aws/rules/NAME/TOPIC` reaches one rule and nobody else (AWS IoT developer guide, "Basic Ingest").
//! `$events/…` and `$aws/events/…` are what the gateway says of itself, `$SYS/…` what it counts: anybody
//! may listen, and nobody else may speak.

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
    /// The gateway's own too.
    Statistic,
}

impl<'t> Reserved<'t> {
    /// What `topic` is reserved for, if it is.
    pub fn of(topic: &'t str) -> Option<Reserved<'t>> {
        let name = topic.strip_prefix('$')?;
        if let Some(rest) = name.strip_prefix("aws/rules/") {
            let (rule, topic) = rest.split_once('/').unwrap_or((rest, ""));
            return Some(Reserved::Ingest { rule, topic });
        }
        if name == "SYS" || name.starts_with("SYS/") {
            return Some(Reserved::Statistic);
        }
        let is_event = name.starts_with("events/") || name.starts_with("aws/events/");
        is_event.then_some(Reserved::Event)
    }

    /// Whether only the gateway publishes there.
    pub fn is_own(self) -> bool {
        matches!(self, Reserved::Event | Reserved::Statistic)
    }
}

/// The topics of all events, as filters. On AWS's a client identifier may have several levels.
pub const EVENT_FILTERS: [&str; 20] = [
    "$events/client/+/connected",
    "$events/client/+/connect_failed",
    "$events/client/+/disconnected",
    "$events/client/+/subscribed",
    "$events/client/+/unsubscribed",
    "$events/session/+/taken_over",
    "$events/session/+/full",
    "$events/session/+/lost",
    "$events/rule/+/firing",
    "$events/rule/+/cleared",
    "$events/delivery/+/failed",
    "$events/stream/+/full",
    "$events/hook/+/failed",
    "$events/upstream/+/connected",
    "$events/upstream/+/disconnected",
    "$aws/events/presence/connected/#",
    "$aws/events/presence/connect_failed/#",
    "$aws/events/presence/disconnected/#",
    "$aws/events/subscriptions/subscribed/#",
    "$aws/events/subscriptions/unsubscribed/#",
];

/// Whether `filter` may match topics of events: its first level is theirs, which no wildcard matches.
pub fn may_hear_events(filter: &str) -> bool {
    filter.starts_with("$events/") || filter.starts_with("$aws/")
}

/// Whether `filter` may match topics of statistics.
pub fn may_hear_statistics(filter: &str) -> bool {
    filter == "$SYS" || filter.starts_with("$SYS/")
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
        for topic in ["$SYS", "$SYS/broker/uptime", "$SYS/"] {
            assert_eq!(Reserved::of(topic), Some(Reserved::Statistic), "{topic}");
        }
        for topic in [
            "a",
            "$SYSTEM",
            "SYS/x",
            "events/x",
            "aws/rules/r/a",
            "$events",
            "$aws/rules",
            "$aws/things/t",
            "$",
        ] {
            assert_eq!(Reserved::of(topic), None, "{topic}");
        }
    }

    #[test]
    fn filters_overlap_when_some_topic_matches_both() {
        for (filter, other, expected) in [
            ("$events/#", "$events/client/+/connected", true),
            ("$events/+/+/connected", "$events/client/+/connected", true),
            ("$events/client/a/connected", "$events/client/+/connected", true),
            ("$events/client/+/conected", "$events/client/+/connected", false),
            ("$events/client/+", "$events/client/+/connected", false),
            ("$events/client/+/connected/#", "$events/client/+/connected", false),
            ("$aws/events/presence/+/+", "$aws/events/presence/connected/#", true),
            ("$aws/events/presence/connected", "$aws/events/presence/connected/#", false),
        ] {
            let filter = crate::topic::TopicFilter::parse(filter).unwrap();
            assert_eq!(filter.overlaps(other), expected, "{filter:?} {other}");
        }
    }
}
