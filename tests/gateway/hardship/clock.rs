//! A wrong clock, and a start without the configuration, cost no records.

use serde_json::json;

use crate::live::Site;
use crate::live::eventually;

const KEEP: &str = "CREATE RULE keep AS SELECT id FROM 'in' DO STREAM s KEY 'k';";

fn change(site: &Site, sql: &str) {
    let database = rusqlite::Connection::open(site.path("data/tidegate.db")).expect("a database");
    database.execute_batch(sql).expect("changed");
}

/// Waits until retention has had its first look of a run.
fn looked(site: &Site, runs: i64) {
    let count = || site.on_disk::<i64>("SELECT count(*) FROM stream_run");
    eventually("retention has looked", || (count() >= runs).then_some(()));
}

#[test]
fn records_of_a_clock_that_was_weeks_behind_outlive_the_next_start() {
    let site = Site::with_rules(KEEP);
    let gateway = site.start();
    for id in 0..5 {
        gateway.publish("in", &format!(r#"{{"id":{id}}}"#));
    }
    looked(&site, 1);
    gateway.terminate();
    // As the run would have left it, had its clock been forty days behind.
    let behind = 40_i64 * 24 * 3600 * 1000;
    change(
        &site,
        &format!(
            "UPDATE stream_block SET peak_at = peak_at - {behind};
             UPDATE stream_run SET began_at = began_at - {behind}, ended_at = ended_at - {behind};
             UPDATE alive SET until = until - {behind};"
        ),
    );
    let gateway = site.start();
    looked(&site, 2);
    gateway.terminate();
    assert_eq!(site.records("s").len(), 5);
    // Once the gateway has run for so long, they go.
    change(&site, "UPDATE stream_run SET began_at = began_at - 90000000 WHERE id = 2");
    let gateway = site.start();
    eventually("retention", || site.records("s").is_empty().then_some(()));
    gateway.terminate();
}

#[test]
fn a_start_without_the_configuration_keeps_what_it_declared() {
    let site = Site::with_rules(KEEP);
    site.write("tidegate.toml", "[stream.s]\nshards = 3\nretention = \"30d\"\n");
    let gateway = site.start();
    gateway.publish("in", r#"{"id":1}"#);
    looked(&site, 1);
    gateway.terminate();
    // The record is two days old, by what the gateway has run.
    change(
        &site,
        "UPDATE stream_block SET peak_at = peak_at - 172800000;
         UPDATE stream_run SET began_at = began_at - 200000000;",
    );
    std::fs::remove_file(site.path("tidegate.toml")).expect("removed");
    let before = site.on_disk::<i64>("SELECT ended_at FROM stream_run");
    let gateway = site.start();
    let ended = || site.on_disk::<i64>("SELECT ended_at FROM stream_run");
    eventually("retention has looked", || (ended() > before).then_some(()));
    let (_, log) = gateway.terminate();
    assert!(!log.contains("WARN"), "nothing is declared otherwise: {log}");
    let retention = "SELECT retention_ms / 86400000 FROM stream";
    assert_eq!(site.on_disk::<i64>(retention), 30);
    assert_eq!(site.records("s").len(), 1);
    // Whoever declares less is told, and gets it.
    site.write("tidegate.toml", "[stream.s]\nshards = 3\nretention = \"24h\"\n");
    let gateway = site.start();
    eventually("retention", || site.records("s").is_empty().then_some(()));
    let (_, log) = gateway.terminate();
    assert!(log.contains("shortens the retention of the stream"), "{log}");
    assert_eq!(site.on_disk::<i64>(retention), 1);
}

#[test]
fn a_line_of_the_log_is_one_line_whatever_a_client_writes() {
    let rules = "CREATE RULE say AS SELECT text FROM 'in' DO LOG '${text}';";
    let site = Site::with_rules(rules);
    let gateway = site.start();
    let text = "x\n2026-01-01T00:00:00Z ERROR tidegate: forged\r\u{1b}[2J";
    gateway.publish("in", &json!({ "text": text }).to_string());
    let hits = "tidegate_rule_hits_total{rule=\"say\"} 1";
    eventually("the hit", || gateway.get("/metrics").1.contains(hits).then_some(()));
    let (_, log) = gateway.terminate();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("forged")).collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(
        said[0].contains(r"x\n2026-01-01T00:00:00Z ERROR tidegate: forged\r\u{1b}[2J"),
        "{log}"
    );
}
