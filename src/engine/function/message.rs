//! Functions that look at the message, the gateway, or chance.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest;
use uuid::Builder;
use uuid::Uuid;

use super::Arguments;
use crate::engine::evaluate::Message;
use crate::engine::operators::number;
use crate::publish::Publish;
use crate::publish::PublishProperties;
use crate::publish::StreamRecord;
use crate::rule::ast::SqlVersion;
use crate::rule::function::Function;
use crate::value::Number;
use crate::value::Rounding;
use crate::value::Value;

/// `clientid()` of a message that did not come over MQTT.
const NOT_MQTT: &str = "n/a";

/// Calls a contextual function; Undefined for any other.
pub(in crate::engine) fn call(
    function: Function,
    message: &Message<'_>,
    version: SqlVersion,
    arguments: Arguments<'_, '_>,
) -> Value {
    let origin = &message.publish.origin;
    match (function, arguments) {
        (Function::AccountId, []) => Value::string(message.surroundings.account_id),
        (Function::ClientId | Function::Topic, _) if origin.record.is_some() => Value::Undefined,
        (Function::ClientId, []) => Value::string(origin.client_id.as_deref().unwrap_or(NOT_MQTT)),
        (Function::GetMqttProperty, [name]) => mqtt_property(message.publish, name),
        (Function::GetUserProperties, []) => all_user_properties(message.publish),
        (Function::GetUserProperties, [name]) => user_properties(message.publish, name),
        (Function::NewUuid, []) => Value::string(Uuid::new_v4().to_string()),
        (Function::Principal, []) => optional(origin.principal.as_ref()),
        (Function::Rand, []) => number(Number::from_f64(rand::random::<f64>())),
        (Function::SourceIp, []) => {
            origin.source_ip.map_or(Value::Undefined, |ip| Value::string(ip.to_string()))
        }
        (Function::SqlVersion, []) => Value::string(match version {
            SqlVersion::V2015_10_08 => "2015-10-08",
            SqlVersion::V2016_03_23 => "2016-03-23",
        }),
        (Function::PartitionKey, []) => of_record(message, |record| &record.partition_key),
        (Function::SequenceNumber, []) => of_record(message, |record| &record.sequence_number),
        (Function::ShardId, []) => of_record(message, |record| &record.shard_id),
        (Function::Timestamp, []) => {
            let arrived_at = origin.record.as_ref().map(|record| record.arrived_at);
            Value::int(arrived_at.unwrap_or(message.publish.received_at).as_millis())
        }
        (Function::Topic, []) => Value::string(message.topic),
        (Function::Topic, [level]) => topic_level(message.topic, level),
        (Function::TraceId, []) if origin.client_id.is_none() => Value::Undefined,
        (Function::TraceId, []) => Value::string(trace_id(message.publish).to_string()),
        _ => Value::Undefined,
    }
}

/// An identifier of the message itself, so that every rule, and the error document, say the same.
pub(in crate::engine) fn trace_id(publish: &Publish) -> Uuid {
    let mut digest = md5::Md5::new();
    digest.update(publish.origin.client_id.as_deref().unwrap_or_default());
    digest.update([0]);
    digest.update(publish.topic.as_str());
    digest.update([0]);
    digest.update(publish.received_at.as_millis().to_be_bytes());
    if let Some(record) = &publish.origin.record {
        digest.update(&record.sequence_number);
    }
    digest.update(&publish.payload);
    Builder::from_md5_bytes(digest.finalize().into()).into_uuid()
}

fn of_record(message: &Message<'_>, part: impl FnOnce(&StreamRecord) -> &str) -> Value {
    let record = message.publish.origin.record.as_ref();
    record.map_or(Value::Undefined, |record| Value::string(part(record)))
}

fn optional(text: Option<&Arc<str>>) -> Value {
    text.map_or(Value::Undefined, Value::string)
}

/// Levels count from 1.
fn topic_level(topic: &str, level: &Value) -> Value {
    let level = level.to_number().and_then(|level| level.to_i64(Rounding::Floor));
    let position = level.and_then(|level| usize::try_from(level).ok()?.checked_sub(1));
    let found = position.and_then(|position| topic.split('/').nth(position));
    found.map_or(Value::Undefined, Value::string)
}

fn properties(publish: &Publish) -> Option<&PublishProperties> {
    publish.properties.as_deref()
}

fn mqtt_property(publish: &Publish, name: &Value) -> Value {
    let (Some(properties), Value::String(name)) = (properties(publish), name) else {
        return Value::Undefined;
    };
    let found = match name.as_str() {
        "content_type" => properties.content_type.as_ref().map(Value::string),
        "response_topic" => properties.response_topic.as_ref().map(Value::string),
        "correlation_data" => {
            properties.correlation_data.as_ref().map(|bytes| Value::string(STANDARD.encode(bytes)))
        }
        "format_indicator" => properties.payload_format.map(|format| match format {
            1 => Value::string("UTF8_DATA"),
            _ => Value::string("UNSPECIFIED_BYTES"),
        }),
        _ => None,
    };
    found.unwrap_or_default()
}

/// Every value of a name that may repeat.
fn user_properties(publish: &Publish, name: &Value) -> Value {
    let (Some(properties), Value::String(name)) = (properties(publish), name) else {
        return Value::Undefined;
    };
    let named = properties.user_properties.iter().filter(|(key, _)| name == key);
    let values: Vec<Value> = named.map(|(_, value)| Value::string(value)).collect();
    if values.is_empty() { Value::Undefined } else { Value::array(values) }
}

fn all_user_properties(publish: &Publish) -> Value {
    let Some(properties) = properties(publish) else { return Value::Undefined };
    if properties.user_properties.is_empty() {
        return Value::Undefined;
    }
    let pair = |(key, value): &(String, String)| {
        Value::object(vec![(key.as_str().into(), Value::string(value))])
    };
    Value::array(properties.user_properties.iter().map(pair).collect())
}
