//! The transaction: a batch and the jobs that join it, written to the tables of their nouns.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::Transaction;
use rusqlite::TransactionBehavior;

use crate::checkpoint;
use crate::clock::Timestamp;
use crate::delivery;
use crate::hit_log::NewHit;
use crate::hit_log::Recorder;
use crate::lambda;
use crate::lambda::NewCall;
use crate::latest;
use crate::retained;
use crate::session;
use crate::storage::Job;
use crate::storage::Keyring;
use crate::storage::SqliteError;
use crate::storage::checkpointer;
use crate::stream;
use crate::stream::NewRecord;

use super::Batch;
use super::Effect;
use super::HitRecord;
use super::StateChange;

/// Where commits are announced to whoever works on streams, deliveries and hooks.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    pub(super) streams: Arc<stream::Arrivals>,
    pub(super) meter: Arc<stream::Meter>,
    pub(super) deliveries: Arc<delivery::Backlogs>,
    pub(super) hooks: Arc<lambda::Backlogs>,
    pub(super) keys: Arc<Keyring>,
}

/// The write connection, and what its nouns remember between commits.
pub(super) struct Tables {
    connection: Connection,
    streams: stream::Appender,
    deliveries: delivery::Appender,
    hooks: lambda::Appender,
    sessions: session::Appender,
    hits: Recorder,
    /// Whether a commit is a sign of life; see [`super::Stage::IS_GATEWAY`].
    is_gateway: bool,
    /// Whether the next commit is synced. Changed by [`Tables::commit`] and [`Tables::save_alive`] only.
    is_synced: bool,
}

impl Tables {
    /// Writes over `connection`, on which `synchronous` is FULL.
    pub(super) fn new(
        connection: Connection,
        hits_max: usize,
        targets: Targets,
        is_gateway: bool,
    ) -> Tables {
        Tables {
            connection,
            streams: stream::Appender::new(targets.streams, targets.meter, targets.keys),
            deliveries: delivery::Appender::new(targets.deliveries),
            hooks: lambda::Appender::new(targets.hooks),
            sessions: session::Appender::default(),
            hits: Recorder::new(hits_max),
            is_gateway,
            is_synced: true,
        }
    }

    /// Commits `batch` and what `jobs` do, and syncs it. On an error nothing of it is stored, and the
    /// same call can be made again. Jobs that SQLite refuses are answered and removed.
    pub(super) fn commit(
        &mut self,
        batch: &Batch,
        jobs: &mut Vec<Box<dyn Job>>,
        now: Timestamp,
    ) -> Result<(), SqliteError> {
        let committed = self.try_commit(batch, jobs, now);
        if committed.is_ok() {
            self.streams.committed();
            self.deliveries.committed();
            self.hooks.committed();
            if !jobs.is_empty() {
                // One of them may have put a record.
                self.streams.committed_by_others();
            }
        } else {
            self.deliveries.forget();
            self.hooks.forget();
        }
        // A job may have changed the tables that are remembered. Not those of hooks, whose jobs do not touch
        // what the appender remembers; those of deliveries say which buffers they took away.
        if committed.is_err() || !jobs.is_empty() {
            self.streams.forget();
            self.hits.forget();
        }
        committed
    }

    fn try_commit(
        &mut self,
        batch: &Batch,
        jobs: &mut Vec<Box<dyn Job>>,
        now: Timestamp,
    ) -> Result<(), SqliteError> {
        if !self.is_synced {
            self.connection.pragma_update(None, "synchronous", "FULL")?;
            self.is_synced = true;
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.sessions.begin();
        for effect in &batch.effects {
            match effect {
                Effect::Stream { stream, partition_key, hash_key, data, at, hops } => {
                    let (hash_key, at, hops) = (*hash_key, *at, *hops);
                    let record = NewRecord { partition_key, hash_key, data, at, hops };
                    self.streams.push(&transaction, stream, &record)?;
                }
                Effect::Put(put) => self.streams.put(&transaction, put)?,
                Effect::Deliver { delivery, data, at, .. } => {
                    self.deliveries.push(&transaction, delivery, data, *at)?;
                }
                Effect::Invoke { hook, rule, payload, at, hops, for_error } => {
                    let (at, hops, for_error) = (*at, *hops, *for_error);
                    let call = NewCall { rule, payload, at, hops, for_error };
                    self.hooks.push(&transaction, hook, &call)?;
                }
                Effect::Retain(publish) => retained::save(&transaction, publish)?,
                Effect::Upsert(upsert) => latest::save(&transaction, upsert)?,
                Effect::Forget { table, key } => {
                    latest::forget(&transaction, table, key)?;
                }
                Effect::Keep(parcel) => self.sessions.push(&transaction, parcel)?,
                Effect::Session(change) => self.sessions.change(&transaction, change)?,
                Effect::Advance(advance) => stream::advance(&transaction, advance)?,
                Effect::Consumers(consumers) => {
                    self.streams.flush(&transaction)?;
                    stream::settle(&transaction, consumers, now)?;
                }
                Effect::Switches(switches) => checkpoint::save_switches(&transaction, switches)?,
            }
        }
        self.streams.flush(&transaction)?;
        self.deliveries.flush(&transaction)?;
        self.hooks.flush(&transaction)?;
        for change in &batch.states {
            match change {
                StateChange::Key { part, change } => {
                    checkpoint::save(&transaction, *part, change)?;
                }
                StateChange::Empty { part, rule } => {
                    checkpoint::empty(&transaction, *part, rule)?;
                }
            }
        }
        for removal in &batch.removals {
            self.sessions.remove(&transaction, removal)?;
        }
        self.sessions.flush(&transaction)?;
        self.hits.append(&transaction, batch.hits.iter().map(as_new_hit))?;
        if self.is_gateway {
            checkpoint::save_alive(&transaction, now)?;
        }
        run_jobs(&transaction, jobs)?;
        transaction.commit()
    }

    /// Notes that the gateway is running at `now`, without a sync. That is sound: a later commit
    /// syncs the whole log, this entry included, before it counts; a process that dies leaves the
    /// entry with the kernel; and a power failure at worst makes the noted time a little earlier.
    pub(super) fn save_alive(&mut self, now: Timestamp) -> Result<(), SqliteError> {
        if self.is_synced {
            self.is_synced = false;
            self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        }
        checkpoint::save_alive(&self.connection, now)
    }

    /// Rows changed since the start, by jobs too.
    pub(super) fn rows_changed(&self) -> u64 {
        self.connection.total_changes()
    }

    /// Copies the log into the database and empties it.
    pub(super) fn close(self) -> Result<(), SqliteError> {
        checkpointer::truncate(&self.connection)?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

fn as_new_hit(hit: &HitRecord) -> NewHit<'_> {
    NewHit {
        at: hit.at,
        rule: &hit.rule,
        event: hit.event,
        reason: hit.reason,
        topic: &hit.topic,
        client_id: hit.client_id.as_deref(),
        key: hit.key.as_deref(),
        output: &hit.output,
    }
}

/// Runs each job in a savepoint: one that is refused leaves no trace and does not stop the others.
fn run_jobs(
    transaction: &Transaction<'_>,
    jobs: &mut Vec<Box<dyn Job>>,
) -> Result<(), SqliteError> {
    let mut place = 0;
    while place < jobs.len() {
        transaction.execute_batch("SAVEPOINT job")?;
        match jobs[place].run(transaction) {
            Ok(()) => {
                transaction.execute_batch("RELEASE job")?;
                place += 1;
            }
            Err(error) if is_the_stores(&error) => return Err(error),
            Err(error) => {
                transaction.execute_batch("ROLLBACK TO job; RELEASE job")?;
                jobs.remove(place).finish(Some(error));
            }
        }
    }
    Ok(())
}

/// Whether the store failed, so that trying the whole transaction again is right, and not the job.
fn is_the_stores(error: &SqliteError) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
        )
    )
}
