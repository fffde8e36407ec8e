//! Statements and templates that stand in a text of their own, such as a string of a JSON document.
//!
//! [`Offsets`] lead from that text to the file, so that what is found is marked where it stands.

use super::super::ast::Select;
use super::super::ast::Span;
use super::super::ast::Template;
use super::super::target::TargetName;
use super::Builder;
use super::Rule;
use super::name::fixed_target;
pub(in crate::rule) use super::name::rule_name;
pub(in crate::rule) use super::name::sql_version;
pub(in crate::rule) use super::quoted::Offsets;
pub(in crate::rule) use super::template::TemplateOf;
use super::too_long;
use crate::diagnostic::Diagnostic;
use crate::limits::STATEMENT_BYTES_MAX;

/// A SELECT, with or without a `;` at its end. `None` when it has an error, which is in `found`.
pub(in crate::rule) fn select(
    text: &str,
    offsets: Offsets,
    found: &mut Vec<Diagnostic>,
) -> Option<Select> {
    let source = text.trim_end();
    let source = source.strip_suffix(';').unwrap_or(source);
    if source.len() > STATEMENT_BYTES_MAX {
        found.push(too_long(source.len(), offsets.span(0..source.len())));
        return None;
    }
    let mut builder = Builder::new(offsets, found);
    if !builder.scan(source) {
        return None;
    }
    let pair = builder.parse(Rule::whole_select, source)?;
    let select = builder.select(pair);
    builder.is_sound().then_some(select)
}

/// A text with `${…}`. What is wrong in it is in `found`.
pub(in crate::rule) fn template(
    text: &str,
    offsets: &Offsets,
    place: TemplateOf,
    found: &mut Vec<Diagnostic>,
) -> Template {
    Builder::new(offsets.clone(), found).template_text(text, offsets, place)
}

/// The name of a target, which `${…}` may complete.
pub(in crate::rule) fn target(
    text: &str,
    offsets: &Offsets,
    span: &Span,
    found: &mut Vec<Diagnostic>,
) -> TargetName {
    if text.contains("${") {
        return TargetName::Dynamic(template(text, offsets, TemplateOf::Text, found));
    }
    fixed_target(text.to_owned(), span, found)
}
