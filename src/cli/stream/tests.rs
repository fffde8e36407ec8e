use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;

use crate::clock::Timestamp;
use crate::journal::Journal;
use crate::storage::Storage;

use super::*;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    stream: StreamArgs,
}

fn parse(folder: &Path, words: &[&str]) -> Result<StreamArgs, clap::Error> {
    let folder = folder.to_str().unwrap();
    let words = [&["stream"], words, &["--data", folder]].concat();
    CommandLine::try_parse_from(words).map(|line| line.stream)
}

fn answer(folder: &Path, words: &[&str]) -> anyhow::Result<String> {
    let mut out = Vec::new();
    run(&parse(folder, words).unwrap(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// A folder with stream `alerts` of two shards.
fn with_stream() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    super::super::runtime().unwrap().block_on(async {
        let journal = start(&storage);
        let streams = vec![("alerts".to_owned(), None)];
        let now = Timestamp::from_millis(1_000_000);
        crate::stream::declare(&storage.executor(), streams, now).await.unwrap();
        journal.shutdown().await.unwrap();
    });
    folder
}

fn start(storage: &Storage) -> Journal<()> {
    let config = crate::config::JournalConfig::default();
    Journal::start(storage, put::NoStage, &config, crate::clock::Clock::start()).unwrap()
}

#[test]
fn a_put_record_is_tailed_as_json_or_base64() {
    let folder = with_stream();
    let key_of_first = ["put", "alerts", "--key", "a"];
    for record in ["{\"n\": 1,\n\"big\": 12345678901234567890123}", "no json"] {
        let words = [&key_of_first[..], &[record]].concat();
        let place = answer(folder.path(), &words).unwrap();
        assert!(place.contains("\"shard\":\"shardId-000000000000\""), "{place}");
    }
    let words = ["tail", "alerts", "--from", "trim-horizon", "--no-follow"];
    let lines = answer(folder.path(), &words).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "one line a record");
    assert!(lines[0].ends_with("\"data\":{\"n\": 1, \"big\": 12345678901234567890123}}"));
    assert!(lines[1].ends_with("\"data_base64\":\"bm8ganNvbg==\"}"), "{}", lines[1]);
    let value: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(value["partition_key"], "a");
    assert!(value["t"].as_i64().unwrap() > 1_000_000);
    let words = ["tail", "alerts", "--no-follow"];
    assert_eq!(answer(folder.path(), &words).unwrap(), "", "latest is after the newest");
}

#[test]
fn a_put_beside_no_gateway_is_no_sign_of_life() {
    let folder = with_stream();
    let alive_until = || {
        let storage = Storage::open(folder.path()).unwrap();
        crate::checkpoint::load(&storage).unwrap().alive_until
    };
    let storage = Storage::open(folder.path()).unwrap();
    super::super::runtime().unwrap().block_on(async {
        let journal = start(&storage);
        let at = Timestamp::from_millis(5);
        let executor = storage.executor();
        executor.execute(move |tx| crate::checkpoint::save_alive(tx, at)).await.unwrap();
        journal.shutdown().await.unwrap();
    });
    drop(storage);
    answer(folder.path(), &["put", "alerts", "--key", "a", "x"]).unwrap();
    assert_eq!(alive_until(), Some(Timestamp::from_millis(5)), "the downtime goes on");
}

#[test]
fn an_explicit_hash_key_picks_the_shard() {
    let folder = with_stream();
    let highest = u128::MAX.to_string();
    let words = ["put", "alerts", "--key", "a", "--hash-key", &highest, "x"];
    let place = answer(folder.path(), &words).unwrap();
    assert!(place.contains("shardId-000000000001"), "{place}");
}

#[test]
fn list_and_describe_count_what_is_there() {
    let folder = with_stream();
    answer(folder.path(), &["put", "alerts", "--key", "a", "12345"]).unwrap();
    let list: serde_json::Value =
        serde_json::from_str(&answer(folder.path(), &["list", "--format", "json"]).unwrap())
            .unwrap();
    let stream = &list["streams"][0];
    assert_eq!((&stream["name"], &stream["records"]), (&"alerts".into(), &1.into()));
    assert_eq!(stream["bytes"], 6);
    let text = answer(folder.path(), &["list"]).unwrap();
    assert!(text.lines().nth(1).unwrap().starts_with("alerts       2        1      6"), "{text}");
    let words = ["describe", "alerts", "--format", "json"];
    let described: serde_json::Value =
        serde_json::from_str(&answer(folder.path(), &words).unwrap()).unwrap();
    assert_eq!(described["shards"][0]["records"], 1);
    assert_eq!(described["shards"][1]["newest_sequence_number"], serde_json::Value::Null);
    let text = answer(folder.path(), &["describe", "alerts"]).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn verify_says_what_is_damaged_and_where() {
    let folder = with_stream();
    for n in 0..30 {
        answer(folder.path(), &["put", "alerts", "--key", "a", &format!("{{\"n\":{n}}}")]).unwrap();
    }
    let verify = |words: &[&str]| {
        let mut out = Vec::new();
        let words = [&["verify"], words].concat();
        let outcome = run(&parse(folder.path(), &words).unwrap(), &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap())
    };
    let (outcome, text) = verify(&[]);
    assert_eq!(outcome, Outcome::Done, "{text}");
    assert!(text.starts_with("1 stream, 2 shards, 30 blocks, 30 records, "), "{text}");
    assert!(text.ends_with(": whole\n"), "{text}");

    // The last journal has folded its log into the file: damage one block there.
    let path = folder.path().join("tidegate.db");
    let whole = std::fs::read(&path).unwrap();
    let mark = b"{\"n\":17}";
    let at = whole.windows(mark.len()).position(|bytes| bytes == mark).unwrap();
    let mut damaged = whole.clone();
    damaged[at + 3] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let (outcome, text) = verify(&["alerts", "--quick"]);
    assert_eq!(outcome, Outcome::Rejected);
    let expected =
        "error: alerts, shardId-000000000000, block 18: the checksum does not match\n1 stream, ";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with(": 1 error\n"), "{text}");
    let (outcome, text) = verify(&["--format", "json"]);
    assert_eq!(outcome, Outcome::Rejected);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["errors"], &value["blocks"]), (&1.into(), &30.into()));
    assert_eq!(value["findings"][0]["aspect"], "block");
    assert_eq!(value["findings"][0]["block"], 18);

    // Pages that SQLite cannot make sense of, and a file that is none of its.
    let root = whole.len() / 4096 / 2 * 4096;
    for (from, length) in [(root, 4096), (4096, whole.len() - 4096), (0, 4096)] {
        let mut damaged = whole.clone();
        damaged[from..from + length].fill(0xa5);
        std::fs::write(&path, &damaged).unwrap();
        let (outcome, text) = verify(&[]);
        assert_eq!(outcome, Outcome::Rejected, "{from}: {text}");
        assert!(text.starts_with("error: "), "{from}: {text}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(verify(&[]).0, Outcome::Done);
    assert!(
        answer(folder.path(), &["verify", "alert"]).unwrap_err().to_string().contains("alerts")
    );
}

#[test]
fn what_is_not_there_is_told() {
    let folder = with_stream();
    let told = |words: &[&str]| answer(folder.path(), words).unwrap_err().to_string();
    let near = "there is no stream 'alert'; did you mean 'alerts'?";
    assert_eq!(told(&["tail", "alert"]), near);
    assert_eq!(told(&["describe", "alert"]), near);
    assert_eq!(told(&["put", "alert", "--key", "a", "x"]), near);
    assert!(told(&["put", "alerts", "--key", "", "x"]).starts_with("a partition key has"));
    let empty = tempfile::tempdir().unwrap();
    let text = answer(empty.path(), &["list"]).unwrap_err().to_string();
    assert!(text.starts_with("there is no database in "), "{text}");
}

#[test]
fn times_are_read_in_both_forms() {
    let folder = Path::new(".");
    for time in ["1777615200000", "2026-05-01T06:00:00Z", "2026-05-01T08:00:00+02:00"] {
        let args = parse(folder, &["tail", "s", "--from", time]).unwrap();
        let at = Timestamp::from_millis(1_777_615_200_000);
        let text = format!("{:?}", crate::stream::StartAt::AtTimestamp(at));
        assert!(format!("{args:?}").contains(&text), "{args:?}");
    }
    let error = parse(folder, &["tail", "s", "--from", "yesterday"]).unwrap_err().to_string();
    assert!(error.contains("or trim-horizon, or latest"), "{error}");
}

/// Passes what is written on to the test, and ends the command after the wanted number of lines.
struct Lines {
    lines: mpsc::Sender<String>,
    left: usize,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lines.send(String::from_utf8(bytes.to_vec()).unwrap()).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

#[test]
fn a_follower_sees_what_a_running_gateway_commits() {
    let folder = with_stream();
    let args = parse(folder.path(), &["tail", "alerts"]).unwrap();
    let (lines, seen) = mpsc::channel();
    let tail = std::thread::spawn(move || run(&args, &mut Lines { lines, left: 4 }));
    let storage = Storage::open(folder.path()).unwrap();
    let runtime = super::super::runtime().unwrap();
    let mut received = String::new();
    runtime.block_on(async {
        let journal = start(&storage);
        // The follower begins at the newest record, whenever that is: put until it has seen some.
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !received.contains("\"data\":7}") {
            ticks.tick().await;
            let record = crate::stream::NewRecord {
                partition_key: "a",
                hash_key: None,
                data: b"7",
                at: Timestamp::from_millis(5),
                hops: 0,
            };
            crate::stream::put(&storage.executor(), "alerts", record).await.unwrap();
            received.extend(seen.try_iter());
        }
        while !tail.is_finished() {
            ticks.tick().await;
            let record = crate::stream::NewRecord {
                partition_key: "a",
                hash_key: None,
                data: b"8",
                at: Timestamp::from_millis(5),
                hops: 0,
            };
            crate::stream::put(&storage.executor(), "alerts", record).await.unwrap();
        }
        journal.shutdown().await.unwrap();
    });
    assert!(tail.join().unwrap().is_err(), "the reader of the answer has gone");
}

#[test]
fn a_put_beside_a_gateway_needs_its_address() {
    let folder = with_stream();
    let storage = Storage::open(folder.path()).unwrap();
    let words = ["put", "alerts", "--key", "a", "x"];
    let told = answer(folder.path(), &words).unwrap_err().to_string();
    assert!(told.contains("is in use by process"), "{told}");
    drop(storage);
}

/// A gateway that answers one request with `status` and `body`, and hands the request over.
fn one_answer(status: &str, body: &str) -> (std::net::SocketAddr, mpsc::Receiver<String>) {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut part = [0; 4096];
        while !request.ends_with(b"}") {
            let read = socket.read(&mut part).unwrap();
            request.extend_from_slice(&part[..read]);
        }
        sender.send(String::from_utf8(request).unwrap()).unwrap();
        socket.write_all(response.as_bytes()).unwrap();
    });
    (address, requests)
}

#[test]
fn a_put_beside_a_gateway_goes_over_http() {
    let folder = with_stream();
    let storage = Storage::open(folder.path()).unwrap();
    let placed = "{\"sequence_number\":\"17\",\"shard\":\"shardId-000000000001\"}";
    let (address, requests) = one_answer("200 OK", placed);
    storage.announce(address).unwrap();
    let words = ["put", "alerts", "--key", "a", "--hash-key", "5", "x"];
    let text = answer(folder.path(), &words).unwrap();
    assert_eq!(text, "{\"sequence_number\":\"17\",\"shard\":\"shardId-000000000001\"}\n");
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /api/streams/alerts/records HTTP/1.1\r\n"), "{request}");
    let body = "{\"data_base64\":\"eA==\",\"hash_key\":\"5\",\"partition_key\":\"a\"}";
    assert!(request.ends_with(body), "{request}");

    let refusal = "{\"error\":{\"code\":\"unknown_name\",\"message\":\"there is no such stream\"}}";
    let (address, _requests) = one_answer("404 Not Found", refusal);
    storage.announce(address).unwrap();
    let told = answer(folder.path(), &words).unwrap_err().to_string();
    assert!(told.ends_with("refused it (404 Not Found): there is no such stream"), "{told}");
}
