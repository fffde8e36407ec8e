//! Windows: the state behind GROUP BY.
//!
//! [`WindowTable`] owns the groups of all rules with GROUP BY and their open windows: no clock, no disk,
//! no thread. In: [`Contribution`](super::Contribution)s in commit order and the passing of time. Out:
//! [`ClosedWindow`](super::ClosedWindow)s in [`Transitions`](super::hold::Transitions), and rows for the
//! disk.
//!
//! Invariants:
//! - A window is the time from its start to before its end; it closes at its end exactly, by a timer,
//!   before a message stamped so. TUMBLE and HOP are aligned to the Unix epoch in UTC.
//! - A window with messages is told of once; one without never.
//! - What is gathered is of a fixed size where the aggregate allows it; values are kept, up to bounds,
//!   for first, last, collect, count_distinct and percentiles, and messages for SLIDE alone.
//! - With TIMESTAMP BY, time is the watermark of the group, and the order in which messages come within
//!   LATENESS changes nothing. A message is late when all its windows have closed.
//! - A rule has at most `bounds.keys_max` groups; a new one over the bound is refused, none is dropped
//!   for it. One whose window only messages end (COUNT) is dropped when it is silent for `bounds.age`.
//!
//! Crash story: the rows that change go into the transaction of what the closed windows caused. So the
//! disk has either an open window, or its record.
//!
//! Start reading at `group.rs` (one group), then `cell.rs` (one aggregate), then `window_table.rs`.

mod cell;
mod encoding;
mod group;
mod pane;
mod panes;
mod quantile;
mod restore;
pub(super) mod spec;
mod window_table;

#[cfg(test)]
mod tests;

pub(super) use encoding::is_of_window;
pub(super) use pane::pane_bytes;
pub use spec::WindowSpec;
pub use window_table::WindowCounts;
pub use window_table::WindowTable;
pub use window_table::WindowedRule;
