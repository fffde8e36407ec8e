//! What must be known of another broker's session after a restart: the client id it belongs to, and what
//! may be subscribed to in it.
//!
//! One small JSON file a connection, `upstream/NAME.json` in the data folder, written whole and renamed.
//! Filters stand in it before they are asked for, and until giving them up is acknowledged; so a crash
//! leaves none behind that nobody gives up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// Where it is kept, and what is kept.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    path: PathBuf,
    pub(super) kept: Kept,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// Whose session it is.
    pub(super) client_id: String,
    /// Subscriptions that were granted, with their QoS.
    pub(super) granted: BTreeMap<String, u8>,
    /// Subscriptions that may be there beside those.
    pub(super) asked: BTreeSet<String>,
}

/// It cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep {}", path.display())]
pub struct MemoryError {
    path: PathBuf,
    source: io::Error,
}

impl Memory {
    /// What is kept of `name` in the data folder. `client_id` is the configured one; without it the first
    /// start makes one. A file that cannot be understood is as none: then the session may have
    /// filters that nobody gives up.
    pub(super) fn open(
        data_dir: &Path,
        name: &str,
        client_id: Option<&str>,
    ) -> Result<Memory, MemoryError> {
        let path = data_dir.join("upstream").join(format!("{name}.json"));
        let kept = match fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Kept>(&text).unwrap_or_else(|error| {
                let path = path.display();
                tracing::warn!(%path, %error, "what was kept of a connection cannot be read");
                Kept::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(source) => return Err(MemoryError { path, source }),
        };
        let mut memory = Memory { path, kept };
        let client_id = match client_id {
            Some(client_id) => client_id.to_owned(),
            None if memory.kept.client_id.is_empty() => made_up(),
            None => memory.kept.client_id.clone(),
        };
        if client_id != memory.kept.client_id {
            // Another session.
            memory.kept = Kept { client_id, ..Kept::default() };
            memory.save()?;
        }
        Ok(memory)
    }

    /// Writes it, so that it outlasts a power failure.
    pub(super) fn save(&self) -> Result<(), MemoryError> {
        self.write().map_err(|source| MemoryError { path: self.path.clone(), source })
    }

    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let beside = self.path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(&self.kept)?;
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

/// As long as any broker must take (MQTT 3.1.1, section 3.1.3.1).
fn made_up() -> String {
    format!("tidegate{:014x}", rand::random::<u64>() >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_made_once_and_filters_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Memory::open(folder.path(), "x", None).unwrap();
        assert!(first.kept.client_id.len() <= 23, "{:?}", first.kept);
        first.kept.granted.insert("a/#".to_owned(), 1);
        first.kept.asked.insert("b".to_owned());
        first.save().unwrap();
        assert_eq!(Memory::open(folder.path(), "x", None).unwrap().kept, first.kept);
        let other = Memory::open(folder.path(), "y", None).unwrap();
        assert_ne!(other.kept.client_id, first.kept.client_id);

        let named = Memory::open(folder.path(), "x", Some("edge-1")).unwrap().kept;
        assert_eq!(named, Kept { client_id: "edge-1".to_owned(), ..Kept::default() });
        let again = Memory::open(folder.path(), "x", None).unwrap().kept;
        assert_eq!(again.client_id, "edge-1", "what it was last");
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("upstream")).unwrap();
        fs::write(folder.path().join("upstream/x.json"), "{").unwrap();
        assert!(Memory::open(folder.path(), "x", None).unwrap().kept.granted.is_empty());
    }
}
