//! `tidegate stream verify`: whether what is stored of the streams is whole.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::super::configuration::ConfigArgs;
use super::super::listing::Format;
use super::super::listing::ListArgs;
use super::super::progress::Progress;
use super::Outcome;
use crate::diagnostic::render::counted;
use crate::lease;
use crate::storage::Storage;
use crate::storage::StorageError;
use crate::stream::Aspect;
use crate::stream::Finding;
use crate::stream::Reader;
use crate::stream::Verified;
use crate::stream::Watch;

/// Findings that are told one by one; the rest are counted.
const TOLD_MAX: u64 = 1000;
/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

const VERIFY_HELP: &str = "\
Reads everything and changes nothing; runs beside a gateway or without one. Checks SQLite's pages and
indexes, the checksum and the form of each block, block numbers without gaps, running totals, hash
keys, shards and their parents, where rules stand that read a stream, registered consumers, retention,
and the tables of leases. Goes on behind what is damaged.

Exit code 0 when all is whole, 1 when something is damaged, 3 when it could not be checked. Records
that are kept for too long are a warning: a gateway deletes them within minutes of running.";

/// Check what is stored of all streams, or of one
#[derive(Args, Debug)]
#[command(after_help = VERIFY_HELP)]
pub(super) struct VerifyArgs {
    /// Name of the stream; all of them when not given
    name: Option<String>,
    /// Leave out SQLite's check of the whole database, which reads every page
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What was found, as it is found.
struct Report<'a> {
    format: Format,
    answer: &'a mut dyn Write,
    /// The first that writing answered.
    failed: Option<std::io::Error>,
    /// Of JSON.
    told: Vec<Value>,
    errors: u64,
    warnings: u64,
    /// Bytes looked at.
    done: Arc<AtomicU64>,
}

impl Watch for Report<'_> {
    fn found(&mut self, finding: Finding) {
        let level = if finding.aspect.is_damage() { "error" } else { "warning" };
        match finding.aspect.is_damage() {
            true => self.errors += 1,
            false => self.warnings += 1,
        }
        if self.errors + self.warnings > TOLD_MAX {
            return;
        }
        match self.format {
            Format::Text => {
                if let Err(error) = writeln!(self.answer, "{level}: {finding}") {
                    self.failed.get_or_insert(error);
                }
            }
            Format::Json => self.told.push(finding_json(level, &finding)),
        }
    }

    fn read(&mut self, verified: &Verified) {
        self.done.store(verified.bytes, Ordering::Relaxed);
    }
}

/// Runs the command.
pub(super) fn run(args: &VerifyArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut report = Report {
        format: args.list.format,
        answer,
        failed: None,
        told: Vec::new(),
        errors: 0,
        warnings: 0,
        done: Arc::default(),
    };
    let verified = match Storage::peek(&args.list.data.data) {
        Ok(connection) => {
            let keys = super::keys(&args.list.data, &args.config)?;
            verify(args, &Reader::new(connection.with_keys(keys)), &mut report)?
        }
        // A file that SQLite does not take for a database is a finding, and no failure to look.
        Err(error @ StorageError::Damaged { .. }) => {
            report.found(finding(Aspect::Database, crate::retry::describe(&error)));
            Verified::default()
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(error) = report.failed.take() {
        return Err(error.into());
    }
    report.finish(&verified)
}

/// Of no stream.
fn finding(aspect: Aspect, message: String) -> Finding {
    Finding { aspect, stream: None, shard: None, block: None, record: None, message }
}

fn verify(args: &VerifyArgs, reader: &Reader, report: &mut Report<'_>) -> anyhow::Result<Verified> {
    let name = args.name.as_deref();
    // Only for the bar: what cannot be counted is told of by the check itself.
    let total = reader.stored_bytes(name).ok();
    let done = Arc::clone(&report.done);
    let shown = Arc::clone(&report.done);
    let line = move || format!("{} read", bytes_text(shown.load(Ordering::Relaxed)));
    let progress = Progress::start(total, done, Some(LINE_EVERY), line);
    let checked = reader.verify(name, report).map_err(anyhow::Error::from).and_then(|verified| {
        if args.name.is_none() {
            for message in lease::verify(&args.list.data.peek()?)? {
                report.found(finding(Aspect::Lease, message));
            }
        }
        if !args.quick {
            reader.check_database()?.into_iter().for_each(|finding| report.found(finding));
        }
        Ok(verified)
    });
    progress.finish();
    checked
}

impl Report<'_> {
    fn finish(self, verified: &Verified) -> anyhow::Result<Outcome> {
        let Verified { streams, shards, blocks, records, bytes } = *verified;
        let (errors, warnings) = (self.errors, self.warnings);
        let left_out = (errors + warnings).saturating_sub(TOLD_MAX);
        match self.format {
            Format::Json => {
                let summary = json!({
                    "streams": streams,
                    "shards": shards,
                    "blocks": blocks,
                    "records": records,
                    "bytes": bytes,
                    "errors": errors,
                    "warnings": warnings,
                    "findings": self.told,
                    "findings_left_out": left_out,
                });
                writeln!(self.answer, "{summary}")?;
            }
            Format::Text => {
                if left_out > 0 {
                    writeln!(self.answer, "and {left_out} more")?;
                }
                let counts = [
                    counted(streams, "stream"),
                    counted(shards, "shard"),
                    counted(blocks, "block"),
                    counted(records, "record"),
                    bytes_text(bytes),
                ];
                let verdict = match (errors, warnings) {
                    (0, 0) => "whole".to_owned(),
                    (0, warnings) => format!("whole, {}", counted(warnings, "warning")),
                    (errors, 0) => counted(errors, "error"),
                    (errors, warnings) => {
                        format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"))
                    }
                };
                writeln!(self.answer, "{}: {verdict}", counts.join(", "))?;
            }
        }
        Ok(if errors > 0 { Outcome::Rejected } else { Outcome::Done })
    }
}

fn finding_json(level: &str, finding: &Finding) -> Value {
    json!({
        "level": level,
        "aspect": finding.aspect.as_str(),
        "stream": finding.stream,
        "shard": finding.shard.map(|shard| shard.to_string()),
        "block": finding.block,
        "record": finding.record,
        "message": finding.message,
    })
}

fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..10_000 => counted(bytes, "byte"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
