//! Who may use which client identifier, and what is said of connections that are refused.

use serde_json::Value;
use serde_json::json;

use super::Staying;
use super::answers;
use super::passwd;
use super::site;
use crate::hardship::metric;
use crate::live::eventually;

const FAILED: &str = "CREATE RULE failed AS
   SELECT clientId, reason, connectFailureReason AS aws, principalIdentifier AS who, ipAddress AS ip,
          topic() AS topic
   FROM '$events/client/+/connect_failed', '$aws/events/presence/connect_failed/+'
 DO STREAM failed KEY 'k';";

fn login<'a>(user: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--user", user, "--password", "x"], more].concat()
}

#[test]
fn nobody_takes_over_the_identifier_of_another() {
    let site = site(
        "[acl]\nrules = [\"allow connect group ops *\", \"allow connect any %u %u/*\", \"allow both any #\"]",
    );
    passwd(&site, "alice", "x", &[]);
    passwd(&site, "bob", "x", &[]);
    passwd(&site, "root", "x", &["--group", "ops"]);
    let gateway = site.start();
    let kept = ["--client-id", "alice", "--keep", "--subscribe", "mail"];
    let (alice, told) = Staying::start(&gateway, &login("alice", &kept));
    assert_eq!(told["suback"]["mail"], 1);
    for (protocol, refused) in [("5", 0x85), ("4", 2)] {
        let code = |user: &str, id: &str| {
            let more = ["--protocol", protocol, "--client-id", id];
            answers(&gateway, &login(user, &more))["connack"].clone()
        };
        assert_eq!(code("bob", "alice"), refused, "{protocol}");
        assert_eq!(code("bob", "alice/2"), refused, "{protocol}");
        assert_eq!(code("bob", "bobby"), refused, "{protocol}");
        assert_eq!(code("bob", "bob/any+thing#"), 0, "{protocol}");
        assert_eq!(code("bob", ""), 0, "the gateway's own identifiers are nobody's: {protocol}");
        assert_eq!(code("root", "maintenance"), 0, "{protocol}");
    }
    let reason = r#"{reason="client_id_not_authorized"}"#;
    let refused = metric(&gateway, &format!("tidegate_mqtt_connections_refused_total{reason}"));
    assert!((refused - 6.0).abs() < 0.1, "{refused}");
    let clients = gateway.get_json("/api/clients");
    let clients = clients["clients"].as_array().expect("a list");
    let mine = clients.iter().find(|client| client["client_id"] == "alice").expect("alice");
    assert_eq!((&mine["principal"], &mine["connected"]), (&json!("alice"), &json!(true)));
    drop(alice);
}

#[test]
fn a_live_client_whose_identifier_is_taken_from_it_is_disconnected() {
    let site = site("[acl]\nfile = \"acl\"");
    passwd(&site, "alice", "x", &[]);
    site.write("acl", "allow both any #\n");
    let gateway = site.start();
    let (mut guest, _) = Staying::start(&gateway, &login("alice", &["--client-id", "guest"]));
    let (mut own, told) = Staying::start(
        &gateway,
        &login("alice", &["--client-id", "alice", "--subscribe", "a", "--messages", "1"]),
    );
    assert_eq!(told["connack"], 0);
    site.write("acl", "allow connect any %u\nallow both any #\n");
    assert_eq!(guest.next(), json!({"disconnect": 0x87}));
    let told = answers(&gateway, &login("alice", &["--client-id", "", "--publish", "a"]));
    assert_eq!(told["puback"]["a"], 0);
    assert_eq!(own.next(), json!({"message": "a"}), "she stays under her own name");
}

#[test]
fn refused_connections_are_events() {
    let site = site("[acl]\nrules = [\"allow connect any %u\", \"allow both any a\"]");
    site.write("rules/failed.rule", FAILED);
    passwd(&site, "alice", "x", &[]);
    let gateway = site.start();
    let wrong = ["--client-id", "a/b", "--user", "alice", "--password", "y"];
    assert_eq!(answers(&gateway, &wrong)["connack"], 0x86);
    assert_eq!(answers(&gateway, &["--client-id", "nobody"])["connack"], 0x87);
    let foreign = login("alice", &["--client-id", "bob"]);
    assert_eq!(answers(&gateway, &foreign)["connack"], 0x85);
    let will = login("alice", &["--client-id", "alice", "--will", "b"]);
    assert_eq!(answers(&gateway, &will)["connack"], 0x87);
    assert_eq!(answers(&gateway, &login("alice", &["--client-id", "alice"]))["connack"], 0);
    let failed = eventually("the events are in the stream", || {
        Some(site.stream_data("failed")).filter(|failed| failed.len() >= 7)
    });
    let ours = |one: &&Value| one["topic"].as_str().is_some_and(|t| t.starts_with("$events/"));
    let text = |one: &Value, name: &str| one[name].as_str().map(str::to_owned);
    let told: Vec<_> = failed
        .iter()
        .filter(ours)
        .map(|one| ["topic", "reason", "who", "aws"].map(|name| text(one, name)))
        .map(|words| words.map(|word| word.unwrap_or_else(|| "-".to_owned())).join(" "))
        .collect();
    assert_eq!(
        told,
        [
            "$events/client/a%2Fb/connect_failed bad_credentials - AUTHORIZATION_FAILED",
            "$events/client/nobody/connect_failed no_credentials - AUTHORIZATION_FAILED",
            "$events/client/bob/connect_failed client_id_not_authorized alice AUTHORIZATION_FAILED",
            "$events/client/alice/connect_failed will_not_authorized alice AUTHORIZATION_FAILED",
        ]
    );
    // AWS's topics have the identifier as it is: of `a/b` two levels, which the rule's filter leaves out.
    let aws: Vec<_> =
        failed.iter().filter(|one| !ours(one)).map(|one| text(one, "topic")).collect();
    let aws: Vec<_> = aws.iter().flatten().map(String::as_str).collect();
    let begin = "$aws/events/presence/connect_failed/";
    assert_eq!(aws, [format!("{begin}nobody"), format!("{begin}bob"), format!("{begin}alice")]);
    assert!(failed.iter().all(|one| one["ip"] == "127.0.0.1"), "{failed:?}");
}
