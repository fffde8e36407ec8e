use super::super::code::Projected;
use super::super::compile::compile;
use super::*;
use crate::engine::Evaluation;
use crate::engine::tests::engine;
use crate::engine::tests::publish;
use crate::limits::FOLDED_BYTES_MAX;

/// What `expr` is compiled to.
fn compiled(expr: &str) -> Code {
    let text = format!("CREATE RULE r AS SELECT VALUE {expr} FROM 'x' DO LOG;");
    let engine = engine(&text);
    match compile(&engine.rules()[0]).projection {
        Projected::Value(code) => code,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(expr: &str, expected: Value) {
    match compiled(expr) {
        Code::Constant(value) => assert_eq!(value, expected, "{expr}"),
        other => panic!("{expr} is not folded: {other:?}"),
    }
}

#[test]
fn every_kind_of_constant_expression_is_folded() {
    let text = Value::string;
    for (expr, expected) in [
        ("[1, 'a', 1 + 1]", Value::array(vec![Value::int(1), text("a"), Value::int(2)])),
        ("get({'a': 1 + 1, 'b': lower('X')}, 'b')", text("x")),
        ("[1, [2, 3]][1][0]", Value::int(2)),
        ("NOT 1 = 2", Value::Bool(true)),
        ("-(2 + 3)", Value::int(-5)),
        ("2 * 3 - 7 / 2 % 2", Value::int(5)),
        ("'a' + 1", text("a1")),
        ("1 < 2", Value::Bool(true)),
        ("1 = '1'", Value::Bool(false)),
        ("2 IN [1, 2]", Value::Bool(true)),
        ("2 NOT IN [1, 2]", Value::Bool(false)),
        ("2 BETWEEN 1 AND '3'", Value::Bool(true)),
        ("2 NOT BETWEEN 1 AND 3", Value::Bool(false)),
        ("'abc' LIKE 'a%'", Value::Bool(true)),
        ("NULL IS NULL", Value::Bool(true)),
        ("1 IS NOT UNDEFINED", Value::Bool(true)),
        ("1 = 1 AND 2 = 2", Value::Bool(true)),
        ("a > 1 AND 1 = 2", Value::Bool(false)),
        ("1 = 2 OR 'true' OR a", Value::Bool(true)),
        ("NULL AND 1 = 1", Value::Undefined),
        ("cast('12' AS Int)", Value::int(12)),
        ("CASE 2 WHEN 1 THEN a WHEN 1 + 1 THEN 'two' ELSE a END", text("two")),
        ("CASE WHEN 1 > 2 THEN a WHEN 1 = 1 THEN 3 END", Value::int(3)),
        ("CASE 3 WHEN 1 THEN a END", Value::Undefined),
        ("upper(concat('a', 'b'))", text("AB")),
        ("power(2, 10)", Value::int(1024)),
        ("1 / 0", Value::Undefined),
        ("parse_time('yyyy-MM-dd', 86400000)", text("1970-01-02")),
        ("time_to_epoch('1970-01-02', 'yyyy-MM-dd')", Value::int(86_400_000)),
        ("md5('a')", text("0cc175b9c0f1b6a831c399e269772661")),
    ] {
        check(expr, expected);
    }
}

#[test]
fn what_the_message_the_gateway_or_chance_decides_is_not_folded() {
    for expr in [
        "a",
        "a + 1",
        "topic()",
        "topic(1)",
        "timestamp()",
        "rand()",
        "newuuid()",
        "traceid()",
        "clientid()",
        "accountid()",
        "regexp_matches('a', 'a')",
        "(SELECT VALUE v FROM [1] AS v)",
        "*",
        "upper(topic())",
        "1 = 1 AND a > 1",
        "1 = 2 OR a > 1",
        "CASE a WHEN 1 THEN 2 END",
        "CASE 1 WHEN a THEN 2 ELSE 3 END",
    ] {
        let code = compiled(expr);
        assert!(!matches!(code, Code::Constant(_)), "{expr} is folded: {code:?}");
    }
}

#[test]
fn a_part_that_decides_nothing_is_left_out() {
    let Code::And(terms) = compiled("1 = 1 AND a > 1 AND 'true'") else { panic!("an AND is left") };
    assert!(matches!(&terms[..], [Code::Compare { .. }]));
    let Code::Or(terms) = compiled("lpad(a, b) = 'x' OR true OR c") else {
        panic!("an OR is left")
    };
    assert_eq!(terms.len(), 2, "the first may fault, and nothing behind true is looked at");
    let code = compiled("CASE WHEN false THEN 1 WHEN a THEN 2 WHEN true THEN 3 WHEN b THEN 4 END");
    let Code::Case { branches, otherwise, .. } = code else { panic!("a CASE is left") };
    assert_eq!(branches.len(), 1);
    assert!(matches!(&*otherwise, Code::Constant(value) if *value == Value::int(3)));
}

#[test]
fn what_faults_faults_at_every_message() {
    let half = format!("replace(rpad('', 600), ' ', '{}')", "y".repeat(1000));
    let engine = engine(&format!(
        "CREATE RULE r AS SELECT a FROM 'x' WHERE {half} + {half} = 'x' OR true DO LOG;"
    ));
    let publish = publish("x", "{}");
    for _ in 0..2 {
        let mut out = Evaluation::default();
        engine.evaluate(&engine.plan(&publish.topic), &publish, &mut out);
        assert_eq!((out.faults.len(), out.hits.len()), (1, 0));
    }
}

#[test]
fn the_constants_of_a_rule_are_bounded() {
    let half = format!("replace(rpad('', 1000), ' ', '{}')", "y".repeat(FOLDED_BYTES_MAX / 2200));
    let large = format!("[{half}, {half}, {half}, 1 + 1]");
    let Code::Array(items) = compiled(&large) else { panic!("not all of it is folded") };
    let folded = items.iter().map(|item| matches!(item, Code::Constant(_)));
    assert_eq!(folded.collect::<Vec<_>>(), [true, true, false, true], "numbers take nothing");
    // The parts of a text count too: 64 times 1000 bytes, and 1000 for the spaces.
    let most = format!("replace(rpad('', 1000), ' ', '{}')", "y".repeat(64));
    let rest = FOLDED_BYTES_MAX - 65 * 1000;
    for (rest, expected) in [(rest, [true, true, false]), (rest + 1, [true, false, false])] {
        let Code::Array(items) = compiled(&format!("[{most}, rpad('', {rest}), rpad('', 1)]"))
        else {
            panic!("not all of it is folded")
        };
        let folded: Vec<bool> =
            items.iter().map(|item| matches!(item, Code::Constant(_))).collect();
        assert_eq!(folded, expected, "beside {rest} bytes");
    }
}
