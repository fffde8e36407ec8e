//! `tidegate passwd`: adds, changes and deletes users of a users file.

use std::fs;
use std::io;
use std::io::BufRead;
use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use clap::Args;

use super::Outcome;
use super::WrongUsage;
use super::report::tell;
use crate::access::users;

const EXAMPLES: &str = "\
Examples:
  tidegate passwd users alice                       asks for the password, twice
  tidegate passwd users sensor-7 --group sensors    and puts the user into a group
  printf %s \"$PASSWORD\" | tidegate passwd users bob --stdin
  tidegate passwd users bob --delete
  tidegate passwd users --list

The file is made when there is none, readable by its owner only. A running gateway that uses it takes a
change over within a second or two.";

/// Add, change or delete a user of a users file
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct PasswdArgs {
    /// The users file (auth.users_file)
    file: PathBuf,
    /// The user's name
    #[arg(required_unless_present = "list")]
    user: Option<String>,
    /// Read the password from standard input: its first line, without the line break
    #[arg(long)]
    stdin: bool,
    /// A group that the user is in; may be repeated, and replaces the groups there were
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Delete the user
    #[arg(long, conflicts_with_all = ["stdin", "groups"])]
    delete: bool,
    /// List the users and their groups
    #[arg(long, conflicts_with_all = ["user", "stdin", "groups", "delete"])]
    list: bool,
}

pub(super) fn run(args: &PasswdArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let text = match fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound && !args.list && !args.delete => {
            String::new()
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", args.file.display()));
        }
    };
    if let Err(error) = users::Users::parse(&text) {
        tell(&format!("{} is not a users file: {error}", args.file.display()));
        return Ok(Outcome::Rejected);
    }
    let Some(name) = &args.user else {
        for (name, groups) in users::listed(&text) {
            writeln!(answer, "{name}{}{groups}", if groups.is_empty() { "" } else { "\t" })?;
        }
        return Ok(Outcome::Done);
    };
    users::check_name(name).map_err(|error| WrongUsage(error.to_string()))?;
    if args.delete {
        let Some(text) = users::without_user(&text, name) else {
            bail!("{} has no user {name}", args.file.display());
        };
        save(&args.file, &text)?;
        writeln!(answer, "deleted {name}")?;
        return Ok(Outcome::Done);
    }
    let password = if args.stdin { first_line(&mut io::stdin().lock())? } else { asked(name)? };
    let Some(password) = password else {
        tell("the two are not the same; nothing has changed");
        return Ok(Outcome::Rejected);
    };
    let hash = users::hash(&password).map_err(|error| WrongUsage(error.to_string()))?;
    let groups = (!args.groups.is_empty()).then_some(args.groups.as_slice());
    let changed = users::with_user(&text, name, &hash, groups);
    let changed = changed.map_err(|error| WrongUsage(error.to_string()))?;
    let is_new = users::without_user(&text, name).is_none();
    save(&args.file, &changed)?;
    writeln!(answer, "{} {name}", if is_new { "added" } else { "changed" })?;
    Ok(Outcome::Done)
}

fn save(file: &Path, text: &str) -> anyhow::Result<()> {
    users::save(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// What stands before the first line break; bytes, as MQTT has them.
fn first_line(input: &mut impl BufRead) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let bound = crate::limits::PASSWORD_BYTES_MAX as u64 + 3;
    io::Read::take(input, bound)
        .read_until(b'\n', &mut line)
        .context("cannot read the password from standard input")?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(Some(line))
}

/// Asks twice, without showing what is typed. `None`: they differ.
fn asked(name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    if !io::stdin().is_terminal() {
        let help = "there is no terminal to ask for the password on; --stdin reads it";
        return Err(WrongUsage(help.to_owned()).into());
    }
    let ask = |prompt: String| rpassword::prompt_password(prompt).context("cannot ask");
    let first = ask(format!("password of {name}: "))?;
    let second = ask("the same again: ".to_owned())?;
    Ok((first == second).then(|| first.into_bytes()))
}
