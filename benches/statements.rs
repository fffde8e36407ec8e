//! How long the worst statements of 64 KB take to be parsed, checked and compiled.
//!
//! `cargo bench --bench statements` prints the best of five for each text, and ends with an error where
//! one takes more than [`LIMIT`]. What bounds them is in `docs/language.md`, "Limits"; that the work
//! is bounded is tested without a clock in `rule::set`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use tidegate::engine::Engine;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;

/// What no statement may take.
const LIMIT: Duration = Duration::from_millis(100);
/// A statement's bytes, nearly.
const BYTES: usize = 64 * 1024 - 200;

/// As many of `part` as fit, `{}` being their number.
fn many(part: &str, separator: &str) -> String {
    let mut text = String::new();
    for number in 0.. {
        let next = part.replace("{}", &number.to_string());
        if text.len() + next.len() + separator.len() > BYTES {
            return text;
        }
        if number > 0 {
            text.push_str(separator);
        }
        text.push_str(&next);
    }
    text
}

fn select(list: String) -> String {
    format!("CREATE RULE r AS SELECT {list} FROM 'x' DO LOG;")
}

fn filter(condition: String) -> String {
    format!("CREATE RULE r AS SELECT a FROM 'x' WHERE {condition} DO LOG;")
}

fn nested(open: &str, inner: &str, close: &str, levels: usize) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

/// Thirty-two regular expressions, each as large as one may be.
fn regexes() -> String {
    let one = |i: usize| format!("regexp_matches(a, '(?:a{i}[bc]d?\\w{{0,3}}){{0,100}}')");
    (0..32).map(one).collect::<Vec<_>>().join(" OR ")
}

fn chains(term: &str, joined: &str) -> String {
    let chain = vec![term; 100].join(joined);
    many(&format!("({chain})"), ", ")
}

#[expect(clippy::too_many_lines, reason = "it is a list")]
fn texts() -> Vec<(&'static str, String)> {
    vec![
        ("fields", select(many("a{}", ","))),
        ("fields of one", select(many("a.b{}", ","))),
        ("nested names", select(many("a.b.c.d.e.f.g{} AS x.y.z{}", ","))),
        ("same fields", select(many("a", ","))),
        ("stars", select(many("*", ","))),
        ("numbers in IN", filter(format!("a IN [{}]", many("{}", ",")))),
        ("texts in IN", filter(format!("a IN [{}]", many("'{}'", ",")))),
        ("fields in IN", filter(format!("a IN [{}]", many("a{}", ",")))),
        ("members", select(format!("{{{}}}", many("'k{}': 1", ",")))),
        ("calls", select(many("abs(a)", ","))),
        ("constant calls", select(many("sha512('{}')", ","))),
        ("power", select(many("power(2.5, 99.5)", ","))),
        ("unknown functions", select(many("fnu{}(a)", ","))),
        ("near functions", select(many("regexp_matchez{}(a)", ","))),
        ("wrong arity", select(many("abs()", ","))),
        ("unknown variables", select(many("@v{}", ","))),
        ("unknown types", select(many("cast(a AS Strin{})", ","))),
        ("long unknown name", select(format!("{}(a)", "f".repeat(BYTES - 100)))),
        (
            "hold fields",
            format!(
                "CREATE RULE r AS SELECT {} FROM 'x' WHEN a > 1 DO LOG;",
                many("hold.sinze", ",")
            ),
        ),
        ("AND", filter(many("a{} > 1", " AND "))),
        ("AND chains", select(chains("a > 1", " AND "))),
        ("OR of AND", filter(vec!["(a > 1 AND b < 3)"; 200].join(" OR "))),
        ("sums", select(chains("a", " + "))),
        ("texts joined", select(chains("'a'", " + "))),
        ("deep brackets", select(many(&nested("(", "a", ")", 60), ","))),
        ("deep arrays", select(many(&nested("[", "1", "]", 60), ","))),
        ("deep objects", select(many(&nested("{'a':", "1", "}", 60), ","))),
        ("deep calls", select(many(&nested("abs(", "a", ")", 60), ","))),
        ("deep CASE", select(many(&nested("CASE WHEN ", "a", " THEN 1 END", 60), ","))),
        ("deep queries", select(many(&nested("(SELECT a FROM ", "b", ")", 60), ","))),
        ("NOT", select(many(&format!("{}a", "NOT ".repeat(200)), ","))),
        ("minus", select(many(&format!("{}a", "- ".repeat(200)), ","))),
        ("CASE branches", select(format!("CASE a {} END", many("WHEN {} THEN b", " ")))),
        ("queries", select(many("(SELECT a FROM b WHERE c > 1)", ","))),
        ("regular expressions", filter(regexes())),
        (
            "nested repetitions",
            filter("regexp_matches(a, '(((a{1,9}){1,9}){1,9}){1,9}')".to_owned()),
        ),
        ("many expressions", select(many("regexp_matches(a, '[a-z]+{}')", ","))),
        ("long expression", filter(format!("regexp_matches(a, '{}')", many("a{}|", "")))),
        ("time patterns", select(many("parse_time('yyyy-MM-dd HH:mm:ss', a)", ","))),
        ("wrong time patterns", select(many("parse_time('{}bb', a)", ","))),
        ("long time pattern", select(format!("parse_time('{}', a)", "y".repeat(BYTES - 100)))),
        ("templates", format!("CREATE RULE r AS SELECT a FROM 'x' DO LOG '{}';", many("${a}", ""))),
        (
            "templates of quotes",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' DO LOG '{}';",
                many("${''''''a''''''}", "")
            ),
        ),
        (
            "open templates",
            format!("CREATE RULE r AS SELECT a FROM 'x' DO LOG '{}';", many("${(", "")),
        ),
        (
            "empty templates",
            format!("CREATE RULE r AS SELECT a FROM 'x' DO LOG '{}';", many("${}", "")),
        ),
        ("quotes", format!("CREATE RULE r AS SELECT a FROM 'x' DO LOG '{}';", many("''", ""))),
        (
            "headers",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' DO REPUBLISH 'y' HEADERS ({});",
                many("USER 'k{}' = '${a}'", ",")
            ),
        ),
        (
            "filters",
            format!("CREATE RULE r AS SELECT a FROM {} DO LOG;", many("'x/{}/+/y/#'", ",")),
        ),
        ("deep filter", format!("CREATE RULE r AS SELECT a FROM '{}' DO LOG;", many("+", "/"))),
        ("actions", format!("CREATE RULE r AS SELECT a FROM 'x' DO {};", many("STREAM s{}", ","))),
        (
            "joins",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' {} DO LOG;",
                many("JOIN t{} ON t{}.id = a", " ")
            ),
        ),
        (
            "variables",
            format!("CREATE RULE r AS {} SELECT a FROM 'x' DO LOG;", many("SET @v{} = a", " ")),
        ),
        (
            "partition",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' WHEN a > 1 PARTITION BY {} DO LOG;",
                many("a{}", ",")
            ),
        ),
        ("open brackets", select(many("(", ""))),
        ("open square brackets", select(many("[", ""))),
        ("closed brackets", select(many(")", ""))),
        ("mixed brackets", select(many("([{", ""))),
        ("open quote", select(many("'a", " "))),
        ("open comment", select(many("/*", " "))),
        ("comments", select(many("/* */", " ") + "a")),
        ("commas", select(many(",", ""))),
        ("semicolons", many(";", "")),
        ("words", many("word", " ")),
        ("keywords", many("SELECT FROM WHERE WHEN DO", " ")),
        ("clauses", format!("CREATE RULE r AS {};", many("SELECT a FROM 'x' WHERE >", " "))),
        ("signs", many("@#$%^&~", "")),
        ("no words", many("é€\u{1F600}", "")),
        ("small statements", many("CREATE RULE r{} AS SELECT a FROM 'x' DO LOG;", " ")),
        ("small errors", many("CREATE RUL r{} AS;", " ")),
        ("statements of errors", many("CREATE RULE r{} AS SELECT upper FROM x DO LOGG;", " ")),
        ("numbers", select(many("1{}.5e9", ","))),
        ("long number", select("9".repeat(BYTES))),
        ("long name", select("n".repeat(BYTES))),
        ("long text", select(format!("'{}'", "t".repeat(BYTES)))),
        (
            "CSV columns",
            format!("CREATE RULE r AS SELECT a FROM 'x' AS CSV ({}) DO LOG;", many("c{}", ",")),
        ),
        (
            "text pattern",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' AS TEXT MATCHING '{}' DO LOG;",
                many("(?<a{}>x)", "")
            ),
        ),
    ]
}

/// Parse, check, compile, and the plan of its topic.
fn load(text: &str) -> usize {
    let source = Source { path: "worst.rule".into(), content: Ok(text.as_bytes().to_vec()) };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    let found = checked.diagnostics.len();
    if checked.has_errors() {
        return found;
    }
    let engine = Engine::new(checked.rules, "1");
    black_box(engine.plan_of(&[tidegate::engine::RuleIndex(0)]));
    found
}

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut over = 0;
    for (name, text) in texts() {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted)) {
            continue;
        }
        let mut best = Duration::MAX;
        let mut found = 0;
        for _ in 0..5 {
            #[expect(clippy::disallowed_methods, reason = "a benchmark takes the time")]
            let start = Instant::now();
            found = load(black_box(&text));
            best = best.min(start.elapsed());
        }
        over += usize::from(best > LIMIT);
        let millis = best.as_secs_f64() * 1000.0;
        println!("{millis:9.2} ms  {:6} bytes  {found:4} findings  {name}", text.len());
    }
    if over == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
