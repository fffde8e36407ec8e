//! In which of AWS's protocols a request speaks, and what it wants.
//!
//! The APIs of Kinesis, of Firehose, of the lease tables and of metrics share one route. Kinesis speaks AWS JSON 1.1 or its
//! CBOR twin, Firehose AWS JSON 1.1, DynamoDB AWS JSON 1.0, CloudWatch whichever of JSON 1.0, the query protocol (a form, answered in XML) and
//! Smithy's RPC v2 over CBOR a client's age says.

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use serde::Serialize;

use super::answer;
use super::dynamo;
use super::fault::Fault;
use super::fault::shortened;
use super::firehose;
use super::operation::Operation;
use super::shape::Format;

const TARGET: &str = "x-amz-target";
const KINESIS: &str = "Kinesis_20131202.";
const FIREHOSE: &str = "Firehose_20150804.";
const DYNAMO: &str = "DynamoDB_20120810.";
const PUT_METRICS: &str = "GraniteServiceVersion20100801.PutMetricData";
/// The path of Smithy's RPC v2 for it.
const PUT_METRICS_PATH: &str = "/service/GraniteServiceVersion20100801/operation/PutMetricData";

/// How a request is written, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// AWS JSON 1.0
    Json10,
    /// AWS JSON 1.1
    Json11,
    /// The CBOR twin of 1.1
    Cbor11,
    /// A form, answered in XML.
    Query,
    /// Smithy's RPC v2 in CBOR
    Rpc,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Stream(Operation),
    Lease(dynamo::Operation),
    Delivery(firehose::Operation),
    PutMetrics,
}

impl Wanted {
    /// The name that it is counted under.
    pub(super) fn name(self) -> &'static str {
        match self {
            Wanted::Stream(operation) => operation.name(),
            Wanted::Lease(operation) => operation.name(),
            Wanted::Delivery(operation) => operation.name(),
            Wanted::PutMetrics => "CloudWatch.PutMetricData",
        }
    }

    /// What the head of a request says.
    pub(super) fn of(protocol: Protocol, uri: &Uri, headers: &HeaderMap) -> Result<Wanted, Fault> {
        let target =
            headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default();
        let wanted = match protocol {
            Protocol::Query => Some(Wanted::PutMetrics),
            Protocol::Rpc => (uri.path() == PUT_METRICS_PATH).then_some(Wanted::PutMetrics),
            Protocol::Cbor11 => stream(target),
            Protocol::Json10 | Protocol::Json11 => stream(target).or_else(|| {
                if target == PUT_METRICS {
                    return Some(Wanted::PutMetrics);
                }
                if let Some(name) = target.strip_prefix(FIREHOSE) {
                    return firehose::Operation::parse(name).map(Wanted::Delivery);
                }
                target.strip_prefix(DYNAMO).and_then(dynamo::Operation::parse).map(Wanted::Lease)
            }),
        };
        wanted.ok_or_else(|| {
            let said = if protocol == Protocol::Rpc { uri.path() } else { target };
            let message = format!("There is no operation '{}'.", shortened(said));
            Fault::new("UnknownOperationException", message)
        })
    }
}

fn stream(target: &str) -> Option<Wanted> {
    target.strip_prefix(KINESIS).and_then(Operation::parse).map(Wanted::Stream)
}

/// An error as it is written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    message: &'a str,
}

impl Protocol {
    /// What the head of a request says.
    pub(super) fn of(headers: &HeaderMap) -> Result<Protocol, Fault> {
        let of = headers.get(header::CONTENT_TYPE).and_then(|of| of.to_str().ok());
        let of = of.unwrap_or_default();
        match of.split(';').next().unwrap_or_default().trim() {
            "application/x-amz-json-1.1" | "application/json" => Ok(Protocol::Json11),
            "application/x-amz-json-1.0" => Ok(Protocol::Json10),
            "application/x-amz-cbor-1.1" => Ok(Protocol::Cbor11),
            "application/x-www-form-urlencoded" => Ok(Protocol::Query),
            "application/cbor" => Ok(Protocol::Rpc),
            other => Err(Fault {
                status: StatusCode::NOT_FOUND,
                kind: "UnknownOperationException",
                message: format!("Nothing here takes the content type '{}'.", shortened(other)),
            }),
        }
    }

    /// How values are written in it.
    pub(super) fn format(self) -> Format {
        match self {
            Protocol::Json10 | Protocol::Json11 | Protocol::Query => Format::Json,
            Protocol::Cbor11 | Protocol::Rpc => Format::Cbor,
        }
    }

    /// The content type of an answer.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Protocol::Json10 => "application/x-amz-json-1.0",
            Protocol::Json11 => "application/x-amz-json-1.1",
            Protocol::Cbor11 => "application/x-amz-cbor-1.1",
            Protocol::Query => "text/xml",
            Protocol::Rpc => "application/cbor",
        }
    }

    /// The body of an answer to PutMetricData, which says nothing.
    pub(super) fn nothing(self, request: &str) -> Vec<u8> {
        match self {
            Protocol::Query => format!(
                "<PutMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">\
                 <ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata>\
                 </PutMetricDataResponse>"
            )
            .into_bytes(),
            Protocol::Rpc | Protocol::Cbor11 => vec![0xa0],
            Protocol::Json10 | Protocol::Json11 => b"{}".to_vec(),
        }
    }

    /// The body of an error.
    pub(super) fn error(self, fault: &Fault, request: &str) -> Vec<u8> {
        if self != Protocol::Query {
            let written = Written { kind: fault.kind, message: &fault.message };
            return answer::write(self.format(), &written);
        }
        let side = if fault.status.is_server_error() { "Receiver" } else { "Sender" };
        format!(
            "<ErrorResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><Error>\
             <Type>{side}</Type><Code>{}</Code><Message>{}</Message></Error>\
             <RequestId>{request}</RequestId></ErrorResponse>",
            fault.kind,
            escaped(&fault.message)
        )
        .into_bytes()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
    use axum::http::HeaderValue;

    use super::*;

    fn wanted(content_type: &str, path: &str, target: &str) -> Result<&'static str, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        let target = HeaderValue::from_str(target).unwrap();
        headers.insert(HeaderName::from_static(TARGET), target);
        let protocol = Protocol::of(&headers).map_err(|fault| fault.kind)?;
        let wanted = Wanted::of(protocol, &path.parse().unwrap(), &headers);
        wanted.map(Wanted::name).map_err(|fault| fault.kind)
    }

    #[test]
    fn each_api_is_wanted_in_its_own_protocols() {
        let unknown = Err("UnknownOperationException");
        for (content_type, path, target, expected) in [
            ("application/x-amz-json-1.1", "/", "Kinesis_20131202.PutRecord", Ok("PutRecord")),
            ("application/x-amz-cbor-1.1", "/", "Kinesis_20131202.PutRecord", Ok("PutRecord")),
            ("application/x-amz-json-1.0", "/", "DynamoDB_20120810.Scan", Ok("DynamoDB.Scan")),
            (
                "application/x-amz-json-1.1",
                "/",
                "Firehose_20150804.PutRecord",
                Ok("Firehose.PutRecord"),
            ),
            ("application/x-amz-cbor-1.1", "/", "Firehose_20150804.PutRecord", unknown),
            ("application/x-amz-json-1.1", "/", "Firehose_20150804.Put", unknown),
            ("application/x-amz-cbor-1.1", "/", "DynamoDB_20120810.Scan", unknown),
            ("application/x-amz-json-1.0", "/", "DynamoDB_20120810.Drop", unknown),
            ("application/x-amz-json-1.0", "/", PUT_METRICS, Ok("CloudWatch.PutMetricData")),
            (
                "application/x-www-form-urlencoded; charset=utf-8",
                "/",
                "",
                Ok("CloudWatch.PutMetricData"),
            ),
            ("application/cbor", PUT_METRICS_PATH, "", Ok("CloudWatch.PutMetricData")),
            ("application/cbor", "/", "", unknown),
            ("text/plain", "/", "", unknown),
        ] {
            assert_eq!(wanted(content_type, path, target), expected, "{content_type} {target}");
        }
    }

    #[test]
    fn errors_of_the_query_protocol_are_xml() {
        let fault = Fault::new("InvalidAction", "a < b & c");
        let xml = String::from_utf8(Protocol::Query.error(&fault, "7")).unwrap();
        assert!(xml.contains("<Code>InvalidAction</Code><Message>a &lt; b &amp; c</Message>"));
        let json = String::from_utf8(Protocol::Json10.error(&fault, "7")).unwrap();
        assert_eq!(json, r#"{"__type":"InvalidAction","message":"a < b & c"}"#);
    }
}
