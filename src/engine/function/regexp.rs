//! `regexp_matches`, `regexp_substr`, `regexp_replace` over [`JavaRegex`]. A literal expression is
//! compiled with its rule; one that comes out of a message goes through a small cache of the thread.
//! What does not compile is Undefined; a search over its bound is a fault.

use std::cell::RefCell;
use std::collections::HashMap;

use super::Arguments;
use super::string::texts;
use crate::engine::FaultCode;
use crate::engine::operators::Setting;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::limits::REGEX_CACHE_MAX;
use crate::limits::REGEX_COMPILE_STEPS;
use crate::rule::function::Function;
use crate::rule::java_regex::JavaRegex;
use crate::rule::java_regex::Replacement;
use crate::rule::java_regex::TooCostly;
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
    regex: Option<JavaRegex>,
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
        Some(Regexp { operation, regex: JavaRegex::new(pattern).ok() })
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
                Some([subject]) => matched(regex, &subject, setting),
                None => Value::Undefined,
            },
            Operation::Substr => match texts::<1>(arguments, setting) {
                Some([subject]) => found(regex, &subject, setting),
                None => Value::Undefined,
            },
        }
    }
}

pub(super) fn matches(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([subject, pattern]) = texts::<2>(arguments, setting) else { return Value::Undefined };
    with_regex(&pattern, setting, |regex| matched(regex, &subject, setting)).unwrap_or_default()
}

pub(super) fn substr(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([subject, pattern]) = texts::<2>(arguments, setting) else { return Value::Undefined };
    with_regex(&pattern, setting, |regex| found(regex, &subject, setting)).unwrap_or_default()
}

pub(super) fn replace(arguments: Arguments<'_, '_>, setting: Setting<'_>) -> Value {
    let Some([subject, pattern, replacement]) = texts::<3>(arguments, setting) else {
        return Value::Undefined;
    };
    with_regex(&pattern, setting, |regex| replaced(regex, &subject, &replacement, setting))
        .unwrap_or_default()
}

fn too_costly(setting: Setting<'_>, _: TooCostly) -> Value {
    setting.budget.fail(FaultCode::RegexTooCostly);
    Value::Undefined
}

fn matched(regex: &JavaRegex, subject: &str, setting: Setting<'_>) -> Value {
    regex
        .is_match(subject, setting.budget.steps())
        .map_or_else(|costly| too_costly(setting, costly), Value::Bool)
}

/// The first match; Undefined without one.
fn found(regex: &JavaRegex, subject: &str, setting: Setting<'_>) -> Value {
    match regex.find(subject, setting.budget.steps()) {
        Ok(found) => found.map_or(Value::Undefined, Value::string),
        Err(costly) => too_costly(setting, costly),
    }
}

/// Every match replaced. A replacement that Java would refuse is Undefined, but, as in Java, only once
/// there is something to replace.
fn replaced(regex: &JavaRegex, subject: &str, replacement: &str, setting: Setting<'_>) -> Value {
    let mut replacing = None;
    let mut is_right = true;
    let mut out = String::new();
    let mut last = 0;
    let searched = regex.for_each_match(subject, setting.budget.steps(), |groups| {
        let replacement =
            replacing.get_or_insert_with(|| Replacement::parse(replacement, regex).ok());
        let (Some(replacement), Some(Some(whole))) = (replacement, groups.first()) else {
            is_right = false;
            return false;
        };
        out.push_str(subject.get(last..whole.start).unwrap_or_default());
        replacement.write(subject, groups, &mut out);
        last = whole.end;
        is_right = out.len() <= OUTPUT_BYTES_MAX;
        is_right
    });
    if let Err(costly) = searched {
        return too_costly(setting, costly);
    }
    if !is_right {
        // One that is too large is a fault.
        setting.budget.allows(out.len());
        return Value::Undefined;
    }
    out.push_str(subject.get(last..).unwrap_or_default());
    setting.budget.string(out)
}

thread_local! {
    /// Expressions that messages brought, forgotten all together when there are too many.
    static SEEN: RefCell<HashMap<String, Option<JavaRegex>, foldhash::fast::RandomState>> =
        RefCell::default();
}

/// `None` when the pattern does not compile.
fn with_regex(
    pattern: &str,
    setting: Setting<'_>,
    apply: impl FnOnce(&JavaRegex) -> Value,
) -> Option<Value> {
    SEEN.with_borrow_mut(|seen| {
        if !seen.contains_key(pattern) {
            if let Err(costly) = setting.budget.steps().take(REGEX_COMPILE_STEPS) {
                return Some(too_costly(setting, costly));
            }
            if seen.len() >= REGEX_CACHE_MAX {
                seen.clear();
            }
            seen.insert(pattern.to_owned(), JavaRegex::new(pattern).ok());
        }
        seen.get(pattern)?.as_ref().map(apply)
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::engine::function::Native;
    use crate::engine::operators::Budget;
    use crate::limits::REGEX_TEXT_BYTES_MAX;
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
        check(replace, &["b", "a", "$1"], "b");
        check(replace, &["a", "(a)", "$10"], "a0");
        check(replace, &["a", "a", r"x\"], "Undefined");
        check(replace, &["7 May", r"(?<day>\d+) (?<month>\w+)", "${month} ${day}"], "May 7");
        check(replace, &["a", "(?<x>a)", "${y}"], "Undefined");
        check(replace, &["abc", "x*", "-"], "-a-b-c-");
        // An empty match may stand right behind another one.
        check(replace, &["ab ab", "b?", "-"], "-a-- -a--");
        check(replace, &["éab", "[éa]*+", "<$0>"], "<éa><>b<>");
        check(replace, &["a b", "(?=b)?", "-"], "-a- -b-");
        check(replace, &["a", "(b)?a", "[$1]"], "[]");
        check(replace, &["12345", r"(?<=\d)(?=(?:\d{3})+$)", ","], "12,345");
    }

    #[test]
    fn places_are_java_s() {
        for (text, expression, expected) in [
            ("b\n", r"(?m)^", "-b\n"),
            ("", r"(?m)^", ""),
            ("", r"(?m)$", "-"),
            ("a\u{2028}b", r"(?m)^", "-a\u{2028}-b"),
            ("a\u{2028}b", r"(?m)$", "a-\u{2028}b-"),
            ("a\r\nb", r"(?m)^", "-a\r\n-b"),
            ("a\r\nb", r"(?m)$", "a-\r\nb-"),
            ("a\r\n", r"(?m)$", "a-\r\n-"),
            ("a\nb\n", r"(?dm)^", "-a\n-b\n"),
            ("a\rb\n", r"(?dm)$", "a\rb-\n-"),
            ("a\u{85}b", r"(?m)^", "-a\u{85}-b"),
            ("ab", r"^*", "-a-b-"),
            ("ab", r"\b+b", "ab"),
            ("ab", r"(?:^)??a", "-b"),
            ("ab", r"\1a|b", "a-"),
            ("ab", r"$?", "-a-b-"),
            ("ab", r"(?!a){2}", "a-b-"),
        ] {
            check(replace, &[text, expression, "-"], expected);
        }
    }

    #[test]
    fn an_expression_that_does_not_compile_is_undefined() {
        check(matches, &["abc", "("], "Undefined");
        check(substr, &["abc", "x"], "Undefined");
        check(substr, &["abc", "a(?=b)"], "a");
        check(matches, &["abc", &"a".repeat(REGEX_TEXT_BYTES_MAX + 1)], "Undefined");
    }

    #[test]
    fn a_search_over_its_bound_is_a_fault() {
        let budget = Budget::default();
        let setting = Setting { whole: Whole::AsInt, budget: &budget };
        let subject = format!("{}!y", "x".repeat(100));
        let arguments = [subject.as_str(), "(?:(?=x)x+)+y"].map(|t| Cow::Owned(Value::string(t)));
        assert!(matches(&arguments, setting).is_undefined());
        assert_eq!(budget.fault(), Some(FaultCode::RegexTooCostly));
    }
}
