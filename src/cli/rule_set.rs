//! The rules of a command that carries nothing out: read, checked as one set, and refused with a report.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::report;
use crate::config::Config;
use crate::diagnostic::Code;
use crate::rule::set::Checked;
use crate::rule::set::Source;
use crate::rule_files;
use crate::rule_files::Inputs;
use crate::rule_files::Loaded;

/// The rules and tables of a file or folder. `None` when they have errors, which have been told on
/// standard error.
pub(super) fn load(path: &Path) -> Option<Checked> {
    sound(find(&[path.to_owned()]))
}

/// The rules and tables of files and folders as one set, a file that is among them twice once.
pub(super) fn find(paths: &[PathBuf]) -> Loaded {
    let mut inputs = Inputs::default();
    let sources = each_once(rule_files::read(paths, &mut inputs), HashSet::new());
    check(sources, paths, inputs)
}

/// The same of `others`, where `new` stands in for what is at `place`, whatever is there.
pub(super) fn find_instead(place: &Path, new: Vec<Source>, others: &[PathBuf]) -> Loaded {
    let mut inputs = Inputs::default();
    let named = new.iter().map(|source| source.path.clone());
    let paths: Vec<PathBuf> = named.chain(others.iter().cloned()).collect();
    let known = new.iter().map(|source| &*source.path).chain([place]);
    let known = known.filter_map(|path| fs::canonicalize(path).ok()).collect();
    let mut sources = new;
    sources.extend(each_once(rule_files::read(others, &mut inputs), known));
    check(sources, &paths, inputs)
}

/// Those that are not among the `known` ones. One that is not there is told of by each of its names.
fn each_once(mut sources: Vec<Source>, mut known: HashSet<PathBuf>) -> Vec<Source> {
    sources.retain(|source| fs::canonicalize(&source.path).map_or(true, |path| known.insert(path)));
    sources
}

/// What was found, unless it has errors; problems are told on standard error.
pub(super) fn sound(loaded: Loaded) -> Option<Checked> {
    report::tell_problems(&loaded);
    (!loaded.checked.has_errors()).then_some(loaded.checked)
}

/// Checks `sources`, found in `paths`, as the rule set of a gateway that has whatever they name.
pub(super) fn check(sources: Vec<Source>, paths: &[PathBuf], inputs: Inputs) -> Loaded {
    let mut targets = rule_files::targets(&Config::default());
    // None of the hooks is called, and no secret is told.
    targets.is_open = true;
    // A note tells what `run` would create; here nothing is created.
    let mut loaded = rule_files::check(sources, paths, &targets, inputs);
    // Any name that a message completes is taken, as if it were declared.
    loaded.checked.diagnostics.retain(|(_, found)| found.code != Code::DYNAMIC_TARGET);
    loaded
}
