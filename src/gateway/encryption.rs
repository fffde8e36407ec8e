//! The keys that records of streams are encrypted with: read at the start, and missed where a stream needs one that is
//! not there.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::Config;
use crate::config::SecretConfig;
use crate::storage::KEY_BYTES;
use crate::storage::Keyring;
use crate::stream::Meter;
use crate::stream::Reader;
use crate::stream::StreamError;

use super::secrets;
use super::secrets::SecretError;

/// What others on the machine may do with a file, of its mode.
const OTHERS: u32 = 0o007;

/// Why a key cannot be used. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Box<SecretError>),
    /// Its file cannot be looked at.
    #[error("the encryption key '{name}' cannot be looked at in {}", path.display())]
    File {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody on the machine may read or change its file.
    #[error(
        "the file of the encryption key '{name}' has the mode {mode:03o}, so that everybody on this machine has \
         the key: chmod 600 {}", path.display()
    )]
    Exposed {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not 32 bytes.
    #[error(
        "the encryption key '{name}' is to be {KEY_BYTES} bytes, as base64 or as {} hexadecimal digits, and {found}: \
         `openssl rand -base64 {KEY_BYTES}` makes one", KEY_BYTES * 2
    )]
    Form {
        /// Its name.
        name: String,
        /// What it is instead.
        found: String,
    },
}

/// Reads the keys of the configuration. Waits for files: not for async code.
///
/// # Errors
/// One cannot be used.
pub fn keyring(config: &Config) -> Result<Arc<Keyring>, KeyError> {
    let mut keyring = Keyring::default();
    for (name, key) in &config.encryption_keys {
        if let SecretConfig::File(path) = &key.source {
            let file = |source| KeyError::File { name: name.clone(), path: path.clone(), source };
            let mode = std::fs::metadata(path).map_err(file)?.permissions().mode() & 0o777;
            if mode & OTHERS != 0 {
                return Err(KeyError::Exposed { name: name.clone(), path: path.clone(), mode });
            }
        }
        let text = secrets::read_one(name, &key.source).map_err(Box::new)?;
        let bytes =
            parse(text.trim()).map_err(|found| KeyError::Form { name: name.clone(), found })?;
        keyring.add(name, &key.aliases, bytes);
    }
    Ok(Arc::new(keyring))
}

/// The bytes of a key, or what is there instead.
fn parse(text: &str) -> Result<[u8; KEY_BYTES], String> {
    let is_hex = text.len() == KEY_BYTES * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = if is_hex {
        let digits: Vec<u8> =
            text.chars().filter_map(|digit| digit.to_digit(16)).map(low_byte).collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    } else {
        STANDARD.decode(text).map_err(|_| "it is neither".to_owned())?
    };
    let length = bytes.len();
    bytes.try_into().map_err(|_| format!("it is {length}"))
}

fn low_byte(digit: u32) -> u8 {
    digit.to_le_bytes()[0]
}

/// Locks the streams whose key is not there: nothing is written to them, and nothing in clear.
///
/// # Errors
/// The streams cannot be read.
pub(super) fn lock_streams(
    reader: &Reader,
    keys: &Keyring,
    meter: &Meter,
) -> Result<(), StreamError> {
    for (stream, key_id, is_encrypted) in reader.encrypted()? {
        if is_encrypted && keys.find(&key_id).is_none() {
            tracing::error!(
                stream,
                key_id,
                "the stream is encrypted with a key that the configuration does not have; it takes no records, \
                 and those that are encrypted cannot be read"
            );
            meter.lock(&stream, &key_id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EncryptionKeyConfig;

    fn read(source: SecretConfig) -> Result<Arc<Keyring>, String> {
        let mut config = Config::default();
        let key = EncryptionKeyConfig { source, aliases: vec!["alias/line".to_owned()] };
        config.encryption_keys.insert("k".to_owned(), key);
        keyring(&config).map_err(|error| crate::retry::describe(&error))
    }

    #[test]
    fn a_key_is_32_bytes_in_a_file_of_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            read(SecretConfig::File(path.clone()))
        };
        let base64 = STANDARD.encode([7; KEY_BYTES]);
        for text in [base64.clone(), format!("{base64}\n"), "0a".repeat(32), "0A".repeat(32)] {
            let keys = write(&text, 0o640).unwrap();
            assert!(keys.find("alias/line").is_some(), "{text}");
        }
        for (text, found) in [
            ("", "and it is 0:"),
            ("0a", "and it is neither:"),
            ("c2hvcnQ=", "and it is 5:"),
            ("not a key", "and it is neither:"),
        ] {
            let error = write(text, 0o600).unwrap_err();
            assert!(error.contains(found), "{text}: {error}");
        }
        let error = write(&base64, 0o644).unwrap_err();
        assert!(error.contains("has the mode 644") && error.contains("chmod 600"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = read(SecretConfig::File(path.clone())).unwrap_err();
        assert!(error.contains("the encryption key 'k' cannot be looked at in"), "{error}");
        let error = read(SecretConfig::Env("TIDEGATE_NO_SUCH_VARIABLE".to_owned())).unwrap_err();
        assert!(error.contains("environment variable TIDEGATE_NO_SUCH_VARIABLE"), "{error}");
    }
}
