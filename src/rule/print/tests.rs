use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use regex::Regex;

use super::super::ast::Action;
use super::super::ast::AtLeast;
use super::super::ast::CastTarget;
use super::super::ast::Condition;
use super::super::ast::CreateRule;
use super::super::ast::CsvColumn;
use super::super::ast::CsvFormat;
use super::super::ast::Expr;
use super::super::ast::Foreach;
use super::super::ast::Format;
use super::super::ast::GroupBy;
use super::super::ast::Header;
use super::super::ast::HeaderName;
use super::super::ast::Join;
use super::super::ast::JoinKind;
use super::super::ast::MaxGap;
use super::super::ast::OnRestart;
use super::super::ast::RuleName;
use super::super::ast::Select;
use super::super::ast::Spanned;
use super::super::ast::SqlVersion;
use super::super::ast::StreamSource;
use super::super::ast::StreamStart;
use super::super::ast::Template;
use super::super::ast::TemplatePart;
use super::super::ast::TextPattern;
use super::super::ast::TimeUnit;
use super::super::ast::TimestampBy;
use super::super::ast::When;
use super::super::ast::Window;
use super::super::parse::parse_file;
use super::super::parse::tests::shape;
use super::super::parse::tests::tree;
use super::super::target::TargetName;
use super::ExprKind;
use super::Projection;
use super::SelectItem;
use crate::clock::Timestamp;
use crate::limits::WINDOW_COUNT_MAX;
use crate::publish::QoS;
use crate::topic::TopicFilter;

fn spanned<T>(node: T) -> Spanned<T> {
    Spanned { node, span: 0..0 }
}

/// An expression; `hold.…` in it only where the rule has WHEN.
fn expr(holds: bool) -> BoxedStrategy<Expr> {
    let has = |expr: &Expr, what: &str| format!("{expr:?}").contains(what);
    let is_known = move |expr: &Expr| !has(expr, "Window(") && (holds || !has(expr, "Hold("));
    tree().prop_filter("known here", is_known).boxed()
}

fn group(holds: bool) -> impl Strategy<Value = GroupBy> {
    let sizes = || (duration(1), duration(1));
    let window = prop_oneof![
        duration(1).prop_map(|size| Window::Tumble { size }),
        sizes().prop_map(|(size, every)| Window::Hop { size, every }),
        duration(1).prop_map(|size| Window::Slide { size }),
        duration(1).prop_map(|gap| Window::Session { gap }),
        (1..=WINDOW_COUNT_MAX).prop_map(|messages| Window::Count { messages }),
    ];
    let has_hold = |expr: &Expr| format!("{expr:?}").contains("Hold(");
    let having = tree().prop_filter("known here", move |expr| holds || !has_hold(expr));
    (vec(expr(holds), 0..3), window, option::of(having)).prop_map(|(keys, window, having)| {
        GroupBy { keys, window: spanned(window), having, span: 0..0 }
    })
}

fn duration(from_ms: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        (from_ms..=3000).prop_map(Duration::from_millis),
        (from_ms..=366 * 86_400_000).prop_map(Duration::from_millis),
        (1_u64..=366).prop_map(|days| Duration::from_secs(days * 86_400)),
    ]
}

fn target(holds: bool) -> impl Strategy<Value = Spanned<TargetName>> {
    let names = ["alerts", "a.b-c", "_x", "9", "dead--letters", "-odd", "KEY", "batch-"];
    let fixed = select(names.to_vec()).prop_map(|name| TargetName::Fixed(name.to_owned()));
    let has_place =
        |parts: &[TemplatePart]| parts.iter().any(|p| matches!(p, TemplatePart::Expr(_)));
    let dynamic = template(holds)
        .prop_filter("no place", move |template| has_place(&template.node.parts))
        .prop_map(|template| TargetName::Dynamic(template.node));
    prop_oneof![fixed, dynamic].prop_map(spanned)
}

fn headers(holds: bool) -> impl Strategy<Value = Vec<Header>> {
    let words = select(HeaderName::WORDS.map(|(_, name)| name).to_vec());
    let user = template(holds).prop_map(|name| HeaderName::User(name.node));
    let name = prop_oneof![words, user].prop_map(spanned);
    vec((name, template(holds)).prop_map(|(name, value)| Header { name, value }), 0..3)
}

fn template(holds: bool) -> impl Strategy<Value = Spanned<Template>> {
    let pair = ("[a-z$' /]{0,4}", option::of(expr(holds)));
    vec(pair, 0..3).prop_map(|pairs| {
        let mut parts: Vec<TemplatePart> = Vec::new();
        for (text, expr) in pairs {
            // Two texts side by side are one.
            if !text.is_empty() && !matches!(parts.last(), Some(TemplatePart::Text(_))) {
                parts.push(TemplatePart::Text(text));
            }
            parts.extend(expr.map(TemplatePart::Expr));
        }
        spanned(Template { parts })
    })
}

fn action(holds: bool) -> impl Strategy<Value = Spanned<Action>> {
    let key = || option::of(expr(holds));
    let qos = select([QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].as_slice());
    prop_oneof![
        (target(holds), key(), key(), any::<bool>())
            .prop_map(|(name, key, hash_key, batch)| Action::Stream { name, key, hash_key, batch }),
        (target(holds), any::<bool>()).prop_map(|(name, batch)| Action::Deliver { name, batch }),
        target(holds).prop_map(|name| Action::Invoke { name }),
        (target(holds), key()).prop_map(|(name, key)| Action::Upsert { name, key }),
        (template(holds), qos, any::<bool>(), headers(holds)).prop_map(
            |(topic, qos, retain, headers)| Action::Republish { topic, qos, retain, headers }
        ),
        option::of(template(holds)).prop_map(|text| Action::Log { text }),
    ]
    .prop_map(spanned)
}

fn projection(holds: bool) -> impl Strategy<Value = Projection> {
    let alias = vec("[a-z]{1,3}", 1..3).prop_map(spanned);
    let item =
        (expr(holds), option::of(alias)).prop_map(|(expr, alias)| match (&expr.kind, &alias) {
            (ExprKind::Star, None) => SelectItem::Star(0..0),
            _ => SelectItem::Expr { expr, alias },
        });
    prop_oneof![
        expr(holds).prop_map(Projection::Value),
        vec(item, 1..6).prop_map(Projection::Items),
    ]
}

fn when() -> impl Strategy<Value = When> {
    let restart = [OnRestart::Pause, OnRestart::Count, OnRestart::Reset];
    let gap = (duration(1), any::<bool>()).prop_map(|(limit, hold)| MaxGap { limit, hold });
    let at_least =
        (1..=1000_u32, duration(1)).prop_map(|(times, within)| AtLeast { times, within });
    let watched = (expr(true), duration(0), vec(expr(true), 0..3));
    let cleared = (option::of(expr(true)), duration(0), duration(0));
    let counted = (option::of(at_least), option::of(gap));
    let of_messages = (watched, cleared, counted).prop_map(|(watched, cleared, counted)| {
        let (condition, hold_for, partition_by) = watched;
        (Condition::Expr(condition), hold_for, partition_by, cleared, counted)
    });
    let absence = (duration(1), vec(expr(true), 0..3)).prop_map(|(hold_for, partition_by)| {
        let cleared = (None, Duration::ZERO, Duration::ZERO);
        (Condition::NoData, hold_for, partition_by, cleared, (None, None))
    });
    let watched = prop_oneof![3 => of_messages, 1 => absence];
    (watched, option::of(duration(1)), select(restart.to_vec())).prop_map(
        |((condition, hold_for, partition_by, cleared, counted), repeat_every, on_restart)| {
            let (clear_when, clear_for, keep) = cleared;
            let (at_least, max_gap) = counted;
            When {
                hold_for: spanned(hold_for),
                at_least,
                each_row: matches!(condition, Condition::NoData)
                    .then(|| spanned("motes".to_owned()))
                    .filter(|_| !partition_by.is_empty()),
                condition,
                partition_by,
                clear_when,
                clear_for,
                keep,
                max_gap,
                repeat_every,
                on_restart,
                span: 0..0,
            }
        },
    )
}

fn timestamp(holds: bool) -> impl Strategy<Value = TimestampBy> {
    let units =
        [TimeUnit::Seconds, TimeUnit::Milliseconds, TimeUnit::Microseconds, TimeUnit::Nanoseconds];
    (expr(holds), select(units.to_vec()), duration(0))
        .prop_map(|(expr, unit, lateness)| TimestampBy { expr, unit, lateness, span: 0..0 })
}

fn join(holds: bool) -> impl Strategy<Value = Join> {
    let kind = select([JoinKind::Inner, JoinKind::Left].as_slice());
    let alias = option::of(select(["m", "odd name", "on"].as_slice()).prop_map(str::to_owned));
    ("[a-z_][a-z0-9_]{0,2}", kind, alias, expr(holds)).prop_map(|(table, kind, alias, on)| Join {
        kind,
        table: spanned(table),
        alias,
        on,
        span: 0..0,
    })
}

fn format() -> impl Strategy<Value = Format> {
    let kinds = [None, Some(CastTarget::String), Some(CastTarget::Int), Some(CastTarget::Bool)];
    let column = ("[a-c]|Batch|`|\\.é", select(kinds.to_vec()))
        .prop_map(|(name, kind)| CsvColumn { name, kind });
    let columns = vec(column, 0..4).prop_filter("different", |columns| {
        let names = columns.iter().map(|column| &column.name);
        names.collect::<BTreeSet<_>>().len() == columns.len()
    });
    let delimiters = [b',', b';', b'\t', b'\''];
    let csv = (columns, select(delimiters.to_vec()), any::<bool>(), any::<bool>());
    let csv = csv.prop_map(|(columns, delimiter, header, rows)| CsvFormat {
        header: header || columns.is_empty(),
        columns,
        delimiter,
        rows,
    });
    let pattern = Regex::new("^(?<it>'s)").ok().and_then(TextPattern::new).unwrap();
    let named = |text: &str| spanned(text.to_owned());
    let others = [
        Format::Json,
        Format::Text(pattern),
        Format::Cbor,
        Format::MsgPack,
        Format::Sparkplug,
        Format::Protobuf { file: named("it's.desc"), message: named("lab.Reading") },
        Format::Bytes,
    ];
    prop_oneof![csv.prop_map(Format::Csv), select(others.to_vec())]
}

fn clauses(when: Option<When>) -> impl Strategy<Value = Select> {
    let holds = when.is_some();
    let filters = ["lab/+/telemetry", "yard/#", "it's/\"quoted\"", "$aws/things/+/shadow"];
    let filter =
        select(filters.to_vec()).prop_map(|text| spanned(TopicFilter::parse(text).unwrap()));
    let set = ("[a-z]{1,3}".prop_map(spanned), expr(holds));
    let form = (option::of(format().prop_map(spanned)), option::of(timestamp(holds)));
    let alias = select(vec!["r", "odd name"]).prop_map(|name| spanned(name.to_owned()));
    let foreach =
        (expr(holds), alias).prop_map(|(array, alias)| Foreach { array, alias, span: 0..0 });
    let starts =
        [StreamStart::Latest, StreamStart::TrimHorizon, StreamStart::Timestamp(Timestamp::EPOCH)];
    let stream = (select(vec!["alerts", "a--b", "starting"]), select(starts.to_vec()));
    let stream = stream.prop_map(|(name, start)| StreamSource {
        name: spanned(name.to_owned()),
        start,
        span: 0..0,
    });
    let from = prop_oneof![
        vec(filter, 0..3).prop_map(|from| (from, None)),
        stream.prop_map(|stream| (Vec::new(), Some(stream))),
    ];
    let sources = (from, option::of(foreach), form, vec(join(holds), 0..3));
    let behind = (option::of(expr(holds)), option::of(group(holds)));
    (vec(set, 0..3), projection(holds), sources, behind).prop_map(
        move |(sets, projection, source, (filter, group))| {
            let ((from, stream), foreach, (format, timestamp), joins) = source;
            Select {
                sets,
                projection,
                format: format.filter(|_| !from.is_empty() || stream.is_some()),
                from,
                stream,
                foreach,
                timestamp,
                joins,
                filter,
                when: when.clone(),
                group,
                span: 0..0,
            }
        },
    )
}

fn statement() -> impl Strategy<Value = CreateRule> {
    option::of(when()).prop_flat_map(|when| {
        let holds = when.is_some();
        let versions = [None, Some(SqlVersion::V2015_10_08), Some(SqlVersion::V2016_03_23)];
        let head =
            ("[a-z0-9_]{1,5}", select(versions.to_vec()), option::of(".{0,9}"), any::<bool>());
        let list = move |from: usize| vec(action(holds), from..4);
        (head, clauses(when), list(1), list(0), list(0)).prop_map(
            |((name, strict, description, disabled), select, actions, on_cleared, on_error)| {
                CreateRule {
                    name: spanned(RuleName(name.into())),
                    strict,
                    description,
                    disabled,
                    select,
                    actions,
                    on_cleared,
                    on_error,
                    span: 0..0,
                }
            },
        )
    })
}

proptest! {
    #[test]
    fn a_printed_statement_parses_to_the_same_tree(rule in statement()) {
        let text = rule.to_string();
        let again = parse_file(&text);
        prop_assert!(again.diagnostics.is_empty(), "{text}\n{:#?}", again.diagnostics);
        prop_assert_eq!(shape(&again.rules), shape(&[rule]), "{}", text);
    }
}

#[test]
fn a_printed_table_parses_to_the_same_tree() {
    for text in [
        "CREATE TABLE motes FROM 'tables/motes.csv' KEY moteid;",
        "CREATE TABLE cells FROM 'it''s.json' KEY building, `room no`;",
    ] {
        let parsed = parse_file(text);
        assert!(parsed.diagnostics.is_empty(), "{:#?}", parsed.diagnostics);
        assert_eq!(parsed.tables[0].to_string(), text);
    }
}

#[test]
fn statements_are_laid_out_as_the_documentation_writes_them() {
    let texts = [
        "CREATE RULE overheat AWS '2016-03-23'\n  DESCRIPTION 'It''s hot'\n  DISABLED\nAS\n  \
         SET @f = temp * 1.8 + 32\n  SELECT moteid, @f AS reading.f\n  \
         FROM 'lab/+/telemetry', 'yard/#'\n  TIMESTAMP BY ts SECONDS LATENESS 10 SECONDS\n  \
         LEFT JOIN motes AS m ON m.moteid = moteid\n  WHERE voltage > 2.2\n  \
         WHEN temperature > 30 FOR 1 HOUR 30 MINUTES\n    PARTITION BY moteid, building\n    \
         CLEAR WHEN temperature < 28 FOR 1 MINUTE\n    KEEP 500 MILLISECONDS\n    \
         MAX GAP 2 DAYS HOLD\n    REPEAT EVERY 1 SECOND\n    ON RESTART COUNT\n\
         DO STREAM alerts KEY moteid HASH KEY '1' BATCH,\n   \
         REPUBLISH '$$aws/${topic(2)}' QOS 1 RETAIN HEADERS (message_expiry = '60', USER 'a' = \
         '${b}'),\n   INVOKE 'pager-${site}'\n\
         ON CLEARED DO LOG 'mote ${get(m, ''k'')} is well'\nON ERROR DO DELIVER dead_letters;",
        "CREATE RULE many\nAS\n  SELECT\n    temperature_of_the_first_sensor,\n    \
         temperature_of_the_second_sensor,\n    temperature_of_the_third_sensor,\n    *\n  \
         FROM 'a'\nDO LOG;",
    ];
    for text in texts {
        let parsed = parse_file(text);
        assert!(parsed.diagnostics.is_empty(), "{:#?}", parsed.diagnostics);
        assert_eq!(parsed.rules[0].to_string(), text);
    }
}
