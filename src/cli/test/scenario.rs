//! The text of a scenario: steps, and what they are expected to cause.
//!
//! It stands in the `--` lines before a rule file's first statement, or in a file beside it. A line that
//! begins with a time is a step or an expectation; other lines are prose. `== TITLE` begins another
//! scenario of the same file. Every line keeps its place, so that a blessed scenario is the written one
//! with other expectations.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Span;
use jiff::SpanRelativeTo;

use crate::clock::Timestamp;
use crate::diagnostic::nearest;
use crate::publish::QoS;
use crate::rule::target::is_target_name;
use crate::rule_files::is_rule_file;
use crate::topic::TopicName;

/// Words of steps: at the start of a line they want a time before them, as those of expectations do.
const STEP_WORDS: [&str; 5] = ["publish", "put", "tick", "restart", "reload"];
/// Words of expectations, by what they are compared with.
const DECISION_WORDS: [&str; 5] = ["match", "firing", "cleared", "window", "fault"];
const UNKNOWN_WORD: &str = "unknown";
const ACTION_WORDS: [&str; 5] = ["stream", "deliver", "invoke", "republish", "upsert"];

/// Time since the scenario's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offset(Duration);

impl Offset {
    pub(super) const ZERO: Offset = Offset(Duration::ZERO);

    /// From `start` to `at`; nothing happens before the start.
    pub(super) fn between(start: Timestamp, at: Timestamp) -> Offset {
        Offset(at.since(start))
    }

    pub(super) fn after(self, start: Timestamp) -> Timestamp {
        start + self.0
    }

    fn parse(text: &str) -> Result<Offset, String> {
        let wrong = || format!("'{text}' is no time; write it as 0s, 90s, 1h30m, 2d or 500ms");
        let span: Span = text.parse().map_err(|_| wrong())?;
        let duration =
            span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        Duration::try_from(duration).map(Offset).map_err(|_| wrong())
    }
}

impl fmt::Display for Offset {
    /// `0s`, `90s` as `1m30s`: the shortest form that says it whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        let mut left = millis;
        for (length, unit) in units {
            if left >= length {
                write!(f, "{}{unit}", left / length)?;
                left %= length;
            }
        }
        Ok(())
    }
}

/// What a scenario does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `publish TOPIC [client=ID] [qos=N] PAYLOAD`
    Publish { topic: TopicName, client: Option<String>, qos: QoS, payload: Bytes },
    /// `put STREAM key=KEY DATA`: somebody puts a record into a stream.
    Put { stream: String, key: String, data: Bytes },
    /// `tick`: time passes.
    Tick,
    /// `restart DURATION`: the gateway is killed, and back after so long.
    Restart { down: Duration },
    /// `reload FILE` or `reload CREATE RULE …;`: other rules take over.
    Reload(NewRules),
}

/// The rules that take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewRules {
    /// Those of another file, by its path from the scenario's folder.
    File(String),
    /// Those of this text.
    Text(String),
}

/// Kinds of what may be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `match`, `firing`, `cleared`, `window`, `fault`: always compared.
    Decision,
    /// `unknown`: compared where a scenario has one.
    Unknown,
    /// `stream`, `deliver`, `invoke`, `republish`, `upsert`: compared where a scenario has one of them.
    Action,
}

impl Kind {
    pub(super) fn of(word: &str) -> Option<Kind> {
        match word {
            word if DECISION_WORDS.contains(&word) => Some(Kind::Decision),
            UNKNOWN_WORD => Some(Kind::Unknown),
            word if ACTION_WORDS.contains(&word) => Some(Kind::Action),
            _ => None,
        }
    }
}

/// A line of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// For people; also the lines that only set the scenario up.
    Prose(String),
    /// What to do, and the line as written.
    Step(Offset, Step, String),
    /// What must come of it: its first word's kind and the text after the time.
    Expected(Offset, Kind, String),
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// After `==`, or the first line of prose.
    pub(super) title: String,
    /// The time that offsets count from.
    pub(super) start: Timestamp,
    /// All of its lines, the `==` one included.
    pub(super) lines: Vec<Line>,
}

impl Scenario {
    /// Whether it does anything.
    pub(super) fn has_steps(&self) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Step(..)))
    }

    /// The expectations in their order.
    pub(super) fn expected(&self) -> impl Iterator<Item = (Offset, Kind, &str)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Expected(at, kind, text) => Some((*at, *kind, text.as_str())),
            Line::Prose(_) | Line::Step(..) => None,
        })
    }
}

/// What a file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) scenarios: Vec<Scenario>,
    /// Rule files, and folders of them, beside the one that the scenarios are about.
    pub(super) with: Vec<String>,
}

/// A line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct ScenarioError {
    /// From 1, in the file.
    pub(super) line: usize,
    pub(super) reason: String,
}

/// The lines of a rule file's leading comment, without the dashes; and the rest of the file.
pub(super) fn leading_comment(text: &str) -> (Vec<&str>, &str) {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let Some(comment) = line.strip_prefix("--") else { break };
        lines.push(comment.strip_prefix(' ').unwrap_or(comment).trim_end());
        rest = after;
    }
    (lines, rest)
}

/// Reads the scenarios of `lines`, the first of which is line 1 of its file; or finds every line that is
/// wrong.
pub(super) fn parse<'t>(
    lines: impl IntoIterator<Item = &'t str>,
) -> Result<Parsed, Vec<ScenarioError>> {
    let mut parsed = Parsed::default();
    let mut wrong = Vec::new();
    let mut last = Offset::ZERO;
    for (line, text) in (1..).zip(lines) {
        if let Err(reason) = parse_line(text, &mut parsed, &mut last) {
            wrong.push(ScenarioError { line, reason });
        }
    }
    if wrong.is_empty() { Ok(parsed) } else { Err(wrong) }
}

/// Adds a line; `last` is when the step above it has ended.
fn parse_line(text: &str, parsed: &mut Parsed, last: &mut Offset) -> Result<(), String> {
    let Parsed { scenarios, with } = parsed;
    let titled = text.strip_prefix("==").map(str::trim);
    // Prose before the first `==` belongs to its scenario.
    let begins = titled.is_some() && scenarios.last().is_some_and(Scenario::has_steps);
    if scenarios.is_empty() || begins {
        let (title, start) = (String::new(), Timestamp::EPOCH);
        scenarios.push(Scenario { title, start, lines: Vec::new() });
        *last = Offset::ZERO;
    }
    let scenario = scenarios.last_mut().expect("one was pushed before");
    let line = match (titled, added(text)) {
        (Some(title), _) => {
            title.clone_into(&mut scenario.title);
            Line::Prose(text.to_owned())
        }
        (None, Some(path)) => {
            with.push(path.to_owned());
            scenario.lines.push(Line::Prose(text.to_owned()));
            return Ok(());
        }
        (None, None) => read_line(text, scenario)?,
    };
    match &line {
        Line::Step(at, ..) if *at < *last => {
            return Err(format!("{at} is before {last}, the step above it"));
        }
        Line::Step(at, Step::Restart { down }, _) => *last = Offset(at.0 + *down),
        Line::Step(at, ..) => *last = *at,
        Line::Prose(prose) if scenario.title.is_empty() => {
            prose.trim().trim_end_matches('.').clone_into(&mut scenario.title);
        }
        Line::Prose(_) | Line::Expected(..) => {}
    }
    scenario.lines.push(line);
    Ok(())
}

/// The rule file, or the folder, that a line `with FILE` names. Other lines may begin so.
fn added(text: &str) -> Option<&str> {
    let (first, path) = split_word(text.trim());
    let is_path = path.ends_with('/') || is_rule_file(Path::new(path));
    (first == "with" && is_path && !path.contains(char::is_whitespace)).then_some(path)
}

/// A line that neither is a title nor names a rule file.
fn read_line(text: &str, scenario: &mut Scenario) -> Result<Line, String> {
    let (first, rest) = split_word(text.trim());
    if first == "starts" && rest.starts_with(|c: char| c.is_ascii_digit()) {
        let start: jiff::Timestamp =
            rest.parse().map_err(|error| format!("'{rest}' is no time: {error}"))?;
        scenario.start = Timestamp::from_millis(start.as_millisecond());
        return Ok(Line::Prose(text.to_owned()));
    }
    if !first.starts_with(|c: char| c.is_ascii_digit()) {
        if (STEP_WORDS.contains(&first) || Kind::of(first).is_some()) && !rest.is_empty() {
            return Err(format!("'{first}' wants a time before it, as in '5m {first} …'"));
        }
        return Ok(Line::Prose(text.to_owned()));
    }
    let at = Offset::parse(first)?;
    let (word, rest) = split_word(rest);
    if let Some(kind) = Kind::of(word) {
        return Ok(Line::Expected(at, kind, format!("{word} {rest}")));
    }
    let step = match word {
        "publish" => publish(rest)?,
        "put" => put(rest)?,
        "tick" if rest.is_empty() => Step::Tick,
        "tick" => return Err("nothing follows tick".to_owned()),
        "restart" => Step::Restart { down: Offset::parse(rest)?.0 },
        "reload" => Step::Reload(new_rules(rest)?),
        _ => return Err(unknown_word(word)),
    };
    Ok(Line::Step(at, step, text.to_owned()))
}

fn unknown_word(word: &str) -> String {
    let expectations = || DECISION_WORDS.into_iter().chain([UNKNOWN_WORD]).chain(ACTION_WORDS);
    if let Some(near) = nearest(word, STEP_WORDS.into_iter().chain(expectations())) {
        return format!("'{word}' is neither a step nor an expectation; did you mean '{near}'?");
    }
    let (steps, expectations) = (STEP_WORDS.join(", "), expectations().collect::<Vec<_>>());
    let expectations = expectations.join(", ");
    format!("'{word}' is neither a step ({steps}) nor an expectation ({expectations})")
}

fn new_rules(text: &str) -> Result<NewRules, String> {
    let (first, _) = split_word(text);
    match first {
        "" => Err("reload wants a rule file, or rules that begin with CREATE".to_owned()),
        word if word.eq_ignore_ascii_case("create") => Ok(NewRules::Text(text.to_owned())),
        _ => Ok(NewRules::File(text.to_owned())),
    }
}

fn publish(text: &str) -> Result<Step, String> {
    let (topic, mut rest) = split_word(text);
    let topic =
        TopicName::parse(topic).map_err(|error| format!("'{topic}' is no topic name: {error}"))?;
    let (mut client, mut qos) = (None, QoS::AtLeastOnce);
    loop {
        let (word, after) = split_word(rest);
        if let Some(id) = word.strip_prefix("client=") {
            client = Some(id.to_owned());
        } else if let Some(level) = word.strip_prefix("qos=") {
            let bits = level.parse().ok().and_then(QoS::from_bits);
            qos = bits.ok_or_else(|| format!("'{level}' is no QoS; it is 0, 1 or 2"))?;
        } else {
            break;
        }
        rest = after;
    }
    let payload = bytes(rest)?;
    Ok(Step::Publish { topic, client, qos, payload })
}

fn put(text: &str) -> Result<Step, String> {
    let (stream, rest) = split_word(text);
    if !is_target_name(stream) {
        return Err(format!("'{stream}' is no name of a stream"));
    }
    let (key, rest) = split_word(rest);
    let key = key.strip_prefix("key=").filter(|key| !key.is_empty());
    let key = key.ok_or("a record has a key, as in 'put alerts key=mote-7 {}'")?;
    Ok(Step::Put { stream: stream.to_owned(), key: key.to_owned(), data: bytes(rest)? })
}

/// The rest of a line as bytes.
fn bytes(text: &str) -> Result<Bytes, String> {
    let bytes = match text.strip_prefix("base64:") {
        Some(text) => STANDARD
            .decode(text.trim())
            .map_err(|error| format!("'{text}' is no base64: {error}"))?,
        None => text.as_bytes().to_vec(),
    };
    Ok(bytes.into())
}

/// The first word, and what follows it.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(text: &str) -> Offset {
        Offset::parse(text).unwrap()
    }

    #[test]
    fn offsets_read_as_people_write_them_and_print_in_short() {
        for (text, printed) in [
            ("0s", "0s"),
            ("90s", "1m30s"),
            ("1h30m", "1h30m"),
            ("500ms", "500ms"),
            ("2d", "2d"),
            ("1d1ms", "1d1ms"),
        ] {
            assert_eq!(offset(text).to_string(), printed);
            assert_eq!(offset(printed), offset(text));
        }
        for text in ["5", "5q", "1y", "-5s", "m"] {
            assert!(Offset::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_leading_comment_ends_at_the_first_other_line() {
        let (lines, rest) = leading_comment("-- a\n--\n--  b\n\n-- c\nCREATE");
        assert_eq!(lines, ["a", "", " b"]);
        assert_eq!(rest, "\n-- c\nCREATE");
    }

    #[test]
    fn lines_with_a_time_are_steps_or_expectations_and_others_prose() {
        let lines = [
            "Two motes.",
            "starts 2026-01-01T00:00:00Z",
            "with ../tables.rule",
            "with a mote, and the rest of lab.rule",
            "0s publish lab/7 client=m qos=0 {\"a\": 1}",
            "1s publish lab/7 base64:AP8=",
            "5s match hot {\"a\":1}",
            "10s restart 1m",
            "2m tick",
            "3m reload next rules.rule",
            "3m reload Create rule r AS …",
            "== another",
            "with more/",
            "0s tick",
        ];
        let Parsed { scenarios, with } = parse(lines).unwrap();
        assert_eq!(with, ["../tables.rule", "more/"]);
        let titles: Vec<_> = scenarios.iter().map(|scenario| scenario.title.as_str()).collect();
        assert_eq!(titles, ["Two motes", "another"]);
        let first = &scenarios[0];
        assert_eq!(first.start.as_millis(), 1_767_225_600_000);
        assert_eq!(scenarios[1].start, Timestamp::EPOCH);
        let Line::Step(_, Step::Publish { client, qos, payload, .. }, _) = &first.lines[4] else {
            panic!("{:?}", first.lines[4]);
        };
        assert_eq!((client.as_deref(), *qos), (Some("m"), QoS::AtMostOnce));
        assert_eq!(&payload[..], b"{\"a\": 1}");
        let Line::Step(_, Step::Publish { payload, .. }, _) = &first.lines[5] else {
            panic!("{:?}", first.lines[5]);
        };
        assert_eq!(&payload[..], [0, 255]);
        let reloads = first.lines.iter().filter_map(|line| match line {
            Line::Step(_, Step::Reload(rules), _) => Some(rules.clone()),
            _ => None,
        });
        let file = NewRules::File("next rules.rule".to_owned());
        let text = NewRules::Text("Create rule r AS …".to_owned());
        assert_eq!(reloads.collect::<Vec<_>>(), [file, text]);
        let expected: Vec<_> = first.expected().collect();
        assert_eq!(expected, [(offset("5s"), Kind::Decision, "match hot {\"a\":1}")]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (lines, expected) in [
            (&["0s tick", "x", "publish a {}"][..], "line 3: 'publish' wants a time before it"),
            (&["5q tick"], "line 1: '5q' is no time"),
            (&["5s tick", "4s tick"], "line 2: 4s is before 5s, the step above it"),
            (&["5s restart 1m", "30s tick"], "line 2: 30s is before 1m5s"),
            (&["0s publish a/# {}"], "line 1: 'a/#' is no topic name"),
            (&["0s publish a qos=3 {}"], "line 1: '3' is no QoS"),
            (&["0s publish a base64:?"], "line 1: '?' is no base64"),
            (&["0s put .a key=k {}"], "line 1: '.a' is no name of a stream"),
            (&["0s put a {}"], "line 1: a record has a key"),
            (&["0s jump"], "line 1: 'jump' is neither a step (publish, put, tick,"),
            (
                &["0s publsh a {}"],
                "line 1: 'publsh' is neither a step nor an expectation; did you mean 'publish'?",
            ),
            (
                &["0s firng r"],
                "line 1: 'firng' is neither a step nor an expectation; did you mean 'firing'",
            ),
            (&["0s reload"], "line 1: reload wants a rule file"),
            (&["starts 2026-13-01"], "line 1: '2026-13-01' is no time"),
        ] {
            let told = parse(lines.iter().copied()).unwrap_err();
            assert!(told[0].to_string().starts_with(expected), "{told:?}");
            assert_eq!(told.len(), 1, "{told:?}");
        }
    }

    #[test]
    fn every_line_that_is_wrong_is_told_of() {
        let lines = ["0s jump", "prose", "5s tick", "4s tick", "5q tick", "6s tick"];
        let told = parse(lines).unwrap_err();
        assert_eq!(told.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 4, 5]);
    }
}
