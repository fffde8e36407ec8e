//! What a replay has done so far.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::diagnostic::render::counted;

/// The counters; every part of the replay writes its own.
#[derive(Debug, Default)]
pub(in crate::cli) struct Tally {
    /// Messages handed to a connection.
    pub(super) sent: AtomicU64,
    /// Messages acknowledged; for QoS 0, written out.
    pub(in crate::cli) acknowledged: AtomicU64,
    /// Lines that are no recorded message.
    pub(super) malformed: AtomicU64,
    /// Connections opened.
    pub(super) devices: AtomicU64,
    /// Messages that went over another device's connection, for want of one of their own.
    pub(super) shared: AtomicU64,
}

impl Tally {
    /// A line for while it goes on.
    pub(super) fn so_far(&self) -> String {
        format!(
            "sent {}, acknowledged {}",
            self.sent.load(Ordering::Relaxed),
            self.acknowledged.load(Ordering::Relaxed)
        )
    }

    /// One line about all of it.
    pub(super) fn summary(&self, seconds: f64) -> String {
        let sent = self.sent.load(Ordering::Relaxed);
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        // Exact below 2^53 messages.
        let rate = acknowledged as f64 / seconds.max(1e-3);
        let mut line = format!(
            "sent {sent}, acknowledged {acknowledged} of {} in {seconds:.1} s ({rate:.0}/s)",
            counted(self.devices.load(Ordering::Relaxed), "device"),
        );
        let malformed = self.malformed.load(Ordering::Relaxed);
        if malformed > 0 {
            line.push_str(&format!(", passed over {}", counted(malformed, "malformed line")));
        }
        let shared = self.shared.load(Ordering::Relaxed);
        if shared > 0 {
            line.push_str(&format!(", {shared} over another device's connection"));
        }
        line
    }
}
