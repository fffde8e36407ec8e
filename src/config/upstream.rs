//! Connections to other brokers: `[broker]` and `[bridge.NAME]`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use toml::Spanned;
use toml::de::DeValue;

use super::code;
use super::read::DAY;
use super::read::HOUR;
use super::read::KIB;
use super::read::MIB;
use super::read::MQTT_PACKET_BYTES_MAX;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::duration;
use super::section::integer;
use super::section::path;
use super::section::size;
use super::section::text;
use crate::topic::TopicError;
use crate::topic::TopicFilter;

/// `[broker]`: the broker that the gateway is a client of, instead of being one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `external`: where it is. `None`: the embedded broker is the only one.
    pub external: Option<UpstreamUrl>,
    /// `share`: the group of a shared subscription, by which several gateways split the messages.
    pub share: Option<String>,
    /// `qos` of the subscriptions: 0 or 1.
    pub qos: u8,
    /// How it is talked to.
    pub link: LinkConfig,
}

/// `[bridge.NAME]`: topics of the embedded broker that another one shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// `url`: where the other broker is.
    pub url: UpstreamUrl,
    /// How it is talked to.
    pub link: LinkConfig,
    /// `[bridge.NAME.topic.TOPIC]`
    pub topics: BTreeMap<String, BridgeTopic>,
}

/// `[bridge.NAME.topic.TOPIC]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// `filter`, behind the prefix of either side.
    pub filter: String,
    /// `direction`
    pub direction: Direction,
    /// `local_prefix`
    pub local_prefix: String,
    /// `remote_prefix`
    pub remote_prefix: String,
    /// `qos`: the highest that messages keep, 0 or 1.
    pub qos: u8,
}

/// Which way the messages of a bridge go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// `out`: from the embedded broker to the other one.
    #[default]
    Out,
    /// `in`: from the other one.
    In,
    /// `both`
    Both,
}

impl Direction {
    /// Whether messages of the embedded broker go to the other one.
    pub fn goes_out(self) -> bool {
        self != Direction::In
    }

    /// Whether messages of the other broker come in.
    pub fn comes_in(self) -> bool {
        self != Direction::Out
    }
}

impl BridgeTopic {
    /// The filter of the embedded broker's topics.
    pub fn local(&self) -> Result<TopicFilter, TopicError> {
        TopicFilter::parse(&format!("{}{}", self.local_prefix, self.filter))
    }

    /// The filter of the other broker's topics.
    pub fn remote(&self) -> Result<TopicFilter, TopicError> {
        TopicFilter::parse(&format!("{}{}", self.remote_prefix, self.filter))
    }
}

/// What all connections to other brokers have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// `protocol`
    pub protocol: MqttProtocol,
    /// `client_id`; `None`: one that is made once for the data folder.
    pub client_id: Option<String>,
    /// `password`: the name of a `[secret.NAME]`.
    pub password: Option<String>,
    /// `ca_file`: certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// `certificate_file`: the client's own certificate.
    pub certificate_file: Option<PathBuf>,
    /// `key_file`: its key.
    pub key_file: Option<PathBuf>,
    /// `keep_alive`
    pub keep_alive: Duration,
    /// `session_expiry`: how long the other broker keeps the session while the gateway is away.
    pub session_expiry: Duration,
    /// `receive_maximum`: messages that the other broker may send ahead of their acknowledgement.
    pub receive_maximum: u16,
    /// `inflight_max`: messages that the gateway sends ahead of their acknowledgement.
    pub inflight_max: u16,
    /// `packet_bytes_max`: of a packet from the other broker.
    pub packet_bytes_max: usize,
    /// `backlog_bytes_max`: of what waits to be sent; the oldest go beyond it.
    pub backlog_bytes_max: usize,
    /// `backlog_age_max`: what has waited longer goes.
    pub backlog_age_max: Duration,
    /// `rate_max`: messages sent a second; 0 is no bound.
    pub rate_max: u32,
}

/// The MQTT version of a connection to another broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttProtocol {
    /// `5`
    #[default]
    V5,
    /// `3.1.1`
    V311,
}

/// Where another broker is.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken (`mqtts`).
    pub is_tls: bool,
    /// Who the gateway is there.
    pub user: Option<String>,
}

impl UpstreamUrl {
    /// Without the user.
    pub fn shown(&self) -> String {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            protocol: MqttProtocol::V5,
            client_id: None,
            password: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            keep_alive: Duration::from_secs(60),
            session_expiry: DAY * 7,
            receive_maximum: 1024,
            inflight_max: 128,
            packet_bytes_max: MIB,
            backlog_bytes_max: 1024 * MIB,
            backlog_age_max: DAY * 7,
            rate_max: 0,
        }
    }
}

/// What must be compared with other sections once all are read.
#[derive(Default)]
pub(super) struct Places {
    /// `external`.
    pub(super) external: Option<Range<usize>>,
    /// The names of bridges, in the order of the document.
    pub(super) bridges: Vec<Range<usize>>,
    /// Secrets that are named, with their places.
    pub(super) secrets: Vec<Spanned<String>>,
}

/// Reads `[broker]`.
pub(super) fn read_broker(
    mut section: Section<'_>,
    places: &mut Places,
    findings: &mut Findings,
) -> BrokerConfig {
    let mut broker = BrokerConfig { qos: 1, ..BrokerConfig::default() };
    let external = |value: &DeValue<'_>| upstream_url(value).map(Some);
    places.external = section.read("external", &mut broker.external, external, findings);
    let share = |value: &DeValue<'_>| share_group(value).map(Some);
    let share_at = section.read("share", &mut broker.share, share, findings);
    section.read("qos", &mut broker.qos, integer(0..=1), findings);
    broker.link = read_link(&mut section, broker.external.as_ref(), places, findings);
    if broker.link.protocol == MqttProtocol::V311
        && let Some(span) = share_at
    {
        let message = "a shared subscription needs MQTT 5";
        let help = "take out share, or protocol = \"3.1.1\"";
        findings.diagnostics.push(Problem::new(code::UPSTREAM_SHARE, message, help).at(span, ""));
    }
    section.finish(findings);
    broker
}

fn read_link(
    section: &mut Section<'_>,
    url: Option<&UpstreamUrl>,
    places: &mut Places,
    findings: &mut Findings,
) -> LinkConfig {
    let mut link = LinkConfig::default();
    section.read("protocol", &mut link.protocol, protocol, findings);
    let named = |value: &DeValue<'_>| client_id(value).map(Some);
    section.read("client_id", &mut link.client_id, named, findings);
    let secret = |value: &DeValue<'_>| text(value).map(Some);
    let password = section.read("password", &mut link.password, secret, findings);
    let file = |value: &DeValue<'_>| path(value).map(Some);
    let files = [
        section.read("ca_file", &mut link.ca_file, file, findings),
        section.read("certificate_file", &mut link.certificate_file, file, findings),
        section.read("key_file", &mut link.key_file, file, findings),
    ];
    let alive = duration(Duration::from_secs(5)..=HOUR * 18);
    section.read("keep_alive", &mut link.keep_alive, alive, findings);
    let expiry = duration(Duration::from_secs(1)..=DAY * 365);
    section.read("session_expiry", &mut link.session_expiry, expiry, findings);
    section.read("receive_maximum", &mut link.receive_maximum, integer(1..=65_535), findings);
    section.read("inflight_max", &mut link.inflight_max, integer(1..=10_000), findings);
    let packet = size(KIB..=MQTT_PACKET_BYTES_MAX);
    section.read("packet_bytes_max", &mut link.packet_bytes_max, packet, findings);
    let backlog = size(MIB..=1024 * 1024 * MIB);
    section.read("backlog_bytes_max", &mut link.backlog_bytes_max, backlog, findings);
    let age = duration(Duration::from_secs(60)..=DAY * 365);
    section.read("backlog_age_max", &mut link.backlog_age_max, age, findings);
    section.read("rate_max", &mut link.rate_max, integer(0..=1_000_000), findings);
    let (Some(url), [_, certificate_at, key_at]) = (url, &files) else { return link };
    if let Some(span) = password.clone().filter(|_| url.user.is_none()) {
        let help = "write the user into the URL: mqtt://user@host";
        let problem = Problem::new(code::UPSTREAM_LOGIN, "a password without a user", help);
        findings.diagnostics.push(problem.at(span, ""));
    }
    if let Some((span, name)) = password.zip(link.password.clone()) {
        places.secrets.push(Spanned::new(span, name));
    }
    let alone = match (certificate_at, key_at) {
        (Some(span), None) => Some((span, "a certificate needs its key: key_file")),
        (None, Some(span)) => Some((span, "a key needs its certificate: certificate_file")),
        _ => None,
    };
    if let Some((span, message)) = alone {
        let problem = Problem::new(code::UPSTREAM_TLS, message, "");
        findings.diagnostics.push(problem.at(span.clone(), ""));
    }
    if let Some(span) = files.iter().flatten().next().filter(|_| !url.is_tls) {
        let message = "files for TLS, and the URL does not ask for it";
        let problem = Problem::new(code::UPSTREAM_TLS, message, "mqtts://host speaks TLS");
        findings.diagnostics.push(problem.at(span.clone(), ""));
    }
    link
}

/// Reads `[bridge.NAME]`.
pub(super) fn read_bridge(
    mut section: Section<'_>,
    name_at: Range<usize>,
    places: &mut Places,
    findings: &mut Findings,
) -> BridgeConfig {
    let mut url = None;
    let read = |value: &DeValue<'_>| upstream_url(value).map(Some);
    if section.read("url", &mut url, read, findings).is_none() {
        let help = "url = \"mqtt://host\"";
        let problem = Problem::new(code::MISSING, "a bridge needs a url", help);
        findings.diagnostics.push(problem.at(name_at.clone(), "url is missing"));
    }
    let link = read_link(&mut section, url.as_ref(), places, findings);
    let mut topics = BTreeMap::new();
    for (name, section) in section.named("topic", findings) {
        let at = name.span();
        topics.insert(name.into_inner(), read_bridge_topic(section, at, findings));
    }
    section.finish(findings);
    if topics.is_empty() {
        let help = "[bridge.NAME.topic.TOPIC] with a filter, one for each kind of messages";
        let problem = Problem::new(code::MISSING, "a bridge without topics", help);
        findings.diagnostics.push(problem.at(name_at.clone(), "bridges nothing"));
    }
    let nowhere = UpstreamUrl { host: String::new(), port: 0, is_tls: false, user: None };
    places.bridges.push(name_at);
    BridgeConfig { url: url.unwrap_or(nowhere), link, topics }
}

fn read_bridge_topic(
    mut section: Section<'_>,
    name_at: Range<usize>,
    findings: &mut Findings,
) -> BridgeTopic {
    let mut topic = BridgeTopic {
        filter: String::new(),
        direction: Direction::Out,
        local_prefix: String::new(),
        remote_prefix: String::new(),
        qos: 1,
    };
    let filter_at = section.read("filter", &mut topic.filter, text, findings);
    section.read("direction", &mut topic.direction, direction, findings);
    section.read("local_prefix", &mut topic.local_prefix, prefix, findings);
    section.read("remote_prefix", &mut topic.remote_prefix, prefix, findings);
    section.read("qos", &mut topic.qos, integer(0..=1), findings);
    section.finish(findings);
    match filter_at {
        None => {
            let problem =
                Problem::new(code::MISSING, "nothing says which topics", "filter = \"#\"");
            findings.diagnostics.push(problem.at(name_at, "filter is missing"));
        }
        Some(span) => {
            for filter in [topic.local(), topic.remote()] {
                if let Err(error) = filter {
                    let help = "a filter as in SUBSCRIBE, with + and #, behind the prefixes";
                    let problem = Problem::new(code::UPSTREAM_TOPIC, error.to_string(), help);
                    findings.diagnostics.push(problem.at(span, ""));
                    break;
                }
            }
        }
    }
    topic
}

fn direction(value: &DeValue<'_>) -> Result<Direction, Problem> {
    match text(value)?.as_str() {
        "out" => Ok(Direction::Out),
        "in" => Ok(Direction::In),
        "both" => Ok(Direction::Both),
        other => {
            let message = format!("{other:?} is not a direction");
            Err(Problem::new(code::VALUE, message, "\"out\", \"in\" or \"both\""))
        }
    }
}

fn prefix(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    if text.contains(['+', '#', '\0']) {
        let help = "a prefix is put before topics as it is, such as \"plant7/\"";
        return Err(Problem::new(code::UPSTREAM_TOPIC, "a prefix has no wildcards", help));
    }
    Ok(text)
}

/// What contradicts between the connections, and the embedded broker.
pub(super) fn check_together(config: &super::Config, places: &Places, findings: &mut Findings) {
    let mut tell = |code, message: String, help: &str, span: &Range<usize>| {
        findings.diagnostics.push(Problem::new(code, message, help).at(span.clone(), ""));
    };
    let has_clients = config.mqtt.is_open || !config.listeners.is_empty();
    if let (false, Some(span)) = (has_clients, places.bridges.first()) {
        let message = "a bridge of an embedded broker that [broker] external replaces";
        let help = "take one of them out, or set listen under [mqtt] to have both";
        tell(code::UPSTREAM_BOTH, message.to_owned(), help, span);
    }
    let bridges: Vec<_> = config.bridges.iter().zip(&places.bridges).collect();
    let external = config.broker.external.as_ref().zip(places.external.as_ref());
    for (url, span) in external.into_iter().chain(bridges.iter().map(|((_, b), at)| (&b.url, *at)))
    {
        if config.mqtt.is_open && is_here(url, config.mqtt.listen) {
            let message = format!("{} is the gateway itself", url.shown());
            tell(code::UPSTREAM_LOOP, message, "name another broker", span);
        }
    }
    for (place, ((name, one), _)) in bridges.iter().enumerate() {
        for ((other_name, other), span) in bridges.iter().skip(place + 1) {
            if one.url.shown() == other.url.shown()
                && (leads_back(one, other) || leads_back(other, one))
            {
                let message = format!(
                    "what the bridge {name:?} sends out comes back by {other_name:?}, or the other way round"
                );
                let help =
                    "put the topics of one broker into one bridge, which knows its own messages";
                tell(code::UPSTREAM_LOOP, message, help, span);
            }
        }
    }
}

fn is_here(url: &UpstreamUrl, listen: std::net::SocketAddr) -> bool {
    let is_local = url.host == "localhost"
        || url.host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| {
            ip == listen.ip() || (ip.is_loopback() && listen.ip().is_unspecified())
        });
    is_local && url.port == listen.port() && !url.is_tls
}

/// Whether a message may go out by `one`, come in by `other`, and go out by `one` again.
fn leads_back(one: &BridgeConfig, other: &BridgeConfig) -> bool {
    let out = one.topics.values().filter(|topic| topic.direction.goes_out());
    out.flat_map(|out| other.topics.values().map(move |back| (out, back))).any(|(out, back)| {
        let overlap = |a: Result<TopicFilter, TopicError>, b: Result<TopicFilter, TopicError>| {
            matches!((a, b), (Ok(a), Ok(b)) if a.overlaps(b.as_str()))
        };
        back.direction.comes_in()
            && overlap(out.remote(), back.remote())
            && overlap(out.local(), back.local())
    })
}

/// Says which named secrets there are not.
pub(super) fn check_secrets<T>(
    places: &Places,
    secrets: &BTreeMap<String, T>,
    findings: &mut Findings,
) {
    for name in &places.secrets {
        if !secrets.contains_key(name.get_ref()) {
            let message = format!("there is no secret {:?}", name.get_ref());
            let help = "a password is written as the name of a section: [secret.NAME]";
            let problem = Problem::new(code::UPSTREAM_LOGIN, message, help);
            findings.diagnostics.push(problem.at(name.span(), ""));
        }
    }
}

fn protocol(value: &DeValue<'_>) -> Result<MqttProtocol, Problem> {
    match text(value)?.as_str() {
        "5" => Ok(MqttProtocol::V5),
        "3.1.1" => Ok(MqttProtocol::V311),
        other => {
            let message = format!("{other:?} is not a version of MQTT");
            Err(Problem::new(code::VALUE, message, "\"5\" or \"3.1.1\""))
        }
    }
}

/// MQTT's own bound is 65,535 bytes; a name that long helps nobody.
fn client_id(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    let is_plain = text.chars().all(|c| c.is_ascii_graphic());
    if (1..=128).contains(&text.len()) && is_plain {
        return Ok(text);
    }
    let help = "1 to 128 printable ASCII characters without spaces";
    Err(Problem::new(code::VALUE, format!("{text:?} is not a client id"), help))
}

/// MQTT 5, section 4.8.2: no `/`, `+`, `#`.
fn share_group(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(is_allowed) {
        return Ok(text);
    }
    let help = "1 to 64 letters, digits, _, - and .";
    let message = format!("{text:?} is not the name of a shared subscription's group");
    Err(Problem::new(code::UPSTREAM_SHARE, message, help))
}

fn upstream_url(value: &DeValue<'_>) -> Result<UpstreamUrl, Problem> {
    let text = text(value)?;
    let help = "mqtt://host:1883 or mqtts://user@host:8883";
    let refused = |message: &str, help: &str| {
        Err(Problem::new(code::UPSTREAM_URL, message.to_owned(), help.to_owned()))
    };
    let Ok(url) = Url::parse(&text) else {
        return refused("this is not a URL", help);
    };
    let (is_tls, default_port) = match url.scheme() {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        _ => return refused("a broker is reached over mqtt or mqtts", help),
    };
    if url.password().is_some() {
        let help = "password = \"NAME\", and [secret.NAME] says where it is";
        return refused("a URL must not carry a password", help);
    }
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return refused("the URL names no host", help);
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return refused("a broker has no path", help);
    }
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let user = match user.map(decoded) {
        Some(None) => return refused("the user in the URL is not UTF-8", help),
        user => user.flatten(),
    };
    Ok(UpstreamUrl {
        host: host.to_owned(),
        port: url.port().unwrap_or(default_port),
        is_tls,
        user,
    })
}

/// `%40` and its like as the characters they stand for.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}
