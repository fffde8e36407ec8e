//! `tidegate reload`: a running gateway takes its rules and its certificates from disk again.

use std::io::Write;

use anyhow::bail;
use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::Outcome;
use super::gateway_api;
use super::listing::Format;
use super::listing::ListArgs;
use super::report::tell;

const EXAMPLES: &str = "\
Examples:
  tidegate reload
  tidegate reload --data /var/lib/tidegate
  tidegate check rules/ && tidegate reload --format json | jq .changed

Answers when the new rules run. Errors and warnings go to standard error; with errors the rules stay
as they are and the exit code is 1. Certificates of listeners are read again first; one that is bad
leaves the one before it in use.";

/// Have a running gateway load its rule files and certificates again
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    answer: ListArgs,
}

pub(super) fn run(args: &ReloadArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let gateway = gateway_api::Gateway::of(&args.answer.data.data)?;
    let http = gateway.http;
    let runtime = super::runtime()?;
    let nothing = json!({});
    let post = |path: [&'static str; 3]| {
        let (gateway, nothing) = (&gateway, &nothing);
        async move { gateway.send(reqwest::Method::POST, &path, Some(nothing)).await }
    };
    let (_, body) = runtime.block_on(post(["api", "listeners", "reload"]))?;
    let has_bad_certificate = tell_certificates(&body["listeners"]);
    let (status, body) = runtime.block_on(post(["api", "rules", "reload"]))?;
    let refused = &body["reload"];
    let report = if refused.is_object() { refused } else { &body };
    let Some(result) = report["result"].as_str() else {
        let message = body["error"]["message"].as_str().unwrap_or("it gave no reason");
        bail!("the gateway at http://{http} did not reload its rules ({status}): {message}");
    };
    if let Some(drawn) = report["report"].as_str().filter(|drawn| !drawn.is_empty()) {
        tell(drawn);
    }
    let message = report["message"].as_str().unwrap_or_default();
    match (args.answer.format, result) {
        (Format::Json, _) => writeln!(answer, "{report}")?,
        (Format::Text, "applied") => writeln!(answer, "{}", applied(report, message))?,
        (Format::Text, _) => tell(&format!("not reloaded: {message}")),
    }
    match result {
        "applied" if has_bad_certificate => Ok(Outcome::Rejected),
        "applied" => Ok(Outcome::Done),
        "refused" => Ok(Outcome::Rejected),
        _ => bail!("the gateway at http://{http} could not reload its rules: {message}"),
    }
}

/// Says which certificates are no good. Answers whether there is one.
fn tell_certificates(listeners: &Value) -> bool {
    let mut is_told = false;
    for listener in listeners.as_array().into_iter().flatten() {
        if let Some(error) = listener["certificate"]["error"].as_str() {
            let name = listener["name"].as_str().unwrap_or_default();
            tell(&format!("the certificate of listener {name} was not reloaded: {error}"));
            is_told = true;
        }
    }
    is_told
}

fn applied(report: &Value, message: &str) -> String {
    let took = report["took_ms"].as_f64().unwrap_or_default();
    format!("reloaded in {took:.0} ms: {message}")
}
