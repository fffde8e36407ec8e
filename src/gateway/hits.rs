//! Hits as the dashboard sees them: read back from the hit log, so that a live hit and a listed one
//! are the same hit with the same id.
//!
//! The journal's stage only rings a bell. A task of its own reads what is new and feeds whoever looks;
//! with nobody looking it reads nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::api::HitFeed;
use crate::api::payload::Content;
use crate::api::payload::Payload;
use crate::api::view::HitView;
use crate::api::view::Key;
use crate::api::view::Text;
use crate::hit_log::Hit;
use crate::hit_log::HitLog;
use crate::hit_log::HitLogError;
use crate::hit_log::HitQuery;
use crate::limits;

/// The hit log's reader and the live feed over it.
#[derive(Debug)]
pub(super) struct Hits {
    /// Taken by one blocking read at a time.
    log: Mutex<HitLog>,
    feed: HitFeed,
    /// Rung by the journal's stage after a commit with hits.
    bell: Notify,
}

impl Hits {
    /// Over a reader of the hit log.
    pub(super) fn new(log: HitLog) -> Self {
        Hits { log: Mutex::new(log), feed: HitFeed::default(), bell: Notify::new() }
    }

    /// Says that there are new hits. Never waits.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Where live pages look.
    pub(super) fn feed(&self) -> &HitFeed {
        &self.feed
    }

    /// The newest hits that `query` asks for, newest first. Blocks.
    pub(super) fn newest(
        &self,
        query: &HitQuery<'_>,
        limit: usize,
    ) -> Result<Vec<Hit>, HitLogError> {
        self.log.lock().newest(query, limit)
    }

    /// Feeds live pages until the task is dropped.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut seen: Option<u64> = None;
        loop {
            self.bell.notified().await;
            if !self.feed.is_watched() {
                seen = None;
                continue;
            }
            let hits = Arc::clone(&self);
            let after = seen;
            let read = tokio::task::spawn_blocking(move || {
                let query = HitQuery { after, ..HitQuery::default() };
                // Some of the first may be from before a page opened; pages know hits by their ids.
                hits.newest(&query, limits::EVENT_HITS_MAX)
            });
            match read.await {
                Ok(Ok(newest)) => {
                    seen = newest.first().map(|hit| hit.id).or(seen);
                    for hit in newest.iter().rev() {
                        self.feed.publish(listed(hit));
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "live hits cannot be read"),
                Err(_) => return,
            }
        }
    }
}

/// As lists and the live feed show it: a large output is cut.
pub(super) fn listed(hit: &Hit) -> HitView {
    with(hit, Payload::preview(&hit.output))
}

/// With all of the output that is kept.
pub(super) fn whole(hit: &Hit) -> HitView {
    with(hit, Payload::whole(&hit.output))
}

fn with(hit: &Hit, mut output: Payload) -> HitView {
    let kept = hit.output.len() as u64;
    if kept < hit.output_bytes {
        output.bytes = usize::try_from(hit.output_bytes).unwrap_or(usize::MAX);
        output.content = Content::Cut(String::from_utf8_lossy(&hit.output).into_owned());
    }
    HitView {
        id: hit.id,
        at: hit.at.into(),
        rule: Text::from(hit.rule.as_str()),
        event: event_word(&hit.event),
        reason: hit.reason.as_deref().map(Text::from),
        topic: Text::from(hit.topic.as_str()),
        client_id: hit.client_id.as_deref().map(Text::from),
        key: hit.key.as_deref().map(Key::of),
        output,
    }
}

fn event_word(stored: &str) -> &'static str {
    match stored {
        "firing" => "firing",
        "cleared" => "cleared",
        "window" => "window",
        _ => "match",
    }
}
