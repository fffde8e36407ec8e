//! Functions that ask a service at AWS, asking the gateway itself: shadows, rows, secrets.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tidegate::limits::CALL_ANSWER_BYTES_MAX;

use crate::clients::HookServer;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::http;

const RULES: &str = "
CREATE RULE desired AS SELECT * FROM 'devices/+/desired' DO UPSERT shadows KEY topic(2);
CREATE RULE compare AS
  SELECT t, get_thing_shadow(topic(2), 'arn:aws:iam::1:role/r').target AS target
  FROM 'devices/+/t'
  WHERE t > get_thing_shadow(topic(2), 'arn:aws:iam::1:role/r').target
DO STREAM hot KEY topic(2);
";

#[test]
fn a_shadow_that_was_acknowledged_is_read_also_after_a_kill() {
    let site = Site::with_rules(RULES);
    let gateway = site.start();
    gateway.publish("devices/a/t", r#"{"t":25}"#);
    gateway.publish("devices/a/desired", r#"{"target":20}"#);
    gateway.publish("devices/a/t", r#"{"t":26}"#);
    gateway.kill();
    let gateway = site.start();
    gateway.publish("devices/a/t", r#"{"t":27}"#);
    gateway.publish("devices/b/t", r#"{"t":28}"#);
    let expected = [json!({"t": 26, "target": 20}), json!({"t": 27, "target": 20})];
    assert_eq!(site.stream_data("hot"), expected);
}

#[test]
fn secrets_come_from_file_and_environment_and_are_shown_nowhere() {
    let rules = "CREATE RULE sign AS
      SELECT sha256(concat(get_secret('key', 'SecretString', 'role'), n)) AS signed,
             get_secret('account', 'SecretString', 'user', 'role') AS user
      FROM 'in' DO STREAM out KEY 'k';";
    let site = Site::with_rules(rules);
    let config = format!(
        "[rules]\nwatch = false\n[secret.key]\nfile = \"{}\"\n[secret.account]\nenv = \"ACCOUNT\"\n",
        site.path("key").display()
    );
    site.write("tidegate.toml", &config);
    site.write("key", "hunter2\n");
    let mut command = site.run_command();
    command.env("ACCOUNT", r#"{"user":"ops","password":"correct horse"}"#);
    command.env("TIDEGATE_LOG", "debug");
    let gateway = Gateway::start(command);
    gateway.publish("in", r#"{"n":1}"#);
    site.write("key", "hunter3\n");
    gateway.publish("in", r#"{"n":1}"#);
    let (status, report) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert_eq!(status, 200, "{report}");
    gateway.publish("in", r#"{"n":1}"#);
    std::fs::remove_file(site.path("key")).expect("it was there");
    let (status, report) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert!(status != 200 && report.contains("the secret 'key' cannot be read"), "{report}");

    // printf hunter21 | sha256sum, and of hunter31: what the file has is taken over by a reload.
    let of = |sum: &str| json!({"signed": sum, "user": "ops"});
    let old = of("1acdf4f17b921141300a225d9ca41c618890a4d3fff1ec39a7009c31dbb4ea04");
    let new = of("01395669bef224621ca5273c270385174bf0b9ac0e2066b385273ba4e63a1fce");
    assert_eq!(site.stream_data("out"), [old.clone(), old, new]);
    let mut shown = report;
    for path in ["/api/rules", "/api/rules/sign", "/api/overview", "/metrics", "/api/hits"] {
        shown += &gateway.get(path).1;
    }
    shown += &gateway.terminate().1;
    for secret in ["hunter2", "hunter3", "correct horse"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

/// Publishes `lines` with QoS 1 over one connection, and waits for all acknowledgements.
fn publish_lines(gateway: &Gateway, topic: &str, lines: &[Value]) {
    let mut command = gateway.mosquitto("mosquitto_pub");
    let mut child = command
        .args(["-q", "1", "-l", "-t", topic])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    for line in lines {
        writeln!(stdin, "{line}").expect("it reads");
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

fn counter(gateway: &Gateway, line: &str) -> u64 {
    let (_, metrics) = gateway.get("/metrics");
    let found = metrics.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0)
}

const SCORED: &str = "
CREATE RULE scored AS
  SELECT n, aws_lambda('arn:aws:lambda:eu-west-1:123456789012:function:score', {'n': n}).said.n AS said
  FROM 'in/+'
  WHERE CASE wants WHEN true THEN aws_lambda('score', n).said >= 0 ELSE true END
DO STREAM out KEY 'k', REPUBLISH 'next/${aws_lambda(''score'', ''level'').said}';
CREATE RULE next AS SELECT aws_lambda('score', n).said AS next FROM 'next/+' DO STREAM next KEY 'k';
";

fn scoring(hook: &HookServer, timeout: &str) -> Site {
    let site = Site::with_rules(SCORED);
    let url = hook.echo_url();
    let config = format!("[hook.score]\nurl = \"{url}\"\nanswer_timeout = \"{timeout}\"\n");
    site.write("tidegate.toml", &config);
    site
}

#[test]
fn a_hook_answers_while_a_rule_is_evaluated_and_order_is_kept() {
    let hook = HookServer::start();
    let site = scoring(&hook, "20s");
    let gateway = site.start();
    let lines: Vec<Value> = (0..40).map(|n| json!({"n": n, "wants": n % 3 == 0})).collect();
    publish_lines(&gateway, "in/a", &lines);
    let expected: Vec<Value> = (0..40).map(|n| json!({"n": n, "said": n})).collect();
    assert_eq!(site.stream_data("out"), expected, "acknowledged, so it is there, in order");
    let mut next: Vec<Value> = site.stream_data("next");
    next.sort_by_key(|record| record["next"].as_u64());
    let expected: Vec<Value> = (0..40).map(|n| json!({ "next": n })).collect();
    assert_eq!(next, expected, "what is republished calls in turn");
    let calls = hook.calls();
    assert_eq!(calls.len(), 40 + 14 + 40 + 40);
    assert_eq!(calls[0]["headers"]["x-tidegate-rule"], json!("scored"));
    assert_eq!(counter(&gateway, "tidegate_hook_answered_total{hook=\"score\"}"), 134);
    assert_eq!(counter(&gateway, "tidegate_hook_pending{hook=\"score\"}"), 0, "none is stored");
}

#[test]
fn an_answer_too_large_is_none() {
    let hook = HookServer::start();
    let site = scoring(&hook, "20s");
    let gateway = site.start();
    // The argument comes back inside of the answer.
    let within = CALL_ANSWER_BYTES_MAX - r#"{"said": {"n": ""}}"#.len();
    let message = |length: usize| json!({"n": "x".repeat(length), "wants": false});
    publish_lines(&gateway, "in/a", &[message(within), message(within + 1)]);
    let lengths =
        |record: &Value| ["n", "said"].map(|member| record[member].as_str().map(str::len));
    let found: Vec<_> = site.stream_data("out").iter().map(lengths).collect();
    assert_eq!(found, [[Some(within), Some(within)], [Some(within + 1), None]]);
    let fault = "tidegate_rule_faults_total{rule=\"scored\",code=\"call_failed\"}";
    assert_eq!(counter(&gateway, fault), 1);
}

#[test]
fn a_hook_that_fails_or_dawdles_leaves_undefined_and_is_counted() {
    let hook = HookServer::start();
    let site = scoring(&hook, "200ms");
    let gateway = site.start();
    let fault = "tidegate_rule_faults_total{rule=\"scored\",code=\"call_failed\"}";
    hook.answer_with(500);
    publish_lines(
        &gateway,
        "in/a",
        &[json!({"n": 1, "wants": false}), json!({"n": 2, "wants": true})],
    );
    assert_eq!(site.stream_data("out"), [json!({"n": 1})], "WHERE is not true without an answer");
    // In SELECT and in the topic of the first, in WHERE of the second.
    assert_eq!(counter(&gateway, fault), 3);
    hook.answer_with(200);
    hook.delay(20.0);
    publish_lines(&gateway, "in/a", &[json!({"n": 3, "wants": false})]);
    hook.delay(0.0);
    publish_lines(&gateway, "in/a", &[json!({"n": 4, "wants": false})]);
    let expected = [json!({"n": 1}), json!({"n": 3}), json!({"n": 4, "said": 4})];
    assert_eq!(site.stream_data("out"), expected);
    assert_eq!(counter(&gateway, "tidegate_hook_unanswered_total{hook=\"score\"}"), 5);
}
