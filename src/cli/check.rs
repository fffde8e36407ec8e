//! `tidegate check`: everything wrong with rule files, before anything runs.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use super::configuration::ConfigArgs;
use super::listing::Format;
use super::report::tell_findings;
use crate::api;
use crate::config;
use crate::config::LoadError;
use crate::diagnostic::Severity;
use crate::diagnostic::render::Finding;
use crate::rule_files;
use crate::rule_files::Loaded;

const EXAMPLES: &str = "\
Examples:
  tidegate check rules/
  tidegate check rules/lab.rule --config site.toml
  tidegate check rules/ --format json | jq '.[] | select(.severity == \"error\")'

Exit code 0: no errors and no warnings (notes do not count). 1: some.";

/// Check rule files and show all that is wrong with them
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Rule files, or folders of *.rule files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to write the findings: text on standard error, JSON on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
}

pub(super) fn run(args: &CheckArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    // Without a configuration that can be read nothing is known of targets: its errors come alone.
    let (loaded, remarks) = match config::load(args.config.path()) {
        Ok((config, remarks)) => (rule_files::load(&args.paths, &config), remarks),
        Err(LoadError::Rejected(remarks)) => (Loaded::default(), Some(remarks)),
        Err(other) => return Err(other.into()),
    };
    let of_configuration = remarks.iter().flat_map(|remarks| remarks.findings());
    let told: Vec<Finding<'_>> = of_configuration.chain(loaded.findings()).collect();
    let files = loaded.sources.len() + usize::from(remarks.is_some());
    match args.format {
        Format::Json => write_json(&told, answer)?,
        Format::Text => tell_findings(&told, files),
    }
    let is_clean = told.iter().all(|finding| finding.diagnostic.severity == Severity::Note);
    Ok(if is_clean { Outcome::Done } else { Outcome::Rejected })
}

fn write_json(told: &[Finding<'_>], answer: &mut dyn Write) -> anyhow::Result<()> {
    let views: Vec<api::rule_set::Finding> = told.iter().map(api::rule_set::Finding::of).collect();
    serde_json::to_writer_pretty(&mut *answer, &views)?;
    writeln!(answer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &[(&str, &str)], format: Format) -> (Outcome, String) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in rules {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::write(folder.path().join("empty.toml"), "").unwrap();
        let args = CheckArgs {
            paths: vec![folder.path().to_owned()],
            config: ConfigArgs { config: Some(folder.path().join("empty.toml")) },
            format,
        };
        let mut answer = Vec::new();
        let outcome = run(&args, &mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        (outcome, answer.replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn json_names_the_place_in_characters() {
        let text = "CREATE RULE a AS\r\n\tSELECT 'ö', lenght(x) FROM 'a' DO LOG;";
        let (outcome, answer) = check(&[("a.rule", text)], Format::Json);
        assert_eq!(outcome, Outcome::Rejected);
        insta::assert_snapshot!("json_names_the_place_in_characters", answer);
    }

    #[test]
    fn notes_leave_a_set_clean_and_warnings_do_not() {
        let clean = "CREATE RULE a AS SELECT * FROM 'a' DO STREAM s;";
        let (outcome, answer) = check(&[("a.rule", clean)], Format::Json);
        assert_eq!(outcome, Outcome::Done, "{answer}");
        let odd = "CREATE RULE a AS SELECT * FROM 'a' WHERE b > 5 AND b < 3 DO LOG;";
        assert_eq!(check(&[("a.rule", odd)], Format::Text).0, Outcome::Rejected);
        assert_eq!(check(&[], Format::Text).0, Outcome::Rejected, "no rules is worth a word");
    }
}
