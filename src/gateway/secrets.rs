//! Secrets, read from where the configuration says: at the start, and anew at each reload.

use std::collections::BTreeMap;
use std::env;
use std::env::VarError;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use crate::config::SecretConfig;
use crate::engine::Secrets;
use crate::limits::SECRET_BYTES_MAX;

/// Why a secret cannot be had. Says nothing of its text.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read, or is no text.
    #[error("the secret '{name}' cannot be read from {}", path.display())]
    File {
        /// Its name.
        name: String,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its variable is not set, or is no text.
    #[error("the secret '{name}' cannot be read from the environment variable {variable}")]
    Env {
        /// Its name.
        name: String,
        /// The variable.
        variable: String,
        /// Why; never the value.
        source: VarError,
    },
    /// It is longer than [`SECRET_BYTES_MAX`].
    #[error("the secret '{0}' has more than {SECRET_BYTES_MAX} bytes")]
    TooLong(String),
}

/// Reads all secrets. Waits for files: not for async code.
pub(super) fn read(config: &BTreeMap<String, SecretConfig>) -> Result<Secrets, SecretError> {
    let mut texts = Vec::new();
    for (name, secret) in config {
        texts.push((name.clone(), read_one(name, secret)?));
    }
    Ok(Secrets::new(texts))
}

/// Reads one. Waits for its file: not for async code.
pub(super) fn read_one(name: &str, secret: &SecretConfig) -> Result<String, SecretError> {
    let text = match secret {
        SecretConfig::Value(text) => text.clone(),
        SecretConfig::File(path) => read_file(path).map_err(|source| SecretError::File {
            name: name.to_owned(),
            path: path.clone(),
            source,
        })?,
        SecretConfig::Env(variable) => env::var(variable).map_err(|error| SecretError::Env {
            name: name.to_owned(),
            variable: variable.clone(),
            source: match error {
                VarError::NotPresent => VarError::NotPresent,
                // The error of the system shows the value.
                VarError::NotUnicode(_) => VarError::NotUnicode("…".into()),
            },
        })?,
    };
    if text.len() > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong(name.to_owned()));
    }
    Ok(text)
}

/// The text of a file without the line break at its end, up to a byte more than there may be.
fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // With room for that line break.
    let bound = u64::try_from(SECRET_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
    File::open(path)?.take(bound).read_to_string(&mut text)?;
    let without = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(without.map_or(text.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_text_of_its_file_without_the_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (written, expected) in [("a b\n", "a b"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", "")] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(read_file(&path).unwrap(), expected);
        }
        std::fs::write(&path, "x".repeat(SECRET_BYTES_MAX + 1)).unwrap();
        let config = BTreeMap::from([("s".to_owned(), SecretConfig::File(path.clone()))]);
        assert!(matches!(read(&config), Err(SecretError::TooLong(_))));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read(&config), Err(SecretError::File { .. })));
    }

    #[test]
    fn nothing_shows_a_secret() {
        let config = BTreeMap::from([("s".to_owned(), SecretConfig::Value("hunter2".to_owned()))]);
        let shown = format!("{config:?} {:?}", read(&config).unwrap());
        assert!(shown.contains("\"s\"") && !shown.contains("hunter2"), "{shown}");
        let missing = SecretConfig::Env("TIDEGATE_NO_SUCH_VARIABLE".to_owned());
        let config = BTreeMap::from([("s".to_owned(), missing)]);
        let error = read(&config).unwrap_err().to_string();
        let expected = "the secret 's' cannot be read from the environment variable \
                        TIDEGATE_NO_SUCH_VARIABLE";
        assert_eq!(error, expected);
    }
}
