//! The folders of delivered files, as Firehose's prefixes write them.
//!
//! Text stands for itself; `!{timestamp:…}` is the arrival of the file's oldest record by a pattern of
//! Java's `DateTimeFormatter`, `!{partitionKeyFromQuery:…}` a partition key, `!{firehose:random-string}`
//! eleven characters, and `!{firehose:error-output-type}` the kind of failure. A prefix without a time gets
//! `yyyy/MM/dd/HH/` behind it.
//! Source: Amazon Data Firehose, "Understand custom prefixes for Amazon S3 objects".

use crate::limits::DELIVERY_KEY_BYTES_MAX;
use crate::limits::DELIVERY_PREFIX_BYTES_MAX;
use crate::limits::FILE_NAME_BYTES_MAX;

const KEY: &str = "partitionKeyFromQuery";
/// What Firehose puts behind a prefix without a time.
const HOURLY: &str = "%Y/%m/%d/%H";
/// Characters of `!{firehose:random-string}`.
pub const RANDOM_CHARS: usize = 11;
/// Longer than any kind of failure.
const KIND_BYTES: usize = 32;

/// A part of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixPiece {
    /// Stands for itself.
    Text(String),
    /// A time, by a format of `strftime`.
    Time(String),
    /// The partition key of this name.
    Key(String),
    /// Random characters.
    Random,
    /// Why the records could not be delivered.
    ErrorKind,
}

/// A prefix, sound: no file can leave the delivery's directory by it, or have a name that begins with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPrefix(Vec<PrefixPiece>);

impl ObjectPrefix {
    /// `yyyy/MM/dd/HH/`
    pub fn hourly() -> ObjectPrefix {
        ObjectPrefix(hour().to_vec())
    }

    /// `errors/!{firehose:error-output-type}/yyyy/MM/dd/HH/`
    pub fn errors() -> ObjectPrefix {
        let [before, behind] = ["errors/", "/"].map(|text| PrefixPiece::Text(text.to_owned()));
        let [time, end] = hour();
        ObjectPrefix(vec![before, PrefixPiece::ErrorKind, behind, time, end])
    }

    /// The prefix of files with records whose partition `keys` are known.
    ///
    /// # Errors
    /// What is wrong with the text, in a sentence.
    pub fn parse(text: &str, keys: &[&str]) -> Result<ObjectPrefix, String> {
        let prefix = ObjectPrefix::read(text)?;
        for piece in &prefix.0 {
            match piece {
                PrefixPiece::Key(key) if !keys.contains(&key.as_str()) => {
                    return Err(format!("there is no partition key {key:?}"));
                }
                PrefixPiece::ErrorKind => {
                    let message = "!{firehose:error-output-type} belongs into error_prefix";
                    return Err(message.to_owned());
                }
                _ => {}
            }
        }
        Ok(prefix)
    }

    /// The prefix of files with what could not be delivered.
    ///
    /// # Errors
    /// What is wrong with the text, in a sentence.
    pub fn parse_errors(text: &str) -> Result<ObjectPrefix, String> {
        let prefix = ObjectPrefix::read(text)?;
        let is = |wanted: fn(&PrefixPiece) -> bool| prefix.0.iter().any(wanted);
        if is(|piece| matches!(piece, PrefixPiece::Key(_))) {
            return Err("a record that could not be delivered has no partition".to_owned());
        }
        if !is(|piece| matches!(piece, PrefixPiece::ErrorKind)) {
            return Err("!{firehose:error-output-type} is missing".to_owned());
        }
        Ok(prefix)
    }

    /// In order.
    pub fn pieces(&self) -> &[PrefixPiece] {
        &self.0
    }

    /// Whether it has the partition key `key`.
    pub fn names(&self, key: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, PrefixPiece::Key(named) if named == key))
    }

    fn read(text: &str) -> Result<ObjectPrefix, String> {
        if text.len() > DELIVERY_PREFIX_BYTES_MAX {
            return Err(format!("a prefix has at most {DELIVERY_PREFIX_BYTES_MAX} bytes"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("!{") {
            push_text(&mut pieces, before);
            let (expression, after) =
                after.split_once('}').ok_or("the brace of !{ is not closed")?;
            pieces.push(read_expression(expression)?);
            rest = after;
        }
        push_text(&mut pieces, rest);
        if !pieces.iter().any(|piece| matches!(piece, PrefixPiece::Time(_))) {
            pieces.extend(hour());
        }
        check_folders(&pieces)?;
        Ok(ObjectPrefix(pieces))
    }
}

/// `!{timestamp:yyyy/MM/dd/HH}/`
fn hour() -> [PrefixPiece; 2] {
    [PrefixPiece::Time(HOURLY.to_owned()), PrefixPiece::Text("/".to_owned())]
}

fn push_text(pieces: &mut Vec<PrefixPiece>, text: &str) {
    if !text.is_empty() {
        pieces.push(PrefixPiece::Text(text.to_owned()));
    }
}

fn read_expression(expression: &str) -> Result<PrefixPiece, String> {
    let (namespace, value) = expression.split_once(':').unwrap_or((expression, ""));
    match (namespace, value) {
        ("timestamp", pattern) => time_format(pattern).map(PrefixPiece::Time),
        (KEY, key) => Ok(PrefixPiece::Key(key.to_owned())),
        ("firehose", "random-string") => Ok(PrefixPiece::Random),
        ("firehose", "error-output-type") => Ok(PrefixPiece::ErrorKind),
        _ => Err(format!("there is no expression !{{{expression}}}")),
    }
}

/// A pattern of Java's `DateTimeFormatter` as a format of `strftime`.
fn time_format(pattern: &str) -> Result<String, String> {
    let mut format = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter == '\'' {
            let mut quoted: String = rest.by_ref().take_while(|c| *c != '\'').collect();
            if quoted.is_empty() {
                quoted.push('\'');
            }
            format.push_str(&quoted.replace('%', "%%"));
        } else if letter.is_ascii_alphabetic() {
            let mut count = 1;
            while rest.next_if_eq(&letter).is_some() {
                count += 1;
            }
            let field = time_field(letter, count).ok_or_else(|| {
                let run: String = std::iter::repeat_n(letter, count.min(8)).collect();
                format!("`{run}` of the time pattern is not known here")
            })?;
            format.push_str(field);
        } else if letter == '%' {
            format.push_str("%%");
        } else {
            format.push(letter);
        }
    }
    match format.is_empty() {
        true => Err("a time pattern is missing".to_owned()),
        false => Ok(format),
    }
}

fn time_field(letter: char, count: usize) -> Option<&'static str> {
    Some(match (letter, count) {
        ('y' | 'u', 1 | 4) => "%Y",
        ('y' | 'u', 2) => "%y",
        ('M' | 'L', 1) => "%-m",
        ('M' | 'L', 2) => "%m",
        ('M' | 'L', 3) => "%b",
        ('M' | 'L', 4) => "%B",
        ('d', 1) => "%-d",
        ('d', 2) => "%d",
        ('D', 3) => "%j",
        ('E', 1..=3) => "%a",
        ('E', 4) => "%A",
        ('e', 1) => "%u",
        ('H', 1) => "%-H",
        ('H', 2) => "%H",
        ('h', 1) => "%-I",
        ('h', 2) => "%I",
        ('a', 1) => "%p",
        ('m', 1) => "%-M",
        ('m', 2) => "%M",
        ('s', 1) => "%-S",
        ('s', 2) => "%S",
        ('S', 3) => "%3f",
        ('Z', 1..=3) => "%z",
        _ => return None,
    })
}

/// Every part with the longest that can stand there: each folder must be one, and none too long.
fn check_folders(pieces: &[PrefixPiece]) -> Result<(), String> {
    let now = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    let mut sample = String::new();
    for piece in pieces {
        match piece {
            PrefixPiece::Text(text) => sample.push_str(text),
            PrefixPiece::Time(format) => {
                let text = jiff::fmt::strtime::format(format, &now);
                sample.push_str(&text.map_err(|error| error.to_string())?);
            }
            PrefixPiece::Key(_) => sample.push_str(&"k".repeat(DELIVERY_KEY_BYTES_MAX)),
            PrefixPiece::Random => sample.push_str(&"r".repeat(RANDOM_CHARS)),
            PrefixPiece::ErrorKind => sample.push_str(&"e".repeat(KIND_BYTES)),
        }
    }
    let Some((folders, start)) = sample.rsplit_once('/') else {
        return check_start(&sample);
    };
    for folder in folders.split('/') {
        let is_plain = |c: char| !c.is_control() && c != '\\';
        if folder.is_empty() || folder.starts_with('.') || !folder.chars().all(is_plain) {
            return Err(format!("{folder:?} is not the name of a folder here"));
        }
        if folder.len() > FILE_NAME_BYTES_MAX {
            return Err(format!("a folder's name has at most {FILE_NAME_BYTES_MAX} bytes"));
        }
    }
    check_start(start)
}

/// What stands before the name of a file, in the same folder.
fn check_start(start: &str) -> Result<(), String> {
    if start.starts_with('.') || start.chars().any(|c| c.is_control() || c == '\\') {
        return Err(format!("a file's name cannot begin with {start:?}"));
    }
    match start.len() <= FILE_NAME_BYTES_MAX / 4 {
        true => Ok(()),
        false => Err("what stands behind the last / is too long for a file's name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<PrefixPiece> {
        ObjectPrefix::parse(text, &["room"]).unwrap().pieces().to_vec()
    }

    #[test]
    fn a_prefix_is_text_and_expressions() {
        let text = |text: &str| PrefixPiece::Text(text.to_owned());
        let time = |format: &str| PrefixPiece::Time(format.to_owned());
        assert_eq!(
            pieces("raw/room=!{partitionKeyFromQuery:room}/!{timestamp:yyyy-MM-dd'T'HH}/"),
            [
                text("raw/room="),
                PrefixPiece::Key("room".to_owned()),
                text("/"),
                time("%Y-%m-%dT%H"),
                text("/")
            ]
        );
        assert_eq!(pieces("pre"), [text("pre"), time("%Y/%m/%d/%H"), text("/")]);
        assert_eq!(pieces(""), [time("%Y/%m/%d/%H"), text("/")]);
        assert_eq!(
            pieces("!{firehose:random-string}/!{timestamp:''%H}/"),
            [PrefixPiece::Random, text("/"), time("'%%%-H"), text("/")]
        );
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        for wrong in [
            "/a/",
            "a//b/",
            "../",
            "a/../b/",
            ".hidden/",
            "a\\b/",
            "a\n/",
            "!{timestamp:yyyy",
            "!{timestamp:}/",
            "!{timestamp:VV}/",
            "!{now}/",
            "!{firehose:error-output-type}/",
            "!{partitionKeyFromQuery:line}/",
        ] {
            assert!(ObjectPrefix::parse(wrong, &["room"]).is_err(), "{wrong}");
        }
        assert!(ObjectPrefix::parse_errors("errors/").is_err());
        assert!(ObjectPrefix::parse_errors("e/!{firehose:error-output-type}/").is_ok());
        let with_key = "!{firehose:error-output-type}/!{partitionKeyFromQuery:room}/";
        assert!(ObjectPrefix::parse_errors(with_key).is_err());
    }
}
