//! What to write instead of what does not parse, where that can be told: the word that is nearly there,
//! or the way it is done here.

use super::Rule;
use super::duration::is_unit;
use super::error::is_value;
use super::error::keyword;
use crate::diagnostic::nearest;

/// The words that begin actions.
const ACTIONS: [&str; 6] = ["STREAM", "DELIVER", "INVOKE", "REPUBLISH", "UPSERT", "LOG"];
const PLACE_OF_OVER: &str =
    "OVER (PARTITION BY key) stands behind lag(…), delta(…) or had_changed(…)";
const NO_ROWS: &str =
    "a rule looks at one message at a time: there are no rows to sort, cut or merge";
/// The words that begin clauses which have their place.
const CLAUSES: [&str; 8] =
    ["WHEN", "WHERE", "FROM", "FOREACH", "TIMESTAMP", "JOIN", "LEFT", "GROUP"];
/// The windows of GROUP BY.
pub(super) const WINDOWS: [&str; 5] = ["TUMBLE", "HOP", "SLIDE", "SESSION", "COUNT"];
/// Words that cannot begin a value without back quotes.
const RESERVED: [&str; 15] = [
    "AND", "AS", "CASE", "ELSE", "END", "FALSE", "FROM", "IN", "NOT", "NULL", "OR", "SELECT",
    "THEN", "WHEN", "WHERE",
];
/// Words that stand before a value.
const PREFIXES: [&str; 3] = ["NOT", "VALUE", "CASE"];

/// Where the parser stopped.
pub(super) struct Place<'t> {
    /// Everything before, without blanks at its end.
    pub(super) before: &'t str,
    /// The token there; empty at the end.
    pub(super) found: &'t str,
    /// The token and everything behind it.
    pub(super) rest: &'t str,
}

impl<'t> Place<'t> {
    fn is_word(&self) -> bool {
        self.found.starts_with(|c: char| c.is_alphabetic())
    }

    /// The word that `before` ends with; empty when it ends with a sign.
    fn word_before(&self) -> &'t str {
        last_word(self.before)
    }

    /// The name of the call whose arguments stand before.
    fn call(&self) -> Option<&'t str> {
        let open = self.before.rfind('(')?;
        let name = last_word(self.before.get(..open)?.trim_end());
        (!name.is_empty()).then_some(name)
    }
}

fn last_word(text: &str) -> &str {
    let is_in = |c: char| c.is_alphanumeric() || c == '_';
    text.get(text.trim_end_matches(is_in).len()..).unwrap_or_default()
}

/// What to write instead, where that can be told.
pub(super) fn advice(place: &Place<'_>, expected: &[Rule]) -> Option<String> {
    if place.found.eq_ignore_ascii_case("QUEUE") {
        return Some("the action QUEUE is not part of this version yet".to_owned());
    }
    by_sign(place, expected)
        .or_else(|| window(place))
        .or_else(|| by_word(place, expected).map(str::to_owned))
        .or_else(|| misspelt(place, expected).map(|near| format!("did you mean {near}?")))
        .or_else(|| by_place(place, expected).map(str::to_owned))
}

/// By the sign that was found.
fn by_sign(place: &Place<'_>, expected: &[Rule]) -> Option<String> {
    let has = |rule| expected.contains(&rule);
    let advice = match place.found {
        ">" if place.before.ends_with('=') => "write `>=`",
        "=" if place.before.ends_with('=') => "equality is written with one `=`",
        "&" => "write AND",
        "|" => "write OR",
        "!" => "write NOT, or `<>` for not equal",
        "~" => "a regular expression is looked for by regexp_matches(text, 'expression')",
        "$" => "a field of the message is written by its name alone: temperature, state.mode",
        "‘" | "’" | "‚" | "“" | "”" | "„" | "´" => {
            "texts stand in straight quotes: 'text' or \"text\""
        }
        "-" if has(Rule::k_disabled) => "a rule's name has letters a-z, digits and `_`",
        "," if has(Rule::k_and) && !has(Rule::k_or) => "write BETWEEN low AND high",
        "." if place.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
            "write a digit before the point: 0.5"
        }
        _ if has(Rule::whole) => {
            "an index is a whole number, counted from 0; get(array, index) takes any value"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// A duration in what is no window: the name of the window is misspelt.
fn window(place: &Place<'_>) -> Option<String> {
    let is_duration = is_unit(place.found) && place.before.ends_with(|c: char| c.is_ascii_digit());
    let name = place.call().filter(|_| is_duration)?;
    Some(match nearest(name, WINDOWS) {
        Some(near) => format!("did you mean {near}?"),
        None => "a duration stands in a window such as GROUP BY TUMBLE(1 MINUTE)".to_owned(),
    })
}

/// The word that was meant: of those that may stand there, or before the one found.
fn misspelt(place: &Place<'_>, expected: &[Rule]) -> Option<&'static str> {
    let has = |rule| expected.contains(&rule);
    if !place.is_word() {
        return None;
    }
    let keywords = expected.iter().filter_map(|rule| keyword(*rule));
    let keywords = keywords.filter(|word| word.len() > 1 && !word.starts_with('`'));
    let begins = expected.iter().flat_map(|rule| beginnings(*rule)).copied();
    let words: Vec<&'static str> = keywords.chain(begins).collect();
    let found = place.found.to_ascii_uppercase();
    let is_begin = |word: &&&'static str| found.len() > 2 && word.starts_with(&found);
    // cst(a AS Int)
    let is_cast = found == "AS" && !has(Rule::k_as) && has(Rule::add_op);
    match words.iter().find(is_begin) {
        Some(word) => Some(word),
        None if is_cast => nearest(place.call()?, ["cast"]),
        None if found.len() > 1
            && let Some(near) = nearest(&found, words.iter().copied()) =>
        {
            Some(near)
        }
        // Behind `NTO a` the parser stops at `a`: it takes the word before it for a field.
        None if has(Rule::add_op) => nearest(place.word_before(), PREFIXES),
        None => None,
    }
}

/// The words that a production begins with, or is, where these are no productions of their own.
fn beginnings(rule: Rule) -> &'static [&'static str] {
    match rule {
        Rule::select => &["SELECT", "SET"],
        Rule::subquery => &["SELECT"],
        Rule::create_rule | Rule::create_table => &["CREATE"],
        Rule::join => &["JOIN", "LEFT", "INNER"],
        Rule::group_by => &["GROUP"],
        Rule::in_tail => &["IN", "NOT"],
        Rule::between_tail => &["BETWEEN"],
        Rule::like_tail => &["LIKE"],
        Rule::is_tail => &["IS"],
        Rule::timestamp_by => &["TIMESTAMP"],
        Rule::time_unit => &["SECONDS", "MILLISECONDS", "MICROSECONDS", "NANOSECONDS"],
        Rule::lateness => &["LATENESS"],
        Rule::stream_source => &["STREAM"],
        Rule::starting_at => &["STARTING"],
        Rule::start_word => &["LATEST", "TRIM_HORIZON"],
        Rule::at_least => &["AT"],
        Rule::each_row | Rule::hold_for => &["FOR"],
        Rule::no_data => &["NO"],
        Rule::gap_mode => &["HOLD", "RESET"],
        Rule::restart_mode => &["PAUSE", "COUNT", "RESET"],
        Rule::action | Rule::actions => &ACTIONS,
        _ => &[],
    }
}

/// By what was expected.
fn by_place(place: &Place<'_>, expected: &[Rule]) -> Option<&'static str> {
    let has = |rule| expected.contains(&rule);
    Some(match place.found {
        _ if has(Rule::topic_filter) => {
            "write it as in FROM 'lab/+/telemetry' or FROM STREAM alerts"
        }
        _ if has(Rule::table_file) => "write it as in FROM 'tables/motes.csv'",
        action if has(Rule::k_do) && ACTIONS.iter().any(|a| a.eq_ignore_ascii_case(action)) => {
            "DO stands before the actions: DO LOG"
        }
        _ if has(Rule::template) && place.is_word() => {
            "topics and texts stand in quotes, as in REPUBLISH 'alerts/${topic(2)}'"
        }
        _ if has(Rule::alias_path) || has(Rule::name) => {
            if !place.found.starts_with(['\'', '"']) {
                return None;
            }
            "names stand without quotes, or in back quotes when they are unusual: AS `my name`"
        }
        _ if place.before.ends_with(',') => "take out the comma before it",
        _ => return None,
    })
}

/// What is called otherwise elsewhere.
fn elsewhere(action: &str) -> Option<&'static str> {
    Some(match action {
        "KINESIS" | "KAFKA" | "APPEND" => "a shard stream is written by STREAM name KEY key",
        "FIREHOSE" | "S3" | "FILE" | "WRITE" => "files are written by DELIVER name",
        "LAMBDA" | "HTTP" | "WEBHOOK" | "CALL" | "POST" => {
            "a hook that tidegate.toml declares is called by INVOKE name"
        }
        "PUBLISH" | "MQTT" | "SEND" => "messages are published by REPUBLISH 'topic'",
        "DYNAMODB" | "INSERT" | "UPDATE" | "SAVE" | "STORE" => {
            "the last value of a key is kept by UPSERT table KEY key"
        }
        "PRINT" | "CONSOLE" | "CLOUDWATCH" => "a line on the log is LOG 'text'",
        _ => return None,
    })
}

/// By the word that was found.
fn by_word(place: &Place<'_>, expected: &[Rule]) -> Option<&'static str> {
    let has = |rule| expected.contains(&rule);
    if place.word_before().eq_ignore_ascii_case("DISTINCT") {
        return Some(NO_ROWS);
    }
    Some(match place.found.to_ascii_uppercase().as_str() {
        "FOR" => "a duration belongs to WHEN: WHEN temperature > 30 FOR 5 MINUTES",
        "CLEAR" if has(Rule::k_cleared) => "did you mean CLEARED?",
        "AT" | "PARTITION" | "CLEAR" | "KEEP" | "MAX" | "REPEAT" => {
            "this clause belongs to WHEN and stands behind its FOR"
        }
        "SET" => "SET stands before SELECT: SET @v = … SELECT …",
        "ORDER" | "LIMIT" | "OFFSET" | "UNION" | "INTO" => NO_ROWS,
        "SHARDS" | "SHARD" | "RETENTION" => {
            "shards and retention of a stream are declared in tidegate.toml: [stream.NAME]"
        }
        "URL" | "TIMEOUT" | "METHOD" => {
            "a hook is declared in tidegate.toml: [hook.NAME] with its url"
        }
        word if has(Rule::action) || has(Rule::actions) => elsewhere(word)?,
        word if RESERVED.contains(&word) && expected.iter().copied().any(is_value) => {
            "this word belongs to the language; a field of that name stands in back quotes: `from`"
        }
        word if has(Rule::k_do) && CLAUSES.contains(&word) => {
            "the clauses stand in the order SELECT, FROM, FOREACH, TIMESTAMP BY, JOIN, WHERE, WHEN, GROUP BY, DO"
        }
        "OVER" => PLACE_OF_OVER,
        "HAVING" => "HAVING stands behind GROUP BY: GROUP BY TUMBLE(1 HOUR) HAVING a > 3",
        "LATENESS" => "LATENESS belongs to TIMESTAMP BY: TIMESTAMP BY ts LATENESS 10 SECONDS",
        "" if has(Rule::k_do) => "say where matches go: DO STREAM alerts KEY topic()",
        _ => return None,
    })
}
