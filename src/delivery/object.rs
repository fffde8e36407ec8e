//! The file a batch becomes: its lines, and how it appears all at once.
//!
//! Its name is [`super::layout`]'s. The file is
//! written under a temporary name in the same folder, synced, renamed, and the folder synced; so a
//! reader never sees half a file, and a retry writes over what an earlier try left.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::json_line::json_line;

use super::form::Packing;
use super::packing::Packer;

/// Adds `data` as one line: its JSON, or `{"data_base64":"…"}` where it is none, as in `tidegate stream
/// tail`.
pub(super) fn push_line(lines: &mut Vec<u8>, data: &[u8]) {
    match json_line(data) {
        Some(json) => lines.extend_from_slice(json.get().as_bytes()),
        None => {
            lines.extend_from_slice(b"{\"data_base64\":\"");
            lines.extend_from_slice(BASE64_STANDARD.encode(data).as_bytes());
            lines.extend_from_slice(b"\"}");
        }
    }
    lines.push(b'\n');
}

/// What failed, on which path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub(super) struct ObjectError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ObjectError {
    move |source| ObjectError { operation, path: path.to_owned(), source }
}

/// A file on its way. Dropped unfinished, it leaves nothing behind.
pub(super) struct ObjectWriter {
    temporary: PathBuf,
    target: PathBuf,
    folder: PathBuf,
    /// `None` once all is written.
    packer: Option<Packer>,
    is_finished: bool,
}

impl ObjectWriter {
    /// Begins `object` under `root`, whose folders are made as needed.
    pub(super) fn create(root: &Path, object: &str, packing: Packing) -> Result<Self, ObjectError> {
        let target = root.join(object);
        let folder = target.parent().unwrap_or(root).to_owned();
        make_folders(&folder)?;
        let file_name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temporary = folder.join(format!(".{file_name}.tmp"));
        let file = File::create(&temporary).map_err(failed("create", &temporary))?;
        let inside = file_name.strip_suffix(".zip").unwrap_or(&file_name);
        let packer = Packer::new(packing, file, inside).map_err(failed("write", &temporary))?;
        let packer = Some(packer);
        Ok(ObjectWriter { temporary, target, folder, packer, is_finished: false })
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ObjectError> {
        let packer = self.packer.as_mut().expect("a file that is written to is not finished");
        packer.write(bytes).map_err(failed("write", &self.temporary))
    }

    /// Makes the file appear under its name, durably; answers its path and its length, bytes.
    pub(super) fn finish(mut self) -> Result<(PathBuf, u64), ObjectError> {
        let packer = self.packer.take().expect("a file is finished once");
        let synced = packer.finish().and_then(|file| {
            file.sync_all()?;
            Ok(file.metadata()?.len())
        });
        let length = synced.map_err(failed("write", &self.temporary))?;
        fs::rename(&self.temporary, &self.target).map_err(failed("rename", &self.temporary))?;
        self.is_finished = true;
        sync_folder(&self.folder)?;
        Ok((std::mem::take(&mut self.target), length))
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // On a full disk half a file would only take room; the next try writes over it anyway.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Makes `folder` and its parents; each new one is synced into its own parent.
fn make_folders(folder: &Path) -> Result<(), ObjectError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folders(parent)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(parent.unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(failed("make the folder", folder)(error)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), ObjectError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_hold_json_as_it_is_and_base64_of_the_rest() {
        let mut lines = Vec::new();
        push_line(&mut lines, b"{\"a\": 1.50}");
        push_line(&mut lines, b"{\n\"a\":\r\n\"x\\ny\"}");
        push_line(&mut lines, b"");
        push_line(&mut lines, b"{\"a\":");
        push_line(&mut lines, b"\"\xff\"");
        push_line(&mut lines, b"1 2");
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "{\"a\": 1.50}\n{ \"a\":  \"x\\ny\"}\n{\"data_base64\":\"\"}\n\
             {\"data_base64\":\"eyJhIjo=\"}\n{\"data_base64\":\"Iv8i\"}\n{\"data_base64\":\"MSAy\"}\n"
        );
    }

    proptest! {
        #[test]
        fn any_entry_is_one_line_of_json(data: Vec<u8>, text in "[\\[\\]{}\",:0-9a \\n\\\\]{0,24}") {
            for entry in [data.as_slice(), text.as_bytes()] {
                let mut lines = Vec::new();
                push_line(&mut lines, entry);
                prop_assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 1);
                prop_assert!(json_line(&lines).is_some());
            }
        }
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let object = "2020/07/13/00/a-1-2.jsonl";
        let target = root.path().join(object);
        let mut writer = ObjectWriter::create(root.path(), object, Packing::None).unwrap();
        writer.write(b"1\n").unwrap();
        assert!(!target.exists());
        drop(writer);
        let folder = target.parent().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "nothing is left behind");

        for lines in ["1\n2\n", "1\n"] {
            let mut writer = ObjectWriter::create(root.path(), object, Packing::None).unwrap();
            writer.write(lines.as_bytes()).unwrap();
            let (path, length) = writer.finish().unwrap();
            assert_eq!(path, target);
            assert_eq!(length, lines.len() as u64);
            assert_eq!(fs::read_to_string(&target).unwrap(), lines);
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("2020"), b"a file").unwrap();
        let error =
            ObjectWriter::create(root.path(), "2020/07/a.jsonl", Packing::None).err().unwrap();
        assert!(error.to_string().contains("2020"), "{error}");
    }
}
