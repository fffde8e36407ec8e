//! Regular expressions, in linear time. A literal expression is compiled with its rule; one that
//! comes out of a message goes through a small cache of the thread. What does not compile is
//! Undefined, as are look-around and back-references, which no linear matcher has.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;
use regex::RegexBuilder;

use super::Arguments;
use super::string::texts;
use crate::engine::operators::Setting;
use crate::engine::operators::truth;
use crate::limits::REGEX_BYTES_MAX;
use crate::limits::REGEX_CACHE_MAX;
use crate::limits::REGEX_TEXT_BYTES_MAX;
use crate::rule::function::Function;
use crate::value::Value;

/// Which of the three functions.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Matches,
    Replace,
    Substr,
}

/// A call whose expression is known.
#[derive(Debug)]
pub(in crate::engine) struct Regexp {
    operation: Operation,
    /// `None` when it does not compile.
    regex: Option<Regex>,
}

impl Regexp {
    /// `None` where `function` has nothing to do with expressions.
    pub(in crate::engine) fn new(function: Function, pattern: &str) -> Option<Regexp> {
        let operation = match function {
            Function::RegexpMatches => Operation::Matches,
            Function::RegexpReplace => Operation::Replace,
            Function::RegexpSubstr => Operation::Substr,
            _ => return None,
        };
        Some(Regexp { operation, regex: compile(pattern) })
    }

    /// The call with the arguments besides the expression: subject, replacement.
    pub(in crate::engine) fn call(
        &self,
        arguments: Arguments<'_, '_>,
        setting: Setting<'_>,
    ) -> Value {
        let Some(regex) = &self.regex else { return Value::Undefined };
        match self.operation {
            Operation::Replace => match texts::<2>(arguments, setting) {
                Some([subject, replacement]) => replaced(regex, &subject, &replacement, setting),
                None => Value::Undefined,
            },
            Operation::Matches => match texts::<1>(arguments, setting) {
                Some([subject]) => Value::Bool(regex.is_match(&subject)),
                None => Value::Undefined,
            },
            Operation::Substr => match texts::<1>(arguments, setting) {
                Some([subject]) => found(regex, &subject),
                None => Value::Undefined,
            },
        }
    }
}

pub(super) fn matches(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let pair = texts(arguments, setting);
    truth(pair.and_then(|[subject, pattern]: [Cow<'_, str>; 2]| {
        with_regex(&pattern, |regex| regex.is_match(&subject))
    }))
}

pub(super) fn substr(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([subject, pattern]) = texts::<2>(arguments, setting) else { return Value::Undefined };
    with_regex(&pattern, |regex| found(regex, &subject)).unwrap_or_default()
}

pub(super) fn replace(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([subject, pattern, replacement]) = texts::<3>(arguments, setting) else {
        return Value::Undefined;
    };
    with_regex(&pattern, |regex| replaced(regex, &subject, &replacement, setting))
        .unwrap_or_default()
}

/// The first match; Undefined without one.
fn found(regex: &Regex, subject: &str) -> Value {
    regex.find(subject).map_or(Value::Undefined, |found| Value::string(found.as_str()))
}

/// Every match replaced; `$1` in the replacement is a group, as in Java.
fn replaced(regex: &Regex, subject: &str, replacement: &str, setting: Setting<'_>) -> Value {
    let Some(parts) = replacement_parts(replacement) else { return Value::Undefined };
    let mut out = String::new();
    let mut last = 0;
    for captures in regex.captures_iter(subject) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(subject.get(last..whole.start()).unwrap_or_default());
        for part in &parts {
            match part {
                Part::Text(character) => out.push(*character),
                Part::Group(number) if *number >= captures.len() => return Value::Undefined,
                Part::Group(number) => {
                    out.push_str(captures.get(*number).map_or("", |group| group.as_str()));
                }
            }
        }
        last = whole.end();
        if !setting.budget.allows(out.len()) {
            return Value::Undefined;
        }
    }
    out.push_str(subject.get(last..).unwrap_or_default());
    setting.budget.string(out)
}

enum Part {
    Text(char),
    Group(usize),
}

/// `\x` is the character x, `$n` a group of one digit; a `$` before anything else is an error in
/// Java, and Undefined here.
fn replacement_parts(replacement: &str) -> Option<Vec<Part>> {
    let mut characters = replacement.chars();
    let mut parts = Vec::new();
    while let Some(character) = characters.next() {
        parts.push(match character {
            '\\' => Part::Text(characters.next()?),
            '$' => Part::Group(usize::try_from(characters.next()?.to_digit(10)?).ok()?),
            other => Part::Text(other),
        });
    }
    Some(parts)
}

fn compile(pattern: &str) -> Option<Regex> {
    if pattern.len() > REGEX_TEXT_BYTES_MAX {
        return None;
    }
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build().ok()
}

thread_local! {
    /// Expressions that messages brought, forgotten all together when there are too many.
    static SEEN: RefCell<HashMap<String, Option<Regex>, foldhash::fast::RandomState>> =
        RefCell::default();
}

/// `None` when the pattern does not compile.
fn with_regex<T>(pattern: &str, apply: impl FnOnce(&Regex) -> T) -> Option<T> {
    SEEN.with_borrow_mut(|seen| {
        if !seen.contains_key(pattern) {
            if seen.len() >= REGEX_CACHE_MAX {
                seen.clear();
            }
            seen.insert(pattern.to_owned(), compile(pattern));
        }
        seen.get(pattern)?.as_ref().map(apply)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::function::Native;
    use crate::engine::operators::Budget;
    use crate::value::Whole;

    #[track_caller]
    fn check(function: Native, arguments: &[&str], expected: &str) {
        let budget = Budget::default();
        let arguments: Vec<_> =
            arguments.iter().map(|text| Cow::Owned(Value::string(text))).collect();
        let result = function(&arguments, Setting { whole: Whole::AsInt, budget: &budget });
        assert_eq!(result.text(Whole::AsInt).as_deref().unwrap_or("Undefined"), expected);
    }

    #[test]
    fn groups_and_escapes_of_a_replacement_are_java_s() {
        check(replace, &["ab12", "([a-z])([0-9])", "$2$1"], "a1b2");
        check(replace, &["a", "a", r"\$1"], "$1");
        check(replace, &["a", "a", "$x"], "Undefined");
        check(replace, &["a", "a", "$1"], "Undefined");
        check(replace, &["a", "(a)", "$10"], "a0");
    }

    #[test]
    fn an_expression_that_does_not_compile_is_undefined() {
        check(matches, &["abc", "("], "Undefined");
        check(substr, &["abc", "(?=b)"], "Undefined");
        check(substr, &["abc", "x"], "Undefined");
        check(matches, &["abc", &"a".repeat(REGEX_TEXT_BYTES_MAX + 1)], "Undefined");
    }
}
