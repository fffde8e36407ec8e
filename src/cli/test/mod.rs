//! `tidegate test`: rule files against their scenarios, in virtual time.
//!
//! A scenario stands in a rule file's leading comment, or in `NAME.scenario` or `NAME.*.scenario`
//! beside `NAME.rule` ([`scenario`]). Its rules are those of that rule file, and of the files and folders that it
//! names with `with`. It is played over the gateway's own code ([`play`]), and the
//! answer is a line a scenario, with the difference where there is one. `--bless` writes what happened
//! into the files instead.

mod junit;
mod play;
mod scenario;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::Outcome;
use super::report;
use super::rule_set;
use crate::diagnostic::Severity;
use crate::diagnostic::render::Finding;
use crate::diagnostic::render::counted;
use crate::limits::FINDINGS_PER_FILE_MAX;
use crate::limits::RULE_FILE_BYTES_MAX;
use crate::rule::Rule;
use crate::rule::set::Source;
use crate::rule_files;
use crate::rule_files::Inputs;
use play::Played;
use scenario::Line;
use scenario::NewRules;
use scenario::Parsed;
use scenario::Scenario;

const EXTENSION: &str = "scenario";

const EXAMPLES: &str = "\
Examples:
  tidegate test rules/
  tidegate test rules/lab.rule --junit target/rules.xml
  tidegate test rules/ --bless && git diff

A scenario, in the first lines of the rule file or in NAME.scenario (without the dashes) beside it:

  -- A mote that stays hot fires after a minute.
  -- 0s publish lab/7/telemetry {\"moteid\":7,\"temperature\":31.5}
  -- 2m tick
  -- 1m firing overheat [7] {\"moteid\":7,\"temperature\":31.5}

Steps: TIME publish TOPIC [client=ID] [qos=N] PAYLOAD, TIME tick, TIME restart DURATION, TIME reload
FILE or TIME reload CREATE RULE …; a line 'with FILE' adds the rules of another file, 'with ./' those of the folder.
Expectations: TIME match RULE OUTPUT, firing RULE KEY OUTPUT, cleared RULE KEY REASON OUTPUT, window RULE KEY OUTPUT, fault
RULE CODE; where there is one of them also unknown RULE, and the actions stream, deliver, invoke,
republish, upsert. <any> stands for any text. A line without a time is prose; == TITLE begins a scenario.

Exit code 0: every scenario passed. 1: some did not, or there was none.";

/// Play the scenarios of rule files in virtual time, and compare
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct TestArgs {
    /// Rule files, or folders of *.rule files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Only scenarios whose file or title contains this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write what happened into the scenarios; look at the difference before you commit it
    #[arg(long)]
    bless: bool,
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// A file with scenarios, and what they are about.
struct Script {
    path: PathBuf,
    /// What stands before each line of a scenario.
    prefix: &'static str,
    scenarios: Vec<Scenario>,
    /// Where the rules are that it is about: its rule file first.
    rules: Vec<PathBuf>,
    /// What follows the scenarios in the file.
    rest: String,
}

/// A file of scenarios that cannot be read.
struct Unreadable {
    path: PathBuf,
    why: String,
}

/// One scenario's result.
struct Verdict {
    file: String,
    title: String,
    /// `None` when it passed.
    failure: Option<String>,
}

/// What all files gave.
#[derive(Default)]
struct Results {
    verdicts: Vec<Verdict>,
    without: usize,
    blessed: usize,
}

pub(super) fn run(args: &TestArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut results = Results::default();
    let loaded = rule_set::find(&args.paths);
    for source in loaded.rule_files() {
        test_file(&source.path, args, &mut results, answer)?;
    }
    if loaded.rule_files().next().is_none() {
        report::tell_problems(&loaded);
    }
    if let Some(path) = &args.junit {
        let xml = junit::report(&results.verdicts);
        fs::write(path, xml).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = results.verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    let total = results.verdicts.len();
    let mut line = format!(
        "{}: {} passed, {failed} failed",
        counted(total as u64, "scenario"),
        total - failed
    );
    if results.without > 0 {
        line.push_str(&format!("; {} without", counted(results.without as u64, "rule file")));
    }
    if results.blessed > 0 {
        line.push_str(&format!("; {} blessed", counted(results.blessed as u64, "file")));
    }
    writeln!(answer, "{line}")?;
    let is_good = failed == 0 && total > 0;
    Ok(if is_good { Outcome::Done } else { Outcome::Rejected })
}

fn test_file(
    path: &Path,
    args: &TestArgs,
    results: &mut Results,
    answer: &mut dyn Write,
) -> anyhow::Result<()> {
    let scripts = scripts(path);
    if scripts.is_empty() {
        results.without += 1;
        let is_sound = is_sound(path, &args.paths);
        return if is_sound { Ok(()) } else { results.add(not_loaded(path), answer) };
    }
    for script in scripts {
        match script {
            Ok(script) => play_script(script, args, results, answer)?,
            Err(Unreadable { path, why }) => {
                let file = path.display().to_string();
                let title = "the scenarios can be read".to_owned();
                results.add(Verdict { file, title, failure: Some(why) }, answer)?;
            }
        }
    }
    Ok(())
}

/// Whether the rules of a file without scenarios are sound: alone, or with all that stand beside them. What
/// is wrong is told.
fn is_sound(path: &Path, given: &[PathBuf]) -> bool {
    let alone = rule_set::find(&[path.to_owned()]);
    if alone.checked.has_errors() {
        let file = path.display().to_string();
        let is_error = |found: &Finding<'_>| found.diagnostic.severity == Severity::Error;
        let beside = given.iter().find(|given| path != *given && path.starts_with(given));
        let all = beside.map(|folder| rule_set::find(std::slice::from_ref(folder)));
        if all
            .is_some_and(|all| !all.findings().any(|found| found.file == file && is_error(&found)))
        {
            return true;
        }
    }
    rule_set::sound(alone).is_some()
}

fn not_loaded(path: &Path) -> Verdict {
    let file = path.display().to_string();
    let title = "the rules can be loaded".to_owned();
    let why =
        "the rules have errors; a line 'with FILE' in the scenarios adds the rules of another file";
    Verdict { file, title, failure: Some(why.to_owned()) }
}

fn play_script(
    mut script: Script,
    args: &TestArgs,
    results: &mut Results,
    answer: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some(checked) = rule_set::sound(rule_set::find(&script.rules)) else {
        return results.add(not_loaded(&script.path), answer);
    };
    let rules = checked.rules;
    let file = script.path.display().to_string();
    let is_wanted = |scenario: &Scenario| match &args.only {
        Some(text) => file.contains(text.as_str()) || scenario.title.contains(text.as_str()),
        None => true,
    };
    let mut is_changed = false;
    for scenario in &mut script.scenarios {
        if !scenario.has_steps() || !is_wanted(scenario) {
            continue;
        }
        let load = |new: &NewRules| new_rules(new, &script.rules);
        let Played { mut difference, blessed } = play::play(scenario, &rules, &load);
        if args.bless && difference.is_some() && !blessed.is_empty() {
            scenario.lines = blessed;
            difference = None;
            is_changed = true;
        }
        let title = scenario.title.clone();
        results.add(Verdict { file: file.clone(), title, failure: difference }, answer)?;
    }
    if is_changed {
        fs::write(&script.path, script.text())
            .with_context(|| format!("cannot write {}", script.path.display()))?;
        results.blessed += 1;
    }
    Ok(())
}

/// The rules of a reload in a scenario whose rules are those of `paths`: instead of the first of these.
fn new_rules(new: &NewRules, paths: &[PathBuf]) -> Result<Vec<Arc<Rule>>, String> {
    let (path, with) = paths.split_first().expect("scenarios are about a rule file");
    let new = match new {
        NewRules::File(name) => {
            rule_files::read(&[path.with_file_name(name)], &mut Inputs::default())
        }
        NewRules::Text(text) => {
            vec![Source { path: path.clone(), content: Ok(text.clone().into_bytes()) }]
        }
    };
    let loaded = rule_set::find_instead(path, new, with);
    let checked = rule_set::sound(loaded).ok_or("the rules have errors")?;
    Ok(checked.rules)
}

impl Results {
    fn add(&mut self, verdict: Verdict, answer: &mut dyn Write) -> anyhow::Result<()> {
        let word = if verdict.failure.is_none() { "ok  " } else { "FAIL" };
        writeln!(answer, "{word}  {}: {}", verdict.file, verdict.title)?;
        for line in verdict.failure.iter().flat_map(|failure| failure.lines()) {
            writeln!(answer, "        {line}")?;
        }
        self.verdicts.push(verdict);
        Ok(())
    }
}

impl Script {
    fn text(&self) -> String {
        let mut text = String::new();
        for line in self.scenarios.iter().flat_map(|scenario| &scenario.lines) {
            let line = match line {
                Line::Prose(line) | Line::Step(_, _, line) => line.clone(),
                Line::Expected(at, _, line) => format!("{at} {line}"),
            };
            text.push_str(format!("{}{line}", self.prefix).trim_end());
            text.push('\n');
        }
        text + &self.rest
    }
}

/// The files with scenarios of the rule file at `path`: itself, and those beside it.
fn scripts(path: &Path) -> Vec<Result<Script, Unreadable>> {
    let mut scripts = Vec::new();
    // What is wrong with the rule file itself is told by the rules' own report.
    if let Some(text) = fs::metadata(path).ok().and_then(|_| read(path).ok()) {
        let (lines, rest) = scenario::leading_comment(&text);
        let script = script(path, path, lines).map(|script| Script {
            prefix: "-- ",
            rest: rest.to_owned(),
            ..script
        });
        let has_steps = |script: &Script| script.scenarios.iter().any(Scenario::has_steps);
        if script.as_ref().map_or(true, has_steps) {
            scripts.push(script);
        }
    }
    for beside in beside(path) {
        let text = read(&beside).map_err(|why| Unreadable { path: beside.clone(), why });
        scripts.push(text.and_then(|text| script(&beside, path, text.lines().map(str::trim_end))));
    }
    scripts
}

/// The scenarios of `lines`, which stand in the file at `path`, about the rules of the file at `of`.
fn script<'t>(
    path: &Path,
    of: &Path,
    lines: impl IntoIterator<Item = &'t str>,
) -> Result<Script, Unreadable> {
    let Parsed { scenarios, with } = scenario::parse(lines).map_err(|wrong| {
        let told = wrong.iter().take(FINDINGS_PER_FILE_MAX).map(ToString::to_string);
        let mut told: Vec<String> = told.collect();
        let more = wrong.len() - told.len();
        told.extend((more > 0).then(|| format!("{more} more lines")));
        Unreadable { path: path.to_owned(), why: told.join("\n") }
    })?;
    let with = with.into_iter().map(|name| path.with_file_name(name));
    let rules = [of.to_owned()].into_iter().chain(with).collect();
    Ok(Script { path: path.to_owned(), prefix: "", scenarios, rules, rest: String::new() })
}

/// `NAME.scenario` and `NAME.*.scenario` beside `NAME.rule`, in order.
fn beside(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return Vec::new() };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let start = format!("{}.", stem.to_string_lossy());
    let is_beside = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && file.extension().is_some_and(|extension| extension == EXTENSION)
    };
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_beside).collect();
    found.sort();
    found
}

fn read(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let length = fs::metadata(path).map_err(told)?.len();
    if length > RULE_FILE_BYTES_MAX as u64 {
        let bound = RULE_FILE_BYTES_MAX;
        return Err(format!("{} has {length} bytes; at most {bound} are read", path.display()));
    }
    fs::read_to_string(path).map_err(told)
}
