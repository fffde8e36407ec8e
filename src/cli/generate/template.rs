//! A template: text, with expressions between `{{` and `}}`, as the Kinesis Data Generator has them.
//!
//! ```text
//! template   = { text | "{{" expression "}}" }
//! expression = noun "." verb [ "(" JSON values between commas ")" ]
//! ```
//!
//! What comes out is put in as it is: texts without quotation marks, so that a template says where they stand.

use rand::rngs::StdRng;

use crate::clock::Timestamp;
use crate::diagnostic::nearest;
use crate::diagnostic::suggestion;

use super::expression::Expression;
use super::expression::NAMES;

/// A template, bytes.
const BYTES_MAX: usize = 64 * 1024;
/// Expressions in a template.
const EXPRESSIONS_MAX: usize = 1000;

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub(super) struct TemplateError {
    line: usize,
    column: usize,
    reason: String,
}

/// What expressions may speak of.
#[derive(Debug)]
pub(super) struct Moment {
    /// The same seed gives the same values.
    pub(super) random: StdRng,
    /// When the record is made.
    pub(super) now: Timestamp,
    /// Its number, from 1.
    pub(super) sequence: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Expression(Expression),
}

/// A template that is well-formed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Template, TemplateError> {
        let wrong = |at: usize, reason: String| {
            let before = text.get(..at).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            TemplateError { line, column, reason }
        };
        if text.len() > BYTES_MAX {
            let reason =
                format!("a template has at most {BYTES_MAX} bytes, this one has {}", text.len());
            return Err(wrong(0, reason));
        }
        let (mut pieces, mut at, mut expressions) = (Vec::new(), 0, 0);
        while let Some((before, after)) = text.get(at..).unwrap_or_default().split_once("{{") {
            let begins = at + before.len();
            let inside = begins + 2;
            // JSON in an expression may end in braces itself: the last two of a row of them count.
            let Some(length) = end_of(after) else {
                return Err(wrong(
                    begins,
                    "'{{' begins an expression, and no '}}' ends it".to_owned(),
                ));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            expressions += 1;
            if expressions > EXPRESSIONS_MAX {
                let reason = format!("a template has at most {EXPRESSIONS_MAX} expressions");
                return Err(wrong(begins, reason));
            }
            let written = after.get(..length).unwrap_or_default();
            let indent = written.len() - written.trim_start().len();
            let expression =
                read(written.trim()).map_err(|reason| wrong(inside + indent, reason))?;
            pieces.push(Piece::Expression(expression));
            at = inside + length + 2;
        }
        let rest = text.get(at..).unwrap_or_default();
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }

    /// A text by it.
    pub(super) fn render(&self, moment: &mut Moment) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Expression(expression) => expression.write(moment, &mut text),
            }
        }
        text
    }
}

/// Where the expression that begins `text` ends: at two braces that stand in no text of JSON.
fn end_of(text: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped, mut depth) = (false, false, 0_usize);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'{' if !is_quoted => depth += 1,
            b'}' if !is_quoted && depth > 0 => depth -= 1,
            b'}' if !is_quoted && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}

fn read(text: &str) -> Result<Expression, String> {
    let (name, arguments) = match text.split_once('(') {
        None => (text, ""),
        Some((name, rest)) => {
            let inside = rest.strip_suffix(')').ok_or("no ')' ends the arguments")?;
            (name.trim_end(), inside)
        }
    };
    let arguments: Vec<serde_json::Value> = serde_json::from_str(&format!("[{arguments}]"))
        .map_err(|_| format!("the arguments of {name} are not JSON values between commas"))?;
    match Expression::of(name, &arguments) {
        Some(expression) => expression.map_err(|reason| format!("{name} {reason}")),
        None => {
            let near = nearest(name, NAMES.iter().copied());
            Err(format!("there is no expression '{name}'{}", suggestion(near)))
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn render(text: &str) -> String {
        let now = Timestamp::from_millis(1_777_615_200_123);
        let mut moment = Moment { random: StdRng::seed_from_u64(7), now, sequence: 3 };
        Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).render(&mut moment)
    }

    fn wrong(text: &str) -> String {
        Template::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_expression_stays_as_it_is() {
        for text in ["", "plain", "{\"a\": {\"b\": 1}}", "ä } }} {"] {
            assert_eq!(render(text), text);
        }
        assert_eq!(render("<{{sequence}}>{{ sequence }}{{sequence()}}"), "<3>33");
    }

    #[test]
    fn braces_of_json_end_no_expression() {
        let text = r#"{"a": {{random.number({"min": 5, "max": 5})}}}"#;
        assert_eq!(render(text), r#"{"a": 5}"#);
        assert_eq!(render(r#"{{random.arrayElement(["}}"])}}"#), "}}");
        assert_eq!(render(r#"{{random.arrayElement(["\"}}"])}}"#), "\"}}");
        assert_eq!(render(r#"{{random.arrayElement([{"a":{"b":1}}])}}"#), r#"{"a":{"b":1}}"#);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("{{", "line 1, column 1: '{{' begins an expression, and no '}}' ends it"),
            (
                "{\n \"a\": {{ random.nmber }}}",
                "line 2, column 10: there is no expression 'random.nmber'; did you mean 'random.number'?",
            ),
            ("ä{{zzz}}", "line 1, column 4: there is no expression 'zzz'"),
            ("{{random.number(1}}", "line 1, column 3: no ')' ends the arguments"),
            (
                "{{random.number('a')}}",
                "line 1, column 3: the arguments of random.number are not JSON values between commas",
            ),
            (
                "{{random.number(5, 2)}}",
                "line 1, column 3: random.number takes the least before the most: 5 is above 2",
            ),
        ] {
            assert_eq!(wrong(text), expected);
        }
        assert!(wrong(&"x".repeat(BYTES_MAX + 1)).contains("at most"));
        assert!(wrong(&"{{sequence}}".repeat(EXPRESSIONS_MAX + 1)).contains("at most 1000"));
    }

    #[test]
    fn the_same_seed_gives_the_same_text() {
        let text = NAMES
            .iter()
            .filter(|name| !name.contains("rray"))
            .map(|name| format!("{{{{{name}}}}} "));
        let text: String = text.collect();
        assert_eq!(render(&text), render(&text));
        assert!(!render(&text).contains("{{"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(\{\{|\}\}|random\.number|[({})"\\,0-9a-z.]|\PC){0,40}"#) {
            if let Ok(template) = Template::parse(&text) {
                let now = Timestamp::from_millis(0);
                template.render(&mut Moment { random: StdRng::seed_from_u64(7), now, sequence: 1 });
            }
        }
    }
}
