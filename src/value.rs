//! What a rule sees: the types of AWS IoT SQL, and nothing else.
//!
//! Owner: engine. `Value` is owned and self-contained; short strings are stored inline, whole
//! numbers in 64 bits, other numbers as decimals of 34 digits.

use std::sync::Arc;

use compact_str::CompactString;
use dec::Decimal128;

/// A number: exact, 34 decimal digits (AWS IoT SQL, "Data types").
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// `mantissa` × 10^-`scale`; the fast form of most readings.
    Short {
        /// All digits.
        mantissa: i64,
        /// Digits after the point.
        scale: u8,
    },
    /// Anything else.
    Wide(Decimal128),
}

/// An object: keys in their order of arrival; a repeated key keeps the last value.
pub type Object = Vec<(CompactString, Value)>;

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
