//! `tidegate client`: the clients of a running gateway, listed and disconnected.

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
  tidegate client list
  tidegate client list --format json | jq '.clients[].client_id'
  tidegate client kick sensor-7

A client that is kicked is told so (MQTT 5: 0x98, administrative action) and may come back at once; take its
user out of the users file (tidegate passwd FILE USER --delete) to keep it away.";

/// List or disconnect the clients of a running gateway
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ClientArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connected clients: who they are, where from, what they subscribe to
    List(ListArgs),
    Kick(KickArgs),
}

/// Disconnect a client
#[derive(Args, Debug)]
struct KickArgs {
    /// Client identifier
    client: String,
    #[command(flatten)]
    data: DataArgs,
}

pub(super) fn run(args: &ClientArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::List(args) => list(args, answer)?,
        Command::Kick(args) => {
            let gateway = gateway_api::Gateway::of(&args.data.data)?;
            let path = ["api", "clients", &args.client];
            super::runtime()?.block_on(gateway.ask(Method::DELETE, &path, None))?;
            writeln!(answer, "kicked {}", args.client)?;
        }
    }
    Ok(Outcome::Done)
}

fn list(args: &ListArgs, answer: &mut dyn Write) -> anyhow::Result<()> {
    let gateway = gateway_api::Gateway::of(&args.data.data)?;
    let path = ["api", "clients"];
    let all = super::runtime()?.block_on(gateway.ask(Method::GET, &path, None))?;
    if args.format == Format::Json {
        writeln!(answer, "{all}")?;
        return Ok(());
    }
    let text = |client: &Value, key: &str| client[key].as_str().unwrap_or("-").to_owned();
    let row = |client: &Value| {
        let subscriptions = client["subscriptions_total"].to_string();
        let [id, principal, address, protocol] =
            ["client_id", "principal", "address", "protocol"].map(|key| text(client, key));
        [id, principal, address, protocol, subscriptions]
    };
    let rows: Vec<[String; 5]> = all["clients"].as_array().into_iter().flatten().map(row).collect();
    let columns = [
        Column::Left("CLIENT"),
        Column::Left("PRINCIPAL"),
        Column::Left("ADDRESS"),
        Column::Left("PROTOCOL"),
        Column::Right("SUBSCRIPTIONS"),
    ];
    write_columns(answer, columns, &rows)?;
    let (shown, total) = (rows.len(), all["total"].as_u64().unwrap_or_default());
    if shown as u64 != total {
        writeln!(answer, "{shown} of {total} clients")?;
    }
    Ok(())
}
