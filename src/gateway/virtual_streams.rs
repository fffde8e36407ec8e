//! Streams in virtual time: what rules write comes to the rules that read it, without a disk.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::RuleIndex;
use crate::limits::HOPS_MAX;
use crate::publish::Publish;
use crate::rule::Rule;
use crate::rule::ast::StreamStart;
use crate::stream::MemoryStream;
use crate::stream::NewRecord;
use crate::stream::Record;
use crate::topic::TopicName;

use super::stream_rules::hops_exceeded;
use super::stream_rules::to_publish;
use super::stream_rules::topic_of;

/// The streams that rules read, and the records on their way to them. All begin empty, so that LATEST
/// and TRIM_HORIZON are the same.
#[derive(Debug, Default)]
pub struct VirtualStreams {
    by_name: BTreeMap<Arc<str>, ReadStream>,
    /// With the names of their streams, in the order in which they were written.
    arrived: VecDeque<(Arc<str>, Record)>,
}

#[derive(Debug)]
struct ReadStream {
    stream: MemoryStream,
    topic: TopicName,
    /// Rules by the time from which on they read.
    readers: BTreeMap<Option<Timestamp>, Arc<[RuleIndex]>>,
}

/// What a record comes to.
#[derive(Debug)]
pub enum Arrived {
    /// These rules judge it.
    Judged {
        /// In their order.
        rules: Arc<[RuleIndex]>,
        /// The record as they see it.
        publish: Publish,
    },
    /// It has passed too many actions: a fault of each rule that would have judged it.
    Cut(Vec<Fault>),
}

impl VirtualStreams {
    /// The streams that the enabled ones of `rules` read, with as many shards as `shards_of` says. They
    /// go on with the numbers of those `before`.
    pub fn new(
        rules: &[Arc<Rule>],
        shards_of: impl Fn(&str) -> u32,
        before: VirtualStreams,
    ) -> VirtualStreams {
        let mut readers: BTreeMap<&str, BTreeMap<Option<Timestamp>, Vec<RuleIndex>>> =
            BTreeMap::new();
        for (index, rule) in (0..).map(RuleIndex).zip(rules) {
            let source = rule.source().filter(|_| !rule.is_disabled());
            let Some(source) = source else { continue };
            let not_before = match source.start {
                StreamStart::Latest | StreamStart::TrimHorizon => None,
                StreamStart::Timestamp(at) => Some(at),
            };
            let of_stream = readers.entry(&source.name.node).or_default();
            of_stream.entry(not_before).or_default().push(index);
        }
        let VirtualStreams { by_name: mut known, arrived } = before;
        let mut by_name = BTreeMap::new();
        for (name, readers) in readers {
            // A name that was checked is always a topic.
            let Some(topic) = topic_of(name) else { continue };
            let stream = match known.remove(name) {
                Some(known) => known.stream,
                None => MemoryStream::new(shards_of(name)),
            };
            let readers = readers.into_iter().map(|(start, rules)| (start, rules.into())).collect();
            by_name.insert(Arc::from(name), ReadStream { stream, topic, readers });
        }
        VirtualStreams { by_name, arrived }
    }

    /// A record was written to `stream`; nothing comes of it where no rule reads that.
    pub fn write(&mut self, stream: &Arc<str>, record: &NewRecord<'_>) {
        if let Some(read) = self.by_name.get_mut(stream) {
            self.arrived.push_back((Arc::clone(stream), read.stream.pass_on(record)));
        }
    }

    /// What the next record comes to, at the time at which it was written; `None` when all have been
    /// read.
    pub fn read(&mut self) -> Option<Vec<Arrived>> {
        let (name, record) = self.arrived.pop_front()?;
        let Some(read) = self.by_name.get(&name) else { return Some(Vec::new()) };
        let begun = read.readers.iter().filter(|(start, _)| start.is_none_or(|at| record.at >= at));
        let arrived = |(_, rules): (_, &Arc<[RuleIndex]>)| match record.hops > HOPS_MAX {
            true => Arrived::Cut(hops_exceeded(&name, rules.iter().copied()).collect()),
            false => Arrived::Judged {
                rules: Arc::clone(rules),
                publish: to_publish(record.clone(), &read.topic, record.at),
            },
        };
        Some(begun.map(arrived).collect())
    }
}
