//! What comes out of the engine: hits, observations for WHEN, faults.

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::topic::TopicName;
use crate::value::Value;

/// A rule's place in the running [`super::Engine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(pub u32);

/// Three-valued result of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Exactly `true`.
    True,
    /// Exactly `false`.
    False,
    /// Missing field, null, wrong type, undecodable payload.
    Unknown,
}

/// Why evaluating a rule over a message failed. Counted by rule and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultCode {
    /// The payload is not JSON and the rule needs fields of it.
    PayloadNotJson,
    /// The payload is not CBOR, and the rule says that it is.
    PayloadNotCbor,
    /// The payload is not MessagePack, and the rule says that it is.
    PayloadNotMsgPack,
    /// The payload is no Sparkplug B payload, and the rule says that it is.
    PayloadNotSparkplug,
    /// The payload is no Protobuf message of the type that the rule says.
    PayloadNotProtobuf,
    /// The payload is not CSV with the records that the rule says.
    PayloadNotCsv,
    /// The payload is not text, or the rule's expression does not match it.
    PayloadNotText,
    /// The payload nests deeper than [`crate::limits::PAYLOAD_DEPTH_MAX`].
    PayloadTooDeep,
    /// The output is larger than [`crate::limits::OUTPUT_BYTES_MAX`].
    OutputTooLarge,
    /// Arrays grew past [`crate::limits::ARRAY_GROWTH_MAX`].
    ArrayTooLarge,
    /// A `${…}` or KEY expression is Undefined.
    TemplateUndefined,
    /// A rendered REPUBLISH topic is not a topic name, or is reserved for the gateway's own events.
    TopicInvalid,
    /// A partition key is empty or longer than 256 characters.
    PartitionKeyInvalid,
    /// A HASH KEY is not a decimal below 2^128.
    HashKeyInvalid,
    /// The key of an UPSERT is empty or too long.
    TableKeyInvalid,
    /// An UPSERT of a new key into a table that has as many as it may.
    TableFull,
    /// A stream that refuses what is over its room has none for a record.
    StreamFull,
    /// A stream is encrypted with a key that the configuration does not have.
    StreamLocked,
    /// As much waits in a delivery as may.
    DeliveryFull,
    /// A PARTITION BY value is Undefined, or the key is too long.
    HoldKeyInvalid,
    /// The rule watches as many keys as it may.
    HoldKeysFull,
    /// The rule remembers as many keys, or as much of them, as it may.
    HistoryFull,
    /// A value to be remembered is longer than [`crate::limits::HISTORY_VALUE_BYTES_MAX`].
    HistoryValueTooLarge,
    /// The key of a group is too long.
    GroupKeyInvalid,
    /// The rule has as many groups, or open windows, as it may.
    WindowsFull,
    /// A value that first, last, collect, count_distinct or percentile can no longer keep.
    AggregateFull,
    /// An open window whose rule has changed.
    WindowDiscarded,
    /// The message has passed [`crate::limits::HOPS_MAX`] REPUBLISH actions.
    HopsExceeded,
    /// A target's name with `${…}` came to the name of none that exists.
    TargetUnknown,
    /// A header is not what MQTT 5 has it to be.
    HeaderInvalid,
    /// TIMESTAMP BY gives no time.
    EventTimeInvalid,
    /// TIMESTAMP BY gives a time more than [`crate::limits::EVENT_FUTURE_MAX`] after the receive time.
    EventTimeFuture,
    /// The message is older than its key's watermark.
    LateRecord,
    /// More messages wait for their turn than may; the oldest were judged before it.
    EventBufferFull,
    /// A hook gave no answer to `aws_lambda()`.
    CallFailed,
    /// `aws_lambda()` where nobody makes calls: over what a condition over time, or a rule over a
    /// stream, republishes.
    CallUnavailable,
    /// A search took more than [`crate::limits::REGEX_STEPS_MAX`] steps, or all of them together more
    /// than [`crate::limits::EVALUATION_STEPS_MAX`].
    RegexTooCostly,
    /// Evaluation took more than [`crate::limits::EVALUATION_STEPS_MAX`] steps.
    EvaluationTooCostly,
    /// The rule panicked over a record of a stream: a bug of the gateway, which its log shows.
    Panicked,
}

impl FaultCode {
    /// All of them.
    pub const ALL: &'static [FaultCode] = &[
        FaultCode::PayloadNotJson,
        FaultCode::PayloadNotCbor,
        FaultCode::PayloadNotMsgPack,
        FaultCode::PayloadNotSparkplug,
        FaultCode::PayloadNotProtobuf,
        FaultCode::PayloadNotCsv,
        FaultCode::PayloadNotText,
        FaultCode::PayloadTooDeep,
        FaultCode::OutputTooLarge,
        FaultCode::ArrayTooLarge,
        FaultCode::TemplateUndefined,
        FaultCode::TopicInvalid,
        FaultCode::PartitionKeyInvalid,
        FaultCode::HashKeyInvalid,
        FaultCode::TableKeyInvalid,
        FaultCode::TableFull,
        FaultCode::StreamFull,
        FaultCode::StreamLocked,
        FaultCode::DeliveryFull,
        FaultCode::HoldKeyInvalid,
        FaultCode::HoldKeysFull,
        FaultCode::HistoryFull,
        FaultCode::HistoryValueTooLarge,
        FaultCode::GroupKeyInvalid,
        FaultCode::WindowsFull,
        FaultCode::AggregateFull,
        FaultCode::WindowDiscarded,
        FaultCode::HopsExceeded,
        FaultCode::TargetUnknown,
        FaultCode::HeaderInvalid,
        FaultCode::EventTimeInvalid,
        FaultCode::EventTimeFuture,
        FaultCode::LateRecord,
        FaultCode::EventBufferFull,
        FaultCode::CallFailed,
        FaultCode::CallUnavailable,
        FaultCode::RegexTooCostly,
        FaultCode::EvaluationTooCostly,
        FaultCode::Panicked,
    ];

    /// The stable name used in counters, the API and `eval`.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::PayloadNotJson => "payload_not_json",
            FaultCode::PayloadNotCbor => "payload_not_cbor",
            FaultCode::PayloadNotMsgPack => "payload_not_msgpack",
            FaultCode::PayloadNotSparkplug => "payload_not_sparkplug",
            FaultCode::PayloadNotProtobuf => "payload_not_protobuf",
            FaultCode::PayloadNotCsv => "payload_not_csv",
            FaultCode::PayloadNotText => "payload_not_text",
            FaultCode::PayloadTooDeep => "payload_too_deep",
            FaultCode::OutputTooLarge => "output_too_large",
            FaultCode::ArrayTooLarge => "array_too_large",
            FaultCode::TemplateUndefined => "template_undefined",
            FaultCode::TopicInvalid => "topic_invalid",
            FaultCode::PartitionKeyInvalid => "partition_key_invalid",
            FaultCode::HashKeyInvalid => "hash_key_invalid",
            FaultCode::TableKeyInvalid => "table_key_invalid",
            FaultCode::TableFull => "table_full",
            FaultCode::StreamFull => "stream_full",
            FaultCode::StreamLocked => "stream_locked",
            FaultCode::DeliveryFull => "delivery_full",
            FaultCode::HoldKeyInvalid => "hold_key_invalid",
            FaultCode::HoldKeysFull => "hold_keys_full",
            FaultCode::HistoryFull => "history_full",
            FaultCode::HistoryValueTooLarge => "history_value_too_large",
            FaultCode::GroupKeyInvalid => "group_key_invalid",
            FaultCode::WindowsFull => "windows_full",
            FaultCode::AggregateFull => "aggregate_full",
            FaultCode::WindowDiscarded => "window_discarded",
            FaultCode::HopsExceeded => "hops_exceeded",
            FaultCode::TargetUnknown => "target_unknown",
            FaultCode::HeaderInvalid => "header_invalid",
            FaultCode::EventTimeInvalid => "event_time_invalid",
            FaultCode::EventTimeFuture => "event_time_future",
            FaultCode::LateRecord => "late_record",
            FaultCode::EventBufferFull => "event_buffer_full",
            FaultCode::CallFailed => "call_failed",
            FaultCode::CallUnavailable => "call_unavailable",
            FaultCode::RegexTooCostly => "regex_too_costly",
            FaultCode::EvaluationTooCostly => "evaluation_too_costly",
            FaultCode::Panicked => "panicked",
        }
    }
}

/// A fault of one rule over one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The rule.
    pub rule: RuleIndex,
    /// Which kind.
    pub code: FaultCode,
    /// What exactly, for people.
    pub message: String,
}

/// What a rule sends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// JSON text.
    Json(Bytes),
    /// Bytes as they came (`SELECT *` over a payload that is not JSON), or the empty payload.
    Raw(Bytes),
}

impl Output {
    /// The bytes that leave.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Output::Json(bytes) | Output::Raw(bytes) => bytes,
        }
    }
}

/// An action with its expressions evaluated against the original message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreparedAction {
    /// Append to a shard stream. `BATCH` has been unfolded into `records`.
    Stream {
        /// Stream name.
        stream: Arc<str>,
        /// Partition key.
        key: CompactString,
        /// Explicit hash key.
        hash_key: Option<u128>,
        /// One record, or one per element.
        records: SmallVec<[Bytes; 1]>,
    },
    /// Into a delivery buffer.
    Deliver {
        /// Delivery name.
        delivery: Arc<str>,
        /// One record, or one per element.
        records: SmallVec<[Bytes; 1]>,
    },
    /// Call a hook.
    Invoke {
        /// Hook name.
        hook: Arc<str>,
        /// Body of the call.
        payload: Bytes,
    },
    /// Publish to the broker.
    Republish {
        /// Rendered topic.
        topic: crate::topic::TopicName,
        /// Quality of service.
        qos: QoS,
        /// Retain flag.
        retain: bool,
        /// MQTT 5 properties that HEADERS gave.
        properties: Option<Arc<PublishProperties>>,
        /// Payload.
        payload: Bytes,
    },
    /// Keep as the key's last value.
    Upsert {
        /// Table name.
        table: Arc<str>,
        /// Key.
        key: CompactString,
        /// Value.
        value: Bytes,
    },
    /// A line on the log.
    Log {
        /// Rendered text.
        text: String,
    },
}

/// The facts of an episode that SELECT can name as `hold.…`.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldFacts {
    /// The key as JSON text: an array of the PARTITION BY values, or of the concrete topic.
    pub key: Arc<str>,
    /// When the condition became true.
    pub since: Timestamp,
    /// When it fired.
    pub fired_at: Timestamp,
    /// TRUE messages of the episode so far.
    pub samples: u64,
}

/// Why an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// The condition became false.
    False,
    /// CLEAR WHEN became true.
    ClearWhen,
    /// Silence longer than MAX GAP.
    Gap,
    /// A message, after NO DATA.
    Data,
    /// The row of FOR EACH ROW OF is gone.
    RowRemoved,
    /// The rule's condition, key or time changed.
    RuleChanged,
    /// The rule is gone.
    RuleRemoved,
}

impl Cleared {
    /// The word in `hold.reason` and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Cleared::False => "false",
            Cleared::ClearWhen => "clear_when",
            Cleared::Gap => "gap",
            Cleared::Data => "data",
            Cleared::RowRemoved => "row_removed",
            Cleared::RuleChanged => "rule_changed",
            Cleared::RuleRemoved => "rule_removed",
        }
    }
}

/// What made a hit.
#[derive(Clone, Debug, PartialEq)]
pub enum HitEvent {
    /// A rule without WHEN matched.
    Match,
    /// A condition has held long enough (or REPEAT EVERY came round).
    Firing(HoldFacts),
    /// A firing episode ended.
    Cleared(HoldFacts, Cleared),
    /// A window closed.
    Window(WindowFacts),
}

/// The facts of a window that has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowFacts {
    /// The key as JSON text: an array of the GROUP BY values.
    pub key: Arc<str>,
    /// When it begins, in the rule's time.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Messages in it.
    pub messages: u64,
}

/// A rule decided: its output, and its actions ready to be carried out.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The rule.
    pub rule: RuleIndex,
    /// What made it.
    pub event: HitEvent,
    /// When, in the rule's time: receive time of the message, or the timer's due time; an event time
    /// where the rule has TIMESTAMP BY.
    pub at: Timestamp,
    /// When, by the gateway's clock: what its effects are dated with. Differs from `at` only with
    /// TIMESTAMP BY.
    pub decided_at: Timestamp,
    /// The message it speaks of: the matching one, or the episode's last TRUE one.
    pub publish: Publish,
    /// What goes out.
    pub output: Output,
    /// The actions in the rule's order: prepared, or why not.
    pub actions: SmallVec<[Result<PreparedAction, Fault>; 2]>,
}

/// What a rule with WHEN saw in a message: input of the hold table.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The rule.
    pub rule: RuleIndex,
    /// The key as JSON text: an array of the PARTITION BY values, or of the concrete topic.
    pub key: CompactString,
    /// The condition.
    pub condition: Truth,
    /// CLEAR WHEN; `None` where the rule has none.
    pub clear: Option<Truth>,
    /// Receive time of the message.
    pub at: Timestamp,
    /// What TIMESTAMP BY says of it; `None` where the rule has none.
    pub event_at: Option<Timestamp>,
    /// The message, kept when the condition is TRUE: SELECT is evaluated over the last one. With
    /// TIMESTAMP BY always: a late one goes to ON ERROR.
    pub publish: Option<Publish>,
}

/// What a rule with analytic functions saw in a message: input of the history table.
#[derive(Clone, Debug)]
pub struct Recall {
    /// The rule.
    pub rule: RuleIndex,
    /// The key, as in [`Observation`].
    pub key: CompactString,
    /// What the functions are given, as JSON text; empty where it is Undefined.
    pub values: Box<[CompactString]>,
    /// Receive time of the message.
    pub at: Timestamp,
    /// What TIMESTAMP BY says of it; `None` where the rule has none.
    pub event_at: Option<Timestamp>,
    /// The message.
    pub publish: Publish,
}

/// A message whose turn has come, and what the analytic functions of its rule answer.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// The rule.
    pub rule: RuleIndex,
    /// When, by the gateway's clock.
    pub at: Timestamp,
    /// As in [`Recall`].
    pub event_at: Option<Timestamp>,
    /// The message.
    pub publish: Publish,
    /// The answers, by the number of the call.
    pub earlier: Box<[Value]>,
}

/// What a message adds to the windows of its group: input of the window table.
#[derive(Clone, Debug)]
pub struct Contribution {
    /// The rule.
    pub rule: RuleIndex,
    /// The key as JSON text: an array of the GROUP BY values.
    pub key: CompactString,
    /// The inputs of the aggregates.
    pub values: Box<[Value]>,
    /// When, by the gateway's clock.
    pub at: Timestamp,
    /// What TIMESTAMP BY says of it; `None` where the rule has none.
    pub event_at: Option<Timestamp>,
    /// The message, for ON ERROR.
    pub publish: Publish,
}

/// What the stateful half of the gateway is given of a message.
#[derive(Clone, Debug)]
pub enum Observed {
    /// For the hold table.
    Condition(Observation),
    /// For the window table.
    Contribution(Contribution),
    /// For the history table, before anything else of the rule is decided.
    Message(Recall),
}

impl Observed {
    /// The message, where it is kept.
    pub fn publish(&self) -> Option<&Publish> {
        match self {
            Observed::Condition(observation) => observation.publish.as_ref(),
            Observed::Contribution(contribution) => Some(&contribution.publish),
            Observed::Message(recall) => Some(&recall.publish),
        }
    }
}

#[cfg(test)]
impl Observed {
    /// What is for the hold table.
    pub(super) fn condition(&self) -> &Observation {
        match self {
            Observed::Condition(observation) => observation,
            other => panic!("{other:?} is not for the hold table"),
        }
    }
}

/// A window that has closed, before SELECT and HAVING have been evaluated over it.
#[derive(Clone, Debug)]
pub struct ClosedWindow {
    /// The rule.
    pub rule: RuleIndex,
    /// Key, bounds, messages.
    pub facts: WindowFacts,
    /// The aggregates, in the order of the rule's.
    pub values: Box<[Value]>,
    /// When it closed, by the gateway's clock.
    pub decided_at: Timestamp,
    /// Topic of the last message that came to the group.
    pub topic: TopicName,
    /// The most REPUBLISH actions that one of its messages had passed.
    pub hops: u8,
}

/// What an [`Episode`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpisodeEvent {
    /// It fires (or REPEAT EVERY came round).
    Firing,
    /// It ends.
    Cleared(Cleared),
}

/// An event of the hold table, before SELECT has been evaluated over it.
#[derive(Clone, Debug)]
pub struct Episode {
    /// The rule.
    pub rule: RuleIndex,
    /// Firing or cleared.
    pub event: EpisodeEvent,
    /// When, in the rule's time: the timer's due time, or the time of the message that cleared it.
    pub at: Timestamp,
    /// When, by the gateway's clock; differs from `at` only with TIMESTAMP BY.
    pub decided_at: Timestamp,
    /// Key, since, fired_at, samples.
    pub facts: HoldFacts,
    /// The last TRUE message.
    pub publish: Publish,
}

/// Everything that evaluating one or more messages gave. Reused between batches.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Matches of rules without WHEN.
    pub hits: Vec<Hit>,
    /// Inputs for the stateful half, in order.
    pub observations: Vec<Observed>,
    /// Evaluation faults.
    pub faults: Vec<Fault>,
    /// Rules whose WHERE was Undefined or not Boolean, but for those of `unknown_together`.
    pub unknown: Vec<RuleIndex>,
    /// Groups of rules of which the same holds, by their place in [`Plan::together`](super::Plan::together).
    pub unknown_together: Vec<u32>,
}

impl Evaluation {
    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.hits.clear();
        self.observations.clear();
        self.faults.clear();
        self.unknown.clear();
        self.unknown_together.clear();
    }
}
