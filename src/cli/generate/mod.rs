//! `tidegate generate`: records made up by a template, at a rate, into a stream or over MQTT.
//!
//! One task makes the records that are due, twenty times a second, and hands them to where they go ([`target`]), which
//! has a bounded number under way; a target that is slower than the rate slows it down, and what was missed is not made
//! up for. With `--seed` the same command makes the same records, but for times.

mod expression;
mod target;
mod template;
mod words;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::Outcome;
use super::WrongUsage;
use super::data_folder::DataArgs;
use super::kinesis_api::EndpointArgs;
use super::kinesis_api::KinesisApi;
use super::progress::Progress;
use super::replay::BrokerAddress;
use super::report;
use crate::clock::Clock;
use crate::limits;
use target::Made;
use target::Tally;
use target::Target;
use template::Moment;
use template::Template;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(50);
/// Records a second, at most.
const RATE_MAX: f64 = 1_000_000.0;
/// Records that a dry run prints when it is not told how many.
const EXAMPLES_SHOWN: u64 = 3;

const EXAMPLES: &str = "\
Examples:
  tidegate generate --template '{\"temp\": {{random.number(20,40)}}}' --to stream:lab --rate 1000 --for 1m
  tidegate generate --template-file reading.json --to 'mqtt:lab/{{random.number(9)}}/telemetry' --count 500
  tidegate generate --template '{\"id\": \"{{random.uuid}}\", \"at\": \"{{date.utc}}\"}' --dry-run
  tidegate generate --template '…' --to stream:lab --endpoint https://kinesis.eu-central-1.amazonaws.com

Expressions stand between {{ and }} and are those of the Kinesis Data Generator: random.number(most),
random.number(least, most), random.float(least, most), random.arrayElement([\"a\", \"b\"]), date.now, date.utc,
name.firstName and others; docs/generate.md has all of them.";

/// Send records made up by a template into a stream, or over MQTT
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct GenerateArgs {
    /// The template of a record
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "template_file",
        conflicts_with = "template_file"
    )]
    template: Option<String>,
    /// A file with the template; a newline at its end is no part of it
    #[arg(long, value_name = "FILE")]
    template_file: Option<PathBuf>,
    /// Where records go: stream:NAME, firehose:NAME (a delivery), or mqtt:TOPIC, which is a template too
    #[arg(
        long,
        value_name = "stream:NAME|firehose:NAME|mqtt:TOPIC",
        required_unless_present = "dry_run"
    )]
    to: Option<Destination>,
    /// Records a second
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse_rate)]
    rate: f64,
    /// Stop after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after so long, such as 90s or 10m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Make the same records as another run with this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The template of a stream record's partition key
    #[arg(long, value_name = "TEXT", default_value = "{{random.uuid}}")]
    key: String,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Broker of mqtt:TOPIC
    #[arg(long, value_name = "mqtt://HOST:PORT", default_value = "mqtt://127.0.0.1:1883")]
    broker: BrokerAddress,
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Stream(String),
    Delivery(String),
    Mqtt(String),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("stream", name)) => match crate::stream::check_name(name) {
                Ok(()) => Ok(Destination::Stream(name.to_owned())),
                Err(error) => Err(error.to_string()),
            },
            Some(("mqtt", topic)) if !topic.is_empty() => Ok(Destination::Mqtt(topic.to_owned())),
            Some(("firehose", name)) if !name.is_empty() => {
                Ok(Destination::Delivery(name.to_owned()))
            }
            _ => Err("expected stream:NAME, firehose:NAME or mqtt:TOPIC".to_owned()),
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("expected a number above 0, and no more than {RATE_MAX}")),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let unit = units.iter().find(|(name, _)| *name == unit);
    let millis = unit.and_then(|(_, millis)| digits.parse::<u64>().ok()?.checked_mul(*millis));
    let wrong = || "expected a duration such as 500ms, 90s, 10m, 2h or 1d".to_owned();
    millis.filter(|millis| *millis > 0).map(Duration::from_millis).ok_or_else(wrong)
}

/// What makes records.
struct Maker {
    template: Template,
    /// Partition key, or topic.
    place: Template,
    moment: Moment,
    clock: Clock,
}

impl Maker {
    /// Reads the templates. What is wrong with them is told.
    fn of(args: &GenerateArgs) -> anyhow::Result<Option<Maker>> {
        let text = match (&args.template, &args.template_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path);
                let mut text = text.with_context(|| format!("cannot read {}", path.display()))?;
                if text.ends_with('\n') {
                    text.truncate(text.trim_end_matches(['\r', '\n']).len());
                }
                text
            }
            (None, None) => return Err(WrongUsage("--template or --template-file".into()).into()),
        };
        let (what, place) = match &args.to {
            Some(Destination::Mqtt(topic)) => ("the topic", topic),
            _ => ("--key", &args.key),
        };
        let read = |what: &str, text: &str| {
            let read = Template::parse(text);
            read.map_err(|error| report::tell(&format!("tidegate: {what}: {error}"))).ok()
        };
        let (template, place) = (read("the template", &text), read(what, place));
        let Some((template, place)) = template.zip(place) else { return Ok(None) };
        let seed = args.seed.unwrap_or_else(|| rand::rng().random());
        let clock = Clock::start();
        let moment = Moment { random: StdRng::seed_from_u64(seed), now: clock.now(), sequence: 0 };
        Ok(Some(Maker { template, place, moment, clock }))
    }

    fn make(&mut self) -> Made {
        self.moment.now = self.clock.now();
        self.moment.sequence += 1;
        let data = self.template.render(&mut self.moment);
        Made { place: self.place.render(&mut self.moment), data }
    }
}

/// Runs the command.
pub(super) fn run(args: &GenerateArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let Some(mut maker) = Maker::of(args)? else { return Ok(Outcome::Rejected) };
    if args.dry_run {
        for _ in 0..args.count.unwrap_or(EXAMPLES_SHOWN) {
            let Made { place, data } = maker.make();
            match &args.to {
                Some(Destination::Mqtt(_)) => writeln!(answer, "{place} {data}")?,
                _ => writeln!(answer, "{data}")?,
            }
        }
        return Ok(Outcome::Done);
    }
    let tally = Arc::new(Tally::default());
    let (shown, done) = (Arc::clone(&tally), Arc::clone(&tally.stored));
    let progress = Progress::start(args.count, done, Some(LINE_EVERY), move || shown.so_far());
    let started = Clock::instant();
    let runtime = super::runtime()?;
    let ended = runtime.block_on(generate(args, maker, &tally));
    progress.finish();
    let seconds = Clock::instant().duration_since(started).as_secs_f64();
    writeln!(answer, "{}", tally.summary(seconds))?;
    Ok(match ended? {
        Stop::Interrupt => Outcome::Interrupted,
        Stop::End if tally.lost.load(Relaxed) > 0 => Outcome::Partly,
        Stop::End => Outcome::Done,
    })
}

/// How it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    End,
    Interrupt,
}

async fn generate(args: &GenerateArgs, maker: Maker, tally: &Arc<Tally>) -> anyhow::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut target = match &args.to {
        Some(Destination::Stream(name)) => {
            let api = KinesisApi::open(&args.endpoint, &args.data)?;
            Target::stream(api, name, Arc::clone(tally))
        }
        Some(Destination::Delivery(name)) => {
            let api = KinesisApi::open(&args.endpoint, &args.data)?;
            Target::delivery(api, name, Arc::clone(tally))
        }
        Some(Destination::Mqtt(_)) => Target::mqtt(&args.broker, Arc::clone(tally)),
        None => return Err(WrongUsage("--to says where records go".into()).into()),
    };
    let stop = feed(args, maker, &mut target, &mut interrupt).await?;
    // What was handed over is still sent and acknowledged, unless the user insists.
    tokio::select! {
        landed = target.land() => landed.map(|()| stop),
        _ = interrupt.recv() => Ok(Stop::Interrupt),
    }
}

/// Makes what is due until enough is made.
async fn feed(
    args: &GenerateArgs,
    mut maker: Maker,
    target: &mut Target,
    interrupt: &mut Signal,
) -> anyhow::Result<Stop> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let started = tokio::time::Instant::from_std(Clock::instant());
    let ends = args.duration.and_then(|duration| started.checked_add(duration));
    let mut due = 0.0;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(Stop::Interrupt),
            now = ticks.tick() => now,
        };
        // What a slow target has held up is not made up for, but for a second of it.
        due = f64::min(due + args.rate * TICK.as_secs_f64(), args.rate.max(1.0));
        while due >= 1.0 && left > 0 {
            (due, left) = (due - 1.0, left - 1);
            let made = maker.make();
            let (bytes, most) = match &args.to {
                Some(Destination::Delivery(_)) => {
                    (made.data.len(), limits::FIREHOSE_RECORD_BYTES_MAX)
                }
                _ => (made.data.len() + made.place.len(), limits::STREAM_RECORD_BYTES_MAX),
            };
            if bytes > most {
                anyhow::bail!("record {} has {} bytes", maker.moment.sequence, made.data.len());
            }
            tokio::select! {
                biased;
                sent = target.send(made) => sent?,
                _ = interrupt.recv() => return Ok(Stop::Interrupt),
            }
        }
        target.flush().await?;
        if left == 0 || ends.is_some_and(|ends| now >= ends) {
            return Ok(Stop::End);
        }
    }
}
