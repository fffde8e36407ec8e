//! What stands between a browser and the routes: who may ask, and what the answer may do.
//!
//! The API has no password, so the browser must not be made an accomplice. A page of another origin is
//! refused by `Origin` and `Sec-Fetch-Site`. A name that some DNS server points at this machine (DNS
//! rebinding) is refused by `Host`: only addresses, localhost and the names of `http.hosts` are
//! answered. The answer may load nothing from elsewhere and may not be framed.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::api::error::ApiError;
use crate::api::error::Refusal;
use crate::api::server::Reached;
use crate::api::source::Source;
use crate::peer::Transport;

const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

/// Checks a request and dresses its answer. A layer over everything that is served.
pub(crate) async fn guard(
    State(source): State<Arc<dyn Source>>,
    request: Request,
    next: Next,
) -> Response {
    let reached = request.extensions().get::<Reached>();
    let bound = reached.map_or_else(|| source.http_address(), |reached| reached.bound);
    // Over TLS the browser has compared the name with the certificate's.
    let is_name_proven = reached.is_some_and(|reached| reached.peer.transport == Transport::Https);
    let checked = match is_name_proven || knows_host(bound, source.http_hosts(), &request) {
        true => check_origin(&request),
        false => Err(host_unknown(bound)),
    };
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let is_bare = response.extensions().get::<Refusal>().is_none();
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && is_bare {
        response = explain_method(&response);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn knows_host(bound: SocketAddr, hosts: &[String], request: &Request) -> bool {
    let is_local = is_loopback(bound.ip());
    // Probes and scrapers know the gateway by any name, and read what has no secrets.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    (is_probe && !is_local) || host_is_known(request.headers(), is_local, hosts)
}

fn host_unknown(bound: SocketAddr) -> ApiError {
    let message = match is_loopback(bound.ip()) {
        true => {
            "this gateway listens on loopback and answers to localhost, 127.0.0.1, [::1] and the names \
             of http.hosts"
        }
        false => "this gateway answers to its addresses and the names of http.hosts",
    };
    ApiError::new(StatusCode::MISDIRECTED_REQUEST, "host_unknown", message)
}

fn check_origin(request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_page = !request.uri().path().starts_with("/api/");
    // A link from elsewhere may open the page, and a scraper may read what has no secrets.
    if !(reads && is_page) && comes_from_elsewhere(headers, request.uri().authority()) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "cross_origin",
            "a page of another origin may not use this gateway",
        ));
    }
    Ok(())
}

/// Whether a browser says that another site's page asks. Clients that are no browsers say neither.
fn comes_from_elsewhere(headers: &HeaderMap, asked: Option<&Authority>) -> bool {
    let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        let opened_by_hand = site == b"none";
        if site != b"same-origin" && !opened_by_hand {
            return true;
        }
    }
    let Some(origin) = text(header::ORIGIN) else { return false };
    // HTTP/2 has the host in a field of its own.
    let asked = asked.map_or(&[][..], |asked| asked.as_str().as_bytes());
    let host = text(header::HOST).unwrap_or(asked);
    let stripped = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    !stripped.is_some_and(|origin_host| origin_host.eq_ignore_ascii_case(host))
}

/// Whether `Host` is one of `names`, localhost or an address: of this machine's loopback when `is_local`,
/// any otherwise, because no DNS server has a say in an address. A request without one comes from no
/// browser.
fn host_is_known(headers: &HeaderMap, is_local: bool, names: &[String]) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return true };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    let Some(authority) = authority else { return false };
    let name = authority.host().trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']');
    hosts.next().is_none()
        && (name.eq_ignore_ascii_case("localhost")
            || names.iter().any(|known| name.eq_ignore_ascii_case(known))
            || address.parse::<IpAddr>().is_ok_and(|ip| !is_local || is_loopback(ip)))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The router's own 405 has no body.
fn explain_method(bare: &Response<Body>) -> Response {
    let allowed = bare.headers().get(header::ALLOW).cloned();
    let list = allowed.as_ref().and_then(|allow| allow.to_str().ok()).unwrap_or("another method");
    let message = format!("this route takes {list}");
    let mut response =
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message).into_response();
    if let Some(allowed) = allowed {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    fn allowed(bound: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let hosts = ["gateway.example".to_owned()];
        let request = request(method, path, headers);
        knows_host(bound.parse().unwrap(), &hosts, &request) && check_origin(&request).is_ok()
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback_names_only() {
        for (host, fine) in [
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("127.0.0.1:8080", true),
            ("127.9.9.9", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]", true),
            ("evil.example:8080", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("192.168.1.4:8080", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(allowed("127.0.0.1:8080", "GET", "/", &[("host", host)]), fine, "{host}");
        }
        assert!(allowed("127.0.0.1:8080", "GET", "/metrics", &[]), "no Host, no browser");
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert!(!allowed("127.0.0.1:8080", "GET", "/", &two));
        assert!(allowed("127.0.0.1:8080", "GET", "/", &[("host", "Gateway.example")]));
    }

    #[test]
    fn a_name_that_is_not_configured_is_answered_nowhere() {
        for (path, host, fine) in [
            ("/", "gateway.example:8080", true),
            ("/", "192.168.1.4:8080", true),
            ("/", "[fd00::1]", true),
            ("/", "localhost", true),
            ("/", "rebind.evil.example:8080", false),
            ("/api/rules", "rebind.evil.example:8080", false),
            ("/", "192.168.1.4.evil.example", false),
            ("/metrics", "any.name.example", true),
            ("/readyz", "any.name.example", true),
        ] {
            assert_eq!(allowed("0.0.0.0:8080", "GET", path, &[("host", host)]), fine, "{host}");
        }
    }

    #[test]
    fn over_http_2_the_host_is_in_the_target() {
        let posted = |origin| {
            let request = request("POST", "https://gateway.example/api/x", &[("origin", origin)]);
            check_origin(&request).is_ok()
        };
        assert!(posted("https://gateway.example"));
        assert!(!posted("https://evil.example") && !posted("null"));
    }

    #[test]
    fn a_page_of_another_origin_may_link_here_and_nothing_else() {
        let bound = "127.0.0.1:8080";
        let host = ("host", "localhost:8080");
        let foreign = [host, ("sec-fetch-site", "cross-site")];
        assert!(allowed(bound, "GET", "/", &foreign));
        assert!(!allowed(bound, "GET", "/api/events", &foreign));
        assert!(!allowed(bound, "POST", "/api/streams/s/records", &foreign));
        let sibling = [host, ("sec-fetch-site", "same-site")];
        assert!(!allowed(bound, "POST", "/api/streams/s/records", &sibling));
        let own = [host, ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")];
        assert!(allowed(bound, "POST", "/api/streams/s/records", &own));
        for origin in ["http://evil.example", "null", "http://localhost:9090", "localhost:8080"] {
            let posted = [host, ("origin", origin)];
            assert!(!allowed(bound, "POST", "/api/streams/s/records", &posted), "{origin}");
        }
        assert!(allowed(bound, "POST", "/api/streams/s/records", &[host]), "curl says neither");
    }
}
