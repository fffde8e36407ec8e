//! The end of a connection: what becomes of will and session, then last words.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::Client;
use super::Close;
use super::outlet::Outlet;
use crate::broker::Change;
use crate::broker::Intake;
use crate::broker::Kept;
use crate::broker::Lane;
use crate::broker::exchange::Exchange;
use crate::broker::lifecycle;
use crate::broker::metrics::Dropped;
use crate::broker::packet::Kind;
use crate::broker::packet::Version;
use crate::broker::packet::answer;
use crate::broker::restore::Restored;
use crate::broker::session::Control;
use crate::broker::session::Order;
use crate::broker::session::Session;
use crate::broker::session::SessionState;
use crate::broker::session::StateGuard;
use crate::broker::will::Will;
use crate::publish::Origin;
use crate::session::Change as StoredChange;

/// How long a client has to take the last words.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Lets go of the session's queue. When the gateway shuts down, acknowledgements that wait for their
/// commit still go out; the listener bounds the wait. Answers the number below which kept messages may have been sent.
pub(super) async fn detach(
    client: &Client,
    state: &SessionState,
    outlet: &mut Outlet,
    close: Close,
) -> u64 {
    let metrics = &client.exchange.metrics;
    metrics.count_closed(close.label());
    tracing::debug!(client_id = %client.session.client_id, reason = %close, "connection closed");
    if let Close::Violation(violation) = close {
        metrics.count_violation(violation.label());
        tracing::warn!(
            client_id = %client.session.client_id,
            %violation,
            "client cut for breaking the protocol"
        );
    }
    // A PUBREC is remembered: the next connection must not answer a repeat before the commit. So
    // the session stays in this one's hands until then.
    if close == Close::Ordered(Order::ShutDown) || outlet.awaits_pubrec() {
        outlet.commit_all(client).await;
    } else {
        outlet.release_acks(client);
    }
    outlet.settle(client);
    let (dropped, sent_until) =
        client.session.detach(outlet.finished(), state.inflight.kept_next());
    metrics.queued.dec_by(i64::try_from(dropped).unwrap_or(i64::MAX));
    metrics.count_all_dropped(Dropped::Offline, dropped);
    client.control.obey_kick();
    sent_until
}

/// Writes what is left and says why, where the protocol has words for it. Last of all: a successor
/// does not wait for a peer that takes its time, or is not there any more.
pub(super) async fn last_words<R, W>(
    client: &Client,
    outlet: &mut Outlet,
    reader: &mut R,
    writer: &mut W,
    close: Close,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Some(reason) = close.reason_code() else { return };
    if client.version == Version::V5 {
        let out = outlet.answer(Kind::Disconnect);
        answer::write_disconnect(reason, &close.to_string(), client.terms, out);
    }
    let said = async {
        outlet.flush_all(client, writer).await?;
        Ok::<(), Close>(linger(reader, writer).await?)
    };
    if let Ok(Err(error)) = tokio::time::timeout(GRACE, said).await {
        tracing::debug!(client_id = %client.session.client_id, %error, "no last words");
    }
}

/// Closes our side and reads the rest: bytes left unread would make the kernel reset the connection
/// and take our last words with it.
pub(super) async fn linger<R, W>(reader: &mut R, writer: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    writer.shutdown().await?;
    let mut scratch = BytesMut::with_capacity(1024);
    while reader.read_buf(&mut scratch).await? > 0 {
        scratch.clear();
    }
    Ok(())
}

/// Ends the session or parks it, and publishes the will or leaves it to the caretaker. All of that is one
/// commit, which nobody waits for.
pub(super) async fn settle(
    client: &Client,
    mut state: StateGuard,
    lane: &mut dyn Lane,
    will: Option<Will>,
    sent_until: u64,
    close: Close,
) {
    let reason = close.disconnect_reason();
    client.tell(|connection| Change::Disconnected { connection, reason });
    if matches!(close, Close::Ordered(Order::TakenOver | Order::TakenOverClean)) {
        client.tell(|_| Change::TakenOver);
    }
    let is_shutdown = matches!(close, Close::Ordered(Order::ShutDown) | Close::IntakeClosed);
    let intake = Arc::clone(&client.intake);
    let exchange = Arc::clone(&client.exchange);
    let session = Arc::clone(&client.session);
    let control = Arc::clone(&client.control);
    let (expiry, will) = match close {
        Close::Client { with_will, session_expiry: changed } => {
            let changed = changed.map(|s| Duration::from_secs(u64::from(s)));
            let expiry = changed.unwrap_or(client.session_expiry);
            (expiry.min(exchange.config.session_expiry_max), will.filter(|_| with_will))
        }
        _ => (client.session_expiry, will),
    };
    let is_delayed = |will: &Will| !will.delay.is_zero() && !expiry.is_zero();
    let (now, later) = match (will, close) {
        // The next run publishes it.
        _ if is_shutdown => (None, None),
        // A successor that goes on with the session came before the delay was over.
        (Some(will), Close::Ordered(Order::TakenOver)) if is_delayed(&will) => (None, None),
        (Some(will), Close::Ordered(_)) => (Some(will), None),
        (Some(will), _) if is_delayed(&will) => (None, Some(will)),
        (will, _) => (will, None),
    };
    let was_on_disk = state.is_on_disk;
    if !expiry.is_zero() {
        state.resumable = true;
        if state.is_on_disk {
            let keeps_will = later.is_some() || is_shutdown;
            let at = exchange.clock.now();
            let session = session.key;
            let parked = StoredChange::Parked { session, at, expiry, sent_until, keeps_will };
            lane.keep(Kept::Change(parked));
        }
    } else if !is_shutdown {
        // Closed is the journal only when the gateway ends; then the next start ends the session.
        exchange.clear(&session, &mut state, lane).await.ok();
        exchange.sessions.forget(&session, &control);
        exchange.count_sessions();
    }
    match now {
        Some(will) => will.publish(&exchange, lane, session.key).await,
        // Closed is the journal only when the gateway ends; then the next start knows no better.
        None if was_on_disk => {
            lane.submit(None).await.ok();
        }
        None => {}
    }
    // Behind the submission: a successor's comes later.
    drop(state);
    if !matches!(close, Close::Ordered(_)) {
        park(exchange, intake, session, control, expiry, later);
    }
}

/// Leaves a session that may be resumed to a caretaker, a small task of its own.
fn park(
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    session: Arc<Session>,
    control: Arc<Control>,
    expiry: Duration,
    will: Option<Will>,
) {
    if !expiry.is_zero() {
        tokio::spawn(care(exchange, intake, session, control, expiry, will));
    }
}

/// A session of an earlier run is parked from here on.
pub(crate) fn look_after(exchange: &Arc<Exchange>, intake: &Arc<dyn Intake>, restored: Restored) {
    let Restored { session, control, expiry, will } = restored;
    let (exchange, intake) = (Arc::clone(exchange), Arc::clone(intake));
    tokio::spawn(care(exchange, intake, session, control, expiry, will));
}

/// A session in a connection's hands. Dropped without [`Claim::release`] it is left to a caretaker, as the
/// session of a connection that did not come to be, and of a task that panicked: whoever has its state yet leaves
/// it there, and it is parked again or ended.
pub(super) struct Claim {
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    /// `None` once somebody else looks after it.
    claimed: Option<(Arc<Session>, Arc<Control>)>,
}

impl Claim {
    pub(super) fn new(
        exchange: &Arc<Exchange>,
        intake: &Arc<dyn Intake>,
        session: &Arc<Session>,
        control: &Arc<Control>,
    ) -> Claim {
        Claim {
            exchange: Arc::clone(exchange),
            intake: Arc::clone(intake),
            claimed: Some((Arc::clone(session), Arc::clone(control))),
        }
    }

    /// The session is parked or ended.
    pub(super) fn release(mut self) {
        self.claimed = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some((session, control)) = self.claimed.take() else { return };
        let (exchange, intake) = (Arc::clone(&self.exchange), Arc::clone(&self.intake));
        let dropped = session.cut(&control);
        exchange.metrics.queued.dec_by(i64::try_from(dropped).unwrap_or(i64::MAX));
        exchange.metrics.count_all_dropped(Dropped::Offline, dropped);
        // Without a runtime the process ends, and there is nothing to look after.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let is_resumable = session.state().await.resumable;
            let max = exchange.config.session_expiry_max;
            let expiry = if is_resumable { max } else { Duration::ZERO };
            care(exchange, intake, session, control, expiry, None).await;
        });
    }
}

/// Waits for the will's delay and the session's end, or for a successor.
async fn care(
    exchange: Arc<Exchange>,
    intake: Arc<dyn Intake>,
    session: Arc<Session>,
    control: Arc<Control>,
    expiry: Duration,
    mut will: Option<Will>,
) {
    let mut left = expiry;
    if let Some(delay) = will.as_ref().map(|will| will.delay.min(expiry)) {
        match wait(&control, delay).await {
            Some(Order::TakenOver | Order::ShutDown) => return,
            Some(Order::TakenOverClean | Order::Kicked) | None => {
                if let Some(will) = will.take() {
                    let mut lane = intake.lane(Origin::internal(), Arc::default());
                    lane.keep(Kept::Change(StoredChange::WillDone(session.key)));
                    will.publish(&exchange, &mut *lane, session.key).await;
                }
            }
        }
        left -= delay;
    }
    if wait(&control, left).await.is_none() && exchange.sessions.forget(&session, &control) {
        let mut state = session.state().await;
        lifecycle::tell_lost(&intake, &session, &state, exchange.clock.now(), "expired");
        let mut lane = intake.lane(Origin::internal(), Arc::default());
        let was_on_disk = state.is_on_disk;
        let cleared = exchange.clear(&session, &mut state, &mut *lane).await;
        if was_on_disk && cleared.is_ok() {
            // Closed is the journal only when the gateway ends; then the next start ends the session.
            lane.submit(None).await.ok();
        }
        exchange.count_sessions();
        tracing::debug!(client_id = %session.client_id, "session expired");
    }
}

/// Sleeps; an order ends it early.
async fn wait(control: &Control, duration: Duration) -> Option<Order> {
    let sleep = tokio::time::sleep(duration);
    let mut sleep = std::pin::pin!(sleep);
    loop {
        if let Some(order) = control.order() {
            return Some(order);
        }
        tokio::select! {
            () = control.notify.notified() => {}
            () = sleep.as_mut() => return None,
        }
    }
}
