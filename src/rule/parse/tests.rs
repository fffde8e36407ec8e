use std::sync::Arc;

use compact_str::CompactString;
use proptest::prelude::*;

use super::super::ast::Action;
use super::super::ast::BinaryOp;
use super::super::ast::CastTarget;
use super::super::ast::Expr;
use super::super::ast::ExprKind;
use super::super::ast::HoldField;
use super::super::ast::IsWhat;
use super::super::ast::Projection;
use super::super::ast::Segment;
use super::super::ast::SelectItem;
use super::super::ast::Spanned;
use super::super::ast::SqlVersion;
use super::super::ast::Subquery;
use super::super::ast::TemplatePart;
use super::super::ast::UnaryOp;
use super::super::ast::WindowField;
use super::super::set;
use super::super::set::Source;
use super::super::set::Targets;
use super::super::table::NoFiles;
use super::*;
use crate::limits::EXPRESSION_DEPTH_MAX;
use crate::limits::NESTING_MAX;
use crate::limits::SYNTAX_ERRORS_MAX;
use crate::value::Number;
use crate::value::Value;

/// An expression as it stands in the SELECT of a rule with WHEN and GROUP BY.
fn expression(text: &str) -> Result<Expr, Vec<Diagnostic>> {
    let mut found = Vec::new();
    if !scan::is_sound(text, &mut found) {
        return Err(found);
    }
    let mut builder = Builder::new(Offsets::starting_at(0), &mut found);
    (builder.holds, builder.windows) = (true, true);
    let built =
        builder.parse(super::Rule::whole_expression, text).map(|pair| builder.argument(pair, 0));
    built.filter(|_| found.is_empty()).ok_or(found)
}

/// A tree without its places.
pub(in crate::rule) fn shape(tree: &impl std::fmt::Debug) -> String {
    let places = regex::Regex::new(r"span: \d+\.\.\d+|Star\(\d+\.\.\d+\)").unwrap();
    places.replace_all(&format!("{tree:?}"), "…").into_owned()
}

/// Any expression, as it may stand in a rule with WHEN and GROUP BY.
pub(in crate::rule) fn tree() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(4, 24, 3, node)
}

/// Every statement of the corpus of AWS IoT SQL, where it lies beside the project.
#[test]
fn the_corpus_parses_except_where_aws_refuses() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/aws-iot-sql");
    for file in ["cases.jsonl", "cases_thirdparty.jsonl"] {
        let Ok(text) = std::fs::read_to_string(format!("{folder}/{file}")) else { return };
        for line in text.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let sql = case["sql"].as_str().unwrap();
            let version = match case["sql_version"].as_str() {
                Some("2015-10-08") => SqlVersion::V2015_10_08,
                _ => SqlVersion::V2016_03_23,
            };
            let (tables, files) = (Arc::default(), &mut NoFiles);
            let parsed = super::super::Rule::from_select("case", sql, version, &tables, files);
            let is_refused = case["expect_parse_error"].as_bool() == Some(true);
            assert_eq!(parsed.is_err(), is_refused, "{sql}\n{parsed:#?}");
        }
    }
}

#[test]
fn operators_bind_as_the_reference_says() {
    let check = |text: &str, grouped: &str| {
        let (plain, grouped) = (expression(text).unwrap(), expression(grouped).unwrap());
        assert_eq!(shape(&plain), shape(&grouped), "{text} is {plain}");
    };
    check("a OR b AND NOT c = d + e * -f", "a OR (b AND (NOT (c = (d + (e * (-f))))))");
    check("a - b - c", "(a - b) - c");
    check("a / b * c", "(a / b) * c");
    check("a < b = c", "(a < b) = c");
    check("a BETWEEN 1 AND 2 AND b", "(a BETWEEN 1 AND 2) AND b");
    check("NOT a IN (1, 2)", "NOT (a IN [1, 2])");
    check("a NOT LIKE 'x%' OR a IS NOT NULL", "(a NOT LIKE 'x%') OR (a IS NOT NULL)");
    check("x IN ('on')", "x IN ['on']");
    check("x IN (readings)", "x IN readings");
    check("a != b", "a <> b");
    check("f(SELECT VALUE v FROM e)", "f((SELECT VALUE v FROM e))");
}

#[test]
fn soft_words_are_fields_and_reserved_words_do_not_eat_their_neighbours() {
    let fields = "order android inside notes orbit selected fromage asx nullable truest casex \
                  timestamp value key name state topic on do set for like between is stream cast \
                  exists undefined every reset";
    for field in fields.split_whitespace() {
        let text = format!("SELECT {field}, x.{field} FROM 't' WHERE {field} = 1");
        let select = parse_select(&text).unwrap_or_else(|found| panic!("{text}: {found:?}"));
        let Some(Expr { kind: ExprKind::Binary { left, .. }, .. }) = select.filter else {
            panic!("{text} has a condition")
        };
        assert!(matches!(left.kind, ExprKind::Path { ref root, .. } if root == field), "{text}");
    }
    for field in ["from", "end", "case", "then"] {
        assert!(parse_select(&format!("SELECT x.{field}, y AS {field} FROM 't'")).is_ok());
        assert!(parse_select(&format!("SELECT {field} FROM 't'")).is_err());
    }
}

#[test]
fn value_is_a_keyword_only_where_a_value_follows() {
    let is_value =
        |text: &str| matches!(parse_select(text).expect(text).projection, Projection::Value(_));
    for text in ["VALUE x", "VALUE (a)", "VALUE *", "VALUE [1]", "value NOT a", "VALUE -1"] {
        assert!(is_value(&format!("SELECT {text} FROM 't'")), "{text}");
    }
    for text in ["value", "value, x", "value.x", "value[0]", "value AS v", "value = 1", "valued"] {
        assert!(!is_value(&format!("SELECT {text} FROM 't'")), "{text}");
    }
    for text in ["value NOT IN (1, 2)", "value IS NULL", "value + 1"] {
        assert!(!is_value(&format!("SELECT {text} FROM 't'")), "{text}");
    }
}

#[test]
fn templates_keep_text_and_places() {
    let text = "CREATE RULE r AS SELECT 1 AS a FROM 't' DO \
                REPUBLISH '$$x/${get(m, ''k}'')}/${topic(2)}', LOG '$$5 ${a}';";
    let parsed = parse_file(text);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let parts = |action: &Action| {
        let template = match action {
            Action::Republish { topic, .. } => &topic.node,
            Action::Log { text: Some(text) } => &text.node,
            _ => panic!("an action with a template"),
        };
        let part = |part: &TemplatePart| match part {
            TemplatePart::Text(text) => text.clone(),
            TemplatePart::Expr(expr) => {
                format!("<{expr}|{}>", text.get(expr.span.clone()).unwrap())
            }
        };
        template.parts.iter().map(part).collect::<Vec<_>>().concat()
    };
    let actions = &parsed.rules[0].actions;
    assert_eq!(parts(&actions[0].node), "$x/<get(m, 'k}')|get(m, ''k}'')>/<topic(2)|topic(2)>");
    assert_eq!(parts(&actions[1].node), "$$5 <a|a>");
}

#[test]
fn an_error_in_one_statement_hides_none_of_the_others() {
    let text = "CREATE RULE a AS SELECT FROM 't' DO LOG;\n\
                CREATE RULE b AS SELECT 'open FROM 't' DO LOG;\n\
                CREATE RULE c AS SELECT (1 FROM 't' DO LOG\n\
                CREATE RULE d AS SELECT 1 FROM 'a+' DO LOG;\n\
                CREATE RULE e AS SELECT 1 AS x FROM 't' DO LOG";
    let parsed = parse_file(text);
    let lines: Vec<usize> = parsed
        .diagnostics
        .iter()
        .map(|found| text.get(..found.labels[0].span.start).unwrap().matches('\n').count() + 1)
        .collect();
    // The third lacks its `)` and its `;`.
    assert_eq!(lines, [1, 2, 3, 4, 4], "{:#?}", parsed.diagnostics);
    let names: Vec<_> = parsed.rules.iter().map(|rule| rule.name.node.to_string()).collect();
    assert_eq!(names, ["e"]);
}

#[test]
fn nesting_and_chains_stop_at_their_bounds() {
    let nested = |levels: usize| format!("{}x{}", "(".repeat(levels), ")".repeat(levels));
    assert!(expression(&nested(NESTING_MAX)).is_ok());
    assert_eq!(expression(&nested(NESTING_MAX + 1)).unwrap_err()[0].code, Code::NESTING);
    let chains: [fn(usize) -> String; 4] = [
        |n| vec!["a"; n].join(" OR "),
        |n| vec!["a"; n].join(" + "),
        |n| format!("{}a", "NOT ".repeat(n)),
        |n| format!("{}a", "- ".repeat(n)),
    ];
    for chain in chains {
        assert!(expression(&chain(EXPRESSION_DEPTH_MAX / 2)).is_ok());
        for many in [EXPRESSION_DEPTH_MAX + 2, 4000] {
            let refused = expression(&chain(many)).unwrap_err();
            assert!(matches!(refused.as_slice(), [only] if only.code == Code::NESTING));
        }
    }
}

#[test]
fn broken_nests_take_no_exponential_time() {
    for unit in ["(", "f(", "a IN (", "(SELECT VALUE (SELECT VALUE ", "EXISTS (SELECT a FROM ("] {
        for levels in [20, 30] {
            let open = unit.repeat(levels);
            let close = ")".repeat(open.matches('(').count());
            assert!(expression(&format!("{open} ? {close}")).is_err());
        }
    }
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,4}",
        Just("value".to_owned()),
        Just("hold".to_owned()),
        Just("window".to_owned()),
        Just("like".to_owned()),
        Just("end".to_owned()),
        Just("odd `name`".to_owned()),
        Just("größe".to_owned()),
    ]
}

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let segment =
        prop_oneof![field().prop_map(Segment::Name), (0_usize..20).prop_map(Segment::Index)];
    proptest::collection::vec(segment, 0..3)
}

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: 0..0 }
}

fn leaf() -> impl Strategy<Value = Expr> {
    let number = "-?[0-9]{1,5}(\\.[0-9]{1,3})?(E-?[0-9]{1,2})?";
    prop_oneof![
        number.prop_map(|text| ExprKind::Literal(Value::Number(Number::parse(&text).unwrap()))),
        ".{0,4}".prop_map(|text| ExprKind::Literal(Value::String(CompactString::from(text)))),
        any::<bool>().prop_map(|value| ExprKind::Literal(Value::Bool(value))),
        Just(ExprKind::Literal(Value::Null)),
        Just(ExprKind::Star),
        "[a-z]{1,3}".prop_map(ExprKind::Variable),
        (0_usize..6).prop_map(|i| ExprKind::Hold(HoldField::ALL[i])),
        (0_usize..2).prop_map(|i| ExprKind::Window(WindowField::ALL[i])),
        (field(), segments()).prop_map(|(root, segments)| ExprKind::Path { root, segments }),
    ]
    .prop_map(expr)
}

fn operators() -> impl Strategy<Value = BinaryOp> {
    prop::sample::select(vec![
        BinaryOp::Or,
        BinaryOp::And,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Less,
        BinaryOp::GreaterOrEqual,
        BinaryOp::Add,
        BinaryOp::Subtract,
        BinaryOp::Multiply,
        BinaryOp::Divide,
        BinaryOp::Remainder,
    ])
}

fn boxed(inner: &BoxedStrategy<Expr>) -> impl Strategy<Value = Box<Expr>> + use<> {
    inner.clone().prop_map(Box::new)
}

fn subquery(inner: &BoxedStrategy<Expr>) -> impl Strategy<Value = Box<Subquery>> + use<> {
    let alias =
        proptest::collection::vec(field(), 1..3).prop_map(|node| Spanned { node, span: 0..0 });
    let item = (inner.clone(), prop::option::of(alias)).prop_map(|(expr, alias)| {
        match (&expr.kind, &alias) {
            (ExprKind::Star, None) => SelectItem::Star(0..0),
            _ => SelectItem::Expr { expr, alias },
        }
    });
    let projection = prop_oneof![
        inner.clone().prop_map(Projection::Value),
        proptest::collection::vec(item, 1..3).prop_map(Projection::Items),
    ];
    (projection, inner.clone(), prop::option::of(field()), prop::option::of(inner.clone()))
        .prop_map(|(projection, source, alias, filter)| {
            Box::new(Subquery { projection, source, alias, filter })
        })
}

fn call(inner: &BoxedStrategy<Expr>) -> impl Strategy<Value = ExprKind> + use<> {
    let args = proptest::collection::vec(inner.clone(), 0..3);
    ("[a-z]{2,3}f", args)
        .prop_map(|(name, args)| ExprKind::Call { name: Spanned { node: name, span: 0..0 }, args })
}

fn node(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let pair = || (boxed(&inner), boxed(&inner), any::<bool>());
    let many = || proptest::collection::vec(inner.clone(), 0..3);
    let unary = prop::sample::select(vec![UnaryOp::Not, UnaryOp::Negate]);
    let branches = proptest::collection::vec((inner.clone(), inner.clone()), 1..3);
    let optional = || prop::option::of(boxed(&inner));
    let entries = proptest::collection::vec((".{0,3}", inner.clone()), 0..3);
    prop_oneof![
        (operators(), boxed(&inner), boxed(&inner))
            .prop_map(|(op, left, right)| ExprKind::Binary { op, left, right }),
        (unary, boxed(&inner)).prop_map(|(op, operand)| ExprKind::Unary { op, operand }),
        pair().prop_map(|(needle, haystack, negated)| ExprKind::In { needle, haystack, negated }),
        pair().prop_map(|(value, pattern, negated)| ExprKind::Like { value, pattern, negated }),
        (pair(), boxed(&inner)).prop_map(|((value, low, negated), high)| {
            ExprKind::Between { value, low, high, negated }
        }),
        (boxed(&inner), any::<bool>()).prop_map(|(value, negated)| {
            ExprKind::Is { value, what: IsWhat::Undefined, negated }
        }),
        many().prop_map(ExprKind::Array),
        entries.prop_map(ExprKind::Object),
        call(&inner),
        (call(&inner), proptest::collection::vec(inner.clone(), 1..3)).prop_map(
            |(call, partition_by)| ExprKind::Over { call: Box::new(expr(call)), partition_by }
        ),
        boxed(&inner).prop_map(|value| ExprKind::Cast { value, target: CastTarget::Decimal }),
        (optional(), branches, optional()).prop_map(|(operand, branches, otherwise)| {
            ExprKind::Case { operand, branches, otherwise }
        }),
        (boxed(&inner), segments()).prop_map(|(base, segments)| match segments.is_empty() {
            true => base.kind,
            false => ExprKind::Member { base, segments },
        }),
        subquery(&inner).prop_map(ExprKind::Subquery),
        subquery(&inner).prop_map(ExprKind::Exists),
    ]
    .prop_map(expr)
    .boxed()
}

/// Pieces that rule files are made of, and some that they are not.
fn fragments() -> impl Strategy<Value = String> {
    let words = "CREATE RULE a AS SELECT * VALUE x . , ( ) [ 0 ] { } : 'lab/+' \"t\" ' \" ` FROM \
                 WHERE WHEN FOR 5 MINUTES PARTITION BY CLEAR KEEP MAX GAP DO STREAM s KEY LOG \
                 REPUBLISH '${a}' '${' ON CLEARED ERROR ; -- /* */ CASE THEN ELSE END AND OR NOT IN \
                 BETWEEN LIKE IS NULL + - / % = <> 1E9999 0.5 @v SET hold.since f( é \u{feff} \\ \r\n";
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    proptest::collection::vec(prop::sample::select(words), 0..60).prop_map(|words| words.join(" "))
}

const SAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/rules/lab.rule"));

/// A sample with pieces cut out, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let cut = (any::<prop::sample::Index>(), 0_usize..20, "\\PC{0,3}");
    proptest::collection::vec(cut, 1..6).prop_map(|cuts| {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (at, length, instead) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, instead.chars());
        }
        text.into_iter().collect()
    })
}

fn no_text_is_too_bad(text: &str) -> Result<(), TestCaseError> {
    let source = Source { path: "fuzz.rule".into(), content: Ok(text.as_bytes().to_vec()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    for (_, found) in &checked.diagnostics {
        for label in &found.labels {
            prop_assert!(label.span.start <= label.span.end, "{found:?}");
            prop_assert!(text.get(label.span.clone()).is_some(), "{found:?} over {text:?}");
        }
        let color = crate::diagnostic::render::Color::Off;
        crate::diagnostic::render::render(found, "fuzz.rule", text, color);
    }
    for rule in &checked.rules {
        prop_assert!(text.contains(&rule.text));
    }
    Ok(())
}

proptest! {
    #[test]
    fn printing_and_parsing_again_is_identity(tree in tree()) {
        let text = tree.to_string();
        let again = expression(&text)
            .map_err(|found| TestCaseError::fail(format!("{text}: {found:?}")))?;
        prop_assert_eq!(shape(&again), shape(&tree), "{}", text);
    }

    #[test]
    fn no_random_text_upsets_the_parser(text in prop_oneof![fragments(), mutated(), "\\PC{0,80}"]) {
        no_text_is_too_bad(&text)?;
    }
}

/// What is reported of a text: each report's marked text.
fn marked(text: &str) -> Vec<&str> {
    let parsed = parse_file(text);
    let mark = |found: &Diagnostic| found.labels.first().map(|label| label.span.clone());
    parsed.diagnostics.iter().filter_map(mark).map(|span| text.get(span).unwrap()).collect()
}

#[test]
fn every_clause_with_an_error_is_told_and_no_other() {
    let text = "CREATE RULE r AS SET @a = 1 + SELECT b c FROM 'x' WHERE a >> 1 \
                WHEN a > 1 FOR 5 PARTITION BY a, CLEAR WHEN b = = 2 KEEP 1 MINUTE \
                DO STREAM s KEY a +, REPUBLISH x, LOG ON CLEARED DO INVOKE 'a' b ON ERROR DO LOG;";
    assert_eq!(
        marked(text),
        ["SELECT", "c", ">", "PARTITION", "CLEAR", "=", ",", "x", "b"],
        "{:?}",
        parse_file(text).diagnostics
    );
    // Fields that are called like clauses, and what stands in quotes, comments and CASE, is no clause.
    for text in [
        "CREATE RULE r AS SELECT a b, keep, max, clear, partition, repeat, do FROM 'x' DO LOG;",
        "CREATE RULE r AS SELECT a b, c.where, d AS when FROM 'x' WHERE x = 'WHERE >' -- WHEN >\n DO LOG;",
        "CREATE RULE r AS SELECT a b FROM 'x' WHERE CASE a WHEN 1 THEN 2 END = 2 DO LOG;",
        "CREATE RULE r AS SELECT a b FROM 'x' WHERE EXISTS (SELECT * FROM v WHERE x > 1) DO LOG;",
    ] {
        assert_eq!(marked(text), ["b"], "{text}");
    }
}

#[test]
fn errors_of_one_statement_are_told_up_to_a_bound() {
    for (errors, told) in [(15, 15), (16, 16), (17, 16), (40, 16)] {
        let actions = vec!["LOG LOG"; errors].join(", ");
        let text = format!("CREATE RULE r AS SELECT a FROM 'x' DO {actions};");
        assert_eq!(marked(&text).len(), told, "of {errors}");
    }
    assert_eq!(SYNTAX_ERRORS_MAX, 16);
}
