//! The dashboard: one page and its files, embedded in the binary.
//!
//! In: an [`api::Source`]. Out: [`sites`], the routers of everything that is served over HTTP: the
//! page, the API under it, and the [`guard`] over both. The page asks nothing of any other host,
//! needs no build step and no framework; its scripts are ES modules named after what they show.
//! Everything that comes from a device reaches the page as text nodes only.

mod assets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::api;
use crate::api::HttpMetrics;
use crate::api::Sites;
use crate::api::Source;
use crate::api::count;
use crate::api::guard::guard;
use crate::api::lock::HttpLock;
use crate::api::lock::unlock;

/// Everything the gateway serves over HTTP: with the dashboard and its API, and the data plane alone. A
/// request's body may take `body_timeout` to arrive, a published payload has at most
/// `payload_bytes_max` bytes; what is asked and refused is counted in `metrics`. `streams` is served beside the data
/// plane. With a `lock` nobody sees the dashboard and its API without a key; the others ask for their own.
pub fn sites(
    source: &Arc<dyn Source>,
    body_timeout: Duration,
    payload_bytes_max: usize,
    metrics: &HttpMetrics,
    streams: Router,
    lock: Option<HttpLock>,
) -> Sites {
    let dressed = |router: Router| {
        router
            .layer(from_fn_with_state(Arc::clone(source), guard))
            .layer(from_fn_with_state(metrics.clone(), count))
    };
    let data_plane = api::data_plane(Arc::clone(source), body_timeout, payload_bytes_max);
    let data_plane = data_plane.merge(streams);
    let mut dashboard = api::router(Arc::clone(source), body_timeout).merge(assets::router());
    if let Some(lock) = lock {
        dashboard = dashboard.layer(from_fn_with_state(lock, unlock));
    }
    Sites {
        dashboard: dressed(dashboard.merge(data_plane.clone())),
        data_plane: dressed(data_plane),
    }
}
