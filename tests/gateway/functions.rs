//! Lambda functions that run beside the gateway, as they run at AWS: Python under awslambdaric, a
//! `bootstrap` with curl, and some that do not behave.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::json_lines;

/// `[hook.NAME]` of a function of `tests/clients/functions.py` that is tried twice.
fn python(name: &str, handler: &str, more: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/clients/bin/python");
    assert!(interpreter.exists(), "run tests/clients/install first");
    let command = format!("[{interpreter:?}, \"-m\", \"awslambdaric\", \"{handler}\"]");
    function(name, &command, more)
}

fn function(name: &str, command: &str, more: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    format!(
        "[hook.{name}]\ntimeout = \"10s\"\nanswer_timeout = \"30s\"\nattempts = 2\n\
         backoff = \"10ms\"\nbackoff_max = \"20ms\"\n\
         [hook.{name}.function]\ncommand = {command}\ndirectory = {directory:?}\n{more}\n"
    )
}

/// The processes that descend from `pid`, with their states.
fn descendants(pid: u32) -> BTreeMap<u32, char> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // PID (NAME) STATE PARENT …
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let number = head.split_whitespace().next().and_then(|number| number.parse::<u32>().ok());
        let mut rest = tail.split_whitespace();
        let state = rest.next().and_then(|state| state.chars().next());
        let parent = rest.next().and_then(|parent| parent.parse::<u32>().ok());
        if let (Some(number), Some(state), Some(parent)) = (number, state, parent) {
            processes.insert(number, (parent, state));
        }
    }
    let mut found = BTreeMap::new();
    let mut parents = BTreeSet::from([pid]);
    while let Some(parent) = parents.pop_first() {
        for (number, (of, state)) in &processes {
            if *of == parent && found.insert(*number, *state).is_none() {
                parents.insert(*number);
            }
        }
    }
    found
}

/// Waits until the gateway has `count` processes, and none that is dead and not reaped.
fn processes(gateway: &Gateway, count: usize) {
    eventually("the processes are as many as they should be", || {
        let found = descendants(gateway.pid());
        (found.len() == count && !found.values().any(|state| *state == 'Z')).then_some(())
    });
}

#[test]
fn an_unchanged_python_function_answers_in_sql() {
    let site = Site::with_rules(
        "CREATE RULE ask AS SELECT aws_lambda('double', *) AS said FROM 'in' DO STREAM out KEY 'k';",
    );
    let more = "[hook.double.function.environment]\nSECRET = \"hunter2\"";
    site.write("tidegate.toml", &python("double", "functions.double", more));
    let mut command = site.run_command();
    command.env("TIDEGATE_LOG", "info");
    let gateway = Gateway::start(command);
    for n in 1..=3 {
        gateway.publish("in", &format!("{{\"n\":{n}}}"));
    }
    let said = site.stream_data("out");
    let told: Vec<&Value> = said.iter().map(|one| &one["said"]).collect();
    assert_eq!(told.iter().map(|one| one["n"].clone()).collect::<Vec<_>>(), [2, 4, 6]);
    let ids: BTreeSet<String> = told.iter().map(|one| one["request_id"].to_string()).collect();
    assert_eq!(ids.len(), 3, "each event has a request id of its own");
    let first = told[0];
    assert_eq!(first["name"], "double");
    assert_eq!(first["arn"], "arn:aws:lambda:us-east-1:000000000000:function:double");
    assert_eq!((&first["has_time"], &first["secret"]), (&json!(true), &json!("hunter2")));
    assert_eq!(first["inherited"], false, "nothing of the gateway's environment is passed on");
    assert_eq!(first["custom"]["rule"], "ask");
    processes(&gateway, 1);
    let metrics = gateway.get("/metrics").1;
    assert!(
        metrics.contains("tidegate_hook_instances_started_total{hook=\"double\"} 1"),
        "{metrics}"
    );
    let pid = *descendants(gateway.pid()).keys().next().expect("one");
    let (status, log) = gateway.terminate();
    assert!(status.success());
    assert!(log.contains("doubling {'n': 3}"), "what it prints is in the log: {log}");
    assert!(!log.contains("hunter2"));
    assert!(!Path::new(&format!("/proc/{pid}/root")).exists(), "it ends with the gateway");
}

#[test]
fn a_bootstrap_of_shell_and_curl_is_a_function_too() {
    let site = Site::with_rules(
        "CREATE RULE ask AS SELECT aws_lambda('shell', *).said.n AS n FROM 'in' DO STREAM out KEY 'k';",
    );
    site.write("tidegate.toml", &function("shell", "[\"./bootstrap\"]", "instances_min = 2"));
    let gateway = site.start();
    // Two are there before anybody asks: each a shell and its curl.
    processes(&gateway, 4);
    gateway.publish("in", r#"{"n":7}"#);
    assert_eq!(site.stream_data("out"), [json!({"n": 7})]);
}

#[test]
fn events_that_were_accepted_reach_the_function_over_kills_under_one_request_id() {
    let site = Site::with_rules("CREATE RULE all AS SELECT n FROM 'in' DO INVOKE record;");
    let record = site.path("record");
    let more = format!("[hook.record.function.environment]\nRECORD = {record:?}");
    site.write("tidegate.toml", &python("record", "functions.record", &more));
    let recorded = || json_lines(&fs::read(&record).unwrap_or_default());
    for round in 0..5 {
        let gateway = site.start();
        for n in 0..10 {
            gateway.publish("in", &format!("{{\"n\":{}}}", round * 10 + n));
        }
        eventually("the function works", || (recorded().len() > round * 5).then_some(()));
        let orphans = descendants(gateway.pid());
        gateway.kill();
        eventually("functions end when the gateway is gone", || {
            let is_gone = |pid| !Path::new(&format!("/proc/{pid}/root")).exists();
            orphans.keys().all(is_gone).then_some(())
        });
    }
    let _gateway = site.start();
    let all = eventually("every event has arrived", || {
        let numbers: BTreeSet<u64> =
            recorded().iter().filter_map(|one| one["n"].as_u64()).collect();
        (numbers.len() == 50).then(recorded)
    });
    let mut ids: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for one in &all {
        ids.entry(one["n"].as_u64().expect("a number")).or_default().insert(one["id"].to_string());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "an event that comes again has the same id");
}

#[test]
fn a_function_that_misbehaves_is_told_of_in_its_own_words_and_hinders_nobody() {
    let site = Site::with_rules(
        "CREATE RULE bad AS SELECT how FROM 'bad' DO INVOKE behave ON ERROR DO STREAM errors KEY 'k';
         CREATE RULE good AS SELECT aws_lambda('double', *).n AS n FROM 'good' DO STREAM out KEY 'k';
         CREATE RULE broken AS SELECT n FROM 'broken' DO INVOKE broken ON ERROR DO STREAM broken KEY 'k';
         CREATE RULE gone AS SELECT n FROM 'gone' DO INVOKE gone ON ERROR DO STREAM gone KEY 'k';",
    );
    let behave = python("behave", "functions.behave", "memory_max = \"512 MiB\"")
        .replace("timeout = \"10s\"\n", "timeout = \"1500ms\"\n");
    let config = behave
        + &python("double", "functions.double", "")
        + &python("broken", "functions_broken.handler", "")
        + &function("gone", "[\"no-such-program\"]", "");
    site.write("tidegate.toml", &config);
    let gateway = site.start();
    let mut expected = Vec::new();
    for (how, says) in [
        ("raise", "ValueError: not with me"),
        ("exit", "exit status: 3): going now"),
        ("hang", "no answer within 1500 ms; it was ended"),
        ("fill", "MemoryError"),
        ("large", "the answer has more than 6291456 bytes"),
        ("fork", "exit status: 4"),
    ] {
        gateway.publish("bad", &json!({ "how": how }).to_string());
        expected.push(says);
        let errors = eventually("the failure is told", || {
            let errors = site.stream_data("errors");
            (errors.len() == expected.len()).then_some(errors)
        });
        let message = errors.last().expect("one")["failures"][0]["errorMessage"].to_string();
        assert!(message.contains(says), "{how}: {message}");
        gateway.publish("good", r#"{"n":1}"#);
    }
    assert_eq!(site.stream_data("out"), vec![json!({"n": 2}); expected.len()]);
    gateway.publish("broken", r#"{"n":1}"#);
    gateway.publish("gone", r#"{"n":1}"#);
    for (stream, says) in [
        ("broken", "it did not start: it cannot start: RuntimeError: no database here"),
        ("gone", "it did not start: cannot run no-such-program: No such file or directory"),
    ] {
        let errors = eventually("the failure is told", || {
            let errors = site.stream_data(stream);
            (!errors.is_empty()).then_some(errors)
        });
        let message = errors[0]["failures"][0]["errorMessage"].to_string();
        assert!(message.contains(says), "{message}");
    }
    gateway.publish("bad", r#"{"how":"print"}"#);
    gateway.publish("good", r#"{"n":1}"#);
    eventually("the function that prints has answered", || {
        let metrics = gateway.get("/metrics").1;
        metrics.contains("tidegate_hook_succeeded_total{hook=\"behave\"} 1").then_some(())
    });
    // Of `behave` and `double` one each is left; what they had started is gone with them.
    processes(&gateway, 2);
    let (status, log) = gateway.terminate();
    assert!(status.success());
    assert!(log.contains("the function prints too much"), "{log}");
}

#[test]
fn an_answer_counts_once_and_a_strange_one_not_at_all() {
    let site = Site::with_rules(
        "CREATE RULE ask AS SELECT aws_lambda('twice', *).n AS n FROM 'in' DO STREAM out KEY 'k';",
    );
    site.write("tidegate.toml", &function("twice", "[\"python3\", \"twice.py\"]", ""));
    let mut command = site.run_command();
    command.env("TIDEGATE_LOG", "info");
    let gateway = Gateway::start(command);
    for n in 1..=3 {
        gateway.publish("in", &format!("{{\"n\":{n}}}"));
    }
    assert_eq!(site.stream_data("out"), [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]);
    let (_, log) = gateway.terminate();
    assert!(log.contains("answered 400 202 400 404"), "{log}");
}

#[test]
fn the_worked_example_of_the_page_works() {
    let page = crate::manual::page("docs/functions.md");
    let block = |kind| crate::manual::blocks(&page, kind).next().expect("an example").to_owned();
    let site = Site::with_rules(&block("sql"));
    let interpreter = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/bin/python");
    let config = block("toml").replace("venv/bin/python", &interpreter.to_string_lossy());
    site.write("tidegate.toml", &config);
    fs::create_dir(site.path("functions")).expect("a new folder");
    site.write("functions/app.py", &block("python"));
    let gateway = site.start();
    gateway.publish("lab/7/telemetry", r#"{"moteid":7,"temperature":31}"#);
    assert_eq!(site.stream_data("scores"), [json!({"moteid": 7, "score": 62})]);
    eventually("the other rule's event has been answered too", || {
        let metrics = gateway.get("/metrics").1;
        metrics.contains("tidegate_hook_succeeded_total{hook=\"score\"} 1").then_some(())
    });
}
