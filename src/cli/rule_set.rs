//! The rules of a command that carries nothing out: read, checked as one set, and refused with a report.

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
    let (paths, mut inputs) = ([path.to_owned()], Inputs::default());
    let sources = rule_files::read(&paths, &mut inputs);
    sound(check(sources, &paths, inputs))
}

/// The same of a text that stands in no file; what it names is read from beside `source.path`.
pub(super) fn load_text(source: Source) -> Option<Checked> {
    let paths = [source.path.clone()];
    sound(check(vec![source], &paths, Inputs::default()))
}

fn sound(loaded: Loaded) -> Option<Checked> {
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
