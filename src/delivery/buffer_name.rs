//! What a buffer is called: the delivery it belongs to, and which of its partitions it is.
//!
//! ```text
//! lake                          the delivery, without partitions
//! lake US room=attic US line=7  one partition, keys in the order of their names
//! lake US !                     records that could not be delivered
//! ```
//!
//! US is U+001F, which no name of a delivery or key can have, and which is kept out of values.

use std::sync::Arc;

/// Between the parts of a name.
pub(super) const SEPARATOR: char = '\u{1f}';
/// The part that says it is the buffer of errors.
const ERRORS: &str = "!";

/// The name of the delivery that the buffer `name` belongs to.
pub fn delivery_of(name: &str) -> &str {
    name.split(SEPARATOR).next().unwrap_or(name)
}

/// Whether it is one of several buffers of its delivery, that comes and goes.
pub(super) fn is_partition(name: &str) -> bool {
    name.contains(SEPARATOR)
}

/// Whether the buffer has what could not be delivered.
pub(super) fn is_errors(name: &str) -> bool {
    name.split_once(SEPARATOR).is_some_and(|(_, part)| part == ERRORS)
}

/// The buffer of what `delivery` could not deliver.
pub(super) fn errors_of(delivery: &str) -> Arc<str> {
    Arc::from(format!("{delivery}{SEPARATOR}{ERRORS}"))
}

/// The partition of `delivery` with these keys and values.
pub(super) fn partition_of<'a>(
    delivery: &str,
    values: impl Iterator<Item = (&'a str, &'a str)>,
) -> Arc<str> {
    let mut name = delivery.to_owned();
    for (key, value) in values {
        name.extend([SEPARATOR]);
        name.push_str(key);
        name.push('=');
        name.push_str(value);
    }
    Arc::from(name)
}

/// The value of the partition key `key` in the buffer `name`.
pub(super) fn value_of<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = name.split(SEPARATOR).skip(1).filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(found, value)| (found == key).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_delivery_and_partition() {
        let name = partition_of("lake", [("line", "7"), ("room", "a=b")].into_iter());
        assert_eq!(delivery_of(&name), "lake");
        assert_eq!(value_of(&name, "room"), Some("a=b"));
        assert_eq!(value_of(&name, "door"), None);
        assert!(is_partition(&name) && !is_errors(&name));
        assert!(is_errors(&errors_of("lake")));
        assert!(!is_partition("lake") && !is_errors("lake"));
        assert_eq!(value_of("lake", "room"), None);
    }
}
