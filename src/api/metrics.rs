//! What the HTTP side counts: connections, requests, and why requests are refused.
//!
//! Labels are bounded: a route is one of the router's, a status is one of five classes, and a reason is
//! one of the codes in the source.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::api::error::Refusal;
use crate::clock::Clock;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// A route that nothing is at.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: Arc<str>,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Arc<str>,
}

/// The HTTP side's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    /// Open connections, those to be refused included.
    pub(super) connections: Gauge,
    /// The bound on them that is in force.
    pub(super) connections_max: Gauge,
    connections_refused: Labelled,
    connections_closed: Labelled,
    requests: Family<Answered, Counter>,
    requests_refused: Labelled,
    seconds: Family<Route, Histogram>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        HttpMetrics {
            connections: Gauge::default(),
            connections_max: Gauge::default(),
            connections_refused: Labelled::default(),
            connections_closed: Labelled::default(),
            requests: Family::default(),
            requests_refused: Labelled::default(),
            // 1 ms to 8 s.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 14))
            }),
        }
    }
}

impl HttpMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let m = self.clone();
        registry.register("http_connections", "Open HTTP connections", m.connections);
        registry.register(
            "http_connections_max",
            "HTTP connections that may be open: as configured, or as open files allow",
            m.connections_max,
        );
        registry.register(
            "http_connections_refused",
            "Refused HTTP connections by reason",
            m.connections_refused,
        );
        registry.register(
            "http_connections_closed",
            "Ended HTTP connections by reason",
            m.connections_closed,
        );
        registry.register(
            "http_requests",
            "Requests answered, by route and class of status",
            m.requests,
        );
        registry.register(
            "http_requests_refused",
            "Requests answered with an error, by its code",
            m.requests_refused,
        );
        registry.register_with_unit(
            "http_request",
            "Time from a request's head to its answer's",
            Unit::Seconds,
            m.seconds,
        );
    }

    pub(super) fn count_refused(&self, reason: &'static str) {
        self.connections_refused.get_or_create(&[("reason", reason)]).inc();
    }

    pub(super) fn count_closed(&self, reason: &'static str) {
        self.connections_closed.get_or_create(&[("reason", reason)]).inc();
    }

    fn count_request(&self, route: Arc<str>, response: &Response, took: Duration) {
        let status = class_of(response.status());
        self.requests.get_or_create(&Answered { route: Arc::clone(&route), status }).inc();
        self.seconds.get_or_create(&Route { route }).observe(took.as_secs_f64());
        if let Some(Refusal(code)) = response.extensions().get() {
            self.requests_refused.get_or_create(&[("code", code)]).inc();
        }
    }
}

fn class_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Counts a request and its answer. The outermost layer.
pub(crate) async fn count(
    State(metrics): State<HttpMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let began = Clock::instant();
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = Arc::from(path.unwrap_or(NO_ROUTE));
    let response = next.run(request).await;
    metrics.count_request(route, &response, began.elapsed());
    response
}
