//! Users and passwords: `tidegate passwd`, CONNECT, the slow-down.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use serde_json::json;

use super::answers;
use super::passwd;
use super::site;
use crate::broker::publish;
use crate::broker::v5;
use crate::hardship::Device;
use crate::hardship::metric;
use crate::live::Site;
use crate::live::eventually;
use crate::live::tidegate;

fn run(site: &Site, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = tidegate()
        .current_dir(site.path("."))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn passwd_adds_changes_lists_and_deletes_users() {
    let site = site("");
    std::fs::remove_file(site.path("users")).expect("it is there");
    passwd(&site, "alice", "secret\n", &["--group", "ops", "--group", "lab"]);
    passwd(&site, "bob", "other", &[]);
    let before = std::fs::read_to_string(site.path("users")).expect("written");
    passwd(&site, "alice", "new", &[]);
    let after = std::fs::read_to_string(site.path("users")).expect("written");
    assert_eq!(std::fs::metadata(site.path("users")).expect("there").mode() & 0o777, 0o600);
    assert_eq!(before.lines().nth(1), after.lines().nth(1), "bob's line is as it was");
    assert!(before.lines().next() != after.lines().next() && !after.contains("new"), "{after}");
    let (code, listed, _) = run(&site, &["passwd", "users", "--list"]);
    assert_eq!((code, listed.as_str()), (Some(0), "alice\tops,lab\nbob\n"));
    let (code, told, _) = run(&site, &["passwd", "users", "bob", "--delete"]);
    assert_eq!((code, told.as_str()), (Some(0), "deleted bob\n"));
    let (code, _, why) = run(&site, &["passwd", "users", "bob", "--delete"]);
    assert_eq!((code, why.contains("has no user bob")), (Some(3), true), "{why}");
    let (code, _, why) = run(&site, &["passwd", "users", "carol"]);
    assert_eq!((code, why.contains("--stdin")), (Some(2), true), "no terminal: {why}");
    let (code, _, why) = run(&site, &["passwd", "users", "a:b", "--stdin"]);
    assert_eq!((code, why.contains("a user name has")), (Some(2), true), "{why}");
    site.write("users", "alice:plain\n");
    let (code, _, why) = run(&site, &["passwd", "users", "alice", "--stdin"]);
    assert_eq!((code, why.contains("line 1")), (Some(1), true), "{why}");
}

#[test]
fn a_client_comes_in_with_its_password_and_with_nothing_else() {
    let site = site("");
    passwd(&site, "alice", "se:cret", &[]);
    let gateway = site.start();
    for (protocol, good, wrong, none) in [("5", 0, 0x86, 0x87), ("4", 0, 4, 5)] {
        let code = |more: &[&str]| {
            answers(&gateway, &[&["--protocol", protocol], more].concat())["connack"].clone()
        };
        assert_eq!(code(&["--user", "alice", "--password", "se:cret"]), good, "{protocol}");
        for (user, password) in [("alice", "secret"), ("alice", ""), ("bob", "se:cret")] {
            assert_eq!(code(&["--user", user, "--password", password]), wrong, "{protocol} {user}");
        }
        assert_eq!(code(&["--user", "alice"]), wrong, "{protocol}");
        assert_eq!(code(&[]), none, "{protocol}");
    }
    let publish = |password: &str| {
        let mut mosquitto = gateway.mosquitto("mosquitto_pub");
        mosquitto.args(["-u", "alice", "-P", password, "-q", "1", "-t", "a", "-m", "{}"]);
        mosquitto.output().expect("mosquitto_pub runs").status.success()
    };
    assert!(publish("se:cret") && !publish("nothing"));
    assert_eq!(site.stream_data("seen"), [json!({"topic": "a", "who": "alice"})]);
    let refused = |reason: &str| {
        metric(
            &gateway,
            &format!(r#"tidegate_mqtt_connections_refused_total{{reason="{reason}"}}"#),
        )
    };
    assert!(refused("bad_credentials") >= 8.0 && refused("no_credentials") >= 2.0);
    let (_, log) = gateway.terminate();
    assert!(!log.contains("se:cret") && !log.contains("argon2id"), "{log}");
}

#[test]
fn without_methods_a_user_name_proves_nothing() {
    let site = Site::with_rules(super::SEEN);
    let gateway = site.start();
    let told = answers(&gateway, &["--user", "root", "--password", "x", "--publish", "a"]);
    assert_eq!(told["connack"], 0);
    assert_eq!(site.stream_data("seen"), [json!({"topic": "a"})]);
}

#[test]
fn clients_without_a_name_come_in_when_that_is_said() {
    let site =
        site("[mqtt]\nallow_anonymous = true\n[acl]\nrules = [\"allow publish anonymous a\"]");
    passwd(&site, "alice", "x", &[]);
    let gateway = site.start();
    let nameless = answers(&gateway, &["--publish", "a", "--publish", "b"]);
    assert_eq!(nameless["puback"], json!({"a": 0, "b": 0x87}));
    let mut raw = Device::connect(&gateway, v5("raw"));
    raw.send(&publish(0b0100, "b", 7, Some(b""), b"{}"));
    let pubrec = raw.recv();
    assert_eq!((pubrec[0], pubrec[3], pubrec[4]), (0x50, 7, 0x87), "PUBREC of QoS 2");
    assert_eq!(answers(&gateway, &["--user", "alice", "--password", "y"])["connack"], 0x86);
}

#[test]
fn an_address_that_fails_too_often_has_to_wait() {
    let site = site("failures_max = 2");
    passwd(&site, "alice", "x", &[]);
    passwd(&site, "bob", "x", &[]);
    let gateway = site.start();
    let code = |user: &str, password: &str| {
        answers(&gateway, &["--user", user, "--password", password])["connack"].clone()
    };
    assert_eq!(code("alice", "1"), 0x86);
    assert_eq!(code("alice", "2"), 0x86);
    assert_eq!(code("alice", "x"), 0x9f, "even the right one: guessing must not pay");
    assert_eq!(code("bob", "x"), 0, "who fails does not shut others out");
}

#[test]
fn a_changed_users_file_is_taken_over_and_a_wrong_one_is_not() {
    let site = site("");
    passwd(&site, "alice", "x", &[]);
    let gateway = site.start();
    let code =
        |user: &str| answers(&gateway, &["--user", user, "--password", "x"])["connack"].clone();
    let (mut alice, _) = super::Staying::start(
        &gateway,
        &["--client-id", "stays", "--user", "alice", "--password", "x"],
    );
    passwd(&site, "bob", "x", &[]);
    eventually("bob may come in", || (code("bob") == 0).then_some(()));
    let good = std::fs::read_to_string(site.path("users")).expect("there");
    site.write("users", &format!("{good}carol:plain\n"));
    eventually("the wrong file is noticed", || {
        (metric(&gateway, "tidegate_access_stale") > 0.5).then_some(())
    });
    assert_eq!(code("bob"), 0, "what was right stays");
    let (status, _, why) = run(&site, &["reload", "--data", "data"]);
    assert_eq!((status, why.contains("line 3")), (Some(1), true), "{why}");
    let bobs = good.lines().nth(1).expect("bob's line");
    site.write("users", &format!("{bobs}\n"));
    assert_eq!(alice.next(), json!({"disconnect": 0x87}), "her user is gone");
    assert_eq!(code("alice"), 0x86);
}
