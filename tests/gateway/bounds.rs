//! The bounds of `docs/limits.md`: as large as the program has them, and each with its answer.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

use tidegate::clock::Timestamp;
use tidegate::diagnostic::Severity;
use tidegate::engine::Engine;
use tidegate::engine::Evaluation;
use tidegate::limits;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;
use tidegate::topic::TopicName;

use crate::corpus::texts as texts_below;
use crate::manual::page;

/// The rows of `docs/limits.md`: the bound, its value, what is beyond it.
fn documented() -> BTreeMap<String, (u128, String)> {
    let page = page("docs/limits.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let number = cells[1].split(' ').next().and_then(|number| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no number: {line}"));
        (cells[0].trim_matches('`').to_owned(), (number, cells[2].to_owned()))
    };
    rows.map(row).collect()
}

/// Bounds that are tried beside what has them, by the test that goes over them.
const TRIED_ELSEWHERE: &[(&str, &[&str])] = &[
    (
        "files_and_folders_are_read_up_to_their_bounds_and_no_further",
        &["RULE_FILE_BYTES_MAX", "RULE_FILES_MAX", "RULE_FOLDERS_DEEP_MAX"],
    ),
    (
        "tables_and_descriptors_are_read_up_to_their_bounds_and_no_further",
        &["TABLE_FILE_BYTES_MAX", "TABLE_FILES_BYTES_MAX", "DESCRIPTOR_BYTES_MAX"],
    ),
    (
        "a_set_has_so_many_tables_and_a_key_so_many_columns",
        &["TABLES_MAX", "TABLE_KEY_COLUMNS_MAX"],
    ),
    ("rows_and_columns_are_bounded", &["TABLE_COLUMNS_MAX", "TABLE_ROWS_MAX"]),
    ("what_the_parser_would_look_at_too_often_does_not_reach_it", &["STATEMENT_TOKENS_MAX"]),
    ("errors_of_one_statement_are_told_up_to_a_bound", &["SYNTAX_ERRORS_MAX"]),
    ("findings_are_told_up_to_a_bound_and_the_others_counted", &["FINDINGS_PER_FILE_MAX"]),
    ("a_yaml_file_has_so_many_values_and_not_one_more", &["YAML_VALUES_MAX"]),
    ("the_constants_of_a_rule_are_bounded", &["FOLDED_BYTES_MAX"]),
    ("protobuf_and_sparkplug_are_bounded", &["SPARKPLUG_VALUES_MAX"]),
    ("a_search_goes_back_up_to_its_bound_and_no_further", &["REGEX_STEPS_MAX"]),
    (
        "a_value_over_the_limit_of_a_table_is_refused_and_goes_to_on_error",
        &["TABLE_VALUE_BYTES_MAX"],
    ),
    ("a_call_that_fails_is_undefined_and_a_fault", &["CALLS_MAX"]),
    ("an_answer_too_large_is_none", &["CALL_ANSWER_BYTES_MAX"]),
    ("the_last_hop_is_carried_out_and_the_next_is_cut", &["HOPS_MAX"]),
    ("a_rule_keeps_a_bounded_number_of_message_bytes", &["HOLD_MESSAGE_BYTES_MAX"]),
    ("a_rule_remembers_a_bounded_number_of_bytes", &["HISTORY_BYTES_MAX"]),
    (
        "as_many_messages_and_bytes_may_wait_as_the_bounds_say_and_not_one_more",
        &[
            "EVENT_WAITING_PER_KEY_MAX",
            "EVENT_WAITING_BYTES_PER_KEY_MAX",
            "EVENT_WAITING_MAX",
            "EVENT_WAITING_BYTES_MAX",
        ],
    ),
    (
        "open_windows_and_what_they_keep_are_bounded",
        &["WINDOW_PANES_PER_GROUP_MAX", "WINDOW_PANES_PER_RULE_MAX", "WINDOW_VALUE_BYTES_MAX"],
    ),
    (
        "values_are_kept_up_to_their_number_and_bytes",
        &["WINDOW_VALUES_MAX", "WINDOW_VALUES_BYTES_MAX"],
    ),
];

fn is_tried_elsewhere(bound: &str) -> bool {
    TRIED_ELSEWHERE.iter().any(|(_, bounds)| bounds.contains(&bound))
}

/// Whether it stands in the first table of the page.
fn is_of_texts(bound: &str) -> bool {
    let page = page("docs/limits.md");
    let (of_texts, _) = page.split_once("## A message").expect("two tables");
    of_texts.contains(&format!("| `{bound}` |"))
}

#[test]
fn what_is_tried_elsewhere_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = texts_below(&root.join("src"), &["rs"]) + &texts_below(&root.join("tests"), &["rs"]);
    let documented = documented();
    for (test, bounds) in TRIED_ELSEWHERE {
        assert!(code.contains(&format!("fn {test}()")), "there is no test {test}");
        for bound in *bounds {
            assert!(documented.contains_key(*bound), "docs/limits.md has no {bound}");
        }
    }
}

/// Each name with its value in the program.
macro_rules! values {
    ($($name:ident)*) => { [$((stringify!($name), limits::$name as u128)),*] };
}

#[test]
fn the_page_has_the_bounds_of_the_program() {
    let mut values = BTreeMap::from(values![
        RULE_FILE_BYTES_MAX RULE_FILES_MAX RULE_FOLDERS_DEEP_MAX RULES_MAX STATEMENT_BYTES_MAX
        STATEMENT_TOKENS_MAX NESTING_MAX EXPRESSION_DEPTH_MAX RULE_NAME_CHARS_MAX
        TARGET_NAME_BYTES_MAX VARIABLE_NAME_CHARS_MAX VARIABLES_MAX JOINS_MAX ACTIONS_MAX
        HEADERS_MAX REGEXES_MAX REGEX_TEXT_BYTES_MAX REGEX_BYTES_MAX TIME_PATTERN_BYTES_MAX
        CSV_COLUMNS_MAX HOLD_TIMES_MAX HISTORY_VALUES_MAX AGGREGATES_MAX WINDOW_COUNT_MAX
        WINDOW_PANES_MAX TABLES_MAX TABLE_KEY_COLUMNS_MAX TABLE_COLUMNS_MAX TABLE_ROWS_MAX
        TABLE_FILE_BYTES_MAX TABLE_FILES_BYTES_MAX DESCRIPTOR_BYTES_MAX YAML_VALUES_MAX
        FOLDED_BYTES_MAX SYNTAX_ERRORS_MAX FINDINGS_PER_FILE_MAX PAYLOAD_DEPTH_MAX CSV_FIELDS_MAX
        COLUMN_NAME_BYTES_MAX SPARKPLUG_VALUES_MAX EVALUATION_STEPS_MAX REGEX_STEPS_MAX
        EVALUATION_BYTES_MAX ARRAY_GROWTH_MAX FOREACH_ELEMENTS_MAX FOREACH_BYTES_MAX
        OUTPUT_BYTES_MAX PARTITION_KEY_CHARS_MAX HEADERS_BYTES_MAX TABLE_KEY_BYTES_MAX
        TABLE_VALUE_BYTES_MAX CALLS_MAX CALL_ANSWER_BYTES_MAX HOPS_MAX HOLD_KEY_BYTES_MAX
        HOLD_MESSAGE_BYTES_MAX HISTORY_VALUE_BYTES_MAX HISTORY_BYTES_MAX EVENT_WAITING_PER_KEY_MAX
        EVENT_WAITING_BYTES_PER_KEY_MAX EVENT_WAITING_MAX EVENT_WAITING_BYTES_MAX
        WINDOW_PANES_PER_GROUP_MAX WINDOW_PANES_PER_RULE_MAX WINDOW_VALUE_BYTES_MAX
        WINDOW_VALUES_MAX WINDOW_VALUES_BYTES_MAX
    ]);
    values.insert("HOLD_MAX", limits::HOLD_MAX.as_secs().into());
    values.insert("EVENT_FUTURE_MAX", limits::EVENT_FUTURE_MAX.as_secs().into());
    let documented = documented();
    for (name, value) in &values {
        let row = documented.get(*name).map(|(value, _)| *value);
        assert_eq!(row, Some(*value), "docs/limits.md on {name}");
    }
    assert_eq!(documented.len(), values.len(), "docs/limits.md has a bound that there is not");
}

/// `part` so many times, with a number in the place of `#`.
fn many(count: usize, separator: &str, part: &str) -> String {
    let parts: Vec<String> = (0..count).map(|n| part.replace('#', &n.to_string())).collect();
    parts.join(separator)
}

fn rule(select: &str) -> String {
    format!("CREATE RULE r AS {select} DO LOG;")
}

/// A rule file over its bound by one, and just within it.
fn texts(bound: &str, size: usize) -> String {
    let select = |items: String| rule(&format!("SELECT {items} FROM 'a'"));
    let name = "n".repeat(size);
    match bound {
        "RULES_MAX" => many(size, "\n", "CREATE RULE r# AS SELECT * FROM 'a' DO LOG;"),
        "STATEMENT_BYTES_MAX" => {
            let around = rule("SELECT '' AS a FROM 'a'").len();
            // The `;` is not counted.
            rule(&format!("SELECT '{}' AS a FROM 'a'", "x".repeat(size + 1 - around)))
        }
        "NESTING_MAX" => select(format!("{}a{} AS b", "(".repeat(size), ")".repeat(size))),
        "EXPRESSION_DEPTH_MAX" => select(format!("{} AS b", many(size + 1, " + ", "a"))),
        "RULE_NAME_CHARS_MAX" => rule("SELECT * FROM 'a'").replacen(" r ", &format!(" {name} "), 1),
        "TARGET_NAME_BYTES_MAX" => format!("CREATE RULE r AS SELECT * FROM 'a' DO STREAM {name};"),
        "VARIABLE_NAME_CHARS_MAX" => rule(&format!("SET @{name} = a SELECT @{name} AS b FROM 'a'")),
        "VARIABLES_MAX" => rule(&format!("SET {} SELECT * FROM 'a'", many(size, ", ", "@v# = a"))),
        "JOINS_MAX" => {
            let joins = many(size, " ", "JOIN t AS t# ON t#.key = a");
            rule(&format!("SELECT t0.b FROM 'a' {joins}"))
                + " CREATE RULE put AS SELECT * FROM 'b' DO UPSERT t;"
        }
        "ACTIONS_MAX" => {
            format!("CREATE RULE r AS SELECT * FROM 'a' DO {};", many(size, ", ", "LOG"))
        }
        "HEADERS_MAX" => {
            let headers = many(size, ", ", "USER 'n#' = 'v'");
            format!("CREATE RULE r AS SELECT * FROM 'a' DO REPUBLISH 'b' HEADERS ({headers});")
        }
        "REGEXES_MAX" => select(many(size, ", ", "regexp_matches(a, 'x#') AS b#")),
        "REGEX_TEXT_BYTES_MAX" => select(format!("regexp_matches(a, '{}') AS b", "x".repeat(size))),
        // What it takes when it is compiled cannot be said to the byte.
        "REGEX_BYTES_MAX" => {
            let times = if size > limits::REGEX_BYTES_MAX { 100 } else { 1 };
            select(format!("regexp_matches(a, '\\p{{L}}{{{times}}}') AS b"))
        }
        "TIME_PATTERN_BYTES_MAX" => select(format!("parse_time('{}', a) AS b", "y".repeat(size))),
        "CSV_COLUMNS_MAX" => {
            rule(&format!("SELECT c0 FROM 'a' AS CSV ({})", many(size, ", ", "c#")))
        }
        "HOLD_TIMES_MAX" => {
            rule(&format!("SELECT * FROM 'a' WHEN a > 1 AT LEAST {size} TIMES WITHIN 1 HOUR"))
        }
        "HOLD_MAX" => rule(&format!("SELECT * FROM 'a' WHEN a > 1 FOR {size} SECONDS")),
        "HISTORY_VALUES_MAX" => select(format!("lag(a, {size}) AS b")),
        "AGGREGATES_MAX" => {
            let sums = many(size, ", ", "sum(a#) AS b#");
            rule(&format!("SELECT {sums} FROM 'a' GROUP BY TUMBLE(1 HOUR)"))
        }
        "WINDOW_COUNT_MAX" => {
            rule(&format!("SELECT count(*) AS n FROM 'a' GROUP BY COUNT({size})"))
        }
        "WINDOW_PANES_MAX" => {
            rule(&format!("SELECT count(*) AS n FROM 'a' GROUP BY HOP({size} SECONDS, 1 SECOND)"))
        }
        other => panic!("{other} has no text here"),
    }
}

/// The codes of the errors and warnings of a rule file.
fn problems(text: String) -> Vec<&'static str> {
    let source = Source { path: PathBuf::from("t.rule"), content: Ok(text.into_bytes()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    let found = checked.diagnostics.iter().map(|(_, found)| found);
    found.filter(|found| found.severity != Severity::Note).map(|found| found.code.0).collect()
}

#[test]
fn a_text_beyond_a_bound_is_refused_and_one_within_it_is_not() {
    for (bound, (size, code)) in documented() {
        if !is_of_texts(&bound) || is_tried_elsewhere(&bound) {
            continue;
        }
        let size = usize::try_from(size).expect("small");
        let within = problems(texts(&bound, size));
        assert!(within.is_empty(), "{bound}: {within:?} at {size}");
        let beyond = problems(texts(&bound, size + size.div_ceil(1_000_000).max(1)));
        let code = code.trim_matches('`');
        assert!(beyond.contains(&code), "{bound}: {beyond:?} beyond {size}");
    }
}

/// The faults of a rule over a payload.
fn faults(rule: &str, payload: &str) -> Vec<&'static str> {
    let source = Source { path: PathBuf::from("t.rule"), content: Ok(rule.as_bytes().to_vec()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    assert!(!checked.has_errors(), "{rule}: {:?}", checked.diagnostics);
    let engine = Engine::new(checked.rules, "000000000000");
    let publish = Publish {
        topic: TopicName::parse("a").expect("a topic name"),
        payload: payload.to_owned().into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        received_at: Timestamp::from_millis(1_700_000_000_000),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    };
    let mut evaluation = Evaluation::default();
    engine.evaluate(&engine.plan(&publish.topic), &publish, &mut evaluation);
    let actions = evaluation.hits.iter().flat_map(|hit| &hit.actions);
    let of_actions = actions.filter_map(|action| action.as_ref().err());
    evaluation.faults.iter().chain(of_actions).map(|fault| fault.code.as_str()).collect()
}

/// A rule and a payload of that size.
fn message(bound: &str, size: usize) -> (String, String) {
    let text = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length));
    let select = |items: &str| rule(&format!("SELECT {items} FROM 'a'"));
    let action = |action: &str| format!("CREATE RULE r AS SELECT 1 AS b FROM 'a' DO {action};");
    match bound {
        "PAYLOAD_DEPTH_MAX" => {
            let inner = size - 1;
            (select("a"), format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner)))
        }
        "CSV_FIELDS_MAX" => (rule("SELECT rows FROM 'a' AS CSV (c) ROWS"), "1\n".repeat(size)),
        "COLUMN_NAME_BYTES_MAX" => {
            let payload = format!("{}\n1\n", "c".repeat(size));
            (rule("SELECT rows FROM 'a' AS CSV HEADER ROWS"), payload)
        }
        "ARRAY_GROWTH_MAX" => {
            let payload = format!("{{\"a\":[{}]}}", vec!["1"; size].join(","));
            (select("get((SELECT VALUE e FROM a AS e), 0) AS b"), payload)
        }
        "FOREACH_ELEMENTS_MAX" => {
            let payload = format!("{{\"a\":[{}]}}", vec!["1"; size].join(","));
            (rule("SELECT e FROM 'a' FOREACH a AS e"), payload)
        }
        "OUTPUT_BYTES_MAX" => (select("a"), text(size - "{\"a\":\"\"}".len())),
        "PARTITION_KEY_CHARS_MAX" => (action("STREAM s KEY a"), text(size)),
        "TABLE_KEY_BYTES_MAX" => (action("UPSERT t KEY a"), text(size)),
        "HOLD_KEY_BYTES_MAX" => {
            // The key is JSON: an array of a text.
            let when = "SELECT a FROM 'a' WHEN b > 1 FOR 1 HOUR PARTITION BY a";
            let payload = format!("{{\"a\":\"{}\",\"b\":2}}", "x".repeat(size - "[\"\"]".len()));
            (rule(when), payload)
        }
        "HISTORY_VALUE_BYTES_MAX" => (select("lag(a) AS b"), text(size - "\"\"".len())),
        "EVENT_FUTURE_MAX" => {
            let when = "SELECT a FROM 'a' TIMESTAMP BY a SECONDS WHEN a > 1 FOR 1 HOUR";
            (rule(when), format!("{{\"a\":{}}}", 1_700_000_000 + size))
        }
        "FOREACH_BYTES_MAX" => {
            let around = "{\"e\":\"\"}".len();
            let element = |n: usize| {
                let output = size / 16 + if n == 0 { size % 16 } else { 0 };
                format!("\"{}\"", "x".repeat(output - around))
            };
            let elements: Vec<String> = (0..16).map(element).collect();
            let payload = format!("{{\"a\":[{}]}}", elements.join(","));
            (rule("SELECT e FROM 'a' FOREACH a AS e"), payload)
        }
        "HEADERS_BYTES_MAX" => {
            let headers = "REPUBLISH 'b' HEADERS (content_type = '${a}', USER 'name' = 'value')";
            (action(headers), text(size - "name".len() - "value".len()))
        }
        other => work(other, size),
    }
}

/// The same for what one message may make a rule do in all.
fn work(bound: &str, size: usize) -> (String, String) {
    match bound {
        "EVALUATION_STEPS_MAX" => {
            // A thousand times 4000, for 64,000 bytes that are looked through, and one more.
            let more = "x".repeat(16 * (size - limits::EVALUATION_STEPS_MAX));
            let items = "(SELECT VALUE indexof(@s, 'abc') FROM a AS e) AS b, lower(t) AS c";
            let payload = format!(
                "{{\"a\":[{}],\"s\":\"{}\",\"t\":\"{more}\"}}",
                vec!["1"; 1000].join(","),
                "x".repeat(64_000 - "abc".len())
            );
            (rule(&format!("SET @s = s SELECT {items} FROM 'a'")), payload)
        }
        "EVALUATION_BYTES_MAX" => {
            // 64 texts that are a byte short of 1 MiB, and one of the rest.
            let items = "numbytes(get((SELECT VALUE replace(@s, 'x', @with) FROM a AS e), 0)) AS b";
            let payload = format!(
                "{{\"a\":[{}],\"s\":\"{}\",\"with\":\"{}\",\"t\":\"{}\"}}",
                vec!["1"; 64].join(","),
                "x".repeat(1023),
                "y".repeat(1024),
                "z".repeat(size - 64 * (1024 * 1024 - 1))
            );
            let set = "SET @s = s, @with = with";
            (rule(&format!("{set} SELECT {items}, lower(t) AS c FROM 'a'")), payload)
        }
        other => panic!("{other} has no message here"),
    }
}

#[test]
fn a_message_beyond_a_bound_is_a_counted_fault_and_one_within_it_is_none() {
    for (bound, (size, codes)) in documented() {
        if is_of_texts(&bound) || is_tried_elsewhere(&bound) {
            continue;
        }
        let size = usize::try_from(size).expect("small");
        let (rule, payload) = message(&bound, size);
        assert_eq!(faults(&rule, &payload), [""; 0], "{bound} at {size}");
        let (rule, payload) = message(&bound, size + 1);
        let beyond = faults(&rule, &payload);
        assert!(
            beyond.iter().any(|code| codes.contains(&format!("`{code}`"))),
            "{bound}: {beyond:?}"
        );
    }
}

/// Far beyond the bounds, in each of the ways in which work grows.
#[test]
fn work_that_one_message_multiplies_ends_with_a_counted_fault() {
    let mut numbers = String::from("[0");
    for n in 1..50_000 {
        write!(numbers, ",{n}").expect("a String takes all");
    }
    let list = format!("{{\"a\":{numbers}],\"s\":\"{}\"}}", "ab".repeat(30_000));
    let cases = [
        ("(SELECT VALUE regexp_matches(s, 'a+$') FROM a AS e) AS b", "s", "regex_too_costly"),
        ("(SELECT VALUE indexof(s, 'abc') FROM a AS e) AS b", "s", "evaluation_too_costly"),
        ("(SELECT VALUE concat(s, 'x') FROM a AS e) AS b", "s", "output_too_large"),
        ("regexp_matches(s, '(a?b?)*(?!x)c\\1') AS b", "s", "regex_too_costly"),
    ];
    for (items, root, code) in cases {
        // Inside of a nested query, the text is the element's: take it out first.
        let items = items.replace("(s,", &format!("(@{root},"));
        let rule = rule(&format!("SET @s = s SELECT {items} FROM 'a'"));
        assert_eq!(faults(&rule, &list), [code], "{items}");
    }
}
