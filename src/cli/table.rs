//! `tidegate table`: look into the tables of latest values, and delete a key.
//!
//! Looking opens the database read-only, so it works beside a running gateway and without one. A
//! running gateway deletes by itself, asked through its HTTP API: it counts the keys of its tables.
//! Where none runs, the key is deleted from the database.

use std::io::Write;

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Outcome;
use super::data_folder::DataArgs;
use super::gateway_api;
use super::listing::Column;
use super::listing::Format;
use super::listing::ListArgs;
use super::listing::write_columns;
use super::stream::NoStage;
use crate::clock::Clock;
use crate::config::JournalConfig;
use crate::journal::Journal;
use crate::json_line::json_line;
use crate::latest;
use crate::latest::Entry;
use crate::latest::Reader;
use crate::storage::LockHolder;
use crate::storage::Storage;
use crate::storage::StorageError;

/// Keys read at once by dump.
const PAGE_KEYS: usize = 500;
/// Bytes of values read at once by dump.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  tidegate table list
  tidegate table get latest 7 | jq .data.temperature
  tidegate table dump latest > latest.ndjson
  tidegate table delete latest 7

A line of get and dump is {\"key\",\"t\",\"data\"}, t being the arrival (epoch ms) of the message that put
the value; a value that is not JSON stands in \"data_base64\".";

/// Look into the tables that UPSERT keeps, or delete a key
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct TableArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All tables and what is in them
    List(ListArgs),
    Get(KeyArgs),
    Dump(DumpArgs),
    Delete(DeleteArgs),
}

/// The last value of a key
#[derive(Args, Debug)]
struct KeyArgs {
    /// Name of the table
    table: String,
    /// The key
    key: String,
    #[command(flatten)]
    data: DataArgs,
}

/// All keys and their last values, a line each
#[derive(Args, Debug)]
struct DumpArgs {
    /// Name of the table
    table: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Delete a key
#[derive(Args, Debug)]
struct DeleteArgs {
    #[command(flatten)]
    of: KeyArgs,
}

fn reader(data: &DataArgs) -> anyhow::Result<Reader> {
    Ok(Reader::new(data.peek()?))
}

/// A line of the answer.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    t: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: &TableArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::List(args) => list(args, answer)?,
        Command::Get(args) => print(&reader(&args.data)?.get(&args.table, &args.key)?, answer)?,
        Command::Dump(args) => dump(args, answer)?,
        Command::Delete(args) => delete(&args.of)?,
    }
    Ok(Outcome::Done)
}

fn list(args: &ListArgs, answer: &mut dyn Write) -> anyhow::Result<()> {
    let tables = reader(&args.data)?.tables()?;
    if args.format == Format::Json {
        let table = |table: &latest::TableSummary| {
            json!({
                "name": table.name,
                "keys": table.keys,
                "bytes": table.bytes,
                "newest_at": table.newest_at.as_millis(),
            })
        };
        let tables: Vec<_> = tables.iter().map(table).collect();
        writeln!(answer, "{}", json!({ "tables": tables }))?;
        return Ok(());
    }
    if tables.is_empty() {
        writeln!(answer, "no tables yet: a rule's UPSERT action makes the one it names")?;
        return Ok(());
    }
    let row = |table: &latest::TableSummary| {
        let latest::TableSummary { name, keys, bytes, newest_at } = table;
        [name.clone(), keys.to_string(), bytes.to_string(), newest_at.to_string()]
    };
    let rows: Vec<[String; 4]> = tables.iter().map(row).collect();
    let columns = [
        Column::Left("NAME"),
        Column::Right("KEYS"),
        Column::Right("BYTES"),
        Column::Left("NEWEST"),
    ];
    write_columns(answer, columns, &rows)?;
    Ok(())
}

fn dump(args: &DumpArgs, answer: &mut dyn Write) -> anyhow::Result<()> {
    let reader = reader(&args.data)?;
    let mut after: Option<String> = None;
    loop {
        let page = match reader.page(&args.table, after.as_deref(), PAGE_KEYS, PAGE_BYTES) {
            // The last key went while the table was read.
            Err(latest::LatestError::Unknown(_)) if after.is_some() => return Ok(()),
            page => page?,
        };
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.key.clone());
        page.iter().try_for_each(|entry| print(entry, answer))?;
    }
}

fn print(entry: &Entry, answer: &mut dyn Write) -> anyhow::Result<()> {
    let json = json_line(&entry.value);
    let line = Line {
        key: &entry.key,
        t: entry.at.as_millis(),
        data: json.as_deref(),
        data_base64: json.is_none().then(|| STANDARD.encode(&entry.value)),
    };
    serde_json::to_writer(&mut *answer, &line).map_err(std::io::Error::from)?;
    writeln!(answer)?;
    Ok(())
}

fn delete(args: &KeyArgs) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    match Storage::open(&args.data.data) {
        Ok(storage) => runtime.block_on(delete_directly(&storage, args)),
        Err(StorageError::InUse { holder: Some(LockHolder { http: Some(http), .. }), .. }) => {
            let path = ["api", "tables", &args.table, &args.key];
            let gateway = gateway_api::Gateway::at(http, &args.data.data);
            let asked = gateway.ask(reqwest::Method::DELETE, &path, None);
            runtime.block_on(asked).map(drop)
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete_directly(storage: &Storage, args: &KeyArgs) -> anyhow::Result<()> {
    let journal = Journal::start(storage, NoStage, &JournalConfig::default(), Clock::start())?;
    let deleted = latest::delete(&storage.executor(), &args.table, &args.key).await;
    journal.shutdown().await?;
    if !deleted? {
        bail!("the table '{}' has no key '{}'", args.table, args.key);
    }
    Ok(())
}
