//! The gateway as a client of other brokers: Mosquitto, and nats-server's MQTT.

mod bridge;
mod brokers;
mod external;
mod login;
mod manual;

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Stdio;

use serde_json::Value;

use crate::clients;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::json_lines;

/// A site whose gateway is a client of the broker on `port`.
fn site(port: u16, rules: &str, settings: &str) -> Site {
    let site = Site::with_rules(rules);
    let text = format!("[broker]\nexternal = \"mqtt://127.0.0.1:{port}\"\n{settings}\n");
    site.write("tidegate.toml", &text);
    site
}

/// Starts its gateway, without a listener of its own.
fn start(site: &Site) -> Gateway {
    let mut command = crate::live::tidegate();
    command.current_dir(site.path("")).args([
        "run",
        "--http",
        "127.0.0.1:0",
        "--rules",
        "rules",
        "--data",
        "data",
    ]);
    Gateway::start(command)
}

/// A gauge or counter of the connection to the external broker; 0 when it is not there.
fn metric(gateway: &Gateway, name: &str) -> u64 {
    let (_, text) = gateway.get("/metrics");
    let prefix = format!("tidegate_upstream_{name}{{");
    let line = text.lines().find(|line| line.starts_with(&prefix));
    let value = line.and_then(|line| line.rsplit_once(' ')).map_or("0", |(_, value)| value);
    value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
}

/// Waits until the gateway has `count` subscriptions at the other broker.
fn subscribed(gateway: &Gateway, count: u64) {
    eventually("it has subscribed", || {
        (metric(gateway, "connected") == 1 && metric(gateway, "subscriptions") == count)
            .then_some(())
    });
}

/// A paho client that subscribes and writes down what comes.
struct Subscriber {
    child: Child,
    out: std::path::PathBuf,
}

impl Subscriber {
    /// Waits until the subscription is granted.
    fn start(port: u16, topic: &str, out: std::path::PathBuf, more: &[&str]) -> Subscriber {
        let mut child = clients::python("subscriber.py")
            .args(["--port", &port.to_string(), "--topic", topic, "--out"])
            .arg(&out)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let line = lines.next().unwrap_or_default();
        assert_eq!(line.trim(), "ready");
        // Read on: it says so again after each reconnect, and would fail on a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Subscriber { child, out }
    }

    /// What came so far.
    fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        json_lines(whole.as_bytes())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
