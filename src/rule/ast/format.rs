//! Payload formats: what stands behind `AS` in FROM.

use regex::Regex;

use super::CastTarget;
use super::Spanned;

/// How payloads are encoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// `JSON`, the default.
    Json,
    /// `CSV (a, b) …`
    Csv(CsvFormat),
    /// `TEXT MATCHING '…'`
    Text(TextPattern),
    /// `CBOR`
    Cbor,
    /// `MSGPACK`
    MsgPack,
    /// `SPARKPLUG`: Sparkplug B.
    Sparkplug,
    /// `PROTOBUF 'file.desc' MESSAGE 'pkg.Name'`
    Protobuf {
        /// The descriptor set, from the rule file's folder.
        file: Spanned<String>,
        /// The type, with its package.
        message: Spanned<String>,
    },
    /// `BYTES`: not decoded.
    Bytes,
}

/// `CSV (a, b String) DELIMITER ';' HEADER ROWS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvFormat {
    /// The columns in order; empty when the header of each payload names them.
    pub columns: Vec<CsvColumn>,
    /// What stands between two fields; ASCII.
    pub delimiter: u8,
    /// `HEADER`: the first record is no data.
    pub header: bool,
    /// `ROWS`: any number of records, under `rows`.
    pub rows: bool,
}

/// A column of CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvColumn {
    /// The field it becomes.
    pub name: String,
    /// Its type; without one a number, a Boolean or text by what it looks like.
    pub kind: Option<CastTarget>,
}

/// A regular expression with at least one named group. Equal when the texts are.
#[derive(Clone, Debug)]
pub struct TextPattern(Regex);

impl TextPattern {
    /// `None` when no group has a name.
    pub fn new(regex: Regex) -> Option<TextPattern> {
        let is_named = regex.capture_names().flatten().next().is_some();
        is_named.then_some(TextPattern(regex))
    }

    /// The expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }

    /// The names of its groups, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.capture_names().flatten()
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &TextPattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
