//! The values of the tables that rules read, in memory.
//!
//! A rule set that is about to run asks for a [`View`] of the tables that it joins; a table that
//! nobody read before is loaded from the disk then. The journal's stage tells [`Mirror::commit`] what
//! has been committed, so a view never shows a value that a crash could take back. Tables that no
//! running rule reads are not held: they go when the last view of them does.
//!
//! Who looks a key up takes the lock of one of [`SHARDS`] parts of its table, for as long as a map is
//! looked into. What is found is the text of the value, and is decoded outside of it.
//!
//! Loading runs beside the writer. The table is announced first and read then: a commit that the
//! reading does not see comes through [`Mirror::commit`], and a value that came so is newer than the one
//! read. A key deleted meanwhile is kept as such until the reading has ended.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use compact_str::CompactString;
use parking_lot::Mutex;
use parking_lot::RwLock;

use crate::engine::LatestValues;
use crate::journal::Effect;
use crate::storage::ReadConnection;

use super::LatestError;
use super::table;

type Hasher = foldhash::fast::RandomState;
/// `None` for a key that was deleted while its table was read.
type Part = RwLock<HashMap<CompactString, Option<Bytes>, Hasher>>;

/// Parts of a table with a lock each: more than there are cores in a gateway of ordinary size.
const SHARDS: usize = 32;

/// The tables that are held. Written by the journal's stage, extended by who loads rules.
#[derive(Debug, Default)]
pub struct Mirror {
    /// Locked for a look: once a commit that changes tables, and once a table of a new rule set.
    tables: Mutex<HashMap<Arc<str>, Weak<Held>, Hasher>>,
}

/// One table.
#[derive(Debug)]
struct Held {
    parts: [Part; SHARDS],
    hasher: Hasher,
    /// Whether all that was on disk is there.
    is_whole: AtomicBool,
}

/// The tables that a rule set reads.
#[derive(Debug, Default)]
pub struct View {
    tables: HashMap<Arc<str>, Arc<Held>, Hasher>,
}

impl Held {
    fn new() -> Held {
        let (parts, hasher) = (std::array::from_fn(|_| Part::default()), Hasher::default());
        Held { parts, hasher, is_whole: AtomicBool::new(false) }
    }

    fn part(&self, key: &str) -> &Part {
        // The remainder is below the number of parts.
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        &self.parts[at]
    }

    fn put(&self, key: &CompactString, value: &[u8]) {
        // A copy: a value may be a part of a buffer that many messages were read into.
        let value = Some(Bytes::copy_from_slice(value));
        self.part(key).write().insert(key.clone(), value);
    }

    fn remove(&self, key: &CompactString) {
        let mut part = self.part(key).write();
        if self.is_whole.load(Ordering::Acquire) {
            part.remove(key);
        } else {
            part.insert(key.clone(), None);
        }
    }

    /// What was on disk when it was read: older than what is there.
    fn put_read(&self, key: &str, value: &[u8]) {
        let mut part = self.part(key).write();
        part.entry(CompactString::new(key)).or_insert_with(|| Some(Bytes::copy_from_slice(value)));
    }

    fn end_reading(&self) {
        self.is_whole.store(true, Ordering::Release);
        // Whoever takes the lock of a part after this sees that the reading has ended.
        for part in &self.parts {
            part.write().retain(|_, value| value.is_some());
        }
    }
}

impl Mirror {
    /// The tables called `names`, with what `disk` has of those that are not held yet. May take as
    /// long as reading them takes: not for async code.
    ///
    /// # Errors
    /// A table could not be read.
    pub fn view(
        &self,
        names: impl IntoIterator<Item = Arc<str>>,
        disk: Option<&ReadConnection>,
    ) -> Result<View, LatestError> {
        let mut view = View::default();
        for name in names {
            let known = self.tables.lock().get(&name).and_then(Weak::upgrade);
            let held = match known {
                Some(held) => held,
                None => self.hold(&name, disk)?,
            };
            view.tables.insert(name, held);
        }
        Ok(view)
    }

    fn hold(
        &self,
        name: &Arc<str>,
        disk: Option<&ReadConnection>,
    ) -> Result<Arc<Held>, LatestError> {
        let held = Arc::new(Held::new());
        self.tables.lock().insert(Arc::clone(name), Arc::downgrade(&held));
        if let Some(disk) = disk {
            table::for_each_value(disk.sqlite(), name, |key, value| held.put_read(key, value))?;
        }
        held.end_reading();
        Ok(held)
    }

    /// Takes over one value, where there is no journal.
    pub fn put(&self, table: &str, key: &CompactString, value: &[u8]) {
        let held = self.tables.lock().get(table).and_then(Weak::upgrade);
        held.inspect(|held| held.put(key, value));
    }

    /// Takes over what has been committed.
    pub fn commit(&self, effects: &[Effect]) {
        let is_change =
            |effect: &&Effect| matches!(effect, Effect::Upsert(_) | Effect::Forget { .. });
        let mut changes = effects.iter().filter(is_change).peekable();
        if changes.peek().is_none() {
            return;
        }
        let mut tables = self.tables.lock();
        tables.retain(|_, held| held.strong_count() > 0);
        for change in changes {
            match change {
                Effect::Upsert(upsert) => {
                    let held = tables.get(&upsert.table).and_then(Weak::upgrade);
                    held.inspect(|held| held.put(&upsert.key, &upsert.value));
                }
                Effect::Forget { table, key } => {
                    let held = tables.get(table).and_then(Weak::upgrade);
                    held.inspect(|held| held.remove(key));
                }
                _ => {}
            }
        }
    }
}

impl LatestValues for View {
    fn get(&self, table: &str, key: &str) -> Option<Bytes> {
        self.tables.get(table)?.part(key).read().get(key)?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::latest::Upsert;

    fn put(table: &str, key: &str, value: &'static str) -> Effect {
        Effect::Upsert(Box::new(Upsert {
            table: Arc::from(table),
            key: CompactString::new(key),
            value: Bytes::from_static(value.as_bytes()),
            at: Timestamp::EPOCH,
            rule: Arc::from("r"),
            publish: None,
        }))
    }

    fn forget(table: &str, key: &str) -> Effect {
        Effect::Forget { table: Arc::from(table), key: CompactString::new(key) }
    }

    #[track_caller]
    fn check(view: &View, key: &str, expected: Option<&str>) {
        let found = view.get("t", key);
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{key}");
    }

    #[test]
    fn a_view_shows_commits_of_its_tables_and_no_others() {
        let mirror = Mirror::default();
        let view = mirror.view([Arc::from("t")], None).unwrap();
        mirror.commit(&[put("t", "a", "1"), put("u", "a", "2"), put("t", "b", "3")]);
        mirror.commit(&[put("t", "a", "4"), forget("t", "b")]);
        check(&view, "a", Some("4"));
        check(&view, "b", None);
        assert_eq!(view.get("u", "a"), None, "nobody reads it");
    }

    #[test]
    fn another_view_shares_the_rows_and_the_last_one_takes_them_along() {
        let mirror = Mirror::default();
        let first = mirror.view([Arc::from("t")], None).unwrap();
        mirror.commit(&[put("t", "a", "1")]);
        let second = mirror.view([Arc::from("t"), Arc::from("u")], None).unwrap();
        drop(first);
        check(&second, "a", Some("1"));
        drop(second);
        mirror.commit(&[put("t", "a", "2")]);
        assert!(mirror.tables.lock().is_empty(), "no rule reads it, so it is not held");
    }

    #[test]
    fn what_is_committed_while_a_table_is_read_is_newer_than_what_is_read() {
        let mirror = Mirror::default();
        let held = Arc::new(Held::new());
        mirror.tables.lock().insert(Arc::from("t"), Arc::downgrade(&held));
        mirror.commit(&[put("t", "a", "new"), forget("t", "b")]);
        for (key, value) in [("a", "old"), ("b", "old"), ("c", "old")] {
            held.put_read(key, value.as_bytes());
        }
        held.end_reading();
        let view = mirror.view([Arc::from("t")], None).unwrap();
        check(&view, "a", Some("new"));
        check(&view, "b", None);
        check(&view, "c", Some("old"));
        let kept: usize = held.parts.iter().map(|part| part.read().len()).sum();
        assert_eq!(kept, 2, "a key that was deleted leaves nothing behind");
    }
}
