//! The dashboard: one page and its files, embedded in the binary.
//!
//! In: an [`api::Source`]. Out: [`site`], the router of everything that is served over HTTP: the
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
use crate::api::Source;
use crate::api::count;
use crate::api::guard::guard;

/// Everything the gateway serves over HTTP. A request's body may take `body_timeout` to arrive; what
/// is asked and refused is counted in `metrics`.
pub fn site(source: Arc<dyn Source>, body_timeout: Duration, metrics: HttpMetrics) -> Router {
    api::router(Arc::clone(&source), body_timeout)
        .merge(assets::router())
        .layer(from_fn_with_state(source, guard))
        .layer(from_fn_with_state(metrics, count))
}
