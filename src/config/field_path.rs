//! A place in a JSON document, as jq writes it: `.device.id`, `.tags[0]`, `."odd name"`.

use std::fmt;

use crate::limits::FIELD_PATH_BYTES_MAX;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A member of an object.
    Member(String),
    /// An element of an array, from 0.
    Element(usize),
}

/// The steps from the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    steps: Vec<Step>,
}

impl FieldPath {
    /// Reads a path that begins with a member.
    ///
    /// # Errors
    /// What is wrong with the text, in a sentence.
    pub fn parse(text: &str) -> Result<FieldPath, String> {
        if text.len() > FIELD_PATH_BYTES_MAX {
            return Err(format!("a path has at most {FIELD_PATH_BYTES_MAX} bytes"));
        }
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = match rest.strip_prefix('.') {
                Some(name) => member(name)?,
                None => element(rest)?,
            };
            steps.push(step);
            rest = after;
        }
        match steps.first() {
            Some(Step::Member(_)) => Ok(FieldPath { text: text.to_owned(), steps }),
            _ => Err(format!("{text:?} is not the path of a field")),
        }
    }

    /// In order, one at least; the first is a member.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name that `text` begins with, and what follows.
fn member(text: &str) -> Result<(Step, &str), String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = quoted.split_once('"').ok_or("a quotation mark is not closed")?;
        return match name.contains('\\') {
            true => Err("a name in quotation marks has no backslash".to_owned()),
            false => Ok((Step::Member(name.to_owned()), rest)),
        };
    }
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let (name, rest) = text.split_at(text.find(is_end).unwrap_or(text.len()));
    match name.is_empty() {
        true => Err(format!("a name is missing before {rest:?}")),
        false => Ok((Step::Member(name.to_owned()), rest)),
    }
}

/// The `[N]` that `text` begins with, and what follows.
fn element(text: &str) -> Result<(Step, &str), String> {
    let inside = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let place = inside.and_then(|(place, rest)| Some((place.parse().ok()?, rest)));
    let (place, rest) = place.ok_or_else(|| format!("{text:?} is neither .NAME nor [NUMBER]"))?;
    Ok((Step::Element(place), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_down_step_by_step() {
        let steps = |text| FieldPath::parse(text).unwrap().steps().to_vec();
        let member = |name: &str| Step::Member(name.to_owned());
        assert_eq!(steps(".room"), [member("room")]);
        assert_eq!(
            steps(".a.b-c[10].\"x y\""),
            [member("a"), member("b-c"), Step::Element(10), member("x y")]
        );
        for wrong in ["", "room", ".", ".a.", "[0]", ".a[x]", ".a[", ".\"a", ".a b", ".a[-1]"] {
            assert!(FieldPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
