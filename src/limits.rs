//! Every bound, why it has that value, and the relations that must hold between them.
//!
//! What an operator may change is in `config`, with these as defaults or as the outermost range.

use std::time::Duration;

/// Nested parentheses, cases, sub-queries and literals in a rule: refused before pest runs, so that
/// every build reports the same. Recursion in check, compile and evaluate is bounded by it.
pub const NESTING_MAX: usize = 64;
/// One rule file, bytes. Larger ones are refused unread.
pub const RULE_FILE_BYTES_MAX: usize = 1024 * 1024;
/// One statement, bytes (AWS: a rule document is at most 256 KB).
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// Actions of one rule in each list (AWS: 10).
pub const ACTIONS_MAX: usize = 10;
/// Nested objects and arrays in a payload. Deeper ones are a fault.
pub const PAYLOAD_DEPTH_MAX: usize = 128;
/// REPUBLISH hops a message may take before it is cut.
pub const HOPS_MAX: u8 = 4;
/// A compiled regular expression, bytes of its program.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;
/// The output of one rule, bytes (a stream record may have 1 MiB with its key).
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Elements that arrays built while evaluating one rule may have in all.
pub const ARRAY_GROWTH_MAX: usize = 100_000;
/// Durations in rules reach this far.
pub const HOLD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Keys one rule may watch at once when its configuration does not say.
pub const HOLD_KEYS_MAX: usize = 100_000;
/// A key of a hold, encoded, bytes.
pub const HOLD_KEY_BYTES_MAX: usize = 1024;
/// A partition key, characters (Kinesis: 1 to 256).
pub const PARTITION_KEY_CHARS_MAX: usize = 256;
/// A stream record: data and partition key together, bytes (Kinesis: 1 MiB).
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Topics whose plan one connection remembers; all are forgotten when it is full.
pub const TOPIC_CACHE_MAX: usize = 1024;
/// Submissions waiting for the journal's writer. A full queue stops the sockets being read.
pub const JOURNAL_QUEUE_MAX: usize = 4096;
/// Submissions in one commit: bounds the time a commit takes and what a failed one holds back.
pub const JOURNAL_BATCH_MAX: usize = 2048;
/// The configuration file, bytes.
pub const CONFIG_FILE_BYTES_MAX: usize = 1024 * 1024;
/// The name of a stream, delivery or hook, bytes (Kinesis: 1 to 128 characters).
pub const TARGET_NAME_BYTES_MAX: usize = 128;
/// One line of recorded telemetry, bytes: base64 of the largest MQTT packet we are ever set to take
/// would be longer, but no recording of telemetry comes near this.
pub const RECORDED_LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// MQTT connections that a replay opens at once; further devices share them.
pub const REPLAY_CONNECTIONS_MAX: usize = 1000;
/// Messages of one replayed device that may wait for their acknowledgement.
pub const REPLAY_INFLIGHT_MAX: u16 = 100;

const _: () = assert!(JOURNAL_BATCH_MAX <= JOURNAL_QUEUE_MAX, "a commit can empty the queue");
const _: () = assert!(OUTPUT_BYTES_MAX <= RECORD_BYTES_MAX, "an output fits a stream record");
