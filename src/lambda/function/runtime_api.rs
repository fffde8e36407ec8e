//! AWS Lambda's Runtime API (2018-06-01), for one process:
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.
//!
//! | | |
//! |---|---|
//! | `GET /runtime/invocation/next` | the next event; waits for it |
//! | `POST /runtime/invocation/ID/response` | the answer |
//! | `POST /runtime/invocation/ID/error` | the function failed |
//! | `POST /runtime/init/error` | it cannot start |
//!
//! Everything is bounded: connections, the answer, and what an answer to a request that is over changes
//! (nothing: 400).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use md5::Digest;
use md5::Md5;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Builder;

use crate::clock::Timestamp;
use crate::lambda::client;
use crate::lambda::client::shorten;
use crate::limits;

const API: &str = "/2018-06-01/runtime/";

/// What a function answers, or its own words about why it does not.
pub(super) type Answer = Result<Bytes, String>;

/// An event on its way to a process.
#[derive(Debug)]
pub(super) struct Invocation {
    id: String,
    arn: String,
    context: String,
    trace: String,
    deadline: Timestamp,
    payload: Bytes,
    answer: oneshot::Sender<Answer>,
}

impl Invocation {
    /// Its request id is made of the event's call id: the same in every attempt.
    pub(super) fn new(
        event: client::Request,
        arn: &str,
        deadline: Timestamp,
        answer: oneshot::Sender<Answer>,
    ) -> Invocation {
        let digest: [u8; 16] = Md5::digest(event.call_id.as_bytes()).into();
        let id = Builder::from_md5_bytes(digest).into_uuid();
        let hex = id.simple().to_string();
        let (time, rest) = hex.split_at(8);
        let custom = json!({
            "rule": &*event.rule,
            "call_id": event.call_id,
            "attempt": event.attempt.to_string(),
        });
        Invocation {
            id: id.to_string(),
            arn: arn.to_owned(),
            context: json!({ "custom": custom }).to_string(),
            trace: format!("Root=1-{time}-{rest};Sampled=0"),
            deadline,
            payload: event.payload,
            answer,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// What an event lies on until its process takes it, and where the answer comes back.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Put there, not taken.
    next: Mutex<Option<Invocation>>,
    has_next: Notify,
    /// Taken, not answered.
    current: Mutex<Option<(String, oneshot::Sender<Answer>)>>,
    /// Whether the process is ready, or why it says that it will never be.
    greeting: watch::Sender<Option<Result<(), String>>>,
}

/// An event is there already.
#[derive(Debug)]
pub(super) struct Occupied;

impl Desk {
    /// Puts an event there for the process.
    pub(super) fn put(&self, invocation: Invocation) -> Result<(), Occupied> {
        let mut next = self.next.lock();
        if next.is_some() {
            return Err(Occupied);
        }
        *next = Some(invocation);
        self.has_next.notify_one();
        Ok(())
    }

    /// Takes back an event that the process has not taken; answers whether there was one.
    pub(super) fn take_back(&self) -> bool {
        self.next.lock().take().is_some()
    }

    /// Waits until the process asks for an event, or says why it will not.
    pub(super) async fn first_question(&self) -> Result<(), String> {
        let mut greeting = self.greeting.subscribe();
        let greeted = greeting.wait_for(Option::is_some).await;
        let greeted = greeted.expect("the sender is in `self`");
        greeted.clone().unwrap_or(Ok(()))
    }

    /// Answers the process's requests, until it is aborted.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(limits::FUNCTION_CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            // The system has no descriptors: the deadline of whoever waits for the process ends it.
            let Ok((socket, _)) = listener.accept().await else { return };
            let desk = Arc::clone(&self);
            while connections.try_join_next().is_some() {}
            connections.spawn(async move {
                let answer = service_fn(|request| {
                    let desk = Arc::clone(&desk);
                    async move { Ok::<_, Infallible>(desk.handle(request).await) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
                // What breaks off is asked again, or not: the process's affair.
                connection.await.ok();
                drop(place);
            });
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let Some(what) = path.strip_prefix(API) else {
            return refuse(StatusCode::NOT_FOUND, "NotFound", "this is the Runtime API 2018-06-01");
        };
        let parts: Vec<&str> = what.split('/').collect();
        match (&method, parts.as_slice()) {
            (&Method::GET, ["invocation", "next"]) => self.next().await,
            (&Method::POST, ["invocation", id, "response"]) => match read(request).await {
                Ok(body) => self.answer(id, Ok(body)),
                Err(why) => {
                    // The invocation has failed; the process is told that too.
                    self.answer(id, Err(why.clone()));
                    refuse(StatusCode::PAYLOAD_TOO_LARGE, "Function.ResponseSizeTooLarge", &why)
                }
            },
            (&Method::POST, ["invocation", id, "error"]) => {
                let said = error_type(&request);
                let body = read(request).await.unwrap_or_default();
                self.answer(id, Err(to_words(&body, &said)))
            }
            (&Method::POST, ["init", "error"]) => {
                let said = error_type(&request);
                let body = read(request).await.unwrap_or_default();
                let why = format!("it cannot start: {}", to_words(&body, &said));
                self.greeting.send_replace(Some(Err(why)));
                accepted()
            }
            _ => refuse(StatusCode::NOT_FOUND, "NotFound", "there is no such resource"),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        self.greeting.send_if_modified(|greeting| match greeting {
            None => {
                *greeting = Some(Ok(()));
                true
            }
            Some(_) => false,
        });
        let invocation = loop {
            let taken = self.next.lock().take();
            match taken {
                Some(invocation) => break invocation,
                None => self.has_next.notified().await,
            }
        };
        let Invocation { id, arn, context, trace, deadline, payload, answer } = invocation;
        let response = Response::builder()
            .header(CONTENT_TYPE, "application/json")
            .header("Lambda-Runtime-Aws-Request-Id", &id)
            .header("Lambda-Runtime-Deadline-Ms", deadline.as_millis().to_string())
            .header("Lambda-Runtime-Invoked-Function-Arn", arn)
            .header("Lambda-Runtime-Trace-Id", trace)
            .header("Lambda-Runtime-Client-Context", context)
            .body(Full::new(payload));
        match response {
            Ok(response) => {
                *self.current.lock() = Some((id, answer));
                response
            }
            Err(error) => {
                // Whoever waits may have gone.
                answer.send(Err(format!("the event cannot be sent: {error}"))).ok();
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "it cannot be sent")
            }
        }
    }

    fn answer(&self, id: &str, answer: Answer) -> Response<Full<Bytes>> {
        let mut current = self.current.lock();
        if current.as_ref().is_none_or(|(of, _)| of != id) {
            let why = "no event with this request id waits for an answer";
            return refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", why);
        }
        if let Some((_, waiting)) = current.take() {
            // Whoever waits may have gone.
            waiting.send(answer).ok();
        }
        accepted()
    }
}

/// The body, or why it is none.
async fn read(request: Request<Incoming>) -> Answer {
    let body = Limited::new(request.into_body(), limits::FUNCTION_ANSWER_BYTES_MAX);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let most = limits::FUNCTION_ANSWER_BYTES_MAX;
            Err(format!("the answer has more than {most} bytes"))
        }
        Err(error) => Err(format!("the answer broke off: {error}")),
    }
}

/// The error's type as its header has it.
fn error_type(request: &Request<Incoming>) -> String {
    let value = request.headers().get("Lambda-Runtime-Function-Error-Type");
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// An error document of a runtime client.
#[derive(Debug, Deserialize)]
struct ErrorDocument {
    #[serde(default, rename = "errorMessage")]
    message: String,
    #[serde(default, rename = "errorType")]
    kind: String,
}

fn to_words(body: &[u8], header: &str) -> String {
    let said = match serde_json::from_slice::<ErrorDocument>(body) {
        Ok(ErrorDocument { message, kind }) if kind.is_empty() => format!("{header}: {message}"),
        Ok(ErrorDocument { message, kind }) => format!("{kind}: {message}"),
        Err(_) => format!("{header}: {}", String::from_utf8_lossy(body)),
    };
    shorten(said.trim_start_matches(": "))
}

fn accepted() -> Response<Full<Bytes>> {
    respond(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

fn refuse(status: StatusCode, kind: &str, message: &str) -> Response<Full<Bytes>> {
    respond(status, &json!({"errorMessage": message, "errorType": kind}))
}

fn respond(status: StatusCode, document: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
