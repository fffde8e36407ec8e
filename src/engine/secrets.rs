//! What `get_secret()` answers.
//!
//! Secrets are looked up when a rule is evaluated and are no part of its program, so that nothing
//! which shows a program or an engine shows one of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader;

/// The secrets that the configuration declares, by name.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

/// A secret as text, and as the JSON that it may be.
#[derive(Clone)]
struct Secret {
    text: Value,
    /// Undefined when the text is no JSON.
    json: Value,
}

impl Secrets {
    /// Secrets of these names and texts.
    pub fn new(secrets: impl IntoIterator<Item = (String, String)>) -> Secrets {
        let secret = |(name, text): (String, String)| {
            let json = json_reader::parse(text.as_bytes(), Whole::AsInt).unwrap_or_default();
            (name, Secret { text: Value::string(text), json })
        };
        Secrets(secrets.into_iter().map(secret).collect())
    }

    /// The text of the first of `names` that there is, or with a key the member of its JSON.
    pub(super) fn get(&self, names: &[Box<str>], key: Option<&Value>) -> Value {
        let Some(secret) = names.iter().find_map(|name| self.0.get(&**name)) else {
            return Value::Undefined;
        };
        match key {
            None => secret.text.clone(),
            Some(Value::String(key)) => secret.json.member(key).cloned().unwrap_or_default(),
            Some(_) => Value::Undefined,
        }
    }
}

impl fmt::Debug for Secrets {
    /// The names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
