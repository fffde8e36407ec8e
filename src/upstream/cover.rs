//! Which filters to subscribe to, so that a message comes once however many rules want it.
//!
//! A broker may send a message once for each subscription that matches (MQTT 5, section 3.3.4). A filter
//! whose messages another one has already is left out. Filters that overlap in part, `a/+/c` and
//! `a/b/+`, are told apart by their subscription identifiers, where the broker has those:
//! [`Cover::is_first`] takes a message by one of the subscriptions and passes over its copies. Where it
//! has none they are widened to one that has both, `a/+/+`.

use std::collections::BTreeSet;

use md5::Digest;
use md5::Md5;

use crate::topic::Dialect;
use crate::topic::TopicFilter;

/// Subscription identifiers are below this (MQTT 5, section 3.8.2.1.2).
const ID_MAX: u32 = 268_435_455;

/// Filters, none of which has all messages of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cover {
    filters: Vec<Covered>,
    /// Whether some overlap.
    has_overlaps: bool,
}

/// A filter to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) filter: TopicFilter,
    /// Its subscription identifier: always the same for the same filter, so that a session that outlasts
    /// the gateway has the right ones.
    pub(super) id: u32,
}

impl Cover {
    /// The fewest of `filters` that have all their messages.
    pub(super) fn of(filters: &BTreeSet<TopicFilter>) -> Cover {
        let needed = filters.iter().filter(|filter| {
            !filters.iter().any(|other| other != *filter && has_all_of(other, filter))
        });
        Cover::from_needed(needed.cloned().collect())
    }

    /// Widened until no two overlap.
    pub(super) fn apart(self) -> Cover {
        let mut filters: Vec<TopicFilter> =
            self.filters.into_iter().map(|covered| covered.filter).collect();
        let mut place = 0;
        while let Some(filter) = filters.get(place).cloned() {
            let other = filters.iter().skip(place + 1).position(|other| overlap(&filter, other));
            match other {
                Some(at) => {
                    let other = filters.remove(place + 1 + at);
                    filters.remove(place);
                    filters.push(union(&filter, &other));
                    // The new one may overlap those before.
                    place = 0;
                }
                None => place += 1,
            }
        }
        filters.sort();
        Cover::from_needed(filters)
    }

    fn from_needed(filters: Vec<TopicFilter>) -> Cover {
        let has_overlaps = filters.iter().enumerate().any(|(place, filter)| {
            filters.iter().skip(place + 1).any(|other| overlap(filter, other))
        });
        let with_id = |filter: TopicFilter| Covered { id: id_of(&filter), filter };
        Cover { filters: filters.into_iter().map(with_id).collect(), has_overlaps }
    }

    /// The filters, in order.
    pub(super) fn filters(&self) -> &[Covered] {
        &self.filters
    }

    /// Whether a message on `topic` comes.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.filters.iter().any(|covered| covered.filter.matches(topic, Dialect::Mqtt))
    }

    /// Whether the copy of a message on `topic` that came by the subscriptions `ids` is the one to take. One
    /// that came by none of these, from before a change of the filters, is taken too.
    pub(super) fn is_first(&self, topic: &str, ids: &[u32]) -> bool {
        if !self.has_overlaps || ids.is_empty() {
            return true;
        }
        let mut matching =
            self.filters.iter().filter(|covered| covered.filter.matches(topic, Dialect::Mqtt));
        let Some(first) = matching.next() else { return true };
        ids.contains(&first.id) || !matching.any(|covered| ids.contains(&covered.id))
    }
}

fn id_of(filter: &TopicFilter) -> u32 {
    let [a, b, c, d, ..] = <[u8; 16]>::from(Md5::digest(filter.as_str().as_bytes()));
    u32::from_le_bytes([a, b, c, d]) % ID_MAX + 1
}

/// Whether every name that matches `inner` matches `outer`.
fn has_all_of(outer: &TopicFilter, inner: &TopicFilter) -> bool {
    if is_apart_by_dollar(outer, inner) {
        return false;
    }
    let (mut outer, mut inner) = (outer.as_str().split('/'), inner.as_str().split('/'));
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Whether some name matches both.
pub(super) fn overlap(a: &TopicFilter, b: &TopicFilter) -> bool {
    if is_apart_by_dollar(a, b) || is_apart_by_dollar(b, a) {
        return false;
    }
    let (mut a, mut b) = (a.as_str().split('/'), b.as_str().split('/'));
    loop {
        match (a.next(), b.next()) {
            // `x/#` matches `x` too.
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(x), Some(y)) if x == y || x == "+" || y == "+" => {}
            _ => return false,
        }
    }
}

/// A filter that begins with a wildcard matches no name that begins with `$`.
fn is_apart_by_dollar(wild: &TopicFilter, other: &TopicFilter) -> bool {
    wild.as_str().starts_with(['+', '#']) && other.as_str().starts_with('$')
}

/// A filter that has all messages of both, level by level.
fn union(a: &TopicFilter, b: &TopicFilter) -> TopicFilter {
    let (mut left, mut right) = (a.as_str().split('/'), b.as_str().split('/'));
    let mut levels = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => break,
            (Some(x), Some(y)) if x == y => levels.push(x),
            (Some("#"), _) | (_, Some("#")) | (None, _) | (_, None) => {
                levels.push("#");
                break;
            }
            (Some(_), Some(_)) => levels.push("+"),
        }
    }
    TopicFilter::parse(&levels.join("/")).expect("levels of filters, `#` last")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(filters: &[&str]) -> BTreeSet<TopicFilter> {
        filters.iter().map(|filter| TopicFilter::parse(filter).unwrap()).collect()
    }

    #[track_caller]
    fn check(filters: &[&str], cover: &[&str], apart: &[&str]) {
        let found = Cover::of(&set(filters));
        let shown = |cover: &Cover| -> Vec<String> {
            cover.filters().iter().map(|covered| covered.filter.to_string()).collect()
        };
        assert_eq!(shown(&found), cover, "of {filters:?}");
        assert_eq!(shown(&found.apart()), apart, "{filters:?}, apart");
    }

    #[test]
    fn what_another_filter_has_is_left_out() {
        check(&["a/b", "a/#", "a"], &["a/#"], &["a/#"]);
        check(&["a/+", "a/b", "c"], &["a/+", "c"], &["a/+", "c"]);
        check(&["+/+", "a/#"], &["+/+", "a/#"], &["+/#"]);
        check(&["#", "$SYS/x", "a"], &["#", "$SYS/x"], &["#", "$SYS/x"]);
        check(&["a/+/c", "a/b/+"], &["a/+/c", "a/b/+"], &["a/+/+"]);
        check(&["+/t", "p/#", "q"], &["+/t", "p/#", "q"], &["+/#"]);
        check(&[], &[], &[]);
    }

    #[test]
    fn of_the_copies_of_a_message_one_is_taken() {
        let cover = Cover::of(&set(&["a/+/c", "a/b/+", "x"]));
        let id = |filter: &str| id_of(&TopicFilter::parse(filter).unwrap());
        let (first, second) = (id("a/+/c"), id("a/b/+"));
        assert!(cover.is_first("a/b/c", &[first]) && !cover.is_first("a/b/c", &[second]));
        assert!(cover.is_first("a/b/c", &[second, first]), "one copy with both identifiers");
        assert!(cover.is_first("a/b/d", &[second]) && cover.is_first("a/b/c", &[]));
        assert!(cover.is_first("a/b/c", &[7]), "by a subscription that is being given up");
        assert!(cover.is_first("y", &[second]), "by one that has been widened since");
    }

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just("$s")];
        (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, is_deep)| {
            if is_deep {
                levels.push("#");
            }
            TopicFilter::parse(&levels.join("/")).unwrap()
        })
    }

    proptest! {
        #[test]
        fn every_message_comes_and_is_taken_once(
            filters in prop::collection::btree_set(filter(), 0..6),
            name in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("$s")], 1..5),
        ) {
            let name = name.join("/");
            let is_wanted = filters.iter().any(|filter| filter.matches(&name, Dialect::Mqtt));
            let cover = Cover::of(&filters);
            let came: Vec<u32> = cover.filters().iter()
                .filter(|covered| covered.filter.matches(&name, Dialect::Mqtt))
                .map(|covered| covered.id)
                .collect();
            prop_assert_eq!(!came.is_empty(), is_wanted);
            let taken = came.iter().filter(|id| cover.is_first(&name, &[**id])).count();
            prop_assert_eq!(taken, usize::from(is_wanted));
            let apart = cover.apart();
            let came = apart.filters().iter()
                .filter(|covered| covered.filter.matches(&name, Dialect::Mqtt))
                .count();
            prop_assert!(came <= 1 && (came == 1 || !is_wanted));
        }
    }
}
