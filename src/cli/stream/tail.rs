//! `tidegate stream tail`: records as NDJSON, and then the new ones as they are committed.
//!
//! The shards of a stream have no order among each other; what is printed goes by arrival time, as
//! far as it is there when it is read, and keeps each shard's own order. A shard that was split off or merged comes
//! after what its parents have.

use std::collections::VecDeque;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::configuration::ConfigArgs;
use super::super::data_folder::DataArgs;
use super::Outcome;
use crate::cli::kinesis_api::EndpointArgs;
use crate::cli::kinesis_api::KinesisApi;
use crate::cli::time::parse_time;
use crate::json_line::json_line;
use crate::stream::Cursor;
use crate::stream::Reader;
use crate::stream::Record;
use crate::stream::ShardId;
use crate::stream::StartAt;

/// How often the database is asked whether something was committed; asking reads no page.
const POLL_PERIOD: Duration = Duration::from_millis(50);
/// Records read from a shard at once.
const PAGE_RECORDS: usize = 1000;
/// Bytes read from a shard at once.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Print the records of a stream as they are committed
#[derive(Args, Debug)]
pub(super) struct TailArgs {
    /// Name of the stream
    name: String,
    /// Where to begin: trim-horizon (the oldest), latest, or a time (RFC 3339, or milliseconds since
    /// the epoch)
    #[arg(long, value_name = "trim-horizon|latest|TIME", default_value = "latest")]
    from: From,
    /// End at the newest record
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct From(StartAt);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "trim-horizon" => return Ok(From(StartAt::TrimHorizon)),
            "latest" => return Ok(From(StartAt::Latest)),
            _ => {}
        }
        let time =
            parse_time(text).map_err(|error| format!("{error}, or trim-horizon, or latest"))?;
        Ok(From(StartAt::AtTimestamp(time)))
    }
}

/// Where a record stands, as a line of the answer says it.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Line<'a> {
    /// Decimal.
    pub(super) sequence_number: &'a str,
    /// As given.
    pub(super) partition_key: &'a str,
    /// `shardId-000000000000`
    pub(super) shard: &'a str,
    /// Arrival, milliseconds since the epoch.
    pub(super) t: i64,
}

/// A line of the answer.
#[derive(Serialize)]
struct WholeLine<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

pub(super) fn run(args: &TailArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    if let Some(url) = &args.endpoint.endpoint {
        let api = KinesisApi::at(url.clone())?;
        let (start, follows) = (args.from.0, !args.no_follow);
        let tail = super::remote::tail(&api, &args.name, start, follows, answer);
        return super::super::runtime()?.block_on(tail);
    }
    let reader = super::decrypting(&args.data, &args.config)?;
    let runtime = super::super::runtime()?;
    // Set by Ctrl-C, so that a long answer can be ended in the middle.
    let stop = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let mut interrupt = Interrupt::listen(Arc::clone(&stop))?;
        let mut merge = Merge::open(&reader, &args.name, args.from.0)?;
        let mut polls = tokio::time::interval(POLL_PERIOD);
        loop {
            let version = reader.version()?;
            while !stop.load(Ordering::Relaxed)
                && let Some(record) = merge.next(&reader)?
            {
                print(&record, answer)?;
            }
            answer.flush()?;
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::Interrupted);
            }
            if args.no_follow {
                return Ok(Outcome::Done);
            }
            merge.resume(&reader)?;
            while reader.version()? == version {
                tokio::select! {
                    _ = polls.tick() => {}
                    () = interrupt.wait() => return Ok(Outcome::Interrupted),
                }
            }
        }
    })
}

/// Ctrl-C, noticed both while waiting and while printing.
struct Interrupt {
    noticed: tokio::task::JoinHandle<()>,
}

impl Interrupt {
    fn listen(stop: Arc<AtomicBool>) -> anyhow::Result<Interrupt> {
        let kind = tokio::signal::unix::SignalKind::interrupt();
        let mut signal = tokio::signal::unix::signal(kind).context("cannot listen for Ctrl-C")?;
        let noticed = tokio::spawn(async move {
            signal.recv().await;
            stop.store(true, Ordering::Relaxed);
        });
        Ok(Interrupt { noticed })
    }

    async fn wait(&mut self) {
        // The task does not fail; if it did, ending would be right all the same.
        (&mut self.noticed).await.ok();
    }
}

/// The shards of a stream, merged by arrival time.
struct Merge {
    stream: String,
    /// In order of their numbers.
    shards: Vec<OpenShard>,
}

struct OpenShard {
    cursor: Cursor,
    parents: [Option<ShardId>; 2],
    read: VecDeque<Record>,
    is_at_end: bool,
}

impl Merge {
    fn open(reader: &Reader, stream: &str, start: StartAt) -> anyhow::Result<Merge> {
        let mut merge = Merge { stream: stream.to_owned(), shards: Vec::new() };
        merge.add(reader, start)?;
        Ok(merge)
    }

    /// Adds the shards that are not known yet.
    fn add(&mut self, reader: &Reader, start: StartAt) -> anyhow::Result<()> {
        let known = self.shards.last().map(|last| last.cursor.shard());
        for shard in reader.shards(&self.stream)? {
            if known.is_none_or(|known| shard.id > known) {
                let (cursor, parents) = (reader.cursor(&shard, start)?, shard.parents);
                let read = VecDeque::new();
                self.shards.push(OpenShard { cursor, parents, read, is_at_end: false });
            }
        }
        Ok(())
    }

    /// The next record; `None` when every shard has been read to its end.
    fn next(&mut self, reader: &Reader) -> anyhow::Result<Option<Record>> {
        for shard in &mut self.shards {
            if shard.read.is_empty() && !shard.is_at_end {
                let page = reader.read(&mut shard.cursor, PAGE_RECORDS, PAGE_BYTES)?;
                shard.is_at_end = page.records.is_empty();
                shard.read.extend(page.records);
            }
        }
        let unread = self.shards.iter().filter(|shard| !shard.read.is_empty());
        let unread: Vec<ShardId> = unread.map(|shard| shard.cursor.shard()).collect();
        let is_next = |shard: &&mut OpenShard| {
            !shard.read.is_empty()
                && !shard.parents.iter().flatten().any(|parent| unread.contains(parent))
        };
        let earliest = self
            .shards
            .iter_mut()
            .filter(is_next)
            .min_by_key(|shard| shard.read.front().map(|record| record.at));
        Ok(earliest.and_then(|shard| shard.read.pop_front()))
    }

    /// Looks again at shards that were read to their end, and at those that are new.
    fn resume(&mut self, reader: &Reader) -> anyhow::Result<()> {
        for shard in &mut self.shards {
            shard.is_at_end = false;
        }
        self.add(reader, StartAt::TrimHorizon)
    }
}

fn print(record: &Record, answer: &mut dyn Write) -> anyhow::Result<()> {
    let number = record.sequence_number;
    let line = Line {
        sequence_number: &number.to_string(),
        partition_key: &record.partition_key,
        shard: &number.shard().to_string(),
        t: record.at.as_millis(),
    };
    write_line(&line, &record.data, answer)
}

/// Writes a record as a line.
pub(super) fn write_line(
    line: &Line<'_>,
    data: &[u8],
    answer: &mut dyn Write,
) -> anyhow::Result<()> {
    let json = json_line(data);
    let line = WholeLine {
        line: *line,
        data: json.as_deref(),
        data_base64: json.is_none().then(|| STANDARD.encode(data)),
    };
    serde_json::to_writer(&mut *answer, &line).map_err(std::io::Error::from)?;
    writeln!(answer)?;
    Ok(())
}
