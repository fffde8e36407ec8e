//! The rule set as a whole: which one runs, how the last reload went, and what is wrong with the
//! files.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::api::view::Millis;
use crate::diagnostic::Severity;
use crate::diagnostic::render;
use crate::diagnostic::render::Place;

/// Something found in a rule file. Without a place in the text, line and column are 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable code, `R014`.
    pub code: &'static str,
    /// `error`, `warning`, `note`.
    pub severity: &'static str,
    /// What is wrong.
    pub message: String,
    /// In which file.
    pub file: String,
    /// Lines and columns as editors count them, from 1, columns in characters.
    pub line: usize,
    /// Column of the first character marked.
    pub column: usize,
    /// Line of the end of the mark.
    pub end_line: usize,
    /// Column behind the last character marked.
    pub end_column: usize,
    /// How to mend it.
    pub help: Option<String>,
}

impl Finding {
    /// A finding of the checker.
    pub fn of(finding: &render::Finding<'_>) -> Self {
        let diagnostic = finding.diagnostic;
        let span = diagnostic.labels.first().map(|label| label.span.clone()).unwrap_or_default();
        let Place { line, column, end_line, end_column } = Place::of(finding.text, &span);
        Finding {
            code: diagnostic.code.0,
            severity: match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            },
            message: diagnostic.message.clone(),
            file: finding.file.clone(),
            line,
            column,
            end_line,
            end_column,
            help: diagnostic.help.clone(),
        }
    }
}

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadCause {
    /// The files changed.
    Watch,
    /// SIGHUP.
    Signal,
    /// `POST /api/rules/reload`, and with it `tidegate reload`.
    Api,
}

impl ReloadCause {
    /// The word for log lines; the same as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ReloadCause::Watch => "watch",
            ReloadCause::Signal => "signal",
            ReloadCause::Api => "api",
        }
    }
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// The set on disk runs.
    Applied,
    /// It has errors; the set before runs on.
    Refused,
    /// It is well, and could not take over; the set before runs on.
    Failed,
}

impl ReloadResult {
    /// The word for metrics; the same as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ReloadResult::Applied => "applied",
            ReloadResult::Refused => "refused",
            ReloadResult::Failed => "failed",
        }
    }
}

/// How many rules a reload concerns, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleChanges {
    /// New ones.
    pub added: usize,
    /// Those whose text is another.
    pub changed: usize,
    /// Those that are gone.
    pub removed: usize,
    /// Those whose text is the same.
    pub unchanged: usize,
}

/// A reload that has ended.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadReport {
    /// When it ended.
    pub at: Millis,
    /// Who asked for it.
    pub cause: ReloadCause,
    /// How it ended.
    pub result: ReloadResult,
    /// That in a sentence.
    pub message: String,
    /// The generation that runs now.
    pub generation: u64,
    /// What changed; all zero unless the set was applied.
    #[serde(flatten)]
    pub changes: RuleChanges,
    /// From the first look at the files to the commit, milliseconds.
    #[serde(serialize_with = "milliseconds", rename = "took_ms")]
    pub took: Duration,
    /// Errors found, all of them counted.
    pub errors: usize,
    /// Warnings found.
    pub warnings: usize,
    /// Errors and warnings drawn over their lines, as `tidegate check` does; of many, the first.
    pub report: String,
    /// The same for programs, notes too, the first [`crate::limits::RELOAD_FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// The set that runs, and why it is not the one on disk.
#[derive(Clone, Debug, Serialize)]
pub struct RuleSet {
    /// 1 at the start; one more with each reload.
    pub generation: u64,
    /// Since when this set runs.
    pub loaded_at: Millis,
    /// Rules in it, disabled ones too.
    pub rules: usize,
    /// Whether the files are watched for changes.
    pub watched: bool,
    /// The last reload, when it was refused or failed: what is on disk is not what runs.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    pub stale: Option<Arc<ReloadReport>>,
}

fn milliseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64() * 1000.0)
}

fn shared<S: serde::Serializer>(
    report: &Option<Arc<ReloadReport>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    report.as_deref().serialize(serializer)
}
