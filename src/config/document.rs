//! The file: found, read, and either accepted or rejected as a whole.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use toml::de::DeTable;

use super::Config;
use super::listener;
use super::mask::mask_secrets;
use super::read;
use super::section::Findings;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::diagnostic::render::Finding;
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// Read from the working directory when no other file is named.
const DEFAULT_FILE: &str = "tidegate.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error(
        "the configuration {} is larger than {CONFIG_FILE_BYTES_MAX} bytes",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("the configuration {} is not UTF-8 (byte {offset})", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is none.
        offset: usize,
    },
    /// The text is wrong.
    #[error("the configuration {} is rejected", .0.path.display())]
    Rejected(Box<Remarks>),
}

/// A configuration text and what there is to say of it.
#[derive(Debug)]
pub struct Remarks {
    /// The file.
    pub path: PathBuf,
    /// Its text with secrets masked, for excerpts; spans fit it.
    pub text: String,
    /// In the order of the text. Of a configuration that is rejected at least one is an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Remarks {
    /// What is said, with its excerpt.
    pub fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        let file = self.path.display().to_string();
        self.diagnostics.iter().map(move |diagnostic| Finding {
            file: file.clone(),
            text: &self.text,
            diagnostic,
        })
    }
}

/// Reads `path`; without one, `tidegate.toml` in the working directory if it is there, and the
/// defaults if not. What is only odd about it, such as a certificate that has expired, comes with it.
///
/// # Errors
/// It cannot be read, or something in it is wrong: nothing of it is taken then.
pub fn load(path: Option<&Path>) -> Result<(Config, Option<Box<Remarks>>), LoadError> {
    let (path, is_wanted) = match path {
        Some(path) => (path, true),
        None => (Path::new(DEFAULT_FILE), false),
    };
    let error = |source| LoadError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound && !is_wanted => {
            return Ok((Config::default(), None));
        }
        opened => opened.map_err(error)?,
    };
    let mut bytes = Vec::new();
    let bound = CONFIG_FILE_BYTES_MAX as u64 + 1;
    file.take(bound).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() > CONFIG_FILE_BYTES_MAX {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|error| LoadError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    let remarks = |diagnostics| {
        Box::new(Remarks { path: path.to_owned(), text: mask_secrets(&text), diagnostics })
    };
    match parse(&text) {
        Ok((config, warnings)) if warnings.is_empty() => Ok((config, None)),
        Ok((config, warnings)) => Ok((config, Some(remarks(warnings)))),
        Err(diagnostics) => Err(LoadError::Rejected(remarks(diagnostics))),
    }
}

/// Reads the text of a configuration file, and opens the certificates that it names. Answers the
/// configuration with its warnings, or everything that is wrong.
pub(super) fn parse(text: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let config = parse_into(text, &mut findings);
    let mut diagnostics = findings.diagnostics;
    diagnostics.extend(listener::inspect(&findings.unopened));
    diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
    match diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        true => Err(diagnostics),
        false => Ok((config, diagnostics)),
    }
}

pub(super) fn parse_into(text: &str, findings: &mut Findings) -> Config {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser recovered may lack what the user wrote: only the syntax can be judged.
        let told = errors.iter().map(|error| read::syntax_error(error, text.len()));
        findings.diagnostics.extend(told);
        return Config::default();
    }
    read::read(table.get_ref(), findings)
}
