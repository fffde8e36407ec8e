//! Builds the parts, joins them with bounded queues, and owns their start and shutdown order.
//!
//! Start, each step only when the one before stands: rules (checked by the caller) → storage → saved
//! hold state and retained messages → listeners bound → journal → deliveries and hooks → broker →
//! HTTP. Nothing is accepted before everything is restored, and the `ready:` line comes last.
//!
//! Shutdown, the other way round: the broker stops reading and waits for the acknowledgements due,
//! deliveries and hooks finish what they hold, the journal commits what is queued and folds its log.
//!
//! In between, `reload` lets another rule set take over.
//!
//! Start reading at [`Gateway::start`]; the two halves of a publish's way are `intake` and `stage`.
//! [`Rehearsal`] runs both in virtual time.

mod access_files;
mod doors;
mod encryption;
mod events;
mod hits;
mod inbox;
mod intake;
mod key;
mod kinesis;
mod letters;
mod open_files;
mod pass;
mod plans;
mod rates;
mod refusal;
mod rehearsal;
mod reload;
mod rules;
mod secrets;
mod sessions;
mod stage;
#[cfg(test)]
mod stage_tests;
mod stream_metrics;
mod stream_rules;
mod streams;
mod switches;
mod tally;
mod upstreams;
mod view;
mod virtual_streams;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::accept::Door;
use crate::access::Access;
use crate::api::HttpMetrics;
use crate::api::Server;
use crate::api::Sites;
use crate::api::Source;
use crate::api::lock::HttpLock;
use crate::api::rule_set::ReloadCause;
use crate::broker::Broker;
use crate::broker::BrokerHandle;
use crate::broker::Guard;
use crate::broker::Remains;
use crate::broker::StagedPublish;
use crate::checkpoint;
use crate::checkpoint::Part;
use crate::checkpoint::Saved;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::dashboard;
use crate::delivery;
use crate::delivery::Accounts;
use crate::delivery::Deliveries;
use crate::delivery::DeliverySetup;
use crate::delivery::MadeDeliveries;
use crate::engine::Engine;
use crate::engine::history::HistoryTable;
use crate::engine::hold::Transitions;
use crate::engine::rows::Restored;
use crate::engine::stateful::StateTable;
use crate::hit_log::HitLog;
use crate::journal::Batch;
use crate::journal::Effect;
use crate::journal::Journal;
use crate::journal::JournalHealth;
use crate::kinesis::restore_deliveries;
use crate::lambda;
use crate::lambda::Caller;
use crate::lambda::HookError;
use crate::lambda::HookSetup;
use crate::lambda::Hooks;
use crate::latest;
use crate::latest::Bounds;
use crate::latest::LatestError;
use crate::latest::Mirror;
use crate::publish::Publish;
use crate::retained;
use crate::rule::Rule;
use crate::rule::target::Known;
use crate::rule_files;
use crate::rule_files::Loaded;
use crate::session;
use crate::session::Parcel;
use crate::session::Removal;
use crate::storage::ReadConnection;
use crate::storage::Storage;
use crate::storage::StorageError;
use crate::stream;
use crate::topic::TopicName;

pub use encryption::KeyError;
pub use encryption::keyring;
pub use key::TOKEN_FILE;
pub use rehearsal::Rehearsal;
pub use rehearsal::Seen;
pub use virtual_streams::Arrived;
pub use virtual_streams::VirtualStreams;

use access_files::AccessFiles;
use doors::Doors;
use events::Events;
use hits::Hits;
use intake::RuleIntake;
use intake::Ways;
use key::HookAsker;
use key::http_lock;
use letters::LetterSink;
use rates::Rates;
use reload::Reading;
use reload::ReloadSetup;
use reload::Reloader;
use reload::Reloads;
use rules::Rules;
use rules::RunningRules;
use secrets::SecretError;
use stage::AfterCommit;
use stage::GatewayStage;
use stage::Remembered;
use stage::Work;
use stream_rules::StreamRules;
use stream_rules::StreamSetup;
use streams::declare_streams;
use streams::first_streams;
use tally::RuleMetrics;
use view::GatewayView;

/// How long connections may take to get their last acknowledgements out,
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// and how long when the journal is stalled, so that there will hardly be any.
const STALLED_SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// How often the counters are read for the chart.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

/// A running gateway.
pub struct Gateway {
    view: Arc<GatewayView>,
    broker: JoinHandle<()>,
    journal: Journal<Work>,
    http: JoinHandle<()>,
    /// Events, and what reads streams for the rules: they submit to the journal.
    feeders: [JoinHandle<()>; 2],
    /// Ends the HTTP server and the reading of streams, and publishes what events are left.
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Holds the lock of the data folder until the very end.
    storage: Storage,
}

/// What happens after a commit, on the writer's thread.
struct Announce {
    broker: BrokerHandle,
    hits: Arc<Hits>,
    /// Of the messages that are about to be published, in order.
    staged: VecDeque<StagedPublish>,
    /// Reused.
    parcels: Vec<Arc<Parcel>>,
}

impl Announce {
    fn new(broker: BrokerHandle, hits: Arc<Hits>) -> Announce {
        Announce { broker, hits, staged: VecDeque::new(), parcels: Vec::new() }
    }
}

impl AfterCommit for Announce {
    fn stage(&mut self, message: &Publish, effects: &mut Vec<Effect>) {
        self.staged.push_back(self.broker.stage(message, &mut self.parcels));
        effects.extend(self.parcels.drain(..).map(Effect::Keep));
    }

    fn publish(&mut self, message: Publish) {
        let staged = self.staged.pop_front().unwrap_or_default();
        self.broker.publish_staged(&message, &staged);
    }

    fn may_retain(&mut self, message: &Publish) -> bool {
        self.broker.reserve_retained(message)
    }

    fn retained(&mut self, message: &Publish) {
        self.broker.settle_retained(message);
    }

    fn settle(&mut self, batch: &mut Batch) {
        let ledger = self.broker.ledger();
        batch.effects.extend(ledger.take_parcels().into_iter().map(Effect::Keep));
        ledger.take(&mut batch.removals);
    }

    fn remove(&mut self, removals: &mut Vec<Removal>) {
        self.broker.ledger().add(removals);
    }

    fn hits_logged(&mut self) {
        self.hits.ring();
    }

    fn hears_events(&self) -> bool {
        self.broker.hears_events()
    }

    fn hears(&self, topic: &TopicName) -> bool {
        self.broker.hears(topic)
    }
}

impl Gateway {
    /// Starts everything over a rule set without errors.
    ///
    /// # Errors
    /// What kept a part from starting; nothing keeps running then.
    pub async fn start(mut config: Config, loaded: Loaded) -> anyhow::Result<Gateway> {
        let (clock, http_metrics) = (Clock::start(), HttpMetrics::default());
        let started_at = clock.now();
        open_files::fit(&mut config, &loaded.checked.rules)?;
        let mut registry = Registry::with_prefix("tidegate");
        let storage = Storage::open_with(&config.data_dir, keyring(&config)?)?;
        let kept = latest::load(&storage, table_bounds(&config))?;
        let rules = switches::restored(loaded.checked.rules, &storage)?;
        let running = first_rules(rules, &config, &kept.mirror, &storage, &mut registry)?;
        let (rules, mirror) = (running.get(), Arc::clone(&kept.mirror));
        let remembered = remembered(&checkpoint::load(&storage)?, kept, &rules, started_at)?;
        let (caller, hook_metrics) = caller(&config, clock, &mut registry)?;
        let (guard, lock) = access(&config, clock, &caller, &mut registry)?;
        let (left, remains) = left_sessions(&config, &storage)?;
        let doors = Doors::open(&config, clock, &mut registry).await?;
        let broker = Broker::new(&config.mqtt, doors.mqtt, clock, guard.clone(), left);
        let http = Server::new(&config.http, doors.http, http_metrics.clone());
        let (hits, handle) = (Arc::new(Hits::new(HitLog::new(storage.reader()?))), broker.handle());
        let (ways, exit_metrics) = Ways::new(&config, &mut registry);
        let stage = stage(&running, remembered, &handle, &hits, &ways);
        let journal = Journal::start(&storage, stage, &config.journal, clock)?;
        prepare_tables(&storage, &config, &rules, remains, clock).await?;
        let (stop, stopped) = watch::channel(false);
        let (events, desk) = Events::new(Arc::clone(&running), handle.clone(), &mut registry);
        let desk = desk.run(journal.submitter(), Arc::clone(&caller), stopped.clone());
        let parts = Parts { storage: &storage, journal: &journal, config: &config, clock, events };
        let stream_rules = parts.stream_rules(&running).await?;
        let hooks = parts.start_hooks(&running, &caller, hook_metrics).await?;
        register_metrics(&journal, &handle, &hits, &http_metrics, &mut registry);

        let (streams, deliveries) = parts.kinesis(&running, &stopped, &ways, &mut registry).await?;
        let access_files = AccessFiles::new(guard.access, handle.clone());
        let read = Reading { inputs: loaded.inputs, parses: loaded.parses };
        let (reloader, reloads) =
            parts.reloader(&running, mirror, read, access_files.clone(), &mut registry)?;
        let view = Arc::new(GatewayView {
            clock,
            started_at,
            data_dir: config.data_dir.clone(),
            rules_path: config.rules.path.clone(),
            mqtt: doors.first,
            http: http.local_addr(),
            http_hosts: config.http.hosts.clone(),
            certificates: doors.certificates,
            life: Arc::default(),
            intake: Arc::new(parts.intake(&running, caller, ways.clone())),
            rates: Arc::new(Rates::new(Arc::clone(&running))),
            running,
            reloads,
            hits,
            upstreams: parts.prepare_upstreams(&handle, exit_metrics).await?,
            broker: handle,
            journal: journal.submitter(),
            health: journal.health(),
            journal_metrics: journal.metrics().clone(),
            executor: storage.executor(),
            streams: Arc::new(Mutex::new(stream::Reader::new(storage.reader()?))),
            latest: Arc::new(Mutex::new(latest::Reader::new(storage.reader()?))),
            deliveries,
            hooks,
            registry,
        });
        storage.announce(view.http)?;
        let http = http.run(sites(&view, &config, &http_metrics, streams, lock), stopped.clone());
        let http = tokio::spawn(http);
        let (broker, mut tasks) = open(broker, &view, parts.keep_streams(&view.running)).await;
        tasks.extend([tokio::spawn(reloader.run()), tokio::spawn(access_files.watch())]);
        let feeders = [tokio::spawn(desk), tokio::spawn(stream_rules.run(stopped))];
        view.life.begin();
        Ok(Gateway { view, broker, http, feeders, journal, stop, tasks, storage })
    }

    /// Address of the MQTT listener, if there is one.
    pub fn mqtt(&self) -> Option<SocketAddr> {
        self.view.mqtt
    }

    /// Address of the HTTP listener.
    pub fn http(&self) -> SocketAddr {
        self.view.http
    }

    /// The further listeners: name, protocol, address in use.
    pub fn listeners(&self) -> impl Iterator<Item = (&str, &'static str, SocketAddr)> {
        let further = |door: &&Arc<Door>| !matches!(&*door.name, "mqtt" | "http");
        let doors = self.view.certificates.doors().iter().filter(further);
        doors.map(|door| (&*door.name, door.config.protocol.as_str(), door.address))
    }

    /// Has the rules and the certificates read again, on a task of its own; how that ends is on the
    /// log.
    pub fn reload(&self) {
        let reloads = Arc::clone(&self.view.reloads);
        let certificates = Arc::clone(&self.view.certificates);
        tokio::spawn(async move {
            certificates.reload().await;
            if let Err(error) = reloads.reload(ReloadCause::Signal).await {
                tracing::error!(%error, "the rules were not reloaded");
            }
        });
    }

    /// Ends only when a part that must run has ended by itself.
    pub async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            ended = &mut self.broker => ended,
            () = self.view.journal.closed() => {
                return anyhow::anyhow!("the journal's writer ended by itself; its log line says why");
            }
        };
        match ended {
            Ok(()) => anyhow::anyhow!("the broker ended by itself"),
            Err(error) => anyhow::Error::new(error).context("the broker's task failed"),
        }
    }

    /// Stops in order; everything that was acknowledged is on disk and stays there.
    ///
    /// # Errors
    /// When the journal could not write what was queued (and not acknowledged).
    pub async fn shutdown(self) -> anyhow::Result<()> {
        let Gateway { view, broker, http, feeders, journal, stop, tasks, storage } = self;
        view.life.end();
        view.broker.shutdown();
        view.upstreams.shutdown().await;
        if !broker.is_finished() {
            drop(broker.await);
        }
        view.deliveries.shutdown().await;
        view.hooks.shutdown().await;
        stop.send_replace(true);
        if let Err(error) = http.await {
            tracing::error!(%error, "the HTTP server's task failed");
        }
        // A stalled journal takes no more events and no more records; neither were anybody's promise.
        for task in feeders {
            let abort = task.abort_handle();
            if tokio::time::timeout(STALLED_SHUTDOWN_GRACE, task).await.is_err() {
                abort.abort();
            }
        }
        for task in tasks {
            task.abort();
        }
        sessions::settle_last(&view.broker, &view.journal, view.clock).await;
        drop(view);
        journal.shutdown().await?;
        drop(storage);
        tracing::info!("the gateway has stopped");
        Ok(())
    }
}

/// Who may come in, over MQTT and over HTTP.
fn access(
    config: &Config,
    clock: Clock,
    caller: &Arc<Caller>,
    registry: &mut Registry,
) -> anyhow::Result<(Guard, Option<HttpLock>)> {
    let asks = HookAsker::of(config, caller);
    let access = Arc::new(Access::load(&config.access, clock, asks)?);
    access.metrics().register(registry);
    let lock = http_lock(config, &access)?;
    Ok((Guard { access, rate: config.rate.clone() }, lock))
}

/// What is served over HTTP.
fn sites(
    view: &Arc<GatewayView>,
    config: &Config,
    metrics: &HttpMetrics,
    streams: axum::Router,
    lock: Option<HttpLock>,
) -> Sites {
    let source = Arc::clone(view) as Arc<dyn Source>;
    let (patience, bytes_max) = (config.http.body_timeout, config.mqtt.packet_bytes_max);
    dashboard::sites(&source, patience, bytes_max, metrics, streams, lock)
}

/// What the last run has left for the broker, and the sessions of which there are only remains.
fn left_sessions(config: &Config, storage: &Storage) -> anyhow::Result<(Remains, Vec<u64>)> {
    let retained = retained::load(storage, config.mqtt.retained_max)?;
    let mut sessions = session::load(storage)?;
    let ended = std::mem::take(&mut sessions.remains);
    let store = Some(session::Reader::new(storage.reader()?));
    Ok((Remains { retained, sessions, store }, ended))
}

/// The journal's stage, which tells `broker` and `hits` of what is committed.
fn stage(
    running: &Arc<RunningRules>,
    remembered: Remembered,
    broker: &BrokerHandle,
    hits: &Arc<Hits>,
    ways: &Ways,
) -> GatewayStage<Announce> {
    let after = Announce::new(broker.clone(), Arc::clone(hits));
    GatewayStage::new(Arc::clone(running), remembered, after).with_ways(ways)
}

/// Lets messages in: the broker's task, and the others.
async fn open(
    broker: Broker,
    view: &Arc<GatewayView>,
    keeper: JoinHandle<()>,
) -> (JoinHandle<()>, Vec<JoinHandle<()>>) {
    let (filters, following) = upstreams::follow_filters(&view.running);
    view.upstreams.start(&view.intake, &filters).await;
    let tasks = vec![
        keeper,
        tokio::spawn(following),
        tokio::spawn(Arc::clone(&view.hits).follow()),
        tokio::spawn(sample(Arc::clone(view))),
        tokio::spawn(Arc::clone(&view.certificates).watch()),
        tokio::spawn(stream::retain(view.executor.clone(), view.clock)),
        tokio::spawn(sessions::settle(view.broker.clone(), view.journal.clone(), view.clock)),
        tokio::spawn(sessions::age(view.broker.clone(), view.executor.clone(), view.clock)),
    ];
    tracing::info!(
        rules = view.running.hold().list().len(),
        mqtt = view.mqtt.map(tracing::field::display),
        http = %view.http,
        data = %view.data_dir.display(),
        "the gateway is ready"
    );
    let intake = Arc::clone(&view.intake);
    (tokio::spawn(broker.run(intake, patience(view.health.clone()))), tasks)
}

/// Puts what the parts count on `/metrics`.
fn register_metrics(
    journal: &Journal<Work>,
    broker: &BrokerHandle,
    hits: &Hits,
    http: &HttpMetrics,
    registry: &mut Registry,
) {
    journal.metrics().register(registry);
    broker.metrics().register(registry);
    hits.feed().metrics().register(registry);
    http.register(registry);
}

/// What calls hooks for rules that wait, and what hooks count.
fn caller(
    config: &Config,
    clock: Clock,
    registry: &mut Registry,
) -> Result<(Arc<Caller>, lambda::HookMetrics), HookError> {
    let metrics = lambda::HookMetrics::default();
    metrics.register(registry);
    let owner = lambda::Owner { account_id: &config.account_id, region: &config.region };
    let caller = Caller::new(&config.hooks, owner, clock, &metrics)?;
    Ok((Arc::new(caller), metrics))
}

/// How much a table of latest values may hold.
fn table_bounds(config: &Config) -> Bounds {
    let rules = &config.rules;
    Bounds { keys_max: rules.table_keys_max, bytes_max: rules.table_bytes_max }
}

/// The rules compiled, with the targets that names completed by messages may come to, the secrets, and
/// the tables that they read, which `mirror` holds or finds on `disk`.
fn engine(
    rules: Vec<Arc<Rule>>,
    config: &Config,
    mirror: &Mirror,
    disk: &ReadConnection,
) -> Result<Engine, EngineError> {
    let known = Known::new(&rule_files::targets(config), &rules);
    let engine = Engine::new(rules, &config.account_id).with_targets(known);
    let view = mirror.view(engine.latest_tables(), Some(disk))?;
    Ok(engine.with_latest(Arc::new(view)).with_secrets(secrets::read(&config.secrets)?))
}

/// Why rules that are sound cannot run.
#[derive(Debug, thiserror::Error)]
enum EngineError {
    /// A table that they read cannot be.
    #[error(transparent)]
    Latest(#[from] LatestError),
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The set that runs first, and its counters on `/metrics`.
fn first_rules(
    rules: Vec<Arc<Rule>>,
    config: &Config,
    mirror: &Mirror,
    storage: &Storage,
    registry: &mut Registry,
) -> anyhow::Result<Arc<RunningRules>> {
    let engine = engine(rules, config, mirror, &storage.reader()?)?;
    let running = Arc::new(RunningRules::new(Arc::new(Rules::new(engine, config, None))));
    registry.register_collector(Box::new(RuleMetrics::new(Arc::clone(&running))));
    Ok(running)
}

/// What rules remember, as the last run left it.
fn remembered(
    saved: &Saved,
    kept: latest::Kept,
    rules: &Rules,
    now: Timestamp,
) -> anyhow::Result<Remembered> {
    let (states, transitions) = restore_states(saved, rules, now)?;
    let history = restore_histories(saved, rules, now)?;
    Ok(Remembered { states, history, kept, transitions })
}

/// Conditions and windows as the last run left them, and what the change of rules since then makes of it.
fn restore_states(
    saved: &Saved,
    rules: &Rules,
    now: Timestamp,
) -> anyhow::Result<(StateTable, Transitions)> {
    let mut states = StateTable::new(rules.stateful());
    let mut transitions = Transitions::default();
    if let Some(alive_until) = saved.alive_until {
        let mut restoring = states.restoring(alive_until, now);
        saved.for_each_key(Part::Hold, |stored| restoring.key(stored, &mut transitions))?;
        let restored = restoring.finish();
        tell_restored(&restored, alive_until, now, "conditions and windows go on");
    }
    states.list_rows(rules.stateful(), now, &mut transitions);
    Ok((states, transitions))
}

/// The history table as the last run left it.
fn restore_histories(saved: &Saved, rules: &Rules, now: Timestamp) -> anyhow::Result<HistoryTable> {
    let mut history = HistoryTable::new(rules.remembering());
    if let Some(alive_until) = saved.alive_until {
        let mut restoring = history.restoring(alive_until, now);
        saved.for_each_key(Part::History, |stored| restoring.key(stored, &mut ()))?;
        let restored = restoring.finish();
        tell_restored(&restored, alive_until, now, "earlier values are remembered");
    }
    Ok(history)
}

fn tell_restored(restored: &Restored, alive_until: Timestamp, now: Timestamp, what: &str) {
    for row in &restored.rejected_rows {
        tracing::error!(
            rule = %row.rule, key = %row.key, error = %row.error,
            "the saved state of a rule cannot be read; its key starts afresh"
        );
    }
    if restored.kept + restored.ended > 0 {
        tracing::info!(
            kept = restored.kept,
            ended = restored.ended,
            downtime_ms = u64::try_from(now.since(alive_until).as_millis()).unwrap_or(u64::MAX),
            "{what}"
        );
    }
}

/// What is to be on disk before anything comes in: streams, the switches of the rules that there are, and
/// that the last run's connections have ended.
async fn prepare_tables(
    storage: &Storage,
    config: &Config,
    rules: &Rules,
    remains: Vec<u64>,
    clock: Clock,
) -> anyhow::Result<()> {
    declare_streams(&storage.executor(), first_streams(config, rules), clock).await?;
    stream::take_stock(&storage.executor(), &rules.meter).await?;
    checkpoint::declare_switches(&storage.executor(), Arc::clone(rules.switches())).await?;
    session::begin(&storage.executor(), remains, clock.now()).await?;
    Ok(())
}

/// What deliveries and hooks are started with.
struct Parts<'a> {
    storage: &'a Storage,
    journal: &'a Journal<Work>,
    config: &'a Config,
    clock: Clock,
    events: Events,
}

impl Parts<'_> {
    fn intake(&self, running: &Arc<RunningRules>, caller: Arc<Caller>, ways: Ways) -> RuleIntake {
        let journal = self.journal.submitter();
        RuleIntake::new(Arc::clone(running), journal, self.events.clone(), caller, ways)
    }

    fn reloader(
        &self,
        running: &Arc<RunningRules>,
        mirror: Arc<Mirror>,
        read: Reading,
        access_files: AccessFiles,
        registry: &mut Registry,
    ) -> Result<(Reloader, Arc<Reloads>), StorageError> {
        let setup = ReloadSetup {
            config: self.config.clone(),
            mirror,
            disk: self.storage.reader()?,
            running: Arc::clone(running),
            journal: self.journal.submitter(),
            executor: self.storage.executor(),
            clock: self.clock,
            read,
            access_files,
        };
        Ok(Reloader::new(setup, registry))
    }

    /// Makes the rules that read streams the consumers there are, and what reads for them.
    async fn stream_rules(&self, running: &Arc<RunningRules>) -> anyhow::Result<StreamRules> {
        let consumers = Arc::clone(running.get().consumers());
        let now = self.clock.now();
        stream::declare_consumers(&self.storage.executor(), consumers, now).await?;
        Ok(StreamRules::new(StreamSetup {
            running: Arc::clone(running),
            journal: self.journal.submitter(),
            arrivals: self.journal.arrivals(),
            reader: stream::Reader::new(self.storage.reader()?),
            clock: self.clock,
        }))
    }

    async fn start_deliveries(
        &self,
        accounts: Arc<Accounts>,
        registry: &mut Registry,
    ) -> anyhow::Result<(Arc<Deliveries>, Arc<MadeDeliveries>)> {
        let made = delivery::load_made(self.storage.reader()?.sqlite())?;
        restore_deliveries(&made, &accounts, &self.config.buckets());
        let metrics = delivery::DeliveryMetrics::default();
        metrics.register(registry);
        let setup = DeliverySetup {
            executor: self.storage.executor(),
            reader: self.storage.reader()?,
            backlogs: self.journal.delivery_backlogs(),
            accounts: Arc::clone(&accounts),
            data_dir: self.config.data_dir.clone(),
            clock: self.clock,
            failures: Arc::new(self.events.clone()),
            metrics,
        };
        let deliveries = Arc::new(Deliveries::start(setup).await?);
        let (executor, clock) = (self.storage.executor(), self.clock);
        let made = MadeDeliveries::new(executor, clock, accounts, Arc::clone(&deliveries), made);
        Ok((deliveries, made))
    }

    async fn start_hooks(
        &self,
        running: &Arc<RunningRules>,
        caller: &Arc<Caller>,
        metrics: lambda::HookMetrics,
    ) -> anyhow::Result<Arc<Hooks>> {
        let submitter = self.journal.submitter();
        let sink = LetterSink::new(
            Arc::clone(running),
            submitter,
            self.events.clone(),
            self.clock,
            Arc::clone(caller),
        );
        let setup = HookSetup {
            executor: self.storage.executor(),
            reader: self.storage.reader()?,
            backlogs: self.journal.hook_backlogs(),
            caller: Arc::clone(caller),
            sink: Arc::new(sink),
            clock: self.clock,
            metrics,
        };
        Ok(Arc::new(Hooks::start(setup).await?))
    }
}

/// How long a shutdown waits for acknowledgements.
async fn patience(health: JournalHealth) {
    let stalled = async {
        health.stalled().await;
        tokio::time::sleep(STALLED_SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        () = tokio::time::sleep(SHUTDOWN_GRACE) => {}
        () = stalled => {}
    }
}

async fn sample(view: Arc<GatewayView>) {
    let mut ticks = tokio::time::interval(SAMPLE_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut was_behind = false;
    loop {
        ticks.tick().await;
        view.rates.sample(view.clock.now(), view.messages());
        let behind = view.clock.behind();
        if !behind.is_zero() && !was_behind {
            let behind_s = behind.as_secs();
            tracing::warn!(
                behind_s,
                "the clock has been set back; the gateway's time goes on until its next start"
            );
        }
        was_behind = !behind.is_zero();
    }
}
