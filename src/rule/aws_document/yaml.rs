//! YAML text whose values know where they stand.
//!
//! A parser of events reads the text once; its values are kept side by side in [`Documents`], so that
//! nothing here recurses, whatever the nesting. An alias is a value of its own kind that nothing looks
//! behind: CloudFormation has none, and so a few lines never become a million values. Specification:
//! YAML 1.2.2; AWS CloudFormation User Guide, "Template format".

use std::borrow::Cow;

use granit_parser::Event;
use granit_parser::Parser;
use granit_parser::ScalarStyle;
use granit_parser::ScanError;
use granit_parser::Tag;

use super::super::ast::Span;
use super::super::parse::embedded::Offsets;
use super::node::Function;
use super::node::Member;
use super::node::Node;
use super::node::Text;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::YAML_VALUES_MAX;

/// The values of a text.
#[derive(Debug, Default)]
pub(super) struct Documents<'t> {
    file: &'t str,
    values: Vec<Value<'t>>,
    /// The outermost value of each document.
    roots: Vec<usize>,
}

/// A value: an entry of [`Documents`].
#[derive(Clone, Copy)]
pub(super) struct Yaml<'t> {
    documents: &'t Documents<'t>,
    index: usize,
    /// Whether its tag has been told already: what is left is the function's argument.
    untagged: bool,
}

#[derive(Debug)]
struct Value<'t> {
    kind: Kind<'t>,
    /// Without its `!`.
    tag: Option<String>,
    span: Span,
}

#[derive(Debug)]
enum Kind<'t> {
    Scalar(Cow<'t, str>, ScalarStyle),
    /// The values' places.
    Sequence(Vec<usize>),
    /// Keys and values by turns.
    Mapping(Vec<usize>),
    Alias,
}

impl<'t> Documents<'t> {
    /// Reads `file`; and where it stops being YAML.
    pub(super) fn read(file: &'t str) -> (Documents<'t>, Option<Diagnostic>) {
        // Editors on Windows begin files with a byte order mark.
        let text = file.strip_prefix('\u{feff}').unwrap_or(file);
        let base = file.len() - text.len();
        let mut documents = Documents { file, ..Documents::default() };
        let mut open: Vec<usize> = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => return (documents, Some(not_yaml(file, base, &error))),
            };
            let range = span.byte_range().unwrap_or_default();
            let span = base + range.start..base + range.end;
            let (kind, tag) = match event {
                Event::Scalar(text, style, _, tag) => (Kind::Scalar(text, style), tag),
                Event::SequenceStart(_, _, tag) => (Kind::Sequence(Vec::new()), tag),
                Event::MappingStart(_, _, tag) => (Kind::Mapping(Vec::new()), tag),
                Event::Alias(_) => (Kind::Alias, None),
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(closed) = open.pop() {
                        documents.close(closed, span.end);
                    }
                    continue;
                }
                _ => continue,
            };
            if documents.values.len() == YAML_VALUES_MAX {
                let too_many = too_many(span);
                return (documents, Some(too_many));
            }
            let opens = matches!(kind, Kind::Sequence(_) | Kind::Mapping(_));
            let index =
                documents.add(Value { kind, tag: tag.as_deref().and_then(own), span }, &open);
            if opens {
                open.push(index);
            }
        }
        (documents, None)
    }

    /// The outermost values.
    pub(super) fn roots(&'t self) -> Vec<Node<'t>> {
        let node = |index: &usize| Node::Yaml(self.value(*index));
        self.roots.iter().map(node).collect()
    }

    fn value(&'t self, index: usize) -> Yaml<'t> {
        Yaml { documents: self, index, untagged: false }
    }

    fn add(&mut self, value: Value<'t>, open: &[usize]) -> usize {
        let index = self.values.len();
        self.values.push(value);
        match open.last().and_then(|parent| self.values.get_mut(*parent)) {
            Some(Value { kind: Kind::Sequence(items) | Kind::Mapping(items), .. }) => {
                items.push(index);
            }
            _ => self.roots.push(index),
        }
        index
    }

    /// A block ends where its last value does: what follows are blanks.
    fn close(&mut self, index: usize, end: usize) {
        let Some(value) = self.values.get(index) else { return };
        let last = match &value.kind {
            Kind::Sequence(items) | Kind::Mapping(items) => items.last(),
            Kind::Scalar(..) | Kind::Alias => None,
        };
        let last = last.and_then(|last| self.values.get(*last)).map(|last| last.span.end);
        let is_flow = self.file.get(..end).is_some_and(|text| text.ends_with([']', '}']));
        let end = if is_flow { end } else { last.unwrap_or(end) };
        if let Some(value) = self.values.get_mut(index) {
            value.span.end = end.max(value.span.start);
        }
    }
}

/// A tag that is none of YAML's own: those say what is known without them.
fn own(tag: &Tag) -> Option<String> {
    let (handle, suffix) = tag.parts();
    (!tag.is_yaml_core_schema() && handle == "!" && !suffix.is_empty()).then(|| suffix.to_owned())
}

impl std::fmt::Debug for Yaml<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Yaml").field(&self.value()).finish()
    }
}

impl<'t> Yaml<'t> {
    fn value(self) -> &'t Value<'t> {
        self.documents.values.get(self.index).expect("an index comes from the same documents")
    }

    fn tag(self) -> Option<&'t str> {
        self.value().tag.as_deref().filter(|_| !self.untagged)
    }

    /// What it is, unless a function of CloudFormation stands in the value's place.
    fn plain(self) -> Option<&'t Kind<'t>> {
        self.tag().is_none().then(|| &self.value().kind)
    }

    /// Where it stands.
    pub(super) fn span(self) -> Span {
        self.value().span.clone()
    }

    /// Its first character.
    pub(super) fn begin(self) -> Span {
        let Span { start, end } = self.span();
        let text = self.documents.file.get(start..end).unwrap_or_default();
        start..start + text.chars().next().map_or(0, char::len_utf8)
    }

    /// "an object", "a string" and their like.
    pub(super) fn kind(self) -> &'static str {
        match self.plain() {
            None => "a value with a tag",
            Some(Kind::Alias) => "an alias, which CloudFormation does not have",
            Some(Kind::Mapping(_)) => "an object",
            Some(Kind::Sequence(_)) => "an array",
            Some(Kind::Scalar(..)) if self.is_null() => "null",
            Some(Kind::Scalar(..)) => "a string",
        }
    }

    /// The members of a mapping, in order. A key that is no text is none.
    pub(super) fn members(self) -> Option<Vec<Member<'t>>> {
        let Kind::Mapping(items) = self.plain()? else { return None };
        let member = |pair: &[usize]| {
            let [key, value] = pair else { return None };
            let (key, value) = (self.documents.value(*key), self.documents.value(*value));
            let Some(Kind::Scalar(text, _)) = key.plain() else { return None };
            let (key, key_span) = (text.clone().into_owned(), key.span());
            Some(Member { key, key_span, value: Node::Yaml(value) })
        };
        Some(items.chunks(2).filter_map(member).collect())
    }

    /// The elements of a sequence; `None` for anything else.
    pub(super) fn elements(self) -> Option<Vec<Node<'t>>> {
        let Kind::Sequence(items) = self.plain()? else { return None };
        Some(items.iter().map(|index| Node::Yaml(self.documents.value(*index))).collect())
    }

    /// What a scalar means, whatever it looks like: CloudFormation takes `1` for "1", and a date for
    /// its text.
    pub(super) fn text(self) -> Option<Text> {
        let Kind::Scalar(text, style) = self.plain()? else { return None };
        if self.is_null() {
            return None;
        }
        let span = self.span();
        let raw = self.documents.file.get(span.clone()).unwrap_or_default();
        let offsets = match dropped(raw, text, *style) {
            Some((base, dropped)) => Offsets::in_text(span.start + base, dropped),
            None => Offsets::at(span.start),
        };
        Some(Text { text: text.clone().into_owned(), offsets, span })
    }

    /// `true` and `false`; `None` for anything else.
    pub(super) fn boolean(self) -> Option<bool> {
        match self.bare()? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }

    /// A whole number that is not negative; `None` for anything else.
    pub(super) fn whole(self) -> Option<u64> {
        self.bare()?.parse().ok()
    }

    /// The function that its tag is a short form of.
    pub(super) fn tagged(self) -> Option<Function<'t>> {
        let tag = self.tag()?;
        let name = if tag == "Ref" { tag.to_owned() } else { format!("Fn::{tag}") };
        let argument = Node::Yaml(Yaml { untagged: true, ..self });
        Some(Function { name, written: format!("!{tag}"), argument })
    }

    /// A scalar without quotes.
    fn bare(self) -> Option<&'t str> {
        match self.plain()? {
            Kind::Scalar(text, ScalarStyle::Plain) => Some(text),
            _ => None,
        }
    }

    fn is_null(self) -> bool {
        self.bare().is_some_and(|text| matches!(text, "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Where `text` begins in `raw`, which it is written as, and where `raw` has bytes that `text` lacks, for
/// [`Offsets::in_text`]: quotes, indentation, escapes. `None` when their places cannot be told.
fn dropped(raw: &str, text: &str, style: ScalarStyle) -> Option<(usize, Vec<usize>)> {
    let mut raw = raw.char_indices().peekable();
    match style {
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
            raw.next();
        }
        // `|`, `>` and what follows on their line.
        ScalarStyle::Literal | ScalarStyle::Folded if raw.peek().is_some_and(is_header) => {
            raw.find(|(_, c)| *c == '\n');
        }
        ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => {}
    }
    let base = raw.peek().map_or(0, |(at, _)| *at);
    let mut dropped = Vec::new();
    // The next byte of `raw` if nothing is dropped there.
    let mut expected = base;
    for (place, c) in text.char_indices() {
        let (at, found) = loop {
            let (at, found) = raw.next()?;
            if found == c || found.is_whitespace() && c.is_whitespace() {
                break (at, found);
            }
            if found == '\\' && style == ScalarStyle::DoubleQuoted {
                match skip_escape(&mut raw, c)? {
                    // A line that goes on.
                    None => continue,
                    Some(()) => break (at, c),
                }
            }
            if !found.is_whitespace() {
                return None;
            }
        };
        let behind = raw.peek().map_or(at + found.len_utf8(), |(next, _)| *next);
        dropped.extend(std::iter::repeat_n(place, at.checked_sub(expected)?));
        let extra = behind.checked_sub(at + c.len_utf8())?;
        dropped.extend(std::iter::repeat_n(place + c.len_utf8(), extra));
        expected = behind;
        if c == '\'' && style == ScalarStyle::SingleQuoted {
            // It is written twice.
            let (second, _) = raw.next()?;
            dropped.push(place + 1);
            expected = second + 1;
        }
    }
    Some((base, dropped))
}

fn is_header(first: &(usize, char)) -> bool {
    matches!(first.1, '|' | '>')
}

/// Takes what stands behind the backslash of an escape of `c`. `Some(None)` when it is the end of a
/// line, which means nothing; `None` when it cannot be told.
fn skip_escape(
    raw: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
    c: char,
) -> Option<Option<()>> {
    let (_, kind) = raw.next()?;
    let digits = match kind {
        '\n' | '\r' => return Some(None),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        // Their escapes are shorter than they are.
        'L' | 'P' => return None,
        _ => 0,
    };
    for _ in 0..digits {
        raw.next()?;
    }
    // Two escapes can make one character.
    if digits == 4 && c > '\u{ffff}' {
        for _ in 0.."\\ud800".len() {
            raw.next()?;
        }
    }
    Some(Some(()))
}

fn not_yaml(file: &str, base: usize, error: &ScanError) -> Diagnostic {
    let at = base + error.marker().byte_offset().unwrap_or_default();
    let at = file.floor_char_boundary(at);
    let end = file.get(at..).and_then(|rest| rest.chars().next()).map_or(at, |c| at + c.len_utf8());
    Diagnostic::error(Code::SYNTAX, format!("this is not YAML: {}", error.kind())).at(at..end, "")
}

fn too_many(span: Span) -> Diagnostic {
    Diagnostic::error(Code::SIZE, format!("a YAML file has at most {YAML_VALUES_MAX} values"))
        .at(span.start..span.start, "the first too many")
        .help("split the template, or keep what is no rule in another folder")
}
