//! Text. Arguments are taken in their string form; Null and Undefined have none.

use std::borrow::Cow;

use super::Arguments;
use crate::engine::operators::Setting;
use crate::engine::operators::truth;
use crate::value::Rounding;
use crate::value::Value;

/// `lpad` and `rpad` add at most this many spaces (AWS).
const PAD_MAX: i64 = 1000;

fn map(arguments: Arguments<'_, '_>, setting: Setting<'_>, apply: impl Fn(&str) -> Value) -> Value {
    match arguments {
        [text] => text.text(setting.whole).map_or(Value::Undefined, |text| apply(&text)),
        _ => Value::Undefined,
    }
}

/// The string forms of exactly `N` arguments.
pub(super) fn texts<'a, const N: usize>(
    arguments: &'a [Cow<'_, Value>],
    setting: Setting<'_>,
) -> Option<[Cow<'a, str>; N]> {
    let texts: Option<Vec<_>> = arguments.iter().map(|value| value.text(setting.whole)).collect();
    texts?.try_into().ok()
}

fn count(length: usize) -> Value {
    Value::int(i64::try_from(length).unwrap_or(i64::MAX))
}

/// A character of ASCII; other codes are Undefined.
pub(super) fn chr(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    let code = match arguments {
        [code] => code.to_number().map(|code| code.to_i64_clamped(Rounding::Floor)),
        _ => None,
    };
    match code.and_then(|code| u8::try_from(code).ok()).filter(u8::is_ascii) {
        Some(code) => Value::string(char::from(code).encode_utf8(&mut [0; 4])),
        None => Value::Undefined,
    }
}

pub(super) fn endswith(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let pair = texts(arguments, setting);
    truth(pair.map(|[text, end]: [Cow<'_, str>; 2]| text.ends_with(&*end)))
}

pub(super) fn startswith(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let pair = texts(arguments, setting);
    truth(pair.map(|[text, start]: [Cow<'_, str>; 2]| text.starts_with(&*start)))
}

/// In characters, from 0; -1 when it is not there.
pub(super) fn indexof(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([text, part]) = texts::<2>(arguments, setting) else { return Value::Undefined };
    match text.split_once(&*part) {
        Some((before, _)) => count(before.chars().count()),
        None => Value::int(-1),
    }
}

pub(super) fn length(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    map(arguments, setting, |text| count(text.chars().count()))
}

pub(super) fn numbytes(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    map(arguments, setting, |text| count(text.len()))
}

pub(super) fn lower(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    map(arguments, setting, |text| setting.budget.string(text.to_lowercase()))
}

pub(super) fn upper(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    map(arguments, setting, |text| setting.budget.string(text.to_uppercase()))
}

const BLANKS: [char; 2] = [' ', '\t'];

pub(super) fn ltrim(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    map(arguments, setting, |text| Value::string(text.trim_start_matches(BLANKS)))
}

pub(super) fn rtrim(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    map(arguments, setting, |text| Value::string(text.trim_end_matches(BLANKS)))
}

pub(super) fn trim(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    map(arguments, setting, |text| Value::string(text.trim_matches(BLANKS)))
}

/// The text, and as many spaces as asked for: AWS adds them, whatever the text's width.
fn padded<'a>(
    arguments: &'a [Cow<'_, Value>],
    setting: Setting<'_>,
) -> Option<(Cow<'a, str>, String)> {
    let [text, spaces] = arguments else { return None };
    let text = text.text(setting.whole)?;
    let spaces = spaces.to_number()?.to_i64_clamped(Rounding::Floor).clamp(0, PAD_MAX);
    Some((text, " ".repeat(usize::try_from(spaces).unwrap_or(0))))
}

pub(super) fn lpad(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    match padded(arguments, setting) {
        Some((text, spaces)) => setting.budget.string(spaces + &text),
        None => Value::Undefined,
    }
}

pub(super) fn rpad(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    match padded(arguments, setting) {
        Some((text, spaces)) => setting.budget.string(text.into_owned() + &spaces),
        None => Value::Undefined,
    }
}

pub(super) fn replace(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([text, from, to]) = texts::<3>(arguments, setting) else { return Value::Undefined };
    // Known before it is built: an empty `from` stands between all characters.
    let times = text.matches(&*from).count();
    if setting.budget.allows(text.len().saturating_add(times.saturating_mul(to.len()))) {
        Value::string(text.replace(&*from, &to))
    } else {
        Value::Undefined
    }
}

/// From character `start` up to but without `end`; both are truncated and kept within the text.
pub(super) fn substring(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let (text, start, end) = match arguments {
        [text, start] => (text, start, None),
        [text, start, end] => (text, start, Some(end)),
        _ => return Value::Undefined,
    };
    let index = |value: &Value| {
        let index = value.to_number()?.to_i64_clamped(Rounding::Truncate).max(0);
        Some(usize::try_from(index).unwrap_or(usize::MAX))
    };
    let bounds = || {
        let end = match end {
            Some(end) => index(end)?,
            None => usize::MAX,
        };
        Some((text.text(setting.whole)?, index(start)?, end))
    };
    let Some((text, start, end)) = bounds() else { return Value::Undefined };
    let taken: String = text.chars().skip(start).take(end.saturating_sub(start)).collect();
    Value::string(taken)
}
