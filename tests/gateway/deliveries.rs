//! Files of deliveries: exactly once over kills, in their partitions, flushed when asked, bounded when the
//! destination takes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::clients;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;
use crate::live::tidegate;

/// Kills in the loop.
const KILLS: usize = 25;

const PARTITIONED: &str = "
[delivery.lake]
buffer_interval = \"0s\"
compression = \"gzip\"
prefix = \"part=!{partitionKeyFromQuery:part}/!{timestamp:yyyy}/!{firehose:random-string}/\"

[delivery.lake.partition_keys]
part = \".part\"

[delivery.plain]
buffer_interval = \"1s\"
";

/// How often each record is there.
fn counted(records: impl IntoIterator<Item = Value>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record["id"].to_string()).or_default() += 1;
    }
    counts
}

fn flush(gateway: &Gateway, delivery: &str) -> u16 {
    http("POST", &format!("{}/api/deliveries/{delivery}/flush", gateway.http), None).0
}

/// What `tidegate delivery` answers.
fn command(site: &Site, words: &[&str]) -> String {
    let output = tidegate().current_dir(site.path("")).arg("delivery").args(words).output();
    let output = output.expect("tidegate runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn each_record_is_in_exactly_one_file_over_kills() {
    let site = Site::with_rules(
        "CREATE RULE all AS SELECT id, mod(value, 4) AS part FROM 'load/+'
         DO STREAM kept KEY id, DELIVER lake, DELIVER plain;",
    );
    site.write("tidegate.toml", PARTITIONED);
    let mut gateway = site.start();
    let port = gateway.mqtt.port();
    let publisher = clients::Publisher::start(port, "load/a", &site.path("acked.txt"));
    let mut acked_before = 0;
    for _ in 0..KILLS {
        acked_before = eventually("more messages are acknowledged", || {
            let acked = publisher.acked().len();
            (acked >= acked_before + 50).then_some(acked)
        });
        gateway.kill();
        gateway = site.start_on(port);
    }
    publisher.stop();
    assert_eq!((flush(&gateway, "lake"), flush(&gateway, "plain")), (204, 204));
    // What the same commits put into the stream, a message that was sent twice twice.
    let kept = counted(site.stream_data("kept"));
    assert!(kept.len() >= KILLS * 50, "{} records", kept.len());
    let (lake, plain) = (counted(site.delivered("lake")), counted(site.delivered("plain")));
    for (id, count) in &kept {
        assert_eq!((lake.get(id), plain.get(id)), (Some(count), Some(count)), "{id}");
    }
    assert_eq!((lake.len(), plain.len()), (kept.len(), kept.len()));
    for file in site.files_below("data/delivery/lake") {
        let path = file.display().to_string();
        let part = path.split("/part=").nth(1).and_then(|rest| rest.split('/').next());
        let part = part.expect("a folder of a partition");
        assert!(["0", "1", "2", "3"].contains(&part), "{path}");
    }
}

#[test]
fn records_go_to_their_partition_or_to_the_error_output() {
    let site = Site::with_rules("CREATE RULE all AS SELECT * FROM 'x' DO DELIVER lake;");
    site.write(
        "tidegate.toml",
        "[delivery.lake]\nbuffer_interval = \"15m\"\npartitions_max = 2\n\
         prefix = \"room=!{partitionKeyFromQuery:room}/!{timestamp:yyyy}/\"\n\
         [delivery.lake.partition_keys]\nroom = \".at.room\"\n",
    );
    let gateway = site.start();
    for room in ["attic", "cellar/..", "third"] {
        gateway.publish("x", &json!({"at": {"room": room}, "n": 1}).to_string());
    }
    gateway.publish("x", &json!({"at": {"room": "attic"}, "n": 2}).to_string());
    gateway.publish("x", &json!({"at": {}, "n": 3}).to_string());
    gateway.publish("x", &json!({"at": {"room": {"no": "text"}}, "n": 4}).to_string());
    assert_eq!(flush(&gateway, "lake"), 204);

    let found = site.files_below("data/delivery/lake");
    let lines = |folder: &str| -> Vec<Value> {
        let of_folder = found.iter().filter(|file| file.display().to_string().contains(folder));
        let text = of_folder.map(|file| fs::read_to_string(file).expect("a file"));
        let lines = text.collect::<String>();
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let attic = lines("/room=attic/");
    assert_eq!(attic.iter().map(|record| &record["n"]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(lines("/room=cellar%2F../").len(), 1, "{found:?}");
    let errors = lines("/errors/processing-failed/");
    let codes: Vec<&str> =
        errors.iter().map(|error| error["errorCode"].as_str().expect("a code")).collect();
    assert_eq!(
        codes,
        [
            "DynamicPartitioning.ActivePartitionLimitExceeded",
            "DynamicPartitioning.MetadataExtractionFailed",
            "DynamicPartitioning.MetadataExtractionFailed"
        ]
    );
    // Base64 of the record itself.
    assert_eq!(errors[1]["rawData"], "eyJhdCI6e30sIm4iOjN9");
    assert_eq!(found.len(), 3, "{found:?}");
    // A worker brings its gauges up to date after it has answered.
    let buffered = r#"tidegate_delivery_buffered_records{delivery="lake"}"#;
    eventually("nothing waits", || (metric(&gateway, buffered) == 0.0).then_some(()));
}

#[test]
fn a_flush_and_a_stop_write_what_waits() {
    let site =
        Site::with_rules("CREATE RULE all AS SELECT n FROM 'x' DO DELIVER lake, DELIVER late;");
    site.write(
        "tidegate.toml",
        "[delivery.lake]\nbuffer_interval = \"15m\"\n\
         [delivery.late]\nbuffer_interval = \"15m\"\nflush_on_stop = false\n",
    );
    let gateway = site.start();
    gateway.publish("x", r#"{"n":1}"#);
    assert_eq!(site.delivered("lake"), Vec::<Value>::new());
    let flushed = command(&site, &["flush", "lake"]);
    assert_eq!(flushed, "flushed lake\n");
    assert_eq!(site.delivered("lake"), [json!({"n": 1})]);
    let listed = command(&site, &["list"]);
    assert!(listed.lines().any(|line| line.starts_with("late")), "{listed}");
    assert_eq!(flush(&gateway, "lake"), 204, "nothing waits, which is no error");
    assert_eq!(flush(&gateway, "leak"), 404);

    gateway.publish("x", r#"{"n":2}"#);
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(site.delivered("lake"), [json!({"n": 1}), json!({"n": 2})]);
    assert_eq!(site.delivered("late"), Vec::<Value>::new());
    let gateway = site.start();
    assert_eq!(flush(&gateway, "late"), 204);
    assert_eq!(site.delivered("late"), [json!({"n": 1}), json!({"n": 2})]);
}

#[test]
fn a_backlog_over_its_bound_is_refused_and_told() {
    let site = Site::with_rules(
        "CREATE RULE all AS SELECT * FROM 'x' DO DELIVER lake ON ERROR DO STREAM errors KEY 'k';
         CREATE RULE other AS SELECT * FROM 'y' DO DELIVER other;",
    );
    site.write(
        "tidegate.toml",
        "[delivery.lake]\nbuffer_interval = \"0s\"\nbacklog_bytes_max = \"1 MiB\"\n\
         [delivery.other]\nbuffer_interval = \"0s\"\n",
    );
    fs::create_dir_all(site.path("data/delivery")).expect("a folder");
    site.write("data/delivery/lake", "a file where the folder should be");
    let gateway = site.start();
    let payload = json!({"text": "x".repeat(100_000)}).to_string();
    for _ in 0..12 {
        gateway.publish("x", &payload);
    }
    let errors = site.stream_data("errors");
    assert_eq!(errors.len(), 1, "eleven pass the bound, the twelfth is refused");
    let told = &errors[0]["failures"][0];
    assert_eq!(
        (&told["failedAction"], &told["failedResource"]),
        (&json!("deliver"), &json!("lake"))
    );
    let faults = r#"tidegate_rule_faults_total{rule="all",code="delivery_full"}"#;
    assert_eq!(metric(&gateway, faults), 1.0);
    gateway.publish("y", r#"{"n":1}"#);
    eventually("another delivery goes on", || (site.delivered("other").len() == 1).then_some(()));

    fs::remove_file(site.path("data/delivery/lake")).expect("the file is there");
    eventually("the backlog is delivered", || (flush(&gateway, "lake") == 204).then_some(()));
    assert_eq!(site.delivered("lake").len(), 11);
    gateway.publish("x", &payload);
    assert_eq!(flush(&gateway, "lake"), 204);
    assert_eq!(site.delivered("lake").len(), 12, "there is room again");
    assert_eq!(site.stream_data("errors").len(), 1);
}

/// What is inside a file, by the libraries that people read such files with.
fn unpacked(packing: &str, file: &Path) -> String {
    let output = clients::python("unpack.py").arg(packing).arg(file).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn other_programs_read_what_is_compressed() {
    let all = ["none", "gzip", "zip", "snappy", "hadoop-snappy", "zstd"];
    let deliver = all.map(|packing| format!("DELIVER '{packing}'")).join(", ");
    let site = Site::with_rules(&format!("CREATE RULE all AS SELECT * FROM 'x' DO {deliver};"));
    let section = |packing: &str| {
        format!("[delivery.{packing}]\nbuffer_interval = \"15m\"\ncompression = \"{packing}\"\n")
    };
    site.write("tidegate.toml", &all.map(section).concat());
    let gateway = site.start();
    // More than a block of any of them; in part of the kind that does not compress.
    let noise = |n: u64| -> String {
        let step = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let bytes = std::iter::successors(Some(n), step).flat_map(|x| x.to_be_bytes());
        bytes.take(30_000).map(|byte| format!("{byte:02x}")).collect()
    };
    for n in 0..4 {
        let record = json!({"n": n, "noise": noise(n), "text": "x".repeat(50_000)});
        gateway.publish("x", &record.to_string());
    }
    let mut contents = Vec::new();
    for packing in all {
        assert_eq!(flush(&gateway, packing), 204, "{packing}");
        let files = site.files_below(&format!("data/delivery/{packing}"));
        let [file] = &files[..] else { panic!("{packing}: one file: {files:?}") };
        contents.push(unpacked(packing, file));
    }
    assert_eq!(contents[0].lines().count(), 4);
    assert!(contents.iter().all(|content| *content == contents[0]));
}

#[test]
fn csv_and_raw_files_have_what_they_are_told() {
    let site = Site::with_rules(
        "CREATE RULE all AS SELECT * FROM 'x' DO DELIVER raw;
         CREATE RULE rows AS SELECT VALUE d FROM 'x' DO DELIVER rows;",
    );
    site.write(
        "tidegate.toml",
        "[delivery.raw]\nbuffer_interval = \"15m\"\nformat = \"raw\"\ndelimiter = \"|\"\n\
         [delivery.rows]\nbuffer_interval = \"15m\"\nformat = \"csv\"\n\
         [delivery.rows.csv]\ncolumns = [\".id\", \".at.room\", \".t\"]\n",
    );
    let gateway = site.start();
    gateway.publish("x", r#"{"d":{"id":1,"at":{"room":"a, \"b\""},"t":1.5}}"#);
    gateway.publish("x", r#"{"d":{"id":2}}"#);
    gateway.publish("x", r#"{"d":7}"#);
    assert_eq!((flush(&gateway, "raw"), flush(&gateway, "rows")), (204, 204));
    let read = |delivery: &str, end: &str| {
        let files = site.files_below(&format!("data/delivery/{delivery}"));
        let file = files.iter().find(|file| file.to_string_lossy().ends_with(end));
        fs::read_to_string(file.unwrap_or_else(|| panic!("{end} in {files:?}"))).expect("text")
    };
    let rows = read("rows", ".csv");
    assert_eq!(rows, "id,at.room,t\n1,\"a, \"\"b\"\"\",1.5\n2,,\n");
    let error: Value = serde_json::from_str(&read("rows", ".jsonl")).expect("one line");
    assert_eq!(error["errorCode"], "DataFormatConversion.MalformedData");
    assert_eq!((&error["rawData"], &error["attemptsMade"]), (&json!("Nw=="), &json!(1)));
    assert_eq!(metric(&gateway, r#"tidegate_delivery_failed_records_total{delivery="rows"}"#), 1.0);
    let raw = read("raw", ".raw");
    assert_eq!(raw.matches("}|").count(), 3, "{raw}");
    assert!(raw.ends_with(r#"|{"d":7}|"#), "{raw}");
}

/// The rows of [`other_programs_read_parquet_with_equal_values_and_types`], without and with what only one has.
fn parquet_rows(since: &str, more: bool) -> Value {
    let mut rows = json!([
        {
            "id": 9_007_199_254_740_993_u64, "t": 21.0,
            "at": {"room": "a", "since": since}, "tags": ["x", null],
        },
        {"id": 2, "t": 0.1, "at": {"room": "ü", "since": null}, "tags": []},
        {"id": 3, "t": null, "at": null, "tags": null},
    ]);
    let deep = json!({"deep": [{"n": 1}, {"n": 2}]});
    for (row, value) in [json!(null), deep, json!(null)].into_iter().enumerate() {
        if more {
            rows[row]["more"] = value;
        }
    }
    rows
}

#[test]
fn other_programs_read_parquet_with_equal_values_and_types() {
    let columns = r#"["id bigint", "t double", "at struct<room:string,since:timestamp>", "tags array<string>"]"#;
    let site = Site::with_rules(
        "CREATE RULE all AS SELECT VALUE d FROM 'x' DO DELIVER given, DELIVER inferred;",
    );
    site.write(
        "tidegate.toml",
        &format!(
            "[delivery.given]\nbuffer_interval = \"15m\"\nformat = \"parquet\"\ncompression = \"zstd\"\n\
             [delivery.given.parquet]\ncolumns = {columns}\n\
             [delivery.inferred]\nbuffer_interval = \"15m\"\nformat = \"parquet\"\ncompression = \"snappy\"\n"
        ),
    );
    let gateway = site.start();
    for d in [
        r#"{"id":9007199254740993,"t":21,"at":{"room":"a","since":"2026-11-22T01:02:03.5Z"},"tags":["x",null]}"#,
        r#"{"id":2,"t":0.1,"at":{"room":"\u00fc"},"tags":[],"more":{"deep":[{"n":1},{"n":2}]}}"#,
        r#"{"id":3,"at":null}"#,
        r#"{"id":"four"}"#,
    ] {
        gateway.publish("x", &format!("{{\"d\":{d}}}"));
    }
    assert_eq!((flush(&gateway, "given"), flush(&gateway, "inferred")), (204, 204));
    let seen = |delivery: &str| {
        let files = site.files_below(&format!("data/delivery/{delivery}"));
        let file = files.iter().find(|file| file.to_string_lossy().ends_with(".parquet"));
        let file = file.unwrap_or_else(|| panic!("{files:?}"));
        let errors: Vec<Value> = site.delivered(delivery);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0]["errorMessage"], "the field id is a text, its column bigint");
        clients::answer(clients::python("parquet_file.py").arg(file))
    };
    let given = seen("given");
    for reader in ["pyarrow", "duckdb"] {
        assert_eq!(
            given[reader]["rows"],
            parquet_rows("2026-11-22T01:02:03.500000+00:00", false),
            "{reader}"
        );
    }
    let types = json!({
        "id": "int64", "t": "double",
        "at": "struct<room: string, since: timestamp[us, tz=UTC]>", "tags": "list<element: string>",
    });
    assert_eq!(given["pyarrow"]["types"], types);
    let types = json!({
        "id": "BIGINT", "t": "DOUBLE",
        "at": "STRUCT(room VARCHAR, since TIMESTAMP WITH TIME ZONE)", "tags": "VARCHAR[]",
    });
    assert_eq!(given["duckdb"]["types"], types);
    let footer = &given["pyarrow"];
    assert_eq!((&footer["groups"], &footer["codecs"]), (&json!(1), &json!(["ZSTD"])));
    assert_eq!((&footer["statistics"], &footer["dictionary"]), (&json!(true), &json!(true)));
    assert_eq!(footer["first"], json!([2, 9_007_199_254_740_993_u64]));

    let inferred = seen("inferred");
    for reader in ["pyarrow", "duckdb"] {
        assert_eq!(
            inferred[reader]["rows"],
            parquet_rows("2026-11-22T01:02:03.5Z", true),
            "{reader}"
        );
    }
    assert_eq!(inferred["duckdb"]["types"]["more"], "STRUCT(deep STRUCT(n BIGINT)[])");
    assert_eq!(inferred["pyarrow"]["types"]["t"], "double");
    assert_eq!(inferred["pyarrow"]["codecs"], json!(["SNAPPY"]));
}
