//! A hook decides who may connect.

use serde_json::json;

use super::SEEN;
use super::answers;
use crate::clients::HookServer;
use crate::live::Site;

#[test]
fn a_hook_decides_who_comes_in_and_what_they_may_do() {
    let hook = HookServer::start();
    let site = Site::with_rules(SEEN);
    site.write(
        "tidegate.toml",
        &format!(
            "[auth]\nmethods = [\"hook\"]\n[auth.hook]\nname = \"who\"\ncache = \"1h\"\n\
             [hook.who]\nurl = \"{}\"\nanswer_timeout = \"1s\"\n[acl]\nrules = [\"allow publish group fleet shared\"]",
            hook.auth_url()
        ),
    );
    let gateway = site.start();
    hook.answer_auth(&json!({
        "allow": true, "principal": "truck-9", "groups": ["fleet"], "values": {"depot": "east"},
        "acl": ["allow publish any depot/%{hook.depot}/%u"]
    }));
    let good = ["--client-id", "t9", "--user", "u", "--password", "p"];
    let topics = [
        "--publish",
        "shared",
        "--publish",
        "depot/east/truck-9",
        "--publish",
        "depot/west/truck-9",
    ];
    for _ in 0..2 {
        let told = answers(&gateway, &[&good[..], &topics].concat());
        assert_eq!(
            told["puback"],
            json!({"shared": 0, "depot/east/truck-9": 0, "depot/west/truck-9": 0x87})
        );
    }
    let calls = hook.calls();
    assert_eq!(calls.len(), 1, "the second time it is known: {calls:?}");
    let mut body = calls[0]["body"].clone();
    assert_eq!(body["address"].take(), "127.0.0.1");
    assert_eq!(
        body,
        json!({"client_id": "t9", "user_name": "u", "password": "p", "address": null, "certificate": null})
    );
    assert_eq!(site.stream_data("seen")[0]["who"], "truck-9");

    hook.answer_auth(&json!({"allow": false}));
    assert_eq!(answers(&gateway, &["--user", "other"])["connack"], 0x87);
    // Closed when there is no good answer, and not remembered.
    hook.answer_auth(&json!({"allow": "certainly"}));
    assert_eq!(answers(&gateway, &["--user", "third"])["connack"], 0x89);
    hook.answer_with(500);
    assert_eq!(answers(&gateway, &["--user", "third"])["connack"], 0x89);
    hook.answer_with(200);
    hook.delay(5.0);
    assert_eq!(answers(&gateway, &["--user", "third"])["connack"], 0x89, "it takes too long");
    assert_eq!(answers(&gateway, &good)["connack"], 0, "who is known still comes in");
}
