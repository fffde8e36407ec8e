//! Who may connect, publish and subscribe.
//!
//! In: [`Credentials`] of a CONNECT or of an HTTP request. Out: an [`Identity`], or why not
//! ([`Denied`]); and for an identity its [`Permissions`], which the broker asks about each topic once.
//!
//! The decisions are pure and beside each other: [`acl`] (the rules, in order), [`pattern`] (whether one
//! filter lies inside another), [`client_ids`] (which identifiers a client may use), [`users`] (names and hashes), `failures` (who has to wait). [`Access`]
//! joins them: it has the files that they come from, reads them again when they change, and sees to it that
//! comparing passwords neither blocks a runtime's thread nor can be made to starve anybody (`queue`).
//!
//! `jwt` and `hook` are the other ways to say who somebody is, `rate` how fast they may come and publish.
//!
//! Invariants: nobody gets more than a rule says, whatever the client calls itself; a wrong file changes
//! nothing; without rules everything is allowed, without methods everybody may connect, and then
//! nobody has a proved name. Passwords, hashes and tokens appear in no error, log or metric.

mod acl;
mod client_ids;
mod failures;
mod gate;
mod hook;
mod jwt;
mod metrics;
mod pattern;
mod queue;
mod rate;
mod subject;
pub mod users;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use acl::Acl;
pub use acl::Deed;
pub use acl::Permissions;
pub use acl::RuleProblem;
pub use gate::Access;
pub use gate::AccessError;
pub use gate::Looks;
pub use hook::AsksHook;
pub use metrics::AccessMetrics;
pub use rate::Arrivals;
pub use rate::Over;
pub use rate::Pace;

use crate::clock::Timestamp;
use crate::peer::Certificate;

/// What a client shows of itself.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Its identifier; empty for HTTP.
    pub client_id: &'a str,
    /// The user name it gives.
    pub user_name: Option<&'a str>,
    /// The password it gives.
    pub password: Option<&'a [u8]>,
    /// Where it comes from.
    pub address: IpAddr,
    /// The certificate it has proved to be its own.
    pub certificate: Option<&'a Certificate>,
}

impl fmt::Debug for Credentials<'_> {
    /// All but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Who somebody was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The proved name: `%u` of access rules and `principal()` of rules. `None`: nobody asked.
    pub user: Option<Arc<str>>,
    /// The groups that it is in.
    pub groups: Vec<Box<str>>,
    /// How it was proved: `users`, …; `anonymous`.
    pub method: &'static str,
    /// What stands for `%{…}`, by name.
    values: Vec<(Box<str>, Box<str>)>,
    /// Until when this holds.
    pub expires_at: Option<Timestamp>,
    /// Access rules of its own, which come before all others.
    own_rules: Option<Arc<Acl>>,
}

impl Identity {
    /// Somebody who was not asked.
    pub fn anonymous() -> Identity {
        Identity { method: "anonymous", ..Identity::default() }
    }
}

/// Why somebody may not come in. What the client is told is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It showed nothing, and somebody without a name may not come in.
    #[error("no credentials")]
    NoCredentials,
    /// Nobody, or somebody with another password.
    #[error("wrong user name or password")]
    WrongCredentials,
    /// Known, and not allowed.
    #[error("not allowed")]
    NotAllowed,
    /// It failed too often.
    #[error("too many failures")]
    TooManyFailures,
    /// Too many wait to be looked at, or who decides does not answer.
    #[error("busy")]
    Busy,
}

impl Denied {
    /// The metrics' label.
    pub fn label(self) -> &'static str {
        match self {
            Denied::NoCredentials => "no_credentials",
            Denied::WrongCredentials => "bad_credentials",
            Denied::NotAllowed => "not_authorized",
            Denied::TooManyFailures => "login_failures",
            Denied::Busy => "login_busy",
        }
    }
}
