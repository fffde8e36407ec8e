//! `docs/conformance.md` against the tests: every normative statement of both specifications is in its
//! table, with the tests that name it, or with the reason why no server can be tested on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The sections of MQTT 5's appendix B, with the number of each one's first and last statement.
const SECTIONS_5: &[(&str, u32, u32)] = &[
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6),
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2.0", 1, 1),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];

/// Those of MQTT 3.1.1's.
const SECTIONS_4: &[(&str, u32, u32)] = &[
    ("1.5.3", 1, 3),
    ("2.2.2", 1, 2),
    ("2.3.1", 1, 7),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 24),
    ("3.1.3", 1, 11),
    ("3.1.4", 1, 5),
    ("3.2.0", 1, 1),
    ("3.2.2", 1, 6),
    ("3.3.1", 1, 12),
    ("3.3.2", 1, 3),
    ("3.3.4", 1, 1),
    ("3.3.5", 1, 2),
    ("3.6.1", 1, 1),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 4),
    ("3.8.4", 1, 6),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.12.4", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.4", 1, 3),
    ("4.1.0", 1, 2),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 2),
    ("4.3.3", 1, 2),
    ("4.4.0", 1, 1),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.1", 1, 3),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.0", 1, 2),
    ("6.0.0", 1, 4),
    ("7.0.0", 1, 2),
    ("7.1.1", 1, 1),
    ("7.1.2", 1, 1),
];

const NOT_TESTABLE: &str = "not testable on a server: ";

/// The tests of each statement, as a module and a function.
type Tests = BTreeMap<String, Vec<String>>;

/// What the sources of this suite name, for one version.
fn named(version: &str) -> Tests {
    let mut found = Tests::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mqtt");
    for entry in fs::read_dir(folder).expect("the suite's folder").flatten() {
        let text = fs::read_to_string(entry.path()).expect("a source file");
        let module = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        let mut pending: Vec<String> = Vec::new();
        let mut is_test = false;
        for line in text.lines() {
            if let Some((of, rest)) =
                line.strip_prefix("/// MQTT ").and_then(|l| l.split_once(": "))
            {
                let statements = rest.split('[').filter_map(|part| part.split_once(']'));
                let statements = statements.map(|(statement, _)| statement.to_owned());
                pending.extend(statements.filter(|_| of == version));
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(name) = line.strip_prefix("fn ").and_then(|l| l.split_once('(')) {
                assert!(is_test || pending.is_empty(), "{module}::{} is no test", name.0);
                for statement in pending.drain(..) {
                    found.entry(statement).or_default().push(format!("{module}::{}", name.0));
                }
                is_test = false;
            }
        }
    }
    found
}

/// A table of the document: each statement with its tests; none, with the reason.
fn listed(document: &str, heading: &str) -> BTreeMap<String, Result<Vec<String>, String>> {
    let (_, section) = document.split_once(heading).unwrap_or_else(|| panic!("{heading:?}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| MQTT-"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [statement, _, shown] = cells[..] else { panic!("three cells: {row}") };
        let shown = match shown.strip_prefix(NOT_TESTABLE) {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(shown.split(", ").map(|test| test.trim_matches('`').to_owned()).collect()),
        };
        (statement.to_owned(), shown)
    })
    .collect()
}

/// `count`: how many statements the specification has.
fn check(version: &str, sections: &[(&str, u32, u32)], count: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let document = fs::read_to_string(path).expect("docs/conformance.md");
    let listed = listed(&document, &format!("\n## MQTT {version}\n"));
    let named = named(version);
    let numbers = |(section, first, last): &(&str, u32, u32)| {
        let section = (*section).to_owned();
        (*first..=*last).map(move |number| format!("MQTT-{section}-{number}"))
    };
    let all: Vec<String> = sections.iter().flat_map(numbers).collect();
    assert_eq!(all.len(), count, "MQTT {version}");
    let mut wrong = Vec::new();
    for statement in &all {
        let mut tests = named.get(statement).cloned().unwrap_or_default();
        tests.sort();
        match listed.get(statement) {
            None => wrong.push(format!("{statement} is not in the table")),
            Some(Err(reason)) if tests.is_empty() && !reason.is_empty() => {}
            Some(Err(_)) => wrong.push(format!("{statement} is tested, or has no reason")),
            Some(Ok(shown)) => {
                let mut shown = shown.clone();
                shown.sort();
                if shown != tests || tests.is_empty() {
                    wrong
                        .push(format!("{statement}: the table has {shown:?}, the tests {tests:?}"));
                }
            }
        }
    }
    let unknown = |statement: &&String| !all.contains(statement);
    wrong
        .extend(listed.keys().filter(unknown).map(|s| format!("{s} of the table is no statement")));
    wrong.extend(named.keys().filter(unknown).map(|s| format!("{s} of a test is no statement")));
    assert!(wrong.is_empty(), "MQTT {version}:\n{}", wrong.join("\n"));
}

#[test]
fn every_statement_has_its_test_or_a_reason() {
    check("5", SECTIONS_5, 251);
    check("3.1.1", SECTIONS_4, 141);
}
