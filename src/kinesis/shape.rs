//! The members of requests: what each kind takes, and what AWS says when it gets another.
//!
//! One definition of a request serves JSON and CBOR. A member of another type is a `SerializationException` in the
//! words of AWS's servers. A list keeps no more members than any request may have, and counts the others.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ciborium::tag::Captured;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::clock::Timestamp;
use crate::limits::KINESIS_LIST_MAX;

const LIST_FOUND: &str = "Start of list found where not expected";
const MAP_FOUND: &str = "Start of structure or map found where not expected.";

/// What a member of this type says of others: lists, maps, and what is named.
macro_rules! refuses {
    ($what:literal: $($kind:ident)*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($what)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(A::Error::custom(LIST_FOUND))
        }

        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(A::Error::custom(MAP_FOUND))
        }

        $(refuses!(@$kind $what);)*
    };
    (@bool $what:literal) => {
        fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
            let found = if value { "TRUE_VALUE" } else { "FALSE_VALUE" };
            Err(E::custom(format_args!("{found} can not be converted to {}", $what)))
        }
    };
    (@number $what:literal) => {
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Err(E::custom(concat!("NUMBER_VALUE can not be converted to ", $what)))
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            self.visit_i64(0)
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            self.visit_i64(0)
        }
    };
    (@text $what:literal) => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom(concat!("STRING_VALUE can not be converted to ", $what)))
        }
    };
    (@bytes $what:literal) => {
        fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
            Err(E::custom(concat!("BLOB_VALUE can not be converted to ", $what)))
        }
    };
}

/// A member of a type of its own.
macro_rules! member {
    ($(#[$doc:meta])* $name:ident($inner:ty), $visitor:ident { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub(super) struct $name(pub(super) $inner);

        struct $visitor;

        impl<'de> Visitor<'de> for $visitor {
            type Value = $name;

            $($body)*
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }
    };
}

member! {
    /// A text.
    Text(String), TextVisitor {
        refuses!("a String": bool number bytes);

        fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
            Ok(Text(text.to_owned()))
        }

        fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
            Ok(Text(text))
        }
    }
}

member! {
    /// A whole number.
    Integer(i64), IntegerVisitor {
        refuses!("an Integer": bool text bytes);

        fn visit_i64<E: Error>(self, value: i64) -> Result<Integer, E> {
            Ok(Integer(value))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Integer, E> {
            Ok(Integer(i64::try_from(value).unwrap_or(i64::MAX)))
        }

        #[expect(clippy::cast_possible_truncation, reason = "AWS cuts off the fraction, too")]
        fn visit_f64<E: Error>(self, value: f64) -> Result<Integer, E> {
            Ok(Integer(value as i64))
        }
    }
}

member! {
    /// True or false.
    Flag(bool), FlagVisitor {
        refuses!("a Boolean": number text bytes);

        fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
            Ok(Flag(value))
        }
    }
}

member! {
    /// Bytes: base64 in JSON, themselves in CBOR.
    Blob(Bytes), BlobVisitor {
        refuses!("a Blob": bool number);

        fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
            if !text.len().is_multiple_of(4) {
                return Err(E::custom(format_args!(
                    "Base64 encoded length is expected a multiple of 4 bytes but found: {}",
                    text.len()
                )));
            }
            match STANDARD.decode(text) {
                Ok(bytes) => Ok(Blob(bytes.into())),
                Err(_) => Err(E::custom("Invalid Base64 character in a Blob")),
            }
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
            Ok(Blob(Bytes::copy_from_slice(bytes)))
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
            Ok(Blob(bytes.into()))
        }
    }
}

/// A number of a time: seconds in JSON, milliseconds in CBOR.
struct TimeNumber(f64);

struct TimeVisitor;

#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
impl<'de> Visitor<'de> for TimeVisitor {
    type Value = TimeNumber;

    refuses!("a Timestamp": bool text bytes);

    fn visit_i64<E: Error>(self, value: i64) -> Result<TimeNumber, E> {
        Ok(TimeNumber(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<TimeNumber, E> {
        Ok(TimeNumber(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<TimeNumber, E> {
        Ok(TimeNumber(value))
    }
}

impl<'de> Deserialize<'de> for TimeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Time {
    #[expect(clippy::cast_possible_truncation, reason = "what is beyond is beyond all times, too")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = match deserializer.is_human_readable() {
            true => TimeNumber::deserialize(deserializer)?.0 * 1000.0,
            // Tagged 1, or not at all.
            false => Captured::<TimeNumber>::deserialize(deserializer)?.1.0,
        };
        if !millis.is_finite() {
            return Err(D::Error::custom("NUMBER_VALUE can not be converted to a Timestamp"));
        }
        Ok(Time(Timestamp::from_millis(millis.round() as i64)))
    }
}

/// Several members, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct List<T> {
    /// The first [`KINESIS_LIST_MAX`].
    pub(super) items: Vec<T>,
    /// How many there are.
    pub(super) count: usize,
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
        let mut list = List { items: Vec::new(), count: 0 };
        // Nothing is asked for behind the end: a list may have been of indefinite length.
        while list.count < KINESIS_LIST_MAX {
            let Some(item) = seq.next_element()? else { return Ok(list) };
            list.items.push(item);
            list.count += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            list.count += 1;
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<List<T>, A::Error> {
        Err(A::Error::custom(MAP_FOUND))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// Texts by names, in the order of the request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Texts(pub(super) List<(String, Text)>);

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
        let mut list = List { items: Vec::new(), count: 0 };
        while list.count < KINESIS_LIST_MAX {
            let Some(entry) = map.next_entry()? else { return Ok(Texts(list)) };
            list.items.push(entry);
            list.count += 1;
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            list.count += 1;
        }
        Ok(Texts(list))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Texts, A::Error> {
        Err(A::Error::custom(LIST_FOUND))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// A request of which nothing is looked at; it is a map all the same.
#[derive(Debug, Deserialize)]
pub(super) struct Ignored {}

/// In which form a request comes and is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// AWS JSON 1.1
    Json,
    /// Its twin in CBOR.
    Cbor,
}

impl Format {
    /// The content type of what is not a message of the protocol itself.
    pub(super) fn plain(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Cbor => "application/cbor",
        }
    }
}

/// A structure as a map alone: serde would take a list of its members as well.
#[derive(Debug)]
pub(super) struct Structure<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Structure<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StructureVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for StructureVisitor<T> {
            type Value = Structure<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a structure")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(A::Error::custom(LIST_FOUND))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Structure)
            }
        }

        deserializer.deserialize_any(StructureVisitor(PhantomData))
    }
}

/// A member that is a [`Structure`], or not there.
pub(super) fn structure<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Structure<T>>::deserialize(deserializer)?.map(|structure| structure.0))
}

/// Reads a request. An error is what a `SerializationException` says; empty where AWS says nothing.
///
/// # Errors
/// The body is not of the format, or a member is of another type.
pub(super) fn parse<T: DeserializeOwned>(format: Format, body: &[u8]) -> Result<T, String> {
    match format {
        Format::Json => {
            let read: Result<Structure<T>, _> = serde_json::from_slice(body);
            read.map(|read| read.0).map_err(|error| match error.is_data() {
                true => without_place(&error.to_string()),
                false => String::new(),
            })
        }
        Format::Cbor => {
            let mut rest = body;
            let read = ciborium::from_reader(&mut rest);
            let Structure(read) = read.map_err(|error| match error {
                ciborium::de::Error::Semantic(_, message) => message,
                _ => String::new(),
            })?;
            match rest {
                [] => Ok(read),
                _ => Err(String::new()),
            }
        }
    }
}

/// The message without where in the text it happened.
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct All {
        name: Option<Text>,
        count: Option<Integer>,
        flag: Option<Flag>,
        data: Option<Blob>,
        at: Option<Time>,
        list: Option<List<Text>>,
        tags: Option<Texts>,
    }

    fn cbor(json: &serde_json::Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(json, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn json_and_cbor_say_the_same() {
        let json = br#"{"Name":"n","Count":5,"Flag":true,"Data":"AAEC","At":1700000000.123,
            "List":["a"],"Tags":{"k":"v"},"Unknown":{"x":[1]}}"#;
        let all: All = parse(Format::Json, json).unwrap();
        assert_eq!(all.at, Some(Time(Timestamp::from_millis(1_700_000_000_123))));
        assert_eq!(all.data, Some(Blob(Bytes::from_static(&[0, 1, 2]))));
        // An indefinite map with byte strings and a tagged time, as the Java SDK writes it.
        let mut bytes = b"\xbf\x64Name\x61n\x65Count\x05\x64Flag\xf5\x64Data\x43\x00\x01\x02\
            \x62At\xc1\x1b"
            .to_vec();
        bytes.extend(1_700_000_000_123_u64.to_be_bytes());
        bytes.extend(b"\x64List\x9f\x61a\xff\x64Tags\xa1\x61k\x61v\x67Unknown\xc1\x01\xff");
        assert_eq!(parse::<All>(Format::Cbor, &bytes), Ok(all));
        let untagged = cbor(&serde_json::json!({"At": 5}));
        let all: All = parse(Format::Cbor, &untagged).unwrap();
        assert_eq!(all.at, Some(Time(Timestamp::from_millis(5))));
        let empty: All = parse(Format::Json, br#"{"Name":null}"#).unwrap();
        assert_eq!(empty, parse(Format::Cbor, &cbor(&serde_json::json!({}))).unwrap());
    }

    #[test]
    fn members_of_another_type_are_named_in_aws_words() {
        for (json, expected) in [
            (r#"{"Name":5}"#, "NUMBER_VALUE can not be converted to a String"),
            (r#"{"Name":true}"#, "TRUE_VALUE can not be converted to a String"),
            (r#"{"Name":[]}"#, "Start of list found where not expected"),
            ("[]", "Start of list found where not expected"),
            ("[null,null,null,null,null,null,null]", "Start of list found where not expected"),
            (r#"{"Name":{}}"#, "Start of structure or map found where not expected."),
            (r#"{"Count":"5"}"#, "STRING_VALUE can not be converted to an Integer"),
            (r#"{"Flag":1}"#, "NUMBER_VALUE can not be converted to a Boolean"),
            (r#"{"List":{}}"#, "Start of structure or map found where not expected."),
            (r#"{"Tags":[]}"#, "Start of list found where not expected"),
        ] {
            assert_eq!(parse::<All>(Format::Json, json.as_bytes()).unwrap_err(), expected);
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(parse::<All>(Format::Cbor, &cbor(&value)).unwrap_err(), expected);
        }
        let wrong = |json: &str| parse::<All>(Format::Json, json.as_bytes()).unwrap_err();
        assert!(wrong(r#"{"Data":"AAE"}"#).contains("multiple of 4 bytes but found: 3"));
        assert_eq!(wrong(r#"{"Data":"AA*="}"#), "Invalid Base64 character in a Blob");
        assert_eq!(wrong(r#"{"At":1e999}"#), "");
        for text in ["", "{", "x", "{} x"] {
            assert_eq!(wrong(text), "", "{text}");
        }
        assert_eq!(parse::<All>(Format::Cbor, b"\xa0\xa0").unwrap_err(), "");
    }

    #[test]
    fn what_is_over_a_list_is_counted_and_not_kept() {
        let count = KINESIS_LIST_MAX + 7;
        let json = format!(r#"{{"List":["a"{}]}}"#, r#","a""#.repeat(count - 1));
        let all: All = parse(Format::Json, json.as_bytes()).unwrap();
        let list = all.list.unwrap();
        assert_eq!((list.items.len(), list.count), (KINESIS_LIST_MAX, count));
    }
}
