//! What the API reads of the running gateway.
//!
//! Counters and states come from memory; streams, hits and dead letters are read over connections of
//! their own on blocking threads, so that a page never waits for a commit, nor a commit for a page.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use crate::api::HitReader;
use crate::api::SeriesSpan;
use crate::api::SeriesView;
use crate::api::Source;
use crate::api::SourceError;
use crate::api::payload::Payload;
use crate::api::plan::RulePlan;
use crate::api::rule_set::ReloadCause;
use crate::api::rule_set::ReloadReport;
use crate::api::source::Answer;
use crate::api::source::HitFilter;
use crate::api::source::NewMessage;
use crate::api::source::NewRecord;
use crate::api::source::ReadFrom;
use crate::api::source::RetainedMessage;
use crate::api::source::Visitor;
use crate::api::streams::Reshard;
use crate::api::streams::StreamDetail;
use crate::api::view;
use crate::broker::BrokerHandle;
use crate::broker::ClientStatus;
use crate::broker::Intake;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::delivery::Deliveries;
use crate::engine::RuleIndex;
use crate::engine::hold::HoldView;
use crate::hit_log::HitQuery;
use crate::journal::AckSlot;
use crate::journal::JournalHealth;
use crate::journal::JournalMetrics;
use crate::journal::Stall;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::lambda::DeadLetter;
use crate::lambda::HookStatus;
use crate::lambda::Hooks;
use crate::latest;
use crate::limits;
use crate::retry::Failure;
use crate::rule::ast::Action;
use crate::rule::ast::Spanned;
use crate::rule::ast::StreamSource;
use crate::rule::switch::Setting;
use crate::storage::Executor;
use crate::stream;
use crate::stream::Reader;
use crate::stream::StartAt;
use crate::stream::StreamError;
use crate::topic::TopicName;
use crate::upstream::UpstreamStatus;
use crate::upstream::Upstreams;

use super::doors::Certificates;
use super::doors::listener_view;
use super::hits;
use super::hits::Hits;
use super::rates::Rates;
use super::reload::Reloads;
use super::rules::Rules;
use super::rules::RunningRules;
use super::stage::Work;
use super::streams;
use super::tally::RuleTally;
use super::tally::Tallies;

/// Where the gateway is in its life. Written by the gateway, read by readiness.
#[derive(Debug, Default)]
pub(super) struct Life {
    started: AtomicBool,
    stopping: AtomicBool,
}

impl Life {
    /// It takes messages now.
    pub(super) fn begin(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// It takes no more messages.
    pub(super) fn end(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// The running gateway, as the API sees it.
pub(super) struct GatewayView {
    pub(super) clock: Clock,
    pub(super) started_at: Timestamp,
    pub(super) data_dir: PathBuf,
    pub(super) rules_path: PathBuf,
    /// `None`: the embedded broker does not listen.
    pub(super) mqtt: Option<SocketAddr>,
    pub(super) http: SocketAddr,
    pub(super) http_hosts: Vec<String>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) life: Arc<Life>,
    pub(super) running: Arc<RunningRules>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) rates: Arc<Rates>,
    pub(super) hits: Arc<Hits>,
    pub(super) broker: BrokerHandle,
    pub(super) journal: Submitter<Work>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) health: JournalHealth,
    pub(super) journal_metrics: JournalMetrics,
    pub(super) executor: Executor,
    /// Taken by one blocking read at a time.
    pub(super) streams: Arc<Mutex<Reader>>,
    /// Taken by one blocking read at a time.
    pub(super) latest: Arc<Mutex<latest::Reader>>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) registry: Registry,
}

/// Runs a blocking read on a thread that may block.
pub(super) async fn read<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SourceError>
where
    T: Send + 'static,
    E: Into<SourceError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(SourceError::Busy("the gateway is stopping".to_owned())),
    }
}

/// A stream that a rule reads.
fn source_view(source: &StreamSource, tally: &RuleTally) -> view::StreamSource {
    let lag = Duration::try_from_secs_f64(tally.lag_seconds.get()).unwrap_or_default();
    view::StreamSource {
        name: source.name.node.clone(),
        lag_records: count(tally.lag_records.get()),
        lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
        skipped: tally.skipped.get(),
    }
}

impl GatewayView {
    /// One rule of `rules`, whose counters are `tallies`.
    fn rule_view(rules: &Rules, tallies: &Tallies, index: RuleIndex, now: Timestamp) -> view::Rule {
        let rule = &rules.list()[index.0 as usize];
        let tally = tallies.rule(index);
        let definition = &rule.definition;
        let last_fault = tally.last_fault();
        let state = if rule.is_disabled() {
            view::RuleState::Disabled
        } else {
            view::RuleState::of_running(last_fault.as_ref().map(|(at, _)| *at), now)
        };
        let actions = [
            ("do", &definition.actions),
            ("on_cleared", &definition.on_cleared),
            ("on_error", &definition.on_error),
        ];
        view::Rule {
            name: Arc::clone(rule.name()).into(),
            description: definition.description.clone(),
            file: rule.file.as_deref().map(|f| f.display().to_string()).unwrap_or_default(),
            state,
            switched_at: rule.switch.map(|switch| switch.at.into()),
            topics: definition.select.from.iter().map(|f| f.node.to_string()).collect(),
            stream: rule.source().map(|source| source_view(source, tally)),
            watches: definition.select.when.is_some(),
            actions: actions
                .into_iter()
                .flat_map(|(when, list)| list.iter().map(move |action| action_view(action, when)))
                .collect(),
            matched: tally.topic_matches.get(),
            hits: tally.hits.get(),
            unknown: tally.unknown.get(),
            faults: tally.faults.get(),
            faults_by_code: tally.faults_by_code().collect(),
            pending: count(tally.pending.get()),
            firing: count(tally.firing.get()),
            remembered: count(tally.remembered.get()),
            windows: definition.select.group.as_ref().map(|_| view::Windows {
                groups: count(tally.groups.get()),
                open: count(tally.windows.get()),
            }),
            last_hit: tally.last_hit().map(Into::into),
            last_fault: last_fault.map(|(at, fault)| view::Failure {
                at: at.into(),
                code: fault.code.as_str(),
                message: fault.message,
            }),
        }
    }

    /// Asks the journal's stage for the keys of a rule.
    async fn holds(&self, rule: Arc<str>, limit: usize) -> Result<HoldView, SourceError> {
        let (answer, view) = oneshot::channel();
        let work = Work::View { rule, limit, answer };
        let bytes = work.bytes();
        let submission = Submission { at: self.clock.now(), work, bytes, ack: None };
        let stopping = || SourceError::Busy("the gateway is stopping".to_owned());
        self.unless_stalled(async {
            self.journal.submit(submission).await.map_err(|_| stopping())?;
            view.await.map_err(|_| stopping())
        })
        .await
    }

    /// Waits for what the journal's thread has to do, unless that thread only tries to commit.
    async fn unless_stalled<T>(
        &self,
        asked: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        tokio::select! {
            biased;
            // The stage cannot answer while its thread tries to commit.
            stall = self.health.clone().stalled() => Err(stalled(&stall)),
            answer = asked => answer,
        }
    }

    /// Deletes a key through the journal's stage, which counts keys; answers once that is on disk.
    async fn forget(&self, table: &str, key: &str) -> Result<bool, SourceError> {
        if let Some(stall) = self.health.stall() {
            return Err(stalled(&stall));
        }
        let (answer, was_there) = oneshot::channel();
        let work = Work::Forget { table: Arc::from(table), key: CompactString::new(key), answer };
        let bytes = work.bytes();
        let slot = Arc::new(AckSlot::default());
        let ack = Some((Arc::clone(&slot), 1));
        let submission = Submission { at: self.clock.now(), work, bytes, ack };
        let stopping = || SourceError::Busy("the gateway is stopping".to_owned());
        self.journal.submit(submission).await.map_err(|_| stopping())?;
        while slot.committed() < 1 {
            slot.changed().await;
        }
        was_there.await.map_err(|_| stopping())
    }

    /// Messages taken in since the start.
    pub(super) fn messages(&self) -> u64 {
        self.broker.metrics().publishes_received()
    }
}

pub(super) fn stalled(stall: &Stall) -> SourceError {
    SourceError::Busy(format!("the journal is stalled: {}", stall.reason))
}

fn count(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or(0)
}

fn action_view(action: &Spanned<Action>, when: &'static str) -> view::ActionView {
    let (kind, target) = match &action.node {
        Action::Stream { name, .. } => ("stream", name.node.to_string()),
        Action::Deliver { name, .. } => ("deliver", name.node.to_string()),
        Action::Invoke { name } => ("invoke", name.node.to_string()),
        Action::Republish { topic, .. } => ("republish", topic.node.to_string()),
        Action::Upsert { name, .. } => ("upsert", name.node.to_string()),
        Action::Log { .. } => ("log", String::new()),
    };
    view::ActionView { kind, target, when }
}

fn client_view(client: ClientStatus) -> view::ClientView {
    view::ClientView {
        client_id: client.client_id.to_string(),
        principal: client.principal.map(|name| name.to_string()),
        login: client.login,
        transport: client.transport.as_str(),
        certificate: client.certificate.map(|certificate| certificate.subject.clone()),
        address: client.address.to_string(),
        protocol: client.version.as_str(),
        connected: client.is_connected,
        connected_at: client.since.into(),
        queued: client.queued as u64,
        subscriptions: client.subscriptions.iter().map(ToString::to_string).collect(),
        subscriptions_total: client.subscriptions_total as u64,
        messages_in: client.received,
        messages_out: client.sent,
    }
}

fn failure_view(failure: Failure) -> view::Failure {
    view::Failure { at: failure.at.into(), code: "", message: failure.message }
}

fn hook_view(hook: HookStatus) -> view::HookView {
    view::HookView {
        name: hook.name.into(),
        url: hook.url.unwrap_or_default(),
        pending: hook.pending,
        in_flight: hook.in_flight,
        delivered: hook.succeeded,
        failed_attempts: hook.failed_attempts,
        dead_letters: hook.dead_letters,
        oldest: hook.oldest.map(Into::into),
        last_error: hook.last_error.map(failure_view),
    }
}

fn upstream_view(upstream: UpstreamStatus) -> view::UpstreamView {
    let refused = upstream.refused.into_iter();
    view::UpstreamView {
        name: upstream.name.into(),
        url: upstream.url,
        client_id: upstream.client_id,
        connected_since: upstream.connected_since.map(Into::into),
        last_error: upstream.last_error.map(failure_view),
        subscriptions: upstream.subscriptions,
        subscriptions_total: upstream.subscriptions_total,
        refused: refused.map(|(filter, reason)| format!("{filter}: {reason}")).collect(),
        received: upstream.received,
        acks_waiting: upstream.acks_waiting,
        forwarded: upstream.forwarded,
        dropped: upstream.dropped,
        backlog_messages: upstream.backlog_messages,
        backlog_bytes: upstream.backlog_bytes,
        oldest: upstream.oldest.map(Into::into),
    }
}

fn dead_letter_view(letter: &DeadLetter) -> view::DeadLetter {
    view::DeadLetter {
        id: letter.id,
        at: letter.died_at.into(),
        rule: letter.rule.to_string(),
        attempts: letter.attempts,
        error: letter.error.clone(),
        payload: Payload::preview(&letter.payload),
    }
}

fn record_view(record: &stream::Record) -> view::RecordView {
    view::RecordView {
        sequence_number: record.sequence_number.to_string(),
        partition_key: record.partition_key.to_string(),
        shard: record.sequence_number.shard().to_string(),
        t: record.at.into(),
        data: view::RecordContent::of(&record.data),
    }
}

fn entry_view(entry: &latest::Entry) -> view::TableEntry {
    view::TableEntry {
        key: view::Text::from(entry.key.as_str()),
        t: entry.at.into(),
        value: view::RecordContent::of(&entry.value),
    }
}

/// Reads a stream's shards side by side and merges them by arrival.
fn read_records(
    reader: &Reader,
    name: &str,
    from: ReadFrom,
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<view::RecordView>, StreamError> {
    let mut records = Vec::new();
    for shard in reader.shards(name)? {
        let start = match from {
            ReadFrom::TrimHorizon => StartAt::TrimHorizon,
            ReadFrom::At(at) => StartAt::AtTimestamp(at),
            ReadFrom::Latest => StartAt::Newest(limit as u64),
        };
        let mut cursor = reader.cursor(&shard, start)?;
        records.extend(reader.read(&mut cursor, limit, bytes_max)?.records);
    }
    records.sort_by_key(|record| (record.at, record.sequence_number));
    if from == ReadFrom::Latest {
        records.drain(..records.len().saturating_sub(limit));
    }
    let mut bytes = 0;
    let within = records.iter().take(limit).take_while(|record| {
        let is_first = bytes == 0;
        bytes += record.data.len() + 1;
        is_first || bytes <= bytes_max
    });
    Ok(within.map(record_view).collect())
}

impl Source for GatewayView {
    fn http_address(&self) -> SocketAddr {
        self.http
    }

    fn http_hosts(&self) -> &[String] {
        &self.http_hosts
    }

    fn readiness(&self) -> view::Readiness {
        if self.life.stopping.load(Ordering::Acquire) {
            return view::Readiness::Stopping;
        }
        if !self.life.started.load(Ordering::Acquire) {
            return view::Readiness::Starting;
        }
        match self.health.stall() {
            None => view::Readiness::Ready,
            Some(stall) => view::Readiness::Stalled {
                reason: format!("no commit since {}: {}", stall.since, stall.reason),
            },
        }
    }

    fn overview(&self) -> view::Overview {
        let running = self.running.get();
        let sums = running.counted().sums();
        view::Overview {
            version: env!("CARGO_PKG_VERSION"),
            now: self.clock.now().into(),
            started_at: self.started_at.into(),
            data_dir: self.data_dir.display().to_string(),
            rules_path: self.rules_path.display().to_string(),
            mqtt: self.mqtt.map_or_else(|| "off".to_owned(), |address| address.to_string()),
            http: format!("http://{}", self.http),
            readiness: self.readiness(),
            rule_set: self.reloads.rule_set(&running),
            totals: view::Totals {
                messages: self.messages(),
                hits: sums.hits,
                unknown: sums.unknown,
                faults: sums.faults,
                clients: self.broker.client_count() as u64,
                commits: self.journal_metrics.commit_count(),
                commit_ms: self.journal_metrics.last_commit().map(|d| d.as_secs_f64() * 1000.0),
            },
        }
    }

    fn metrics_text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written as text");
                String::new()
            }
        }
    }

    fn rules(&self) -> Vec<view::Rule> {
        let now = self.clock.now();
        let rules = self.running.get();
        let tallies = rules.counted();
        let places = (0..).map(RuleIndex).zip(rules.list());
        places.map(|(index, _)| Self::rule_view(&rules, tallies, index, now)).collect()
    }

    fn reload_rules(&self) -> Answer<'_, Arc<ReloadReport>> {
        Box::pin(self.unless_stalled(async { Ok(self.reloads.reload(ReloadCause::Api).await?) }))
    }

    fn switch_rule<'a>(&'a self, name: &'a str, setting: Setting) -> Answer<'a, view::RuleDetail> {
        Box::pin(async move {
            self.unless_stalled(async { Ok(self.reloads.switch(name, setting).await?) }).await?;
            self.rule(name, limits::HOLDS_SHOWN_MAX).await
        })
    }

    fn series(&self, span: SeriesSpan) -> SeriesView {
        self.rates.series(span, self.clock.now())
    }

    fn subscribe_hits(&self) -> HitReader {
        self.hits.feed().subscribe()
    }

    fn explain_rule(&self, name: &str) -> Option<RulePlan> {
        self.running.get().explain(name)
    }

    fn rule<'a>(&'a self, name: &'a str, holds_max: usize) -> Answer<'a, view::RuleDetail> {
        Box::pin(async move {
            let rules = self.running.get();
            let index = rules.place(name).ok_or(SourceError::Unknown)?;
            let rule = Self::rule_view(&rules, rules.counted(), index, self.clock.now());
            let found = &rules.list()[index.0 as usize];
            let text = found.text.clone();
            let holds = if rule.watches {
                let keys = self.holds(Arc::clone(found.name()), holds_max).await?;
                view::Holds {
                    pending_total: rule.pending,
                    firing_total: rule.firing,
                    pending: keys
                        .pending
                        .iter()
                        .map(|key| view::PendingKey {
                            key: view::Key::of(&key.key),
                            since: key.since.into(),
                            due: key.due.into(),
                            samples: key.samples,
                        })
                        .collect(),
                    firing: keys
                        .firing
                        .iter()
                        .map(|key| view::FiringKey {
                            key: view::Key::of(&key.key),
                            since: key.since.into(),
                            fired_at: key.fired_at.into(),
                            samples: key.samples,
                        })
                        .collect(),
                }
            } else {
                view::Holds::default()
            };
            Ok(view::RuleDetail { rule, text, holds })
        })
    }

    fn hits(&self, filter: HitFilter, limit: usize) -> Answer<'_, Vec<view::HitView>> {
        let log = Arc::clone(&self.hits);
        Box::pin(read(move || {
            let mut found = Vec::new();
            let mut before = filter.before;
            // The log filters by rule; the event is looked at here, page by page.
            loop {
                let query = HitQuery { rule: filter.rule.as_deref(), before, after: None };
                let page = log.newest(&query, limits::HITS_PAGE_MAX)?;
                before = page.last().map(|hit| hit.id);
                let wanted = page.iter().filter(|hit| filter.event.is_none_or(|e| e == hit.event));
                found.extend(wanted.take(limit - found.len()).map(hits::listed));
                if found.len() >= limit || page.len() < limits::HITS_PAGE_MAX {
                    return Ok::<_, crate::hit_log::HitLogError>(found);
                }
            }
        }))
    }

    fn hit(&self, id: u64) -> Answer<'_, view::HitView> {
        let log = Arc::clone(&self.hits);
        Box::pin(async move {
            let before = id.checked_add(1);
            let query = HitQuery { before, after: id.checked_sub(1), ..HitQuery::default() };
            let page = read(move || log.newest(&query, 1)).await?;
            page.iter().find(|hit| hit.id == id).map(hits::whole).ok_or(SourceError::Unknown)
        })
    }

    fn streams(&self) -> Answer<'_, Vec<view::StreamView>> {
        let reader = Arc::clone(&self.streams);
        Box::pin(async move {
            let list = read(move || reader.lock().streams()).await?;
            Ok(list.into_iter().map(streams::stream_view).collect())
        })
    }

    fn stream<'a>(&'a self, name: &'a str) -> Answer<'a, StreamDetail> {
        Box::pin(self.stream_detail(name))
    }

    fn reshard<'a>(&'a self, name: &'a str, change: Reshard) -> Answer<'a, StreamDetail> {
        Box::pin(self.unless_stalled(self.reshard_stream(name, change)))
    }

    fn stream_records<'a>(
        &'a self,
        name: &'a str,
        from: ReadFrom,
        limit: usize,
        bytes_max: usize,
    ) -> Answer<'a, Vec<view::RecordView>> {
        let reader = Arc::clone(&self.streams);
        let name = name.to_owned();
        Box::pin(read(move || read_records(&reader.lock(), &name, from, limit, bytes_max)))
    }

    fn put_record<'a>(&'a self, name: &'a str, record: NewRecord) -> Answer<'a, view::Placed> {
        Box::pin(async move {
            if let Some(stall) = self.health.stall() {
                return Err(stalled(&stall));
            }
            let bytes = record.data.len() + record.partition_key.len();
            let meter = Arc::clone(&self.running.hold().meter);
            if let Err(not_admitted) = meter.admit(name, bytes) {
                let reason = format!("the stream '{name}' takes no record: {not_admitted}");
                return Err(SourceError::Busy(reason));
            }
            let record = stream::NewRecord {
                partition_key: &record.partition_key,
                hash_key: record.hash_key,
                data: &record.data,
                at: self.clock.now(),
                hops: 0,
            };
            let put = stream::put(&self.executor, name, record);
            let Ok(stored) = tokio::time::timeout(limits::API_COMMIT_MAX, put).await else {
                return Err(SourceError::Unsettled(format!(
                    "the record was not committed within {:?}; it may be later, so the outcome is \
                     unknown: look for it before sending it again",
                    limits::API_COMMIT_MAX
                )));
            };
            let stored = stored?;
            meter.add(name, stored.shard, bytes);
            Ok(view::Placed {
                sequence_number: stored.sequence_number.to_string(),
                shard: stored.shard.to_string(),
            })
        })
    }

    fn tables(&self) -> Answer<'_, Vec<view::TableView>> {
        let reader = Arc::clone(&self.latest);
        Box::pin(async move {
            let list = read(move || reader.lock().tables()).await?;
            let view = |table: latest::TableSummary| view::TableView {
                name: view::Text::from(table.name.as_str()),
                keys: table.keys,
                bytes: table.bytes,
                newest: table.newest_at.into(),
            };
            Ok(list.into_iter().map(view).collect())
        })
    }

    fn table_entries<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        limit: usize,
        bytes_max: usize,
    ) -> Answer<'a, Vec<view::TableEntry>> {
        let reader = Arc::clone(&self.latest);
        let (table, after) = (table.to_owned(), after.map(str::to_owned));
        Box::pin(read(move || {
            let page = reader.lock().page(&table, after.as_deref(), limit, bytes_max);
            page.map(|entries| entries.iter().map(entry_view).collect())
        }))
    }

    fn table_entry<'a>(&'a self, table: &'a str, key: &'a str) -> Answer<'a, view::TableEntry> {
        let reader = Arc::clone(&self.latest);
        let (table, key) = (table.to_owned(), key.to_owned());
        Box::pin(read(move || reader.lock().get(&table, &key).map(|entry| entry_view(&entry))))
    }

    fn forget_entry<'a>(&'a self, table: &'a str, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let deleted = tokio::time::timeout(limits::API_COMMIT_MAX, self.forget(table, key));
            let Ok(was_there) = deleted.await else {
                return Err(SourceError::Unsettled(format!(
                    "the deletion was not committed within {:?}; it may be later",
                    limits::API_COMMIT_MAX
                )));
            };
            if was_there? { Ok(()) } else { Err(SourceError::Unknown) }
        })
    }

    fn deliveries(&self) -> Answer<'_, Vec<view::DeliveryView>> {
        Box::pin(async move {
            let view = |delivery: crate::delivery::DeliveryStatus| view::DeliveryView {
                name: delivery.name.into(),
                directory: delivery.directory.display().to_string(),
                buffers: delivery.buffers,
                buffered_records: delivery.buffered_records,
                buffered_bytes: delivery.buffered_bytes,
                buffer_bytes: delivery.buffer_bytes as u64,
                buffer_interval: delivery.buffer_interval,
                oldest: delivery.oldest.map(Into::into),
                files: delivery.files,
                last_file: delivery.last_file.map(|file| file.display().to_string()),
                errors: delivery.failures,
                last_error: delivery.last_error.map(failure_view),
            };
            Ok(self.deliveries.status().into_iter().map(view).collect())
        })
    }

    fn flush_delivery<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.deliveries.flush(name).await?) })
    }

    fn upstreams(&self) -> Vec<view::UpstreamView> {
        self.upstreams.status().into_iter().map(upstream_view).collect()
    }

    fn hooks(&self) -> Answer<'_, Vec<view::HookView>> {
        Box::pin(async move { Ok(self.hooks.status().into_iter().map(hook_view).collect()) })
    }

    fn dead_letters<'a>(
        &'a self,
        hook: &'a str,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'a, Vec<view::DeadLetter>> {
        Box::pin(async move {
            let letters = self.hooks.dead_letters(hook, before, limit).await?;
            Ok(letters.iter().map(dead_letter_view).collect())
        })
    }

    fn publish(&self, visitor: Visitor, message: NewMessage) -> Answer<'_, ()> {
        Box::pin(self.take_in(visitor, message))
    }

    fn retained<'a>(
        &'a self,
        visitor: Visitor,
        topic: &'a TopicName,
    ) -> Answer<'a, Option<RetainedMessage>> {
        Box::pin(self.retained_message(visitor, topic))
    }

    fn retained_after(
        &self,
        visitor: Visitor,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Vec<RetainedMessage>> {
        Box::pin(self.retained_page(visitor, after, limit))
    }

    fn listeners(&self) -> Vec<view::ListenerView> {
        self.certificates.doors().iter().map(|door| listener_view(door.status())).collect()
    }

    fn reload_certificates(&self) -> Answer<'_, Vec<view::ListenerView>> {
        Box::pin(async move {
            self.certificates.reload().await;
            Ok(self.listeners())
        })
    }

    fn kick_client(&self, client_id: &str) -> bool {
        let is_kicked = self.broker.kick(client_id);
        if is_kicked {
            tracing::info!(client_id, "a client is disconnected by an administrator");
        }
        is_kicked
    }

    fn clients(&self, limit: usize) -> Vec<view::ClientView> {
        let mut clients = self.broker.clients();
        clients.sort_by_key(|client| !client.is_connected);
        clients.into_iter().take(limit).map(client_view).collect()
    }
}
