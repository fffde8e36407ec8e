//! What the routes answer, as plain structs: the only types of the crate that serialise for people.
//!
//! Times are milliseconds since the Unix epoch ([`Millis`]), durations milliseconds with `_ms` in
//! the name, sizes bytes. Fields that do not apply are left out. The lists here are bounded by
//! whoever fills them, with the bounds that [`super::Source`] names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::payload::Payload;
use crate::api::payload::embed_json;
use crate::api::rule_set::RuleSet;
use crate::clock::Timestamp;
use crate::limits::FAULTING_FOR;

/// A point in time, milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Millis(i64);

impl From<Timestamp> for Millis {
    fn from(at: Timestamp) -> Self {
        Millis(at.as_millis())
    }
}

/// A name or topic, shared with whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Text(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(Arc::from(text))
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// The gateway as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Version of the program.
    pub version: &'static str,
    /// The gateway's clock, to which the other times of the same answer compare.
    pub now: Millis,
    /// When it started.
    pub started_at: Millis,
    /// Where everything durable lives.
    pub data_dir: String,
    /// Where the rules were read from.
    pub rules_path: String,
    /// MQTT address, as on the `ready:` line: `127.0.0.1:1883`; `off` where nobody connects.
    pub mqtt: String,
    /// HTTP address, as on the `ready:` line: `http://127.0.0.1:8080`.
    pub http: String,
    /// Whether it takes messages.
    pub readiness: Readiness,
    /// Which rules run, and whether they are those on disk.
    pub rule_set: RuleSet,
    /// Sums since the start.
    pub totals: Totals,
}

/// Sums since the start, and what is true now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Messages taken in.
    pub messages: u64,
    /// Matches, firings and clearings.
    pub hits: u64,
    /// Messages whose condition was neither true nor false, over all rules.
    pub unknown: u64,
    /// Faults over all rules.
    pub faults: u64,
    /// Clients connected now.
    pub clients: u64,
    /// Commits of the journal.
    pub commits: u64,
    /// How long the last commit took; left out before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_ms: Option<f64>,
}

/// Whether the gateway takes messages, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Readiness {
    /// It does.
    Ready,
    /// Not yet: recovering state, opening listeners.
    Starting,
    /// No more: draining.
    Stopping,
    /// It would, but cannot commit.
    Stalled {
        /// For people: what is stuck and since when.
        reason: String,
    },
}

/// What a rule is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// It evaluates messages.
    Running,
    /// `DISABLED` in its text, or disabled by hand.
    Disabled,
    /// It evaluates messages, and one of the last minute was a fault.
    Faulting,
}

impl RuleState {
    /// A running rule's state at `now`, from the time of its newest fault.
    pub fn of_running(last_fault: Option<Timestamp>, now: Timestamp) -> Self {
        match last_fault {
            Some(at) if now.since(at) < FAULTING_FOR => RuleState::Faulting,
            _ => RuleState::Running,
        }
    }
}

/// A fault, or a failed operation, as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// When.
    pub at: Millis,
    /// Stable name, as in the counters; empty where the failure has no kinds.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub code: &'static str,
    /// What exactly.
    pub message: String,
}

/// Where a rule sends its output: `STREAM alerts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionView {
    /// `stream`, `deliver`, `invoke`, `republish`, `log`.
    pub kind: &'static str,
    /// Name, or topic template, or empty for `log`.
    pub target: String,
    /// Which list: `do`, `on_cleared`, `on_error`.
    pub when: &'static str,
}

/// A stream that a rule reads.
#[derive(Clone, Debug, Serialize)]
pub struct StreamSource {
    /// Its name.
    pub name: String,
    /// Records that the rule has still to read.
    pub lag_records: u64,
    /// How much later the newest record arrived than the next one that the rule reads, ms.
    pub lag_ms: u64,
    /// Records that retention took before the rule had read them.
    pub skipped: u64,
}

/// A rule with its counters.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    /// Name.
    pub name: Text,
    /// DESCRIPTION, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// File it was read from.
    pub file: String,
    /// What it is doing.
    pub state: RuleState,
    /// When somebody enabled or disabled it against its text; left out while the text decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched_at: Option<Millis>,
    /// Topic filters of FROM.
    pub topics: Vec<String>,
    /// The stream of FROM STREAM, and how far the rule has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSource>,
    /// Whether it has WHEN, and therefore keys that are pending and firing.
    pub watches: bool,
    /// Actions in the rule's order.
    pub actions: Vec<ActionView>,
    /// Messages whose topic matched FROM.
    pub matched: u64,
    /// Matches, firings and clearings.
    pub hits: u64,
    /// Messages whose condition was neither true nor false.
    pub unknown: u64,
    /// Faults of any kind.
    pub faults: u64,
    /// Faults by code, those that happened.
    pub faults_by_code: BTreeMap<&'static str, u64>,
    /// Keys on their way to firing.
    pub pending: u64,
    /// Keys firing.
    pub firing: u64,
    /// Keys whose earlier values are remembered.
    pub remembered: u64,
    /// Its windows, where it has GROUP BY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// When it last hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_hit: Option<Millis>,
    /// Its newest fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<Failure>,
}

/// The windows of a rule with GROUP BY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// Groups now.
    pub groups: u64,
    /// Open windows now; of HOP its panes, of SLIDE the messages kept.
    pub open: u64,
}

/// A rule with its text and its keys.
#[derive(Clone, Debug, Serialize)]
pub struct RuleDetail {
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// The statement as its author wrote it.
    pub text: String,
    /// Keys pending and firing; empty for a rule without WHEN.
    pub holds: Holds,
}

/// Keys of a rule with WHEN: those nearest to firing first, then those firing longest.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Holds {
    /// On their way, nearest to firing first.
    pub pending: Vec<PendingKey>,
    /// Firing, longest first.
    pub firing: Vec<FiringKey>,
    /// How many are pending in all.
    pub pending_total: u64,
    /// How many fire in all.
    pub firing_total: u64,
}

/// A key whose condition is true and not yet for long enough.
#[derive(Clone, Debug, Serialize)]
pub struct PendingKey {
    /// The PARTITION BY values, or the topic.
    pub key: Key,
    /// Since when the condition is true.
    pub since: Millis,
    /// When it fires unless the condition breaks.
    pub due: Millis,
    /// Messages that said so.
    pub samples: u64,
}

/// A key that fires.
#[derive(Clone, Debug, Serialize)]
pub struct FiringKey {
    /// The PARTITION BY values, or the topic.
    pub key: Key,
    /// Since when the condition is true.
    pub since: Millis,
    /// When it fired.
    pub fired_at: Millis,
    /// Messages that said so.
    pub samples: u64,
}

/// A hold key: its JSON text, serialised as the JSON that it is.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Key(Box<RawValue>);

impl Key {
    /// From the key's JSON text; other text becomes a JSON string.
    pub fn of(text: &str) -> Self {
        Key(embed_json(text.as_bytes()).unwrap_or_else(|| {
            serde_json::value::to_raw_value(text).expect("a str always serialises")
        }))
    }
}

/// A rule's hit.
#[derive(Clone, Debug, Serialize)]
pub struct HitView {
    /// Grows by one a hit; the cursor of `before`.
    pub id: u64,
    /// When.
    pub at: Millis,
    /// Rule name.
    pub rule: Text,
    /// `match`, `firing`, `cleared`, `window`.
    pub event: &'static str,
    /// Why the episode ended, of `cleared`: `false`, `clear_when`, `gap`…
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// Topic of the message it speaks of.
    pub topic: Text,
    /// Client id of its publisher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text>,
    /// Key of the episode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// What went out.
    pub output: Payload,
}

/// A shard stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamView {
    /// Name.
    pub name: Text,
    /// Shards that take records.
    pub shards: u32,
    /// What is in it.
    #[serde(flatten)]
    pub kept: Kept,
    /// How long a record is kept.
    #[serde(serialize_with = "duration_ms", rename = "retention_ms")]
    pub retention: Duration,
}

/// What is in a stream, or in a shard.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// Records kept.
    pub records: u64,
    /// Bytes of their data and keys.
    pub bytes: u64,
    /// Arrival of the oldest record kept, to within its block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Millis>,
    /// Arrival of the newest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Millis>,
}

/// A table of latest values.
#[derive(Clone, Debug, Serialize)]
pub struct TableView {
    /// Name.
    pub name: Text,
    /// Keys it has.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Arrival of the newest value.
    pub newest: Millis,
}

/// A key of a table and its last value; the words are those of `tidegate table dump`.
#[derive(Clone, Debug, Serialize)]
pub struct TableEntry {
    /// Key.
    pub key: Text,
    /// Arrival of the message that put the value.
    pub t: Millis,
    /// The value.
    #[serde(flatten)]
    pub value: RecordContent,
}

/// A record of a stream; the words are those of `tidegate stream tail`.
#[derive(Clone, Debug, Serialize)]
pub struct RecordView {
    /// Decimal, grows within its shard.
    pub sequence_number: String,
    /// Partition key.
    pub partition_key: String,
    /// `shardId-000000000000`
    pub shard: String,
    /// Arrival.
    pub t: Millis,
    /// The record.
    #[serde(flatten)]
    pub data: RecordContent,
}

/// `data` when the record is JSON, `data_base64` when it is not.
#[derive(Clone, Debug, Serialize)]
pub enum RecordContent {
    /// The record's own JSON text.
    #[serde(rename = "data")]
    Json(Box<RawValue>),
    /// Anything else.
    #[serde(rename = "data_base64")]
    Base64(String),
}

impl RecordContent {
    /// The record as it may stand in an answer.
    pub fn of(record: &[u8]) -> Self {
        embed_json(record)
            .map_or_else(|| RecordContent::Base64(STANDARD.encode(record)), RecordContent::Json)
    }
}

/// Where a record went.
#[derive(Clone, Debug, Serialize)]
pub struct Placed {
    /// Decimal.
    pub sequence_number: String,
    /// `shardId-000000000000`
    pub shard: String,
}

/// A delivery buffer.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryView {
    /// Name.
    pub name: Text,
    /// Where its files go.
    pub directory: String,
    /// Buffers it has: one, or those of its partitions and its errors.
    pub buffers: usize,
    /// Records that wait.
    pub buffered_records: u64,
    /// Bytes that wait.
    pub buffered_bytes: u64,
    /// Flushed when this many wait.
    pub buffer_bytes: u64,
    /// Flushed when the oldest is this old.
    #[serde(serialize_with = "duration_ms", rename = "buffer_interval_ms")]
    pub buffer_interval: Duration,
    /// Arrival of the oldest record that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Millis>,
    /// Files written since the start.
    pub files: u64,
    /// The newest file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_file: Option<String>,
    /// Failed flushes since the start; each is tried again.
    pub errors: u64,
    /// The newest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
}

/// A connection to another broker: the external one, or a bridge.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamView {
    /// `external`, or `bridge.NAME`.
    pub name: Text,
    /// The other broker, without the user.
    pub url: String,
    /// Who the gateway is there.
    pub client_id: String,
    /// Since when it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<Millis>,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
    /// Filters subscribed to, the first of them.
    pub subscriptions: Vec<String>,
    /// How many there are.
    pub subscriptions_total: u64,
    /// Filters that the other broker refuses, with the reason.
    pub refused: Vec<String>,
    /// Messages of the other broker since the start.
    pub received: u64,
    /// Of those, how many wait for their commit.
    pub acks_waiting: u64,
    /// Messages that the other broker has acknowledged since the start.
    pub forwarded: u64,
    /// Messages not sent since the start, for any reason.
    pub dropped: u64,
    /// Messages stored to be sent.
    pub backlog_messages: u64,
    /// Bytes of them.
    pub backlog_bytes: u64,
    /// Arrival of the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Millis>,
}

/// A hook.
#[derive(Clone, Debug, Serialize)]
pub struct HookView {
    /// Name.
    pub name: Text,
    /// What is called, without user and password.
    pub url: String,
    /// Calls that wait.
    pub pending: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Calls that succeeded since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed_attempts: u64,
    /// Calls that ran out of attempts and are kept.
    pub dead_letters: u64,
    /// Arrival of the oldest call that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Millis>,
    /// Why the newest failed attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
}

/// A call that ran out of attempts.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    /// Grows; the cursor of `before`.
    pub id: u64,
    /// When it was given up.
    pub at: Millis,
    /// Rule that called.
    pub rule: String,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last one failed.
    pub error: String,
    /// Request body.
    pub payload: Payload,
}

/// An address that is listened on.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerView {
    /// `mqtt`, or the NAME of `[listener.NAME]`.
    pub name: String,
    /// `mqtt`, `mqtts`, …
    pub protocol: &'static str,
    /// The address in use.
    pub address: String,
    /// Open connections.
    pub connections: usize,
    /// How many it takes.
    pub connections_max: usize,
    /// What it shows its clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateView>,
}

/// The certificate of a listener.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    /// In the form of RFC 4514.
    pub subject: String,
    /// The same of who signed it.
    pub issuer: String,
    /// Names and addresses that it is good for.
    pub names: Vec<String>,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Begin of its validity.
    pub not_before: Millis,
    /// End of its validity.
    pub not_after: Millis,
    /// When it was read.
    pub loaded_at: Millis,
    /// Why the files are not what is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A client that is connected, or whose session waits for it.
#[derive(Clone, Debug, Serialize)]
pub struct ClientView {
    /// Client id.
    pub client_id: String,
    /// The name it has proved; `principal()` of its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// How it did: `users`, `certificate`, `jwt`, `hook`, or `anonymous`.
    pub login: &'static str,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
    /// The subject of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Where it connects from.
    pub address: String,
    /// `3.1.1` or `5`.
    pub protocol: &'static str,
    /// Whether it is connected.
    pub connected: bool,
    /// Begin of its last connection.
    pub connected_at: Millis,
    /// Messages that wait for it.
    pub queued: u64,
    /// Topic filters it subscribes to, the first [`crate::limits::CLIENT_SUBSCRIPTIONS_SHOWN`].
    pub subscriptions: Vec<String>,
    /// How many it subscribes to in all.
    pub subscriptions_total: u64,
    /// Messages it published in this session, since the gateway started.
    pub messages_in: u64,
    /// Messages it was sent in this session, since the gateway started.
    pub messages_out: u64,
}

/// Serialises a duration as whole milliseconds.
pub(super) fn duration_ms<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The same of one that may not be there.
pub(super) fn opt_duration_ms<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => duration_ms(duration, serializer),
        None => serializer.serialize_none(),
    }
}
