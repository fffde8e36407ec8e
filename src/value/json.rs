//! Values as JSON text: compact, keys in their order, Undefined members left out.

use std::fmt::Write as _;

use super::Value;
use super::Whole;

/// Writing stopped because the text would be longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the JSON text is longer than {limit} bytes")]
pub struct TooLong {
    /// The bound.
    pub limit: usize,
}

/// A value's JSON text. Undefined is the empty text, and `null` inside an array, which has no way
/// to leave an element out.
pub fn text(value: &Value, whole: Whole) -> String {
    let mut out = Vec::new();
    let unbounded = write(&mut out, value, whole, usize::MAX);
    debug_assert!(unbounded.is_ok(), "no text is longer than usize::MAX");
    into_string(out)
}

/// Appends the JSON text of `value`; stops as soon as `out` is longer than `limit` bytes.
pub fn write(out: &mut Vec<u8>, value: &Value, whole: Whole, limit: usize) -> Result<(), TooLong> {
    match value {
        Value::Undefined => {}
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => number.write(out, whole),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                let item = if item.is_undefined() { &Value::Null } else { item };
                write(out, item, whole, limit)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            let mut first = true;
            for (key, member) in members.iter().filter(|(_, member)| !member.is_undefined()) {
                if !first {
                    out.push(b',');
                }
                first = false;
                write_string(out, key);
                out.push(b':');
                write(out, member, whole, limit)?;
            }
            out.push(b'}');
        }
    }
    if out.len() > limit { Err(TooLong { limit }) } else { Ok(()) }
}

/// Appends a JSON string with the escapes RFC 8259 requires, and no others.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (position, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..position]);
        plain_from = position + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                let mut escape = compact_str::CompactString::default();
                write!(escape, "\\u{control:04x}").expect("writing into a string cannot fail");
                out.extend_from_slice(escape.as_bytes());
            }
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

fn into_string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("only whole strings and ASCII were written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_members_are_left_out_and_null_stays() {
        let object = Value::object(vec![
            ("a".into(), Value::Undefined),
            ("b".into(), Value::Null),
            ("c".into(), Value::array(vec![Value::Undefined, Value::int(1)])),
        ]);
        assert_eq!(text(&object, Whole::AsInt), r#"{"b":null,"c":[null,1]}"#);
        assert_eq!(text(&Value::Undefined, Whole::AsInt), "");
    }

    #[test]
    fn strings_are_escaped_so_that_serde_json_reads_them_back() {
        for original in ["", "plain", "q\"b\\n\nt\tr\rb\u{8}f\u{c}z\0\u{1f}é\u{1F600}\u{7f}"] {
            let written = text(&Value::string(original), Whole::AsInt);
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), original);
        }
    }

    #[test]
    fn writing_stops_at_the_limit() {
        let long = Value::array(vec![Value::string("0123456789"); 100]);
        let mut out = Vec::new();
        assert_eq!(write(&mut out, &long, Whole::AsInt, 50), Err(TooLong { limit: 50 }));
        assert!(out.len() < 80, "it stopped early, at {} bytes", out.len());
    }
}
