//! Rules change while the gateway runs: by watching, signal, API and command.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::process::Output;

use serde_json::Value;
use serde_json::json;

use crate::clients::Publisher;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;
use crate::live::tidegate;

/// A site whose rules change only when asked.
fn unwatched(rules: &str) -> Site {
    let site = Site::with_rules(rules);
    site.write("tidegate.toml", "[rules]\nwatch = false\n");
    site
}

/// `POST /api/rules/reload`.
fn reload(gateway: &Gateway) -> (u16, Value) {
    let (status, body) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

/// Writes the site's rules anew and has them loaded.
fn change(site: &Site, gateway: &Gateway, rules: &str) -> Value {
    site.write("rules/test.rule", rules);
    let (status, report) = reload(gateway);
    assert_eq!(status, 200, "{report}");
    report
}

fn rule_set(gateway: &Gateway) -> Value {
    gateway.get_json("/api/overview")["rule_set"].take()
}

fn rule_names(gateway: &Gateway) -> Vec<String> {
    let rules = gateway.get_json("/api/rules");
    let rules = rules["rules"].as_array().expect("rules");
    rules.iter().map(|rule| rule["name"].as_str().expect("a name").to_owned()).collect()
}

fn metric(gateway: &Gateway, name: &str) -> Option<String> {
    let (_, text) = gateway.get("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(str::to_owned)
}

fn command(site: &Site, args: &[&str]) -> (Option<i32>, String, String) {
    let output = tidegate().current_dir(site.path("")).args(args).output();
    let Output { status, stdout, stderr } = output.expect("tidegate runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

/// Matches everything below `in/` into a stream, marked with `by`.
fn marking(by: &str) -> String {
    format!("CREATE RULE mark AS SELECT n, '{by}' AS by FROM 'in/+' DO STREAM marks KEY 'k';")
}

#[test]
fn a_change_on_disk_is_loaded_without_being_asked_for() {
    let site = Site::with_rules(&marking("first"));
    let gateway = site.start();
    let runs = |what: &str, names: &[&str]| {
        eventually(what, || (rule_names(&gateway) == names).then_some(()));
    };
    gateway.publish("in/a", r#"{"n":1}"#);

    // As most editors save: a new file under the old name.
    site.write("rules/.test.rule.new", &marking("second").replace("mark ", "renamed "));
    let (new, old) = (site.path("rules/.test.rule.new"), site.path("rules/test.rule"));
    fs::rename(new, &old).expect("a rename");
    runs("the file that was renamed over the old one", &["renamed"]);
    gateway.publish("in/a", r#"{"n":2}"#);
    let by: Vec<Value> = site.stream_data("marks").iter().map(|r| r["by"].clone()).collect();
    assert_eq!(by, [json!("first"), json!("second")]);

    site.write("rules/test.rule", &marking("third"));
    runs("a file written in place", &["mark"]);
    fs::create_dir(site.path("rules/more")).expect("a folder");
    site.write("rules/more/b.rule", "CREATE RULE b AS SELECT * FROM 'b' DO LOG;");
    runs("a file in a new folder", &["b", "mark"]);
    fs::rename(&old, site.path("rules/more/a.rule")).expect("a move");
    runs("a rule that moved to another file", &["mark", "b"]);
    fs::remove_file(site.path("rules/more/b.rule")).expect("a rule file");
    runs("a file that is gone", &["mark"]);
    assert_eq!(rule_set(&gateway)["stale"], Value::Null);
}

#[test]
fn a_rules_folder_that_vanishes_ends_nothing_and_comes_back() {
    let site = Site::with_rules(&marking("first"));
    let gateway = site.start();
    let stale = |what: &str| {
        eventually(what, || {
            let message = rule_set(&gateway)["stale"]["message"].as_str()?.to_owned();
            Some(message)
        })
    };
    fs::rename(site.path("rules"), site.path("away")).expect("a rename");
    let message = stale("the folder is missed");
    assert_eq!(message, "the rules on disk have 1 error in 1 file");
    fs::create_dir(site.path("rules")).expect("a folder");
    eventually("an empty folder is another finding", || {
        let message = stale("the folder is empty");
        message.starts_with("there are no rules on disk any more; 1 rule ran").then_some(())
    });
    gateway.publish("in/a", r#"{"n":1}"#);
    assert_eq!(site.stream_data("marks").len(), 1, "the rule still runs");
    fs::remove_dir(site.path("rules")).expect("an empty folder");
    fs::rename(site.path("away"), site.path("rules")).expect("a rename");
    eventually("the folder is back", || (rule_set(&gateway)["stale"] == Value::Null).then_some(()));

    // Who asks for it gets it.
    fs::remove_file(site.path("rules/test.rule")).expect("the rule file");
    let (status, report) = reload(&gateway);
    assert_eq!((status, &report["removed"]), (200, &json!(1)), "{report}");
    assert!(rule_names(&gateway).is_empty());
}

#[test]
fn a_set_with_errors_is_refused_and_told_everywhere() {
    let site = unwatched(&marking("first"));
    let gateway = site.start();
    assert_eq!(metric(&gateway, "tidegate_rules_stale").as_deref(), Some("0"));
    site.write("rules/bad.rule", "CREATE RULE b AS SELECT lenght(x) FROM 'b' DO INVOKE nobody;");

    let (status, body) = reload(&gateway);
    assert_eq!(status, 422, "{body}");
    assert_eq!(body["error"]["code"], "rules_refused");
    assert_eq!(body["error"]["message"], "the rules on disk have 2 errors in 2 files");
    let report = &body["reload"];
    assert_eq!((&report["result"], &report["generation"]), (&json!("refused"), &json!(1)));
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(findings[0]["file"], "rules/bad.rule", "{report}");
    assert!(findings.iter().any(|f| f["help"].to_string().contains("length")), "{report}");
    let drawn = report["report"].as_str().expect("a report");
    assert!(drawn.contains("rules/bad.rule:1:") && drawn.contains("no hook nobody"), "{drawn}");

    let (code, out, err) = command(&site, &["reload"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains(drawn) && err.contains("not reloaded: the rules on disk"), "{err}");
    assert_eq!(rule_set(&gateway)["stale"]["errors"], 2);
    assert_eq!(metric(&gateway, "tidegate_rules_stale").as_deref(), Some("1"));
    let refused = "tidegate_rules_reloads_total{result=\"refused\"}";
    assert_eq!(metric(&gateway, refused).as_deref(), Some("2"));
    gateway.publish("in/a", r#"{"n":1}"#);
    assert_eq!(site.stream_data("marks").len(), 1, "the old set runs on");

    site.write("rules/bad.rule", "CREATE RULE b AS SELECT length(x) AS n FROM 'b' DO LOG;");
    let (code, out, err) = command(&site, &["reload"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with("2 rules: 1 added, 0 changed, 0 removed, 1 as before\n"), "{out}");
    let set = rule_set(&gateway);
    assert_eq!((&set["stale"], &set["generation"]), (&Value::Null, &json!(2)));
    assert_eq!(metric(&gateway, "tidegate_rules_stale").as_deref(), Some("0"));
    let (_, log) = gateway.terminate();
    assert!(log.contains("the rules were not reloaded"), "{log}");
}

#[test]
fn a_signal_reloads_and_a_command_without_a_gateway_says_so() {
    let site = unwatched(&marking("first"));
    let gateway = site.start();
    site.write("rules/test.rule", &marking("second").replace("mark ", "renamed "));
    let hangup = Command::new("kill").args(["-HUP", &gateway.pid().to_string()]).status();
    assert!(hangup.expect("kill runs").success());
    eventually("the new rule", || (rule_names(&gateway) == ["renamed"]).then_some(()));
    let (code, out, _) = command(&site, &["reload", "--format", "json"]);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &report["generation"]), (Some(0), &json!(3)), "{report}");
    drop(gateway);
    let (code, _, err) = command(&site, &["reload"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("no gateway runs on data"), "{err}");
}

/// A rule over `lab/+`, one key a mote.
fn watching(condition: &str, rest: &str) -> String {
    format!(
        "CREATE RULE watch AS SELECT moteid, hold.since AS since, hold.samples AS n FROM 'lab/+'
           WHEN {condition} {rest} PARTITION BY moteid
         DO STREAM fired KEY 'k' ON CLEARED DO STREAM cleared KEY 'k';
         CREATE RULE other AS SELECT * FROM 'other' DO LOG;"
    )
}

fn holds(gateway: &Gateway) -> (Value, Value) {
    let detail = gateway.get_json("/api/rules/watch");
    (detail["holds"]["pending_total"].clone(), detail["holds"]["firing_total"].clone())
}

#[test]
fn a_new_duration_applies_at_once_to_what_is_pending() {
    let site = unwatched(&watching("t > 30", "FOR 1 HOUR"));
    let gateway = site.start();
    gateway.publish("lab/7", r#"{"moteid":7,"t":31}"#);
    assert_eq!(holds(&gateway), (json!(1), json!(0)));
    let since = gateway.get_json("/api/rules/watch")["holds"]["pending"][0]["since"].clone();
    change(&site, &gateway, &watching("t > 30", "FOR 2 HOURS"));
    assert_eq!(holds(&gateway), (json!(1), json!(0)), "kept");
    change(&site, &gateway, &watching("t > 30", "FOR 1 MILLISECOND"));
    let fired = eventually("it fires", || {
        let fired = site.stream_data("fired");
        (!fired.is_empty()).then_some(fired)
    });
    assert_eq!(fired.len(), 1);
    assert_eq!((&fired[0]["since"], &fired[0]["n"]), (&since, &json!(1)));

    change(&site, &gateway, &watching("t > 30", "FOR 1 HOUR MAX GAP 2 HOURS"));
    assert_eq!(holds(&gateway), (json!(0), json!(1)), "what fires goes on firing");
    gateway.publish("lab/7", r#"{"moteid":7,"t":20}"#);
    assert_eq!(site.stream_data("cleared").len(), 1);
}

#[test]
fn another_condition_clears_what_fires_and_starts_afresh() {
    let site = unwatched(&watching("t > 30", "FOR 0 SECONDS"));
    let gateway = site.start();
    gateway.publish("lab/7", r#"{"moteid":7,"t":31}"#);
    assert_eq!(site.stream_data("fired").len(), 1);
    change(&site, &gateway, &watching("t > 10", "FOR 0 SECONDS"));
    assert_eq!(holds(&gateway), (json!(0), json!(0)));
    assert_eq!(site.stream_data("cleared").len(), 1, "by the time the reload has answered");
    gateway.publish("lab/7", r#"{"moteid":7,"t":31}"#);
    assert_eq!(site.stream_data("fired").len(), 2);

    // Switched off: it ends, and nothing is watched.
    let text = watching("t > 10", "FOR 0 SECONDS");
    change(&site, &gateway, &text.replace("watch AS", "watch DISABLED AS"));
    assert_eq!(holds(&gateway), (json!(0), json!(0)));
    gateway.publish("lab/7", r#"{"moteid":7,"t":31}"#);
    assert_eq!(site.stream_data("fired").len(), 2);
    let hits = gateway.get_json("/api/hits?rule=watch&limit=1");
    assert_eq!(hits["hits"][0]["output"]["json"], json!({"reason": "rule_changed"}));
    change(&site, &gateway, &text);
    gateway.publish("lab/7", r#"{"moteid":7,"t":31}"#);
    assert_eq!(site.stream_data("fired").len(), 3, "switched on it starts afresh");
}

#[test]
fn a_removed_rule_leaves_its_hits_and_nothing_else() {
    let site = unwatched(&watching("t > 30", "FOR 0 SECONDS"));
    let gateway = site.start();
    gateway.publish("lab/7", r#"{"moteid":7,"t":31}"#);
    let hits = "tidegate_rule_hits_total{rule=\"watch\"}";
    assert_eq!(metric(&gateway, hits).as_deref(), Some("1"));
    let text = watching("t > 30", "FOR 0 SECONDS");
    let alone = text.split_once(';').expect("two statements").1;
    let report = change(&site, &gateway, alone);
    assert_eq!((&report["removed"], &report["unchanged"]), (&json!(1), &json!(1)));
    let log = gateway.get_json("/api/hits?rule=watch");
    let log = log["hits"].as_array().expect("hits");
    assert_eq!(log.len(), 2);
    assert_eq!((&log[0]["event"], &log[0]["rule"]), (&json!("cleared"), &json!("watch")));
    assert_eq!(log[0]["output"]["json"], json!({"reason": "rule_removed"}));
    let (_, metrics) = gateway.get("/metrics");
    assert!(!metrics.contains("rule=\"watch\""), "{metrics}");
    assert_eq!(gateway.get("/api/rules/watch").0, 404);
    assert_eq!(gateway.get_json("/api/overview")["totals"]["hits"], 1, "the sum since the start");

    change(&site, &gateway, &text);
    assert_eq!(metric(&gateway, hits).as_deref(), Some("0"));
    assert_eq!(holds(&gateway), (json!(0), json!(0)));
    gateway.publish("lab/7", r#"{"moteid":7,"t":31}"#);
    assert_eq!(site.stream_data("fired").len(), 2, "it starts afresh");
}

#[test]
fn an_edited_rule_goes_on_counting_and_new_targets_are_made() {
    let site = unwatched(&marking("first"));
    let gateway = site.start();
    gateway.publish("in/a", r#"{"n":1}"#);
    let edited = "CREATE RULE added AS SELECT * FROM 'in/+' DO STREAM fresh KEY 'k', DELIVER lake;
                  CREATE RULE mark AS SELECT n FROM 'in/+' DO STREAM marks KEY 'k';";
    change(&site, &gateway, edited);
    let streams = gateway.get_json("/api/streams");
    let fresh = streams["streams"].as_array().expect("streams");
    let fresh = fresh.iter().find(|stream| stream["name"] == "fresh").expect("it is there already");
    assert_eq!((&fresh["shards"], &fresh["records"]), (&json!(2), &json!(0)));
    gateway.publish("in/a", r#"{"n":2}"#);
    let rules = gateway.get_json("/api/rules");
    assert_eq!(
        (&rules["rules"][0]["name"], &rules["rules"][0]["hits"]),
        (&json!("added"), &json!(1))
    );
    assert_eq!(
        (&rules["rules"][1]["name"], &rules["rules"][1]["hits"]),
        (&json!("mark"), &json!(2))
    );
    assert_eq!(site.stream_data("fresh").len(), 1);
    let lake = gateway.get_json("/api/deliveries");
    assert_eq!(lake["deliveries"][0]["name"], "lake", "{lake}");
    eventually("the chart has both hits in the ring of the rule's name", || {
        let series = gateway.get_json("/api/series");
        let rules = series["rules"].as_array()?;
        let mark = rules.iter().find(|rule| rule["rule"] == "mark")?;
        let sum: u64 = mark["hits"].as_array()?.iter().filter_map(Value::as_u64).sum();
        (sum == 2).then_some(())
    });
}

/// Both rules of generation `n`: every message goes to `kept` and `twin`, and fires once into `fired`.
fn generation(n: usize) -> String {
    format!(
        "CREATE RULE keep AS SELECT id, {n} AS by FROM 'load/+' DO STREAM kept KEY id;
         CREATE RULE edge AS SELECT id, {n} AS by FROM 'load/+'
           WHEN n > -{} FOR 0 SECONDS PARTITION BY id DO STREAM fired KEY id;
         CREATE RULE twin AS SELECT id, {n} AS by FROM 'load/+' DO STREAM twin KEY id;
         CREATE RULE probe AS SELECT n, {n} AS by FROM 'probe' DO STREAM probes KEY 'k';",
        n + 1
    )
}

#[test]
fn every_message_is_judged_once_by_one_set_while_rules_reload() {
    const RELOADS: usize = 50;
    let site = unwatched(&generation(0));
    let gateway = site.start();
    let port = gateway.mqtt.port();
    let publishers = ["a", "b", "c"].map(|name| {
        let out = site.path(&format!("acked-{name}.txt"));
        Publisher::start_as(name, port, &format!("load/{name}"), &out)
    });
    let acked = || publishers.iter().map(|publisher| publisher.acked().len()).sum::<usize>();
    for n in 1..=RELOADS {
        let before = acked();
        eventually("messages are acknowledged between reloads", || {
            (acked() >= before + 30).then_some(())
        });
        change(&site, &gateway, &generation(n));
        gateway.publish("probe", &format!(r#"{{"n":{n}}}"#));
    }
    let acked: BTreeSet<String> = publishers.into_iter().flat_map(Publisher::stop).collect();
    assert!(acked.len() >= RELOADS * 30);
    for probe in site.stream_data("probes") {
        assert_eq!(probe["n"], probe["by"], "what came after the answer is judged by the new set");
    }
    let judged = |stream: &str| {
        let mut judged: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for record in site.stream_data(stream) {
            let id = record["id"].as_str().expect("an id").to_owned();
            judged.entry(id).or_default().push(record["by"].as_u64().expect("a generation"));
        }
        judged
    };
    let (kept, twin, fired) = (judged("kept"), judged("twin"), judged("fired"));
    assert_eq!(kept, twin, "both rules that judge a message are of one set");
    for id in &acked {
        for (name, judged) in [("kept", &kept), ("fired", &fired)] {
            let by = judged.get(id).map_or(&[][..], Vec::as_slice);
            assert_eq!(by.len(), 1, "{id} in {name}: {by:?}");
        }
    }
    let sets: BTreeSet<u64> = kept.values().flatten().copied().collect();
    assert!(sets.len() > RELOADS / 2, "many sets judged: {sets:?}");
    assert_eq!(rule_set(&gateway)["generation"], RELOADS + 1);
}

#[test]
fn a_kill_at_any_moment_of_a_reload_leaves_no_episode_open_or_told_twice() {
    const KILLS: usize = 8;
    let rules = |n: usize| watching(&format!("t > {n}"), "FOR 0 SECONDS");
    let site = unwatched(&rules(0));
    let mut gateway = site.start();
    for n in 1..=KILLS {
        gateway.publish("lab/7", r#"{"moteid":7,"t":99}"#);
        assert_eq!(site.stream_data("fired").len(), n, "each set starts afresh");
        site.write("rules/test.rule", &rules(n));
        if n % 2 == 0 {
            // Answered, then killed at once.
            assert_eq!(reload(&gateway).0, 200);
            gateway.kill();
        } else {
            // Killed while the signal is dealt with; the next start finishes what was begun.
            let pid = gateway.pid().to_string();
            assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
            gateway.kill();
        }
        gateway = site.start();
        assert_eq!(holds(&gateway), (json!(0), json!(0)), "round {n}");
        eventually("the cleared record", || (site.stream_data("cleared").len() >= n).then_some(()));
        assert_eq!(site.stream_data("cleared").len(), n, "one for each episode");
    }
}
