//! SQLite at the bottom: opening, pragmas, schema version, the one write connection.
//!
//! [`Storage::open`] takes the data directory: it makes the folder, locks it against every other
//! process, opens `tidegate.db` and brings its schema up to date, or says precisely why it cannot.
//! From then on there is one write connection, which goes to the journal's writer; everybody else
//! changes tables by sending a job through the [`Executor`] and reads through connections of their
//! own. Commands that only look (`tidegate stream tail`) use [`Storage::peek`]: no lock, and nothing
//! is changed, so they work beside a running gateway.
//!
//! Crash story: the database is in WAL mode with `synchronous=FULL`. A commit is one append to the
//! log and one sync of it; after a crash SQLite reads the log up to its last whole commit. Copying
//! the log into the database (the checkpoint) is the work of a second connection on its own thread,
//! see [`checkpointer`]. Figures and the reasons for page size and layout: `docs/storage.md`.
//!
//! [`frame`] is the form of everything that is stored as a blob, [`message`] that of an application
//! message in it. [`cipher`] encrypts what a key of the configuration is to protect: whoever opens the storage gives the
//! [`Keyring`], and every connection and job has it.

pub(crate) mod checkpointer;
pub(crate) mod cipher;
mod executor;
pub(crate) mod frame;
mod lock;
pub(crate) mod message;
mod migrations;
mod open_rows;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OpenFlags;

pub use cipher::KEY_BYTES;
pub use cipher::Keyring;
pub use executor::ExecuteError;
pub use executor::Executor;
pub(crate) use executor::Job;
pub(crate) use executor::JobQueue;
pub use lock::LockHolder;
pub(crate) use open_rows::OpenRows;
/// What SQLite says, for the error types of those who keep tables.
pub use rusqlite::Error as SqliteError;

use cipher::Opener;
use lock::DataLock;
use lock::LockError;

/// The database's file name in the data directory.
const FILE_NAME: &str = "tidegate.db";
/// Marks the file as ours (`PRAGMA application_id`): "TIDE".
const APPLICATION_ID: i64 = 0x5449_4445;
/// Smallest writes for the commits that devices wait for; see `docs/storage.md`.
const PAGE_BYTES: u32 = 4096;
/// How long a statement waits for a lock: only a restart of the log holds one, for milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that a connection keeps prepared: more than the program has.
const STATEMENTS_MAX: usize = 128;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The folder is not there and cannot be made, or cannot be used.
    #[error("cannot use the data directory {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is where the folder should be.
    #[error("the data directory {} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The folder, its file system or a file in it may not be written.
    #[error("the data directory {} is read-only", path.display())]
    ReadOnly {
        /// The folder.
        path: PathBuf,
        /// What was refused.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has it.
    #[error("the data directory {} is in use by {}", path.display(), describe_holder(holder.as_ref()))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who, when it can be told.
        holder: Option<LockHolder>,
    },
    /// Nothing to look at: no gateway has run here.
    #[error("there is no database in {}", .0.display())]
    Missing(PathBuf),
    /// The database belongs to another program.
    #[error("{} is not a database of tidegate", .0.display())]
    Foreign(PathBuf),
    /// A later version of the program wrote it.
    #[error(
        "{} has schema version {found}, and this tidegate knows versions up to {known}: \
         use the version that wrote it, or a later one", path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// An earlier version of the program wrote it, and looking must not change it.
    #[error("{} has the older schema version {found}: start the gateway once to bring it up to date", path.display())]
    OlderSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The file is damaged.
    #[error("the database {} is damaged", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite found.
        source: rusqlite::Error,
    },
    /// The disk has no room.
    #[error("there is no space left for the database {}", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Anything else SQLite says.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

fn describe_holder(holder: Option<&LockHolder>) -> String {
    match holder {
        Some(LockHolder { pid, http: Some(http) }) => format!("process {pid} (http://{http})"),
        Some(LockHolder { pid, http: None }) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

/// A read-only connection. Not for async code: a read is a blocking call.
#[derive(Debug)]
pub struct ReadConnection {
    sqlite: Connection,
    opener: Opener,
}

impl ReadConnection {
    /// For the `table.rs` files.
    pub(crate) fn sqlite(&self) -> &Connection {
        &self.sqlite
    }

    /// Opens what is encrypted.
    pub(crate) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// The same with keys for what is encrypted.
    #[must_use]
    pub fn with_keys(self, keys: Arc<Keyring>) -> ReadConnection {
        ReadConnection { opener: Opener::new(keys), ..self }
    }
}

/// The data directory, locked, with its database open.
#[derive(Debug)]
pub struct Storage {
    folder: PathBuf,
    /// The write connection until the journal takes it.
    writer: Mutex<Option<Connection>>,
    /// The writer's end of the job queue until the journal takes it.
    jobs: Mutex<Option<JobQueue>>,
    executor: Executor,
    keys: Arc<Keyring>,
    /// Held as long as this value lives. Behind a lock because announcing rewrites the file.
    lock: Mutex<DataLock>,
}

impl Storage {
    /// Takes `folder` for this process: makes it, locks it, opens and migrates the database.
    pub fn open(folder: &Path) -> Result<Storage, StorageError> {
        Storage::open_with(folder, Arc::default())
    }

    /// The same with keys for what is encrypted.
    pub fn open_with(folder: &Path, keys: Arc<Keyring>) -> Result<Storage, StorageError> {
        make_folder(folder)?;
        let lock = DataLock::take(folder).map_err(|error| match error {
            LockError::Held(holder) => StorageError::InUse { path: folder.to_owned(), holder },
            LockError::Io(source) => folder_error(folder, source),
        })?;
        let path = folder.join(FILE_NAME);
        let writer = open_writer(&path)?;
        let (executor, jobs) = Executor::channel(Arc::clone(&keys));
        Ok(Storage {
            folder: folder.to_owned(),
            writer: Mutex::new(Some(writer)),
            jobs: Mutex::new(Some(jobs)),
            executor,
            keys,
            lock: Mutex::new(lock),
        })
    }

    /// Which process has `folder` now; `None` when none has, or there is no such folder.
    pub fn holder(folder: &Path) -> Result<Option<LockHolder>, StorageError> {
        lock::holder(folder).map_err(|source| folder_error(folder, source))
    }

    /// Opens the database of `folder` for looking only, whether a gateway runs on it or not.
    pub fn peek(folder: &Path) -> Result<ReadConnection, StorageError> {
        let path = folder.join(FILE_NAME);
        if !path.is_file() {
            return Err(StorageError::Missing(folder.to_owned()));
        }
        let connection = open_reader(&path)?;
        check_version(&connection, &path)?;
        let found = read_version(&connection, &path)?;
        if found < migrations::VERSION {
            return Err(StorageError::OlderSchema { path, found });
        }
        Ok(ReadConnection { sqlite: connection, opener: Opener::default() })
    }

    /// A further read connection.
    pub fn reader(&self) -> Result<ReadConnection, StorageError> {
        let sqlite = open_reader(&self.folder.join(FILE_NAME))?;
        Ok(ReadConnection { sqlite, opener: Opener::new(Arc::clone(&self.keys)) })
    }

    /// What may be encrypted with.
    pub fn keys(&self) -> &Arc<Keyring> {
        &self.keys
    }

    /// Where jobs for the write connection go; they run once the journal has started.
    pub fn executor(&self) -> Executor {
        self.executor.clone()
    }

    /// The data directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says in the lock file where the HTTP API listens, for commands that talk to it.
    pub fn announce(&self, http: SocketAddr) -> Result<(), StorageError> {
        self.lock.lock().announce(Some(http)).map_err(|source| folder_error(&self.folder, source))
    }

    /// The write connection and its job queue: once.
    pub(crate) fn take_writer(&self) -> Option<(Connection, JobQueue)> {
        self.writer.lock().take().zip(self.jobs.lock().take())
    }

    /// Lets a test prepare the write connection.
    #[cfg(test)]
    pub(crate) fn with_writer<T>(&self, prepare: impl FnOnce(&Connection) -> T) -> T {
        prepare(self.writer.lock().as_ref().expect("the journal has not started"))
    }

    /// A second writing connection, which only ever checkpoints.
    pub(crate) fn open_checkpointer(&self) -> Result<Connection, StorageError> {
        let path = self.folder.join(FILE_NAME);
        connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }
}

fn make_folder(folder: &Path) -> Result<(), StorageError> {
    if folder.exists() && !folder.is_dir() {
        return Err(StorageError::NotAFolder(folder.to_owned()));
    }
    fs::create_dir_all(folder).map_err(|source| folder_error(folder, source))
}

fn folder_error(folder: &Path, source: io::Error) -> StorageError {
    let path = folder.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StorageError::ReadOnly { path, source: source.into() }
        }
        _ => StorageError::Folder { path, source },
    }
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> StorageError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StorageError::Damaged { path, source }
        }
        Some(ErrorCode::DiskFull) => StorageError::Full { path, source },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StorageError::ReadOnly { path, source: source.into() }
        }
        _ => StorageError::Open { path, source },
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StorageError> {
    // The connection is used by one thread at a time, so SQLite need not lock for us.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| sqlite_error(path, source))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|source| sqlite_error(path, source))?;
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection, StorageError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open_writer(path: &Path) -> Result<Connection, StorageError> {
    let is_new = !path.exists();
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = connect(path, access)?;
    if !is_new {
        check_version(&connection, path)?;
    }
    prepare(&mut connection).map_err(|source| sqlite_error(path, source))?;
    Ok(connection)
}

/// Pragmas and schema of the write connection.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    // The page size is fixed by the first write, so it comes before everything else.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The checkpointer's work: a commit that a device waits for must not pay for it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrations::migrate(connection)
}

fn read_version(connection: &Connection, path: &Path) -> Result<i64, StorageError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| sqlite_error(path, source))
}

/// Refuses another program's database and one of a later version.
fn check_version(connection: &Connection, path: &Path) -> Result<(), StorageError> {
    let id: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|source| sqlite_error(path, source))?;
    let found = read_version(connection, path)?;
    // A crash between creating the file and its first commit leaves an empty database.
    let is_empty = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))
        .map_err(|source| sqlite_error(path, source))?
        == 0;
    if id != APPLICATION_ID && !is_empty {
        return Err(StorageError::Foreign(path.to_owned()));
    }
    if found > migrations::VERSION {
        let path = path.to_owned();
        return Err(StorageError::NewerSchema { path, found, known: migrations::VERSION });
    }
    Ok(())
}
