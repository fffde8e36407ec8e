//! [`Source`]: what the API asks of the running gateway.
//!
//! The gateway implements it; the API knows nothing of how. Calls that answer from memory are plain
//! functions and must not block; those that may read the disk or wait for a commit are futures.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::feed::HitReader;
use crate::api::plan::RulePlan;
use crate::api::rule_set::ReloadReport;
use crate::api::series::SeriesSpan;
use crate::api::series::SeriesView;
use crate::api::streams::Reshard;
use crate::api::streams::StreamDetail;
use crate::api::view::ClientView;
use crate::api::view::DeadLetter;
use crate::api::view::DeliveryView;
use crate::api::view::HitView;
use crate::api::view::HookView;
use crate::api::view::ListenerView;
use crate::api::view::Overview;
use crate::api::view::Placed;
use crate::api::view::Readiness;
use crate::api::view::RecordView;
use crate::api::view::Rule;
use crate::api::view::RuleDetail;
use crate::api::view::StreamView;
use crate::api::view::TableEntry;
use crate::api::view::TableView;
use crate::api::view::UpstreamView;
use crate::clock::Timestamp;
use crate::peer::Peer;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::rule::switch::Setting;
use crate::topic::TopicName;

/// An answer that may take a disk read or a commit.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing has that name.
    #[error("there is no such name")]
    Unknown,
    /// Whoever asks may not have it, or has to say who it is.
    #[error("{0}")]
    Forbidden(String),
    /// What was sent breaks a bound or a form, said in words.
    #[error("{0}")]
    Refused(String),
    /// Not now, and nothing was changed: starting, stopping, or the journal is stalled.
    #[error("{0}")]
    Busy(String),
    /// It was not finished in time, and may still be.
    #[error("{0}")]
    Unsettled(String),
    /// Reading or committing failed.
    #[error("{0}")]
    Failed(String),
}

/// Which hits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HitFilter {
    /// Of this rule only.
    pub rule: Option<String>,
    /// `match`, `firing`, `cleared` or `window` only.
    pub event: Option<&'static str>,
    /// Older than the hit of this id.
    pub before: Option<u64>,
}

/// Where reading a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The oldest record kept.
    TrimHorizon,
    /// The newest `limit` records, in order.
    Latest,
    /// The first record that arrived at or after this.
    At(Timestamp),
}

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Checked: 1 to 256 characters.
    pub partition_key: String,
    /// Picks the shard instead of the partition key.
    pub hash_key: Option<u128>,
    /// The record; the bound on it together with its key is the stream's to check.
    pub data: Bytes,
}

/// A message that comes over HTTP.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Where it is published.
    pub topic: TopicName,
    /// At most `mqtt.packet_bytes_max`.
    pub payload: Bytes,
    /// 0 or 1.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// MQTT 5 properties; `None` when there are none.
    pub properties: Option<Arc<PublishProperties>>,
}

/// Who asks something of the data plane.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// As the transport knows it.
    pub peer: Arc<Peer>,
    /// The user name and password that it shows.
    pub login: Option<Login>,
}

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// A secret.
    pub password: Vec<u8>,
}

impl fmt::Debug for Login {
    /// All but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedMessage {
    /// Where it is.
    pub topic: TopicName,
    /// Its payload.
    pub payload: Bytes,
    /// With which it was published.
    pub qos: QoS,
    /// When it came.
    pub at: Timestamp,
    /// MQTT 5's, in their order.
    pub user_properties: Vec<(String, String)>,
}

/// The running gateway, as the API reads it.
pub trait Source: Send + Sync + 'static {
    /// Address of the HTTP listener; requests to a loopback listener must name a loopback host.
    fn http_address(&self) -> SocketAddr;

    /// Further names it answers to.
    fn http_hosts(&self) -> &[String];

    /// Whether messages are taken. Asked ten times a second by each live page: from an atomic, please.
    fn readiness(&self) -> Readiness;

    /// The gateway as a whole.
    fn overview(&self) -> Overview;

    /// Prometheus text (OpenMetrics 1.0) of everything registered. Reads from the disk.
    fn metrics_text(&self) -> String;

    /// All rules, in the order of their files.
    fn rules(&self) -> Vec<Rule>;

    /// Reads the rules on disk again and lets them take over; answers when that is committed or
    /// refused. An error says that there is no end yet: it goes on without whoever asked.
    fn reload_rules(&self) -> Answer<'_, Arc<ReloadReport>>;

    /// Enables or disables a rule whatever its text says, and answers the rule when that is committed;
    /// nothing is done when it is so already. [`SourceError::Unknown`] when there is none of that name.
    fn switch_rule<'a>(&'a self, name: &'a str, setting: Setting) -> Answer<'a, RuleDetail>;

    /// All listeners and their certificates, in the order of the configuration.
    fn listeners(&self) -> Vec<ListenerView>;

    /// Hands a message to subscribers and rules, and answers when what they made of it is on disk;
    /// [`SourceError::Forbidden`] when the visitor may not publish it, [`SourceError::Refused`] when
    /// nobody may, [`SourceError::Unsettled`] when the commit takes too long to be waited for.
    fn publish(&self, visitor: Visitor, message: NewMessage) -> Answer<'_, ()>;

    /// The retained message of a topic; [`SourceError::Forbidden`] when the visitor may not subscribe to
    /// it.
    fn retained<'a>(
        &'a self,
        visitor: Visitor,
        topic: &'a TopicName,
    ) -> Answer<'a, Option<RetainedMessage>>;

    /// Retained messages of ordinary topics behind `after`, in order of their topics, at most `limit`;
    /// [`SourceError::Forbidden`] when the visitor may not subscribe to all.
    fn retained_after(
        &self,
        visitor: Visitor,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Vec<RetainedMessage>>;

    /// Reads the certificates of all listeners again; those that are good take over. Answers the
    /// listeners then.
    fn reload_certificates(&self) -> Answer<'_, Vec<ListenerView>>;

    /// Messages and hits over time.
    fn series(&self, span: SeriesSpan) -> SeriesView;

    /// A reader of the hits from now on ([`super::HitFeed::subscribe`]).
    fn subscribe_hits(&self) -> HitReader;

    /// A rule with its text and at most `holds_max` pending and as many firing keys;
    /// [`SourceError::Unknown`] when there is none.
    fn rule<'a>(&'a self, name: &'a str, holds_max: usize) -> Answer<'a, RuleDetail>;

    /// What the rule was compiled to; `None` when there is no such rule.
    fn explain_rule(&self, name: &str) -> Option<RulePlan>;

    /// Hits, newest first, at most `limit`.
    fn hits(&self, filter: HitFilter, limit: usize) -> Answer<'_, Vec<HitView>>;

    /// One hit with its whole output; [`SourceError::Unknown`] when it is not kept any more.
    fn hit(&self, id: u64) -> Answer<'_, HitView>;

    /// All streams, by name.
    fn streams(&self) -> Answer<'_, Vec<StreamView>>;

    /// A stream with its shards; [`SourceError::Unknown`] when there is none of that name.
    fn stream<'a>(&'a self, stream: &'a str) -> Answer<'a, StreamDetail>;

    /// Gives a stream other shards, and answers it when that is on disk; [`SourceError::Unknown`] when there is
    /// no such stream, [`SourceError::Refused`] when it cannot be done.
    fn reshard<'a>(&'a self, stream: &'a str, change: Reshard) -> Answer<'a, StreamDetail>;

    /// Records of a stream, oldest first, at most `limit` and as many as fit `bytes_max` bytes of
    /// data (one at least); [`SourceError::Unknown`] when there is no such stream.
    fn stream_records<'a>(
        &'a self,
        stream: &'a str,
        from: ReadFrom,
        limit: usize,
        bytes_max: usize,
    ) -> Answer<'a, Vec<RecordView>>;

    /// Appends a record and answers when it is on disk; [`SourceError::Unknown`] when there is no
    /// such stream, [`SourceError::Refused`] when the record is too large,
    /// [`SourceError::Unsettled`] when the commit takes too long to be waited for.
    fn put_record<'a>(&'a self, stream: &'a str, record: NewRecord) -> Answer<'a, Placed>;

    /// All tables of latest values, by name.
    fn tables(&self) -> Answer<'_, Vec<TableView>>;

    /// Keys of a table behind `after`, in order, at most `limit` and as many as fit `bytes_max` bytes of
    /// values (one at least); [`SourceError::Unknown`] when there is no such table.
    fn table_entries<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        limit: usize,
        bytes_max: usize,
    ) -> Answer<'a, Vec<TableEntry>>;

    /// The last value of a key; [`SourceError::Unknown`] when there is none.
    fn table_entry<'a>(&'a self, table: &'a str, key: &'a str) -> Answer<'a, TableEntry>;

    /// Deletes a key and answers when that is on disk; [`SourceError::Unknown`] when there is none,
    /// [`SourceError::Unsettled`] when the commit takes too long to be waited for.
    fn forget_entry<'a>(&'a self, table: &'a str, key: &'a str) -> Answer<'a, ()>;

    /// All deliveries, by name.
    fn deliveries(&self) -> Answer<'_, Vec<DeliveryView>>;

    /// Delivers what waits in a delivery now, and answers when it is delivered; [`SourceError::Unknown`] when
    /// there is none of that name, [`SourceError::Unsettled`] when it takes too long to be waited for.
    fn flush_delivery<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;

    /// All connections to other brokers.
    fn upstreams(&self) -> Vec<UpstreamView>;

    /// All hooks, by name.
    fn hooks(&self) -> Answer<'_, Vec<HookView>>;

    /// Dead letters of a hook, newest first, older than `before`, at most `limit`;
    /// [`SourceError::Unknown`] when there is no such hook.
    fn dead_letters<'a>(
        &'a self,
        hook: &'a str,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'a, Vec<DeadLetter>>;

    /// Connected clients, by client id, at most `limit`.
    fn clients(&self, limit: usize) -> Vec<ClientView>;

    /// Disconnects a client; answers whether it was connected.
    fn kick_client(&self, client_id: &str) -> bool;
}
