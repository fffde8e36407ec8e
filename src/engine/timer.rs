//! When the keys of a table want to be run: a heap with one live entry of 16 bytes a key.
//!
//! A deadline that moves later (MAX GAP, on every message) leaves the key's entry where it is; the
//! entry is put back when it comes up. A deadline that moves earlier, or a key that ends, leaves a
//! stale entry behind; stale entries are swept out when they are more than the live ones, so the
//! heap is never larger than twice the keys plus [`SWEEP_MIN`].
//!
//! Entries due at one instant run in the order in which their deadlines were set.
//!
//! The heap is kept in pieces, not in one vector: growing copies nothing, and what has become empty goes
//! back to the allocator.

use std::mem;
use std::time::Duration;

use crate::clock::Timestamp;

/// Below this many stale entries a sweep is not worth it.
const SWEEP_MIN: usize = 1024;
/// Entries of a piece of the heap. Its 16 KiB are one of the allocator's own sizes, and another than that of a
/// slab's pieces: they live longer, and would keep pages from which keys have gone.
const PIECE_ENTRIES: usize = 1024;

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

/// A deadline and its turn among those of the same instant, in 96 bits, so that turns are ordered as numbers
/// are: the time in 50 (to the year 19000; what is beyond never comes), whether it is past it in one, and a number that is not used
/// twice within a year of setting a million timers a second in the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Turn([u32; 3]);

const ORDER_BITS: u32 = 45;
const AT_BITS: u32 = 50;
/// Where time 0 stands, so that earlier times are smaller numbers.
const EPOCH: i64 = 1 << (AT_BITS - 1);
const ORDER_MAX: u64 = (1 << ORDER_BITS) - 1;
const _: () = assert!(AT_BITS + 1 + ORDER_BITS == 96, "a turn has three words");

impl Turn {
    /// Not the turn of anything: the numbers begin at 1.
    const NONE: Turn = Turn([0; 3]);

    fn new(deadline: Deadline, number: u64) -> Self {
        let at = deadline.at.as_millis().clamp(-EPOCH, EPOCH - 1) + EPOCH;
        let bits = u128::from(at.unsigned_abs()) << (ORDER_BITS + 1)
            | u128::from(deadline.past) << ORDER_BITS
            | u128::from(number);
        Turn([word(bits >> 64), word(bits >> 32), word(bits)])
    }

    fn bits(self) -> u128 {
        let [high, middle, low] = self.0.map(u128::from);
        high << 64 | middle << 32 | low
    }

    fn deadline(self) -> Deadline {
        let bits = self.bits();
        let at = match i64::try_from(bits >> (ORDER_BITS + 1)).unwrap_or(i64::MAX) - EPOCH {
            at if at <= -EPOCH => i64::MIN,
            at if at >= EPOCH - 1 => i64::MAX,
            at => at,
        };
        Deadline { at: Timestamp::from_millis(at), past: bits >> ORDER_BITS & 1 == 1 }
    }

    fn get(self) -> Option<Turn> {
        (self != Turn::NONE).then_some(self)
    }
}

/// The lowest word.
#[expect(clippy::cast_possible_truncation, reason = "the other words are taken by themselves")]
fn word(bits: u128) -> u32 {
    bits as u32
}

/// A key's side of its timer.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// What is wanted.
    wanted: Turn,
    /// The live entry in the heap; never later than `wanted`.
    queued: Turn,
}

impl Alarm {
    /// Sorts keys as their timers are; those without one come first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        self.wanted
    }
}

/// An entry of the heap: a turn, and the number of the key in the lowest word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u128);

impl Entry {
    fn new(turn: Turn, key: u32) -> Self {
        Entry(turn.bits() << 32 | u128::from(key))
    }

    fn turn(self) -> Turn {
        Turn([word(self.0 >> 96), word(self.0 >> 64), word(self.0 >> 32)])
    }

    /// Where the key is, or was.
    pub(super) fn key(self) -> u32 {
        word(self.0)
    }
}

/// The timers of all keys of a table, which have numbers.
#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    heap: Heap,
    /// Entries in the heap that belong to nobody.
    stale: usize,
    /// The last one given.
    turns: u64,
}

impl TimerQueue {
    /// Sets what the key of number `key` waits for; the same deadline again keeps its turn.
    pub(super) fn arm(&mut self, alarm: &mut Alarm, deadline: Option<Deadline>, key: u32) {
        if alarm.wanted.get().map(Turn::deadline) == deadline {
            return;
        }
        self.turns = (self.turns + 1).min(ORDER_MAX);
        alarm.wanted = deadline.map_or(Turn::NONE, |deadline| Turn::new(deadline, self.turns));
        let Some(wanted) = alarm.wanted.get() else { return };
        match alarm.queued.get() {
            Some(queued) if queued <= wanted => return,
            Some(_) => self.stale += 1,
            None => {}
        }
        alarm.queued = wanted;
        self.heap.push(Entry::new(wanted, key));
    }

    /// The key waits for nothing more.
    pub(super) fn cancel(&mut self, alarm: &mut Alarm) {
        alarm.wanted = Turn::NONE;
        if mem::take(&mut alarm.queued) != Turn::NONE {
            self.stale += 1;
        }
    }

    /// The next entry that may be due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Entry> {
        let first = self.heap.first()?;
        if !first.turn().deadline().is_due(now) {
            return None;
        }
        self.heap.pop()
    }

    /// Whether `entry`, just popped, is its key's turn; puts it back when the deadline has moved on.
    /// `alarm` is the one of the entry's key, `None` when there is no such key any more.
    pub(super) fn claim(&mut self, entry: Entry, alarm: Option<&mut Alarm>) -> Option<Deadline> {
        let Some(alarm) = alarm.filter(|alarm| alarm.queued == entry.turn()) else {
            self.stale -= 1;
            return None;
        };
        alarm.queued = Turn::NONE;
        let wanted = alarm.wanted.get()?;
        if wanted == entry.turn() {
            alarm.wanted = Turn::NONE;
            return Some(wanted.deadline());
        }
        alarm.queued = wanted;
        self.heap.push(Entry::new(wanted, entry.key()));
        None
    }

    /// The first millisecond at which an entry (perhaps a stale one) is due.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.heap.first().map(|entry| entry.turn().deadline().wake())
    }

    /// Whether a sweep pays.
    pub(super) fn wants_sweep(&self) -> bool {
        self.stale > SWEEP_MIN && self.stale > self.heap.length / 2
    }

    /// Drops every stale entry; `alarm_of` finds a key's side.
    pub(super) fn sweep<'a>(&mut self, alarm_of: impl Fn(u32) -> Option<&'a Alarm>) {
        self.heap.retain(|entry| {
            alarm_of(entry.key()).is_some_and(|alarm| alarm.queued == entry.turn())
        });
        self.stale = 0;
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.heap.length
    }

    /// Memory of the heap, bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.heap.pieces.len() * size_of::<[Entry; PIECE_ENTRIES]>()
    }
}

/// A binary heap, the smallest entry first.
#[derive(Debug, Default)]
struct Heap {
    pieces: Vec<Box<[Entry; PIECE_ENTRIES]>>,
    length: usize,
}

impl Heap {
    fn get(&self, place: usize) -> Entry {
        self.pieces[place / PIECE_ENTRIES][place % PIECE_ENTRIES]
    }

    fn set(&mut self, place: usize, entry: Entry) {
        self.pieces[place / PIECE_ENTRIES][place % PIECE_ENTRIES] = entry;
    }

    fn first(&self) -> Option<Entry> {
        (self.length > 0).then(|| self.get(0))
    }

    fn push(&mut self, entry: Entry) {
        if self.length == self.pieces.len() * PIECE_ENTRIES {
            self.pieces.push(Box::new([Entry(0); PIECE_ENTRIES]));
        }
        self.length += 1;
        self.raise(self.length - 1, entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let first = self.first()?;
        self.length -= 1;
        let last = self.get(self.length);
        self.give_back();
        if self.length > 0 {
            // A hole goes down to the bottom; what was last, which is large, seldom goes up far from there.
            let hole = self.sink_hole(0);
            self.raise(hole, last);
        }
        Some(first)
    }

    /// Puts `entry` into the hole at `place`, or higher.
    fn raise(&mut self, mut place: usize, entry: Entry) {
        while let Some(above) = place.checked_sub(1).map(|below| below / 2)
            && self.get(above) > entry
        {
            self.set(place, self.get(above));
            place = above;
        }
        self.set(place, entry);
    }

    /// Moves the smaller of the two below a hole up into it, down to the bottom.
    fn sink_hole(&mut self, mut hole: usize) -> usize {
        loop {
            let below = 2 * hole + 1;
            if below >= self.length {
                return hole;
            }
            let other = below + 1;
            let is_other = other < self.length && self.get(other) < self.get(below);
            let smaller = if is_other { other } else { below };
            self.set(hole, self.get(smaller));
            hole = smaller;
        }
    }

    fn retain(&mut self, is_kept: impl Fn(Entry) -> bool) {
        let all = mem::take(self);
        let entries = all.pieces.iter().flat_map(|piece| piece.iter()).take(all.length);
        // Those that stay come in nearly their order.
        entries.filter(|entry| is_kept(**entry)).for_each(|entry| self.push(*entry));
    }

    /// Keeps one piece to grow into.
    fn give_back(&mut self) {
        let used = self.length.div_ceil(PIECE_ENTRIES);
        self.pieces.truncate(used + 1);
        if self.pieces.capacity() > 2 * self.pieces.len() + PIECE_ENTRIES {
            self.pieces.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    proptest! {
        #[test]
        fn what_is_due_comes_in_the_order_of_time_and_then_of_setting(
            steps in prop::collection::vec((0..40_u32, prop::option::of((-5..50_i64, any::<bool>()))), 0..200),
        ) {
            let mut queue = TimerQueue::default();
            let mut alarms: Vec<Alarm> = (0..40).map(|_| Alarm::default()).collect();
            // Of each key: its deadline, and when it was set.
            let mut model: Vec<Option<(Deadline, usize)>> = vec![None; 40];
            for (step, (key, wanted)) in steps.iter().enumerate() {
                let wanted = wanted.map(|(time, past)| Deadline { at: at(time), past });
                let known = &mut model[*key as usize];
                if known.map(|(deadline, _)| deadline) != wanted {
                    *known = wanted.map(|deadline| (deadline, step));
                }
                queue.arm(&mut alarms[*key as usize], wanted, *key);
                if step % 50 == 49 {
                    queue.sweep(|key| alarms.get(key as usize));
                }
            }
            let mut expected: Vec<(Deadline, usize, u32)> = model
                .iter()
                .zip(0..)
                .filter_map(|(known, key)| known.map(|(deadline, step)| (deadline, step, key)))
                .collect();
            expected.sort();
            let mut told = Vec::new();
            while let Some(entry) = queue.pop_due(at(1000)) {
                let key = entry.key();
                if let Some(deadline) = queue.claim(entry, alarms.get_mut(key as usize)) {
                    told.push((deadline, key));
                }
            }
            let expected: Vec<(Deadline, u32)> =
                expected.into_iter().map(|(deadline, _, key)| (deadline, key)).collect();
            prop_assert_eq!(told, expected);
            prop_assert_eq!((queue.entries(), queue.stale), (0, 0));
        }
    }

    #[test]
    fn times_far_away_keep_their_order() {
        let far = [i64::MIN, -62_135_596_800_000, -1, 0, 253_402_300_799_999, i64::MAX];
        let turns: Vec<Turn> = far.iter().map(|far| Turn::new(Deadline::at(at(*far)), 7)).collect();
        assert!(turns.is_sorted() && turns.iter().all(|turn| *turn != Turn::NONE));
        for (far, turn) in far.iter().zip(&turns) {
            assert_eq!(turn.deadline(), Deadline::at(at(*far)));
        }
    }

    #[test]
    fn a_flood_that_has_gone_leaves_no_memory() {
        let mut queue = TimerQueue::default();
        let mut alarms: Vec<Alarm> = (0..100_000).map(|_| Alarm::default()).collect();
        for (key, alarm) in (0..).zip(&mut alarms) {
            queue.arm(alarm, Some(Deadline::past(at(i64::from(key) % 977))), key);
        }
        assert!(queue.bytes() < 100_000 * 17, "{} bytes", queue.bytes());
        for alarm in &mut alarms {
            queue.cancel(alarm);
        }
        assert!(queue.wants_sweep());
        queue.sweep(|key| alarms.get(key as usize));
        assert_eq!(queue.bytes(), 0);
    }
}
