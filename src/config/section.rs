//! One table of the document while it is read: typed values out, everything wrong noted.
//!
//! A key is known because it was asked for, so a key that is read and a key that is allowed cannot
//! drift apart. The document is walked and not deserialised, because serde stops at the first
//! error and gives no place for an unknown key.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::Range;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::code;
use super::listener::Unopened;
use super::quantity::duration_text;
use super::quantity::parse_duration;
use super::quantity::parse_size;
use super::quantity::size_text;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Label;
use crate::diagnostic::Severity;
use crate::diagnostic::nearest;

/// What is wrong with one value, before its place is known.
pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: String,
}

impl Problem {
    pub(super) fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Problem { code, message: message.into(), help: help.into() }
    }

    pub(super) fn at(self, span: Range<usize>, label: &str) -> Diagnostic {
        Diagnostic {
            code: self.code,
            severity: Severity::Error,
            message: self.message,
            labels: vec![Label { span, text: label.to_owned() }],
            help: Some(self.help).filter(|help| !help.is_empty()),
        }
    }
}

/// Everything noted while a document is read.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Files of listeners, which are opened when the whole text has been read.
    pub(super) unopened: Vec<Unopened>,
    /// Keys that were asked for and are not in the document: the rest of the documentation's list.
    #[cfg(test)]
    pub(super) absent: Vec<String>,
}

/// A table, or the absence of one.
pub(super) struct Section<'t> {
    path: String,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t DeTable<'t>) -> Self {
        Section { path: String::new(), table: Some(table), known: Vec::new() }
    }

    /// The table under `key`; an empty one when there is none or it is no table.
    pub(super) fn section(&mut self, key: &'static str, findings: &mut Findings) -> Section<'t> {
        let path = self.path_of(key);
        let table = self.value(key).and_then(|value| as_table(&path, value, findings));
        Section { path, table, known: Vec::new() }
    }

    /// Whether there is something under `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The tables under `key`, by the names their owner gave them, with the names' places.
    pub(super) fn named(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Vec<(Spanned<String>, Section<'t>)> {
        self.named_beside(key, "", findings).1
    }

    /// The same where one setting of all, `own`, stands beside them; it is in the section that comes first, unless it is a
    /// table, which is one of the others.
    pub(super) fn named_beside(
        &mut self,
        key: &'static str,
        own: &str,
        findings: &mut Findings,
    ) -> (Section<'t>, Vec<(Spanned<String>, Section<'t>)>) {
        let path = self.path_of(key);
        let table = self.value(key).and_then(|value| as_table(&path, value, findings));
        let is_own = |value: &Spanned<DeValue<'t>>| value.get_ref().as_table().is_none();
        let beside = table.filter(|table| table.get(own).is_some_and(is_own));
        let mut sections = Vec::new();
        for (name, value) in table.into_iter().flatten() {
            if beside.is_some() && name.get_ref() == own {
                continue;
            }
            let Some(table) = value.get_ref().as_table() else {
                let help = format!("settings stand in a section with a name: [{path}.NAME]");
                let problem = wrong_type("a section", value.get_ref(), help);
                findings.diagnostics.push(problem.at(value.span(), name.get_ref()));
                continue;
            };
            let path = format!("{path}.{}", name.get_ref());
            let name = Spanned::new(name.span(), name.get_ref().to_string());
            sections.push((name, Section { path, table: Some(table), known: Vec::new() }));
        }
        (Section { path, table: beside, known: Vec::new() }, sections)
    }

    /// All keys with text values, whatever their names; for free-form tables.
    pub(super) fn texts(
        &mut self,
        findings: &mut Findings,
    ) -> Vec<(Spanned<String>, Spanned<String>)> {
        let mut texts = Vec::new();
        for (key, value) in self.table.into_iter().flatten() {
            match text(value.get_ref()) {
                Ok(text) => texts.push((
                    Spanned::new(key.span(), key.get_ref().to_string()),
                    Spanned::new(value.span(), text),
                )),
                Err(problem) => findings.diagnostics.push(problem.at(value.span(), key.get_ref())),
            }
        }
        texts
    }

    /// Sets `target` when the key is there and its value converts; answers the value's place.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, Problem>,
        findings: &mut Findings,
    ) -> Option<Range<usize>> {
        let Some(value) = self.value(key) else {
            #[cfg(test)]
            findings.absent.push(self.path_of(key));
            return None;
        };
        match convert(value.get_ref()) {
            Ok(converted) => *target = converted,
            Err(problem) => {
                let path = self.path_of(key);
                findings.diagnostics.push(problem.at(value.span(), &path));
            }
        }
        Some(value.span())
    }

    /// As [`Section::read`], for a list: what is wrong with an item is told at its place.
    pub(super) fn read_list(
        &mut self,
        key: &'static str,
        mut take: impl FnMut(&DeValue<'_>) -> Result<(), Problem>,
        findings: &mut Findings,
    ) -> Option<Range<usize>> {
        let Some(value) = self.value(key) else {
            #[cfg(test)]
            findings.absent.push(self.path_of(key));
            return None;
        };
        let path = self.path_of(key);
        let Some(items) = value.get_ref().as_array() else {
            let problem = wrong_type("a list in brackets", value.get_ref(), "");
            findings.diagnostics.push(problem.at(value.span(), &path));
            return Some(value.span());
        };
        for item in items.iter() {
            if let Err(problem) = take(item.get_ref()) {
                findings.diagnostics.push(problem.at(item.span(), &path));
            }
        }
        Some(value.span())
    }

    /// Where the value of `key` stands.
    pub(super) fn place(&self, key: &str) -> Option<Range<usize>> {
        self.table.and_then(|table| table.get(key)).map(Spanned::span)
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self, findings: &mut Findings) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let message = if self.path.is_empty() {
                format!("there is no setting or section \"{name}\"")
            } else {
                format!("[{}] has no setting \"{name}\"", self.path)
            };
            let help = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let problem = Problem::new(code::UNKNOWN, message, help);
            findings.diagnostics.push(problem.at(key.span(), "not known"));
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.and_then(|table| table.get(key))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn as_table<'t>(
    path: &str,
    value: &'t Spanned<DeValue<'t>>,
    findings: &mut Findings,
) -> Option<&'t DeTable<'t>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        let problem = wrong_type("a section", value.get_ref(), format!("write [{path}]"));
        findings.diagnostics.push(problem.at(value.span(), path));
    }
    table
}

fn wrong_type(expected: &str, found: &DeValue<'_>, help: impl Into<String>) -> Problem {
    let article = if found.type_str().starts_with(['a', 'i']) { "an" } else { "a" };
    let message = format!("expected {expected}, found {article} {}", found.type_str());
    Problem::new(code::TYPE, message, help)
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Problem> {
    value.as_bool().ok_or_else(|| wrong_type("true or false", value, ""))
}

pub(super) fn text(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = value.as_str().ok_or_else(|| wrong_type("a text in quotes", value, ""))?;
    Ok(text.to_owned())
}

pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Problem> {
    let text = text(value)?;
    if text.is_empty() || text.contains('\0') {
        let message = "a path must not be empty or contain NUL";
        return Err(Problem::new(code::VALUE, message, ""));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn address(value: &DeValue<'_>) -> Result<SocketAddr, Problem> {
    let help = "an address is \"127.0.0.1:1883\" or \"[::1]:1883\"; port 0 takes a free one";
    let text = value.as_str().ok_or_else(|| wrong_type("an address in quotes", value, help))?;
    SocketAddr::from_str(text).map_err(|_| {
        let message = format!("{text:?} is not an IP address with a port");
        Problem::new(code::VALUE, message, help)
    })
}

/// A whole number in `range`.
pub(super) fn integer<T>(
    range: RangeInclusive<T>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, Problem>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    move |value| {
        let help = format!("from {} to {}", range.start(), range.end());
        let number = whole(value).ok_or_else(|| wrong_type("a whole number", value, &help))?;
        in_range(T::try_from(number).ok(), &range, || number.to_string(), help)
    }
}

/// A size in bytes: a whole number, or text with a unit.
pub(super) fn size(
    range: RangeInclusive<usize>,
) -> impl FnOnce(&DeValue<'_>) -> Result<usize, Problem> {
    move |value| {
        let (start, end) = (size_text(*range.start() as u64), size_text(*range.end() as u64));
        let help = format!("from {start:?} to {end:?}, or a number of bytes");
        if let Some(text) = value.as_str() {
            let message = || format!("{text:?} is not a size");
            let bytes =
                parse_size(text).ok_or_else(|| Problem::new(code::VALUE, message(), &help))?;
            return in_range(usize::try_from(bytes).ok(), &range, || format!("{text:?}"), help);
        }
        let number = whole(value).ok_or_else(|| wrong_type("a size", value, &help))?;
        in_range(usize::try_from(number).ok(), &range, || number.to_string(), help)
    }
}

/// A duration with its unit.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl FnOnce(&DeValue<'_>) -> Result<Duration, Problem> {
    move |value| {
        let (start, end) = (duration_text(*range.start()), duration_text(*range.end()));
        let help = format!("from {start:?} to {end:?}; units: ms, s, m, h, days");
        let text =
            value.as_str().ok_or_else(|| wrong_type("a duration in quotes", value, &help))?;
        let length = parse_duration(text).ok_or_else(|| {
            Problem::new(code::VALUE, format!("{text:?} is not a duration"), &help)
        })?;
        in_range(Some(length), &range, || format!("{text:?}"), help)
    }
}

fn in_range<T: PartialOrd>(
    value: Option<T>,
    range: &RangeInclusive<T>,
    shown: impl FnOnce() -> String,
    help: String,
) -> Result<T, Problem> {
    value
        .filter(|value| range.contains(value))
        .ok_or_else(|| Problem::new(code::RANGE, format!("{} is out of range", shown()), help))
}

fn whole(value: &DeValue<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    // TOML's integers have 64 bits; what does not even fit here is as far out of range.
    Some(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX))
}
