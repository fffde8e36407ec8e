//! The files of a listener: read, decoded, and put together for rustls.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::server::NoServerSessionStorage;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::facts::ServedCertificate;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::ClientCertificate;
use crate::config::TlsConfig;
use crate::limits::TLS_CHAIN_MAX;
use crate::limits::TLS_FILE_BYTES_MAX;

/// Which of a listener's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFile {
    Certificate,
    Key,
    ClientCa,
    ClientCrl,
}

/// What sort of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// The file cannot be read, or is not what it should be.
    Unusable,
    /// The key is not the certificate's.
    Mismatch,
    /// Odd: the certificate is not valid now.
    OutOfDate,
    /// Odd: everybody can read the key.
    Readable,
}

/// Something about a file that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) file: TlsFile,
    pub(crate) kind: TroubleKind,
    pub(crate) message: String,
}

impl Trouble {
    fn unusable(file: TlsFile, path: &Path, what: impl std::fmt::Display) -> Trouble {
        let message = format!("{}: {what}", path.display());
        Trouble { file, kind: TroubleKind::Unusable, message }
    }
}

/// Everything that TLS on a listener needs, found to fit together.
pub(super) struct Material {
    pub(super) served: ServedCertificate,
    pub(super) server: ServerConfig,
}

/// Reads the files of `config` and answers what they make, or everything that is wrong.
pub(super) fn read(config: &TlsConfig) -> Result<Material, Vec<Trouble>> {
    let provider = Arc::new(ring::default_provider());
    let mut troubles = Vec::new();
    let mut noted = |trouble: Trouble| troubles.push(trouble);
    let chain = chain(&config.certificate, TlsFile::Certificate).map_err(&mut noted).ok();
    let key = key(&config.key).map_err(&mut noted).ok();
    let verifier = verifier(config, &provider).map_err(&mut noted).ok();
    let (Some(chain), Some(key), Some(verifier)) = (chain, key, verifier) else {
        return Err(troubles);
    };
    let unusable = |what: &dyn std::fmt::Display| {
        vec![Trouble::unusable(TlsFile::Certificate, &config.certificate, what)]
    };
    let leaf = chain.first().map(|leaf| leaf.as_ref()).unwrap_or_default();
    let served = ServedCertificate::read(leaf).map_err(|error| unusable(&error))?;
    let server = server(provider, verifier, chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let (key, certificate) = (config.key.display(), config.certificate.display());
            let message = format!("{key} is not the key of the certificate in {certificate}");
            vec![Trouble { file: TlsFile::Key, kind: TroubleKind::Mismatch, message }]
        }
        error => unusable(&error),
    })?;
    Ok(Material { served, server })
}

impl Material {
    /// What works, and should not be left so.
    pub(super) fn oddities(&self, config: &TlsConfig) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let path = config.certificate.display();
        let message = match validity(&self.served, Clock::start().now()) {
            Validity::Now => None,
            Validity::Over => Some(format!("{path} expired on {}", self.served.not_after)),
            Validity::NotYet => {
                Some(format!("{path} is not valid before {}", self.served.not_before))
            }
        };
        if let Some(message) = message {
            let (file, kind) = (TlsFile::Certificate, TroubleKind::OutOfDate);
            troubles.push(Trouble { file, kind, message });
        }
        let mode = std::fs::metadata(&config.key).map(|found| found.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o007 != 0) {
            let message = format!("{} can be read by everybody", config.key.display());
            troubles.push(Trouble { file: TlsFile::Key, kind: TroubleKind::Readable, message });
        }
        troubles
    }
}

/// Whether a certificate is good at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    Now,
    NotYet,
    Over,
}

pub(super) fn validity(served: &ServedCertificate, now: Timestamp) -> Validity {
    if now > served.not_after {
        Validity::Over
    } else if now < served.not_before {
        Validity::NotYet
    } else {
        Validity::Now
    }
}

fn server(
    provider: Arc<CryptoProvider>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    let Some(verifier) = verifier else {
        let mut server = builder.with_no_client_auth().with_single_cert(chain, key)?;
        // A device that comes back is spared the signature, and we the memory of a session.
        server.ticketer = ring::Ticketer::new()?;
        return Ok(server);
    };
    let mut server = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    // A resumed session would take over a certificate that has expired or been revoked meanwhile.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(server)
}

/// What judges clients' certificates; `None` when they are not asked for one.
fn verifier(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Trouble> {
    let Some(path) = &config.client_ca else { return Ok(None) };
    let unusable = |what: &dyn std::fmt::Display| Trouble::unusable(TlsFile::ClientCa, path, what);
    let mut roots = RootCertStore::empty();
    for certificate in chain(path, TlsFile::ClientCa)? {
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(path) = &config.client_crl {
        // An authority without a list has revoked nothing.
        builder = builder.with_crls(revoked(path)?).allow_unknown_revocation_status();
    }
    if config.client_certificate == ClientCertificate::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(|verifier| Some(verifier as _)).map_err(|error| unusable(&error))
}

fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Trouble> {
    let unusable = |what: &dyn std::fmt::Display| Trouble::unusable(TlsFile::ClientCrl, path, what);
    let bytes = bytes(path).map_err(|error| unusable(&error))?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes);
    let lists: Vec<_> = lists.collect::<Result<_, _>>().map_err(|error| unusable(&told(&error)))?;
    if lists.is_empty() {
        return Err(unusable(&"there is no revocation list in it (PEM, BEGIN X509 CRL)"));
    }
    Ok(lists)
}

fn chain(path: &Path, file: TlsFile) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let unusable = |what: &dyn std::fmt::Display| Trouble::unusable(file, path, what);
    let bytes = bytes(path).map_err(|error| unusable(&error))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(&told(&error)))?;
    match chain.len() {
        0 => Err(unusable(&"there is no certificate in it (PEM, BEGIN CERTIFICATE)")),
        n if n > TLS_CHAIN_MAX && file == TlsFile::Certificate => {
            Err(unusable(&format!("there are {n} certificates in it, more than {TLS_CHAIN_MAX}")))
        }
        _ => Ok(chain),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Trouble> {
    let unusable = |what: &dyn std::fmt::Display| Trouble::unusable(TlsFile::Key, path, what);
    let bytes = bytes(path).map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let what = "there is no private key in it (PEM, BEGIN PRIVATE KEY; one with a \
                        passphrase cannot be read)";
            unusable(&what)
        }
        error => unusable(&told(&error)),
    })?;
    ring::sign::any_supported_type(&key).map_err(|_| {
        unusable(
            &"the key is of no kind that is supported (RSA of 2048 to 4096 bits, P-256, \
                   P-384, Ed25519)",
        )
    })?;
    Ok(key)
}

/// Without the bytes that the error's own text repeats: the file may be a key.
fn told(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::Base64Decode(_) => "a part of it is not base64",
        pem::Error::MissingSectionEnd { .. } => "a part of it has no end (PEM, END …)",
        _ => "it is not PEM",
    }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(TLS_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() {
        n if n > TLS_FILE_BYTES_MAX => {
            Err(io::Error::other(format!("it has more than {TLS_FILE_BYTES_MAX} bytes")))
        }
        _ => Ok(bytes),
    }
}
