//! Reference tables: `CREATE TABLE motes FROM 'tables/motes.csv' KEY moteid;`
//!
//! In: the statement and the bytes of its file, which somebody else has read. Out: a [`Table`] whose
//! rows are found by key, immutable and shared by every rule that joins it, or diagnostics at the
//! row or cell that is wrong. [`csv`] and [`json`] read the two formats; [`Tables`] are those of a
//! set. All of a file is taken or none of it: a row without a key, or a key given twice, is an
//! error.
//!
//! A key is found by SQL's `=`: `7` and `7.0` are one key, `7` and `'7'` are two. Finding allocates
//! nothing.

mod csv;
mod json;
mod tables;

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashTable;

use super::ast::CreateTable;
use super::ast::Span;
use super::check::suggestion;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::FINDINGS_PER_FILE_MAX;
use crate::limits::TABLE_COLUMNS_MAX;
use crate::limits::TABLE_ROWS_MAX;
use crate::value::Number;
use crate::value::Object;
use crate::value::Value;

pub use tables::LATEST_KEY;
pub use tables::NamedFiles;
pub use tables::NoFiles;
pub(super) use tables::ReadTables;
pub use tables::RowSource;
pub use tables::Tables;
pub(super) use tables::read;

/// The rows of a reference table, by key.
#[derive(Debug)]
pub struct Table {
    name: Arc<str>,
    key: Vec<CompactString>,
    columns: Columns,
    /// The rows, each an object, in the order of the file.
    rows: Vec<Value>,
    /// The key of each row, one value a key column.
    keys: Vec<Value>,
    /// Numbers of rows by the hash of their key.
    index: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

/// What is known of a table's columns.
#[derive(Debug)]
enum Columns {
    /// All of them: the header of a CSV file.
    Declared(Vec<CompactString>),
    /// Those that some row has: JSON says no more.
    Seen(Vec<CompactString>),
}

/// Whether a table has a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HasColumn {
    /// It has.
    Yes,
    /// No row has it now; the file's format does not say whether one ever will.
    NotYet,
    /// It has not.
    No,
}

/// What a reader makes of a file.
struct Raw {
    columns: Columns,
    rows: Vec<RawRow>,
}

/// A row and where it stands.
struct RawRow {
    span: Span,
    members: Object,
}

/// What is wrong with a file, as long as somebody would read it.
struct Findings<'f>(&'f mut Vec<Diagnostic>);

impl Findings<'_> {
    fn push(&mut self, diagnostic: Diagnostic) {
        if self.0.len() <= FINDINGS_PER_FILE_MAX {
            self.0.push(diagnostic);
        }
    }
}

impl Table {
    /// Reads the table of `statement`. What is wrong with the file goes to `in_file`, what is wrong
    /// with the statement to `in_rules`; `None` when something is.
    pub(super) fn read(
        statement: &CreateTable,
        bytes: &[u8],
        in_file: &mut Vec<Diagnostic>,
        in_rules: &mut Vec<Diagnostic>,
    ) -> Option<Table> {
        let mut findings = Findings(in_file);
        let key: Vec<CompactString> =
            statement.key.iter().map(|column| CompactString::new(&column.node)).collect();
        let Some(format) = Format::of(&statement.file.node) else {
            in_rules.push(
                Diagnostic::error(Code::TABLE, "the file's name does not tell its format")
                    .at(statement.file.span.clone(), "")
                    .help("name it .csv, .json, .ndjson or .jsonl"),
            );
            return None;
        };
        let raw = match format {
            Format::Csv => csv::read(bytes, &mut findings)?,
            Format::Json => json::read(bytes, &key, &mut findings)?,
            Format::JsonLines => json::read_lines(bytes, &mut findings)?,
        };
        let (Columns::Declared(columns) | Columns::Seen(columns)) = &raw.columns;
        let is_empty = raw.rows.is_empty() && matches!(raw.columns, Columns::Seen(_));
        for column in &statement.key {
            if !is_empty && !columns.iter().any(|known| *known == column.node) {
                in_rules.push(no_key_column(&column.node, &column.span, columns));
            }
        }
        if !in_rules.is_empty() {
            return None;
        }
        let table = Table::index(&statement.name.node, key, raw, &mut findings);
        Some(table).filter(|_| findings.0.is_empty())
    }

    fn index(name: &str, key: Vec<CompactString>, raw: Raw, findings: &mut Findings<'_>) -> Table {
        let mut table = Table {
            name: Arc::from(name),
            columns: raw.columns,
            rows: Vec::with_capacity(raw.rows.len()),
            keys: Vec::with_capacity(raw.rows.len() * key.len()),
            index: HashTable::with_capacity(raw.rows.len()),
            hasher: foldhash::fast::RandomState::default(),
            key,
        };
        let mut spans: Vec<Span> = Vec::with_capacity(raw.rows.len());
        for RawRow { span, members } in raw.rows {
            let row = Value::object(members);
            match row_key(&row, &table.key) {
                Err(problem) => findings.push(
                    Diagnostic::error(Code::TABLE_KEY, problem)
                        .at(span, "this row")
                        .help("each row needs its own key: a text, a number, true or false"),
                ),
                Ok(values) => match table.insert(row, values) {
                    None => spans.push(span),
                    Some(first) => {
                        let first = spans.get(first).cloned().unwrap_or_default();
                        findings.push(twice(&table.key, span, first));
                    }
                },
            }
        }
        table
    }

    /// Adds a row; answers the row that has its key already instead.
    fn insert(&mut self, row: Value, key: Vec<Value>) -> Option<usize> {
        let known = self.position(key.iter());
        if known.is_some() {
            return known;
        }
        // Rows are bounded far below 2^32.
        let number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let hash = hash(&self.hasher, key.iter());
        self.rows.push(row);
        self.keys.extend(key);
        let (hasher, keys, width) = (&self.hasher, &self.keys, self.key.len());
        let of = |row: &u32| hash_of_row(hasher, keys, width, *row);
        self.index.insert_unique(hash, number, of);
        None
    }

    fn position<'v>(&self, key: impl Iterator<Item = &'v Value> + Clone) -> Option<usize> {
        let width = self.key.len();
        let is = |row: &u32| key_of(&self.keys, width, *row).iter().eq(key.clone());
        let row = self.index.find(hash(&self.hasher, key.clone()), is)?;
        usize::try_from(*row).ok()
    }

    /// The rows in the order of the file: the key, a value for each key column, and the whole row.
    pub fn rows(&self) -> impl Iterator<Item = (&[Value], &Value)> {
        self.keys.chunks(self.key.len().max(1)).zip(&self.rows)
    }

    /// The row whose key columns have these values, in the order of [`Table::key`].
    pub(crate) fn row(&self, key: &[Cow<'_, Value>]) -> Option<&Value> {
        self.rows.get(self.position(key.iter().map(|value| &**value))?)
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its key columns.
    pub fn key(&self) -> &[CompactString] {
        &self.key
    }

    /// The columns that are known of it.
    pub fn columns(&self) -> &[CompactString] {
        let (Columns::Declared(columns) | Columns::Seen(columns)) = &self.columns;
        columns
    }

    /// Whether it has a column of that name.
    pub(super) fn has_column(&self, name: &str) -> HasColumn {
        match &self.columns {
            _ if self.columns().iter().any(|column| column == name) => HasColumn::Yes,
            Columns::Declared(_) => HasColumn::No,
            Columns::Seen(_) => HasColumn::NotYet,
        }
    }
}

fn hash<'v>(hasher: &foldhash::fast::RandomState, key: impl Iterator<Item = &'v Value>) -> u64 {
    let mut state = hasher.build_hasher();
    key.for_each(|value| value.hash(&mut state));
    state.finish()
}

fn key_of(keys: &[Value], width: usize, row: u32) -> &[Value] {
    let start = usize::try_from(row).unwrap_or(usize::MAX).saturating_mul(width);
    keys.get(start..start.saturating_add(width)).unwrap_or_default()
}

fn hash_of_row(
    hasher: &foldhash::fast::RandomState,
    keys: &[Value],
    width: usize,
    row: u32,
) -> u64 {
    hash(hasher, key_of(keys, width, row).iter())
}

/// The values of a row's key columns, or what is wrong with one of them.
fn row_key(row: &Value, columns: &[CompactString]) -> Result<Vec<Value>, String> {
    let value = |column: &CompactString| match row.member(column) {
        None | Some(Value::Undefined) => Err(format!("the row has no {column}, which is its key")),
        Some(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => Ok(value.clone()),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => Err(format!(
            "the row's {column} is no text, number or Boolean, so it cannot be its key"
        )),
    };
    columns.iter().map(value).collect()
}

fn twice(key: &[CompactString], span: Span, first: Span) -> Diagnostic {
    let names: Vec<&str> = key.iter().map(CompactString::as_str).collect();
    Diagnostic::error(Code::TABLE_KEY, format!("two rows have the same {}", names.join(", ")))
        .at(span, "the second row of that key")
        .also(first, "the first")
        .help("take one of them out, or give KEY the columns that tell the rows apart")
}

fn no_key_column(column: &str, span: &Span, columns: &[CompactString]) -> Diagnostic {
    let shown = || {
        let shown: Vec<&str> = columns.iter().take(12).map(CompactString::as_str).collect();
        match shown.as_slice() {
            [only] if only.contains([';', '\t']) => {
                "columns are separated by commas; this file seems to use another sign".to_owned()
            }
            shown => format!("its columns are {}", shown.join(", ")),
        }
    };
    let help = suggestion(0, column, columns.iter().map(CompactString::as_str), shown);
    Diagnostic::error(Code::TABLE_KEY, format!("the file has no column {column}"))
        .at(span.clone(), "")
        .help(help)
}

/// How a file is written, by the end of its name.
#[derive(Clone, Copy)]
enum Format {
    Csv,
    Json,
    JsonLines,
}

impl Format {
    fn of(file: &str) -> Option<Format> {
        let extension = file.rsplit_once('.')?.1.to_ascii_lowercase();
        Some(match extension.as_str() {
            "csv" => Format::Csv,
            "json" => Format::Json,
            "ndjson" | "jsonl" => Format::JsonLines,
            _ => return None,
        })
    }
}

/// A cell or name that is a JSON number, true, false or null is such; anything else is text.
fn literal(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        _ => match json_number(text) {
            Some(number) => Value::Number(number.with_whole_int()),
            None => Value::string(text),
        },
    }
}

/// JSON's grammar is narrower than ours: `007` and `1.` are texts.
fn json_number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let has_leading_zero =
        digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if has_leading_zero { None } else { Number::parse(text) }
}

/// Notes a table with too many rows or columns, once; whether reading goes on.
fn within_bounds(rows: usize, columns: usize, at: &Span, findings: &mut Findings<'_>) -> bool {
    let (what, bound) = if rows > TABLE_ROWS_MAX {
        ("rows", TABLE_ROWS_MAX)
    } else if columns > TABLE_COLUMNS_MAX {
        ("columns", TABLE_COLUMNS_MAX)
    } else {
        return true;
    };
    findings.push(
        Diagnostic::error(Code::TABLE, format!("a table has at most {bound} {what}"))
            .at(at.clone(), "the first too many")
            .help("keep in it what rules join"),
    );
    false
}

#[cfg(test)]
mod tests;
