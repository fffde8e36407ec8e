use proptest::prelude::*;

use super::*;
use crate::rule::parse::parse_file;

/// Reads `text` as the file of `CREATE TABLE t FROM 'file' KEY key`.
fn read(file: &str, key: &str, text: &str) -> Result<Table, Vec<String>> {
    let statement = format!("CREATE TABLE t FROM '{file}' KEY {key};");
    let parsed = parse_file(&statement);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let (mut in_file, mut in_rules) = (Vec::new(), Vec::new());
    let table = Table::read(&parsed.tables[0], text.as_bytes(), &mut in_file, &mut in_rules);
    let told = in_file.iter().map(|found| {
        let span = found.labels[0].span.clone();
        format!("{}: {}", text.get(span).expect("a place in the file"), found.message)
    });
    let told: Vec<String> = told.chain(in_rules.iter().map(|d| d.message.clone())).collect();
    assert_eq!(table.is_none(), !told.is_empty(), "{told:?}");
    table.ok_or(told)
}

fn row(table: &Table, key: &[Value]) -> Option<String> {
    let key: Vec<Cow<'_, Value>> = key.iter().map(Cow::Borrowed).collect();
    table.row(&key).map(|row| crate::value::json::text(row, crate::value::Whole::AsInt))
}

const MOTES: &str =
    "moteid,room,floor,heated\r\n7,kitchen,1,true\r\n\r\n8,\"a \"\"b\"\", c\",,\"true\"\r\n";

#[test]
fn cells_are_what_json_says_and_text_otherwise() {
    let table = read("motes.csv", "moteid", MOTES).unwrap();
    assert_eq!(table.len(), 2);
    let seven = Some(r#"{"moteid":7,"room":"kitchen","floor":1,"heated":true}"#.to_owned());
    assert_eq!(row(&table, &[Value::int(7)]), seven);
    let decimal = Value::Number(Number::parse("7.0").unwrap());
    assert_eq!(row(&table, &[decimal]), seven, "7.0 = 7");
    assert_eq!(row(&table, &[Value::string("7")]), None, "'7' <> 7");
    let eight = Some(r#"{"moteid":8,"room":"a \"b\", c","heated":"true"}"#.to_owned());
    assert_eq!(row(&table, &[Value::int(8)]), eight, "an empty cell is missing");
    assert_eq!(row(&table, &[Value::Undefined]), None);
    assert_eq!(row(&table, &[Value::Null]), None);
    let odd = read("x.csv", "a", "a,b,c,d,e\n007,1.,-0.5,null,\"\"\n").unwrap();
    let texts = Some(r#"{"a":"007","b":"1.","c":-0.5,"d":null,"e":""}"#.to_owned());
    assert_eq!(row(&odd, &[Value::string("007")]), texts);
}

#[test]
fn the_same_rows_come_from_every_format() {
    let wanted = Some(r#"{"id":7,"room":{"name":"kitchen"}}"#.to_owned());
    for (file, text) in [
        ("t.json", r#"[{"id":8,"room":1}, {"id":7,"room":{"name":"kitchen"}}]"#),
        ("t.JSON", r#"{"8":{"room":1}, "7":{"room":{"name":"kitchen"}}}"#),
        ("t.ndjson", "{\"id\":8}\n\n {\"id\":7,\"room\":{\"name\":\"kitchen\"}}\r\n"),
        ("t.jsonl", "{\"id\":7,\"room\":{\"name\":\"kitchen\"}}"),
    ] {
        let table = read(file, "id", text).unwrap();
        assert_eq!(row(&table, &[Value::int(7)]), wanted, "{file}");
        assert_eq!(table.columns(), ["id", "room"]);
        assert_eq!(table.has_column("floor"), HasColumn::NotYet);
    }
    assert!(read("t.json", "id", "[]").unwrap().is_empty());
}

#[test]
fn a_key_of_several_columns_is_found_by_all_of_them() {
    let table = read("t.csv", "b, a", "a,b,c\n1,x,one\n2,x,two\n1,y,three\n").unwrap();
    let found = |b: &str, a| row(&table, &[Value::string(b), Value::int(a)]);
    assert_eq!(found("x", 2).as_deref(), Some(r#"{"a":2,"b":"x","c":"two"}"#));
    assert_eq!(found("y", 1).as_deref(), Some(r#"{"a":1,"b":"y","c":"three"}"#));
    assert_eq!(found("y", 2), None);
    assert_eq!(row(&table, &[Value::string("x")]), None);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (file, text, expected) in [
        ("t.csv", "", ": the file is empty"),
        ("t.csv", "id,x\n1,2,3\n", "1,2,3: the row has 3 cells, the header names 2 columns"),
        ("t.csv", "id,x,id\n", "id: two columns have one name"),
        ("t.csv", "id,,x\n", ": a column has no name"),
        ("t.csv", "id,x\n1,\"a\n2,b\n", "\"a: the quote does not close where the cell ends"),
        ("t.csv", "id,x\n1,a\n1.0,b\n", "1.0,b: two rows have the same id"),
        ("t.csv", "id,x\n,a\n", ",a: the row has no id, which is its key"),
        ("t.csv", "x,y\n1,2\n", "the file has no column id"),
        ("t.csv", "id;y\n1;2\n", "the file has no column id"),
        (
            "t.json",
            "[{\"id\":1},\n{\"id\":[1]}]",
            "{\"id\":[1]}: the row's id is no text, number or Boolean, so it cannot be its key",
        ),
        ("t.json", "[{\"id\":1},\n7]", "7: the row is no object"),
        ("t.json", "[{\"id\":1},\n}]", "}: this is not JSON: expected value"),
        ("t.json", "7", "7: the file holds no rows"),
        ("t.json", "{\"1\":{},\"1.0\":{}}", "{}: two rows have the same id"),
        ("t.json", "[{\"id\":1}] x", "x: this is not JSON: trailing characters"),
        ("t.ndjson", "{\"id\":1}\n{\"id\":2\n", ": this is not JSON: EOF while parsing an object"),
        ("t.txt", "id\n", "the file's name does not tell its format"),
    ] {
        let told = read(file, "id", text).unwrap_err();
        assert_eq!(told[0], expected, "{file} {text:?}: {told:?}");
    }
}

#[test]
fn rows_and_columns_are_bounded() {
    let rows: String = (0..TABLE_ROWS_MAX).map(|row| format!("{row}\n")).collect();
    assert_eq!(read("t.csv", "id", &format!("id\n{rows}")).unwrap().len(), TABLE_ROWS_MAX);
    let rows = format!("{rows}{TABLE_ROWS_MAX}\n");
    let told = read("t.csv", "id", &format!("id\n{rows}")).unwrap_err();
    assert_eq!(told, [format!("{TABLE_ROWS_MAX}: a table has at most {TABLE_ROWS_MAX} rows")]);
    let columns: Vec<String> = (0..=TABLE_COLUMNS_MAX).map(|column| format!("c{column}")).collect();
    let most = read("t.csv", "c0", &columns[1..].join(",").replacen("c1,", "c0,", 1)).unwrap();
    assert_eq!(most.columns().len(), TABLE_COLUMNS_MAX);
    let told = read("t.csv", "c0", &columns.join(",")).unwrap_err();
    assert!(told[0].ends_with("a table has at most 256 columns"), "{told:?}");
    let wrong: String = (0..1000).map(|_| "1,2\n").collect();
    let told = read("t.csv", "id", &format!("id\n{wrong}")).unwrap_err();
    assert_eq!(told.len(), FINDINGS_PER_FILE_MAX + 1, "what nobody would read is not kept");
}

/// A cell, how it is written, and the value it must have.
fn cell() -> impl Strategy<Value = (String, Option<Value>)> {
    prop_oneof![
        Just((String::new(), None)),
        (-1000_i64..1000).prop_map(|n| (n.to_string(), Some(Value::int(n)))),
        any::<bool>().prop_map(|b| (b.to_string(), Some(Value::Bool(b)))),
        "[a-z ][a-z é,\"\r\n]{0,8}x".prop_map(|text| {
            (format!("\"{}\"", text.replace('"', "\"\"")), Some(Value::string(text)))
        }),
        "[a-z é;']{1,8}x".prop_map(|text| (text.clone(), Some(Value::string(text)))),
    ]
}

proptest! {
    #[test]
    fn csv_reads_back_what_was_written(
        rows in proptest::collection::vec(proptest::collection::vec(cell(), 3), 0..20),
        end in prop_oneof![Just("\n"), Just("\r\n")],
        has_last_end in any::<bool>(),
    ) {
        let mut text = String::from("id,a,b,c");
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<&str> = row.iter().map(|(written, _)| written.as_str()).collect();
            text.push_str(&format!("{end}{number},{}", cells.join(",")));
        }
        if has_last_end {
            text.push_str(end);
        }
        let table = read("t.csv", "id", &text).unwrap();
        prop_assert_eq!(table.len(), rows.len());
        for (number, row) in (0..).zip(&rows) {
            let found = table.row(&[Cow::Owned(Value::int(number))]).unwrap();
            for (column, (_, value)) in ["a", "b", "c"].iter().zip(row) {
                prop_assert_eq!(found.member(column), value.as_ref());
            }
        }
    }

    #[test]
    fn no_bytes_upset_a_reader(
        text in prop_oneof!["[\\[\\]{}\",:a1 \r\n.é-]{0,40}", "\\PC{0,60}"],
        file in prop_oneof![Just("t.csv"), Just("t.json"), Just("t.ndjson")],
    ) {
        drop(read(file, "a", &text));
    }
}
