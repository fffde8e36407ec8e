//! Any bytes as an AWS rule document, the first of them for its notation: judged in time, every mark inside the text, and what loads is
//! printed as text that gives the same rule.

#![no_main]

use std::time::Duration;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use tidegate::diagnostic::Code;
use tidegate::diagnostic::render::Color;
use tidegate::diagnostic::render::render;
use tidegate::rule::parse::parse_file;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;

/// A document of 64 KB takes less, instrumented as it is.
const BOUND: Duration = Duration::from_millis(100);
const TRIES: usize = 3;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let path = if first % 2 == 0 { "fuzz.yaml" } else { "fuzz.json" };
    let source = Source { path: path.into(), content: Ok(bytes.to_vec()) };
    let sources = [source];
    let mut checked = set::check(&sources, &Targets::default(), &mut NoFiles);
    // A machine with other work may stop for longer, but not each time.
    let is_quick = (0..TRIES).any(|_| {
        let started = Instant::now();
        checked = set::check(&sources, &Targets::default(), &mut NoFiles);
        started.elapsed() < BOUND
    });
    assert!(bytes.len() > 64 * 1024 || is_quick, "{BOUND:?} were not enough {TRIES} times");
    let text = sources[0].text();
    for (_, found) in &checked.diagnostics {
        for label in &found.labels {
            assert!(text.is_empty() || text.get(label.span.clone()).is_some(), "{found:?}");
        }
        render(found, path, text, Color::Off);
    }
    if checked.has_errors() {
        return;
    }
    for rule in &checked.rules {
        let again = parse_file(&rule.text);
        // A text over lines that begins a statement is taken for a quote that is not closed, and a
        // statement has its bound.
        let is_known = |code| matches!(code, Code::UNCLOSED | Code::SIZE);
        if again.diagnostics.iter().any(|found| is_known(found.code)) {
            continue;
        }
        assert!(again.diagnostics.is_empty(), "{}\n{:?}", rule.text, again.diagnostics);
        assert_eq!(again.rules[0].to_string(), rule.text);
    }
});
