//! MQTT over WebSocket, with and without TLS.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use super::site;
use crate::broker::PINGREQ;
use crate::broker::publish;
use crate::broker::v4;
use crate::clients::Publisher;
use crate::hardship::metric;
use crate::hardship::puback;
use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::Site;
use crate::live::eventually;

const RULES: &str = "CREATE RULE all AS SELECT n, id FROM 'plant/#' DO STREAM kept;";

const LISTENERS: &str = "
[mqtt]
connect_timeout = \"2s\"
[listener.browsers]
protocol = \"ws\"
listen = \"127.0.0.1:0\"
connections_max = 50
origins = [\"https://app.example\"]
[listener.secure]
protocol = \"wss\"
listen = \"127.0.0.1:0\"
certificate = \"certs/server.pem\"
key = \"certs/server.key\"
[listener.devices]
protocol = \"mqtts\"
listen = \"127.0.0.1:0\"
certificate = \"certs/server.pem\"
key = \"certs/server.key\"
";

fn start() -> (Site, Gateway) {
    let site = site(RULES);
    site.write("tidegate.toml", LISTENERS);
    let gateway = site.start();
    (site, gateway)
}

#[test]
fn mqtt_js_goes_there_and_back_over_each_transport() {
    let (site, gateway) = start();
    let port = |listener| gateway.port_of(listener);
    for (n, (url, ca)) in [
        (format!("mqtt://127.0.0.1:{}", gateway.mqtt.port()), None),
        (format!("ws://127.0.0.1:{}/mqtt", port("browsers")), None),
        (format!("wss://localhost:{}/mqtt", port("secure")), Some("certs/ca.pem")),
        (format!("mqtts://localhost:{}", port("devices")), Some("certs/ca.pem")),
    ]
    .into_iter()
    .enumerate()
    {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/node/round_trip.mjs");
        let mut node = Command::new("node");
        node.current_dir(site.path("")).args([script, &url, &format!("plant/{n}"), "1000"]);
        let output = node.args(ca).output().expect("node runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{url}: {told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(told.trim(), r#"{"acknowledged":1000,"received":1000}"#, "{url}");
    }
    assert_eq!(site.stream_data("kept").len(), 4000);
}

#[test]
fn paho_loses_nothing_over_websocket_and_kills() {
    let site = site("CREATE RULE all AS SELECT id FROM 'load/+' DO STREAM kept KEY id;");
    let free = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("bound").port()
    };
    let (plain, secure) = (free(), free());
    let fixed = LISTENERS.replacen("127.0.0.1:0", &format!("127.0.0.1:{plain}"), 1).replacen(
        "127.0.0.1:0",
        &format!("127.0.0.1:{secure}"),
        1,
    );
    site.write("tidegate.toml", &fixed);
    let mut gateway = site.start();
    let ca = site.path("certs/ca.pem");
    let ca = ca.to_str().expect("UTF-8");
    let over_ws = ["--websocket", "/mqtt"];
    let over_wss = ["--websocket", "/mqtt", "--cafile", ca, "--host", "localhost"];
    let publishers = [
        Publisher::start_with("ws", plain, "load/ws", &site.path("ws.txt"), &over_ws),
        Publisher::start_with("wss", secure, "load/wss", &site.path("wss.txt"), &over_wss),
    ];
    let mut before = [0, 0];
    for _ in 0..3 {
        for (publisher, before) in publishers.iter().zip(&mut before) {
            *before = eventually("more is acknowledged", || {
                let acked = publisher.acked().len();
                (acked >= *before + 50).then_some(acked)
            });
        }
        gateway.kill();
        gateway = site.start();
    }
    let acked: Vec<String> = publishers.into_iter().flat_map(Publisher::stop).collect();
    let kept = site.stream_data("kept");
    let kept: std::collections::BTreeSet<&str> =
        kept.iter().filter_map(|record| record["id"].as_str()).collect();
    let missing = acked.iter().filter(|id| !kept.contains(id.as_str())).count();
    assert_eq!(missing, 0, "of {} acknowledged", acked.len());
    assert!(acked.len() >= 300, "{}", acked.len());
    drop(gateway);
}

/// A request for an upgrade, as a client that knows how asks; `changes` replace or add header lines.
pub(crate) fn request(path: &str, changes: &[(&str, &str)]) -> String {
    let mut headers = vec![
        ("Host", "localhost"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ];
    for (name, value) in changes {
        headers.retain(|(known, _)| known != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    let lines: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\n{lines}\r\n")
}

/// A client that speaks bytes and blocks.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) fn open(gateway: &Gateway) -> Raw {
        let socket =
            TcpStream::connect(("127.0.0.1", gateway.port_of("browsers"))).expect("accepted");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Raw(socket)
    }

    /// One whose connection is a WebSocket already.
    pub(crate) fn upgraded(gateway: &Gateway) -> Raw {
        let mut raw = Raw::open(gateway);
        raw.send(request("/mqtt", &[]).as_bytes());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(head.contains("sec-websocket-protocol: mqtt"), "{head}");
        raw
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the gateway reads");
    }

    /// A masked frame.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            n @ ..126 => frame.push(0x80 | u8::try_from(n).expect("less than 126")),
            n => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[1, 2, 3, 4]);
        frame.extend(payload.iter().zip([1_u8, 2, 3, 4].iter().cycle()).map(|(b, m)| b ^ m));
        // One that is refused may be cut before its end.
        drop(self.0.write_all(&frame));
    }

    fn exactly(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// The next frame from the gateway: its first byte and its payload.
    pub(crate) fn recv(&mut self) -> (u8, Vec<u8>) {
        let head = self.exactly(2);
        assert!(head[1] < 126, "a short frame that is not masked");
        (head[0], self.exactly(usize::from(head[1])))
    }

    /// The head of the answer.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.exactly(1));
        }
        String::from_utf8(head).expect("ASCII").to_ascii_lowercase().replace("http/1.1", "HTTP/1.1")
    }

    /// What comes until the gateway closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well.
        drop(self.0.read_to_end(&mut rest));
        rest
    }
}

pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;

fn connect(client_id: &str) -> Vec<u8> {
    v4(client_id).encode()
}

#[test]
fn packets_cross_frames_and_frames_hold_many_packets() {
    let (site, gateway) = start();
    let mut raw = Raw::upgraded(&gateway);
    // CONNECT in frames of one byte, the last of them with two publishes behind it.
    let connect = connect("frames");
    let (last, first) = connect.split_last().expect("a packet");
    for byte in first {
        raw.frame(BINARY, &[*byte]);
    }
    let one = publish(0b0010, "plant/a", 1, None, br#"{"n":1}"#);
    let two = publish(0b0010, "plant/a", 2, None, br#"{"n":2}"#);
    raw.frame(BINARY, &[&[*last][..], &one, &two].concat());
    let (opcode, connack) = raw.recv();
    assert_eq!((opcode, connack[0]), (BINARY, 0x20));
    let mut acks = Vec::new();
    while acks.len() < 8 {
        let (opcode, payload) = raw.recv();
        assert_eq!(opcode, BINARY);
        acks.extend(payload);
    }
    assert_eq!(acks, [puback(1), puback(2)].concat());
    // One packet in a message of three frames, with a ping of WebSocket between them.
    let three = publish(0b0010, "plant/a", 3, None, br#"{"n":3}"#);
    raw.frame(0x02, &three[..4]);
    raw.frame(0x00, &three[4..9]);
    raw.frame(0x89, b"ping");
    assert_eq!(raw.recv(), (0x8a, b"ping".to_vec()));
    raw.frame(0x80, &three[9..]);
    assert_eq!(raw.recv(), (BINARY, puback(3)));
    raw.frame(BINARY, &PINGREQ);
    assert_eq!(raw.recv(), (BINARY, vec![0xd0, 0]));
    // DISCONNECT: the closing handshake is the gateway's.
    raw.frame(BINARY, &[0xe0, 0]);
    let (opcode, code) = raw.recv();
    assert_eq!((opcode, code), (CLOSE, 1000_u16.to_be_bytes().to_vec()));
    raw.frame(CLOSE, &1000_u16.to_be_bytes());
    assert!(raw.rest().is_empty());
    let numbers: Vec<_> = site.stream_data("kept").iter().map(|kept| kept["n"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn what_mqtt_does_not_allow_in_frames_ends_with_its_code() {
    let (_site, gateway) = start();
    let closed_with = |send: &dyn Fn(&mut Raw)| {
        let mut raw = Raw::upgraded(&gateway);
        raw.frame(BINARY, &connect("odd"));
        assert_eq!(raw.recv().1[0], 0x20);
        send(&mut raw);
        let (opcode, payload) = raw.recv();
        assert_eq!(opcode, CLOSE);
        u16::from_be_bytes([payload[0], payload[1]])
    };
    assert_eq!(closed_with(&|raw| raw.frame(0x81, b"text")), 1003, "[MQTT-6.0.0-1]");
    assert_eq!(closed_with(&|raw| raw.frame(BINARY, &vec![0; 1024 * 1024 + 1])), 1009);
    assert_eq!(closed_with(&|raw| raw.send(&[BINARY, 2, 0xc0, 0])), 1002, "not masked");
    assert_eq!(closed_with(&|raw| raw.frame(0xc2, &PINGREQ)), 1002, "a reserved bit");
    assert_eq!(closed_with(&|raw| raw.frame(0x80, &PINGREQ)), 1002, "continues nothing");
    // A packet that breaks MQTT's own rules gets MQTT's own answer; then WebSocket ends well.
    assert_eq!(closed_with(&|raw| raw.frame(BINARY, &[0, 0])), 1000);
    let mut raw = Raw::upgraded(&gateway);
    raw.frame(BINARY, &connect("well"));
    assert_eq!(raw.recv().1[0], 0x20, "and everybody else is served");
}

#[test]
fn what_is_no_upgrade_is_answered_and_counted() {
    let (_site, gateway) = start();
    let refused = |reason: &str| {
        let labels = format!("{{listener=\"browsers\",reason=\"{reason}\"}}");
        metric(&gateway, &format!("tidegate_websocket_refused_total{labels}"))
    };
    for (asked, status, reason) in [
        (request("/", &[]), "404", "not_found"),
        (request("/mqtt", &[("Upgrade", "")]), "426", "no_upgrade"),
        (request("/mqtt", &[("Sec-WebSocket-Version", "8")]), "426", "version"),
        (request("/mqtt", &[("Sec-WebSocket-Key", "short")]), "400", "key"),
        (request("/mqtt", &[("Sec-WebSocket-Protocol", "chat")]), "400", "subprotocol"),
        (request("/mqtt", &[("Origin", "https://evil.example")]), "403", "origin"),
        (request("/mqtt", &[]).replace("GET", "POST"), "405", "method"),
        ("\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0\r\n\r\n".to_owned(), "400", "bad_request"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), "4", "bad_request"),
    ] {
        let before = refused(reason);
        let mut raw = Raw::open(&gateway);
        drop(raw.0.write_all(asked.as_bytes()));
        let answer = String::from_utf8_lossy(&raw.rest()).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{reason}: {answer}");
        eventually("it is counted", || (refused(reason) > before).then_some(()));
    }
    // Half a request, and one that stops behind its upgrade, have their time.
    let mut half = Raw::open(&gateway);
    half.send(b"GET /mqtt HTTP/1.1\r\nHost: local");
    let mut silent = Raw::upgraded(&gateway);
    assert!(half.rest().is_empty());
    eventually("it is counted", || (refused("timeout") == 1.0).then_some(()));
    assert_eq!(silent.rest().first(), Some(&CLOSE));
    let mut friend = Raw::open(&gateway);
    friend.send(request("/mqtt", &[("Origin", "https://app.example")]).as_bytes());
    assert!(friend.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_listener_takes_as_many_as_it_may_and_gives_places_back() {
    let (_site, gateway) = start();
    let connected: Vec<Raw> = (0..50)
        .map(|n| {
            let mut raw = Raw::upgraded(&gateway);
            raw.frame(BINARY, &connect(&format!("idle-{n}")));
            assert_eq!(raw.recv().1[3], 0);
            raw
        })
        .collect();
    let mut late = Raw::upgraded(&gateway);
    late.frame(BINARY, &connect("late"));
    assert_eq!(late.recv().1[3], 3, "server unavailable");
    let at_home = crate::hardship::Device::connect(&gateway, v4("home"));
    drop((late, connected));
    let open = "tidegate_listener_connections{listener=\"browsers\"}";
    eventually("their places are free", || (metric(&gateway, open) == 0.0).then_some(()));
    let mut next = Raw::upgraded(&gateway);
    next.frame(BINARY, &connect("next"));
    assert_eq!(next.recv().1[3], 0);
    drop(at_home);
}
