//! AT LEAST: when the latest TRUE messages of a key came.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::engine::event_time::shifted;
use crate::rule::ast::AtLeast;

/// Times of TRUE messages, oldest first: the latest ones, no more than are counted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent(VecDeque<Timestamp>);

impl Recent {
    /// As it was stored.
    pub(super) fn of(times: VecDeque<Timestamp>) -> Self {
        Recent(times)
    }

    pub(super) fn times(&self) -> impl ExactSizeIterator<Item = Timestamp> {
        self.0.iter().copied()
    }

    /// How many count.
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Memory they take, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Timestamp>()
    }

    /// A TRUE message comes.
    pub(super) fn add(&mut self, at: Timestamp, at_least: &AtLeast) {
        self.forget_before(at, at_least);
        if self.has(at_least) {
            self.0.pop_front();
        }
        self.0.push_back(at);
    }

    /// Whether there are as many as wanted.
    pub(super) fn has(&self, at_least: &AtLeast) -> bool {
        self.count() >= u64::from(at_least.times)
    }

    /// The last instant at which there are as many as now.
    pub(super) fn lapses(&self, at_least: &AtLeast) -> Option<Timestamp> {
        self.0.front().map(|oldest| *oldest + at_least.within)
    }

    /// The last instant at which there are any.
    pub(super) fn ends(&self, at_least: &AtLeast) -> Option<Timestamp> {
        self.0.back().map(|newest| *newest + at_least.within)
    }

    /// Forgets those that count at `at` for the last time, and before it.
    pub(super) fn forget_up_to(&mut self, at: Timestamp, at_least: &AtLeast) {
        while self.0.front().is_some_and(|time| *time + at_least.within <= at) {
            self.0.pop_front();
        }
    }

    /// Forgets those that do not count at `at`.
    pub(super) fn forget_before(&mut self, at: Timestamp, at_least: &AtLeast) {
        while self.0.front().is_some_and(|time| *time + at_least.within < at) {
            self.0.pop_front();
        }
    }

    /// Moves them all.
    pub(super) fn shift(&mut self, millis: i64) {
        self.0.iter_mut().for_each(|time| *time = shifted(*time, millis));
    }
}
