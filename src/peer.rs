//! Whom a connection is with, as far as the transport knows: before CONNECT, or a request, says more.

use std::fmt::Write;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The listener that it came to: `mqtt`, `http`, or the NAME of `[listener.NAME]`.
    pub listener: Arc<str>,
    /// What its bytes travel in.
    pub transport: Transport,
    /// Its certificate, checked against the listener's authorities; `None` when it showed none.
    pub certificate: Option<Arc<Certificate>>,
}

impl Peer {
    /// A peer without a certificate.
    pub fn anonymous(address: SocketAddr, listener: Arc<str>, transport: Transport) -> Peer {
        Peer { address, listener, transport, certificate: None }
    }

    /// What its certificate answers to `principal()`.
    pub fn principal(&self) -> Option<Arc<str>> {
        self.certificate.as_ref().map(|certificate| Arc::clone(&certificate.principal))
    }
}

/// What a connection's bytes travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket (RFC 6455).
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Transport {
    /// The word for the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::WebSocket => "ws",
            Transport::SecureWebSocket => "wss",
            Transport::Http => "http",
            Transport::Https => "https",
        }
    }

    /// Whether nobody on the way can read or change it.
    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::SecureWebSocket | Transport::Https)
    }
}

/// The facts of a certificate that a client has shown and proved to be its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject in the form of RFC 4514, `CN=device-7,O=Plant`.
    pub subject: String,
    /// The subject's last common name.
    pub common_name: Option<String>,
    /// Its subject alternative names.
    pub names: AlternativeNames,
    /// SHA-256 of the whole certificate: what AWS IoT calls the certificate's id.
    pub fingerprint: Fingerprint,
    /// What `principal()` answers, as the listener's `principal` chooses.
    pub principal: Arc<str>,
}

/// Subject alternative names (RFC 5280, section 4.2.1.6) of the kinds that name devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// dNSName
    pub dns: Vec<String>,
    /// uniformResourceIdentifier
    pub uri: Vec<String>,
    /// rfc822Name
    pub email: Vec<String>,
    /// iPAddress
    pub ip: Vec<IpAddr>,
}

/// A SHA-256 digest; shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        std::fmt::Display::fmt(self, f)?;
        f.write_char('"')
    }
}
