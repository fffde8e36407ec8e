//! The dashboard: one page and its files, embedded in the binary.
//!
//! In: an [`api::Source`]. Out: [`site`], the router of everything that is served over HTTP: the
//! page, the API under it, and the [`guard`] over both. The page asks nothing of any other host,
//! needs no build step and no framework; its scripts are ES modules named after what they show.
//! Everything that comes from a device reaches the page as text nodes only.

mod assets;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::api;
use crate::api::Source;
use crate::api::guard::guard;

/// Everything the gateway serves over HTTP.
pub fn site(source: Arc<dyn Source>) -> Router {
    api::router(Arc::clone(&source))
        .merge(assets::router())
        .layer(from_fn_with_state(source, guard))
}
