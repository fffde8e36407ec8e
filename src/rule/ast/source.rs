//! What a rule listens to when it is not topics: a shard stream.

use super::Span;
use super::Spanned;
use crate::clock::Timestamp;

/// `FROM STREAM name [STARTING AT …]`: the records of a shard stream.
#[derive(Clone, Debug)]
pub struct StreamSource {
    /// The stream.
    pub name: Spanned<String>,
    /// Where a rule that has read nothing of it yet begins.
    pub start: StreamStart,
    /// From STREAM to the end of STARTING AT.
    pub span: Span,
}

/// Where reading begins (Kinesis: `InitialPositionInStream`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamStart {
    /// `LATEST`, when nothing is said: what arrives once the rule runs.
    #[default]
    Latest,
    /// `TRIM_HORIZON`: the oldest record stored.
    TrimHorizon,
    /// A time: records that arrived then or later.
    Timestamp(Timestamp),
}
