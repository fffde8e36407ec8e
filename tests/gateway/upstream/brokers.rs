//! Brokers that we did not write, each a process on a port and in a folder of its own.

use std::fs;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use crate::live::eventually;

/// A port that nobody listens on.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Which broker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Mosquitto,
    Nats,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Mosquitto => "mosquitto",
            Kind::Nats => "nats-server",
        }
    }

    fn settings(self, port: u16, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            // `user`: started by root, it would become somebody who may not write the folder.
            Kind::Mosquitto => format!(
                "listener {port} 127.0.0.1\nuser root\npersistence true\n\
                 persistence_location {folder}/\nmax_queued_messages 0\nmax_inflight_messages 500\n\
                 log_dest file {folder}/log\n"
            ),
            Kind::Nats => format!(
                "server_name: test\nlisten: \"127.0.0.1:-1\"\n\
                 jetstream {{ store_dir: \"{folder}\" }}\n\
                 mqtt {{ listen: \"127.0.0.1:{port}\", max_ack_pending: 500, ack_wait: \"1s\" }}\n"
            ),
        }
    }
}

/// A running broker; killed when dropped.
pub(super) struct Broker {
    kind: Kind,
    pub(super) port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Broker {
    /// Starts one and waits until it listens.
    pub(super) fn start(kind: Kind) -> Broker {
        Broker::start_on(kind, free_port(), "")
    }

    /// The same on a known port, with more settings.
    pub(super) fn start_on(kind: Kind, port: u16, settings: &str) -> Broker {
        let folder = tempfile::tempdir().expect("a folder");
        let is_open = kind == Kind::Mosquitto && !settings.contains("allow_anonymous");
        let open = if is_open { "allow_anonymous true\n" } else { "" };
        let text = format!("{}{open}{settings}\n", kind.settings(port, folder.path()));
        fs::write(folder.path().join("broker.conf"), text).expect("its settings");
        let mut broker = Broker { kind, port, folder, child: None };
        broker.begin();
        broker
    }

    /// Starts it, again.
    pub(super) fn begin(&mut self) {
        let program = self.kind.program();
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new(program)
            // Where Debian has it, outside of a user's own path.
            .env("PATH", format!("{path}:/usr/sbin"))
            .arg("-c")
            .arg(self.folder.path().join("broker.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("{program} is installed by tests/clients/install: {error}")
        });
        self.child = Some(child);
        eventually("the broker listens", || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok()?);
            assert_eq!(ended, None, "{program} ended");
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Stops it in order: what it persists, it persists.
    pub(super) fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let done = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
        assert!(done.success());
        child.wait().expect("it ends");
    }

    /// A mosquitto client aimed at it.
    pub(super) fn mosquitto(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    pub(super) fn publish(&self, topic: &str, payload: &str) {
        self.publish_with(&["-q", "1", "-t", topic, "-m", payload]);
    }

    /// The same with other arguments.
    pub(super) fn publish_with(&self, arguments: &[&str]) {
        let output = self.mosquitto("mosquitto_pub").args(arguments).output();
        let output = output.expect("mosquitto_pub is installed by tests/clients/install");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
