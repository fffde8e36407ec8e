//! The document → [`Config`]: which keys there are, their ranges, and what must fit together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::AccessKeyConfig;
use super::Config;
use super::HttpAuth;
use super::HttpConfig;
use super::JournalConfig;
use super::MqttConfig;
use super::RoomConfig;
use super::RulesConfig;
use super::SecretConfig;
use super::ShadowConfig;
use super::StreamConfig;
use super::WhenFull;
use super::access::http_auth;
use super::access::read_acl;
use super::access::read_auth;
use super::access::read_rate;
use super::access::word;
use super::code;
use super::delivery::read_delivery;
use super::encryption::read_encryption_keys;
use super::hook::read_hook;
use super::listener::Claim;
use super::listener::ListenerConfig;
use super::listener::check_addresses;
use super::listener::check_exposure;
use super::listener::read_listener;
use super::quantity::size_text;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::address;
use super::section::boolean;
use super::section::duration;
use super::section::integer;
use super::section::path;
use super::section::size;
use super::section::text;
use super::upstream;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Label;
use crate::limits::HTTP_HOSTS_MAX;
use crate::limits::LISTENERS_MAX;
use crate::limits::SECRET_BYTES_MAX;
use crate::limits::TARGET_NAME_BYTES_MAX;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * 1024;
/// MQTT's largest packet (MQTT 5, section 2.1.4).
pub(super) const MQTT_PACKET_BYTES_MAX: usize = 268_435_455;

/// Reads all of the document; what is wrong with it goes to `findings`.
pub(super) fn read(table: &DeTable<'_>, findings: &mut Findings) -> Config {
    let mut config = Config::default();
    let mut root = Section::root(table);
    root.read("data_dir", &mut config.data_dir, path, findings);
    root.read("account_id", &mut config.account_id, account_id, findings);
    root.read("region", &mut config.region, region, findings);
    config.hooks = read_named(root.named("hook", findings), read_hook, findings);
    config.access.auth = read_auth(root.section("auth", findings), &config.hooks, findings);
    config.access.acl = read_acl(root.section("acl", findings), findings);
    let is_asked = !config.access.auth.methods.is_empty();
    let mut claims = Vec::new();
    let listen_at;
    (config.mqtt, listen_at) =
        read_mqtt(root.section("mqtt", findings), is_asked, &mut claims, findings);
    config.access.allow_anonymous = config.mqtt.allow_anonymous;
    let mut places = upstream::Places::default();
    config.broker = upstream::read_broker(root.section("broker", findings), &mut places, findings);
    // The address of an external broker on this machine is often the default one of ours.
    config.mqtt.is_open = config.broker.external.is_none() || listen_at.is_some();
    if !config.mqtt.is_open {
        claims.clear();
    }
    config.rate = read_rate(root.section("rate", findings), findings);
    config.http = read_http(root.section("http", findings), &mut claims, findings);
    config.access.http = config.http.auth;
    let listeners = root.named("listener", findings);
    config.listeners = read_listeners(listeners, is_asked, &mut claims, findings);
    check_addresses(&claims, findings);
    config.rules = read_rules(root.section("rules", findings), findings);
    config.journal = read_journal(root.section("journal", findings), findings);
    config.stream_room = read_room(root.section("streams", findings), findings);
    config.streams = read_named(root.named("stream", findings), read_stream, findings);
    let (mut all, named) = root.named_beside("delivery", "root", findings);
    let folder = |value: &DeValue<'_>| path(value).map(Some);
    all.read("root", &mut config.delivery_root, folder, findings);
    config.deliveries = read_named(named, read_delivery, findings);
    config.secrets = read_named(root.named("secret", findings), read_secret, findings);
    config.access_keys =
        read_access_keys(root.named("access_key", findings), &config.secrets, findings);
    let encryption_keys = root.named("encryption_key", findings);
    config.encryption_keys = read_encryption_keys(encryption_keys, findings);
    config.shadow = read_shadow(root.section("shadow", findings), findings);
    for (name, section) in root.named("bridge", findings) {
        if let Err(problem) = check_target_name(name.get_ref()) {
            findings.diagnostics.push(problem.at(name.span(), ""));
        }
        let bridge = upstream::read_bridge(section, name.span(), &mut places, findings);
        config.bridges.insert(name.into_inner(), bridge);
    }
    upstream::check_secrets(&places, &config.secrets, findings);
    upstream::check_together(&config, &places, findings);
    root.finish(findings);
    config
}

/// `is_asked`: clients have to say who they are; answers with the place of `listen`.
fn read_mqtt(
    mut section: Section<'_>,
    is_asked: bool,
    claims: &mut Vec<Claim>,
    findings: &mut Findings,
) -> (MqttConfig, Option<Range<usize>>) {
    let mut mqtt = MqttConfig::default();
    let listen = section.read("listen", &mut mqtt.listen, address, findings);
    section.read("allow_anonymous", &mut mqtt.allow_anonymous, boolean, findings);
    section.read("connections_max", &mut mqtt.connections_max, integer(1..=1_000_000), findings);
    let packet = size(KIB..=MQTT_PACKET_BYTES_MAX);
    let packet_at = section.read("packet_bytes_max", &mut mqtt.packet_bytes_max, packet, findings);
    section.read("receive_maximum", &mut mqtt.receive_maximum, integer(1..=65_535), findings);
    let connect = duration(Duration::from_millis(100)..=Duration::from_secs(600));
    section.read("connect_timeout", &mut mqtt.connect_timeout, connect, findings);
    let keep_alive = duration(Duration::ZERO..=HOUR * 18);
    section.read("keep_alive_max", &mut mqtt.keep_alive_max, keep_alive, findings);
    let expiry = duration(Duration::ZERO..=DAY * 365);
    section.read("session_expiry_max", &mut mqtt.session_expiry_max, expiry, findings);
    let queue = integer(1..=10_000_000);
    section.read("session_queue_max", &mut mqtt.session_queue_max, queue, findings);
    let bytes = size(KIB..=16 * 1024 * MIB);
    let queue = &mut mqtt.session_queue_bytes_max;
    let queue_at = section.read("session_queue_bytes_max", queue, bytes, findings);
    let age = duration(Duration::from_secs(1)..=DAY * 365);
    section.read("session_message_age_max", &mut mqtt.session_message_age_max, age, findings);
    let kept = size(KIB..=1024 * 1024 * MIB);
    let kept_at = section.read("sessions_bytes_max", &mut mqtt.sessions_bytes_max, kept, findings);
    section.read("subscriptions_max", &mut mqtt.subscriptions_max, integer(1..=100_000), findings);
    section.read("retained_max", &mut mqtt.retained_max, integer(0..=10_000_000), findings);
    let interval = duration(Duration::ZERO..=HOUR);
    section.read("statistics_interval", &mut mqtt.statistics_interval, interval, findings);
    section.finish(findings);

    check_exposure("mqtt", mqtt.listen, listen.clone(), is_asked || mqtt.allow_anonymous, findings);
    claims.push(Claim { section: "mqtt".to_owned(), listen: mqtt.listen, at: listen.clone() });
    if mqtt.session_queue_bytes_max < mqtt.packet_bytes_max
        && let Some(span) = queue_at.or(packet_at)
    {
        let (queue, packet) = (mqtt.session_queue_bytes_max, mqtt.packet_bytes_max);
        let message = format!(
            "session_queue_bytes_max ({}) is less than packet_bytes_max ({})",
            size_text(queue as u64),
            size_text(packet as u64)
        );
        let help = "a queue that cannot hold one message delivers none";
        findings.diagnostics.push(Problem::new(code::CONTRADICTION, message, help).at(span, ""));
    }
    if mqtt.sessions_bytes_max < mqtt.session_queue_bytes_max
        && let Some(span) = kept_at
    {
        let (all, one) = (mqtt.sessions_bytes_max, mqtt.session_queue_bytes_max);
        let message = format!(
            "sessions_bytes_max ({}) is less than session_queue_bytes_max ({})",
            size_text(all as u64),
            size_text(one as u64)
        );
        let help = "all sessions together keep at least what one of them may";
        findings.diagnostics.push(Problem::new(code::CONTRADICTION, message, help).at(span, ""));
    }
    (mqtt, listen)
}

fn read_http(
    mut section: Section<'_>,
    claims: &mut Vec<Claim>,
    findings: &mut Findings,
) -> HttpConfig {
    let mut http = HttpConfig::default();
    let listen = section.read("listen", &mut http.listen, address, findings);
    section.read("allow_anonymous", &mut http.allow_anonymous, boolean, findings);
    section.read("hosts", &mut http.hosts, host_names, findings);
    section.read("auth", &mut http.auth, http_auth, findings);
    section.read("group", &mut http.group, word, findings);
    section.read("connections_max", &mut http.connections_max, integer(1..=100_000), findings);
    let patience = || duration(Duration::from_millis(100)..=Duration::from_secs(600));
    section.read("header_timeout", &mut http.header_timeout, patience(), findings);
    let idle = duration(Duration::from_millis(100)..=HOUR);
    section.read("idle_timeout", &mut http.idle_timeout, idle, findings);
    section.read("body_timeout", &mut http.body_timeout, patience(), findings);
    section.finish(findings);
    let is_allowed = http.auth != HttpAuth::None || http.allow_anonymous;
    check_exposure("http", http.listen, listen.clone(), is_allowed, findings);
    claims.push(Claim { section: "http".to_owned(), listen: http.listen, at: listen });
    http
}

fn read_listeners(
    sections: Named<'_>,
    is_asked: bool,
    claims: &mut Vec<Claim>,
    findings: &mut Findings,
) -> BTreeMap<String, ListenerConfig> {
    let taken = ["mqtt", "http"];
    let mut listeners = BTreeMap::new();
    for (name, section) in sections {
        let span = name.span();
        let checked = match taken.contains(&name.get_ref().as_str()) {
            true => Err(Problem::new(code::NAME, "[mqtt] and [http] have these names", "")),
            false => check_target_name(name.get_ref()),
        };
        if let Err(problem) = checked {
            findings.diagnostics.push(problem.at(span.clone(), ""));
        }
        let listener = read_listener(section, name.get_ref(), span, is_asked, claims, findings);
        listeners.insert(name.into_inner(), listener);
    }
    if listeners.len() > LISTENERS_MAX {
        let message = format!("there are {} listeners", listeners.len());
        let help = format!("at most {LISTENERS_MAX}");
        let at = claims.last().and_then(|claim| claim.at.clone()).unwrap_or_default();
        findings.diagnostics.push(Problem::new(code::RANGE, message, help).at(at, ""));
    }
    listeners
}

fn read_rules(mut section: Section<'_>, findings: &mut Findings) -> RulesConfig {
    let mut rules = RulesConfig::default();
    section.read("path", &mut rules.path, path, findings);
    section.read("watch", &mut rules.watch, boolean, findings);
    section.read("hold_keys_max", &mut rules.hold_keys_max, integer(1..=10_000_000), findings);
    let age = duration(DAY / 24..=DAY * 366);
    section.read("key_age", &mut rules.key_age, age, findings);
    section.read("table_keys_max", &mut rules.table_keys_max, integer(1..=10_000_000), findings);
    let bytes = size(MIB..=64 * 1024 * MIB);
    section.read("table_bytes_max", &mut rules.table_bytes_max, bytes, findings);
    section.finish(findings);
    rules
}

fn read_journal(mut section: Section<'_>, findings: &mut Findings) -> JournalConfig {
    let mut journal = JournalConfig::default();
    section.read("hits_max", &mut journal.hits_max, integer(1..=1_000_000), findings);
    let gather = duration(Duration::ZERO..=Duration::from_millis(100));
    section.read("gather", &mut journal.gather, gather, findings);
    section.finish(findings);
    journal
}

pub(super) type Named<'t> = Vec<(Spanned<String>, Section<'t>)>;

pub(super) fn read_named<'t, T>(
    sections: Named<'t>,
    read_one: impl Fn(Section<'t>, Range<usize>, &mut Findings) -> T,
    findings: &mut Findings,
) -> BTreeMap<String, T> {
    let mut targets = BTreeMap::new();
    for (name, section) in sections {
        let span = name.span();
        if let Err(problem) = check_target_name(name.get_ref()) {
            findings.diagnostics.push(problem.at(span.clone(), ""));
        }
        let target = read_one(section, span, findings);
        targets.insert(name.into_inner(), target);
    }
    targets
}

/// Kinesis' alphabet for stream names. Names become folders, hence no leading dot.
fn check_target_name(name: &str) -> Result<(), Problem> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let length = 1..=TARGET_NAME_BYTES_MAX;
    if length.contains(&name.len()) && name.chars().all(is_allowed) && !name.starts_with('.') {
        return Ok(());
    }
    let message = format!("{name:?} is not a name for a target");
    let help = format!(
        "1 to {TARGET_NAME_BYTES_MAX} letters, digits, _, - and ., not starting with a dot"
    );
    Err(Problem::new(code::NAME, message, help))
}

/// A stream that is smaller than this could not take the largest record.
const ROOM: RangeInclusive<usize> = 16 * MIB..=16 * 1024 * 1024 * MIB;

fn read_room(mut section: Section<'_>, findings: &mut Findings) -> RoomConfig {
    let mut room = RoomConfig::default();
    section.read("size_max", &mut room.size_max, |value| size(ROOM)(value).map(Some), findings);
    section.read("full", &mut room.full, when_full, findings);
    section.finish(findings);
    room
}

fn when_full(value: &DeValue<'_>) -> Result<WhenFull, Problem> {
    match text(value)?.as_str() {
        "refuse" => Ok(WhenFull::Refuse),
        "drop_oldest" => Ok(WhenFull::DropOldest),
        other => {
            let message = format!("{other:?} is not what a full stream can do");
            Err(Problem::new(code::VALUE, message, "\"refuse\" or \"drop_oldest\""))
        }
    }
}

fn read_stream(mut section: Section<'_>, _: Range<usize>, findings: &mut Findings) -> StreamConfig {
    let mut stream = StreamConfig::default();
    section.read("shards", &mut stream.shards, integer(1..=1024), findings);
    section.read("retention", &mut stream.retention, duration(DAY..=DAY * 365), findings);
    section.read("size_max", &mut stream.size_max, |value| size(ROOM)(value).map(Some), findings);
    section.read("full", &mut stream.full, |value| when_full(value).map(Some), findings);
    section.finish(findings);
    stream
}

fn read_secret(
    mut section: Section<'_>,
    name_at: Range<usize>,
    findings: &mut Findings,
) -> SecretConfig {
    let mut secret = SecretConfig::Value(String::new());
    let value = |value: &DeValue<'_>| secret_text(value).map(SecretConfig::Value);
    let file = |value: &DeValue<'_>| path(value).map(SecretConfig::File);
    let env = |value: &DeValue<'_>| variable(value).map(SecretConfig::Env);
    let given = [
        section.read("value", &mut secret, value, findings),
        section.read("file", &mut secret, file, findings),
        section.read("env", &mut secret, env, findings),
    ];
    let help = "one of value = \"…\", file = \"path\" and env = \"NAME\"";
    one_place("secret", help, given, name_at, findings);
    section.finish(findings);
    secret
}

/// Of the settings that say where something secret is, one is given.
pub(super) fn one_place<const N: usize>(
    what: &str,
    help: &str,
    given: [Option<Range<usize>>; N],
    name_at: Range<usize>,
    findings: &mut Findings,
) {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => {
            let message = format!("nothing says what the {what} is");
            let problem = Problem::new(code::MISSING, message, help);
            findings.diagnostics.push(problem.at(name_at, ""));
        }
        (Some(_), None) => {}
        (Some(_), Some(second)) => {
            let message = format!("a {what} is in one place");
            let problem = Problem::new(code::CONTRADICTION, message, help);
            findings.diagnostics.push(problem.at(second, "another one"));
        }
    }
}

fn read_access_keys(
    sections: Named<'_>,
    secrets: &BTreeMap<String, SecretConfig>,
    findings: &mut Findings,
) -> BTreeMap<String, AccessKeyConfig> {
    let read_key = |mut section: Section<'_>, name_at: Range<usize>, findings: &mut Findings| {
        let mut key = AccessKeyConfig::default();
        let help = "secret = \"NAME\", and the secret access key in [secret.NAME]";
        match section.read("secret", &mut key.secret, text, findings) {
            None => {
                let problem = Problem::new(code::MISSING, "an access key needs a secret", help);
                findings.diagnostics.push(problem.at(name_at, "secret is missing"));
            }
            Some(at) if !secrets.contains_key(&key.secret) => {
                let message = format!("there is no secret {:?}", key.secret);
                findings.diagnostics.push(Problem::new(code::VALUE, message, help).at(at, ""));
            }
            Some(_) => {}
        }
        section.finish(findings);
        key
    };
    read_named(sections, read_key, findings)
}

fn secret_text(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    if text.len() > SECRET_BYTES_MAX {
        let message = format!("a secret has at most {SECRET_BYTES_MAX} bytes");
        return Err(Problem::new(code::RANGE, message, ""));
    }
    Ok(text)
}

pub(super) fn variable(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    if text.is_empty() || text.contains(['=', '\0']) {
        let message = "this is not the name of an environment variable";
        return Err(Problem::new(code::VALUE, message, ""));
    }
    Ok(text)
}

fn read_shadow(mut section: Section<'_>, findings: &mut Findings) -> ShadowConfig {
    let mut shadow = ShadowConfig::default();
    let table = |value: &DeValue<'_>| {
        let name = text(value)?;
        check_target_name(&name).map(|()| name)
    };
    section.read("table", &mut shadow.table, table, findings);
    section.finish(findings);
    shadow
}

/// Names, without a port, that may stand in `Host`.
fn host_names(value: &DeValue<'_>) -> Result<Vec<String>, Problem> {
    let help = "hosts = [\"gateway.plant.example\"]: names without scheme and port";
    let Some(list) = value.as_array().filter(|list| list.len() <= HTTP_HOSTS_MAX) else {
        let message = format!("expected a list of up to {HTTP_HOSTS_MAX} names");
        return Err(Problem::new(code::TYPE, message, help));
    };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let checked = |name: String| match !name.is_empty() && name.bytes().all(is_plain) {
        true => Ok(name),
        false => {
            Err(Problem::new(code::VALUE, format!("{name:?} is not the name of a host"), help))
        }
    };
    list.iter().map(|name| text(name.get_ref()).and_then(checked)).collect()
}

/// As AWS names its own: `eu-central-1`.
fn region(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(is_allowed) {
        return Ok(text);
    }
    let help = "1 to 32 lower-case letters, digits and -";
    Err(Problem::new(code::VALUE, format!("{text:?} is not the name of a region"), help))
}

fn account_id(value: &DeValue<'_>) -> Result<String, Problem> {
    let help = "12 digits in quotes, as AWS writes account numbers";
    let text = text(value)?;
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(text);
    }
    Err(Problem::new(code::VALUE, format!("{text:?} is not an account id"), help))
}

/// A document that the TOML parser could not follow.
pub(super) fn syntax_error(error: &toml::de::Error, length: usize) -> Diagnostic {
    let span = error.span().unwrap_or(length..length);
    let message = format!("this is not TOML: {}", error.message());
    Diagnostic {
        labels: vec![Label { span, text: String::new() }],
        ..Problem::new(code::SYNTAX, message, "").at(0..0, "")
    }
}
