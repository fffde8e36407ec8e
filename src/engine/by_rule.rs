//! What a table has for each rule that it is about.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::RuleIndex;

/// Items of some of the running rules, found by a rule's place.
#[derive(Debug)]
pub(super) struct ByRule<R> {
    /// `None` for rules that the table is not about.
    rules: Vec<Option<R>>,
}

/// Of the rules of no set.
impl<R> Default for ByRule<R> {
    fn default() -> Self {
        ByRule { rules: Vec::new() }
    }
}

fn place(index: RuleIndex) -> usize {
    usize::try_from(index.0).expect("usize has at least 32 bits on every supported platform")
}

impl<R> ByRule<R> {
    pub(super) fn insert(&mut self, index: RuleIndex, rule: R) {
        let place = place(index);
        if self.rules.len() <= place {
            self.rules.resize_with(place + 1, || None);
        }
        self.rules[place] = Some(rule);
    }

    pub(super) fn get(&self, index: RuleIndex) -> Option<&R> {
        self.rules.get(place(index))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: RuleIndex) -> Option<&mut R> {
        self.rules.get_mut(place(index))?.as_mut()
    }

    /// In the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &R> {
        self.rules.iter().flatten()
    }

    /// In the order of their places.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.rules.iter_mut().flatten()
    }

    /// All of them, which leave it empty.
    pub(super) fn take(&mut self) -> Vec<R> {
        self.rules.drain(..).flatten().collect()
    }

    /// Where the rule of each name is.
    pub(super) fn places(
        &self,
        of: impl Fn(&R) -> (&Arc<str>, RuleIndex),
    ) -> HashMap<Arc<str>, RuleIndex> {
        let named = self.iter().map(of);
        named.map(|(name, index)| (Arc::clone(name), index)).collect()
    }
}
