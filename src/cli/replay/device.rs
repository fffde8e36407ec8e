//! The devices of a replay: one MQTT connection each, up to a bound, and what went wrong with one.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::fast::RandomState;
use md5::Digest;
use md5::Md5;
use rumqttc::AsyncClient;
use rumqttc::ConnectionError;
use rumqttc::Error as MqttError;
use rumqttc::Event;
use rumqttc::EventLoop;
use rumqttc::MqttOptions;
use rumqttc::Outgoing;
use rumqttc::Packet;
use rumqttc::StateError;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::address::BrokerAddress;
use super::tally::Tally;
use crate::limits::REPLAY_CONNECTIONS_MAX;
use crate::limits::REPLAY_INFLIGHT_MAX;
use crate::publish::QoS;
use crate::recording::RecordedPublish;

/// Messages queued for a device besides those in flight.
const DEVICE_QUEUE_MAX: usize = 16;
/// A client identifier made from a topic is cut to a digest beyond this many bytes.
const CLIENT_ID_BYTES_MAX: usize = 128;
/// How long the broker may leave a socket unread, or a CONNECT unanswered. A gateway under load
/// stops reading on purpose, so this is generous.
const NETWORK_TIMEOUT_SECONDS: u64 = 60;
/// MQTT's largest packet, bytes (MQTT 5, section 2.1.4).
const PACKET_BYTES_MAX: usize = 268_435_455;

/// A device's connection ended before its messages were acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("client {client_id:?} at {to}: {reason}")]
pub(in crate::cli) struct DeviceFailed {
    client_id: String,
    to: BrokerAddress,
    reason: String,
}

/// All devices met so far.
pub(in crate::cli) struct Fleet {
    to: BrokerAddress,
    qos: QoS,
    tally: Arc<Tally>,
    connections_max: usize,
    /// Client identifier → index into `queues`; stops growing at `connections_max`.
    devices: HashMap<String, usize, RandomState>,
    queues: Vec<mpsc::Sender<RecordedPublish>>,
    connections: JoinSet<Result<(), DeviceFailed>>,
}

impl Fleet {
    /// No device yet; connections are opened when a device's first message is due.
    pub(in crate::cli) fn new(to: BrokerAddress, qos: QoS, tally: Arc<Tally>) -> Self {
        Fleet {
            to,
            qos,
            tally,
            connections_max: REPLAY_CONNECTIONS_MAX,
            devices: HashMap::default(),
            queues: Vec::new(),
            connections: JoinSet::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_connections_max(self, connections_max: usize) -> Self {
        Fleet { connections_max, ..self }
    }

    /// Hands `publish` to its device's connection; waits while its queue is full.
    pub(in crate::cli) async fn publish(
        &mut self,
        publish: RecordedPublish,
    ) -> Result<(), DeviceFailed> {
        let index = self.index_of(&publish);
        let queue = self.queues.get(index).expect("index_of answers an index into the queues");
        if queue.send(publish).await.is_ok() {
            return Ok(());
        }
        Err(self.failure().await)
    }

    /// Waits until a connection fails; for ever when none does.
    pub(super) async fn failure(&mut self) -> DeviceFailed {
        while let Some(ended) = self.connections.join_next().await {
            if let Err(failed) = joined(ended) {
                return failed;
            }
        }
        std::future::pending().await
    }

    /// Waits until every message is acknowledged and every connection closed in order.
    pub(in crate::cli) async fn land(mut self) -> Result<(), DeviceFailed> {
        self.queues.clear();
        while let Some(ended) = self.connections.join_next().await {
            joined(ended)?;
        }
        Ok(())
    }

    fn index_of(&mut self, publish: &RecordedPublish) -> usize {
        let client_id = client_id_of(publish);
        if let Some(index) = self.devices.get(&client_id) {
            return *index;
        }
        if self.queues.len() >= self.connections_max {
            // Always the same connection for one device, so that its order is kept.
            self.tally.shared.fetch_add(1, Ordering::Relaxed);
            let hash = self.devices.hasher().hash_one(&client_id);
            let connections = self.queues.len() as u64;
            return usize::try_from(hash % connections).expect("less than the number of queues");
        }
        let (queue, lines) = mpsc::channel(DEVICE_QUEUE_MAX);
        let device = Device {
            client_id: client_id.clone(),
            to: self.to.clone(),
            qos: self.qos,
            tally: self.tally.clone(),
        };
        self.connections.spawn(device.run(lines));
        self.tally.devices.fetch_add(1, Ordering::Relaxed);
        self.queues.push(queue);
        let index = self.queues.len() - 1;
        self.devices.insert(client_id, index);
        index
    }
}

fn joined(
    ended: Result<Result<(), DeviceFailed>, tokio::task::JoinError>,
) -> Result<(), DeviceFailed> {
    match ended {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The recorded client identifier, or one made from the topic: then each topic is a device.
fn client_id_of(publish: &RecordedPublish) -> String {
    if let Some(client_id) = &publish.client_id {
        return client_id.to_string();
    }
    let topic = publish.topic.as_str();
    if topic.len() <= CLIENT_ID_BYTES_MAX {
        format!("replay:{topic}")
    } else {
        format!("replay:{:x}", Md5::digest(topic.as_bytes()))
    }
}

/// One connection.
struct Device {
    client_id: String,
    to: BrokerAddress,
    qos: QoS,
    tally: Arc<Tally>,
}

impl Device {
    /// Publishes what comes out of `lines`, in order; ends when the last is acknowledged.
    async fn run(self, lines: mpsc::Receiver<RecordedPublish>) -> Result<(), DeviceFailed> {
        let mut options = MqttOptions::new(&self.client_id, &self.to.host, self.to.port);
        options
            .set_keep_alive(Duration::from_secs(60))
            .set_inflight(REPLAY_INFLIGHT_MAX)
            .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        let (client, mut events) = AsyncClient::new(options, 1);
        let mut network = events.network_options();
        network.set_connection_timeout(NETWORK_TIMEOUT_SECONDS);
        network.set_tcp_nodelay(true);
        events.set_network_options(network);

        let window = Window::new();
        // Two halves that run side by side: polling must go on while publishing waits for room,
        // and it must not be cancelled in the middle of a packet.
        tokio::try_join!(self.feed(lines, &client, &window), self.poll(&mut events, &window))?;
        Ok(())
    }

    async fn feed(
        &self,
        mut lines: mpsc::Receiver<RecordedPublish>,
        client: &AsyncClient,
        window: &Window,
    ) -> Result<(), DeviceFailed> {
        let qos = match self.qos {
            QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
            QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
            QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
        };
        while let Some(line) = lines.recv().await {
            window.enter().await;
            let topic = line.topic.as_str();
            if let Err(error) = client.publish_bytes(topic, qos, false, line.payload).await {
                return Err(self.failed(format!("line {} is not published: {error}", line.line)));
            }
            self.tally.sent.fetch_add(1, Ordering::Relaxed);
        }
        window.empty().await;
        client.disconnect().await.map_err(|error| self.failed(error.to_string()))
    }

    async fn poll(&self, events: &mut EventLoop, window: &Window) -> Result<(), DeviceFailed> {
        loop {
            let is_done = match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => self.qos == QoS::AtLeastOnce,
                Ok(Event::Incoming(Packet::PubComp(_))) => self.qos == QoS::ExactlyOnce,
                Ok(Event::Outgoing(Outgoing::Publish(_))) => self.qos == QoS::AtMostOnce,
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
                Ok(_) => false,
                Err(error) => {
                    let waiting = match window.inside.load(Ordering::Relaxed) {
                        0 => String::new(),
                        count => format!("; {count} of its messages may be unacknowledged"),
                    };
                    return Err(self.failed(format!("{}{waiting}", reason_of(&error))));
                }
            };
            if is_done {
                self.tally.acknowledged.fetch_add(1, Ordering::Relaxed);
                window.leave();
            }
        }
    }

    fn failed(&self, reason: String) -> DeviceFailed {
        DeviceFailed { client_id: self.client_id.clone(), to: self.to.clone(), reason }
    }
}

/// The messages of a device that are on their way: at most [`REPLAY_INFLIGHT_MAX`].
struct Window {
    room: Semaphore,
    inside: AtomicU64,
}

impl Window {
    fn new() -> Self {
        let room = Semaphore::new(usize::from(REPLAY_INFLIGHT_MAX));
        Window { room, inside: AtomicU64::new(0) }
    }

    async fn enter(&self) {
        self.room.acquire().await.expect("nobody closes the window").forget();
        self.inside.fetch_add(1, Ordering::Relaxed);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.room.add_permits(1);
    }

    /// Waits until all have left.
    async fn empty(&self) {
        let all = u32::from(REPLAY_INFLIGHT_MAX);
        drop(self.room.acquire_many(all).await.expect("nobody closes the window"));
    }
}

/// The cause in words: rumqttc's own texts name its layers first.
fn reason_of(error: &ConnectionError) -> String {
    match error {
        ConnectionError::NetworkTimeout => {
            format!("no answer to CONNECT in {NETWORK_TIMEOUT_SECONDS} s")
        }
        ConnectionError::FlushTimeout => {
            format!("the broker has not read for {NETWORK_TIMEOUT_SECONDS} s")
        }
        ConnectionError::ConnectionRefused(code) => format!("CONNECT is refused: {code:?}"),
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::MqttState(StateError::Deserialization(MqttError::Io(error))) => {
            error.to_string()
        }
        ConnectionError::MqttState(error) => error.to_string(),
        other => other.to_string(),
    }
}
