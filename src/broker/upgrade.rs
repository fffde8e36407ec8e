//! From an HTTP request to a WebSocket (RFC 6455, section 4.2; MQTT 5, section 6).
//!
//! hyper reads the request, within the bounds of its head; [`judge`] says whether it becomes a WebSocket.
//! One that does not is answered with the status and a sentence, and the connection is closed. A page of
//! another origin gets in only where the listener's `origins` name it: a browser asks nobody before
//! it connects, so without that any page could speak to a broker that only this machine reaches.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::Version;
use hyper::header;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use sha1::Digest;
use sha1::Sha1;

use super::websocket::WebSocket;
use crate::accept::Wire;
use crate::config::ListenerConfig;
use crate::limits::HTTP_HEAD_BYTES_MAX;
use crate::limits::WEBSOCKET_READ_BUFFER;
use crate::limits::WEBSOCKET_READ_BUFFER_TLS;

/// What a key is completed with before it is digested (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol that a client must offer [MQTT-6.0.0-3] and is answered [MQTT-6.0.0-4].
const SUBPROTOCOL: &str = "mqtt";
/// In `origins`: everybody's pages.
const ANY_ORIGIN: &str = "*";

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    /// The metrics' label.
    reason: &'static str,
    message: &'static str,
}

impl Refusal {
    const fn new(status: StatusCode, reason: &'static str, message: &'static str) -> Self {
        Refusal { status, reason, message }
    }
}

const NOT_FOUND: Refusal =
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "MQTT is not spoken at this path");
const WRONG_METHOD: Refusal =
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "a WebSocket begins with GET");
const NO_UPGRADE: Refusal = Refusal::new(
    StatusCode::UPGRADE_REQUIRED,
    "no_upgrade",
    "this is MQTT over WebSocket: ask for the upgrade (RFC 6455)",
);
const WRONG_VERSION: Refusal =
    Refusal::new(StatusCode::UPGRADE_REQUIRED, "version", "version 13 of WebSocket is spoken");
const BAD_KEY: Refusal =
    Refusal::new(StatusCode::BAD_REQUEST, "key", "Sec-WebSocket-Key is 16 bytes in base64");
const NO_SUBPROTOCOL: Refusal = Refusal::new(
    StatusCode::BAD_REQUEST,
    "subprotocol",
    "offer the subprotocol mqtt (MQTT 5, section 6)",
);
const FOREIGN_ORIGIN: Refusal = Refusal::new(
    StatusCode::FORBIDDEN,
    "origin",
    "pages of this origin may not connect; origins of the listener names those that may",
);

/// Reads a request and makes a WebSocket of it. An error is the reason why there is none, for the
/// metrics; the client has its answer then. The caller bounds the time.
pub(super) async fn upgrade(
    wire: Wire,
    listener: &ListenerConfig,
    message_bytes_max: usize,
) -> Result<WebSocket<Wire>, &'static str> {
    let verdict = Arc::new(Mutex::new(None));
    let judging = service_fn(|request| {
        let judged = judge(&request, listener);
        *verdict.lock() = Some(judged.as_ref().map(|_| ()).map_err(|refusal| refusal.reason));
        async move { Ok::<_, Infallible>(judged.unwrap_or_else(refuse)) }
    });
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(HTTP_HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(wire), judging);
    let parts = match connection.without_shutdown().await {
        Ok(parts) => parts,
        Err(error) => {
            tracing::debug!(%error, "no request for a WebSocket");
            return Err(if error.is_parse() { "bad_request" } else { "gone" });
        }
    };
    let judged = verdict.lock().take();
    match judged {
        Some(Ok(())) => {
            let wire = parts.io.into_inner();
            let read_buffer = match wire {
                Wire::Tcp(_) => WEBSOCKET_READ_BUFFER,
                Wire::Tls(_) => WEBSOCKET_READ_BUFFER_TLS,
            };
            Ok(WebSocket::new(wire, parts.read_buf, message_bytes_max, read_buffer).await)
        }
        Some(Err(reason)) => Err(reason),
        None => Err("gone"),
    }
}

/// The answer to a request that becomes a WebSocket.
fn judge<B>(request: &Request<B>, listener: &ListenerConfig) -> Result<Response<String>, Refusal> {
    let headers = request.headers();
    if request.uri().path() != listener.path {
        return Err(NOT_FOUND);
    }
    if request.method() != Method::GET {
        return Err(WRONG_METHOD);
    }
    let asks = has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade");
    if !asks || request.version() != Version::HTTP_11 {
        return Err(NO_UPGRADE);
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(WRONG_VERSION);
    }
    if !is_welcome(headers, &listener.origins) {
        return Err(FOREIGN_ORIGIN);
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).ok_or(BAD_KEY)?;
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(BAD_KEY);
    }
    if !has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(NO_SUBPROTOCOL);
    }
    let accept = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize();
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let accept = HeaderValue::try_from(STANDARD.encode(accept)).expect("base64 is ASCII");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn refuse(refusal: Refusal) -> Response<String> {
    let mut response = Response::new(format!("{}\n", refusal.message));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match refusal.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        StatusCode::UPGRADE_REQUIRED => {
            // RFC 9110, section 15.5.22; RFC 6455, section 4.4.
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        _ => {}
    }
    response
}

/// Whether one of a header's lists has this word, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').any(|word| word.trim().eq_ignore_ascii_case(token)))
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// Whether no page asks, or one of the listener's own origin, or one of those it names.
fn is_welcome(headers: &HeaderMap, origins: &[String]) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let Some(origin) = only(headers, &header::ORIGIN) else { return false };
    let named =
        |known: &String| known == ANY_ORIGIN || origin.eq_ignore_ascii_case(known.as_bytes());
    if origins.iter().any(named) {
        return true;
    }
    let host = only(headers, &header::HOST).unwrap_or_default();
    let stripped = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    stripped.is_some_and(|origin_host| origin_host.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;

    const ASKED: [(&str, &str); 6] = [
        ("host", "plant.example"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "mqttv3.1, mqtt"),
    ];

    fn listener(origins: &[&str]) -> ListenerConfig {
        let listen = "127.0.0.1:0".parse().unwrap();
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        ListenerConfig { origins, ..ListenerConfig::new(Protocol::Ws, listen) }
    }

    /// The request that asks, with a header changed (or taken out, when it has no value) and added.
    fn request(changed: &str, value: Option<&str>) -> Request<()> {
        let mut builder = Request::builder().uri("/mqtt");
        for (name, asked) in ASKED.iter().filter(|(name, _)| *name != changed) {
            builder = builder.header(*name, *asked);
        }
        let changed = value.map(|value| (changed, value));
        changed.into_iter().fold(builder, |b, (n, v)| b.header(n, v)).body(()).unwrap()
    }

    fn reason(request: &Request<()>, origins: &[&str]) -> Result<(), &'static str> {
        judge(request, &listener(origins)).map(|_| ()).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn the_answer_is_the_one_of_the_specification() {
        let response = judge(&request("", None), &listener(&[])).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt", "[MQTT-6.0.0-4]");
    }

    #[test]
    fn what_is_no_upgrade_to_mqtt_is_refused_with_a_reason() {
        for (changed, value, expected) in [
            ("upgrade", None, "no_upgrade"),
            ("upgrade", Some("h2c"), "no_upgrade"),
            ("connection", Some("close"), "no_upgrade"),
            ("sec-websocket-version", Some("8"), "version"),
            ("sec-websocket-version", None, "version"),
            ("sec-websocket-key", None, "key"),
            ("sec-websocket-key", Some("c2hvcnQ="), "key"),
            ("sec-websocket-key", Some("not base64"), "key"),
            ("sec-websocket-protocol", None, "subprotocol"),
            ("sec-websocket-protocol", Some("mqttv3.1"), "subprotocol"),
        ] {
            assert_eq!(reason(&request(changed, value), &[]), Err(expected), "{changed} {value:?}");
        }
        let mut post = request("", None);
        *post.method_mut() = Method::POST;
        assert_eq!(reason(&post, &[]), Err("method"));
        let mut elsewhere = request("", None);
        *elsewhere.uri_mut() = "/mqtt/".parse().unwrap();
        assert_eq!(reason(&elsewhere, &[]), Err("not_found"));
        let mut old = request("", None);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(reason(&old, &[]), Err("no_upgrade"));
        let mut two = request("", None);
        two.headers_mut().append("sec-websocket-key", HeaderValue::from_static("x"));
        assert_eq!(reason(&two, &[]), Err("key"));
    }

    #[test]
    fn a_page_gets_in_from_its_own_origin_and_those_that_are_named() {
        let with = |origin| request("origin", Some(origin));
        for (origin, origins, fine) in [
            ("https://plant.example", &[][..], true),
            ("http://PLANT.example", &[], true),
            ("https://evil.example", &[], false),
            ("https://plant.example.evil.example", &[], false),
            ("null", &[], false),
            ("https://app.example", &["https://app.example"], true),
            ("https://app.example:8443", &["https://app.example"], false),
            ("null", &["*"], true),
        ] {
            let expected = if fine { Ok(()) } else { Err("origin") };
            assert_eq!(reason(&with(origin), origins), expected, "{origin} {origins:?}");
        }
        assert_eq!(reason(&request("", None), &["https://app.example"]), Ok(()), "no browser");
    }
}
