//! What commands tell people on standard error.
//!
//! Standard error may be closed; then nobody is there to be told, and the command goes on.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use crate::diagnostic::Severity;
use crate::diagnostic::render::Color;
use crate::diagnostic::render::Finding;
use crate::diagnostic::render::report;
use crate::rule_files::Loaded;

/// Writes a line.
pub(super) fn tell(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Writes every finding drawn over its file, and a line that counts them and the `files` looked at.
pub(super) fn tell_findings(findings: &[Finding<'_>], files: usize) {
    let color = if has_color() { Color::On } else { Color::Off };
    tell(&report(findings, files, color));
}

/// As [`tell_findings`], of errors and warnings; notes are for `tidegate check`.
pub(super) fn tell_problems(loaded: &Loaded) {
    let is_problem = |finding: &Finding<'_>| finding.diagnostic.severity != Severity::Note;
    let problems: Vec<Finding<'_>> = loaded.findings().filter(is_problem).collect();
    if !problems.is_empty() {
        tell_findings(&problems, loaded.sources.len());
    }
}

/// Whether text may be coloured: a terminal that can, and no `NO_COLOR` (<https://no-color.org>).
pub(super) fn has_color() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none()
        && set("TERM").is_none_or(|term| term != "dumb")
        && io::stderr().is_terminal()
}
