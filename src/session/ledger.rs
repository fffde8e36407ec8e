//! What one of the next commits is to write or remove, and no publisher waits for.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use super::Parcel;
use super::Removal;

/// Connections add under one of so many locks, by session, and once a batch.
const SHARDS: usize = 16;

/// What subscribers are done with, until a commit takes it. There is never more in it than messages on disk.
#[derive(Debug, Default)]
pub struct Ledger {
    shards: [Mutex<Vec<Removal>>; SHARDS],
    /// Messages to be written.
    parcels: Mutex<Vec<Arc<Parcel>>>,
    /// Entries of all shards, and parcels.
    entries: AtomicUsize,
    /// Rung when it is no longer empty.
    filled: Notify,
    /// Bytes of all messages of all sessions that are kept.
    bytes: Gauge,
}

impl Ledger {
    /// Adds all of `removals` and empties it.
    pub fn add(&self, removals: &mut Vec<Removal>) {
        let Some(first) = removals.first() else { return };
        let shard = usize::try_from(first.session).unwrap_or_default() % SHARDS;
        let added = removals.len();
        // Counted first: whoever takes them counts them off.
        let before = self.entries.fetch_add(added, Ordering::AcqRel);
        self.shards[shard].lock().append(removals);
        if before == 0 {
            self.filled.notify_one();
        }
    }

    /// Adds messages that are to be written, and empties it.
    pub fn add_parcels(&self, parcels: &mut Vec<Arc<Parcel>>) {
        if parcels.is_empty() {
            return;
        }
        let added = parcels.len();
        self.entries.fetch_add(added, Ordering::AcqRel);
        self.parcels.lock().append(parcels);
        self.filled.notify_one();
    }

    /// Takes the messages that are to be written.
    pub fn take_parcels(&self) -> Vec<Arc<Parcel>> {
        if self.is_empty() {
            return Vec::new();
        }
        let parcels = std::mem::take(&mut *self.parcels.lock());
        self.entries.fetch_sub(parcels.len(), Ordering::AcqRel);
        parcels
    }

    /// Moves all that is to be removed to `into`.
    pub fn take(&self, into: &mut Vec<Removal>) {
        if self.entries.load(Ordering::Acquire) == 0 {
            return;
        }
        for shard in &self.shards {
            let mut shard = shard.lock();
            self.entries.fetch_sub(shard.len(), Ordering::AcqRel);
            into.append(&mut shard);
        }
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Acquire) == 0
    }

    /// Waits until there is something to remove.
    pub async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Bytes of all messages that are kept for sessions, as it is shown.
    pub fn gauge(&self) -> &Gauge {
        &self.bytes
    }

    /// Bytes of all messages that are kept for sessions.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes.get()).unwrap_or_default()
    }

    /// A message of so many bytes is kept.
    pub fn note_kept(&self, bytes: usize) {
        self.bytes.inc_by(signed(bytes));
    }

    /// Messages of so many bytes are done with.
    pub fn note_gone(&self, bytes: usize) {
        self.bytes.dec_by(signed(bytes));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
