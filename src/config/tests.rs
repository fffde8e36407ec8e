use std::collections::BTreeMap;
use std::fmt::Write;

use toml::de::DeTable;
use toml::de::DeValue;

use super::*;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tidegate.example.toml"));
const MANUAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"));

/// Keys of connections to other brokers that have no default, in the order in which they are read.
const WITHOUT_DEFAULT: [&str; 7] =
    ["external", "share", "client_id", "password", "ca_file", "certificate_file", "key_file"];

/// Keys that have no default to put into the example, and what the manual says instead.
const NOT_IN_EXAMPLE: [(&str, &str); 11] = [
    ("delivery.root", "data_dir`/buckets"),
    ("delivery.NAME.directory", "data_dir`/delivery/NAME"),
    ("streams.size_max", "none"),
    ("stream.NAME.size_max", "as `[streams]` says"),
    ("stream.NAME.full", "as `[streams]` says"),
    ("acl.file", "no file"),
    ("auth.jwt.audience", "any"),
    ("auth.jwt.issuer", "any"),
    ("auth.hook.name", "no hook"),
    ("access_key.ID.secret", "required"),
    ("hook.NAME.url", "required without a function"),
];

/// What a report says, in the form of the snapshots: code, marked text, message, help.
fn told(text: &str, diagnostics: &[Diagnostic]) -> String {
    let mut told = String::new();
    for diagnostic in diagnostics {
        let label = diagnostic.labels.first().expect("each has a place");
        let line = text.get(..label.span.start).unwrap().matches('\n').count() + 1;
        let marked = text.get(label.span.clone()).unwrap();
        writeln!(told, "{} line {line} {marked:?}: {}", diagnostic.code.0, diagnostic.message)
            .unwrap();
        if !label.text.is_empty() {
            writeln!(told, "    mark: {}", label.text).unwrap();
        }
        if let Some(help) = &diagnostic.help {
            writeln!(told, "    help: {help}").unwrap();
        }
    }
    told
}

fn rejection(text: &str) -> String {
    told(text, &document::parse(text).expect_err("the text is wrong"))
}

#[test]
fn the_example_lists_every_key_at_its_default() {
    let mut findings = section::Findings::default();
    let mut config = document::parse_into(EXAMPLE, &mut findings);
    assert_eq!(told(EXAMPLE, &findings.diagnostics), "");
    let without_default: Vec<String> =
        ["auth.jwt.audience", "auth.jwt.issuer", "auth.hook.name", "acl.file"]
            .map(str::to_owned)
            .into_iter()
            .chain(WITHOUT_DEFAULT.map(|key| format!("broker.{key}")))
            .chain(
                [
                    "listener.browsers.dashboard",
                    "listener.browsers.certificate",
                    "listener.browsers.key",
                    "listener.browsers.client_ca",
                    "listener.browsers.client_crl",
                    "listener.browsers.client_certificate",
                    "listener.browsers.principal",
                    "streams.size_max",
                    "stream.alerts.size_max",
                    "stream.alerts.full",
                    // These depend on data_dir.
                    "delivery.root",
                    "delivery.archive.directory",
                ]
                .map(str::to_owned),
            )
            .collect();
    assert_eq!(findings.absent, without_default);
    let browsers = ListenerConfig::new(Protocol::Ws, "127.0.0.1:8083".parse().unwrap());
    assert_eq!(config.listeners.remove("browsers"), Some(browsers));
    let alerts = config.streams.remove("alerts");
    assert_eq!(alerts, Some(StreamConfig::default()));
    assert_eq!(config.deliveries.remove("archive"), Some(DeliveryConfig::default()));
    let page = HookConfig::with_url("http://127.0.0.1:9000/page");
    assert_eq!(config.hooks.remove("page"), Some(page));
    assert_eq!(config, Config::default());
}

#[test]
fn an_encryption_key_is_in_one_place_and_no_alias_means_two() {
    let text = "[encryption_key.one]\nfile = \"/run/key\"\naliases = [\"alias/line\", \"alias/a/b\"]\n\
                [encryption_key.two]\nenv = \"KEY\"\n";
    let (config, _) = document::parse(text).unwrap();
    let one = &config.encryption_keys["one"];
    assert_eq!(one.source, SecretConfig::File("/run/key".into()));
    assert_eq!(one.aliases, ["alias/line", "alias/a/b"]);
    assert_eq!(config.encryption_keys["two"].source, SecretConfig::Env("KEY".to_owned()));
    for (wrong, says) in [
        ("[encryption_key.k]\n", "nothing says what the key is"),
        ("[encryption_key.k]\nvalue = \"x\"\n", "has no setting \"value\""),
        ("[encryption_key.k]\nfile = \"a\"\nenv = \"B\"\n", "a key is in one place"),
        ("[encryption_key.\"a b\"]\nenv = \"B\"\n", "is not a name"),
        ("[encryption_key.k]\nenv = \"B\"\naliases = [\"line\"]\n", "\"line\" is not an alias"),
        (
            "[encryption_key.a]\nenv = \"A\"\naliases = [\"alias/x\"]\n\
             [encryption_key.b]\nenv = \"B\"\naliases = [\"alias/x\"]\n",
            "\"alias/x\" is \"a\" already",
        ),
    ] {
        let told = rejection(wrong);
        assert!(told.contains(says), "{wrong}: {told}");
    }
}

#[test]
fn a_delivery_may_be_called_root() {
    let (config, _) = document::parse("[delivery]\nroot = \"/srv\"\n[delivery.a]\n").unwrap();
    assert_eq!(config.buckets(), std::path::Path::new("/srv"));
    assert_eq!(config.deliveries.keys().collect::<Vec<_>>(), ["a"]);
    let (config, _) = document::parse("[delivery.root]\n").unwrap();
    assert_eq!(config.buckets(), std::path::Path::new("data/buckets"));
    assert_eq!(config.deliveries.keys().collect::<Vec<_>>(), ["root"]);
    assert!(rejection("[delivery]\nroot = 7\n").contains("delivery.root"));
    assert!(rejection("[delivery]\nroof = \"/srv\"\n").contains("[delivery.NAME]"));
}

#[test]
fn an_access_key_names_its_secret() {
    let text =
        "region = \"eu-central-1\"\n[secret.s]\nenv = \"S\"\n[access_key.ID]\nsecret = \"s\"\n";
    let (config, _) = document::parse(text).unwrap();
    let key = AccessKeyConfig { secret: "s".to_owned() };
    assert_eq!(config.access_keys, BTreeMap::from([("ID".to_owned(), key)]));
    assert_eq!(config.region, "eu-central-1");
    for (text, expected) in [
        ("[access_key.ID]\n", "an access key needs a secret"),
        ("[access_key.ID]\nsecret = \"t\"\n", "there is no secret \"t\""),
        ("[access_key.ID]\nsecret = \"s\"\nkey = \"x\"\n[secret.s]\nenv = \"S\"\n", "key"),
        ("region = \"Mars\"\n", "\"Mars\" is not the name of a region"),
    ] {
        let told = rejection(text);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn the_names_of_the_http_side_are_names() {
    let hosts = |list: &str| document::parse(&format!("[http]\nhosts = {list}\n"));
    let read = hosts("[\"gateway.plant.example\", \"pi\"]").unwrap();
    assert_eq!(read.0.http.hosts, ["gateway.plant.example", "pi"]);
    for list in ["\"pi\"", "[1]", "[\"\"]", "[\"http://pi\"]", "[\"pi:8080\"]"] {
        assert!(hosts(list).is_err(), "{list}");
    }
}

#[test]
fn the_manual_lists_every_key_of_the_example_with_its_default() {
    let documented: BTreeMap<String, String> = MANUAL
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let key = cells.next()?.trim_end_matches('`');
            Some((key.to_owned(), cells.next()?.trim_matches('`').to_owned()))
        })
        .collect();
    let mut listed = BTreeMap::new();
    let table = DeTable::parse(EXAMPLE).unwrap();
    collect(table.get_ref(), "", &mut listed);
    listed.extend(NOT_IN_EXAMPLE.map(|(key, default)| (key.to_owned(), default.to_owned())));
    for (key, default) in [
        ("command", "required"),
        ("directory", "the gateway's"),
        ("handler", "none"),
        ("memory_max", "\"512 MiB\""),
        ("instances_min", "0"),
        ("idle_max", "\"10m\""),
        ("init_timeout", "\"10s\""),
        ("user", "the gateway's"),
    ] {
        listed.insert(format!("hook.NAME.function.{key}"), default.to_owned());
    }
    for (key, default) in [
        ("protocol", "required"),
        ("listen", "required"),
        ("dashboard", "false"),
        ("certificate", "required with TLS"),
        ("key", "required with TLS"),
        ("client_ca", "none"),
        ("client_crl", "none"),
        ("client_certificate", "\"none\""),
        ("principal", "\"subject\""),
    ] {
        listed.insert(format!("listener.NAME.{key}"), default.to_owned());
    }
    for key in WITHOUT_DEFAULT {
        let default = match key {
            "client_id" => "made once for the data folder",
            "ca_file" => "the system's certificates",
            _ => "none",
        };
        listed.insert(format!("broker.{key}"), default.to_owned());
    }
    // A bridge of the example would be one, so there is none; its other keys are those of [broker].
    for (key, default) in listed.clone() {
        let key =
            key.strip_prefix("broker.").filter(|key| !["external", "share", "qos"].contains(key));
        key.map(|key| listed.insert(format!("bridge.NAME.{key}"), default));
    }
    for (key, default) in [
        ("url", "required"),
        ("topic.TOPIC.filter", "required"),
        ("topic.TOPIC.direction", "\"out\""),
        ("topic.TOPIC.local_prefix", "\"\""),
        ("topic.TOPIC.remote_prefix", "\"\""),
        ("topic.TOPIC.qos", "1"),
    ] {
        listed.insert(format!("bridge.NAME.{key}"), default.to_owned());
    }
    for place in ["value", "file", "env"] {
        listed.insert(format!("secret.NAME.{place}"), "one of these".to_owned());
    }
    for place in ["file", "env"] {
        listed.insert(format!("encryption_key.NAME.{place}"), "one of these".to_owned());
    }
    listed.insert("encryption_key.NAME.aliases".to_owned(), "[]".to_owned());
    assert_eq!(documented, listed);
}

fn collect(table: &DeTable<'_>, path: &str, listed: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = if ["stream", "delivery", "hook", "listener"].contains(&path) {
            "NAME"
        } else {
            key.get_ref()
        };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value.get_ref() {
            DeValue::Table(table) => collect(table, &path, listed),
            _ => {
                listed.insert(path, EXAMPLE.get(value.span()).unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_code_has_its_paragraph_and_its_case() {
    const PARAGRAPHS: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/diagnostics.md"));
    let headings = PARAGRAPHS.lines().filter_map(|line| line.strip_prefix("## C"));
    let documented: Vec<String> =
        headings.map(|line| format!("C{}", line.split(':').next().unwrap())).collect();
    let codes: Vec<&str> = code::ALL.iter().map(|code| code.0).collect();
    assert_eq!(documented, codes);

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/snapshots");
    let snapshots: String = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for code in codes {
        assert!(snapshots.contains(&format!("\n{code} line ")), "{code} has no case");
    }
}

#[test]
fn no_text_is_the_default_configuration() {
    assert_eq!(document::parse("").unwrap().0, Config::default());
}

#[test]
fn unknown_keys_are_all_refused_with_the_near_name() {
    insta::assert_snapshot!(rejection(
        r#"
dat_dir = "x"
[mqt]
listen = "127.0.0.1:1"
[mqtt]
Listen = "127.0.0.1:1"
conections_max = 5
[stream.alerts]
shard = 4
colour = "red"
[hook.page]
url = "http://localhost/"
header = { a = "b" }
"#
    ));
}

#[test]
fn every_wrong_type_is_reported() {
    insta::assert_snapshot!(rejection(
        r#"
data_dir = 5
account_id = 123456789012
mqtt = 1883
stream = []
[http]
listen = 8080
allow_anonymous = "yes"
[journal]
hits_max = "many"
[rules]
hold_keys_max = 1.5
[delivery]
buffer_interval = "5s"
[hook.page]
url = "http://localhost/"
timeout = 5
[hook.page.headers]
"X-Retries" = 5
"#
    ));
}

#[test]
fn values_that_are_not_understood_say_what_would_be() {
    insta::assert_snapshot!(rejection(
        r#"
data_dir = ""
account_id = "12-34"
[mqtt]
listen = "localhost:1883"
connect_timeout = "10"
session_expiry_max = "1 month"
packet_bytes_max = "256"
session_queue_bytes_max = "16 MeB"
[delivery.archive]
compression = "lzma"
"#
    ));
}

#[test]
fn values_out_of_range_are_told_the_range() {
    insta::assert_snapshot!(rejection(
        r#"
[mqtt]
connections_max = 0
packet_bytes_max = "1 GiB"
receive_maximum = 65536
connect_timeout = "1h"
retained_max = -1
[rules]
hold_keys_max = 0x7fffffffffffffff
[stream.alerts]
shards = 0
retention = "23h"
[delivery.archive]
buffer_bytes = 1000
buffer_interval = "16m"
[hook.page]
url = "http://localhost/"
attempts = 0
timeout = "0s"
"#
    ));
}

#[test]
fn names_of_targets_are_checked() {
    insta::assert_snapshot!(rejection(
        r#"
[stream."lab alerts"]
[stream.""]
[delivery.".."]
[hook."a/b"]
url = "http://localhost/"
"#
    ));
}

#[test]
fn a_function_is_read_whole_or_told_what_it_lacks() {
    let good = "[hook.f.function]\ncommand = [\"python3\", \"-m\", \"awslambdaric\"]\ndirectory = \"f\"\n\
                handler = \"app.run\"\nmemory_max = \"64 MiB\"\ninstances_min = 2\nidle_max = \"1m\"\n\
                init_timeout = \"3s\"\nuser = \"1:2\"\nenvironment = { KEY = \"s3cret\" }";
    let (config, _) = document::parse(good).unwrap();
    let Destination::Function(function) = &config.hooks["f"].destination else { panic!("one") };
    let expected = FunctionConfig {
        command: ["python3", "-m", "awslambdaric"].map(str::to_owned).to_vec(),
        directory: Some("f".into()),
        handler: Some("app.run".to_owned()),
        memory_max: 64 << 20,
        instances_min: 2,
        idle_max: Duration::from_secs(60),
        init_timeout: Duration::from_secs(3),
        user: Some(FunctionUser { uid: 1, gid: 2 }),
        environment: BTreeMap::from([("KEY".to_owned(), "s3cret".to_owned())]),
    };
    assert_eq!(*function, expected);
    assert!(!format!("{config:?}").contains("s3cret"));
    let command = "command = [\"x\"]\n";
    for (text, says) in [
        ("[hook.f]\n", "a hook needs a url or a function"),
        ("[hook.f]\nurl = \"http://h/\"\n[hook.f.function]\ncommand = [\"x\"]", "not both"),
        ("[hook.f.function]\n", "a function needs a command"),
        ("[hook.f.function]\ncommand = \"x\"", "this is not a command"),
        ("[hook.f.function]\ncommand = []", "this is not a command"),
        ("[hook.f.function]\ncommand = [\"\"]", "this is not a command"),
        (&format!("[hook.f.function]\n{command}user = \"nobody\""), "is not a user"),
        (
            &format!("[hook.f.function]\n{command}environment = {{ \"A=B\" = \"c\" }}"),
            "environment",
        ),
        (&format!("[hook.f.function]\n{command}memory = 1"), "memory"),
    ] {
        let refused = document::parse(text).unwrap_err();
        assert!(format!("{refused:?}").contains(says), "{text}: {refused:?}");
    }
}

#[test]
fn hooks_need_a_url_that_can_be_called() {
    insta::assert_snapshot!(rejection(
        r#"
[hook.none]
[hook.relative]
url = "/page"
[hook.mail]
url = "mailto:ops@example.org"
[hook.user]
url = "https://ops:hunter2@example.org/"
[hook.host]
url = "http://"
"#
    ));
}

#[test]
fn headers_are_checked_and_their_values_never_repeated() {
    let text = "[hook.page]\nurl = \"http://localhost/\"\n[hook.page.headers]\n\
                Host = \"s3cret\"\n\"a b\" = \"s3cret\"\nX-Key = \"s3\\ncret\"\nX-Good = \"s3cret\"\n";
    let diagnostics = document::parse(text).unwrap_err();
    let told: String = diagnostics.iter().map(|found| format!("{found:?}\n")).collect();
    assert!(!told.contains("cret"), "{told}");
    insta::assert_snapshot!(super::tests::told(&mask::mask_secrets(text), &diagnostics));

    let good = "[hook.page]\nurl = \"http://localhost/\"\nheaders = { X-Key = \"s3cret\" }";
    let config = document::parse(good).unwrap().0;
    assert_eq!(config.hooks["page"].headers["X-Key"], "s3cret");
    let debug = format!("{config:?}");
    assert!(debug.contains("X-Key") && !debug.contains("s3cret"), "{debug}");
}

#[test]
fn secrets_are_in_one_place_and_their_texts_never_repeated() {
    let text = "[secret.none]\n[secret.two]\nvalue = \"s3cret\"\nenv = \"X\"\n[secret.odd]\n\
                value = 5\n[secret.name]\nenv = \"A=B\"\n[secret.long]\nvalue = \"s3";
    let text = format!("{text}{}\"\n[shadow]\ntable = \"a b\"\n", "cret".repeat(20_000));
    let diagnostics = document::parse(&text).unwrap_err();
    let told: String = diagnostics.iter().map(|found| format!("{found:?}\n")).collect();
    assert!(!told.contains("cret\""), "{told}");
    let shown = super::tests::told(&mask::mask_secrets(&text), &diagnostics);
    insta::assert_snapshot!(shown.replace(&"*".repeat(80_002), "*…"));

    let good =
        "[secret.a]\nvalue = \"s3cret\"\n[secret.b]\nfile = \"f\"\n[secret.c]\nenv = \"E\"\n";
    let config = document::parse(good).unwrap().0;
    assert_eq!(config.secrets["a"], SecretConfig::Value("s3cret".to_owned()));
    assert_eq!(config.secrets["b"], SecretConfig::File("f".into()));
    assert_eq!(config.secrets["c"], SecretConfig::Env("E".to_owned()));
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    insta::assert_snapshot!(rejection(
        r#"
[mqtt]
packet_bytes_max = "32 MiB"
[hook.page]
url = "http://localhost/"
backoff = "10m"
"#
    ));
}

#[test]
fn listening_beyond_this_machine_must_be_allowed() {
    insta::assert_snapshot!(rejection(
        "[mqtt]\nlisten = \"0.0.0.0:1883\"\n[http]\nlisten = \"[::]:80\"\n"
    ));
    for accepted in [
        "[mqtt]\nlisten = \"0.0.0.0:1883\"\nallow_anonymous = true",
        "[mqtt]\nlisten = \"127.1.2.3:1\"",
        "[http]\nlisten = \"[::1]:0\"",
        "[http]\nlisten = \"[::ffff:127.0.0.1]:0\"",
    ] {
        assert!(document::parse(accepted).is_ok(), "{accepted}");
    }
}

#[test]
fn what_a_listener_says_must_fit_its_protocol_and_its_neighbours() {
    insta::assert_snapshot!(rejection(
        r#"
[mqtt]
listen = "127.0.0.1:1884"
allow_anonymous = true
[listener.mqtt]
protocol = "mqtt"
listen = "127.0.0.1:0"
[listener.same]
protocol = "mqtt"
listen = "127.0.0.1:1884"
[listener.all]
protocol = "mqtt"
listen = "0.0.0.0:8080"
[listener.plain]
protocol = "mqtt"
listen = "127.0.0.1:1"
certificate = "server.pem"
path = "/mqtt"
[listener.none]
[listener.bare]
protocol = "mqtts"
listen = "127.0.0.1:2"
client_certificate = "always"
principal = "name"
[listener.odd]
protocol = "tls"
listen = "localhost:8883"
path = "mqtt"
origins = ["https://a.example/", 5]
"#
    ));
}

const SAMPLES: &str = "src/tls/samples";

fn secure(certificate: &str, key: &str, rest: &str) -> String {
    format!(
        "[listener.devices]\nprotocol = \"mqtts\"\nlisten = \"127.0.0.1:0\"\n\
         certificate = \"{SAMPLES}/{certificate}\"\nkey = \"{SAMPLES}/{key}\"\n{rest}\n"
    )
}

#[test]
fn a_listeners_files_are_opened_and_judged() {
    let mut told = String::new();
    for (certificate, key, rest) in [
        ("none.pem", "none.key", ""),
        ("server.key", "server.pem", ""),
        ("server.pem", "other.key", ""),
        ("server.pem", "server.key", "client_ca = \"src/tls/samples/ca.pem\""),
        ("server.pem", "server.key", "client_certificate = \"required\""),
        (
            "server.pem",
            "server.key",
            "client_certificate = \"required\"\nclient_ca = \"src/tls/samples/server.key\"",
        ),
        (
            "server.pem",
            "server.key",
            "client_certificate = \"required\"\nclient_ca = \"src/tls/samples/ca.pem\"\n\
             client_crl = \"src/tls/samples/ca.pem\"",
        ),
    ] {
        let text = secure(certificate, key, rest);
        let mut diagnostics = document::parse(&text).unwrap_err();
        // Who may read the samples' keys is the checkout's business.
        diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
        told.push_str(&super::tests::told(&text, &diagnostics));
        told.push('\n');
    }
    insta::assert_snapshot!(told);
}

#[test]
fn an_expired_certificate_and_a_readable_key_are_warnings() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["expired.pem", "expired.key"] {
        std::fs::copy(format!("{SAMPLES}/{file}"), folder.path().join(file)).unwrap();
    }
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(folder.path().join("expired.key"), readable).unwrap();
    let folder = folder.path().display().to_string();
    let text = secure("expired.pem", "expired.key", "").replace(SAMPLES, &folder);
    let (config, warnings) = document::parse(&text).unwrap();
    assert!(config.listeners["devices"].tls.is_some());
    insta::assert_snapshot!(told(&text, &warnings).replace(&folder, "certs"));
}

#[test]
fn a_listener_that_asks_for_certificates_may_be_reached_by_strangers() {
    let text = secure("server.pem", "server.key", "client_certificate = \"required\"");
    let text = format!("{text}client_ca = \"{SAMPLES}/ca.pem\"\n");
    let open = text.replace("127.0.0.1:0", "0.0.0.0:8883");
    assert!(document::parse(&open).is_ok());
    let optional = open.replace("required", "optional");
    let refused = rejection(&optional);
    assert!(refused.contains("C008"), "{refused}");
    assert!(document::parse(&format!("{optional}allow_anonymous = true\n")).is_ok());
}

#[test]
fn access_rules_are_checked_each_at_its_place() {
    insta::assert_snapshot!(rejection(
        r#"
[auth]
methods = ["users", "ldap", "users", 5]
users_file = ""
failures_max = 0
[acl]
rules = [
    "allow publish user alice devices/%c/#",
    "allow read any #",
    "deny both any a/#/b",
    "allow both any %{cert.cm}/#",
    "allow subscribe any $share/g/a",
    7,
]
file = 5
[auth.jwt]
audience = " "
leeway = "1h"
[rate]
over = "drop"
publishes_max = -1
[http]
auth = "basic"
"#
    ));
    insta::assert_snapshot!(rejection(
        r#"
[auth]
methods = ["hook"]
[hook.who]
url = "http://localhost/"
"#
    ));
    insta::assert_snapshot!(rejection(
        r#"
[auth]
methods = ["hook"]
hook = { name = "whom" }
[hook.who]
url = "http://localhost/"
"#
    ));
    let text =
        "[mqtt]\nlisten = \"0.0.0.0:1\"\n[auth]\nmethods = [\"users\"]\n[acl]\nrules = \"x\"";
    assert_eq!(document::parse(text).unwrap_err().len(), 1, "logging in is a stated choice");
}

#[test]
fn connections_to_other_brokers_are_checked_whole() {
    let rejections = [
        "external = \"broker.example:1883\"",
        "external = \"http://broker.example\"",
        "external = \"mqtt://\"",
        "external = \"mqtt://ops:s3cret@b\"",
        "external = \"mqtt://b/path\"",
        "external = \"mqtt://b\"\npassword = \"x\"",
        "external = \"mqtt://ops@b\"\npassword = \"x\"",
        "external = \"mqtts://b\"\ncertificate_file = \"c\"",
        "external = \"mqtts://b\"\nkey_file = \"c\"",
        "external = \"mqtt://b\"\nca_file = \"c\"",
        "external = \"mqtt://b\"\nshare = \"a/b\"",
        "external = \"mqtt://b\"\nprotocol = \"3.1.1\"\nshare = \"a\"",
        "protocol = \"4\"\nclient_id = \"a b\"\nqos = 2\nrate_max = -1",
    ]
    .map(|text| rejection(&format!("[broker]\n{text}\n")));
    insta::assert_snapshot!(rejections.join("\n"));
}

#[test]
fn bridges_are_checked_whole() {
    let url = "[bridge.b]\nurl = \"mqtt://b\"\n";
    let topic = |bridge: &str, filter: &str, direction: &str| {
        format!("[bridge.{bridge}.topic.t]\nfilter = \"{filter}\"\ndirection = \"{direction}\"\n")
    };
    let good = format!("{url}{}", topic("b", "a/#", "both"));
    let rejections = [
        "[bridge.b]\npassword = \"x\"\n".to_owned(),
        format!("{url}[bridge.b.topic.t]\nqos = 2\ndirection = \"up\"\n"),
        format!("{url}{}local_prefix = \"a/+\"\n", topic("b", "a#", "out")),
        format!("[broker]\nexternal = \"mqtt://x\"\n{good}"),
        format!("[mqtt]\nlisten = \"127.0.0.1:1883\"\n{}", good.replace("//b", "//localhost")),
        format!("{good}[bridge.c]\nurl = \"mqtt://b\"\n{}", topic("c", "a/+", "both")),
    ]
    .map(|text| rejection(&text));
    insta::assert_snapshot!(rejections.join("\n"));
    let apart = format!("{good}[bridge.c]\nurl = \"mqtt://b\"\n{}", topic("c", "b/+", "both"));
    assert_eq!(document::parse(&apart).unwrap().0.bridges.len(), 2);
}

#[test]
fn an_external_broker_closes_the_embedded_one_unless_it_is_asked_for() {
    let open = |text: &str| document::parse(text).unwrap().0.mqtt.is_open;
    assert!(open("") && open("[broker]\nqos = 0"));
    let external = "[broker]\nexternal = \"mqtt://o%40x@[::1]\"\n";
    assert!(!open(external));
    assert!(open(&format!("{external}[mqtt]\nlisten = \"127.0.0.1:1884\"")));
    let url = document::parse(external).unwrap().0.broker.external.unwrap();
    assert_eq!((url.shown().as_str(), url.user.as_deref()), ("mqtt://[::1]:1883", Some("o@x")));
}

#[test]
fn all_syntax_errors_are_reported() {
    insta::assert_snapshot!(rejection("[mqtt\nlisten = \n[http]\nlisten = \"x\nlisten = 5 5\n"));
    insta::assert_snapshot!(rejection("[mqtt]\n[mqtt]\n"));
}

#[test]
fn a_file_that_is_not_there_is_an_error_only_when_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("tidegate.toml");
    assert!(matches!(load(Some(&missing)), Err(LoadError::Read { .. })));
    assert!(matches!(load(Some(folder.path())), Err(LoadError::Read { .. })));

    std::fs::write(&missing, b"data_dir = \"\xff\"").unwrap();
    assert!(matches!(load(Some(&missing)), Err(LoadError::NotText { offset: 12, .. })));
    std::fs::write(&missing, vec![b'#'; crate::limits::CONFIG_FILE_BYTES_MAX + 1]).unwrap();
    assert!(matches!(load(Some(&missing)), Err(LoadError::TooLarge { .. })));
    std::fs::write(&missing, "data_dir = \"elsewhere\"").unwrap();
    assert_eq!(load(Some(&missing)).unwrap().0.data_dir, PathBuf::from("elsewhere"));
    std::fs::write(&missing, "data_dir = 5").unwrap();
    let Err(LoadError::Rejected(rejected)) = load(Some(&missing)) else { panic!("accepted") };
    assert_eq!(rejected.diagnostics.len(), 1);
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(document::parse(&deep).is_err());
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    assert!(document::parse(&dotted).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z_.=\"0-9 \n'{}#é,-]{0,200}") {
        if let Err(diagnostics) = document::parse(&text) {
            for diagnostic in &diagnostics {
                assert!(text.get(diagnostic.labels[0].span.clone()).is_some());
            }
        }
        assert_eq!(mask::mask_secrets(&text).len(), text.len());
    }
}
