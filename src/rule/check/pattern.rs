//! Literals that are programs of their own: regular expressions, time patterns, time zones.
//!
//! All of them are warnings: AWS IoT takes such a rule, and the call is Undefined.

use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::Span;
use super::super::function::Function;
use super::super::java_regex::JavaRegex;
use super::super::java_regex::RegexError;
use super::super::java_regex::Replacement;
use super::super::time_pattern::JdkPattern;
use super::super::time_pattern::JodaPattern;
use super::super::time_pattern::joda_zone;
use super::expression::Scope;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::REGEXES_MAX;
use crate::value::Value;

/// Judges the literals among the arguments of `function`.
pub(super) fn arguments(function: Function, args: &[Expr], scope: &mut Scope<'_, '_>) {
    let literal = |at: usize| match args.get(at) {
        Some(Expr { kind: ExprKind::Literal(Value::String(text)), span }) => {
            Some((text.as_str(), span))
        }
        _ => None,
    };
    match function {
        Function::RegexpMatches | Function::RegexpReplace | Function::RegexpSubstr => {
            if let Some((pattern, span)) = literal(1) {
                let replacement = literal(2).filter(|_| function == Function::RegexpReplace);
                regex(pattern, span, replacement, scope);
            }
        }
        Function::ParseTime => {
            if let Some((pattern, span)) = literal(0)
                && let Err(error) = JodaPattern::parse(pattern)
            {
                let help = "parse_time takes the letters of Joda-Time: yyyy-MM-dd HH:mm:ss.SSS ZZ";
                time(&error.to_string(), span, help, scope);
            }
            if let Some((name, span)) = literal(2)
                && joda_zone(name).is_none()
            {
                let help = "as in 'UTC', 'Europe/Berlin' or '+02:00'";
                time(&format!("there is no time zone {name}"), span, help, scope);
            }
        }
        Function::TimeToEpoch => {
            if let Some((pattern, span)) = literal(1)
                && let Err(error) = JdkPattern::parse(pattern)
            {
                let help = "time_to_epoch takes the letters of the JDK's DateTimeFormatter: \
                            yyyy-MM-dd HH:mm:ss.SSS XXX";
                time(&error.to_string(), span, help, scope);
            }
        }
        _ => {}
    }
}

fn time(problem: &str, span: &Span, help: &str, scope: &mut Scope<'_, '_>) {
    scope.found.push(
        Diagnostic::warning(Code::TIME_PATTERN, format!("{problem}; the call is Undefined"))
            .at(span.clone(), "")
            .help(help),
    );
}

fn regex(
    pattern: &str,
    span: &Span,
    replacement: Option<(&str, &Span)>,
    scope: &mut Scope<'_, '_>,
) {
    scope.regexes += 1;
    if scope.regexes > REGEXES_MAX {
        if scope.regexes == REGEXES_MAX + 1 {
            scope.found.push(
                Diagnostic::error(
                    Code::SIZE,
                    format!("more than {REGEXES_MAX} regular expressions in one rule"),
                )
                .at(span.clone(), "the first too many")
                .help("split the rule, or join expressions with `|`"),
            );
        }
        return;
    }
    let compiled = match JavaRegex::new(pattern) {
        Ok(compiled) => compiled,
        Err(error) => {
            let help = match &error {
                RegexError::Unsupported(_) => "docs/language.md lists what is supported",
                RegexError::Invalid(_) => "the syntax is that of java.util.regex.Pattern",
            };
            let message = "the regular expression is not one; the call is Undefined";
            let wrong = Diagnostic::warning(Code::REGEX, message);
            scope.found.push(wrong.at(span.clone(), error.to_string()).help(help));
            return;
        }
    };
    if let Some((text, span)) = replacement
        && let Err(error) = Replacement::parse(text, &compiled)
    {
        let message = "the replacement does not fit the regular expression; the call is Undefined";
        scope.found.push(
            Diagnostic::warning(Code::REGEX, message)
                .at(span.clone(), error.to_string())
                .help("$1 is the first group, ${name} a named one, \\$ the sign itself"),
        );
    }
}
