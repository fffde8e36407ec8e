//! What waits in each delivery, in memory: written by the journal's writer after each commit and by
//! the delivery's worker after each batch, read by the worker and by whoever shows it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Timestamp;

use super::account::Account;
use super::account::Accounts;
use super::buffer_name;
use super::table::DeliveryRow;

/// A place between entries, by running counts since the delivery was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    /// Number of the last block before it.
    pub(super) block: i64,
    /// Id of the last entry before it.
    pub(super) entry: i64,
    /// Bytes of data before it.
    pub(super) bytes: i64,
}

/// What waits: the entries between two points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Everything before it is delivered.
    pub(super) floor: Point,
    /// Everything before it is committed.
    pub(super) tail: Point,
    /// Arrival of the oldest entry; `None` when nothing waits.
    pub(super) oldest: Option<Timestamp>,
}

impl Extent {
    /// Entries that wait.
    pub(super) fn records(&self) -> u64 {
        u64::try_from(self.tail.entry - self.floor.entry).unwrap_or(0)
    }

    /// Bytes of their data.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.tail.bytes - self.floor.bytes).unwrap_or(0)
    }
}

/// The backlog of one buffer.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) name: Arc<str>,
    pub(super) row: DeliveryRow,
    /// A lock of nanoseconds: two writers, see the module.
    state: Mutex<State>,
    changed: Notify,
    /// Rung when a batch has left, and when one has failed.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    extent: Extent,
    /// Everything up to this block is to leave as soon as it can.
    flush_until: i64,
    /// Where its bytes are counted.
    account: Option<Arc<Account>>,
    /// Failed batches since the last good one.
    failures_in_row: u32,
    /// Failed batches since the start.
    failures: u64,
    /// What the newest of them said.
    failure: String,
}

impl Backlog {
    fn new(name: &Arc<str>, row: DeliveryRow, extent: Extent) -> Backlog {
        let (flush_until, account, failures_in_row, failures, failure) = Default::default();
        let state =
            Mutex::new(State { extent, flush_until, account, failures_in_row, failures, failure });
        let (changed, ended) = (Notify::new(), Notify::new());
        Backlog { name: Arc::clone(name), row, state, changed, ended }
    }

    pub(super) fn extent(&self) -> Extent {
        self.state.lock().extent
    }

    /// Counts what waits in `account` from now on.
    fn keep_account(&self, account: Arc<Account>) {
        let mut state = self.state.lock();
        if state.account.is_none() {
            account.know(&self.name);
            account.charge(state.extent.bytes());
            state.account = Some(account);
        }
    }

    /// A commit has moved the tail.
    pub(super) fn grow(&self, tail: Point, oldest: Timestamp) {
        let mut state = self.state.lock();
        let before = state.extent.bytes();
        state.extent.tail = tail;
        state.extent.oldest.get_or_insert(oldest);
        if let Some(account) = &state.account {
            account.charge(state.extent.bytes() - before);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A batch has moved the floor. Answers whether something waits behind it, the oldest of which
    /// must then be told to [`Backlog::set_oldest`].
    pub(super) fn raise_floor(&self, floor: Point) -> bool {
        let mut state = self.state.lock();
        let before = state.extent.bytes();
        state.extent.floor = floor;
        state.failures_in_row = 0;
        if state.extent.tail == floor {
            state.extent.oldest = None;
        }
        if let Some(account) = &state.account {
            account.release(before - state.extent.bytes());
        }
        let is_waiting = state.extent.oldest.is_some();
        drop(state);
        self.ended.notify_waiters();
        is_waiting
    }

    /// See [`Backlog::raise_floor`].
    pub(super) fn set_oldest(&self, oldest: Timestamp) {
        self.state.lock().extent.oldest = Some(oldest);
    }

    /// Asks that all that waits now leaves, and waits until it has or a batch has failed.
    ///
    /// # Errors
    /// What a batch failed of that began to be written before or after this call; it is tried again.
    pub(super) async fn flush(&self) -> Result<(), String> {
        let (until, failures_before) = {
            let mut state = self.state.lock();
            state.flush_until = state.extent.tail.block;
            (state.flush_until, state.failures)
        };
        self.changed.notify_one();
        loop {
            let ended = self.ended.notified();
            {
                let state = self.state.lock();
                if state.extent.floor.block >= until {
                    return Ok(());
                }
                if state.failures > failures_before {
                    return Err(state.failure.clone());
                }
            }
            ended.await;
        }
    }

    /// Whether something waits that was asked to leave.
    pub(super) fn is_asked(&self) -> bool {
        let state = self.state.lock();
        state.extent.floor.block < state.flush_until
    }

    /// A batch has failed.
    pub(super) fn note_failed(&self, failure: &str) {
        let mut state = self.state.lock();
        state.failures_in_row = state.failures_in_row.saturating_add(1);
        state.failures += 1;
        failure.clone_into(&mut state.failure);
        drop(state);
        self.ended.notify_waiters();
    }

    /// Failed batches since the last good one.
    pub(super) fn failures_in_row(&self) -> u32 {
        self.state.lock().failures_in_row
    }

    /// Its delivery has other settings: what they say of when a batch is due is looked at again.
    pub(super) fn settings_changed(&self) {
        self.changed.notify_one();
    }

    /// Waits for the next commit that adds something, or a flush that is asked for. A wake-up between two
    /// calls is not lost.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// All deliveries that have a place in the database. Joins the journal's [`super::Appender`] to
/// [`super::Deliveries`].
#[derive(Debug, Default)]
pub struct Backlogs {
    by_name: Mutex<BTreeMap<Arc<str>, Arc<Backlog>>>,
    /// Given when the gateway starts; what is registered before is counted then.
    accounts: OnceLock<Arc<Accounts>>,
    /// Buffers that the commit being made takes away. Written and read by the journal's writer.
    retired: Mutex<Vec<Arc<str>>>,
    added: Notify,
}

impl Backlogs {
    /// The backlog of `name`; `found` is what the tables say, used when it is not known yet.
    pub(super) fn register(
        &self,
        name: &Arc<str>,
        row: DeliveryRow,
        found: Extent,
    ) -> Arc<Backlog> {
        let mut by_name = self.by_name.lock();
        let backlog = by_name.entry(Arc::clone(name)).or_insert_with(|| {
            self.added.notify_one();
            Arc::new(Backlog::new(name, row, found))
        });
        if let Some(account) = self.accounts.get().and_then(|accounts| accounts.of(name)) {
            backlog.keep_account(account);
        }
        Arc::clone(backlog)
    }

    /// Counts what waits in `accounts`, from now on; the first call counts.
    pub(super) fn keep_accounts(&self, accounts: Arc<Accounts>) {
        let accounts = self.accounts.get_or_init(|| accounts);
        for backlog in self.list() {
            if let Some(account) = accounts.of(&backlog.name) {
                backlog.keep_account(account);
            }
        }
    }

    /// The commit being made takes the buffer `name` away.
    pub(super) fn retire(&self, name: &Arc<str>) {
        self.retired.lock().push(Arc::clone(name));
    }

    /// That commit was undone.
    pub(super) fn keep_retired(&self) {
        self.retired.lock().clear();
    }

    /// That commit is on disk. Answers whether any was taken away.
    pub(super) fn take_away_retired(&self) -> bool {
        let retired = std::mem::take(&mut *self.retired.lock());
        for name in &retired {
            let mut by_name = self.by_name.lock();
            by_name.remove(name);
            // The buffers of a delivery stand side by side, it first.
            let delivery = buffer_name::delivery_of(name);
            let behind = (Bound::Included(delivery), Bound::Unbounded);
            let next = by_name.range::<str, _>(behind).next();
            let is_last = next.is_none_or(|(next, _)| buffer_name::delivery_of(next) != delivery);
            drop(by_name);
            if let Some(accounts) = self.accounts.get() {
                accounts.close(name, is_last);
            }
        }
        !retired.is_empty()
    }

    /// All, by name.
    pub(super) fn list(&self) -> Vec<Arc<Backlog>> {
        self.by_name.lock().values().map(Arc::clone).collect()
    }

    /// Waits until one was added. A wake-up between two calls is not lost.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }
}
