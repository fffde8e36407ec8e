//! Which rules a topic reaches, and which fields they read between them.

use smallvec::SmallVec;

use super::RuleIndex;
use super::compile::Program;
use super::decode::Buffers;
use super::decode::DecodeError;
use super::decode::Decoder;
use super::decode::Projection;
use super::predicate_index::PredicateIndex;

/// The rules of one topic. Made once per topic and connection, and good as long as its engine is.
#[derive(Debug, Default)]
pub struct Plan {
    /// One for each payload format; nearly always one.
    pub(super) sources: SmallVec<[Source; 1]>,
    /// Rules that one missing field leaves UNKNOWN together.
    together: Vec<Box<[RuleIndex]>>,
    /// Whether one of its rules calls.
    makes_calls: bool,
}

/// The rules of a topic that read its payloads alike, with one projection for all their fields: a
/// payload is decoded once for each format.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) decoder: Decoder,
    projection: Projection,
    pub(super) entries: Vec<Entry>,
    /// Which entries a message visits, where it need not be all.
    pub(super) index: Option<PredicateIndex>,
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
        let mut programs_of: SmallVec<[Vec<&Program>; 1]> = SmallVec::new();
        let mut makes_calls = false;
        for (rule, program) in programs {
            makes_calls |= program.makes_calls;
            let at = sources.iter().position(|source| source.decoder == program.decoder);
            let at = at.unwrap_or_else(|| {
                let decoder = program.decoder.clone();
                let projection = Projection::default();
                sources.push(Source { decoder, projection, entries: Vec::new(), index: None });
                programs_of.push(Vec::new());
                sources.len() - 1
            });
            let source = &mut sources[at];
            let paths = program.fields.iter();
            let slots = paths.map(|path| source.projection.slot(path, program.whole)).collect();
            source.entries.push(Entry { rule, slots });
            programs_of[at].push(program);
        }
        let mut together = Vec::new();
        for (source, programs) in sources.iter_mut().zip(&programs_of) {
            source.index = PredicateIndex::new(&source.entries, programs, &mut together);
        }
        Plan { sources, together, makes_calls }
    }

    /// Whether one of its rules has an `aws_lambda()` that may be called.
    pub fn makes_calls(&self) -> bool {
        self.makes_calls
    }

    /// Whether no rule listens to the topic.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether evaluating it tells JSON from what is none: a payload that is none makes a fault then.
    pub fn reads_json(&self) -> bool {
        self.sources
            .iter()
            .any(|source| source.decoder == Decoder::Json && !source.projection.is_empty())
    }

    /// How many rules listen to the topic.
    pub fn len(&self) -> usize {
        self.sources.iter().map(|source| source.entries.len()).sum()
    }

    /// The rules that listen to the topic, in their order within each payload format.
    pub fn rules(&self) -> impl Iterator<Item = RuleIndex> {
        self.sources.iter().flat_map(|source| &source.entries).map(|entry| entry.rule)
    }

    /// The field by whose value `rule` is found, as its place among the fields of its program, and how
    /// many rules are found by it; `None` for one that every message visits.
    pub(super) fn found_by(&self, rule: RuleIndex) -> Option<(usize, usize)> {
        self.sources.iter().find_map(|source| {
            let place = source.entries.iter().position(|entry| entry.rule == rule)?;
            let (slot, rules) = source.index.as_ref()?.found_by(u32::try_from(place).ok()?)?;
            let slots = &source.entries.get(place)?.slots;
            Some((slots.iter().position(|known| *known == slot)?, rules))
        })
    }

    /// The rules that one missing field leaves UNKNOWN together: what
    /// [`Evaluation::unknown_together`](super::Evaluation::unknown_together) counts by its place here.
    pub fn together(&self) -> &[Box<[RuleIndex]>] {
        &self.together
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
