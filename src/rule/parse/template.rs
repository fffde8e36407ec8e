//! Texts with `${expr}` in them.

use pest::iterators::Pair;

use super::super::ast::Expr;
use super::super::ast::Spanned;
use super::super::ast::Template;
use super::super::ast::TemplatePart;
use super::super::scan;
use super::Builder;
use super::Rule;
use super::quoted::Offsets;
use super::quoted::unquote;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// Where a template stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rule) enum TemplateOf {
    /// A topic: `$$` at its start means `$` (AWS, "Republish rule action").
    Topic,
    /// A text for people.
    Text,
}

impl Builder<'_> {
    pub(super) fn template(
        &mut self,
        pair: &Pair<'_, Rule>,
        place: TemplateOf,
    ) -> Spanned<Template> {
        let (text, dropped) = unquote(pair.as_str());
        let offsets = self.offsets.inside(pair.as_span().start(), dropped);
        Spanned { node: self.template_text(&text, &offsets, place), span: self.span(pair) }
    }

    /// A template whose quotes are off.
    pub(super) fn template_text(
        &mut self,
        text: &str,
        offsets: &Offsets,
        place: TemplateOf,
    ) -> Template {
        let start = match place {
            TemplateOf::Topic if text.starts_with("$$") => 1,
            TemplateOf::Topic | TemplateOf::Text => 0,
        };
        let mut parts = Vec::new();
        let mut position = start;
        while let Some(rest) = text.get(position..).filter(|rest| !rest.is_empty()) {
            // The `$` that `$$` stands for opens no `${`.
            let skipped = usize::from(position == start && start > 0);
            let opened = rest.get(skipped..).and_then(|rest| rest.find("${")).map(|i| i + skipped);
            let (literal, after) = rest.split_at(opened.unwrap_or(rest.len()));
            if !literal.is_empty() {
                parts.push(TemplatePart::Text(literal.to_owned()));
            }
            position += literal.len();
            let Some(inner) = after.strip_prefix("${") else { break };
            let Some(length) = scan::placeholder_end(inner) else {
                let place = offsets.span(position..position + 2);
                self.found.push(
                    Diagnostic::error(Code::TEMPLATE, "`${` is not closed")
                        .at(place, "opened here")
                        .help("close it with `}`"),
                );
                break;
            };
            let source = inner.get(..length).unwrap_or_default();
            parts.extend(
                self.placeholder(source, offsets.of_part(position + 2..position + 2 + length)),
            );
            position += length + 3;
        }
        Template { parts }
    }

    /// The expression between `${` and `}`.
    fn placeholder(&mut self, source: &str, offsets: Offsets) -> Option<TemplatePart> {
        if source.trim().is_empty() {
            self.found.push(
                Diagnostic::error(Code::TEMPLATE, "`${}` holds no value")
                    .at(offsets.span(0..source.len()), "expected a value")
                    .help("write a value as in ${moteid} or ${topic(2)}"),
            );
            return None;
        }
        let mut inner = Builder {
            offsets,
            holds: self.holds,
            windows: self.windows,
            own_from: self.own_from,
            found: self.found,
        };
        if !inner.scan(source) {
            return None;
        }
        let pair = inner.parse(Rule::whole_expression, source)?;
        let expr: Expr = inner.argument(pair, 0);
        Some(TemplatePart::Expr(expr))
    }
}
