//! What the patterns of Joda-Time and of the JDK's DateTimeFormatter share: runs of letters, quoted
//! text, English names, and the ways to write an offset.

use jiff::tz::Offset;
use jiff::tz::TimeZone;

use crate::limits::TIME_PATTERN_BYTES_MAX;

pub(super) const MONTHS: [&str; 12] = [
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
/// From Monday, as ISO counts.
pub(super) const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The same letter so many times.
    Field(char, usize),
    /// Text that stands for itself.
    Text(String),
}

/// Splits a pattern. `None` for an unfinished quote or an unreasonable length.
pub(super) fn tokens(pattern: &str) -> Option<Vec<Token>> {
    if pattern.len() > TIME_PATTERN_BYTES_MAX {
        return None;
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
                match rest.next()? {
                    '\'' if rest.next_if_eq(&'\'').is_some() => text.push('\''),
                    '\'' => break,
                    quoted => text.push(quoted),
                }
            }
        } else if character.is_ascii_alphabetic() {
            if !text.is_empty() {
                tokens.push(Token::Text(std::mem::take(&mut text)));
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
    Some(tokens)
}

/// The first three letters of a name.
pub(super) fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

/// `Z`, an offset, `UTC`, `GMT` or `UT` with or without an offset, or a name of the time zone
/// database.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    let offset = ["UTC", "GMT", "UT", "Z"].iter().find_map(|prefix| name.strip_prefix(prefix));
    match offset.unwrap_or(name) {
        "" => Some(TimeZone::UTC),
        text if text.starts_with(['+', '-']) => offset_seconds(text).and_then(fixed),
        _ => TimeZone::get(name).ok(),
    }
}

fn fixed(seconds: i32) -> Option<TimeZone> {
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

/// `+1`, `+01`, `+0100`, `+01:00`, `+010000`, `+01:00:00`, to 18 hours.
pub(super) fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes() {
        [b'+', ..] => (1, text.get(1..)?),
        [b'-', ..] => (-1, text.get(1..)?),
        _ => return None,
    };
    let plain: String = digits.split(':').collect();
    // Colons stand between pairs only.
    if digits.contains(':') && digits.split(':').any(|pair| pair.len() != 2) {
        return None;
    }
    if !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| plain.get(from..to).and_then(|two| two.parse().ok());
    let (hours, minutes, seconds): (i32, i32, i32) = match plain.len() {
        1 => (plain.parse().ok()?, 0, 0),
        2 => (number(0, 2)?, 0, 0),
        4 => (number(0, 2)?, number(2, 4)?, 0),
        6 => (number(0, 2)?, number(2, 4)?, number(4, 6)?),
        _ => return None,
    };
    (hours <= 18 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_split_into_fields_and_text() {
        let field = Token::Field;
        let text = |text: &str| Token::Text(text.to_owned());
        assert_eq!(
            tokens("yyyy-MM'T'HH 'o''clock'''").unwrap(),
            [field('y', 4), text("-"), field('M', 2), text("T"), field('H', 2), text(" o'clock'")]
        );
        assert_eq!(tokens("yyyy 'open"), None);
        assert_eq!(tokens(&"y".repeat(TIME_PATTERN_BYTES_MAX + 1)), None);
    }

    #[test]
    fn offsets_are_read_in_all_their_forms() {
        for text in ["+1", "+01", "+0100", "+01:00", "+010000", "+01:00:00"] {
            assert_eq!(offset_seconds(text), Some(3600), "{text}");
        }
        for text in ["01:00", "+", "+1:0", "+19:00", "+01:60", "+ab"] {
            assert_eq!(offset_seconds(text), None, "{text}");
        }
        assert_eq!(zone("UTC-02:30"), fixed(-9000));
        assert_eq!(zone("Nowhere/Else"), None);
    }
}
