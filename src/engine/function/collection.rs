//! Arrays and objects, and choosing between values.

use super::Arguments;
use crate::engine::operators::Setting;
use crate::value::ObjectBuilder;
use crate::value::Rounding;
use crate::value::Value;

pub(super) fn is_null(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    match arguments {
        [value] => Value::Bool(matches!(**value, Value::Null)),
        _ => Value::Undefined,
    }
}

pub(super) fn is_undefined(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    match arguments {
        [value] => Value::Bool(value.is_undefined()),
        _ => Value::Undefined,
    }
}

/// The second value where the first is Undefined or Null (a number here is never NaN).
pub(super) fn nanvl(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    match arguments {
        [value, other] if matches!(**value, Value::Undefined | Value::Null) => {
            other.clone().into_owned()
        }
        [value, _] => value.clone().into_owned(),
        _ => Value::Undefined,
    }
}

pub(super) fn get_or_default(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    match arguments {
        [value] if matches!(**value, Value::Null) => Value::Undefined,
        [value] => value.clone().into_owned(),
        _ => nanvl(arguments, setting),
    }
}

/// An element (from 0), a member (by a String), or a character (from 0).
pub(super) fn get(arguments: Arguments<'_, '_>, _: Setting<'_>) -> Value {
    let [from, key] = arguments else { return Value::Undefined };
    let index = || {
        let index = key.to_number()?.to_i64(Rounding::Truncate)?;
        usize::try_from(index).ok()
    };
    let found = match (&**from, &**key) {
        (Value::Array(items), _) => index().and_then(|index| items.get(index)).cloned(),
        (object @ Value::Object(_), Value::String(name)) => object.member(name).cloned(),
        (Value::String(text), _) => index()
            .and_then(|index| text.chars().nth(index))
            .map(|character| Value::string(character.encode_utf8(&mut [0; 4]))),
        _ => None,
    };
    found.unwrap_or_default()
}

/// Arrays are joined as soon as there is one, else strings; one argument stays as it is.
pub(in crate::engine) fn concat(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    if let [single] = arguments {
        return single.clone().into_owned();
    }
    if arguments.iter().any(|value| matches!(**value, Value::Array(_))) {
        return concat_arrays(arguments, setting);
    }
    if !arguments.iter().any(|value| matches!(**value, Value::String(_))) {
        return Value::Undefined;
    }
    let mut joined = String::new();
    for value in arguments {
        let Some(text) = value.text(setting.whole) else { return Value::Undefined };
        if !setting.budget.allows(joined.len().saturating_add(text.len())) {
            return Value::Undefined;
        }
        joined.push_str(&text);
    }
    Value::string(joined)
}

fn concat_arrays(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let mut joined = Vec::new();
    for value in arguments {
        let added = match &**value {
            Value::Array(items) => items.as_slice(),
            Value::Undefined => return Value::Undefined,
            single => std::slice::from_ref(single),
        };
        if !setting.budget.take(added.len()) {
            return Value::Undefined;
        }
        joined.extend_from_slice(added);
    }
    Value::array(joined)
}

/// `transform('enrichArray', object, array)`: the object's members in every element. A sub-query
/// over an object gives an array of one, which stands for its element here.
pub(super) fn transform(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let [mode, extra, target] = arguments else { return Value::Undefined };
    if !matches!(&**mode, Value::String(mode) if mode == "enrichArray") {
        return Value::Undefined;
    }
    let (Value::Object(extra), Value::Array(items)) = (single(extra), single_array(target)) else {
        return Value::Undefined;
    };
    let mut enriched = Vec::with_capacity(items.len());
    for item in items.iter() {
        if !setting.budget.take(1 + extra.len()) {
            return Value::Undefined;
        }
        let Value::Object(members) = item else { return Value::Undefined };
        let mut object = ObjectBuilder::default();
        for (key, value) in members.iter().chain(extra.iter()) {
            object.insert(key.clone(), value.clone());
        }
        enriched.push(object.finish());
    }
    Value::array(enriched)
}

fn single(value: &Value) -> &Value {
    match value {
        Value::Array(items) => match items.as_slice() {
            [only @ Value::Object(_)] => only,
            _ => value,
        },
        _ => value,
    }
}

fn single_array(value: &Value) -> &Value {
    match value {
        Value::Array(items) => match items.as_slice() {
            [only @ Value::Array(_)] => only,
            _ => value,
        },
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::engine::operators::Budget;
    use crate::value::Whole;

    #[test]
    fn get_reads_strings_from_index_zero() {
        let budget = Budget::default();
        let setting = Setting { whole: Whole::AsInt, budget: &budget };
        let arguments = [Cow::Owned(Value::string("abc")), Cow::Owned(Value::int(1))];
        assert_eq!(get(&arguments, setting), Value::string("b"));
    }

    #[test]
    fn joining_past_the_bound_is_a_fault() {
        let budget = Budget::default();
        let setting = Setting { whole: Whole::AsInt, budget: &budget };
        let long: Cow<'_, Value> = Cow::Owned(Value::array(vec![Value::Null; 60_000]));
        assert!(concat(&[long.clone(), long], setting).is_undefined());
        assert!(budget.fault().is_some());
    }
}
