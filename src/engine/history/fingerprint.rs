//! Whether an edited rule still remembers the same thing.

use crate::engine::hold::encoding::fnv1a;
use crate::engine::hold::fingerprint::outline;
use crate::engine::hold::fingerprint::part;
use crate::engine::hold::fingerprint::source;
use crate::rule::Rule;
use crate::rule::analytic::Analytic;

/// A number that changes with what is remembered: which messages the rule hears (before WHERE), the calls
/// with their arguments, and the key. Made of the tree, and the same in every build.
pub(in crate::engine) fn fingerprint(rule: &Rule, analytic: &Analytic<'_>) -> u64 {
    let mut text = source(rule);
    for call in &analytic.calls {
        part(&mut text, "call", &format!("{:?}", call.lookback));
        call.values.iter().for_each(|value| outline(&mut text, value));
    }
    for key in analytic.partition_by {
        part(&mut text, "by", "");
        outline(&mut text, key);
    }
    fnv1a(text.as_bytes())
}
