use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::parse::parse_file;
use super::super::parse::tests::shape;
use super::super::set;
use super::super::set::Checked;
use super::super::set::Source;
use super::super::set::Targets;
use super::super::table::NoFiles;
use crate::clock::Clock;
use crate::diagnostic::Code;
use crate::diagnostic::render::Place;
use crate::limits::YAML_VALUES_MAX;

/// A rule file of that name, with the hooks that the samples call.
fn load(name: &str, text: &str) -> Checked {
    let source = Source { path: name.into(), content: Ok(text.as_bytes().to_vec()) };
    let hooks = ["pager", "Pager", "Archive", "hooks-example-com-v1-vibration"].map(str::to_owned);
    let targets = Targets { hooks: BTreeSet::from(hooks), ..Targets::default() };
    set::check(&[source], &targets, &mut NoFiles)
}

/// What was found, as "line:column code message".
fn told(text: &str) -> Vec<String> {
    let checked = load("rule.json", text);
    let place = |found: &crate::diagnostic::Diagnostic| {
        let place = Place::of(text, &found.labels[0].span);
        format!("{}:{} {} {}", place.line, place.column, found.code.0, found.message)
    };
    let is_default = |code: &str| matches!(code, "R023");
    let found = checked.diagnostics.iter().map(|(_, found)| found);
    found.filter(|found| !is_default(found.code.0)).map(place).collect()
}

fn payload(actions: &str) -> String {
    format!("{{\"sql\": \"SELECT * FROM 'a'\",\n\"actions\": [\n{actions}]}}")
}

#[test]
fn each_form_gives_the_rule_that_its_text_gives() {
    let samples = [
        ("create_topic_rule.json", include_str!("../../../tests/aws/create_topic_rule.json")),
        ("get_topic_rule.json", include_str!("../../../tests/aws/get_topic_rule.json")),
        ("door-open.json", include_str!("../../../tests/aws/door-open.json")),
        ("cloudformation.json", include_str!("../../../tests/aws/cloudformation.json")),
        ("motes.yaml", include_str!("../../../tests/aws/motes.yaml")),
        ("serverless.yaml", include_str!("../../../tests/aws/serverless.yaml")),
    ];
    for (name, text) in samples {
        let checked = load(name, text);
        assert!(!checked.has_errors(), "{:#?}", checked.diagnostics);
        let printed: Vec<&str> = checked.rules.iter().map(|rule| rule.text.as_str()).collect();
        let printed = printed.join("\n\n");
        insta::assert_snapshot!(name, printed);
        let again = parse_file(&printed);
        let trees = checked.rules.iter().map(|rule| shape(&rule.definition));
        assert_eq!(trees.collect::<Vec<_>>(), again.rules.iter().map(shape).collect::<Vec<_>>());
        for rule in &checked.rules {
            let at = text.lines().nth(rule.line - 1).unwrap();
            assert!(at.contains('{') || at.contains("Description:") || at.contains("Sql"), "{at}");
        }
    }
}

#[test]
fn an_error_inside_sql_is_marked_behind_its_escapes() {
    let text = r#"{"sql": "SELECT \"\u00e9\" AS a,\n lenght(b) FROM 'a'", "actions": [{"cloudwatchLogs":{}}]}"#;
    assert_eq!(told(text), ["1:36 R010 there is no function lenght"]);
    assert_eq!(text.find("lenght").unwrap() + 1, 36);
}

#[test]
fn a_document_is_strict_and_of_the_first_version_when_it_does_not_say() {
    let text = r#"{"sql": "SELECT a FROM 'a' WHERE a BETWEEN 1 AND 2 AND b IN [1]", "actions": [{"cloudwatchLogs":{}}]}"#;
    let found = told(text);
    assert_eq!(
        found,
        [
            "1:34 R016 AWS IoT SQL has no BETWEEN",
            "1:61 R012 array literals came with SQL version 2016-03-23",
        ]
    );
    let checked = load("rule.json", text);
    let help: Vec<_> = checked.diagnostics.iter().filter_map(|(_, f)| f.help.clone()).collect();
    assert!(
        help[0].contains("tidegate import") && help[1].contains("awsIotSqlVersion"),
        "{help:?}"
    );
}

#[test]
fn a_mistake_in_a_document_is_told_where_it_stands() {
    let cases: [(&str, &str); 12] = [
        (r#"{"kinesis": {"streamNmae": "s"}}"#, "3:14 R042 kinesis has no streamNmae"),
        (r#"{"kinesis": {}}"#, "3:13 R041 kinesis has no streamName"),
        (r#"{"kinesis": []}"#, "3:13 R041 kinesis must be an object, not an array"),
        (
            r#"{"kinesis": {"streamName": 5}}"#,
            "3:28 R041 streamName must be a string, not a number",
        ),
        (r#"{"kinesis": {"streamName": "a b"}}"#, "3:28 R029 this cannot be the name of a target"),
        (r#"{"kinesiss": {}}"#, "3:2 R042 AWS IoT has no kinesiss"),
        (r#"{"sns": {}, "sqs": 7}"#, "3:2 R043 sns is not carried over"),
        (r#"{"republish": {"topic": "a", "qos": 2}}"#, "3:37 R041 qos must be 0 or 1"),
        (r#"{"republish": {"topic": "a/${b"}}"#, "3:28 R030 `${` is not closed"),
        (r#"{"http": {"url": "https://"}}"#, "3:18 R041 url is no URL"),
        (
            r#"{"firehose": {"deliveryStreamName": "d", "batchMode": 1}}"#,
            "3:55 R041 batchMode must be true or false, not a number",
        ),
        (
            r#"{"kinesis": {"streamName": "s", "partitionKey": "${lenght(a)}"}}"#,
            "3:52 R010 there is no function lenght",
        ),
    ];
    for (action, expected) in cases {
        let found = told(&payload(action));
        assert!(found.iter().any(|found| found == expected), "{action}: {found:#?}");
    }
}

#[test]
fn a_row_of_dynamodb_is_a_key_of_a_table() {
    let upsert = |action: &str| {
        let text = payload(action).replacen('{', "{\"awsIotSqlVersion\": \"2016-03-23\",", 1);
        let checked = load("rule.json", &text);
        assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
        let rule = &checked.rules[0].text;
        rule.lines().last().unwrap_or_default().to_owned()
    };
    let table = r#""tableName": "t", "hashKeyField": "id", "roleArn": "r""#;
    let cases = [
        (r#""hashKeyValue": "${id}", "operation": "UPDATE""#, "DO UPSERT t KEY id;"),
        (r#""hashKeyValue": "m-${id}""#, "DO UPSERT t KEY concat('m-', id);"),
        (
            r#""hashKeyValue": "${id}", "rangeKeyField": "at", "rangeKeyType": "NUMBER",
               "rangeKeyValue": "${ts}""#,
            "DO UPSERT t KEY [cast(id AS String), cast(ts AS Decimal)];",
        ),
        (r#""hashKeyValue": "${id}", "operation": "DELETE""#, "DO LOG;"),
    ];
    for (members, expected) in cases {
        assert_eq!(upsert(&format!(r#"{{"dynamoDB": {{{table}, {members}}}}}"#)), expected);
    }
    let put = r#"{"dynamoDBv2": {"putItem": {"tableName": "t"}, "roleArn": "r"}}"#;
    assert_eq!(upsert(put), "DO UPSERT t;");
    let found = told(&payload(put));
    assert_eq!(found, ["3:42 R043 the key of the table is not in the document"]);
    let found = told(&payload(r#"{"dynamoDB": {"tableName": "t"}}"#));
    assert!(found.contains(&"3:14 R041 dynamoDB has no hashKeyValue".to_owned()), "{found:?}");
}

#[test]
fn a_row_of_two_keys_needs_the_second_version() {
    let action = r#"{"dynamoDB": {"tableName": "t", "hashKeyField": "id", "hashKeyValue": "${id}",
        "rangeKeyField": "at", "rangeKeyValue": "${ts}", "roleArn": "r"}}"#;
    let found = told(&payload(action));
    let expected = "R012 array literals came with SQL version 2016-03-23";
    assert!(found.iter().any(|found| found.ends_with(expected)), "{found:?}");
    let one = action.replace(r#""rangeKeyValue": "${ts}","#, "");
    assert_eq!(told(&payload(&one)), Vec::<String>::new(), "one key needs no array");
}

#[test]
fn a_file_holds_any_number_of_documents() {
    let one = |name: &str| {
        format!(
            r#"{{"ruleName":"{name}","topicRulePayload":{}}}"#,
            payload(r#"{"cloudwatchLogs":{}}"#)
        )
    };
    let text = format!("\u{feff}[{}, {}]\n{}", one("a"), one("b"), one("c"));
    let checked = load("rules.json", &text);
    let names: Vec<String> = checked.rules.iter().map(|rule| rule.name().to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let twice = format!("{}{}", one("a"), one("A"));
    assert!(told(&twice).iter().any(|found| found.contains("R015")), "{:?}", told(&twice));
}

#[test]
fn other_json_among_rules_is_a_note_and_a_misspelt_rule_more() {
    let severities = |text: &str| {
        let checked = load("motes.json", text);
        checked.diagnostics.iter().map(|(_, found)| found.severity).collect::<Vec<_>>()
    };
    use crate::diagnostic::Severity::Note;
    use crate::diagnostic::Severity::Warning;
    assert_eq!(
        severities(r#"[{"moteid": 1}, {"moteid": 2}]"#),
        [Warning, Note],
        "and no rules at all"
    );
    assert_eq!(severities(r#"{"topicRulePaylaod": {}}"#), [Warning]);
    assert_eq!(severities(r#"{"rules": []}"#), [Warning]);
    assert_eq!(severities(r#"{"Resources": {"a": {"Type": "AWS::S3::Bucket"}}}"#), [Warning]);
}

#[test]
fn a_large_document_is_judged_quickly() {
    let bound = std::time::Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });
    let keys: String = (0..5000).map(|i| format!("\"kinesi{i}\": [[[[]]]],")).collect();
    let many = format!("{{{keys}\"sql\": \"\", \"actions\": []}}");
    let deep = format!("{{\"sql\": {}", "[".repeat(64 * 1024));
    let escapes = format!("{{\"sql\": \"{}\", \"actions\": []}}", "\\u0041".repeat(10 * 1024));
    let documents = format!("[{}]", vec![payload(""); 1000].join(","));
    let json = [many, deep, escapes, documents];
    let yaml = [
        "- ".repeat(30_000),
        "[".repeat(60_000),
        "{a: ".repeat(15_000),
        "? ".repeat(30_000),
        "a: &a [*a, *a]\n".repeat(4000),
        "x: |\n".to_owned() + &"          SELECT\n".repeat(3500),
        "Resources:\n".to_owned() + &"  A: {Type: AWS::IoT::TopicRule}\n".repeat(1800),
        "!".repeat(60_000),
        "\"".to_owned() + &"\\u0041".repeat(10_000) + "\"",
    ];
    let json = json.iter().map(|text| ("large.json", text));
    for (name, text) in json.chain(yaml.iter().map(|text| ("large.yaml", text))) {
        let started = Clock::instant();
        load(name, text);
        let took = Clock::instant().duration_since(started);
        let begin: String = text.chars().take(40).collect();
        assert!(took < bound, "{begin}: {took:?}");
    }
}

#[test]
fn a_yaml_file_has_so_many_values_and_not_one_more() {
    let is_refused = |items: usize| {
        // A mapping, a key, a sequence, its items.
        let checked = load("values.yaml", &format!("a: [{}]\n", vec!["1"; items].join(",")));
        checked.diagnostics.iter().any(|(_, found)| found.code == Code::SIZE)
    };
    assert!(!is_refused(YAML_VALUES_MAX - 3));
    assert!(is_refused(YAML_VALUES_MAX - 2));
}

#[test]
fn an_alias_is_never_followed() {
    let mut laughs = "a: &a [lol, lol]\n".to_owned();
    for (name, before) in ('b'..='z').zip('a'..='y') {
        laughs += &format!("{name}: &{name} [*{before}, *{before}, *{before}, *{before}]\n");
    }
    let rule = "Resources:\n  R:\n    Type: AWS::IoT::TopicRule\n    Properties:\n      \
                TopicRulePayload: {Sql: *z, Actions: []}\n";
    let checked = load("laughs.yaml", &(laughs + rule));
    let told: Vec<&str> = checked.diagnostics.iter().map(|(_, f)| f.message.as_str()).collect();
    let expected = "Sql must be a string, not an alias, which CloudFormation does not have";
    assert!(told.contains(&expected), "{told:?}");
}

#[test]
fn what_a_template_says_of_itself_is_resolved() {
    let sql = |properties: &str| {
        let text = format!(
            r#"{{"Parameters": {{"Site": {{"Default": "lab"}}, "Free": {{"Type": "String"}}}},
            "Resources": {{"R": {{"Type": "AWS::IoT::TopicRule", "Properties": {{"TopicRulePayload": {{
            "AwsIotSqlVersion": "2016-03-23", "Actions": [{{"CloudwatchLogs": {{}}}}], "Sql": {properties}}}}}}}}}}}"#
        );
        let checked = load("t.json", &text);
        let told = checked.diagnostics.iter().filter(|(_, found)| found.code.0 != "R031");
        let told: Vec<String> =
            told.map(|(_, found)| format!("{} {}", found.message, found.labels[0].text)).collect();
        (!checked.has_errors(), told.join("; "))
    };
    let cases = [
        (r#"{"Fn::Sub": "SELECT * FROM 'a' WHERE topic(1) = '${!x}'"}"#, true, ""),
        (
            r#"{"Fn::Sub": "SELECT * FROM '${Site}/+'"}"#,
            true,
            "Fn::Sub of Sql is not resolved Site is 'lab' here",
        ),
        (r#"{"Fn::Sub": ["SELECT * FROM '${S}/+'", {"S": "x"}]}"#, true, ""),
        (
            r#"{"Fn::Join": [" ", ["SELECT *", "FROM", {"Fn::Sub": "'${Site}'"}]]}"#,
            true,
            "Fn::Join of Sql is not resolved Site is 'lab' here",
        ),
        (
            r#"{"Fn::Sub": "SELECT * FROM '${Free}/+'"}"#,
            false,
            "Fn::Sub of Sql is not resolved nothing here says what Free is",
        ),
        (
            r#"{"Fn::ImportValue": "x"}"#,
            false,
            "Fn::ImportValue of Sql is not resolved nothing here says what Fn::ImportValue is",
        ),
        (
            r#"{"Fn::Sub": "SELECT lenght(a) FROM 'a' WHERE '${!x}' = 1"}"#,
            false,
            "there is no function lenght ",
        ),
    ];
    for (written, loads, told) in cases {
        let found = sql(written);
        assert!(found.0 == loads && found.1.starts_with(told), "{written}: {found:?}");
    }
}

/// A sample with pieces cut out, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let samples = [
        include_str!("../../../tests/aws/create_topic_rule.json"),
        include_str!("../../../tests/aws/get_topic_rule.json"),
        include_str!("../../../tests/aws/cloudformation.json"),
        include_str!("../../../tests/aws/motes.yaml"),
    ];
    let pieces = [
        "\"", "\\", "{", "}", "[", "]", ":", ",", "null", "7", "${", "\\u00e9", "\\ud83d", "ö",
        "\n", "  ", "- ", "|", ">", "&a", "*a", "!Sub ", "'", "#", "é", "---\n",
    ];
    let cut = (any::<prop::sample::Index>(), 0_usize..20, prop::sample::select(pieces.to_vec()));
    let cuts = proptest::collection::vec(cut, 1..4);
    (prop::sample::select(samples.to_vec()), cuts).prop_map(|(sample, cuts)| {
        let mut text: Vec<char> = sample.chars().collect();
        for (at, length, instead) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, instead.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn no_document_is_too_bad(
        text in prop_oneof![mutated(), "\\PC{0,80}"],
        name in prop::sample::select(vec!["fuzz.json", "fuzz.yaml", "fuzz.template"]),
    ) {
        let checked = load(name, &text);
        for (_, found) in &checked.diagnostics {
            for label in &found.labels {
                prop_assert!(text.get(label.span.clone()).is_some(), "{found:?} over {text:?}");
            }
        }
        for rule in checked.rules.iter().filter(|_| !checked.has_errors()) {
            let again = parse_file(&rule.text);
            prop_assert!(again.diagnostics.is_empty(), "{:?}", again.diagnostics);
            prop_assert_eq!(shape(&again.rules[0]), shape(&rule.definition), "{}", rule.text);
        }
    }
}
