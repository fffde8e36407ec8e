//! What the table knows of a rule's windows: their shape and their aggregates.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::event_time::shifted;
use crate::rule::aggregate::Aggregate;
use crate::rule::ast::Window;
use crate::value::Number;

/// The windows of a rule and what is gathered in them.
#[derive(Debug)]
pub struct WindowSpec {
    pub(in crate::engine) shape: Shape,
    pub(in crate::engine) cells: Box<[CellSpec]>,
}

/// One aggregate.
#[derive(Debug)]
pub(in crate::engine) struct CellSpec {
    pub(in crate::engine) aggregate: Aggregate,
    /// Of `percentile`.
    pub(in crate::engine) rank: Number,
    /// Which input it is taken of; `None` counts messages.
    pub(in crate::engine) input: Option<usize>,
}

/// Which messages belong together; lengths in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Shape {
    /// Windows of `size`, one begun each `every`, made of panes. TUMBLE has one pane a window.
    Hop { size: i64, every: i64, pane: i64 },
    /// From one message to `size` before it.
    Slide { size: i64 },
    /// Until `gap` after its last message.
    Session { gap: i64 },
    /// So many messages.
    Count { messages: u64 },
}

/// At least one, so that nothing is divided by zero.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}

impl Shape {
    pub(in crate::engine) fn of(window: &Window) -> Self {
        match *window {
            Window::Tumble { size } => {
                let size = millis(size);
                Shape::Hop { size, every: size, pane: size }
            }
            Window::Hop { size, every } => Shape::Hop {
                size: millis(size),
                every: millis(every),
                pane: millis(Window::pane(size, every)),
            },
            Window::Slide { size } => Shape::Slide { size: millis(size) },
            Window::Session { gap } => Shape::Session { gap: millis(gap) },
            Window::Count { messages } => Shape::Count { messages },
        }
    }
}

/// The greatest multiple of `step` at or before `time`.
pub(super) fn floor(time: Timestamp, step: i64) -> Timestamp {
    let millis = time.as_millis();
    Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(step)))
}

/// The end of the first window that ends after `after` and not before the end of the pane at `start`.
pub(super) fn first_end(
    start: Timestamp,
    after: Timestamp,
    (size, every, pane): (i64, i64, i64),
) -> Timestamp {
    // Ends are `size` and a multiple of `every` from the epoch.
    let least = shifted(start, pane).max(shifted(after, 1));
    let offset = size.rem_euclid(every);
    let below = floor(shifted(least, offset.saturating_neg()), every);
    let end = shifted(below, offset);
    if end < least { shifted(end, every) } else { end }
}

/// The end of the last window with the pane at `start`.
pub(super) fn last_end(start: Timestamp, (size, every): (i64, i64)) -> Timestamp {
    shifted(floor(start, every), size)
}
