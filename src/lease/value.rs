//! Attribute values of items, in DynamoDB's types and JSON form (`{"S": "text"}`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dec::Context;
use dec::Decimal;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use crate::limits::LEASE_NESTING_MAX;

/// An item's attributes by name.
pub type Item = BTreeMap<String, Value>;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `S`
    Text(String),
    /// `N`
    Number(Number),
    /// `B`
    Bytes(Vec<u8>),
    /// `BOOL`
    Flag(bool),
    /// `NULL`
    Null,
    /// `SS`
    Texts(BTreeSet<String>),
    /// `NS`
    Numbers(BTreeSet<Number>),
    /// `BS`
    Binaries(BTreeSet<Vec<u8>>),
    /// `L`
    List(Vec<Value>),
    /// `M`
    Map(BTreeMap<String, Value>),
}

/// A number of up to 38 digits, written without an exponent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(String);

/// 39 digits: more than a number may have.
type Digits = Decimal<13>;
/// Digits of a number (DynamoDB: 38).
const DIGITS_MAX: usize = 38;
/// Magnitudes of numbers (DynamoDB: 1E-130 to 9.99E+125).
const EXPONENTS: std::ops::RangeInclusive<i32> = -130..=125;

fn context() -> Context<Digits> {
    let mut context = Context::<Digits>::default();
    context.set_precision(DIGITS_MAX).expect("39 digits have room for 38");
    context
}

impl Number {
    /// Reads a number.
    ///
    /// # Errors
    /// It is none, or is beyond DynamoDB's digits or magnitudes; the message is DynamoDB's.
    pub fn parse(text: &str) -> Result<Number, String> {
        let none = || format!("The parameter cannot be converted to a numeric value: {text}");
        let is_plain = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
        if text.is_empty() || text.len() > 200 || !text.bytes().all(is_plain) {
            return Err(none());
        }
        // One digit more than there may be shows that there are more.
        let mut context = Context::<Digits>::default();
        let mut parsed = context.parse(text).map_err(|_| none())?;
        context.reduce(&mut parsed);
        if context.status().inexact() || parsed.digits() as usize > DIGITS_MAX {
            return Err(
                "Attempting to store more than 38 significant digits in a Number".to_owned()
            );
        }
        Number::of(parsed)
    }

    fn of(mut digits: Digits) -> Result<Number, String> {
        let mut context = context();
        context.reduce(&mut digits);
        if !digits.is_finite() {
            return Err("The parameter cannot be converted to a numeric value".to_owned());
        }
        if digits.is_zero() {
            return Ok(Number("0".to_owned()));
        }
        let places = i32::try_from(digits.digits()).unwrap_or(i32::MAX);
        if !EXPONENTS.contains(&(digits.exponent() + places - 1)) {
            return Err(
                "Number overflow. Attempting to store a number with magnitude larger than \
                        supported range"
                    .to_owned(),
            );
        }
        Ok(Number(digits.to_standard_notation_string()))
    }

    fn digits(&self) -> Digits {
        context().parse(self.0.as_str()).expect("it was parsed before")
    }

    /// The sum.
    ///
    /// # Errors
    /// As of [`Number::parse`].
    pub fn plus(&self, other: &Number) -> Result<Number, String> {
        let mut sum = self.digits();
        context().add(&mut sum, &other.digits());
        Number::of(sum)
    }

    /// The difference.
    ///
    /// # Errors
    /// As of [`Number::parse`].
    pub fn minus(&self, other: &Number) -> Result<Number, String> {
        let mut difference = self.digits();
        context().sub(&mut difference, &other.digits());
        Number::of(difference)
    }
}

impl From<usize> for Number {
    fn from(count: usize) -> Number {
        Number(count.to_string())
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let ordering = context().partial_cmp(&self.digits(), &other.digits());
        ordering.unwrap_or(Ordering::Equal)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value {
    /// The name of its type (`S`, `N`, …).
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "S",
            Value::Number(_) => "N",
            Value::Bytes(_) => "B",
            Value::Flag(_) => "BOOL",
            Value::Null => "NULL",
            Value::Texts(_) => "SS",
            Value::Numbers(_) => "NS",
            Value::Binaries(_) => "BS",
            Value::List(_) => "L",
            Value::Map(_) => "M",
        }
    }

    /// How it compares with another one; `None` where their types do not.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Number(a), Value::Number(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// Reads a value from its JSON form.
    ///
    /// # Errors
    /// It is none; the message is DynamoDB's.
    pub fn parse(json: &Json) -> Result<Value, String> {
        Value::read(json, 0)
    }

    fn read(json: &Json, depth: usize) -> Result<Value, String> {
        if depth > LEASE_NESTING_MAX {
            return Err("Nesting Levels have exceeded supported limits".to_owned());
        }
        let object = json.as_object().ok_or_else(|| wrong("an attribute value is a map"))?;
        let mut members = object.iter().filter(|(_, value)| !value.is_null());
        let (Some((kind, value)), None) = (members.next(), members.next()) else {
            return Err(
                "Supplied AttributeValue is empty, must contain exactly one of the supported \
                        datatypes"
                    .to_owned(),
            );
        };
        match kind.as_str() {
            "S" => Ok(Value::Text(text(value)?.to_owned())),
            "N" => Number::parse(text(value)?).map(Value::Number),
            "B" => bytes(value).map(Value::Bytes),
            "BOOL" => value.as_bool().map(Value::Flag).ok_or_else(|| wrong("BOOL")),
            "NULL" => Ok(Value::Null),
            "SS" => set(value, |value| text(value).map(str::to_owned)).map(Value::Texts),
            "NS" => set(value, |value| Number::parse(text(value)?)).map(Value::Numbers),
            "BS" => set(value, bytes).map(Value::Binaries),
            "L" => {
                let list = value.as_array().ok_or_else(|| wrong("L"))?;
                list.iter()
                    .map(|value| Value::read(value, depth + 1))
                    .collect::<Result<_, _>>()
                    .map(Value::List)
            }
            "M" => {
                let map = value.as_object().ok_or_else(|| wrong("M"))?;
                map.iter()
                    .map(|(name, value)| Ok((name.clone(), Value::read(value, depth + 1)?)))
                    .collect::<Result<_, String>>()
                    .map(Value::Map)
            }
            _ => {
                Err("Supplied AttributeValue is empty, must contain exactly one of the supported \
                      datatypes"
                    .to_owned())
            }
        }
    }

    /// Its JSON form.
    pub fn to_json(&self) -> Json {
        let kind = self.kind();
        match self {
            Value::Text(text) => json!({ kind: text }),
            Value::Number(number) => json!({ kind: number.0 }),
            Value::Bytes(bytes) => json!({ kind: STANDARD.encode(bytes) }),
            Value::Flag(flag) => json!({ kind: flag }),
            Value::Null => json!({ kind: true }),
            Value::Texts(set) => json!({ kind: set }),
            Value::Numbers(set) => {
                json!({ kind: set.iter().map(|number| &number.0).collect::<Vec<_>>() })
            }
            Value::Binaries(set) => {
                json!({ kind: set.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>() })
            }
            Value::List(list) => {
                json!({ kind: list.iter().map(Value::to_json).collect::<Vec<_>>() })
            }
            Value::Map(map) => json!({ kind: to_json(map) }),
        }
    }

    /// Bytes that it counts as, about as DynamoDB does.
    pub fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Number(number) => number.0.len() / 2 + 2,
            Value::Bytes(bytes) => bytes.len(),
            Value::Flag(_) | Value::Null => 1,
            Value::Texts(set) => set.iter().map(String::len).sum(),
            Value::Numbers(set) => set.iter().map(|number| number.0.len() / 2 + 2).sum(),
            Value::Binaries(set) => set.iter().map(Vec::len).sum(),
            Value::List(list) => 3 + list.iter().map(|value| value.size() + 1).sum::<usize>(),
            Value::Map(map) => 3 + item_size(map),
        }
    }
}

/// Bytes that an item counts as.
pub fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.size() + 1).sum()
}

/// Reads an item from its JSON form.
///
/// # Errors
/// An attribute is no value.
pub fn parse_item(json: &Map<String, Json>) -> Result<Item, String> {
    json.iter().map(|(name, value)| Ok((name.clone(), Value::parse(value)?))).collect()
}

/// An item's JSON form.
pub fn to_json(item: &Item) -> Json {
    Json::Object(item.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
}

fn wrong(what: &str) -> String {
    format!("Unexpected value type in payload: {what}")
}

fn text(json: &Json) -> Result<&str, String> {
    json.as_str().ok_or_else(|| wrong("a text is expected"))
}

fn bytes(json: &Json) -> Result<Vec<u8>, String> {
    STANDARD.decode(text(json)?).map_err(|_| wrong("base64 is expected"))
}

fn set<T: Ord>(
    json: &Json,
    read: impl Fn(&Json) -> Result<T, String>,
) -> Result<BTreeSet<T>, String> {
    let list = json.as_array().ok_or_else(|| wrong("a set is a list"))?;
    let set: BTreeSet<T> = list.iter().map(read).collect::<Result<_, _>>()?;
    match (set.is_empty(), set.len() == list.len()) {
        (true, _) => {
            Err("One or more parameter values were invalid: An set may not be empty".to_owned())
        }
        (_, false) => {
            Err("One or more parameter values were invalid: Input collection contains duplicates"
                .to_owned())
        }
        _ => Ok(set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimals_of_38_digits() {
        let number = |text: &str| Number::parse(text);
        for (text, expected) in [
            ("1.50", "1.5"),
            ("1.5E2", "150"),
            ("-0", "0"),
            ("007", "7"),
            ("1e-3", "0.001"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ] {
            assert_eq!(number(text).unwrap().to_string(), expected);
        }
        for wrong in ["", "x", "NaN", "Infinity", "1e200", "1e-200", "--1", " 1"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert!(number(&"9".repeat(39)).unwrap_err().contains("38 significant digits"));
        assert!(number("10").unwrap() > number("9.5").unwrap());
        let sum = number("0.1").unwrap().plus(&number("0.2").unwrap()).unwrap();
        assert_eq!(sum.to_string(), "0.3");
        let difference = number("1").unwrap().minus(&number("3").unwrap()).unwrap();
        assert_eq!(difference.to_string(), "-2");
    }

    #[test]
    fn values_read_back_from_their_json() {
        let json = json!({"M": {
            "s": {"S": "ü"}, "n": {"N": "1"}, "b": {"B": "AAEC"}, "f": {"BOOL": false},
            "z": {"NULL": true}, "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2"]},
            "bs": {"BS": ["AA=="]}, "l": {"L": [{"S": "x"}, {"L": []}]}, "m": {"M": {}},
        }});
        assert_eq!(Value::parse(&json).unwrap().to_json(), json);
        for wrong in [
            json!({}),
            json!({"S": "a", "N": "1"}),
            json!({"X": "a"}),
            json!({"S": 1}),
            json!({"N": 1}),
            json!({"SS": []}),
            json!({"SS": ["a", "a"]}),
            json!("a"),
            json!({"B": "*"}),
        ] {
            assert!(Value::parse(&wrong).is_err(), "{wrong}");
        }
        let mut deep = json!({"S": "x"});
        for _ in 0..LEASE_NESTING_MAX {
            deep = json!({"L": [deep]});
        }
        assert!(Value::parse(&deep).is_ok());
        assert!(Value::parse(&json!({"L": [deep]})).is_err());
    }
}
