//! A listening socket that is never given up.
//!
//! [`Acceptor::accept`] answers connections and nothing else. A peer that left before it was accepted
//! is passed over. A shortage of file descriptors is waited out, because a loop that asks again at
//! once would only burn the processor; it is said once until a connection is accepted again, however
//! long it lasts.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::limits::TCP_KEEPALIVE;

/// How often a shortage is looked at again.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    address: SocketAddr,
    /// `MQTT` or `HTTP`, for the log.
    protocol: &'static str,
    /// Since the last connection the system has refused one.
    is_short: bool,
    /// When the system is asked again; a cancelled wait goes on in the next call.
    pause_until: Option<Instant>,
}

impl Acceptor {
    /// Listens on `address`; port 0 picks one. Clients wait in the system's backlog until
    /// [`Acceptor::accept`] is called.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub(crate) async fn bind(address: SocketAddr, protocol: &'static str) -> io::Result<Acceptor> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Acceptor { listener, address, protocol, is_short: false, pause_until: None })
    }

    /// The address in use.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, with keep-alive and without delay. May be cancelled at any time.
    pub(crate) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Some(until) = self.pause_until {
                tokio::time::sleep_until(until).await;
                self.pause_until = None;
            }
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    self.is_short = false;
                    match prepare(&stream) {
                        Ok(()) => return (stream, address),
                        Err(error) => {
                            tracing::debug!(%address, %error, "the client is gone already");
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                    tracing::debug!(%error, "a client left before it was accepted");
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_short, true) {
                        tracing::warn!(
                            %error,
                            protocol = self.protocol,
                            "cannot accept connections; they wait until it is possible"
                        );
                    }
                    self.pause_until = Some(Instant::from_std(Clock::instant() + SHORTAGE_PAUSE));
                }
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE / 10);
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
