//! The JSON admin API, the live feed (SSE), health and metrics.
//!
//! In: a [`Source`], which the gateway implements. Out: [`router`], an axum router, and the
//! [`Server`] that serves it to a bounded number of connections. The view types
//! ([`view`]) are the API's own, so that what the domain calls things may change without the API
//! changing. Only `POST /api/streams/{name}/records` and `POST /api/rules/reload` change anything.
//!
//! Invariants: every answer of every route is bounded (`limits`); every error is JSON
//! `{"error":{"code","message"}}`; a page of another origin can neither read nor write
//! ([`guard`]); a slow reader of the live feed loses hits and is told, and costs nobody else
//! anything ([`feed`]).
//!
//! Read [`source`] first, then `routes`; `server` is the socket under them.

pub mod feed;
pub mod guard;
pub mod payload;
pub mod plan;
pub mod rule_set;
pub mod series;
pub mod source;
pub mod view;

mod error;
mod events;
mod metrics;
mod query;
mod routes;
mod server;
mod usage;

pub use feed::HitFeed;
pub use feed::HitReader;
pub use metrics::HttpMetrics;
pub(crate) use metrics::count;
pub(crate) use routes::router;
pub use series::RateRing;
pub use series::SeriesSpan;
pub use series::SeriesView;
pub use server::Server;
pub use source::Source;
pub use source::SourceError;
