//! A gateway for the API's tests: answers from lists that the test fills.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate::api::HitFeed;
use tidegate::api::HitReader;
use tidegate::api::RateRing;
use tidegate::api::SeriesSpan;
use tidegate::api::SeriesView;
use tidegate::api::Source;
use tidegate::api::SourceError;
use tidegate::api::payload::Payload;
use tidegate::api::plan::PlanSettings;
use tidegate::api::plan::RulePlan;
use tidegate::api::rule_set::ReloadReport;
use tidegate::api::rule_set::RuleSet;
use tidegate::api::source::Answer;
use tidegate::api::source::HitFilter;
use tidegate::api::source::NewMessage;
use tidegate::api::source::NewRecord;
use tidegate::api::source::ReadFrom;
use tidegate::api::source::RetainedMessage;
use tidegate::api::source::Visitor;
use tidegate::api::streams::Reshard;
use tidegate::api::streams::ShardView;
use tidegate::api::streams::StreamDetail;
use tidegate::api::streams::StreamReader;
use tidegate::api::view::ActionView;
use tidegate::api::view::ClientView;
use tidegate::api::view::DeadLetter;
use tidegate::api::view::DeliveryView;
use tidegate::api::view::HitView;
use tidegate::api::view::Holds;
use tidegate::api::view::HookView;
use tidegate::api::view::Kept;
use tidegate::api::view::Key;
use tidegate::api::view::ListenerView;
use tidegate::api::view::Overview;
use tidegate::api::view::Placed;
use tidegate::api::view::Readiness;
use tidegate::api::view::RecordContent;
use tidegate::api::view::RecordView;
use tidegate::api::view::Rule;
use tidegate::api::view::RuleDetail;
use tidegate::api::view::RuleState;
use tidegate::api::view::StreamView;
use tidegate::api::view::TableEntry;
use tidegate::api::view::TableView;
use tidegate::api::view::Text;
use tidegate::api::view::Totals;
use tidegate::api::view::UpstreamView;
use tidegate::clock::Timestamp;
use tidegate::config::Config;
use tidegate::engine::Engine;
use tidegate::engine::RuleIndex;
use tidegate::journal::HitRecord;
use tidegate::rule::set;
use tidegate::rule::set::Source as RuleFile;
use tidegate::rule::set::Targets;
use tidegate::rule::switch::Setting;
use tidegate::rule::table::NoFiles;
use tidegate::topic::TopicName;

/// What the gateway would know.
pub(crate) struct State {
    pub(crate) now: Timestamp,
    pub(crate) readiness: Readiness,
    pub(crate) totals: Totals,
    pub(crate) rules: Vec<Rule>,
    pub(crate) rule_set: RuleSet,
    /// How the next reload ends.
    pub(crate) reload: Option<Arc<ReloadReport>>,
    pub(crate) texts: BTreeMap<String, String>,
    pub(crate) holds: BTreeMap<String, Holds>,
    pub(crate) hits: Vec<(u64, HitRecord)>,
    pub(crate) messages_ring: RateRing,
    pub(crate) hits_ring: RateRing,
    pub(crate) rule_rings: BTreeMap<String, RateRing>,
    pub(crate) streams: Vec<StreamView>,
    pub(crate) put: Vec<NewRecord>,
    /// Keys of the table `latest` and their values.
    pub(crate) entries: Vec<(String, Bytes)>,
    pub(crate) deliveries: Vec<DeliveryView>,
    pub(crate) hooks: Vec<HookView>,
    pub(crate) clients: Vec<ClientView>,
}

pub(crate) struct FakeSource {
    pub(crate) state: Mutex<State>,
    pub(crate) feed: HitFeed,
    pub(crate) address: SocketAddr,
}

/// A rule that has done nothing.
pub(crate) fn rule(name: &str) -> Rule {
    Rule {
        name: name.into(),
        description: None,
        file: "rules/lab.rule".to_owned(),
        state: RuleState::Running,
        switched_at: None,
        topics: vec!["lab/+/telemetry".to_owned()],
        stream: None,
        watches: false,
        actions: vec![ActionView { kind: "stream", target: "alerts".to_owned(), when: "do" }],
        matched: 0,
        hits: 0,
        unknown: 0,
        faults: 0,
        faults_by_code: BTreeMap::new(),
        pending: 0,
        firing: 0,
        remembered: 0,
        windows: None,
        last_hit: None,
        last_fault: None,
    }
}

fn nothing_kept() -> Kept {
    Kept { records: 0, bytes: 0, oldest: None, newest: None }
}

/// An empty stream.
pub(crate) fn stream(name: &str) -> StreamView {
    StreamView {
        name: name.into(),
        shards: 2,
        kept: nothing_kept(),
        retention: Duration::from_secs(86_400),
    }
}

/// An empty shard that was read to its end.
fn shard(number: u32) -> ShardView {
    ShardView {
        shard: format!("shardId-{number:012}"),
        starting_hash_key: "0".to_owned(),
        ending_hash_key: u128::MAX.to_string(),
        parents: Vec::new(),
        closed: None,
        kept: nothing_kept(),
        in_records: 0,
        in_bytes: 0,
        out_records: 0,
        out_bytes: 0,
        throttled_in: 0,
        throttled_out: 0,
        iterator_age: Some(Duration::ZERO),
    }
}

/// A hook that was never called.
pub(crate) fn hook(name: &str) -> HookView {
    HookView {
        name: name.into(),
        url: "https://hooks.example/x".to_owned(),
        pending: 0,
        in_flight: 0,
        delivered: 0,
        failed_attempts: 0,
        dead_letters: 0,
        oldest: None,
        last_error: None,
    }
}

impl FakeSource {
    /// A gateway that is ready and has the rule `overheat`, the stream `alerts` and the hook `pager`.
    pub(crate) fn listening_at(address: SocketAddr) -> Arc<Self> {
        let state = State {
            now: Timestamp::from_millis(1_700_000_000_000),
            readiness: Readiness::Ready,
            totals: Totals::default(),
            rules: vec![rule("overheat")],
            rule_set: RuleSet {
                generation: 1,
                loaded_at: Timestamp::from_millis(1_699_990_000_000).into(),
                rules: 1,
                watched: true,
                stale: None,
            },
            reload: None,
            texts: BTreeMap::from([(
                "overheat".to_owned(),
                "CREATE RULE overheat AS SELECT * FROM 'lab/+/telemetry' DO STREAM alerts KEY 'k'"
                    .to_owned(),
            )]),
            holds: BTreeMap::new(),
            hits: Vec::new(),
            messages_ring: RateRing::default(),
            hits_ring: RateRing::default(),
            rule_rings: BTreeMap::new(),
            streams: vec![stream("alerts")],
            put: Vec::new(),
            entries: vec![("7".to_owned(), Bytes::from_static(b"{}"))],
            deliveries: Vec::new(),
            hooks: vec![hook("pager")],
            clients: Vec::new(),
        };
        Arc::new(FakeSource { state: Mutex::new(state), feed: HitFeed::default(), address })
    }

    /// A hit happens: counted, kept and shown live.
    pub(crate) fn hit(&self, record: HitRecord) -> u64 {
        let mut state = self.state.lock();
        let id = state.hits.last().map_or(1, |(id, _)| id + 1);
        state.totals.hits += 1;
        let at = record.at;
        state.hits_ring.add(at, 1);
        state.rule_rings.entry(record.rule.to_string()).or_default().add(at, 1);
        if let Some(rule) = state.rules.iter_mut().find(|rule| *rule.name == *record.rule) {
            rule.hits += 1;
            rule.last_hit = Some(at.into());
        }
        self.feed.publish(view(id, &record, Payload::preview(&record.output)));
        state.hits.push((id, record));
        id
    }
}

fn view(id: u64, record: &HitRecord, output: Payload) -> HitView {
    HitView {
        id,
        at: record.at.into(),
        rule: Arc::clone(&record.rule).into(),
        event: record.event,
        reason: record.reason.map(Text::from),
        topic: Arc::clone(&record.topic).into(),
        client_id: record.client_id.clone().map(Text::from),
        key: record.key.as_deref().map(Key::of),
        output,
    }
}

fn table_entry((key, value): &(String, Bytes), now: Timestamp) -> TableEntry {
    TableEntry { key: key.as_str().into(), t: now.into(), value: RecordContent::of(value) }
}

fn ready<'a, T: Send + 'a>(answer: Result<T, SourceError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Source for FakeSource {
    fn http_address(&self) -> SocketAddr {
        self.address
    }

    fn http_hosts(&self) -> &[String] {
        &[]
    }

    fn readiness(&self) -> Readiness {
        self.state.lock().readiness.clone()
    }

    fn overview(&self) -> Overview {
        let state = self.state.lock();
        Overview {
            version: "0.1.0",
            now: state.now.into(),
            started_at: Timestamp::from_millis(1_699_990_000_000).into(),
            data_dir: "/var/lib/tidegate".to_owned(),
            rules_path: "rules".to_owned(),
            mqtt: "127.0.0.1:1883".to_owned(),
            http: format!("http://{}", self.address),
            readiness: state.readiness.clone(),
            rule_set: state.rule_set.clone(),
            totals: state.totals.clone(),
        }
    }

    fn reload_rules(&self) -> Answer<'_, Arc<ReloadReport>> {
        let report = self.state.lock().reload.take();
        ready(report.ok_or_else(|| SourceError::Busy("the gateway is stopping".to_owned())))
    }

    fn switch_rule<'a>(&'a self, name: &'a str, setting: Setting) -> Answer<'a, RuleDetail> {
        let mut state = self.state.lock();
        let now = state.now;
        if let Some(rule) = state.rules.iter_mut().find(|rule| &*rule.name == name) {
            let disabled = setting == Setting::Disabled;
            rule.state = if disabled { RuleState::Disabled } else { RuleState::Running };
            rule.switched_at = disabled.then(|| now.into());
        }
        drop(state);
        self.rule(name, 0)
    }

    fn metrics_text(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn rules(&self) -> Vec<Rule> {
        self.state.lock().rules.clone()
    }

    fn explain_rule(&self, name: &str) -> Option<RulePlan> {
        let text = format!("CREATE RULE {name} AS SELECT a FROM 'lab/+' WHERE a > 1 DO LOG;");
        let source = RuleFile { path: "lab.rule".into(), content: Ok(text.into_bytes()) };
        let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
        let is_known = self.state.lock().rules.iter().any(|rule| *rule.name == *name);
        let engine = Engine::new(checked.rules, "");
        RulePlan::of(&engine, RuleIndex(0), &PlanSettings::of(&Config::default()))
            .filter(|_| is_known)
    }

    fn series(&self, span: SeriesSpan) -> SeriesView {
        let state = self.state.lock();
        let rules = state.rule_rings.iter().map(|(name, ring)| (Arc::from(name.as_str()), ring));
        SeriesView::of(span, state.now, &state.messages_ring, &state.hits_ring, rules)
    }

    fn subscribe_hits(&self) -> HitReader {
        self.feed.subscribe()
    }

    fn rule<'a>(&'a self, name: &'a str, _holds_max: usize) -> Answer<'a, RuleDetail> {
        let state = self.state.lock();
        let found = state.rules.iter().find(|rule| &*rule.name == name);
        ready(found.ok_or(SourceError::Unknown).map(|rule| RuleDetail {
            rule: rule.clone(),
            text: state.texts.get(name).cloned().unwrap_or_default(),
            holds: state.holds.get(name).cloned().unwrap_or_default(),
        }))
    }

    fn hits(&self, filter: HitFilter, limit: usize) -> Answer<'_, Vec<HitView>> {
        let state = self.state.lock();
        let hits = state.hits.iter().rev().filter(|(id, hit)| {
            filter.before.is_none_or(|before| *id < before)
                && filter.event.is_none_or(|event| event == hit.event)
                && filter.rule.as_deref().is_none_or(|rule| rule == &*hit.rule)
        });
        ready(Ok(hits
            .take(limit)
            .map(|(id, hit)| view(*id, hit, Payload::preview(&hit.output)))
            .collect()))
    }

    fn hit(&self, id: u64) -> Answer<'_, HitView> {
        let state = self.state.lock();
        let hit = state.hits.iter().find(|(known, _)| *known == id);
        ready(
            hit.map(|(id, hit)| view(*id, hit, Payload::whole(&hit.output)))
                .ok_or(SourceError::Unknown),
        )
    }

    fn streams(&self) -> Answer<'_, Vec<StreamView>> {
        ready(Ok(self.state.lock().streams.clone()))
    }

    fn stream<'a>(&'a self, stream: &'a str) -> Answer<'a, StreamDetail> {
        let state = self.state.lock();
        let found = state.streams.iter().find(|known| &*known.name == stream);
        let detail = |stream: &StreamView| StreamDetail {
            stream: stream.clone(),
            mode: "on_demand",
            size_max: Some(1 << 30),
            full: Some("refuse"),
            refused_records: 0,
            dropped_records: 0,
            shard_list: (0..2).map(shard).collect(),
            shards_total: 2,
            readers: vec![StreamReader { rule: "hot".into(), lag_records: 7 }],
        };
        ready(found.map(detail).ok_or(SourceError::Unknown))
    }

    fn reshard<'a>(&'a self, stream: &'a str, change: Reshard) -> Answer<'a, StreamDetail> {
        match change {
            Reshard::Count { shards: 5.. } => ready(Err(SourceError::Refused(
                "there are 2 shards; it may be half to double".into(),
            ))),
            _ => self.stream(stream),
        }
    }

    fn stream_records<'a>(
        &'a self,
        stream: &'a str,
        from: ReadFrom,
        limit: usize,
        _bytes_max: usize,
    ) -> Answer<'a, Vec<RecordView>> {
        let state = self.state.lock();
        if !state.streams.iter().any(|known| &*known.name == stream) {
            return ready(Err(SourceError::Unknown));
        }
        let skipped = match from {
            ReadFrom::TrimHorizon => 0,
            ReadFrom::Latest => state.put.len().saturating_sub(limit),
            ReadFrom::At(at) if at <= state.now => 0,
            ReadFrom::At(_) => state.put.len(),
        };
        let records = state.put.iter().enumerate().skip(skipped).take(limit);
        ready(Ok(records
            .map(|(n, record)| RecordView {
                sequence_number: n.to_string(),
                partition_key: record.partition_key.clone(),
                shard: "shardId-000000000000".to_owned(),
                t: state.now.into(),
                data: RecordContent::of(&record.data),
            })
            .collect()))
    }

    fn put_record<'a>(&'a self, stream: &'a str, record: NewRecord) -> Answer<'a, Placed> {
        let mut state = self.state.lock();
        if !state.streams.iter().any(|known| &*known.name == stream) {
            return ready(Err(SourceError::Unknown));
        }
        state.put.push(record);
        ready(Ok(Placed {
            sequence_number: (state.put.len() - 1).to_string(),
            shard: "shardId-000000000000".to_owned(),
        }))
    }

    fn tables(&self) -> Answer<'_, Vec<TableView>> {
        let state = self.state.lock();
        let (keys, newest) = (state.entries.len() as u64, state.now.into());
        ready(Ok(vec![TableView { name: "latest".into(), keys, bytes: 0, newest }]))
    }

    fn table_entries<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        limit: usize,
        _bytes_max: usize,
    ) -> Answer<'a, Vec<TableEntry>> {
        if table != "latest" {
            return ready(Err(SourceError::Unknown));
        }
        let state = self.state.lock();
        let behind = |(key, _): &&(String, Bytes)| after.is_none_or(|after| key.as_str() > after);
        let entries = state.entries.iter().filter(behind).take(limit);
        ready(Ok(entries.map(|entry| table_entry(entry, state.now)).collect()))
    }

    fn table_entry<'a>(&'a self, _table: &'a str, key: &'a str) -> Answer<'a, TableEntry> {
        let state = self.state.lock();
        let entry = state.entries.iter().find(|(known, _)| known == key);
        ready(entry.map(|entry| table_entry(entry, state.now)).ok_or(SourceError::Unknown))
    }

    fn forget_entry<'a>(&'a self, _table: &'a str, key: &'a str) -> Answer<'a, ()> {
        let entries = &mut self.state.lock().entries;
        let before = entries.len();
        entries.retain(|(known, _)| known != key);
        ready(if entries.len() < before { Ok(()) } else { Err(SourceError::Unknown) })
    }

    fn deliveries(&self) -> Answer<'_, Vec<DeliveryView>> {
        ready(Ok(self.state.lock().deliveries.clone()))
    }

    fn flush_delivery<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        let state = self.state.lock();
        let is_there = state.deliveries.iter().any(|delivery| *delivery.name == *name);
        ready(is_there.then_some(()).ok_or(SourceError::Unknown))
    }

    fn upstreams(&self) -> Vec<UpstreamView> {
        vec![UpstreamView {
            name: Arc::<str>::from("bridge.cloud").into(),
            url: "mqtts://cloud.example:8883".to_owned(),
            client_id: "edge-1".to_owned(),
            connected_since: None,
            last_error: None,
            subscriptions: vec!["cmd/#".to_owned()],
            subscriptions_total: 1,
            refused: Vec::new(),
            received: 1,
            acks_waiting: 0,
            forwarded: 2,
            dropped: 0,
            backlog_messages: 3,
            backlog_bytes: 4,
            oldest: None,
        }]
    }

    fn hooks(&self) -> Answer<'_, Vec<HookView>> {
        ready(Ok(self.state.lock().hooks.clone()))
    }

    fn dead_letters<'a>(
        &'a self,
        hook: &'a str,
        _before: Option<u64>,
        _limit: usize,
    ) -> Answer<'a, Vec<DeadLetter>> {
        let state = self.state.lock();
        if !state.hooks.iter().any(|known| &*known.name == hook) {
            return ready(Err(SourceError::Unknown));
        }
        ready(Ok(vec![DeadLetter {
            id: 1,
            at: state.now.into(),
            rule: "overheat".to_owned(),
            attempts: 5,
            error: "connection refused".to_owned(),
            payload: Payload::preview(br#"{"moteid":7}"#),
        }]))
    }

    fn publish(&self, _visitor: Visitor, _message: NewMessage) -> Answer<'_, ()> {
        ready(Ok(()))
    }

    fn retained<'a>(
        &'a self,
        _visitor: Visitor,
        _topic: &'a TopicName,
    ) -> Answer<'a, Option<RetainedMessage>> {
        ready(Ok(None))
    }

    fn retained_after(
        &self,
        _visitor: Visitor,
        _after: Option<String>,
        _limit: usize,
    ) -> Answer<'_, Vec<RetainedMessage>> {
        ready(Ok(Vec::new()))
    }

    fn listeners(&self) -> Vec<ListenerView> {
        vec![ListenerView {
            name: "mqtt".to_owned(),
            protocol: "mqtt",
            address: "127.0.0.1:1883".to_owned(),
            connections: 0,
            connections_max: 10_000,
            certificate: None,
        }]
    }

    fn reload_certificates(&self) -> Answer<'_, Vec<ListenerView>> {
        ready(Ok(self.listeners()))
    }

    fn kick_client(&self, client_id: &str) -> bool {
        client_id == "mote-1"
    }

    fn clients(&self, limit: usize) -> Vec<ClientView> {
        self.state.lock().clients.iter().take(limit).cloned().collect()
    }
}
