//! Reference tables over a live gateway and in the commands.

use std::fs;

use serde_json::json;

use crate::live::Site;
use crate::live::tidegate;

const RULES: &str = "
CREATE TABLE motes FROM 'tables/motes.csv' KEY moteid;
CREATE RULE hot AS
  SELECT moteid, motes.room FROM 'lab/+/telemetry'
  JOIN motes ON motes.moteid = moteid
  WHERE temperature > motes.limit
DO STREAM alerts KEY motes.room;
";

fn site(table: &str) -> Site {
    let site = Site::with_rules(RULES);
    fs::create_dir(site.path("rules/tables")).expect("a folder for tables");
    site.write("rules/tables/motes.csv", table);
    site
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_published_message_meets_its_row() {
    let site = site("moteid,room,limit\n7,kitchen,30\n8,attic,50\n");
    let gateway = site.start();
    for mote in [7, 8, 9] {
        let payload = json!({"moteid": mote, "temperature": 40});
        gateway.publish(&format!("lab/{mote}/telemetry"), &payload.to_string());
    }
    let records = site.records("alerts");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["partition_key"], json!("kitchen"));
    assert_eq!(site.stream_data("alerts"), [json!({"moteid": 7, "room": "kitchen"})]);
    let (_, metrics) = gateway.get("/metrics");
    assert!(metrics.contains("rule_topic_matches_total{rule=\"hot\"} 3"), "{metrics}");
    assert!(metrics.contains("rule_hits_total{rule=\"hot\"} 1"), "{metrics}");
    let faults = metrics.lines().find(|line| line.contains("rule_faults_total{rule=\"hot\""));
    assert!(faults.is_none_or(|line| line.ends_with(" 0")), "no row is no fault: {faults:?}");
}

#[test]
fn a_wrong_row_keeps_the_gateway_from_starting_and_check_shows_it() {
    let site = site("moteid,room,limit\n7,kitchen,30\n7,attic\n");
    let checked = tidegate().arg("check").arg(site.path("rules")).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(1));
    let report = text(&checked.stderr);
    assert!(report.contains("motes.csv:3:1"), "{report}");
    assert!(report.contains("the row has 2 cells, the header names 3 columns"), "{report}");
    let run = site.run_command().output().expect("it runs");
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));
}

#[test]
fn eval_joins_the_tables_of_a_rule_set() {
    let site = site("moteid,room,limit\n7,kitchen,30\n");
    let evaluated = tidegate()
        .arg("eval")
        .args(["--sql", "SELECT m.room FROM 'x' JOIN motes AS m ON m.moteid = id"])
        .args(["--payload", r#"{"id":7}"#])
        .arg("--rules")
        .arg(site.path("rules"))
        .output()
        .expect("it runs");
    assert_eq!(text(&evaluated.stdout), "{\"result\":{\"room\":\"kitchen\"}}\n");
}
