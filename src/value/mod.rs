//! What a rule sees: the types of AWS IoT SQL, and nothing else.
//!
//! Owner: engine. [`Value`] is owned and self-contained; short strings are stored inline, whole
//! numbers in 64 bits, other numbers as decimals of 34 digits. [`json`] writes a value as JSON,
//! `json_reader` reads it, [`Value::text`] is AWS's implicit conversion to String,
//! [`Value::to_number`] the one to Decimal. Nothing here knows rules, and nothing converts through
//! binary floating point unless a function is defined that way.

pub mod json;
pub(crate) mod json_reader;
mod number;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::hash::Hasher;
use std::mem::discriminant;
use std::sync::Arc;

use compact_str::CompactString;

pub use number::Number;
pub use number::Rounding;

/// An object: keys in their order of arrival; a repeated key keeps the last value.
pub type Object = Vec<(CompactString, Value)>;

/// How numbers print: what distinguishes SQL version 2015-10-08.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// `10.0` is `10` (2016-03-23).
    AsInt,
    /// `10.0` stays a Decimal (2015-10-08).
    AsWritten,
}

/// A value of AWS IoT SQL.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Not a value: a missing field, a bad argument. Left out of objects.
    #[default]
    Undefined,
    /// JSON null.
    Null,
    /// true, false.
    Bool(bool),
    /// Int or Decimal.
    Number(Number),
    /// UTF-8 text.
    String(CompactString),
    /// In order.
    Array(Arc<Vec<Value>>),
    /// JSON object.
    Object(Arc<Object>),
}

impl Value {
    /// A string value.
    pub fn string(text: impl AsRef<str>) -> Value {
        Value::String(CompactString::new(text))
    }

    /// A whole number.
    pub const fn int(value: i64) -> Value {
        Value::Number(Number::Int(value))
    }

    /// An array.
    pub fn array(items: Vec<Value>) -> Value {
        Value::Array(Arc::new(items))
    }

    /// An object; the caller sees to it that no key is repeated.
    pub fn object(members: Object) -> Value {
        Value::Object(Arc::new(members))
    }

    /// Whether it is Undefined.
    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined)
    }

    /// The member of an object; `None` also where this is not an object.
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The element of an array; `None` also where this is not an array.
    pub fn element(&self, index: usize) -> Option<&Value> {
        match self {
            Value::Array(items) => items.get(index),
            _ => None,
        }
    }

    /// AWS's implicit conversion to String: `None` (Undefined) for Null and Undefined, JSON text for
    /// arrays and objects (data types page, "Conversions").
    pub fn text(&self, whole: Whole) -> Option<Cow<'_, str>> {
        match self {
            Value::Undefined | Value::Null => None,
            Value::Bool(true) => Some(Cow::Borrowed("true")),
            Value::Bool(false) => Some(Cow::Borrowed("false")),
            Value::Number(number) => Some(Cow::Owned(number.text(whole))),
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => Some(Cow::Owned(json::text(self, whole))),
        }
    }

    /// AWS's implicit conversion to Decimal: numbers, and strings that match the documented
    /// expression. `None` (Undefined) for everything else, Null included.
    pub fn to_number(&self) -> Option<Number> {
        match self {
            Value::Number(number) => Some(*number),
            Value::String(text) => Number::parse_string(text),
            Value::Undefined
            | Value::Null
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// AWS's implicit conversion to Boolean: `"true"` and `"false"` in any case count.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// Whole Decimals become Int, at every depth: what 2016-03-23 does at input and cast.
    pub fn with_whole_ints(self) -> Value {
        match self {
            Value::Number(number) => Value::Number(number.with_whole_int()),
            Value::Array(items) => Value::array(
                Arc::unwrap_or_clone(items).into_iter().map(Value::with_whole_ints).collect(),
            ),
            Value::Object(members) => Value::object(
                Arc::unwrap_or_clone(members)
                    .into_iter()
                    .map(|(key, value)| (key, value.with_whole_ints()))
                    .collect(),
            ),
            other => other,
        }
    }
}

impl PartialEq for Value {
    /// Same type and same content: numbers by their mathematical value, objects without regard to the
    /// order of keys. Undefined equals itself here; SQL's `=` treats it before it comes to this.
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Object(a), Value::Object(b)) => objects_equal(a, b),
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    /// Equal values hash alike: numbers whatever their form, objects whatever the order of their keys.
    fn hash<H: Hasher>(&self, state: &mut H) {
        discriminant(self).hash(state);
        match self {
            Value::Undefined | Value::Null => {}
            Value::Bool(value) => value.hash(state),
            Value::Number(number) => number.hash(state),
            Value::String(text) => text.hash(state),
            Value::Array(items) => items.hash(state),
            Value::Object(members) => members.len().hash(state),
        }
    }
}

/// Objects up to this many members are compared and deduplicated by walking them; larger ones by
/// sorting, so that a payload cannot ask for quadratic work.
const SMALL_OBJECT: usize = 16;

fn objects_equal(a: &Object, b: &Object) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() <= SMALL_OBJECT {
        return a.iter().all(|(key, value)| {
            b.iter().find(|(other, _)| other == key).is_some_and(|(_, found)| found == value)
        });
    }
    let sorted = |members: &Object| -> Vec<usize> {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|x, y| members[*x].0.cmp(&members[*y].0));
        order
    };
    sorted(a).into_iter().zip(sorted(b)).all(|(x, y)| a[x] == b[y])
}

/// Builds an object whose repeated keys keep the last value, in linear time.
#[derive(Debug, Default)]
pub struct ObjectBuilder {
    members: Object,
    /// Positions by key, once the object is no longer small.
    positions: HashMap<CompactString, usize, foldhash::fast::RandomState>,
}

impl ObjectBuilder {
    /// Puts `value` under `key`; a later value replaces an earlier one, in its place.
    pub fn insert(&mut self, key: CompactString, value: Value) {
        if self.members.len() < SMALL_OBJECT {
            match self.members.iter_mut().find(|(name, _)| *name == key) {
                Some((_, slot)) => *slot = value,
                None => self.members.push((key, value)),
            }
            return;
        }
        if self.positions.is_empty() {
            self.positions =
                self.members.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
        }
        match self.positions.get(&key) {
            Some(position) => self.members[*position].1 = value,
            None => {
                self.positions.insert(key.clone(), self.members.len());
                self.members.push((key, value));
            }
        }
    }

    /// Puts `value` under a nested key, making objects on the way. Does nothing for an empty path.
    pub fn insert_at(&mut self, path: &[CompactString], value: Value) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            return self.insert(first.clone(), value);
        }
        let known = self.members.iter_mut().find(|(name, _)| name == first);
        match known {
            Some((_, Value::Object(inner))) => set_at(Arc::make_mut(inner), rest, value),
            _ => {
                let mut inner = Object::new();
                set_at(&mut inner, rest, value);
                self.insert(first.clone(), Value::object(inner));
            }
        }
    }

    /// The finished object.
    pub fn finish(self) -> Value {
        Value::object(self.members)
    }
}

fn set_at(members: &mut Object, path: &[CompactString], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    let position = members.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
        members.push((first.clone(), Value::Undefined));
        members.len() - 1
    });
    let slot = &mut members[position].1;
    if rest.is_empty() {
        *slot = value;
        return;
    }
    if !matches!(slot, Value::Object(_)) {
        *slot = Value::object(Object::new());
    }
    if let Value::Object(inner) = slot {
        set_at(Arc::make_mut(inner), rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_equal_whatever_the_order_of_their_keys() {
        for size in [2_i64, 40] {
            let forward: Object =
                (0..size).map(|i| (format!("k{i}").into(), Value::int(i))).collect();
            let mut backward = forward.clone();
            backward.reverse();
            assert_eq!(Value::object(forward.clone()), Value::object(backward.clone()));
            backward[0].1 = Value::int(-1);
            assert_ne!(Value::object(forward), Value::object(backward));
        }
    }

    #[test]
    fn a_repeated_key_keeps_its_place_and_the_last_value() {
        for size in [3_i64, 60] {
            let mut builder = ObjectBuilder::default();
            for i in 0..size {
                builder.insert(format!("k{i}").into(), Value::int(i));
            }
            builder.insert("k1".into(), Value::Null);
            let Value::Object(members) = builder.finish() else { panic!("an object was built") };
            assert_eq!(members.len(), usize::try_from(size).unwrap());
            assert_eq!(members[1], ("k1".into(), Value::Null));
        }
    }

    #[test]
    fn conversion_to_string_follows_the_data_types_page() {
        assert_eq!(Value::Null.text(Whole::AsInt), None);
        assert_eq!(Value::Undefined.text(Whole::AsInt), None);
        assert_eq!(Value::Bool(true).text(Whole::AsInt).as_deref(), Some("true"));
        let array = Value::array(vec![Value::string("a"), Value::int(1), Value::Null]);
        assert_eq!(array.text(Whole::AsInt).as_deref(), Some(r#"["a",1,null]"#));
    }
}
