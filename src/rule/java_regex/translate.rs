//! One walk over a Java expression that writes its equivalent in the `regex` crates' syntax.
//!
//! It does not recurse but for sets inside sets, whose depth is bounded. Everything that the dialects
//! understand differently is written out: no letter class, point or anchor is left to the
//! other's meaning.

use super::RegexError;
use super::class;

/// Sets inside sets; nobody writes more than two.
const SETS_DEEP_MAX: usize = 16;
/// Groups inside groups: below what the crates take.
const GROUPS_DEEP_MAX: usize = 60;

/// The equivalent of an expression.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// Its text, where `$` matches at the very end only.
    pub(super) text: String,
    /// The anchors in `text` that mean more in a text with certain line terminators, from the first.
    line_anchors: Vec<(usize, LineAnchor)>,
    /// Whether there is one of the flag `m` among them.
    pub(super) has_lines: bool,
    /// Whether no linear search can do it.
    pub(super) needs_backtracking: bool,
    /// How many groups it has.
    pub(super) groups: usize,
    /// Groups with a name.
    pub(super) names: Vec<(String, usize)>,
}

/// What an anchor of lines becomes.
#[derive(Clone, Copy, Debug)]
struct LineAnchor {
    /// In a text that has characters, does not end with a line terminator, and has no `\x85`, `\u2028` or
    /// `\u2029` in it: what a linear search can do.
    plain: &'static str,
    /// In every text.
    exact: &'static str,
}

/// `$` and `\Z`, also before a last line terminator, and never inside `\r\n`.
const END: LineAnchor =
    LineAnchor { plain: r"\z", exact: r"(?=(?:\r\n|(?<!\r)\n|[\r\x85\u{2028}\u{2029}])?\z)" };
/// The same under the flag `d`.
const UNIX_END: LineAnchor = LineAnchor { plain: r"\z", exact: r"(?=\n?\z)" };
/// `^` under the flag `m`: behind a line terminator, but not at the end of the text.
const LINE_START: LineAnchor = LineAnchor {
    plain: "(?mR:^)",
    exact: r"(?:\A|(?<=[\n\x85\u{2028}\u{2029}])|(?<=\r)(?!\n))(?!\z)",
};
/// The same under `d`.
const UNIX_LINE_START: LineAnchor = LineAnchor { plain: "(?m:^)", exact: r"(?m:^)(?!\z)" };
/// `$` under the flag `m`.
const LINE_END: LineAnchor =
    LineAnchor { plain: "(?mR:$)", exact: r"(?:(?=[\r\x85\u{2028}\u{2029}]|\z)|(?<!\r)(?=\n))" };

impl Translated {
    pub(super) fn has_line_anchors(&self) -> bool {
        !self.line_anchors.is_empty()
    }

    /// The text with the exact meaning of its anchors.
    pub(super) fn exact(&self) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0;
        for (at, anchor) in &self.line_anchors {
            text.push_str(self.text.get(from..*at).unwrap_or_default());
            text.push_str(anchor.exact);
            from = at + anchor.plain.len();
        }
        text.push_str(self.text.get(from..).unwrap_or_default());
        text
    }
}

pub(super) fn translate(pattern: &str) -> Result<Translated, RegexError> {
    let mut translator = Translator {
        rest: pattern,
        out: Translated::default(),
        flags: Flags::default(),
        open: Vec::new(),
        atom: None,
        forward: None,
    };
    while let Some(next) = translator.next() {
        translator.piece(next)?;
    }
    match translator.open.pop() {
        Some(_) => Err(invalid("a group is not closed")),
        None if translator.forward.is_some_and(|number| number <= translator.out.groups) => {
            unsupported("a reference to a group behind it is")
        }
        None => Ok(translator.out),
    }
}

fn invalid(problem: impl Into<String>) -> RegexError {
    RegexError::Invalid(problem.into())
}

fn unsupported<T>(what: &str) -> Result<T, RegexError> {
    Err(RegexError::Unsupported(what.to_owned()))
}

#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one letter of (?idmsuxU)")]
struct Flags {
    /// i
    ignores_case: bool,
    /// u
    unicode_case: bool,
    /// U
    unicode_classes: bool,
    /// m
    lines: bool,
    /// s
    dot_all: bool,
    /// d
    unix_lines: bool,
    /// x
    comments: bool,
}

struct Translator<'p> {
    rest: &'p str,
    out: Translated,
    flags: Flags,
    /// Open groups: what they are, and the flags before them.
    open: Vec<(Atom, Flags)>,
    /// The piece that a quantifier would repeat.
    atom: Option<Atom>,
    /// The smallest number of a reference that stands before its group, or has none.
    forward: Option<usize>,
}

/// A piece that may be repeated.
#[derive(Clone, Copy)]
struct Atom {
    /// Where it begins in the output.
    start: usize,
    /// It matches a place: an anchor, or what looks around.
    is_place: bool,
}

/// One member of a set, or a class of several.
enum Member {
    One(char),
    Class(String),
}

impl<'p> Translator<'p> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
        Some(next)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What stands before `end`, which is taken too.
    fn until(&mut self, end: char) -> Option<&'p str> {
        let (before, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(before)
    }

    /// Writes a piece that may be repeated.
    fn write(&mut self, text: &str) {
        self.atom = Some(Atom { start: self.out.text.len(), is_place: false });
        self.out.text.push_str(text);
    }

    /// Writes what matches a place.
    fn write_anchor(&mut self, text: &str) {
        self.atom = Some(Atom { start: self.out.text.len(), is_place: true });
        self.out.text.push_str(text);
    }

    fn piece(&mut self, next: char) -> Result<(), RegexError> {
        match next {
            '\\' => return self.escape(),
            '[' => return self.set(),
            '(' => return self.group(),
            ')' => {
                let Some((group, flags)) = self.open.pop() else {
                    return Err(invalid("`)` closes nothing"));
                };
                self.out.text.push(')');
                self.atom = Some(group);
                self.flags = flags;
            }
            '|' => {
                self.out.text.push('|');
                self.atom = None;
            }
            '.' => self.write(match (self.flags.dot_all, self.flags.unix_lines) {
                (true, _) => "(?s:.)",
                (false, true) => r"[^\n]",
                (false, false) => r"[^\n\r\x85\u{2028}\u{2029}]",
            }),
            '^' if self.flags.lines => self.line_anchor(match self.flags.unix_lines {
                true => UNIX_LINE_START,
                false => LINE_START,
            }),
            '^' => self.write_anchor(r"\A"),
            '$' => self.dollar(self.flags.lines),
            '*' | '+' | '?' => return self.repeat(next.to_string()),
            '{' => {
                let counts = self.until('}').filter(|counts| are_counts(counts));
                let Some(counts) = counts else {
                    return Err(invalid("`{` begins no repetition such as {2,3}; write `\\{`"));
                };
                return self.repeat(format!("{{{counts}}}"));
            }
            _ if self.flags.comments && is_blank(next) => {}
            '#' if self.flags.comments => self.comment(),
            other => self.literal(other),
        }
        Ok(())
    }

    fn comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    fn dollar(&mut self, is_of_lines: bool) {
        match (is_of_lines, self.flags.unix_lines) {
            // It means the same in every text.
            (true, true) => self.write_anchor("(?m:$)"),
            (true, false) => self.line_anchor(LINE_END),
            (false, true) => self.line_anchor(UNIX_END),
            (false, false) => self.line_anchor(END),
        }
    }

    fn line_anchor(&mut self, anchor: LineAnchor) {
        self.out.has_lines |= self.flags.lines;
        self.out.line_anchors.push((self.out.text.len(), anchor));
        self.write_anchor(anchor.plain);
    }

    fn repeat(&mut self, quantifier: String) -> Result<(), RegexError> {
        let Some(Atom { start, is_place }) = self.atom.take() else {
            return Err(invalid(format!("there is nothing before `{quantifier}` to repeat")));
        };
        let is_possessive = self.take("+");
        let is_lazy = !is_possessive && self.take("?");
        if is_place {
            self.repeat_place(start, &quantifier, is_lazy);
        } else if is_possessive {
            // What it has taken it keeps.
            self.insert(start, "(?>");
            self.out.text.push_str(&quantifier);
            self.out.text.push(')');
            self.out.needs_backtracking = true;
        } else {
            self.out.text.push_str(&quantifier);
            if is_lazy {
                self.out.text.push('?');
            }
        }
        Ok(())
    }

    /// A place that is repeated is that place, or, where none is enough, that place or any.
    fn repeat_place(&mut self, start: usize, quantifier: &str, is_lazy: bool) {
        let least = quantifier.trim_start_matches('{').trim_start_matches('0');
        let is_optional = matches!(quantifier, "*" | "?")
            || quantifier.starts_with("{0") && least.starts_with([',', '}']);
        if is_optional && is_lazy {
            self.insert(start, "(?:|");
            self.out.text.push(')');
        } else if is_optional {
            self.insert(start, "(?:");
            self.out.text.push_str("|)");
        }
    }

    fn insert(&mut self, start: usize, text: &str) {
        self.out.text.insert_str(start, text);
        for (at, _) in &mut self.out.line_anchors {
            *at += if *at >= start { text.len() } else { 0 };
        }
    }

    fn literal(&mut self, literal: char) {
        let Flags { ignores_case, unicode_case, .. } = self.flags;
        let escaped = regex::escape(literal.encode_utf8(&mut [0; 4]));
        if ignores_case && unicode_case {
            self.write(&format!("(?i:{escaped})"));
        } else if ignores_case && literal.is_ascii_alphabetic() {
            let (lower, upper) = (literal.to_ascii_lowercase(), literal.to_ascii_uppercase());
            self.write(&format!("[{lower}{upper}]"));
        } else {
            self.write(&escaped);
        }
    }

    /// Behind `(`.
    fn group(&mut self) -> Result<(), RegexError> {
        if self.open.len() >= GROUPS_DEEP_MAX {
            return Err(invalid(format!("more than {GROUPS_DEEP_MAX} groups inside one another")));
        }
        let mut group = Atom { start: self.out.text.len(), is_place: false };
        let before = self.flags;
        if !self.take("?") {
            self.out.groups += 1;
            self.out.text.push('(');
        } else if let Some(look) =
            ["=", "!", "<=", "<!", ">"].into_iter().find(|look| self.rest.starts_with(look))
        {
            self.take(look);
            group.is_place = look != ">";
            self.out.needs_backtracking = true;
            self.out.text.push_str("(?");
            self.out.text.push_str(look);
        } else if self.take(":") {
            self.out.text.push_str("(?:");
        } else if self.take("<") {
            let name = self.until('>').filter(|name| is_group_name(name));
            let Some(name) = name else {
                return Err(invalid("a group's name has letters and digits, a letter first"));
            };
            if self.out.names.iter().any(|(known, _)| known == name) {
                return Err(invalid(format!("two groups have the name {name}")));
            }
            self.out.groups += 1;
            self.out.names.push((name.to_owned(), self.out.groups));
            self.out.text.push_str(&format!("(?P<{name}>"));
        } else if self.flags()? {
            self.out.text.push_str("(?:");
        } else {
            // `(?i)` holds to the end of the group around, and matches any place.
            self.write_anchor("");
            return Ok(());
        }
        self.open.push((group, before));
        self.atom = None;
        Ok(())
    }

    /// `i-s:` or `i-s)`; whether a group follows.
    fn flags(&mut self) -> Result<bool, RegexError> {
        let mut is_set = true;
        loop {
            let flag = match self.next() {
                Some(':') => return Ok(true),
                Some(')') => return Ok(false),
                Some('-') if is_set => {
                    is_set = false;
                    continue;
                }
                Some('i') => &mut self.flags.ignores_case,
                Some('u') => &mut self.flags.unicode_case,
                Some('m') => &mut self.flags.lines,
                Some('s') => &mut self.flags.dot_all,
                Some('d') => &mut self.flags.unix_lines,
                Some('x') => &mut self.flags.comments,
                Some('U') => {
                    // It brings `u` with it.
                    self.flags.unicode_case = is_set;
                    &mut self.flags.unicode_classes
                }
                _ => {
                    return Err(invalid("behind `(?` stand the flags idmsuxU, or a kind of group"));
                }
            };
            *flag = is_set;
        }
    }

    /// Behind `\`, outside of a set.
    fn escape(&mut self) -> Result<(), RegexError> {
        let Some(letter) = self.rest.chars().next() else {
            return Err(invalid("`\\` at the end escapes nothing"));
        };
        let anchor = match letter {
            'A' => Some(r"\A"),
            'z' => Some(r"\z"),
            'b' if !self.rest.starts_with("b{g") => Some(r"\b"),
            'B' => Some(r"\B"),
            _ => None,
        };
        if let Some(anchor) = anchor {
            self.next();
            self.write_anchor(anchor);
            return Ok(());
        }
        match letter {
            'b' => return unsupported("`\\b{g}` is"),
            'G' => return unsupported("`\\G` is"),
            'X' => return unsupported("`\\X` is"),
            'N' => return unsupported("`\\N{…}` is"),
            'Z' => {
                self.next();
                self.dollar(false);
            }
            'R' => {
                self.next();
                self.write(r"(?:\r\n|[\n\x0B\x0C\r\x85\u{2028}\u{2029}])");
            }
            'Q' => {
                self.next();
                let quoted = self.rest.split_once(r"\E");
                let (quoted, rest) = quoted.unwrap_or((self.rest, ""));
                self.rest = rest;
                quoted.chars().for_each(|quoted| self.literal(quoted));
            }
            'k' => {
                self.next();
                let name = if self.take("<") { self.until('>') } else { None };
                let known = self.out.names.iter().find(|(known, _)| Some(known.as_str()) == name);
                let Some((_, number)) = known else {
                    return Err(invalid("`\\k` names no group before it"));
                };
                self.reference(*number);
            }
            '1'..='9' => return self.numbered(),
            _ => match self.member_escape()? {
                Member::One(one) => self.literal(one),
                Member::Class(class) => self.write(&class),
            },
        }
        Ok(())
    }

    /// `\1`: as many digits as there are groups so far. One of no group matches nothing.
    fn numbered(&mut self) -> Result<(), RegexError> {
        let mut number = 0;
        while let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(10)) {
            let longer = number * 10 + digit as usize;
            if number > 0 && longer > self.out.groups {
                break;
            }
            number = longer;
            self.next();
        }
        if number > self.out.groups {
            // What has not been matched is not matched again.
            self.forward = Some(self.forward.map_or(number, |least| least.min(number)));
            self.write(r"[^\s\S]");
            return Ok(());
        }
        self.reference(number);
        Ok(())
    }

    fn reference(&mut self, number: usize) {
        self.out.needs_backtracking = true;
        let flag = if self.flags.ignores_case { "i" } else { "" };
        self.write(&format!("(?{flag}:\\{number})"));
    }

    /// Behind `\`, in a set or outside: one character, or a class.
    fn member_escape(&mut self) -> Result<Member, RegexError> {
        let Some(letter) = self.next() else {
            return Err(invalid("`\\` at the end escapes nothing"));
        };
        let is_unicode = self.flags.unicode_classes;
        if let Some(members) = class::predefined(letter.to_ascii_lowercase(), is_unicode) {
            let negation = if letter.is_ascii_uppercase() { "^" } else { "" };
            return Ok(Member::Class(format!("[{negation}{members}]")));
        }
        let one = match letter {
            'p' | 'P' => {
                let name = match self.take("{") {
                    true => self.until('}').ok_or_else(|| invalid("`\\p{` is not closed"))?,
                    false => {
                        let (name, rest) = self.rest.split_at_checked(1).unwrap_or(("", self.rest));
                        self.rest = rest;
                        name
                    }
                };
                let members = class::property(name, is_unicode)?;
                let negation = if letter == 'P' { "^" } else { "" };
                return Ok(Member::Class(format!("[{negation}{members}]")));
            }
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            '0' => self.octal()?,
            'x' if self.take("{") => {
                let digits = self.until('}').unwrap_or_default();
                code_point(digits).ok_or_else(|| invalid("`\\x{…}` holds no character"))?
            }
            'x' => self.hexadecimal(2).and_then(char::from_u32).ok_or_else(no_hexadecimal)?,
            'u' => self.utf16()?,
            'c' => match self.next() {
                Some(control) if control.is_ascii() => {
                    char::from(u8::try_from(control).unwrap_or_default() ^ 64)
                }
                _ => return Err(invalid("`\\c` is followed by a letter")),
            },
            other if other.is_ascii_alphanumeric() => {
                return Err(invalid(format!("`\\{other}` is no escape of Java's")));
            }
            other => other,
        };
        Ok(Member::One(one))
    }

    /// `\0n`, `\0nn`, `\0mnn` with m up to 3.
    fn octal(&mut self) -> Result<char, RegexError> {
        let mut number = 0;
        let mut count = 0;
        while let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8)) {
            if count == 3 || number * 8 + digit > 0o377 {
                break;
            }
            number = number * 8 + digit;
            count += 1;
            self.next();
        }
        char::from_u32(number)
            .filter(|_| count > 0)
            .ok_or_else(|| invalid("`\\0` lacks its digits"))
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let (text, rest) = self.rest.split_at_checked(digits)?;
        let number = text.bytes().all(|b| b.is_ascii_hexdigit()).then_some(text)?;
        self.rest = rest;
        u32::from_str_radix(number, 16).ok()
    }

    /// `\uhhhh`, and two of them for a character outside of the first plane.
    fn utf16(&mut self) -> Result<char, RegexError> {
        let first = self.hexadecimal(4).ok_or_else(no_hexadecimal)?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        let second = if self.take("\\u") { self.hexadecimal(4) } else { None };
        let pair = [Some(first), second].map(|unit| unit.and_then(|unit| u16::try_from(unit).ok()));
        let [Some(first), Some(second)] = pair else { return Err(no_hexadecimal()) };
        let mut decoded = char::decode_utf16([first, second]);
        decoded.next().and_then(Result::ok).ok_or_else(no_hexadecimal)
    }

    /// Behind `[`.
    fn set(&mut self) -> Result<(), RegexError> {
        let Flags { ignores_case, unicode_case, .. } = self.flags;
        let folds = ignores_case && unicode_case;
        let mut set = String::new();
        self.set_into(&mut set, 0)?;
        self.write(&if folds { format!("(?i:{set})") } else { set });
        Ok(())
    }

    fn set_into(&mut self, set: &mut String, depth: usize) -> Result<(), RegexError> {
        if depth == SETS_DEEP_MAX {
            return Err(invalid("sets inside one another are too deep"));
        }
        set.push('[');
        if self.take("^") {
            set.push('^');
        }
        let mut is_first = true;
        loop {
            let Some(next) = self.next() else { return Err(invalid("a set is not closed by `]`")) };
            match next {
                ']' if !is_first => break,
                '[' => self.set_into(set, depth + 1)?,
                '&' if self.take("&") => {
                    set.push_str("&&");
                    continue;
                }
                _ if self.flags.comments && is_blank(next) => continue,
                '#' if self.flags.comments => {
                    self.comment();
                    continue;
                }
                '\\' if self.take("Q") => {
                    let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                    self.rest = rest;
                    quoted.chars().for_each(|quoted| self.range_into(set, quoted, quoted));
                }
                '\\' => match self.member_escape()? {
                    Member::One(one) => self.members_into(set, one)?,
                    Member::Class(class) => set.push_str(&class),
                },
                other => self.members_into(set, other)?,
            }
            is_first = false;
        }
        set.push(']');
        Ok(())
    }

    /// `first`, or the range that begins with it.
    fn members_into(&mut self, set: &mut String, first: char) -> Result<(), RegexError> {
        let mut behind = self.rest.chars();
        let is_range =
            behind.next() == Some('-') && !matches!(behind.next(), None | Some(']' | '['));
        let mut last = first;
        if is_range {
            self.take("-");
            last = match self.next() {
                Some('\\') => match self.member_escape()? {
                    Member::One(last) => last,
                    Member::Class(_) => return Err(invalid("a range ends with one character")),
                },
                Some(last) => last,
                None => return Err(invalid("a set is not closed by `]`")),
            };
        }
        if last < first {
            return Err(invalid(format!("the range {first}-{last} is the wrong way round")));
        }
        self.range_into(set, first, last);
        Ok(())
    }

    /// The range, and with `(?i)` the other case of its ASCII letters.
    fn range_into(&self, set: &mut String, first: char, last: char) {
        let mut push = |first: char, last: char| {
            set.push_str(&member(first));
            if first != last {
                set.push('-');
                set.push_str(&member(last));
            }
        };
        push(first, last);
        if self.flags.ignores_case && !self.flags.unicode_case {
            for (low, high) in [('a', 'z'), ('A', 'Z')] {
                let (low, high) = (first.max(low), last.min(high));
                if low <= high {
                    let other = |letter: char| match letter.is_ascii_lowercase() {
                        true => letter.to_ascii_uppercase(),
                        false => letter.to_ascii_lowercase(),
                    };
                    push(other(low), other(high));
                }
            }
        }
    }
}

fn no_hexadecimal() -> RegexError {
    invalid("`\\x` or `\\u` lacks its hexadecimal digits")
}

/// A character between brackets, where nearly every sign means something.
fn member(character: char) -> String {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => character.to_string(),
        other => format!(r"\x{{{:X}}}", u32::from(other)),
    }
}

fn code_point(digits: &str) -> Option<char> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_number
        .then_some(digits)
        .and_then(|d| u32::from_str_radix(d, 16).ok())
        .and_then(char::from_u32)
}

/// `2`, `2,`, `2,3`.
fn are_counts(counts: &str) -> bool {
    let is_count = |count: &str| !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
    match counts.split_once(',') {
        Some((least, most)) => is_count(least) && (most.is_empty() || is_count(most)),
        None => is_count(counts),
    }
}

fn is_group_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Blanks that `(?x)` passes over.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}
