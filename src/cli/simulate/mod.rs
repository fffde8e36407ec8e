//! `tidegate simulate`: rules over recorded telemetry, in virtual time.
//!
//! A thread reads ahead; the rest happens on the calling thread, in the order of the lines: timers due
//! by a line's time, then the line, each record written as it comes. The engine and the hold table are
//! the gateway's own. Nothing is carried out: a record is all that becomes of a hit.

mod lines;
mod record;
mod simulation;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::report::tell;
use super::rule_set;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::diagnostic::render::counted;
use crate::engine::Engine;
use crate::recording::MalformedLine;
use crate::recording::Recording;
use simulation::Simulation;

/// Lines passed over that are named one by one; the rest are counted.
const PASSED_OVER_NAMED_MAX: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  tidegate simulate --rules rules/lab.rule --input monday.ndjson.gz
  tidegate simulate --rules rules/ --input - < monday.ndjson | jq 'select(.event == \"firing\")'

A line of the input is {\"t\":<ms>,\"topic\":\"…\",\"payload\":<JSON>} with an optional \"client_id\";
\"payload_base64\" takes the place of \"payload\" for bytes. Time is the line's t: timers due up to the
last line's t fire, no later ones.

A line of the answer is {\"t\",\"rule\",\"event\":\"match|firing|cleared\",\"topic\",\"output\"}, for firing
and cleared also \"key\", \"since\", \"fired_at\", \"samples\", for cleared also \"reason\". Output that is
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
}

/// Lines that took no part.
#[derive(Debug, Default)]
struct PassedOver {
    count: u64,
}

impl PassedOver {
    fn add(&mut self, line: &MalformedLine) {
        self.count += 1;
        if self.count <= PASSED_OVER_NAMED_MAX {
            tell(&line.to_string());
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &SimulateArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let Some(rules) = rule_set::load(&args.rules) else { return Ok(Outcome::Rejected) };
    let recording = Recording::open(&args.input)?;
    let mut simulation = Simulation::new(Engine::new(rules, &Config::default().account_id));
    let mut passed_over = PassedOver::default();
    let started = Clock::instant();
    let mut span: Option<(Timestamp, Timestamp)> = None;
    for line in lines::read_ahead(recording).iter().flatten() {
        match (line?, span) {
            (Err(malformed), _) => passed_over.add(&malformed),
            (Ok(publish), Some((_, last))) if publish.t < last => {
                let reason = format!("its t, {}, is before {last} of a line before it", publish.t);
                passed_over.add(&MalformedLine { line: publish.line, reason });
            }
            (Ok(publish), _) => {
                span = Some((span.map_or(publish.t, |(first, _)| first), publish.t));
                simulation.step(publish, answer)?;
            }
        }
    }
    // The records come before what is said about them.
    answer.flush()?;
    let took = Clock::instant().duration_since(started);
    summarise(&simulation, span, &passed_over, took);
    Ok(if passed_over.count > 0 { Outcome::Rejected } else { Outcome::Done })
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
    let recorded = span.map_or(Duration::ZERO, |(first, last)| last.since(first));
    // Exact below 2^53 messages.
    let rate = tally.messages as f64 / took.as_secs_f64().max(1e-3);
    let mut line = format!(
        "{} over {} in {:.1} s ({rate:.0}/s): {}, {} firing, {} cleared",
        counted(tally.messages, "line"),
        in_words(recorded),
        took.as_secs_f64(),
        counted(tally.matches, "match"),
        tally.firing,
        tally.cleared,
    );
    if passed_over.count > 0 {
        line.push_str(&format!("; {} passed over", counted(passed_over.count, "line")));
    }
    tell(&line);
}

/// Two units are enough: `24 h 3 min`.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{:.3} s", duration.as_secs_f64()),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
