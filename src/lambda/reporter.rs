//! Hands dead letters to whoever runs their rules' ON ERROR actions.
//!
//! The table is the queue: each hook remembers up to which letter it has reported, so a letter is
//! reported once, or again if the gateway dies between the report and its record.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::retry::describe;
use crate::storage::ExecuteError;
use crate::storage::ReadConnection;
use crate::storage::SqliteError;

use super::DeadLetter;
use super::backlog::Backlog;
use super::table;
use super::worker::Tools;

/// Pause after a report that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Runs ON ERROR for dead letters.
pub trait DeadLetterSink: Send + Sync + 'static {
    /// Takes letters of `hook`, oldest first, at most [`crate::limits::HOOK_REPORTED_MAX`]. Answers
    /// true when what they cause is on disk, false when it is to be tried again later.
    fn bury<'a>(
        &'a self,
        hook: &'a str,
        letters: &'a [DeadLetter],
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
}

#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("cannot read dead letters")]
    Read(#[from] SqliteError),
    #[error("cannot record that dead letters were reported")]
    Record(#[from] ExecuteError),
    #[error("the ON ERROR actions were not stored")]
    NotTaken,
}

/// Reports the letters of all hooks, until it is aborted.
pub(super) async fn run(tools: Tools, sink: Arc<dyn DeadLetterSink>) {
    loop {
        let mut has_failed = false;
        for backlog in tools.backlogs.list() {
            match report_all(&tools, &*sink, &backlog).await {
                Ok(()) => {}
                Err(ReportError::Record(ExecuteError::Closed)) => return,
                Err(error) => {
                    has_failed = true;
                    tracing::warn!(
                        hook = %backlog.name, error = describe(&error),
                        "dead letters could not be reported; it is tried again"
                    );
                }
            }
        }
        if has_failed {
            sleep(RETRY).await;
        } else {
            tools.backlogs.letters().await;
        }
    }
}

async fn report_all(
    tools: &Tools,
    sink: &dyn DeadLetterSink,
    backlog: &Backlog,
) -> Result<(), ReportError> {
    loop {
        let letters = read(Arc::clone(&tools.reader), backlog).await?;
        let Some(newest) = letters.last().map(|letter| letter.id) else { return Ok(()) };
        if !sink.bury(&backlog.name, &letters).await {
            return Err(ReportError::NotTaken);
        }
        let row = backlog.row;
        tools.executor.execute(move |tx| table::note_reported(tx, row, newest)).await?;
    }
}

async fn read(
    reader: Arc<Mutex<ReadConnection>>,
    backlog: &Backlog,
) -> Result<Vec<DeadLetter>, SqliteError> {
    let row = backlog.row;
    spawn_blocking(move || table::read_unreported(reader.lock().sqlite(), row))
        .await
        .expect("reading dead letters does not panic")
}
