//! Publishing over HTTP, as AWS IoT's data plane has it: `POST /topics/TOPIC`, and the retained messages.
//!
//! Requests, answers and errors are those of `iot-data` (AWS IoT API reference, Publish,
//! GetRetainedMessage, ListRetainedMessages), so that its SDKs work with an `endpoint_url`. 200 means what
//! PUBACK means: everything that the message caused is on disk. A signature (SigV4) is accepted
//! unread; where clients have to log in, HTTP Basic is the way, and access rules hold as they do for MQTT. At most [`HTTP_PUBLISHES_MAX`] requests are under way; more are told to come back.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::api::body;
use crate::api::body::BodyError;
use crate::api::error::Refusal;
use crate::api::server::Reached;
use crate::api::source::Login;
use crate::api::source::NewMessage;
use crate::api::source::RetainedMessage;
use crate::api::source::Source;
use crate::api::source::SourceError;
use crate::api::source::Visitor;
use crate::limits::API_QUERY_BYTES_MAX;
use crate::limits::API_RETRY_AFTER;
use crate::limits::HTTP_PUBLISHES_MAX;
use crate::limits::RETAINED_PAGE_DEFAULT;
use crate::limits::RETAINED_PAGE_MAX;
use crate::publish::PublishProperties;
use crate::publish::QoS;
use crate::topic::TopicName;

const USER_PROPERTIES: &str = "x-amz-mqtt5-user-properties";
const PAYLOAD_FORMAT: &str = "x-amz-mqtt5-payload-format-indicator";
const CORRELATION_DATA: &str = "x-amz-mqtt5-correlation-data";
/// Query parameters of a signature (SigV4 of presigned URLs) begin so.
const SIGNATURE_PREFIX: &str = "X-Amz-";

/// What the data plane's routes see.
#[derive(Clone)]
struct DataPlane {
    source: Arc<dyn Source>,
    permits: Arc<Semaphore>,
    body_timeout: Duration,
    payload_bytes_max: usize,
}

/// The routes of the data plane. A payload has at most `payload_bytes_max` bytes, and `body_timeout` to
/// arrive.
pub(crate) fn router(
    source: Arc<dyn Source>,
    body_timeout: Duration,
    payload_bytes_max: usize,
) -> Router {
    let permits = Arc::new(Semaphore::new(HTTP_PUBLISHES_MAX));
    Router::new()
        .route("/topics/*topic", post(publish).fallback(wrong_method))
        .route("/retainedMessage", get(list_retained).fallback(wrong_method))
        .route("/retainedMessage/*topic", get(get_retained).fallback(wrong_method))
        .with_state(DataPlane { source, permits, body_timeout, payload_bytes_max })
}

/// An error as the SDKs of AWS read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AwsError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl AwsError {
    fn invalid(message: impl Into<String>) -> AwsError {
        let (status, kind) = (StatusCode::BAD_REQUEST, "InvalidRequestException");
        AwsError { status, kind, message: message.into() }
    }
}

impl From<SourceError> for AwsError {
    fn from(error: SourceError) -> Self {
        let (status, kind) = match error {
            SourceError::Forbidden(_) => (StatusCode::UNAUTHORIZED, "UnauthorizedException"),
            SourceError::Refused(_) => (StatusCode::BAD_REQUEST, "InvalidRequestException"),
            SourceError::Unknown => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            SourceError::Busy(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException")
            }
            SourceError::Unsettled(_) | SourceError::Failed(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException")
            }
        };
        AwsError { status, kind, message: error.to_string() }
    }
}

impl From<BodyError> for AwsError {
    fn from(error: BodyError) -> Self {
        let (status, kind) = match error {
            BodyError::TooLarge(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException")
            }
            BodyError::BrokenOff => (StatusCode::BAD_REQUEST, "InvalidRequestException"),
            BodyError::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "InvalidRequestException"),
        };
        AwsError { status, kind, message: error.to_string() }
    }
}

impl IntoResponse for AwsError {
    fn into_response(self) -> Response {
        let trace = Uuid::new_v4().to_string();
        let body = json!({"message": self.message, "traceId": trace});
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.kind));
        if let Ok(trace) = HeaderValue::try_from(trace) {
            headers.insert("x-amzn-requestid", trace);
        }
        let is_temporary =
            matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if is_temporary {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(API_RETRY_AFTER.as_secs()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let wanted = HeaderValue::from_static("Basic realm=\"tidegate\", charset=\"UTF-8\"");
            headers.insert(header::WWW_AUTHENTICATE, wanted);
        }
        response.extensions_mut().insert(Refusal(self.kind));
        response
    }
}

async fn wrong_method() -> AwsError {
    let (status, kind) = (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowedException");
    AwsError { status, kind, message: "this resource does not take that method".to_owned() }
}

async fn publish(
    State(plane): State<DataPlane>,
    Extension(reached): Extension<Reached>,
    topic: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    payload: Body,
) -> Result<Response, AwsError> {
    let Ok(_permit) = plane.permits.try_acquire() else {
        return Err(AwsError {
            status: StatusCode::TOO_MANY_REQUESTS,
            kind: "ThrottlingException",
            message: format!("{HTTP_PUBLISHES_MAX} publishes are under way"),
        });
    };
    let topic = topic_of(topic)?;
    let visitor = visitor(&reached, &headers)?;
    let Asked { qos, retain, mut properties } = asked(&uri)?;
    read_headers(&headers, &mut properties)?;
    let payload = body::read(payload, plane.payload_bytes_max, plane.body_timeout).await?;
    let has_properties = properties != PublishProperties::default();
    let properties = has_properties.then(|| Arc::new(properties));
    let message = NewMessage { topic, payload, qos, retain, properties };
    plane.source.publish(visitor, message).await?;
    let trace = Uuid::new_v4().to_string();
    Ok(Json(json!({"message": "OK", "traceId": trace})).into_response())
}

/// Who asks. A signature says nothing that could be checked here, so it counts as no login.
fn visitor(reached: &Reached, headers: &HeaderMap) -> Result<Visitor, AwsError> {
    let peer = Arc::clone(&reached.peer);
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let basic = given.and_then(|given| given.split_once(' '));
    let Some((_, encoded)) = basic.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
    else {
        return Ok(Visitor { peer, login: None });
    };
    let decoded = STANDARD.decode(encoded.trim()).ok();
    let colon = decoded.as_ref().and_then(|bytes| bytes.iter().position(|byte| *byte == b':'));
    let login = decoded.zip(colon).and_then(|(mut user, colon)| {
        let password = user.split_off(colon).split_off(1);
        Some(Login { user: String::from_utf8(user).ok()?, password })
    });
    let message = "Authorization: Basic has base64 of a user name, a colon and a password";
    login.map(|login| Visitor { peer, login: Some(login) }).ok_or(AwsError::invalid(message))
}

fn topic_of(topic: Result<Path<String>, PathRejection>) -> Result<TopicName, AwsError> {
    let Ok(Path(topic)) = topic else { return Err(AwsError::invalid("the topic is not UTF-8")) };
    TopicName::parse(&topic).map_err(|error| AwsError::invalid(format!("topic: {error}")))
}

/// What the query asks for.
#[derive(Debug)]
struct Asked {
    qos: QoS,
    retain: bool,
    properties: PublishProperties,
}

/// The parameters of a query, each known and there once.
fn params(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, AwsError> {
    if uri.query().is_some_and(|query| query.len() > API_QUERY_BYTES_MAX) {
        let message = format!("a query has at most {API_QUERY_BYTES_MAX} bytes");
        return Err(AwsError::invalid(message));
    }
    let Ok(Query(mut pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(AwsError::invalid("the query is not name=value pairs"));
    };
    pairs.retain(|(name, _)| !name.starts_with(SIGNATURE_PREFIX));
    for (n, (name, _)) in pairs.iter().enumerate() {
        let name: String = name.chars().take(64).collect();
        if !known.contains(&&*name) {
            let message = format!("unknown parameter '{name}'; there are {}", known.join(", "));
            return Err(AwsError::invalid(message));
        }
        if pairs.iter().take(n).any(|(earlier, _)| *earlier == name) {
            return Err(AwsError::invalid(format!("parameter '{name}' is given twice")));
        }
    }
    Ok(pairs)
}

fn asked(uri: &Uri) -> Result<Asked, AwsError> {
    let known = ["qos", "retain", "contentType", "responseTopic", "messageExpiry"];
    let mut asked =
        Asked { qos: QoS::AtMostOnce, retain: false, properties: PublishProperties::default() };
    for (name, value) in params(uri, &known)? {
        let properties = &mut asked.properties;
        match name.as_str() {
            "qos" => {
                asked.qos = match value.as_str() {
                    "0" => QoS::AtMostOnce,
                    "1" => QoS::AtLeastOnce,
                    _ => return Err(AwsError::invalid("qos is 0 or 1")),
                };
            }
            "retain" => {
                asked.retain = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(AwsError::invalid("retain is true or false")),
                };
            }
            "contentType" => properties.content_type = Some(text("contentType", value)?),
            "responseTopic" => {
                let topic = TopicName::parse(&value)
                    .map_err(|error| AwsError::invalid(format!("responseTopic: {error}")))?;
                properties.response_topic = Some(topic.as_str().to_owned());
            }
            _ => {
                let seconds = value.parse();
                properties.message_expiry = Some(seconds.map_err(|_| {
                    AwsError::invalid(format!("messageExpiry is from 0 to {} seconds", u32::MAX))
                })?);
            }
        }
    }
    Ok(asked)
}

/// A text as MQTT 5 carries it (section 1.5.4).
fn text(what: &str, text: String) -> Result<String, AwsError> {
    if text.len() > usize::from(u16::MAX) || text.contains('\0') {
        let message = format!("{what} has at most {} bytes, and no NUL", u16::MAX);
        return Err(AwsError::invalid(message));
    }
    Ok(text)
}

fn read_headers(headers: &HeaderMap, properties: &mut PublishProperties) -> Result<(), AwsError> {
    let value = |name: &'static str| headers.get(HeaderName::from_static(name));
    if let Some(value) = value(PAYLOAD_FORMAT) {
        properties.payload_format = Some(match value.as_bytes() {
            b"UNSPECIFIED_BYTES" => 0,
            b"UTF8_DATA" => 1,
            _ => {
                let message = format!("{PAYLOAD_FORMAT} is UNSPECIFIED_BYTES or UTF8_DATA");
                return Err(AwsError::invalid(message));
            }
        });
    }
    if let Some(value) = value(CORRELATION_DATA) {
        let data = STANDARD.decode(value).ok().filter(|data| data.len() <= u16::MAX.into());
        let message = || AwsError::invalid(format!("{CORRELATION_DATA} is base64 of up to 64 KB"));
        properties.correlation_data = Some(data.ok_or_else(message)?.into());
    }
    if let Some(value) = value(USER_PROPERTIES) {
        properties.user_properties = user_properties(value)?;
    }
    Ok(())
}

/// `[{"name": "value"}, …]` in base64. SDKs encode what they are given as JSON, so a caller that gave them the
/// array as text has sent a JSON text that holds it.
fn user_properties(value: &HeaderValue) -> Result<Vec<(String, String)>, AwsError> {
    let wrong = || {
        let message = format!(
            "{USER_PROPERTIES} is base64 of a JSON array of objects with one text each: \
             [{{\"name\": \"value\"}}]"
        );
        AwsError::invalid(message)
    };
    let json = STANDARD.decode(value).map_err(|_| wrong())?;
    let parsed = match serde_json::from_slice(&json) {
        Ok(Value::String(inner)) => serde_json::from_str(&inner),
        parsed => parsed,
    };
    let Ok(Value::Array(objects)) = parsed else { return Err(wrong()) };
    let mut properties = Vec::with_capacity(objects.len());
    for object in objects {
        let Value::Object(object) = object else { return Err(wrong()) };
        for (name, value) in object {
            let Value::String(value) = value else { return Err(wrong()) };
            properties.push((text("a property's name", name)?, text("a property", value)?));
        }
    }
    Ok(properties)
}

async fn get_retained(
    State(plane): State<DataPlane>,
    Extension(reached): Extension<Reached>,
    topic: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, AwsError> {
    params(&uri, &[])?;
    let topic = topic_of(topic)?;
    let found = plane.source.retained(visitor(&reached, &headers)?, &topic).await?;
    let Some(message) = found else {
        let (status, kind) = (StatusCode::NOT_FOUND, "ResourceNotFoundException");
        let message = format!("no message is retained for '{topic}'");
        return Err(AwsError { status, kind, message });
    };
    let mut view = summary(&message);
    view["payload"] = STANDARD.encode(&message.payload).into();
    let properties: Vec<Value> =
        message.user_properties.iter().map(|(name, value)| json!({name.as_str(): value})).collect();
    if !properties.is_empty() {
        view["userProperties"] = STANDARD.encode(Value::from(properties).to_string()).into();
    }
    Ok(Json(view).into_response())
}

async fn list_retained(
    State(plane): State<DataPlane>,
    Extension(reached): Extension<Reached>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, AwsError> {
    let (mut after, mut limit) = (None, RETAINED_PAGE_DEFAULT);
    for (name, value) in params(&uri, &["nextToken", "maxResults"])? {
        if name == "nextToken" {
            let token = URL_SAFE_NO_PAD.decode(value).ok().map(String::from_utf8);
            let Some(Ok(token)) = token else {
                return Err(AwsError::invalid("nextToken is none of ours"));
            };
            after = Some(token);
        } else {
            limit = match value.parse() {
                Ok(limit @ 1..=RETAINED_PAGE_MAX) => limit,
                _ => {
                    let message = format!("maxResults is from 1 to {RETAINED_PAGE_MAX}");
                    return Err(AwsError::invalid(message));
                }
            };
        }
    }
    // One more tells whether there is a next page.
    let visitor = visitor(&reached, &headers)?;
    let mut messages = plane.source.retained_after(visitor, after, limit + 1).await?;
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    let next = messages.last().filter(|_| has_more);
    let next = next.map(|last| URL_SAFE_NO_PAD.encode(last.topic.as_str()));
    let mut summaries: Vec<Value> = messages.iter().map(summary).collect();
    for (summary, message) in summaries.iter_mut().zip(&messages) {
        summary["payloadSize"] = message.payload.len().into();
    }
    Ok(Json(json!({"retainedTopics": summaries, "nextToken": next})).into_response())
}

fn summary(message: &RetainedMessage) -> Value {
    json!({
        "topic": message.topic.as_str(),
        "qos": message.qos as u8,
        "lastModifiedTime": message.at.as_millis(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/topics/a?{query}").parse().unwrap()
    }

    #[test]
    fn the_query_says_how_it_is_published() {
        let asked = asked(&uri(
            "qos=1&retain=true&contentType=text%2Fplain&responseTopic=a%2Fb&messageExpiry=60\
             &X-Amz-Signature=abc",
        ));
        let Asked { qos, retain, properties } = asked.unwrap();
        assert_eq!((qos, retain), (QoS::AtLeastOnce, true));
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
        assert_eq!(properties.response_topic.as_deref(), Some("a/b"));
        assert_eq!(properties.message_expiry, Some(60));
    }

    #[test]
    fn what_the_query_cannot_say_is_refused_with_a_reason() {
        for (query, expected) in [
            ("qos=2", "qos is 0 or 1"),
            ("qos=", "qos is 0 or 1"),
            ("retain=1", "retain is true or false"),
            ("retian=true", "unknown parameter 'retian'"),
            ("qos=1&qos=0", "'qos' is given twice"),
            ("messageExpiry=-1", "messageExpiry is from 0"),
            ("messageExpiry=4294967296", "messageExpiry is from 0"),
            ("responseTopic=a/%2B", "responseTopic: "),
            ("contentType=%00", "contentType has at most"),
        ] {
            let error = asked(&uri(query)).unwrap_err();
            assert_eq!(error.kind, "InvalidRequestException");
            assert!(error.message.contains(expected), "{query}: {}", error.message);
        }
    }

    #[test]
    fn properties_come_in_headers() {
        let read = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let mut properties = PublishProperties::default();
            read_headers(&headers, &mut properties).map(|()| properties)
        };
        assert_eq!(read(PAYLOAD_FORMAT, "UTF8_DATA").unwrap().payload_format, Some(1));
        let data = read(CORRELATION_DATA, "AAEC").unwrap().correlation_data;
        assert_eq!(data.as_deref(), Some(&[0, 1, 2][..]));
        let encoded = STANDARD.encode(r#"[{"a": "1"}, {"a": "2"}]"#);
        let pairs = read(USER_PROPERTIES, &encoded).unwrap().user_properties;
        assert_eq!(pairs, [("a".into(), "1".into()), ("a".into(), "2".into())]);
        let twice = STANDARD.encode(r#""[{\"a\": \"1\"}]""#);
        assert_eq!(read(USER_PROPERTIES, &twice).unwrap().user_properties.len(), 1);
        for (name, value) in [
            (PAYLOAD_FORMAT, "utf8".to_owned()),
            (CORRELATION_DATA, "%".to_owned()),
            (USER_PROPERTIES, "[]".to_owned()),
            (USER_PROPERTIES, STANDARD.encode(r#"{"a": "1"}"#)),
            (USER_PROPERTIES, STANDARD.encode(r#"[{"a": 1}]"#)),
        ] {
            assert!(read(name, &value).is_err(), "{name}: {value}");
        }
    }
}
