//! JSON text whose values know where they stand.
//!
//! serde_json checks a text once and cuts it into raw slices; an object or an array is taken apart
//! one level at a time, when somebody asks. So nothing here recurses, whatever the nesting, and what
//! nobody asks for costs one pass.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use super::super::ast::Span;
use super::super::parse::embedded::Offsets;
use super::node::Member;
use super::node::Node;
use super::node::Text;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// A value of a JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<'t> {
    file: &'t str,
    /// A slice of `file`.
    raw: &'t str,
}

impl<'t> Json<'t> {
    /// The values of `file`, one after another; and where it stops being JSON.
    pub(super) fn values(file: &'t str) -> (Vec<Node<'t>>, Option<Diagnostic>) {
        // Editors on Windows begin files with a byte order mark.
        let text = file.strip_prefix('\u{feff}').unwrap_or(file);
        let mut values = Vec::new();
        for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
            match value {
                Ok(value) => values.push(Node::Json(Json { file, raw: value.get() })),
                Err(error) => {
                    let at = file.len() - text.len() + position(text, error.line(), error.column());
                    return (values, Some(not_json(file, at, &error)));
                }
            }
        }
        (values, None)
    }

    /// Where it stands.
    pub(super) fn span(self) -> Span {
        let start = self.start();
        start..start + self.raw.len()
    }

    fn start(self) -> usize {
        // A raw value is a slice of the text that it was read from.
        self.raw.as_ptr().addr() - self.file.as_ptr().addr()
    }

    /// "an object", "a string" and their like.
    pub(super) fn kind(self) -> &'static str {
        match self.raw.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a Boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    /// The members of an object, in order; `None` for anything else.
    pub(super) fn members(self) -> Option<Vec<Member<'t>>> {
        let Members(members) = serde_json::from_str(self.raw).ok()?;
        let member = |(key, value): (&'t RawValue, &'t RawValue)| {
            let key = Json { file: self.file, raw: key.get() };
            // Half a surrogate pair is a key that nobody knows.
            let text = unescape(key.raw).map_or_else(|_| key.raw.to_owned(), |(text, _)| text);
            let value = Node::Json(Json { file: self.file, raw: value.get() });
            Member { key: text, key_span: key.span(), value }
        };
        Some(members.into_iter().map(member).collect())
    }

    /// The elements of an array; `None` for anything else.
    pub(super) fn elements(self) -> Option<Vec<Node<'t>>> {
        let elements: Vec<&RawValue> = serde_json::from_str(self.raw).ok()?;
        let node = |raw: &'t RawValue| Node::Json(Json { file: self.file, raw: raw.get() });
        Some(elements.into_iter().map(node).collect())
    }

    /// What a string means; `None` for anything else.
    pub(super) fn text(self) -> Option<Result<Text, Diagnostic>> {
        if !self.raw.starts_with('"') {
            return None;
        }
        Some(match unescape(self.raw) {
            Ok((text, dropped)) => {
                let offsets = Offsets::in_file(self.start(), dropped);
                Ok(Text { text, offsets, span: self.span() })
            }
            Err(at) => {
                let place = self.start() + at..self.start() + at + "\\ud800".len();
                Err(Diagnostic::error(Code::SYNTAX, "this escape is half of a character")
                    .at(place, "")
                    .help("characters beyond \\uffff are written as a pair, or as they are"))
            }
        })
    }

    /// `true` and `false`; `None` for anything else.
    pub(super) fn boolean(self) -> Option<bool> {
        self.raw.parse().ok()
    }

    /// A whole number that is not negative; `None` for anything else.
    pub(super) fn whole(self) -> Option<u64> {
        self.raw.parse().ok()
    }
}

/// The members of an object as they stand, a key that comes twice as well.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'t> Deserialize<'t> for Members<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collector;

        impl<'t> Visitor<'t> for Collector {
            type Value = Members<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collector)
    }
}

/// The text of a string that serde_json has found sound, its quotes included in `raw`; and where its
/// escapes were longer than what they mean, for [`Offsets::in_file`]. An error is the byte of an
/// escape that is half of a surrogate pair.
fn unescape(raw: &str) -> Result<(String, Vec<usize>), usize> {
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or_default();
    let mut text = String::with_capacity(inner.len());
    let mut dropped = Vec::new();
    let mut rest = inner;
    while let Some(escape) = rest.find('\\') {
        let (before, from) = rest.split_at(escape);
        text.push_str(before);
        let at = raw.len() - 1 - from.len();
        let (c, length) = escaped(from).ok_or(at)?;
        text.push(c);
        dropped.extend(std::iter::repeat_n(text.len(), length - c.len_utf8()));
        rest = from.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    Ok((text, dropped))
}

/// The character that `from` begins with an escape of, and the escape's length.
fn escaped(from: &str) -> Option<(char, usize)> {
    let c = match from.as_bytes().get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = |at: usize| u16::from_str_radix(from.get(at..at + 4)?, 16).ok();
            let first = unit(2)?;
            if let Some(c) = char::from_u32(u32::from(first)) {
                return Some((c, 6));
            }
            let second = from.get(6..8).filter(|escape| *escape == "\\u").and_then(|_| unit(8))?;
            let c = char::decode_utf16([first, second]).next()?.ok()?;
            return Some((c, 12));
        }
        other => char::from(*other),
    };
    Some((c, 2))
}

/// The byte of a line and column as serde_json counts them: both from 1, columns in bytes.
fn position(text: &str, line: usize, column: usize) -> usize {
    let start = match line.checked_sub(2) {
        Some(before) => text.match_indices('\n').nth(before).map_or(0, |(at, _)| at + 1),
        None => 0,
    };
    text.floor_char_boundary(start + column.saturating_sub(1))
}

fn not_json(file: &str, at: usize, error: &serde_json::Error) -> Diagnostic {
    let message = error.to_string();
    let reason = message.split(" at line ").next().unwrap_or_default();
    let end = file.get(at..).and_then(|rest| rest.chars().next()).map_or(at, |c| at + c.len_utf8());
    Diagnostic::error(Code::SYNTAX, format!("this is not JSON: {reason}")).at(at..end, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_characters_that_know_their_places() {
        let file = r#" {"sql": "a\n\"b\u00e9\ud83d\ude00\\c\/é😀d"}"#;
        let (values, wrong) = Json::values(file);
        assert!(wrong.is_none());
        let member = values[0].members().unwrap().remove(0);
        let text = member.value.text().unwrap().unwrap();
        assert_eq!(text.text, "a\n\"bé😀\\c/é😀d");
        assert_eq!(file.get(text.span.clone()).unwrap(), r#""a\n\"b\u00e9\ud83d\ude00\\c\/é😀d""#);
        let written = ["a", "\\n", "\\\"", "b", "\\u00e9", "\\ud83d\\ude00", "\\\\", "c", "\\/"];
        for ((at, c), written) in text.text.char_indices().zip(written) {
            let span = text.offsets.span(at..at + c.len_utf8());
            assert_eq!(file.get(span).unwrap(), written);
        }
        let last = text.text.len() - 1;
        assert_eq!(file.get(text.offsets.span(last..last + 1)).unwrap(), "d");
    }

    #[test]
    fn what_is_no_json_is_marked_where_it_stops_to_be() {
        let wrong_at = |file: &str| {
            let (_, wrong) = Json::values(file);
            wrong.map(|wrong| wrong.labels[0].span.start)
        };
        assert_eq!(wrong_at("{}\n{\"a\": 1}\n"), None);
        assert_eq!(wrong_at("{\n  \"a\" 1}"), Some(8));
        assert_eq!(wrong_at("\u{feff}{\n  \"a\" 1}"), Some(11));
        assert!(wrong_at("{\"a\": [1, 2").is_some());
        assert!(wrong_at(&"[".repeat(100_000)).is_some(), "no nesting is too deep");
        let (values, _) = Json::values(r#"["\ud800x"]"#);
        let half = values[0].elements().unwrap()[0].text().unwrap().unwrap_err();
        assert_eq!(half.labels[0].span, 2..8);
    }
}
