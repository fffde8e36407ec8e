//! How a request fails: always JSON `{"error":{"code","message"}}`, with the status that fits.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;

use crate::api::source::SourceError;
use crate::diagnostic::nearest;
use crate::diagnostic::suggestion;

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// `code` is stable, `message` is for people.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, code, message: message.into() }
    }

    /// 400: the query or the body is not what the route takes.
    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, code, message)
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
        let (status, code) = match &error {
            SourceError::Unknown => (StatusCode::NOT_FOUND, "unknown_name"),
            SourceError::Refused(_) => (StatusCode::BAD_REQUEST, "refused"),
            SourceError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            SourceError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        ApiError::new(status, code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        (self.status, Json(body)).into_response()
    }
}

/// A name as long as a message quotes it; comparing takes time in the product of the lengths, too.
fn shortened(name: &str) -> String {
    name.chars().take(128).collect()
}
