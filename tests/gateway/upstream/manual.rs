//! The examples of `docs/upstream.md`.

use std::process::Command;
use std::process::Stdio;

use super::brokers::Broker;
use super::brokers::Kind;
use super::brokers::free_port;
use super::start;
use super::subscribed;
use crate::live::Site;
use crate::live::eventually;
use crate::live::json_lines;
use crate::live::tidegate;

const MANUAL: &str = include_str!("../../../docs/upstream.md");

/// The blocks of this kind.
fn blocks(kind: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("\n```{kind}\n");
    let blocks: Vec<&str> = MANUAL.split(fence.as_str()).skip(1).collect();
    blocks.into_iter().map(|rest| rest.split("```").next().unwrap_or_default())
}

#[test]
fn every_configuration_of_the_manual_is_accepted() {
    let mut count = 0;
    for text in blocks("toml") {
        let site = Site::with_rules("CREATE RULE r AS SELECT id FROM 'a' DO LOG 'x';");
        site.write("tidegate.toml", text);
        let output = tidegate()
            .current_dir(site.path(""))
            .args(["check", "rules"])
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{told}");
        count += 1;
    }
    assert!(count >= 2, "{count} configurations");
}

/// Plays the console of the manual, with ports of its own.
#[test]
fn the_commands_of_the_manual_answer_as_they_are_printed() {
    let block = blocks("console").next().expect("an example");
    let port = free_port();
    let broker = Broker::start_on(Kind::Mosquitto, port, "");
    let site = Site::with_rules("");
    let rule = blocks("sql").next().expect("its rule");
    site.write("rules/test.rule", rule);
    site.write("tidegate.toml", &format!("[broker]\nexternal = \"mqtt://127.0.0.1:{port}\"\n"));
    let gateway = start(&site);
    subscribed(&gateway, 1);
    let mut listener = broker.mosquitto("mosquitto_sub");
    let listener = listener.args(["-v", "-C", "1", "-t", "alarms/#"]).stdout(Stdio::piped());
    let listener = listener.spawn().expect("mosquitto_sub runs");
    let mut lines = block.lines();
    let publish = lines.find_map(|line| line.strip_prefix("$ mosquitto_pub ")).expect("a publish");
    let expected = lines.next().expect("what the subscriber prints");
    let payload = publish.split('\'').nth(1).expect("a payload in quotes");
    let topic =
        publish.split_whitespace().skip_while(|word| *word != "-t").nth(1).expect("a topic");
    // The subscriber is there when its first message has come.
    let told = std::thread::spawn(move || listener.wait_with_output().expect("it ends"));
    eventually("the subscriber has it", || {
        broker.publish(topic, payload);
        told.is_finished().then_some(())
    });
    let told = told.join().expect("it does not panic");
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), expected);

    let answer = Command::new("curl")
        .args(["-sS", &format!("{}/api/upstreams", gateway.http)])
        .output()
        .expect("curl runs");
    let upstreams = &json_lines(&answer.stdout)[0]["upstreams"];
    assert_eq!(upstreams[0]["subscriptions"][0], "lab/+");
    assert!(block.contains(r#""subscriptions":["lab/+"]"#), "the manual shows it too");
}
