//! The executable form of "any AWS IoT SQL statement runs here and gives the same result": cases of
//! one statement over one message, through `eval`.
//!
//! The shared corpus is run where it exists beside the repository; the project's own cases in
//! `tests/cases` always.
#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure")]
#![expect(clippy::print_stdout, reason = "the score, with --nocapture")]

use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use tidegate::rule::function::FUNCTIONS;

/// Members of a case that are the request; the others say what is expected.
const REQUEST: [&str; 11] = [
    "sql",
    "topic",
    "payload",
    "payload_base64",
    "client_id",
    "account_id",
    "now_ms",
    "sql_version",
    "rule_name",
    "mqtt5",
    "record",
];

/// Cases that we answer otherwise, with the reason. One that agrees after all must leave the list.
const DEVIATIONS: &[(&str, &str)] = &[];

fn shared_corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/aws-iot-sql")
}

fn load(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The answers of `eval`, one a case.
fn answers(cases: &[Value]) -> Vec<Value> {
    let mut input = String::new();
    for case in cases {
        let members = case.as_object().unwrap();
        let request: serde_json::Map<String, Value> = members
            .iter()
            .filter(|(key, _)| REQUEST.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        writeln!(input, "{}", Value::Object(request)).unwrap();
    }
    let mut output = Vec::new();
    tidegate::cli::eval::run_batch(&Arc::default(), input.as_bytes(), &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let answers: Vec<Value> = output
        .lines()
        .map(|line| {
            let mut answer: Value = serde_json::from_str(line).unwrap();
            // The bytes as they would leave.
            let text = line.strip_prefix("{\"result\":").and_then(|line| line.strip_suffix('}'));
            if let Some(text) = text {
                answer["raw"] = json!(text);
            }
            answer
        })
        .collect();
    assert_eq!(answers.len(), cases.len(), "one answer a case");
    answers
}

fn close(expected: f64, found: f64) -> bool {
    (expected - found).abs() <= expected.abs() * 1e-12
}

/// JSON equality with numbers by value, or to 12 digits.
fn same(expected: &Value, found: &Value, approximately: bool) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a == b || (approximately && close(a, b)),
            _ => false,
        },
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, approximately))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b, approximately)))
        }
        _ => expected == found,
    }
}

fn matches_pattern(text: Option<&str>, pattern: &str) -> bool {
    text.is_some_and(|text| regex::Regex::new(pattern).unwrap().is_match(text))
}

/// Whether one expectation holds; `None` where the member is none.
fn holds(case: &Value, name: &str, expected: &Value, answer: &Value) -> Option<bool> {
    let result = &answer["result"];
    let column = |key: &str| result.get(key);
    Some(match name {
        "expect" => {
            !result.is_null() && same(expected, result, case["approx"] == Value::Bool(true))
        }
        "expect_no_match" => answer["no_match"] == Value::Bool(true),
        "expect_parse_error" => answer["parse_error"].is_object(),
        "expect_fault" => *expected == answer["fault"]["code"],
        "expect_undefined_column" => {
            result.is_object()
                && expected.as_array()?.iter().all(|key| column(key.as_str().unwrap()).is_none())
        }
        "expect_raw" => match (answer["raw"].as_str(), answer["result_base64"].as_str()) {
            (Some(raw), _) => expected == raw,
            (None, Some(bytes)) => *expected == decoded(bytes),
            (None, None) => false,
        },
        // Of FOREACH.
        "expect_all" => same(expected, &answer["results"], false),
        "expect_raw_base64" => *expected == answer["result_base64"],
        "expect_pattern" => expected.as_object()?.iter().all(|(key, pattern)| {
            matches_pattern(column(key).and_then(Value::as_str), pattern.as_str().unwrap())
        }),
        "expect_range" => expected.as_object()?.iter().all(|(key, range)| {
            column(key).and_then(Value::as_f64).is_some_and(|found| {
                (range[0].as_f64().unwrap()..=range[1].as_f64().unwrap()).contains(&found)
            })
        }),
        _ => return None,
    })
}

/// What base64 stands for, as text.
fn decoded(base64: &str) -> String {
    String::from_utf8_lossy(&STANDARD.decode(base64).unwrap()).into_owned()
}

/// Runs a file; answers what disagrees.
fn run(path: &Path) -> Vec<String> {
    let cases = load(path);
    let mut disagreements = Vec::new();
    let mut agreed = 0;
    for (case, answer) in cases.iter().zip(answers(&cases)) {
        let id = case["id"].as_str().unwrap();
        let verdicts: Vec<bool> = case
            .as_object()
            .unwrap()
            .iter()
            .filter_map(|(name, expected)| holds(case, name, expected, &answer))
            .collect();
        assert!(!verdicts.is_empty(), "{id} expects nothing");
        let agrees = verdicts.into_iter().all(|holds| holds);
        let deviates = DEVIATIONS.iter().any(|(known, _)| *known == id);
        agreed += usize::from(agrees);
        match (agrees, deviates) {
            (false, false) => disagreements.push(format!("{id}: {} -> {answer}", case["sql"])),
            (true, true) => disagreements.push(format!("{id} agrees: take it off DEVIATIONS")),
            _ => {}
        }
    }
    println!("{}: {agreed} of {} agree", path.display(), cases.len());
    disagreements
}

/// The walk through AWS's reference is `reference.jsonl`, that through `docs/language.md` is `language.jsonl`.
fn our_own_cases() -> [PathBuf; 6] {
    [
        "aws-iot-sql.jsonl",
        "ambiguous.jsonl",
        "clauses.jsonl",
        "functions.jsonl",
        "language.jsonl",
        "reference.jsonl",
    ]
    .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name))
}

/// Payloads made by cbor2, msgpack and their like.
fn cases_of_payload_formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/formats.jsonl")
}

#[test]
fn our_own_cases_agree() {
    for path in our_own_cases() {
        assert_eq!(run(&path), Vec::<String>::new());
    }
}

/// Every statement of the case files and of the scenarios, with its spaces folded, in capitals.
fn statements() -> Vec<String> {
    let cases = our_own_cases().into_iter().chain([cases_of_payload_formats()]);
    let mut statements: Vec<String> = cases
        .flat_map(|path| load(&path))
        .map(|case| case["sql"].as_str().unwrap().to_owned())
        .collect();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rule") {
                let text = std::fs::read_to_string(path).unwrap();
                let rules: Vec<&str> =
                    text.lines().filter(|line| !line.starts_with("--")).collect();
                statements.extend(rules.join("\n").split(';').map(str::to_owned));
            }
        }
    }
    let folded = |text: &String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    statements.iter().map(folded).map(|text| text.to_uppercase()).collect()
}

/// Cases that each function has at least.
const FUNCTION_CASES_MIN: usize = 3;

/// Cases that each clause and operator has at least.
const CLAUSE_CASES_MIN: usize = 2;

/// What a statement that has the clause contains.
const CLAUSES: &[&str] = &[
    "CREATE RULE ",
    " AWS '",
    " DESCRIPTION '",
    " DISABLED AS ",
    "CREATE TABLE ",
    "SET @",
    "SELECT *",
    "SELECT VALUE ",
    ".*",
    " AS ",
    " FROM '",
    "', '",
    "/#'",
    "/+",
    " AS JSON",
    " AS CBOR",
    " AS MSGPACK",
    " AS PROTOBUF '",
    " AS SPARKPLUG",
    " AS CSV",
    " DELIMITER '",
    " HEADER",
    " ROWS",
    " AS TEXT MATCHING '",
    " AS BYTES",
    " FOREACH ",
    " TIMESTAMP BY ",
    " LATENESS ",
    " JOIN ",
    " LEFT JOIN ",
    " WHERE ",
    " WHEN ",
    " FOR ",
    " AT LEAST ",
    "WHEN NO DATA FOR ",
    " PARTITION BY ",
    " CLEAR WHEN ",
    " CLEAR FOR ",
    " KEEP ",
    " MAX GAP ",
    " REPEAT EVERY ",
    " ON RESTART PAUSE",
    " ON RESTART COUNT",
    " ON RESTART RESET",
    " ON CLEARED DO ",
    " ON ERROR DO ",
    "HOLD.",
    "STREAM ",
    " HASH KEY ",
    " BATCH",
    "DELIVER ",
    "INVOKE ",
    "REPUBLISH '",
    " QOS ",
    " RETAIN",
    " HEADERS (",
    "UPSERT ",
    "LOG",
    "${",
    "CASE ",
    "CASE WHEN ",
    " ELSE ",
    " IN [",
    " IN (",
    "EXISTS (",
    " BETWEEN ",
    " LIKE '",
    " IS NULL",
    " IS NOT NULL",
    " IS UNDEFINED",
    "CAST(",
    " AND ",
    " OR ",
    "NOT ",
    " = ",
    " <> ",
    " < ",
    " <= ",
    " > ",
    " >= ",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    "(SELECT ",
    "{'",
    "[1",
    "NULL",
    "TRUE",
    "`",
];

#[test]
fn every_function_has_its_cases() {
    let statements = statements();
    let lacks = |name: &&str| {
        let call = regex::Regex::new(&format!(r"(?i)\b{name}\(")).unwrap();
        statements.iter().filter(|text| call.is_match(text)).count() < FUNCTION_CASES_MIN
    };
    let names = FUNCTIONS.iter().map(|spec| spec.name).chain(["cast"]);
    assert_eq!(names.filter(lacks).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn every_clause_has_its_cases() {
    let statements = statements();
    let count = |clause: &str| statements.iter().filter(|text| text.contains(clause)).count();
    let lacking: Vec<(&str, usize)> = CLAUSES
        .iter()
        .map(|clause| (*clause, count(clause)))
        .filter(|(_, count)| *count < CLAUSE_CASES_MIN)
        .collect();
    assert_eq!(lacking, Vec::<(&str, usize)>::new());
}

/// The text of every file below `folder` whose name ends in one of `endings`.
pub(crate) fn texts(folder: &Path, endings: &[&str]) -> String {
    let mut folders = vec![folder.to_owned()];
    let mut texts = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| endings.iter().any(|known| end == *known))
            {
                texts += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    texts
}

/// Points of ambiguous.md.
const OPEN_POINTS: usize = 32;

#[test]
fn every_open_point_of_the_reference_has_its_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = texts(&root.join("tests/cases"), &["jsonl"]);
    let code = texts(&root.join("src"), &["rs"]) + &texts(&root.join("tests/gateway"), &["rs"]);
    let is_shown = |by: &str| {
        cases.contains(&format!("\"id\": \"{by}\""))
            || code.contains(&format!("fn {by}("))
            || by.ends_with(".rule") && root.join("tests/cases").join(by).exists()
    };
    let table = std::fs::read_to_string(root.join("tests/cases/README.md")).unwrap();
    for point in 1..=OPEN_POINTS {
        let row = table.lines().find(|line| line.starts_with(&format!("| {point} | ")));
        let row = row.unwrap_or_else(|| panic!("tests/cases/README.md has no point {point}"));
        let shown_by = row.rsplit(" | ").next().unwrap_or_default();
        let names: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing shows point {point}");
        for name in names {
            assert!(is_shown(name), "point {point}: there is no {name}");
        }
    }
}

#[test]
fn payload_formats_agree() {
    assert_eq!(run(&cases_of_payload_formats()), Vec::<String>::new());
}

proptest! {
    #[test]
    fn a_statement_over_the_damaged_payload_of_another_is_answered(
        (statement, message) in (any::<Index>(), any::<Index>()),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        static CASES: LazyLock<Vec<Value>> =
            LazyLock::new(|| our_own_cases().map(|path| load(&path)).concat());
        let (statement, message) = (statement.get(&CASES), message.get(&CASES));
        let mut payload = message["payload"].as_str().unwrap_or_default().as_bytes().to_vec();
        for (place, byte) in changes {
            if !payload.is_empty() {
                *place.get_mut(&mut payload) = byte;
            }
        }
        let request = json!({
            "sql": statement["sql"],
            "topic": statement["topic"],
            "payload_base64": STANDARD.encode(payload),
        });
        let mut answer = Vec::new();
        tidegate::cli::eval::run_batch(&Arc::default(), request.to_string().as_bytes(), &mut answer).unwrap();
        prop_assert_eq!(answer.iter().filter(|byte| **byte == b'\n').count(), 1);
        // Raw: a number beyond a double is JSON too.
        prop_assert!(serde_json::from_slice::<&RawValue>(&answer).is_ok(), "{:?}", answer);
    }
}

#[test]
fn the_shared_corpus_agrees() {
    let folder = shared_corpus();
    if !folder.exists() {
        println!("skipped: {} does not exist", folder.display());
        return;
    }
    let mut disagreements = run(&folder.join("cases.jsonl"));
    disagreements.extend(run(&folder.join("cases_thirdparty.jsonl")));
    assert_eq!(disagreements, Vec::<String>::new());
}
