//! Which rules a topic reaches, and which fields they read between them.

use super::RuleIndex;
use super::compile::Program;
use super::decode::Projection;

/// The rules of one topic, with one projection for all their fields. Made once per topic and
/// connection, and good as long as its engine is.
#[derive(Debug)]
pub struct Plan {
    pub(super) entries: Vec<Entry>,
    pub(super) projection: Projection,
}

/// A rule of a [`Plan`].
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rule: RuleIndex,
    /// The slot of each of the program's fields.
    pub(super) slots: Box<[usize]>,
}

impl Plan {
    pub(super) fn new<'p>(programs: impl Iterator<Item = (RuleIndex, &'p Program)>) -> Plan {
        let mut projection = Projection::default();
        let entries = programs
            .map(|(rule, program)| {
                let paths = program.fields.iter();
                let slots = paths.map(|path| projection.slot(path, program.whole)).collect();
                Entry { rule, slots }
            })
            .collect();
        Plan { entries, projection }
    }

    /// Whether no rule listens to the topic.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many rules listen to the topic.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
