//! The errors of a statement behind its first one.
//!
//! pest stops at the first error. The statement is then cut at the words that can only begin a
//! clause or an action, and each piece behind the first error is parsed by itself. A
//! piece is cut out by two words wherever one alone could be a field (`CLEAR WHEN`, `ON ERROR`), so a
//! field that is called like a clause makes no nonsense. In: text that `scan` found whole. Out:
//! diagnostics, at most [`SYNTAX_ERRORS_MAX`] with the first.

use std::ops::Range;

use pest::Parser;

use super::Grammar;
use super::Rule;
use super::error;
use super::quoted::Offsets;
use crate::diagnostic::Diagnostic;
use crate::limits::SYNTAX_ERRORS_MAX;

/// What a piece of a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// CREATE RULE … AS, or a word such as DO that needs no parsing of its own.
    Passed,
    /// Parsed by this production.
    Of(Rule),
}

/// Adds the errors of the pieces behind the first one, which is at `first`.
pub(super) fn further(text: &str, offsets: &Offsets, first: usize, found: &mut Vec<Diagnostic>) {
    let pieces = pieces(text);
    for (position, (start, piece)) in pieces.iter().enumerate() {
        let Piece::Of(rule) = *piece else { continue };
        if *start < first {
            continue;
        }
        let next = pieces.get(position + 1).map(|(next, _)| *next);
        let source = text.get(*start..next.unwrap_or(text.len())).unwrap_or_default().trim_end();
        let source = match rule {
            Rule::whole_action => source.strip_suffix(',').unwrap_or(source),
            _ => source,
        };
        let Err(refused) = Grammar::parse(rule, source) else { continue };
        // At the end of the piece the next one stands.
        let in_piece = error::position(&refused);
        let at = start + in_piece;
        let blank = text.get(at..).map_or(0, |rest| rest.len() - rest.trim_start().len());
        let at = if in_piece == source.len() { at + blank } else { at };
        if at == first {
            continue;
        }
        if found.len() + 1 >= SYNTAX_ERRORS_MAX {
            return;
        }
        // The end of a piece is not the end of the statement.
        let expected = error::expected(&refused).iter().copied();
        let expected: Vec<Rule> =
            expected.filter(|rule| next.is_none() || *rule != Rule::EOI).collect();
        found.push(error::diagnostic(text, at, &expected, offsets));
    }
}

/// Where each piece begins, in order.
fn pieces(text: &str) -> Vec<(usize, Piece)> {
    let mut pieces = vec![(0, Piece::Passed)];
    let mut depth = 0_usize;
    let mut in_actions = false;
    let mut is_name = false;
    let mut words = Words { text, position: 0 };
    while let Some(word) = words.next() {
        let sign = text.get(word.clone()).unwrap_or_default();
        let upper = sign.to_ascii_uppercase();
        // Behind a point or AS every word is a name.
        let names = std::mem::replace(&mut is_name, matches!(upper.as_str(), "." | "AS"));
        match upper.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "CASE" if !names => depth += 1,
            "END" if !names => depth = depth.saturating_sub(1),
            "," if depth == 0 && in_actions => {
                pieces.push((word.end, Piece::Of(Rule::whole_action)));
            }
            _ if depth == 0 && (!names || matches!(upper.as_str(), "SELECT" | "SET")) => {
                let next = words.peek().to_ascii_uppercase();
                match clause(&upper, &next) {
                    Some(Piece::Of(Rule::whole_action)) => {
                        in_actions = true;
                        pieces.push((word.start, Piece::Passed));
                        pieces.push((word.end, Piece::Of(Rule::whole_action)));
                    }
                    Some(piece) => {
                        in_actions = false;
                        pieces.push((word.start, piece));
                        // The second word of two belongs to the first: CLEAR WHEN is no WHEN.
                        if matches!(piece, Piece::Of(Rule::whole_when_option) | Piece::Passed) {
                            words.next();
                        }
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }
    pieces
}

/// The clause that `word` begins before `next`.
fn clause(word: &str, next: &str) -> Option<Piece> {
    const ACTIONS: [&str; 7] =
        ["STREAM", "DELIVER", "INVOKE", "REPUBLISH", "LOG", "UPSERT", "QUEUE"];
    let is_number = next.starts_with(|c: char| c.is_ascii_digit());
    Some(match (word, next) {
        ("SET", "@") => Piece::Of(Rule::whole_set),
        ("SELECT", _) => Piece::Of(Rule::whole_projection),
        ("FROM", _) => Piece::Of(Rule::whole_sources),
        ("WHERE", _) => Piece::Of(Rule::whole_where),
        ("WHEN", _) => Piece::Of(Rule::whole_when),
        ("GROUP", "BY") => Piece::Of(Rule::whole_group),
        ("AT", "LEAST")
        | ("FOR", "EACH")
        | ("PARTITION", "BY")
        | ("CLEAR", "WHEN" | "FOR")
        | ("MAX", "GAP")
        | ("REPEAT", "EVERY")
        | ("ON", "RESTART") => Piece::Of(Rule::whole_when_option),
        ("KEEP", _) if is_number => Piece::Of(Rule::whole_when_option),
        ("DO", _) if ACTIONS.contains(&next) => Piece::Of(Rule::whole_action),
        ("ON", "CLEARED" | "ERROR") => Piece::Passed,
        _ => return None,
    })
}

/// Words and single signs, without blanks, comments and what stands in quotes.
struct Words<'t> {
    text: &'t str,
    position: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let rest = self.text.get(self.position..)?;
            let first = rest.chars().next()?;
            let skipped = match first {
                _ if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                _ if rest.starts_with("/*") => {
                    rest.get(2..)?.find("*/").map_or(rest.len(), |end| end + 4)
                }
                '\'' | '"' | '`' => rest.get(1..)?.find(first).map_or(rest.len(), |end| end + 2),
                blank if blank.is_whitespace() => blank.len_utf8(),
                _ => break,
            };
            self.position += skipped;
        }
        let rest = self.text.get(self.position..)?;
        let is_in = |c: char| c.is_alphanumeric() || c == '_';
        let length = match rest.chars().next()? {
            first if is_in(first) => rest.find(|c| !is_in(c)).unwrap_or(rest.len()),
            sign => sign.len_utf8(),
        };
        let start = self.position;
        self.position += length;
        Some(start..self.position)
    }

    /// The next word, which stays there; empty at the end.
    fn peek(&self) -> &str {
        let mut ahead = Words { text: self.text, position: self.position };
        ahead.next().and_then(|word| self.text.get(word)).unwrap_or_default()
    }
}
