//! Signatures of requests (AWS Signature Version 4, "Create a signed AWS API request").
//!
//! With access keys in the configuration every request must be signed with one of them: in the Authorization
//! header, or in the query (a presigned URL). Without, requests from this machine are answered unread, and those
//! from others are refused. The name of the service in the scope is not compared, nor the region: clients that
//! were made for another one work with nothing changed but the endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::http::header::InvalidHeaderValue;
use jiff::Timestamp as JiffTimestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ring::hmac;
use sha2::Digest;
use sha2::Sha256;

use super::fault::Fault;
use super::token::spelled;
use crate::clock::Timestamp;
use crate::limits::KINESIS_CLOCK_SKEW_MAX;
use crate::limits::KINESIS_PRESIGNED_MAX;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The access keys that requests may be signed with, by their ids.
#[derive(Clone, Default)]
pub struct AccessKeys(BTreeMap<String, String>);

impl AccessKeys {
    /// Ids and secrets.
    pub fn new(keys: impl IntoIterator<Item = (String, String)>) -> AccessKeys {
        AccessKeys(keys.into_iter().collect())
    }
}

impl fmt::Debug for AccessKeys {
    /// The ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A request as it is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// As it came, before it is decoded.
    pub(super) body: &'a [u8],
    /// Who sends it.
    pub(super) address: IpAddr,
}

/// What a request says of its signature.
#[derive(Debug, PartialEq)]
struct Claim<'a> {
    key: &'a str,
    /// Date, region, service, `aws4_request`.
    scope: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
    /// As it stands in the request.
    date: &'a str,
    /// For how long it is good, of a presigned request.
    life: Option<Duration>,
}

fn refused(kind: &'static str, message: impl Into<String>) -> Fault {
    Fault::new(kind, message)
}

fn incomplete(message: impl Into<String>) -> Fault {
    refused("IncompleteSignatureException", message)
}

impl AccessKeys {
    /// Whether the request may be answered.
    pub(super) fn check(&self, request: Signed<'_>, now: Timestamp) -> Result<(), Fault> {
        if self.0.is_empty() {
            return match request.address.to_canonical().is_loopback() {
                true => Ok(()),
                false => {
                    let message = "No access keys are configured ([access_key.ID]): only requests \
                                   from the gateway's own machine are answered.";
                    let status = StatusCode::FORBIDDEN;
                    let kind = "AccessDeniedException";
                    Err(Fault { status, kind, message: message.to_owned() })
                }
            };
        }
        let query = decoded_query(request.uri);
        let claim = claim(request.headers, &query)?;
        let Some(secret) = self.0.get(claim.key) else {
            let message = "The security token included in the request is invalid.";
            return Err(refused("UnrecognizedClientException", message));
        };
        check_time(&claim, now)?;
        let canonical = canonical(&request, &query, &claim)?;
        let hash = hex(&Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{}\n{}\n{hash}", claim.date, claim.scope);
        let signature = unhex(claim.signature).unwrap_or_default();
        hmac::verify(&signing_key(secret, claim.scope), text.as_bytes(), &signature).map_err(|_| {
            let message = "The request signature we calculated does not match the signature you \
                           provided. Check your AWS Secret Access Key and signing method. Consult \
                           the service documentation for details.";
            refused("InvalidSignatureException", message)
        })
    }
}

/// Signs requests to Kinesis, Amazon's or another gateway's.
#[derive(Clone)]
pub struct Signer {
    /// Id of the access key.
    pub key: String,
    /// Its secret.
    pub secret: String,
    /// Of keys that are good for a while only.
    pub session_token: Option<String>,
    /// Part of what is signed.
    pub region: String,
}

impl fmt::Debug for Signer {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Signer {
    /// Adds to the headers of a POST what says who sends it, `body` being what it is sent with. All of `headers` are
    /// signed, and the host of `uri`. `service` is the API's name in signatures: `kinesis`, `firehose`.
    ///
    /// # Errors
    /// The session token cannot be a header.
    pub fn sign(
        &self,
        service: &str,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), InvalidHeaderValue> {
        let at = JiffTimestamp::from_millisecond(now.as_millis()).unwrap_or_default();
        let date = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        headers.insert("x-amz-date", HeaderValue::try_from(&date)?);
        if let Some(token) = &self.session_token {
            headers.insert("x-amz-security-token", HeaderValue::try_from(token)?);
        }
        let day = date.split('T').next().unwrap_or_default();
        let scope = format!("{day}/{}/{service}/aws4_request", self.region);
        let mut signed: Vec<&str> =
            headers.keys().map(HeaderName::as_str).chain(["host"]).collect();
        signed.sort_unstable();
        signed.dedup();
        let names = signed.join(";");
        let claim = Claim {
            key: &self.key,
            scope: &scope,
            headers: signed,
            signature: "",
            date: &date,
            life: None,
        };
        let query = decoded_query(uri);
        let address = IpAddr::from([0, 0, 0, 0]);
        let request = Signed { method: &Method::POST, uri, headers, body, address };
        let canonical = canonical(&request, &query, &claim).expect("each signed header is there");
        let hash = hex(&Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
        let signature = hmac::sign(&signing_key(&self.secret, &scope), text.as_bytes());
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.key,
            hex(signature.as_ref())
        );
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(authorization)?);
        Ok(())
    }
}

type Query = Vec<(String, String)>;

/// The parameters of the query, decoded.
fn decoded_query(uri: &Uri) -> Query {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |place: usize| {
            after.get(place).and_then(|byte| char::from(*byte).to_digit(16)).unwrap_or(16)
        };
        let value = digit(0) * 16 + digit(1);
        (bytes, rest) = match (first, u8::try_from(value)) {
            (b'%', Ok(byte)) if digit(0) < 16 && digit(1) < 16 => {
                bytes.push(byte);
                (bytes, after.get(2..).unwrap_or_default())
            }
            _ => {
                bytes.push(*first);
                (bytes, after)
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every byte but the unreserved ones in percent form (RFC 3986).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    escaped
}

fn claim<'a>(headers: &'a HeaderMap, query: &'a Query) -> Result<Claim<'a>, Fault> {
    let value = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, value)| &**value);
    let in_query = value("X-Amz-Algorithm").is_some() || value("X-Amz-Signature").is_some();
    let in_header = headers.get(header::AUTHORIZATION);
    match (in_header, in_query) {
        (Some(_), true) => {
            let message = "Found both 'X-Amz-Algorithm' as a query-string param and \
                           'Authorization' as HTTP header.";
            Err(refused("InvalidSignatureException", message))
        }
        (Some(authorization), false) => {
            let text =
                authorization.to_str().map_err(|_| incomplete("Authorization is no text."))?;
            of_header(text, headers)
        }
        (None, true) => of_query(value),
        (None, false) => {
            Err(refused("MissingAuthenticationTokenException", "Missing Authentication Token"))
        }
    }
}

fn of_header<'a>(text: &'a str, headers: &'a HeaderMap) -> Result<Claim<'a>, Fault> {
    let Some(rest) = text.strip_prefix(ALGORITHM) else {
        return Err(incomplete(format!(
            "Unsupported AWS 'algorithm': '{}'.",
            super::fault::shortened(text.split(' ').next().unwrap_or_default())
        )));
    };
    let part = |name: &str| {
        let parts = rest.split(',').map(str::trim);
        let found = parts.filter_map(|part| part.split_once('=')).find(|(n, _)| *n == name);
        found.map(|(_, value)| value)
    };
    let mut missing = String::new();
    for name in ["Credential", "Signature", "SignedHeaders"] {
        if part(name).is_none_or(str::is_empty) {
            let _written = write!(missing, "Authorization header requires '{name}' parameter. ");
        }
    }
    let date = headers.get("x-amz-date").or_else(|| headers.get(header::DATE));
    let date = date.and_then(|date| date.to_str().ok());
    if date.is_none() {
        missing.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    let (Some(credential), Some(signature), Some(signed), Some(date), true) =
        (part("Credential"), part("Signature"), part("SignedHeaders"), date, missing.is_empty())
    else {
        return Err(incomplete(missing.trim_end()));
    };
    let (key, scope) = key_and_scope(credential)?;
    Ok(Claim { key, scope, headers: signed.split(';').collect(), signature, date, life: None })
}

fn of_query<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Result<Claim<'a>, Fault> {
    let need = |name: &str| {
        value(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            incomplete(format!("AWS query-string parameters must include '{name}'."))
        })
    };
    let algorithm = need("X-Amz-Algorithm")?;
    if algorithm != ALGORITHM {
        return Err(incomplete("Unsupported AWS 'algorithm' in the query."));
    }
    let (key, scope) = key_and_scope(need("X-Amz-Credential")?)?;
    let life = need("X-Amz-Expires")?.parse().map(Duration::from_secs);
    let life = life.ok().filter(|life| *life <= KINESIS_PRESIGNED_MAX);
    let life = life.ok_or_else(|| incomplete("X-Amz-Expires is from 0 to 604800 seconds."))?;
    Ok(Claim {
        key,
        scope,
        headers: need("X-Amz-SignedHeaders")?.split(';').collect(),
        signature: need("X-Amz-Signature")?,
        date: need("X-Amz-Date")?,
        life: Some(life),
    })
}

fn key_and_scope(credential: &str) -> Result<(&str, &str), Fault> {
    let found = credential
        .split_once('/')
        .filter(|(_, scope)| scope.split('/').count() == 4 && scope.ends_with("/aws4_request"));
    found.ok_or_else(|| {
        incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
    })
}

/// Whether the request is of now: within [`KINESIS_CLOCK_SKEW_MAX`], or as long as a presigned one says.
fn check_time(claim: &Claim<'_>, now: Timestamp) -> Result<(), Fault> {
    let Some(at) = parse_date(claim.date) else {
        let message =
            "Date in X-Amz-Date must be in ISO-8601 'basic format': YYYYMMDD'T'HHMMSS'Z'.";
        return Err(incomplete(message));
    };
    let day = claim.scope.split('/').next().unwrap_or_default();
    if !claim.date.starts_with(day) && claim.date.ends_with('Z') {
        let message = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of \
                       date from HTTP.";
        return Err(refused("InvalidSignatureException", message));
    }
    let (earliest, latest) = (now - KINESIS_CLOCK_SKEW_MAX, now + KINESIS_CLOCK_SKEW_MAX);
    let ends_at = claim.life.map_or(at, |life| at + life);
    if ends_at < earliest || claim.life.is_some() && ends_at < now {
        let message = format!(
            "Signature expired: {} is now earlier than {} ({} - 5 min.)",
            claim.date,
            spelled(earliest),
            spelled(now)
        );
        return Err(refused("InvalidSignatureException", message));
    }
    if at > latest {
        let message = format!(
            "Signature not yet current: {} is still later than {} ({} + 5 min.)",
            claim.date,
            spelled(latest),
            spelled(now)
        );
        return Err(refused("InvalidSignatureException", message));
    }
    Ok(())
}

/// `20260501T060000Z`, or the form of a Date header.
fn parse_date(text: &str) -> Option<Timestamp> {
    let basic = DateTime::strptime("%Y%m%dT%H%M%SZ", text)
        .and_then(|at| at.to_zoned(TimeZone::UTC))
        .map(|at| at.timestamp());
    let at = basic.or_else(|_| jiff::fmt::rfc2822::parse(text).map(|at| at.timestamp()));
    at.ok().map(|at: JiffTimestamp| Timestamp::from_millis(at.as_millisecond()))
}

/// The canonical request.
fn canonical(request: &Signed<'_>, query: &Query, claim: &Claim<'_>) -> Result<String, Fault> {
    let Signed { method, uri, headers, body, .. } = request;
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (escape(name), escape(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = format!("{method}\n{}\n{}\n", uri.path(), pairs.join("&"));
    for name in &claim.headers {
        let values: Vec<String> = match headers.get_all(*name).iter().next() {
            Some(_) => headers.get_all(*name).iter().map(trimmed).collect(),
            // HTTP/2 has it in its own field.
            None if *name == "host" => {
                vec![uri.authority().map(ToString::to_string).unwrap_or_default()]
            }
            None => {
                let name = super::fault::shortened(name);
                return Err(incomplete(format!("The signed header '{name}' is not there.")));
            }
        };
        let _written = writeln!(text, "{name}:{}", values.join(","));
    }
    let hash = hex(&Sha256::digest(body));
    let _written = write!(text, "\n{}\n{hash}", claim.headers.join(";"));
    Ok(text)
}

/// A header's value with single spaces.
fn trimmed(value: &axum::http::HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The key of a day, a region and a service.
fn signing_key(secret: &str, scope: &str) -> hmac::Key {
    let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    scope.split('/').fold(first, |key, part| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    digits.chunks(2).map(|two| u8::try_from(two[0] * 16 + two[1]).ok()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

#[cfg(test)]
mod tests;
