//! The replacement of `regexp_replace`, as `Matcher.appendReplacement` reads it.

use super::Groups;
use super::JavaRegex;
use super::RegexError;

/// A replacement for the matches of one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Reads `text`: `$1` and `${name}` are groups of `regex`, `\x` is the character x. A number goes on
    /// as long as there is such a group.
    ///
    /// # Errors
    /// A group that is not there, or a `$` or `\` with nothing to it.
    pub fn parse(text: &str, regex: &JavaRegex) -> Result<Replacement, RegexError> {
        let wrong = |problem: String| Err(RegexError::Invalid(problem));
        let mut parts: Vec<Part> = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars().peekable();
        while let Some(next) = rest.next() {
            let number = match next {
                '\\' => match rest.next() {
                    Some(escaped) => {
                        literal.push(escaped);
                        continue;
                    }
                    None => return wrong("`\\` at the end escapes nothing".to_owned()),
                },
                '$' if rest.next_if_eq(&'{').is_some() => {
                    let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
                    match regex.group_named(&name) {
                        Some(number) => number,
                        None => return wrong(format!("there is no group called {name}")),
                    }
                }
                '$' => {
                    let digit = rest.next().and_then(|digit| digit.to_digit(10));
                    let Some(digit) = digit else {
                        return wrong("behind `$` stands a group; a sign is `\\$`".to_owned());
                    };
                    let mut number = digit as usize;
                    if number > regex.groups() {
                        return wrong(format!("there is no group {number}"));
                    }
                    let longer = |number: usize, digit: &char| {
                        let longer = number * 10 + digit.to_digit(10)? as usize;
                        (longer <= regex.groups()).then_some(longer)
                    };
                    while let Some(more) = rest.peek().and_then(|digit| longer(number, digit)) {
                        number = more;
                        rest.next();
                    }
                    number
                }
                other => {
                    literal.push(other);
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Group(number));
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Replacement(parts))
    }

    /// Appends what replaces the match of `groups` in `subject`; a group without a part in it is empty.
    pub fn write(&self, subject: &str, groups: &Groups, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(number) => {
                    let range = groups.get(*number).cloned().flatten();
                    out.push_str(range.and_then(|range| subject.get(range)).unwrap_or_default());
                }
            }
        }
    }
}
