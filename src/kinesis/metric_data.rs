//! PutMetricData of CloudWatch: KCL and the KPL send their metrics there. They are counted and not kept; what the
//! gateway itself counts is on `/metrics`.

use ciborium::Value as Cbor;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fault::Fault;
use super::protocol::Protocol;

/// Data of one request (CloudWatch: 1,000).
const DATA_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    metric_data: Option<Vec<IgnoredAny>>,
}

/// How many data a request has.
///
/// # Errors
/// It is none of PutMetricData, or has too many.
pub(super) fn count(protocol: Protocol, body: &[u8]) -> Result<usize, Fault> {
    let count = match protocol {
        Protocol::Query => count_in_form(body)?,
        Protocol::Json10 | Protocol::Json11 => serde_json::from_slice::<Request>(body)
            .map_err(|error| Fault::new("SerializationException", error.to_string()))?
            .metric_data
            .map_or(0, |data| data.len()),
        Protocol::Rpc | Protocol::Cbor11 => ciborium::from_reader::<Cbor, _>(body)
            .ok()
            .and_then(|request| request.into_map().ok())
            .ok_or_else(|| Fault::new("SerializationException", "The body is no CBOR map."))?
            .into_iter()
            .find(|(name, _)| name.as_text() == Some("MetricData"))
            .and_then(|(_, data)| data.into_array().ok())
            .map_or(0, |data| data.len()),
    };
    if count > DATA_MAX {
        let message =
            format!("The collection MetricData must not have a size greater than {DATA_MAX}.");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    Ok(count)
}

/// Of `Action=PutMetricData&MetricData.member.1.MetricName=…`: each member has one name, whatever else it has.
fn count_in_form(body: &[u8]) -> Result<usize, Fault> {
    let not_form = || Fault::new("MalformedQueryString", "The body is no form.");
    let form = std::str::from_utf8(body).map_err(|_| not_form())?;
    let pairs = || form.split('&').filter_map(|pair| pair.split_once('='));
    let action = pairs().find(|(name, _)| *name == "Action").map(|(_, action)| action);
    if action != Some("PutMetricData") {
        let message = "Nothing but PutMetricData is taken in the query protocol.";
        return Err(Fault::new("InvalidAction", message));
    }
    let is_name = |(name, _): &(&str, &str)| {
        name.starts_with("MetricData.member.") && name.ends_with(".MetricName")
    };
    Ok(pairs().filter(is_name).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_counted_in_every_protocol() {
        let json = br#"{"Namespace":"n","MetricData":[{"MetricName":"a"},{"MetricName":"b"}]}"#;
        assert_eq!(count(Protocol::Json10, json), Ok(2));
        let mut cbor = Vec::new();
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        ciborium::into_writer(&value, &mut cbor).unwrap();
        assert_eq!(count(Protocol::Rpc, &cbor), Ok(2));
        let form = b"Action=PutMetricData&MetricData.member.1.MetricName=a\
            &MetricData.member.1.Dimensions.member.1.Name=x&MetricData.member.2.MetricName=b";
        assert_eq!(count(Protocol::Query, form), Ok(2));
        assert_eq!(count(Protocol::Query, b"Action=Other").unwrap_err().kind, "InvalidAction");
        assert_eq!(count(Protocol::Rpc, b"\xff").unwrap_err().kind, "SerializationException");
        assert_eq!(count(Protocol::Json10, b"[").unwrap_err().kind, "SerializationException");
        let many = format!(r#"{{"MetricData":[0{}]}}"#, ",0".repeat(DATA_MAX));
        assert_eq!(
            count(Protocol::Json10, many.as_bytes()).unwrap_err().kind,
            "InvalidParameterValue"
        );
    }
}
