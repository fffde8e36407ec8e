//! The configuration file as plain structs; unknown keys refused; checked whole before anything starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything `tidegate.toml` can say. `Config::default()` is the gateway without a file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `data_dir`: where everything durable lives. Default `data`.
    pub data_dir: PathBuf,
    /// `account_id`: what `accountid()` answers. Default `000000000000`.
    pub account_id: String,
    /// `[mqtt]`
    pub mqtt: MqttConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[rules]`
    pub rules: RulesConfig,
    /// `[journal]`
    pub journal: JournalConfig,
    /// `[stream.NAME]`
    pub streams: BTreeMap<String, StreamConfig>,
    /// `[delivery.NAME]`
    pub deliveries: BTreeMap<String, DeliveryConfig>,
    /// `[hook.NAME]`
    pub hooks: BTreeMap<String, HookConfig>,
}

/// `[mqtt]`
#[derive(Clone, Debug)]
pub struct MqttConfig {
    /// `listen`
    pub listen: SocketAddr,
    /// `connections_max`
    pub connections_max: usize,
    /// `packet_bytes_max`
    pub packet_bytes_max: usize,
    /// `receive_maximum`: QoS 1 and 2 publishes of one client that may wait for their acknowledgement.
    pub receive_maximum: u16,
    /// `connect_timeout`: from accept to CONNECT.
    pub connect_timeout: Duration,
    /// `session_expiry_max`
    pub session_expiry_max: Duration,
    /// `session_queue_max`: messages queued for one session.
    pub session_queue_max: usize,
    /// `session_queue_bytes_max`
    pub session_queue_bytes_max: usize,
    /// `subscriptions_max`: of one session.
    pub subscriptions_max: usize,
    /// `retained_max`: retained messages in all.
    pub retained_max: usize,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `listen`
    pub listen: SocketAddr,
}

/// `[rules]`
#[derive(Clone, Debug)]
pub struct RulesConfig {
    /// `path`: a file, or a folder read with its sub-folders.
    pub path: PathBuf,
    /// `hold_keys_max`: keys one rule may watch at once.
    pub hold_keys_max: usize,
}

/// `[journal]`
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// `hits_max`: hits kept for the dashboard.
    pub hits_max: usize,
}

/// `[stream.NAME]`
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// `shards`
    pub shards: u32,
    /// `retention`: 24 hours to 365 days.
    pub retention: Duration,
}

/// Compression of delivered files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// `none`
    #[default]
    None,
    /// `gzip`
    Gzip,
}

/// `[delivery.NAME]`
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// `buffer_bytes`: flush when this much waits (1 to 128 MiB).
    pub buffer_bytes: usize,
    /// `buffer_interval`: flush when the oldest entry is this old (0 to 900 s).
    pub buffer_interval: Duration,
    /// `directory`: default `<data_dir>/delivery/NAME`.
    pub directory: Option<PathBuf>,
    /// `compression`
    pub compression: Compression,
}

/// `[hook.NAME]`
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// `url`: http or https.
    pub url: String,
    /// `timeout` of one attempt.
    pub timeout: Duration,
    /// `concurrency`: calls under way at once.
    pub concurrency: usize,
    /// `attempts` before a call goes to the dead letters.
    pub attempts: u32,
    /// `backoff`: wait before the second attempt; doubles, with jitter.
    pub backoff: Duration,
    /// `backoff_max`
    pub backoff_max: Duration,
    /// `[hook.NAME.headers]`
    pub headers: BTreeMap<String, String>,
}

impl Default for MqttConfig {
    fn default() -> Self {
        MqttConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            connections_max: 10_000,
            packet_bytes_max: 256 * 1024,
            receive_maximum: 1024,
            connect_timeout: Duration::from_secs(10),
            session_expiry_max: Duration::from_secs(7 * 24 * 3600),
            session_queue_max: 10_000,
            session_queue_bytes_max: 16 * 1024 * 1024,
            subscriptions_max: 1000,
            retained_max: 100_000,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        RulesConfig { path: PathBuf::from("rules"), hold_keys_max: crate::limits::HOLD_KEYS_MAX }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig { hits_max: 10_000 }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        StreamConfig { shards: 2, retention: Duration::from_secs(24 * 3600) }
    }
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        DeliveryConfig {
            buffer_bytes: 5 * 1024 * 1024,
            buffer_interval: Duration::from_secs(60),
            directory: None,
            compression: Compression::None,
        }
    }
}
