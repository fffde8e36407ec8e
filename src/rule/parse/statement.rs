//! Statements, their clauses and actions.

use std::time::Duration;

use pest::iterators::Pair;

use super::super::ast::Action;
use super::super::ast::CreateRule;
use super::super::ast::CreateTable;
use super::super::ast::Foreach;
use super::super::ast::Join;
use super::super::ast::JoinKind;
use super::super::ast::Projection;
use super::super::ast::Select;
use super::super::ast::Span;
use super::super::ast::Spanned;
use super::super::ast::SqlVersion;
use super::super::ast::TimeUnit;
use super::super::ast::TimestampBy;
use super::super::target::TargetName;
use super::Builder;
use super::Rule;
use super::children;
use super::duration::Zero;
use super::name::fixed_target;
use super::name::rule_name;
use super::name::sql_version;
use super::only;
use super::quoted::name;
use super::quoted::unquote;
use super::template::TemplateOf;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::nearest;
use crate::limits::TARGET_NAME_BYTES_MAX;
use crate::publish::QoS;

/// Checks by its first words that `source` is a statement of a rule file.
pub(super) fn recognise(source: &str, start: usize) -> Result<(), Diagnostic> {
    let mut words = source
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase);
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if first == "CREATE" && matches!(second.as_str(), "RULE" | "TABLE") {
        return Ok(());
    }
    let length = source.find(char::is_whitespace).unwrap_or(source.len());
    let refused = |message: String| {
        Err(Diagnostic::error(Code::STATEMENT, message).at(start..start + length, ""))
    };
    let refused_with = |message: String, help: &str| refused(message).map_err(|d| d.help(help));
    match (first.as_str(), second.as_str()) {
        ("CREATE", "STREAM" | "DELIVERY" | "HOOK" | "QUEUE" | "LAMBDA") => refused_with(
            format!("CREATE {second} is not part of this version yet"),
            "streams, deliveries and hooks are declared in tidegate.toml",
        ),
        ("SELECT" | "SET", _) => refused_with(
            "a SELECT alone is no rule".to_owned(),
            "write CREATE RULE name AS SELECT … DO …, or try a SELECT with `tidegate eval`",
        ),
        ("CREATE", other) if nearest(other, ["RULE", "TABLE"]).is_some() => {
            let near = nearest(other, ["RULE", "TABLE"]).unwrap_or_default();
            refused_with(
                format!("CREATE {other} is unknown"),
                &format!("did you mean CREATE {near}?"),
            )
        }
        (other, what) if nearest(other, ["CREATE"]).is_some() => {
            let what = nearest(what, ["RULE", "TABLE"]).unwrap_or("RULE");
            let help = format!("did you mean CREATE {what}?");
            refused_with(format!("{other} begins no statement"), &help)
        }
        _ if source.trim_start().starts_with(['#', '/']) => refused_with(
            "this is not a statement of a rule file".to_owned(),
            "a comment is -- to the end of the line, or /* … */",
        ),
        _ => refused_with(
            "this is not a statement of a rule file".to_owned(),
            "a rule file holds statements like CREATE RULE name AS SELECT … DO …;",
        ),
    }
}

/// Notes a clause that stands twice.
pub(super) fn once<T>(
    slot: &mut Option<T>,
    value: T,
    name: &str,
    span: Span,
    found: &mut Vec<Diagnostic>,
) {
    if slot.replace(value).is_some() {
        found.push(
            Diagnostic::error(Code::REPEATED_CLAUSE, format!("{name} stands twice"))
                .at(span, "the second")
                .help("keep one"),
        );
    }
}

impl Builder<'_> {
    /// `CREATE RULE …`
    pub(super) fn create_rule(&mut self, pair: Pair<'_, Rule>) -> CreateRule {
        let span = self.span(&pair);
        // What `hold.…` and `window.…` are must be known before SELECT is built.
        let select = pair.clone().into_inner().find(|part| part.as_rule() == Rule::select);
        let has = |clause| {
            let parts = select.iter().flat_map(|select| select.clone().into_inner());
            parts.into_iter().any(|part| part.as_rule() == clause)
        };
        (self.holds, self.windows) = (has(Rule::when_clause), has(Rule::group_by));
        let mut name = None;
        let mut strict = None;
        let mut description = None;
        let mut disabled = None;
        let mut select = None;
        let mut lists = [None, None, None];
        for part in children(pair) {
            let place = self.span(&part);
            match part.as_rule() {
                Rule::rule_name => name = Some(rule_name(part.as_str(), place, self.found)),
                Rule::aws_version => {
                    let version = self.sql_version(&only(part));
                    once(&mut strict, version, "AWS", place, self.found);
                }
                Rule::description => {
                    let text = unquote(only(part).as_str()).0;
                    once(&mut description, text, "DESCRIPTION", place, self.found);
                }
                Rule::disabled => once(&mut disabled, (), "DISABLED", place, self.found),
                Rule::select => select = Some(self.select(part)),
                rule => {
                    let (list, name) = match rule {
                        Rule::actions => (&mut lists[0], "DO"),
                        Rule::on_cleared => (&mut lists[1], "ON CLEARED"),
                        _ => (&mut lists[2], "ON ERROR"),
                    };
                    let actions = if rule == Rule::actions { part } else { only(part) };
                    let built = children(actions).map(|action| self.action(action)).collect();
                    once(list, built, name, place, self.found);
                }
            }
        }
        let [actions, on_cleared, on_error] = lists.map(Option::unwrap_or_default);
        CreateRule {
            name: name.expect("the grammar asks for a name"),
            strict,
            description,
            disabled: disabled.is_some(),
            select: select.expect("the grammar asks for a SELECT"),
            actions,
            on_cleared,
            on_error,
            span,
        }
    }

    fn sql_version(&mut self, pair: &Pair<'_, Rule>) -> SqlVersion {
        sql_version(&unquote(pair.as_str()).0, self.span(pair), self.found)
    }

    /// `SET … SELECT … FROM … TIMESTAMP BY … WHERE … WHEN … GROUP BY …`
    pub(super) fn select(&mut self, pair: Pair<'_, Rule>) -> Select {
        let span = self.span(&pair);
        let mut select = Select {
            sets: Vec::new(),
            projection: Projection::Items(Vec::new()),
            from: Vec::new(),
            stream: None,
            foreach: None,
            timestamp: None,
            joins: Vec::new(),
            format: None,
            filter: None,
            when: None,
            group: None,
            span,
        };
        for part in children(pair) {
            match part.as_rule() {
                Rule::set_clause => {
                    select.sets = children(part).map(|set| self.assignment(set)).collect();
                }
                Rule::projection => select.projection = self.projection(part, 0),
                Rule::from_clause => self.source_clause(part, &mut select),
                Rule::foreach_clause => select.foreach = Some(self.foreach(part)),
                Rule::timestamp_by => select.timestamp = Some(self.timestamp_by(part)),
                Rule::join => {
                    let join = self.join(part);
                    select.joins.push(join);
                }
                Rule::where_clause => select.filter = Some(self.expression(only(part), 0)),
                Rule::when_clause => select.when = Some(self.when(part)),
                _ => select.group = self.group_by(part),
            }
        }
        select
    }

    fn foreach(&mut self, pair: Pair<'_, Rule>) -> Foreach {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let array = parts.next().expect("FOREACH has an array");
        let alias = parts.next().expect("FOREACH has a name");
        let alias = Spanned { node: name(alias.as_str()), span: self.span(&alias) };
        Foreach { array: self.expression(array, 0), alias, span }
    }

    fn timestamp_by(&mut self, pair: Pair<'_, Rule>) -> TimestampBy {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let expr = parts.next().expect("TIMESTAMP BY has a value");
        let expr = self.expression(expr, 0);
        let (mut unit, mut lateness) = (TimeUnit::default(), Duration::ZERO);
        for part in parts {
            match part.as_rule() {
                Rule::time_unit => unit = time_unit(&part),
                _ => lateness = self.duration(only(part), Zero::Allowed),
            }
        }
        TimestampBy { expr, unit, lateness, span }
    }

    fn assignment(&mut self, pair: Pair<'_, Rule>) -> (Spanned<String>, super::super::ast::Expr) {
        let mut parts = children(pair);
        let variable = parts.next().expect("an assignment has a variable");
        let value = parts.next().expect("an assignment has a value");
        let node = variable.as_str().trim_start_matches('@').to_owned();
        (Spanned { node, span: self.span(&variable) }, self.expression(value, 0))
    }

    /// `CREATE TABLE …`
    pub(super) fn create_table(&mut self, pair: Pair<'_, Rule>) -> CreateTable {
        let span = self.span(&pair);
        let mut parts = children(pair);
        let mut next = || parts.next().expect("the grammar asks for a name, a file and a key");
        let table = self.table_name(&next());
        let file = next();
        let file = Spanned { node: unquote(file.as_str()).0, span: self.span(&file) };
        let key = children(next())
            .map(|column| Spanned { node: name(column.as_str()), span: self.span(&column) })
            .collect();
        CreateTable { name: table, file, key, span }
    }

    pub(super) fn table_name(&mut self, pair: &Pair<'_, Rule>) -> Spanned<String> {
        let span = self.span(pair);
        let name = pair.as_str();
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_plain || name.len() > TARGET_NAME_BYTES_MAX || name.eq_ignore_ascii_case("hold") {
            self.found.push(
                Diagnostic::error(Code::NAME, "this cannot be the name of a table")
                    .at(span.clone(), "")
                    .help(format!(
                        "table names have 1 to {TARGET_NAME_BYTES_MAX} letters a-z, digits and \
                         `_`; `hold` means the facts of WHEN"
                    )),
            );
        }
        Spanned { node: name.to_owned(), span }
    }

    /// `LEFT JOIN table AS alias ON …`
    fn join(&mut self, pair: Pair<'_, Rule>) -> Join {
        let span = self.span(&pair);
        let mut parts = children(pair).peekable();
        let kind = parts.next_if(|part| part.as_rule() == Rule::join_kind);
        let kind = match kind {
            Some(kind) if kind.as_str().eq_ignore_ascii_case("left") => JoinKind::Left,
            _ => JoinKind::Inner,
        };
        let table = parts.next().expect("the grammar asks for a table");
        let table = self.table_name(&table);
        let alias = parts.next_if(|part| part.as_rule() == Rule::source_alias);
        let alias = alias.map(|alias| {
            let alias = only(alias);
            let place = self.span(&alias);
            let alias = name(alias.as_str());
            if alias.eq_ignore_ascii_case("hold") {
                self.found.push(
                    Diagnostic::error(Code::NAME, "a row cannot be called hold")
                        .at(place, "")
                        .help("`hold` means the facts of WHEN"),
                );
            }
            alias
        });
        let on = parts.next().expect("the grammar asks for ON");
        let on = self.expression(on, 0);
        Join { kind, table, alias, on, span }
    }

    fn action(&mut self, pair: Pair<'_, Rule>) -> Spanned<Action> {
        let pair = only(pair);
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut parts = children(pair);
        let node = match rule {
            Rule::republish | Rule::log => self.publishing(rule, parts),
            _ => {
                let target = parts.next().expect("the grammar gives this action a target");
                let name = self.target(only(target));
                let (mut key, mut hash_key, mut batch) = (None, None, false);
                for part in parts {
                    match part.as_rule() {
                        Rule::key => key = Some(self.expression(only(part), 0)),
                        Rule::hash_key => hash_key = Some(self.expression(only(part), 0)),
                        _ => batch = true,
                    }
                }
                match rule {
                    Rule::stream => Action::Stream { name, key, hash_key, batch },
                    Rule::deliver => Action::Deliver { name, batch },
                    Rule::upsert => Action::Upsert { name, key },
                    _ => Action::Invoke { name },
                }
            }
        };
        Spanned { node, span }
    }

    /// `REPUBLISH …` and `LOG …`.
    fn publishing<'t>(
        &mut self,
        rule: Rule,
        parts: impl Iterator<Item = Pair<'t, Rule>>,
    ) -> Action {
        let place = if rule == Rule::log { TemplateOf::Text } else { TemplateOf::Topic };
        let mut text = None;
        let mut qos = QoS::AtMostOnce;
        let mut retain = false;
        let mut headers = Vec::new();
        for part in parts {
            match part.as_rule() {
                Rule::template => text = Some(self.template(&part, place)),
                Rule::qos => qos = self.qos(&only(part)),
                Rule::headers => headers = self.headers(part),
                _ => retain = true,
            }
        }
        match (rule, text) {
            (Rule::republish, Some(topic)) => Action::Republish { topic, qos, retain, headers },
            (_, text) => Action::Log { text },
        }
    }

    fn qos(&mut self, pair: &Pair<'_, Rule>) -> QoS {
        match pair.as_str().parse::<u8>().ok().and_then(QoS::from_bits) {
            Some(qos) => qos,
            None => {
                self.found.push(
                    Diagnostic::error(Code::UNKNOWN_WORD, "there is no such quality of service")
                        .at(self.span(pair), "")
                        .help("QOS is 0, 1 or 2"),
                );
                QoS::AtMostOnce
            }
        }
    }

    pub(super) fn target(&mut self, pair: Pair<'_, Rule>) -> Spanned<TargetName> {
        let span = self.span(&pair);
        let node = match pair.as_rule() {
            Rule::string if pair.as_str().contains("${") => {
                let node = TargetName::Dynamic(self.template(&pair, TemplateOf::Text).node);
                return Spanned { node, span };
            }
            Rule::string => unquote(pair.as_str()).0,
            _ => pair.as_str().to_owned(),
        };
        Spanned { node: fixed_target(node, &span, self.found), span }
    }
}

fn time_unit(pair: &Pair<'_, Rule>) -> TimeUnit {
    match pair.as_str().to_ascii_uppercase().as_str() {
        "SECONDS" => TimeUnit::Seconds,
        "MICROSECONDS" => TimeUnit::Microseconds,
        "NANOSECONDS" => TimeUnit::Nanoseconds,
        _ => TimeUnit::Milliseconds,
    }
}
