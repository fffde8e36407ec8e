//! `/api/events`: the live feed, server-sent events.
//!
//! Each page has a task of its own that wakes ten times a second and sends what there is:
//! `hits` with `{"missed": n, "hits": [newest 50, oldest first]}`, and once a second `stats` with the
//! totals, the last whole seconds of the series and the counters of the rules that changed. `stats`
//! is also the heartbeat: a page that has heard nothing for some seconds reconnects. When the reader
//! does not read, the task is not polled and the feed passes it by. It ends when the gateway stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::response::sse::Event;
use axum::response::sse::Sse;
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

use crate::api::error::ApiError;
use crate::api::feed::HitReader;
use crate::api::query::Params;
use crate::api::routes::Shared;
use crate::api::series::SeriesSpan;
use crate::api::series::SeriesView;
use crate::api::source::Source;
use crate::api::view::HitView;
use crate::api::view::Millis;
use crate::api::view::Overview;
use crate::api::view::Readiness;
use crate::api::view::Rule;
use crate::api::view::RuleState;
use crate::api::view::Text;
use crate::api::view::Totals;
use crate::limits::EVENT_CLIENTS_MAX;
use crate::limits::EVENT_HITS_MAX;
use crate::limits::EVENT_INTERVAL;
use crate::limits::EVENT_SERIES_SECONDS;
use crate::limits::EVENT_TICKS_PER_STATS;

pub(super) async fn events(
    State(shared): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let permit = Arc::clone(&shared.event_permits).try_acquire_owned().map_err(|_| {
        let message = format!("{EVENT_CLIENTS_MAX} live pages are open, which is the most");
        ApiError::unavailable("too_many_live_pages", message)
    })?;
    Ok(Sse::new(Live::start(shared.source, permit).into_stream()).into_response())
}

/// One live page.
struct Live {
    source: Arc<dyn Source>,
    hits: HitReader,
    ticks: Interval,
    /// Ticks since `stats` was sent.
    quiet_ticks: u32,
    /// What the page knows of each rule.
    sent: HashMap<Text, RuleStats>,
    /// Held while the page is open.
    _permit: OwnedSemaphorePermit,
}

impl Live {
    fn start(source: Arc<dyn Source>, permit: OwnedSemaphorePermit) -> Self {
        let mut ticks = tokio::time::interval(EVENT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hits = source.subscribe_hits();
        // The first tick sends `stats`, so that a page is current at once.
        let quiet_ticks = EVENT_TICKS_PER_STATS;
        Live { source, hits, ticks, quiet_ticks, sent: HashMap::new(), _permit: permit }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, |mut live| async move {
            let event = live.next().await?;
            Some((Ok(event), live))
        })
    }

    /// Waits for something to send; `None` when the gateway stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.quiet_ticks >= EVENT_TICKS_PER_STATS {
                self.quiet_ticks = 0;
                return Some(event("stats", &self.stats()));
            }
            self.ticks.tick().await;
            self.quiet_ticks += 1;
            if self.source.readiness() == Readiness::Stopping {
                return None;
            }
            let (hits, missed) = self.hits.take(EVENT_HITS_MAX);
            if !hits.is_empty() || missed > 0 {
                return Some(event(
                    "hits",
                    &Hits { missed, hits: hits.iter().map(AsRef::as_ref).collect() },
                ));
            }
        }
    }

    fn stats(&mut self) -> Stats {
        let Overview { now, readiness, rule_set, totals, .. } = self.source.overview();
        let mut series = self.source.series(SeriesSpan::Seconds(EVENT_SERIES_SECONDS));
        series.rules.retain(|rule| rule.hits.iter().any(|hits| *hits > 0));
        let rules = self.source.rules();
        // A rule that is gone would otherwise be remembered for as long as the page is open.
        self.sent.retain(|name, _| rules.iter().any(|rule| rule.name == *name));
        let mut changed = Vec::new();
        for rule in rules {
            let stats = RuleStats::of(&rule);
            if self.sent.get(&rule.name) != Some(&stats) {
                changed.push(stats.clone());
                self.sent.insert(rule.name, stats);
            }
        }
        let rules_refused = rule_set.stale.map(|report| report.at);
        let generation = rule_set.generation;
        Stats { now, readiness, totals, series, rules: changed, generation, rules_refused }
    }
}

fn event(name: &str, content: &impl Serialize) -> Event {
    Event::default()
        .event(name)
        .json_data(content)
        .expect("views have string keys and no failing parts")
}

#[derive(Debug, Serialize)]
struct Hits<'a> {
    missed: u64,
    hits: Vec<&'a HitView>,
}

#[derive(Debug, Serialize)]
struct Stats {
    now: Millis,
    readiness: Readiness,
    totals: Totals,
    series: SeriesView,
    /// Those that changed since the last event; all of them in the first.
    rules: Vec<RuleStats>,
    /// Of the running rule set: another one than the page knows means that rules came, went or changed.
    generation: u64,
    /// When a reload failed last, while the rules on disk are not what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules_refused: Option<Millis>,
}

/// The part of a rule that changes while it runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct RuleStats {
    name: Text,
    state: RuleState,
    matched: u64,
    hits: u64,
    unknown: u64,
    faults: u64,
    pending: u64,
    firing: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_hit: Option<Millis>,
}

impl RuleStats {
    fn of(rule: &Rule) -> Self {
        RuleStats {
            name: rule.name.clone(),
            state: rule.state,
            matched: rule.matched,
            hits: rule.hits,
            unknown: rule.unknown,
            faults: rule.faults,
            pending: rule.pending,
            firing: rule.firing,
            last_hit: rule.last_hit,
        }
    }
}
