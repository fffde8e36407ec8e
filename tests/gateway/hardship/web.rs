//! HTTP clients that ask nothing, or slowly, or come in crowds; and how many of all clients fit the
//! open files.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use serde_json::json;
use tidegate::clock::Clock;

use crate::broker::v4;
use crate::hardship::Device;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::Site;
use crate::live::eventually;

const KEEP: &str = "CREATE RULE keep AS SELECT n FROM 'x' DO STREAM kept KEY 'k';";
const ALIVE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A socket of an HTTP client that speaks bytes and blocks.
fn open(gateway: &Gateway) -> TcpStream {
    let address = gateway.http.strip_prefix("http://").expect("an http URL");
    let socket = TcpStream::connect(address).expect("the listener accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Everything up to the end of the connection; a reset is an end too.
fn rest(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match socket.read_to_end(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the connection is still open")
        }
        _ => String::from_utf8_lossy(&text).into_owned(),
    }
}

/// The answer up to `end`.
fn until(socket: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with(end) {
        socket.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text.push(char::from(byte[0]));
    }
    text
}

/// Asks for /healthz on a connection that stays open.
fn ask(socket: &mut TcpStream) {
    socket.write_all(ALIVE).expect("the gateway reads");
    let answer = until(socket, "}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A gateway that may open `files` files, its limit being as hard as it is soft.
fn start_with_open_files(site: &Site, files: u32) -> Gateway {
    let command = site.run_command();
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args()).current_dir(site.path(""));
    Gateway::start(limited)
}

#[test]
fn a_crowd_of_idle_http_clients_does_not_hinder_a_device() {
    let site = Site::with_rules(KEEP);
    let gateway = start_with_open_files(&site, 1024);
    let crowd: Vec<TcpStream> = (0..1100).map(|_| open(&gateway)).collect();
    Device::connect(&gateway, v4("device")).publish_acked("x", 1, r#"{"n":1}"#);
    assert_eq!(site.stream_data("kept"), [json!({"n": 1})]);
    drop(crowd);
    let refused = r#"tidegate_http_connections_refused_total{reason="connections_max"}"#;
    eventually("the crowd has gone, and who was not let in is counted", || {
        let mut socket = open(&gateway);
        socket.write_all(ALIVE).ok()?;
        rest_of_head(&mut socket).starts_with("HTTP/1.1 200").then_some(())
    });
    let (max, refused) =
        (metric(&gateway, "tidegate_http_connections_max"), metric(&gateway, refused));
    assert!(max + refused >= 1100.0 && refused > 0.0, "{max} places, {refused} refused");
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    assert!(log.contains("the limit of open files (1024) is less than the 11"), "{log}");
    assert!(!log.contains("cannot accept"), "{log}");
}

/// What there is of an answer's first line; empty when the connection ends first.
fn rest_of_head(socket: &mut TcpStream) -> String {
    let mut bytes = [0; 64];
    let count = socket.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn devices_over_what_open_files_allow_are_told_and_those_inside_are_served() {
    let site = Site::with_rules(KEEP);
    let gateway = start_with_open_files(&site, 256);
    let places = metric(&gateway, "tidegate_mqtt_connections_max");
    assert!((16.0..200.0).contains(&places), "{places}");
    let mut inside = Device::connect(&gateway, v4("inside"));
    let mut told = 0;
    let crowd: Vec<Device> = (0..300)
        .map(|n| {
            let mut device = Device::open(&gateway);
            drop(device.socket.write_all(&v4(&format!("crowd-{n}")).encode()));
            told += u32::from(device.recv() == [0x20, 2, 0, 3]);
            device
        })
        .collect();
    assert!(told > 0, "server unavailable");
    inside.publish_acked("x", 1, r#"{"n":1}"#);
    assert_eq!(site.stream_data("kept"), [json!({"n": 1})], "the journal has its files");
    drop(crowd);
    eventually("there is room again", || {
        let mut device = Device::open(&gateway);
        drop(device.socket.write_all(&v4("late").encode()));
        (device.recv() == [0x20, 2, 0, 0]).then_some(())
    });
}

#[test]
fn too_few_open_files_for_anybody_are_refused_at_the_start() {
    let site = Site::with_rules(KEEP);
    let command = site.run_command();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(command.get_program());
    let output = limited.args(command.get_args()).current_dir(site.path("")).output();
    let output = output.expect("sh runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{log}");
    assert!(log.contains("the limit of open files (64) leaves no room for connections"), "{log}");
}

#[test]
fn who_does_not_ask_is_cut_and_who_is_answered_stays() {
    let site = Site::with_rules(KEEP);
    site.write("tidegate.toml", "[http]\nheader_timeout = \"500ms\"\nidle_timeout = \"1s\"\n");
    let gateway = site.start();
    let mut live = open(&gateway);
    live.write_all(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
    let began = Clock::instant();
    let mut silent = open(&gateway);
    let mut slow = open(&gateway);
    slow.write_all(&ALIVE[..20]).expect("it reads");
    let mut kept = open(&gateway);
    ask(&mut kept);
    ask(&mut kept);
    assert_eq!((rest(&mut silent), rest(&mut slow)), (String::new(), String::new()));
    assert!(began.elapsed() < PATIENCE / 2, "cut, and not only by the reader's own patience");
    kept.write_all(&ALIVE[..20]).expect("it reads");
    assert_eq!(rest(&mut kept), "", "half a request does not keep it open");
    let closed = |reason: &str| {
        let name = format!(r#"tidegate_http_connections_closed_total{{reason="{reason}"}}"#);
        metric(&gateway, &name)
    };
    eventually("each is counted by its reason", || {
        (closed("header_timeout") >= 2.0 && closed("idle_timeout") >= 1.0).then_some(())
    });
    // `stats` comes once a second; the first of these was sent before anybody was cut.
    for _ in 0..4 {
        until(&mut live, "event: stats");
    }
}

#[test]
fn http_clients_over_the_limit_are_told_and_counted() {
    let site = Site::with_rules(KEEP);
    site.write("tidegate.toml", "[http]\nconnections_max = 3\n");
    let gateway = site.start();
    let mut inside: Vec<TcpStream> = (0..3).map(|_| open(&gateway)).collect();
    inside.iter_mut().for_each(ask);
    let mut over = open(&gateway);
    over.write_all(ALIVE).expect("it reads");
    let answer = rest(&mut over);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("too_many_connections"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 5\r\n"), "{answer}");
    inside.iter_mut().for_each(ask);
    drop(inside.pop());
    // curl comes over a connection of its own.
    let refused = r#"tidegate_http_connections_refused_total{reason="connections_max"}"#;
    let refused = eventually("there is room again", || {
        (gateway.get("/healthz").0 == 200).then(|| metric(&gateway, refused))
    });
    assert!(refused >= 1.0, "{refused}");
}

#[test]
fn requests_are_counted_by_route_and_refusals_by_reason() {
    let site = Site::with_rules(KEEP);
    let gateway = site.start();
    for path in ["/api/rules/keep", "/api/rules/kepe", "/api/hits?limt=1", "/nothing"] {
        gateway.get(path);
    }
    let foreign = ["-sS", "-o", "/dev/null", "-H", "sec-fetch-site: cross-site"];
    let mut curl = Command::new("curl");
    let status = curl.args(foreign).arg(format!("{}/api/rules", gateway.http)).status();
    assert!(status.expect("curl runs").success());
    for (series, count) in [
        (r#"requests_total{route="/api/rules/:name",status="2xx"}"#, 1.0),
        (r#"requests_total{route="/api/rules/:name",status="4xx"}"#, 1.0),
        (r#"requests_total{route="/api/hits",status="4xx"}"#, 1.0),
        (r#"requests_total{route="none",status="4xx"}"#, 1.0),
        (r#"requests_refused_total{code="unknown_name"}"#, 1.0),
        (r#"requests_refused_total{code="bad_query"}"#, 1.0),
        (r#"requests_refused_total{code="unknown_route"}"#, 1.0),
        (r#"requests_refused_total{code="cross_origin"}"#, 1.0),
        (r#"request_seconds_count{route="/api/rules/:name"}"#, 2.0),
    ] {
        let counted = metric(&gateway, &format!("tidegate_http_{series}"));
        assert!((counted - count).abs() < f64::EPSILON, "{series}: {counted}");
    }
}

#[test]
fn idle_connections_and_live_pages_do_not_hold_up_the_end() {
    let site = Site::with_rules(KEEP);
    let gateway = site.start();
    let mut idle = open(&gateway);
    ask(&mut idle);
    let unused = open(&gateway);
    let mut live = open(&gateway);
    live.write_all(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
    until(&mut live, "event: stats");
    let began = Clock::instant();
    let (status, log) = gateway.terminate();
    let took = began.elapsed();
    assert!(status.success(), "{log}");
    assert!(took.as_secs() < 2, "{took:?}: {log}");
    assert!(!log.contains("connections cut"), "{log}");
    rest(&mut live);
    drop(unused);
}
