//! Who may use the HTTP side, where the configuration asks for that: a user of the users file who is in the
//! right group (Basic, which browsers ask for by themselves), or a program with the gateway's token
//! (Bearer).
//!
//! Health and readiness stay open: they say nothing but that. The [`guard`](super::guard) stands before
//! this, so no page of another origin can use what a browser remembers.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::access::Access;
use crate::access::Credentials;
use crate::access::Denied;
use crate::api::error::ApiError;
use crate::api::server::Reached;

/// Paths that need no key.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// What a browser is told to ask for.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"tidegate\", charset=\"UTF-8\"");

/// What opens the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpLock {
    access: Arc<Access>,
    /// Users have to be in it.
    group: Arc<str>,
    /// Of this gateway; compared in constant time.
    token: Arc<str>,
}

/// What a request shows of who sends it.
struct Shown {
    address: IpAddr,
    /// Scheme and value.
    authorization: Option<(String, String)>,
}

impl Shown {
    fn of(request: &Request) -> Shown {
        let reached = request.extensions().get::<Reached>();
        let address =
            reached.map_or(Ipv4Addr::UNSPECIFIED.into(), |reached| reached.peer.address.ip());
        let authorization = authorization(request.headers());
        let authorization =
            authorization.map(|(scheme, value)| (scheme.to_owned(), value.to_owned()));
        Shown { address, authorization }
    }
}

impl HttpLock {
    /// Opens to users in `group`, and to `token`.
    pub fn new(access: Arc<Access>, group: &str, token: &str) -> HttpLock {
        HttpLock { access, group: Arc::from(group), token: Arc::from(token) }
    }

    async fn check(&self, shown: Shown) -> Result<(), ApiError> {
        let Some((scheme, value)) = shown.authorization else {
            return Err(unknown("log in first"));
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return match is_same(value.as_bytes(), self.token.as_bytes()) {
                true => Ok(()),
                false => Err(unknown("this is not the gateway's token")),
            };
        }
        let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded
            .as_deref()
            .filter(|_| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|text| text.split_once(':'))
        else {
            return Err(unknown("send Basic or Bearer credentials"));
        };
        let found = self.access.login_user(Credentials {
            client_id: "",
            user_name: Some(user),
            password: Some(password.as_bytes()),
            address: shown.address,
            certificate: None,
        });
        let identity = found.await.map_err(|denied| match denied {
            Denied::TooManyFailures => ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "login_failures",
                "too many failed logins; try again in a minute",
            ),
            Denied::Busy => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "login_busy",
                "too many logins at once; try again",
            ),
            _ => unknown("wrong user name or password"),
        })?;
        if identity.groups.iter().any(|group| **group == *self.group) {
            return Ok(());
        }
        let message = format!("this is for users in the group {}", self.group);
        Err(ApiError::new(StatusCode::FORBIDDEN, "not_authorized", message))
    }
}

/// Lets a request through, or answers why not. A layer inside the guard.
pub(crate) async fn unlock(State(lock): State<HttpLock>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match lock.check(Shown::of(&request)).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = refusal.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
            }
            response
        }
    }
}

fn unknown(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "not_logged_in", message)
}

/// The one Authorization header's scheme and value.
fn authorization(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (one, None) = (all.next()?, all.next()) else { return None };
    let (scheme, value) = one.to_str().ok()?.split_once(' ')?;
    Some((scheme, value.trim()))
}

/// Compares without telling by the time it takes where the two differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_authorization_header_is_read_and_no_two() {
        let mut headers = HeaderMap::new();
        assert_eq!(authorization(&headers), None);
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer  x"));
        assert_eq!(authorization(&headers), Some(("Bearer", "x")));
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer y"));
        assert_eq!(authorization(&headers), None);
        assert!(is_same(b"ab", b"ab") && !is_same(b"ab", b"aB") && !is_same(b"ab", b"abc"));
    }
}
