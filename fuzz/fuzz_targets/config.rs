//! Any bytes as `tidegate.toml`: read without a panic, every mark inside the text that is shown, every
//! report drawn.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate::config;
use tidegate::config::LoadError;
use tidegate::diagnostic::render::Color;
use tidegate::diagnostic::render::render;

/// One file for each of `-jobs`.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("tidegate-fuzz-{}.toml", std::process::id()))
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("the temporary folder takes a file");
    let Err(LoadError::Rejected(rejected)) = config::load(Some(&FILE)) else { return };
    assert!(!rejected.diagnostics.is_empty());
    // Secrets are masked in place, so that what was found in the file is found in its excerpt.
    assert_eq!(rejected.text.len(), bytes.len());
    for found in &rejected.diagnostics {
        for label in &found.labels {
            assert!(rejected.text.get(label.span.clone()).is_some(), "{found:?}");
        }
        render(found, "tidegate.toml", &rejected.text, Color::Off);
    }
});
