//! What is wrong with a user's text (rule file or configuration), where, and how to mend it.
//!
//! A [`Diagnostic`] carries a stable [`Code`], byte spans into one source, and a help line. `render`
//! draws it over the source; the CLI's `--format json` prints its parts. Codes are never reused;
//! each has a paragraph in `docs/diagnostics.md`.

use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing starts until it is mended.
    Error,
    /// Runs, but probably not as meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// The stable name of a diagnostic, such as `R001`. Owner: rule (R…), config (C…).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub &'static str);

/// A marked place and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Byte range in the source.
    pub span: Range<usize>,
    /// Text at the mark; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// One sentence, without the place.
    pub message: String,
    /// Where; the first is the main place.
    pub labels: Vec<Label>,
    /// How to mend it.
    pub help: Option<String>,
}
