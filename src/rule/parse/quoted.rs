//! Quoted texts, and the way back from what they mean to where they stand.

use std::rc::Rc;

use super::super::ast::Span;

/// Places of a parsed text in the file. They differ by where the text begins, and, inside a quoted
/// text, by what was written longer than it means: doubled quotes, the escapes of a JSON string.
#[derive(Clone, Debug)]
pub(in crate::rule) struct Offsets {
    /// Where the text begins in `outer`.
    base: usize,
    /// Positions in the text from which on `outer` has one byte more, in ascending order; a position
    /// stands as often as there are bytes.
    dropped: Vec<usize>,
    /// The text that holds this one; `None` for the file.
    outer: Option<Rc<Offsets>>,
    /// Whether every place leads to `base`: the text stands in no file as it is.
    is_one_place: bool,
}

impl Offsets {
    /// A text that stands in the file as it is, from byte `base`.
    pub(super) fn starting_at(base: usize) -> Self {
        Offsets::in_text(base, Vec::new())
    }

    /// A quoted text of the file whose opening quote stands at byte `quote`.
    pub(in crate::rule) fn in_file(quote: usize, dropped: Vec<usize>) -> Self {
        Offsets::in_text(quote + 1, dropped)
    }

    /// A text of the file without quotes that begins at byte `base`.
    pub(in crate::rule) fn in_text(base: usize, dropped: Vec<usize>) -> Self {
        Offsets { base, dropped, outer: None, is_one_place: false }
    }

    /// A text that was put together: each place of it is byte `base` of the file.
    pub(in crate::rule) fn at(base: usize) -> Self {
        Offsets { is_one_place: true, ..Offsets::in_text(base, Vec::new()) }
    }

    /// A text that is this one without what is `dropped`.
    pub(in crate::rule) fn shortened(&self, dropped: Vec<usize>) -> Self {
        Offsets { outer: Some(Rc::new(self.clone())), ..Offsets::in_text(0, dropped) }
    }

    /// A quoted text inside this one, as [`unquote`] gave it; its opening quote stands at byte
    /// `quote` of this one.
    pub(super) fn inside(&self, quote: usize, dropped: Vec<usize>) -> Self {
        Offsets { base: quote + 1, ..self.shortened(dropped) }
    }

    /// The place in the file.
    pub(super) fn position(&self, position: usize) -> usize {
        let place = self.in_outer(position);
        self.outer.as_ref().map_or(place, |outer| outer.position(place))
    }

    /// The range in the file.
    pub(in crate::rule) fn span(&self, span: Span) -> Span {
        self.position(span.start)..self.position(span.end)
    }

    /// The offsets of `part` of the text. Takes time for what is dropped in the part alone: a template
    /// has thousands of them.
    pub(in crate::rule) fn of_part(&self, part: Span) -> Self {
        let from = self.dropped.partition_point(|dropped| *dropped <= part.start);
        let behind = self.dropped.get(from..).unwrap_or_default();
        let inside = behind.iter().take_while(|dropped| **dropped <= part.end);
        let dropped = inside.map(|dropped| dropped - part.start).collect();
        Offsets { base: self.in_outer(part.start), dropped, ..self.clone_place() }
    }

    /// The same without what is dropped, which may be much.
    fn clone_place(&self) -> Self {
        let dropped = Vec::new();
        Offsets { base: 0, dropped, outer: self.outer.clone(), is_one_place: self.is_one_place }
    }

    fn in_outer(&self, position: usize) -> usize {
        if self.is_one_place {
            return self.base;
        }
        self.base + position + self.dropped.partition_point(|dropped| *dropped <= position)
    }
}

/// The text that a literal means, its quotes included in `quoted`; and where its doubled quotes were,
/// for [`Offsets::inside`].
pub(super) fn unquote(quoted: &str) -> (String, Vec<usize>) {
    let mut chars = quoted.chars();
    let quote = chars.next().unwrap_or('\'');
    let inner = chars.as_str().strip_suffix(quote).unwrap_or_default();
    let mut text = String::with_capacity(inner.len());
    let mut dropped = Vec::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        text.push(c);
        if c == quote && chars.next_if_eq(&quote).is_some() {
            dropped.push(text.len());
        }
    }
    (text, dropped)
}

/// The name that `written` means: itself, or what its back quotes hold.
pub(super) fn name(written: &str) -> String {
    if written.starts_with('`') { unquote(written).0 } else { written.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_an_unquoted_text_lead_back_to_the_file() {
        let file = "xx 'a''b''''c' yy";
        let (text, dropped) = unquote(file.get(3..14).unwrap());
        let offsets = Offsets::starting_at(0).inside(3, dropped);
        assert_eq!(text, "a'b''c");
        for (position, c) in text.char_indices() {
            let place = offsets.position(position);
            assert!(file.get(place..).unwrap().starts_with(c), "{position} leads to {place}");
        }
        let part = offsets.of_part(2..6);
        assert_eq!(part.position(0), offsets.position(2));
        assert_eq!(part.position(3), offsets.position(5));
    }

    #[test]
    fn a_quoted_text_inside_a_quoted_text_leads_back_through_both() {
        let file = "xx 'a ''b''''''''c'' d' yy";
        let (outer, dropped) = unquote(file.get(3..23).unwrap());
        assert_eq!(outer, "a 'b''''c' d");
        let offsets = Offsets::in_file(3, dropped);
        let (inner, dropped) = unquote(outer.get(2..10).unwrap());
        assert_eq!(inner, "b''c");
        let offsets = offsets.inside(2, dropped);
        for (position, c) in inner.char_indices() {
            let place = offsets.position(position);
            assert!(file.get(place..).unwrap().starts_with(c), "{position} leads to {place}");
        }
        assert_eq!(offsets.of_part(3..4).position(0), file.find('c').unwrap());
    }
}
