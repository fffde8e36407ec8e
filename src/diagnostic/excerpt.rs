//! The lines of a text that a report shows: those that carry marks, and of lines or distances beyond
//! [`EXCERPT_BYTES_MAX`] only the surroundings of each mark, so that a report takes time for what it
//! shows and not for the text.

use std::ops::Range;

use super::Label;
use super::render::Place;
use crate::limits::EXCERPT_BYTES_MAX;

/// Bytes shown before and behind a mark in a line that is too long.
const SURROUNDINGS: usize = 120;
/// Stands where a line goes on.
const CUT: char = '…';

/// Lines that stand together, and the marks in them.
#[derive(Debug)]
pub(super) struct Excerpt {
    /// The lines.
    pub(super) text: String,
    /// Where the first mark stands in the whole text.
    pub(super) place: Place,
    /// Line of the first character, from 1.
    pub(super) line: usize,
    /// Whether `text` lacks a part of its line, so that columns cannot be counted in it.
    pub(super) is_cut: bool,
    /// The marks in it.
    pub(super) marks: Marks,
}

/// Numbers of labels and their ranges.
type Marks = Vec<(usize, Range<usize>)>;

impl Excerpt {
    /// The column of the first mark in `text`, from 1.
    pub(super) fn column(&self) -> usize {
        let start = self.marks.first().map_or(0, |(_, span)| span.start);
        let before = self.text.get(..start).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }
}

/// The excerpts of `text` that carry `labels`, the one with the first of them in front.
pub(super) fn excerpts(labels: &[Label], text: &str) -> Vec<Excerpt> {
    let mut groups: Vec<(Range<usize>, Marks)> = Vec::new();
    for (number, label) in labels.iter().enumerate() {
        let span = bounded(&label.span, text);
        let lines = lines(&span, text);
        let joined = |known: &Range<usize>| known.start.min(lines.start)..known.end.max(lines.end);
        let near = groups.iter_mut().find(|(known, _)| joined(known).len() <= EXCERPT_BYTES_MAX);
        match near {
            Some((known, marks)) => {
                *known = joined(known);
                marks.push((number, span));
            }
            None => groups.push((lines, vec![(number, span)])),
        }
    }
    groups.into_iter().map(|(lines, marks)| excerpt(text, lines, marks)).collect()
}

/// `span` inside of `text`; of a long one over several lines what is on the first.
fn bounded(span: &Range<usize>, text: &str) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end).max(start);
    if end - start <= EXCERPT_BYTES_MAX {
        return start..end;
    }
    let marked = text.get(start..end).unwrap_or_default();
    start..marked.find('\n').map_or(end, |newline| start + newline)
}

/// From the begin of the line in which `span` begins to the end of the one in which it ends.
fn lines(span: &Range<usize>, text: &str) -> Range<usize> {
    let before = text.get(..span.start).unwrap_or_default();
    let behind = text.get(span.end..).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    start..behind.find('\n').map_or(text.len(), |newline| span.end + newline)
}

fn excerpt(text: &str, lines: Range<usize>, mut marks: Marks) -> Excerpt {
    let before = text.get(..lines.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let first = marks.first().map(|(_, span)| span.clone()).unwrap_or_default();
    let place = Place::of(text, &first);
    let is_cut = lines.len() > EXCERPT_BYTES_MAX;
    let shown = if is_cut { window(text, &lines, &first) } else { lines.clone() };
    let mut excerpt = String::new();
    if shown.start > lines.start {
        excerpt.push(CUT);
    }
    let added = excerpt.len();
    // A carriage return would be drawn; a blank in its place keeps the marks where they are.
    excerpt += &text.get(shown.clone()).unwrap_or_default().replace('\r', " ");
    if shown.end < lines.end {
        excerpt.push(CUT);
    }
    for (_, span) in &mut marks {
        let inside = |at: usize| at.clamp(shown.start, shown.end) - shown.start + added;
        *span = inside(span.start)..inside(span.end);
    }
    Excerpt { text: excerpt, place, line, is_cut, marks }
}

/// What is shown of lines that are too long: the mark, or its begin, and its surroundings.
fn window(text: &str, lines: &Range<usize>, mark: &Range<usize>) -> Range<usize> {
    let start = mark.start.saturating_sub(SURROUNDINGS).max(lines.start);
    let mark_end = mark.end.min(mark.start + EXCERPT_BYTES_MAX / 2);
    let end = (mark_end + SURROUNDINGS).min(lines.end);
    let (start, end) = (text.floor_char_boundary(start), text.floor_char_boundary(end));
    // Lines before and behind the mark's own would begin in the middle.
    let shown = text.get(start..end).unwrap_or_default();
    let own = mark.start.saturating_sub(start);
    let from = shown.get(..own).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    start + from..end
}
