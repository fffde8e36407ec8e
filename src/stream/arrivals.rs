//! Which streams have got records since somebody last looked, in memory: written by the journal's writer
//! after each commit, read by whoever works on what arrives: one task that works on many streams ([`Arrivals::take`]),
//! and any number that wait for one ([`Arrivals::listen`]).

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::watch;

/// The streams that somebody works on. Joins the journal's [`super::Appender`] to whoever reads.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Whether records came, by stream. A lock of nanoseconds, once a commit.
    watched: Mutex<BTreeMap<Arc<str>, bool>>,
    rung: Notify,
    /// Who is told of one stream each. Written by those who come, read once a commit.
    heard: Mutex<HashMap<Arc<str>, watch::Sender<()>, foldhash::fast::RandomState>>,
}

impl Arrivals {
    /// Rings for these streams from now on, and for no others; once for each at once, because records
    /// may have come before.
    pub fn watch(&self, streams: impl IntoIterator<Item = Arc<str>>) {
        *self.watched.lock() = streams.into_iter().map(|stream| (stream, true)).collect();
        self.rung.notify_one();
    }

    /// What changes whenever something may have come to this stream from now on.
    pub fn listen(&self, stream: &str) -> watch::Receiver<()> {
        let mut heard = self.heard.lock();
        heard.retain(|_, told| told.receiver_count() > 0);
        heard.entry(Arc::from(stream)).or_default().subscribe()
    }

    /// Records of these streams are on disk.
    pub(super) fn ring<'a>(&self, streams: impl Iterator<Item = &'a Arc<str>>) {
        let (mut watched, heard) = (self.watched.lock(), self.heard.lock());
        if watched.is_empty() && heard.is_empty() {
            return;
        }
        let mut is_rung = false;
        for stream in streams {
            if let Some(told) = heard.get(stream) {
                told.send_replace(());
            }
            if let Some(came) = watched.get_mut(stream) {
                *came = true;
                is_rung = true;
            }
        }
        drop((watched, heard));
        if is_rung {
            self.rung.notify_one();
        }
    }

    /// Records of any stream may be on disk.
    pub(super) fn ring_all(&self) {
        for told in self.heard.lock().values() {
            told.send_replace(());
        }
        let mut watched = self.watched.lock();
        if watched.is_empty() {
            return;
        }
        watched.values_mut().for_each(|came| *came = true);
        drop(watched);
        self.rung.notify_one();
    }

    /// Waits until records have come, and takes the streams they came to. A ring between two calls is
    /// not lost.
    pub async fn take(&self) -> Vec<Arc<str>> {
        loop {
            let mut taken = Vec::new();
            for (stream, came) in self.watched.lock().iter_mut() {
                if std::mem::take(came) {
                    taken.push(Arc::clone(stream));
                }
            }
            if !taken.is_empty() {
                return taken;
            }
            self.rung.notified().await;
        }
    }
}
