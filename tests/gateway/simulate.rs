//! `tidegate simulate` over recorded telemetry: a small recording of our own, and, where they are,
//! days of real devices with answers that were computed by other programs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;

use crate::clients::python;

fn simulate(rules: &Path, input: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("simulate")
        .args(["--rules".as_ref(), rules.as_os_str(), "--input".as_ref(), input.as_os_str()])
        .output()
        .expect("the binary starts")
}

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/simulate").join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A folder with one rule file and one recording.
fn scene(rules: &str, lines: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let (rule_file, recording) = (folder.path().join("r.rule"), folder.path().join("in.ndjson"));
    fs::write(&rule_file, rules).expect("written");
    fs::write(&recording, lines).expect("written");
    (folder, rule_file, recording)
}

const EVERY_MESSAGE: &str = "CREATE RULE every AS SELECT * FROM 'a/#' DO LOG;";

#[test]
fn a_recording_gives_the_records_that_the_gateway_would_have_made() {
    let output = simulate(&case("lab.rule"), &case("lab.ndjson"));
    let expected = fs::read_to_string(case("lab.expected.ndjson")).expect("readable");
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output.stderr);
    assert!(told.contains("9 lines") && told.contains("2 firing, 2 cleared"), "{told}");
}

#[test]
fn what_a_rule_writes_to_a_stream_comes_to_the_rules_that_read_it() {
    let rules = "CREATE RULE hot AS SELECT id, t FROM 'lab/+' WHERE t > 30 DO STREAM hot KEY id;
        CREATE RULE long AS SELECT id FROM STREAM hot WHEN t > 40 FOR 1 MINUTE DO STREAM alarms;
        CREATE RULE alarm AS SELECT id, partition_key() AS key FROM STREAM alarms DO LOG;
        CREATE RULE round AS SELECT id FROM STREAM hot DO STREAM '${concat(''hot'')}' KEY id;";
    let lines = "{\"t\":0,\"topic\":\"lab/7\",\"payload\":{\"id\":7,\"t\":41}}\n\
                 {\"t\":90000,\"topic\":\"lab/8\",\"payload\":{\"id\":8,\"t\":20}}\n";
    let (_folder, rules, recording) = scene(rules, lines);
    let output = simulate(&rules, &recording);
    let told = text(&output.stdout);
    let records: Vec<Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |rule: &str| records.iter().filter(|record| record["rule"] == rule).count();
    assert_eq!((of("hot"), of("long"), of("round")), (1, 1, 4), "{told}");
    let alarm = records.last().expect("records");
    assert_eq!((&alarm["rule"], &alarm["t"]), (&"alarm".into(), &60000.into()), "{told}");
    assert_eq!(alarm["output"], serde_json::json!({"id": 7, "key": "7"}));
    assert!(text(&output.stderr).contains("hops_exceeded"), "{}", text(&output.stderr));
}

/// As `simulate`, with more arguments.
fn simulate_with(rules: &Path, input: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["simulate".as_ref(), "--rules".as_ref(), rules.as_os_str()])
        .args(["--input".as_ref(), input.as_os_str()])
        .args(more)
        .output()
        .expect("the binary starts")
}

#[test]
fn a_table_adds_up_what_each_rule_did() {
    let output = simulate_with(&case("lab.rule"), &case("lab.ndjson"), &["--format", "table"]);
    assert_eq!(
        text(&output.stdout),
        "rule         matches  episodes  windows     longest  keys  unknown  faults\n\
         low_voltage        1         0        0           –     0        0       0\n\
         overheat           0         2        0  1 min 35 s     2        2       0\n\
         echo               0         0        0           –     0        0       0\n\
         3 rules\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn on_a_terminal_there_is_a_table_and_meanwhile_how_far_it_is() {
    let mut child = python("terminal.py")
        .arg(env!("CARGO_BIN_EXE_tidegate"))
        .args(["simulate".as_ref(), "--rules".as_ref(), case("lab.rule").as_os_str()])
        .args(["--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let (mut input, mut screen) =
        (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let lines = fs::read_to_string(case("lab.ndjson")).expect("readable");
    input.write_all(lines.as_bytes()).expect("written");
    // Nothing has ended yet: what is shown now is how far it is.
    let mut shown = Vec::new();
    let mut more = [0; 256];
    while !String::from_utf8_lossy(&shown).contains(" lines ") {
        let count = screen.read(&mut more).expect("readable");
        assert!(count > 0, "it has ended: {}", String::from_utf8_lossy(&shown));
        shown.extend(&more[..count]);
    }
    assert!(!String::from_utf8_lossy(&shown).contains("overheat"), "not yet");
    drop(input);
    screen.read_to_end(&mut shown).expect("readable");
    let rest = String::from_utf8_lossy(&shown);
    assert!(child.wait().expect("it ends").success(), "{rest}");
    for line in [
        "rule         matches  episodes  windows     longest  keys  unknown  faults",
        "overheat           0         2        0  1 min 35 s     2        2       0",
    ] {
        assert!(rest.contains(line), "{rest}");
    }
    assert!(!rest.contains("\"event\":"), "no records on a terminal: {rest}");
}

#[test]
fn over_a_file_the_bar_tells_how_much_of_it_is_read() {
    // Far more than is read between two pictures of the bar.
    let line = "{\"t\":5,\"topic\":\"a/b\",\"payload\":{\"n\":1}}\n";
    let (folder, rules, recording) = scene(EVERY_MESSAGE, &line.repeat(100_000));
    let output = python("terminal.py")
        .arg(env!("CARGO_BIN_EXE_tidegate"))
        .args(["simulate".as_ref(), "--rules".as_ref(), rules.as_os_str()])
        .args(["--input".as_ref(), recording.as_os_str()])
        .output()
        .expect("python runs");
    drop(folder);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    let percents: Vec<u32> = shown
        .split('%')
        .filter_map(|before| before.rsplit([' ', '\u{1b}']).next()?.parse().ok())
        .collect();
    assert!(!percents.is_empty() && percents.is_sorted(), "{percents:?}");
    assert!(percents.iter().all(|percent| *percent <= 100), "{percents:?}");
    assert!(shown.contains("every   100000 "), "{shown}");
}

#[test]
fn a_part_of_a_recording_and_of_the_rules_can_be_asked_for() {
    let (rules, input) = (case("lab.rule"), case("lab.ndjson"));
    // Mote 7's clock would have started at 0 and fired; mote 8 fires by the timer at the very end.
    let part = ["--rule", "overheat", "--from", "30000", "--to", "1970-01-01T00:01:50Z"];
    let output = simulate_with(&rules, &input, &part);
    let firing =
        "{\"t\":110000,\"rule\":\"overheat\",\"event\":\"firing\",\"key\":[8],\"since\":50000,";
    let told = text(&output.stdout);
    assert!(told.starts_with(firing) && told.lines().count() == 1, "{told}");

    let nothing = simulate_with(&rules, &input, &["--from", "2026-01-01T00:00:00Z"]);
    let told = text(&nothing.stderr);
    let why = "no line is within --from and --to; those that were read are of 1970-01-01T00:00:00.000Z to ";
    assert!(told.starts_with(why), "{told}");

    let wrong = simulate_with(&rules, &input, &["--rule", "overheet"]);
    assert_eq!(wrong.status.code(), Some(2));
    let told = text(&wrong.stderr);
    assert!(told.contains("there is no rule 'overheet'; did you mean 'overheat'?"), "{told}");
}

#[test]
fn a_recording_meets_the_rows_of_tables() {
    let output = simulate(&case("rooms.rule"), &case("rooms.ndjson"));
    let expected = fs::read_to_string(case("rooms.expected.ndjson")).expect("readable");
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(!told.contains("fault"), "a message without a row is none: {told}");
}

#[test]
fn a_folder_of_rules_is_read_whole() {
    let (folder, _, recording) = scene(EVERY_MESSAGE, "{\"t\":5,\"topic\":\"a/b\",\"payload\":1}");
    let second = EVERY_MESSAGE.replace("every", "second");
    fs::write(folder.path().join("s.rule"), second).expect("written");
    let output = simulate(folder.path(), &recording);
    assert_eq!(
        text(&output.stdout),
        "{\"t\":5,\"rule\":\"every\",\"event\":\"match\",\"topic\":\"a/b\",\"output\":1}\n\
         {\"t\":5,\"rule\":\"second\",\"event\":\"match\",\"topic\":\"a/b\",\"output\":1}\n"
    );
}

#[test]
fn lines_out_of_order_or_malformed_are_named_and_passed_over() {
    let lines = "{\"t\":5,\"topic\":\"a/b\",\"payload\":1}\n\
                 {\"t\":4,\"topic\":\"a/b\",\"payload\":2}\n\
                 {\"t\":5,\"topic\":\"a/b\"}\n\
                 {\"t\":6,\"topic\":\"a/b\",\"payload\":3}\n";
    let (_folder, rules, recording) = scene(EVERY_MESSAGE, lines);
    let output = simulate(&rules, &recording);
    let records = text(&output.stdout);
    assert_eq!(records.lines().count(), 2, "{records}");
    let told = text(&output.stderr);
    assert!(told.contains("line 2: ") && told.contains("line 3: "), "{told}");
    assert!(told.contains("2 lines passed over"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn rules_with_errors_are_not_run() {
    let rules = "CREATE RULE every AS SELECT * FROM 'a/#/b' DO LOG;";
    let (_folder, rules, recording) = scene(rules, "{\"t\":5,\"topic\":\"a/b\",\"payload\":1}\n");
    let output = simulate(&rules, &recording);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(1)));
    assert!(text(&output.stderr).contains("r.rule"), "{}", text(&output.stderr));
}

#[test]
fn a_recording_that_is_not_there_is_a_failure() {
    let (folder, rules, _) = scene(EVERY_MESSAGE, "");
    let output = simulate(&rules, &folder.path().join("no.ndjson"));
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no.ndjson"), "{}", text(&output.stderr));
}

/// One line an episode: device, start, fire, end, reason, TRUE messages. The last three are empty
/// for an episode that the recording leaves open.
type Episodes = BTreeSet<[String; 6]>;

fn expected(csv: &Path) -> Episodes {
    let rows = fs::read_to_string(csv).expect("readable");
    let rows = rows.lines().skip(1).map(|row| {
        let columns: Vec<&str> = row.split(',').collect();
        let [device, start, _, fire, end, reason, samples] = columns[..] else {
            panic!("{row}");
        };
        let (reason, samples) = if reason == "open" { ("", "") } else { (reason, samples) };
        [device, start, fire, end, reason, samples].map(str::to_owned)
    });
    rows.collect()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn episodes(stdout: &[u8]) -> BTreeMap<String, Episodes> {
    let mut by_rule: BTreeMap<String, Episodes> = BTreeMap::new();
    let mut open = BTreeMap::new();
    for line in text(stdout).lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let rule = word(&record["rule"]);
        let place = (rule.clone(), word(&record["key"][0]), word(&record["since"]));
        match record["event"].as_str() {
            Some("firing") => {
                assert_eq!(record["t"], record["fired_at"]);
                assert!(open.insert(place, word(&record["t"])).is_none(), "fires twice: {line}");
            }
            Some("cleared") => {
                let fired = open.remove(&place).expect("cleared after it fired");
                let (_, device, since) = place;
                let [end, reason, samples] =
                    [&record["t"], &record["reason"], &record["samples"]].map(word);
                by_rule
                    .entry(rule)
                    .or_default()
                    .insert([device, since, fired, end, reason, samples]);
            }
            other => panic!("{other:?}"),
        }
    }
    for ((rule, device, since), fired) in open {
        let nothing = String::new;
        let episode = [device, since, fired, nothing(), nothing(), nothing()];
        by_rule.entry(rule).or_default().insert(episode);
    }
    by_rule
}

/// `None`, with a word on why, where the recordings of real devices are not there.
fn shared_data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is not there", folder.display());
    None
}

/// A file of answers and the rule that must give them.
struct Answer<'a> {
    file: &'a str,
    when: &'a str,
    /// Episodes that must come beside those of the file.
    also: &'a [[&'a str; 6]],
}

fn check(recording: &str, filter: &str, answers: &[Answer<'_>]) {
    let Some(data) = shared_data() else { return };
    let rules: Vec<String> = answers
        .iter()
        .enumerate()
        .map(|(place, Answer { when, .. })| {
            format!("CREATE RULE r{place} AS SELECT * FROM '{filter}' WHEN {when} DO LOG;")
        })
        .collect();
    let (_folder, rules, _) = scene(&rules.join("\n"), "");
    let output = simulate(&rules, &data.join("replay").join(recording));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut told = episodes(&output.stdout);
    for (place, Answer { file, also, .. }) in answers.iter().enumerate() {
        let mut wanted = expected(&data.join("expected").join(file));
        assert!(!wanted.is_empty(), "{file}");
        wanted.extend(also.iter().map(|episode| episode.map(str::to_owned)));
        assert_eq!(told.remove(&format!("r{place}")).unwrap_or_default(), wanted, "{file}");
    }
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_day_of_three_homes_gives_the_episodes_that_others_computed() {
    let answer = |file, when| Answer { file, when, also: &[] };
    check(
        "aws_iot_home_3dev_24h.ndjson.gz",
        "iot/+/telemetry",
        &[
            answer(
                "aws_home.hold.co_gt_0.0055_for_10m_gap60s.csv",
                "data.co > 0.0055 FOR 10 MINUTES PARTITION BY device MAX GAP 60 SECONDS",
            ),
            answer(
                "aws_home.hold.humidity_gt_76_for_60s.csv",
                "data.humidity > 76 FOR 60 SECONDS PARTITION BY device",
            ),
            answer(
                "aws_home.hold.light_true_for_10m.csv",
                "data.light = true FOR 10 MINUTES PARTITION BY device",
            ),
            answer(
                "aws_home.hold.temp_gt_23_for_5m.csv",
                "data.temp > 23 FOR 5 MINUTES PARTITION BY device",
            ),
        ],
    );
}

/// The silences of each device: last message, when it fired, when the next message came, if one did.
#[test]
fn a_day_of_three_homes_gives_the_silences_that_others_computed() {
    let Some(data) = shared_data() else { return };
    let limits = [20, 30, 60];
    let rules: Vec<String> = limits
        .iter()
        .map(|limit| {
            format!(
                "CREATE RULE r{limit} AS SELECT * FROM 'iot/+/telemetry'
                 WHEN NO DATA FOR {limit} SECONDS PARTITION BY device DO LOG;"
            )
        })
        .collect();
    let (_folder, rules, _) = scene(&rules.join("\n"), "");
    let recording = data.join("replay/aws_iot_home_3dev_24h.ndjson.gz");
    let output = simulate(&rules, &recording);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = episodes(&output.stdout);
    let mut compared = 0;
    for limit in limits {
        let file = data.join(format!("expected/aws_home.absent.{limit}s.csv"));
        let rows = fs::read_to_string(file).expect("readable");
        let wanted: BTreeSet<Vec<String>> =
            rows.lines().skip(1).map(|row| row.split(',').map(str::to_owned).collect()).collect();
        compared += wanted.len();
        let told: BTreeSet<Vec<String>> = told
            .get(&format!("r{limit}"))
            .into_iter()
            .flatten()
            .map(|[device, since, fired, end, reason, _]| {
                assert!(["data", ""].contains(&reason.as_str()), "{reason}");
                [device, since, fired, end].map(Clone::clone).to_vec()
            })
            .collect();
        assert_eq!(told, wanted, "{limit}");
    }
    assert!(compared > 50, "{compared} silences");
}

/// The windows of `recording` under rules with the given key, value and bound, row by row against
/// the file of each.
fn check_windows(recording: &str, filter: &str, answers: &[(&str, &str, &str, f64)]) {
    let Some(data) = shared_data() else { return };
    let rule = |(place, (_, key, value, least)): (usize, &(&str, &str, &str, f64))| {
        format!(
            "CREATE RULE r{place} AS SELECT {key} AS device, window.start AS start, count({value}) AS n,
               avg({value}) AS mean
             FROM '{filter}' GROUP BY {key}, TUMBLE(60 SECONDS) HAVING mean > {least} DO LOG;"
        )
    };
    let rules: Vec<String> = answers.iter().enumerate().map(rule).collect();
    let (_folder, rules, _) = scene(&rules.join("\n"), "");
    // The last windows end behind the last line.
    let end = ["--to", "2030-01-01T00:00:00Z"];
    let output = simulate_with(&rules, &data.join("replay").join(recording), &end);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut told: BTreeMap<String, Vec<(String, i64, u64, f64)>> = BTreeMap::new();
    for line in text(&output.stdout).lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(record["event"], "window", "{line}");
        let made = &record["output"];
        let (start, mean) = (made["start"].as_i64(), made["mean"].as_f64());
        assert_eq!(
            (record["start"].as_i64(), record["t"].as_i64()),
            (start, record["end"].as_i64())
        );
        let device = made["device"].to_string().trim_matches('"').to_owned();
        let rule = record["rule"].as_str().expect("a rule").to_owned();
        let row = (
            device,
            start.expect("a start"),
            made["n"].as_u64().expect("n"),
            mean.expect("a mean"),
        );
        told.entry(rule).or_default().push(row);
    }
    for (place, (file, ..)) in answers.iter().enumerate() {
        let rows = fs::read_to_string(data.join("expected").join(file)).expect("readable");
        let mut wanted: Vec<_> = rows
            .lines()
            .skip(1)
            .map(|row| {
                let mut cells = row.split(',');
                let mut next = || cells.next().expect("four columns");
                let (device, start, n) = (next().to_owned(), next(), next());
                let number = |text: &str| text.parse::<i64>().expect("a number");
                (
                    device,
                    number(start),
                    number(n).unsigned_abs(),
                    next().parse::<f64>().expect("a mean"),
                )
            })
            .collect();
        let mut found = told.remove(&format!("r{place}")).unwrap_or_default();
        for rows in [&mut wanted, &mut found] {
            rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        }
        assert_eq!(found.len(), wanted.len(), "{file}");
        assert!(wanted.len() > 20, "{file}: {} rows", wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            // The files have nine places.
            let is_same = (&found.0, found.1, found.2) == (&wanted.0, wanted.1, wanted.2)
                && (found.3 - wanted.3).abs() < 1e-8;
            assert!(is_same, "{file}: {found:?}, not {wanted:?}");
        }
    }
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn days_of_real_devices_give_the_windows_that_others_computed() {
    check_windows(
        "aws_iot_home_3dev_24h.ndjson.gz",
        "iot/+/telemetry",
        &[
            ("aws_home.tumble.avg60s_humidity_gt_75.03.csv", "device", "data.humidity", 75.03),
            ("aws_home.tumble.avg60s_temp_gt_22.503.csv", "device", "data.temp", 22.503),
        ],
    );
    check_windows(
        "intel_lab_52motes_day3.ndjson.gz",
        "intel/+/temperature",
        &[("intel_day3.tumble.avg60s_temp_gt_30.003.csv", "mote", "temp", 30.003)],
    );
}

#[test]
fn a_day_of_fifty_two_motes_gives_the_episodes_that_others_computed() {
    check(
        "intel_lab_52motes_day3.ndjson.gz",
        "intel/+/temperature",
        &[
            Answer {
                file: "intel_day3.hold.temp_gt_25_for_5m.csv",
                when: "temp > 25 FOR 5 MINUTES PARTITION BY mote",
                also: &[],
            },
            Answer {
                file: "intel_day3.hold.temp_gt_30_for_5m.csv",
                when: "temp > 30 FOR 5 MINUTES PARTITION BY mote",
                // FALSE at exactly the due time: the bound is inclusive and timers run before
                // messages, so it fires and is cleared at once; the file has no line for it.
                also: &[["24", "1078126920000", "1078127220000", "1078127220000", "false", "10"]],
            },
        ],
    );
}

/// The records of `recording` under `rule`, without their order across keys.
fn sorted_records(rule: &str, lines: &[String]) -> (Vec<String>, String) {
    let (_folder, rules, recording) = scene(rule, &lines.concat());
    let output = simulate(&rules, &recording);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut records: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    records.sort();
    (records, text(&output.stderr))
}

#[test]
fn in_event_time_a_recording_that_arrives_late_and_shuffled_gives_the_same_records() {
    const HOT: &str = "CREATE RULE hot AS SELECT v, hold.since AS since, hold.duration_ms AS ms
        FROM 'lab/+' TIMESTAMP BY ts SECONDS LATENESS 90 SECONDS
        WHEN v > 30 FOR 5 MINUTES DO LOG;";
    let base = 1_700_000_000;
    // Two devices, a reading every ten seconds, hot for ten minutes out of fifteen.
    let reading = |device: i64, place: i64| {
        let (ts, v) = (base + place * 10, if place * 10 % 900 < 600 { 31 } else { 20 });
        (ts, format!("\"topic\":\"lab/{device}\",\"payload\":{{\"ts\":{ts},\"v\":{v}}}}}\n"))
    };
    let sent: Vec<_> = (0..600).flat_map(|place| [reading(1, place), reading(2, place)]).collect();
    let line = |arrival: i64, rest: &str| format!("{{\"t\":{},{rest}", arrival * 1000);
    let ordered: Vec<String> = sent.iter().map(|(ts, rest)| line(*ts, rest)).collect();
    let (expected, _) = sorted_records(HOT, &ordered);
    assert_eq!(expected.len(), 2 * (7 + 6), "each hot spell, and each end but the last");
    assert!(
        expected.iter().all(|record| record.contains("\"ms\":300000") || record.contains("600000"))
    );

    // Each is up to LATENESS under way, in no order.
    let mut delayed: Vec<(i64, &str)> = (1..)
        .zip(&sent)
        .map(|(place, (ts, rest))| (ts + place * 7919 % 91, rest.as_str()))
        .collect();
    delayed.sort_by_key(|(arrival, _)| *arrival);
    let delayed: Vec<String> = delayed.into_iter().map(|(at, rest)| line(at, rest)).collect();
    assert_eq!(sorted_records(HOT, &delayed).0, expected);

    // All of it a day later, at once: the times of the records are those of the readings.
    let backfilled: Vec<String> = sent.iter().map(|(_, rest)| line(base + 86_400, rest)).collect();
    assert_eq!(sorted_records(HOT, &backfilled).0, expected);

    // A reading of a minute and a half ago is in time, an older one is late and changes nothing.
    let mut with_late = backfilled;
    with_late.push(line(base + 86_400, &reading(1, 0).1));
    let (records, told) = sorted_records(HOT, &with_late);
    assert_eq!(records, expected);
    assert!(told.contains("rule hot: 1 fault of late_record; the first: late record: "), "{told}");
}
