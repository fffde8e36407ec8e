//! The configuration of a command: read, and what is wrong with it told on standard error.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use super::report::tell_findings;
use crate::config;
use crate::config::Config;
use crate::config::LoadError;

/// The configuration of a command that does not run the gateway.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// Configuration that declares hooks, streams, deliveries and keys [default: tidegate.toml, if there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file, when one is given.
    pub(super) fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Reads `path`, or what stands in for it when it is not given. `None`: the file is wrong, and
/// standard error says why. Warnings are told too.
pub(super) fn load(path: Option<&Path>) -> anyhow::Result<Option<Config>> {
    match config::load(path) {
        Ok((config, remarks)) => {
            if let Some(remarks) = remarks {
                tell_findings(&remarks.findings().collect::<Vec<_>>(), 1);
            }
            Ok(Some(config))
        }
        Err(LoadError::Rejected(rejected)) => {
            let found: Vec<_> = rejected.findings().collect();
            tell_findings(&found, 1);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::render::Color;
    use crate::diagnostic::render::report;

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
        let found: Vec<_> = rejected.findings().collect();
        let report = report(&found, 1, Color::Off);
        assert!(!report.contains("s3") && !report.contains("Bearer"), "{report}");
        insta::assert_snapshot!(report);
    }
}
