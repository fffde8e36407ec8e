//! A live gateway for tests: the built binary, in a folder of its own, on ports of its own.
//!
//! Nothing here sleeps: the `ready:` line, an MQTT acknowledgement, a line of `stream tail` or the
//! end of a process is what a test waits for. Where only a state can be looked at, [`eventually`]
//! asks again until a deadline that fails the test.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidegate::clock::Clock;

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The built binary.
pub(crate) fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.env_remove("TIDEGATE_LOG");
    command
}

/// A folder with rules, configuration and data.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// A site with one rule file.
    pub(crate) fn with_rules(rules: &str) -> Site {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("rules")).expect("rules folder");
        let site = Site { folder };
        site.write("rules/test.rule", rules);
        site
    }

    /// What the database says.
    pub(crate) fn on_disk<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        let database = rusqlite::Connection::open(self.path("data/tidegate.db"));
        let database = database.expect("a database");
        database.query_row(sql, (), |row| row.get(0)).expect("an answer")
    }

    /// Writes a file below the site's folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the site");
    }

    /// A path below the site's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command line of a gateway on this site, ports chosen by the system.
    pub(crate) fn run_command(&self) -> Command {
        self.run_command_on(0)
    }

    /// As [`Site::run_command`], with a known MQTT port.
    pub(crate) fn run_command_on(&self, mqtt_port: u16) -> Command {
        self.run_command_with(mqtt_port, 0)
    }

    fn run_command_with(&self, mqtt_port: u16, http_port: u16) -> Command {
        let mut command = tidegate();
        command
            .current_dir(self.folder.path())
            .args(["run", "--rules", "rules", "--data", "data"])
            .args(["--http", &format!("127.0.0.1:{http_port}")])
            .args(["--mqtt", &format!("127.0.0.1:{mqtt_port}")]);
        command
    }

    /// Starts a gateway whose HTTP listener has a known port, so that clients find it again.
    pub(crate) fn start_on_http(&self, http_port: u16) -> Gateway {
        Gateway::start(self.run_command_with(0, http_port))
    }

    /// Starts a gateway whose MQTT listener has a known port, so that clients find it again.
    pub(crate) fn start_on(&self, mqtt_port: u16) -> Gateway {
        Gateway::start(self.run_command_on(mqtt_port))
    }

    /// Starts a gateway and waits until it is ready.
    pub(crate) fn start(&self) -> Gateway {
        Gateway::start(self.run_command())
    }

    /// The records of a stream, as `tidegate stream tail --no-follow` prints them.
    pub(crate) fn records(&self, stream: &str) -> Vec<serde_json::Value> {
        let output = tidegate()
            .current_dir(self.folder.path())
            .args([
                "stream",
                "tail",
                stream,
                "--from",
                "trim-horizon",
                "--no-follow",
                "--data",
                "data",
            ])
            .output()
            .expect("tidegate runs");
        assert!(
            output.status.success(),
            "stream tail: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        json_lines(&output.stdout)
    }

    /// The `data` of each record of a stream.
    pub(crate) fn stream_data(&self, stream: &str) -> Vec<serde_json::Value> {
        self.records(stream).into_iter().map(|mut record| record["data"].take()).collect()
    }

    /// The records that a delivery has written to files, in the order of the files' names.
    pub(crate) fn delivered(&self, delivery: &str) -> Vec<serde_json::Value> {
        let files = self.files_below(&format!("data/delivery/{delivery}"));
        files.iter().flat_map(|file| json_lines(&read_plain(file))).collect()
    }

    /// Every file below a folder of the site, sorted.
    pub(crate) fn files_below(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect_files(&self.path(name), &mut found);
        found.sort();
        found
    }
}

/// A file's content, unpacked when its name says gzip; a file still being written has none.
fn read_plain(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).expect("a delivered file");
    match file.extension().and_then(|e| e.to_str()) {
        Some("gz") => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("gzip");
            plain
        }
        Some("jsonl") => bytes,
        _ => Vec::new(),
    }
}

fn collect_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Parses NDJSON.
pub(crate) fn json_lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    /// Address of the MQTT listener; all zero where nobody connects.
    pub(crate) mqtt: SocketAddr,
    /// Base URL of the HTTP listener.
    pub(crate) http: String,
    /// The `ready:` line.
    ready: String,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Gateway {
    /// Starts `command` and waits for its `ready:` line; panics with its log when it ends before.
    pub(crate) fn start(mut command: Command) -> Gateway {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tidegate runs");
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let log = thread::spawn(move || {
            let mut text = Vec::new();
            drop(stderr.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdout = child.stdout.take().expect("stdout is piped");
        let (lines, first_ready) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The receiver is gone once the gateway is ready; reading on keeps the pipe open.
                drop(lines.send(line));
            }
        });
        let deadline = Clock::instant() + PATIENCE;
        let ready = loop {
            match first_ready.recv_timeout(deadline.saturating_duration_since(Clock::instant())) {
                Ok(line) if line.starts_with("ready: ") => break line,
                Ok(_) => {}
                Err(_) => {
                    drop(child.kill());
                    drop(child.wait());
                    panic!("no ready line; the log:\n{}", log.join().unwrap_or_default());
                }
            }
        };
        let field = |name: &str| {
            let start = ready.split_once(name).unwrap_or_else(|| panic!("{name} in {ready}")).1;
            start.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let mqtt = match field("mqtt=").as_str() {
            "off" => SocketAddr::from(([0, 0, 0, 0], 0)),
            address => address.parse().expect("an MQTT address"),
        };
        let http = field("http=");
        Gateway { child, mqtt, http, ready, stderr: Some(log) }
    }

    /// The port of a further listener.
    pub(crate) fn port_of(&self, listener: &str) -> u16 {
        let field = format!(" {listener}=");
        let (_, rest) = self.ready.split_once(&field).expect("the listener is in the ready line");
        let url = rest.split_whitespace().next().unwrap_or_default();
        let port = url.rsplit(':').next().unwrap_or_default();
        port.parse().unwrap_or_else(|e| panic!("{e}: {url}"))
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the gateway is running");
        self.child.wait().expect("a killed process ends");
    }

    /// SIGTERM, then waits for the end: exit status and log.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        let done =
            Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(done.success());
        let status = self.child.wait().expect("the gateway ends");
        let log =
            self.stderr.take().expect("the log is read once").join().expect("the log reader ends");
        (status, log)
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// GET: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        http("GET", &format!("{}{path}", self.http), None)
    }

    /// GET of JSON; panics on another status than 200.
    pub(crate) fn get_json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    }

    /// Publishes with mosquitto_pub, QoS 1, and waits for the acknowledgement.
    pub(crate) fn publish(&self, topic: &str, payload: &str) {
        let output =
            self.mosquitto("mosquitto_pub").args(["-q", "1", "-t", topic, "-m", payload]).output();
        let output = output.expect("mosquitto_pub is installed by tests/clients/install");
        assert!(
            output.status.success(),
            "mosquitto_pub: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A mosquitto client aimed at this gateway.
    pub(crate) fn mosquitto(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.mqtt.port().to_string()]);
        command
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A small HTTP exchange; the body is sent as JSON.
pub(crate) fn http(method: &str, url: &str, body: Option<&str>) -> (u16, String) {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-X", method, "-w", "\n%{http_code}", url]);
    if let Some(body) = body {
        curl.args(["-H", "content-type: application/json", "--data-binary", body]);
    }
    let output = curl.output().expect("curl is installed by tests/clients/install");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| {
        panic!("curl {url}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (status.parse().unwrap_or(0), body.to_owned())
}

/// Asks until `question` has an answer; fails the test after [`PATIENCE`].
#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two questions, bounded by the deadline"
)]
pub(crate) fn eventually<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let deadline = Clock::instant() + PATIENCE;
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Clock::instant() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
