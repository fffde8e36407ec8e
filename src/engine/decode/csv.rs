//! CSV (RFC 4180, with any delimiter): a record is an object of its columns.
//!
//! A field reads as [`word`] says, unless its column names a type; blanks around it are left out,
//! and an empty field is null. A payload is one record, or with ROWS any number of them under
//! `rows`. The syntax itself cannot be wrong: csv-core takes an odd quote as it comes.

use compact_str::CompactString;
use csv_core::ReadRecordResult;

use super::DecodeError;
use super::text::utf8;
use super::text::word;
use crate::engine::operators;
use crate::engine::operators::Budget;
use crate::engine::operators::Setting;
use crate::limits::COLUMN_NAME_BYTES_MAX;
use crate::limits::CSV_COLUMNS_MAX;
use crate::limits::CSV_FIELDS_MAX;
use crate::rule::ast::CsvColumn;
use crate::rule::ast::CsvFormat;
use crate::value::ObjectBuilder;
use crate::value::Value;
use crate::value::Whole;

/// The records of one payload.
struct Records<'p> {
    reader: csv_core::Reader,
    input: &'p [u8],
    /// The fields of the record at hand, one behind the other.
    text: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

/// The record, or with ROWS all of them under `rows`.
pub(super) fn decode(
    format: &CsvFormat,
    payload: &[u8],
    whole: Whole,
) -> Result<Value, DecodeError> {
    utf8(payload)?;
    let mut records = Records::new(format.delimiter, payload);
    let named = match format.header {
        true => header(format, &mut records)?,
        false => None,
    };
    let columns = named.as_ref().unwrap_or(&format.columns);
    let mut rows = Vec::new();
    let mut fields = 0;
    while let Some(count) = records.next()? {
        fields += count;
        if fields > CSV_FIELDS_MAX {
            return Err(malformed(format!("more than {CSV_FIELDS_MAX} fields")));
        }
        if !format.rows && !rows.is_empty() {
            return Err(malformed("more than one record; AS CSV … ROWS takes several".into()));
        }
        rows.push(row(columns, &records, count, whole));
    }
    if format.rows {
        return Ok(Value::object(vec![("rows".into(), Value::array(rows))]));
    }
    rows.pop().ok_or_else(|| malformed("there is no record".into()))
}

/// Takes the first record; the columns that it names, where the rule names none.
fn header(
    format: &CsvFormat,
    records: &mut Records<'_>,
) -> Result<Option<Vec<CsvColumn>>, DecodeError> {
    let Some(count) = records.next()? else { return Ok(None) };
    if !format.columns.is_empty() {
        return Ok(None);
    }
    let names = (0..count).map(|at| records.field(at));
    if names.clone().any(|name| name.len() > COLUMN_NAME_BYTES_MAX) {
        let problem = format!("the name of a column is longer than {COLUMN_NAME_BYTES_MAX} bytes");
        return Err(malformed(problem));
    }
    Ok(Some(names.map(|name| CsvColumn { name: name.to_owned(), kind: None }).collect()))
}

impl<'p> Records<'p> {
    fn new(delimiter: u8, payload: &'p [u8]) -> Self {
        Records {
            // Not a clone of one that is built: in csv-core 0.1 a clone finds no end.
            reader: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            input: payload,
            text: vec![0; payload.len()],
            // One more than a record may have, so that a full one is told from one that is too long.
            ends: vec![0; payload.len().min(CSV_COLUMNS_MAX) + 1],
        }
    }

    /// Reads a record; how many fields it has, `None` at the end.
    fn next(&mut self) -> Result<Option<usize>, DecodeError> {
        let (mut written, mut count) = (0, 0);
        loop {
            let (result, read, more_text, more_fields) = self.reader.read_record(
                self.input,
                self.text.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(count..).unwrap_or_default(),
            );
            self.input = self.input.get(read..).unwrap_or_default();
            written += more_text;
            count += more_fields;
            match result {
                ReadRecordResult::Record if count <= CSV_COLUMNS_MAX => return Ok(Some(count)),
                ReadRecordResult::End => return Ok(None),
                // Called again with no input, it ends the last record.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record
                | ReadRecordResult::OutputFull
                | ReadRecordResult::OutputEndsFull => {
                    return Err(malformed(format!("more than {CSV_COLUMNS_MAX} columns")));
                }
            }
        }
    }

    /// A field of the record at hand, without the blanks around it.
    fn field(&self, at: usize) -> &str {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        let start = at.checked_sub(1).map_or(0, end);
        let bytes = self.text.get(start..end(at)).unwrap_or_default();
        // Cut from UTF-8 at ASCII signs.
        std::str::from_utf8(bytes).unwrap_or_default().trim_ascii()
    }
}

/// Columns without a field are left out, fields without a column too.
fn row(columns: &[CsvColumn], records: &Records<'_>, count: usize, whole: Whole) -> Value {
    let mut object = ObjectBuilder::default();
    for (at, column) in columns.iter().enumerate().take(count) {
        object.insert(CompactString::new(&column.name), field(records.field(at), column, whole));
    }
    object.finish()
}

fn field(text: &str, column: &CsvColumn, whole: Whole) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let Some(target) = column.kind else { return word(text, whole) };
    // A word is shorter than any budget.
    let budget = Budget::default();
    operators::cast(&Value::string(text), target, Setting { whole, budget: &budget })
}

fn malformed(problem: String) -> DecodeError {
    DecodeError::Malformed(problem)
}
