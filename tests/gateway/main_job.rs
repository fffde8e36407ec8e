//! The main job over a live gateway: publish, rule, stream, delivery, hook, subscriber, dashboard.

use std::process::Command;
use std::process::Stdio;

use serde_json::json;

use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;
use crate::live::json_lines;
use crate::live::tidegate;

const LAB: &str = "
CREATE RULE hot AS
  SELECT moteid, temperature, topic(2) AS mote FROM 'lab/+/telemetry' WHERE temperature > 30
DO STREAM alerts KEY moteid,
   DELIVER archive,
   INVOKE pager,
   REPUBLISH 'alerts/${moteid}' QOS 1;
";

fn lab_site(hook_url: &str) -> Site {
    let site = Site::with_rules(LAB);
    site.write(
        "tidegate.toml",
        &format!(
            "[delivery.archive]\nbuffer_interval = \"1s\"\n\n[hook.pager]\nurl = \"{hook_url}\"\n\
             backoff = \"50ms\"\nbackoff_max = \"200ms\"\n"
        ),
    );
    site
}

#[test]
fn an_acknowledged_match_is_in_stream_delivery_hook_and_at_the_subscriber() {
    let hook = crate::clients::HookServer::start();
    let site = lab_site(&hook.url());
    let gateway = site.start();
    let mut subscriber = gateway
        .mosquitto("mosquitto_sub")
        .args(["-q", "1", "-t", "alerts/#", "-C", "1", "-W", "20", "-v", "-d"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub is installed by tests/clients/install");
    eventually("the subscription is known", || {
        let clients = gateway.get_json("/api/clients");
        clients.to_string().contains("alerts/#").then_some(())
    });
    gateway.publish("lab/7/telemetry", r#"{"moteid":7,"temperature":31}"#);
    gateway.publish("lab/8/telemetry", r#"{"moteid":8,"temperature":12}"#);

    let expected = json!({"moteid": 7, "temperature": 31, "mote": "7"});
    assert_eq!(
        site.stream_data("alerts"),
        std::slice::from_ref(&expected),
        "the stream holds the match and nothing else"
    );
    assert_eq!(site.records("alerts")[0]["partition_key"], json!("7"));
    assert_eq!(hook.call(), expected, "the hook was called with the output");
    let file = eventually("a delivered file", || {
        site.files_below("data/delivery/archive")
            .into_iter()
            .find(|p| p.extension().is_some_and(|e| e == "jsonl"))
    });
    let text = std::fs::read(&file).expect("a delivered file");
    assert_eq!(json_lines(&text), std::slice::from_ref(&expected));
    let hits = gateway.get_json("/api/hits?rule=hot");
    assert!(hits.to_string().contains("lab/7/telemetry"), "{hits}");
    subscriber.wait().expect("mosquitto_sub ends after one message");
    let output = subscriber.wait_with_output().expect("its output");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(seen.contains(r#"alerts/7 {"moteid":7"#), "{seen}");
}

#[test]
fn a_stopped_gateway_goes_on_where_it_was_and_exits_cleanly() {
    let hook = crate::clients::HookServer::start();
    hook.answer_with(503);
    let site = lab_site(&hook.url());
    let gateway = site.start();
    gateway.publish("lab/7/telemetry", r#"{"moteid":7,"temperature":31}"#);
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    hook.answer_with(200);
    let gateway = site.start();
    assert_eq!(
        hook.call()["moteid"],
        json!(7),
        "a call that was pending is made after the restart"
    );
    assert_eq!(site.stream_data("alerts").len(), 1);
    drop(gateway);
}

#[test]
fn health_readiness_and_metrics_answer() {
    let site =
        Site::with_rules("CREATE RULE all AS SELECT * FROM '#' DO STREAM everything KEY topic();");
    let gateway = site.start();
    assert_eq!(gateway.get("/healthz").0, 200);
    assert_eq!(gateway.get("/readyz").0, 200);
    gateway.publish("a/b", r#"{"n":1}"#);
    let (status, metrics) = gateway.get("/metrics");
    assert_eq!(status, 200);
    for line in ["rule_hits_total{rule=\"all\"} 1", "rule_topic_matches_total{rule=\"all\"} 1"] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let page = include_str!("../../docs/metrics.md");
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let name = name.split_whitespace().next().unwrap_or_default();
        assert!(page.contains(&format!("| `{name}` |")), "docs/metrics.md lacks {name}");
    }
}

#[test]
fn republished_messages_pass_the_rules_and_loops_are_cut() {
    let site = Site::with_rules(
        "CREATE RULE first AS SELECT n FROM 'in/+' DO REPUBLISH 'mid/${n}';
         CREATE RULE second AS SELECT n + 1 AS n FROM 'mid/+' DO STREAM out KEY topic();
         CREATE RULE ping AS SELECT * FROM 'ping/#' DO REPUBLISH '${to}', STREAM pings KEY 'x'
         ON ERROR DO STREAM errors KEY 'e';",
    );
    let gateway = site.start();
    gateway.publish("in/x", r#"{"n":1}"#);
    assert_eq!(site.stream_data("out"), [json!({"n": 2})]);
    gateway.publish("ping/a", r#"{"n":1,"to":"ping/a"}"#);
    assert_eq!(site.stream_data("pings").len(), 1 + 4, "the message and four republished ones");
    let errors = site.stream_data("errors");
    assert_eq!(errors.len(), 1, "the fifth hop is an error of the rule");
    let failure = &errors[0]["failures"][0];
    assert_eq!(failure["failedAction"], "republish", "{errors:?}");
    assert_eq!(errors[0]["topic"], "ping/a");
    let rules = gateway.get_json("/api/rules").to_string();
    assert!(rules.contains("hops_exceeded"), "{rules}");
}

#[test]
fn stream_commands_list_describe_put_and_tail() {
    let site = Site::with_rules("CREATE RULE all AS SELECT * FROM 'x' DO STREAM s KEY 'k';");
    let run = |args: &[&str]| {
        let output = tidegate()
            .current_dir(site.path(""))
            .args(args)
            .args(["--data", "data"])
            .output()
            .expect("tidegate runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let gateway = site.start();
    gateway.publish("x", r#"{"n":1}"#);
    let (code, out, err) = run(&["stream", "put", "s", "--key", "k2", r#"{"n":2}"#]);
    assert_eq!(code, Some(0), "through the running gateway: {out}{err}");
    gateway.terminate();
    let (code, out, err) = run(&["stream", "put", "s", "--key", "k3", "plain text"]);
    assert_eq!(code, Some(0), "into the data folder: {out}{err}");
    let mut data: Vec<String> =
        site.records("s").iter().map(|r| format!("{}{}", r["data"], r["data_base64"])).collect();
    data.sort();
    assert_eq!(data, [r#"null"cGxhaW4gdGV4dA==""#, r#"{"n":1}null"#, r#"{"n":2}null"#]);
    let (code, out, _) = run(&["stream", "list"]);
    assert!(code == Some(0) && out.contains('s'), "{out}");
    let (code, out, _) = run(&["stream", "describe", "s"]);
    assert!(code == Some(0) && out.contains("shardId-000000000000"), "{out}");
    let (code, _, err) = run(&["stream", "tail", "t", "--no-follow"]);
    assert_ne!(code, Some(0));
    assert!(err.contains("did you mean") && err.contains("'s'"), "{err}");
}

#[test]
fn the_demo_device_makes_hits_within_seconds() {
    let site = Site::with_rules(
        "CREATE RULE host AS SELECT cpu, memory FROM 'demo/host/telemetry' DO STREAM host KEY 'h';",
    );
    let mut command = site.run_command();
    command.arg("--demo");
    let gateway = Gateway::start(command);
    let hit = eventually("a hit of the demo device", || {
        let hits = gateway.get_json("/api/hits?rule=host");
        hits.to_string().contains("memory").then_some(hits)
    });
    assert!(hit.to_string().contains("demo-host"), "{hit}");
}

#[test]
fn a_record_put_over_http_is_in_the_stream() {
    let site = Site::with_rules("CREATE RULE all AS SELECT * FROM 'x' DO STREAM s KEY 'k';");
    let gateway = site.start();
    let url = format!("{}/api/streams/s/records", gateway.http);
    let (status, body) = http("POST", &url, Some(r#"{"partition_key":"k","data":{"n":5}}"#));
    assert_eq!(status, 200, "{body}");
    assert_eq!(site.stream_data("s"), [json!({"n": 5})]);
    let (status, body) = http("POST", &url, Some("{"));
    assert_eq!(status, 400, "{body}");
}

#[test]
fn version_and_help_answer_without_a_gateway() {
    for args in [&["--version"][..], &["--help"], &["run", "--help"]] {
        let output: std::process::Output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(args)
            .output()
            .expect("tidegate runs");
        assert!(output.status.success());
        assert!(!output.stdout.is_empty());
    }
}
