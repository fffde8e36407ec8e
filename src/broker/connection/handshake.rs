//! From accept to CONNACK.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::Admission;
use super::Arrival;
use super::Client;
use super::Connected;
use super::farewell;
use super::farewell::Claim;
use super::inlet::Inlet;
use super::outlet::Outlet;
use super::request::forget_forbidden;
use crate::access::Credentials;
use crate::access::Denied;
use crate::access::Identity;
use crate::access::Permissions;
use crate::broker::Change;
use crate::broker::ClientEvent;
use crate::broker::ConnectionFacts;
use crate::broker::Intake;
use crate::broker::IntakeClosed;
use crate::broker::Kept;
use crate::broker::Lane;
use crate::broker::Submitted;
use crate::broker::exchange::Exchange;
use crate::broker::lifecycle;
use crate::broker::packet::Kind;
use crate::broker::packet::Version;
use crate::broker::packet::Violation;
use crate::broker::packet::answer;
use crate::broker::packet::answer::Refusal;
use crate::broker::packet::answer::Terms;
use crate::broker::packet::answer::Welcome;
use crate::broker::packet::codec;
use crate::broker::packet::codec::Connect;
use crate::broker::packet::codec::ConnectRefusal;
use crate::broker::packet::frame::Header;
use crate::broker::packet::frame::parse_header;
use crate::broker::session::Contact;
use crate::broker::session::Control;
use crate::broker::session::Order;
use crate::broker::session::Session;
use crate::broker::session::StateGuard;
use crate::broker::will::Will;
use crate::journal::AckSlot;
use crate::limits::CLIENT_ID_BYTES_MAX;
use crate::limits::READ_BUFFER_MIN;
use crate::limits::SUBSCRIBER_ALIASES_MAX;
use crate::limits::SUBSCRIBER_WINDOW;
use crate::limits::TOPIC_ALIAS_MAX;
use crate::peer::Peer;
use crate::publish::Origin;
use crate::session::Change as StoredChange;
use crate::session::Facts;

/// The label of a client that may not use its identifier.
const FOREIGN_CLIENT_ID: &str = "client_id_not_authorized";

/// Why there is no connection. The label goes to the metrics.
enum Failure {
    /// Nobody to answer: closed or out of time.
    Silent(&'static str),
    Refused(Refused),
}

/// A CONNECT that is answered with a reason.
struct Refused {
    terms: Terms,
    refusal: Refusal,
    label: &'static str,
    /// The name that was proved before.
    principal: Option<Arc<str>>,
}

impl Failure {
    fn refused(terms: Terms, refusal: Refusal, label: &'static str) -> Failure {
        Failure::Refused(Refused { terms, refusal, label, principal: None })
    }
}

/// A client in its session, to be served over a connection.
struct Entered {
    client: Client,
    claim: Claim,
    state: StateGuard,
    permissions: Permissions,
    will: Option<Will>,
    lane: Box<dyn Lane>,
    /// Where the lane's commits are announced.
    slot: Arc<AckSlot>,
    /// The last one that has been asked for.
    ticket: u64,
}

impl Entered {
    /// `unread` is what the client sent behind its CONNECT, `welcome` the CONNACK, still to be written.
    fn attend(self, unread: BytesMut, welcome: BytesMut, address: SocketAddr) -> Box<Connected> {
        let Entered { client, claim, state, permissions, will, lane, slot, ticket } = self;
        tracing::debug!(client_id = %client.session.client_id, %address, "client connected");
        client.exchange.metrics.count_connection();
        let inlet = Inlet::new(lane, ticket, permissions, unread, &client);
        let outlet = Outlet::new(slot, welcome, client.aliases_max);
        Box::new(Connected { client, claim, state, will, inlet, outlet })
    }
}

/// Reads CONNECT and answers it: with a CONNACK that is still to be written, or a refusal that is.
pub(super) async fn greet<R, W>(
    exchange: &Arc<Exchange>,
    intake: &Arc<dyn Intake>,
    reader: &mut R,
    writer: &mut W,
    arrival: &Arrival,
    control: &Arc<Control>,
) -> Option<Box<Connected>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::new();
    let peer = &arrival.peer;
    let connect = tokio::select! {
        read = tokio::time::timeout_at(arrival.deadline, read_connect(exchange, reader, &mut buffer)) => {
            read.unwrap_or(Err(Failure::Silent("connect_timeout")))
        }
        () = exchange.closed() => Err(Failure::Silent("shutdown")),
    };
    let entered = match connect {
        Ok(connect) => {
            let client_id = connect.client_id.clone();
            let entered = match arrival.admission {
                Admission::OverLimit => {
                    let terms = terms(&connect);
                    Err(Failure::refused(terms, Refusal::Quota, "connections_max"))
                }
                Admission::Open => enter(exchange, intake, connect, peer, control).await,
            };
            if let Err(Failure::Refused(refused)) = &entered {
                tell_failed(exchange, intake, &client_id, peer, refused);
            }
            entered
        }
        Err(failure) => Err(failure),
    };
    let (label, answer) = match entered {
        Ok((entered, welcome)) => return Some(entered.attend(buffer, welcome, peer.address)),
        Err(Failure::Silent(label)) => (label, BytesMut::new()),
        Err(Failure::Refused(Refused { terms, refusal, label, .. })) => {
            let mut out = BytesMut::new();
            answer::write_refusal(refusal, terms, &mut out);
            (label, out)
        }
    };
    exchange.metrics.count_refused(label);
    let address = peer.address;
    tracing::debug!(%address, reason = label, "connection refused");
    if !answer.is_empty() {
        let answered = async {
            writer.write_all(&answer).await?;
            farewell::linger(reader, writer).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(farewell::GRACE, answered).await {
            tracing::debug!(%address, %error, "the refusal did not arrive");
        }
    }
    None
}

/// Says that a client with an identifier was refused.
fn tell_failed(
    exchange: &Exchange,
    intake: &Arc<dyn Intake>,
    client_id: &str,
    peer: &Peer,
    refused: &Refused,
) {
    if client_id.is_empty() {
        return;
    }
    let is_of_access = matches!(refused.refusal, Refusal::Credentials | Refusal::NotAuthorized);
    intake.tell(&|| ClientEvent {
        at: exchange.clock.now(),
        client_id: Arc::from(client_id),
        session_id: Some(Uuid::new_v4()),
        change: Change::ConnectFailed {
            principal: refused.principal.clone(),
            address: peer.address.ip(),
            reason: refused.label,
            is_unauthorized: is_of_access || refused.label == FOREIGN_CLIENT_ID,
        },
    });
}

async fn read_connect<R: AsyncRead + Unpin>(
    exchange: &Exchange,
    reader: &mut R,
    buffer: &mut BytesMut,
) -> Result<Connect, Failure> {
    let violation = |v: Violation| {
        // Before its CONNECT nobody can tell which version the peer speaks: a close says enough.
        exchange.metrics.count_violation(v.label());
        Failure::Silent(v.label())
    };
    let header = loop {
        match parse_header(buffer, exchange.config.packet_bytes_max).map_err(violation)? {
            Some(Header { kind: Kind::Connect, .. }) | None => {}
            Some(_) => return Err(violation(Violation::Protocol("CONNECT comes first"))),
        }
        match parse_header(buffer, exchange.config.packet_bytes_max).map_err(violation)? {
            Some(header) if header.frame_len() <= buffer.len() => break header,
            Some(_) | None => {}
        }
        buffer.reserve(READ_BUFFER_MIN);
        match reader.read_buf(buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(Failure::Silent("gone")),
        }
    };
    let frame: Bytes = buffer.split_to(header.frame_len()).freeze();
    codec::read_connect(header, &frame).map_err(|refusal| match refusal {
        ConnectRefusal::Level(level) => {
            let version = if level < 4 { Version::V311 } else { Version::V5 };
            Failure::refused(Terms::unbounded(version), Refusal::Version, "protocol_level")
        }
        ConnectRefusal::Violation(version, v) => {
            exchange.metrics.count_violation(v.label());
            Failure::refused(Terms::unbounded(version), Refusal::Violation(v), v.label())
        }
    })
}

/// Gets hold of the session and makes the CONNACK.
async fn enter(
    exchange: &Arc<Exchange>,
    intake: &Arc<dyn Intake>,
    mut connect: Connect,
    peer: &Peer,
    control: &Arc<Control>,
) -> Result<(Entered, BytesMut), Failure> {
    let (version, terms) = (connect.version, terms(&connect));
    let refuse = |refusal, label| Err(Failure::refused(terms, refusal, label));
    if connect.authentication {
        return refuse(Refusal::Authentication, "authentication_method");
    }
    let Some(is_assigned) = assign_id(&mut connect) else {
        return refuse(Refusal::ClientId, "client_id");
    };
    if welcome(exchange, &connect, false, is_assigned).len() > terms.packet_bytes_max {
        return refuse(Refusal::TooLarge, "packet_bytes_max");
    }
    let (identity, permissions) = login(exchange, &connect, peer, is_assigned).await?;
    let client_id: Arc<str> = Arc::from(connect.client_id.as_str());
    let origin = origin(&client_id, &identity, peer);
    let will = match connect.will.take().map(|will| Will::new(will, &origin)).transpose() {
        Ok(will) => will,
        Err(v) => return refuse(Refusal::Violation(v), v.label()),
    };
    let order = if connect.clean_start { Order::TakenOverClean } else { Order::TakenOver };
    let Ok(session) = exchange.sessions.claim(&client_id, control, order) else {
        return refuse(Refusal::Quota, "sessions_max");
    };
    exchange.count_sessions();
    let claim = Claim::new(exchange, intake, &session, control);
    let (session_expiry, _) = session_expiry(exchange, &connect);
    let entering = Entering {
        exchange,
        intake,
        connect: &connect,
        origin: &origin,
        permissions: &permissions,
        address: peer.address,
        will: will.as_ref(),
        expiry: session_expiry,
    };
    let resumed = match entering.resume(&session, control).await {
        Ok(resumed) => resumed,
        Err((refusal, label)) => return refuse(refusal, label),
    };
    let Resumed { state, session_present, session_id, lane, slot, ticket } = resumed;
    session.attach(Arc::clone(control), contact(exchange, &identity, peer, version));
    let welcome = welcome(exchange, &connect, session_present, is_assigned);
    let client = Client {
        exchange: Arc::clone(exchange),
        intake: Arc::clone(intake),
        session_id,
        facts: facts(exchange, &origin, peer.address),
        session,
        control: Arc::clone(control),
        origin,
        identity,
        version,
        terms,
        keep_alive: keep_alive(exchange, &connect),
        window: window(&connect),
        aliases_max: connect.topic_alias_max.min(SUBSCRIBER_ALIASES_MAX),
        session_expiry,
        is_ephemeral: connect.session_expiry.unwrap_or(0) == 0,
        is_assigned,
    };
    client.tell(|connection| Change::Connected { connection, session_present });
    Ok((Entered { client, claim, state, permissions, will, lane, slot, ticket }, welcome))
}

/// A client on its way into its session.
struct Entering<'a> {
    exchange: &'a Arc<Exchange>,
    intake: &'a Arc<dyn Intake>,
    connect: &'a Connect,
    origin: &'a Arc<Origin>,
    permissions: &'a Permissions,
    address: SocketAddr,
    will: Option<&'a Will>,
    expiry: Duration,
}

/// A session in a connection's hands.
struct Resumed {
    state: StateGuard,
    session_present: bool,
    session_id: Uuid,
    lane: Box<dyn Lane>,
    slot: Arc<AckSlot>,
    /// The last that the lane has been given.
    ticket: u64,
}

impl Entering<'_> {
    /// Gets hold of the session, or begins it afresh, and has that on disk if it is to survive.
    async fn resume(
        &self,
        session: &Arc<Session>,
        control: &Control,
    ) -> Result<Resumed, (Refusal, &'static str)> {
        let exchange = self.exchange;
        let mut state = hold(exchange, session, control).await?;
        let slot = Arc::default();
        let mut lane = self.intake.lane(Arc::clone(self.origin), Arc::clone(&slot));
        let was_on_disk = state.is_on_disk;
        let session_present = state.resumable && !self.connect.clean_start;
        if !session_present {
            let now = exchange.clock.now();
            lifecycle::tell_lost(self.intake, session, &state, now, "clean_start");
            exchange.clear(session, &mut state, &mut *lane).await.map_err(shutting_down)?;
        }
        let forbidden = forget_forbidden(exchange, session, &mut state, self.permissions);
        let session_id = *state.id.get_or_insert_with(Uuid::new_v4);
        state.inflight.reconnect();
        session.keep(!self.expiry.is_zero() && exchange.store.is_some());
        let has_facts = session.is_kept() || self.will.is_some() || state.is_on_disk;
        if has_facts && exchange.store.is_some() {
            state.is_on_disk = true;
            let facts = Box::new(self.facts(session, session_id));
            lane.keep(Kept::Change(StoredChange::Connected(facts)));
            for filter in forbidden {
                let session = session.key;
                lane.keep(Kept::Change(StoredChange::Unsubscribed { session, filter }));
            }
        }
        let ticket = match was_on_disk || state.is_on_disk {
            true => commit(exchange, &mut *lane, &slot).await?,
            false => 0,
        };
        Ok(Resumed { state, session_present, session_id, lane, slot, ticket })
    }

    fn facts(&self, session: &Session, session_id: Uuid) -> Facts {
        Facts {
            session: session.key,
            client_id: Arc::clone(&session.client_id),
            session_id,
            level: if self.connect.version == Version::V5 { 5 } else { 4 },
            expiry: self.expiry,
            connected_at: self.exchange.clock.now(),
            address: self.address,
            will: self.will.map(Will::to_saved),
        }
    }
}

/// Waits until what is in `lane` is on disk: the end of a session, and the one that follows. Answers the last ticket of
/// the lane.
async fn commit(
    exchange: &Exchange,
    lane: &mut dyn Lane,
    slot: &AckSlot,
) -> Result<u64, (Refusal, &'static str)> {
    const TICKET: u64 = 1;
    match lane.submit(Some(TICKET)).await {
        Ok(Submitted::Settled) => return Ok(0),
        Ok(Submitted::Pending) => {}
        Err(closed) => return Err(shutting_down(closed)),
    }
    let committed = async {
        while slot.committed() < TICKET {
            slot.changed().await;
        }
    };
    match tokio::time::timeout(exchange.config.connect_timeout, committed).await {
        Ok(()) => Ok(TICKET),
        Err(_) => Err((Refusal::Busy, "journal_stalled")),
    }
}

fn shutting_down(_: IntakeClosed) -> (Refusal, &'static str) {
    (Refusal::ShuttingDown, "shutdown")
}

/// Finds out who the client is and what it may do. As long as a client waits for CONNACK. An identifier that
/// `is_assigned` is of nobody else.
async fn login(
    exchange: &Exchange,
    connect: &Connect,
    peer: &Peer,
    is_assigned: bool,
) -> Result<(Identity, Permissions), Failure> {
    let refused = |refusal, label| Failure::refused(terms(connect), refusal, label);
    let shown = Credentials {
        client_id: &connect.client_id,
        user_name: connect.user_name.as_deref(),
        password: connect.password.as_ref().map(|password| &*password.0),
        address: peer.address.ip(),
        certificate: peer.certificate.as_deref(),
    };
    let asked = tokio::time::timeout(exchange.config.connect_timeout, exchange.access.login(shown));
    let identity = asked.await.unwrap_or(Err(Denied::Busy)).map_err(|denied| {
        let refusal = match denied {
            Denied::WrongCredentials => Refusal::Credentials,
            Denied::NoCredentials | Denied::NotAllowed => Refusal::NotAuthorized,
            Denied::TooManyFailures => Refusal::Rate,
            Denied::Busy => Refusal::Busy,
        };
        refused(refusal, denied.label())
    })?;
    let permissions = exchange.access.permissions(&identity, &connect.client_id);
    let permissions = permissions.ok_or(refused(Refusal::Credentials, "bad_credentials"))?;
    let forbidden = |refusal, label| {
        let principal = identity.user.clone();
        Failure::Refused(Refused { terms: terms(connect), refusal, label, principal })
    };
    if !is_assigned && !permissions.may_connect() {
        return Err(forbidden(Refusal::ClientId, FOREIGN_CLIENT_ID));
    }
    if let Some(will) = &connect.will
        && !permissions.may_publish(&will.topic)
    {
        return Err(forbidden(Refusal::NotAuthorized, "will_not_authorized"));
    }
    Ok((identity, permissions))
}

fn origin(client_id: &Arc<str>, identity: &Identity, peer: &Peer) -> Arc<Origin> {
    Arc::new(Origin {
        client_id: Some(Arc::clone(client_id)),
        principal: identity.user.clone(),
        source_ip: Some(peer.address.ip()),
        record: None,
    })
}

/// Gives a client without an identifier one. Answers whether it did; `None` when the identifier cannot be.
fn assign_id(connect: &mut Connect) -> Option<bool> {
    let is_assigned = connect.client_id.is_empty();
    if is_assigned {
        if connect.version == Version::V311 && !connect.clean_start {
            return None;
        }
        connect.client_id = format!("auto-{}", Uuid::new_v4().simple());
    }
    (connect.client_id.len() <= CLIENT_ID_BYTES_MAX).then_some(is_assigned)
}

fn contact(exchange: &Exchange, identity: &Identity, peer: &Peer, version: Version) -> Contact {
    Contact {
        address: peer.address,
        transport: peer.transport,
        certificate: peer.certificate.clone(),
        principal: identity.user.clone(),
        login: identity.method,
        version,
        since: exchange.clock.now(),
    }
}

fn facts(exchange: &Exchange, origin: &Origin, address: SocketAddr) -> Arc<ConnectionFacts> {
    Arc::new(ConnectionFacts {
        principal: origin.principal.clone(),
        address: address.ip(),
        version_number: exchange.next_version_number(),
    })
}

/// Waits for the last connection to let go of the session, as long as a client waits for CONNACK.
async fn hold(
    exchange: &Exchange,
    session: &Session,
    control: &Control,
) -> Result<StateGuard, (Refusal, &'static str)> {
    // A shutdown gives its order to every claimed session after it begins: this one's claim came
    // either before, and gets the order, or after, and sees it here.
    if exchange.is_closing() {
        return Err((Refusal::ShuttingDown, "shutdown"));
    }
    let state = tokio::time::timeout(exchange.config.connect_timeout, session.state());
    let mut state = std::pin::pin!(state);
    loop {
        tokio::select! {
            state = state.as_mut() => return state.map_err(|_| (Refusal::Busy, "session_busy")),
            () = control.notify.notified() => {}
        }
        // Woken without an order, it is to look at its permissions, which are new.
        if control.order().is_some() {
            return Err((Refusal::Busy, "taken_over"));
        }
    }
}

/// One and a half times the keep-alive in force (MQTT 5, section 3.1.2.10).
fn keep_alive(exchange: &Exchange, connect: &Connect) -> Option<Duration> {
    let seconds = server_keep_alive(exchange, connect).unwrap_or(connect.keep_alive);
    let limit = Duration::from_millis(u64::from(seconds) * 1500);
    (!limit.is_zero()).then_some(limit)
}

/// The keep-alive that the server sets in place of the client's (MQTT 5, section 3.2.2.3.14). A 3.1.1
/// client cannot be told of one, so its own stays.
fn server_keep_alive(exchange: &Exchange, connect: &Connect) -> Option<u16> {
    let max = u16::try_from(exchange.config.keep_alive_max.as_millis().div_ceil(1000))
        .unwrap_or(u16::MAX);
    let is_longer = max > 0 && (connect.keep_alive == 0 || connect.keep_alive > max);
    (connect.version == Version::V5 && is_longer).then_some(max)
}

fn window(connect: &Connect) -> usize {
    connect.receive_maximum.map_or(SUBSCRIBER_WINDOW, |max| usize::from(max).min(SUBSCRIBER_WINDOW))
}

fn terms(connect: &Connect) -> Terms {
    let unbounded = Terms::unbounded(connect.version);
    let asked = connect.packet_bytes_max.and_then(|max| usize::try_from(max).ok());
    Terms {
        packet_bytes_max: asked.unwrap_or(usize::MAX).min(unbounded.packet_bytes_max),
        problem_information: connect.problem_information,
        ..unbounded
    }
}

/// How long the session outlives the connection, and what to tell the client when that is not what
/// it asked for (MQTT 5, section 3.2.2.3.2).
fn session_expiry(exchange: &Exchange, connect: &Connect) -> (Duration, Option<u32>) {
    let max = exchange.config.session_expiry_max;
    match connect.version {
        Version::V311 if connect.clean_start => (Duration::ZERO, None),
        Version::V311 => (max, None),
        Version::V5 => {
            let asked = Duration::from_secs(u64::from(connect.session_expiry.unwrap_or(0)));
            let told = (asked > max).then(|| u32::try_from(max.as_secs()).unwrap_or(u32::MAX));
            (asked.min(max), told)
        }
    }
}

fn welcome(
    exchange: &Exchange,
    connect: &Connect,
    session_present: bool,
    is_assigned: bool,
) -> BytesMut {
    let config = &exchange.config;
    let welcome = Welcome {
        session_present,
        receive_maximum: config.receive_maximum,
        packet_bytes_max: u32::try_from(config.packet_bytes_max).unwrap_or(u32::MAX),
        topic_alias_max: TOPIC_ALIAS_MAX,
        assigned_client_id: is_assigned.then_some(connect.client_id.as_str()),
        session_expiry: session_expiry(exchange, connect).1,
        keep_alive: server_keep_alive(exchange, connect),
    };
    let mut out = BytesMut::new();
    answer::write_welcome(&welcome, connect.version, &mut out);
    out
}
