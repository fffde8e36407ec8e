//! Bad input of every kind: a precise answer to whoever sent it, a counter, and everybody else served.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::Site;
use crate::live::tidegate;

const ALL: &str = "CREATE RULE all AS SELECT n FROM 'a/#' WHERE n > 0 DO STREAM s KEY topic();";

/// CONNECT of MQTT 3.1.1, clean session, no keep-alive, client id `raw`.
const CONNECT_V4: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw";
/// CONNECT of MQTT 5, clean start, no keep-alive, client id `raw`.
const CONNECT_V5: &[u8] = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x03raw";

fn connect(gateway: &Gateway) -> TcpStream {
    let socket = TcpStream::connect(gateway.mqtt).expect("the listener accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Sends `bytes` and reads until the gateway closes the connection.
fn closes_after(gateway: &Gateway, bytes: &[u8]) -> Vec<u8> {
    let mut socket = connect(gateway);
    // The gateway may close before everything is written: that is an answer too.
    drop(socket.write_all(bytes));
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the connection stays open after {bytes:02x?}: {e}; {answer:02x?}"),
    }
    answer
}

fn after_connect(version: &[u8], packet: &[u8]) -> Vec<u8> {
    [version, packet].concat()
}

#[test]
fn a_malformed_packet_costs_its_own_connection_only() {
    let site = Site::with_rules(ALL);
    let gateway = site.start();
    let bad: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00",
        b"\xf0\x00",
        b"\x10\xff\xff\xff\xff\xff",
        b"\x10\x04\x00\x04MQ",
        b"\x30\x05\x00\x03a/b",
    ];
    for bytes in bad {
        closes_after(&gateway, bytes);
    }
    let packets: &[&[u8]] = &[
        b"\x36\x07\x00\x03a/b\x00\x01",     // QoS 3
        b"\x32\x07\x00\x03a/b\x00\x00",     // packet id 0
        b"\x30\x05\x00\x03a/+",             // wildcard in a topic
        b"\x30\x05\x00\x03\xff\xfe\xfd",    // not UTF-8
        b"\x30\x05\x00\x03a\x00b",          // NUL
        b"\x30\x02\x00\x05",                // topic longer than the packet
        b"\x80\x08\x00\x01\x00\x03a/b\x00", // SUBSCRIBE with wrong flags
        b"\x82\x02\x00\x01",                // SUBSCRIBE without a filter
        b"\xc0\x01\x00",                    // PINGREQ with a body
        b"\x60\x02\x00\x01",                // PUBREL with wrong flags
        b"\x20\x02\x00\x00",                // CONNACK from a client
        CONNECT_V4,                         // a second CONNECT
    ];
    for packet in packets {
        closes_after(&gateway, &after_connect(CONNECT_V4, packet));
    }
    gateway.publish("a/b", r#"{"n":1}"#);
    assert_eq!(site.stream_data("s"), [json!({"n": 1})], "everybody else is served");
    let (_, metrics) = gateway.get("/metrics");
    assert!(metrics.contains("mqtt_protocol_violations_total"), "{metrics}");
}

#[test]
fn an_mqtt_5_client_is_told_why() {
    let site = Site::with_rules(ALL);
    let gateway = site.start();
    let cases: &[(&[u8], u8)] = &[
        (b"\x32\x08\x00\x03a/b\x00\x00\x00", 0x82), // packet id 0: protocol error
        (b"\x30\x06\x00\x03a/+\x00", 0x90),         // topic name invalid
        (b"\x36\x08\x00\x03a/b\x00\x01\x00", 0x81), // QoS 3: malformed packet
        (b"\x30\xff\xff\xff\x7f", 0x95),            // packet too large
    ];
    for (packet, reason) in cases {
        let answer = closes_after(&gateway, &after_connect(CONNECT_V5, packet));
        let disconnect = answer.iter().rposition(|b| *b == 0xe0);
        let told = disconnect.and_then(|at| answer.get(at + 2)).copied();
        assert_eq!(told, Some(*reason), "after {packet:02x?}: {answer:02x?}");
    }
}

#[test]
fn payloads_that_are_not_json_are_counted_and_cost_nothing_else() {
    let site = Site::with_rules(ALL);
    let gateway = site.start();
    let deep = format!("{{\"n\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    for payload in ["", "{", "not json", "[1,2", "{\"n\":1}x", deep.as_str()] {
        gateway.publish("a/b", payload);
    }
    gateway.publish("a/b", r#"{"n":1}"#);
    assert_eq!(site.stream_data("s"), [json!({"n": 1})]);
    let rules = gateway.get_json("/api/rules").to_string();
    assert!(rules.contains("payload_not_json") && rules.contains("payload_too_deep"), "{rules}");
}

#[track_caller]
fn refuses(command: &mut Command, words: &[&str]) {
    let output = command.output().expect("tidegate runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started: {text}");
    assert!(output.stdout.is_empty(), "nothing is said to be ready: {:?}", output.stdout);
    for word in words {
        assert!(text.contains(word), "{word:?} in\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_data_folder_in_use_is_refused() {
    let site = Site::with_rules(ALL);
    let gateway = site.start();
    refuses(&mut site.run_command(), &["data", "in use", &gateway.pid().to_string()]);
}

#[test]
fn a_data_folder_of_a_newer_version_is_refused() {
    let site = Site::with_rules(ALL);
    site.start().terminate();
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version=999'); c.commit()";
    let databases: Vec<_> = site
        .files_below("data")
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "db" || e == "sqlite"))
        .collect();
    assert_eq!(databases.len(), 1, "{databases:?}");
    let done =
        Command::new("python3").args(["-c", script]).arg(&databases[0]).status().expect("python3");
    assert!(done.success());
    refuses(&mut site.run_command(), &["schema version 999", "use the version that wrote it"]);
}

#[test]
fn a_data_folder_that_is_a_file_is_refused() {
    let site = Site::with_rules(ALL);
    site.write("data", "not a folder");
    refuses(&mut site.run_command(), &["data"]);
}

#[test]
fn an_address_in_use_is_refused() {
    let site = Site::with_rules(ALL);
    let gateway = site.start();
    let other = Site::with_rules(ALL);
    let mut command = other.run_command_on(gateway.mqtt.port());
    refuses(&mut command, &["in use", &gateway.mqtt.to_string()]);
}

#[test]
fn rule_files_with_errors_start_nothing_and_say_why() {
    let site = Site::with_rules(
        "CREATE RULE r AS SELECT uper(a) FROM 'x' DO STREAM s KEY a;
         CREATE RULE t AS SELECT a FROM 'x/#/y' DO STREAM s KEY a;",
    );
    refuses(
        &mut site.run_command(),
        &["uper", "upper", "'#' must stand alone as the last level", "test.rule"],
    );
    fs::write(site.path("rules/test.rule"), [0u8, 159, 146, 150, 0, 1, 2]).expect("a binary file");
    refuses(&mut site.run_command(), &["test.rule"]);
    fs::write(site.path("rules/test.rule"), "-".repeat(10 * 1024 * 1024)).expect("a large file");
    refuses(&mut site.run_command(), &["test.rule"]);
    fs::remove_file(site.path("rules/test.rule")).expect("removed");
    let mut command = tidegate();
    command.current_dir(site.path("")).args(["run", "--rules", "nowhere"]);
    refuses(&mut command, &["nowhere"]);
}

#[test]
fn an_unknown_configuration_key_is_refused_with_the_near_name() {
    let site = Site::with_rules(ALL);
    site.write("tidegate.toml", "[mqtt]\nlissen = \"127.0.0.1:0\"\n");
    refuses(&mut site.run_command(), &["lissen", "listen", "tidegate.toml"]);
}

#[test]
fn an_unreadable_configuration_is_refused() {
    let site = Site::with_rules(ALL);
    let mut command = site.run_command();
    command.args(["--config", "missing.toml"]);
    refuses(&mut command, &["missing.toml"]);
    site.write("tidegate.toml", "= nonsense");
    refuses(&mut site.run_command(), &["tidegate.toml"]);
}

#[test]
fn a_read_only_data_folder_is_refused_where_permissions_bind() {
    let site = Site::with_rules(ALL);
    site.start().terminate();
    let folder = site.path("data");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("permissions");
    let binds = fs::write(folder.join("probe"), "").is_err();
    if binds {
        refuses(&mut site.run_command(), &["data"]);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("permissions");
}
#[test]
fn check_marks_the_place_and_names_the_fix() {
    let site =
        Site::with_rules("CREATE RULE r AS\n  SELECT uper(a) FROM 'x'\nDO STREAM s KEY a;\n");
    let human = tidegate()
        .current_dir(site.path(""))
        .args(["check", "rules"])
        .output()
        .expect("tidegate runs");
    let text = String::from_utf8_lossy(&human.stderr).into_owned();
    assert_eq!(human.status.code(), Some(1), "{text}");
    assert!(
        text.contains("test.rule:2:10") && text.contains("^^^^") && text.contains("upper"),
        "{text}"
    );
    let json = tidegate()
        .current_dir(site.path(""))
        .args(["check", "rules", "--format", "json"])
        .output()
        .expect("tidegate runs");
    let list: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON on stdout");
    let first = &list[0];
    assert_eq!(
        (first["line"].as_u64(), first["column"].as_u64(), first["end_column"].as_u64()),
        (Some(2), Some(10), Some(14))
    );
    assert_eq!(first["severity"], "error");
    site.write("rules/test.rule", ALL);
    let clean = tidegate()
        .current_dir(site.path(""))
        .args(["check", "rules"])
        .status()
        .expect("tidegate runs");
    assert_eq!(clean.code(), Some(0));
}
