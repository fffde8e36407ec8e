//! The page's files: what is embedded, under which path, of which type.
//!
//! A file is asked for again each time the page opens (`no-cache`) and answered with 304 while it is
//! the same, so that a new binary never meets an old script.

use std::fmt::Write;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use sha2::Digest;
use sha2::Sha256;

/// An embedded file.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

macro_rules! assets {
    ($($path:literal $kind:literal $file:literal,)*) => {
        &[$(Asset {
            path: $path,
            content_type: $kind,
            content: include_str!(concat!("assets/", $file)),
        }),*]
    };
}

const ASSETS: &[Asset] = assets![
    "/" "text/html; charset=utf-8" "index.html",
    "/assets/icon.svg" "image/svg+xml" "icon.svg",
    "/assets/app.css" "text/css; charset=utf-8" "app.css",
    "/assets/colours.css" "text/css; charset=utf-8" "colours.css",
    "/assets/rules.css" "text/css; charset=utf-8" "rules.css",
    "/assets/hits.css" "text/css; charset=utf-8" "hits.css",
    "/assets/targets.css" "text/css; charset=utf-8" "targets.css",
    "/assets/detail.css" "text/css; charset=utf-8" "detail.css",
    "/assets/shards.css" "text/css; charset=utf-8" "shards.css",
    "/assets/api.js" "text/javascript; charset=utf-8" "api.js",
    "/assets/app.js" "text/javascript; charset=utf-8" "app.js",
    "/assets/chart.js" "text/javascript; charset=utf-8" "chart.js",
    "/assets/contents.js" "text/javascript; charset=utf-8" "contents.js",
    "/assets/dom.js" "text/javascript; charset=utf-8" "dom.js",
    "/assets/format.js" "text/javascript; charset=utf-8" "format.js",
    "/assets/highlight.js" "text/javascript; charset=utf-8" "highlight.js",
    "/assets/hits.js" "text/javascript; charset=utf-8" "hits.js",
    "/assets/live.js" "text/javascript; charset=utf-8" "live.js",
    "/assets/overview.js" "text/javascript; charset=utf-8" "overview.js",
    "/assets/rule_detail.js" "text/javascript; charset=utf-8" "rule_detail.js",
    "/assets/rules.js" "text/javascript; charset=utf-8" "rules.js",
    "/assets/series.js" "text/javascript; charset=utf-8" "series.js",
    "/assets/shards.js" "text/javascript; charset=utf-8" "shards.js",
    "/assets/targets.js" "text/javascript; charset=utf-8" "targets.js",
    "/assets/theme.js" "text/javascript; charset=utf-8" "theme.js",
];

/// The page and its files.
pub(super) fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let etag = etag(asset.content);
        router.route(
            asset.path,
            get(move |headers: HeaderMap| async move { serve(asset, &etag, &headers) }),
        )
    })
}

fn serve(asset: &'static Asset, etag: &str, headers: &HeaderMap) -> Response {
    let tags: [(HeaderName, &str); 2] = [(header::ETAG, etag), (header::CACHE_CONTROL, "no-cache")];
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| value == etag);
    if known {
        return (StatusCode::NOT_MODIFIED, tags).into_response();
    }
    (tags, [(header::CONTENT_TYPE, asset.content_type)], asset.content).into_response()
}

/// A quoted digest of the content.
fn etag(content: &str) -> String {
    let digest = Sha256::digest(content);
    let mut etag = String::with_capacity(34);
    etag.push('"');
    for byte in digest.iter().take(16) {
        write!(etag, "{byte:02x}").expect("writing to a String cannot fail");
    }
    etag.push('"');
    etag
}
