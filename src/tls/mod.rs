//! TLS of listeners: certificates read, checked and exchanged without a restart, and what a client's
//! certificate says.
//!
//! In: [`TlsConfig`], files in PEM. Out: [`inspect`] for the configuration's report; [`Keeper`], which
//! has what is served now and takes a new one over when the files are good; [`handshake()`] from a
//! socket to a stream, with the facts of the client's certificate.
//!
//! Invariants: TLS 1.2 and 1.3 only, by ring. What is served is always whole: a certificate and its own
//! key. A bad file changes nothing. Connections that are open keep what they were made with; whom a
//! client's certificate does not identify any more is asked again at its next handshake, because
//! handshakes with client certificates are never abbreviated.

mod facts;
mod handshake;
mod keeper;
mod material;
#[cfg(test)]
mod samples;

use crate::config::TlsConfig;

pub(crate) use handshake::Gate;
pub(crate) use handshake::handshake;
pub(crate) use keeper::Keeper;
pub(crate) use keeper::TlsStatus;
pub(crate) use material::TlsFile;
pub(crate) use material::Trouble;
pub(crate) use material::TroubleKind;

/// Looks at the files of a listener and tells everything that is wrong, or odd, about them.
pub(crate) fn inspect(config: &TlsConfig) -> Vec<Trouble> {
    match material::read(config) {
        Ok(material) => material.oddities(config),
        Err(troubles) => troubles,
    }
}
