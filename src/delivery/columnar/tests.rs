//! What is written is read again by the reader of the same crate; other readers are in `tests/gateway`.

use bytes::Bytes;
use parquet::file::reader::FileReader;
use parquet::file::reader::SerializedFileReader;
use parquet::record::Row;

use super::*;

/// The rows of a file, and why the other records are not in it.
fn written(columns: &[&str], packing: Packing, records: &[&str]) -> (Vec<Row>, Vec<String>) {
    let inferred = columns.is_empty().then(|| {
        let mut inference = Inference::default();
        records.iter().for_each(|record| inference.take(record.as_bytes()));
        inference.columns()
    });
    let is_inferred = inferred.is_some();
    let given = || columns.iter().map(|column| Column::parse(column).unwrap()).collect();
    let columns = inferred.unwrap_or_else(given);
    let mut file = ColumnFile::new(&columns, is_inferred, packing).unwrap();
    let (mut out, mut refused) = (Vec::new(), Vec::new());
    for record in records {
        match file.push(record.as_bytes(), &mut out) {
            Ok(()) => {}
            Err(NotPushed::Misfit(why)) => refused.push(why.into_owned()),
            Err(NotPushed::Failed(error)) => panic!("{error}"),
        }
    }
    file.finish(&mut out).unwrap();
    let reader = SerializedFileReader::new(Bytes::from(out)).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    (rows.collect(), refused)
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(ToString::to_string).collect()
}

#[test]
fn nested_records_come_back() {
    for packing in [Packing::None, Packing::Snappy, Packing::Gzip, Packing::Zstd] {
        let (rows, refused) = written(
            &[],
            packing,
            &[
                r#"{"id":1,"at":{"room":"a","xy":[1,2.5]},"rows":[{"n":[[1],[],null,[2,3]]},{},null]}"#,
                r#"{"rows":[],"at":null,"id":null}"#,
                "{}",
                r#"{"id":2,"id":9007199254740993,"at":{},"rows":[{"n":null},{"n":[]}]}"#,
                r#"{"id":"x"}"#,
            ],
        );
        assert_eq!(
            texts(&rows),
            [
                r#"{id: 1, at: {room: "a", xy: [1.0, 2.5]}, rows: [{n: [[1], [], null, [2, 3]]}, {n: null}, null]}"#,
                "{id: null, at: null, rows: []}",
                "{id: null, at: null, rows: null}",
                "{id: 9007199254740993, at: {room: null, xy: null}, rows: [{n: null}, {n: []}]}",
            ]
        );
        assert_eq!(refused, ["the field id is a text, its column bigint"]);
    }
}

#[test]
fn a_record_must_fit_the_columns_that_are_given() {
    let columns = [
        "b boolean",
        "i int",
        "l bigint",
        "f float",
        "d double",
        "s string",
        "t timestamp",
        "day date",
        "a array<int>",
        "o struct<x:int>",
    ];
    let fits = [
        r#"{"b":true,"i":-2147483648,"l":21.0,"f":0.1,"d":1e-7,"s":"é","t":1500,"day":"1969-12-31","other":[{}]}"#,
        r#"{"t":"1970-01-01T00:00:01.5+01:00","a":[1,null],"o":{"x":1,"y":2}}"#,
        r#"{"t":"1970-01-02 00:00:00.000001"}"#,
    ];
    let (rows, refused) = written(&columns, Packing::None, &fits);
    assert_eq!((rows.len(), refused.len()), (3, 0), "{refused:?}");
    let text = texts(&rows).join("\n");
    for part in [
        "i: -2147483648, l: 21, f: 0.1, d: 0.0000001, s: \"é\"",
        "1969-12-31",
        "a: [1, null], o: {x: 1}",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for (record, said) in [
        (r#"{"b":1}"#, "the field b is the number 1, its column boolean"),
        (r#"{"i":2147483648}"#, "the field i is the number 2147483648, its column int"),
        (r#"{"l":1.5}"#, "the field l is the number 1.5, its column bigint"),
        (r#"{"l":9223372036854775808}"#, "bigint"),
        (r#"{"f":1e39}"#, "float"),
        (r#"{"d":1e999}"#, "double"),
        (r#"{"s":1}"#, "the field s is the number 1, its column string"),
        (r#"{"t":"noon"}"#, "the field t is a text, its column timestamp"),
        (r#"{"t":9223372036854776}"#, "timestamp"),
        (r#"{"day":1}"#, "date"),
        (r#"{"a":[1,"x"]}"#, "the field a is a text, its column int"),
        (r#"{"a":{}}"#, "the field a is an object, its column an array"),
        (r#"{"o":{"x":{}}}"#, "the field o.x is an object, its column int"),
        (r#"{"o":1}"#, "the field o is the number 1, its column a struct"),
        (r#"{"s":"\ud800"}"#, "not Unicode"),
        ("[]", "not a JSON object"),
        ("{\"s\":\"\u{1}\"}", "not a JSON object"),
    ] {
        let (rows, refused) = written(&columns, Packing::None, &[fits[0], record]);
        assert_eq!(rows.len(), 1, "{record}");
        assert!(refused[0].contains(said), "{record}: {refused:?}");
    }
}

#[test]
fn a_record_that_would_grow_a_hundredfold_does_not_fit() {
    let members: Vec<String> = (0..1000).map(|n| format!("c{n}:int")).collect();
    let columns = format!("a array<struct<s:struct<{}>>>", members.join(","));
    let record = format!(r#"{{"a":[{}]}}"#, vec!["{}"; 2000].join(","));
    let (rows, refused) = written(&[&columns], Packing::None, &[&record]);
    assert!(rows.is_empty() && refused[0].contains("cells"), "{refused:?}");
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(written(&[], Packing::None, &[&deep]).1[0].contains("nested too deep"));
}

#[test]
fn a_file_has_row_groups_of_bounded_size() {
    let columns = [Column::parse("text string").unwrap(), Column::parse("n array<int>").unwrap()];
    let mut file = ColumnFile::new(&columns, false, Packing::None).unwrap();
    let (mut out, mut handed_on) = (Vec::new(), 0);
    let count = 3 * PARQUET_GROUP_BYTES_MAX / 100_000;
    for n in 0..count {
        let text = n.to_string().repeat(100_000 / n.to_string().len());
        file.push(format!(r#"{{"text":"{text}","n":[{n},{n}]}}"#).as_bytes(), &mut out).unwrap();
        handed_on += usize::from(!out.is_empty() && handed_on == 0);
    }
    assert_eq!(handed_on, 1, "what is ready does not wait for the end");
    file.finish(&mut out).unwrap();
    let reader = SerializedFileReader::new(Bytes::from(out)).unwrap();
    let groups = reader.metadata().num_row_groups();
    assert!((2..=4).contains(&groups), "{groups}");
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    let last: Vec<String> = rows.map(|row| row.to_string()).skip(count - 1).collect();
    assert!(last[0].ends_with(&format!("n: [{0}, {0}]}}", count - 1)));
}
