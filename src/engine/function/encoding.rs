//! Digests of a string form, and base64.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest;

use super::Arguments;
use crate::engine::operators::Setting;
use crate::value::Value;
use crate::value::json_reader::parse;

fn digest<D: Digest>(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let [value] = arguments else { return Value::Undefined };
    let Some(text) = value.text(setting.whole) else { return Value::Undefined };
    let mut hex = String::new();
    for byte in D::digest(text.as_bytes()) {
        write!(hex, "{byte:02x}").expect("writing into a string cannot fail");
    }
    Value::string(hex)
}

pub(super) fn md2(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    digest::<md2::Md2>(arguments, setting)
}

pub(super) fn md5(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    digest::<md5::Md5>(arguments, setting)
}

pub(super) fn sha1(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    digest::<sha1::Sha1>(arguments, setting)
}

pub(super) fn sha224(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    digest::<sha2::Sha224>(arguments, setting)
}

pub(super) fn sha256(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    digest::<sha2::Sha256>(arguments, setting)
}

pub(super) fn sha384(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    digest::<sha2::Sha384>(arguments, setting)
}

pub(super) fn sha512(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    digest::<sha2::Sha512>(arguments, setting)
}

/// The scheme of these; `decode(x, 'proto', …)` is compiled with its type, and never comes here.
fn is_base64(scheme: &Value) -> bool {
    matches!(scheme, Value::String(scheme) if scheme == "base64")
}

/// `encode(x, 'base64')` of the string form; `encode(*, 'base64')` never comes here.
pub(super) fn encode(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    match arguments {
        [value, scheme] if is_base64(scheme) => match value.text(setting.whole) {
            Some(text) => setting.budget.string(STANDARD.encode(text.as_bytes())),
            None => Value::Undefined,
        },
        _ => Value::Undefined,
    }
}

/// JSON text becomes its value, other text a String, and what does not decode is Null.
pub(super) fn decode(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let [value, scheme] = arguments else { return Value::Undefined };
    if !is_base64(scheme) {
        return Value::Undefined;
    }
    let Some(text) = value.text(setting.whole) else { return Value::Undefined };
    let Ok(bytes) = STANDARD.decode(text.as_bytes()) else { return Value::Null };
    if let Ok(value) = parse(&bytes, setting.whole) {
        return value;
    }
    String::from_utf8(bytes).map_or(Value::Null, Value::string)
}
