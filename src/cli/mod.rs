//! The command line: one file a command, and what all commands share.
//!
//! Each command is a clap `Args` struct and a `run` that writes its answer to the writer it is
//! given and ends as an [`Outcome`]. Shared here: parsing, logging, exit codes, and the quiet end
//! when the reader of standard output has gone (`tidegate stream tail alerts | head`).
//!
//! Standard output carries answers only. Logs, diagnostics and progress go to standard error.

mod answer;
mod check;
mod client;
mod configuration;
mod data_folder;
mod delivery;
pub mod eval;
mod explain;
mod gateway_api;
mod generate;
mod import;
mod kinesis_api;
mod listing;
mod logging;
mod passwd;
mod progress;
mod reload;
mod replay;
mod report;
mod rule;
mod rule_set;
mod run;
mod simulate;
mod stream;
mod table;
mod test;
mod time;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

use answer::Answer;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the given text is wrong, or a check failed (the diagnostics are on standard error)
  2    the command line is wrong
  3    the operation failed (the reason is on standard error)
  4    done in part (what was left out is on standard error)
  130  stopped by Ctrl-C

Environment:
  TIDEGATE_LOG  like --log
  NO_COLOR      any value turns colours off";

/// IoT rules-engine gateway: MQTT in, SQL rules decide, matches stored before the acknowledgement.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES, max_term_width = 100)]
struct CommandLine {
    #[command(flatten)]
    logging: logging::LoggingArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Client(client::ClientArgs),
    Delivery(delivery::DeliveryArgs),
    Eval(eval::EvalArgs),
    Explain(explain::ExplainArgs),
    Generate(generate::GenerateArgs),
    Import(import::ImportArgs),
    Passwd(passwd::PasswdArgs),
    Reload(reload::ReloadArgs),
    Replay(replay::ReplayArgs),
    Rule(rule::RuleArgs),
    Simulate(simulate::SimulateArgs),
    Stream(stream::StreamArgs),
    Table(table::TableArgs),
    Test(test::TestArgs),
}

/// How a command ended, when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// The user's text is wrong, or a check failed; why is on standard error. Exit code 1.
    Rejected,
    /// Some of it could not be done; what is on standard error. Exit code 4.
    Partly,
    /// The user stopped it. Exit code 130, as shells give for SIGINT.
    Interrupted,
}

/// A command line that clap accepts and the command cannot. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(pub(crate) String);

const EXIT_REJECTED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 3;
const EXIT_PARTLY: u8 = 4;
const EXIT_INTERRUPTED: u8 = 130;

/// Parses the process's arguments and runs the command.
pub fn main() -> ExitCode {
    let line = match parse(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => {
            // Help and version go to standard output and are no error; a closed pipe is not either.
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let default_filter = match line.command {
        Command::Test(_) => logging::QUIET_FILTER,
        _ => logging::GATEWAY_FILTER,
    };
    logging::start(&line.logging, default_filter);
    let mut answer = Answer::stdout();
    let ended = execute(line.command, &mut answer).and_then(|outcome| {
        answer.flush()?;
        Ok(outcome)
    });
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Rejected) => ExitCode::from(EXIT_REJECTED),
        Ok(Outcome::Partly) => ExitCode::from(EXIT_PARTLY),
        Ok(Outcome::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) if answer::reader_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report::tell(&format!("tidegate: {error:#}"));
            ExitCode::from(if error.is::<WrongUsage>() { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}

fn parse<I, T>(arguments: I) -> Result<CommandLine, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    CommandLine::try_parse_from(arguments)
}

fn execute(command: Command, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    match command {
        Command::Check(args) => check::run(&args, answer),
        Command::Client(args) => client::run(&args, answer),
        Command::Delivery(args) => delivery::run(&args, answer),
        Command::Eval(args) => eval::run(&args, answer),
        Command::Explain(args) => explain::run(&args, answer),
        Command::Generate(args) => generate::run(&args, answer),
        Command::Import(args) => import::run(&args, answer),
        Command::Passwd(args) => passwd::run(&args, answer),
        Command::Run(args) => run::run(&args, answer),
        Command::Reload(args) => reload::run(&args, answer),
        Command::Replay(args) => replay::run(&args, answer),
        Command::Rule(args) => rule::run(&args, answer),
        Command::Simulate(args) => simulate::run(&args, answer),
        Command::Stream(args) => stream::run(&args, answer),
        Command::Table(args) => table::run(&args, answer),
        Command::Test(args) => test::run(&args, answer),
    }
}

/// The runtime of a command that talks to the network.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime did not start")
}

#[cfg(test)]
mod tests;
