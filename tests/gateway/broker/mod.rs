//! The broker over real sockets, with an intake that tests hold in their hands.

mod acknowledge;
mod clients;
mod gather;
mod panic;
mod refuse;
mod session;
mod subscribe;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate::broker::Broker;
use tidegate::broker::BrokerHandle;
use tidegate::broker::ClientEvent;
use tidegate::broker::Guard;
use tidegate::broker::Intake;
use tidegate::broker::IntakeClosed;
use tidegate::broker::Lane;
use tidegate::broker::Remains;
use tidegate::broker::Submitted;
use tidegate::broker::UnknownRule;
use tidegate::clock::Clock;
use tidegate::config::MqttConfig;
use tidegate::journal::AckSlot;
use tidegate::publish::Origin;
use tidegate::publish::Publish;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::live::PATIENCE;

/// Settles every batch, but for those with a topic that starts with `hold/`: they wait for
/// [`Desk::commit`]. A topic that starts with `panic/` makes the connection's task panic.
struct Desk {
    taken: watch::Sender<Vec<Publish>>,
    held: Mutex<Vec<(Arc<AckSlot>, u64)>>,
    /// A submission takes a permit for good.
    room: Semaphore,
    /// The next lane of a client called `stumbles` is not made, but panics.
    stumbles: AtomicBool,
}

struct DeskLane {
    desk: Arc<Desk>,
    slot: Arc<AckSlot>,
    holds: bool,
}

/// The desk as its broker sees it.
struct FrontDesk(Arc<Desk>);

impl Intake for FrontDesk {
    fn lane(&self, origin: Arc<Origin>, slot: Arc<AckSlot>) -> Box<dyn Lane> {
        if origin.client_id.as_deref() == Some("stumbles") {
            assert!(!self.0.stumbles.swap(false, Ordering::SeqCst), "a planted panic");
        }
        Box::new(DeskLane { desk: Arc::clone(&self.0), slot, holds: false })
    }

    fn tell(&self, _: &dyn Fn() -> ClientEvent) {}
}

impl Lane for DeskLane {
    fn take(&mut self, publish: Publish) -> Result<(), UnknownRule> {
        assert!(!publish.topic.as_str().starts_with("panic/"), "a planted panic");
        self.holds |= publish.topic.as_str().starts_with("hold/");
        self.desk.taken.send_modify(|taken| taken.push(publish));
        Ok(())
    }

    fn submit(
        &mut self,
        ticket: Option<u64>,
    ) -> Pin<Box<dyn Future<Output = Result<Submitted, IntakeClosed>> + Send + '_>> {
        Box::pin(async move {
            self.desk.room.acquire().await.map_err(|_| IntakeClosed)?.forget();
            if !std::mem::take(&mut self.holds) {
                return Ok(Submitted::Settled);
            }
            if let Some(ticket) = ticket {
                lock(&self.desk.held).push((Arc::clone(&self.slot), ticket));
            }
            Ok(Submitted::Pending)
        })
    }
}

impl Desk {
    /// Commits everything submitted so far.
    fn commit(&self) {
        for (slot, ticket) in lock(&self.held).drain(..) {
            slot.advance(ticket);
        }
    }

    /// Commits what is submitted next, if nothing waits yet.
    async fn commit_next(&self) {
        let submitted = async {
            while lock(&self.held).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, submitted).await.expect("a submission in time");
        self.commit();
    }

    /// Waits until `n` publishes were taken.
    async fn taken(&self, n: usize) -> Vec<Publish> {
        let mut taken = self.taken.subscribe();
        let wait = taken.wait_for(|taken| taken.len() >= n);
        let all = tokio::time::timeout(PATIENCE, wait).await.expect("publishes in time");
        all.expect("the desk outlives the wait").clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with the lock")
}

/// A running broker.
struct Gateway {
    address: SocketAddr,
    handle: BrokerHandle,
    desk: Arc<Desk>,
    run: JoinHandle<()>,
}

impl Gateway {
    /// A rule's message, as the journal's stage sends it around its commit.
    fn republish(&self, topic: &str, payload: &[u8]) {
        let message = republished(topic, payload);
        assert!(self.handle.reserve_retained(&message), "there is room");
        let staged = self.handle.stage(&message, &mut Vec::new());
        self.handle.settle_retained(&message);
        self.handle.publish_staged(&message, &staged);
    }

    async fn start() -> Gateway {
        Gateway::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut MqttConfig)) -> Gateway {
        let mut config =
            MqttConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..MqttConfig::default() };
        change(&mut config);
        let (clock, guard) = (Clock::start(), Guard::open(Clock::start()));
        let broker = Broker::bind(&config, clock, guard, Remains::default()).await.expect("bind");
        let desk = Arc::new(Desk {
            taken: watch::Sender::new(Vec::new()),
            held: Mutex::default(),
            room: Semaphore::new(1_000_000),
            stumbles: AtomicBool::new(true),
        });
        let (address, handle) = (broker.local_addr(), broker.handle());
        let run = tokio::spawn(broker.run(Arc::new(FrontDesk(Arc::clone(&desk))), async {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }));
        Gateway { address, handle, desk, run }
    }

    /// A raw client, past CONNACK.
    async fn client(&self, connect: Connect<'_>) -> Raw {
        let mut raw = self.socket().await;
        raw.send(&connect.encode()).await;
        let connack = raw.recv().await;
        assert_eq!((connack[0], connack[3]), (0x20, 0), "connected: {connack:?}");
        raw.session_present = connack[2] == 1;
        raw
    }

    async fn socket(&self) -> Raw {
        let stream = TcpStream::connect(self.address).await.expect("connect");
        Raw { stream, buffer: Vec::new(), session_present: false }
    }

    fn metric(&self, line: &str) -> u64 {
        let mut registry = prometheus_client::registry::Registry::default();
        self.handle.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        let found = text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or("0");
        found.trim().parse().expect("a number")
    }
}

/// A CONNECT to be made.
#[derive(Clone, Copy)]
pub(crate) struct Connect<'a> {
    pub(crate) level: u8,
    pub(crate) id: &'a str,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: &'a [u8],
    /// Properties, topic, payload.
    pub(crate) will: Option<(&'a [u8], &'a str, &'a [u8])>,
}

pub(crate) fn v4(id: &str) -> Connect<'_> {
    Connect { level: 4, id, clean: true, keep_alive: 0, properties: &[], will: None }
}

pub(crate) fn v5(id: &str) -> Connect<'_> {
    Connect { level: 5, ..v4(id) }
}

impl Connect<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = b"\0\x04MQTT".to_vec();
        let will = if self.will.is_some() { 0x04 } else { 0 };
        body.extend([self.level, will | if self.clean { 2 } else { 0 }]);
        body.extend(self.keep_alive.to_be_bytes());
        let section = |body: &mut Vec<u8>, properties: &[u8]| {
            if self.level == 5 {
                body.push(u8::try_from(properties.len()).expect("short properties"));
                body.extend(properties);
            }
        };
        section(&mut body, self.properties);
        field(&mut body, self.id.as_bytes());
        if let Some((properties, topic, payload)) = self.will {
            section(&mut body, properties);
            field(&mut body, topic.as_bytes());
            field(&mut body, payload);
        }
        frame(0x10, &body)
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).expect("a short field").to_be_bytes());
    out.extend(bytes);
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest % 128).expect("seven bits");
        rest /= 128;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// PUBLISH; `properties` is `None` for 3.1.1. Flags as in the fixed header.
pub(crate) fn publish(
    flags: u8,
    topic: &str,
    id: u16,
    properties: Option<&[u8]>,
    payload: &[u8],
) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, topic.as_bytes());
    if flags & 0b110 != 0 {
        body.extend(id.to_be_bytes());
    }
    if let Some(properties) = properties {
        body.push(u8::try_from(properties.len()).expect("short properties"));
        body.extend(properties);
    }
    body.extend(payload);
    frame(0x30 | flags, &body)
}

/// SUBSCRIBE with packet identifier 1.
pub(crate) fn subscribe(properties: Option<&[u8]>, filter: &str, options: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    if let Some(properties) = properties {
        body.push(u8::try_from(properties.len()).expect("short properties"));
        body.extend(properties);
    }
    field(&mut body, filter.as_bytes());
    body.push(options);
    frame(0x82, &body)
}

/// A message as a rule's action makes it: QoS 1, retained.
fn republished(topic: &str, payload: &[u8]) -> Publish {
    Publish {
        topic: tidegate::topic::TopicName::parse(topic).expect("a topic"),
        payload: bytes::Bytes::copy_from_slice(payload),
        qos: tidegate::publish::QoS::AtLeastOnce,
        retain: true,
        received_at: Clock::start().now(),
        origin: Origin::internal(),
        properties: None,
        hops: 1,
    }
}

pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];

/// A client that speaks bytes.
struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    session_present: bool,
}

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next packet; empty when the connection is closed.
    async fn recv(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = frame_len(&self.buffer)
                && self.buffer.len() >= len
            {
                let rest = self.buffer.split_off(len);
                return std::mem::replace(&mut self.buffer, rest);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout(PATIENCE, read).await.expect("a packet in time") {
                Ok(0) | Err(_) => return Vec::new(),
                Ok(_) => {}
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, bytes: &[u8]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            assert_eq!(self.recv().await, bytes, "expected at {caller}");
        }
    }

    /// Subscribes and sees it granted.
    async fn subscribe(&mut self, properties: Option<&[u8]>, filter: &str, options: u8) {
        self.send(&subscribe(properties, filter, options)).await;
        let suback = self.recv().await;
        assert_eq!((suback[0], suback.last()), (0x90, Some(&(options & 3))), "{suback:?}");
    }

    /// Shows that nothing but PINGRESP comes: whatever the gateway had to say before it, it has not.
    async fn expect_silence(&mut self) {
        self.send(&PINGREQ).await;
        let next = self.recv().await;
        assert_eq!(next, PINGRESP, "nothing else is due");
    }

    /// DISCONNECT of MQTT 5 with a reason code, and whatever words.
    #[track_caller]
    fn expect_disconnect(&mut self, reason: u8) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let packet = self.recv().await;
            assert_eq!((packet[0], packet[2]), (0xe0, reason), "{packet:?}, expected at {caller}");
        }
    }

    /// CONNACK of MQTT 5 with a reason code, and whatever words.
    async fn expect_refusal(&mut self, reason: u8) {
        let packet = self.recv().await;
        assert_eq!((packet[0], packet[2], packet[3]), (0x20, 0, reason), "{packet:?}");
    }

    async fn expect_close(&mut self) {
        assert_eq!(self.recv().await, Vec::<u8>::new(), "closed");
    }
}

pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(len + i + 2);
        }
    }
    None
}
