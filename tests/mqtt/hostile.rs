//! Hostile clients: whatever bytes come, everybody else is served and nothing is leaked.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::time::Duration;

use tidegate::clock::Clock;

use super::wire::*;
use super::*;
use crate::hardship::metric;
use crate::live::PATIENCE;
use crate::live::eventually;

/// How long the mutations go on; `TIDEGATE_MUTATIONS` sets other seconds.
const MUTATIONS: Duration = Duration::from_secs(10);

const RULES: &str = "CREATE RULE all AS SELECT * FROM 'mutant/#', 'good/#' WHERE NOT isUndefined(n) DO STREAM s KEY 'k';";

/// What the mutants meet: each transport, and no patience.
const MUTANTS_MEET: &str = r#"
[mqtt]
packet_bytes_max = "4 KiB"
connect_timeout = "2s"

[listener.browsers]
protocol = "ws"
listen = "127.0.0.1:0"

[listener.devices]
protocol = "mqtts"
listen = "127.0.0.1:0"
certificate = "certs/server.pem"
key = "certs/server.key"
"#;

/// A small generator of numbers, so that a seed says everything (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_be_bytes()[0]
    }
}

/// A session as a well-behaved client of one version has it, packet by packet.
fn script(level: u8, dice: &mut Dice) -> Vec<Vec<u8>> {
    let id = format!("mutant-{}", dice.below(20));
    let mut connect = Connect::new(level, &id);
    connect.clean = dice.below(2) == 0;
    connect.keep_alive = 5;
    if dice.below(3) == 0 {
        connect.user = Some(b"me".to_vec());
        connect.password = Some(b"secret".to_vec());
    }
    if dice.below(3) == 0 {
        let qos = u8::try_from(dice.below(3)).expect("0 to 2");
        connect.will = Some(Will { qos, retain: dice.below(2) == 0, ..Will::new("mutant/will") });
    }
    if level == V5 {
        connect = connect
            .with(&four(SESSION_EXPIRY, u32::try_from(dice.below(3)).expect("small")))
            .with(&two(RECEIVE_MAXIMUM, 5))
            .with(&two(TOPIC_ALIAS_MAXIMUM, 3))
            .with(&four(MAXIMUM_PACKET_SIZE, 2000));
    }
    let mut packets = vec![connect.bytes()];
    for n in 1..=dice.below(12) + 1 {
        let id = u16::try_from(n).expect("small");
        let topic = format!("mutant/{}", dice.below(4));
        let qos = u8::try_from(dice.below(3)).expect("0 to 2");
        let filter = ["mutant/#", "+/1", "$share/g/mutant/+", "$SYS/#"][dice.below(4)];
        let mut message = Publish::new(&topic, qos, id, &vec![b'x'; dice.below(300)]);
        message.id = if qos == 0 { 0 } else { id };
        message.retain = dice.below(4) == 0;
        if level == V5 {
            message = message
                .with(&two(TOPIC_ALIAS, 1))
                .with(&pair("name", "value"))
                .with(&four(MESSAGE_EXPIRY, 2))
                .with(&text(RESPONSE_TOPIC, b"mutant/answer"));
        }
        packets.push(match dice.below(12) {
            0..4 => message.bytes(level),
            4 => subscribe(level, id, &[(filter, qos), ("mutant/2", 1)]),
            5 => unsubscribe(level, id, &[filter]),
            6 => ack(PUBACK, id),
            7 => ack(PUBREC, id),
            8 => ack(PUBREL, id),
            9 => ack(PUBCOMP, id),
            10 => PINGREQ.to_vec(),
            _ if level == V5 => {
                frame(0xf0, &[&[0x18, 4][..], &text(AUTHENTICATION_METHOD, b"m")].concat())
            }
            _ => DISCONNECT.to_vec(),
        });
    }
    packets
}

/// One to four changes of a script: bytes, lengths, whole packets.
fn mutate(packets: &mut Vec<Vec<u8>>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(packets.len());
        let length = packets[at].len();
        let place = dice.below(length);
        match dice.below(12) {
            0 => packets[at][place] = dice.byte(),
            1 => packets[at][place] ^= 1 << dice.below(8),
            2 => packets[at].truncate(place.max(1)),
            3 => packets[at].insert(place, dice.byte()),
            4 => drop(packets[at].remove(place)),
            5 => packets[at][0] = dice.byte(),
            6 if length > 1 => packets[at][1] = dice.byte(),
            7 => {
                let copy = packets[at].clone();
                packets.insert(dice.below(packets.len() + 1), copy);
            }
            // A packet of another session, of either version.
            8 => {
                let mut other = script(BOTH[dice.below(2)], dice);
                let packet = other.swap_remove(dice.below(other.len()));
                packets.insert(dice.below(packets.len() + 1), packet);
            }
            // A length that is not true, up to the largest there is.
            9 => {
                let length: &[u8] =
                    [&[0xff, 0xff, 0xff, 0x7f][..], &[0x80, 0x80, 0x01], &[0]][dice.below(3)];
                packets[at].splice(1.., length.iter().copied());
            }
            // A flood of one packet.
            10 => packets[at] = packets[at].repeat(dice.below(200) + 1),
            _ => {
                let other = dice.below(packets.len());
                packets.swap(at, other);
            }
        }
        packets.retain(|packet| !packet.is_empty());
        if packets.is_empty() {
            packets.push(vec![dice.byte()]);
        }
    }
}

/// The way that mutants come by.
#[derive(Clone, Copy)]
enum Way {
    Tcp,
    WebSocket,
    Tls,
}

/// What of MQTT goes into a WebSocket, or what somebody who gets it wrong sends: masked binary messages in
/// frames of any size, now and then with a byte of them changed.
fn in_frames(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(dice.below(400) + 1) {
        out.push(0x82);
        match u8::try_from(piece.len()).ok().filter(|length| *length < 126) {
            Some(length) => out.push(0x80 | length),
            None => {
                out.push(0x80 | 126);
                let length = u16::try_from(piece.len()).expect("at most 400");
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        let mask = [dice.byte(), dice.byte(), dice.byte(), dice.byte()];
        out.extend_from_slice(&mask);
        out.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    if dice.below(2) == 0 && !out.is_empty() {
        let at = dice.below(out.len());
        out[at] = dice.byte();
    }
    out
}

/// Asks for a WebSocket, mostly as one should. Answers whether there is one.
fn upgrades(socket: &mut TcpStream, dice: &mut Dice) -> bool {
    let mut request = crate::transport::websocket::request("/mqtt", &[]).into_bytes();
    if dice.below(40) == 0 {
        let at = dice.below(request.len());
        request[at] = dice.byte();
    }
    if socket.write_all(&request).is_err() {
        return false;
    }
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read(&mut byte) {
            Ok(1..) => head.push(byte[0]),
            // Half a request is cut in its time.
            Ok(0) | Err(_) => return false,
        }
    }
    head.starts_with(b"HTTP/1.1 101 ")
}

/// Sends bytes in a few pieces and reads what comes, until one side has had enough.
fn throw(gateway: &Gateway, way: Way, bytes: &[u8], dice: &mut Dice) {
    let port = match way {
        Way::Tcp => gateway.mqtt.port(),
        Way::WebSocket => gateway.port_of("browsers"),
        Way::Tls => gateway.port_of("devices"),
    };
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { return };
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let bytes = match way {
        Way::WebSocket if !upgrades(&mut socket, dice) => return,
        Way::WebSocket => in_frames(bytes, dice),
        // What begins as TLS does, and goes on as MQTT.
        Way::Tls => [&[0x16, 3, 1, 0, dice.byte()][..], bytes].concat(),
        Way::Tcp => bytes.to_vec(),
    };
    let pieces = dice.below(3) + 1;
    for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
        if socket.write_all(piece).is_err() {
            return;
        }
    }
    // Some vanish, some end their side and hear the gateway out.
    if dice.below(3) > 0 && socket.shutdown(Shutdown::Write).is_ok() {
        let mut answer = Vec::new();
        if let Err(error) = socket.read_to_end(&mut answer) {
            let hangs = matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            );
            assert!(!hangs, "the gateway does not end a connection whose peer has: {answer:02x?}");
        }
    }
}

fn resident_kib(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn sockets(gateway: &Gateway) -> usize {
    let folder = format!("/proc/{}/fd", gateway.pid());
    let links = fs::read_dir(folder).expect("procfs").flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// A gateway of its own, for what would disturb others.
fn alone(config: &str) -> (Site, Gateway) {
    let site = Site::with_rules(RULES);
    site.write("tidegate.toml", config);
    let gateway = site.start();
    (site, gateway)
}

/// Everybody is served: both versions, each QoS, a rule.
fn serves(gateway: &Gateway, site: &Site) {
    let before = site.stream_data("s").len();
    for level in BOTH {
        let topic = format!("good/{}", unique());
        let mut to = Client::connect(gateway, &Connect::new(level, &unique()));
        to.subscribe(&topic, 2);
        let mut from = Client::connect(gateway, &Connect::new(level, &unique()));
        for qos in [0, 1, 2] {
            from.publish(&Publish::new(&topic, qos, 1, br#"{"n":1}"#));
            to.hears(&Publish::new(&topic, qos, 0, br#"{"n":1}"#));
        }
        from.settle();
        from.leave();
        to.leave();
    }
    eventually("the rule has them all", || {
        (site.stream_data("s").len() == before + 6).then_some(())
    });
}

#[test]
fn mutated_packets_leak_nothing_and_everybody_is_served() {
    let site = crate::transport::site(RULES);
    site.write("tidegate.toml", MUTANTS_MEET);
    let gateway = site.start();
    let length = std::env::var("TIDEGATE_MUTATIONS").ok().and_then(|text| text.parse().ok());
    let length = length.map_or(MUTATIONS, Duration::from_secs);
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    eprintln!("TIDEGATE_SEED={seed}");
    let one_round = |seed: u64, until: std::time::Instant, most: u64| -> u64 {
        let mut dice = Dice(seed);
        let mut thrown = 0;
        while Clock::instant() < until && thrown < most {
            let level = BOTH[dice.below(2)];
            let mut packets = script(level, &mut dice);
            mutate(&mut packets, &mut dice);
            let way = [Way::Tcp, Way::Tcp, Way::Tcp, Way::WebSocket, Way::WebSocket, Way::Tls];
            throw(&gateway, way[dice.below(6)], &packets.concat(), &mut dice);
            thrown += 1;
        }
        thrown
    };
    // Warm: what a gateway takes once it takes before the measurement.
    one_round(seed, Clock::instant() + PATIENCE, 300);
    let idle = |what: &str| {
        eventually(what, || {
            let none = metric(&gateway, "tidegate_mqtt_connections") < 1.0;
            none.then(|| sockets(&gateway))
        })
    };
    let open = idle("the first mutants have gone");
    let resident = resident_kib(&gateway);
    let until = Clock::instant() + length;
    let thrown: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..4_u64)
            .map(|n| {
                scope.spawn(move || one_round(seed.wrapping_add(n * 7919) | 1, until, u64::MAX))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no mutant hangs")).sum()
    });
    eprintln!("{thrown} mutated sessions in {length:?}");
    assert!(thrown > 100, "{thrown} sessions, seed {seed}");
    serves(&gateway, &site);
    let still = idle("every mutant's connection has ended");
    // The socket of the metrics is one, now and then.
    assert!(still <= open + 2, "{still} sockets, before {open}; seed {seed}");
    let grown = resident_kib(&gateway).saturating_sub(resident);
    assert!(grown < 48 * 1024, "{grown} KiB more after {thrown} sessions; seed {seed}");
    let (status, log) = gateway.terminate();
    assert!(status.success() && !log.contains("panicked"), "seed {seed}: {log}");
}

#[test]
fn a_connect_that_trickles_in_is_cut_in_time() {
    let (site, gateway) = alone("[mqtt]\nconnect_timeout = \"1s\"\n");
    let bytes = Connect::new(V5, &"slow".repeat(200)).bytes();
    let mut loris: Vec<(Client, usize)> =
        (0..50).map(|_| (Client::open(&gateway, V5), 0)).collect();
    let began = Clock::instant();
    // A byte now and then keeps nobody alive.
    let gone = |gateway: &Gateway| {
        metric(gateway, r#"tidegate_mqtt_connections_refused_total{reason="connect_timeout"}"#)
    };
    while gone(&gateway) < 50.0 {
        for (client, sent) in &mut loris {
            client.try_send(&bytes[*sent..=*sent]);
            *sent = (*sent + 1).min(bytes.len() - 2);
        }
        assert!(began.elapsed() < PATIENCE, "{} are cut", gone(&gateway));
    }
    loris.iter_mut().for_each(|(client, _)| client.expect_end());
    serves(&gateway, &site);
}

#[test]
fn half_open_connections_end_with_their_keep_alive() {
    let (site, gateway) = alone("");
    // Half of them have announced a packet that never comes.
    let mut silent: Vec<Client> = (0..40)
        .map(|n| {
            let connect = Connect { keep_alive: 1, ..Connect::new(BOTH[n % 2], &unique()) };
            let mut client = Client::connect(&gateway, &connect);
            if n < 20 {
                client.send(&[0x30, 100, 0, 3, b'a']);
            }
            client
        })
        .collect();
    eventually("all are cut", || {
        (metric(&gateway, "tidegate_mqtt_connections") < 1.0).then_some(())
    });
    silent.iter_mut().for_each(|client| client.expect_cut(0x8d));
    // The other way round: the peer has closed its side and reads on.
    let client = TcpStream::connect(gateway.mqtt).expect("the listener accepts");
    (&client).write_all(&Connect::new(V4, "half").bytes()).expect("it reads");
    client.shutdown(Shutdown::Write).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answer = Vec::new();
    (&client).read_to_end(&mut answer).expect("it ends");
    assert_eq!(answer, [0x20, 2, 0, 0]);
    serves(&gateway, &site);
}

#[test]
fn a_flood_of_connections_and_packets_holds_up_nobody() {
    let (site, gateway) = alone("");
    std::thread::scope(|scope| {
        // Connections that come and go, without a word, and with many.
        for level in BOTH {
            let gateway = &gateway;
            scope.spawn(move || {
                for n in 0..200 {
                    drop(TcpStream::connect(gateway.mqtt));
                    let mut client = Client::open(gateway, level);
                    client.try_send(&Connect::new(level, &format!("flood-{n}")).bytes());
                    client.try_send(&PINGREQ.repeat(500));
                    client.try_send(&subscribe(level, 1, &[("flood/#", 0)]).repeat(50));
                    client.try_send(
                        &Publish::new("flood/x", 0, 0, &[b'x'; 500]).bytes(level).repeat(100),
                    );
                }
            });
        }
        serves(&gateway, &site);
    });
    serves(&gateway, &site);
}

#[test]
fn an_identifier_that_is_under_way_is_reused_at_the_clients_own_risk() {
    let (site, gateway) = alone("");
    for level in BOTH {
        let topic = unique();
        let mut to = Client::connect(&gateway, &Connect::new(level, &unique()));
        to.subscribe(&topic, 2);
        let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
        // QoS 1 over QoS 2 of one identifier, and a subscription with it too.
        client.send(&Publish::new(&topic, 2, 7, b"two").bytes(level));
        client.expect_ack(PUBREC, 7);
        client.publish(&Publish::new(&topic, 1, 7, b"one"));
        client.subscribe(&unique(), 0);
        client.send(&subscribe(level, 7, &[(&unique(), 0)]));
        assert_eq!(client.recv()[0], 0x90);
        // Another payload by the identifier of a message that is not released: the first one stands.
        client.send(&Publish::new(&topic, 2, 7, b"other").bytes(level));
        client.expect_ack(PUBREC, 7);
        client.send(&ack(PUBREL, 7));
        client.expect_ack(PUBCOMP, 7);
        to.hears(&Publish::new(&topic, 2, 0, b"two"));
        to.hears(&Publish::new(&topic, 1, 0, b"one"));
        to.expect_nothing();
    }
    serves(&gateway, &site);
}
