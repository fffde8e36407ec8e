//! Every route of the API, and what each checks before it asks the [`Source`].

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::delete;
use axum::routing::get;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::api::body;
use crate::api::body::BodyError;
use crate::api::error::ApiError;
use crate::api::events::events;
use crate::api::plan::RulePlan;
use crate::api::query::Params;
use crate::api::rule_set::ReloadResult;
use crate::api::series::SeriesSpan;
use crate::api::source::HitFilter;
use crate::api::source::NewRecord;
use crate::api::source::Source;
use crate::api::source::SourceError;
use crate::api::streams;
use crate::api::view::ListenerView;
use crate::api::view::Overview;
use crate::api::view::Placed;
use crate::api::view::Readiness;
use crate::api::view::RuleDetail;
use crate::api::view::TableEntry;
use crate::limits::API_BODY_BYTES_MAX;
use crate::limits::API_RECORDS_BYTES_MAX;
use crate::limits::EVENT_CLIENTS_MAX;
use crate::limits::HOLDS_SHOWN_MAX;
use crate::limits::PARTITION_KEY_CHARS_MAX;
use crate::rule::switch::Setting;

const OPENAPI: &str = include_str!("openapi.json");
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What every route sees.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) source: Arc<dyn Source>,
    /// One for each live page that may be open.
    pub(super) event_permits: Arc<Semaphore>,
    /// How long a body may take to arrive.
    pub(super) body_timeout: Duration,
}

/// Health, metrics and `/api/…`, without the [`super::guard`] that the whole site wears.
/// A request's body may take `body_timeout` to arrive.
pub(crate) fn router(source: Arc<dyn Source>, body_timeout: Duration) -> Router {
    let event_permits = Arc::new(Semaphore::new(EVENT_CLIENTS_MAX));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/openapi.json", get(openapi))
        .route("/api/overview", get(overview))
        .route("/api/series", get(series))
        .route("/api/events", get(events))
        .route("/api/rules", get(rules))
        .route("/api/rules/reload", post(reload_rules).get(rule_named_reload))
        .route("/api/rules/:name", get(rule))
        .route("/api/rules/:name/explain", get(explain_rule))
        .route("/api/rules/:name/enable", post(enable_rule))
        .route("/api/rules/:name/disable", post(disable_rule))
        .route("/api/hits", get(hits))
        .route("/api/hits/:id", get(hit))
        .route("/api/streams", get(list_streams))
        .route("/api/streams/:name", get(streams::stream))
        .route("/api/streams/:name/reshard", post(streams::reshard))
        .route("/api/streams/:name/records", get(stream_records).post(put_record))
        .route("/api/tables", get(tables))
        .route("/api/tables/:name", get(table_entries))
        .route("/api/tables/:name/:key", get(table_entry).delete(forget_entry))
        .route("/api/deliveries", get(deliveries))
        .route("/api/deliveries/:name/flush", post(flush_delivery))
        .route("/api/hooks", get(hooks))
        .route("/api/upstreams", get(upstreams))
        .route("/api/hooks/:name/dead-letters", get(dead_letters))
        .route("/api/clients", get(clients))
        .route("/api/clients/:id", delete(kick_client))
        .route("/api/listeners", get(listeners))
        .route("/api/listeners/reload", post(reload_certificates))
        .fallback(no_such_route)
        .with_state(Shared { source, event_permits, body_timeout })
}

async fn healthz() -> Json<serde_json::Value> {
    Json(json!({"status": "alive"}))
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let readiness = shared.source.readiness();
    let status = match readiness {
        Readiness::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    // What streams hold is read from the disk.
    let source = Arc::clone(&shared.source);
    match tokio::task::spawn_blocking(move || source.metrics_text()).await {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn overview(
    State(shared): State<Shared>,
    params: Params,
) -> Result<Json<Overview>, ApiError> {
    params.only(&[])?;
    Ok(Json(shared.source.overview()))
}

async fn series(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let params = params.only(&["span"])?;
    let span = match params.choice("span", &["5m", "24h"])? {
        Some("24h") => SeriesSpan::MINUTES,
        _ => SeriesSpan::SECONDS,
    };
    let mut series = shared.source.series(span);
    series.keep_busiest();
    Ok(Json(series).into_response())
}

async fn rules(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(json!({"rules": shared.source.rules()})).into_response())
}

async fn rule(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Json<RuleDetail>, ApiError> {
    params.only(&[])?;
    let answer = shared.source.rule(&name, HOLDS_SHOWN_MAX).await;
    answer.map(Json).map_err(|error| shared.rule_error(&name, error))
}

async fn explain_rule(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Json<RulePlan>, ApiError> {
    params.only(&[])?;
    let plan = shared.source.explain_rule(&name).map(Json);
    plan.ok_or_else(|| shared.rule_error(&name, SourceError::Unknown))
}

async fn enable_rule(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Json<RuleDetail>, ApiError> {
    shared.switch_rule(&name, Setting::Enabled, params).await
}

async fn disable_rule(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Json<RuleDetail>, ApiError> {
    shared.switch_rule(&name, Setting::Disabled, params).await
}

/// A rule may be called `reload`; GET shows it like any other.
async fn rule_named_reload(
    shared: State<Shared>,
    params: Params,
) -> Result<Json<RuleDetail>, ApiError> {
    rule(shared, Name("reload".to_owned()), params).await
}

/// 200 when the rules on disk run; 422 when they are refused, with what is wrong with them.
async fn reload_rules(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    let report = shared.source.reload_rules().await?;
    let (status, code) = match report.result {
        ReloadResult::Applied => return Ok(Json(&*report).into_response()),
        ReloadResult::Refused => (StatusCode::UNPROCESSABLE_ENTITY, "rules_refused"),
        ReloadResult::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    Ok(ApiError::new(status, code, &*report.message).with("reload", &*report).into_response())
}

async fn hits(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let params = params.only(&["rule", "event", "before", "limit"])?;
    let filter = HitFilter {
        rule: params.text("rule").map(str::to_owned),
        event: params.choice("event", &["match", "firing", "cleared", "window"])?,
        before: params.cursor("before")?,
    };
    let named = filter.rule.clone();
    let hits = shared.source.hits(filter, params.limit()?).await?;
    // Hits outlive their rule, so a name is only wrong when nothing has ever had it.
    if let Some(name) = named.filter(|_| hits.is_empty())
        && !shared.source.rules().iter().any(|rule| *rule.name == *name)
    {
        return Err(shared.rule_error(&name, SourceError::Unknown));
    }
    Ok(Json(json!({"hits": hits})).into_response())
}

async fn hit(
    State(shared): State<Shared>,
    Name(id): Name,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let gone = || ApiError::new(StatusCode::NOT_FOUND, "unknown_hit", "no hit of this id is kept");
    let id = id.parse().map_err(|_| gone())?;
    match shared.source.hit(id).await {
        Ok(hit) => Ok(Json(hit).into_response()),
        Err(SourceError::Unknown) => Err(gone()),
        Err(error) => Err(error.into()),
    }
}

async fn list_streams(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(json!({"streams": shared.source.streams().await?})).into_response())
}

async fn stream_records(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&["from", "limit"])?;
    let (from, limit) = (params.read_from()?, params.limit()?);
    match shared.source.stream_records(&name, from, limit, API_RECORDS_BYTES_MAX).await {
        Ok(records) => Ok(Json(json!({"records": records})).into_response()),
        Err(error) => Err(shared.explain_stream(&name, error).await),
    }
}

/// Body of `POST /api/streams/{name}/records`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutBody {
    partition_key: String,
    data: Option<Box<RawValue>>,
    data_base64: Option<String>,
    hash_key: Option<String>,
}

async fn put_record(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Placed>, ApiError> {
    params.only(&[])?;
    let body = json_body(&headers, body, shared.body_timeout).await?;
    let record = new_record(&body)?;
    match shared.source.put_record(&name, record).await {
        Ok(placed) => Ok(Json(placed)),
        Err(error) => Err(shared.explain_stream(&name, error).await),
    }
}

/// Reads a JSON body within its bounds. The content type is insisted on because a foreign page can
/// send a form without asking, and JSON only after a preflight that nothing here answers.
pub(super) async fn json_body(
    headers: &HeaderMap,
    body: Body,
    limit: Duration,
) -> Result<Bytes, ApiError> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "the body must be sent as Content-Type: application/json",
        ));
    }
    body::read(body, API_BODY_BYTES_MAX, limit).await.map_err(ApiError::from)
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let (status, code) = match error {
            BodyError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            BodyError::BrokenOff => (StatusCode::BAD_REQUEST, "bad_body"),
            BodyError::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
        };
        ApiError::new(status, code, error.to_string())
    }
}

fn new_record(body: &[u8]) -> Result<NewRecord, ApiError> {
    let body: PutBody = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request("bad_json", error.to_string()))?;
    let refuse = |message: &str| Err(ApiError::bad_request("bad_record", message));
    let data = match (body.data, body.data_base64) {
        (Some(json), None) => Bytes::copy_from_slice(json.get().as_bytes()),
        (None, Some(base64)) => match STANDARD.decode(base64) {
            Ok(data) => data.into(),
            Err(_) => return refuse("data_base64 is not base64 with padding"),
        },
        _ => return refuse("give either data (any JSON) or data_base64"),
    };
    if !(1..=PARTITION_KEY_CHARS_MAX).contains(&body.partition_key.chars().count()) {
        let message = format!("partition_key has 1 to {PARTITION_KEY_CHARS_MAX} characters");
        return refuse(&message);
    }
    let hash_key = match body.hash_key.map(|text| text.parse::<u128>()).transpose() {
        Ok(hash_key) => hash_key,
        Err(_) => return refuse("hash_key is a decimal below 2^128, in quotes"),
    };
    Ok(NewRecord { partition_key: body.partition_key, hash_key, data })
}

async fn tables(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(json!({"tables": shared.source.tables().await?})).into_response())
}

async fn table_entries(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&["after", "limit"])?;
    let (after, limit) = (params.text("after"), params.limit()?);
    match shared.source.table_entries(&name, after, limit, API_RECORDS_BYTES_MAX).await {
        Ok(entries) => Ok(Json(json!({"entries": entries})).into_response()),
        Err(SourceError::Unknown) => {
            let tables = shared.source.tables().await?;
            Err(ApiError::unknown("table", &name, tables.iter().map(|table| &*table.name)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn table_entry(
    State(shared): State<Shared>,
    NameAndKey(name, key): NameAndKey,
    params: Params,
) -> Result<Json<TableEntry>, ApiError> {
    params.only(&[])?;
    let entry = shared.source.table_entry(&name, &key).await;
    entry.map(Json).map_err(|error| explain_entry(&name, error))
}

async fn forget_entry(
    State(shared): State<Shared>,
    NameAndKey(name, key): NameAndKey,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.only(&[])?;
    let forgotten = shared.source.forget_entry(&name, &key).await;
    forgotten.map(|()| StatusCode::NO_CONTENT).map_err(|error| explain_entry(&name, error))
}

fn explain_entry(table: &str, error: SourceError) -> ApiError {
    match error {
        SourceError::Unknown => {
            let table: String = table.chars().take(128).collect();
            let message = format!("the table '{table}' has no such key");
            ApiError::new(StatusCode::NOT_FOUND, "unknown_key", message)
        }
        error => error.into(),
    }
}

async fn deliveries(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(json!({"deliveries": shared.source.deliveries().await?})).into_response())
}

async fn flush_delivery(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.only(&[])?;
    match shared.source.flush_delivery(&name).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(SourceError::Unknown) => {
            let deliveries = shared.source.deliveries().await?;
            let names = deliveries.iter().map(|delivery| &*delivery.name);
            Err(ApiError::unknown("delivery", &name, names))
        }
        Err(error) => Err(error.into()),
    }
}

async fn upstreams(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(json!({"upstreams": shared.source.upstreams()})).into_response())
}

async fn hooks(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(json!({"hooks": shared.source.hooks().await?})).into_response())
}

async fn dead_letters(
    State(shared): State<Shared>,
    Name(name): Name,
    params: Params,
) -> Result<Response, ApiError> {
    let params = params.only(&["before", "limit"])?;
    let (before, limit) = (params.cursor("before")?, params.limit()?);
    match shared.source.dead_letters(&name, before, limit).await {
        Ok(letters) => Ok(Json(json!({"dead_letters": letters})).into_response()),
        Err(SourceError::Unknown) => {
            let hooks = shared.source.hooks().await?;
            Err(ApiError::unknown("hook", &name, hooks.iter().map(|hook| &*hook.name)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn clients(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let params = params.only(&["limit"])?;
    let clients = shared.source.clients(params.limit()?);
    let total = shared.source.overview().totals.clients;
    Ok(Json(json!({"clients": clients, "total": total})).into_response())
}

async fn listeners(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(json!({"listeners": shared.source.listeners()})).into_response())
}

/// 200 when all certificates on disk are served; 422 when one of them is no good.
async fn reload_certificates(
    State(shared): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let listeners = shared.source.reload_certificates().await?;
    let is_bad = |listener: &&ListenerView| {
        listener.certificate.as_ref().is_some_and(|certificate| certificate.error.is_some())
    };
    let Some(bad) = listeners.iter().find(is_bad) else {
        return Ok(Json(json!({"listeners": listeners})).into_response());
    };
    let message = format!("the certificate of {} stays as it was: the new one is bad", bad.name);
    let refused = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "certificate_refused", message);
    Ok(refused.with("listeners", &listeners).into_response())
}

async fn kick_client(
    State(shared): State<Shared>,
    Name(id): Name,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.only(&[])?;
    if shared.source.kick_client(&id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let id: String = id.chars().take(128).collect();
    let message = format!("no client '{id}' is connected");
    Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_client", message))
}

async fn no_such_route(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(128).collect();
    let message = format!("nothing is at '{path}'; /api/openapi.json lists what is");
    ApiError::new(StatusCode::NOT_FOUND, "unknown_route", message)
}

impl Shared {
    async fn switch_rule(
        &self,
        name: &str,
        setting: Setting,
        params: Params,
    ) -> Result<Json<RuleDetail>, ApiError> {
        params.only(&[])?;
        let switched = self.source.switch_rule(name, setting).await;
        switched.map(Json).map_err(|error| self.rule_error(name, error))
    }

    fn rule_error(&self, name: &str, error: SourceError) -> ApiError {
        match error {
            SourceError::Unknown => {
                let rules = self.source.rules();
                ApiError::unknown("rule", name, rules.iter().map(|rule| &*rule.name))
            }
            error => error.into(),
        }
    }

    pub(super) async fn explain_stream(&self, name: &str, error: SourceError) -> ApiError {
        match error {
            SourceError::Unknown => match self.source.streams().await {
                Ok(streams) => {
                    let names = streams.iter().map(|stream| &*stream.name);
                    ApiError::unknown("stream", name, names)
                }
                Err(error) => error.into(),
            },
            error => error.into(),
        }
    }
}

/// The one variable part of a path. axum's own extractor answers bad UTF-8 in plain text.
pub(super) struct Name(pub(super) String);

/// The two variable parts of a path.
struct NameAndKey(String, String);

#[axum::async_trait]
impl<S: Send + Sync> FromRequestParts<S> for NameAndKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((name, key))) => Ok(NameAndKey(name, key)),
            Err(_) => Err(ApiError::bad_request("bad_path", "the path is not UTF-8")),
        }
    }
}

#[axum::async_trait]
impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Name(name)),
            Err(_) => Err(ApiError::bad_request("bad_path", "the path is not UTF-8")),
        }
    }
}
