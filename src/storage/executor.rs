//! Jobs for the one write connection.
//!
//! Retention, delivery flushes and hook bookkeeping change tables that the journal's writer also
//! changes. They send their change as a closure to the writer, which runs it in its next
//! transaction, so there is one writer, one order, and one sync for all of them.

use std::sync::Arc;

use rusqlite::Transaction;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::limits;

use super::cipher::Keyring;

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The journal's writer has ended. Nothing of the job is on disk.
    #[error("the journal is closed")]
    Closed,
    /// SQLite refused the job; its changes were undone, those of others were not.
    #[error("a storage job failed")]
    Failed(#[source] rusqlite::Error),
}

/// What the writer runs in its transaction.
pub(crate) trait Job: Send {
    /// Makes the change. Run again when the transaction has to be retried.
    fn run(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()>;

    /// Answers whoever waits: after the commit, or with the reason there is none.
    fn finish(self: Box<Self>, refused: Option<rusqlite::Error>);
}

struct Task<F, T> {
    change: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, ExecuteError>>,
}

impl<F, T> Job for Task<F, T>
where
    F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.change)(transaction)?);
        Ok(())
    }

    fn finish(self: Box<Self>, refused: Option<rusqlite::Error>) {
        let answer = match (refused, self.value) {
            (Some(source), _) => Err(ExecuteError::Failed(source)),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(ExecuteError::Closed),
        };
        // Nobody waits any more: the change is made all the same.
        drop(self.reply.send(answer));
    }
}

/// Sends jobs to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    jobs: mpsc::Sender<Box<dyn Job>>,
    keys: Arc<Keyring>,
}

/// The writer's end.
pub(crate) type JobQueue = mpsc::Receiver<Box<dyn Job>>;

impl Executor {
    /// A queue of [`limits::JOURNAL_JOBS_MAX`] jobs.
    pub(crate) fn channel(keys: Arc<Keyring>) -> (Executor, JobQueue) {
        let (jobs, queue) = mpsc::channel(limits::JOURNAL_JOBS_MAX);
        (Executor { jobs, keys }, queue)
    }

    /// What may be encrypted with.
    pub(crate) fn keys(&self) -> &Arc<Keyring> {
        &self.keys
    }

    /// Runs `change` in the writer's next transaction, in a savepoint of its own, and answers when
    /// that is on disk. `change` may run more than once (a full disk is waited out), never in part.
    /// It sees the submissions that are committed before it or with it, and not those that still wait in
    /// the journal's queue: whoever needs one awaits its acknowledgement first. Keep it to milliseconds: messages wait behind it.
    pub(crate) async fn execute<T, F>(&self, change: F) -> Result<T, ExecuteError>
    where
        F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task { change, value: None, reply });
        self.jobs.send(job).await.map_err(|_| ExecuteError::Closed)?;
        answer.await.unwrap_or(Err(ExecuteError::Closed))
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}
