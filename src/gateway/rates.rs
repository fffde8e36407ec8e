//! Rates over time, for the dashboard: once a second the counters are read and what they grew by goes
//! into rings. So the hot path pays nothing for the chart. A rule that outlives a reload keeps its ring.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::RateRing;
use crate::api::SeriesSpan;
use crate::api::SeriesView;
use crate::clock::Timestamp;

use super::rules::Rules;
use super::rules::RunningRules;

/// A ring and the counter's value when it was last read.
#[derive(Debug, Default)]
struct Track {
    ring: RateRing,
    seen: u64,
}

impl Track {
    /// Answers by how much the counter has grown.
    fn follow(&mut self, at: Timestamp, count: u64) -> u64 {
        let grown = count.saturating_sub(self.seen);
        self.seen = count;
        if grown > 0 {
            self.ring.add(at, grown);
        }
        grown
    }
}

#[derive(Debug, Default)]
struct Tracks {
    messages: Track,
    hits: RateRing,
    /// Of the rules that [`Tracks::rules`] belongs to.
    generation: u64,
    /// In the order of the rules.
    rules: Vec<(Arc<str>, Track)>,
}

impl Tracks {
    /// Goes over to another rule set; rules are known by their names.
    fn adopt(&mut self, rules: &Rules) {
        if self.generation == rules.generation {
            return;
        }
        self.generation = rules.generation;
        let mut known: HashMap<Arc<str>, Track> = mem::take(&mut self.rules).into_iter().collect();
        let names = rules.list().iter().map(|rule| Arc::clone(rule.name()));
        self.rules = names
            .map(|name| {
                let track = known.remove(&name).unwrap_or_default();
                (name, track)
            })
            .collect();
    }
}

/// Messages and hits a second, in all and by rule.
#[derive(Debug)]
pub(super) struct Rates {
    running: Arc<RunningRules>,
    /// Written by the sampler once a second, read by the API.
    tracks: Mutex<Tracks>,
}

impl Rates {
    /// Empty rings.
    pub(super) fn new(running: Arc<RunningRules>) -> Self {
        Rates { running, tracks: Mutex::default() }
    }

    /// Reads the counters; what they grew by happened at `now`, as far as the chart can tell.
    pub(super) fn sample(&self, now: Timestamp, messages: u64) {
        let running = self.running.get();
        let mut tracks = self.tracks.lock();
        tracks.adopt(&running);
        tracks.messages.follow(now, messages);
        let mut all = 0;
        for (tally, (_, track)) in running.tallies.iter().zip(&mut tracks.rules) {
            all += track.follow(now, tally.hits.get());
        }
        if all > 0 {
            tracks.hits.add(now, all);
        }
    }

    /// What the chart draws.
    pub(super) fn series(&self, span: SeriesSpan, now: Timestamp) -> SeriesView {
        let mut tracks = self.tracks.lock();
        tracks.adopt(&self.running.hold());
        let tracks = &*tracks;
        let rules = tracks.rules.iter().map(|(name, track)| (Arc::clone(name), &track.ring));
        SeriesView::of(span, now, &tracks.messages.ring, &tracks.hits, rules)
    }
}
