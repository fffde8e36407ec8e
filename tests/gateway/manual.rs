//! The examples of the manual, as they stand: those of `docs/language.md` are rules that load and plans that
//! `explain` draws; the consoles of other pages are played ([`play`]).

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use tidegate::diagnostic::Severity;
use tidegate::rule::set::Targets;
use tidegate::rule_files;
use tidegate::rule_files::Inputs;

use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;

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

/// Plays a console in a site's folder: each command prints what stands below it. `tidegate run &` starts the site's
/// gateway, which is answered; the clients behind it find its ports in place of those of the manual, 1883 and
/// that of the `listener` (its name, and the port that the manual gives it).
#[track_caller]
pub(crate) fn play(site: &Site, block: &str, listener: Option<(&str, &str)>) -> Option<Gateway> {
    const RUN: &str = "$ tidegate run &\n";
    let Some((before, behind)) = block.split_once(RUN) else {
        type_in(site, block, "");
        return None;
    };
    type_in(site, before, "");
    let gateway = site.start();
    // What it prints is its `ready:` line, with its own ports.
    let behind = behind.find("$ ").and_then(|at| behind.get(at..)).unwrap_or_default();
    let behind = match listener {
        None => behind.to_owned(),
        Some((name, port)) => behind.replace(port, &gateway.port_of(name).to_string()),
    };
    let clients = ["mosquitto_pub", "mosquitto_sub"].map(|client| {
        format!("{client}() {{ command {client} -p {} \"$@\"; }}\n", gateway.mqtt.port())
    });
    type_in(site, &behind, &clients.concat());
    Some(gateway)
}

/// Types the commands of a console into one shell, and compares what each prints.
#[track_caller]
fn type_in(site: &Site, block: &str, functions: &str) {
    const NEXT: &str = "-- next --";
    let mut commands: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, String::new())),
            (None, Some((_, printed))) => *printed += &format!("{line}\n"),
            (None, None) => panic!("{line:?} is printed by no command"),
        }
    }
    let tidegate = env!("CARGO_BIN_EXE_tidegate");
    let python = python("").get_program().to_string_lossy().into_owned();
    let mut script =
        format!("tidegate() {{ {tidegate} \"$@\"; }}\npython3() {{ {python} \"$@\"; }}\n");
    script += functions;
    for (command, _) in &commands {
        script += &format!("echo '{NEXT}'\n{command}\n");
    }
    let shell = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(site.path(""))
        .stdin(Stdio::null())
        .output();
    let said = String::from_utf8(shell.expect("sh runs").stdout).expect("UTF-8");
    let answers: Vec<&str> = said.split(&format!("{NEXT}\n")).skip(1).collect();
    assert_eq!(answers.len(), commands.len(), "{said}");
    for ((command, printed), answer) in commands.iter().zip(answers) {
        assert_eq!(answer, printed, "{command}");
    }
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
