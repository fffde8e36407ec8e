//! Regular expressions in Java's syntax (`java.util.regex.Pattern`, version 11), as AWS IoT has them.
//!
//! [`JavaRegex::new`] rewrites an expression into one of two dialects of Rust. Most run in time
//! linear in the text. Look-around, back-references, atomic groups and possessive quantifiers need
//! backtracking, which is bounded by [`REGEX_STEPS_MAX`](crate::limits::REGEX_STEPS_MAX): a search that
//! takes more ends in [`TooCostly`]. So does one for which the [`Steps`] of all searches together are
//! not enough. What neither has is refused with its name. Classes are ASCII unless `(?U)` says
//! otherwise, `.` stops at every line terminator, and `$` matches before the last one, as in Java.

mod class;
mod replacement;
mod steps;
mod translate;

use std::fmt;
use std::ops::Range;

use crate::limits::REGEX_BYTES_MAX;
use crate::limits::REGEX_TEXT_BYTES_MAX;

use steps::Backtracking;
use translate::Translated;

pub use replacement::Replacement;
pub use steps::Steps;

/// An expression ready to search.
#[derive(Debug)]
pub struct JavaRegex {
    matcher: Matcher,
    /// What anchors of lines mean in texts with some line terminators, where that cannot be searched for linearly.
    exact: Option<Matcher>,
    /// Whether there are such anchors under the flag `m`.
    has_lines: bool,
    groups: usize,
    names: Vec<(String, usize)>,
}

#[derive(Debug)]
enum Matcher {
    Linear(regex::Regex),
    Backtracking(Box<Backtracking>),
}

/// Why a text is no expression here, in one sentence without its point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegexError {
    /// Java would not take it either.
    Invalid(String),
    /// Java has it, and this does not.
    Unsupported(String),
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegexError::Invalid(problem) => f.write_str(problem),
            RegexError::Unsupported(what) => write!(f, "{what} not supported"),
        }
    }
}

/// A search took more steps than it may, or than were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooCostly;

/// Where a match and its groups are.
pub type Groups = Vec<Option<Range<usize>>>;

impl JavaRegex {
    /// Reads `pattern`.
    ///
    /// # Errors
    /// [`RegexError`]: not Java's syntax, not supported, longer than [`REGEX_TEXT_BYTES_MAX`], or
    /// larger than [`REGEX_BYTES_MAX`] when compiled.
    pub fn new(pattern: &str) -> Result<JavaRegex, RegexError> {
        if pattern.len() > REGEX_TEXT_BYTES_MAX {
            let problem = format!("an expression has at most {REGEX_TEXT_BYTES_MAX} bytes");
            return Err(RegexError::Invalid(problem));
        }
        let translated = translate::translate(pattern)?;
        let (matcher, exact) = if translated.needs_backtracking {
            (backtracking(&translated)?, None)
        } else if translated.has_line_anchors() {
            (linear(&translated.text)?, Some(backtracking(&translated)?))
        } else {
            (linear(&translated.text)?, None)
        };
        let Translated { groups, names, has_lines, .. } = translated;
        Ok(JavaRegex { matcher, exact, has_lines, groups, names })
    }

    /// How many groups it has, the whole match not counted.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The number of the group called `name`.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    /// Whether it matches somewhere in `text`.
    ///
    /// # Errors
    /// [`TooCostly`].
    pub fn is_match(&self, text: &str, steps: &Steps) -> Result<bool, TooCostly> {
        match self.matcher_for(text) {
            Matcher::Linear(regex) => {
                steps.take_linear(text)?;
                Ok(regex.is_match(text))
            }
            Matcher::Backtracking(regex) => regex.search(text, steps, |regex| regex.is_match(text)),
        }
    }

    /// The first match in `text`.
    ///
    /// # Errors
    /// [`TooCostly`].
    pub fn find<'t>(&self, text: &'t str, steps: &Steps) -> Result<Option<&'t str>, TooCostly> {
        match self.matcher_for(text) {
            Matcher::Linear(regex) => {
                steps.take_linear(text)?;
                Ok(regex.find(text).map(|found| found.as_str()))
            }
            Matcher::Backtracking(regex) => regex.search(text, steps, |regex| {
                let found = regex.find(text)?;
                Ok(found.and_then(|found| text.get(found.start()..found.end())))
            }),
        }
    }

    /// Calls `visit` with every match in `text` and its groups, the whole match first, until it answers
    /// false.
    ///
    /// # Errors
    /// [`TooCostly`].
    pub fn for_each_match(
        &self,
        text: &str,
        steps: &Steps,
        mut visit: impl FnMut(&Groups) -> bool,
    ) -> Result<(), TooCostly> {
        let mut groups = Groups::new();
        match self.matcher_for(text) {
            Matcher::Linear(regex) => {
                steps.take_linear(text)?;
                let mut from = Some(0);
                while let Some(captures) = from.and_then(|from| regex.captures_at(text, from)) {
                    steps.take(2 + self.groups)?;
                    groups.clear();
                    groups.extend(captures.iter().map(|group| group.map(|group| group.range())));
                    if !visit(&groups) {
                        break;
                    }
                    from = captures.get(0).and_then(|found| behind(text, found.range()));
                }
            }
            Matcher::Backtracking(regex) => {
                let (regex, cost) = regex.for_all(text, steps)?;
                let mut next = Some(0);
                while let Some(from) = next {
                    steps.take(cost)?;
                    let found = regex.captures_from_pos(text, from).map_err(|_| TooCostly)?;
                    let Some(captures) = found else { break };
                    groups.clear();
                    let range =
                        |number| captures.get(number).map(|group| group.start()..group.end());
                    groups.extend((0..=self.groups).map(range));
                    if !visit(&groups) {
                        break;
                    }
                    next = captures.get(0).and_then(|found| behind(text, found.range()));
                }
            }
        }
        Ok(())
    }

    fn matcher_for(&self, text: &str) -> &Matcher {
        let asks_for_exact = || {
            text.is_empty()
                || text.ends_with(LINE_TERMINATORS)
                || self.has_lines && text.contains(RARE_TERMINATORS)
        };
        match &self.exact {
            Some(exact) if asks_for_exact() => exact,
            _ => &self.matcher,
        }
    }
}

/// Where the search for the next match begins, as in Java: behind the last one, and a character further when that
/// was empty. So an empty match may stand right behind one that is not.
fn behind(text: &str, found: Range<usize>) -> Option<usize> {
    if !found.is_empty() {
        return Some(found.end);
    }
    let next = text.get(found.end..)?.chars().next()?;
    Some(found.end + next.len_utf8())
}

/// Java's line terminators.
const LINE_TERMINATORS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
/// Those of them that a linear search does not know.
const RARE_TERMINATORS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

fn linear(text: &str) -> Result<Matcher, RegexError> {
    let mut builder = regex::RegexBuilder::new(text);
    builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX);
    builder.build().map(Matcher::Linear).map_err(|error| {
        // The crate draws the pattern with marks; the last line has the reason in one sentence.
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        RegexError::Invalid(reason.to_owned())
    })
}

fn backtracking(translated: &Translated) -> Result<Matcher, RegexError> {
    Backtracking::new(translated.exact()).map(Box::new).map(Matcher::Backtracking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REGEX_STEPS_MAX;

    fn steps() -> Steps {
        Steps::new(10 * REGEX_STEPS_MAX)
    }

    #[track_caller]
    fn finds(pattern: &str, text: &str, expected: Option<&str>) {
        let regex = JavaRegex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(regex.find(text, &steps()), Ok(expected), "{pattern} in {text:?}");
        assert_eq!(regex.is_match(text, &steps()), Ok(expected.is_some()), "{pattern} in {text:?}");
    }

    #[track_caller]
    fn refused(pattern: &str, part: &str) {
        let error = JavaRegex::new(pattern).expect_err(pattern).to_string();
        assert!(error.contains(part), "{pattern}: {error}");
    }

    #[test]
    fn classes_are_ascii_unless_unicode_is_asked_for() {
        finds(r"\d+", "٣4", Some("4"));
        finds(r"(?U)\d+", "٣4", Some("٣4"));
        finds(r"\w+", "éa_1", Some("a_1"));
        finds(r"\W", "aé", Some("é"));
        finds(r"[\w-]+", "é-a", Some("-a"));
        finds(r"\h+", "a\u{3000}\tb", Some("\u{3000}\t"));
        finds(r"[^\H\t]", "\t \u{a0}", Some(" "));
        finds(r"\v", "a\u{85}", Some("\u{85}"));
        finds(r"a\Rb", "a\r\nb", Some("a\r\nb"));
        finds(r"(?i)straße", "STRAßE", Some("STRAßE"));
        finds(r"(?i)é", "É", None);
        finds(r"(?iu)é", "É", Some("É"));
        finds(r"(?i)[a-c]+x", "aBCX", Some("aBCX"));
        finds(r"(?i:a)b", "Ab AB", Some("Ab"));
    }

    #[test]
    fn properties_have_java_s_names() {
        finds(r"\p{Alpha}+", "é1abc", Some("abc"));
        finds(r"\p{Punct}+", "a[b-", Some("["));
        finds(r"\P{Graph}", "ab c", Some(" "));
        finds(r"[\p{Upper}\p{Digit}]+", "aB2c", Some("B2"));
        finds(r"\pL+", "1é2", Some("é"));
        finds(r"\p{IsGreek}", "aβ", Some("β"));
        finds(r"\p{script=Greek}", "aβ", Some("β"));
        finds(r"\p{IsAlphabetic}+", "1éa", Some("éa"));
        finds(r"\p{javaUpperCase}", "aÉ", Some("É"));
        finds(r"\p{XDigit}{2}", "xA9", Some("A9"));
        refused(r"\p{InGreek}", "blocks");
        refused(r"\p{Nonsense}", "");
    }

    #[test]
    fn sets_are_joined_and_cut() {
        finds("[a-z&&[^aeiou]]+", "aebcd", Some("bcd"));
        finds("[a-d[m-p]]+", "xamdz", Some("amd"));
        finds("[]a]+", "x]a", Some("]a"));
        finds("[a-]+", "x-a", Some("-a"));
        finds(r"[\[\]~&-]+", "a[~&-]", Some("[~&-]"));
        finds("[^a-c]", "abcd", Some("d"));
        refused("[z-a]", "range");
        refused("[abc", "closed");
    }

    #[test]
    fn line_terminators_are_java_s() {
        finds("a.c", "a\rc", None);
        finds("(?s)a.c", "a\rc", Some("a\rc"));
        finds("(?d)a.c", "a\rc", Some("a\rc"));
        finds("c$", "abc\n", Some("c"));
        finds("c$", "abc\r\n", Some("c"));
        finds(r"c\r$", "abc\r\n", None);
        finds(r"c\Z", "abc\n", Some("c"));
        finds(r"c\z", "abc\n", None);
        finds("c$", "abc\n\n", None);
        finds("(?m)^b$", "a\nb\nc", Some("b"));
        finds("(?m)^b$", "a\r\nb\r\nc", Some("b"));
        finds("^b", "a\nb", None);
    }

    #[test]
    fn what_needs_backtracking_gets_it() {
        finds("a(?=b)", "acab", Some("a"));
        finds("a(?!c).", "acab", Some("ab"));
        finds("(?<=-)x", "x-x", Some("x"));
        finds("(?<!-)x.", "-xay", None);
        finds(r"(\w)\1", "abccd", Some("cc"));
        finds(r"(?<c>\w)\k<c>", "abccd", Some("cc"));
        finds(r"(a)\10", "aa0", Some("aa0"));
        finds("a*+a", "aaa", None);
        finds("a{1,2}+a", "aaa", Some("aaa"));
        finds("(?>a|ab)c", "abc", None);
        finds(r"(?i)(a)\1", "aA", Some("aA"));
        finds(r"(?=.*\d)(?=.*[a-z]).{4,}$", "ab12\n", Some("ab12"));
    }

    #[test]
    fn escapes_and_quotations_stand_for_themselves() {
        finds(r"\Qa.b*\E+", "a.b**", Some("a.b**"));
        finds(r"\x41\u0042\x{1F600}\0103\t\cA", "AB\u{1F600}C\t\u{1}", Some("AB\u{1F600}C\t\u{1}"));
        finds(r"\uD83D\uDE00", "\u{1F600}", Some("\u{1F600}"));
        finds(r"\.\/\-\#", "./-#", Some("./-#"));
        finds("(?x) a b # c\n c", "abc", Some("abc"));
        finds("a{2}?b", "aab", Some("aab"));
        finds("(?<year>[0-9]{4})", "in 2023", Some("2023"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused("(", "not closed");
        refused(")", "closes nothing");
        refused("*a", "nothing before");
        refused("a**", "nothing before");
        refused("a{", "repetition");
        refused("a{2,1}", "");
        refused(r"\q", "escape");
        refused(r"a\", "escape");
        refused(r"\1(a)", "behind it is not supported");
        refused(r"\k<x>", "no group");
        refused(r"\G", "not supported");
        refused(r"\X", "not supported");
        refused("(?<a-b>x)", "name");
        refused("(?y)", "flag");
        refused(&"[".repeat(200), "deep");
        refused(&"(a".repeat(2000), "");
        refused(r"(\p{L}{500}){500}", "");
        refused(&"a".repeat(REGEX_TEXT_BYTES_MAX + 1), "bytes");
    }

    #[test]
    fn a_search_that_goes_on_and_on_is_cut() {
        let regex = JavaRegex::new(r"(?:(?=x)x+)+y").unwrap();
        let text = format!("{}!y", "x".repeat(100));
        assert_eq!(regex.is_match(&text, &steps()), Err(TooCostly));
        let mut seen = 0;
        let regex = JavaRegex::new(r"(\w)\1").unwrap();
        regex
            .for_each_match("aabbcc", &steps(), |groups| {
                assert_eq!(groups.len(), 2);
                seen += 1;
                seen < 2
            })
            .unwrap();
        assert_eq!(seen, 2);
    }

    #[test]
    fn searches_share_their_steps() {
        let regex = JavaRegex::new("(?:(?=x)x+)+y").unwrap();
        let (slow, quick) = (format!("{}!", "x".repeat(14)), "xy");
        let steps = Steps::new(1_000_000);
        let mut searches = 0;
        while regex.is_match(&slow, &steps).is_ok() {
            searches += 1;
        }
        assert!((3..1000).contains(&searches), "{searches}");
        assert_eq!(regex.is_match(quick, &steps), Err(TooCostly), "nothing is left");
        assert_eq!(regex.is_match(quick, &Steps::new(64)), Ok(true));
        let seen = |text: &str, steps: usize| {
            let mut seen = 0;
            let visit = |_: &Groups| {
                seen += 1;
                true
            };
            let searched = regex.for_each_match(text, &Steps::new(steps), visit);
            searched.map(|()| seen)
        };
        assert_eq!(seen(&"xy".repeat(10), 3_000), Ok(10));
        assert_eq!(seen(&"xy".repeat(10), 1_000), Err(TooCostly));
        let linear = JavaRegex::new("[0-9]+").unwrap();
        let long = "x".repeat(16 * 1024);
        assert_eq!(linear.is_match(&long, &Steps::new(2000)), Ok(false));
        assert_eq!(linear.is_match(&long, &Steps::new(1000)), Err(TooCostly));
    }

    proptest::proptest! {
        #[test]
        fn no_text_upsets_the_translation(
            pattern in r"[\[\]\\(){}?*+|^$.&<>=!:#,0-9a-zA-Z -]{0,24}",
            text in "[ab1\n]{0,8}",
        ) {
            if let Ok(regex) = JavaRegex::new(&pattern) {
                let found = regex.find(&text, &steps());
                proptest::prop_assert!(found.is_err() || regex.is_match(&text, &steps()) == found.map(|f| f.is_some()));
            }
        }
    }
}
