//! The panes of a group, by when they begin.

use std::ops::Range;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::engine::window::pane::Pane;

/// In the order of their starts, of which each is there once. Most groups have one or two: those take a word each,
/// where the node of a tree has room for eleven with their starts.
#[derive(Debug, Default)]
pub(super) struct Panes(SmallVec<[Box<Pane>; 2]>);

impl Panes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pane> {
        self.0.iter().map(|pane| &**pane)
    }

    pub(super) fn first(&self) -> Option<&Pane> {
        self.0.first().map(|pane| &**pane)
    }

    pub(super) fn get_mut(&mut self, start: Timestamp) -> Option<&mut Pane> {
        self.place(start).ok().map(|place| &mut *self.0[place])
    }

    pub(super) fn contains(&self, start: Timestamp) -> bool {
        self.place(start).is_ok()
    }

    /// The pane that begins at `start`, made if there is none.
    pub(super) fn get_or_make(
        &mut self,
        start: Timestamp,
        make: impl FnOnce() -> Pane,
    ) -> &mut Pane {
        let place = self.place(start).unwrap_or_else(|place| {
            self.0.insert(place, Box::new(make()));
            place
        });
        &mut self.0[place]
    }

    /// Puts a pane where it belongs; one of the same start goes.
    pub(super) fn insert(&mut self, pane: Box<Pane>) {
        match self.place(pane.start) {
            Ok(place) => self.0[place] = pane,
            Err(place) => self.0.insert(place, pane),
        }
    }

    pub(super) fn remove(&mut self, start: Timestamp) -> Option<Box<Pane>> {
        self.place(start).ok().map(|place| self.0.remove(place))
    }

    /// Those that begin within `starts`.
    pub(super) fn range(&self, starts: Range<Timestamp>) -> impl Iterator<Item = &Pane> {
        let from = self.0.partition_point(|pane| pane.start < starts.start);
        self.0[from..].iter().map(|pane| &**pane).take_while(move |pane| pane.start < starts.end)
    }

    fn place(&self, start: Timestamp) -> Result<usize, usize> {
        self.0.binary_search_by_key(&start, |pane| pane.start)
    }
}
