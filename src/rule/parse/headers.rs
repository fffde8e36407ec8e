//! HEADERS of REPUBLISH.

use pest::iterators::Pair;

use super::super::ast::Header;
use super::super::ast::HeaderName;
use super::super::ast::Spanned;
use super::super::ast::Template;
use super::super::ast::TemplatePart;
use super::Builder;
use super::Rule;
use super::children;
use super::only;
use super::template::TemplateOf;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest_after;

impl Builder<'_> {
    /// `HEADERS (name = 'value', …)`; one with an unknown name is told and left out.
    pub(super) fn headers(&mut self, pair: Pair<'_, Rule>) -> Vec<Header> {
        children(pair).filter_map(|header| self.header(header)).collect()
    }

    fn header(&mut self, pair: Pair<'_, Rule>) -> Option<Header> {
        let mut parts = children(pair);
        let name = parts.next().expect("a header has a name");
        let value = parts.next().expect("a header has a value");
        let span = self.span(&name);
        let name = match name.as_rule() {
            Rule::user_header => {
                let name = self.template(&only(name), TemplateOf::Text).node;
                Some(HeaderName::User(name))
            }
            _ => self.header_name(&name),
        };
        let value = match value.as_rule() {
            Rule::number => {
                let parts = vec![TemplatePart::Text(value.as_str().to_owned())];
                Spanned { node: Template { parts }, span: self.span(&value) }
            }
            _ => self.template(&value, TemplateOf::Text),
        };
        Some(Header { name: Spanned { node: name?, span }, value })
    }

    fn header_name(&mut self, pair: &Pair<'_, Rule>) -> Option<HeaderName> {
        let written = pair.as_str();
        if let Some(name) = HeaderName::parse(written) {
            return Some(name);
        }
        let names = HeaderName::WORDS.map(|(name, _)| name);
        let help = match nearest_after(self.found.len(), written, names) {
            Some(near) => format!("did you mean {near}?"),
            None => format!(
                "the headers are {}; any other is a user property: USER '{written}' = …",
                names.join(", ")
            ),
        };
        self.found.push(
            Diagnostic::error(Code::UNKNOWN_WORD, format!("there is no header {written}"))
                .at(self.span(pair), "")
                .help(help),
        );
        None
    }
}
