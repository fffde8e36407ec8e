//! Calls one of whose arguments is a literal program: a regular expression or a time pattern, compiled
//! once, with its rule.

use super::Arguments;
use super::regexp::Regexp;
use super::time;
use crate::engine::code::Code;
use crate::engine::operators::Setting;
use crate::rule::function::Function;
use crate::rule::time_pattern::JdkPattern;
use crate::rule::time_pattern::JodaPattern;
use crate::value::Value;

/// Such a call. What does not compile is `None`, and the call Undefined.
#[derive(Debug)]
pub(in crate::engine) enum Prepared {
    Regexp(Regexp),
    ParseTime(Option<JodaPattern>),
    TimeToEpoch(Option<JdkPattern>),
}

impl Prepared {
    /// The call of `function` without the argument at the place that is answered; `None` where it has
    /// no literal program.
    pub(in crate::engine) fn of_call(
        function: Function,
        arguments: &[Code],
    ) -> Option<(usize, Prepared)> {
        let literal = |place: usize| match arguments.get(place) {
            Some(Code::Constant(Value::String(text))) => Some(text.as_str()),
            _ => None,
        };
        match function {
            Function::RegexpMatches | Function::RegexpReplace | Function::RegexpSubstr => {
                Some((1, Prepared::Regexp(Regexp::new(function, literal(1)?)?)))
            }
            Function::ParseTime => {
                Some((0, Prepared::ParseTime(JodaPattern::parse(literal(0)?).ok())))
            }
            Function::TimeToEpoch => {
                Some((1, Prepared::TimeToEpoch(JdkPattern::parse(literal(1)?).ok())))
            }
            _ => None,
        }
    }

    /// Whether it searches a text.
    pub(in crate::engine) fn is_search(&self) -> bool {
        matches!(self, Prepared::Regexp(_))
    }

    /// The call with the other arguments.
    pub(in crate::engine) fn call(
        &self,
        arguments: Arguments<'_, '_>,
        setting: Setting<'_>,
    ) -> Value {
        match self {
            Prepared::Regexp(regexp) => regexp.call(arguments, setting),
            Prepared::ParseTime(Some(pattern)) => time::write(pattern, arguments, setting),
            Prepared::TimeToEpoch(Some(pattern)) => time::read(pattern, arguments, setting),
            Prepared::ParseTime(None) | Prepared::TimeToEpoch(None) => Value::Undefined,
        }
    }
}
