//! The look over a rule file before it is parsed: where statements begin and end, and what is not
//! closed.
//!
//! Text in, byte ranges and diagnostics out, in one pass that neither recurses nor goes back. It
//! knows quotes, comments, brackets and `CASE … END`, so it can bound nesting before pest (whose
//! recursion is bounded by nothing) sees the text, name the bracket that lacks its partner, and
//! keep an error in one statement from hiding the errors of the next. A statement ends at `;`, or,
//! where that was forgotten, before the next `CREATE RULE` or `CREATE TABLE`.

use std::ops::Range;

use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::limits::NESTING_MAX;
use crate::limits::STATEMENT_TOKENS_MAX;

/// One statement without its `;`, from its first to its last character that is no blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) span: Range<usize>,
    /// Whether the scan already found it broken: the parser would only repeat it in worse words.
    pub(super) broken: bool,
}

/// What opens a level of nesting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opener {
    Round,
    Square,
    Curly,
    Case,
}

impl Opener {
    fn text(self) -> &'static str {
        match self {
            Opener::Round => "(",
            Opener::Square => "[",
            Opener::Curly => "{",
            Opener::Case => "CASE",
        }
    }

    fn closer(self) -> &'static str {
        match self {
            Opener::Round => ")",
            Opener::Square => "]",
            Opener::Curly => "}",
            Opener::Case => "END",
        }
    }
}

/// Splits `text` into statements.
pub(super) fn statements(text: &str, found: &mut Vec<Diagnostic>) -> Vec<Statement> {
    let mut scan = Scan::new(text, found);
    while scan.step(true) {}
    scan.end_statement();
    scan.statements
}

/// Scans `text` as one statement; whether it may go to the parser.
pub(super) fn is_sound(text: &str, found: &mut Vec<Diagnostic>) -> bool {
    let mut scan = Scan::new(text, found);
    while scan.step(false) {}
    scan.end_statement();
    scan.statements.iter().all(|statement| !statement.broken)
}

/// The length of the expression at the start of `text` up to the `}` that closes its template place;
/// `None` when there is none.
pub(super) fn placeholder_end(text: &str) -> Option<usize> {
    let mut ignored = Vec::new();
    let mut scan = Scan::new(text, &mut ignored);
    loop {
        let is_open = scan.open.iter().any(|(opener, _)| *opener == Opener::Curly);
        if !is_open && text.as_bytes().get(scan.position) == Some(&b'}') {
            return Some(scan.position);
        }
        if !scan.step(false) {
            return None;
        }
    }
}

/// The last thing seen that was no blank or comment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    /// `.`: the next word is a name.
    Dot,
    /// AS: the next word is an alias.
    As,
    /// CREATE, where it began, and where what stood before it ended.
    Create {
        at: usize,
        before: usize,
    },
    Other,
}

struct Scan<'t, 'd> {
    text: &'t str,
    position: usize,
    /// Where the statement begins; `None` while only blanks and comments have been seen.
    start: Option<usize>,
    /// Behind the last character of the statement so far.
    end: usize,
    open: Vec<(Opener, Range<usize>)>,
    last: Last,
    broken: bool,
    /// Words, texts and signs of the statement so far.
    tokens: usize,
    statements: Vec<Statement>,
    found: &'d mut Vec<Diagnostic>,
}

impl<'t, 'd> Scan<'t, 'd> {
    fn new(text: &'t str, found: &'d mut Vec<Diagnostic>) -> Self {
        // Editors on Windows begin files with a byte order mark.
        let position = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Scan {
            text,
            position,
            start: None,
            end: position,
            open: Vec::new(),
            last: Last::Nothing,
            broken: false,
            tokens: 0,
            statements: Vec::new(),
            found,
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// Takes one token, comment or blank; `false` at the end.
    fn step(&mut self, splits: bool) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return false };
        if rest.starts_with("--") {
            self.position += rest.find('\n').unwrap_or(rest.len());
            return true;
        }
        if rest.starts_with("/*") {
            self.block_comment(rest);
            return true;
        }
        if first.is_whitespace() {
            self.position += first.len_utf8();
            return true;
        }
        if first == ';' && splits {
            self.end_statement();
            self.position += 1;
            return true;
        }
        if first == ';' {
            self.fail(
                Diagnostic::error(Code::SYNTAX, "`;` ends a statement and cannot stand here")
                    .at(self.position..self.position + 1, ""),
            );
        }
        self.start.get_or_insert(self.position);
        self.count(1);
        match first {
            '\'' | '"' | '`' => self.quoted(rest, first),
            '(' => self.open(Opener::Round, 1),
            '[' => self.open(Opener::Square, 1),
            '{' => self.open(Opener::Curly, 1),
            ')' => self.close(Opener::Round),
            ']' => self.close(Opener::Square),
            '}' => self.close(Opener::Curly),
            '.' => {
                self.take(1);
                self.last = Last::Dot;
            }
            first if first.is_alphanumeric() || first == '_' || first == '@' => {
                self.word(rest, splits);
            }
            other => self.take(other.len_utf8()),
        }
        true
    }

    fn take(&mut self, bytes: usize) {
        self.position += bytes;
        self.end = self.position;
        self.last = Last::Other;
    }

    /// Counts what the parser will have to look at, which takes time for each and not for each byte.
    fn count(&mut self, tokens: usize) {
        let was_within = self.tokens <= STATEMENT_TOKENS_MAX;
        self.tokens += tokens;
        if was_within && self.tokens > STATEMENT_TOKENS_MAX && !self.broken {
            let message = format!(
                "the statement has more than {STATEMENT_TOKENS_MAX} words, texts and signs"
            );
            self.fail(
                Diagnostic::error(Code::SIZE, message)
                    .at(self.position..self.position, "the first too many")
                    .help("split the rule, or put its lists into a table: CREATE TABLE, JOIN"),
            );
        }
    }

    fn fail(&mut self, diagnostic: Diagnostic) {
        self.broken = true;
        self.found.push(diagnostic);
    }

    fn block_comment(&mut self, rest: &str) {
        match rest.find("*/") {
            Some(end) if end >= 2 => self.position += end + 2,
            // `/*/` opens and does not close.
            _ => match rest.get(3..).and_then(|rest| rest.find("*/")) {
                Some(end) => self.position += end + 5,
                None => {
                    let place = self.position..self.position + 2;
                    self.fail(
                        Diagnostic::error(Code::UNCLOSED, "the comment is not closed")
                            .at(place, "opened here")
                            .help("close it with `*/`"),
                    );
                    self.position = self.text.len();
                }
            },
        }
    }

    fn quoted(&mut self, rest: &str, quote: char) {
        // A doubled quote is two quoted texts side by side, which comes to the same here.
        let closed = rest.get(1..).and_then(|inner| inner.find(quote)).map(|end| end + 2);
        match closed.filter(|end| !holds_a_statement(rest.get(..*end).unwrap_or_default())) {
            Some(length) => {
                let text = rest.get(..length).unwrap_or_default();
                if let Some((_, templates)) = text.split_once("${") {
                    let is_sign = |byte: &u8| byte.is_ascii_punctuation();
                    self.count(templates.as_bytes().iter().filter(|byte| is_sign(byte)).count());
                }
                self.take(length);
            }
            None => {
                let line = rest.find('\n').unwrap_or(rest.len());
                let line = rest.get(..line).map_or(line, |line| line.trim_end().len());
                let place = self.position..self.position + line;
                self.fail(
                    Diagnostic::error(Code::UNCLOSED, format!("the quote {quote} is not closed"))
                        .at(place, "from here on")
                        .help(format!(
                            "close it with {quote}, or look for one missing before it; \
                             inside a text write it twice"
                        )),
                );
                self.take(line);
            }
        }
    }

    fn open(&mut self, opener: Opener, length: usize) {
        let place = self.position..self.position + length;
        if self.open.len() == NESTING_MAX && !self.broken {
            self.fail(
                Diagnostic::error(
                    Code::NESTING,
                    format!("more than {NESTING_MAX} brackets and CASEs inside one another"),
                )
                .at(place.clone(), "the first too many")
                .help("compute parts of it with SET @name = …, or split the rule"),
            );
        }
        // Kept beyond the bound too, so that the brackets after it still find their partners.
        self.open.push((opener, place));
        self.take(length);
    }

    fn close(&mut self, closer: Opener) {
        let place = self.position..self.position + 1;
        // A bracket that closes over a CASE leaves the missing END to the parser.
        while closer != Opener::Case && self.open.last().is_some_and(|o| o.0 == Opener::Case) {
            self.open.pop();
        }
        match self.open.pop() {
            Some((opener, _)) if opener == closer => {}
            Some((opener, opened)) => self.fail(
                Diagnostic::error(
                    Code::UNCLOSED,
                    format!("`{}` is closed by `{}`", opener.text(), closer.closer()),
                )
                .at(place, format!("expected `{}`", opener.closer()))
                .also(opened, "opened here"),
            ),
            None => self.fail(
                Diagnostic::error(Code::UNCLOSED, format!("`{}` closes nothing", closer.closer()))
                    .at(place, "")
                    .help(format!("take it out, or open it with `{}`", closer.text())),
            ),
        }
        self.take(1);
    }

    fn word(&mut self, rest: &str, splits: bool) {
        let is_in = |c: char| c.is_alphanumeric() || c == '_' || c == '@';
        let length = rest.find(|c| !is_in(c)).unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default();
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        let before = self.last;
        let is_name = matches!(before, Last::Dot | Last::As);
        if (is("rule") || is("table"))
            && let Last::Create { at, before } = before
        {
            if splits && self.start.is_some_and(|start| start < at) {
                self.forgotten_end(at, before);
            }
            self.take(length);
        } else if is("case") && !is_name {
            self.open(Opener::Case, length);
        } else {
            if is("end") && !is_name && self.open.last().is_some_and(|o| o.0 == Opener::Case) {
                self.open.pop();
            }
            let create = Last::Create { at: self.position, before: self.end };
            self.take(length);
            if is("as") {
                self.last = Last::As;
            } else if is("create") && !is_name {
                self.last = create;
            }
        }
    }

    /// CREATE RULE or CREATE TABLE at `create` inside a statement: the `;` before it was forgotten.
    fn forgotten_end(&mut self, create: usize, end: usize) {
        let was_broken = self.broken;
        if !was_broken {
            self.fail(
                Diagnostic::error(Code::SYNTAX, "the statement before this one does not end")
                    .at(create..create + "CREATE".len(), "a new statement begins here")
                    .also(end..end, "expected `;`")
                    .help("end each statement with `;`"),
            );
        }
        // The statement itself may be right, and its other errors are worth telling.
        self.broken = was_broken;
        self.end = end;
        self.end_statement();
        self.start = Some(create);
    }

    fn end_statement(&mut self) {
        self.tokens = 0;
        let open = std::mem::take(&mut self.open);
        // An open CASE is told by the parser, which knows what could stand there.
        if let Some((opener, place)) = open.into_iter().find(|(o, _)| *o != Opener::Case)
            && !self.broken
        {
            self.fail(
                Diagnostic::error(Code::UNCLOSED, format!("`{}` is not closed", opener.text()))
                    .at(place, "opened here")
                    .help(format!("add the missing `{}`", opener.closer())),
            );
        }
        let broken = std::mem::take(&mut self.broken);
        if let Some(start) = self.start.take() {
            self.statements.push(Statement { span: start..self.end.max(start), broken });
        }
        self.last = Last::Nothing;
    }
}

/// Whether a quoted text runs over the begin of a statement: then its quote was not closed.
fn holds_a_statement(quoted: &str) -> bool {
    quoted.split('\n').skip(1).any(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("create"))
            && words.next().is_some_and(|word| {
                word.eq_ignore_ascii_case("rule") || word.eq_ignore_ascii_case("table")
            })
    })
}
