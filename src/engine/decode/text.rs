//! Text under a regular expression: its named groups are the fields.
//!
//! Also [`word`], which reads a field of a text format: what looks like a JSON number, `true` or
//! `false` is that, anything else stays text, so that `007` keeps its zeros.

use compact_str::CompactString;

use super::DecodeError;
use crate::rule::ast::TextPattern;
use crate::value::Number;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;

/// The groups that took part in the first match.
pub(super) fn decode(
    pattern: &TextPattern,
    payload: &[u8],
    whole: Whole,
) -> Result<Value, DecodeError> {
    let text = utf8(payload)?;
    let Some(captures) = pattern.regex().captures(text) else {
        return Err(DecodeError::Malformed("the expression behind MATCHING does not match".into()));
    };
    let mut fields = ObjectBuilder::default();
    for name in pattern.names() {
        if let Some(group) = captures.name(name) {
            fields.insert(CompactString::new(name), word(group.as_str(), whole));
        }
    }
    Ok(fields.finish())
}

/// The payload as text.
pub(super) fn utf8(payload: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(payload).map_err(|error| {
        DecodeError::Malformed(format!("not UTF-8 from byte {}", error.valid_up_to()))
    })
}

/// A number, a Boolean, or text.
pub(super) fn word(text: &str, whole: Whole) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match (json_number(text), whole) {
            (Some(number), Whole::AsInt) => Value::Number(number.with_whole_int()),
            (Some(number), Whole::AsWritten) => Value::Number(number),
            (None, _) => Value::string(text),
        },
    }
}

/// A number as JSON writes it: no leading zeros, no plus.
fn json_number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match digits {
        [b'0', b'0'..=b'9', ..] => None,
        [b'0'..=b'9', ..] => Number::parse(text),
        _ => None,
    }
}
