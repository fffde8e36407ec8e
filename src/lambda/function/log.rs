//! What a function prints: lines of the gateway's log, with the request they belong to.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::BufReader;
use tokio::process::ChildStderr;
use tokio::process::ChildStdout;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::limits;

/// What a process that has ended said last is read for so long at most: something that it started may
/// hold its output open.
const LAST_WORDS_GRACE: Duration = Duration::from_millis(200);

/// The output of one process.
#[derive(Debug)]
pub(super) struct Log {
    shared: Arc<Shared>,
    readers: watch::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    hook: Arc<str>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    request_id: String,
    last: String,
    /// The second that is counted, and its lines.
    second: Instant,
    lines: u32,
}

impl Log {
    /// Reads what the process of `hook` prints until it ends.
    pub(super) fn of(
        hook: &Arc<str>,
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
    ) -> Log {
        let now = Now {
            request_id: String::new(),
            last: String::new(),
            second: Clock::instant(),
            lines: 0,
        };
        let shared = Arc::new(Shared { hook: Arc::clone(hook), now: Mutex::new(now) });
        let (reading, readers) = watch::channel(());
        let reading = Arc::new(reading);
        if let Some(stdout) = stdout {
            tokio::spawn(read(stdout, Arc::clone(&shared), Arc::clone(&reading)));
        }
        if let Some(stderr) = stderr {
            tokio::spawn(read(stderr, Arc::clone(&shared), reading));
        }
        Log { shared, readers }
    }

    /// Lines belong to this request from now on.
    pub(super) fn begin(&self, request_id: &str) {
        request_id.clone_into(&mut self.shared.now.lock().request_id);
    }

    /// Waits until all that was printed has been read.
    pub(super) async fn finished(&self) {
        let mut readers = self.readers.clone();
        // Nothing is ever sent: an error says that the readers are gone.
        let gone = async { while readers.changed().await.is_ok() {} };
        timeout(LAST_WORDS_GRACE, gone).await.ok();
    }

    /// The last line, to stand behind an error.
    pub(super) fn last_words(&self) -> String {
        let now = self.shared.now.lock();
        if now.last.is_empty() { String::new() } else { format!(": {}", now.last) }
    }
}

/// Reads lines; `_reading` is gone when it ends.
async fn read(
    output: impl AsyncRead + Unpin,
    shared: Arc<Shared>,
    _reading: Arc<watch::Sender<()>>,
) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // An error is the end too: a pipe has no other.
    while let Ok(chunk) = output.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let room = limits::FUNCTION_LINE_BYTES_MAX - line.len();
        let until = chunk.iter().position(|byte| *byte == b'\n');
        let taken = until.unwrap_or(chunk.len()).min(room);
        line.extend_from_slice(&chunk[..taken]);
        let is_whole = until.is_some_and(|until| until == taken);
        output.consume(taken + usize::from(is_whole));
        if is_whole || line.len() == limits::FUNCTION_LINE_BYTES_MAX {
            shared.write(&line);
            line.clear();
        }
    }
    shared.write(&line);
}

impl Shared {
    fn write(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let mut now = self.now.lock();
        line.chars()
            .take(limits::HOOK_ERROR_CHARS_MAX)
            .collect::<String>()
            .clone_into(&mut now.last);
        if now.second.elapsed() >= Duration::from_secs(1) {
            (now.second, now.lines) = (Clock::instant(), 0);
        }
        now.lines = now.lines.saturating_add(1);
        let (hook, request_id) = (&self.hook, now.request_id.as_str());
        match now.lines.cmp(&limits::FUNCTION_LINES_A_SECOND_MAX) {
            std::cmp::Ordering::Less => tracing::info!(%hook, request_id, "{line}"),
            std::cmp::Ordering::Equal => tracing::warn!(
                %hook,
                request_id,
                "the function prints too much: what follows within this second is left out"
            ),
            std::cmp::Ordering::Greater => {}
        }
    }
}
