//! What `check` calls always Undefined is Undefined, whatever the literals.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;
use tidegate::diagnostic::Code;
use tidegate::diagnostic::Diagnostic;
use tidegate::rule::function::FUNCTIONS;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;
use tidegate::rule::table::Tables;

/// One of each type, and texts that convert to another.
const LITERALS: [&str; 12] = [
    "5",
    "-2.5",
    "'abc'",
    "'7'",
    "'true'",
    "TRUE",
    "NULL",
    "[1, 2]",
    "{'k': 1}",
    "'base64'",
    "'enrichArray'",
    "(SELECT n FROM [{'n': 1}])",
];

/// Whether `check` says that this has no value.
fn is_told(expression: &str) -> bool {
    let text = format!("CREATE RULE r AS SELECT {expression} AS r FROM 'a' DO LOG;");
    let source = Source { path: "a.rule".into(), content: Ok(text.into_bytes()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    let is_of_types = |found: &Diagnostic| {
        found.code == Code::TYPE && found.message.ends_with("always Undefined")
    };
    // What a service is asked must be there: such a rule is refused.
    !checked.rules.is_empty() && checked.diagnostics.iter().any(|(_, found)| is_of_types(found))
}

fn answers(expressions: &[String]) -> Vec<Value> {
    let request = |expression| json!({"sql": format!("SELECT {expression} AS r FROM 'a'")});
    let lines: Vec<String> =
        expressions.iter().map(|expression| request(expression).to_string()).collect();
    let mut output = Vec::new();
    tidegate::cli::eval::run_batch(
        &Arc::<Tables>::default(),
        lines.join("\n").as_bytes(),
        &mut output,
    )
    .expect("the answers");
    let output = String::from_utf8(output).expect("UTF-8");
    output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The expressions of which `check` tells that they have no value; none may have one.
fn judge(expressions: &[String]) -> Vec<&str> {
    let mut told = Vec::new();
    for (expression, answer) in expressions.iter().zip(answers(expressions)) {
        if is_told(expression) {
            assert_eq!(answer, json!({"result": {}}), "{expression}");
            told.push(expression.as_str());
        }
    }
    told
}

#[test]
fn a_call_that_is_told_to_be_undefined_is() {
    let mut calls = Vec::new();
    for spec in FUNCTIONS {
        for first in LITERALS {
            match spec.args_min.max(1).min(spec.args_max) {
                0 => calls.push(format!("{}()", spec.name)),
                1 => calls.push(format!("{}({first})", spec.name)),
                2 => {
                    calls.extend(LITERALS.map(|second| format!("{}({first}, {second})", spec.name)))
                }
                _ => {
                    for second in LITERALS {
                        let call = |third| format!("{}({first}, {second}, {third})", spec.name);
                        calls.extend(LITERALS.map(call));
                    }
                }
            }
        }
    }
    let told = judge(&calls);
    assert!(told.len() > 500, "{} of {}", told.len(), calls.len());
    for expected in ["sqrt('abc')", "lower(NULL)", "get(5, 5)", "encode(5, 'abc')"] {
        assert!(told.contains(&expected), "{expected}");
    }
}

#[test]
fn an_operation_that_is_told_to_be_undefined_is() {
    let mut operations = Vec::new();
    for left in LITERALS {
        operations.extend([format!("-({left})"), format!("EXISTS (SELECT * FROM {left})")]);
        for right in LITERALS {
            let infix = ["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "IN", "LIKE"];
            operations.extend(infix.map(|op| format!("{left} {op} {right}")));
            operations.push(format!("{left} BETWEEN {right} AND 9"));
        }
    }
    let told = judge(&operations);
    assert!(told.len() > 500, "{} of {}", told.len(), operations.len());
    for expected in ["-('abc')", "5 + TRUE", "'abc' > 5", "5 IN 'abc'", "NULL LIKE 'abc'"] {
        assert!(told.contains(&expected), "{expected}");
    }
}
