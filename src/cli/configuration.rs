//! The configuration of a command: read, and what is wrong with it told on standard error.

use std::io;
use std::io::Write;
use std::path::Path;

use crate::config;
use crate::config::Config;
use crate::config::LoadError;
use crate::config::Rejected;
use crate::diagnostic::render::Color;
use crate::diagnostic::render::Count;
use crate::diagnostic::render::render;

/// Reads `path`, or what stands in for it when it is not given. `None`: the file is wrong, and
/// standard error says why.
pub(super) fn load(path: Option<&Path>) -> anyhow::Result<Option<Config>> {
    match config::load(path) {
        Ok(config) => Ok(Some(config)),
        Err(LoadError::Rejected(rejected)) => {
            let color = if super::has_color_on_stderr() { Color::On } else { Color::Off };
            // Standard error itself may be closed; then nobody is there to be told.
            drop(io::stderr().write_all(report(&rejected, color).as_bytes()));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Everything that is wrong, drawn over the text of the file (with secrets masked).
fn report(rejected: &Rejected, color: Color) -> String {
    let path = rejected.path.display().to_string();
    let mut report = String::new();
    for diagnostic in &rejected.diagnostics {
        report.push_str(&render(diagnostic, &path, &rejected.text, color));
        report.push_str("\n\n");
    }
    report.push_str(&format!("{}\n", Count::of(&rejected.diagnostics, 1)));
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_file_is_shown_with_its_places_and_without_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.toml");
        let text = "[mqtt]\nlisten = \"0.0.0.0:1883\"\nconections_max = 5\n\
                    [hook.page.headers]\nAuthorization = \"Bearer s3\\ncret\"\n";
        std::fs::write(&path, text).unwrap();
        let Err(LoadError::Rejected(mut rejected)) = config::load(Some(&path)) else {
            panic!("the file is accepted");
        };
        rejected.path = "tidegate.toml".into();
        let report = report(&rejected, Color::Off);
        assert!(!report.contains("s3") && !report.contains("Bearer"), "{report}");
        insta::assert_snapshot!(report);
    }
}
