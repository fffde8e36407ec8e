//! Sessions that survive: subscriptions, queued messages and messages in flight over `kill -9` and restarts.

mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Stdio;

use serde_json::Value;

use crate::clients::Publisher;
use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

/// Kills in a loop.
const KILLS: usize = 20;

/// A paho client that keeps its session and writes down what comes.
struct Subscriber {
    child: Child,
    stdout: BufReader<ChildStdout>,
    out: PathBuf,
}

impl Subscriber {
    fn start(site: &Site, port: u16, client_id: &str, more: &[&str]) -> Subscriber {
        let out = site.path(&format!("{client_id}.ndjson"));
        let mut child = python("subscriber.py")
            .args(["--client-id", client_id, "--port", &port.to_string(), "--out"])
            .arg(&out)
            .args(["--resume", "--retry", "0.1", "--session-expiry", "3600"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Subscriber { child, stdout, out }
    }

    /// What it says next: `ready` or `resumed`.
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// What it has so far.
    fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        crate::live::json_lines(whole.as_bytes())
    }

    /// Disconnects and ends.
    fn stop(mut self) -> Vec<Value> {
        let pid = self.child.id().to_string();
        let done = std::process::Command::new("kill").arg(pid).status().expect("kill runs");
        assert!(done.success());
        self.child.wait().expect("the subscriber ends");
        self.seen()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn number(line: &Value) -> u64 {
    line["payload"]["n"].as_u64().unwrap_or_else(|| panic!("no number: {line}"))
}

/// How often each number came.
fn counts(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for number in numbers {
        *counts.entry(number).or_default() += 1;
    }
    counts
}

fn numbers_of(acked: &[String]) -> Vec<u64> {
    let number = |id: &String| id.rsplit_once('-').and_then(|(_, n)| n.parse().ok());
    acked.iter().map(|id| number(id).unwrap_or_else(|| panic!("{id} has no number"))).collect()
}

/// Publishes through a gateway that is killed again and again, to a subscriber with a session.
/// Answers what was acknowledged, what the subscriber has, and what the rules have stored.
fn kill_and_restart(qos: &str, protocol: &str) -> (Vec<u64>, Vec<Value>, Vec<Value>) {
    let site = Site::with_rules("CREATE RULE all AS SELECT n FROM 'load/+' DO STREAM kept KEY n;");
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let options = ["--topic", "load/#", "--qos", qos, "--protocol", protocol];
    let mut subscriber = Subscriber::start(&site, port, "listener", &options);
    assert_eq!(subscriber.says(), "ready");
    let more = ["--qos", qos, "--protocol", protocol, "--keep", "--retry", "0.1"];
    let out = site.path("acked.txt");
    let publisher = Publisher::start_with("speaker", port, "load/a", &out, &more);
    let (mut acked, mut seen) = (0, 0);
    for _ in 0..KILLS {
        (acked, seen) = eventually("more messages pass", || {
            let now = (publisher.acked().len(), subscriber.seen().len());
            (now.0 >= acked + 30 && now.1 >= seen + 30).then_some(now)
        });
        gateway.kill();
        gateway = site.start_on(port);
        assert_eq!(subscriber.says(), "resumed");
    }
    let acked = numbers_of(&publisher.stop());
    let last = acked.iter().max().copied().unwrap_or_default();
    eventually("the last message arrives", || {
        let has_last = subscriber.seen().iter().any(|line| number(line) == last);
        let clients = gateway.get_json("/api/clients");
        let listener = clients["clients"]
            .as_array()
            .and_then(|all| all.iter().find(|client| client["client_id"] == "listener").cloned());
        (has_last && listener.is_some_and(|client| client["queued"] == 0)).then_some(())
    });
    let stored = site.stream_data("kept");
    (acked, subscriber.stop(), stored)
}

#[test]
fn qos_1_messages_for_a_session_are_not_lost_over_twenty_kills() {
    for protocol in ["4", "5"] {
        let (acked, seen, _) = kill_and_restart("1", protocol);
        let seen_counts = counts(seen.iter().map(number));
        let missing: Vec<_> = acked.iter().filter(|n| !seen_counts.contains_key(n)).collect();
        assert!(
            missing.is_empty(),
            "{} of {} are missing: {missing:?}",
            missing.len(),
            acked.len()
        );
        // In order, but for what was sent again with its predecessors.
        let mut first_seen = Vec::new();
        for n in seen.iter().map(number) {
            if !first_seen.contains(&n) {
                first_seen.push(n);
            }
        }
        assert!(first_seen.is_sorted(), "{first_seen:?}");
    }
}

#[test]
fn qos_2_messages_come_exactly_once_over_twenty_kills() {
    for protocol in ["4", "5"] {
        let (acked, seen, stored) = kill_and_restart("2", protocol);
        let once: BTreeMap<u64, usize> = acked.iter().map(|n| (*n, 1)).collect();
        let differs = |found: &BTreeMap<u64, usize>| {
            let wrong = once.iter().filter(|(n, _)| found.get(n) != Some(&1));
            let wrong: Vec<_> = wrong.map(|(n, _)| (*n, found.get(n).copied())).collect();
            let more: Vec<_> = found.keys().filter(|n| !once.contains_key(n)).collect();
            format!("not once: {wrong:?}; not acknowledged: {more:?}")
        };
        let at_subscriber = counts(seen.iter().map(number));
        assert!(at_subscriber == once, "subscriber: {}", differs(&at_subscriber));
        let rules = counts(stored.iter().map(|data| data["n"].as_u64().expect("a number")));
        assert!(rules == once, "rules: {}", differs(&rules));
        assert!(seen.iter().map(number).is_sorted(), "out of order");
    }
}

/// Publishes with mosquitto_pub and QoS 2.
fn publish(gateway: &Gateway, topic: &str, payload: &str) {
    let mut command = gateway.mosquitto("mosquitto_pub");
    command.args(["-q", "2", "-t", topic, "-m", payload]);
    assert!(command.status().expect("mosquitto_pub runs").success());
}

#[test]
fn messages_for_an_absent_client_wait_over_kills_and_come_in_order() {
    let site = Site::with_rules("");
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let options = ["--topic", "queue/#", "--qos", "2", "--protocol", "5"];
    let mut subscriber = Subscriber::start(&site, port, "absent", &options);
    assert_eq!(subscriber.says(), "ready");
    subscriber.stop();
    for n in 0..5 {
        publish(&gateway, "queue/a", &format!(r#"{{"n":{n}}}"#));
        gateway.kill();
        // The subscription works before its client is back.
        gateway = site.start_on(port);
    }
    let clients = gateway.get_json("/api/clients");
    let absent = &clients["clients"][0];
    assert_eq!((&absent["client_id"], &absent["connected"]), (&"absent".into(), &false.into()));
    assert_eq!(absent["queued"], 5, "{absent}");
    let mut subscriber = Subscriber::start(&site, port, "absent", &options);
    assert_eq!(subscriber.says(), "resumed");
    let seen = eventually("all arrive", || Some(subscriber.seen()).filter(|seen| seen.len() >= 5));
    assert_eq!(seen.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(seen.iter().all(|line| line["dup"] == false), "{seen:?}");
    drop(subscriber);
    drop(gateway);
}
