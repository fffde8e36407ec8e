//! What the dashboard shows of the table: the keys that fire next, the keys that fired last.

use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::RuleIndex;
use crate::engine::hold::hold_table::HoldTable;
use crate::engine::hold::hold_table::Key;
use crate::engine::hold::hold_table::Rule;
use crate::engine::hold::state::Phase;

/// A pending key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingKey {
    /// The rule.
    pub rule: RuleIndex,
    /// The key as JSON text.
    pub key: Arc<str>,
    /// When the condition became true.
    pub since: Timestamp,
    /// When it fires if nothing else happens, by the gateway's clock.
    pub due: Timestamp,
    /// TRUE messages so far.
    pub samples: u64,
}

/// A firing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringKey {
    /// The rule.
    pub rule: RuleIndex,
    /// The key as JSON text.
    pub key: Arc<str>,
    /// When the condition became true.
    pub since: Timestamp,
    /// When it fired.
    pub fired_at: Timestamp,
    /// TRUE messages so far.
    pub samples: u64,
}

/// The keys worth looking at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldView {
    /// The first to fire, soonest first.
    pub pending: Vec<PendingKey>,
    /// The last that fired, newest first.
    pub firing: Vec<FiringKey>,
}

impl HoldTable {
    /// At most `limit` pending and `limit` firing keys of a rule. Looks at every key of it (about
    /// 10 ms for a million), so it is for a page that asks once a second, not for every message.
    pub fn view(&self, rule: RuleIndex, limit: usize) -> HoldView {
        let keys = || {
            let rules = self.rules.iter().filter(|watched| watched.index == rule);
            rules.flat_map(|rule| {
                let numbers = rule.keys.numbers();
                numbers.filter_map(move |key| Some((rule, self.keys.get(key)?)))
            })
        };
        let pending = keys().filter(|(_, key)| matches!(key.state.phase, Phase::Pending { .. }));
        let pending = first(limit, pending, |(rule, key)| due(rule, key));
        let firing = keys().filter_map(|(rule, key)| match key.state.phase {
            Phase::Firing { fired_at, .. } => Some((rule, key, fired_at)),
            Phase::Inactive | Phase::Counting | Phase::Pending { .. } => None,
        });
        let firing = first(limit, firing, |(_, _, fired_at)| std::cmp::Reverse(*fired_at));
        HoldView {
            pending: pending.into_iter().map(|(rule, key)| pending_key(rule, key)).collect(),
            firing: firing
                .into_iter()
                .map(|(rule, key, fired_at)| FiringKey {
                    rule: rule.index,
                    key: Arc::from(key.text.as_str()),
                    since: key.state.since,
                    fired_at,
                    samples: key.state.samples,
                })
                .collect(),
        }
    }
}

/// By the gateway's clock, also where the rule has event time.
fn due(rule: &Rule, key: &Key) -> Timestamp {
    let due = key.state.fire_due(&rule.terms);
    match &key.event {
        Some(side) => side.queue.watermark.reaches(due, rule.lateness),
        None => due,
    }
}

fn pending_key(rule: &Rule, key: &Key) -> PendingKey {
    PendingKey {
        rule: rule.index,
        key: Arc::from(key.text.as_str()),
        since: key.state.since,
        due: due(rule, key),
        samples: key.state.samples,
    }
}

/// An item and what it is ordered by.
struct Ranked<R, T>(R, T);

impl<R: Ord, T> PartialEq for Ranked<R, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<R: Ord, T> Eq for Ranked<R, T> {}

impl<R: Ord, T> PartialOrd for Ranked<R, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord, T> Ord for Ranked<R, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// The `limit` items of lowest rank, in order, in memory for `limit`.
fn first<T, R: Ord>(
    limit: usize,
    items: impl Iterator<Item = T>,
    rank: impl Fn(&T) -> R,
) -> Vec<T> {
    let mut kept: BinaryHeap<Ranked<R, T>> = BinaryHeap::new();
    for item in items {
        let ranked = Ranked(rank(&item), item);
        if kept.len() < limit {
            kept.push(ranked);
        } else if kept.peek().is_some_and(|last| ranked.0 < last.0) {
            kept.pop();
            kept.push(ranked);
        }
    }
    kept.into_sorted_vec().into_iter().map(|ranked| ranked.1).collect()
}
