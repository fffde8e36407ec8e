//! Publish in, hits out. Pure: no I/O, no clock, no runtime.
//!
//! Two halves, joined by data:
//!
//! - [`Engine`] is the compiled rule set, immutable and shared. [`Engine::evaluate`] runs on the
//!   connection's own task: it decodes the payload once, tests WHERE, and answers [`Hit`]s of rules
//!   without WHEN and [`Observation`]s for rules with one.
//! - `hold::HoldTable` is the state of all WHEN clauses. It is owned by the journal's writer, so
//!   state changes happen in commit order and need no lock. It turns observations and the passing of
//!   time into [`Episode`]s, which [`Engine::complete`] turns into hits.
//!
//! Start reading at `evaluate.rs`.

mod hit;
pub mod hold;

pub use hit::Cleared;
pub use hit::Episode;
pub use hit::EpisodeEvent;
pub use hit::Evaluation;
pub use hit::Fault;
pub use hit::FaultCode;
pub use hit::Hit;
pub use hit::HitEvent;
pub use hit::HoldFacts;
pub use hit::Observation;
pub use hit::Output;
pub use hit::PreparedAction;
pub use hit::RuleIndex;
pub use hit::Truth;
