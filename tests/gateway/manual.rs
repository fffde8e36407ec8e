//! The examples of `docs/language.md` are rules that load and plans that `explain` draws.

use std::path::Path;
use std::process::Command;

use tidegate::diagnostic::Severity;
use tidegate::rule::set::Targets;
use tidegate::rule_files;
use tidegate::rule_files::Inputs;

fn manual() -> String {
    page("docs/language.md")
}

/// A page of the manual.
pub(crate) fn page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(page).expect("a page")
}

/// The blocks of this kind.
pub(crate) fn blocks<'m>(manual: &'m str, kind: &str) -> impl Iterator<Item = &'m str> {
    let fence = format!("\n```{kind}\n");
    let blocks: Vec<&str> = manual.split(fence.as_str()).skip(1).collect();
    blocks.into_iter().map(|rest| rest.split("```").next().unwrap_or_default())
}

#[test]
fn every_command_of_the_language_answers_as_it_is_printed() {
    let manual = manual();
    let mut commands = 0;
    for block in blocks(&manual, "console") {
        let (line, expected) = block.split_once('\n').expect("a command and its answer");
        let words = line.strip_prefix("$ tidegate ").expect("a command of ours").split(' ');
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(words)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("it starts");
        let answer = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(answer, expected, "{line}: {}", String::from_utf8_lossy(&output.stderr));
        commands += 1;
    }
    assert!(commands > 0);
}

#[test]
fn every_example_of_the_language_loads_without_a_warning() {
    let manual = manual();
    let examples: Vec<&str> = blocks(&manual, "sql").collect();
    assert!(examples.len() >= 5, "{} examples", examples.len());
    // What the examples take as declared, and the table they join.
    let targets = Targets {
        hooks: ["pager".to_owned()].into(),
        streams: ["room-kitchen".to_owned()].into(),
        shadows: "shadows".to_owned(),
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
