//! How a request fails: always JSON `{"error":{"code","message"}}`, with the status that fits. Where more is
//! known than fits a sentence, it stands beside `error`.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use crate::api::source::SourceError;
use crate::diagnostic::nearest;
use crate::diagnostic::suggestion;
use crate::limits::API_RETRY_AFTER;

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Whether asking again later makes sense: the answer says when.
    is_temporary: bool,
    /// What else the body says: a name, and its content.
    detail: Option<(&'static str, serde_json::Value)>,
}

/// The code of an error, left with its answer for whoever counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal(pub(crate) &'static str);

impl ApiError {
    /// `code` is stable, `message` is for people.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, code, message: message.into(), is_temporary: false, detail: None }
    }

    /// The same with `content` beside the error in its body.
    pub(crate) fn with(mut self, name: &'static str, content: impl Serialize) -> Self {
        let content = serde_json::to_value(content);
        self.detail = Some((name, content.expect("views have string keys and no failing parts")));
        self
    }

    /// 400: the query or the body is not what the route takes.
    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 503 with Retry-After.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let refused = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        ApiError { is_temporary: true, ..refused }
    }

    /// 404, with the nearest of the names that there are.
    pub(crate) fn unknown<'a>(
        kind: &str,
        name: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let name = shortened(name);
        let near = suggestion(nearest(&name, names));
        let message = format!("there is no {kind} named '{name}'{near}");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_name", message)
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        let message = error.to_string();
        match error {
            SourceError::Unknown => ApiError::new(StatusCode::NOT_FOUND, "unknown_name", message),
            SourceError::Forbidden(_) => {
                ApiError::new(StatusCode::UNAUTHORIZED, "not_authorized", message)
            }
            SourceError::Refused(_) => ApiError::bad_request("refused", message),
            SourceError::Busy(_) => ApiError::unavailable("busy", message),
            SourceError::Unsettled(_) => ApiError::unavailable("outcome_unknown", message),
            SourceError::Failed(_) => {
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({"error": {"code": self.code, "message": self.message}});
        if let Some((name, content)) = self.detail {
            body[name] = content;
        }
        let mut response = (self.status, Json(body)).into_response();
        response.extensions_mut().insert(Refusal(self.code));
        if self.is_temporary {
            let seconds = HeaderValue::from(API_RETRY_AFTER.as_secs());
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// A name as long as a message quotes it; comparing takes time in the product of the lengths, too.
fn shortened(name: &str) -> String {
    name.chars().take(128).collect()
}
