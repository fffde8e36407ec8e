//! Rules enabled and disabled by hand: `tidegate rule`.

use std::process::Output;

use serde_json::Value;
use serde_json::json;

use crate::live::Gateway;
use crate::live::Site;
use crate::live::http;
use crate::live::tidegate;

const RULES: &str = "
    CREATE RULE mark AS SELECT n FROM 'in/+' DO STREAM marks KEY 'k';
    CREATE RULE watch DESCRIPTION 'too hot' AS SELECT id FROM 'lab/+'
      WHEN t > 30 PARTITION BY id
    DO STREAM fired KEY 'k' ON CLEARED DO STREAM cleared KEY 'k';
    CREATE RULE spare DISABLED AS SELECT n FROM 'in/+' DO STREAM spares KEY 'k';
    CREATE RULE reader AS SELECT n FROM STREAM marks DO STREAM copies KEY 'k';";

fn site() -> Site {
    let site = Site::with_rules(RULES);
    site.write("tidegate.toml", "[rules]\nwatch = false\n");
    site
}

fn rule(site: &Site, words: &[&str]) -> (Option<i32>, String, String) {
    let output = tidegate().current_dir(site.path("")).arg("rule").args(words).output();
    let Output { status, stdout, stderr } = output.expect("tidegate runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn switch(site: &Site, verb: &str, name: &str) -> String {
    let (code, out, err) = rule(site, &[verb, name]);
    assert_eq!(code, Some(0), "{err}");
    out
}

/// State of a rule, and whether somebody has set it against its text.
fn state(gateway: &Gateway, name: &str) -> (String, bool) {
    let rule = gateway.get_json(&format!("/api/rules/{name}"));
    (rule["state"].as_str().expect("a state").to_owned(), rule["switched_at"].is_i64())
}

fn is(state: &str, by_hand: bool) -> (String, bool) {
    (state.to_owned(), by_hand)
}

fn metric(gateway: &Gateway) -> String {
    let (_, text) = gateway.get("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix("tidegate_rules_switched "));
    line.expect("the gauge").to_owned()
}

fn reload(gateway: &Gateway) -> Value {
    let (status, body) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn a_rule_that_is_disabled_judges_nothing_over_restarts_and_reloads() {
    let site = site();
    let gateway = site.start();
    gateway.publish("in/a", r#"{"n":1}"#);
    assert_eq!(switch(&site, "disable", "mark"), "mark is disabled\n");
    assert_eq!(switch(&site, "disable", "mark"), "mark is disabled\n", "it was so already");
    assert_eq!(switch(&site, "enable", "spare"), "spare is enabled\n");
    assert_eq!(metric(&gateway), "2");
    gateway.publish("in/a", r#"{"n":2}"#);
    let report = reload(&gateway);
    assert_eq!((&report["unchanged"], &report["changed"]), (&json!(4), &json!(0)), "{report}");
    gateway.publish("in/a", r#"{"n":3}"#);
    gateway.kill();
    let gateway = site.start();
    assert_eq!(metric(&gateway), "2");
    assert_eq!(state(&gateway, "mark"), is("disabled", true));
    assert_eq!(state(&gateway, "spare"), is("running", true));
    gateway.publish("in/a", r#"{"n":4}"#);
    assert_eq!(switch(&site, "enable", "mark"), "mark is enabled, as its text has it\n");
    gateway.publish("in/a", r#"{"n":5}"#);
    let numbers = |stream: &str| -> Vec<Value> {
        site.stream_data(stream).iter().map(|record| record["n"].clone()).collect()
    };
    assert_eq!(numbers("marks"), [json!(1), json!(5)]);
    assert_eq!(numbers("spares"), [json!(2), json!(3), json!(4), json!(5)]);
}

#[test]
fn a_text_that_says_the_same_takes_over_again_and_a_rule_that_is_gone_leaves_nothing() {
    let site = site();
    let gateway = site.start();
    switch(&site, "disable", "mark");
    switch(&site, "disable", "watch");
    site.write("rules/test.rule", &RULES.replace("mark AS", "mark DISABLED AS"));
    reload(&gateway);
    assert_eq!(state(&gateway, "mark"), is("disabled", false));
    site.write("rules/test.rule", "CREATE RULE mark AS SELECT n FROM 'in/+' DO STREAM marks;");
    reload(&gateway);
    assert_eq!(state(&gateway, "mark"), is("running", false), "the text decides");
    assert_eq!(metric(&gateway), "0");
    site.write("rules/test.rule", RULES);
    reload(&gateway);
    assert_eq!(state(&gateway, "watch"), is("running", false), "a new rule of an old name");

    // The same for what changed while no gateway ran.
    switch(&site, "disable", "watch");
    gateway.terminate();
    site.write("rules/test.rule", "CREATE RULE mark AS SELECT n FROM 'in/+' DO STREAM marks;");
    site.start().terminate();
    site.write("rules/test.rule", RULES);
    let gateway = site.start();
    assert_eq!(state(&gateway, "watch"), is("running", false));
}

#[test]
fn what_is_watched_ends_and_a_stream_is_read_on_where_it_stood() {
    let site = site();
    let gateway = site.start();
    gateway.publish("lab/7", r#"{"id":7,"t":31}"#);
    assert_eq!(site.stream_data("fired").len(), 1);
    switch(&site, "disable", "watch");
    let hits = gateway.get_json("/api/hits?rule=watch&limit=1");
    assert_eq!(hits["hits"][0]["output"]["json"], json!({"reason": "rule_changed"}));
    gateway.publish("lab/7", r#"{"id":7,"t":20}"#);
    switch(&site, "enable", "watch");
    assert_eq!(site.stream_data("cleared").len(), 0, "the hit log alone has it");
    gateway.publish("lab/7", r#"{"id":7,"t":31}"#);
    assert_eq!(site.stream_data("fired").len(), 2, "it starts afresh");

    switch(&site, "disable", "reader");
    gateway.publish("in/a", r#"{"n":1}"#);
    gateway.publish("in/a", r#"{"n":2}"#);
    assert_eq!(site.stream_data("copies").len(), 0);
    switch(&site, "enable", "reader");
    crate::live::eventually("what came meanwhile is read", || {
        (site.stream_data("copies").len() == 2).then_some(())
    });
}

#[test]
fn a_rule_is_switched_while_the_files_have_errors() {
    let site = site();
    let gateway = site.start();
    site.write("rules/test.rule", "CREATE RULE mark AS SELECT lenght(n) FROM 'in/+' DO LOG;");
    let (status, body) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert_eq!(status, 422, "{body}");
    switch(&site, "disable", "mark");
    gateway.publish("in/a", r#"{"n":1}"#);
    assert_eq!(site.stream_data("marks").len(), 0);
    let set = &gateway.get_json("/api/overview")["rule_set"];
    assert_eq!((&set["generation"], &set["stale"]["errors"]), (&json!(2), &json!(1)), "{set}");
}

#[test]
fn rules_are_listed_and_shown() {
    let site = site();
    let gateway = site.start();
    gateway.publish("in/a", r#"{"n":1}"#);
    gateway.publish("lab/7", r#"{"id":7,"t":31}"#);
    switch(&site, "disable", "mark");
    let (code, out, err) = rule(&site, &["list"]);
    assert_eq!(code, Some(0), "{err}");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split("  ").collect()).collect();
    let row = |name: &str| {
        let row = rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{out}"));
        let cells = row.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(row("mark")[1..5], ["disabled by hand", "in/+", "1", "1"]);
    assert_eq!(row("spare")[1..], ["disabled", "in/+", "0", "0", "0", "-"]);
    assert_eq!(row("reader")[1..3], ["running", "STREAM marks"]);
    let (_, out, _) = rule(&site, &["list", "--format", "json"]);
    let all: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(all, gateway.get_json("/api/rules"));

    let (code, out, _) = rule(&site, &["show", "watch"]);
    assert_eq!(code, Some(0));
    for part in
        ["watch  running", "1 matched, 1 hits", "1 firing\n  [7]  true since", "WHEN t > 30"]
    {
        assert!(out.contains(part), "no {part:?} in {out}");
    }
    let (_, out, _) = rule(&site, &["show", "watch", "--format", "json"]);
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(shown["description"], "too hot");
    let (code, _, err) = rule(&site, &["disable", "wotch"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("there is no rule named 'wotch'; did you mean 'watch'?"), "{err}");
    gateway.terminate();
    let (code, _, err) = rule(&site, &["list"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("no gateway runs on data"), "{err}");
}

#[test]
fn a_rule_that_runs_is_explained_as_its_text_is() {
    let site = site();
    let gateway = site.start();
    for name in ["mark", "watch", "spare", "reader"] {
        let explain = tidegate()
            .current_dir(site.path(""))
            .args(["explain", name, "--format", "json"])
            .output()
            .expect("it runs");
        let of_text: Value = serde_json::from_slice(&explain.stdout).expect("JSON");
        assert_eq!(of_text["rule"], name);
        assert_eq!(gateway.get_json(&format!("/api/rules/{name}/explain")), of_text);
    }
}
