//! Logs: `tracing` to standard error, as text or JSON lines.

use std::io;
use std::str::FromStr;

use clap::Args;
use clap::ValueEnum;
use clap::builder::TypedValueParser;
use tracing_subscriber::EnvFilter;

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
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "TIDEGATE_LOG is not understood and passed over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_about_tidegate_only() {
        assert_eq!(parse_filter("debug".to_owned()).unwrap().0, "warn,tidegate=debug");
        let directives = "error,tidegate::broker=trace";
        assert_eq!(parse_filter(directives.to_owned()).unwrap().0, directives);
        assert!(parse_filter("tidegate=loud".to_owned()).is_err());
    }
}
