//! What is gathered of the messages of one pane, and of a window that slides.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::engine::event_time::Position;
use crate::engine::window::cell::Cell;
use crate::engine::window::cell::Full;
use crate::engine::window::cell::value_bytes;
use crate::engine::window::spec::WindowSpec;
use crate::rule::aggregate::Aggregate;
use crate::value::Value;

/// What the windows take of one message.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) position: Position,
    /// The inputs of the aggregates.
    pub(super) values: Box<[Value]>,
    /// REPUBLISH actions that the message has passed.
    pub(super) hops: u8,
    /// Of SLIDE: its turn has come, and it is kept for those after it.
    pub(super) is_counted: bool,
    /// Has a row on disk.
    pub(super) is_stored: bool,
}

impl Sample {
    /// Memory that it takes, about, bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Sample>() + self.values.iter().map(value_bytes).sum::<usize>()
    }
}

/// A part of the time, and what is gathered of the messages in it.
#[derive(Clone, Debug)]
pub(super) struct Pane {
    /// Number of its row.
    pub(super) id: u64,
    /// When it begins; its place in the group.
    pub(super) start: Timestamp,
    /// Time of its first message.
    pub(super) first: Timestamp,
    /// Time of its last message.
    pub(super) last: Timestamp,
    pub(super) messages: u64,
    /// The most that one of its messages had.
    pub(super) hops: u8,
    pub(super) cells: Box<[Cell]>,
    /// Differs from its row on disk.
    pub(super) is_changed: bool,
    /// Has a row on disk.
    pub(super) is_stored: bool,
}

impl Pane {
    /// Nothing yet.
    pub(super) fn new(id: u64, start: Timestamp, spec: &WindowSpec) -> Self {
        Pane::of_cells(id, start, spec.cells.iter().map(Cell::new).collect())
    }

    /// No message yet, but what others have given.
    pub(super) fn of_cells(id: u64, start: Timestamp, cells: Box<[Cell]>) -> Self {
        Pane {
            id,
            start,
            first: Timestamp::from_millis(i64::MAX),
            last: Timestamp::from_millis(i64::MIN),
            messages: 0,
            hops: 0,
            cells,
            is_changed: false,
            is_stored: false,
        }
    }

    /// Memory of what it keeps of values, about, bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Pane>()
            + size_of_val(&*self.cells)
            + self.cells.iter().map(Cell::bytes).sum::<usize>()
    }

    /// Takes a message in. One that an aggregate has no room for counts in the others.
    pub(super) fn add(&mut self, sample: &Sample, spec: &WindowSpec) -> Result<(), Full> {
        let time = sample.position.event;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        self.messages += 1;
        self.hops = self.hops.max(sample.hops);
        let mut added = Ok(());
        for (cell, of) in self.cells.iter_mut().zip(&spec.cells) {
            let value = match of.input {
                None => &Value::Bool(true),
                Some(input) => sample.values.get(input).unwrap_or(&Value::Undefined),
            };
            added = added.and(cell.add(value, sample.position));
        }
        added
    }

    /// Takes in what another pane has gathered.
    pub(super) fn merge(&mut self, other: &Pane) -> Result<(), Full> {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.messages += other.messages;
        self.hops = self.hops.max(other.hops);
        let mut merged = Ok(());
        for (cell, other) in self.cells.iter_mut().zip(&other.cells) {
            merged = merged.and(cell.merge(other));
        }
        merged
    }

    /// Takes every message later than `now` as one of `now`. Where it begins is left.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        self.first = self.first.min(now);
        self.last = self.last.min(now);
        self.cells.iter_mut().for_each(|cell| cell.set_back(now));
    }

    /// The aggregates.
    pub(super) fn values(&self, spec: &WindowSpec) -> Box<[Value]> {
        self.cells.iter().zip(&spec.cells).map(|(cell, spec)| cell.value(spec)).collect()
    }
}

/// Memory of an open window or pane without the values that it keeps, about, bytes.
pub(in crate::engine) fn pane_bytes(spec: &WindowSpec) -> usize {
    Pane::new(0, Timestamp::EPOCH, spec).bytes()
}

/// The messages of a SLIDE window, and what is gathered of them.
///
/// Aggregates of a fixed size are kept on two stacks: at the back one pane of the newer messages; at
/// the front, for each older one, a pane of it and those up to the back. A message costs one merge
/// and now and then the front is built anew. Others (`collect`, `count_distinct`, percentiles) are
/// gathered anew for each message.
#[derive(Debug, Default)]
pub(super) struct Slide {
    /// All of them, in order.
    pub(super) samples: VecDeque<Sample>,
    /// For the first `front.len()` samples, the oldest last.
    front: Vec<Pane>,
    back: Option<Pane>,
}

fn is_of_fixed_size(spec: &WindowSpec) -> bool {
    !spec.cells.iter().any(|cell| {
        matches!(
            cell.aggregate,
            Aggregate::Collect | Aggregate::CountDistinct | Aggregate::Percentile
        )
    })
}

impl Slide {
    /// Takes the next message in.
    pub(super) fn push(&mut self, sample: Sample, spec: &WindowSpec) -> Result<(), Full> {
        let mut added = Ok(());
        if is_of_fixed_size(spec) {
            let back = self.back.get_or_insert_with(|| Pane::new(0, Timestamp::EPOCH, spec));
            added = back.add(&sample, spec);
        }
        self.samples.push_back(sample);
        added
    }

    /// Lets the oldest message go if it is at or before `time`.
    pub(super) fn pop(&mut self, time: Timestamp, spec: &WindowSpec) -> Option<Sample> {
        if self.samples.front()?.position.event > time {
            return None;
        }
        if is_of_fixed_size(spec) {
            if self.front.is_empty() {
                self.turn(spec);
            }
            self.front.pop();
        }
        self.samples.pop_front()
    }

    /// Takes every message later than `now` as one of `now`; the new places of those.
    pub(super) fn set_back(&mut self, now: Timestamp, spec: &WindowSpec) -> Vec<Position> {
        let mut moved = Vec::new();
        for sample in self.samples.iter_mut().filter(|sample| sample.position.event > now) {
            sample.position.event = now;
            moved.push(sample.position);
        }
        if !moved.is_empty() && is_of_fixed_size(spec) {
            self.front.clear();
            self.turn(spec);
        }
        moved
    }

    /// Moves all to the front.
    fn turn(&mut self, spec: &WindowSpec) {
        self.back = None;
        for sample in self.samples.iter().rev() {
            let mut pane = Pane::new(0, Timestamp::EPOCH, spec);
            // Aggregates of a fixed size have room for any value.
            pane.add(sample, spec).ok();
            if let Some(newer) = self.front.last() {
                pane.merge(newer).ok();
            }
            self.front.push(pane);
        }
    }

    /// What is gathered of all.
    pub(super) fn gathered(&self, spec: &WindowSpec) -> (Pane, Result<(), Full>) {
        let mut pane = Pane::new(0, Timestamp::EPOCH, spec);
        let mut added = Ok(());
        if is_of_fixed_size(spec) {
            for part in self.front.last().into_iter().chain(&self.back) {
                added = added.and(pane.merge(part));
            }
        } else {
            for sample in &self.samples {
                added = added.and(pane.add(sample, spec));
            }
        }
        (pane, added)
    }
}
