//! The examples of `docs/language.md` are rules that load.

use std::path::Path;

use tidegate::diagnostic::Severity;
use tidegate::rule::set::Targets;
use tidegate::rule_files;
use tidegate::rule_files::Inputs;

#[test]
fn every_example_of_the_language_loads_without_a_warning() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/language.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    let examples: Vec<&str> = manual
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(examples.len() >= 5, "{} examples", examples.len());
    // What the examples take as declared, and the table they join.
    let targets = Targets {
        hooks: ["pager".to_owned()].into(),
        streams: ["room-kitchen".to_owned()].into(),
        ..Targets::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("tables")).expect("made");
    let motes = "moteid,room,limit\n1,kitchen,30\n";
    std::fs::write(folder.path().join("tables/motes.csv"), motes).expect("written");
    for example in examples {
        // Some show a clause alone.
        let example = match example.strip_prefix("FROM ") {
            Some(rest) => format!("CREATE RULE r AS SELECT a FROM {rest} WHEN a > 1 DO LOG;"),
            None => example.to_owned(),
        };
        let file = folder.path().join("example.rule");
        std::fs::write(&file, &example).expect("written");
        let (paths, mut inputs) = ([file], Inputs::default());
        let sources = rule_files::read(&paths, &mut inputs);
        let checked = rule_files::check(sources, &paths, &targets, inputs).checked;
        let wrong: Vec<_> =
            checked.diagnostics.iter().filter(|(_, d)| d.severity != Severity::Note).collect();
        assert!(wrong.is_empty(), "{example}\n{wrong:?}");
        assert!(!checked.rules.is_empty(), "{example}");
    }
}
