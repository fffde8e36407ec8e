//! "Did you mean": the known word that a misspelt one comes nearest to.

use crate::limits::FINDINGS_PER_FILE_MAX;

/// More than one edit in three letters is another word.
const LETTERS_PER_EDIT: usize = 3;

/// A longer word is not a misspelt one.
const WORD_CHARS_MAX: usize = 64;

/// The candidate nearest to `word` without regard to case, if one is near.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let length = word.chars().count();
    if length > WORD_CHARS_MAX {
        return None;
    }
    #[cfg(test)]
    SEARCHES.set(SEARCHES.get() + 1);
    let word = word.to_lowercase();
    let edits_max = length.div_ceil(LETTERS_PER_EDIT);
    candidates
        .into_iter()
        // A name of another length is as many edits away at least; payloads of nonsense stay cheap.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= edits_max)
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// [`nearest`] for a finding of a file that has `found` already: none is looked for beyond those that
/// are shown.
pub(crate) fn nearest_after<'c>(
    found: usize,
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if found < FINDINGS_PER_FILE_MAX { nearest(word, candidates) } else { None }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has looked for a near word.
    pub(crate) static SEARCHES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What is added to a message that refuses a word: "; did you mean 'x'?", or nothing.
pub(crate) fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_nothing() {
        let words = ["MINUTES", "SECONDS", "HOURS"];
        assert_eq!(nearest("minuets", words), Some("MINUTES"));
        assert_eq!(nearest("sekonds", words), Some("SECONDS"));
        assert_eq!(nearest("parsecs", words), None);
        assert_eq!(nearest("", words), None);
    }
}
