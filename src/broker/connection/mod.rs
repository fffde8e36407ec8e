//! One client's connection: a task from accept to close.
//!
//! [`handshake`] reads CONNECT and gets hold of the session. Then one loop: the [`inlet`] reads what
//! the socket has, hands every PUBLISH to the lane and to the subscribers, and ends the batch; the
//! [`outlet`] releases acknowledgements when the journal has committed, takes what is queued for the
//! client and writes it all with one call. [`farewell`] decides over will and session.
//!
//! Nothing is acknowledged before its ticket is committed. While a batch waits for room in the
//! journal, or the client has too much unacknowledged, the socket is not read, and keep-alive does
//! not run.
//!
//! A panic costs its connection and nothing else: it is caught where the loop is called, what was taken
//! before it is handed over, and will and session are settled as at any other end. A session that was
//! claimed and not settled is looked after by [`Claim`]'s end.

mod aliases;
mod farewell;
mod gathering;
mod handshake;
mod inlet;
mod outlet;
mod request;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::Sleep;
use uuid::Uuid;

use farewell::Claim;
pub(crate) use farewell::look_after;
use gathering::LowWater;
use inlet::Inlet;
use outlet::Outlet;

use super::BY_CLIENT;
use super::Change;
use super::ClientEvent;
use super::ConnectionFacts;
use super::Intake;
use super::exchange::Exchange;
use super::packet::Version;
use super::packet::Violation;
use super::packet::answer::DoesNotFit;
use super::packet::answer::Terms;
use super::session::Control;
use super::session::Order;
use super::session::Session;
use super::session::SessionState;
use super::session::StateGuard;
use super::transport::Half;
use super::transport::Layered;
use super::will::Will;
use crate::access::Identity;
use crate::clock::Timestamp;
use crate::limits::READ_BUFFER_REST;
use crate::limits::WRITE_STALL_MAX;
use crate::peer::Peer;
use crate::publish::Origin;

/// Whether a new connection is within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    /// Its CONNECT is answered with the reason, and no more.
    OverLimit,
}

/// A connection that has come, before its first packet.
pub(crate) struct Arrival {
    pub(crate) peer: Peer,
    pub(crate) admission: Admission,
    /// By when its CONNECT is to be there.
    pub(crate) deadline: Instant,
}

/// What does not change while a connection lives.
struct Client {
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    session_id: Uuid,
    facts: Arc<ConnectionFacts>,
    session: Arc<Session>,
    control: Arc<Control>,
    origin: Arc<Origin>,
    identity: Identity,
    version: Version,
    /// What it takes of the server.
    terms: Terms,
    /// One and a half times the keep-alive in force; `None` when there is none.
    keep_alive: Option<Duration>,
    /// QoS 1 and 2 messages that the client takes at once.
    window: usize,
    /// Topic aliases that the client takes, and we give.
    aliases_max: u16,
    session_expiry: Duration,
    /// It asked for a session that ends with the connection, so DISCONNECT may not prolong it.
    is_ephemeral: bool,
    /// Its identifier is one that the gateway has given it.
    is_assigned: bool,
}

impl Client {
    /// Says what happens to this client, if anybody listens.
    fn tell(&self, change: impl Fn(Arc<ConnectionFacts>) -> Change) {
        self.intake.tell(&|| ClientEvent {
            at: self.exchange.clock.now(),
            client_id: Arc::clone(&self.session.client_id),
            session_id: Some(self.session_id),
            change: change(Arc::clone(&self.facts)),
        });
    }
}

/// A connection that got past CONNECT.
struct Connected {
    client: Client,
    claim: Claim,
    state: StateGuard,
    will: Option<Will>,
    inlet: Inlet,
    outlet: Outlet,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Close {
    #[error("the client disconnected")]
    Client { with_will: bool, session_expiry: Option<u32> },
    #[error("the client is gone")]
    Gone,
    #[error("nothing came within one and a half times the keep-alive")]
    KeepAlive,
    #[error("the client does not take what is sent")]
    Stalled,
    #[error("what is queued for the client cannot be read from disk")]
    Unreadable,
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("{0}")]
    Ordered(Order),
    #[error("not authorized any more")]
    NotAuthorized,
    #[error("an administrator ended the connection")]
    Kicked,
    #[error("what the client came in with has expired")]
    Expired,
    #[error("the client publishes too fast")]
    TooFast,
    #[error("the gateway takes no more messages")]
    IntakeClosed,
    #[error("an answer exceeds the client's maximum packet size")]
    AnswerTooLarge,
    /// Our bug. What was being written may be half a packet, so there are no last words.
    #[error("the connection's task panicked")]
    Panicked,
}

impl From<io::Error> for Close {
    /// A broken socket is a client that went without a word; which way it broke helps nobody.
    fn from(_: io::Error) -> Self {
        Close::Gone
    }
}

impl From<DoesNotFit> for Close {
    fn from(_: DoesNotFit) -> Self {
        Close::AnswerTooLarge
    }
}

impl Close {
    /// The reason code of the DISCONNECT that an MQTT 5 client is sent; `None` when it is gone.
    fn reason_code(self) -> Option<u8> {
        match self {
            Close::Client { .. } | Close::Gone | Close::Panicked => None,
            Close::KeepAlive => Some(0x8d),
            Close::Stalled => Some(0x97),
            Close::NotAuthorized => Some(0x87),
            Close::Unreadable => Some(0x80),
            Close::TooFast => Some(0x96),
            Close::Kicked => Some(0x98),
            // Maximum connect time: exactly that (MQTT 5, section 3.14.2.1).
            Close::Expired => Some(0xa0),
            Close::Ordered(Order::Kicked) => Some(0x98),
            Close::Violation(violation) => Some(violation.reason_code()),
            Close::AnswerTooLarge => Some(0x95),
            Close::Ordered(Order::TakenOver | Order::TakenOverClean) => Some(0x8e),
            Close::Ordered(Order::ShutDown) | Close::IntakeClosed => Some(0x8b),
        }
    }

    /// AWS IoT's word for it (developer guide, "Lifecycle events").
    fn disconnect_reason(self) -> &'static str {
        match self {
            Close::Client { .. } => BY_CLIENT,
            Close::Gone => "CONNECTION_LOST",
            Close::KeepAlive => "MQTT_KEEP_ALIVE_TIMEOUT",
            Close::Stalled | Close::Violation(_) | Close::AnswerTooLarge => "CLIENT_ERROR",
            Close::NotAuthorized => "AUTH_ERROR",
            Close::TooFast => "THROTTLED",
            Close::Kicked | Close::Ordered(Order::Kicked) => "API_INITIATED_DISCONNECT",
            Close::Expired => "CUSTOMAUTH_TTL_EXPIRATION",
            Close::Panicked => "SERVER_ERROR",
            Close::Ordered(Order::TakenOver | Order::TakenOverClean) => "DUPLICATE_CLIENTID",
            Close::Ordered(Order::ShutDown) | Close::IntakeClosed | Close::Unreadable => {
                "SERVER_INITIATED_DISCONNECT"
            }
        }
    }

    fn label(self) -> &'static str {
        match self {
            Close::Client { .. } => "client",
            Close::Gone => "gone",
            Close::KeepAlive => "keep_alive",
            Close::Stalled => "stalled",
            Close::Unreadable => "unreadable",
            Close::Violation(_) => "violation",
            Close::NotAuthorized => "not_authorized",
            Close::AnswerTooLarge => "answer_too_large",
            Close::TooFast => "too_fast",
            Close::Kicked | Close::Ordered(Order::Kicked) => "kicked",
            Close::Expired => "expired",
            Close::Panicked => "panicked",
            Close::Ordered(Order::TakenOver | Order::TakenOverClean) => "taken_over",
            Close::Ordered(Order::ShutDown) | Close::IntakeClosed => "shutdown",
        }
    }
}

/// Serves one connection over TCP from its first packet to its close.
pub(crate) async fn run(
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    mut socket: TcpStream,
    arrival: Arrival,
    control: Arc<Control>,
) {
    let (reader, writer) = socket.split();
    run_over(exchange, intake, reader, writer, arrival, control).await;
}

/// The same over what is layered over TCP.
pub(crate) async fn run_layered(
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    layered: Layered,
    arrival: Arrival,
    control: Arc<Control>,
) {
    let (reader, mut writer) = Half::both(layered);
    run_over(exchange, intake, reader, writer.by_ref(), arrival, control).await;
    writer.part().await;
}

async fn run_over<R, W>(
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    mut reader: R,
    mut writer: W,
    arrival: Arrival,
    control: Arc<Control>,
) where
    R: AsyncRead + LowWater + Unpin,
    W: AsyncWrite + Unpin,
{
    let (reader, writer) = (&mut reader, &mut writer);
    // What comes before the loop and behind it is boxed: a client that waits all day keeps the room of neither.
    let greeting = handshake::greet(&exchange, &intake, reader, writer, &arrival, &control);
    let Some(mut connected) = Box::pin(greeting).await else { return };
    let Connected { client, state, inlet, outlet, .. } = &mut *connected;
    let serving = serve(client, state, inlet, outlet, reader, writer);
    let close = AssertUnwindSafe(serving).catch_unwind().await;
    Box::pin(end(connected, reader, writer, close.ok())).await;
}

/// What follows the loop. `close` is why it ended; `None`: it panicked.
async fn end<R, W>(connected: Box<Connected>, reader: &mut R, writer: &mut W, close: Option<Close>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Connected { client, claim, mut state, will, mut inlet, mut outlet } = *connected;
    if close.is_none() {
        tracing::error!(client_id = %client.session.client_id, "a connection's task panicked");
        outlet.rescue(&client);
        inlet.rescue(&client, &mut state, &mut outlet).await;
    }
    let close = close.unwrap_or(Close::Panicked);
    client.exchange.metrics.connections.dec();
    let sent_until = farewell::detach(&client, &state, &mut outlet, close).await;
    // What it was allowed at CONNECT may have been taken away since.
    let will = will.filter(|will| inlet.may_publish(will.topic()));
    let mut lane = inlet.into_lane();
    farewell::settle(&client, state, &mut *lane, will, sent_until, close).await;
    claim.release();
    farewell::last_words(&client, &mut outlet, reader, writer, close).await;
}

/// The loop between CONNECT and close. Answers why it ended.
async fn serve<R, W>(
    client: &Client,
    state: &mut SessionState,
    inlet: &mut Inlet,
    outlet: &mut Outlet,
    reader: &mut R,
    writer: &mut W,
) -> Close
where
    R: AsyncRead + LowWater + Unpin,
    W: AsyncWrite + Unpin,
{
    let clock = client.exchange.clock;
    let mut watch = Watch::new(clock.steady());
    let mut timer =
        std::pin::pin!(tokio::time::sleep_until(clock.instant_at_steady(watch.armed).into()));
    loop {
        let turned = async {
            inlet.recheck(client, state)?;
            outlet.pump(client, state, writer)?;
            inlet.turn(client, state, outlet, writer).await?;
            outlet.pump(client, state, writer)
        };
        if let Err(close) = turned.await {
            return close;
        }
        if inlet.can_go_on(client, outlet) {
            continue;
        }
        inlet.adapt(reader);
        let reads = inlet.wants_to_read(outlet);
        watch.observe(client, inlet, outlet, reads);
        watch.arm(client, timer.as_mut());
        let done = tokio::select! {
            done = outlet.step(client, state, writer) => done,
            done = inlet.read(reader), if reads => done,
            () = timer.as_mut() => Ok(()),
        };
        let done = done.and_then(|()| match timer.is_elapsed() {
            true => watch.check(client, inlet, outlet, reader),
            false => Ok(()),
        });
        if let Err(close) = done {
            return close;
        }
    }
}

/// The deadlines of a connection, behind one timer that is only ever moved to an earlier time: under
/// load it costs a few comparisons a batch. All in [`Clock::steady`](crate::clock::Clock::steady): setting the wall clock cuts
/// nobody off.
struct Watch {
    /// When the timer goes off.
    armed: Timestamp,
    /// Since when the socket is being read; `None` while it is not.
    reading_since: Option<Timestamp>,
    /// Since when bytes wait for the client.
    waiting_since: Option<Timestamp>,
    written: u64,
    due: Due,
}

/// The next deadline of each kind.
#[derive(Clone, Copy, Default)]
struct Due {
    keep_alive: Option<Timestamp>,
    stall: Option<Timestamp>,
    rest: Option<Timestamp>,
    gathered: Option<Timestamp>,
    /// A client that was too fast is read again.
    paced: Option<Timestamp>,
    /// What it came in with expires.
    expired: Option<Timestamp>,
}

impl Due {
    fn next(self) -> Option<Timestamp> {
        let Due { keep_alive, stall, rest, gathered, paced, expired } = self;
        [keep_alive, stall, rest, gathered, paced, expired].into_iter().flatten().min()
    }
}

/// A timer that nothing is due for.
const FAR: Duration = Duration::from_secs(24 * 3600);

impl Watch {
    fn new(now: Timestamp) -> Self {
        Watch {
            armed: now + FAR,
            reading_since: None,
            waiting_since: None,
            written: 0,
            due: Due::default(),
        }
    }

    /// Works out what is due when, before the loop waits.
    fn observe(&mut self, client: &Client, inlet: &Inlet, outlet: &Outlet, reads: bool) {
        let clock = client.exchange.clock;
        if !reads {
            self.reading_since = None;
        } else if self.reading_since.is_none() {
            self.reading_since = Some(clock.steady());
        }
        if !outlet.is_waiting() {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() || self.written != outlet.written() {
            self.waiting_since = Some(clock.steady());
        }
        self.written = outlet.written();
        let heard = self.reading_since.map(|since| since.max(inlet.last_read()));
        self.due = Due {
            keep_alive: heard.zip(client.keep_alive).map(|(at, limit)| at + limit),
            stall: self.waiting_since.map(|at| at + WRITE_STALL_MAX),
            rest: inlet.is_grown().then(|| inlet.last_read() + READ_BUFFER_REST),
            gathered: inlet.gathered_by(),
            paced: inlet.paced_until(),
            expired: client.identity.expires_at,
        };
    }

    fn arm(&mut self, client: &Client, timer: Pin<&mut Sleep>) {
        let clock = client.exchange.clock;
        let next = self.due.next();
        if timer.is_elapsed() {
            self.armed = next.unwrap_or_else(|| clock.steady() + FAR);
        } else {
            match next {
                Some(next) if next < self.armed => self.armed = next,
                _ => return,
            }
        }
        timer.reset(clock.instant_at_steady(self.armed).into());
    }

    /// The timer went off: what is really due?
    fn check(
        &mut self,
        client: &Client,
        inlet: &mut Inlet,
        outlet: &mut Outlet,
        socket: &impl LowWater,
    ) -> Result<(), Close> {
        let now = client.exchange.clock.steady();
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if is_due(self.due.keep_alive) {
            return Err(Close::KeepAlive);
        }
        if is_due(self.due.stall) {
            return Err(Close::Stalled);
        }
        if is_due(self.due.expired) {
            return Err(Close::Expired);
        }
        if is_due(self.due.paced) {
            inlet.go_on(now);
        }
        if is_due(self.due.rest) {
            inlet.rest();
            outlet.rest();
        }
        if is_due(self.due.gathered) {
            inlet.stop_gathering(socket);
        }
        Ok(())
    }
}
