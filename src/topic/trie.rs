//! A tree of topic levels: all filters that match a name, without looking at the others.
//!
//! Insertion and removal are by (filter, value). A lookup visits at most two branches a level (the
//! literal one and `+`), and every `#` on the way.

use std::collections::HashMap;

use super::Dialect;
use super::TopicFilter;

type Levels<T> = HashMap<Box<str>, Node<T>, foldhash::fast::RandomState>;

/// Values filed under topic filters.
#[derive(Clone, Debug)]
pub struct TopicTrie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<T> {
    literal: Levels<T>,
    plus: Option<Box<Node<T>>>,
    /// Values of filters that end here.
    here: Vec<T>,
    /// Values of filters that go on with `#`.
    hash: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { literal: Levels::default(), plus: None, here: Vec::new(), hash: Vec::new() }
    }
}

impl<T> Default for TopicTrie<T> {
    fn default() -> Self {
        TopicTrie { root: Node::default(), len: 0 }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.plus.is_none()
            && self.here.is_empty()
            && self.hash.is_empty()
    }

    fn child(&mut self, level: &str) -> &mut Node<T> {
        if level == "+" {
            return self.plus.get_or_insert_default();
        }
        if !self.literal.contains_key(level) {
            self.literal.insert(Box::from(level), Node::default());
        }
        self.literal.get_mut(level).expect("the level was inserted just above")
    }
}

impl<T> TopicTrie<T> {
    /// Number of values filed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Files `value` under `filter`. The same pair may be filed more than once.
    pub fn insert(&mut self, filter: &TopicFilter, value: T) {
        self.len += 1;
        let mut node = &mut self.root;
        for level in filter.as_str().split('/') {
            if level == "#" {
                node.hash.push(value);
                return;
            }
            node = node.child(level);
        }
        node.here.push(value);
    }

    /// Removes every value under `filter` that `is_it` accepts; empty branches are pruned. Answers how
    /// many went.
    pub fn remove(&mut self, filter: &TopicFilter, mut is_it: impl FnMut(&T) -> bool) -> usize {
        let levels: Vec<&str> = filter.as_str().split('/').collect();
        let gone = remove_in(&mut self.root, &levels, &mut is_it);
        self.len -= gone;
        gone
    }

    /// Calls `visit` with every value whose filter matches `name`.
    pub fn for_each_match<'t>(
        &'t self,
        name: &str,
        dialect: Dialect,
        mut visit: impl FnMut(&'t T),
    ) {
        walk(&self.root, Some(name), !name.starts_with('$'), dialect, &mut visit);
    }
}

fn remove_in<T>(node: &mut Node<T>, levels: &[&str], is_it: &mut impl FnMut(&T) -> bool) -> usize {
    let take = |values: &mut Vec<T>, is_it: &mut dyn FnMut(&T) -> bool| {
        let before = values.len();
        values.retain(|value| !is_it(value));
        before - values.len()
    };
    match levels {
        [] => take(&mut node.here, is_it),
        ["#"] => take(&mut node.hash, is_it),
        ["+", rest @ ..] => {
            let Some(child) = node.plus.as_mut() else { return 0 };
            let gone = remove_in(child, rest, is_it);
            if child.is_empty() {
                node.plus = None;
            }
            gone
        }
        [level, rest @ ..] => {
            let Some(child) = node.literal.get_mut(*level) else { return 0 };
            let gone = remove_in(child, rest, is_it);
            if child.is_empty() {
                node.literal.remove(*level);
            }
            gone
        }
    }
}

/// `rest` is what is left of the name: `None` once every level is used up. Recursion is bounded by
/// [`super::TOPIC_LEVELS_MAX`].
fn walk<'t, T>(
    node: &'t Node<T>,
    rest: Option<&str>,
    wildcards: bool,
    dialect: Dialect,
    visit: &mut impl FnMut(&'t T),
) {
    let Some(rest) = rest else {
        node.here.iter().for_each(&mut *visit);
        if dialect == Dialect::Mqtt {
            node.hash.iter().for_each(visit);
        }
        return;
    };
    if wildcards {
        node.hash.iter().for_each(&mut *visit);
    }
    let (level, next) = match rest.split_once('/') {
        Some((level, next)) => (level, Some(next)),
        None => (rest, None),
    };
    if let Some(child) = node.literal.get(level) {
        walk(child, next, true, dialect, visit);
    }
    if wildcards && let Some(child) = &node.plus {
        walk(child, next, true, dialect, visit);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn trie_finds_what_a_linear_scan_finds(
            filters in proptest::collection::vec("[ab+$]{1,2}(/([ab]|\\+)){0,3}(/#)?", 0..12),
            name in "\\$?[ab]{0,2}(/[ab]{0,1}){0,4}",
        ) {
            let filters: Vec<TopicFilter> = filters.iter().filter_map(|f| TopicFilter::parse(f).ok()).collect();
            let mut trie = TopicTrie::default();
            for (i, filter) in filters.iter().enumerate() {
                trie.insert(filter, i);
            }
            for dialect in [Dialect::Mqtt, Dialect::AwsRule] {
                let mut found = Vec::new();
                trie.for_each_match(&name, dialect, |i| found.push(*i));
                found.sort_unstable();
                let expected: Vec<usize> = (0..filters.len()).filter(|i| filters[*i].matches(&name, dialect)).collect();
                prop_assert_eq!(found, expected);
            }
            for (i, filter) in filters.iter().enumerate() {
                prop_assert_eq!(trie.remove(filter, |v| *v == i), 1);
            }
            prop_assert!(trie.is_empty() && trie.root.is_empty());
        }
    }
}
