//! How long the worst texts of 64 KB take from the text to the rendered report: parsed, checked, compiled
//! with the plan of a topic, and everything that was found drawn and written as JSON.
//!
//! `cargo bench --bench statements` prints the best of five for each text, and ends with an error where
//! one takes more than [`LIMIT`]. Each text is tried as long as a statement may be, which the bound on
//! words and signs refuses early for most, and again just below that bound. What bounds the time is in
//! `docs/language.md`, "Limits"; that the work is bounded is tested without a clock in `rule::set`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use tidegate::api;
use tidegate::diagnostic::render;
use tidegate::diagnostic::render::Color;
use tidegate::engine::Engine;
use tidegate::engine::RuleIndex;
use tidegate::limits::STATEMENT_BYTES_MAX;
use tidegate::limits::STATEMENT_TOKENS_MAX;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;

/// What no text may take.
const LIMIT: Duration = Duration::from_millis(100);

/// What a list in a text may have.
#[derive(Clone, Copy)]
struct Room {
    /// Its bytes.
    bytes: usize,
    /// Words, texts and signs in it.
    tokens: usize,
}

/// As long as a statement may be, nearly.
const LONGEST: Room = Room { bytes: STATEMENT_BYTES_MAX - 200, tokens: usize::MAX };
/// As many words and signs as a statement may have, nearly.
const FULLEST: Room = Room { bytes: STATEMENT_BYTES_MAX - 200, tokens: STATEMENT_TOKENS_MAX - 60 };

/// The words, texts and signs of `text`, as the limit counts them.
fn tokens(text: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '@';
    let mut tokens = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' | '`' => {
                let inner: String = chars.by_ref().take_while(|other| *other != c).collect();
                let templates = inner.split_once("${").map_or("", |(_, templates)| templates);
                tokens += 1 + templates.chars().filter(char::is_ascii_punctuation).count();
            }
            c if is_word(c) => {
                while chars.next_if(|c| is_word(*c)).is_some() {}
                tokens += 1;
            }
            c if c.is_whitespace() => {}
            _ => tokens += 1,
        }
    }
    tokens
}

impl Room {
    /// As many of `part` as fit, `{}` being their number.
    fn many(self, part: &str, separator: &str) -> String {
        let mut text = String::new();
        let each = tokens(part) + tokens(separator);
        for number in 0.. {
            let next = part.replace("{}", &number.to_string());
            let is_full = text.len() + next.len() + separator.len() > self.bytes;
            if is_full || each.saturating_mul(number + 1) > self.tokens {
                return text;
            }
            if number > 0 {
                text.push_str(separator);
            }
            text.push_str(&next);
        }
        text
    }

    /// The same inside of a text, as of the templates in one.
    fn many_in_text(self, part: &str) -> String {
        let signs = part.chars().filter(char::is_ascii_punctuation).count();
        let fitting = self.bytes.min((self.tokens / signs.max(1)).saturating_mul(part.len()));
        part.repeat(fitting / part.len())
    }

    fn chains(self, term: &str, joined: &str, links: usize) -> String {
        let chain = vec![term; links].join(joined);
        self.many(&format!("({chain})"), ", ")
    }
}

fn select(list: String) -> String {
    format!("CREATE RULE r AS SELECT {list} FROM 'x' DO LOG;")
}

fn filter(condition: String) -> String {
    format!("CREATE RULE r AS SELECT a FROM 'x' WHERE {condition} DO LOG;")
}

fn rule(clauses: String) -> String {
    format!("CREATE RULE r AS SELECT a FROM 'x' {clauses} DO LOG;")
}

fn actions(actions: String) -> String {
    format!("CREATE RULE r AS SELECT a FROM 'x' DO {actions};")
}

fn nested(open: &str, inner: &str, close: &str, levels: usize) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

/// Thirty-two regular expressions, each as large as one may be.
fn regexes() -> String {
    let one = |i: usize| format!("regexp_matches(a, '(?:a{i}[bc]d?\\w{{0,3}}){{0,100}}')");
    (0..32).map(one).collect::<Vec<_>>().join(" OR ")
}

#[expect(clippy::too_many_lines, reason = "it is a list")]
fn statements(room: Room) -> Vec<(&'static str, String)> {
    vec![
        ("fields", select(room.many("a{}", ","))),
        ("fields of one", select(room.many("a.b{}", ","))),
        ("nested names", select(room.many("a.b.c.d.e.f.g{} AS x.y.z{}", ","))),
        ("same fields", select(room.many("a", ","))),
        ("stars", select(room.many("*", ","))),
        ("numbers in IN", filter(format!("a IN [{}]", room.many("{}", ",")))),
        ("texts in IN", filter(format!("a IN [{}]", room.many("'{}'", ",")))),
        ("fields in IN", filter(format!("a IN [{}]", room.many("a{}", ",")))),
        ("members", select(format!("{{{}}}", room.many("'k{}': 1", ",")))),
        ("calls", select(room.many("abs(a)", ","))),
        ("constant calls", select(room.many("sha512('{}')", ","))),
        ("power", select(room.many("power(2.5, 99.5)", ","))),
        ("unknown functions", select(room.many("fnu{}(a)", ","))),
        ("near functions", select(room.many("regexp_matchez{}(a)", ","))),
        ("wrong arity", select(room.many("abs()", ","))),
        ("unknown variables", select(room.many("@v{}", ","))),
        ("unknown types", select(room.many("cast(a AS Strin{})", ","))),
        ("long unknown name", select(format!("{}(a)", "f".repeat(room.bytes - 100)))),
        (
            "hold fields",
            format!(
                "CREATE RULE r AS SELECT {} FROM 'x' WHEN a > 1 DO LOG;",
                room.many("hold.sinze", ",")
            ),
        ),
        ("AND", filter(room.many("a{} > 1", " AND "))),
        ("AND chains", select(room.chains("a > 1", " AND ", 100))),
        ("OR of AND", filter(vec!["(a > 1 AND b < 3)"; 200].join(" OR "))),
        ("sums", select(room.chains("a", " + ", 100))),
        ("texts joined", select(room.chains("'a'", " + ", 100))),
        ("deep brackets", select(room.many(&nested("(", "a", ")", 60), ","))),
        ("deep arrays", select(room.many(&nested("[", "1", "]", 60), ","))),
        ("deep objects", select(room.many(&nested("{'a':", "1", "}", 60), ","))),
        ("deep calls", select(room.many(&nested("abs(", "a", ")", 60), ","))),
        ("deep CASE", select(room.many(&nested("CASE WHEN ", "a", " THEN 1 END", 60), ","))),
        ("deep queries", select(room.many(&nested("(SELECT a FROM ", "b", ")", 60), ","))),
        ("NOT", select(room.many(&format!("{}a", "NOT ".repeat(200)), ","))),
        ("minus", select(room.many(&format!("{}a", "- ".repeat(200)), ","))),
        ("CASE branches", select(format!("CASE a {} END", room.many("WHEN {} THEN b", " ")))),
        ("queries", select(room.many("(SELECT a FROM b WHERE c > 1)", ","))),
        ("regular expressions", filter(regexes())),
        (
            "nested repetitions",
            filter("regexp_matches(a, '(((a{1,9}){1,9}){1,9}){1,9}')".to_owned()),
        ),
        ("many expressions", select(room.many("regexp_matches(a, '[a-z]+{}')", ","))),
        ("long expression", filter(format!("regexp_matches(a, '{}')", room.many("a{}|", "")))),
        ("time patterns", select(room.many("parse_time('yyyy-MM-dd HH:mm:ss', a)", ","))),
        ("wrong time patterns", select(room.many("parse_time('{}bb', a)", ","))),
        ("long time pattern", select(format!("parse_time('{}', a)", "y".repeat(room.bytes - 100)))),
        ("long chains", select(room.chains("a", " + ", 250))),
        ("long OR", select(room.chains("a > 1", " OR ", 250))),
        ("comparisons", select(room.chains("a", " = ", 250))),
        ("objects", select(room.many("{'a':1,'b':[1,2]}", ","))),
        ("paths", select(room.many("a.b[0].c", ","))),
        ("BETWEEN", filter(room.many("a BETWEEN 1 AND 2", " OR "))),
        ("LIKE", select(room.many("a LIKE '%x%'", ","))),
        ("IS NULL", select(room.many("a IS NOT NULL", ","))),
        ("casts", select(room.many("cast(a AS Int)", ","))),
        ("EXISTS", select(room.many("EXISTS (SELECT * FROM b)", ","))),
        ("searched CASE", select(room.many("CASE WHEN a > 1 THEN 2 ELSE 3 END", ","))),
        ("wrong types", select(room.many("sqrt('x')", ","))),
        ("wrong operands", select(room.many("1 + TRUE", ","))),
        ("never equal", filter(room.many("topic() = 7", " OR "))),
        ("never true", filter(room.many("(a > 1 AND a < 0)", " OR "))),
        ("wrong regular expressions", select(room.many("regexp_matches(a, '(')", ","))),
        ("wrong zones", select(room.many("parse_time('yyyy', a, 'Nowhere')", ","))),
        ("unknown columns of lines", select(room.many("\nt.x{}", ","))),
        ("unknown functions on lines", select(room.many("\nlenght(a{})", ","))),
        ("secrets", select(room.many("get_secret('x{}', 'SecretString', 'r')", ","))),
        ("tables", select(room.many("get_dynamodb('t{}', 'k', a, 'r')", ","))),
        ("lambdas", select(room.many("aws_lambda('f{}', a)", ","))),
        ("shadows", select(room.many("get_thing_shadow('f{}', 'r')", ","))),
        ("lag", select(room.many("lag(a{})", ","))),
        ("nested lag", select(room.many(&nested("lag(", "a", ")", 60), ","))),
        ("wide texts", select(room.many("'é€\u{1F600}'", ","))),
    ]
}

#[expect(clippy::too_many_lines, reason = "it is a list")]
fn clauses(room: Room) -> Vec<(&'static str, String)> {
    vec![
        ("templates", actions(format!("LOG '{}'", room.many_in_text("${a}")))),
        (
            "templates of quotes",
            actions(format!("LOG '{}'", room.many_in_text("${''''''a''''''}"))),
        ),
        ("open templates", actions(format!("LOG '{}'", room.many_in_text("${(")))),
        ("empty templates", actions(format!("LOG '{}'", room.many_in_text("${}")))),
        ("quotes", actions(format!("LOG '{}'", room.many_in_text("''")))),
        (
            "headers",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' DO REPUBLISH 'y' HEADERS ({});",
                room.many("USER 'k{}' = '${a}'", ",")
            ),
        ),
        (
            "filters",
            format!("CREATE RULE r AS SELECT a FROM {} DO LOG;", room.many("'x/{}/+/y/#'", ",")),
        ),
        (
            "deep filter",
            format!("CREATE RULE r AS SELECT a FROM '{}' DO LOG;", room.many("+", "/")),
        ),
        (
            "actions",
            format!("CREATE RULE r AS SELECT a FROM 'x' DO {};", room.many("STREAM s{}", ",")),
        ),
        (
            "joins",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' {} DO LOG;",
                room.many("JOIN t{} ON t{}.id = a", " ")
            ),
        ),
        (
            "variables",
            format!(
                "CREATE RULE r AS {} SELECT a FROM 'x' DO LOG;",
                room.many("SET @v{} = a", " ")
            ),
        ),
        (
            "partition",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' WHEN a > 1 PARTITION BY {} DO LOG;",
                room.many("a{}", ",")
            ),
        ),
        ("open brackets", select(room.many("(", ""))),
        ("open square brackets", select(room.many("[", ""))),
        ("closed brackets", select(room.many(")", ""))),
        ("mixed brackets", select(room.many("([{", ""))),
        ("open quote", select(room.many("'a", " "))),
        ("open comment", select(room.many("/*", " "))),
        ("comments", select(room.many("/* */", " ") + "a")),
        ("commas", select(room.many(",", ""))),
        ("semicolons", room.many(";", "")),
        ("words", room.many("word", " ")),
        ("keywords", room.many("SELECT FROM WHERE WHEN DO", " ")),
        ("clauses", format!("CREATE RULE r AS {};", room.many("SELECT a FROM 'x' WHERE >", " "))),
        ("signs", room.many("@#$%^&~", "")),
        ("no words", room.many("é€\u{1F600}", "")),
        ("small statements", room.many("CREATE RULE r{} AS SELECT a FROM 'x' DO LOG;", " ")),
        ("small errors", room.many("CREATE RUL r{} AS;", " ")),
        ("statements of errors", room.many("CREATE RULE r{} AS SELECT upper FROM x DO LOGG;", " ")),
        ("numbers", select(room.many("1{}.5e9", ","))),
        ("long number", select("9".repeat(room.bytes))),
        ("long name", select("n".repeat(room.bytes))),
        ("long text", select(format!("'{}'", "t".repeat(room.bytes)))),
        (
            "CSV columns",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' AS CSV ({}) DO LOG;",
                room.many("c{}", ",")
            ),
        ),
        (
            "text pattern",
            format!(
                "CREATE RULE r AS SELECT a FROM 'x' AS TEXT MATCHING '{}' DO LOG;",
                room.many("(?<a{}>x)", "")
            ),
        ),
        ("windows", rule(format!("GROUP BY {}, TUMBLE(1 MINUTE)", room.many("a{}", ",")))),
        ("unknown windows", rule(format!("GROUP BY {}", room.many("TUMBEL(1 MINUTE)", ",")))),
        (
            "aggregates",
            format!(
                "CREATE RULE r AS SELECT {} FROM 'x' GROUP BY TUMBLE(1 MINUTE) DO LOG;",
                room.many("sum(a{})", ",")
            ),
        ),
        ("options of WHEN", rule(format!("WHEN a > 1 {}", room.many("KEEP 1 MINUTE", " ")))),
        ("durations", rule(format!("WHEN a > 1 FOR {}", room.many("1 MINUTE", " ")))),
        ("wrong durations", rule(format!("WHEN a > 1 {}", room.many("KEEP 1 MINUT{}", " ")))),
        ("hooks", actions(room.many("INVOKE pagr{}", ","))),
        ("wrong actions", actions(room.many("STREM s{}", ","))),
        ("wrong clauses", rule(room.many("WHER a{} > 1", " "))),
        ("names of targets", actions(room.many("STREAM 'a{}${b}'", ","))),
        ("unknown tables", rule(room.many("JOIN t{} ON t{}.id = a", " "))),
        (
            "wrong topics",
            format!("CREATE RULE r AS SELECT a FROM {} DO LOG;", room.many("'a#{}'", ",")),
        ),
        (
            "unknown events",
            format!("CREATE RULE r AS SELECT a FROM {} DO LOG;", room.many("'$events/x{}/y'", ",")),
        ),
        ("rules of one name", many_rules("CREATE RULE r AS SELECT a FROM 'x' DO LOG;")),
        ("rules that loop", many_rules("CREATE RULE r{} AS SELECT a FROM 'x' DO REPUBLISH 'x';")),
        (
            "rules in a ring",
            many_rules("CREATE RULE r{} AS SELECT a FROM 'x/+' DO REPUBLISH 'x/{}';"),
        ),
        ("rules with streams", many_rules("CREATE RULE r{} AS SELECT a FROM 'x' DO STREAM s{};")),
        ("rules over streams", many_rules("CREATE RULE r{} AS SELECT a FROM STREAM s{} DO LOG;")),
        ("rules with hooks", many_rules("CREATE RULE r{} AS SELECT a FROM 'x' DO INVOKE h{};")),
        (
            "rules with conditions",
            many_rules("CREATE RULE r{} AS SELECT a FROM 'x' WHEN a > 1 FOR 1 s DO LOG;"),
        ),
        ("rules with errors", many_rules("CREATE RULE r{} AS SELECT lenght(a) FROM 'x' DO LOG;")),
        ("rules with warnings", many_rules("CREATE RULE r{} AS SELECT abs() FROM 'x' DO LOG;")),
        ("rules of one line each", many_rules("CREATE RULE r{} AS SELECT a FROM 'x' DO LOG;\n")),
        ("misspelt rules", many_rules("CREATE RULE r{} AS SELECT a FORM 'x' DO LOG;")),
        ("tables twice", many_rules("CREATE TABLE t FROM 'x.csv' KEY a;")),
        ("unclosed texts on lines", many_rules("CREATE RULE r{} AS SELECT 'a FROM x;\n")),
    ]
}

/// Rules as many as fit into a file.
fn many_rules(rule: &str) -> String {
    LONGEST.many(rule, " ")
}

fn documents() -> Vec<(&'static str, String)> {
    let payload = |sql: &str, actions: &str| {
        format!(r#"{{"sql": "{sql}", "awsIotSqlVersion": "2016-03-23", "actions": [{actions}]}}"#)
    };
    let log = r#"{"cloudwatchLogs": {"logGroupName": "g", "roleArn": "r"}}"#;
    let sql = "SELECT a FROM 'x'";
    vec![
        ("a document", payload(&format!("SELECT {} FROM 'x'", FULLEST.many("a{}", ",")), log)),
        (
            "a document of unknown functions",
            payload(&format!("SELECT {} FROM 'x'", FULLEST.many("lenght(a)", ",")), log),
        ),
        (
            "a document of escapes",
            payload(&format!("SELECT {} FROM 'x'", FULLEST.many("\\u0061", ",")), log),
        ),
        ("documents", LONGEST.many(&payload(sql, log), " ")),
        ("documents in a list", format!("[{}]", LONGEST.many(&payload(sql, log), ","))),
        (
            "documents of unknown functions",
            LONGEST.many(&payload("SELECT lenght(a) FROM 'x'", log), "\n"),
        ),
        (
            "unknown keys",
            format!(
                r#"{{"sql": "{sql}", "actions": [{log}], {}}}"#,
                LONGEST.many(r#""sqll{}": 1"#, ",")
            ),
        ),
        (
            "keys twice",
            format!(r#"{{"actions": [{log}], {}}}"#, LONGEST.many(r#""sql": "x""#, ",")),
        ),
        ("actions of a document", payload(sql, &LONGEST.many(log, ","))),
        ("actions that are not carried over", payload(sql, &LONGEST.many(r#"{"sns": {}}"#, ","))),
        ("unknown actions", payload(sql, &LONGEST.many(r#"{"kinesiss": {}}"#, ","))),
        ("deep JSON", format!(r#"{{"sql": {}}}"#, nested("[", "1", "]", 30_000))),
        ("deep objects of JSON", format!(r#"{{"sql": {}}}"#, nested(r#"{"a":"#, "1", "}", 10_000))),
        (
            "resources",
            format!(
                r#"{{"Resources": {{{}}}}}"#,
                LONGEST.many(r#""R{}": {"Type": "AWS::IoT::TopicRule"}"#, ",")
            ),
        ),
        ("values that are no documents", LONGEST.many("{}", " ")),
        ("open JSON", LONGEST.many("[", "")),
    ]
}

fn templates() -> Vec<(&'static str, String)> {
    let rule = |sql: &str| {
        format!(
            "Type: AWS::IoT::TopicRule\n    Properties:\n      TopicRulePayload:\n        \
             Actions: [{{CloudwatchLogs: {{}}}}]\n        Sql: {sql}\n"
        )
    };
    let one = |sql: &str| format!("Resources:\n  R:\n    {}", rule(sql));
    let many = |name: &str, sql: &str| {
        let rules = LONGEST.many(&format!("  {name}:\n    {}", rule(sql)), "");
        format!("Resources:\n{rules}")
    };
    let folded = |list: String| one(&format!(">-\n          SELECT {list} FROM 'x'"));
    vec![
        ("a template", folded(FULLEST.many("a{}", ",\n          "))),
        ("a template of unknown functions", folded(FULLEST.many("lenght(a)", ",\n          "))),
        ("a template of escapes", one(&format!("\"{}\"", LONGEST.many("\\u0061", "")))),
        ("rules of a template", many("R{}", "SELECT a FROM 'x'")),
        ("rules of one name in a template", many("R", "SELECT a FROM 'x'")),
        ("errors in a template", many("R{}", "SELECT lenght(a) FROM 'x'")),
        ("functions of a template", many("R{}", "!Sub \"SELECT ${A}\"")),
        ("joins of a template", one(&format!("!Join ['', [{}]]", LONGEST.many("a", ",")))),
        ("deep YAML", LONGEST.many("[", "")),
        ("deep blocks of YAML", LONGEST.many("- ", "")),
        ("deep keys of YAML", LONGEST.many("? ", "")),
        ("deep objects of YAML", LONGEST.many("{a: ", "")),
        ("aliases", LONGEST.many("a{}: &a [*a, *a]\n", "")),
        ("anchors", LONGEST.many("&a{} ", "")),
        ("tags", LONGEST.many("!a{} ", "")),
        ("documents of YAML", LONGEST.many("---\na: 1\n", "")),
        ("keys of YAML", LONGEST.many("a{}: b\n", "")),
        ("open texts of YAML", LONGEST.many("a: \"", "\n")),
    ]
}

/// A text, and the name of the file that it is in.
struct Text {
    name: String,
    path: &'static str,
    text: String,
}

fn all() -> Vec<Text> {
    let rules = |room: Room, of: &'static str| {
        let named = move |(name, text): (&str, String)| Text {
            name: format!("{name}{of}"),
            path: "worst.rule",
            text,
        };
        statements(room).into_iter().chain(clauses(room)).map(named)
    };
    let document = |path: &'static str| {
        move |(name, text): (&str, String)| Text { name: name.to_owned(), path, text }
    };
    let mut all: Vec<Text> = rules(LONGEST, "").collect();
    for text in rules(FULLEST, ", as many as may be") {
        // The same text is not worth its time twice.
        if !all.iter().any(|known| known.text == text.text) {
            all.push(text);
        }
    }
    all.extend(documents().into_iter().map(document("worst.json")));
    all.extend(templates().into_iter().map(document("worst.yaml")));
    all
}

/// From text to report; how much was found.
fn load(text: &Text) -> usize {
    let content = Ok(text.text.as_bytes().to_vec());
    let source = Source { path: text.path.into(), content };
    let checked = set::check(&[source], &Targets::default(), &mut NoFiles);
    let finding = |(_, diagnostic)| render::Finding {
        file: text.path.to_owned(),
        text: &text.text,
        diagnostic,
    };
    let found: Vec<render::Finding<'_>> =
        checked.diagnostics.iter().map(|(at, found)| finding((*at, found))).collect();
    black_box(render::report(&found, 1, Color::On));
    let views: Vec<_> = found.iter().map(api::rule_set::Finding::of).collect();
    black_box(serde_json::to_string_pretty(&views).map_or(0, |json| json.len()));
    let count = found.len();
    if !checked.has_errors() {
        let engine = Engine::new(checked.rules, "1");
        black_box(engine.plan_of(&[RuleIndex(0)]));
    }
    count
}

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut over = 0;
    let mut figures = Vec::new();
    for text in all() {
        if wanted.as_ref().is_some_and(|wanted| !text.name.contains(wanted)) {
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
        figures.push((best, text.text.len(), found, text.name));
    }
    figures.sort();
    for (best, bytes, found, name) in figures {
        let millis = best.as_secs_f64() * 1000.0;
        println!("{millis:9.2} ms  {bytes:6} bytes  {found:4} findings  {name}");
    }
    if over == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
