//! The operators of AWS IoT SQL on values: pure, total, Undefined where AWS says so
//! (developer guide, "Operators"; what it leaves open is decided in `docs/language.md`).

use std::cell::Cell;

use crate::engine::FaultCode;
use crate::limits::ARRAY_GROWTH_MAX;
use crate::limits::EVALUATION_BYTES_MAX;
use crate::limits::EVALUATION_STEP_SIZE;
use crate::limits::EVALUATION_STEPS_MAX;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::rule::ast::BinaryOp;
use crate::rule::ast::CastTarget;
use crate::rule::ast::IsWhat;
use crate::rule::java_regex::Steps;
use crate::value::Number;
use crate::value::Rounding;
use crate::value::Value;
use crate::value::Whole;

/// What evaluating one rule over one message may still build. Once overdrawn, results are Undefined
/// and the rule ends in a fault.
#[derive(Debug)]
pub(super) struct Budget {
    grown: Cell<usize>,
    /// Bytes of the strings built.
    built: Cell<usize>,
    steps: Steps,
    fault: Cell<Option<FaultCode>>,
}

impl Default for Budget {
    fn default() -> Self {
        let steps = Steps::new(EVALUATION_STEPS_MAX);
        Budget { grown: Cell::default(), built: Cell::default(), steps, fault: Cell::default() }
    }
}

impl Budget {
    /// Takes `elements` array elements (built or visited). False when that is too many.
    pub(super) fn take(&self, elements: usize) -> bool {
        let grown = self.grown.get().saturating_add(elements);
        self.grown.set(grown);
        if grown > ARRAY_GROWTH_MAX {
            self.fault.set(Some(FaultCode::ArrayTooLarge));
        }
        self.fault.get().is_none()
    }

    /// A string result; Undefined and a fault when it is larger than any output may be.
    pub(super) fn string(&self, text: impl AsRef<str>) -> Value {
        if self.allows(text.as_ref().len()) { Value::string(text) } else { Value::Undefined }
    }

    /// Whether a string of `bytes` may be built, beside those that have been; a fault when not.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        let built = self.built.get().saturating_add(bytes);
        self.built.set(built);
        if bytes > OUTPUT_BYTES_MAX || built > EVALUATION_BYTES_MAX {
            self.fault.set(Some(FaultCode::OutputTooLarge));
        }
        self.fault.get().is_none()
    }

    /// The steps that searches take.
    pub(super) fn steps(&self) -> &Steps {
        &self.steps
    }

    /// Takes the steps of work over `size` bytes, or elements of an array. False when those are too many.
    pub(super) fn work(&self, size: usize) -> bool {
        if self.steps.take(size / EVALUATION_STEP_SIZE).is_err() {
            self.fail(FaultCode::EvaluationTooCostly);
        }
        self.fault.get().is_none()
    }

    /// Ends evaluation with `code`, unless something else has.
    pub(super) fn fail(&self, code: FaultCode) {
        self.fault.set(self.fault.get().or(Some(code)));
    }

    /// Why evaluation must end; `None` while all is well.
    pub(super) fn fault(&self) -> Option<FaultCode> {
        self.fault.get()
    }
}

/// What pure operations need besides their operands.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// How whole Decimals print.
    pub(super) whole: Whole,
    /// Bounds of this evaluation.
    pub(super) budget: &'a Budget,
}

/// `=`: `None` when a side is Undefined, false for different types.
pub(super) fn equal(a: &Value, b: &Value) -> Option<bool> {
    if a.is_undefined() || b.is_undefined() { None } else { Some(a == b) }
}

/// A comparison operator. Order is defined on numbers, and on strings that read as numbers.
pub(super) fn compare(op: BinaryOp, a: &Value, b: &Value) -> Option<bool> {
    match op {
        BinaryOp::Equal => return equal(a, b),
        BinaryOp::NotEqual => return equal(a, b).map(|equal| !equal),
        _ => {}
    }
    let order = a.to_number()?.cmp(&b.to_number()?);
    match op {
        BinaryOp::Less => Some(order.is_lt()),
        BinaryOp::LessOrEqual => Some(order.is_le()),
        BinaryOp::Greater => Some(order.is_gt()),
        BinaryOp::GreaterOrEqual => Some(order.is_ge()),
        _ => None,
    }
}

/// `+ - * / %`. `+` joins as soon as one side is a String.
pub(super) fn arithmetic(op: BinaryOp, a: &Value, b: &Value, setting: Setting<'_>) -> Value {
    if op == BinaryOp::Add && (matches!(a, Value::String(_)) || matches!(b, Value::String(_))) {
        return match (a.text(setting.whole), b.text(setting.whole)) {
            (Some(a), Some(b)) if setting.budget.allows(a.len().saturating_add(b.len())) => {
                let mut joined = compact_str::CompactString::with_capacity(a.len() + b.len());
                joined.push_str(&a);
                joined.push_str(&b);
                Value::String(joined)
            }
            _ => Value::Undefined,
        };
    }
    let is_text = matches!(a, Value::String(_)) || matches!(b, Value::String(_));
    let (Some(a), Some(b)) = (a.to_number(), b.to_number()) else { return Value::Undefined };
    let result = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Subtract => a.checked_sub(b),
        BinaryOp::Multiply => a.checked_mul(b),
        // Texts become Decimals, so `'7' / 2` is no division of Ints.
        BinaryOp::Divide if is_text => a.into_decimal().checked_div(b),
        BinaryOp::Divide => a.checked_div(b),
        BinaryOp::Remainder => a.checked_rem(b),
        _ => None,
    };
    number(result)
}

/// `-x`.
pub(super) fn negate(value: &Value) -> Value {
    number(value.to_number().map(Number::negate))
}

/// `x IN array`.
pub(super) fn contains(needle: &Value, haystack: &Value) -> Option<bool> {
    match haystack {
        Value::Array(items) if !needle.is_undefined() => Some(items.contains(needle)),
        _ => None,
    }
}

/// `x BETWEEN low AND high`.
pub(super) fn between(value: &Value, low: &Value, high: &Value) -> Option<bool> {
    let above = compare(BinaryOp::GreaterOrEqual, value, low);
    let below = compare(BinaryOp::LessOrEqual, value, high);
    match (above, below) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// `x IS NULL`, `x IS UNDEFINED`. A missing field is no value to ask about: neither NULL nor NOT NULL.
pub(super) fn is(value: &Value, what: IsWhat) -> Option<bool> {
    match what {
        IsWhat::Undefined => Some(value.is_undefined()),
        IsWhat::Null if value.is_undefined() => None,
        IsWhat::Null => Some(matches!(value, Value::Null)),
    }
}

/// `x LIKE pattern` on the string form of both: `%` is any text, `_` one character.
pub(super) fn like(value: &Value, pattern: &Value, whole: Whole) -> Option<bool> {
    Some(matches_pattern(&value.text(whole)?, &pattern.text(whole)?))
}

/// Walks both once, going back only to the last `%`: at most length times length steps.
fn matches_pattern(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before = text.clone();
        match (pattern.next(), text.next()) {
            (Some('%'), _) => {
                text = before;
                retry = Some((text.clone(), pattern.clone()));
            }
            (Some('_'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (None, None) => return true,
            _ => {
                let Some((from, after)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                text = from.clone();
                pattern = after.clone();
            }
        }
    }
}

/// `cast(x AS type)`: the implicit conversions, and Boolean to and from numbers. Null is Undefined.
pub(super) fn cast(value: &Value, target: CastTarget, setting: Setting<'_>) -> Value {
    let numeric = || match value {
        Value::Bool(value) => Some(Number::Int(i64::from(*value))),
        other => other.to_number(),
    };
    match target {
        CastTarget::String => {
            value.text(setting.whole).map_or(Value::Undefined, |text| setting.budget.string(text))
        }
        CastTarget::Int => number(numeric().map(|n| n.round_to(0, Rounding::Floor))),
        CastTarget::Decimal => number(numeric().map(|n| match setting.whole {
            Whole::AsInt => n.with_whole_int(),
            Whole::AsWritten => n.into_decimal(),
        })),
        CastTarget::Bool => match value {
            Value::Number(number) => Value::Bool(!number.is_zero()),
            other => truth(other.to_bool()),
        },
    }
}

/// A number result; Undefined where there is none.
pub(super) fn number(number: Option<Number>) -> Value {
    number.map_or(Value::Undefined, Value::Number)
}

/// A Boolean result; Undefined where there is none.
pub(super) fn truth(truth: Option<bool>) -> Value {
    truth.map_or(Value::Undefined, Value::Bool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_matches_any_text_and_single_characters() {
        for (text, pattern, expected) in [
            ("online", "on%", true),
            ("gone", "on%", false),
            ("one", "o_", false),
            ("abc", "a.c", false),
            ("é€x", "___", true),
            ("", "%", true),
            ("", "_", false),
            ("aXbXc", "%X%c", true),
            ("aaaaaaaaaaaaaaaaaaaaaaab", "%a%a%a%a%c", false),
        ] {
            assert_eq!(matches_pattern(text, pattern), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn an_overdrawn_budget_stays_overdrawn() {
        let budget = Budget::default();
        assert!(budget.take(ARRAY_GROWTH_MAX));
        assert!(!budget.take(1));
        assert!(budget.string("x").is_undefined());
        assert_eq!(budget.fault(), Some(FaultCode::ArrayTooLarge));
    }
}
