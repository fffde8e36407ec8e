//! `$SYS/…`: what the broker counts, as retained messages for whoever subscribes.
//!
//! The words are Mosquitto's where it has them, so that tools made for it read these. Nothing is kept in
//! the retained store: a new subscription gets the values of the moment, at most [`REST`] old, and
//! whoever stays subscribed gets them again each interval. Only the loads are looked at when nobody
//! listens: eight numbers each interval.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::exchange::Exchange;
use super::message::Message;
use crate::clock::Timestamp;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::QoS;
use crate::topic::Dialect;
use crate::topic::TopicFilter;
use crate::topic::TopicName;

/// Values younger than this are given again: a client that subscribes in a loop costs no counting.
const REST: Duration = Duration::from_secs(1);

/// What the load averages are of, by name.
const LOADS: [&str; 8] = [
    "messages/received",
    "messages/sent",
    "publish/received",
    "publish/sent",
    "publish/dropped",
    "bytes/received",
    "bytes/sent",
    "connections",
];

/// The spans of the load averages.
const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// Exponentially weighted averages of the growth of the counters, a minute.
#[derive(Debug)]
struct Loads {
    seen_at: Timestamp,
    seen: [u64; LOADS.len()],
    averages: [[f64; SPANS.len()]; LOADS.len()],
}

impl Loads {
    /// Takes the counters' present values in.
    fn sample(&mut self, now: Timestamp, counters: [u64; LOADS.len()]) {
        let seconds = now.since(self.seen_at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let grown = counters.iter().zip(&self.seen).map(|(new, old)| new.saturating_sub(*old));
        for (averages, grown) in self.averages.iter_mut().zip(grown) {
            let rate = as_f64(grown) * 60.0 / seconds;
            for (average, (_, span)) in averages.iter_mut().zip(SPANS) {
                let kept = (-seconds / span).exp();
                *average = *average * kept + rate * (1.0 - kept);
            }
        }
        (self.seen_at, self.seen) = (now, counters);
    }
}

/// Exact up to 2^53, which no counter of a broker reaches.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[derive(Debug)]
struct Inner {
    loads: Loads,
    made: Option<(Timestamp, Arc<[Arc<Message>]>)>,
}

/// The statistics of a broker.
#[derive(Debug)]
pub(crate) struct Statistics {
    started_at: Timestamp,
    /// Taken by the sampler, and by SUBSCRIBE to `$SYS/…`.
    inner: Mutex<Inner>,
}

impl Statistics {
    pub(crate) fn new(now: Timestamp) -> Self {
        let averages = [[0.0; SPANS.len()]; LOADS.len()];
        let loads = Loads { seen_at: now, seen: [0; LOADS.len()], averages };
        Statistics { started_at: now, inner: Mutex::new(Inner { loads, made: None }) }
    }
}

impl Exchange {
    /// Brings the load averages up to date. Answers when.
    pub(crate) fn sample_statistics(&self) -> Timestamp {
        let now = self.clock.now();
        self.statistics.inner.lock().loads.sample(now, self.load_counters());
        now
    }

    /// Every statistic as a retained message; none when they are turned off.
    pub(crate) fn statistics(&self) -> Arc<[Arc<Message>]> {
        if self.config.statistics_interval.is_zero() {
            return Arc::default();
        }
        let now = self.clock.now();
        let mut inner = self.statistics.inner.lock();
        if let Some((at, messages)) = &inner.made
            && now.since(*at) < REST
        {
            return Arc::clone(messages);
        }
        let messages: Arc<[Arc<Message>]> = self
            .values(&inner.loads, now)
            .into_iter()
            .filter_map(|(name, value)| Some(Message::new(&publish(&name, &value, now)?)))
            .collect();
        inner.made = Some((now, Arc::clone(&messages)));
        messages
    }

    /// The statistics that a subscription is for.
    pub(crate) fn statistics_matching(&self, filter: &TopicFilter) -> Vec<Arc<Message>> {
        if !crate::topic::may_hear_statistics(filter.as_str()) {
            return Vec::new();
        }
        let all = self.statistics();
        let matches =
            |message: &&Arc<Message>| filter.matches(message.publish.topic.as_str(), Dialect::Mqtt);
        all.iter().filter(matches).cloned().collect()
    }

    fn load_counters(&self) -> [u64; LOADS.len()] {
        let metrics = &self.metrics;
        [
            metrics.all_received(),
            metrics.all_sent(),
            metrics.publishes_received(),
            metrics.publishes_sent(),
            metrics.all_dropped(),
            metrics.bytes_received.get(),
            metrics.bytes_sent.get(),
            metrics.connects(),
        ]
    }

    fn values(&self, loads: &Loads, now: Timestamp) -> Vec<(String, String)> {
        let metrics = &self.metrics;
        let connected = metrics.connections.get();
        let total = i64::try_from(self.sessions.len()).unwrap_or(i64::MAX);
        let queued = metrics.queued.get().max(0);
        let retained = i64::try_from(self.retained.len()).unwrap_or(i64::MAX);
        let mut values: Vec<(String, String)> = [
            ("version", format!("tidegate {}", env!("CARGO_PKG_VERSION"))),
            ("uptime", now.since(self.statistics.started_at).as_secs().to_string()),
            ("clients/connected", connected.to_string()),
            ("clients/disconnected", (total - connected).max(0).to_string()),
            ("clients/total", total.to_string()),
            ("clients/maximum", metrics.connections_seen.load(Ordering::Relaxed).to_string()),
            ("messages/received", metrics.all_received().to_string()),
            ("messages/sent", metrics.all_sent().to_string()),
            ("publish/messages/received", metrics.publishes_received().to_string()),
            ("publish/messages/sent", metrics.publishes_sent().to_string()),
            ("publish/messages/dropped", metrics.all_dropped().to_string()),
            ("bytes/received", metrics.bytes_received.get().to_string()),
            ("bytes/sent", metrics.bytes_sent.get().to_string()),
            ("subscriptions/count", metrics.subscriptions.get().to_string()),
            ("shared_subscriptions/count", self.subscriptions.groups().to_string()),
            ("retained messages/count", retained.to_string()),
            ("store/messages/count", retained.saturating_add(queued).to_string()),
            ("store/messages/bytes", self.stored_bytes().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, averages) in LOADS.iter().zip(&loads.averages) {
            for ((span, _), average) in SPANS.iter().zip(averages) {
                values.push((format!("load/{name}/{span}"), format!("{average:.2}")));
            }
        }
        values
    }

    /// Bytes of retained messages, and of messages that wait for a session or are on their way.
    fn stored_bytes(&self) -> usize {
        let waiting: usize = self.sessions.all().iter().map(|session| session.stored_bytes()).sum();
        self.retained.bytes() + waiting
    }
}

fn publish(name: &str, value: &str, now: Timestamp) -> Option<Publish> {
    Some(Publish {
        topic: TopicName::parse(&format!("$SYS/broker/{name}")).ok()?,
        payload: Bytes::copy_from_slice(value.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: true,
        received_at: now,
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_comes_near_its_rate_within_its_span() {
        let mut loads = Statistics::new(Timestamp::EPOCH).inner.into_inner().loads;
        // 120 messages a minute for five minutes, sampled every 10 seconds.
        for n in 1..=30_u32 {
            let mut counters = [0; LOADS.len()];
            counters[0] = u64::from(n) * 20;
            loads.sample(Timestamp::EPOCH + Duration::from_secs(10) * n, counters);
        }
        let [minute, five, fifteen] = loads.averages[0];
        assert!((118.0..120.0).contains(&minute), "{minute}");
        assert!((75.0..77.0).contains(&five), "120 × (1 - 1/e): {five}");
        assert!((33.0..35.0).contains(&fifteen), "{fifteen}");
        assert!(loads.averages[1].iter().all(|average| *average == 0.0));
    }
}
