//! What a connection reads and writes: TCP as it is, or something over it.
//!
//! TCP takes the short way: its halves are the socket's own, and nothing stands between them and the
//! connection's loop. What is layered over TCP ([`Layered`]) needs both directions at once (TLS answers
//! while it reads), so its [`Half`]s share it behind a lock. Both are polled by the connection's one
//! task, so nobody ever waits for it.
//!
//! A read gathers: it goes on until the socket has no more or the buffer is full, although TLS and
//! WebSocket hand over a record or a message at a time. So a batch is what the client has sent, over
//! each transport.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::upgrade::upgrade;
use super::websocket::WebSocket;
use crate::accept::Door;
use crate::accept::Wire;
use crate::peer::Peer;
use crate::peer::Transport;
use crate::tls;
use crate::tls::Gate;

/// How long a peer has to take the transport's last bytes.
const PARTING_MAX: Duration = Duration::from_secs(1);

/// A transport over TCP: its bytes both ways.
pub(super) enum Layered {
    Tls(Wire),
    WebSocket(Box<WebSocket<Wire>>),
}

/// Does what a door's protocol wants before the first packet. `None`: it came to nothing, which is
/// counted. The caller bounds the time and counts that: [`Stage`] says how far it came.
pub(super) async fn arrive(
    door: &Door,
    socket: TcpStream,
    peer: &mut Peer,
    gate: &Gate,
    message_bytes_max: usize,
    stage: &Mutex<Stage>,
) -> Option<Layered> {
    let wire = match &door.tls {
        None => Wire::Tcp(socket),
        Some(keeper) => {
            *stage.lock() = Stage::Tls;
            match tls::handshake(socket, keeper, gate).await {
                Ok((stream, certificate)) => {
                    door.count_handshake();
                    peer.transport = Transport::Tls;
                    peer.certificate = certificate;
                    Wire::Tls(Box::new(stream))
                }
                Err(failed) => {
                    door.count_failed(failed.reason);
                    let listener = &*door.name;
                    tracing::debug!(address = %peer.address, listener, %failed, "no TLS");
                    return None;
                }
            }
        }
    };
    if !door.config.protocol.is_websocket() {
        return Some(Layered::Tls(wire));
    }
    *stage.lock() = Stage::Upgrade;
    peer.transport = match wire {
        Wire::Tcp(_) => Transport::WebSocket,
        Wire::Tls(_) => Transport::SecureWebSocket,
    };
    match upgrade(wire, &door.config, message_bytes_max).await {
        Ok(messages) => Some(Layered::WebSocket(Box::new(messages))),
        Err(reason) => {
            door.count_refused(reason);
            let listener = &*door.name;
            tracing::debug!(address = %peer.address, listener, reason, "no WebSocket");
            None
        }
    }
}

/// How far a connection has come before its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Tls,
    Upgrade,
}

impl Stage {
    /// Counts a connection that has come no further in its time.
    pub(super) fn count_timeout(self, door: &Door) {
        match self {
            Stage::Tls => door.count_failed("timeout"),
            Stage::Upgrade => door.count_refused("timeout"),
        }
    }
}

impl Layered {
    /// The socket under it.
    fn socket(&self) -> &TcpStream {
        match self {
            Layered::Tls(wire) => wire.socket(),
            Layered::WebSocket(messages) => messages.get_ref().socket(),
        }
    }

    fn poll_once(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Layered::Tls(wire) => Pin::new(wire).poll_read(context, buffer),
            Layered::WebSocket(messages) => Pin::new(messages).poll_read(context, buffer),
        }
    }

    /// Reads all that there is, as far as the buffer has room.
    fn poll_gather(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let begin = buffer.filled().len();
        while buffer.remaining() > 0 {
            let before = buffer.filled().len();
            match self.poll_once(context, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() > before => {}
                // What has been read is handed over first; end and error come again at the next call.
                _ if before > begin => break,
                ended => return ended,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// One direction of a [`Layered`] transport.
pub(super) struct Half(Arc<Mutex<Layered>>);

impl Half {
    /// Both directions: the one that reads, the one that writes.
    pub(super) fn both(layered: Layered) -> (Half, Half) {
        let shared = Arc::new(Mutex::new(layered));
        (Half(Arc::clone(&shared)), Half(shared))
    }

    /// The same, to be given away for a while.
    pub(super) fn by_ref(&mut self) -> &mut Half {
        self
    }

    /// Takes leave in the transport's own way, if there is still somebody to take leave of. A WebSocket
    /// ends with an answer to its close frame.
    pub(super) async fn part(&mut self) {
        let awaits_answer = matches!(*self.0.lock(), Layered::WebSocket(_));
        let parting = async {
            self.shutdown().await?;
            let mut scratch = [0; 512];
            while awaits_answer && self.read(&mut scratch).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        match tokio::time::timeout(PARTING_MAX, parting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the peer was gone before"),
            Err(_) => tracing::debug!("the peer did not take what was left"),
        }
    }

    /// Does something with the socket under it.
    pub(super) fn with_socket<T>(&self, ask: impl FnOnce(&TcpStream) -> T) -> T {
        ask(self.0.lock().socket())
    }
}

impl AsyncRead for Half {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.lock().poll_gather(context, buffer)
    }
}

impl AsyncWrite for Half {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self.0.lock() {
            Layered::Tls(wire) => Pin::new(wire).poll_write(context, bytes),
            Layered::WebSocket(messages) => Pin::new(messages).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.lock() {
            Layered::Tls(wire) => Pin::new(wire).poll_flush(context),
            Layered::WebSocket(messages) => Pin::new(messages).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.lock() {
            Layered::Tls(wire) => Pin::new(wire).poll_shutdown(context),
            Layered::WebSocket(messages) => Pin::new(messages).poll_shutdown(context),
        }
    }
}
