//! `tidegate import`: AWS IoT rule documents become rule text.
//!
//! The documents are loaded as any rule set is, and what was loaded is printed: a rule file says what
//! its document says. What could not be carried over is told twice, on standard error and in a
//! comment at the top of the text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Outcome;
use super::WrongUsage;
use super::report::tell;
use super::report::tell_findings;
use super::rule_set;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::diagnostic::render::Finding;
use crate::diagnostic::render::Place;
use crate::diagnostic::render::counted;
use crate::limits::RULE_FILE_BYTES_MAX;
use crate::rule::ast::Action;
use crate::rule::set::Source;
use crate::rule_files;
use crate::rule_files::Inputs;
use crate::rule_files::Loaded;

/// What a document on standard input is called.
const STANDARD_INPUT: &str = "stdin.template";

/// How documents are called.
const DOCUMENTS: &str = "*.json, *.yaml, *.yml or *.template";

const EXAMPLES: &str = "\
Examples:
  aws iot get-topic-rule --rule-name overheat | tidegate import -
  tidegate import rules/*.json --out converted/
  tidegate import template.yaml > rules/template.rule

A document is the input of `aws iot create-topic-rule`, the output of `aws iot get-topic-rule`, a
payload alone, or a template of CloudFormation or AWS SAM, each in JSON or YAML. docs/aws.md says what
becomes of each action.

Exit code 0: everything is carried over. 4: done, and what is left out is named in the text and on
standard error. 1: a document is wrong; nothing is written.";

/// Turn AWS IoT rule documents into rule files
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// AWS IoT rule documents (*.json, *.yaml, *.yml, *.template), or folders of them; - reads standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Folder to write a rule file for each document file into [default: standard output]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace rule files that are there already
    #[arg(long, requires = "out")]
    force: bool,
}

/// Runs the command.
pub(super) fn run(args: &ImportArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut inputs = Inputs::default();
    let mut sources = Vec::new();
    for file in &args.files {
        if file.as_os_str() == "-" {
            sources.push(standard_input()?);
            continue;
        }
        let found = rule_files::read(std::slice::from_ref(file), &mut inputs);
        if let (false, [only]) = (file.is_dir(), found.as_slice())
            && !only.is_document()
        {
            let message = format!("{} is not called {DOCUMENTS}", file.display());
            return Err(WrongUsage(message).into());
        }
        sources.extend(found.into_iter().filter(|source| source.is_document()));
    }
    if sources.is_empty() {
        return Err(WrongUsage(format!("no file in these folders is called {DOCUMENTS}")).into());
    }
    let loaded = rule_set::check(sources, &args.files, inputs);
    let is_told =
        |found: &Diagnostic| found.severity != Severity::Note || found.code == Code::NO_RULES;
    let told: Vec<_> = loaded.findings().filter(|found| is_told(found.diagnostic)).collect();
    if !told.is_empty() {
        tell_findings(&told, loaded.sources.len());
    }
    if loaded.checked.has_errors() || loaded.checked.rules.is_empty() {
        return Ok(Outcome::Rejected);
    }
    let texts = texts(&loaded);
    match &args.out {
        Some(folder) => write_files(&texts, folder, args.force)?,
        None => {
            let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
            write!(answer, "{}", texts.join("\n"))?;
        }
    }
    Ok(if told.iter().any(is_left_out) { Outcome::Partly } else { Outcome::Done })
}

fn standard_input() -> anyhow::Result<Source> {
    let mut bytes = Vec::new();
    // One byte more shows that it is too much.
    let bound = RULE_FILE_BYTES_MAX as u64 + 1;
    io::stdin().lock().take(bound).read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(Source { path: STANDARD_INPUT.into(), content: Ok(bytes) })
}

/// The path of each source that has rules, and their text.
fn texts(loaded: &Loaded) -> Vec<(&Path, String)> {
    let mut texts = Vec::new();
    for source in &loaded.sources {
        let path = source.path.as_path();
        let rules = loaded.checked.rules.iter().filter(|rule| rule.file.as_deref() == Some(path));
        let rules: Vec<&str> = rules.map(|rule| rule.text.as_str()).collect();
        if !rules.is_empty() {
            let comment = comment(loaded, source);
            texts.push((path, format!("{comment}\n{}\n", rules.join("\n\n"))));
        }
    }
    texts
}

/// Where the rules are from, what they lack, and what they wait for.
fn comment(loaded: &Loaded, source: &Source) -> String {
    let file = source.path.display().to_string();
    let mut comment = format!("-- From {}, by `tidegate import`.\n", one_line(&file));
    let mut add =
        |line: &str| writeln!(comment, "-- {}", one_line(line)).expect("a String takes all");
    let missing = loaded.findings().filter(|found| found.file == file && is_left_out(found));
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        add("Not carried over as it was:");
    }
    for Finding { text, diagnostic, .. } in missing {
        let span = diagnostic.labels.first().map(|label| label.span.clone()).unwrap_or_default();
        let help = diagnostic.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
        let line = Place::of(text, &span).line;
        add(&format!("  line {line}: {}{help}", diagnostic.message));
    }
    let hooks = hooks(loaded, source);
    if !hooks.is_empty() {
        add("To be declared in tidegate.toml:");
    }
    for (hook, written) in hooks {
        add(&format!("  [hook.{hook}] with url = \"…\", for {written}"));
    }
    comment
}

/// Whether a part of a document went missing.
fn is_left_out(found: &Finding<'_>) -> bool {
    matches!(found.diagnostic.code, Code::NOT_CARRIED | Code::UNKNOWN_KEY)
}

/// The hooks that the rules of `source` call, and what they are called in it.
fn hooks<'l>(loaded: &'l Loaded, source: &'l Source) -> BTreeMap<&'l str, &'l str> {
    let path = source.path.as_path();
    let rules = loaded.checked.rules.iter().filter(|rule| rule.file.as_deref() == Some(path));
    let actions = rules.flat_map(|rule| rule.definition.all_actions());
    let hook = |action: &'l Action| match action {
        Action::Invoke { name } => {
            Some((name.node.fixed()?, source.text().get(name.span.clone())?))
        }
        _ => None,
    };
    actions.filter_map(|action| hook(&action.node)).collect()
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn write_files(texts: &[(&Path, String)], folder: &Path, replace: bool) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut targets: BTreeMap<PathBuf, &(&Path, String)> = BTreeMap::new();
    for text in texts {
        let stem = text.0.file_stem().unwrap_or_default().to_string_lossy();
        let target = folder.join(format!("{stem}.rule"));
        if let Some((other, _)) = targets.insert(target.clone(), text) {
            let (one, other, target) = (text.0.display(), other.display(), target.display());
            anyhow::bail!("{other} and {one} would both become {target}");
        }
    }
    for (target, (path, text)) in &targets {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).create_new(!replace);
        let written = options.open(target).and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", target.display()))?;
        tell(&format!("{} → {}", path.display(), target.display()));
    }
    tell(&format!("{} written", counted(texts.len() as u64, "file")));
    Ok(())
}
