//! Which rules a topic reaches: every FROM filter, and the names of Basic Ingest.

use std::collections::HashMap;
use std::sync::Arc;

use super::RuleIndex;
use crate::rule::Rule;
use crate::topic::Dialect;
use crate::topic::Reserved;
use crate::topic::TopicTrie;
use crate::topic::may_hear_events;
use crate::topic::may_hear_statistics;

/// The rules by topic. Disabled rules are not in it.
#[derive(Debug, Default)]
pub(super) struct TopicIndex {
    filters: TopicTrie<RuleIndex>,
    names: HashMap<Arc<str>, RuleIndex, foldhash::fast::RandomState>,
    hears_events: bool,
    hears_statistics: bool,
}

impl TopicIndex {
    /// Indexes the enabled rules under their places in `rules`.
    pub(super) fn new(rules: &[Arc<Rule>]) -> TopicIndex {
        let mut index = TopicIndex::default();
        for (at, rule) in (0_u32..).zip(rules).filter(|(_, rule)| !rule.is_disabled()) {
            index.names.insert(rule.name().clone(), RuleIndex(at));
            for filter in &rule.definition.select.from {
                index.filters.insert(&filter.node, RuleIndex(at));
                index.hears_events |= may_hear_events(filter.node.as_str());
                index.hears_statistics |= may_hear_statistics(filter.node.as_str());
            }
        }
        index
    }

    /// Whether a filter may match topics of events.
    pub(super) fn hears_events(&self) -> bool {
        self.hears_events
    }

    /// Whether a filter may match topics of statistics.
    pub(super) fn hears_statistics(&self) -> bool {
        self.hears_statistics
    }

    /// The rules that `topic` reaches, in their order, each once.
    pub(super) fn rules(&self, topic: &str) -> Vec<RuleIndex> {
        // Whatever its FROM.
        if let Some(Reserved::Ingest { rule, .. }) = Reserved::of(topic) {
            return self.names.get(rule).copied().into_iter().collect();
        }
        let mut found = Vec::new();
        self.filters.for_each_match(topic, Dialect::AwsRule, |rule| found.push(*rule));
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The topic as rules see it: the prefix of Basic Ingest is invisible to `topic()`.
pub(super) fn visible_topic(topic: &str) -> &str {
    match Reserved::of(topic) {
        Some(Reserved::Ingest { topic, .. }) => topic,
        _ => topic,
    }
}
