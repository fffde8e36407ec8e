//! What access costs: a publish under 1,000 access rules, and logins a second.
//!
//! `cargo bench --bench access` prints, of the median of three runs,
//! - publishes a second of one client that publishes QoS 0 to one topic, without access rules and under
//!   1,000 of which the last allows it;
//! - the same with a new topic for each message, so that the rules are asked each time;
//! - CONNECTs a second with passwords that are seen for the first time (argon2id at its default cost), and
//!   with those that were right before.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate::access::Access;
use tidegate::access::Acl;
use tidegate::access::users;
use tidegate::broker::Broker;
use tidegate::broker::Guard;
use tidegate::broker::NoRules;
use tidegate::broker::Remains;
use tidegate::clock::Clock;
use tidegate::config::AccessConfig;
use tidegate::config::AclConfig;
use tidegate::config::AuthConfig;
use tidegate::config::Method;
use tidegate::config::MqttConfig;
use tidegate::config::RateConfig;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// As in the gateway's own binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RULES: usize = 1000;
const PUBLISHES: usize = 500_000;
const TOPICS: usize = 50_000;
const USERS: usize = 64;
const RUNS: usize = 3;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        for rules in [0, RULES] {
            let address = serve(rules, AuthConfig::default()).await;
            let same = median(|| publish(address, PUBLISHES, |_| "a/topic".to_owned())).await;
            println!("{rules:>5} rules, one topic:    {same:>9.0} publishes/s");
            let new = median(|| publish(address, TOPICS, |n| format!("a/{n:06}"))).await;
            println!("{rules:>5} rules, new topics:   {new:>9.0} publishes/s");
        }
        let mut first = Vec::new();
        let mut again = Vec::new();
        for _ in 0..RUNS {
            let folder = tempfile::tempdir().expect("a folder");
            let users_file = folder.path().join("users");
            let hash = users::hash(b"password").expect("a password");
            let text: String = (0..USERS).map(|n| format!("u{n:03}:{hash}\n")).collect();
            users::save(&users_file, &text).expect("written");
            let auth =
                AuthConfig { methods: vec![Method::Users], users_file, ..AuthConfig::default() };
            let address = serve(0, auth).await;
            first.push(connect_all(address).await);
            again.push(connect_all(address).await);
        }
        for (what, mut rates) in [("seen first", first), ("known", again)] {
            rates.sort_unstable_by(f64::total_cmp);
            println!("CONNECT, password {what:<10} {:>9.0} /s", rates[RUNS / 2]);
        }
    });
}

async fn median<F: Future<Output = f64>>(run: impl Fn() -> F) -> f64 {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        rates.push(run().await);
    }
    rates.sort_unstable_by(f64::total_cmp);
    rates[RUNS / 2]
}

/// A broker of its own; it ends with the process.
async fn serve(rules: usize, auth: AuthConfig) -> SocketAddr {
    let mut acl = Acl::default();
    for n in 1..rules {
        acl.add(&format!("allow publish any b/{n}/%c/#")).expect("a rule");
    }
    if rules > 0 {
        acl.add("allow publish any a/+").expect("a rule");
    }
    let config =
        AccessConfig { auth, acl: AclConfig { rules: acl, file: None }, ..AccessConfig::default() };
    let clock = Clock::start();
    let access = Arc::new(Access::load(&config, clock, None).expect("files that can be read"));
    let guard = Guard { access, rate: RateConfig::default() };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = MqttConfig { listen, ..MqttConfig::default() };
    let broker = Broker::bind(&config, clock, guard, Remains::default()).await.expect("listens");
    let address = broker.local_addr();
    tokio::spawn(broker.run(Arc::new(NoRules), std::future::pending()));
    address
}

/// Publishes a second, from the first to the answer to a ping behind the last.
async fn publish(address: SocketAddr, count: usize, topic: impl Fn(usize) -> String) -> f64 {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04load").await.expect("sent");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await.expect("CONNACK");
    assert_eq!(connack[3], 0, "let in");
    let mut packets = Vec::new();
    for n in 0..count {
        let topic = topic(n);
        let length = u8::try_from(2 + topic.len() + 64).expect("a small packet");
        packets.extend([0x30, length, 0, u8::try_from(topic.len()).expect("short")]);
        packets.extend(topic.as_bytes());
        packets.extend([b'x'; 64]);
    }
    packets.extend([0xc0, 0]);
    let began = Clock::instant();
    stream.write_all(&packets).await.expect("sent");
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).await.expect("PINGRESP");
    count as f64 / Clock::instant().duration_since(began).as_secs_f64()
}

/// Connects all users, eight at a time; how many a second.
async fn connect_all(address: SocketAddr) -> f64 {
    let began = Clock::instant();
    let mut tasks = Vec::new();
    for lane in 0..8 {
        tasks.push(tokio::spawn(async move {
            for n in (lane..USERS).step_by(8) {
                let user = format!("u{n:03}");
                let mut stream = TcpStream::connect(address).await.expect("connects");
                let mut packet = b"\x10\x20\0\x04MQTT\x04\xc2\0\0\0\x04".to_vec();
                packet.extend(user.as_bytes());
                packet.extend(b"\0\x04");
                packet.extend(user.as_bytes());
                packet.extend(b"\0\x08password");
                stream.write_all(&packet).await.expect("sent");
                let mut connack = [0; 4];
                let read = stream.read_exact(&mut connack);
                tokio::time::timeout(Duration::from_secs(60), read)
                    .await
                    .expect("in time")
                    .expect("CONNACK");
                assert_eq!(connack[3], 0, "let in");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    USERS as f64 / Clock::instant().duration_since(began).as_secs_f64()
}
