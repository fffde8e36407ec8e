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
/// A file of a listener's certificate, key or authorities that cannot be used.
pub(super) const CERTIFICATE: Code = Code("C012");
/// A key that is not the certificate's.
pub(super) const KEY_MISMATCH: Code = Code("C013");
/// A warning: a certificate that is not valid now.
pub(super) const OUT_OF_DATE: Code = Code("C014");
/// Two listeners on one address.
pub(super) const ADDRESS: Code = Code("C015");
/// A setting that means nothing for the listener's protocol.
pub(super) const UNFIT: Code = Code("C016");
/// A warning: a private key that everybody on the machine can read.
pub(super) const READABLE_KEY: Code = Code("C017");
/// A URL of another broker that cannot be used.
pub(super) const UPSTREAM_URL: Code = Code("C037");
/// A login at another broker that lacks a part.
pub(super) const UPSTREAM_LOGIN: Code = Code("C038");
/// TLS at another broker that lacks a part, or is not asked for.
pub(super) const UPSTREAM_TLS: Code = Code("C039");
/// A shared subscription that cannot be.
pub(super) const UPSTREAM_SHARE: Code = Code("C040");
/// A bridge of an embedded broker that nobody can connect to.
pub(super) const UPSTREAM_BOTH: Code = Code("C041");
/// Topics of a bridge that are none.
pub(super) const UPSTREAM_TOPIC: Code = Code("C042");
/// Messages that would go round for ever.
pub(super) const UPSTREAM_LOOP: Code = Code("C043");

/// A line of access rules that is none.
pub(super) const ACCESS_RULE: Code = Code("C024");

/// A hook that is named and not declared.
pub(super) const UNDECLARED: Code = Code("C025");

/// All of them, in order.
#[cfg(test)]
pub(super) const ALL: [Code; 26] = [
    SYNTAX,
    UNKNOWN,
    TYPE,
    VALUE,
    RANGE,
    NAME,
    MISSING,
    EXPOSED,
    CONTRADICTION,
    URL,
    HEADER,
    CERTIFICATE,
    KEY_MISMATCH,
    OUT_OF_DATE,
    ADDRESS,
    UNFIT,
    READABLE_KEY,
    ACCESS_RULE,
    UNDECLARED,
    UPSTREAM_URL,
    UPSTREAM_LOGIN,
    UPSTREAM_TLS,
    UPSTREAM_SHARE,
    UPSTREAM_BOTH,
    UPSTREAM_TOPIC,
    UPSTREAM_LOOP,
];
