//! `[listener.NAME]`: further addresses that are listened on, and the files of those with TLS.
//!
//! Reading the section needs the document alone. What it says of certificates is judged afterwards
//! ([`inspect`]), because that opens files: all of them are looked at, and everything wrong is told.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use toml::de::DeValue;

use super::HttpConfig;
use super::MqttConfig;
use super::code;
use super::is_reachable_from_outside;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::address;
use super::section::boolean;
use super::section::integer;
use super::section::path;
use super::section::text;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::tls;
use crate::tls::TlsFile;
use crate::tls::TroubleKind;

/// `[listener.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// `protocol`
    pub protocol: Protocol,
    /// `listen`
    pub listen: SocketAddr,
    /// `allow_anonymous`: as for `[mqtt]`.
    pub allow_anonymous: bool,
    /// `connections_max`: of this listener.
    pub connections_max: usize,
    /// `path`: where WebSocket clients ask for the upgrade.
    pub path: String,
    /// `origins`: whose pages may ask for it; anybody's when there are none.
    pub origins: Vec<String>,
    /// `dashboard`: whether dashboard and API are served beside the data plane.
    pub dashboard: bool,
    /// `certificate` and what belongs to it; `None` for a protocol without TLS.
    pub tls: Option<TlsConfig>,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// `mqtt`: MQTT over TCP.
    #[default]
    Mqtt,
    /// `mqtts`: MQTT over TLS.
    Mqtts,
    /// `ws`: MQTT over WebSocket.
    Ws,
    /// `wss`: MQTT over WebSocket over TLS.
    Wss,
    /// `http`: publish over HTTP.
    Http,
    /// `https`: the same over TLS.
    Https,
}

/// All of them, as they are written.
const PROTOCOLS: [Protocol; 6] =
    [Protocol::Mqtt, Protocol::Mqtts, Protocol::Ws, Protocol::Wss, Protocol::Http, Protocol::Https];

impl Protocol {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Mqtt => "mqtt",
            Protocol::Mqtts => "mqtts",
            Protocol::Ws => "ws",
            Protocol::Wss => "wss",
            Protocol::Http => "http",
            Protocol::Https => "https",
        }
    }

    /// Whether it needs a certificate.
    pub fn has_tls(self) -> bool {
        matches!(self, Protocol::Mqtts | Protocol::Wss | Protocol::Https)
    }

    /// Whether MQTT's packets travel in WebSocket messages.
    pub fn is_websocket(self) -> bool {
        matches!(self, Protocol::Ws | Protocol::Wss)
    }

    /// Whether requests are answered and no packets.
    pub fn is_http(self) -> bool {
        matches!(self, Protocol::Http | Protocol::Https)
    }
}

/// The TLS part of `[listener.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// `certificate`: PEM, the listener's own first, then the intermediate ones.
    pub certificate: PathBuf,
    /// `key`: PEM, the private key of it.
    pub key: PathBuf,
    /// `client_ca`: PEM, the authorities whose clients are let in.
    pub client_ca: Option<PathBuf>,
    /// `client_crl`: PEM, what those authorities have revoked.
    pub client_crl: Option<PathBuf>,
    /// `client_certificate`
    pub client_certificate: ClientCertificate,
    /// `principal`
    pub principal: PrincipalKind,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// `none`: they are not asked for one.
    #[default]
    None,
    /// `optional`: one that is shown must be good.
    Optional,
    /// `required`
    Required,
}

/// What of a client's certificate `principal()` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrincipalKind {
    /// `subject`, in the form of RFC 4514.
    #[default]
    Subject,
    /// `common_name`
    CommonName,
    /// `sha256` of the certificate: AWS IoT's certificate id.
    Sha256,
}

/// Connections of a listener when it does not say.
const CONNECTIONS_MAX: usize = 10_000;
/// Where WebSocket clients connect when it does not say.
const PATH: &str = "/mqtt";
/// Origins of one listener, and the bytes of one.
const ORIGINS_MAX: usize = 64;
const ORIGIN_BYTES_MAX: usize = 256;

/// A listener's files, to be opened once the text is read, and where they are named.
pub(super) struct Unopened {
    tls: TlsConfig,
    certificate: Range<usize>,
    key: Range<usize>,
    client_ca: Range<usize>,
    client_crl: Range<usize>,
}

/// An address that is listened on: whose, and where it is given.
pub(super) struct Claim {
    pub(super) section: String,
    pub(super) listen: SocketAddr,
    pub(super) at: Option<Range<usize>>,
}

impl ListenerConfig {
    /// A listener with the stated defaults.
    pub fn new(protocol: Protocol, listen: SocketAddr) -> ListenerConfig {
        ListenerConfig {
            protocol,
            listen,
            allow_anonymous: false,
            connections_max: CONNECTIONS_MAX,
            path: PATH.to_owned(),
            origins: Vec::new(),
            dashboard: false,
            tls: None,
        }
    }

    /// What `[mqtt]` says as a listener.
    pub fn of_mqtt(mqtt: &MqttConfig) -> ListenerConfig {
        ListenerConfig {
            allow_anonymous: mqtt.allow_anonymous,
            connections_max: mqtt.connections_max,
            ..ListenerConfig::new(Protocol::Mqtt, mqtt.listen)
        }
    }

    /// What `[http]` says as a listener.
    pub fn of_http(http: &HttpConfig) -> ListenerConfig {
        ListenerConfig {
            allow_anonymous: http.allow_anonymous,
            connections_max: http.connections_max,
            dashboard: true,
            ..ListenerConfig::new(Protocol::Http, http.listen)
        }
    }

    /// Whether strangers are kept out by their lack of a certificate.
    fn asks_who_it_is(&self) -> bool {
        let required = |tls: &TlsConfig| tls.client_certificate == ClientCertificate::Required;
        self.tls.as_ref().is_some_and(required)
    }
}

/// Reads the section of one listener, whose name stands at `name_at`. `is_asked`: clients have to say who
/// they are.
pub(super) fn read_listener(
    mut section: Section<'_>,
    name: &str,
    name_at: Range<usize>,
    is_asked: bool,
    claims: &mut Vec<Claim>,
    findings: &mut Findings,
) -> ListenerConfig {
    let mut listener = ListenerConfig::new(Protocol::Mqtt, SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut chosen = None;
    let protocol = |value: &DeValue<'_>| protocol(value).map(Some);
    let protocol_at = section.read("protocol", &mut chosen, protocol, findings);
    listener.protocol = chosen.unwrap_or_default();
    let listen_at = section.read("listen", &mut listener.listen, address, findings);
    for (key, at) in [("protocol", &protocol_at), ("listen", &listen_at)] {
        if at.is_none() {
            let help = "protocol = \"mqtts\", listen = \"127.0.0.1:8883\"";
            let problem = Problem::new(code::MISSING, format!("a listener needs its {key}"), help);
            let label = format!("{key} is missing");
            findings.diagnostics.push(problem.at(name_at.clone(), &label));
        }
    }
    section.read("allow_anonymous", &mut listener.allow_anonymous, boolean, findings);
    let connections = integer(1..=1_000_000);
    section.read("connections_max", &mut listener.connections_max, connections, findings);
    let path_at = section.read("path", &mut listener.path, request_path, findings);
    let origins_at = section.read("origins", &mut listener.origins, origins, findings);
    for (key, at) in [("path", path_at), ("origins", origins_at)] {
        tell_unfit(key, at, chosen, Protocol::is_websocket, findings);
    }
    let dashboard = section.read("dashboard", &mut listener.dashboard, boolean, findings);
    tell_unfit("dashboard", dashboard, chosen, Protocol::is_http, findings);
    listener.tls = read_tls(&mut section, &name_at, chosen, findings);
    section.finish(findings);
    if let Some(at) = listen_at {
        let section = format!("listener.{name}");
        // The dashboard asks nobody who they are.
        let is_asked = is_asked && !listener.dashboard;
        let is_allowed = is_asked || listener.allow_anonymous || listener.asks_who_it_is();
        check_exposure(&section, listener.listen, Some(at.clone()), is_allowed, findings);
        claims.push(Claim { section, listen: listener.listen, at: Some(at) });
    }
    listener
}

/// A key that is given and has no effect would be a wish that is not granted. Nothing is said while
/// nobody knows the protocol.
fn tell_unfit(
    key: &str,
    at: Option<Range<usize>>,
    protocol: Option<Protocol>,
    has_it: fn(Protocol) -> bool,
    findings: &mut Findings,
) {
    let (Some(at), Some(protocol)) = (at, protocol.filter(|protocol| !has_it(*protocol))) else {
        return;
    };
    let message = format!("{key} means nothing for protocol = \"{}\"", protocol.as_str());
    let fits = PROTOCOLS.into_iter().filter(|protocol| has_it(*protocol));
    let fits: Vec<String> = fits.map(|protocol| format!("\"{}\"", protocol.as_str())).collect();
    let help = format!("it is for protocol = {}", fits.join(", "));
    findings.diagnostics.push(Problem::new(code::UNFIT, message, help).at(at, ""));
}

fn read_tls(
    section: &mut Section<'_>,
    name_at: &Range<usize>,
    protocol: Option<Protocol>,
    findings: &mut Findings,
) -> Option<TlsConfig> {
    let mut tls = TlsConfig::default();
    let file = |value: &DeValue<'_>| path(value).map(Some);
    let certificate = section.read("certificate", &mut tls.certificate, path, findings);
    let key = section.read("key", &mut tls.key, path, findings);
    let client_ca = section.read("client_ca", &mut tls.client_ca, file, findings);
    let client_crl = section.read("client_crl", &mut tls.client_crl, file, findings);
    let wanted = &mut tls.client_certificate;
    let wanted = section.read("client_certificate", wanted, client_certificate, findings);
    let kind = section.read("principal", &mut tls.principal, principal_kind, findings);
    let Some(protocol) = protocol.filter(|protocol| protocol.has_tls()) else {
        let given = [
            ("certificate", certificate),
            ("key", key),
            ("client_ca", client_ca),
            ("client_crl", client_crl),
            ("client_certificate", wanted),
            ("principal", kind),
        ];
        for (key, at) in given {
            tell_unfit(key, at, protocol, Protocol::has_tls, findings);
        }
        return None;
    };
    for (name, file, at) in
        [("certificate", "server.pem", &certificate), ("key", "server.key", &key)]
    {
        if at.is_none() {
            let message = format!("protocol = \"{}\" needs a {name}", protocol.as_str());
            let help = format!("{name} = \"certs/{file}\"; docs/tls.md makes one");
            let label = format!("{name} is missing");
            let problem = Problem::new(code::MISSING, message, help);
            findings.diagnostics.push(problem.at(name_at.clone(), &label));
        }
    }
    check_client_settings(&tls, [&client_ca, &client_crl, &wanted], findings);
    if let (Some(certificate), Some(key)) = (certificate, key) {
        let place = |at: Option<Range<usize>>| at.unwrap_or_else(|| certificate.clone());
        let (client_ca, client_crl) = (place(client_ca), place(client_crl));
        let tls = tls.clone();
        findings.unopened.push(Unopened { tls, certificate, key, client_ca, client_crl });
    }
    Some(tls)
}

/// Authorities and the wish for certificates make sense together only.
fn check_client_settings(
    tls: &TlsConfig,
    [client_ca, client_crl, wanted]: [&Option<Range<usize>>; 3],
    findings: &mut Findings,
) {
    let told = match (tls.client_certificate, &tls.client_ca) {
        (ClientCertificate::None, Some(_)) => client_ca.clone().map(|at| {
            let message = "client_ca is given, and clients are not asked for a certificate";
            (at, message, "client_certificate = \"required\", or \"optional\"")
        }),
        (ClientCertificate::Optional | ClientCertificate::Required, None) => {
            wanted.clone().map(|at| {
                let message = "nothing says whose certificates are good";
                (at, message, "client_ca = \"certs/ca.pem\"")
            })
        }
        (ClientCertificate::None, None) => client_crl.clone().map(|at| {
            let message = "client_crl is given, and clients are not asked for a certificate";
            (at, message, "client_certificate = \"required\", and client_ca")
        }),
        _ => None,
    };
    if let Some((at, message, help)) = told {
        findings.diagnostics.push(Problem::new(code::CONTRADICTION, message, help).at(at, ""));
    }
}

pub(super) fn check_exposure(
    section: &str,
    listen: SocketAddr,
    listen_at: Option<Range<usize>>,
    is_allowed: bool,
    findings: &mut Findings,
) {
    if is_allowed || !is_reachable_from_outside(listen) {
        return;
    }
    let message = format!("{listen} is reachable from other machines, and nobody has to log in");
    let ask = match section {
        "http" => "ask for a user (auth = \"users\")",
        _ => "name the ways to log in ([auth] methods)",
    };
    let help =
        format!("{ask}, or, in a network you trust, set allow_anonymous = true in [{section}]");
    let span = listen_at.expect("the default address is on loopback, so this one was given");
    findings.diagnostics.push(Problem::new(code::EXPOSED, message, help).at(span, ""));
}

/// Two listeners cannot have one address. `claims` has the defaults first.
pub(super) fn check_addresses(claims: &[Claim], findings: &mut Findings) {
    for (n, claim) in claims.iter().enumerate() {
        let earlier = claims.iter().take(n).find(|other| collide(other.listen, claim.listen));
        let Some(earlier) = earlier else { continue };
        let Some(at) = claim.at.clone().or_else(|| earlier.at.clone()) else { continue };
        let message =
            format!("[{}] and [{}] listen on one address", earlier.section, claim.section);
        let help = "give one of them another port";
        let label = match earlier.listen == claim.listen {
            true => String::new(),
            false => format!("it shares its port with {}", earlier.listen),
        };
        findings.diagnostics.push(Problem::new(code::ADDRESS, message, help).at(at, &label));
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    // An unspecified address takes the port on all of them; [::] takes those of IPv4 as well.
    let takes = |a: IpAddr, b: IpAddr| match a.is_unspecified() {
        true => a.is_ipv6() || b.is_ipv4(),
        false => false,
    };
    let (ip_a, ip_b) = (a.ip().to_canonical(), b.ip().to_canonical());
    a.port() != 0
        && a.port() == b.port()
        && (ip_a == ip_b || takes(ip_a, ip_b) || takes(ip_b, ip_a))
}

/// Opens the files that listeners name and tells what is wrong with them.
pub(super) fn inspect(unopened: &[Unopened]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for listener in unopened {
        let Unopened { tls, certificate, key, client_ca, client_crl } = listener;
        for trouble in tls::inspect(tls) {
            let at = match trouble.file {
                TlsFile::Certificate => certificate,
                TlsFile::Key => key,
                TlsFile::ClientCa => client_ca,
                TlsFile::ClientCrl => client_crl,
            };
            let (code, severity, help) = match trouble.kind {
                TroubleKind::Unusable => {
                    (code::CERTIFICATE, Severity::Error, "docs/tls.md shows how to make the files")
                }
                TroubleKind::Mismatch => {
                    let help = "key is the private key of the first certificate in the file";
                    (code::KEY_MISMATCH, Severity::Error, help)
                }
                TroubleKind::OutOfDate => {
                    let help = "clients that check it refuse the connection";
                    (code::OUT_OF_DATE, Severity::Warning, help)
                }
                TroubleKind::Readable => {
                    (code::READABLE_KEY, Severity::Warning, "chmod 600, or 640 with a group")
                }
            };
            let diagnostic = Problem::new(code, trouble.message, help).at(at.clone(), "");
            found.push(Diagnostic { severity, ..diagnostic });
        }
    }
    found
}

fn one_of<T: Copy>(
    value: &DeValue<'_>,
    what: &str,
    choices: &[(&'static str, T)],
) -> Result<T, Problem> {
    let given = text(value)?;
    let chosen = choices.iter().find(|(name, _)| *name == given);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        Problem::new(code::VALUE, format!("{given:?} is not {what}"), names.join(", "))
    })
}

fn protocol(value: &DeValue<'_>) -> Result<Protocol, Problem> {
    one_of(value, "a protocol", &PROTOCOLS.map(|protocol| (protocol.as_str(), protocol)))
}

fn client_certificate(value: &DeValue<'_>) -> Result<ClientCertificate, Problem> {
    let choices = [
        ("none", ClientCertificate::None),
        ("optional", ClientCertificate::Optional),
        ("required", ClientCertificate::Required),
    ];
    one_of(value, "a choice", &choices)
}

fn principal_kind(value: &DeValue<'_>) -> Result<PrincipalKind, Problem> {
    let choices = [
        ("subject", PrincipalKind::Subject),
        ("common_name", PrincipalKind::CommonName),
        ("sha256", PrincipalKind::Sha256),
    ];
    one_of(value, "a principal", &choices)
}

fn request_path(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
    if text.starts_with('/') && text.len() <= ORIGIN_BYTES_MAX && text.bytes().all(is_plain) {
        return Ok(text);
    }
    let help =
        format!("\"/mqtt\": up to {ORIGIN_BYTES_MAX} characters that a URL shows as they are");
    Err(Problem::new(code::VALUE, format!("{text:?} is not the path of a request"), help))
}

fn origins(value: &DeValue<'_>) -> Result<Vec<String>, Problem> {
    let help = "origins = [\"https://plant.example\"]: scheme, host, and a port that is not the \
                scheme's own";
    let Some(list) = value.as_array().filter(|list| list.len() <= ORIGINS_MAX) else {
        let message = format!("expected a list of up to {ORIGINS_MAX} origins");
        return Err(Problem::new(code::TYPE, message, help));
    };
    list.iter().map(|origin| text(origin.get_ref()).and_then(checked_origin)).collect()
}

/// As a browser writes it into `Origin` (RFC 6454, section 6.2).
fn checked_origin(text: String) -> Result<String, Problem> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if text == "*" {
        return Ok(text);
    }
    let is_host = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@".contains(&b))
    };
    if text.len() <= ORIGIN_BYTES_MAX && host.is_some_and(is_host) {
        return Ok(text.to_ascii_lowercase());
    }
    let help = "as a browser says it: https://plant.example, without a path";
    Err(Problem::new(code::VALUE, format!("{text:?} is not an origin"), help))
}
