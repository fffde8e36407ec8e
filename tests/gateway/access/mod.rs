//! Who may connect, publish and subscribe, as real clients meet it.

mod admin;
mod client_ids;
mod hook;
mod manual;
mod rate;
mod rules;
mod tokens;
mod users;

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::tidegate;

/// A rule that keeps who sent what.
const SEEN: &str = "CREATE RULE seen AS SELECT topic() AS topic, principal() AS who FROM '#' DO STREAM seen KEY 'k';";

/// A site whose clients log in by the users file.
fn site(configuration: &str) -> Site {
    let site = Site::with_rules(SEEN);
    site.write("tidegate.toml", &format!("[auth]\nmethods = [\"users\"]\n{configuration}"));
    site.write("users", "");
    site
}

/// Runs `tidegate passwd`.
fn passwd(site: &Site, user: &str, password: &str, more: &[&str]) {
    let users = site.path("users");
    let mut child = tidegate()
        .arg("passwd")
        .arg(users)
        .args([user, "--stdin"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(password.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(child.wait_with_output().expect("it ends").status.success());
}

fn access_client(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = python("access.py");
    command.args(["--port", &gateway.mqtt.port().to_string()]).args(arguments);
    command
}

/// What a client of paho is answered.
fn answers(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = access_client(gateway, arguments).output().expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A client of paho that stays.
struct Staying {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Staying {
    /// Starts one, and waits until it has been answered.
    fn start(gateway: &Gateway, arguments: &[&str]) -> (Staying, Value) {
        let mut command = access_client(gateway, arguments);
        let mut child = command.arg("--stay").stdout(Stdio::piped()).spawn().expect("python runs");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut staying = Staying { child, lines };
        let first = staying.next();
        (staying, first)
    }

    /// What it says next.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
