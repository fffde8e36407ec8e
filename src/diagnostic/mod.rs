//! What is wrong with a user's text (rule file or configuration), where, and how to mend it.
//!
//! A [`Diagnostic`] carries a stable [`Code`], byte spans into one source, and a help line. `render`
//! draws it over the source; the CLI's `--format json` prints its parts. Codes are never reused;
//! each has a paragraph in `docs/diagnostics.md`.

mod code;
mod excerpt;
mod near;
pub mod render;

use std::ops::Range;

pub use code::RULE_CODES;
#[cfg(test)]
pub(crate) use near::SEARCHES;
pub(crate) use near::nearest;
pub(crate) use near::nearest_after;
pub(crate) use near::suggestion;

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

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            help: None,
        }
    }

    /// A warning without a place yet.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// A note without a place yet.
    pub fn note(code: Code, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Note, ..Diagnostic::error(code, message) }
    }

    /// Puts the main mark at `span`.
    #[must_use]
    pub fn at(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.insert(0, Label { span, text: text.into() });
        self
    }

    /// Adds a mark at another place that matters.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}
