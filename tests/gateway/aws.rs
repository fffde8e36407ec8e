//! AWS IoT rule documents against the built binary, and against Amazon's own model of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use tidegate::rule::aws_document::mapping::HEADERS;
use tidegate::rule::aws_document::mapping::MAPPINGS;

use crate::clients::python;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws")
}

fn tidegate(arguments: &[&str], stdin: &str, folder: &Path) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .env_remove("TIDEGATE_LOG")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(stdin.as_bytes()).expect("it reads");
    drop(input);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn documents_become_rule_files_that_pass_the_check() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().to_str().expect("UTF-8");
    let (code, stdout, stderr) = tidegate(&["import", ".", "--out", folder], "", &samples());
    assert_eq!((code, stdout.as_str()), (Some(4), ""), "{stderr}");
    assert!(stderr.contains("sns is not carried over") && stderr.ends_with("6 files written\n"));
    let names =
        fs::read_dir(out.path()).expect("a folder").map(|file| file.expect("a file").path());
    let mut names: Vec<PathBuf> = names.collect();
    names.sort();
    let mut texts = String::new();
    for name in &names {
        let text = fs::read_to_string(name).expect("a text");
        texts += &format!("==> {}\n{text}", name.file_name().unwrap_or_default().display());
    }
    insta::assert_snapshot!("imported", texts);

    let config = "[hook.pager]\nurl = \"http://localhost/\"\n[hook.Pager]\nurl = \"http://localhost/\"\n\
                  [hook.Archive]\nurl = \"http://localhost/\"\n\
                  [hook.hooks-example-com-v1-vibration]\nurl = \"http://localhost/\"\n";
    fs::write(out.path().join("site.toml"), config).expect("a file");
    let check = ["check", ".", "--config", "site.toml"];
    let (code, _, stderr) = tidegate(&check, "", out.path());
    assert_eq!(code, Some(0), "{stderr}");

    let (code, _, stderr) = tidegate(&["import", ".", "--out", folder], "", &samples());
    assert_eq!(code, Some(3), "nothing is written over: {stderr}");
    let again = ["import", ".", "--force", "--out", folder];
    assert_eq!(tidegate(&again, "", &samples()).0, Some(4));
}

#[test]
fn standard_input_is_a_document_and_a_wrong_one_gives_nothing() {
    let document = fs::read_to_string(samples().join("create_topic_rule.json")).expect("a sample");
    let (code, stdout, stderr) = tidegate(&["import", "-"], &document, &samples());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.starts_with("-- From stdin.template, by `tidegate import`.\n"), "{stdout}");
    let template = fs::read_to_string(samples().join("motes.yaml")).expect("a sample");
    let (code, stdout, _) = tidegate(&["import", "-"], &template, &samples());
    assert_eq!(code, Some(4), "something is taken from a default");
    assert!(stdout.contains("CREATE RULE hot_motes AWS '2016-03-23'"), "{stdout}");
    let wrong = document.replace("SELECT", "SELCT");
    let (code, stdout, stderr) = tidegate(&["import", "-"], &wrong, &samples());
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains(" --> stdin.template:4:"), "{stderr}");
    assert_eq!(tidegate(&["import", "-"], "{}", &samples()).0, Some(1));
    assert_eq!(tidegate(&["import", "x.rule"], "", &samples()).0, Some(2));
}

/// The rule of a document, over a message that its SQL matches.
#[test]
fn a_document_is_simulated_like_a_rule_file() {
    let line = r#"{"t":1700000000000,"topic":"lab/7/telemetry","payload":{"temperature":31.0}}"#;
    let arguments = ["simulate", "--rules", "create_topic_rule.json", "--input", "-"];
    let (code, stdout, stderr) = tidegate(&arguments, &format!("{line}\n"), &samples());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(r#""rule":"overheat""#), "{stdout}");
    assert!(stdout.contains(r#""output":{"mote":"7","temperature":31}"#), "{stdout}");
}

#[test]
fn actions_and_members_are_those_of_amazons_own_model() {
    let Output { status, stdout, stderr } =
        python("aws_shapes.py").arg(samples()).output().expect("python runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let shapes: BTreeMap<String, BTreeMap<String, bool>> =
        serde_json::from_slice(&stdout).expect("an object of objects");
    let names: Vec<&str> = MAPPINGS.iter().map(|mapping| mapping.action).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    let mut actions: Vec<&str> = shapes.keys().map(String::as_str).collect();
    actions.retain(|name| *name != "headers");
    assert_eq!(sorted, actions);
    for mapping in MAPPINGS.iter().filter(|mapping| mapping.becomes.is_some()) {
        let mut ours: Vec<&str> = mapping.members.iter().map(|(name, _)| *name).collect();
        ours.sort_unstable();
        let theirs: Vec<&str> = shapes[mapping.action].keys().map(String::as_str).collect();
        assert_eq!(ours, theirs, "{}", mapping.action);
    }
    let mut ours: Vec<&str> = HEADERS.iter().map(|(name, _)| *name).collect();
    ours.sort_unstable();
    assert_eq!(ours, shapes["headers"].keys().map(String::as_str).collect::<Vec<_>>());
}
