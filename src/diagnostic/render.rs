//! Diagnostics as people read them: the source line, the place marked, a help line.
//!
//! [`render`] draws one diagnostic over its source, [`Place`] tells lines and columns, and
//! [`Count`] ends a report with how many there were. Readable without colour.

use std::fmt;
use std::ops::Range;

use annotate_snippets::Annotation;
use annotate_snippets::AnnotationKind;
use annotate_snippets::Level;
use annotate_snippets::Origin;
use annotate_snippets::Renderer;
use annotate_snippets::Snippet;
use annotate_snippets::renderer::DecorStyle;

use super::Diagnostic;
use super::Label;
use super::Severity;
use super::excerpt::Excerpt;
use super::excerpt::excerpts;

/// Whether a report may have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    Off,
    /// ANSI colours.
    On,
}

/// Where a span stands, as editors count: lines and columns from 1, columns in characters. The end is
/// behind the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line of the first character.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column of the end.
    pub end_column: usize,
}

impl Place {
    /// The place of `span` in `text`.
    pub fn of(text: &str, span: &Range<usize>) -> Place {
        let (line, column) = position(text, span.start);
        let (end_line, end_column) = position(text, span.end);
        Place { line, column, end_line, end_column }
    }
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..clamp(text, at)).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    // A byte order mark is no character of the first line.
    let marks = usize::from(line == 1 && text.starts_with('\u{feff}') && column > 1);
    (line, column - marks)
}

/// `at`, or the nearest place before it that is in the text and between characters.
fn clamp(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

/// Draws `diagnostic` over `text`, the content of `path`.
pub fn render(diagnostic: &Diagnostic, path: &str, text: &str, color: Color) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.0);
    let excerpts = excerpts(&diagnostic.labels, text);
    let mut group = if diagnostic.labels.is_empty() || text.is_empty() {
        title.element(Origin::path(path))
    } else {
        let drawn = excerpts.iter().map(|excerpt| draw(excerpt, &diagnostic.labels, path));
        title.elements(drawn)
    };
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = match color {
        Color::Off => Renderer::plain(),
        Color::On => Renderer::styled(),
    };
    let drawn = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
    let Some(excerpt) = excerpts.iter().find(|excerpt| excerpt.is_cut) else { return drawn };
    // Its column was counted in what is left of the line.
    let Place { line, column, .. } = excerpt.place;
    let counted = format!("{path}:{line}:{}", excerpt.column());
    drawn.replacen(&counted, &format!("{path}:{line}:{column}"), 1)
}

/// `excerpt` with its marks, whose words are in `labels`.
fn draw<'d>(
    excerpt: &'d Excerpt,
    labels: &'d [Label],
    path: &'d str,
) -> Snippet<'d, Annotation<'d>> {
    let marks = excerpt.marks.iter().map(|(number, span)| {
        let kind = if *number == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let words = labels.get(*number).map(|label| label.text.as_str());
        kind.span(span.clone()).label(words.filter(|words| !words.is_empty()))
    });
    let snippet = Snippet::source(excerpt.text.as_str()).path(path).annotations(marks);
    snippet.line_start(if excerpt.is_cut { excerpt.place.line } else { excerpt.line })
}

/// A diagnostic with the file that it is about.
#[derive(Clone, Debug)]
pub struct Finding<'d> {
    /// Where the file stands, as shown to the user.
    pub file: String,
    /// Its text, for the excerpt.
    pub text: &'d str,
    /// What is wrong with it.
    pub diagnostic: &'d Diagnostic,
}

/// Draws every finding over its file, and a last line that counts them and the `files` looked at.
pub fn report(findings: &[Finding<'_>], files: usize, color: Color) -> String {
    let mut report = String::new();
    for Finding { file, text, diagnostic } in findings {
        report += &render(diagnostic, file, text, color);
        report += "\n\n";
    }
    report += &Count::of(findings.iter().map(|finding| finding.diagnostic), files).to_string();
    report
}

/// "1 line", "2 lines", "2 matches".
pub(crate) fn counted(count: impl fmt::Display + PartialEq + From<u8>, noun: &str) -> String {
    let ending = match noun {
        _ if count == 1.into() => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{count} {noun}{ending}")
}

/// How much was found, in how many files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Notes.
    pub notes: usize,
    /// Files looked at.
    pub files: usize,
}

impl Count {
    /// Counts `found` in `files` files.
    pub fn of<'d>(found: impl IntoIterator<Item = &'d Diagnostic>, files: usize) -> Count {
        let mut count = Count { files, ..Count::default() };
        for diagnostic in found {
            match diagnostic.severity {
                Severity::Error => count.errors += 1,
                Severity::Warning => count.warnings += 1,
                Severity::Note => count.notes += 1,
            }
        }
        count
    }
}

impl fmt::Display for Count {
    /// "2 errors, 1 warning in 3 files"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = [(self.errors, "error"), (self.warnings, "warning"), (self.notes, "note")];
        let mut is_first = true;
        for (count, word) in found.into_iter().filter(|(count, _)| *count > 0) {
            let comma = if is_first { "" } else { ", " };
            write!(f, "{comma}{}", counted(count, word))?;
            is_first = false;
        }
        if is_first {
            f.write_str("nothing to report")?;
        }
        write!(f, " in {}", counted(self.files, "file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;

    #[test]
    fn columns_are_characters_whatever_the_line_ends_with() {
        let text = "\u{feff}ab\r\n\tö=日本\r\nlast";
        let at = |word: &str| {
            let start = text.find(word).unwrap();
            let Place { line, column, end_line, end_column } =
                Place::of(text, &(start..start + word.len()));
            (line, column, end_line, end_column)
        };
        assert_eq!(at("ab"), (1, 1, 1, 3));
        assert_eq!(at("ö"), (2, 2, 2, 3));
        assert_eq!(at("本"), (2, 5, 2, 6));
        assert_eq!(at("last"), (3, 1, 3, 5));
        assert_eq!(Place::of(text, &(900..901)).line, 3, "beyond the end is the end");
    }

    fn drawn(text: &str, marks: &[Range<usize>]) -> String {
        let mut found = Diagnostic::error(Code::SYNTAX, "wrong").help("mend it");
        for (number, mark) in marks.iter().enumerate() {
            found = found.also(mark.clone(), format!("mark {number}"));
        }
        render(&found, "a.rule", text, Color::Off)
    }

    #[test]
    fn of_a_long_line_the_surroundings_of_the_mark_are_shown() {
        let text = format!("first\nö {} here {}\nlast", "x".repeat(40_000), "y".repeat(40_000));
        let at = text.find("here").unwrap();
        let report = drawn(&text, std::slice::from_ref(&(at..at + 4)));
        assert!(report.len() < 1000, "{report}");
        assert!(report.contains("--> a.rule:2:40004\n"), "{report}");
        assert!(report.contains("\n2 | ...xxx") && report.contains("yyy...\n"), "{report}");
        let columns = |sign: &str| {
            let line = report.lines().find(|line| line.contains(sign)).unwrap();
            line.split(sign).next().unwrap().chars().count()
        };
        assert_eq!(columns("here"), columns("^^^^ mark 0"), "{report}");
    }

    #[test]
    fn marks_that_are_far_apart_have_an_excerpt_each() {
        let text = format!("here\n{}there\nlast", "x\n".repeat(40_000));
        let there = text.find("there").unwrap();
        let report = drawn(&text, &[there..there + 5, 0..4]);
        assert!(report.len() < 1000, "{report}");
        assert!(report.contains("--> a.rule:40002:1\n"), "{report}");
        assert!(report.contains("a.rule:1:1\n"), "{report}");
        let whole = drawn(&text, std::slice::from_ref(&(0..text.len())));
        assert!(whole.len() < 1000, "{whole}");
    }

    #[test]
    fn a_summary_counts_what_there_is() {
        let count = Count { errors: 2, warnings: 1, notes: 0, files: 3 };
        assert_eq!(count.to_string(), "2 errors, 1 warning in 3 files");
        let clean = Count { files: 1, ..Count::default() };
        assert_eq!(clean.to_string(), "nothing to report in 1 file");
        assert_eq!(
            (counted(0_u64, "match"), counted(1_u64, "match")),
            ("0 matches".into(), "1 match".into())
        );
    }
}
