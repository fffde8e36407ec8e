//! Functions that ask a service at AWS, asking the gateway itself: shadows, rows, secrets.

use serde_json::json;

use crate::live::Site;
use crate::live::http;

const RULES: &str = "
CREATE RULE desired AS SELECT * FROM 'devices/+/desired' DO UPSERT shadows KEY topic(2);
CREATE RULE compare AS
  SELECT t, get_thing_shadow(topic(2), 'arn:aws:iam::1:role/r').target AS target
  FROM 'devices/+/t'
  WHERE t > get_thing_shadow(topic(2), 'arn:aws:iam::1:role/r').target
DO STREAM hot KEY topic(2);
";

#[test]
fn a_shadow_that_was_acknowledged_is_read_also_after_a_kill() {
    let site = Site::with_rules(RULES);
    let gateway = site.start();
    gateway.publish("devices/a/t", r#"{"t":25}"#);
    gateway.publish("devices/a/desired", r#"{"target":20}"#);
    gateway.publish("devices/a/t", r#"{"t":26}"#);
    gateway.kill();
    let gateway = site.start();
    gateway.publish("devices/a/t", r#"{"t":27}"#);
    gateway.publish("devices/b/t", r#"{"t":28}"#);
    let expected = [json!({"t": 26, "target": 20}), json!({"t": 27, "target": 20})];
    assert_eq!(site.stream_data("hot"), expected);
}

#[test]
fn secrets_come_from_file_and_environment_and_are_shown_nowhere() {
    let rules = "CREATE RULE sign AS
      SELECT sha256(concat(get_secret('key', 'SecretString', 'role'), n)) AS signed,
             get_secret('account', 'SecretString', 'user', 'role') AS user
      FROM 'in' DO STREAM out KEY 'k';";
    let site = Site::with_rules(rules);
    let config = format!(
        "[rules]\nwatch = false\n[secret.key]\nfile = \"{}\"\n[secret.account]\nenv = \"ACCOUNT\"\n",
        site.path("key").display()
    );
    site.write("tidegate.toml", &config);
    site.write("key", "hunter2\n");
    let mut command = site.run_command();
    command.env("ACCOUNT", r#"{"user":"ops","password":"correct horse"}"#);
    command.env("TIDEGATE_LOG", "debug");
    let gateway = crate::live::Gateway::start(command);
    gateway.publish("in", r#"{"n":1}"#);
    site.write("key", "hunter3\n");
    gateway.publish("in", r#"{"n":1}"#);
    let (status, report) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert_eq!(status, 200, "{report}");
    gateway.publish("in", r#"{"n":1}"#);
    std::fs::remove_file(site.path("key")).expect("it was there");
    let (status, report) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert!(status != 200 && report.contains("the secret 'key' cannot be read"), "{report}");

    // printf hunter21 | sha256sum, and of hunter31: what the file has is taken over by a reload.
    let of = |sum: &str| json!({"signed": sum, "user": "ops"});
    let old = of("1acdf4f17b921141300a225d9ca41c618890a4d3fff1ec39a7009c31dbb4ea04");
    let new = of("01395669bef224621ca5273c270385174bf0b9ac0e2066b385273ba4e63a1fce");
    assert_eq!(site.stream_data("out"), [old.clone(), old, new]);
    let mut shown = report;
    for path in ["/api/rules", "/api/rules/sign", "/api/overview", "/metrics", "/api/hits"] {
        shown += &gateway.get(path).1;
    }
    shown += &gateway.terminate().1;
    for secret in ["hunter2", "hunter3", "correct horse"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}
