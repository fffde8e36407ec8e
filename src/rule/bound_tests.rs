//! A statement of 64 KB makes bounded work, counted and not timed; `benches/statements.rs` times it.

use super::set::Source;
use super::set::Targets;
use super::set::check;
use super::table::NoFiles;
use crate::diagnostic::Code;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::SEARCHES;
use crate::limits::FINDINGS_PER_FILE_MAX;
use crate::limits::STATEMENT_BYTES_MAX;
use crate::limits::STATEMENT_TOKENS_MAX;

/// As much of `part` as a statement has room for; none has more than six words and signs.
fn many(part: &str) -> String {
    vec![part; STATEMENT_TOKENS_MAX / 7].join(",")
}

#[test]
fn near_names_are_looked_for_as_often_as_findings_are_shown() {
    for list in [
        many("lowr(a)"),
        many("@v"),
        many("cast(a AS Strin)"),
        many("hold.sinze"),
        format!("{}(a)", "f".repeat(STATEMENT_BYTES_MAX - 200)),
    ] {
        let text = format!("CREATE RULE r AS SELECT {list} FROM 'x' WHEN a > 1 DO LOG;");
        let source = Source { path: "t.rule".into(), content: Ok(text.into_bytes()) };
        SEARCHES.set(0);
        let checked = check(&[source], &Targets::default(), &mut NoFiles);
        assert!(checked.has_errors());
        assert!(checked.diagnostics.len() <= FINDINGS_PER_FILE_MAX + 1);
        assert!(SEARCHES.get() <= FINDINGS_PER_FILE_MAX, "{} searches", SEARCHES.get());
    }
}

#[test]
fn what_the_parser_would_look_at_too_often_does_not_reach_it() {
    let count = |condition: &str| {
        let text = format!("CREATE RULE r AS SELECT a FROM 'x' WHERE {condition} DO LOG;");
        let source = Source { path: "t.rule".into(), content: Ok(text.into_bytes()) };
        let checked = check(&[source], &Targets::default(), &mut NoFiles);
        let is_size = |(_, found): &(usize, Diagnostic)| found.code == Code::SIZE;
        (checked.rules.len(), checked.diagnostics.iter().filter(|found| is_size(found)).count())
    };
    let list = |numbers: usize| format!("a IN [{}]", vec!["1"; numbers].join(","));
    assert_eq!(count(&list(STATEMENT_TOKENS_MAX / 2 - 20)), (1, 0));
    assert_eq!(count(&list(STATEMENT_TOKENS_MAX / 2)), (0, 1));
    let texts = vec!["'a-b-c d.e!'"; 4000].join(",");
    assert_eq!(count(&format!("a IN [{texts}]")), (1, 0), "signs inside of a text are free");
    let template = "${a}".repeat(STATEMENT_TOKENS_MAX / 3);
    assert_eq!(count(&format!("true DO LOG '{template}', ")), (0, 1), "but for templates");
}

#[test]
fn findings_are_told_up_to_a_bound_and_the_others_counted() {
    let told = |errors: usize| {
        let list = vec!["lowr(a)"; errors].join(",");
        let text = format!("CREATE RULE r AS SELECT {list} FROM 'x' DO LOG;");
        let source = Source { path: "t.rule".into(), content: Ok(text.into_bytes()) };
        let checked = check(&[source], &Targets::default(), &mut NoFiles);
        let errors =
            checked.diagnostics.iter().filter(|(_, found)| found.code == Code::UNKNOWN_FUNCTION);
        let last = checked.diagnostics.last().map(|(_, found)| found.message.clone());
        (errors.count(), checked.diagnostics.len(), last.unwrap_or_default())
    };
    let (errors, all, last) = told(FINDINGS_PER_FILE_MAX);
    assert_eq!((errors, all), (FINDINGS_PER_FILE_MAX, FINDINGS_PER_FILE_MAX), "{last}");
    let (errors, all, last) = told(FINDINGS_PER_FILE_MAX + 1);
    assert_eq!((errors, all), (FINDINGS_PER_FILE_MAX, FINDINGS_PER_FILE_MAX + 1));
    assert_eq!(last, "1 more findings in this file are not shown");
}
