//! What keys remember of earlier messages: the state behind `lag`, `delta` and `had_changed`.
//!
//! [`HistoryTable`] owns the last values of one key of a rule, and nothing else: no clock, no disk, no
//! thread. In: [`Recall`](super::Recall)s in commit order, and the passing of time. Out:
//! [`Recollections`] (messages whose turn has come, with what the functions say of them; messages that
//! are refused) and [`KeyChange`](super::rows::KeyChange)s, rows for the disk. What the message then
//! becomes, a match or an observation for WHEN, is [`Engine::judge`](super::Engine::judge)'s business.
//!
//! Invariants:
//! - Every message that FROM and JOIN let through is remembered, before WHERE; a value that is Undefined
//!   is passed over.
//! - What is kept of a value is its JSON text, in memory as on disk: a restart changes no answer.
//! - Where the rule has TIMESTAMP BY, messages of a key are remembered in the order of their event times;
//!   they wait for the key's watermark (`event.rs`). A late one is not remembered.
//! - A rule remembers at most `keys_max` keys, and so many bytes; a new key over the bound is refused, none
//!   is dropped.
//!
//! Crash story: as with [`super::hold`], whose tables these are next to. The rows are in the
//! transaction that carries the effects of the messages remembered.
//!
//! Memory: about 200 bytes a key beside its text, and 40 a value beside texts of more than 24 bytes.
//!
//! Start reading at `values.rs` (one key), then `history_table.rs`, then `event.rs`.

mod encoding;
mod event;
mod fingerprint;
mod history_table;
mod restore;
mod values;

#[cfg(test)]
mod tests;

pub(super) use fingerprint::fingerprint;
pub use history_table::HistoryCounts;
pub use history_table::HistoryTable;
pub use history_table::Recollections;
pub use history_table::Refused;
pub use history_table::RememberingRule;
