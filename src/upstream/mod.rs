//! Other brokers: the gateway as a client of one, instead of being one ([`crate::config::BrokerConfig`]),
//! and bridges from the embedded broker to others ([`crate::config::BridgeConfig`]).
//!
//! In: the filters of the running rules or of a bridge, and messages that rules republish or that a bridge
//! takes out. A [`connection`] subscribes to those filters, takes what comes through a [`Lane`](crate::broker::Lane) as a local connection does
//! ([`receiver`]), and acknowledges after the journal's commit. What goes out is put into an [`Outbox`]
//! by that same commit ([`Exits`]) and published from there ([`sender`]), so that it outlasts days of
//! outage and a crash; a task a second records how far that has come, and drops the oldest of too large
//! a backlog.
//!
//! Promises: a message of QoS 1 is acknowledged to the other broker when all it causes is on disk; one that
//! a rule republishes is published at least once, in order, unless the backlog was too large or it was too
//! old, which is counted. Every queue is bounded by the configuration or by `limits`. A broker that is
//! away, full or hostile costs its own connection only.
//!
//! All of rumqttc is in [`link`], with what was learned of it.

mod connection;
mod cover;
mod echo;
mod envelope;
mod exits;
mod link;
mod mark;
mod memory;
mod metrics;
mod receiver;
mod route;
mod sender;
mod subscriptions;
mod tls;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio::time::timeout;

use crate::broker::BrokerHandle;
use crate::broker::Intake;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::BridgeConfig;
use crate::config::BrokerConfig;
use crate::config::LinkConfig;
use crate::config::UpstreamUrl;
use crate::delivery::Backlogs;
use crate::delivery::DeliveryError;
use crate::delivery::Outbox;
use crate::delivery::Waiting;
use crate::publish::QoS;
use crate::retry::Failure;
use crate::retry::describe;
use crate::retry::to_unix_seconds;
use crate::storage::ExecuteError;
use crate::storage::Executor;
use crate::storage::ReadConnection;
use crate::topic::TopicFilter;

pub use exits::Exits;
pub use memory::MemoryError;
pub use metrics::UpstreamMetrics;
pub use tls::TlsError;

use connection::Progress;
use connection::STOP_GRACE;
use connection::Upstream;
use link::Target;
use mark::Mark;
use memory::Memory;
use metrics::Lost;
use metrics::OneUpstream;
use receiver::Inward;
use route::Routes;
use sender::Passed;

/// The name of the connection to the external broker.
pub const EXTERNAL: &str = "external";
/// How often it is recorded how far an outbox has been emptied, and looked whether it is too large.
const KEEP_PERIOD: Duration = Duration::from_secs(1);

/// Topic filters that the rules want.
pub type Filters = Arc<BTreeSet<TopicFilter>>;

/// Why a connection to another broker cannot be prepared. That the broker is away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its outbox cannot be used.
    #[error("the outbox for '{name}' cannot be used")]
    Outbox {
        /// Of the connection.
        name: Arc<str>,
        /// Why.
        source: DeliveryError,
    },
    /// What is known of its session cannot be kept.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// TLS cannot be set up.
    #[error("TLS towards {url}")]
    Tls {
        /// The other broker.
        url: String,
        /// Why.
        source: TlsError,
    },
}

/// Is told when connections to other brokers come and go. Never waits.
pub trait LinkSink: std::fmt::Debug + Send + Sync + 'static {
    /// The connection `upstream` stands; `url` is without the user.
    fn connected(&self, upstream: &Arc<str>, at: Timestamp, url: &str);

    /// It has ended, and is tried again.
    fn disconnected(&self, upstream: &Arc<str>, at: Timestamp, url: &str, error: &str);
}

/// What connections to other brokers work with.
pub struct UpstreamSetup {
    /// `[broker]`
    pub broker: BrokerConfig,
    /// `[bridge.NAME]`
    pub bridges: BTreeMap<String, BridgeConfig>,
    /// The texts of the secrets that they name.
    pub passwords: BTreeMap<String, String>,
    /// The embedded broker, for bridges.
    pub handle: BrokerHandle,
    /// Where what must be remembered is kept.
    pub data_dir: PathBuf,
    /// To the journal's writer, which must be running.
    pub executor: Executor,
    /// A connection of their own.
    pub reader: ReadConnection,
    /// Shared with the journal's appender.
    pub backlogs: Arc<Backlogs>,
    /// The process's clock.
    pub clock: Clock,
    /// Is told of connections that come and go.
    pub sink: Arc<dyn LinkSink>,
    /// Registered by the caller.
    pub metrics: UpstreamMetrics,
}

/// A connection to another broker as it stands.
#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The other broker, without the user.
    pub url: String,
    /// Who the gateway is there.
    pub client_id: String,
    /// Since when it stands; `None` when it does not.
    pub connected_since: Option<Timestamp>,
    /// Why it last ended or did not come to be; `None` while it stands.
    pub last_error: Option<Failure>,
    /// Filters subscribed to, the first of them.
    pub subscriptions: Vec<String>,
    /// How many there are.
    pub subscriptions_total: u64,
    /// Filters that the other broker refuses, with the reason.
    pub refused: Vec<(String, &'static str)>,
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
    pub oldest: Option<Timestamp>,
}

/// One that is prepared, and not connected yet.
struct Prepared {
    name: Arc<str>,
    target: Target,
    share: Option<String>,
    qos: QoS,
    mark: Mark,
    inward: Inward,
    /// Of a bridge; `None` for those of the rules, which change.
    filters: Option<watch::Sender<Filters>>,
    outbox: Outbox,
    passed: Arc<Passed>,
    memory: Arc<Mutex<Memory>>,
    metrics: OneUpstream,
    progress: Arc<Mutex<Progress>>,
}

/// All connections to other brokers.
pub struct Upstreams {
    upstreams: Vec<Prepared>,
    clock: Clock,
    sink: Arc<dyn LinkSink>,
    stop: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams").field("count", &self.upstreams.len()).finish_non_exhaustive()
    }
}

impl Upstreams {
    /// Prepares the configured connections, with what waits from earlier runs. Nothing is connected yet.
    ///
    /// # Errors
    /// A file that is named cannot be used, or the data folder cannot.
    pub async fn prepare(setup: UpstreamSetup) -> Result<Upstreams, UpstreamError> {
        let (clock, sink) = (setup.clock, setup.sink);
        let mut plans: Vec<Plan> = Plan::external(&setup.broker).into_iter().collect();
        plans.extend(setup.bridges.iter().map(|named| Plan::bridge(named, &setup.handle)));
        let tools = Tools {
            data_dir: setup.data_dir,
            executor: setup.executor,
            reader: Arc::new(Mutex::new(setup.reader)),
            backlogs: setup.backlogs,
            clock,
            metrics: setup.metrics,
        };
        let mut upstreams = Vec::new();
        for plan in plans {
            let secret = plan.link.password.as_ref();
            let password = secret.and_then(|name| setup.passwords.get(name)).cloned();
            upstreams.push(plan.prepare(password.unwrap_or_default(), &tools).await?);
        }
        let (stop, _) = watch::channel(false);
        Ok(Upstreams { upstreams, clock, sink, stop, tasks: tokio::sync::Mutex::default() })
    }

    /// Connects, and stays connected. `filters` are those of the running rules.
    pub async fn start(&self, intake: &Arc<dyn Intake>, filters: &watch::Receiver<Filters>) {
        let mut tasks = self.tasks.lock().await;
        for prepared in &self.upstreams {
            let upstream = Upstream {
                name: Arc::clone(&prepared.name),
                target: prepared.target.clone(),
                share: prepared.share.clone(),
                qos: prepared.qos,
                mark: prepared.mark.clone(),
                filters: prepared
                    .filters
                    .as_ref()
                    .map_or_else(|| filters.clone(), watch::Sender::subscribe),
                inward: prepared.inward.clone(),
                intake: Arc::clone(intake),
                outbox: prepared.outbox.clone(),
                passed: Arc::clone(&prepared.passed),
                memory: Arc::clone(&prepared.memory),
                clock: self.clock,
                sink: Arc::clone(&self.sink),
                metrics: prepared.metrics.clone(),
                progress: Arc::clone(&prepared.progress),
                stop: self.stop.subscribe(),
            };
            tasks.spawn(upstream.run());
            tasks.spawn(prepared.keeper().run(self.stop.subscribe()));
        }
    }

    /// All of them. Answers from memory.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        self.upstreams.iter().map(Prepared::status).collect()
    }

    /// Stops before the journal does: acknowledgements due go out, and how far the outboxes have been
    /// emptied is recorded.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut tasks = self.tasks.lock().await;
        let ended = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of a connection to another broker panicked");
                }
            }
        };
        // Connections keep to the grace themselves; twice of it means that the journal does not answer.
        if timeout(STOP_GRACE * 2, ended).await.is_err() {
            tasks.abort_all();
        }
        for prepared in &self.upstreams {
            let keeper = prepared.keeper();
            drop(timeout(KEEP_PERIOD, keeper.record()).await);
        }
    }
}

/// What all connections are prepared with.
struct Tools {
    data_dir: PathBuf,
    executor: Executor,
    reader: Arc<Mutex<ReadConnection>>,
    backlogs: Arc<Backlogs>,
    clock: Clock,
    metrics: UpstreamMetrics,
}

/// A connection as the configuration has it.
struct Plan {
    name: Arc<str>,
    url: UpstreamUrl,
    link: LinkConfig,
    share: Option<String>,
    qos: QoS,
    inward: Inward,
    filters: Option<BTreeSet<TopicFilter>>,
}

impl Plan {
    fn external(broker: &BrokerConfig) -> Option<Plan> {
        let BrokerConfig { external, share, qos, link } = broker.clone();
        Some(Plan {
            name: Arc::from(EXTERNAL),
            url: external?,
            link,
            share,
            qos: if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            inward: Inward::Rules,
            filters: None,
        })
    }

    fn bridge((name, bridge): (&String, &BridgeConfig), handle: &BrokerHandle) -> Plan {
        let routes = Routes::inward(bridge);
        Plan {
            name: exits::bridge_name(name),
            url: bridge.url.clone(),
            link: bridge.link.clone(),
            share: None,
            qos: routes.qos(),
            filters: Some(routes.filters()),
            inward: Inward::Bridge(routes, handle.clone()),
        }
    }

    async fn prepare(self, password: String, tools: &Tools) -> Result<Prepared, UpstreamError> {
        let Plan { name, url, link, share, qos, inward, filters } = self;
        let (executor, reader) = (tools.executor.clone(), Arc::clone(&tools.reader));
        let outbox = exits::outbox_of(&name);
        let outbox = Outbox::open(outbox, executor, reader, &tools.backlogs, tools.clock)
            .await
            .map_err(|source| UpstreamError::Outbox { name: Arc::clone(&name), source })?;
        let tls = match url.is_tls {
            true => Some(
                tls::client_config(&link)
                    .map_err(|source| UpstreamError::Tls { url: url.shown(), source })?,
            ),
            false => None,
        };
        let memory = Memory::open(&tools.data_dir, &name, link.client_id.as_deref())?;
        let client_id = memory.kept.client_id.clone();
        let progress = Progress { client_id: client_id.clone(), ..Progress::default() };
        Ok(Prepared {
            mark: Mark::new(&client_id, share.as_deref()),
            target: Target { url, client_id, password, config: link, tls },
            share,
            qos,
            inward,
            filters: filters.map(|filters| watch::channel(Arc::new(filters)).0),
            outbox,
            passed: Arc::default(),
            memory: Arc::new(Mutex::new(memory)),
            metrics: tools.metrics.of(&name),
            progress: Arc::new(Mutex::new(progress)),
            name,
        })
    }
}

impl Prepared {
    fn keeper(&self) -> Keeper {
        Keeper {
            name: Arc::clone(&self.name),
            outbox: self.outbox.clone(),
            passed: Arc::clone(&self.passed),
            metrics: self.metrics.clone(),
            bytes_max: self.target.config.backlog_bytes_max as u64,
            age_max: self.target.config.backlog_age_max,
        }
    }

    fn status(&self) -> UpstreamStatus {
        let Waiting { entries, bytes, oldest, .. } = self.outbox.waiting();
        let Progress { connected_since, client_id, last_error, subscriptions, refused } =
            self.progress.lock().clone();
        UpstreamStatus {
            name: Arc::clone(&self.name),
            url: self.target.url.shown(),
            client_id,
            connected_since,
            last_error,
            subscriptions,
            subscriptions_total: self.metrics.subscriptions.get().unsigned_abs(),
            refused,
            received: self.metrics.received.get(),
            acks_waiting: self.metrics.acks_waiting.get().unsigned_abs(),
            forwarded: self.metrics.forwarded.get(),
            dropped: self.metrics.lost(),
            backlog_messages: entries,
            backlog_bytes: bytes,
            oldest,
        }
    }
}

/// Looks after an outbox.
struct Keeper {
    name: Arc<str>,
    outbox: Outbox,
    passed: Arc<Passed>,
    metrics: OneUpstream,
    bytes_max: u64,
    age_max: Duration,
}

impl Keeper {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(KEEP_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            match self.keep().await {
                Ok(()) => {}
                Err(DeliveryError::Declare(ExecuteError::Closed)) => return,
                Err(error) => {
                    let error = describe(&error);
                    tracing::warn!(upstream = %self.name, error, "an outbox cannot be looked after");
                }
            }
        }
    }

    async fn keep(&self) -> Result<(), DeliveryError> {
        self.record().await?;
        let dropped = self.outbox.shed(self.bytes_max, self.age_max).await?;
        if dropped > 0 {
            self.metrics.count_lost(Lost::Backlog, dropped);
            tracing::error!(
                upstream = %self.name, dropped,
                "the backlog for the other broker is too large or too old; its oldest messages are dropped"
            );
        }
        let waiting = self.outbox.waiting();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.backlog_messages.set(gauge(waiting.entries));
        self.metrics.backlog_bytes.set(gauge(waiting.bytes));
        self.metrics.backlog_oldest.set(to_unix_seconds(waiting.oldest));
        Ok(())
    }

    async fn record(&self) -> Result<(), ExecuteError> {
        self.outbox.pass(self.passed.block()).await
    }
}
