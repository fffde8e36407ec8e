//! A data folder on a disk that fills up.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;

use tidegate::clock::Clock;

use crate::broker::publish;
use crate::broker::v4;
use crate::hardship::Device;
use crate::hardship::metric;
use crate::hardship::puback;
use crate::hardship::resident_bytes;
use crate::live::Gateway;
use crate::live::Site;
use crate::live::eventually;
use crate::live::http;

const KEEP: &str = "CREATE RULE keep AS SELECT * FROM 'load/#' DO STREAM kept KEY topic();";

/// A file system of its own in memory; unmounted when dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one as the data folder of `site`. `None`, and a message, where mounting is not allowed.
    fn mount(site: &Site) -> Option<SmallDisk> {
        let folder = site.path("data");
        fs::create_dir(&folder).expect("a folder to mount on");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tidegate-test"])
            .arg(&folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { folder }),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("SKIPPED: a small disk cannot be mounted here: {}", why.trim());
                None
            }
            Err(why) => {
                eprintln!("SKIPPED: mount does not run: {why}");
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler());
        let file = file.as_mut().expect("a file to fill the disk");
        while file.write(&[0; 4096]).is_ok_and(|n| n > 0) {}
    }

    /// Takes all the room but `bytes`.
    fn fill_but(&self, bytes: u64) {
        self.fill();
        let file = File::options().write(true).open(self.filler()).expect("the filler is there");
        let len = file.metadata().expect("its length").len();
        file.set_len(len - bytes).expect("a file can be cut");
    }

    /// Gives the room back.
    fn free(&self) {
        fs::remove_file(self.filler()).expect("the filler is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a gateway that is being killed may still have files open.
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}

/// Publishes `ids` without waiting for acknowledgements, large enough to need new room.
fn publish_all(device: &mut Device, ids: std::ops::Range<u16>) {
    for id in ids {
        device.publish("load/a", id, &record(id));
    }
}

fn record(id: u16) -> String {
    format!(r#"{{"id":{id},"filler":"{}"}}"#, "x".repeat(500))
}

fn wait_for_stall(gateway: &Gateway) {
    eventually("the gateway says that it is not ready, and why", || {
        let (status, body) = gateway.get("/readyz");
        (status == 503 && body.contains("database or disk is full")).then_some(())
    });
}

/// The publishes whose PUBACK has come by now, or came before the connection ended.
fn acked_so_far(device: &mut Device) -> BTreeSet<u64> {
    let mut acked = BTreeSet::new();
    while let Some(packet) = device.recv_within(Duration::from_millis(200)) {
        let [0x40, 2, high, low] = packet[..] else { break };
        acked.insert(u64::from(u16::from_be_bytes([high, low])));
    }
    acked
}

/// What the stream has.
fn kept(site: &Site) -> BTreeSet<u64> {
    site.stream_data("kept").iter().map(|data| data["id"].as_u64().expect("an id")).collect()
}

#[test]
fn a_full_disk_stops_acknowledgements_until_there_is_room() {
    let site = Site::with_rules(KEEP);
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    device.publish_acked("load/a", 1, &record(1));
    disk.fill();
    publish_all(&mut device, 2..300);
    wait_for_stall(&gateway);
    assert_eq!(gateway.get("/healthz").0, 200, "alive, only not ready");
    assert!(metric(&gateway, "tidegate_journal_stalled") > 0.0);
    assert!(metric(&gateway, "tidegate_journal_commit_failures_total") > 0.0);
    let acked = acked_so_far(&mut device);
    assert!(acked.len() < 298, "what is not on disk is not acknowledged");
    assert!(kept(&site).is_superset(&acked), "what is acknowledged is on disk");
    // Others may come and go, and what no rule wants is acknowledged as ever.
    Device::connect(&gateway, v4("other")).publish_acked("elsewhere", 1, "{}");
    disk.free();
    for id in (2..300).filter(|id| !acked.contains(&u64::from(*id))) {
        assert_eq!(device.recv(), puback(id));
    }
    assert_eq!(gateway.get("/readyz").0, 200);
    assert_eq!(kept(&site), (1..300).collect());
    let (status, log) = gateway.terminate();
    assert!(status.success(), "{log}");
    assert!(log.contains("the journal commits again"), "{log}");
}

#[test]
fn a_stalled_journal_stops_the_senders_before_the_memory_is_full() {
    const OFFERED: usize = 600 << 20;
    let site = Site::with_rules(&format!(
        "{KEEP} CREATE RULE hot AS SELECT * FROM 'lab' WHEN t > 30 FOR 1 HOUR DO LOG 'hot';"
    ));
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let gateway = site.start();
    disk.fill();
    let before = resident_bytes(&gateway);
    let large = format!(r#"{{"filler":"{}"}}"#, "x".repeat(200_000));
    let packet = publish(0, "load/a", 0, None, large.as_bytes());
    let mut sent = 0;
    for n in 0..4 {
        let mut device = Device::connect(&gateway, v4(&format!("flood-{n}")));
        device.socket.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        while sent < OFFERED && device.socket.write_all(&packet).is_ok() {
            sent += packet.len();
        }
    }
    wait_for_stall(&gateway);
    assert!(sent < OFFERED, "QoS 0 has no acknowledgements that would stop it; the socket does");
    let grown = resident_bytes(&gateway).saturating_sub(before);
    assert!(grown < 192 << 20, "{grown} bytes more");
    assert!(metric(&gateway, "tidegate_journal_queued_submissions") > 0.0);
    // What needs no commit is answered all the same, and what would wait says so.
    assert_eq!(gateway.get("/api/rules").0, 200);
    let (status, body) = gateway.get("/api/rules/hot");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("database or disk is full"), "{body}");
    let record = Some(r#"{"partition_key":"k","data":1}"#);
    let (status, body) =
        http("POST", &format!("{}/api/streams/kept/records", gateway.http), record);
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"busy\"") && body.contains("database or disk is full"), "{body}");
}

#[test]
fn a_record_put_into_a_stall_is_answered_in_time_and_its_outcome_called_unknown() {
    let site = Site::with_rules(KEEP);
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let gateway = site.start();
    let path = format!("{}/api/streams/kept/records", gateway.http);
    // The jobs of the start are in the same queue, so they are done when this is.
    for _ in 0..3 {
        let (status, body) = http("POST", &path, Some(r#"{"partition_key":"k","data":1}"#));
        assert_eq!(status, 200, "{body}");
    }
    disk.fill();
    // Nobody knows of the full disk yet, so this is the record that finds out.
    let record = format!(r#"{{"partition_key":"k","data":"{}"}}"#, "x".repeat(100_000));
    let (status, body) = http("POST", &path, Some(&record));
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("outcome_unknown"), "{body}");
    disk.free();
    eventually("it was committed after all", || (gateway.get("/readyz").0 == 200).then_some(()));
    assert_eq!(site.stream_data("kept").len(), 4);
}

#[test]
fn a_gateway_killed_on_a_full_disk_has_all_that_it_acknowledged() {
    let site = Site::with_rules(KEEP);
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    for id in 1..50 {
        device.publish_acked("load/a", id, &record(id));
    }
    disk.fill();
    publish_all(&mut device, 50..300);
    wait_for_stall(&gateway);
    gateway.kill();
    let mut acked = acked_so_far(&mut device);
    acked.extend(1..50);
    let output = site.run_command().output().expect("tidegate runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("there is no space left"), "{text}");
    disk.free();
    let gateway = site.start();
    assert!(kept(&site).is_superset(&acked), "{acked:?}");
    gateway.publish("load/b", r#"{"id":1000}"#);
    assert!(kept(&site).contains(&1000));
}

#[test]
fn a_gateway_stopped_on_a_full_disk_ends_and_says_what_it_could_not_write() {
    let site = Site::with_rules(KEEP);
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    disk.fill();
    publish_all(&mut device, 1..300);
    wait_for_stall(&gateway);
    let began = Clock::instant();
    let (status, log) = gateway.terminate();
    let took = began.elapsed();
    assert!(
        took.as_secs() < 10,
        "acknowledgements that will not come are not waited for: {took:?}"
    );
    assert!(!status.success(), "{log}");
    assert!(log.contains("could not be written before the shutdown"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn reminders_that_a_stall_held_up_are_not_made_up_for() {
    const REMIND: &str = "
CREATE RULE hot AS SELECT t, hold.duration_ms AS ms FROM 'lab/+' WHEN t > 30 FOR 0 SECONDS REPEAT EVERY 100 MILLISECONDS
DO STREAM hot KEY 'k' ON CLEARED DO STREAM cleared KEY 'k';
CREATE RULE keep AS SELECT * FROM 'load/#' DO STREAM kept KEY topic();";
    let site = Site::with_rules(REMIND);
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    device.publish_acked("lab/1", 1, r#"{"t":31}"#);
    eventually("it has been repeated", || (site.stream_data("hot").len() > 3).then_some(()));
    disk.fill();
    publish_all(&mut device, 2..200);
    wait_for_stall(&gateway);
    let began = Clock::instant();
    eventually("the stall takes as long as twenty reminders", || {
        (began.elapsed() > Duration::from_secs(2)).then_some(())
    });
    device.publish("lab/1", 200, r#"{"t":20}"#);
    disk.free();
    eventually("it is cleared", || (site.stream_data("cleared").len() == 1).then_some(()));
    let missed = metric(&gateway, r#"tidegate_rule_repeats_missed_total{rule="hot"}"#);
    assert!(missed >= 18.0, "{missed}");
    let times: Vec<i64> =
        site.stream_data("hot").iter().map(|told| told["ms"].as_i64().expect("ms")).collect();
    assert!(times.iter().all(|ms| ms % 100 == 0) && times.is_sorted(), "{times:?}");
    // What came during the stall is judged as of its time, and nothing was told from its beginning on.
    let ended = site.stream_data("cleared")[0]["ms"].as_i64().expect("ms");
    let hole = ended - times.last().expect("several");
    assert!(hole >= 1900, "{hole} without a reminder, of {ended}: {times:?}");
    let late = metric(&gateway, r#"tidegate_journal_timers_late_seconds_bucket{le="1.0"}"#);
    let all = metric(&gateway, "tidegate_journal_timers_late_seconds_count");
    assert!(all > late, "that timers were late is told: {late} of {all} by a second at most");
}

#[test]
fn what_a_damaged_end_of_the_log_takes_it_takes_whole() {
    const EPISODES: &str = "
CREATE RULE hot AS SELECT id FROM 'lab/+' WHEN t > 30 FOR 0 SECONDS PARTITION BY id
DO STREAM fired KEY id ON CLEARED DO STREAM cleared KEY id;";
    let site = Site::with_rules(EPISODES);
    let gateway = site.start();
    let mut device = Device::connect(&gateway, v4("device"));
    for id in 1..=50 {
        device.publish_acked("lab/a", id, &format!(r#"{{"id":{id},"t":31}}"#));
    }
    gateway.kill();
    let log = site.path("data/tidegate.db-wal");
    let mut bytes = fs::read(&log).expect("a log");
    // The disk lied: the end of what it had taken never reached it, or came as something else.
    let (whole, damaged) = (bytes.len(), bytes.len() * 2 / 3);
    bytes[damaged..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    bytes.truncate(whole - 1000);
    fs::write(&log, bytes).expect("written");
    let gateway = site.start();
    let ids = |stream: &str| {
        let told = site.stream_data(stream);
        told.iter().map(|record| record["id"].as_i64().expect("an id")).collect::<BTreeSet<_>>()
    };
    let fired = ids("fired");
    assert!(!fired.is_empty() && fired.len() < 50, "{} are left", fired.len());
    let series = r#"tidegate_rule_keys_firing{rule="hot"}"#;
    // A count far below 2^53.
    let is_so = || (metric(&gateway, series) - fired.len() as f64).abs() < f64::EPSILON;
    eventually("as many keys fire as have their record", || is_so().then_some(()));
    // Those that are left end, the others begin anew; none does both or neither.
    let mut device = Device::connect(&gateway, v4("device"));
    for id in 1..=50 {
        device.publish_acked("lab/a", id, &format!(r#"{{"id":{id},"t":20}}"#));
    }
    assert_eq!(ids("cleared"), fired);
    assert_eq!(site.stream_data("cleared").len(), fired.len());
}

#[test]
fn a_start_that_the_disk_holds_up_can_be_stopped() {
    let site = Site::with_rules(KEEP);
    let Some(disk) = SmallDisk::mount(&site) else { return };
    let gateway = site.start();
    Device::connect(&gateway, v4("device")).publish_acked("load/a", 1, &record(1));
    gateway.kill();
    let mut held_up = 0;
    for pages in 0..12 {
        disk.fill_but(pages * 4096);
        let log = File::create(site.path("log")).expect("a log file");
        let mut child = site
            .run_command()
            .stdout(log.try_clone().expect("the same file"))
            .stderr(log)
            .spawn()
            .expect("tidegate runs");
        let said = eventually("it ends, is ready or says what holds it up", || {
            let log = fs::read_to_string(site.path("log")).expect("its log");
            let has_ended = child.try_wait().expect("a child").is_some();
            let words = ["ready: ", "cannot commit", "no space left"];
            (has_ended || words.iter().any(|word| log.contains(word))).then_some(log)
        });
        held_up += u32::from(said.contains("cannot commit") && !said.contains("ready: "));
        terminate(&mut child);
        disk.free();
    }
    assert!(held_up > 0, "one of the sizes is enough to open the database and not to start");
    let gateway = site.start();
    assert_eq!(kept(&site), BTreeSet::from([1]));
    drop(gateway);
}

/// SIGTERM, which must end the process.
fn terminate(child: &mut Child) {
    drop(Command::new("kill").arg(child.id().to_string()).output().expect("kill runs"));
    eventually("the process ends", || child.try_wait().expect("a child"));
}
