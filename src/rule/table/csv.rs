//! Tables as CSV (RFC 4180): a header, then a row a line.
//!
//! An unquoted cell that is a JSON number, `true`, `false` or `null` is such, an empty one is
//! missing; everything else, and every quoted cell, is text. Lines may end with CR LF, blank lines
//! are passed over.

use compact_str::CompactString;
use csv_core::ReadFieldResult;
use csv_core::Reader;

use super::Columns;
use super::Findings;
use super::Raw;
use super::RawRow;
use super::literal;
use super::within_bounds;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::rule::ast::Span;
use crate::rule::set::utf8;
use crate::value::Object;
use crate::value::Value;

/// A cell as it was read.
struct Cell {
    text: String,
    /// In the file, without the comma or line end behind it.
    span: Span,
    is_quoted: bool,
}

/// Reads a table; `None` when there is none, which has been noted.
pub(super) fn read(bytes: &[u8], findings: &mut Findings<'_>) -> Option<Raw> {
    let text = match utf8(bytes) {
        Ok(text) => text,
        Err(diagnostic) => {
            findings.push(diagnostic);
            return None;
        }
    };
    let mut cells = Cells::new(text);
    let header = cells.row(findings);
    if header.is_empty() {
        findings.push(
            Diagnostic::error(Code::TABLE, "the file is empty")
                .at(0..0, "")
                .help("a CSV file begins with a line of column names"),
        );
        return None;
    }
    let columns = columns(header, findings)?;
    let mut rows = Vec::new();
    loop {
        let row = cells.row(findings);
        let Some((first, last)) = row.first().zip(row.last()) else { break };
        let span = first.span.start..last.span.end;
        if !within_bounds(rows.len() + 1, 0, &span, findings) {
            break;
        }
        if row.len() != columns.len() {
            let (given, wanted) = (row.len(), columns.len());
            findings.push(
                Diagnostic::error(
                    Code::TABLE,
                    format!("the row has {given} cells, the header names {wanted} columns"),
                )
                .at(span, "this row")
                .help("a cell with a comma in it stands in double quotes"),
            );
            continue;
        }
        let members: Object = columns
            .iter()
            .zip(row)
            .filter_map(|(column, cell)| Some((column.clone(), cell.value()?)))
            .collect();
        rows.push(RawRow { span, members });
    }
    Some(Raw { columns: Columns::Declared(columns), rows })
}

fn columns(header: Vec<Cell>, findings: &mut Findings<'_>) -> Option<Vec<CompactString>> {
    let all = header.first().map_or(0, |cell| cell.span.start)
        ..header.last().map_or(0, |cell| cell.span.end);
    if !within_bounds(0, header.len(), &all, findings) {
        return None;
    }
    let mut columns: Vec<CompactString> = Vec::with_capacity(header.len());
    for cell in header {
        let problem = if cell.text.is_empty() {
            "a column has no name"
        } else if columns.iter().any(|known| *known == cell.text) {
            "two columns have one name"
        } else {
            columns.push(CompactString::from(cell.text));
            continue;
        };
        findings.push(
            Diagnostic::error(Code::TABLE, problem)
                .at(cell.span, "")
                .help("the first line of a CSV file names each column"),
        );
        return None;
    }
    Some(columns)
}

impl Cell {
    /// Its value; `None` for an empty cell.
    fn value(self) -> Option<Value> {
        match (self.is_quoted, self.text.is_empty()) {
            (true, _) => Some(Value::String(CompactString::from(self.text))),
            (false, true) => None,
            (false, false) => Some(literal(&self.text)),
        }
    }
}

/// The cells of a text, row by row.
struct Cells<'t> {
    text: &'t str,
    position: usize,
    reader: Reader,
    /// Where csv-core writes a cell without its quotes.
    buffer: Vec<u8>,
}

impl<'t> Cells<'t> {
    fn new(text: &'t str) -> Self {
        let position = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Cells { text, position, reader: Reader::new(), buffer: vec![0; 256] }
    }

    /// The next row; empty at the end.
    fn row(&mut self, findings: &mut Findings<'_>) -> Vec<Cell> {
        let blanks = |c: char| matches!(c, '\r' | '\n');
        let rest = self.text.get(self.position..).unwrap_or_default();
        self.position += rest.len() - rest.trim_start_matches(blanks).len();
        let mut row = Vec::new();
        loop {
            let start = self.position;
            let Some((length, is_last)) = self.field() else { return row };
            let raw = self.text.get(start..self.position).unwrap_or_default();
            let raw = match is_last {
                true => raw.trim_end_matches(blanks),
                false => raw.strip_suffix(',').unwrap_or(raw),
            };
            let is_quoted = raw.starts_with('"');
            let span = start..start + raw.len();
            if is_quoted && (raw.len() < 2 || !raw.ends_with('"')) {
                findings.push(
                    Diagnostic::error(Code::TABLE, "the quote does not close where the cell ends")
                        .at(first_line(span.clone(), raw), "this cell")
                        .help("close it with `\"`; inside a quoted cell write it twice"),
                );
            }
            let text = self.buffer.get(..length).unwrap_or_default();
            row.push(Cell { text: String::from_utf8_lossy(text).into_owned(), span, is_quoted });
            if is_last {
                return row;
            }
        }
    }

    /// Reads a cell into the buffer: its length there, and whether it ends its row. `None` at the end.
    fn field(&mut self) -> Option<(usize, bool)> {
        let mut written = 0;
        loop {
            let input = self.text.as_bytes().get(self.position..).unwrap_or_default();
            let output = self.buffer.get_mut(written..).unwrap_or_default();
            let (result, read, wrote) = self.reader.read_field(input, output);
            self.position += read;
            written += wrote;
            match result {
                ReadFieldResult::Field { record_end } => return Some((written, record_end)),
                ReadFieldResult::OutputFull => self.buffer.resize(self.buffer.len() * 2, 0),
                // Called again with nothing, csv-core ends the last cell.
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::End => return None,
            }
        }
    }
}

/// A quote that is not closed may run to the end of the file; its first line shows the place.
fn first_line(span: Span, raw: &str) -> Span {
    let line = raw.find('\n').unwrap_or(raw.len());
    span.start..span.start + line
}
