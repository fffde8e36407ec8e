//! Tables as JSON: an array of objects, an object of objects by key, or an object a line (NDJSON).

use std::collections::BTreeSet;
use std::sync::Arc;

use compact_str::CompactString;
use jiter::JiterError;
use jiter::Peek;

use super::Columns;
use super::Findings;
use super::Raw;
use super::RawRow;
use super::literal;
use super::within_bounds;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::PAYLOAD_DEPTH_MAX;
use crate::rule::ast::Span;
use crate::rule::set::utf8;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader::DecodeError;
use crate::value::json_reader::Reader;

/// Rows as they come.
#[derive(Default)]
struct Rows {
    seen: BTreeSet<CompactString>,
    rows: Vec<RawRow>,
}

impl Rows {
    /// Takes a row; whether reading goes on.
    fn take(&mut self, row: Value, span: Span, findings: &mut Findings<'_>) -> bool {
        let Value::Object(members) = row else {
            findings.push(
                Diagnostic::error(Code::TABLE, "the row is no object")
                    .at(span, "this row")
                    .help("a row is an object whose members are its columns"),
            );
            return true;
        };
        for (name, _) in members.iter() {
            if !self.seen.contains(name) {
                self.seen.insert(name.clone());
            }
        }
        if !within_bounds(self.rows.len() + 1, self.seen.len(), &span, findings) {
            return false;
        }
        self.rows.push(RawRow { span, members: Arc::unwrap_or_clone(members) });
        true
    }

    fn finish(self) -> Raw {
        Raw { columns: Columns::Seen(self.seen.into_iter().collect()), rows: self.rows }
    }
}

/// Reads an array of rows, or an object of rows by key; `None` when there is no table.
pub(super) fn read(
    bytes: &[u8],
    key: &[CompactString],
    findings: &mut Findings<'_>,
) -> Option<Raw> {
    let text = text(bytes, findings)?;
    let mut rows = Rows::default();
    let begin = text.len() - text.trim_start().len();
    let first = character(text, begin);
    let mut reader = Reader::new(text.as_bytes());
    let walked = match reader.json.peek() {
        Ok(Peek::Array) => array(&mut reader, &mut rows, findings),
        Ok(Peek::Object) => match key {
            [column] => object(&mut reader, column, &mut rows, findings),
            _ => {
                findings.push(
                    Diagnostic::error(
                        Code::TABLE,
                        "an object of rows by key has a key of one column",
                    )
                    .at(first, "")
                    .help("write an array of rows for a key of several columns"),
                );
                return None;
            }
        },
        Ok(_) => {
            findings.push(
                Diagnostic::error(Code::TABLE, "the file holds no rows")
                    .at(first, "")
                    .help("write an array of objects, or an object whose members are the rows"),
            );
            return None;
        }
        Err(error) => Err(error),
    };
    let finished = walked.and_then(|goes_on| if goes_on { reader.json.finish() } else { Ok(()) });
    if let Err(error) = finished {
        findings.push(unreadable(&reader, &error, text, 0));
        return None;
    }
    Some(rows.finish())
}

/// Reads an object a line.
pub(super) fn read_lines(bytes: &[u8], findings: &mut Findings<'_>) -> Option<Raw> {
    let text = text(bytes, findings)?;
    let mut rows = Rows::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let begin = start + (line.len() - line.trim_start().len());
        start += line.len();
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let mut reader = Reader::new(line.as_bytes());
        let row = reader.json.peek().and_then(|peek| reader.value(peek, Whole::AsInt, 0));
        match row.and_then(|row| reader.json.finish().map(|()| row)) {
            Ok(row) => {
                if !rows.take(row, begin..begin + line.len(), findings) {
                    break;
                }
            }
            Err(error) => findings.push(unreadable(&reader, &error, line, begin)),
        }
    }
    Some(rows.finish())
}

fn text<'b>(bytes: &'b [u8], findings: &mut Findings<'_>) -> Option<&'b str> {
    utf8(bytes).map_err(|diagnostic| findings.push(diagnostic)).ok()
}

fn array(
    reader: &mut Reader<'_>,
    rows: &mut Rows,
    findings: &mut Findings<'_>,
) -> Result<bool, JiterError> {
    let mut next = reader.json.known_array()?;
    while let Some(peek) = next {
        let start = reader.json.current_index();
        let row = reader.value(peek, Whole::AsInt, 1)?;
        if !rows.take(row, start..reader.json.current_index(), findings) {
            return Ok(false);
        }
        next = reader.json.array_step()?;
    }
    Ok(true)
}

fn object(
    reader: &mut Reader<'_>,
    column: &CompactString,
    rows: &mut Rows,
    findings: &mut Findings<'_>,
) -> Result<bool, JiterError> {
    let mut next = reader.json.known_object()?.map(str::to_owned);
    while let Some(name) = next {
        let peek = reader.json.peek()?;
        let start = reader.json.current_index();
        let mut row = reader.value(peek, Whole::AsInt, 1)?;
        if let Value::Object(members) = &mut row
            && !members.iter().any(|(known, _)| known == column)
        {
            Arc::make_mut(members).insert(0, (column.clone(), literal(&name)));
        }
        if !rows.take(row, start..reader.json.current_index(), findings) {
            return Ok(false);
        }
        next = reader.json.next_key()?.map(str::to_owned);
    }
    Ok(true)
}

/// What `error` says about the text that begins at byte `begin` of the file.
fn unreadable(reader: &Reader<'_>, error: &JiterError, text: &str, begin: usize) -> Diagnostic {
    let place = character(text, error.index);
    let problem = match reader.explain(error) {
        DecodeError::NotJson(_) => error.error_type.to_string(),
        DecodeError::TooDeep => format!("more than {PAYLOAD_DEPTH_MAX} levels inside one another"),
    };
    Diagnostic::error(Code::TABLE, format!("this is not JSON: {problem}"))
        .at(begin + place.start..begin + place.end, "")
        .help("a table is an array of objects, an object of objects, or (.ndjson) an object a line")
}

/// The character at byte `at` of `text`; nothing at its end.
fn character(text: &str, at: usize) -> Span {
    let at = text.floor_char_boundary(at);
    let length = text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    at..at + length
}
