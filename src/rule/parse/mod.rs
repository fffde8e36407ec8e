//! Text → syntax tree. The only module that knows pest.
//!
//! [`parse_file`] takes the text of a rule file, [`parse_select`] a bare SELECT as `eval` gets it.
//! `scan` has bounded nesting before the parser sees a text; `error` turns what pest expected into
//! words, to which `advice` adds what was meant; `statement`, `expression` and `template` turn pest's pairs into [`super::ast`]; `embedded`
//! takes what stands in the strings of another document. What the
//! grammar admits and the language does not (a number out of range, a clause given twice) is noted
//! in [`Builder::found`], and building goes on, so that one report tells all.

mod advice;
mod duration;
pub(super) mod embedded;
mod error;
mod expression;
mod format;
mod headers;
mod name;
mod quoted;
mod recover;
mod source;
mod statement;
mod template;
#[cfg(test)]
pub(super) mod tests;
mod when;
mod window;

use pest::Parser;
use pest::iterators::Pair;

use super::ast::CreateRule;
use super::ast::CreateTable;
use super::ast::Select;
use super::ast::Span;
use super::scan;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::STATEMENT_BYTES_MAX;
use quoted::Offsets;

/// pest's parser; the derive adds the enum `Rule`, one variant a production.
#[derive(pest_derive::Parser)]
#[grammar = "../grammar/rule.pest"]
struct Grammar;

/// What a rule file holds.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The rules without an error of their own, in order.
    pub rules: Vec<CreateRule>,
    /// The tables, in order: one whose name was refused is still one that rules may join.
    pub tables: Vec<CreateTable>,
    /// Statements whose errors were told and left gaps in the tree. Good for nothing but to look for
    /// further errors.
    pub unsound: Vec<CreateRule>,
    /// Everything wrong, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a rule file. An error in one statement hides nothing of the others.
pub fn parse_file(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for statement in scan::statements(text, &mut parsed.diagnostics) {
        let source = text.get(statement.span.clone()).unwrap_or_default();
        if let Err(unknown) = statement::recognise(source, statement.span.start) {
            parsed.diagnostics.push(unknown);
        } else if source.len() > STATEMENT_BYTES_MAX {
            parsed.diagnostics.push(too_long(source.len(), statement.span));
        } else if !statement.broken {
            let found = &mut parsed.diagnostics;
            let mut builder = Builder::new(Offsets::starting_at(statement.span.start), found);
            if let Some(pair) = builder.parse(Rule::whole_statement, source) {
                if pair.as_rule() == Rule::create_table {
                    let table = builder.create_table(pair);
                    parsed.tables.push(table);
                } else {
                    let rule = builder.create_rule(pair);
                    let is_sound = builder.is_sound();
                    if is_sound { &mut parsed.rules } else { &mut parsed.unsound }.push(rule);
                }
            }
        }
    }
    parsed.diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|l| l.span.start));
    parsed
}

/// Parses a bare SELECT. A `;` at its end is allowed.
pub fn parse_select(text: &str) -> Result<Select, Vec<Diagnostic>> {
    let mut found = Vec::new();
    embedded::select(text, Offsets::starting_at(0), &mut found).ok_or(found)
}

fn too_long(length: usize, span: Span) -> Diagnostic {
    Diagnostic::error(
        Code::SIZE,
        format!("the statement has {length} bytes, {STATEMENT_BYTES_MAX} are allowed"),
    )
    .at(span.start..span.start, "begins here")
    .help("split the rule")
}

/// Builds the tree of one statement.
struct Builder<'d> {
    /// From places in the parsed text to places in the file.
    offsets: Offsets,
    /// Whether `hold.since` and its like mean the hold: the rule has WHEN.
    holds: bool,
    /// Whether `window.start` and `window.end` mean the window: the rule has GROUP BY.
    windows: bool,
    /// How many findings there were before this statement.
    own_from: usize,
    /// Everything wrong so far, of earlier statements too.
    found: &'d mut Vec<Diagnostic>,
}

impl<'d> Builder<'d> {
    fn new(offsets: Offsets, found: &'d mut Vec<Diagnostic>) -> Self {
        Builder { offsets, holds: false, windows: false, own_from: found.len(), found }
    }

    /// Looks over `text`, which these offsets are about; whether it may go to the parser.
    fn scan(&mut self, text: &str) -> bool {
        let mut wrong = Vec::new();
        let is_sound = scan::is_sound(text, &mut wrong);
        for label in wrong.iter_mut().flat_map(|diagnostic| &mut diagnostic.labels) {
            label.span = self.offsets.span(label.span.clone());
        }
        self.found.append(&mut wrong);
        is_sound
    }

    /// Runs pest. The text has passed `scan`, which bounds pest's recursion.
    fn parse<'t>(&mut self, rule: Rule, text: &'t str) -> Option<Pair<'t, Rule>> {
        match Grammar::parse(rule, text) {
            // The entry productions are silent: the first pair is the statement itself.
            Ok(mut pairs) => pairs.next(),
            Err(refused) => {
                let at = error::position(&refused);
                let expected = error::expected(&refused);
                self.found.push(error::diagnostic(text, at, expected, &self.offsets));
                if matches!(rule, Rule::whole_statement | Rule::whole_select) {
                    let mut further = Vec::new();
                    recover::further(text, &self.offsets, at, &mut further);
                    self.found.append(&mut further);
                }
                None
            }
        }
    }

    /// Whether nothing was wrong with this statement so far.
    fn is_sound(&self) -> bool {
        self.found.len() == self.own_from
    }

    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let start = pair.as_span().start();
        // pest counts the blanks before an optional part in, even when that part is not there.
        self.offsets.span(start..start + pair.as_str().trim_end().len())
    }
}

/// The children that are no keywords or signs: those say nothing that their parent does not say.
fn children(pair: Pair<'_, Rule>) -> impl Iterator<Item = Pair<'_, Rule>> {
    pair.into_inner().filter(|inner| {
        let rule = inner.as_rule();
        // These three are words and values.
        error::keyword(rule).is_none()
            || matches!(rule, Rule::k_null | Rule::k_true | Rule::k_false)
    })
}

/// The child that the grammar promises.
fn only(pair: Pair<'_, Rule>) -> Pair<'_, Rule> {
    children(pair).next().expect("the grammar gives this production a child")
}
