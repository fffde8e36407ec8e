//! Rules that read streams: chained, killed, reloaded, and started anywhere.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::clients::Publisher;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;
use crate::live::tidegate;

/// Kills in the loop.
const KILLS: usize = 20;

fn chain(b: &str) -> String {
    format!("CREATE RULE a AS SELECT id FROM 'load/+' DO STREAM s KEY id;\n{b}")
}

const COPY: &str = "CREATE RULE b AS
    SELECT id, sequence_number() AS seq, shard_id() AS shard FROM STREAM s
    DO STREAM t KEY partition_key();";

fn reload(site: &Site, gateway: &Gateway, rules: &str) {
    site.write("rules/test.rule", rules);
    let (status, body) = http("POST", &format!("{}/api/rules/reload", gateway.http), None);
    assert_eq!(status, 200, "{body}");
}

fn unwatched(rules: &str) -> Site {
    let site = Site::with_rules(rules);
    site.write("tidegate.toml", "[rules]\nwatch = false\n[stream.s]\nshards = 3\n");
    site
}

/// The ids of stream `t`, once there are `count`.
fn copied(site: &Site, count: usize) -> Vec<Value> {
    eventually("the records are copied", || {
        let copies = site.stream_data("t");
        (copies.len() >= count).then(|| copies.iter().map(|copy| copy["id"].clone()).collect())
    })
}

/// Each record of `s`, by its place there, is in `t` once, with the same content.
fn assert_copied_once(site: &Site) {
    let originals: BTreeMap<String, Value> = site
        .records("s")
        .into_iter()
        .map(|record| {
            (
                record["sequence_number"].as_str().expect("a number").to_owned(),
                record["data"].clone(),
            )
        })
        .collect();
    let copies = eventually("every record is copied", || {
        let copies = site.stream_data("t");
        (copies.len() >= originals.len()).then_some(copies)
    });
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for copy in &copies {
        let number = copy["seq"].as_str().expect("a number");
        *counts.entry(number).or_default() += 1;
        let original = originals.get(number).unwrap_or_else(|| panic!("{copy} has no original"));
        assert_eq!(original["id"], copy["id"], "{copy}");
    }
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "copied more than once: {doubled:?}");
    assert_eq!(counts.len(), originals.len());
}

#[test]
fn a_record_passes_a_chain_of_rules_and_says_where_it_stood() {
    let site = unwatched(
        "CREATE RULE a AS SELECT id, topic(2) AS device FROM 'load/+' DO STREAM s KEY topic(2);
         CREATE RULE b AS
           SELECT id, partition_key() AS key, shard_id() AS shard, sequence_number() AS seq,
             timestamp() AS at, topic() AS topic, clientid() AS client
           FROM STREAM s
         DO STREAM t KEY id, REPUBLISH 'copied/${partition_key()}';
         CREATE RULE c AS SELECT id, seq FROM STREAM t DO STREAM u;
         CREATE RULE d AS SELECT id FROM 'copied/+' DO STREAM v KEY id;",
    );
    let gateway = site.start();
    gateway.publish("load/x", r#"{"id":7}"#);
    eventually("the end of the chain", || (!site.stream_data("u").is_empty()).then_some(()));
    let [original, copy, last] = ["s", "t", "u"].map(|stream| site.records(stream).remove(0));
    assert_eq!(
        copy["data"],
        json!({
            "id": 7, "key": "x", "shard": original["shard"], "seq": original["sequence_number"],
            "at": original["t"],
        })
    );
    assert_eq!(copy["partition_key"], "7");
    assert_eq!(last["data"], json!({"id": 7, "seq": original["sequence_number"]}));
    assert_eq!(last["partition_key"], "7", "without KEY a record keeps its key");
    assert_eq!(site.stream_data("v"), [json!({"id": 7})]);
    gateway.terminate();
}

#[test]
fn no_record_is_lost_or_doubled_over_twenty_kills() {
    let site = unwatched(&chain(COPY));
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let publisher = Publisher::start(port, "load/a", &site.path("acked.txt"));
    let mut before = 0;
    for _ in 0..KILLS {
        before = eventually("more records are copied", || {
            let copied = site.stream_data("t").len();
            (copied >= before + 40).then_some(copied)
        });
        gateway.kill();
        gateway = site.start_on(port);
    }
    let acked = publisher.stop().len();
    assert_copied_once(&site);
    assert!(acked >= KILLS * 40 && site.records("t").len() >= acked, "{acked} acknowledged");
    gateway.terminate();
}

#[test]
fn windows_over_a_stream_have_each_record_once_over_twenty_kills() {
    let sevens = "CREATE RULE sevens AS
        SET @shard = shard_id()
        SELECT @shard AS shard, collect(id) AS ids FROM STREAM s GROUP BY @shard, COUNT(7)
        DO STREAM t KEY @shard;";
    let site = unwatched(&chain(sevens));
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let publisher = Publisher::start(port, "load/a", &site.path("acked.txt"));
    let mut before = 0;
    for _ in 0..KILLS {
        before = eventually("more windows close", || {
            let closed = site.stream_data("t").len();
            (closed >= before + 5).then_some(closed)
        });
        gateway.kill();
        gateway = site.start_on(port);
    }
    publisher.stop();
    let mut written: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for mut record in site.records("s") {
        let shard = record["shard"].as_str().expect("a shard").to_owned();
        written.entry(shard).or_default().push(record["data"]["id"].take());
    }
    assert_eq!(written.len(), 3, "each shard has records");
    let closed = written.values().map(|ids| ids.len() / 7).sum::<usize>();
    let told = eventually("the last windows close", || {
        Some(site.stream_data("t")).filter(|told| told.len() >= closed)
    });
    assert_eq!(told.len(), closed);
    for (shard, ids) in &written {
        let of_shard = told.iter().filter(|window| window["shard"] == **shard);
        let gathered: Vec<Value> =
            of_shard.flat_map(|window| window["ids"].as_array().expect("ids").clone()).collect();
        assert_eq!(gathered, ids[..ids.len() / 7 * 7], "the records of {shard}, in their order");
    }
    gateway.terminate();
}

#[test]
fn reloads_under_load_lose_and_double_nothing() {
    let site = unwatched(&chain(COPY));
    let gateway = site.start();
    let publisher = Publisher::start(gateway.mqtt.port(), "load/a", &site.path("acked.txt"));
    for round in 0..20 {
        let before = publisher.acked().len();
        eventually("more messages", || (publisher.acked().len() > before + 20).then_some(()));
        let edited = COPY.replace("shard_id()", &format!("'{round}'"));
        reload(&site, &gateway, &chain(&edited));
    }
    publisher.stop();
    assert_copied_once(&site);
    let rounds: Vec<Value> = site.stream_data("t").iter().map(|r| r["shard"].clone()).collect();
    assert!(rounds.contains(&json!("5")) && rounds.contains(&json!("19")), "edits took effect");
    gateway.terminate();
}

#[test]
fn a_rule_begins_where_it_says_and_goes_on_where_it_stood() {
    let site = unwatched(&chain(""));
    let gateway = site.start();
    let publish = |id: u32| gateway.publish("load/x", &format!(r#"{{"id":{id}}}"#));
    let read = |start: &str, name: &str| {
        chain(&format!("CREATE RULE {name} AS SELECT id FROM STREAM s{start} DO STREAM t KEY id;"))
    };
    publish(1);
    reload(&site, &gateway, &read("", "latest"));
    publish(2);
    assert_eq!(copied(&site, 1), [2], "what came before LATEST is not read");

    // Away and back: the checkpoint went with the rule.
    reload(&site, &gateway, &chain(""));
    publish(3);
    reload(&site, &gateway, &read("", "latest"));
    publish(4);
    assert_eq!(copied(&site, 2), [2, 4]);

    // Disabled and enabled: the checkpoint stays.
    let disabled = read("", "latest").replace("latest AS", "latest DISABLED AS");
    reload(&site, &gateway, &disabled);
    publish(5);
    reload(&site, &gateway, &read("", "latest"));
    assert_eq!(copied(&site, 3), [2, 4, 5]);

    // Another start is another beginning.
    reload(&site, &gateway, &read(" STARTING AT TRIM_HORIZON", "latest"));
    assert_eq!(copied(&site, 8), [2, 4, 5, 1, 2, 3, 4, 5]);

    let arrived = site.records("s")[2]["t"].as_i64().expect("milliseconds");
    let time = jiff::Timestamp::from_millisecond(arrived).expect("a time");
    reload(&site, &gateway, &read(&format!(" STARTING AT '{time}'"), "latest"));
    assert_eq!(copied(&site, 11)[8..], [3, 4, 5]);

    // A restart changes nothing.
    gateway.kill();
    let gateway = site.start();
    gateway.publish("load/x", r#"{"id":6}"#);
    assert_eq!(copied(&site, 12)[11..], [6]);
    gateway.terminate();
}

#[test]
fn records_put_from_outside_are_read_and_watched_over_time() {
    let site = unwatched(
        "CREATE RULE hot AS SELECT hold.key AS key, hold.samples AS n FROM STREAM s
         WHEN celsius > 30 FOR 1 SECOND DO STREAM t;",
    );
    let gateway = site.start();
    for (key, celsius) in [("x", 31), ("y", 31), ("x", 32), ("y", 20)] {
        let body = json!({"partition_key": key, "data": {"celsius": celsius}}).to_string();
        let url = format!("{}/api/streams/s/records", gateway.http);
        let (status, answer) = http("POST", &url, Some(&body));
        assert_eq!(status, 200, "{answer}");
    }
    let fired = eventually("the condition fires", || {
        let fired = site.stream_data("t");
        (!fired.is_empty()).then_some(fired)
    });
    assert_eq!(fired, [json!({"key": "x", "n": 2})], "a partition key is a key of WHEN");
    gateway.terminate();
}

#[test]
fn a_loop_that_messages_make_is_cut() {
    let site = unwatched(
        "CREATE RULE round AS SELECT id FROM STREAM s DO STREAM '${concat(''s'')}' KEY id;",
    );
    let gateway = site.start();
    let body = json!({"partition_key": "k", "data": {"id": 1}}).to_string();
    let (status, answer) =
        http("POST", &format!("{}/api/streams/s/records", gateway.http), Some(&body));
    assert_eq!(status, 200, "{answer}");
    let faults = "tidegate_rule_faults_total{rule=\"round\",code=\"hops_exceeded\"} 1";
    eventually("the loop is cut", || gateway.get("/metrics").1.contains(faults).then_some(()));
    assert_eq!(site.records("s").len(), 6, "put once, and once for each hop and the one too many");
    gateway.terminate();
}

#[test]
fn how_far_a_rule_is_behind_is_told_everywhere() {
    let site = unwatched(&chain(COPY));
    let gateway = site.start();
    let behind = |records: u64| {
        let lag = format!("{{rule=\"b\",stream=\"s\"}} {records}");
        eventually("the lag is told", || {
            let (_, metrics) = gateway.get("/metrics");
            let told = format!("tidegate_rule_stream_lag_records{lag}\n");
            metrics.contains(&told).then_some(())
        });
    };
    let described = || {
        let output = tidegate()
            .current_dir(site.path(""))
            .args(["stream", "describe", "s", "--data", "data"])
            .output()
            .expect("tidegate runs");
        String::from_utf8(output.stdout).expect("text")
    };
    for id in 0..3 {
        gateway.publish("load/x", &format!(r#"{{"id":{id}}}"#));
    }
    copied(&site, 3);
    behind(0);
    assert!(described().ends_with("read by rule b: 0 records behind\n"), "{}", described());
    let source = &gateway.get_json("/api/rules/b")["stream"];
    assert_eq!(source, &json!({"name": "s", "lag_records": 0, "lag_ms": 0, "skipped": 0}));

    reload(&site, &gateway, &chain(&COPY.replace("b AS", "b DISABLED AS")));
    for id in 3..5 {
        gateway.publish("load/x", &format!(r#"{{"id":{id}}}"#));
    }
    assert!(described().ends_with("read by rule b: 2 records behind\n"), "{}", described());
    reload(&site, &gateway, &chain(COPY));
    copied(&site, 5);
    behind(0);
    assert_copied_once(&site);
    gateway.terminate();
}

#[test]
fn a_damaged_block_stops_no_rule() {
    let rules = chain(COPY) + "CREATE RULE c AS SELECT id FROM STREAM s DO STREAM u KEY id;";
    let asleep = rules.replace("b AS", "b DISABLED AS").replace("c AS", "c DISABLED AS");
    let site = unwatched(&rules);
    let gateway = site.start();
    gateway.publish("load/x", r#"{"id":0}"#);
    assert_eq!(copied(&site, 1), [0]);
    reload(&site, &gateway, &asleep);
    (1..6).for_each(|id| gateway.publish("load/x", &format!(r#"{{"id":{id}}}"#)));
    gateway.terminate();
    let database = rusqlite::Connection::open(site.path("data/tidegate.db")).expect("a database");
    let torn = "UPDATE stream_block SET records = x'00010203040506' WHERE id = (
        SELECT min(block.id) FROM stream_block AS block
        JOIN stream_shard AS shard ON block.id >> 40 = shard.id
        JOIN stream ON stream.id = shard.stream
        WHERE stream.name = 's' AND instr(block.records, CAST('{\"id\":2}' AS BLOB)) > 0)";
    assert_eq!(database.execute(torn, ()).expect("changed"), 1);
    drop(database);
    site.write("rules/test.rule", &rules);
    let gateway = site.start();
    let ids = |stream: &str| {
        let mut ids: Vec<u64> = site
            .stream_data(stream)
            .iter()
            .map(|record| record["id"].as_u64().expect("a number"))
            .collect();
        ids.sort_unstable();
        ids
    };
    gateway.publish("load/x", r#"{"id":6}"#);
    for (rule, stream) in [("b", "t"), ("c", "u")] {
        let copies = eventually("what is behind the damage", || {
            let copies = ids(stream);
            copies.contains(&6).then_some(copies).filter(|copies| copies.len() >= 6)
        });
        assert_eq!(copies, [0, 1, 3, 4, 5, 6], "{rule}");
        let labels = format!("{{rule=\"{rule}\",stream=\"s\"}}");
        let (_, metrics) = gateway.get("/metrics");
        let damaged = format!("tidegate_rule_stream_damaged_records_total{labels} 1\n");
        assert!(metrics.contains(&damaged), "{metrics}");
        eventually("the lag is told", || {
            let (_, metrics) = gateway.get("/metrics");
            let lag = format!("tidegate_rule_stream_lag_records{labels} 0\n");
            metrics.contains(&lag).then_some(())
        });
    }
    let (_, log) = gateway.terminate();
    assert!(log.contains("a block of a stream cannot be read; the rules go on behind it"), "{log}");
}

#[test]
fn what_retention_took_unread_is_passed_over_and_told() {
    let asleep = COPY.replace("b AS", "b DISABLED AS");
    let site = unwatched(&chain(COPY));
    let gateway = site.start();
    let publish = |gateway: &Gateway, id: u32| {
        gateway.publish("load/x", &format!(r#"{{"id":{id}}}"#));
    };
    (1..3).for_each(|id| publish(&gateway, id));
    assert_eq!(copied(&site, 2), [1, 2]);
    reload(&site, &gateway, &chain(&asleep));
    (3..6).for_each(|id| publish(&gateway, id));
    gateway.terminate();

    // A day passes: by what the blocks say of their age, and by how long the gateway has run since.
    let database = rusqlite::Connection::open(site.path("data/tidegate.db")).expect("a database");
    database.execute("UPDATE stream_block SET peak_at = 0", ()).expect("changed");
    let run = "UPDATE stream_run SET began_at = began_at - 90000000";
    assert_eq!(database.execute(run, ()).expect("changed"), 1);
    drop(database);
    let gateway = site.start();
    eventually("retention", || site.records("s").is_empty().then_some(()));
    reload(&site, &gateway, &chain(COPY));
    publish(&gateway, 6);
    // The copies have aged as well.
    assert_eq!(copied(&site, 1), [6]);
    let skipped = "tidegate_rule_stream_skipped_records_total{rule=\"b\",stream=\"s\"} 3";
    assert!(gateway.get("/metrics").1.contains(skipped), "{}", gateway.get("/metrics").1);
    let (_, log) = gateway.terminate();
    assert!(log.contains("retention took records before the rule had read them"), "{log}");
}
