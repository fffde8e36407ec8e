//! Whether an edited rule still watches the same thing.

use std::time::Duration;

use crate::engine::hold::encoding::fnv1a;
use crate::rule::Rule;
use crate::rule::analytic::Analytic;
use crate::rule::ast::AtLeast;
use crate::rule::ast::Condition;
use crate::rule::ast::Expr;
use crate::rule::ast::ExprKind;
use crate::rule::ast::Format;
use crate::rule::ast::Projection;
use crate::rule::ast::SelectItem;
use crate::rule::ast::Subquery;
use crate::rule::grouping::aggregates;

/// How long messages of a rule wait in the hold table for those before them. Not at all where they have
/// waited in the history table already.
pub fn lateness(rule: &Rule) -> Duration {
    let clause = rule.definition.select.timestamp.as_ref();
    let waits = clause.filter(|_| Analytic::of(&rule.definition).is_none());
    waits.map_or(Duration::ZERO, |clause| clause.lateness)
}

/// A number that changes with what a rule's state means: SQL version, SET, FROM (and where it starts),
/// FOREACH, TIMESTAMP BY, JOIN, WHERE, the condition, AT LEAST, PARTITION BY and the table of FOR EACH ROW OF; with
/// GROUP BY its keys, its window and the aggregates. Made
/// of the tree, so that spacing, comments and the case of keywords do not
/// matter; the same in every build. Durations (LATENESS too), CLEAR WHEN, SELECT, the actions and the rows of
/// tables are left out: they may change under a firing key.
pub fn fingerprint(rule: &Rule) -> u64 {
    let select = &rule.definition.select;
    let mut text = source(rule);
    if let Some(filter) = &select.filter {
        part(&mut text, "where", "");
        outline(&mut text, filter);
    }
    if let Some(each) = &select.foreach {
        part(&mut text, "foreach", &each.alias.node);
        outline(&mut text, &each.array);
    }
    if let Some(when) = &select.when {
        match &when.condition {
            Condition::Expr(condition) => {
                part(&mut text, "when", "");
                outline(&mut text, condition);
            }
            Condition::NoData => part(&mut text, "when", "no data"),
        }
        if let Some(AtLeast { times, within }) = when.at_least {
            part(&mut text, "at least", &format!("{times} {}", within.as_millis()));
        }
        if let Some(table) = &when.each_row {
            part(&mut text, "each row", &table.node);
        }
        for key in &when.partition_by {
            part(&mut text, "by", "");
            outline(&mut text, key);
        }
    }
    if let Some(group) = &select.group {
        for key in &group.keys {
            part(&mut text, "group", "");
            outline(&mut text, key);
        }
        part(&mut text, "window", &format!("{:?}", group.window.node));
        for call in aggregates(&rule.definition) {
            part(&mut text, "aggregate", &call.text);
        }
    }
    fnv1a(text.as_bytes())
}

/// Which messages a rule hears, before WHERE, and what they are to it.
pub(in crate::engine) fn source(rule: &Rule) -> String {
    let select = &rule.definition.select;
    let mut text = format!("{:?}", rule.version);
    for (name, value) in &select.sets {
        part(&mut text, "set", &name.node);
        outline(&mut text, value);
    }
    for filter in &select.from {
        part(&mut text, "from", filter.node.as_str());
    }
    if let Some(stream) = &select.stream {
        part(&mut text, "stream", &format!("{} {:?}", stream.name.node, stream.start));
    }
    if let Some(format) = &select.format
        && format.node != Format::Json
    {
        part(&mut text, "as", &format.node.to_string());
    }
    if let Some(clause) = &select.timestamp {
        part(&mut text, "timestamp", &format!("{:?}", clause.unit));
        outline(&mut text, &clause.expr);
    }
    for join in &select.joins {
        part(
            &mut text,
            "join",
            &format!("{:?} {} {}", join.kind, join.table.node, join.row_name()),
        );
        outline(&mut text, &join.on);
    }
    text
}

/// NUL stands in no rule, so that nothing can be taken for the end of a part.
pub(in crate::engine) fn part(text: &mut String, kind: &str, of: &str) {
    text.extend([kind, "\0", of, "\0"]);
}

/// Appends the tree below `expr`: what a node is, then what is inside it, in brackets.
pub(in crate::engine) fn outline(text: &mut String, expr: &Expr) {
    let (kind, of) = node(expr);
    part(text, kind, &of);
    text.push('(');
    expr.for_each_child(&mut |child| outline(text, child));
    text.push(')');
}

/// A node without the expressions inside it.
fn node(expr: &Expr) -> (&'static str, String) {
    let not = |negated: &bool| if *negated { "NOT" } else { "" }.to_owned();
    match &expr.kind {
        ExprKind::Literal(value) => ("literal", format!("{value:?}")),
        ExprKind::Path { root, segments } => ("path", format!("{root:?}{segments:?}")),
        ExprKind::Variable(name) => ("variable", name.clone()),
        ExprKind::Hold(field) => ("hold", format!("{field:?}")),
        ExprKind::Window(field) => ("window", format!("{field:?}")),
        ExprKind::Star => ("star", String::new()),
        ExprKind::Array(_) => ("array", String::new()),
        ExprKind::Object(entries) => {
            let names: Vec<&String> = entries.iter().map(|(name, _)| name).collect();
            ("object", format!("{names:?}"))
        }
        ExprKind::Member { segments, .. } => ("member", format!("{segments:?}")),
        ExprKind::Unary { op, .. } => ("unary", format!("{op:?}")),
        ExprKind::Binary { op, .. } => ("binary", format!("{op:?}")),
        ExprKind::In { negated, .. } => ("in", not(negated)),
        ExprKind::Between { negated, .. } => ("between", not(negated)),
        ExprKind::Like { negated, .. } => ("like", not(negated)),
        ExprKind::Is { what, negated, .. } => ("is", format!("{}{what:?}", not(negated))),
        ExprKind::Case { operand, otherwise, .. } => {
            ("case", format!("{} {}", operand.is_some(), otherwise.is_some()))
        }
        ExprKind::Call { name, .. } => ("call", name.node.to_ascii_lowercase()),
        ExprKind::Over { .. } => ("over", String::new()),
        ExprKind::Cast { target, .. } => ("cast", format!("{target:?}")),
        ExprKind::Subquery(query) => ("subquery", subquery(query)),
        ExprKind::Exists(query) => ("exists", subquery(query)),
    }
}

fn subquery(query: &Subquery) -> String {
    let items = match &query.projection {
        Projection::Value(_) => "value".to_owned(),
        Projection::Items(items) => {
            let item = |item: &SelectItem| match item {
                SelectItem::Star(_) => "*".to_owned(),
                SelectItem::Spread(_) => ".*".to_owned(),
                SelectItem::Expr { alias, .. } => {
                    format!("{:?}", alias.as_ref().map(|alias| &alias.node))
                }
            };
            items.iter().map(item).collect::<Vec<String>>().join(",")
        }
    };
    format!("{items} {:?} {}", query.alias, query.filter.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rule::ast::SqlVersion;
    use crate::rule::parse::parse_file;
    use crate::rule::schema::Schemas;

    fn of(select: &str) -> u64 {
        let text = format!("CREATE RULE r AS {select} DO LOG;");
        let mut parsed = parse_file(&text);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        let definition = parsed.rules.remove(0);
        fingerprint(&Rule {
            definition: Arc::new(definition),
            version: SqlVersion::default(),
            tables: Arc::default(),
            text,
            file: None,
            line: 1,
            switch: None,
            schemas: Schemas::default(),
        })
    }

    const RULE: &str = "SELECT a FROM 'x/#' WHERE b > 1 WHEN c > 30 FOR 5 MINUTES PARTITION BY d";

    #[test]
    fn what_may_change_under_a_firing_key_changes_nothing() {
        for same in [
            "SELECT  a\nFROM 'x/#' -- why\nwhere b>1 When c > 30 FOR 300 SECONDS PARTITION BY d",
            "SELECT a FROM 'x/#' AS JSON WHERE b > 1 WHEN c > 30 FOR 5 MINUTES PARTITION BY d",
            "SELECT a, z FROM 'x/#' WHERE b > 1 WHEN c > 30 FOR 1 HOUR PARTITION BY d",
            "SELECT a FROM 'x/#' WHERE b > 1 WHEN c > 30 FOR 5 MINUTES PARTITION BY d \
             CLEAR WHEN c < 20 KEEP 1 MINUTE MAX GAP 1 HOUR REPEAT EVERY 1 HOUR",
        ] {
            assert_eq!(of(RULE), of(same), "{same}");
        }
    }

    #[test]
    fn what_is_watched_changes_it() {
        let mut seen = vec![of(RULE)];
        for (from, to) in [
            ("c > 30", "c > 31"),
            ("c > 30", "c >= 30"),
            ("c > 30", "c.e > 30"),
            ("c > 30", "C > 30"),
            ("c > 30", "30 > c"),
            ("c > 30", "c > '30'"),
            ("c > 30", "abs(c) > 30"),
            ("c > 30", "NOT c > 30"),
            ("c > 30", "c IN [30]"),
            ("c > 30", "c NOT IN [30]"),
            ("c > 30", "EXISTS (SELECT * FROM c WHERE v > 30)"),
            ("c > 30", "EXISTS (SELECT * FROM c WHERE v > 3)"),
            ("c > 30", "NO DATA"),
            ("c > 30 FOR 5 MINUTES", "NO DATA FOR 5 MINUTES FOR EACH ROW OF t"),
            ("c > 30 FOR 5 MINUTES", "NO DATA FOR 5 MINUTES FOR EACH ROW OF u"),
            ("PARTITION BY d", "AT LEAST 3 TIMES WITHIN 1 HOUR PARTITION BY d"),
            ("PARTITION BY d", "AT LEAST 4 TIMES WITHIN 1 HOUR PARTITION BY d"),
            ("PARTITION BY d", "AT LEAST 3 TIMES WITHIN 2 HOURS PARTITION BY d"),
            ("WHERE b > 1", ""),
            ("b > 1", "b > 2"),
            ("'x/#'", "'x/#' TIMESTAMP BY ts"),
            ("'x/#'", "'x/#' TIMESTAMP BY ts SECONDS"),
            ("'x/#'", "'x/#' TIMESTAMP BY at"),
            ("x/#", "y/#"),
            ("'x/#'", "STREAM x"),
            ("'x/#'", "STREAM y"),
            ("'x/#'", "STREAM x STARTING AT TRIM_HORIZON"),
            ("'x/#'", "'x/#' AS CBOR"),
            ("'x/#'", "'x/#' AS CSV (c)"),
            ("'x/#'", "'x/#' AS CSV (b, c)"),
            ("'x/#'", "'x/#', 'y'"),
            ("'x/#'", "'x/#' JOIN t ON t.k = e"),
            ("'x/#'", "'x/#' LEFT JOIN t ON t.k = e"),
            ("'x/#'", "'x/#' JOIN t AS u ON u.k = e"),
            ("'x/#'", "'x/#' JOIN t ON t.k = f"),
            ("PARTITION BY d", "PARTITION BY d, e"),
            ("PARTITION BY d", ""),
        ] {
            let other = of(&RULE.replace(from, to));
            assert!(!seen.contains(&other), "{from} to {to}");
            seen.push(other);
        }
    }

    #[test]
    fn it_is_the_same_in_every_build() {
        assert_eq!(of(RULE), 18_398_650_372_141_974_597);
    }
}
