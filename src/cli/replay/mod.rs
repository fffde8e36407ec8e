//! `tidegate replay`: recorded telemetry over MQTT, as the devices sent it.
//!
//! One reader (a blocking thread) parses lines; one pacer sends each at its time to the connection
//! of its device; each device's connection keeps its order and its window of unacknowledged
//! messages. Every queue between them is short, so memory does not grow with the recording, and a
//! slow broker slows the reader down. Due times are counted from the first line, so that lateness
//! of one message does not add up.

mod address;
mod device;
mod tally;

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use clap::Args;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;

use super::Outcome;
use super::progress::Progress;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::publish::QoS;
use crate::recording::MalformedLine;
use crate::recording::RecordedPublish;
use crate::recording::Recording;
use crate::recording::RecordingError;
use device::DeviceFailed;

pub(super) use address::BrokerAddress;
pub(super) use device::Fleet;
pub(super) use tally::Tally;

/// Lines read ahead of their time.
const LINES_AHEAD: usize = 256;
/// Malformed lines that are named one by one; the rest are counted.
const MALFORMED_NAMED_MAX: u64 = 20;
/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  tidegate replay monday.ndjson.gz                   ten devices' Monday, in the time it took
  tidegate replay monday.ndjson.gz --speed 60        an hour a minute
  tidegate replay monday.ndjson.gz --speed max --qos 1 --to mqtt://10.0.0.7:1883
  zcat *.gz | grep kitchen | tidegate replay -

A line is {\"t\":<ms>,\"topic\":\"…\",\"payload\":<JSON>} with an optional \"client_id\"; \"payload_base64\"
takes the place of \"payload\" for bytes. Lines that are not understood are named on standard error
and passed over; the exit code is then 1.";

/// Publish recorded telemetry over MQTT, as one client per device
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    /// Recorded lines (NDJSON, plain or gzip); - reads standard input
    file: PathBuf,
    /// Broker to publish to
    #[arg(long, value_name = "mqtt://HOST:PORT", default_value = "mqtt://127.0.0.1:1883")]
    to: BrokerAddress,
    /// How fast: a factor of the recorded time, or max
    #[arg(long, value_name = "X|max", default_value = "1")]
    speed: Speed,
    /// MQTT quality of service: 0, 1 or 2
    #[arg(long, value_name = "QOS", default_value = "1", value_parser = parse_qos)]
    qos: QoS,
}

fn parse_qos(text: &str) -> Result<QoS, String> {
    let bits = text.parse().ok().and_then(QoS::from_bits);
    bits.ok_or_else(|| "expected 0, 1 or 2".to_owned())
}

/// How fast the recorded time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Times(f64),
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(times) if (1e-3..=1e6).contains(&times) => Ok(Speed::Times(times)),
            _ => Err("expected a factor from 0.001 to 1000000, or max".to_owned()),
        }
    }
}

/// When a recorded message is due.
struct Pace {
    speed: Speed,
    start: Option<(Instant, Timestamp)>,
}

impl Pace {
    /// `None`: at once. Lines that go back in time are due at once too.
    fn due_at(&mut self, t: Timestamp) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        let (started_at, first) = *self.start.get_or_insert_with(|| (Clock::instant(), t));
        let after = Duration::try_from_secs_f64(t.since(first).as_secs_f64() / times);
        // Further than the clock counts is for ever; one year says the same to the timer.
        let after = after.unwrap_or(Duration::MAX).min(Duration::from_secs(366 * 24 * 3600));
        started_at.checked_add(after)
    }
}

#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error(transparent)]
    Device(#[from] DeviceFailed),
    #[error("cannot listen for Ctrl-C")]
    Signal(#[source] std::io::Error),
}

/// How the recording was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    End,
    Interrupt,
}

/// Runs the command.
pub(super) fn run(args: &ReplayArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let recording = Recording::open(&args.file)?;
    let tally = Arc::new(Tally::default());
    let shown = tally.clone();
    let (total, done) = (recording.bytes_total(), recording.bytes_read());
    let progress = Progress::start(total, done, Some(LINE_EVERY), move || shown.so_far());
    let started = Clock::instant();
    let runtime = super::runtime()?;
    let ended = runtime.block_on(replay(args, recording, tally.clone(), &progress));
    // A reader blocked on standard input cannot be woken; it ends with the process.
    runtime.shutdown_background();
    progress.finish();
    let seconds = Clock::instant().duration_since(started).as_secs_f64();
    writeln!(answer, "{}", tally.summary(seconds))?;
    match ended? {
        Stop::Interrupt => Ok(Outcome::Interrupted),
        Stop::End if tally.malformed.load(Ordering::Relaxed) > 0 => Ok(Outcome::Rejected),
        Stop::End => Ok(Outcome::Done),
    }
}

async fn replay(
    args: &ReplayArgs,
    recording: Recording,
    tally: Arc<Tally>,
    progress: &Progress,
) -> Result<Stop, ReplayError> {
    // Before anything else, so that no Ctrl-C falls between two waits.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ReplayError::Signal)?;
    let (lines_in, mut lines) = mpsc::channel(LINES_AHEAD);
    tokio::task::spawn_blocking(move || {
        for line in recording {
            if lines_in.blocking_send(line).is_err() {
                break;
            }
        }
    });
    let mut fleet = Fleet::new(args.to.clone(), args.qos, tally.clone());
    let stop = tokio::select! {
        sent = publish_all(&mut lines, args.speed, &mut fleet, &tally, progress) => {
            sent?;
            Stop::End
        }
        _ = interrupt.recv() => Stop::Interrupt,
    };
    drop(lines);
    // What was handed to a device is still published and acknowledged, unless the user insists.
    tokio::select! {
        landed = fleet.land() => {
            landed?;
            Ok(stop)
        }
        _ = interrupt.recv() => Ok(Stop::Interrupt),
    }
}

type ReadLine = Result<Result<RecordedPublish, MalformedLine>, RecordingError>;

async fn publish_all(
    lines: &mut mpsc::Receiver<ReadLine>,
    speed: Speed,
    fleet: &mut Fleet,
    tally: &Tally,
    progress: &Progress,
) -> Result<(), ReplayError> {
    let mut pace = Pace { speed, start: None };
    while let Some(line) = lines.recv().await {
        match line? {
            Ok(publish) => {
                if let Some(due) = pace.due_at(publish.t) {
                    tokio::select! {
                        () = tokio::time::sleep_until(due.into()) => {}
                        failed = fleet.failure() => return Err(failed.into()),
                    }
                }
                fleet.publish(publish).await?;
            }
            Err(malformed) => {
                let before = tally.malformed.fetch_add(1, Ordering::Relaxed);
                if before < MALFORMED_NAMED_MAX {
                    progress.say(&malformed.to_string());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
