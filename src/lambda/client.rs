//! One attempt: the request, and what its answer means.
//!
//! Over HTTP only the status counts. 2xx is success; 408, 429 and 5xx, a time-out and a connection that fails
//! are worth another attempt; every other status, redirects included, says that trying again changes
//! nothing. A connection that fails, no answer in time, 429, 502, 503 and 504 speak of the destination
//! as a whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use reqwest::Client;
use reqwest::Method;
use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use rustls::crypto::ring;
use serde::de::IgnoredAny;

use crate::clock::Timestamp;
use crate::config::HookConfig;
use crate::limits;
use crate::retry::describe;

use super::function::Function;
use super::function::InvokeError;

const RULE: HeaderName = HeaderName::from_static("x-tidegate-rule");
const CALL_ID: HeaderName = HeaderName::from_static("x-tidegate-call-id");
const ATTEMPT: HeaderName = HeaderName::from_static("x-tidegate-attempt");
const NOT_JSON: &str = "the output is not JSON, which is what a function takes";

/// Why a hook cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL does not parse, or is of another scheme. It is not shown: it may hold a secret.
    #[error("its URL is not an http or https URL")]
    Url,
    /// A configured header is none. Its value is not shown: it may be a secret.
    #[error("'{0}' is not a header that can be sent")]
    Header(String),
    /// TLS: no usable root certificates, for one.
    #[error("cannot set up the HTTP client")]
    Build(#[from] reqwest::Error),
    /// The TLS provider does not support our versions.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) rule: Arc<str>,
    /// The same in every attempt.
    pub(super) call_id: String,
    /// From 1.
    pub(super) attempt: u32,
    pub(super) payload: Bytes,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// 2xx.
    Accepted,
    /// Try again.
    Retry {
        error: String,
        /// Asked for by the receiver.
        retry_after: Option<Duration>,
        /// It speaks of the destination as a whole, not of this call.
        is_outage: bool,
    },
    /// Do not.
    Rejected { error: String },
}

/// The way to one destination.
#[derive(Clone, Debug)]
pub(super) enum HookClient {
    /// `url`
    Http(HttpClient),
    /// `function`
    Function(Function),
}

/// The way to a URL.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    http: Client,
    url: Url,
    headers: HeaderMap,
}

impl HookClient {
    /// The URL or the program, as it may be shown.
    pub(super) fn shown(&self) -> String {
        match self {
            HookClient::Http(client) => client.shown_url(),
            HookClient::Function(function) => function.program().to_owned(),
        }
    }

    /// Makes one attempt. `now` is for a Retry-After that is a date.
    pub(super) async fn call(&self, request: Request, now: Timestamp) -> Reply {
        let function = match self {
            HookClient::Http(client) => return client.call(request, now).await,
            HookClient::Function(function) => function,
        };
        if !is_json(&request.payload) {
            return Reply::Rejected { error: NOT_JSON.to_owned() };
        }
        let (error, is_outage) = match function.invoke(request).await {
            Ok(_) => return Reply::Accepted,
            Err(InvokeError::Failed(error)) => (error, false),
            Err(InvokeError::NotStarted(error)) => (format!("it did not start: {error}"), true),
        };
        Reply::Retry { error: shorten(&error), retry_after: None, is_outage }
    }

    /// Makes one attempt for the sake of its answer, or says in words why there is none.
    pub(super) async fn ask(&self, request: Request) -> Result<Bytes, String> {
        let function = match self {
            HookClient::Http(client) => return client.ask(request).await,
            HookClient::Function(function) => function,
        };
        if !is_json(&request.payload) {
            return Err(NOT_JSON.to_owned());
        }
        match function.invoke(request).await {
            Ok(answer) if answer.len() > limits::CALL_ANSWER_BYTES_MAX => {
                let bound = limits::CALL_ANSWER_BYTES_MAX;
                Err(format!("the answer has more than {bound} bytes"))
            }
            Ok(answer) => Ok(answer),
            Err(InvokeError::Failed(error) | InvokeError::NotStarted(error)) => {
                Err(shorten(&error))
            }
        }
    }
}

impl HttpClient {
    pub(super) fn new(url: &str, config: &HookConfig) -> Result<Self, ClientError> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or(ClientError::Url)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (key, mut value) = pair.ok_or_else(|| ClientError::Header(name.clone()))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let mut http = Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(config.concurrency)
            .timeout(config.timeout);
        if url.scheme() == "https" {
            // Of several hooks only the first installs it; the error says that it is there.
            drop(ring::default_provider().install_default());
        } else {
            // No roots are needed, so a machine without any can still call plain HTTP.
            let tls = rustls::ClientConfig::builder_with_provider(ring::default_provider().into())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            http = http.tls_backend_preconfigured(tls);
        }
        Ok(HttpClient { http: http.build()?, url, headers })
    }

    /// The URL as it may be shown: scheme, host and port. Of many receivers the path or the query is the
    /// secret; that there is more is told by `…`.
    fn shown_url(&self) -> String {
        let origin = self.url.origin().ascii_serialization();
        let is_whole = self.url.path() == "/" && self.url.query().is_none();
        if is_whole { origin } else { format!("{origin}/…") }
    }

    async fn call(&self, request: Request, now: Timestamp) -> Reply {
        let request = match self.request(request) {
            Ok(request) => request,
            Err(error) => return Reply::Rejected { error },
        };
        match request.send().await {
            Ok(response) => judge(response, now).await,
            Err(error) => Reply::Retry {
                is_outage: error.is_connect() || error.is_timeout(),
                error: shorten(&describe(&error.without_url())),
                retry_after: None,
            },
        }
    }

    /// The body of a 2xx.
    async fn ask(&self, request: Request) -> Result<Bytes, String> {
        let failed = |error: reqwest::Error| shorten(&describe(&error.without_url()));
        let mut response = self.request(request)?.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(status.to_string());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > limits::CALL_ANSWER_BYTES_MAX {
                let bound = limits::CALL_ANSWER_BYTES_MAX;
                return Err(format!("the answer has more than {bound} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The request, or why it cannot be made.
    fn request(&self, request: Request) -> Result<RequestBuilder, String> {
        let Request { rule, call_id, attempt, payload } = request;
        let content =
            if is_json(&payload) { "application/json" } else { "application/octet-stream" };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        headers.extend(self.headers.clone());
        let own = [(RULE, rule.to_string()), (CALL_ID, call_id), (ATTEMPT, attempt.to_string())];
        for (name, value) in own {
            match HeaderValue::try_from(value) {
                Ok(value) => headers.insert(name, value),
                Err(_) => return Err(format!("{name} cannot be sent")),
            };
        }
        let request = self.http.request(Method::POST, self.url.clone());
        Ok(request.headers(headers).body(payload))
    }
}

fn is_json(payload: &[u8]) -> bool {
    std::str::from_utf8(payload).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

async fn judge(response: Response, now: Timestamp) -> Reply {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| parse_retry_after(value.to_str().ok()?, now));
    let body = read_body(response).await;
    if status.is_success() {
        return Reply::Accepted;
    }
    let said = String::from_utf8_lossy(&body);
    let said = said.trim();
    let error = match (status.is_redirection(), said.is_empty()) {
        (true, _) => format!("{status}: redirects are not followed"),
        (false, true) => status.to_string(),
        (false, false) => format!("{status}: {said}"),
    };
    let error = shorten(&error);
    let is_outage = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    if is_outage || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() {
        Reply::Retry { error, retry_after, is_outage }
    } else {
        Reply::Rejected { error }
    }
}

/// The beginning of the body, for the error's text. The rest is read up to a bound, so that the
/// connection can be used again.
async fn read_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        let room = limits::HOOK_ERROR_CHARS_MAX.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if read > limits::HOOK_RESPONSE_BYTES_MAX {
            break;
        }
    }
    body
}

/// Seconds or a date (RFC 9110, 10.2.3), at most [`limits::HOOK_RETRY_AFTER_MAX`].
fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
            Timestamp::from_millis(date.timestamp().as_millisecond()).since(now)
        }
    };
    Some(wait.min(limits::HOOK_RETRY_AFTER_MAX))
}

/// Without control characters, and of a bounded length.
pub(super) fn shorten(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(limits::HOOK_ERROR_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Destination;

    fn http(config: &HookConfig) -> Result<HttpClient, ClientError> {
        let Destination::Url(url) = &config.destination else { panic!("a URL") };
        HttpClient::new(url, config)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = Timestamp::from_millis(784_111_777_000);
        let seconds = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
        assert_eq!(seconds("99999999999"), Some(3600));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        for url in ["", "ftp://host/", "nothing", "http://"] {
            let refused = http(&HookConfig::with_url(url));
            assert!(matches!(refused, Err(ClientError::Url)), "{url}");
        }
        let mut config = HookConfig::with_url("http://127.0.0.1/");
        config.headers.insert("Authorization".to_owned(), "secret\n".to_owned());
        let refused = http(&config).unwrap_err().to_string();
        assert_eq!(refused, "'Authorization' is not a header that can be sent");
    }

    #[test]
    fn the_shown_url_has_nothing_that_may_be_a_secret() {
        let shown = |url| http(&HookConfig::with_url(url)).map(|client| client.shown_url());
        assert_eq!(shown("http://user:secret@localhost:1/x?y=z").unwrap(), "http://localhost:1/…");
        assert_eq!(shown("https://chat.example/hooks/T0/B0/x").unwrap(), "https://chat.example/…");
        assert_eq!(shown("https://u:p@chat.example").unwrap(), "https://chat.example");
    }

    #[test]
    fn error_text_is_one_line_of_bounded_length() {
        let long = shorten(&format!("a\nb\u{7}{}", "x".repeat(1000)));
        assert!(long.starts_with("a b x"));
        assert_eq!(long.chars().count(), limits::HOOK_ERROR_CHARS_MAX);
    }
}
