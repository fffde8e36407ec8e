//! What a listener's TLS is made of now, and how another certificate takes over.
//!
//! Handshakes take [`Keeper::server`] without a lock. [`Keeper::reload`] reads the files and puts what
//! they make in its place, whole or not at all; it is called when the files have changed
//! ([`Keeper::has_changed`], looked at by the gateway) and when somebody asks.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;

use super::facts;
use super::facts::ServedCertificate;
use super::material;
use super::material::Material;
use super::material::Trouble;
use crate::clock::Timestamp;
use crate::config::Protocol;
use crate::config::TlsConfig;
use crate::peer::Certificate;

/// What handshakes are made with.
struct Served {
    server: Arc<ServerConfig>,
    certificate: ServedCertificate,
    loaded_at: Timestamp,
}

/// What a file was when it was last looked at: time of change in nanoseconds, length, inode. `None`:
/// it was not there.
type Stamp = Option<(i64, i64, u64, u64)>;

/// The files as they were looked at.
#[derive(Default)]
struct Seen {
    /// When they were read.
    read: Vec<Stamp>,
    /// At the last look.
    looked: Vec<Stamp>,
    /// Why what was read is not served.
    failure: Option<String>,
}

/// TLS of one listener.
pub(crate) struct Keeper {
    config: TlsConfig,
    protocol: Protocol,
    served: ArcSwap<Served>,
    /// Written by whoever reloads; looked at by the API.
    seen: Mutex<Seen>,
}

/// TLS of a listener as the API shows it.
#[derive(Clone, Debug)]
pub(crate) struct TlsStatus {
    pub(crate) certificate: ServedCertificate,
    pub(crate) loaded_at: Timestamp,
    /// Why the files are not what is served.
    pub(crate) failure: Option<String>,
}

/// The files do not make what a listener needs; what was served before goes on.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|trouble| trouble.message.as_str()).collect::<Vec<_>>().join("; "))]
pub(crate) struct NotLoaded(Vec<Trouble>);

impl Keeper {
    /// Reads the files for the first time. Blocks.
    ///
    /// # Errors
    /// They are no good; the configuration's check has said so unless they have changed since.
    pub(crate) fn open(
        config: &TlsConfig,
        protocol: Protocol,
        now: Timestamp,
    ) -> Result<Keeper, NotLoaded> {
        let stamps = stamps(config);
        let material = material::read(config).map_err(NotLoaded)?;
        let served = ArcSwap::from_pointee(served(material, protocol, now));
        let seen = Seen { looked: stamps.clone(), read: stamps, failure: None };
        Ok(Keeper { config: config.clone(), protocol, served, seen: Mutex::new(seen) })
    }

    /// What the next handshake is made with.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.served.load().server)
    }

    /// What a client's certificate says, out of the chain it has shown.
    pub(crate) fn facts(&self, der: &[u8]) -> Option<Arc<Certificate>> {
        match facts::of_client(der, self.config.principal) {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(error) => {
                // rustls has verified it, so this is a certificate of a kind we do not know.
                tracing::warn!(%error, "a client's certificate was accepted and cannot be read");
                None
            }
        }
    }

    /// Looks at the files: whether they have changed since they were read, and not since the last
    /// look. Blocks.
    pub(crate) fn has_changed(&self) -> bool {
        let stamps = stamps(&self.config);
        let mut seen = self.seen.lock();
        let is_settled = seen.looked == stamps;
        let is_new = seen.read != stamps;
        seen.looked = stamps;
        is_settled && is_new
    }

    /// Reads the files again and serves what they make. Answers whether that is another certificate.
    /// Blocks.
    ///
    /// # Errors
    /// They are no good; nothing has changed then.
    pub(crate) fn reload(&self, now: Timestamp) -> Result<bool, NotLoaded> {
        let mut seen = self.seen.lock();
        seen.read = stamps(&self.config);
        match material::read(&self.config) {
            Ok(material) => {
                seen.failure = None;
                let is_other =
                    self.served.load().certificate.fingerprint != material.served.fingerprint;
                self.served.store(Arc::new(served(material, self.protocol, now)));
                Ok(is_other)
            }
            Err(troubles) => {
                let error = NotLoaded(troubles);
                seen.failure = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// For the API.
    pub(crate) fn status(&self) -> TlsStatus {
        let served = self.served.load();
        TlsStatus {
            certificate: served.certificate.clone(),
            loaded_at: served.loaded_at,
            failure: self.seen.lock().failure.clone(),
        }
    }

    /// When what is served expires.
    pub(crate) fn expires_at(&self) -> Timestamp {
        self.served.load().certificate.not_after
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("config", &self.config).finish_non_exhaustive()
    }
}

fn served(material: Material, protocol: Protocol, loaded_at: Timestamp) -> Served {
    let Material { served: certificate, mut server } = material;
    server.alpn_protocols = alpn(protocol).iter().map(|name| name.as_bytes().to_vec()).collect();
    Served { server: Arc::new(server), certificate, loaded_at }
}

/// What a client may name as the protocol that it is going to speak (RFC 7301); it need not name any.
/// AWS IoT's names are those of its shared port 443.
fn alpn(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Mqtt | Protocol::Mqtts => &["mqtt", "x-amzn-mqtt-ca"],
        Protocol::Ws | Protocol::Wss => &["http/1.1"],
        Protocol::Http | Protocol::Https => &["h2", "http/1.1", "x-amzn-http-ca"],
    }
}

fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    let paths = [Some(&config.certificate), Some(&config.key)];
    let paths = paths.into_iter().chain([config.client_ca.as_ref(), config.client_crl.as_ref()]);
    paths.flatten().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::samples::Folder;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_good_pair_takes_over_and_a_bad_one_changes_nothing() {
        let folder = Folder::new();
        let config = folder.server("server");
        let keeper = Keeper::open(&config, Protocol::Mqtts, at(1)).unwrap();
        let first = keeper.status().certificate.fingerprint;
        assert!(!keeper.has_changed());

        folder.server("other");
        folder.copy("other.pem", "server.pem");
        assert!(!keeper.has_changed(), "it may be changing yet");
        assert!(keeper.has_changed());
        let error = keeper.reload(at(2)).unwrap_err().to_string();
        assert!(error.contains("server.key is not the key of the certificate in"), "{error}");
        assert_eq!(keeper.status().certificate.fingerprint, first);
        assert_eq!(keeper.status().failure, Some(error));
        assert!(!keeper.has_changed(), "told once");

        folder.copy("other.key", "server.key");
        assert!(!keeper.has_changed());
        assert!(keeper.has_changed());
        assert!(keeper.reload(at(3)).unwrap());
        let status = keeper.status();
        assert_ne!(status.certificate.fingerprint, first);
        assert_eq!((status.failure, status.loaded_at), (None, at(3)));
        assert!(!keeper.reload(at(4)).unwrap(), "the same again");
    }
}
