//! The configuration file as plain structs; unknown keys refused; checked whole before anything starts.
//!
//! [`load`] reads `tidegate.toml` and answers a [`Config`], or everything that is wrong with the
//! file at once. A key's default, range and meaning stand in `docs/configuration.md`, which a test
//! compares with these structs. Values of hook headers and of `[secret.NAME]` are secrets: neither
//! diagnostics nor `Debug` show them.

mod access;
mod code;
mod column_type;
mod delivery;
mod document;
mod encryption;
mod field_path;
mod hook;
mod listener;
mod mask;
mod object_prefix;
mod quantity;
mod read;
mod section;
mod upstream;

use std::fmt;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use access::AccessConfig;
pub use access::AclConfig;
pub use access::AuthConfig;
pub use access::AuthHookConfig;
pub use access::HttpAuth;
pub use access::JwtConfig;
pub use access::Method;
pub use access::Overrun;
pub use access::RateConfig;
pub use column_type::Column;
pub use column_type::ColumnType;
pub use delivery::Compression;
pub use delivery::CsvConfig;
pub use delivery::DeliveryConfig;
pub use delivery::Format;
pub use delivery::ParquetConfig;
pub use document::LoadError;
pub use document::Remarks;
pub use document::load;
pub use encryption::EncryptionKeyConfig;
pub use field_path::FieldPath;
pub use field_path::Step;
pub use hook::Destination;
pub use hook::FunctionConfig;
pub use hook::FunctionUser;
pub use hook::HookConfig;
pub use listener::ClientCertificate;
pub use listener::ListenerConfig;
pub use listener::PrincipalKind;
pub use listener::Protocol;
pub use listener::TlsConfig;
pub use object_prefix::ObjectPrefix;
pub use object_prefix::PrefixPiece;
pub use object_prefix::RANDOM_CHARS;
pub use upstream::BridgeConfig;
pub use upstream::BridgeTopic;
pub use upstream::BrokerConfig;
pub use upstream::Direction;
pub use upstream::LinkConfig;
pub use upstream::MqttProtocol;
pub use upstream::UpstreamUrl;

/// Everything `tidegate.toml` can say. `Config::default()` is the gateway without a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `data_dir`: where everything durable lives. Default `data`.
    pub data_dir: PathBuf,
    /// `account_id`: what `accountid()` answers, and what ARNs have. Default `000000000000`.
    pub account_id: String,
    /// `region`: what ARNs have. Default `us-east-1`.
    pub region: String,
    /// `[mqtt]`
    pub mqtt: MqttConfig,
    /// `[broker]`
    pub broker: BrokerConfig,
    /// `[bridge.NAME]`
    pub bridges: BTreeMap<String, BridgeConfig>,
    /// `[http]`
    pub http: HttpConfig,
    /// `[listener.NAME]`
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// `[auth]` and `[acl]`
    pub access: AccessConfig,
    /// `[rate]`
    pub rate: RateConfig,
    /// `[rules]`
    pub rules: RulesConfig,
    /// `[journal]`
    pub journal: JournalConfig,
    /// `[streams]`
    pub stream_room: RoomConfig,
    /// `[stream.NAME]`
    pub streams: BTreeMap<String, StreamConfig>,
    /// `[delivery] root`: the folder of what stands for buckets; default `<data_dir>/buckets`.
    pub delivery_root: Option<PathBuf>,
    /// `[delivery.NAME]`
    pub deliveries: BTreeMap<String, DeliveryConfig>,
    /// `[hook.NAME]`
    pub hooks: BTreeMap<String, HookConfig>,
    /// `[secret.NAME]`
    pub secrets: BTreeMap<String, SecretConfig>,
    /// `[access_key.ID]`: what requests of the Kinesis API may be signed with.
    pub access_keys: BTreeMap<String, AccessKeyConfig>,
    /// `[encryption_key.NAME]`: what records of streams are encrypted with.
    pub encryption_keys: BTreeMap<String, EncryptionKeyConfig>,
    /// `[shadow]`
    pub shadow: ShadowConfig,
}

/// `[mqtt]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    /// `listen`
    pub listen: SocketAddr,
    /// Whether the embedded broker listens there: not when `[broker] external` is set and `listen` is not.
    pub is_open: bool,
    /// `allow_anonymous`: whether clients may come in that do not say who they are, also where `listen`
    /// can be reached from other machines.
    pub allow_anonymous: bool,
    /// `connections_max`
    pub connections_max: usize,
    /// `packet_bytes_max`
    pub packet_bytes_max: usize,
    /// `receive_maximum`: QoS 1 and 2 publishes of one client that may wait for their acknowledgement.
    pub receive_maximum: u16,
    /// `connect_timeout`: from accept to CONNECT.
    pub connect_timeout: Duration,
    /// `keep_alive_max`: the longest keep-alive that an MQTT 5 client may have; zero when there is none.
    pub keep_alive_max: Duration,
    /// `session_expiry_max`
    pub session_expiry_max: Duration,
    /// `session_queue_max`: messages queued for one session.
    pub session_queue_max: usize,
    /// `session_queue_bytes_max`
    pub session_queue_bytes_max: usize,
    /// `session_message_age_max`: how long a message waits for a session that survives.
    pub session_message_age_max: Duration,
    /// `sessions_bytes_max`: messages of all sessions that survive.
    pub sessions_bytes_max: usize,
    /// `subscriptions_max`: of one session.
    pub subscriptions_max: usize,
    /// `retained_max`: retained messages in all.
    pub retained_max: usize,
    /// `statistics_interval`: from one publication of `$SYS/…` to the next; zero when there is none.
    pub statistics_interval: Duration,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// `listen`
    pub listen: SocketAddr,
    /// `allow_anonymous`: whether `listen` may be reachable from other machines although nobody is
    /// asked who they are.
    pub allow_anonymous: bool,
    /// `hosts`: names it answers to, beside addresses and localhost.
    pub hosts: Vec<String>,
    /// `auth`
    pub auth: HttpAuth,
    /// `group`: whose users may come in.
    pub group: String,
    /// `connections_max`
    pub connections_max: usize,
    /// `header_timeout`: from connecting to the end of the first request's head.
    pub header_timeout: Duration,
    /// `idle_timeout`: from an answer to the end of the next request's head.
    pub idle_timeout: Duration,
    /// `body_timeout`: from a request's head to the end of its body.
    pub body_timeout: Duration,
}

/// `[rules]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesConfig {
    /// `path`: a file, or a folder read with its sub-folders.
    pub path: PathBuf,
    /// `watch`: whether a change of the files is loaded without being asked for.
    pub watch: bool,
    /// `hold_keys_max`: keys one rule may watch at once.
    pub hold_keys_max: usize,
    /// `key_age`: silence after which `lag` and its like, and COUNT windows, forget a key.
    pub key_age: Duration,
    /// `table_keys_max`: keys that each table of latest values may have.
    pub table_keys_max: usize,
    /// `table_bytes_max`: bytes of keys and values that each table of latest values may have.
    pub table_bytes_max: usize,
}

/// `[journal]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// `hits_max`: hits kept for the dashboard.
    pub hits_max: usize,
    /// `gather`: under load, commits that nobody waits for (QoS 0 only) start this far apart.
    pub gather: Duration,
}

/// What happens to records that a stream has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// `refuse`: they are refused.
    #[default]
    Refuse,
    /// `drop_oldest`: the oldest records are dropped for them.
    DropOldest,
}

/// `[streams]`: of streams whose own section does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomConfig {
    /// `size_max`: bytes of data and keys; no bound but the disk's when it is not set.
    pub size_max: Option<usize>,
    /// `full`
    pub full: WhenFull,
}

/// `[stream.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// `shards`
    pub shards: u32,
    /// `retention`: 24 hours to 365 days.
    pub retention: Duration,
    /// `size_max`: bytes of data and keys; that of `[streams]` when it is not set.
    pub size_max: Option<usize>,
    /// `full`; that of `[streams]` when it is not set.
    pub full: Option<WhenFull>,
}

/// `[secret.NAME]`: where the text of a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretConfig {
    /// `value`: the text itself.
    Value(String),
    /// `file`: the text of a file, without the line break at its end.
    File(PathBuf),
    /// `env`: the value of a variable of the gateway's environment.
    Env(String),
}

/// `[access_key.ID]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessKeyConfig {
    /// `secret`: name of the `[secret.NAME]` that has the secret access key.
    pub secret: String,
}

/// `[shadow]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowConfig {
    /// `table`: where `get_thing_shadow()` finds the row of a thing.
    pub table: String,
}

/// Whether other machines can reach a listener on `address`.
pub fn is_reachable_from_outside(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

impl fmt::Debug for SecretConfig {
    /// All but the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretConfig::Value(_) => f.write_str("Value"),
            SecretConfig::File(path) => f.debug_tuple("File").field(path).finish(),
            SecretConfig::Env(name) => f.debug_tuple("Env").field(name).finish(),
        }
    }
}

impl Default for ShadowConfig {
    fn default() -> Self {
        ShadowConfig { table: "shadows".to_owned() }
    }
}

impl Config {
    /// The folder of the folders that stand for S3's buckets.
    pub fn buckets(&self) -> PathBuf {
        self.delivery_root.clone().unwrap_or_else(|| self.data_dir.join("buckets"))
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("data"),
            account_id: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            mqtt: MqttConfig::default(),
            broker: BrokerConfig { qos: 1, ..BrokerConfig::default() },
            bridges: BTreeMap::new(),
            http: HttpConfig::default(),
            listeners: BTreeMap::new(),
            access: AccessConfig::default(),
            rate: RateConfig::default(),
            rules: RulesConfig::default(),
            journal: JournalConfig::default(),
            stream_room: RoomConfig::default(),
            streams: BTreeMap::new(),
            delivery_root: None,
            deliveries: BTreeMap::new(),
            hooks: BTreeMap::new(),
            secrets: BTreeMap::new(),
            access_keys: BTreeMap::new(),
            encryption_keys: BTreeMap::new(),
            shadow: ShadowConfig::default(),
        }
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        MqttConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            is_open: true,
            allow_anonymous: false,
            connections_max: 10_000,
            packet_bytes_max: 256 * 1024,
            receive_maximum: 1024,
            connect_timeout: Duration::from_secs(10),
            keep_alive_max: Duration::ZERO,
            session_expiry_max: Duration::from_secs(7 * 24 * 3600),
            session_queue_max: 10_000,
            session_queue_bytes_max: 16 * 1024 * 1024,
            session_message_age_max: Duration::from_secs(7 * 24 * 3600),
            sessions_bytes_max: 1024 * 1024 * 1024,
            subscriptions_max: 1000,
            retained_max: 100_000,
            statistics_interval: Duration::from_secs(10),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_anonymous: false,
            hosts: Vec::new(),
            auth: HttpAuth::None,
            group: "admin".to_owned(),
            connections_max: 1000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        RulesConfig {
            path: PathBuf::from("rules"),
            watch: true,
            hold_keys_max: crate::limits::HOLD_KEYS_MAX,
            key_age: crate::limits::KEY_AGE,
            table_keys_max: crate::limits::TABLE_KEYS_MAX,
            table_bytes_max: crate::limits::TABLE_BYTES_MAX,
        }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig { hits_max: 10_000, gather: Duration::from_millis(4) }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        let retention = Duration::from_secs(24 * 3600);
        StreamConfig { shards: 2, retention, size_max: None, full: None }
    }
}

#[cfg(test)]
mod tests;
