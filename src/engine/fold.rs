//! What depends on nothing is computed when a rule is compiled.
//!
//! [`fold`] takes an expression whose parts have been folded. A part that evaluating would end in a
//! fault is left as it is, so that every message is told; so are texts over [`FOLDED_BYTES_MAX`] in one
//! rule, and searches with regular expressions, which may take long. What reads the message, the gateway or chance
//! is never folded: fields, `topic()`, `timestamp()`, `rand()`, `newuuid()`, nested queries.

use std::borrow::Cow;

use super::code::Code;
use super::evaluate::walk;
use super::operators;
use super::operators::Budget;
use super::operators::Setting;
#[cfg(doc)]
use crate::limits::FOLDED_BYTES_MAX;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;

/// The constant that `code` comes to, or what is left of it. The constants of a rule take their bytes
/// of what is `left`.
pub(super) fn fold(code: Code, whole: Whole, left: &mut usize) -> Code {
    match code {
        Code::And(terms) => connective(false, terms),
        Code::Or(terms) => connective(true, terms),
        Code::Case { operand, branches, otherwise } => case(operand, branches, otherwise),
        other => {
            let budget = Budget::default();
            let value = value(&other, Setting { whole, budget: &budget });
            let Some(value) = value.filter(|_| budget.fault().is_none()) else { return other };
            let bytes = match &value {
                Value::String(text) => text.len(),
                // Made of what stands in the statement.
                _ => 0,
            };
            // One that is too large ends it: what made it would be made again and again.
            let after = left.checked_sub(bytes);
            *left = after.unwrap_or(0);
            if after.is_some() { Code::Constant(value) } else { other }
        }
    }
}

/// The value of an expression of constants; `None` where a part is none.
fn value(code: &Code, setting: Setting<'_>) -> Option<Value> {
    Some(match code {
        Code::Array(items) => {
            Value::array(items.iter().map(|item| constant(item).cloned()).collect::<Option<_>>()?)
        }
        Code::Object(members) => {
            let mut object = ObjectBuilder::default();
            for (key, member) in members {
                let member = constant(member)?;
                if !member.is_undefined() {
                    object.insert(key.clone(), member.clone());
                }
            }
            object.finish()
        }
        Code::Member { of, steps } => walk(constant(of)?, steps).clone(),
        Code::Not(of) => operators::truth(constant(of)?.to_bool().map(|truth| !truth)),
        Code::Negate(of) => operators::negate(constant(of)?),
        Code::Compare { op, sides } => {
            let [left, right] = constants(sides)?;
            operators::truth(operators::compare(*op, left, right))
        }
        Code::Arithmetic { op, sides } => {
            let [left, right] = constants(sides)?;
            operators::arithmetic(*op, left, right, setting)
        }
        Code::In { sides, negated } => {
            let [needle, haystack] = constants(sides)?;
            let found = operators::contains(needle, haystack);
            operators::truth(found.map(|found| found != *negated))
        }
        Code::Between { parts, negated } => {
            let [value, low, high] = constants(parts)?;
            let inside = operators::between(value, low, high);
            operators::truth(inside.map(|inside| inside != *negated))
        }
        Code::Like { sides, negated } => {
            let [value, pattern] = constants(sides)?;
            let matched = operators::like(value, pattern, setting.whole);
            operators::truth(matched.map(|matched| matched != *negated))
        }
        Code::Is { value, what, negated } => {
            let is = operators::is(constant(value)?, *what);
            operators::truth(is.map(|is| is != *negated))
        }
        Code::Cast { value, target } => operators::cast(constant(value)?, *target, setting),
        Code::Call { native, arguments, .. } => native(&borrowed(arguments)?, setting),
        Code::Prepared { call, arguments } if !call.is_search() => {
            call.call(&borrowed(arguments)?, setting)
        }
        _ => return None,
    })
}

fn constant(code: &Code) -> Option<&Value> {
    match code {
        Code::Constant(value) => Some(value),
        _ => None,
    }
}

fn constants<const N: usize>(codes: &[Code; N]) -> Option<[&Value; N]> {
    let values: Vec<&Value> = codes.iter().map(constant).collect::<Option<_>>()?;
    values.try_into().ok()
}

fn borrowed(codes: &[Code]) -> Option<Vec<Cow<'_, Value>>> {
    codes.iter().map(|code| constant(code).map(Cow::Borrowed)).collect()
}

/// AND (decided by false) or OR (by true) without the terms that decide nothing, and without those
/// behind one that decides.
fn connective(decisive: bool, terms: Box<[Code]>) -> Code {
    let mut left: Vec<Code> = Vec::new();
    for term in terms {
        let truth = constant(&term).map(Value::to_bool);
        if truth == Some(Some(!decisive)) {
            continue;
        }
        let decides = truth == Some(Some(decisive));
        if decides && left.iter().all(Code::cannot_fault) {
            return Code::Constant(Value::Bool(decisive));
        }
        left.push(term);
        if decides {
            break;
        }
    }
    if left.is_empty() {
        return Code::Constant(Value::Bool(!decisive));
    }
    // Each is neither true nor false.
    if left.iter().all(|term| constant(term).is_some()) {
        return Code::Constant(Value::Undefined);
    }
    match decisive {
        true => Code::Or(left.into()),
        false => Code::And(left.into()),
    }
}

/// CASE without the branches that are never taken.
fn case(operand: Option<Box<Code>>, branches: Box<[(Code, Code)]>, otherwise: Box<Code>) -> Code {
    let known = match operand.as_deref() {
        None => None,
        Some(Code::Constant(value)) if value.is_undefined() => {
            return Code::Constant(Value::Undefined);
        }
        Some(Code::Constant(value)) => Some(value.clone()),
        Some(_) => return Code::Case { operand, branches, otherwise },
    };
    let mut left: Vec<(Code, Code)> = Vec::new();
    for (when, then) in branches {
        let is_taken = constant(&when).map(|when| match &known {
            Some(operand) => operators::equal(operand, when) == Some(true),
            None => matches!(when, Value::Bool(true)),
        });
        match is_taken {
            Some(false) => {}
            Some(true) if left.is_empty() => return then,
            Some(true) => {
                return Code::Case { operand, branches: left.into(), otherwise: Box::new(then) };
            }
            None => left.push((when, then)),
        }
    }
    match left.is_empty() {
        true => *otherwise,
        false => Code::Case { operand, branches: left.into(), otherwise },
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
