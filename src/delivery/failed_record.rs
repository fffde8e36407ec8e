//! A record that could not be delivered, as a line of the error output.
//!
//! The form is Firehose's (Amazon Data Firehose, "Handle data delivery failures"): `attemptsMade`,
//! `arrivalTimestamp`, `errorCode`, `errorMessage`, `attemptEndingTimestamp`, `rawData` in base64.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::clock::Timestamp;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The record has no value for a partition key.
    NoPartition,
    /// The delivery has as many partitions as it may.
    PartitionsFull,
    /// The record cannot be in a file of the delivery's format.
    Format,
}

impl Reason {
    fn code(self) -> &'static str {
        match self {
            Reason::NoPartition => "DynamicPartitioning.MetadataExtractionFailed",
            Reason::Format => "DataFormatConversion.MalformedData",
            Reason::PartitionsFull => "DynamicPartitioning.ActivePartitionLimitExceeded",
        }
    }
}

/// What `!{firehose:error-output-type}` is for a record without its partition.
pub(super) const PROCESSING_FAILED: &str = "processing-failed";

/// The same for a record that the format cannot have.
pub(super) const FORMAT_FAILED: &str = "format-conversion-failed";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    attempts_made: u32,
    arrival_timestamp: i64,
    error_code: &'a str,
    error_message: &'a str,
    attempt_ending_timestamp: i64,
    raw_data: String,
}

/// The line of `data`, which came `at` and was tried once, without its line break.
pub(super) fn line(data: &[u8], at: Timestamp, reason: Reason, message: &str) -> Vec<u8> {
    let line = Line {
        attempts_made: 1,
        arrival_timestamp: at.as_millis(),
        error_code: reason.code(),
        error_message: message,
        attempt_ending_timestamp: at.as_millis(),
        raw_data: BASE64_STANDARD.encode(data),
    };
    serde_json::to_vec(&line).expect("texts and numbers are JSON")
}
