//! What waits for each hook, in memory: written by the journal's writer after each commit and by the
//! hook's worker after each recording, read by the worker and by whoever shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::table::HookRow;
use super::table::Recorded;

/// How far a hook has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Number of the last call ever committed.
    pub(super) last: i64,
    /// Calls that have left: done, given up or refused.
    pub(super) left: i64,
    /// Dead letters kept.
    pub(super) letters: i64,
}

impl Extent {
    /// Calls that wait or are under way.
    pub(super) fn pending(&self) -> u64 {
        u64::try_from(self.last - self.left).unwrap_or(0)
    }
}

#[derive(Debug)]
struct State {
    extent: Extent,
    /// Refused since the start because the backlog was full.
    refused: u64,
    /// Calls behind this number came back from the dead letters.
    rewind_to: Option<i64>,
}

/// The backlog of one hook.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) name: Arc<str>,
    pub(super) row: HookRow,
    /// A lock of nanoseconds: two writers, see the module.
    state: Mutex<State>,
    changed: Notify,
}

impl Backlog {
    pub(super) fn new(name: Arc<str>, row: HookRow, extent: Extent) -> Self {
        let state = Mutex::new(State { extent, refused: 0, rewind_to: None });
        Backlog { name, row, state, changed: Notify::new() }
    }

    pub(super) fn extent(&self) -> Extent {
        self.state.lock().extent
    }

    /// Calls refused since the start.
    pub(super) fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// A commit has added calls up to `last`, and refused some.
    pub(super) fn grow(&self, last: i64, refused: Recorded) {
        let mut state = self.state.lock();
        state.extent.last = last;
        state.refused += refused.left.unsigned_abs();
        drop(state);
        self.shrink(refused);
        self.changed.notify_one();
    }

    /// Calls have left.
    pub(super) fn shrink(&self, recorded: Recorded) {
        let mut state = self.state.lock();
        state.extent.left += recorded.left;
        state.extent.letters += recorded.letters - recorded.pruned;
    }

    /// Dead letters are calls again, the lowest of them `lowest`.
    pub(super) fn revive(&self, count: i64, lowest: i64) {
        let mut state = self.state.lock();
        state.extent.left -= count;
        state.extent.letters -= count;
        let before = lowest - 1;
        state.rewind_to = Some(state.rewind_to.map_or(before, |known| known.min(before)));
        drop(state);
        self.changed.notify_one();
    }

    /// Where to read from again, once.
    pub(super) fn take_rewind(&self) -> Option<i64> {
        self.state.lock().rewind_to.take()
    }

    /// Waits for the next change. A wake-up between two calls is not lost.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// All hooks that have a place in the database. Joins the journal's [`super::Appender`] to
/// [`super::Hooks`].
#[derive(Debug, Default)]
pub struct Backlogs {
    by_name: Mutex<BTreeMap<Arc<str>, Arc<Backlog>>>,
    /// New dead letters.
    letters: Notify,
}

impl Backlogs {
    pub(super) fn find(&self, name: &str) -> Option<Arc<Backlog>> {
        self.by_name.lock().get(name).map(Arc::clone)
    }

    /// Adds `backlog` if there is none of that name; answers the one that is there.
    pub(super) fn register(&self, name: &Arc<str>, backlog: &Arc<Backlog>) -> Arc<Backlog> {
        let mut by_name = self.by_name.lock();
        Arc::clone(by_name.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(backlog)))
    }

    /// All, by name.
    pub(super) fn list(&self) -> Vec<Arc<Backlog>> {
        self.by_name.lock().values().map(Arc::clone).collect()
    }

    /// Says that there are new dead letters.
    pub(super) fn note_letters(&self) {
        self.letters.notify_one();
    }

    /// Waits for new dead letters. A wake-up between two calls is not lost.
    pub(super) async fn letters(&self) {
        self.letters.notified().await;
    }
}
