//! From an HTTP request to an operation, and from an answer to HTTP.
//!
//! Programs tell by the error what is wrong, so the order of the steps is that of AWS's servers: target and
//! format, then body, then signature, then what the members say. A body takes room in memory before it is read, as
//! much as it may grow to; an answer takes room before it is made, gives back what it does not need, and the rest
//! when it has been sent.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::body::Frame;
use hyper::body::SizeHint;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::Kinesis;
use super::ROOM_UNIT_BYTES;
use super::Setup;
use super::fault::Fault;
use super::metric_data;
use super::protocol::Protocol;
use super::protocol::Wanted;
use super::signature::Signed;
use crate::api::Reached;
use crate::api::Refusal;
use crate::api::body;
use crate::api::body::BodyError;
use crate::clock::Clock;
use crate::limits::KINESIS_BODY_BYTES_MAX;
use crate::limits::LEASE_BODY_BYTES_MAX;
use crate::limits::LEASE_TREE_GROWTH;

/// Bytes of a body that are read although the head alone is refused; as many again are passed over.
const FORGOTTEN_BYTES_MAX: usize = 64 * 1024;
/// What is counted where there is no operation, or no error.
const NONE: &str = "none";

/// The route of the API.
pub(crate) fn router(setup: Setup) -> Router {
    Router::new()
        .route("/", post(serve))
        // Smithy's RPC v2 says in the path what the others say in a header.
        .route("/service/:service/operation/:operation", post(serve))
        .with_state(Arc::new(Kinesis::new(setup)))
}

/// An answer on its way.
#[derive(Debug)]
pub(super) enum Answer {
    /// All of it.
    Whole {
        /// Written; empty where an operation answers nothing.
        body: Vec<u8>,
        /// Its share of the room, if it took any.
        room: Option<OwnedSemaphorePermit>,
    },
    /// Nothing, as the protocol says it.
    Nothing,
    /// Events as they happen.
    Events(Body),
}

impl Answer {
    /// Nothing but that it is done.
    pub(super) fn done() -> Answer {
        Answer::Whole { body: Vec::new(), room: None }
    }
}

async fn serve(
    State(kinesis): State<Arc<Kinesis>>,
    Extension(reached): Extension<Reached>,
    request: Request,
) -> Response {
    let began = Clock::instant();
    let protocol = Protocol::of(request.headers());
    let wanted = protocol
        .clone()
        .and_then(|protocol| Wanted::of(protocol, request.uri(), request.headers()));
    let answered = match (&protocol, &wanted) {
        (Ok(protocol), Ok(wanted)) => call(&kinesis, &reached, *protocol, *wanted, request).await,
        (Err(fault), _) | (_, Err(fault)) => {
            // A client that is still sending when the connection closes would not see the answer.
            drop(body::read(request.into_body(), FORGOTTEN_BYTES_MAX, kinesis.body_timeout).await);
            Err(fault.clone())
        }
    };
    let error = answered.as_ref().map_or_else(|fault| fault.kind, |_| NONE);
    let name = wanted.map_or(NONE, Wanted::name);
    kinesis.metrics.count(name, error, began.elapsed());
    dress(protocol.unwrap_or(Protocol::Json11), answered)
}

async fn call(
    kinesis: &Arc<Kinesis>,
    reached: &Reached,
    protocol: Protocol,
    wanted: Wanted,
    request: Request,
) -> Result<Answer, Fault> {
    let Ok(_turn) = kinesis.requests.try_acquire() else {
        return Err(Fault::unavailable("too many requests are under way"));
    };
    let (head, body) = request.into_parts();
    let _room = kinesis.room_for(KINESIS_BODY_BYTES_MAX.min(announced(&head.headers))).await?;
    let raw = body::read(body, KINESIS_BODY_BYTES_MAX, kinesis.body_timeout).await?;
    let signed = Signed {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        body: &raw,
        address: reached.peer.address.ip(),
    };
    kinesis.keys.check(signed, kinesis.clock.now())?;
    let body = match head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity" | b"aws-chunked") => raw,
        Some(b"gzip") => {
            let _room = kinesis.room_for(KINESIS_BODY_BYTES_MAX).await?;
            unpack(raw).await?
        }
        Some(_) => {
            let message = "The Content-Encoding of a request is gzip or none.";
            return Err(Fault::new("SerializationException", message));
        }
    };
    match wanted {
        Wanted::Stream(operation) => operation.call(kinesis, protocol.format(), &body).await,
        Wanted::Lease(operation) => {
            let _tree = kinesis.room_for_tree(&body).await?;
            operation.call(kinesis, &body).await
        }
        Wanted::Delivery(operation) => {
            let _tree = match operation.takes_tree() {
                true => Some(kinesis.room_for_tree(&body).await?),
                false => None,
            };
            operation.call(kinesis, &body).await
        }
        Wanted::PutMetrics => {
            let _tree = kinesis.room_for_tree(&body).await?;
            let count = metric_data::count(protocol, &body)?;
            kinesis.metrics.metric_data.inc_by(count as u64);
            Ok(Answer::Nothing)
        }
    }
}

/// Bytes that a body says to have; as many as it may when it does not.
fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(usize::MAX)
}

/// Unpacks a gzip body within the bound of bodies, on a thread that may take its time.
async fn unpack(packed: Bytes) -> Result<Bytes, Fault> {
    let unpacking = tokio::task::spawn_blocking(move || {
        let bound = u64::try_from(KINESIS_BODY_BYTES_MAX).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let read = GzDecoder::new(&*packed).take(bound + 1).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    let unpacked = unpacking.await.map_err(|_| Fault::unavailable("the gateway is stopping"))?;
    let bytes =
        unpacked.map_err(|_| Fault::new("SerializationException", "The body is not gzip."))?;
    match bytes.len() <= KINESIS_BODY_BYTES_MAX {
        true => Ok(bytes.into()),
        false => Err(BodyError::TooLarge(KINESIS_BODY_BYTES_MAX).into()),
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        match error {
            BodyError::TooLarge(_) => Fault {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                kind: "RequestEntityTooLargeException",
                message,
            },
            BodyError::BrokenOff => Fault::new("SerializationException", message),
            BodyError::TooSlow(_) => Fault {
                status: StatusCode::REQUEST_TIMEOUT,
                kind: "RequestTimeoutException",
                message,
            },
        }
    }
}

impl Kinesis {
    /// Room for a body that is read as a tree of values, which takes many times the room of its text.
    async fn room_for_tree(&self, body: &[u8]) -> Result<OwnedSemaphorePermit, Fault> {
        match body.len() > LEASE_BODY_BYTES_MAX {
            true => Err(BodyError::TooLarge(LEASE_BODY_BYTES_MAX).into()),
            false => self.room_for(body.len() * LEASE_TREE_GROWTH).await,
        }
    }

    /// Room for so many bytes. Whoever waits for it takes no more until others have been answered; that lasts no
    /// longer than a body may take to come.
    pub(super) async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Fault> {
        let units = u32::try_from(bytes / ROOM_UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(units);
        match tokio::time::timeout(self.body_timeout, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(Fault::unavailable("requests under way hold as much memory as they may")),
        }
    }
}

fn dress(protocol: Protocol, answered: Result<Answer, Fault>) -> Response {
    let id = Uuid::new_v4().to_string();
    let content_type = HeaderValue::from_static(match &answered {
        Ok(Answer::Events(_)) => "application/vnd.amazon.eventstream",
        _ => protocol.content_type(),
    });
    let (mut response, error) = match answered {
        Ok(Answer::Whole { body, room }) => (Response::new(Body::new(Sent::new(body, room))), None),
        Ok(Answer::Nothing) => (Response::new(Body::from(protocol.nothing(&id))), None),
        Ok(Answer::Events(body)) => (Response::new(body), None),
        Err(fault) => {
            let mut response = Response::new(Body::from(protocol.error(&fault, &id)));
            *response.status_mut() = fault.status;
            response.extensions_mut().insert(Refusal(fault.kind));
            (response, Some(fault.kind))
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if protocol == Protocol::Rpc {
        headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert("x-amz-id-2", id.clone());
        headers.insert("x-amzn-requestid", id);
    }
    if let Some(kind) = error {
        headers.insert("x-amzn-errortype", HeaderValue::from_static(kind));
    }
    response
}

/// A body that holds its room until it has been sent, or given up.
struct Sent {
    body: Option<Bytes>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Sent {
    /// Of the room it keeps what it needs.
    fn new(body: Vec<u8>, room: Option<OwnedSemaphorePermit>) -> Sent {
        let needed = body.len() / ROOM_UNIT_BYTES + 1;
        let room = room.map(|mut room| {
            drop(room.split(room.num_permits().saturating_sub(needed)));
            room
        });
        Sent { body: Some(Bytes::from(body)).filter(|body| !body.is_empty()), _room: room }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, Bytes::len) as u64)
    }
}
