//! `tidegate simulate`: rules over recorded telemetry, in virtual time.
//!
//! A thread reads ahead; the rest happens on the calling thread, in the order of the lines: timers due
//! by a line's time, then the line, each record written as it comes. The engine and the state of its rules are
//! the gateway's own. Nothing is carried out: a record is all that becomes of a hit. On a terminal the
//! records are added up to a table instead.

mod lines;
mod record;
mod simulation;
mod summary;

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use clap::ValueEnum;

use super::Outcome;
use super::WrongUsage;
use super::progress::Progress;
use super::report::tell;
use super::rule_set;
use super::time::parse_time;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::diagnostic::nearest;
use crate::diagnostic::render::counted;
use crate::engine::Engine;
use crate::recording::MalformedLine;
use crate::recording::Recording;
use crate::rule::Rule;
use simulation::Simulation;
use summary::in_words;

/// Lines passed over that are named one by one; the rest are counted.
const PASSED_OVER_NAMED_MAX: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  tidegate simulate --rules rules/lab.rule --input monday.ndjson.gz
  tidegate simulate --rules rules/ --input - < monday.ndjson | jq 'select(.event == \"firing\")'
  tidegate simulate --rules rules/ --input year.ndjson.gz --rule overheat --from 2026-05-01T00:00:00Z

A line of the input is {\"t\":<ms>,\"topic\":\"…\",\"payload\":<JSON>} with an optional \"client_id\";
\"payload_base64\" takes the place of \"payload\" for bytes. Time is the line's t: timers due up to the
last line's t fire, no later ones.

The answer is a line a record, or on a terminal a table of what each rule did. A line is
{\"t\",\"rule\",\"event\":\"match|firing|cleared|window\",\"topic\",\"output\"}, for firing and cleared also \"key\", \"since\", \"fired_at\", \"samples\", for cleared also \"reason\", for window
\"key\", \"start\", \"end\", \"messages\". Output that is
not JSON stands in \"output_base64\". No action has an effect: what a rule would REPUBLISH reaches
no rule, and a hook need not be declared.

Lines that are not understood, or whose t is before that of a line before them, are named on
standard error and passed over; the exit code is then 1.";

/// Run rules over recorded telemetry, as fast as it goes
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct SimulateArgs {
    /// Rule file, or folder of rule files
    #[arg(long, value_name = "PATH")]
    rules: PathBuf,
    /// Recorded lines (NDJSON, plain or gzip); - reads standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Only this rule; may be given again
    #[arg(long = "rule", value_name = "NAME")]
    only: Vec<String>,
    /// Pass over lines before this time (RFC 3339, or milliseconds since the epoch)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// End at this time: later lines are not read, timers due until then fire
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    /// Records or a table; without it a table on a terminal, records elsewhere
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Ndjson,
    Table,
}

/// Lines that took no part.
#[derive(Debug, Default)]
struct PassedOver {
    count: u64,
    /// The times of the first and the last line outside of what was asked for.
    outside: Option<(Timestamp, Timestamp)>,
}

impl PassedOver {
    fn add(&mut self, line: &MalformedLine, progress: &Progress) {
        self.count += 1;
        if self.count <= PASSED_OVER_NAMED_MAX {
            progress.say(&line.to_string());
        }
    }

    fn add_outside(&mut self, t: Timestamp) {
        self.outside = Some((self.outside.map_or(t, |(first, _)| first), t));
    }
}

/// Runs the command.
pub(super) fn run(args: &SimulateArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let Some(checked) = rule_set::load(&args.rules) else { return Ok(Outcome::Rejected) };
    let rules = wanted(checked.rules, &args.only)?;
    let engine = Engine::new(rules, &Config::default().account_id);
    let format = args
        .format
        .unwrap_or_else(|| if io::stdout().is_terminal() { Format::Table } else { Format::Ndjson });
    let recording = Recording::open(&args.input)?;
    let mut simulation = Simulation::new(engine);
    if format == Format::Table {
        simulation.add_up();
    }
    let mut passed_over = PassedOver::default();
    let started = Clock::instant();
    let lines_read = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&lines_read);
    let (total, done) = (recording.bytes_total(), recording.bytes_read());
    let progress =
        Progress::start(total, done, None, move || counted(shown.load(Ordering::Relaxed), "line"));
    let mut span: Option<(Timestamp, Timestamp)> = None;
    let batches = lines::read_ahead(recording);
    'lines: for batch in &batches {
        lines_read.fetch_add(batch.len() as u64, Ordering::Relaxed);
        for line in batch {
            match (line?, span) {
                (Err(malformed), _) => passed_over.add(&malformed, &progress),
                (Ok(publish), Some((_, last))) if publish.t < last => {
                    let reason =
                        format!("its t, {}, is before {last} of a line before it", publish.t);
                    passed_over.add(&MalformedLine { line: publish.line, reason }, &progress);
                }
                (Ok(publish), _) if args.from.is_some_and(|from| publish.t < from) => {
                    passed_over.add_outside(publish.t);
                }
                (Ok(publish), _) if args.to.is_some_and(|to| publish.t > to) => {
                    passed_over.add_outside(publish.t);
                    break 'lines;
                }
                (Ok(publish), _) => {
                    let t = publish.t;
                    match simulation.step(publish, answer)? {
                        Ok(()) => span = Some((span.map_or(t, |(first, _)| first), t)),
                        Err(malformed) => passed_over.add(&malformed, &progress),
                    }
                }
            }
        }
    }
    if let (Some((_, last)), Some(to)) = (&mut span, args.to) {
        simulation.end(to, answer)?;
        *last = to;
    }
    progress.finish();
    if let Some((_, last)) = span {
        simulation.write_table(last, answer)?;
    }
    // The records come before what is said about them.
    answer.flush()?;
    let took = Clock::instant().duration_since(started);
    summarise(&simulation, span, &passed_over, took);
    Ok(if passed_over.count > 0 { Outcome::Rejected } else { Outcome::Done })
}

/// The rules of the names given; all of them where none is.
fn wanted(rules: Vec<Arc<Rule>>, names: &[String]) -> anyhow::Result<Vec<Arc<Rule>>> {
    for name in names {
        if !rules.iter().any(|rule| &**rule.name() == name.as_str()) {
            let near = nearest(name, rules.iter().map(|rule| &**rule.name()));
            let hint = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            return Err(WrongUsage(format!("there is no rule '{name}'{hint}")).into());
        }
    }
    let is_wanted =
        |rule: &Arc<Rule>| names.is_empty() || names.iter().any(|n| *n == **rule.name());
    Ok(rules.into_iter().filter(is_wanted).collect())
}

fn summarise(
    simulation: &Simulation,
    span: Option<(Timestamp, Timestamp)>,
    passed_over: &PassedOver,
    took: Duration,
) {
    let tally = simulation.tally();
    for ((rule, code), (count, first)) in &tally.faults {
        let (rule, code) = (simulation.name(*rule), code.as_str());
        tell(&format!("rule {rule}: {} of {code}; the first: {first}", counted(*count, "fault")));
    }
    for (rule, count) in simulation.unknown() {
        tell(&format!("rule {rule}: WHEN was UNKNOWN for {}", counted(count, "message")));
    }
    if let (None, Some((first, last))) = (span, passed_over.outside) {
        let read = if first == last { first.to_string() } else { format!("{first} to {last}") };
        tell(&format!("no line is within --from and --to; those that were read are of {read}"));
    }
    let recorded = span.map_or(Duration::ZERO, |(first, last)| last.since(first));
    // Exact below 2^53 messages.
    let rate = tally.messages as f64 / took.as_secs_f64().max(1e-3);
    let mut line = format!(
        "{} over {} in {:.1} s ({rate:.0}/s): {}, {} firing, {} cleared, {}",
        counted(tally.messages, "line"),
        in_words(recorded),
        took.as_secs_f64(),
        counted(tally.matches, "match"),
        tally.firing,
        tally.cleared,
        counted(tally.windows, "window"),
    );
    if passed_over.count > 0 {
        line.push_str(&format!("; {} passed over", counted(passed_over.count, "line")));
    }
    tell(&line);
}
