//! Names of rules and targets, and of SQL versions, wherever they were written.

use super::super::ast::RuleName;
use super::super::ast::Span;
use super::super::ast::Spanned;
use super::super::ast::SqlVersion;
use super::super::target::TargetName;
use super::super::target::is_target_name;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::RULE_NAME_CHARS_MAX;
use crate::limits::TARGET_NAME_BYTES_MAX;

/// A rule's name.
pub(in crate::rule) fn rule_name(
    name: &str,
    span: Span,
    found: &mut Vec<Diagnostic>,
) -> Spanned<RuleName> {
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_plain || !(1..=RULE_NAME_CHARS_MAX).contains(&name.len()) {
        found.push(
            Diagnostic::error(Code::NAME, "this cannot be the name of a rule")
                .at(span.clone(), "")
                .help(format!(
                    "rule names have 1 to {RULE_NAME_CHARS_MAX} letters a-z, digits and `_`"
                )),
        );
    }
    Spanned { node: RuleName(name.into()), span }
}

/// A version of AWS IoT SQL.
pub(in crate::rule) fn sql_version(
    text: &str,
    span: Span,
    found: &mut Vec<Diagnostic>,
) -> SqlVersion {
    match text {
        "2015-10-08" => SqlVersion::V2015_10_08,
        "2016-03-23" => SqlVersion::V2016_03_23,
        other => {
            found.push(
                Diagnostic::error(
                    Code::UNKNOWN_WORD,
                    format!("there is no AWS IoT SQL version {other:?}"),
                )
                .at(span, "")
                .help("the versions are '2015-10-08' and '2016-03-23'"),
            );
            SqlVersion::default()
        }
    }
}

/// The name of a target that no message completes.
pub(super) fn fixed_target(name: String, span: &Span, found: &mut Vec<Diagnostic>) -> TargetName {
    if !is_target_name(&name) {
        let help = match name.contains("://") {
            true => "a URL is declared in tidegate.toml, [hook.NAME] with its url, and called by \
                     INVOKE NAME"
                .to_owned(),
            false => format!(
                "names have 1 to {TARGET_NAME_BYTES_MAX} letters a-z, digits, `_`, `-` and `.`, not \
                 starting with a point"
            ),
        };
        found.push(
            Diagnostic::error(Code::NAME, "this cannot be the name of a target")
                .at(span.clone(), "")
                .help(help),
        );
    }
    TargetName::Fixed(name)
}
