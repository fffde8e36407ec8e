//! HEADERS of REPUBLISH: texts → MQTT 5 properties (MQTT 5, section 3.3.2.3).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::FaultCode;
use super::code::HeaderCode;
use super::code::HeaderText;
use super::evaluate::Frame;
use super::output::Refusal;
use super::output::render;
use crate::limits::HEADERS_BYTES_MAX;
use crate::publish::PublishProperties;
use crate::topic::TopicName;

/// The properties that `headers` make; `None` when there are none. `payload` is what they describe.
pub(super) fn properties(
    frame: &Frame<'_>,
    headers: &[HeaderText],
    payload: &[u8],
) -> Result<Option<Arc<PublishProperties>>, Refusal> {
    if headers.is_empty() {
        return Ok(None);
    }
    let mut properties = PublishProperties::default();
    let mut bytes = 0_usize;
    for HeaderText { name, value } in headers {
        let value = render(frame, value)?;
        bytes = bytes.saturating_add(value.len());
        match name {
            HeaderCode::User(name) => {
                let name = render(frame, name)?;
                bytes = bytes.saturating_add(name.len());
                properties.user_properties.push((name, value));
            }
            HeaderCode::ContentType => properties.content_type = Some(value),
            HeaderCode::ResponseTopic => {
                TopicName::parse(&value).map_err(|e| invalid(format!("response_topic: {e}")))?;
                properties.response_topic = Some(value);
            }
            HeaderCode::CorrelationData => {
                let data = STANDARD.decode(&value);
                let data = data.map_err(|e| invalid(format!("correlation_data: {e}")))?;
                properties.correlation_data = Some(Bytes::from(data));
            }
            HeaderCode::MessageExpiry => {
                let seconds = value.parse().map_err(|_| {
                    let shown: String = value.chars().take(64).collect();
                    invalid(format!("message_expiry: '{shown}' is no number of seconds"))
                })?;
                properties.message_expiry = Some(seconds);
            }
            HeaderCode::PayloadFormat => {
                properties.payload_format = Some(payload_format(&value, payload)?);
            }
        }
        if bytes > HEADERS_BYTES_MAX {
            let problem = format!("the headers have more than {HEADERS_BYTES_MAX} bytes in all");
            return Err(invalid(problem));
        }
    }
    // MQTT texts hold no NUL (section 1.5.4): a subscriber would close its connection.
    let texts = properties.user_properties.iter().flat_map(|(name, value)| [name, value]);
    if texts.chain(&properties.content_type).any(|text| text.contains('\0')) {
        return Err(invalid("a text in a header holds NUL".to_owned()));
    }
    Ok(Some(Arc::new(properties)))
}

/// The words of AWS IoT's `get_mqtt_property(format_indicator)`.
fn payload_format(value: &str, payload: &[u8]) -> Result<u8, Refusal> {
    match value {
        "UNSPECIFIED_BYTES" => Ok(0),
        "UTF8_DATA" if std::str::from_utf8(payload).is_ok() => Ok(1),
        "UTF8_DATA" => Err(invalid("payload_format: the payload is not UTF-8".to_owned())),
        _ => Err(invalid("payload_format: neither UNSPECIFIED_BYTES nor UTF8_DATA".to_owned())),
    }
}

fn invalid(problem: String) -> Refusal {
    (FaultCode::HeaderInvalid, problem)
}
