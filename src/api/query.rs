//! The query of a request: known names only, each once, each value checked.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::api::error::ApiError;
use crate::api::source::ReadFrom;
use crate::clock::Timestamp;
use crate::diagnostic::nearest;
use crate::diagnostic::suggestion;
use crate::limits::API_PAGE_DEFAULT;
use crate::limits::API_PAGE_MAX;
use crate::limits::API_QUERY_BYTES_MAX;

/// A request's query, taken apart. Bounded by [`API_QUERY_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

#[axum::async_trait]
impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if parts.uri.query().is_some_and(|query| query.len() > API_QUERY_BYTES_MAX) {
            return Err(ApiError::new(
                StatusCode::URI_TOO_LONG,
                "query_too_long",
                format!("a query has at most {API_QUERY_BYTES_MAX} bytes"),
            ));
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::bad_request("bad_query", "the query is not name=value pairs"))?;
        Ok(Params { pairs })
    }
}

impl Params {
    /// Refuses names that the route does not know, and names given twice.
    pub(super) fn only(self, known: &[&'static str]) -> Result<Self, ApiError> {
        for (n, (name, _)) in self.pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let takes = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                let name: String = name.chars().take(64).collect();
                let near = suggestion(nearest(&name, known.iter().copied()));
                let message = format!("unknown query parameter '{name}'; this takes {takes}{near}");
                return Err(ApiError::bad_request("bad_query", message));
            }
            if self.pairs.iter().take(n).any(|(earlier, _)| earlier == name) {
                let message = format!("query parameter '{name}' is given twice");
                return Err(ApiError::bad_request("bad_query", message));
            }
        }
        Ok(self)
    }

    /// A value; an empty one counts as not given, as a form sends it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// A cursor.
    pub(super) fn cursor(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.text(name).map(|text| number(name, text)).transpose()
    }

    /// `limit`: 1 to [`API_PAGE_MAX`].
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.text("limit") else { return Ok(API_PAGE_DEFAULT) };
        match number("limit", text)? {
            limit @ 1..=API_PAGE_MAX => Ok(limit),
            _ => {
                let message = format!("limit is from 1 to {API_PAGE_MAX}");
                Err(ApiError::bad_request("bad_query", message))
            }
        }
    }

    /// One of `choices`.
    pub(super) fn choice(
        &self,
        name: &str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let choice = choices.iter().find(|choice| **choice == text).copied();
        choice.map(Some).ok_or_else(|| {
            let message = format!("{name} is one of {}", choices.join(", "));
            ApiError::bad_request("bad_query", message)
        })
    }

    /// `from`: `trim-horizon`, `latest`, or a time in RFC 3339 or epoch milliseconds.
    pub(super) fn read_from(&self) -> Result<ReadFrom, ApiError> {
        let time = match self.text("from") {
            None | Some("trim-horizon") => return Ok(ReadFrom::TrimHorizon),
            Some("latest") => return Ok(ReadFrom::Latest),
            Some(time) => time,
        };
        let millis = time
            .parse::<i64>()
            .ok()
            .or_else(|| time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond));
        millis.map(|millis| ReadFrom::At(Timestamp::from_millis(millis))).ok_or_else(|| {
            let message = "from is trim-horizon, latest, a time such as 2026-01-31T12:00:00Z, \
                           or epoch milliseconds";
            ApiError::bad_request("bad_query", message)
        })
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request("bad_query", format!("{name} is a whole number, zero or more"))
    })
}
