//! Every code of a configuration diagnostic, by name. A code keeps its meaning for ever; each has a
//! paragraph in `docs/diagnostics.md`, and a test insists on that.

use crate::diagnostic::Code;

/// The text is not TOML.
pub(super) const SYNTAX: Code = Code("C001");
/// A key that nobody reads.
pub(super) const UNKNOWN: Code = Code("C002");
/// A value of another type than the setting's.
pub(super) const TYPE: Code = Code("C003");
/// A value of the right type that is not understood.
pub(super) const VALUE: Code = Code("C004");
/// A value beyond the setting's range.
pub(super) const RANGE: Code = Code("C005");
/// A stream, delivery or hook with a name it cannot have.
pub(super) const NAME: Code = Code("C006");
/// A setting without a default that is not there.
pub(super) const MISSING: Code = Code("C007");
/// A listener that strangers can reach.
pub(super) const EXPOSED: Code = Code("C008");
/// Two settings that cannot both hold.
pub(super) const CONTRADICTION: Code = Code("C009");
/// A URL that cannot be called.
pub(super) const URL: Code = Code("C010");
/// A header that HTTP, or the gateway, does not allow.
pub(super) const HEADER: Code = Code("C011");

/// All of them, in order.
#[cfg(test)]
pub(super) const ALL: [Code; 11] =
    [SYNTAX, UNKNOWN, TYPE, VALUE, RANGE, NAME, MISSING, EXPOSED, CONTRADICTION, URL, HEADER];
