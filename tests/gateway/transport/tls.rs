//! TLS and client certificates.

use std::collections::BTreeSet;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use super::answer;
use super::manual;
use super::shell;
use super::sign;
use super::site;
use crate::clients::Publisher;
use crate::clients::python;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::Site;
use crate::live::eventually;
use crate::live::tidegate;
use crate::manual::blocks;

const RULES: &str = "CREATE RULE all AS SELECT topic(2) AS who, principal() AS principal FROM 'plant/#' DO STREAM kept;";

/// One listener that asks for certificates.
const DEVICES: &str = "
[listener.devices]
protocol = \"mqtts\"
listen = \"127.0.0.1:0\"
certificate = \"certs/server.pem\"
key = \"certs/server.key\"
client_ca = \"certs/ca.pem\"
";

fn configure(site: &Site, lines: &str) {
    site.write("tidegate.toml", &format!("{DEVICES}{lines}"));
}

/// mosquitto_pub to the listener, as the device of this name.
fn mosquitto_pub(site: &Site, gateway: &Gateway, device: Option<&str>, topic: &str) -> Command {
    let mut command = Command::new("mosquitto_pub");
    command
        .current_dir(site.path(""))
        .args(["-h", "localhost", "-p", &gateway.port_of("devices").to_string()])
        .args(["--cafile", "certs/ca.pem", "-q", "1", "-m", "{}", "-t", topic]);
    if let Some(device) = device {
        command.args(["--cert", &format!("certs/{device}.pem")]);
        command.args(["--key", &format!("certs/{device}.key")]);
    }
    command
}

fn is_let_in(mut command: Command) -> bool {
    command.output().expect("mosquitto_pub runs").status.success()
}

#[test]
fn the_manual_works_as_it_stands() {
    let site = site(RULES);
    let manual = manual();
    let toml: String = blocks(&manual, "toml").collect();
    let toml =
        toml.replace("127.0.0.1:8883", "127.0.0.1:0").replace("127.0.0.1:8443", "127.0.0.1:0");
    site.write("tidegate.toml", &toml);
    let gateway = site.start();
    let port = gateway.port_of("devices").to_string();
    let command = blocks(&manual, "sh").nth(1).expect("mosquitto_pub");
    shell(&site, &command.replace("8883", &port));
    let script = blocks(&manual, "python").next().expect("paho");
    site.write("client.py", &script.replace("8883", &port));
    let mut paho = Command::new(python("").get_program());
    let done = paho.current_dir(site.path("")).arg("client.py").output().expect("python runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let script = blocks(&manual, "js").next().expect("MQTT.js");
    let port = gateway.port_of("browsers").to_string();
    site.write("client.mjs", &script.replace("8443", &port));
    // Modules are looked for beside the script.
    let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/node/node_modules");
    std::os::unix::fs::symlink(modules, site.path("node_modules")).expect("a link");
    shell(&site, "node client.mjs");
    let principals: Vec<_> =
        site.stream_data("kept").into_iter().map(|mut kept| kept["principal"].take()).collect();
    let device = "CN=device-7,O=Plant";
    assert_eq!(principals, [device.into(), device.into(), Value::Null]);
}

#[test]
fn principal_is_what_the_listener_chooses_of_the_certificate() {
    let site = site(RULES);
    let fingerprint =
        "openssl x509 -in certs/device-7.pem -outform DER | sha256sum | cut -d' ' -f1";
    let subject = "openssl x509 -in certs/device-7.pem -noout -subject -nameopt RFC2253 | cut -c9-";
    for (choice, expected) in [
        ("subject", answer(&site, subject)),
        ("common_name", "device-7".to_owned()),
        ("sha256", answer(&site, fingerprint)),
    ] {
        let wanted = "client_certificate = \"optional\"";
        configure(&site, &format!("{wanted}\nprincipal = \"{choice}\"\n"));
        let gateway = site.start();
        let mut with_user = mosquitto_pub(&site, &gateway, Some("device-7"), "plant/certificate");
        with_user.args(["-u", "somebody"]);
        assert!(is_let_in(with_user));
        let mut without = mosquitto_pub(&site, &gateway, None, "plant/user");
        without.args(["-u", "somebody"]);
        assert!(is_let_in(without), "a certificate is optional");
        let kept = site.stream_data("kept");
        let [.., of_certificate, of_user] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!(of_certificate["principal"], *expected, "{choice}");
        assert!(of_user["principal"].is_null(), "a user name that nobody asked to prove is none");
        drop(gateway);
    }
}

#[test]
fn who_has_no_good_certificate_is_kept_out_and_counted() {
    let site = site(RULES);
    let as_client = "extendedKeyUsage = clientAuth";
    shell(
        &site,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
             -subj '/CN=Nobody' -keyout certs/nobody.key -out certs/nobody.pem",
    );
    sign(&site, "nobody", "stranger", as_client, "");
    sign(&site, "ca", "expired", as_client, "-days -1");
    sign(&site, "ca", "web", "extendedKeyUsage = serverAuth", "");
    sign(&site, "ca", "stolen", as_client, "");
    // openssl ca revokes; it wants its own bookkeeping for that.
    shell(
        &site,
        "touch certs/index.txt && echo 01 > certs/crlnumber
         printf '[ca]\\ndefault_ca = plant\\n[plant]\\ndatabase = certs/index.txt\\ncrlnumber = certs/crlnumber\\ndefault_md = sha256\\ndefault_crl_days = 30\\n' > certs/ca.cnf
         openssl ca -config certs/ca.cnf -cert certs/ca.pem -keyfile certs/ca.key -revoke certs/stolen.pem
         openssl ca -config certs/ca.cnf -cert certs/ca.pem -keyfile certs/ca.key -gencrl -out certs/crl.pem",
    );
    configure(&site, "client_certificate = \"required\"\nclient_crl = \"certs/crl.pem\"\n");
    let gateway = site.start();
    for (device, reason) in [
        (None, "no_certificate"),
        (Some("stranger"), "unknown_authority"),
        (Some("expired"), "certificate_expired"),
        (Some("web"), "bad_certificate"),
        (Some("stolen"), "certificate_revoked"),
    ] {
        let series = format!(
            "tidegate_tls_handshakes_failed_total{{listener=\"devices\",reason=\"{reason}\"}}"
        );
        assert_eq!(metric(&gateway, &series), 0.0);
        assert!(!is_let_in(mosquitto_pub(&site, &gateway, device, "plant/no")), "{device:?}");
        eventually("it is counted", || (metric(&gateway, &series) >= 1.0).then_some(()));
    }
    assert!(is_let_in(mosquitto_pub(&site, &gateway, Some("device-7"), "plant/yes")));
    let who: Vec<_> =
        site.stream_data("kept").into_iter().map(|kept| kept["who"].clone()).collect();
    assert_eq!(who, ["yes"]);
}

#[test]
fn garbage_and_dawdling_on_a_tls_port_cost_nobody_else_anything() {
    let site = site(RULES);
    let impatient = "client_certificate = \"required\"\n[mqtt]\nconnect_timeout = \"1s\"\n";
    configure(&site, impatient);
    let gateway = site.start();
    let open = || {
        let socket =
            TcpStream::connect(("127.0.0.1", gateway.port_of("devices"))).expect("accepted");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    };
    let is_closed = |mut socket: TcpStream| {
        let mut rest = Vec::new();
        // A reset is an end as well.
        drop(socket.read_to_end(&mut rest));
        rest.len()
    };
    // Those that say nothing, or a part of a ClientHello, stay until their time is over.
    let mut half = open();
    half.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).expect("sent");
    let dawdlers = [open(), open(), half];
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0",
        &[0xff; 4096],
        &[0; 4096],
        b"\x16\x03\x01\xff\xff",
    ] {
        let mut socket = open();
        // It may close before all of it is sent.
        drop(socket.write_all(garbage));
        assert!(is_closed(socket) < 64, "no more than an alert");
    }
    assert!(is_let_in(mosquitto_pub(&site, &gateway, Some("device-7"), "plant/well")));
    for socket in dawdlers {
        assert_eq!(is_closed(socket), 0);
    }
    let failed = |reason: &str| {
        let series = format!("{{listener=\"devices\",reason=\"{reason}\"}}");
        metric(&gateway, &format!("tidegate_tls_handshakes_failed_total{series}"))
    };
    eventually("all are counted", || (failed("timeout") == 3.0).then_some(()));
    assert!(failed("garbage") >= 4.0, "{}", failed("garbage"));
    let open = "tidegate_listener_connections{listener=\"devices\"}";
    eventually("no place is lost", || (metric(&gateway, open) == 0.0).then_some(()));
}

/// SHA-256 of the certificate that a new connection is shown.
fn shown(site: &Site, gateway: &Gateway) -> String {
    let port = gateway.port_of("devices");
    let client = "-cert certs/device-7.pem -key certs/device-7.key";
    answer(
        site,
        &format!(
            "openssl s_client -connect 127.0.0.1:{port} {client} </dev/null 2>/dev/null \
                 | openssl x509 -outform DER | sha256sum | cut -d' ' -f1"
        ),
    )
}

fn reload(site: &Site) -> (Option<i32>, String) {
    let output = tidegate().args(["reload", "--data"]).arg(site.path("data")).output();
    let output = output.expect("tidegate runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn certificates_change_under_live_connections() {
    let site = site(RULES);
    configure(&site, "client_certificate = \"required\"\n");
    let gateway = site.start();
    let first = shown(&site, &gateway);
    let listeners = || gateway.get_json("/api/listeners")["listeners"][1].clone();
    assert_eq!(listeners()["certificate"]["sha256"], *first);
    assert_eq!(listeners()["certificate"]["names"], serde_json::json!(["localhost", "127.0.0.1"]));
    let (ca, cert, key) = (
        site.path("certs/ca.pem"),
        site.path("certs/device-7.pem"),
        site.path("certs/device-7.key"),
    );
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let arguments = ["--cafile", &text(&ca), "--cert", &text(&cert), "--key", &text(&key)];
    let arguments = [&arguments[..], &["--host", "localhost"]].concat();
    let (out, port) = (site.path("acked.txt"), gateway.port_of("devices"));
    let publisher = Publisher::start_with("live", port, "plant/live", &out, &arguments);
    let mut goes_on = {
        let mut acked = 0;
        move |publisher: &Publisher| {
            acked = eventually("more is acknowledged", || {
                let now = publisher.acked().len();
                (now > acked + 20).then_some(now)
            });
        }
    };
    goes_on(&publisher);
    let connected_at = || {
        let clients = gateway.get_json("/api/clients");
        let clients = clients["clients"].as_array().expect("a list").clone();
        let live = clients.into_iter().find(|client| client["client_id"] == "live");
        live.expect("the publisher is a client")["connected_at"].clone()
    };
    let since = connected_at();

    sign(&site, "ca", "next", "subjectAltName = DNS:localhost, IP:127.0.0.1", "");
    shell(&site, "mv certs/next.pem certs/server.pem && mv certs/next.key certs/server.key");
    let second = eventually("the new certificate is shown", || {
        Some(shown(&site, &gateway)).filter(|shown| *shown != first)
    });
    goes_on(&publisher);

    // A certificate without its key changes nothing, and is told in every place.
    sign(&site, "ca", "other", "subjectAltName = DNS:localhost", "");
    shell(&site, "cp certs/other.pem certs/server.pem");
    let (code, told) = reload(&site);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("certs/server.key is not the key of the certificate in"), "{told}");
    assert_eq!(shown(&site, &gateway), second);
    let error = listeners()["certificate"]["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("not the key")), "{error}");
    let failed = "tidegate_tls_certificate_reloads_total{listener=\"devices\",result=\"failed\"}";
    assert!(metric(&gateway, failed) >= 1.0);
    goes_on(&publisher);

    shell(&site, "cp certs/other.key certs/server.key");
    assert_eq!(reload(&site).0, Some(0));
    let third = shown(&site, &gateway);
    assert!(third != second && third != first);
    assert!(listeners()["certificate"].get("error").is_none());
    let expiry =
        metric(&gateway, "tidegate_tls_certificate_expiry_timestamp_seconds{listener=\"devices\"}");
    let days = "$(openssl x509 -in certs/server.pem -noout -enddate | cut -d= -f2)";
    let expected: f64 = answer(&site, &format!("date -d \"{days}\" +%s")).parse().expect("seconds");
    assert!((expiry - expected).abs() < 1.0, "{expiry} {expected}");
    goes_on(&publisher);
    assert_eq!(connected_at(), since, "its connection has gone on through all of it");
    publisher.stop();
}

#[test]
fn no_acknowledged_message_is_lost_over_kills_under_tls() {
    let rules = "CREATE RULE all AS SELECT id FROM 'load/+' DO STREAM kept KEY id;";
    let site = site(rules);
    let port = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("bound").port()
    };
    let devices = DEVICES.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    site.write("tidegate.toml", &format!("{devices}client_certificate = \"optional\"\n"));
    let mut gateway = site.start();
    let ca = site.path("certs/ca.pem");
    let arguments = ["--cafile", ca.to_str().expect("UTF-8"), "--host", "localhost"];
    let (out, topic) = (site.path("acked.txt"), "load/a");
    let publisher = Publisher::start_with("publisher", port, topic, &out, &arguments);
    let mut before = 0;
    for _ in 0..5 {
        before = eventually("more messages are acknowledged", || {
            let acked = publisher.acked().len();
            (acked >= before + 50).then_some(acked)
        });
        gateway.kill();
        gateway = site.start();
    }
    let acked: BTreeSet<String> = publisher.stop().into_iter().collect();
    let kept = site.stream_data("kept");
    let kept: BTreeSet<&str> = kept.iter().filter_map(|record| record["id"].as_str()).collect();
    let missing = acked.iter().filter(|id| !kept.contains(id.as_str())).count();
    assert_eq!(missing, 0, "of {} acknowledged", acked.len());
    assert!(acked.len() >= 250, "{} acknowledged", acked.len());
    drop(gateway);
}

#[test]
fn a_listener_with_bad_files_keeps_everything_from_starting() {
    let site = site(RULES);
    sign(&site, "ca", "other", "subjectAltName = DNS:localhost", "");
    let rejected = |lines: &str| {
        site.write("tidegate.toml", lines);
        let output = site.run_command().output().expect("tidegate runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = rejected(&DEVICES.replace("server.key", "other.key"));
    assert!(told.contains("C013") && told.contains("is not the key of"), "{told}");
    let told = rejected(&DEVICES.replace("server.key", "none.key"));
    assert!(told.contains("C012") && told.contains("No such file"), "{told}");
    let told = rejected(&format!("{DEVICES}client_certificate = \"none\"\n"));
    assert!(told.contains("C009"), "{told}");

    // What is only odd is told, and does not stop it.
    sign(&site, "ca", "old", "subjectAltName = DNS:localhost", "-days -1");
    shell(&site, "chmod 644 certs/old.key");
    site.write(
        "tidegate.toml",
        &format!("{}client_certificate = \"optional\"\n", DEVICES.replace("server.", "old.")),
    );
    let gateway = site.start();
    let (status, log) = gateway.terminate();
    assert!(status.success() && log.contains("C014") && log.contains("C017"), "{log}");
}
