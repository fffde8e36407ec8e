//! One stream with its shards, and changing which shards it has.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::query::Params;
use crate::api::routes::Name;
use crate::api::routes::Shared;
use crate::api::routes::json_body;
use crate::api::view::Kept;
use crate::api::view::Millis;
use crate::api::view::StreamView;
use crate::api::view::Text;
use crate::api::view::opt_duration_ms;

/// A stream with its shards.
#[derive(Clone, Debug, Serialize)]
pub struct StreamDetail {
    /// As in the list.
    #[serde(flatten)]
    pub stream: StreamView,
    /// `provisioned` or `on_demand`.
    pub mode: &'static str,
    /// Bytes of data and keys that it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_max: Option<u64>,
    /// What is over it: `refuse` or `drop_oldest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<&'static str>,
    /// Records refused for want of room, since the start.
    pub refused_records: u64,
    /// Records dropped to make room, since the start.
    pub dropped_records: u64,
    /// Shards, closed ones included, in order of their numbers; the first
    /// [`crate::limits::SHARDS_SHOWN_MAX`] of them.
    pub shard_list: Vec<ShardView>,
    /// How many there are.
    pub shards_total: u64,
    /// The rules that read it.
    pub readers: Vec<StreamReader>,
}

/// A shard. What is counted, is counted since the start.
#[derive(Clone, Debug, Serialize)]
pub struct ShardView {
    /// `shardId-000000000000`
    pub shard: String,
    /// Decimal.
    pub starting_hash_key: String,
    /// Decimal.
    pub ending_hash_key: String,
    /// The shards that it took its hash keys over from.
    pub parents: Vec<String>,
    /// Since when it takes no records any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Millis>,
    /// What is in it.
    #[serde(flatten)]
    pub kept: Kept,
    /// Records that came in.
    pub in_records: u64,
    /// Bytes that came in.
    pub in_bytes: u64,
    /// Records given to readers of the Kinesis API.
    pub out_records: u64,
    /// Bytes given to them.
    pub out_bytes: u64,
    /// Records refused by the limits of the shard.
    pub throttled_in: u64,
    /// Reads refused by them.
    pub throttled_out: u64,
    /// How far the furthest reader of the last minute or two is behind.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "opt_duration_ms",
        rename = "iterator_age_ms"
    )]
    pub iterator_age: Option<Duration>,
}

/// A rule that reads a stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReader {
    /// Its name.
    pub rule: Text,
    /// Records that it has still to read.
    pub lag_records: u64,
}

/// Another set of shards.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Reshard {
    /// A shard becomes two.
    Split {
        /// `shardId-000000000000`
        shard: String,
        /// The lowest hash key of the second, decimal; in the middle when it is not given.
        at: Option<String>,
    },
    /// Two shards that are next to each other become one.
    Merge {
        /// In either order.
        shards: [String; 2],
    },
    /// So many shards of the same size.
    Count {
        /// Half to double of what there is.
        shards: u32,
    },
}

pub(super) async fn stream(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Json<StreamDetail>, ApiError> {
    params.only(&[])?;
    match shared.source.stream(&name).await {
        Ok(detail) => Ok(Json(detail)),
        Err(error) => Err(shared.explain_stream(&name, error).await),
    }
}

pub(super) async fn reshard(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<StreamDetail>, ApiError> {
    params.only(&[])?;
    let body = json_body(&headers, body, shared.body_timeout).await?;
    let change: Reshard = serde_json::from_slice(&body).map_err(|error| {
        let forms = r#"{"split": {"shard": …}}, {"merge": {"shards": [… , …]}} or {"count": {"shards": …}}"#;
        ApiError::bad_request("bad_body", format!("{error}; the body is {forms}"))
    })?;
    match shared.source.reshard(&name, change).await {
        Ok(detail) => Ok(Json(detail)),
        Err(error) => Err(shared.explain_stream(&name, error).await),
    }
}
