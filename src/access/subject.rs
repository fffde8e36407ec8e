//! Who a client is, as access rules see it.

use std::sync::Arc;

/// What rules are compared with and what stands in their placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) client_id: Box<str>,
    /// The name that was proved; `None` for who did not log in.
    pub(super) user: Option<Arc<str>>,
    pub(super) groups: Vec<Box<str>>,
    /// By name as in placeholders, sorted; without `client` and `user`.
    values: Vec<(Box<str>, Box<str>)>,
}

impl Subject {
    pub(super) fn new(client_id: &str, user: Option<Arc<str>>, groups: &[Box<str>]) -> Subject {
        Subject {
            client_id: Box::from(client_id),
            user,
            groups: groups.to_vec(),
            values: Vec::new(),
        }
    }

    /// With more values, by name.
    pub(super) fn with_values(mut self, values: &[(Box<str>, Box<str>)]) -> Subject {
        self.values.extend_from_slice(values);
        self.values.sort();
        self
    }

    /// What stands for `%{name}`.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        match name {
            "client" => Some(&self.client_id),
            "user" => self.user.as_deref(),
            _ => {
                let at = self.values.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
                self.values.get(at).map(|(_, value)| &**value)
            }
        }
    }
}
