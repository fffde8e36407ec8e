//! What a replay has done so far: a bar on a terminal, a line every few seconds elsewhere.

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use crate::diagnostic::render::counted;
use crate::recording::Recording;

/// Between two pictures of the bar.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The counters; every part of the replay writes its own.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Messages handed to a connection.
    pub(super) sent: AtomicU64,
    /// Messages acknowledged; for QoS 0, written out.
    pub(super) acknowledged: AtomicU64,
    /// Lines that are no recorded message.
    pub(super) malformed: AtomicU64,
    /// Connections opened.
    pub(super) devices: AtomicU64,
    /// Messages that went over another device's connection, for want of one of their own.
    pub(super) shared: AtomicU64,
}

impl Tally {
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

/// Shows a [`Tally`] while it grows.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Dropped to end the thread that draws.
    stop: mpsc::Sender<()>,
    drawer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts showing.
    pub(super) fn start(tally: Arc<Tally>, recording: &Recording) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = match recording.bytes_total() {
            Some(total) => ProgressBar::new(total).with_style(
                ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}  {eta} left")
                    .expect("the template is well-formed"),
            ),
            None => ProgressBar::no_length().with_style(
                ProgressStyle::with_template("{spinner} {msg}  {elapsed}")
                    .expect("the template is well-formed"),
            ),
        };
        bar.set_draw_target(if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let (stop, stopped) = mpsc::channel::<()>();
        let every = if is_terminal { BAR_EVERY } else { LINE_EVERY };
        let (bytes_read, drawn) = (recording.bytes_read(), bar.clone());
        let drawer = std::thread::spawn(move || {
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                let line = format!(
                    "sent {}, acknowledged {}",
                    tally.sent.load(Ordering::Relaxed),
                    tally.acknowledged.load(Ordering::Relaxed)
                );
                if is_terminal {
                    drawn.set_position(bytes_read.load(Ordering::Relaxed));
                    drawn.set_message(line);
                } else {
                    drop(writeln!(io::stderr(), "{line}"));
                }
            }
        });
        Progress { bar, stop, drawer: Some(drawer) }
    }

    /// Writes a line to standard error, above the bar.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{line}")));
    }

    /// Takes the bar away.
    pub(super) fn finish(mut self) {
        drop(self.stop);
        if let Some(drawer) = self.drawer.take() {
            drop(drawer.join());
        }
        self.bar.finish_and_clear();
    }
}
