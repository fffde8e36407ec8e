//! Any filters and names: the tree finds what looking at each filter finds, and forgets what it is told.
//!
//! Each line is a filter; the last one is the name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::topic::Dialect;
use tidegate::topic::TopicFilter;
use tidegate::topic::TopicName;
use tidegate::topic::TopicTrie;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (filters, name) = text.rsplit_once('\n').unwrap_or(("", text));
    let filters: Vec<TopicFilter> =
        filters.lines().filter_map(|filter| TopicFilter::parse(filter).ok()).collect();
    let mut trie = TopicTrie::default();
    for (n, filter) in filters.iter().enumerate() {
        trie.insert(filter, n);
    }
    assert_eq!(trie.len(), filters.len());
    if let Ok(name) = TopicName::parse(name) {
        for dialect in [Dialect::Mqtt, Dialect::AwsRule] {
            let mut found = Vec::new();
            trie.for_each_match(name.as_str(), dialect, |n| found.push(*n));
            found.sort_unstable();
            let expected: Vec<usize> = (0..filters.len())
                .filter(|n| filters[*n].matches(name.as_str(), dialect))
                .collect();
            assert_eq!(found, expected, "{filters:?} over {name}");
        }
    }
    for (n, filter) in filters.iter().enumerate() {
        assert_eq!(trie.remove(filter, |value| *value == n), 1, "{filter:?}");
    }
    assert!(trie.is_empty());
});
