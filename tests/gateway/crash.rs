//! kill -9 at any time: nothing acknowledged is missing, nothing fires twice, clocks go on.

use std::collections::BTreeSet;

use serde_json::json;

use crate::clients;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

/// Kills in the loop.
const KILLS: usize = 20;

#[test]
fn no_acknowledged_message_is_lost_over_twenty_kills() {
    let site =
        Site::with_rules("CREATE RULE all AS SELECT id FROM 'load/+' DO STREAM kept KEY id;");
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let publisher = clients::Publisher::start(port, "load/a", &site.path("acked.txt"));
    let mut acked_before = 0;
    for _ in 0..KILLS {
        acked_before = eventually("more messages are acknowledged", || {
            let acked = publisher.acked().len();
            (acked >= acked_before + 50).then_some(acked)
        });
        gateway.kill();
        gateway = site.start_on(port);
    }
    let acked: BTreeSet<String> = publisher.stop().into_iter().collect();
    let kept: BTreeSet<String> = site
        .stream_data("kept")
        .iter()
        .map(|record| record["id"].as_str().expect("an id").to_owned())
        .collect();
    let missing: Vec<&String> = acked.difference(&kept).collect();
    assert!(
        missing.is_empty(),
        "{} of {} acknowledged are missing: {missing:?}",
        missing.len(),
        acked.len()
    );
    assert!(acked.len() >= KILLS * 50, "{} acknowledged", acked.len());
}

const OVERHEAT: &str = "
CREATE RULE overheat AS
  SELECT moteid, hold.since AS since, hold.samples AS n FROM 'lab/+/telemetry'
  WHEN temperature > 30 FOR 3 SECONDS PARTITION BY moteid
DO STREAM alerts KEY moteid
ON CLEARED DO STREAM cleared KEY moteid;
";

#[test]
fn a_pending_duration_goes_on_after_a_kill() {
    let site = Site::with_rules(OVERHEAT);
    let gateway = site.start();
    gateway.publish("lab/7/telemetry", r#"{"moteid":7,"temperature":31}"#);
    gateway.kill();
    assert_eq!(site.stream_data("alerts").len(), 0);
    let gateway = site.start();
    let fired = eventually("the pending condition fires", || {
        let records = site.stream_data("alerts");
        (!records.is_empty()).then_some(records)
    });
    assert_eq!(fired.len(), 1);
    assert_eq!((&fired[0]["moteid"], &fired[0]["n"]), (&json!(7), &json!(1)));
    drop(gateway);
}

#[test]
fn a_firing_condition_does_not_fire_twice_and_still_clears() {
    let site = Site::with_rules(OVERHEAT);
    let gateway = site.start();
    gateway.publish("lab/7/telemetry", r#"{"moteid":7,"temperature":31}"#);
    eventually("the condition fires", || (!site.stream_data("alerts").is_empty()).then_some(()));
    gateway.kill();
    let gateway = site.start();
    gateway.publish("lab/7/telemetry", r#"{"moteid":7,"temperature":32}"#);
    // A second duration passes under the eyes of another key: when that one has fired, a second
    // firing of the first would be there too.
    gateway.publish("lab/8/telemetry", r#"{"moteid":8,"temperature":32}"#);
    eventually("the other key fires", || (site.stream_data("alerts").len() > 1).then_some(()));
    gateway.publish("lab/7/telemetry", r#"{"moteid":7,"temperature":20}"#);
    let cleared = site.stream_data("cleared");
    assert_eq!(cleared.len(), 1, "{cleared:?}");
    assert_eq!((&cleared[0]["moteid"], &cleared[0]["n"]), (&json!(7), &json!(2)));
    let keys: Vec<_> = site.stream_data("alerts").iter().map(|r| r["moteid"].clone()).collect();
    assert_eq!(keys, [json!(7), json!(8)]);
}

const EPISODE: &str = "
CREATE RULE overheat AS
  SELECT moteid, temperature, hold.samples AS n, hold.reason AS reason FROM 'lab/+/telemetry'
  WHEN temperature > 30 FOR 3 SECONDS PARTITION BY moteid CLEAR FOR 3 SECONDS
DO STREAM alerts KEY moteid
ON CLEARED DO STREAM cleared KEY moteid;
CREATE RULE often AS
  SELECT moteid, temperature, hold.samples AS n FROM 'lab/+/telemetry'
  WHEN temperature > 30 AT LEAST 2 TIMES WITHIN 1 HOUR PARTITION BY moteid
DO STREAM often KEY moteid;
CREATE TABLE motes FROM 'motes.csv' KEY moteid;
CREATE RULE silent AS
  SELECT moteid, room, hold.samples AS n FROM 'lab/+/telemetry'
  WHEN NO DATA FOR 4 SECONDS PARTITION BY moteid FOR EACH ROW OF motes
DO STREAM silent KEY moteid;
";

/// An episode from its beginning to its end, with a `kill -9` while it pends, fires and clears where `kills`
/// says so. Answers its records.
fn episode(kills: bool) -> Vec<Vec<serde_json::Value>> {
    let site = Site::with_rules(EPISODE);
    site.write("rules/motes.csv", "moteid,room\n9,attic\n");
    let count = |stream: &str| site.stream_data(stream).len();
    let mut gateway = site.start();
    let restart = |gateway: Gateway, counts: [usize; 2]| {
        if !kills {
            return gateway;
        }
        gateway.kill();
        assert_eq!([count("alerts"), count("cleared")], counts, "what the disk has at the kill");
        site.start()
    };
    let hot = |gateway: &Gateway, degrees: i64| {
        let reading = format!(r#"{{"moteid":7,"temperature":{degrees}}}"#);
        gateway.publish("lab/7/telemetry", &reading);
    };
    hot(&gateway, 31);
    gateway = restart(gateway, [0, 0]);
    hot(&gateway, 32);
    eventually("it fires", || (count("alerts") == 1).then_some(()));
    gateway = restart(gateway, [1, 0]);
    hot(&gateway, 33);
    hot(&gateway, 20);
    gateway = restart(gateway, [1, 0]);
    eventually("it is cleared", || (count("cleared") == 1).then_some(()));
    // The mote that was hot falls silent too, later or not any more.
    let of_row = |record: &serde_json::Value| record["moteid"] == 9;
    let silent = || site.stream_data("silent").into_iter().filter(of_row).collect::<Vec<_>>();
    let silent = eventually("a row is silent", || Some(silent()).filter(|found| !found.is_empty()));
    drop(gateway);
    vec![site.stream_data("alerts"), site.stream_data("cleared"), site.stream_data("often"), silent]
}

#[test]
fn kills_while_pending_firing_and_clearing_change_no_record() {
    let uninterrupted = episode(false);
    assert_eq!(
        uninterrupted,
        [
            vec![json!({"moteid": 7, "temperature": 32, "n": 2})],
            vec![json!({"moteid": 7, "temperature": 33, "n": 3, "reason": "false"})],
            vec![json!({"moteid": 7, "temperature": 32, "n": 2})],
            vec![json!({"moteid": 9, "room": "attic", "n": 0})],
        ]
    );
    assert_eq!(episode(true), uninterrupted);
}

#[test]
fn an_unflushed_delivery_survives_a_kill() {
    let site = Site::with_rules("CREATE RULE all AS SELECT * FROM 'x/+' DO DELIVER lake;");
    site.write(
        "tidegate.toml",
        "[delivery.lake]\nbuffer_interval = \"2s\"\ncompression = \"gzip\"\n",
    );
    let gateway = site.start();
    for n in 0..5 {
        gateway.publish("x/y", &format!(r#"{{"n":{n}}}"#));
    }
    gateway.kill();
    let gateway = site.start();
    let lines = eventually("a delivered file", || {
        let found = site.delivered("lake");
        (found.len() >= 5).then_some(found)
    });
    assert_eq!(lines, (0..5).map(|n| json!({"n": n})).collect::<Vec<_>>());
    drop(gateway);
}

const LATE: &str = "
CREATE RULE warm AS
  SELECT id, hold.since AS since, hold.fired_at AS fired_at, hold.samples AS n
  FROM 'lab/+/telemetry' TIMESTAMP BY ts SECONDS LATENESS 1 HOUR
  WHEN temperature > 30 FOR 1 MINUTE PARTITION BY id
DO STREAM alerts KEY id
ON CLEARED DO STREAM cleared KEY id
ON ERROR DO STREAM errors KEY id;
";

#[test]
fn messages_that_wait_for_their_turn_survive_a_kill() {
    let site = Site::with_rules(LATE);
    let base = 1_700_000_000;
    let reading = |after: i64, temperature: i64| {
        format!(r#"{{"id":7,"ts":{},"temperature":{temperature}}}"#, base + after)
    };
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    // Neither in order nor ripe: all are acknowledged, and none has been judged when the kill comes.
    for (after, temperature) in [(0, 20), (95, 31), (200, 20), (100, 31), (90, 31)] {
        gateway.publish("lab/7/telemetry", &reading(after, temperature));
        gateway.kill();
        gateway = site.start_on(port);
    }
    waiting(&gateway, 5);
    assert_eq!(site.stream_data("alerts").len(), 0);
    // An hour and more later by the device's clock: everything is ripe, and is judged in its order.
    gateway.publish("lab/7/telemetry", &reading(4000, 20));
    let [since, fired] = [90, 150].map(|after| (base + after) * 1000);
    let alert = json!({"id": 7, "since": since, "fired_at": fired, "n": 3});
    assert_eq!(site.stream_data("alerts"), std::slice::from_ref(&alert));
    assert_eq!(site.stream_data("cleared"), [alert]);
    // What is in the stream arrived there today, whatever the device's clock said.
    let arrived = site.records("alerts")[0]["t"].as_i64().expect("an arrival time");
    assert!(arrived > fired + 86_400_000, "{arrived}");
    gateway.publish("lab/7/telemetry", &reading(10, 31));
    let errors = site.stream_data("errors");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let failure = &errors[0]["failures"][0];
    assert_eq!(failure["failedAction"], "when");
    assert!(
        failure["errorMessage"].as_str().expect("text").starts_with("late record: "),
        "{failure}"
    );
    let late = "tidegate_rule_faults_total{rule=\"warm\",code=\"late_record\"} 1";
    assert!(gateway.get("/metrics").1.contains(late));
    gateway.kill();
    let gateway = site.start();
    waiting(&gateway, 1);
}

fn waiting(gateway: &Gateway, count: usize) {
    let line = format!("tidegate_rule_messages_waiting{{rule=\"warm\"}} {count}\n");
    eventually("the messages wait", || gateway.get("/metrics").1.contains(&line).then_some(()));
}

const DOORS: &str = "
CREATE RULE door AS
  SELECT id, state, lag(state) OVER (PARTITION BY id) AS before FROM 'doors/+'
  WHERE had_changed(state) OVER (PARTITION BY id)
DO STREAM changes KEY id;

CREATE RULE ordered AS
  SELECT n, delta(n) AS more FROM 'late/+' TIMESTAMP BY ts SECONDS LATENESS 1 HOUR
DO STREAM deltas KEY 'k';
";

#[test]
fn earlier_values_are_remembered_over_kills_and_reloads() {
    let site = Site::with_rules(DOORS);
    site.write("tidegate.toml", "[rules]\nwatch = false\n");
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    for (id, state) in
        [(1, "shut"), (2, "open"), (1, "shut"), (2, "open"), (1, "open"), (1, "shut")]
    {
        gateway.publish("doors/hall", &format!(r#"{{"id":{id},"state":"{state}"}}"#));
        gateway.kill();
        gateway = site.start_on(port);
    }
    let mut changes = vec![
        json!({"id": 1, "state": "shut"}),
        json!({"id": 2, "state": "open"}),
        json!({"id": 1, "state": "open", "before": "shut"}),
        json!({"id": 1, "state": "shut", "before": "open"}),
    ];
    let changed = || {
        let mut records = site.records("changes");
        records.sort_by_key(|record| record["t"].as_i64());
        records.into_iter().map(|mut record| record["data"].take()).collect::<Vec<_>>()
    };
    assert_eq!(changed().len(), changes.len(), "{:?}", changed());
    let remembered = |gateway: &Gateway, keys: u64| {
        let line = format!("tidegate_rule_keys_remembered{{rule=\"door\"}} {keys}\n");
        eventually("keys are shown", || gateway.get("/metrics").1.contains(&line).then_some(()));
        assert_eq!(gateway.get_json("/api/rules/door")["remembered"], keys);
    };
    // What SELECT makes of it is no part of what is remembered; another value is.
    let reload = |gateway: &Gateway, from: &str, to: &str| {
        site.write("rules/test.rule", &DOORS.replace(from, to));
        let (status, report) =
            crate::live::http("POST", &format!("{}/api/rules/reload", gateway.http), None);
        assert_eq!(status, 200, "{report}");
    };
    reload(&gateway, "SELECT id, state,", "SELECT id,");
    gateway.publish("doors/hall", r#"{"id":2,"state":"open"}"#);
    gateway.publish("doors/hall", r#"{"id":1,"state":"open"}"#);
    changes.push(json!({"id": 1, "before": "shut"}));
    assert_eq!(site.stream_data("changes").len(), changes.len());
    remembered(&gateway, 2);
    reload(&gateway, "state", "position");
    gateway.publish("doors/hall", r#"{"id":2,"position":"open"}"#);
    remembered(&gateway, 1);
    gateway.kill();
    let gateway = site.start_on(port);
    gateway.publish("doors/hall", r#"{"id":2,"position":"open"}"#);
    remembered(&gateway, 1);
    changes.push(json!({"id": 2, "position": "open"}));
    let mut told: Vec<String> =
        site.stream_data("changes").iter().map(ToString::to_string).collect();
    let mut expected: Vec<String> = changes.iter().map(ToString::to_string).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
fn messages_that_wait_to_be_remembered_survive_a_kill() {
    let site = Site::with_rules(DOORS);
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let base = 1_700_000_000;
    for (after, n) in [(0, 1), (20, 4), (10, 2), (5, 9)] {
        gateway.publish("late/m", &format!(r#"{{"n":{n},"ts":{}}}"#, base + after));
        gateway.kill();
        gateway = site.start_on(port);
    }
    assert!(site.stream_data("deltas").is_empty(), "all wait for the hour to pass");
    gateway.publish("late/m", &format!(r#"{{"n":0,"ts":{}}}"#, base + 4000));
    let deltas = site.stream_data("deltas");
    let expected = [
        json!({"n": 1}),
        json!({"n": 9, "more": 8}),
        json!({"n": 2, "more": -7}),
        json!({"n": 4, "more": 2}),
    ];
    assert_eq!(deltas, expected);
    drop(gateway);
}

const WINDOWS: &str = "
CREATE RULE minute AS
  SELECT id, count(*) AS n, sum(t) AS sum, avg(t) AS mean, stddev(t) AS spread, collect(t) AS all, window.start AS at
  FROM 'lab/+/telemetry' TIMESTAMP BY ts SECONDS LATENESS 10 SECONDS
  GROUP BY id, TUMBLE(1 MINUTE)
DO STREAM minutes KEY id;
CREATE RULE half_minute AS
  SELECT max(t) AS max, window.start AS at
  FROM 'lab/+/telemetry' TIMESTAMP BY ts SECONDS LATENESS 10 SECONDS
  GROUP BY HOP(1 MINUTE, 30 SECONDS)
DO STREAM hops KEY 'all';
CREATE RULE visit AS
  SELECT count(*) AS n, window.start AS at, window.end AS until
  FROM 'lab/+/telemetry' TIMESTAMP BY ts SECONDS LATENESS 10 SECONDS
  GROUP BY SESSION(30 SECONDS)
DO STREAM visits KEY 'all';
CREATE RULE three AS
  SELECT id, collect(t) AS all FROM 'lab/+/telemetry' GROUP BY id, COUNT(3)
DO STREAM threes KEY id;
CREATE RULE lately AS
  SELECT collect(t) AS all, window.end AS at
  FROM 'lab/+/telemetry' TIMESTAMP BY ts SECONDS LATENESS 10 SECONDS
  GROUP BY SLIDE(30 SECONDS)
DO STREAM slides KEY 'all';
";
/// The streams that they write, and how many windows of each the messages below close.
const GATHERED: [(&str, usize); 5] =
    [("minutes", 2), ("hops", 5), ("visits", 2), ("threes", 2), ("slides", 6)];

/// What windows give for the same messages; with kills, after each of them.
fn windows(rules: &str, kills: bool) -> Vec<Vec<serde_json::Value>> {
    let site = Site::with_rules(rules);
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let base = 1_699_999_980;
    for (after, t) in [(5, 1.5), (20, 2.0), (15, 0.1), (45, 9.0), (100, 3.0), (95, 4.0), (190, 5.0)]
    {
        let reading = format!(r#"{{"id":7,"ts":{},"t":{t}}}"#, base + after);
        gateway.publish("lab/7/telemetry", &reading);
        if kills {
            gateway.kill();
            gateway = site.start_on(port);
        }
    }
    // A rule over a stream is behind what is acknowledged.
    let told = GATHERED.map(|(stream, closed)| {
        eventually("every window that the messages end has closed", || {
            let mut told = site.stream_data(stream);
            let is_complete = told.len() >= closed;
            // The clock closes more when the test is slow.
            told.truncate(closed);
            is_complete.then_some(told)
        })
    });
    drop(gateway);
    told.into()
}

#[test]
fn kills_within_a_window_change_no_record() {
    let uninterrupted = windows(WINDOWS, false);
    let at = |after: i64| (1_699_999_980 + after) * 1000;
    let spread = uninterrupted[0][0]["spread"].clone();
    assert!(spread.as_f64().is_some_and(|spread| (spread - 3.982).abs() < 0.001), "{spread}");
    assert_eq!(
        uninterrupted[0][0],
        json!({
            "id": 7, "n": 4, "sum": 12.6, "mean": 3.15, "spread": spread,
            "all": [1.5, 0.1, 2, 9], "at": at(0),
        }),
    );
    assert_eq!(uninterrupted[0].len(), 2, "{:?}", uninterrupted[0]);
    assert_eq!(uninterrupted[1].len(), 5, "{:?}", uninterrupted[1]);
    let visits = [
        json!({"n": 4, "at": at(5), "until": at(75)}),
        json!({"n": 2, "at": at(95), "until": at(130)}),
    ];
    assert_eq!(uninterrupted[2], visits);
    let threes = [json!({"id": 7, "all": [1.5, 2, 0.1]}), json!({"id": 7, "all": [9, 3, 4]})];
    assert_eq!(uninterrupted[3], threes);
    let slides = [
        json!({"all": [1.5], "at": at(5)}),
        json!({"all": [1.5, 0.1], "at": at(15)}),
        json!({"all": [1.5, 0.1, 2], "at": at(20)}),
        json!({"all": [2, 9], "at": at(45)}),
        json!({"all": [4], "at": at(95)}),
        json!({"all": [4, 3], "at": at(100)}),
    ];
    assert_eq!(uninterrupted[4], slides);
    assert_eq!(windows(WINDOWS, true), uninterrupted);
    // The same where the windows are over what another rule writes: their checkpoint is part of them.
    let from_stream = WINDOWS.replace("FROM 'lab/+/telemetry'", "FROM STREAM raw");
    let chain = format!(
        "CREATE RULE raw AS SELECT * FROM 'lab/+/telemetry' DO STREAM raw KEY 'all';{from_stream}"
    );
    assert_eq!(windows(&chain, false), uninterrupted);
    assert_eq!(windows(&chain, true), uninterrupted);
}
