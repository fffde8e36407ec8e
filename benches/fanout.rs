//! Fan-out: ours against rumqttd's router, for the decision in `src/broker`.
//!
//! `cargo bench --bench fanout` publishes messages of 145 bytes from one publisher to 1 and to 100
//! QoS 0 subscribers and prints, of the median of three runs,
//! - ours, queued: until every message is in every subscriber's queue;
//! - ours, delivered: until the subscribers have read them all from their TCP sockets;
//! - rumqttd, delivered: until the subscribers, in-process links, have taken them all. The publisher
//!   hands over 16 packets a wake-up, the best case that was found.
//!
//! Two shared cores under other load, median of three, deliveries a second:
//!
//! | subscribers | ours, queued | ours, delivered | rumqttd, delivered |
//! |-------------|--------------|-----------------|--------------------|
//! | 1           | 4.05 M       | 4.05 M          | 0.61 M             |
//! | 100         | 7.93 M       | 6.62 M          | 6.81 M             |
//!
//! Ours goes through the kernel's sockets and rumqttd's does not.
//!
//! `-- --serve ADDRESS` serves MQTT instead, with an intake that settles every batch at once, to be
//! loaded from outside. It shows what the protocol edge alone can do.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttd::Notification;
use rumqttd::Router;
use rumqttd::RouterConfig;
use rumqttd::local::LinkBuilder;
use rumqttd::local::LinkRx;
use rumqttd::protocol::Packet;
use tidegate::broker::Broker;
use tidegate::broker::Guard;
use tidegate::broker::NoRules;
use tidegate::broker::Remains;
use tidegate::clock::Clock;
use tidegate::config::MqttConfig;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tidegate::publish::QoS;
use tidegate::topic::TopicName;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// As in the gateway's own binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOPIC: &str = "sensors/d0007/telemetry";
const PAYLOAD: [u8; 145] = [b'x'; 145];
/// Deliveries of one run, whatever the number of subscribers.
const DELIVERIES: usize = 1_000_000;
const RUNS: usize = 3;

fn guard() -> Guard {
    Guard::open(Clock::start())
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, address, ..] = arguments.as_slice()
        && flag == "--serve"
    {
        runtime.block_on(serve(address.parse().expect("an address")));
        return;
    }
    println!("subscribers  what                   messages/s  deliveries/s");
    for subscribers in [1, 100] {
        let count = DELIVERIES / subscribers;
        let mut queued = Vec::new();
        let mut delivered = Vec::new();
        let mut routed = Vec::new();
        for _ in 0..RUNS {
            let (queue, deliver) = runtime.block_on(ours(subscribers, count));
            queued.push(queue);
            delivered.push(deliver);
            routed.push(runtime.block_on(rumqttd(subscribers, count)));
        }
        for (what, mut times) in [
            ("ours, queued", queued),
            ("ours, delivered", delivered),
            ("rumqttd, delivered", routed),
        ] {
            times.sort_unstable();
            let seconds = times[RUNS / 2].as_secs_f64();
            let rate = |n: usize| n as f64 / seconds;
            println!(
                "{subscribers:>11}  {what:<20} {:>12.0} {:>13.0}",
                rate(count),
                rate(count * subscribers)
            );
        }
    }
}

async fn serve(listen: SocketAddr) {
    let config = MqttConfig { listen, ..MqttConfig::default() };
    let broker =
        Broker::bind(&config, Clock::start(), guard(), Remains::default()).await.expect("listens");
    println!("ready: mqtt={}", broker.local_addr());
    let patience = async { tokio::time::sleep(Duration::from_secs(1)).await };
    broker.run(Arc::new(NoRules), patience).await;
}

/// Time until queued, and until delivered.
async fn ours(subscribers: usize, count: usize) -> (Duration, Duration) {
    let config = MqttConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        // Nothing may be dropped: the run counts every message.
        session_queue_max: usize::MAX,
        session_queue_bytes_max: usize::MAX,
        ..MqttConfig::default()
    };
    let clock = Clock::start();
    let broker = Broker::bind(&config, clock, guard(), Remains::default()).await.expect("listens");
    let (address, handle) = (broker.local_addr(), broker.handle());
    let run = tokio::spawn(broker.run(Arc::new(NoRules), std::future::ready(())));
    let mut readers = Vec::new();
    for n in 0..subscribers {
        let stream = subscribe(address, n).await;
        // Fixed header of 3 bytes, topic with its length, payload.
        readers.push(tokio::spawn(drain(stream, count * (3 + 2 + TOPIC.len() + PAYLOAD.len()))));
    }
    let publish = Publish {
        topic: TopicName::parse(TOPIC).expect("a topic"),
        payload: Bytes::from_static(&PAYLOAD),
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: clock.now(),
        origin: Origin::internal(),
        properties: None,
        hops: 0,
    };
    let publisher = handle.clone();
    let began = Clock::instant();
    let queued = tokio::task::spawn_blocking(move || {
        for _ in 0..count {
            publisher.publish(&publish);
        }
        Clock::instant().duration_since(began)
    });
    let queued = queued.await.expect("no panic");
    for reader in readers {
        reader.await.expect("no panic");
    }
    let delivered = Clock::instant().duration_since(began);
    handle.shutdown();
    run.await.expect("no panic");
    (queued, delivered)
}

async fn subscribe(address: SocketAddr, n: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let id = format!("{n:04}");
    stream.write_all(b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04").await.expect("sent");
    stream.write_all(id.as_bytes()).await.expect("sent");
    stream.write_all(b"\x82\x0e\0\x01\0\x09sensors/#\0").await.expect("sent");
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await.expect("CONNACK and SUBACK");
    stream
}

async fn drain(mut stream: TcpStream, bytes: usize) {
    let mut buffer = vec![0; 64 * 1024];
    let mut got = 0;
    while got < bytes {
        got += stream.read(&mut buffer).await.expect("read");
    }
}

async fn rumqttd(subscribers: usize, count: usize) -> Duration {
    let config = RouterConfig {
        max_connections: subscribers + 1,
        max_outgoing_packet_count: 200,
        max_segment_size: 64 * 1024 * 1024,
        max_segment_count: 16,
        ..RouterConfig::default()
    };
    let router = Router::new(0, config).spawn();
    let mut readers = Vec::new();
    for n in 0..subscribers {
        let name = format!("sub-{n}");
        let (mut tx, rx, _) = LinkBuilder::new(&name, router.clone()).build().expect("a link");
        tx.subscribe("sensors/#").expect("subscribed");
        readers.push(tokio::spawn(take(rx, count)));
    }
    let (mut tx, _rx, _) = LinkBuilder::new("publisher", router).build().expect("a link");
    let began = Clock::instant();
    let publisher = tokio::task::spawn_blocking(move || {
        let packet = || {
            let topic = Bytes::from_static(TOPIC.as_bytes());
            let payload = Bytes::copy_from_slice(&PAYLOAD);
            let publish = rumqttd::protocol::Publish::new(topic, payload, false);
            Packet::Publish(publish, None)
        };
        let mut left = count;
        while left > 0 {
            let batch = left.min(16);
            tx.buffer().extend((1..batch).map(|_| packet()));
            futures_util::FutureExt::now_or_never(tx.send(packet()))
                .expect("it never waits")
                .expect("sent");
            left -= batch;
        }
        tx
    });
    for reader in readers {
        reader.await.expect("no panic");
    }
    let took = Clock::instant().duration_since(began);
    drop(publisher.await.expect("no panic"));
    took
}

async fn take(mut rx: LinkRx, count: usize) {
    let mut got = 0;
    while got < count {
        match rx.next().await.expect("the router lives") {
            Some(Notification::Forward(_)) => got += 1,
            Some(Notification::Unschedule) => rx.wake().await.expect("the router lives"),
            _ => {}
        }
    }
}
