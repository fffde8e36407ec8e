//! Which keys of a [`Slab`] belong to a rule, found by their text.
//!
//! The texts stand in the slab only: an entry is a number of four bytes.

use std::hash::BuildHasher;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::engine::slab::Slab;
use crate::engine::timer::Alarm;

/// An index this sparse gives memory back.
const SPARSE: usize = 8;
/// Indexes up to this capacity are left alone.
const SMALL: usize = 64;

/// Something with a text by which it is found.
pub(super) trait Keyed {
    /// The text; the same for as long as it stands in an index.
    fn text(&self) -> &str;

    /// Its timer.
    fn alarm(&self) -> &Alarm;
}

/// Whether a table of `capacity` with `length` entries is to give memory back.
pub(super) fn is_sparse(length: usize, capacity: usize) -> bool {
    capacity > SMALL && length < capacity / SPARSE
}

/// Sorts keys, of which `number_of` tells the numbers, for timers that are made anew: those of one instant
/// keep their turns, and those without one have an order too, by their text.
pub(super) fn sort_by_turn<K, T: Keyed>(
    keys: &mut [K],
    all: &Slab<T>,
    number_of: impl Fn(&K) -> u32,
) {
    keys.sort_by_cached_key(|key| {
        all.get(number_of(key)).map(|key| (key.alarm().rank(), CompactString::from(key.text())))
    });
}

/// The keys of one rule.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    numbers: HashTable<u32>,
    hasher: RandomState,
}

fn text_of<T: Keyed>(all: &Slab<T>, number: u32) -> &str {
    all.get(number).map_or("", Keyed::text)
}

impl KeyIndex {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The numbers of all keys, in no order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.numbers.iter().copied()
    }

    /// The numbers of all keys, in the order of [`sort_by_turn`].
    pub(super) fn numbers_by_turn<T: Keyed>(&self, all: &Slab<T>) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.numbers().collect();
        sort_by_turn(&mut numbers, all, |number| *number);
        numbers
    }

    /// The number of the key with that text.
    pub(super) fn find<T: Keyed>(&self, text: &str, all: &Slab<T>) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.numbers.find(hash, |number| text_of(all, *number) == text).copied()
    }

    /// Gives a key, which must be a new one, its place in `all`; answers its number.
    pub(super) fn insert<T: Keyed>(&mut self, key: T, all: &mut Slab<T>) -> u32 {
        let number = all.insert(key);
        let (all, hasher) = (&*all, &self.hasher);
        let hash = |number: u32| hasher.hash_one(text_of(all, number));
        self.numbers.insert_unique(hash(number), number, |number| hash(*number));
        number
    }

    /// Takes a key out of the index and of `all`. Gives memory back after a flood of keys has gone.
    pub(super) fn remove<T: Keyed>(&mut self, number: u32, all: &mut Slab<T>) -> Option<T> {
        let hash = self.hasher.hash_one(text_of(all, number));
        if let Ok(entry) = self.numbers.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        let key = all.remove(number);
        let (all, hasher) = (&*all, &self.hasher);
        if is_sparse(self.len(), self.numbers.capacity()) {
            let hash = |number: &u32| hasher.hash_one(text_of(all, *number));
            self.numbers.shrink_to(self.len() * 2, hash);
        }
        key
    }

    /// How many keys it has memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.numbers.capacity()
    }
}
