//! Any bytes from a client, before and behind its CONNECT: a broker on the loopback interface reads,
//! answers and closes, and goes on for the next.
//!
//! The first byte says who speaks: 4 and 5 are clients of 3.1.1 and 5 past their CONNECT, any other
//! is nobody yet. The packets themselves are read by code that nothing outside the broker calls; a
//! socket is the way in that clients have, and takes the connection's own state along.

#![no_main]

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegate::broker::Broker;
use tidegate::broker::Guard;
use tidegate::broker::NoRules;
use tidegate::broker::Remains;
use tidegate::clock::Clock;
use tidegate::config::MqttConfig;
use tokio::runtime::Runtime;

/// An answer that takes longer is a connection that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The runtime lives as long as its broker.
static BROKER: LazyLock<(Runtime, SocketAddr)> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = MqttConfig { listen, packet_bytes_max: 4096, ..MqttConfig::default() };
    let guard = Guard::open(Clock::start());
    let bound = Broker::bind(&config, Clock::start(), guard, Remains::default());
    let broker = runtime.block_on(bound).expect("a free port");
    let address = broker.local_addr();
    runtime.spawn(broker.run(Arc::new(NoRules), std::future::ready(())));
    (runtime, address)
});

fuzz_target!(|bytes: &[u8]| {
    let Some((speaker, packets)) = bytes.split_first() else { return };
    let connect: &[u8] = match speaker {
        4 => b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04fuzz",
        5 => b"\x10\x11\0\x04MQTT\x05\x02\0\0\0\0\x04fuzz",
        _ => b"",
    };
    let mut stream = TcpStream::connect(BROKER.1).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout over zero");
    // The broker may have heard enough, and closed, before everything is said.
    let said = stream.write_all(&[connect, packets].concat());
    if said.and_then(|()| stream.shutdown(Shutdown::Write)).is_err() {
        return;
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let hangs =
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!hangs, "the connection hangs after {answer:?}");
    }
});
