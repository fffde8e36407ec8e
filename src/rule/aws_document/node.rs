//! A value of a document, whichever way the document is written.
//!
//! Readers of documents see [`Node`]s and nothing of [`super::json`] and [`super::yaml`]. A function of
//! CloudFormation ([`Node::function`]) is `{"Fn::Sub": …}` in both and `!Sub …` in YAML.

use super::super::ast::Span;
use super::super::parse::embedded::Offsets;
use super::json::Json;
use super::yaml::Yaml;
use crate::diagnostic::Diagnostic;

/// A value of a document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node<'t> {
    /// Of a JSON text.
    Json(Json<'t>),
    /// Of a YAML text.
    Yaml(Yaml<'t>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(super) struct Member<'t> {
    /// Its key.
    pub(super) key: String,
    /// Where the key stands, with its quotes.
    pub(super) key_span: Span,
    /// Its value.
    pub(super) value: Node<'t>,
}

/// What a string means, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// Without quotes and escapes.
    pub(super) text: String,
    /// From places in `text` to the file.
    pub(super) offsets: Offsets,
    /// The string with its quotes.
    pub(super) span: Span,
}

/// A function of a CloudFormation template that stands for a value.
#[derive(Clone, Debug)]
pub(super) struct Function<'t> {
    /// `Ref` or `Fn::…`.
    pub(super) name: String,
    /// As the document writes it: `!Sub` or `Fn::Sub`.
    pub(super) written: String,
    /// What it is given.
    pub(super) argument: Node<'t>,
}

impl<'t> Node<'t> {
    /// Where it stands.
    pub(super) fn span(self) -> Span {
        match self {
            Node::Json(json) => json.span(),
            Node::Yaml(yaml) => yaml.span(),
        }
    }

    /// Its first character.
    pub(super) fn begin(self) -> Span {
        match self {
            Node::Json(json) => json.span().start..json.span().start + 1,
            Node::Yaml(yaml) => yaml.begin(),
        }
    }

    /// "an object", "a string" and their like.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Node::Json(json) => json.kind(),
            Node::Yaml(yaml) => yaml.kind(),
        }
    }

    /// The members of an object, in order; `None` for anything else.
    pub(super) fn members(self) -> Option<Vec<Member<'t>>> {
        match self {
            Node::Json(json) => json.members(),
            Node::Yaml(yaml) => yaml.members(),
        }
    }

    /// The elements of an array; `None` for anything else.
    pub(super) fn elements(self) -> Option<Vec<Node<'t>>> {
        match self {
            Node::Json(json) => json.elements(),
            Node::Yaml(yaml) => yaml.elements(),
        }
    }

    /// What a string means; `None` for anything else.
    pub(super) fn text(self) -> Option<Result<Text, Diagnostic>> {
        match self {
            Node::Json(json) => json.text(),
            Node::Yaml(yaml) => yaml.text().map(Ok),
        }
    }

    /// `true` and `false`; `None` for anything else.
    pub(super) fn boolean(self) -> Option<bool> {
        match self {
            Node::Json(json) => json.boolean(),
            Node::Yaml(yaml) => yaml.boolean(),
        }
    }

    /// A whole number that is not negative; `None` for anything else.
    pub(super) fn whole(self) -> Option<u64> {
        match self {
            Node::Json(json) => json.whole(),
            Node::Yaml(yaml) => yaml.whole(),
        }
    }

    /// The function of CloudFormation that it is, if it is one.
    pub(super) fn function(self) -> Option<Function<'t>> {
        if let Node::Yaml(yaml) = self
            && let Some(function) = yaml.tagged()
        {
            return Some(function);
        }
        let mut members = self.members()?;
        let only = members.pop().filter(|_| members.is_empty())?;
        let is_function = only.key == "Ref" || only.key.starts_with("Fn::");
        let Member { key, value, .. } = only;
        is_function.then(|| Function { name: key.clone(), written: key, argument: value })
    }
}
