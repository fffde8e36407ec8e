//! The listening socket of the HTTP side: accepts within a limit, cuts who wastes a place, and shuts
//! down in order.
//!
//! In: [`HttpConfig`] and the router of everything that is served. Each connection is one task that
//! polls hyper and, beside it, one clock: [`Usage`] knows whether a request is under way, since when
//! none is, and since when the client takes nothing of what waits for it. The clock looks at requests
//! and not at bytes, so it is the same for every version of HTTP, and an answer that never ends (the
//! live feed) is a request under way.
//!
//! Over `connections_max` a few connections are still served, each with one 503 that says why, and the
//! rest are closed at once. Handlers bound what a body may take ([`super::routes`]).

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
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
use crate::accept::Acceptor;
use crate::config::HttpConfig;
use crate::limits::HTTP_HEAD_BYTES_MAX;
use crate::limits::HTTP_REFUSAL_TIMEOUT;
use crate::limits::HTTP_REFUSALS_MAX;
use crate::limits::HTTP_SHUTDOWN_GRACE;

/// A listening HTTP server, ready to [`Server::run`].
#[derive(Debug)]
pub struct Server {
    acceptor: Acceptor,
    connections_max: usize,
    patience: Patience,
    metrics: HttpMetrics,
}

/// What a connection is served with.
#[derive(Clone)]
enum Site {
    /// Everything.
    Open(Router),
    /// One 503: there are too many connections.
    OverLimit,
}

impl Server {
    /// Listens on `config.listen` (port 0 picks one). Clients wait in the system's backlog until
    /// [`Server::run`].
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub async fn bind(config: &HttpConfig, metrics: HttpMetrics) -> io::Result<Server> {
        let acceptor = Acceptor::bind(config.listen, "HTTP").await?;
        let patience = Patience { first: config.header_timeout, next: config.idle_timeout };
        let connections_max = config.connections_max;
        metrics.connections_max.set(i64::try_from(connections_max).unwrap_or(i64::MAX));
        Ok(Server { acceptor, connections_max, patience, metrics })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.acceptor.local_addr()
    }

    /// Serves `site` until `stopped` turns true (or its sender is gone). Then idle connections are
    /// closed, requests under way get [`HTTP_SHUTDOWN_GRACE`], and what is left is cut.
    pub async fn run(self, site: Router, stopped: watch::Receiver<bool>) {
        let Server { mut acceptor, connections_max, patience, metrics } = self;
        let mut connections = JoinSet::new();
        let mut stop = pin!(is_stopped(stopped.clone()));
        loop {
            tokio::select! {
                () = stop.as_mut() => break,
                (stream, address) = acceptor.accept() => {
                    let open = connections.len();
                    let (site, patience) = if open < connections_max {
                        (Site::Open(site.clone()), patience)
                    } else {
                        metrics.count_refused("connections_max");
                        if open >= connections_max + HTTP_REFUSALS_MAX {
                            continue;
                        }
                        let brief = patience.first.min(HTTP_REFUSAL_TIMEOUT);
                        (Site::OverLimit, Patience { first: brief, next: Duration::ZERO })
                    };
                    tracing::debug!(%address, "HTTP connection");
                    metrics.connections.inc();
                    let connection = serve(stream, site, patience, stopped.clone());
                    connections.spawn(connection);
                }
                Some(ended) = connections.join_next() => reap(&metrics, ended),
            }
        }
        drop(acceptor);
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                reap(&metrics, ended);
            }
        };
        if tokio::time::timeout(HTTP_SHUTDOWN_GRACE, drained).await.is_err() {
            tracing::warn!(connections = connections.len(), "HTTP connections cut at shutdown");
            connections.shutdown().await;
        }
    }
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
    stream: TcpStream,
    site: Site,
    patience: Patience,
    stopped: watch::Receiver<bool>,
) -> &'static str {
    let usage = Arc::new(Usage::new(patience));
    let mut builder = Builder::new(TokioExecutor::new());
    // hyper's own clock counts waiting for a next request as reading its head; ours tells them apart.
    builder.http1().header_read_timeout(None).max_buf_size(HTTP_HEAD_BYTES_MAX);
    let answer = service_fn(|request| answer(site.clone(), Arc::clone(&usage), request));
    let io = TokioIo::new(Flow::new(stream, Arc::clone(&usage)));
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
