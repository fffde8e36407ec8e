//! What pest says about a text that does not parse, in the user's words.

use pest::error::ErrorVariant;
use pest::error::InputLocation;

use super::Rule;
use super::advice::Place;
use super::advice::advice;
use super::quoted::Offsets;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;

/// More alternatives than this would not be read.
const ALTERNATIVES_MAX: usize = 8;

/// The diagnostic of what stands at `at`, where `expected` could have stood. `offsets` lead from the
/// text to the file.
pub(super) fn diagnostic(
    text: &str,
    at: usize,
    expected: &[Rule],
    offsets: &Offsets,
) -> Diagnostic {
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, ""));
    let place = Place { before: before.trim_end(), found: token(rest), rest };
    let found = match place.found {
        "" => "the end of the statement".to_owned(),
        found => format!("`{found}`"),
    };
    let message = match alternatives(expected) {
        None => format!("{found} cannot stand here"),
        Some(expected) => format!("expected {expected}, found {found}"),
    };
    let diagnostic =
        Diagnostic::error(Code::SYNTAX, message).at(offsets.span(at..at + place.found.len()), "");
    match advice(&place, expected) {
        Some(advice) => diagnostic.help(advice),
        None => diagnostic,
    }
}

/// Where in the text it was refused.
pub(super) fn position(refused: &pest::error::Error<Rule>) -> usize {
    match refused.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    }
}

/// What could have stood there.
pub(super) fn expected(refused: &pest::error::Error<Rule>) -> &[Rule] {
    match &refused.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
        ErrorVariant::CustomError { .. } => &[],
    }
}

/// The first token of `rest`: a word, the begin of a quoted text, or one sign.
pub(super) fn token(rest: &str) -> &str {
    let mut chars = rest.char_indices();
    let Some((_, first)) = chars.next() else { return "" };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let end = match first {
        '\'' | '"' | '`' => chars.find(|(_, c)| *c == first).map(|(i, c)| i + c.len_utf8()),
        first if is_word(first) => chars.find(|(_, c)| !is_word(*c)).map(|(i, _)| i),
        other => Some(other.len_utf8()),
    };
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

/// `expected` as "a, b or c"; `None` when nothing nameable was expected.
fn alternatives(expected: &[Rule]) -> Option<String> {
    let has = |rule| expected.contains(&rule);
    // Behind a value the list of all operators would bury the rest.
    let has_operators = has(Rule::k_or) || has(Rule::add_op);
    let mut words: Vec<String> = Vec::new();
    for rule in expected {
        let word = match (keyword(*rule), phrase(*rule)) {
            (Some("AND"), _) if !has(Rule::k_or) => "AND".to_owned(),
            (Some("AND" | "OR" | "IN" | "BETWEEN" | "LIKE" | "IS" | "NOT"), _) if has_operators => {
                "an operator".to_owned()
            }
            // Only some functions have it.
            (Some("OVER"), _) if has_operators => continue,
            (None, Some(_)) if has_operators && matches!(rule, Rule::index | Rule::spread) => {
                continue;
            }
            (Some(keyword), _) => keyword.to_owned(),
            (None, Some(phrase)) => phrase.to_owned(),
            (None, None) => continue,
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let more = words.len().saturating_sub(ALTERNATIVES_MAX);
    words.truncate(ALTERNATIVES_MAX);
    let last = words.pop()?;
    let last = if more > 0 { format!("{last} …") } else { last };
    Some(if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) })
}

/// Whether a value could stand there.
pub(super) fn is_value(rule: Rule) -> bool {
    phrase(rule) == Some("a value")
}

/// The words for a production; `None` for those that only structure others.
fn phrase(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::EOI => "`;`",
        Rule::create_rule => "CREATE RULE",
        Rule::create_table => "CREATE TABLE",
        Rule::rule_name => "a rule name",
        Rule::table_name => "the name of a table",
        Rule::table_file => "the file of the table in quotes",
        Rule::join => "JOIN",
        Rule::group_by => "GROUP BY",
        Rule::tumble | Rule::hop | Rule::slide | Rule::session | Rule::count_window => {
            "a window such as TUMBLE(1 MINUTE)"
        }
        Rule::select => "SELECT, SET",
        Rule::subquery => "SELECT",
        Rule::gap_mode => "HOLD, RESET",
        Rule::restart_mode => "COUNT, PAUSE, RESET",
        Rule::topic_filter => "a topic filter in quotes",
        Rule::stream_source => "STREAM and the name of a stream",
        Rule::starting_at => "STARTING AT",
        Rule::start_word => "LATEST, TRIM_HORIZON",
        Rule::columns => "columns such as (id, celsius)",
        Rule::key_columns | Rule::column => "the name of a column",
        Rule::template | Rule::string | Rule::quoted => "a text in quotes",
        Rule::target | Rule::target_word => "the name of a target",
        Rule::action | Rule::actions => {
            "an action (STREAM, DELIVER, INVOKE, REPUBLISH, UPSERT, LOG)"
        }
        Rule::duration | Rule::duration_part | Rule::amount => "a duration such as 5 MINUTES",
        Rule::whole => "a whole number",
        Rule::qos_level => "0, 1 or 2",
        Rule::unit => "a unit of time such as SECONDS",
        Rule::time_unit => "a unit such as SECONDS",
        Rule::no_data => "NO DATA",
        Rule::at_least => "AT LEAST",
        Rule::each_row => "FOR EACH ROW OF",
        Rule::times => "a number such as 3",
        Rule::lateness => "LATENESS",
        Rule::timestamp_by => "TIMESTAMP BY",
        Rule::cast_type => "a type such as Decimal",
        Rule::name | Rule::identifier | Rule::alias_path => "a name",
        Rule::variable => "a variable such as @limit",
        Rule::alias => "AS",
        Rule::spread => "`.*`",
        Rule::index => "an index such as [0]",
        Rule::entry => "a key in quotes",
        _ => return phrase_in_expression(rule),
    })
}

/// The same for the productions that only expressions have.
fn phrase_in_expression(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::compare_op
        | Rule::add_op
        | Rule::multiply_op
        | Rule::in_tail
        | Rule::between_tail
        | Rule::like_tail
        | Rule::is_tail => "an operator",
        Rule::expression
        | Rule::conjunction
        | Rule::negation
        | Rule::comparison
        | Rule::sum
        | Rule::product
        | Rule::factor
        | Rule::member
        | Rule::minus
        | Rule::number
        | Rule::star
        | Rule::array
        | Rule::object
        | Rule::group
        | Rule::call
        | Rule::path
        | Rule::function_name
        | Rule::projection
        | Rule::item
        | Rule::operand => "a value",
        _ => return None,
    })
}

/// The productions that are one word or sign, and their text.
const KEYWORDS: &[(Rule, &str)] = &[
    (Rule::comma, "`,`"),
    (Rule::colon, "`:`"),
    (Rule::assign, "`=`"),
    (Rule::round_end, "`)`"),
    (Rule::square_end, "`]`"),
    (Rule::curly_end, "`}`"),
    (Rule::k_and, "AND"),
    (Rule::k_as, "AS"),
    (Rule::k_at, "AT"),
    (Rule::k_aws, "AWS"),
    (Rule::k_batch, "BATCH"),
    (Rule::k_between, "BETWEEN"),
    (Rule::k_by, "BY"),
    (Rule::k_bytes, "BYTES"),
    (Rule::k_case, "CASE"),
    (Rule::k_cast, "CAST"),
    (Rule::k_cbor, "CBOR"),
    (Rule::k_clear, "CLEAR"),
    (Rule::k_cleared, "CLEARED"),
    (Rule::k_count, "COUNT"),
    (Rule::k_create, "CREATE"),
    (Rule::k_csv, "CSV"),
    (Rule::k_data, "DATA"),
    (Rule::k_delimiter, "DELIMITER"),
    (Rule::k_deliver, "DELIVER"),
    (Rule::k_description, "DESCRIPTION"),
    (Rule::k_disabled, "DISABLED"),
    (Rule::k_do, "DO"),
    (Rule::k_each, "EACH"),
    (Rule::k_else, "ELSE"),
    (Rule::k_end, "END"),
    (Rule::k_error, "ERROR"),
    (Rule::k_every, "EVERY"),
    (Rule::k_exists, "EXISTS"),
    (Rule::k_false, "FALSE"),
    (Rule::k_for, "FOR"),
    (Rule::k_foreach, "FOREACH"),
    (Rule::k_from, "FROM"),
    (Rule::k_gap, "GAP"),
    (Rule::k_group, "GROUP"),
    (Rule::k_hash, "HASH"),
    (Rule::k_having, "HAVING"),
    (Rule::k_header, "HEADER"),
    (Rule::k_headers, "HEADERS"),
    (Rule::k_hold, "HOLD"),
    (Rule::k_hop, "HOP"),
    (Rule::k_in, "IN"),
    (Rule::k_inner, "INNER"),
    (Rule::k_invoke, "INVOKE"),
    (Rule::k_is, "IS"),
    (Rule::k_join, "JOIN"),
    (Rule::k_json, "JSON"),
    (Rule::k_keep, "KEEP"),
    (Rule::k_key, "KEY"),
    (Rule::k_lateness, "LATENESS"),
    (Rule::k_least, "LEAST"),
    (Rule::k_left, "LEFT"),
    (Rule::k_like, "LIKE"),
    (Rule::k_log, "LOG"),
    (Rule::k_latest, "LATEST"),
    (Rule::k_matching, "MATCHING"),
    (Rule::k_max, "MAX"),
    (Rule::k_message, "MESSAGE"),
    (Rule::k_microseconds, "MICROSECONDS"),
    (Rule::k_milliseconds, "MILLISECONDS"),
    (Rule::k_msgpack, "MSGPACK"),
    (Rule::k_nanoseconds, "NANOSECONDS"),
    (Rule::k_no, "NO"),
    (Rule::k_not, "NOT"),
    (Rule::k_null, "NULL"),
    (Rule::k_of, "OF"),
    (Rule::k_on, "ON"),
    (Rule::k_or, "OR"),
    (Rule::k_over, "OVER"),
    (Rule::k_partition, "PARTITION"),
    (Rule::k_pause, "PAUSE"),
    (Rule::k_protobuf, "PROTOBUF"),
    (Rule::k_qos, "QOS"),
    (Rule::k_repeat, "REPEAT"),
    (Rule::k_republish, "REPUBLISH"),
    (Rule::k_reset, "RESET"),
    (Rule::k_restart, "RESTART"),
    (Rule::k_retain, "RETAIN"),
    (Rule::k_row, "ROW"),
    (Rule::k_rows, "ROWS"),
    (Rule::k_rule, "RULE"),
    (Rule::k_seconds, "SECONDS"),
    (Rule::k_select, "SELECT"),
    (Rule::k_session, "SESSION"),
    (Rule::k_set, "SET"),
    (Rule::k_slide, "SLIDE"),
    (Rule::k_sparkplug, "SPARKPLUG"),
    (Rule::k_starting, "STARTING"),
    (Rule::k_stream, "STREAM"),
    (Rule::k_table, "TABLE"),
    (Rule::k_text, "TEXT"),
    (Rule::k_then, "THEN"),
    (Rule::k_time, "TIME"),
    (Rule::k_times, "TIMES"),
    (Rule::k_timestamp, "TIMESTAMP"),
    (Rule::k_trim_horizon, "TRIM_HORIZON"),
    (Rule::k_true, "TRUE"),
    (Rule::k_tumble, "TUMBLE"),
    (Rule::k_undefined, "UNDEFINED"),
    (Rule::k_user, "USER"),
    (Rule::k_upsert, "UPSERT"),
    (Rule::k_when, "WHEN"),
    (Rule::k_where, "WHERE"),
    (Rule::k_within, "WITHIN"),
];

/// The text of a production that is one word or sign.
pub(super) fn keyword(rule: Rule) -> Option<&'static str> {
    KEYWORDS.iter().find(|(keyword, _)| *keyword == rule).map(|(_, text)| *text)
}
