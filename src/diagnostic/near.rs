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
    let wanted = letters(&word);
    candidates
        .into_iter()
        // A name of another length or with other letters is as many edits away at least; texts of
        // nonsense stay cheap.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= edits_max)
        .filter(|candidate| {
            let has = letters(candidate);
            let other = (wanted & !has).count_ones().max((has & !wanted).count_ones());
            usize::try_from(other).is_ok_and(|other| other <= edits_max)
        })
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        // Of two that are as near, letters that changed places are likelier than others.
        .min_by_key(|(edits, candidate)| (*edits, wanted != letters(candidate)))
        .map(|(_, candidate)| candidate)
}

/// The letters that `word` has, without regard to case, a bit each; letters beyond ASCII share some. An
/// edit takes away one at most, and brings one at most.
fn letters(word: &str) -> u64 {
    let lower = word.chars().flat_map(char::to_lowercase);
    lower.fold(0, |letters, c| letters | 1 << (u32::from(c) % u64::BITS))
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
        assert_eq!(nearest("ro", ["DO", "OR"]), Some("OR"));
        assert_eq!(nearest("Öre", ["ÖRE", "MINUTES"]), Some("ÖRE"));
    }
}
