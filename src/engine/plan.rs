//! Which rules a topic reaches, and which fields they read between them.

use smallvec::SmallVec;

use super::RuleIndex;
use super::compile::Program;
use super::decode::Buffers;
use super::decode::DecodeError;
use super::decode::Decoder;
use super::decode::Projection;

/// The rules of one topic. Made once per topic and connection, and good as long as its engine is.
#[derive(Debug)]
pub struct Plan {
    /// One for each payload format; nearly always one.
    pub(super) sources: SmallVec<[Source; 1]>,
}

/// The rules of a topic that read its payloads alike, with one projection for all their fields: a
/// payload is decoded once for each format.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) decoder: Decoder,
    projection: Projection,
    pub(super) entries: Vec<Entry>,
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
        let mut sources: SmallVec<[Source; 1]> = SmallVec::new();
        for (rule, program) in programs {
            let at = sources.iter().position(|source| source.decoder == program.decoder);
            let at = at.unwrap_or_else(|| {
                let decoder = program.decoder.clone();
                let projection = Projection::default();
                sources.push(Source { decoder, projection, entries: Vec::new() });
                sources.len() - 1
            });
            let source = &mut sources[at];
            let paths = program.fields.iter();
            let slots = paths.map(|path| source.projection.slot(path, program.whole)).collect();
            source.entries.push(Entry { rule, slots });
        }
        Plan { sources }
    }

    /// Whether no rule listens to the topic.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many rules listen to the topic.
    pub fn len(&self) -> usize {
        self.sources.iter().map(|source| source.entries.len()).sum()
    }
}

impl Source {
    /// Fills the slots of `buffers` with what the rules read of `payload`.
    pub(super) fn decode(&self, payload: &[u8], buffers: &mut Buffers) -> Result<(), DecodeError> {
        if self.projection.is_empty() {
            return Ok(());
        }
        self.decoder.project(&self.projection, payload, buffers)
    }
}
