//! Statements, clauses and actions as text, laid out as the documentation writes them.
//!
//! Each tree node is taken apart without `..`, so that a new clause does not compile until it is
//! printed here.

use std::fmt;
use std::fmt::Formatter;
use std::time::Duration;

use super::super::ast::Action;
use super::super::ast::AtLeast;
use super::super::ast::Condition;
use super::super::ast::CreateRule;
use super::super::ast::CreateTable;
use super::super::ast::Foreach;
use super::super::ast::GroupBy;
use super::super::ast::Header;
use super::super::ast::HeaderName;
use super::super::ast::Join;
use super::super::ast::JoinKind;
use super::super::ast::MaxGap;
use super::super::ast::OnRestart;
use super::super::ast::Projection;
use super::super::ast::Select;
use super::super::ast::SelectItem;
use super::super::ast::Spanned;
use super::super::ast::SqlVersion;
use super::super::ast::StreamSource;
use super::super::ast::StreamStart;
use super::super::ast::Template;
use super::super::ast::TemplatePart;
use super::super::ast::TimeUnit;
use super::super::ast::TimestampBy;
use super::super::ast::When;
use super::super::ast::Window;
use super::super::target::TargetName;
use super::name;
use super::quoted;
use super::select_item;
use crate::publish::QoS;

/// A list that would make its line longer than this many characters stands one item a line.
const LINE_CHARS_MAX: usize = 96;

/// Units of a duration, the longest first, in milliseconds.
const UNITS: [(u128, &str); 5] = [
    (86_400_000, "DAY"),
    (3_600_000, "HOUR"),
    (60_000, "MINUTE"),
    (1_000, "SECOND"),
    (1, "MILLISECOND"),
];

impl fmt::Display for SqlVersion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SqlVersion::V2015_10_08 => "2015-10-08",
            SqlVersion::V2016_03_23 => "2016-03-23",
        })
    }
}

impl fmt::Display for CreateRule {
    /// The statement over several lines, with its `;`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CreateRule {
            name,
            strict,
            description,
            disabled,
            select,
            actions,
            on_cleared,
            on_error,
            span: _,
        } = self;
        write!(f, "CREATE RULE {}", name.node)?;
        if let Some(version) = strict {
            write!(f, " AWS '{version}'")?;
        }
        if let Some(description) = description {
            f.write_str("\n  DESCRIPTION ")?;
            quoted(description, f)?;
        }
        if *disabled {
            f.write_str("\n  DISABLED")?;
        }
        write!(f, "\nAS\n{select}")?;
        for (intro, list) in
            [("DO ", actions), ("ON CLEARED DO ", on_cleared), ("ON ERROR DO ", on_error)]
        {
            let lead = format!(",\n{}", " ".repeat(intro.len()));
            for (index, action) in list.iter().enumerate() {
                f.write_str(if index == 0 { "\n" } else { &lead })?;
                f.write_str(if index == 0 { intro } else { "" })?;
                write!(f, "{}", action.node)?;
            }
        }
        f.write_str(";")
    }
}

impl fmt::Display for Select {
    /// A clause a line, each indented by two blanks.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Select {
            sets,
            projection,
            from,
            stream,
            format,
            foreach,
            timestamp,
            joins,
            filter,
            when,
            group,
            span: _,
        } = self;
        if !sets.is_empty() {
            let sets = sets.iter().map(|(name, value)| format!("@{} = {value}", name.node));
            clause("SET", &sets.collect::<Vec<_>>(), f)?;
            f.write_str("\n")?;
        }
        match projection {
            Projection::Value(_) => write!(f, "  {projection}")?,
            Projection::Items(items) => clause("SELECT", &select_items(items), f)?,
        }
        if !from.is_empty() {
            let filters = from.iter().map(|filter| text_of(|f| quoted(filter.node.as_str(), f)));
            f.write_str("\n")?;
            clause("FROM", &filters.collect::<Vec<_>>(), f)?;
        }
        if let Some(stream) = stream {
            write!(f, "\n  FROM {stream}")?;
        }
        if let Some(format) = format {
            write!(f, " AS {}", format.node)?;
        }
        if let Some(Foreach { array, alias, span: _ }) = foreach {
            write!(f, "\n  FOREACH {array} AS ")?;
            name(&alias.node, f)?;
        }
        if let Some(clause) = timestamp {
            write!(f, "\n  {clause}")?;
        }
        joins.iter().try_for_each(|join| write!(f, "\n  {join}"))?;
        if let Some(filter) = filter {
            write!(f, "\n  WHERE {filter}")?;
        }
        if let Some(when) = when {
            write!(f, "\n{when}")?;
        }
        match group {
            Some(group) => write!(f, "\n{group}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Projection {
    /// `SELECT a, b`, on one line.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Projection::Value(value) => write!(f, "SELECT VALUE {value}"),
            Projection::Items(items) => write!(f, "SELECT {}", select_items(items).join(", ")),
        }
    }
}

impl fmt::Display for StreamSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let StreamSource { name, start, span: _ } = self;
        f.write_str("STREAM ")?;
        target_name(&name.node, f)?;
        match start {
            StreamStart::Latest => Ok(()),
            StreamStart::TrimHorizon => f.write_str(" STARTING AT TRIM_HORIZON"),
            StreamStart::Timestamp(time) => write!(f, " STARTING AT '{time}'"),
        }
    }
}

impl fmt::Display for GroupBy {
    /// On one line, and HAVING on the next.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let GroupBy { keys, window, having, span: _ } = self;
        f.write_str("  GROUP BY ")?;
        keys.iter().try_for_each(|key| write!(f, "{key}, "))?;
        match &window.node {
            Window::Tumble { size } => write!(f, "TUMBLE({})", Span(*size)),
            Window::Hop { size, every } => write!(f, "HOP({}, {})", Span(*size), Span(*every)),
            Window::Slide { size } => write!(f, "SLIDE({})", Span(*size)),
            Window::Session { gap } => write!(f, "SESSION({})", Span(*gap)),
            Window::Count { messages } => write!(f, "COUNT({messages})"),
        }?;
        having.iter().try_for_each(|having| write!(f, "\n  HAVING {having}"))
    }
}

impl fmt::Display for TimestampBy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let TimestampBy { expr, unit, lateness, span: _ } = self;
        write!(f, "TIMESTAMP BY {expr}")?;
        f.write_str(match unit {
            TimeUnit::Seconds => " SECONDS",
            TimeUnit::Milliseconds => "",
            TimeUnit::Microseconds => " MICROSECONDS",
            TimeUnit::Nanoseconds => " NANOSECONDS",
        })?;
        if lateness.is_zero() { Ok(()) } else { write!(f, " LATENESS {}", Span(*lateness)) }
    }
}

impl fmt::Display for CreateTable {
    /// The statement on one line, with its `;`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CreateTable { name: table, file, key, span: _ } = self;
        write!(f, "CREATE TABLE {} FROM ", table.node)?;
        quoted(&file.node, f)?;
        for (index, column) in key.iter().enumerate() {
            f.write_str(if index == 0 { " KEY " } else { ", " })?;
            name(&column.node, f)?;
        }
        f.write_str(";")
    }
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Join { kind, table, alias, on, span: _ } = self;
        let kind = match kind {
            JoinKind::Inner => "",
            JoinKind::Left => "LEFT ",
        };
        write!(f, "{kind}JOIN {}", table.node)?;
        if let Some(alias) = alias {
            f.write_str(" AS ")?;
            name(alias, f)?;
        }
        write!(f, " ON {on}")
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let When {
            condition,
            hold_for,
            at_least,
            partition_by,
            each_row,
            clear_when,
            clear_for,
            keep,
            max_gap,
            repeat_every,
            on_restart,
            span: _,
        } = self;
        match condition {
            Condition::Expr(condition) => write!(f, "  WHEN {condition}")?,
            Condition::NoData => f.write_str("  WHEN NO DATA")?,
        }
        if let Some(AtLeast { times, within }) = at_least {
            let word = if *times == 1 { "TIME" } else { "TIMES" };
            write!(f, " AT LEAST {times} {word} WITHIN {}", Span(*within))?;
        }
        if !hold_for.node.is_zero() {
            write!(f, " FOR {}", Span(hold_for.node))?;
        }
        if !partition_by.is_empty() {
            let keys: Vec<String> = partition_by.iter().map(ToString::to_string).collect();
            write!(f, "\n    PARTITION BY {}", keys.join(", "))?;
        }
        if let Some(table) = each_row {
            write!(f, "\n    FOR EACH ROW OF {}", table.node)?;
        }
        match (clear_when, clear_for.is_zero()) {
            (Some(clear), true) => write!(f, "\n    CLEAR WHEN {clear}")?,
            (Some(clear), false) => write!(f, "\n    CLEAR WHEN {clear} FOR {}", Span(*clear_for))?,
            (None, false) => write!(f, "\n    CLEAR FOR {}", Span(*clear_for))?,
            (None, true) => {}
        }
        if !keep.is_zero() {
            write!(f, "\n    KEEP {}", Span(*keep))?;
        }
        if let Some(MaxGap { limit, hold }) = max_gap {
            let mode = if *hold { " HOLD" } else { "" };
            write!(f, "\n    MAX GAP {}{mode}", Span(*limit))?;
        }
        if let Some(every) = repeat_every {
            write!(f, "\n    REPEAT EVERY {}", Span(*every))?;
        }
        match on_restart {
            OnRestart::Pause => Ok(()),
            OnRestart::Count => f.write_str("\n    ON RESTART COUNT"),
            OnRestart::Reset => f.write_str("\n    ON RESTART RESET"),
        }
    }
}

impl fmt::Display for Action {
    /// On one line.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Action::Stream { name, key, hash_key, batch } => {
                f.write_str("STREAM ")?;
                target(name, f)?;
                key.iter().try_for_each(|key| write!(f, " KEY {key}"))?;
                hash_key.iter().try_for_each(|key| write!(f, " HASH KEY {key}"))?;
                f.write_str(if *batch { " BATCH" } else { "" })
            }
            Action::Deliver { name, batch } => {
                f.write_str("DELIVER ")?;
                target(name, f)?;
                f.write_str(if *batch { " BATCH" } else { "" })
            }
            Action::Invoke { name } => {
                f.write_str("INVOKE ")?;
                target(name, f)
            }
            Action::Republish { topic, qos, retain, headers: set } => {
                f.write_str("REPUBLISH ")?;
                let text = topic.node.to_string();
                // `$$` at the start of a topic means `$`.
                let dollar = if text_begins_with_dollar(&topic.node) { "$" } else { "" };
                quoted(&format!("{dollar}{text}"), f)?;
                if *qos != QoS::AtMostOnce {
                    write!(f, " QOS {}", *qos as u8)?;
                }
                f.write_str(if *retain { " RETAIN" } else { "" })?;
                if set.is_empty() { Ok(()) } else { headers(set, f) }
            }
            Action::Upsert { name, key } => {
                f.write_str("UPSERT ")?;
                target(name, f)?;
                key.iter().try_for_each(|key| write!(f, " KEY {key}"))
            }
            Action::Log { text } => {
                f.write_str("LOG")?;
                let Some(text) = text else { return Ok(()) };
                f.write_str(" ")?;
                quoted(&text.node.to_string(), f)
            }
        }
    }
}

impl fmt::Display for Template {
    /// The text between the quotes, its own quotes not doubled.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            TemplatePart::Text(text) => f.write_str(text),
            TemplatePart::Expr(expr) => write!(f, "${{{expr}}}"),
        })
    }
}

fn select_items(items: &[SelectItem]) -> Vec<String> {
    items.iter().map(|item| text_of(|f| select_item(item, f))).collect()
}

fn text_begins_with_dollar(template: &Template) -> bool {
    matches!(template.parts.first(), Some(TemplatePart::Text(text)) if text.starts_with('$'))
}

/// `SELECT a, b`, or an item a line where that would be too long.
fn clause(keyword: &str, items: &[String], f: &mut Formatter<'_>) -> fmt::Result {
    let length: usize = items.iter().map(|item| item.chars().count() + 2).sum();
    let separator = if length + keyword.len() <= LINE_CHARS_MAX { ", " } else { ",\n    " };
    write!(f, "  {keyword}{}{}", separator_before(separator), items.join(separator))
}

/// What stands between a keyword and the first item.
fn separator_before(separator: &str) -> &str {
    separator.trim_start_matches(',')
}

fn target(target: &Spanned<TargetName>, f: &mut Formatter<'_>) -> fmt::Result {
    match &target.node {
        TargetName::Fixed(name) => target_name(name, f),
        TargetName::Dynamic(template) => quoted(&template.to_string(), f),
    }
}

fn target_name(name: &str, f: &mut Formatter<'_>) -> fmt::Result {
    if is_target_word(name) { f.write_str(name) } else { quoted(name, f) }
}

/// Whether the grammar takes the name without quotes.
fn is_target_word(name: &str) -> bool {
    let is_in = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.bytes().all(is_in)
        && !name.contains("--")
}

fn headers(headers: &[Header], f: &mut Formatter<'_>) -> fmt::Result {
    let headers: Vec<String> = headers.iter().map(|set| text_of(|f| header(set, f))).collect();
    let length: usize = headers.iter().map(|header| header.chars().count() + 2).sum();
    let (first, next) = match length <= LINE_CHARS_MAX / 2 {
        true => ("", ", "),
        false => ("\n     ", ",\n     "),
    };
    write!(f, " HEADERS ({first}{})", headers.join(next))
}

fn header(Header { name, value }: &Header, f: &mut Formatter<'_>) -> fmt::Result {
    match &name.node {
        HeaderName::User(name) => {
            f.write_str("USER ")?;
            quoted(&name.to_string(), f)?;
        }
        HeaderName::ContentType => f.write_str("content_type")?,
        HeaderName::CorrelationData => f.write_str("correlation_data")?,
        HeaderName::MessageExpiry => f.write_str("message_expiry")?,
        HeaderName::PayloadFormat => f.write_str("payload_format")?,
        HeaderName::ResponseTopic => f.write_str("response_topic")?,
    }
    f.write_str(" = ")?;
    quoted(&value.node.to_string(), f)
}

/// What `write` writes.
fn text_of(write: impl Fn(&mut Formatter<'_>) -> fmt::Result) -> String {
    fmt::from_fn(write).to_string()
}

/// A duration in the units of the language.
struct Span(Duration);

impl fmt::Display for Span {
    /// `1 HOUR 30 MINUTES`
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis();
        let mut is_first = true;
        for (length, unit) in UNITS {
            let count = left / length;
            left %= length;
            if count == 0 {
                continue;
            }
            let (blank, plural) =
                (if is_first { "" } else { " " }, if count == 1 { "" } else { "S" });
            write!(f, "{blank}{count} {unit}{plural}")?;
            is_first = false;
        }
        if is_first { f.write_str("0 SECONDS") } else { Ok(()) }
    }
}
