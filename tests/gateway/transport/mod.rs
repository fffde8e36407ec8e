//! MQTT over everything that it travels in, with real clients.

mod crowd;
mod http_publish;
mod tls;
pub(crate) mod websocket;

use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::live::Site;
use crate::manual::blocks;

/// The manual of TLS: tests make their certificates as it says.
pub(crate) fn manual() -> String {
    crate::manual::page("docs/tls.md")
}

/// Runs a script in the site's folder.
pub(crate) fn shell(site: &Site, script: &str) {
    let output = Command::new("sh").args(["-e", "-c", script]).current_dir(site.path("")).output();
    let output = output.expect("sh runs");
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(output.status.success(), "{script}\n{out}\n{err}");
}

/// What a command prints, without the line's end.
pub(crate) fn answer(site: &Site, script: &str) -> String {
    let output = Command::new("sh").args(["-e", "-c", script]).current_dir(site.path("")).output();
    let output = output.expect("sh runs");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
}

/// A site with the certificates of the manual in `certs/`: `ca`, `server`, `device-7`.
pub(crate) fn site(rules: &str) -> Site {
    let site = Site::with_rules(rules);
    let manual = manual();
    shell(&site, blocks(&manual, "sh").next().expect("how to make certificates"));
    site
}

/// Signs a certificate for `name` by the authority `ca`, with this line of extensions; openssl's further
/// `options` come last.
pub(crate) fn sign(site: &Site, ca: &str, name: &str, extensions: &str, options: &str) {
    shell(
        site,
        &format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/O=Plant/CN={name}' \
                 -keyout certs/{name}.key -out certs/{name}.csr
             printf '{extensions}\\n' > certs/{name}.ext
             openssl x509 -req -in certs/{name}.csr -CA certs/{ca}.pem -CAkey certs/{ca}.key -CAcreateserial \
                 -days 30 -extfile certs/{name}.ext -out certs/{name}.pem {options}
             chmod 600 certs/{name}.key"
        ),
    );
}

/// TLS of a client that trusts the site's authority, with the certificate of `device` if that is given.
pub(crate) fn trusting(site: &Site, device: Option<&str>) -> Arc<ClientConfig> {
    let certificate = |name: &str| {
        let file = site.path(&format!("certs/{name}.pem"));
        CertificateDer::from_pem_file(file).expect("a certificate")
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
    let builder = builder.with_root_certificates(roots);
    let config = match device {
        None => builder.with_no_client_auth(),
        Some(device) => {
            let key = PrivateKeyDer::from_pem_file(site.path(&format!("certs/{device}.key")));
            let chain = vec![certificate(device)];
            builder.with_client_auth_cert(chain, key.expect("a key")).expect("they fit")
        }
    };
    Arc::new(config)
}
