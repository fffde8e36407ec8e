//! Destinations that are not there: what waits for them waits, everything else goes on.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;
use serde_json::json;

use crate::clients::HookServer;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;

/// The entry of a list of the API with this name.
fn named(gateway: &Gateway, list: &str, name: &str) -> Value {
    let answer = gateway.get_json(&format!("/api/{list}"));
    let entries = answer[list].as_array().unwrap_or_else(|| panic!("{list} in {answer}"));
    entries.iter().find(|entry| entry["name"] == name).cloned().unwrap_or_default()
}

fn numbers(n: std::ops::Range<i32>) -> Vec<Value> {
    n.map(|n| json!({"n": n})).collect()
}

#[test]
fn a_delivery_without_its_folder_waits_and_holds_up_nothing() {
    let site =
        Site::with_rules("CREATE RULE all AS SELECT n FROM 'x' DO DELIVER lake, STREAM s KEY 'k';");
    site.write("tidegate.toml", "[delivery.lake]\nbuffer_interval = \"1s\"\n");
    fs::create_dir_all(site.path("data/delivery")).expect("a folder");
    site.write("data/delivery/lake", "a file where the folder should be");
    let gateway = site.start();
    for n in 0..3 {
        gateway.publish("x", &format!(r#"{{"n":{n}}}"#));
    }
    assert_eq!(site.stream_data("s"), numbers(0..3), "acknowledged and in the stream");
    let failure = eventually("the delivery says why it fails", || {
        let error = &named(&gateway, "deliveries", "lake")["last_error"];
        error.is_object().then(|| error.to_string())
    });
    assert!(failure.contains("data/delivery/lake"), "{failure}");
    assert!(metric(&gateway, r#"tidegate_delivery_failures_total{delivery="lake"}"#) > 0.0);
    assert_eq!(gateway.get("/readyz").0, 200, "a destination is not the gateway");

    fs::remove_file(site.path("data/delivery/lake")).expect("the file is there");
    eventually("the records are delivered", || {
        (site.delivered("lake") == numbers(0..3)).then_some(())
    });
    fs::remove_dir_all(site.path("data/delivery")).expect("the folder is there");
    gateway.publish("x", r#"{"n":3}"#);
    eventually("the folder is made again", || {
        (site.delivered("lake") == numbers(3..4)).then_some(())
    });
}

#[test]
fn a_hook_that_refuses_connections_is_called_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    drop(listener);
    let site =
        Site::with_rules("CREATE RULE all AS SELECT n FROM 'x' DO INVOKE pager, STREAM s KEY 'k';");
    site.write(
        "tidegate.toml",
        &format!(
            "[hook.pager]\nurl = \"http://127.0.0.1:{port}/pager\"\nattempts = 100\n\
             backoff = \"50ms\"\nbackoff_max = \"200ms\"\n"
        ),
    );
    let gateway = site.start();
    for n in 0..20 {
        gateway.publish("x", &format!(r#"{{"n":{n}}}"#));
    }
    assert_eq!(site.stream_data("s"), numbers(0..20), "acknowledged and in the stream");
    eventually("the hook says why it fails", || {
        named(&gateway, "hooks", "pager")["last_error"].is_object().then_some(())
    });
    let hook = HookServer::start_on(port);
    let mut called: Vec<i64> = eventually("every call is made", || {
        let calls = hook.calls();
        (calls.len() >= 20).then(|| {
            calls.iter().map(|call| call["body"]["n"].as_i64().expect("a number")).collect()
        })
    });
    called.sort_unstable();
    called.dedup();
    assert_eq!(called, (0..20).collect::<Vec<_>>());
    eventually("nothing waits any more", || {
        (named(&gateway, "hooks", "pager")["pending"] == 0).then_some(())
    });
    assert_eq!(named(&gateway, "hooks", "pager")["dead_letters"], 0);
}

#[test]
fn an_episode_over_a_dead_destination_is_told_once_and_in_order_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    drop(listener);
    let site = Site::with_rules(
        "CREATE RULE hot AS SELECT id, hold.reason AS reason FROM 'lab/+' WHEN t > 30 FOR 200 MILLISECONDS PARTITION BY id
         DO DELIVER lake, INVOKE pager, STREAM s KEY 'k'
         ON CLEARED DO DELIVER lake, INVOKE pager, STREAM s KEY 'k';",
    );
    site.write(
        "tidegate.toml",
        &format!(
            "[delivery.lake]\nbuffer_interval = \"1s\"\n
             [hook.pager]\nurl = \"http://127.0.0.1:{port}/pager\"\nattempts = 100\n\
             backoff = \"50ms\"\nbackoff_max = \"200ms\"\nconcurrency = 1\n"
        ),
    );
    fs::create_dir_all(site.path("data/delivery")).expect("a folder");
    site.write("data/delivery/lake", "a file where the folder should be");
    let (firing, cleared) = (json!({"id": 7}), json!({"id": 7, "reason": "false"}));
    let mut gateway = site.start();
    // Both destinations are down while it fires and while it is cleared, over a kill.
    gateway.publish("lab/7", r#"{"id":7,"t":31}"#);
    eventually("it fires", || (site.stream_data("s").len() == 1).then_some(()));
    gateway.kill();
    gateway = site.start();
    gateway.publish("lab/7", r#"{"id":7,"t":20}"#);
    assert_eq!(site.stream_data("s"), [firing.clone(), cleared.clone()]);
    for (list, name) in [("deliveries", "lake"), ("hooks", "pager")] {
        eventually("it says why it fails", || {
            named(&gateway, list, name)["last_error"].is_object().then_some(())
        });
    }
    let hook = HookServer::start_on(port);
    fs::remove_file(site.path("data/delivery/lake")).expect("the file is there");
    eventually("the records are delivered", || (site.delivered("lake").len() >= 2).then_some(()));
    eventually("nothing waits any more", || {
        (named(&gateway, "hooks", "pager")["pending"] == 0).then_some(())
    });
    assert_eq!(site.delivered("lake"), [firing.clone(), cleared.clone()]);
    // A call that waits for its next attempt holds back no other.
    let mut called: Vec<Value> =
        hook.calls().into_iter().map(|mut call| call["body"].take()).collect();
    called.sort_by_key(|body| body["reason"].is_string());
    assert_eq!(called, [firing, cleared]);
}

#[test]
fn a_call_that_is_given_up_is_a_dead_letter_and_runs_on_error() {
    let hook = HookServer::start();
    hook.answer_with(500);
    let site = Site::with_rules(
        "CREATE RULE all AS SELECT n FROM 'x' DO INVOKE pager, STREAM s KEY 'k'
         ON ERROR DO STREAM errors KEY 'e';",
    );
    site.write(
        "tidegate.toml",
        &format!(
            "[hook.pager]\nurl = \"{}\"\nattempts = 3\nbackoff = \"20ms\"\n\
             backoff_max = \"50ms\"\n",
            hook.url()
        ),
    );
    let gateway = site.start();
    gateway.publish("x", r#"{"n":1}"#);
    let errors = eventually("ON ERROR has run", || {
        let errors = site.stream_data("errors");
        (!errors.is_empty()).then_some(errors)
    });
    assert_eq!(errors.len(), 1, "{errors:?}");
    let failure = &errors[0]["failures"][0];
    assert_eq!(failure["failedAction"], "invoke", "{errors:?}");
    assert_eq!(failure["failedResource"], "pager", "{errors:?}");
    assert_eq!(hook.calls().len(), 3, "as many attempts as configured");
    let letters = gateway.get_json("/api/hooks/pager/dead-letters").to_string();
    assert!(letters.contains("500"), "{letters}");
    assert_eq!(site.stream_data("s"), numbers(1..2));
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    let gateway = site.start();
    assert_eq!(named(&gateway, "hooks", "pager")["dead_letters"], 1, "kept over a restart");
    assert_eq!(site.stream_data("errors").len(), 1, "and told once");
}
