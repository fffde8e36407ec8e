//! Topic names, topic filters, and the one matching rule.
//!
//! [`TopicName`] and [`TopicFilter`] hold checked text (MQTT 5, section 4.7). [`TopicTrie`] finds
//! every filter that matches a name; the engine's rules and the broker's subscriptions both use it.
//! [`Reserved`] tells topics that mean something to the gateway itself.
//! Two dialects of matching exist, and only here: MQTT's, where `a/#` also matches `a`, and AWS IoT
//! SQL's FROM, where it does not (AWS IoT developer guide, "MQTT topics").

mod reserved;
mod trie;

use std::fmt;
use std::sync::Arc;

pub use reserved::EVENT_FILTERS;
pub use reserved::Reserved;
pub use reserved::may_hear_events;
pub use reserved::may_hear_statistics;
pub use trie::TopicTrie;

/// A topic name is at most this long, in bytes (MQTT's two-byte length).
pub const TOPIC_BYTES_MAX: usize = 65_535;
/// A topic name or filter has at most this many levels: matching walks them.
pub const TOPIC_LEVELS_MAX: usize = 128;

/// Why a text is not a topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Empty text.
    #[error("a topic must have at least one character")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("a topic may have at most {TOPIC_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`TOPIC_LEVELS_MAX`] levels.
    #[error("a topic may have at most {TOPIC_LEVELS_MAX} levels")]
    TooDeep,
    /// A NUL character, which MQTT forbids.
    #[error("a topic must not contain the NUL character")]
    Nul,
    /// `+` or `#` in a topic name.
    #[error("a topic name must not contain the wildcards '+' and '#'")]
    WildcardInName,
    /// `+` beside other characters in a level.
    #[error("'+' must stand alone between slashes")]
    PlusNotAlone,
    /// `#` not alone in the last level.
    #[error("'#' must stand alone as the last level")]
    HashNotLast,
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    if text.bytes().any(|b| b == 0) {
        return Err(TopicError::Nul);
    }
    if text.bytes().filter(|b| *b == b'/').count() >= TOPIC_LEVELS_MAX {
        return Err(TopicError::TooDeep);
    }
    Ok(())
}

/// A concrete topic: no wildcards, no NUL, bounded length and depth. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `text` as a topic name (MQTT 5, section 4.7.1).
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.bytes().any(|b| b == b'+' || b == b'#') {
            return Err(TopicError::WildcardInName);
        }
        Ok(TopicName(Arc::from(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text, for keeping without a copy.
    pub fn as_arc(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of the two dialects of matching applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SUBSCRIBE: `a/#` matches `a` too (MQTT 5, section 4.7.1.2).
    Mqtt,
    /// FROM: `a/#` does not match `a` (AWS IoT).
    AwsRule,
}

/// A topic filter, possibly with the wildcards `+` and `#`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text` as a topic filter (MQTT 5, section 4.7.1).
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::HashNotLast);
            }
            if level.contains('+') && level != "+" {
                return Err(TopicError::PlusNotAlone);
            }
        }
        Ok(TopicFilter(Arc::from(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the filter has no wildcard and so names one topic.
    pub fn is_literal(&self) -> bool {
        !self.0.bytes().any(|b| b == b'+' || b == b'#')
    }

    /// Whether there is a name that matches both this and the filter `other`, as FROM matches.
    pub fn overlaps(&self, other: &str) -> bool {
        let (mut mine, mut theirs) = (self.0.split('/'), other.split('/'));
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), Some(_)) | (Some(_), Some("#")) | (None, None) => return true,
                (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
                _ => return false,
            }
        }
    }

    /// Whether `name` matches. A filter that starts with a wildcard never matches a name that starts
    /// with `$` (MQTT 5, section 4.7.2).
    pub fn matches(&self, name: &str, dialect: Dialect) -> bool {
        if name.starts_with('$') && (self.0.starts_with('+') || self.0.starts_with('#')) {
            return false;
        }
        let mut levels = name.split('/');
        let mut wanted = self.0.split('/').peekable();
        while let Some(want) = wanted.next() {
            if want == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if want == "+" || want == level => {}
                Some(_) | None => return false,
            }
            let hash_next = wanted.peek() == Some(&"#");
            if hash_next && levels.clone().next().is_none() {
                return dialect == Dialect::Mqtt;
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, name: &str, mqtt: bool, rule: bool) {
        let filter = TopicFilter::parse(filter).unwrap();
        assert_eq!(filter.matches(name, Dialect::Mqtt), mqtt, "{filter} over {name} as MQTT");
        assert_eq!(filter.matches(name, Dialect::AwsRule), rule, "{filter} over {name} in FROM");
        let mut trie = TopicTrie::default();
        trie.insert(&filter, 1);
        let found = |dialect| {
            let mut n = 0;
            trie.for_each_match(name, dialect, |_| n += 1);
            n == 1
        };
        assert_eq!(
            (found(Dialect::Mqtt), found(Dialect::AwsRule)),
            (mqtt, rule),
            "trie: {filter} over {name}"
        );
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        check("a/b", "a/b", true, true);
        check("a/b", "a/b/c", false, false);
        check("a/+", "a/b", true, true);
        check("a/+", "a", false, false);
        check("a/+", "a/", true, true);
        check("+/b", "/b", true, true);
        check("a/#", "a/b/c", true, true);
        check("a/#", "a/", true, true);
        check("#", "a/b", true, true);
        check("+", "a", true, true);
        check("a/+/#", "a/b", true, false);
        check("a/+/#", "a/b/c", true, true);
    }

    #[test]
    fn hash_matches_its_parent_in_mqtt_but_not_in_from() {
        check("sensor/#", "sensor", true, false);
    }

    #[test]
    fn leading_wildcards_leave_dollar_topics_alone() {
        check("#", "$SYS/x", false, false);
        check("+/x", "$SYS/x", false, false);
        check("$SYS/#", "$SYS/x", true, true);
        check("$aws/things/+/shadow", "$aws/things/t/shadow", true, true);
    }

    #[test]
    fn bad_filters_and_names_are_refused_with_the_reason() {
        assert_eq!(TopicFilter::parse("a/b#"), Err(TopicError::HashNotLast));
        assert_eq!(TopicFilter::parse("a/#/b"), Err(TopicError::HashNotLast));
        assert_eq!(TopicFilter::parse("a+/b"), Err(TopicError::PlusNotAlone));
        assert_eq!(TopicFilter::parse(""), Err(TopicError::Empty));
        assert_eq!(TopicName::parse("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(TopicName::parse("a\0"), Err(TopicError::Nul));
        assert_eq!(TopicName::parse(&"/".repeat(200)), Err(TopicError::TooDeep));
    }
}
