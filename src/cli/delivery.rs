//! `tidegate delivery`: the deliveries of a running gateway, listed and flushed.

use std::io::Write;

use clap::Args;
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use super::Outcome;
use super::data_folder::DataArgs;
use super::gateway_api;
use super::listing::Column;
use super::listing::Format;
use super::listing::ListArgs;
use super::listing::write_columns;

const EXAMPLES: &str = "\
Examples:
  tidegate delivery list
  tidegate delivery list --format json | jq '.deliveries[] | select(.errors > 0)'
  tidegate delivery flush lake

A flush writes what waits now, in all partitions, whatever its size and age.";

/// List or flush the deliveries of a running gateway
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeliveryArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All deliveries: what waits, what has left, the last error
    List(ListArgs),
    Flush(FlushArgs),
}

/// Write what waits in a delivery, and wait until it is written
#[derive(Args, Debug)]
struct FlushArgs {
    /// Name of the delivery
    delivery: String,
    #[command(flatten)]
    data: DataArgs,
}

pub(super) fn run(args: &DeliveryArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::List(args) => list(args, answer)?,
        Command::Flush(args) => {
            let gateway = gateway_api::Gateway::of(&args.data.data)?;
            let path = ["api", "deliveries", &args.delivery, "flush"];
            super::runtime()?.block_on(gateway.ask(Method::POST, &path, None))?;
            writeln!(answer, "flushed {}", args.delivery)?;
        }
    }
    Ok(Outcome::Done)
}

fn list(args: &ListArgs, answer: &mut dyn Write) -> anyhow::Result<()> {
    let gateway = gateway_api::Gateway::of(&args.data.data)?;
    let path = ["api", "deliveries"];
    let all = super::runtime()?.block_on(gateway.ask(Method::GET, &path, None))?;
    if args.format == Format::Json {
        writeln!(answer, "{all}")?;
        return Ok(());
    }
    let row = |delivery: &Value| {
        let name = delivery["name"].as_str().unwrap_or("-").to_owned();
        let error = delivery["last_error"]["message"].as_str().unwrap_or("-").to_owned();
        let [buffers, records, bytes, files] =
            ["buffers", "buffered_records", "buffered_bytes", "files"]
                .map(|key| delivery[key].to_string());
        [name, buffers, records, bytes, files, error]
    };
    let rows: Vec<[String; 6]> =
        all["deliveries"].as_array().into_iter().flatten().map(row).collect();
    let columns = [
        Column::Left("NAME"),
        Column::Right("BUFFERS"),
        Column::Right("WAITING"),
        Column::Right("BYTES"),
        Column::Right("FILES"),
        Column::Left("LAST ERROR"),
    ];
    write_columns(answer, columns, &rows)?;
    Ok(())
}
