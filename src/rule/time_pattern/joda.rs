//! Patterns of Joda-Time (`org.joda.time.format.DateTimeFormat`), for writing.

use super::PatternError;
use super::Token;
use super::tokens;

/// The letters; every other one is reserved.
const LETTERS: &str = "GCYxweEyDMdaKhHkmsSzZ";

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JodaPattern(Vec<JodaItem>);

/// A piece of a [`JodaPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JodaItem {
    /// Written as it is.
    Text(String),
    /// A field: one of Joda's letters, and how many stand together.
    Field(char, usize),
}

impl JodaPattern {
    /// Reads `pattern`.
    ///
    /// # Errors
    /// A letter that Joda-Time does not know, an open quote, or more than
    /// [`TIME_PATTERN_BYTES_MAX`](crate::limits::TIME_PATTERN_BYTES_MAX) bytes.
    pub fn parse(pattern: &str) -> Result<JodaPattern, PatternError> {
        let item = |token| match token {
            Token::Text(text) => Ok(JodaItem::Text(text)),
            Token::Sign(sign) => Ok(JodaItem::Text(sign.to_string())),
            Token::Field(letter, count) if LETTERS.contains(letter) => {
                Ok(JodaItem::Field(letter, count))
            }
            Token::Field(letter, count) => Err(PatternError::letter(
                letter,
                count,
                match letter {
                    'u' => "is no letter of Joda-Time; a year is `yyyy`",
                    'L' => "is no letter of Joda-Time; a month is `MM`",
                    'X' => "is no letter of Joda-Time; an offset is `ZZ`",
                    'V' => "is no letter of Joda-Time; a zone's name is `ZZZ`",
                    'n' | 'N' | 'A' => "is no letter of Joda-Time; milliseconds are `SSS`",
                    _ => "is no letter of Joda-Time; text stands in quotes",
                },
            )),
        };
        tokens(pattern, "")?.into_iter().map(item).collect::<Result<_, _>>().map(JodaPattern)
    }

    /// Its pieces in order.
    pub fn items(&self) -> &[JodaItem] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_other_dialects_are_refused_by_name() {
        assert!(JodaPattern::parse("GCYxweEyDMdaKhHkmsSzZ [](){}#").is_ok());
        for (pattern, part) in [("yyyy-'Q'q", "`q`"), ("uuuu", "`uuuu`"), ("HH:mm XXX", "`XXX`")] {
            let error = JodaPattern::parse(pattern).unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
    }
}
