//! Clients that we did not write, as the tests use them: the Python programs of `tests/clients`.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use crate::live::eventually;
use crate::live::http;

/// A program of `tests/clients` under the Python that `tests/clients/install` made.
pub(crate) fn python(program: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/clients/bin/python");
    assert!(interpreter.exists(), "run tests/clients/install first");
    let mut command = Command::new(interpreter);
    command.arg("-u").arg(root.join("tests/clients").join(program));
    command
}

/// What a program that ends well has printed.
pub(crate) fn answer(command: &mut Command) -> Value {
    let output = command.output().expect("the program runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn terminate(child: &Child) {
    let done = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(done.success());
}

/// An HTTP server that takes a hook's calls.
pub(crate) struct HookServer {
    child: Child,
    address: String,
}

impl HookServer {
    /// Starts one that answers 200.
    pub(crate) fn start() -> HookServer {
        HookServer::start_on(0)
    }

    /// As [`HookServer::start`], on a known port.
    pub(crate) fn start_on(port: u16) -> HookServer {
        let mut child = python("hook_server.py")
            .args(["--port", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let address = line.trim().strip_prefix("ready: ").expect("a ready line").to_owned();
        HookServer { child, address }
    }

    /// Where calls go.
    pub(crate) fn url(&self) -> String {
        format!("{}/pager", self.address)
    }

    /// Where calls go whose answer says what was sent.
    pub(crate) fn echo_url(&self) -> String {
        format!("{}/echo", self.address)
    }

    /// Answers every call with `status` from now on.
    pub(crate) fn answer_with(&self, status: u16) {
        self.control(&format!(r#"{{"status":{status}}}"#));
    }

    /// Answers every call after so many seconds from now on.
    pub(crate) fn delay(&self, seconds: f64) {
        self.control(&format!(r#"{{"delay":{seconds}}}"#));
    }

    /// Where a gateway asks who somebody is.
    pub(crate) fn auth_url(&self) -> String {
        format!("{}/auth", self.address)
    }

    /// Answers those who ask there with `document` from now on.
    pub(crate) fn answer_auth(&self, document: &Value) {
        self.control(&serde_json::json!({ "answer": document }).to_string());
    }

    fn control(&self, wanted: &str) {
        let control = format!("{}/_control", self.address);
        let (code, body) = http("POST", &control, Some(wanted));
        assert_eq!(code, 204, "{body}");
    }

    /// Calls so far, oldest first.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let (_, text) = http("GET", &format!("{}/_calls", self.address), None);
        crate::live::json_lines(text.as_bytes())
    }

    /// Waits for a call that was answered with 200; its body.
    pub(crate) fn call(&self) -> Value {
        eventually("the hook is called", || {
            self.calls()
                .into_iter()
                .find(|call| call["status"] == 200)
                .map(|mut call| call["body"].take())
        })
    }
}

impl Drop for HookServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A paho client that publishes numbered messages with QoS 1 and writes down what was acknowledged.
pub(crate) struct Publisher {
    child: Child,
    out: PathBuf,
}

impl Publisher {
    /// Starts publishing, as fast as it goes, until stopped.
    pub(crate) fn start(port: u16, topic: &str, out: &Path) -> Publisher {
        Publisher::start_as("publisher", port, topic, out)
    }

    /// As [`Publisher::start`], under another client id, with which the numbers begin.
    pub(crate) fn start_as(client_id: &str, port: u16, topic: &str, out: &Path) -> Publisher {
        Publisher::start_with(client_id, port, topic, out, &[])
    }

    /// As [`Publisher::start_as`], with further arguments.
    pub(crate) fn start_with(
        client_id: &str,
        port: u16,
        topic: &str,
        out: &Path,
        arguments: &[&str],
    ) -> Publisher {
        let child = python("publisher.py")
            .args(["--client-id", client_id, "--port", &port.to_string(), "--topic", topic])
            .args(arguments)
            .arg("--out")
            .arg(out)
            .stdout(Stdio::null())
            .spawn()
            .expect("python runs");
        Publisher { child, out: out.to_owned() }
    }

    /// Ids acknowledged so far. A last line that is still being written is not one yet.
    pub(crate) fn acked(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }

    /// Stops publishing, waits for the acknowledgements still due, and answers all ids acknowledged.
    pub(crate) fn stop(mut self) -> Vec<String> {
        terminate(&self.child);
        let status = self.child.wait().expect("the publisher ends");
        assert!(status.success(), "some message was never acknowledged");
        self.acked()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
