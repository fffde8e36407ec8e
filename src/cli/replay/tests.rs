use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;

use clap::Parser;
use parking_lot::Mutex;

use super::*;

/// Client identifier → the (QoS, topic, payload) it published, in order.
type Received = BTreeMap<String, Vec<(u8, String, String)>>;

/// What the acceptor does with a CONNECT.
#[derive(Clone, Copy)]
enum Welcome {
    Accept,
    Refuse,
    /// Accepts, and closes at the first PUBLISH.
    CutOff,
}

/// As much of an MQTT 3.1.1 server as a publisher meets (OASIS standard, section 3): one thread a
/// connection, everything written down.
struct Acceptor {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

impl Acceptor {
    fn start(welcome: Welcome) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Received::new()));
        let written = received.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let written = written.clone();
                std::thread::spawn(move || serve(socket.unwrap(), welcome, &written));
            }
        });
        Acceptor { address, received }
    }
}

fn read_packet(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    socket.read_exact(&mut byte).ok()?;
    let first = byte[0];
    let (mut length, mut shift) = (0usize, 0);
    loop {
        socket.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).ok()?;
    Some((first, body))
}

fn take_text(body: &[u8], at: usize) -> (String, usize) {
    let length = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let end = at + 2 + length;
    (String::from_utf8(body[at + 2..end].to_vec()).unwrap(), end)
}

fn serve(mut socket: TcpStream, welcome: Welcome, received: &Mutex<Received>) {
    let mut client_id = String::new();
    while let Some((first, body)) = read_packet(&mut socket) {
        match first >> 4 {
            1 => {
                client_id = take_text(&body, 10).0;
                let code = if matches!(welcome, Welcome::Refuse) { 5 } else { 0 };
                socket.write_all(&[0x20, 2, 0, code]).unwrap();
                received.lock().entry(client_id.clone()).or_default();
            }
            3 if matches!(welcome, Welcome::CutOff) => return,
            3 => {
                let qos = (first >> 1) & 3;
                let (topic, mut at) = take_text(&body, 0);
                let packet_id = [body[at], body[at + 1]];
                at += if qos > 0 { 2 } else { 0 };
                let payload = String::from_utf8(body[at..].to_vec()).unwrap();
                received.lock().get_mut(&client_id).unwrap().push((qos, topic, payload));
                let acknowledgement = [0, 0x40, 0x50][usize::from(qos)];
                if qos > 0 {
                    let packet = [acknowledgement, 2, packet_id[0], packet_id[1]];
                    socket.write_all(&packet).unwrap();
                }
            }
            6 => socket.write_all(&[0x70, 2, body[0], body[1]]).unwrap(),
            12 => socket.write_all(&[0xd0, 0]).unwrap(),
            _ => return,
        }
    }
}

/// The command without the program around it.
#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    args: ReplayArgs,
}

fn replay_lines(
    lines: &str,
    to: SocketAddr,
    options: &[&str],
) -> (anyhow::Result<Outcome>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded.ndjson");
    std::fs::write(&file, lines).unwrap();
    let to = format!("mqtt://{to}");
    let mut line = vec!["replay", file.to_str().unwrap(), "--to", &to];
    line.extend(options);
    let Alone { args } = Alone::try_parse_from(line).unwrap();
    let mut answer = Vec::new();
    let ended = run(&args, &mut answer);
    (ended, String::from_utf8(answer).unwrap())
}

fn recorded(count: usize, devices: usize, step_ms: usize) -> String {
    (0..count)
        .map(|n| {
            let (t, device) = (1_000_000 + n * step_ms, n % devices);
            format!("{{\"t\":{t},\"topic\":\"lab/{device}\",\"payload\":{{\"n\":{n}}}}}\n")
        })
        .collect()
}

#[test]
fn each_device_is_one_client_and_keeps_its_order_at_every_qos() {
    for qos in 0..=2u8 {
        let acceptor = Acceptor::start(Welcome::Accept);
        let lines = recorded(600, 3, 1000);
        let level = qos.to_string();
        let options = ["--speed", "max", "--qos", &level];
        let (ended, answer) = replay_lines(&lines, acceptor.address, &options);
        assert_eq!(ended.unwrap(), Outcome::Done);
        assert!(answer.starts_with("sent 600, acknowledged 600 of 3 devices in "), "{answer}");
        let expected: Received = (0..3)
            .map(|device| {
                let topic = format!("lab/{device}");
                let published = (device..600).step_by(3);
                let published =
                    published.map(|n| (qos, topic.clone(), format!("{{\"n\":{n}}}"))).collect();
                (format!("replay:{topic}"), published)
            })
            .collect();
        // At QoS 0 the last bytes may still be on their way when the replay has ended.
        while qos == 0 && *acceptor.received.lock() != expected {
            std::thread::yield_now();
        }
        assert_eq!(*acceptor.received.lock(), expected);
    }
}

#[test]
fn the_recorded_client_id_is_used_and_long_topics_become_digests() {
    let acceptor = Acceptor::start(Welcome::Accept);
    let long = "x".repeat(CLIENT_TOPIC_BYTES);
    let lines = format!(
        "{{\"t\":1,\"topic\":\"a\",\"payload\":1,\"client_id\":\"mote-7\"}}\n\
         {{\"t\":1,\"topic\":\"{long}\",\"payload\":2}}\n"
    );
    let (ended, _) = replay_lines(&lines, acceptor.address, &[]);
    assert_eq!(ended.unwrap(), Outcome::Done);
    let received = acceptor.received.lock();
    let ids: Vec<&str> = received.keys().map(String::as_str).collect();
    assert_eq!(ids[0], "mote-7");
    assert_eq!(ids[1].len(), "replay:".len() + 32);
}

const CLIENT_TOPIC_BYTES: usize = 5000;

#[test]
fn malformed_lines_are_counted_and_end_in_rejection() {
    let acceptor = Acceptor::start(Welcome::Accept);
    let lines = format!("{}oops\n{{\"t\":1}}\n", recorded(2, 1, 0));
    let (ended, answer) = replay_lines(&lines, acceptor.address, &[]);
    assert_eq!(ended.unwrap(), Outcome::Rejected);
    assert!(answer.ends_with(", passed over 2 malformed lines\n"), "{answer}");
}

#[test]
fn a_refused_or_lost_connection_says_which_client_and_why() {
    let acceptor = Acceptor::start(Welcome::Refuse);
    let (ended, answer) = replay_lines(&recorded(1, 1, 0), acceptor.address, &[]);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("\"replay:lab/0\"") && error.contains("NotAuthorized"), "{error}");
    assert!(answer.contains("acknowledged 0"), "{answer}");

    let acceptor = Acceptor::start(Welcome::CutOff);
    let (ended, _) = replay_lines(&recorded(1, 1, 0), acceptor.address, &[]);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("1 of its messages may be unacknowledged"), "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (ended, _) = replay_lines(&recorded(1, 1, 0), closed, &[]);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn recorded_time_passes_at_the_given_speed_and_lateness_does_not_add_up() {
    let speed = |text: &str| text.parse::<Speed>().unwrap();
    let mut pace = Pace { speed: speed("10x"), start: None };
    let at = Timestamp::from_millis;
    let start = pace.due_at(at(5_000)).unwrap();
    assert_eq!(pace.due_at(at(6_000)).unwrap() - start, Duration::from_millis(100));
    assert_eq!(pace.due_at(at(4_000)).unwrap(), start, "time that goes back is due at once");
    assert_eq!(pace.due_at(at(15_000)).unwrap() - start, Duration::from_secs(1));
    assert!(pace.due_at(at(i64::MAX)).is_some());
    assert_eq!(Pace { speed: speed("max"), start: None }.due_at(at(1)), None);
    for refused in ["0", "-1", "nan", "inf", "fast", "", "x"] {
        assert!(refused.parse::<Speed>().is_err(), "{refused}");
    }
}

#[test]
fn paced_lines_are_not_sent_early() {
    let acceptor = Acceptor::start(Welcome::Accept);
    let started = Clock::instant();
    let lines = recorded(4, 2, 1000);
    let (ended, _) = replay_lines(&lines, acceptor.address, &["--speed", "20"]);
    assert_eq!(ended.unwrap(), Outcome::Done);
    assert!(Clock::instant() - started >= Duration::from_millis(150));
}

#[tokio::test]
async fn devices_beyond_the_bound_share_connections_and_keep_their_own() {
    let acceptor = Acceptor::start(Welcome::Accept);
    let tally = Arc::new(Tally::default());
    let to = format!("mqtt://{}", acceptor.address).parse().unwrap();
    let mut fleet = Fleet::new(to, QoS::AtLeastOnce, tally.clone()).with_connections_max(2);
    for n in 0..50 {
        let publish = RecordedPublish {
            line: n,
            t: Timestamp::EPOCH,
            topic: crate::topic::TopicName::parse(&format!("lab/{}", n % 5)).unwrap(),
            payload: n.to_string().into(),
            client_id: None,
            unread: None,
        };
        fleet.publish(publish).await.unwrap();
    }
    fleet.land().await.unwrap();
    assert_eq!(tally.devices.load(Ordering::Relaxed), 2);
    assert_eq!(tally.shared.load(Ordering::Relaxed), 30);
    assert_eq!(tally.acknowledged.load(Ordering::Relaxed), 50);
    let received = acceptor.received.lock();
    for device in 0..5 {
        let topic = format!("lab/{device}");
        let carriers: Vec<Vec<u64>> = received
            .values()
            .map(|published| {
                let of_device = published.iter().filter(|(_, t, _)| *t == topic);
                of_device.map(|(_, _, payload)| payload.parse().unwrap()).collect()
            })
            .filter(|numbers: &Vec<u64>| !numbers.is_empty())
            .collect();
        assert_eq!(carriers.len(), 1, "one connection carries all of {topic}");
        assert!(carriers[0].is_sorted() && carriers[0].len() == 10);
    }
}
