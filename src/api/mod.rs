//! The JSON admin API, the live feed (SSE), health and metrics.
//!
//! In: a [`Source`], which the gateway implements. Out: [`router`], an axum router, and the
//! [`Server`] that serves it to a bounded number of connections. The view types
//! ([`view`]) are the API's own, so that what the domain calls things may change without the API
//! changing. Publishing over HTTP stands beside it: AWS IoT's data plane ([`publish`]), with AWS's own errors.
//!
//! Invariants: every answer of every route is bounded (`limits`); every error of `/api` is JSON
//! `{"error":{"code","message"}}`; a page of another origin can neither read nor write
//! ([`guard`]); a slow reader of the live feed loses hits and is told, and costs nobody else
//! anything ([`feed`]).
//!
//! Read [`source`] first, then `routes`; `server` is the socket under them.

pub mod feed;
pub mod guard;
pub mod lock;
pub mod payload;
pub mod plan;
pub mod rule_set;
pub mod series;
pub mod source;
pub mod view;

pub(crate) mod body;
mod error;
mod events;
mod metrics;
mod publish;
mod query;
mod routes;
mod server;
pub mod streams;
mod usage;

pub(crate) use error::Refusal;
pub use feed::HitFeed;
pub use feed::HitReader;
pub use metrics::HttpMetrics;
pub(crate) use metrics::count;
pub(crate) use publish::router as data_plane;
pub(crate) use routes::router;
pub use series::RateRing;
pub use series::SeriesSpan;
pub use series::SeriesView;
pub(crate) use server::Reached;
pub use server::Server;
pub use server::Sites;
pub use source::Source;
pub use source::SourceError;
