//! `tidegate run`: the gateway.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::oneshot;

use super::Outcome;
use super::WrongUsage;
use super::configuration;
use super::report;
use crate::config::Config;
use crate::config::HttpAuth;
use crate::config::is_reachable_from_outside;
use crate::demo;
use crate::gateway::Gateway;
use crate::rule_files;
use crate::rule_files::Loaded;

const EXAMPLES: &str = "\
Examples:
  tidegate run --demo                        the rules in ./rules, this machine as a device
  tidegate run --config /etc/tidegate.toml
  tidegate run --mqtt 127.0.0.1:0 --http 127.0.0.1:0     free ports; the ready: line names them

Without --config, tidegate.toml in the working directory is read if it is there; without that,
everything has its default (docs/configuration.md). When all is listening, one line goes to
standard output; further listeners follow by name:
  ready: mqtt=127.0.0.1:1883 http=http://127.0.0.1:8080 devices=mqtts://0.0.0.0:8883
Changed rule files are loaded while it runs; SIGHUP and `tidegate reload` do it at once. SIGTERM or Ctrl-C stops taking messages in, stores what is under way, and ends with exit code 0.";

/// Run the gateway: MQTT broker, rules, streams, deliveries, hooks and dashboard
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// Configuration file [default: tidegate.toml if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Rule file, or folder of .rule files [default: rules]
    #[arg(long, value_name = "PATH")]
    rules: Option<PathBuf>,
    /// Folder of everything durable [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where MQTT clients connect [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<SocketAddr>,
    /// Where dashboard and API listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Publish this machine's own telemetry every second to demo/host/telemetry
    #[arg(long)]
    demo: bool,
}

impl RunArgs {
    /// The flags over what the file says.
    fn apply_to(&self, mut config: Config) -> Result<Config, WrongUsage> {
        if let Some(path) = &self.rules {
            config.rules.path.clone_from(path);
        }
        if let Some(data) = &self.data {
            config.data_dir.clone_from(data);
        }
        if let Some(listen) = self.mqtt {
            let is_asked = !config.access.auth.methods.is_empty();
            refuse_exposure("mqtt", listen, is_asked || config.mqtt.allow_anonymous)?;
            config.mqtt.listen = listen;
            config.mqtt.is_open = true;
        }
        if let Some(listen) = self.http {
            let is_asked = config.http.auth != HttpAuth::None;
            refuse_exposure("http", listen, is_asked || config.http.allow_anonymous)?;
            config.http.listen = listen;
        }
        if self.demo && !config.mqtt.is_open {
            let why = "--demo publishes to the embedded broker, which [broker] external replaces; \
                       set listen under [mqtt] to have both";
            return Err(WrongUsage(why.to_owned()));
        }
        Ok(config)
    }
}

/// Runs the command.
pub(super) fn run(args: &RunArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let Some(config) = configuration::load(args.config.as_deref())? else {
        return Ok(Outcome::Rejected);
    };
    let config = args.apply_to(config)?;
    let Some(loaded) = load_rules(&config) else {
        return Ok(Outcome::Rejected);
    };
    let runtime = super::runtime()?;
    let ended = runtime.block_on(serve(config, loaded, args.demo, answer));
    // What still blocks (a read of this machine's sensors, say) ends with the process.
    runtime.shutdown_background();
    ended.map(|()| Outcome::Done)
}

/// The rules, all of them checked. `None`: some are wrong, and standard error says why. Warnings are
/// told too; notes are for `tidegate check`.
fn load_rules(config: &Config) -> Option<Loaded> {
    let loaded = rule_files::load(std::slice::from_ref(&config.rules.path), config);
    report::tell_problems(&loaded);
    (!loaded.checked.has_errors()).then_some(loaded)
}

async fn serve(
    config: Config,
    loaded: Loaded,
    has_demo: bool,
    answer: &mut dyn Write,
) -> anyhow::Result<()> {
    // Before anything is taken in, so that no signal finds the gateway without a handler.
    let mut stop = StopSignals::listen().context("cannot listen for signals")?;
    let mut reload = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    // A disk that is full may hold up the start for as long as it likes. Nothing was acknowledged
    // then, so there is nothing to drain.
    let mut gateway = tokio::select! {
        started = Gateway::start(config, loaded) => started?,
        () = stop.recv() => return Ok(()),
    };
    let mqtt = gateway.mqtt();
    let shown = mqtt.map_or_else(|| "off".to_owned(), |address| address.to_string());
    write!(answer, "ready: mqtt={shown} http=http://{}", gateway.http())?;
    for (name, protocol, address) in gateway.listeners() {
        write!(answer, " {name}={protocol}://{address}")?;
    }
    writeln!(answer)?;
    answer.flush()?;
    let (end_demo, demo_ended) = oneshot::channel::<()>();
    let device = mqtt
        .filter(|_| has_demo)
        .map(|address| tokio::spawn(demo::run(address, async { drop(demo_ended.await) })));
    let failed = loop {
        tokio::select! {
            () = stop.recv() => break None,
            error = gateway.failed() => break Some(error),
            Some(()) = reload.recv() => gateway.reload(),
        }
    };
    drop(end_demo);
    if let Some(device) = device {
        drop(device.await);
    }
    gateway.shutdown().await?;
    failed.map_or(Ok(()), Err)
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: the gateway is draining"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: the gateway is draining"),
        }
    }
}

/// The file's own addresses were checked with it; a flag must not be the way round.
fn refuse_exposure(section: &str, listen: SocketAddr, is_allowed: bool) -> Result<(), WrongUsage> {
    if is_reachable_from_outside(listen) && !is_allowed {
        return Err(WrongUsage(format!(
            "--{section} {listen} is reachable from other machines, and nobody has to log in; \
             in a network you trust, set allow_anonymous = true under [{section}] in tidegate.toml"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: RunArgs,
    }

    fn applied(flags: &[&str], config: Config) -> Result<Config, WrongUsage> {
        let line = [&["run"], flags].concat();
        Alone::try_parse_from(line).unwrap().args.apply_to(config)
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = ["--rules", "a", "--data", "b", "--mqtt", "127.0.0.1:1", "--http", "[::1]:0"];
        let config = applied(&flags, Config::default()).unwrap();
        assert_eq!(config.rules.path, PathBuf::from("a"));
        assert_eq!(config.data_dir, PathBuf::from("b"));
        assert_eq!(config.mqtt.listen, "127.0.0.1:1".parse().unwrap());
        assert_eq!(config.http.listen, "[::1]:0".parse().unwrap());
        assert_eq!(applied(&[], Config::default()).unwrap(), Config::default());
    }

    #[test]
    fn a_flag_does_not_open_the_gateway_to_the_network_unasked() {
        for flags in [["--mqtt", "0.0.0.0:1883"], ["--http", "[::]:80"]] {
            let error = applied(&flags, Config::default()).unwrap_err().to_string();
            assert!(error.contains("allow_anonymous"), "{error}");
            let mut trusting = Config::default();
            trusting.mqtt.allow_anonymous = true;
            trusting.http.allow_anonymous = true;
            assert!(applied(&flags, trusting).is_ok());
        }
    }
}
