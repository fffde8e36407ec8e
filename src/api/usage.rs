//! What a connection is doing, and by when it must do something else.
//!
//! [`Usage`] is written from three sides, all of them polled by the connection's one task: the service
//! ([`Usage::request`]), the answer's body ([`UnderWay::until_the_end_of`]) and the socket ([`Flow`]).
//! The lock is never waited for; it is there because hyper wants these parts to be `Send`.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::body::HttpBody;
use hyper::body::Frame;
use hyper::body::SizeHint;
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::limits::WRITE_STALL_MAX;

/// How long a connection may be without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until its first.
    pub(super) first: Duration,
    /// From an answer to the next.
    pub(super) next: Duration,
}

#[derive(Debug)]
struct State {
    /// Requests whose answer has not ended.
    under_way: usize,
    /// Whether there was one at all.
    has_asked: bool,
    /// Since when there is none, or since the connection began.
    quiet_since: Instant,
    /// Since when the client takes none of the bytes that wait for it.
    blocked_since: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Usage {
    patience: Patience,
    state: Mutex<State>,
}

fn now() -> Instant {
    Instant::from_std(Clock::instant())
}

impl Usage {
    /// A connection that begins now.
    pub(super) fn new(patience: Patience) -> Usage {
        let state =
            State { under_way: 0, has_asked: false, quiet_since: now(), blocked_since: None };
        Usage { patience, state: Mutex::new(state) }
    }

    /// By when it is to be cut unless something happens, and what the reason would be. `None` while a
    /// request is under way and the client reads.
    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let state = self.state.lock();
        match state.blocked_since {
            Some(since) => Some((since + WRITE_STALL_MAX, "write_stall")),
            None if state.under_way > 0 => None,
            None if state.has_asked => {
                Some((state.quiet_since + self.patience.next, "idle_timeout"))
            }
            None => Some((state.quiet_since + self.patience.first, "header_timeout")),
        }
    }

    /// A request's head has come.
    pub(super) fn request(usage: &Arc<Usage>) -> UnderWay {
        let mut state = usage.state.lock();
        state.under_way += 1;
        state.has_asked = true;
        drop(state);
        UnderWay(Arc::clone(usage))
    }

    fn wrote(&self, is_blocked: bool) {
        let mut state = self.state.lock();
        state.blocked_since = is_blocked.then(|| state.blocked_since.unwrap_or_else(now));
    }
}

/// A request whose answer has not ended; dropped when it has.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Usage>);

impl UnderWay {
    /// The same body; the request is under way for as long as it is sent.
    pub(super) fn until_the_end_of(
        self,
        body: Body,
    ) -> impl HttpBody<Data = Bytes, Error = axum::Error> {
        Answer { body, _under_way: self }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.under_way -= 1;
        state.quiet_since = now();
    }
}

struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that notes when its peer takes nothing.
#[derive(Debug)]
pub(super) struct Flow<S> {
    socket: S,
    usage: Arc<Usage>,
}

impl<S> Flow<S> {
    pub(super) fn new(socket: S, usage: Arc<Usage>) -> Flow<S> {
        Flow { socket, usage }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Flow<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Flow<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.usage.wrote(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.usage.wrote(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn usage() -> Arc<Usage> {
        let patience = Patience { first: Duration::from_secs(1), next: Duration::from_secs(60) };
        Arc::new(Usage::new(patience))
    }

    fn reason(usage: &Usage) -> Option<&'static str> {
        usage.deadline().map(|(_, reason)| reason)
    }

    #[test]
    fn a_request_is_under_way_until_the_end_of_its_answer() {
        let usage = usage();
        let begin = usage.state.lock().quiet_since;
        assert_eq!(usage.deadline(), Some((begin + Duration::from_secs(1), "header_timeout")));
        let body = Usage::request(&usage).until_the_end_of(Body::from("answer"));
        let second = Usage::request(&usage);
        assert_eq!(reason(&usage), None);
        drop(second);
        assert_eq!(reason(&usage), None, "the first is still being answered");
        drop(body);
        let end = usage.state.lock().quiet_since;
        assert_eq!(usage.deadline(), Some((end + Duration::from_secs(60), "idle_timeout")));
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_has_a_deadline_until_it_takes_something() {
        let usage = usage();
        let _under_way = Usage::request(&usage);
        let (socket, mut peer) = tokio::io::duplex(4);
        let mut flow = Flow::new(socket, Arc::clone(&usage));
        flow.write_all(b"1234").await.unwrap();
        assert_eq!(reason(&usage), None);
        let mut rest = by_hand(flow.write_all(b"5678"));
        assert!(rest.poll_once().await);
        let first = usage.deadline();
        assert_eq!(reason(&usage), Some("write_stall"));
        assert!(rest.poll_once().await);
        assert_eq!(usage.deadline(), first, "asking again does not begin anew");
        peer.read_exact(&mut [0; 4]).await.unwrap();
        assert!(!rest.poll_once().await, "written");
        assert_eq!(reason(&usage), None);
    }

    /// A future that is polled by hand.
    struct ByHand<F>(Pin<Box<F>>);

    fn by_hand<F: Future>(future: F) -> ByHand<F> {
        ByHand(Box::pin(future))
    }

    impl<F: Future> ByHand<F> {
        /// Polls once: whether it is pending.
        async fn poll_once(&mut self) -> bool {
            std::future::poll_fn(|context| Poll::Ready(self.0.as_mut().poll(context).is_pending()))
                .await
        }
    }
}
