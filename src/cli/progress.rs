//! How far a command has come: a bar on a terminal, and, where a command wants it, a line every few seconds
//! elsewhere.

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

/// Between two pictures of the bar.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Shows how far it is, and what the command says of it.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Dropped to end the thread that draws.
    stop: mpsc::Sender<()>,
    drawer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts showing how much of `total`, if that is known, `done` says is done, and what `line` says. Where there
    /// is no terminal the line is said every `elsewhere`, or not at all.
    pub(super) fn start(
        total: Option<u64>,
        done: Arc<AtomicU64>,
        elsewhere: Option<Duration>,
        line: impl Fn() -> String + Send + 'static,
    ) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = match total {
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
        let every = if is_terminal { Some(BAR_EVERY) } else { elsewhere };
        let drawn = bar.clone();
        let drawer = every.map(|every| {
            std::thread::spawn(move || {
                while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                    if is_terminal {
                        drawn.set_position(done.load(Ordering::Relaxed));
                        drawn.set_message(line());
                    } else {
                        drop(writeln!(io::stderr(), "{}", line()));
                    }
                }
            })
        });
        Progress { bar, stop, drawer }
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
