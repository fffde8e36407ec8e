//! When the keys of a table want to be run: a heap with one live entry a key.
//!
//! A deadline that moves later (MAX GAP, on every message) leaves the key's entry where it is; the
//! entry is put back when it comes up. A deadline that moves earlier, or a key that ends, leaves a
//! stale entry behind; stale entries are swept out when they are more than the live ones, so the
//! heap is never larger than twice the keys plus [`SWEEP_MIN`].
//!
//! Entries due at one instant run in the order in which their deadlines were set.

use std::cmp::Ordering;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::clock::Timestamp;

/// Below this many stale entries a sweep is not worth it.
const SWEEP_MIN: usize = 1024;
/// The heap grows by no less.
const GROWTH_MIN: usize = 64;

/// An instant: `at` itself, or the moment after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    at: Timestamp,
    past: bool,
}

impl Deadline {
    /// Due at `at`, before a message stamped `at`.
    pub(super) fn at(at: Timestamp) -> Self {
        Deadline { at, past: false }
    }

    /// Due when `at` has passed: after every message stamped `at`.
    pub(super) fn past(at: Timestamp) -> Self {
        Deadline { at, past: true }
    }

    /// The time written into records.
    pub(super) fn time(self) -> Timestamp {
        self.at
    }

    /// Whether it has come when the time is `now`.
    pub(super) fn is_due(self, now: Timestamp) -> bool {
        if self.past { self.at < now } else { self.at <= now }
    }

    /// The first millisecond at which it is due.
    pub(super) fn wake(self) -> Timestamp {
        if self.past { self.at + Duration::from_millis(1) } else { self.at }
    }

    /// The same side of another time.
    pub(super) fn moved_to(self, at: Timestamp) -> Self {
        Deadline { at, ..self }
    }

    /// Not before `floor`.
    pub(super) fn not_before(self, floor: Timestamp) -> Self {
        Deadline { at: self.at.max(floor), ..self }
    }
}

/// A deadline and its turn among those of the same instant; as small as it can be, because each key has
/// three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    at: Timestamp,
    /// The highest bit: whether it is past `at`. The others: a number that is never used twice.
    order: NonZeroU64,
}

const PAST: u64 = 1 << 63;

impl Turn {
    fn new(deadline: Deadline, number: NonZeroU64) -> Self {
        let order = if deadline.past { number | PAST } else { number };
        Turn { at: deadline.at, order }
    }

    pub(super) fn deadline(self) -> Deadline {
        Deadline { at: self.at, past: self.order.get() & PAST != 0 }
    }
}

/// A key's side of its timer.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// What is wanted.
    pub(super) wanted: Option<Turn>,
    /// The live entry in the heap; never later than `wanted`.
    queued: Option<Turn>,
}

/// An entry of the heap.
#[derive(Clone, Debug)]
pub(super) struct Entry<K> {
    turn: Turn,
    /// Where the key is, or was.
    pub(super) key: K,
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.turn == other.turn
    }
}

impl<K> Eq for Entry<K> {}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.turn.cmp(&other.turn)
    }
}

/// The timers of all keys of a table, which finds them by a `K`.
#[derive(Debug)]
pub(super) struct TimerQueue<K> {
    heap: BinaryHeap<Reverse<Entry<K>>>,
    /// Entries in the heap that belong to nobody.
    stale: usize,
    /// The last one given.
    turns: NonZeroU64,
}

impl<K> Default for TimerQueue<K> {
    fn default() -> Self {
        TimerQueue { heap: BinaryHeap::new(), stale: 0, turns: NonZeroU64::MIN }
    }
}

impl<K> TimerQueue<K> {
    /// Sets what a key waits for; the same deadline again keeps its turn.
    pub(super) fn arm(
        &mut self,
        alarm: &mut Alarm,
        deadline: Option<Deadline>,
        key: impl FnOnce() -> K,
    ) {
        if alarm.wanted.map(Turn::deadline) == deadline {
            return;
        }
        self.turns = self.turns.saturating_add(1);
        alarm.wanted = deadline.map(|deadline| Turn::new(deadline, self.turns));
        let Some(wanted) = alarm.wanted else { return };
        match alarm.queued {
            Some(queued) if queued <= wanted => return,
            Some(_) => self.stale += 1,
            None => {}
        }
        alarm.queued = Some(wanted);
        self.push(Entry { turn: wanted, key: key() });
    }

    fn push(&mut self, entry: Entry<K>) {
        if self.heap.len() == self.heap.capacity() {
            // By a quarter, not to twice the size: it is a large part of what a key takes.
            self.heap.reserve_exact((self.heap.len() / 4).max(GROWTH_MIN));
        }
        self.heap.push(Reverse(entry));
    }

    /// The key waits for nothing more.
    pub(super) fn cancel(&mut self, alarm: &mut Alarm) {
        alarm.wanted = None;
        if alarm.queued.take().is_some() {
            self.stale += 1;
        }
    }

    /// The next entry that may be due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Entry<K>> {
        let Reverse(first) = self.heap.peek()?;
        if !first.turn.deadline().is_due(now) {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Whether `entry`, just popped, is its key's turn; puts it back when the deadline has moved on.
    /// `alarm` is the one of the entry's key, `None` when there is no such key any more.
    pub(super) fn claim(&mut self, entry: Entry<K>, alarm: Option<&mut Alarm>) -> Option<Deadline> {
        let Some(alarm) = alarm.filter(|alarm| alarm.queued == Some(entry.turn)) else {
            self.stale -= 1;
            return None;
        };
        alarm.queued = None;
        let wanted = alarm.wanted?;
        if wanted == entry.turn {
            alarm.wanted = None;
            return Some(wanted.deadline());
        }
        alarm.queued = Some(wanted);
        self.push(Entry { turn: wanted, ..entry });
        None
    }

    /// The first millisecond at which an entry (perhaps a stale one) is due.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.turn.deadline().wake())
    }

    /// Whether a sweep pays.
    pub(super) fn wants_sweep(&self) -> bool {
        self.stale > SWEEP_MIN && self.stale > self.heap.len() / 2
    }

    /// Drops every stale entry; `alarm_of` finds a key's side.
    pub(super) fn sweep<'a>(&mut self, alarm_of: impl Fn(&K) -> Option<&'a Alarm>) {
        self.heap.retain(|Reverse(entry)| {
            alarm_of(&entry.key).is_some_and(|alarm| alarm.queued == Some(entry.turn))
        });
        self.heap.shrink_to(self.heap.len() + self.heap.len() / 4);
        self.stale = 0;
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.heap.len()
    }
}
