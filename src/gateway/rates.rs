//! Rates over time, for the dashboard: once a second the counters are read and what they grew by goes
//! into rings. So the hot path pays nothing for the chart.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::RateRing;
use crate::api::SeriesSpan;
use crate::api::SeriesView;
use crate::clock::Timestamp;

use super::pass::Rules;

/// A ring and the counter's value when it was last read.
#[derive(Debug, Default)]
struct Track {
    ring: RateRing,
    seen: u64,
}

impl Track {
    fn follow(&mut self, at: Timestamp, count: u64) {
        let grown = count.saturating_sub(self.seen);
        self.seen = count;
        if grown > 0 {
            self.ring.add(at, grown);
        }
    }
}

#[derive(Debug)]
struct Tracks {
    messages: Track,
    hits: Track,
    rules: Vec<Track>,
}

/// Messages and hits a second, in all and by rule.
#[derive(Debug)]
pub(super) struct Rates {
    rules: Arc<Rules>,
    /// Written by the sampler once a second, read by the API.
    tracks: Mutex<Tracks>,
}

impl Rates {
    /// Empty rings for `rules`.
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        let count = rules.engine.rules().len();
        let tracks = Tracks {
            messages: Track::default(),
            hits: Track::default(),
            rules: std::iter::repeat_with(Track::default).take(count).collect(),
        };
        Rates { rules, tracks: Mutex::new(tracks) }
    }

    /// Reads the counters; what they grew by happened at `now`, as far as the chart can tell.
    pub(super) fn sample(&self, now: Timestamp, messages: u64) {
        let mut tracks = self.tracks.lock();
        tracks.messages.follow(now, messages);
        let mut all = 0;
        for (tally, track) in self.rules.tallies.iter().zip(&mut tracks.rules) {
            let hits = tally.hits.get();
            all += hits;
            track.follow(now, hits);
        }
        tracks.hits.follow(now, all);
    }

    /// What the chart draws.
    pub(super) fn series(&self, span: SeriesSpan, now: Timestamp) -> SeriesView {
        let tracks = self.tracks.lock();
        let names = self.rules.engine.rules().iter().map(|rule| Arc::clone(rule.name()));
        let rules = names.zip(tracks.rules.iter().map(|track| &track.ring));
        SeriesView::of(span, now, &tracks.messages.ring, &tracks.hits.ring, rules)
    }
}
