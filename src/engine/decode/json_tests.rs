use compact_str::CompactString;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::Decoder;
use super::super::UNDEFINED;
use super::*;
use crate::limits::PAYLOAD_DEPTH_MAX;
use crate::value::json_reader;

fn parse(text: &[u8], whole: Whole) -> Result<Value, DecodeError> {
    json_reader::parse(text, whole).map_err(DecodeError::from)
}

/// serde_json reads a double that may be one off the nearest.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= b.abs() * 1e-15
}

/// The same value, with numbers compared as doubles: that is all serde_json keeps.
fn same(ours: &Value, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(a), Json::Bool(b)) => a == b,
        (Value::String(a), Json::String(b)) => a == b,
        (Value::Number(a), Json::Number(b)) => b.as_f64().is_some_and(|b| close(a.to_f64(), b)),
        (Value::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key.as_str()).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

/// JSON text with few keys, so that paths meet it and keys repeat.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just(" false ".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        "\"[a-z \u{e9}\u{1F600}]{0,40}\"",
        Just("\"\\u00e9\\n\\\"\\ud83d\\ude00\"".to_owned()),
        Just("\"\\ud800\"".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let member =
            ("[abc]", inner.clone()).prop_map(|(key, value)| format!("\"{key}\": {value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..5)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..5)
                .prop_map(|members| format!("{{{}}}", members.join(" ,"))),
        ]
    })
}

/// Text that is often JSON, and sometimes broken in one place.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    (json_text(), proptest::option::weighted(0.4, (any::<prop::sample::Index>(), any::<u8>())))
        .prop_map(|(text, change)| {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = change
                && !bytes.is_empty()
            {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
}

fn out_of_double_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

proptest! {
    #[test]
    fn decoding_agrees_with_serde_json(payload in payload()) {
        match (parse(&payload, Whole::AsWritten), serde_json::from_slice::<Json>(&payload)) {
            (Ok(ours), Ok(theirs)) => prop_assert!(same(&ours, &theirs), "{ours:?} {theirs}"),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) if out_of_double_range(&error) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
        }
    }

    #[test]
    fn a_projected_field_is_the_field_of_the_whole(
        payload in payload(),
        paths in proptest::collection::vec(proptest::collection::vec("[abc]", 1..4), 0..6),
        version in any::<bool>(),
    ) {
        let whole = if version { Whole::AsInt } else { Whole::AsWritten };
        let mut projection = Projection::default();
        let paths: Vec<Vec<CompactString>> =
            paths.into_iter().map(|p| p.into_iter().map(CompactString::from).collect()).collect();
        let slots: Vec<usize> = paths.iter().map(|path| projection.slot(path, whole)).collect();
        let mut buffers = Buffers::default();
        let projected = Decoder::Json.project(&projection, &payload, &mut buffers);
        let decoded = parse(&payload, whole);
        prop_assert_eq!(projected.is_ok(), decoded.is_ok());
        for (path, slot) in paths.iter().zip(slots) {
            let mut expected = decoded.as_ref().unwrap_or(&UNDEFINED);
            for key in path {
                expected = expected.member(key).unwrap_or(&UNDEFINED);
            }
            prop_assert_eq!(buffers.slots[slot].get(&payload), expected);
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
        let ours = parse(&payload, Whole::AsInt);
        let theirs = serde_json::from_slice::<Json>(&payload);
        if theirs.is_ok() {
            prop_assert!(ours.is_ok());
        }
    }
}

#[test]
fn a_path_is_one_slot_for_each_version() {
    let mut projection = Projection::default();
    let path = [CompactString::from("v")];
    let as_int = projection.slot(&path, Whole::AsInt);
    assert_eq!(projection.slot(&path, Whole::AsInt), as_int);
    let as_written = projection.slot(&path, Whole::AsWritten);
    let mut buffers = Buffers::default();
    Decoder::Json.project(&projection, br#"{"v":10.0}"#, &mut buffers).unwrap();
    assert_eq!(buffers.slots[as_int].get(b"").text(Whole::AsWritten).unwrap(), "10");
    assert_eq!(buffers.slots[as_written].get(b"").text(Whole::AsWritten).unwrap(), "10.0");
}

#[test]
fn nesting_is_bounded_wherever_it_stands() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut projection = Projection::default();
    projection.slot(&[CompactString::from("v")], Whole::AsInt);
    let mut buffers = Buffers::default();
    for key in ["v", "w"] {
        let text = |depth| format!("{{\"{key}\":{}}}", nested(depth));
        let fits = text(PAYLOAD_DEPTH_MAX - 1);
        assert_eq!(Decoder::Json.project(&projection, fits.as_bytes(), &mut buffers), Ok(()));
        assert!(parse(fits.as_bytes(), Whole::AsInt).is_ok());
        let deep = text(PAYLOAD_DEPTH_MAX);
        assert_eq!(
            Decoder::Json.project(&projection, deep.as_bytes(), &mut buffers),
            Err(DecodeError::TooDeep)
        );
        assert_eq!(parse(deep.as_bytes(), Whole::AsInt), Err(DecodeError::TooDeep));
    }
    let endless = "[".repeat(1_000_000);
    assert_eq!(parse(endless.as_bytes(), Whole::AsInt), Err(DecodeError::TooDeep));
}

#[test]
fn malformed_text_behind_the_fields_is_malformed() {
    let mut projection = Projection::default();
    let slot = projection.slot(&[CompactString::from("a")], Whole::AsInt);
    let mut buffers = Buffers::default();
    let broken = br#"{"a":1,"b":}"#;
    let error = Decoder::Json.project(&projection, broken, &mut buffers).unwrap_err();
    assert_eq!(error, DecodeError::Malformed("expected value at line 1 column 12".to_owned()));
    assert!(buffers.slots[slot].get(broken).is_undefined());
}
