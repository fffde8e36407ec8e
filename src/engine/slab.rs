//! Where keys live: each under a number that stays the same while it lives.
//!
//! Memory comes and goes in pieces of [`PIECE_BYTES`], so that neither growing moves a key nor a flood of
//! keys that has gone leaves anything behind.

/// A piece; one of the allocator's own sizes, so that little is lost in it.
const PIECE_BYTES: usize = 8192;
/// The end of a piece's list of free places.
const NONE: u32 = u32::MAX;

/// Items under numbers.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pieces: Vec<Piece<T>>,
    /// Pieces with a free place; the last one is filled next.
    open: Vec<usize>,
    /// Items.
    used: usize,
}

#[derive(Debug)]
struct Piece<T> {
    places: Vec<Place<T>>,
    /// The first of the free places that have been used before.
    free: u32,
    used: usize,
}

#[derive(Debug)]
enum Place<T> {
    Used(T),
    Free { next: u32 },
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { pieces: Vec::new(), open: Vec::new(), used: 0 }
    }
}

impl<T> Slab<T> {
    const PLACES: usize = PIECE_BYTES / size_of::<Place<T>>();

    /// Keeps an item; its number may have been another's before.
    pub(super) fn insert(&mut self, item: T) -> u32 {
        let at = match self.open.last() {
            Some(at) => *at,
            None => {
                self.pieces.push(Piece { places: Vec::new(), free: NONE, used: 0 });
                self.open.push(self.pieces.len() - 1);
                self.pieces.len() - 1
            }
        };
        let piece = &mut self.pieces[at];
        let place = piece.insert(item);
        if piece.used == Self::PLACES {
            self.open.pop();
        }
        self.used += 1;
        u32::try_from(at * Self::PLACES + place).expect("there is no memory for 2^32 keys")
    }

    /// The item of that number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        match self.pieces.get(number / Self::PLACES)?.places.get(number % Self::PLACES)? {
            Place::Used(item) => Some(item),
            Place::Free { .. } => None,
        }
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        match self.pieces.get_mut(number / Self::PLACES)?.places.get_mut(number % Self::PLACES)? {
            Place::Used(item) => Some(item),
            Place::Free { .. } => None,
        }
    }

    /// Takes the item out.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let (at, place) = (number as usize / Self::PLACES, number as usize % Self::PLACES);
        let piece = self.pieces.get_mut(at)?;
        let was_full = piece.used == Self::PLACES;
        let item = piece.remove(place)?;
        if was_full {
            self.open.push(at);
        }
        self.used -= 1;
        if self.used == 0 {
            // What is left are the heads of empty pieces.
            *self = Slab::default();
        }
        Some(item)
    }

    /// Memory it takes, bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let places = self.pieces.iter().map(|piece| piece.places.capacity());
        places.sum::<usize>() * size_of::<Place<T>>()
            + self.pieces.capacity() * size_of::<Piece<T>>()
            + self.open.capacity() * size_of::<usize>()
    }
}

impl<T> Piece<T> {
    fn insert(&mut self, item: T) -> usize {
        self.used += 1;
        if let Some(Place::Free { next }) = self.places.get(self.free as usize) {
            let place = std::mem::replace(&mut self.free, *next) as usize;
            self.places[place] = Place::Used(item);
            return place;
        }
        if self.places.capacity() == 0 {
            self.places.reserve_exact(Slab::<T>::PLACES);
        }
        self.places.push(Place::Used(item));
        self.places.len() - 1
    }

    fn remove(&mut self, place: usize) -> Option<T> {
        let slot = self.places.get_mut(place).filter(|slot| matches!(slot, Place::Used(_)))?;
        let next = u32::try_from(place).unwrap_or(NONE);
        let taken = std::mem::replace(slot, Place::Free { next: self.free });
        (self.free, self.used) = (next, self.used - 1);
        if self.used == 0 {
            (self.places, self.free) = (Vec::new(), NONE);
        }
        match taken {
            Place::Used(item) => Some(item),
            Place::Free { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_by_numbers_that_it_chooses(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..400),
        ) {
            // So large that a piece has four places.
            let mut slab: Slab<[u64; 200]> = Slab::default();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for (count, (adds, which)) in (0..).zip(&steps) {
                if *adds || model.is_empty() {
                    let number = slab.insert([count; 200]);
                    prop_assert_eq!(model.insert(number, count), None);
                } else {
                    let number = *which.get(&model.keys().copied().collect::<Vec<_>>());
                    prop_assert_eq!(slab.remove(number).map(|item| item[0]), model.remove(&number));
                    prop_assert!(slab.get(number).is_none() && slab.remove(number).is_none());
                }
                for (number, value) in &model {
                    prop_assert_eq!(slab.get(*number).map(|item| item[7]), Some(*value));
                }
            }
            for number in model.keys() {
                slab.remove(*number);
            }
            prop_assert_eq!(slab.bytes(), 0);
        }
    }
}
