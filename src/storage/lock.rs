//! The lock of the data directory: one process writes it.
//!
//! An advisory lock on `tidegate.lock`, which the kernel releases when the process ends in whatever
//! way, so a stale file never keeps anybody out. The file's text says who holds it, for messages and
//! for commands that would rather talk to the running gateway; it is only believed while locked.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

/// The lock's file name in the data directory.
const FILE_NAME: &str = "tidegate.lock";
/// No holder writes more than this.
const TEXT_BYTES_MAX: u64 = 4096;

/// Who holds a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// Process id.
    pub pid: u32,
    /// Where its HTTP API listens, once it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it, and may have said who it is.
    Held(Option<LockHolder>),
    /// The file cannot be made, locked or written.
    Io(io::Error),
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct DataLock {
    file: File,
}

impl DataLock {
    /// Takes the lock of `folder` at once or says who has it.
    pub(super) fn take(folder: &Path) -> Result<DataLock, LockError> {
        let path = folder.join(FILE_NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(read_holder(&file))),
            Err(TryLockError::Error(source)) => return Err(LockError::Io(source)),
        }
        let mut lock = DataLock { file };
        lock.announce(None).map_err(LockError::Io)?;
        Ok(lock)
    }

    /// Says in the file who holds the lock and where it listens.
    pub(super) fn announce(&mut self, http: Option<SocketAddr>) -> io::Result<()> {
        let holder = LockHolder { pid: std::process::id(), http };
        let text = serde_json::to_string(&holder)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

/// Who holds the lock of `folder` now, without taking it; an error when that cannot be known.
pub(super) fn holder(folder: &Path) -> io::Result<Option<LockHolder>> {
    let file = match File::open(folder.join(FILE_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(read_holder(&file)),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// The holder's text; `None` while it is being written, or when it is not ours.
fn read_holder(mut file: &File) -> Option<LockHolder> {
    let mut text = String::new();
    Read::take(&mut file, TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
