//! Logs: `tracing` to standard error, as text or JSON lines.
//!
//! A line of text is one line, and what stands in it cannot pass for another or steer a terminal: client
//! identifiers, payloads and names come from outside. Control characters are written as `\n`,
//! `\u{1b}`; here, and so for every field of every line. JSON escapes them by itself.

use std::fmt;
use std::fmt::Write;
use std::io;
use std::str::FromStr;

use clap::Args;
use clap::ValueEnum;
use clap::builder::TypedValueParser;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::format::debug_fn;

/// What is logged when nobody says: by a gateway, and by a command that only looks at rules, where
/// the lines of LOG actions would drown the answer.
pub(super) const GATEWAY_FILTER: &str = "warn,tidegate=info";
pub(super) const QUIET_FILTER: &str = "warn";

#[derive(Args, Clone, Debug)]
pub(super) struct LoggingArgs {
    /// What to log: error, warn, info, debug, trace, off, or per module: warn,tidegate::broker=debug
    #[arg(
        long,
        value_name = "LEVEL",
        global = true,
        display_order = 900,
        value_parser = clap::builder::StringValueParser::new().try_map(parse_filter)
    )]
    log: Option<Filter>,
    /// Form of the log lines
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t = LogFormat::Text,
        global = true,
        display_order = 901
    )]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Directives that [`EnvFilter`] has accepted.
#[derive(Clone, Debug)]
struct Filter(String);

fn parse_filter(text: String) -> Result<Filter, String> {
    // A bare level is about Tidegate; its libraries stay at their warnings.
    let level = tracing_subscriber::filter::LevelFilter::from_str(&text);
    let directives = match level {
        Ok(_) if !text.is_empty() => format!("warn,tidegate={text}"),
        _ => text,
    };
    match EnvFilter::try_new(&directives) {
        Ok(_) => Ok(Filter(directives)),
        Err(error) => Err(error.to_string()),
    }
}

/// Starts logging. `--log` wins over `TIDEGATE_LOG`; a wrong `TIDEGATE_LOG` is reported and passed
/// over, because it may have been set for another version.
pub(super) fn start(args: &LoggingArgs, default: &str) {
    let mut refused = None;
    let filter = args.log.clone().or_else(|| {
        let text = std::env::var("TIDEGATE_LOG").ok().filter(|text| !text.is_empty())?;
        parse_filter(text).map_err(|error| refused = Some(error)).ok()
    });
    let directives = filter.map_or_else(|| default.to_owned(), |filter| filter.0);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(io::stderr)
        .with_ansi(super::report::has_color());
    match args.log_format {
        LogFormat::Text => lines.fmt_fields(debug_fn(write_field).delimited(" ")).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "TIDEGATE_LOG is not understood and passed over");
    }
}

/// A field as the text format has it: the message bare, others as `name=value`.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
        name => write!(writer, "{name}=")?,
    }
    write!(Escaping(writer), "{value:?}")
}

/// Writes control characters as Rust's literals have them.
struct Escaping<'a, W>(&'a mut W);

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    self.0.write_str(piece.get(..at).unwrap_or_default())?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_as_literals() {
        let escaped = |text: &str| {
            let mut out = String::new();
            Escaping(&mut out).write_str(text).unwrap();
            out
        };
        assert_eq!(escaped("a\nb\r\u{1b}[2J\t\u{85}ü"), "a\\nb\\r\\u{1b}[2J\\t\\u{85}ü");
        assert_eq!(escaped("\n"), "\\n");
        assert_eq!(escaped("plain \"text\" \\n"), "plain \"text\" \\n");
    }

    #[test]
    fn a_bare_level_is_about_tidegate_only() {
        assert_eq!(parse_filter("debug".to_owned()).unwrap().0, "warn,tidegate=debug");
        let directives = "error,tidegate::broker=trace";
        assert_eq!(parse_filter(directives.to_owned()).unwrap().0, directives);
        assert!(parse_filter("tidegate=loud".to_owned()).is_err());
    }
}
