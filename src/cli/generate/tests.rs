use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    generate: GenerateArgs,
}

fn parse(words: &[&str]) -> Result<GenerateArgs, clap::Error> {
    CommandLine::try_parse_from([&["generate"], words].concat()).map(|line| line.generate)
}

fn dry(words: &[&str]) -> (Outcome, String) {
    let mut out = Vec::new();
    let words = [&["--dry-run"], words].concat();
    let outcome = run(&parse(&words).unwrap(), &mut out).unwrap();
    (outcome, String::from_utf8(out).unwrap())
}

#[test]
fn a_dry_run_prints_what_would_be_sent() {
    let words = ["--template", "{\"n\": {{sequence}}}", "--count", "2"];
    assert_eq!(dry(&words), (Outcome::Done, "{\"n\": 1}\n{\"n\": 2}\n".to_owned()));
    let words = ["--template", "{{sequence}}", "--to", "mqtt:lab/{{sequence}}"];
    assert_eq!(dry(&words).1, "lab/1 1\nlab/2 2\nlab/3 3\n");
    let seeded = |seed| dry(&["--template", "{{random.uuid}} {{random.number}}", "--seed", seed]).1;
    assert_eq!(seeded("5"), seeded("5"));
    assert_ne!(seeded("5"), seeded("6"));
}

#[test]
fn a_template_may_be_a_file_and_a_wrong_one_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    std::fs::write(&path, "{\n}\n").unwrap();
    let words = ["--template-file", path.to_str().unwrap(), "--count", "1"];
    assert_eq!(dry(&words).1, "{\n}\n");
    assert_eq!(dry(&["--template", "{{nothing}}"]), (Outcome::Rejected, String::new()));
    let words = ["--template", "x", "--to", "mqtt:{{nothing}}"];
    assert_eq!(dry(&words).0, Outcome::Rejected);
}

#[test]
fn what_cannot_be_meant_is_a_wrong_usage() {
    for (words, expected) in [
        (
            ["--template", "x", "--to", "firehose:"],
            "expected stream:NAME, firehose:NAME or mqtt:TOPIC",
        ),
        (["--template", "x", "--to", "lab"], "expected stream:NAME, firehose:NAME or mqtt:TOPIC"),
        (["--template", "x", "--to", "stream:a b"], "is not a stream name"),
        (["--template", "x", "--rate", "0"], "a number above 0"),
        (["--template", "x", "--for", "5"], "expected a duration"),
        (["--template", "x", "--for", "0s"], "expected a duration"),
        (["--template", "x", "--count", "0"], "1.."),
    ] {
        let error = parse(&[&words[..], &["--dry-run"]].concat()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(parse(&["--template", "x"]).unwrap_err().to_string().contains("--to"));
    for (text, millis) in [("500ms", 500), ("90s", 90_000), ("2h", 7_200_000)] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
    }
}

#[test]
fn without_a_gateway_a_stream_is_not_reached() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let words = ["--template", "x", "--to", "stream:s", "--data", data];
    let error = run(&parse(&words).unwrap(), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("no gateway runs on"), "{error}");
}
