//! The HTTP side locked, and clients listed and kicked.

use std::process::Command;

use serde_json::json;

use super::SEEN;
use super::Staying;
use super::passwd;
use super::site;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::tidegate;

/// The status of an answer to curl.
fn status(gateway: &Gateway, arguments: &[&str], path: &str) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .arg(format!("{}{path}", gateway.http))
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

#[test]
fn the_http_side_asks_for_a_user_of_the_group_or_the_token() {
    let site = Site::with_rules(SEEN);
    site.write("tidegate.toml", "[http]\nauth = \"users\"\ngroup = \"ops\"\n");
    passwd(&site, "alice", "x:y", &["--group", "ops"]);
    passwd(&site, "sensor", "x", &[]);
    let gateway = site.start();
    let code = |arguments: &[&str], path: &str| status(&gateway, arguments, path).0;
    for path in ["/", "/app.js", "/metrics", "/api/overview", "/api/events", "/api/openapi.json"] {
        assert_eq!(code(&[], path), 401, "{path}");
    }
    let (_, head) = status(&gateway, &["-i"], "/");
    assert!(
        head.to_ascii_lowercase().contains("www-authenticate: basic realm=\"tidegate\""),
        "{head}"
    );
    assert_eq!((code(&[], "/healthz"), code(&[], "/readyz")), (200, 200));
    for path in ["/", "/metrics", "/api/overview"] {
        assert_eq!(code(&["-u", "alice:x:y"], path), 200, "{path}");
    }
    assert_eq!(code(&["-u", "alice:x"], "/"), 401);
    assert_eq!(code(&["-u", "nobody:x"], "/"), 401);
    assert_eq!(code(&["-u", "sensor:x"], "/"), 403, "a device's user is no administrator");
    let token = std::fs::read_to_string(site.path("data/http.token")).expect("made at the start");
    let bearer = format!("Authorization: Bearer {}", token.trim());
    assert_eq!(code(&["-H", &bearer], "/api/overview"), 200);
    assert_eq!(code(&["-H", "Authorization: Bearer x"], "/api/overview"), 401);
    let foreign = ["-u", "alice:x:y", "-H", "Origin: http://evil.example"];
    assert_eq!(code(&foreign, "/api/overview"), 403, "the guard stands before the lock");
    // Commands on the data folder have the token.
    let done = tidegate().current_dir(site.path(".")).arg("reload").output().expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    gateway.terminate();
    let again = site.start();
    assert_eq!(status(&again, &["-H", &bearer], "/api/overview").0, 200, "the token stays");
}

#[test]
fn a_client_is_listed_with_its_name_and_can_be_kicked() {
    let site = site("");
    passwd(&site, "alice", "x", &[]);
    let gateway = site.start();
    let arguments = ["--user", "alice", "--password", "x", "--keep", "--subscribe", "a/#"];
    let (mut staying, _) =
        Staying::start(&gateway, &[&["--client-id", "c/1"], &arguments[..]].concat());
    let clients = gateway.get_json("/api/clients");
    assert_eq!(clients["clients"][0]["principal"], "alice");
    assert_eq!(clients["clients"][0]["login"], "users");
    let run = |arguments: &[&str]| {
        let output = tidegate().current_dir(site.path(".")).args(arguments).output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, listed, _) = run(&["client", "list"]);
    let row: Vec<&str> = listed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!((code, row[0], row[1], row[3], row[4]), (Some(0), "c/1", "alice", "5", "1"));
    let (code, told, why) = run(&["client", "kick", "c/1"]);
    assert_eq!((code, told.as_str()), (Some(0), "kicked c/1\n"), "{why}");
    assert_eq!(staying.next(), json!({"disconnect": 0x98}));
    let kicked = || metric(&gateway, r#"tidegate_mqtt_connections_closed_total{reason="kicked"}"#);
    eventually("it is counted", || (kicked() >= 1.0).then_some(()));
    let (code, _, why) = run(&["client", "kick", "c/1"]);
    assert_eq!((code, why.contains("no client 'c/1' is connected")), (Some(3), true), "{why}");
    // Its session waits for it, and it may be kicked again.
    for _ in 0..2 {
        let arguments = ["--user", "alice", "--password", "x", "--keep"];
        let (mut again, told) =
            Staying::start(&gateway, &[&["--client-id", "c/1"], &arguments[..]].concat());
        assert_eq!(told["connack"], 0);
        let client = &gateway.get_json("/api/clients")["clients"][0];
        assert_eq!(client["subscriptions"], json!(["a/#"]));
        assert_eq!(status(&gateway, &["-X", "DELETE"], "/api/clients/c%2F1").0, 204);
        assert_eq!(again.next(), json!({"disconnect": 0x98}));
    }
}
