//! The listening sockets of the HTTP side: accept within their limits, cut who wastes a place, and shut
//! down in order.
//!
//! HTTP/1.1, and HTTP/2 for clients that begin with it (over TLS they ask for it by name).
//!
//! In: the doors and the routers of what is served behind them. Each connection is one task that
//! polls hyper and, beside it, one clock: [`Usage`] knows whether a request is under way, since when
//! none is, and since when the client takes nothing of what waits for it. The clock looks at requests
//! and not at bytes, so it is the same for every version of HTTP, and an answer that never ends (the
//! live feed) is a request under way.
//!
//! Over `connections_max` a few connections are still served, each with one 503 that says why, and the
//! rest are closed at once. Handlers bound what a body may take ([`super::body`]).

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::error::ApiError;
use super::metrics::HttpMetrics;
use super::usage::Flow;
use super::usage::Patience;
use super::usage::Usage;
use crate::accept;
use crate::accept::Acceptor;
use crate::accept::Door;
use crate::accept::DoorError;
use crate::accept::ListenerMetrics;
use crate::accept::Wire;
use crate::clock::Clock;
use crate::config::HttpConfig;
use crate::config::ListenerConfig;
use crate::limits::HTTP_HEAD_BYTES_MAX;
use crate::limits::HTTP_REFUSAL_TIMEOUT;
use crate::limits::HTTP_REFUSALS_MAX;
use crate::limits::HTTP_SHUTDOWN_GRACE;
use crate::limits::HTTP2_SEND_BYTES_MAX;
use crate::limits::HTTP2_STREAMS_MAX;
use crate::limits::HTTP2_WINDOW_BYTES;
use crate::peer::Peer;
use crate::peer::Transport;
use crate::tls::Gate;
use crate::tls::handshake;

/// A listening HTTP server, ready to [`Server::run`].
#[derive(Debug)]
pub struct Server {
    doors: Vec<(Acceptor, Arc<Door>)>,
    connections_max: usize,
    patience: Patience,
    metrics: HttpMetrics,
}

/// What is served, by what a listener shows.
#[derive(Clone, Debug)]
pub struct Sites {
    /// Where the dashboard is.
    pub dashboard: Router,
    /// Where it is not.
    pub data_plane: Router,
}

/// What a connection is served with.
#[derive(Clone)]
enum Site {
    /// Everything.
    Open(Router),
    /// One 503: there are too many connections.
    OverLimit,
}

/// Where a request has come in, and from whom; with each request.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) peer: Arc<Peer>,
    /// The listener's address.
    pub(crate) bound: SocketAddr,
}

impl Server {
    /// A server of its own on `config.listen` (port 0 picks one), as tests want it.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub async fn bind(config: &HttpConfig, metrics: HttpMetrics) -> Result<Server, DoorError> {
        let (listener, counts) = (ListenerConfig::of_http(config), ListenerMetrics::default());
        let opened = Door::open("http", &listener, &counts, Clock::start()).await?;
        Ok(Server::new(config, vec![opened], metrics))
    }

    /// A server behind `doors`. Clients wait in the system's backlog until [`Server::run`].
    pub(crate) fn new(
        config: &HttpConfig,
        doors: Vec<(Acceptor, Arc<Door>)>,
        metrics: HttpMetrics,
    ) -> Server {
        let patience = Patience { first: config.header_timeout, next: config.idle_timeout };
        let connections_max = config.connections_max;
        metrics.connections_max.set(i64::try_from(connections_max).unwrap_or(i64::MAX));
        Server { doors, connections_max, patience, metrics }
    }

    /// The address of the first door.
    ///
    /// # Panics
    /// There is none.
    pub fn local_addr(&self) -> SocketAddr {
        self.doors.first().expect("a server has a door").1.address
    }

    /// Serves `sites` until `stopped` turns true (or its sender is gone). Then idle connections are
    /// closed, requests under way get [`HTTP_SHUTDOWN_GRACE`], and what is left is cut.
    pub async fn run(self, sites: Sites, stopped: watch::Receiver<bool>) {
        let Server { doors, connections_max, patience, metrics } = self;
        let gate = Gate::default();
        let mut attended = JoinSet::new();
        for (acceptor, door) in doors {
            let site = match door.config.dashboard {
                true => sites.dashboard.clone(),
                false => sites.data_plane.clone(),
            };
            let entry = Entry {
                door,
                site,
                connections_max,
                patience,
                metrics: metrics.clone(),
                gate: gate.clone(),
                stopped: stopped.clone(),
            };
            attended.spawn(entry.attend(acceptor));
        }
        let grace = sleep(HTTP_SHUTDOWN_GRACE);
        let connections = accept::show_out(attended, grace, |ended| reap(&metrics, ended)).await;
        if connections > 0 {
            tracing::warn!(connections, "HTTP connections cut at shutdown");
        }
    }
}

/// A door and what is behind it.
struct Entry {
    door: Arc<Door>,
    site: Router,
    /// Of all doors together.
    connections_max: usize,
    patience: Patience,
    metrics: HttpMetrics,
    gate: Gate,
    stopped: watch::Receiver<bool>,
}

impl Entry {
    /// Lets clients in until the stop; answers the connections that there still are.
    async fn attend(self, acceptor: Acceptor) -> JoinSet<&'static str> {
        let stop = is_stopped(self.stopped.clone());
        let admit = |socket, address, connections: &mut JoinSet<_>| {
            self.admit(socket, address, connections);
        };
        accept::attend(acceptor, stop, admit, |ended| reap(&self.metrics, ended)).await
    }

    fn admit(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        connections: &mut JoinSet<&'static str>,
    ) {
        let place = Door::enter(&self.door);
        let open = usize::try_from(self.metrics.connections.get()).unwrap_or(0);
        let is_within = |spare| {
            place.before < self.door.config.connections_max + spare
                && open < self.connections_max + spare
        };
        let (site, patience) = if is_within(0) {
            (Site::Open(self.site.clone()), self.patience)
        } else {
            self.metrics.count_refused("connections_max");
            if !is_within(HTTP_REFUSALS_MAX) {
                return;
            }
            let brief = self.patience.first.min(HTTP_REFUSAL_TIMEOUT);
            (Site::OverLimit, Patience { first: brief, next: Duration::ZERO })
        };
        tracing::debug!(%address, "HTTP connection");
        self.metrics.connections.inc();
        let peer = Peer::anonymous(address, Arc::clone(&self.door.name), Transport::Http);
        let (door, gate) = (Arc::clone(&self.door), self.gate.clone());
        let stopped = self.stopped.clone();
        connections.spawn(async move {
            let arriving = tokio::time::timeout(patience.first, arrive(socket, peer, &door, &gate));
            let ended = match arriving.await {
                Ok(Some((wire, reached))) => serve(wire, reached, site, patience, stopped).await,
                Ok(None) => "tls",
                Err(_) => {
                    door.count_failed("timeout");
                    "tls"
                }
            };
            drop(place);
            ended
        });
    }
}

/// Does the door's TLS handshake, if it has one. `None`: it came to nothing, which is counted.
async fn arrive(
    socket: TcpStream,
    mut peer: Peer,
    door: &Door,
    gate: &Gate,
) -> Option<(Wire, Reached)> {
    let wire = match &door.tls {
        None => Wire::Tcp(socket),
        Some(keeper) => match handshake(socket, keeper, gate).await {
            Ok((stream, certificate)) => {
                door.count_handshake();
                (peer.transport, peer.certificate) = (Transport::Https, certificate);
                Wire::Tls(Box::new(stream))
            }
            Err(failed) => {
                door.count_failed(failed.reason);
                tracing::debug!(address = %peer.address, listener = &*door.name, %failed, "no TLS");
                return None;
            }
        },
    };
    Some((wire, Reached { peer: Arc::new(peer), bound: door.address }))
}

/// Waits for the stop; the gateway being gone is one too.
async fn is_stopped(mut stopped: watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

/// Counts a connection that ended. A panic in it is our bug, and has cost that connection only.
fn reap(metrics: &HttpMetrics, ended: Result<&'static str, JoinError>) {
    metrics.connections.dec();
    match ended {
        Ok(reason) => metrics.count_closed(reason),
        Err(error) => {
            metrics.count_closed("panic");
            tracing::error!(%error, "an HTTP connection's task panicked");
        }
    }
}

/// Serves one connection and answers why it ended.
async fn serve(
    wire: Wire,
    reached: Reached,
    site: Site,
    patience: Patience,
    stopped: watch::Receiver<bool>,
) -> &'static str {
    let usage = Arc::new(Usage::new(patience));
    let mut builder = Builder::new(TokioExecutor::new());
    // hyper's own clock counts waiting for a next request as reading its head; ours tells them apart.
    builder.http1().header_read_timeout(None).max_buf_size(HTTP_HEAD_BYTES_MAX);
    builder
        .http2()
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HTTP_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX);
    let answer = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(reached.clone());
        answer(site.clone(), Arc::clone(&usage), request)
    });
    let io = TokioIo::new(Flow::new(wire, Arc::clone(&usage)));
    let mut connection = pin!(builder.serve_connection(io, answer));
    let mut alarm = pin!(sleep(patience.first));
    let mut stop = pin!(is_stopped(stopped));
    let mut is_stopping = false;
    poll_fn(|context| {
        if !is_stopping && stop.as_mut().poll(context).is_ready() {
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP connection broke off");
            }
            return Poll::Ready(if is_stopping { "shutdown" } else { "ended" });
        }
        let Some((deadline, reason)) = usage.deadline() else { return Poll::Pending };
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(context).map(|()| reason)
    })
    .await
}

async fn answer(
    site: Site,
    usage: Arc<Usage>,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let under_way = Usage::request(&usage);
    let response = match site {
        Site::Open(router) => TowerToHyperService::new(router).call(request).await?,
        Site::OverLimit => over_limit(),
    };
    Ok(response.map(|body| Body::new(under_way.until_the_end_of(body))))
}

fn over_limit() -> Response {
    let message = "as many connections are open as are allowed (http.connections_max)";
    let mut response = ApiError::unavailable("too_many_connections", message).into_response();
    let close = axum::http::HeaderValue::from_static("close");
    response.headers_mut().insert(axum::http::header::CONNECTION, close);
    response
}
