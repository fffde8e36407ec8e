//! Reading less often from a client that floods the gateway with QoS 0.
//!
//! A read that brings one message costs several times what the message does: a wake-up, a system
//! call, an acknowledgement of TCP, a task's turn. A QoS 0 publisher waits for no answer, so while it
//! sends fast the kernel is asked to call the socket readable only when about [`GATHER_TIME`] worth
//! of messages are there (`SO_RCVLOWAT`, socket(7)). [`GATHER_MAX`] after the last read the connection
//! is read whatever there is. Whatever wants an answer (QoS 1 and 2, a ping, a subscription) ends it,
//! so nobody who waits waits longer; and a client that sends now and then is always read at once.
//!
//! [`Gathering`] decides; [`LowWater`] is the socket.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::sockopt::SetUsize;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use crate::broker::transport::Half;
use crate::clock::Timestamp;
use crate::limits::GATHER_BYTES_MAX;
use crate::limits::GATHER_BYTES_MIN;
use crate::limits::GATHER_MAX;
use crate::limits::GATHER_TIME;

/// Bytes that make an ungathered socket readable.
const ANY: usize = 1;

/// `SO_RCVLOWAT`: nix has no name for it.
#[derive(Clone, Copy, Debug)]
struct ReceiveLowWater;

nix::setsockopt_impl!(ReceiveLowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, usize, SetUsize);

/// A socket that can be told when to call itself readable.
pub(super) trait LowWater {
    /// Not before `bytes` are there, or the peer has ended the connection.
    fn set_low_water(&self, bytes: usize) -> io::Result<()>;
}

impl LowWater for ReadHalf<'_> {
    fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        let stream: &TcpStream = self.as_ref();
        Ok(nix::sys::socket::setsockopt(stream, ReceiveLowWater, &bytes)?)
    }
}

/// What is layered over TCP holds back nothing that it has read, so its socket's mark does the same.
impl LowWater for Half {
    fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        let set = |stream: &_| nix::sys::socket::setsockopt(stream, ReceiveLowWater, &bytes);
        Ok(self.with_socket(set)?)
    }
}

/// What a client has sent lately, and what follows for its socket.
#[derive(Debug)]
pub(super) struct Gathering {
    /// Begin of the period that is being measured.
    since: Timestamp,
    /// Bytes of QoS 0 publishes in it.
    bytes: usize,
    /// Something in it wants an answer.
    has_awaited: bool,
    /// The socket's low-water mark.
    mark: usize,
}

impl Gathering {
    pub(super) fn new() -> Self {
        Gathering { since: Timestamp::EPOCH, bytes: 0, has_awaited: false, mark: ANY }
    }

    /// A QoS 0 publish of so many bytes came.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Something came that wants an answer.
    pub(super) fn note_awaited(&mut self) {
        self.has_awaited = true;
    }

    /// When the socket is to be read although its mark is not reached; `None` while it has none.
    pub(super) fn due(&self, last_read: Timestamp) -> Option<Timestamp> {
        (self.mark > ANY).then(|| last_read + GATHER_MAX)
    }

    /// After a read: sets the socket's mark to what the client sends.
    pub(super) fn adapt(&mut self, socket: &impl LowWater, now: Timestamp) {
        let mark = self.next_mark(now);
        self.set(socket, mark);
    }

    /// Lets the socket be readable with whatever is there.
    pub(super) fn release(&mut self, socket: &impl LowWater) {
        self.set(socket, ANY);
    }

    fn set(&mut self, socket: &impl LowWater, mark: usize) {
        if mark == self.mark {
            return;
        }
        match socket.set_low_water(mark) {
            Ok(()) => self.mark = mark,
            // Then it goes on as it was; the next period tries again.
            Err(error) => tracing::debug!(%error, mark, "SO_RCVLOWAT was not set"),
        }
    }

    fn next_mark(&mut self, now: Timestamp) -> usize {
        let period = now.since(self.since);
        if !self.has_awaited && period < GATHER_TIME {
            return self.mark;
        }
        let mark = if self.has_awaited { ANY } else { mark(self.bytes, period) };
        *self = Gathering { since: now, bytes: 0, has_awaited: false, mark: self.mark };
        mark
    }
}

/// The mark for a client that sent `bytes` in `period`: a power of two, so that small changes of its
/// rate change nothing.
fn mark(bytes: usize, period: Duration) -> usize {
    let millis = usize::try_from(period.as_millis()).unwrap_or(usize::MAX).max(1);
    let gather_millis = usize::try_from(GATHER_TIME.as_millis()).unwrap_or(usize::MAX);
    let expected = bytes.saturating_mul(gather_millis) / millis;
    if expected < GATHER_BYTES_MIN {
        return ANY;
    }
    let rounded = 1 << expected.ilog2();
    rounded.min(GATHER_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Remembers its mark.
    #[derive(Default)]
    struct Socket(Cell<usize>);

    impl LowWater for Socket {
        fn set_low_water(&self, bytes: usize) -> io::Result<()> {
            self.0.set(bytes);
            Ok(())
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    /// A client that sends `bytes` each millisecond until `end`.
    fn flood(gathering: &mut Gathering, socket: &Socket, bytes: usize, end: i64) {
        for millis in 0..=end {
            gathering.count(bytes);
            gathering.adapt(socket, at(millis));
        }
    }

    #[test]
    fn a_flood_is_gathered_and_rare_messages_are_not() {
        let (mut gathering, socket) = (Gathering::new(), Socket::default());
        flood(&mut gathering, &socket, 1000, 20);
        assert_eq!(socket.0.get(), 1024, "of 2,000 bytes in 2 ms");
        assert_eq!(gathering.due(at(20)), Some(at(20) + GATHER_MAX));

        gathering.count(1000);
        gathering.adapt(&socket, at(500));
        assert_eq!(socket.0.get(), ANY);
        assert_eq!(gathering.due(at(500)), None);
    }

    #[test]
    fn the_mark_stays_far_below_a_receive_buffer() {
        let (mut gathering, socket) = (Gathering::new(), Socket::default());
        flood(&mut gathering, &socket, 10_000_000, 20);
        assert_eq!(socket.0.get(), GATHER_BYTES_MAX);
    }

    #[test]
    fn whoever_waits_for_an_answer_is_read_at_once() {
        let (mut gathering, socket) = (Gathering::new(), Socket::default());
        flood(&mut gathering, &socket, 1000, 20);
        gathering.note_awaited();
        gathering.adapt(&socket, at(21));
        assert_eq!(socket.0.get(), ANY);
        // A QoS 1 publish among many of QoS 0, again and again.
        for millis in 22..60 {
            gathering.count(1000);
            gathering.note_awaited();
            gathering.adapt(&socket, at(millis));
            assert_eq!(socket.0.get(), ANY);
        }
    }

    #[test]
    fn the_deadline_lets_the_rest_through() {
        let (mut gathering, socket) = (Gathering::new(), Socket::default());
        flood(&mut gathering, &socket, 1000, 20);
        gathering.release(&socket);
        assert_eq!(socket.0.get(), ANY);
        assert_eq!(gathering.due(at(20)), None);
    }
}
