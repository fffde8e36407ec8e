use std::collections::BTreeMap;
use std::fmt::Write;

use toml::de::DeTable;
use toml::de::DeValue;

use super::*;
use crate::diagnostic::Diagnostic;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tidegate.example.toml"));
const MANUAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"));

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
    assert_eq!(findings.absent, ["delivery.archive.directory"], "its default depends on data_dir");
    let alerts = config.streams.remove("alerts");
    assert_eq!(alerts, Some(StreamConfig::default()));
    assert_eq!(config.deliveries.remove("archive"), Some(DeliveryConfig::default()));
    let page = HookConfig::with_url("http://127.0.0.1:9000/page");
    assert_eq!(config.hooks.remove("page"), Some(page));
    assert_eq!(config, Config::default());
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
    // Those that have no default to put into the example.
    listed.insert("delivery.NAME.directory".to_owned(), "data_dir`/delivery/NAME".to_owned());
    listed.insert("hook.NAME.url".to_owned(), "required".to_owned());
    for place in ["value", "file", "env"] {
        listed.insert(format!("secret.NAME.{place}"), "one of these".to_owned());
    }
    assert_eq!(documented, listed);
}

fn collect(table: &DeTable<'_>, path: &str, listed: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name =
            if ["stream", "delivery", "hook"].contains(&path) { "NAME" } else { key.get_ref() };
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
    assert_eq!(document::parse("").unwrap(), Config::default());
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
compression = "zip"
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
    let config = document::parse(good).unwrap();
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
    let config = document::parse(good).unwrap();
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
    assert_eq!(load(Some(&missing)).unwrap().data_dir, PathBuf::from("elsewhere"));
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
