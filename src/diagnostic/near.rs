//! "Did you mean": the known word that a misspelt one comes nearest to.

/// More than one edit in three letters is another word.
const LETTERS_PER_EDIT: usize = 3;

/// The candidate nearest to `word` without regard to case, if one is near.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    candidates
        .into_iter()
        // A name of another length is as many edits away at least; payloads of nonsense stay cheap.
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= word.len())
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= length.div_ceil(LETTERS_PER_EDIT))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
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
