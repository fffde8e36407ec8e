//! Failing machines and hostile clients against the running binary: what was acknowledged stays, and
//! everybody else is served.

mod burst;
mod clients;
mod clock;
mod destinations;
mod disk;
mod restart;
mod scale;
mod web;

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::broker::Connect;
use crate::broker::PINGREQ;
use crate::broker::frame_len;
use crate::broker::publish;
use crate::broker::subscribe;
use crate::live::Gateway;
use crate::live::PATIENCE;

/// A client that speaks bytes and blocks.
pub(crate) struct Device {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Device {
    /// A socket to the gateway on which nothing was said yet.
    pub(crate) fn open(gateway: &Gateway) -> Device {
        let socket = TcpStream::connect(gateway.mqtt).expect("the listener accepts");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Device { socket, unread: Vec::new() }
    }

    /// A client past CONNACK.
    pub(crate) fn connect(gateway: &Gateway, connect: Connect<'_>) -> Device {
        let mut device = Device::open(gateway);
        device.send(&connect.encode());
        let connack = device.recv();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "connected: {connack:?}");
        device
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the gateway reads");
    }

    /// The next packet; empty when the gateway has closed the connection.
    pub(crate) fn recv(&mut self) -> Vec<u8> {
        self.recv_within(PATIENCE).expect("a packet in time")
    }

    /// The next packet, empty for the end of the connection; `None` when neither comes in `limit`.
    fn recv_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(limit)).expect("a timeout");
        loop {
            if let Some(len) = frame_len(&self.unread).filter(|len| self.unread.len() >= *len) {
                let rest = self.unread.split_off(len);
                return Some(std::mem::replace(&mut self.unread, rest));
            }
            let mut bytes = [0; 16 * 1024];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Some(Vec::new()),
                Ok(n) => self.unread.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Vec::new()),
            }
        }
    }

    /// Subscribes with QoS 0 and answers what comes next: a message, or the PINGRESP that says that
    /// there is none.
    pub(crate) fn subscribed_hears(&mut self, filter: &str) -> Vec<u8> {
        self.send(&subscribe(None, filter, 0));
        assert_eq!(self.recv(), [0x90, 3, 0, 1, 0], "{filter} is granted");
        self.send(&PINGREQ);
        self.recv()
    }

    /// Sends a QoS 1 publish of MQTT 3.1.1 and does not wait.
    fn publish(&mut self, topic: &str, id: u16, payload: &str) {
        self.send(&publish(0b0010, topic, id, None, payload.as_bytes()));
    }

    /// Sends a QoS 1 publish of MQTT 3.1.1 and waits for its PUBACK, which must be the next packet.
    pub(crate) fn publish_acked(&mut self, topic: &str, id: u16, payload: &str) {
        self.publish(topic, id, payload);
        assert_eq!(self.recv(), puback(id), "the acknowledgement of {topic}");
    }
}

/// PUBACK of MQTT 3.1.1.
pub(crate) fn puback(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x40, 2, high, low]
}

/// Memory that the gateway has resident, bytes.
pub(crate) fn resident_bytes(gateway: &Gateway) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib * 1024
}

/// The value of a metric's line, without its name and labels; 0 while it has no line.
pub(crate) fn metric(gateway: &Gateway, series: &str) -> f64 {
    let (_, text) = gateway.get("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}
