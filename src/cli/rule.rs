//! `tidegate rule`: the rules of a running gateway, listed, shown, enabled and disabled.

use std::io::Write;

use clap::Args;
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use super::Outcome;
use super::data_folder::DataArgs;
use super::gateway_api::Gateway;
use super::listing::Column;
use super::listing::Format;
use super::listing::ListArgs;
use super::listing::write_columns;
use crate::clock::Timestamp;
use crate::rule::switch::Setting;

const EXAMPLES: &str = "\
Examples:
  tidegate rule list
  tidegate rule list --format json | jq '.rules[] | select(.faults > 0).name'
  tidegate rule show overheat
  tidegate rule disable overheat
  tidegate rule enable overheat

A rule that is disabled judges nothing from then on, and what it watched over time is ended, as if its
text said DISABLED. That outlasts restarts and reloads, until it is enabled, its text says the same,
or the rule is gone.";

/// List, show, enable or disable the rules of a running gateway
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RuleArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All rules: what they do, and what they have counted since the start
    List(ListArgs),
    Show(ShowArgs),
    /// Have a rule judge messages, whatever its text says
    Enable(SwitchArgs),
    /// Have a rule judge nothing, whatever its text says
    Disable(SwitchArgs),
}

/// One rule: its text, its counters, the keys it watches
#[derive(Args, Debug)]
struct ShowArgs {
    /// Name of the rule
    name: String,
    #[command(flatten)]
    answer: ListArgs,
}

#[derive(Args, Debug)]
struct SwitchArgs {
    /// Name of the rule
    name: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub(super) fn run(args: &RuleArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::List(args) => list(args, answer)?,
        Command::Show(args) => show(args, answer)?,
        Command::Enable(args) => switch(args, Setting::Enabled, answer)?,
        Command::Disable(args) => switch(args, Setting::Disabled, answer)?,
    }
    Ok(Outcome::Done)
}

fn ask(data: &DataArgs, method: Method, path: &[&str]) -> anyhow::Result<Value> {
    let gateway = Gateway::of(&data.data)?;
    super::runtime()?.block_on(gateway.ask(method, path, None))
}

fn switch(args: &SwitchArgs, setting: Setting, answer: &mut dyn Write) -> anyhow::Result<()> {
    let verb = match setting {
        Setting::Enabled => "enable",
        Setting::Disabled => "disable",
    };
    let rule = ask(&args.data, Method::POST, &["api", "rules", &args.name, verb])?;
    let why = match rule["switched_at"].is_null() {
        true => ", as its text has it",
        false => "",
    };
    writeln!(answer, "{} is {}{why}", args.name, setting.as_str())?;
    Ok(())
}

fn list(args: &ListArgs, answer: &mut dyn Write) -> anyhow::Result<()> {
    let all = ask(&args.data, Method::GET, &["api", "rules"])?;
    if args.format == Format::Json {
        writeln!(answer, "{all}")?;
        return Ok(());
    }
    let rows: Vec<[String; 7]> = all["rules"].as_array().into_iter().flatten().map(row).collect();
    let columns = [
        Column::Left("RULE"),
        Column::Left("STATE"),
        Column::Left("READS"),
        Column::Right("MATCHED"),
        Column::Right("HITS"),
        Column::Right("FAULTS"),
        Column::Left("LAST HIT"),
    ];
    write_columns(answer, columns, &rows)?;
    Ok(())
}

fn row(rule: &Value) -> [String; 7] {
    let [matched, hits, faults] = ["matched", "hits", "faults"].map(|key| rule[key].to_string());
    let name = text(&rule["name"]);
    [name, state(rule), reads(rule), matched, hits, faults, time(&rule["last_hit"])]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The state, and whether somebody has set it against the text.
fn state(rule: &Value) -> String {
    let state = text(&rule["state"]);
    if rule["switched_at"].is_null() {
        return state;
    }
    if state == "disabled" {
        format!("{state} by hand")
    } else {
        format!("{state}, enabled by hand")
    }
}

fn reads(rule: &Value) -> String {
    if let Some(stream) = rule["stream"]["name"].as_str() {
        return format!("STREAM {stream}");
    }
    let topics = rule["topics"].as_array().into_iter().flatten();
    topics.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn time(at: &Value) -> String {
    at.as_i64().map_or_else(|| "-".to_owned(), |at| Timestamp::from_millis(at).to_string())
}

fn show(args: &ShowArgs, answer: &mut dyn Write) -> anyhow::Result<()> {
    let rule = ask(&args.answer.data, Method::GET, &["api", "rules", &args.name])?;
    if args.answer.format == Format::Json {
        writeln!(answer, "{rule}")?;
        return Ok(());
    }
    writeln!(answer, "{}  {}  {}", args.name, state(&rule), text(&rule["file"]))?;
    if !rule["switched_at"].is_null() {
        writeln!(answer, "since {}", time(&rule["switched_at"]))?;
    }
    let count = |key: &str| format!("{} {key}", rule[key]);
    let counted = ["matched", "hits", "unknown", "faults"].map(count).join(", ");
    writeln!(answer, "{counted}; last hit {}", time(&rule["last_hit"]))?;
    for (code, faults) in rule["faults_by_code"].as_object().into_iter().flatten() {
        writeln!(answer, "  {faults} {code}")?;
    }
    if let Some(message) = rule["last_fault"]["message"].as_str() {
        // It may have a piece of a payload in it, which is not to steer a terminal.
        let message: String = message.chars().filter(|c| !c.is_control()).collect();
        writeln!(answer, "last fault {}: {message}", time(&rule["last_fault"]["at"]))?;
    }
    if rule["watches"] == true {
        write_keys(&rule["holds"], answer)?;
    }
    writeln!(answer, "\n{}", text(&rule["text"]))?;
    Ok(())
}

/// The keys of a rule with WHEN, as many as the gateway tells.
fn write_keys(holds: &Value, answer: &mut dyn Write) -> anyhow::Result<()> {
    for (kind, until) in [("firing", "fired_at"), ("pending", "due")] {
        let keys = holds[kind].as_array().map(Vec::as_slice).unwrap_or_default();
        let total = holds[format!("{kind}_total")].as_u64().unwrap_or_default();
        writeln!(answer, "{total} {kind}")?;
        for key in keys {
            let (since, until_at) = (time(&key["since"]), time(&key[until]));
            let word = if kind == "firing" { "fired" } else { "due" };
            writeln!(answer, "  {}  true since {since}, {word} {until_at}", key["key"])?;
        }
    }
    Ok(())
}
