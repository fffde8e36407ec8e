//! Payload formats.

use std::fmt;
use std::fmt::Formatter;

use super::super::ast::CsvFormat;
use super::super::ast::Format;
use super::cast_type;
use super::name;
use super::quoted;

impl fmt::Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Format::Json => f.write_str("JSON"),
            Format::Csv(csv) => csv_format(csv, f),
            Format::Text(pattern) => {
                f.write_str("TEXT MATCHING ")?;
                quoted(pattern.regex().as_str(), f)
            }
            Format::Cbor => f.write_str("CBOR"),
            Format::MsgPack => f.write_str("MSGPACK"),
            Format::Sparkplug => f.write_str("SPARKPLUG"),
            Format::Protobuf { file, message } => {
                f.write_str("PROTOBUF ")?;
                quoted(&file.node, f)?;
                f.write_str(" MESSAGE ")?;
                quoted(&message.node, f)
            }
            Format::Bytes => f.write_str("BYTES"),
        }
    }
}

fn csv_format(csv: &CsvFormat, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("CSV")?;
    for (index, column) in csv.columns.iter().enumerate() {
        f.write_str(if index == 0 { " (" } else { ", " })?;
        name(&column.name, f)?;
        if let Some(kind) = column.kind {
            write!(f, " {}", cast_type(kind))?;
        }
    }
    if !csv.columns.is_empty() {
        f.write_str(")")?;
    }
    match csv.delimiter {
        b',' => {}
        b'\t' => f.write_str(r" DELIMITER '\t'")?,
        delimiter => {
            f.write_str(" DELIMITER ")?;
            quoted(char::from(delimiter).encode_utf8(&mut [0; 4]), f)?;
        }
    }
    f.write_str(if csv.header { " HEADER" } else { "" })?;
    f.write_str(if csv.rows { " ROWS" } else { "" })
}
