//! Fields of a JSON record, found without building the rest of it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::config::FieldPath;
use crate::config::Step;

/// The members of a JSON object, each with its value as it is written.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Fields(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'a> Fields<'a> {
    /// The members of `data`. `None`: it is no JSON object.
    pub(super) fn of(data: &'a [u8]) -> Option<Fields<'a>> {
        serde_json::from_slice(data).ok()
    }

    /// In the order of the record.
    pub(super) fn into_members(self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        self.0
    }

    /// What stands at `path`, as it is written. Of members with the same name the last counts.
    pub(super) fn find(&self, path: &FieldPath) -> Option<&'a RawValue> {
        let (first, rest) = path.steps().split_first()?;
        let Step::Member(name) = first else { return None };
        rest.iter().try_fold(self.member(name)?, |value, step| down(value, step))
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(found, _)| found == name).map(|(_, value)| *value)
    }
}

fn down<'a>(value: &'a RawValue, step: &Step) -> Option<&'a RawValue> {
    match step {
        Step::Member(name) => Fields::of(value.get().as_bytes())?.member(name),
        Step::Element(place) => {
            let items: Vec<&'a RawValue> = serde_json::from_str(value.get()).ok()?;
            items.get(*place).copied()
        }
    }
}

/// A text without its quotation marks; a number, true or false as it is written. `None`: null, an object or
/// an array.
pub(super) fn scalar_text(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<Name<'_>>(text).ok().map(|Name(text)| text),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(data: &str, path: &str) -> Option<String> {
        let fields = Fields::of(data.as_bytes())?;
        let value = fields.find(&FieldPath::parse(path).unwrap())?;
        scalar_text(value).map(Cow::into_owned)
    }

    #[test]
    fn a_path_finds_a_scalar_as_it_is_written() {
        let data =
            r#"{"a":{"b":[1.50,"x\ny",{"c":true}]},"a b":"é","n":null,"o":{},"a2":1,"a2":2}"#;
        for (path, expected) in [
            (".a.b[0]", Some("1.50")),
            (".a.b[1]", Some("x\ny")),
            (".a.b[2].c", Some("true")),
            (".\"a b\"", Some("é")),
            (".a2", Some("2")),
            (".n", None),
            (".o", None),
            (".a.b", None),
            (".a.b[3]", None),
            (".a.c", None),
            (".x", None),
        ] {
            assert_eq!(found(data, path).as_deref(), expected, "{path}");
        }
        for other in ["", "[]", "1", "{\"a\":1", "{\"a\":1} 2", "\"a\""] {
            assert!(Fields::of(other.as_bytes()).is_none(), "{other}");
        }
    }
}
