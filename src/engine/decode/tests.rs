use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::diagnostic::Diagnostic;
use crate::rule::Rule;
use crate::rule::ast::SqlVersion;
use crate::rule::set::Source;
use crate::rule::table::NamedFiles;
use crate::value::json::text;
use crate::value::json_reader::parse;

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The whole payload, as its JSON text; or the problem with it.
fn decoded(decoder: &Decoder, payload: &[u8]) -> Result<String, String> {
    let mut projection = Projection::default();
    let slot = projection.slot(&[], Whole::AsInt);
    let mut buffers = Buffers::default();
    match decoder.project(&projection, payload, &mut buffers) {
        Ok(()) => Ok(text(buffers.slots[slot].get(payload), Whole::AsInt)),
        Err(error) => Err(decoder.fault(&error).1),
    }
}

#[track_caller]
fn check(decoder: &Decoder, payload: &[u8], expected: &str) {
    assert_eq!(decoded(decoder, payload).as_deref(), Ok(expected), "{payload:02x?}");
}

/// Every file is the descriptor set of the cases.
struct Lab;

impl NamedFiles for Lab {
    fn read(&mut self, _by: &Path, name: &str, _max: usize) -> Result<Source, Diagnostic> {
        let content = Ok(include_bytes!("../../../tests/cases/lab.desc").to_vec());
        Ok(Source { path: name.into(), content })
    }
}

/// The decoder of `AS …`.
fn decoder(clause: &str) -> Decoder {
    let sql = format!("SELECT * FROM 'x' AS {clause}");
    let (version, tables) = (SqlVersion::default(), Arc::default());
    let rule = Rule::from_select("r", &sql, version, &tables, &mut Lab).unwrap();
    Decoder::new(&rule.definition.select.format.as_ref().unwrap().node, &rule.schemas)
}

const READING: &str = "PROTOBUF 'lab.desc' MESSAGE 'lab.Reading'";

/// RFC 8949, appendix A, and what is beyond JSON.
#[test]
fn cbor_reads_the_examples_of_its_standard() {
    for (hex, expected) in [
        ("00", "0"),
        ("1903e8", "1000"),
        ("1bffffffffffffffff", "18446744073709551615"),
        ("c249010000000000000000", "18446744073709551616"),
        ("3bffffffffffffffff", "-18446744073709551616"),
        ("c349010000000000000000", "-18446744073709551617"),
        ("20", "-1"),
        ("3903e7", "-1000"),
        ("f90000", "0"),
        ("f98000", "0"),
        ("f93c00", "1"),
        ("fb3ff199999999999a", "1.1"),
        ("f93e00", "1.5"),
        ("f97bff", "65504"),
        ("fa47c35000", "100000"),
        ("fa3dcccccd", "0.1"),
        ("fa7f7fffff", "340282350000000000000000000000000000000"),
        ("fb7e37e43c8800759c", "1E300"),
        ("f90001", "0.000000059604645"),
        ("f9c400", "-4"),
        ("fbc010666666666666", "-4.1"),
        ("f97c00", ""),
        ("f97e00", ""),
        ("f9fc00", ""),
        ("f4", "false"),
        ("f5", "true"),
        ("f6", "null"),
        ("f7", ""),
        ("f0", ""),
        ("f8ff", ""),
        ("c074323031332d30332d32315432303a30343a30305a", "1363896240000"),
        ("c0656e6f746974", r#""notit""#),
        ("c11a514b67b0", "1363896240000"),
        ("c1fb41d452d9ec200000", "1363896240500"),
        ("d74401020304", r#""AQIDBA==""#),
        ("d818456449455446", r#""ZElFVEY=""#),
        ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", r#""http://www.example.com""#),
        ("c48221196ab3", "273.15"),
        ("40", r#""""#),
        ("4401020304", r#""AQIDBA==""#),
        ("60", r#""""#),
        ("6449455446", r#""IETF""#),
        ("62225c", r#""\"\\""#),
        ("63e6b0b4", "\"\u{6c34}\""),
        ("80", "[]"),
        ("8301820203820405", "[1,[2,3],[4,5]]"),
        ("a201020304", r#"{"1":2,"3":4}"#),
        ("a26161016162820203", r#"{"a":1,"b":[2,3]}"#),
        ("a3200121024101f5", r#"{"-1":1,"-2":2,"AQ==":true}"#),
        ("a2f5014101f6", r#"{"true":1,"AQ==":null}"#),
        ("a2616101616102", r#"{"a":2}"#),
        ("5f42010243030405ff", r#""AQIDBAU=""#),
        ("7f657374726561646d696e67ff", r#""streaming""#),
        ("9fff", "[]"),
        ("9f018202039f0405ffff", "[1,[2,3],[4,5]]"),
        ("bf61610161629f0203ffff", r#"{"a":1,"b":[2,3]}"#),
        ("bf6346756ef563416d7421ff", r#"{"Fun":true,"Amt":-2}"#),
    ] {
        check(&Decoder::Cbor, &unhex(hex), expected);
    }
}

#[test]
fn msgpack_reads_every_kind_of_item() {
    for (hex, expected) in [
        ("07", "7"),
        ("ff", "-1"),
        ("e0", "-32"),
        ("ccff", "255"),
        ("cdffff", "65535"),
        ("ceffffffff", "4294967295"),
        ("cfffffffffffffffff", "18446744073709551615"),
        ("d080", "-128"),
        ("d18000", "-32768"),
        ("d280000000", "-2147483648"),
        ("d38000000000000000", "-9223372036854775808"),
        ("ca3dcccccd", "0.1"),
        ("cb3ff199999999999a", "1.1"),
        ("ca7fc00000", ""),
        ("c0", "null"),
        ("c2", "false"),
        ("c3", "true"),
        ("a26f6b", r#""ok""#),
        ("d9026f6b", r#""ok""#),
        ("da00026f6b", r#""ok""#),
        ("db000000026f6b", r#""ok""#),
        ("c4020102", r#""AQI=""#),
        ("c500020102", r#""AQI=""#),
        ("c6000000020102", r#""AQI=""#),
        ("92a16101", r#"["a",1]"#),
        ("dc0001c3", "[true]"),
        ("dd00000001c3", "[true]"),
        ("82a1610102a162", r#"{"a":1,"2":"b"}"#),
        ("de0001a16101", r#"{"a":1}"#),
        ("df00000001a16101", r#"{"a":1}"#),
        ("d40501", r#""AQ==""#),
        ("c7020501ff", r#""Af8=""#),
        ("d6ff514b67b0", "1363896240000"),
        ("d7ff77359400514b67b0", "1363896240500"),
        ("c70cff00000001ffffffffffffffff", "-999.999999"),
        ("c70cffffffffff0000000000000000", ""),
    ] {
        check(&Decoder::MsgPack, &unhex(hex), expected);
    }
}

#[test]
fn what_is_malformed_says_where() {
    let csv = decoder("CSV (a, b)");
    let text_of = decoder(r"TEXT MATCHING '(?<level>\w+): (?<rest>.*)'");
    for (decoder, payload, expected) in [
        (&Decoder::Cbor, unhex(""), "the payload ends within a value"),
        (&Decoder::Cbor, unhex("830102"), "the payload ends within a value"),
        (&Decoder::Cbor, unhex("9f01"), "the payload ends within a value"),
        (&Decoder::Cbor, unhex("0102"), "1 bytes behind the value, from byte 1"),
        (&Decoder::Cbor, unhex("ff"), "a break where a value was expected, at byte 0"),
        (&Decoder::Cbor, unhex("811c"), "byte 0x1c, which begins no item, at byte 1"),
        (&Decoder::Cbor, unhex("a1f601"), "null as the key of a map, at byte 1"),
        (&Decoder::Cbor, unhex("a1800102"), "an array as the key of a map, at byte 1"),
        (
            &Decoder::Cbor,
            unhex("c4822148ffffffffffffffff"),
            "a decimal fraction without a whole mantissa, at byte 1",
        ),
        (&Decoder::Cbor, unhex("c401"), "a decimal fraction that is no array of two, at byte 1"),
        (&Decoder::MsgPack, unhex("92"), "the payload ends within a value"),
        (&Decoder::MsgPack, unhex("c1"), "byte 0xc1, which begins no item, at byte 0"),
        (&Decoder::MsgPack, unhex("a2ffff"), "a text that is not UTF-8, at byte 1"),
        (&Decoder::MsgPack, unhex("c3c3c3"), "2 bytes behind the value, from byte 1"),
        (&csv, b"1,\xff".to_vec(), "not UTF-8 from byte 2"),
        (&csv, b"".to_vec(), "there is no record"),
        (&csv, b"1,2\n3,4".to_vec(), "more than one record; AS CSV … ROWS takes several"),
        (&csv, vec![b','; 2000], "more than 1024 columns"),
        (&text_of, b"nothing".to_vec(), "the expression behind MATCHING does not match"),
        (&text_of, b"\xc3\x28".to_vec(), "not UTF-8 from byte 0"),
    ] {
        assert_eq!(decoded(decoder, &payload).unwrap_err(), expected, "{payload:02x?}");
    }
    let utf8 = decoded(&Decoder::Cbor, &unhex("62ffff")).unwrap_err();
    assert!(utf8.starts_with("invalid utf-8"), "{utf8}");
}

/// Ten bytes that announce more than any memory has.
#[test]
fn announced_lengths_are_not_believed() {
    for head in ["9b", "bb", "5b", "7b"] {
        let payload = unhex(&format!("{head}1000000000000000 00"));
        let problem = decoded(&Decoder::Cbor, &payload).unwrap_err();
        assert!(problem.contains("the payload ends"), "{problem}");
    }
    for head in ["dd", "df", "c6", "db", "c9"] {
        let payload = unhex(&format!("{head}ffffffff 0000"));
        assert_eq!(
            decoded(&Decoder::MsgPack, &payload).unwrap_err(),
            "the payload ends within a value"
        );
    }
}

#[test]
fn nesting_is_bounded_in_every_format() {
    for (decoder, opener, leaf) in [
        (Decoder::Cbor, 0x81, 0x00),
        (Decoder::Cbor, 0x9f, 0x00),
        (Decoder::Cbor, 0xc6, 0x00),
        (Decoder::MsgPack, 0x91, 0x00),
    ] {
        let mut endless = vec![opener; 1_000_000];
        endless.push(leaf);
        assert_eq!(
            decoded(&decoder, &endless).unwrap_err(),
            "the payload nests deeper than 128 levels",
            "{opener:x}"
        );
    }
    let fits: Vec<u8> = vec![0x91; PAYLOAD_DEPTH_MAX].into_iter().chain([0]).collect();
    assert!(decoded(&Decoder::MsgPack, &fits).is_ok());
}

/// A Protobuf payload cannot announce what it does not have either, nor nest without end; a bit of a
/// Sparkplug payload becomes a value of many bytes.
#[test]
fn protobuf_and_sparkplug_are_bounded() {
    let reading = decoder(READING);
    let problem = decoded(&reading, &unhex("0a ffffffff0f")).unwrap_err();
    assert!(problem.contains("mote_id") || problem.contains("buffer"), "{problem}");
    // `inner` of `inner` of …: each is two bytes and a length around the one before.
    let mut nested: Vec<u8> = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x82, 0x01];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.extend_from_slice(&nested);
        nested = outer;
    }
    assert!(decoded(&reading, &nested).unwrap_err().contains("recursion limit"));
    // A metric of type 32, BooleanArray, whose count is the first four bytes.
    let booleans = |count: u32| {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.resize(4 + count.div_ceil(8) as usize, 0);
        let mut metric = unhex("2020 8201");
        prost::encoding::encode_varint(bytes.len() as u64, &mut metric);
        metric.extend_from_slice(&bytes);
        let mut payload = vec![0x12];
        prost::encoding::encode_varint(metric.len() as u64, &mut payload);
        payload.extend_from_slice(&metric);
        payload
    };
    assert!(decoded(&Decoder::Sparkplug, &booleans(100_000)).is_ok());
    assert_eq!(
        decoded(&Decoder::Sparkplug, &booleans(100_001)).unwrap_err(),
        "arrays of more than 100000 values in all"
    );
    // A metric of type 16, DataSet, with one column of that name.
    let column = |length: usize| {
        let mut set = vec![0x12];
        prost::encoding::encode_varint(length as u64, &mut set);
        set.resize(set.len() + length, b'c');
        let mut metric = unhex("2010 8a01");
        prost::encoding::encode_varint(set.len() as u64, &mut metric);
        metric.extend_from_slice(&set);
        let mut payload = vec![0x12];
        prost::encoding::encode_varint(metric.len() as u64, &mut payload);
        payload.extend_from_slice(&metric);
        decoded(&Decoder::Sparkplug, &payload)
    };
    assert!(column(128).is_ok());
    assert_eq!(column(129).unwrap_err(), "a column's name longer than 128 bytes");
}

#[test]
fn csv_takes_types_headers_delimiters_and_rows() {
    for (clause, payload, expected) in [
        ("CSV (id, c, ok)", "m7, 21.50 ,true\r\n", r#"{"id":"m7","c":21.5,"ok":true}"#),
        ("CSV (id, c)", "007,-0.5e2", r#"{"id":"007","c":-50}"#),
        ("CSV (id, c)", "\"a, \"\"b\"\"\",", r#"{"id":"a, \"b\"","c":null}"#),
        ("CSV (id, c)", "a", r#"{"id":"a"}"#),
        ("CSV (id)", "a,b,c", r#"{"id":"a"}"#),
        ("CSV (id String, c Int)", "12,3.9", r#"{"id":"12","c":3}"#),
        ("CSV (id Decimal, c Boolean)", "x,TRUE", r#"{"c":true}"#),
        ("CSV (a, b) DELIMITER ';'", "1,5;2", r#"{"a":"1,5","b":2}"#),
        ("CSV (a, b) DELIMITER '\\t'", "1\t2", r#"{"a":1,"b":2}"#),
        ("CSV HEADER", "\u{feff}id,c\nm7,21", r#"{"id":"m7","c":21}"#),
        ("CSV (x, y) HEADER", "id,c\nm7,21", r#"{"x":"m7","y":21}"#),
        ("CSV (a) ROWS", "1\n\n2\n", r#"{"rows":[{"a":1},{"a":2}]}"#),
        ("CSV (a) ROWS", "", r#"{"rows":[]}"#),
        ("CSV HEADER ROWS", "a,a\n1,2\n3,4", r#"{"rows":[{"a":2},{"a":4}]}"#),
        ("CSV HEADER ROWS", "a", r#"{"rows":[]}"#),
    ] {
        check(&decoder(clause), payload.as_bytes(), expected);
    }
}

#[test]
fn csv_is_bounded() {
    let many = "1,2\n".repeat(60_000);
    let problem = decoded(&decoder("CSV (a) ROWS"), many.as_bytes()).unwrap_err();
    assert_eq!(problem, "more than 100000 fields");
    let name = format!("{}\n1", "n".repeat(1000));
    let problem = decoded(&decoder("CSV HEADER"), name.as_bytes()).unwrap_err();
    assert_eq!(problem, "the name of a column is longer than 128 bytes");
    let full = vec!["1"; 1024].join(",");
    assert!(decoded(&decoder("CSV (a)"), full.as_bytes()).is_ok());
}

#[test]
fn text_gives_its_named_groups() {
    let line = decoder(r"TEXT MATCHING '^(?<level>\w+)(:(?<code>\d+))? (?<rest>.*)$'");
    check(&line, b"WARN:7 low", r#"{"level":"WARN","code":7,"rest":"low"}"#);
    check(&line, b"WARN ", r#"{"level":"WARN","rest":""}"#);
    check(&line, b"true 1.50", r#"{"level":true,"rest":1.5}"#);
}

/// JSON whose numbers a double holds exactly as they are written.
fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        (-1_000_000_i64..1_000_000).prop_map(|n| Json::from(n as f64 / 64.0)),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Json::from),
        "[a-z \u{e9}\u{1F600}]{0,40}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            proptest::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

/// The same in CBOR and MessagePack, by other people's encoders.
fn encoded(json: &Json) -> [(Decoder, Vec<u8>); 2] {
    let mut cbor = Vec::new();
    ciborium::into_writer(json, &mut cbor).unwrap();
    [(Decoder::Cbor, cbor), (Decoder::MsgPack, rmp_serde::to_vec(json).unwrap())]
}

proptest! {
    #[test]
    fn what_json_says_the_binary_formats_say(json in json()) {
        let expected = parse(json.to_string().as_bytes(), Whole::AsInt).unwrap();
        for (decoder, payload) in encoded(&json) {
            prop_assert_eq!(decoded(&decoder, &payload).unwrap(), text(&expected, Whole::AsInt));
        }
    }

    #[test]
    fn a_projected_field_is_the_field_of_the_whole(
        json in json(),
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        paths in proptest::collection::vec(proptest::collection::vec("[abc]", 0..4), 0..6),
    ) {
        for (decoder, mut payload) in encoded(&json) {
            if let Some((at, byte)) = change {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            let mut projection = Projection::default();
            let whole = projection.slot(&[], Whole::AsInt);
            let path = |path: &Vec<String>| path.iter().map(CompactString::from).collect::<Vec<_>>();
            let slots: Vec<usize> =
                paths.iter().map(|p| projection.slot(&path(p), Whole::AsInt)).collect();
            let mut buffers = Buffers::default();
            let outcome = decoder.project(&projection, &payload, &mut buffers);
            let root = buffers.slots[whole].get(&payload);
            prop_assert!(outcome.is_ok() || root.is_undefined());
            for (path, slot) in paths.iter().zip(slots) {
                let field = path.iter().fold(root, |at, key| at.member(key).unwrap_or(&UNDEFINED));
                prop_assert_eq!(buffers.slots[slot].get(&payload), field);
            }
        }
    }

    #[test]
    fn csv_fields_come_back(
        rows in proptest::collection::vec(proptest::collection::vec("[a-z\", \n;\u{e9}]{1,8}x", 1..5), 1..5),
    ) {
        let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
        let line = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",");
        let payload = rows.iter().map(line).collect::<Vec<_>>().join("\r\n");
        let names = ["a", "b", "c", "d"];
        let object = |row: &Vec<String>| -> Json {
            names.iter().zip(row).map(|(n, v)| (n.to_string(), Json::from(v.trim_ascii()))).collect()
        };
        let expected = Json::from(rows.iter().map(object).collect::<Vec<Json>>());
        let found = decoded(&decoder("CSV (a, b, c, d) ROWS"), payload.as_bytes()).unwrap();
        prop_assert_eq!(found, format!("{{\"rows\":{expected}}}"));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
        for decoder in [
            Decoder::Cbor,
            Decoder::MsgPack,
            decoder("CSV (a, b) HEADER ROWS"),
            decoder("CSV HEADER"),
            decoder("TEXT MATCHING '(?<a>.)'"),
            decoder(READING),
            Decoder::Sparkplug,
        ] {
            drop(decoded(&decoder, &payload));
        }
    }
}
