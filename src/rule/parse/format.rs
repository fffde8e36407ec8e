//! Payload formats: `AS …` behind FROM.

use pest::iterators::Pair;
use regex::RegexBuilder;

use super::super::ast::CsvColumn;
use super::super::ast::CsvFormat;
use super::super::ast::Format;
use super::super::ast::Span;
use super::super::ast::Spanned;
use super::super::ast::TextPattern;
use super::Builder;
use super::Rule;
use super::children;
use super::only;
use super::quoted::name;
use super::quoted::unquote;
use super::statement::once;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::CSV_COLUMNS_MAX;
use crate::limits::REGEX_BYTES_MAX;

impl Builder<'_> {
    /// `AS CBOR` and its like; `None` after an error.
    pub(super) fn format_clause(&mut self, pair: Pair<'_, Rule>) -> Option<Spanned<Format>> {
        let span = self.span(&pair);
        let format = only(pair);
        let node = match format.as_rule() {
            Rule::json => Format::Json,
            Rule::csv => Format::Csv(self.csv(format)),
            Rule::text => Format::Text(self.pattern(&only(format))?),
            Rule::cbor => Format::Cbor,
            Rule::msgpack => Format::MsgPack,
            Rule::sparkplug => Format::Sparkplug,
            Rule::protobuf => {
                let mut texts = children(format).map(|text| {
                    let span = self.span(&text);
                    Spanned { node: unquote(text.as_str()).0, span }
                });
                let file = texts.next().expect("PROTOBUF has a file");
                Format::Protobuf { file, message: texts.next().expect("PROTOBUF has a type") }
            }
            _ => Format::Bytes,
        };
        Some(Spanned { node, span })
    }

    fn csv(&mut self, pair: Pair<'_, Rule>) -> CsvFormat {
        let span = self.span(&pair);
        let (mut columns, mut delimiter, mut header, mut rows) = (Vec::new(), None, None, None);
        for part in children(pair) {
            let place = self.span(&part);
            match part.as_rule() {
                Rule::columns => columns = self.columns(part),
                Rule::delimiter => {
                    let sign = self.delimiter(&only(part));
                    once(&mut delimiter, sign, "DELIMITER", place, self.found);
                }
                Rule::csv_header => once(&mut header, (), "HEADER", place, self.found),
                _ => once(&mut rows, (), "ROWS", place, self.found),
            }
        }
        if columns.is_empty() && header.is_none() {
            self.found.push(
                Diagnostic::error(Code::FORMAT, "nothing names the columns of this CSV")
                    .at(span, "")
                    .help("list them, as in AS CSV (id, celsius), or say HEADER when payloads do"),
            );
        }
        CsvFormat {
            columns,
            delimiter: delimiter.unwrap_or(b','),
            header: header.is_some(),
            rows: rows.is_some(),
        }
    }

    fn columns(&mut self, pair: Pair<'_, Rule>) -> Vec<CsvColumn> {
        let span = self.span(&pair);
        let mut columns: Vec<CsvColumn> = Vec::new();
        for column in children(pair) {
            let place = self.span(&column);
            let column = self.column(column);
            if columns.iter().any(|known| known.name == column.name) {
                self.found.push(
                    Diagnostic::error(Code::FORMAT, format!("two columns {}", column.name))
                        .at(place, "the second")
                        .help("each column becomes a field; give it a name of its own"),
                );
            }
            columns.push(column);
        }
        if columns.len() > CSV_COLUMNS_MAX {
            let message = format!("{} columns, {CSV_COLUMNS_MAX} are allowed", columns.len());
            self.found.push(
                Diagnostic::error(Code::FORMAT, message)
                    .at(span, "")
                    .help("list the first ones only; further fields are passed over"),
            );
        }
        columns
    }

    fn column(&mut self, pair: Pair<'_, Rule>) -> CsvColumn {
        let mut parts = children(pair);
        let column = parts.next().expect("the grammar gives a column a name");
        let kind = parts.next().map(|kind| self.cast_type(&kind));
        CsvColumn { name: name(column.as_str()), kind }
    }

    fn delimiter(&mut self, pair: &Pair<'_, Rule>) -> u8 {
        let text = unquote(pair.as_str()).0;
        match text.as_bytes() {
            b"\\t" => b'\t',
            [sign] if sign.is_ascii() && !matches!(sign, b'"' | b'\n' | b'\r') => *sign,
            _ => {
                self.found.push(
                    Diagnostic::error(Code::FORMAT, "this cannot stand between two fields of CSV")
                        .at(self.span(pair), "")
                        .help(
                            "a delimiter is one ASCII character, and no quote; '\\t' is a tabulator",
                        ),
                );
                b','
            }
        }
    }

    /// The expression behind MATCHING.
    fn pattern(&mut self, pair: &Pair<'_, Rule>) -> Option<TextPattern> {
        let span = self.span(pair);
        let text = unquote(pair.as_str()).0;
        match RegexBuilder::new(&text).size_limit(REGEX_BYTES_MAX).build() {
            Ok(regex) => {
                let pattern = TextPattern::new(regex);
                if pattern.is_none() {
                    self.found.push(no_names(span));
                }
                pattern
            }
            Err(error) => {
                self.found.push(not_regex(&error, span));
                None
            }
        }
    }
}

fn no_names(span: Span) -> Diagnostic {
    Diagnostic::error(Code::FORMAT, "the expression names no field")
        .at(span, "no group has a name")
        .help("name what you need, as in '(?<level>\\w+) (?<rest>.*)'")
}

fn not_regex(error: &regex::Error, span: Span) -> Diagnostic {
    // The crate draws the pattern with marks; the last line has the reason in one sentence.
    let reason = error.to_string();
    let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
    Diagnostic::error(Code::REGEX, "the expression behind MATCHING is no regular expression")
        .at(span, reason.to_owned())
        .help("look-around and back-references are not supported; text matches in linear time")
}
