//! `[encryption_key.NAME]`: what records of streams are encrypted with.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::DeValue;

use super::SecretConfig;
use super::code;
use super::read::Named;
use super::read::one_place;
use super::read::read_named;
use super::read::variable;
use super::section::Findings;
use super::section::Problem;
use super::section::Section;
use super::section::path;
use super::section::text;

/// `[encryption_key.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionKeyConfig {
    /// `file` or `env`: where the key is. Not in the configuration itself, which is no place for a key.
    pub source: SecretConfig,
    /// `aliases`: other names for it, `alias/NAME`.
    pub aliases: Vec<String>,
}

/// Reads all keys. No alias means two of them.
pub(super) fn read_encryption_keys(
    sections: Named<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, EncryptionKeyConfig> {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (name, (key, aliases_at)) in read_named(sections, read_one, findings) {
        for alias in &key.aliases {
            if let Some(other) = taken.insert(alias.clone(), name.clone()) {
                let message = format!("{alias:?} is {other:?} already");
                let help = "an alias means one key";
                let at = aliases_at.clone().unwrap_or_default();
                findings
                    .diagnostics
                    .push(Problem::new(code::CONTRADICTION, message, help).at(at, ""));
            }
        }
        keys.insert(name, key);
    }
    keys
}

fn read_one(
    mut section: Section<'_>,
    name_at: Range<usize>,
    findings: &mut Findings,
) -> (EncryptionKeyConfig, Option<Range<usize>>) {
    let mut source = SecretConfig::Value(String::new());
    let file = |value: &DeValue<'_>| path(value).map(SecretConfig::File);
    let env = |value: &DeValue<'_>| variable(value).map(SecretConfig::Env);
    let given = [
        section.read("file", &mut source, file, findings),
        section.read("env", &mut source, env, findings),
    ];
    let help = "one of file = \"path\" and env = \"NAME\"";
    one_place("key", help, given, name_at, findings);
    let mut aliases = Vec::new();
    let at = section.read_list(
        "aliases",
        |value| alias(value).map(|alias| aliases.push(alias)),
        findings,
    );
    section.finish(findings);
    (EncryptionKeyConfig { source, aliases }, at)
}

/// As AWS KMS has them.
fn alias(value: &DeValue<'_>) -> Result<String, Problem> {
    let text = text(value)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    let name = text.strip_prefix("alias/").unwrap_or_default();
    if (1..=250).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(text);
    }
    let help = "alias/ and 1 to 250 letters, digits, /, _ and -";
    Err(Problem::new(code::VALUE, format!("{text:?} is not an alias"), help))
}
