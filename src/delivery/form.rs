//! What a file is like inside: how a record is written, and how the whole is compressed.
//!
//! The form is fixed with the batch, on disk, as its name is: a retry after a change of the configuration
//! writes the same bytes again.

use std::borrow::Cow;
use std::io;

use csv_core::WriteResult;
use serde::Deserialize;
use serde::Serialize;

use crate::config::Column;
use crate::config::Compression;
use crate::config::DeliveryConfig;
use crate::config::FieldPath;
use crate::config::Format;
use crate::json_line::json_line;

use super::columnar::ColumnFile;
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
    /// Columns of objects. None: those of the records.
    Parquet { columns: Vec<String> },
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
            Format::Parquet(parquet) => Records::Parquet {
                columns: parquet.columns.iter().map(ToString::to_string).collect(),
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

    /// How the whole is compressed. Parquet does that page by page.
    pub(super) fn packing(&self) -> Packing {
        match self.records {
            Records::Parquet { .. } => Packing::None,
            _ => self.compression,
        }
    }

    /// Whether the columns must be known from the records, before one can be written.
    pub(super) fn is_inferred(&self) -> bool {
        matches!(&self.records, Records::Parquet { columns } if columns.is_empty())
    }

    /// What the name of such a file ends in.
    pub(super) fn suffix(&self) -> String {
        let records = match self.records {
            Records::Jsonl => ".jsonl",
            Records::Raw { .. } => ".raw",
            Records::Csv { .. } => ".csv",
            Records::Parquet { .. } => return ".parquet".to_owned(),
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

    /// Writes records of this form; `inferred` has their columns where [`Form::is_inferred`].
    pub(super) fn encoder(&self, inferred: Option<Vec<Column>>) -> io::Result<Encoder> {
        // A column that was stored was read from a configuration before.
        let read = |column: &String| Column::parse(column).ok();
        Ok(match &self.records {
            Records::Jsonl => Encoder::Jsonl,
            Records::Raw { delimiter } => Encoder::Raw { delimiter: delimiter.clone() },
            Records::Csv { columns, header, separator } => {
                let paths = columns.iter().filter_map(|path| FieldPath::parse(path).ok());
                Encoder::Csv(CsvRows {
                    paths: paths.collect(),
                    header: *header,
                    separator: *separator,
                })
            }
            Records::Parquet { columns } => {
                let is_inferred = inferred.is_some();
                let columns = inferred.unwrap_or_else(|| columns.iter().filter_map(read).collect());
                let file = ColumnFile::new(&columns, is_inferred, self.compression)?;
                Encoder::Parquet(Box::new(file))
            }
        })
    }
}

/// Why a record is not in a file.
#[derive(Debug)]
pub(super) enum NotPushed {
    /// It does not fit, for this reason; nothing of it was added.
    Misfit(Cow<'static, str>),
    /// The file cannot be made.
    Failed(io::Error),
}

/// Records → bytes of a file.
pub(super) enum Encoder {
    Jsonl,
    Raw { delimiter: String },
    Csv(CsvRows),
    Parquet(Box<ColumnFile>),
}

/// What the rows of a CSV file are like.
pub(super) struct CsvRows {
    paths: Vec<FieldPath>,
    header: bool,
    separator: char,
}

impl Encoder {
    /// What a file begins with.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        if let Encoder::Csv(CsvRows { paths, header: true, separator }) = self {
            let names = paths.iter().map(ToString::to_string);
            push_row(out, names.map(|path| path.trim_start_matches('.').to_owned()), *separator);
        }
    }

    /// Adds a record; `out` gets what of the file is ready.
    pub(super) fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), NotPushed> {
        match self {
            Encoder::Jsonl => push_line(out, data),
            Encoder::Raw { delimiter } => {
                out.extend_from_slice(data);
                out.extend_from_slice(delimiter.as_bytes());
            }
            Encoder::Csv(rows) => rows.push(data, out)?,
            Encoder::Parquet(file) => file.push(data, out)?,
        }
        Ok(())
    }

    /// What a file ends with.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Encoder::Parquet(file) => file.finish(out),
            _ => Ok(()),
        }
    }
}

impl CsvRows {
    fn push(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), NotPushed> {
        let why = "the record is not a JSON object";
        let fields = Fields::of(data).ok_or(NotPushed::Misfit(Cow::Borrowed(why)))?;
        let cells = self.paths.iter().map(|path| {
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
        push_row(out, cells, self.separator);
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

    fn written(format: Format, records: &[&str]) -> (String, Vec<String>) {
        let form = Form::of(&DeliveryConfig { format, ..DeliveryConfig::default() });
        let form = Form::from_text(&form.to_text()).unwrap();
        let mut encoder = form.encoder(None).unwrap();
        let mut out = Vec::new();
        encoder.begin(&mut out);
        let mut refused = Vec::new();
        for data in records {
            match encoder.push(data.as_bytes(), &mut out) {
                Ok(()) => {}
                Err(NotPushed::Misfit(why)) => refused.push(why.into_owned()),
                Err(NotPushed::Failed(error)) => panic!("{error}"),
            }
        }
        encoder.finish(&mut out).unwrap();
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
