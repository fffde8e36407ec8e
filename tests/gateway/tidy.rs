//! The rules of the house that a compiler inside one crate cannot keep: which module may import
//! which, where each foreign crate lives, how long a file may be, that every module says what it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Longest file, lines, tests not counted.
const FILE_LINES_MAX: usize = 800;

/// Modules from the top down. A module may import from its own row's right-hand list and from nothing
/// else in the crate.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("value", &["limits"]),
    ("clock", &[]),
    ("limits", &[]),
    ("json_line", &[]),
    ("retry", &["clock"]),
    ("accept", &["clock", "config", "limits", "tls"]),
    ("peer", &[]),
    ("tls", &["clock", "config", "limits", "peer"]),
    ("topic", &[]),
    ("publish", &["topic", "clock"]),
    ("diagnostic", &["limits"]),
    ("rule", &["clock", "diagnostic", "limits", "publish", "topic", "value"]),
    ("engine", &["rule", "clock", "limits", "publish", "topic", "value"]),
    ("storage", &["clock", "limits", "publish", "topic", "STORED"]),
    ("stream", &["storage", "config", "clock", "limits", "diagnostic"]),
    ("delivery", &["storage", "config", "clock", "limits", "journal", "retry", "json_line"]),
    ("lambda", &["storage", "config", "clock", "limits", "journal", "retry"]),
    ("hit_log", &["storage", "config", "clock", "limits", "journal"]),
    ("checkpoint", &["storage", "clock", "limits", "journal", "engine"]),
    ("latest", &["storage", "clock", "limits", "publish", "journal", "engine"]),
    ("retained", &["storage", "clock", "limits", "publish", "topic", "journal"]),
    ("session", &["storage", "clock", "limits", "publish", "topic"]),
    ("journal", &["storage", "config", "clock", "limits", "publish", "STORED", "engine", "retry"]),
    (
        "action",
        &[
            "journal", "latest", "stream", "engine", "rule", "clock", "limits", "publish", "topic",
            "value",
        ],
    ),
    ("access", &["config", "clock", "limits", "peer", "topic"]),
    ("lease", &["storage", "clock", "limits"]),
    (
        "kinesis",
        &["api", "config", "delivery", "lease", "stream", "storage", "clock", "limits", "retry"],
    ),
    (
        "upstream",
        &[
            "broker", "delivery", "journal", "storage", "config", "clock", "limits", "publish",
            "retry", "topic",
        ],
    ),
    (
        "broker",
        &[
            "accept", "access", "journal", "session", "storage", "config", "clock", "limits",
            "peer", "publish", "tls", "topic",
        ],
    ),
];

/// Stands for every noun that persists.
const STORED: &[&str] = &[
    "stream",
    "delivery",
    "lambda",
    "lease",
    "hit_log",
    "checkpoint",
    "retained",
    "latest",
    "session",
];

/// A foreign crate and the only places that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("rumqttd", &["src/broker/"]),
    ("pest", &["src/rule/parse"]),
    ("pest_derive", &["src/rule/parse"]),
    ("axum", &["src/api/", "src/dashboard/", "src/gateway/", "src/kinesis/"]),
    (
        "hyper",
        &["src/api/", "src/broker/upgrade.rs", "src/kinesis/wire.rs", "src/lambda/function/"],
    ),
    ("ciborium", &["src/kinesis/"]),
    ("hyper_util", &["src/api/", "src/broker/upgrade.rs", "src/lambda/function/"]),
    ("tokio_tungstenite", &["src/broker/websocket.rs"]),
    ("x509_parser", &["src/tls/"]),
    ("tokio_rustls", &["src/tls/", "src/accept/wire.rs"]),
    ("rustix", &["src/gateway/open_files.rs", "src/lambda/function/instance.rs"]),
    ("rumqttc", &["src/demo.rs", "src/cli/replay", "src/upstream/link/"]),
    (
        "reqwest",
        &[
            "src/lambda/",
            "src/cli/client.rs",
            "src/cli/delivery.rs",
            "src/cli/gateway_api.rs",
            "src/cli/kinesis_api.rs",
            "src/cli/reload.rs",
            "src/cli/rule.rs",
            "src/cli/stream/",
            "src/cli/table.rs",
            "src/config/hook.rs",
            "src/config/upstream.rs",
        ],
    ),
    ("parquet", &["src/delivery/columnar/"]),
    ("prost", &["src/engine/decode/"]),
    ("jsonwebtoken", &["src/access/jwt.rs"]),
    ("argon2", &["src/access/users.rs"]),
    ("prost_reflect", &["src/engine/decode/", "src/rule/schema.rs"]),
    ("minicbor", &["src/engine/decode/"]),
    ("jiter", &["src/engine/decode", "src/value/", "src/rule/table/"]),
];

const BANNED_NAMES: &[&str] = &[
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "base",
    "manager",
    "handler",
    "processor",
    "impl",
    "data",
    "info",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 40, "the sources are where this test looks for them");
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(root())
                .expect("below the root")
                .to_string_lossy()
                .replace('\\', "/");
            (name, fs::read_to_string(&path).expect("a source file"))
        })
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The text before the file's test module.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// The text without what stands between quotation marks.
fn without_strings(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, found) = rest.split_at(at);
        kept.push_str(before);
        let hashes = before.len() - before.trim_end_matches('#').len();
        let is_raw = before.trim_end_matches('#').ends_with('r');
        let length = if found.starts_with("//") {
            let line = found.find('\n').unwrap_or(found.len());
            kept.push_str(found.split_at(line).0);
            line
        } else if let Some(inside) = found.strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            match is_raw {
                true => inside.find(&end).map_or(found.len(), |at| 1 + at + end.len()),
                false => 1 + string_length(inside),
            }
        } else {
            // A quotation mark that is a character; a lifetime has no such.
            let character = ["'\"'", "'\\''", "'\\\\'"].iter().find(|c| found.starts_with(**c));
            character.map_or(1, |character| character.len())
        };
        rest = found.split_at(length).1;
    }
    kept + rest
}

/// To the end of the string that began before `inside`, its closing mark included.
fn string_length(inside: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'"' if !is_escaped => return at + 1,
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    inside.len()
}

#[test]
fn strings_are_told_from_the_text_around_them() {
    let text = r##"a("XXX \" XXX", r"XXX\", '"', r#"XXX"XXX"#); // "XXX"
'a b 'c' "" "d"##;
    assert_eq!(without_strings(text), "a(, r, , r#); // \"XXX\"\na b c  ");
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.ends_with("_tests.rs") || name.contains("/tests/")
}

fn noun_of(name: &str) -> &str {
    let inside = name.strip_prefix("src/").unwrap_or(name);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(noun, _)| *noun == noun_of(&name)) else {
            continue;
        };
        if is_test_file(&name) {
            continue;
        }
        for line in without_tests(&text).lines() {
            let code = line.split("//").next().unwrap_or_default();
            let mut rest = code;
            while let Some((_, after)) = rest.split_once("crate::") {
                let target: String =
                    after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let fine = target == noun_of(&name)
                    || allowed.contains(&target.as_str())
                    || (allowed.contains(&"STORED") && STORED.contains(&target.as_str()));
                if !fine {
                    wrong.push(format!("{name}: {}", line.trim()));
                }
                rest = after;
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the direction:\n{}", wrong.join("\n"));
}

#[test]
fn the_engine_and_the_rules_are_pure() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let is_pure = matches!(noun_of(&name), "engine" | "rule" | "value");
        if !is_pure || is_test_file(&name) {
            continue;
        }
        for banned in [
            "tokio",
            "rusqlite",
            "axum",
            "reqwest",
            "std::fs",
            "std::net::Tcp",
            "std::thread::spawn",
        ] {
            if without_tests(&text).contains(&format!("{banned}::")) {
                wrong.push(format!("{name} names {banned}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_foreign_crate_has_one_home() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        for (krate, homes) in HOMES {
            let named = without_tests(&text).lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains(&format!("{krate}::")) && !code.contains(&format!("_{krate}::"))
            });
            if named && !homes.iter().any(|home| name.starts_with(home)) && !is_test_file(&name) {
                wrong.push(format!("{name} names {krate}, whose home is {homes:?}"));
            }
        }
        let rusqlite = without_tests(&text).contains("rusqlite::");
        let at_home =
            name.starts_with("src/storage/") || name.ends_with("/table.rs") || is_test_file(&name);
        if rusqlite && !at_home {
            wrong.push(format!("{name} names rusqlite, whose home is storage and table.rs"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_are_and_are_not_too_long() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if !is_test_file(&name) && !text.starts_with("//!") {
            wrong.push(format!("{name} does not start with a //! line"));
        }
        let lines = without_tests(&text).lines().count();
        if lines > FILE_LINES_MAX && !is_test_file(&name) {
            wrong.push(format!("{name} has {lines} lines"));
        }
        let code = without_strings(&text);
        for word in ["FIXME", "todo!(", "unimplemented!("] {
            if code.contains(word) {
                wrong.push(format!("{name} has a leftover {word}"));
            }
        }
        // As a word of its own: time patterns in strings and placeholders have runs of X too.
        if code.split(|c: char| !c.is_alphanumeric()).any(|word| word == "XXX") {
            wrong.push(format!("{name} has a leftover XXX"));
        }
        let file = name.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if name.split('/').any(|part| BANNED_NAMES.contains(&part)) || BANNED_NAMES.contains(&file)
        {
            wrong.push(format!("{name} has a name that says nothing"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_fuzz_target_has_seeds_and_is_documented() {
    let fuzz = root().join("fuzz");
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
        let stem = |entry: fs::DirEntry| entry.path().file_stem().expect("a name").to_owned();
        let names = entries.map(|entry| stem(entry).into_string().expect("UTF-8"));
        names.collect::<BTreeSet<String>>()
    };
    let targets = names(&fuzz.join("fuzz_targets"));
    assert!(targets.len() > 8);
    let seeds = tempfile::tempdir().expect("a folder");
    let made = Command::new(fuzz.join("seeds")).arg(seeds.path()).status().expect("Python");
    assert!(made.success());
    assert_eq!(names(seeds.path()), targets, "fuzz/seeds");
    for target in &targets {
        assert!(names(&seeds.path().join(target)).len() > 1, "fuzz/seeds has too few for {target}");
    }
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    let testing = fs::read_to_string(root().join("docs/testing.md")).expect("a page");
    let column = |text: &str, start: &str| {
        let names =
            text.lines().filter_map(|line| line.strip_prefix(start)?.split(['"', '`']).next());
        names.map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let (_, table) = testing.split_once("## Fuzzing").expect("a section");
    let (table, _) = table.split_once("\n## ").expect("a section behind it");
    assert_eq!(column(table, "| `"), targets, "docs/testing.md");
    let mut binaries = column(&manifest, "name = \"");
    assert!(binaries.remove("tidegate-fuzz"), "the package itself");
    assert_eq!(binaries, targets, "fuzz/Cargo.toml");
}
