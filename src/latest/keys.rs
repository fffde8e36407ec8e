//! Which keys each table has and how large they are, so that what is too much is refused before it is
//! committed.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;

type Hasher = foldhash::fast::RandomState;

/// How much each table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most keys.
    pub keys_max: usize,
    /// Most bytes of keys and values.
    pub bytes_max: usize,
}

/// Which bound of its table a value is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The table has as many keys as it may.
    Keys,
    /// Its keys and values would have more bytes than they may.
    Bytes,
}

/// The keys of all tables. Owned by the journal's stage, which sees every change in commit order.
#[derive(Clone, Debug)]
pub struct Keys {
    tables: HashMap<Arc<str>, TableKeys, Hasher>,
    bounds: Bounds,
}

/// The keys of one table.
#[derive(Clone, Debug, Default)]
struct TableKeys {
    /// Bytes of each key's value. A value is far smaller than 4 GiB.
    sizes: HashMap<CompactString, u32, Hasher>,
    /// Bytes of keys and values.
    bytes: usize,
}

impl TableKeys {
    /// Sets the size of a key's value, as long as `bounds` are kept.
    fn admit(&mut self, key: &CompactString, size: usize, bounds: Bounds) -> Result<(), Full> {
        let stored = u32::try_from(size).unwrap_or(u32::MAX);
        if let Some(known) = self.sizes.get_mut(key) {
            let before = usize::try_from(*known).unwrap_or(usize::MAX);
            let bytes = self.bytes.saturating_sub(before).saturating_add(size);
            // A value that shrinks is welcome in a table that is over a bound lowered since.
            if bytes > bounds.bytes_max && bytes > self.bytes {
                return Err(Full::Bytes);
            }
            (*known, self.bytes) = (stored, bytes);
            return Ok(());
        }
        let bytes = self.bytes.saturating_add(key.len()).saturating_add(size);
        if self.sizes.len() >= bounds.keys_max {
            return Err(Full::Keys);
        }
        if bytes > bounds.bytes_max {
            return Err(Full::Bytes);
        }
        self.sizes.insert(key.clone(), stored);
        self.bytes = bytes;
        Ok(())
    }
}

impl Keys {
    /// No keys yet, and at most so many in each table.
    pub fn new(bounds: Bounds) -> Keys {
        Keys { tables: HashMap::default(), bounds }
    }

    /// Notes that `key` gets a value of `size` bytes.
    ///
    /// # Errors
    /// The table has no room for it; nothing is noted.
    pub fn admit(
        &mut self,
        table: &Arc<str>,
        key: &CompactString,
        size: usize,
    ) -> Result<(), Full> {
        if let Some(keys) = self.tables.get_mut(table) {
            return keys.admit(key, size, self.bounds);
        }
        let mut keys = TableKeys::default();
        keys.admit(key, size, self.bounds)?;
        self.tables.insert(Arc::clone(table), keys);
        Ok(())
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, table: &str, key: &str) -> bool {
        let Some(keys) = self.tables.get_mut(table) else { return false };
        let Some(size) = keys.sizes.remove(key) else { return false };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        keys.bytes = keys.bytes.saturating_sub(size).saturating_sub(key.len());
        if keys.sizes.is_empty() {
            self.tables.remove(table);
        }
        true
    }

    /// How much each table may hold.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A key found on disk, whatever the bounds: it was admitted under earlier ones.
    pub(super) fn note(&mut self, table: &str, key: &str, size: usize) {
        let without = Bounds { keys_max: usize::MAX, bytes_max: usize::MAX };
        let key = CompactString::new(key);
        let noted = match self.tables.get_mut(table) {
            Some(keys) => keys.admit(&key, size, without),
            None => {
                let mut keys = TableKeys::default();
                let noted = keys.admit(&key, size, without);
                self.tables.insert(Arc::from(table), keys);
                noted
            }
        };
        debug_assert!(noted.is_ok(), "there is no bound");
    }
}
