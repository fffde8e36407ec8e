//! `tidegate test`: the project's own scenarios, and what the command says of others.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

const RULE: &str =
    "CREATE RULE hot AS SELECT t FROM 'm/+' WHEN t > 30 FOR 1 MINUTE DO STREAM a KEY 'k';\n";

fn test(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("test")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    }
    folder
}

#[test]
fn every_case_and_sample_of_the_project_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = test(&["tests/cases", "rules"], root);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
    assert!(told.ends_with("without\n") || told.ends_with("0 failed\n"), "{told}");
}

/// Groups of corner cases of conditions over time.
const GROUPS: u32 = 30;

#[test]
fn every_corner_case_of_conditions_over_time_has_its_scenario_or_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("tests/cases/README.md")).expect("the table");
    let code = ["src", "tests/gateway"].map(|folder| sources(&root.join(folder))).concat();
    let hold = root.join("tests/cases/hold");
    let mut points = table.lines().filter_map(|line| {
        let (point, row) = line.strip_prefix("| ")?.split_once(" | ")?;
        let group: u32 = point.trim_end_matches(|c: char| c.is_ascii_lowercase()).parse().ok()?;
        let shown_by = row.rsplit_once(" | ")?.1.trim_end_matches(" |");
        point.ends_with(|c: char| c.is_ascii_lowercase()).then_some((group, point, shown_by))
    });
    let mut groups = std::collections::BTreeSet::new();
    for (group, point, shown_by) in points.by_ref() {
        groups.insert(group);
        for by in shown_by.split(", `") {
            let (name, title) = by.trim_start_matches('`').split_once('`').expect("a name");
            let is_shown = match title.strip_prefix(": ") {
                Some(title) => fs::read_to_string(hold.join(name))
                    .is_ok_and(|file| file.contains(&format!("\n-- == {title}"))),
                None => hold.join(name).exists() || code.contains(&format!("fn {name}(")),
            };
            assert!(is_shown, "point {point}: there is no {name}{title}");
        }
    }
    assert_eq!(groups, (1..=GROUPS).collect());
    let names = fs::read_dir(&hold)
        .expect("the cases")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let missing: Vec<String> = names
        .filter(|name| name.ends_with(".rule") && !table.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// All Rust code below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("readable"));
        }
    }
    text
}

#[test]
fn a_scenario_in_the_leading_comment_or_beside_the_file_is_played() {
    let good = format!(
        "-- It fires.\n-- 0s publish m/1 {{\"t\":31}}\n-- 1m tick\n-- 1m firing hot [\"m/1\"] {{\"t\": 31}}\n{RULE}"
    );
    let beside = "== nothing\n0s publish m/1 {\"t\":3}\n1h tick\n== an action\n\
                  0s publish m/1 client=c {\"t\":31}\n1m tick\n\
                  1m firing hot [\"m/1\"] {\"t\":31}\n1m stream a key=k <any>\n";
    let files = [("a.rule", good.as_str()), ("b.rule", RULE), ("b.more.scenario", beside)];
    let folder = folder(&files);
    let output = test(&["."], folder.path());
    assert_eq!(
        text(&output.stdout),
        "ok    ./a.rule: It fires\nok    ./b.more.scenario: nothing\n\
         ok    ./b.more.scenario: an action\n3 scenarios: 3 passed, 0 failed\n"
    );
    assert_eq!(output.status.code(), Some(0));
    let only = test(&[".", "--only", "action"], folder.path());
    assert!(text(&only.stdout).ends_with("1 scenario: 1 passed, 0 failed\n"));
}

#[test]
fn a_difference_is_shown_line_by_line_and_blessing_writes_what_happened() {
    let wrong = format!(
        "-- It fires twice.\n-- 0s publish m/1 {{\"t\":31}}\n-- 30s firing hot [\"m/1\"] {{\"t\":31}}\n\
         -- and stays so\n-- 2m publish m/1 {{\"t\":29}}\n\n{RULE}"
    );
    let folder = folder(&[("a.rule", &wrong)]);
    let output = test(&["a.rule", "--junit", "out.xml"], folder.path());
    assert_eq!(
        text(&output.stdout),
        "FAIL  a.rule: It fires twice\n        - 30s firing hot [\"m/1\"] {\"t\":31}\n        \
         + 1m firing hot [\"m/1\"] {\"t\":31}\n        \
         + 2m cleared hot [\"m/1\"] false {\"t\":31}\n1 scenario: 0 passed, 1 failed\n"
    );
    assert_eq!(output.status.code(), Some(1));
    let junit = fs::read_to_string(folder.path().join("out.xml")).expect("readable");
    assert!(junit.contains("failures=\"1\"") && junit.contains("+ 1m firing hot"), "{junit}");

    let blessed = test(&["a.rule", "--bless"], folder.path());
    assert_eq!(blessed.status.code(), Some(0), "{}", text(&blessed.stdout));
    assert_eq!(
        fs::read_to_string(folder.path().join("a.rule")).expect("readable"),
        format!(
            "-- It fires twice.\n-- 0s publish m/1 {{\"t\":31}}\n-- and stays so\n\
             -- 1m firing hot [\"m/1\"] {{\"t\":31}}\n-- 2m publish m/1 {{\"t\":29}}\n\
             -- 2m cleared hot [\"m/1\"] false {{\"t\":31}}\n\n{RULE}"
        )
    );
    assert_eq!(test(&["a.rule"], folder.path()).status.code(), Some(0));
}

/// A rule that needs the table and the stream of another file.
const NAMED: &str = "CREATE RULE named AS SELECT id, motes.room AS room FROM STREAM hot
  JOIN motes ON motes.id = id DO LOG;\n";

fn lab() -> TempDir {
    let tables = "CREATE TABLE motes FROM 'motes.csv' KEY id;
        CREATE RULE hot AS SELECT id FROM 'm/+' WHERE t > 30 DO STREAM hot KEY id;";
    folder(&[("tables.rule", tables), ("motes.csv", "id,room\na,kitchen\n"), ("named.rule", NAMED)])
}

#[test]
fn a_scenario_over_the_rules_of_several_files_says_with() {
    let folder = lab();
    let alone = test(&["."], folder.path());
    assert_eq!(text(&alone.stdout), "0 scenarios: 0 passed, 0 failed; 2 rule files without\n");
    let broken = test(&["named.rule"], folder.path());
    assert!(text(&broken.stdout).starts_with("FAIL  named.rule: the rules can be loaded\n"));

    let steps = "0s publish m/1 {\"id\":\"a\",\"t\":31}\n0s match hot {\"id\":\"a\"}\n\
         0s match named {\"id\":\"a\",\"room\":\"kitchen\"}\n\
         1s reload CREATE RULE named AS SELECT motes.room AS room FROM STREAM hot JOIN motes ON motes.id = id DO LOG;\n\
         2s publish m/1 {\"id\":\"a\",\"t\":31}\n2s match hot {\"id\":\"a\"}\n\
         2s match named {\"room\":\"kitchen\"}\n";
    for with in ["with tables.rule", "with ./"] {
        let scenario = format!("== with the other file\n{with}\n{steps}");
        fs::write(folder.path().join("named.scenario"), scenario).expect("written");
        let output = test(&["named.rule"], folder.path());
        let expected =
            "ok    ./named.scenario: with the other file\n1 scenario: 1 passed, 0 failed\n";
        assert_eq!(text(&output.stdout), expected, "{with}: {}", text(&output.stderr));
    }
}

#[test]
fn every_bad_line_is_told_of_and_the_other_files_are_played() {
    let wrong = "== one\n0s publsh m/1 {}\n1s tick\n0s tick\n5 tick\n";
    let folder = folder(&[
        ("a.rule", RULE),
        ("a.scenario", wrong),
        ("a.more.scenario", "== two\n0s tick\n"),
    ]);
    let output = test(&["a.rule"], folder.path());
    assert_eq!(
        text(&output.stdout),
        "ok    ./a.more.scenario: two\nFAIL  ./a.scenario: the scenarios can be read\n        \
         line 2: 'publsh' is neither a step nor an expectation; did you mean 'publish'?\n        \
         line 4: 0s is before 1s, the step above it\n        \
         line 5: '5' is no time; write it as 0s, 90s, 1h30m, 2d or 500ms\n\
         2 scenarios: 1 passed, 1 failed\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_cannot_be_tested_fails() {
    for (files, code, expected) in [
        (&[("a.rule", RULE)][..], 1, "0 scenarios: 0 passed, 0 failed; 1 rule file without"),
        (&[("a.rule", "-- 0s tick\nCREATE RULE")], 1, "FAIL  ./a.rule: the rules can be loaded"),
        (
            &[("a.rule", "-- 0s jump\n"), ("b.rule", RULE)],
            1,
            "FAIL  ./a.rule: the scenarios can be read\n        line 1: 'jump' is neither a step",
        ),
        (
            &[(
                "a.rule",
                "-- 0s publish m/1 {\"t\":31}\n-- 366d tick\n-- 366d tick\n\
               CREATE RULE r AS SELECT 1 AS x FROM 'm/+' WHEN t > 1 FOR 1 SECOND REPEAT EVERY 1 SECOND DO LOG;",
            )],
            1,
            "ended after 100000 events",
        ),
    ] {
        let folder = folder(files);
        let output = test(&["."], folder.path());
        let told = text(&output.stdout);
        assert!(told.contains(expected), "{told}{}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(code));
    }
}

#[test]
fn the_file_of_a_table_among_the_rules_is_no_rule_file() {
    let rules = "-- It joins.\n-- 0s publish m/1 {\"m\":1}\n-- 0s match r {\"room\":\"x\"}\n\
                 -- 0s upsert seen key=m/1 <any>\n\
                 CREATE TABLE motes FROM 'tables/motes.json' KEY m;\n\
                 CREATE TABLE more FROM 'tables/more.json' KEY m;\n\
                 CREATE RULE r AS SELECT motes.room FROM 'm/+' JOIN motes ON motes.m = m DO UPSERT seen;";
    // One of them is larger than a rule file may be.
    let more: Vec<String> = (0..60_000).map(|n| format!("{{\"m\":{n},\"room\":1}}")).collect();
    let more = format!("[{}]", more.join(","));
    assert!(more.len() > tidegate::limits::RULE_FILE_BYTES_MAX);
    let files = [
        ("a.rule", rules),
        ("tables/motes.json", "[{\"m\":1,\"room\":\"x\"}]"),
        ("tables/more.json", &more),
        ("settings.json", "{\"colour\":\"red\"}"),
    ];
    let folder = folder(&files);
    let output = test(&["."], folder.path());
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), "ok    ./a.rule: It joins\n1 scenario: 1 passed, 0 failed\n");
    let alone = test(&["settings.json"], folder.path());
    assert!(text(&alone.stderr).contains("there are no rules"));
    assert_eq!(text(&alone.stdout), "0 scenarios: 0 passed, 0 failed\n");
    assert_eq!(alone.status.code(), Some(1));
}
