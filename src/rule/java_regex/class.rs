//! Sets of characters: Java's names → sets of the `regex` crate.

use super::RegexError;

/// The members of `\d`, `\w`, `\s`, `\h` and `\v`, for between brackets.
pub(super) fn predefined(letter: char, is_unicode: bool) -> Option<&'static str> {
    Some(match (letter, is_unicode) {
        ('d', false) => "0-9",
        ('d', true) => r"\p{Nd}",
        ('w', false) => "a-zA-Z0-9_",
        ('w', true) => r"\w",
        ('s', false) => r"\t\n\x0B\x0C\r\x20",
        ('s', true) => r"\s",
        ('h', _) => r"\x20\t\xA0\u{1680}\u{180E}\u{2000}-\u{200A}\u{202F}\u{205F}\u{3000}",
        ('v', _) => r"\n\x0B\x0C\r\x85\u{2028}\u{2029}",
        _ => return None,
    })
}

/// The members of `\p{name}`, for between brackets.
pub(super) fn property(name: &str, is_unicode: bool) -> Result<String, RegexError> {
    if let Some(members) = posix(name, is_unicode).or_else(|| of_java_lang(name)) {
        return Ok(members.to_owned());
    }
    let blocks = || {
        Err(RegexError::Unsupported(
            "blocks of characters (a script is named \\p{IsGreek}) are".to_owned(),
        ))
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if let Some((key, value)) = name.split_once('=') {
        return match key.to_ascii_lowercase().as_str() {
            "script" | "sc" if is_name(value) => Ok(format!(r"\p{{sc={value}}}")),
            "general_category" | "gc" if is_name(value) => Ok(format!(r"\p{{gc={value}}}")),
            "block" | "blk" => blocks(),
            _ => Err(RegexError::Invalid(format!("there is no property {name}"))),
        };
    }
    if name.starts_with("In") {
        return blocks();
    }
    let plain = name.strip_prefix("Is").unwrap_or(name);
    match plain {
        "LC" => Ok(r"\p{Lu}\p{Ll}\p{Lt}".to_owned()),
        "LD" => Ok(r"\p{L}\p{Nd}".to_owned()),
        "L1" => Ok(r"\x00-\xFF".to_owned()),
        "all" => Ok(r"\s\S".to_owned()),
        _ if is_name(plain) => Ok(format!(r"\p{{{plain}}}")),
        _ => Err(RegexError::Invalid(format!("there is no property {name}"))),
    }
}

fn posix(name: &str, is_unicode: bool) -> Option<&'static str> {
    Some(match (name, is_unicode) {
        ("Lower", false) => "a-z",
        ("Lower", true) => r"\p{Lowercase}",
        ("Upper", false) => "A-Z",
        ("Upper", true) => r"\p{Uppercase}",
        ("ASCII", _) => r"\x00-\x7F",
        ("Alpha", false) => "a-zA-Z",
        ("Alpha", true) => r"\p{Alphabetic}",
        ("Digit", false) => "0-9",
        ("Digit", true) => r"\p{Nd}",
        ("Alnum", false) => "a-zA-Z0-9",
        ("Alnum", true) => r"\p{Alphabetic}\p{Nd}",
        ("Punct", false) => r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E",
        ("Punct", true) => r"\p{P}",
        ("Graph", _) => r"\x21-\x7E",
        ("Print", _) => r"\x20-\x7E",
        ("Blank", _) => r"\x20\t",
        ("Cntrl", _) => r"\x00-\x1F\x7F",
        ("XDigit", _) => "0-9a-fA-F",
        ("Space", false) => r"\t\n\x0B\x0C\r\x20",
        ("Space", true) => r"\s",
        _ => return None,
    })
}

/// Methods of `java.lang.Character`.
fn of_java_lang(name: &str) -> Option<&'static str> {
    Some(match name {
        "javaLowerCase" => r"\p{Lowercase}",
        "javaUpperCase" => r"\p{Uppercase}",
        "javaTitleCase" => r"\p{Lt}",
        "javaAlphabetic" => r"\p{Alphabetic}",
        "javaIdeographic" => r"\p{Ideographic}",
        "javaLetter" => r"\p{L}",
        "javaDigit" => r"\p{Nd}",
        "javaLetterOrDigit" => r"\p{L}\p{Nd}",
        "javaSpaceChar" => r"\p{Z}",
        "javaWhitespace" => {
            r"\t\n\x0B\x0C\r\x1C-\x1F\x20\u{1680}\u{2000}-\u{2006}\u{2008}-\u{200A}\u{2028}\u{2029}\u{205F}\u{3000}"
        }
        "javaISOControl" => r"\x00-\x1F\x7F-\x9F",
        "javaDefined" => r"\P{Cn}",
        _ => return None,
    })
}
