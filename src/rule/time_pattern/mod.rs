//! The patterns of `parse_time` (Joda-Time) and `time_to_epoch` (the JDK's DateTimeFormatter), and
//! names of time zones.
//!
//! A pattern's text becomes [`JodaPattern`] or [`JdkPattern`], or a [`PatternError`] that says which
//! letter is wrong: `check` shows it for a literal, and the function is Undefined at run time. The
//! engine writes and reads times by the result. Names are English, weeks of [`JdkPattern`] begin on
//! Sunday (the JDK's `en_US`); weeks of [`JodaPattern`] are ISO's.

mod jdk;
mod joda;
mod zone;

use std::fmt;

pub use jdk::Field;
pub use jdk::JdkItem;
pub use jdk::JdkPattern;
pub use jdk::Names;
pub use jdk::OffsetForm;
pub use jdk::Sign;
pub use jdk::Width;
pub use joda::JodaItem;
pub use joda::JodaPattern;
pub use zone::NameLength;
pub use zone::ZoneNames;
pub use zone::jdk_zone;
pub use zone::joda_zone;
pub use zone::named_zone;

use crate::limits::TIME_PATTERN_BYTES_MAX;

/// The months, from January.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The days of the week, from Monday.
pub const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The first three letters of a name.
pub fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

/// Why a text is no pattern, in one sentence without its point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl PatternError {
    fn letter(letter: char, count: usize, problem: &str) -> PatternError {
        let run: String = std::iter::repeat_n(letter, count.min(8)).collect();
        PatternError(format!("`{run}` {problem}"))
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// The same letter so many times.
    Field(char, usize),
    /// Text that stands for itself.
    Text(String),
    /// One of the signs that the dialect gives a meaning.
    Sign(char),
}

/// Splits a pattern in which unquoted `signs` mean something.
fn tokens(pattern: &str, signs: &str) -> Result<Vec<Token>, PatternError> {
    if pattern.len() > TIME_PATTERN_BYTES_MAX {
        let problem = format!("a pattern has at most {TIME_PATTERN_BYTES_MAX} bytes");
        return Err(PatternError(problem));
    }
    let mut tokens = Vec::new();
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        if character == '\'' {
            // Two quotes are one, inside quoted text and outside.
            if rest.next_if_eq(&'\'').is_some() {
                text.push('\'');
                continue;
            }
            loop {
                match rest.next() {
                    Some('\'') if rest.next_if_eq(&'\'').is_some() => text.push('\''),
                    Some('\'') => break,
                    Some(quoted) => text.push(quoted),
                    None => return Err(PatternError("a quote is not closed".to_owned())),
                }
            }
        } else if character.is_ascii_alphabetic() || signs.contains(character) {
            if !text.is_empty() {
                tokens.push(Token::Text(std::mem::take(&mut text)));
            }
            if signs.contains(character) {
                tokens.push(Token::Sign(character));
                continue;
            }
            let mut count = 1;
            while rest.next_if_eq(&character).is_some() {
                count += 1;
            }
            tokens.push(Token::Field(character, count));
        } else {
            text.push(character);
        }
    }
    if !text.is_empty() {
        tokens.push(Token::Text(text));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_split_into_fields_and_text() {
        let field = Token::Field;
        let text = |text: &str| Token::Text(text.to_owned());
        assert_eq!(
            tokens("yyyy-MM'T'HH 'o''clock'''", "").unwrap(),
            [field('y', 4), text("-"), field('M', 2), text("T"), field('H', 2), text(" o'clock'")]
        );
        assert_eq!(
            tokens("[y]'['", "[]").unwrap(),
            [Token::Sign('['), field('y', 1), Token::Sign(']'), text("[")]
        );
        assert!(tokens("yyyy 'open", "").is_err());
        assert!(tokens(&"y".repeat(TIME_PATTERN_BYTES_MAX + 1), "").is_err());
    }
}
