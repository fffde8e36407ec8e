//! Any bytes as a rule file: checked without a panic, every mark inside the text, every report drawn.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::diagnostic::render::Color;
use tidegate::diagnostic::render::render;
use tidegate::rule::set;
use tidegate::rule::set::Source;
use tidegate::rule::set::Targets;
use tidegate::rule::table::NoFiles;

fuzz_target!(|bytes: &[u8]| {
    let source = Source { path: "fuzz.rule".into(), content: Ok(bytes.to_vec()) };
    let sources = [source];
    let checked = set::check(&sources, &Targets::default(), &mut NoFiles);
    let text = sources[0].text();
    for (_, found) in &checked.diagnostics {
        for label in &found.labels {
            assert!(text.is_empty() || text.get(label.span.clone()).is_some(), "{found:?}");
        }
        render(found, "fuzz.rule", text, Color::Off);
    }
});
