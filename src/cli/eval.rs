//! `tidegate eval`: a SELECT over a message, without a gateway.
//!
//! [`run_batch`] reads requests as NDJSON and writes one answer a line; [`Request::answer`] is one of
//! them. What a request says is untrusted text: a line that is not understood gets an answer too,
//! and reading goes on.

use std::io;
use std::io::BufRead;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::Outcome;
use super::report::tell;
use super::report::tell_findings;
use super::rule_set;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Severity;
use crate::diagnostic::render::Finding;
use crate::engine::Engine;
use crate::engine::Evaluation;
use crate::engine::Observed;
use crate::engine::Output;
use crate::engine::RuleIndex;
use crate::engine::history::HistoryTable;
use crate::engine::history::Recollections;
use crate::limits::RECORDED_LINE_BYTES_MAX;
use crate::publish::Origin;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::publish::StreamRecord;
use crate::rule::Rule;
use crate::rule::ast::SqlVersion;
use crate::rule::table::Tables;
use crate::rule_files;
use crate::topic::TopicName;

/// `accountid()` where the request says nothing.
const ACCOUNT_ID: &str = "000000000000";
/// The name of the rule, which Basic Ingest topics name, where the request says nothing.
const RULE_NAME: &str = "eval";

/// The code of a request that cannot be answered.
const INVALID_REQUEST: &str = "invalid_request";

const EXAMPLES: &str = "\
Examples:
  tidegate eval --sql \"SELECT temp * 1.8 + 32 AS f FROM 'lab/+'\" --payload '{\"temp\":21}'
  tidegate eval --rules rules/ --sql \"SELECT m.room FROM 'x' JOIN motes AS m ON m.moteid = id\"
  tidegate eval --document rule.json --topic lab/7 --payload '{\"temp\":21}'
  tidegate eval --batch < cases.ndjson

A statement is evaluated over one message. lag, delta and had_changed find no earlier one; `tidegate
simulate` and `tidegate test` run rules over many.

A line of --batch is {\"sql\":…} with optional \"topic\", \"payload\" or \"payload_base64\", \"client_id\",
\"account_id\", \"now_ms\", \"sql_version\", \"rule_name\", \"mqtt5\" and, for FROM STREAM, \"record\". Its
answer is one of {\"result\":…}, {\"result_base64\":…}, {\"no_match\":true}, {\"parse_error\":{…}} and {\"fault\":{…}}.";

/// Evaluate a SELECT over one message
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct EvalArgs {
    /// Statement to evaluate
    #[arg(long, required_unless_present_any = ["batch", "document"])]
    sql: Option<String>,
    /// AWS rule document whose statement to evaluate, under its own SQL version
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sql", "sql_version", "rules", "batch"])]
    document: Option<PathBuf>,
    /// Topic of the message; one that FROM matches when not given
    #[arg(long)]
    topic: Option<String>,
    /// Payload of the message
    #[arg(long, default_value = "{}")]
    payload: String,
    /// MQTT client id of the message
    #[arg(long)]
    client_id: Option<String>,
    /// SQL version: 2015-10-08 or 2016-03-23
    #[arg(long, default_value = "2016-03-23")]
    sql_version: String,
    /// Rule file, or folder of rule files, whose tables the statement may JOIN
    #[arg(long, value_name = "PATH")]
    rules: Option<PathBuf>,
    /// Requests on standard input instead, one JSON object a line
    #[arg(long, conflicts_with_all = ["sql", "topic", "payload", "client_id", "sql_version"])]
    batch: bool,
}

/// Runs the command.
pub(super) fn run(args: &EvalArgs, answer: &mut dyn Write) -> anyhow::Result<Outcome> {
    let tables = match &args.rules {
        None => Arc::default(),
        Some(path) => match rule_set::load(path) {
            Some(checked) => checked.tables,
            None => return Ok(Outcome::Rejected),
        },
    };
    if args.batch {
        run_batch(&tables, io::stdin().lock(), answer)?;
        return Ok(Outcome::Done);
    }
    let request = Request {
        sql: args.sql.clone().unwrap_or_default(),
        topic: args.topic.clone(),
        payload: Some(Payload::Text(args.payload.clone())),
        client_id: args.client_id.clone(),
        sql_version: Some(args.sql_version.clone()),
        ..Request::default()
    };
    let rule = match &args.document {
        None => match request.rule(&tables) {
            Ok(rule) => rule,
            Err(unsound) => {
                unsound.tell(&request.sql);
                writeln!(answer, "{}", unsound.answer().to_line())?;
                return Ok(Outcome::Rejected);
            }
        },
        Some(path) => match of_document(path)? {
            Some(rule) => rule,
            None => return Ok(Outcome::Rejected),
        },
    };
    tell_of_payload(&rule, &args.payload);
    let given = request.answer_of(rule, Clock::start().now());
    writeln!(answer, "{}", given.to_line())?;
    Ok(match given {
        Answer::NoMatch(why) => {
            tell(why);
            Outcome::Done
        }
        Answer::Fault { code: INVALID_REQUEST, .. } => Outcome::Rejected,
        _ => Outcome::Done,
    })
}

/// A payload that was meant to be JSON is no error, and surprises people.
fn tell_of_payload(rule: &Rule, payload: &str) {
    if rule.definition.select.format.is_none()
        && let Err(error) = serde_json::from_str::<&RawValue>(payload)
    {
        tell(&format!("the payload is not JSON ({error}); its fields are Undefined"));
    }
}

/// The rule of an AWS rule document; `None` when it has errors, which have been told.
fn of_document(path: &Path) -> anyhow::Result<Option<Arc<Rule>>> {
    let Some(mut checked) = rule_set::load(path) else { return Ok(None) };
    match (checked.rules.pop(), checked.rules.len()) {
        (Some(rule), 0) => {
            // Asked for, it is evaluated even where the document says that it is not to run.
            let mut rule = Arc::unwrap_or_clone(rule);
            Arc::make_mut(&mut rule.definition).disabled = false;
            Ok(Some(Arc::new(rule)))
        }
        (None, _) => bail!("{} holds no rule", path.display()),
        (Some(_), others) => {
            let count = others + 1;
            bail!("{} holds {count} rules; `tidegate import` takes them apart", path.display())
        }
    }
}

/// Answers every line of `input` on `output`, in order; statements may join `tables`. Ends with the
/// input.
pub fn run_batch(
    tables: &Arc<Tables>,
    mut input: impl BufRead,
    mut output: impl Write,
) -> io::Result<()> {
    let clock = Clock::start();
    let mut line = Vec::new();
    loop {
        line.clear();
        let bound = u64::try_from(RECORDED_LINE_BYTES_MAX).unwrap_or(u64::MAX);
        if input.by_ref().take(bound).read_until(b'\n', &mut line)? == 0 {
            return output.flush();
        }
        let whole = line.ends_with(b"\n") || line.len() < RECORDED_LINE_BYTES_MAX;
        if !whole {
            skip_line(&mut input)?;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = if whole {
            answer_line(tables, &line, clock.now())
        } else {
            refused(format!("the line is longer than {RECORDED_LINE_BYTES_MAX} bytes"))
        };
        writeln!(output, "{}", answer.to_line())?;
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = input.fill_buf()?;
        let (length, ended) = match available.iter().position(|byte| *byte == b'\n') {
            Some(position) => (position + 1, true),
            None => (available.len(), available.is_empty()),
        };
        input.consume(length);
        if ended {
            return Ok(());
        }
    }
}

/// Answers one line; `now` is `timestamp()` where the request says nothing.
fn answer_line(tables: &Arc<Tables>, line: &[u8], now: Timestamp) -> Answer {
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => request.answer(tables, now),
        Err(error) => refused(error.to_string()),
    }
}

fn refused(message: String) -> Answer {
    Answer::Fault { code: INVALID_REQUEST, message }
}

/// Why a request has no rule.
enum Unsound {
    /// It asks for what there is not.
    Request(String),
    /// Its statement is wrong.
    Statement(Vec<Diagnostic>),
}

impl Unsound {
    fn answer(&self) -> Answer {
        match self {
            Unsound::Request(message) => refused(message.clone()),
            Unsound::Statement(diagnostics) => parse_error(diagnostics),
        }
    }

    /// Draws what is wrong over the statement.
    fn tell(&self, sql: &str) {
        let Unsound::Statement(diagnostics) = self else { return };
        let finding = |diagnostic| Finding { file: "--sql".to_owned(), text: sql, diagnostic };
        tell_findings(&diagnostics.iter().map(finding).collect::<Vec<_>>(), 1);
    }
}

/// One message and the statement that looks at it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    sql: String,
    topic: Option<String>,
    payload: Option<Payload>,
    payload_base64: Option<String>,
    client_id: Option<String>,
    account_id: Option<String>,
    now_ms: Option<i64>,
    sql_version: Option<String>,
    rule_name: Option<String>,
    mqtt5: Option<Mqtt5>,
    record: Option<RecordFacts>,
}

/// The record of a stream that the message is, for a statement with FROM STREAM. It arrives at `now_ms`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RecordFacts {
    partition_key: String,
    shard_id: String,
    sequence_number: String,
}

impl Default for RecordFacts {
    fn default() -> Self {
        RecordFacts {
            partition_key: "n/a".to_owned(),
            shard_id: "shardId-000000000000".to_owned(),
            sequence_number: "0".to_owned(),
        }
    }
}

impl RecordFacts {
    fn into_record(self, arrived_at: Timestamp) -> StreamRecord {
        StreamRecord {
            shard_id: self.shard_id.into(),
            sequence_number: self.sequence_number.into(),
            partition_key: self.partition_key.into(),
            arrived_at,
        }
    }
}

/// A string is the payload's text, any other JSON value is the payload.
#[derive(Debug)]
enum Payload {
    Text(String),
    Json(Box<RawValue>),
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(match serde_json::from_str(raw.get()) {
            Ok(text) => Payload::Text(text),
            Err(_) => Payload::Json(raw),
        })
    }
}

/// MQTT 5 properties of the message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mqtt5 {
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data_b64: Option<String>,
    format_indicator: Option<u8>,
    #[serde(default)]
    user_properties: Vec<(String, String)>,
}

/// What came of a request.
#[derive(Debug)]
enum Answer {
    Result(Output),
    /// Of FOREACH, one an element.
    Results(Vec<Output>),
    /// And why.
    NoMatch(&'static str),
    ParseError {
        code: &'static str,
        message: String,
    },
    Fault {
        code: &'static str,
        message: String,
    },
}

impl Answer {
    fn to_line(&self) -> String {
        match self {
            // The bytes as they leave: a JSON reader of the answer must not round its numbers.
            Answer::Result(Output::Json(text)) => {
                format!("{{\"result\":{}}}", String::from_utf8_lossy(text))
            }
            Answer::Result(Output::Raw(bytes)) => {
                json!({ "result_base64": STANDARD.encode(bytes) }).to_string()
            }
            Answer::Results(outputs) => {
                let text = |output: &Output| match output {
                    Output::Json(text) => String::from_utf8_lossy(text).into_owned(),
                    Output::Raw(bytes) => json!({ "base64": STANDARD.encode(bytes) }).to_string(),
                };
                let outputs: Vec<String> = outputs.iter().map(text).collect();
                format!("{{\"results\":[{}]}}", outputs.join(","))
            }
            Answer::NoMatch(_) => json!({ "no_match": true }).to_string(),
            Answer::ParseError { code, message } => {
                json!({ "parse_error": { "code": code, "message": message } }).to_string()
            }
            Answer::Fault { code, message } => {
                json!({ "fault": { "code": code, "message": message } }).to_string()
            }
        }
    }
}

impl Request {
    fn answer(self, tables: &Arc<Tables>, now: Timestamp) -> Answer {
        match self.rule(tables) {
            Ok(rule) => self.answer_of(rule, now),
            Err(unsound) => unsound.answer(),
        }
    }

    /// The rule that its statement is.
    fn rule(&self, tables: &Arc<Tables>) -> Result<Arc<Rule>, Unsound> {
        let version = match self.sql_version.as_deref() {
            None | Some("2016-03-23") => SqlVersion::V2016_03_23,
            Some("2015-10-08") => SqlVersion::V2015_10_08,
            Some(other) => {
                let message = format!("'{other}' is no SQL version: 2015-10-08, 2016-03-23");
                return Err(Unsound::Request(message));
            }
        };
        let name = self.rule_name.as_deref().unwrap_or(RULE_NAME);
        let mut files = rule_files::named_here();
        let rule = Rule::from_select(name, &self.sql, version, tables, &mut files);
        rule.map(Arc::new).map_err(Unsound::Statement)
    }

    /// What `rule` makes of the message, whatever statement the request has.
    fn answer_of(self, rule: Arc<Rule>, now: Timestamp) -> Answer {
        let account_id = self.account_id.as_deref().unwrap_or(ACCOUNT_ID).to_owned();
        let publish = match self.publish(&rule, now) {
            Ok(publish) => publish,
            Err(problem) => return refused(problem),
        };
        let engine = Engine::new(vec![rule], &account_id);
        let mut evaluation = Evaluation::default();
        let plan = match publish.origin.record {
            Some(_) => Arc::new(engine.plan_of(&[RuleIndex(0)])),
            None => engine.plan(&publish.topic),
        };
        engine.evaluate(&plan, &publish, &mut evaluation);
        judge_as_first(&engine, &mut evaluation);
        let is_each = engine.rules().iter().any(|rule| rule.definition.select.foreach.is_some());
        if is_each && !evaluation.hits.is_empty() {
            let outputs = evaluation.hits.into_iter().map(|hit| hit.output);
            return Answer::Results(outputs.collect());
        }
        match (evaluation.hits.pop(), evaluation.faults.pop()) {
            (Some(hit), _) => Answer::Result(hit.output),
            (None, Some(fault)) => {
                Answer::Fault { code: fault.code.as_str(), message: fault.message }
            }
            (None, None) if publish.origin.record.is_none() && plan.is_empty() => {
                Answer::NoMatch("no match: FROM does not match the topic")
            }
            (None, None) if !evaluation.unknown.is_empty() => Answer::NoMatch(
                "no match: WHERE was Undefined, as with a field that is missing or of another type",
            ),
            (None, None) => {
                Answer::NoMatch("no match: WHERE was false, or there was nothing to look at")
            }
        }
    }

    fn publish(self, rule: &Rule, now: Timestamp) -> Result<Publish, String> {
        let topic = self.topic.unwrap_or_else(|| matching_topic(rule));
        let topic = TopicName::parse(&topic).map_err(|error| format!("topic: {error}"))?;
        let payload = match (self.payload_base64, self.payload) {
            (Some(text), _) => Bytes::from(decode_base64("payload_base64", &text)?),
            (None, Some(Payload::Text(text))) => Bytes::from(text),
            (None, Some(Payload::Json(raw))) => Bytes::copy_from_slice(raw.get().as_bytes()),
            (None, None) => Bytes::from_static(b"{}"),
        };
        let received_at = self.now_ms.map_or(now, Timestamp::from_millis);
        let record = rule.source().map(|_| self.record.unwrap_or_default());
        let origin = Origin {
            client_id: self.client_id.map(Arc::from),
            record: record.map(|record| record.into_record(received_at)),
            ..Origin::clone(&Origin::internal())
        };
        Ok(Publish {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            received_at,
            origin: Arc::new(origin),
            properties: self.mqtt5.map(Mqtt5::properties).transpose()?.map(Arc::new),
            hops: 0,
        })
    }
}

/// Rules that look back on earlier messages find none: this is the first of its key.
fn judge_as_first(engine: &Engine, evaluation: &mut Evaluation) {
    let mut history = HistoryTable::new(engine.remembering(1));
    let mut out = Recollections::default();
    for observed in std::mem::take(&mut evaluation.observations) {
        if let Observed::Message(recall) = observed {
            history.observe(recall, &mut out);
        }
    }
    history.release(|_, _| false, &mut out);
    out.recalled.iter().for_each(|recalled| engine.judge(recalled, evaluation));
}

impl Mqtt5 {
    fn properties(self) -> Result<PublishProperties, String> {
        let decode = |text: String| decode_base64("correlation_data_b64", &text).map(Bytes::from);
        Ok(PublishProperties {
            payload_format: self.format_indicator,
            message_expiry: None,
            content_type: self.content_type,
            response_topic: self.response_topic,
            correlation_data: self.correlation_data_b64.map(decode).transpose()?,
            user_properties: self.user_properties,
        })
    }
}

fn decode_base64(member: &str, text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("{member}: {error}"))
}

/// A topic that the statement's FROM matches.
fn matching_topic(rule: &Rule) -> String {
    let filter = rule.definition.select.from.first().map(|filter| filter.node.as_str());
    filter.unwrap_or(RULE_NAME).replace(['+', '#'], "x")
}

fn parse_error(diagnostics: &[Diagnostic]) -> Answer {
    let first = diagnostics.iter().find(|d| d.severity == Severity::Error).or(diagnostics.first());
    match first {
        Some(diagnostic) => {
            Answer::ParseError { code: diagnostic.code.0, message: diagnostic.message.clone() }
        }
        None => refused("the statement was refused".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &[&str]) {
        let mut output = Vec::new();
        run_batch(&Arc::default(), input.as_bytes(), &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_request_gets_one_answer_in_order() {
        let input = r#"{"sql":"SELECT a + 1 AS b FROM 't'","topic":"t","payload":"{\"a\":1.50}"}
{"sql":"SELECT * FROM 't'","topic":"other"}

{"sql":"SELECT * FROM 't'","payload_base64":"AAE="}
{"sql":"SELECT a AS b FROM 't'","payload":{"a":[1]}}
{"sql":"SELECT accountid() AS a, timestamp() AS t FROM 't'","account_id":"7","now_ms":5}"#;
        check(
            input,
            &[
                r#"{"result":{"b":2.5}}"#,
                r#"{"no_match":true}"#,
                r#"{"result_base64":"AAE="}"#,
                r#"{"result":{"b":[1]}}"#,
                r#"{"result":{"a":"7","t":5}}"#,
            ],
        );
    }

    #[test]
    fn what_is_not_understood_is_answered_and_passed_over() {
        let long = "x".repeat(RECORDED_LINE_BYTES_MAX + 10);
        let input = format!(
            "not json\n{{\"topic\":\"t\"}}\n{long}\n{{\"sql\":\"SELECT 1 AS a FROM 't'\",\"topic\":\"a/+\"}}\n{{\"sql\":\"SELECT 1 AS a FROM 't'\"}}"
        );
        let mut output = Vec::new();
        run_batch(&Arc::default(), input.as_bytes(), &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines.len(), 5);
        for refused in &lines[..4] {
            assert!(refused.starts_with(r#"{"fault":{"code":"invalid_request""#), "{refused}");
        }
        assert_eq!(lines[4], r#"{"result":{"a":1}}"#);
    }

    fn eval(arguments: &[&str]) -> anyhow::Result<(Outcome, String)> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: EvalArgs,
        }
        let line = <Line as clap::Parser>::try_parse_from([&["eval"], arguments].concat())?;
        let mut answer = Vec::new();
        let outcome = run(&line.args, &mut answer)?;
        Ok((outcome, String::from_utf8(answer).unwrap()))
    }

    #[test]
    fn a_wrong_request_is_rejected() {
        let sql = "SELECT a FROM 't' WHERE a > 1";
        let outcome = |arguments: &[&str]| eval(arguments).unwrap().0;
        assert_eq!(outcome(&["--sql", "SELECT lenght(a) FROM 't'"]), Outcome::Rejected);
        assert_eq!(outcome(&["--sql", sql, "--topic", "a/+"]), Outcome::Rejected);
        assert_eq!(outcome(&["--sql", sql, "--sql-version", "2016"]), Outcome::Rejected);
        assert_eq!(outcome(&["--sql", sql, "--topic", "u"]), Outcome::Done);
    }

    #[test]
    fn why_there_is_no_match_is_known() {
        let why = |topic: &str, payload: &str| {
            let sql = "SELECT a FROM 't' WHERE a > 1".to_owned();
            let payload = Some(Payload::Text(payload.to_owned()));
            let request =
                Request { sql, topic: Some(topic.to_owned()), payload, ..Request::default() };
            match request.answer(&Arc::default(), Timestamp::EPOCH) {
                Answer::NoMatch(why) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(why("u", "{}").ends_with("FROM does not match the topic"));
        assert!(why("t", "{}").contains("WHERE was Undefined"));
        assert!(why("t", r#"{"a":1}"#).contains("WHERE was false"));
    }

    #[test]
    fn a_rule_document_is_evaluated_under_its_own_version() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let document = |sql: &str, version: &str| {
            format!(
                r#"{{"ruleName": "r", "topicRulePayload": {{"sql": "{sql}", "actions": [],
                "awsIotSqlVersion": "{version}"}}}}"#
            )
        };
        let sql = "SELECT v, topic() AS t FROM 'lab/+' WHERE v > 1";
        std::fs::write(at("old.json"), document(sql, "2015-10-08")).unwrap();
        std::fs::write(at("broken.json"), document("SELECT FROM", "2016-03-23")).unwrap();
        let payload = ["--topic", "lab/7", "--payload", r#"{"v":10.0}"#];
        let (outcome, answer) =
            eval(&[&["--document", &at("old.json")], &payload[..]].concat()).unwrap();
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(answer, "{\"result\":{\"v\":10.0,\"t\":\"lab/7\"}}\n");
        assert_eq!(eval(&["--document", &at("broken.json")]).unwrap().0, Outcome::Rejected);
        assert!(eval(&["--document", &at("old.json"), "--sql", sql]).is_err(), "one of them");
    }

    #[test]
    fn a_broken_statement_and_a_broken_payload_are_told_apart() {
        let mut output = Vec::new();
        let input =
            "{\"sql\":\"SELEC\"}\n{\"sql\":\"SELECT a FROM 't' WHERE a > 1\",\"payload\":\"{\"}";
        run_batch(&Arc::default(), input.as_bytes(), &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        assert!(lines[0].starts_with(r#"{"parse_error":{"code":"R"#), "{}", lines[0]);
        assert!(lines[1].starts_with(r#"{"fault":{"code":"payload_not_json""#), "{}", lines[1]);
    }
}
