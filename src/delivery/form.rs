//! What a file is like inside: how a record is written, and how the whole is compressed.
//!
//! The form is fixed with the batch, on disk, as its name is: a retry after a change of the configuration
//! writes the same bytes again.

use csv_core::WriteResult;
use serde::Deserialize;
use serde::Serialize;

use crate::config::Compression;
use crate::config::DeliveryConfig;
use crate::config::FieldPath;
use crate::config::Format;
use crate::json_line::json_line;

use super::fields::Fields;
use super::fields::scalar_text;
use super::object::push_line;

/// A record's way into a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Records {
    /// JSON on one line; what is none in base64.
    Jsonl,
    /// As it is, and a text behind it.
    Raw { delimiter: String },
    /// Fields of an object.
    Csv { columns: Vec<String>, header: bool, separator: char },
}

/// What a batch is written as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Form {
    records: Records,
    compression: Packing,
}

/// [`Compression`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Packing {
    None,
    Gzip,
    Zip,
    Snappy,
    HadoopSnappy,
    Zstd,
}

impl Form {
    /// The form of the files of a delivery.
    pub(super) fn of(config: &DeliveryConfig) -> Form {
        let records = match &config.format {
            Format::Jsonl => Records::Jsonl,
            Format::Raw { delimiter } => Records::Raw { delimiter: delimiter.clone() },
            Format::Csv(csv) => Records::Csv {
                columns: csv.columns.iter().map(ToString::to_string).collect(),
                header: csv.header,
                separator: csv.separator,
            },
        };
        let compression = match config.compression {
            Compression::None => Packing::None,
            Compression::Gzip => Packing::Gzip,
            Compression::Zip => Packing::Zip,
            Compression::Snappy => Packing::Snappy,
            Compression::HadoopSnappy => Packing::HadoopSnappy,
            Compression::Zstd => Packing::Zstd,
        };
        Form { records, compression }
    }

    /// The form of files of errors.
    pub(super) fn lines() -> Form {
        Form { records: Records::Jsonl, compression: Packing::None }
    }

    /// The form of a file that was fixed before there was a choice: its name tells whether it is compressed.
    pub(super) fn named(object: &str) -> Form {
        let compression = if object.ends_with(".gz") { Packing::Gzip } else { Packing::None };
        Form { records: Records::Jsonl, compression }
    }

    /// As a row has it.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and names are JSON")
    }

    /// As it was in a row.
    pub(super) fn from_text(text: &str) -> Option<Form> {
        serde_json::from_str(text).ok()
    }

    /// How the whole is compressed.
    pub(super) fn packing(&self) -> Packing {
        self.compression
    }

    /// What the name of such a file ends in.
    pub(super) fn suffix(&self) -> String {
        let records = match self.records {
            Records::Jsonl => ".jsonl",
            Records::Raw { .. } => ".raw",
            Records::Csv { .. } => ".csv",
        };
        let compression = match self.compression {
            Packing::None => "",
            Packing::Gzip => ".gz",
            Packing::Zip => ".zip",
            Packing::Snappy | Packing::HadoopSnappy => ".snappy",
            Packing::Zstd => ".zst",
        };
        format!("{records}{compression}")
    }

    /// Writes records of this form.
    pub(super) fn encoder(&self) -> Encoder {
        let columns = match &self.records {
            Records::Csv { columns, .. } => {
                // A path that was stored was read from a configuration before.
                columns.iter().filter_map(|path| FieldPath::parse(path).ok()).collect()
            }
            _ => Vec::new(),
        };
        Encoder { records: self.records.clone(), columns }
    }
}

/// Records → bytes of a file.
pub(super) struct Encoder {
    records: Records,
    columns: Vec<FieldPath>,
}

impl Encoder {
    /// What a file begins with.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        if let Records::Csv { columns, header: true, separator } = &self.records {
            let names = columns.iter().map(|path| path.trim_start_matches('.').as_bytes());
            push_row(out, names, *separator);
        }
    }

    /// Adds a record, or says why it cannot be in such a file, having added nothing.
    pub(super) fn push(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        match &self.records {
            Records::Jsonl => push_line(out, data),
            Records::Raw { delimiter } => {
                out.extend_from_slice(data);
                out.extend_from_slice(delimiter.as_bytes());
            }
            Records::Csv { separator, .. } => {
                let fields = Fields::of(data).ok_or("the record is not a JSON object")?;
                let cells = self.columns.iter().map(|path| {
                    let Some(value) = fields.find(path) else { return Vec::new() };
                    match scalar_text(value) {
                        Some(text) => text.into_owned().into_bytes(),
                        None if value.get() == "null" => Vec::new(),
                        // An object or array, as JSON on one line.
                        None => {
                            let line = json_line(value.get().as_bytes());
                            line.map_or_else(Vec::new, |json| json.get().as_bytes().to_vec())
                        }
                    }
                });
                push_row(out, cells, *separator);
            }
        }
        Ok(())
    }
}

/// A row, with quotation marks where RFC 4180 wants them.
fn push_row(out: &mut Vec<u8>, cells: impl Iterator<Item = impl AsRef<[u8]>>, separator: char) {
    let separator = u8::try_from(separator).unwrap_or(b',');
    let mut writer = csv_core::WriterBuilder::new().delimiter(separator).build();
    let mut chunk = [0; 4096];
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            let (_, written) = writer.delimiter(&mut chunk);
            out.extend_from_slice(&chunk[..written]);
        }
        let mut rest = cell.as_ref();
        loop {
            let (result, read, written) = writer.field(rest, &mut chunk);
            out.extend_from_slice(&chunk[..written]);
            rest = &rest[read..];
            if result == WriteResult::InputEmpty {
                break;
            }
        }
    }
    let (_, written) = writer.terminator(&mut chunk);
    out.extend_from_slice(&chunk[..written]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CsvConfig;

    fn written(format: Format, records: &[&str]) -> (String, Vec<&'static str>) {
        let form = Form::of(&DeliveryConfig { format, ..DeliveryConfig::default() });
        let form = Form::from_text(&form.to_text()).unwrap();
        let encoder = form.encoder();
        let mut out = Vec::new();
        encoder.begin(&mut out);
        let refused =
            records.iter().filter_map(|data| encoder.push(data.as_bytes(), &mut out).err());
        let refused = refused.collect();
        (String::from_utf8(out).unwrap(), refused)
    }

    #[test]
    fn csv_has_the_fields_at_its_paths() {
        let columns =
            [".id", ".at.room", ".tags", ".text"].map(|path| FieldPath::parse(path).unwrap());
        let csv = CsvConfig { columns: columns.to_vec(), header: true, separator: ';' };
        let (text, refused) = written(
            Format::Csv(csv),
            &[
                r#"{"id":1.50,"at":{"room":"a;b"},"tags":[1,"x"],"text":"say \"hi\"\n"}"#,
                r#"{"text":null}"#,
                "[1]",
                "{",
            ],
        );
        assert_eq!(
            text,
            "id;at.room;tags;text\n1.50;\"a;b\";\"[1,\"\"x\"\"]\";\"say \"\"hi\"\"\n\"\n;;;\n"
        );
        assert_eq!(refused, ["the record is not a JSON object"; 2]);
    }

    #[test]
    fn a_row_of_one_empty_cell_is_seen() {
        let columns = vec![FieldPath::parse(".a").unwrap()];
        let csv = CsvConfig { columns, header: false, separator: ',' };
        assert_eq!(written(Format::Csv(csv), &["{}"]).0, "\"\"\n");
    }

    #[test]
    fn raw_records_stand_behind_one_another() {
        let raw = Format::Raw { delimiter: "|".to_owned() };
        assert_eq!(written(raw, &["{\"a\":\n1}", "", "x"]).0, "{\"a\":\n1}||x|");
        assert_eq!(written(Format::Jsonl, &["{\"a\":\n1}"]).0, "{\"a\": 1}\n");
    }

    #[test]
    fn a_name_tells_the_form() {
        let suffix = |compression| {
            Form::of(&DeliveryConfig { compression, ..DeliveryConfig::default() }).suffix()
        };
        assert_eq!(suffix(Compression::None), ".jsonl");
        assert_eq!(suffix(Compression::Zstd), ".jsonl.zst");
        assert_eq!(suffix(Compression::HadoopSnappy), ".jsonl.snappy");
    }
}
