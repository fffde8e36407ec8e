//! What cannot be brought about from outside: panics between a session's queue and its client, as no message is
//! known to cause, and a store of retained messages that is full of bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Admission;
use super::Arrival;
use super::run;
use crate::broker::Intake;
use crate::broker::NoRules;
use crate::broker::exchange::Exchange;
use crate::broker::exchange::Guard;
use crate::broker::message::Delivery;
use crate::broker::message::Message;
use crate::broker::message::samples;
use crate::broker::outbox::Content;
use crate::broker::retained::Retained;
use crate::broker::session::Offered;
use crate::broker::session::Session;
use crate::clock::Clock;
use crate::config::MqttConfig;
use crate::peer::Peer;
use crate::peer::Transport;
use crate::publish::QoS;
use crate::session::Body;
use crate::session::Parcel;
use crate::session::Terms;

/// A broker without doors.
struct Bare {
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    listener: TcpListener,
}

impl Bare {
    async fn start() -> Bare {
        Bare::with_retained(usize::MAX).await
    }

    /// With so many bytes for retained messages.
    async fn with_retained(bytes_max: usize) -> Bare {
        let clock = Clock::start();
        let mut exchange = Exchange::new(&MqttConfig::default(), clock, Guard::open(clock), None);
        exchange.retained = Retained::new(9, bytes_max);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Bare { exchange: Arc::new(exchange), intake: Arc::new(NoRules), listener }
    }

    /// A client whose session lasts a minute; `is_present`: it has one already.
    async fn client(&self, is_present: bool) -> TcpStream {
        let address = self.listener.local_addr().expect("an address");
        let mut client = TcpStream::connect(address).await.expect("accepted");
        let (socket, address) = self.listener.accept().await.expect("a client");
        let deadline = Instant::from_std(Clock::instant() + self.exchange.config.connect_timeout);
        let peer = Peer::anonymous(address, Arc::from("mqtt"), Transport::Tcp);
        let arrival = Arrival { peer, admission: Admission::Open, deadline };
        let (exchange, intake) = (Arc::clone(&self.exchange), Arc::clone(&self.intake));
        tokio::spawn(run(exchange, intake, socket, arrival, Arc::default()));
        let connect = b"\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0\x3c\0\x01c";
        client.write_all(connect).await.expect("sent");
        let mut head = [0; 2];
        within(client.read_exact(&mut head)).await.expect("CONNACK");
        let mut rest = vec![0; usize::from(head[1])];
        within(client.read_exact(&mut rest)).await.expect("CONNACK");
        assert_eq!((head[0], rest[0], rest[1]), (0x20, u8::from(is_present), 0));
        client
    }

    fn session(&self) -> Arc<Session> {
        self.exchange.sessions.all().pop().expect("the client's")
    }

    fn offer(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let session = self.session();
        let mut woken = None;
        for delivery in deliveries {
            let offered = session.offer(delivery, &mut Content::default(), &self.exchange.ledger);
            let Offered::Queued(connection, _) = offered else { panic!("{offered:?}") };
            self.exchange.metrics.queued.inc();
            woken = woken.or(connection);
        }
        woken.expect("it has emptied its queue before").notify.notify_one();
    }
}

fn delivery(text: &'static [u8]) -> Delivery {
    let mut publish = samples::publish("t", QoS::AtLeastOnce);
    publish.payload = text.into();
    publish.received_at = Clock::start().now();
    Delivery { message: Message::new(&publish), ..samples::delivery(QoS::AtLeastOnce) }
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time")
}

async fn expect(client: &mut TcpStream, packet: &[u8]) {
    let mut read = vec![0; packet.len()];
    within(client.read_exact(&mut read)).await.expect("a packet");
    assert_eq!(read, packet);
}

fn publish(dup: bool, id: u16, text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(6 + text.len()).expect("a short one");
    let mut packet = vec![0x32 | (u8::from(dup) << 3), length, 0, 1, b't'];
    packet.extend(id.to_be_bytes());
    packet.push(0);
    packet.extend(text);
    packet
}

#[tokio::test]
async fn a_message_whose_encoding_panics_is_lost_alone() {
    let bare = Bare::start().await;
    let mut client = bare.client(false).await;
    // No client can have such an identifier.
    let bad = Delivery { subscription_ids: Some(Arc::from([u32::MAX])), ..delivery(b"bad") };
    bare.offer([delivery(b"one"), bad, delivery(b"two")]);
    expect(&mut client, &publish(false, 1, b"one")).await;
    expect(&mut client, &publish(false, 2, b"two")).await;
    client.write_all(&[0xc0, 0]).await.expect("sent");
    expect(&mut client, &[0xd0, 0]).await;
    assert_eq!(bare.exchange.metrics.all_dropped(), 1);
    assert_eq!(bare.exchange.metrics.queued.get(), 0);
}

#[tokio::test]
async fn a_panic_over_one_message_leaves_those_behind_it_in_the_queue() {
    let bare = Bare::start().await;
    let mut client = bare.client(false).await;
    let session = bare.session();
    let numbered = |number, text| {
        let delivery = delivery(text);
        let terms =
            Terms { qos: QoS::AtLeastOnce, retain: false, subscription_ids: None, share: None };
        let body = Body::new(delivery.message.publish.clone());
        let parcel = Parcel::new(Arc::clone(&session) as _, session.key, number, 1, terms, body);
        Delivery { parcel: Some(parcel), ..delivery }
    };
    // Numbers of a session grow; that of the second has been.
    bare.offer([numbered(5, b"one"), numbered(3, b"bad"), numbered(7, b"two")]);
    let mut rest = Vec::new();
    within(client.read_to_end(&mut rest)).await.expect("an end");
    assert_eq!(rest, b"", "what was being made of them is not sent");
    assert_eq!(bare.exchange.metrics.queued.get(), 1);

    let mut client = bare.client(true).await;
    expect(&mut client, &publish(true, 16_384 + 1 + 5, b"one")).await;
    expect(&mut client, &publish(false, 16_384 + 1 + 7, b"two")).await;
    assert_eq!(bare.exchange.metrics.queued.get(), 0);
}

#[tokio::test]
async fn a_retained_message_without_room_ends_the_one_it_would_replace() {
    let bare = Bare::with_retained(200).await;
    let mut client = bare.client(false).await;
    let retained = |text: &[u8]| {
        let mut packet = publish(false, 9, text);
        packet[0] |= 1;
        packet
    };
    let other = |text: &[u8]| {
        let mut packet = retained(text);
        packet[4] = b'u';
        packet
    };
    for packet in [retained(b"small"), retained(&[b'x'; 110]), other(&[b'x'; 110])] {
        client.write_all(&packet).await.expect("sent");
        expect(&mut client, &[0x40, 2, 0, 9]).await;
    }
    assert_eq!(bare.exchange.retained.len(), 0, "none is better than an old one");
    assert_eq!(bare.exchange.metrics.all_dropped(), 2);
    assert_eq!(bare.exchange.metrics.retained.get(), 0);
    client.write_all(&retained(b"small again")).await.expect("sent");
    expect(&mut client, &[0x40, 2, 0, 9]).await;
    client.write_all(&[0x82, 7, 0, 1, 0, 0, 1, b't', 0]).await.expect("sent");
    expect(&mut client, &[0x90, 4, 0, 1, 0, 0]).await;
    let kept = [&[0x31, 15, 0, 1, b't', 0][..], b"small again"].concat();
    expect(&mut client, &kept).await;
}
