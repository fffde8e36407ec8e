use super::super::Rule;
use super::super::ast::SqlVersion;

/// Every statement of the corpus of AWS IoT SQL, where it lies beside the project.
#[test]
fn the_corpus_parses_except_where_aws_refuses() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/aws-iot-sql");
    for file in ["cases.jsonl", "cases_thirdparty.jsonl"] {
        let Ok(text) = std::fs::read_to_string(format!("{folder}/{file}")) else { return };
        for line in text.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let sql = case["sql"].as_str().unwrap();
            let version = match case["sql_version"].as_str() {
                Some("2015-10-08") => SqlVersion::V2015_10_08,
                _ => SqlVersion::V2016_03_23,
            };
            let parsed = Rule::from_select("case", sql, version);
            let is_refused = case["expect_parse_error"].as_bool() == Some(true);
            assert_eq!(parsed.is_err(), is_refused, "{sql}\n{parsed:#?}");
        }
    }
}
