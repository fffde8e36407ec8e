//! Protobuf: a message of a type that the rule names, as a value.
//!
//! Fields are called as in the `.proto` file. Those that are not in the payload are left out, unless
//! their type says what absence means (proto3 without `optional`): then they have their default, for
//! a device that reports 0 sends nothing. Enumerators are their names, byte strings base64, keys of
//! maps their text and in order, times and durations milliseconds, wrappers and
//! `google.protobuf.Struct` what they stand for. Whole numbers are numbers, also those of 64 bits.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use compact_str::CompactString;
use compact_str::format_compact;
use prost_reflect::DynamicMessage;
use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MapKey;
use prost_reflect::ReflectMessage;
use prost_reflect::Value as Field;

use super::DecodeError;
use super::binary::descend;
use super::binary::number;
use super::binary::whole_number;
use crate::rule::schema::Schema;
use crate::value::Number;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;

/// The payload as one message of `schema`.
pub(in crate::engine) fn decode(
    schema: &Schema,
    payload: &[u8],
    whole: Whole,
) -> Result<Value, DecodeError> {
    let message = DynamicMessage::decode(schema.descriptor().clone(), payload);
    let message = message.map_err(|error| malformed(&error))?;
    Maker { whole }.message(&message, 0)
}

/// Without the library's own beginning, which names no more than we know.
pub(super) fn malformed(error: &prost::DecodeError) -> DecodeError {
    let problem = error.to_string();
    let problem = problem.trim_start_matches("failed to decode Protobuf message: ");
    DecodeError::Malformed(problem.to_owned())
}

struct Maker {
    whole: Whole,
}

impl Maker {
    fn message(&self, message: &DynamicMessage, depth: usize) -> Result<Value, DecodeError> {
        let depth = descend(depth)?;
        let descriptor = message.descriptor();
        if descriptor.package_name() == "google.protobuf"
            && let Some(known) = self.well_known(descriptor.name(), message, depth)
        {
            return known;
        }
        let mut object = ObjectBuilder::default();
        for field in descriptor.fields() {
            if !field.supports_presence() || message.has_field(&field) {
                let value = self.field(&field, &message.get_field(&field), depth)?;
                object.insert(CompactString::new(field.name()), value);
            }
        }
        for (extension, value) in message.extensions() {
            let name = format_compact!("[{}]", extension.full_name());
            object.insert(name, self.value(value, &extension.kind(), depth)?);
        }
        Ok(object.finish())
    }

    /// What a type of the Protobuf library itself stands for; `None` for those that stand for
    /// themselves.
    fn well_known(
        &self,
        name: &str,
        message: &DynamicMessage,
        depth: usize,
    ) -> Option<Result<Value, DecodeError>> {
        let field = |name: &str| message.get_field_by_name(name);
        Some(match name {
            "Timestamp" | "Duration" => {
                let seconds = i128::from(field("seconds")?.as_i64()?);
                let nanoseconds = i128::from(field("nanos")?.as_i32()?);
                Ok(self.milliseconds(seconds * 1_000_000_000 + nanoseconds))
            }
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
            | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => {
                let descriptor = message.descriptor().get_field_by_name("value")?;
                self.field(&descriptor, &message.get_field(&descriptor), depth)
            }
            "Struct" => {
                let descriptor = message.descriptor().get_field_by_name("fields")?;
                self.field(&descriptor, &message.get_field(&descriptor), depth)
            }
            "ListValue" => {
                let descriptor = message.descriptor().get_field_by_name("values")?;
                self.field(&descriptor, &message.get_field(&descriptor), depth)
            }
            "Value" => match message.fields().next() {
                Some((kind, _)) if kind.name() == "null_value" => Ok(Value::Null),
                Some((kind, value)) => self.field(&kind, value, depth),
                None => Ok(Value::Null),
            },
            _ => return None,
        })
    }

    fn milliseconds(&self, nanoseconds: i128) -> Value {
        let scale = Number::parse("1E-6");
        let made = whole_number(nanoseconds).zip(scale).and_then(|(n, scale)| n.checked_mul(scale));
        number(made.map(Number::with_whole_int), self.whole)
    }

    fn field(
        &self,
        field: &FieldDescriptor,
        value: &Field,
        depth: usize,
    ) -> Result<Value, DecodeError> {
        match (value, field.kind()) {
            (Field::Map(entries), Kind::Message(entry)) if field.is_map() => {
                let depth = descend(depth)?;
                let kind = entry.map_entry_value_field().kind();
                let mut entries: Vec<(&MapKey, &Field)> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let mut object = ObjectBuilder::default();
                for (key, value) in entries {
                    let key = CompactString::from(key_text(key));
                    object.insert(key, self.value(value, &kind, depth)?);
                }
                Ok(object.finish())
            }
            (value, kind) => self.value(value, &kind, depth),
        }
    }

    fn value(&self, value: &Field, kind: &Kind, depth: usize) -> Result<Value, DecodeError> {
        let int = |value: i128| number(whole_number(value), self.whole);
        Ok(match value {
            Field::Bool(value) => Value::Bool(*value),
            Field::I32(value) => int((*value).into()),
            Field::I64(value) => int((*value).into()),
            Field::U32(value) => int((*value).into()),
            Field::U64(value) => int((*value).into()),
            Field::F32(value) => number(Number::from_f32(*value), self.whole),
            Field::F64(value) => number(Number::from_f64(*value), self.whole),
            Field::String(text) => Value::string(text),
            Field::Bytes(bytes) => Value::string(STANDARD.encode(bytes)),
            Field::EnumNumber(value) => match kind.as_enum().and_then(|of| of.get_value(*value)) {
                Some(named) => Value::string(named.name()),
                None => int((*value).into()),
            },
            Field::Message(message) => self.message(message, depth)?,
            Field::List(items) => {
                let depth = descend(depth)?;
                let items = items.iter().map(|item| self.value(item, kind, depth));
                Value::array(items.collect::<Result<_, _>>()?)
            }
            // Only a map's own field holds one, and its kind says so.
            Field::Map(_) => Value::Undefined,
        })
    }
}

fn key_text(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(key) => Cow::Borrowed(if *key { "true" } else { "false" }),
        MapKey::I32(key) => Cow::Owned(key.to_string()),
        MapKey::I64(key) => Cow::Owned(key.to_string()),
        MapKey::U32(key) => Cow::Owned(key.to_string()),
        MapKey::U64(key) => Cow::Owned(key.to_string()),
        MapKey::String(key) => Cow::Borrowed(key),
    }
}
