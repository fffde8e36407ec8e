//! Quoted texts, and the way back from what they mean to where they stand.

use super::super::ast::Span;

/// Places of a parsed text in the file. They differ by where the text begins, and, inside a quoted
/// text, by the doubled quotes that were made one.
#[derive(Clone, Debug)]
pub(super) struct Offsets {
    base: usize,
    /// Positions in the text from which on the file has one byte more, in ascending order.
    dropped: Vec<usize>,
}

impl Offsets {
    /// A text that stands in the file as it is, from byte `base`.
    pub(super) fn starting_at(base: usize) -> Self {
        Offsets { base, dropped: Vec::new() }
    }

    /// A quoted text whose opening quote stands at byte `quote`, as [`unquote`] gave it.
    pub(super) fn inside(quote: usize, dropped: Vec<usize>) -> Self {
        Offsets { base: quote + 1, dropped }
    }

    /// The place in the file.
    pub(super) fn position(&self, position: usize) -> usize {
        self.base + position + self.dropped.partition_point(|dropped| *dropped <= position)
    }

    /// The range in the file.
    pub(super) fn span(&self, span: Span) -> Span {
        self.position(span.start)..self.position(span.end)
    }

    /// The offsets of the part of the text that begins at `start`.
    pub(super) fn of_part(&self, start: usize) -> Self {
        let dropped = self.dropped.iter().filter(|d| **d > start).map(|d| d - start).collect();
        Offsets { base: self.position(start), dropped }
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
        let offsets = Offsets::inside(3, dropped);
        assert_eq!(text, "a'b''c");
        for (position, c) in text.char_indices() {
            let place = offsets.position(position);
            assert!(file.get(place..).unwrap().starts_with(c), "{position} leads to {place}");
        }
        let part = offsets.of_part(2);
        assert_eq!(part.position(0), offsets.position(2));
        assert_eq!(part.position(3), offsets.position(5));
    }
}
