//! What the gateway says of itself: events, and each interval what the broker counts (`$SYS/…`), as
//! messages that rules and subscribers may listen to.
//!
//! In: what happens to clients ([`ClientEvent`]), deliveries and connections to other brokers, through a
//! bounded queue; dead letters and episodes where they come up (`letters`, `stage`). Out: messages on `$events/…`, and for what AWS
//! IoT says too also on its topic `$aws/events/…`, with the same document. They are carried through the
//! rules as a republished message is ([`Pass::announce`]): to subscribers after the commit, with a hop.
//!
//! Nothing is made when nobody listens. Nobody waits for an event: what the queue has no room for is
//! counted. An event that a rule causes is a hop further than the message that caused it, so no event
//! can cause events for ever.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::broker::BY_CLIENT;
use crate::broker::BrokerHandle;
use crate::broker::Change;
use crate::broker::ClientEvent;
use crate::broker::ConnectionFacts;
use crate::clock::Timestamp;
use crate::delivery::FailureSink;
use crate::engine::Engine;
use crate::engine::Fault;
use crate::engine::FaultCode;
use crate::engine::Hit;
use crate::engine::HitEvent;
use crate::engine::Output;
use crate::engine::RuleIndex;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::lambda::Caller;
use crate::lambda::DeadLetter;
use crate::limits;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::stream::Overflow;
use crate::topic::TopicName;
use crate::upstream::LinkSink;

use super::pass::Pass;
use super::rules::HeldRules;
use super::rules::Rules;
use super::rules::RunningRules;
use super::stage::Work;

/// What waits in the queue.
#[derive(Debug)]
enum Event {
    Client(ClientEvent),
    DeliveryFailed {
        delivery: Arc<str>,
        at: Timestamp,
        error: String,
    },
    /// A connection to another broker stands, or has ended for a reason.
    Upstream {
        name: Arc<str>,
        at: Timestamp,
        url: String,
        error: Option<String>,
    },
    Statistics {
        at: Timestamp,
    },
    /// A stream has refused or dropped records.
    StreamFull {
        stream: Arc<str>,
        policy: &'static str,
        overflow: Overflow,
    },
}

/// Takes events in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Events {
    queue: mpsc::Sender<Event>,
    running: Arc<RunningRules>,
    broker: BrokerHandle,
    dropped: Family<[(&'static str, &'static str); 1], Counter>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Makes messages of what is in the queue.
pub(super) struct EventDesk {
    events: Events,
    queue: mpsc::Receiver<Event>,
}

impl Events {
    /// A queue of [`limits::EVENTS_QUEUE_MAX`], and the desk that empties it.
    pub(super) fn new(
        running: Arc<RunningRules>,
        broker: BrokerHandle,
        registry: &mut Registry,
    ) -> (Events, EventDesk) {
        let dropped = Family::default();
        registry.register(
            "events_dropped",
            "Events that were listened for and not published, by reason",
            Family::clone(&dropped),
        );
        let (sender, queue) = mpsc::channel(limits::EVENTS_QUEUE_MAX);
        let events = Events { queue: sender, running, broker, dropped };
        (events.clone(), EventDesk { events, queue })
    }

    /// What happens to clients.
    pub(super) fn tell(&self, event: &dyn Fn() -> ClientEvent) {
        self.raise(|| Event::Client(event()));
    }

    /// A stream has refused or dropped records for want of room.
    pub(super) fn stream_full(&self, stream: &Arc<str>, policy: &'static str, overflow: &Overflow) {
        let stream = Arc::clone(stream);
        self.raise(|| Event::StreamFull { stream, policy, overflow: *overflow });
    }

    fn raise(&self, event: impl FnOnce() -> Event) {
        let is_heard = self.running.hold().engine.hears_events() || self.broker.hears_events();
        if is_heard && self.queue.try_send(event()).is_err() {
            self.dropped.get_or_create(&[("reason", "queue_full")]).inc();
        }
    }

    /// Samples the broker's counters; the event of it if somebody listens to statistics.
    fn count(&self) -> Option<Event> {
        let at = self.broker.sample_statistics();
        let is_heard = self.running.hold().engine.hears_statistics();
        (is_heard || self.broker.hears_statistics()).then_some(Event::Statistics { at })
    }

    /// Adds an event to `pass` if somebody listens to its topic.
    fn announce(
        &self,
        rules: &Rules,
        pass: &mut Pass,
        topic: &str,
        at: Timestamp,
        document: &Value,
    ) {
        // A client identifier may be no part of a topic that there could be.
        let Ok(topic) = TopicName::parse(topic) else { return };
        if self.is_heard(rules, pass, &topic) {
            pass.announce(rules, message(topic, at, document.to_string().into(), 0));
        }
    }

    fn is_heard(&self, rules: &Rules, pass: &mut Pass, topic: &TopicName) -> bool {
        pass.reaches_a_rule(rules, topic) || self.broker.hears(topic)
    }

    /// Adds the event of a call that was given up. A rule that listens to events must not be told of
    /// the calls it makes: a hook that fails would call itself for ever.
    pub(super) fn announce_letter(
        &self,
        rules: &Rules,
        pass: &mut Pass,
        hook: &str,
        rule: RuleIndex,
        letter: &DeadLetter,
        at: Timestamp,
    ) {
        if rules.engine.hears_events_itself(rule) {
            return;
        }
        let Ok(topic) = TopicName::parse(&format!("$events/hook/{hook}/failed")) else { return };
        if !self.is_heard(rules, pass, &topic) {
            return;
        }
        let hops = letter.hops.saturating_add(1);
        if hops > limits::HOPS_MAX {
            pass.outcome.faults.push(one_hop_too_many(rule, &topic));
            return;
        }
        let document = json!({
            "eventType": "failed",
            "timestamp": at.as_millis(),
            "hook": hook,
            "ruleName": &*letter.rule,
            "attempts": letter.attempts,
            "error": letter.error,
            "base64OriginalPayload": STANDARD.encode(&letter.payload),
        });
        pass.announce(rules, message(topic, at, document.to_string().into(), hops));
    }
}

impl FailureSink for Events {
    fn failed(&self, delivery: &Arc<str>, at: Timestamp, error: &str) {
        let delivery = Arc::clone(delivery);
        self.raise(|| Event::DeliveryFailed { delivery, at, error: error.to_owned() });
    }
}

impl LinkSink for Events {
    fn connected(&self, upstream: &Arc<str>, at: Timestamp, url: &str) {
        let (name, url) = (Arc::clone(upstream), url.to_owned());
        self.raise(|| Event::Upstream { name, at, url, error: None });
    }

    fn disconnected(&self, upstream: &Arc<str>, at: Timestamp, url: &str, error: &str) {
        let (name, url) = (Arc::clone(upstream), url.to_owned());
        self.raise(|| Event::Upstream { name, at, url, error: Some(error.to_owned()) });
    }
}

impl EventDesk {
    /// Publishes events until `stopped` turns true, and then those that are in the queue; and the
    /// statistics each time that their interval is over.
    pub(super) async fn run(
        self,
        journal: Submitter<Work>,
        caller: Arc<Caller>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let EventDesk { events, mut queue } = self;
        let interval = events.broker.statistics_interval();
        let mut ticks = tokio::time::interval(interval.unwrap_or(Duration::MAX));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut pass = Pass::settling();
        let mut batch = Vec::new();
        let mut is_stopping = false;
        loop {
            if is_stopping {
                while batch.len() < limits::EVENTS_BATCH_MAX
                    && let Ok(event) = queue.try_recv()
                {
                    batch.push(event);
                }
                if batch.is_empty() {
                    return;
                }
            } else {
                tokio::select! {
                    biased;
                    // An error says that the gateway is gone, which is a stop too.
                    _ = stopped.wait_for(|stop| *stop) => is_stopping = true,
                    _ = ticks.tick(), if interval.is_some() => batch.extend(events.count()),
                    _ = queue.recv_many(&mut batch, limits::EVENTS_BATCH_MAX) => {}
                }
            }
            let Some(at) = batch.first().map(Event::at) else { continue };
            let rules = HeldRules::into_inner(events.running.hold());
            for event in batch.drain(..) {
                event.announce(&events, &rules, &mut pass);
            }
            pass.settle(&rules, &caller).await;
            if pass.is_settled() {
                continue;
            }
            let work = Work::Messages {
                rules,
                outcome: pass.take_outcome(),
                observations: mem::take(&mut pass.observations),
            };
            let submission = Submission { at, bytes: work.bytes(), work, ack: None };
            if journal.submit(submission).await.is_err() {
                return;
            }
        }
    }
}

impl Event {
    fn at(&self) -> Timestamp {
        match self {
            Event::Client(event) => event.at,
            Event::DeliveryFailed { at, .. }
            | Event::Upstream { at, .. }
            | Event::Statistics { at } => *at,
            Event::StreamFull { overflow, .. } => overflow.at,
        }
    }

    fn announce(self, events: &Events, rules: &Rules, pass: &mut Pass) {
        match self {
            Event::Client(event) => {
                let document = client_document(&event);
                let (ours, aws) = client_topics(&event);
                for topic in std::iter::once(ours).chain(aws) {
                    events.announce(rules, pass, &topic, event.at, &document);
                }
            }
            Event::Statistics { .. } => {
                for message in events.broker.statistics() {
                    let topic = &message.topic;
                    if pass.reaches_a_rule(rules, topic) || events.broker.hears(topic) {
                        pass.announce(rules, message);
                    }
                }
            }
            Event::Upstream { name, at, url, error } => {
                let word = if error.is_some() { "disconnected" } else { "connected" };
                let mut document = json!({
                    "eventType": word,
                    "timestamp": at.as_millis(),
                    "upstream": &*name,
                    "url": url,
                });
                if let Some(error) = error {
                    document["error"] = json!(error);
                }
                let topic = format!("$events/upstream/{}/{word}", level(&name));
                events.announce(rules, pass, &topic, at, &document);
            }
            Event::StreamFull { stream, policy, overflow } => {
                let document = json!({
                    "eventType": "full",
                    "timestamp": overflow.at.as_millis(),
                    "stream": &*stream,
                    "policy": policy,
                    "sizeMax": overflow.room.bytes_max,
                    "records": overflow.lost.records,
                    "bytes": overflow.lost.bytes,
                });
                let topic = format!("$events/stream/{stream}/full");
                events.announce(rules, pass, &topic, overflow.at, &document);
            }
            Event::DeliveryFailed { delivery, at, error } => {
                let document = json!({
                    "eventType": "failed",
                    "timestamp": at.as_millis(),
                    "delivery": &*delivery,
                    "error": error,
                });
                events.announce(
                    rules,
                    pass,
                    &format!("$events/delivery/{delivery}/failed"),
                    at,
                    &document,
                );
            }
        }
    }
}

/// The word for an event, in its topic and as its `eventType`.
fn word(change: &Change) -> &'static str {
    match change {
        Change::Connected { .. } => "connected",
        Change::ConnectFailed { .. } => "connect_failed",
        Change::Disconnected { .. } => "disconnected",
        Change::Subscribed { .. } => "subscribed",
        Change::Unsubscribed { .. } => "unsubscribed",
        Change::TakenOver => "taken_over",
        Change::Full { .. } => "full",
        Change::Lost { .. } => "lost",
    }
}

/// Our topic, where the client is one level whatever its identifier; and AWS's, where AWS has one.
fn client_topics(event: &ClientEvent) -> (String, Option<String>) {
    let (word, client_id) = (word(&event.change), &event.client_id);
    let (noun, aws) = match event.change {
        Change::Connected { .. }
        | Change::Disconnected { .. }
        | Change::ConnectFailed { is_unauthorized: true, .. } => ("client", Some("presence")),
        // AWS says so of clients that are not authorized only.
        Change::ConnectFailed { .. } => ("client", None),
        Change::Subscribed { .. } | Change::Unsubscribed { .. } => {
            ("client", Some("subscriptions"))
        }
        Change::TakenOver | Change::Full { .. } | Change::Lost { .. } => ("session", None),
    };
    let aws = aws.map(|kind| format!("$aws/events/{kind}/{word}/{client_id}"));
    (format!("$events/{noun}/{}/{word}", level(client_id)), aws)
}

/// A client identifier as one level of a topic: what would divide it or be a wildcard is percent-encoded.
fn level(client_id: &str) -> String {
    let mut level = String::with_capacity(client_id.len());
    for character in client_id.chars() {
        match character {
            '%' => level.push_str("%25"),
            '/' => level.push_str("%2F"),
            '+' => level.push_str("%2B"),
            '#' => level.push_str("%23"),
            other => level.push(other),
        }
    }
    level
}

fn client_document(event: &ClientEvent) -> Value {
    let mut document = json!({
        "clientId": &*event.client_id,
        "timestamp": event.at.as_millis(),
        "eventType": word(&event.change),
    });
    let mut add = |name: &str, value: Value| document[name] = value;
    if let Some(session_id) = event.session_id {
        add("sessionIdentifier", json!(session_id.to_string()));
    }
    let connection = match &event.change {
        Change::Connected { connection, session_present } => {
            add("sessionPresent", json!(session_present));
            Some(connection)
        }
        Change::Disconnected { connection, reason } => {
            add("clientInitiatedDisconnect", json!(*reason == BY_CLIENT));
            add("disconnectReason", json!(reason));
            Some(connection)
        }
        Change::Subscribed { connection, topics } | Change::Unsubscribed { connection, topics } => {
            add("topics", json!(topics));
            Some(connection)
        }
        Change::ConnectFailed { principal, address, reason, is_unauthorized } => {
            if *is_unauthorized {
                add("connectFailureReason", json!("AUTHORIZATION_FAILED"));
            }
            add("reason", json!(reason));
            if let Some(principal) = principal {
                add("principalIdentifier", json!(&**principal));
            }
            add("ipAddress", json!(address));
            None
        }
        Change::TakenOver => None,
        Change::Full { reason, queued, bytes } => {
            add("reason", json!(reason));
            add("queued", json!(queued));
            add("bytes", json!(bytes));
            None
        }
        Change::Lost { reason, subscriptions, queued } => {
            add("reason", json!(reason));
            add("subscriptions", json!(subscriptions));
            add("queued", json!(queued));
            None
        }
    };
    if let Some(connection) = connection {
        let ConnectionFacts { principal, address, version_number } = &**connection;
        if let Some(principal) = principal {
            add("principalIdentifier", json!(&**principal));
        }
        add("ipAddress", json!(address));
        add("versionNumber", json!(version_number));
    }
    document
}

/// The event of an episode, `$events/rule/NAME/firing` or `…/cleared`; `None` for a hit without one, or
/// when `is_heard` says that nobody listens.
///
/// # Errors
/// A fault of the rule when its message has passed as many hops as it may.
pub(super) fn of_episode(
    engine: &Engine,
    hit: &Hit,
    is_heard: impl FnOnce(&TopicName) -> bool,
) -> Result<Option<Publish>, Fault> {
    let (word, facts, reason) = match &hit.event {
        HitEvent::Match | HitEvent::Window(_) => return Ok(None),
        HitEvent::Firing(facts) => ("firing", facts, None),
        HitEvent::Cleared(facts, reason) => ("cleared", facts, Some(reason.as_str())),
    };
    let name = engine.rules()[hit.rule.0 as usize].name();
    let Ok(topic) = TopicName::parse(&format!("$events/rule/{name}/{word}")) else {
        return Ok(None);
    };
    if !is_heard(&topic) {
        return Ok(None);
    }
    if hit.publish.hops >= limits::HOPS_MAX {
        return Err(one_hop_too_many(hit.rule, &topic));
    }
    let mut document = json!({
        "eventType": word,
        "timestamp": hit.at.as_millis(),
        "ruleName": &**name,
        "since": facts.since.as_millis(),
        "firedAt": facts.fired_at.as_millis(),
        "samples": facts.samples,
        "topic": hit.publish.topic.as_str(),
    });
    if let Some(client_id) = &hit.publish.origin.client_id {
        document["clientId"] = json!(&**client_id);
    }
    if let Some(reason) = reason {
        document["reason"] = json!(reason);
    }
    let payload = with_json(&document, &facts.key, &hit.output);
    Ok(Some(message(topic, hit.decided_at, payload, hit.publish.hops + 1)))
}

fn one_hop_too_many(rule: RuleIndex, topic: &TopicName) -> Fault {
    Fault {
        rule,
        code: FaultCode::HopsExceeded,
        message: format!(
            "the message has passed {} rules that were told of each other; '{topic}' is left out to \
             end a loop",
            limits::HOPS_MAX
        ),
    }
}

/// The document with the key and the output, which are JSON already and keep every digit.
fn with_json(document: &Value, key: &str, output: &Output) -> Bytes {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
    let output = match output {
        Output::Json(bytes) => std::str::from_utf8(bytes).ok().and_then(raw),
        Output::Raw(_) => None,
    };
    let with = EpisodeDocument { document, key: raw(key), output };
    serde_json::to_vec(&with).expect("a document has text keys").into()
}

#[derive(serde::Serialize)]
struct EpisodeDocument<'a> {
    #[serde(flatten)]
    document: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Box<RawValue>>,
}

fn message(topic: TopicName, at: Timestamp, payload: Bytes, hops: u8) -> Publish {
    Publish {
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: at,
        origin: Origin::internal(),
        properties: None,
        hops,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use uuid::Uuid;

    use super::*;
    use crate::broker::Broker;
    use crate::broker::Guard;
    use crate::broker::Remains;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::config::MqttConfig;
    use crate::rule::set;
    use crate::rule::table::NoFiles;

    async fn events(rules: &str) -> (Events, EventDesk, Registry) {
        let source = set::Source {
            path: PathBuf::from("test.rule"),
            content: Ok(rules.as_bytes().to_vec()),
        };
        let checked = set::check(&[source], &set::Targets::default(), &mut NoFiles);
        assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
        let engine = Engine::new(checked.rules, "000000000000");
        let mut registry = Registry::default();
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let config = MqttConfig { listen, ..MqttConfig::default() };
        let guard = Guard::open(Clock::start());
        let broker = Broker::bind(&config, Clock::start(), guard, Remains::default());
        let broker = broker.await.unwrap();
        let rules = Arc::new(Rules::new(engine, &Config::default(), None));
        let running = Arc::new(RunningRules::new(rules));
        let (events, desk) = Events::new(running, broker.handle(), &mut registry);
        (events, desk, registry)
    }

    fn taken_over() -> ClientEvent {
        ClientEvent {
            at: Timestamp::EPOCH,
            client_id: Arc::from("a/b"),
            session_id: Some(Uuid::nil()),
            change: Change::TakenOver,
        }
    }

    #[tokio::test]
    async fn a_full_queue_counts_what_it_has_no_room_for() {
        let rule = "CREATE RULE e AS SELECT * FROM '$events/#' DO LOG;";
        let (events, desk, registry) = events(rule).await;
        for _ in 0..limits::EVENTS_QUEUE_MAX + 10 {
            events.tell(&taken_over);
        }
        assert_eq!(desk.queue.len(), limits::EVENTS_QUEUE_MAX);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"events_dropped_total{reason="queue_full"} 10"#), "{text}");
    }

    #[tokio::test]
    async fn nothing_is_made_when_nobody_listens() {
        let (events, desk, _) = events("CREATE RULE e AS SELECT * FROM '#', 'a' DO LOG;").await;
        events.tell(&|| unreachable!("nobody listens"));
        assert!(desk.queue.is_empty());
    }

    #[test]
    fn a_client_is_one_level_of_our_topics_and_itself_on_those_of_aws() {
        let mut event = taken_over();
        assert_eq!(client_topics(&event), ("$events/session/a%2Fb/taken_over".to_owned(), None));
        let connection =
            ConnectionFacts { principal: None, address: [127, 0, 0, 1].into(), version_number: 1 };
        event.change =
            Change::Disconnected { connection: Arc::new(connection), reason: "CONNECTION_LOST" };
        let (ours, aws) = client_topics(&event);
        assert_eq!(ours, "$events/client/a%2Fb/disconnected");
        assert_eq!(aws.as_deref(), Some("$aws/events/presence/disconnected/a/b"));
        for topic in [ours, aws.unwrap(), "$events/rule/r/cleared".to_owned()] {
            let topic = crate::topic::TopicFilter::parse(&topic).unwrap();
            assert!(crate::topic::EVENT_FILTERS.iter().any(|f| topic.overlaps(f)), "{topic:?}");
        }
        assert_eq!(level("%+#/ü"), "%25%2B%23%2Fü");
    }
}
