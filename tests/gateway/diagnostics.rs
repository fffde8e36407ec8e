//! Broken rule files and the reports they give. Each code has a case and a paragraph.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate::config::Config;
use tidegate::diagnostic::RULE_CODES;
use tidegate::diagnostic::render;
use tidegate::diagnostic::render::Color;
use tidegate::engine::FaultCode;
use tidegate::rule::set::Targets;
use tidegate::rule_files;
use tidegate::rule_files::Inputs;
use tidegate::rule_files::Loaded;

fn targets() -> Targets {
    Targets {
        hooks: ["pager".to_owned()].into(),
        secrets: ["db".to_owned()].into(),
        shadows: "shadows".to_owned(),
        streams: ["alerts".to_owned()].into(),
        default_shards: 2,
        default_retention: Duration::from_secs(24 * 3600),
        default_buffer_bytes: 5 * 1024 * 1024,
        default_buffer_interval: Duration::from_secs(60),
        ..Targets::default()
    }
}

fn report(file: &Path) -> String {
    let (paths, mut inputs) = ([file.to_owned()], Inputs::default());
    let sources = rule_files::read(&paths, &mut inputs);
    let mut loaded = rule_files::check(sources, &paths, &targets(), inputs);
    let folder = file.parent().expect("a case is in a folder");
    for source in &mut loaded.sources {
        source.path = source.path.strip_prefix(folder).expect("a file of the case").to_owned();
    }
    drawn(&loaded).replace(&format!("{}/", folder.display()), "")
}

fn drawn(loaded: &Loaded) -> String {
    let findings: Vec<_> = loaded.findings().collect();
    render::report(&findings, loaded.sources.len(), Color::Off)
}

#[test]
fn broken_rule_files_are_reported_as_before() {
    insta::glob!("..", "diagnostics/*.{rule,json,yaml}", |file| insta::assert_snapshot!(report(
        file
    )));
}

#[test]
fn every_code_has_a_paragraph_and_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_to_string(folder.join("docs/diagnostics.md")).unwrap();
    let cases = fs::read_dir(folder.join("tests/diagnostics")).unwrap();
    let reports: String = cases
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rule" || e == "json" || e == "yaml"))
        .map(|path| report(&path))
        .collect();
    for code in RULE_CODES {
        let code = code.0;
        assert!(manual.contains(&format!("\n## {code}: ")), "docs/diagnostics.md lacks {code}");
        assert!(reports.contains(&format!("[{code}]")), "tests/diagnostics lacks {code}");
    }
    let documented = manual.lines().filter(|line| line.starts_with("## R")).count();
    assert_eq!(documented, RULE_CODES.len(), "docs/diagnostics.md has a code that is never given");
}

#[test]
fn every_fault_is_in_the_manual_and_no_other() {
    let manual = crate::manual::page("docs/diagnostics.md");
    let (_, faults) = manual.split_once("\n## Faults\n").expect("a section");
    let rows = faults.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let told: Vec<&str> = rows.flat_map(|(names, _)| names.split(", ")).collect();
    let told: Vec<&str> = told.into_iter().map(|name| name.trim_matches('`')).collect();
    for code in FaultCode::ALL {
        let times = told.iter().filter(|name| **name == code.as_str()).count();
        assert_eq!(times, 1, "{}", code.as_str());
    }
    assert_eq!(
        told.len(),
        FaultCode::ALL.len(),
        "docs/diagnostics.md has a fault that there is not"
    );
}

#[test]
fn the_samples_are_clean_without_a_configuration() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let loaded = rule_files::load(&[folder], &Config::default());
    assert!(loaded.checked.rules.len() >= 5);
    let report = drawn(&loaded);
    assert!(!report.contains("error") && !report.contains("warning"), "{report}");
}
