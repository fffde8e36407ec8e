//! A load generator for brokers, over MQTT 3.1.1: what mqload has not. Standard library only, so that
//! `benches/compare-broker` compiles it by itself.
//!
//!   broker_load qos2     --addr A --conns 50 --n 100000 --window 20
//!   broker_load connects --addr A --n 5000 --conns 50
//!   broker_load fanout   --addr A --subs 1000 --n 2000 --slow 0 --bytes 64
//!   broker_load idle     --addr A --conns 10000 --pid PID [--filter 1]
//!
//! Each prints one line of JSON. Sockets do not block and are asked in turn; a turn in which nothing came
//! sleeps for 100 µs.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

/// Longest run.
const PATIENCE: Duration = Duration::from_secs(90);

struct Args(HashMap<String, String>);

impl Args {
    fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| default.to_owned())
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.0.get(name).map_or(default, |text| text.parse().expect("a number"))
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

fn connect_packet(id: &str) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, b"MQTT");
    body.extend([4, 2, 0x0e, 0x10]);
    field(&mut body, id.as_bytes());
    packet(0x10, &body)
}

fn publish_packet(topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, topic.as_bytes());
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend(payload);
    packet(0x30 | (qos << 1), &body)
}

/// A client past CONNACK.
fn connect(addr: &str, id: &str) -> TcpStream {
    let mut socket = TcpStream::connect(addr).expect("the broker accepts");
    socket.set_nodelay(true).expect("TCP");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(&connect_packet(id)).expect("it reads");
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).expect("CONNACK");
    assert_eq!((connack[0], connack[3]), (0x20, 0), "let in: {connack:?}");
    socket
}

fn subscribe(socket: &mut TcpStream, filter: &str) {
    let mut body = vec![0, 1];
    field(&mut body, filter.as_bytes());
    body.push(0);
    socket.write_all(&packet(0x82, &body)).expect("it reads");
    let mut suback = [0; 5];
    socket.read_exact(&mut suback).expect("SUBACK");
    assert_eq!((suback[0], suback[4]), (0x90, 0), "granted");
}

/// A socket that is asked in turn, and the packets that it has.
struct Peer {
    socket: TcpStream,
    unread: Vec<u8>,
    out: Vec<u8>,
}

impl Peer {
    fn new(socket: TcpStream) -> Peer {
        socket.set_nonblocking(true).expect("TCP");
        Peer { socket, unread: Vec::new(), out: Vec::new() }
    }

    /// Calls `each` with every whole packet that has come; answers how many bytes came.
    fn read(&mut self, scratch: &mut [u8], mut each: impl FnMut(&[u8], &mut Vec<u8>)) -> usize {
        let n = match self.socket.read(scratch) {
            Ok(0) => panic!("the broker closed a connection"),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return 0,
            Err(e) => panic!("{e}"),
        };
        self.unread.extend_from_slice(&scratch[..n]);
        let mut at = 0;
        while let Some(length) = whole(&self.unread[at..]) {
            each(&self.unread[at..at + length], &mut self.out);
            at += length;
        }
        self.unread.drain(..at);
        n
    }

    fn flush(&mut self) {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

fn whole(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let all = 2 + i + length;
            return (bytes.len() >= all).then_some(all);
        }
    }
    None
}

fn pause(bytes: usize) {
    if bytes == 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn percentile(sorted: &[u64], share: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Publishes with QoS 2; counts what has its PUBCOMP.
fn qos2(args: &Args) {
    let (n, conns) = (args.number("n", 100_000), args.number("conns", 50));
    let (addr, window) = (args.text("addr", "127.0.0.1:1883"), args.number("window", 20));
    let mut peers: Vec<Peer> =
        (0..conns).map(|i| Peer::new(connect(&addr, &format!("qos2-{i}")))).collect();
    let mut sent_at = vec![vec![Instant::now(); window + 1]; conns];
    let (mut sent, mut done) = (0, 0);
    let mut waits: Vec<u64> = Vec::with_capacity(n);
    let mut free: Vec<Vec<u16>> = vec![(1..=window as u16).collect(); conns];
    let payload = br#"{"device":"d0001","temp":21.50,"humidity":40.1}"#;
    let mut scratch = vec![0; 64 * 1024];
    let began = Instant::now();
    while done < n {
        assert!(began.elapsed() < PATIENCE, "{done} of {n}");
        let mut came = 0;
        for (i, peer) in peers.iter_mut().enumerate() {
            while sent < n && peer.out.len() < 16 * 1024 {
                let Some(id) = free[i].pop() else { break };
                peer.out.extend(publish_packet(&format!("sensors/d{i:04}/qos2"), 2, id, payload));
                sent_at[i][usize::from(id)] = Instant::now();
                sent += 1;
            }
            peer.flush();
            let (free, times) = (&mut free[i], &sent_at[i]);
            came += peer.read(&mut scratch, |packet, out| {
                let id = u16::from_be_bytes([packet[2], packet[3]]);
                match packet[0] >> 4 {
                    5 => out.extend([0x62, 2, packet[2], packet[3]]),
                    7 => {
                        done += 1;
                        waits.push(times[usize::from(id)].elapsed().as_micros() as u64);
                        free.push(id);
                    }
                    other => panic!("packet type {other}"),
                }
            });
        }
        pause(came);
    }
    let seconds = began.elapsed().as_secs_f64();
    waits.sort_unstable();
    println!(
        "{{\"done_per_s\":{:.0},\"p50_us\":{},\"p99_us\":{}}}",
        n as f64 / seconds,
        percentile(&waits, 0.5),
        percentile(&waits, 0.99)
    );
}

/// Connects, waits for CONNACK, disconnects; so many at once.
fn connects(args: &Args) {
    let (n, conns) = (args.number("n", 5000), args.number("conns", 50));
    let addr = args.text("addr", "127.0.0.1:1883");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let addr = &addr;
            scope.spawn(move || {
                let mut open = Vec::new();
                for i in 0..n / 4 {
                    let mut socket = TcpStream::connect(addr).expect("the broker accepts");
                    socket
                        .write_all(&connect_packet(&format!("c-{thread}-{i}")))
                        .expect("it reads");
                    open.push(socket);
                    if open.len() >= conns / 4 {
                        for mut socket in open.drain(..) {
                            let mut connack = [0; 4];
                            socket.read_exact(&mut connack).expect("CONNACK");
                            socket.write_all(&[0xe0, 0]).expect("it reads");
                        }
                    }
                }
            });
        }
    });
    println!("{{\"connects_per_s\":{:.0}}}", n as f64 / began.elapsed().as_secs_f64());
}

/// One publisher, many subscribers; with `slow`, one more that never reads.
fn fanout(args: &Args) {
    let (n, subs) = (args.number("n", 2000), args.number("subs", 1000));
    let (addr, bytes) = (args.text("addr", "127.0.0.1:1883"), args.number("bytes", 64));
    let slow = (args.number("slow", 0) > 0).then(|| {
        let mut socket = connect(&addr, "slow");
        subscribe(&mut socket, "fan/out");
        socket
    });
    let mut peers: Vec<Peer> = (0..subs)
        .map(|i| {
            let mut socket = connect(&addr, &format!("sub-{i}"));
            subscribe(&mut socket, "fan/out");
            Peer::new(socket)
        })
        .collect();
    let mut publisher = Peer::new(connect(&addr, "publisher"));
    let payload = vec![b'x'; bytes];
    let (mut sent, mut acked, mut received) = (0_usize, 0_usize, 0_usize);
    let mut sent_at: Vec<Instant> = Vec::with_capacity(n);
    let mut last_of: Vec<usize> = vec![0; subs];
    let mut waits: Vec<u64> = Vec::with_capacity(n * 8);
    let mut scratch = vec![0; 64 * 1024];
    let began = Instant::now();
    while received < n * subs {
        assert!(began.elapsed() < PATIENCE, "{received} of {} deliveries", n * subs);
        // No more under way than every broker takes, and than subscribers have taken.
        while sent < n && sent - acked < 50 && sent * subs < received + 100 * subs {
            publisher.out.extend(publish_packet(
                "fan/out",
                1,
                (sent % 60_000) as u16 + 1,
                &payload,
            ));
            sent_at.push(Instant::now());
            sent += 1;
        }
        publisher.flush();
        let mut came =
            publisher.read(&mut scratch, |packet, _| acked += usize::from(packet[0] == 0x40));
        for (i, peer) in peers.iter_mut().enumerate() {
            let last = &mut last_of[i];
            came += peer.read(&mut scratch, |_, _| {
                if i % 128 == 0 {
                    waits.push(sent_at[*last].elapsed().as_micros() as u64);
                }
                *last += 1;
                received += 1;
            });
        }
        pause(came);
    }
    let seconds = began.elapsed().as_secs_f64();
    waits.sort_unstable();
    println!(
        "{{\"deliveries_per_s\":{:.0},\"p50_us\":{},\"p99_us\":{}}}",
        received as f64 / seconds,
        percentile(&waits, 0.5),
        percentile(&waits, 0.99)
    );
    drop(slow);
}

fn resident(pid: usize) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// What a process grows by for each connection that is open and says nothing.
fn idle(args: &Args) {
    let (conns, pid) = (args.number("conns", 10_000), args.number("pid", 0));
    let (addr, filter) = (args.text("addr", "127.0.0.1:1883"), args.number("filter", 1) > 0);
    let open = |i: usize| {
        let mut socket = connect(&addr, &format!("idle-{i}"));
        if filter {
            subscribe(&mut socket, &format!("idle/{i}/command"));
        }
        socket
    };
    // What the broker takes once is taken by the first hundred.
    let mut sockets: Vec<TcpStream> = (0..100).map(open).collect();
    let before = resident(pid);
    let began = Instant::now();
    sockets.extend((100..conns).map(open));
    let took = began.elapsed().as_secs_f64();
    let grown = resident(pid).saturating_sub(before);
    for socket in &mut sockets {
        socket.write_all(&[0xc0, 0]).expect("it reads");
    }
    for socket in &mut sockets {
        let mut pong = [0; 2];
        socket.read_exact(&mut pong).expect("PINGRESP");
    }
    println!(
        "{{\"open\":{},\"bytes_each\":{},\"opened_per_s\":{:.0}}}",
        sockets.len(),
        grown / (conns - 100),
        (conns - 100) as f64 / took
    );
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mode = words.next().expect("qos2, connects, fanout or idle");
    let mut found = HashMap::new();
    while let Some(name) = words.next() {
        found.insert(name.trim_start_matches("--").to_owned(), words.next().unwrap_or_default());
    }
    let args = Args(found);
    match mode.as_str() {
        "qos2" => qos2(&args),
        "connects" => connects(&args),
        "fanout" => fanout(&args),
        "idle" => idle(&args),
        other => panic!("there is no {other}"),
    }
}
