//! Records encrypted at rest: by the API, for rules' records too, under keys that come and go, and found nowhere in
//! clear.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use serde_json::json;

use crate::clients::answer;
use crate::clients::python;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::tidegate;

/// A rule that writes into the stream, and one that reads it.
const SEALED: &str = "CREATE RULE sealed AS SELECT word FROM 'words' DO STREAM vault KEY 'k';";
const FOLLOW: &str = "CREATE RULE follow AS SELECT word FROM STREAM vault STARTING AT TRIM_HORIZON
    WHERE word = 'ruled' DO STREAM copies KEY 'k';";

fn boto3(gateway: &Gateway, what: &str) -> Value {
    answer(python("encryption.py").args([what, "--endpoint", &gateway.http]))
}

/// Two keys of the site, and the configuration that has those of these names.
fn configure(site: &Site, names: &[&str]) {
    let mut text = "[stream.vault]\nshards = 1\n".to_owned();
    for name in names {
        let path = site.path(&format!("{name}.key"));
        let digits = if *name == "old" { "01" } else { "f2" };
        fs::write(&path, digits.repeat(32)).expect("a key");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("its mode");
        text += &format!("[encryption_key.{name}]\nfile = \"{name}.key\"\n");
        if *name == "old" {
            text += "aliases = [\"alias/line\"]\n";
        }
    }
    site.write("tidegate.toml", &text);
}

/// The files below the data folder that have a text in clear.
fn in_clear(site: &Site, text: &str) -> Vec<String> {
    let has = |path: &&std::path::PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let name = |path: &std::path::PathBuf| {
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    site.files_below("data").iter().filter(has).map(name).collect()
}

fn verify(site: &Site) -> String {
    let mut command = tidegate();
    command.current_dir(site.path(".")).args(["stream", "verify", "--data", "data"]);
    let output = command.output().expect("tidegate runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    format!("{text}{}", String::from_utf8_lossy(&output.stderr))
}

/// What is read behind the first puts.
fn first_read() -> Vec<Value> {
    let hidden = json!(["hidden-words", "KMS"]);
    [vec![json!(["clear-before", null])], vec![hidden; 7]].concat()
}

fn first_answers() -> Value {
    json!({
        "before": ["NONE", null],
        "puts": [null, null, "KMS", "KMS", "KMS", "KMS"],
        "many": [0, "KMS"],
        "spelled": [true, true, true, true],
        "read": first_read(),
        "refused": {
            "key": [
                "KMSNotFoundException", 400,
                "Key 'arn:aws:kms:us-east-1:000000000000:key/none' does not exist",
            ],
            "alias": [
                "KMSNotFoundException", 400,
                "Alias arn:aws:kms:us-east-1:000000000000:alias/none is not found.",
            ],
            "arn": [
                "KMSNotFoundException", 400,
                "Key 'arn:aws:kms:eu-central-1:123456789012:key/none' does not exist",
            ],
            "type": [
                "InvalidArgumentException", 400,
                "Encryption type is invalid. The only valid value is KMS.",
            ],
            "word": [
                "ValidationException", 400,
                "1 validation error detected: Value 'AES' at 'encryptionType' failed to satisfy \
                 constraint: Member must satisfy enum value set: [KMS, NONE]",
            ],
            "stream": [
                "ResourceNotFoundException", 400,
                "Stream none under account 000000000000 not found.",
            ],
        },
        "still": ["KMS", "arn:aws:kms:eu-central-1:123456789012:alias/line"],
    })
}

#[test]
fn encrypted_records_are_in_no_file_in_clear_and_keys_can_change() {
    let site = Site::with_rules(SEALED);
    configure(&site, &["old", "new"]);
    let gateway = site.start();
    assert_eq!(boto3(&gateway, "first"), first_answers());
    // The log that a commit goes to first is one of the files.
    assert!(site.files_below("data").iter().any(|path| path.ends_with("tidegate.db-wal")));
    assert_eq!(in_clear(&site, "hidden-"), [""; 0], "data and partition keys");
    assert!(!in_clear(&site, "clear-text").is_empty(), "what is not encrypted is found");
    // Rules' records too; the hit log keeps what a rule has said.
    gateway.publish("words", r#"{"word":"ruled"}"#);
    let word = || site.stream_data("vault").into_iter().any(|data| data["word"] == "ruled");
    eventually("the rule's record is there", || word().then_some(()));

    let seen = boto3(&gateway, "rotate");
    let ruled = json!([r#"{"word":"ruled"}"#, "KMS"]);
    let second = [
        ruled,
        json!(["second-key", "KMS"]),
        json!(["clear-after", null]),
        json!(["third", "KMS"]),
    ];
    let read = [first_read(), second.to_vec()].concat();
    let expected =
        json!({"answers": ["KMS", null, "KMS"], "stopped": ["NONE", null], "read": read});
    assert_eq!(seen, expected);
    gateway.kill();
    assert_eq!(in_clear(&site, "hidden-"), [""; 0], "after a kill");
    assert_eq!(in_clear(&site, "second-key"), [""; 0]);
    let verified = verify(&site);
    assert!(verified.contains(": whole") && !verified.contains("warning"), "{verified}");

    without_keys(&site, read.len());
}

/// The same site, of whose stream so many records are kept, without one key and the other.
fn without_keys(site: &Site, kept: usize) {
    // Without the first key: what is under it waits, and all else goes on.
    configure(site, &["new"]);
    site.write("rules/follow.rule", FOLLOW);
    let gateway = site.start();
    let seen = boto3(&gateway, "missing");
    let expected = json!({
        "first": ["clear-before"],
        "refused": ["KMSNotFoundException", 400],
        "says": true,
        "put": null,
        "open": null,
        "described": ["KMS", "new"],
    });
    assert_eq!(seen, expected);
    let locked = "tidegate_stream_locked_total{stream=\"vault\"} ";
    let (_, metrics) = gateway.get("/metrics");
    let count = metrics.lines().find_map(|line| line.strip_prefix(locked));
    assert!(count.is_some_and(|count| count != "0"), "{metrics}");
    drop(gateway.terminate());
    let verified = verify(site);
    let told = "it is encrypted with the key 'old', which is not there";
    assert!(verified.contains(told) && verified.contains(": whole, "), "{verified}");

    // Without the second one nothing can be put either.
    configure(site, &["old"]);
    let gateway = site.start();
    let seen = boto3(&gateway, "locked");
    assert_eq!(seen["put"][0], "KMSNotFoundException", "{seen}");
    gateway.publish("words", r#"{"word":"lost"}"#);
    let fault = "tidegate_rule_faults_total{rule=\"sealed\",code=\"stream_locked\"} 1";
    eventually("the rule's fault is counted", || {
        gateway.get("/metrics").1.contains(fault).then_some(())
    });
    let (_, log) = gateway.terminate();
    assert!(log.contains("a key that the configuration does not have"), "{log}");

    configure(site, &["old", "new"]);
    let gateway = site.start();
    let seen = boto3(&gateway, "everything");
    assert_eq!(seen["put"], Value::Null);
    assert_eq!(seen["read"].as_array().map(Vec::len), Some(kept + 1), "{seen}");
    // The rule that reads the stream has stood before the block until its key was there.
    let copies = || site.stream_data("copies");
    eventually("the rule goes on", || (copies() == [json!({"word": "ruled"})]).then_some(()));
}
