//! Conditions over time: the state behind `WHEN condition FOR duration`.
//!
//! [`HoldTable`] owns one state machine a (rule, key), the timers that run them, and nothing else: no
//! clock, no disk, no thread. In: [`Observation`](super::Observation)s in commit order and the passing
//! of time. Out: [`Transitions`] (episodes that fire, repeat or clear; refused keys) and
//! [`KeyChange`](super::rows::KeyChange)s (rows for the disk).
//!
//! Invariants:
//! - A key fires at `since + FOR` exactly, by a timer; timers due at `t` run before a message stamped
//!   `t`. Silence must *exceed* MAX GAP: that timer runs after the messages stamped `t`.
//! - One firing record an episode (and its repetitions), then one cleared record.
//! - UNKNOWN changes nothing: not the clocks, not the last known message.
//! - Times only go forward: an earlier one is taken as the latest seen.
//! - Where the rule has TIMESTAMP BY, "time" above is the key's event time, up to its watermark: messages
//!   wait for it (`event.rs`), a late one changes nothing. Nothing else of a key knows of that.
//! - A rule watches at most `keys_max` keys; a new one over the bound is refused, none is dropped.
//!
//! Crash story: the rows of [`HoldTable::take_changes`] go into the transaction that also carries the
//! effects of the episodes. So the disk holds either a firing key together with its firing record, or
//! a pending key and no record, and a [restoration](super::restoration) goes on from there. A row holds the last
//! TRUE message whole, so a record made after a restart is the one that would have been made before.
//! A message that waits has a row of its own from its commit on until its turn. A row that cannot be
//! read is reported and skipped; its key starts afresh.
//!
//! Memory: [`KEY_BYTES`] a key, beside its payload and the text of key and topic.
//!
//! Start reading at `state.rs` (one key), then `hold_table.rs`, then `event.rs`.

pub(in crate::engine) mod encoding;
mod event;
pub(in crate::engine) mod fingerprint;
mod hold_table;
mod listed;
pub(in crate::engine) mod packed;
mod recent;
mod restore;
mod state;
mod view;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

/// Memory of a key, bytes, beside its text and its last TRUE message, as `cargo bench --bench holds`
/// measures it and insists.
pub const KEY_BYTES: usize = 200;

pub use crate::engine::waiting::EventCounts;
pub use encoding::RowError;
pub use fingerprint::fingerprint;
pub use fingerprint::lateness;
pub use hold_table::HoldCounts;
pub use hold_table::HoldTable;
pub use hold_table::Orphan;
pub use hold_table::PassedOver;
pub use hold_table::Progress;
pub use hold_table::Transitions;
pub use hold_table::WatchedRule;
pub use view::FiringKey;
pub use view::HoldView;
pub use view::PendingKey;
