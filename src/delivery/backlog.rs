//! What waits in each delivery, in memory: written by the journal's writer after each commit and by
//! the delivery's worker after each batch, read by the worker and by whoever shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Timestamp;

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

/// The backlog of one delivery.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) name: Arc<str>,
    pub(super) row: DeliveryRow,
    /// A lock of nanoseconds: two writers, see the module.
    extent: Mutex<Extent>,
    changed: Notify,
}

impl Backlog {
    pub(super) fn extent(&self) -> Extent {
        *self.extent.lock()
    }

    /// A commit has moved the tail.
    pub(super) fn grow(&self, tail: Point, oldest: Timestamp) {
        let mut extent = self.extent.lock();
        extent.tail = tail;
        extent.oldest.get_or_insert(oldest);
        drop(extent);
        self.changed.notify_one();
    }

    /// A batch has moved the floor. Answers whether something waits behind it, the oldest of which
    /// must then be told to [`Backlog::set_oldest`].
    pub(super) fn raise_floor(&self, floor: Point) -> bool {
        let mut extent = self.extent.lock();
        extent.floor = floor;
        if extent.tail == floor {
            extent.oldest = None;
        }
        extent.oldest.is_some()
    }

    /// See [`Backlog::raise_floor`].
    pub(super) fn set_oldest(&self, oldest: Timestamp) {
        self.extent.lock().oldest = Some(oldest);
    }

    /// Waits for the next commit that adds something. A wake-up between two calls is not lost.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// All deliveries that have a place in the database. Joins the journal's [`super::Appender`] to
/// [`super::Deliveries`].
#[derive(Debug, Default)]
pub struct Backlogs {
    by_name: Mutex<BTreeMap<Arc<str>, Arc<Backlog>>>,
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
            let extent = Mutex::new(found);
            Arc::new(Backlog { name: Arc::clone(name), row, extent, changed: Notify::new() })
        });
        Arc::clone(backlog)
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
