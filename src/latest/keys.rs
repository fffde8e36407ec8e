//! Which keys each table has, so that a key too many is refused before it is committed.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use compact_str::CompactString;

type Hasher = foldhash::fast::RandomState;

/// The keys of all tables. Owned by the journal's stage, which sees every change in commit order.
#[derive(Clone, Debug)]
pub struct Keys {
    tables: HashMap<Arc<str>, HashSet<CompactString, Hasher>, Hasher>,
    keys_max: usize,
}

impl Keys {
    /// No keys yet, and at most `keys_max` in each table.
    pub fn new(keys_max: usize) -> Keys {
        Keys { tables: HashMap::default(), keys_max }
    }

    /// Whether `key` may be put: it is there already, or there is room for it, and then it is there.
    pub fn admit(&mut self, table: &Arc<str>, key: &CompactString) -> bool {
        let Some(keys) = self.tables.get_mut(table) else {
            let keys = self.tables.entry(Arc::clone(table)).or_default();
            return self.keys_max > 0 && keys.insert(key.clone());
        };
        if keys.contains(key) {
            return true;
        }
        keys.len() < self.keys_max && keys.insert(key.clone())
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, table: &str, key: &str) -> bool {
        let Some(keys) = self.tables.get_mut(table) else { return false };
        let was_there = keys.remove(key);
        if keys.is_empty() {
            self.tables.remove(table);
        }
        was_there
    }

    /// Most keys in a table.
    pub fn keys_max(&self) -> usize {
        self.keys_max
    }

    /// A key found on disk, whatever the bound: it was admitted under an earlier one.
    pub(super) fn note(&mut self, table: &str, key: &str) {
        match self.tables.get_mut(table) {
            Some(keys) => {
                keys.insert(CompactString::new(key));
            }
            None => {
                let keys = HashSet::from_iter([CompactString::new(key)]);
                self.tables.insert(Arc::from(table), keys);
            }
        }
    }
}
