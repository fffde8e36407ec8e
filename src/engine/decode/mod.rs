//! Payload bytes in, the fields that rules name out.
//!
//! A [`Decoder`] is a payload format, compiled. A [`Projection`] is the union of the paths that the
//! rules of one format and topic name, as a tree of keys. [`Decoder::project`] decodes a payload
//! once: what the tree names lands in a [`Slot`].
//!
//! JSON, CBOR and MessagePack are walked: numbers, booleans, null and short strings are made at
//! once, everything else is validated, and what a rule names of it is kept as a byte range and made
//! when a rule reads it, so a message that no rule matches allocates nothing. The other formats make
//! the whole payload as a value, which the fields are taken from. What a payload says of its own
//! lengths is believed only as far as its bytes reach. Recursion is bounded by
//! [`PAYLOAD_DEPTH_MAX`].

mod binary;
mod cbor;
mod csv;
mod json;
mod msgpack;
pub(super) mod protobuf;
mod sparkplug;
mod text;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::FaultCode;
use crate::limits::PAYLOAD_DEPTH_MAX;
use crate::rule::ast::CsvFormat;
use crate::rule::ast::Format;
use crate::rule::ast::TextPattern;
use crate::rule::schema::Schema;
use crate::rule::schema::SchemaName;
use crate::rule::schema::Schemas;
use crate::value::Value;
use crate::value::Whole;
use crate::value::json_reader;

/// Strings up to this long are stored inside a [`CompactString`], without allocating.
const INLINE_BYTES: usize = 24;

/// What a field reads as when the message has none.
pub(super) static UNDEFINED: Value = Value::Undefined;

/// Why a payload could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It is not of the format; the text says where and why.
    Malformed(String),
    /// It nests deeper than [`PAYLOAD_DEPTH_MAX`].
    TooDeep,
}

impl From<json_reader::DecodeError> for DecodeError {
    fn from(error: json_reader::DecodeError) -> Self {
        match error {
            json_reader::DecodeError::NotJson(problem) => DecodeError::Malformed(problem),
            json_reader::DecodeError::TooDeep => DecodeError::TooDeep,
        }
    }
}

/// A payload format, compiled. Equal ones decode a payload alike, so their rules share the work.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoder {
    /// JSON, or whatever AWS IoT takes: fields are Undefined in what is not JSON.
    Json,
    /// CBOR.
    Cbor,
    /// MessagePack.
    MsgPack,
    /// CSV.
    Csv(CsvFormat),
    /// Sparkplug B.
    Sparkplug,
    /// A Protobuf message.
    Protobuf(Schema),
    /// Text under a regular expression.
    Text(TextPattern),
    /// Not decoded: there are no fields.
    Bytes,
}

impl Decoder {
    /// Compiles a format; `schemas` are those of its rule.
    pub(super) fn new(format: &Format, schemas: &Schemas) -> Decoder {
        match format {
            Format::Json => Decoder::Json,
            Format::Cbor => Decoder::Cbor,
            Format::MsgPack => Decoder::MsgPack,
            Format::Csv(csv) => Decoder::Csv(csv.clone()),
            Format::Text(pattern) => Decoder::Text(pattern.clone()),
            Format::Sparkplug => Decoder::Sparkplug,
            Format::Protobuf { file, message } => {
                let name = SchemaName::of_format(file, message);
                // Without its type a rule is told and not run.
                schemas.get(&name).cloned().map_or(Decoder::Bytes, Decoder::Protobuf)
            }
            Format::Bytes => Decoder::Bytes,
        }
    }

    /// Fills `buffers.slots` from `payload`. On an error every slot is Missing.
    pub(super) fn project(
        &self,
        projection: &Projection,
        payload: &[u8],
        buffers: &mut Buffers,
    ) -> Result<(), DecodeError> {
        buffers.slots.clear();
        buffers.slots.resize_with(projection.wholes.len(), Slot::default);
        let slots = &mut buffers.slots;
        let outcome = match self {
            Decoder::Json => json::project(projection, payload, buffers),
            Decoder::Cbor => {
                binary::project(cbor::Reader::new(payload), Encoding::Cbor, projection, slots)
            }
            Decoder::MsgPack => {
                binary::project(msgpack::Reader::new(payload), Encoding::MsgPack, projection, slots)
            }
            Decoder::Csv(format) => {
                projection.take(slots, |whole| csv::decode(format, payload, whole))
            }
            Decoder::Text(pattern) => {
                projection.take(slots, |whole| text::decode(pattern, payload, whole))
            }
            Decoder::Sparkplug => projection.take(slots, |whole| sparkplug::decode(payload, whole)),
            Decoder::Protobuf(schema) => {
                projection.take(slots, |whole| protobuf::decode(schema, payload, whole))
            }
            Decoder::Bytes => Ok(()),
        };
        if outcome.is_err() {
            buffers.slots.fill_with(Slot::default);
        }
        outcome
    }

    /// The fault of a payload that does not decode.
    pub(super) fn fault(&self, error: &DecodeError) -> (FaultCode, String) {
        let problem = match error {
            DecodeError::TooDeep => {
                let problem = format!("the payload nests deeper than {PAYLOAD_DEPTH_MAX} levels");
                return (FaultCode::PayloadTooDeep, problem);
            }
            DecodeError::Malformed(problem) => problem.clone(),
        };
        let code = match self {
            Decoder::Json | Decoder::Bytes => FaultCode::PayloadNotJson,
            Decoder::Cbor => FaultCode::PayloadNotCbor,
            Decoder::MsgPack => FaultCode::PayloadNotMsgPack,
            Decoder::Sparkplug => FaultCode::PayloadNotSparkplug,
            Decoder::Protobuf(_) => FaultCode::PayloadNotProtobuf,
            Decoder::Csv(_) => FaultCode::PayloadNotCsv,
            Decoder::Text(_) => FaultCode::PayloadNotText,
        };
        (code, problem)
    }
}

/// Keys up to this many are compared one by one, which is as fast as a hash.
const FEW_KEYS: usize = 16;

/// A key of the payload that some rule names, or leads to one.
#[derive(Debug, Default)]
struct Node {
    children: Vec<(CompactString, usize)>,
    /// The children by their keys, where they are not few.
    by_key: HashMap<CompactString, usize, foldhash::fast::RandomState>,
    /// Slots of the value here: one, or one for each SQL version.
    slots: SmallVec<[usize; 1]>,
}

impl Node {
    fn add(&mut self, key: &CompactString, child: usize) {
        self.children.push((key.clone(), child));
        if self.children.len() > FEW_KEYS {
            let known = self.children.iter().skip(self.by_key.len());
            self.by_key.extend(known.cloned());
        }
    }

    fn child(&self, key: &str) -> Option<usize> {
        if self.children.len() > FEW_KEYS {
            return self.by_key.get(key).copied();
        }
        self.children.iter().find(|(name, _)| name == key).map(|(_, node)| *node)
    }
}

/// The fields that the rules of a plan read of one format.
#[derive(Debug)]
pub(super) struct Projection {
    /// The first is the payload itself.
    nodes: Vec<Node>,
    /// How the numbers of each slot are kept.
    wholes: Vec<Whole>,
}

impl Default for Projection {
    fn default() -> Self {
        Projection { nodes: vec![Node::default()], wholes: Vec::new() }
    }
}

impl Projection {
    /// The slot of a path, adding it where it is new. The empty path is the payload itself, which
    /// JSON does not project: `*` of JSON may be bytes.
    pub(super) fn slot(&mut self, path: &[CompactString], whole: Whole) -> usize {
        let mut at = 0;
        for key in path {
            at = match self.nodes[at].child(key) {
                Some(next) => next,
                None => {
                    let next = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[at].add(key, next);
                    next
                }
            };
        }
        let known = self.nodes[at].slots.iter().copied().find(|s| self.wholes[*s] == whole);
        known.unwrap_or_else(|| {
            let slot = self.wholes.len();
            self.wholes.push(whole);
            self.nodes[at].slots.push(slot);
            slot
        })
    }

    /// Whether no rule names a field: the payload need not be looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.wholes.is_empty()
    }

    /// Empties the slots below a node: the last of repeated keys wins, with all that is under it.
    fn forget(&self, at: usize, slots: &mut [Slot]) {
        for (_, child) in &self.nodes[at].children {
            for slot in &self.nodes[*child].slots {
                slots[*slot] = Slot::Missing;
            }
            self.forget(*child, slots);
        }
    }

    /// Takes the fields from the whole payload, which `decode` makes once for each SQL version.
    fn take(
        &self,
        slots: &mut [Slot],
        decode: impl Fn(Whole) -> Result<Value, DecodeError>,
    ) -> Result<(), DecodeError> {
        for whole in [Whole::AsInt, Whole::AsWritten] {
            if self.wholes.contains(&whole) {
                self.take_below(0, &decode(whole)?, whole, slots);
            }
        }
        Ok(())
    }

    fn take_below(&self, at: usize, value: &Value, whole: Whole, slots: &mut [Slot]) {
        let node = &self.nodes[at];
        for slot in node.slots.iter().filter(|slot| self.wholes[**slot] == whole) {
            slots[*slot] = Slot::Ready(value.clone());
        }
        for (key, child) in &node.children {
            if let Some(member) = value.member(key) {
                self.take_below(*child, member, whole, slots);
            }
        }
    }
}

/// How a value that is made later is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Cbor,
    MsgPack,
}

impl Encoding {
    fn parse(self, bytes: &[u8], whole: Whole) -> Result<Value, DecodeError> {
        match self {
            Encoding::Json => Ok(json_reader::parse(bytes, whole)?),
            Encoding::Cbor => binary::parse(cbor::Reader::new(bytes), whole),
            Encoding::MsgPack => binary::parse(msgpack::Reader::new(bytes), whole),
        }
    }
}

/// The value of a projected field.
#[derive(Debug, Default)]
pub(super) enum Slot {
    /// The message has no such field, or a number beyond the range.
    #[default]
    Missing,
    /// Decoded.
    Ready(Value),
    /// Validated, and decoded when it is first read.
    Later {
        /// How it is written.
        encoding: Encoding,
        /// Where it stands in the payload.
        range: Range<usize>,
        /// How its numbers are kept.
        whole: Whole,
        /// The value, once read.
        value: OnceCell<Value>,
    },
}

impl Slot {
    /// The value; `payload` is the one that was projected.
    pub(super) fn get(&self, payload: &[u8]) -> &Value {
        match self {
            Slot::Missing => &UNDEFINED,
            Slot::Ready(value) => value,
            Slot::Later { encoding, range, whole, value } => value.get_or_init(|| {
                let bytes = payload.get(range.clone()).unwrap_or_default();
                let made = encoding.parse(bytes, *whole);
                made.expect("the range was validated when it was projected")
            }),
        }
    }
}

/// Buffers of decoding, reused from message to message.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// One per slot of the projection.
    pub(super) slots: Vec<Slot>,
    /// JSON strings with escapes are decoded here.
    tape: Vec<u8>,
}

#[cfg(test)]
mod tests;
