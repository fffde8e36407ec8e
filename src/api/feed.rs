//! The live feed of hits: one writer that never waits, any number of readers that may fall behind.
//!
//! A reader that is too slow loses the oldest hits and learns how many. With no reader a hit costs
//! nothing but the question.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::api::view::HitView;
use crate::limits::FEED_HITS_MAX;

/// What the feed counts.
#[derive(Clone, Debug, Default)]
pub struct FeedMetrics {
    readers: Gauge,
    missed: Counter,
}

impl FeedMetrics {
    /// Adds the metrics to what `/metrics` shows.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("live_pages", "Live pages open now", self.readers.clone());
        registry.register(
            "live_hits_missed",
            "Hits that live pages were told of by number only, summed over pages",
            self.missed.clone(),
        );
    }
}

/// The writing end. The gateway has one and publishes each commit's hits to it.
#[derive(Clone, Debug)]
pub struct HitFeed {
    sender: broadcast::Sender<Arc<HitView>>,
    metrics: FeedMetrics,
}

impl Default for HitFeed {
    fn default() -> Self {
        HitFeed { sender: broadcast::Sender::new(FEED_HITS_MAX), metrics: FeedMetrics::default() }
    }
}

impl HitFeed {
    /// Whether anybody looks; when not, there is no need to make views.
    pub fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Shows a hit to all who look. Never waits.
    pub fn publish(&self, hit: HitView) {
        // An error says that nobody looks any more.
        drop(self.sender.send(Arc::new(hit)));
    }

    /// A reader of everything from now on.
    pub fn subscribe(&self) -> HitReader {
        self.metrics.readers.inc();
        HitReader { receiver: self.sender.subscribe(), missed: 0, metrics: self.metrics.clone() }
    }

    /// Pages open, hits passed over.
    pub fn metrics(&self) -> &FeedMetrics {
        &self.metrics
    }
}

/// A reading end.
#[derive(Debug)]
pub struct HitReader {
    receiver: broadcast::Receiver<Arc<HitView>>,
    /// Hits this reader did not get and has not yet been told of.
    missed: u64,
    metrics: FeedMetrics,
}

impl Drop for HitReader {
    fn drop(&mut self) {
        self.metrics.readers.dec();
    }
}

impl HitReader {
    /// The newest `most` of the hits since the last call, oldest first, and how many were passed over.
    pub(super) fn take(&mut self, most: usize) -> (Vec<Arc<HitView>>, u64) {
        let mut hits = std::collections::VecDeque::new();
        loop {
            match self.receiver.try_recv() {
                Ok(hit) => {
                    if hits.len() == most {
                        hits.pop_front();
                        self.missed += 1;
                    }
                    hits.push_back(hit);
                }
                Err(TryRecvError::Lagged(missed)) => self.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.metrics.missed.inc_by(self.missed);
        (hits.into(), std::mem::take(&mut self.missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::payload::Payload;
    use crate::clock::Timestamp;

    fn hit(id: u64) -> HitView {
        HitView {
            id,
            at: Timestamp::EPOCH.into(),
            rule: "r".into(),
            event: "match",
            reason: None,
            topic: "t".into(),
            client_id: None,
            key: None,
            output: Payload::whole(b"{}"),
        }
    }

    #[test]
    fn a_slow_reader_gets_the_newest_and_learns_what_it_missed() {
        let feed = HitFeed::default();
        assert!(!feed.is_watched());
        let mut reader = feed.subscribe();
        let sent = FEED_HITS_MAX as u64 + 10;
        for id in 0..sent {
            feed.publish(hit(id));
        }
        let (hits, missed) = reader.take(3);
        let ids: Vec<u64> = hits.iter().map(|hit| hit.id).collect();
        assert_eq!(ids, [sent - 3, sent - 2, sent - 1]);
        assert_eq!(missed, sent - 3);
        assert_eq!(reader.take(3).1, 0, "it is told once");
        let mut registry = Registry::default();
        feed.metrics().register(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        assert!(shown().contains(&format!("live_hits_missed_total {}\n", sent - 3)));
        assert!(shown().contains("live_pages 1\n"));
        drop(reader);
        assert!(shown().contains("live_pages 0\n"));
    }

    #[test]
    fn a_reader_in_time_misses_nothing() {
        let feed = HitFeed::default();
        let mut reader = feed.subscribe();
        feed.publish(hit(1));
        feed.publish(hit(2));
        let (hits, missed) = reader.take(50);
        assert_eq!((hits.len(), missed), (2, 0));
    }
}
