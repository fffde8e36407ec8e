//! Certificates for the tests of this module's neighbours: made with openssl, signed by one authority.

use std::path::PathBuf;

use crate::config::ClientCertificate;
use crate::config::PrincipalKind;
use crate::config::TlsConfig;

/// A folder to which samples are copied by name.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// `NAME.pem` and `NAME.key` of the samples.
    pub(super) fn server(&self, name: &str) -> TlsConfig {
        let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls/samples");
        for ending in ["pem", "key"] {
            let file = format!("{name}.{ending}");
            std::fs::copy(format!("{samples}/{file}"), self.path(&file)).unwrap();
        }
        TlsConfig {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            client_ca: None,
            client_crl: None,
            client_certificate: ClientCertificate::None,
            principal: PrincipalKind::Subject,
        }
    }
}
