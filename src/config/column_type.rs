//! A column of a table, as Hive and AWS Glue write it: `id bigint`, `at struct<room:string,level:int>`.

use std::fmt;

use crate::limits::COLUMN_NESTING_MAX;
use crate::limits::FIELD_PATH_BYTES_MAX;

/// What a column has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `boolean`
    Boolean,
    /// `int`: 32 bits.
    Int,
    /// `bigint`: 64 bits.
    Bigint,
    /// `float`: 32 bits.
    Float,
    /// `double`: 64 bits.
    Double,
    /// `string`
    Text,
    /// `timestamp`: an instant, to the microsecond.
    Timestamp,
    /// `date`
    Date,
    /// `array<TYPE>`
    Array(Box<ColumnType>),
    /// `struct<NAME:TYPE,…>`, one member at least.
    Struct(Vec<Column>),
}

/// A name and what stands under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As records have it, letter by letter.
    pub name: String,
    /// What it has.
    pub kind: ColumnType,
}

const PLAIN: [(&str, ColumnType); 8] = [
    ("boolean", ColumnType::Boolean),
    ("int", ColumnType::Int),
    ("bigint", ColumnType::Bigint),
    ("float", ColumnType::Float),
    ("double", ColumnType::Double),
    ("string", ColumnType::Text),
    ("timestamp", ColumnType::Timestamp),
    ("date", ColumnType::Date),
];

impl Column {
    /// Reads `NAME TYPE`; a name with other signs than letters, digits, `_` and `-` stands in quotation marks.
    ///
    /// # Errors
    /// What is wrong with the text, in a sentence.
    pub fn parse(text: &str) -> Result<Column, String> {
        let (name, rest) = read_name(text.trim_start())?;
        let (kind, rest) = read_type(rest, COLUMN_NESTING_MAX)?;
        match rest.trim().is_empty() {
            true => Ok(Column { name, kind }),
            false => Err(format!("{:?} follows the type of the column {name}", rest.trim())),
        }
    }
}

impl ColumnType {
    /// Columns that it becomes in a file: itself, or what its members become.
    pub fn leaves(&self) -> usize {
        match self {
            ColumnType::Array(element) => element.leaves(),
            ColumnType::Struct(members) => members.iter().map(|member| member.kind.leaves()).sum(),
            _ => 1,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Name(&self.name), self.kind)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Array(element) => write!(f, "array<{element}>"),
            ColumnType::Struct(members) => {
                f.write_str("struct<")?;
                for (place, member) in members.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{}", Name(&member.name), member.kind)?;
                }
                f.write_str(">")
            }
            plain => {
                let found = PLAIN.iter().find(|(_, kind)| kind == plain);
                f.write_str(found.map_or("", |(name, _)| name))
            }
        }
    }
}

/// A name as it is written.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            return f.write_str(self.0);
        }
        // A quotation mark is written twice, as in SQL.
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The name that `text` begins with, and what follows.
fn read_name(text: &str) -> Result<(String, &str), String> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => read_quoted(quoted)?,
        None => {
            let (name, rest) = text.split_at(text.find(|c| !is_plain(c)).unwrap_or(text.len()));
            (name.to_owned(), rest)
        }
    };
    match name.len() {
        0 => Err(format!("a name is missing before {rest:?}")),
        1..=FIELD_PATH_BYTES_MAX => Ok((name, rest)),
        _ => Err(format!("a name has at most {FIELD_PATH_BYTES_MAX} bytes")),
    }
}

fn read_quoted(text: &str) -> Result<(String, &str), String> {
    let (mut name, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once('"').ok_or("a quotation mark is not closed")?;
        name.push_str(part);
        let Some(again) = after.strip_prefix('"') else { return Ok((name, after)) };
        name.push('"');
        rest = again;
    }
}

/// The type that `text` begins with, and what follows.
fn read_type(text: &str, depth: usize) -> Result<(ColumnType, &str), String> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| format!("a type is nested at most {COLUMN_NESTING_MAX} deep"))?;
    let text = text.trim_start();
    let (word, rest) =
        text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len()));
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "array" => {
            let inside = open(rest, "array")?;
            let (element, rest) = read_type(inside, depth)?;
            Ok((ColumnType::Array(Box::new(element)), close(rest)?))
        }
        "struct" => {
            let (members, rest) = read_members(open(rest, "struct")?, depth)?;
            Ok((ColumnType::Struct(members), rest))
        }
        _ => match PLAIN.iter().find(|(name, _)| *name == word) {
            Some((_, kind)) => Ok((kind.clone(), rest)),
            None => Err(format!("{word:?} is not a type")),
        },
    }
}

fn read_members(mut text: &str, depth: usize) -> Result<(Vec<Column>, &str), String> {
    let mut members: Vec<Column> = Vec::new();
    loop {
        let (name, rest) = read_name(text.trim_start())?;
        let rest = rest.trim_start().strip_prefix(':');
        let rest = rest.ok_or_else(|| format!("a colon is missing behind {name:?}"))?;
        let (kind, rest) = read_type(rest, depth)?;
        if members.iter().any(|member| member.name == name) {
            return Err(format!("there are two members {name:?}"));
        }
        members.push(Column { name, kind });
        match rest.trim_start().strip_prefix(',') {
            Some(next) => text = next,
            None => return Ok((members, close(rest)?)),
        }
    }
}

fn open<'t>(text: &'t str, word: &str) -> Result<&'t str, String> {
    text.trim_start().strip_prefix('<').ok_or_else(|| format!("< is missing behind {word:?}"))
}

fn close(text: &str) -> Result<&str, String> {
    text.trim_start().strip_prefix('>').ok_or_else(|| format!("> is missing before {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_and_written() {
        for text in [
            "id bigint",
            "at struct<room:string,level:int>",
            "rows array<struct<t:double,\"odd, \"\"name\":array<timestamp>>>",
            "\"über\" date",
        ] {
            assert_eq!(Column::parse(text).unwrap().to_string(), text);
        }
        let spaced = Column::parse(" a  Struct < b : INT , c : boolean > ").unwrap();
        assert_eq!(spaced.to_string(), "a struct<b:int,c:boolean>");
        assert_eq!(spaced.kind.leaves(), 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let deep = format!("a {}int{}", "array<".repeat(40), ">".repeat(40));
        for (text, said) in [
            ("", "a name is missing"),
            ("a", "\"\" is not a type"),
            ("a varchar", "\"varchar\" is not a type"),
            ("a int b", "follows the type"),
            ("a array int", "< is missing"),
            ("a array<int", "> is missing"),
            ("a struct<>", "a name is missing"),
            ("a struct<b int>", "a colon is missing"),
            ("a struct<b:int,b:int>", "two members"),
            ("\"a int", "not closed"),
            (&deep, "deep"),
        ] {
            let error = Column::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
