//! One connection to another broker, from CONNECT to its end; [`Upstream::run`] makes the next one.
//!
//! A single task does everything, so nothing needs a lock: it waits for what happens on the link, for
//! commits that release acknowledgements, for messages to be sent and for other filters, and then does
//! what can be done. While the journal's queue is full, or too much waits for its commit, the link is not
//! polled, and TCP slows the other broker.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::broker::Intake;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::MqttProtocol;
use crate::delivery::Outbox;
use crate::limits;
use crate::publish::QoS;
use crate::retry::Backoff;
use crate::retry::Failure;
use crate::retry::describe;

use super::Filters;
use super::LinkSink;
use super::cover::Cover;
use super::echo::Echoes;
use super::link;
use super::link::LinkError;
use super::link::Requests;
use super::link::Signal;
use super::link::Signals;
use super::link::Subscription;
use super::link::Target;
use super::link::Verdict;
use super::link::Welcome;
use super::mark::Mark;
use super::memory::Memory;
use super::memory::MemoryError;
use super::metrics::OneUpstream;
use super::receiver::Inward;
use super::receiver::Receiver;
use super::sender::Passed;
use super::sender::SendError;
use super::sender::Sender;
use super::subscriptions::Subscriptions;

const RETRY: Backoff =
    Backoff { first: limits::UPSTREAM_RETRY_FIRST, max: limits::UPSTREAM_RETRY_MAX };
/// How long a connection may take at shutdown to get its acknowledgements out.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(5);
/// For the DISCONNECT behind them.
const FAREWELL_GRACE: Duration = Duration::from_secs(1);

/// What a connection tells of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Since when it stands; `None` when it does not.
    pub(super) connected_since: Option<Timestamp>,
    pub(super) client_id: String,
    pub(super) last_error: Option<Failure>,
    pub(super) subscriptions: Vec<String>,
    pub(super) refused: Vec<(String, &'static str)>,
}

/// A configured connection to another broker.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) target: Target,
    pub(super) share: Option<String>,
    pub(super) qos: QoS,
    pub(super) mark: Mark,
    pub(super) filters: watch::Receiver<Filters>,
    pub(super) inward: Inward,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) outbox: Outbox,
    pub(super) passed: Arc<Passed>,
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) clock: Clock,
    pub(super) sink: Arc<dyn LinkSink>,
    pub(super) metrics: OneUpstream,
    /// Written here, read for the status.
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the gateway stops")]
    Stopped,
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("the connection's task panicked")]
    Panicked,
}

impl Upstream {
    /// Keeps connected until the gateway stops.
    pub(super) async fn run(self) {
        let mut failures = 0_u32;
        let mut stop = self.stop.clone();
        loop {
            let one = self.clone();
            let ended = tokio::spawn(async move { Connection::new(one).run().await }).await;
            let since = self.progress.lock().connected_since.take();
            self.metrics.connected.set(0);
            self.metrics.in_flight.set(0);
            self.metrics.acks_waiting.set(0);
            let error = match ended {
                Ok(Ended::Stopped) => return,
                Ok(error) => error,
                // A panic in the MQTT library costs this connection only.
                Err(_) => Ended::Panicked,
            };
            let now = self.clock.now();
            let has_stood = since.is_some_and(|since| now.since(since) > limits::UPSTREAM_STOOD);
            failures = if has_stood { 1 } else { failures.saturating_add(1) };
            self.note_failure(&error, failures, since, now);
            let wait = RETRY.wait(failures);
            tokio::select! {
                biased;
                // An error means that the sender is gone, and with it the gateway.
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// `since`: when it had come to stand.
    fn note_failure(&self, error: &Ended, failures: u32, since: Option<Timestamp>, at: Timestamp) {
        let message = describe(error);
        self.metrics.failures.inc();
        let url = self.target.url.shown();
        if since.is_some() {
            self.sink.disconnected(&self.name, at, &url, &message);
        }
        if failures == 1 {
            tracing::warn!(
                upstream = %self.name, url, error = message,
                "not connected to the other broker; trying again"
            );
        } else {
            tracing::debug!(upstream = %self.name, url, failures, error = message, "not connected");
        }
        self.progress.lock().last_error = Some(Failure { at, message });
    }
}

/// One connection.
struct Connection {
    upstream: Upstream,
    requests: Requests,
    signals: Signals,
    receiver: Receiver,
    sender: Sender,
    subscriptions: Subscriptions,
    cover: Cover,
    /// Only where messages cannot be marked.
    echoes: Option<Echoes>,
    welcome: Option<Welcome>,
}

async fn save(memory: Arc<Mutex<Memory>>) -> Result<(), Ended> {
    let memory = memory.lock().clone();
    let saved = tokio::task::spawn_blocking(move || memory.save()).await;
    Ok(saved.map_err(|_| Ended::Panicked)??)
}

/// What ended a wait.
#[expect(clippy::large_enum_variant, reason = "made and taken apart in one step, never kept")]
enum Woken {
    Signal(Option<Result<Signal, LinkError>>),
    FiltersChanged,
    Stop,
    Other,
}

impl Connection {
    fn new(upstream: Upstream) -> Connection {
        let (requests, signals) = link::connect(&upstream.target);
        let Upstream { name, inward, intake, clock, metrics, mark, target, .. } = &upstream;
        let (inward, metrics_in) = (inward.clone(), metrics.clone());
        let receiver = Receiver::new(name, inward, &**intake, *clock, metrics_in, mark.clone());
        let sender = Sender::new(
            upstream.outbox.clone(),
            Arc::clone(&upstream.passed),
            *clock,
            metrics.clone(),
            mark.clone(),
            target.config.rate_max,
        );
        let is_marked = target.config.protocol == MqttProtocol::V5;
        Connection {
            requests,
            signals,
            receiver,
            sender,
            subscriptions: Subscriptions::default(),
            cover: Cover::default(),
            echoes: (!is_marked).then(Echoes::default),
            welcome: None,
            upstream,
        }
    }

    async fn run(mut self) -> Ended {
        loop {
            let receive_maximum = self.upstream.target.config.receive_maximum;
            let is_paused = self.receiver.is_paused(receive_maximum);
            let mut stop = self.upstream.stop.clone();
            let woken = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Woken::Stop,
                () = self.receiver.committed() => Woken::Other,
                changed = self.upstream.filters.changed(), if self.welcome.is_some() => {
                    if changed.is_ok() { Woken::FiltersChanged } else { Woken::Stop }
                }
                signal = self.signals.next(), if !is_paused => Woken::Signal(signal),
                () = self.sender.changed() => Woken::Other,
            };
            let done = match woken {
                Woken::Stop => {
                    self.take_leave().await;
                    Err(Ended::Stopped)
                }
                Woken::Signal(signal) => self.take_signals(signal).await,
                Woken::FiltersChanged => self.plan_subscriptions().await,
                Woken::Other => Ok(()),
            };
            if let Err(ended) = done {
                return ended;
            }
            if self.welcome.is_some()
                && let Err(ended) = self.proceed().await
            {
                return ended;
            }
        }
    }

    /// Hands over whatever can be: acknowledgements first, because the other broker waits for them.
    async fn proceed(&mut self) -> Result<(), Ended> {
        self.receiver.acknowledge(&self.requests);
        self.subscriptions.proceed(&self.requests);
        let echoes = self.echoes.as_mut().map(|echoes| (echoes, &self.cover));
        Ok(self.sender.proceed(&self.requests, echoes).await?)
    }

    /// Handles a signal and those that are there behind it, as one batch.
    async fn take_signals(
        &mut self,
        first: Option<Result<Signal, LinkError>>,
    ) -> Result<(), Ended> {
        let mut next = Some(first);
        let mut handled = Ok(());
        while let Some(signal) = next {
            let signal = signal.unwrap_or_else(|| Err(LinkError("the link has ended".to_owned())));
            handled = match signal {
                Ok(signal) => self.handle(signal).await,
                Err(error) => Err(error.into()),
            };
            if handled.is_err() || self.receiver.is_batch_full() {
                break;
            }
            // Acknowledgements and messages are written while the link is polled: what is handed over
            // in between keeps it busy.
            self.receiver.acknowledge(&self.requests);
            next = self.signals.next().now_or_never();
        }
        // What was taken before an error counts: its batch ends like any other.
        if self.receiver.end_batch().await.is_err() {
            return Err(Ended::Stopped);
        }
        handled
    }

    async fn handle(&mut self, signal: Signal) -> Result<(), Ended> {
        match signal {
            Signal::Welcome(welcome) => self.begin(welcome).await?,
            Signal::Received(received) => {
                self.receiver.take(received, &self.cover, self.echoes.as_mut());
            }
            Signal::Sent(packet_id) => self.sender.note_written(packet_id),
            Signal::Answered(packet_id, verdict) => {
                self.sender.note_answer(packet_id, verdict)?;
            }
            Signal::Asked(packet_id) => self.subscriptions.note_written(packet_id),
            Signal::Subscribed(packet_id, refusal) => self.note_answer(packet_id, refusal).await?,
            Signal::Unsubscribed(packet_id) => self.note_answer(packet_id, None).await?,
            Signal::Disconnected | Signal::Quiet => {}
        }
        Ok(())
    }

    async fn begin(&mut self, welcome: Welcome) -> Result<(), Ended> {
        let Upstream { name, target, share, metrics, clock, progress, memory, sink, .. } =
            &self.upstream;
        let is_session_present = welcome.is_session_present;
        tracing::info!(
            upstream = %name, url = target.url.shown(), is_session_present,
            "connected to the other broker"
        );
        if share.is_some() && welcome.lacks_shared {
            return Err(LinkError("the broker has no shared subscriptions".to_owned()).into());
        }
        metrics.connects.inc();
        metrics.connected.set(1);
        let now = clock.now();
        {
            let mut progress = progress.lock();
            progress.connected_since = Some(now);
            progress.last_error = None;
        }
        sink.connected(name, now, &target.url.shown());
        self.sender.begin(&welcome, target.config.inflight_max);
        self.subscriptions.begin(is_session_present, &mut memory.lock().kept);
        self.welcome = Some(welcome);
        self.plan_subscriptions().await
    }

    /// Plans the way to the filters that are wanted now.
    async fn plan_subscriptions(&mut self) -> Result<(), Ended> {
        let filters = Arc::clone(&self.upstream.filters.borrow_and_update());
        // Comparing every filter with every other takes a moment when there are thousands.
        let find = move || Cover::of(&filters);
        let cover = tokio::task::spawn_blocking(find).await.map_err(|_| Ended::Panicked)?;
        let has_ids = self.welcome.is_some_and(|welcome| welcome.has_subscription_ids);
        self.cover = if has_ids { cover } else { cover.apart() };
        let wanted: Vec<Subscription> = self
            .cover
            .filters()
            .iter()
            .map(|covered| Subscription {
                filter: match &self.upstream.share {
                    Some(group) => format!("$share/{group}/{}", covered.filter),
                    None => covered.filter.to_string(),
                },
                qos: self.upstream.qos,
                id: if has_ids { covered.id } else { 0 },
                // Forbidden for shared subscriptions (MQTT 5, section 3.8.3.1).
                is_no_local: self.upstream.share.is_none(),
                wants_retained: matches!(self.upstream.inward, Inward::Bridge(..)),
            })
            .collect();
        let memory = Arc::clone(&self.upstream.memory);
        self.subscriptions.plan(&wanted, &mut memory.lock().kept);
        save(memory).await?;
        self.show();
        Ok(())
    }

    async fn note_answer(
        &mut self,
        packet_id: u16,
        refusal: Option<&'static str>,
    ) -> Result<(), Ended> {
        let memory = Arc::clone(&self.upstream.memory);
        let is_complete =
            self.subscriptions.note_answer(packet_id, refusal, &mut memory.lock().kept);
        if is_complete {
            save(memory).await?;
            self.show();
        }
        Ok(())
    }

    fn show(&self) {
        let Upstream { metrics, memory, progress, .. } = &self.upstream;
        let memory = memory.lock();
        let (granted, refused) = (&memory.kept.granted, &self.subscriptions.refused);
        metrics.subscriptions.set(i64::try_from(granted.len()).unwrap_or(i64::MAX));
        metrics.refused_subscriptions.set(i64::try_from(refused.len()).unwrap_or(i64::MAX));
        let mut progress = progress.lock();
        let shown = limits::CLIENT_SUBSCRIPTIONS_SHOWN;
        progress.subscriptions = granted.keys().take(shown).cloned().collect();
        progress.refused =
            refused.iter().take(shown).map(|(filter, reason)| (filter.clone(), *reason)).collect();
    }

    /// Lets the acknowledgements due get out, and says goodbye.
    async fn take_leave(&mut self) {
        if self.welcome.is_none() {
            return;
        }
        let acknowledged = async {
            loop {
                self.receiver.acknowledge(&self.requests);
                if self.receiver.is_done() {
                    return;
                }
                tokio::select! {
                    () = self.receiver.committed() => {}
                    signal = self.signals.next() => match signal {
                        // What comes now is not taken, and the other broker keeps it.
                        Some(Ok(Signal::Answered(packet_id, Verdict::Taken))) => {
                            drop(self.sender.note_answer(packet_id, Verdict::Taken));
                        }
                        Some(Ok(Signal::Sent(packet_id))) => self.sender.note_written(packet_id),
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return,
                    },
                }
            }
        };
        if timeout(STOP_GRACE, acknowledged).await.is_err() {
            return;
        }
        self.requests.disconnect();
        let farewell = async {
            while let Some(Ok(signal)) = self.signals.next().await {
                if signal == Signal::Disconnected {
                    return;
                }
            }
        };
        drop(timeout(FAREWELL_GRACE, farewell).await);
    }
}
