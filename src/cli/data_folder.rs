//! The data directory of a command that looks at what a gateway keeps.

use std::path::PathBuf;

use clap::Args;

use crate::storage::ReadConnection;
use crate::storage::Storage;

/// Where the gateway keeps what it keeps.
#[derive(Args, Debug)]
pub(super) struct DataArgs {
    /// Data directory of the gateway
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(super) data: PathBuf,
}

impl DataArgs {
    /// The database, opened for reading beside whoever uses it.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(super) fn peek(&self) -> anyhow::Result<ReadConnection> {
        Ok(Storage::peek(&self.data)?)
    }
}
