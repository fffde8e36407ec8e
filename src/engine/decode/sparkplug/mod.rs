//! Sparkplug B payloads (Eclipse Sparkplug 3.0, section 6.4) as a value.
//!
//! `{timestamp, seq, uuid, body, metrics: […], values: {…}}`: `metrics` as they came, each with the
//! name of its type, and `values` by the metric's name, or by the text of its alias where it has no
//! name (which name an alias stands for is said in the BIRTH message only). A data set is an array of
//! an object a row, a template an object of its own metrics and values. The types hold what the wire
//! format leaves open: signs, and arrays packed into bytes. Without a type whole numbers are
//! unsigned. Times are epoch milliseconds already.

mod schema;

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use compact_str::CompactString;
use compact_str::ToCompactString;
use prost::Message;

use self::schema::DataSet;
use self::schema::Metric;
use self::schema::MetricValue;
use self::schema::Payload;
use self::schema::PropertySet;
use self::schema::PropertyValue;
use self::schema::Simple;
use self::schema::Template;
use super::DecodeError;
use super::binary::descend;
use super::binary::number;
use super::binary::whole_number;
use super::protobuf::malformed;
use crate::limits::COLUMN_NAME_BYTES_MAX;
use crate::limits::SPARKPLUG_VALUES_MAX;
use crate::value::Number;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;

/// The names of the data types, by their number.
const TYPES: [&str; 35] = [
    "Unknown",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

/// The types whose elements are packed into bytes.
const PACKED: RangeInclusive<u32> = 22..=34;

/// The payload as one Sparkplug B payload.
pub(super) fn decode(payload: &[u8], whole: Whole) -> Result<Value, DecodeError> {
    let payload = Payload::decode(payload).map_err(|error| malformed(&error))?;
    let mut maker = Maker { whole, values_left: SPARKPLUG_VALUES_MAX };
    let mut object = ObjectBuilder::default();
    put(&mut object, "timestamp", maker.optional(payload.timestamp));
    put(&mut object, "seq", maker.optional(payload.seq));
    put(&mut object, "uuid", text(&payload.uuid));
    put(&mut object, "body", payload.body.map_or(Value::Undefined, base64));
    maker.metrics(&payload.metrics, &mut object, 1)?;
    Ok(object.finish())
}

/// Puts what is there.
fn put(object: &mut ObjectBuilder, key: &'static str, value: Value) {
    if !value.is_undefined() {
        object.insert(CompactString::const_new(key), value);
    }
}

fn flag(flag: Option<bool>) -> Value {
    flag.map_or(Value::Undefined, Value::Bool)
}

fn text(text: &Option<String>) -> Value {
    text.as_ref().map_or(Value::Undefined, Value::string)
}

fn base64(bytes: impl AsRef<[u8]>) -> Value {
    Value::string(STANDARD.encode(bytes))
}

struct Maker {
    whole: Whole,
    /// Elements of packed arrays that may still be made: a Boolean takes one bit of the payload.
    values_left: usize,
}

impl Maker {
    fn int(&self, value: impl Into<i128>) -> Value {
        number(whole_number(value.into()), self.whole)
    }

    fn optional(&self, value: Option<u64>) -> Value {
        value.map_or(Value::Undefined, |value| self.int(value))
    }

    /// Puts `metrics` and `values` into `object`.
    fn metrics(
        &mut self,
        metrics: &[Metric],
        object: &mut ObjectBuilder,
        depth: usize,
    ) -> Result<(), DecodeError> {
        let depth = descend(depth)?;
        let mut all = Vec::new();
        let mut values = ObjectBuilder::default();
        for metric in metrics {
            let value = self.metric_value(metric, depth)?;
            let key = match (&metric.name, metric.alias) {
                (Some(name), _) if !name.is_empty() => Some(CompactString::new(name)),
                (_, alias) => alias.map(|alias| alias.to_compact_string()),
            };
            if let Some(key) = key {
                values.insert(key, value.clone());
            }
            all.push(self.metric(metric, value, depth)?);
        }
        put(object, "metrics", Value::array(all));
        put(object, "values", values.finish());
        Ok(())
    }

    fn metric(
        &mut self,
        metric: &Metric,
        value: Value,
        depth: usize,
    ) -> Result<Value, DecodeError> {
        let mut object = ObjectBuilder::default();
        put(&mut object, "name", text(&metric.name));
        put(&mut object, "alias", self.optional(metric.alias));
        put(&mut object, "timestamp", self.optional(metric.timestamp));
        put(&mut object, "datatype", metric.datatype.map_or(Value::Undefined, |t| self.kind(t)));
        put(&mut object, "is_historical", flag(metric.is_historical));
        put(&mut object, "is_transient", flag(metric.is_transient));
        put(&mut object, "value", value);
        if let Some(of) = &metric.metadata {
            let mut metadata = ObjectBuilder::default();
            put(&mut metadata, "is_multi_part", flag(of.is_multi_part));
            put(&mut metadata, "content_type", text(&of.content_type));
            put(&mut metadata, "size", self.optional(of.size));
            put(&mut metadata, "seq", self.optional(of.seq));
            put(&mut metadata, "file_name", text(&of.file_name));
            put(&mut metadata, "file_type", text(&of.file_type));
            put(&mut metadata, "md5", text(&of.md5));
            put(&mut metadata, "description", text(&of.description));
            put(&mut object, "metadata", metadata.finish());
        }
        if let Some(properties) = &metric.properties {
            put(&mut object, "properties", self.properties(properties, depth)?);
        }
        Ok(object.finish())
    }

    /// The name of a type; the number of one that came later.
    fn kind(&self, kind: u32) -> Value {
        let name = usize::try_from(kind).ok().and_then(|kind| TYPES.get(kind));
        name.map_or_else(|| self.int(kind), Value::string)
    }

    fn metric_value(&mut self, metric: &Metric, depth: usize) -> Result<Value, DecodeError> {
        let kind = metric.datatype.unwrap_or_default();
        match &metric.value {
            _ if metric.is_null == Some(true) => Ok(Value::Null),
            Some(MetricValue::Bytes(bytes)) if PACKED.contains(&kind) => self.packed(kind, bytes),
            Some(MetricValue::Bytes(bytes)) => Ok(base64(bytes)),
            Some(MetricValue::DataSet(set)) => self.data_set(set, depth),
            Some(MetricValue::Template(template)) => self.template(template, depth),
            other => Ok(self.simple(kind, other.as_ref().and_then(MetricValue::simple))),
        }
    }

    /// A value of a simple type; whole numbers are two's complement of the width of theirs.
    fn simple(&self, kind: u32, value: Option<Simple<'_>>) -> Value {
        let bits = match value {
            None => return Value::Undefined,
            Some(Simple::Int(bits)) => u64::from(bits),
            Some(Simple::Long(bits)) => bits,
            Some(Simple::Float(value)) => return number(Number::from_f32(value), self.whole),
            Some(Simple::Double(value)) => return number(Number::from_f64(value), self.whole),
            Some(Simple::Boolean(value)) => return Value::Bool(value),
            Some(Simple::Text(value)) => return Value::string(value),
        };
        let [a, b, c, d, ..] = bits.to_le_bytes();
        match kind {
            1 => self.int(i8::from_le_bytes([a])),
            2 => self.int(i16::from_le_bytes([a, b])),
            3 => self.int(i32::from_le_bytes([a, b, c, d])),
            4 => self.int(bits.cast_signed()),
            _ => self.int(bits),
        }
    }

    /// An array of an object a row; an element without a value is null.
    fn data_set(&mut self, set: &DataSet, depth: usize) -> Result<Value, DecodeError> {
        descend(descend(depth)?)?;
        if set.columns.iter().any(|column| column.len() > COLUMN_NAME_BYTES_MAX) {
            let problem = format!("a column's name longer than {COLUMN_NAME_BYTES_MAX} bytes");
            return Err(DecodeError::Malformed(problem));
        }
        let mut rows = Vec::new();
        for row in &set.rows {
            self.take(1 + row.elements.len())?;
            let mut object = ObjectBuilder::default();
            for (at, (column, element)) in set.columns.iter().zip(&row.elements).enumerate() {
                let kind = set.types.get(at).copied().unwrap_or_default();
                let value = element.value.as_ref();
                let value = value.map_or(Value::Null, |value| self.simple(kind, value.simple()));
                object.insert(CompactString::new(column), value);
            }
            rows.push(object.finish());
        }
        Ok(Value::array(rows))
    }

    fn template(&mut self, template: &Template, depth: usize) -> Result<Value, DecodeError> {
        let depth = descend(depth)?;
        let mut object = ObjectBuilder::default();
        put(&mut object, "version", text(&template.version));
        put(&mut object, "template_ref", text(&template.template_ref));
        put(&mut object, "is_definition", flag(template.is_definition));
        let mut parameters = ObjectBuilder::default();
        for parameter in &template.parameters {
            let kind = parameter.kind.unwrap_or_default();
            let value = parameter.value.as_ref();
            let value = value.map_or(Value::Null, |value| self.simple(kind, value.simple()));
            if let Some(name) = &parameter.name {
                parameters.insert(CompactString::new(name), value);
            }
        }
        put(&mut object, "parameters", parameters.finish());
        self.metrics(&template.metrics, &mut object, depth)?;
        Ok(object.finish())
    }

    fn properties(&mut self, set: &PropertySet, depth: usize) -> Result<Value, DecodeError> {
        let depth = descend(depth)?;
        let mut object = ObjectBuilder::default();
        for (key, property) in set.keys.iter().zip(&set.values) {
            let value = match &property.value {
                _ if property.is_null == Some(true) => Value::Null,
                None => Value::Null,
                Some(PropertyValue::Set(inner)) => self.properties(inner, depth)?,
                Some(PropertyValue::Sets(list)) => {
                    let depth = descend(depth)?;
                    let sets = list.sets.iter().map(|set| self.properties(set, depth));
                    Value::array(sets.collect::<Result<_, _>>()?)
                }
                Some(value) => self.simple(property.kind.unwrap_or_default(), value.simple()),
            };
            object.insert(CompactString::new(key), value);
        }
        Ok(object.finish())
    }

    fn take(&mut self, values: usize) -> Result<(), DecodeError> {
        self.values_left = self.values_left.checked_sub(values).ok_or_else(|| {
            let problem = format!("arrays of more than {SPARKPLUG_VALUES_MAX} values in all");
            DecodeError::Malformed(problem)
        })?;
        Ok(())
    }

    /// An array type: its elements stand behind one another, the least significant byte first.
    fn packed(&mut self, kind: u32, bytes: &[u8]) -> Result<Value, DecodeError> {
        match kind {
            32 => return self.booleans(bytes),
            33 => return self.strings(bytes),
            _ => {}
        }
        let width = match kind {
            22 | 26 => 1,
            23 | 27 => 2,
            24 | 28 | 30 => 4,
            _ => 8,
        };
        if !bytes.len().is_multiple_of(width) {
            let (name, length) = (self.kind(kind), bytes.len());
            let problem =
                format!("{length} bytes are no {}", name.text(self.whole).unwrap_or_default());
            return Err(DecodeError::Malformed(problem));
        }
        self.take(bytes.len() / width)?;
        let element = |bytes: &[u8]| {
            let mut wide = [0; 8];
            for (to, from) in wide.iter_mut().zip(bytes) {
                *to = *from;
            }
            let [a, b, c, d, ..] = wide;
            match kind {
                30 => number(Number::from_f32(f32::from_le_bytes([a, b, c, d])), self.whole),
                31 => number(Number::from_f64(f64::from_le_bytes(wide)), self.whole),
                // The array of a type stands 21 behind it.
                _ => self.simple(kind - 21, Some(Simple::Long(u64::from_le_bytes(wide)))),
            }
        };
        Ok(Value::array(bytes.chunks(width).map(element).collect()))
    }

    /// How many, in four bytes, and so many bits, the most significant of a byte first.
    fn booleans(&mut self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let refused = || DecodeError::Malformed("a BooleanArray shorter than it says".to_owned());
        let (count, bits) = bytes.split_first_chunk().ok_or_else(refused)?;
        let count = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| refused())?;
        if count > bits.len().saturating_mul(8) {
            return Err(refused());
        }
        self.take(count)?;
        let bit = |at: usize| bits.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
        Ok(Value::array((0..count).map(|at| Value::Bool(bit(at))).collect()))
    }

    /// Texts that end with NUL.
    fn strings(&mut self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let text = bytes.strip_suffix(&[0]).map_or(bytes, |without| without);
        let text = std::str::from_utf8(text)
            .map_err(|_| DecodeError::Malformed("a StringArray that is not UTF-8".to_owned()))?;
        if bytes.is_empty() {
            return Ok(Value::array(Vec::new()));
        }
        self.take(text.matches('\0').count() + 1)?;
        Ok(Value::array(text.split('\0').map(Value::string).collect()))
    }
}
