//! What a certificate says, out of its DER.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::AttributeTypeAndValue;
use x509_parser::x509::X509Name;
use x509_parser::x509::X509Version;

use crate::clock::Timestamp;
use crate::config::PrincipalKind;
use crate::peer::AlternativeNames;
use crate::peer::Certificate;
use crate::peer::Fingerprint;

/// Attribute types that RFC 4514 has a short name for.
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// A certificate that cannot be taken apart.
#[derive(Debug, thiserror::Error)]
#[error("it is not an X.509 certificate {0}")]
pub(super) struct Unreadable(String);

/// A certificate that a listener shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedCertificate {
    /// In the form of RFC 4514.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) names: AlternativeNames,
    pub(crate) fingerprint: Fingerprint,
}

impl ServedCertificate {
    pub(super) fn read(der: &[u8]) -> Result<ServedCertificate, Unreadable> {
        let certificate = parse(der)?;
        if certificate.version() != X509Version::V3 {
            // rustls would say so in words of its own.
            let what = "of version 3: it has no extensions (openssl x509 -extfile …)";
            return Err(Unreadable(what.to_owned()));
        }
        let validity = certificate.validity();
        let at = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000));
        Ok(ServedCertificate {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            not_before: at(validity.not_before.timestamp()),
            not_after: at(validity.not_after.timestamp()),
            names: alternative_names(&certificate),
            fingerprint: fingerprint(der),
        })
    }
}

/// The facts of a client's certificate. `kind` chooses what of it is the principal; a certificate
/// without a common name has its subject instead.
pub(super) fn of_client(der: &[u8], kind: PrincipalKind) -> Result<Certificate, Unreadable> {
    let certificate = parse(der)?;
    let subject = name(certificate.subject());
    let common_name = certificate.subject().iter_common_name().last().and_then(text_of);
    let fingerprint = fingerprint(der);
    let principal = match (kind, &common_name) {
        (PrincipalKind::Sha256, _) => Arc::from(fingerprint.to_string()),
        (PrincipalKind::CommonName, Some(common_name)) => Arc::from(common_name.as_str()),
        (PrincipalKind::CommonName, None) | (PrincipalKind::Subject, _) => Arc::from(&*subject),
    };
    let names = alternative_names(&certificate);
    Ok(Certificate { subject, common_name, names, fingerprint, principal })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Unreadable> {
    match parse_x509_certificate(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(Unreadable(format!("at all: {error}"))),
    }
}

fn fingerprint(der: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(der).into())
}

fn text_of(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    // BMPString and the like are written in no certificate of this century.
    attribute.as_str().ok().map(str::to_owned)
}

/// A name as text: the last part first, as RFC 4514 and `openssl -nameopt RFC2253` have it.
fn name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        for (n, attribute) in part.iter().enumerate() {
            if n > 0 {
                text.push('+');
            } else if !text.is_empty() {
                text.push(',');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(id, _)| *id == oid).map(|(_, name)| *name);
    text.push_str(short.unwrap_or(&oid));
    text.push('=');
    match attribute.as_str() {
        Ok(value) => push_escaped(text, value),
        Err(_) => {
            text.push('#');
            for byte in attribute.as_slice() {
                write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            }
        }
    }
}

/// RFC 4514, section 2.4.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (n, character) in value.chars().enumerate() {
        let is_special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (n == 0 && matches!(character, ' ' | '#'))
            || (n == last && character == ' ');
        if character == '\0' {
            text.push_str("\\00");
            continue;
        }
        if is_special {
            text.push('\\');
        }
        text.push(character);
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> AlternativeNames {
    let mut names = AlternativeNames::default();
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return names };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::URI(uri) => names.uri.push((*uri).to_owned()),
            GeneralName::RFC822Name(address) => names.email.push((*address).to_owned()),
            GeneralName::IPAddress(bytes) => names.ip.extend(ip_address(bytes)),
            _ => {}
        }
    }
    names
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// `openssl req -x509 -newkey ec …` with a subject that needs escaping; see the file's first line.
    const DEVICE: &[u8] = include_bytes!("samples/device.pem");

    fn device() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(DEVICE).unwrap()
    }

    #[test]
    fn a_subject_reads_as_openssl_prints_it() {
        let of = |kind| of_client(&device(), kind).unwrap();
        let certificate = of(PrincipalKind::Subject);
        insta::assert_debug_snapshot!(certificate);
        assert_eq!(&*certificate.principal, certificate.subject);
        assert_eq!(&*of(PrincipalKind::CommonName).principal, "device, 7");
        let sha256 = certificate.fingerprint.to_string();
        assert_eq!(*of(PrincipalKind::Sha256).principal, sha256);
        assert_eq!(sha256.len(), 64);
    }

    #[test]
    fn validity_is_read() {
        let served = ServedCertificate::read(&device()).unwrap();
        assert!(served.not_before < served.not_after);
        assert_eq!(served.issuer, served.subject, "signed by itself");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(cut in 0_usize..600, flips in proptest::collection::vec((0_usize..600, 0_u8..=255), 0..8)) {
            let mut bytes = device().to_vec();
            for (at, byte) in flips {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            let end = bytes.len().min(cut.max(1));
            drop(of_client(bytes.get(..end).unwrap(), PrincipalKind::CommonName));
            drop(of_client(&bytes, PrincipalKind::Subject));
        }
    }
}
