//! `tidegate explain`: what a rule does, where, and what it takes.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::Outcome;
use super::configuration;
use super::configuration::ConfigArgs;
use super::listing::Format;
use super::rule_set;
use crate::api::plan::PlanSettings;
use crate::api::plan::RulePlan;
use crate::diagnostic::nearest;
use crate::engine::Engine;
use crate::engine::RuleIndex;

const EXAMPLES: &str = "\
Examples:
  tidegate explain overheat
  tidegate explain overheat --rules site/rules
  tidegate explain overheat --format json | jq '.stages[].steps[].clause'

The rule is compiled as `tidegate run` compiles it. Costs count compiled operations, at most; how long
one takes depends on the machine and the message.";

/// Show what a rule does: topics, fields, state, actions, what runs where
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// Name of the rule
    #[arg(value_name = "RULE")]
    rule: String,
    /// Rule file, or folder of rule files [default: rules.path of the configuration]
    #[arg(long, value_name = "PATH")]
    rules: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to write the answer
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(args: &ExplainArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let Some(config) = configuration::load(args.config.path())? else {
        return Ok(Outcome::Rejected);
    };
    let path = args.rules.as_ref().unwrap_or(&config.rules.path);
    let Some(checked) = rule_set::load(path) else { return Ok(Outcome::Rejected) };
    let place = checked.rules.iter().position(|rule| **rule.name() == *args.rule);
    let Some(place) = place else {
        let names = checked.rules.iter().map(|rule| &**rule.name());
        let near = nearest(&args.rule, names).map(|near| format!("; did you mean {near}?"));
        bail!("{} has no rule '{}'{}", path.display(), args.rule, near.unwrap_or_default());
    };
    let engine = Engine::new(checked.rules, &config.account_id);
    let index = RuleIndex(u32::try_from(place)?);
    let Some(plan) = RulePlan::of(&engine, index, &PlanSettings::of(&config)) else {
        bail!("the rule '{}' was not compiled", args.rule);
    };
    match args.format {
        Format::Text => writeln!(answer, "{plan}")?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *answer, &plan)?;
            writeln!(answer)?;
        }
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r"
CREATE TABLE rooms FROM 'rooms.csv' KEY room;

CREATE RULE plain AS
  SELECT *, 2 * 60 AS two_hours
  FROM 'lab/+/telemetry', 'attic/#'
  WHERE temperature > 20 + 10 AND regexp_matches(name, '^m[0-9]+$')
DO STREAM 'room-${topic(2)}' KEY moteid, LOG
ON ERROR DO DELIVER dead_letters;

CREATE RULE watched DISABLED AS
  SET @limit = limit_c + 1
  SELECT moteid, hold.since AS since
  FROM 'lab/+/telemetry' AS CBOR TIMESTAMP BY ts SECONDS LATENESS 10 SECONDS
  LEFT JOIN rooms ON rooms.room = lower(state.room)
  WHERE NOT isundefined(moteid)
  WHEN temperature > @limit FOR 5 MINUTES PARTITION BY moteid CLEAR WHEN temperature < 28
DO REPUBLISH 'alerts/${moteid}' QOS 1
ON CLEARED DO REPUBLISH 'alerts/all';

CREATE RULE silent AS SELECT 1 AS one FROM 'lab/#' WHEN NO DATA FOR 1 MINUTE DO INVOKE pager;

CREATE RULE elements AS
  SELECT VALUE (SELECT v FROM r.values WHERE v > 3)
  FROM 'lab/+/batch' FOREACH readings AS r WHERE r.ok = TRUE
DO UPSERT latest KEY r.name;

CREATE RULE ingest AS SELECT 1 AS one DO LOG;

CREATE RULE warm AS SELECT 1 AS one FROM 'attic/+/t' WHERE t > 20 DO STREAM alerts, DELIVER lake;
CREATE RULE hot AS SELECT 1 AS one FROM 'attic/+/t' WHERE t > 30 DO INVOKE pager;
CREATE RULE hotter AS SELECT 1 AS one FROM 'attic/+/t' WHERE t > 40 AND ok DO LOG;
CREATE RULE hottest AS SELECT 1 AS one FROM 'attic/+/t' WHERE t > 50 DO LOG;
";
    const CONFIG: &str = r#"
[rules]
hold_keys_max = 5000
[stream.alerts]
shards = 8
[delivery.lake]
compression = "gzip"
[hook.pager]
url = "https://example.com/call?token=secret"
"#;

    fn explain(rule: &str, format: Format) -> anyhow::Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("lab.rule"), RULES).unwrap();
        std::fs::write(at("rooms.csv"), "room,limit_c\nattic,30\ncellar,20\n").unwrap();
        std::fs::write(at("tidegate.toml"), CONFIG).unwrap();
        let args = ExplainArgs {
            rule: rule.to_owned(),
            rules: Some(at("lab.rule")),
            config: ConfigArgs { config: Some(at("tidegate.toml")) },
            format,
        };
        let mut answer = Vec::new();
        assert_eq!(run(&args, &mut answer)?, Outcome::Done);
        let answer = String::from_utf8(answer).unwrap();
        Ok(answer.replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn each_kind_of_rule_is_drawn_as_a_tree() {
        let all = ["plain", "watched", "silent", "elements", "ingest", "warm", "hot"];
        let drawn = all.map(|rule| explain(rule, Format::Text).unwrap());
        let drawn = drawn.join("\n");
        assert!(!drawn.contains("secret"), "{drawn}");
        insta::assert_snapshot!(drawn);
    }

    #[test]
    fn json_says_the_same() {
        insta::assert_snapshot!(explain("watched", Format::Json).unwrap());
    }

    #[test]
    fn a_name_that_is_none_gets_the_near_one() {
        let refused = explain("watch", Format::Text).unwrap_err().to_string();
        assert!(refused.ends_with("has no rule 'watch'; did you mean watched?"), "{refused}");
    }
}
