//! A client identifier of an access rule, `allow connect any %u-*`, with values of the client in place
//! of `%…`.
//!
//! Unlike in a topic filter every character stands for itself, but for a `*` at the end. A value that the
//! client does not have never widens a rule: one that allows is then not about it, and one that denies
//! denies all that begins as the pattern does before the value.

use super::pattern::Part;
use super::pattern::PatternError;
use super::pattern::parse_parts;
use super::subject::Subject;

/// What client identifiers look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientIds {
    parts: Box<[Part]>,
    /// Ends with `*`: whatever begins so.
    is_beginning: bool,
}

impl ClientIds {
    pub(super) fn parse(text: &str) -> Result<ClientIds, PatternError> {
        let (text, is_beginning) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        let parts = parse_parts(text)?;
        if parts.contains(&Part::Value(Box::from("client"))) {
            return Err(PatternError::OfItself);
        }
        Ok(ClientIds { parts: parts.into_boxed_slice(), is_beginning })
    }

    /// Whether a rule that `allows`, or denies, these is about the client's identifier.
    pub(super) fn are_met(&self, allows: bool, subject: &Subject) -> bool {
        let mut rest = &*subject.client_id;
        for part in &self.parts {
            let text = match part {
                Part::Text(text) => Some(&**text),
                Part::Value(name) => subject.value(name).filter(|value| !value.is_empty()),
            };
            let Some(text) = text else { return !allows };
            match rest.strip_prefix(text) {
                Some(left) => rest = left,
                None => return false,
            }
        }
        self.is_beginning || rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn is_met(pattern: &str, client: &str, user: Option<&str>) -> bool {
        let subject = Subject::new(client, user.map(Arc::from), &[]);
        ClientIds::parse(pattern).unwrap().are_met(true, &subject)
    }

    #[test]
    fn an_identifier_is_compared_character_by_character() {
        for (pattern, client, expected) in [
            ("%u", "alice", true),
            ("%u", "alice2", false),
            ("%u-*", "alice-1", true),
            ("%u-*", "alice-", true),
            ("%u-*", "alice", false),
            ("%{user}/+/#", "alice/+/#", true),
            ("%{user}/+/#", "alice/a/b", false),
            ("gate-*", "gate-7", true),
            ("*", "anything", true),
            ("a*b", "a*b", true),
            ("a*b", "axb", false),
            ("100%%", "100%", true),
        ] {
            assert_eq!(is_met(pattern, client, Some("alice")), expected, "{pattern} {client}");
        }
        assert!(!is_met("%{cert.cn}", "", Some("alice")), "no value is not the empty one");
        assert!(is_met("%u*", "*x", Some("*")) && !is_met("%u", "xyz", Some("*")), "as it is");
    }

    #[test]
    fn a_value_that_is_missing_allows_nothing_and_denies_all_that_it_could_stand_in() {
        let subject = Subject::new("plant-7", None, &[]);
        let (near, far) = (ClientIds::parse("plant-%u").unwrap(), ClientIds::parse("x%u").unwrap());
        assert!(!near.are_met(true, &subject) && near.are_met(false, &subject));
        assert!(!far.are_met(true, &subject) && !far.are_met(false, &subject));
    }

    #[test]
    fn the_identifier_itself_is_no_value_to_compare_it_with() {
        for text in ["%c", "a-%{client}-*"] {
            assert_eq!(ClientIds::parse(text), Err(PatternError::OfItself));
        }
        assert!(ClientIds::parse("%x").is_err() && ClientIds::parse("%{cert.cm}").is_err());
    }
}
